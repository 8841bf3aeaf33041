"""The margin in units of the logits' own range, which no rescaling of a model changes."""

from __future__ import annotations

from torch import Tensor

from landscape.losses.base import check_labels
from landscape.losses.margin import own, rival
from landscape.registry import register

TINY = 1e-12
"""Added to the range as in the authors' code: three equal logits are no division by 0."""


@register("loss")
def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """(max over j ≠ y of z_j − z_y) / (z_π1 − z_π3), π the order of the logits from the largest.

    The difference of logits ratio (Croce & Hein, 2003.01690, Section 3): in [−1, …), the larger the worse,
    positive where the example is misclassified, without bound where the three largest logits meet: the mean
    of a net that tells little apart is that of a few examples. It takes 3 classes.
    """
    check_labels(logits, y, "dlr", least=3)
    largest = logits.topk(3, dim=1).values
    return (rival(logits, y) - own(logits, y)) / (largest[:, 0] - largest[:, 2] + TINY)
