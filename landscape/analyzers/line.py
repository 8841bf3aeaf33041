"""The loss on the straight way between two checkpoints, under every budget at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from landscape.registry import register
from landscape.surfaces.settings import Adversaries, Precision, Settings, Statistics
from landscape.surfaces.surface import Surface

if TYPE_CHECKING:
    from landscape.objective import Point
    from landscape.task import Task


@register("analyzer")
def line(
    point: Point,
    other: Point,
    *,
    task: Task,
    size: int = 61,
    x: str = "",
    adversary: Adversaries = "reattack",
    steps_warm: int = 5,
    attack_dtype: Precision = "auto",
    bn: Statistics = "frozen",
    save_directions: bool = False,
    workers: int = 0,
    resume: bool = True,
    seed: int = 0,
) -> Iterator[list[Surface]]:
    """Loss and accuracy on the straight line from one checkpoint to another, under all budgets in one run.

    L_eps(A + x (B − A)), attacked anew in each cell from the neighbour's adversary; and the barrier: how far
    the loss rises above the chord between A and B.

    size: cells, with A at 0 and B at 1 among them and a sixth of them beyond on either side
    x: coordinates instead, FROM:TO:COUNT
    adversary: attacked in every cell, the one of A everywhere, or both
    steps_warm: gradients in each cell, from a neighbour's adversary; 0 runs --attack afresh
    attack_dtype: precision of the attack's own passes; losses are in full precision always
    bn: BatchNorm's running statistics as they are, or estimated anew in each cell
    save_directions: keep the vector B − A in the output
    workers: processes, each with one thread  [0: as many as torch has threads]
    resume: carry on with what the output's journal holds
    """
    from landscape.analyzers.surface import check_counts, finished, scanned
    from landscape.axes import to_checkpoint
    from landscape.surfaces.lattice import between, coordinates

    check_counts(size, workers)
    if (earlier := finished(point, task, resume)) is not None:
        yield earlier
        return
    yield from scanned(
        point,
        [to_checkpoint(point, other)],
        [coordinates(x) if x else between(size)],
        task=task,
        settings=Settings(
            adversary=adversary, steps_warm=steps_warm, attack_dtype=attack_dtype, bn=bn, seed=seed
        ),
        save_directions=save_directions,
        workers=workers,
        resume=resume,
    )
