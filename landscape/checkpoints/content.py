"""What stands in a file, before any of its tensors is read: one vocabulary for all formats."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from landscape.errors import CheckpointError


def listed(items: Iterable[Any], most: int = 4, between: str = ", ") -> str:
    """The first few items and the number of the others, on one line whatever names a file gave them."""
    every = list(items)
    texts = ["".join(c if c.isprintable() else "?" for c in str(item)[:200]) for item in every[:most]]
    more = [f"and {len(every) - most} more"] if len(every) > most else []
    return between.join(texts + more)


@dataclass(frozen=True, eq=False)
class Storage:
    """The bytes that one or several tensors look at; `read` fetches all of them, on this machine's order."""

    dtype: torch.dtype
    count: int  # of numbers
    read: Callable[[], bytearray]


@dataclass(frozen=True, eq=False, repr=False)
class Lazy:
    """A dense tensor that a file describes; its numbers are read when they are asked for.

    CheckpointError where it would look outside of its storage.
    """

    storage: Storage
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int = 0

    def __post_init__(self) -> None:
        numbers = (*self.shape, *self.stride, self.offset)
        whole = all(type(n) is int and 0 <= n < 2**62 for n in numbers)
        if not whole or len(self.shape) != len(self.stride) or math.prod(filter(None, self.shape)) >= 2**62:
            raise CheckpointError(f"a tensor of shape {listed([self.shape])} is described that cannot be")
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        if self.count and last >= self.storage.count:
            raise CheckpointError(
                f"a tensor of shape {self.shape} would look at number {last:,} of {self.storage.count:,}"
            )
        # Expanded tensors are tiny in a file and of any size in memory.
        if self.count > max(self.storage.count, 1):
            raise CheckpointError(
                f"a tensor of shape {self.shape} has more numbers than the file holds for it, "
                f"{self.storage.count:,}"
            )

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        return self.storage.dtype

    def tensor(self) -> Tensor:
        """The tensor (shape), read now, in memory of its own."""
        return self.within(self.storage.read())

    def within(self, raw: bytearray) -> Tensor:
        """The tensor (shape) in the bytes of its storage, in memory of its own."""
        if not self.count:
            return torch.empty(self.shape, dtype=self.dtype)
        numbers = torch.frombuffer(raw, dtype=self.dtype)
        if len(numbers) != self.storage.count:
            raise CheckpointError(f"a storage has {len(numbers):,} numbers, not {self.storage.count:,}")
        found = numbers.as_strided(self.shape, self.stride, self.offset)
        return found.clone(memory_format=torch.contiguous_format)

    @classmethod
    def of(cls, tensor: Tensor) -> Lazy:
        """A tensor that is in memory already."""
        kept = tensor.detach().cpu().contiguous()
        return _Ready(Storage(kept.dtype, kept.numel(), bytearray), tuple(kept.shape), kept.stride(), 0, kept)


@dataclass(frozen=True, eq=False, repr=False)
class _Ready(Lazy):
    kept: Tensor = field(default_factory=lambda: torch.empty(0))

    def tensor(self) -> Tensor:
        return self.kept

    def within(self, raw: bytearray) -> Tensor:
        return self.kept


def fetched(described: Mapping[str, Lazy]) -> dict[str, Tensor]:
    """Tensors by name, read now; a storage that many of them look at is read once."""
    found: dict[str, Tensor] = {}
    by_storage: dict[int, list[str]] = {}
    for name, one in described.items():
        by_storage.setdefault(id(one.storage), []).append(name)
    for names in by_storage.values():
        raw = described[names[0]].storage.read()
        found |= {name: described[name].within(raw) for name in names}
    return {name: found[name] for name in described}


@dataclass(eq=False, repr=False, slots=True)
class Stub:
    """What stands for an object that only code of the file's own could make: its parts, and nothing runs.

    name: what it would have been, such as "argparse.Namespace"
    arguments: what it would have been called with
    state: what it would have been given as its state, mostly the dict of its attributes
    entries, elements: what it would have held as a mapping or a list
    """

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    entries: dict[Any, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Content:
    """What a file holds.

    format: "torch", "torch before 1.6", "pickle", "safetensors", …
    tree: dicts, lists, tuples, plain values, `Lazy` tensors and `Stub`s
    ignored: names of code that the file asks for and that was not run, sorted
    metadata: plain values that the format keeps beside the tensors
    notes: what else a reader should know
    """

    format: str
    tree: Any
    ignored: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
