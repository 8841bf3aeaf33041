"""Fully connected nets: a linear softmax classifier, and hidden layers with a chosen activation."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import nn

from landscape.registry import register

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


@register("model")
def linear(*, inputs: int = 784, classes: int = 10, bias: bool = True) -> nn.Sequential:
    """Linear softmax classifier of flattened inputs (the paper's Section 3.1 with bias=false)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes, bias=bias))


@register("model")
def mlp(
    *,
    inputs: int = 784,
    hidden: int = 64,
    layers: int = 2,
    classes: int = 10,
    activation: Literal["relu", "tanh", "gelu"] = "relu",
) -> nn.Sequential:
    """`layers` hidden layers of `hidden` units each, on flattened inputs."""
    sizes = [inputs] + [hidden] * layers
    modules: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(sizes):
        modules += [nn.Linear(before, after), ACTIVATIONS[activation]()]
    return nn.Sequential(*modules, nn.Linear(sizes[-1], classes))
