"""The optimizers that a training may have, by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from landscape.errors import InputError

Name = Literal["adam", "sgd"]
"""sgd has momentum 0.9."""
LARGEST = 1e6
"""Learning rate and weight decay: far beyond use, far below the overflow of float32."""


def check(lr: float, weight_decay: float) -> None:
    """InputError where an optimizer can do nothing with them."""
    if not (0 < lr <= LARGEST and 0 <= weight_decay <= LARGEST):
        raise InputError(
            f"lr = {lr}, weight decay = {weight_decay}: lr is above 0, weight decay at "
            f"least 0, both at most {LARGEST:g}"
        )


def make(name: Name, parameters: Iterable[Tensor], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """The optimizer of this name."""
    if name == "sgd":
        return torch.optim.SGD(parameters, lr, momentum=0.9, weight_decay=weight_decay)
    return torch.optim.Adam(parameters, lr, weight_decay=weight_decay)
