"""The examples that a user's words stand for: a registered data set, files of theirs, or a callable."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from landscape.data import Data
from landscape.datasets import npz, own
from landscape.datasets.arrays import one_line as one_line
from landscape.errors import DataError, InputError, NoSplit
from landscape.registry import is_callable_spec, named

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Wanted:
    """What is asked of a source besides the words that follow its name.

    data_dir: the folder that is looked in first
    examples: so many are enough; None for all
    at_most: whether fewer will do where there are not so many
    numbers: take floating-point targets for numbers to predict rather than for labels
    """

    split: str
    data_dir: str | Path | None = None
    examples: int | None = None
    at_most: int | None = None
    seed: int = 0
    numbers: bool = False

    def drawn(self, data: Data) -> Data:
        """As many of the examples as are wanted, as `Data.subset` draws them."""
        if self.examples is not None:
            return data.subset(self.examples, self.seed)
        return data if self.at_most is None else data.subset(min(self.at_most, len(data)), self.seed)

    def rows(self, labels: Tensor, name: str) -> Tensor:
        """The rows of the examples (n,) that `drawn` keeps, known by their labels alone."""
        blank = torch.zeros(len(labels), 1, dtype=torch.uint8)
        return self.drawn(Data.of(blank, labels, name=name, split=self.split)).index


def load(
    spec: str,
    split: str = "train",
    *,
    data_dir: str | Path | None = None,
    examples: int | None = None,
    at_most: int | None = None,
    seed: int = 0,
    numbers: bool = False,
) -> Data:
    """The examples of one split of a data set, all of them or a class-balanced subset drawn with a seed.

    spec: a registered name; FILE.npz that holds x and y (or x_train, y_train, x_test, y_test); folder:PATH,
        idx:IMAGES,LABELS, torchvision:NAME or hf:NAME; or package.module:callable or file.py:callable that
        returns (x, y), Data, a torch Dataset or a DataLoader; it is called with the split where it takes an
        argument. Arrays (n, H, W) and (n, H, W, C) become (n, 1, H, W) and (n, C, H, W).
    data_dir: the folder where registered data sets are looked for first
    examples: how many; more than there are is an InputError
    at_most: as many as that, or all where there are fewer; used where examples are not given
    numbers: take floating-point targets for numbers to predict, as `losses.takes_numbers` says of a loss
    """
    wanted = Wanted(split, data_dir, examples, at_most, seed, numbers)
    kind, _, rest = spec.partition(":")
    if _is_source(spec):
        return wanted.drawn(named("source")[kind](rest, wanted))
    if spec.lower().endswith(".npz"):
        return wanted.drawn(npz.read(Path(spec).expanduser(), split, numbers))
    if is_callable_spec(spec):
        return wanted.drawn(own.read(spec, split, numbers))
    return wanted.drawn(_named(spec)(_known(split), data_dir))


def runs_code(spec: str) -> bool:
    """Whether a specification names a callable of the user's own, which is imported and so run."""
    return not _is_source(spec) and not spec.lower().endswith(".npz") and is_callable_spec(spec)


def places(data_dir: str | Path | None = None) -> list[Path]:
    """The folders where data sets are looked for, in this order."""
    if data_dir is not None and not os.path.isdir(os.path.expanduser(data_dir)):
        raise DataError(f"the data folder {data_dir} does not exist, or is not a folder")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    told = (data_dir, os.environ.get("LANDSCAPE_DATA"))
    folders = (*told, "data/raw", f"{cache}/landscape", "/usr/share/datasets")
    return [Path(os.path.expanduser(folder)) for folder in folders if folder]


def absent(name: str, split: str, looked: list[Path], below: str, how: str) -> NoSplit:
    """The error that says where a data set was looked for, and how to get it."""
    folders = ", ".join(map(str, looked))
    return NoSplit(
        f"the {split} files of {name} are missing; looked in {folders} and there in {below}; "
        f"{how}; --data fashion-mini (1,000 + 1,000 images) comes with the package"
    )


def _is_source(spec: str) -> bool:
    kind, colon, rest = spec.partition(":")
    return bool(colon and rest) and kind in named("source")


def _known(split: str) -> str:
    if split not in SPLITS:
        raise InputError(f"split {split!r} is not known; there are {', '.join(SPLITS)}")
    return split


def _named(name: str) -> Callable[[str, str | Path | None], Data]:
    things = named("dataset")
    if name not in things:
        raise InputError(
            f"data set {name!r} is not known; there are {', '.join(things)}; or give FILE.npz with x and y, "
            "folder:PATH, idx:IMAGES,LABELS, torchvision:NAME, hf:NAME, or package.module:callable or "
            "file.py:callable that returns (x, y)"
        )
    return things[name]
