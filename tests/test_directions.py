"""Directions: lengths, filters, eigenvectors, files, and what is refused."""

import h5py
import nets
import numpy as np
import pytest
import torch
from torch import nn

from landscape.directions import (
    along,
    eigenpairs,
    filter_normalised,
    layer_normalised,
    parse,
    parse_radii,
    random,
)
from landscape.errors import InputError


@pytest.fixture
def point():
    return nets.point(nets.cnn(), nets.data(12, 2, 6, 6))


def test_every_direction_has_length_1(point):
    for name, v in along(point, parse("random,random:2,filter,gradient,eigenvector:1,eigenvector:2")):
        assert v.norm().item() == pytest.approx(1, rel=1e-12), name
        assert v.shape == point.theta.shape


def test_draws_are_independent_and_the_same_again(point):
    a, b, again, seed = random(point), random(point, 2), random(point), random(point, seed=1)
    assert torch.equal(a, again)
    assert max(abs((a @ b).item()), abs((a @ seed).item())) < 0.4
    assert not torch.equal(a, along(point, parse("random"), draw=1)[0][1])


def test_filters_have_the_lengths_of_the_points_own_and_biases_stay(point):
    network = point.objective.network
    for name, one, own in zip(
        network.names, network.parts(filter_normalised(point)), network.parts(point.theta), strict=True
    ):
        if own.ndim < 2:
            assert not one.any(), name
        else:
            assert torch.allclose(one.flatten(1).norm(dim=1), own.flatten(1).norm(dim=1), rtol=1e-12), name


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(4, 3), (4,)),
        (nn.Conv2d(4, 6, 3), (4, 5, 5)),
        (nn.Conv2d(4, 6, 1), (4, 2, 2)),
        (nn.Conv2d(4, 6, 3, groups=2), (4, 5, 5)),
        (nn.Conv1d(4, 4, 2, groups=4), (4, 5)),
        (nn.ConvTranspose2d(4, 6, 3), (4, 2, 2)),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), (4, 2, 2)),
        (nn.ConvTranspose1d(4, 4, 2, groups=4), (4, 3)),
        (nn.ConvTranspose3d(2, 3, 2), (2, 2, 2, 2)),
    ],
    ids=repr,
)
def test_a_filter_is_all_that_one_output_depends_on(layer, shape):
    net = nets.trained(nn.Sequential(layer, nn.Flatten(2) if len(shape) > 1 else nn.Identity()))
    if len(shape) > 1:
        net.append(nn.AvgPool1d(len(net(torch.rand(1, *shape))[0, 0]))).append(nn.Flatten())
    at = nets.point(net, nets.data(3, *shape))
    drawn, bias = at.objective.network.parts(filter_normalised(at))
    own = at.objective.network.parts(at.theta)[0].clone().requires_grad_()
    outputs = at.objective.network([own, bias], torch.rand(2, *shape, dtype=torch.float64) + 0.1).sum(dim=0)
    assert not bias.any()
    for output in outputs:
        (slope,) = torch.autograd.grad(output, own, retain_graph=True)
        filter = slope != 0
        assert drawn[filter].norm().item() == pytest.approx(own[filter].norm().item(), rel=1e-12)
        assert filter.sum() * len(outputs) == own.numel()


def test_filters_point_where_the_gaussian_of_the_seed_does():
    at = nets.point(nets.trained(nn.Linear(2000, 3)), nets.data(2, 2000))
    weight = filter_normalised(at, 3, seed=5)[:6000].view(3, -1)
    plain = random(at, 3, seed=5)[:6000].view(3, -1)
    entries = weight / weight.norm(dim=1, keepdim=True) * 2000**0.5
    assert torch.allclose(torch.nn.functional.cosine_similarity(weight, plain), torch.ones(3).double())
    n = entries.numel() ** 0.5  # four standard errors of each moment of a Gaussian
    assert abs(entries.mean()) < 4 / n
    assert abs((entries**3).mean()) < 4 * 15**0.5 / n
    assert abs((entries**4).mean() - 3) < 4 * 96**0.5 / n


def test_a_layer_has_the_length_of_its_own_as_a_whole(point):
    network = point.objective.network
    for one, own in zip(network.parts(layer_normalised(point)), network.parts(point.theta), strict=True):
        expected = own.norm().item() if own.ndim >= 2 else 0
        assert one.norm().item() == pytest.approx(expected, rel=1e-12)
        if own.ndim >= 2:
            ratios = one.flatten(1).norm(dim=1) / own.flatten(1).norm(dim=1)
            assert ratios.max() > 1.01 * ratios.min()


@pytest.mark.parametrize("draws", [filter_normalised, layer_normalised])
def test_biases_that_are_kept_have_the_length_of_their_own(point, draws):
    network = point.objective.network
    plain, kept = draws(point), draws(point, keep_biases=True)
    for one, other, own in zip(*map(network.parts, (plain, kept, point.theta)), strict=True):
        if own.ndim >= 2:
            assert torch.equal(one, other)
        else:
            assert other.norm().item() == pytest.approx(own.norm().item(), rel=1e-12)


def test_a_filter_of_length_0_stays_0():
    net = nets.cnn()
    net[0].weight.data[0] = 0
    net[1].bias.data.zero_()
    at = nets.point(net, nets.data(3, 2, 6, 6))
    parts = at.objective.network.parts(filter_normalised(at, keep_biases=True))
    assert not parts[0][0].any()
    assert parts[0][1].any()
    assert not parts[3].any()
    assert all(torch.isfinite(part).all() for part in parts)


def test_tied_weights_count_once_and_frozen_ones_not_at_all():
    for net in (nets.tied(), nets.frozen()):
        at = nets.point(net, nets.data(4, 4))
        assert filter_normalised(at).shape == layer_normalised(at).shape == at.theta.shape


def test_eigenvectors_are_those_of_the_dense_hessian_and_lead_uphill(point):
    values, vectors = torch.linalg.eigh(nets.dense(point))
    top, found = eigenpairs(point, 2)
    for j in range(2):
        assert top[j].item() == pytest.approx(values[-1 - j].item(), rel=1e-3)
        assert abs(found[:, j] @ vectors[:, -1 - j]) == pytest.approx(1, abs=1e-4)
        assert found[:, j] @ point.gradient >= 0
    assert values[-1] > values[-2]


def test_vectors_come_from_result_files(point, tmp_path):
    vectors = np.random.default_rng(0).normal(size=(len(point.theta), 3))
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["spectrum/vectors"] = vectors
        file["spectrum/values"] = np.ones(3)
    ((name, v),) = along(point, parse(f"{path}:spectrum/vectors:1"))
    assert name == "a.h5:spectrum/vectors:1"
    assert np.allclose(v.numpy(), vectors[:, 1] / np.linalg.norm(vectors[:, 1]), rtol=1e-12)
    assert [name for name, _ in along(point, parse(str(path)))] == [
        f"a.h5:spectrum/vectors:{j}" for j in range(3)
    ]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("sideways", "direction 'sideways' is not known; there are random, filter, gradient"),
        ("eigenvector:0", "is not known"),
        ("gradient:2", "is not known"),
        ("random,random", "name one twice"),
        ("", "no direction was given"),
        ("nowhere.h5", "there is no file nowhere.h5"),
    ],
)
def test_what_is_no_direction_is_told(written, told):
    with pytest.raises(InputError, match=told):
        parse(written)


def test_a_group_of_a_file_holds_its_vectors_in_the_order_of_their_names(point, tmp_path):
    x, y = random(point, 1), random(point, 2)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["directions/y"], file["directions/x"] = y.numpy(), x.numpy()
    found = along(point, parse(f"{tmp_path}/a.h5:directions"))
    assert [name for name, _ in found] == ["a.h5:directions/x:0", "a.h5:directions/y:0"]
    assert all(torch.allclose(v, own) for (_, v), own in zip(found, (x, y), strict=True))


def test_a_file_without_such_vectors_is_told(point, tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["one"] = np.ones(len(point.theta))
        file["two"] = np.ones((len(point.theta), 2))
        file["short"] = np.ones(3)
    for part, told in (
        ("", "2 data sets of vectors"),
        (":short", "no data set 'short'"),
        (":two:2", "columns"),
    ):
        with pytest.raises(InputError, match=told):
            along(point, parse(f"{path}{part}"))
    (tmp_path / "b.h5").write_text("text")
    with pytest.raises(InputError, match="could not be read"):
        along(point, parse(f"{tmp_path}/b.h5"))


def test_a_direction_of_no_length_is_told():
    flat = nets.mlp()
    for p in flat.parameters():
        p.data.zero_()
    with pytest.raises(InputError, match="the direction filter has length 0"):
        along(nets.point(flat, nets.data(5, 4)), parse("filter"))


def test_radii_are_spaced_evenly_in_their_logarithm_or_as_listed():
    assert np.allclose(parse_radii("1e-4:1:9"), 10 ** np.linspace(-4, 0, 9))
    assert np.array_equal(parse_radii("0.1,0.01"), [0.01, 0.1])


@pytest.mark.parametrize(
    "written", ["0", "-1,1", "a", "1:2", "1e-4:1:1", "1:0.1:5", "0:1:5", "nan", "inf", "1,1", ""]
)
def test_what_is_no_radius_is_told(written):
    with pytest.raises(InputError, match="lengths above 0"):
        parse_radii(written)
