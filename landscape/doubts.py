"""Signs that a model and its data do not belong together, or that a number does not mean what it seems to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from landscape.attacks.base import ascent
from landscape.objective import Point

FEW = 64
"""Examples that are looked at for a gradient."""
DARK = 0.02
"""The largest pixel of images that were divided by 255 twice."""


def doubts(point: Point) -> list[str]:
    """In words, from the clean outputs of all the examples: none where nothing is odd."""
    o = point.objective
    few = o.data.inputs(slice(0, 2), point.theta)[0]
    with torch.no_grad():
        raw = functional_call(o.network.module, o.network.given(point.parts), (few,))
    return [told for told in (_wrapped(raw), _kind(point), _probabilities(point), *_data(point)) if told]


def no_gradient(point: Point) -> str:
    """In words, where the loss of some clean examples is not 0 and yet has no gradient in the inputs."""
    o, rows = point.objective, slice(0, min(FEW, len(point.objective.data)))
    x, y = o.data.inputs(rows, point.theta)
    losses, gradient = ascent(lambda moved: o.loss(o.network(point.parts, moved), y), x)
    stuck = ((gradient.flatten(1) == 0).all(dim=1) & (losses > 1e-3)).sum().item()
    if not stuck:
        return ""
    return (
        f"NO GRADIENT: the loss of {stuck} of {len(x)} examples does not vary with their inputs, as where "
        "these are rounded or cut off: attacks by gradients cannot move them, and what is told under attack "
        "may be far from the worst case"
    )


def _wrapped(raw: Any) -> str:
    if isinstance(raw, Tensor):
        return ""
    if isinstance(raw, tuple | list):
        return f"the model returns {len(raw)} things; the first is taken for the logits"
    return f"the model returns a {type(raw).__name__}; its logits are taken"


def _kind(point: Point) -> str:
    there, here = point.logits.dtype, point.theta.dtype
    if there == here:
        return ""
    return f"the model computes its outputs in {there}, whatever it is asked for: errors are those of that"


def _probabilities(point: Point) -> str:
    logits = point.logits
    if not point.objective.data.classes or logits.shape[1] < 2 or (logits < 0).any():
        return ""
    if (logits.double().sum(dim=1) - 1).abs().max() > 1e-3:
        return ""
    return (
        "PROBABILITIES: the model's outputs are positive and add up to 1, as after a softmax; the loss takes "
        "logits: let the model return what is before the softmax"
    )


def _data(point: Point) -> list[str]:
    data, outputs = point.objective.data, point.logits.shape[1]
    told = []
    if data.classes and outputs != data.classes:
        told.append(
            f"the model has {outputs} outputs, the data {data.classes} classes: are its first classes the "
            "model's, in that order?"
        )
    largest = data.x.max().item() / (255 if data.x.dtype == torch.uint8 else 1)
    if data.x.ndim > 2 and largest <= DARK:
        told.append(
            f"DARK IMAGES: the largest pixel is {largest:.4f} of 1: were they divided by 255 already?"
        )
    return [*told, *_accuracy(point)]


def _accuracy(point: Point) -> list[str]:
    classes, n = point.objective.data.classes, len(point.objective.data)
    labels = point.objective.data.y.unique()
    if classes < 2 or len(labels) < 2 or n < 10 or point.accuracy >= (2 if classes > 3 else 1.2) / classes:
        return []
    return [
        f"CLEAN ACCURACY {point.accuracy:.1%}, chance is {1 / classes:.1%}: is this the model's data and "
        "split, with the classes in its order? Does it expect normalised inputs (--normalize)?"
    ]
