"""Which points of parameter space the cells of a surface are, and which cell starts from which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from landscape.axes import Axis
from landscape.errors import InputError

ROOT = -1
"""The parent of the cell next to θ: θ itself, whether it is a cell or not."""


def coordinates(written: str, option: str = "--x") -> np.ndarray:
    """The ascending coordinates of FROM:TO:COUNT, or of a single number. 0 and ±1 are met exactly."""
    try:
        parts = written.split(":")
        if len(parts) == 1:
            found = np.array([float(written)])
        else:
            start, stop, count = parts
            low, high, m = float(start), float(stop), int(count)
            if not (-np.inf < low < high < np.inf and m >= 2):
                raise ValueError
            found = np.linspace(low, high, m)
        if not np.isfinite(found).all():
            raise ValueError
    except ValueError:
        raise InputError(
            f"{option} {written!r}: coordinates are FROM:TO:COUNT with FROM < TO and a COUNT of 2 or "
            "more, such as -1:1:51, or a single number"
        ) from None
    for whole in (-1.0, 0.0, 1.0):  # where θ or another checkpoint lies, which rounding must not miss
        found[np.abs(found - whole) <= 1e-12 * np.abs(found).max()] = whole
    return found


def evenly(extent: float, size: int) -> np.ndarray:
    """`size` coordinates from −extent to extent; 0 alone for one."""
    return extent * (2 * np.arange(size) - (size - 1)) / (size - 1) if size > 1 else np.zeros(1)


def around(low: float, high: float, size: int) -> np.ndarray:
    """`size` coordinates from about low to about high that meet 0; low ≤ 0 ≤ high."""
    if size == 1 or low == high:
        return np.zeros(1)
    step = (high - low) / max(1, size - 2)  # one to spare for moving the grid onto 0
    return step * (np.arange(size) - round(-low / step))


def between(size: int) -> np.ndarray:
    """`size` coordinates that meet 0 and 1 exactly, with a sixth of them beyond on either side."""
    beyond = round((size - 1) / 6)
    return (np.arange(size) - beyond) / max(1, size - 1 - 2 * beyond)


@dataclass(frozen=True, eq=False)
class Lattice:
    """θ + x_j u + y_i v for all i, j; cell k = i · nx + j.

    theta: (P,) of the centre
    axes: one or two; a line has the single y = 0
    x, y: ascending coordinates (nx,), (ny,)
    strides: of nested grids, from coarse to fine; the last is 1
    """

    theta: Tensor
    axes: Sequence[Axis]
    x: np.ndarray
    y: np.ndarray
    strides: tuple[int, ...] = (1,)

    def __len__(self) -> int:
        return len(self.x) * len(self.y)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.y), len(self.x)

    def at(self, cell: int) -> tuple[float, float]:
        """The coordinates (x, y) of a cell."""
        i, j = divmod(cell, len(self.x))
        return float(self.x[j]), float(self.y[i])

    def point(self, cell: int) -> Tensor:
        """The parameters (P,) of a cell: summed in float64 and rounded once.

        Where another checkpoint lies they are its own, as those of θ are at (0, 0).
        """
        place = self.at(cell)
        if place == (0.0, 0.0):
            return self.theta
        for k, axis in enumerate(self.axes):
            if axis.end is not None and place == tuple(float(other == k) for other in range(2)):
                return axis.end
        moved = self.theta.double()
        for coordinate, axis in zip(place, self.axes, strict=False):
            if coordinate:
                moved = moved + coordinate * axis.vector
        return moved.to(self.theta.dtype)

    def rest(self, cell: int) -> dict[str, Tensor]:
        """What else of the network changes along an axis that leads to another checkpoint, by name.

        Running statistics go the straight way as the weights do, but not beyond the line or the triangle of
        the checkpoints: a variance must not become negative. A checkpoint has its own, bit for bit.
        """
        place, found = self.at(cell), dict[str, Tensor]()
        within = np.clip(place, 0.0, 1.0)
        within /= max(1.0, within.sum())
        for k, axis in enumerate(self.axes):
            for name, (own, other) in axis.rest.items():
                if place == tuple(float(axis_ == k) for axis_ in range(2)):
                    found[name] = other
                else:
                    step = float(within[k]) * (other.double() - own.double())
                    found[name] = (found.get(name, own).double() + step).to(own.dtype)
        return found

    @cached_property
    def levels(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows and columns of each level: every `stride`-th from the one nearest to θ, and the outermost."""
        found = []
        for stride in self.strides:
            kept = []
            for values in (self.y, self.x):
                place = np.arange(len(values))
                middle = int(np.abs(values).argmin())
                ends = (place == 0) | (place == len(values) - 1)
                kept.append(np.flatnonzero(((place - middle) % stride == 0) | ends))
            found.append((kept[0], kept[1]))
        return found

    def members(self, level: int) -> np.ndarray:
        """The cells of a level that are in no coarser one, ascending."""
        rows, columns = self.levels[level]
        cells = (rows[:, None] * len(self.x) + columns).ravel()
        coarser = [self.members(earlier) for earlier in range(level)]
        return np.setdiff1d(cells, np.concatenate(coarser)) if coarser else np.sort(cells)

    @cached_property
    def parents(self) -> np.ndarray:
        """The cell from which each starts (cells,), ROOT for the one nearest to θ.

        In the coarsest level a comb: along the row nearest to θ away from it, and from there along the
        columns; so there are many branches, and few cells whose adversaries must be kept. In a finer level
        the nearest cell of a coarser one.
        """
        found = np.full(len(self), ROOT)
        rows, columns = self.levels[0]
        spine, first = (int(np.abs(v[kept]).argmin()) for v, kept in ((self.y, rows), (self.x, columns)))
        for a, i in enumerate(rows):
            for b, j in enumerate(columns):
                if a != spine:
                    found[i * len(self.x) + j] = rows[a - np.sign(a - spine)] * len(self.x) + j
                elif b != first:
                    found[i * len(self.x) + j] = i * len(self.x) + columns[b - np.sign(b - first)]
        for level in range(1, len(self.strides)):
            rows, columns = self.levels[level - 1]
            for cell in self.members(level):
                i, j = divmod(int(cell), len(self.x))
                i, j = rows[np.abs(rows - i).argmin()], columns[np.abs(columns - j).argmin()]
                found[cell] = i * len(self.x) + j
        return found

    def centre(self) -> int | None:
        """The cell that θ is, if it is one."""
        rows, columns = np.flatnonzero(self.y == 0), np.flatnonzero(self.x == 0)
        return int(rows[0]) * len(self.x) + int(columns[0]) if len(rows) and len(columns) else None
