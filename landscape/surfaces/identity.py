"""What the values of a surface depend on: a scan that is carried on must have the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from landscape._version import __version__
from landscape.axes import Axis
from landscape.losses import name_of
from landscape.normalization import of_module
from landscape.objective import Point
from landscape.surfaces.cells import Sheet
from landscape.surfaces.lattice import Lattice
from landscape.surfaces.settings import Settings


def identity(
    point: Point, lattice: Lattice, sheets: Sequence[Sheet], settings: Settings, *, line: bool
) -> dict[str, Any]:
    """Weights, model, data, directions, grid, budgets, settings and versions, by name, as JSON values."""
    o = point.objective
    told: dict[str, Any] = {
        "eps": [str(sheet.budget) for sheet in sheets],
        "x": lattice.x.tolist(),
        "y": None if line else lattice.y.tolist(),
        "data": o.data.sha256,
        "model": architecture(point),
        "normalization": found.exact if (found := of_module(o.network.module)) else "none",
        "weights": _digest(map(_bytes, [lattice.theta, *o.network.rest().values()])),
        "directions": _digest(map(_bytes, _vectors(lattice.axes))),
        "loss": name_of(o.loss),
        "precision": f"{lattice.theta.dtype} on {lattice.theta.device.type}",
        "versions": f"landscape {__version__}, torch {torch.__version__}",
        "bn": settings.bn,
        "refine": settings.refine,
    }
    if any(sheet.budget.eps for sheet in sheets):
        told |= {"attack": repr(o.attack), **vars(settings)}
    return told


def architecture(point: Point) -> str:
    """The model's class with a digest of its layers as they print."""
    module = point.objective.network.module
    return f"{type(module).__qualname__} {_digest([repr(module).encode()])}"


def _vectors(axes: Sequence[Axis]) -> Iterator[Tensor]:
    for axis in axes:
        yield axis.vector
        if axis.end is not None:
            yield axis.end
        yield from (other for _, other in axis.rest.values())


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()
