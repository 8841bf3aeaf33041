"""The gradients of single examples, known by their lengths and by their projections on given vectors.

A gradient has P numbers, and n × P of them fit nowhere: those of a few examples exist at a time, and are gone
when their lengths and projections are known.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.data import CHUNK
from landscape.errors import NumericalError
from landscape.objective import Point, exact_arithmetic

NUMBERS = 2**23
"""Numbers of gradients that are held at a time: with 4 times as many a LeNet takes twice as long."""
FEW = 4
"""Examples on which vectorised gradients are compared with plain ones."""

Slopes = Callable[[slice], list[Tensor]]
"""The gradients of some rows, one tensor (B, …) for each parameter."""


@dataclass(frozen=True, eq=False)
class PerExample:
    """The gradients gᵢ = ∇ℓᵢ(θ) of a point's examples on its perturbed data, float64.

    norms: (n,) ‖gᵢ‖
    projections: (n, m) ⟨gᵢ, v_j⟩
    direction: (P,) the mean of gᵢ / ‖gᵢ‖ over the examples with gᵢ ≠ 0, if asked for
    one_by_one: why each example took a backward pass of its own; "" where they are vectorised
    """

    norms: Tensor
    projections: Tensor
    direction: Tensor | None
    one_by_one: str


def gradients(point: Point, vectors: Tensor, *, direction: bool = False) -> PerExample:
    """Lengths of the examples' gradients and their projections on the columns of vectors (P, m).

    Costs the time of three plain gradients. Products are summed in the working precision in each parameter
    and in float64 across them. A model that torch cannot vectorise, or vectorises wrongly on the first
    examples, is differentiated one example at a time.

    direction: whether to average the directions of the gradients as well
    """
    network = point.objective.network
    columns = [network.parts(v) for v in vectors.to(point.theta).T]
    sides = [torch.stack([c.reshape(-1) for c in one], dim=1) for one in zip(*columns, strict=True)]
    slopes, rows, reason = _slopes(point)
    norms, projections = [], []
    summed = torch.zeros(len(network) if direction else 0, dtype=torch.float64, device=point.theta.device)
    with exact_arithmetic():
        for few in point.perturbed.chunks(rows):
            each = [s.reshape(len(s), -1) for s in slopes(few)]
            squares = sum(torch.linalg.vector_norm(s, dim=1).double() ** 2 for s in each)
            norms.append(torch.as_tensor(squares).sqrt())
            if sides:
                across = zip(each, sides, strict=True)
                projections.append(torch.stack([(s @ v).double() for s, v in across]).sum(dim=0))
            if direction:
                inverse = torch.where(norms[-1] > 0, 1 / norms[-1], 0.0).to(point.theta)
                summed += torch.cat([inverse @ s for s in each])
            point.objective.watch("gradients of examples", few.stop, len(point.perturbed))
    found = torch.cat(norms)
    if not torch.isfinite(found).all():
        raise NumericalError("the gradient of an example contains NaN or infinity")
    none = torch.zeros(len(found), 0, dtype=torch.float64, device=found.device)
    mean = summed / (found > 0).sum().clamp_min(1) if direction else None
    return PerExample(found, torch.cat(projections) if sides else none, mean, reason)


def differences(points: Sequence[Point]) -> dict[tuple[int, int], Tensor]:
    """‖∇ℓᵢ at one point − ∇ℓᵢ at another‖ of each example (n,), float64, for each pair of points.

    The points have the same network and weights, and the same examples, each perturbed in its own way.
    """
    first, rows, reason = _slopes(points[0])
    slopes = [first, *((_plain if reason else _vectorised)(point) for point in points[1:])]
    pairs = list(itertools.combinations(range(len(points)), 2))
    found: dict[tuple[int, int], list[Tensor]] = {pair: [] for pair in pairs}
    with exact_arithmetic():
        for few in points[0].perturbed.chunks(rows):
            each = [one(few) for one in slopes]
            for i, j in pairs:
                apart = [(a - b).flatten(1).double() for a, b in zip(each[i], each[j], strict=True)]
                found[i, j].append(torch.stack([a.square().sum(dim=1) for a in apart]).sum(dim=0).sqrt())
    return {pair: torch.cat(parts) for pair, parts in found.items()}


def _slopes(point: Point) -> tuple[Slopes, int, str]:
    """A way to the gradients of some rows, of how many rows at a time, and why it is not the fast one."""
    few = max(1, NUMBERS // len(point.theta))
    # A power of two, for it divides a chunk.
    rows = min(1 << few.bit_length() - 1, CHUNK, point.objective.batch_size)
    plain = _plain(point)
    slopes, first = _vectorised(point), slice(0, min(FEW, rows, len(point.perturbed)))
    try:
        found = slopes(first)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a model is the user's own code
        told = " ".join(str(error).split(". ")[0].split())
        return plain, 1, f"torch cannot vectorise the model ({type(error).__name__}: {told})"
    off, size = 0.0, 0.0
    with exact_arithmetic():
        for i in range(first.stop):
            for ours, true in zip(found, plain(slice(i, i + 1)), strict=True):
                off += (ours[i] - true[0]).double().square().sum().item()
                size += true.double().square().sum().item()
    # Not of each example alone: of one whose loss is almost 0 the gradient is mostly rounding.
    if not off <= torch.finfo(point.theta.dtype).eps * size:
        return plain, 1, "torch's vectorised gradients of the model are not its gradients"
    return slopes, rows, ""


def _plain(point: Point) -> Slopes:
    """A backward pass for one example at a time."""
    leaves = point.leaves()

    def slopes(one: slice) -> list[Tensor]:
        found = point.first_derivatives(one, leaves, create_graph=False)
        return [(torch.zeros_like(p) if f is None else f)[None] for f, p in zip(found, leaves, strict=True)]

    return slopes


def _vectorised(point: Point) -> Slopes:
    def loss(parts: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
        return point.objective.losses(parts, x[None], y[None])[0]

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    parts = [part.detach() for part in point.parts]

    def slopes(rows: slice) -> list[Tensor]:
        x, y = point.perturbed.inputs(rows, point.theta)
        with warnings.catch_warnings(), torch.enable_grad(), exact_arithmetic():
            warnings.filterwarnings("ignore", message="There is a performance drop")
            found = each(parts, x, y)
        point.objective.work["gradient"] += len(y)
        return [f.detach() for f in found]

    return slopes
