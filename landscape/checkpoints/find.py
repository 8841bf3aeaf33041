"""Where a file keeps weights: every mapping from names to tensors in it, down to a few levels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from landscape.checkpoints.content import Lazy, Stub, listed
from landscape.checkpoints.source import Malformed

DEPTH = 3
"""Levels of mappings within mappings that are looked at: {"checkpoint": {"model": {…}}} has two."""
PLACES = 16
"""Places at which one object is looked at: a hostile file may have it in millions."""
TENSORS, LETTERS, DOTS = 100_000, 1000, 64
"""The most names in one mapping of weights, letters in a name, and dots; no model has as many."""
ENTRIES = 2_000_000, 500_000
"""Entries that are looked at for weights, and for what else was noted; a shared one counts each time."""
KEYS = ("", "state_dict", "model", "net", "model_state_dict", "state", "weights")
"""Where programs put the weights, in the order in which one is taken for them."""
OPTIMIZER = re.compile(
    r"optim|^opt$|sched|scaler|^amp$|exp_avg|exp_inf|square_avg|grad_avg|momentum_buffer", re.IGNORECASE
)
AVERAGED = re.compile(
    r"(?<![a-z])(ema|swa|(?<!exp_)(?<!square_)(?<!grad_)avg|averaged?|shadow|polyak)(?![a-z])", re.IGNORECASE
)
"""Averages of weights; those of gradients are an optimizer's."""
UNTOLD = ("callbacks", "loops")
"""What Lightning keeps to carry on with, under long names."""
COUNT = "n_averaged"
"""What torch's AveragedModel keeps beside its averages."""
COUNTER = "num_batches_tracked"
"""What BatchNorm counts, which does nothing in evaluation mode."""
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

    @property
    def order(self) -> tuple[bool, int, int]:
        """The least is the one that is meant where nobody chooses."""
        return self.average, self.rank, -self.numbers


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
    """Every mapping from names to tensors but those of an optimizer, the outer before the inner.

    Malformed where one has more names, or longer ones, than any model.
    """
    found = list(_walk(tree, "", DEPTH, Counter(), _Visits(ENTRIES[0])))
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


def noted(tree: Any) -> dict[str, Any]:
    """The plain values beside the weights, such as "epoch" or "args.lr": what its writer noted."""
    found: dict[str, Any] = {}
    for name, value in _noted(tree, "", 2, _Visits(ENTRIES[1])):
        if len(found) == 60:
            break
        found[listed([name])] = listed([value]) if isinstance(value, str) else value
    return found


class _Visits:
    """How many entries may still be looked at."""

    def __init__(self, left: int):
        self.left = left

    def afford(self, entries: int) -> bool:
        self.left -= 1 + entries
        return self.left >= 0


def _noted(tree: Any, place: str, depth: int, visits: _Visits) -> Iterator[tuple[str, Any]]:
    if visits.left <= 0 or _module(tree):
        return
    entries = _entries(tree)
    if not visits.afford(len(entries)):
        return
    for name, wrapped in entries.items():
        path, value = f"{place}.{name}" if place else name, _unwrapped(wrapped)
        if name.startswith("_") or len(name) > LETTERS or OPTIMIZER.search(name) or name in UNTOLD:
            continue
        if value is None or isinstance(value, str | bool | int | float):
            yield path, value
        elif depth:
            yield from _noted(value, path, depth - 1, visits)


def _unwrapped(value: Any) -> Any:
    """What a part of omegaconf's settings holds: one value, or entries."""
    for part in _parts(value) if isinstance(value, Stub) else ():
        for name in ("_val", "_content"):
            if name in part:
                return part[name]
    return value


def _walk(tree: Any, place: str, depth: int, seen: Counter[int], visits: _Visits) -> Iterator[Weights]:
    if isinstance(tree, nn.Module):  # the file's own code was trusted
        tree = dict(tree.state_dict())
    if seen[id(tree)] == PLACES:
        return
    seen[id(tree)] += 1
    entries = _state(tree, visits) if _module(tree) else _entries(tree)
    if not visits.afford(len(entries)):
        raise Malformed("it has the same parts over and over")
    if "param_groups" in entries:
        return
    tensors = {name: _lazy(value) for name, value in entries.items() if isinstance(value, Lazy | Tensor)}
    if tensors:
        _refuse_names(entries, place)
        yield Weights(place, tensors, {n: _what(v) for n, v in entries.items() if n not in tensors})
    if depth and not _module(tree):
        for name, value in entries.items():
            if name not in tensors and len(name) <= LETTERS and not OPTIMIZER.search(name):
                inner = f"{place}/{name}" if place else name
                yield from _walk(value, inner, depth - 1, seen, visits)


def _refuse_names(names: Collection[str], place: str) -> None:
    at = listed([f"at {place}" if place else "at the top"])
    if len(names) > TENSORS:
        raise Malformed(f"{at} it has {len(names):,} names; weights have at most {TENSORS:,}")
    for name in names:
        if len(name) > LETTERS or name.count(".") > DOTS:
            told = f"of {len(name):,} letters and {name.count('.')} dots; weights have at most"
            raise Malformed(f"{at} it has a name {told} {LETTERS:,} and {DOTS}")


def _entries(value: Any) -> dict[str, Any]:
    """What a value holds by name: items of a mapping or a short list, attributes of a stub."""
    if isinstance(value, Stub):
        held: dict[Any, Any] = {}
        for part in _parts(value):
            held |= part
        return {name: item for name, item in held.items() if isinstance(name, str)}
    if isinstance(value, dict):
        return {name: item for name, item in value.items() if isinstance(name, str)}
    if isinstance(value, list | tuple) and len(value) <= 16:
        return {str(place): item for place, item in enumerate(value)}
    return {}


def _parts(stub: Stub) -> list[dict[Any, Any]]:
    """A stub's entries and its attributes: their dict, or the pair of that and the dict of its slots."""
    states = stub.state[:2] if isinstance(stub.state, tuple) else (stub.state,)
    return [stub.entries, *(state for state in states if isinstance(state, dict))]


def _module(value: Any) -> bool:
    """Whether a stub stands for a pickled module."""
    parts = _parts(value) if isinstance(value, Stub) else []
    return all(any(name in part for part in parts) for name in ("_modules", "_parameters"))


def _state(module: Stub, visits: _Visits) -> dict[str, Any]:
    """What a pickled module's `state_dict()` would hold."""
    found: dict[str, Any] = {}
    waiting = [("", module)]
    while waiting:
        prefix, value = waiting.pop()
        parts = _entries(value)
        held = [_entries(parts.get(kind)) for kind in ("_parameters", "_buffers", "_modules")]
        passing = parts.get("_non_persistent_buffers_set")
        passing = passing if isinstance(passing, list | set) else []
        # One module may stand in any number of others, and within itself: names are refused as they grow.
        _refuse_names([prefix], prefix)
        if not visits.afford(len(parts) + len(passing) + sum(map(len, held))):
            raise Malformed("it has the same parts over and over")
        passing_names = {n for n in passing if isinstance(n, str)}
        for name, tensor in (*held[0].items(), *held[1].items()):
            if tensor is not None and name not in passing_names:
                _refuse_names([name], prefix)
                found[f"{prefix}{name}"] = tensor
        inner = reversed(held[2].items())
        waiting += [(f"{prefix}{name}.", each) for name, each in inner if each is not None]
        if len(found) + len(waiting) > TENSORS:
            raise Malformed(f"a module in it has more than {TENSORS:,} tensors and modules; none has as many")
    return found


def _lazy(value: Lazy | Tensor) -> Lazy:
    return value if isinstance(value, Lazy) else Lazy.of(value)


def _what(value: Any) -> str:
    return value.name if isinstance(value, Stub) else type(value).__name__
