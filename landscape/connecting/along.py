"""The loss along a curve under a budget, of the network at each t and attacked anew there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from landscape.attacks.pgd import PGD
from landscape.curves import Curve
from landscape.data import CHUNK, Data
from landscape.network import Network
from landscape.objective import CLEAN, GAP_EXAMPLES, GROUPS, Objective, Point, silence
from landscape.sampling import standard_error
from landscape.statistics import holding, recomputed
from landscape.surfaces.settings import Statistics
from landscape.surfaces.shape import Barrier, barrier

COLUMNS = (
    "loss",
    "loss_stderr",
    "accuracy",
    "zero_loss",
    "clean_loss",
    "clean_loss_stderr",
    "clean_accuracy",
)
"""What is kept of each of the data at each t, followed by the means of GROUPED over groups of examples."""
GROUPED = ("loss", "accuracy", "clean_loss")
WIDTH = len(COLUMNS) + len(GROUPED) * GROUPS
WORK = ("forward", "gradient")
"""Passes of single examples, which stand before the columns."""
ROUGH = PGD(steps=5)
"""The attack on whose inputs BatchNorm's statistics are estimated: means need no worst case."""


@dataclass(frozen=True, eq=False)
class Examples:
    """trained: what the curve is trained on; measured: one or more, of which the first may be among these."""

    trained: Data
    measured: tuple[Data, ...]

    def own(self, place: int) -> bool:
        """Whether the curve is trained on the examples that are measured: those of one split are nested."""
        return self.measured[place].split == self.trained.split

    @property
    def known(self) -> Data:
        """Those that BatchNorm's statistics come from, never ones held out: as many as the first measured."""
        first = self.measured[0]
        return first if self.own(0) else self.trained.subset(min(len(first), len(self.trained)))


@dataclass(frozen=True, eq=False)
class Along:
    """What is measured at each t of a curve; what comes out depends on nothing but its fields and t.

    objective: the network of the first end, budget and attack; its data are those of BatchNorm's statistics
    data: what is measured on; passes for the statistics are counted with the first
    bn: BatchNorm's statistics estimated anew at each t, at the ends too, from the objective's examples, the
        clean ones and then as they are attacked; or what is between the ends' own
    """

    curve: Curve
    objective: Objective
    data: Sequence[Data]
    bn: Statistics = "recompute"

    def __call__(self, t: float) -> np.ndarray:
        """The passes and values at t on each of the data (data, WORK + WIDTH)."""
        theta, (network, spent) = self.curve.at(t), self.network(t)
        found = np.full((len(self.data), len(WORK) + WIDTH), np.nan)
        for place, data in enumerate(self.data):
            point = self._point(network, theta, data)
            found[place, len(WORK) :] = _values(point)
            found[place, : len(WORK)] = [point.objective.work[name] for name in WORK]
        found[0, : len(WORK)] += [spent[name] for name in WORK]
        return found

    def gaps(self, t: float, place: int) -> np.ndarray:
        """The passes, and what a much stronger attack adds on each of a few examples (WORK + GAP_EXAMPLES,).

        NaN behind them where there are fewer examples.
        """
        data = self.data[place]
        network, spent = self.network(t)
        few = torch.linspace(0, len(data) - 1, min(len(data), GAP_EXAMPLES)).round().long()
        point = self._point(network, self.curve.at(t), data[few])
        found = np.full(len(WORK) + GAP_EXAMPLES, np.nan)
        found[len(WORK) : len(WORK) + len(few)] = point.gaps(len(few)).cpu().numpy()
        found[: len(WORK)] = [point.objective.work[name] + spent[name] for name in WORK]
        return found

    def network(self, t: float) -> tuple[Network, Counter[str]]:
        """The network at t, and the passes that its statistics took."""
        o, rest, theta = self._objective(self.objective.data), self.curve.rest_at(t), self.curve.at(t)
        parts = o.network.parts(theta)

        def estimated(data: Data) -> dict[str, Tensor]:
            # Parts of equal size, whatever --batch-size is: none too small, and no result depends on it.
            rows = torch.arange(len(data)).tensor_split(math.ceil(len(data) / CHUNK))
            found = recomputed(o.network, parts, (data.inputs(each, theta)[0] for each in rows), rest)
            o.work["forward"] += len(data) if found else 0
            return found

        own = estimated(o.data) if self.bn == "recompute" else {}
        if own and o.budget.eps:
            clean = o.but(network=holding(o.network, rest | own), attack=ROUGH)
            own = estimated(clean.at(theta).perturbed)
        return holding(o.network, rest | own), o.work

    def _point(self, network: Network, theta: Tensor, data: Data) -> Point:
        return replace(self._objective(data), network=network).at(theta)

    def _objective(self, data: Data) -> Objective:
        """With its own count of passes, and telling of no progress: there is a step of a larger loop."""
        return replace(self.objective, data=data, watch=silence)


def _values(point: Point) -> np.ndarray:
    """The columns at a point, and the groups' means; an accuracy of outputs that are no number is NaN."""
    o = point.objective
    clean = o.but(budget=CLEAN).at(point.theta) if o.budget.eps else point
    each = {"loss": point.losses, "accuracy": _right(point), "clean_loss": clean.losses}
    told = [
        point.value,
        point.value_stderr,
        each["accuracy"].mean().item(),
        (point.losses == 0).double().mean().item(),
        clean.value,
        clean.value_stderr,
        _right(clean).mean().item(),
    ]
    groups = np.full((len(GROUPED), GROUPS), np.nan)
    for k, name in enumerate(GROUPED):
        alone = each[name].cpu().numpy()
        means = [alone[rows.numpy()].mean() for rows in o.data.groups(len(sizes(o.data)))]
        groups[k, : len(means)] = means
    return np.concatenate([told, groups.ravel()])


def _right(point: Point) -> Tensor:
    """Whether each example is classified rightly (n,), as 1 and 0; NaN for numbers to predict."""
    if not point.objective.data.classes or not torch.isfinite(point.logits).all():
        return torch.full_like(point.losses, math.nan)
    return point.correct.double()


def _mean(each: np.ndarray) -> tuple[float, float]:
    """With its standard error, NaN of a single one."""
    error = each.std(ddof=1) / math.sqrt(len(each)) if len(each) > 1 else math.nan
    return float(each.mean()), float(error)


def sizes(data: Data) -> np.ndarray:
    """Examples in each group (G,), of which there are 8, or as many as examples."""
    return np.array([len(rows) for rows in data.groups(min(GROUPS, len(data)))])


@dataclass(frozen=True, eq=False)
class Scanned:
    """What was measured along a curve, on each of the data.

    t: (T,) ascending, from 0 to 1
    values: (T, data, WORK + WIDTH), of `Along` at each t
    gaps: (data, 3, WORK + GAP_EXAMPLES), of `Along.gaps` at A, where the loss is highest above the chord, and
        at B; None: not yet
    """

    along: Along
    t: np.ndarray
    values: np.ndarray
    gaps: np.ndarray | None = None

    def column(self, name: str, place: int) -> np.ndarray:
        """(T,) of one of the data."""
        return self.values[:, place, len(WORK) + COLUMNS.index(name)]

    def groups(self, name: str, place: int) -> np.ndarray:
        """(T, G) means of its groups of examples."""
        first = len(WORK) + len(COLUMNS) + GROUPS * GROUPED.index(name)
        return self.values[:, place, first : first + len(sizes(self.along.data[place]))]

    def barrier(self, name: str, place: int) -> Barrier:
        """The highest rise of a loss above its chord; of an accuracy the deepest fall below it."""
        sign = -1.0 if name == "accuracy" else 1.0
        groups, each = self.groups(name, place), sizes(self.along.data[place])
        return barrier(self.t, sign * self.column(name, place), sign * groups, each)

    def mean(self, place: int) -> tuple[float, float]:
        """∫ L(t) dt by the trapezoidal rule, and its standard error over the examples."""
        steps = np.diff(self.t) / 2
        weights = np.concatenate([steps, [0.0]]) + np.concatenate([[0.0], steps])
        groups, each = self.groups("loss", place), sizes(self.along.data[place])
        error = standard_error(lambda means: weights @ means, groups, each)
        return float(weights @ self.column("loss", place)), float(error)

    def lower(self, other: Scanned, place: int) -> tuple[float, float]:
        """By how much the barrier is lower than another way's, and the error of the paired difference.

        At the two tops as they were found: the examples are the same, so what they share cancels.
        """
        mine, its = self.barrier("loss", place), other.barrier("loss", place)
        if math.isnan(mine.height) or math.isnan(its.height):
            return math.nan, math.nan
        both = np.stack([other._rise(its.at, place), self._rise(mine.at, place)])
        error = standard_error(lambda means: means[0] - means[1], both, sizes(self.along.data[place]))
        return its.height - mine.height, float(error)

    def _rise(self, t: float, place: int) -> np.ndarray:
        """How far the loss of each group (G,) is above the group's chord at one of the places."""
        groups = self.groups("loss", place)
        return groups[self.t == t][0] - ((1 - t) * groups[0] + t * groups[-1])

    def measured_gaps(self, place: int, other: Scanned | None = None) -> np.ndarray:
        """What is to be kept of the inner gaps (3, WORK + GAP_EXAMPLES); of no top NaN.

        other: a way between the same ends, whose gaps there are taken over without passes
        """
        top = self.barrier("loss", place).at
        found = np.full((3, len(WORK) + GAP_EXAMPLES), np.nan)
        found[:, : len(WORK)] = 0
        if not self.along.objective.budget.eps:
            return np.zeros_like(found)
        for k, t in ((0, 0.0), (2, 1.0)):
            if other is None:
                found[k] = self.along.gaps(t, place)
            else:
                assert other.gaps is not None
                found[k, len(WORK) :] = other.gaps[place, k, len(WORK) :]
        if top in (0, 1):
            found[1, len(WORK) :] = found[2 * int(top), len(WORK) :]
        elif not math.isnan(top):
            found[1] = self.along.gaps(top, place)
        return found

    def inner_gap(self, place: int) -> tuple[float, float]:
        """What a much stronger attack adds at the top, and its standard error over the examples."""
        return _mean(self._gaps(place)[1])

    def barrier_gap(self, place: int) -> tuple[float, float]:
        """What of it rises above the chord between what the attack adds at A and B; the error is paired."""
        first, top, last = self._gaps(place)
        t = self.barrier("loss", place).at
        return _mean(top - ((1 - t) * first + t * last))

    def _gaps(self, place: int) -> np.ndarray:
        """(3, few) at A, at the top and at B."""
        assert self.gaps is not None
        return self.gaps[place, :, len(WORK) : len(WORK) + min(len(self.along.data[place]), GAP_EXAMPLES)]

    def passes(self, place: int) -> dict[str, float]:
        """Passes over the examples that all of it took."""
        assert self.gaps is not None
        spent = self.values[:, place, : len(WORK)].sum(axis=0) + self.gaps[place, :, : len(WORK)].sum(axis=0)
        n = len(self.along.data[place])
        return {name: round(float(count) / n, 3) for name, count in zip(WORK, spent, strict=True)}
