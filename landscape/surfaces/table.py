"""The values of all cells as they come, and the surfaces that they make."""

from __future__ import annotations

import math

import numpy as np

from landscape.axes import relative_radius
from landscape.surfaces.cells import COLUMNS, WORK, Sheet
from landscape.surfaces.lattice import Lattice
from landscape.surfaces.numbers import numbers
from landscape.surfaces.refine import spline
from landscape.surfaces.root import Root
from landscape.surfaces.surface import Surface

SMOOTH = [COLUMNS.index(name) for name in ("loss", "loss_stderr", "accuracy", "zero_loss")]
"""The columns that are interpolated, besides the groups' losses."""


class Table:
    """values (sheets, cells, columns + groups), and what is known of each cell."""

    def __init__(self, lattice: Lattice, sheets: list[Sheet], sizes: np.ndarray, line: bool) -> None:
        self.lattice, self.sheets, self.sizes, self.line = lattice, sheets, sizes, line
        self.columns = len(COLUMNS) + len(sizes)
        self.values = np.full((len(sheets), len(lattice), self.columns), np.nan)
        self.done = np.zeros(len(lattice), bool)
        self.interpolated = np.zeros(len(lattice), bool)
        self.spline_error = np.full(len(sheets), np.nan)
        self.work = np.zeros((len(lattice), len(WORK)))

    def take(self, cell: int, stored: np.ndarray) -> None:
        """The passes and values of a finished cell, as the journal has them."""
        self.work[cell] = stored[: len(WORK)]
        self.values[:, cell] = stored[len(WORK) :].reshape(len(self.sheets), self.columns)
        self.done[cell] = True

    def interpolate(self, level: int, cells: np.ndarray) -> np.ndarray:
        """What a spline through the level says of some cells (sheets, cells, columns)."""
        rows, columns = self.lattice.levels[level]
        known = (rows[:, None] * len(self.lattice.x) + columns).ravel()
        smooth = [*SMOOTH, *range(len(COLUMNS), self.columns)]
        shape = (len(self.sheets), len(rows), len(columns), len(smooth))
        there = self.values[:, known][:, :, smooth].reshape(shape)
        finite = np.isfinite(there).all(axis=(1, 2), keepdims=True)  # no error is known of one example
        there = np.where(finite, there, 0.0)
        whole = spline(self.lattice.y[rows], self.lattice.x[columns], there, self.lattice.y, self.lattice.x)
        found = np.full((len(self.sheets), len(cells), self.columns), np.nan)
        whole = np.where(finite, whole, np.nan)
        found[:, :, smooth] = whole.reshape(len(self.sheets), len(self.lattice), len(smooth))[:, cells]
        for name, most in (("loss_stderr", np.inf), ("accuracy", 1.0), ("zero_loss", 1.0)):
            place = COLUMNS.index(name)
            found[:, :, place] = found[:, :, place].clip(0.0, most)  # where a spline overshoots
        return found

    def predicted(self, level: int, some: np.ndarray, tolerance: float) -> bool:
        """Whether a spline through a level predicts some cells of the next, by root mean square.

        tolerance: share of the range of the losses in these cells; never where one of them is not finite
        """
        losses = self.values[..., COLUMNS.index("loss")]
        seen = np.concatenate([*(self.lattice.members(k) for k in range(level + 1)), some])
        if not np.isfinite(losses[:, seen]).all():
            return False
        told = self.interpolate(level, some)[..., COLUMNS.index("loss")]
        self.spline_error = np.sqrt(((told - losses[:, some]) ** 2).mean(axis=1))
        ranges = np.ptp(losses[:, seen], axis=1)
        return bool((self.spline_error <= tolerance * ranges).all())

    def fill(self, level: int) -> None:
        """Interpolate every cell that is not measured from those of a level."""
        left = np.flatnonzero(~self.done)
        self.values[:, left] = self.interpolate(level, left)
        self.done[left] = self.interpolated[left] = True

    def centre(self, i: int, root: Root, bn: str) -> dict[str, float]:
        """What is known of θ in a sheet: as a cell, where statistics are estimated anew in each."""
        row, cell = root.values[i], self.lattice.centre()
        if bn == "recompute":
            row = np.full(self.columns, np.nan) if cell is None else self.values[i, cell]
        return dict(zip(COLUMNS, row.tolist(), strict=False))

    def surfaces(self, root: Root, bn: str, seconds: float) -> list[Surface]:
        """What is known so far, a surface for each sheet.

        bn: with "recompute", vᵀHv and the loss of θ at its own statistics are not those of the surface
        """
        y = None if self.line else self.lattice.y
        radius = relative_radius(self.lattice.axes, root.points[0], self.lattice.x, y)
        return [
            self._surface(i, root, self.centre(i, root, bn), bn, radius, seconds)
            for i in range(len(self.sheets))
        ]

    def _surface(
        self, i: int, root: Root, centre: dict[str, float], bn: str, radius: np.ndarray, seconds: float
    ) -> Surface:
        def grid(name: str) -> np.ndarray:
            return self._grid(self.values[i, :, COLUMNS.index(name)])

        point, sheet, budget = root.points[i], self.sheets[i], self.sheets[i].budget
        gaps, errors = self.values[i, :, COLUMNS.index("gap")], self.values[i, :, COLUMNS.index("gap_stderr")]
        checked = np.flatnonzero(self.done & ~np.isnan(gaps) & (sheet.adversary == "reattack"))
        gap, gap_stderr = mean_gap(gaps[checked], errors[checked], len(gaps)) if budget.eps else (0.0, 0.0)
        groups = self._grid(self.values[i, :, len(COLUMNS) :])
        x, y = self.lattice.x, None if self.line else self.lattice.y
        n = len(point.objective.data)
        passes = {name: float(w / n) for name, w in zip(WORK, self.work.sum(axis=0) + root.work, strict=True)}
        return Surface(
            eps=float(budget.eps),
            budget=str(budget).split()[0],
            norm=budget.norm,
            attack=str(point.objective.attack) if budget.eps else "none",
            adversary=sheet.adversary,
            x=x,
            y=y,
            loss=grid("loss"),
            loss_stderr=grid("loss_stderr"),
            accuracy=grid("accuracy"),
            groups=groups,
            sizes=self.sizes,
            zero_loss=grid("zero_loss"),
            gap=grid("gap"),
            gap_stderr=grid("gap_stderr"),
            redone=self._grid(np.nan_to_num(self.values[i, :, COLUMNS.index("redone")]).astype(bool)),
            done=self._grid(self.done),
            interpolated=self._grid(self.interpolated),
            interpolation_error=float(self.spline_error[i]),
            radius=radius,
            centre_loss=centre["loss"],
            centre_loss_stderr=centre["loss_stderr"],
            centre_accuracy=centre["accuracy"],
            centre_accuracy_stderr=math.sqrt(centre["accuracy"] * (1 - centre["accuracy"]) / n),
            centre_inner_gap=centre["gap"],
            centre_inner_gap_stderr=centre["gap_stderr"],
            inner_gap=gap,
            inner_gap_stderr=gap_stderr,
            cells_redone=int(np.nansum(self.values[i, :, COLUMNS.index("redone")])),
            cells_checked=len(checked),
            numbers=numbers(
                x,
                y,
                grid("loss"),
                groups,
                self.sizes,
                radius,
                root.curvatures[i] if bn == "frozen" else None,
                lengths=[axis.vector.norm().item() for axis in self.lattice.axes],
                between=self.line and self.lattice.axes[0].kind == "checkpoint",
                interpolated=self._grid(self.interpolated),
            ),
            passes=passes,
            seconds=seconds,
        )

    def _grid(self, column: np.ndarray) -> np.ndarray:
        """A column of the cells (cells, …) as the grid has it: (ny, nx, …), or (nx, …) on a line."""
        shaped = column.reshape(*self.lattice.shape, *column.shape[1:])
        return shaped[0] if self.line else shaped


def mean_gap(gaps: np.ndarray, errors: np.ndarray, cells: int) -> tuple[float, float]:
    """The mean gap of a surface's cells and its standard error, from some that were drawn by lot.

    gaps, errors: of the m drawn cells (m,). All have the same examples: their errors do not average out. Over
        the cells it is s/√m · √(1 − m/cells), NaN for a single one of several
    """
    m = len(gaps)
    if not m:
        return math.nan, math.nan
    spread = gaps.std(ddof=1) if m > 1 else (math.nan if cells > 1 else 0.0)
    return float(gaps.mean()), float(math.hypot(errors.mean(), spread * math.sqrt((1 - m / cells) / m)))
