"""Bytes at known places of an open file, or in memory: what a reader of a format reads from."""

from __future__ import annotations

import os
import sys
from io import BufferedIOBase

import numpy as np
import torch

from landscape.errors import CheckpointError

CHUNK = 1 << 18  # small reads are served from so many bytes at once
LINE = 1 << 20  # no line of a pickle is longer


class Malformed(CheckpointError):
    """A file says what cannot be; the text says what, and not yet in which file."""


class Source:
    """`size` bytes from `start` of an open file, or of bytes in memory, as a file of their own.

    `fetch` does not move the position that `read`, `readline`, `seek` and `tell` share, nor the file's: any
    number of Sources may look at one open file.
    """

    def __init__(self, file: BufferedIOBase | bytes | bytearray, start: int = 0, size: int | None = None):
        self._file = None if isinstance(file, (bytes, bytearray)) else file.fileno()
        self._keep = file  # a descriptor is closed with the file that it belongs to
        whole = len(file) if isinstance(file, (bytes, bytearray)) else os.fstat(file.fileno()).st_size
        size = whole - start if size is None else size
        if start < 0 or not 0 <= size <= whole - start:
            raise Malformed(f"{size} bytes are to be read from byte {start} of {whole}")
        self.start, self.size, self.position = start, size, 0
        self._buffer, self._first = b"", 0  # bytes read ahead, and the place of the first of them

    def fetch(self, place: int, count: int) -> bytearray:
        """The `count` bytes from `place`; Malformed where there are fewer."""
        if not 0 <= place <= place + count <= self.size:
            raise Malformed(f"{count} bytes are to be read from byte {place} of {self.size}")
        fetched = bytearray(count)
        self.fetch_into(memoryview(fetched), place)
        return fetched

    def fetch_into(self, room: memoryview, place: int) -> None:
        """Fills `room` with the bytes from `place`."""
        at = self.start + place
        if self._file is None:
            room[:] = memoryview(self._keep)[at : at + len(room)]  # type: ignore[arg-type]
            return
        while len(room):
            read = os.preadv(self._file, [room], at)
            if not read:
                raise Malformed("it became shorter while it was read")
            room, at = room[read:], at + read

    def read(self, count: int = -1) -> bytes:
        left = self.size - self.position
        count = left if count is None or count < 0 else min(count, left)
        begin = self.position - self._first
        if begin < 0 or begin + count > len(self._buffer):
            if count >= CHUNK:
                self.position += count
                return bytes(self.fetch(self.position - count, count))
            self._first, begin = self.position, 0
            self._buffer = bytes(self.fetch(self.position, min(left, CHUNK)))
        self.position += count
        return self._buffer[begin : begin + count]

    def readline(self) -> bytes:
        """Up to the next end of line, or as far as a line may be."""
        place, size = self.position, 256
        while True:
            line = self.read(size)
            end = line.find(b"\n") + 1
            if end or len(line) < size or size >= LINE:
                line = line[: end or len(line)]
                self.position = place + len(line)
                return line
            self.position, size = place, size * 16

    def tell(self) -> int:
        return self.position

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.size}[whence]
        if origin + place < 0:
            raise OSError("a place before the beginning")  # as files do
        self.position = min(origin + place, self.size)
        return self.position

    def seekable(self) -> bool:
        return True


def native(raw: bytearray, dtype: torch.dtype, order: str) -> bytearray:
    """The numbers in `raw`, written in the byte order "little" or "big", in this machine's; in place."""
    width = dtype.itemsize // (2 if dtype.is_complex else 1)
    if order != sys.byteorder and width > 1:
        np.frombuffer(raw, f"u{width}").byteswap(inplace=True)
    return raw
