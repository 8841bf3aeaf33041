"""Normalisation is part of the model: budgets stay in pixels."""

import copy

import pytest
import torch
from torch import nn

from landscape import Budget, Data, Network, Objective
from landscape.errors import InputError
from landscape.normalization import KNOWN, Normalization, of_module

torch.set_num_threads(1)
IMAGES = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 4


def flat():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 4))


@pytest.mark.parametrize(
    "spec", [*(name for name in KNOWN if "mnist" not in name), "0.5/0.25", "0.1,0.2,0.3/1,2,3"]
)
def test_a_normalised_model_is_the_model_at_normalised_inputs(spec):
    module, plain = flat(), flat()
    found = Normalization.of(spec)
    found.into(module)
    mean, std = (torch.tensor(part).view(-1, 1, 1) for part in (found.mean, found.std))
    expected = plain((IMAGES - mean) / std)
    assert torch.allclose(module(IMAGES), expected, atol=1e-6)
    assert torch.allclose(copy.deepcopy(module)(IMAGES), expected, atol=1e-6)
    assert [*module.state_dict()] == [*plain.state_dict()]
    assert (of_module(module), of_module(plain)) == (found, None)
    assert Normalization.of(str(found)) == found


def test_the_budget_is_in_pixels_of_the_inputs_before_the_normalisation():
    module = flat()
    Normalization.of("0.5/0.25").into(module)
    point = Objective(Network(module, dtype=torch.float64), Data.of(IMAGES, LABELS), Budget("0.1")).at()
    assert point.perturbation.abs().max() == pytest.approx(0.1)
    assert 0 <= point.perturbed.x.min() <= point.perturbed.x.max() <= 1


def test_second_derivatives_go_through_it():
    module = flat()
    Normalization.of("0.5/0.25").into(module)
    point = Objective(Network(module, dtype=torch.float64), Data.of(IMAGES, LABELS)).at()
    v = torch.randn(len(point.theta), dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def loss(theta):
        weight, bias = theta.split([192, 4])
        logits = ((IMAGES.double() - 0.5) / 0.25).flatten(1) @ weight.view(4, 48).T + bias
        return nn.functional.cross_entropy(logits, LABELS)

    expected = torch.autograd.functional.hvp(loss, point.theta, v)[1]
    assert torch.allclose(point.hessian @ v, expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("cifar", "normalisation 'cifar' is not known; give cifar10"),
        ("0.5", "'0.5' is not known"),
        ("0.5/a", "'0.5/a' is not known"),
        ("0.5,0.5/0.5", "2 means and 1 standard deviations"),
        ("0.5/0", "must be above 0"),
        ("nan/1", "means"),
    ],
)
def test_what_is_no_normalisation_is_named(spec, named):
    with pytest.raises(InputError, match=named):
        Normalization.of(spec)


def test_another_number_of_channels_is_named():
    module = flat()
    Normalization.of("0.1,0.2/1,2").into(module)
    with pytest.raises(InputError, match="the normalisation has 2 channels, the inputs 3"):
        module(IMAGES)
