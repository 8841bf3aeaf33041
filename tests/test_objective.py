"""The loss as a function on parameter space: affine, deterministic, equal to its closed forms."""

import math

import pytest
import torch
from torch import nn

from landscape import PGD, Budget, Data, Linear, Network, Objective
from landscape.errors import CheckpointError, InputError


def data(n: int = 300, classes: int = 3, seed: int = 0) -> Data:
    rng = torch.Generator().manual_seed(seed)
    return Data.of(
        torch.rand(n, 1, 5, 5, generator=rng, dtype=torch.float64),
        torch.randint(classes, (n,), generator=rng),
    )


def small(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(25, 8), nn.Tanh(), nn.Linear(8, classes))


def objective(eps: str = "0.1", n: int = 300, **options) -> Objective:
    return Objective(Network(small(), dtype=torch.float64), data(n), Budget(eps), PGD(steps=4), **options)


def test_the_parameters_are_a_vector_in_the_order_of_the_module():
    module = small()
    network = Network(module, dtype=torch.float64)
    assert torch.equal(network.theta, nn.utils.parameters_to_vector(module.double().parameters()).detach())
    assert network.names == tuple(name for name, _ in module.named_parameters())


def test_the_network_is_the_module():
    module = small().double()
    x = data().x
    network = Network(module, dtype=torch.float64)
    torch.testing.assert_close(network(network.parts(network.theta), x), module(x))


def test_points_are_an_affine_space():
    p = objective().at()
    v = torch.randn_like(p.theta)
    assert torch.equal((p + v) - p, (p.theta + v) - p.theta)
    assert (p + 0 * v).value == p.value


def test_the_value_is_the_mean_loss_and_comes_with_its_standard_error():
    p = objective("0").at()
    module, d = small().double(), p.objective.data
    losses = nn.functional.cross_entropy(module(d.x), d.y, reduction="none")
    assert p.value == pytest.approx(losses.mean().item(), rel=1e-12)
    assert p.value_stderr == pytest.approx(losses.std().item() / math.sqrt(len(d)), rel=1e-12)
    assert p.accuracy == (module(d.x).argmax(dim=1) == d.y).double().mean()


@pytest.mark.parametrize("batch_size", [1, 7, 32, 128, 1000])
def test_nothing_depends_on_the_batch_size(batch_size):
    one, other = objective().at(), objective(batch_size=batch_size).at()
    assert other.value == pytest.approx(one.value, rel=1e-12)
    torch.testing.assert_close(other.gradient, one.gradient, rtol=0, atol=1e-12)
    assert other.inner_gap == pytest.approx(one.inner_gap, abs=1e-10)


def test_batches_of_a_chunk_and_more_give_the_same_bits():
    one, other = objective(batch_size=128).at(), objective(batch_size=999).at()
    assert torch.equal(one.losses, other.losses)
    assert torch.equal(one.gradient, other.gradient)


def test_nothing_depends_on_the_order_of_the_examples():
    d = data()
    order = torch.randperm(len(d), generator=torch.Generator().manual_seed(1))
    network = Network(small(), dtype=torch.float64)
    one, other = (Objective(network, each, Budget("0.1"), PGD(steps=4)).at() for each in (d, d[order]))
    assert other.value == pytest.approx(one.value, rel=1e-12)
    torch.testing.assert_close(other.gradient, one.gradient, rtol=0, atol=1e-12)


def test_nothing_depends_on_the_number_of_threads():
    one = objective().at().gradient
    torch.set_num_threads(2)
    try:
        torch.testing.assert_close(objective().at().gradient, one, rtol=0, atol=1e-12)
    finally:
        torch.set_num_threads(1)


def test_frozen_is_the_landscape_of_the_perturbed_data_and_reattacking_is_above_it():
    p = objective().at()
    v = 0.3 * torch.ones_like(p.theta)
    assert p.frozen().value == p.value
    torch.testing.assert_close(p.frozen().gradient, p.gradient)
    assert ((p + v).losses >= (objective("0").at() + v).losses).all()
    assert (p + v).value > (p.frozen() + v).value - 1e-3


def test_the_gradient_is_that_of_the_value_at_a_fixed_adversary():
    p = objective().at().frozen()
    v = torch.randn(len(p.theta), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    h = 1e-6
    slope = ((p + h * v).value - (p + -h * v).value) / (2 * h)
    assert (p.gradient @ v).item() == pytest.approx(slope, rel=1e-7)


def test_passes_are_counted():
    o = objective(n=130)
    p = o.at()
    p.value  # noqa: B018
    # Four steps; the clean input, the last iterate, and the evaluation of what was found.
    assert o.passes == {"forward": 3, "gradient": 4, "hvp": 0}
    p.gradient  # noqa: B018
    assert o.passes["gradient"] == 5


def logistic() -> tuple[Objective, torch.Tensor, torch.Tensor]:
    """Two classes, W (2, d) without bias, the exact attack; the worst inputs and signs in closed form."""
    d = data(40, classes=2, seed=3)
    torch.manual_seed(1)
    module = nn.Sequential(nn.Flatten(), nn.Linear(25, 2, bias=False))
    o = Objective(Network(module, dtype=torch.float64), d, Budget("0.15"), Linear())
    sign = 1.0 - 2.0 * d.y.double()
    w = (module[1].weight[0] - module[1].weight[1]).detach().double()
    x = d.x.flatten(1)
    return o, (x - 0.15 * sign[:, None] * w.sign()).clamp(0, 1), sign


def test_logistic_regression_has_its_closed_form_loss_gradient_and_hessian():
    o, x, sign = logistic()
    p, n = o.at(), len(x)
    w = p.theta.view(2, -1)
    margin = sign * (x @ (w[0] - w[1]))
    assert p.value == pytest.approx(nn.functional.softplus(-margin).mean().item(), rel=1e-12)
    slope = -torch.sigmoid(-margin) * sign
    expected = (slope[:, None] * x).mean(dim=0)
    torch.testing.assert_close(p.gradient, torch.cat([expected, -expected]), rtol=1e-10, atol=1e-12)
    curvature = torch.sigmoid(margin) * torch.sigmoid(-margin)
    block = x.T @ (curvature[:, None] * x) / n
    dense = torch.cat([torch.cat([block, -block], 1), torch.cat([-block, block], 1)])
    torch.testing.assert_close(p.hessian @ torch.eye(50, dtype=torch.float64), dense, rtol=1e-10, atol=1e-12)


class Bilinear(nn.Module):
    """Logits (0, θ x): with a linear loss in the second logit, g(x, θ) = L x θ."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        centred = x.flatten(1) - 0.5
        return torch.cat([torch.zeros_like(centred), self.theta * centred], dim=1)


@pytest.mark.parametrize("eps", ["0.05", "0.2", "0.5"])
def test_the_gradient_of_the_bilinear_toy_jumps_by_2_eps_lipschitz(eps):
    """g = L x θ on a ball around 0 has L_eps = eps L |θ|: Proposition 2's bound 2 eps L is attained."""
    lipschitz = 3.0
    d = Data.of(torch.full((1, 1), 0.5, dtype=torch.float64), torch.tensor([1]))
    o = Objective(
        Network(Bilinear(), dtype=torch.float64), d, Budget(eps), loss=lambda z, y: lipschitz * z[:, 1]
    )
    right, left = (o.at(torch.tensor([h], dtype=torch.float64)) for h in (1e-6, -1e-6))
    jump = (right.gradient - left.gradient).item()
    assert jump == pytest.approx(2 * float(Budget(eps).eps) * lipschitz, rel=1e-9)
    assert right.value == pytest.approx(float(Budget(eps).eps) * lipschitz * 1e-6, rel=1e-9)


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused, self.fixed = nn.Linear(25, 3), nn.Linear(4, 4), nn.Linear(3, 3)
        self.fixed.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fixed(self.used(x.flatten(1)))


def test_unused_parameters_have_no_gradient_and_frozen_ones_no_place():
    p = Objective(Network(Frozen(), dtype=torch.float64), data(20)).at()
    assert len(p.theta) == 25 * 3 + 3 + 4 * 4 + 4
    assert p.gradient[:78].abs().min() > 0
    assert p.gradient[78:].abs().max() == 0


REFUSED = {
    "all frozen": (lambda: Network(small().requires_grad_(False)), InputError, "no trainable parameter"),
    "half": (lambda: Network(small(), dtype=torch.float16), InputError, "too coarse"),
    "nan": (lambda: Network(_with_nan()), CheckpointError, "1.bias"),
    "shape": (lambda: objective().at(torch.zeros(3)), InputError, "235 parameters"),
    "batch": (lambda: objective(batch_size=0), InputError, "at least 1"),
}


def _with_nan() -> nn.Module:
    module = small()
    module[1].bias.data[0] = torch.nan
    return module


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused_in_words(case):
    make, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        make()


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(25, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(nn.functional.dropout(x.flatten(1), training=True))


class Centred(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(25, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer((x - x.mean(dim=0)).flatten(1))


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(25, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1)).detach()


MISFITS = {
    "detached": (Detached(), 3, "flat by construction"),
    "mixed": (Centred(), 3, "other examples of the batch"),
    "random": (Noisy(), 3, "deterministic"),
    "wrong shape": (nn.Sequential(nn.Flatten(), nn.Linear(24, 3)), 3, "does not take inputs of shape"),
    "no logits": (nn.Linear(5, 3), 3, "must return logits"),
    "too few": (nn.Sequential(nn.Flatten(), nn.Linear(25, 2)), 3, "2 outputs, the data 3 classes"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_model_that_does_not_fit_the_data_is_refused_in_words(case):
    module, classes, words = MISFITS[case]
    with pytest.raises(CheckpointError, match=words):
        Network(module, dtype=torch.float64).check(data(4).x, classes)
