"""Sampling errors: what other examples from the same source would change."""

import math

import pytest
import torch

from landscape import Budget, Data, Network, Objective, eigsh, registry
from landscape.affine import diagonal, exact_trace
from landscape.errors import NumericalError
from landscape.objective import Point


def source(n: int, seed: int, size: int = 4) -> Data:
    """n examples from one fixed distribution."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (n,), generator=rng)
    noise = torch.rand(n, 1, size, size, generator=rng, dtype=torch.float64)
    return Data.of(0.2 * noise + 0.25 * y.view(-1, 1, 1, 1), y)


def at(data: Data, activation: str = "relu", eps: str = "0") -> Point:
    torch.manual_seed(0)
    module = registry.make("model", f"mlp:inputs=16,hidden=6,layers=1,classes=3,activation={activation}")
    return Objective(Network(module, dtype=torch.float64), data, Budget(eps)).at()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_mean_curvature_of_the_examples_is_that_of_the_hessian(activation):
    point = at(source(150, 0), activation, "0.05")
    v = torch.randn(len(point.theta), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    each = point.hessian.curvatures(v)
    assert each.shape == (150,)
    assert each.mean().item() == pytest.approx((v @ (point.hessian @ v)).item(), rel=1e-10)


def test_the_curvature_of_an_example_is_its_own_second_derivative():
    point = at(source(5, 0), "tanh")
    v = torch.randn(len(point.theta), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    h = 1e-4
    second = ((point + h * v).losses - 2 * point.losses + (point + -h * v).losses) / h**2
    torch.testing.assert_close(point.hessian.curvatures(v), second, rtol=1e-5, atol=1e-6)


class NoForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def test_a_model_without_forward_derivatives_is_told_from_one_with():
    module = registry.make("model", "mlp:inputs=16,hidden=6,layers=1,classes=3")
    module[2].register_forward_hook(lambda _, __, out: NoForward.apply(out))
    point = Objective(Network(module, dtype=torch.float64), source(5, 0)).at()
    with pytest.raises(NumericalError, match="forward derivative"):
        point.hessian.curvatures(point.theta)


def test_the_exact_trace_is_the_sum_of_the_diagonal():
    point = at(source(100, 0), eps="0.05")
    assert exact_trace(point)[0] == pytest.approx(diagonal(point).sum().item(), rel=1e-13)


def test_a_single_example_has_no_sampling_error():
    assert math.isnan(exact_trace(at(source(1, 0)))[1])


def test_the_sampling_error_of_the_trace_is_that_of_the_examples_own_traces():
    """In whatever order they come: data are often sorted by class."""
    data = source(70, 0)
    own = torch.stack([diagonal(at(data[torch.tensor([i])], eps="0.05")).sum() for i in range(70)])
    for order in (torch.arange(70), data.y.argsort()):
        value, error = exact_trace(at(data[order], eps="0.05"))
        assert value == pytest.approx(own.mean().item(), rel=1e-12)
        assert error == pytest.approx(own.std().item() / math.sqrt(70), rel=1e-10)


def test_sampling_errors_are_the_spread_between_samples():
    """z-scores of 40 samples against a sample of 20,000: their rms is 1 up to its own error."""
    truth = at(source(20_000, 99))
    top = eigsh(truth.hessian, 1).eigenvalues.item()
    trace = exact_trace(truth)[0]
    zs = []
    for seed in range(40):
        point = at(source(320, seed))
        found = eigsh(point.hessian, 1)
        stderr = point.hessian.curvatures(found.vectors[:, 0]).std().item() / math.sqrt(320)
        value, spread = exact_trace(point)
        zs.append(((found.eigenvalues.item() - top) / stderr, (value - trace) / spread))
    for z in zip(*zs, strict=True):
        assert 0.75 < math.sqrt(sum(each**2 for each in z) / len(z)) < 1.3
