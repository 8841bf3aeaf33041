"""What the solvers ask of a symmetric matrix, and the random vectors that they start from."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Operator(Protocol):
    """A symmetric matrix (P, P) known by its products with vectors (P,) and blocks of vectors (P, K)."""

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...
    def __matmul__(self, v: Tensor, /) -> Tensor: ...


def generator(seed: int, purpose: int) -> np.random.Generator:
    """A generator for each purpose of each seed: starts and probes are independent of one another."""
    return np.random.Generator(np.random.Philox(key=[seed, purpose]))


def normal(rng: np.random.Generator, n: int, device: torch.device) -> Tensor:
    """n standard normal numbers (n,), float64."""
    return torch.from_numpy(rng.standard_normal(n)).to(device)
