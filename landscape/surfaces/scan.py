"""A surface, cell by cell: over workers, with a journal, and out of nested grids where that is enough."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.attacks.pgd import PGD
from landscape.attacks.warm import Warm
from landscape.axes import Axis
from landscape.budget import Budget
from landscape.directions import check_length
from landscape.errors import InputError, LandscapeError
from landscape.objective import GROUPS, Point, silence
from landscape.statistics import keeping
from landscape.surfaces.cells import COLUMNS, Cells, sheets
from landscape.surfaces.identity import identity
from landscape.surfaces.interrupt import Interrupt
from landscape.surfaces.journal import Journal
from landscape.surfaces.lattice import ROOT, Lattice
from landscape.surfaces.pool import Pool
from landscape.surfaces.quick import Quick, Tuned, tuned
from landscape.surfaces.refine import sample
from landscape.surfaces.root import root
from landscape.surfaces.settings import DEFAULT, Settings
from landscape.surfaces.state import AXES, State
from landscape.surfaces.surface import Surface
from landscape.surfaces.table import Table

PUBLISH = 60.0
"""Seconds between two publications of the surfaces so far."""
CHECKED = 0.05
"""Of the cells, drawn with the seed, are checked with a stronger attack."""
NESTED = (4, 2, 1)
"""Strides of the grids that a surface is refined over: 13², 25², 51²."""


def surface(
    point: Point,
    u: Tensor,
    v: Tensor | None = None,
    *,
    x: np.ndarray,
    y: np.ndarray | None = None,
    budgets: Sequence[Budget] | None = None,
    settings: Settings = DEFAULT,
    workers: int = 1,
) -> list[Surface]:
    """L_eps(θ + x u + y v) over a grid, or L_eps(θ + x u) on a line, under each budget.

    u, v: vectors (P,), of any length
    x, y: ascending coordinates; those of y are those of x by default
    budgets: by default the point's own
    """
    device, given = point.theta.device, {"u": u} if v is None else {"u": u, "v": v}
    vectors = {name: torch.as_tensor(vector).double().to(device) for name, vector in given.items()}
    axes = [Axis(name, "file", vector, "1") for name, vector in vectors.items()]
    second = None if v is None else x if y is None else y
    scan = Scan(
        point,
        axes,
        x,
        second,
        list([point.objective.budget] if budgets is None else budgets),
        settings,
        workers,
    )
    *_, found = scan.surfaces()
    return found


class Scan:
    """The surfaces around a point under several budgets: what is known of every cell, and what comes next.

    x, y: coordinates along the axes; y is None for a line
    workers: processes, each with one thread; a GPU is used from this process alone
    """

    def __init__(
        self,
        point: Point,
        axes: Sequence[Axis],
        x: np.ndarray,
        y: np.ndarray | None,
        budgets: list[Budget],
        settings: Settings,
        workers: int,
    ) -> None:
        x, y = _ascending(x), None if y is None else _ascending(y)
        for axis in axes:
            check_length(axis.name, axis.vector)
        if not budgets:
            raise InputError("no budget was given; give at least one, such as Budget(0)")
        o = point.objective
        strides = NESTED if settings.refine else (1,)
        if settings.bn == "recompute" and not keeping(o.network):
            settings = replace(settings, bn="frozen")  # nothing to recompute: θ's cell is its evaluation
        self.point, self.settings = point, settings
        self.lattice = Lattice(point.theta, axes, x, np.zeros(1) if y is None else y, strides)
        self.sheets = sheets(budgets, settings.adversary)
        self.workers = workers if point.theta.device.type == "cpu" else 1
        o.watch("timing a pass", 0, 1)
        self.tuned = tuned(o, any(s.adversary == "reattack" for s in self.sheets), settings.attack_dtype)
        sizes = np.array([len(rows) for rows in o.data.groups(min(GROUPS, len(o.data)))])
        self.table = Table(self.lattice, self.sheets, sizes, line=y is None)
        self.children: dict[int, list[int]] = {}
        for cell, parent in enumerate(self.lattice.parents.tolist()):
            self.children.setdefault(parent, []).append(cell)
        self.began, self.complete = time.perf_counter(), False

    @property
    def depends(self) -> dict[str, Any]:
        """All that the values depend on; a resumed scan must have the same."""
        return identity(self.point, self.lattice, self.sheets, self.settings, line=self.table.line)

    def surfaces(
        self, journal: Path | None = None, resume: bool = True, asked: dict[str, Any] | None = None
    ) -> Iterator[list[Surface]]:
        """The surfaces, one for each sheet, as far as they are: every minute, and at the end.

        journal: where finished cells are noted; with resume a scan with the same settings carries on there
        asked: the settings as a user knows them, by name
        """
        with tempfile.TemporaryDirectory(prefix="landscape-") as temporary:
            folder = Path(temporary) if journal is None else journal.with_suffix(".cells")
            # What was tuned before stays so: other passes would round otherwise.
            known = {"tuned": vars(self.tuned)}
            depends = (asked or {}) | {f"the {name}": value for name, value in self.depends.items()}
            book = Journal(journal or Path(temporary) / "journal", depends, known, resume)
            state = State(folder)
            try:
                self.tuned = Tuned(**book.known["tuned"])
                if not book.resumed and journal is not None:
                    state.clear(but=AXES)
                folder.mkdir(exist_ok=True)
                yield from self._all(book, state)
            finally:
                if self.complete:
                    state.clear()
                book.close(remove=self.complete)

    def _all(self, book: Journal, state: State) -> Iterator[list[Surface]]:
        """Measure all cells that the journal does not hold."""
        self.root = root(self.point, self.lattice, self.sheets, book, state)
        cells = self._cells(state)
        cells.ready()
        for cell, stored in book.cells.items():
            if cell >= 0:
                self.table.take(cell, stored)
        if cells.attacked:
            self._without_lost_starts(cells)
        with Interrupt() as interrupt, Pool(cells, self.workers, book.file) as pool:
            try:
                for level in range(len(self.lattice.strides)):
                    members = self.lattice.members(level)
                    if not len(members):
                        continue
                    if level:
                        some = sample(members, self.settings.seed)
                        yield from self._measure(some, cells, pool, book, interrupt)
                        if self.table.predicted(level - 1, some, self.settings.refine):
                            self.table.fill(level - 1)
                            break
                    yield from self._measure(members, cells, pool, book, interrupt)
            except (LandscapeError, KeyboardInterrupt):
                yield self.found()
                raise
            yield self.found()
            self.complete = True

    def _measure(
        self, wanted: np.ndarray, cells: Cells, pool: Pool, book: Journal, interrupt: Interrupt
    ) -> Iterator[list[Surface]]:
        """Measure some cells, each after the one that it starts from; yields when a minute has passed."""
        watch, published = self.point.objective.watch, time.monotonic()
        left = {int(cell) for cell in wanted if not self.table.done[cell]}
        total = len(left)

        def ready(cell: int) -> bool:
            parent = int(self.lattice.parents[cell])
            return not cells.attacked or parent == ROOT or bool(self.table.done[parent])

        waiting = [cell for cell in sorted(left, reverse=True) if ready(cell)]
        while left and not (interrupt.noted and not pool.running):
            while waiting and pool.free and not interrupt.noted:
                pool.submit(_taken(waiting))
            cell, (values, work) = pool.receive()
            stored = np.concatenate([work, values.ravel()])
            book.add(cell, stored)
            self.table.take(cell, stored)
            left.discard(cell)
            if cells.attacked:
                waiting += [child for child in self.children.get(cell, []) if child in left]
                self._drop_unneeded(cell, cells)
            watch("cells", total - len(left), total)
            if time.monotonic() - published > PUBLISH:
                published = time.monotonic()
                yield self.found()
        if interrupt.noted:
            raise KeyboardInterrupt

    def _drop_unneeded(self, cell: int, cells: Cells) -> None:
        """Forget the adversaries that nobody starts from any more."""
        for place in (cell, int(self.lattice.parents[cell])):
            if place != ROOT and all(self.table.done[child] for child in self.children.get(place, [])):
                cells.state.drop(place)

    def _without_lost_starts(self, cells: Cells) -> None:
        """Measure once more what cells start from whose adversary was lost, as to a loss of power."""
        for cell in reversed(self._branches()):
            needed = any(not self.table.done[child] for child in self.children.get(cell, []))
            if self.table.done[cell] and needed and cell not in cells.known:
                self.table.done[cell] = cells.state.load(cell) is not None

    def _branches(self) -> list[int]:
        """All cells, each after its parent."""
        found, waiting = [], list(self.children.get(ROOT, []))
        while waiting:
            cell = waiting.pop()
            found.append(cell)
            waiting += self.children.get(cell, [])
        return found

    def _cells(self, state: State) -> Cells:
        o, settings, attack = self.point.objective, self.settings, self.point.objective.attack
        rng = np.random.Generator(np.random.Philox(key=[settings.seed, 2**33]))
        count = min(len(self.lattice), max(1, round(CHECKED * len(self.lattice))))
        checked = rng.choice(len(self.lattice), count, replace=False)
        centre = self.lattice.centre()
        return Cells(
            objective=o.but(watch=silence, batch_size=self.tuned.batch),
            lattice=self.lattice,
            sheets=self.sheets,
            root={str(p.objective.budget): p.perturbed.x for p in self.root.points if p.objective.budget.eps},
            # A PGD of the user's is carried on from a neighbour's end; other attacks have no such start.
            warm=Warm(steps=settings.steps_warm) if settings.steps_warm and type(attack) is PGD else None,
            quick=Quick(o.network, self.tuned.half, o.data.inputs(slice(0, 2), o.network.theta)[0]),
            checked=frozenset(checked.tolist()),
            keep=frozenset(self.lattice.parents.tolist()),
            state=state,
            bn=settings.bn,
            known={} if centre is None or settings.bn == "recompute" else {centre: self._own_cell()},
        )

    def _own_cell(self) -> np.ndarray:
        """The values of θ as a cell: its gap is told apart, for its reference was a stronger one."""
        found = self.root.values.copy()
        for row, sheet in enumerate(self.sheets):
            if sheet.budget.eps:
                found[row, [COLUMNS.index("gap"), COLUMNS.index("gap_stderr")]] = np.nan
        return found

    def found(self) -> list[Surface]:
        """The surfaces as far as they are."""
        return self.table.surfaces(self.root, self.settings.bn, time.perf_counter() - self.began)


def _ascending(coordinates: np.ndarray) -> np.ndarray:
    found = np.atleast_1d(np.asarray(coordinates, dtype=np.float64))
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all() or (np.diff(found) <= 0).any():
        raise InputError(f"coordinates {_few(found)}: they are numbers that ascend, at least one")
    return found


def _few(values: np.ndarray) -> str:
    return str(values.ravel()[:5].tolist())


def _taken(waiting: list[int]) -> int:
    """The next of the cells that are ready: the last, so that a branch is followed to its end.

    Few adversaries are then kept; what the cells yield does not depend on it.
    """
    return waiting.pop()
