"""Files that torch saved before 1.6, and plain pickles, with the storages in them or behind them."""

from __future__ import annotations

from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch

from landscape.checkpoints.content import Content, Storage, listed
from landscape.checkpoints.inert import Reading, told
from landscape.checkpoints.known import storage_dtype
from landscape.checkpoints.source import Malformed, Source, native

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file of torch
PROTOCOL = 1001  # the second; the third is a dict about the machine


def read(file: BufferedReader, path: Path) -> Content:
    """What a file holds that torch saved before 1.6, or a plain pickle; "torch before 1.6", "pickle"."""
    with told(path):
        source = Source(file)
        reading = Reading(path, source.size)
        tree, kind = unpickled(source, reading)
        left = source.size - source.tell()
        notes = (f"{left:,} bytes behind the {kind} file's end are not read",) if left else ()
        return Content(kind, tree, reading.ignored, notes=notes)


def unpickled(source: Source, reading: Reading) -> tuple[Any, str]:
    """What stands from the source's position on, and its format; the position is then behind it."""
    first = reading.load(source, _no_storages)
    if type(first) is not int or first != MAGIC:
        return first, "pickle"
    protocol = reading.load(source)
    if type(protocol) is not int or protocol != PROTOCOL:
        raise Malformed("it is of another version of torch's format than 1001, the only one there was")
    reading.load(source)  # numbers are little-endian whatever is said here of the machine
    storages = _Storages(source, reading)
    tree = reading.load(source, storages.persistent)
    storages.place(reading.load(source))
    return tree, "torch before 1.6"


def _no_storages(_: Any) -> Any:
    raise Malformed("it refers to tensors that stand in another file")


@dataclass(eq=False)
class _Placed:
    """Where the bytes of a storage stand, once that is known."""

    dtype: torch.dtype
    count: int  # of numbers
    start: int = -1


class _Storages:
    """The storages that the pickle of such a file refers to; their bytes stand behind it."""

    def __init__(self, source: Source, reading: Reading):
        self.source, self.reading = source, reading
        self.placed: dict[str, _Placed] = {}
        self.made: dict[tuple[str, int, int], Storage] = {}

    def persistent(self, told_id: Any) -> Any:
        """What ("storage", type, key, device, count, view) or ("module", class, file, text) stands for."""
        kind, *rest = told_id if type(told_id) is tuple and 0 < len(told_id) <= 6 else [None]
        if kind in ("module", b"module") and rest:
            return rest[0]
        if kind not in ("storage", b"storage") or len(rest) != 5:
            raise Malformed("it refers to what is no storage")
        kind, key, _, count, view = rest
        dtype, key, count = storage_dtype(kind), _key(key), whole(count)
        placed = self.placed.setdefault(key, _Placed(dtype, count))
        if view is None:
            return self.storage(key, placed, 0, count)
        _, offset, part = view
        return self.storage(key, placed, whole(offset), whole(part))

    def storage(self, key: str, placed: _Placed, offset: int, count: int) -> Storage:
        if offset + count > placed.count:
            raise Malformed(f"a part of a storage ends at {offset + count:,} of {placed.count:,}")
        width, fetch, dtype = placed.dtype.itemsize, self.source.fetch, placed.dtype

        def fetched() -> bytearray:
            return native(fetch(placed.start + offset * width, count * width), dtype, "little")

        return self.made.setdefault((key, offset, count), Storage(dtype, count, fetched))

    def place(self, keys: Any) -> None:
        """Finds each storage's bytes: a count of eight bytes and the numbers, in the order of `keys`."""
        if type(keys) is not list:
            raise Malformed("its storages are not listed")
        for key in map(_key, keys):
            placed = self.placed.get(key)
            if placed is None or placed.start >= 0:
                raise Malformed(f"the storage {listed([key])} stands in it without a use, or twice")
            count = int.from_bytes(self.source.read(8), "little")
            placed.start = self.source.tell()
            end = placed.start + placed.count * placed.dtype.itemsize
            if count != placed.count or end > self.source.size:
                raise Malformed(f"a storage of {placed.count:,} numbers has {count:,}, or is cut short")
            self.source.seek(end)
        if absent := [key for key, placed in self.placed.items() if placed.start < 0]:
            raise Malformed(f"the storages {listed(absent)} are not in it")


def _key(key: Any) -> str:
    if type(key) not in (str, int):
        raise Malformed("a storage has no name")
    return str(key)


def whole(count: Any) -> int:
    """A number of numbers."""
    if type(count) is not int or not 0 <= count < 2**62:
        raise Malformed("a storage has a size that cannot be")
    return count
