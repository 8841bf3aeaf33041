"""What is marked on a plane: θ, the checkpoints that it goes through, and a trajectory projected onto it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib.patheffects
import numpy as np

from landscape.plot.plane import Plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HALO: Any = [matplotlib.patheffects.withStroke(linewidth=1.8, foreground="white")]


class Taken(NamedTuple):
    """A stretch of paper that something stands on: a place, and from where to where beside it, in points."""

    x: float
    y: float
    start: float = 0.0
    end: float = 0.0
    above: float = 0.0


def marks(axes: Axes, lies: Plane, key: str, shown: Any, *, sheared: bool, star: bool) -> list[Taken]:
    """A star at θ if wanted, the checkpoints by name, and the trajectory; what they take of the paper.

    A checkpoint of the trajectory is a circle filled with the colour of its own loss, not the plane's, and
    the larger, the larger the share of its way from θ that is off the plane.

    key: which losses of the trajectory, budget|adversary
    shown: norm and colour map
    """
    taken = _trajectory(axes, lies, key, shown, sheared) if lies.trajectory else []
    for x, y, name in lies.checkpoints:
        at = lies.place(x, y, sheared=sheared)
        if (x, y) != (0, 0):
            axes.plot(*at, marker="D", markersize=4, color="white", markeredgecolor="black", zorder=7)
        taken += [
            Taken(float(at[0]), float(at[1])),
            _word(axes, name, (float(at[0]), float(at[1])), 0.0, 5.0),
        ]
    if not star:
        return taken
    axes.plot(
        0, 0, marker="*", markersize=8, color="white", markeredgecolor="black", markeredgewidth=0.7, zorder=7,
        clip_on=False, gid="theta",
    )  # fmt: skip
    return [*taken, Taken(0.0, 0.0)]


def _word(axes: Axes, text: str, at: tuple[float, float], right: float, above: float) -> Taken:
    """A word above a place where `right` is 0, else as far to its right or, negative, to its left."""
    side = "center" if not right else "left" if right > 0 else "right"
    axes.annotate(
        text, at, xytext=(right, above), textcoords="offset points", ha=side, fontsize=7, path_effects=HALO,
        zorder=8,
    )  # fmt: skip
    length = 4.2 * len(text)
    start = {"center": -length / 2, "left": right, "right": right - length}[side]
    return Taken(*at, start, start + length, above + 2.5)


def _trajectory(axes: Axes, lies: Plane, key: str, shown: Any, sheared: bool) -> list[Taken]:
    """The projected checkpoints, in their order."""
    told = lies.trajectory or {}
    x, y = lies.place(told["x"], told["y"], sheared=sheared)
    axes.plot(x, y, color="black", linewidth=0.8, zorder=5.5, path_effects=HALO, gid="trajectory")
    size = sizes(np.nan_to_num(np.asarray(told["relative_residual"], dtype=float)))
    losses = (told.get("losses") or {}).get(key)
    fill: Any = {"c": "white"} if losses is None else {"c": losses, "norm": shown.norm, "cmap": shown.cmap}
    axes.scatter(x, y, s=(np.sqrt(size) + 1.6) ** 2, color="white", linewidths=0, zorder=5.8)
    axes.scatter(x, y, s=size, edgecolors="black", linewidths=0.6, zorder=6, gid="checkpoints", **fill)
    taken: list[Taken | None] = [Taken(float(a), float(b)) for a, b in zip(x, y, strict=True)]
    if len(x) > 1:
        taken += [_end(axes, "first", x, y), _end(axes, "last", x[::-1], y[::-1])]
    return [each for each in taken if each is not None]


def _end(axes: Axes, word: str, x: np.ndarray, y: np.ndarray) -> Taken | None:
    """A word at the first of several places, where the second is not; none beyond the axes or at θ."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    if not (left <= x[0] <= right and bottom <= y[0] <= top) or not (x[0] or y[0]):
        return None
    fits = (x[0] - left) / (right - left) > 0.25, (right - x[0]) / (right - left) > 0.25
    leftwards = fits[0] and (x[1] > x[0] or not fits[1])
    return _word(
        axes, word, (float(x[0]), float(y[0])), -5.0 if leftwards else 5.0, -5.0 if y[1] > y[0] else 0.0
    )


def sizes(off: Any) -> Any:
    """Areas of marks (points²) for the share of a checkpoint's way from θ that is off the plane."""
    return 8 + 40 * np.asarray(off) ** 2
