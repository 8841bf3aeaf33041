"""What stands behind the commands, for scripts too: an analyzer under several budgets, and a training."""

from __future__ import annotations

import inspect
import math
import os
import time
from collections.abc import Generator, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from landscape import directions, losses, registry, results, training_files
from landscape._version import __version__
from landscape.attacks.pgd import PGD
from landscape.budget import NEED_A_BUDGET, Budget, Norm, budgets, text
from landscape.checkpoints.match import Which
from landscape.data import CHUNK, Data
from landscape.datasets import source
from landscape.doubts import no_gradient
from landscape.errors import DataError, InputError, NoSplit, NumericalError
from landscape.files import check_result_file, check_writable
from landscape.objective import Objective, Point, Watch, silence
from landscape.opening import users_code
from landscape.record import Record, complete, depends_on, describe
from landscape.results import Run
from landscape.resume import load as load_state
from landscape.resume import state_path
from landscape.same import same_threads
from landscape.schedules import CONSTANT, Schedule
from landscape.subjects import EXAMPLES, Subject, beside, same_data, subject
from landscape.task import Task
from landscape.training import Recipe, evaluate, precision
from landscape.training import train as train_module

TAKE_DIRECTIONS = ("perturbation", "scatter")
"""Analyzers whose option `directions` may name files."""


FEWEST, SHARE, MOST = 128, 20, 1000
"""Examples that an epoch of a scheduled training is judged on: a 20th of those that it saw, within bounds."""


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
        raise InputError(
            f"eps = 0 has no perturbation for {analyzer} to look at; give --eps above 0, such as 8/255"
        )
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
    checkpoints: Sequence[int] = (),
    budget: Budget,
    schedule: Schedule = CONSTANT,
    epochs: int | None = None,
    steps: int = 10,
    attack_precision: Literal["auto", "full", "bfloat16"] = "full",
    optimizer: Literal["adam", "sgd"] = "adam",
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    batch_size: int = CHUNK,
    examples: int | None = None,
    monitor: int | None = None,
    attacked: int | None = None,
    data_dir: str | None = None,
    seed: int = 0,
    resume: bool = True,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Train a named model, write its checkpoint and log after every epoch; the metadata that it then holds.

    At the end the test split is evaluated, clean and at the target budget under attacks stronger than the one
    trained with. Ctrl-C and SIGTERM let the mini-batch finish and write all that the same call carries on
    from, with the same bits in the end; a kill costs half a minute.

    log: result file of the kind "training", by default beside the checkpoint: see `log_path`
    keep: also keep the initial weights and those after every keep-th epoch: see `kept_path`
    checkpoints: epochs after which the weights are kept as well
    budget: the target; the models at the end of its periods are kept: see `period_path`
    epochs: by default those of the schedule's periods, or 10
    attack_precision: "auto" is bfloat16 where the processor has it
    monitor: examples of the test split that each epoch is judged on at the target budget; by default none
        where the budget is constant, else a 20th of those trained on, 128 to 1,000
    attacked: examples of the test split that the trained model is attacked on, by default 1,000; 0 is none
    resume: carry on with what an interrupted training left, or leave one that is complete as it is; else
        begin anew
    """
    check_writable(output)
    epochs = epochs if epochs is not None else schedule.periods[-1] if schedule.periods else 10
    kept = training_files.kept(output, epochs=epochs, schedule=schedule, every=keep, checkpoints=checkpoints)
    training_files.check_checkpoints([output, *training_files.paths(kept)])
    log_file = training_files.check_log(output, log, training_files.paths(kept))
    if registry.is_callable_spec(model):
        names = ", ".join(registry.named("model"))
        raise InputError(f"{model} is code of your own; what can be trained here are the models {names}")
    trained_on = source.load(data, "train", data_dir=data_dir, examples=examples, seed=seed)
    held_out, note = _held_out(data, trained_on, data_dir, seed)
    model = _with_classes(model, max(trained_on.classes, held_out.classes))
    recipe = Recipe(
        model=model,
        budget=budget,
        schedule=schedule,
        attack=PGD(steps=steps),
        attack_precision=precision(attack_precision),
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        weight_decay=weight_decay,
        seed=seed,
    )
    if attacked is not None and attacked < 0:
        raise InputError(f"attacked = {attacked} examples are not possible; give a number, 0 for none")
    judged_on = _monitored(recipe, trained_on, held_out, monitor)
    metadata = describe(recipe, data, trained_on)
    if not resume:
        state_path(output).unlink(missing_ok=True)
    else:
        wanted = None if attacked is None else min(attacked, len(held_out)) if budget.eps else 0
        others = [log_file, *training_files.paths(kept)]
        if found := complete(Path(output), metadata, epochs, others, wanted):
            return found
    settings = depends_on(metadata, epochs) | {
        "kept": [path.name for path in training_files.paths(kept)],
        "test data": held_out.sha256,
        "monitor": len(judged_on) if judged_on is not None else 0,
        "versions": f"landscape {__version__}, torch {torch.__version__}",
    }
    record = Record(
        recipe=recipe,
        output=Path(output),
        log=log_file,
        settings=settings,
        state=load_state(state_path(output), settings),
        metadata=metadata,
        provenance=results.provenance(
            data={**metadata["data"], "of": trained_on.total},
            budgets=[text(budget.eps)],
            notes=[],
            training=metadata["training"],
            attack=str(recipe.attack),
            batch_size=batch_size,
            device="cpu",
            dtype="float32",
            seed=seed,
        ),
        kept=kept,
        examples=judged_on,
        watch=watch or silence,
    )
    return _followed(record, trained_on, held_out, attacked, note, watch)


def _followed(
    record: Record,
    trained_on: Data,
    held_out: Data,
    attacked: int | None,
    note: str,
    watch: Watch | None,
) -> dict[str, Any]:
    """Train and evaluate, with a record kept; the metadata of the checkpoint.

    note: on the metrics, if anything
    """
    metadata, recipe = record.metadata, record.recipe
    with same_threads(record.state.threads if record.state else torch.get_num_threads()):
        try:
            with record.asked:
                module, _ = train_module(
                    recipe,
                    trained_on,
                    log=record.seen,
                    begin=record.begin,
                    each=record.each,
                    progress=record.after,
                )
            record.save_state()  # the evaluation is what is left to do
            if record.asked.noted:  # after the last mini-batch
                raise KeyboardInterrupt
            metrics = evaluate(module, held_out, recipe.budget, attacked=attacked, watch=watch)
            metadata["metrics"] = metrics | ({"note": note} if note else {})
        except NumericalError:
            record.drop_state()
            raise
        record.write(module)
    record.drop_state()
    if not math.isfinite(metadata["metrics"]["clean_loss"]):
        came = metadata["metrics"]["clean_loss"]
        raise NumericalError(f"the trained model's loss is {came}; train with a smaller lr than {recipe.lr}")
    return metadata


def _held_out(spec: str, trained_on: Data, data_dir: str | None, seed: int) -> tuple[Data, str]:
    """The test split; or, with a note that says so, the training data, where the source has no other."""
    told = "those trained on are among these examples"
    try:
        found = source.load(spec, "test", data_dir=data_dir)
    except NoSplit as error:
        return trained_on, f"{told}, for there is no test split: {error}"
    if found.x.shape[1:] != trained_on.x.shape[1:]:
        came, there = (" × ".join(map(str, data.x.shape[1:])) for data in (found, trained_on))
        raise DataError(
            f"the test inputs of {spec} are {came}, those to train on {there}; make them of one shape"
        )
    again = len(found) >= len(trained_on) and found.subset(len(trained_on), seed).sha256 == trained_on.sha256
    return found, f"{told}, for there is no test split" if again else ""


def _monitored(recipe: Recipe, trained_on: Data, held_out: Data, wanted: int | None) -> Data | None:
    """The examples that every epoch is judged on."""
    if wanted is None and recipe.schedule.eps.shape == "constant":
        return None
    if wanted is not None and wanted < 0:
        raise InputError(f"monitor = {wanted} examples are not possible; give a number, 0 for none")
    few = min(max(FEWEST, len(trained_on) // SHARE), MOST, len(held_out))
    count = few if wanted is None else wanted
    return held_out.subset(count) if count else None


def _check_directions_are_kept(output: str | os.PathLike[str], wanted: str | None) -> None:
    """Raise where the results would be written over the vectors that a user gave."""
    for direction in directions.parse(wanted) if wanted else []:
        if Path(direction.kind).resolve() == Path(output).resolve():
            raise InputError(f"{output} would be both the directions and the results; give two names")


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
