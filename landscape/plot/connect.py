"""Loss and accuracy along a trained curve between two checkpoints, and along the straight line."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.plot.grid import Panel
from landscape.plot.style import coloured, eps_is, legend_above, logarithmic, printable
from landscape.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUANTITIES = {"loss": r"loss $L_\epsilon$", "accuracy": "accuracy (%)"}
LONGEST = 48  # names of the ends that fit below a panel
NAMES = {"bezier": "Bezier curve", "polygon": "polygonal chain"}


def connect_panels(runs: list[Run]) -> list[list[Panel]]:
    """A row for each run and split, with a panel for the loss and, of classes, one for the accuracy."""
    rows = []
    known = [q for q in QUANTITIES if all(np.isfinite(r.accuracy).any() for run in runs for r in run.results)]
    for run in runs:
        for split in dict.fromkeys(result.split for result in run.results):
            ends = [Path(each["path"]).stem for each in run.provenance.get("checkpoints", [])]
            own = any(result.own for result in run.results if result.split == split)
            what = f"{split}, the curves' own examples" if own else f"{split}, held out"
            name = ", ".join([*([" to ".join(ends)] if len(runs) > 1 else []), what])
            rows.append(
                [
                    Panel(name, functools.partial(connect, run, split=split, quantity=quantity, beside=runs))
                    for quantity in known or ["loss"]
                ]
            )
    return rows


def connect(run: Run, axes: Axes, *, split: str, quantity: str = "loss", beside: Sequence[Run] = ()) -> None:
    """Loss or accuracy against t on one split, a colour for each eps: the curve solid, the line dashed.

    Bands: the standard error over the examples, which neighbours share. Marks: the barrier, where it is above
    twice its error. The scale of the losses is logarithmic where they span a decade.

    beside: runs in other panels, for a scale in common
    """
    found = [result for result in run.results if result.split == split]
    each = {result.budget: result for result in found}
    told: set[str] = set()
    for one, colour in coloured(list(each.values()), [*beside, run]):
        axes.plot([], color=colour, label=eps_is(one))
        for result in (r for r in found if r.budget == one.budget):
            _way(axes, result, quantity, colour)
            told.add(result.way)
    for way in sorted(told, key="line".__eq__):
        axes.plot([], color="0.4", linestyle=_dashes(way), label=NAMES.get(way, "straight line"))
    everything = [r for each_run in (run, *beside) for r in each_run.results]
    if quantity == "loss" and any(map(_sure, everything)):
        axes.plot([], "v", color="0.4", markersize=4, label="barrier")
    _limits(axes, everything, quantity)
    axes.set_xlim(-0.02, 1.02)
    ends = [printable(Path(e["path"]).stem) for e in run.provenance.get("checkpoints", [])]
    where = f", from {ends[0]} to {ends[1]}" if len(ends) == 2 else ""
    axes.set_xlabel(f"$t${where}" if len(where) < LONGEST else "$t$")
    axes.set_ylabel(QUANTITIES[quantity])
    legend_above(axes)


def _way(axes: Axes, result: Any, quantity: str, colour: Any) -> None:
    scale = 100.0 if quantity == "accuracy" else 1.0
    values, errors = (scale * getattr(result, name) for name in (quantity, f"{quantity}_stderr"))
    axes.plot(result.t, values, color=colour, linestyle=_dashes(result.way))
    spread = np.nan_to_num(errors, posinf=0)
    axes.fill_between(result.t, values - spread, values + spread, color=colour, alpha=0.12, linewidth=0)
    if quantity == "loss" and _sure(result):
        top = values[result.t == result.barrier_at]
        axes.plot([result.barrier_at], top, "v", color=colour, markersize=4, gid="barrier")


def _sure(result: Any) -> bool:
    """Whether its barrier is above twice its error."""
    return result.barrier > 2 * np.nan_to_num(result.barrier_stderr)


def _dashes(way: str) -> str:
    return "--" if way == "line" else "-"


def _limits(axes: Axes, everything: Sequence[Any], quantity: str) -> None:
    """What all panels span; logarithmic where finite losses span a decade."""
    if quantity == "accuracy":
        shares = 100 * np.concatenate([r.accuracy for r in everything])
        room = 0.06 * np.ptp(shares) + 100 * max(r.accuracy_stderr.max() for r in everything)
        axes.set_ylim(max(0, shares.min() - room), min(100, shares.max() + room) or 1)
        return
    losses = np.concatenate([r.loss for r in everything])
    losses = losses[np.isfinite(losses)]
    if len(losses) and 0 < losses.min() <= losses.max() / 10:
        logarithmic(axes, losses.min() / 1.3, 1.3 * losses.max())
    elif len(losses):
        room = max(
            0.06 * np.ptp(losses), *(np.nan_to_num(r.loss_stderr, posinf=0).max() for r in everything), 1e-9
        )
        axes.set_ylim(max(min(0.0, losses.min()), losses.min() - room), losses.max() + room)
