"""What a reader must know of a figure of surfaces and cannot see in it, in a few words below it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.plot.levels import Scale, named
from landscape.plot.plane import SHEARED, SLIVER, Plane, holds_theta
from landscape.plot.style import mathematics, printable
from landscape.results import Run

if TYPE_CHECKING:
    from landscape.surfaces.surface import Surface


def caption(
    runs: Sequence[Run],
    results: Sequence[Surface],
    planes: Sequence[Plane],
    found: Scale,
    *,
    names: Sequence[str] = (),
    lost: str = "Hatched",
) -> list[str]:
    """Sentences on what was cut, left out or interpolated, and on the geometry of the planes.

    results, planes: of the panels, in their order
    names: of the panels; (a), (b) … by default
    lost: how cells are drawn whose loss is not finite
    """
    names = names or [f"({chr(97 + i % 26)})" for i in range(len(results))]
    return [
        *_cut(results, found),
        *missing(results, names, lost),
        *_geometry(results, planes),
        *ended(runs),
    ]


def missing(results: Sequence[Surface], names: Sequence[str], lost: str) -> list[str]:
    """Which cells are not finite, not done, or interpolated, by the names of the results."""

    def each(told: Callable[[Surface], str]) -> str:
        found = [told(result) for result in results]
        if len(set(found)) == 1:  # the same of all
            return found[0]
        return ", ".join(f"{name} {what}" for name, what in zip(names, found, strict=True) if what)

    told = []
    if cells := each(lambda r: f"{n:,} cells" if (n := int((r.done & ~np.isfinite(r.loss)).sum())) else ""):
        told.append(f"{lost}: the loss is not finite, {cells}")
    if blank := each(lambda r: "" if r.done.all() else f"{r.done.sum():,} of {r.done.size:,} cells done"):
        told.append(f"Blank: not computed yet, {blank}")
    if spline := each(lambda r: f"{100 * r.interpolated.mean():.0f} %" if r.interpolated.any() else ""):
        worst = max(r.interpolation_error for r in results if r.interpolated.any())
        told.append(f"Interpolated by splines, off by {worst:.2g} (rms): {spline} of the cells")
    return told


def ended(runs: Sequence[Run]) -> list[str]:
    """That a run was stopped before it was done."""
    early = [run for run in runs if not run.complete]
    names = [printable(Path(run.provenance["checkpoint"]["path"]).stem) for run in early if len(runs) > 1]
    which = f" ({', '.join(names)})" if names else ""
    return [f"Incomplete: ended before it was done{which}"] if early else []


def _cut(results: Sequence[Surface], found: Scale) -> list[str]:
    losses = np.concatenate([result.loss[result.done].ravel() for result in results])
    losses, told = losses[np.isfinite(losses)], []
    for beyond, limit, where in (
        (losses[losses > found.high], found.high, "above, up"),
        (losses[losses < found.low], found.low, "below, down"),
    ):
        if len(beyond):
            worst = beyond[np.abs(beyond - limit).argmax()]
            share = f"{len(beyond):,} of {len(losses):,} cells lie {where} to {mathematics(f'{worst:.2g}')}"
            told.append(f"Cut at {named(limit, found.levels)}: {share}")
    return told


def _geometry(results: Sequence[Surface], planes: Sequence[Plane]) -> list[str]:
    told: dict[str, None] = {}
    for result, lies in zip(results, planes, strict=True):
        assert result.y is not None
        angle = f"{math.degrees(math.acos(lies.cosine)):.0f}°"
        if lies.sheared(result.x, result.y):
            told[f"Directions at their true angle of {angle}"] = None
        elif (
            not lies.to_scale(result.x, result.y) and min(result.loss.shape) > 1 and math.isfinite(lies.ratio)
        ):
            sliver = abs(lies.cosine) > SLIVER
            if not (sliver and math.isclose(np.ptp(result.y) * lies.ratio, np.ptp(result.x), rel_tol=0.005)):
                norms = rf": $\|v\|$ = {lies.ratio:.2g} $\|u\|$" if f"{lies.ratio:.2g}" != "1" else ""
                at = f", at {angle}" if SHEARED < abs(lies.cosine) <= SLIVER else ""
                told[f"Axes not to one scale{norms}{at}"] = None
            if sliver:
                told[f"Axes meet at {angle}, drawn at right angles"] = None
    return [*told]


def circles(results: Sequence[Surface], planes: Sequence[Plane]) -> list[str]:
    """How the checkpoints of a trajectory are drawn, and how many lie beyond the plane's edges."""
    drawn = [(r, lies.trajectory) for r, lies in zip(results, planes, strict=True) if lies.trajectory]
    if not drawn:
        return []
    result, each = drawn[0]
    assert result.y is not None
    x, y = np.asarray(each["x"]), np.asarray(each["y"])
    outside = (x < result.x[0]) | (x > result.x[-1]) | (y < result.y[0]) | (y > result.y[-1])
    filled = ", filled by their own loss" if each.get("losses") else ""
    origin = "the star" if all(r.y is not None and holds_theta(r.x, r.y) for r, _ in drawn) else r"$\theta$"
    told = [
        f"Circles: checkpoints projected onto the plane{filled}; the larger, the more of their way from "
        f"{origin} lies off it ({_span([told for _, told in drawn])})"
    ]
    if outside.any():
        told.append(f"{outside.sum()} of {len(x)} checkpoints lie beyond the edges")
    return told


def circles_on_lines(planes: Sequence[Plane], losses: np.ndarray, limits: tuple[float, float]) -> list[str]:
    """The same of lines, whose circles lie at these losses, and how many beyond the limits of their axes."""
    drawn = [lies.trajectory for lies in planes if lies.trajectory]
    if not drawn or not len(losses):
        return []
    told = [
        "Circles: checkpoints projected onto the line, each at its own loss; the larger, the more of their "
        rf"way from $\theta$ lies off it ({_span(drawn)})"
    ]
    inside = (losses >= limits[0]) & (losses <= limits[1])
    if not inside.all():
        told.append(f"{(~inside).sum()} of {len(losses)} circles lie beyond the edges")
    return told


def _span(drawn: Sequence[Mapping[str, Any]]) -> str:
    """How much of the checkpoints' ways lies off, from the least to the most."""
    off = 100 * np.concatenate([np.nan_to_num(each["relative_residual"]) for each in drawn])
    return f"{off.min():.0f} to {off.max():.0f} %" if off.max() > off.min() else f"{off[0]:.0f} %"
