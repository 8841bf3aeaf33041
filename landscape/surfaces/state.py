"""The adversaries that other cells start from, on disk: packed, and dropped when nobody needs them."""

from __future__ import annotations

import os
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from landscape.errors import LandscapeError

AXES = "axes"
"""The name of the vectors of the axes, which take long to find."""


def _checksum(array: np.ndarray) -> bytes:
    return b"%08x" % zlib.crc32(np.ascontiguousarray(array).data)


@dataclass(frozen=True)
class State:
    """A folder with a file for each cell that has children: an array of any shape with its checksum."""

    folder: Path

    def save(self, name: int | str, array: np.ndarray) -> None:
        """Whole or not at all; a file of this name is written over."""
        path = self._path(name)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            with open(temporary, "wb") as file:
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
        try:
            with open(self._path(name), "rb") as file:
                array = np.load(file, allow_pickle=False)
                return array if file.read() == _checksum(array) else None
        except (OSError, ValueError):
            return None

    def drop(self, name: int | str) -> None:
        self._path(name).unlink(missing_ok=True)

    def clear(self, but: str | None = None) -> None:
        """Remove the folder; or all in it but files of one name."""
        if but is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        for path in self.folder.glob("*") if but else ():
            if path.stem != but:
                path.unlink(missing_ok=True)

    def _path(self, name: int | str) -> Path:
        return self.folder / f"{name}.npy"
