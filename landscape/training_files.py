"""The files of a training: where they go, and what they may not replace."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from landscape import results
from landscape.checkpoints.sniff import opened, sniff
from landscape.errors import CheckpointError, InputError
from landscape.files import check_result_file
from landscape.schedules import Schedule

Kept = Mapping[int, Sequence[tuple[Path, dict[str, Any]]]]
"""The models to keep, by epoch: where, and what their metadata says besides."""


def log_path(output: str | os.PathLike[str], log: str | os.PathLike[str] | None = None) -> Path:
    """Where the log of a training goes: as told, or beside its checkpoint, mine.h5 of mine.pt."""
    return Path(log) if log is not None else Path(output).with_name(f"{_split(output)[0]}.h5")


def kept_path(output: str | os.PathLike[str], epoch: int, epochs: int) -> Path:
    """Where an epoch of several is kept: mine-epoch05.pt of mine.pt, so that names have the epochs' order."""
    stem, ending = _split(output)
    return Path(output).with_name(f"{stem}-epoch{epoch:0{len(str(epochs))}}{ending}")


def period_path(output: str | os.PathLike[str], period: int, periods: int) -> Path:
    """Where the model at the end of a period is kept: mine-period1.pt of mine.pt, in the periods' order."""
    stem, ending = _split(output)
    return Path(output).with_name(f"{stem}-period{period:0{len(str(periods))}}{ending}")


def kept(
    output: str | os.PathLike[str],
    *,
    epochs: int,
    schedule: Schedule,
    every: int | None = None,
    checkpoints: Iterable[int] = (),
) -> Kept:
    """The models that a training keeps: after every so many epochs, after those named, after each period."""
    if every is not None and every < 1:
        raise InputError(f"keep = {every}: every keep-th epoch is kept, for a keep of at least 1")
    named = set(checkpoints)
    if outside := sorted(epoch for epoch in named if not 0 <= epoch <= epochs):
        raise InputError(f"checkpoints: there is no epoch {outside[0]}; give epochs from 0 to {epochs}")
    named |= set(range(0, epochs + 1, every)) if every else set()
    found: dict[int, list[tuple[Path, dict[str, Any]]]] = {
        epoch: [(kept_path(output, epoch, epochs), {})] for epoch in sorted(named)
    }
    of = len(schedule.periods) - 1
    for number, (start, stop) in enumerate(pairwise(schedule.periods), 1):
        also = {"period": {"number": number, "of": of, "epochs": [start, stop]}}
        found.setdefault(stop, []).append((period_path(output, number, of), also))
    return found


def paths(found: Kept) -> list[Path]:
    """Where the kept models go."""
    return [path for each in found.values() for path, _ in each]


def check_checkpoints(files: Iterable[str | os.PathLike[str]]) -> None:
    """Raise where a checkpoint would be written over what is none, such as the data set itself."""
    for file in map(Path, files):
        if not file.is_file() or not file.stat().st_size:
            continue
        try:
            with opened(file) as there:
                sniff(there, file)
        except CheckpointError as error:
            raise InputError(
                f"{file} is there, and is no checkpoint to write over; choose another name"
            ) from error


def check_log(
    output: str | os.PathLike[str], log: str | os.PathLike[str] | None, kept: Sequence[Path]
) -> Path:
    """Where the log goes.

    Raises where it would take the place of one of its checkpoints, or of something else.
    """
    found = log_path(output, log)
    if found.resolve() in {Path(path).resolve() for path in (output, *kept)}:
        raise InputError(f"{found} would be both a checkpoint and the log; give two names")
    check_result_file(found)
    if log is None:
        _check_own_log(found, output)
    return found


def _check_own_log(log: Path, output: str | os.PathLike[str]) -> None:
    """Raise where a log that nobody named would be written over what is no earlier log of this checkpoint."""
    if log.is_file() and log.stat().st_size and results.kind_of(log) != "training":
        told = f"results of the kind {results.kind_of(log)}" if results.kind_of(log) else "something else"
        raise InputError(f"{log}, where the log would go, holds {told}; give --log")
    if (other := _logged(log)) and _is_another(other, output):
        raise InputError(f"{log}, where the log would go, is the log of the checkpoint {other}; give --log")


def _logged(path: Path) -> str | None:
    """The checkpoint that a training's log is of; None where there is no such log that can be read."""
    with suppress(InputError):
        if results.kind_of(path) == "training":
            return results.load(path).provenance["checkpoint"].get("path")
    return None


def _is_another(stored: str, output: str | os.PathLike[str]) -> bool:
    """Whether a stored path is not that of the output, which may have been named from another folder."""
    if Path(stored).resolve() == Path(output).resolve():
        return False
    return Path(stored).name != Path(output).name or Path(stored).exists()


def _split(output: str | os.PathLike[str]) -> tuple[str, str]:
    """A file's name and its ending: ("mine", ".pt"), and ("lenet_eps0.1", ""), where .1 is none."""
    name = Path(output)
    return (name.stem, name.suffix) if name.suffix[1:2].isalpha() else (name.name, "")
