"""The adversaries that other cells start from, on disk: packed, and dropped when nobody needs them."""

from __future__ import annotations

import math
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from landscape.errors import InputError, LandscapeError

AXES = "axes"
"""The name of the vectors of the axes, which take long to find."""
OURS = ("*.npy", "*.tmp", ".landscape-*.tmp", f"{AXES}.json")
"""What a scan writes into its folder, and so what it may remove from there."""


def _checksum(array: np.ndarray) -> bytes:
    return b"%08x" % zlib.crc32(np.ascontiguousarray(array).data)


@dataclass(frozen=True)
class State:
    """A folder with a file for each cell that has children: an array of any shape with its checksum.

    A link in the folder's place is refused: what it leads to is not a scan's to write, or to empty.
    """

    folder: Path

    def check(self) -> None:
        """Raise where the folder is a link, or something else that is no folder."""
        if self.folder.is_symlink() or (self.folder.exists() and not self.folder.is_dir()):
            what = "a link" if self.folder.is_symlink() else "no folder"
            raise InputError(
                f"{self.folder}, where a scan keeps what it has not finished, is {what}; move it away, or "
                "give another -o"
            )

    def save(self, name: int | str, array: np.ndarray) -> None:
        """Whole or not at all; a file of this name is written over."""
        self.check()
        path = self._path(name)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            with open(temporary, "wb", opener=_no_link) as file:
                np.save(file, array)
                file.write(_checksum(array))
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise LandscapeError(
                f"{path} could not be written: {error.strerror or error}; make room and run the command again"
            ) from error

    def load(self, name: int | str) -> np.ndarray | None:
        """The array; None where there is none, or a damaged one."""
        self.check()
        try:
            with open(self._path(name), "rb", opener=_no_link) as file:
                if not _whole(file):
                    return None
                array = np.load(file, allow_pickle=False)
                return array if file.read() == _checksum(array) else None
        except (OSError, ValueError, MemoryError):
            return None

    def drop(self, name: int | str) -> None:
        self.check()
        self._path(name).unlink(missing_ok=True)

    def clear(self, but: str | None = None) -> None:
        """Remove what a scan wrote, and the folder if nothing is left in it; or all but files of one name."""
        self.check()
        for path in {path for pattern in OURS for path in self.folder.glob(pattern)}:
            if path.stem != but and (path.is_symlink() or path.is_file()):
                path.unlink(missing_ok=True)
        if but is None:
            with suppress(OSError):
                self.folder.rmdir()

    def _path(self, name: int | str) -> Path:
        return self.folder / f"{name}.npy"


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _whole(file: BufferedReader) -> bool:
    """Whether the array that a file declares is as long as the file: no room is made for more."""
    if npy.read_magic(file) != (1, 0):
        return False
    shape, _, dtype = npy.read_array_header_1_0(file)
    there = os.fstat(file.fileno()).st_size - file.tell() - len(_checksum(np.zeros(0)))
    whole = not dtype.hasobject and min(shape, default=0) >= 0 and there == math.prod(shape) * dtype.itemsize
    file.seek(0)
    return whole
