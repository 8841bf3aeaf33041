"""Normalisation of inputs as part of the model, so that budgets are in pixels of [0, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import InputError

# Means and standard deviations over all pixels of the training set, to the digits that are in use. Programs
# that give CIFAR-10 the deviations 0.2023,0.1994,0.2010 average those of single images: pass them as numbers.
KNOWN = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion-mnist": ((0.2860,), (0.3530,)),
}
HOW = f"give {', '.join(KNOWN)}, numbers as MEAN/STD such as 0.49,0.48,0.45/0.25,0.24,0.26, ckpt, or none"


@dataclass(frozen=True)
class Normalization:
    """x to (x − mean) / std, channel by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise InputError(
                f"{len(self.mean)} means and {len(self.std)} standard deviations; a channel has one of both"
            )
        if not all(map(math.isfinite, self.mean + self.std)) or min(self.std) <= 0:
            raise InputError(f"means {self.mean}, standard deviations {self.std}: the latter must be above 0")
        if min(self.mean) < 0 or max(self.mean) > 1:
            raise InputError(
                f"normalisation {self}: inputs are in [0, 1], and so are their means; divide "
                "numbers for bytes by 255"
            )

    @classmethod
    def of(cls, spec: str) -> Normalization:
        """Of a data set's name, or of numbers "MEAN/STD", one for each channel or one for all."""
        if spec in KNOWN:
            return cls(*KNOWN[spec])
        try:
            mean, std = (tuple(map(float, part.split(","))) for part in spec.split("/"))
        except ValueError:
            raise InputError(f"normalisation {spec!r} is not known; {HOW}") from None
        return cls(mean, std)

    def __str__(self) -> str:
        return "/".join(",".join(f"{number:.6g}" for number in part) for part in (self.mean, self.std))

    @property
    def exact(self) -> str:
        """All digits, as `of` takes them."""
        return "/".join(",".join(map(repr, part)) for part in (self.mean, self.std))

    def into(self, module: nn.Module) -> None:
        """Make it the first thing that the module does; its parameters keep their names."""
        if of_module(module):
            raise InputError(f"the model normalises its inputs already, by {of_module(module)}")
        module.register_forward_pre_hook(_Hook(self), prepend=True)


def of_module(module: nn.Module) -> Normalization | None:
    """What `into` put in front of a module, if anything."""
    hooks = module._forward_pre_hooks.values()
    return next((hook.normalization for hook in hooks if isinstance(hook, _Hook)), None)


class _Hook:
    """A hook of a class of its own: copies of the module bring it along."""

    def __init__(self, normalization: Normalization) -> None:
        self.normalization = normalization
        told = (normalization.mean, normalization.std)
        self.mean, self.std = (torch.tensor(part, dtype=torch.float64) for part in told)

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x: Tensor = args[0]
        channels = x.shape[1] if x.ndim > 1 else 0
        if len(self.mean) not in (1, channels):
            raise InputError(f"the normalisation has {len(self.mean)} channels, the inputs {channels}; {HOW}")
        mean, std = (part.to(x).view(-1, *[1] * (x.ndim - 2)) for part in (self.mean, self.std))
        return ((x - mean) / std, *args[1:])
