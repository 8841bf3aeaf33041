"""A checkpoint in its model, with the data to look at it through."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from landscape import registry
from landscape.checkpoints.match import match
from landscape.checkpoints.read import Checkpoint, read
from landscape.data import Data
from landscape.datasets import source
from landscape.errors import CheckpointError, DataError, InputError, LandscapeError
from landscape.network import Network

EXAMPLES = 1000
"""Examples by default: a loss then has a standard error of a few per cent, and a laptop is enough."""

DTYPES = {"float32": torch.float32, "float64": torch.float64}
# The part of a data set that the package carries, for checkpoints that were trained on the whole.
EMBEDDED = {"fashion-mnist": "fashion-mini"}


@dataclass(frozen=True, eq=False)
class Subject:
    """A checkpoint in its model, with the data to look at it through.

    notes: what a reader of the numbers should know about how they were put together
    """

    checkpoint: Checkpoint
    model: str
    network: Network
    data: Data
    notes: tuple[str, ...] = ()

    @property
    def epoch(self) -> int | None:
        """Epochs of training behind the checkpoint, where it says so."""
        told = self.checkpoint.metadata.get("training", {}).get("epochs")
        return told if isinstance(told, int) else None

    def describe(self) -> dict[str, dict[str, Any]]:
        """The entries "checkpoint" and "data" of every report."""
        return {
            "checkpoint": {
                "path": str(self.checkpoint.path),
                "sha256": self.checkpoint.sha256,
                "format": self.checkpoint.format,
                "model": self.model,
                "parameters": len(self.network),
            },
            "data": {
                "name": self.data.name,
                "split": self.data.split,
                "examples": len(self.data),
                "of": self.data.total,
                "sha256": self.data.sha256,
            },
        }


def subject(
    checkpoint: str | os.PathLike[str],
    *,
    model: str | None = None,
    data: str | None = None,
    split: str = "train",
    examples: int | Literal["all"] | None = None,
    data_dir: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    seed: int = 0,
) -> Subject:
    """A checkpoint in its model, with its data; model and data are as the checkpoint says, or as told.

    examples: how many, drawn class-balanced with the seed, or "all"; by default all up to 1,000
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not known; use float32 or float64")
    target = _device(device)
    file = read(checkpoint)
    module, spec, note = load_model(file, model)
    network = Network(module, dtype=DTYPES[dtype], device=target, name=str(file.path))
    found, notes = _data(file, data, split, examples, data_dir, seed)
    with users_code(spec):
        network.check(found.inputs(slice(0, 4), network.theta)[0], found.classes)
    return Subject(file, spec, network, found, (*file.notes, f"weights: {note}", *notes))


def beside(first: Subject, checkpoint: str | os.PathLike[str], model: str | None = None) -> Subject:
    """Another checkpoint to compare with a first, on the same data; its parameters must have the same shapes.

    Its model is as it says itself, or as told, or else that of the first. InputError where they differ.
    """
    file = read(checkpoint)
    spec = model or file.metadata.get("model") or first.model
    path, shapes = first.checkpoint.path, (first.network.names, first.network.shapes)
    try:
        module, spec, note = load_model(file, spec)
        dtype, device = first.network.theta.dtype, first.network.theta.device
        network = Network(module, dtype=dtype, device=device, name=str(file.path))
    except CheckpointError as error:
        raise InputError(f"{file.path} cannot be compared with {path}: {error}") from error
    if (network.names, network.shapes) != shapes:
        raise InputError(
            f"{file.path} ({spec}, {len(network):,} parameters) and {path} ({first.model}, "
            f"{len(first.network):,} parameters) have parameters of different shapes; compare checkpoints of "
            "one model"
        )
    return Subject(file, spec, network, first.data, (*file.notes, f"weights: {note}"))


def load_model(file: Checkpoint, model: str | None = None) -> tuple[nn.Module, str, str]:
    """The module with the checkpoint's weights, its specification, and a note on how they were matched."""
    spec = model or file.metadata.get("model")
    if not spec:
        raise CheckpointError(
            f"{file.path} does not say which model it holds; give --model, such as lenet:width=16, "
            "package.module:factory or file.py:factory"
        )
    if registry.is_callable_spec(spec):
        if not model:
            raise CheckpointError(
                f"{file.path} was made with the model {spec}; to run that code give --model {spec}"
            )
        factory = registry.load_callable(spec)
        try:
            module = factory()
        except (Exception, SystemExit) as error:
            raise InputError(
                f"the model {spec} could not be made: {source.one_line(error)}; it is called without "
                "arguments and returns a torch.nn.Module"
            ) from error
        if not isinstance(module, nn.Module):
            raise InputError(f"{spec} returned {type(module).__name__}; it must return a torch.nn.Module")
    else:
        module = registry.make("model", spec)
    return module, spec, str(match(file, module))


def info(checkpoint: str | os.PathLike[str], model: str | None = None) -> dict[str, Any]:
    """What a checkpoint holds; whether it fits its model, where the model is told or known."""
    file = read(checkpoint)
    found: dict[str, Any] = {
        "path": str(file.path),
        "format": file.format,
        "sha256": file.sha256,
        "tensors": len(file.state),
        "numbers": sum(t.numel() for t in file.state.values()),
        "notes": list(file.notes),
        "metadata": file.metadata,
    }
    if model or file.metadata.get("model"):
        module, spec, note = load_model(file, model)
        found |= {"model": spec, "parameters": sum(p.numel() for p in module.parameters()), "fits": note}
    return found


@contextmanager
def users_code(spec: str) -> Iterator[None]:
    """Whatever a model of the user's own raises becomes one line; of ours it is a bug, and stays as it is."""
    try:
        yield
    except (LandscapeError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        if not registry.is_callable_spec(spec):
            raise
        raise CheckpointError(
            f"the model {spec} failed: {source.one_line(error)}; it must map inputs (B, …) to "
            "logits (B, classes), each example by itself, by operations that torch differentiates twice"
        ) from error


def _data(
    file: Checkpoint,
    spec: str | None,
    split: str,
    examples: int | Literal["all"] | None,
    data_dir: str | None,
    seed: int,
) -> tuple[Data, list[str]]:
    """The data that the user names, or else that the checkpoint was trained on; and notes on the choice."""
    trained = file.metadata.get("data", {}).get("name")
    if spec is None and not trained:
        raise DataError(
            f"{file.path} does not say which data it was trained on; give --data, such as fashion-mini, "
            "FILE.npz or module:function"
        )
    if spec is None and registry.is_callable_spec(trained):
        raise DataError(f"{file.path} was trained on {trained}; to run that code give --data {trained}")
    try:
        whole, notes = source.load(spec or trained, split, data_dir=data_dir), []
    except DataError:
        if spec is not None or trained not in EMBEDDED or data_dir is not None:
            raise
        # Its 1,000 images are those of the default subset of the whole set: the numbers are the same.
        whole = source.load(EMBEDDED[trained], split)
        notes = [f"{trained} is not on this machine: its embedded part {whole.name} stands in"]
    if examples == "all":
        return whole, notes
    found = whole.subset(min(EXAMPLES, len(whole)) if examples is None else examples, seed)
    shares, drawn = (torch.bincount(d.y, minlength=whole.classes) / len(d) for d in (whole, found))
    if (shares - drawn).abs().max() > 0.02:
        notes.append(
            f"the {len(found):,} examples are class-balanced, {whole.name} is not: every number weighs the "
            "classes alike; --examples all takes them as they come"
        )
    return found, notes


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise InputError(
                f"device {name!r} is not supported; use auto, cpu or cuda (float64 sums are needed)"
            )
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {name!r} is not there: {str(error).splitlines()[0]}; use auto, cpu or cuda"
        ) from error
    return device
