"""What an analyzer that measures under all budgets at once is handed besides the point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from landscape.budget import Budget
from landscape.data import Data
from landscape.objective import Point
from landscape.results import Run


def _none() -> None:
    return None


@dataclass(frozen=True)
class Task:
    """All budgets, where the results go, and how to open other checkpoints.

    budgets: in the order asked for
    run: to be told, in its provenance and arrays, what is not of one budget
    beside: another checkpoint, by its path, as a point of the same clean objective
    output: the result file, beside which unfinished work may be kept
    held_out: the test split of the same data, None where there is none
    """

    budgets: list[Budget]
    run: Run
    beside: Callable[[str], Point]
    output: Path | None = None
    held_out: Callable[[], Data | None] = _none
