"""A data set as the theory takes it: inputs (n, m) in float64, labels (n,)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from landscape.data import Data


def arrays(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of the examples, images laid out as rows of pixels."""
    x = data.x.flatten(1).numpy()
    return (x / 255.0 if x.dtype == "uint8" else x.astype("float64")), data.y.numpy()


def mean(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error; the error of a single value is not known."""
    n = len(values)
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan


def share(hits: np.ndarray) -> tuple[float, float]:
    """A share and its standard error, from the (hits + 2) / (n + 4) of Agresti and Coull, never 0."""
    n = len(hits)
    shrunk = (hits.sum() + 2) / (n + 4)
    return float(hits.mean()), math.sqrt(shrunk * (1 - shrunk) / (n + 4))


def place(pixel: int, shape: tuple[int, ...]) -> str:
    """A pixel by its row and column, a channel first where there are several."""
    at = []
    for size in reversed(shape):
        pixel, here = divmod(pixel, size)
        at.append(here)
    at = at[::-1]
    return ", ".join(str(here) for here, size in zip(at, shape, strict=True) if size > 1 or len(shape) == 1)
