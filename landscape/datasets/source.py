"""The examples that a user's words stand for: a registered data set, an npz file, or a callable of theirs."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.data import Data
from landscape.errors import DataError, InputError
from landscape.registry import is_callable_spec, load_callable, named

SPLITS = ("train", "test")


def load(
    spec: str,
    split: str = "train",
    *,
    data_dir: str | Path | None = None,
    examples: int | None = None,
    seed: int = 0,
) -> Data:
    """The examples of one split of a data set, all of them or a class-balanced subset drawn with a seed.

    spec: a registered name, or FILE.npz that holds x and y (or x_train, y_train, x_test, y_test), or
        package.module:callable or file.py:callable that returns (x, y) or Data; it is called with the split
        where it takes an argument. Arrays (n, H, W) and (n, H, W, C) become (n, 1, H, W) and (n, C, H, W).
    data_dir: the folder where registered data sets are looked for first
    """
    if spec.lower().endswith(".npz"):
        data = _from_npz(Path(spec).expanduser(), split)
    elif is_callable_spec(spec):
        data = _from_callable(spec, split)
    else:
        data = _named(spec)(_known(split), data_dir)
    return data if examples is None else data.subset(examples, seed)


def places(data_dir: str | Path | None = None) -> list[Path]:
    """The folders where data sets are looked for, in this order."""
    if data_dir is not None and not os.path.isdir(os.path.expanduser(data_dir)):
        raise DataError(f"the data folder {data_dir} does not exist, or is not a folder")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    told = (data_dir, os.environ.get("LANDSCAPE_DATA"))
    folders = (*told, "data/raw", f"{cache}/landscape", "/usr/share/datasets")
    return [Path(os.path.expanduser(folder)) for folder in folders if folder]


def absent(name: str, split: str, looked: list[Path], below: str, how: str) -> DataError:
    """The error that says where a data set was looked for, and how to get it."""
    folders = ", ".join(map(str, looked))
    return DataError(
        f"the {split} files of {name} are missing; looked in {folders} and there in {below}; "
        f"{how}; --data fashion-mini (1,000 + 1,000 images) comes with the package"
    )


def one_line(error: BaseException) -> str:
    """An exception's type and text, without line breaks."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _known(split: str) -> str:
    if split not in SPLITS:
        raise InputError(f"split {split!r} is not known; there are {', '.join(SPLITS)}")
    return split


def _named(name: str) -> Callable[[str, str | Path | None], Data]:
    things = named("dataset")
    if name not in things:
        raise InputError(
            f"data set {name!r} is not known; there are {', '.join(things)}; or give FILE.npz with x and y, "
            "or package.module:callable or file.py:callable that returns (x, y)"
        )
    return things[name]


def _from_npz(path: Path, split: str) -> Data:
    if not os.path.isfile(path):
        raise DataError(f"there is no file {path}")
    try:
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            # Named .npz, the file may be a lone .npy all the same: np.load goes by the first bytes.
            there = arrays.files if isinstance(arrays, np.lib.npyio.NpzFile) else []
            keys = next((k for k in ((f"x_{split}", f"y_{split}"), ("x", "y")) if {*k} <= {*there}), ())
            pair = [arrays[key] for key in keys]
    except Exception as error:  # zipfile, zlib and numpy raise a dozen types on damaged files
        raise DataError(f"{path} cannot be read as an npz file without pickles: {one_line(error)}") from error
    if not pair:
        raise DataError(
            f"{path} holds {', '.join(there) or 'no named array'}; "
            f"it needs the arrays x and y, or x_{split} and y_{split}"
        )
    return _data(pair[0], pair[1], path.name, split)


def _from_callable(spec: str, split: str) -> Data:
    function = load_callable(spec)
    try:
        returned = function(split) if _takes_an_argument(function) else function()
    except (Exception, SystemExit) as error:  # a script without a main guard may exit
        raise DataError(f"{spec} raised {one_line(error)}") from error
    if isinstance(returned, Data):
        return returned
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        raise DataError(
            f"{spec} returned a {type(returned).__name__}; it must return (x, y), images and labels"
        )
    return _data(returned[0], returned[1], spec, split)


def _takes_an_argument(function: Callable) -> bool:
    try:
        inspect.signature(function).bind("train")
    except (TypeError, ValueError):
        return False
    return True


def _data(x: Any, y: Any, name: str, split: str) -> Data:
    images, labels = _tensor(x, "x", name), _tensor(y, "y", name)
    return Data.of(_channels_first(images, name), _labels(labels, name), name=name, split=split)


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
        raise DataError(f"the labels of {name} are not whole numbers; they count the classes from 0")
    return y.long()
