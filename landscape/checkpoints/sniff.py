"""What a file or a folder is, told by its content and never by its name."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from io import BufferedReader
from pathlib import Path
from typing import Literal

from landscape.checkpoints.content import listed
from landscape.checkpoints.source import Source
from landscape.errors import CheckpointError

Kind = Literal["torch", "legacy", "pickle", "safetensors", "torchscript", "export"]

HEADER = 100_000_000
"""The most bytes that a safetensors file's header may have."""
LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The number with which torch before 1.6 begins its files, pickled with protocol 2 or later."""
PICKLES = (
    *(b"\x80" + bytes([protocol]) for protocol in range(2, 6)),
    # Protocols 0 and 1 have no mark of their own: a dict, a list, or a class's name comes first.
    *(b"(dp", b"(lp", b"}q\x00", b"]q\x00", b"ccollections\n", b"ccopy_reg\n", b"ctorch"),
)
# How a file begins that is no checkpoint, what it is, and what to do. The first that fits is the one.
OTHERS: tuple[tuple[bytes | tuple[bytes, ...], str], ...] = (
    (b"<", "a web page, which a download gave instead of the file: download the file itself"),
    (b"version https://git-lfs", "a Git LFS pointer, not the weights: run `git lfs pull` in its repository"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as results and Keras weights are: give a file of torch.save"),
    (b"\x93NUMPY", "a NumPy array: torch.save the model's state dict"),
    (b"GGUF", "a GGUF file, whose weights are quantized: give the checkpoint that it was made from"),
    (
        (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c"),
        "compressed: unpack it, and give the checkpoint in it",
    ),
)
INDEXES = (".safetensors.index.json", ".bin.index.json")
SINGLES = ("model.safetensors", "pytorch_model.bin")
"""The one file with the weights in a Hugging Face folder without an index."""
METADATA = ".metadata"
"""What describes the parts of torch's distributed checkpoint."""
NAMES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".tar", ".pkl", ".pickle", ".th", ".model")
"""How checkpoints' names end, to list them in a folder; what they are, their content says."""


class _Raw(io.FileIO):
    """Closes when nobody has tensors to read from it any more: that is as meant, and no reason to warn."""

    def __del__(self) -> None:
        self.close()


class _Open(BufferedReader):
    """The same of the file around it: which of the two is dropped first is not told."""

    def __del__(self) -> None:
        self.close()


def opened(path: Path) -> BufferedReader:
    """The file, open for reading; CheckpointError where there is none."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise CheckpointError(f"{path} is a folder; name the checkpoint file in it")
        if not stat.S_ISREG(mode):  # opening a pipe could wait for ever
            raise CheckpointError(f"{path} is a device or a pipe; copy it to a file first")
        return _Open(_Raw(path, "rb"))
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {path}; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"{path} cannot be opened: {reason}; check the path and its permissions"
        ) from error


def sniff(file: BufferedReader, path: Path) -> Kind:
    """The format of a checkpoint; CheckpointError says what anything else is."""
    whole = Source(file)
    size, head = whole.size, whole.read(1024)
    if not head:
        raise CheckpointError(f"{path} is empty, as failed downloads and saves leave files; fetch it again")
    # Before all others: the length that a safetensors file begins with may look like any other beginning.
    if _is_safetensors(head, size, path):
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return _sniff_zip(file, path)
    if head.startswith(b"\x80") and LEGACY in head[:32]:
        return "legacy"
    if head.startswith(PICKLES):
        return "pickle"
    raise CheckpointError(f"{path} is {_other(head)}")


def _is_safetensors(head: bytes, size: int, path: Path) -> bool:
    """Whether it begins with eight bytes that are the length of a JSON header, and that."""
    length = int.from_bytes(head[:8], "little")
    if head[8:9] != b"{" or not 2 <= length <= HEADER:
        return False
    if length > size - 8:
        raise CheckpointError(
            f"{path} is a safetensors file cut short: its header would have {length:,} bytes of {size:,}; "
            "copy it again"
        )
    return True


def _other(head: bytes) -> str:
    """What a file is that is no checkpoint, and what to do."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for start, what in OTHERS:
        if head.startswith(start) or text.startswith(start):
            return what
    if text.startswith((b"{", b"[")):
        if b'"weight_map"' in head or b'"total_size"' in head:
            return "the index of weights that lie in several files: give its folder"
        return "JSON text, not weights: give the checkpoint that it describes"
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it; if torch 0.1 wrote it, load it with torch and torch.save it anew"
    if head.startswith((b"PK\x05\x06", b"PK\x07\x08")):
        return "an empty or a split zip archive: copy it again"
    if not head.strip(b"\0"):
        return "all zeros at its beginning, as broken copies are: copy it again"
    return f"no checkpoint, it begins with {head[:8]!r}; give a file of torch.save or safetensors"


def _sniff_zip(file: BufferedReader, path: Path) -> Kind:
    archived = archive(file, path)
    names = [name.partition("/")[2] for name in archived.namelist()]
    first = min((member.header_offset for member in archived.infolist()), default=0)
    if first and "data.pkl" in names:
        raise CheckpointError(
            f"{path} is several archives one after another, as a part of a distributed checkpoint is: "
            "give the folder of all parts and of .metadata"
        )
    if "constants.pkl" in names or "model.json" in names:
        return "torchscript"
    if "archive_format" in names or any("exported_program" in name for name in archived.namelist()):
        return "export"
    if "data.pkl" in names:
        return "torch"
    raise CheckpointError(f"{path} is {_zipped(archived.namelist())}")


def _zipped(names: list[str]) -> str:
    """What a zip archive is that torch did not write, and what to do."""
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive (.npz): torch.save the model's state dict"
    if any(name.startswith(".data/") or "/.data/extern_modules" in name for name in names):
        return "an archive of torch.package, which holds code: torch.save the model's state dict"
    if any(name.endswith(".weights.h5") for name in names):
        return "a Keras model: give a checkpoint of PyTorch"
    return f"a zip archive, but none of torch.save: unpack it, and give a file in it ({listed(names)})"


def archive(file: BufferedReader, path: Path) -> zipfile.ZipFile:
    """The zip archive in an open file."""
    try:
        if zipfile.is_zipfile(file):
            return zipfile.ZipFile(file)
    except Exception as error:  # what damaged bytes make zipfile raise has no bound
        raise CheckpointError(f"{path} is damaged: its zip directory is unreadable; copy it again") from error
    size = os.fstat(file.fileno()).st_size
    raise CheckpointError(f"{path} is cut short: after {size} bytes there is no zip directory; copy it again")


def sniff_folder(path: Path) -> Literal["sharded", "distributed"]:
    """The format of a folder that is one checkpoint; CheckpointError says what anything else is."""
    names = entries(path)
    if METADATA in names:
        return "distributed"
    if any(name.endswith(INDEXES) or name in SINGLES for name in names):
        return "sharded"
    if any(name.endswith(".distcp") for name in names):
        raise CheckpointError(
            f"{path} has parts of a distributed checkpoint but no {METADATA}: its writer did not finish; "
            "take another one"
        )
    if found := [name for name in names if name.endswith(NAMES)]:
        raise CheckpointError(f"{path} is a folder; name the checkpoint in it: {listed(found, 8)}")
    folders = [name for name in names if (path / name).is_dir()]
    below = f"; it has the folders {listed(folders)}" if folders else ""
    raise CheckpointError(f"{path} is a folder without a checkpoint{below}; name the file")


def entries(path: Path) -> list[str]:
    """The names in a folder, sorted."""
    try:
        return sorted(os.listdir(path))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path} cannot be listed: {reason}; check its permissions") from error
