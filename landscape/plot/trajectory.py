"""Loss, gradient and distance over the checkpoints of a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.ticker
import numpy as np

from landscape.plot.style import coloured, curve, eps_is, legend_above, positive_scale
from landscape.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def trajectory_loss(run: Run, axes: Axes, *, beside: Sequence[Run] = ()) -> None:
    """The loss over the checkpoints, a curve for each eps, clean dashed; dotted: log K, a constant's loss.

    Bands: the standard error over the examples. beside: runs in other panels, for a scale in common
    """
    x = _over_checkpoints(run, axes, "loss", beside)
    if all(result.eps for result in run.results):
        clean = [r for r in run.results if r.budget == run.results[0].budget]
        values = np.array([r.clean_loss for r in clean])
        errors = np.array([r.clean_loss_stderr for r in clean])
        curve(axes, x[: len(clean)], values, errors, color="0.5", linestyle="--", label="clean")
        legend_above(axes)
    everything = [r for each in (run, *beside) for r in each.results]
    losses = np.array([loss for r in everything for loss in (r.loss, r.clean_loss)])
    low, high = losses.min(), losses.max()
    if low > 0 and high / low >= 10:
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(low / 1.3, high * 1.3)
    else:
        room = 0.08 * (high - low) + max(np.nan_to_num([r.loss_stderr for r in everything]))
        axes.set_ylim(max(min(0.0, low), low - room), high + room if high + room else 1.0)
    constant = run.results[0].loss - run.results[0].excess
    if axes.get_ylim()[0] <= constant <= axes.get_ylim()[1]:
        axes.axhline(constant, color="0.5", linewidth=0.8, linestyle=":", zorder=0)
        axes.annotate(
            r"$\log K$",
            (1, constant),
            xycoords=("axes fraction", "data"),
            xytext=(0, 1.5),
            textcoords="offset points",
            ha="right",
            color="0.4",
            fontsize=7,
        )
    axes.set_ylabel(r"loss $L_\epsilon$")


def trajectory_gradient(run: Run, axes: Axes, *, beside: Sequence[Run] = ()) -> None:
    """The norm of the gradient over the checkpoints, a curve for each eps. Bands: its standard error."""
    _over_checkpoints(run, axes, "gradient_norm", beside)
    everything = [r for each in (run, *beside) for r in each.results]
    upper = [r.gradient_norm + np.nan_to_num(r.gradient_norm_stderr) for r in everything]
    positive_scale(axes, [r.gradient_norm for r in everything], upper, below=1.5)
    axes.set_ylabel(r"$\|\nabla L_\epsilon\|$")


def trajectory_distance(run: Run, axes: Axes, *, beside: Sequence[Run] = ()) -> None:
    """The distance from the first and from the previous checkpoint, which no budget has a part in."""
    found = [r for r in run.results if r.budget == run.results[0].budget]
    x = _checkpoints(run, axes)[: len(found)]
    axes.plot(x, [r.from_first for r in found], "o-", color="0.15", markersize=2.5, label="from the first")
    if len(found) > 1:
        steps = [r.from_previous for r in found[1:]]
        axes.plot(x[1:], steps, "s-", color="0.6", markersize=2.5, label="from the previous")
    farthest = max(max(r.from_first, r.from_previous) for each in (run, *beside) for r in each.results)
    if farthest:
        axes.set_ylim(0, 1.05 * farthest)
    axes.set_ylabel(r"distance $\|\theta - \theta'\|$")
    legend_above(axes)


def _over_checkpoints(run: Run, axes: Axes, name: str, beside: Sequence[Run]) -> np.ndarray:
    """A curve for each eps with its standard error as a band, that of eps = 0 dashed; the checkpoints' x."""
    x = _checkpoints(run, axes)
    each = {result.budget: result for result in run.results}
    for one, colour in coloured(list(each.values()), [*beside, run]):
        found = [r for r in run.results if r.budget == one.budget]
        values, errors = (np.array([getattr(r, n) for r in found]) for n in (name, f"{name}_stderr"))
        style: Any = {"color": colour, "linestyle": "-" if one.eps else "--"}
        curve(axes, x[: len(found)], values, errors, label=eps_is(one), **style)
    legend_above(axes)
    return x


def _checkpoints(run: Run, axes: Axes) -> np.ndarray:
    """Where the checkpoints stand: at their epochs where all tell different ones, else in their order."""
    epochs = [each.get("epoch") for each in run.provenance.get("checkpoints", [])]
    told = epochs and None not in epochs and len(set(epochs)) == len(epochs)
    axes.set_xlabel("epoch" if told else "checkpoint")
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True, min_n_ticks=1))
    return np.array(epochs if told else range(1 + max(r.place for r in run.results)))
