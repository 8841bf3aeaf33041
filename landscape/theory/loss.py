"""The adversarial loss of a linear model, between a lower bound that an input attains and an upper bound.

g_eps(x, W) = max over x' in S_eps(x) of log Σ_j exp((w_j − w_y)ᵀx'). A convex function attains its maximum at
an extreme point of S_eps(x). With two classes that is the x' of the smallest margin, in closed form. With
three under l_inf the image of the box under the two margins is a polygon, whose corners the loss is taken at:
exact as well. With more, finding the worst corner is hard in general, and what is told is an interval:

lower: the loss at the best corner that a local search finds, from a start for each class
upper: with H the entropy, log Σ exp(u_j) = max over p in the simplex of pᵀu + H(p), so

    g_eps = max over p of h(p) + H(p),  h(p) = max over S_eps(x) of (W p − w_y)ᵀx'  convex,

and a convex h lies below its linear interpolation on any simplex: on the whole one this puts each margin at
its own worst, and branching into smaller ones closes in on g_eps (`certified`).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, softmax, xlogy

from landscape.theory.region import ROWS, Region
from landscape.theory.sets import margins

Watch = Callable[[str, int, int], None]
CLIMBS = 40
"""Steps of the local search at most; each raises the loss, and a handful is enough."""


@dataclass(frozen=True, eq=False)
class Bounds:
    """The adversarial loss of each example lies in [lower, upper], both (n,); exact where they are the same.

    lower is attained: it is the loss at an input of S_eps(x)
    """

    lower: np.ndarray
    upper: np.ndarray
    exact: bool


def bounds(W: np.ndarray, regions: Region, y: np.ndarray, *, watch: Watch | None = None) -> Bounds:
    """The adversarial loss of each example: exact for two classes, and for three under l_inf."""
    own_worst = margins(W, regions, y)
    upper = logsumexp(own_worst, axis=1)
    if W.shape[1] == 2 or not regions.reach.any():
        return Bounds(upper, upper, True)
    if W.shape[1] == 3 and regions.norm == "linf":
        exact = corners_of_three(W, regions, y)
        return Bounds(exact, exact, True)
    lower = np.empty(len(y))
    for start in range(0, len(y), ROWS):
        rows = slice(start, start + ROWS)
        lower[rows] = found_corners(W, regions[rows], y[rows])[0]
        if watch:
            watch("adversarial loss", min(start + ROWS, len(y)), len(y))
    return Bounds(lower, np.maximum(upper, lower), False)


def found_corners(W: np.ndarray, regions: Region, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest loss (n,) that a local search finds, and the class probabilities p (n, K) there.

    x' ← the corner that pᵀu rises to, p ← softmax(u(x')): every step raises the loss, for it is convex, until
    none does. It starts at the p of every class alone, and at that of all margins at their own worst.
    """
    n, classes = len(y), W.shape[1]
    best, where = np.full(n, -np.inf), np.full((n, classes), 1 / classes)
    for start in (None, *range(classes)):
        if start is None:
            p = softmax(margins(W, regions, y), axis=1)
        else:
            p = np.broadcast_to(np.eye(classes)[start], (n, classes)).copy()
        loss, p = _climb(W, regions, y, p)
        better = loss > best
        best[better], where[better] = loss[better], p[better]
    return best, where


def _climb(W: np.ndarray, regions: Region, y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    loss = np.full(len(y), -np.inf)
    moving = np.arange(len(y))
    for _ in range(CLIMBS):
        some, label = regions[moving], y[moving]
        logits = some.worst_logits(p[moving] @ W.T - W[:, label].T, W)
        u = logits - logits[np.arange(len(label)), label][:, None]
        there = logsumexp(u, axis=1)
        risen = there > loss[moving] + 1e-12
        moving, u = moving[risen], u[risen]
        loss[moving], p[moving] = there[risen], softmax(u, axis=1)
        if not len(moving):
            break
    return loss, p


def corners_of_three(W: np.ndarray, regions: Region, y: np.ndarray) -> np.ndarray:
    """The exact loss (n,) of three classes under l_inf.

    With a, b the differences of the other classes' columns and y's, the worst x' is centre + reach ·
    sign(a cos φ + b sin φ) for some φ in [0, π/2], since a convex function that rises in both margins is
    largest where a direction p ≥ 0 is. At most m of its signs turn on the way: m + 1 corners, sorted by φ.
    """
    found = np.empty(len(y))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        pair = np.delete(W - W[:, [label]], label, axis=1)  # (m, 2)
        first = np.where(pair[:, 0] != 0, np.sign(pair[:, 0]), np.sign(pair[:, 1]))
        turning = np.flatnonzero(pair[:, 0] * pair[:, 1] < 0)
        angle = np.arctan2(np.abs(pair[turning, 0]), np.abs(pair[turning, 1]))
        turning = turning[np.argsort(angle)]
        change = -2 * (first[:, None] * pair)[turning]  # of the two margins, when that sign turns
        for start in range(0, len(rows), ROWS):
            some = regions[rows[start : start + ROWS]]
            reach = np.broadcast_to(some.reach, some.centre.shape)
            at = (some.centre + reach * first) @ pair
            steps = np.cumsum(reach[:, turning, None] * change, axis=1)
            corners = np.concatenate([at[:, None], at[:, None] + steps], axis=1)  # (n, corners, 2)
            zero = np.zeros((*corners.shape[:2], 1))
            found[rows[start : start + ROWS]] = logsumexp(
                np.concatenate([corners, zero], axis=2), axis=2
            ).max(1)
    return found


def certified(
    W: np.ndarray, regions: Region, y: np.ndarray, *, nodes: int = 200, watch: Watch | None = None
) -> Bounds:
    """`bounds`, but with upper bounds by branch and bound over p; for few examples: it takes each by itself.

    nodes: simplices that are cut in two for each example, the one with the largest bound first
    """
    rough = bounds(W, regions, y)
    if rough.exact:
        return rough
    upper = rough.upper.copy()
    for i, label in enumerate(y):
        upper[i] = _branched(W - W[:, [label]], regions[i : i + 1], rough.lower[i], upper[i], nodes)
        if watch:
            watch("certified loss", i + 1, len(y))
    return Bounds(rough.lower, upper, False)


def _branched(A: np.ndarray, one: Region, lower: float, upper: float, nodes: int) -> float:
    """An upper bound of max h(p) + H(p), the largest of those of the simplices that are left."""
    classes = A.shape[1]

    def h(p: np.ndarray) -> np.ndarray:
        return one.supports(A @ p.T)[0]

    corners = np.eye(classes)
    values = h(corners)
    queue = [(-upper, 0, corners, values, _envelope(corners, values)[1])]
    first, second = np.triu_indices(classes, 1)
    for node in range(nodes):
        if -queue[0][0] - lower <= 1e-9 * max(1.0, abs(lower)):
            break
        bound, _, corners, values, weights = heapq.heappop(queue)
        middles = (corners[first] + corners[second]) / 2
        there = h(middles)
        # The edge on which the interpolation is farthest off, where the maximum puts its weight.
        off = ((values[first] + values[second]) / 2 - there) * np.minimum(weights[first], weights[second])
        edge = int(off.argmax())
        for end in (first[edge], second[edge]):
            cut, heights = corners.copy(), values.copy()
            cut[end], heights[end] = middles[edge], there[edge]
            found, share = _envelope(cut, heights)
            heapq.heappush(
                queue, (max(bound, -found), 2 * node + 1 + (end == second[edge]), cut, heights, share)
            )
    return max(-queue[0][0], lower)


def _envelope(corners: np.ndarray, values: np.ndarray, steps: int = 25) -> tuple[float, np.ndarray]:
    """An upper bound of max over λ of λᵀvalues + H(λᵀcorners), and λ (K,), by Blahut and Arimoto's steps.

    H(p) ≤ −Σ p_j log q_j for every q > 0: any q bounds it, by the corner where that is largest.
    """
    share = np.full(len(values), 1 / len(values))
    best = math.inf
    for _ in range(steps):
        q = np.maximum(corners.T @ share, 1e-300)
        each = values - xlogy(corners, q).sum(axis=1)
        best = min(best, float(each.max()))
        share = share * np.exp(each - each.max())
        share /= share.sum()
    return best, share


def entropy(p: np.ndarray) -> np.ndarray:
    """H(p) of each row, in nats."""
    return -xlogy(p, p).sum(axis=1)
