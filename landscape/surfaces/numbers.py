"""What a surface says: its shape in single numbers by name, as lines of a table, and what to beware of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from landscape.format import plus_minus, sampled
from landscape.sampling import standard_error
from landscape.surfaces.shape import UNKNOWN, WITHIN, Curvature, barrier, curvature, origin, rise, roughness

FLAT = 0.05
"""Range of the loss, over that of θ, below which a surface shows nothing."""

STEEP = 1e4
"""Largest loss, over that of θ, above which a surface shows nothing near θ."""

SHOWS = 5.0
"""Times the inner gap that a surface must span to show the loss rather than the attack."""

NEGLIGIBLE = 1e-2
"""A loss of θ below this counts as this where a largest loss is set against it."""


def numbers(
    x: np.ndarray,
    y: np.ndarray | None,
    loss: np.ndarray,
    groups: np.ndarray,
    sizes: np.ndarray,
    radius: np.ndarray,
    hessian: np.ndarray | None = None,
    *,
    lengths: Sequence[float],
    between: bool = False,
    within: float = WITHIN,
    interpolated: np.ndarray | None = None,
) -> dict[str, float]:
    """Barrier, curvature, rise, roughness by name, each with `…_stderr`; NaN where the grid does not tell.

    loss, groups, radius: of the cells (ny, nx), (ny, nx, G) and (ny, nx), or without ny on a line
    hessian: (axes, 2) vᵀHv along the unit vector of each axis, and its standard error. The sampling
        error of the ratio takes the two for independent, which share the examples: too wide if anything
    lengths: |u|, and |v| on a plane
    between: whether u leads from one checkpoint to another, at x = 0 and 1
    within: largest relative radius of the cells that count as rise
    interpolated: cells of a spline: they count as rise, but in no fit, barrier or roughness
    """
    measured = np.ones(loss.shape, bool) if interpolated is None else ~interpolated
    found: dict[str, float] = {}
    if between and y is None:
        wall = barrier(x[measured], loss[measured], groups[measured], sizes)
        found |= {"barrier": wall.height, "barrier_stderr": wall.stderr, "barrier_at": wall.at}
    bends = {"x": _bend(x, y, loss, groups, sizes, measured)}
    if y is not None:
        bends["y"] = _bend(y, x, loss.T, groups.swapaxes(0, 1), sizes, measured.T)
    exact = np.full((len(bends), 2), math.nan) if hessian is None else hessian
    for k, (name, bend) in enumerate(bends.items()):
        found |= _curved(name, bend, lengths[k], *map(float, exact[k]))
    risen = rise(loss, groups, sizes, radius, origin(y, x), within)
    found |= {"rise_average": risen.average, "rise_average_stderr": risen.average_stderr}
    found |= {"rise_worst": risen.worst, "rise_worst_stderr": risen.worst_stderr}
    found |= {"rise_radius": risen.radius, "rise_cells": float(risen.cells)}
    rough = roughness(loss, groups, sizes, measured)
    return found | {"roughness": rough.relative, "roughness_stderr": rough.stderr, "noise": rough.noise}


def _bend(
    axis: np.ndarray,
    across: np.ndarray | None,
    loss: np.ndarray,
    groups: np.ndarray,
    sizes: np.ndarray,
    measured: np.ndarray,
) -> Curvature:
    """The curvature at θ along the last axis of the cells, in its own coordinate."""
    row = origin(across)
    if row is None:
        return UNKNOWN
    kept = measured[row]
    return curvature(axis[kept], loss[row][kept], groups[row][kept], sizes)


def _curved(name: str, bend: Curvature, length: float, exact: float, exact_error: float) -> dict[str, float]:
    """A curvature along the unit vector; over vᵀHv it is 1 where loss is smooth and adversary at rest."""
    value, sampling, misfit = (float(each) / length**2 for each in (bend.value, bend.sampling, bend.misfit))
    ratio, size = (value / exact, abs(exact)) if exact else (math.nan, math.nan)
    return {
        f"curvature_{name}": value,
        f"curvature_{name}_stderr": math.hypot(sampling, misfit),
        f"curvature_{name}_sampling": sampling,
        f"curvature_{name}_misfit": misfit,
        f"curvature_{name}_window": bend.window,
        f"hessian_{name}": exact,
        f"hessian_{name}_stderr": exact_error,
        f"ratio_{name}": ratio,
        f"ratio_{name}_stderr": math.hypot(sampling, misfit, ratio * exact_error) / size,
        f"ratio_{name}_sampling": math.hypot(sampling, ratio * exact_error) / size,
        f"ratio_{name}_misfit": misfit / size,
    }


def rows(found: dict[str, float]) -> dict[str, str]:
    """The numbers as lines of a table, without those that were not computed.

    ± standard error over the examples; of curvatures and ratios ± misfit, the examples' share in brackets.
    """
    told = {}
    if _known(found, "barrier"):
        told["barrier"] = plus_minus(found["barrier"], found["barrier_stderr"])
        told["barrier is at"] = f"{found['barrier_at']:.4g}"
    for axis in "xy":
        if _known(found, f"curvature_{axis}"):
            told[f"curvature along {axis}"] = _fitted(found, f"curvature_{axis}")
        if _known(found, f"hessian_{axis}"):
            exact, error = found[f"hessian_{axis}"], found[f"hessian_{axis}_stderr"]
            told[f"vᵀHv along {axis}"] = plus_minus(exact, 0.0) + sampled(error)
        if _known(found, f"ratio_{axis}"):
            told[f"curvature / vᵀHv, {axis}"] = _fitted(found, f"ratio_{axis}")
    if _known(found, "rise_average"):
        told["average rise"] = plus_minus(found["rise_average"], found["rise_average_stderr"])
        told["worst rise"] = plus_minus(found["rise_worst"], found["rise_worst_stderr"])
        told["rise is up to radius"] = f"{found['rise_radius']:.2g}"
    if _known(found, "roughness"):
        told["roughness"] = plus_minus(found["roughness"], found["roughness_stderr"])
    return told


def _known(found: dict[str, float], name: str) -> bool:
    return not math.isnan(found.get(name, math.nan))


def _fitted(found: dict[str, float], name: str) -> str:
    return plus_minus(found[name], found[f"{name}_misfit"]) + sampled(found[f"{name}_sampling"])


def remarks(
    x: np.ndarray,
    y: np.ndarray | None,
    loss: np.ndarray,
    groups: np.ndarray,
    sizes: np.ndarray,
    *,
    done: np.ndarray,
    centre_loss: float,
    gap: float = 0.0,
    between: bool = False,
) -> list[str]:
    """What a reader of the surface must know besides, a sentence each, with the remedy.

    A line between two checkpoints has the range that it has: of it, only losses that are not finite are told.

    done: cells that are finished (ny, nx) or (nx,)
    centre_loss: of θ, which need not be a cell
    gap: by how much the attack falls short, which differences between cells must exceed
    """
    finite = np.isfinite(loss)
    told = []
    if broken := int((done & ~finite).sum()):
        told.append(
            f"the loss of {broken} of {int(done.sum())} cells is not finite: the range is too large; "
            + ("narrow --x" if between else "give a smaller --extent, or --extent auto")
        )
    if between or not finite.any():
        return told
    if not all((at == 0).any() for at in (x, y) if at is not None):
        told.append(
            "θ is not a cell: its mark lies between others, and its loss is told apart; an odd --size has it"
        )
    lowest, highest = float(loss[finite].min()), float(loss[finite].max())
    if highest > STEEP * max(abs(centre_loss), NEGLIGIBLE):
        told.append(
            f"the loss reaches {highest:.2g}, that of θ is {centre_loss:.2g}: the range is too large to show "
            "what is near θ; give a smaller --extent, or --extent auto"
        )
    elif broken:
        pass  # said above, with the remedy
    elif finite.sum() > 1 and highest - lowest < FLAT * abs(centre_loss):
        told.append(
            f"the loss varies by {(highest - lowest) / abs(centre_loss):.1%} of that of θ: the range is too "
            "small to show anything; give a larger --extent, or --extent auto"
        )
    elif loss[finite].std() < 2 * roughness(loss, groups, sizes).noise:
        told.append(
            "cells differ little more than neighbours do at random: the range is too small to show more than "
            "noise; give a larger --extent, or --extent auto, or more --examples"
        )
    if highest - lowest < SHOWS * gap and not broken:
        told.append(
            f"the loss varies by {highest - lowest:.2g}, the attack falls short by {gap:.2g}: the range is "
            "too small to tell the loss from the attack; give a larger --extent, or more --steps-warm"
        )
    return told + _lower(x, y, loss, groups, sizes, gap)


def _lower(
    x: np.ndarray,
    y: np.ndarray | None,
    loss: np.ndarray,
    groups: np.ndarray,
    sizes: np.ndarray,
    gap: float,
) -> list[str]:
    """Whether a cell is lower than θ, by more than twice the error of the paired difference and the gap."""
    centre = origin(y, x)
    if centre is None or not np.isfinite(loss[centre]):
        return []
    best = np.unravel_index(np.nanargmin(loss), loss.shape)
    below = float(loss[centre] - loss[best])
    error = standard_error(lambda means: means, groups[centre] - groups[best], sizes)
    if not below > 2 * error + gap:
        return []
    place = ", ".join(
        f"{axis[i]:.3g}" for axis, i in zip((x, y), best[::-1], strict=False) if axis is not None
    )
    return [
        f"θ is not the lowest cell: at ({place}) the loss is lower by {plus_minus(below, float(error))}; a "
        "smaller --extent shows whether θ lies in a basin of its own"
    ]
