"""Trained nets evaluated together, those whose training failed told apart.

What the studies of schedules have in common; not a study itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from landscape import load, measure
from landscape.analyzers.evaluate import CLEAN, Evaluation
from landscape.errors import NumericalError
from landscape.format import mean_std
from landscape.progress import progress
from landscape.results import Run, save

CLASSES = 10
SHARE = 0.95
FAILS = f"the loss of unperturbed examples is above {SHARE} log {CLASSES}"
"""As good as a constant classifier, whose loss is log 10, before anybody attacks. The training failed."""


def failed(line: Evaluation) -> bool:
    return line.under[CLEAN]["loss"] > SHARE * math.log(CLASSES)


def evaluated(output: Path, nets: Iterable[Callable[[], list[Path]]], eps: str, **told: Any) -> Run:
    """The evaluation of nets, of each seed in turn; a file that is complete is left as it is.

    Besides the results it tells which of them failed, and how many trainings ended without a net at all.

    nets: train one seed's checkpoints, unless they are there
    told: keyword arguments of `landscape.measure`
    """
    nets = list(nets)
    if output.exists() and (found := load(output)).complete and found.provenance["seeds"] == len(nets):
        return found
    paths: list[Path] = []
    diverged = 0
    for made in nets:
        try:
            paths += made()
        except NumericalError as error:
            print(error)
            diverged += 1
    with progress() as watch:
        run = measure("evaluate", paths, eps, split="test", watch=watch, **told)
    bad = [line.label for line in run.results if line.of != "mean" and failed(line)]
    if bad:  # which no mean may hide
        run.results = [line for line in run.results if line.of != "mean"]
    run.provenance |= {"seeds": len(nets), "diverged": diverged, "fails": FAILS, "failed": bad}
    output.parent.mkdir(parents=True, exist_ok=True)
    save(run, output)
    return run


def errors(lines: Iterable[Evaluation], under: str) -> list[float]:
    """Errors under an attack, in percent."""
    return [100 * (1 - line.under[under]["accuracy"]) for line in lines]


def spread(values: list[float]) -> str:
    """Mean and standard deviation (ddof = 1) as mean(std)."""
    return mean_std(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan)
