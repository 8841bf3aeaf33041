"""Losses of single examples: logits (B, C) and labels (B,) to (B,)."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """−log softmax(logits)_y in nats."""
    return F.cross_entropy(logits, y, reduction="none")
