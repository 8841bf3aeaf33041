"""Examples of a torch Dataset or a DataLoader, read once in their own order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from landscape.data import Data
from landscape.datasets import images
from landscape.datasets.arrays import check_fits, of_arrays, one_line
from landscape.errors import DataError, LandscapeError

RANDOM = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)
IMAGES = ("image", "img", "images", "pixel_values", "x")
LABELS = ("label", "labels", "fine_label", "target", "y")
TWICE = 16
"""Examples that are read twice: of as many, random flips leave all as they are once in 65,536 times."""


def of_loader(loader: DataLoader, name: str, split: str, *, numbers: bool = False) -> Data:
    """Data of a DataLoader's batches (x, y), or {"image": x, "label": y}; one that shuffles is refused."""
    for sampler in (loader.sampler, getattr(loader.batch_sampler, "sampler", None)):
        if isinstance(sampler, RANDOM) or getattr(sampler, "shuffle", False):
            raise DataError(
                f"the DataLoader of {name} shuffles ({type(sampler).__name__}): the places of the examples "
                "would change from run to run; make it with shuffle=False"
            )
    what = f"the DataLoader of {name}"
    with _users_code(what):
        pairs = [_pair(batch, what, None) for batch in loader]
        if pairs and not isinstance(loader.dataset, IterableDataset):
            _check_same(pairs[0], _pair(next(iter(loader)), what, None), what)
        if loader.batch_sampler is None:  # it hands on single examples
            x, y = _stacked(pairs, what)
        else:
            x, y = _joined(pairs, what)
    return of_arrays(x, y, name, split, numbers=numbers, classes=_classes(loader.dataset))


def of_dataset(
    dataset: Any,
    name: str,
    split: str,
    *,
    numbers: bool = False,
    keys: tuple[str, str] | None = None,
    classes: int = 0,
) -> Data:
    """Data of a Dataset's items (x, y), or {"image": x, "label": y}: tensors, arrays or images of Pillow's.

    keys: of the image and the label in an item, by default the first usual ones that are there
    """
    what = f"the {type(dataset).__name__} of {name}"
    with _users_code(what):
        if isinstance(dataset, IterableDataset):
            pairs = [_pair(item, what, keys) for item in dataset]
        else:
            n = len(dataset)
            for i in range(min(TWICE, n)):
                one, other = (_pair(dataset[i], what, keys) for _ in range(2))
                _check_same(one, other, what)
            check_fits(n * _array(one[0]).nbytes if n else 0, f"{what}, {n:,} examples,")
            pairs = [_pair(dataset[i], what, keys) for i in range(n)]
        x, y = _stacked(pairs, what)
    return of_arrays(x, y, name, split, numbers=numbers, classes=classes or _classes(dataset))


@contextmanager
def _users_code(what: str) -> Iterator[None]:
    """Whatever a data set of the user's own raises becomes one line; its random draws touch no one else's."""
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    except (LandscapeError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise DataError(f"{what} raised {one_line(error)}") from error


def _check_same(one: tuple[Any, Any], other: tuple[Any, Any], what: str) -> None:
    """Raise where what was read twice differs."""
    if not all(np.array_equal(_array(a), _array(b), equal_nan=True) for a, b in zip(one, other, strict=True)):
        raise DataError(
            f"{what} gives other examples when it is read again, as random crops, flips or a shuffle do; "
            "give it the transform of evaluation and a fixed order"
        )


def _pair(item: Any, what: str, keys: tuple[str, str] | None) -> tuple[Any, Any]:
    """(x, y) of an item or of a batch."""
    if isinstance(item, dict):
        image, label = keys or (
            next((key for key in usual if key in item), None) for usual in (IMAGES, LABELS)
        )
        if image not in item or label not in item:
            raise DataError(f"{what} has items with {', '.join(map(str, item))}; they need image and label")
        return item[image], item[label]
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        came = f"{len(item)} parts" if isinstance(item, (tuple, list)) else type(item).__name__
        raise DataError(f"{what} has items of {came}; they must be (x, y), or image and label by name")
    return item[0], item[1]


def _array(x: Any) -> np.ndarray:
    """An image or a target as numbers, in the layout that it came in; Pillow's with channels first."""
    if images.is_image(x):
        return images.pixels(x)
    if isinstance(x, Tensor):
        x = x.detach().cpu()
        return (x.float() if x.dtype == torch.bfloat16 else x).numpy()
    return np.asarray(x)


def _stacked(pairs: list[tuple[Any, Any]], what: str) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of single examples."""
    found = []
    for parts in zip(*pairs, strict=True):
        arrays = [_array(part) for part in parts]
        for i, array in enumerate(arrays):
            if array.shape != arrays[0].shape:
                raise DataError(
                    f"example {i} of {what} has shape {array.shape}, and example 0 {arrays[0].shape}: all "
                    "must be alike; resize them"
                )
        found.append(np.stack(arrays))
    return _both(found, what)


def _joined(pairs: list[tuple[Any, Any]], what: str) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of batches."""
    return _both(
        [np.concatenate([_array(part) for part in parts]) for parts in zip(*pairs, strict=True)], what
    )


def _both(found: list[np.ndarray], what: str) -> tuple[np.ndarray, np.ndarray]:
    if not found:
        raise DataError(f"{what} holds no example")
    return found[0], found[1]


def _classes(dataset: Any) -> int:
    """How many classes a data set says that it has; 0 where it does not say."""
    names = getattr(dataset, "classes", None)
    return len(names) if isinstance(names, (list, tuple)) else 0
