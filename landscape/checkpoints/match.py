"""Which of a file's weights are this model's, tensor by tensor; if they all are, the model gets them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from landscape.checkpoints.content import Lazy, listed
from landscape.checkpoints.find import COUNT, KEYS, NORMALIZERS, Normalizer, Weights, averaged, normalizer
from landscape.checkpoints.read import Checkpoint
from landscape.errors import CheckpointError

COUNTER = "num_batches_tracked"
Which = Literal["raw", "ema"]
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Match:
    """What it took to load a checkpoint into a module.

    place: of the weights in the file, "" for the top
    removed, added: the prefix taken from the file's names, and put before them
    tensors: how many were loaded; converted: "float16 to float32", and how many
    ignored: counters that only the file or only the module has
    unused: tensors of the file that the module has no use for
    beside: other weights in the file that would fit as well
    normalizer: statistics of the inputs among those unused
    """

    place: str
    removed: str
    added: str
    tensors: int
    converted: dict[str, int]
    ignored: tuple[str, ...]
    unused: tuple[str, ...]
    beside: tuple[str, ...]
    normalizer: Normalizer | None

    def __str__(self) -> str:
        parts = [f"{self.tensors} tensors" + (f" under {self.place!r}" if self.place else "")]
        parts += [f"prefix {self.removed!r} removed"] if self.removed else []
        parts += [f"prefix {self.added!r} added"] if self.added else []
        parts += [f"{count} converted from {types}" for types, count in self.converted.items()]
        parts += [f"{len(self.ignored)} counters ignored"] if self.ignored else []
        parts += [f"{len(self.unused)} others not used: {listed(self.unused, 3)}"] if self.unused else []
        parts += [f"other weights at {listed(self.beside)}"] if self.beside else []
        return ", ".join(parts)


@dataclass(frozen=True, eq=False)
class Fit:
    """One mapping of a file under one change of its names, beside what the model wants."""

    weights: Weights
    removed: str
    added: str
    wanted: Mapping[str, Tensor]

    @property
    def found(self) -> dict[str, Lazy]:
        """The file's tensors that the change of names gives names of the model."""
        renamed = ((self.renamed(name), tensor) for name, tensor in self.weights.tensors.items())
        return {name: tensor for name, tensor in renamed if name is not None and name in self.wanted}

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
        """Whether these are the weights asked for; the file of an AveragedModel has no others beside it."""
        return self.averaged == (which == "ema") or COUNT in self.weights.tensors

    def answers(self, key: str) -> bool:
        return key.strip("/.") in (self.weights.place, self.key)


def match(
    checkpoint: Checkpoint, module: nn.Module, *, key: str | None = None, weights: Which = "raw"
) -> Match:
    """Load the checkpoint into the module, in place, if every name, shape and value is the module's.

    Of all mappings from names to tensors in the file, that is taken which has all of the model's tensors once
    a prefix is removed from its names (`module.`, `_orig_mod.`, any) or put before them. Floating point
    becomes the module's: float16 becomes float32. Only BatchNorm's counters, which do nothing in eval mode,
    may be absent or left over; tensors outside of the model's own modules are told and not used.

    key: the place of the weights in the file, where several fit
    weights: those of the training, or their average (EMA, SWA), which is never taken unasked

    CheckpointError names the tensors that differ and a likely cause, or those with NaN or infinity. The
    module is then as it was.
    """
    # keep_vars: a parameter that is tied is one object under all of its names.
    wanted = {name: own for name, own in module.state_dict(keep_vars=True).items() if isinstance(own, Tensor)}
    fits = [fit for mapping in checkpoint.weights for fit in _fits(mapping, wanted)]
    fit, beside = _chosen(checkpoint, fits, wanted, key, weights)
    unused, ignored = _leftover(checkpoint.path, fit)
    found = fit.found
    _refuse_kinds(checkpoint.path, found, wanted)
    read = checkpoint.take(found)
    values = {name: tensor.to(wanted[name].dtype) for name, tensor in read.items()}
    _refuse_values(checkpoint.path, values, wanted)
    types = [(read[name].dtype, value.dtype) for name, value in values.items()]
    converted = Counter(f"{old} to {new}".replace("torch.", "") for old, new in types if old != new)
    module.load_state_dict(values, strict=False)  # what strict would check is checked, and told more clearly
    place = fit.weights.place
    offered = normalizer(Weights(place, {n: t for n, t in fit.weights.tensors.items() if n in unused}))
    return Match(
        place, fit.removed, fit.added, len(values), dict(converted), ignored, unused, beside, offered
    )


def _fits(weights: Weights, wanted: Mapping[str, Tensor]) -> list[Fit]:
    """The changes of names under which a mapping has most of the model's tensors, each in name and shape."""
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
    changes = [change for change, count in votes.items() if count == most or 2 * count > len(wanted)]
    # Names that agree by chance, within one block of another network say, are not a wrapper's.
    found = [Fit(weights, *change, wanted) for change in changes if 2 * most > len(weights.tensors)]
    complete = [fit for change in changes if (fit := Fit(weights, *change, wanted)).complete]
    return complete or found or [Fit(weights, *_named(weights.tensors, wanted), wanted)]


def _named(names: Collection[str], wanted: Collection[str]) -> tuple[str, str]:
    """The prefix to remove so that most names are the model's whatever their shapes, "" if none does that."""
    votes: Counter[str] = Counter()
    for name in names:
        votes.update(name[:cut] for cut in _cuts(name) if name[cut:] in wanted)
    best, agreeing = next(iter(votes.most_common(1)), ("", 0))
    return (best if 2 * agreeing > len(names) else ""), ""


def _cuts(name: str) -> list[int]:
    return [0] + [place + 1 for place, letter in enumerate(name) if letter == "."]


def _chosen(
    checkpoint: Checkpoint, fits: list[Fit], wanted: Mapping[str, Tensor], key: str | None, which: Which
) -> tuple[Fit, tuple[str, ...]]:
    """The one to load, and the keys of others that fit with other values."""
    path = checkpoint.path
    if key is not None:
        fits = [fit for fit in fits if fit.answers(key)]
        if not fits:
            places = listed([repr(w.place) for w in checkpoint.weights], 8) or "none"
            raise CheckpointError(f"{path} has no weights at {key!r}; --key may be one of {places}")
    if not fits:
        raise CheckpointError(f"{path} holds no weights; give the file of a model's state dict")
    complete = [fit for fit in fits if fit.complete]
    if not complete:
        best = max(fits, key=lambda fit: (fit.agreeing, len(fit.found), -fit.weights.rank))
        raise _misfit(path, best, wanted)
    asked = complete if key is not None else [fit for fit in complete if fit.serves(which)]
    if not asked and which == "raw":
        places = listed(repr(fit.key) for fit in complete)
        raise CheckpointError(f"{path} has averaged weights only, at {places}; give --weights ema")
    if not asked:
        raise CheckpointError(f"{path} has no averaged weights that fit the model; leave out --weights ema")
    asked.sort(key=lambda fit: (fit.weights.rank, len(fit.removed) + len(fit.added)))
    first, *rest = asked
    rest = [fit for fit in rest if not _equal(checkpoint, first, fit)]
    if rest and not (first.usual and not any(fit.usual or fit.weights is first.weights for fit in rest)):
        choices = listed((f"--key {fit.key or repr('')}" for fit in (first, *rest)), 8, " or ")
        raise CheckpointError(f"{path} has several weights that fit the model; choose by {choices}")
    others = [fit for fit in complete if fit not in asked]
    return first, tuple(dict.fromkeys(fit.key or "the top" for fit in (*rest, *others)))


def _equal(checkpoint: Checkpoint, one: Fit, other: Fit) -> bool:
    """Whether two fits are the same numbers."""
    here, there = checkpoint.take(one.found), checkpoint.take(other.found)
    return here.keys() == there.keys() and all(torch.equal(here[name], there[name]) for name in here)


def _leftover(path: Path, fit: Fit) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tensors of the file that the model has no use for, and the counters that only one side has.

    CheckpointError where some are of the model's own modules: then it is another model, a part of which fits.
    """
    found = fit.found
    left = [name for name in fit.weights.tensors if fit.renamed(name) not in found]
    extra = [name for name in left if not name.endswith(COUNTER)]
    own = {_kin(name.removeprefix(fit.added)) for name in fit.wanted}
    strangers = [
        name for name in extra if name.startswith(fit.removed) and _kin(name.removeprefix(fit.removed)) in own
    ]
    if strangers:
        raise _misfit(path, fit, fit.wanted, strangers)
    absent = [name for name in fit.wanted if name not in found]
    counters = (name for name in left if name not in extra and name.startswith(fit.removed))
    return tuple(extra), (*counters, *absent)


def _kin(name: str) -> str:
    """The module at the top of a name, alike for those that are numbered: "fc1.weight" and "fc2.bias"."""
    return name.partition(".")[0].rstrip("0123456789")


def _misfit(
    path: Path, fit: Fit, wanted: Mapping[str, Tensor], strangers: Iterable[str] = ()
) -> CheckpointError:
    """Why the weights are not the model's: the first differences, and a likely cause."""
    found = fit.found
    absent = [name for name in wanted if name not in found and not name.endswith(COUNTER)]
    # What is missing may be anywhere, under another name.
    near = [n for n in fit.weights.tensors if absent or n.startswith(fit.removed)]
    extra = [*strangers] or [n for n in near if fit.renamed(n) not in found and not n.endswith(COUNTER)]
    shapes = {
        name: (found[name].shape, tuple(own.shape))
        for name, own in wanted.items()
        if name in found and found[name].shape != tuple(own.shape)
    }
    unread = {fit.renamed(name): what for name, what in fit.weights.others.items()}
    differences = [
        f"{name} is {file} in the file, {model} in the model" for name, (file, model) in shapes.items()
    ]
    differences += [
        f"{name} is a {unread[name]} in the file, which is not read"
        if name in unread
        else f"{name} is not in the file"
        for name in absent
    ]
    differences += [f"{name} is not in the model" for name in extra]
    cause = _resized(shapes, list(wanted)) if shapes else ""
    if absent or extra:
        other = ", so it is another architecture's" if 2 * len(found) < len(wanted) else ""
        cause = f"; {len(found)} of the model's {len(wanted)} names agree{other}"
    last = [*wanted][-1].rpartition(".")[0]
    if absent and not shapes and not extra and {name.rpartition(".")[0] for name in absent} == {last}:
        cause = f"; it was saved without the last layer, {last}"
    if absent and not shapes and all(_normalizes(name) for name in absent):
        cause = "; these look like the model's own normalisation: make it without, and give --normalize"
    return CheckpointError(
        f"{path} does not fit the model: {listed(differences, 3, '; ')}{cause}; "
        "give the model that the file was trained with"
    )


def _normalizes(name: str) -> bool:
    return any(name.rpartition(".")[2] in pair for pair in NORMALIZERS)


def _refuse_kinds(path: Path, found: Mapping[str, Lazy], wanted: Mapping[str, Tensor]) -> None:
    kinds = {
        n: (t.dtype, wanted[n].dtype) for n, t in found.items() if _kind(t.dtype) != _kind(wanted[n].dtype)
    }
    if kinds:
        told = (
            f"{name} is {file} in the file, {model} in the model" for name, (file, model) in kinds.items()
        )
        raise CheckpointError(
            f"{path} does not fit the model: {listed(told, 3, '; ')}; "
            "give the model that the file was trained with"
        )


def _kind(dtype: torch.dtype) -> tuple[bool, bool]:
    return dtype.is_floating_point, dtype.is_complex


def _resized(shapes: Mapping[str, tuple[Shape, Shape]], names: list[str]) -> str:
    """The likely cause of other shapes under the same names, or nothing."""
    if any(len(file) != len(model) for file, model in shapes.values()):
        return ""
    last = names[-1].rpartition(".")[0]
    if all(name.rpartition(".")[0] == last and f[1:] == m[1:] for name, (f, m) in shapes.items()):
        file, model = next(iter(shapes.values()))
        return f"; only the last layer differs: it has {file[0]} classes in the file, {model[0]} in the model"
    ratios = {Fraction(f, m) for pair in shapes.values() for f, m in zip(*pair, strict=True) if f != m and m}
    if len(shapes) > 1 and len(ratios) == 1:
        return f"; all names agree, so its width is another: {ratios.pop()} times the model's"
    return ""


def _refuse_values(path: Path, values: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    wrong = {name: int(value.numel() - value.isfinite().sum()) for name, value in values.items()}
    if any(wrong.values()):
        which = listed(
            f"{name} ({count} of {values[name].numel()})" for name, count in wrong.items() if count
        )
        raise CheckpointError(f"{path} has NaN or infinity in {which}; take one from before it diverged")
    first: dict[int, str] = {}
    for name, value in values.items():
        tied = first.setdefault(id(wanted[name]), name)
        if tied != name and not torch.equal(value, values[tied]):  # the last would win, without a word
            raise CheckpointError(
                f"{path}: {tied} and {name} differ, but the model ties them; untie them there"
            )
