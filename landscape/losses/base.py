"""What a loss is, and which targets it takes: class labels, or numbers to predict."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

from landscape.errors import InputError

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits (B, C) and targets, y (B,) or (B, k), to the loss of each example (B,)."""
Known = TypeVar("Known", bound=Loss)


def of_numbers(loss: Known) -> Known:
    """Decorator of a loss whose targets may be numbers to predict, (B,) or (B, k)."""
    loss.numbers = True  # type: ignore[attr-defined]
    return loss


def takes_numbers(loss: Loss) -> bool:
    """Whether the targets may be numbers to predict: then `source.load` is to leave them as they are."""
    return getattr(loss, "numbers", False)


def name_of(loss: Loss) -> str:
    """The loss as results name it: its registered name, or what the user wrote."""
    return getattr(loss, "__qualname__", None) or repr(loss)


def check_labels(logits: Tensor, y: Tensor, loss: str, least: int = 1) -> None:
    """Raise unless y are class labels, and there are at least so many classes."""
    if y.is_floating_point():
        raise InputError(
            f"the loss {loss} takes class labels, whole numbers (B,); these targets are {y.dtype} of shape "
            f"{tuple(y.shape)}, numbers to predict: use mse, or a loss of your own"
        )
    if logits.shape[-1] < least:
        raise InputError(
            f"the loss {loss} compares {least} classes at least, and the model has {logits.shape[-1]} "
            f"output{'s' * (logits.shape[-1] > 1)}: use cross_entropy{' or margin' * (logits.shape[-1] == 2)}"
        )
