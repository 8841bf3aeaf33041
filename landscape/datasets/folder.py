"""Image files in a folder for each class, in the order that torchvision's ImageFolder gives them.

Links are followed, to wherever they lead: data sets are often links into a common store, and all that is read
are the pixels of image files. Hidden files and folders, and files with another ending, are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from landscape.data import Data
from landscape.datasets import images
from landscape.datasets.arrays import check_fits, one_line
from landscape.datasets.source import Wanted
from landscape.errors import DataError, NoSplit
from landscape.registry import register

SPLITS = {"train": ("train",), "test": ("test", "val")}
"""The folders of a split, the first that is there."""


@register("source", "folder")
def folder(place: str, wanted: Wanted) -> Data:
    """folder:PATH, images in PATH/class/, or PATH/train/class/ and PATH/test/class/ (or val).

    The classes are the names of the folders, sorted; an example's place is that among all files. Only the
    files of the examples that are wanted are read.
    """
    root, split = _root(Path(place).expanduser(), wanted.split)
    classes = _classes(root)
    found = [(file, label) for label, name in enumerate(classes) for file in _files(root / name)]
    if not found:
        raise DataError(
            f"{root} holds no image: it needs a folder for each class with files of the kinds "
            f"{', '.join(images.ENDINGS)}"
        )
    labels = torch.tensor([label for _, label in found])
    rows = wanted.rows(labels, f"folder:{place}")
    x = _pixels([found[row][0] for row in rows.tolist()])
    return Data(
        torch.from_numpy(x), labels[rows], rows, f"folder:{place}", split, len(classes), total=len(found)
    )


def _root(path: Path, split: str) -> tuple[Path, str]:
    """The folder that holds the classes of a split, and the split's own name."""
    if not os.path.isdir(path):
        raise DataError(f"there is no folder {path}")
    names = SPLITS.get(split, (split,))
    every = [n for n in {*names, *sum(SPLITS.values(), ())} if _holds_folders(path / n)]
    for name in names:
        if name in every:
            for other in every:
                _check_same(path / name, path / other)
            return path / name, name
    if every:
        raise NoSplit(f"{path} has {', '.join(sorted(every))}, but no folder {' or '.join(names)}")
    return path, "all"


def _holds_folders(path: Path) -> bool:
    """Whether a folder is that of a split: a class that is called train holds files, no folders."""
    return os.path.isdir(path) and bool(_classes(path))


def _check_same(one: Path, other: Path) -> None:
    """Raise where two splits number their classes differently."""
    if apart := {*_classes(one)} ^ {*_classes(other)}:
        raise DataError(
            f"{one} and {other} do not have the same classes: {', '.join(sorted(apart)[:5])} is in one "
            "alone, and the labels would not mean the same; make a folder of that name, which may be empty"
        )


def _classes(path: Path) -> list[str]:
    return sorted(entry.name for entry in _entries(path) if entry.is_dir())


def _files(top: Path) -> list[Path]:
    """The image files in a class's folder and below it; a folder that links lead to twice counts once."""
    found, left, seen = [], [top], set()
    while left:
        here = left.pop()
        if (real := os.path.realpath(here)) in seen:
            continue
        seen.add(real)
        entries = list(_entries(here))
        left += [here / entry.name for entry in entries if entry.is_dir()]
        for entry in entries:
            if entry.name.lower().endswith(images.ENDINGS) and not entry.is_dir():
                if not entry.is_file():
                    raise DataError(f"{here / entry.name} is a link to nothing, or no plain file; remove it")
                found.append((str(here), entry.name))
    return [Path(place, name) for place, name in sorted(found)]


def _entries(path: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {one_line(error)}") from error


def _pixels(files: list[Path]) -> np.ndarray:
    """The images (n, C, H, W) as bytes; their headers are held against each other before any is unpacked."""
    first = _shape(files[0])
    for file in files:
        if (shape := _shape(file)) != first:
            came, there = (f"{h} × {w}, {'grey' if c == 1 else 'coloured'}" for c, h, w in (shape, first))
            raise DataError(
                f"{file} is {came}, and {files[0]} {there}: all images must be alike; resize or convert them"
            )
    check_fits(len(files) * int(np.prod(first, dtype=object)), f"{len(files):,} images like {files[0]}")
    found = np.empty((len(files), *first), np.uint8)
    for row, file in enumerate(files):
        with images.opened(file) as image:
            found[row] = images.pixels(image)
    return found


def _shape(file: Path) -> tuple[int, int, int]:
    with images.opened(file) as image:
        return images.shape(image)
