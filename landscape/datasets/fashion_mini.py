"""1,000 training and 1,000 test images of Fashion-MNIST that come with the package.

They are `fashion-mnist` with 1,000 examples and seed 0, at their places in the original, so every result is
that of `--data fashion-mnist --examples 1000 --seed 0`. `python -m landscape.datasets.fashion_mini` makes the
file again from the full data set.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import torch

from landscape.data import Data
from landscape.datasets.source import SPLITS, load
from landscape.registry import register

FILE = "fashion_mini.npz"
TOTAL = {"train": 60_000, "test": 10_000}


@register("dataset", "fashion-mini")
def fashion_mini(split: str, data_dir: str | Path | None = None) -> Data:
    """1,000 + 1,000 images of Fashion-MNIST, as many of each class as can be; no file is needed."""
    with (
        resources.files("landscape.datasets").joinpath(FILE).open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        x, y, index = (torch.from_numpy(arrays[f"{part}_{split}"]) for part in ("x", "y", "index"))
    return Data(x, y.long(), index.long(), "fashion-mini", split, classes=10, total=TOTAL[split])


def make(path: Path) -> None:
    """Write the file from the full data set."""
    arrays = {}
    for split in SPLITS:
        data = load("fashion-mnist", split, examples=1000, seed=0)
        arrays[f"x_{split}"] = data.x.numpy()
        arrays[f"y_{split}"] = data.y.numpy().astype(np.uint8)
        arrays[f"index_{split}"] = data.index.numpy().astype(np.uint16)
    np.savez_compressed(path, allow_pickle=False, **arrays)


if __name__ == "__main__":
    make(Path(__file__).with_name(FILE))
