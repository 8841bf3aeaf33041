"""A curve through parameter space from one point to another, bent by control points between them.

θ(t) = Σ_k b_k(t) θ_k for t in [0, 1], with weights that sum to 1: a Bezier curve or a polygonal chain
(Garipov et al., 1802.10026). A gradient in θ(t) is one in the control points: ∂L/∂θ_k = b_k(t) ∇L(θ(t)).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from landscape.errors import InputError

Kind = Literal["bezier", "polygon"]
MOST = 30
"""Bends of a curve: more than anybody trains; its weights are exact to rounding up to here."""
NODES = 64
"""Of the quadrature of a Bezier curve's length."""


@dataclass(frozen=True, eq=False)
class Curve:
    """θ(t) from the first control point to the last; those between are its bends.

    kind: "bezier", smooth, through its ends alone; "polygon", straight from point to point, each of these
        ways in an equal share of t
    points: the control points θ_k (P,) in their order, at least two
    rest: what the networks of the two ends have otherwise besides θ and differs, by name, as (first, last)
    """

    kind: Kind
    points: Sequence[Tensor]
    rest: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in ("bezier", "polygon"):
            raise InputError(f"curve {self.kind!r} is not known; there are bezier, polygon")
        shapes = {tuple(p.shape) for p in self.points}
        if len(self.points) < 2 or len(shapes) > 1:
            told = ", ".join(map(str, shapes)) or "none"
            raise InputError(
                f"{len(self.points)} control points of shape {told} came; a curve has 2 or more of one shape"
            )

    @property
    def bends(self) -> int:
        return len(self.points) - 2

    def weights(self, t: float) -> np.ndarray:
        """b_k(t) (K,): not negative, of sum 1, and those of an end exactly 1 and 0 there."""
        if not 0 <= t <= 1:
            raise InputError(f"t = {t}: a curve has points for t from 0 to 1")
        n = len(self.points) - 1
        if self.kind == "polygon":
            return np.maximum(0.0, 1.0 - np.abs(t * n - np.arange(n + 1)))
        return np.array([math.comb(n, k) * t**k * (1 - t) ** (n - k) for k in range(n + 1)])

    def at(self, t: float) -> Tensor:
        """θ(t) (P,), summed in float64 and rounded once: at the ends the control points, bit for bit."""
        found: Tensor | None = None
        for weight, theta in zip(self.weights(t), self.points, strict=True):
            if weight:
                part = theta.double() * weight
                found = part if found is None else found.add_(part)
        assert found is not None
        return found.to(self.points[0].dtype)

    def rest_at(self, t: float) -> dict[str, Tensor]:
        """What is not θ goes the straight way between the ends, and is theirs at the ends, bit for bit."""
        return {
            name: first
            if t == 0
            else last
            if t == 1
            else torch.lerp(first.double(), last.double(), t).to(first)
            for name, (first, last) in self.rest.items()
        }

    def length(self) -> float:
        """∫ ‖θ'(t)‖ dt. From inner products of the K − 1 steps between control points alone."""
        steps = [b.double() - a.double() for a, b in pairwise(self.points)]
        gram = np.array([[(u @ v).item() for v in steps] for u in steps])
        n = len(steps)
        if self.kind == "polygon":
            return float(np.sqrt(gram.diagonal()).sum())
        nodes, shares = np.polynomial.legendre.leggauss(NODES)
        speeds = Curve("bezier", [torch.empty(0)] * n) if n > 1 else None  # θ' is one of a degree less
        at = [speeds.weights((1 + node) / 2) if speeds else np.ones(1) for node in nodes]
        squared = np.array([n**2 * b @ gram @ b for b in at])
        return float(shares @ np.sqrt(np.maximum(squared, 0)) / 2)


def straight(
    kind: Kind,
    start: Tensor,
    end: Tensor,
    bends: int,
    rest: Mapping[str, tuple[Tensor, Tensor]] | None = None,
) -> Curve:
    """The straight line from start to end (P,) as a curve, its bends evenly on it: θ_k = A + k/n (B − A)."""
    if not 0 <= bends <= MOST:
        raise InputError(f"{bends} bends: give 0, a straight line, to {MOST}")
    n = bends + 1
    between = [torch.lerp(start.double(), end.double(), k / n).to(start.dtype) for k in range(1, n)]
    return Curve(kind, [start, *between, end], rest or {})
