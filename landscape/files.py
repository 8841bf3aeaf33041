"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from landscape.errors import InputError, LandscapeError

PICTURES = (".pdf", ".png", ".svg", ".html")
"""Endings of figures, which are no names of results."""


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`: what the block writes there becomes `path` when the block ends.

    On any failure the temporary file is gone and an older `path` is as it was. A link is written through.
    LandscapeError names the path that could not be written.
    """
    target = Path(os.path.realpath(path))
    # Not one of tempfile's, which only their owner may read.
    temporary = target.parent / f".landscape-{secrets.token_hex(8)}.tmp"
    try:
        if target.exists() and not target.is_file():  # renaming onto /dev/null would replace the device
            raise LandscapeError(f"{path} is a folder or a device; give the path of a file to write")
        if not target.parent.is_dir():
            raise LandscapeError(
                f"{path} cannot be written: there is no folder {target.parent}; make it first"
            )
        yield temporary
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        reason = error.strerror or error
        raise LandscapeError(
            f"{path} could not be written: {reason}; make room or choose another place"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    _sync(target.parent)


def check_result_file(path: str | os.PathLike[str]) -> None:
    """Raise before any work is done unless results can be written there, over older ones or none."""
    import h5py

    check_writable(path)
    old = Path(path)
    if old.suffix.lower() in PICTURES:
        raise InputError(f"-o {path} is for the results, as HDF5; write -o FILE.h5, and --figure {path}")
    if old.is_file() and old.stat().st_size and not h5py.is_hdf5(old):
        raise InputError(f"{path} is there, and is no result file to write over; choose another name")


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise before any work is done unless a file can be made where the output is to go."""
    try:
        if Path(path).exists() and not Path(path).is_file():
            raise OSError(f"{str(path) or 'an empty path'} is a folder or a device, not a file")
        with tempfile.TemporaryFile(dir=Path(path).resolve().parent):
            pass
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}; choose another place"
        ) from error


def _sync(folder: Path) -> None:
    """Makes a renaming last through a power cut, where the file system can; the file is whole either way."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
