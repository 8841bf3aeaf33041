"""Where a file keeps weights: every mapping from names to tensors in it, down to a few levels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from landscape.checkpoints.content import Lazy, Stub, listed

DEPTH = 3
"""Levels of mappings within mappings that are looked at: {"checkpoint": {"model": {…}}} has two."""
PLACES = 16
"""Places at which one object is looked at: a hostile file may have it in millions."""
MODULES = 100, 100_000
"""Levels of modules within a pickled module, and visits to all of them; a shared one counts each time."""
KEYS = ("", "state_dict", "model", "net", "model_state_dict", "state", "weights")
"""Where programs put the weights, in the order in which one is taken for them."""
OPTIMIZER = re.compile(r"optim|^opt$|sched|scaler|^amp$", re.IGNORECASE)
AVERAGED = re.compile(r"(?<![a-z])(ema|swa|avg|averaged?|shadow|polyak)(?![a-z])", re.IGNORECASE)
UNTOLD = ("callbacks", "loops")
"""What Lightning keeps to carry on with, under long names."""
COUNT = "n_averaged"
"""What torch's AveragedModel keeps beside its averages."""
NORMALIZERS = (("mean", "std"), ("mu", "sigma"), ("new_mean", "new_std"))


@dataclass(frozen=True, eq=False)
class Weights:
    """A mapping from names to tensors.

    place: how to get there from the top of the file, "checkpoint/model"; "" is the top itself
    others: the entries that are no dense tensors, by name, and what they are instead
    average: whether they are known to be averaged over the training: EMA, SWA
    """

    place: str
    tensors: dict[str, Lazy]
    others: dict[str, str] = field(default_factory=dict)
    average: bool = False

    @property
    def numbers(self) -> int:
        return sum(tensor.count for tensor in self.tensors.values())

    @property
    def rank(self) -> int:
        """How usual its place is for the weights; 0 is the most usual."""
        return KEYS.index(self.place) if self.place in KEYS else len(KEYS)


@dataclass(frozen=True)
class Normalizer:
    """Means and standard deviations of the channels, as a file has them under `place`."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    place: str


def averaged(text: str) -> bool:
    """Whether a place or a prefix tells of averaged weights: ema, swa, …"""
    return bool(AVERAGED.search(text))


def find(tree: Any) -> list[Weights]:
    """Every mapping from names to tensors but those of an optimizer, the outer before the inner."""
    found = list(_walk(tree, "", DEPTH, Counter()))
    # Lightning's WeightAveraging keeps the averages as the state dict, and the training's weights beside it.
    swapped = {"averaging_state", "current_model_state"} <= {*_entries(tree)}
    return [replace(w, average=averaged(w.place) or (swapped and w.place == "state_dict")) for w in found]


def normalizer(weights: Weights) -> Normalizer | None:
    """The first pair of tensors of one or three numbers that is named like means and deviations."""
    for name, found in weights.tensors.items():
        parent, dot, own = name.rpartition(".")
        for mean, std in NORMALIZERS:
            other = weights.tensors.get(f"{parent}{dot}{std}")
            if own != mean or other is None or found.count not in (1, 3) or other.count != found.count:
                continue
            m, s = (t.tensor().double().flatten() for t in (found, other))
            if m.isfinite().all() and s.isfinite().all() and (s > 0).all():
                return Normalizer(tuple(m.tolist()), tuple(s.tolist()), f"{parent}{dot}{mean}")
    return None


def told(tree: Any) -> dict[str, Any]:
    """The plain values beside the weights, such as "epoch" or "args.lr": what its writer noted."""
    found: dict[str, Any] = {}
    for name, value in _told(tree, "", 2):
        if len(found) == 60:
            break
        found[listed([name])] = listed([value]) if isinstance(value, str) else value
    return found


def _told(tree: Any, place: str, depth: int) -> Iterator[tuple[str, Any]]:
    for name, value in () if _module(tree) else _entries(tree).items():
        path = f"{place}.{name}" if place else name
        if OPTIMIZER.search(name) or name in UNTOLD:
            continue
        if value is None or isinstance(value, str | bool | int | float):
            yield path, value
        elif depth:
            yield from _told(value, path, depth - 1)


def _walk(tree: Any, place: str, depth: int, seen: Counter[int]) -> Iterator[Weights]:
    if isinstance(tree, nn.Module):  # the file's own code was trusted
        tree = dict(tree.state_dict())
    entries = _state(tree) if _module(tree) else _entries(tree)
    if "param_groups" in entries or seen[id(tree)] == PLACES:
        return
    seen[id(tree)] += 1
    tensors = {name: _lazy(value) for name, value in entries.items() if isinstance(value, Lazy | Tensor)}
    if tensors:
        yield Weights(place, tensors, {n: _what(v) for n, v in entries.items() if n not in tensors})
    if depth and not _module(tree):
        for name, value in entries.items():
            if name not in tensors and not OPTIMIZER.search(name):
                inner = f"{place}/{name}" if place else name
                yield from _walk(value, inner, depth - 1, seen)


def _entries(value: Any) -> dict[str, Any]:
    """What a value holds by name: items of a mapping or a short list, attributes of a stub."""
    if isinstance(value, Stub):
        parts = value.state if isinstance(value.state, tuple) else (value.state,)
        held: dict[Any, Any] = dict(value.entries)
        for part in parts:
            held |= part if isinstance(part, dict) else {}
        return {name: item for name, item in held.items() if isinstance(name, str)}
    if isinstance(value, dict):
        return {name: item for name, item in value.items() if isinstance(name, str)}
    if isinstance(value, list | tuple) and len(value) <= 16:
        return {str(place): item for place, item in enumerate(value)}
    return {}


def _module(value: Any) -> bool:
    """Whether a stub stands for a pickled module."""
    return isinstance(value, Stub) and {"_modules", "_parameters"} <= {*_entries(value)}


def _state(module: Stub) -> dict[str, Any]:
    """What a pickled module's `state_dict()` would hold."""
    found: dict[str, Any] = {}
    waiting, (levels, visits) = [("", module, 0)], MODULES
    while waiting and visits:
        prefix, value, depth = waiting.pop()
        visits -= 1
        parts = _entries(value)
        passing = parts.get("_non_persistent_buffers_set")
        passing_names = (
            {n for n in passing if isinstance(n, str)} if isinstance(passing, list | set) else set()
        )
        for kind in ("_parameters", "_buffers"):
            for name, tensor in _entries(parts.get(kind)).items():
                if tensor is not None and name not in passing_names:
                    found[f"{prefix}{name}"] = tensor
        if depth < levels:
            inner = reversed(_entries(parts.get("_modules")).items())
            waiting += [(f"{prefix}{name}.", each, depth + 1) for name, each in inner if each is not None]
    return found


def _lazy(value: Lazy | Tensor) -> Lazy:
    return value if isinstance(value, Lazy) else Lazy.of(value)


def _what(value: Any) -> str:
    return value.name if isinstance(value, Stub) else type(value).__name__
