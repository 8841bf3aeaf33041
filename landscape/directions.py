"""Directions in parameter space: the vectors (P,) along which a landscape is looked at.

What a user may type, `random`, `filter`, `gradient`, `eigenvector:2`, `FILE.h5:sharpness_0/vectors:0`, each a
function of the point that returns a vector. `along` makes unit vectors of a list of them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from landscape.errors import InputError, NumericalError
from landscape.linalg.eigen import eigsh
from landscape.linalg.operator import generator, normal
from landscape.objective import Point

KINDS = "random, filter, gradient, eigenvector:K, FILE.h5 or FILE.h5:DATASET:COLUMN"
RESOLVED = 0.1
"""Of a radius may be lost to the rounding of the weights."""


def parse_radii(written: str) -> np.ndarray:
    """The lengths (m,), ascending, of FROM:TO:COUNT, spaced evenly in log h, or of a list "0.01,0.1"."""
    try:
        if ":" in written:
            start, stop, count = written.split(":")
            low, high, m = float(start), float(stop), int(count)
            if not (0 < low < high < math.inf and m >= 2):
                raise ValueError
            return np.geomspace(low, high, m)
        found = np.array([float(part) for part in written.split(",")])
        if not ((found > 0) & (found < math.inf)).all() or len(set(found)) < len(found):
            raise ValueError
        return np.sort(found)
    except ValueError:
        raise InputError(
            f"radii {written!r}: they are lengths above 0, as FROM:TO:COUNT such as 1e-4:1:9, or a list such "
            "as 0.01,0.1"
        ) from None


def random(point: Point, number: int = 1, *, seed: int = 0) -> Tensor:
    """A vector (P,) of length 1, uniform over all directions; the `number`-th of a seed."""
    drawn = normal(generator(seed, purpose=100 + number), len(point.theta), point.theta.device)
    return drawn / drawn.norm()


def filter_normalised(point: Point, number: int = 1, *, seed: int = 0) -> Tensor:
    """A random vector (P,) whose filters have the lengths of the point's own (Li et al., 1712.09913).

    A filter is a row of a weight of two or more dimensions; biases and the parameters of normalisation stay
    where they are. Its length is about that of θ.
    """
    drawn = normal(generator(seed, purpose=100 + number), len(point.theta), point.theta.device)
    network, parts = point.objective.network, []
    for one, own in zip(network.parts(drawn), network.parts(point.theta.double()), strict=True):
        if own.ndim < 2:
            parts.append(torch.zeros(own.numel(), dtype=torch.float64, device=own.device))
            continue
        rows, lengths = one.reshape(len(one), -1), own.reshape(len(own), -1).norm(dim=1, keepdim=True)
        parts.append((rows * (lengths / rows.norm(dim=1, keepdim=True))).reshape(-1))
    return torch.cat(parts)


def gradient(point: Point) -> Tensor:
    """∇L_eps(θ) (P,): uphill."""
    return point.gradient.double()


def eigenvectors(point: Point, k: int, *, seed: int = 0) -> Tensor:
    """The k top eigenvectors (P, k) of ∇²L_eps(θ) at fixed perturbed data, each turned uphill.

    An eigenvector has no sign of its own: the loss rises along each, to first order.
    """
    watch = point.objective.watch
    found = eigsh(point.hessian, k, seed=seed, progress=lambda products, done: watch("eigenvectors", done, k))
    point.hessian.release()
    if not found.converged:
        raise NumericalError(
            f"the eigenvectors did not converge in {found.products} products; use other directions"
        )
    slopes = found.vectors.T @ point.gradient.double()
    return found.vectors * torch.where(slopes < 0, -1.0, 1.0)


def from_file(
    point: Point, path: str, dataset: str = "", column: int | None = None
) -> list[tuple[str, Tensor]]:
    """The vectors (P,) that an HDF5 file holds, each with its name.

    dataset: of shape (P,) or (P, k); by default the only one there is; column: by default all
    """
    size = len(point.theta)
    try:
        with h5py.File(path, "r") as file:
            there: dict[str, tuple[int, ...]] = {}
            file.visititems(
                lambda name, item: (
                    there.update({name: item.shape})
                    if isinstance(item, h5py.Dataset) and item.shape[:1] == (size,) and len(item.shape) <= 2
                    else None
                )
            )
            told = ", ".join(there) or "none"
            if dataset.strip("/") not in there and (dataset or len(there) != 1):
                what = (
                    f"no data set {dataset!r} of vectors" if dataset else f"{len(there)} data sets of vectors"
                )
                raise InputError(
                    f"{path} has {what} with {size:,} numbers, one for each parameter; there is {told}; "
                    "write FILE.h5:DATASET:COLUMN"
                )
            name = dataset.strip("/") or next(iter(there))
            vectors = np.asarray(file[name][()], dtype=np.float64).reshape(size, -1)
    except OSError as error:
        raise InputError(f"{path} could not be read as HDF5: {error.strerror or error}") from error
    if column is not None and not 0 <= column < vectors.shape[1]:
        raise InputError(f"{path}:{name} has {vectors.shape[1]} columns, counted from 0; {column} is none")
    columns = range(vectors.shape[1]) if column is None else [column]
    return [
        (f"{Path(path).name}:{name}:{j}", torch.from_numpy(vectors[:, j].copy()).to(point.theta.device))
        for j in columns
    ]


@dataclass(frozen=True)
class Direction:
    """What a user asked for: a kind and its number from 1 (of draws, of eigenvectors), or a file's part."""

    kind: str
    number: int = 1
    dataset: str = ""
    column: int | None = None


def parse(written: str) -> list[Direction]:
    """The directions of a list such as "random,eigenvector:1"; InputError tells what there is."""
    found = [_parse(part.strip()) for part in written.split(",") if part.strip()]
    if not found:
        raise InputError(f"no direction was given; there are {KINDS}")
    if len(set(found)) < len(found):
        raise InputError(f"directions {written} name one twice; give each once")
    return found


def along(point: Point, wanted: list[Direction], *, seed: int = 0, draw: int = 0) -> list[tuple[str, Tensor]]:
    """The unit vectors (P,), float64, that are asked for, each with its name.

    draw: moves random directions on to the next independent draw
    """
    top = max((d.number for d in wanted if d.kind == "eigenvector"), default=0)
    if top > len(point.theta):
        raise InputError(f"eigenvector:{top} of {len(point.theta):,} is not there")
    vectors = eigenvectors(point, top, seed=seed) if top else None
    found: list[tuple[str, Tensor]] = []
    for d in wanted:
        name = (
            d.kind if d.kind in ("gradient", "random", "filter") and d.number == 1 else f"{d.kind}:{d.number}"
        )
        if d.kind in ("random", "filter"):
            draws = random if d.kind == "random" else filter_normalised
            found.append((name, draws(point, d.number + 1000 * draw, seed=seed)))
        elif d.kind == "gradient":
            found.append((name, gradient(point)))
        elif vectors is not None and d.kind == "eigenvector":
            found.append((name, vectors[:, d.number - 1]))
        else:
            found += from_file(point, d.kind, d.dataset, d.column)
    for name, v in found:
        if not (torch.isfinite(v).all() and v.norm() > 0):
            raise InputError(f"the direction {name} has length {v.norm().item():g} here; choose another one")
    return [(name, v / v.norm()) for name, v in found]


def check_resolved(point: Point, radius: float, v: Tensor) -> None:
    """Raise where a radius is so small that rounding θ + h v swallows much of it."""
    step = radius * v
    lost = ((point + step).theta.double() - point.theta.double() - step).norm().item() / radius
    if lost > RESOLVED:
        raise InputError(
            f"a radius of {radius:g} is lost in the rounding of {str(point.theta.dtype)[6:]} weights; "
            "give larger --radii, or --dtype float64"
        )


def _parse(written: str) -> Direction:
    place = re.fullmatch(r"(.+\.(?:h5|hdf5))(?::([^:]+))?(?::(\d+))?", written)
    if place:
        if not Path(place[1]).is_file():
            raise InputError(f"direction {written!r}: there is no file {place[1]}")
        return Direction(place[1], 1, place[2] or "", int(place[3]) if place[3] else None)
    kind, colon, number = written.partition(":")
    numbered = not colon or (number.isdigit() and 1 <= int(number) <= 999)
    if (
        kind not in ("random", "filter", "gradient", "eigenvector")
        or not numbered
        or (kind == "gradient" and colon)
    ):
        raise InputError(f"direction {written!r} is not known; there are {KINDS}, with K from 1")
    return Direction(kind, int(number) if colon else 1)
