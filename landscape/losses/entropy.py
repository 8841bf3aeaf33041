"""The loss that classifiers are trained with."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from landscape.losses.base import check_labels
from landscape.registry import register


@register("loss")
def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """−log softmax(logits)_y in nats."""
    check_labels(logits, y, "cross_entropy")
    return F.cross_entropy(logits, y, reduction="none")
