"""What stands behind the commands, for scripts too: an analyzer under several budgets, and a training."""

from __future__ import annotations

import hashlib
import inspect
import math
import os
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import h5py
import torch
from torch import nn

from landscape import directions, losses, registry, results
from landscape._version import __version__
from landscape.attacks.pgd import PGD
from landscape.budget import Budget, Norm, budgets, text
from landscape.checkpoints.match import Which
from landscape.checkpoints.write import save as save_checkpoint
from landscape.data import CHUNK, Data
from landscape.datasets import source
from landscape.doubts import no_gradient
from landscape.errors import DataError, InputError, NumericalError
from landscape.log import Log
from landscape.objective import Objective, Point, Watch, silence
from landscape.opening import users_code
from landscape.results import Run
from landscape.subjects import EXAMPLES, Subject, beside, same_data, subject
from landscape.task import Task
from landscape.training import Epoch, Recipe, evaluate
from landscape.training import train as train_module

NEED_A_BUDGET = ("perturbation",)
"""Analyzers of the perturbations themselves, of which eps = 0 has none."""
TAKE_DIRECTIONS = ("perturbation", "scatter")
"""Analyzers whose option `directions` may name files."""


class _Points(Sequence[Point]):
    """The points of one objective at several checkpoints, each read when it is asked for."""

    def __init__(self, first: Subject, paths: list[str | os.PathLike[str]], objective: Objective) -> None:
        self.first, self.paths, self.objective = first, paths, objective

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: Any) -> Any:
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        if place % len(self) == 0:
            return self.objective.at()
        return replace(self.objective, network=beside(self.first, self.paths[place]).network).at()


def measure(
    analyzer: str,
    checkpoint: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
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
    model_args: Sequence[str] = (),
    key: str | None = None,
    weights: Which = "raw",
    normalize: str = "none",
    trust: bool = False,
    loss: str = "cross_entropy",
    **options: Any,
) -> Run:
    """Run an analyzer at a checkpoint under each of several budgets, on the same data and random starts.

    analyzer: its name, such as "sharpness"; options: its own keyword arguments
    checkpoint: one, or as many as the analyzer compares, in their order
    eps: a list such as "0,2/255,8/255", or Budgets
    output: HDF5 file, published whole after every result, so that what is done is never lost
    told: a Run to fill, for callers that want what is there when the work is interrupted
    The other arguments are those of `subject`. NumericalError is raised after the results so far are written.
    """
    function = registry.find("analyzer", analyzer)
    wanted = budgets(eps, norm) if isinstance(eps, str) else eps
    if seed < 0:
        raise InputError(f"seed {seed} is negative; give 0 or more")
    if output is not None:
        check_result_file(output)
        if analyzer in TAKE_DIRECTIONS:
            _check_directions_are_kept(output, options.get("directions"))
    if analyzer in NEED_A_BUDGET and not all(budget.eps for budget in wanted):
        raise InputError(f"eps = 0 has no perturbation for {analyzer} to look at; give budgets above 0")
    paths = [checkpoint] if isinstance(checkpoint, str | os.PathLike) else list(checkpoint)
    least, most = registry.points(function)
    if not least <= len(paths) <= (most or len(paths)):
        range_ = f"{least} or more" if most is None else f"{least} to {most}"
        allowed = "one" if most == 1 else f"{least}" if least == most else range_
        came = "1 checkpoint was" if len(paths) == 1 else f"{len(paths)} checkpoints were"
        raise InputError(f"{came} given; {analyzer} takes {allowed}")
    inner = registry.make("attack", attack, seed=seed)
    found = subject(
        paths[0],
        model=model,
        data=data,
        split=split,
        examples=examples,
        data_dir=data_dir,
        device=device,
        dtype=dtype,
        seed=seed,
        batch_size=batch_size,
        watch=watch or silence,
        model_args=tuple(model_args),
        key=key,
        weights=weights,
        normalize=normalize,
        trust=trust,
        loss=loss,
    )
    run = told if told is not None else Run(analyzer, {})
    start = time.perf_counter()
    run.provenance |= results.provenance(
        **found.describe(),
        budgets=[str(budget).split()[0] for budget in wanted],
        notes=list(found.notes),
        options=options,
        attack=str(inner),
        loss=losses.name_of(found.loss),
        batch_size=batch_size,
        device=_device_name(found.network.theta.device),
        dtype=dtype,
        seed=seed,
    )
    if len(paths) > 1:
        # Each is read once now: what does not fit is to be told before hours of work. One is held at a time.
        subjects = (beside(found, path) if i else found for i, path in enumerate(paths))
        run.provenance["checkpoints"] = [s.describe()["checkpoint"] | {"epoch": s.epoch} for s in subjects]
    takes = inspect.signature(function).parameters
    if "seed" in takes:
        options = {**options, "seed": seed}
    objective = Objective(found.network, found.data, Budget(0), inner, found.loss, batch_size)

    if any(budget.eps for budget in wanted):
        with users_code(found.loaded.spec):
            run.provenance["notes"] += filter(None, [no_gradient(objective.but().at())])

    def keep() -> None:
        if run.stored:
            return
        run.provenance["seconds"] = time.perf_counter() - start
        if output is not None:
            results.save(run, output)

    def other(path: str) -> Point:
        return replace(objective, network=beside(found, path).network).at()

    def more(split: str, most: int | None) -> Data | None:
        most = most or (EXAMPLES if examples is None else examples if examples != "all" else None)
        return same_data(found, data, split, at_most=most, data_dir=data_dir, seed=seed)

    failure: NumericalError | None = None
    at_once = "task" in takes  # every budget in one call
    for place, budget in enumerate([Budget(0)] if at_once else wanted):
        each = watch or objective.watch
        if watch and not at_once:
            each = _announce(watch, budget, place, len(wanted))
        try:
            points = _Points(found, paths, replace(objective, budget=budget, watch=each))
            if at_once:
                kept = Path(output) if output is not None else None
                task = Task(wanted, run, other, kept, more)
                options = {**options, "task": task}
            with users_code(found.loaded.spec):
                made = function(*([points] if most is None else points), **options)
                # Closed at once where saving fails: an analyzer may hold files and processes.
                with closing(made) if isinstance(made, Generator) else nullcontext([made]) as each_result:
                    for result in each_result:
                        if at_once:
                            run.results = result
                        else:
                            run.results.append(result)
                        keep()
        except NumericalError as error:
            failure = error
            break
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"the device is out of memory; give --batch-size {max(1, batch_size // 2)}"
            ) from error
        run.complete = run.complete if at_once else place + 1 == len(wanted)
        if run.complete and not at_once:
            keep()
    if failure is None and not all(getattr(result, "converged", True) for result in run.results):
        failed = ", ".join(dict.fromkeys(r.budget for r in run.results if not r.converged))
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
    log: str | os.PathLike[str] | None = None,
    keep: int | None = None,
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
    """Train a named model, write its checkpoint and log after every epoch; the metadata that it then holds.

    At the end the test split is evaluated, clean and under attacks stronger than the one trained with.

    log: result file of the kind "training", by default beside the checkpoint: see `log_path`
    keep: also keep the initial weights and those after every keep-th epoch: see `kept_path`
    """
    check_writable(output)
    if keep is not None and keep < 1:
        raise InputError(f"keep = {keep}: every keep-th epoch is kept, for a keep of at least 1")
    log_file = log_path(output, log)
    kept = [kept_path(output, epoch, epochs) for epoch in range(0, epochs + 1, keep)] if keep else []
    _check_log(log_file, output, kept)
    if log is None:
        _check_own_log(log_file, output)
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

    seen = Log()
    start = time.perf_counter()
    provenance = results.provenance(
        data={**metadata["data"], "of": trained_on.total},
        budgets=[text(budget.eps)],
        notes=[],
        training=metadata["training"],
        attack=str(recipe.attack),
        batch_size=batch_size,
        device="cpu",
        dtype="float32",
        seed=seed,
    )

    def write(module: nn.Module) -> None:
        save_checkpoint(output, module.state_dict(), metadata)
        provenance["checkpoint"] = {
            "path": str(output),
            "sha256": hashlib.sha256(Path(output).read_bytes()).hexdigest(),
            "format": "landscape",
            "model": model,
            "parameters": sum(parameter.numel() for parameter in module.parameters()),
        }
        provenance["seconds"] = time.perf_counter() - start
        found = seen.training(
            eps=float(budget.eps),
            budget=text(budget.eps),
            norm=budget.norm,
            attack=metadata["training"]["attack"],
            steps_per_epoch=-(-len(trained_on) // batch_size),
            batch_size=batch_size,
            epochs=epochs,
        )
        complete = metadata["training"]["epochs"] == epochs
        results.save(Run("training", provenance, [found], complete), log_file)

    def after(epoch: Epoch, module: nn.Module) -> None:
        metadata["training"]["epochs"] = epoch.epoch
        metadata["history"].append(vars(epoch))
        write(module)
        if keep and epoch.epoch % keep == 0:
            save_checkpoint(kept_path(output, epoch.epoch, epochs), module.state_dict(), metadata)
        if watch:
            watch(f"training, last loss {epoch.loss:.3f}", epoch.epoch, epochs)

    if watch:
        watch("training", 0, epochs)
    if keep:
        initial, _ = train_module(replace(recipe, epochs=0), trained_on)
        save_checkpoint(kept_path(output, 0, epochs), initial.state_dict(), metadata)
    module, _ = train_module(recipe, trained_on, log=seen, progress=after)
    metadata["metrics"] = evaluate(module, held_out, budget, watch=watch)
    write(module)
    if not math.isfinite(metadata["metrics"]["clean_loss"]):
        came = metadata["metrics"]["clean_loss"]
        raise NumericalError(f"the trained model's loss is {came}; train with a smaller lr than {lr}")
    return metadata


def log_path(output: str | os.PathLike[str], log: str | os.PathLike[str] | None = None) -> Path:
    """Where the log of a training goes: as told, or beside its checkpoint, mine.h5 of mine.pt."""
    return Path(log) if log is not None else Path(output).with_name(f"{_split(output)[0]}.h5")


def kept_path(output: str | os.PathLike[str], epoch: int, epochs: int) -> Path:
    """Where an epoch of several is kept: mine-epoch05.pt of mine.pt, so that names have the epochs' order."""
    stem, ending = _split(output)
    return Path(output).with_name(f"{stem}-epoch{epoch:0{len(str(epochs))}}{ending}")


def check_result_file(path: str | os.PathLike[str]) -> None:
    """Raise before any work is done unless results can be written there, over older ones or none."""
    check_writable(path)
    old = Path(path)
    if old.is_file() and old.stat().st_size and not h5py.is_hdf5(old):
        raise InputError(f"{path} is there, and is no result file to write over; choose another name")


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


def _check_directions_are_kept(output: str | os.PathLike[str], wanted: str | None) -> None:
    """Raise where the results would be written over the vectors that a user gave."""
    for direction in directions.parse(wanted) if wanted else []:
        if Path(direction.kind).resolve() == Path(output).resolve():
            raise InputError(f"{output} would be both the directions and the results; give two names")


def _split(path: str | os.PathLike[str]) -> tuple[str, str]:
    """A file's name and its ending: ("mine", ".pt"), and ("lenet_eps0.1", ""), where .1 is none."""
    name = Path(path)
    return (name.stem, name.suffix) if name.suffix[1:2].isalpha() else (name.name, "")


def _check_log(log: Path, output: str | os.PathLike[str], kept: list[Path]) -> None:
    """Raise where a training's log would take the place of one of its checkpoints, or of something else."""
    if log.resolve() in {Path(path).resolve() for path in (output, *kept)}:
        raise InputError(f"{log} would be both a checkpoint and the log; give two names")
    check_result_file(log)


def _check_own_log(log: Path, output: str | os.PathLike[str]) -> None:
    """Raise where a log that nobody named would be written over what is no earlier log of this checkpoint."""
    if log.is_file() and log.stat().st_size and results.kind_of(log) != "training":
        told = f"results of the kind {results.kind_of(log)}" if results.kind_of(log) else "something else"
        raise InputError(f"{log}, where the log would go, holds {told}; give --log")
    if (other := _logged(log)) and _is_another(other, output):
        raise InputError(f"{log}, where the log would go, is the log of the checkpoint {other}; give --log")


def _logged(path: Path) -> str | None:
    """The checkpoint that a training's log is of; None where there is no such log that can be read."""
    with suppress(InputError):
        if results.kind_of(path) == "training":
            return results.load(path).provenance["checkpoint"].get("path")
    return None


def _is_another(stored: str, output: str | os.PathLike[str]) -> bool:
    """Whether a stored path is not that of the output, which may have been named from another folder."""
    if Path(stored).resolve() == Path(output).resolve():
        return False
    return Path(stored).name != Path(output).name or Path(stored).exists()


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
