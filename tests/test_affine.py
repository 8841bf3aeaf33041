"""The exact diagonal against the dense Hessian: equal to it, or refused, and never anything else."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from nets import CLASSES, Net, cnn, data, dense, mlp, point, squared_error, trained
from torch import nn

from landscape.affine import NotPiecewiseAffine, diagonal
from landscape.attacks.pgd import PGD
from landscape.budget import Budget
from landscape.errors import NumericalError


def seq(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


def frozen(net: nn.Module, *names: str) -> nn.Module:
    for name in names:
        net.get_parameter(name).requires_grad_(False)
    return net


def head(features: int) -> nn.Module:
    return nn.Linear(features, CLASSES)


def p(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape))


def conv(inputs: int = 2, outputs: int = 2, kernel: int = 3, **told) -> nn.Module:
    return nn.Conv2d(inputs, outputs, kernel, **told)


def residual(m: Net, x: torch.Tensor) -> torch.Tensor:
    out = m.bn(m.c2(F.relu(m.bn1(m.c1(x)))))
    out += m.short(x)
    return m.fc(F.avg_pool2d(F.relu(out), 3).flatten(1))


flat = nn.Flatten()
IMAGE, FLAT, SERIES = (2, 6, 6), (4,), (2, 9)
# (net, shape of an example)
EXACT = {
    "linear": (lambda: head(4), FLAT),
    "relu mlp": (lambda: mlp(nn.ReLU), FLAT),
    "batch norm cnn": (cnn, IMAGE),
    "residual block, in-place add, stride": (
        lambda: Net(
            residual,
            c1=conv(2, 2, 3, stride=2, padding=1, bias=False),
            bn1=nn.BatchNorm2d(2),
            c2=conv(2, 2, 3, padding=1, bias=False),
            bn=nn.BatchNorm2d(2),
            short=conv(2, 2, 1, stride=2),
            fc=head(2),
        ),
        IMAGE,
    ),
    "dilation, groups": (
        lambda: seq(conv(2, 4, 2, dilation=2, groups=2), conv(4, 2, 2, groups=2), flat, head(18)),
        IMAGE,
    ),
    "stride, unequal padding": (
        lambda: seq(conv(2, 2, (3, 2), stride=(2, 1), padding=(0, 1)), nn.ReLU(), flat, head(28)),
        IMAGE,
    ),
    "same padding, padded on one side": (
        lambda: seq(nn.ZeroPad2d((0, 1, 1, 0)), conv(2, 1, padding="same"), nn.ReLU(), flat, head(49)),
        IMAGE,
    ),
    "reflected padding": (
        lambda: seq(conv(2, 1, 3, stride=2, padding=1, padding_mode="reflect"), flat, head(9)),
        IMAGE,
    ),
    "leaky relu, average pool": (
        lambda: seq(conv(), nn.LeakyReLU(0.2), nn.AvgPool2d(2), flat, head(8)),
        IMAGE,
    ),
    "relu6, adaptive average pool": (
        lambda: seq(conv(), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), flat, head(2)),
        IMAGE,
    ),
    "hard tanh, adaptive max pool": (
        lambda: seq(conv(), nn.Hardtanh(), nn.AdaptiveMaxPool2d(2), flat, head(8)),
        IMAGE,
    ),
    "in-place relu": (lambda: seq(conv(), nn.ReLU(inplace=True), nn.MaxPool2d(2), flat, head(8)), IMAGE),
    "conv1d": (
        lambda: seq(nn.Conv1d(2, 2, 3, stride=2, padding=1), nn.BatchNorm1d(2), nn.ReLU(), flat, head(10)),
        SERIES,
    ),
    "batch norm of features": (lambda: seq(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), head(5)), FLAT),
    "batch norm, no parameters": (
        lambda: seq(nn.Linear(4, 5), nn.BatchNorm1d(5, affine=False), nn.ReLU(), head(5)),
        FLAT,
    ),
    "no bias": (lambda: seq(nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False)), FLAT),
    "frozen weight": (lambda: frozen(mlp(nn.ReLU), "0.weight", "2.bias"), FLAT),
    "frozen batch norm": (lambda: frozen(cnn(), "1.weight", "0.bias"), IMAGE),
    "frozen convolution": (lambda: frozen(cnn(), "0.weight", "0.bias", "1.bias"), IMAGE),
    "unused layer": (lambda: Net(lambda m, x: m.a(x), a=head(4), b=head(4)), FLAT),
    "dropout": (lambda: seq(nn.Linear(4, 5), nn.ReLU(), nn.Dropout(0.5), head(5)).train(), FLAT),
    "train mode": (lambda: seq(conv(), nn.BatchNorm2d(2), nn.ReLU(), flat, head(32)).train(), IMAGE),
    "weight as (inputs, outputs)": (
        lambda: Net(lambda m, x: F.relu(x @ m.w) @ m.v, w=p(4, 4), v=p(4, 3)),
        FLAT,
    ),
    "addmm": (lambda: Net(lambda m, x: torch.addmm(m.b, x, m.w), w=p(4, 3), b=p(3)), FLAT),
    "maximum of two layers": (
        lambda: Net(
            lambda m, x: m.c(torch.maximum(m.a(x), m.b(x))), a=nn.Linear(4, 4), b=nn.Linear(4, 4), c=head(4)
        ),
        FLAT,
    ),
    "constant gate": (lambda: Net(lambda m, x: m.b(m.a(x) * x), a=nn.Linear(4, 4), b=head(4)), FLAT),
    "shifted logits": (lambda: Net(lambda m, x: m.a(x) - m.a.bias.detach().mean(), a=head(4)), FLAT),
    "first position": (lambda: Net(lambda m, x: m.b(m.a(x)[:, :, 0, 0]), a=conv(), b=head(2)), IMAGE),
    "concatenation, split, absolute value": (
        lambda: Net(
            lambda m, x: m.b(torch.cat([m.a(x).abs(), *m.c(x).split(2, dim=1)], dim=1)),
            a=nn.Linear(4, 2),
            c=nn.Linear(4, 4),
            b=head(6),
        ),
        FLAT,
    ),
    "largest entry, stack, mean": (
        lambda: Net(
            lambda m, x: m.b(torch.stack([m.a(x).amax(1), m.c(x).mean(1)], dim=1)),
            a=nn.Linear(4, 3),
            c=nn.Linear(4, 3),
            b=head(2),
        ),
        FLAT,
    ),
}


def agree(at, rtol: float) -> None:
    found, true = diagonal(at), dense(at).diagonal()
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, true, rtol=0, atol=rtol * true.abs().max().item())
    parts = at.objective.network.parts(found), at.objective.network.parts(true)
    for ours, theirs in zip(*parts, strict=True):
        assert ours.sum().item() == pytest.approx(
            theirs.sum().item(), rel=rtol, abs=rtol * true.abs().max().item()
        )


@pytest.mark.parametrize(("net", "shape"), EXACT.values(), ids=EXACT)
def test_the_diagonal_is_that_of_the_dense_hessian(net, shape):
    agree(point(trained(net()), data(37, *shape)), 1e-12)


@pytest.mark.parametrize("n", [1, 2, 33, 150])
def test_the_diagonal_is_exact_for_any_number_of_examples(n):
    agree(point(cnn(), data(n, *IMAGE)), 1e-12)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_diagonal_is_exact_at_perturbed_inputs(norm):
    at = point(cnn(), data(37, *IMAGE), budget=Budget("0.1", norm), attack=PGD(steps=3))
    assert at.perturbation.abs().max() > 0.01
    agree(at, 1e-12)


def concave(logits, y):
    return squared_error(logits, y).neg() + F.cross_entropy(logits, y, reduction="none")


def squared_margin(logits, y):
    right = (logits * F.one_hot(y, CLASSES)).sum(dim=1, keepdim=True)
    return (1 + logits - right).clamp_min(0).square().sum(dim=1)


def margin(logits, y):
    right = (logits * F.one_hot(y, CLASSES)).sum(dim=1, keepdim=True)
    return (1 + logits - right).clamp_min(0).sum(dim=1)


@pytest.mark.parametrize("loss", [squared_error, concave, squared_margin, margin])
def test_the_diagonal_is_exact_for_any_loss_of_the_logits(loss):
    agree(point(cnn(), data(37, *IMAGE), loss=loss), 1e-12)


@pytest.mark.parametrize("loss", [squared_error, squared_margin])
def test_the_diagonal_in_float32_is_right_to_its_precision(loss):
    agree(point(cnn(), data(37, *IMAGE), loss=loss, dtype=torch.float32), 1e-5)


def test_the_diagonal_does_not_depend_on_the_batch_size():
    found = [diagonal(point(cnn(), data(37, *IMAGE), batch_size=b)) for b in (1, 5, 32, 128)]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-13, atol=1e-14)


def test_the_diagonal_is_zero_where_the_loss_is_flat():
    def saturated(logits, y):
        return F.cross_entropy(1e6 * (logits + 10 * F.one_hot(y, CLASSES)), y, reduction="none")

    assert not diagonal(point(cnn(), data(5, *IMAGE), loss=saturated)).any()


def test_nan_is_an_error():
    net = cnn()
    net[1].running_var[0] = -1
    with pytest.raises(NumericalError):
        diagonal(point(net, data(5, *IMAGE)))


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


Relu = type("Relu", (Square,), {})
ReluBackward0 = type("ReluBackward0", (Square,), {})


def two(forward, **more) -> nn.Module:
    """Two layers of the width 4 and a head, put together by a function."""
    return Net(forward, a=nn.Linear(4, 4), b=nn.Linear(4, 4), c=head(4), **more)


def through(function):
    return lambda: two(lambda m, x: m.c(function(m.a(x))))


def assign(m, x):
    h = m.a(x).clone()
    h[:, 1] = h[:, 0] * h[:, 2]
    return m.c(h)


def shared(m, x):
    return m.c(m.a(F.relu(m.a(x))))


def tied() -> nn.Module:
    net = two(lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x))))))
    net.b.weight = net.a.weight
    return net


WIDE = (32,)
REFUSED = {
    "tanh": (through(torch.tanh), FLAT),
    "gelu": (through(F.gelu), FLAT),
    "silu": (through(F.silu), FLAT),
    "elu": (through(F.elu), FLAT),
    "softplus": (through(F.softplus), FLAT),
    "sigmoid": (through(torch.sigmoid), FLAT),
    "exponential": (through(torch.exp), FLAT),
    "square": (through(lambda h: h**2), FLAT),
    "product with itself": (through(lambda h: h * h), FLAT),
    "root": (through(lambda h: (h.abs() + 1).sqrt()), FLAT),
    "division by an activation": (through(lambda h: 1 / (3 + h.abs())), FLAT),
    "division of activations": (lambda: two(lambda m, x: m.c(m.a(x) / (3 + m.b(x).abs()))), FLAT),
    "norm": (through(lambda h: h / h.norm(dim=1, keepdim=True)), FLAT),
    "cumulative product": (through(lambda h: h.cumprod(1)), FLAT),
    "log softmax": (lambda: seq(head(4), nn.LogSoftmax(1)), FLAT),
    "softmax": (lambda: seq(head(4), nn.Softmax(1)), FLAT),
    "layer norm": (lambda: seq(nn.Linear(4, 4), nn.LayerNorm(4), head(4)), FLAT),
    "group norm": (lambda: seq(conv(), nn.GroupNorm(1, 2), flat, head(32)), IMAGE),
    "instance norm": (lambda: seq(conv(), nn.InstanceNorm2d(2), flat, head(32)), IMAGE),
    "batch norm of the batch": (
        lambda: seq(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False), head(4)),
        FLAT,
    ),
    "weight norm": (lambda: seq(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), head(4)), FLAT),
    "orthogonal": (lambda: seq(nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)), head(4)), FLAT),
    "weight used in a series": (lambda: two(shared), FLAT),
    "weight used in parallel": (lambda: two(lambda m, x: m.c(m.a(x)) - m.c(m.b(x))), FLAT),
    "tied weights": (tied, FLAT),
    "weight used in two kinds of layer": (
        lambda: two(lambda m, x: m.c(F.relu(x @ m.b.weight) + F.linear(x, m.b.weight))),
        FLAT,
    ),
    "bias used twice": (lambda: two(lambda m, x: m.c(F.linear(m.a(x), m.b.weight, m.a.bias))), FLAT),
    "masked weight": (lambda: two(lambda m, x: m.c(F.linear(x, m.a.weight * torch.eye(4)))), FLAT),
    "scaled weight": (lambda: two(lambda m, x: m.c(F.linear(x, 2 * m.a.weight))), FLAT),
    "squared weight": (lambda: two(lambda m, x: m.c(F.linear(x, m.a.weight**2))), FLAT),
    "part of a weight": (lambda: two(lambda m, x: F.linear(F.relu(m.a(x)), m.b.weight[:3])), FLAT),
    "weight from a layer": (lambda: two(lambda m, x: F.linear(m.a(x), m.b(m.c.weight))), FLAT),
    "scaled addmm": (lambda: Net(lambda m, x: torch.addmm(m.b, x, m.w, alpha=2), w=p(4, 3), b=p(3)), FLAT),
    "broadcast bias": (lambda: Net(lambda m, x: torch.addmm(m.b, x, m.w), w=p(4, 3), b=p(1)), FLAT),
    "bias of each row": (lambda: Net(lambda m, x: torch.addmm(m.b, x, m.w), w=p(32, 3), b=p(32, 1)), WIDE),
    "gate": (lambda: two(lambda m, x: m.c(m.a(x) * m.b(x))), FLAT),
    "sigmoid gate": (lambda: two(lambda m, x: m.c(m.a(x) * torch.sigmoid(m.b(x)))), FLAT),
    "bilinear": (lambda: seq(nn.Linear(4, 4), Net(lambda m, x: m.a(x, x), a=nn.Bilinear(4, 4, 3))), FLAT),
    "attention": (
        lambda: Net(
            lambda m, x: m.fc(m.a(*[x.view(-1, 2, 2)] * 3)[0].flatten(1)),
            a=nn.MultiheadAttention(2, 1, batch_first=True),
            fc=head(4),
        ),
        FLAT,
    ),
    "recurrence": (
        lambda: Net(lambda m, x: m.fc(m.a(x[:, None])[0][:, 0]), a=nn.GRU(4, 2), fc=head(2)),
        FLAT,
    ),
    "prelu": (lambda: seq(nn.Linear(4, 4), nn.PReLU(), head(4)), FLAT),
    "own function": (through(Square.apply), FLAT),
    "own function named Relu": (through(Relu.apply), FLAT),
    "own function named ReluBackward0": (through(ReluBackward0.apply), FLAT),
    "added parameter": (lambda: two(lambda m, x: m.c(F.relu(m.a(x) + m.e)), e=p(4)), FLAT),
    "scale parameter": (lambda: two(lambda m, x: m.c(m.a(x) * m.e), e=p(4)), FLAT),
    "matrix from the left": (lambda: Net(lambda m, x: (m.w @ x.T).T, w=p(3, 4)), FLAT),
    "transposed convolution": (lambda: seq(nn.ConvTranspose2d(2, 1, 2), flat, head(49)), IMAGE),
    "3D convolution": (
        lambda: Net(lambda m, x: m.fc(m.a(x[:, None]).flatten(1)), a=nn.Conv3d(1, 1, (1, 4, 4)), fc=head(18)),
        IMAGE,
    ),
    "several positions": (lambda: seq(nn.Linear(6, 2), flat, head(24)), IMAGE),
    "writing into a slice": (lambda: two(assign), FLAT),
    "mean over the batch": (lambda: two(lambda m, x: m.c(m.a(x) - m.a(x).detach() + m.b(x).mean(0))), FLAT),
    "batch mean of the inputs": (lambda: two(lambda m, x: m.c(F.relu(m.a(x - x.mean(0))))), FLAT),
    "next but one example": (lambda: two(lambda m, x: m.c(F.relu(m.a(x)).roll(2, 0))), FLAT),
    "last example first": (lambda: two(lambda m, x: m.c(F.relu(m.a(x)).flip(0))), FLAT),
    "mixing in centred logits": (
        lambda: two(lambda m, x: (h := m.c(m.a(x).roll(2, 0))) - h.mean(1, keepdim=True)),
        FLAT,
    ),
    "transposed batch of the width of a chunk": (
        lambda: Net(
            lambda m, x: m.c(m.a(x).T @ m.b(x)), a=nn.Linear(32, 32), b=nn.Linear(32, 32), c=head(32)
        ),
        WIDE,
    ),
    "features for examples": (
        lambda: Net(
            lambda m, x: m.c(F.relu(m.b(m.a(x).T)).T), a=nn.Linear(32, 32), b=nn.Linear(32, 32), c=head(32)
        ),
        WIDE,
    ),
}


@pytest.mark.parametrize(("net", "shape"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("n", [32, 37])
def test_what_is_not_known_to_be_affine_is_refused(net, shape, n):
    n = 32 if shape == WIDE else n  # those nets take no other batch
    with pytest.raises(NotPiecewiseAffine):
        diagonal(point(trained(net()), data(n, *shape)))


def test_neither_the_net_nor_its_gradients_are_touched():
    at = point(cnn(), data(37, *IMAGE))
    before = copy.deepcopy(at.objective.network.module.state_dict())
    diagonal(at)
    after = at.objective.network.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in at.objective.network.module.parameters())
