"""LeNet for 28 × 28 and for 32 × 32 images, with the paper's width factor and parameter names."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from landscape.registry import register


class LeNet(nn.Module):
    """Two 5 × 5 convolutions, each followed by ReLU and 2 × 2 max-pooling, and fully connected layers."""

    def __init__(
        self, channels: int, convolutions: list[int], padding: int, linear: list[int], bias: bool = True
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, convolutions[0], 5, padding=padding, bias=bias)
        self.conv2 = nn.Conv2d(convolutions[0], convolutions[1], 5, padding=padding, bias=bias)
        self.depth = len(linear) - 1
        for layer, (inputs, outputs) in enumerate(pairwise(linear), 1):
            self.add_module(f"fc{layer}", nn.Linear(inputs, outputs, bias=bias or layer == self.depth))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2).flatten(1)
        for layer in range(1, self.depth):
            x = F.relu(self.get_submodule(f"fc{layer}")(x))
        return self.get_submodule(f"fc{self.depth}")(x)


@register("model")
def lenet(*, width: int = 4, classes: int = 10, bias: bool = True) -> LeNet:
    """The paper's MNIST LeNet, 28 × 28 inputs; width 16 has 3,274,634 parameters (NeurIPS 2020, code).

    bias: of all layers but the last, which always has one
    """
    return LeNet(1, [2 * width, 4 * width], 2, [7 * 7 * 4 * width, 64 * width, classes], bias)


@register("model")
def lenet_cifar(*, width: int = 1, classes: int = 10, bias: bool = True) -> LeNet:
    """The CIFAR-10 LeNet of the paper's code, 3 × 32 × 32 inputs; width 1 has 62,006 parameters.

    bias: of all layers but the last, which always has one
    """
    sizes = [5 * 5 * 16 * width, 120 * width, 84 * width, classes]
    return LeNet(3, [6 * width, 16 * width], 0, sizes, bias)


class LeNet5(LeNet):
    """The classical layer sizes on 28 × 28 inputs: only the first convolution is padded."""

    def __init__(self, classes: int) -> None:
        super().__init__(1, [6, 16], 0, [400, 120, 84, classes])
        self.conv1.padding = (2, 2)


@register("model")
def lenet5(*, classes: int = 10) -> LeNet5:
    """LeNet-5 on 28 × 28 inputs, 61,706 parameters: the size that published Hessian counts are quoted for."""
    return LeNet5(classes)
