"""What studies keep of the logs of trainings: all mini-batches, packed; not a study itself."""

from __future__ import annotations

import json
import os
from pathlib import Path

import h5py

from landscape import load
from landscape.files import atomic
from landscape.training_files import log_path


def complete(path: Path) -> bool:
    """Whether a result file is there, of work that was done to its end."""
    return path.exists() and load(path).complete


def keep_log(checkpoint: Path, output: Path) -> None:
    """Copy the log of a training, its arrays packed and in single precision; `landscape.load` reads it."""
    with (
        h5py.File(log_path(checkpoint)) as log,
        atomic(output) as temporary,
        h5py.File(temporary, "w", libver="v110") as packed,  # older layouts take 14 kB more
    ):
        packed.attrs.update(log.attrs)
        of = json.loads(log.attrs["checkpoint"]) | {"path": os.path.relpath(checkpoint)}
        packed.attrs["checkpoint"] = json.dumps(of)
        for name, group in log.items():
            copy = packed.create_group(name)
            copy.attrs.update(group.attrs)
            for field, values in group.items():
                if values.shape:
                    numbers = values[()].astype("f4") if values.dtype.kind == "f" else values[()]
                    copy.create_dataset(
                        field, data=numbers, chunks=values.shape, compression="gzip", shuffle=True
                    )
                else:
                    copy[field] = values[()]
