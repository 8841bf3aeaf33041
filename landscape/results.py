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
MOST, DEFLATED = 1 << 30, 1032
"""Bytes that the results in a file may take; how many times smaller gzip can make what it packs."""

# What a result tells of its subject, so far as it does: the types of what commands print and draw.
NUMBER = int | float
CHECKPOINT = {
    "path": str,
    "format": str,
    "sha256": str,
    "model": str,
    "parameters": int,
    "theta_norm": NUMBER,
}
AXIS = {"name": str, "kind": str, "norm": NUMBER, "relative": NUMBER, "explained": NUMBER | None}
TOLD: dict[str, Any] = {
    "checkpoint": CHECKPOINT,
    "checkpoints": [CHECKPOINT],
    "data": {
        "name": str,
        "split": str,
        "examples": int,
        "of": int,
        "clean_accuracy": NUMBER,
        "clean_accuracy_stderr": NUMBER,
    },
    "directions": {"x": AXIS, "y": (AXIS, None), "cosine": NUMBER | None},
    "trajectory": {
        "names": [str],
        "x": [NUMBER],
        "y": ([NUMBER], None),
        "relative_residual": [NUMBER],
        "losses": dict,
    },
    "notes": [str],
    "budgets": [str],
    "loss": str,
    "attack": str,
    "dtype": str,
    "device": str,
    "seed": int,
}
FIELDS: dict[str, Any] = {
    "float": NUMBER,
    "int": int,
    "str": str,
    "bool": bool,
    "np.ndarray": np.ndarray,
    "dict": dict,
}


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
        keep = (
            "checkpoint",
            "checkpoints",
            "data",
            "loss",
            "seed",
            "dtype",
            "notes",
            "directions",
            "trajectory",
        )
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
        if not h5py.is_hdf5(path):
            raise InputError(
                f"{path} is no HDF5 file; give one that landscape wrote with -o FILE.h5. What a checkpoint "
                "holds is told by landscape info"
            )
        with h5py.File(path, "r") as file:
            reader = Reader(file, path, MOST)
            if not {"kind", "schema"} <= set(file.attrs):
                raise InputError(f"{path} is an HDF5 file, but none that landscape wrote with -o FILE.h5")
            if reader.attribute("schema") > SCHEMA:
                raise InputError(
                    f"{path} is of a newer landscape than {__version__}; upgrade landscape to read it"
                )
            kind = str(reader.attribute("kind"))
            result_class = result_of(kind)
            run = Run(kind, reader.told({}), complete=bool(reader.attribute("complete")))
            for name in file.attrs:
                if name not in ("kind", "complete"):
                    run.provenance[name] = reader.parsed(reader.attribute(name))
            long = reader.member(file, LONG) if LONG in file else {}
            for name in long:
                run.provenance[name] = reader.parsed(reader.read_dataset(reader.member(long, name)))
            if _shared(result_class):
                run.results = _unstacked(reader, result_class)
            for i in range(0 if run.results else len(file) - (LONG in file)):
                group = reader.member(file, f"{kind}_{i}")
                known = [f.name for f in dataclasses.fields(result_class) if f.name in group]
                stored = {name: reader.read_dataset(reader.member(group, name)) for name in known}
                run.results.append(result_class(**{name: reader.parsed(v) for name, v in stored.items()}))
            needed = ("data",) if of_theory(kind) else ("checkpoint", "data")
            if not all(isinstance(run.provenance.get(part), dict) for part in needed):
                raise InputError(f"{path} does not say which {' and '.join(needed)} it is of; make it again")
            _check(run, path)
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


def _unstacked(reader: Reader, result: type) -> list[Any]:
    there = [f.name for f in dataclasses.fields(result) if f.name in reader.file]
    read = {name: reader.read_dataset(reader.member(reader.file, name)) for name in there}
    shared = {name: read.pop(name) for name in there if name in _shared(result)}
    columns = {
        n: [reader.parsed(v) for v in each] if type(each) is list else each for n, each in read.items()
    }
    count = len(columns["eps"])
    if any(len(values) != count for values in columns.values()):
        raise ValueError(f"it has {count} budgets, and not as many of each number")
    return [
        result(**shared, **{name: _plain_scalar(values[i]) for name, values in columns.items()})
        for i in range(count)
    ]


def _plain_scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """What an HDF5 file says that it holds; None where it says nothing, or is not there."""
    with suppress(Exception), h5py.File(path, "r") as file:  # what damaged bytes raise has no bound
        kind = Reader(file, path, MOST).attribute("kind")
        return kind if isinstance(kind, str) else None
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


class Told(dict[str, Any]):
    """What a file tells, by name; to ask for what it lacks is an error that names the file."""

    path: Path

    def __missing__(self, name: str) -> Any:
        raise InputError(
            f"{self.path} does not tell {name!r}: it is of another make, or is damaged; make it again"
        )


class Reader:
    """Reads what one HDF5 file holds, and makes no more room than the file has bytes for.

    HDF5 itself makes room for any shape that a file declares, and reads whatever other files it names.

    left: bytes that it may still read
    """

    def __init__(self, file: h5py.File, path: str | os.PathLike[str], most: int) -> None:
        self.file, self.path, self.left = file, Path(path), most
        self.size = os.path.getsize(path)

    def member(self, group: Any, name: str) -> Any:
        """What lies in a group under a name, if it lies in this file."""
        if "/" in name or not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise self._refused(name, "is not there, or is a link, which could lead to any file")
        return group[name]

    def read_dataset(self, item: Any) -> Any:
        """Numbers as an array or a plain number; texts as a list or one text."""
        if not isinstance(item, h5py.Dataset) or item.shape is None:
            raise self._refused(item.name, "is no data set with numbers or texts")
        if item.is_virtual or item.external or _number_of(item) != _number_of(self.file):
            raise self._refused(item.name, "keeps its numbers in other files")
        texts = item.dtype.kind == "O" and (kind := h5py.check_string_dtype(item.dtype)) is not None
        if item.dtype.kind not in "biufc" and not (texts and kind.length is None and len(item.shape) < 2):
            raise self._refused(item.name, f"holds {item.dtype}, neither numbers nor texts")
        each = max(item.dtype.itemsize, item.id.get_type().get_size())
        wanted = each * max(item.size, math.prod(item.chunks or ()) if item.size else 0)
        stored = min(item.id.get_storage_size(), self.size)
        if wanted > stored * (DEFLATED if item.id.get_create_plist().get_nfilters() else 1):
            raise self._refused(
                item.name, f"declares {each * item.size:,} bytes, and the file has {stored:,} of them"
            )
        self._take(wanted, item.name)
        if not texts:
            return _plain_scalar(item[()])
        if item.shape == ():
            return self._text(item[()], item.name)
        return [self._text(item[i], item.name) for i in range(len(item))]

    def attribute(self, name: str) -> Any:
        """An attribute of the file: a number, a text, or an array of numbers."""
        there = self.file.attrs.get_id(name)
        if there.dtype.kind not in "biufcO" or (there.dtype.kind == "O" and there.shape != ()):
            raise self._refused(name, "is neither a number nor a text")
        self._take(there.get_storage_size(), name)
        value = self.file.attrs[name]
        return self._text(value, name) if isinstance(value, str | bytes) else _plain_scalar(value)

    def parsed(self, value: Any) -> Any:
        """What `_stored` was given."""
        return (
            json.loads(value, object_hook=self.told) if isinstance(value, str) and _is_json(value) else value
        )

    def told(self, named: dict[str, Any]) -> Told:
        found = Told(named)
        found.path = self.path
        return found

    def _text(self, value: Any, name: str) -> str:
        text = value.decode() if isinstance(value, bytes) else value
        if not isinstance(text, str):
            raise self._refused(name, "is no text")
        self._take(len(text), name)
        return text

    def _take(self, size: int, name: str) -> None:
        self.left -= size
        if self.left < 0:
            raise self._refused(name, f"takes {size:,} bytes, {-self.left:,} more than are read")

    def _refused(self, name: str, why: str) -> InputError:
        return InputError(f"{self.path}: {name} {why}; it was made to do harm, or is damaged; make it again")


def _number_of(item: h5py.HLObject) -> int:
    """The number by which HDF5 knows the file that something lies in."""
    return int(h5py.h5o.get_info(item.id).fileno)


def _check(run: Run, path: Path) -> None:
    """Raise where what a file tells is of other types than the commands that print and draw it rely on."""
    for name, kind in TOLD.items():
        if run.provenance.get(name) is not None and not _is(run.provenance[name], kind):
            raise InputError(f"{path}: {name} is not what landscape writes there; make the file again")
    course = run.provenance.get("trajectory") or {}
    lists = [v for v in (*course.values(), *course.get("losses", {}).values()) if isinstance(v, list)]
    if any(len(value) != len(lists[0]) for value in lists):
        raise InputError(f"{path}: trajectory does not tell the same of all checkpoints; make the file again")
    for result in run.results:
        for f in dataclasses.fields(result):
            kinds = str(f.type if isinstance(f.type, str) else getattr(f.type, "__name__", f.type))
            kind, value = FIELDS.get(kinds.split(" | ")[0].split("[")[0]), getattr(result, f.name)
            if value is None and f.default is None:
                continue
            if kind is not None and not _is(value, kind):
                raise InputError(
                    f"{path}: {f.name} is of type {type(value).__name__}, and has to be {kinds}; make the "
                    "file again"
                )
        if (wrong := _misshapen(result)) is not None:
            raise InputError(
                f"{path}: {wrong} has another shape than what belongs to it; make the file again"
            )


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of a type, a list of such, or one of several; has such by name, where it has any."""
    if isinstance(kind, dict):
        return isinstance(value, dict) and all(_is(value[name], kind[name]) for name in kind if name in value)
    if isinstance(kind, list):
        return isinstance(value, list) and all(_is(each, kind[0]) for each in value)
    if isinstance(kind, tuple):
        return any(value is one if one is None else _is(value, one) for one in kind)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _misshapen(result: Any) -> str | None:
    """A field whose array does not fit the others: all have one length, or lie over one grid.

    Of classes that say OWN_SHAPES nothing is known.
    """
    arrays = {
        f.name: value
        for f in dataclasses.fields(result)
        if isinstance(value := getattr(result, f.name), np.ndarray)
    }
    if getattr(type(result), "OWN_SHAPES", False):
        return None
    if not _shared(type(result)):
        shapes = {name: value.shape for name, value in arrays.items() if name != "vectors"}
        longest = max(shapes.values(), default=())
        return next((name for name, s in shapes.items() if len(s) != 1 or s not in (longest, (0,))), None)
    x, y = arrays["x"], arrays.get("y")
    grid = (len(x),) if y is None else (len(y), len(x))
    expected = {"x": grid[-1:], "y": grid[:1], "sizes": (n := arrays["sizes"].shape), "groups": grid + n}
    return next((name for name, a in arrays.items() if a.shape != expected.get(name, grid)), None)


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
