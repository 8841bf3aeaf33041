"""The shape of a line or a plane in single numbers, each with its standard error.

Everywhere `loss` is the loss of the cells (ny, nx), or (nx,) on a line, and `groups` that of G groups of the
examples in each cell, (…, G) of `sizes` (G,). All cells share the examples, so errors are those of paired
differences: the jackknife over the groups. One group has none: NaN. NaN is "not computed" throughout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from landscape.sampling import standard_error

WITHIN = 0.5
"""The relative radius of Stutz et al.'s average-case flatness."""


@dataclass(frozen=True)
class Barrier:
    """The largest rise of the loss above the chord between two checkpoints, and where it is."""

    height: float
    stderr: float
    at: float


@dataclass(frozen=True)
class Curvature:
    """The second derivative at θ, from a local fit.

    sampling: standard error over the examples
    misfit: how far the fit may be off on these examples, kinks and noise included
    window: the largest coordinate of the cells that were fitted
    """

    value: float
    sampling: float
    misfit: float
    window: float

    @property
    def stderr(self) -> float:
        return math.hypot(self.sampling, self.misfit)


UNKNOWN = Curvature(math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Rise:
    """How much the loss rises from θ, on average and at worst, over the cells up to a relative radius.

    radius: the largest relative radius of these cells
    cells: their number, θ's own included
    """

    average: float
    average_stderr: float
    worst: float
    worst_stderr: float
    radius: float
    cells: int


@dataclass(frozen=True)
class Roughness:
    """How much the loss jumps from cell to cell: the standard deviation `noise`, and that over the range."""

    relative: float
    stderr: float
    noise: float


def origin(*axes: np.ndarray | None) -> tuple[int, ...] | None:
    """The index of θ's own cell on these axes, None where it is no cell."""
    places = [np.flatnonzero(axis == 0) for axis in axes if axis is not None]
    return tuple(int(place[0]) for place in places) if all(len(place) for place in places) else None


def barrier(t: np.ndarray, loss: np.ndarray, groups: np.ndarray, sizes: np.ndarray) -> Barrier:
    """max over the cells in [0, 1] of L(t) − ((1 − t) L(0) + t L(1)), between checkpoints at t = 0 and 1.

    Frankle et al. (1912.05671) count the rise from the mean of the ends, here it is counted from the chord
    (Entezari et al., 2110.06296), which is the same where the ends are equal. It is 0 at both ends, hence
    never negative: a convex line has 0 ± 0, at 0. The largest of noisy values is biased upwards; the error
    is that of the rise where it is found. NaN unless 0, 1 and all cells between are there, and finite.
    """
    inside = (t >= 0) & (t <= 1)
    t, loss, groups = t[inside], loss[inside], groups[inside]
    if not (0.0 in t and 1.0 in t and np.isfinite(loss).all()):
        return Barrier(math.nan, math.nan, math.nan)

    def above(values: np.ndarray) -> np.ndarray:
        return values - ((1 - t) * values[0] + t * values[-1])

    top = int(above(loss).argmax())
    error = standard_error(lambda means: above(means)[top], groups, sizes)
    return Barrier(float(above(loss)[top]), float(error), float(t[top]))


def curvature(x: np.ndarray, loss: np.ndarray, groups: np.ndarray, sizes: np.ndarray) -> Curvature:
    """d²L/dx² at x = 0, by least squares with a quartic over the k cells on each side of θ.

    In the manner of Ridders (1982) the misfit is what the next lower order would change: a parabola through
    the same cells, and one through half as many. To that is added the standard error from what the quartic
    leaves over; odd terms of one order more are fitted besides, which cost no curvature. The window grows
    while its interval, ± the misfit, meets those of all smaller ones (Goldenshluger & Nemirovski 1997); of
    these the one with the least error is taken: small where the loss is smooth, large where it is noisy.
    At a kink none fits, and the misfit is of the size of the value. NaN unless θ is a cell and has 2 cells on
    each side; with just 2 a quartic leaves nothing over, and the misfit is itself a rough guess.
    """
    at = origin(x)
    reach = 0 if at is None else _reach(np.isfinite(loss), at[0])
    if at is None or reach < 2:
        return UNKNOWN
    fits: list[Curvature] = []
    lower, upper = -math.inf, math.inf
    for k in range(min(3, reach), reach + 1):
        fit = _fit(x, loss, groups, sizes, at[0], k)
        lower, upper = max(lower, fit.value - fit.misfit), min(upper, fit.value + fit.misfit)
        if fits and lower > upper:
            break
        fits.append(fit)
    # The misfit alone decides where one group tells nothing of the sampling.
    return min(fits, key=lambda fit: math.hypot(fit.misfit, np.nan_to_num(fit.sampling)))


def _fit(
    x: np.ndarray, loss: np.ndarray, groups: np.ndarray, sizes: np.ndarray, centre: int, k: int
) -> Curvature:
    """The second derivative in x from the k cells on each side."""
    near = slice(centre - k, centre + k + 1)
    half = slice(centre - max(2, (k + 1) // 2), centre + max(2, (k + 1) // 2) + 1)
    rises = loss - loss[centre]
    weights, off = _second(x[near], 4, rises[near])
    value = weights @ rises[near]
    lower = [_second(x[part], 2, rises[part])[0] @ rises[part] for part in (near, half)]
    order = max(abs(value - other) for other in lower)
    paired = groups[near] - groups[centre]
    sampling = standard_error(lambda means: weights @ means, paired, sizes)
    noise = off * float(np.linalg.norm(weights))
    return Curvature(value, float(sampling), math.hypot(order, noise), float(np.abs(x[near]).max()))


def _reach(there: np.ndarray, centre: int) -> int:
    """How many cells on each side of one are there without a gap."""
    if not there[centre]:
        return 0
    left, right = there[:centre][::-1], there[centre + 1 :]
    return min(int(np.logical_and.accumulate(side).sum()) for side in (left, right))


def _second(x: np.ndarray, degree: int, values: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (m,) whose product with m values is the second derivative at 0 of the polynomial nearest to
    them, and the standard deviation of what it leaves over."""
    scale = np.abs(x).max()
    design = np.vander(x / scale, min(degree + 2, len(x)), increasing=True)
    inverse = np.linalg.pinv(design)
    free = len(x) - design.shape[1]
    left = values - design @ (inverse @ values)
    return 2 * inverse[2] / scale**2, math.sqrt(left @ left / free) if free else 0.0


def rise(
    loss: np.ndarray,
    groups: np.ndarray,
    sizes: np.ndarray,
    radius: np.ndarray,
    centre: tuple[int, ...] | None,
    within: float = WITHIN,
) -> Rise:
    """Mean and maximum of L(θ + step) − L(θ) over the cells of relative radius ‖step‖ / ‖w‖ ≤ within.

    Robust flatness, average and worst case, of Stutz et al. 2021 (2104.04448) counts these over all steps
    that are small against each layer's weights. Here the steps are the cells of one line or plane, all with
    the same weight: the worst is below theirs, and the average is that of this plane alone. So they compare
    budgets and nets along like directions, over like grids. The worst of noisy cells is biased upwards; its
    error is that where it is found. NaN without θ's own cell and another one, or if any loss is not finite.

    radius: of each cell, shaped as the loss: the largest over the layers
    centre: index of θ's own cell
    """
    inside = radius <= within
    cells = int(inside.sum())
    if centre is None or cells < 2 or not inside[centre] or not np.isfinite(loss[inside]).all():
        return Rise(math.nan, math.nan, math.nan, math.nan, math.nan, cells)
    rises = loss[inside] - loss[centre]
    paired = groups[inside] - groups[centre]
    worst = int(rises.argmax())
    error = standard_error(lambda means: np.array([means.mean(), means[worst]]), paired, sizes)
    return Rise(
        float(rises.mean()),
        float(error[0]),
        float(rises[worst]),
        float(error[1]),
        float(radius[inside].max()),
        cells,
    )


def roughness(
    loss: np.ndarray, groups: np.ndarray, sizes: np.ndarray, measured: np.ndarray | None = None
) -> Roughness:
    """Root mean square of the fourth differences along rows and columns, over √70 and over the range.

    Second differences would count the curvature of every smooth bowl as roughness. Fourth ones vanish on any
    cubic, and shrink as the fourth power of the spacing on any smooth loss. On independent noise of standard
    deviation σ their mean square is 70 σ², so that σ over the range comes out (Moré & Wild 2011, "Estimating
    computational noise"). Kinks and jumps stay: they are what to look for where adversaries switch. It is a
    property of these examples: with more of them, each with its own kinks, it falls. NaN where no five cells
    in a row are there, or where the loss is the same everywhere.

    measured: cells (…) that count; a spline through measured cells is smooth by construction
    """
    finite = np.isfinite(loss)
    counts = finite if measured is None else finite & measured
    known = np.where(counts, loss, np.nan)
    axes = [axis for axis in range(loss.ndim) if loss.shape[axis] > 4]
    whole = [np.isfinite(np.diff(known, 4, axis=axis)) for axis in axes]
    span = float(np.ptp(loss[finite])) if finite.any() else 0.0
    if not span or not any(each.any() for each in whole):
        return Roughness(math.nan, math.nan, math.nan)
    low, high = (
        np.unravel_index(place, loss.shape)
        for place in (np.where(finite, loss, np.inf).argmin(), np.where(finite, loss, -np.inf).argmax())
    )

    def noise(values: np.ndarray) -> float:
        kept = [np.diff(values, 4, axis=axis)[each] for axis, each in zip(axes, whole, strict=True)]
        return math.sqrt(np.mean(np.concatenate(kept) ** 2) / 70)

    def relative(means: np.ndarray) -> float:
        return noise(means) / (means[high] - means[low])

    error = standard_error(relative, np.where(np.isfinite(groups), groups, np.nan), sizes)
    return Roughness(noise(known) / span, float(error), noise(known))
