"""What a run found, and the HDF5 file that keeps it.

A file is one run, written whole or not at all. The root's attributes say how it came about: command, commit,
versions, checkpoint and data by sha256, settings, seed. Each result is a group `<kind>_<i>` with one data set
for each field of the result's dataclass; results over one grid are stacked, a data set for each field with
the results along its first axis. NaN means "not computed"; a field that is not there is None.
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
from contextlib import suppress
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
ATTRIBUTE, LONG = 16_000, "provenance"
"""Longest text that is an attribute, of which HDF5 takes 64 kB; the group of data sets for longer ones."""


@dataclass
class Run:
    """The results of one analyzer for one checkpoint, one for each budget, and how they came about.

    kind: the analyzer's name, or "training"; or of linear models the question's, see `theory`
    results: its Results, in the order of the budgets
    provenance: everything needed to make them again, as plain values
    complete: whether every budget asked for is in it
    arrays: what else its file holds, by name, such as the vectors of a surface's axes; not read back
    stored: whether its file holds all of it already, from an earlier run
    """

    kind: str
    provenance: dict[str, Any]
    results: list[Any] = field(default_factory=list)
    complete: bool = False
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    stored: bool = False

    def plain(self) -> dict[str, Any]:
        """The run as JSON values; what was not computed is null."""
        keep = ("checkpoint", "checkpoints", "data", "directions", "trajectory")
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
    with atomic(path) as temporary:
        temporary.write_bytes(_image(run))


def _image(run: Run) -> bytes:
    """The bytes of the file, put together in memory: HDF5 says nothing sensible of a disk that is full."""
    with h5py.File("image", "w", driver="core", backing_store=False) as file:
        file.attrs["kind"] = run.kind
        file.attrs["complete"] = run.complete
        for name, value in run.provenance.items():
            stored = _stored(value)
            if isinstance(stored, str) and len(stored) > ATTRIBUTE:
                file[f"{LONG}/{name}"] = stored
            else:
                file.attrs[name] = stored
        for name, array in run.arrays.items():
            file[name] = array
        if run.results and _shared(type(run.results[0])):
            _stack(file, run.results)
        else:
            for i, result in enumerate(run.results):
                _write(file.create_group(f"{run.kind}_{i}"), run.kind, result)
        file.flush()
        return file.id.get_file_image()


def _write(group: h5py.Group, kind: str, result: Any) -> None:
    group.attrs["kind"] = kind
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
            for name, item in file.get(LONG, {}).items():
                run.provenance[name] = _value(item)
            if _shared(result_class):
                run.results = _unstacked(file, result_class)
            for i in range(0 if run.results else len(file) - (LONG in file)):
                stored = {name: _value(item) for name, item in file[f"{kind}_{i}"].items()}
                known = {f.name for f in dataclasses.fields(result_class)}
                run.results.append(result_class(**{name: v for name, v in stored.items() if name in known}))
            needed = ("data",) if of_theory(kind) else ("checkpoint", "data")
            if not all(isinstance(run.provenance.get(part), dict) for part in needed):
                raise InputError(f"{path} does not say which {' and '.join(needed)} it is of; make it again")
    except InputError:
        raise
    except Exception as error:  # what damaged bytes make h5py raise has no bound
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is no result file, or is damaged ({reason}); make it again") from error
    return run


def _shared(result: type) -> tuple[str, ...]:
    """The fields that results over one grid have in common; none where each result stands for itself."""
    return getattr(result, "SHARED", ())


def _stack(file: h5py.File, results: list[Any]) -> None:
    """A data set for each field, results along its first axis: loss[eps, y, x]; shared fields once."""
    first = results[0]
    for f in dataclasses.fields(first):
        if getattr(first, f.name) is None:
            continue
        if f.name in _shared(type(first)):
            file[f.name] = getattr(first, f.name)
            continue
        each = [_stored(getattr(result, f.name)) for result in results]
        if isinstance(each[0], str):
            file[f.name] = np.array(each, dtype=h5py.string_dtype())
        else:
            array = np.stack(each)
            file.create_dataset(f.name, data=array, **({"compression": "gzip"} if array.ndim > 1 else {}))


def _unstacked(file: h5py.File, result: type) -> list[Any]:
    there = [f.name for f in dataclasses.fields(result) if f.name in file]
    shared = {name: file[name][()] for name in there if name in _shared(result)}
    columns = {}
    for name in there:
        if name not in shared:
            item = file[name]
            columns[name] = [_parsed(v) for v in item.asstr()[()]] if item.dtype.kind == "O" else item[()]
    count = len(columns["eps"])
    return [
        result(**shared, **{name: _plain_scalar(values[i]) for name, values in columns.items()})
        for i in range(count)
    ]


def _plain_scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """What an HDF5 file says that it holds; None where it says nothing, or is not there."""
    with suppress(OSError), h5py.File(path, "r") as file:
        return file.attrs.get("kind")
    return None


def of_theory(kind: str) -> bool:
    """Whether results of this kind are of linear models in theory: of data, and of no checkpoint."""
    return kind in registry.named("theory")


def result_of(kind: str) -> type:
    """The dataclass of a training, or of a measurement: what its function is annotated to return."""
    if kind == "training":
        return Training
    function = registry.find("theory" if of_theory(kind) else "analyzer", kind)
    returns = function.__annotations__["return"]
    if isinstance(returns, str):
        returns = returns.removeprefix("Iterator[").removeprefix("list[").rstrip("]")
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
    return _plain_scalar(item[()])


def _parsed(value: Any) -> Any:
    """What `_stored` was given."""
    return json.loads(value) if isinstance(value, str) and _is_json(value) else _plain_scalar(value)


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
