"""The loss over a plane as a surface in three dimensions, its contours below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.plot.levels import Scale
from landscape.plot.plane import Plane, holds_theta, short, ticks

if TYPE_CHECKING:
    from landscape.surfaces.surface import Surface

CAMERA = {"elev": 28, "azim": -60}  # one for all panels
FLOOR = 0.35  # of the height: from the contours up to the surface


def solid(result: Surface, axes: Any, found: Scale, lies: Plane) -> None:
    """A surface as high as the loss, which is cut where the scale is, over its contours.

    axes: with projection="3d"
    """
    assert result.y is not None
    sheared = lies.sheared(result.x, result.y)
    at = lies.place(*np.meshgrid(result.x, result.y), sheared=sheared)
    loss = np.where(result.done & np.isfinite(result.loss), result.loss, np.nan)
    height = heights(loss, found)
    low, high = heights(np.array([found.low, found.high]), found)
    bottom = low - FLOOR * (high - low)
    if min(height.shape) > 1:
        axes.plot_surface(
            *at, height, facecolors=_colours(loss, found), rstride=1, cstride=1, linewidth=0,
            antialiased=False, shade=False, rasterized=True,
        )  # fmt: skip
        axes.contourf(
            *at, found.drawable(loss), found.limits, norm=found.norm(), cmap=found.map(),
            extend=found.extend, zdir="z", offset=bottom,
        )  # fmt: skip
    else:
        known = np.isfinite(loss)
        shown = (*(each[known] for each in at), height[known])
        axes.scatter(*shown, c=loss[known], norm=found.norm(), cmap=found.map(), depthshade=False)
    _frame(axes, result, lies, found, (bottom, high), sheared)
    if not holds_theta(result.x, result.y):
        return
    centre = float(heights(np.array([result.centre_loss]), found)[0])
    star: Any = {"marker": "*", "markersize": 8, "color": "white", "markeredgecolor": "black"}
    axes.plot([0], [0], [centre], zorder=10, gid="theta", **star)


def _colours(loss: np.ndarray, found: Scale) -> np.ndarray:
    """Of each face between four cells (ny - 1, nx - 1, 4), by the mean of their losses on the scale."""
    known = found.drawable(loss)
    each = np.ma.log10(known) if found.logarithmic else known
    mean = (each[:-1, :-1] + each[1:, :-1] + each[:-1, 1:] + each[1:, 1:]) / 4
    return found.map()(found.norm()(10**mean if found.logarithmic else mean))


def heights(loss: np.ndarray, found: Scale) -> np.ndarray:
    """How high losses are drawn: their logarithm on a logarithmic scale, cut at the ends of the scale."""
    cut = np.clip(loss, found.low, found.high)
    return np.log10(cut) if found.logarithmic else cut


def few_levels(axes: Any, found: Scale) -> None:
    """Beside a surface four levels at most, which do not touch in a small panel."""
    _levels(axes, found, -(-(len(found.levels) - 1) // 3))


def _levels(axes: Any, found: Scale, step: int) -> None:
    shown = found.levels[:: -max(1, step)]
    names = dict(zip(found.levels, found.names(), strict=True))
    axes.set_zticks(heights(shown, found), [names[level] for level in shown])


def _frame(
    axes: Any, result: Surface, lies: Plane, found: Scale, span: tuple[float, float], sheared: bool
) -> None:
    x, y = result.x, result.y
    assert y is not None
    along, up = ticks(x[0], x[-1], 3), ticks(y[0], y[-1], 3)
    # The corner is taken by the other axis.
    up = up[up > y[0] + 0.05 * np.ptp(y)] if len(up) > 1 else up
    axes.set_xticks(lies.place(along, np.full(len(along), y[0]), sheared=sheared)[0], [*map(short, along)])
    axes.set_yticks(lies.place(np.zeros(len(up)), up, sheared=sheared)[1], [*map(short, up)])
    _levels(axes, found, len(found.levels) // 4)
    axes.set_zlim(*span)
    sides = np.stack(lies.place(*np.meshgrid(x[[0, -1]], y[[0, -1]]), sheared=sheared)).reshape(2, -1)
    (left, bottom), (right, top) = sides.min(axis=1), sides.max(axis=1)
    if left < right:
        axes.set_xlim(left, right)
    if bottom < top:
        axes.set_ylim(bottom, top)
    across, deep = right - left, (top - bottom) * (1 if sheared else lies.ratio)
    longest = max(across, deep)
    base = (across / longest, deep / longest) if lies.to_scale(x, y) else (1.0, 1.0)
    axes.set_box_aspect((*base, 0.8), zoom=0.95)
    axes.view_init(**CAMERA)
    # On one line each: the figure's caption tells the units.
    axes.set_xlabel(lies.labels[0].partition("\n")[0], labelpad=-8, fontsize=7)
    axes.set_ylabel(lies.labels[1].partition("\n")[0], labelpad=-8, fontsize=7)
    axes.tick_params(pad=-3, labelsize=7)
    axes.patch.set_visible(False)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.pane.set_facecolor("white")
        axis.pane.set_edgecolor("0.8")
        axis._axinfo["grid"].update(linewidth=0.3, color="0.88")
