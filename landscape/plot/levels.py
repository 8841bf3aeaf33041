"""Which loss has which colour: one scale for all panels that are compared, with levels that can be read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.colors
import matplotlib.ticker
import numpy as np

from landscape.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar

MOST = 13  # levels: four decades of 1, 2, 5
FEW = 7  # levels: two decades of them
DECADES = 8  # at most, below the highest level: what is lower is drawn as the lowest band
ABOVE, BELOW = "#fff7d6", "#1c0021"  # the colours beyond both ends of viridis


@dataclass(frozen=True, eq=False)
class Scale:
    """The bands of a loss: their limits, and what is done with a loss beyond them.

    levels: what is labelled, ascending: 1, 2, 5 times powers of ten, or a linear ladder of such steps
    logarithmic: whether colours go by the logarithm
    capped: whether losses above the highest level are drawn as one band, "≥"
    floored: whether losses below the lowest one are
    colours: a perceptually uniform map of matplotlib's
    """

    levels: np.ndarray
    logarithmic: bool
    capped: bool = False
    floored: bool = False
    colours: str = "viridis"

    @property
    def low(self) -> float:
        return float(self.levels[0])

    @property
    def high(self) -> float:
        return float(self.levels[-1])

    @property
    def limits(self) -> np.ndarray:
        """Where a band ends: the levels, and where there are few on a logarithmic scale 1.5, 3, 7 between."""
        if not self.logarithmic or len(self.levels) > FEW:
            return self.levels
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        between = [float(f"{m}e{d}") for d in range(first, last + 1) for m in (1.5, 3, 7)]
        return np.array(sorted({*self.levels.tolist(), *(b for b in between if self.low < b < self.high)}))

    @property
    def extend(self) -> Any:
        """As matplotlib names what a scale has beyond its ends."""
        return {(False, False): "neither", (True, False): "max", (False, True): "min"}.get(
            (self.capped, self.floored), "both"
        )

    def norm(self) -> matplotlib.colors.Normalize:
        kind = matplotlib.colors.LogNorm if self.logarithmic else matplotlib.colors.Normalize
        return kind(self.low, self.high)

    def map(self) -> matplotlib.colors.Colormap:
        """With a colour for what is beyond each end."""
        return matplotlib.colormaps[self.colours].with_extremes(over=ABOVE, under=BELOW)

    def mappable(self) -> ScalarMappable:
        """What a colour bar needs."""
        from matplotlib.cm import ScalarMappable

        return ScalarMappable(self.norm(), self.map())

    def between(self) -> np.ndarray:
        """The values whose colours the bands have, those beyond the ends with them."""
        limits = _beyond(self)
        return np.sqrt(limits[1:] * limits[:-1]) if self.logarithmic else (limits[1:] + limits[:-1]) / 2

    def drawable(self, loss: np.ndarray) -> np.ma.MaskedArray:
        """Losses with those that are not finite masked, and zeros where a logarithm can be taken of them."""
        lowest = self.low / 2 if self.logarithmic else -np.inf
        return np.ma.masked_invalid(np.where(loss < lowest, lowest, loss))

    def names(self) -> list[str]:
        """The levels as text; of those beyond which a band begins, ≥ and <."""
        found = [named(level, self.levels) for level in self.levels]
        if self.capped:
            found[-1] = f"$\\geq${found[-1]}"
        if self.floored:
            found[0] = f"<{found[0]}"
        return found


def scale(values: np.ndarray, cap: float | None = None, *, colours: str = "viridis") -> Scale:
    """The scale for finite losses: logarithmic where the positive ones span a decade and none is negative.

    The lowest and the highest level lie outside of all losses. Unless a cap is given there is one only where
    a few outliers would take most of the colours: at the level above the 95 % quantile, where the largest
    loss is more than ten times that.

    cap: losses above it are drawn as one band
    colours: a perceptually uniform map of matplotlib's
    """
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    if cap is not None and not 0 < cap < math.inf:
        raise InputError(f"cap = {cap:g} is no loss to cut at; give a positive number, or none")
    if not len(values):
        return Scale(np.array([0.0, 1.0]), False, colours=colours)
    high, positive = float(values.max()), values[values > 0]
    if cap is not None:
        high = min(cap, high)
    elif high > 10 * (usual := float(np.quantile(values, 0.95))) > 0:
        high = usual
    logarithmic = values.min() >= 0 and len(positive) > 0 and high >= 10 * positive.min()
    if logarithmic:
        low = max(float(positive.min()), high / 10**DECADES)
        levels = ladder(low, high)
    else:
        low = min(float(values.min()), high)
        levels = steps(low, high)
    if cap is not None and values.max() > cap:
        levels = np.array([*levels[levels < cap * (1 - 1e-9)], cap])
        levels = levels if len(levels) > 1 else np.array([min(low, cap / 2), cap])
    capped, floored = bool(values.max() > levels[-1]), bool(values.min() < levels[0])
    return Scale(levels, bool(logarithmic), capped, floored, colours)


def ladder(low: float, high: float, most: int = MOST) -> np.ndarray:
    """1, 2, 5 times powers of ten around low to high; of more than `most` only every k-th power."""
    # A power more on either side: logarithms are rounded.
    first, last = math.floor(math.log10(low)) - 1, math.floor(math.log10(high)) + 2
    for every in range(last - first + 1):
        mantissas, gap = ((1, 2, 5), 1) if not every else ((1,), every)
        each = [float(f"{m}e{d}") for d in range(gap * (first // gap), last + gap, gap) for m in mantissas]
        found = _around(np.array(each), low, high)
        if len(found) <= most:
            break
    return found


def steps(low: float, high: float) -> np.ndarray:
    """Multiples of 1, 2 or 5 times a power of ten around low to high."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = 0.05 * max(abs(low), abs(high)) or 1.0
        low, high = low - room, high + room
    locator = matplotlib.ticker.MaxNLocator(nbins=9, steps=[1, 2, 5, 10])
    return _around(np.array(locator.tick_values(low, high)), low, high)


def _around(levels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Those of the levels that are needed: the last one not above low to the first one not below high."""
    start = max(0, int(np.searchsorted(levels, low, side="right")) - 1)
    return levels[start : int(np.searchsorted(levels, high, side="left")) + 1]


def named(level: float, levels: Sequence[float] | np.ndarray = ()) -> str:
    """A level as a paper writes it: 0.5, 20, 10⁵; those of one linear ladder with equally many decimals."""
    exponent = math.floor(math.log10(abs(level)) + 1e-9) if level else 0
    if not -4 < exponent < 5:
        mantissa = level / 10.0**exponent
        times = "" if abs(mantissa - 1) < 1e-9 else rf"{mantissa:g}\times"
        return rf"${times}10^{{{exponent}}}$"
    gaps = np.diff(levels)
    if len(gaps) > 1 and np.allclose(gaps, gaps[0]):
        decimals = max(0, -math.floor(math.log10(gaps[0]) + 1e-9))
        return f"{level:.{decimals}f}"
    return f"{level:g}"


def ink(found: Scale, level: float) -> str:
    """White on the dark colours of the map, black on the light ones."""
    red, green, blue, _ = found.map()(found.norm()(level))
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.45 else "white"


def colour_bar(
    found: Scale, axes: Sequence[Axes], label: str, *, bands: bool, rows: int = 1, pad: float = 0.015
) -> Colorbar:
    """One colour bar for all axes, with a number at each level, the first and the last telling the cap.

    bands: in the colours of filled contours, one between two levels
    rows: of the axes, for its width
    pad: room between, as a share of the axes
    """
    divided: Any = {"boundaries": _beyond(found), "values": found.between()} if bands else {}
    bar = axes[0].figure.colorbar(
        found.mappable(),
        ax=axes,
        label=label,
        ticks=found.levels,
        extend=found.extend,
        aspect=25 * rows,
        pad=pad,
        fraction=0.05,
        spacing="proportional",
        **divided,
    )
    if bands and found.logarithmic:
        bar.ax.set_yscale("log")
    bar.ax.set_yticks(found.levels, found.names())
    bar.ax.minorticks_off()
    bar.outline.set_linewidth(0.5)
    return bar


def _beyond(found: Scale) -> np.ndarray:
    """The limits of the bands, and where there is one beyond an end, some limit of it."""
    first, last = found.levels[:1], found.levels[-1:]
    below, above = (first / 2, last * 2) if found.logarithmic else (first - 1, last + 1)
    return np.concatenate([below[: found.floored], found.limits, above[: found.capped]])
