"""The loss along a line through θ, under one or several budgets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import matplotlib.ticker
import numpy as np

from landscape.errors import InputError
from landscape.plot.errors import inner_gaps
from landscape.plot.marks import sizes
from landscape.plot.plane import Plane, plane, short
from landscape.plot.style import STYLE, coloured, eps_is, logarithmic
from landscape.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from landscape.surfaces.surface import Surface

SEEN = 31  # cells up to which each measured one has a mark
QUANTITIES = {"loss": r"loss $L_\epsilon$", "accuracy": "accuracy (%)"}


def line(
    results: Sequence[Surface],
    axes: Axes,
    *,
    quantity: str = "loss",
    provenance: Mapping[str, Any] | None = None,
    beside: Sequence[Surface] = (),
    error: bool = False,
    along: Literal["x", "y"] = "x",
) -> None:
    """Loss or accuracy along a line, a curve for each eps: attacked anew or clean solid, frozen dashed.

    Dots: cells that were measured, where there are few; crosses below: losses that are not finite. The y axis
    is logarithmic where the losses span a decade.

    quantity: "loss" or "accuracy"
    provenance: of the run, for the direction's name and length, the ends and the checkpoints on the line
    beside: results in other panels, for a scale in common
    error: bands of ± the standard error over the examples, and bars of what a much stronger attack adds
    along: which direction of the provenance the line follows
    """
    if quantity not in QUANTITIES:
        raise InputError(f"quantity {quantity!r} is not known; there are {', '.join(QUANTITIES)}")
    if any(result.y is not None for result in results):
        raise InputError("a result over a plane is no line; give landscape.plot.sections of it")
    lies = plane(provenance or {})
    everything = [*results, *beside]
    _limits(axes, everything, quantity, error)
    for result, colour in coloured([*results], [Run("", {}, everything)]):
        _curve(axes, result, colour, quantity, error)
        if quantity == "loss":
            _trajectory(axes, lies, result, colour)
    if quantity == "loss" and any(own_losses(result, lies) for result in results):
        look: Any = {"markerfacecolor": "white", "markeredgecolor": "0.4", "markeredgewidth": 0.8}
        axes.plot([], "o", linestyle="none", label="checkpoint", **look)
    for x, name in lies.ends(along):
        axes.axvline(x, color="0.6", linewidth=0.7, linestyle=":", zorder=0, gid="end")
        if quantity == "loss":
            axes.annotate(
                name, (x, 1), xycoords=("data", "axes fraction"), xytext=(0, 1), textcoords="offset points",
                ha="center", va="bottom", fontsize=7, color="0.35",
            )  # fmt: skip
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(lambda value, _: short(value))
    axes.set_xlabel(lies.labels["xy".index(along)], fontsize=STYLE["font.size"])
    axes.set_ylabel(QUANTITIES[quantity], fontsize=STYLE["font.size"])


def own_losses(result: Surface, lies: Plane) -> list[float]:
    """Of the checkpoints projected on a line; empty where there are none, and on a section of a plane."""
    told = lies.trajectory or {}
    found = (told.get("losses") or {}).get(f"{result.budget}|{result.adversary}")
    return found if found and told.get("y") is None else []


def sections(result: Surface) -> list[Surface]:
    """The row and the column of a plane that are nearest to θ, as lines; of a line, itself."""
    if result.y is None:
        return [result]
    row, column = int(np.abs(result.y).argmin()), int(np.abs(result.x).argmin())
    return [_cut(result, np.s_[row, :], result.x), _cut(result, np.s_[:, column], result.y)]


def _cut(result: Surface, place: Any, along: np.ndarray) -> Surface:
    shape = result.loss.shape
    cut = {
        field.name: value[place]
        for field in dataclasses.fields(result)
        if isinstance(value := getattr(result, field.name), np.ndarray) and value.shape[:2] == shape
    }
    return dataclasses.replace(result, **{**cut, "x": along, "y": None})


def _limits(axes: Axes, everything: Sequence[Surface], quantity: str, error: bool) -> None:
    """Per cent for accuracy; a logarithmic axis where the finite losses span a decade.

    error: whether bands and bars have to fit in, on a logarithmic axis down to a decade below the losses
    """
    if quantity == "accuracy":
        axes.set_ylim(0, 100)
        return
    losses = np.concatenate([result.loss[result.done].ravel() for result in everything])
    losses = losses[np.isfinite(losses)]
    positive = losses[losses > 0]
    drawn = np.concatenate([losses, *map(_ends, everything)]) if error else losses
    if len(positive) and losses.min() >= 0 and losses.max() >= 10 * positive.min():
        lowest = max(drawn.min(), positive.min() / 10) if error else positive.min()
        logarithmic(axes, lowest / 1.3, 1.3 * drawn.max())
    elif len(losses):
        room = 0.06 * np.ptp(drawn) or 0.1 * abs(drawn[0]) or 1.0
        axes.set_ylim(drawn.min() - room, drawn.max() + room)


def _ends(result: Surface) -> np.ndarray:
    """Where the bands of the losses and the bars on them end, so far as they are finite."""
    spread = np.nan_to_num(result.loss_stderr)
    ends = [result.loss - spread, result.loss + spread, result.loss + np.maximum(inner_gaps(result), 0)]
    found = np.concatenate([each[result.done] for each in ends])
    return found[np.isfinite(found)]


def _curve(axes: Axes, result: Surface, colour: Any, quantity: str, error: bool) -> None:
    percent = 100.0 if quantity == "accuracy" else 1.0
    values = np.where(result.done, percent * getattr(result, quantity), np.nan)
    frozen = result.adversary == "frozen"
    axes.plot(result.x, values, color=colour, linestyle="--" if frozen else "-")
    # The legend tells colours and dashes apart.
    axes.plot([], color=colour, label=eps_is(result))
    if frozen:
        axes.plot([], color="0.4", linestyle="--", label="frozen")
    measured = result.done & ~result.interpolated
    if np.count_nonzero(measured) <= SEEN:
        axes.plot(result.x[measured], values[measured], "o", markersize=2.2, color=colour)
    if quantity != "loss":
        return
    lost = result.done & ~np.isfinite(result.loss)
    axes.plot(
        result.x[lost], np.full(lost.sum(), 0.03), "x", color=colour, transform=axes.get_xaxis_transform(),
        gid="not finite",
    )  # fmt: skip
    if error:
        spread = np.nan_to_num(result.loss_stderr)
        axes.fill_between(result.x, values - spread, values + spread, color=colour, alpha=0.15, linewidth=0)
        gaps = inner_gaps(result)
        checked = np.isfinite(gaps)
        bars = np.stack([np.zeros(checked.sum()), np.maximum(gaps[checked], 0)])
        axes.errorbar(
            result.x[checked],
            values[checked],
            yerr=bars,
            fmt="none",
            ecolor=colour,
            elinewidth=0.9,
            capsize=1.5,
        )


def _trajectory(axes: Axes, lies: Plane, result: Surface, colour: Any) -> None:
    """The checkpoints projected on the line, each at its own loss, the larger the farther off the line."""
    told, losses = lies.trajectory or {}, own_losses(result, lies)
    if losses:
        off = sizes(np.nan_to_num(np.asarray(told["relative_residual"], dtype=float)))
        axes.scatter(
            told["x"], losses, s=off, facecolors="white", edgecolors=[colour], linewidths=0.8, zorder=4
        )
