"""Arrays as examples: whatever numpy or torch can read as images and targets."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.data import Data
from landscape.errors import DataError


def of_arrays(x: Any, y: Any, name: str, split: str, *, numbers: bool = False, classes: int = 0) -> Data:
    """Data of images x and targets y; (n, H, W) and (n, H, W, C) become (n, 1, H, W) and (n, C, H, W).

    numbers: take floating-point y for numbers to predict rather than for labels
    """
    images, targets = _tensor(x, "x", name), _tensor(y, "y", name)
    numbers = numbers and targets.is_floating_point()
    targets = targets if numbers else _labels(targets, name)
    images = _channels_first(images, name)
    return Data.of(images, targets, numbers=numbers, name=name, split=split, classes=classes)


def one_line(error: BaseException) -> str:
    """An exception's type and text, without line breaks."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def check_fits(size: int, what: str) -> None:
    """Raise before any room is made for so many bytes where the memory has not as many to give."""
    free = available()
    if size > free:
        raise DataError(
            f"{what} would take {size / 2**30:,.1f} GiB of memory, and {free / 2**30:,.1f} GiB are free: "
            "give fewer or smaller examples; a file of a few MB that says so is damaged, or made to do harm"
        )


def available() -> int:
    """Bytes of memory that can be taken, caches that the system gives back among them."""
    try:
        with open("/proc/meminfo") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _tensor(array: Any, letter: str, name: str) -> Tensor:
    """The array as a tensor of its own memory layout; anything that numpy or torch can read as numbers."""
    if isinstance(array, Tensor):
        return array.detach().cpu()
    try:
        array = np.asarray(array)
        # torch takes neither foreign byte orders nor negative strides, and warns of read-only memory.
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        return torch.as_tensor(np.require(array, requirements=["C", "W"]))
    except Exception as error:  # what numpy or torch raises on objects, text, dates, ragged lists
        raise DataError(f"{letter} of {name} is no array of numbers: {one_line(error)}") from error


def _channels_first(x: Tensor, name: str) -> Tensor:
    """x as (n, d) features or (n, C, H, W) images."""
    shape = tuple(x.shape)
    if x.ndim < 2 or x.numel() == 0:
        raise DataError(
            f"x of {name} has shape {shape}; it holds images (n, H, W) or (n, C, H, W), or features (n, d)"
        )
    if x.ndim == 3:
        return x[:, None]
    if x.ndim != 4 or shape[3] not in (1, 3):
        return x
    if shape[1] in (1, 3):
        raise DataError(
            f"x of {name} has shape {shape}: the channels may be axis 1 or axis 3; to say which, return "
            "landscape.data.Data with x (n, C, H, W) from file.py:callable, or give grey images as (n, H, W)"
        )
    return x.permute(0, 3, 1, 2).contiguous()


def _labels(y: Tensor, name: str) -> Tensor:
    """y as int64, of whole numbers of any type."""
    if y.is_complex() or not torch.equal(y.long().to(y.dtype), y):
        raise DataError(
            f"the labels of {name} are not whole numbers; they count the classes from 0; numbers to predict "
            "need a loss of numbers, such as mse"
        )
    return y.long()
