"""Which change of names makes a file's tensors those of a model, in name and shape."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from torch import Tensor

from landscape.checkpoints.content import Lazy
from landscape.checkpoints.find import COUNT, COUNTER, KEYS, Weights, averaged

WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch puts into names where a part of a model is compiled, sharded or recomputed."""
NEAR = 8
"""Changes of names that are looked at further where none is right."""
Which = Literal["raw", "ema"]


@dataclass(frozen=True, eq=False)
class Fit:
    """One mapping of a file under one change of its names, beside what the model wants."""

    weights: Weights
    removed: str
    added: str
    wanted: Mapping[str, Tensor]

    @cached_property
    def found(self) -> dict[str, Lazy]:
        """The file's tensors by the model's names for them; a tied one may stand in the file once."""
        renamed = ((self.renamed(name), tensor) for name, tensor in self.weights.tensors.items())
        found = {name: tensor for name, tensor in renamed if name is not None and name in self.wanted}
        tied = {id(self.wanted[name]): tensor for name, tensor in found.items()}
        return found | {n: tied[id(t)] for n, t in self.wanted.items() if n not in found and id(t) in tied}

    def renamed(self, name: str) -> str | None:
        return self.added + name.removeprefix(self.removed) if name.startswith(self.removed) else None

    @property
    def agreeing(self) -> int:
        """How many of the model's tensors it has, in name and shape."""
        return sum(tuple(self.wanted[name].shape) == t.shape for name, t in self.found.items())

    @property
    def complete(self) -> bool:
        shapes = {name: t.shape for name, t in self.found.items()}
        return all(
            shapes.get(name) == tuple(own.shape)
            for name, own in self.wanted.items()
            if not (name.endswith(COUNTER) and name not in shapes)
        )

    @property
    def averaged(self) -> bool:
        return self.weights.average or averaged(self.removed)

    @property
    def usual(self) -> bool:
        """Whether programs put the weights there."""
        return self.weights.rank < len(KEYS)

    @property
    def key(self) -> str:
        """What names it on the command line: its place and the prefix within."""
        return "/".join(part for part in (self.weights.place, self.removed.removesuffix(".")) if part)

    def serves(self, which: Which) -> bool:
        """Whether these are the weights asked for; an AveragedModel that was saved alone is both."""
        if which == "raw":
            return not self.averaged
        return self.averaged or COUNT in self.weights.tensors


def fits(weights: Weights, wanted: Mapping[str, Tensor]) -> list[Fit]:
    """The changes of names under which a mapping has all of the model's tensors, or else the nearest to that.

    Wrappers also stand within names: conv1._orig_mod.weight.
    """
    found = _fits(weights, wanted)
    plain = {_unwrapped(name): tensor for name, tensor in weights.tensors.items()}
    if found[0].complete or len(plain) < len(weights.tensors) or plain.keys() == weights.tensors.keys():
        return found
    within = _fits(replace(weights, tensors=plain), wanted)
    return within if within[0].agreeing > found[0].agreeing else found


def _unwrapped(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _fits(weights: Weights, wanted: Mapping[str, Tensor]) -> list[Fit]:
    votes: Counter[tuple[str, str]] = Counter()
    by_name = {name: tuple(own.shape) for name, own in wanted.items()}
    ends = defaultdict(list)
    for name in wanted:
        for cut in _cuts(name)[1:]:
            ends[name[cut:]].append(name[:cut])
    for name, tensor in weights.tensors.items():
        votes.update((name[:cut], "") for cut in _cuts(name) if by_name.get(name[cut:]) == tensor.shape)
        votes.update(("", p) for p in ends.get(name, ()) if by_name[p + name] == tensor.shape)
    if not votes or max(votes.values()) < len(wanted):  # both at once, only where one alone does not do
        for name, tensor in weights.tensors.items():
            for cut in _cuts(name)[1:]:
                heads = ends.get(name[cut:], ())
                votes.update((name[:cut], p) for p in heads if by_name[p + name[cut:]] == tensor.shape)
    most = votes.most_common(1)[0][1] if votes else 0
    least = len({id(own) for name, own in wanted.items() if not name.endswith(COUNTER)})
    able = [Fit(weights, *change, wanted) for change, count in votes.items() if count >= least]
    if complete := [fit for fit in able if fit.complete]:
        return complete
    # Names that agree by chance, within one block of another network say, are not a wrapper's.
    near = [change for change, count in votes.items() if count == most and 2 * most > len(weights.tensors)]
    return [Fit(weights, *change, wanted) for change in near[:NEAR]] or [
        Fit(weights, *_named(weights.tensors, wanted), wanted)
    ]


def _named(names: Collection[str], wanted: Collection[str]) -> tuple[str, str]:
    """The prefix to remove so that most names are the model's whatever their shapes, "" if none does that."""
    votes: Counter[str] = Counter()
    for name in names:
        votes.update(name[:cut] for cut in _cuts(name) if name[cut:] in wanted)
    best, agreeing = next(iter(votes.most_common(1)), ("", 0))
    return (best if 2 * agreeing > len(names) else ""), ""


def _cuts(name: str) -> list[int]:
    return [0] + [place + 1 for place, letter in enumerate(name) if letter == "."]
