"""The geometry of curves: weights, ends, the straight start, the chain rule, the length."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landscape.curves import Curve, straight
from landscape.errors import InputError

KINDS = ("bezier", "polygon")


def drawn(count: int, size: int = 7, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=rng, dtype=dtype) for _ in range(count)]


@given(kind=st.sampled_from(KINDS), bends=st.integers(0, 30), t=st.floats(0, 1))
def test_the_weights_are_not_negative_and_sum_to_1(kind, bends, t):
    weights = Curve(kind, drawn(bends + 2, 1)).weights(t)
    assert weights.shape == (bends + 2,)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-13)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bends", [0, 1, 3])
def test_the_ends_are_the_first_and_the_last_point_bit_for_bit(kind, dtype, bends):
    points = drawn(bends + 2, dtype=dtype)
    curve = Curve(kind, points)
    assert torch.equal(curve.at(0.0), points[0])
    assert torch.equal(curve.at(1.0), points[-1])
    assert curve.at(0.3).dtype == dtype


@given(kind=st.sampled_from(KINDS), bends=st.integers(0, 5), t=st.floats(0, 1))
def test_a_straight_curve_is_the_line_evenly_in_t(kind, bends, t):
    a, b = drawn(2)
    assert torch.allclose(straight(kind, a, b, bends).at(t), a + t * (b - a), rtol=0, atol=1e-14)


@pytest.mark.parametrize("t", [0.0, 0.125, 0.4, 0.9, 1.0])
def test_a_bezier_curve_is_what_de_casteljau_constructs(t):
    points = drawn(5)
    rest = points
    while len(rest) > 1:
        rest = [(1 - t) * a + t * b for a, b in pairwise(rest)]
    assert torch.allclose(Curve("bezier", points).at(t), rest[0], rtol=0, atol=1e-14)


def test_a_polygon_meets_its_bends_and_halves_the_way_between_them():
    points = drawn(5)
    curve = Curve("polygon", points)
    for k, point in enumerate(points):
        assert torch.equal(curve.at(k / 4), point)
    for k in range(4):
        assert torch.allclose(curve.at((k + 0.5) / 4), (points[k] + points[k + 1]) / 2)


def test_what_is_not_theta_goes_the_straight_way_and_is_the_ends_own_there():
    first, last = (torch.tensor([v, 0.3], dtype=torch.float32) for v in (1.0, 3.1))
    curve = Curve("bezier", drawn(4), {"bn.running_var": (first, last)})
    assert curve.rest_at(0)["bn.running_var"] is first
    assert curve.rest_at(1)["bn.running_var"] is last
    found = curve.rest_at(0.25)["bn.running_var"]
    assert torch.equal(found, torch.tensor([1.525, 0.3]))


@pytest.mark.parametrize("kind", KINDS)
def test_backwards_it_is_the_curve_of_the_points_backwards(kind):
    points = drawn(5)
    for t in (0.1, 0.25, 0.6):
        there, back = Curve(kind, points).at(t), Curve(kind, points[::-1]).at(1 - t)
        assert torch.allclose(there, back, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_a_control_point_is_its_weight_times_that_of_the_point(kind):
    points = [point.requires_grad_() for point in drawn(4)]
    curve, t = Curve(kind, points), 0.35

    def loss(theta):
        return (theta.sin() * torch.arange(7)).sum()

    leaf = curve.at(t).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    own = torch.autograd.grad(loss(curve.at(t)), points, allow_unused=True)
    for weight, found in zip(curve.weights(t), own, strict=True):
        expected = weight * gradient
        assert torch.allclose(
            torch.zeros_like(expected) if found is None else found, expected, rtol=1e-13, atol=0
        )


def test_the_length_of_a_parabola_is_that_of_the_closed_form():
    # (0, 0), (1/2, h), (1, 0): y = 2 h t (1 − t) over x = t
    h = 1.7
    curve = Curve("bezier", [torch.tensor(p, dtype=torch.float64) for p in ((0, 0), (0.5, h), (1, 0))])
    a = 2 * h  # slope at the ends
    closed = (a * math.sqrt(1 + a**2) + math.asinh(a)) / (2 * a)
    assert curve.length() == pytest.approx(closed, rel=1e-10)


@pytest.mark.parametrize("bends", [0, 1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_the_length_is_that_of_many_short_steps_and_that_of_a_straight_one_the_distance(kind, bends):
    curve = Curve(kind, drawn(bends + 2))
    places = [curve.at(t) for t in np.linspace(0, 1, 2001)]
    steps = sum((b - a).norm().item() for a, b in pairwise(places))
    assert curve.length() == pytest.approx(steps, rel=1e-5)
    a, b = drawn(2)
    assert straight(kind, a, b, bends).length() == pytest.approx((b - a).norm().item(), rel=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Curve("circle", drawn(3)), "'circle' is not known; there are bezier, polygon"),
        (lambda: Curve("bezier", drawn(1)), "1 control points .* 2 or more"),
        (lambda: Curve("bezier", [*drawn(1), *drawn(1, 3)]), "of one shape"),
        (lambda: Curve("bezier", drawn(2)).at(1.01), "t = 1.01: .* from 0 to 1"),
        (lambda: straight("bezier", *drawn(2), -1), "-1 bends: give 0"),
        (lambda: straight("bezier", *drawn(2), 31), "31 bends: .* to 30"),
    ],
)
def test_what_is_no_curve_is_refused_in_words(make, words):
    with pytest.raises(InputError, match=words):
        make()
