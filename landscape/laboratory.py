"""What stands behind `landscape theory`, for scripts too: a question about linear models of a data set."""

from __future__ import annotations

import inspect
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import torch

from landscape import registry, results
from landscape.budget import budgets
from landscape.data import Data
from landscape.datasets import source
from landscape.errors import InputError, NumericalError
from landscape.objective import Watch
from landscape.results import Run
from landscape.runs import check_result_file

AT_MOST = {"minimum": 1000, "sets": 1000}
"""Examples by default, where a question takes long."""


def ask(
    question: str,
    data: str | Data,
    *,
    classes: str | None = None,
    split: str = "train",
    examples: int | Literal["all"] | None = None,
    data_dir: str | None = None,
    seed: int = 0,
    output: str | os.PathLike[str] | None = None,
    watch: Watch | None = None,
    told: Run | None = None,
    **options: Any,
) -> Run:
    """Ask a question of `landscape theory` of a data set.

    classes: a list such as "1,7": the examples of these classes alone, numbered anew in this order
    examples: how many, drawn class-balanced with the seed after the choice of classes, or "all"; by default
        all, but up to 1,000 for minimum and sets
    output: HDF5 file, published whole after every result
    told: a Run to fill, for callers that want what is there when the work is interrupted; budgets of which it
        holds the results already are not asked for again
    options: the question's own

    NumericalError, after all is written, where a minimiser was not found.
    """
    function = registry.find("theory", question)
    if output is not None:
        check_result_file(output)
    whole = data if isinstance(data, Data) else source.load(data, split, data_dir=data_dir)
    found = chosen(whole, classes)
    if found.classes < 2:
        raise InputError(f"{whole.name} has {found.classes} classes; linear classifiers need at least 2")
    most = AT_MOST.get(question, len(found)) if examples is None else len(found)
    found = found.subset(min(most, len(found)) if examples in (None, "all") else int(examples), seed)
    takes = inspect.signature(function).parameters
    given = {**options, **{k: v for k, v in (("seed", seed), ("watch", watch)) if k in takes}}
    run = told if told is not None else Run(question, {})
    wanted: list[str] = []
    if "eps" in takes:
        eps = options.get("eps", takes["eps"].default)
        wanted = [str(budget).split()[0] for budget in budgets(eps, options.get("norm", "linf"))]
        there = {result.budget for result in run.results}
        given["eps"] = ",".join(budget for budget in wanted if budget not in there)
    bias = "a" if options.get("bias", False) else "no"
    anew = "" if classes is None else f", {classes} numbered anew from 0"
    run.provenance |= results.provenance(
        data={
            "name": whole.name,
            "split": found.split,
            "examples": len(found),
            "of": found.total,
            "classes": classes or "all",
            "sha256": found.sha256,
        },
        model=f"linear, {found.x[0].numel():,} pixels, {found.classes} classes{anew}, {bias} bias",
        setting=f"softmax cross-entropy, float64, seed {seed}",
        budgets=wanted,
        notes=[],
        options=options,
        seed=seed,
        device="cpu",
        dtype="float64",
    )
    start = time.perf_counter()

    def keep() -> None:
        run.provenance["seconds"] = time.perf_counter() - start
        if output is not None:
            results.save(run, output)

    if not wanted or given["eps"]:
        made = function(found, **given)
        for result in made if isinstance(made, Iterator) else [made]:
            run.results.append(result)
            keep()
    run.results.sort(key=lambda result: wanted.index(result.budget) if wanted else 0)
    run.complete = True
    keep()
    if failed := [r.budget for r in run.results if not getattr(r, "converged", True)]:
        raise NumericalError(f"not converged at eps = {', '.join(failed)}: 0 is not the minimiser there")
    return run


def chosen(data: Data, classes: str | None) -> Data:
    """The examples of some classes, named in a list such as "1,7" and numbered anew in its order."""
    if classes is None:
        return data
    try:
        wanted = [int(part) for part in re.split(r"[,\s]+", classes.strip()) if part]
    except ValueError:
        raise InputError(f"--classes {classes} is no list of whole numbers; write 1,7") from None
    if len(wanted) < 2 or len(set(wanted)) < len(wanted) or not all(0 <= c < data.classes for c in wanted):
        raise InputError(
            f"--classes {classes} is not possible; give two or more of 0 to {data.classes - 1}, each once"
        )
    rows = torch.isin(data.y, torch.tensor(wanted))
    number = torch.zeros(data.classes, dtype=torch.int64)
    number[wanted] = torch.arange(len(wanted))
    part = data[rows]
    return replace(part, y=number[part.y], classes=len(wanted), total=len(part), shares=())
