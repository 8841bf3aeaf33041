"""Examples in a fixed order, and the one loop over them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from landscape.errors import DataError, InputError

CHUNK = 128
"""Examples in one pass through the network, and the unit of summation: a chunk is summed in the working
precision, chunks in float64. It is a constant, so that no result depends on a batch size."""


@dataclass(frozen=True, eq=False)
class Data:
    """Examples (x, y), each with its place in the data set that it comes from.

    x: (n, …) images, uint8 in 0 … 255 or floating point in [0, 1]
    y: (n,) int64 class labels; or numbers to predict, (n,) or (n, k) in float32 or float64
    index: (n,) int64 places in the original data set; an example's random starts depend on its place alone
    name, split: where the examples come from
    classes: the number of classes, at least max(y) + 1; 0 where y are numbers to predict
    total: examples in the original split, of which these are n
    shares: of each class in what these were drawn from, by `subset`; () where they are all, or no classes
    """

    x: Tensor
    y: Tensor
    index: Tensor
    name: str = "unnamed"
    split: str = "train"
    classes: int = 0
    total: int = 0
    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.x)
        if n == 0:
            raise DataError(f"the data set {self.name} holds no example")
        numbers = self.y.is_floating_point()
        if self.y.shape[:1] != (n,) or self.y.ndim > 1 + numbers or self.index.shape != (n,):
            either = f" or numbers of shape ({n}, k)" if numbers else ""
            raise DataError(
                f"{self.name} holds {n} examples, but labels of shape {tuple(self.y.shape)}; "
                f"one label for each is needed, of shape ({n},){either}"
            )
        if self.x.dtype != torch.uint8:
            if not self.x.is_floating_point():
                raise DataError(
                    f"the images of {self.name} are {self.x.dtype}; they must be uint8, or floating point "
                    "in [0, 1]"
                )
            if not torch.isfinite(self.x).all():
                raise DataError(f"the images of {self.name} contain NaN or infinity")
            low, high = self.x.min().item(), self.x.max().item()
            # Features of a regression may be of any size, without a budget.
            if (low < 0 or high > 1) and not (numbers and self.x.ndim == 2):
                raise DataError(
                    f"the images of {self.name} lie in [{low:.4g}, {high:.4g}], outside [0, 1]: divide by "
                    "255, or undo the normalisation and make it the model's first layer, so that eps is in "
                    "pixels"
                )
        if numbers:
            self._check_numbers()
        else:
            self._check_labels()
            object.__setattr__(self, "classes", self.classes or int(self.y.max()) + 1)
        object.__setattr__(self, "total", self.total or n)

    def _check_labels(self) -> None:
        if self.y.dtype != torch.int64:
            raise DataError(f"the labels of {self.name} are {self.y.dtype}; they must be whole numbers")
        if self.y.min() < 0:
            raise DataError(
                f"the labels of {self.name} go down to {int(self.y.min())}; they count from 0; "
                "numbers to predict are floating point, with --loss mse"
            )
        if self.classes and self.y.max() >= self.classes:
            raise DataError(
                f"the labels of {self.name} go up to {int(self.y.max())}, but it has {self.classes} classes"
            )

    def _check_numbers(self) -> None:
        if self.y.dtype not in (torch.float32, torch.float64) or self.y.numel() == 0:
            raise DataError(
                f"the targets of {self.name} are {self.y.dtype} of shape {tuple(self.y.shape)}; numbers to "
                "predict are float32 or float64, one or more for each example"
            )
        if self.classes:
            raise DataError(
                f"{self.name} has {self.classes} classes and its targets are {self.y.dtype}, numbers to "
                "predict; give whole-number labels, or no classes"
            )
        if not torch.isfinite(self.y).all():
            raise DataError(f"the targets of {self.name} contain NaN or infinity")

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice | Tensor) -> Data:
        return replace(self, x=self.x[rows], y=self.y[rows], index=self.index[rows])

    @classmethod
    def of(
        cls, x: np.ndarray | Tensor, y: np.ndarray | Tensor, *, numbers: bool = False, **told: str | int
    ) -> Data:
        """Data of arrays: images x (n, …) as uint8 or in [0, 1], whole-number labels y (n,).

        numbers: take y (n,) or (n, k) of floating point for numbers to predict, not for mistaken labels
        """
        x, y = torch.as_tensor(x), torch.as_tensor(y)
        x = x.float() if x.dtype == torch.bfloat16 else x  # numpy, which digests it, has no such type
        if y.is_floating_point():
            if not numbers:
                raise DataError(
                    f"the labels of {told.get('name', 'unnamed')} are {y.dtype}; they must be whole numbers"
                )
            y = y if y.dtype == torch.float64 else y.float()
        elif y.ndim == 1:
            y = y.long()
        return cls(x, y, torch.arange(len(x)), **told)  # type: ignore[arg-type]

    @property
    def sha256(self) -> str:
        """Digest of images, labels and places, the identity of the data in every result."""
        digest = hashlib.sha256()
        for tensor in (self.x, self.y, self.index):
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()

    def subset(self, n: int, seed: int = 0) -> Data:
        """n examples drawn with a seed, in their original order: as many of each class as can be.

        Of numbers to predict any n, all alike.
        """
        if not 1 <= n <= len(self):
            raise InputError(f"{n} examples were asked for; {self.name} ({self.split}) has {len(self):,}")
        if not 0 <= seed < 2**64:
            raise InputError(f"seed {seed} is not possible; give a number from 0 to 2^64 - 1")
        if n == len(self):
            return self
        order = np.random.Generator(np.random.Philox(key=[seed, 0])).permutation(len(self))
        if not self.classes:
            return self[torch.from_numpy(np.sort(order[:n]))]
        labels = self.y.cpu().numpy()[order]
        # An example's rank among those of its class in the drawn order: the first of every class come first.
        rank = np.empty(len(self), dtype=np.int64)
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            rank[members] = np.arange(len(members))
        chosen = order[np.argsort(rank, kind="stable")[:n]]
        counts = torch.bincount(self.y.cpu(), minlength=self.classes)
        shares = self.shares or tuple((counts / len(self)).tolist())
        return replace(self[torch.from_numpy(np.sort(chosen))], shares=shares)

    def chunks(self, batch_size: int = CHUNK) -> Iterator[slice]:
        """The rows of each pass through the network: chunks, split where batch_size is smaller than one."""
        for start in range(0, len(self), CHUNK):
            stop = min(start + CHUNK, len(self))
            for first in range(start, stop, batch_size):
                yield slice(first, min(first + batch_size, stop))

    def groups(self, count: int) -> list[Tensor]:
        """The rows of `count` groups of examples, as equal in size as can be, drawn by lot.

        By the examples' places: groups depend on no batch size and no order, and data that is sorted by class
        has all classes in each, as the error that they tell of requires.
        """
        order = np.argsort(self.index.cpu().numpy(), kind="stable")
        lot = np.random.Generator(np.random.Philox(key=[0, 2**32])).permutation(len(self))
        return [torch.from_numpy(part) for part in np.array_split(order[lot], count)]

    def inputs(self, rows: slice | Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """(x, y) of some rows, x in [0, 1] with the type and device of `like`, images channels-last."""
        x = self.x[rows].to(like.device)
        x = x.to(like.dtype) / 255 if x.dtype == torch.uint8 else x.to(like.dtype)
        if x.ndim == 4:
            x = x.to(memory_format=torch.channels_last)
        return x, self.y[rows].to(like.device)


def total(function: Callable[[slice], Tensor], data: Data, batch_size: int = CHUNK) -> Tensor:
    """Σ over the data of function(rows), a function that sums over its rows; chunks are added in float64."""
    if batch_size < 1:
        raise InputError(f"batch size {batch_size} is not possible; give at least 1")
    result: Tensor | None = None
    for rows in data.chunks(batch_size):
        part = function(rows).detach()
        result = part.double() if result is None else result.add_(part)
    assert result is not None
    return result
