"""What a run found, and the HDF5 file that keeps it.

A file is one run, written whole or not at all. The root's attributes say how it came about: command, commit,
versions, checkpoint and data by sha256, settings, seed. Each result is a group `<kind>_<i>` with one data set
for each field of the result's dataclass. NaN means "not computed"; a field that is not there is None.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from landscape import registry
from landscape._version import __version__
from landscape.errors import InputError
from landscape.files import atomic
from landscape.log import Training

SCHEMA = 1


@dataclass
class Run:
    """The results of one analyzer for one checkpoint, one for each budget, and how they came about.

    kind: the analyzer's name, or "training"
    results: its Results, in the order of the budgets
    provenance: everything needed to make them again, as plain values
    complete: whether every budget asked for is in it
    """

    kind: str
    provenance: dict[str, Any]
    results: list[Any] = field(default_factory=list)
    complete: bool = False

    def plain(self) -> dict[str, Any]:
        """The run as JSON values; what was not computed is null."""
        keep = ("checkpoint", "checkpoints", "data")
        told = {key: plain(self.provenance[key]) for key in keep if key in self.provenance}
        results = [plain(result) for result in self.results]
        return {"kind": self.kind, **told, "complete": self.complete, "results": results}


def plain(value: Any) -> Any:
    """A value as JSON knows it: dataclasses and arrays become objects and lists, NaN and infinity null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if f.metadata.get("json", True)]
        named = {f.name: plain(getattr(value, f.name)) for f in fields}
        return {
            name: kept for name, kept in named.items() if kept is not None or name not in _optional(value)
        }
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _optional(result: Any) -> set[str]:
    return {f.name for f in dataclasses.fields(result) if f.default is None}


def provenance(**settings: Any) -> dict[str, Any]:
    """Where and with what a run is made, together with its settings."""
    import torch

    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        # Names of files need not be UTF-8, attributes must.
        "command": shlex.join(sys.argv).encode(errors="backslashreplace").decode(),
        "commit": _commit(),
        "versions": {
            "landscape": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
        "host": platform.node(),
        "threads": torch.get_num_threads(),
        **settings,
    }


def save(run: Run, path: str | os.PathLike[str]) -> None:
    """Write a run, whole or not at all."""
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["kind"] = run.kind
        file.attrs["complete"] = run.complete
        for name, value in run.provenance.items():
            file.attrs[name] = _stored(value)
        for i, result in enumerate(run.results):
            group = file.create_group(f"{run.kind}_{i}")
            group.attrs["kind"] = run.kind
            for f in dataclasses.fields(result):
                value = getattr(result, f.name)
                if value is not None:
                    group[f.name] = _stored(value)


def load(path: str | os.PathLike[str]) -> Run:
    """Read a run back: `landscape.load("run.h5").results[0].eigenvalues`."""
    path = Path(path)
    try:
        if not path.is_file():
            what = "is a folder or a device" if path.exists() else "is not there"
            raise InputError(f"{path} {what}; give a file that landscape wrote with -o FILE.h5")
        with h5py.File(path, "r") as file:
            if not {"kind", "schema"} <= set(file.attrs):
                raise InputError(f"{path} is an HDF5 file, but none that landscape wrote with -o FILE.h5")
            if file.attrs["schema"] > SCHEMA:
                raise InputError(
                    f"{path} is of a newer landscape than {__version__}; upgrade landscape to read it"
                )
            kind = str(file.attrs["kind"])
            result_class = result_of(kind)
            run = Run(kind, {}, complete=bool(file.attrs["complete"]))
            for name, value in file.attrs.items():
                if name not in ("kind", "complete"):
                    run.provenance[name] = _parsed(value)
            for i in range(len(file)):
                stored = {name: _value(item) for name, item in file[f"{kind}_{i}"].items()}
                known = {f.name for f in dataclasses.fields(result_class)}
                run.results.append(result_class(**{name: v for name, v in stored.items() if name in known}))
            if not all(isinstance(run.provenance.get(part), dict) for part in ("checkpoint", "data")):
                raise InputError(f"{path} does not say which checkpoint and data it is of; make it again")
    except InputError:
        raise
    except Exception as error:  # what damaged bytes make h5py raise has no bound
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is no result file, or is damaged ({reason}); make it again") from error
    return run


def result_of(kind: str) -> type:
    """The dataclass of a training, or of an analyzer's results: what its function is annotated to return."""
    if kind == "training":
        return Training
    function = registry.find("analyzer", kind)
    returns = function.__annotations__["return"]
    if isinstance(returns, str):
        returns = returns.removeprefix("Iterator[").removesuffix("]")
    return getattr(sys.modules[function.__module__], returns) if isinstance(returns, str) else returns


def _stored(value: Any) -> Any:
    """A value as HDF5 takes it: dicts, lists and None as JSON, and text that could be mistaken for them."""
    if isinstance(value, dict | list) or value is None or (isinstance(value, str) and _is_json(value)):
        return json.dumps(value, default=lambda array: array.tolist())
    return value


def _is_json(value: str) -> bool:
    return value[:1] in ("{", "[", '"') or value == "null"


def _value(item: h5py.Dataset) -> Any:
    if item.dtype.kind == "O":
        return _parsed(item.asstr()[()])
    value = item[()]
    return value.item() if isinstance(value, np.generic) else value


def _parsed(value: Any) -> Any:
    """What `_stored` was given."""
    if isinstance(value, str) and _is_json(value):
        return json.loads(value)
    return value.item() if isinstance(value, np.generic) else value


def _commit() -> str:
    """The commit of the repository that the command runs in, with + if it has changes; "" outside of one."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+"],
            capture_output=True,
            text=True,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout.strip() if told.returncode == 0 else ""
