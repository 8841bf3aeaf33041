"""Which panels a figure has: one for each run, drawer or direction, in rows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from landscape.plot.style import WIDTHS
from landscape.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Panel:
    """A panel of a figure: what it is of, for its title, and the function that draws it on an Axes."""

    name: str
    draw: Callable[[Axes], None]


def run_name(run: Run) -> str:
    """What a run is of, in few words: its checkpoint's name, or of linear models their data."""
    told = run.provenance.get("checkpoint")
    return Path(told["path"]).stem if told else run.provenance["data"]["name"]


def each_run(*drawers: Callable[..., None]) -> Callable[[list[Run]], list[list[Panel]]]:
    """A panel for each run, or where there are several drawers a row for each run."""

    def panels(runs: list[Run]) -> list[list[Panel]]:
        names = [run_name(run) if len(runs) > 1 else "" for run in runs]
        rows = [
            [Panel(name, functools.partial(drawer, run, beside=runs)) for drawer in drawers]
            for name, run in zip(names, runs, strict=True)
        ]
        return wrapped(rows)

    return panels


def each_direction(drawer: Callable[..., None]) -> Callable[[list[Run]], list[list[Panel]]]:
    """A row for each run with a panel for each direction."""

    def panels(runs: list[Run]) -> list[list[Panel]]:
        rows = []
        for run in runs:
            ways = list(dict.fromkeys(result.direction for result in run.results))
            stem = run_name(run) if len(runs) > 1 else ""
            names = [
                ", ".join(filter(None, (stem, way if len(ways) > 1 or not stem else ""))) for way in ways
            ]
            rows.append(
                [
                    Panel(name, functools.partial(drawer, run, direction=way, beside=runs))
                    for name, way in zip(names, ways, strict=True)
                ]
            )
        return wrapped(rows)

    return panels


def each_result(drawer: Callable[..., None]) -> Callable[[list[Run]], list[list[Panel]]]:
    """A row for each run with a panel for each budget."""

    def panels(runs: list[Run]) -> list[list[Panel]]:
        rows = [
            [
                Panel(f"eps {result.budget}", functools.partial(drawer, result, beside=runs))
                for result in run.results
            ]
            for run in runs
        ]
        return wrapped(rows)

    return panels


def wrapped(rows: list[list[Panel]]) -> list[list[Panel]]:
    """Rows no longer than a page is wide; single panels side by side."""
    most = max(len(row) for row in rows)
    if most == 1 or len(rows) == 1:
        panels = [panel for row in rows for panel in row]
        rows = [panels]
    return [
        row[i : i + columns]
        for row in rows
        for columns in [2 if len(row) == 4 else max(WIDTHS)]
        for i in range(0, len(row), columns)
    ]
