"""The fused network returns the bits of the network, or is the network."""

import operator

import pytest
import torch
import torch.nn.functional as F
from nets import CLASSES, Net, cnn, mlp, trained
from torch import nn

from landscape import Network, registry
from landscape.surfaces.fused import Fused, _Convolution


def block(forward, **more: nn.Module) -> nn.Module:
    """Two convolutions a and b on images of 3 channels, and what is made of them."""
    layers = {name: nn.Conv2d(3, 3, 3, padding=1) for name in ("a", "b")}
    return Net(
        lambda m, x: m.last(forward(m, x).mean(dim=(2, 3))), **layers, last=nn.Linear(3, CLASSES), **more
    )


def kept(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.a(x)
    return F.relu(y) + m.b(y)


def changed(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = x * 2
    z = m.a(y)
    y.add_(1)
    return F.relu(z) + m.b(y)


def onto(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = 2 * x
    z = operator.iadd(y, m.a(x))
    return z.relu() * y


def hooked() -> nn.Module:
    layer = nn.Conv2d(3, 3, 3)
    layer.register_forward_hook(lambda m, args, output: 1 - output)
    return layer


def computed() -> nn.Module:
    """A convolution whose weight is made of a parameter before each pass, as weight_norm did."""
    layer = nn.Conv2d(3, 3, 3)
    layer.own = layer._parameters.pop("weight")
    layer.weight = layer.own.detach()
    layer.register_forward_pre_hook(lambda m, args: setattr(m, "weight", m.own / 2))
    return layer


class Standard(nn.Module):
    """A layer with buffers, of which a trace would keep the values."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("variance", torch.ones(3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / (self.variance + 1).sqrt()


def branching(m: Net, x: torch.Tensor) -> torch.Tensor:
    return F.relu(m.a(x)) if x.sum() > 0 else m.b(x)


# (net, shape of an example, convolutions that do more)
CASES = {
    "resnet": (lambda: registry.make("model", "resnet18:width=1"), (3, 32, 32), 17),
    "vgg": (lambda: registry.make("model", "vgg:width=1"), (3, 32, 32), 13),
    "lenet": (lambda: registry.make("model", "lenet:width=1"), (1, 28, 28), 2),
    "layers": (cnn, (2, 6, 6), 1),
    "no convolution": (mlp, (4,), 0),
    "methods": (lambda: block(lambda m, x: (m.b(m.a(x).relu()) + x).relu_()), (3, 6, 6), 2),
    "in place": (lambda: block(lambda m, x: F.relu(operator.iadd(m.b(F.relu_(m.a(x))), x))), (3, 6, 6), 2),
    "a sum of two": (lambda: block(lambda m, x: F.relu(m.a(x) + m.b(x))), (3, 6, 6), 1),
    "a number": (lambda: block(lambda m, x: F.relu(m.a(x) + 1)), (3, 6, 6), 0),
    "broadcast": (lambda: block(lambda m, x: F.relu(m.a(x) + x[:, :, :1, :1])), (3, 6, 6), 0),
    "used twice": (lambda: block(kept), (3, 6, 6), 0),
    "called twice": (lambda: block(lambda m, x: F.relu(m.a(F.relu(m.a(x))))), (3, 6, 6), 0),
    "inputs that change meanwhile": (lambda: block(changed), (3, 6, 6), 0),
    "added to another": (lambda: block(onto), (3, 6, 6), 0),
    "other padding": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"), nn.ReLU(), nn.Flatten()
        ),
        (3, 6, 6),
        0,
    ),
    "a weight that is computed": (
        lambda: block(lambda m, x: F.relu(m.c(x)), c=computed()),
        (3, 6, 6),
        0,
    ),
    "a hook": (lambda: block(lambda m, x: F.relu(m.c(x)), c=hooked()), (3, 6, 6), 0),
    "statistics of its own": (lambda: block(lambda m, x: F.relu(m.a(m.n(x))), n=Standard()), (3, 6, 6), 0),
    "untraceable": (lambda: block(branching), (3, 6, 6), 0),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_bits_are_those_of_the_network(case, dtype):
    make, shape, count = CASES[case]
    network = Network(trained(make()), dtype=dtype)
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(40, *shape, generator=rng, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
    fused = Fused(network, [x, x[:7]])
    able = dtype == torch.float32 and torch.backends.mkldnn.is_available()
    assert sum(isinstance(m, _Convolution) for m in fused.module.modules()) == count * able
    assert (fused.module is network.folded(x).module) == (not count * able)
    theta = network.theta + 0.1 * torch.randn(len(network), generator=rng).to(dtype)
    rest = {name: 1.5 * tensor for name, tensor in network.rest().items()}
    for some in (x, x[:7]):
        found = fused(network.parts(theta), some, rest)
        assert torch.equal(found, network(network.parts(theta), some, rest))
        assert not found.requires_grad
