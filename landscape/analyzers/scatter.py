"""How far the gradient jumps when the weights hardly move, with the adversary following them and frozen."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from landscape.analyzers.measured import Measured, measured
from landscape.budget import Budget
from landscape.errors import InputError, NumericalError
from landscape.format import duration, plus_minus
from landscape.registry import register

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from landscape.fit import Line
    from landscape.objective import Point

GAP_EXAMPLES = 48
"""So few that all that stands beside the profile (floor, inner gap, curvature, pairs) costs a tenth of it."""
PAIRS = 64
"""Examples on which pairs of inputs inside the budget are compared."""
MISFIT = 0.3
"""Beyond this the line is not what R(h) looks like."""
RESOLVED = 0.1
"""Of a curvature may be lost to the noise of the attack."""


@dataclass(frozen=True, eq=False)
class Scatter(Measured):
    """Gradient scatter of L_eps near θ: R(h) = ‖∇L_eps(θ + h v) − ∇L_eps(θ)‖ along a unit vector v.

    R(h) ≈ jump + slope · h. By Proposition 2 of the paper R(h) ≤ L_θθ h + 2 eps L_θx: the intercept is what
    remains of the jump where the worst inputs switch, the slope the smooth part. Frozen, the perturbed data
    of θ is kept at θ + h v: what then remains are the kinks of the net itself, 0 for a smooth one.

    Besides the fields of `Measured`:

    direction: along which θ moves; its length is 1
    points: starts that were averaged: θ, and others at random within the largest radius of it
    gradient_norm: ‖∇L_eps(θ)‖
    radii: (m,) h, lengths in parameter space
    change, change_frozen: (m,) R(h), re-attacked and frozen; with standard errors over the examples
    change_unbiased, change_frozen_unbiased: (m,) R(h) without what the finite number of examples adds to it
    cosine, cosine_frozen: (m,) of the gradients at θ + h v and at θ
    switching: (m,) ‖∇L_eps(θ + h v) − its frozen counterpart‖, at the same weights
    moved: (m,) mean over the examples of ‖δ(θ + h v) − δ(θ)‖ / (2 eps), in the budget's norm
    floor: ‖∇L_eps(θ) with other random starts − ∇L_eps(θ)‖, what the attack's own noise makes of h = 0
    floor_unbiased, floor_moved: the same for floor of what the others are of change
    jump, slope: intercept and slope of change; jump_frozen, slope_frozen: of change_frozen. Their standard
        errors are those of the fit, …_fit (from its misfit, or the spread over the points where that is
        larger), and over the examples, …_sampling, together. What another direction would give is in neither
    misfit, misfit_frozen: how far R(h) is off that line, root mean square, relatively; where it is not small
        R(h) is no line, and jump and slope describe it over all these radii together
    jump_unbiased, jump_frozen_unbiased: intercepts of the unbiased R(h), with standard errors over examples
    jump_switching: jump − jump_frozen, and its standard error
    mixed: estimate of L_θx from below: the largest ‖∇ℓ(x₁) − ∇ℓ(x₂)‖ / ‖x₁ − x₂‖ of pairs that the attack
        visited, mean over 64 examples with its standard error; mixed_largest: the largest of them
    bound, share: 2 eps mixed, and jump / bound; NaN at eps = 0
    curvature: vᵀ H v at fixed perturbed data
    kappa, kappa_frozen: (m,) 2 (L(θ + h v) − L(θ) − h vᵀ∇L(θ)) / h², re-attacked and frozen
    kappa_noise, kappa_frozen_noise: (m,) how far other random starts and rounding, or rounding, move them
    ratio, ratio_frozen: kappa / curvature at ratio_radius and ratio_frozen_radius, the smallest radius at
        which the noise is a tenth of kappa at most; NaN where there is none
    passes, seconds: passes over the data (forward alone, forward and backward, Hessian products) and wall
        time; what directions share is counted for the first of them
    """

    LEGEND: ClassVar[str] = (
        "R(h): change of the gradient, ± standard error over the examples, re-attacked | adversary frozen; "
        "floor: R(0) with other random starts; jump, slope: R(h) ≈ jump + slope h, ± error of the fit and "
        "over the examples together; misfit: of that line, relatively; unbiased: without what the finite "
        "number of examples adds; bound: 2 eps L_θx with L_θx from below; κ: second difference of the loss "
        "along v"
    )

    direction: str
    points: int
    gradient_norm: float
    radii: np.ndarray
    change: np.ndarray
    change_stderr: np.ndarray
    change_unbiased: np.ndarray
    change_frozen: np.ndarray
    change_frozen_stderr: np.ndarray
    change_frozen_unbiased: np.ndarray
    cosine: np.ndarray
    cosine_frozen: np.ndarray
    switching: np.ndarray
    moved: np.ndarray
    floor: float
    floor_stderr: float
    floor_unbiased: float
    floor_unbiased_stderr: float
    floor_moved: float
    jump: float
    jump_stderr: float
    jump_fit: float
    jump_sampling: float
    jump_unbiased: float
    jump_unbiased_stderr: float
    slope: float
    slope_stderr: float
    slope_fit: float
    slope_sampling: float
    misfit: float
    jump_frozen: float
    jump_frozen_stderr: float
    jump_frozen_fit: float
    jump_frozen_sampling: float
    jump_frozen_unbiased: float
    jump_frozen_unbiased_stderr: float
    slope_frozen: float
    slope_frozen_stderr: float
    slope_frozen_fit: float
    slope_frozen_sampling: float
    misfit_frozen: float
    jump_switching: float
    jump_switching_stderr: float
    mixed: float
    mixed_stderr: float
    mixed_largest: float
    bound: float
    share: float
    curvature: float
    kappa: np.ndarray
    kappa_frozen: np.ndarray
    kappa_noise: np.ndarray
    kappa_frozen_noise: np.ndarray
    ratio: float
    ratio_radius: float
    ratio_frozen: float
    ratio_frozen_radius: float
    passes: dict[str, float]
    seconds: float

    @property
    def heading(self) -> str:
        return f"direction {self.direction}"

    def rows(self) -> dict[str, str]:
        """What a table of results shows of it, by the name of the row."""
        rows = self.head()
        rows["gradient norm"] = f"{self.gradient_norm:.4g}"
        for h, a, da, f, df in zip(
            self.radii,
            self.change,
            self.change_stderr,
            self.change_frozen,
            self.change_frozen_stderr,
            strict=True,
        ):
            rows[f"R({h:.2g})"] = plus_minus(a, da) + (f" | {plus_minus(f, df)}" if self.eps else "")
        attacked = {
            "floor": plus_minus(self.floor, self.floor_stderr),
            "jump, frozen": plus_minus(self.jump_frozen, self.jump_frozen_stderr),
            "slope, frozen": plus_minus(self.slope_frozen, self.slope_frozen_stderr),
            "jump − frozen": plus_minus(self.jump_switching, self.jump_switching_stderr),
            "L_θx": plus_minus(self.mixed, self.mixed_stderr),
            "jump / bound": f"{100 * self.share:.2g} %" if math.isfinite(self.share) else "not computed",
            "κ / vᵀHv, frozen": _ratio(self.ratio_frozen, self.ratio_frozen_radius),
        }
        rows |= {
            "floor": "",
            "jump": plus_minus(self.jump, self.jump_stderr),
            "jump, frozen": "",
            "jump − frozen": "",
            "jump, unbiased": plus_minus(self.jump_unbiased, self.jump_unbiased_stderr),
            "L_θx": "",
            "jump / bound": "",
            "misfit": f"{self.misfit:.0%}" + (f" | {self.misfit_frozen:.0%}" if self.eps else ""),
            "slope": plus_minus(self.slope, self.slope_stderr),
            "slope, frozen": "",
            "vᵀHv": plus_minus(self.curvature, 0.0),
            "κ / vᵀHv": _ratio(self.ratio, self.ratio_radius),
            "κ / vᵀHv, frozen": "",
        } | (attacked if self.eps else {})
        for name in ("forward", "gradient", "hvp"):
            rows[f"{name} passes"] = f"{self.passes[name]:.0f}"
        rows["time"] = duration(self.seconds)
        return rows

    def remarks(self) -> list[str]:
        """What a reader of the table must know besides, a sentence each."""
        told = self.warnings()
        if self.misfit > MISFIT:
            told.append(
                f"direction {self.direction}: R(h) is no line, by {self.misfit:.0%}: jump and slope describe "
                "it over all of these radii; narrower --radii tell more"
            )
        if 0 < self.jump <= self.floor:
            told.append(
                f"direction {self.direction}: the jump is no larger than the floor: other random starts of "
                "the attack alone change the gradient as much"
            )
        return told


@register("analyzer")
def scatter(
    point: Point,
    *,
    radii: str = "1e-4:1:9",
    directions: str = "random",
    points: int = 1,
    seed: int = 0,
) -> Iterator[Scatter]:
    """How the gradient jumps near the weights, re-attacked and frozen.

    R(h) = ‖∇L(θ + h v) − ∇L(θ)‖ is fitted by jump + slope h: Proposition 2 of the paper bounds the jump by
    2 eps L_θx. Random starts are the same at every θ; the floor is what other starts alone would change.

    radii: FROM:TO:COUNT, spaced evenly in log h, or a list
    directions: random, filter, gradient, eigenvector:K or FILE.h5, a list
    points: average over this many starts around the weights
    """
    import torch

    from landscape.directions import along, check_resolved, parse, parse_radii

    began, counted = time.perf_counter(), Counter[str]()

    h = parse_radii(radii)
    wanted = parse(directions)
    if len(h) < 3:
        raise InputError(f"--radii {radii}: jump and slope need at least 3 radii, such as 1e-4:1:9")
    if points < 1:
        raise InputError(f"--points {points} is not possible; give at least 1")
    starts = [point, *(_near(point, h[-1], seed, i) for i in range(1, points))]
    # The vectors first: what cannot be had is to be told before the attack takes its time.
    each = [along(start, wanted, seed=seed, draw=i) for i, start in enumerate(starts)]
    for _, v in each[0]:
        check_resolved(point, h[0], v)
    common = _Common.of(starts)
    curvatures = _curvatures(point, torch.stack([v for _, v in each[0]], dim=1))
    for place, (name, _) in enumerate(each[0]):
        found = _along(common, name, [vectors[place][1] for vectors in each], h, curvatures[place])
        work, seconds = point.objective.work - counted, time.perf_counter() - began
        passes = {kind: round(work[kind] / len(point.perturbed), 3) for kind in point.objective.passes}
        yield replace(found, passes=passes, seconds=seconds)
        began, counted = time.perf_counter(), Counter(point.objective.work)


@dataclass(frozen=True, eq=False)
class _Common:
    """What all directions share: the starts, their gradients by groups, the floor, L_θx.

    noise, rounding: how far other random starts and rounding, and rounding alone, move the mean loss
    """

    starts: list[Point]
    groups: list[Tensor]
    sizes: np.ndarray
    floor: tuple[float, float, float, float, float]
    mixed: tuple[float, float, float]
    gap: tuple[float, float]
    noise: float
    rounding: float

    @classmethod
    def of(cls, starts: list[Point]) -> _Common:
        import numpy as np
        import torch

        from landscape.attacks.base import reseeded
        from landscape.sampling import jackknife

        point = starts[0]
        o = point.objective
        sizes = point.group_sizes
        groups = [start.gradient_groups(len(sizes)) for start in starts]
        if not (math.isfinite(point.value) and torch.isfinite(groups[0]).all()):
            raise NumericalError(f"the loss is {point.value} at eps = {o.budget}, its gradient not finite")
        rounding = torch.finfo(point.theta.dtype).eps * max(1.0, point.logits.abs().max().item())
        floor, mixed, noise = (0.0, 0.0, 0.0, 0.0, 0.0), (math.nan, math.nan, math.nan), 0.0
        if o.budget.eps:
            again = reseeded(o.attack)
            other = o.but(attack=again).at(point.theta) if again else point
            if again:
                gram = _gram(other.gradient_groups(len(sizes)) - groups[0])
                value, error = jackknife(np.sqrt, gram, sizes=sizes)
                whole, whole_error = jackknife(_root, gram, sizes=sizes, across=True)
                floor = (float(value), float(error), float(whole), float(whole_error), _moved(other, point))
                noise = float((other.losses - point.losses).norm()) / len(o.data)
            mixed = _mixed(point, other)
        o.watch("inner gap", 0, 1)
        return cls(starts, groups, sizes, floor, mixed, point.gap(GAP_EXAMPLES), noise + rounding, rounding)


def _along(common: _Common, name: str, vectors: list[Tensor], h: np.ndarray, curvature: float) -> Scatter:
    """The profile along one direction, from every start."""
    import numpy as np

    point = common.starts[0]
    o = point.objective
    eps = float(o.budget.eps)
    shape = (len(common.starts), len(h))
    grams = {
        which: np.zeros((*shape, len(common.sizes), len(common.sizes))) for which in ("attacked", "frozen")
    }
    cosine, cosine_frozen, switching, moved = (np.zeros(shape) for _ in range(4))
    kappa, kappa_frozen = np.zeros(shape), np.zeros(shape)
    for i, (start, base, v) in enumerate(zip(common.starts, common.groups, vectors, strict=True)):
        near = start.quiet()
        flat = start.gradient.double()
        rise = float(v @ flat)
        for j, radius in enumerate(h.tolist()):
            o.watch(f"scatter along {name}", i * len(h) + j, math.prod(shape))
            still = near.frozen() + radius * v
            frozen = still.gradient_groups(len(base))
            attacked, there = frozen, still
            if eps:
                there = near + radius * v
                attacked = there.gradient_groups(len(base))
                moved[i, j] = _moved(there, start)
            grams["attacked"][i, j], grams["frozen"][i, j] = _gram(attacked - base), _gram(frozen - base)
            cosine[i, j], cosine_frozen[i, j] = (_cosine(p.gradient.double(), flat) for p in (there, still))
            switching[i, j] = float((there.gradient - still.gradient).norm())
            kappa[i, j], kappa_frozen[i, j] = (
                2 * (float(p.value) - start.value - radius * rise) / radius**2 for p in (there, still)
            )

    if not all(np.isfinite(gram).all() for gram in grams.values()):
        raise NumericalError(f"the gradient is not finite somewhere along {name}; give smaller --radii")
    mean, mean_frozen = kappa[0], kappa_frozen[0]
    noise, noise_frozen = 2 * common.noise / h**2, 2 * common.rounding / h**2
    at, at_frozen = _resolved(mean, noise), _resolved(mean_frozen, noise_frozen)
    told = _fitted(h, grams["attacked"], grams["frozen"], common.sizes)
    bound = 2 * eps * common.mixed[0] if eps else math.nan
    return Scatter(
        **measured(point, common.gap),
        direction=name,
        points=len(common.starts),
        gradient_norm=point.gradient.double().norm().item(),
        radii=h,
        cosine=cosine.mean(axis=0),
        cosine_frozen=cosine_frozen.mean(axis=0),
        switching=switching.mean(axis=0),
        moved=moved.mean(axis=0),
        floor=common.floor[0],
        floor_stderr=common.floor[1],
        floor_unbiased=common.floor[2],
        floor_unbiased_stderr=common.floor[3],
        floor_moved=common.floor[4],
        mixed=common.mixed[0],
        mixed_stderr=common.mixed[1],
        mixed_largest=common.mixed[2],
        bound=bound,
        share=told["jump"] / bound if bound else math.nan,
        curvature=curvature,
        kappa=mean,
        kappa_frozen=mean_frozen,
        kappa_noise=noise,
        kappa_frozen_noise=noise_frozen,
        ratio=float(mean[at]) / curvature if at is not None and curvature else math.nan,
        ratio_radius=float(h[at]) if at is not None and curvature else math.nan,
        ratio_frozen=float(mean_frozen[at_frozen]) / curvature
        if at_frozen is not None and curvature
        else math.nan,
        ratio_frozen_radius=float(h[at_frozen]) if at_frozen is not None and curvature else math.nan,
        passes={},
        seconds=math.nan,
        **told,
    )


def _ratio(ratio: float, radius: float) -> str:
    return f"{ratio:.3g} at {radius:.2g}" if math.isfinite(ratio) else "not resolved"


def _fitted(h: np.ndarray, attacked: np.ndarray, frozen: np.ndarray, sizes: np.ndarray) -> dict[str, Any]:
    """R(h) and its lines as fields of the result, from Gram matrices (starts, m, G, G) of changes."""
    import numpy as np

    from landscape.fit import line
    from landscape.sampling import jackknife

    def profile(squared: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
        """(2 + m,): jump, slope and R(h) of the mean over the starts."""
        changes = np.sqrt(squared.clip(0))
        weights = [None] * len(changes) if like is None else like
        lines = [line(h, change, like=w).found for change, w in zip(changes, weights, strict=True)]
        return np.concatenate([np.mean(lines, axis=0), changes.mean(axis=0)])

    def both(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        found, still = profile(one), profile(other)
        return np.stack([found, still, found - still])

    values, sampling = jackknife(both, attacked, frozen, sizes=sizes)
    told: dict[str, Any] = {}
    fits = []
    for row, (gram, suffix) in enumerate(((attacked, ""), (frozen, "_frozen"))):
        changes = np.sqrt(gram.sum(axis=(-2, -1)).clip(0)) / sizes.sum()
        lines = [line(h, change) for change in changes]
        fits.append(_errors(lines))
        # What vanishes with more examples may do so at some radii: the weights are those of R(h) as it is.
        whole, whole_error = jackknife(
            lambda squared, like=changes: profile(squared, like), gram, sizes=sizes, across=True
        )
        told |= {
            f"misfit{suffix}": float(np.mean([found.misfit for found in lines])),
            f"change{suffix}": values[row, 2:],
            f"change{suffix}_stderr": sampling[row, 2:],
            f"change{suffix}_unbiased": whole[2:],
            f"jump{suffix}_unbiased": float(whole[0]),
            f"jump{suffix}_unbiased_stderr": float(whole_error[0]),
        }
        for place, name in enumerate(("jump", "slope")):
            told |= {
                f"{name}{suffix}": float(values[row, place]),
                f"{name}{suffix}_stderr": _together(fits[row][place], sampling[row, place]),
                f"{name}{suffix}_fit": fits[row][place],
                f"{name}{suffix}_sampling": float(sampling[row, place]),
            }
    told["jump_switching"] = float(values[2, 0])
    told["jump_switching_stderr"] = _together(math.hypot(fits[0][0], fits[1][0]), sampling[2, 0])
    return told


def _together(fit: float, sampling: float) -> float:
    """Both errors in one; that of the fit alone where the other is not known."""
    return math.hypot(fit, sampling) if math.isfinite(sampling) else fit


def _root(squared: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.sqrt(squared.clip(0))


def _resolved(kappa: np.ndarray, noise: np.ndarray) -> int | None:
    """The place of the smallest radius at which the noise is a tenth of the curvature at most."""
    import numpy as np

    there = np.flatnonzero(noise <= RESOLVED * np.abs(kappa))
    return int(there[0]) if len(there) else None


def _errors(lines: list[Line]) -> tuple[float, float]:
    """Standard errors of the mean over starts: of the fits, or of their spread where that is larger."""
    import numpy as np

    values, errors = np.array([each.found for each in lines]), np.array([each.errors for each in lines])
    fit = np.sqrt((errors**2).sum(axis=0)) / len(lines)
    spread = values.std(axis=0, ddof=1) / math.sqrt(len(lines)) if len(lines) > 1 else np.zeros(2)
    jump, slope = np.maximum(fit, spread)
    return float(jump), float(slope)


def _gram(groups: Tensor) -> np.ndarray:
    return (groups @ groups.T).cpu().numpy()


def _cosine(a: Tensor, b: Tensor) -> float:
    lengths = float(a.norm() * b.norm())
    return float(a @ b.double()) / lengths if lengths else math.nan


def _moved(one: Point, other: Point) -> float:
    """Mean over the examples of ‖δ₁ − δ₂‖ / (2 eps) in the budget's norm: 1 where they are farthest apart."""
    budget = one.objective.budget
    return budget.size(one.perturbation - other.perturbation).mean().item() / (2 * float(budget.eps))


def _near(point: Point, radius: float, seed: int, number: int) -> Point:
    """A start at random in the ball of a radius around a point, its length uniform up to the radius."""
    from landscape.directions import random
    from landscape.linalg.operator import generator

    length = float(generator(seed, purpose=4).uniform(size=number)[-1]) * radius
    return point + length * random(point, 500_000 + number, seed=seed)


def _curvatures(point: Point, vectors: Tensor) -> list[float]:
    """vᵀ H v of each column, from one look at the data."""
    from landscape.hessian import Hessian

    products = Hessian(point, keep=False) @ vectors
    return (vectors * products.double()).sum(dim=0).tolist()


def _mixed(point: Point, other: Point) -> tuple[float, float, float]:
    """L_θx from below: mean, standard error and maximum over examples of their largest difference quotient.

    Pairs of the clean input and the ends of two attacks.
    """
    import torch

    from landscape.per_example import differences

    o = point.objective
    n = len(o.data)
    few = torch.linspace(0, n - 1, min(n, PAIRS)).round().long()
    ends = [
        o.but(data=data[few], budget=Budget(0)).at(point.theta)
        for data in (o.data, point.perturbed, other.perturbed)
    ]
    found = torch.zeros(len(few), dtype=torch.float64, device=point.theta.device)
    for (one, two), moved in differences(ends).items():
        x, there = (ends[i].objective.data.inputs(slice(None), point.theta)[0] for i in (one, two))
        apart = o.budget.size(x - there)
        found = torch.maximum(found, torch.where(apart > 0, moved / apart, 0.0))
    error = found.std().item() / math.sqrt(len(few)) if len(few) > 1 else math.nan
    return found.mean().item(), error, found.max().item()
