"""What an analyzer that measures under all budgets at once is handed besides the point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from landscape.budget import Budget
from landscape.data import Data
from landscape.objective import Point
from landscape.results import Run


def _none(split: str, most: int | None) -> None:
    return None


@dataclass(frozen=True)
class Task:
    """All budgets, where the results go, and how to open other checkpoints.

    budgets: in the order asked for
    run: to be told, in its provenance and arrays, what is not of one budget
    beside: another checkpoint, by its path, as a point of the same clean objective
    output: the result file, beside which unfinished work may be kept
    more: examples of the same data by split ("train", "test"), so many at most, by default as many as were
        asked for; None where there are none. Of one split fewer are among more
    """

    budgets: list[Budget]
    run: Run
    beside: Callable[[str], Point]
    output: Path | None = None
    more: Callable[[str, int | None], Data | None] = _none
