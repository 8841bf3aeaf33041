"""CIFAR-10 and CIFAR-100 from their official archives, python or binary, packed or unpacked.

The python archive's batches are pickles, which may run code. Here they cannot: each of the few names that a
pickle may ask for gives a stand-in of ours, so not even numpy is called, and every other name is refused.
"""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from landscape.data import Data
from landscape.datasets.arrays import one_line
from landscape.datasets.source import absent, places
from landscape.errors import DataError
from landscape.registry import register

PIXELS = 3 * 32 * 32
LIMIT = 1 << 30
"""Bytes that one batch may have, over six times the largest official one."""

# name: the folder and the archive of each form, binary first, and the batches of each split
FORMS = {
    "cifar10": {
        "cifar-10-batches-bin": "cifar-10-binary.tar.gz",
        "cifar-10-batches-py": "cifar-10-python.tar.gz",
    },
    "cifar100": {
        "cifar-100-binary": "cifar-100-binary.tar.gz",
        "cifar-100-python": "cifar-100-python.tar.gz",
    },
}
BATCHES = {
    "cifar10": {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]},
    "cifar100": {"train": ["train"], "test": ["test"]},
}
BINARY = ("cifar-10-batches-bin", "cifar-100-binary")

OPCODES = (
    "PROTO FRAME STOP MARK PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET "
    "GLOBAL STACK_GLOBAL REDUCE BUILD "
    "EMPTY_DICT DICT SETITEM SETITEMS EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 "
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 BINSTRING SHORT_BINSTRING "
    "UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8"
)
TUPLES = 100
"""Tuples that a batch may hold; its one array takes six."""


@register("dataset", "cifar10")
def cifar10(split: str, data_dir: str | Path | None = None) -> Data:
    """60,000 colour images of 10 classes, 32 × 32 (Krizhevsky, 2009)."""
    return _load("cifar10", split, data_dir, classes=10)


@register("dataset", "cifar100")
def cifar100(split: str, data_dir: str | Path | None = None) -> Data:
    """60,000 colour images of 100 fine classes, 32 × 32 (Krizhevsky, 2009)."""
    return _load("cifar100", split, data_dir, classes=100)


def _load(name: str, split: str, data_dir: str | Path | None, classes: int) -> Data:
    source, folder = _source(name, split, data_dir)
    suffix = ".bin" if folder in BINARY else ""
    wanted = [f"{batch}{suffix}" for batch in BATCHES[name][split]]
    contents = _members(source, folder, wanted) if os.path.isfile(source) else _files(source, wanted)
    images, labels = [], []
    for batch in wanted:
        x, y = (_binary if suffix else _python)(contents[batch], f"{source}, {batch}", classes)
        images.append(x)
        labels.append(y)
    x, y = np.concatenate(images).reshape(-1, 3, 32, 32), np.concatenate(labels)
    return Data.of(x, y, name=name, split=split, classes=classes)


def _source(name: str, split: str, data_dir: str | Path | None) -> tuple[Path, str]:
    """The first folder of batches or archive that is there, with the official name of its folder."""
    looked = places(data_dir)
    for place in (place / sub for place in looked for sub in (name, "")):
        for folder, archive in FORMS[name].items():
            if os.path.basename(os.path.abspath(place)) == folder and os.path.isdir(place):
                return place, folder
            if os.path.isdir(place / folder):
                return place / folder, folder
            if os.path.isfile(place / archive):
                return place / archive, folder
    archives = " or ".join(FORMS[name].values())
    how = f"put {archives} of cs.toronto.edu/~kriz/cifar.html into data/raw, packed or unpacked"
    raise absent(name, split, looked, name, how)


def _files(folder: Path, wanted: Iterable[str]) -> dict[str, bytes]:
    """The batches of an unpacked archive."""
    contents = {}
    for batch in wanted:
        path = folder / batch
        if not os.path.isfile(path):
            raise DataError(f"{folder} has no file {batch}: it is not whole, unpack the archive again")
        _bounded(path.stat().st_size, f"{path}")
        try:
            contents[batch] = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {one_line(error)}") from error
    return contents


def _members(path: Path, folder: str, wanted: Iterable[str]) -> dict[str, bytes]:
    """The batches of an archive, read in one pass into memory; nothing is written to disk."""
    contents: dict[str, bytes] = {}
    missing = {f"{folder}/{batch}" for batch in wanted}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                # Only plain files: a link could lead anywhere, and a sparse file be larger than it is.
                if name not in missing or not member.isreg() or member.issparse():
                    continue
                _bounded(member.size, f"{path}, {name}")
                file = archive.extractfile(member)
                assert file is not None
                contents[name.removeprefix(f"{folder}/")] = file.read()
                missing.remove(name)
                if not missing:
                    break
    except DataError:
        raise
    except Exception as error:  # tarfile, gzip and zlib raise a dozen types on damaged files
        raise DataError(f"{path} cannot be read as a .tar.gz archive: {one_line(error)}") from error
    if missing:
        names = ", ".join(sorted(missing))
        raise DataError(f"{path} has no {names}: it is not the official archive, or not whole")
    return contents


def _bounded(size: int, what: str) -> None:
    if size > LIMIT:
        raise DataError(f"{what} has {size:,} bytes: it is no CIFAR batch, those have less than {LIMIT:,}")


def _binary(content: bytes, what: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one label, or of a coarse and a fine one, and the pixels."""
    marks = 1 if classes == 10 else 2
    width = marks + PIXELS
    if not content or len(content) % width:
        raise DataError(f"{what} has {len(content):,} bytes, not whole rows of {width:,}: it is cut short")
    rows = np.frombuffer(content, np.uint8).reshape(-1, width)
    return rows[:, marks:], _labels(rows[:, marks - 1].tolist(), len(rows), what, classes)


def _python(content: bytes, what: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """A pickled dictionary of the pixels, an array (n, 3072), and a list of labels."""
    try:
        _plain(content)
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # damaged pickles raise whatever their opcodes stumble on
        raise DataError(f"{what} is no CIFAR batch that can be read safely: {one_line(error)}") from error
    entries = {_text(key): value for key, value in batch.items()} if type(batch) is dict else {}
    data, key = entries.get("data"), "labels" if classes == 10 else "fine_labels"
    pixels = data.values if type(data) is _Array else None
    if pixels is None or pixels.ndim != 2 or pixels.shape[1] != PIXELS or len(pixels) == 0:
        raise DataError(f"{what} holds no array 'data' (n, {PIXELS}) of bytes: it is no CIFAR batch")
    return pixels, _labels(entries.get(key), len(pixels), f"{what}, {key!r}", classes)


def _plain(content: bytes) -> None:
    """Refuse a pickle of other opcodes than a batch needs, or one that would fill the memory or the stack.

    Reading the opcodes alone also finds a string longer than the file, before room is made for it.
    """
    allowed = {*OPCODES.split()}
    tuples = 0
    argument: Any
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name not in allowed:
            raise pickle.UnpicklingError(f"it uses the opcode {opcode.name}")
        if opcode.name in ("PUT", "LONG_BINPUT") and not 0 <= argument < len(content):
            raise pickle.UnpicklingError(f"it numbers an object {argument}")
        tuples += opcode.name.startswith("TUPLE")
    # A dictionary's key of a million nested tuples overflows the stack of the interpreter.
    if tuples > TUPLES:
        raise pickle.UnpicklingError(f"it holds {tuples:,} tuples")


def _text(key: Any) -> Any:
    """A key as text: Python 2, which wrote the archives, leaves bytes; Python 3, pickling again, text."""
    return key.decode("latin-1") if isinstance(key, bytes) else key


def _labels(labels: Any, n: int, what: str, classes: int) -> np.ndarray:
    if type(labels) is not list or len(labels) != n or {*map(type, labels)} != {int}:
        raise DataError(f"{what}: the labels are not a list of {n} whole numbers")
    if min(labels) < 0 or max(labels) >= classes:
        raise DataError(
            f"{what}: the labels go from {min(labels)} to {max(labels)}, outside 0 to {classes - 1}"
        )
    return np.array(labels, dtype=np.int64)


class _StandIn:
    """What a pickle gets instead of what it asked for. BUILD can do nothing to it, nor to its class."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


class _Type(_StandIn):
    """Stands in for numpy.dtype, of bytes and nothing else."""

    __slots__ = ()

    def __init__(self, kind: Any, *rest: Any) -> None:
        if kind not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"it asks for an array of {kind!r}, and may hold bytes ('u1') only")


class _Array(_StandIn):
    """Stands in for numpy.ndarray and for the function that makes an empty one; its state is read by us."""

    __slots__ = ("values",)

    def __init__(self, *rest: Any) -> None:
        self.values: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, raw = state
        if type(kind) is not _Type or type(raw) is not bytes:
            raise pickle.UnpicklingError("it holds an array that is not of bytes")
        self.values = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


class _Latin1(_StandIn):
    """Stands in for _codecs.encode, by which Python 3 writes bytes in the old protocol."""

    __slots__ = ()

    def __new__(cls, text: Any, encoding: Any) -> Any:
        if type(text) is not str or encoding not in ("latin1", "latin-1", b"latin1", b"latin-1"):
            raise pickle.UnpicklingError(f"it asks for an encoding {encoding!r}, and may use latin1 only")
        return text.encode("latin-1")


class _Unpickler(pickle.Unpickler):
    """Reads what a CIFAR batch is made of; every name but these few is refused."""

    ALLOWED = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Type,
        ("_codecs", "encode"): _Latin1,
    }

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name, never the thing itself."""
        if (module, name) not in self.ALLOWED:
            asked = f"{module}.{name}"
            raise pickle.UnpicklingError(f"it asks for {asked!r}, and may ask for arrays of bytes only")
        return self.ALLOWED[module, name]
