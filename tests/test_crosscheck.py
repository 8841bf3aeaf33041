"""PyHessian on the same Hessian: within its own residual and error of our values."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import CLASSES, Net, cnn, data, dense, mlp, point, trained
from torch import nn

from landscape.attacks.pgd import PGD
from landscape.budget import Budget
from landscape.crosscheck import PROBES, pyhessian
from landscape.linalg.eigen import eigsh

pytest.importorskip("pyhessian")


def unused() -> nn.Module:
    layers = {"a": nn.Linear(4, 2), "b": nn.Linear(4, 5), "c": nn.Linear(5, CLASSES), "d": nn.Linear(1, 1)}
    return trained(Net(lambda m, x: m.c(torch.tanh(m.b(x))), **layers))


def frozen() -> nn.Module:
    net = mlp()
    net[0].bias.requires_grad_(False)
    return net


def tiny(logits, y):
    return 1e-7 * F.cross_entropy(logits, y, reduction="none")


# (net, shape of an example, how the objective departs from the usual)
CASES = {
    "tanh mlp": (mlp, (4,), {}),
    "batch norm cnn": (cnn, (2, 6, 6), {}),
    "unused parameters": (unused, (4,), {}),
    "frozen parameter": (frozen, (4,), {}),
    "tiny loss": (mlp, (4,), {"loss": tiny}),
    "perturbed inputs": (mlp, (4,), {"budget": Budget("0.1"), "attack": PGD(steps=3)}),
    "float64": (mlp, (4,), {"dtype": torch.float64}),
}


@pytest.mark.parametrize(("net", "shape", "told"), CASES.values(), ids=CASES)
def test_eigenvalue_and_trace_agree_within_their_errors(net, shape, told):
    at = point(net(), data(165, *shape), **{"dtype": torch.float32, **told})
    spectrum = eigsh(at.hessian, 2, "LM", 1e-4)
    found = pyhessian(at, spectrum)
    true = np.linalg.eigvalsh(dense(at))
    size = np.abs(true).max()
    rounding = 1e-5 * size
    assert np.abs(found["pyhessian_eigenvalue"] - true).min() <= found["pyhessian_residual"] + rounding
    ours = spectrum.eigenvalues[spectrum.eigenvalues.abs().argmax()].item()
    assert abs(found["pyhessian_eigenvalue"] - ours) <= found["pyhessian_residual"] + rounding
    assert found["pyhessian_residual"] <= 0.1 * size
    assert abs(found["pyhessian_trace"] - true.sum()) <= 4 * found["pyhessian_trace_stderr"] + rounding
    assert found["pyhessian_trace_stderr"] > 0
    assert found["pyhessian_probes"] == PROBES
    assert found["pyhessian_version"]


def test_nothing_is_touched():
    at = point(cnn(), data(165, 2, 6, 6), dtype=torch.float32)
    spectrum = eigsh(at.hessian, 1)
    module = at.objective.network.module
    parameters = [(p.requires_grad, p.grad) for p in module.parameters()]
    before, random = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    theta = at.theta.clone()
    first = pyhessian(at, spectrum)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(at.theta, theta)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert [(p.requires_grad, p.grad) for p in module.parameters()] == parameters
    assert not module.training
    assert pyhessian(at, spectrum) == first
    assert pyhessian(at, spectrum, seed=1) != first


def test_another_point_of_the_landscape_is_checked_there():
    at = point(mlp(), data(37, 4), dtype=torch.float32)
    moved = at + torch.ones_like(at.theta)
    found = pyhessian(moved, eigsh(moved.hessian, 1))
    assert abs(found["pyhessian_trace"] - dense(moved).trace()) <= 4 * found["pyhessian_trace_stderr"]
