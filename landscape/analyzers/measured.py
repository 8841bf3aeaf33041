"""What every measurement at a point says first: the budget, the loss under it, how good the attack is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from landscape.errors import NumericalError
from landscape.format import percent, plus_minus

if TYPE_CHECKING:
    from landscape.objective import Point


@dataclass(frozen=True, eq=False, kw_only=True)
class Measured:
    """The part that the results of all analyzers have in common.

    eps, budget: size of the perturbations in pixels of [0, 1], as a number and as it was written
    norm, attack: of the budget, and the inner maximiser
    loss, accuracy: L_eps(θ) and the share classified rightly, each with its standard error over the examples
    inner_gap: loss per example that a much stronger attack adds on a subset, with its standard error
    zero_loss: share of the examples whose loss rounds to 0: the attack has no gradient there
    """

    eps: float
    budget: str
    norm: str
    attack: str
    loss: float
    loss_stderr: float
    accuracy: float
    accuracy_stderr: float
    inner_gap: float
    inner_gap_stderr: float
    zero_loss: float

    def head(self) -> dict[str, str]:
        """The first rows of a table."""
        rows = {
            "loss": plus_minus(self.loss, self.loss_stderr),
            "accuracy": percent(self.accuracy, self.accuracy_stderr),
            "inner gap": plus_minus(self.inner_gap, self.inner_gap_stderr),
        }
        if self.eps and self.zero_loss:
            rows["NO WORST CASE"] = f"{self.zero_loss:.0%} unseen"
        return rows

    def warnings(self) -> list[str]:
        """What makes every number of the result doubtful, a sentence each."""
        if not (self.eps and self.zero_loss):
            return []
        return [
            f"the loss of {self.zero_loss:.0%} of the examples rounds to 0: the attack has no gradient "
            "there, and what it finds is no worst case"
        ]


def measured(point: Point, gap: tuple[float, float] | None = None) -> dict[str, Any]:
    """The fields of `Measured` at a point; NumericalError where its loss is not finite.

    gap: the inner gap and its standard error, by default on 64 examples
    """
    budget = point.objective.budget
    if not math.isfinite(point.value):
        raise NumericalError(f"the loss is {point.value} at eps = {budget}")
    if gap is None:
        point.objective.watch("inner gap", 0, 1)
    inner_gap, inner_gap_stderr = gap or point.inner_gap
    return {
        "eps": float(budget.eps),
        "budget": str(budget).split()[0],
        "norm": budget.norm,
        "attack": str(point.objective.attack) if budget.eps else "none",
        "loss": point.value,
        "loss_stderr": point.value_stderr,
        "accuracy": point.accuracy,
        "accuracy_stderr": point.accuracy_stderr,
        "inner_gap": inner_gap,
        "inner_gap_stderr": inner_gap_stderr,
        "zero_loss": (point.losses == 0).double().mean().item(),
    }
