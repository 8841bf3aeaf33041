"""A warm attack reaches the known maximum from any start, stays in the budget and never loses what it had."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.attacks.base import ascent
from landscape.attacks.linear import Linear
from landscape.attacks.warm import Warm, packed, settled, unpacked
from landscape.budget import Budget
from landscape.errors import InputError
from tests import nets

EPS = {"linf": ("0.05", "0.1", "0.2"), "l2": ("0.2", "0.5", "0.9")}
NORMS = [*EPS]
INDEX = torch.arange(12)


def images(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    x = nets.data(12, 2, 6, 6).x.to(dtype)
    x[:, :, 0] = x[:, :, 0].round()  # black and white pixels: the box is active
    return x


def linear(dtype: torch.dtype = torch.float64):
    """Losses of a model with two classes: log(1 + exp(−m)) of a margin that is linear in x."""
    w = torch.randn(72, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)
    return lambda x: F.softplus(-(x.flatten(1) @ w) / 6)


def network(dtype: torch.dtype = torch.float64):
    """Logits of a small convolutional net, and the losses of its inputs at some rows."""
    module = nets.cnn().to(dtype).eval().requires_grad_(False)
    labels = nets.data(12, 2, 6, 6).y

    def judge(x, rows):
        logits = 20 * module(x)
        return F.cross_entropy(logits, labels[rows], reduction="none"), logits

    return lambda x: judge(x, slice(None))[0], judge


def anywhere(x: torch.Tensor, budget: Budget, seed: int = 0) -> torch.Tensor:
    """Perturbations from inside and outside of the budget, corners of it among them."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(x)
    noise[::2] = noise[::2].sign()
    return float(budget.eps) * noise / (1 if budget.norm == "linf" else noise[0].numel() ** 0.5)


def several(norm: str) -> list[Budget]:
    return [Budget(eps, norm) for eps in EPS[norm]]


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("count", [1, 3])
def test_the_exact_maximum_of_a_linear_model_is_reached_from_any_start(steps, count):
    x, losses, budgets = images(), linear(), several("linf")[:count]
    worst = [Linear()(losses, x, INDEX, budget) for budget in budgets]
    for seed in range(3):
        starts = [anywhere(x, budgets[0], seed)]
        # Those of another linear model: exact there, far off here.
        turned = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
        starts += [budget.project(x + turned.sign(), x) - x for budget in budgets[1:]]
        if count > 1:
            starts[0] = budgets[0].project(x + turned.sign(), x) - x
        found = Warm(steps=steps)(losses, x, starts, budgets)
        for one, exact in zip(found, worst, strict=True):
            torch.testing.assert_close(losses(one.last), losses(exact), rtol=1e-6, atol=1e-6)


def test_the_exact_maximum_under_l2_is_approached_from_any_start():
    x, losses, budget = images(), linear(), several("l2")[1]
    exact, clean = losses(Linear()(losses, x, INDEX, budget)), losses(x)
    short = []
    for steps in (3, 30, 300):
        (found,) = Warm(steps=steps)(losses, x, [anywhere(x, budget)], [budget])
        short.append(((exact - losses(found.last)) / (exact - clean)).max().item())
    # Clipping to the box after the ball is no nearest point: it ends a little short of the border.
    assert short == sorted(short, reverse=True)
    assert short[-1] < 0.1


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_warm_attack_never_leaves_ball_or_box(norm, dtype):
    x, (losses, judge) = images(dtype), network(dtype)
    budgets = several(norm)
    found = Warm()(losses, x, [anywhere(x, budget) for budget in budgets], budgets)
    clean = judge(x, slice(None))
    for one, budget in zip(found, budgets, strict=True):
        for moved in (one.last, one.best, settled(one, x, clean, judge)[0]):
            assert moved.dtype == dtype
            assert 0 <= moved.min() <= moved.max() <= 1
            step = (moved.double() - x.double()).flatten(1)
            size = step.abs().amax(dim=1) if norm == "linf" else step.norm(dim=1)
            assert (size <= float(budget.eps)).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_what_is_settled_on_is_never_below_the_clean_loss_nor_below_the_start_s(norm, steps):
    x, (losses, judge) = images(), network()
    budgets = several(norm)
    for seed in range(4):
        starts = [anywhere(x, budget, seed) for budget in budgets]
        found = Warm(steps=steps)(losses, x, starts, budgets)
        for place, (one, budget) in enumerate(zip(found, budgets, strict=True)):
            inputs, (values, logits) = settled(one, x, judge(x, slice(None)), judge)
            torch.testing.assert_close(values, losses(inputs), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(logits, judge(inputs, slice(None))[1], rtol=1e-12, atol=1e-12)
            assert (values >= losses(x)).all()
            assert (values >= losses(one.last) - 1e-12).all()
            if place == 0:  # a further budget moves its start first
                assert (values >= losses(budget.project(x + starts[0], x)) - 1e-12).all()


def test_only_the_examples_that_lost_are_judged_again():
    x, (losses, judge) = images(), network()
    budget = Budget("0.2")
    (found,) = Warm()(losses, x, [anywhere(x, budget)], [budget])
    lost = torch.arange(len(x)) % 3 == 0
    worse = type(found)(torch.where(lost.view(-1, 1, 1, 1), x, found.last), found.last, losses(found.last))
    seen = []

    def counted(inputs, rows):
        seen.append(rows.tolist())
        return judge(inputs, rows)

    inputs, _ = settled(worse, x, judge(x, slice(None)), counted)
    assert seen == [list(range(12)), lost.nonzero().flatten().tolist()]
    torch.testing.assert_close(inputs, found.last, rtol=0, atol=0)


def test_what_is_within_the_noise_of_the_attack_s_losses_is_not_judged_again():
    x, (losses, judge) = images(), network()
    (found,) = Warm()(losses, x, [torch.zeros_like(x)], [budget := Budget("0.2")])
    noise = torch.tensor([0.01, 0.02, 0.04]).repeat(4)
    seen_higher = type(found)(found.last, found.best, losses(found.last) * (1 + noise))
    asked = []

    def counted(inputs, rows):
        asked.append(rows.tolist())
        return judge(inputs, rows)

    settled(seen_higher, x, judge(x, slice(None)), counted, noise=0.03)
    assert asked == [list(range(12)), [2, 5, 8, 11]]
    assert (found.last - x).abs().max() <= float(budget.eps)


@pytest.mark.parametrize("norm", NORMS)
def test_what_a_warm_attack_finds_depends_on_the_example_alone(norm):
    x, _ = images(), network()
    module = nets.cnn().double().eval().requires_grad_(False)

    def losses(x):
        return module(x).logsumexp(dim=1)

    budgets = several(norm)
    starts = [anywhere(x, budget) for budget in budgets]
    together = Warm()(losses, x, starts, budgets)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(2))[:5]
    alone = Warm()(losses, x[order], [start[order] for start in starts], budgets)
    for one, few in zip(together, alone, strict=True):
        torch.testing.assert_close(few.last, one.last[order], rtol=0, atol=1e-10)
        torch.testing.assert_close(few.highest, one.highest[order], rtol=0, atol=1e-10)


def test_budgets_that_the_attack_is_run_under_leave_the_smaller_ones_alone():
    x, (losses, _) = images(), network()
    budgets = several("linf")
    starts = [anywhere(x, budget) for budget in budgets]
    three, two = Warm()(losses, x, starts, budgets), Warm()(losses, x, starts[:2], budgets[:2])
    for one, other in zip(three, two, strict=False):
        torch.testing.assert_close(one.last, other.last, rtol=0, atol=0)


def test_a_nan_spoils_no_other_example_and_is_never_taken_for_the_worst():
    x, (losses, judge) = images(), network()
    budgets = several("linf")
    starts = [anywhere(x, budget) for budget in budgets]
    sick = torch.zeros(len(x), dtype=torch.bool)
    sick[3] = True

    def spoilt(x):
        return torch.where(sick, torch.nan, 1.0) * losses(x)

    def nowhere(inputs, rows):  # NaN wherever that example was moved
        values, logits = judge(inputs, rows)
        moved = (inputs != x[rows]).flatten(1).any(dim=1) & sick[rows]
        return values.masked_fill(moved, torch.nan), logits

    well = Warm()(losses, x, starts, budgets)
    for one, other in zip(Warm()(spoilt, x, starts, budgets), well, strict=True):
        assert torch.isfinite(one.last).all()
        torch.testing.assert_close(one.last[~sick], other.last[~sick], rtol=0, atol=0)
        inputs, (values, _) = settled(one, x, nowhere(x, torch.arange(12)), nowhere)
        assert torch.equal(inputs[3], x[3])
        assert torch.isfinite(values).all()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_the_loss_changes_nothing(scale):
    x, (losses, _) = images(torch.float32), network(torch.float32)
    for budget in (Budget("0.1"), Budget("0.5", "l2")):
        start = anywhere(x, budget)
        (one,), (other,) = (Warm()(f, x, [start], [budget]) for f in (losses, lambda x: scale * losses(x)))
        torch.testing.assert_close(one.last, other.last, rtol=0, atol=1e-4)


def test_the_work_is_counted_in_gradients():
    x, (losses, _) = images(), network()
    budgets = [Budget(eps) for eps in ("0.02", "0.04", "0.06", "0.08", "0.1")]
    calls = []

    def counted(x):
        calls.append(x.requires_grad)
        return losses(x)

    for count, gradients in ((1, 5), (2, 5), (5, 11)):
        calls.clear()
        Warm(steps=5)(counted, x, [torch.zeros_like(x)] * count, budgets[:count])
        assert calls == [True] * gradients
        assert sum(Warm(steps=5).gradients(count)) == gradients
    assert Warm(steps=1).gradients(3) == [1, 1, 1]


@pytest.mark.parametrize("norm", NORMS)
def test_a_perturbation_is_handed_on_to_half_a_unit_of_its_last_place(norm):
    x = images()
    for budget in several(norm):
        eps = float(budget.eps)
        delta = budget.project(x + anywhere(x, budget), x) - x
        stored = packed(delta, budget)
        assert stored.element_size() == (1 if norm == "linf" else 2)
        back = unpacked(stored, budget, x)
        bound = eps / 254 if norm == "linf" else eps * 2**-11
        torch.testing.assert_close(back, delta, rtol=0, atol=bound * (1 + 1e-9))
        corner = torch.full_like(x, eps) if norm == "linf" else torch.zeros_like(x)
        assert torch.equal(unpacked(packed(corner, budget), budget, x), corner)


def test_a_flat_loss_keeps_the_perturbation_that_was_handed_on():
    x, budget = images(), Budget("0.1")
    start = budget.project(x + anywhere(x, budget), x) - x

    def flat(x):
        return x.flatten(1).sum(dim=1) * 0.0

    (found,) = Warm()(flat, x, [start], [budget])
    clean = flat(x), torch.zeros(12, 3)
    inputs, _ = settled(found, x, clean, lambda inputs, rows: (flat(inputs), torch.zeros(len(rows), 3)))
    torch.testing.assert_close(inputs, budget.project(x + start, x), rtol=0, atol=0)


@pytest.mark.parametrize("budgets", [[Budget("0.2"), Budget("0.1")], [Budget("0.1"), Budget("0.5", "l2")]])
def test_budgets_that_do_not_grow_are_refused(budgets):
    x = images()
    with pytest.raises(InputError, match="by eps, of one norm"):
        Warm()(linear(), x, [torch.zeros_like(x)] * 2, budgets)


def test_an_attack_without_steps_is_refused():
    with pytest.raises(InputError, match="at least 1"):
        Warm(steps=0)
    assert str(Warm(steps=3)) == "warm:steps=3"


def test_no_gradient_is_left_behind():
    x = images()
    module = nn.Sequential(nn.Flatten(), nn.Linear(72, 3)).double()
    (found,) = Warm()(lambda x: module(x).logsumexp(1), x, [torch.zeros_like(x)], [Budget("0.1")])
    assert all(p.grad is None for p in module.parameters())
    assert not x.requires_grad
    assert not found.last.requires_grad
    assert not ascent(lambda x: module(x).logsumexp(1), found.best)[0].requires_grad
