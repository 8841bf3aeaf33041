"""The adversaries that other cells start from, on disk: packed, and dropped when nobody needs them."""

from __future__ import annotations

import os
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from landscape.budget import Budget
from landscape.errors import LandscapeError


def pack(perturbation: Tensor, budget: Budget) -> np.ndarray:
    """δ (n, …) as multiples of eps/127 in a byte for each pixel under l_inf, in half precision under l_2.

    A start for a neighbour's attack needs no more: rounding moves it by 0.4 % of eps.
    """
    scaled = (perturbation / float(budget.eps)).cpu()
    if budget.norm == "linf":
        return (scaled * 127).round().clamp(-127, 127).to(torch.int8).numpy()
    return scaled.to(torch.float16).numpy()


def unpack(packed: np.ndarray, budget: Budget, like: Tensor) -> Tensor:
    """The perturbation that was packed, to rounding, with the type and device of `like`."""
    scale = float(budget.eps) / (127 if budget.norm == "linf" else 1)
    return torch.from_numpy(packed).to(like.device, like.dtype) * scale


def _checksum(array: np.ndarray) -> bytes:
    return b"%08x" % zlib.crc32(np.ascontiguousarray(array).data)


@dataclass(frozen=True)
class State:
    """A folder with a file for each cell that has children: an array of any shape with its checksum."""

    folder: Path

    def save(self, name: int | str, array: np.ndarray) -> None:
        """Whole or not at all; a file of this name is written over."""
        path = self._path(name)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            with open(temporary, "wb") as file:
                np.save(file, array)
                file.write(_checksum(array))
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise LandscapeError(
                f"{path} could not be written: {error.strerror}; make room and run the same command again"
            ) from error

    def load(self, name: int | str) -> np.ndarray | None:
        """The array; None where there is none, or a damaged one."""
        try:
            with open(self._path(name), "rb") as file:
                array = np.load(file, allow_pickle=False)
                return array if file.read() == _checksum(array) else None
        except (OSError, ValueError):
            return None

    def drop(self, name: int | str) -> None:
        self._path(name).unlink(missing_ok=True)

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: int | str) -> Path:
        return self.folder / f"{name}.npy"
