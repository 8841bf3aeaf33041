"""What is measured in one cell: the loss of every example, clean and where the adversary follows."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from landscape import statistics
from landscape.attacks.base import SEEDS, Losses
from landscape.attacks.pgd import PGD
from landscape.attacks.warm import Warm
from landscape.budget import Budget
from landscape.network import Network
from landscape.objective import GAP_EXAMPLES, GROUPS, Objective, exact_arithmetic
from landscape.surfaces.lattice import ROOT, Lattice
from landscape.surfaces.state import State, pack, unpack

Adversary = Literal["none", "reattack", "frozen"]
COLUMNS = ("loss", "loss_stderr", "accuracy", "zero_loss", "gap", "gap_stderr", "redone")
"""What is kept of each sheet in a cell, followed by the mean loss of each group of the examples."""
WORK = ("forward", "gradient", "hvp")
REFERENCE = PGD(steps=50, seed=SEEDS)
"""The stronger attack that cells are checked with, from starts that no seed of a user gives."""
TOLERANCE = 0.1
"""Share of the reference's loss by which a checked cell may fall short before it is attacked further."""
FURTHER = 4
"""Times the steps, for a cell that is attacked further."""


@dataclass(frozen=True)
class Sheet:
    """One surface of several over the same grid: a budget, and whether its adversary follows the weights."""

    budget: Budget
    adversary: Adversary

    @property
    def name(self) -> str:
        return f"{str(self.budget).split()[0]}|{self.adversary}"


def sheets(budgets: list[Budget], adversary: Literal["reattack", "frozen", "both"]) -> list[Sheet]:
    """The sheets of a list of budgets, in its order."""
    wanted: list[Adversary] = ["reattack", "frozen"] if adversary == "both" else [adversary]
    none: list[Adversary] = ["none"]
    return [Sheet(b, a) for b in budgets for a in (wanted if b.eps else none)]


class Quick:
    """The network in half precision, for the gradients of an attack; losses that are told never come from it.

    bfloat16 halves the time of an attack's step and changes its loss by 0.01 % on average. It is taken on a
    CPU with instructions for it, and where the network bears it: its outputs on some examples x (B, …) agree
    to within 2 %. Else this is the network itself.
    """

    def __init__(self, network: Network, x: Tensor, wanted: Literal["auto", "bfloat16", "full"]) -> None:
        self.network, self.dtype = network, network.theta.dtype
        able = self.dtype == torch.float32 and (wanted == "bfloat16" or _fast_bfloat16(network.theta.device))
        if wanted == "full" or not able:
            return
        self.module = copy.deepcopy(network.module).to(torch.bfloat16)
        self.dtype = torch.bfloat16
        try:
            with torch.no_grad():
                parts = network.parts(network.theta)
                exact, here = network(parts, x), self(self.parts(parts), x, {})
            close = (here - exact).abs().max() <= 0.02 * (exact.max() - exact.min())
        except Exception:  # code of the user's own that makes float32 tensors of its own
            close = torch.tensor(False)
        if not close:
            self.dtype = network.theta.dtype

    def parts(self, parts: list[Tensor]) -> list[Tensor]:
        return [part.to(self.dtype) for part in parts]

    def __call__(self, parts: list[Tensor], x: Tensor, buffers: dict[str, Tensor]) -> Tensor:
        """The logits (B, C), in the network's own type."""
        if self.dtype == self.network.theta.dtype:
            return self.network(parts, x, buffers)
        named = dict(zip(self.network.names, parts, strict=True))
        low = {name: b.to(self.dtype) if b.is_floating_point() else b for name, b in buffers.items()}
        return functional_call(self.module, {**named, **low}, (x.to(self.dtype),)).to(x.dtype)


def _fast_bfloat16(device: torch.device) -> bool:
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


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
    bn: Literal["frozen", "recompute"] = "frozen"
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
    def inputs(self) -> list[tuple[Tensor, Tensor, Tensor, slice]]:
        """(x, y, index, rows) of each pass, views of what is in memory once for all workers."""
        data, y = self.objective.data, self.objective.data.y.to(self.x.device)
        chunks = data.chunks(self.objective.batch_size)
        return [(self.x[rows], y[rows], data.index[rows], rows) for rows in chunks]

    def __call__(self, cell: int) -> tuple[np.ndarray, np.ndarray]:
        before = [self.objective.work[name] for name in WORK]
        with exact_arithmetic():
            found = self.known[cell] if cell in self.known else self._measured(cell)
        return found, np.array([self.objective.work[n] - b for n, b in zip(WORK, before, strict=True)], float)

    def _measured(self, cell: int) -> np.ndarray:
        at = At(self, cell)
        parent = int(self.lattice.parents[cell])
        values = np.full((len(self.sheets), len(COLUMNS) + len(self.rows)), np.nan)
        clean: tuple[Tensor, Tensor] | None = None
        if self.attacked or any(s.adversary == "none" for s in self.sheets):
            clean = at.evaluated(self.x, at.statistics(None))
        packed, previous = [], None
        for place, budget in enumerate(self.attacked):
            start = self._handed_on(parent, place, budget)
            assert clean is not None
            attack = Attacked(at, budget, clean, start, previous)
            gap, gap_stderr, redone = attack.check() if cell in self.checked else (np.nan, np.nan, 0.0)
            previous = attack.moved
            for row in self._of(budget, "reattack"):
                values[row] = self._row(attack.losses, attack.correct, gap, gap_stderr, redone)
            if cell in self.keep:
                packed.append(pack(attack.moved - self.x, budget))
        for row, sheet in enumerate(self.sheets):
            if sheet.adversary == "none":
                assert clean is not None
                values[row] = self._row(*clean, gap=0.0, gap_stderr=0.0)
            elif sheet.adversary == "frozen":
                x = self.root[str(sheet.budget)]
                values[row] = self._row(*at.evaluated(x, at.statistics(x)))
        if packed:
            self.state.save(cell, np.stack(packed))
        return values

    def _of(self, budget: Budget, adversary: Adversary) -> list[int]:
        return [i for i, s in enumerate(self.sheets) if (s.budget, s.adversary) == (budget, adversary)]

    def _handed_on(self, parent: int, place: int, budget: Budget) -> Tensor:
        """The perturbed inputs that the parent ended at, to the rounding of their packing."""
        if parent == ROOT or parent in self.known:
            return self.root[str(budget)]
        packed = self.state.load(parent)
        assert packed is not None, parent
        return self.x + unpack(packed[place], budget, self.x)

    def _row(
        self,
        losses: Tensor,
        correct: Tensor,
        gap: float = np.nan,
        gap_stderr: float = np.nan,
        redone: float = 0.0,
    ) -> np.ndarray:
        each = losses.double().cpu().numpy()
        spread = each.std(ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.nan
        # By the sum of torch, as a Point has it: θ's own cell is its evaluation bit for bit.
        told = [losses.double().mean().item(), spread, correct.double().mean().item()]
        return np.array(
            [*told, (each == 0).mean(), gap, gap_stderr, redone, *(each[rows].mean() for rows in self.rows)]
        )


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

    @cached_property
    def quick_parts(self) -> list[Tensor]:
        return self.cells.quick.parts(self.parts)

    def statistics(self, x: Tensor | None) -> dict[str, Tensor]:
        """BatchNorm's statistics at this cell: frozen, or those on inputs x (n, …), by default the clean."""
        c = self.cells
        if c.bn == "frozen":
            return self.rest
        batches = [clean if x is None else x[rows] for clean, _, _, rows in c.inputs]
        c.objective.work["forward"] += len(c.objective.data)
        return self.rest | statistics.recomputed(c.objective.network, self.parts, batches)

    def evaluated(self, x: Tensor, buffers: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The loss of each example (n,) at inputs x (n, …), and whether it is classified rightly."""
        o = self.cells.objective
        losses, correct = [], []
        with torch.no_grad():
            for _, y, _, rows in self.cells.inputs:
                logits = o.network(self.parts, x[rows], buffers)
                losses.append(o.loss(logits, y))
                correct.append(logits.argmax(dim=1) == y)
        o.work["forward"] += len(x)
        return torch.cat(losses), torch.cat(correct)

    def losses(self, y: Tensor, buffers: dict[str, Tensor], *, quick: bool = False) -> Losses:
        """The losses of inputs as an attack sees them, in its own precision if `quick`."""
        o = self.cells.objective

        def losses(x: Tensor) -> Tensor:
            o.work["gradient" if torch.is_grad_enabled() and x.requires_grad else "forward"] += len(x)
            if quick:
                return o.loss(self.cells.quick(self.quick_parts, x, buffers), y)
            return o.loss(o.network(self.parts, x, buffers), y)

        return losses


class Attacked:
    """The data of one cell under attack, from a neighbour's adversary and that of a smaller budget.

    clean: losses and hits at the clean inputs, below which the loss under attack never falls
    """

    def __init__(
        self,
        at: At,
        budget: Budget,
        clean: tuple[Tensor, Tensor],
        start: Tensor,
        previous: Tensor | None,
    ) -> None:
        self.at, self.budget, self.clean = at, budget, clean
        self.buffers = at.statistics(start)
        warm = at.cells.warm
        if warm is None:
            self._afresh()
        else:
            self._carry_on(warm, [start] if previous is None else [start, previous])

    def check(self) -> tuple[float, float, float]:
        """The inner gap on some examples, its standard error, and 1 where the cell was attacked further."""
        cells = self.at.cells
        n = len(self.losses)
        few = torch.linspace(0, n - 1, min(n, GAP_EXAMPLES)).round().long()
        data = cells.objective.data[few]
        x, y = data.inputs(slice(None), cells.objective.network.theta)
        strong = REFERENCE(self.at.losses(y, self.buffers, quick=True), x, data.index, self.budget)
        with torch.no_grad():
            logits = cells.objective.network(self.at.parts, strong, self.buffers)
            reference = cells.objective.loss(logits, y).double()
        redone = 0.0
        short = (reference - self.losses[few].double()).mean()
        if cells.warm is not None and short > TOLERANCE * reference.mean():
            self._carry_on(replace(cells.warm, steps=FURTHER * cells.warm.steps), [self.moved])
            redone = 1.0
        gaps = (reference - self.losses[few].double()).clamp_min(0.0)
        return gaps.mean().item(), (gaps.std() / len(few) ** 0.5).item() if len(few) > 1 else np.nan, redone

    def _afresh(self) -> None:
        o, moved = self.at.cells.objective, []
        for x, y, index, _ in self.at.cells.inputs:
            moved.append(o.attack(self.at.losses(y, self.buffers), x, index, self.budget))
        self._take(torch.cat(moved))

    def _carry_on(self, warm: Warm, starts: list[Tensor]) -> None:
        moved = []
        for x, y, _, rows in self.at.cells.inputs:
            losses = self.at.losses(y, self.buffers, quick=True)
            moved.append(warm(losses, x, [start[rows] for start in starts], self.budget))
        self._take(torch.cat(moved))

    def _take(self, moved: Tensor) -> None:
        losses, correct = self.at.evaluated(moved, self.buffers)
        clean, hits = self.clean
        fell = clean > losses  # by the rounding of half precision; NaN stays
        self.losses, self.correct = torch.where(fell, clean, losses), torch.where(fell, hits, correct)
        back = fell.view(-1, *[1] * (moved.ndim - 1))
        self.moved = torch.where(back, self.at.cells.x, moved)
