"""How alike the adversaries of two points are: of θ and of others near it, or of two checkpoints."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from landscape.analyzers.measured import Measured, measured
from landscape.errors import InputError, NumericalError
from landscape.format import duration, percent, plus_minus
from landscape.registry import register

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from landscape.objective import Point

BETWEEN = "between"
"""The direction from one checkpoint to another."""
MEASURED = (
    *("cosine", "cosine_stderr", "cosine_q05", "cosine_median", "cosine_q95"),
    *("cosine_free", "cosine_free_stderr", "sign_agreement", "sign_agreement_stderr"),
    *("flipped", "flipped_stderr", "distance", "distance_stderr", "distance_q05", "distance_q95"),
    *("label_flips", "label_flips_stderr"),
)
"""What is told for each radius, and of the floor."""


@dataclass(frozen=True, eq=False)
class Perturbation(Measured):
    """How alike the perturbations δ(θ) and δ(θ + h v) of each example are, from the same random starts.

    The mean cosine against h is Figure 4 of the paper. Where both perturbations of an example are zero its
    cosine and sign agreement are 1 and its distance 0; where one of them is, its cosine is 0.

    Besides the fields of `Measured`:

    direction: along which θ moves; its length is 1; "between" two checkpoints
    examples: their number n; what follows are means over them, each error is the standard error of the mean
    radii: (m,) h, lengths in parameter space; of two checkpoints the distance of their parameters
    cosine: (m,) ⟨δ₁, δ₂⟩ / ‖δ₁‖‖δ₂‖; q05, median, q95: quantiles over the examples
    cosine_free: (m,) the same over the pixels that can move by eps both ways; the box lets a black or white
        pixel move only one way, which makes perturbations alike for no merit of the weights
    free_examples: number of examples with such a pixel; the others are left out of cosine_free
    free_pixels: share of such pixels
    sign_agreement: (m,) share of pixels where δ₁ and δ₂ have the same sign, which is −, 0 or +
    flipped: (m,) share of pixels where they have opposite signs, − and +
    distance: (m,) ‖δ₁ − δ₂‖ / (2 eps) in the budget's norm: 1 where they are farthest apart
    label_flips: (m,) share of examples taken for another class under attack, with its binomial error
    floor: cosine of two runs of the attack at θ from different random starts, its self-similarity; 1 for an
        attack that has no random start. Starts are the same at θ and θ + h v, so that cosine tends to 1 with
        h → 0: the floor is the most that two runs with nothing in common but the weights agree on, and rather
        a ceiling. floor_…: the same for the other numbers. Of two checkpoints it is that of the first
    zero_perturbations: number of examples with δ(θ) = 0
    zero_perturbations_other: (m,) number of examples with δ(θ + h v) = 0
    passes, seconds: passes over the data (forward alone, forward and backward, Hessian products) and wall
        time; what directions share is counted for the first of them
    """

    LEGEND: ClassVar[str] = (
        "cos: mean cosine of the perturbations at θ and θ + h v, ± standard error over the examples, in "
        "brackets their 5 % and 95 % quantiles; free: over pixels that can move by eps both ways; distance: "
        "‖δ₁ − δ₂‖ / (2 eps); labels: share of examples taken for another class; floor: the same at h = 0 "
        "from other random starts"
    )

    direction: str
    examples: int
    radii: np.ndarray
    cosine: np.ndarray
    cosine_stderr: np.ndarray
    cosine_q05: np.ndarray
    cosine_median: np.ndarray
    cosine_q95: np.ndarray
    cosine_free: np.ndarray
    cosine_free_stderr: np.ndarray
    free_examples: int
    free_pixels: float
    sign_agreement: np.ndarray
    sign_agreement_stderr: np.ndarray
    flipped: np.ndarray
    flipped_stderr: np.ndarray
    distance: np.ndarray
    distance_stderr: np.ndarray
    distance_q05: np.ndarray
    distance_q95: np.ndarray
    label_flips: np.ndarray
    label_flips_stderr: np.ndarray
    floor: float
    floor_stderr: float
    floor_q05: float
    floor_median: float
    floor_q95: float
    floor_cosine_free: float
    floor_cosine_free_stderr: float
    floor_sign_agreement: float
    floor_sign_agreement_stderr: float
    floor_flipped: float
    floor_flipped_stderr: float
    floor_distance: float
    floor_distance_stderr: float
    floor_distance_q05: float
    floor_distance_q95: float
    floor_label_flips: float
    floor_label_flips_stderr: float
    zero_perturbations: int
    zero_perturbations_other: np.ndarray
    passes: dict[str, float]
    seconds: float

    @property
    def heading(self) -> str:
        return "between two checkpoints" if self.direction == BETWEEN else f"direction {self.direction}"

    def falls_to(self, value: float) -> float:
        """The smallest radius at which the mean cosine is down to a value, by interpolation in log h.

        0 where it is so at the smallest radius already, infinite where it is not at any.
        """
        import numpy as np

        low = np.flatnonzero(self.cosine <= value)
        if not len(low) or low[0] == 0:
            return 0.0 if len(low) else math.inf
        around = slice(low[0] - 1, low[0] + 1)
        return math.exp(np.interp(-value, -self.cosine[around], np.log(self.radii[around])))

    def rows(self) -> dict[str, str]:
        """What a table of results shows of it, by the name of the row; all but the cosine at three radii."""
        rows = self.head()
        if self.zero_perturbations:
            rows["δ = 0"] = f"{self.zero_perturbations} of {self.examples}"
        m = len(self.radii)
        few = sorted({0, m // 2, m - 1})
        for name, told, written, shown in (
            ("cosine", "cos", plus_minus, range(m)),
            ("cosine_free", "cos, free", plus_minus, few),
            ("sign_agreement", "same sign", percent, few),
            ("distance", "distance", plus_minus, few),
            ("label_flips", "labels", percent, few),
        ):
            if name == "cosine_free" and not self.free_examples:
                continue
            values, errors = getattr(self, name), getattr(self, f"{name}_stderr")
            for j in shown:
                rows[f"{told}({self.radii[j]:.3g})"] = written(values[j], errors[j])
                if name == "cosine":
                    rows[f"{told}({self.radii[j]:.3g})"] += _range(self.cosine_q05[j], self.cosine_q95[j])
            floor = "floor" if name == "cosine" else f"floor_{name}"
            rows[f"{told}, floor"] = written(getattr(self, floor), getattr(self, f"{floor}_stderr"))
            if name == "cosine":
                rows[f"{told}, floor"] += _range(self.floor_q05, self.floor_q95)
        for name in ("forward", "gradient"):
            rows[f"{name} passes"] = f"{self.passes[name]:.0f}"
        rows["time"] = duration(self.seconds)
        return rows

    def remarks(self) -> list[str]:
        """What a reader of the table must know besides, a sentence each."""
        told = self.warnings()
        if self.zero_perturbations:
            told.append(
                f"the attack finds nothing worse than the clean input for {self.zero_perturbations} of "
                f"{self.examples} examples: their cosine is 1 where it finds nothing at the other weights "
                "either, else 0"
            )
        if 0 < self.free_examples < self.examples:
            left = self.examples - self.free_examples
            told.append(
                f"{left} of {self.examples} examples have no pixel that can move by eps both ways, and are "
                "not in the cosine over free pixels"
            )
        if self.direction == BETWEEN:
            told.append(
                "between two checkpoints --radii and --directions are not used; the floor is of the first"
            )
        elif self.cosine[0] <= self.floor < 1:
            told.append(
                f"direction {self.direction}: at the smallest radius the cosine is no larger than the floor: "
                "other random starts of the attack change the perturbations no more"
            )
        return told


@register("analyzer")
def perturbation(
    point: Point,
    other: Point | None = None,
    *,
    radii: str = "1e-4:1:9",
    directions: str = "random",
    seed: int = 0,
) -> Iterator[Perturbation]:
    """How alike the adversaries are at the weights and near them, or at two checkpoints.

    The cosine of the perturbations at θ and θ + h v, their signs, distance and labels, from the same random
    starts (the paper's Figure 4); the floor is what other starts make of h = 0. With a second checkpoint its
    weights take the place of θ + h v, and neither --radii nor --directions is used.

    radii: FROM:TO:COUNT, spaced evenly in log h, or a list
    directions: random, filter, gradient, eigenvector:K or FILE.h5, a list
    """
    import numpy as np

    from landscape.attacks.base import reseeded
    from landscape.directions import along, check_resolved, parse, parse_radii

    began, counted = time.perf_counter(), _work(point, other)

    o = point.objective
    ways: list[tuple[str, np.ndarray, Iterator[Point]]]
    if not o.budget.eps:
        raise InputError("eps = 0 has no perturbation to look at; give a budget above 0")
    if other is None:
        h = parse_radii(radii)
        # The vectors first: what cannot be had is to be told before the other attacks take their time.
        vectors = along(point, parse(directions), seed=seed)
        for _, v in vectors:
            check_resolved(point, h[0], v)
        ways = [(name, h, _along(point, v, h)) for name, v in vectors]
    else:
        between = np.array([(other.theta.double() - point.theta.double()).norm().item()])
        ways = [(BETWEEN, between, iter([other]))]
    again = reseeded(o.attack)
    floor = _summary(similarity(point, o.but(attack=again).at(point.theta) if again else point))
    for name, h, there in ways:
        found = _compared(point, there, floor, name, h)
        work, seconds = _work(point, other) - counted, time.perf_counter() - began
        passes = {kind: round(work[kind] / len(point.perturbed), 3) for kind in o.passes}
        yield replace(found, passes=passes, seconds=seconds)
        began, counted = time.perf_counter(), _work(point, other)


def similarity(one: Point, other: Point) -> dict[str, np.ndarray]:
    """How alike the perturbations of each example are (n,); NaN where that has no value."""
    import numpy as np
    import torch

    budget, data = one.objective.budget, one.objective.data
    found: dict[str, list[Tensor]] = {}
    for rows in data.chunks(one.objective.batch_size):
        x = data.inputs(rows, one.theta)[0]
        rounding = torch.finfo(x.dtype).eps
        free = ((x - float(budget.eps) >= -rounding) & (x + float(budget.eps) <= 1 + rounding)).flatten(1)
        a, b = (p.perturbation[rows].double().flatten(1) for p in (one, other))
        for name, values in {
            "cosine": _cosine(a, b),
            "cosine_free": torch.where(free.any(dim=1), _cosine(a * free, b * free), math.nan),
            "free_pixels": free.double().mean(dim=1),
            "sign_agreement": (a.sign() == b.sign()).double().mean(dim=1),
            "flipped": (a.sign() * b.sign() < 0).double().mean(dim=1),
            "distance": budget.size(a - b) / (2 * float(budget.eps)),
            "zero": (~a.any(dim=1)).double(),
            "zero_other": (~b.any(dim=1)).double(),
            "label_flips": _flips(one, other, rows),
        }.items():
            found.setdefault(name, []).append(values)
    return {name: np.asarray(torch.cat(parts).cpu()) for name, parts in found.items()}


def _compared(
    point: Point, others: Iterator[Point], floor: dict[str, float], direction: str, h: np.ndarray
) -> Perturbation:
    """The similarities of a point's perturbations to those of the others, one for each radius."""
    import numpy as np
    import torch

    o = point.objective
    told = measured(point)
    each = []
    for j, there in enumerate(others):
        o.watch(f"perturbations along {direction}", j, len(h))
        if not torch.isfinite(there.losses).all():  # of NaN no attack can make anything: its δ = 0 is no data
            where = (
                f"{there.objective.network.name} at eps = {o.budget}"
                if direction == BETWEEN
                else f"a radius of {h[j]:.3g} along {direction}; give smaller --radii"
            )
            raise NumericalError(f"the loss is not finite at {where}")
        each.append(_summary(similarity(point, there)))
    told |= {name: np.array([found[name] for found in each]) for name in MEASURED}
    told |= {_floor(name): floor[name] for name in MEASURED}
    return Perturbation(
        direction=direction,
        examples=len(o.data),
        radii=h,
        free_examples=round(floor["examples_free"]),
        free_pixels=floor["free_pixels"],
        zero_perturbations=round(len(o.data) * floor["zero"]),
        zero_perturbations_other=np.array([round(len(o.data) * found["zero_other"]) for found in each]),
        passes={},
        seconds=math.nan,
        **told,
    )


def _floor(name: str) -> str:
    """What the floor of a number is called: floor_stderr of cosine_stderr, floor_distance of distance."""
    return re.sub(r"^floor_cosine(?!_free)", "floor", f"floor_{name}")


def _summary(found: dict[str, np.ndarray]) -> dict[str, float]:
    """Mean, standard error and quantiles of each array over the examples that have a value."""
    import numpy as np

    told: dict[str, float] = {}
    for name, values in found.items():
        there = values[~np.isnan(values)]
        n = len(there)
        told[name] = float(there.mean()) if n else math.nan
        told[f"{name}_stderr"] = float(there.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
        for suffix, q in (("q05", 0.05), ("median", 0.5), ("q95", 0.95)):
            told[f"{name}_{suffix}"] = float(np.quantile(there, q)) if n else math.nan
    share = told["label_flips"]
    told["label_flips_stderr"] = math.sqrt(share * (1 - share) / len(found["label_flips"]))
    return told | {"examples_free": float((~np.isnan(found["cosine_free"])).sum())}


def _flips(one: Point, other: Point, rows: slice) -> Tensor:
    """1 for each example that is taken for another class; NaN for numbers to predict, which have none."""
    import torch

    flips = (one.predicted[rows] != other.predicted[rows]).double()
    return flips if one.objective.data.classes else torch.full_like(flips, math.nan)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Of each row (n,): exactly 1 of equal rows, also of zero ones; 0 where only one of them is zero."""
    import torch

    lengths = a.norm(dim=1) * b.norm(dim=1)
    found = (a * b).sum(dim=1) / torch.where(lengths > 0, lengths, 1.0)
    return torch.where((a == b).all(dim=1), 1.0, found.clamp(-1.0, 1.0))


def _along(point: Point, v: Tensor, h: np.ndarray) -> Iterator[Point]:
    """θ + h v for each radius, made when it is asked for: the perturbations of all would fill the memory."""
    return (point.quiet() + radius * v for radius in h.tolist())


def _work(point: Point, other: Point | None) -> Counter[str]:
    """What has been done at both; points of one objective count together."""
    done = Counter(point.objective.work)
    if other is not None and other.objective.work is not point.objective.work:
        done.update(other.objective.work)
    return done


def _range(low: float, high: float) -> str:
    return f" [{low:.3f}, {high:.3f}]"
