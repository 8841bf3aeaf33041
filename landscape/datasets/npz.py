"""Examples in numpy's archive of arrays, read without a line of anybody's code and within the memory."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from landscape.data import Data
from landscape.datasets.arrays import check_fits, of_arrays, one_line
from landscape.errors import DataError, NoSplit

HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
COPIES = 3
"""Of an array at once, at most: as it is read, as a tensor, and with its channels first."""


def read(path: Path, split: str, numbers: bool) -> Data:
    """The arrays x and y of a file, or those of a split, x_train and y_train."""
    if not os.path.isfile(path):
        raise DataError(f"there is no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            there = [name.removesuffix(".npy") for name in archive.namelist()]
            keys: tuple[str, ...] = next(
                (k for k in ((f"x_{split}", f"y_{split}"), ("x", "y")) if {*k} <= {*there}), ()
            )
            check_fits(COPIES * sum(_size(archive, key, path) for key in keys), f"{path}")
            pair = [_array(archive, key) for key in keys]
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen types on damaged files
        raise DataError(f"{path} cannot be read as an npz file without pickles: {one_line(error)}") from error
    if not pair:
        raise NoSplit(
            f"{path} holds {', '.join(there) or 'no named array'}; "
            f"it needs the arrays x and y, or x_{split} and y_{split} for --split {split}"
        )
    part = split if keys[0] != "x" else "all"
    return of_arrays(pair[0], pair[1], path.name, part, numbers=numbers)


def _size(archive: zipfile.ZipFile, key: str, path: Path) -> int:
    """The bytes of an array as its header declares them, which are those that the archive has of it."""
    stored = archive.getinfo(f"{key}.npy")
    with archive.open(stored) as file:
        shape, _, dtype = HEADERS[npy.read_magic(file)](file)
        if dtype.hasobject:
            raise DataError(f"{path}: the array {key} holds objects, which are a pickle; save it as numbers")
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or file.tell() + size != stored.file_size:
            there = stored.file_size - file.tell()
            raise DataError(
                f"{path}: the array {key} declares {' × '.join(f'{n:,}' for n in shape)} numbers, {size:,} "
                f"bytes, and the archive has {there:,} of it: it is damaged"
            )
    return size


def _array(archive: zipfile.ZipFile, key: str) -> np.ndarray:
    with archive.open(f"{key}.npy") as file:
        found = npy.read_array(file, allow_pickle=False)
        file.read(1)  # at the end the checksum is held against what was read
    return found
