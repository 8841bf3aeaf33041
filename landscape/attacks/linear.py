"""The exact inner maximum where the loss depends on the input through one linear function."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.attacks.base import Losses, ascent
from landscape.budget import Budget
from landscape.errors import InputError
from landscape.registry import register


@register("attack")
@dataclass(frozen=True, kw_only=True)
class Linear:
    """The exact maximiser where the loss falls with a linear margin w·x: linear models with two classes.

    For l_inf, x − eps sign(w) clipped to the box: every pixel attains its own minimum. For l_2 with the box,
    the minimum of w·x' is at clip(x − μ w) with μ such that the step has length eps (from the Lagrangian), or
    at the corner of the box where that is nearer. Refuses models for which the direction of the gradient
    moves with x.
    """

    def __str__(self) -> str:
        return "linear"

    def __call__(self, losses: Losses, x: Tensor, index: Tensor, budget: Budget) -> Tensor:
        _, gradient = ascent(losses, x)
        direction = budget.steepest(gradient)
        if budget.norm == "linf":
            moved = budget.project(x + float(budget.eps) * direction, x)
        else:
            moved = budget.project(_farthest(x, direction, float(budget.eps)), x)
        _, there = ascent(losses, moved)
        turned = 1 - torch.cosine_similarity(gradient.flatten(1), there.flatten(1), dim=1)
        flat = (gradient.flatten(1).norm(dim=1) == 0) | (there.flatten(1).norm(dim=1) == 0)
        if (turned[~flat] > 1e-3).any():
            raise InputError(
                "attack linear is exact only where the loss depends on x through one linear function, "
                "as for a linear model with 2 classes; here the gradient turns inside the budget: use pgd"
            )
        return moved


def _farthest(x: Tensor, direction: Tensor, eps: float) -> Tensor:
    """clip(x + μ direction) with μ ≥ 0 as large as a step of length eps allows, by bisection on μ."""

    def clipped(mu: Tensor) -> Tensor:
        return (x + mu.view(-1, *[1] * (x.ndim - 1)) * direction).clamp(0.0, 1.0)

    # Beyond this μ every pixel that moves at all has reached the box.
    smallest = direction.abs().flatten(1)
    smallest = torch.where(smallest > 0, smallest, torch.inf).amin(dim=1)
    low, high = torch.zeros_like(smallest), 1 / smallest
    for _ in range(200):
        middle = (low + high) / 2
        inside = (clipped(middle) - x).flatten(1).norm(dim=1) <= eps
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return clipped(low)
