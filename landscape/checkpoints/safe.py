"""safetensors files: a length, a JSON header that describes every tensor, and their bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch

from landscape.checkpoints.content import Content, Lazy, Storage, listed
from landscape.checkpoints.inert import told
from landscape.checkpoints.known import AXES
from landscape.checkpoints.sniff import HEADER
from landscape.checkpoints.source import Malformed, Source, native
from landscape.errors import CheckpointError

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
    "U16": torch.uint16,
    "I16": torch.int16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "F32": torch.float32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F64": torch.float64,
    "C64": torch.complex64,
}
METADATA = "__metadata__"
NO_CHECKSUM = "the format has no checksums"


class Place(NamedTuple):
    """Where the bytes of a tensor begin and end, counted from the end of the header, and what they are."""

    start: int
    end: int
    dtype: torch.dtype
    shape: tuple[int, ...]


def read(file: BufferedReader, path: Path) -> Content:
    """What a safetensors file holds, every tensor of which is described as the format demands.

    Weights that were tied when they were saved are in the file once; where it tells their other names, they
    have these too.
    """
    with told(path):
        source = Source(file)
        size, length = source.size, int.from_bytes(source.read(8), "little")
        if not 2 <= length <= min(size - 8, HEADER):
            raise Malformed(f"it has {size:,} bytes, and would begin with a header of {length:,}")
        header = strict_json(source.read(length), "its header")
        metadata = _metadata(header.pop(METADATA, {}))
        places = {name: _place(listed([name]), entry) for name, entry in header.items()}
        _refuse_gaps(places, size - 8 - length)
        tensors = {
            name: _lazy(source, 8 + length, place, f"{path}: {listed([name])}")
            for name, place in places.items()
        }
    tied = {alias: tensors[own] for alias, own in metadata.items() if own in tensors and alias not in tensors}
    notes = [f"tied when it was saved: {listed(tied)}"] if tied else []
    return Content("safetensors", tensors | tied, metadata=metadata, notes=(NO_CHECKSUM, *notes))


def strict_json(text: bytes, what: str) -> dict[str, Any]:
    """A JSON object in UTF-8 that says everything once; Malformed where `what` is something else."""
    try:
        if not text.startswith(b"{"):
            raise ValueError("it begins with no {")
        return json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{what} is no JSON object ({error})") from error


def dense(dtype: torch.dtype, shape: tuple[int, ...], read: Callable[[], bytearray]) -> Lazy:
    """A tensor whose numbers lie one after another, as `read` fetches them."""
    # torch counts the numbers of all dimensions but one even where there are none in that one.
    if math.prod(max(n, 1) for n in shape) >= 2**62:
        raise Malformed(f"a tensor of shape {listed([shape])} is larger than any can be")
    stride = [math.prod(max(n, 1) for n in shape[place + 1 :]) for place in range(len(shape))]
    return Lazy(Storage(dtype, math.prod(shape), read), shape, tuple(stride))


def whole(numbers: Any) -> bool:
    """Whether it is a tuple of ints, as a shape is: no more than torch takes, none of them negative."""
    fits = isinstance(numbers, tuple) and len(numbers) <= AXES
    return fits and all(type(n) is int and 0 <= n < 2**62 for n in numbers)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    for pair in pairs:
        for text in pair:
            if isinstance(text, str):
                text.encode()  # halves of letters, which JSON can spell, are no text
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _metadata(entry: Any) -> dict[str, str]:
    if not isinstance(entry, dict) or not all(isinstance(text, str) for text in entry.values()):
        raise Malformed(f"its {METADATA} does not map texts to texts")
    return entry


def _place(name: str, entry: Any) -> Place:
    """What the header tells of a tensor, if it agrees with itself."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise Malformed(f"{name} is not described by dtype, shape and data_offsets")
    kind, shape, span = entry["dtype"], _tuple(entry["shape"]), _tuple(entry["data_offsets"])
    if not isinstance(kind, str) or kind not in DTYPES:
        raise Malformed(f"{name} is of type {listed([kind])}, which torch does not have")
    if not whole(shape) or not whole(span) or len(span) != 2:
        raise Malformed(f"{name} has a shape or a place that cannot be")
    start, end = span
    needed = math.prod(shape) * DTYPES[kind].itemsize
    if end - start != needed:
        raise Malformed(
            f"{name} has {end - start:,} bytes; {kind} of shape {listed([shape])} has {listed([needed])}"
        )
    return Place(start, end, DTYPES[kind], shape)


def _tuple(numbers: Any) -> Any:
    return tuple(numbers) if isinstance(numbers, list) else numbers


def _refuse_gaps(places: dict[str, Place], size: int) -> None:
    """The tensors lie one after another and fill the file, or it is damaged."""
    done = 0
    for name, place in sorted(places.items(), key=lambda item: item[1][:2]):
        if place.start != done:
            raise Malformed(
                f"{listed([name])} begins at byte {place.start:,}, the tensor before it ends at {done:,}"
            )
        done = place.end
    if done != size:
        raise Malformed(f"its tensors have {done:,} bytes, and {size:,} follow the header")


def _lazy(source: Source, begin: int, place: Place, where: str) -> Lazy:
    def numbers() -> bytearray:
        raw = source.fetch(begin + place.start, place.end - place.start)
        if place.dtype == torch.bool and raw.translate(None, b"\0\1"):  # which torch takes for both
            raise CheckpointError(f"{where} has values that are neither true nor false; save it anew")
        return native(raw, place.dtype, "little")

    return dense(place.dtype, place.shape, numbers)
