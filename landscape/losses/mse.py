"""The loss of regression."""

from __future__ import annotations

from torch import Tensor

from landscape.errors import InputError
from landscape.losses.base import of_numbers
from landscape.registry import register


@register("loss")
@of_numbers
def mse(logits: Tensor, y: Tensor) -> Tensor:
    """1/k Σ_j (f_j − y_j)² of outputs f (B, k) and targets y (B, k), or y (B,) of a single output."""
    if not y.is_floating_point():
        raise InputError(
            f"the loss mse compares outputs with numbers, and these targets are {y.dtype}, class labels: use "
            "cross_entropy, margin or dlr; or store the targets as floating-point numbers, (n,) or (n, k)"
        )
    numbers = (y[:, None] if y.ndim == 1 else y).to(logits)
    if numbers.shape[1:] != logits.shape[1:]:
        raise InputError(
            f"the loss mse compares each output with a target: the model has {logits.shape[1]} outputs, the "
            f"data {numbers.shape[1]} targets of an example; give as many"
        )
    return (logits - numbers).square().mean(dim=1)
