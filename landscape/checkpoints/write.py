"""The checkpoint that `landscape train` writes: tensors and plain types, whole or not at all."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from landscape.errors import InputError
from landscape.files import atomic

FORMAT = 1  # rises when an older landscape could no longer read what is written
PARTS = 100_000  # of metadata; a dict that stands in several places counts in each


def save(path: str | os.PathLike[str], state: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Writes {"landscape": {"format": 1, **metadata}, "state_dict": state} with torch.save, atomically.

    Equal state and metadata give equal bytes. Tensors are copied: a view would bring its whole storage along.

    metadata: str, int, float, bool, None, lists and dicts of these; InputError names what is something else
    """
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise InputError(f"state[{name!r}] is a {type(tensor).__name__}; a state maps names to tensors")
    if "format" in metadata:
        raise InputError("metadata has an entry 'format', which the file itself needs; give it another name")
    content = {
        "landscape": {"format": FORMAT, **plain(metadata, "metadata")},
        "state_dict": {
            name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, tensor in state.items()
        },
    }
    # Through memory: torch's own writer loses the reason of an OSError, and puts the file's name, here a
    # temporary one, into the file.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def plain(value: Any, where: str) -> Any:
    """The value in the very types that weights_only reads; torch.__version__ is of a subclass of str."""
    return _plain(value, where, [PARTS])


def _plain(value: Any, where: str, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise InputError(f"metadata has more than {PARTS:,} values; keep them in a file of their own")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    for number in (int, float):
        if isinstance(value, number):
            return number(value)
    if isinstance(value, list):
        return [_plain(item, f"{where}[{place}]", left) for place, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InputError(f"{where} has the key {key!r}; write it as a str")
        return {
            str.__str__(key): _plain(item, f"{where}[{str.__str__(key)[:100]!r}]", left)
            for key, item in value.items()
        }
    kind = type(value).__name__
    raise InputError(
        f"{where} is a {kind}; make it a str, int, float, bool, None, or a list or dict of these"
    )
