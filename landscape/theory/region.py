"""Where an input may be moved to, S_eps(x), as linear functions see it: how far each reaches there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from landscape.errors import InputError

ROWS = 256
"""Examples at once: their arrays stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Region:
    """S_eps(xᵢ) for n inputs: boxes centre ± reach for l_inf, balls of radius `reach` for l_2.

    centre: (n, m) the inputs, or with the box of valid inputs the middles of what is left of their boxes
    reach: half-widths (n, m), or one number for all
    """

    centre: np.ndarray
    reach: np.ndarray
    norm: str = "linf"

    def __len__(self) -> int:
        return len(self.centre)

    def __getitem__(self, rows: slice | np.ndarray) -> Region:
        reach = self.reach[rows] if self.reach.ndim else self.reach
        return replace(self, centre=self.centre[rows], reach=reach)

    def pixels(self, chosen: np.ndarray) -> Region:
        """The same regions, seen by functions of the chosen pixels alone."""
        reach = self.reach[:, chosen] if self.reach.ndim else self.reach
        return replace(self, centre=self.centre[:, chosen], reach=reach)

    def supports(self, directions: np.ndarray) -> np.ndarray:
        """max over x' in S_eps(xᵢ) of v·x' (n, k), for k directions v (m, k) that all inputs share."""
        middle = self.centre @ directions
        if self.norm == "l2":
            return middle + self.reach * np.linalg.norm(directions, axis=0)
        if self.reach.ndim:
            return middle + self.reach @ np.abs(directions)
        return middle + self.reach * np.abs(directions).sum(axis=0)

    def worst(self, v: np.ndarray, smoothing: float = 0.0) -> np.ndarray:
        """The x' (n, m) that attain max vᵢ·x' for a direction of each input, v (n, m).

        smoothing: μ of vᵢ² + μ² in place of vᵢ² wherever |vᵢ| stands: x' stays in the region, and follows v
            without a jump
        """
        return self.centre + self.reach * self._ascent(v, smoothing)

    def worst_logits(self, v: np.ndarray, W: np.ndarray, smoothing: float = 0.0) -> np.ndarray:
        """Wᵀx' (n, K) of these x'."""
        return self.worst(v, smoothing) @ W

    def smooth_support(self, v: np.ndarray, smoothing: float) -> np.ndarray:
        """The support (n,) of a direction of each input, from below: |·| smoothed to √(·² + μ²) − μ."""
        middle = np.einsum("im,im->i", v, self.centre)
        if self.norm == "l2":
            return middle + self.reach * (np.hypot(np.linalg.norm(v, axis=1), smoothing) - smoothing)
        size = np.abs(v) if not smoothing else np.sqrt(v * v + smoothing**2) - smoothing
        if self.reach.ndim:
            return middle + np.einsum("im,im->i", size, self.reach)
        return middle + self.reach * size.sum(axis=1)

    def _ascent(self, v: np.ndarray, smoothing: float) -> np.ndarray:
        if self.norm == "linf":
            return v / np.sqrt(v * v + smoothing**2) if smoothing else np.sign(v)
        length = np.sqrt((v * v).sum(axis=1, keepdims=True) + smoothing**2)
        return np.divide(v, length, out=np.zeros_like(v), where=length > 0)


def region(x: np.ndarray, eps: float, norm: str = "linf", *, box: bool = False) -> Region:
    """S_eps(x) = {x' : ‖x' − x‖ ≤ eps}, as in the paper's theory.

    box: only the x' in [0, 1]^m, as images are; l_inf alone
    """
    check(norm, box)
    if not (np.isfinite(eps) and eps >= 0):
        raise InputError(f"eps = {eps} is not possible; give a number from 0, in pixels of [0, 1]")
    x = np.asarray(x, dtype=np.float64)
    if not box:
        return Region(x, np.array(float(eps)), norm)
    lower, upper = np.maximum(x - eps, 0.0), np.minimum(x + eps, 1.0)
    return Region((lower + upper) / 2, (upper - lower) / 2, norm)


def check(norm: str, box: bool) -> None:
    """Raise for what has no closed form."""
    if norm not in ("linf", "l2"):
        raise InputError(f"norm {norm!r} is not known; use one of linf, l2")
    if box and norm == "l2":
        raise InputError("the box [0, 1] under l2 has no closed form; leave --box away, or use linf")


def class_means(regions: Region, y: np.ndarray, classes: int) -> tuple[np.ndarray, Region]:
    """How many examples each class has (K,), and the mean of its regions as one region (K, m).

    The support function of a Minkowski mean is the mean of the support functions. So for a direction that a
    class shares, its mean region says all that its examples do. A class without examples has {0}.
    """
    counts = np.bincount(y, minlength=classes)
    share = np.zeros((classes, len(y)))
    share[y, np.arange(len(y))] = 1 / counts[y]
    if regions.reach.ndim:
        reach = share @ regions.reach
    elif regions.norm == "linf":
        reach = np.where(counts[:, None] > 0, regions.reach, 0.0) * np.ones_like(regions.centre[:1])
    else:
        reach = np.where(counts[:, None] > 0, regions.reach, 0.0)
    return counts, Region(share @ regions.centre, reach, regions.norm)
