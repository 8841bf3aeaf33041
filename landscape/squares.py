"""Squared weight gradients of single examples, from a layer's inputs and the gradients δ of its outputs.

Each layer is called with δ (K, B, …) for K columns and weights μ (K, B). Of μ times the squared gradient,
summed over the columns, it returns the sum over the examples in the shape of its weight, and the sum over the
weight for each example (B,).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST = 2**25
"""Numbers in the largest intermediate result; more examples than that allows are taken in turn."""


@dataclass(frozen=True, eq=False)
class Linear:
    """Weight gradient of an example: δ aᵀ, so its square is δ² (a²)ᵀ."""

    x: Tensor
    turned: bool

    def __call__(self, delta: Tensor, curvature: Tensor) -> tuple[Tensor, Tensor]:
        outputs, inputs = torch.einsum("kb,kbo->bo", curvature, delta.square()), self.x.square()
        squared = outputs.T @ inputs
        return squared if self.turned else squared.T, outputs.sum(dim=1) * inputs.sum(dim=1)


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """Weight gradient of an example: Σ over positions of δ times the normalised input."""

    x: Tensor

    def __call__(self, delta: Tensor, curvature: Tensor) -> tuple[Tensor, Tensor]:
        return shift(delta * self.x, curvature)


@dataclass(frozen=True, eq=False)
class Convolution:
    """Weight gradient of an example: δ (out, positions) times the patches (positions, in · kernel)."""

    x: Tensor
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    shape: torch.Size

    def __call__(self, delta: Tensor, curvature: Tensor) -> tuple[Tensor, Tensor]:
        columns, examples, g = len(delta), len(self.x), self.groups
        outputs, size = self.shape[0] // g, math.prod(self.shape[1:])
        x = self.x if self.x.ndim == 4 else self.x[:, :, None]
        kernel = tuple(self.shape[2:]) if len(self.shape) == 4 else (1, self.shape[2])
        result = torch.zeros(g * outputs, size, dtype=delta.dtype, device=delta.device)
        each = torch.zeros(examples, dtype=delta.dtype, device=delta.device)
        step = max(1, LARGEST // (columns * self.shape[0] * size))
        for first in range(0, examples, step):
            rows = slice(first, first + step)
            patches = F.unfold(x[rows], kernel, self.dilation, self.padding, self.stride)
            patches = patches.view(len(patches), g, size, -1).transpose(2, 3)
            # The root of |μ| goes into δ before the square, its sign after: one product serves all columns.
            d = delta[:, rows].flatten(3) * curvature[:, rows].abs().sqrt()[:, :, None, None]
            d = d.view(columns, -1, g, outputs, d.shape[-1]).permute(1, 2, 0, 3, 4)
            squared = (d.reshape(*d.shape[:2], columns * outputs, -1) @ patches).square()
            squared = squared.view(-1, g, columns, outputs, size)
            signs = curvature[:, rows].sign().T
            result += torch.einsum("bk,bgkos->gos", signs, squared).reshape(g * outputs, size)
            each[rows] = (signs * squared.sum(dim=(1, 3, 4))).sum(dim=1)
        return result, each


def shift(delta: Tensor, curvature: Tensor) -> tuple[Tensor, Tensor]:
    """The same for a bias, whose gradient is the sum of δ over positions."""
    gradient = delta.flatten(3).sum(dim=3) if delta.ndim > 3 else delta
    squared = torch.einsum("kb,kbo->bo", curvature, gradient.square())
    return squared.sum(dim=0), squared.sum(dim=1)
