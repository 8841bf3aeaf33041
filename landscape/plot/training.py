"""The mini-batches of a training: Figure 2 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

from landscape.errors import InputError
from landscape.log import running
from landscape.plot.style import LINE, STYLE, WIDTHS, colours, eps_is, positive_scale, printable
from landscape.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


QUANTITIES = {
    "gradient_norm": r"$\|\nabla L_\epsilon\|$ of the batch",
    "error": "error of the batch",
    "distance": r"$\|\theta - \theta_0\|$",
}
TRENDS: dict[str, Any] = {"gradient_norm": np.nanmedian, "error": np.nanmean}
SMOOTHED, TENTH = 25, 10  # mini-batches in the trend; of a short training so small a part of them
ROW = 1.5  # inches: of a row of a training's panels


def training(runs: Sequence[Run]) -> Figure:
    """The mini-batches of trainings, a row for each quantity: the first 2,000, and the last on the right.

    Each row has one scale. Trainings of different lengths are aligned at their ends on the right.
    """
    from matplotlib.figure import Figure

    labels, found = _in_order(runs)
    if not all(result.steps for result in found):
        raise InputError("the log of a training without a mini-batch has nothing to draw; leave it out")
    columns = max(len(result.windows()) for result in found)
    across = 2 if any("," in label for label in labels) else 4
    legend = LINE * -(-len(found) // across)
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(WIDTHS[columns], len(QUANTITIES) * ROW + legend))
        grid = canvas.subplots(len(QUANTITIES), columns, sharex="col", sharey="row", squeeze=False)
        for row, name in zip(grid, QUANTITIES, strict=True):
            for column, axes in enumerate(row):
                mini_batches(found, name, axes, labels=labels, last=column > 0)
            row[0].set_ylabel(QUANTITIES[name])
            row[0].set_ylim(bottom=0)
            if name == "gradient_norm":
                shown = [result.gradient_norm[w] for result in found for w in result.windows().values()]
                positive_scale(row[0], [*np.concatenate(shown)], [], below=1.5)
        aligned = len({result.steps for result in found}) > 1
        for axes, which in zip(grid[-1], ("", ", the last being 0" if aligned else ""), strict=False):
            axes.set_xlabel(f"mini-batch{which}")
        handles, told = grid[0, 0].get_legend_handles_labels()
        canvas.legend(handles, told, frameon=False, loc="outside upper left", ncols=across, handlelength=1.6)
    return canvas


def mini_batches(
    found: Sequence[Any], name: str, axes: Axes, *, labels: Sequence[str], last: bool = False
) -> None:
    """One of QUANTITIES of the first or last mini-batches of trainings: each value faint, the trend on top.

    The trend is the running median of the gradient norm, whose tails are heavy, and the running mean of the
    error, a share of few levels. The distance has no noise, and is drawn as it is.
    """
    aligned = len({result.steps for result in found}) > 1
    for result, label, colour in zip(found, labels, colours(len(found)), strict=True):
        window = list(result.windows().values())[last:]
        if not window:  # all of its mini-batches are among the first
            continue
        step, values = result.step[window[0]], getattr(result, name)[window[0]]
        step = step - result.steps if last and aligned else step
        if name in TRENDS:
            axes.plot(step, values, color=colour, alpha=0.2, linewidth=0.4)
            odd = (min(SMOOTHED, len(values) // TENTH) - 1) | 1
            values = running(TRENDS[name], values, max(1, odd))
        axes.plot(step, values, color=colour, label=label, linewidth=1.0)
    axes.margins(x=0.01)


def _in_order(runs: Sequence[Run]) -> tuple[list[str], list[Any]]:
    """Results by eps with their labels, which name the checkpoint where several have the same budget."""
    each = [(result, run) for run in runs for result in run.results]
    each.sort(key=lambda pair: pair[0].eps)
    budgets = [(result.budget, result.norm) for result, _ in each]
    labels = []
    for result, run in each:
        label = eps_is(result)
        if budgets.count((result.budget, result.norm)) > 1:
            label += f", {printable(Path(run.provenance['checkpoint']['path']).stem)}"
        labels.append(label)
    return labels, [result for result, _ in each]
