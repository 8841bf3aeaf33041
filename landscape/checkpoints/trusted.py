"""Files read with torch's own functions, which run any code that a file names: for files that are trusted."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from landscape.checkpoints.content import Content, listed
from landscape.errors import CheckpointError


def read(path: Path, kind: str) -> Content:
    """What a file of `kind` holds, as `sniff` tells it. Whatever code the file names is run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other versions' code: it was asked for
            tree = LOADERS.get(kind, _torch)(path)
    except Exception as error:  # it is the file's own code
        reason = listed([" ".join(f"{type(error).__name__}: {error}".split())])
        raise CheckpointError(
            f"{path} cannot be loaded by torch ({reason}); leave out --trust-checkpoint to read its tensors"
        ) from error
    return Content(f"{kind}, trusted", tree, notes=("its own code was trusted, and run",))


def _torch(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=False)


def _pickle(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file)


def _script(path: Path) -> Any:
    return dict(torch.jit.load(path, map_location="cpu").state_dict())


def _export(path: Path) -> Any:
    return dict(torch.export.load(path).state_dict)


def _safetensors(path: Path) -> Any:
    raise ValueError("a safetensors file holds no code that could be trusted")


LOADERS: dict[str, Callable[[Path], Any]] = {
    "pickle": _pickle,
    "torchscript": _script,
    "export": _export,
    "safetensors": _safetensors,
}
