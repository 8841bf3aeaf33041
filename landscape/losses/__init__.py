"""Losses of single examples by name: one file each, a registered function (logits (B, C), y) -> (B,)."""

from landscape.losses.base import Loss, name_of, takes_numbers
from landscape.losses.choice import check, find
from landscape.losses.entropy import cross_entropy

__all__ = ["Loss", "check", "cross_entropy", "find", "name_of", "takes_numbers"]
