"""An attack that starts where a nearby θ's ended, so that a few steps are enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from landscape.attacks.base import Losses, ascent, each
from landscape.budget import Budget
from landscape.errors import InputError

MEMORY = 0.5
"""Share of the earlier directions in the next one; with 0.3 to 0.6 three steps reach what four do without."""
ACROSS = 2.0
"""Sum of the steps under the first budget, in eps: a pixel can cross the ball from any start."""
FURTHER = 0.5
"""The same for each step under a further budget: it starts almost where it ends."""

NOISE = 0.02
"""Share of a loss by which those that an attack sees in bfloat16 are off, in 19 of 20 examples."""

Judged = tuple[Tensor, Tensor]
"""Losses (b,) and logits (b, C)."""
Judge = Callable[[Tensor, Tensor], Judged]
"""Inputs (b, …) of the examples at some rows (b,), and the rows, to what is reported of them."""


@dataclass(frozen=True, eq=False)
class Found:
    """Where an attack ended, and the best that it saw on the way.

    last: the inputs after the last step (B, …), whose loss nobody has computed yet
    best, highest: of all earlier iterates, the start among them, the one of highest loss (B, …), and that
        loss (B,), −inf where none was a number
    """

    last: Tensor
    best: Tensor
    highest: Tensor


@dataclass(frozen=True, kw_only=True)
class Warm:
    """Steepest ascent with momentum from another θ's perturbations, its steps falling linearly to 0.

    The direction is that of g_t + g_{t−1}/2 + g_{t−2}/4 + …, of unit gradients (momentum as of Dong et al.,
    1710.06081, with a shorter memory). The steps add up to 2 eps: nothing of the start has to remain.

    Under several budgets, in the order of their eps, the first is attacked like that. Every further one
    starts from the other θ's perturbation under that budget, changed by what was just found to have changed
    under the budget before, in proportion to eps; the momentum is carried over.

    steps: gradients under a single budget. Of several, each gets half as many, the first the larger half
    """

    steps: int = 5

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"{self.steps} warm steps are not possible; give at least 1")

    def __str__(self) -> str:
        return f"warm:steps={self.steps}"

    def gradients(self, budgets: int) -> list[int]:
        """How many gradients are taken under each of so many budgets."""
        if budgets == 1:
            return [self.steps]
        return [(self.steps + 1) // 2] + [max(1, self.steps // 2)] * (budgets - 1)

    def __call__(
        self,
        losses: Losses,
        x: Tensor,
        starts: Sequence[Tensor],
        budgets: Sequence[Budget],
        balls: Sequence[tuple[Tensor, Tensor]] | None = None,
    ) -> list[Found]:
        """What the attack finds around the inputs x (B, …) under each budget, always inside it.

        What comes out for an example depends on that example alone. A NaN in a gradient moves nothing.

        losses: may be coarse, as in bfloat16; `settled` judges what was found by exact ones
        starts: perturbations (B, …) of another θ, one under each budget; they are projected
        budgets: of one norm, eps above 0 and growing
        balls: `budget.ball(x)` under each budget, where they are known
        """
        if not all(small.eps < large.eps and small.norm == large.norm for small, large in pairwise(budgets)):
            told = ", ".join(map(str, budgets))
            raise InputError(f"the budgets {told} do not grow; give them by eps, of one norm")
        found: list[Found] = []
        memory = torch.zeros_like(x)
        shift: Tensor | None = None  # how far this θ's perturbation is from the other θ's, in eps
        counts = self.gradients(len(budgets))
        for place, (start, budget, count) in enumerate(zip(starts, budgets, counts, strict=True)):
            eps, reach = float(budget.eps), min(ACROSS, FURTHER * count) if place else ACROSS
            ball = balls[place] if balls else budget.ball(x)
            begin = x + start
            moved = budget.project(begin if shift is None else begin + eps * shift, x, ball)
            best, highest = moved, x.new_full((len(x),), -torch.inf)
            for t in range(count):
                values, gradient = ascent(losses, moved)
                rises = values > highest
                highest = torch.where(rises, values, highest)
                # Of the first there is no earlier one, even where its loss is no number.
                best = each(rises, moved, best) if t and not rises.all() else moved
                memory.mul_(MEMORY).add_(_unit(gradient))
                step = reach * eps * 2 * (count - t) / (count * (count + 1))
                moved = budget.project(budget.steepest(memory).mul_(step).add_(moved), x, ball)
            if place + 1 < len(budgets):
                shift = (moved - begin).div_(eps)
            found.append(Found(moved, best, highest))
        return found


def settled(
    found: Found, x: Tensor, clean: Judged, judge: Judge, noise: float = 0.0
) -> tuple[Tensor, Judged]:
    """The inputs (B, …) that an attack is taken to have found, with what is reported of them.

    They are the last ones; the best before where the last lost against it; x itself where they are no better
    than clean. So the loss is never below the clean one, and below that of the start by no more than what the
    attack's own losses are off by. It costs a pass over the examples, and one over the few that lost.

    noise: share of a loss that the attack's own may be off by, which is taken for no loss
    """
    inputs = found.last
    losses, logits = judge(inputs, torch.arange(len(x), device=x.device))
    # Not where it is NaN. Where the loss is flat a perturbation is still worth handing on.
    keep = losses >= clean[0]
    if not keep.all():
        inputs, losses, logits = (
            each(keep, one, other) for one, other in ((inputs, x), (losses, clean[0]), (logits, clean[1]))
        )
    few = (found.highest > losses + noise * losses.abs()).nonzero().flatten()
    if len(few):
        before = judge(found.best[few], few)
        rows = before[0] > losses[few]
        few = few[rows]
        inputs, losses, logits = (
            whole.index_copy(0, few, own)
            for whole, own in (
                (inputs, found.best[few]),
                (losses, before[0][rows]),
                (logits, before[1][rows]),
            )
        )
    return inputs, (losses, logits)


def packed(perturbation: Tensor, budget: Budget) -> Tensor:
    """A perturbation (B, …) to hand on, in a byte or two a pixel: in eps/127 for linf, else in float16."""
    if budget.norm == "linf":
        return (perturbation * (127 / float(budget.eps))).round_().to(torch.int8)
    return perturbation.to(torch.float16)


def unpacked(stored: Tensor, budget: Budget, like: Tensor) -> Tensor:
    """What `packed` stored, in the type and on the device of `like`, to half a unit of its last place."""
    scale = float(budget.eps) / 127 if budget.norm == "linf" else 1.0
    return stored.to(like) * scale


def _unit(gradient: Tensor) -> Tensor:
    """Each example's gradient (B, …) at length 1; 0 where it is 0 or not a number."""
    within = tuple(range(1, gradient.ndim))
    largest = _largest(gradient, within)
    if not torch.isfinite(largest).all():
        gradient = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        largest = _largest(gradient, within)
    # By the largest entry first: the squares of small numbers round to 0. A length is then 1 or more.
    gradient = gradient / largest.clamp_min(torch.finfo(gradient.dtype).tiny)
    return gradient.div_(torch.linalg.vector_norm(gradient, dim=within, keepdim=True).clamp_min(1.0))


def _largest(x: Tensor, within: tuple[int, ...]) -> Tensor:
    """The largest size in each example, shaped (B, 1, …); several times as fast as that of |x|."""
    return torch.maximum(x.amax(dim=within, keepdim=True), -x.amin(dim=within, keepdim=True))
