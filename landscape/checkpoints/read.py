"""A checkpoint: what its file holds, read without running anything of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from landscape.checkpoints import distributed, folders, inert, trusted
from landscape.checkpoints.content import Content, Lazy, fetched, listed
from landscape.checkpoints.find import Weights, find, noted
from landscape.checkpoints.formats import READERS
from landscape.checkpoints.sniff import opened, sniff, sniff_folder
from landscape.checkpoints.write import FORMAT, plain
from landscape.errors import CheckpointError, InputError

CODE = {
    "torchscript": "TorchScript holds code; torch.save(torch.jit.load(FILE).state_dict(), …), or give "
    "--trust-checkpoint",
    "export": "torch.export holds code; torch.save(torch.export.load(FILE).state_dict, …), or give "
    "--trust-checkpoint",
}
FOLDERS = {"sharded": folders, "distributed": distributed}
KINDS: dict[str, tuple[type, ...]] = {
    # A dict too, which `save` takes, though no command makes a model of it.
    "model": (str, dict),
    **dict.fromkeys(("data", "budget", "training", "metrics", "versions"), (dict,)),
    "history": (list,),
}
"""What the entries are that `landscape train` writes."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a file or a folder holds; tensors are read when they are asked for.

    sha256: of the file; of a folder, of its files in the order of their names
    format: "landscape" of our own, else how the file was written: "torch", "safetensors", …
    weights: every mapping from names to tensors, the outer before the inner
    metadata: what `save` was given; {} in another program's file
    told: the plain values beside the weights in another program's file
    ignored: code that the file asks for, none of which was run
    notes: what else a reader should know
    """

    path: Path
    sha256: str
    format: str
    weights: tuple[Weights, ...]
    metadata: dict[str, Any]
    told: dict[str, Any]
    ignored: tuple[str, ...]
    notes: tuple[str, ...]
    unchanged: Callable[[], bool]  # whether the file still is what it was when it was opened

    def take(self, tensors: Mapping[str, Lazy]) -> dict[str, Tensor]:
        """Tensors, read now; CheckpointError where the file is no longer what it was."""
        try:
            with inert.told(self.path):
                found = fetched(tensors)
        except CheckpointError:
            self._refuse_changed()
            raise
        self._refuse_changed()
        return found

    def _refuse_changed(self) -> None:
        if not self.unchanged():
            raise _changed(self.path)

    @cached_property
    def state(self) -> dict[str, Tensor]:
        """The tensors at the most usual place, by the file's own names."""
        if not self.weights:
            raise CheckpointError(f"{self.path} holds no weights; give the file of a model's state dict")
        return self.take(min(self.weights, key=lambda w: w.order).tensors)


def read(path: str | os.PathLike[str], *, trust: bool = False) -> Checkpoint:
    """What a checkpoint holds, all of whose checksums are right. Nothing in it is run.

    It is not mapped into memory: a training run that writes to the same path would change what is mapped, or
    end this process. Instead only the tensors that are asked for are read.

    trust: read it with torch's own functions, which run any code that the file names

    CheckpointError says in one line what the file is instead, or what is wrong with it.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, trust)
    # One open file: what is hashed is what is read, whatever is renamed to its path meanwhile. It is closed
    # with the last tensor that is still to be read from it.
    file = opened(path)
    before = os.fstat(file.fileno())
    kind = sniff(file, path)
    if kind in CODE and not trust:
        raise CheckpointError(f"{path} is refused: {CODE[kind]}")
    file.seek(0)
    content = trusted.read(path, kind) if trust else READERS[kind](file, path)
    if trust and not _is_at(path, before):  # torch opens the path by itself
        raise _changed(path)
    file.seek(0)
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()

    def unchanged() -> bool:
        now = os.fstat(file.fileno())
        # What is renamed to its path takes a link from it: that changes st_ctime, and nothing that is read.
        other = now.st_nlink != before.st_nlink
        return _written(now) == _written(before) if other else _stamp(now) == _stamp(before)

    return _checkpoint(path, sha256, content, unchanged)


def _read_folder(path: Path, trust: bool) -> Checkpoint:
    if trust:
        raise CheckpointError(f"{path} is a folder, whose tensors need no code; leave out --trust-checkpoint")
    kind = FOLDERS[sniff_folder(path)]
    files = kind.files(path)
    before = [file.stat() for file in files]
    content, digest = kind.read(path), hashlib.sha256()
    for name in files:
        with opened(name) as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return _checkpoint(path, digest.hexdigest(), content, lambda: all(map(_is_at, files, before)))


def _written(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    """What no other file has, nor the same file once it is written to, whatever time its writer sets."""
    return *_written(status), status.st_ctime_ns, status.st_dev, status.st_ino


def _is_at(path: Path, status: os.stat_result) -> bool:
    """Whether the file of this status is at the path, as it was."""
    try:
        return _stamp(path.stat()) == _stamp(status)
    except OSError:
        return False


def _changed(path: Path) -> CheckpointError:
    return CheckpointError(f"{path} changed while it was read; wait until its writer has finished")


def _checkpoint(path: Path, sha256: str, content: Content, unchanged: Callable[[], bool]) -> Checkpoint:
    header = content.tree.get("landscape") if isinstance(content.tree, dict) else None
    metadata = _metadata(header, path) if isinstance(header, dict) else {}
    ours = isinstance(header, dict)
    with inert.told(path):
        weights = tuple(find(content.tree.get("state_dict") if ours else content.tree))
        beside = {} if ours else {**noted(content.tree), **_one_line(content.metadata)}
    found = Checkpoint(
        path,
        sha256,
        "landscape" if ours else content.format,
        weights,
        metadata,
        beside,
        content.ignored,
        content.notes,
        unchanged,
    )
    found._refuse_changed()
    return found


def _one_line(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Texts of others', with nothing in them that a terminal would obey."""
    return {listed([n]): listed([v]) if isinstance(v, str) else v for n, v in metadata.items()}


def _metadata(header: dict, path: Path) -> dict[str, Any]:
    """What `save` was given, from the entry that it wrote."""
    number = header.get("format")
    if type(number) is not int:
        raise CheckpointError(f"{path} has a 'landscape' entry without a format; save it with landscape anew")
    if number > FORMAT:
        raise CheckpointError(f"{path} has format {number}, this landscape reads up to {FORMAT}; upgrade it")
    try:
        found = plain({name: value for name, value in header.items() if name != "format"}, "metadata")
        for name, kinds in KINDS.items():
            if name in found and not isinstance(found[name], kinds):
                raise InputError(f"{name} is a {type(found[name]).__name__}, not a {kinds[0].__name__}")
        data = found.get("data", {})
        if not isinstance(data.get("name", ""), str):
            raise InputError(f"data's name is a {type(data['name']).__name__}, not a str")
        return found
    except (InputError, RecursionError) as error:
        reason = listed([error])
        raise CheckpointError(
            f"{path} has metadata that landscape never writes ({reason}); save it anew"
        ) from error
