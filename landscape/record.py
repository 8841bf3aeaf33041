"""What a training leaves on disk: checkpoint, log, kept models, and the state that it carries on from."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from landscape import results, resume
from landscape._version import __version__
from landscape.budget import text
from landscape.checkpoints.read import read
from landscape.checkpoints.write import save as save_checkpoint
from landscape.data import Data
from landscape.errors import CheckpointError
from landscape.log import Log
from landscape.objective import Watch, silence
from landscape.results import Run
from landscape.same import check_same
from landscape.surfaces.interrupt import Interrupt
from landscape.training import Course, Epoch, Recipe, judge
from landscape.training_files import Kept

EVERY = 30.0
"""Seconds of training that a kill costs at most: after so many the state is written."""


@dataclass(eq=False)
class Record:
    """Follows a training: its methods are the callbacks of `training.train`.

    settings: what the training depends on, for its state
    state: what it carries on from, if anything
    metadata: of the checkpoint; grows with every epoch
    provenance: of the log
    kept: the models to keep besides
    examples: those that each epoch is judged on under the target budget, if any
    course: the training once it has begun
    """

    recipe: Recipe
    output: Path
    log: Path
    settings: dict[str, Any]
    state: resume.State | None
    metadata: dict[str, Any]
    provenance: dict[str, Any]
    kept: Kept
    examples: Data | None = None
    watch: Watch = silence
    asked: Interrupt = field(default_factory=Interrupt)
    seen: Log = field(default_factory=Log)
    course: Course = field(init=False)

    def __post_init__(self) -> None:
        self.before = self.state.seconds if self.state else 0.0
        self.start = self.saved = time.monotonic()

    def begin(self, course: Course) -> None:
        """Take the training to where it was, or keep the initial weights."""
        self.course = course
        if self.state is None:
            self._keep(0, course.module)
        else:
            resume.restore(course, self.state)
            self.metadata["history"] = self.state.history
            self.metadata["training"]["epochs"] = len(course.epochs)
        self.first = course.steps
        self._tell()

    def after(self, epoch: Epoch, module: nn.Module) -> None:
        """Write what there is after an epoch."""
        self.metadata["training"]["epochs"] = epoch.epoch
        self.metadata["history"].append(vars(epoch) | self._scheduled(epoch.epoch))
        if self.examples is not None:
            found = judge(module, self.examples, self.recipe.budget, self.recipe.attack)
            self.metadata["history"][-1] |= found
        self.write(module)
        self._keep(epoch.epoch, module)

    def each(self, course: Course) -> None:
        """After a mini-batch: KeyboardInterrupt where one is asked for, once the state is written."""
        if self.asked.noted:
            self.save_state()
            raise KeyboardInterrupt
        if time.monotonic() - self.saved >= EVERY:
            self.save_state()
        self._tell()

    def write(self, module: nn.Module) -> None:
        """Write checkpoint and log."""
        save_checkpoint(self.output, module.state_dict(), self.metadata)
        self.provenance["checkpoint"] = {
            "path": str(self.output),
            "sha256": hashlib.sha256(self.output.read_bytes()).hexdigest(),
            "format": "landscape",
            "model": self.metadata["model"],
            "parameters": sum(parameter.numel() for parameter in module.parameters()),
        }
        self.provenance["seconds"] = self.seconds
        budget = self.recipe.budget
        found = self.seen.training(
            eps=float(budget.eps),
            budget=text(budget.eps),
            norm=budget.norm,
            attack=self.metadata["training"]["attack"],
            steps_per_epoch=self.course.batches,
            batch_size=self.recipe.batch_size,
            epochs=self.recipe.epochs,
        )
        complete = self.metadata["training"]["epochs"] == self.recipe.epochs
        results.save(Run("training", self.provenance, [found], complete), self.log)

    def save_state(self) -> None:
        """Write what the same command carries on from."""
        resume.save(
            resume.state_path(self.output),
            self.course,
            settings=self.settings,
            history=self.metadata["history"],
            seconds=self.seconds,
        )
        self.saved = time.monotonic()

    def drop_state(self) -> None:
        """There is nothing to carry on with."""
        resume.state_path(self.output).unlink(missing_ok=True)

    @property
    def seconds(self) -> float:
        """Of training, those before an interruption among them."""
        return self.before + time.monotonic() - self.start

    def _scheduled(self, epoch: int) -> dict[str, Any]:
        """The budget and the learning rate that an epoch ended with, where they are not constant."""
        recipe, batches = self.recipe, self.course.batches
        if not recipe.schedule.told(recipe.budget):
            return {}
        moment = recipe.schedule.moment(recipe.epochs, epoch, batches - 1, batches)
        eps = recipe.schedule.eps.at(recipe.budget.eps, moment)
        return {"eps": float(eps), "lr": recipe.schedule.lr.at(recipe.lr, moment)}

    def _keep(self, epoch: int, module: nn.Module) -> None:
        for path, also in self.kept.get(epoch, []):
            save_checkpoint(path, module.state_dict(), {**self.metadata, **also})

    def _tell(self) -> None:
        """Progress in mini-batches of this run: those of an earlier one say nothing about the time left."""
        on = f" from epoch {self.first // self.course.batches + 1} on" if self.first else ""
        loss = f", last loss {self.course.epochs[-1].loss:.3f}" if self.course.epochs else ""
        of = self.recipe.epochs * self.course.batches - self.first
        self.watch(f"training{on}{loss}", self.course.steps - self.first, of)


def describe(recipe: Recipe, name: str, data: Data) -> dict[str, Any]:
    """What the checkpoint of a training says, as before its first epoch.

    name: of the data, as it is given to a command
    """
    target, precision = recipe.budget, recipe.attack_precision
    return {
        "model": recipe.model,
        "data": {"name": name, "split": "train", "examples": len(data), "sha256": data.sha256},
        "budget": {"eps": text(target.eps), "norm": target.norm},
        "training": {
            "attack": str(recipe.attack) if target.eps else "none",
            "schedule": recipe.schedule.eps.shape,
            **recipe.schedule.told(target),
            **({"attack_precision": precision} if target.eps and precision != "full" else {}),
            "epochs": 0,
            "optimizer": recipe.optimizer,
            "lr": recipe.lr,
            "weight_decay": recipe.weight_decay,
            "batch_size": recipe.batch_size,
            "seed": recipe.seed,
        },
        "metrics": {},
        "history": [],
        "versions": {"landscape": __version__, "torch": str(torch.__version__)},
    }


def depends_on(metadata: dict[str, Any], epochs: int) -> dict[str, Any]:
    """What the weights depend on, by name, as the metadata of a training tells it."""
    told = {"model": metadata["model"], "data": metadata["data"]["sha256"], **metadata["budget"]}
    return told | metadata["training"] | {"epochs": epochs}


def complete(
    output: Path, metadata: dict[str, Any], epochs: int, others: Iterable[Path], attacked: int | None = None
) -> dict[str, Any] | None:
    """The metadata of a training that is complete already, with a note; None where there is something to do.

    InputError names the setting in which a complete one differs from what is asked for now.

    others: its other files, without which it is not complete
    attacked: test examples that it is to be attacked on; the note tells where it was on others
    """
    if resume.state_path(output).exists() or not output.is_file():
        return None
    try:
        found = read(output).metadata
        before, over = depends_on(found, found["training"]["epochs"]), found["metrics"]["clean_loss"]
        if not math.isfinite(over):  # it failed
            return None
    except (CheckpointError, KeyError, TypeError):  # none of ours, or not over
        return None
    check_same(before, depends_on(metadata, epochs), str(output))
    if not all(path.is_file() for path in others):
        return None
    known = found["metrics"].get("robust_examples", 0)
    on = f", attacked on {known} test examples, as `landscape evaluate` is on any" * (
        attacked not in (None, known)
    )
    return {**found, "note": f"{output} was complete already{on}; --fresh trains it anew"}
