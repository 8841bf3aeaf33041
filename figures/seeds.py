"""Mean and spread over the seeds of a study, and its legend; not a figure itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape import load
from landscape.plot.style import STYLE
from landscape.results import Run


def over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """The mean over seeds and the sample standard deviation (ddof = 1), NaN of one seed."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def together(paths: Iterable[Path]) -> list[list[Any]]:
    """What the files of several seeds hold of each budget and direction, by budget."""
    each: dict[tuple[float, str], list[Any]] = {}
    for path in sorted(paths):
        for result in load(path).results:
            each.setdefault((result.eps, result.direction), []).append(result)
    return [each[key] for key in sorted(each)]


def averaged(each: list[list[Any]], kind: str) -> Run:
    """The results of several seeds as one run: means, and as `…_stderr` the deviations over the seeds."""
    return Run(kind, {}, [_mean(results) for results in each], complete=True)


def _mean(results: list[Any]) -> Any:
    told: dict[str, Any] = {}
    for name in (field.name for field in dataclasses.fields(results[0])):
        of = name.removesuffix("_stderr")
        values = [getattr(result, of) for result in results]
        if isinstance(values[0], float | np.ndarray):
            columns = np.transpose(values).reshape(-1, len(values)).tolist()
            found = np.array([over_seeds(column)[name != of] for column in columns])
            told[name] = found if isinstance(values[0], np.ndarray) else float(found[0])
    return dataclasses.replace(results[0], **told)


def over_panels(canvas: Figure, handles: list[Line2D], title: str, **layout: Any) -> None:
    """Above the panels of trainings that may fail: what is told of each, a failed run, a constant classifier.

    layout: of the entries, as matplotlib takes it
    """
    failed = Line2D([], [], marker="x", linestyle="none", color="0.3", label="a run that failed")
    constant = Line2D([], [], linestyle=(0, (1, 1)), color="0.6", label="a constant classifier")
    canvas.legend(
        handles=[*handles, failed, constant],
        title=title,
        title_fontsize=STYLE["legend.fontsize"],
        loc="outside upper center",
        frameon=False,
        **layout,
    )
