"""A checkpoint in its model, with the data to look at it through."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from landscape import losses, registry
from landscape.checkpoints.read import Checkpoint, read
from landscape.checkpoints.summary import summary
from landscape.data import CHUNK, Data
from landscape.datasets import source
from landscape.doubts import doubts
from landscape.errors import CheckpointError, DataError, InputError, NumericalError
from landscape.network import Network
from landscape.objective import Objective, Point, Watch, silence
from landscape.opening import AS_TOLD, Loaded, Opening, load_model, users_code

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

    loaded: Loaded
    network: Network
    data: Data
    loss: losses.Loss = losses.cross_entropy
    opening: Opening = AS_TOLD
    notes: tuple[str, ...] = ()
    clean: dict[str, float] = field(default_factory=dict)

    @property
    def checkpoint(self) -> Checkpoint:
        return self.loaded.checkpoint

    @property
    def model(self) -> str:
        return self.loaded.model

    @property
    def epoch(self) -> int | None:
        """Epochs of training behind the checkpoint, where it says so."""
        told = self.checkpoint.metadata.get("training", {}).get("epochs")
        return told if isinstance(told, int) else None

    def describe(self) -> dict[str, dict[str, Any]]:
        """The entries "checkpoint" and "data" of every report."""
        match, normalization = self.loaded.match, self.loaded.normalization
        return {
            "checkpoint": {
                "path": str(self.checkpoint.path),
                "sha256": self.checkpoint.sha256,
                "format": self.checkpoint.format,
                "model": self.model,
                "parameters": len(self.network),
                "theta_norm": self.network.theta.double().norm().item(),
                "place": match.place,
                "removed": match.removed,
                "added": match.added,
                "averaged": match.averaged,
                "normalization": normalization.exact if normalization else "none",
                "ignored": list(self.checkpoint.ignored),
            },
            "data": {
                "name": self.data.name,
                "split": self.data.split,
                "examples": len(self.data),
                "of": self.data.total,
                "sha256": self.data.sha256,
                **self.clean,
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
    batch_size: int = CHUNK,
    loss: str = "cross_entropy",
    watch: Watch = silence,
    **opening: Any,
) -> Subject:
    """A checkpoint in its model, with its data; model and data are as the checkpoint says, or as told.

    examples: how many, drawn class-balanced with the seed, or "all"; by default all up to 1,000
    loss: a name of `landscape list losses`, or a callable of the user's own
    opening: the other fields of `Opening`
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is not known; use float32 or float64")
    target, how, measured = _device(device), Opening(model=model, **opening), losses.find(loss)
    file = read(checkpoint, trust=how.trust)
    loaded = load_model(file, how)
    network = Network(loaded.module, dtype=DTYPES[dtype], device=target, name=str(file.path))
    found, notes = _data(file, data, split, examples, data_dir, seed, losses.takes_numbers(measured))
    with users_code(loaded.spec):
        few, labels = found.inputs(slice(0, 4), network.theta)
        network.check(few, found.classes)
        with torch.no_grad():
            losses.check(measured, network(network.parts(network.theta), few), labels)
        point = Objective(network, found, loss=measured, batch_size=batch_size, watch=watch).at()
        notes = [*loaded.read, *loaded.remarks, *notes, *doubts(point)]
        return Subject(loaded, network, found, measured, how, tuple(notes), _clean(point))


def beside(first: Subject, checkpoint: str | os.PathLike[str]) -> Subject:
    """Another checkpoint to compare with a first, on the same data; its parameters must have the same shapes.

    Its model is as it says itself, or as told, or else that of the first. CheckpointError where they differ.
    """
    how = first.opening
    file = read(checkpoint, trust=how.trust)
    path, shapes = first.checkpoint.path, (first.network.names, first.network.shapes)
    try:
        loaded = load_model(file, how, like=first.loaded.spec)
        dtype, device = first.network.theta.dtype, first.network.theta.device
        network = Network(loaded.module, dtype=dtype, device=device, name=str(file.path))
    except CheckpointError as error:
        raise CheckpointError(f"{file.path} cannot be compared with {path}: {error}") from error
    if (network.names, network.shapes) != shapes:
        raise CheckpointError(
            f"{file.path} ({loaded.model}, {len(network):,} parameters) and {path} ({first.model}, "
            f"{len(first.network):,} parameters) have parameters of different shapes; compare checkpoints of "
            "one model"
        )
    return Subject(loaded, network, first.data, first.loss, how, (*loaded.read, *loaded.remarks))


def same_data(
    first: Subject,
    data: str | None,
    split: str,
    *,
    at_most: int | None,
    data_dir: str | None = None,
    seed: int = 0,
) -> Data | None:
    """Examples of a split of the data that a subject has, as many as told or as there are; None if none.

    None too where the source has no splits, and what comes for another are the subject's own examples, if as
    many are asked for.
    """
    trained = first.checkpoint.metadata.get("data", {}).get("name")
    numbers = losses.takes_numbers(first.loss)
    for name in [data] if data else [trained, EMBEDDED.get(trained)]:
        with suppress(DataError):
            if name is None or not (data or _plain(name)):
                continue
            found = source.load(name, split, data_dir=data_dir, at_most=at_most, seed=seed, numbers=numbers)
            if split != first.data.split and found.sha256 == first.data.sha256:
                return None
            first.network.check(found.inputs(slice(0, 4), first.network.theta)[0], found.classes)
            return found
    return None


def info(checkpoint: str | os.PathLike[str], **told: Any) -> dict[str, Any]:
    """What a checkpoint holds; if it fits its model, where that is told or known; its clean loss, with data.

    told: the fields of `Opening`; with `data` those of `subject` too
    """
    how = Opening(**{name: value for name, value in told.items() if name in Opening.__dataclass_fields__})
    file = read(checkpoint, trust=how.trust)
    found: dict[str, Any] = {
        "path": str(file.path),
        "format": file.format,
        "sha256": file.sha256,
        **summary(file, how.key),
        "ignored": list(file.ignored),
        "metadata": file.metadata or file.told,
        "notes": list(file.notes),
    }
    if told.get("data"):
        with_data = subject(checkpoint, **told)
        point = Objective(with_data.network, with_data.data, loss=with_data.loss).at()
        if not math.isfinite(point.value):
            raise NumericalError(f"the loss {losses.name_of(with_data.loss)} of {file.path} is {point.value}")
        loaded, told_data = with_data.loaded, with_data.describe()["data"]
        found["data"] = told_data | {"loss": point.value, "loss_stderr": point.value_stderr}
        found["notes"] = [note for note in with_data.notes if note not in loaded.read]
    elif how.model or file.metadata.get("model"):
        loaded = load_model(file, how)
        found["notes"] = loaded.remarks
    else:
        return found
    parameters = sum(p.numel() for p in loaded.module.parameters() if p.requires_grad)
    offered = loaded.match.normalizer
    if found["normalizer"] and not offered:  # the model has it itself
        found["normalizer"] = None
    return found | {"model": loaded.model, "parameters": parameters, "fits": str(loaded.match)}


def _clean(point: Point) -> dict[str, float]:
    """The clean accuracy and its standard error; nothing of numbers to predict."""
    if not point.objective.data.classes:
        return {}
    return {"clean_accuracy": point.accuracy, "clean_accuracy_stderr": point.accuracy_stderr}


def _data(
    file: Checkpoint,
    spec: str | None,
    split: str,
    examples: int | Literal["all"] | None,
    data_dir: str | None,
    seed: int,
    numbers: bool,
) -> tuple[Data, list[str]]:
    """The data that the user names, or else that the checkpoint was trained on; and notes on the choice."""
    trained = file.metadata.get("data", {}).get("name")
    if spec is None and not trained:
        raise DataError(
            f"{file.path} does not say which data it was trained on; give --data, such as fashion-mini, "
            "FILE.npz, folder:PATH or module:function"
        )
    if spec is None and not _plain(trained):
        raise DataError(f"{file.path} was trained on {trained}; to open that give --data {trained}")

    def load(name: str) -> Data:
        wanted, most = (None, None) if examples == "all" else (examples, EXAMPLES)
        return source.load(
            name, split, data_dir=data_dir, examples=wanted, at_most=most, seed=seed, numbers=numbers
        )

    notes = []
    try:
        found = load(spec or trained)
    except DataError:
        if spec is not None or trained not in EMBEDDED or data_dir is not None:
            raise
        # Its 1,000 images are those of the default subset of the whole set: the numbers are the same.
        found = load(EMBEDDED[trained])
        notes = [f"{trained} is not on this machine: its embedded part {found.name} stands in"]
    if found.shares:
        shares, drawn = torch.tensor(found.shares), torch.bincount(found.y, minlength=found.classes)
        apart = (shares - drawn / len(found)).abs().max() > 0.02
        # Of a balanced set so few may be drawn that their classes cannot be as many.
        uneven = (shares - 1 / found.classes).abs().max() > 0.02
    if found.shares and apart and uneven:
        notes.append(
            f"the {len(found):,} examples are class-balanced, {found.name} is not: every number weighs the "
            "classes alike; --examples all takes them as they come"
        )
    return found, notes


def _plain(name: str) -> bool:
    """Whether data may be opened by a file's word: code and the network need its user's."""
    return name in registry.named("dataset") or name.endswith(".npz")


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
