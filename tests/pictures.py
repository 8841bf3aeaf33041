"""Surfaces in closed form, as a run would have measured them, for the tests of their figures."""

import numpy as np

from landscape.results import Run
from landscape.surfaces.surface import Surface

NAN = np.nan


def made(x, y, loss, **fields) -> Surface:
    """A Surface of given losses: an array, or a function of the coordinates; y None for a line."""
    x = np.asarray(x, dtype=float)
    y = None if y is None else np.asarray(y, dtype=float)
    if callable(loss):
        centre = float(loss(*np.zeros((1 if y is None else 2, 1)))[0])
        loss = loss(x) if y is None else loss(*np.meshgrid(x, y))
    else:
        centre = float(loss[tuple(n // 2 for n in loss.shape)])
    loss = np.asarray(loss, dtype=float)
    shape = loss.shape
    given = {
        "eps": 0.0,
        "budget": "0",
        "norm": "linf",
        "attack": "pgd:steps=20",
        "adversary": "reattack" if fields.get("eps") else "none",
        "loss_stderr": 0.04 * np.abs(loss),
        "accuracy": 0.9 * np.exp(-0.3 * np.abs(loss)),
        "groups": np.repeat(loss[..., None], 4, axis=-1),
        "sizes": np.full(4, 25),
        "zero_loss": np.zeros(shape),
        "gap": np.full(shape, NAN),
        "gap_stderr": np.full(shape, NAN),
        "redone": np.zeros(shape, dtype=bool),
        "done": np.ones(shape, dtype=bool),
        "interpolated": np.zeros(shape, dtype=bool),
        "interpolation_error": NAN,
        "radius": np.zeros(shape),
        "centre_loss": centre,
        "centre_loss_stderr": 0.04 * abs(centre),
        "centre_accuracy": 0.8,
        "centre_accuracy_stderr": 0.01,
        "centre_inner_gap": 0.001,
        "centre_inner_gap_stderr": 0.0003,
        "inner_gap": 0.002,
        "inner_gap_stderr": 0.0004,
        "cells_redone": 0,
        "cells_checked": 0,
        "numbers": {},
        "passes": {"forward": 10.0},
        "seconds": 1.0,
    }
    return Surface(x=x, y=y, loss=loss, **{**given, **fields})


def a_direction(kind="filter", name="filter:1", norm=12.3, **told) -> dict:
    return {"kind": kind, "name": name, "norm": norm, "relative": 1.0, "explained": None, **told}


def a_run(
    *results, x=None, y=None, cosine=0.01, path="lenet4_eps0.1.pt", complete=True, trajectory=None
) -> Run:
    """A run of surfaces along two filter-normalised directions, or of lines along one."""
    flat = results[0].y is None
    directions = {
        "x": x or a_direction(),
        "y": None if flat else y or a_direction(name="filter:2", norm=11.9),
        "cosine": None if flat else cosine,
        "theta_norm": 12.1,
    }
    told = {
        "checkpoint": {"path": path},
        "data": {"name": "d"},
        "directions": directions,
        "trajectory": trajectory,
    }
    return Run("line" if flat and x and x["kind"] == "checkpoint" else "surface", told, [*results], complete)
