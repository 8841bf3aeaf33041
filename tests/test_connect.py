"""Curves between checkpoints: their training, what is measured along them, and the command."""

import copy
import json
import re
from dataclasses import replace

import nets
import numpy as np
import pytest
import torch
from conftest import MODEL
from test_plot_connect import way
from torch import nn

from landscape import PGD, Budget, Data, Network, Objective, cli, load, registry
from landscape.analyzers.connect import Connection
from landscape.connecting import bending as module
from landscape.connecting.along import WORK, Along, Scanned, sizes
from landscape.connecting.bending import Bending, Recipe
from landscape.curves import Curve, straight
from landscape.errors import InputError, LandscapeError, NumericalError
from landscape.objective import REFERENCE
from landscape.statistics import by_batch, holding, recomputed
from landscape.subjects import same_data, subject

ATTACK = PGD(steps=3)
NOTHING = lambda state: None  # noqa: E731


def between(make, seeds=(0, 1)) -> tuple[Network, Network]:
    """Two networks of one module with other weights."""
    return tuple(Network(nets.trained(make(), seed), dtype=torch.float64) for seed in seeds)


def a_start(make=nets.mlp, *, n=40, shape=(4,), bends=2, kind="bezier", eps="0"):
    """The straight start between two networks, and the objective of the first."""
    a, b = between(make)
    rest = {k: (v, b.rest()[k]) for k, v in a.rest().items() if not torch.equal(v, b.rest()[k])}
    objective = Objective(a, nets.data(n, *shape), Budget(eps), ATTACK)
    return straight(kind, a.theta, b.theta, bends, rest), objective


def cnn():
    return nets.trained(nets.cnn(), 3)


# The training of the bends


@pytest.mark.parametrize("kind", ["bezier", "polygon"])
@pytest.mark.parametrize("eps", ["0", "0.1"])
def test_a_step_goes_down_the_gradient_of_the_control_points(kind, eps):
    start, o = a_start(kind=kind, eps=eps)
    recipe = Recipe(optimizer="sgd", epochs=1, mini_batch=40, steps=3, lr=0.1)
    training = Bending(start, o, recipe)
    t, batch = training.drawn(0)
    training.run(NOTHING, "")
    points = [p.detach().clone().requires_grad_() for p in start.points]
    theta = sum(w * p for w, p in zip(start.weights(t), points, strict=True))
    rows = o.data[batch]
    x = rows.x
    if o.budget.eps:
        parts = o.network.parts(start.at(t))

        def losses(moved):
            return o.losses(parts, moved, rows.y)

        x = PGD(steps=3, seed=1000)(losses, x, rows.index, o.budget)
        assert (x != rows.x).any()
    mean = o.losses(o.network.parts(theta), x, rows.y).mean()
    gradients = torch.autograd.grad(mean, points[1:-1])
    for before, after, gradient in zip(points[1:-1], training.curve.points[1:-1], gradients, strict=True):
        assert torch.allclose((before - after) / 0.1, gradient, rtol=1e-7, atol=1e-10)
    assert training.losses[0] == pytest.approx(mean.item())
    assert torch.equal(training.curve.points[0], start.points[0])
    assert torch.equal(training.curve.points[-1], start.points[-1])


@pytest.mark.parametrize(("kind", "bends"), [("bezier", 1), ("bezier", 3), ("polygon", 2)])
def test_on_a_quadratic_the_bends_end_where_the_closed_form_says(kind, bends):
    # L = (θ − θ*)ᵀ H (θ − θ*) / 2 + c: the minimum of E_t L(θ(t)) solves Σ_l ⟨b_k b_l⟩ θ_l = ⟨b_k⟩ θ*
    net, rng = nn.Linear(2, 1, bias=False), np.random.default_rng(0)
    x = torch.from_numpy(rng.uniform(size=(32, 2)))
    y = torch.from_numpy(rng.uniform(size=32))
    data = Data.of(x, y, numbers=True)

    def square(logits, y):
        return (logits[:, 0] - y).square() / 2

    o = Objective(Network(net, dtype=torch.float64), data, loss=square)
    best = torch.linalg.lstsq(x, y[:, None]).solution[:, 0]
    a, b = best + torch.tensor([2.0, 0.0]), best + torch.tensor([0.5, -1.5])
    start = straight(kind, a.double(), b.double(), bends)
    found = Bending(start, o, Recipe(epochs=80, mini_batch=4, lr=0.1)).run(NOTHING, "")
    t = (np.arange(4000) + 0.5) / 4000
    weights = np.stack([start.weights(each) for each in t])
    gram, mean = weights.T @ weights / len(t), weights.mean(axis=0)
    ends, inner = np.stack([a.numpy(), b.numpy()]), slice(1, -1)
    right = np.outer(mean[inner], best.numpy()) - gram[inner][:, [0, -1]] @ ends
    lowest, hessian = np.linalg.solve(gram[inner, inner], right), (x.T @ x / len(x)).numpy()

    def above(curve):
        """By how much E_t L is above its minimum: the bends of many themselves are hardly determined."""
        off = np.stack([p.numpy() for p in curve.points[1:-1]]) - lowest
        return np.einsum("kl,ki,lj,ij->", gram[inner, inner], off, off, hessian) / 2

    mean_losses = [np.mean([o.at(c.at(s)).value for s in t[20::40]]) for c in (start, found)]
    assert mean_losses[0] - mean_losses[1] == pytest.approx(above(start) - above(found), rel=0.02)
    assert above(found) < 0.05 * above(start)


def permuted(seed=0, width=12):
    """A net that fits its data, and one of the same function whose hidden units are in another order."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3)).double()
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(150, 4, generator=rng, dtype=torch.float64)
    y = (3 * (x[:, 0] - x[:, 1] + x[:, 2] * x[:, 3])).sin().mul(1.5).round().long() + 1
    optimizer = torch.optim.Adam(net.parameters(), 0.03)
    for _ in range(400):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y.clamp(0, 2)).backward()
        optimizer.step()
    other, order = copy.deepcopy(net), torch.randperm(width, generator=rng)
    other[0].weight.data, other[0].bias.data = net[0].weight.data[order], net[0].bias.data[order]
    other[2].weight.data = net[2].weight.data[:, order]
    return net, other, Data.of(x, y.clamp(0, 2))


def test_between_a_net_and_its_permutation_the_line_has_a_barrier_and_the_curve_hardly_any():
    with torch.random.fork_rng():
        net, other, data = permuted()
    a, b = (Network(m, dtype=torch.float64) for m in (net, other))
    o = Objective(a, data)
    start = straight("bezier", a.theta, b.theta, 3)
    curve = Bending(start, o, Recipe(epochs=250, mini_batch=50, lr=0.1)).run(NOTHING, "")
    line, bent = (
        scanned(Along(c, o, [o.data]), np.linspace(0, 1, 21)).barrier("loss", 0) for c in (start, curve)
    )
    assert o.at().value == pytest.approx(replace(o, network=b).at().value, rel=1e-12)
    assert line.height > 0.3
    assert bent.height < 0.05 * line.height


def convolutions(batchnorm=False):
    return nn.Sequential(
        nn.Conv2d(2, 3, 3),
        *([nn.BatchNorm2d(3)] if batchnorm else []),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(48, 3),
    )


def test_in_half_precision_the_attack_sees_a_copy_of_the_net_and_the_step_the_net_itself():
    a, b = (Network(nets.trained(convolutions(), seed)) for seed in (0, 1))
    o = Objective(a, nets.data(24, 2, 6, 6), Budget("0.1"))
    start = straight("bezier", a.theta, b.theta, 1)
    recipe = Recipe(optimizer="sgd", mini_batch=24, steps=3, lr=0.1, attack_precision="bfloat16")
    training = Bending(start, o, recipe)
    t, batch = training.drawn(0)
    training._step()
    module_ = convolutions()
    nn.utils.vector_to_parameters(start.at(t), module_.parameters())
    low, rows = copy.deepcopy(module_).bfloat16(), o.data[batch]
    clean = rows.x.float()

    def losses(moved):
        return nn.functional.cross_entropy(low(moved.bfloat16()).float(), rows.y, reduction="none")

    x = PGD(steps=3, seed=1000)(losses, clean, rows.index, o.budget)
    nn.functional.cross_entropy(module_(x), rows.y).backward()
    expected = 2 * t * (1 - t) * torch.cat([p.grad.flatten() for p in module_.parameters()])
    moved = (start.points[1] - training.curve.points[1]) / 0.1
    assert torch.allclose(moved, expected, rtol=1e-4, atol=1e-5)
    full = Bending(start, o, replace(recipe, attack_precision="full"))
    full._step()
    assert full.losses[0] != training.losses[0]
    assert full.losses[0] == pytest.approx(training.losses[0], rel=1e-2)


def test_a_curve_of_a_batchnorm_net_is_trained_under_attacks_in_half_precision():
    a, b = (Network(nets.trained(convolutions(batchnorm=True), seed)) for seed in (0, 1))
    rest = {name: (first, b.rest()[name]) for name, first in a.rest().items()}
    o = Objective(a, nets.data(40, 2, 6, 6), Budget("0.1"))
    start = straight("bezier", a.theta, b.theta, 1, rest)
    for bn in ("recompute", "frozen"):
        recipe = Recipe(epochs=2, mini_batch=20, steps=2, lr=0.01, bn=bn)
        full, half = (
            Bending(start, o, replace(recipe, attack_precision=each)) for each in ("full", "bfloat16")
        )
        full.run(NOTHING, "")
        half.run(NOTHING, "")
        assert np.allclose(full.losses, half.losses, rtol=0.02)
        assert half.passes == full.passes


def test_half_precision_is_taken_where_the_processor_has_it_and_the_net_bears_it(monkeypatch):
    has = module.has_half
    o = Objective(Network(convolutions()), nets.data(8, 2, 6, 6))
    for there in (True, False):
        monkeypatch.setattr(module, "has_half", lambda network, there=there: there)
        assert module.precision("auto", o) == ("bfloat16" if there else "full")
        assert module.precision("bfloat16", o) == "bfloat16"
        assert module.precision("full", o) == "full"
    assert not has(Network(convolutions(), dtype=torch.float64))
    refuses = nets.Net(lambda m, x: m.last(x.flatten(1) + torch.zeros(72)), last=nn.Linear(72, 3))
    monkeypatch.setattr(module, "has_half", lambda network: True)
    never = replace(o, network=Network(refuses))
    assert module.precision("auto", never) == "full"
    with pytest.raises(InputError, match="give --attack-precision full"):
        module.precision("bfloat16", never)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(
    ("dtype", "attack_precision"),
    [(torch.float32, "full"), (torch.float64, "full"), (torch.float32, "bfloat16")],
)
def test_a_training_that_was_kept_carries_on_with_the_same_bits(optimizer, dtype, attack_precision):
    a, b = (Network(nets.trained(nets.mlp(), seed), dtype=dtype) for seed in (0, 1))
    o = Objective(a, nets.data(40, 4), Budget("0.1"), ATTACK)
    start = straight("bezier", a.theta, b.theta, 2)
    recipe = Recipe(
        optimizer=optimizer, epochs=4, mini_batch=15, steps=2, lr=0.01, attack_precision=attack_precision
    )
    whole = Bending(start, o, recipe)
    states = []
    while not whole.done:
        whole._step()
        states.append(whole.state())
    for state in (states[0], states[5], states[-1]):
        again = Bending(start, o, recipe)
        again.restore(state)
        found = again.run(NOTHING, "")
        assert all(torch.equal(p, q) for p, q in zip(found.points, whole.curve.points, strict=True))
        assert np.array_equal(again.losses, whole.losses)
        assert again.passes == whole.passes


def test_an_epoch_takes_every_example_once_and_a_t_from_each_part():
    start, o = a_start(n=40)
    training = Bending(start, o, Recipe(mini_batch=9, epochs=2))
    assert training.per_epoch == 5
    epochs = [[training.drawn(step) for step in range(k, k + 5)] for k in (0, 5)]
    for each in epochs:
        assert torch.equal(torch.cat([rows for _, rows in each]).sort().values, torch.arange(40))
        assert {len(rows) for _, rows in each} == {8}
        assert sorted(int(5 * t) for t, _ in each) == [0, 1, 2, 3, 4]
    assert epochs[0][0][0] != epochs[1][0][0]
    other = Bending(start, o, Recipe(mini_batch=9, epochs=2, seed=1))
    assert other.drawn(0)[0] != training.drawn(0)[0]


@pytest.mark.parametrize(("eps", "forward", "gradient"), [("0", 0, 3), ("0.1", 6, 18)])
def test_the_passes_of_a_training_are_counted(eps, forward, gradient):
    start, o = a_start(eps=eps)
    training = Bending(start, o, Recipe(epochs=3, mini_batch=16, steps=5))
    training.run(NOTHING, "")
    assert training.passes == {"forward": forward, "gradient": gradient, "hvp": 0}
    assert not o.work


def test_a_training_that_diverges_says_what_to_do():
    def huge(logits, y):
        return logits.square().sum(dim=1).exp().exp()

    start, o = a_start()
    with pytest.raises(NumericalError, match=r"in step \d+; train with a smaller --lr than 1000"):
        Bending(start, replace(o, loss=huge), Recipe(lr=1000.0)).run(NOTHING, "")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: Recipe(epochs=0), "epochs = 0, .* each is at least 1"),
        (lambda: Recipe(lr=-1.0), "lr = -1.0, .* lr is above 0"),
        (lambda: Bending(straight("bezier", *torch.randn(2, 3), 0), None, Recipe()), "nothing to train"),
    ],
)
def test_a_training_that_cannot_be_is_refused_in_words(made, words):
    with pytest.raises(InputError, match=words):
        made()


# BatchNorm


def with_instance_norm():
    """The same with a layer whose running statistics its training never takes."""
    net = nets.cnn()
    net[1] = nn.InstanceNorm2d(2, affine=True, track_running_stats=True)
    return nets.trained(net, 3)


@pytest.mark.parametrize("make", [cnn, with_instance_norm])
def test_by_batch_a_net_is_what_it_is_in_training_and_nothing_is_remembered(make):
    network = Network(make(), dtype=torch.float64)
    x = nets.data(12, 2, 6, 6).x
    before = {k: v.clone() for k, v in network.module.state_dict().items()}
    leaves = [p.detach().clone().requires_grad_() for p in network.parts(network.theta)]
    found = by_batch(network)(leaves, x, network.rest())
    module_ = copy.deepcopy(network.module).train().requires_grad_(True)
    expected = module_(x)
    assert torch.allclose(found, expected, rtol=1e-12)
    ours = torch.autograd.grad(found.square().sum(), leaves)
    theirs = torch.autograd.grad(expected.square().sum(), list(module_.parameters()))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)
    assert all(torch.equal(before[k], v) for k, v in network.module.state_dict().items())


def test_without_batchnorm_the_network_by_batch_is_itself():
    network = Network(nets.mlp())
    assert by_batch(network) is network
    assert holding(network, {}) is network


def test_a_network_that_holds_other_statistics_is_the_network_with_these_buffers():
    a, b = between(nets.cnn)
    x = nets.data(5, 2, 6, 6).x
    other = holding(a, b.rest())
    parts = a.parts(a.theta)
    assert torch.equal(other(parts, x), a(parts, x, b.rest()))
    assert torch.equal(other.theta, a.theta)
    assert not torch.allclose(a(parts, x), other(parts, x))


@pytest.mark.parametrize("bn", ["frozen", "recompute"])
def test_the_net_along_a_curve_has_the_statistics_that_are_asked_for(bn):
    start, o = a_start(nets.cnn, shape=(2, 6, 6))
    t = 0.3
    network, spent = Along(start, o, [o.data], bn=bn).network(t)
    if bn == "frozen":
        first, last = start.rest["1.running_var"]
        expected = {"1.running_var": 0.7 * first + 0.3 * last}
    else:
        expected = recomputed(o.network, o.network.parts(start.at(t)), [o.data.x])
    for name, value in expected.items():
        assert torch.allclose(network.rest()[name], value, rtol=1e-12)
    assert spent["forward"] == (0 if bn == "frozen" else 40)


def test_under_attack_the_statistics_are_those_of_the_attacked_examples():
    start, o = a_start(nets.cnn, shape=(2, 6, 6), eps="0.2")
    clean, _ = Along(start, replace(o, budget=Budget(0)), [o.data]).network(0.5)
    attacked, _ = Along(start, o, [o.data]).network(0.5)
    mean = "1.running_mean"
    assert not torch.allclose(clean.rest()[mean], attacked.rest()[mean])
    theta = start.at(0.5)
    moved = replace(o, network=clean, attack=PGD(steps=5)).at(theta).perturbed.x
    expected = recomputed(o.network, o.network.parts(theta), [moved])
    assert torch.allclose(attacked.rest()[mean], expected[mean], rtol=1e-10)


def test_a_batchnorm_net_is_trained_and_measured_and_its_module_is_left_as_it_was():
    start, o = a_start(nets.cnn, shape=(2, 6, 6), eps="0.1")
    before = {k: v.clone() for k, v in o.network.module.state_dict().items()}
    training = Bending(start, o, Recipe(epochs=3, mini_batch=10, steps=2, lr=0.01))
    curve = training.run(NOTHING, "")
    assert training.course(3)[-1] < training.course(3)[0]
    held = nets.data(20, 2, 6, 6, seed=9)
    found = Along(curve, o, [o.data, held])(0.5)
    assert np.isfinite(found[:, : len(WORK) + 7]).all()
    assert all(torch.equal(before[k], v) for k, v in o.network.module.state_dict().items())
    # Statistics never come from what is held out.
    alone = Along(curve, o, [o.data])(0.5)
    assert np.array_equal(alone[0], found[0])


def used_twice():
    """A net in which one BatchNorm stands at two places."""
    norm = nn.BatchNorm2d(2)
    first, second = nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3)
    return nn.Sequential(first, norm, nn.ReLU(), second, norm, nn.Flatten(), nn.Linear(8, 3))


@pytest.mark.parametrize("bn", ["recompute", "frozen"])
def test_a_batchnorm_that_stands_at_two_places_has_statistics_once(bn):
    start, o = a_start(used_twice, shape=(2, 6, 6), eps="0.1")
    assert set(start.rest) == {"1.running_mean", "1.running_var"}
    rests = [{name: pair[end].clone() for name, pair in start.rest.items()} for end in (0, 1)]
    curve = Bending(start, o, Recipe(epochs=2, mini_batch=20, steps=2, bn=bn)).run(NOTHING, "")
    along = Along(curve, o, [o.data], bn=bn)
    assert np.array_equal(along(0.5), along(0.5), equal_nan=True)
    for end, (network, rest) in enumerate(zip(between(used_twice), rests, strict=True)):
        assert all(torch.equal(start.rest[name][end], tensor) for name, tensor in rest.items())
        own = replace(o, network=network).at().value
        assert (along(float(end))[0, len(WORK)] == own) == (bn == "frozen")


# What is measured


def scanned(along, t):
    values = np.stack([along(float(each)) for each in t])
    found = Scanned(along, t, values)
    return replace(found, gaps=np.stack([found.measured_gaps(k) for k in range(len(along.data))]))


@pytest.mark.parametrize("eps", ["0", "0.1"])
@pytest.mark.parametrize("make", [nets.mlp, nets.cnn])
def test_the_ends_have_the_losses_of_the_models_bit_for_bit(make, eps):
    shape = (4,) if make is nets.mlp else (2, 6, 6)
    start, o = a_start(make, shape=shape, eps=eps)
    held = nets.data(20, *shape, seed=9)
    for t, network in zip((0, 1), between(make), strict=True):
        values = Along(start, o, [o.data, held], bn="frozen")(t)[:, len(WORK) :]
        for row, data in zip(values, (o.data, held), strict=True):
            point = replace(o, network=network, data=data).at()
            clean = replace(o, network=network, data=data, budget=Budget(0)).at()
            assert row[0] == point.value
            assert row[1] == point.value_stderr
            assert row[2] == point.accuracy
            assert row[4] == clean.value
            assert row[6] == clean.accuracy


@pytest.mark.parametrize("eps", ["0", "0.1"])
def test_nothing_depends_on_the_batch_size(eps):
    start, o = a_start(nets.cnn, n=41, shape=(2, 6, 6), eps=eps)
    found = []
    for size in (128, 7, 1):
        small = replace(o, batch_size=size)
        curve = Bending(start, small, Recipe(epochs=2, mini_batch=10, steps=2)).run(NOTHING, "")
        found.append((torch.stack([*curve.points]), Along(curve, small, [o.data])(0.4)))
    for points, values in found[1:]:
        assert torch.equal(points, found[0][0])
        assert np.allclose(values, found[0][1], rtol=1e-12, equal_nan=True)


def test_of_one_straight_way_the_curve_and_the_line_say_the_same():
    start, o = a_start(eps="0.1")
    line = Curve("polygon", [start.points[0], start.points[-1]])
    t = np.linspace(0, 1, 5)
    one, other = scanned(Along(start, o, [o.data]), t), scanned(Along(line, o, [o.data]), t)
    assert np.allclose(one.column("loss", 0), other.column("loss", 0), rtol=1e-9)
    assert one.lower(other, 0)[0] == pytest.approx(0, abs=1e-9)


def test_the_barrier_and_its_errors_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    start, o = a_start(n=40)
    t, g = np.linspace(0, 1, 5), 8
    count = sizes(o.data)
    assert count.sum() == 40

    def made(seed):
        values = np.full((5, 1, len(WORK) + 7 + 24), np.nan)
        groups = np.random.default_rng(seed).normal(1.0, 0.2, (5, g)) + np.array([0, 1, 2, 1, 0])[:, None]
        values[:, 0, len(WORK) + 7 : len(WORK) + 7 + g] = groups
        values[:, 0, len(WORK)] = groups @ (count / 40)
        return Scanned(Along(start, o, [o.data]), t, values), groups

    (one, first), (other, second) = made(1), made(2)
    rise = lambda groups: groups[2] - (groups[0] + groups[-1]) / 2  # noqa: E731
    assert one.barrier("loss", 0).at == other.barrier("loss", 0).at == 0.5
    assert one.barrier("loss", 0).height == pytest.approx(rise(first).mean())
    # Of groups of equal size the jackknife is the usual standard error of a mean.
    assert one.barrier("loss", 0).stderr == pytest.approx(rise(first).std(ddof=1) / g**0.5)
    height, error = one.lower(other, 0)
    difference = rise(second) - rise(first)
    assert height == pytest.approx(difference.mean())
    assert error == pytest.approx(difference.std(ddof=1) / g**0.5)
    mean, mean_error = one.mean(0)
    over_t = np.array([0.125, 0.25, 0.25, 0.25, 0.125]) @ first
    assert mean == pytest.approx(over_t.mean())
    assert mean_error == pytest.approx(over_t.std(ddof=1) / g**0.5)
    assert rng is not None


def test_the_inner_gap_is_that_of_the_point_at_the_barrier():
    start, o = a_start(eps="0.1")
    found = scanned(Along(start, o, [o.data]), np.linspace(0, 1, 5))
    top = found.barrier("loss", 0).at
    expected = replace(o).at(start.at(top)).gap(64)
    assert found.inner_gap(0) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert found.gaps[0, :, : len(WORK)].sum() > 0
    still = scanned(Along(start, replace(o, budget=Budget(0)), [o.data]), np.linspace(0, 1, 3))
    assert not still.gaps.any()


def test_a_barrier_is_off_by_what_a_stronger_attack_adds_above_the_chord_of_its_ends():
    start, o = a_start(eps="0.1", n=12)
    o = replace(o, attack=PGD(steps=1))
    t = np.linspace(0, 1, 3)
    held = nets.data(9, 4, seed=9)
    high = Curve("polygon", [start.points[0], 3 * start.points[1], start.points[-1]])
    found = scanned(Along(high, o, [o.data, held]), t)
    for place, data in enumerate((o.data, held)):

        def losses(attack, data=data):
            under = replace(o, data=data, attack=attack)
            return np.stack([under.at(high.at(float(each))).losses.numpy() for each in t])

        weak, strong = losses(o.attack), np.maximum(losses(REFERENCE), losses(o.attack))
        top = int((t == found.barrier("loss", place).at).argmax())
        assert top == 1
        rises = [values[1] - (values[0] + values[2]) / 2 for values in (weak, strong)]
        assert rises[0].mean() == pytest.approx(found.barrier("loss", place).height)
        added = rises[1] - rises[0]
        assert abs(added.mean()) > 1e-5
        gap, error = found.barrier_gap(place)
        assert gap == pytest.approx(added.mean())
        assert error == pytest.approx(added.std(ddof=1) / len(data) ** 0.5)


def test_what_a_stronger_attack_adds_at_the_ends_is_measured_once_for_all_ways_between_them():
    start, o = a_start(eps="0.1", n=12)
    t = np.linspace(0, 1, 3)
    line = scanned(Along(Curve("polygon", [start.points[0], start.points[-1]]), o, [o.data]), t)
    bent = Curve("bezier", [start.points[0], *(2 * p for p in start.points[1:-1]), start.points[-1]])
    alone = scanned(Along(bent, o, [o.data]), t)
    shared = replace(alone, gaps=alone.measured_gaps(0, line)[None])
    assert shared.barrier_gap(0) == alone.barrier_gap(0)
    assert not shared.gaps[0, [0, 2], : len(WORK)].any()
    assert (alone.gaps[0, :, : len(WORK)] > 0).all()
    assert (line.gaps[0, 1] != alone.gaps[0, 1]).any()


def test_the_passes_are_counted():
    start, o = a_start(nets.cnn, shape=(2, 6, 6))
    assert scanned(Along(start, o, [o.data], bn="frozen"), np.linspace(0, 1, 5)).passes(0)["forward"] == 5
    assert scanned(Along(start, o, [o.data]), np.linspace(0, 1, 5)).passes(0)["forward"] == 10
    attacked = Along(start, replace(o, budget=Budget("0.1")), [o.data, nets.data(16, 2, 6, 6)], bn="frozen")(
        0.5
    )
    # 3 steps; before them, after them, and for the logits; and the clean loss
    assert attacked[0, : len(WORK)].tolist() == [40 * 4, 40 * 3]
    assert attacked[1, : len(WORK)].tolist() == [16 * 4, 16 * 3]
    assert not o.work


def test_a_loss_that_is_not_finite_has_no_barrier_and_says_so():
    start, o = a_start()

    def overflows(logits, y):
        return (1e308 * (logits.square().sum(dim=1) + 10)) * 10

    found = scanned(Along(start, replace(o, loss=overflows), [o.data]), np.linspace(0, 1, 3))
    assert np.isnan(found.barrier("loss", 0).height)
    assert np.isnan(found.lower(found, 0)).all()


# The command

SMALL = "connect {place}/a.pt {place}/b.pt --epochs 4 --steps 2 --points 5 --mini-batch 16 --lr 0.01"


@pytest.fixture
def split(place):
    """Data with a test split."""
    rng = np.random.default_rng(1)
    arrays = {}
    for name, n in (("train", 40), ("test", 24)):
        arrays[f"x_{name}"] = rng.uniform(size=(n, 1, 4, 4)).astype(np.float32)
        arrays[f"y_{name}"] = rng.integers(0, 3, n)
    np.savez(place / "split.npz", **arrays)
    return f"--model {MODEL} --data {place}/split.npz --attack pgd:steps=2 --quiet"


@pytest.mark.parametrize("bn", ["recompute", "frozen"])
def test_of_a_net_with_batchnorm_it_is_told_whose_statistics_the_ends_have(bn, run, place):
    (place / "net.py").write_text(
        "import torch\n"
        "def make():\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU(),\n"
        "                               torch.nn.Flatten(), torch.nn.Linear(8, 3))\n"
    )
    for seed, name in enumerate("pq"):
        net = nets.trained(registry.load_callable(f"{place}/net.py:make")(), seed)
        torch.save(net.state_dict(), place / f"{name}.pt")
    words = f"{SMALL} --model {place}/net.py:make --data {place}/data.npz --quiet --bn {bn} -o {place}/c.h5"
    _, out, _ = run(words.replace("a.pt", "p.pt").replace("b.pt", "q.pt"))
    assert ("at A and B too they are not their own" in out) == (bn == "recompute")
    assert {result.bn for result in load(place / "c.h5").results} == {bn}


def told(run, words):
    code, out, err = run(words)
    assert (code, err) == (0, ""), err
    return json.loads(out)


def test_one_command_measures_line_and_curve_on_both_splits_under_every_budget(run, place, split):
    found = told(
        run, f"{SMALL} --eps 0,0.1 {split} --json -o {place}/c.h5 --figure {place}/c.png --save-curve"
    )
    assert found["complete"]
    ways = [(r["budget"], r["way"], r["split"]) for r in found["results"]]
    assert ways == [
        (eps, way, part) for eps in ("0", "0.1") for way in ("line", "bezier") for part in ("train", "test")
    ]
    for result in found["results"]:
        assert result["t"] == [0, 0.25, 0.5, 0.75, 1]
        assert len(result["loss"]) == len(result["accuracy"]) == 5
        assert {"barrier", "barrier_stderr", "accuracy_barrier", "mean_loss", "inner_gap"} <= set(result)
        assert result["own"] == (result["split"] == "train")
        assert result["examples"] == (40 if result["own"] else 24)
    line, curve = found["results"][4], found["results"][6]
    assert line["loss"][0] == curve["loss"][0]
    assert line["loss"][-1] == curve["loss"][-1]
    assert curve["mean_loss"] < line["mean_loss"]
    assert curve["lower"] == pytest.approx(line["barrier"] - curve["barrier"])
    kept = load(place / "c.h5")
    assert kept.complete
    assert kept.plain()["results"] == found["results"]
    assert (place / "c.png").stat().st_size > 5000
    control = kept.results[6].control
    assert control.shape == (5, 16 * 8 + 8 + 8 * 3 + 3)
    assert len(kept.results[6].course) == 12
    assert kept.results[4].control is None
    with torch.no_grad():
        net = registry.make("model", MODEL)
        net.load_state_dict(torch.load(place / "b.pt", weights_only=True))
        assert torch.equal(torch.from_numpy(control[-1]), nn.utils.parameters_to_vector(net.parameters()))
    assert sorted(p.name for p in place.glob("c.h5*")) == ["c.h5"]


def test_the_curve_of_the_file_has_the_losses_that_the_file_tells(run, place, split):
    run(f"{SMALL} --eps 0.1 {split} -o {place}/c.h5 --save-curve")
    result = load(place / "c.h5").results[2]
    found = subject(place / "a.pt", model=MODEL, data=f"{place}/split.npz")
    curve = Curve("bezier", [torch.from_numpy(p) for p in result.control])
    o = Objective(found.network, found.data, Budget("0.1"), PGD(steps=2))
    assert [o.at(curve.at(t)).value for t in result.t] == result.loss.tolist()


def test_the_report_tells_that_curves_are_trained_under_attacks_in_half_precision(run, place, split):
    told_of = "the curves are trained under attacks in bfloat16"
    half = f"{SMALL} {split} --attack-precision bfloat16"
    _, out, _ = run(f"{half} --eps 0.1 -o {place}/c.h5")
    assert told_of in out
    assert told_of not in run(f"{half} --eps 0")[1]
    assert told_of not in run(f"{SMALL} {split} --eps 0.1")[1]
    code, _, err = run(f"{SMALL} {split} --eps 0.1 -o {place}/c.h5")
    assert code == 2
    assert "was begun with attack_precision = bfloat16" in err


def test_the_table_names_each_way_and_says_what_it_was_trained_on(run, place, split):
    code, out, _ = run(f"{SMALL} --eps 0.1 {split}")
    assert code == 0
    assert "train, 40 examples, among those that the curves are trained on" in out
    assert "test, 24 examples, held out" in out
    assert "0.1, line" in out
    assert "0.1, bezier" in out
    assert "trained on  " in out


@pytest.mark.parametrize("how", ["", "--no-held-out"])
def test_without_a_test_split_to_hold_out_the_curves_own_examples_are_told_alone(how, run, place, split):
    found = told(run, f"{SMALL} {split if how else ''} {how} --json")
    part = "train" if how else "all"
    assert {(result["split"], result["own"]) for result in found["results"]} == {(part, True)}


def test_measured_on_the_test_split_alone_the_curve_is_trained_on_the_other(run, place, split):
    found = told(run, f"{SMALL} {split} --split test --json")
    assert {(r["split"], r["own"], r["examples"]) for r in found["results"]} == {("test", False, 24)}
    assert found["results"][1]["trained_on"] == 40
    more = told(run, f"{SMALL} {split} --split test --json --train-examples 30")
    assert more["results"][1]["trained_on"] == 30


@pytest.mark.parametrize(("count", "trained"), [("0", 10), ("5", 10), ("20", 20), ("1000", 40)])
def test_the_curve_is_trained_on_more_examples_than_are_measured(count, trained, run, place, split):
    found = told(run, f"{SMALL} {split} --examples 10 --train-examples {count} --json")
    sizes_ = {
        (r["split"], r["own"], r["examples"], r["trained_on"]) for r in found["results"] if r["trained_on"]
    }
    assert sizes_ == {("train", True, 10, trained), ("test", False, 10, trained)}


def test_the_examples_of_a_split_are_nested_and_those_of_another_are_others(place, split):
    name = f"{place}/split.npz"
    found = subject(place / "a.pt", model=MODEL, data=name, examples=10)
    test = same_data(found, name, "test", at_most=10)
    assert (test.split, len(test)) == ("test", 10)
    assert len(same_data(found, name, "test", at_most=None)) == 24
    more = same_data(found, name, "train", at_most=30)
    assert set(found.data.index.tolist()) < set(more.index.tolist())
    splitless = subject(place / "a.pt", model=MODEL, data=f"{place}/data.npz", examples=10)
    assert same_data(splitless, f"{place}/data.npz", "test", at_most=10) is None
    assert same_data(found, f"{place}/nothing.npz", "test", at_most=10) is None


def test_what_a_source_draws_anew_each_time_is_not_taken_for_more_of_the_same(run, place):
    (place / "draws.py").write_text(
        "import itertools\nimport numpy as np\nimport torch\nfrom landscape.data import Data\n"
        "count = itertools.count()\n"
        "def make():\n"
        "    rng = np.random.default_rng(next(count))\n"
        "    x = torch.from_numpy(rng.uniform(size=(40, 1, 4, 4)).astype('float32'))\n"
        "    index = torch.from_numpy(rng.integers(0, 10**6, 40))\n"
        "    return Data(x, torch.arange(40) % 3, index, classes=3)\n"
    )
    found = told(run, f"{SMALL} --model {MODEL} --data {place}/draws.py:make --no-held-out --quiet --json")
    assert found["results"][1]["trained_on"] == 40
    assert found["results"][1]["own"]


def same(one: Connection, other: Connection) -> None:
    for name, value in vars(one).items():
        if name != "seconds":
            np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)


@pytest.mark.parametrize("stop", [3, 9, 15])
def test_what_is_interrupted_carries_on_with_the_same_bits(stop, run, place, split, monkeypatch):
    words = f"{SMALL} --eps 0,0.1 {split} --save-curve"
    run(f"{words} -o {place}/whole.h5")
    step, count = Bending._step, [0]

    def ended(training):
        count[0] += 1
        if count[0] == stop:
            raise KeyboardInterrupt
        step(training)

    monkeypatch.setattr(module, "KEPT", 0.0)
    monkeypatch.setattr(module, "SHARE", float("inf"))
    monkeypatch.setattr(Bending, "_step", ended)
    code, out, _ = run(f"{words} -o {place}/c.h5")
    assert code == cli.INTERRUPTED
    assert "INCOMPLETE" in out
    part = load(place / "c.h5")
    assert not part.complete
    assert len(part.results) == (2 if stop < 12 else 6)
    assert run(f"{words} -o {place}/c.h5")[0] == 0
    assert count[0] == 24 + 1  # no step is made twice
    for one, other in zip(load(place / "whole.h5").results, load(place / "c.h5").results, strict=True):
        same(one, other)
    assert not (place / "c.h5.cells").exists()


def test_what_is_carried_on_is_so_on_the_threads_that_it_was_begun_with(run, place, split, monkeypatch):
    words = f"{SMALL} --eps 0.1 {split} -o {place}/c.h5"
    step, seen = Bending._step, []

    def ended(training):
        seen.append(torch.get_num_threads())
        if len(seen) == 3:
            raise KeyboardInterrupt
        step(training)

    monkeypatch.setattr(Bending, "_step", ended)
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert run(words)[0] == cli.INTERRUPTED
        torch.set_num_threads(before)
        assert run(words)[0] == 0
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {before + 1}
    assert load(place / "c.h5").provenance["threads"] == before + 1


def test_places_that_were_measured_are_not_measured_again(run, place, split, monkeypatch):
    words = f"{SMALL} --eps 0.1 {split} --json -o {place}/c.h5"
    measured, count = Along.__call__, [0]

    def ended(along, t):
        count[0] += 1
        if count[0] == 8:
            raise KeyboardInterrupt
        return measured(along, t)

    monkeypatch.setattr(Along, "__call__", ended)
    assert run(words)[0] == cli.INTERRUPTED
    assert run(words)[0] == 0
    assert count[0] == 10 + 1


def test_the_same_command_again_has_nothing_to_do_and_another_is_refused(run, place, split):
    words = f"{SMALL} --eps 0 {split} -o {place}/c.h5"
    assert run(words)[0] == 0
    before = (place / "c.h5").read_bytes()
    code, out, _ = run(words)
    assert code == 0
    assert "was complete already" in out
    assert (place / "c.h5").read_bytes() == before
    code, _, err = run(f"{words} --bends 2")
    assert code == 2
    assert "was begun with bends = 3" in err
    assert run(f"{words} --bends 2 --fresh")[0] == 0


def test_what_was_measured_is_kept_until_the_results_are_written(run, place, split, monkeypatch):
    from landscape import results

    def full(written, path):
        if written.complete:
            raise LandscapeError("no room")
        save(written, path)

    words = f"{SMALL} --eps 0.1 {split} -o {place}/c.h5"
    save = results.save
    with monkeypatch.context() as patched:
        patched.setattr(results, "save", full)
        assert run(words)[0] != 0
    monkeypatch.setattr(Along, "__call__", None)  # nothing is left to measure, nor to train
    monkeypatch.setattr(Bending, "_step", None)
    assert run(words)[0] == 0
    assert load(place / "c.h5").complete
    assert sorted(p.name for p in place.glob("c.h5*")) == ["c.h5"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"lower": -0.3, "lower_stderr": 0.1}, "HIGHER: on its own examples .* smaller --lr"),
        ({"lower": -0.3, "lower_stderr": 0.1, "split": "test"}, "HIGHER: on examples held out .* overfits"),
        ({"lower": -0.1, "lower_stderr": 0.1}, ""),
        ({"course": np.linspace(2, 1, 100)}, "STILL FALLING: .* fell by 9% in the last tenth"),
        ({"course": 1 + 0.2 * np.random.default_rng(0).normal(size=100)}, ""),
        ({"barrier": np.nan}, "has no barrier in numbers"),
        ({"eps": 0.1, "zero_loss": np.array([0, 0, 0.5, 0, 0])}, "NO WORST CASE"),
    ],
)
def test_what_went_wrong_is_remarked_and_nothing_else(fields, said):
    told = {"lower": 0.2, "bn": "none", **fields}
    remarks = way("bezier", np.ones(5), **told).remarks()
    assert len(remarks) == bool(said)
    assert not said or re.search(said, remarks[0])


def test_a_training_that_diverges_to_numbers_is_not_taken_for_overfitting(run, place, split):
    code, out, _ = run(f"{SMALL} {split} --lr 1e4")
    assert code == 0
    assert "HIGHER: on its own examples the bezier has a higher barrier than the line" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("connect {place}/a.pt", "1 checkpoint was given; connect takes 2"),
        ("connect {place}/a.pt {place}/a.pt", "have the same weights"),
        ("connect {place}/a.pt {place}/b.pt --bends 0", "bends 0: give 1 or more"),
        ("connect {place}/a.pt {place}/b.pt --bends 99", "99 bends: give 0"),
        ("connect {place}/a.pt {place}/b.pt --points 1", "points 1: give 2"),
        ("connect {place}/a.pt {place}/b.pt --train-examples -1", "train-examples -1: give 1"),
        ("connect {place}/a.pt {place}/b.pt --epochs 0", "each is at least 1"),
        ("connect {place}/a.pt {place}/b.pt --lr 0", "lr is above 0"),
        ("connect {place}/a.pt {place}/b.pt --curve circle", "'circle' is not one of 'bezier', 'polygon'"),
        ("connect {place}/a.pt {place}/b.pt --figure c.html", "end the path in one of these"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, said, run):
    code, out, err = run(words)
    assert code == 2
    assert not out
    assert len(err.strip().splitlines()) == 1
    assert said in err
