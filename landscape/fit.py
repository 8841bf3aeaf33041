"""A straight line through values that span decades, with the errors of its intercept and slope."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Line:
    """values ≈ a + b h.

    found, errors: (2,) intercept a and slope b, and their standard errors from the misfit
    misfit: root of the mean of (y − f)² / (y f): how far the values are off the line, relatively
    """

    found: np.ndarray
    errors: np.ndarray
    misfit: float


def line(h: np.ndarray, values: np.ndarray, like: np.ndarray | None = None) -> Line:
    """The line that is nearest to values (m,) at h (m,), m ≥ 3.

    Radii span decades, and so do the values: what is least is Σ (y − f)² / (y f) ≈ Σ log²(y / f), by
    iteration over the weights. Divided by f² a large f would cost nothing, by y² a small one.

    like: values (m,) of the same sizes to take the weights from, where some of these may vanish
    """
    design = np.stack([np.ones_like(h), h], axis=1)
    sizes = np.abs(values if like is None else like)
    if not sizes.any():
        return Line(np.zeros(2), np.zeros(2), 0.0)
    smallest = 1e-3 * sizes[sizes > 0].min()
    expected = sizes = np.maximum(sizes, smallest)
    for _ in range(200):
        weights = 1 / np.sqrt(sizes * expected)
        found = _least(design * weights[:, None], values * weights)
        following = np.maximum(design @ found, smallest)
        if like is not None or np.allclose(following, expected, rtol=1e-10, atol=0):
            break
        expected = following
    off = weights * (values - design @ found)
    scaled = design * weights[:, None]
    lengths = np.linalg.norm(scaled, axis=0)
    inverse = np.linalg.pinv(scaled / lengths) / lengths[:, None]
    errors = np.linalg.norm(inverse, axis=1) * np.sqrt((off @ off) / (len(h) - 2))
    return Line(found, errors, float(np.sqrt((off**2).mean())))


def _least(design: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Least squares with columns of one length: radii may span decades."""
    lengths = np.linalg.norm(design, axis=0)
    return np.linalg.lstsq(design / lengths, values, rcond=None)[0] / lengths
