"""How a plane through θ lies on paper: the true lengths and the angle of its directions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.ticker
import numpy as np

from landscape.plot.style import STYLE, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHEARED = 0.1  # from this cosine on, directions are drawn at their true angle
SLIVER = 0.9  # and up to this one: beyond, the parallelogram is too thin to read
LONGEST = 3.0  # a plane longer than that, in units of its width, is not drawn to scale
NAMES = {
    "random": "random direction",
    "filter": "filter direction",
    "layer": "layer direction",
    "gradient": "gradient",
    "eigenvector": "eigenvector",
    "checkpoint": "towards",
    "pca": "PC",
}
LONG = 18  # characters of a checkpoint's name


@dataclass(frozen=True, eq=False)
class Plane:
    """The geometry of x u + y v on paper, in units of ‖u‖ along x.

    labels: of the two axes
    ratio: ‖v‖ / ‖u‖; NaN where it is not known
    cosine: of the angle between u and v
    checkpoints: (x, y, name) of those that the plane goes through, θ being the first of them
    trajectory: as in the provenance of a run, or None
    """

    labels: tuple[str, str] = ("$x$", "$y$")
    ratio: float = math.nan
    cosine: float = 0.0
    checkpoints: tuple[tuple[float, float, str], ...] = ()
    trajectory: Mapping[str, Any] | None = None

    def ends(self, along: str) -> list[tuple[float, str]]:
        """Places on the line along x or y, and what is there: θ, and the checkpoint that it leads to."""
        found = [
            (x if along == "x" else y, name)
            for x, y, name in self.checkpoints
            if not (y if along == "x" else x)
        ]
        return found or [(0.0, r"$\theta$")]

    def to_scale(self, x: np.ndarray, y: np.ndarray) -> bool:
        """Whether a rectangle of these coordinates can be drawn in the metric of parameter space."""
        across, up = (float(np.ptp(values)) for values in (x, y))
        if not (math.isfinite(self.ratio) and self.ratio > 0 and across and up):
            return False
        if abs(self.cosine) > SLIVER:
            return False
        return 1 / LONGEST <= up * self.ratio / across <= LONGEST

    def sheared(self, x: np.ndarray, y: np.ndarray) -> bool:
        return abs(self.cosine) > SHEARED and self.to_scale(x, y)

    def place(self, x: Any, y: Any, *, sheared: bool) -> tuple[np.ndarray, np.ndarray]:
        """Where coordinates lie on paper: themselves, or at the true angle in units of ‖u‖."""
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        if not sheared:
            return x, y
        return x + y * self.ratio * self.cosine, y * self.ratio * math.sqrt(1 - self.cosine**2)


def plane(provenance: Mapping[str, Any]) -> Plane:
    """The plane that a run says it lies in; one without names or scale where it says nothing."""
    told = provenance.get("directions") or {}
    first, second = told.get("x") or {}, told.get("y") or {}
    lengths = [float(each.get("norm") or math.nan) for each in (first, second)]
    checkpoint = str((provenance.get("checkpoint") or {}).get("path", ""))
    ends = [(1.0, 0.0, first), (0.0, 1.0, second)]
    through = [(x, y, checkpoint_name(each)) for x, y, each in ends if each.get("kind") == "checkpoint"]
    if through:
        through = [(0.0, 0.0, stem(checkpoint)), *through]
    return Plane(
        labels=(direction_label(first, "x", "u"), direction_label(second, "y", "v")),
        ratio=lengths[1] / lengths[0],
        cosine=float(told.get("cosine") or 0.0),
        checkpoints=tuple(through),
        trajectory=provenance.get("trajectory"),
    )


def holds_theta(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether (0, 0) lies among these coordinates, or on their border."""
    return all(bool(values.min() <= 0 <= values.max()) for values in (x, y))


def units(planes: Sequence[Plane]) -> list[str]:
    """The lengths of u and v, in a sentence for each pair of them."""
    pairs = dict.fromkeys(lies.labels for lies in planes)
    each = [[label.partition("(unit: ")[2].rstrip(")") for label in pair] for pair in pairs]
    return [f"Units: {', '.join(filter(None, pair))}" for pair in each if any(pair)]


def checkpoint_name(direction: Mapping[str, Any]) -> str:
    """The stem of the checkpoint that a direction leads to."""
    return stem(str(direction.get("name", "")))


def stem(path: str) -> str:
    """A checkpoint's name in a figure: its file's, without the ending, cut in the middle where it is long."""
    name, last = Path(path).stem, (LONG - 1) * 2 // 3  # names of a series differ at their ends
    return printable(name if len(name) <= LONG else f"{name[: LONG - 1 - last]}…{name[-last:]}")


def direction_label(direction: Mapping[str, Any], coordinate: str, vector: str) -> str:
    """A coordinate's axis: which direction, and the length of its unit: filter direction 1, ‖u‖ = 12.3."""
    kind, name = str(direction.get("kind", "")), str(direction.get("name", ""))
    if not kind:
        return f"${coordinate}$"
    if kind == "checkpoint":
        what = f"{NAMES[kind]} {checkpoint_name(direction)}"
    else:
        number = name.rpartition(":")[2]
        what = NAMES.get(kind, printable(Path(name.removeprefix("file:")).name or kind))
        what += f" {number}" if kind in NAMES and number.isdigit() else ""
    if isinstance(explained := direction.get("explained"), int | float):
        what += f": {100 * explained:.1f} %"
    length = direction.get("norm")
    return f"{what}\n(unit: $\\|{vector}\\|$ = {length:.3g})" if length else what


def frame(axes: Axes, lies: Plane, x: np.ndarray, y: np.ndarray, room: tuple[float, float]) -> None:
    """Limits, ticks, aspect and labels of a plane; where u and v are not orthogonal, its parallelogram.

    room: beyond the outermost coordinates, along x and y
    """
    sides = [(values[0] - extra, values[-1] + extra) for values, extra in zip((x, y), room, strict=True)]
    (left, right), (bottom, top) = sides
    axes.set_xlabel(lies.labels[0], fontsize=STYLE["font.size"])
    axes.set_ylabel(lies.labels[1], fontsize=STYLE["font.size"])
    if not lies.sheared(x, y):
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, top)
        axes.set_aspect(lies.ratio if lies.to_scale(x, y) else "auto")
        if not lies.to_scale(x, y):
            axes.set_box_aspect(1)
        for axis, values in ((axes.xaxis, x), (axes.yaxis, y)):
            if len(values) > 1:
                axis.set_major_locator(matplotlib.ticker.MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
            else:
                axis.set_ticks(values)
            axis.set_major_formatter(lambda value, _: short(value))
        axes.spines[:].set_visible(True)
        return
    axes.set_aspect("equal")
    axes.spines[:].set_visible(False)
    corners = lies.place([left, right, right, left, left], [bottom, bottom, top, top, bottom], sheared=True)
    axes.plot(*corners, color="black", linewidth=0.7, clip_on=False, zorder=5)
    axes.set_xlim(*map(float, (corners[0].min(), corners[0].max())))
    axes.set_ylim(*map(float, (corners[1].min(), corners[1].max())))
    along, up = ticks(left, right), ticks(bottom, top)
    axes.set_xticks(lies.place(along, np.full(len(along), bottom), sheared=True)[0], [*map(short, along)])
    axes.set_yticks([])
    slope = math.degrees(math.acos(lies.cosine))
    edge = lies.place(np.full(len(up), left), up, sheared=True)
    small: Any = {"textcoords": "offset points", "va": "center", "annotation_clip": False}
    for tick, at in zip(up, zip(*edge, strict=True), strict=True):
        axes.plot(*at, marker=0, markersize=3, color="black", markeredgewidth=0.7, clip_on=False)
        axes.annotate(short(tick), at, xytext=(-6, 0), ha="right", **small)
    axes.set_ylabel("")
    middle = lies.place(left, (bottom + top) / 2, sheared=True)
    away = np.array([-math.sin(math.radians(slope)), math.cos(math.radians(slope))]) * 30
    axes.annotate(
        lies.labels[1],
        (float(middle[0]), float(middle[1])),
        xytext=(float(away[0]), float(away[1])),
        ha="center",
        rotation=slope - 180 * (slope > 90),  # never upside down
        rotation_mode="anchor",
        multialignment="center",
        fontsize=axes.xaxis.label.get_fontsize(),
        **small,
    )


def ticks(low: float, high: float, most: int = 5) -> np.ndarray:
    """Few round coordinates from low to high."""
    locator = matplotlib.ticker.MaxNLocator(nbins=most, steps=[1, 2, 5, 10])
    found = np.array(locator.tick_values(low, high))
    return np.round(found[(found >= low - 1e-9) & (found <= high + 1e-9)], 12)


def short(value: float) -> str:
    """A coordinate in as few characters as it takes."""
    return f"{round(value, 12):g}".replace("-", "−")
