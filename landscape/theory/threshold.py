"""eps_bar: the eps from which on W = 0, the constant classifier, minimises the adversarial loss.

Let M_c(eps) be the Minkowski mean of S_eps(x) over the n_c examples of class c. By convexity 0 minimises
L_eps just if no direction leads down from it: Σ_c n_c max over M_c of −z_cᵀx' ≥ 0 for all z with Σ_c z_c = 0.
By the theorem of alternatives this holds just if the sets n_c M_c(eps), of all K classes, have a point a in
common. Without a box M_c is the ball around the class mean μ_c, so

    eps_bar = min over a of max over c of ‖μ_c − a / n_c‖_p,

for classes of one size the l_p Chebyshev radius of the class means; for a single example ‖x‖_p; for logistic
regression ‖mean of y x‖_p. With a bias for each class the constant classifier's best loss is the entropy of
the class frequencies, and the sets that must meet are M_c(eps): the Chebyshev radius for classes of any size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from landscape.errors import InputError, NumericalError
from landscape.theory.region import check, class_means, region

TIGHT = 1e-12
"""Width of the bracket that bisection ends with."""
PIXELS = 16
"""Pixels of all examples at once."""


@dataclass(frozen=True, eq=False)
class EpsBar:
    """eps_bar of a data set, between two bounds.

    value, error: the middle and half the distance of the bounds
    stderr: standard error if the examples are a sample, to first order at fixed class sizes
    direction: (m, K) the W along which L_eps falls from 0 for every eps < eps_bar; its rows are 0 but for
        the pixel that decides, where one does
    classes: the classes that decide
    pixel: the pixel that decides, under l_inf; −1 under l_2
    """

    value: float
    error: float
    stderr: float
    direction: np.ndarray
    classes: tuple[int, ...]
    pixel: int


def of_point(x: np.ndarray, norm: str = "linf") -> float:
    """eps_bar of a single example: ‖x‖_p, from where the adversary can move it to 0."""
    check(norm, False)
    return float(np.linalg.norm(np.ravel(x), math.inf if norm == "linf" else 2))


def of_logistic_regression(x: np.ndarray, signs: np.ndarray, norm: str = "linf") -> float:
    """eps_bar of log(1 + exp(−y wᵀx)) with labels y = ±1, without a bias: ‖mean of y x‖_p."""
    return of_point(np.asarray(signs, dtype=np.float64) @ x / len(x), norm)


def of_data(
    x: np.ndarray, y: np.ndarray, classes: int, norm: str = "linf", *, box: bool = False, bias: bool = False
) -> EpsBar:
    """eps_bar of K classes of any sizes, for logits Wᵀx, or Wᵀx + b with a bias.

    box: the adversary stays in [0, 1]^m, in which x lie; l_inf alone
    """
    check(norm, box)
    x = np.asarray(x, dtype=np.float64)
    counts = np.bincount(y, minlength=classes)
    if bias:  # a class that never occurs gets b = −∞, and no part in it
        present, weights = np.flatnonzero(counts), (counts > 0).astype(float)
    else:
        present, weights = np.arange(classes), counts / counts.max()
    if len(present) < 2:
        raise InputError(
            "there is one class alone, and a bias that fits it; give data of two classes or more"
        )
    means = class_means(region(x, 0.0), y, classes)[1].centre
    if norm == "l2":
        return _enclosing_ball(x, y, means, weights, present)
    if box:
        return _in_box(x, y, means, weights, present)
    return _intervals(x, y, means, weights, present)


def _intervals(
    x: np.ndarray, y: np.ndarray, means: np.ndarray, weights: np.ndarray, present: np.ndarray
) -> EpsBar:
    """l_inf: on a line, intervals have a point in common just if any two of them have."""
    best = (-1.0, 0, 0, 0)
    for i, c in enumerate(present):
        for k in present[:i]:
            if weights[c] + weights[k] == 0:
                continue
            apart = np.abs(weights[c] * means[c] - weights[k] * means[k]) / (weights[c] + weights[k])
            pixel = int(apart.argmax())
            best = max(best, (float(apart[pixel]), pixel, int(c), int(k)))
    value, pixel, c, k = best
    if weights[c] * means[c, pixel] < weights[k] * means[k, pixel]:
        c, k = k, c
    direction = np.zeros((x.shape[1], len(means)))
    direction[pixel, [c, k]] = 1.0, -1.0
    return _told(x, y, value, 0.0, direction, (c, k), pixel, weights)


def _enclosing_ball(
    x: np.ndarray, y: np.ndarray, means: np.ndarray, weights: np.ndarray, present: np.ndarray
) -> EpsBar:
    """l_2: the best centre, by its dual max over λ in the simplex of min over a of Σ λ_c ‖μ_c − a / α_c‖².

    The root of the dual at any λ is a lower bound, the largest distance from any centre an upper one.
    """
    from scipy.optimize import minimize

    empty = present[weights[present] == 0]
    if len(empty):  # a class without examples stands for {0}: there is no choice of a centre
        far = np.linalg.norm(means, axis=1)
        c = int(far.argmax())
        direction = np.zeros((x.shape[1], len(means)))
        direction[:, c], direction[:, empty[0]] = means[c], -means[c]
        return _told(x, y, float(far[c]), 0.0, direction, (c,), -1, weights)
    points, size = (weights[:, None] * means)[present], weights[present]
    scale = np.linalg.norm(points - points.mean(axis=0), axis=1).max() or 1.0

    def squares(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pull = np.abs(parts) / size**2
        away = (points - pull @ points / pull.sum()) / scale
        return (away**2).sum(axis=1) / size**2, pull[:, None] * away

    solved = minimize(
        lambda parts: -(parts @ squares(parts)[0]),
        np.full(len(size), 1 / len(size)),
        jac=lambda parts: -squares(parts)[0],
        method="SLSQP",
        bounds=[(0, 1)] * len(size),
        constraints=[{"type": "eq", "fun": lambda parts: parts.sum() - 1, "jac": np.ones_like}],
        options={"maxiter": 1000, "ftol": 1e-16},
    )
    parts = np.maximum(solved.x, 0) / np.maximum(solved.x, 0).sum()
    far, pulled = squares(parts)
    lower, upper = scale * math.sqrt(parts @ far), scale * math.sqrt(far.max())
    if not upper - lower <= 1e-3 * max(upper, 1e-30):
        raise NumericalError(
            f"eps_bar under l2 lies between {lower:.6g} and {upper:.6g}: no better was found"
        )
    direction = np.zeros((x.shape[1], len(means)))
    direction[:, present] = pulled.T
    decide = tuple(int(c) for c in present[parts > 1e-6])
    return _told(x, y, (upper + lower) / 2, (upper - lower) / 2, direction, decide, -1, weights)


def _in_box(
    x: np.ndarray, y: np.ndarray, means: np.ndarray, weights: np.ndarray, present: np.ndarray
) -> EpsBar:
    """l_inf in the box: the smallest eps at which the intervals of every pixel meet, by bisection.

    They grow with eps, and are no wider than without the box: pixels whose intervals meet at the lower end of
    the bracket are done with.
    """
    free = _intervals(x, y, means, weights, present)
    low, high = free.value, 1.0
    apart = _apart(x, y, low, weights, present)
    pixels = np.flatnonzero(apart) if apart.any() else np.array([free.pixel])
    if not apart.any():
        high = low
    while high - low > TIGHT:
        middle = (low + high) / 2
        apart = _apart(x[:, pixels], y, middle, weights, present)
        if apart.any():
            low, pixels = middle, pixels[apart]
        else:
            high = middle
    pixel = int(pixels[0])
    ends = _ends(x[:, [pixel]], y, low, weights)
    c, k = int(present[ends[0][present, 0].argmax()]), int(present[ends[1][present, 0].argmin()])
    direction = np.zeros((x.shape[1], len(means)))
    direction[pixel, c] += 1.0
    direction[pixel, k] -= 1.0
    middle = (low + high) / 2
    return _told(x, y, middle, (high - low) / 2, direction, (c, k), pixel, weights, box=True)


def _ends(x: np.ndarray, y: np.ndarray, eps: float, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lower and upper ends (K, m) of α_c M_c(eps)."""
    means = class_means(region(x, eps, box=True), y, len(weights))[1]
    return weights[:, None] * (means.centre - means.reach), weights[:, None] * (means.centre + means.reach)


def _apart(x: np.ndarray, y: np.ndarray, eps: float, weights: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Of each pixel (m,), whether the intervals have no point in common."""
    found = []
    for start in range(0, x.shape[1], PIXELS):
        lower, upper = _ends(x[:, start : start + PIXELS], y, eps, weights)
        found.append(lower[present].max(axis=0) > upper[present].min(axis=0))
    return np.concatenate(found)


def _told(
    x: np.ndarray,
    y: np.ndarray,
    value: float,
    error: float,
    direction: np.ndarray,
    classes: tuple[int, ...],
    pixel: int,
    weights: np.ndarray,
    *,
    box: bool = False,
) -> EpsBar:
    """The result with its sampling error, by the envelope theorem.

    eps_bar is where Σ_c α_c mean of (zᵀ of the x' that z pulls to) is 0; how far one example moves that.
    """
    variance, speed = 0.0, 0.0
    for c in np.flatnonzero(np.abs(direction).any(axis=0)):
        z, rows = direction[:, c], y == c
        if not rows.any():
            continue
        if box:
            own = x[rows][:, pixel]
            moved = np.maximum(own - value, 0.0) if z[pixel] > 0 else np.minimum(own + value, 1.0)
            free = (own > value) if z[pixel] > 0 else (own < 1 - value)
            reached, rate = moved * z[pixel], np.abs(z[pixel]) * free.mean()
        else:
            reached = x[rows] @ z
            rate = np.abs(z).sum() if pixel >= 0 else np.linalg.norm(z)
        n = int(rows.sum())
        variance += weights[c] ** 2 * (reached.var(ddof=1) / n if n > 1 else math.nan)
        speed += weights[c] * rate
    stderr = math.sqrt(variance) / float(speed) if speed else math.nan
    return EpsBar(value, error, stderr, direction, classes, pixel)
