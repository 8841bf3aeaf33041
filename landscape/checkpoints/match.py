"""Whether a checkpoint is this model's, tensor by tensor; if so, the model gets its weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor, nn

from landscape.checkpoints.read import Checkpoint, listed
from landscape.errors import CheckpointError

COUNTER = "num_batches_tracked"
Shapes = dict[str, tuple[tuple[int, ...], tuple[int, ...]]]  # by name: in the file, in the model


@dataclass(frozen=True, eq=False)
class Match:
    """What it took to load a checkpoint into a module."""

    prefix: str  # removed from the file's names, such as "module."
    tensors: int  # loaded
    converted: dict[str, int]  # "float16 to float32": how many tensors
    ignored: tuple[str, ...]  # counters that only the file or only the module has

    def __str__(self) -> str:
        parts = [f"{self.tensors} tensors"]
        parts += [f"prefix {self.prefix!r} removed"] if self.prefix else []
        parts += [f"{count} converted from {types}" for types, count in self.converted.items()]
        parts += [f"{len(self.ignored)} counters ignored"] if self.ignored else []
        return ", ".join(parts)


def match(checkpoint: Checkpoint, module: nn.Module) -> Match:
    """Loads the checkpoint into the module, in place, if every name, shape and value is the module's.

    A prefix that wrappers gave the names (`module.`, `_orig_mod.`, `model.`, any, or several) is removed.
    Floating point becomes the module's: float16 and bfloat16 become float32. Only BatchNorm's counters, which
    do nothing in eval mode, may be absent or left over.

    CheckpointError names the tensors that differ and a likely cause, or those with NaN or infinity. The
    module is then as it was.
    """
    # keep_vars: a parameter that is tied is one object under all of its names.
    wanted = {name: own for name, own in module.state_dict(keep_vars=True).items() if isinstance(own, Tensor)}
    prefix = _prefix(checkpoint.state, wanted)
    found = {name.removeprefix(prefix): t for name, t in checkpoint.state.items() if name.startswith(prefix)}
    ignored = _refuse_another_model(checkpoint, prefix, found, wanted)
    values = {name: found[name].to(own.dtype) for name, own in wanted.items() if name in found}
    _refuse_values(checkpoint.path, values, wanted)
    types = [(found[name].dtype, value.dtype) for name, value in values.items()]
    converted = Counter(f"{old} to {new}".replace("torch.", "") for old, new in types if old != new)
    module.load_state_dict(values, strict=False)  # what strict would check is checked, and told more clearly
    return Match(prefix, len(values), dict(converted), ignored)


def _prefix(names: Collection[str], wanted: Collection[str]) -> str:
    """What to remove from the file's names so that most are the model's, "" if nothing does that."""
    votes: Counter[str] = Counter()
    for name in names:
        cuts = [0] + [place + 1 for place, letter in enumerate(name) if letter == "."]
        votes.update(name[:cut] for cut in cuts if name[cut:] in wanted)
    best, agreeing = next(iter(votes.most_common(1)), ("", 0))
    # Names that agree by chance, within one block of another network say, are not a wrapper's.
    return best if 2 * agreeing > len(names) else ""


def _refuse_another_model(
    checkpoint: Checkpoint, prefix: str, found: dict[str, Tensor], wanted: dict[str, Tensor]
) -> tuple[str, ...]:
    """The counters that only one side has, if all other names, the shapes and the kinds of number agree."""
    leftover = [
        n for n in checkpoint.state if not (n.startswith(prefix) and n.removeprefix(prefix) in wanted)
    ]
    extra = [name for name in leftover if not name.endswith(COUNTER)]
    absent = [name for name in wanted if name not in found]
    missing = [name for name in absent if not name.endswith(COUNTER)]
    pairs = {name: (found[name], own) for name, own in wanted.items() if name in found}
    shapes = {
        n: (tuple(file.shape), tuple(own.shape))
        for n, (file, own) in pairs.items()
        if file.shape != own.shape
    }
    kinds = {n: (file.dtype, own.dtype) for n, (file, own) in pairs.items() if _kind(file) != _kind(own)}
    if not (extra or missing or shapes or kinds):
        return tuple(leftover + absent)
    unlike = [*shapes.items(), *kinds.items()]
    differences = [f"{name} is {file} in the file, {model} in the model" for name, (file, model) in unlike]
    differences += [f"{name} is not in the file" for name in missing]
    differences += [f"{name} is not in the model" for name in extra]
    cause = _resized(shapes, list(wanted)) if shapes else ""
    if extra or missing:
        other = ", so it is another architecture's" if 2 * len(pairs) < len(wanted) else ""
        cause = f"; {len(pairs)} of the model's {len(wanted)} names agree{other}"
    raise CheckpointError(
        f"{checkpoint.path} does not fit the model: {listed(differences, 3, '; ')}{cause}; "
        "give the model that the file was trained with"
    )


def _kind(tensor: Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _resized(shapes: Shapes, names: list[str]) -> str:
    """The likely cause of other shapes under the same names, or nothing."""
    if any(len(file) != len(model) for file, model in shapes.values()):
        return ""
    last = names[-1].rpartition(".")[0]
    if all(name.rpartition(".")[0] == last and f[1:] == m[1:] for name, (f, m) in shapes.items()):
        file, model = next(iter(shapes.values()))
        return f"; only the last layer differs: it has {file[0]} classes in the file, {model[0]} in the model"
    ratios = {Fraction(f, m) for pair in shapes.values() for f, m in zip(*pair, strict=True) if f != m}
    if len(shapes) > 1 and len(ratios) == 1:
        return f"; all names agree, so its width is another: {ratios.pop()} times the model's"
    return ""


def _refuse_values(path: Path, values: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
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
