"""Figures of results, one function for each kind, drawing on an Axes; nothing is computed here."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.ticker
import numpy as np

from landscape.errors import InputError, LandscapeError
from landscape.files import atomic
from landscape.format import plus_minus
from landscape.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".pdf", ".png", ".svg")
STYLE: Any = {
    "font.size": 8,
    "axes.labelsize": 9,
    "legend.fontsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,  # fonts embedded as outlines that journals accept
    "ps.fonttype": 42,
    "svg.hashsalt": "landscape",
    "figure.constrained_layout.use": True,
}
WIDTHS = {1: 3.4, 2: 6.8, 3: 7.0}  # inches, by the panels in a row: one column of a paper, or both
HEIGHT, LINE = 2.2, 0.14  # inches: of a panel, and of a line of the legend above it


def figure(runs: list[Run]) -> Figure:
    """The figure of one or several runs of one kind, in one panel each, on one scale."""
    from matplotlib.figure import Figure

    kinds = {run.kind for run in runs}
    if len(kinds) != 1 or not runs:
        raise InputError(
            f"results of different kinds cannot share a figure: {', '.join(sorted(kinds)) or 'none came'}"
        )
    (kind,) = kinds
    if kind not in PLOTS:
        raise InputError(f"results of the kind {kind!r} have no figure yet; there are {', '.join(PLOTS)}")
    for place, run in enumerate(runs, 1):
        if not run.results:
            raise InputError(f"file {place} of {len(runs)} holds no result to draw; leave it out")
    columns = 2 if len(runs) == 4 else min(len(runs), max(WIDTHS))
    rows = -(-len(runs) // columns)
    legend = LINE * (max(len(run.results) for run in runs) + (len(runs) > 1))
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(WIDTHS[columns], rows * (HEIGHT + legend)))
        panels = list(canvas.subplots(rows, columns, sharey=True, squeeze=False).flat)
        for place, (axes, run) in enumerate(zip(panels, runs, strict=False)):
            PLOTS[kind](run, axes, beside=runs)
            axes.yaxis.label.set_visible(place % columns == 0)
            if len(runs) > 1:
                name = Path(run.provenance["checkpoint"]["path"]).stem
                axes.get_legend().set_title(f"({chr(97 + place % 26)}) {_printable(name)}")
        for axes in panels[len(runs) :]:
            axes.remove()
    return canvas


def save(canvas: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PDF, PNG (300 dpi) or SVG, by the path's ending; equal figures give equal bytes."""
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise InputError(f"{path}: a figure is written as {', '.join(FORMATS)}; end the path in one of these")
    metadata = {".pdf": {"CreationDate": None}, ".png": {"Software": None}, ".svg": {"Date": None}}[ending]
    with matplotlib.rc_context(STYLE), atomic(path) as temporary:
        try:
            canvas.savefig(temporary, format=ending[1:], dpi=300, metadata=metadata)
        except (RuntimeError, ValueError) as error:
            raise LandscapeError(f"{path} could not be drawn: {error}") from error


def sharpness(run: Run, axes: Axes, *, beside: Sequence[Run] = ()) -> None:
    """Eigenvalues with residual bars against their index, a curve for each eps, the trace in the legend.

    Bands: the standard error of the eigenvalues if the examples are a sample of more.
    Curves that did not converge have hollow markers. beside: runs in other panels, for a scale in common
    """
    most = max(len(r.eigenvalues) for r in run.results)
    for result, colour in zip(run.results, _colours(len(run.results)), strict=True):
        # Of the smallest eigenvalues the smallest is the first.
        order = slice(None, None, -1 if result.which == "SA" else 1)
        label = rf"$\epsilon$ = {result.budget}"
        if np.isfinite(result.trace):
            label += f", tr $H$ = {_mathematics(plus_minus(result.trace, result.trace_stderr))}"
        index, values = np.arange(1, len(result.eigenvalues) + 1), result.eigenvalues[order]
        sampling = np.nan_to_num(result.eigenvalues_sampling[order])
        axes.fill_between(index, values - sampling, values + sampling, color=colour, alpha=0.15, linewidth=0)
        axes.errorbar(
            index,
            values,
            yerr=result.residuals[order],
            marker="o",
            markersize=3.5 if most <= 10 else 2.5,
            markerfacecolor=colour if result.converged else "white",
            color=colour,
            label=label if result.converged else f"{label}, not converged",
            capsize=1.5,
        )
    _scale(axes, [result for each in (run, *beside) for result in each.results])
    axes.set_xlim(0.5, most + 0.5)
    axes.xaxis.set_major_locator(
        matplotlib.ticker.MaxNLocator(nbins=min(most, 10), integer=True, min_n_ticks=1)
    )
    axes.set_xlabel(f"index $i${INDEX[run.results[0].which]}")
    axes.set_ylabel(r"eigenvalue $\lambda_i$ of $\nabla^2 L_\epsilon$")
    # Above the axes, where no curve is.
    axes.legend(
        frameon=False,
        handlelength=1.6,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        labelspacing=0.2,
        alignment="left",
    )


PLOTS = {"sharpness": sharpness}
INDEX = {"LA": "", "LM": r" among the largest $|\lambda|$", "SA": " from the smallest"}


def _scale(axes: Axes, results: list[Any]) -> None:
    """From zero where all values are of one sign; logarithmic where they are positive and span a decade."""
    values = np.concatenate([r.eigenvalues for r in results])
    bars = np.concatenate([r.residuals + np.nan_to_num(r.eigenvalues_sampling) for r in results])
    low, high = values.min(), values.max()
    if low > 0 and high / low >= 10:
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(low / 1.3, max(high * 1.3, (values + bars).max() * 1.05))
        if high / low < 1000 and low >= 1e-3 and high < 1e4:  # few powers of ten, so numbers between them too
            axes.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
        return
    low, high = min(0.0, (values - bars).min()), max(0.0, (values + bars).max())
    if low < high:
        room = 0.05 * (high - low)
        axes.set_ylim(low - room if low < 0 else 0.0, high + room if high > 0 else 0.0)
    if low < 0 < high:
        axes.axhline(0, color="0.8", linewidth=0.6, zorder=0)


def _mathematics(text: str) -> str:
    """1.2e+06 as a paper writes it."""
    return re.sub(r"e([+-]\d+)", lambda found: rf"$\times 10^{{{int(found[1])}}}$", text)


def _printable(name: str) -> str:
    """A file's name as text to draw: no formula, no bytes that are no letter."""
    return name.encode(errors="replace").decode().replace("$", r"\$")


def _colours(count: int) -> np.ndarray:
    """One sequential colour map over the budgets, from small to large, dark enough for white paper."""
    return matplotlib.colormaps["viridis"](np.linspace(0.0, 0.85, count) if count > 1 else [0.3])
