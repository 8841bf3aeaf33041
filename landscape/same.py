"""Whether work is carried on under the settings that it was begun with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from landscape.errors import InputError


def check_same(known: dict[str, Any], settings: dict[str, Any], path: str) -> None:
    """Raise where work was begun under other settings, saying which."""
    for name in [*settings, *(name for name in known if name not in settings)]:
        if known.get(name) != settings.get(name):
            raise InputError(
                f"{path} was begun with {name} = {_short(known.get(name))}, now it is "
                f"{_short(settings.get(name))}; give --fresh to begin anew, or another -o"
            )


@contextmanager
def same_threads(threads: int) -> Iterator[None]:
    """So many threads within, for rounding depends on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) < 60 else f"{text[:57]}..."
