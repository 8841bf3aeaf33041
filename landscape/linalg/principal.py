"""The principal components of a few long vectors, from their inner products."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NOISE = 1e-6
"""A component shorter than this share of the first is taken for rounding."""
BLOCK = 2**20
"""Entries of each vector that are held in float64 at a time."""


def principal(origin: Tensor, points: Sequence[Tensor], count: int) -> tuple[list[Tensor], list[float]]:
    """The first principal components of T points (P,) about an origin (P,), and the share that each explains.

    D = U S Vᵀ with the differences from the origin in the rows of D (T, P), no mean taken off: unit vectors
    v_k (P,), float64, and s_k² / Σ s². The first point with a coordinate along v_k has a positive one. Fewer
    than `count` where the points span less, to the rounding of their entries.

    U and S come from D Dᵀ (T, T), so that beside the points only the components are held.
    """

    def steps(first: int) -> Tensor:
        rows = slice(first, first + BLOCK)
        return torch.stack([point[rows].double() for point in points]) - origin[rows].double()

    gram = torch.zeros(len(points), len(points), dtype=torch.float64, device=origin.device)
    for first in range(0, len(origin), BLOCK):
        block = steps(first)
        gram += block @ block.T
    squares, shares = (found.flip(-1) for found in torch.linalg.eigh(gram))
    squares = squares.clamp_min(0)
    rounding = torch.finfo(origin.dtype).eps * origin.double().norm() * len(points) ** 0.5
    resolved = squares.sqrt() > torch.maximum(NOISE * squares[0].sqrt(), rounding)
    vectors, explained = [], []
    for k in range(min(count, int(resolved.sum()))):
        share = shares[:, k] * _sign(shares[:, k])
        vector = torch.cat([share @ steps(first) for first in range(0, len(origin), BLOCK)])
        vectors.append(vector / vector.norm())
        explained.append((squares[k] / squares.sum()).item())
    return vectors, explained


def _sign(coordinates: Tensor) -> float:
    """The sign of the first coordinate that is not 0 to rounding."""
    clear = coordinates[coordinates.abs() > NOISE * coordinates.abs().max()]
    return -1.0 if clear[0] < 0 else 1.0
