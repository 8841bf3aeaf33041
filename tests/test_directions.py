"""Directions: lengths, filters, eigenvectors, files, and what is refused."""

import h5py
import nets
import numpy as np
import pytest
import torch

from landscape.directions import along, eigenvectors, filter_normalised, parse, parse_radii, random
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


def test_eigenvectors_are_those_of_the_dense_hessian_and_lead_uphill(point):
    values, vectors = torch.linalg.eigh(nets.dense(point))
    found = eigenvectors(point, 2)
    for j in range(2):
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
