"""Figures of results, one function for each kind, drawing on an Axes; nothing is computed here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
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
WIDTH, HEIGHT = 3.4, 2.6  # inches: one column of a two-column paper


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
    if not any(run.results for run in runs):
        raise InputError("the files hold no result to draw")
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(WIDTH * len(runs), HEIGHT))
        panels = canvas.subplots(1, len(runs), sharey=True, squeeze=False)[0]
        for axes, run in zip(panels, runs, strict=True):
            PLOTS[kind](run, axes)
            if len(runs) > 1:
                axes.set_title(Path(run.provenance["checkpoint"]["path"]).stem, fontsize=8)
                axes.label_outer()
    return canvas


def save(canvas: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PDF, PNG (300 dpi) or SVG, by the path's ending; the same figure gives the same bytes."""
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise InputError(f"{path}: a figure is written as {', '.join(FORMATS)}; end the path in one of these")
    metadata = {".pdf": {"CreationDate": None}, ".png": {"Software": None}, ".svg": {"Date": None}}[ending]
    with matplotlib.rc_context(STYLE), atomic(path) as temporary:
        try:
            canvas.savefig(temporary, format=ending[1:], dpi=300, metadata=metadata)
        except (RuntimeError, ValueError) as error:
            raise LandscapeError(f"{path} could not be drawn: {error}") from error


def sharpness(run: Run, axes: Axes) -> None:
    """Eigenvalues with residual bars against their index, a curve for each eps, the trace in the legend."""
    results = run.results
    values = np.concatenate([r.eigenvalues for r in results])
    spans_decade = values.min() > 0 and values.max() / values.min() >= 10
    for result, colour in zip(results, _colours(len(results)), strict=True):
        index = np.arange(1, len(result.eigenvalues) + 1)
        label = f"{_eps(result)}"
        if np.isfinite(result.trace):
            label += f", tr $H$ = {plus_minus(result.trace, result.trace_stderr)}"
        axes.errorbar(
            index,
            result.eigenvalues,
            yerr=result.residuals,
            marker="o",
            color=colour,
            label=label,
            capsize=1.5,
        )
    if spans_decade:
        axes.set_yscale("log")
    elif values.min() > 0:
        axes.set_ylim(bottom=0)
    most = max(len(r.eigenvalues) for r in results)
    axes.set_xlim(0.5, most + 0.5)
    axes.xaxis.set_major_locator(
        matplotlib.ticker.MaxNLocator(nbins=min(most, 10), integer=True, min_n_ticks=1)
    )
    axes.set_xlabel("index $i$")
    axes.set_ylabel(r"eigenvalue $\lambda_i$ of $\nabla^2 L_\epsilon$")
    axes.legend(frameon=False, handlelength=1.6)


PLOTS = {"sharpness": sharpness}


def _eps(result: Any) -> str:
    return rf"$\epsilon$ = {result.budget}"


def _colours(count: int) -> np.ndarray:
    """One sequential colour map over the budgets, from the smallest to the largest, dark enough for white paper."""
    return matplotlib.colormaps["viridis"](np.linspace(0.0, 0.85, count) if count > 1 else [0.3])
