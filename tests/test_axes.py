"""The axes of a line or a plane: what may be written, their lengths, and what lies where on them."""

import copy
import itertools

import h5py
import nets
import numpy as np
import pytest
import torch

from landscape.axes import Axis, axes, describe, doubts, project, relative_radius, to_checkpoint
from landscape.directions import eigenpairs, filter_normalised, layer_normalised, random
from landscape.errors import InputError
from landscape.linalg.principal import principal


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def point(request):
    return nets.point(nets.cnn(), nets.data(12, 2, 6, 6), dtype=request.param)


def unwanted(path):
    raise AssertionError(path)


def opener(at, thetas):
    """Opens what is told to lie in some files, by their paths."""

    def beside(path):
        network = copy.copy(at.objective.network)
        network.name = path
        return at.objective.but(network=network).at(thetas[path].to(at.theta.dtype))

    return beside


def vectors(at, count, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(len(at.theta), generator=rng, dtype=torch.float64) for _ in range(count)]


def axis(vector):
    return Axis("some", "file", vector, "")


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("filter", "filter:1 filter:2"),
        ("random", "random:1 random:2"),
        ("layer", "layer:1 layer:2"),
        ("eigenvectors", "eigenvector:1 eigenvector:2"),
        ("eigenvector:1,eigenvector:3", "eigenvector:1 eigenvector:3"),
        ("eigenvector:3,eigenvector:1", "eigenvector:3 eigenvector:1"),
        ("filter:3,filter:7", "filter:3 filter:7"),
        ("gradient,random", "gradient random:1"),
        (" random , gradient ", "random:1 gradient"),
        ("b.pt,c.pt", "b.pt c.pt"),
        ("random:2,b.pt", "random:2 b.pt"),
    ],
)
def test_a_plane_has_the_axes_that_are_written_in_their_order(point, written, names):
    b, c = vectors(point, 2)
    found = axes(point, written, 2, seed=0, beside=opener(point, {"b.pt": b, "c.pt": c}))
    assert [one.name for one in found] == names.split()
    assert [one.kind for one in found] == [
        "checkpoint" if "pt" in n else n.split(":")[0] for n in names.split()
    ]
    assert all(one.vector.dtype == torch.float64 and one.vector.shape == point.theta.shape for one in found)
    for one in axes(point, written.split(",")[0].strip(), 1, seed=0, beside=opener(point, {"b.pt": b})):
        assert one.name == found[0].name
        # Eigenvectors to the tolerance of their solver, which stops elsewhere when asked for another number.
        tolerance = 1e-3 if one.kind == "eigenvector" else 0
        assert torch.allclose(one.vector, found[0].vector, rtol=0, atol=tolerance)


def test_lengths_are_those_of_the_kind(point):
    for written, expected in (("random", 1), ("gradient", 1), ("eigenvectors", 1)):
        (found,) = axes(point, written, 1, seed=0, beside=unwanted)
        assert found.vector.norm().item() == pytest.approx(expected, rel=1e-12)
    for written, draws in (("filter:2", filter_normalised), ("layer:2", layer_normalised)):
        (found,) = axes(point, written, 1, seed=4, beside=unwanted)
        assert torch.equal(found.vector, draws(point, 2, seed=4))
        (found,) = axes(point, written, 1, seed=4, keep_biases=True, beside=unwanted)
        assert torch.equal(found.vector, draws(point, 2, seed=4, keep_biases=True))


def test_draws_are_those_of_their_seed_and_number(point):
    for written in ("random", "filter", "layer"):
        found, again, other = (axes(point, written, 2, seed=s, beside=unwanted) for s in (3, 3, 4))
        assert all(torch.equal(a.vector, b.vector) for a, b in zip(found, again, strict=True))
        for a, b in itertools.combinations([*found, *other], 2):
            assert not torch.equal(a.vector, b.vector)
        assert [a.seed for a in (*found, *other)] == [3, 3, 4, 4]


def test_an_eigenvector_comes_with_its_eigenvalue(point):
    values, found = eigenpairs(point, 3)
    for one, k in zip(axes(point, "eigenvector:3,eigenvector:1", 2, seed=0, beside=unwanted), (2, 0)):  # noqa: B905
        assert one.eigenvalue == values[k].item()
        assert torch.allclose(one.vector, found[:, k], atol=1e-12)


def test_vectors_of_a_file_are_taken_as_they_are(point, tmp_path):
    a, b, c = (7 * v for v in vectors(point, 3))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["v"] = torch.stack([a, b, c], dim=1).numpy()
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["directions/x"], file["directions/y"] = a.numpy(), c.numpy()

    def found(written, count):
        return [one.vector for one in axes(point, written, count, seed=0, beside=unwanted)]

    first, second = f"{tmp_path}/a.h5", f"{tmp_path}/b.h5"
    for written, expected in (
        (first, [a, b]),
        (f"{first}:v", [a, b]),
        (first, [a]),
        (f"{first}:v:2", [c]),
        (f"{first}:v:2,{first}:v:0", [c, a]),
        (f"{second}:directions", [a, c]),
        (f"{second}:directions/y,{first}", [c, a]),
    ):
        got = found(written, len(expected))
        assert all(torch.equal(v, own) for v, own in zip(got, expected, strict=True)), written
    with pytest.raises(InputError, match="v:2 is 1 direction, and a plane takes 2"):
        found(f"{first}:v:2", 2)


def test_a_line_to_a_checkpoint_ends_at_it_bit_for_bit(point):
    b = point.theta + 0.3 * vectors(point, 1)[0].to(point.theta)
    (found,) = axes(point, "runs/b.pt", 1, seed=0, beside=opener(point, {"runs/b.pt": b}))
    assert torch.equal(found.end, b)
    assert torch.equal(found.vector, b.double() - point.theta.double())
    assert found.unit == "the way to b.pt"
    assert torch.equal(found.vector, to_checkpoint(point, opener(point, {"b.pt": b})("b.pt")).vector)


def test_three_checkpoints_lie_at_the_corners_of_their_plane(point):
    thetas = dict(zip(("b.pt", "c.pt"), vectors(point, 2), strict=True))
    found = axes(point, "b.pt,c.pt", 2, seed=0, beside=opener(point, thetas))
    ends = [one.end for one in found]
    at = project(found, point, [point.theta, *ends])
    assert np.allclose(at.x, [0, 1, 0], atol=1e-12)
    assert np.allclose(at.y, [0, 0, 1], atol=1e-12)
    assert np.allclose(at.residual, 0, atol=1e-12)
    assert np.allclose(at.relative_residual, 0, atol=1e-12)


def test_projections_find_coordinates_and_what_is_off_the_plane_of_oblique_axes(point):
    u, v, w = vectors(point, 3)
    v = 30 * (v / v.norm() + 2 * u / u.norm())
    span = torch.stack([u, v], dim=1)
    off = w - span @ torch.linalg.lstsq(span, w[:, None]).solution[:, 0]
    at = point.objective.at(point.theta.double())
    others = [at.theta + 0.7 * u - 0.2 * v + 3 * off, at.theta + off, at.theta, at.theta - v]
    found = project([axis(u), axis(v)], at, others)
    assert np.allclose(found.x, [0.7, 0, 0, 0], atol=1e-12)
    assert np.allclose(found.y, [-0.2, 0, 0, -1], atol=1e-12)
    lengths = np.array([(0.7 * u - 0.2 * v + 3 * off).norm(), off.norm(), 1, v.norm()])
    residual = off.norm().item() * np.array([3, 1, 0, 0])
    assert np.allclose(found.residual, residual, atol=1e-12)
    assert np.allclose(found.relative_residual, residual / lengths, atol=1e-12)
    line = project([axis(u)], at, [at.theta + 2 * u + off - (off @ u) / (u @ u) * u])
    assert line.y is None
    assert line.x == pytest.approx([2])


def planar(at, tmp_path, count=6):
    """Files of a trajectory in a plane through θ, what they hold, and an orthonormal basis of the plane."""
    basis = torch.linalg.qr(torch.stack(vectors(at, 2), dim=1)).Q
    coordinates = np.random.default_rng(0).normal(size=(count, 2)) * [5, 1]
    paths = [str(tmp_path / f"run-epoch{t}.pt") for t in range(count)]
    thetas = {}
    for path, place in zip(paths, coordinates, strict=True):
        open(path, "w").close()
        thetas[path] = at.theta.double() + basis @ torch.from_numpy(place)
    return opener(at, thetas), basis, coordinates, thetas


def test_principal_components_of_a_planar_trajectory_are_its_plane_and_explain_all(point, tmp_path):
    beside, basis, coordinates, _ = planar(point, tmp_path)
    found = axes(point, f"pca:{tmp_path}/run-epoch*.pt", 2, seed=0, beside=beside)
    rounding = 20 * torch.finfo(point.theta.dtype).eps
    span = torch.stack([one.vector for one in found], dim=1)
    assert torch.allclose(span.T @ span, torch.eye(2).double(), atol=1e-12)
    assert torch.allclose(basis @ basis.T, span @ span.T, atol=rounding)
    assert sum(one.explained for one in found) == pytest.approx(1, abs=1e-14)
    squares = np.linalg.svd(coordinates, compute_uv=False) ** 2
    assert [one.explained for one in found] == pytest.approx(squares / squares.sum(), rel=rounding)


def test_principal_components_go_through_the_point_itself_and_have_a_sign(point, tmp_path):
    beside, _, coordinates, thetas = planar(point, tmp_path)
    found = axes(point, f"pca:{tmp_path}/run-epoch*.pt", 2, seed=0, beside=beside)
    at = project(found, point, [theta.to(point.theta) for theta in thetas.values()])
    assert np.allclose(np.hypot(at.x, at.y), np.hypot(*coordinates.T), rtol=1e-5)
    assert np.allclose(at.residual, 0, atol=1e-6)
    assert at.x[0] >= 0
    assert at.y[0] >= 0
    # Written twice, and after θ itself, they have the same signs and places.
    names = list(thetas)
    thetas[names[0]] = point.theta.double()
    first = axes(point, f"pca:{','.join(names)},{names[1]}", 2, seed=0, beside=beside)
    assert all(project(first, point, [thetas[names[1]]])[axis][0] > 0 for axis in (0, 1))


def test_principal_components_are_those_of_the_dense_svd_in_blocks_as_well(monkeypatch):
    rng = torch.Generator().manual_seed(0)
    origin, *points = torch.randn(8, 50, generator=rng, dtype=torch.float64)
    dense = torch.linalg.svd(torch.stack(points) - origin, full_matrices=False)
    monkeypatch.setattr("landscape.linalg.principal.BLOCK", 7)
    found, explained = principal(origin, points, 4)
    assert explained == pytest.approx((dense.S.square() / dense.S.square().sum()).tolist()[:4])
    for k, v in enumerate(found):
        assert abs(v @ dense.Vh[k]) == pytest.approx(1, rel=1e-12)
        assert (points[0] - origin) @ v > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_of_one_line_span_no_plane_whatever_their_rounding(dtype):
    rng = torch.Generator().manual_seed(0)
    origin, way = torch.randn(2, 5000, generator=rng, dtype=torch.float64)
    for scale in (1, 1e-2):
        points = [(origin + scale * t * way).to(dtype) for t in range(1, 6)]
        assert len(principal(origin.to(dtype), points, 2)[0]) == 1
    assert principal(origin, [origin, origin], 1) == ([], [])


def test_too_few_independent_checkpoints_are_told(point, tmp_path):
    beside, _, _, thetas = planar(point, tmp_path)
    names = list(thetas)
    thetas[names[1]] = 2 * thetas[names[0]] - point.theta.double()
    with pytest.raises(
        InputError, match="has 2 checkpoints, which differ from θ in 1 independent directions"
    ):
        axes(point, f"pca:{names[0]},{names[1]}", 2, seed=0, beside=beside)
    assert len(axes(point, f"pca:{names[0]},{names[1]}", 1, seed=0, beside=beside)) == 1


def test_the_radius_of_a_cell_is_the_largest_over_the_weights(point):
    u, v = vectors(point, 2)
    x, y = np.linspace(-1, 2, 4), np.array([-0.5, 0.0, 3.0])
    network, theta = point.objective.network, point.theta.double()
    found = relative_radius([axis(u), axis(v)], point, x, y)
    for i, j in np.ndindex(3, 4):
        pairs = zip(network.parts(x[j] * u + y[i] * v), network.parts(theta), strict=True)
        expected = max((step.norm() / w.norm()).item() for step, w in pairs if w.ndim > 1)
        assert found[i, j] == pytest.approx(expected, rel=1e-12)
    assert np.allclose(
        relative_radius([axis(u)], point, x), relative_radius([axis(u), axis(v)], point, x, 0 * y)[0]
    )


def test_a_step_of_1_along_a_filter_direction_has_relative_length_1(point):
    found = axes(point, "filter", 1, seed=0, beside=unwanted)
    assert relative_radius(found, point, np.array([-2.0, 0, 1])) == pytest.approx([2, 0, 1], abs=1e-12)


def test_weights_that_are_0_have_no_relative_length(point):
    zero = point.objective.at(torch.zeros_like(point.theta))
    assert np.isnan(relative_radius([axis(vectors(point, 1)[0])], zero, np.ones(2))).all()


def test_a_description_tells_lengths_angle_and_origin(point):
    b = vectors(point, 1)[0]
    plane = axes(point, "b.pt,filter:2", 2, seed=5, beside=opener(point, {"b.pt": b}))
    told = describe(plane, point)
    length = point.theta.double().norm().item()
    u, v = (one.vector for one in plane)
    assert told["theta_norm"] == pytest.approx(length, rel=1e-12)
    assert told["cosine"] == pytest.approx((u @ v / u.norm() / v.norm()).item(), abs=1e-12)
    assert told["x"] == {
        "kind": "checkpoint",
        "name": "b.pt",
        "norm": pytest.approx(u.norm().item()),
        "relative": pytest.approx(u.norm().item() / length),
        "seed": None,
        "unit": "the way to b.pt",
        "explained": None,
        "eigenvalue": None,
    }
    assert (told["y"]["name"], told["y"]["seed"], told["y"]["unit"]) == (
        "filter:2",
        5,
        "lengths of the filters",
    )
    line = describe(axes(point, "random", 1, seed=0, beside=unwanted), point)
    assert line["y"] is line["cosine"] is None


def test_axes_far_from_orthogonal_are_doubted_with_a_remedy(point):
    u, v = vectors(point, 2)
    theta = point.theta.double()
    beside = opener(point, {"b.pt": theta + u, "c.pt": theta + u + v})
    (told,) = doubts(axes(point, "b.pt,c.pt", 2, seed=0, beside=beside), point)
    cosine = torch.nn.functional.cosine_similarity(u, u + v, dim=0)
    assert f"(cosine {cosine:.2f})" in told
    assert "pca:b.pt,c.pt spans the same plane" in told
    (told,) = doubts(axes(point, "random:4,filter:4", 2, seed=0, beside=beside), point)
    assert "take another draw, such as filter:5" in told
    right = [Axis("x", "random", u, ""), Axis("y", "random", v - (u @ v) / (u @ u) * u, "")]
    assert doubts(right, point) == doubts(right[:1], point) == []


def test_a_step_that_rounding_swallows_is_doubted():
    at = nets.point(nets.mlp(), nets.data(5, 4), dtype=torch.float32)
    (told,) = doubts([axis(1e-9 * random(at))], at)
    assert "lost in the rounding of float32 weights" in told
    assert not doubts([axis(1e-9 * random(at))], at.objective.at(at.theta.double()))


@pytest.mark.parametrize(
    ("written", "count", "told"),
    [
        ("", 2, "no direction was given; there are filter, random"),
        ("sideways", 2, "direction 'sideways' is not known; there are filter, random, layer, eigenvectors"),
        ("eigenvectors,random", 2, "beside another write eigenvector:1 for the first"),
        ("filter:0", 1, "is not known"),
        ("filter:1.5", 1, "is not known"),
        ("gradient", 2, "gradient is 1 direction, and a plane takes 2; .* such as gradient,random"),
        ("filter:3", 2, "such as filter:3,filter:4"),
        ("b.pt", 2, "b.pt is 1 direction, and a plane takes 2"),
        ("b.pt,c.pt", 1, "are 2 directions, and a line takes 1"),
        ("random,gradient,filter", 2, "are 3 directions, and a plane takes 2; give two of them"),
        ("filter,filter:1", 2, "name one twice"),
        ("same.pt", 1, "the direction same.pt has length 0 here"),
        ("b.pt,further.pt", 2, r"b.pt and further.pt are parallel \(cosine 1.0000\)"),
        ("nowhere.h5", 1, "there is no file nowhere.h5"),
        ("pca:", 2, "no checkpoints are named"),
        ("pca:nowhere*.pt", 2, r"nowhere\*.pt matches no file"),
        ("eigenvector:200", 1, "eigenvector:200 of 69 is not there"),
    ],
)
def test_what_makes_no_axes_is_told_in_a_line(written, count, told):
    at = nets.point(nets.cnn(), nets.data(12, 2, 6, 6))
    b, c = vectors(at, 2)
    thetas = {"b.pt": at.theta + b, "c.pt": c, "further.pt": at.theta + 2 * b, "same.pt": at.theta}
    with pytest.raises(InputError, match=told) as raised:
        axes(at, written, count, seed=0, beside=opener(at, thetas))
    assert "\n" not in str(raised.value)


def test_a_direction_that_leads_nowhere_is_told():
    flat = nets.mlp()
    for p in flat.parameters():
        p.data.zero_()
    at = nets.point(flat, nets.data(5, 4))
    for written in ("filter", "layer"):
        with pytest.raises(InputError, match=f"the direction {written} has length 0 here"):
            axes(at, written, 2, seed=0, beside=unwanted)


def test_tied_and_frozen_parameters_have_axes():
    for net in (nets.tied(), nets.frozen()):
        at = nets.point(net, nets.data(5, 4))
        found = axes(at, "filter", 2, seed=0, beside=unwanted)
        assert all(one.vector.shape == at.theta.shape for one in found)
        assert relative_radius(found, at, np.ones(1), np.zeros(1)) == pytest.approx(1)
