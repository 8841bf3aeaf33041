"""Attacks stay in the budget, find the maximum where it is known, and touch nothing."""

import pytest
import torch
from torch import nn

from landscape import Budget, Data, Linear, Network, Objective, registry
from landscape.attacks.base import ascent
from landscape.errors import InputError

NORMS = {"linf": "0.2", "l2": "0.7"}
ATTACKS = ["pgd:steps=5", "pgd:steps=3,restarts=2", "fgsm", "liu2020", "liu2020:step=0.05,steps=4"]


def images(n: int = 12, classes: int = 3) -> Data:
    rng = torch.Generator().manual_seed(1)
    x = torch.rand(n, 1, 6, 6, generator=rng, dtype=torch.float64)
    x[:, :, 0] = x[:, :, 0].round()  # black and white pixels: the box is active
    return Data.of(x, torch.arange(n) % classes)


def convolutional(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(64, classes)
    )


def objective(
    module: nn.Module, attack: str, norm: str = "linf", data: Data | None = None, **options
) -> Objective:
    network = Network(module, dtype=torch.float64)
    return Objective(
        network, data or images(), Budget(NORMS[norm], norm), registry.make("attack", attack), **options
    )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_never_leaves_ball_or_box(attack, norm):
    point = objective(convolutional(), attack, norm).at()
    x, delta = point.perturbed.x, point.perturbation.flatten(1)
    length = delta.abs().amax(dim=1) if norm == "linf" else delta.norm(dim=1)
    assert x.min() >= 0
    assert x.max() <= 1
    assert (length <= float(Budget(NORMS[norm]).eps)).all()
    assert (length > 0).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_the_loss_under_pgd_is_never_below_the_clean_one(norm, steps):
    attacked = objective(convolutional(), f"pgd:steps={steps}", norm)
    assert (attacked.at().losses >= attacked.under(Budget(0)).at().losses).all()


def test_the_loss_rises_with_steps_and_never_falls_with_restarts():
    values = [objective(convolutional(), f"pgd:steps={steps}").at().value for steps in (1, 3, 10, 40)]
    assert values == sorted(values)
    once, thrice = (objective(convolutional(), f"pgd:steps=3,restarts={r}").at().losses for r in (1, 3))
    assert (thrice >= once).all()


@pytest.mark.parametrize("attack", ATTACKS)
def test_eps_0_is_the_clean_loss_bit_for_bit(attack):
    attacked = objective(convolutional(), attack)
    assert torch.equal(
        attacked.under(Budget(0)).at().losses, Objective(attacked.network, attacked.data).at().losses
    )
    assert attacked.under(Budget(0)).at().perturbed is attacked.data


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_an_attack_finds_depends_on_the_example_alone(attack):
    data = images()
    together = objective(convolutional(), attack, data=data).at().perturbed.x
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(2))
    shuffled = objective(convolutional(), attack, data=data[order], batch_size=5).at().perturbed.x
    torch.testing.assert_close(shuffled, together[order], rtol=0, atol=1e-12)


def test_an_attack_touches_neither_the_model_nor_any_random_state():
    module = convolutional().train()
    module[0].weight.grad = torch.ones_like(module[0].weight)
    module[5].bias.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = torch.get_rng_state()
    point = objective(module, "pgd:steps=3").at()
    assert point.gradient.shape == point.theta.shape
    assert point.inner_gap[0] >= 0
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert all(part.training for part in module.modules())
    assert torch.equal(module[0].weight.grad, torch.ones_like(module[0].weight))
    assert [p.requires_grad for p in module.parameters()] == [True] * 5 + [False]
    assert torch.equal(state, torch.get_rng_state())


def test_no_gradient_of_a_parameter_is_made_in_an_attack():
    network = Network(convolutional(), dtype=torch.float64)
    parts = network.parts(network.theta)
    data = images()
    ascent(lambda x: network(parts, x).logsumexp(dim=1), data.x)
    assert all(p.grad is None and not p.requires_grad for p in [*network.module.parameters(), *parts])


# Two classes, logits W x + b: the loss is log(1 + exp(-m)) with a margin m that is linear in x.


def two_classes() -> tuple[nn.Module, Data]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 2)).double(), images(classes=2)


def margins(module: nn.Module, data: Data, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Margins of the inputs x and the direction w of each example's margin."""
    weight, bias = module[1].weight.detach(), module[1].bias.detach()
    sign = 1.0 - 2.0 * data.y.double()
    w = sign[:, None] * (weight[0] - weight[1])
    return (w * x.flatten(1)).sum(dim=1) + sign * (bias[0] - bias[1]), w


def test_the_exact_attack_reaches_the_closed_form_under_linf_with_the_box():
    module, data = two_classes()
    eps = 0.2
    _, w = margins(module, data, data.x)
    worst = torch.where(w > 0, (data.x.flatten(1) - eps).clamp_min(0), (data.x.flatten(1) + eps).clamp_max(1))
    margin, _ = margins(module, data, worst)
    losses = objective(module, "linear", data=data).at().losses
    torch.testing.assert_close(losses, nn.functional.softplus(-margin), rtol=1e-12, atol=1e-12)


def test_the_exact_attack_beats_every_other_under_l2_with_the_box():
    module, data = two_classes()
    exact = objective(module, "linear", "l2", data=data).at().losses
    strong = objective(module, "pgd:steps=200,restarts=3", "l2", data=data).at().losses
    assert (exact >= strong - 1e-10).all()
    torch.testing.assert_close(exact, strong, rtol=1e-3, atol=1e-3)


def test_pgd_reaches_the_exact_maximum_of_a_linear_model():
    module, data = two_classes()
    exact = objective(module, "linear", data=data).at().losses
    found = objective(module, "pgd:steps=20", data=data).at().losses
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-6)


def test_the_exact_attack_refuses_a_model_that_is_not_linear():
    with pytest.raises(InputError, match="use pgd"):
        objective(convolutional(), "linear").at().value  # noqa: B018


@pytest.mark.parametrize("norm", NORMS)
def test_the_inner_gap_of_the_exact_attack_is_zero_and_that_of_a_weak_one_is_not(norm):
    module, data = two_classes()
    assert objective(module, "linear", norm, data=data).at().inner_gap == pytest.approx((0, 0), abs=1e-9)
    weak = objective(convolutional(), "fgsm", norm)
    gap, stderr = weak.at().inner_gap
    assert gap > 0
    assert 0 < stderr < gap


def test_perturbed_data_keep_their_labels_and_places():
    data = images()[torch.tensor([4, 2, 9])]
    perturbed = objective(convolutional(), "fgsm", data=data).at().perturbed
    assert torch.equal(perturbed.y, data.y)
    assert torch.equal(perturbed.index, data.index)


def test_every_attack_prints_as_its_specification():
    for spec in ATTACKS:
        assert str(registry.make("attack", str(registry.make("attack", spec)))) == str(
            registry.make("attack", spec)
        )
    assert str(Linear()) == "linear"


@pytest.mark.parametrize("spec", ["pgd:steps=0", "pgd:restarts=0", "liu2020:step=0", "liu2020:steps=0"])
def test_an_attack_without_steps_is_refused(spec):
    with pytest.raises(InputError, match="at least 1"):
        registry.make("attack", spec)
