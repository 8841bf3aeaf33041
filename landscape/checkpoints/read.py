"""The tensors in a checkpoint, read without running anything that the file holds."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscape.checkpoints.sniff import archive, opened, sniff
from landscape.checkpoints.write import FORMAT, plain
from landscape.errors import CheckpointError, InputError

# Where programs put the state dict beside an optimizer's.
KEYS = ("state_dict", "model", "net", "model_state_dict", "state")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    path: Path
    sha256: str  # of the file
    format: str  # "landscape", "torch, a state dict", "torch, under 'net'"
    state: dict[str, Tensor]  # by the file's own names, on the CPU
    metadata: dict[str, Any]  # what `save` was given; {} in another program's file
    notes: tuple[str, ...]  # what else a reader should know


def read(path: str | os.PathLike[str], *, key: str | None = None) -> Checkpoint:
    """The state dict in a file of torch.save, all of whose checksums are right.

    Nothing in the file is run: torch.load with weights_only=True, and nothing else when that refuses. It is
    not mapped: mapped weights change, or end the process, when a training run saves to the same path.

    key: the entry that holds the state dict, where several do

    CheckpointError says in one line what the file is instead, or what is wrong with it.
    """
    path = Path(path)
    # One open file: what is hashed is what is read, whatever is renamed to its path meanwhile.
    with opened(path) as file:
        before = os.fstat(file.fileno())
        sniff(file, path)
        anew, unchecked = _checked(file, path)
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise CheckpointError(f"{path} changed while it was read; wait until its writer has finished")
    content = _load(anew, path)
    ours = isinstance(content, dict) and isinstance(content.get("landscape"), dict)
    metadata = _metadata(content["landscape"], path) if ours else {}
    place, found = _find(content, key, path)
    for name, tensor in found.items():
        _refuse_unusual(name, tensor, path)
    kind = f"torch, under {place!r}" if place else "torch, a state dict"
    notes = [f"{unchecked} parts of the file have no checksum"] if unchecked else []
    if beside := [name for name in content if place and name not in (place, "landscape")]:
        notes.append(f"not used: {listed(beside)}")
    state = {name: tensor.detach() for name, tensor in found.items()}
    return Checkpoint(path, sha256, "landscape" if ours else kind, state, metadata, tuple(notes))


def listed(items: Iterable[Any], most: int = 4, between: str = ", ") -> str:
    """The first few items and the number of the others, on one line whatever names a file gave them."""
    texts = ["".join(c if c.isprintable() else "?" for c in str(item)[:200]) for item in items]
    more = [f"and {len(texts) - most} more"] if len(texts) > most else []
    return between.join(texts[:most] + more)


def _checked(file: BufferedReader, path: Path) -> tuple[BytesIO, int]:
    """The archive, written anew from members that agree with their checksums; the number that have none.

    torch compares no checksum, and its own zip reader takes for a member that is marked as a folder whatever
    was in memory. About an archive that zipfile wrote, the two cannot differ.
    """
    archived = archive(file, path)
    members = archived.infolist()
    # torch.save compresses nothing, and what is compressed could be of any size.
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise CheckpointError(f"{path} is refused: it is compressed, as torch.save never does; save it anew")
    claimed = sum(max(member.file_size, member.compress_size) for member in members)
    if claimed > os.fstat(file.fileno()).st_size:
        raise CheckpointError(f"{path} is refused: its parts claim more bytes than it has; copy it again")
    if len({member.filename for member in members}) < len(members):
        raise CheckpointError(f"{path} is refused: several of its parts have one name; save it anew")
    anew, unchecked = BytesIO(), 0
    with zipfile.ZipFile(anew, "w") as copy:
        for member in members:
            if member.CRC == 0 < member.file_size:  # none was computed
                del member.CRC
                unchecked += 1
            try:
                copy.writestr(zipfile.ZipInfo(member.filename), archived.read(member))
            except Exception as error:  # as in `archive`
                name = listed([member.filename])
                raise CheckpointError(
                    f"{path} is damaged: {name} is not as it was saved; copy it again"
                ) from error
    return anew, unchecked


def _load(anew: BytesIO, path: Path) -> Any:
    anew.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # it is read, or refused
            return torch.load(anew, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wants = _wants(anew, error)
        raise CheckpointError(
            f"{path} is refused: it would {wants}; only tensors and plain types are read, "
            "so torch.save the model's state dict alone"
        ) from error
    except Exception as error:  # what a hostile file makes torch raise has no bound
        reason = listed([str(error).partition("\n")[0].partition("  (")[0] or type(error).__name__])
        raise CheckpointError(f"{path} cannot be read by torch ({reason}); save it anew") from error


def _wants(anew: BytesIO, error: Exception) -> str:
    """What a file that is refused would have done."""
    anew.seek(0)
    try:
        unsafe = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(anew))
    except Exception:  # it knows fewer instructions of pickle than torch.load
        unsafe = re.findall(r"GLOBAL (\S+)", str(error))
    if unsafe:
        return f"run {listed(unsafe)}"
    # The rest of torch's message recommends weights_only=False.
    reason = str(error).partition("WeightsUnpickler error: ")[2].strip().partition("\n")[0]
    return f"do what no state dict needs ({listed([reason or 'an unknown instruction'])})"


def _find(content: Any, key: str | None, path: Path) -> tuple[str | None, dict[str, Tensor]]:
    """The entry that holds the state dict, None for the top level, and the state dict."""
    if key is None and _is_state(content):
        return None, content
    entries = content if isinstance(content, dict) else {}
    states = {name: value for name, value in entries.items() if isinstance(name, str) and _is_state(value)}
    chosen = [name for name in states if (name in KEYS if key is None else name == key)]
    if len(chosen) == 1:
        return chosen[0], states[chosen[0]]
    if states:
        which = listed(map(repr, chosen or states))
        raise CheckpointError(f"{path} has state dicts under {which}; choose one of them with key")
    what = f"a dict with {listed(map(repr, entries))}" if entries else f"a {type(content).__name__}"
    raise CheckpointError(f"{path} holds no state dict but {what}; torch.save the model's state dict")


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) > 0
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())
    )


def _refuse_unusual(name: str, tensor: Tensor, path: Path) -> None:
    kind = f"{type(tensor).__name__}, {tensor.layout}, {tensor.dtype}, {tensor.device}"
    dense = tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
    if type(tensor) not in (Tensor, nn.Parameter) or not dense:
        raise CheckpointError(f"{path}: {listed([name])} is no dense tensor ({kind}); save it as one")


def _metadata(header: dict, path: Path) -> dict[str, Any]:
    """What `save` was given, from the entry that it wrote."""
    number = header.get("format")
    if type(number) is not int:
        raise CheckpointError(f"{path} has a 'landscape' entry without a format; save it with landscape anew")
    if number > FORMAT:
        raise CheckpointError(f"{path} has format {number}, this landscape reads up to {FORMAT}; upgrade it")
    try:
        return plain({name: value for name, value in header.items() if name != "format"}, "metadata")
    except (InputError, RecursionError) as error:
        reason = listed([error])
        raise CheckpointError(
            f"{path} has metadata that landscape never writes ({reason}); save it anew"
        ) from error
