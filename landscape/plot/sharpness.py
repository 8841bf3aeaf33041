"""Eigenvalues against their index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.ticker
import numpy as np

from landscape.format import plus_minus
from landscape.plot.style import coloured, eps_is, legend_above, logarithmic, mathematics
from landscape.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes


INDEX = {"LA": "", "LM": r" among the largest $|\lambda|$", "SA": " from the smallest"}


def sharpness(run: Run, axes: Axes, *, beside: Sequence[Run] = ()) -> None:
    """Eigenvalues with residual bars against their index, a curve for each eps, the trace in the legend.

    Bands: the standard error of the eigenvalues if the examples are a sample of more.
    Curves that did not converge have hollow markers. beside: runs in other panels, for a scale in common
    """
    most = max(len(r.eigenvalues) for r in run.results)
    for result, colour in coloured(run.results, [*beside, run]):
        # Of the smallest eigenvalues the smallest is the first.
        order = slice(None, None, -1 if result.which == "SA" else 1)
        label = eps_is(result)
        if np.isfinite(result.trace):
            label += f", tr $H$ = {mathematics(plus_minus(result.trace, result.trace_stderr))}"
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
    legend_above(axes)


def _scale(axes: Axes, results: list[Any]) -> None:
    """From zero where all values are of one sign; logarithmic where they are positive and span a decade."""
    values = np.concatenate([r.eigenvalues for r in results])
    bars = np.concatenate([r.residuals + np.nan_to_num(r.eigenvalues_sampling) for r in results])
    low, high = values.min(), values.max()
    if low > 0 and high / low >= 10:
        logarithmic(axes, low / 1.3, max(high * 1.3, (values + bars).max() * 1.05))
        return
    low, high = min(0.0, (values - bars).min()), max(0.0, (values + bars).max())
    if low < high:
        room = 0.05 * (high - low)
        axes.set_ylim(low - room if low < 0 else 0.0, high + room if high > 0 else 0.0)
    if low < 0 < high:
        axes.axhline(0, color="0.8", linewidth=0.6, zorder=0)
