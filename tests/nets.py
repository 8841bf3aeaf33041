"""Tiny nets, data for them, and the dense float64 Hessian by plain autograd."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.budget import Budget
from landscape.data import Data
from landscape.network import Network
from landscape.objective import Objective, Point

CLASSES = 3


class Net(nn.Module):
    """A module of some layers and a function of (itself, x)."""

    def __init__(self, forward: Callable[[Net, Tensor], Tensor], **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def trained(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with no parameter and no running statistic at its default."""
    rng = torch.Generator().manual_seed(seed)
    for m in module.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None:
            m.running_mean.data = 0.3 * torch.randn(m.running_mean.shape, generator=rng)
            m.running_var.data = 0.5 + torch.rand(m.running_var.shape, generator=rng)
    for p in module.parameters():
        p.data = torch.randn(p.shape, generator=rng) * (0.8 / max(1, p[0].numel()) ** 0.5)
    return module


def data(n: int, *shape: int, classes: int = CLASSES, seed: int = 1) -> Data:
    """n random images in [0, 1] with random labels."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(n, *shape, generator=rng, dtype=torch.float64)
    return Data.of(x, torch.randint(0, classes, (n,), generator=rng), classes=classes)


def point(module: nn.Module, examples: Data, *, dtype: torch.dtype = torch.float64, **told: object) -> Point:
    """The module's own point of the landscape of its loss on some examples."""
    budget = told.pop("budget", Budget(0))
    return Objective(Network(module, dtype=dtype), examples, budget, **told).at()  # type: ignore[arg-type]


def loss(at: Point) -> Callable[[Tensor], Tensor]:
    """The mean loss on the point's perturbed data in one batch, as a function of θ (P,), in float64."""
    network = at.objective.network
    module = copy.deepcopy(network.module).double()
    x, y = at.perturbed.x.double(), at.perturbed.y

    def value(theta: Tensor) -> Tensor:
        parts = [p.view(s) for p, s in zip(theta.split(network.sizes), network.shapes, strict=True)]
        logits = torch.func.functional_call(module, dict(zip(network.names, parts, strict=True)), (x,))
        return at.objective.loss(logits, y).mean()

    return value


def dense(at: Point) -> Tensor:
    """∇²L (P, P), one row at a time by double backward."""
    return torch.autograd.functional.hessian(loss(at), at.theta.double())


def mlp(activation: type[nn.Module] = nn.Tanh, width: int = 5) -> nn.Module:
    """4 inputs, one hidden layer, 3 classes."""
    return trained(nn.Sequential(nn.Linear(4, width), activation(), nn.Linear(width, CLASSES)))


def cnn() -> nn.Module:
    """Convolution, BatchNorm, ReLU, max-pooling, linear on 2 × 6 × 6 images; 80 parameters."""
    return trained(
        nn.Sequential(
            nn.Conv2d(2, 2, 3),
            nn.BatchNorm2d(2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(8, CLASSES),
        )
    )


def tied() -> nn.Module:
    """Two layers with one weight."""
    net = Net(lambda m, x: m.c(torch.tanh(m.b(torch.tanh(m.a(x))))), a=nn.Linear(4, 4), b=nn.Linear(4, 4))
    net.b.weight, net.c = net.a.weight, nn.Linear(4, CLASSES)
    return trained(net)


def frozen() -> nn.Module:
    """A layer whose weight is no parameter of the landscape."""
    net = mlp()
    net[0].weight.requires_grad_(False)
    return net


def squared_error(logits: Tensor, y: Tensor) -> Tensor:
    return (logits - F.one_hot(y, logits.shape[1])).square().sum(dim=1)
