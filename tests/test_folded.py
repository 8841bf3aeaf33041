"""BatchNorm folded into the layer before it is the same function of θ, where it may be and only there."""

import copy

import pytest
import torch
import torch.nn.functional as F
from nets import CLASSES, Net, data, loss, point, trained
from torch import nn

from landscape import Network
from landscape.hessian import Hessian
from landscape.models.resnet import ResNet
from landscape.models.vgg import VGG
from landscape.statistics import recomputed


def images(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(CLASSES))


def conv(inputs: int = 2, **told) -> nn.Conv2d:
    return nn.Conv2d(inputs, 3, 3, **told)


class Pooled(ResNet):
    """A ResNet for images of any size."""

    def forward(self, x):
        return self.classifier(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))).mean(dim=(2, 3)))


def twice(use) -> nn.Module:
    """A convolution whose outputs `use` sees, with those of its BatchNorm."""

    def forward(m: Net, x: torch.Tensor) -> torch.Tensor:
        y = m.conv(x)
        return m.last(use(m.norm(y), y).mean(dim=(2, 3)))

    return Net(forward, conv=conv(), norm=nn.BatchNorm2d(3), last=nn.Linear(3, CLASSES))


def shared_norm() -> nn.Module:
    def forward(m: Net, x: torch.Tensor) -> torch.Tensor:
        return m.last((m.norm(m.a(x)) + m.norm(m.b(x))).relu().mean(dim=(2, 3)))

    return Net(forward, a=conv(), b=conv(), norm=nn.BatchNorm2d(3), last=nn.Linear(3, CLASSES))


def shared_conv() -> nn.Module:
    def forward(m: Net, x: torch.Tensor) -> torch.Tensor:
        return m.last((m.a(m.conv(x)) * m.b(m.conv(1 - x))).mean(dim=(2, 3)))

    norms = {"a": nn.BatchNorm2d(3), "b": nn.BatchNorm2d(3)}
    return Net(forward, conv=conv(), last=nn.Linear(3, CLASSES), **norms)


def two_names() -> nn.Module:
    net = images(conv(), nn.BatchNorm2d(3), nn.ReLU())
    net.again = nn.Identity()
    found = Net(lambda m, x: m.net(x), net=net)
    found.other = net[0]
    return found


def tied() -> nn.Module:
    net = images(conv(3, padding=1), nn.BatchNorm2d(3), nn.Tanh(), conv(3, padding=1), nn.BatchNorm2d(3))
    net[3].weight = net[0].weight
    return net


def decayed() -> nn.Module:
    """A weight that the outputs depend on in another way too."""

    def forward(m: Net, x: torch.Tensor) -> torch.Tensor:
        return m.last(m.norm(m.conv(x)).mean(dim=(2, 3))) + m.conv.weight.square().sum()

    return Net(forward, conv=conv(), norm=nn.BatchNorm2d(3), last=nn.Linear(3, CLASSES))


def hooked() -> nn.Module:
    net = images(conv(), nn.BatchNorm2d(3), nn.ReLU())
    net[0].register_forward_hook(lambda m, args, output: 2 * output)
    return net


def batch_statistics() -> nn.Module:
    """A BatchNorm that normalises by the batch, whatever mode the module is in."""

    def forward(m: Net, x: torch.Tensor) -> torch.Tensor:
        m.norm.training = True
        return m.last(m.norm(m.conv(x)).mean(dim=(2, 3)))

    norm = nn.BatchNorm2d(3, momentum=0.0)
    return Net(forward, conv=conv(), norm=norm, last=nn.Linear(3, CLASSES))


def frozen() -> nn.Module:
    net = images(conv(), nn.BatchNorm2d(3), nn.ReLU())
    net[1].requires_grad_(False)
    net[0].weight.requires_grad_(False)
    return net


def written_over() -> nn.Module:
    """Outputs that are changed in place before BatchNorm sees them."""

    def forward(m: Net, x: torch.Tensor) -> torch.Tensor:
        return m.last(m.norm(m.conv(x).relu_()).mean(dim=(2, 3)))

    return Net(forward, conv=conv(), norm=nn.BatchNorm2d(3), last=nn.Linear(3, CLASSES))


# (net, shape of an example, BatchNorms that are folded)
CASES = {
    "resnet": (lambda: Pooled(1, CLASSES, (1, 1)), (3, 8, 8), 6),
    "vgg": (lambda: VGG(1, CLASSES, True), (3, 32, 32), 13),
    "without a bias": (lambda: images(conv(bias=False), nn.BatchNorm2d(3), nn.Tanh()), (2, 6, 6), 1),
    "grouped": (lambda: images(conv(), nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6)), (2, 6, 6), 1),
    "without affine": (lambda: images(conv(), nn.BatchNorm2d(3, affine=False), nn.Tanh()), (2, 6, 6), 1),
    "frozen": (frozen, (2, 6, 6), 1),
    "linear": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, CLASSES)),
        (4,),
        1,
    ),
    "one dimension": (lambda: images(nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.Tanh()), (2, 8), 1),
    "channels elsewhere": (lambda: images(nn.Linear(6, 3), nn.BatchNorm1d(3), nn.Tanh()), (3, 6), 0),
    "transposed": (
        lambda: images(nn.ConvTranspose2d(2, 3, 3), nn.BatchNorm2d(3), nn.Tanh()),
        (2, 6, 6),
        0,
    ),
    "norm first": (lambda: images(nn.BatchNorm2d(2), nn.ReLU(), conv()), (2, 6, 6), 0),
    "no statistics": (
        lambda: images(conv(), nn.BatchNorm2d(3, track_running_stats=False), nn.Tanh()),
        (2, 6, 6),
        0,
    ),
    "statistics of the batch": (batch_statistics, (2, 6, 6), 0),
    "outputs used twice": (lambda: twice(lambda normed, y: normed.tanh() + y), (2, 6, 6), 0),
    "outputs used twice, once detached": (lambda: twice(lambda n, y: n * y.detach()), (2, 6, 6), 0),
    "outputs used for no value": (lambda: twice(lambda n, y: n + 0 * y), (2, 6, 6), 0),
    "outputs written over": (written_over, (2, 6, 6), 0),
    "shared norm": (shared_norm, (2, 6, 6), 0),
    "shared convolution": (shared_conv, (2, 6, 6), 0),
    "a module with two names": (two_names, (2, 6, 6), 0),
    "tied weights": (tied, (3, 6, 6), 0),
    "a weight that is used twice": (decayed, (2, 6, 6), 0),
    "a hook": (hooked, (2, 6, 6), 0),
    "weight norm": (
        lambda: images(nn.utils.parametrizations.weight_norm(conv()), nn.BatchNorm2d(3), nn.Tanh()),
        (2, 6, 6),
        0,
    ),
}


def at(case: str, n: int = 9):
    make, shape, _ = CASES[case]
    net, examples = make().double(), data(n, *shape)
    net.eval()(examples.x)  # lazy layers take their sizes
    return point(trained(net), examples)


@pytest.mark.parametrize("case", CASES)
def test_what_may_be_folded_is_and_nothing_else(case):
    p = at(case)
    assert len(p.objective.network.folded(p.objective.data.x).pairs) == CASES[case][2]


@pytest.mark.parametrize("case", [case for case in CASES if case != "statistics of the batch"])
def test_value_gradient_and_products_are_those_of_the_plain_module(case):
    p = at(case)
    value = loss(p)
    assert p.value == pytest.approx(value(p.theta).item(), rel=1e-13)
    true = torch.autograd.functional.jacobian(value, p.theta)
    torch.testing.assert_close(p.gradient, true, rtol=0, atol=1e-12 * true.abs().max().item())
    v = torch.randn(len(true), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    true = torch.autograd.functional.hvp(value, p.theta, v)[1]
    if case == "weight norm":  # torch's second derivatives of it are wrong, in another way each time
        return
    for found in (Hessian(p, keep=True) @ v, Hessian(p, keep=False) @ v):
        torch.testing.assert_close(found, true, rtol=0, atol=1e-12 * true.abs().max().item())
    if case == "no statistics":  # torch's nested forward derivatives of it are wrong
        return
    assert p.hessian.curvatures(v).mean().item() == pytest.approx((v @ true).item(), rel=1e-10)


@pytest.mark.parametrize("case", [case for case, (_, _, count) in CASES.items() if count])
def test_any_weights_and_any_statistics_are_taken(case):
    p = at(case)
    network, x = p.objective.network, p.objective.data.x
    network(network.parts(network.theta), x)
    rng = torch.Generator().manual_seed(1)
    theta = network.theta + torch.randn(len(network), generator=rng, dtype=torch.float64)
    parts = network.parts(theta)
    rest = {name: tensor + torch.rand(tensor.shape, generator=rng) for name, tensor in network.rest().items()}
    for other in (rest, recomputed(network, parts, [x])):
        plain = torch.func.functional_call(network.module, network.given(parts, other), (x,))
        assert not torch.allclose(plain, network.plain(parts, x))
        torch.testing.assert_close(network(parts, x, other), plain, rtol=0, atol=1e-12 * plain.abs().max())


def test_what_is_loaded_into_the_module_counts():
    p = at("resnet")
    network, x = p.objective.network, p.objective.data.x
    parts = network.parts(network.theta)
    before = network(parts, x)
    network.module.load_state_dict({"bn1.running_mean": torch.ones(4)}, strict=False)
    assert not torch.allclose(network(parts, x), before)
    torch.testing.assert_close(network(parts, x), network.plain(parts, x))


def test_neither_the_module_nor_the_random_generator_changes():
    module = trained(Pooled(1, CLASSES, (1, 1)))
    network, x = Network(module), torch.rand(2, 3, 8, 8)
    before, state = copy.deepcopy(network.module.state_dict()), torch.random.get_rng_state()
    with torch.no_grad():
        assert network.folded(x).pairs
    assert all(torch.equal(t, before[name]) for name, t in network.module.state_dict().items())
    assert not any(m._forward_hooks or m.training for m in network.module.modules())
    assert not any(p.requires_grad for p in network.module.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_first_call_inside_of_a_transformation_folds_nothing_yet():
    p = at("resnet")
    network, x = p.objective.network, p.objective.data.x
    parts = network.parts(network.theta)
    each = torch.func.vmap(lambda one: network(parts, one[None])[0])(x)
    torch.testing.assert_close(each, network(parts, x))
    assert network.folded(x).pairs
    torch.testing.assert_close(torch.func.vmap(lambda one: network(parts, one[None])[0])(x), each)


def test_filters_stay_in_channels_last_memory():
    p = at("resnet")
    network, x = p.objective.network, p.objective.data.x
    tensors = network.folded(x).tensors(network.given(network.parts(network.theta)))
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in tensors.values() if t.ndim == 4)
