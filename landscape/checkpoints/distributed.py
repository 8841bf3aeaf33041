"""Folders of torch.distributed.checkpoint: .distcp files with pieces of tensors, and their .metadata."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import torch

from landscape.checkpoints.content import Content, Lazy, Stub, listed
from landscape.checkpoints.folders import inside
from landscape.checkpoints.inert import Reading, told
from landscape.checkpoints.safe import dense, whole
from landscape.checkpoints.sniff import METADATA, opened
from landscape.checkpoints.source import Malformed, Source
from landscape.checkpoints.zipped import PICKLE, unzipped

AXES = 6  # of a tensor in several pieces: its corners double with each
LEVELS = 16  # of dicts within dicts
BESIDE = 60  # plain values that are read, if they are no deeper than two levels and no larger than:
SMALL = 1 << 16

Shape = tuple[int, ...]


class Span(NamedTuple):
    """The bytes of a piece: the file's name in the folder, and where they begin and end in it."""

    file: str
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Layout:
    """What .metadata tells.

    entries: what stands for each tensor, or other value, by its name
    spans: where the piece of a name at an offset is; of a value that is no tensor the offset is None
    places: the keys on the way from the top to each name, where they were told
    ignored: names of code in .metadata but torch's own
    """

    entries: dict[str, Stub]
    spans: dict[tuple[str, Shape | None], Span]
    places: dict[str, tuple[str, ...]]
    ignored: tuple[str, ...]


def read(path: Path) -> Content:
    """What the parts of a folder hold together, all of whose checksums are right.

    Every tensor is put together from pieces that fill it, none of them over another. Names that were made out
    of the keys of dicts within dicts become such dicts again; a list becomes one by its places.
    """
    with told(path):
        layout = _layout(path)
        _refuse_overlaps(list(layout.spans.values()))
        parts = _Parts(path, layout)
        tree: dict[str, Any] = {}
        for name, entry in layout.entries.items():
            _put(tree, layout.places.get(name, (name,)), parts.value(name, entry))
        ignored = tuple(sorted({*layout.ignored, *parts.reading.ignored}))
        return Content("torch.distributed", tree, ignored, notes=tuple(parts.notes))


def files(path: Path) -> list[Path]:
    """The files that `read` reads: .metadata, and those with the pieces by their names."""
    with told(path):
        names = sorted({span.file for span in _layout(path).spans.values()})
        return [inside(path, name) for name in (METADATA, *names)]


def tiles(size: Shape, boxes: Sequence[tuple[Shape, Shape]]) -> bool:
    """Whether boxes, (offsets, sizes) each, fill a tensor of this size, every number of it once.

    The corners of all boxes, with alternating signs, are then those of the whole: what a sum of boxes is
    differentiated along every axis. It takes n 2^axes steps for n boxes.
    """
    corners: Counter[Shape] = Counter()
    for weight, (offsets, sizes) in [(-1, ((0,) * len(size), size)), *((1, box) for box in boxes)]:
        for far in product((False, True), repeat=len(size)):
            corner = tuple(o + n * is_far for o, n, is_far in zip(offsets, sizes, far, strict=True))
            corners[corner] += weight * (-1) ** sum(far)
    return not any(corners.values())


class _Parts:
    """The open files of a folder, and what is in them."""

    def __init__(self, path: Path, layout: Layout) -> None:
        names = sorted({span.file for span in layout.spans.values()})
        self.layout = layout
        self.files: dict[str, BufferedReader] = {name: opened(inside(path, name)) for name in names}
        self.reading = Reading(path, sum(Source(file).size for file in self.files.values()))
        self.pieces = Counter(name for name, _ in layout.spans)
        self.notes: dict[str, None] = {}
        self.beside = 0

    def value(self, name: str, entry: Stub) -> Any:
        if not entry.name.endswith(".TensorStorageMetadata"):
            return self.other(name, entry)
        size, chunks, properties = _attributes(entry, "size", "chunks", "properties")
        # Before anything is done for each chunk: a file could have one long list of them for every name.
        if not isinstance(chunks, list) or len(chunks) > self.pieces[name]:
            raise Malformed(f"{METADATA} does not say where all pieces of {listed([name])} are")
        boxes = [_attributes(chunk, "offsets", "sizes") for chunk in chunks]
        if not all(map(whole, (size, *(shape for box in boxes for shape in box)))):
            raise Malformed(f"{listed([name])} has a shape that cannot be")
        if any(len(shape) != len(size) for box in boxes for shape in box):
            raise Malformed(f"{listed([name])} has pieces of other dimensions")
        single = boxes == [((0,) * len(size), size)]
        if not single and (len(size) > AXES or not tiles(size, boxes)):
            raise Malformed(f"the pieces of {listed([name])} do not fill it, each number once")
        dtype = _dtype(properties)
        pieces = [(offsets, self.piece(name, dtype, offsets, sizes)) for offsets, sizes in boxes]
        return pieces[0][1] if single else _joined(dtype, size, pieces)

    def piece(self, name: str, dtype: torch.dtype, offsets: Shape, sizes: Shape) -> Lazy:
        found = self.unzipped(name, offsets)
        if not isinstance(found, Lazy) or (found.shape, found.dtype) != (sizes, dtype):
            raise Malformed(f"a piece of {listed([name])} is not the tensor that {METADATA} describes")
        return found

    def other(self, name: str, entry: Stub) -> Any:
        """A value that is no tensor: itself where it may tell something of the whole, else a Stub."""
        span = self.layout.spans.get((name, None))
        deep = len(self.layout.places.get(name, ())) > 2
        if span is None or deep or span.end - span.start > SMALL or self.beside == BESIDE:
            return entry
        self.beside += 1
        return self.unzipped(name, None)

    def unzipped(self, name: str, offsets: Shape | None) -> Any:
        span = self.layout.spans.get((name, offsets))
        if span is None:
            raise Malformed(f"{METADATA} does not say where {listed([name])} is")
        part = Source(self.files[span.file], span.start, span.end - span.start)
        found, notes = unzipped(part, self.reading)
        self.notes |= dict.fromkeys(notes)
        return found


def _joined(dtype: torch.dtype, size: Shape, pieces: Sequence[tuple[Shape, Lazy]]) -> Lazy:
    def numbers() -> bytearray:
        raw = bytearray(math.prod(size) * dtype.itemsize)
        made = torch.frombuffer(raw, dtype=dtype).view(size)
        for offsets, piece in pieces:
            made[tuple(slice(o, o + n) for o, n in zip(offsets, piece.shape, strict=True))] = piece.tensor()
        return raw

    return dense(dtype, size, numbers)


def _layout(path: Path) -> Layout:
    with opened(inside(path, METADATA)) as file:
        source = Source(file)
        if source.size > PICKLE:
            raise Malformed(f"{METADATA} has {source.size:,} bytes, more than {PICKLE:,}")
        reading = Reading(path, source.size)
        top = reading.load(source)
    entries, stored, places = _attributes(top, "state_dict_metadata", "storage_data", "planner_data")
    named = isinstance(entries, dict) and all(type(name) is str for name in entries)
    if not named or not isinstance(stored, dict) or not all(isinstance(e, Stub) for e in entries.values()):
        raise Malformed(f"{METADATA} is none of torch.distributed.checkpoint")
    spans: dict[tuple[str, Shape | None], Span] = {}
    for index, info in stored.items():
        name, offset = _attributes(index, "fqn", "offset")
        # A tuple within a thousand others cannot be hashed: its numbers are looked at first.
        if type(name) is not str or not (offset is None or whole(offset)) or (name, offset) in spans:
            raise Malformed(f"{METADATA} names a piece that cannot be, or names it twice")
        spans[name, offset] = _span(name, info)
    keys = places.items() if isinstance(places, dict) else ()
    ways = {name: tuple(map(str, way)) for name, way in keys if name in entries and _is_way(way)}
    ignored = tuple(name for name in reading.ignored if not name.startswith("torch."))
    return Layout(entries, spans, ways, ignored)


def _span(name: str, info: Any) -> Span:
    file, start, length, changes = _attributes(
        info, "relative_path", "offset", "length", "transform_descriptors"
    )
    if changes:
        raise Malformed(
            f"{listed([name])} is compressed or encrypted ({listed(changes)}); it should be plain"
        )
    if type(file) is not str or not whole((start, length)):
        raise Malformed(f"{METADATA} has a place for {listed([name])} that cannot be")
    return Span(file, start, start + length)


def _refuse_overlaps(spans: list[Span]) -> None:
    """Bytes that stand for several pieces would be of any size in memory."""
    for before, after in pairwise(sorted(spans)):
        if before.file == after.file and after.start < before.end:
            raise Malformed(f"two pieces share bytes of {listed([after.file])}")


def _attributes(thing: Any, *names: str) -> tuple[Any, ...]:
    """Attributes of what a Stub stands for, None for one that it does not have."""
    if not isinstance(thing, Stub) or not isinstance(thing.state, dict):
        raise Malformed(f"{METADATA} is none of torch.distributed.checkpoint")
    return tuple(thing.state.get(name) for name in names)


def _dtype(properties: Any) -> torch.dtype:
    state = properties.state if isinstance(properties, Stub) else None
    found = state[0] if isinstance(state, tuple) and state else None
    if not isinstance(found, torch.dtype):
        raise Malformed(f"{METADATA} has a tensor of no type that torch has")
    return found


def _is_way(way: Any) -> bool:
    """Whether these are keys on the way to a name."""
    return isinstance(way, tuple) and 0 < len(way) <= LEVELS and all(type(key) in (str, int) for key in way)


def _put(tree: dict[str, Any], way: tuple[str, ...], value: Any) -> None:
    for key in way[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise Malformed(f"{listed([key])} is both a value and a dict of values")
    if way[-1] in tree:
        raise Malformed(f"{listed([way[-1]])} is there twice")
    tree[way[-1]] = value
