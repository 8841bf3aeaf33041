"""Measurements of nets at several seeds: each made once, and what is told of all seeds together.

What the studies of one analyzer have in common; not a study itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from landscape import load, measure
from landscape.format import plus_minus
from landscape.progress import progress


def once(
    output: Path, analyzer: str, net: Callable[..., Path], eps: str, seed: int, budgets: str, **options: Any
) -> None:
    """Measure the net trained at eps with a seed under some budgets, from random numbers of the same seed.

    A file that is complete is left as it is.

    options: keyword arguments of `landscape.measure` and of the analyzer
    """
    if output.exists() and load(output).complete:
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    with progress() as watch:
        measure(analyzer, net(eps, seed), budgets, seed=seed, output=output, watch=watch, **options)


def together(paths: Iterable[Path], direction: str) -> dict[str, list[Any]]:
    """The results along a direction, of each budget one for each seed, from small to large budgets."""
    each: dict[str, list[Any]] = {}
    for run in map(load, sorted(paths)):
        for result in run.results:
            if result.direction == direction:
                each.setdefault(result.budget, []).append(result)
    return dict(sorted(each.items(), key=lambda item: item[1][0].eps))


def spread(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation over the seeds."""
    return plus_minus(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else np.nan)


def interval(values: Sequence[float]) -> str:
    """Mean and 95 % interval of it by Student's t, from the seeds' own values."""
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return f"{mean:.2f}"
    half = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return f"{mean:.2f} [{mean - half:.2f}, {mean + half:.2f}]"


def powers(each: dict[str, list[Any]], value: Callable[[Any], float]) -> list[float]:
    """Of each seed the power of eps that a number grows with: the slope of its logarithm against log eps.

    NaN where the number is not positive, or there is one budget.
    """
    eps = [float(eps) for eps in each if float(eps)]
    columns = np.transpose([[value(r) for r in results] for results in each.values() if results[0].eps])
    return [
        float(np.polyfit(np.log(eps), np.log(column), 1)[0])
        if len(eps) > 1 and (column > 0).all()
        else float("nan")
        for column in columns
    ]


def table(each: dict[str, list[Any]], values: dict[str, Callable[[Any], float]]) -> str:
    """Numbers of each budget over the seeds, as Markdown."""
    rows = [["eps", *values], ["---"] * (1 + len(values))]
    for eps, results in each.items():
        rows.append([eps, *(spread([value(r) for r in results]) for value in values.values())])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
