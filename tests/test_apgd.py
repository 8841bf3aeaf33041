"""Auto-PGD against its authors' package, closed forms, and what must not change."""

import numpy as np
import pytest
import torch
from test_attacks import convolutional, images, objective, two_classes
from torch import nn

from landscape import APGD, Budget, Linear, Network, Objective, registry
from landscape.attacks.base import random_start
from landscape.errors import InputError
from landscape.losses import cross_entropy
from landscape.losses.dlr import dlr

NORMS = {"linf": "0.2", "l2": "0.7"}
THEIRS = {"linf": "Linf", "l2": "L2"}
SPECS = ["apgd:steps=1", "apgd:steps=5", "apgd:steps=30", "apgd:steps=5,restarts=2"]


@pytest.fixture
def double():
    """torch's default type as float64, which their step sizes are made in."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("steps", [1, 7, 23, 60])
def test_the_climb_is_that_of_the_authors_from_the_same_start(steps, norm, loss, double):
    theirs = pytest.importorskip("pyautoattack.autopgd_base")
    data, module = images(20, 5), convolutional(5).double().eval()
    own, budget = {"ce": cross_entropy, "dlr": dlr}[loss], Budget(NORMS[norm], norm)
    seen: dict[str, list[torch.Tensor]] = {"ours": [], "theirs": []}

    def network(who):
        def logits(x):
            seen[who].append(x.detach().clone())
            return module(x)

        return logits

    start = random_start(data.x, data.index, budget, 3)
    ours = network("ours")
    best, highest = APGD(steps=steps).climb(lambda x: own(ours(x), data.y), data.x, start, budget)
    attack = theirs.APGDAttack(
        network("theirs"), n_iter=steps, norm=THEIRS[norm], eps=float(budget.eps), loss=loss
    )
    attack.init_hyperparam(data.x)
    other, _, value, _ = attack.attack_single_run(data.x, data.y, x_init=start)
    assert len(seen["ours"]) == len(seen["theirs"]) == steps + 1
    # Where the label comes third dlr is 1 whatever the input is, and rounding alone tells where to go.
    values = torch.stack([own(module(x), data.y) for x in seen["ours"]]).detach()
    clear = ((values - 1).abs() > 1e-9).all(dim=0) if loss == "dlr" else torch.ones(20, dtype=torch.bool)
    assert clear.sum() >= 8
    for a, b in zip(seen["ours"], seen["theirs"], strict=True):
        torch.testing.assert_close(a[clear], b[clear], rtol=0, atol=1e-7)
    torch.testing.assert_close(highest[clear], value[clear], rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(best[clear], other[clear], rtol=0, atol=1e-7)


def one_at_a_time(value, slope, x: np.ndarray, start: np.ndarray, eps: float, steps: int) -> list[np.ndarray]:
    """Algorithm 1 of the paper for a single example under l_inf, with the windows of the authors' code."""

    def clipped(z):
        return np.clip(np.clip(z, x - eps, x + eps), 0, 1)

    here, before, step = start, start, 2 * eps
    iterates, losses = [start], [value(start)]
    best, checked, halved = 0, 0, True
    length, end = max(int(0.22 * steps), 1), max(int(0.22 * steps), 1)
    highest_then, towards = losses[0], slope(start)
    for k in range(1, steps + 1):
        ahead = clipped(here + step * np.sign(towards))
        if k > 1:
            ahead = clipped(here + 0.75 * (ahead - here) + 0.25 * (here - before))
        before, here = here, ahead
        iterates.append(here)
        losses.append(value(here))
        towards = slope(here)
        best = k if losses[k] > losses[best] else best
        if k == end:
            rises = sum(losses[i + 1] > (losses[i] if i else 0.0) for i in range(checked, k))
            stuck = not halved and losses[best] <= highest_then
            halved = rises <= 0.75 * length or stuck
            if halved:
                step, here, towards = step / 2, iterates[best], slope(iterates[best])
            highest_then, checked = losses[best], k
            length = max(length - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
            end += length
    return iterates


@pytest.mark.parametrize("steps", [1, 10, 60])
def test_the_climb_is_that_of_one_example_at_a_time_in_plain_numpy(steps):
    # A bowl turned over, whose top is inside of some balls: steps have to be halved to come near it.
    rng = np.random.default_rng(0)
    x, top = rng.uniform(size=(9, 4)), rng.uniform(size=(9, 4))
    top[:4] = np.clip(x[:4] + rng.uniform(-0.1, 0.1, (4, 4)), 0, 1)
    width, budget = np.linspace(0.5, 2, 4), Budget("0.15")
    inputs, seen = torch.from_numpy(x), []
    start = random_start(inputs, torch.arange(9), budget, 0)

    def losses(z):
        seen.append(z.detach().numpy().copy())
        return 5 - ((z - torch.from_numpy(top)) ** 2 * torch.from_numpy(width)).sum(dim=1)

    best, highest = APGD(steps=steps).climb(losses, inputs, start, budget)
    for i in range(9):
        expected = one_at_a_time(
            lambda z, i=i: 5 - ((z - top[i]) ** 2 * width).sum(),
            lambda z, i=i: -2 * (z - top[i]) * width,
            x[i],
            start[i].numpy(),
            0.15,
            steps,
        )
        np.testing.assert_allclose([z[i] for z in seen], expected, rtol=0, atol=1e-12)
        values = [5 - ((z - top[i]) ** 2 * width).sum() for z in expected]
        assert highest[i].item() == pytest.approx(max(values), abs=1e-12)
        np.testing.assert_allclose(best[i], expected[int(np.argmax(values))], rtol=0, atol=1e-12)
    if steps == 60:
        assert (5 - highest[:4]).max() < 1e-3


def test_in_the_windows_of_the_paper_a_step_is_halved_where_the_loss_oscillates():
    # 100 steps: 22, then 3 less each time, never below 6.
    lengths = [length for _, length in APGD(steps=100)._windows()]
    assert lengths[:7] == [22, 19, 16, 13, 10, 7, 6]
    assert sum(lengths) <= 100
    assert all(end == sum(lengths[: i + 1]) for i, (end, _) in enumerate(APGD(steps=100)._windows()))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("spec", SPECS)
def test_it_stays_in_ball_and_box_and_never_falls_below_the_clean_loss(spec, norm):
    o = objective(convolutional(), spec, norm)
    point = o.at()
    delta = point.perturbation.flatten(1)
    length = delta.abs().amax(dim=1) if norm == "linf" else delta.norm(dim=1)
    assert 0 <= point.perturbed.x.min() <= point.perturbed.x.max() <= 1
    assert (length <= float(o.budget.eps)).all()
    assert (point.losses >= o.under(Budget(0)).at().losses).all()


def test_the_loss_never_falls_with_restarts_and_rises_with_steps():
    once, thrice = (objective(convolutional(), f"apgd:steps=4,restarts={r}").at().losses for r in (1, 3))
    assert (thrice >= once).all()
    assert (thrice > once).any()
    values = [objective(convolutional(), f"apgd:steps={steps}").at().value for steps in (1, 5, 50)]
    assert values == sorted(values)


@pytest.mark.parametrize("norm", NORMS)
def test_it_reaches_the_exact_maximum_of_a_linear_model(norm):
    module, data = two_classes()
    exact = objective(module, str(Linear()), norm, data=data).at().losses
    found = objective(module, "apgd:steps=200", norm, data=data).at().losses
    assert (found <= exact + 1e-10).all()
    # Under l_2 the box cuts the ball: along its curved edge a projected step gains less and less.
    torch.testing.assert_close(found, exact, rtol=1e-10 if norm == "linf" else 2e-3, atol=0)


@pytest.mark.parametrize("spec", SPECS)
def test_what_it_finds_depends_on_the_example_alone(spec):
    data = images()
    together = objective(convolutional(), spec, data=data).at().perturbed.x
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(2))
    alone = objective(convolutional(), spec, data=data[order], batch_size=5).at().perturbed.x
    torch.testing.assert_close(alone, together[order], rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_another_unit_of_the_loss_changes_nothing(scale):
    module, data, budget = convolutional().double().eval(), images(), Budget("0.2")
    start = random_start(data.x, data.index, budget, 0)

    def climb(unit):
        return APGD(steps=20).climb(lambda x: unit * cross_entropy(module(x), data.y), data.x, start, budget)[
            0
        ]

    torch.testing.assert_close(climb(scale), climb(1.0), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("steps", "restarts"), [(1, 1), (5, 2)])
def test_a_step_is_a_gradient_and_a_restart_one_forward_pass(steps, restarts):
    o = objective(convolutional(), f"apgd:steps={steps},restarts={restarts}")
    o.at().perturbed  # noqa: B018
    assert o.passes == {"gradient": steps * restarts, "forward": 1 + restarts, "hvp": 0}


def test_where_the_loss_is_flat_the_clean_input_comes_back():
    module = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    nn.init.zeros_(module[1].weight)
    data = images()
    point = Objective(Network(module, dtype=torch.float64), data, Budget("0.1"), APGD(steps=5)).at()
    assert torch.equal(point.perturbed.x, data.x)


@pytest.mark.parametrize("spec", ["apgd:steps=0", "apgd:restarts=0"])
def test_no_steps_are_refused(spec):
    with pytest.raises(InputError, match="at least 1"):
        registry.make("attack", spec)


@pytest.mark.parametrize("spec", ["apgd:steps=7", "apgd:steps=7,restarts=2"])
def test_it_prints_as_its_specification(spec):
    assert str(registry.make("attack", spec)) == spec
