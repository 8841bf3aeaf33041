"""Gradient scatter against closed forms, dense Hessians, plain loops, and counts of passes."""

import math
from fractions import Fraction

import nets
import numpy as np
import pytest
import torch
from torch import nn

from landscape import FGSM, PGD, Budget, Data, Linear, Network, Objective
from landscape.analyzers.scatter import scatter
from landscape.errors import InputError, NumericalError
from landscape.fit import line

RADII = "1e-4:1:9"


class Bilinear(nn.Module):
    """f = θ x for one pixel x."""

    def __init__(self, theta: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([theta]))

    def forward(self, x):
        return self.theta * x.reshape(len(x), 1)


def bilinear(theta: float, eps: str, L: float = 3.0, **attack) -> Objective:
    """g(x, θ) = L x θ around x = 1/2: L_eps = L θ / 2 + eps L |θ|, whose slope jumps by 2 eps L at θ = 0."""
    data = Data.of(torch.full((5, 1), 0.5, dtype=torch.float64), torch.zeros(5, dtype=torch.int64))
    loss = lambda logits, y: L * logits[:, 0]  # noqa: E731
    return Objective(Network(Bilinear(theta), dtype=torch.float64), data, Budget(eps), PGD(**attack), loss)


@pytest.mark.parametrize("eps", ["0.1", "0.3"])
def test_the_jump_of_the_bilinear_loss_is_2_eps_L(eps):
    (found,) = scatter(bilinear(-1e-6, eps).at(), radii=RADII, directions="gradient")
    truth = 2 * float(eps) * 3.0
    assert found.jump == pytest.approx(truth, rel=1e-9)
    assert found.slope == pytest.approx(0, abs=1e-9)
    assert found.jump_frozen == pytest.approx(0, abs=1e-9)
    assert found.jump_switching == pytest.approx(truth, rel=1e-9)
    assert found.mixed == pytest.approx(3.0, rel=1e-9)
    assert found.bound == pytest.approx(truth, rel=1e-9)
    assert found.share == pytest.approx(1.0, rel=1e-9)
    assert found.floor == 0


def test_away_from_the_kink_there_is_no_jump():
    (found,) = scatter(bilinear(-10.0, "0.1").at(), radii=RADII, directions="gradient")
    assert np.allclose(found.change, 0, atol=1e-12)
    assert found.jump == 0
    assert np.allclose(found.moved, 0)


def logistic(n: int, d: int, w: torch.Tensor) -> tuple[nn.Module, Data]:
    """Logits (0, w·x), images far enough from the box for eps = 0.1."""
    module = nn.Linear(d, 1, bias=False)
    module.weight.data = w[None].float()
    rng = torch.Generator().manual_seed(0)
    x = 0.2 + 0.6 * torch.rand(n, d, generator=rng, dtype=torch.float64)
    return (
        nets.Net(
            lambda net, x: torch.cat([torch.zeros(len(x), 1, dtype=x.dtype), net.linear(x)], 1), linear=module
        ),
        Data.of(x, torch.randint(0, 2, (n,), generator=rng)),
    )


def logistic_gradient(w: torch.Tensor, data: Data, eps: float) -> torch.Tensor:
    """∇ of mean log(1 + exp(−y w·x + eps ‖w‖₁)), y = ±1."""
    y = 2.0 * data.y - 1
    margin = y * (data.x @ w) - eps * w.abs().sum()
    return -(torch.sigmoid(-margin)[:, None] * (y[:, None] * data.x - eps * w.sign())).mean(dim=0)


@pytest.mark.parametrize("eps", ["0", "0.1"])
@pytest.mark.parametrize("flips", [False, True])
def test_on_a_linear_model_everything_is_as_in_closed_form(eps, flips):
    w = torch.tensor([0.5, -0.8, 0.3, 1e-6 if flips else 0.9], dtype=torch.float64).float().double()
    module, data = logistic(30, 4, w)
    point = Objective(Network(module, dtype=torch.float64), data, Budget(eps), Linear()).at()
    v = torch.tensor([0.0, 0.0, 0.0, -1.0], dtype=torch.float64)
    radii = "1e-5:1e-2:7"
    from landscape.analyzers import scatter as module_of

    (found,) = along_fixed(module_of, point, v, radii)
    h = np.geomspace(1e-5, 1e-2, 7)
    base = logistic_gradient(w, data, float(Fraction(eps)))
    changes = [(logistic_gradient(w + t * v, data, float(Fraction(eps))) - base).norm().item() for t in h]
    assert found.gradient_norm == pytest.approx(base.norm().item(), rel=1e-6)
    assert np.allclose(found.change, changes, rtol=1e-6, atol=1e-12)
    assert found.slope == pytest.approx(line(h, np.array(changes)).found[1], rel=1e-6)
    y = 2.0 * data.y - 1
    share = torch.sigmoid(-(y * (data.x @ w) - float(Fraction(eps)) * w.abs().sum())).mean().item()
    jump = 2 * float(Fraction(eps)) * share if flips else 0.0
    assert found.jump == pytest.approx(jump, rel=1e-2, abs=1e-6)
    assert abs(found.jump_frozen) < 1e-6


def along_fixed(module, point, v, radii):
    """`scatter` along a vector of one's own, by way of a file."""
    import tempfile
    from pathlib import Path

    import h5py

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v.h5"
        with h5py.File(path, "w") as file:
            file["v"] = v.numpy()
        return list(module.scatter(point, radii=radii, directions=str(path)))


def smooth(n=40, **told):
    return nets.point(nets.mlp(nn.Tanh), nets.data(n, 4), **told)


def test_on_a_smooth_net_there_is_no_jump_and_the_slope_is_the_curvature():
    point = smooth()
    dense = nets.dense(point)
    top = torch.linalg.eigvalsh(dense)[-1].item()
    found = {r.direction: r for r in scatter(point, radii="1e-6:1e-3:7", directions="random,eigenvector:1")}
    for each in found.values():
        assert abs(each.jump) <= 4.3 * each.jump_stderr + 1e-9
        assert each.slope <= 1.0001 * torch.linalg.eigvalsh(dense).abs().max().item()
        assert each.jump_frozen == each.jump
    along_top = found["eigenvector:1"]
    assert along_top.slope == pytest.approx(top, rel=1e-2)
    assert along_top.curvature == pytest.approx(top, rel=1e-4)
    assert along_top.ratio == pytest.approx(1, abs=0.1)


def test_the_profile_is_that_of_a_plain_loop():
    point = smooth(budget=Budget("0.1"), attack=PGD(steps=3))
    (found,) = scatter(point, radii="0.01,0.1,1", directions="gradient")
    v = point.gradient / point.gradient.norm()
    for j, h in enumerate((0.01, 0.1, 1.0)):
        there, still = point + h * v, point.frozen() + h * v
        assert found.change[j] == pytest.approx((there.gradient - point.gradient).norm().item(), rel=1e-9)
        assert found.change_frozen[j] == pytest.approx(
            (still.gradient - point.gradient).norm().item(), rel=1e-9
        )
        cosine = torch.cosine_similarity(there.gradient, point.gradient, dim=0).item()
        assert found.cosine[j] == pytest.approx(cosine, abs=1e-12)
        assert found.switching[j] == pytest.approx((there.gradient - still.gradient).norm().item(), rel=1e-9)
        second = 2 * (there.value - point.value - h * (v @ point.gradient).item()) / h**2
        assert found.kappa[j] == pytest.approx(second, rel=1e-6)
    assert found.curvature == pytest.approx((v @ nets.dense(point) @ v).item(), rel=1e-6)


def test_the_bound_holds_the_measured_mixed_quotients():
    """∇ℓ of a linear softmax in closed form: no pair inside the budget beats what is measured by much."""
    point = smooth(budget=Budget("0.1"), attack=PGD(steps=5))
    (found,) = scatter(point, radii="0.01,0.1,1")
    o = point.objective
    clean, moved = o.data, point.perturbed
    quotients = []
    for i in range(len(clean)):
        one, two = (
            Objective(o.network, d[torch.tensor([i])], Budget(0)).at().gradient.double()
            for d in (clean, moved)
        )
        quotients.append(((one - two).norm() / (clean.x[i] - moved.x[i]).abs().max()).item())
    assert found.mixed >= np.mean(quotients) - 1e-12
    assert found.mixed_largest >= max(quotients) - 1e-12


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_nothing_depends_on_the_batch_size_or_the_order(batch_size):
    data = nets.data(20, 4)
    module, attack = nets.mlp(nn.ReLU), PGD(steps=3)
    (plain,) = scatter(nets.point(module, data, budget=Budget("0.1"), attack=attack))
    turned = data[torch.arange(19, -1, -1)]
    for examples in (data, turned):
        point = nets.point(module, examples, budget=Budget("0.1"), attack=attack, batch_size=batch_size)
        (found,) = scatter(point)
        for name in ("change", "change_frozen", "cosine", "jump", "slope", "floor", "mixed", "curvature"):
            assert np.allclose(getattr(found, name), getattr(plain, name), rtol=1e-6, atol=1e-9), name


def test_floors_fall_with_more_attack_steps():
    """To nothing where each example has one worst input: a smooth net in an l_2 ball. At the corners of a
    cube it has several, and no number of steps brings different starts together."""
    module = nets.trained(nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 3)))
    floors, moved = [], []
    for steps in (1, 3, 10, 50):
        point = nets.point(module, nets.data(60, 20), budget=Budget("0.8", "l2"), attack=PGD(steps=steps))
        (found,) = scatter(point, radii="0.01,0.1,1")
        floors.append(found.floor)
        moved.append(found.floor_moved)
    assert floors == sorted(floors, reverse=True)
    assert moved == sorted(moved, reverse=True)
    assert floors[-1] < 1e-6 * floors[0]


def test_more_starts_are_averaged_and_their_spread_is_in_the_error():
    point = smooth(budget=Budget("0.1"), attack=PGD(steps=3))
    (one,) = scatter(point, radii="0.01:0.5:4", points=1)
    (many,) = scatter(point, radii="0.01:0.5:4", points=4)
    assert (one.points, many.points) == (1, 4)
    assert not np.allclose(one.change, many.change)
    assert many.slope_stderr > 0
    assert one.loss == many.loss


def test_nine_radii_and_two_directions_cost_19_attacks_and_37_gradients():
    """Besides them, less than a tenth: floor, inner gap, pairs; and two Hessian products."""
    point = nets.point(nets.mlp(), nets.data(1000, 4), budget=Budget("0.1"), attack=PGD(steps=20))
    first, second = scatter(point, directions="random,gradient")
    spent = {name: first.passes[name] + second.passes[name] for name in first.passes}
    assert spent == pytest.approx(point.objective.passes, abs=1e-2)
    floor = 19 * 20 + 37
    assert floor <= spent["gradient"] <= 1.1 * floor
    assert spent["forward"] <= 1.1 * 19 * 2
    assert spent["hvp"] == 2


def test_the_line_is_exact_where_there_is_one():
    h = np.geomspace(1e-4, 1, 9)
    for a, b in ((0.3, 2.0), (0.0, 1.0), (1e-3, 1e2), (5.0, 0.0), (0.0, 0.0)):
        found = line(h, a + b * h)
        assert np.allclose(found.found, [a, b], rtol=1e-8, atol=1e-12)
        assert np.allclose(found.errors, 0, atol=1e-6 * (a + b))
        assert found.misfit < 1e-6


def test_the_errors_of_the_line_cover_the_truth():
    """Values with 20 % noise, over 400 draws."""
    rng, h = np.random.default_rng(0), np.geomspace(1e-4, 1, 9)
    inside = np.zeros(2)
    for _ in range(400):
        found = line(h, (0.03 + 0.5 * h) * np.exp(0.2 * rng.normal(size=9)))
        inside += np.abs(found.found - [0.03, 0.5]) <= 2 * found.errors
        assert 0.02 < found.misfit < 0.5
    assert ((inside / 400 >= 0.85) & (inside / 400 <= 0.98)).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"radii": "0.1,1"}, "at least 3 radii"),
        ({"radii": "0:1:9"}, "lengths above 0"),
        ({"directions": "up"}, "direction 'up' is not known"),
        ({"points": 0}, "give at least 1"),
        ({"radii": "1e-17:1:9"}, "lost in the rounding"),
        ({"directions": "eigenvector:99"}, "is not there"),
    ],
)
def test_a_mistake_is_told_before_any_attack(options, told):
    point = smooth(budget=Budget("0.1"))
    with pytest.raises(InputError, match=told):
        next(scatter(point, **options))
    assert point.objective.work["forward"] == 0


def test_a_table_tells_all_that_was_measured():
    (found,) = scatter(smooth(budget=Budget("0.1"), attack=PGD(steps=3)), radii="0.01,0.1,1")
    rows = found.rows()
    for name in (
        "R(0.01)",
        "floor",
        "jump",
        "jump, frozen",
        "slope",
        "L_θx",
        "jump / bound",
        "vᵀHv",
        "κ / vᵀHv",
    ):
        assert rows[name], name
    (clean,) = scatter(smooth(), radii="0.01,0.1,1")
    assert not clean.rows()["floor"]
    assert math.isnan(clean.share)


def test_data_sorted_by_class_has_the_errors_of_the_same_data_in_any_order():
    data = nets.data(96, 4)
    module = nets.mlp(nn.ReLU)
    told = {"budget": Budget("0.1"), "attack": PGD(steps=2)}
    found = []
    for order in (torch.arange(96), torch.argsort(data.y, stable=True)):
        found += scatter(nets.point(module, data[order], **told), radii="0.01,0.1,1")
    plain, sorted_ = found
    for name in ("change_stderr", "change_unbiased", "jump_stderr", "floor_stderr", "jump_unbiased_stderr"):
        assert np.allclose(getattr(plain, name), getattr(sorted_, name), rtol=1e-6), name


def test_radii_that_overflow_are_a_numerical_failure():
    point = nets.point(nets.mlp(nn.ReLU), nets.data(20, 4), dtype=torch.float32, budget=Budget("0.1"))
    with pytest.raises(NumericalError, match="smaller --radii"):
        next(scatter(point, radii="1e-3:1e25:4"))


def test_where_the_line_does_not_fit_the_result_says_so():
    (found,) = scatter(smooth(budget=Budget("0.1"), attack=PGD(steps=2)), radii="1e-3:1e4:5")
    assert found.misfit > 0.3
    assert any("no line" in remark for remark in found.remarks())


def test_an_attack_without_random_starts_has_no_floor_to_remark_on():
    (found,) = scatter(smooth(budget=Budget("0.1"), attack=FGSM()), radii="0.01,0.1,1")
    assert found.floor == 0
    assert not any("floor" in remark for remark in found.remarks())
