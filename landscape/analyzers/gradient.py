"""How large the gradient is: over the data set, over its examples, over mini-batches, each with its error."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from landscape.analyzers.measured import Measured, measured
from landscape.errors import InputError, NumericalError
from landscape.format import duration, plus_minus
from landscape.registry import register

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from landscape.objective import Point

DRAW = 8
"""The purpose that mini-batches are drawn for, among those of a seed."""


@dataclass(frozen=True, eq=False)
class Gradient(Measured):
    """Size and noise of ∇L_eps at θ, the perturbed data held fixed: no mini-batch is attacked by itself.

    Besides the fields of `Measured`:

    gradient_norm: ‖∇L_eps‖ on these n examples, with its standard error if they are a sample of more
    gradient_norm_unbiased: what infinitely many examples would leave of it, with its standard error, from
        E‖ḡ‖² = ‖E g‖² + tr Σ / n; 0 where the noise accounts for all
    per_example: of the examples' own ‖gᵢ‖ the mean, mean_stderr, median, q05 and q95 (quantiles); cosine, the
        mean cosine of gᵢ ≠ 0 with the mean gradient, and cosine_stderr
    batch: of the norms of `count` mini-batches of `size` examples the same; cosine, the mean over consecutive
        batches of one permutation, which share no example. Their standard errors are those of the draw,
        from the spread between permutations: the examples are held fixed. Where one permutation has all
        batches they count as independent; the cosine's error is then an upper bound
    noise_scale: tr Σ / ‖∇L_eps‖² in examples, Σ the covariance of the examples' gradients: the simple noise
        scale of McCandlish et al. (1812.06162) on the data at hand, which near a minimum cannot exceed n
    noise_scale_unbiased: both moments without the noise of n examples; NaN where that leaves no gradient
    clean_cosine: of ∇L_eps with the gradient ∇L_0 on the same examples unperturbed, with its standard error
    one_by_one: why the examples' gradients were not vectorised; "" where they were
    passes: passes over the data: forward alone, forward and backward, Hessian products
    seconds: wall time
    per_layer: the norm of the gradient in each parameter by its name, if asked for

    Standard errors over examples are those of the delete-one jackknife, of the two cosines to first order.
    Those of norm and noise scale are too large, by √2 and more, where the gradient is mere sampling noise.
    NaN is "not computed": cosines and noise scale of a gradient that is 0, errors of a single example.
    """

    LEGEND: ClassVar[str] = (
        "loss, accuracy, gradient norm, per example, noise scale, clean cosine: ± standard error over the "
        "examples; batch: ± standard error over the draws of batches from these examples; 5-95 %: quantiles; "
        "cosine: of an example's gradient with the mean one, of two batches without common examples"
    )

    examples: int
    gradient_norm: float
    gradient_norm_stderr: float
    gradient_norm_unbiased: float
    gradient_norm_unbiased_stderr: float
    per_example: dict[str, float]
    batch: dict[str, float]
    noise_scale: float
    noise_scale_stderr: float
    noise_scale_unbiased: float
    noise_scale_unbiased_stderr: float
    clean_cosine: float
    clean_cosine_stderr: float
    one_by_one: str
    passes: dict[str, float]
    seconds: float
    per_layer: dict[str, float] | None = None

    def rows(self) -> dict[str, str]:
        """What a table of results shows of it, by the name of the row."""
        rows = self.head()
        rows["gradient norm"] = plus_minus(self.gradient_norm, self.gradient_norm_stderr)
        rows["gradient norm, unbiased"] = plus_minus(
            self.gradient_norm_unbiased, self.gradient_norm_unbiased_stderr
        )
        for name, found in (("example", self.per_example), (f"batch of {self.batch['size']}", self.batch)):
            rows[f"per {name}"] = plus_minus(found["mean"], found["mean_stderr"])
            rows[f"per {name}, 5-95 %"] = f"{found['q05']:.3g} - {found['q95']:.3g}"
            rows[f"per {name}, cosine"] = plus_minus(found["cosine"], found["cosine_stderr"])
        rows["noise scale"] = plus_minus(self.noise_scale, self.noise_scale_stderr)
        rows["noise scale, unbiased"] = plus_minus(
            self.noise_scale_unbiased, self.noise_scale_unbiased_stderr
        )
        rows["clean cosine"] = plus_minus(self.clean_cosine, self.clean_cosine_stderr)
        for name, size in (self.per_layer or {}).items():
            rows[f"norm in {name}"] = plus_minus(size, 0.0)
        for name in ("forward", "gradient"):
            rows[f"{name} passes"] = f"{self.passes[name]:.0f}"
        rows["time"] = duration(self.seconds)
        return rows

    def remarks(self) -> list[str]:
        """What a reader of the table must know besides, a sentence each."""
        told = []
        if self.gradient_norm_unbiased < 0.9 * self.gradient_norm:
            share = 1 - (self.gradient_norm_unbiased / self.gradient_norm) ** 2
            cosine = ", and the clean cosine is partly that of the noise" if self.eps else ""
            told.append(
                f"{share:.0%} of the squared gradient norm is sampling noise of {self.examples:,} examples: "
                f"the noise scale comes out too small{cosine}"
            )
        told += self.warnings()
        if self.one_by_one:
            told.append(f"the examples' gradients were taken one by one: {self.one_by_one}")
        return told


@register("analyzer")
def gradient(point: Point, *, batches: str = "128:200", per_layer: bool = False, seed: int = 0) -> Gradient:
    """Size of the gradient over data, examples and mini-batches; noise scale.

    The gradient is that of L_eps at fixed perturbed data, which is L_eps's own where the worst adversary is
    unique (Danskin). Mini-batches are drawn from the same perturbed data.

    batches: SIZE:COUNT, COUNT mini-batches of SIZE examples each
    per_layer: the norm in each parameter as well
    """
    start = time.perf_counter()
    objective = point.objective
    size, count = _request(batches, len(objective.data))  # before the attack takes its time
    mean = point.gradient.double()  # before the loss, which it leaves at no extra pass
    if not math.isfinite(point.value):
        raise NumericalError(f"the loss is {point.value} at eps = {objective.budget}")
    norm = mean.norm().item()
    if not math.isfinite(norm):
        raise NumericalError(f"the gradient contains NaN or infinity at eps = {objective.budget}")
    examples = _of_examples(point)
    batch = _of_batches(point, size, count, seed)
    parts = objective.network.parts(mean)
    return Gradient(
        **measured(point),
        examples=len(objective.data),
        gradient_norm=norm,
        **examples,
        batch=batch,
        passes={name: round(passes, 3) for name, passes in objective.passes.items()},
        seconds=time.perf_counter() - start,
        per_layer={
            name: part.norm().item() for name, part in zip(objective.network.names, parts, strict=True)
        }
        if per_layer
        else None,
    )


def _request(batches: str, examples: int) -> tuple[int, int]:
    """(size, count) of SIZE:COUNT."""
    written = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", batches.strip())
    size, count = (int(written[1]), int(written[2])) if written else (0, 0)
    if not size or not count:
        raise InputError(
            f"--batches {batches} is not possible; give SIZE:COUNT, two whole numbers from 1, such as 128:200"
        )
    if size > examples:
        raise InputError(
            f"--batches {batches} is not possible: there are fewer examples than the batch size, {examples}; "
            f"give a SIZE of at most {examples}, or more --examples"
        )
    return size, count


def _of_examples(point: Point) -> dict[str, Any]:
    """What the examples' gradients tell, as fields of the result.

    The error of a cosine is the spread of an influence function over √n: how far each example moves it, to
    first order, its part in the direction of the mean gradient included.
    """
    import numpy as np
    import torch

    from landscape.objective import CLEAN
    from landscape.per_example import gradients

    objective, mean = point.objective, point.gradient.double()
    size, u = mean.norm().item(), _unit(mean)
    clean = objective.but(budget=CLEAN).at(point.theta) if objective.budget.eps else point
    other, w = clean.gradient.double().norm().item(), _unit(clean.gradient.double())
    clean_cosine = (u @ w).item()
    own = gradients(point, torch.stack([u, w - clean_cosine * u], dim=1), direction=True)
    norms, (along, turning) = own.norms.cpu().numpy(), own.projections.T.cpu().numpy()
    if not size or not other:
        clean_cosine, clean_stderr = math.nan, math.nan
    elif clean is point:
        clean_cosine, clean_stderr = 1.0, 0.0
    else:
        apart = gradients(clean, (u - clean_cosine * w)[:, None]).projections[:, 0].cpu().numpy()
        clean_stderr = _stderr(turning / size + apart / other)

    # The mean gradient turns with every example as well: by what is across it in the mean direction.
    assert own.direction is not None
    across = own.direction - (own.direction @ u) * u
    sideways = gradients(point, across[:, None]).projections[:, 0].cpu().numpy()
    there = norms > 0
    cosines = np.clip(along[there] / norms[there], -1.0, 1.0)
    cosine, moved = math.nan, np.zeros(len(norms))
    if size:
        cosine = cosines.mean()
        moved[there] = (cosines - cosine) * len(norms) / there.sum()
        moved += sideways / size
    return {
        **_noise(size, norms, along),
        "per_example": {
            **_spread(norms),
            "mean_stderr": _stderr(norms),
            "cosine": float(cosine),
            "cosine_stderr": _stderr(moved) if size else math.nan,
        },
        "clean_cosine": clean_cosine,
        "clean_cosine_stderr": clean_stderr,
        "one_by_one": own.one_by_one,
    }


def _noise(size: float, norms: np.ndarray, along: np.ndarray) -> dict[str, float]:
    """The error of the norm, the noise scale, and both without the noise of n examples.

    Errors are those of the delete-one jackknife: without example i, ‖ḡ‖² is
    (n²‖ḡ‖² − 2n⟨gᵢ, ḡ⟩ + ‖gᵢ‖²) / (n−1)².

    size: ‖ḡ‖; norms, along: (n,) ‖gᵢ‖ and ⟨gᵢ, ḡ⟩ / ‖ḡ‖
    """
    import numpy as np

    n = len(norms)
    names = ("gradient_norm_unbiased", "noise_scale", "noise_scale_unbiased")
    found = dict.fromkeys(("gradient_norm_stderr", *names, *(f"{name}_stderr" for name in names)), math.nan)
    if not size:
        found["gradient_norm_unbiased"] = 0.0
        found["gradient_norm_stderr"] = math.nan if n < 2 or norms.any() else 0.0
    if n < 2 or not size:
        return found
    squares = (norms / size) ** 2  # in units of ‖ḡ‖², as all that follows
    value = _moments(np.ones(1), squares.mean(keepdims=True), n)
    without = _moments(
        (n**2 - 2 * n * along / size + squares) / (n - 1) ** 2, (squares.sum() - squares) / (n - 1), n - 1
    )
    for name, unit in (("gradient_norm", size), (names[0], size), (names[1], 1.0), (names[2], 1.0)):
        found[name], found[f"{name}_stderr"] = unit * float(value[name][0]), unit * _jackknife(without[name])
    del found["gradient_norm"]
    if not found["gradient_norm_unbiased"]:  # nor do the values without an example tell how far it is from 0
        found["gradient_norm_unbiased_stderr"] = found["noise_scale_unbiased_stderr"] = math.nan
    return found


def _moments(mean: np.ndarray, each: np.ndarray, n: int) -> dict[str, np.ndarray]:
    """Norm and noise scale, and both without the noise of n examples, from ‖ḡ‖² and the mean of ‖gᵢ‖²."""
    import numpy as np

    with np.errstate(all="ignore"):
        scale = np.maximum(each / mean - 1, 0.0)
        left = 1 - scale / np.float64(n - 1)  # (‖ḡ‖² − tr Σ̂ / n) / ‖ḡ‖²
        return {
            "gradient_norm": np.sqrt(np.maximum(mean, 0.0)),
            "gradient_norm_unbiased": np.sqrt(np.maximum(mean * left, 0.0)),
            "noise_scale": scale,
            "noise_scale_unbiased": np.where(left > 0, n / np.float64(n - 1) * scale / left, math.nan),
        }


def _of_batches(point: Point, size: int, count: int, seed: int) -> dict[str, float]:
    """Norms and cosines of mini-batches: each permutation of the examples is cut into disjoint ones."""
    import numpy as np
    import torch

    from landscape.linalg.operator import generator

    frozen = point.frozen().objective
    # By their places in the original data: the same seed draws the same examples in whatever order they are.
    order = np.argsort(frozen.data.index.cpu().numpy(), kind="stable")
    rng, cut = generator(seed, DRAW), len(order) // size
    norms, cosines = [], []
    permutation, last = order, torch.zeros_like(point.theta)
    for drawn in range(count):
        permutation = permutation if drawn % cut else rng.permutation(order)
        rows = permutation[drawn % cut * size :][:size]
        batch = frozen.but(data=frozen.data[torch.from_numpy(rows)])
        found = batch.at(point.theta).gradient.double()
        norms.append(found.norm().item())
        cosines.append((_unit(found) @ last).item() if drawn % cut and last.any() and norms[-1] else math.nan)
        last = _unit(found)
        point.objective.watch("mini-batches", drawn + 1, count)
    sizes, turns, source = np.array(norms), np.array(cosines), np.arange(count) // cut
    known = np.isfinite(turns)
    if count <= cut:
        errors = (
            _stderr(sizes),
            math.sqrt(2) * _stderr(turns[known]),
        )  # of neighbours, which have a batch in common
    else:
        errors = _stderr_between(sizes, source), _stderr_between(turns[known], source[known])
    return {
        "size": size,
        "count": count,
        **_spread(sizes),
        "mean_stderr": errors[0],
        "cosine": float(turns[known].mean()) if known.any() else math.nan,
        "cosine_stderr": errors[1],
    }


def _unit(v: Tensor) -> Tensor:
    """v / ‖v‖, and 0 of 0."""
    length = v.norm()
    return v / length if length > 0 else 0 * v


def _spread(values: np.ndarray) -> dict[str, float]:
    import numpy as np

    low, median, high = np.quantile(values, [0.05, 0.5, 0.95])
    return {"mean": float(values.mean()), "median": float(median), "q05": float(low), "q95": float(high)}


def _stderr(values: np.ndarray) -> float:
    """Standard error of the mean of independent values; NaN of a single one."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _jackknife(without: np.ndarray) -> float:
    """Standard error of a number from its values (n,) without each example; NaN if one of them is none."""
    import numpy as np

    n = len(without)
    spread = ((without - without.mean()) ** 2).sum() if np.isfinite(without).all() else math.nan
    return math.sqrt((n - 1) / n * spread)


def _stderr_between(values: np.ndarray, source: np.ndarray) -> float:
    """Standard error of the mean of values, of which only those from different sources are independent.

    source: the number of each value's source, from 0; NaN for a single source
    """
    import numpy as np

    if len(np.unique(source)) < 2:
        return math.nan
    totals = np.bincount(source, values - values.mean())
    many = len(totals)
    return math.sqrt(many / (many - 1) * (totals**2).sum()) / len(values)
