"""Accuracy against the attack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from landscape.plot.style import colours, eps_is, legend_above, printable
from landscape.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^v<>"


def evaluate(run: Run, axes: Axes, *, beside: Sequence[Run] = ()) -> None:
    """The accuracy under each attack with its standard error, a colour for each line of the table.

    Of a mean over checkpoints, drawn hollow, the bars are the standard deviation. Budgets differ by marker.
    beside: runs in other panels, for a scale in common
    """
    names = list(dict.fromkeys(name for result in run.results for name in result.under))
    labels = list(dict.fromkeys(result.label for result in run.results))
    budgets = list(dict.fromkeys(result.budget for result in run.results))
    whole = [result for one in (run, *beside) for result in one.results]
    differ = len({(result.budget, result.norm) for result in whole}) > 1
    colour = dict(zip(labels, colours(len(labels)), strict=True))
    apart = np.linspace(-0.25, 0.25, len(run.results)) if len(run.results) > 1 else [0.0]
    for result, aside in zip(run.results, apart, strict=True):
        error = "accuracy_std" if result.of == "mean" else "accuracy_stderr"
        found = [result.under[name] for name in result.under]
        of = f", {eps_is(result)}" if differ or len(labels) == 1 else ""
        drawn = axes.errorbar(
            np.array([names.index(name) for name in result.under]) + aside,
            [100 * each["accuracy"] for each in found],
            yerr=[100 * each[error] for each in found],
            marker=MARKERS[budgets.index(result.budget) % len(MARKERS)],
            markerfacecolor="white" if result.of == "mean" else colour[result.label],
            color=colour[result.label],
            linestyle="none",
            label=printable(result.label) + of,
            capsize=1.5,
        )
        drawn.lines[0].set(clip_on=False, zorder=3)  # whole, and over the axis, at 0 %
    axes.set_xticks(range(len(names)), [printable(name) for name in names], rotation=35, ha="right")
    axes.set_xlim(-0.5, len(names) - 0.5)
    every = [each for result in whole for each in result.under.values()]
    highest = max(100 * (each["accuracy"] + each.get("accuracy_stderr", 0.0)) for each in every)
    axes.set_ylim(0, min(102.0, 1.08 * highest) if highest else 102.0)
    once = "" if differ or len(labels) == 1 else f", {eps_is(run.results[0])}"
    axes.set_ylabel(f"accuracy (%){once}")
    legend_above(axes)
