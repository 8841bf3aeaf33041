"""What is known of θ itself before the first cell: its loss under each budget, its adversaries, vᵀHv."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from landscape.errors import NumericalError
from landscape.objective import Point, Watch
from landscape.surfaces.cells import COLUMNS, WORK, Sheet
from landscape.surfaces.journal import Journal
from landscape.surfaces.lattice import Lattice
from landscape.surfaces.state import State

CENTRE, CURVATURES = -1, -2
"""Where the journal keeps them, before the cells from 0 on."""


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
    before = [o.work[name] for name in WORK]
    points: dict[str, Point] = {}
    for place, sheet in enumerate(sheets):
        if (name := str(sheet.budget)) not in points:
            points[name] = o.but(budget=sheet.budget, watch=_at(o.watch, name.split()[0])).at(point.theta)
            if sheet.budget.eps:
                _restore(points[name], f"root-{place}", state)
    every = [points[str(sheet.budget)] for sheet in sheets]
    if CENTRE not in book.cells:
        values = np.stack([_row(p) for p in every])
        book.add(CENTRE, values.ravel())
    if CURVATURES not in book.cells:
        each = {name: _curvatures(p, lattice) for name, p in points.items()}
        book.add(CURVATURES, np.stack([each[str(sheet.budget)] for sheet in sheets]).ravel())
    work = np.array([o.work[n] - b for n, b in zip(WORK, before, strict=True)], float)
    return Root(
        every,
        book.cells[CENTRE].reshape(len(sheets), -1),
        book.cells[CURVATURES].reshape(len(sheets), -1, 2),
        work,
    )


def _at(watch: Watch, eps: str) -> Watch:
    return lambda stage, done, of: watch(f"θ at eps {eps}: {stage}", done, of)


def _restore(point: Point, name: str, state: State) -> None:
    """Give a point its perturbed data from an earlier run, or else keep it for a later one."""
    kept = state.load(name)
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
    each = point.losses.cpu().numpy()
    groups = point.objective.data.groups(min(8, len(each)))
    told = [point.value, point.value_stderr, point.accuracy, float((each == 0).mean()), *point.inner_gap, 0.0]
    assert len(told) == len(COLUMNS)
    return np.array([*told, *(each[rows.numpy()].mean() for rows in groups)])


def _curvatures(point: Point, lattice: Lattice) -> np.ndarray:
    """vᵀHv and its standard error along each axis (axes, 2)."""
    found = np.full((len(lattice.axes), 2), np.nan)
    for k, axis in enumerate(lattice.axes):
        point.objective.watch("curvature along the axes", k, len(lattice.axes))
        v = axis.vector / axis.vector.norm()
        try:
            found[k, 0] = (v @ (point.hessian @ v).double()).item()
            each = point.hessian.curvatures(v)
        except NumericalError:
            continue  # no second derivative, or no error of it, is known: told as such
        if len(each) > 1 and abs(each.mean() - found[k, 0]) <= 1e-3 * abs(found[k, 0]) + 1e-6:
            found[k, 1] = each.std().item() / math.sqrt(len(each))
    point.hessian.release()
    return found
