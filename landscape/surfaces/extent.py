"""How far to look from θ: where the loss reaches a multiple of that of θ."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from landscape.errors import InputError, NumericalError

MULTIPLE = 5.0
"""What the loss reaches at the edge of a picture, over that of θ: two steps of levels at 1, 2, 5."""

LEAST_RISE = math.log(2)
"""What the loss rises at least up to the edge: of a loss near 0, so is any multiple. This halves the
probability of the right label."""

STEP = 4.0
"""Factor between coordinates until the loss is found on both sides of what it shall reach."""

NEAR = 1.2
"""Factor between the two coordinates where the search ends: rounding moves it by as much."""

SHOWN = 0.9
"""Share of its rise that a loss which levels off should show."""

FLAT = 0.05
"""Rise over the loss of θ below which nothing is to be shown."""

ROUND = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


@dataclass(frozen=True, eq=False)
class Extent:
    """The coordinate up to which a surface shows something.

    extent: the coordinate, a round number
    reached: whether the loss was found on both sides of `target`, finite
    target: what the loss should reach
    t, losses: coordinates that were tried, θ first, and the loss there (evaluations,)
    """

    extent: float
    reached: bool
    target: float
    t: np.ndarray
    losses: np.ndarray

    @property
    def evaluations(self) -> int:
        return len(self.t)

    @property
    def remark(self) -> str:
        """Why the loss does not reach its target, in a sentence with the remedy; nothing where it does."""
        if self.reached:
            return ""
        below, finite = self.losses < self.target, np.isfinite(self.losses)
        if below.all():
            why = f"is {self.losses.max():.3g} at most, up to {self.t.max():.3g}"
        elif finite.all():
            why = f"is past it from {self.t[~below].min():.3g} on, the least that was tried"
        else:
            why = f"is not finite from {self.t[~finite].min():.3g} on"
        return (
            f"--extent auto sought a loss of {self.target:.3g}, that of θ being {self.losses[0]:.3g}, but it "
            f"{why}; {self.extent:g} is taken, or give --extent a number"
        )


def extent(value: Callable[[float], float], multiple: float = MULTIPLE, most: int = 12) -> Extent:
    """Where the loss reaches `multiple` times that of θ, or 0.69 more if that is more, to a round number.

    From 1 on the coordinate grows or shrinks by factors of 4 until the target lies between two; then they are
    halved in log t until they are within a factor of 1.2, where the rise is taken for a power of t. A loss
    that is not finite counts as one past the target. Where the target is not reached, the extent lies before
    the coordinates whose loss is not finite; on a loss that levels off, where it shows 90 % of the rise that
    it has; 1 where that is less than 5 % of the loss of θ.

    value: the loss at a coordinate t ≥ 0, such as its mean or maximum over ±t along each direction
    most: calls of value at most, that at 0 included
    NumericalError: the loss of θ itself is not finite
    """
    if not 1 < multiple < math.inf or most < 3:
        raise InputError(
            f"multiple = {multiple}, most = {most}: give a finite multiple above 1, and most of 3 or more"
        )
    seen = {0.0: float(value(0.0))}
    centre = seen[0.0]
    if not math.isfinite(centre):
        raise NumericalError(
            f"the loss of θ is {centre}: there is no range around it; give --extent a number"
        )
    target = max(multiple * centre, centre + LEAST_RISE)
    low, high, t = 0.0, math.inf, 1.0
    while len(seen) < most and high > NEAR * low:
        seen[t] = float(value(t))
        if seen[t] < target:
            low = t
        else:  # NaN as well
            high = t
        t = STEP * low if high == math.inf else math.sqrt(low * high) if low else high / STEP
    reached = low > 0 and high < math.inf and math.isfinite(seen[high])
    return Extent(
        _extent(seen, low, high, target),
        reached,
        target,
        np.array(list(seen)),
        np.array(list(seen.values())),
    )


def _extent(seen: dict[float, float], low: float, high: float, target: float) -> float:
    """The round number for what was seen: `low` is the last coordinate below the target, `high` the first
    past it, 0 and infinity where there is none."""
    centre = seen[0.0]
    if high == math.inf:
        top = max(seen.values()) - centre
        shown = min(t for t, loss in seen.items() if loss - centre >= SHOWN * top)
        return _round(shown) if top > FLAT * abs(centre) else 1.0
    if not low or not math.isfinite(seen[high]):
        return _round(low or high, down=True)
    first, last, wanted = seen[low] - centre, seen[high] - centre, target - centre
    if first <= 0:
        return _round(math.sqrt(low * high))
    return _round(low * (high / low) ** (math.log(wanted / first) / math.log(last / first)))


def _round(t: float, down: bool = False) -> float:
    """The nearest number of few digits, by factor, or the next one below."""
    tens = 10.0 ** math.floor(math.log10(t))
    if down:
        digit = max(each for each in ROUND if each <= t / tens * (1 + 1e-9))
    else:
        digit = min(ROUND, key=lambda each: abs(math.log(each * tens / t)))
    return float(f"{digit * tens:.3g}")
