"""ResNet18 for images of 28 × 28 or 32 × 32 pixels, with the paper's width factor and parameter names."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from landscape.registry import register


class Block(nn.Module):
    """Two 3 × 3 convolutions with BatchNorm, added to the input or to its 1 × 1 projection."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(
        self, width: int, classes: int, blocks: tuple[int, ...] = (2, 2, 2, 2), *, colours: int = 3
    ) -> None:
        super().__init__()
        channels = 4 * width
        self.conv1 = nn.Conv2d(colours, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        for stage, count in enumerate(blocks):
            outputs = 4 * width * 2**stage
            layers = []
            for place in range(count):
                layers.append(Block(channels, outputs, stride=2 if stage and not place else 1))
                channels = outputs
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.stages = len(blocks)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.classifier(F.avg_pool2d(x, 4).flatten(1))


@register("model")
def resnet18(*, width: int = 8, classes: int = 10, colours: int = 3) -> ResNet:
    """The paper's ResNet18; width 8 has 2,797,610 parameters, width 16 the standard 11,173,962.

    colours: 3, or 1 for grey images
    """
    return ResNet(width, classes, colours=colours)
