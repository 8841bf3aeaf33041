"""Which module reads which kind of file."""

from __future__ import annotations

from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

from landscape.checkpoints import legacy, safe, zipped
from landscape.checkpoints.content import Content

READERS: dict[str, Callable[[BufferedReader, Path], Content]] = {
    "torch": zipped.read,
    "legacy": legacy.read,
    "pickle": legacy.read,
    "safetensors": safe.read,
}
"""By what `sniff` says; a kind that is absent holds code."""
