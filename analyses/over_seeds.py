"""Measurements of nets at several seeds: each made once, and what is told of all seeds together.

What the studies of one analyzer have in common; not a study itself.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from landscape import load, measure
from landscape.format import plus_minus
from landscape.progress import progress


def each_net(told: Namespace, name: str, analyzer: str, net: Callable[..., Path]) -> Path:
    """Measure the nets of all budgets and seeds; the folder of the results.

    Of each net there is a file for its own budget, and of those trained at the budget `crossed` another one
    for all others, along the first direction. Random numbers have the seed of the net.
    """
    folder = told.results / name
    options = {"data": told.data, "examples": told.examples, "attack": told.attack, "radii": told.radii}
    for seed in told.seeds:
        for eps in told.eps:
            stem, others = f"eps{eps}_seed{seed}", [other for other in told.eps if other != eps]
            ways = told.directions
            once(folder / f"{stem}.h5", analyzer, net, eps, seed, eps, directions=ways, **options)
            if eps == told.crossed and others:
                ways = ways.split(",")[0]
                output = folder / f"{stem}_others.h5"
                once(output, analyzer, net, eps, seed, ",".join(others), directions=ways, **options)
    return folder


def once(
    output: Path, analyzer: str, net: Callable[..., Path], eps: str, seed: int, budgets: str, **options: Any
) -> None:
    """Measure the net trained at eps with a seed; a file that is complete is left as it is."""
    if output.exists() and load(output).complete:
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    with progress() as watch:
        measure(analyzer, net(eps, seed), budgets, seed=seed, output=output, watch=watch, **options)


def own(folder: Path, direction: str, seeds: Iterable[int]) -> dict[str, list[Any]]:
    """The results of nets at the budget that they were trained with, of each budget one for each seed."""
    return together((path for seed in seeds for path in folder.glob(f"eps*_seed{seed}.h5")), direction)


def crossed(folder: Path, seeds: Iterable[int]) -> dict[str, list[Any]]:
    """The results of the nets that are measured at all budgets."""
    others = [path for seed in seeds for path in folder.glob(f"eps*_seed{seed}_others.h5")]
    return together([*others, *(Path(str(path).replace("_others", "")) for path in others)], "random")


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


def bounds(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and the ends of its 95 % interval by Student's t from the seeds' own values; NaN of one seed."""
    n, mean = len(values), float(np.mean(values))
    half = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    return mean, mean - half, mean + half


def interval(values: Sequence[float], digits: int = 2) -> str:
    """Mean and 95 % interval of it, to so many digits after the point."""
    mean, *ends = (f"{value:.{digits}f}" for value in bounds(values))
    return f"{mean} [{', '.join(ends)}]" if len(values) > 1 else mean


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


def decades(each: dict[str, list[Any]], value: Callable[[Any], float]) -> list[float]:
    """Of each seed by how much a logarithm to base 10 grows with 0.1 of eps, over the budgets above 0."""
    some = {float(eps): [value(r) for r in results] for eps, results in each.items() if results[0].eps}
    return (np.polyfit(list(some), list(some.values()), 1)[0] / 10).tolist() if len(some) > 1 else [np.nan]


def table(each: dict[str, list[Any]], values: dict[str, Callable[[Any], float]]) -> str:
    """Numbers of each budget over the seeds, as Markdown."""
    rows = {eps: [spread([f(r) for r in results]) for f in values.values()] for eps, results in each.items()}
    return markdown("eps", [*values], rows)


def markdown(corner: str, titles: Sequence[str], rows: dict[str, Sequence[str]]) -> str:
    """A table with the names of its rows."""
    lines = [[corner, *titles], ["---"] * (1 + len(titles)), *([name, *row] for name, row in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
