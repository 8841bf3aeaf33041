"""The axes that an unfinished scan began with: eigenvectors take long to find, and their last bits vary."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landscape.axes import Axis
from landscape.errors import InputError
from landscape.files import atomic
from landscape.losses import name_of
from landscape.normalization import of_module
from landscape.objective import Point
from landscape.surfaces.state import AXES, State

TOLD = [field.name for field in fields(Axis) if field.name not in ("vector", "end", "rest")]


def depends(point: Point) -> dict[str, Any]:
    """What decides over the axes of a point besides its checkpoint's file and the options, as JSON values."""
    o, digest = point.objective, hashlib.sha256()
    for tensor in (point.theta, *o.network.rest().values()):
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return {
        "weights": digest.hexdigest(),
        "parameters": len(point.theta),
        "dtype": str(point.theta.dtype),
        "loss": name_of(o.loss),
        "normalization": found.exact if (found := of_module(o.network.module)) else "none",
    }


def remembered(folder: Path | None, of: dict[str, Any], make: Callable[[], list[Axis]]) -> list[Axis]:
    """The axes that the folder holds, if they were made of the same; else those made now, which it keeps.

    of: all that they depend on, as JSON values. Axes that lead to checkpoints are read from these each time
    """
    if folder is None:
        return make()
    card, state = folder / f"{AXES}.json", State(folder)
    state.check()
    if card.is_symlink():
        raise InputError(f"{card} is a link, and what it leads to is no scan's to write; remove it")
    if card.is_file():
        try:
            told = json.loads(card.read_text())
            vectors = state.load(AXES)
            if told["of"] == of and vectors is not None:
                if vectors.dtype != np.float64 or vectors.shape[1:] != (of["parameters"],):
                    raise ValueError(vectors.shape)
                device = torch.device(of["device"])
                return [
                    Axis(vector=torch.from_numpy(vector).to(device), **_typed(each))
                    for vector, each in zip(vectors, told["axes"], strict=True)
                ]
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{card} is damaged: it holds what no scan wrote; remove it, or give --fresh to begin anew"
            ) from error
    found = make()
    if all(axis.end is None for axis in found):
        folder.mkdir(exist_ok=True)
        state.save(AXES, np.stack([axis.vector.cpu().numpy() for axis in found]))
        with atomic(card) as temporary:
            each = [{name: getattr(axis, name) for name in TOLD} for axis in found]
            temporary.write_text(json.dumps({"of": of, "axes": each}))
    return found


def _typed(told: dict[str, Any]) -> dict[str, Any]:
    """What is told of an axis, held against the types of its fields."""
    kinds = {"seed": int, "explained": float, "eigenvalue": float}
    for name in TOLD:
        if not isinstance(told[name], kinds.get(name, str)) and (name not in kinds or told[name] is not None):
            raise TypeError(name)
    return told
