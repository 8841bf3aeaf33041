"""How well two checkpoints are connected: the loss along a trained curve, and along the straight line."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from landscape.errors import InputError
from landscape.format import duration, percent, plus_minus
from landscape.registry import register
from landscape.surfaces.settings import Precision, Statistics

if TYPE_CHECKING:
    import numpy as np

    from landscape.connecting.along import Examples
    from landscape.objective import Point
    from landscape.task import Task

HIDDEN: Any = {"json": False}
FALLING = 0.02
"""Fall of the mean loss between the last two tenths of the training that is told, if it is sure."""
PARTS = 100
"""Of the training whose mean losses are kept."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Connection:
    """L_eps along one way from a checkpoint A to another B, on one data set; t is 0 at A and 1 at B.

    A run has, for each budget, those of the straight line and those of the curve that was trained under it.

    eps, budget, norm, attack: of the perturbations; attacked anew at each t, from the same random starts
    way: "line", or what the curve is: "bezier", "polygon"
    split, examples: what it was measured on; own: whether these are among those that the curve is trained on
    bends, bn: of the curve; how BatchNorm's statistics came about, "none" without such layers
    epochs, trained_on: of the training, and the number of its examples; 0 of a line
    t: (T,) ascending, from 0 to 1
    loss, accuracy, clean_loss, clean_accuracy, each with …_stderr: (T,) under attack and clean. Places
        share the examples: differences are surer
    zero_loss: (T,) share of the examples whose loss rounds to 0: the attack has no gradient there
    groups, right, clean_groups: (T, G) mean loss, accuracy and clean loss of groups of `sizes` (G,) examples,
        for the errors of differences
    barrier, barrier_at: max over t of L(t) − ((1 − t) L(0) + t L(1)), and where it is; with the standard
        error of that rise over the examples. Never below 0; as the largest of noisy values biased upwards
    accuracy_barrier, clean_barrier: the same of 1 − accuracy, and of the clean loss
    mean_loss: ∫ L(t) dt by the trapezoidal rule, which the training lowers
    lower: by how much the barrier is lower than that of the line, with the error of the paired difference
    inner_gap: loss per example that a much stronger attack adds where the barrier is, on a few examples
    length: of the way, over ‖B − A‖; distance: ‖B − A‖
    course: (m,) mean loss of the mini-batches in equal parts of the training, 100 or fewer, each at its own t
    control: (K, P) the control points, if asked for
    passes, training: over these examples of the scan; of the training over its own
    seconds: wall time since the measurement before, of what was not carried on
    """

    OWN_SHAPES: ClassVar[bool] = True
    LEGEND: ClassVar[str] = (
        "± standard error over the examples, of barriers that of the paired rise above the chord; barrier: "
        "the highest rise of the loss above the chord between A and B; lower by: than that of the straight "
        "line; inner gap: what a much stronger attack adds there; mean loss: over t; length: over ‖B − A‖"
    )

    eps: float
    budget: str
    norm: str
    attack: str
    way: str
    split: str
    examples: int
    own: bool
    bends: int
    bn: str
    epochs: int
    trained_on: int
    t: np.ndarray
    loss: np.ndarray
    loss_stderr: np.ndarray
    accuracy: np.ndarray
    accuracy_stderr: np.ndarray
    clean_loss: np.ndarray
    clean_loss_stderr: np.ndarray
    clean_accuracy: np.ndarray
    clean_accuracy_stderr: np.ndarray
    zero_loss: np.ndarray
    groups: np.ndarray = field(metadata=HIDDEN)
    right: np.ndarray = field(metadata=HIDDEN)
    clean_groups: np.ndarray = field(metadata=HIDDEN)
    sizes: np.ndarray = field(metadata=HIDDEN)
    barrier: float
    barrier_stderr: float
    barrier_at: float
    accuracy_barrier: float
    accuracy_barrier_stderr: float
    clean_barrier: float
    clean_barrier_stderr: float
    mean_loss: float
    mean_loss_stderr: float
    lower: float
    lower_stderr: float
    inner_gap: float
    inner_gap_stderr: float
    length: float
    distance: float
    passes: dict[str, float]
    training: dict[str, float]
    seconds: float
    course: np.ndarray | None = None
    control: np.ndarray | None = field(default=None, metadata=HIDDEN)

    @property
    def heading(self) -> str:
        trained = "among those that the curves are trained on" if self.own else "held out"
        return f"{self.split}, {self.examples:,} examples, {trained}"

    @property
    def column(self) -> str:
        return f"{self.budget}, {self.way}"

    def rows(self) -> dict[str, str]:
        """What a table of results shows of it, by the name of the row."""
        top = int((self.t == self.barrier_at).argmax())
        rows = {
            "loss at A": plus_minus(self.loss[0], self.loss_stderr[0]),
            "loss at B": plus_minus(self.loss[-1], self.loss_stderr[-1]),
            "barrier": plus_minus(self.barrier, self.barrier_stderr),
        }
        if not math.isnan(self.barrier):
            rows["barrier is at t"] = f"{self.barrier_at:.4g}"
            rows["loss there"] = plus_minus(self.loss[top], self.loss_stderr[top])
        rows["lower by"] = "" if math.isnan(self.lower) else plus_minus(self.lower, self.lower_stderr)
        rows["mean loss"] = plus_minus(self.mean_loss, self.mean_loss_stderr)
        if not math.isnan(self.accuracy[0]):
            rows["accuracy at A"] = percent(self.accuracy[0], self.accuracy_stderr[0])
            rows["accuracy at B"] = percent(self.accuracy[-1], self.accuracy_stderr[-1])
            rows["accuracy barrier"] = percent(self.accuracy_barrier, self.accuracy_barrier_stderr)
        if self.eps:
            rows["clean barrier"] = plus_minus(self.clean_barrier, self.clean_barrier_stderr)
            rows["inner gap"] = plus_minus(self.inner_gap, self.inner_gap_stderr)
        if self.eps and self.zero_loss.max():
            rows["NO WORST CASE"] = f"{self.zero_loss.max():.0%} unseen"
        rows["length"] = f"{self.length:.4g}"
        rows |= {f"{name} passes": f"{count:,.0f}" for name, count in self.passes.items() if count}
        if self.trained_on:
            rows["trained on"] = f"{self.trained_on:,}"
            rows["training passes"] = f"{sum(self.training.values()):,.0f}"
        return rows | {"time": duration(self.seconds)}

    def remarks(self) -> list[str]:
        """What a reader should know, a sentence each."""
        told = []
        if self.eps and self.zero_loss.max():
            told.append(
                "NO WORST CASE: the loss of this share of the examples rounds to 0 somewhere on the way: the "
                "attack has no gradient there, and what it finds is no worst case"
            )
        if self.bn == "recompute":
            told.append(
                "BatchNorm's statistics are estimated at every place: at A and B too they are not their own; "
                "--bn frozen takes these"
            )
        if math.isnan(self.barrier):
            told.append(f"the loss on the {self.way} is not finite everywhere: it has no barrier in numbers")
        if self.course is not None and (fall := self._falling()):
            told.append(
                f"STILL FALLING: the loss on the {self.way} fell by {fall:.0%} in the last tenth of the "
                "training: give more --epochs for a lower one"
            )
        if self.lower < -2 * self.lower_stderr:
            where, what = (
                ("its own examples", "its training went wrong: give a smaller --lr")
                if self.own
                else ("examples held out", "unless on its own too, it overfits: give more --train-examples")
            )
            told.append(
                f"HIGHER: on {where} the {self.way} has a higher barrier than the line; {what}, or other "
                "--epochs"
            )
        return told

    def _falling(self) -> float:
        """The fall of the mean loss between the last two tenths of the training, 0 unless it is sure."""
        assert self.course is not None
        tenth = len(self.course) // 10
        if tenth < 2:
            return 0.0
        before, last = self.course[-2 * tenth : -tenth], self.course[-tenth:]
        error = math.sqrt((before.var(ddof=1) + last.var(ddof=1)) / tenth)
        fall = float(before.mean() - last.mean())
        return fall / float(before.mean()) if fall > max(2 * error, FALLING * abs(before.mean())) else 0.0


@register("analyzer")
def connect(
    point: Point,
    other: Point,
    *,
    task: Task,
    curve: Literal["bezier", "polygon"] = "bezier",
    bends: int = 3,
    train_examples: int = 10_000,
    epochs: int = 10,
    steps: int = 10,
    attack_precision: Precision = "full",
    lr: float = 1e-3,
    optimizer: Literal["adam", "sgd"] = "adam",
    weight_decay: float = 0.0,
    mini_batch: int = 128,
    points: int = 21,
    bn: Statistics = "recompute",
    held_out: bool = True,
    save_curve: bool = False,
    resume: bool = True,
    seed: int = 0,
) -> Iterator[list[Connection]]:
    """Loss and accuracy along a curve that is trained between two checkpoints, and on the line between them.

    For each budget a curve of its own: it starts as the straight line, and its bends are moved until the loss
    under that budget is low all along it. Told is the barrier of both, how far the loss rises above the chord
    between A and B: on --examples of those that the curve is trained on, and on as many of the test split,
    where there is one. A training that was interrupted carries on with the same bits.

    curve: smooth, or straight from bend to bend
    bends: control points between the checkpoints
    train_examples: examples that the bends are trained on, those measured among them; 0: these alone
    epochs: of the training of the bends
    steps: of PGD on every mini-batch of it
    attack_precision: of the passes of that PGD alone; auto: bfloat16 where the processor has it
    lr: learning rate at first; it falls to 0
    optimizer: of the bends; sgd with momentum 0.9
    weight_decay: of the bends
    mini_batch: examples of each step, all at one place of the curve
    points: places on each way where the loss is measured, A and B among them
    bn: BatchNorm's statistics estimated anew at each place, A and B among them, or those between A's and B's
    held_out: measure the test split as well
    save_curve: keep the control points in the output
    resume: carry on with what is kept beside the output
    """
    from landscape.analyzers.surface import finished
    from landscape.connecting.bending import Recipe, precision
    from landscape.connecting.ways import Connecting
    from landscape.curves import straight

    if train_examples < 0:
        raise InputError(f"train-examples {train_examples}: give 1 or more, or 0 for those measured")
    if points < 2:
        raise InputError(f"points {points}: give 2, A and B alone, or more")
    if bends < 1:
        raise InputError(f"bends {bends}: give 1 or more; the straight line is measured besides")
    recipe = Recipe(
        epochs=epochs,
        mini_batch=mini_batch,
        steps=steps,
        attack_precision=precision(attack_precision, point.objective),
        optimizer=optimizer,
        lr=lr,
        weight_decay=weight_decay,
        bn=bn,
        seed=seed,
    )
    earlier: Any = finished(point, task, resume)
    if earlier is not None:
        yield earlier
        return
    if recipe.attack_precision != "full" and any(budget.eps for budget in task.budgets):
        note = f"the curves are trained under attacks in {recipe.attack_precision}"
        task.run.provenance["notes"] = [*task.run.provenance["notes"], note]
    rest = _differs(point, other)
    start = straight(curve, point.theta.detach(), other.theta.detach(), bends, rest)
    examples = _examples(point, task, train_examples, held_out)
    run = Connecting(point.objective, start, examples, recipe, points, save_curve, task)
    with tempfile.TemporaryDirectory(prefix="landscape-") as temporary:
        yield from run.results(task.output or Path(temporary) / "run", resume)


def _examples(point: Point, task: Task, count: int, held_out: bool) -> Examples:
    """What the curve is trained on and measured on; a note where nothing is held out."""
    from landscape.connecting.along import Examples

    own = point.objective.data
    if own.split != "train" and (elsewhere := task.more("train", None)) is not None:
        trained = (task.more("train", count) if count else None) or elsewhere
        return Examples(trained, (own,))
    trained = (task.more(own.split, max(count, len(own))) if count else None) or own
    if not set(own.index.tolist()) <= set(trained.index.tolist()):  # a source of the user's that draws anew
        trained = own
    test = task.more("test", None) if held_out and own.split == "train" else None
    if held_out and test is None:
        note = "there is no test split to hold out: barriers of curves are those on their own examples"
        task.run.provenance["notes"] = [*task.run.provenance["notes"], note]
    return Examples(trained, (own,) if test is None else (own, test))


def _differs(point: Point, other: Point) -> dict[str, Any]:
    """What the networks of the ends have otherwise besides θ and differs; raise where they are the same."""
    import torch

    if torch.equal(point.theta, other.theta):
        names = point.objective.network.name, other.objective.network.name
        raise InputError(f"{names[0]} and {names[1]} have the same weights; give two checkpoints that differ")
    own, its = point.objective.network.rest(), other.objective.network.rest()
    return {name: (own[name], its[name]) for name in own if not torch.equal(own[name], its[name])}
