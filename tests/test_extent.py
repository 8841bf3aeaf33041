"""The automatic range against losses whose range is known in closed form."""

import math

import numpy as np
import pytest

from landscape.errors import InputError, NumericalError
from landscape.surfaces.extent import LEAST_RISE, MULTIPLE, extent


class Counted:
    def __init__(self, loss):
        self.loss, self.calls = loss, []

    def __call__(self, t):
        self.calls.append(t)
        return self.loss(t)


REACHED = {
    "quadratic": (lambda t: 1 + t * t, math.sqrt(MULTIPLE - 1)),
    "flat quadratic": (lambda t: 1 + 1e-4 * t * t, 100 * math.sqrt(MULTIPLE - 1)),
    "sharp quadratic": (lambda t: 1 + 1e6 * t * t, 1e-3 * math.sqrt(MULTIPLE - 1)),
    "exponential": (lambda t: math.exp(3 * t), math.log(MULTIPLE) / 3),
    "kink": (lambda t: 2 + 7 * t, 2 * (MULTIPLE - 1) / 7),
    "down, then up": (lambda t: 1 - t + t * t, (1 + math.sqrt(1 + 4 * (MULTIPLE - 1))) / 2),
    "jump": (lambda t: 1.0 if t < 0.3 else 1e6, 0.3),
    "nearly 0 at θ": (lambda t: 1e-9 + t * t, math.sqrt(LEAST_RISE)),
}


@pytest.mark.parametrize("name", REACHED)
def test_the_extent_is_where_the_loss_reaches_its_target_up_to_rounding(name):
    loss, truth = REACHED[name]
    found = extent(loss)
    assert found.reached
    assert found.remark == ""
    assert 1 / 1.25 < found.extent / truth < 1.25


@pytest.mark.parametrize("power", [1, 2, 4])
@pytest.mark.parametrize("scale", [1e-2, 0.7, 1, 30])
def test_on_a_power_of_t_the_extent_is_the_nearest_of_the_round_numbers(power, scale):
    """So it is off by half a step between these at most: 33 %, from 1.5 to 2 and from 3 to 4."""
    found = extent(lambda t: 1 + (t / scale) ** power, multiple=3)
    truth = scale * 2 ** (1 / power)
    assert abs(math.log(found.extent / truth)) <= math.log(4 / 3) / 2 + 1e-9


LOSSES = {name: loss for name, (loss, _) in REACHED.items()} | {
    "flat": lambda t: 0.5,
    "level": lambda t: 0.2 + 0.1 * t * t / (1 + t * t),
    "NaN beyond": lambda t: math.nan if t > 0.05 else 0.2 + t * t,
    "NaN": lambda t: math.nan if t else 1.0,
    "infinite": lambda t: 1e300 * 1e300 if t > 1e-3 else 1.0,
    "past": lambda t: 1e9 if t else 1.0,
}


@pytest.mark.parametrize("most", [3, 5, 12])
@pytest.mark.parametrize("name", LOSSES)
def test_no_more_than_the_evaluations_asked_for_are_made_and_all_are_told(name, most):
    value = Counted(LOSSES[name])
    found = extent(value, most=most)
    assert found.evaluations == len(value.calls) <= most
    assert value.calls == found.t.tolist()
    np.testing.assert_array_equal(found.losses, [LOSSES[name](t) for t in value.calls])
    assert 0 < found.extent < math.inf
    assert found.reached == (not found.remark)


def test_a_flat_loss_is_told():
    found = extent(LOSSES["flat"])
    assert (found.extent, found.reached) == (1.0, False)
    assert "it is 0.5 at most" in found.remark
    assert "give --extent a number" in found.remark


def test_a_loss_that_levels_off_is_shown_where_it_has_done_so():
    found = extent(LOSSES["level"])
    assert not found.reached
    assert 0.9 <= (LOSSES["level"](found.extent) - 0.2) / 0.1 < 0.99


def test_the_extent_stays_where_the_loss_is_finite():
    found = extent(LOSSES["NaN beyond"])
    assert not found.reached
    assert 0.05 / 1.5 < found.extent <= 0.05
    assert "not finite from 0.05" in found.remark


def test_a_loss_past_its_target_next_to_the_weights_is_told():
    found = extent(LOSSES["past"])
    assert not found.reached
    assert "the least that was tried" in found.remark


def test_the_units_of_the_direction_do_not_matter():
    one, other = extent(lambda t: 1 + t * t), extent(lambda t: 1 + (t / 10) ** 2)
    assert other.extent == pytest.approx(10 * one.extent, rel=0.35)


def test_a_loss_at_the_weights_that_is_not_finite_is_refused():
    with pytest.raises(NumericalError, match="the loss of θ is nan"):
        extent(lambda t: math.nan)


@pytest.mark.parametrize(
    ("multiple", "most"), [(1.0, 12), (0.5, 12), (math.inf, 12), (math.nan, 12), (5.0, 2)]
)
def test_a_target_that_makes_no_sense_is_refused(multiple, most):
    with pytest.raises(InputError, match="multiple above 1"):
        extent(lambda t: 1 + t * t, multiple, most)
