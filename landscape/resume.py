"""What an interrupted training carries on from: a file beside its checkpoint, until the training is over."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landscape.checkpoints.read import read
from landscape.checkpoints.write import save as save_checkpoint
from landscape.errors import CheckpointError
from landscape.same import check_same
from landscape.training import Course, Epoch

MODEL, OPTIMIZER, RANDOM, LOG = "model.", "optimizer.", "random", "log"


@dataclass(frozen=True, eq=False)
class State:
    """A training between two mini-batches, from which the next ones are the same bit for bit.

    tensors: weights, the optimizer's own, torch's generator, the log's rows
    course: the place in the data and the sums of the running epoch
    history: what a checkpoint would say of the epochs so far
    seconds, threads: it took so far, on so many threads, on which rounding depends
    """

    tensors: dict[str, Tensor]
    course: dict[str, Any]
    history: list[dict[str, Any]]
    seconds: float
    threads: int


def state_path(output: str | os.PathLike[str]) -> Path:
    """Where it lies: mine.pt.state of mine.pt."""
    return Path(f"{os.fspath(output)}.state")


def save(
    path: Path, course: Course, *, settings: dict[str, Any], history: list[dict[str, Any]], seconds: float
) -> None:
    """Write a training's state, whole or not at all, in the format of the checkpoints.

    settings: what the training depends on, as plain values
    """
    tensors = {MODEL + name: tensor for name, tensor in course.module.state_dict().items()}
    for place, each in course.optimizer.state_dict()["state"].items():
        own = {f"{OPTIMIZER}{place}.{name}": value for name, value in each.items()}
        tensors |= {name: value for name, value in own.items() if isinstance(value, Tensor)}
    tensors[RANDOM] = torch.get_rng_state()
    told: dict[str, Any] = {
        "epochs": [vars(epoch) for epoch in course.epochs],
        "batch": course.batch,
        "loss": course.loss,
        "correct": course.correct,
    }
    if course.log is not None:
        tensors[LOG] = torch.from_numpy(course.log.rows())
        told["log"] = {"steps": course.log.steps, "apart": course.log.apart}
    state = {
        "settings": settings,
        "course": told,
        "history": history,
        "seconds": seconds,
        "threads": torch.get_num_threads(),
    }
    save_checkpoint(path, tensors, {"state": state})


def load(path: Path, settings: dict[str, Any]) -> State | None:
    """The state that an interrupted training left; None where there is none. Nothing in the file is run.

    InputError names the setting in which that training differed, CheckpointError says what is damaged.
    """
    if not path.exists():
        return None
    try:
        file = read(path)
        found = file.metadata["state"]
        check_same(found["settings"], settings, str(path))
        # The very strings that this program has: of equal ones that are two, a checkpoint has other bytes.
        history = [{sys.intern(name): value for name, value in epoch.items()} for epoch in found["history"]]
        return State(file.state, found["course"], history, found["seconds"], int(found["threads"]))
    except (CheckpointError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}, which the training would be carried on from, cannot be read ({error}); give --fresh to "
            "begin anew"
        ) from error


def restore(course: Course, state: State) -> None:
    """Take a new course of the same settings to where another was."""
    tensors, told = state.tensors, state.course
    course.module.load_state_dict(_named(tensors, MODEL))
    parameters = [p for group in course.optimizer.param_groups for p in group["params"]]
    each: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _named(tensors, OPTIMIZER).items():
        place, _, key = name.partition(".")
        each.setdefault(int(place), {})[key] = _laid_out(tensor, parameters[int(place)])
    groups = course.optimizer.state_dict()["param_groups"]
    course.optimizer.load_state_dict({"state": each, "param_groups": groups})
    torch.set_rng_state(tensors[RANDOM])
    course.epochs = [Epoch(**epoch) for epoch in told["epochs"]]
    course.batch, course.loss, course.correct = told["batch"], told["loss"], told["correct"]
    if course.log is not None:
        course.log.restore(tensors[LOG].numpy(), **told["log"])


def _named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _laid_out(tensor: Tensor, parameter: Tensor) -> Tensor:
    """A tensor in its parameter's memory format, as the optimizer made it; files hold rows."""
    if tensor.shape != parameter.shape:  # a count of steps
        return tensor
    return torch.empty_like(parameter, requires_grad=False).copy_(tensor)
