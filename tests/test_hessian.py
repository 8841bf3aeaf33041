"""Gradient and Hessian products of a point against autograd's dense matrices and closed forms."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import CLASSES, Net, cnn, data, dense, frozen, loss, mlp, point, squared_error, tied, trained
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from landscape.attacks.linear import Linear
from landscape.attacks.pgd import PGD
from landscape.budget import Budget
from landscape.data import Data
from landscape.errors import NumericalError
from landscape.hessian import Hessian
from landscape.linalg.eigen import eigsh
from landscape.network import Network
from landscape.objective import Objective
from landscape.registry import make


def dropping() -> nn.Module:
    layers = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, CLASSES)
    return trained(nn.Sequential(*layers)).train()


def smooth(*layers: nn.Module) -> nn.Module:
    return trained(nn.Sequential(nn.Linear(4, 4), *layers, nn.GELU(), nn.Linear(4, CLASSES)))


def images(norm: nn.Module) -> nn.Module:
    layers = nn.Conv2d(2, 2, 3), norm, nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, CLASSES)
    return trained(nn.Sequential(*layers))


# (net, shape of an example, number of examples); chunks are of 128, so that the last is unequal
CASES = {
    "tanh mlp": (mlp, (4,), 165),
    "tanh mlp, 700 examples": (mlp, (4,), 700),
    "batch norm cnn": (cnn, (2, 6, 6), 165),
    "tied weights": (tied, (4,), 37),
    "unused layer": (
        lambda: trained(Net(lambda m, x: m.b(x), a=nn.Linear(4, 2), b=nn.Linear(4, 3))),
        (4,),
        37,
    ),
    "frozen weight": (frozen, (4,), 37),
    "dropout and batch norm in training mode": (dropping, (4,), 165),
    "linear in the parameters": (lambda: trained(nn.Linear(4, CLASSES)), (4,), 37),
    "layer norm": (lambda: smooth(nn.LayerNorm(4)), (4,), 37),
    "gated linear unit": (lambda: smooth(nn.Linear(4, 8), nn.GLU()), (4,), 37),
    "instance norm": (lambda: images(nn.InstanceNorm2d(2, affine=True)), (2, 6, 6), 37),
    "group norm": (lambda: images(nn.GroupNorm(2, 2)), (2, 6, 6), 37),
}
cases = pytest.mark.parametrize(("net", "shape", "n"), CASES.values(), ids=CASES)


def close(found, true, rtol: float = 1e-10) -> None:
    torch.testing.assert_close(found, true, rtol=0, atol=rtol * true.abs().max().item())


@cases
def test_products_are_those_of_the_dense_hessian(net, shape, n):
    at = point(net(), data(n, *shape))
    true = dense(at)
    eye = torch.eye(len(true), dtype=true.dtype)
    for keep in (True, False):
        H = Hessian(at, keep)
        assert H.shape == true.shape
        close(H @ eye, true)
        close(torch.stack([H @ v for v in eye[:5]]), true[:5])
        assert H.products == len(eye) + 5


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("told", [{"loss": squared_error}, {"budget": Budget("0.1"), "attack": PGD(steps=3)}])
def test_products_are_right_for_any_loss_and_budget(told, keep):
    at = point(mlp(), data(165, 4), **told)
    close(Hessian(at, keep) @ torch.eye(len(at.theta), dtype=at.theta.dtype), dense(at))


@cases
def test_the_gradient_is_that_of_autograd(net, shape, n):
    at = point(net(), data(n, *shape))
    close(at.gradient, torch.autograd.functional.jacobian(loss(at), at.theta), 1e-12)
    assert at.value == pytest.approx(loss(at)(at.theta).item(), rel=1e-13)


@pytest.mark.parametrize("keep", [True, False])
def test_the_operator_is_symmetric_and_linear(keep):
    at = point(cnn(), data(165, 2, 6, 6))
    H = Hessian(at, keep)
    rng = torch.Generator().manual_seed(0)
    u, v = torch.randn(2, len(at.theta), generator=rng, dtype=torch.float64)
    assert (u @ (H @ v)).item() == pytest.approx((v @ (H @ u)).item(), rel=1e-11)
    close(H @ (2 * u - 3 * v), 2 * (H @ u) - 3 * (H @ v), 1e-12)
    close(H @ torch.stack([u, v], dim=1), torch.stack([H @ u, H @ v], dim=1), 1e-12)
    assert not (H @ torch.zeros_like(u)).any()


@pytest.mark.parametrize("which", ["LA", "LM", "SA"])
@pytest.mark.parametrize("case", ["tanh mlp", "batch norm cnn", "tied weights"])
def test_the_top_ten_eigenvalues_are_those_of_the_dense_hessian(case, which):
    net, shape, n = CASES[case]
    at = point(net(), data(n, *shape))
    values = np.linalg.eigvalsh(dense(at))
    order = np.argsort({"LA": -values, "SA": values, "LM": -np.abs(values)}[which])[:10]
    found = eigsh(at.hessian, 10, which, 1e-7)
    assert found.converged
    np.testing.assert_allclose(
        found.eigenvalues, np.sort(values[order])[::-1], atol=1e-6 * np.abs(values).max()
    )
    assert found.products == at.hessian.products


def test_a_second_derivative_that_torch_has_wrong_is_refused():
    """Those of torch's weight norm are 8 % off; finite differences of the gradient tell."""
    at = point(
        trained(nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.Tanh())), data(37, 4)
    )
    true = dense(at)
    if (true - true.T).abs().max() > 1e-3 * true.abs().max():
        with pytest.raises(NumericalError, match="not symmetric"):
            eigsh(at.hessian, 2)


@pytest.mark.parametrize("keep", [True, False])
def test_nothing_depends_on_the_batch_size_or_on_the_order_of_the_examples(keep):
    examples = data(165, 2, 6, 6)
    order = torch.randperm(165, generator=torch.Generator().manual_seed(0))
    first = point(cnn(), examples)
    v = torch.randn(len(first.theta), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    true = Hessian(first, keep) @ v
    for told in [(examples, b) for b in (1, 7, 32, 128, 500)] + [(examples[order], 128)]:
        at = point(cnn(), told[0], batch_size=told[1])
        close(Hessian(at, keep) @ v, true, 1e-12)
        close(at.gradient, first.gradient, 1e-12)


def test_nothing_but_the_scale_depends_on_the_scale_of_the_loss():
    plain = point(mlp(), data(165, 4))
    tiny = point(mlp(), data(165, 4), loss=lambda z, y: 1e-7 * F.cross_entropy(z, y, reduction="none"))
    ours, theirs = eigsh(tiny.hessian, 5), eigsh(plain.hessian, 5)
    assert ours.products == theirs.products
    torch.testing.assert_close(1e7 * ours.eigenvalues, theirs.eigenvalues, rtol=1e-6, atol=0)


@pytest.mark.parametrize("eps", ["0", "0.1"])
def test_logistic_regression_has_its_closed_form(eps):
    examples = data(165, 4, classes=2)
    net = trained(nn.Linear(4, 2)).double()
    at = point(net, examples, budget=Budget(eps), attack=Linear())
    w, b = (net.weight[1] - net.weight[0]).detach(), (net.bias[1] - net.bias[0]).detach()
    sign = 2.0 * examples.y.double() - 1
    x = (examples.x - float(eps) * sign[:, None] * w.sign()).clamp(0, 1)
    margin = sign * (x @ w + b)
    one = torch.ones(len(x), 1, dtype=x.dtype)
    g = sign[:, None] * torch.cat([-x, x, -one, one], dim=1)  # d margin / dθ
    assert at.value == pytest.approx(F.softplus(-margin).mean().item(), rel=1e-12)
    close(at.gradient, (-torch.sigmoid(-margin)[:, None] * g).mean(dim=0), 1e-11)
    curvature = torch.sigmoid(margin) * torch.sigmoid(-margin)
    close(at.hessian @ torch.eye(10, dtype=x.dtype), (g.T * curvature) @ g / len(x), 1e-11)


def test_a_product_costs_two_gradients_with_the_graph_kept_and_eight_thirds_without():
    examples = Data.of(torch.rand(128, 1, 28, 28), torch.arange(128) % 10)
    objective = Objective(Network(make("model", "lenet5")), examples)

    def flops(work) -> int:
        with FlopCounterMode(display=False) as counter:
            work()
        return counter.get_total_flops()

    at = objective.at()
    v = torch.randn_like(at.theta)
    kept, fresh = Hessian(at, keep=True), Hessian(at, keep=False)
    first = kept @ v
    torch.testing.assert_close(fresh @ v, first, rtol=1e-3, atol=1e-5 * first.abs().max().item())
    gradient = flops(lambda: at.gradient)
    assert flops(lambda: kept @ v) <= 2.05 * gradient
    assert flops(lambda: fresh @ v) <= 2.70 * gradient
    # Two columns share the graph of the gradient.
    assert flops(lambda: fresh @ torch.stack([v, v], dim=1)) <= 2 * 2.70 * gradient


def test_tensors_of_float32_are_right_to_their_precision():
    fine, coarse = (point(cnn(), data(165, 2, 6, 6), dtype=d) for d in (torch.float64, torch.float32))
    eye = torch.eye(len(fine.theta))
    for keep in (True, False):
        close((Hessian(coarse, keep) @ eye).double(), fine.hessian @ eye, 1e-5)


@pytest.mark.parametrize("keep", [True, False])
def test_the_models_state_is_bit_for_bit_as_before(keep):
    ours = dropping()
    ours[0].weight.requires_grad_(False)
    ours[4].bias.grad = torch.ones(CLASSES)
    objective = Objective(Network(ours), data(37, 4))

    def state() -> list:
        found = []
        for module in (ours, objective.network.module):
            found += [m.training for m in module.modules()]
            found += [p.requires_grad for p in module.parameters()]
            found += [p.grad is None for p in module.parameters()]
        return found

    def tensors() -> list:
        return [t for m in (ours, objective.network.module) for t in m.state_dict().values()]

    before, values = state(), copy.deepcopy(tensors())
    at = objective.at()
    H = Hessian(at, keep)
    assert (H @ at.gradient).isfinite().all()
    eigsh(H, 2)
    assert state() == before
    assert all(torch.equal(a, b) for a, b in zip(tensors(), values, strict=True))
    assert torch.equal(ours[4].bias.grad, torch.ones(CLASSES))
    assert ours.training
