"""VGG16 with BatchNorm for 3 × 32 × 32 images, with the paper's width factor and parameter names."""

from __future__ import annotations

from torch import Tensor, nn

from landscape.registry import register

# Channels in units of the width factor; 0 is a 2 × 2 max-pooling.
LAYERS = (4, 4, 0, 8, 8, 0, 16, 16, 16, 0, 32, 32, 32, 0, 32, 32, 32, 0)


class VGG(nn.Module):
    def __init__(self, width: int, classes: int, bias: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for size in LAYERS:
            if size == 0:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [
                nn.Conv2d(channels, size * width, 3, padding=1, bias=bias),
                nn.BatchNorm2d(size * width),
                nn.ReLU(),
            ]
            channels = size * width
        self.feature_extractor = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.feature_extractor(x).flatten(1))


@register("model")
def vgg(*, width: int = 8, classes: int = 10, bias: bool = True) -> VGG:
    """The paper's VGG16; width 8 has 3,686,954 parameters, width 16 the standard 14,728,266.

    bias: of the convolutions
    """
    return VGG(width, classes, bias)
