"""Worker processes in place of threads: on a busy machine several times faster, on a quiet one no slower."""

from __future__ import annotations

import multiprocessing
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import util
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import IO, Any

import torch

from landscape.errors import LandscapeError

Work = Callable[[int], Any]


class Pool:
    """Runs work(cell) in forked processes, each with one thread; for one worker in this process.

    What the work needs must be in memory before: a fork shares it. Workers ignore Ctrl-C, so that a cell in
    flight is finished, and end with this process.

    private: a file of this process, which workers close: what it locks is free when this process has gone
    """

    def __init__(self, work: Work, workers: int, private: IO[Any] | None = None) -> None:
        self.work, self.workers, self.private = work, workers, private
        self.waiting: list[int] = []
        self.idle: list[Connection] = []
        self.busy: list[Connection] = []
        self.processes: list[Any] = []
        self.threads = torch.get_num_threads()

    def __enter__(self) -> Pool:
        torch.set_num_threads(1)
        if self.workers == 1:
            return self
        context = multiprocessing.get_context("fork")
        ends: list[Connection] = []
        for _ in range(self.workers):
            ours, theirs = context.Pipe()
            ends.append(ours)
            process = context.Process(
                target=_serve, args=(self.work, theirs, ends, self.private), daemon=True
            )
            with warnings.catch_warnings():
                # Of forks beside threads: ours only draw progress and hold no lock that a worker takes.
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            theirs.close()
            self.processes.append(process)
        self.idle = ends
        # Also where nobody leaves the context: at its end the interpreter waits for its children.
        util.Finalize(self, _close, args=(list(ends),), exitpriority=10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch.set_num_threads(self.threads)
        for end in [*self.idle, *self.busy]:
            end.close()
        for process in self.processes:
            if kind is not None:
                process.kill()
            process.join()

    @property
    def free(self) -> bool:
        """Whether a worker waits for a cell."""
        return bool(self.idle) if self.workers > 1 else not self.waiting

    @property
    def running(self) -> bool:
        """Whether a cell is in flight."""
        return bool(self.busy or self.waiting)

    def submit(self, cell: int) -> None:
        if self.workers == 1:
            self.waiting.append(cell)
            return
        end = self.idle.pop()
        try:
            end.send(cell)
        except OSError as error:
            raise _killed() from error
        self.busy.append(end)

    def receive(self) -> tuple[int, Any]:
        """The next cell that is finished and what the work returned; what it raised is raised here."""
        if self.workers == 1:
            cell = self.waiting.pop(0)
            return cell, self.work(cell)
        (end, *_) = wait(self.busy)
        assert isinstance(end, Connection)
        self.busy.remove(end)
        try:
            cell, found, failure = end.recv()
        except (EOFError, OSError) as error:
            end.close()
            raise _killed() from error
        self.idle.append(end)
        if failure is not None:
            raise failure
        return cell, found


def _close(ends: list[Connection]) -> None:
    for end in ends:
        end.close()


def _killed() -> LandscapeError:
    return LandscapeError(
        "a worker process was killed, perhaps for want of memory; give fewer --workers and run the same "
        "command again"
    )


def _serve(work: Work, end: Connection, others: list[Connection], private: IO[Any] | None) -> None:
    """A worker: cells come in, results go out, until the other end is closed."""
    if private is not None:
        private.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for other in others:  # else this process would keep them open when the first one has gone
        other.close()
    torch.set_num_threads(1)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            cell = end.recv()
            try:
                end.send((cell, work(cell), None))
            except (BrokenPipeError, ConnectionResetError):
                raise
            except LandscapeError as error:
                end.send((cell, None, error))
            except Exception as error:  # of a model of the user's own; its type need not be known elsewhere
                end.send((cell, None, RuntimeError(f"{type(error).__name__}: {error}")))
