"""The attack that the paper trained and measured with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from landscape.attacks.base import Losses, ascent, random_start
from landscape.budget import Budget
from landscape.errors import InputError
from landscape.registry import register


@register("attack")
@dataclass(frozen=True, kw_only=True)
class Liu2020:
    """Constant steps from a random start no larger than one step, last iterate (Liu et al., NeurIPS 2020).

    To compare with the paper. As an inner maximiser it is weaker than `pgd`: with 20 steps of eps/10 it loses
    about 10 % of the rise in loss where `pgd` loses 3 %.

    step: length of a step in pixels of [0, 1]; the paper's 0.01 for digits, 2/255 for CIFAR-10
    steps: number of steps; by default the paper's eps / step + 10
    seed: of the random starts
    """

    step: Fraction = Fraction(1, 100)
    steps: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.step <= 0 or (self.steps is not None and self.steps < 1) or self.seed < 0:
            raise InputError(f"{self}: step is positive, steps at least 1, seed at least 0")

    def __str__(self) -> str:
        return f"liu2020:step={self.step}" + (f",steps={self.steps}" if self.steps else "")

    def __call__(self, losses: Losses, x: Tensor, index: Tensor, budget: Budget) -> Tensor:
        ball = budget.ball(x)
        nearby = Budget(min(self.step, budget.eps), budget.norm)
        moved = random_start(x, index, nearby, self.seed)
        for _ in range(self.steps or math.ceil(budget.eps / self.step) + 10):
            _, gradient = ascent(losses, moved)
            moved = budget.project(moved + float(self.step) * budget.steepest(gradient), x, ball)
        return moved
