"""What does adversarial training of a linear model end at, below eps_bar and above it?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from landscape.format import duration, percent, plus_minus, sampled
from landscape.registry import register

if TYPE_CHECKING:
    from landscape.data import Data

CERTIFIED = 32
"""Examples on which branch and bound tells how much the local search may have missed."""


@dataclass(frozen=True, eq=False)
class Minimum:
    """The linear model that minimises F(W) = L_eps(W) + ridge / 2 ‖W‖² on a data set.

    eps, budget, norm: of the perturbations; box: whether the adversary stays in [0, 1]
    examples, classes, ridge: what is minimised
    eps_bar, eps_bar_error: of the same data, see `Threshold`; the ridge does not move it
    weight_norm: ‖W*‖ (Frobenius) of the best W found, 0 where nothing is better than W = 0
    weight_norm_low, weight_norm_high: bounds of ‖W*‖
    ended: ‖W‖ where the optimiser ended, from a random start of norm 1
    pixels: pixels with a weight that is not 0
    excess, excess_low: F(W*) − log K, and a lower bound of it for any W; log K is F(0)
    loss, loss_stderr: L_eps(W*) of an adversary that exists, and its standard error over the examples
    loss_exact: whether that adversary is known to be the worst; if not
    gap, gap_stderr: how much more the loss of an example is at most, by branch and bound on `certified`
        examples, mean and standard error; 0 where the loss is exact
    accuracy, robust: share classified rightly, clean and whatever the adversary does, ties counted as wrong;
        both exact, each with its standard error over the examples; 0 of W = 0, of which all logits tie
    passes: passes over the data
    seconds: wall time
    """

    OWN_SHAPES: ClassVar[bool] = True
    LEGEND: ClassVar[str] = (
        "‖W*‖: in brackets its bounds, by the dual and by the slope at 0; excess: F(W*) - log K, in brackets "
        "a lower bound for every W; loss, accuracy: ± standard error over the examples; gap: what the loss "
        "of an example may be more at most, ± standard error"
    )

    eps: float
    budget: str
    norm: str
    box: bool
    examples: int
    classes: int
    ridge: float
    eps_bar: float
    eps_bar_error: float
    eps_bar_stderr: float
    weight_norm: float
    weight_norm_low: float
    weight_norm_high: float
    ended: float
    pixels: int
    excess: float
    excess_low: float
    loss: float
    loss_stderr: float
    loss_exact: bool
    gap: float
    gap_stderr: float
    certified: int
    accuracy: float
    accuracy_stderr: float
    robust: float
    robust_stderr: float
    passes: float
    seconds: float

    @property
    def converged(self) -> bool:
        """Whether a W* ≠ 0 was found where theory says that there is one: below eps_bar."""
        return bool(self.weight_norm) or self.eps >= self.eps_bar - self.eps_bar_error

    def rows(self) -> dict[str, str]:
        """What a table of results shows of it, by the name of the row."""
        return {
            "eps_bar": f"{self.eps_bar:.5f}{sampled(self.eps_bar_stderr)}",
            "‖W*‖": f"{self.weight_norm:.4g} [{self.weight_norm_low:.4g}, {self.weight_norm_high:.4g}]",
            "optimiser ended at ‖W‖": f"{self.ended:.3g}",
            "pixels with weight": f"{self.pixels:,}",
            "excess": f"{self.excess:.4g} [{self.excess_low:.4g}]",
            "loss": plus_minus(self.loss, self.loss_stderr),
            "gap": "exact" if self.loss_exact else plus_minus(self.gap, self.gap_stderr),
            "accuracy": percent(self.accuracy, self.accuracy_stderr) if self.weight_norm else "constant",
            "robust accuracy": percent(self.robust, self.robust_stderr) if self.weight_norm else "constant",
            "passes": f"{self.passes:.0f}",
            "time": duration(self.seconds),
        }

    def remarks(self) -> list[str]:
        """What a reader of the table must know besides, a sentence each."""
        told = (
            [f"the objective has a ridge of {self.ridge:g}, which does not move eps_bar"]
            if self.ridge
            else []
        )
        if not self.loss_exact:
            told.append(
                f"the loss of {self.classes} classes is that of the worst corners that a search found, and "
                f"the bounds of ‖W*‖ take it that it missed none; the gap is by branch and bound on "
                f"{self.certified} examples"
            )
        if not self.converged:
            told.append("NOT FOUND: eps is below eps_bar, so that W = 0 is not the minimiser")
        return told


@register("theory")
def minimum(
    data: Data,
    *,
    eps: str = "0,0.1,0.2,0.3,0.4,0.5",
    norm: Literal["linf", "l2"] = "linf",
    box: bool = False,
    ridge: float = 0.01,
    seed: int = 0,
    watch: Any = None,
) -> Iterator[Minimum]:
    """The linear model that adversarial training ends at: W* ≠ 0 below eps_bar, W* = 0 above.

    Softmax cross-entropy of logits Wᵀx without a bias, convex; from a random start of norm 1.

    eps: budgets in pixels
    norm: of the perturbations
    box: the adversary stays in [0, 1]
    ridge: weight of ‖W‖² / 2 in the objective, which makes the minimiser unique
    """
    from landscape.budget import budgets
    from landscape.errors import InputError
    from landscape.theory import region as regions_of
    from landscape.theory import threshold
    from landscape.theory.questions.arrays import arrays

    if not 0 < ridge <= 1e6:
        raise InputError(f"--ridge {ridge} is not possible; give a number above 0, such as 0.01")
    regions_of.check(norm, box)
    wanted = budgets(eps, norm)
    x, y = arrays(data)
    bar = threshold.of_data(x, y, data.classes, norm, box=box)
    for budget in wanted:
        yield _at(x, y, data.classes, budget, bar, box, ridge, seed, watch)


def _at(
    x: Any, y: Any, classes: int, budget: Any, bar: Any, box: bool, ridge: float, seed: int, watch: Any
) -> Minimum:
    """The minimiser at one budget."""
    import math

    import numpy as np

    from landscape.theory.loss import bounds, certified
    from landscape.theory.minimiser import minimise
    from landscape.theory.questions.arrays import mean, share
    from landscape.theory.region import region
    from landscape.theory.sets import robust

    start, eps = time.perf_counter(), float(budget.eps)
    told = str(budget).split()[0]
    tell = (lambda stage, done, of: watch(f"eps {told}: {stage}", done, of)) if watch else None
    regions = region(x, eps, budget.norm, box=box)
    found = minimise(regions, y, classes, ridge=ridge, seed=seed, falls=bar.direction, watch=tell)
    low, high = found.norms(ridge)
    losses = bounds(found.W, regions, y, watch=tell)
    few = np.sort(np.random.Generator(np.random.Philox(key=[seed, 1])).permutation(len(y))[:CERTIFIED])
    gaps = np.zeros(len(few))
    if not losses.exact and found.W.any():
        checked = certified(found.W, regions[few], y[few], watch=tell)
        gaps = checked.upper - checked.lower
    gap, gap_stderr = mean(gaps)
    loss, loss_stderr = mean(losses.lower) if found.W.any() else (math.log(classes), 0.0)
    objective = loss + ridge / 2 * float((found.W**2).sum())
    clean = share(robust(found.W, region(x, 0.0, budget.norm), y))
    held = share(robust(found.W, regions, y))
    return Minimum(
        eps=eps,
        budget=told,
        norm=budget.norm,
        box=box,
        examples=len(y),
        classes=classes,
        ridge=ridge,
        eps_bar=bar.value,
        eps_bar_error=bar.error,
        eps_bar_stderr=bar.stderr,
        weight_norm=float(np.linalg.norm(found.W)),
        weight_norm_low=low,
        weight_norm_high=high,
        ended=found.ended,
        pixels=int(found.W.any(axis=1).sum()),
        excess=objective - math.log(classes),
        excess_low=found.dual - math.log(classes),
        loss=loss,
        loss_stderr=loss_stderr,
        loss_exact=losses.exact or not found.W.any(),
        gap=gap,
        gap_stderr=gap_stderr,
        certified=len(few),
        accuracy=clean[0],
        accuracy_stderr=clean[1],
        robust=held[0],
        robust_stderr=held[1],
        passes=found.passes,
        seconds=time.perf_counter() - start,
    )
