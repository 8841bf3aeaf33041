"""What became of loss, gradient and weights in the course of a training, one checkpoint after another."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from landscape.analyzers.measured import Measured, measured
from landscape.budget import Budget
from landscape.errors import InputError, NumericalError
from landscape.format import percent, plus_minus
from landscape.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from landscape.objective import Point

ONE_CLASS = 0.99
"""Of the examples taken for the same class: from here on a classifier is called a constant one."""
ALIKE = 0.05
"""Spread of the predicted probabilities over the examples: up to here they are called those of a constant."""


@dataclass(frozen=True, eq=False)
class Trajectory(Measured):
    """One checkpoint of a training under one budget, and how far it is from the first and the previous one.

    Besides the fields of `Measured`:

    checkpoint, label, place: its path, its name in a table, and its place in the order given, from 0
    clean_…: loss and accuracy, and excess to spread, at eps = 0 on the same examples
    excess: loss − log K for K outputs, log K being the loss of equal outputs; its error is the loss's
    entropy: of the mean of the predicted probabilities over the examples, in nats, with its standard error to
        first order; log K where all classes are predicted alike
    modal_share: share of the examples that are taken for the most predicted class, with its standard error
    spread: of the predicted probabilities p over the examples, √(mean ‖p − p̄‖²): 0 of a constant classifier,
        √(1 − 1/K) of one that is sure and takes as many for each class
    label_share: share of the most frequent label, the accuracy of the best constant classifier
    gradient_norm: ‖∇L_eps(θ)‖ with its standard error if the examples are a sample of more
    gradient_norm_unbiased: what infinitely many examples would leave of it
    norm_theta: ‖θ‖, over all trainable parameters, as the distances are
    from_first, from_previous: ‖θ − θ_first‖, ‖θ − θ_previous‖; 0 for the first checkpoint
    from_first_relative, from_previous_relative: these over ‖θ_first‖, ‖θ_previous‖; NaN where that is 0
    eigenvalue, eigenvalue_residual: the largest of the Hessian, if asked for; NaN is "not computed"
    converged: whether it did
    passes, seconds: passes over the data (forward alone, forward and backward, Hessian products), wall time
    per_layer: norm and the four distances in each parameter by its name, if asked for
    """

    LEGEND: ClassVar[str] = (
        "loss, accuracy, ‖∇L‖, entropy, largest class: ± standard error over the examples; from first, "
        "from previous: ‖θ − θ'‖; excess: loss − log K, ± as the loss; entropy: of the mean prediction, "
        "log K where all classes are predicted alike; largest class: share of the examples taken for it"
    )
    LINE: ClassVar[str] = "checkpoint"

    checkpoint: str
    label: str
    place: int
    excess: float
    entropy: float
    entropy_stderr: float
    modal_share: float
    modal_share_stderr: float
    spread: float
    label_share: float
    clean_loss: float
    clean_loss_stderr: float
    clean_accuracy: float
    clean_accuracy_stderr: float
    clean_excess: float
    clean_entropy: float
    clean_entropy_stderr: float
    clean_modal_share: float
    clean_modal_share_stderr: float
    clean_spread: float
    gradient_norm: float
    gradient_norm_stderr: float
    gradient_norm_unbiased: float
    norm_theta: float
    from_first: float
    from_first_relative: float
    from_previous: float
    from_previous_relative: float
    eigenvalue: float
    eigenvalue_residual: float
    converged: bool
    passes: dict[str, float]
    seconds: float
    per_layer: dict[str, dict[str, float]] | None = None

    @property
    def heading(self) -> str:
        return f"eps {self.budget}"

    @property
    def line(self) -> str:
        return self.label

    def constant(self) -> list[str]:
        """Where it is as good as a constant classifier: "attacked", "clean", both or neither.

        That is where the predicted probabilities are alike, and the accuracy is not above that of the most
        frequent label by two standard errors, or where all are taken for one class; never where that is right
        of all, nor of a single example, from which nothing can be told apart.
        """
        if math.isnan(self.loss_stderr):  # a single example
            return []
        attacked = (self.spread, self.modal_share, self.accuracy, self.accuracy_stderr)
        clean = (self.clean_spread, self.clean_modal_share, self.clean_accuracy, self.clean_accuracy_stderr)
        return [
            name
            for name, (spread, share, right, error) in (("attacked", attacked), ("clean", clean))
            if (name == "clean" or self.eps)
            and right < ONE_CLASS
            and ((spread <= ALIKE and right <= self.label_share + 2 * error) or share >= ONE_CLASS)
        ]

    def rows(self) -> dict[str, str]:
        """What a table of results shows of it, by the name of the column."""
        rows = {
            "loss": plus_minus(self.loss, self.loss_stderr),
            "accuracy": percent(self.accuracy, self.accuracy_stderr),
        }
        if self.eps:
            rows["clean accuracy"] = percent(self.clean_accuracy, self.clean_accuracy_stderr)
        rows |= {
            "‖∇L‖": plus_minus(self.gradient_norm, self.gradient_norm_stderr),
            "from first": plus_minus(self.from_first, 0.0),
            "from previous": plus_minus(self.from_previous, 0.0),
            "excess": f"{self.excess:+.3f}",
            "entropy": plus_minus(self.entropy, self.entropy_stderr),
            "largest class": percent(self.modal_share, self.modal_share_stderr),
        }
        if not math.isnan(self.eigenvalue):
            converged = "" if self.converged else ", NOT CONVERGED"
            rows["eigenvalue"] = plus_minus(self.eigenvalue, self.eigenvalue_residual) + converged
        if self.eps and self.zero_loss:
            rows["NO WORST CASE"] = f"{self.zero_loss:.0%} unseen"
        if constant := self.constant():
            rows["CONSTANT"] = ", ".join(constant)
        return rows

    def remarks(self) -> list[str]:
        """What a reader of the table must know besides, a sentence each."""
        told = []
        if self.eps and self.zero_loss:
            told.append(
                "NO WORST CASE: the loss of this share of the examples rounds to 0: the attack has no "
                "gradient there, and what it finds is no worst case"
            )
        if self.constant():
            told.append(
                "CONSTANT: as good as a constant classifier: the predicted probabilities hardly differ "
                f"between examples (their spread is at most {ALIKE}) and the accuracy is no better than "
                f"the share of the most frequent label, {self.label_share:.1%}, or {ONE_CLASS:.0%} of the "
                "examples are taken for one class"
            )
        return told


@register("analyzer")
def trajectory(
    points: Sequence[Point], *, eigenvalue: bool = False, per_layer: bool = False, seed: int = 0
) -> Iterator[Trajectory]:
    """What became of loss, gradient and weights in a training.

    One line for each of its checkpoints, in the order given, the data and the random starts being the same:
    loss clean and under attack, norm of the gradient, distance from the first and from the previous one, and
    how near it is to a constant classifier.

    eigenvalue: the largest eigenvalue of the Hessian as well
    per_layer: norm and distances in each parameter as well, for --json and -o
    """
    first: Tensor | None = None
    previous: Tensor | None = None
    labels: set[str] = set()
    for place in range(len(points)):
        # Nothing here holds a point, and with it a network, while the next one is read.
        found, theta = _at(points, place, first, previous, labels, eigenvalue, per_layer, seed)
        first, previous = theta if first is None else first, theta
        labels.add(found.label)
        yield found


def _at(
    points: Sequence[Point],
    place: int,
    first: Tensor | None,
    previous: Tensor | None,
    labels: set[str],
    eigenvalue: bool,
    per_layer: bool,
    seed: int,
) -> tuple[Trajectory, Tensor]:
    """The result at one of the points, and its θ."""
    start = time.perf_counter()
    given = points[place]
    told, prefix = given.objective.watch, f"checkpoint {place + 1}/{len(points)}: "
    o = given.objective.but(watch=lambda stage, done, of: told(prefix + stage, done, of))
    theta, counted = given.theta, Counter(o.work)
    if not o.data.classes:
        raise InputError(
            "trajectory tells classifiers from constant ones; numbers to predict have no classes"
        )
    if first is not None and theta.shape != first.shape:
        raise InputError(
            f"{o.network.name} has {len(theta):,} parameters, the first checkpoint {len(first):,}; "
            "give checkpoints of one model"
        )
    point = o.at(theta)
    o.watch("gradient", 0, 1)
    size = _gradient_norm(point)  # before the loss, which it leaves at no extra pass
    clean = o.but(budget=Budget(0)).at(theta) if o.budget.eps else point
    seen, clean_seen = _seen(point), _seen(clean)
    top = _top(point, seed) if eigenvalue else (math.nan, math.nan, True)
    common: dict[str, Any] = measured(point)
    layers = _layers(point, first, previous)
    work = o.work - counted
    found = Trajectory(
        **common,
        checkpoint=o.network.name,
        label=label_of(o.network.name, labels),
        place=place,
        **seen,
        label_share=o.data.y.bincount().max().item() / len(o.data),
        clean_loss=clean.value,
        clean_loss_stderr=clean.value_stderr,
        clean_accuracy=clean.accuracy,
        clean_accuracy_stderr=clean.accuracy_stderr,
        **{f"clean_{name}": value for name, value in clean_seen.items()},
        gradient_norm=size[0],
        gradient_norm_stderr=size[1],
        gradient_norm_unbiased=size[2],
        norm_theta=theta.double().norm().item(),
        **_distances(theta, first, previous),
        eigenvalue=top[0],
        eigenvalue_residual=top[1],
        converged=top[2],
        passes={name: round(work[name] / len(o.data), 3) for name in o.passes},
        seconds=time.perf_counter() - start,
        per_layer=layers if per_layer else None,
    )
    return found, theta


def _seen(point: Point) -> dict[str, Any]:
    """How near the outputs are to a constant's, as fields of the result."""
    import torch

    from landscape.losses import cross_entropy

    name, budget = point.objective.network.name, point.objective.budget
    if not math.isfinite(point.value):
        raise NumericalError(f"the loss of {name} is {point.value} at eps = {budget}")
    n, outputs = point.logits.shape
    probabilities = point.logits.double().softmax(dim=1)
    mean = probabilities.mean(dim=0)
    surprise = -mean.clamp_min(torch.finfo(mean.dtype).tiny).log()  # where the mean is 0, so is every part
    each = probabilities @ surprise  # their mean is the entropy, their spread its error to first order
    share = point.predicted.bincount().max().item() / n
    return {
        "excess": point.value - math.log(outputs) if point.objective.loss is cross_entropy else math.nan,
        "entropy": each.mean().item(),
        "entropy_stderr": each.std().item() / math.sqrt(n) if n > 1 else math.nan,
        "modal_share": share,
        "modal_share_stderr": math.sqrt(share * (1 - share) / n),
        "spread": (probabilities - mean).square().sum(dim=1).mean().sqrt().item(),
    }


def _gradient_norm(point: Point) -> tuple[float, float, float]:
    """‖∇L_eps‖, its standard error over the examples, and what infinitely many of them would leave of it."""
    import numpy as np

    from landscape.sampling import jackknife

    o = point.objective
    groups, sizes = point.gradient_groups(), point.group_sizes
    gram = (groups @ groups.T).cpu().numpy()
    if not np.isfinite(gram).all():
        raise NumericalError(
            f"the loss of {o.network.name} is {point.value} at eps = {o.budget}, its gradient not finite"
        )
    value, error = jackknife(np.sqrt, gram, sizes=sizes)
    unbiased, _ = jackknife(lambda squared: np.sqrt(np.maximum(squared, 0.0)), gram, sizes=sizes, across=True)
    return float(value), float(error), float(unbiased)


def _top(point: Point, seed: int) -> tuple[float, float, bool]:
    """The largest eigenvalue of the Hessian, its residual, and whether it converged."""
    from landscape.hessian import Hessian
    from landscape.linalg.eigen import eigsh

    # Not the one that the point keeps: it would keep the point, and neither were freed in time.
    watch = point.objective.watch
    found = eigsh(Hessian(point), 1, seed=seed, progress=lambda products, done: watch("eigenvalue", done, 1))
    return found.eigenvalues[0].item(), found.residuals[0].item(), found.converged


def _distances(theta: Tensor, first: Tensor | None, previous: Tensor | None) -> dict[str, Any]:
    """From two other θ (P,), each also over its norm; from itself where there is none."""
    found: dict[str, float] = {}
    for name, other in (("from_first", first), ("from_previous", previous)):
        start = theta.double() if other is None else other.double()
        length, size = (theta.double() - start).norm().item(), start.norm().item()
        found |= {name: length, f"{name}_relative": length / size if size else math.nan}
    return found


def _layers(point: Point, first: Tensor | None, previous: Tensor | None) -> dict[str, Any]:
    """Norm and distances in each parameter by its name."""
    network = point.objective.network
    parts = [
        point.theta.split(network.sizes),
        *([None] * len(network.names) if t is None else t.split(network.sizes) for t in (first, previous)),
    ]
    return {
        name: {"norm": own.double().norm().item(), **_distances(own, one, other)}
        for name, own, one, other in zip(network.names, *parts, strict=True)
    }


def label_of(path: str, taken: set[str]) -> str:
    """The file's name without its ending; with its folder, and with a number, where that came before."""
    file = Path(path)
    stem = file.stem if file.suffix[1:2].isalpha() else file.name
    name = f"{file.parent.name}/{stem}" if stem in taken and file.parent.name else stem
    names = (f"{name} ({number})" if number > 1 else name for number in itertools.count(1))
    return next(label for label in names if label not in taken)
