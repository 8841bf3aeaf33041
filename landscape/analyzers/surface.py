"""The loss over a plane or a line through θ, under every budget at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landscape.errors import InputError
from landscape.registry import options, register
from landscape.surfaces.settings import Adversaries, Precision, Settings, Statistics
from landscape.surfaces.surface import Surface

if TYPE_CHECKING:
    import numpy as np

    from landscape.axes import Axis
    from landscape.objective import Point
    from landscape.surfaces.cells import Sheet
    from landscape.task import Task


@register("analyzer")
def surface(
    point: Point,
    *,
    task: Task,
    directions: str = "filter",
    extent: str = "",
    size: int = 51,
    x: str = "",
    y: str = "",
    _1d: bool = False,
    adversary: Adversaries = "reattack",
    steps_warm: int = 5,
    attack_dtype: Precision = "auto",
    bn: Statistics = "frozen",
    refine: float = 0.0,
    keep_biases: bool = False,
    trajectory: str = "",
    save_directions: bool = False,
    workers: int = 0,
    resume: bool = True,
    seed: int = 0,
) -> Iterator[list[Surface]]:
    """Loss and accuracy over a plane or a line through θ, under all budgets in one run.

    L_eps(θ + x u + y v) in every cell of a grid, attacked anew in each: the attack starts from the
    neighbour's adversary, and in 5 % of the cells its gap to a much stronger one is measured. Each finished
    cell is kept in a journal beside the output: the same command carries on where it was stopped.

    directions: filter, layer, random, eigenvectors, A,B of these, gradient, FILE.h5, checkpoints; pca:CKPTS
    extent: the grid spans ± this, 1 by default; auto finds where the loss is 5 times that of θ
    size: cells along each axis
    x: coordinates along the first axis instead, FROM:TO:COUNT
    y: coordinates along the second axis instead
    _1d: a line along the first direction
    adversary: attacked in every cell, the one of θ everywhere, or both
    steps_warm: gradients in each cell, from a neighbour's adversary; 0 runs --attack afresh
    attack_dtype: precision of the attack's own passes; losses are in full precision always
    bn: BatchNorm's running statistics as they are, or estimated anew in each cell
    refine: interpolate cells where the measured error is below this share of the range; 0 measures all
    keep_biases: move biases and normalisation too, each as one filter
    trajectory: checkpoints to project onto the plane, a pattern such as 'run-epoch*.pt'
    save_directions: keep the vectors in the output
    workers: processes, each with one thread  [0: as many as torch has threads]
    resume: carry on with what the output's journal holds
    """
    from landscape.axes import axes
    from landscape.surfaces.remembered import depends, remembered

    check_counts(size, workers)
    if (earlier := finished(point, task, resume)) is not None:
        yield earlier
        return
    widest = point.objective.but(budget=max(task.budgets, key=lambda b: b.eps)).at(point.theta)
    count = 1 if _1d else 2

    def make() -> list[Axis]:
        return axes(widest, directions, count, seed=seed, keep_biases=keep_biases, beside=task.beside)

    of = {
        "checkpoint": task.run.provenance["checkpoint"],
        "data": task.run.provenance["data"]["sha256"],
        "device": str(point.theta.device),
        "asked for": [directions, count, seed, keep_biases, str(widest.objective.budget)],
        "attack": repr(point.objective.attack),
        **depends(point),
    }
    found = remembered(_beside(task.output, "cells") if resume else None, of, make)
    if directions.startswith("pca:") and not trajectory:
        trajectory = directions.removeprefix("pca:")
    course = _course(point, found, trajectory, task) if trajectory else None
    spans, notes = _spans(widest, found, extent, size, (x, y), course)
    task.run.provenance["notes"] = [*task.run.provenance["notes"], *notes]
    yield from scanned(
        point,
        found,
        spans,
        task=task,
        settings=Settings(
            adversary=adversary,
            steps_warm=steps_warm,
            attack_dtype=attack_dtype,
            bn=bn,
            refine=refine,
            seed=seed,
        ),
        course=course,
        save_directions=save_directions,
        workers=workers,
        resume=resume,
    )


def check_counts(size: int, workers: int) -> None:
    if size < 1:
        raise InputError(f"size {size}: a line or a plane has at least 1 cell along each axis")
    if workers < 0:
        raise InputError(f"workers {workers}: give 1 or more, or 0 for as many as torch has threads")


def scanned(
    point: Point,
    found: list[Axis],
    spans: list[np.ndarray],
    *,
    task: Task,
    settings: Settings,
    course: Course | None = None,
    save_directions: bool = False,
    workers: int = 0,
    resume: bool = True,
) -> Iterator[list[Surface]]:
    """The surfaces along some axes, with what the run is to be told of them."""
    import torch

    from landscape.axes import describe, doubts
    from landscape.surfaces.scan import Scan

    told = task.run.provenance
    scan = Scan(
        point,
        found,
        spans[0],
        spans[1] if len(spans) > 1 else None,
        task.budgets,
        settings,
        workers or torch.get_num_threads(),
    )
    told["directions"] = describe(found, point)
    told["settings"] = scan.depends
    told["bn"], told["steps_warm"] = settings.bn, settings.steps_warm
    told["notes"] = [*told["notes"], *doubts(found, point)]
    journal = _beside(task.output, "journal")
    if save_directions:
        for name, axis in zip("xy", found, strict=False):
            task.run.arrays[f"directions/{name}"] = axis.vector.cpu().numpy()
    if course:
        told["trajectory"] = _with_losses(course, point, scan.sheets)
    for surfaces in scan.surfaces(journal, resume, told["asked"]):
        task.run.complete = all(s.done.all() for s in surfaces)  # before the journal goes
        yield surfaces


def _beside(output: Path | None, ending: str) -> Path | None:
    """Where a scan keeps what it has not finished: s.h5.journal and the folder s.h5.cells beside s.h5."""
    return None if output is None else output.with_name(f"{output.name}.{ending}")


def finished(point: Point, task: Task, resume: bool) -> list[Surface] | None:
    """What the output holds already, if the same was asked for and it is complete.

    InputError where something else was asked for.
    """
    from landscape.results import kind_of, load
    from landscape.same import check_same
    from landscape.surfaces.identity import architecture

    told = task.run.provenance
    told["asked"] = {**_asked(task), "architecture": architecture(point)}
    output, journal = task.output, _beside(task.output, "journal")
    if not resume or output is None or journal is None or journal.exists() or not output.is_file():
        return None
    if kind_of(output) != task.run.kind:
        return None
    earlier = load(output)
    check_same(earlier.provenance.get("asked", {}), told["asked"], str(output))
    if not earlier.complete:
        return None
    note = f"{output} was complete already; --fresh measures it anew"
    told.clear()
    told |= {**earlier.provenance, "notes": [*earlier.provenance["notes"], note]}
    task.run.complete = task.run.stored = True
    return earlier.results


def _asked(task: Task) -> dict[str, Any]:
    """All that a result depends on, as it was asked for."""
    told = task.run.provenance
    given = options("analyzer", task.run.kind) | told["options"]
    free = ("task", "workers", "resume", "seed")
    return {
        "eps": [str(budget) for budget in task.budgets],
        "checkpoint": [each["sha256"] for each in told.get("checkpoints", [told["checkpoint"]])],
        **{
            name: told["checkpoint"][name] for name in ("model", "place", "removed", "added", "normalization")
        },
        "data": told["data"]["sha256"],
        **{name: told[name] for name in ("attack", "seed", "dtype", "loss")},
        **{name: value for name, value in given.items() if name not in free},
        "versions": {name: told["versions"][name] for name in ("landscape", "torch")},
    }


def _spans(
    point: Point,
    found: list[Axis],
    extent: str,
    size: int,
    written: tuple[str, str],
    course: Course | None,
) -> tuple[list[np.ndarray], list[str]]:
    """The coordinates along each axis: as told; around the checkpoints where they lead; or ± the extent.

    And what is to be said of them.
    """
    from landscape.surfaces.lattice import around, between, coordinates, evenly

    told: float | None = None
    spans, notes = [], list[str]()
    for k, (axis, text, option) in enumerate(zip(found, written, ("--x", "--y"), strict=False)):
        if text:
            spans.append(coordinates(text, option))
        elif axis.kind == "checkpoint" and not extent:
            spans.append(between(size))
        elif axis.kind == "pca" and not extent and course:
            places = [*course.places[k], 0.0]
            beyond = 0.15 * (max(places) - min(places))
            spans.append(around(min(places) - beyond, max(places) + beyond, size))
        else:
            if told is None:
                told, remark = _extent(point, found, extent or "1")
                notes += [remark] if remark else []
            spans.append(evenly(told, size))
    return spans, notes


def _extent(point: Point, found: list[Axis], extent: str) -> tuple[float, str]:
    if extent != "auto":
        try:
            value = float(extent)
            if not 0 < value < math.inf:
                raise ValueError
            return value, ""
        except ValueError:
            raise InputError(f"--extent {extent}: it is a number above 0, or auto") from None
    import numpy as np

    from landscape.surfaces.extent import extent as search

    frozen = point.frozen().quiet()

    def farthest(t: float) -> float:
        if t == 0:
            return frozen.value
        ends = [sign * t * axis.vector for axis in found for sign in (-1, 1)]
        return float(np.max([(frozen + end).value for end in ends]))  # NaN, if one is

    told = search(farthest)
    return told.extent, told.remark


@dataclass(frozen=True, eq=False)
class Course:
    """The checkpoints of a training on the plane: where they lie, and how far off it.

    places: coordinates along each axis (axes, checkpoints); residual, relative: distances from the plane
    """

    points: list[Point]
    places: list[np.ndarray]
    residual: np.ndarray
    relative: np.ndarray


def _course(point: Point, found: list[Axis], patterns: str, task: Task) -> Course:
    from landscape.axes import matching, project

    points = [task.beside(path) for path in matching(patterns)]
    x, y, residual, relative = project(found, point, [p.theta for p in points])
    return Course(points, [x] if y is None else [x, y], residual, relative)


def _with_losses(course: Course, point: Point, sheets: list[Sheet]) -> dict[str, Any]:
    """The course as a result tells it, with the true losses of its checkpoints, not those of the plane."""
    watch, losses = point.objective.watch, dict[str, list[float]]()
    for place, other in enumerate(course.points):
        watch("losses of the trajectory", place, len(course.points))
        known: dict[Any, float] = {}
        for sheet in sheets:
            if sheet.budget not in known:
                known[sheet.budget] = other.objective.but(budget=sheet.budget).at(other.theta).value
            losses.setdefault(sheet.name, []).append(known[sheet.budget])
    return {
        "names": [Path(p.objective.network.name).stem for p in course.points],
        "x": course.places[0].tolist(),
        "y": course.places[1].tolist() if len(course.places) > 1 else None,
        "residual": course.residual.tolist(),
        "relative_residual": course.relative.tolist(),
        "losses": losses,
    }
