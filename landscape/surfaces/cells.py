"""What is measured in one cell: the loss of every example, clean and where the adversary follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from landscape.attacks.warm import Judged, Warm, packed, unpacked
from landscape.budget import Budget
from landscape.objective import GROUPS, Objective, exact_arithmetic
from landscape.surfaces.at import At, Start
from landscape.surfaces.fused import Fused
from landscape.surfaces.lattice import ROOT, Lattice
from landscape.surfaces.quick import Quick
from landscape.surfaces.settings import Adversaries, Statistics
from landscape.surfaces.state import State

Adversary = Literal["none", "reattack", "frozen"]
COLUMNS = ("loss", "loss_stderr", "accuracy", "zero_loss", "gap", "gap_stderr", "redone")
"""What is kept of each sheet in a cell, followed by the mean loss of each group of the examples."""
WORK = ("forward", "gradient", "hvp")
BALLS = 2**28
"""Bytes up to which the boxes around the inputs are kept; without them a cell takes a twentieth longer."""

ROOM = 31 * 2**20
"""Bytes of about the largest piece of memory whose release lets glibc keep what is freed after it.

Else it hands back to the system what a pass has freed, and the next pass gets it anew, page by page: a tenth
of the time of a cell under five budgets.
"""


@dataclass(frozen=True)
class Sheet:
    """One surface of several over the same grid: a budget, and whether its adversary follows the weights."""

    budget: Budget
    adversary: Adversary

    @property
    def name(self) -> str:
        return f"{str(self.budget).split()[0]}|{self.adversary}"


def sheets(budgets: list[Budget], adversary: Adversaries) -> list[Sheet]:
    """The sheets of a list of budgets, in its order."""
    wanted: list[Adversary] = ["reattack", "frozen"] if adversary == "both" else [adversary]
    none: list[Adversary] = ["none"]
    return [Sheet(b, a) for b in budgets for a in (wanted if b.eps else none)]


@dataclass(frozen=True, eq=False)
class Cells:
    """The work of a scan: a cell's number to its values (sheets, columns + groups) and passes.

    What a cell yields depends on its parent's adversary and nothing else that a run does.

    objective: the clean one, whose attack is that of θ
    root: the perturbed data of θ for each budget above 0, by eps
    warm: the attack that carries on from a neighbour; None: the objective's own attack afresh in each cell
    checked: the cells where the inner gap is measured
    bn: BatchNorm's statistics as they are, or estimated anew in each cell at the adversaries handed on
    keep: the cells whose adversary others start from
    known: the values of θ's own cell, whose adversary is the root's
    """

    objective: Objective
    lattice: Lattice
    sheets: list[Sheet]
    root: dict[str, Tensor]
    warm: Warm | None
    quick: Quick
    checked: frozenset[int]
    keep: frozenset[int]
    state: State
    bn: Statistics = "frozen"
    known: dict[int, np.ndarray] = field(default_factory=dict)

    @cached_property
    def attacked(self) -> list[Budget]:
        """The budgets that are attacked in every cell, from small to large."""
        return sorted({s.budget for s in self.sheets if s.adversary == "reattack"}, key=lambda b: b.eps)

    @cached_property
    def rows(self) -> list[np.ndarray]:
        count = min(GROUPS, len(self.objective.data))
        return [rows.numpy() for rows in self.objective.data.groups(count)]

    @cached_property
    def x(self) -> Tensor:
        """The clean inputs (n, …), ready for the network."""
        return self.objective.data.inputs(slice(None), self.objective.network.theta)[0]

    @cached_property
    def balls(self) -> list[list[tuple[Tensor, Tensor]]] | None:
        """The box of each budget around the inputs of each pass; None where they would fill the memory."""
        if 2 * len(self.attacked) * self.x.numel() * self.x.element_size() > BALLS:
            return None
        return [[budget.ball(x) for budget in self.attacked] for x, *_ in self.inputs]

    @cached_property
    def inputs(self) -> list[tuple[Tensor, Tensor, Tensor, slice]]:
        """(x, y, index, rows) of each pass, views of what is in memory once for all workers."""
        data, y = self.objective.data, self.objective.data.y.to(self.x.device)
        chunks = data.chunks(self.objective.batch_size)
        return [(self.x[rows], y[rows], data.index[rows], rows) for rows in chunks]

    @cached_property
    def exact(self) -> Fused:
        """The network as it judges inputs; confirmed on a pass of each size that there is."""
        sizes = {len(x): x for x, *_ in self.inputs}
        return Fused(self.objective.network, list(sizes.values()))

    def ready(self) -> None:
        """Bring into memory what all cells need, before workers fork and would each do so."""
        _ = self.rows, self.inputs, self.balls, self.exact
        torch.empty(ROOM, dtype=torch.uint8)  # released at once

    def __call__(self, cell: int) -> tuple[np.ndarray, np.ndarray]:
        before = [self.objective.work[name] for name in WORK]
        with exact_arithmetic():
            found = self.known[cell] if cell in self.known else self._measured(cell)
        return found, np.array([self.objective.work[n] - b for n, b in zip(WORK, before, strict=True)], float)

    def _measured(self, cell: int) -> np.ndarray:
        at, parent = At(self, cell), int(self.lattice.parents[cell])
        values = np.full((len(self.sheets), len(COLUMNS) + len(self.rows)), np.nan)
        clean: Judged | None = None
        if self.attacked or any(s.adversary == "none" for s in self.sheets):
            clean = at.judged(self.x, at.statistics(self.x))
        if self.attacked:
            assert clean is not None
            found = at.attacked(clean, self._handed_on(parent))
            for place, budget in enumerate(self.attacked):
                gap = (np.nan, np.nan, 0.0)
                if cell in self.checked:
                    found[place], gap = at.checked(found[place])
                for row, sheet in enumerate(self.sheets):
                    if (sheet.budget, sheet.adversary) == (budget, "reattack"):
                        values[row] = self.row(found[place].judged, *gap)
            if cell in self.keep:
                handed = [_lying(packed(one.moved - self.x, one.budget), 1, -1) for one in found]
                self.state.save(cell, torch.stack(handed).cpu().numpy())
        for row, sheet in enumerate(self.sheets):
            if sheet.adversary == "none":
                assert clean is not None
                values[row] = self.row(clean, gap=0.0, gap_stderr=0.0)
            elif sheet.adversary == "frozen":
                x = self.root[str(sheet.budget)]
                values[row] = self.row(at.judged(x, at.statistics(x)))
        return values

    def _handed_on(self, parent: int) -> list[Start]:
        """The perturbations that the parent ended at under each budget, to the rounding of their packing."""
        if parent == ROOT or parent in self.known:
            return [partial(self._roots, self.root[str(budget)]) for budget in self.attacked]
        stored = self.state.load(parent)
        assert stored is not None, parent
        each = [_lying(one, -1, 1) for one in torch.from_numpy(stored)]
        return [partial(self._stored, one, b) for one, b in zip(each, self.attacked, strict=True)]

    def _roots(self, moved: Tensor, rows: slice) -> Tensor:
        return moved[rows] - self.x[rows]

    def _stored(self, packed: Tensor, budget: Budget, rows: slice) -> Tensor:
        return unpacked(packed[rows], budget, self.x)

    def row(
        self, judged: Judged, gap: float = np.nan, gap_stderr: float = np.nan, redone: float = 0.0
    ) -> np.ndarray:
        """The columns of one sheet."""
        return values(*judged, self.objective.data.y, self.rows, gap, gap_stderr, redone)


def _lying(images: Tensor, channels: int, to: int) -> Tensor:
    """Images (n, C, H, W) as they lie in memory, (n, H, W, C), or back; anything else as it is."""
    return images.movedim(channels, to) if images.ndim == 4 else images


def values(
    losses: Tensor,
    logits: Tensor,
    y: Tensor,
    rows: Sequence[np.ndarray],
    gap: float,
    gap_stderr: float,
    redone: float,
) -> np.ndarray:
    """The columns, then the mean loss of each group of rows: θ's own are its point's values bit for bit."""
    each = losses.double()
    right = np.nan  # of numbers to predict there is no accuracy
    if not y.is_floating_point():
        right = (logits.argmax(dim=1) == y.to(logits.device)).double().mean().item()
    spread = each.std().item() / len(each) ** 0.5 if len(each) > 1 else np.nan
    told = [
        each.mean().item(),
        spread,
        right if torch.isfinite(logits).all() else np.nan,  # of no number, argmax makes class 0
        (each == 0).double().mean().item(),
        gap,
        gap_stderr,
        redone,
    ]
    alone = each.cpu().numpy()
    return np.array([*told, *(alone[group].mean() for group in rows)])
