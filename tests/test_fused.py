"""The fused network returns the bits of the network, or is the network."""

import operator
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from nets import CLASSES, Net, cnn, mlp, trained
from torch import nn

from landscape import Network, registry
from landscape.surfaces.fused import Fused, _Convolution, _Pool


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


def halved(x: torch.Tensor) -> torch.Tensor:
    return torch.max_pool2d(x, [2, 2], [2, 2])


def watched() -> nn.Module:
    layer = nn.MaxPool2d(2)
    layer.register_forward_hook(lambda m, args, output: -output)
    return layer


# (what is done to the outputs of a convolution (B, 3, 6, 7), whether it is done row by row)
POOLED = {
    "the function": (lambda m, x: F.max_pool2d(x, 2), True),
    "its stride told": (lambda m, x: F.max_pool2d(x, kernel_size=(2, 2), stride=2), True),
    "torch's own": (lambda m, x: halved(x), True),
    "a layer": (nn.MaxPool2d(2), True),
    "a layer twice": (nn.Sequential(*[nn.MaxPool2d(2, 2)] * 2), True),
    "after ReLU": (nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), True),
    "with NaN": (lambda m, x: F.max_pool2d(x.log(), 2), False),  # no number is equal to it
    "overlapping": (lambda m, x: F.max_pool2d(x, 2, 1), False),
    "larger": (lambda m, x: F.max_pool2d(x, 3), False),
    "padded": (nn.MaxPool2d(2, padding=1), False),
    "all columns": (lambda m, x: F.max_pool2d(x, 2, ceil_mode=True), False),
    "spread": (nn.MaxPool2d(2, dilation=2), False),
    "with places": (lambda m, x: F.max_pool2d(x, 2, return_indices=True)[0], False),
    "hooked": (watched(), False),
}


@pytest.mark.parametrize("case", POOLED)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [3, 40])
def test_max_pooling_by_rows_and_columns_has_the_same_bits(case, layout, channels):
    pool, known = POOLED[case]
    layer = nn.Conv2d(1, channels, 3, padding=1)
    more = {"pool": pool} if isinstance(pool, nn.Module) else {}
    module = Net(
        lambda m, x: m.last((m.pool if more else partial(pool, m))(m.a(x)).mean(dim=(2, 3))),
        a=layer,
        last=nn.Linear(channels, CLASSES),
        **more,
    )
    network = Network(trained(module))
    x = torch.rand(20, 1, 6, 7, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
    fused = Fused(network, [x])
    assert any(isinstance(m, _Pool) for m in fused.module.modules()) == known
    parts = network.parts(1.5 * network.theta)
    assert torch.equal(fused(parts, x, {}).nan_to_num(), network(parts, x, {}).nan_to_num())


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
    pools = any(isinstance(m, _Pool) for m in fused.module.modules())
    assert (fused.module is network.folded(x).module) == (not count * able and not pools)
    theta = network.theta + 0.1 * torch.randn(len(network), generator=rng).to(dtype)
    rest = {name: 1.5 * tensor for name, tensor in network.rest().items()}
    for some in (x, x[:7]):
        found = fused(network.parts(theta), some, rest)
        assert torch.equal(found, network(network.parts(theta), some, rest))
        assert not found.requires_grad
