"""Square attack against closed forms, invariances, and the geometry of its squares."""

import itertools
import math

import pytest
import torch
from test_attacks import convolutional, images, objective, two_classes
from torch import nn

from landscape import Budget, Data, Linear, Network, Objective, Square, registry
from landscape.attacks.base import ascent
from landscape.attacks.square import _Corners, _Pyramids, pyramids
from landscape.errors import InputError
from landscape.losses.margin import margin

NORMS = {"linf": "0.2", "l2": "0.7"}


def attacked(norm, queries, data=None, module=None, **told):
    spec = f"square:queries={queries}"
    return objective(module or convolutional(), spec, norm, data=data, **told).at()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("queries", [1, 2, 60])
def test_it_stays_in_ball_and_box_and_never_falls_below_the_clean_loss(queries, norm):
    point = attacked(norm, queries)
    delta = point.perturbation.flatten(1)
    length = delta.abs().amax(dim=1) if norm == "linf" else delta.norm(dim=1)
    assert 0 <= point.perturbed.x.min() <= point.perturbed.x.max() <= 1
    assert (length <= float(Budget(NORMS[norm]).eps)).all()
    assert (point.losses >= point.objective.under(Budget(0)).at().losses).all()


@pytest.mark.parametrize("norm", NORMS)
def test_everything_that_it_tries_is_in_the_budget_and_the_best_is_kept(norm):
    data, budget = images(), Budget(NORMS[norm], norm)
    module = convolutional().double().eval()
    tried, values = [], []

    def losses(x):
        tried.append(x.clone())
        values.append(margin(module(x), data.y))
        return values[-1]

    found = Square(queries=80)(losses, data.x, data.index, budget)
    for x in tried:
        assert 0 <= x.min() <= x.max() <= 1
        assert (budget.size(x - data.x) <= float(budget.eps)).all()
    torch.testing.assert_close(margin(module(found), data.y), torch.stack(values).amax(dim=0), rtol=0, atol=0)
    assert len(tried) == 81  # the clean input besides
    # Each query but the stripes differs from the best before it: none is wasted.
    best, highest = tried[1], values[1]
    for x, value in zip(tried[2:], values[2:], strict=True):
        assert (x != best).flatten(1).any(dim=1).all()
        rises = value > highest
        best, highest = torch.where(rises.view(-1, 1, 1, 1), x, best), torch.where(rises, value, highest)


@pytest.mark.parametrize("norm", NORMS)
def test_more_queries_begin_with_the_same_ones(norm):
    losses = [attacked(norm, queries).losses for queries in (1, 5, 20, 70, 200)]
    for fewer, more in itertools.pairwise(losses):
        assert (more >= fewer).all()
    assert (losses[-1] > losses[0]).all()


@pytest.mark.parametrize("norm", NORMS)
def test_what_it_finds_depends_on_the_example_and_the_seed_alone(norm):
    data = images()
    together = attacked(norm, 70, data).perturbed.x
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(2))
    state = torch.get_rng_state()
    alone = attacked(norm, 70, data[order], batch_size=5).perturbed.x
    torch.testing.assert_close(alone, together[order], rtol=0, atol=1e-12)
    assert torch.equal(state, torch.get_rng_state())
    o = objective(convolutional(), "square:queries=70,seed=1", norm, data=data)
    assert not torch.equal(o.at().perturbed.x, together)


def test_under_linf_it_reaches_the_exact_maximum_of_a_linear_model():
    module, data = two_classes()
    exact = objective(module, str(Linear()), data=data).at().losses
    torch.testing.assert_close(attacked("linf", 1500, data, module).losses, exact, rtol=1e-12, atol=0)


def test_under_l2_it_comes_near_the_exact_maximum_of_a_linear_model_and_not_above():
    module, data = two_classes()
    o = objective(module, str(Linear()), "l2", data=data)
    clean, exact = o.under(Budget(0)).at().losses, o.at().losses
    found = attacked("l2", 600, data, module).losses
    assert (found <= exact + 1e-12).all()
    assert ((found - clean) / (exact - clean)).mean() > 0.7


def test_it_asks_for_no_gradient_and_counts_its_queries():
    point = attacked("linf", 25)
    point.perturbed  # noqa: B018
    assert point.objective.passes == {"forward": 26, "gradient": 0, "hvp": 0}


def test_it_breaks_what_has_no_gradient():
    def staircase(x):
        return (10 * x).round().view(len(x), 12, 3).sum(dim=1)

    data, budget = images(), Budget("0.2")
    x, y = data.x, data.y

    def losses(x):
        return margin(staircase(x) + 0 * x.flatten(1)[:, :1], y)

    _, gradient = ascent(losses, x)
    assert not gradient.any()
    found = Square(queries=300)(losses, x, data.index, budget)
    assert (losses(found) > losses(x)).all()


def test_squares_shrink_as_in_the_paper():
    # For 10,000 queries: halved after 10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000.
    attack = Square(share=0.8)
    queries = [0, 10, 11, 50, 51, 200, 201, 501, 1001, 2001, 4001, 6001, 8001]
    halved = [0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9]
    assert [attack._share(q) for q in queries] == [0.8 / 2**h for h in halved]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 5, 9), (9, 5), (7,), (1, 1, 1), (2, 3, 4, 5)])
@pytest.mark.parametrize("norm", NORMS)
def test_inputs_of_any_shape_are_attacked(shape, norm):
    rng = torch.Generator().manual_seed(0)
    data = Data.of(torch.rand(6, *shape, generator=rng, dtype=torch.float64), torch.arange(6) % 2)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 2))
    o = Objective(Network(module, dtype=torch.float64), data, Budget("0.1", norm), Square(queries=150))
    assert o.at().perturbed.x.shape == data.x.shape
    assert (o.at().losses > o.under(Budget(0)).at().losses).all()


@pytest.mark.parametrize("search", [_Corners, _Pyramids])
@pytest.mark.parametrize("size", [(1, 1), (3, 3), (2, 6), (6, 6)])
def test_windows_lie_anywhere_in_the_image_and_nowhere_else(search, size):
    x = torch.rand(4000, 1, 6, 6, dtype=torch.float64)
    found = search(x, Budget("0.1"))
    u = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u[0], u[1] = 0.0, 1.0  # which a rounded number of float32 may be
    rows, columns = found.places(u, size)
    for at, length in ((rows, size[0]), (columns, size[1])):
        assert at.shape == (4000, length)
        assert 0 <= at.min() <= at.max() <= 5
        counts = torch.bincount(at[:, 0], minlength=7 - length).double()
        assert len(counts) == 7 - length
        expected = 4000 / len(counts)
        assert (counts - expected).abs().max() < 4.5 * math.sqrt(expected)
    mask = found.mask((rows, columns))
    assert mask.sum() == 4000 * size[0] * size[1]


@pytest.mark.parametrize("shape", [(28, 28), (32, 32), (6, 6), (1, 50), (10, 4)])
@pytest.mark.parametrize("share", [0.8, 0.1, 0.01, 0.8 / 512])
def test_a_window_has_its_share_of_the_image(shape, share):
    height, width = _Corners(torch.zeros(1, 1, *shape), Budget("0.1")).window(share)
    assert 1 <= height <= shape[0]
    assert 1 <= width <= shape[1]
    pixels = share * shape[0] * shape[1]
    if shape[0] == shape[1]:
        assert height == width == max(round(math.sqrt(pixels)), 1)
    else:
        assert height * width == pytest.approx(max(pixels, 1), rel=0.5)


def test_a_pair_of_pyramids_is_that_of_the_paper():
    # For a side of 5 the halves have 2 and 3 rows: 1 + 1/4 + 1/9 at a middle, one term less a pixel away.
    tall, mean, low = 1 + 1 / 4 + 1 / 9, 1 / 4 + 1 / 9, 1 / 9
    above = torch.tensor([[low, mean, mean, mean, low], [low, mean, tall, mean, low]])
    below = torch.tensor(
        [[low, mean, mean, mean, low], [low, mean, tall, mean, low], [low, mean, mean, mean, low]]
    )
    expected = torch.cat([above / above.norm(), -below / below.norm()]).double() / math.sqrt(2)
    torch.testing.assert_close(pyramids(5, 5), expected, rtol=1e-6, atol=1e-6)
    for size in ((1, 1), (1, 2), (1, 7), (2, 2), (4, 3), (7, 7)):
        assert pyramids(*size).shape == size
        assert pyramids(*size).norm() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("spec", ["square:queries=0", "square:share=0", "square:share=1.5"])
def test_what_cannot_be_searched_is_refused(spec):
    with pytest.raises(InputError, match="queries are at least 1"):
        registry.make("attack", spec)


@pytest.mark.parametrize("spec", ["square:queries=7", "square:queries=7,share=0.5"])
def test_it_prints_as_its_specification(spec):
    assert str(registry.make("attack", spec)) == spec
