"""Which models are robust at an example, V_eps, and along which nothing beats the constant classifier, T_eps.

    V_eps = {W : (w_j − w_y)ᵀx' ≤ 0 for all j, all x' in S_eps(x)}
    T_eps = {W : 0 is in argmin over γ of g_eps(x, γ W)},  g_eps the adversarial loss

Both are cones. With v = Σ_j w_j − K w_y the slope of γ ↦ g_eps(x, γ W) at 0 is max vᵀx' / K to the right and
−max (−v)ᵀx' / K to the left; as g_eps is convex, W is in T_eps just if neither leads down.
"""

from __future__ import annotations

import numpy as np

from landscape.theory.region import ROWS, Region, class_means


def margins(W: np.ndarray, regions: Region, y: np.ndarray) -> np.ndarray:
    """max over S_eps(xᵢ) of (w_j − w_y)ᵀx' for each class j (n, K), each at its own worst; 0 for j = y."""
    found = np.zeros((len(y), W.shape[1]))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        directions = W - W[:, [label]]
        for start in range(0, len(rows), ROWS):
            some = rows[start : start + ROWS]
            found[some] = regions[some].supports(directions)
        found[rows, label] = 0.0
    return found


def in_version_space(W: np.ndarray, regions: Region, y: np.ndarray) -> np.ndarray:
    """For each example (n,) whether W is in its V_eps: no x' in S_eps(x) has a larger logit than y's.

    Ties count as robust, as in the paper: W = 0 is in every V_eps.
    """
    return margins(W, regions, y).max(axis=1) <= 0.0


def robust(W: np.ndarray, regions: Region, y: np.ndarray) -> np.ndarray:
    """For each example (n,) whether every x' in S_eps(x) is classified rightly, ties counted as wrong."""
    found = margins(W, regions, y)
    found[np.arange(len(y)), y] = -np.inf
    return found.max(axis=1) < 0.0


def in_T(W: np.ndarray, regions: Region, y: np.ndarray) -> np.ndarray:
    """For each example (n,) whether W is in its T_eps."""
    found = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        v = (W.sum(axis=1) - W.shape[1] * W[:, label])[:, None]
        found[rows] = (regions[rows].supports(np.hstack([v, -v])) >= 0.0).all(axis=1)
    return found


def slopes_at_zero(W: np.ndarray, counts: np.ndarray, means: Region) -> tuple[float, float]:
    """The slopes of γ ↦ L_eps(γ W) and γ ↦ L_eps(−γ W) at 0, to the right, exact.

    counts, means: what `class_means` says of the data
    """
    K = W.shape[1]
    v = (W.sum(axis=1, keepdims=True) - K * W) / K
    reached = np.stack([np.diag(means.supports(s * v)) for s in (1.0, -1.0)])
    up, down = reached @ counts / counts.sum()
    return float(up), float(down)


def in_T_of_data(W: np.ndarray, regions: Region, y: np.ndarray) -> bool:
    """Whether W is in T_eps of the data set: no γ W has a smaller L_eps, its mean loss, than 0."""
    return min(slopes_at_zero(W, *class_means(regions, y, W.shape[1]))) >= 0.0
