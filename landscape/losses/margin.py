"""By how much a wrong class wins: unlike cross-entropy it never saturates, and so hides no gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.losses.base import check_labels
from landscape.registry import register


@register("loss")
def margin(logits: Tensor, y: Tensor) -> Tensor:
    """max over j ≠ y of z_j − z_y: the larger the worse, positive where the example is misclassified.

    That is f6 of Carlini & Wagner (1608.04644, Section V.A) for any wrong class, without its cut at 0.
    """
    check_labels(logits, y, "margin", least=2)
    return rival(logits, y) - own(logits, y)


def own(logits: Tensor, y: Tensor) -> Tensor:
    """z_y (B,)."""
    return logits.gather(1, y[:, None])[:, 0]


def rival(logits: Tensor, y: Tensor) -> Tensor:
    """max over j ≠ y of z_j (B,)."""
    # By a comparison: it is vectorised over examples and differentiated forwards, where one_hot is not.
    true = torch.arange(logits.shape[1], device=logits.device) == y[:, None]
    return logits.masked_fill(true, -torch.inf).amax(dim=1)
