"""Which of a file's weights are this model's, tensor by tensor; if they all are, the model gets them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from landscape.checkpoints.content import Lazy, listed
from landscape.checkpoints.find import COUNT, COUNTER, Normalizer, Weights, normalizer
from landscape.checkpoints.fit import Fit, Which, fits
from landscape.checkpoints.misfit import misfit
from landscape.checkpoints.read import Checkpoint
from landscape.errors import CheckpointError, InputError


@dataclass(frozen=True, eq=False)
class Match:
    """What it took to load a checkpoint into a module.

    place: of the weights in the file, "" for the top
    removed, added: the prefix taken from the file's names, and put before them
    tensors: how many were loaded; converted: "float16 to float32", and how many
    ignored: counters that only the file or only the module has
    unused: tensors of the file that the module has no use for
    within: those of them that stand among the model's own, unlike those of a loss or of an optimizer
    beside: other weights in the file that would fit as well
    averaged: whether the weights are an average over the training
    normalizer: statistics of the inputs among those unused
    """

    place: str
    removed: str
    added: str
    tensors: int
    converted: dict[str, int]
    ignored: tuple[str, ...]
    unused: tuple[str, ...]
    within: tuple[str, ...]
    averaged: bool
    beside: tuple[str, ...]
    normalizer: Normalizer | None

    def __str__(self) -> str:
        parts = [f"{self.tensors} tensors" + (f" under {self.place!r}" if self.place else "")]
        parts += ["an average over the training"] if self.averaged else []
        parts += [f"prefix {self.removed!r} removed"] if self.removed else []
        parts += [f"prefix {self.added!r} added"] if self.added else []
        parts += [f"{count} converted from {types}" for types, count in self.converted.items()]
        parts += [f"{len(self.ignored)} counters ignored"] if self.ignored else []
        parts += [f"{len(self.unused)} others not used: {listed(self.unused, 3)}"] if self.unused else []
        parts += [f"other weights at {listed(self.beside)}"] if self.beside else []
        return ", ".join(parts)


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
    every = [fit for mapping in checkpoint.weights for fit in fits(mapping, wanted)]
    fit, beside = _chosen(checkpoint, every, wanted, key, weights)
    unused, ignored = _leftover(checkpoint.path, fit)
    found = fit.found
    _refuse_kinds(checkpoint.path, found, wanted)
    read = checkpoint.take(found)
    values = {name: tensor.to(wanted[name].dtype) for name, tensor in read.items()}
    _refuse_values(checkpoint.path, read, values, wanted)
    types = [(read[name].dtype, value.dtype) for name, value in values.items()]
    converted = Counter(f"{old} to {new}".replace("torch.", "") for old, new in types if old != new)
    module.load_state_dict(values, strict=False)  # what strict would check is checked, and told more clearly
    place = fit.weights.place
    offered = normalizer(Weights(place, {n: t for n, t in fit.weights.tensors.items() if n in unused}))
    return Match(
        place,
        fit.removed,
        fit.added,
        len(values),
        dict(converted),
        ignored,
        unused,
        _within(fit, unused),
        fit.averaged or COUNT in fit.weights.tensors,
        beside,
        offered,
    )


def _within(fit: Fit, unused: tuple[str, ...]) -> tuple[str, ...]:
    """The unused ones that the model's own names would stand among, but for those that normalise inputs."""
    alone = Weights("", {name: fit.weights.tensors[name] for name in unused})
    pair = normalizer(alone)
    known = {COUNT} | ({name for name in unused if pair and _parent(name) == _parent(pair.place)})
    return tuple(name for name in unused if name.startswith(fit.removed) and name not in known)


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _chosen(
    checkpoint: Checkpoint, every: list[Fit], wanted: Mapping[str, Tensor], key: str | None, which: Which
) -> tuple[Fit, tuple[str, ...]]:
    """The one to load, and the keys of others that fit with other values."""
    path = checkpoint.path
    if key is not None:
        told = key.strip("/.")
        # A key of its own, before all those at a place.
        every = [fit for fit in every if fit.key == told] or [f for f in every if f.weights.place == told]
        if not every:
            places = listed([repr(w.place) for w in checkpoint.weights], 8) or "none"
            raise CheckpointError(f"{path} has no weights at {key!r}; --key may be one of {places}")
    if not every:
        raise CheckpointError(f"{path} holds no weights; give the file of a model's state dict")
    complete = [fit for fit in every if fit.complete]
    if not complete:
        raise misfit(path, max(every, key=lambda f: (f.agreeing, len(f.found), -f.weights.rank)), wanted)
    # A key may well name an average; --weights ema beside the key of what is none is a mistake.
    asked = [fit for fit in complete if (key is not None and which == "raw") or fit.serves(which)]
    if not asked and which == "raw":
        places = listed(repr(fit.key) for fit in complete)
        raise CheckpointError(f"{path} has averaged weights only, at {places}; give --weights ema")
    if not asked and key is not None:
        raise InputError(f"--key {key} names weights that are no average; leave out --key, or --weights ema")
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
        raise misfit(path, fit, fit.wanted, strangers)
    absent = [name for name in fit.wanted if name not in found]
    counters = (name for name in left if name not in extra and name.startswith(fit.removed))
    return tuple(extra), (*counters, *absent)


def _kin(name: str) -> str:
    """The module at the top of a name, alike for those that are numbered: "fc1.weight" and "fc2.bias"."""
    return name.partition(".")[0].rstrip("0123456789")


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


def _refuse_values(
    path: Path, read: Mapping[str, Tensor], values: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> None:
    wrong = {name: int(value.numel() - value.isfinite().sum()) for name, value in values.items()}
    if any(wrong.values()):
        which = listed(
            f"{name} ({count} of {values[name].numel()})" for name, count in wrong.items() if count
        )
        raise CheckpointError(f"{path} has NaN or infinity in {which}; take one from before it diverged")
    for name, value in values.items():
        if not value.is_floating_point() and not torch.equal(value.to(read[name].dtype), read[name]):
            raise CheckpointError(
                f"{path}: {name} has whole numbers that {value.dtype} of the model does not hold; make the "
                f"model's {read[name].dtype}"
            )
    first: dict[int, str] = {}
    for name, value in values.items():
        tied = first.setdefault(id(wanted[name]), name)
        if tied != name and not torch.equal(value, values[tied]):  # the last would win, without a word
            raise CheckpointError(
                f"{path}: {tied} and {name} differ, but the model ties them; untie them there"
            )
