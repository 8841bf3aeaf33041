"""What is known of the loss over a line or a plane through θ, under one budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from landscape.format import duration, percent, plus_minus

if TYPE_CHECKING:
    import numpy as np

HIDDEN: Any = {"json": False}


@dataclass(frozen=True, eq=False, kw_only=True)
class Surface:
    """L_eps(θ + x_j u + y_i v) over a rectangular grid, or L_eps(θ + x_j u) along a line.

    Arrays are indexed [y, x], and [x] on a line, which has no y. NaN is "not computed", or where `done` holds
    a loss that is not finite. A run has one of these for each budget and each adversary, all over one grid.

    eps, budget, norm, attack: of the perturbations; `attack` is the one at θ itself
    adversary: "none" at eps 0; "reattack": attacked in every cell, starting from a neighbour's adversary;
        "frozen": θ's own adversary everywhere, the smooth surface of one data set
    x, y: coordinates, the multiples of u and v; ascending. θ itself is (0, 0)
    loss, accuracy: L_eps and the share classified rightly, in each cell
    loss_stderr: standard error of the loss over the examples. Neighbours share them: differences are surer
    groups: mean loss of each of G groups of the examples (ny, nx, G), for the errors of differences
    sizes: examples in each group (G,)
    zero_loss: share of the examples whose loss rounds to 0: the attack has no gradient there
    gap, gap_stderr: loss per example that a much stronger attack from other starts adds, in the cells that
        were checked, before any of them is attacked further; NaN elsewhere
    redone: whether the cell lost by more than the tolerance to that attack, and was attacked further
    done: whether the cell is finished: measured, or interpolated
    interpolated: whether its values come from a spline through measured cells
    interpolation_error: what the spline was off by, root mean square over the cells where it was checked; NaN
        without one
    radius: relative length of the step to the cell, the largest over the parameters of two or more dimensions
        of ‖step‖ / ‖weight‖; NaN where every such weight is 0
    centre_…: the same of θ itself, whether it is a cell or not
    inner_gap, inner_gap_stderr: mean of `gap` over the cells that were checked, and its standard error: over
        the examples, which all cells share, and over the cells, of which only some were drawn
    cells_redone, cells_checked: their numbers
    numbers: what the surface says in single numbers, each with its standard error
    passes, seconds: passes over the data (forward, gradient, hvp) of all budgets together, wall time of all
    """

    LEGEND: ClassVar[str] = (
        "loss, accuracy, rise, roughness, barrier: ± standard error over the examples; inner gap: what a "
        "much stronger attack adds in the cells that were checked; curvature along the unit vectors: ± "
        "misfit of the fit to the cells, in brackets what other examples would change"
    )
    SHARED: ClassVar[tuple[str, ...]] = ("x", "y", "sizes", "radius")

    eps: float
    budget: str
    norm: str
    attack: str
    adversary: str
    x: np.ndarray
    y: np.ndarray | None = None
    loss: np.ndarray
    loss_stderr: np.ndarray
    accuracy: np.ndarray
    groups: np.ndarray = field(metadata=HIDDEN)
    sizes: np.ndarray = field(metadata=HIDDEN)
    zero_loss: np.ndarray = field(metadata=HIDDEN)
    gap: np.ndarray
    gap_stderr: np.ndarray
    redone: np.ndarray = field(metadata=HIDDEN)
    done: np.ndarray
    interpolated: np.ndarray
    interpolation_error: float
    radius: np.ndarray = field(metadata=HIDDEN)
    centre_loss: float
    centre_loss_stderr: float
    centre_accuracy: float
    centre_accuracy_stderr: float
    centre_inner_gap: float
    centre_inner_gap_stderr: float
    inner_gap: float
    inner_gap_stderr: float
    cells_redone: int
    cells_checked: int
    numbers: dict[str, Any]
    passes: dict[str, float]
    seconds: float

    @property
    def column(self) -> str:
        """What its column of a table is called."""
        return f"{self.budget}, frozen" if self.adversary == "frozen" else self.budget

    def rows(self) -> dict[str, str]:
        import numpy as np

        from landscape.surfaces.numbers import rows

        told = {
            "loss at θ": plus_minus(self.centre_loss, self.centre_loss_stderr),
            "accuracy at θ": percent(self.centre_accuracy, self.centre_accuracy_stderr),
            "inner gap at θ": plus_minus(self.centre_inner_gap, self.centre_inner_gap_stderr),
            "cells": f"{self.done.sum():,} of {self.done.size:,}",
        }
        if self.interpolated.any():
            told["interpolated"] = f"{self.interpolated.mean():.0%} ± {self.interpolation_error:.2g}"
        if (finite := np.isfinite(self.loss)).any():
            known = np.where(finite, self.loss, np.nan)
            for name, place in (("lowest", np.nanargmin(known)), ("highest", np.nanargmax(known))):
                told[f"{name} loss"] = plus_minus(self.loss.flat[place], self.loss_stderr.flat[place])
        if self.adversary == "reattack":
            told["inner gap"] = plus_minus(self.inner_gap, self.inner_gap_stderr)
            told["cells checked"] = f"{self.cells_checked}"
            told["cells redone"] = f"{self.cells_redone}"
        told |= rows(self.numbers)
        told |= {f"{name} passes": f"{count:,.0f}" for name, count in self.passes.items() if count}
        return told | {"time": duration(self.seconds)}

    def remarks(self) -> list[str]:
        """What a reader should know, a sentence each."""
        import numpy as np

        from landscape.surfaces.numbers import remarks

        told = []
        if not self.done.all():
            told.append(
                f"INCOMPLETE: {self.done.sum():,} of {self.done.size:,} cells are done; the same command "
                "carries on"
            )
        return told + remarks(
            self.x,
            self.y,
            self.loss,
            self.groups,
            self.sizes,
            done=self.done,
            centre_loss=self.centre_loss,
            gap=float(np.nanmax([0.0, self.centre_inner_gap, self.inner_gap])),
            between="barrier" in self.numbers,
        )
