"""What a file is, told by its content and never by its name."""

from __future__ import annotations

import os
import stat
import zipfile
from io import BufferedReader
from pathlib import Path
from typing import Literal

from landscape.errors import CheckpointError

# How a file begins that is no checkpoint, what it is, and what to do. The first that fits is the one.
OTHERS = (
    (b"<", "a web page, which a download gave instead of the file: download the file itself"),
    (b"version https://git-lfs", "a Git LFS pointer, not the weights: run `git lfs pull` in its repository"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as results are: give a file that torch.save wrote"),
    (
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",  # the pickled number 0x1950a86a20f9469cfc6c
        "in the format of torch before 1.6, which is not read: torch.save it anew",
    ),
    (
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        "a plain pickle, and reading that could run any code: torch.save the model's state dict",
    ),
)


def opened(path: Path) -> BufferedReader:
    """The file, open for reading; CheckpointError where there is none."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise CheckpointError(f"{path} is a folder; name the checkpoint file in it")
        if not stat.S_ISREG(mode):  # opening a pipe could wait for ever
            raise CheckpointError(f"{path} is a device or a pipe; copy it to a file first")
        return open(path, "rb")
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {path}; check the path") from None
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be opened: {error.strerror}; check the path and its permissions"
        ) from error


def sniff(file: BufferedReader, path: Path) -> Literal["torch"]:
    """The format of a file of torch.save, "torch"; CheckpointError says what anything else is."""
    file.seek(0)
    head = file.read(1024)
    if not head:
        raise CheckpointError(f"{path} is empty, as failed downloads and saves leave files; fetch it again")
    if head.startswith(b"PK\x03\x04"):
        return _sniff_zip(file, path)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for start, what in OTHERS:
        if head.startswith(start) or text.startswith(start):
            raise CheckpointError(f"{path} is {what}")
    # Eight bytes with the length of a JSON header, and that.
    size = os.fstat(file.fileno()).st_size
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        raise CheckpointError(f"{path} is a safetensors file, which is not read: torch.save its tensors")
    raise CheckpointError(f"{path} is no checkpoint, it begins with {head[:8]!r}; give a file of torch.save")


def _sniff_zip(file: BufferedReader, path: Path) -> Literal["torch"]:
    names = [name.partition("/")[2] for name in archive(file, path).namelist()]
    if "constants.pkl" in names:
        kind = "TorchScript"
    elif "archive_format" in names or any("exported_program" in name for name in names):
        kind = "torch.export"
    elif "data.pkl" in names:
        return "torch"
    else:
        raise CheckpointError(f"{path} is a zip archive, but none of torch.save; give the checkpoint in it")
    raise CheckpointError(f"{path} is refused: {kind} archives hold code; torch.save the model's state dict")


def archive(file: BufferedReader, path: Path) -> zipfile.ZipFile:
    """The zip archive in an open file."""
    try:
        if zipfile.is_zipfile(file):
            return zipfile.ZipFile(file)
    except Exception as error:  # what damaged bytes make zipfile raise has no bound
        raise CheckpointError(f"{path} is damaged: its zip directory is unreadable; copy it again") from error
    size = os.fstat(file.fileno()).st_size
    raise CheckpointError(f"{path} is cut short: after {size} bytes there is no zip directory; copy it again")
