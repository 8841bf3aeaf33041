"""What is known of θ itself before the first cell: its loss under each budget, its adversaries, vᵀHv."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.errors import NumericalError
from landscape.hessian import Hessian
from landscape.objective import CLEAN, GROUPS, Point, Watch
from landscape.surfaces.cells import WORK, Sheet, values
from landscape.surfaces.journal import Journal
from landscape.surfaces.lattice import Lattice
from landscape.surfaces.state import State

CENTRE, CURVATURES = -1, -2
"""Where the journal keeps them, before the cells from 0 on."""
FEW = 8
"""Examples on which forward derivatives are compared with products."""


@dataclass(frozen=True, eq=False)
class Root:
    """θ under each budget.

    points: one for each sheet, attacked; sheets of one budget share theirs
    values: (sheets, columns + groups), as those of a cell
    curvatures: (sheets, axes, 2), vᵀHv along the unit vector of each axis at the fixed adversary, and its
        standard error over the examples; NaN where it was not computed
    work: passes that it took
    """

    points: list[Point]
    values: np.ndarray
    curvatures: np.ndarray
    work: np.ndarray


def root(point: Point, lattice: Lattice, sheets: list[Sheet], book: Journal, state: State) -> Root:
    """θ under each budget, from the journal as far as that goes."""
    o = point.objective

    def passes() -> np.ndarray:
        return np.array([float(o.work[name]) for name in WORK])

    began, points = passes(), dict[str, Point]()
    for place, sheet in enumerate(sheets):
        if (name := str(sheet.budget)) not in points:
            points[name] = o.but(budget=sheet.budget, watch=_at(o.watch, name.split()[0])).at(point.theta)
            if sheet.budget.eps:
                _restore(points[name], f"root-{place}", state, known=CENTRE in book.cells)
    every = [points[str(sheet.budget)] for sheet in sheets]

    def note(place: int, make: Callable[[Point], np.ndarray], before: np.ndarray) -> None:
        """Work out what the journal does not hold, and the passes that it takes."""
        if place not in book.cells:
            made = {name: make(p) for name, p in points.items()}
            found = np.stack([made[str(sheet.budget)] for sheet in sheets])
            book.add(place, np.concatenate([passes() - before, found.ravel()]))

    note(CENTRE, _row, began)
    note(CURVATURES, lambda p: _curvatures(p, lattice), passes())
    told = [book.cells[place] for place in (CENTRE, CURVATURES)]
    return Root(
        every,
        told[0][len(WORK) :].reshape(len(sheets), -1),
        told[1][len(WORK) :].reshape(len(sheets), -1, 2),
        told[0][: len(WORK)] + told[1][: len(WORK)],
    )


def _at(watch: Watch, eps: str) -> Watch:
    return lambda stage, done, of: watch(f"θ at eps {eps}: {stage}", done, of)


def _restore(point: Point, name: str, state: State, known: bool) -> None:
    """Give a point its perturbed data from an earlier run that told its loss; or keep it for a later one."""
    kept = state.load(name) if known else None
    if kept is not None:
        data = replace(point.objective.data, x=torch.from_numpy(kept).to(point.theta))
        point.__dict__["perturbed"] = data
    else:
        state.save(name, point.perturbed.x.cpu().numpy())


def _row(point: Point) -> np.ndarray:
    """The values of θ as those of a cell."""
    if not math.isfinite(point.value):
        raise NumericalError(f"the loss at θ is {point.value} at eps = {point.objective.budget}")
    if point.objective.budget.eps:
        point.objective.watch("inner gap", 0, 1)
    data = point.objective.data
    groups = [rows.numpy() for rows in data.groups(min(GROUPS, len(data)))]
    return values(point.losses, point.logits, data.y, groups, *point.inner_gap, 0.0)


def _curvatures(point: Point, lattice: Lattice) -> np.ndarray:
    """vᵀHv and its standard error along each axis (axes, 2)."""
    found = np.full((len(lattice.axes), 2), np.nan)
    v = torch.stack([axis.vector / axis.vector.norm() for axis in lattice.axes], dim=1)
    point.objective.watch("curvature along the axes", 0, 1)
    try:
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            if not _forward_is_right(point, v):
                found[:, 0] = (v * (point.hessian @ v).double()).sum(dim=0).cpu().numpy()
            else:
                each = torch.stack([point.hessian.curvatures(one) for one in v.T], dim=1)
                found[:, 0] = each.mean(dim=0).cpu().numpy()
                if len(each) > 1:
                    found[:, 1] = (each.std(dim=0) / math.sqrt(len(each))).cpu().numpy()
    except NumericalError:
        pass  # no second derivative, or no error of it, is known: told as such
    point.hessian.release()
    return found


def _forward_is_right(point: Point, v: Tensor) -> bool:
    """Whether nested forward derivatives along v (P, K) agree with Hessian products, on a few examples.

    They tell the error besides, at less than a product's cost; of some layers torch has none, or wrong ones.
    """
    n = len(point.perturbed)
    few = torch.linspace(0, n - 1, min(n, FEW)).round().long()
    some = point.objective.but(data=point.perturbed[few], budget=CLEAN).at(point.theta)
    true = (v * (Hessian(some, keep=True) @ v).double()).sum(dim=0)
    try:
        each = torch.stack([some.hessian.curvatures(one) for one in v.T], dim=1)
    except NumericalError:
        return False
    return bool(((each.mean(dim=0) - true).abs() <= 1e-3 * each.abs().mean(dim=0) + 1e-6).all())
