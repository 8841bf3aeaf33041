"""Why weights are not a model's, in one line: the first differences, a likely cause, what to do."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from landscape.checkpoints.content import listed
from landscape.checkpoints.find import COUNTER, NORMALIZERS
from landscape.checkpoints.fit import Fit
from landscape.errors import CheckpointError

STATISTICS = ("running_mean", "running_var")
Shape = tuple[int, ...]


def misfit(
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
    cause = _cause(fit, wanted, shapes, absent, extra)
    return CheckpointError(f"{path} does not fit the model: {listed(differences, 3, '; ')}{cause}")


def _cause(
    fit: Fit,
    wanted: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[Shape, Shape]],
    absent: Collection[str],
    extra: Collection[str],
) -> str:
    """The likely cause, and what to do."""
    train = "give the model that the file was trained with"
    if absent and all(name.isdigit() for name in fit.weights.tensors):
        return "; the file has a list of tensors without names: save the model's state_dict()"
    if shapes and not absent and not extra:
        return f"{_resized(shapes, list(wanted))}; {train}"
    if absent and not shapes and not extra:
        last = [*wanted][-1].rpartition(".")[0]
        if all(name.rpartition(".")[2] in STATISTICS for name in absent):
            return (
                "; it has the parameters without the running statistics, with which the model is another: "
                "save state_dict(), not named_parameters()"
            )
        if all(_normalizes(name) for name in absent):
            return "; these look like the model's own normalisation: make it without, and give --normalize"
        if {*absent} == {name for name in wanted if name.rpartition(".")[0] == last}:
            return (
                f"; it was saved without the last layer, {last}; give a model without it, or the whole file"
            )
    other = ", so it is another architecture's" if 2 * len(fit.found) < len(wanted) else ""
    return f"; {len(fit.found)} of the model's {len(wanted)} names agree{other}; {train}"


def _normalizes(name: str) -> bool:
    return any(name.rpartition(".")[2] in pair for pair in NORMALIZERS)


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
