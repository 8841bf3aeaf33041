"""Linear models: sets and thresholds against brute force over corners, linear programs and training."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy.optimize import linprog, minimize
from scipy.special import logsumexp

from landscape import cli, load, plot, registry
from landscape.data import Data
from landscape.errors import InputError
from landscape.laboratory import ask
from landscape.plot import figure
from landscape.results import Run
from landscape.theory import loss, minimiser, sets, threshold
from landscape.theory.region import Region, class_means, region

NORMS = [("linf", False), ("linf", True), ("l2", False)]


def examples(n=12, m=4, classes=3, seed=0, balanced=False):
    rng = np.random.default_rng(seed)
    y = (
        np.arange(n) % classes
        if balanced
        else rng.choice(classes, n, p=np.arange(1, classes + 1) / sum(range(1, classes + 1)))
    )
    return rng.uniform(size=(n, m)), y


def corners(regions: Region) -> np.ndarray:
    """Every corner (n, 2^m, m) of the boxes; of balls many points on the sphere."""
    n, m = regions.centre.shape
    if regions.norm == "linf":
        signs = np.array(list(itertools.product([-1.0, 1.0], repeat=m)))
    else:
        signs = np.random.default_rng(1).normal(size=(20_000, m))
        signs /= np.linalg.norm(signs, axis=1, keepdims=True)
    return regions.centre[:, None] + np.broadcast_to(regions.reach, (n, m))[:, None] * signs


def at_corners(W, regions, y):
    """(w_j − w_y)ᵀx' at every corner (n, corners, K)."""
    logits = corners(regions) @ W
    return logits - np.take_along_axis(logits, y[:, None, None] + np.zeros((1, logits.shape[1], 1), int), 2)


def data(x, y, **told):
    return Data.of(x, y, **told)


@pytest.mark.parametrize(("norm", "box"), NORMS)
def test_a_model_is_in_the_version_space_just_if_no_corner_is_classified_wrongly(norm, box):
    rng = np.random.default_rng(0)
    x, y = examples(60, 3)
    found, brute = [], []
    for eps in (0.0, 0.03, 0.1, 0.3):
        W = rng.normal(size=(3, 3))
        regions = region(x, eps, norm, box=box)
        worst = np.where(np.eye(3)[y][:, None] > 0, -np.inf, at_corners(W, regions, y)).max(axis=(1, 2))
        clear = np.abs(worst) > (1e-9 if norm == "linf" else 1e-2)  # a sampled sphere is short of its worst
        found.append(sets.in_version_space(W, regions, y)[clear])
        brute.append((worst <= 0)[clear])
    assert (np.concatenate(found) == np.concatenate(brute)).all()
    assert 0 < np.concatenate(brute).mean() < 1


@pytest.mark.parametrize(("norm", "box"), [("linf", False), ("linf", True)])
def test_a_model_is_in_T_of_an_example_just_if_no_multiple_of_it_beats_zero(norm, box):
    x, y = examples(30, 4)
    inside = []
    for i, W in enumerate(np.random.default_rng(3).normal(size=(6, 4, 3))):
        regions = region(x, (0.02, 0.1, 0.2)[i % 3], norm, box=box)
        brute = np.array(
            [logsumexp(at_corners(g * W, regions, y), axis=2).max(axis=1) for g in (-1e-3, -1e-5, 1e-5, 1e-3)]
        )
        beaten = (brute < math.log(3) - 1e-12).any(axis=0)
        assert (sets.in_T(W, regions, y) == ~beaten).all()
        inside.append(~beaten)
    assert 0 < np.mean(inside) < 1


def test_T_of_one_example_is_the_closed_form_of_its_margin():
    x, y = examples(200, 6)
    W = np.random.default_rng(5).normal(size=(6, 3))
    v = W.sum(axis=1) - 3 * W[:, y].T
    for eps in (0.05, 0.2):
        expected = np.abs((v * x).sum(axis=1)) <= eps * np.abs(v).sum(axis=1)
        assert (sets.in_T(W, region(x, eps), y) == expected).all()


@pytest.mark.parametrize(("norm", "box"), NORMS)
def test_the_slopes_at_zero_are_those_of_the_loss(norm, box):
    x, y = examples(20, 3)
    W = np.random.default_rng(2).normal(size=(3, 3))
    regions = region(x, 0.15, norm, box=box)
    for sign, slope in zip((1, -1), sets.slopes_at_zero(W, *class_means(regions, y, 3)), strict=True):
        h = 1e-6
        brute = logsumexp(at_corners(sign * h * W, regions, y), axis=2).max(axis=1).mean()
        assert (brute - math.log(3)) / h == pytest.approx(slope, abs=1e-4 if norm == "linf" else 1e-2)


@pytest.mark.parametrize(("norm", "box"), NORMS)
def test_the_version_space_only_shrinks_and_T_only_grows(norm, box):
    x, y = examples(40, 5, balanced=True)
    high = 1.0 if norm == "linf" else 2.0
    found = ask("sets", data(x, y), norm=norm, box=box, points=8, models=10, low=0.01, high=high).results[0]
    assert found.version_backwards == found.trapped_backwards == 0
    assert (np.diff(found.version) <= 0).all()
    assert (np.diff(found.trapped) >= 0).all()
    assert found.trapped[found.grid >= found.eps_bar].min() == 1
    assert found.version[0] > 0.2


def test_eps_bar_of_an_example_is_its_norm():
    x = np.array([[0.3, 0.9, 0.2]])
    assert threshold.of_point(x) == 0.9
    for norm, box, value in (("linf", False, 0.9), ("linf", True, 0.9), ("l2", False, np.linalg.norm(x))):
        found = threshold.of_data(x, np.array([1]), 3, norm, box=box)
        assert found.value == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_two_classes_of_any_sizes_are_logistic_regression(norm):
    x, y = examples(31, 5, classes=2)
    expected = threshold.of_logistic_regression(x, 2 * y - 1, norm)
    assert threshold.of_data(x, y, 2, norm).value == pytest.approx(expected, abs=1e-9)


def test_equal_classes_have_the_chebyshev_radius_of_their_means():
    x, y = examples(30, 6, classes=5, balanced=True)
    means = np.stack([x[y == c].mean(axis=0) for c in range(5)])
    assert threshold.of_data(x, y, 5).value == pytest.approx(np.ptp(means, axis=0).max() / 2, abs=1e-14)
    assert threshold.of_data(x, y, 5, bias=True).value == threshold.of_data(x, y, 5).value


def by_linear_program(x, y, classes, *, box=False, bias=False):
    """The largest eps at which some z with Σ α_c z_c = 0 leads down, from the definition, pixel by pixel.

    z = a − b with a, b ≥ 0 makes what the adversary does linear; the largest eps is found by bisection.
    """
    n = np.bincount(y, minlength=classes)

    def falls(eps):
        best = 0.0
        for pixel in x.T:
            low, high = (
                (np.maximum(pixel - eps, 0), np.minimum(pixel + eps, 1))
                if box
                else (pixel - eps, pixel + eps)
            )
            low, high = (np.bincount(y, weights=end, minlength=classes) for end in (low, high))
            ties = np.where(bias, n, 1.0)
            solved = linprog(
                np.concatenate([-low, high]),
                A_eq=[np.concatenate([ties, -ties])],
                b_eq=[0],
                bounds=[(0, 1)] * (2 * classes),
            )
            best = min(best, solved.fun)
        return best < -1e-9

    low, high = 0.0, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if falls(middle) else (low, middle)
    return (low + high) / 2


@pytest.mark.parametrize("box", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_eps_bar_of_unequal_classes_is_that_of_a_linear_program(box, bias):
    x, y = examples(23, 3, classes=4, seed=7)
    found = threshold.of_data(x, y, 4, box=box, bias=bias)
    assert found.value == pytest.approx(by_linear_program(x, y, 4, box=box, bias=bias), abs=3e-6)


@pytest.mark.parametrize("balanced", [False, True])
def test_eps_bar_under_l2_is_the_best_centre_of_a_brute_search(balanced):
    x, y = examples(40, 2, classes=3, balanced=balanced, seed=4)
    counts, means = class_means(region(x, 0.0), y, 3)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 20, 2101)] * 2), axis=-1)
    far = np.max([np.linalg.norm(means.centre[c] - grid / counts[c], axis=-1) for c in range(3)], axis=0)
    found = threshold.of_data(x, y, 3, "l2")
    assert found.value + found.error <= far.min() + 1e-9
    assert found.value == pytest.approx(far.min(), abs=3e-3)
    assert found.error < 1e-6


@pytest.mark.parametrize(("norm", "box"), NORMS)
@pytest.mark.parametrize("balanced", [False, True])
def test_a_direction_leads_down_from_zero_below_eps_bar_and_none_at_it(norm, box, balanced):
    x, y = examples(30, 4, classes=3, balanced=balanced, seed=2)
    found = threshold.of_data(x, y, 3, norm, box=box)
    below, above = (region(x, f * found.value, norm, box=box) for f in (0.999, 1.001))
    assert not sets.in_T_of_data(found.direction, below, y)
    assert sets.in_T_of_data(found.direction, above, y)
    for W in np.random.default_rng(1).normal(size=(200, 4, 3)):
        assert sets.in_T_of_data(W, above, y)


@pytest.mark.parametrize("seed", range(20))
def test_eps_bar_under_l2_has_tight_bounds_for_classes_of_any_sizes(seed):
    x, y = examples(30, 1 + seed % 6, classes=2 + seed % 5, seed=seed)
    found = threshold.of_data(x, y, 2 + seed % 5, "l2")
    assert found.error <= 1e-5 * found.value
    ratio = found.direction
    counts, means = class_means(region(x, 0.0), y, ratio.shape[1])
    pulled = (counts[:, None] * means.centre * ratio.T).sum() / (counts @ np.linalg.norm(ratio, axis=0))
    assert pulled == pytest.approx(found.value, rel=1e-4)
    assert np.allclose(ratio.sum(axis=1), 0, atol=1e-12)


def test_a_bias_is_judged_against_the_entropy_of_the_class_frequencies():
    """Unequal classes with a bias: below eps_bar the loss falls under H(n_c / n), above it does not."""
    x, y = examples(40, 2, classes=3, seed=9)
    bar = threshold.of_data(x, y, 3, bias=True).value
    share = np.bincount(y) / len(y)
    constant = -(share * np.log(share)).sum()

    def trained(eps):
        signs = region(x, eps)

        def objective(flat):
            W, b = flat[:6].reshape(2, 3), flat[6:]
            u = at_corners(W, signs, y) + (b - b[y][:, None])[:, None]
            return logsumexp(u, axis=2).max(axis=1).mean()

        start = np.concatenate(
            [1e-3 * threshold.of_data(x, y, 3, bias=True).direction.ravel(), np.log(share)]
        )
        found = minimize(
            objective, start, method="Nelder-Mead", options={"maxfev": 4000, "xatol": 1e-9, "fatol": 1e-12}
        )
        return found.fun

    assert trained(0.8 * bar) < constant - 1e-4
    assert trained(1.05 * bar) > constant - 1e-9


@pytest.mark.parametrize(("norm", "box"), NORMS)
def test_the_sampling_error_of_eps_bar_is_its_spread_over_samples(norm, box):
    rng = np.random.default_rng(0)
    centre = np.array([[0.3, 0.5, 0.4], [0.6, 0.4, 0.5]])
    y = np.repeat([0, 1], 200)
    drawn = [
        threshold.of_data(
            np.clip(centre[y] + rng.normal(scale=0.1, size=(400, 3)), 0, 1), y, 2, norm, box=box
        )
        for _ in range(60)
    ]
    spread = np.std([each.value for each in drawn])
    assert np.mean([each.stderr for each in drawn]) == pytest.approx(spread, rel=0.3)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("box", [False, True])
def test_the_loss_is_that_of_the_worst_corner(classes, box):
    x, y = examples(25, 7, classes)
    W = 2 * np.random.default_rng(1).normal(size=(7, classes))
    regions = region(x, 0.25, box=box)
    brute = logsumexp(at_corners(W, regions, y), axis=2).max(axis=1)
    found = loss.bounds(W, regions, y)
    assert found.exact == (classes < 4)
    assert np.allclose(found.lower, brute, atol=1e-12)  # the search finds them all in so small a space
    if found.exact:
        assert np.allclose(found.upper, brute, atol=1e-12)
        return
    close = loss.certified(W, regions, y, nodes=100)
    assert (found.upper >= brute - 1e-12).all()
    assert (close.upper >= brute - 1e-12).all()
    assert (close.upper - brute).mean() < 0.1 * (found.upper - brute).mean()


def test_the_loss_under_l2_is_between_its_bounds():
    x, y = examples(10, 3, 4)
    W = 3 * np.random.default_rng(1).normal(size=(3, 4))
    regions = region(x, 0.3, "l2")
    brute = logsumexp(at_corners(W, regions, y), axis=2).max(axis=1)
    found = loss.certified(W, regions, y, nodes=100)
    assert np.allclose(found.lower, brute, atol=1e-2)
    assert (found.lower >= brute - 1e-12).all()
    assert (found.upper >= found.lower).all()


def test_at_eps_0_the_loss_is_the_plain_one():
    x, y = examples(10, 3, 5)
    W = np.random.default_rng(1).normal(size=(3, 5))
    u = x @ W
    plain = logsumexp(u, axis=1) - u[np.arange(10), y]
    found = loss.bounds(W, region(x, 0.0), y)
    assert found.exact
    assert np.allclose(found.lower, plain, atol=1e-13)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("box", [False, True])
def test_training_ends_at_zero_just_above_eps_bar(classes, box):
    x, y = examples(30, 5, classes, seed=6)
    bar = threshold.of_data(x, y, classes, box=box).value
    for share, zero in ((0.5, False), (0.95, False), (1.05, True)):
        found = minimiser.minimise(region(x, share * bar, box=box), y, classes, ridge=0.01, seed=1)
        low, high = found.norms(0.01)
        assert low <= np.linalg.norm(found.W) <= high
        assert (low > 0) == (not zero)
        assert (high == 0) == zero
        assert found.dual <= found.objective


def test_training_under_l2_ends_on_both_sides_of_eps_bar():
    x, y = examples(30, 5, 3, seed=6)
    bar = threshold.of_data(x, y, 3, "l2").value
    sizes = [
        np.linalg.norm(minimiser.minimise(region(x, f * bar, "l2"), y, 3, ridge=0.01).W) for f in (0.8, 1.1)
    ]
    assert sizes[0] > 0.01
    assert sizes[1] == 0


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("seed", range(3))
def test_below_eps_bar_a_better_model_than_0_is_found_however_near_it_is(seed, norm):
    x, y = examples(40, 6, 5, seed=seed)
    bar = threshold.of_data(x, y, 5, norm)
    told = ",".join(f"{share * bar.value:.7f}" for share in (0.95, 0.97, 0.99, 0.999, 1.001))
    *below, above = ask("minimum", data(x, y), norm=norm, eps=told).results
    assert above.weight_norm == 0
    excess = [found.excess for found in below]
    assert excess == sorted(excess)
    for found in below:
        assert found.excess_low <= found.excess < 0 < found.weight_norm
        assert not any("NOT FOUND" in remark for remark in found.remarks())
        if norm == "l2":  # a sampled sphere is short of its worst
            continue
        # No better anywhere along the direction that leads down.
        ray = np.geomspace(1e-4, 1, 40)[:, None, None] * bar.direction / np.linalg.norm(bar.direction)
        regions = region(x, found.eps, norm)
        on_it = [
            logsumexp(at_corners(W, regions, y), axis=2).max(axis=1).mean() + 0.005 * (W**2).sum()
            for W in ray
        ]
        assert found.excess <= min(on_it) - math.log(5) + 1e-9


def test_the_minimum_of_two_classes_is_that_of_a_plain_convex_solver():
    x, y = examples(40, 3, 2, seed=3)
    for eps in (0.0, 0.03, 0.06):
        found = minimiser.minimise(region(x, eps), y, 2, ridge=0.01)
        sign = 2 * y - 1

        def objective(w, eps=eps, sign=sign):
            margin = sign * (x @ w) - eps * np.abs(w).sum()
            return np.logaddexp(0, -margin).mean() + 0.01 / 4 * w @ w

        other = min(
            minimize(
                objective, start, method="Powell", options={"xtol": 1e-10, "ftol": 1e-14, "maxfev": 20000}
            ).fun
            for start in (np.zeros(3), found.W[:, 1] - found.W[:, 0])
        )
        assert found.objective == pytest.approx(other, abs=1e-9)
        assert found.objective - found.dual < 1e-8


def test_the_minimum_of_three_classes_is_bounded_by_its_dual_and_a_plain_solver_finds_no_better():
    x, y = examples(20, 2, 3, seed=1)
    regions = region(x, 0.05)
    found = minimiser.minimise(regions, y, 3, ridge=0.01)

    def objective(flat):
        W = flat.reshape(2, 3)
        return logsumexp(at_corners(W, regions, y), axis=2).max(axis=1).mean() + 0.005 * flat @ flat

    assert found.objective == pytest.approx(objective(found.W.ravel()), abs=1e-9)
    other = minimize(
        objective, found.W.ravel(), method="Nelder-Mead", options={"maxfev": 3000, "fatol": 1e-12}
    )
    assert found.dual <= other.fun
    assert found.objective - other.fun < 1e-3


def test_the_plane_agrees_with_the_sets_and_the_losses_point_by_point():
    x, y = examples(20, 2, 2, seed=5, balanced=True)
    x[y == 1, 0] = 1 - 0.3 * x[y == 1, 0]
    for found in ask("plane", data(x, y), eps="0,0.05,0.2").results:
        regions = region(x, found.eps)
        for i in range(0, 720, 19):
            w = np.array([np.cos(found.angle[i]), np.sin(found.angle[i])])
            W = np.stack([-w / 2, w / 2], axis=1)
            assert found.version[i] == sets.in_version_space(W, regions, y).all()
            assert found.trapped[i] == sets.in_T_of_data(W, regions, y)
        w = np.array([found.w[60], found.w[20]])
        W = np.stack([-w / 2, w / 2], axis=1)
        assert found.loss[20, 60] == pytest.approx(loss.bounds(W, regions, y).lower.mean(), abs=1e-12)
        assert found.best_loss <= found.loss.min() + 0.01


@pytest.fixture
def file(tmp_path):
    x, y = examples(60, 4, 3)
    np.savez(tmp_path / "d.npz", x=x.astype(np.float32), y=y)
    x, y = examples(20, 2, 2, seed=5, balanced=True)
    x[y == 1, 0] = 1 - 0.3 * x[y == 1, 0]
    np.savez(tmp_path / "two.npz", x=x.astype(np.float32), y=y)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("eps-bar --data {}/d.npz --bias", "eps-bar"),
        ("minimum --data {}/d.npz --classes 2,0 --eps 0,0.3", "minimum"),
        ("sets --data {}/d.npz --models 4 --points 3", "sets"),
        ("plane --data {}/two.npz --eps 0.1,0.6", "plane"),
    ],
)
def test_a_question_is_answered_stored_shown_and_drawn(words, kind, file, capsys):
    told, out = words.format(file).split(), file / "out.h5"
    figure = [] if kind == "eps-bar" else ["--figure", str(file / "f.png")]
    assert cli.run(["theory", *told, "-o", str(out), "--quiet", *figure]) == 0
    first = capsys.readouterr().out
    assert "linear" in first
    assert ("2 classes, 2,0 numbered anew from 0, no bias" in first) == ("--classes" in told)
    stored = load(out)
    assert stored.kind == kind
    assert stored.complete
    assert cli.run(["show", str(out)]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line] == [
        line for line in first.splitlines() if line and not line.startswith("wrote")
    ]
    assert bool(figure) == (file / "f.png").exists()
    for layout, begins in (("latex", "% data: "), ("markdown", "<!-- data: ")):
        assert cli.run(["show", str(out), "--format", layout]) == 0
        paper = capsys.readouterr().out
        assert begins in paper
        assert "linear, " in paper


@pytest.mark.parametrize("name", registry.named("theory"))
def test_just_the_questions_that_have_a_figure_offer_one(name, capsys):
    assert cli.run(["theory", name, "--help"]) == 0
    assert ("--figure" in capsys.readouterr().out) == (name in plot.PANELS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("minimum --data {}/d.npz --norm l2 --box", "leave --box away"),
        ("minimum --data {}/d.npz --classes 1", "two or more of 0 to 2"),
        ("minimum --data {}/d.npz --classes a,b", "write 1,7"),
        ("minimum --data {}/d.npz --ridge 0", "above 0"),
        ("minimum --data {}/d.npz --eps 8", "8/255"),
        ("plane --data {}/d.npz", "2 pixels and 2 classes"),
        ("sets --data {}/d.npz --low 1", "0 < low < high"),
        ("sets --data {}/d.npz --high 5", "--high 5 is wider than the box [0, 1]"),
        ("eps-bar --data {}/d.npz --figure f.pdf", "No such option"),
        ("minimum --data {}/d.npz -o f.pdf --figure ./f.pdf", "give two names"),
        ("eps-bar --data {}/d.npz --examples 100", "100 examples were asked for"),
    ],
)
def test_a_wrong_request_is_one_clear_line(words, said, file, capsys):
    assert cli.run(["theory", *words.format(file).split()]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_an_interrupted_run_keeps_what_is_done_and_carries_on(file, monkeypatch):
    from landscape.theory.questions import minimum

    real, out = minimum._at, file / "out.h5"

    def stopped(x, y, classes, budget, *rest):
        if float(budget.eps) == 0.2:
            raise KeyboardInterrupt
        return real(x, y, classes, budget, *rest)

    options = {"classes": "0,1", "eps": "0,0.2,0.3", "output": out}
    monkeypatch.setattr(minimum, "_at", stopped)
    with pytest.raises(KeyboardInterrupt):
        ask("minimum", str(file / "d.npz"), **options)
    half = load(out)
    assert [r.budget for r in half.results] == ["0"]
    assert not half.complete
    monkeypatch.setattr(minimum, "_at", real)
    whole = ask("minimum", str(file / "d.npz"), told=Run("minimum", {}, half.results), **options)
    assert [r.budget for r in whole.results] == ["0", "0.2", "0.3"]
    assert whole.results[0].seconds == half.results[0].seconds
    assert load(out).complete


def test_a_minimiser_that_was_not_found_is_told_drawn_written_and_an_error(file, monkeypatch, capsys):
    from landscape.theory.questions import minimum

    real, out, drawn = minimum._at, file / "out.h5", file / "out.png"

    def lost(*given):
        found = real(*given)
        return found if found.eps else dataclasses.replace(found, weight_norm=0.0)

    monkeypatch.setattr(minimum, "_at", lost)
    words = f"theory minimum --data {file}/d.npz --classes 0,1 --eps 0,0.01,0.9 -o {out} --figure {drawn}"
    assert cli.run([*words.split(), "--quiet"]) == 5
    told = capsys.readouterr()
    assert "not converged at eps = 0:" in told.err
    assert told.err.count("\n") == 1
    assert "NOT FOUND" in told.out
    assert drawn.exists()
    assert load(out).complete


@pytest.mark.parametrize("eps", ["0.8,0.9", "0"])
def test_budgets_above_eps_bar_alone_and_a_single_one_have_a_figure(file, eps):
    found = ask("minimum", str(file / "d.npz"), classes="0,1", eps=eps)
    for axes in figure([found]).axes:
        low, high = axes.get_ylim()
        assert high >= 2 * low
        first, last = axes.get_xlim()
        assert first < found.results[0].eps_bar < last
    cli.run(f"theory minimum --data {file}/d.npz --classes 0,1 --eps {eps} --figure {file}/out.png".split())
    assert (file / "out.png").exists()


@pytest.mark.parametrize("panels", [1, 2, 3, 4, 5, 6, 8])
def test_any_number_of_planes_is_drawn_whole(panels, file):
    eps = ",".join(f"{0.1 * i:.1f}" for i in range(panels))
    canvas = figure([ask("plane", str(file / "two.npz"), eps=eps)])
    FigureCanvasAgg(canvas).draw()
    for axes in canvas.axes:
        left, bottom, right, top = axes.get_tightbbox().extents
        assert left >= 0
        assert bottom >= 0
        assert right <= canvas.bbox.width
        assert top <= canvas.bbox.height


def test_a_minimiser_outside_of_the_plane_is_an_arrowhead_inside_and_its_place_is_told(file):
    run = ask("plane", str(file / "two.npz"), eps="0", extent=8.0)
    (found,) = run.results
    for factor, inside in ((1.5, True), (1.0, True), (0.9, False), (0.1, False)):
        edge = factor * np.abs(found.best).max()
        near = dataclasses.replace(found, w=found.w * edge / found.w[-1])
        (axes,) = figure([Run("plane", run.provenance, [near], True)]).axes
        (mark,) = [line for line in axes.lines if "w^*" in str(line.get_label())]
        at = np.ravel(mark.get_data())
        assert (np.abs(at) <= edge).all()
        if inside:
            assert (mark.get_marker(), mark.get_label()) == ("*", "$w^*$")
            assert np.allclose(at, found.best)
            continue
        assert np.arctan2(*at) == pytest.approx(np.arctan2(*found.best))
        x, y = (f"{float(f'{v:.2g}'):g}".replace("-", "−") for v in found.best)
        assert mark.get_label() == f"$w^*$ = ({x}, {y}), outside"
        assert not isinstance(mark.get_marker(), str)


def test_the_region_of_an_impossible_request_is_refused():
    with pytest.raises(InputError, match="from 0"):
        region(np.zeros((1, 2)), -0.1)
    with pytest.raises(InputError, match="one of linf, l2"):
        region(np.zeros((1, 2)), 0.1, "l1")


@pytest.mark.slow
def test_eps_bar_of_fashion_mnist():
    from landscape.datasets import source
    from landscape.errors import DataError

    try:
        whole = source.load("fashion-mnist")
    except DataError:
        pytest.skip("fashion-mnist is not on this machine")
    x, y = whole.x.flatten(1).numpy() / 255, whole.y.numpy()
    assert threshold.of_data(x, y, 10).value == pytest.approx(0.411, abs=5e-4)
    assert threshold.of_data(x, y, 10, box=True).value == pytest.approx(0.416, abs=5e-4)
