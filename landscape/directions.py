"""Directions in parameter space: the vectors (P,) along which a landscape is looked at.

What a user may type, `random`, `filter`, `layer`, `gradient`, `eigenvector:2`,
`FILE.h5:sharpness_0/vectors:0`, each a function of the point that returns a vector. `drawn` returns those of
a list as they are, `along` as unit vectors.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from landscape.errors import InputError, NumericalError
from landscape.linalg.eigen import eigsh
from landscape.linalg.operator import generator, normal
from landscape.network import Network
from landscape.objective import Point
from landscape.results import Reader

KINDS = "random, filter, gradient, layer, eigenvector:K, FILE.h5 or FILE.h5:DATASET:COLUMN"
AT_RANDOM = ("random", "filter", "layer")
"""Kinds that are drawn with a seed, any number of them."""
RESOLVED = 0.1
"""Of a radius may be lost to the rounding of the weights."""
MOST = 1 << 32
"""Bytes of vectors that are read from a file."""


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


def filter_normalised(point: Point, number: int = 1, *, seed: int = 0, keep_biases: bool = False) -> Tensor:
    """A random vector (P,) whose filters have the lengths of the point's own (Li et al., 1712.09913).

    A filter is what makes one output: a row of a weight of two or more dimensions; of the weight of a
    transposed convolution, which lists its inputs first, a column. One of length 0 stays 0. Biases and the
    parameters of normalisation stay where they are, unless they are kept: each is then one filter. The length
    of all is about that of θ.
    """
    blocks = _filters(point.objective.network)
    return _rescaled(point, blocks, number, seed=seed, keep_biases=keep_biases)


def layer_normalised(point: Point, number: int = 1, *, seed: int = 0, keep_biases: bool = False) -> Tensor:
    """A random vector (P,) whose weights have, each as a whole, the lengths of the point's own.

    Weights are parameters of two or more dimensions; the others are treated as `filter_normalised` does.
    """
    blocks = [(1, 1, 1, size) for size in point.objective.network.sizes]
    return _rescaled(point, blocks, number, seed=seed, keep_biases=keep_biases)


def gradient(point: Point) -> Tensor:
    """∇L_eps(θ) (P,): uphill."""
    return point.gradient.double()


def eigenpairs(point: Point, k: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The k top eigenvalues (k,) and eigenvectors (P, k) of ∇²L_eps(θ) at fixed perturbed data.

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
    return found.eigenvalues, found.vectors * torch.where(slopes < 0, -1.0, 1.0)


def from_file(
    point: Point, path: str, dataset: str = "", column: int | None = None
) -> list[tuple[str, Tensor]]:
    """The vectors (P,) that an HDF5 file holds, each with its name.

    dataset: of shape (P,) or (P, k), or a group of them; by default the only one there is
    column: by default all
    """
    size = len(point.theta)

    def vectors_of(item: Any) -> bool:
        shape = item.shape if isinstance(item, h5py.Dataset) else None
        return shape is not None and shape[:1] == (size,) and len(shape) <= 2 and item.dtype.kind in "biuf"

    try:
        with h5py.File(path, "r") as file:
            reader = Reader(file, path, MOST)
            there: list[str] = []
            file.visititems(lambda name, item: there.append(name) if vectors_of(item) else None)
            told = ", ".join(there) or "none"
            asked = dataset.strip("/")
            names = [name for name in there if not asked or name == asked or name.startswith(f"{asked}/")]
            if not names or (len(names) > 1 and (not asked or column is not None)):
                what = (
                    f"no data set {dataset!r} of vectors" if dataset else f"{len(there)} data sets of vectors"
                )
                raise InputError(
                    f"{path} has {what} with {size:,} numbers, one for each parameter; there is {told}; "
                    "write FILE.h5:DATASET:COLUMN"
                )
            read = {
                n: np.asarray(reader.read_dataset(file[n]), dtype=np.float64).reshape(size, -1) for n in names
            }
    except InputError:
        raise
    except Exception as error:  # what damaged bytes make h5py raise has no bound
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise InputError(f"{path} could not be read as HDF5: {reason or type(error).__name__}") from error
    found = []
    for name, vectors in read.items():
        if column is not None and not 0 <= column < vectors.shape[1]:
            raise InputError(
                f"{path}:{name} has {vectors.shape[1]} columns, counted from 0; {column} is none"
            )
        for j in range(vectors.shape[1]) if column is None else [column]:
            vector = torch.from_numpy(vectors[:, j].copy()).to(point.theta.device)
            found.append((f"{Path(path).name}:{name}:{j}", vector))
    return found


@dataclass(frozen=True)
class Direction:
    """What a user asked for: a kind and its number from 1 (of draws, of eigenvectors), or a file's part."""

    kind: str
    number: int = 1
    dataset: str = ""
    column: int | None = None

    @property
    def in_file(self) -> bool:
        """Whether a file holds it, whose path the kind then is; it may hold several."""
        return self.kind not in (*AT_RANDOM, "eigenvector", "gradient")


@dataclass(frozen=True, eq=False)
class Drawn:
    """The vector (P,) of a direction, float64, of whatever length; the eigenvalue where it belongs to one."""

    direction: Direction
    name: str
    vector: Tensor
    eigenvalue: float | None = None


def parse(written: str) -> list[Direction]:
    """The directions of a list such as "random,eigenvector:1"; InputError tells what there is."""
    found = []
    for part in (part.strip() for part in written.split(",") if part.strip()):
        direction = known(part)
        if direction is None:
            raise InputError(f"direction {part!r} is not known; there are {KINDS}, with K from 1")
        found.append(direction)
    if not found:
        raise InputError(f"no direction was given; there are {KINDS}")
    if len(set(found)) < len(found):
        raise InputError(f"directions {written} name one twice; give each once")
    return found


def known(written: str) -> Direction | None:
    """The one direction that is written, None where it is none; InputError where its file is not there."""
    place = re.fullmatch(r"(.+\.(?:h5|hdf5))(?::([^:]+))?(?::(\d+))?", written)
    if place:
        if not Path(place[1]).is_file():
            raise InputError(f"direction {written!r}: there is no file {place[1]}")
        return Direction(place[1], 1, place[2] or "", int(place[3]) if place[3] else None)
    kind, colon, number = written.partition(":")
    numbered = not colon or (number.isdigit() and 1 <= int(number) <= 999)
    if kind in (*AT_RANDOM, "eigenvector") and numbered:
        return Direction(kind, int(number) if colon else 1)
    return Direction(kind) if written == "gradient" else None


def drawn(
    point: Point, wanted: list[Direction], *, seed: int = 0, draw: int = 0, keep_biases: bool = False
) -> list[Drawn]:
    """The vectors that are asked for, in this order, each finite and longer than 0; a file may hold several.

    draw: moves random directions on to the next independent draw
    keep_biases: parameters of one dimension take part in `filter` and `layer` as well
    """
    top = max((d.number for d in wanted if d.kind == "eigenvector"), default=0)
    if top > len(point.theta):
        raise InputError(f"eigenvector:{top} of {len(point.theta):,} is not there")
    values, vectors = eigenpairs(point, top, seed=seed) if top else (None, None)
    found: list[Drawn] = []
    for d in wanted:
        name, number = d.kind if d.number == 1 else f"{d.kind}:{d.number}", d.number + 1000 * draw
        if d.kind == "random":
            found.append(Drawn(d, name, random(point, number, seed=seed)))
        elif d.kind in ("filter", "layer"):
            draws = filter_normalised if d.kind == "filter" else layer_normalised
            found.append(Drawn(d, name, draws(point, number, seed=seed, keep_biases=keep_biases)))
        elif d.kind == "gradient":
            found.append(Drawn(d, name, gradient(point)))
        elif values is not None and vectors is not None and d.kind == "eigenvector":
            j = d.number - 1
            found.append(Drawn(d, f"{d.kind}:{d.number}", vectors[:, j], float(values[j])))
        else:
            found += [Drawn(d, name, v) for name, v in from_file(point, d.kind, d.dataset, d.column)]
    for one in found:
        check_length(one.name, one.vector)
    return found


def along(point: Point, wanted: list[Direction], *, seed: int = 0, draw: int = 0) -> list[tuple[str, Tensor]]:
    """The unit vectors (P,), float64, that are asked for, each with its name; see `drawn`."""
    return [(d.name, d.vector / d.vector.norm()) for d in drawn(point, wanted, seed=seed, draw=draw)]


def check_length(name: str, vector: Tensor) -> None:
    """Raise unless a direction leads somewhere: finite, and longer than 0."""
    if not (torch.isfinite(vector).all() and vector.norm() > 0):
        raise InputError(f"the direction {name} has length {vector.norm().item():g} here; choose another one")


def lost(point: Point, step: Tensor) -> float:
    """The share of a step (P,) that the rounding of the weights θ + step swallows."""
    return (((point + step).theta.double() - point.theta.double() - step).norm() / step.norm()).item()


def check_resolved(point: Point, radius: float, v: Tensor) -> None:
    """Raise where a radius is so small that rounding θ + h v swallows much of it."""
    if lost(point, radius * v) > RESOLVED:
        raise InputError(
            f"a radius of {radius:g} is lost in the rounding of {str(point.theta.dtype)[6:]} weights; "
            "give larger --radii, or --dtype float64"
        )


_Blocks = tuple[int, int, int, int]


def _filters(network: Network) -> list[_Blocks]:
    """Each parameter as an array (a, b, c, d) whose filters are those of the places (a, c)."""
    turned = {
        id(m.weight): m.groups
        for m in network.module.modules()
        if isinstance(m, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    }
    own = dict(network.module.named_parameters())
    found = []
    for name, shape, size in zip(network.names, network.shapes, network.sizes, strict=True):
        groups = turned.get(id(own[name]))
        if groups:  # (in, out / groups, …): an output of a group is made by that group's inputs alone
            found.append((groups, shape[0] // groups, shape[1], math.prod(shape[2:])))
        else:
            rows = shape[0] if shape else 1
            found.append((rows, 1, 1, size // max(1, rows)))
    return found


def _rescaled(point: Point, blocks: list[_Blocks], number: int, *, seed: int, keep_biases: bool) -> Tensor:
    """A Gaussian vector (P,) whose blocks (a, ·, c, ·) are scaled to the lengths of the point's own."""
    network = point.objective.network
    vector = normal(generator(seed, purpose=100 + number), len(point.theta), point.theta.device)
    parts = []
    for shape, one, own in zip(
        blocks, network.parts(vector), network.parts(point.theta.double()), strict=True
    ):
        if own.ndim < 2 and not keep_biases:
            parts.append(torch.zeros(own.numel(), dtype=torch.float64, device=own.device))
            continue
        block = shape if own.ndim >= 2 else (1, 1, 1, own.numel())
        rows, lengths = one.reshape(block), own.reshape(block).norm(dim=(1, 3), keepdim=True)
        parts.append((rows * (lengths / rows.norm(dim=(1, 3), keepdim=True))).reshape(-1))
    return torch.cat(parts)
