"""The files that torch.save writes: a zip archive of one pickle and the bytes of each storage."""

from __future__ import annotations

import struct
import sys
import zipfile
import zlib
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch

from landscape.checkpoints.content import Content, Storage, listed
from landscape.checkpoints.inert import Reading, told
from landscape.checkpoints.known import storage_dtype
from landscape.checkpoints.legacy import whole
from landscape.checkpoints.source import Malformed, Source, native

PICKLE = 1 << 28  # bytes; no data.pkl is larger
PIECE = 1 << 20  # bytes that a checksum takes at a time
HEADER = 30  # bytes before a member's name
END, END64, LOCATOR = 22, 56, 20  # bytes of the three records that an archive ends with
COMMENT = 0xFFFF  # the most bytes that may follow them


def read(file: BufferedReader, path: Path) -> Content:
    """What a file of torch.save holds, all of whose checksums are right; tensors are read on demand."""
    with told(path):
        source = Source(file)
        reading = Reading(path, source.size)
        tree, notes = unzipped(source, reading)
        return Content("torch", tree, reading.ignored, notes=notes)


def unzipped(source: Source, reading: Reading) -> tuple[Any, tuple[str, ...]]:
    """What an archive of torch.save holds, and notes; CheckpointError names the reading's path."""
    with told(reading.path):
        members = _members(source)
        unchecked = sum(not _is_checked(source, member) for member in members.values())
        notes = (f"{unchecked} parts of the file have no checksum",) if unchecked else ()
        return _Records(source, members, reading).tree(), notes


@dataclass(frozen=True)
class _Member:
    name: str
    start: int  # of its bytes
    size: int
    crc: int  # 0: none was computed


def _members(source: Source) -> dict[bytes, _Member]:
    """The archive's members by `_key`: uncompressed, none within another, none under another's name."""
    archive = zipfile.ZipFile(source)  # type: ignore[arg-type]  # it reads, seeks and tells, as files do
    _refuse_two_directories(source, archive)
    members: dict[bytes, _Member] = {}
    end = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        # torch.save compresses nothing, and what is compressed could be of any size.
        plain = info.compress_type == zipfile.ZIP_STORED and info.file_size == info.compress_size
        if not plain or info.flag_bits & 1:
            raise Malformed("it is compressed or encrypted, as torch.save never does")
        name, key = info.orig_filename, _key(_raw(info))
        if info.comment:
            raise Malformed(f"its part {listed([name])} has a comment, as torch.save never writes")
        if key in members:
            raise Malformed(f"several of its parts have the name {listed([name])}")
        member = _Member(name, _start(source, info), info.file_size, info.CRC)
        if info.header_offset < end:
            raise Malformed(f"its part {listed([name])} begins within another")
        end = member.start + member.size
        if end > archive.start_dir:  # type: ignore[operator]  # a number when an archive is read
            raise Malformed(f"its part {listed([name])} is longer than the file")
        members[key] = member
    return members


def _key(name: bytes) -> bytes:
    """What torch finds a member by: it takes letters for those of the other case."""
    return name.lower()


def _raw(info: zipfile.ZipInfo) -> bytes:
    return info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")


def _refuse_two_directories(source: Source, archive: zipfile.ZipFile) -> None:
    """torch and zipfile look for the directory in different ways: all of them must lead to the same."""
    before = max(source.size - END - COMMENT, 0)
    tail = bytes(source.fetch(before, source.size - before))
    at = tail.rfind(b"PK\5\6", 0, len(tail) - END + 4)
    if at < 0 or b"PK" in tail[at + END :]:
        raise Malformed("it ends with parts of another archive")
    _, _, _, _, count, size, start, _ = struct.unpack_from("<4s4H2IH", tail, at)
    end = before + at
    if tail[max(at - LOCATOR, 0) : at].startswith(b"PK\6\7"):
        (told,) = struct.unpack_from("<Q", tail, at - LOCATOR + 8)
        end -= LOCATOR + END64
        record = source.fetch(end, END64)  # Malformed where it would begin before the file
        if told != end or record[:4] != b"PK\6\6":
            raise Malformed("its directory is told of at two places")
        count, size, start = struct.unpack_from("<3Q", record, 32)
    if start + size != end or start != archive.start_dir or count != len(archive.infolist()):
        raise Malformed("its directory is not where it is said to be")


def _start(source: Source, info: zipfile.ZipInfo) -> int:
    """Where the member's bytes begin, behind a header that must say the same as the directory."""
    header = source.fetch(info.header_offset, HEADER)
    name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    start = info.header_offset + HEADER
    if header[:4] != b"PK\x03\x04" or source.fetch(start, name) != _raw(info):
        raise Malformed(f"its part {listed([info.orig_filename])} is not where the directory says")
    return start + name + extra


def _is_checked(source: Source, member: _Member) -> bool:
    """Whether the member has a checksum; Malformed where that is another than its bytes'."""
    if member.crc == 0 < member.size:
        return False
    room, crc = memoryview(bytearray(min(PIECE, member.size))), 0
    for place in range(0, member.size, PIECE):
        piece = room[: member.size - place]
        source.fetch_into(piece, member.start + place)
        crc = zlib.crc32(piece, crc)
    if crc != member.crc:
        raise Malformed(f"it is damaged: {listed([member.name])} is not as it was saved")
    return True


class _Records:
    """torch's layout of the members: `<root>/data.pkl`, `<root>/byteorder`, `<root>/data/<key>`."""

    def __init__(self, source: Source, members: dict[bytes, _Member], reading: Reading):
        roots = [n.removesuffix(b"data.pkl") for n in members if n.partition(b"/")[2] == b"data.pkl"]
        if len(roots) != 1:
            raise Malformed(f"it has {len(roots)} parts data.pkl, which torch.save writes once")
        self.source, self.members, self.reading, self.root = source, members, reading, roots[0]
        self.order = bytes(self.record("byteorder", 16)).decode("latin-1") or "little"
        if self.order not in ("little", "big"):
            raise Malformed(f"its byte order is {listed([self.order])}, neither little nor big")
        self.made: dict[tuple[str, torch.dtype], Storage] = {}

    def member(self, name: str) -> _Member | None:
        return self.members.get(self.root + _key(name.encode("utf-8", "surrogatepass")))

    def record(self, name: str, most: int) -> bytearray:
        """The bytes of a small member; none where it is absent."""
        member = self.member(name)
        if member is None:
            return bytearray()
        if member.size > most:
            raise Malformed(f"its part {name} has {member.size:,} bytes, more than {most:,}")
        return self.source.fetch(member.start, member.size)

    def tree(self) -> Any:
        return self.reading.load(Source(self.record("data.pkl", PICKLE)), self.persistent)

    def persistent(self, told_id: Any) -> Storage:
        """The storage that ("storage", type, key, device, count) stands for."""
        if type(told_id) is not tuple or len(told_id) != 5 or told_id[0] not in ("storage", b"storage"):
            raise Malformed("it refers to what is no storage")
        _, kind, key, _, count = told_id
        dtype, count = storage_dtype(kind), whole(count)
        if type(key) is not str:
            raise Malformed("a storage has no name")
        if self.order != sys.byteorder and "Untyped" in kind.name:
            raise Malformed(
                f"it has bytes of unknown types in {self.order}-endian order; save it on this machine"
            )
        member = self.member(f"data/{key}")
        size = count * dtype.itemsize
        if (member.size if member else 0) != size:
            has = f"has {member.size:,}" if member else "is not there"
            raise Malformed(f"the storage {listed([key])} of {size:,} bytes {has}")
        if (key, dtype) not in self.made:
            start, order, fetch = member.start if member else 0, self.order, self.source.fetch
            self.made[key, dtype] = Storage(dtype, count, lambda: native(fetch(start, size), dtype, order))
        return self.made[key, dtype]
