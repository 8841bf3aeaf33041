"""The loss over a plane through θ: contours, a heat map, or a surface in three dimensions."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from landscape.errors import InputError
from landscape.plot.labels import label_levels
from landscape.plot.levels import Scale, ink, scale
from landscape.plot.marks import Taken, marks
from landscape.plot.plane import Plane, frame, holds_theta, plane
from landscape.plot.solid import solid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable

    from landscape.surfaces.surface import Surface

Style = Literal["contour", "heat", "surface"]
UNKNOWN = "0.45"  # the grey of the hatching
Later = Callable[[], None]


def surface(
    result: Surface,
    axes: Axes,
    *,
    style: Style = "contour",
    provenance: Mapping[str, Any] | None = None,
    beside: Sequence[Surface] = (),
    cap: float | None = None,
) -> ScalarMappable:
    """Draw the loss over a plane, θ a star where (0, 0) is on it; what `figure.colorbar` takes.

    Cells whose loss is not finite are hatched, those that are not done are blank. Contours lie at 1, 2, 5
    times powers of ten where the finite losses span a decade, else at even steps, and are labelled for the
    size that the axes have when this is called. A plane without four neighbours to draw contours between is
    drawn as a heat map.

    style: "surface" needs an Axes with projection="3d"
    provenance: of the run, for the directions' names, lengths and angle, and the trajectory
    beside: results in other panels, for a scale in common
    cap: losses above it are drawn as one band, which the colour bar tells by ≥
    """
    found = shared_scale([result, *beside], cap)
    draw(result, axes, found, plane(provenance or {}), style)()
    return found.mappable()


def draw(result: Surface, axes: Any, found: Scale, lies: Plane, style: str) -> Later:
    """A panel on a given scale; what is to be called once its size is final, to label the contours."""
    if result.y is None:
        raise InputError("a result along a line has no plane to draw; use landscape.plot.line")
    if style == "contour":
        return contours(result, axes, found, lies)
    if style == "heat":
        heat(result, axes, found, lies)
    elif style != "surface":
        raise InputError(f"style {style!r} is not known; there are contour, heat, surface")
    elif not hasattr(axes, "plot_surface"):
        raise InputError('style "surface" needs an Axes made with projection="3d"')
    else:
        solid(result, axes, found, lies)
    return lambda: None


def shared_scale(results: Sequence[Surface], cap: float | None = None) -> Scale:
    """The scale of the finite losses of all results."""
    return scale(np.concatenate([result.loss[result.done].ravel() for result in results]), cap)


def contours(result: Surface, axes: Axes, found: Scale, lies: Plane) -> Later:
    """Filled contours with thin lines between them; what labels them."""
    assert result.y is not None
    loss = np.where(result.done & np.isfinite(result.loss), result.loss, np.nan)
    if not np.isfinite(loss[:-1, :-1] + loss[1:, 1:] + loss[:-1, 1:] + loss[1:, :-1]).any():
        heat(result, axes, found, lies)
        return lambda: None
    at = lies.place(*np.meshgrid(result.x, result.y), sheared=lies.sheared(result.x, result.y))
    masked = found.drawable(loss)
    axes.contourf(
        *at, masked, found.limits, norm=found.norm(), cmap=found.map(), extend=found.extend, zorder=1
    )
    _unknown(result, axes, lies, 1.0)
    taken = _finish(result, axes, found, lies, (0.0, 0.0))
    inner = [level for level in found.limits if np.nanmin(loss) < level < np.nanmax(loss)]
    if not inner:
        return lambda: None
    inks = [ink(found, level) for level in inner]
    widths = [0.6 if level in found.levels else 0.3 for level in inner]
    lines = axes.contour(*at, masked, inner, colors=inks, linewidths=widths, zorder=2)
    return functools.partial(label_levels, axes, lines, found, taken)


def heat(result: Surface, axes: Axes, found: Scale, lies: Plane, *, values: np.ndarray | None = None) -> None:
    """Each cell in the colour of its loss, or of another value, as pixels even in a vector file."""
    assert result.y is not None
    borders = [edges(each) for each in (result.x, result.y)]
    values = result.loss if values is None else values
    _unknown(result, axes, lies, 0.5)
    axes.pcolormesh(
        *lies.place(*np.meshgrid(*borders), sheared=lies.sheared(result.x, result.y)),
        found.drawable(np.where(result.done, values, np.nan)),
        norm=found.norm(),
        cmap=found.map(),
        rasterized=True,
        zorder=1,
    )
    room = (borders[0][-1] - result.x[-1], borders[1][-1] - result.y[-1])
    _finish(result, axes, found, lies, room)


def _finish(result: Surface, axes: Axes, found: Scale, lies: Plane, room: tuple[float, float]) -> list[Taken]:
    """Axes and marks; what they take of the paper."""
    assert result.y is not None
    frame(axes, lies, result.x, result.y, room)
    key = f"{result.budget}|{result.adversary}"
    sheared = lies.sheared(result.x, result.y)
    sides = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
    ends = [(result.x[0], result.y[0]), (result.x[-1], result.y[-1])]
    around = np.concatenate([np.linspace(a, b, 60) for a, b in itertools.pairwise(sides)])
    border = lies.place(*(ends[0] + around * np.subtract(ends[1], ends[0])).T, sheared=sheared)
    taken = [Taken(float(x), float(y)) for x, y in zip(*border, strict=True)] if sheared else []
    star = holds_theta(result.x, result.y)
    return [*taken, *marks(axes, lies, key, found.mappable(), sheared=sheared, star=star)]


def edges(values: np.ndarray) -> np.ndarray:
    """The borders (n + 1,) of cells around n coordinates: halfway between them, as far beyond the ends."""
    if len(values) == 1:
        return values[0] + np.array([-0.5, 0.5])
    middle = (values[1:] + values[:-1]) / 2
    return np.concatenate([[2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]])


def _unknown(result: Surface, axes: Axes, lies: Plane, reach: float) -> None:
    """Hatching under the cells that are done but not finite, `reach` cells to each side."""
    from matplotlib.collections import PolyCollection

    assert result.y is not None
    rows, columns = np.nonzero(result.done & ~np.isfinite(result.loss))
    if not len(rows):
        return
    sheared = lies.sheared(result.x, result.y)
    boxes = []
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        left, right = _around(result.x, column, reach)
        bottom, top = _around(result.y, row, reach)
        boxes.append(
            np.stack(
                lies.place([left, right, right, left], [bottom, bottom, top, top], sheared=sheared), axis=1
            )
        )
    # The colour of edges, which have no width here, is that of the hatching.
    style: Any = {"facecolors": "0.88", "edgecolors": UNKNOWN, "linewidths": 0, "zorder": 0.5}
    axes.add_collection(PolyCollection(boxes, hatch="//////", gid="not finite", **style), autolim=False)


def _around(values: np.ndarray, i: int, reach: float) -> tuple[float, float]:
    """From the place i to both sides, `reach` of the way to its neighbours."""
    borders = edges(values)
    low, high = 2 * reach * (borders[i] - values[i]), 2 * reach * (borders[i + 1] - values[i])
    return float(values[i] + low), float(values[i] + high)
