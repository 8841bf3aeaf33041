"""The numbers of a surface against closed forms, and their errors against what other examples change."""

import math

import numpy as np
import pytest

from landscape.sampling import jackknife, standard_error
from landscape.surfaces.numbers import numbers, remarks, rows
from landscape.surfaces.shape import barrier, curvature, origin, rise, roughness
from landscape.surfaces.table import mean_gap

SIZES = np.full(8, 25)


def alike(loss: np.ndarray) -> np.ndarray:
    """Groups that all have the same loss: no sampling error."""
    return np.repeat(loss[..., None], 8, axis=-1)


def drawn(loss_of, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The mean loss (…) of n examples with parameters a ~ N(1, 1), and that of 8 groups (…, 8)."""
    each = np.stack([loss_of(a) for a in rng.normal(1, 1, n)], axis=-1)
    return each.mean(-1), each.reshape(*each.shape[:-1], 8, -1).mean(-1)


def z_scores(truth: float, of, loss_of, times: int = 200) -> np.ndarray:
    rng = np.random.default_rng(0)
    sizes = np.full(8, 10)
    pairs = [of(*drawn(loss_of, 80, rng), sizes) for _ in range(times)]
    return np.array([(value - truth) / error for value, error in pairs])


def covers(z: np.ndarray) -> bool:
    """Whether the truth is within twice the error as often as by Student's t with 7 degrees of freedom."""
    return 0.85 <= (np.abs(z) < 2).mean() <= 0.98


# The jackknife of functions of means


def test_the_error_of_a_function_of_means_is_that_of_the_same_function_of_inner_products():
    means = np.random.default_rng(0).normal(1, 1, 8)
    gram = np.outer(SIZES * means, SIZES * means)
    _, expected = jackknife(lambda squared: squared**2, gram, sizes=SIZES.astype(float))
    assert standard_error(lambda mean: mean**4, means, SIZES) == pytest.approx(expected, rel=1e-10)


def test_what_the_examples_share_has_no_error():
    means = np.random.default_rng(0).normal(0, 1e3, 8) + np.array([[1.0], [3.0]])
    assert standard_error(lambda mean: mean[1] - mean[0], means, SIZES) < 1e-12


# Barrier


def test_the_barrier_of_a_quadratic_is_its_height_above_the_chord():
    t = np.linspace(-0.5, 1.5, 41)
    t[np.abs(t) < 1e-12], t[np.abs(t - 1) < 1e-12] = 0.0, 1.0
    loss = 0.3 + 0.5 * t - 2 * t * (t - 1)
    found = barrier(t, loss, alike(loss), SIZES)
    assert found.height == pytest.approx(0.5, rel=1e-12)
    assert found.at == pytest.approx(0.5)
    assert found.stderr < 1e-12


def test_a_convex_line_has_no_barrier():
    t = np.linspace(0, 1, 11)
    loss = np.exp(3 * t)
    found = barrier(t, loss, alike(loss), SIZES)
    assert (found.height, found.stderr, found.at) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("t", [np.linspace(0.1, 1, 10), np.linspace(0, 0.9, 10), np.linspace(-1, 0.5, 4)])
def test_without_both_ends_there_is_no_barrier(t):
    assert math.isnan(barrier(t, t, alike(t), SIZES).height)


def test_a_line_with_an_unfinished_cell_has_no_barrier():
    t = np.linspace(0, 1, 11)
    loss = np.where(t == t[5], np.nan, t)
    assert math.isnan(barrier(t, loss, alike(loss), SIZES).height)


def test_the_error_of_a_barrier_is_what_other_examples_change():
    t = np.linspace(0, 1, 11)

    def height(loss, groups, sizes):
        found = barrier(t, loss, groups, sizes)
        return found.height, found.stderr

    assert covers(z_scores(0.25, height, lambda a: 100 * a + t * (1 - t) * a))


# Curvature


@pytest.mark.parametrize("n", [5, 7, 25, 51])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_on_a_quadratic_the_curvature_is_exact(n, scale):
    x = scale * np.linspace(-1, 1, n)
    x[n // 2] = 0.0
    loss = 0.4 + 0.3 * (x / scale) + 0.85 * (x / scale) ** 2
    found = curvature(x, loss, alike(loss), SIZES)
    assert found.value * scale**2 == pytest.approx(1.7, abs=1e-10)
    assert found.stderr * scale**2 < 1e-10


SMOOTH = {
    "cosh": (np.cosh, 1.0),
    "steep cosh": (lambda x: np.cosh(5 * x), 25.0),
    "exp": (lambda x: np.exp(2 * x), 4.0),
    "quartic": (lambda x: 1 + x**2 + 3 * x**4, 2.0),
    "pure quartic": (lambda x: x**4, 0.0),
    "cubic": (lambda x: x**2 + 5 * x**3, 2.0),
    "log-sum-exp": (lambda x: np.log1p(np.exp(4 * x)), 4.0),
    "cosine": (lambda x: 1 - np.cos(5 * x), 25.0),
}


@pytest.mark.parametrize("n", [7, 13, 25, 51])
@pytest.mark.parametrize("name", SMOOTH)
def test_on_a_smooth_loss_the_curvature_is_within_its_error(name, n):
    loss_of, truth = SMOOTH[name]
    x = np.linspace(-1, 1, n)
    loss = loss_of(x)
    found = curvature(x, loss, alike(loss), SIZES)
    assert abs(found.value - truth) <= found.stderr + 1e-10


@pytest.mark.parametrize("name", SMOOTH)
def test_on_a_fine_grid_the_curvature_of_a_smooth_loss_is_known_to_some_percent(name):
    loss_of, _ = SMOOTH[name]
    x = np.linspace(-1, 1, 51)
    found = curvature(x, loss_of(x), alike(loss_of(x)), SIZES)
    assert found.stderr < 0.05 * abs(found.value) + 0.05


@pytest.mark.parametrize("n", [5, 7, 13, 25, 51])
def test_at_a_kink_the_misfit_shows(n):
    x = np.linspace(-1, 1, n)
    loss = np.abs(x) + x**2
    found = curvature(x, loss, alike(loss), SIZES)
    assert found.misfit > 0.25 * found.value


@pytest.mark.parametrize("loss_of", [lambda x: 1 - np.cos(12 * x), lambda x: 1 - np.exp(-20 * x**2)])
def test_a_wide_window_does_not_hide_what_a_narrow_one_shows(loss_of):
    x = np.linspace(-1, 1, 51)
    truth = 144 if loss_of(np.pi / 12) > 1.9 else 40
    found = curvature(x, loss_of(x), alike(loss_of(x)), SIZES)
    assert abs(found.value - truth) <= found.stderr < 0.2 * truth


@pytest.mark.parametrize("noise", [1e-4, 1e-2, 1e-1])
@pytest.mark.parametrize("n", [13, 25, 51])
def test_noise_from_cell_to_cell_is_in_the_error_of_the_curvature(n, noise):
    rng = np.random.default_rng(n)
    x = np.linspace(-1, 1, n)
    zs = []
    for _ in range(150):
        loss = np.cosh(x) + noise * rng.normal(size=n)
        found = curvature(x, loss, alike(loss), SIZES)
        zs.append((found.value - 1) / found.misfit)
    assert (np.abs(zs) < 2).mean() > 0.92


def test_the_sampling_error_of_the_curvature_is_what_other_examples_change():
    x = np.linspace(-1, 1, 13)

    def value(loss, groups, sizes):
        found = curvature(x, loss, groups, sizes)
        return found.value, found.sampling

    assert covers(z_scores(2.0, value, lambda a: 50 * a + (a - 1) * x + a * x**2))


def test_uneven_coordinates_change_nothing():
    """As where cells between are a spline's."""
    x = np.array([-1.0, -0.4, -0.3, -0.1, 0.0, 0.2, 0.25, 0.7, 1.0])
    loss = 1 + x + 3 * x**2
    assert curvature(x, loss, alike(loss), SIZES).value == pytest.approx(6, abs=1e-10)


NEITHER = {
    "one side": np.linspace(0, 1, 9),
    "too few": np.array([-1.0, 0.0, 1.0, 2.0]),
    "no centre": np.linspace(-1, 1, 10),
    "one cell": np.array([0.0]),
    "none": np.array([]),
}


@pytest.mark.parametrize("name", NEITHER)
def test_a_grid_without_cells_around_the_weights_has_no_curvature(name):
    x = NEITHER[name]
    found = curvature(x, x**2, alike(x**2), SIZES)
    assert all(math.isnan(each) for each in (found.value, found.stderr, found.misfit, found.window))


def test_only_cells_up_to_one_that_is_not_finite_are_fitted():
    x = np.linspace(-1, 1, 13)
    loss = np.where(x > 0.8, np.nan, np.where(x < -0.7, np.inf, x**2))
    found = curvature(x, loss, alike(loss), SIZES)
    assert found.value == pytest.approx(2, abs=1e-10)
    assert found.window < 0.7


def test_one_group_leaves_the_misfit_as_the_only_error_that_is_known():
    x = np.linspace(-1, 1, 13)
    loss = np.cosh(x)
    found = curvature(x, loss, loss[:, None], np.array([9]))
    assert math.isnan(found.stderr)
    assert abs(found.value - 1) < found.misfit


# Rise


def disc(n: int = 21) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    x = y = np.linspace(-1, 1, n)
    return x, y, x[None] ** 2 + y[:, None] ** 2, np.hypot(x[None], y[:, None])


def test_the_rise_within_a_radius_is_that_of_the_cells_in_it():
    """Over a disc the mean of r² is R²/2, and its maximum R², up to the grid."""
    x, y, bowl, radius = disc(201)
    found = rise(3 + bowl, alike(3 + bowl), SIZES, radius, origin(y, x))
    assert found.average == pytest.approx(0.125, rel=5e-3)
    assert found.worst == pytest.approx(found.radius**2, rel=1e-12)
    assert found.radius == pytest.approx(0.5, abs=5e-3)
    assert found.cells == pytest.approx(math.pi * 50**2, rel=5e-3)
    assert found.average_stderr < 1e-12


def test_a_loss_that_is_not_finite_within_the_radius_leaves_the_rise_unknown():
    x, y, bowl, radius = disc()
    for at, known in (((10, 12), False), ((0, 0), True)):
        loss = bowl.copy()
        loss[at] = np.inf
        assert math.isfinite(rise(loss, alike(loss), SIZES, radius, origin(y, x)).worst) == known


def test_a_grid_without_the_weights_or_beyond_the_radius_has_no_rise():
    x, y, bowl, radius = disc()
    assert math.isnan(rise(bowl, alike(bowl), SIZES, radius, None).average)
    assert math.isnan(rise(bowl, alike(bowl), SIZES, 100 * radius, origin(y, x)).average)
    assert math.isnan(rise(bowl, alike(bowl), SIZES, np.nan * radius, origin(y, x)).average)


@pytest.mark.parametrize("which", ["average", "worst"])
def test_the_errors_of_the_rises_are_what_other_examples_change(which):
    x, y, bowl, radius = disc(5)
    truth = rise(bowl, alike(bowl), SIZES, radius, origin(y, x))

    def of(loss, groups, sizes):
        found = rise(loss, groups, sizes, radius, origin(y, x))
        return getattr(found, which), getattr(found, f"{which}_stderr")

    # A tilt that examples share, so that one cell is the worst for all: the largest of equals is biased.
    if which == "worst":
        bowl = bowl + 0.5 * x[None] + 0.1 * y[:, None]
        truth = rise(bowl, alike(bowl), SIZES, radius, origin(y, x))
    assert covers(z_scores(getattr(truth, which), of, lambda a: 100 * a + a * bowl))


# Roughness


@pytest.mark.parametrize("shape", [(25,), (25, 25), (13, 51), (5, 5), (1, 31), (3, 31)])
def test_a_cubic_is_not_rough(shape):
    grids = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")
    loss = sum(grid + 3 * grid**2 - 2 * grid**3 for grid in grids)
    assert roughness(loss, alike(loss), SIZES).relative < 1e-14


@pytest.mark.parametrize("noise", [1e-3, 1e-2, 1e-1])
@pytest.mark.parametrize("shape", [(2001,), (51, 51), (25, 101)])
def test_the_roughness_of_noise_on_a_bowl_is_its_standard_deviation(shape, noise):
    rng = np.random.default_rng(0)
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    bowl = sum(np.cosh(2 * grid) for grid in grids)
    loss = bowl + noise * rng.normal(size=shape)
    found = roughness(loss, alike(loss), SIZES)
    assert found.noise == pytest.approx(noise, rel=0.1)
    assert found.relative == pytest.approx(found.noise / np.ptp(loss), rel=1e-12)


def test_second_differences_would_take_that_bowl_for_rough():
    x = np.linspace(-1, 1, 51)
    bowl = np.cosh(2 * x[None]) + np.cosh(2 * x[:, None])
    second = math.sqrt((np.diff(bowl, 2, axis=0) ** 2).mean() / 6)
    assert roughness(bowl, alike(bowl), SIZES).noise < 1e-2 * second


def test_kinks_and_jumps_are_rough():
    x = np.linspace(-1, 1, 51)
    smooth, kink, jump = x**2, x**2 + np.abs(x), x**2 + (x > 0)
    rough = [roughness(loss, alike(loss), SIZES).relative for loss in (smooth, kink, jump)]
    assert 1e-10 * rough[1] > rough[0]
    assert rough[2] > 5 * rough[1]


def test_roughness_has_no_unit():
    rng = np.random.default_rng(0)
    loss = rng.normal(size=(9, 9))
    one, other = (roughness(each, alike(each), SIZES) for each in (loss, 7 + 30 * loss))
    assert other.relative == pytest.approx(one.relative, rel=1e-10)
    assert other.noise == pytest.approx(30 * one.noise, rel=1e-10)


def test_only_measured_and_finite_cells_are_rough():
    rng = np.random.default_rng(0)
    loss = rng.normal(size=(9, 40))
    hidden = loss.copy()
    measured = np.ones(loss.shape, bool)
    hidden[2, 3], hidden[4, 4], hidden[6, 1] = np.nan, np.inf, 1e3
    measured[6, 1] = False
    found = roughness(hidden, alike(hidden), SIZES, measured)
    assert found.noise == pytest.approx(1, rel=0.15)
    assert found.stderr < 1e-12


@pytest.mark.parametrize("shape", [(4,), (4, 4), (1,), (1, 1)])
def test_fewer_than_five_cells_in_a_row_have_no_roughness(shape):
    loss = np.random.default_rng(0).normal(size=shape)
    assert math.isnan(roughness(loss, alike(loss), SIZES).relative)


def test_a_constant_has_no_roughness():
    assert math.isnan(roughness(np.ones((9, 9)), alike(np.ones((9, 9))), SIZES).relative)


def test_the_error_of_roughness_covers_what_other_examples_change():
    """Each example has its own noise: that of the mean of 80 is 0.5 / √80."""
    rng, x = np.random.default_rng(0), np.linspace(-1, 1, 25)
    zs = []
    for _ in range(100):
        each = x[:, None] ** 2 + 0.5 * rng.normal(size=(25, 80))
        groups = each.reshape(25, 8, 10).mean(-1)
        found = roughness(each.mean(-1), groups, np.full(8, 10))
        zs.append((found.relative * np.ptp(each.mean(-1)) - 0.5 / math.sqrt(80)) / np.ptp(each.mean(-1)))
        zs[-1] /= found.stderr
    assert 0.4 < math.sqrt(np.mean(np.square(zs))) < 1.3


# All of them


def quadratic(n: int = 13) -> dict:
    """L = 1 + (3 x² + x y + 8 y²) / 2 along u and v of lengths 0.5 and 2."""
    x, y = np.linspace(-1, 1, n), np.linspace(-0.5, 0.5, n + 2)
    loss = 1 + (3 * x[None] ** 2 + x[None] * y[:, None] + 8 * y[:, None] ** 2) / 2
    radius = np.hypot(x[None], y[:, None])
    return {"x": x, "y": y, "loss": loss, "groups": alike(loss), "sizes": SIZES, "radius": radius}


def test_a_quadratic_surface_has_its_closed_form_and_ratios_of_one():
    hessian = np.array([[3 / 0.25, 0.6], [2.0, 0.1]])
    found = numbers(**quadratic(), hessian=hessian, lengths=[0.5, 2.0])
    assert found["curvature_x"] == pytest.approx(12, abs=1e-9)
    assert found["curvature_y"] == pytest.approx(2, abs=1e-9)
    assert found["ratio_x"] == pytest.approx(1, abs=1e-9)
    assert found["ratio_y_stderr"] == pytest.approx(0.05, abs=1e-9)
    assert found["roughness"] < 1e-14
    assert found["rise_worst"] == pytest.approx(1.0, rel=1e-12)  # at (0, ±1/2)
    assert found["rise_average"] == pytest.approx(11 * 0.5**2 / 8, rel=0.1)  # (3 + 8) R² / 8, up to the grid
    assert "barrier" not in found
    assert all(type(value) is float for value in found.values())


def test_rows_and_columns_are_not_swapped():
    surface = quadratic()
    found = numbers(**surface, lengths=[0.5, 2.0])
    swapped = numbers(
        surface["y"],
        surface["x"],
        surface["loss"].T,
        surface["groups"].swapaxes(0, 1),
        SIZES,
        surface["radius"].T,
        lengths=[2.0, 0.5],
    )
    assert swapped["curvature_y"] == pytest.approx(found["curvature_x"], rel=1e-12)
    assert swapped["rise_average"] == pytest.approx(found["rise_average"], rel=1e-12)


def test_a_line_has_numbers_of_its_own_axis_and_a_barrier_only_between_checkpoints():
    t = np.linspace(-0.5, 1.5, 9)
    line = {"x": t, "y": None, "loss": 1 + t * (1 - t), "groups": alike(1 + t * (1 - t)), "sizes": SIZES}
    found = numbers(**line, radius=np.abs(t), lengths=[1.0], between=True)
    assert found["barrier"] == pytest.approx(0.25)
    assert found["curvature_x"] == pytest.approx(-2, abs=1e-9)
    assert not any("_y" in name for name in found)
    assert "barrier" not in numbers(**line, radius=np.abs(t), lengths=[1.0])


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (4, 6), (3, 1)])
def test_any_grid_has_numbers_even_if_none_is_known(shape):
    y, x = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape)
    loss = np.full(shape, np.nan)
    found = numbers(x, y, loss, alike(loss), SIZES, np.zeros(shape), lengths=[1.0, 1.0])
    assert {name for name, value in found.items() if not math.isnan(value)} == {"rise_cells"}
    assert rows(found) == {}


def test_cells_of_a_spline_are_in_no_fit_and_not_rough():
    surface = quadratic(25)
    hidden = np.zeros(surface["loss"].shape, bool)
    hidden[:, 1::2] = True
    wrong = np.where(hidden, surface["loss"] + 0.1, surface["loss"])
    cells = surface | {"loss": wrong, "groups": alike(wrong)}
    found = numbers(**cells, lengths=[1.0, 1.0], interpolated=hidden)
    assert found["curvature_x"] == pytest.approx(3, abs=1e-9)
    assert found["curvature_y"] == pytest.approx(8, abs=1e-9)
    assert found["roughness"] < 1e-14


def test_the_table_has_each_number_with_its_error_and_none_that_is_unknown():
    found = numbers(**quadratic(), hessian=np.array([[12.0, 0.6], [2.0, 0.1]]), lengths=[0.5, 2.0])
    told = rows(found | {"curvature_y": math.nan})
    assert told["vᵀHv along x"] == "12 (± 0.60)"
    assert "curvature along y" not in told
    assert told["curvature / vᵀHv, y"].endswith(" (± 0.050)")
    assert told["rise is up to radius"] == "0.5"


def test_the_table_keeps_the_misfit_apart_from_what_other_examples_change():
    x = np.linspace(-1, 1, 13)
    groups = (1 + 0.2 * np.array([1, -1] * 4)) * np.cosh(2 * x)[:, None]  # 4 ± 0.8 / √7
    line = {"x": x, "y": None, "loss": np.cosh(2 * x), "groups": groups, "sizes": SIZES, "radius": np.abs(x)}
    found = numbers(**line, lengths=[1.0])
    assert found["curvature_x_sampling"] == pytest.approx(0.8 / math.sqrt(7), rel=0.05)
    assert rows(found)["curvature along x"].endswith("(± 0.30)")
    alone = numbers(**line | {"groups": np.cosh(2 * x)[:, None], "sizes": np.array([9])}, lengths=[1.0])
    assert math.isnan(alone["curvature_x_stderr"])
    assert rows(alone)["curvature along x"] == rows(found)["curvature along x"].removesuffix(" (± 0.30)")


# Remarks


def told(
    loss: np.ndarray, groups: np.ndarray | None = None, centre: float | None = None, **options
) -> list[str]:
    x = np.linspace(-1, 1, loss.shape[-1])
    y = np.linspace(-1, 1, loss.shape[0]) if loss.ndim == 2 else None
    done = options.pop("done", np.ones(loss.shape, bool))
    centre = float(loss[tuple(n // 2 for n in loss.shape)]) if centre is None else centre
    groups = alike(loss) if groups is None else groups
    return remarks(x, y, loss, groups, SIZES, done=done, centre_loss=centre, **options)


X = np.linspace(-1, 1, 21)


def test_a_bowl_needs_no_remark():
    assert told(0.5 + X**2) == []
    assert told(0.5 + X[None] ** 2 + X[:, None] ** 2) == []


def test_a_range_that_is_too_small_is_told():
    (remark,) = told(1 + 0.02 * X**2)
    assert "varies by 2.0%" in remark
    assert "a larger --extent, or --extent auto" in remark


def test_a_range_within_the_noise_is_told():
    loss = 1 + 0.1 * np.random.default_rng(0).normal(size=(21, 21))
    assert any("more than noise" in remark for remark in told(loss))


def test_a_range_that_is_too_large_is_told():
    (remark,) = told(0.5 + 1e6 * X**4)
    assert "the loss reaches 1e+06, that of θ is 0.5: the range is too large" in remark
    assert told(1e-6 + X**2) == []  # hardly any loss at θ is no steepness


def test_cells_that_are_not_finite_are_counted_and_those_to_come_are_not():
    loss = 0.5 + X**2
    loss[:3], loss[-1] = np.nan, np.inf
    done = np.ones(21, bool)
    done[0] = False
    (remark,) = told(loss, done=done)
    assert remark.startswith("the loss of 3 of 20 cells is not finite")


def test_a_range_that_is_too_large_is_not_called_too_small_as_well():
    (remark,) = told(np.where(np.abs(X) < 0.2, 1.0, np.nan))
    assert "the range is too large" in remark


def test_a_grid_that_leaves_θ_out_is_told():
    x, sizes = np.array([-1.0, -0.3, 0.3, 1.0]), np.array([2, 2])
    loss = 0.5 + x**2
    groups, done = np.stack([loss, loss], axis=1), np.ones(4, bool)
    (remark,) = remarks(x, None, loss, groups, sizes, done=done, centre_loss=0.5)
    assert remark.startswith("θ is not a cell")


def test_a_lower_cell_is_told_only_beyond_twice_its_error():
    loss = 0.5 + (X - 0.3) ** 2
    (remark,) = told(loss)
    assert remark.startswith("θ is not the lowest cell: at (0.3) the loss is lower by 0.09")
    tilt = np.array([1.0, -1.0] * 4)  # halves of the examples fall and rise: 0.09 ± 0.3 / √7
    assert told(loss, loss[:, None] + tilt * X[:, None]) == []


def test_a_lower_cell_of_a_plane_is_told_as_x_and_y():
    (remark,) = told(0.5 + (X[None] - 0.3) ** 2 + (X[:, None] + 0.5) ** 2)
    assert "at (0.3, -0.5)" in remark


def test_of_a_line_between_checkpoints_only_losses_that_are_not_finite_are_told():
    assert told(1 - 0.01 * X, between=True) == []
    assert "narrow --x" in told(np.where(X < 0, np.nan, 1.0), between=True)[0]


def test_nothing_finite_is_nothing_more_to_say():
    assert len(told(np.full((5, 5), np.nan), centre=1.0)) == 1
    assert told(np.full((5, 5), np.nan), centre=1.0, done=np.zeros((5, 5), bool)) == []


def test_what_the_attack_may_make_is_told_of_as_such():
    x, sizes = np.linspace(-1, 1, 5), np.array([2, 2])
    loss = 1 + 0.2 * (x - 0.5) ** 2
    told = {"done": np.ones(5, bool), "centre_loss": loss[2]}
    groups = np.stack([loss, loss], axis=1)
    surely = remarks(x, None, loss, groups, sizes, gap=0.01, **told)
    doubtful = remarks(x, None, loss, groups, sizes, gap=0.1, **told)
    assert any("not the lowest" in remark for remark in surely)
    assert not any("falls short" in remark for remark in surely)
    assert any("falls short by 0.1" in remark for remark in doubtful)
    assert not any("not the lowest" in remark for remark in doubtful)


def test_the_mean_gap_of_drawn_cells_is_within_its_error_of_that_of_all():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        everywhere = rng.gamma(2.0, size=200)
        drawn = rng.choice(everywhere, 30, replace=False)
        mean, error = mean_gap(drawn, np.zeros(30), 200)
        hits += abs(mean - everywhere.mean()) < 2 * error
    assert 0.91 < hits / 400 < 0.99
    assert mean_gap(everywhere, np.full(200, 0.3), 200)[1] == pytest.approx(0.3)  # one sample for all cells
    assert np.isnan(mean_gap(drawn[:1], np.zeros(1), 200)[1])
