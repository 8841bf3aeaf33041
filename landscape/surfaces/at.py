"""The examples at the weights of one cell: judged exactly, and attacked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from landscape import statistics
from landscape.attacks.base import SEEDS, Losses
from landscape.attacks.pgd import PGD
from landscape.attacks.warm import NOISE, Found, Judge, Judged, Warm, settled
from landscape.budget import Budget
from landscape.objective import GAP_EXAMPLES

if TYPE_CHECKING:
    from landscape.surfaces.cells import Cells

Start = Callable[[slice], Tensor]
"""Rows to the perturbations (b, …) of these examples that an attack starts from."""
REFERENCE = PGD(steps=50, seed=SEEDS)
"""The stronger attack that cells are checked with, from starts that no seed of a user gives."""
LEAST, SHARE, TOGETHER = 8, 16, 8
"""Examples that it attacks: at least; one in so many under a budget; one in so many under all together.
A check shall not cost more than some cells."""
TOLERANCE = 0.2
"""Share of the reference's loss by which a checked cell may fall short before it is attacked further: that is
a failure. Less would only lift single cells above their neighbours."""
FURTHER = 4
"""Times the steps, for a cell that is attacked further."""


@dataclass(frozen=True, eq=False)
class At:
    """The network at the weights of one cell, exact and quick."""

    cells: Cells
    cell: int

    @cached_property
    def parts(self) -> list[Tensor]:
        return self.cells.objective.network.parts(self.theta)

    @cached_property
    def theta(self) -> Tensor:
        return self.cells.lattice.point(self.cell)

    @cached_property
    def rest(self) -> dict[str, Tensor]:
        return self.cells.lattice.rest(self.cell)

    def statistics(self, x: Tensor) -> dict[str, Tensor]:
        """What but θ is this cell's own of the network: BatchNorm's statistics frozen, or on x (n, …)."""
        c = self.cells
        if c.bn == "frozen":
            return self.rest
        batches = [x[rows] for _, _, _, rows in c.inputs]
        found = statistics.recomputed(c.objective.network, self.parts, batches, self.rest)
        c.objective.work["forward"] += len(x) if found else 0
        return self.rest | found

    def judged(self, x: Tensor, buffers: dict[str, Tensor]) -> Judged:
        """The losses (n,) and logits (n, C) at inputs x (n, …)."""
        found = [self.judge(y, buffers)(x[rows], torch.arange(len(y))) for _, y, _, rows in self.cells.inputs]
        losses, logits = zip(*found, strict=True)
        return torch.cat(losses), torch.cat(logits)

    def judge(self, y: Tensor, buffers: dict[str, Tensor]) -> Judge:
        """What is told of inputs of some of the examples with labels y (B,)."""
        o = self.cells.objective

        def exact(x: Tensor, rows: Tensor) -> Judged:
            with torch.no_grad():
                logits = self.cells.exact(self.parts, x, buffers)
                o.work["forward"] += len(x)
                return o.loss(logits, y[rows.to(y.device)]), logits

        return exact

    def losses(self, y: Tensor, buffers: dict[str, Tensor], *, quick: bool = False) -> Losses:
        """The losses of inputs as an attack sees them, in its own precision if `quick`."""
        o, low = self.cells.objective, self.cells.quick
        given = low.given(self.parts, buffers) if quick else {}

        def losses(x: Tensor) -> Tensor:
            o.work["gradient" if torch.is_grad_enabled() and x.requires_grad else "forward"] += len(x)
            return o.loss(low(given, x) if quick else o.network(self.parts, x, buffers), y)

        return losses

    def attacked(self, clean: Judged, starts: list[Start]) -> list[Attacked]:
        """The data under attack, from a start for each budget."""
        cells = self.cells
        if cells.bn == "frozen":
            if cells.warm is not None:
                return self._carried_on(cells.warm, clean, starts, cells.attacked, self.rest)
            return [self._afresh(clean, budget, self.rest) for budget in cells.attacked]
        found = []
        for start, budget in zip(starts, cells.attacked, strict=True):
            # Under each budget another network: with the statistics of its own data, which the attack keeps.
            buffers = self.statistics(cells.x + start(slice(None)))
            own = self.judged(cells.x, buffers)
            if cells.warm is not None:
                found += self._carried_on(cells.warm, own, [start], [budget], buffers)
            else:
                found.append(self._afresh(own, budget, buffers))
        return found

    def checked(self, found: Attacked) -> tuple[Attacked, tuple[float, float, float]]:
        """The data, attacked further where it falls short; inner gap, its error, and 1 if it was.

        On some examples, by an attack from other starts.
        """
        cells, n = self.cells, len(self.cells.x)
        share = max(SHARE, TOGETHER * len(cells.attacked))
        few = torch.linspace(0, n - 1, min(n, GAP_EXAMPLES, max(LEAST, n // share))).round().long()
        x, y = cells.x[few], cells.objective.data.y[few].to(cells.x.device)
        attack = self.losses(y, found.buffers, quick=True)
        strong = REFERENCE(attack, x, cells.objective.data.index[few], found.budget)
        reference = self.judge(y, found.buffers)(strong, torch.arange(len(few)))[0].double()
        # Before anything is mended: so it tells of the cells that are not checked as well.
        short = reference - found.judged[0][few].double()
        gap = short.clamp_min(0.0).mean().item()
        error = (short.clamp_min(0.0).std() / len(few) ** 0.5).item() if len(few) > 1 else np.nan
        redone = cells.warm is not None and bool(short.mean() > TOLERANCE * reference.abs().mean())
        if redone:
            assert cells.warm is not None
            further = replace(cells.warm, steps=FURTHER * cells.warm.steps)
            moved = found.moved
            (found,) = self._carried_on(
                further,
                found.clean,
                [lambda rows: moved[rows] - cells.x[rows]],
                [found.budget],
                found.buffers,
            )
        return found, (gap, error, float(redone))

    def _carried_on(
        self,
        warm: Warm,
        clean: Judged,
        starts: list[Start],
        budgets: list[Budget],
        buffers: dict[str, Tensor],
    ) -> list[Attacked]:
        found: list[list[tuple[Tensor, Judged]]] = [[] for _ in budgets]
        known = self.cells.balls if budgets == self.cells.attacked else None
        noise = NOISE if self.cells.quick.half else 0.0
        for place, (x, y, _, rows) in enumerate(self.cells.inputs):
            parts = [start(rows) for start in starts]
            losses = self.losses(y, buffers, quick=True)
            ends = warm(losses, x, parts, budgets, known[place] if known else None)
            for each, end in zip(found, ends, strict=True):
                own = clean[0][rows], clean[1][rows]
                each.append(settled(end, x, own, self.judge(y, buffers), noise))
        return [_joined(b, each, clean, buffers) for b, each in zip(budgets, found, strict=True)]

    def _afresh(self, clean: Judged, budget: Budget, buffers: dict[str, Tensor]) -> Attacked:
        o, found = self.cells.objective, []
        for x, y, index, rows in self.cells.inputs:
            moved = o.attack(self.losses(y, buffers), x, index, budget)
            end = Found(moved, x, x.new_full((len(x),), -torch.inf))
            found.append(settled(end, x, (clean[0][rows], clean[1][rows]), self.judge(y, buffers)))
        return _joined(budget, found, clean, buffers)


@dataclass(frozen=True, eq=False)
class Attacked:
    """The data of one cell under attack: the inputs (n, …), and what the exact network says of them.

    clean, buffers: what it says of the clean inputs, and what else is its own, such as running statistics
    """

    budget: Budget
    moved: Tensor
    judged: Judged
    clean: Judged
    buffers: dict[str, Tensor]


def _joined(
    budget: Budget, found: list[tuple[Tensor, Judged]], clean: Judged, buffers: dict[str, Tensor]
) -> Attacked:
    moved = torch.cat([inputs for inputs, _ in found])
    losses, logits = (torch.cat([judged[k] for _, judged in found]) for k in (0, 1))
    return Attacked(budget, moved, (losses, logits), clean, buffers)
