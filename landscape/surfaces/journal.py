"""The cells that are finished, a line for each, so that nothing is lost whenever the run ends."""

from __future__ import annotations

import base64
import errno
import fcntl
import json
import os
import stat
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import InputError, LandscapeError
from landscape.same import check_same

SYNC = 1.0
"""Seconds after which lines are forced onto the disk, against a loss of power; a kill takes none."""


class Journal:
    """A file with the settings of a scan and then a line for each finished cell, each with its checksum.

    A line that a kill tore is dropped; the file is locked while it is written.

    path: of the journal
    settings: what the scan depends on, as JSON values. A journal with others is refused
    known: what else is kept from the beginning on; that of a journal that is carried on takes its place
    resume: carry on with what there is; else begin anew
    """

    def __init__(self, path: Path, settings: dict[str, Any], known: dict[str, Any], resume: bool) -> None:
        self.path, self.known = path, known
        self.cells: dict[int, np.ndarray] = {}
        self.written = time.monotonic()
        settings = json.loads(json.dumps(settings))
        try:
            self.file = open(path, "a+b", buffering=0, opener=_own)  # noqa: SIM115
        except OSError as error:
            if path.is_symlink():
                raise InputError(
                    f"{path} is a link, and what it leads to is no journal's to write; remove it, or give "
                    "another -o"
                ) from error
            raise LandscapeError(f"{path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.file.close()
            raise InputError(
                f"{path} is in use: another run writes it; wait for it or give another -o"
            ) from error
        try:
            header = self._read() if resume else None
            if header is not None:
                check_same(header["settings"], settings, str(path))
                if not _alike(header["known"], json.loads(json.dumps(known))):
                    raise self._damaged()
                self.known = header["known"]
            self.resumed = header is not None
            if header is None:
                self.file.truncate(0)
                self._line({"settings": settings, "known": known})
        except BaseException:
            self.file.close()
            raise

    def add(self, cell: int, values: np.ndarray) -> None:
        """Note that a cell is finished, with its values (float64, any shape)."""
        self.cells[cell] = values
        packed = base64.b64encode(np.ascontiguousarray(values, dtype="<f8").tobytes()).decode()
        self._line([cell, list(values.shape), packed])

    def close(self, remove: bool = False) -> None:
        if remove:
            self.path.unlink(missing_ok=True)  # before the lock is free for another
        with suppress(OSError):
            os.fsync(self.file.fileno())
        self.file.close()

    def _line(self, told: Any) -> None:
        text = json.dumps(told).encode()
        try:
            line = b"%08x " % zlib.crc32(text) + text + b"\n"
            if self.file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if time.monotonic() - self.written > SYNC:
                os.fsync(self.file.fileno())
                self.written = time.monotonic()
        except OSError as error:
            raise LandscapeError(
                f"{self.path} could not be written: {error.strerror}; make room and run the command again"
            ) from error

    def _read(self) -> dict[str, Any] | None:
        """What the journal begins with, None where there is none; the cells of whole lines are taken over."""
        self.file.seek(0)
        text = self.file.readall()
        try:
            told = [_parsed(line) for line in text.splitlines()]
        except (ValueError, RecursionError) as error:
            raise self._damaged() from error
        first = told[0] if told and isinstance(told[0], dict) else {}
        if text and not all(isinstance(first.get(part), dict) for part in ("settings", "known")):
            raise InputError(
                f"{self.path} is no journal, or its first line is damaged; give --fresh to begin anew"
            )
        try:
            for cell, shape, packed in (line for line in told[1:] if line is not None):
                if type(cell) is not int:
                    raise TypeError
                self.cells[cell] = np.frombuffer(base64.b64decode(packed), dtype="<f8").reshape(shape)
        except (TypeError, ValueError) as error:
            raise self._damaged() from error
        if text and not text.endswith(b"\n"):
            self.file.write(b"\n")
        return told[0] if told else None

    def _damaged(self) -> InputError:
        return InputError(f"{self.path} is damaged: it holds what no scan wrote; give --fresh to begin anew")


def _own(path: str, flags: int) -> int:
    """Opens a plain file and no other, of this name itself."""
    file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "it is a folder or a device")
    return file


def _alike(one: Any, other: Any) -> bool:
    """Whether two JSON values hold values of the same types by the same names."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[name], other[name]) for name in one)
    return type(one) is type(other)


def _parsed(line: bytes) -> Any:
    """What a line holds; None where a kill tore it, or bytes are damaged."""
    checksum, _, text = line.partition(b" ")
    return json.loads(text) if checksum == b"%08x" % zlib.crc32(text) else None
