"""A straight line through values that span decades, with the errors of its intercept and slope."""

from __future__ import annotations

import numpy as np


def line(h: np.ndarray, values: np.ndarray, like: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Intercept and slope (2,) of values ≈ a + b h, and their standard errors (2,) from the misfit.

    Radii span decades, and so do the values: what is least is Σ (y − f)² / (y f) ≈ Σ log²(y / f), by
    iteration over the weights. Divided by f² a large f would cost nothing, by y² a small one.

    like: values (m,) of the same sizes to take the weights from, where some of these may vanish
    """
    design = np.stack([np.ones_like(h), h], axis=1)
    sizes = np.abs(values if like is None else like)
    if not sizes.any():
        return np.zeros(2), np.zeros(2)
    smallest = 1e-3 * sizes[sizes > 0].min()
    expected = sizes = np.maximum(sizes, smallest)
    for _ in range(200):
        weights = 1 / np.sqrt(sizes * expected)
        found = np.linalg.lstsq(design * weights[:, None], values * weights, rcond=None)[0]
        following = np.maximum(design @ found, smallest)
        if like is not None or np.allclose(following, expected, rtol=1e-10, atol=0):
            break
        expected = following
    misfit = weights * (values - design @ found)
    scaled = design * weights[:, None]
    covariance = np.linalg.inv(scaled.T @ scaled) * (misfit @ misfit) / (len(h) - 2)
    return found, np.sqrt(np.diag(covariance))
