"""CIFAR-10 and CIFAR-100 from their official archives, python or binary, packed or unpacked.

The python archive's batches are pickles, which may run code. Here they cannot: each of the few names that a
pickle may ask for gives a stand-in of ours, so not even numpy is called, and every other name is refused.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import pickletools
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from landscape.data import Data
from landscape.datasets.arrays import one_line
from landscape.datasets.source import absent, places
from landscape.errors import DataError
from landscape.registry import register

PIXELS = 3 * 32 * 32
LIMIT = 200_000_000
"""Bytes that the batches of one split may have; the official ones have 155 million at most."""
UNPACKED, MEMBERS, HEADER = 2 * LIMIT, 100, 1 << 16
"""Bytes of a whole archive, unpacked, and its members; bytes of what describes a member. Official ones have
187 million, and 11 members."""

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
TUPLES, STEPS = 100, 600_000
"""Tuples that a batch may hold, of which its one array takes six; and its opcodes: 50,000 examples with two
labels and a name each take 350,000 in the most long-winded protocol."""


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
    found, left = {}, LIMIT
    for batch, content in contents:  # each is read when the one before is an array
        left -= len(content)
        _bounded(LIMIT - left, f"{source}, up to {batch},")
        found[batch] = (_binary if suffix else _python)(content, f"{source}, {batch}", classes)
        del content
    pairs = [found[batch] for batch in wanted]
    x, y = (np.concatenate(part) for part in zip(*pairs, strict=True))
    x = x.reshape(-1, 3, 32, 32)
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


def _files(folder: Path, wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """The batches of an unpacked archive, one by one."""
    for batch in wanted:
        path = folder / batch
        if not os.path.isfile(path):
            raise DataError(f"{folder} has no file {batch}: it is not whole, unpack the archive again")
        _bounded(path.stat().st_size, f"{path}")
        try:
            with open(path, "rb") as file:
                content = file.read(LIMIT + 1)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {one_line(error)}") from error
        yield batch, content
        del content


def _members(path: Path, folder: str, wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """The batches of an archive, one by one in its own order, in one pass; nothing is written to disk."""
    missing = {f"{folder}/{batch}" for batch in wanted}
    try:
        with gzip.open(path) as unpacked:
            forward = cast(BinaryIO, _Forward(unpacked, str(path)))
            with tarfile.open(fileobj=forward, mode="r:") as archive:
                for count, member in enumerate(archive):
                    if count >= MEMBERS:
                        raise DataError(f"{path} has over {MEMBERS} members: it is not the official archive")
                    name = member.name.removeprefix("./")
                    # Only plain files: a link could lead anywhere, a sparse file be larger than it is.
                    if name not in missing or not member.isreg() or member.issparse():
                        continue
                    _bounded(member.size, f"{path}, {name}")
                    file = archive.extractfile(member)
                    assert file is not None
                    parts = iter(lambda file=file: file.read(HEADER), b"")  # type: ignore[misc]
                    yield name.removeprefix(f"{folder}/"), b"".join(parts)
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


class _Forward:
    """What tarfile may read of an unpacked archive: in small pieces, forwards, and only so far.

    tarfile reads the headers that describe a member whole, whatever length they declare.
    """

    def __init__(self, file: gzip.GzipFile, what: str) -> None:
        self.file, self.what = file, what

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= HEADER:
            raise DataError(
                f"{self.what} describes a member in {size:,} bytes: it is not the official archive"
            )
        self._check(self.file.tell() + size)
        return self.file.read(size)

    def seek(self, place: int) -> int:
        if place < self.file.tell():
            raise DataError(f"{self.what} is no archive that can be read from its beginning to its end")
        self._check(place)
        return self.file.seek(place)

    def tell(self) -> int:
        return self.file.tell()

    def _check(self, place: int) -> None:
        if place > UNPACKED:
            raise DataError(
                f"{self.what} has over {UNPACKED:,} bytes when unpacked: it is not the official archive"
            )


def _bounded(size: int, what: str) -> None:
    if size > LIMIT:
        raise DataError(f"{what} has {size:,} bytes: it is no CIFAR batch, those have at most {LIMIT:,}")


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
        batch = _Unpickler(io.BytesIO(content)).load()
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
    for step, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if step >= STEPS:
            raise pickle.UnpicklingError(f"it has over {STEPS:,} opcodes")
        if opcode.name not in allowed:
            raise pickle.UnpicklingError(f"it uses the opcode {opcode.name}")
        if opcode.name in ("PUT", "LONG_BINPUT") and not 0 <= argument < min(STEPS, len(content)):
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
    """Stands in for _codecs.encode, by which Python 3 writes bytes in the old protocol.

    left: bytes that it will make; a pickle may ask for one text any number of times
    """

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = LIMIT

    def __call__(self, text: Any, encoding: Any) -> bytes:
        if type(text) is not str or encoding not in ("latin1", "latin-1", b"latin1", b"latin-1"):
            raise pickle.UnpicklingError(f"it asks for an encoding {encoding!r}, and may use latin1 only")
        self.left -= len(text)
        if self.left < 0:
            raise pickle.UnpicklingError(f"it makes over {LIMIT:,} bytes of texts")
        return text.encode("latin-1")


class _Unpickler(pickle.Unpickler):
    """Reads what a CIFAR batch is made of; every name but these few is refused."""

    ALLOWED = {  # noqa: RUF012
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Type,
    }
    ENCODE = ("_codecs", "encode")

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="bytes")
        self.encode = _Latin1()

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name, never the thing itself."""
        if (module, name) == self.ENCODE:
            return self.encode
        if (module, name) not in self.ALLOWED:
            asked = f"{module}.{name}"
            raise pickle.UnpicklingError(f"it asks for {asked!r}, and may ask for arrays of bytes only")
        return self.ALLOWED[module, name]
