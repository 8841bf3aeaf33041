"""Projected gradient ascent with momentum that halves its own step where it no longer climbs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.attacks.base import Losses, ascent, better, each, random_start
from landscape.budget import Budget
from landscape.errors import InputError
from landscape.registry import register

MOMENTUM = 0.75
"""Share of the new step in a move; the rest is the last move again."""
RISES = 0.75
"""Share of the steps of a window that must have raised the loss for the step to be kept."""
FIRST, SHORTER, SHORTEST = 0.22, 0.03, 0.06
"""Length of the first window, by how much each is shorter than the one before, and the shortest, in steps."""


@register("attack")
@dataclass(frozen=True, kw_only=True)
class APGD:
    """Auto-PGD, its step 2 eps at first, halved for each example by itself (Croce & Hein, 2003.01690).

    On cross-entropy it is APGD-CE, on the loss dlr APGD-DLR. It climbs to its end rather than stop at a
    misclassified input. As in the authors' code, windows are rounded down to whole steps, the first step
    counts as a rise where its loss is positive, and the first one after a restart from the best where it is
    above the loss before that. The best of all iterates, the clean input among them, is returned for each
    example.

    steps: gradients for each restart
    restarts: independent random starts
    seed: of the random starts
    """

    steps: int = 100
    restarts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1 or self.seed < 0:
            raise InputError(f"{self}: steps and restarts are at least 1, seed at least 0")

    def __str__(self) -> str:
        return f"apgd:steps={self.steps}" + (f",restarts={self.restarts}" if self.restarts > 1 else "")

    def __call__(self, losses: Losses, x: Tensor, index: Tensor, budget: Budget) -> Tensor:
        with torch.no_grad():
            best, highest = x.clone(), losses(x)
        for restart in range(self.restarts):
            found, values = self.climb(losses, x, random_start(x, index, budget, self.seed, restart), budget)
            best, highest = better(best, highest, found, values)
        return best

    def climb(self, losses: Losses, x: Tensor, start: Tensor, budget: Budget) -> tuple[Tensor, Tensor]:
        """The best of the start (B, …) and the iterates from it, and its losses (B,)."""
        ball = budget.ball(x)
        step = x.new_full((len(x), *[1] * (x.ndim - 1)), 2 * float(budget.eps))
        here = before = best = start
        values, gradient = ascent(losses, here)
        uphill, highest, last = gradient, values, torch.zeros_like(values)
        rises, kept, mark = torch.zeros_like(values), torch.zeros_like(values, dtype=torch.bool), values
        checks = dict(self._windows())
        for k in range(1, self.steps + 1):
            ahead = budget.project(here + step * budget.steepest(gradient), x, ball)
            if k > 1:
                swung = here + MOMENTUM * (ahead - here) + (1 - MOMENTUM) * (here - before)
                ahead = budget.project(swung, x, ball)
            before, here = here, ahead
            if k < self.steps:
                values, gradient = ascent(losses, here)
            else:
                with torch.no_grad():
                    values = losses(here)
            uphill = each(values > highest, gradient, uphill)
            best, highest = better(best, highest, here, values)
            rises, last = rises + (values > last), values
            if k in checks:
                halve = (rises <= RISES * checks[k]) | (kept & (mark >= highest))
                step = each(halve, step / 2, step)
                here, gradient = each(halve, best, here), each(halve, uphill, gradient)
                kept, mark, rises = ~halve, highest, torch.zeros_like(rises)
        return best, highest

    def _windows(self) -> Iterator[tuple[int, int]]:
        """(step, length) of each window: the step at whose end the climb is checked, over how many steps."""
        first, shorter, shortest = (max(int(part * self.steps), 1) for part in (FIRST, SHORTER, SHORTEST))
        length, end = first, first
        while end <= self.steps:
            yield end, length
            length = max(length - shorter, shortest)
            end += length
