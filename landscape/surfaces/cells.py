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
from landscape.attacks.warm import Found, Judge, Judged, Warm, packed, settled, unpacked
from landscape.budget import Budget
from landscape.network import Network
from landscape.objective import GAP_EXAMPLES, GROUPS, Objective, exact_arithmetic
from landscape.surfaces.lattice import ROOT, Lattice
from landscape.surfaces.state import State

Adversary = Literal["none", "reattack", "frozen"]
COLUMNS = ("loss", "loss_stderr", "accuracy", "zero_loss", "gap", "gap_stderr", "redone")
"""What is kept of each sheet in a cell, followed by the mean loss of each group of the examples."""
WORK = ("forward", "gradient", "hvp")
REFERENCE = PGD(steps=50, seed=SEEDS)
"""The stronger attack that cells are checked with, from starts that no seed of a user gives."""
TOLERANCE = 0.2
"""Share of the reference's loss by which a checked cell may fall short before it is attacked further: a failure.
Less than that would only lift single cells above their neighbours."""
BALLS = 2**28
"""Bytes up to which the boxes around the inputs are kept; without them a cell takes a twentieth longer."""
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

    def ready(self) -> None:
        """Bring into memory what all cells need, before workers fork and would each do so."""
        _ = self.rows, self.inputs, self.balls

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
            clean = at.judged(self.x, at.statistics(None))
        if self.attacked:
            assert clean is not None
            found = at.attacked(clean, [self._handed_on(parent, i, b) for i, b in enumerate(self.attacked)])
            for place, budget in enumerate(self.attacked):
                gap = (np.nan, np.nan, 0.0)
                if cell in self.checked:
                    found[place], gap = at.checked(clean, found[place])
                for row, sheet in enumerate(self.sheets):
                    if (sheet.budget, sheet.adversary) == (budget, "reattack"):
                        values[row] = self._row(found[place].judged, *gap)
            if cell in self.keep:
                handed = [packed(one.moved - self.x, one.budget).cpu().numpy() for one in found]
                self.state.save(cell, np.stack(handed))
        for row, sheet in enumerate(self.sheets):
            if sheet.adversary == "none":
                assert clean is not None
                values[row] = self._row(clean, gap=0.0, gap_stderr=0.0)
            elif sheet.adversary == "frozen":
                x = self.root[str(sheet.budget)]
                values[row] = self._row(at.judged(x, at.statistics(x)))
        return values

    def _handed_on(self, parent: int, place: int, budget: Budget) -> Tensor:
        """The perturbation (n, …) that the parent ended at, to the rounding of its packing."""
        if parent == ROOT or parent in self.known:
            return self.root[str(budget)] - self.x
        stored = self.state.load(parent)
        assert stored is not None, parent
        return unpacked(torch.from_numpy(stored[place]), budget, self.x)

    def _row(
        self,
        judged: Judged,
        gap: float = np.nan,
        gap_stderr: float = np.nan,
        redone: float = 0.0,
    ) -> np.ndarray:
        losses, logits = judged
        correct = logits.argmax(dim=1) == self.objective.data.y.to(logits.device)
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
                logits = o.network(self.parts, x, buffers)
                o.work["forward"] += len(x)
                return o.loss(logits, y[rows.to(y.device)]), logits

        return exact

    def losses(self, y: Tensor, buffers: dict[str, Tensor], *, quick: bool = False) -> Losses:
        """The losses of inputs as an attack sees them, in its own precision if `quick`."""
        o = self.cells.objective

        def losses(x: Tensor) -> Tensor:
            o.work["gradient" if torch.is_grad_enabled() and x.requires_grad else "forward"] += len(x)
            if quick:
                return o.loss(self.cells.quick(self.quick_parts, x, buffers), y)
            return o.loss(o.network(self.parts, x, buffers), y)

        return losses

    def attacked(self, clean: Judged, starts: list[Tensor]) -> list[Attacked]:
        """The data under attack, starting from perturbations (n, …), one for each budget."""
        cells = self.cells
        if cells.warm is None:
            return [self._afresh(clean, budget) for budget in cells.attacked]
        if cells.bn == "frozen":
            return self._carried_on(cells.warm, clean, starts, cells.attacked, self.rest)
        found = []
        for start, budget in zip(starts, cells.attacked, strict=True):  # each with statistics of its own
            buffers = self.statistics(cells.x + start)
            found += self._carried_on(cells.warm, clean, [start], [budget], buffers)
        return found

    def checked(self, clean: Judged, found: Attacked) -> tuple[Attacked, tuple[float, float, float]]:
        """The data, attacked further where it falls short; inner gap, its error, and 1 if it was.

        On some examples, by an attack from other starts.
        """
        cells, n = self.cells, len(self.cells.x)
        few = torch.linspace(0, n - 1, min(n, GAP_EXAMPLES)).round().long()
        x, y = cells.x[few], cells.objective.data.y[few].to(cells.x.device)
        attack = self.losses(y, found.buffers, quick=True)
        strong = REFERENCE(attack, x, cells.objective.data.index[few], found.budget)
        reference = self.judge(y, found.buffers)(strong, torch.arange(len(few)))[0].double()
        short = (reference - found.judged[0][few].double()).mean()
        redone = cells.warm is not None and bool(short > TOLERANCE * reference.mean())
        if redone:
            assert cells.warm is not None
            further = replace(cells.warm, steps=FURTHER * cells.warm.steps)
            start = found.moved - cells.x
            (found,) = self._carried_on(further, clean, [start], [found.budget], found.buffers)
        gaps = (reference - found.judged[0][few].double()).clamp_min(0.0)
        error = (gaps.std() / len(few) ** 0.5).item() if len(few) > 1 else np.nan
        return found, (gaps.mean().item(), error, float(redone))

    def _carried_on(
        self,
        warm: Warm,
        clean: Judged,
        starts: list[Tensor],
        budgets: list[Budget],
        buffers: dict[str, Tensor],
    ) -> list[Attacked]:
        found: list[list[tuple[Tensor, Judged]]] = [[] for _ in budgets]
        known = self.cells.balls if budgets == self.cells.attacked else None
        for place, (x, y, _, rows) in enumerate(self.cells.inputs):
            parts = [start[rows] for start in starts]
            losses = self.losses(y, buffers, quick=True)
            ends = warm(losses, x, parts, budgets, known[place] if known else None)
            for each, end in zip(found, ends, strict=True):
                each.append(settled(end, x, (clean[0][rows], clean[1][rows]), self.judge(y, buffers)))
        return [_joined(budget, each, buffers) for budget, each in zip(budgets, found, strict=True)]

    def _afresh(self, clean: Judged, budget: Budget) -> Attacked:
        o, found, buffers = self.cells.objective, [], self.statistics(None)
        for x, y, index, rows in self.cells.inputs:
            moved = o.attack(self.losses(y, buffers), x, index, budget)
            end = Found(moved, x, x.new_full((len(x),), -torch.inf))
            found.append(settled(end, x, (clean[0][rows], clean[1][rows]), self.judge(y, buffers)))
        return _joined(budget, found, buffers)


@dataclass(frozen=True, eq=False)
class Attacked:
    """The data of one cell under attack: the inputs (n, …), and what the exact network says of them."""

    budget: Budget
    moved: Tensor
    judged: Judged
    buffers: dict[str, Tensor]


def _joined(budget: Budget, found: list[tuple[Tensor, Judged]], buffers: dict[str, Tensor]) -> Attacked:
    moved = torch.cat([inputs for inputs, _ in found])
    losses, logits = (torch.cat([judged[k] for _, judged in found]) for k in (0, 1))
    return Attacked(budget, moved, (losses, logits), buffers)
