"""What an attack is, and the random starts that depend on the example alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from landscape.budget import Budget

Losses = Callable[[Tensor], Tensor]
"""Inputs (B, …) to the loss of each example (B,), at fixed parameters and labels."""


class Attack(Protocol):
    """Searches the budget around each example for the input of highest loss."""

    def __call__(self, losses: Losses, x: Tensor, index: Tensor, budget: Budget) -> Tensor:
        """The perturbed inputs x' (B, …) of the inputs x (B, …); index (B,) are their places in the data set.

        What comes out for an example depends on that example, its index and the attack's own fields alone.
        """
        ...


SEEDS = 2**32
"""The seeds that a command line can give; those beyond are for comparisons."""


def reseeded(attack: Attack) -> Attack | None:
    """The attack from other random starts, those of no seed that a user gives; None where it has none."""
    seed = getattr(attack, "seed", None)
    if seed is None or not dataclasses.is_dataclass(attack):
        return None
    return dataclasses.replace(attack, seed=seed + 2 * SEEDS)  # type: ignore[type-var]


def ascent(losses: Losses, x: Tensor) -> tuple[Tensor, Tensor]:
    """(losses (B,), their gradient in the inputs (B, …)). No parameter gets a gradient."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        values = losses(x)
        # One example's loss depends on its own input alone, so the gradient of the sum holds every example's
        # own.
        (gradient,) = torch.autograd.grad(values.sum(), x)
    return values.detach(), gradient


def each(rows: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """The examples of `one` (B, …) at the rows (B,) that are true, those of `other` elsewhere."""
    return torch.where(rows.view(-1, *[1] * (one.ndim - 1)), one, other)


def better(best: Tensor, highest: Tensor, moved: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The inputs (B, …) of higher loss of two for each example, and that loss; a NaN replaces no number."""
    rises = values > highest
    return each(rises, moved, best), torch.where(rises, values, highest)


def random_start(x: Tensor, index: Tensor, budget: Budget, seed: int, restart: int = 0) -> Tensor:
    """A point drawn uniformly from the ball around each input x (B, …), clipped to the box.

    Counter-based (Philox, keyed by seed and restart, with the example's index as counter): an example gets
    the same start in any batch, on any machine, at any θ, and no global generator is touched.
    """
    shape, eps = x.shape[1:], float(budget.eps)
    size = int(np.prod(shape))
    steps = np.empty((len(x), size), dtype=np.float64)
    for row, place in enumerate(index.tolist()):
        rng = np.random.Generator(np.random.Philox(key=[seed, restart], counter=[0, 0, 0, place]))
        if budget.norm == "linf":
            steps[row] = rng.uniform(-eps, eps, size)
        else:
            direction = rng.standard_normal(size)
            steps[row] = direction * (eps * rng.uniform() ** (1 / size) / np.linalg.norm(direction))
    start = torch.from_numpy(steps).view(-1, *shape).to(x.device, x.dtype)
    return budget.project(x + start, x)
