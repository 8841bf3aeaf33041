"""What studies keep of the logs of trainings, and how they tell what seeds say; not a study itself."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from landscape import load
from landscape.files import atomic
from landscape.format import plus_minus
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
        of = json.loads(log.attrs["checkpoint"]) | {"path": os.path.relpath(checkpoint)}
        packed.attrs.update({**log.attrs, "checkpoint": json.dumps(of)})
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


def by_eps(folder: Path, name: str) -> dict[str, list[Any]]:
    """The results in the files NAME_epsEPS_seedSEED.h5: by eps, from small to large, those of all seeds.

    Of a file with several budgets they are under each.
    """
    found: dict[str, list[Any]] = {}
    each = [result for path in sorted(folder.glob(f"{name}_eps*_seed*.h5")) for result in load(path).results]
    for result in sorted(each, key=lambda result: result.eps):
        found.setdefault(result.budget, []).append(result)
    return found


def over_seeds(values: Iterable[float]) -> str:
    """Mean ± sample standard deviation, which is not known of one."""
    each = np.array(list(values), dtype=float)
    return plus_minus(each.mean(), each.std(ddof=1) if len(each) > 1 else math.nan)
