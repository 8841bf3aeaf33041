"""What a run found, and the HDF5 file that keeps it.

A file is one run, written whole or not at all. The root's attributes say how it came about (command, versions, commit,
checkpoint and data by sha256, settings, seed); each result is a group `<kind>_<i>` with the attribute `kind` and one
data set for each field of the result's dataclass. NaN means "not computed", a field that is absent None.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
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

SCHEMA = 1


@dataclass
class Run:
    """The results of one analyzer for one checkpoint, one for each budget, and how they came about.

    kind: the analyzer's name
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
        keep = ("checkpoint", "data")
        told = {key: plain(self.provenance[key]) for key in keep if key in self.provenance}
        return {"kind": self.kind, **told, "results": [plain(result) for result in self.results]}


def plain(value: Any) -> Any:
    """A value as JSON knows it: dataclasses and arrays become objects and lists, NaN and infinity null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
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
        "command": " ".join(sys.argv),
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
            file.attrs[name] = (
                json.dumps(plain(value)) if isinstance(value, dict | list) or value is None else value
            )
        for i, result in enumerate(run.results):
            group = file.create_group(f"{run.kind}_{i}")
            group.attrs["kind"] = run.kind
            for f in dataclasses.fields(result):
                value = getattr(result, f.name)
                if value is not None:
                    group[f.name] = json.dumps(plain(value)) if isinstance(value, dict) else value


def load(path: str | os.PathLike[str]) -> Run:
    """Read a run back: `landscape.load("run.h5").results[0].eigenvalues`."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"there is no file {path}")
    try:
        with h5py.File(path, "r") as file:
            if "kind" not in file.attrs or file.attrs.get("schema", 0) > SCHEMA:
                raise InputError(f"{path} is not a result file that landscape {__version__} can read")
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
    except (OSError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no result file, or is damaged: {str(error).splitlines()[0]}") from error
    return run


def result_of(kind: str) -> type:
    """The dataclass of an analyzer's results: what its function is annotated to return."""
    function = registry.find("analyzer", kind)
    returns = function.__annotations__["return"]
    return getattr(sys.modules[function.__module__], returns) if isinstance(returns, str) else returns


def _value(item: h5py.Dataset) -> Any:
    if item.dtype.kind == "O":
        return _parsed(item.asstr()[()])
    value = item[()]
    return value.item() if isinstance(value, np.generic) else value


def _parsed(value: Any) -> Any:
    """An attribute as it was given: JSON objects and lists are stored as text."""
    if isinstance(value, str) and value[:1] in ("{", "[") or value == "null":
        return json.loads(value)
    return value.item() if isinstance(value, np.generic) else value


def _commit() -> str:
    """The commit of the repository that the command runs in, with a + where it has changes; "" outside of one."""
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
