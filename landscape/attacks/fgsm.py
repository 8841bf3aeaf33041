"""One step to the border of the budget along the gradient."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from landscape.attacks.base import Losses, ascent
from landscape.budget import Budget
from landscape.registry import register


@register("attack")
@dataclass(frozen=True, kw_only=True)
class FGSM:
    """x + eps · the steepest direction at x; under l_inf x + eps sign(∇) (Goodfellow et al., 1412.6572)."""

    def __str__(self) -> str:
        return "fgsm"

    def __call__(self, losses: Losses, x: Tensor, index: Tensor, budget: Budget) -> Tensor:
        _, gradient = ascent(losses, x)
        return budget.project(x + float(budget.eps) * budget.steepest(gradient), x)
