"""A checkpoint's weights in a model: which weights, in which model, behind which normalisation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from landscape.checkpoints.content import listed
from landscape.checkpoints.match import Match, Which, match
from landscape.checkpoints.read import Checkpoint
from landscape.checkpoints.summary import summary
from landscape.datasets.arrays import one_line
from landscape.errors import CheckpointError, InputError, LandscapeError
from landscape.models import source as models
from landscape.normalization import Normalization


@dataclass(frozen=True)
class Opening:
    """How checkpoints are opened.

    model: its specification, by default what the checkpoint says; model_args: "name=value" for its factory
    key: the place of the weights in the file, where several fit the model
    weights: those of the training, or their average
    normalize: what inputs are normalised by in front of the model: a data set's name, "MEAN/STD", "ckpt" for
        what the checkpoint holds, or "none"
    trust: whether code that the file names may be run
    """

    model: str | None = None
    model_args: tuple[str, ...] = ()
    key: str | None = None
    weights: Which = "raw"
    normalize: str = "none"
    trust: bool = False


@dataclass(frozen=True, eq=False)
class Loaded:
    """A checkpoint in its model: what makes that again, how they matched, what normalises its inputs."""

    checkpoint: Checkpoint
    module: nn.Module
    spec: str  # of the model, without the arguments that were given apart
    model: str
    match: Match
    normalization: Normalization | None

    @property
    def read(self) -> list[str]:
        """How it was read, in words."""
        ignored = self.checkpoint.ignored
        told = [f"code in the file was not run: {listed(ignored)}"] if ignored else []
        return [*told, f"weights: {self.match}"]

    @property
    def remarks(self) -> list[str]:
        """What else a reader should know."""
        told = list(self.checkpoint.notes)
        if within := self.match.within:
            told.append(
                f"NOT ALL OF THE FILE: the model has no place for {len(within)} tensors among its own, "
                f"{listed(within, 3)}: is it the model that the file was trained with?"
            )
        if self.normalization:
            told.append(f"inputs are normalised by {self.normalization}")
        elif offered := self.match.normalizer:
            pair = "/".join(",".join(f"{n:.4g}" for n in part) for part in (offered.mean, offered.std))
            told.append(
                f"the checkpoint holds a normalisation of inputs, {pair} at {listed([offered.place])}, "
                "which is not used: give --normalize ckpt if the model was trained with it"
            )
        return told


AS_TOLD = Opening()
"""As the checkpoint says itself."""


def load_model(file: Checkpoint, how: Opening = AS_TOLD, like: str | None = None) -> Loaded:
    """The checkpoint's weights in the model that is told, that it names, or else in one `like` another's."""
    own = file.metadata.get("model")
    if own is not None and not isinstance(own, str):
        raise CheckpointError(f"{file.path} names its model by a {type(own).__name__}; give --model")
    spec = how.model or own or like
    if not spec:
        looks = summary(file, how.key)["architecture"]
        likely = f" (it looks like {looks})" if looks else ""
        raise CheckpointError(
            f"{file.path} does not say which model it holds{likely}; give --model, such as {models.HOW}"
        )
    # What a file names is not run because it names it, but because its user did.
    if models.of_others(spec) and spec not in (how.model, like):
        raise CheckpointError(
            f"{file.path} was made with the model {spec}; to run that code give --model {spec}"
        )
    if not how.model and own:
        _refuse_larger(file, spec)
    module, made = models.make(spec, how.model_args)
    found = match(file, module, key=how.key, weights=how.weights)
    normalization = _normalization(file, found, how.normalize)
    if normalization:
        normalization.into(module)
    return Loaded(file, module, spec, made, found, normalization)


def _refuse_larger(file: Checkpoint, spec: str) -> None:
    """Raise where a file names a model far larger than its tensors: to make it would fill the memory."""
    with torch.device("meta"):
        numbers = sum(p.numel() for p in models.make(spec)[0].parameters())
    held = max((weights.numbers for weights in file.weights), default=0)
    if numbers > 2 * held + 10**6:
        raise CheckpointError(
            f"{file.path} says that it holds {spec}, which has {numbers:,} parameters, and has {held:,} "
            "numbers; give the right one with --model"
        )


def _normalization(file: Checkpoint, found: Match, spec: str) -> Normalization | None:
    if spec == "none":
        return None
    if spec != "ckpt":
        return Normalization.of(spec)
    if not found.normalizer:
        raise InputError(
            f"{file.path} holds no normalisation that the model does not use itself; give --normalize "
            "MEAN/STD, or leave it out"
        )
    return Normalization(found.normalizer.mean, found.normalizer.std)


@contextmanager
def users_code(spec: str) -> Iterator[None]:
    """Whatever a model of the user's own raises becomes one line; of ours it is a bug, and stays as it is."""
    try:
        yield
    except (LandscapeError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        if not models.of_others(spec):
            raise
        raise CheckpointError(
            f"the model {spec} failed: {one_line(error)}; it must map inputs (B, …) to "
            "logits (B, classes), each example by itself, by operations that torch differentiates twice"
        ) from error
