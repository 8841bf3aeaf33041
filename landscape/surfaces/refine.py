"""Cells that need not be measured: predicted by a spline through a coarser grid, which is checked."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import make_interp_spline

LEAST = 16
"""Cells of a finer level that are measured to check the prediction, at least."""
SHARE = 0.1
"""Of the finer level's cells, where that is more."""


def spline(
    y: np.ndarray, x: np.ndarray, values: np.ndarray, at_y: np.ndarray, at_x: np.ndarray
) -> np.ndarray:
    """The bicubic spline through values (sheets, ny, nx, …), on a finer grid; of lower order for few."""
    for axis, (known, wanted) in enumerate(((y, at_y), (x, at_x)), start=1):
        if len(known) > 1:
            values = make_interp_spline(known, values, k=min(3, len(known) - 1), axis=axis)(wanted)
    return values


def sample(cells: np.ndarray, seed: int) -> np.ndarray:
    """The cells of a finer level that are measured first, drawn with a seed."""
    rng = np.random.Generator(np.random.Philox(key=[seed, 2**34]))
    count = min(len(cells), max(LEAST, round(SHARE * len(cells))))
    return np.sort(rng.choice(cells, count, replace=False))
