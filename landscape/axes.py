"""The axes of a surface: what a coordinate multiplies, and what a step of 1 along it is.

A user writes directions, other checkpoints, or a trajectory whose principal components span the plane. A step
of 1 may be the length of the filters, the way to another checkpoint, or 1.
"""

from __future__ import annotations

import glob
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from landscape.directions import AT_RANDOM, RESOLVED, Direction, Drawn, check_length, drawn, known, lost
from landscape.errors import InputError
from landscape.linalg.principal import principal
from landscape.objective import Point

WRITTEN = (
    "filter, random, layer, eigenvectors, or one of them as filter:K or eigenvector:K, gradient, "
    "FILE.h5:DATASET:COLUMN, another checkpoint; two of these as A,B; or pca:CHECKPOINTS"
)
# Names that stand for the first one of a kind on a line, the first two in a plane.
FAMILIES = {**{kind: kind for kind in AT_RANDOM}, "eigenvectors": "eigenvector"}
PARALLEL, OBLIQUE = 0.999, 0.1
"""|cosine| of two axes above which they span no plane, and above which a figure of it misleads."""


@dataclass(frozen=True, eq=False)
class Axis:
    """One direction of a line or a plane through θ.

    name: what it is called, as a user may write it
    kind: "random", "filter", "layer", "gradient", "eigenvector", "checkpoint", "pca" or "file"
    vector: what the coordinate multiplies (P,), float64, of its own length
    unit: what a step of 1 is, in words
    seed: of a vector drawn at random
    end: θ of the checkpoint at coordinate 1, which θ + vector misses by rounding
    rest: of that checkpoint and by name, as (own, its), what its network has otherwise besides θ, such as
        running statistics
    explained: share of the trajectory's squared distances from θ that lies along a principal component
    eigenvalue: of an eigenvector
    """

    name: str
    kind: str
    vector: Tensor
    unit: str
    seed: int | None = None
    end: Tensor | None = None
    rest: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    explained: float | None = None
    eigenvalue: float | None = None


class Projection(NamedTuple):
    """Where points lie on a line or a plane: their coordinates (T,), y None on a line, and how far off it.

    residual: ‖θ_t − θ − x u − y v‖ (T,); relative_residual: that over ‖θ_t − θ‖, 0 for θ itself
    """

    x: np.ndarray
    y: np.ndarray | None
    residual: np.ndarray
    relative_residual: np.ndarray


def axes(
    point: Point,
    written: str,
    count: int,
    *,
    seed: int,
    keep_biases: bool = False,
    beside: Callable[[str], Point],
) -> list[Axis]:
    """The axes through a point that are asked for, as many as `count`: 1 of a line, 2 of a plane.

    Random directions, the gradient, eigenvectors and principal components have length 1; `filter` and `layer`
    have about that of θ; a vector from a file is taken as it is, and one to a checkpoint ends there. Two
    checkpoints B and C lie at (1, 0) and (0, 1).

    keep_biases: parameters of one dimension take part in `filter` and `layer`, each as one filter
    beside: another checkpoint, by its path, as a point of the same objective
    Raises InputError for what is no direction, has length 0 or is not finite, and for parallel axes.
    """
    if written.startswith("pca:"):
        found = _principal(point, written.removeprefix("pca:"), count, beside)
    else:
        wanted = _wanted(written, count)
        given: dict[Direction | str, list[Axis]] = {w: [] for w in wanted}
        for w in wanted:  # before eigenvectors are computed in vain
            if isinstance(w, str):
                given[w].append(to_checkpoint(point, beside(w)))
        directions = [w for w in wanted if isinstance(w, Direction)]
        for one in drawn(point, directions, seed=seed, keep_biases=keep_biases):
            given[one.direction].append(_axis(one, seed))
        found = [axis for axes in given.values() for axis in axes]
        if len(found) < count:
            raise _miscounted(written, len(found), count)
        found = found[:count]  # a file may hold more
    if count == 2 and abs(cosine(found)) > PARALLEL:
        raise InputError(
            f"the directions {found[0].name} and {found[1].name} are parallel (cosine {cosine(found):.4f}), "
            "and span a line; give another second one"
        )
    return found


def to_checkpoint(point: Point, other: Point) -> Axis:
    """The axis from a point to that of another checkpoint, which it reaches at 1."""
    name, end = other.objective.network.name, other.theta.detach()
    vector = end.double() - point.theta.double()
    check_length(name, vector)
    own, its = point.objective.network.rest(), other.objective.network.rest()
    rest = {key: (own[key], its[key]) for key in own if not torch.equal(own[key], its[key])}
    return Axis(name, "checkpoint", vector, f"the way to {Path(name).name}", end=end, rest=rest)


def cosine(axes: Sequence[Axis]) -> float:
    """The cosine of the angle between two axes."""
    u, v = (axis.vector / axis.vector.norm() for axis in axes)
    return (u @ v).item()


def describe(axes: Sequence[Axis], point: Point) -> dict[str, Any]:
    """What a result tells of its axes: "x", "y" (None on a line), their "cosine", and "theta_norm"."""
    length = point.theta.double().norm().item()
    told = [
        {
            "kind": axis.kind,
            "name": axis.name,
            "norm": axis.vector.norm().item(),
            "relative": axis.vector.norm().item() / length if length else math.nan,
            "seed": axis.seed,
            "unit": axis.unit,
            "explained": axis.explained,
            "eigenvalue": axis.eigenvalue,
        }
        for axis in axes
    ]
    plane = len(axes) == 2
    return {
        "x": told[0],
        "y": told[1] if plane else None,
        "cosine": cosine(axes) if plane else None,
        "theta_norm": length,
    }


def doubts(axes: Sequence[Axis], point: Point) -> list[str]:
    """What a reader of the surface should be warned of, each in a sentence with its remedy."""
    told = [
        f"a step of 1 along {axis.name} has length {axis.vector.norm().item():.2g} and is lost in the "
        f"rounding of {str(point.theta.dtype)[6:]} weights; take larger coordinates, or --dtype float64"
        for axis in axes
        if lost(point, axis.vector) > RESOLVED
    ]
    if len(axes) < 2 or abs(cosine(axes)) <= OBLIQUE:
        return told
    names = [axis.name for axis in axes]
    if all(axis.kind == "checkpoint" for axis in axes):
        remedy = f"pca:{','.join(names)} spans the same plane with axes at right angles"
    elif random := [axis.name for axis in axes if axis.kind in AT_RANDOM]:
        remedy = f"take another draw, such as {_next(random[-1])}"
    else:
        remedy = "take other directions, such as eigenvectors"
    return [
        *told,
        f"the directions {' and '.join(names)} are far from orthogonal (cosine {cosine(axes):.2f}): a figure "
        f"draws them at their true angle, and looks more along one diagonal than the other; {remedy}",
    ]


def project(axes: Sequence[Axis], point: Point, others: Sequence[Tensor]) -> Projection:
    """Points θ_t (P,) on the line or plane, by least squares on its axes, which may be oblique."""
    theta, scales = point.theta.double(), [axis.vector.norm() for axis in axes]
    units = [axis.vector / scale for axis, scale in zip(axes, scales, strict=True)]
    gram = np.array([[(u @ v).item() for v in units] for u in units])
    places, residual, away = np.empty((len(others), len(axes))), np.empty(len(others)), np.empty(len(others))
    for t, other in enumerate(others):
        step = other.double() - theta
        away[t] = step.norm().item()
        places[t] = np.linalg.solve(gram, [(u @ step).item() for u in units])
        for unit, place in zip(units, places[t], strict=True):
            step = step - place * unit
        residual[t] = step.norm().item()
    places /= [scale.item() for scale in scales]
    relative = np.divide(residual, away, out=np.zeros_like(away), where=away > 0)
    return Projection(places[:, 0], places[:, 1] if len(axes) == 2 else None, residual, relative)


def relative_radius(
    axes: Sequence[Axis], point: Point, x: np.ndarray, y: np.ndarray | None = None
) -> np.ndarray:
    """The relative length of the step to each cell (ny, nx), or (nx,) on a line.

    The largest of ‖x u_l + y v_l‖ / ‖w_l‖ over the parameters l of two or more dimensions that are not 0, NaN
    where there is none. From inner products for each l: no cell costs a product of vectors (P,).
    """
    network = point.objective.network
    found = np.full((len(x),) if y is None else (len(y), len(x)), math.nan)
    each = (one.split(network.sizes) for one in (point.theta, axes[0].vector, axes[-1].vector))
    for shape, own, u, v in zip(network.shapes, *each, strict=True):
        length = own.double().square().sum().item()
        if len(shape) < 2 or not length:
            continue
        squared = np.square(x) * (u @ u).item()
        if y is not None:
            squared = squared + 2 * np.outer(y, x) * (u @ v).item() + np.square(y)[:, None] * (v @ v).item()
        found = np.fmax(found, np.sqrt(np.maximum(squared, 0) / length))
    return found


def _wanted(written: str, count: int) -> list[Direction | str]:
    """The directions and the paths of checkpoints that a list names, as many as `count`, or a single file."""
    parts = [part.strip() for part in written.split(",") if part.strip()]
    if not parts:
        raise InputError(f"no direction was given; there are {WRITTEN}")
    if len(parts) == 1 and parts[0] in FAMILIES:
        parts = [f"{FAMILIES[parts[0]]}:{number}" for number in range(1, count + 1)]
    found = [known(part) or _path(part) for part in parts]
    if len(set(found)) < len(found):
        raise InputError(f"directions {written} name one twice; give each once")
    if len(found) == 1 and isinstance(found[0], Direction) and found[0].in_file:
        return found
    if len(found) != count:
        raise _miscounted(written, len(found), count)
    # Beside another direction, a file gives its first vector.
    return [
        replace(w, column=w.column or 0) if isinstance(w, Direction) and w.in_file and count > 1 else w
        for w in found
    ]


def _path(part: str) -> str:
    """The same, where it may be the path of a checkpoint."""
    if Path(part).exists() or "/" in part or (Path(part).suffix[1:2].isalpha() and ":" not in part):
        return part
    if part in FAMILIES:
        raise InputError(
            f"direction {part!r} is all axes at once; beside another write {FAMILIES[part]}:1 for the first"
        )
    raise InputError(f"direction {part!r} is not known; there are {WRITTEN}")


def _miscounted(written: str, came: int, count: int) -> InputError:
    are = "is 1 direction" if came == 1 else f"are {came} directions"
    if count == 1:
        return InputError(f"{written} {are}, and a line takes 1; give one alone, or draw the plane of two")
    one = known(written)
    second = _next(written) if one and one.kind in AT_RANDOM else "random"
    remedy = f"give a second one, such as {written},{second}" if came == 1 else "give two of them"
    return InputError(f"{written} {are}, and a plane takes 2; {remedy}")


def _next(name: str) -> str:
    """Another draw of a random direction: filter:4 of filter:3."""
    kind, _, number = name.partition(":")
    return f"{kind}:{int(number or 1) + 1}"


def _axis(one: Drawn, seed: int) -> Axis:
    """The axis of a direction: of length 1, or of its own length where that says something."""
    d, vector = one.direction, one.vector
    if d.in_file:
        return Axis(one.name, "file", vector, "the vector in the file")
    name = "gradient" if d.kind == "gradient" else f"{d.kind}:{d.number}"
    if d.kind in ("filter", "layer"):
        return Axis(name, d.kind, vector, f"lengths of the {d.kind}s", seed=seed)
    drawn_with = seed if d.kind == "random" else None
    unit = vector / vector.norm()
    return Axis(name, d.kind, unit, "1 in weight space", seed=drawn_with, eigenvalue=one.eigenvalue)


def _principal(point: Point, patterns: str, count: int, beside: Callable[[str], Point]) -> list[Axis]:
    """The principal components of a trajectory's differences from θ."""
    others = [beside(path).theta.detach() for path in matching(patterns)]
    vectors, shares = principal(point.theta, others, count)
    if len(shares) < count:
        raise InputError(
            f"pca:{patterns} has {len(others)} checkpoints, which differ from θ in {len(shares)} independent "
            f"directions, and a {'line' if count == 1 else 'plane'} takes {count}; give more checkpoints"
        )
    return [
        Axis(f"pca:{k + 1}", "pca", vectors[k], "1 in weight space", explained=shares[k])
        for k in range(count)
    ]


def matching(patterns: str) -> list[str]:
    """The files that patterns, separated by commas, match: each once, pattern by pattern, by name."""
    found: dict[str, None] = {}
    for pattern in (part.strip() for part in patterns.split(",") if part.strip()):
        matches = [pattern] if Path(pattern).is_file() else sorted(glob.glob(pattern))
        if not matches:
            raise InputError(f"{pattern} matches no file; checkpoints are such as 'mine-epoch*.pt'")
        found |= dict.fromkeys(matches)
    if not found:
        raise InputError("no checkpoints are named; write such as 'mine-epoch*.pt'")
    return list(found)
