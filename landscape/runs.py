"""What stands behind the commands, for scripts too: an analyzer under several budgets, and a training."""

from __future__ import annotations

import inspect
import math
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import h5py
import torch
from torch import nn

from landscape import registry, results
from landscape._version import __version__
from landscape.attacks.pgd import PGD
from landscape.budget import Budget, Norm, budgets, text
from landscape.checkpoints.write import save as save_checkpoint
from landscape.data import CHUNK
from landscape.datasets import source
from landscape.errors import DataError, InputError, NumericalError
from landscape.objective import Objective, Watch
from landscape.results import Run
from landscape.subjects import subject, users_code
from landscape.training import Epoch, Recipe, evaluate
from landscape.training import train as train_module


def measure(
    analyzer: str,
    checkpoint: str | os.PathLike[str],
    eps: str | list[Budget] = "0",
    *,
    norm: Norm = "linf",
    attack: str = "pgd:steps=20",
    batch_size: int = CHUNK,
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
    watch: Watch | None = None,
    told: Run | None = None,
    model: str | None = None,
    data: str | None = None,
    split: str = "train",
    examples: int | Literal["all"] | None = None,
    data_dir: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    **options: Any,
) -> Run:
    """Run an analyzer at a checkpoint under each of several budgets, on the same data and random starts.

    analyzer: its name, such as "sharpness"; options: its own keyword arguments
    eps: a list such as "0,2/255,8/255", or Budgets
    output: HDF5 file, published whole after every budget, so that what is done is never lost
    told: a Run to fill, for callers that want what is there when the work is interrupted
    The other arguments are those of `subject`. NumericalError is raised after the results so far are written.
    """
    function = registry.find("analyzer", analyzer)
    wanted = budgets(eps, norm) if isinstance(eps, str) else eps
    if seed < 0:
        raise InputError(f"seed {seed} is negative; give 0 or more")
    if output is not None:
        check_writable(output)
        old = Path(output)
        if old.is_file() and old.stat().st_size and not h5py.is_hdf5(old):
            raise InputError(f"{output} is there, and is no result file to write over; choose another name")
    inner = registry.make("attack", attack, seed=seed)
    found = subject(
        checkpoint,
        model=model,
        data=data,
        split=split,
        examples=examples,
        data_dir=data_dir,
        device=device,
        dtype=dtype,
        seed=seed,
    )
    run = told if told is not None else Run(analyzer, {})
    start = time.perf_counter()
    run.provenance |= results.provenance(
        **found.describe(),
        budgets=[str(budget).split()[0] for budget in wanted],
        notes=list(found.notes),
        options=options,
        attack=str(inner),
        batch_size=batch_size,
        device=_device_name(found.network.theta.device),
        dtype=dtype,
        seed=seed,
    )
    if "seed" in inspect.signature(function).parameters:
        options = {**options, "seed": seed}
    objective = Objective(found.network, found.data, Budget(0), inner, batch_size=batch_size)
    failure: NumericalError | None = None
    for place, budget in enumerate(wanted):
        each = _announce(watch, budget, place, len(wanted)) if watch else objective.watch
        try:
            with users_code(found.model):
                run.results.append(function(replace(objective, budget=budget, watch=each).at(), **options))
        except NumericalError as error:
            failure = error
            break
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"the device is out of memory; give --batch-size {max(1, batch_size // 2)}"
            ) from error
        run.complete = place + 1 == len(wanted)
        run.provenance["seconds"] = time.perf_counter() - start
        if output is not None:
            results.save(run, output)
    if failure is None and not all(getattr(result, "converged", True) for result in run.results):
        failed = ", ".join(r.budget for r in run.results if not r.converged)
        failure = NumericalError(f"not converged at eps = {failed}; the residuals say how far it came")
    if failure is not None:
        written = f"; what there is was written to {output}" if output is not None and run.results else ""
        raise NumericalError(f"{failure}{written}") from failure
    return run


def train(
    model: str,
    data: str,
    output: str | os.PathLike[str],
    *,
    budget: Budget,
    epochs: int = 10,
    steps: int = 10,
    optimizer: Literal["adam", "sgd"] = "adam",
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    batch_size: int = CHUNK,
    examples: int | None = None,
    data_dir: str | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Train a named model and write its checkpoint after every epoch; the metadata that it then holds.

    At the end the test split is evaluated, clean and under attacks stronger than the one trained with.
    """
    check_writable(output)
    if registry.is_callable_spec(model):
        names = ", ".join(registry.named("model"))
        raise InputError(f"{model} is code of your own; what can be trained here are the models {names}")
    trained_on = source.load(data, "train", data_dir=data_dir, examples=examples, seed=seed)
    try:
        held_out = source.load(data, "test", data_dir=data_dir)
    except DataError:
        held_out = trained_on
    model = _with_classes(model, max(trained_on.classes, held_out.classes))
    recipe = Recipe(
        model=model,
        budget=budget,
        attack=PGD(steps=steps),
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        weight_decay=weight_decay,
        seed=seed,
    )
    metadata: dict[str, Any] = {
        "model": model,
        "data": {
            "name": data,
            "split": "train",
            "examples": len(trained_on),
            "sha256": trained_on.sha256,
        },
        "budget": {"eps": text(budget.eps), "norm": budget.norm},
        "training": {
            "attack": str(recipe.attack) if budget.eps else "none",
            "schedule": "constant",
            "epochs": 0,
            "optimizer": optimizer,
            "lr": lr,
            "weight_decay": weight_decay,
            "batch_size": batch_size,
            "seed": seed,
        },
        "metrics": {},
        "history": [],
        "versions": {"landscape": __version__, "torch": str(torch.__version__)},
    }

    def after(epoch: Epoch, module: nn.Module) -> None:
        metadata["training"]["epochs"] = epoch.epoch
        metadata["history"].append(vars(epoch))
        save_checkpoint(output, module.state_dict(), metadata)
        if watch:
            watch(f"training, last loss {epoch.loss:.3f}", epoch.epoch, epochs)

    if watch:
        watch("training", 0, epochs)
    module, _ = train_module(recipe, trained_on, progress=after)
    metadata["metrics"] = evaluate(module, held_out, budget, watch=watch)
    save_checkpoint(output, module.state_dict(), metadata)
    if not math.isfinite(metadata["metrics"]["clean_loss"]):
        came = metadata["metrics"]["clean_loss"]
        raise NumericalError(f"the trained model's loss is {came}; train with a smaller lr than {lr}")
    return metadata


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise before any work is done unless a file can be made where the output is to go."""
    try:
        if Path(path).exists() and not Path(path).is_file():
            raise OSError(f"{str(path) or 'an empty path'} is a folder or a device, not a file")
        with tempfile.TemporaryFile(dir=Path(path).resolve().parent):
            pass
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}; choose another place"
        ) from error


def _announce(watch: Watch, budget: Budget, place: int, of: int) -> Watch:
    prefix = f"eps {str(budget).split()[0]} ({place + 1}/{of}): "
    return lambda stage, done, total: watch(prefix + stage, done, total)


def _with_classes(model: str, classes: int) -> str:
    """The specification with as many outputs as the data has classes: it makes the same model again."""
    name, given = registry.split(model)
    if "classes" in given or registry.options("model", name).get("classes", classes) == classes:
        return model
    return f"{name}:" + ",".join(f"{key}={value}" for key, value in {**given, "classes": classes}.items())


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
