"""The axes that an unfinished scan began with: eigenvectors take long to find, and their last bits vary."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landscape.axes import Axis
from landscape.files import atomic
from landscape.surfaces.state import AXES, State

TOLD = [field.name for field in fields(Axis) if field.name not in ("vector", "end", "rest")]


def remembered(folder: Path | None, of: dict[str, Any], make: Callable[[], list[Axis]]) -> list[Axis]:
    """The axes that the folder holds, if they were made of the same; else those made now, which it keeps.

    of: all that they depend on, as JSON values. Axes that lead to checkpoints are read from these each time
    """
    if folder is None:
        return make()
    card, state = folder / f"{AXES}.json", State(folder)
    if card.is_file():
        told = json.loads(card.read_text())
        vectors = state.load(AXES)
        if told["of"] == of and vectors is not None:
            device = torch.device(of["device"])
            return [
                Axis(vector=torch.from_numpy(vector).to(device), **each)
                for vector, each in zip(vectors, told["axes"], strict=True)
            ]
    found = make()
    if all(axis.end is None for axis in found):
        folder.mkdir(exist_ok=True)
        state.save(AXES, np.stack([axis.vector.cpu().numpy() for axis in found]))
        with atomic(card) as temporary:
            each = [{name: getattr(axis, name) for name in TOLD} for axis in found]
            temporary.write_text(json.dumps({"of": of, "axes": each}))
    return found
