"""The cells of a surface: where they lie, and which starts from which."""

import numpy as np
import pytest
import torch

from landscape.axes import Axis
from landscape.errors import InputError
from landscape.surfaces.lattice import ROOT, Lattice, between, coordinates, evenly


def axis(vector, end=None):
    return Axis("v", "checkpoint" if end is not None else "file", vector, "1", end=end)


def lattice(nx=5, ny=7, dtype=torch.float32, size=50, strides=(1,), seed=0):
    rng = torch.Generator().manual_seed(seed)
    theta = torch.randn(size, generator=rng, dtype=torch.float64).to(dtype)
    u, v = (torch.randn(size, generator=rng, dtype=torch.float64) for _ in range(2))
    return Lattice(theta, [axis(u), axis(v)], np.linspace(-1, 1, nx), np.linspace(-2, 1, ny), strides)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("nx", "ny"), [(5, 7), (1, 4), (4, 1), (1, 1), (9, 3)])
def test_a_cell_is_theta_plus_its_multiples_of_the_axes_to_one_unit_in_the_last_place(nx, ny, dtype):
    grid = lattice(nx, ny, dtype)
    for i, b in enumerate(grid.y):
        for j, a in enumerate(grid.x):
            # The product of two float64 numbers and their sums, in twice the precision.
            u, v = (one.vector.numpy().astype(np.longdouble) for one in grid.axes)
            wanted = grid.theta.numpy().astype(np.longdouble) + a * u + b * v
            found = grid.point(i * nx + j).numpy()
            assert found.dtype == grid.theta.numpy().dtype
            unit = np.spacing(np.abs(wanted).astype(found.dtype))
            scale = np.spacing((np.abs(grid.theta.numpy()) + abs(a * u) + abs(b * v)).astype(found.dtype))
            # One rounding from float64 to float32; float64 itself rounds two products and two sums.
            assert (np.abs(found - wanted) <= (unit if dtype == torch.float32 else 2 * scale)).all()


def test_the_centre_is_theta_bit_for_bit_and_other_checkpoints_are_their_own():
    theta, end = torch.randn(9), torch.randn(9) * 1e9  # a difference that float64 does not hold exactly
    other = torch.randn(9) * 1e-9
    axes = [axis(end.double() - theta.double(), end), axis(other.double() - theta.double(), other)]
    grid = Lattice(theta, axes, np.array([-1.0, 0.0, 1.0]), np.array([0.0, 1.0]))
    assert torch.equal(grid.point(1), theta)
    assert grid.centre() == 1
    assert torch.equal(grid.point(2), end)
    assert torch.equal(grid.point(4), other)


def test_a_grid_without_theta_has_no_centre():
    assert Lattice(torch.zeros(2), [axis(torch.ones(2).double())], np.ones(1), np.zeros(1)).centre() is None


@pytest.mark.parametrize("strides", [(1,), (4, 2, 1)])
@pytest.mark.parametrize(("nx", "ny"), [(51, 25), (13, 1), (1, 1), (2, 3), (25, 26)])
def test_every_cell_descends_from_the_root_through_neighbours(nx, ny, strides):
    grid = lattice(nx, ny, strides=strides)
    assert (grid.parents == ROOT).sum() == 1
    for cell in range(len(grid)):
        steps, place = 0, cell
        while grid.parents[place] != ROOT:
            before, place = place, int(grid.parents[place])
            far = np.abs(np.array(divmod(before, nx)) - divmod(place, nx))
            assert far.max() <= strides[0]
            steps += 1
        assert steps <= nx + ny


@pytest.mark.parametrize(("nx", "ny"), [(51, 25), (13, 13), (2, 3)])
def test_the_levels_share_the_cells_out_and_each_is_a_grid_with_the_corners(nx, ny):
    grid = lattice(nx, ny, strides=(4, 2, 1))
    cells = np.concatenate([grid.members(level) for level in range(3)])
    assert sorted(cells) == list(range(nx * ny))
    for rows, columns in grid.levels:
        assert {0, ny - 1} <= set(rows)
        assert {0, nx - 1} <= set(columns)
    last = grid.levels[-1]
    assert len(last[0]) == ny
    assert len(last[1]) == nx


def test_coordinates_are_those_asked_for_and_meet_whole_numbers_exactly():
    assert coordinates("-1:1:5").tolist() == [-1, -0.5, 0, 0.5, 1]
    for written in ("-1:1:51", "-0.3:1.2:16", "-0.7:1.1:19"):
        found = coordinates(written)
        assert 0.0 in found
        assert np.allclose(found, np.linspace(found[0], found[-1], len(found)), atol=1e-15)
    assert 1.0 in coordinates("-0.3:1.2:16")
    assert coordinates("0.25").tolist() == [0.25]
    assert evenly(2.0, 1).tolist() == [0]
    assert evenly(0.1, 51)[25] == 0
    for size in (1, 2, 3, 4, 7, 51, 61):
        found = between(size)
        assert len(found) == size
        assert 0.0 in found
        assert size == 1 or 1.0 in found


@pytest.mark.parametrize("written", ["a", "1:2", "1:0:5", "0:1:1", "nan", "0:inf:3", "0:1:2.5", "", "1:1:3"])
def test_what_is_no_range_is_refused_with_the_way_to_write_one(written):
    with pytest.raises(InputError, match="FROM:TO:COUNT"):
        coordinates(written)
