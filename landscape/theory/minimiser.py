"""W*: the linear model that minimises the adversarial loss, by convex optimisation, and how near it is.

    F(W) = L_eps(W) + ridge / 2 ‖W‖²

The ridge makes the minimiser unique and lets a dual bound say how far it is; it does not move eps_bar, for it
has no slope at W = 0. For any inputs x'ᵢ in S_eps(xᵢ) and any probabilities pᵢ weak duality gives

    F(W) ≥ mean of H(pᵢ) − ‖G‖² / (2 ridge) for all W,   G = mean of x'ᵢ (pᵢ − e_yᵢ)ᵀ,

and F is ridge-strongly convex, so that ‖W − W*‖ ≤ √(2 (F(W) − bound) / ridge).

Two classes under l_inf: with w₂ − w₁ = a − b and a, b ≥ 0 the worst x' is linear in (a, b), which makes the
problem smooth, and L-BFGS-B ends at exact zeros. Otherwise |·| is smoothed to √(·² + μ²) − μ for a falling μ,
and what that leaves is polished on fewer and fewer pixels, on which the smoothing costs less; and so is the
best model along a direction that is known to lead down from W = 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, softmax

from landscape.theory.loss import entropy
from landscape.theory.region import ROWS, Region, class_means
from landscape.theory.sets import margins, slopes_at_zero

Watch = Callable[[str, int, int], None]
ROUNDING = 1e-13
"""Below log K by less than that is no improvement on W = 0."""
SMOOTHING = (1e-2, 1e-3, 1e-4)
POLISH = (1e-4, 1e-5, 1e-6)
SHARES = (0.3, 0.1, 0.03, 0.01)
"""Of the pixels, those with the largest weights, that are polished on besides all of them."""
FIRST = 0.01
"""Size of the weights that the descent from W = 0 begins with."""
STEPS, POLISHING = 150, 40
"""Steps of L-BFGS at each μ."""


@dataclass(frozen=True, eq=False)
class Minimum:
    """The best W that was found, and what is known of the minimum.

    W: (m, K); 0 where nothing that was found is better
    objective: F(W), for three classes and more by the worst corners that a local search finds
    dual: a lower bound of F at any W, whatever the local search missed; −inf where none was found
    ended: ‖W‖ where the optimiser ended, from a start of norm 1
    slope: the steepest that F falls from W = 0, per unit of ‖W‖; 0 for eps ≥ eps_bar, NaN under l_2
    passes: passes over the data
    """

    W: np.ndarray
    objective: float
    dual: float
    ended: float
    slope: float
    passes: float

    def norms(self, ridge: float) -> tuple[float, float]:
        """Bounds of ‖W*‖, if no corner was missed in F(W).

        From ‖W − W*‖ ≤ √(2 (F(W) − dual) / ridge), and from log K − s r + ridge r² / 2 ≤ F(W*) ≤ F(W) with
        the slope s at 0 and r = ‖W*‖.
        """
        size = float(np.linalg.norm(self.W))
        off = math.sqrt(2 * max(self.objective - self.dual, 0.0) / ridge)
        low, high = max(0.0, size - off), size + off
        if math.isfinite(self.slope):
            won = math.log(self.W.shape[1]) - self.objective
            root = math.sqrt(max(self.slope**2 - 2 * ridge * won, 0.0))
            # (s − root) / ridge, without the loss of digits where ridge · won is small.
            low = max(low, 2 * won / (self.slope + root) if won > 0 else 0.0)
            high = min(high, (self.slope + root) / ridge)
        return min(low, size), max(high, size)


def minimise(
    regions: Region,
    y: np.ndarray,
    classes: int,
    *,
    ridge: float,
    seed: int = 0,
    falls: np.ndarray | None = None,
    watch: Watch | None = None,
) -> Minimum:
    """The minimiser of F over the linear models of K classes, from a random start of norm 1.

    The best of where the optimiser ended and W = 0, whose loss is log K.

    falls: a direction (m, K) along which the loss falls from W = 0 wherever it falls along any, as
        `threshold.of_data` has it; with more than two classes the optimiser may miss it near eps_bar
    """
    start = np.random.Generator(np.random.Philox(key=[seed, 0])).normal(
        size=(regions.centre.shape[1], classes)
    )
    start /= np.linalg.norm(start)
    if classes == 2 and regions.norm == "linf":
        found = _two_classes(regions, y, ridge, start, watch)
    else:
        found = _smoothed(regions, y, classes, ridge, start, falls, watch)
    constant = math.log(classes)
    slope = slope_at_zero(regions, y, classes)
    at_zero = constant - slope**2 / (2 * ridge) if math.isfinite(slope) else -math.inf
    better = found.objective < constant - ROUNDING
    W, objective = (found.W, found.objective) if better else (0 * found.W, constant)
    dual = max(found.dual, at_zero, dual_at(W, regions, y, ridge))
    return replace(found, W=W, objective=objective, dual=min(dual, objective), slope=slope)


def dual_at(W: np.ndarray, regions: Region, y: np.ndarray, ridge: float, steps: int = 60) -> float:
    """The dual bound with the probabilities at W's worst inputs, and inputs that bring ‖G‖ down.

    At given p the bound is a quadratic of the inputs, a separate one for each pixel: projected gradients with
    momentum (FISTA) from W's own worst inputs. l_inf alone.
    """
    if regions.norm != "linf":
        return -math.inf
    classes, n = W.shape[1], len(y)
    problem = _Problem(regions, y, classes, ridge)
    problem.sharp(W)
    p = np.concatenate(list(problem.p.values()))
    pull = p - np.eye(classes)[y]
    base, reach = regions.centre.T @ pull / n, regions.reach
    # A step of 1 / L, L the largest curvature of a pixel: reach² times the largest eigenvalue of the pulls.
    curvature = np.linalg.norm(pull, 2) ** 2 / n**2 * float(np.max(reach)) ** 2
    at = ahead = np.sign(pull @ W.T)
    momentum, best = 1.0, math.inf
    for _ in range(steps):
        G = base + (reach * ahead).T @ pull / n
        if not reach.any():
            best = float((G**2).sum())
            break
        moved = np.clip(ahead - reach * (pull @ G.T) / n / curvature, -1.0, 1.0)
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = moved + (momentum - 1) / following * (moved - at)
        at, momentum = moved, following
    if reach.any():
        best = float(((base + (reach * at).T @ pull / n) ** 2).sum())
    return float(entropy(p).mean()) - best / (2 * ridge)


def slope_at_zero(regions: Region, y: np.ndarray, classes: int) -> float:
    """The steepest that F falls from W = 0, per unit of ‖W‖: 0 just for eps ≥ eps_bar. NaN under l_2.

    With s_c the sum of x' over class c and p uniform, G is how far the s_c are from their mean; the slope is
    the least ‖G‖ that the adversary can bring about, pixel by pixel, by alternating projections.
    """
    if regions.norm != "linf":
        return math.nan
    counts, means = class_means(regions, y, classes)
    lower, upper = (counts[:, None] * (means.centre + s * means.reach) / len(y) for s in (-1, 1))
    common = (lower.max(axis=0) + upper.min(axis=0)) / 2
    apart = lower.max(axis=0) > upper.min(axis=0)
    for _ in range(500):
        common = np.where(apart, np.clip(common, lower, upper).mean(axis=0), common)
    sums = np.clip(common, lower, upper)
    return float(np.linalg.norm((sums - sums.mean(axis=0))[:, apart]))


def _two_classes(
    regions: Region, y: np.ndarray, ridge: float, start: np.ndarray, watch: Watch | None
) -> Minimum:
    """W = (−w, w) / 2 with w = a − b: exact zeros, and the dual bound at the worst inputs in between."""
    sign = np.where(y == 1, 1.0, -1.0)
    low, high = (sign[:, None] * (regions.centre - s * sign[:, None] * regions.reach) for s in (1, -1))
    # sign · wᵀx' at its smallest is low @ a − high @ b: low and high are the ends of sign · x'.
    m, calls = low.shape[1], 0

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal calls
        calls += 1
        a, b = z[:m], z[m:]
        margin = low @ a - high @ b
        slope = -expit(-margin) / len(y)
        w = a - b
        value = np.logaddexp(0.0, -margin).mean() + ridge / 4 * (w @ w)
        if watch and calls % 10 == 0:
            watch(f"two classes, last loss {value:.6f}", calls, 0)
        return value, np.concatenate([low.T @ slope + ridge / 2 * w, -(high.T @ slope) - ridge / 2 * w])

    w = start[:, 1] - start[:, 0]
    solved = minimize(
        objective,
        np.concatenate([np.maximum(w, 0), np.maximum(-w, 0)]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * (2 * m),
        options={"maxiter": 5000, "maxfun": 10000, "ftol": 1e-16, "gtol": 1e-10, "maxcor": 30},
    )
    w = solved.x[:m] - solved.x[m:]
    W = np.stack([-w / 2, w / 2], axis=1)
    margin = low @ np.maximum(w, 0) - high @ np.maximum(-w, 0)
    value = np.logaddexp(0.0, -margin).mean() + ridge / 4 * (w @ w)
    # Pixels without weight may be moved anywhere in the region: to where the gradient comes closest to 0.
    pull = expit(-margin) / len(y)
    middle, reach = pull @ ((low + high) / 2), pull @ ((high - low) / 2)
    move = np.divide(middle - ridge / 2 * w, reach, out=np.zeros(m), where=reach > 0)
    left = middle - reach * np.clip(move, -1, 1)
    p = expit(-margin)
    dual = entropy(np.stack([p, 1 - p], axis=1)).mean() - (left @ left) / ridge
    return Minimum(W, value, dual, float(np.linalg.norm(W)), math.nan, calls)


@dataclass(eq=False)
class _Problem:
    """F with |·| smoothed, on some of the pixels, as L-BFGS takes it.

    p: the class probabilities of each example at its worst input, which the next step starts from
    """

    regions: Region
    y: np.ndarray
    classes: int
    ridge: float
    watch: Watch | None = None
    passes: float = 0.0
    dual: float = -math.inf
    p: dict[int, np.ndarray] = field(default_factory=dict)

    def __call__(self, flat: np.ndarray, smoothing: float, inner: int = 2) -> tuple[float, np.ndarray]:
        """F and its gradient (m · K,), and the best dual bound so far."""
        W = flat.reshape(-1, self.classes)
        n, value, spread = len(self.y), 0.0, 0.0
        gradient = np.zeros_like(W)
        one_hot = np.eye(self.classes)[self.y]
        for start in range(0, n, ROWS):
            rows = slice(start, start + ROWS)
            some, e = self.regions[rows], one_hot[rows]
            p = self.p.get(start)
            if p is None:
                p = softmax(margins(W, some, self.y[rows]), axis=1)
            for _ in range(inner):
                p = softmax(some.worst_logits((p - e) @ W.T, W, smoothing), axis=1)
            self.p[start] = p
            v = (p - e) @ W.T
            information = entropy(p).sum()
            value += some.smooth_support(v, smoothing).sum() + information
            spread += information
            gradient += some.worst(v, smoothing).T @ (p - e)
        gradient /= n
        self.passes += inner + 1
        self.dual = max(self.dual, spread / n - (gradient**2).sum() / (2 * self.ridge))
        return value / n + self.ridge / 2 * (flat @ flat), (gradient + self.ridge * W).ravel()

    def descend(self, W: np.ndarray, smoothing: float, steps: int) -> np.ndarray:
        """Where L-BFGS ends from W."""
        taken = 0

        def tell(_: np.ndarray) -> None:
            nonlocal taken
            taken += 1
            if self.watch:
                self.watch(f"minimising, μ {smoothing:g}, {len(W)} pixels", taken, steps)

        self.p.clear()
        solved = minimize(
            self,
            W.ravel(),
            args=(smoothing,),
            jac=True,
            method="L-BFGS-B",
            callback=tell,
            options={"maxiter": steps, "maxfun": 2 * steps, "ftol": 1e-13, "gtol": 1e-9, "maxcor": 50},
        )
        return solved.x.reshape(W.shape)

    def sharp(self, W: np.ndarray) -> float:
        """F(W) without smoothing, by the corners that the search from each margin's own worst finds."""
        self.p.clear()
        return self(W.ravel(), 0.0, inner=6)[0]


def _smoothed(
    regions: Region,
    y: np.ndarray,
    classes: int,
    ridge: float,
    start: np.ndarray,
    falls: np.ndarray | None,
    watch: Watch | None,
) -> Minimum:
    whole = _Problem(regions, y, classes, ridge, watch)
    W = start
    for smoothing in SMOOTHING:
        W = whole.descend(W, smoothing, STEPS)
    best, value = W, whole.sharp(W)
    starts = list(_starts(W, regions, y, classes))
    if falls is not None and (ray := _lowest(whole, falls)).any():
        starts.append((rows := np.flatnonzero(ray.any(axis=1)), ray[rows]))
        if (there := whole.sharp(ray)) < value:
            best, value = ray, there
    passes = whole.passes
    for chosen, part in starts:
        few = _Problem(regions.pixels(chosen), y, classes, ridge, watch)
        for smoothing in POLISH:
            part = few.descend(part, smoothing, POLISHING)
        reached = few.sharp(part)
        passes += few.passes * len(chosen) / len(W)
        if len(chosen) == len(W):
            whole.dual = max(whole.dual, few.dual)
        if reached < value:
            best, value = np.zeros_like(W), reached
            best[chosen] = part
    return Minimum(best, value, whole.dual, float(np.linalg.norm(best)), math.nan, passes)


def _lowest(problem: _Problem, falls: np.ndarray) -> np.ndarray:
    """The model along a direction at which F is lowest, to some per cent of its length; 0 where F rises."""
    toward = falls / np.linalg.norm(falls)
    slope, _ = slopes_at_zero(toward, *class_means(problem.regions, problem.y, problem.classes))
    if slope >= 0:
        return 0 * toward
    # F(t) >= log K + slope t + ridge / 2 t²: beyond this t it is above log K again.
    last = math.log(-2 * slope / problem.ridge)
    found = minimize_scalar(
        lambda t: problem.sharp(math.exp(t) * toward),
        bounds=(last - math.log(1e4), last),
        method="bounded",
        options={"xatol": 0.05},
    )
    return math.exp(found.x) * toward


def _starts(
    W: np.ndarray, regions: Region, y: np.ndarray, classes: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Sets of pixels, and weights (k, K) on them to start from.

    Under l_inf those of the largest weights, and all along which the loss falls from W = 0, however little.
    """
    order = np.argsort(-np.linalg.norm(W, axis=1), kind="stable")
    yield order, W[order]
    if regions.norm != "linf":
        return
    for share in SHARES:
        chosen = order[: max(1, round(share * len(order)))]
        yield chosen, W[chosen]
    counts, means = class_means(regions, y, classes)
    lower, upper = (counts[:, None] * (means.centre + s * means.reach) for s in (-1, 1))
    chosen = np.flatnonzero(lower.max(axis=0) > upper.min(axis=0))
    if len(chosen):
        yield (
            chosen,
            FIRST
            * (
                np.eye(classes)[lower[:, chosen].argmax(axis=0)]
                - np.eye(classes)[upper[:, chosen].argmin(axis=0)]
            ),
        )
