"""Projected gradient ascent that carries on from perturbed inputs of nearby weights or a smaller budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.attacks.base import Losses, ascent
from landscape.attacks.pgd import better
from landscape.budget import Budget
from landscape.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Warm:
    """Steepest ascent from the best of some starts, with steps that fall linearly from eps.

    The steps sum to more than 2 eps from three on: a pixel can cross the ball, so that no start binds.
    """

    steps: int = 5

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"{self}: steps are at least 1")

    def __call__(self, losses: Losses, x: Tensor, starts: Sequence[Tensor], budget: Budget) -> Tensor:
        """The perturbed inputs (B, …) of highest loss that were seen, a start among them."""
        ball, eps = budget.ball(x), float(budget.eps)
        moved = budget.project(starts[0], x, ball)
        best, highest = moved, torch.full((len(x),), -torch.inf, dtype=x.dtype, device=x.device)
        if len(starts) > 1:
            with torch.no_grad():
                highest = losses(best)
                for start in starts[1:]:
                    other = budget.project(start, x, ball)
                    best, highest = better(best, highest, other, losses(other))
            moved = best
        for t in range(self.steps):
            values, gradient = ascent(losses, moved)
            best, highest = better(best, highest, moved, values)
            moved = budget.project(moved + eps * (1 - t / self.steps) * budget.steepest(gradient), x, ball)
        with torch.no_grad():
            best, _ = better(best, highest, moved, losses(moved))
        return best
