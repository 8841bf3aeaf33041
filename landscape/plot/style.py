"""How figures look, and the pieces that they are put together from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.ticker
import numpy as np

from landscape.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
HEIGHT, LOW, LINE = 2.2, 1.7, 0.14  # inches: of a panel, where there are many rows, of a line of the legend
DARK = 0.85  # of the colour map: beyond it is too light for white paper


def colours(count: int) -> np.ndarray:
    """One sequential colour map over the budgets, from small to large, dark enough for white paper."""
    return matplotlib.colormaps["viridis"](np.linspace(0.0, DARK, count) if count > 1 else [0.3])


def coloured(found: list[Any], runs: Sequence[Run]) -> list[tuple[Any, Any]]:
    """Each result with the colour of its eps: one sequential map, from 0 to the largest of the figure."""
    budgets = sorted({result.eps for run in runs for result in run.results})
    if len(budgets) == 1:
        return [(result, colours(1)[0]) for result in found]
    return [(result, matplotlib.colormaps["viridis"](DARK * result.eps / budgets[-1])) for result in found]


def curve(axes: Axes, x: np.ndarray, y: np.ndarray, error: np.ndarray, **style: Any) -> None:
    """A curve with a band of ± its error."""
    axes.plot(x, y, marker="o", markersize=2.5, **style)
    spread = np.nan_to_num(error)
    axes.fill_between(x, y - spread, y + spread, color=style["color"], alpha=0.15, linewidth=0)


def against_eps(
    axes: Axes,
    found: list[Any],
    values: Any,
    label: str,
    marker: str,
    shade: float,
    bars: Any = None,
    *,
    bands: np.ndarray | None = None,
    hollow: bool = False,
) -> None:
    """A curve over the budgets with error bars or a band, the budgets written as they were given."""
    order = np.argsort([r.eps for r in found], kind="stable")
    eps, colour = np.array([r.eps for r in found])[order], matplotlib.colormaps["viridis"](shade)
    if bands is not None:
        low, high = bands[order].T
        if len(eps) > 1:
            axes.fill_between(eps, low, high, color=colour, alpha=0.18, linewidth=0)
        else:
            axes.vlines(eps, low, high, color=colour, alpha=0.25, linewidth=6)
    axes.errorbar(
        eps,
        np.asarray(values, dtype=float)[order],
        yerr=None if bars is None else np.asarray(bars, dtype=float)[order],
        marker=marker,
        markerfacecolor="white" if hollow else colour,
        linestyle="--" if hollow else "-",
        color=colour,
        label=label,
        capsize=1.5,
    )
    if len(eps) == 1 or np.diff(eps).min() > 0.08 * np.ptp(eps):
        axes.set_xticks(eps, [found[i].budget for i in order])
    axes.set_xlabel(rf"{_norm(found[0], ' ')}budget $\epsilon$ (pixels of [0, 1])")
    legend_above(axes)


def logarithmic(axes: Axes, low: float, high: float) -> None:
    """A logarithmic y axis from low to high, with numbers between few powers of ten."""
    axes.set_yscale("log", nonpositive="clip")
    axes.set_ylim(low, high)
    if high / low < 2000 and low >= 5e-4 and high < 2e4:
        axes.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())


def positive_scale(axes: Axes, curves: list[float], upper: list[float], below: float) -> None:
    """Logarithmic where the curves span a decade, from the lowest divided by `below`; else from zero."""
    values = np.array([value for value in curves if np.isfinite(value) and value > 0])
    high = np.nanmax([*curves, *upper, 0.0])
    if len(values) and high / values.min() >= 10:
        logarithmic(axes, values.min() / below, 1.5 * high)
    elif high > 0:
        axes.set_ylim(0, 1.05 * high)


def eps_is(result: Any) -> str:
    """A result's budget as a label, with its norm where that is not l_inf."""
    return rf"{_norm(result, ', ')}$\epsilon$ = {result.budget}"


def _norm(result: Any, apart: str) -> str:
    return rf"$\ell_2${apart}" if result.norm == "l2" else ""


def legend_above(axes: Axes) -> None:
    """The legend above the axes, where no curve is."""
    axes.legend(
        frameon=False,
        handlelength=1.6,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        labelspacing=0.2,
        alignment="left",
    )


def mathematics(text: str) -> str:
    """1.2e+06 as a paper writes it."""
    return re.sub(r"e([+-]\d+)", lambda found: rf"$\times 10^{{{int(found[1])}}}$", text)


def printable(name: str) -> str:
    """A file's name as text to draw: no formula, no bytes that are no letter."""
    return name.encode(errors="replace").decode().replace("$", r"\$")
