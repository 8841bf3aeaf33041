"""Examples that a callable of the user's own returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch.utils.data import DataLoader, Dataset

from landscape.data import Data
from landscape.datasets import items
from landscape.datasets.arrays import of_arrays, one_line
from landscape.errors import DataError, NoSplit
from landscape.registry import load_callable

WANTED = "it must return (x, y), images and labels, or Data, a torch Dataset or a DataLoader"


def read(spec: str, split: str, numbers: bool) -> Data:
    """What package.module:callable or file.py:callable returns, called with the split where it takes it."""
    function = load_callable(spec)
    try:
        told = _takes_an_argument(function)
        returned = function(split) if told else function()
    except (Exception, SystemExit) as error:  # a script without a main guard may exit
        raise NoSplit(f"{spec} raised {one_line(error)}") from error
    split = split if told else "all"
    if isinstance(returned, Data):
        if not returned.classes and not numbers:
            raise DataError(
                f"the labels of {spec} are {returned.y.dtype}, not whole numbers; numbers to predict need a "
                "loss of numbers, such as mse"
            )
        return returned
    if isinstance(returned, DataLoader):
        return items.of_loader(returned, spec, split, numbers=numbers)
    if isinstance(returned, Dataset):
        return items.of_dataset(returned, spec, split, numbers=numbers)
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        raise DataError(f"{spec} returned a {type(returned).__name__}; {WANTED}")
    return of_arrays(returned[0], returned[1], spec, split, numbers=numbers)


def _takes_an_argument(function: Callable) -> bool:
    try:
        inspect.signature(function).bind("train")
    except (TypeError, ValueError):
        return False
    return True
