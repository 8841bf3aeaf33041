"""The ways between two points under each budget, measured and trained one after the other.

Each place on a way is a line of the journal beside the output, each training of bends a file with its state:
a run that was ended at any moment carries on there, on as many threads, with the same bits.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landscape.analyzers.connect import PARTS, Connection
from landscape.budget import Budget
from landscape.connecting.along import WORK, Along, Examples, Scanned, sizes
from landscape.connecting.bending import Bending, Recipe
from landscape.curves import Curve
from landscape.losses import name_of
from landscape.normalization import of_module
from landscape.objective import Objective
from landscape.same import same_threads
from landscape.statistics import keeping
from landscape.surfaces.interrupt import Interrupt
from landscape.surfaces.journal import Journal
from landscape.surfaces.state import State
from landscape.task import Task


class Connecting:
    """The measurements of all budgets of a task.

    objective: of the first end
    start: the curve that every training starts from
    examples: what curves are trained on, and what is measured on
    points: places on each way
    save_curve: whether results hold the control points
    """

    def __init__(
        self,
        objective: Objective,
        start: Curve,
        examples: Examples,
        recipe: Recipe,
        points: int,
        save_curve: bool,
        task: Task,
    ) -> None:
        self.objective, self.start, self.examples, self.recipe = objective, start, examples, recipe
        self.t, self.save_curve, self.task = np.linspace(0.0, 1.0, points), save_curve, task
        self.found: list[Connection] = []

    def results(self, output: Path, resume: bool) -> Iterator[list[Connection]]:
        """The results so far, after each way; what is unfinished is kept beside the output."""
        asked = {**self.task.run.provenance["asked"], **self._depends()}
        known = {"threads": torch.get_num_threads()}
        book = Journal(output.with_name(f"{output.name}.journal"), asked, known, resume)
        self.task.run.provenance["threads"] = book.known["threads"]
        state = State(output.with_name(f"{output.name}.cells"))
        complete = False
        try:
            if not book.resumed:
                state.clear()
            state.folder.mkdir(exist_ok=True)
            with same_threads(book.known["threads"]):
                for place, budget in enumerate(self.task.budgets):
                    for found in self._ways(place, budget, book, state):
                        self.found += found
                        ways = 2 * len(self.task.budgets)
                        self.task.run.complete = len({(r.budget, r.way) for r in self.found}) == ways
                        yield list(self.found)
            complete = True  # and the results are written
        finally:
            if complete:
                state.clear()
            book.close(remove=complete)

    def _depends(self) -> dict[str, Any]:
        """What a run depends on besides what a user asks for by name, as JSON values."""
        digest = hashlib.sha256()
        ends = [
            self.start.points[0],
            self.start.points[-1],
            *(t for pair in self.start.rest.values() for t in pair),
        ]
        for tensor in [*ends, *self.objective.network.rest().values()]:
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return {
            "the weights": digest.hexdigest()[:16],
            "the loss": name_of(self.objective.loss),
            "the normalization": str(of_module(self.objective.network.module) or "none"),
            "the precision": f"{ends[0].dtype} on {ends[0].device.type}",
            "the precision of the training's attacks": self.recipe.attack_precision,
            "the examples": [d.sha256 for d in (self.examples.trained, *self.examples.measured)],
        }

    def _ways(self, place: int, budget: Budget, book: Journal, state: State) -> Iterator[list[Connection]]:
        """The straight line, then the curve."""
        o, name = self.objective.under(budget), str(budget).split()[0]
        line = Curve("polygon", [self.start.points[0], self.start.points[-1]], self.start.rest)
        began = time.perf_counter()
        on_line = self._scan(2 * place, line, o, book, f"eps {name}: straight line")
        seconds = time.perf_counter() - began
        yield [self._result(on_line, k, seconds) for k in range(len(on_line.along.data))]
        began = time.perf_counter()
        bending = self._bent(place, o, state, f"eps {name}: training the bends")
        on_curve = self._scan(2 * place + 1, bending.curve, o, book, f"eps {name}: {self.start.kind}")
        seconds = time.perf_counter() - began
        yield [self._result(on_curve, k, seconds, bending, on_line) for k in range(len(on_line.along.data))]

    def _bent(self, place: int, o: Objective, state: State, stage: str) -> Bending:
        """The training of the bends, carried on to its end."""
        bending = Bending(self.start, replace(o, data=self.examples.trained), self.recipe)
        kept = state.load(f"bends-{place}")
        if kept is not None:
            bending.restore(kept)
        bending.run(lambda now: state.save(f"bends-{place}", now), stage)
        return bending

    def _scan(self, number: int, curve: Curve, o: Objective, book: Journal, stage: str) -> Scanned:
        """All places of a way, those in the journal as they stand there."""
        known = replace(o, data=self.examples.known)
        along = Along(curve, known, self.examples.measured, self.recipe.bn)
        first, count = number * (len(self.t) + 1), len(self.t)
        with Interrupt() as interrupt:
            for k, t in enumerate(self.t):
                o.watch(stage, k, count)
                if first + k not in book.cells:
                    book.add(first + k, along(float(t)))
                if interrupt.noted:
                    raise KeyboardInterrupt
            found = Scanned(along, self.t, np.stack([book.cells[first + k] for k in range(count)]))
            if first + count not in book.cells:
                o.watch(f"{stage}, inner gap", 0, 1)
                book.add(first + count, np.stack([found.gap(place) for place in range(len(along.data))]))
            if interrupt.noted:
                raise KeyboardInterrupt
        return replace(found, gaps=book.cells[first + count])

    def _result(
        self,
        scan: Scanned,
        place: int,
        seconds: float,
        bending: Bending | None = None,
        line: Scanned | None = None,
    ) -> Connection:
        """What is told of a way on one of the data; of a curve with its training and the line beside it."""
        along, data = scan.along, scan.along.data[place]
        o, curve = along.objective, along.curve
        high, wrong, clean = (scan.barrier(name, place) for name in ("loss", "accuracy", "clean_loss"))
        mean_loss, mean_loss_stderr = scan.mean(place)
        lower, lower_stderr = scan.lower(line, place) if line else (math.nan, math.nan)
        assert scan.gaps is not None
        inner_gap, inner_gap_stderr = scan.gaps[place, len(WORK) :].tolist()
        distance = (curve.points[-1].double() - curve.points[0].double()).norm().item()
        right, clean_right = scan.column("accuracy", place), scan.column("clean_accuracy", place)
        return Connection(
            eps=float(o.budget.eps),
            budget=str(o.budget).split()[0],
            norm=o.budget.norm,
            attack=str(o.attack) if o.budget.eps else "none",
            way=curve.kind if bending else "line",
            split=data.split,
            examples=len(data),
            own=self.examples.own(place),
            bends=curve.bends,
            bn=along.bn if keeping(o.network) else "none",
            epochs=self.recipe.epochs if bending else 0,
            trained_on=len(self.examples.trained) if bending else 0,
            t=self.t,
            loss=scan.column("loss", place),
            loss_stderr=scan.column("loss_stderr", place),
            accuracy=right,
            accuracy_stderr=np.sqrt(right * (1 - right) / len(data)),
            clean_loss=scan.column("clean_loss", place),
            clean_loss_stderr=scan.column("clean_loss_stderr", place),
            clean_accuracy=clean_right,
            clean_accuracy_stderr=np.sqrt(clean_right * (1 - clean_right) / len(data)),
            zero_loss=scan.column("zero_loss", place),
            groups=scan.groups("loss", place),
            right=scan.groups("accuracy", place),
            clean_groups=scan.groups("clean_loss", place),
            sizes=sizes(data),
            barrier=high.height,
            barrier_stderr=high.stderr,
            barrier_at=high.at,
            accuracy_barrier=wrong.height,
            accuracy_barrier_stderr=wrong.stderr,
            clean_barrier=clean.height,
            clean_barrier_stderr=clean.stderr,
            mean_loss=mean_loss,
            mean_loss_stderr=mean_loss_stderr,
            lower=lower,
            lower_stderr=lower_stderr,
            inner_gap=inner_gap,
            inner_gap_stderr=inner_gap_stderr,
            length=curve.length() / distance,
            distance=distance,
            passes=scan.passes(place),
            training={k: v for k, v in bending.passes.items() if v} if bending else {},
            seconds=seconds,
            course=bending.course(PARTS) if bending else None,
            control=torch.stack([*curve.points]).cpu().numpy() if bending and self.save_curve else None,
        )
