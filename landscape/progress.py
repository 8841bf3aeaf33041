"""Progress with the time left, on stderr: a bar in a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from landscape.format import duration

PATIENCE = 10.0
"""Seconds between two lines where there is no terminal, and before the first."""


@contextmanager
def progress(quiet: bool = False) -> Iterator[Bar | Lines | None]:
    """Something to call with (stage, done, of); None when quiet."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with Bar() as bar:
            yield bar
    else:
        yield Lines()


class Lines:
    """A line on stderr every ten seconds."""

    def __init__(self) -> None:
        self.stage, self.began, self.spoke = "", 0.0, time.monotonic()

    def __call__(self, stage: str, done: int, of: int) -> None:
        now = time.monotonic()
        if _kind(stage) != self.stage:
            self.stage, self.began = _kind(stage), now
        if now - self.spoke >= PATIENCE:
            self.spoke = now
            left = (
                f", about {duration((now - self.began) * (of - done) / done)} left" if 0 < done < of else ""
            )
            share = f" {done}/{of}" if of > 1 else ""
            print(f"{stage}{share}{left}", file=sys.stderr, flush=True)


class Bar:
    """A progress bar with the time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._stage = ""
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, stage: str, done: int, of: int) -> None:
        if _kind(stage) != self._stage:
            self._stage = _kind(stage)
            self._progress.remove_task(self._task)
            self._task = self._progress.add_task(stage, total=of)
        self._progress.update(self._task, completed=done, total=of, description=stage)


def _kind(stage: str) -> str:
    """What goes on; after a comma, such as the last loss, stands what changes meanwhile."""
    return stage.partition(",")[0]
