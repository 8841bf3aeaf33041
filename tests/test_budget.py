"""Budgets: parsed exactly, and never left."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape import Budget
from landscape.attacks.base import random_start
from landscape.budget import budgets, exact, text
from landscape.errors import InputError

EXACT = {
    "8/255": Fraction(8, 255),
    "0.1": Fraction(1, 10),
    "1e-2": Fraction(1, 100),
    "0": Fraction(0),
    "1": Fraction(1),
}


@pytest.mark.parametrize("written", EXACT)
def test_eps_is_exact(written):
    assert Budget(written).eps == EXACT[written]


@pytest.mark.parametrize("number", [0.1, 0.3, 0.031, 1e-3])
def test_a_float_is_the_decimal_it_prints_as(number):
    assert exact(number) == Fraction(repr(number))


@given(st.fractions(0, 1))
def test_eps_reads_back_as_it_was_written(eps):
    assert exact(text(eps)) == eps


@pytest.mark.parametrize("eps", ["8", "255", "1.5"])
def test_an_eps_wider_than_the_box_is_refused_with_the_unit_to_use(eps):
    with pytest.raises(InputError, match=f"write {eps}/255"):
        Budget(eps)


@pytest.mark.parametrize(
    "eps", ["-1", "8/0", "abc", "", "1e", "nan", "inf", "1,5", "1e-999999999", "1e9999999"]
)
def test_what_is_no_budget_is_refused_in_words(eps):
    with pytest.raises(InputError, match=r"8/255|8 grey"):
        Budget(eps)


def test_an_l2_budget_may_be_wider_than_a_pixel():
    assert Budget("3/2", "l2").eps == Fraction(3, 2)


def test_a_list_of_budgets_keeps_its_order():
    assert [str(b) for b in budgets("0, 2/255,8/255")] == ["0 linf", "2/255 linf", "8/255 linf"]


@pytest.mark.parametrize("eps", ["", ",", "0.1,1/10"])
def test_an_empty_list_and_a_budget_given_twice_are_refused(eps):
    with pytest.raises(InputError):
        budgets(eps)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["linf", "l2"]),
    st.sampled_from([torch.float32, torch.float64]),
    st.fractions(0, 1),
    st.integers(0, 2**31),
)
def test_a_projected_input_is_inside_ball_and_box(norm, dtype, eps, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(3, 2, 4, 4, generator=rng, dtype=dtype).round(decimals=1)
    budget = Budget(eps, norm)
    moved = budget.project(x + torch.randn(x.shape, generator=rng, dtype=dtype), x)
    assert moved.min() >= 0
    assert moved.max() <= 1
    step = (moved.double() - x.double()).flatten(1)
    length = step.abs().amax(dim=1) if norm == "linf" else step.norm(dim=1)
    assert (length <= float(eps)).all()  # not even one rounding beyond


def test_a_projection_leaves_what_is_inside_alone():
    x = torch.full((1, 1, 2, 2), 0.5)
    inside = x + 0.05
    assert torch.equal(Budget("0.1").project(inside, x), inside)
    assert torch.equal(Budget("0.2", "l2").project(inside, x), inside)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_start_depends_on_seed_index_and_restart_alone(norm):
    budget, x = Budget("0.3", norm), torch.full((4, 1, 3, 3), 0.5)
    index = torch.tensor([7, 8, 9, 2**40])
    together = random_start(x, index, budget, seed=5)
    alone = torch.cat([random_start(x[i : i + 1], index[i : i + 1], budget, seed=5) for i in (3, 1, 0, 2)])
    assert torch.equal(together[[3, 1, 0, 2]], alone)
    for other in ({"seed": 6}, {"seed": 5, "restart": 1}, {"seed": 5 + 2**32}):
        assert not torch.equal(together, random_start(x, index, budget, **other))


@pytest.mark.parametrize(("norm", "mean"), [("linf", 0.5), ("l2", 9 / 10)])
def test_starts_fill_the_ball_uniformly(norm, mean):
    """E ‖δ‖/eps is d/(d+1) in the l_2 ball, and E |δ_i|/eps is 1/2 in the l_inf ball; d = 9."""
    x = torch.full((4000, 9), 0.5, dtype=torch.float64)
    delta = random_start(x, torch.arange(4000), Budget("0.1", norm), seed=0) - x
    measured = (delta.abs() if norm == "linf" else delta.norm(dim=1)) / 0.1
    stderr = measured.std() / measured.numel() ** 0.5
    assert abs(measured.mean() - mean) < 4 * stderr


@pytest.mark.parametrize(
    ("norm", "eps", "size"), [("linf", "1e-7", 4), ("l2", "1e-6", 784), ("l2", "1e-5", 150528)]
)
def test_a_budget_that_rounding_eats_is_refused_in_float32_and_kept_in_float64(norm, eps, size):
    x = torch.full((1, size), 0.5)
    with pytest.raises(InputError, match="--dtype float64"):
        Budget(eps, norm).check_resolved(x)
    Budget(eps, norm).check_resolved(x.double())
    Budget(0, norm).check_resolved(x)
