"""How alike adversaries are: closed forms of linear nets, symmetries, plain loops, counts of passes."""

import json
import math
from dataclasses import fields, replace

import nets
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from landscape import PGD, Budget, Data, Linear, Network, Objective, load, registry
from landscape.analyzers.perturbation import Perturbation, perturbation, similarity
from landscape.cli import run
from landscape.directions import random
from landscape.errors import InputError, NumericalError
from landscape.objective import Point
from landscape.results import Run, plain, save

KEYS = {
    *("eps", "direction", "radii", "cosine", "cosine_stderr", "sign_agreement", "distance"),
    *("floor", "zero_perturbations"),
}
NUMBERS = ("cosine", "cosine_free", "sign_agreement", "flipped", "distance", "label_flips")


class Logistic(nn.Module):
    """Logits (0, w·x)."""

    def __init__(self, d: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.w = nn.Parameter(torch.randn(d, generator=rng))

    def forward(self, x: Tensor) -> Tensor:
        margin = x.flatten(1) @ self.w
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


def inside(n: int, d: int, classes: int = 2, seed: int = 0) -> Data:
    """Inputs no nearer than 0.2 to the border of the box."""
    rng = torch.Generator().manual_seed(seed)
    x = 0.2 + 0.6 * torch.rand(n, d, generator=rng, dtype=torch.float64)
    return Data.of(x, torch.randint(0, classes, (n,), generator=rng), classes=classes)


def logistic(norm: str, eps: str = "0.1", d: int = 12) -> Point:
    network = Network(Logistic(d), dtype=torch.float64)
    return Objective(network, inside(9, d), Budget(eps, norm), Linear()).at()


def attacked(module: nn.Module, examples: Data, eps: str = "0.1", **told) -> Point:
    return nets.point(module, examples, **{"budget": Budget(eps), "attack": PGD(steps=3), **told})


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_linear_net_has_its_closed_form(norm):
    """δ = ∓ eps sign(w) or ∓ eps w / ‖w‖, wherever the input is."""
    point = logistic(norm)
    (found,) = perturbation(point, radii="0.01:3:6", directions="random", seed=3)
    v = random(point, seed=3)
    for j, h in enumerate(found.radii):
        one, other = (
            w.sign() if norm == "linf" else w / w.norm() for w in (point.theta, point.theta + h * v)
        )
        same, apart = one.sign() == other.sign(), one - other
        cosine = float(one @ other / one.norm() / other.norm())
        size = apart.abs().max() if norm == "linf" else apart.norm()
        assert found.cosine[j] == pytest.approx(cosine, abs=1e-10)
        assert found.cosine_free[j] == pytest.approx(cosine, abs=1e-10)
        assert found.sign_agreement[j] == pytest.approx(float(same.double().mean()), abs=1e-12)
        assert found.flipped[j] == pytest.approx(1 - float(same.double().mean()), abs=1e-12)
        assert found.distance[j] == pytest.approx(float(size) / 2, abs=1e-9)
    assert found.cosine[-1] < 0.9  # the largest radius does change it
    assert (found.floor, found.floor_distance, found.floor_label_flips) == (1, 0, 0)  # no random start
    assert found.floor_sign_agreement == found.floor_cosine_free == 1
    assert np.allclose(found.cosine_stderr, 0, atol=1e-12)


def test_the_numbers_are_those_of_a_plain_loop_over_the_examples():
    """Images with black and white pixels, whose perturbations can go one way only."""
    rng = torch.Generator().manual_seed(0)
    x = (1.6 * torch.rand(20, 2, 6, 6, generator=rng, dtype=torch.float64) - 0.3).clamp(0, 1)
    x[0] = (x[0] > 0.5).double()  # an example without a pixel that moves both ways
    point = attacked(nets.cnn(), Data.of(x, torch.arange(20) % 3))
    there = point + 0.5 * random(point, seed=0)
    (found,) = perturbation(point, radii="0.5")
    true: dict[str, list[float]] = {name: [] for name in NUMBERS}
    for i in range(20):
        a, b = (p.perturbation[i].flatten().numpy() for p in (point, there))
        keep = (x[i].flatten().numpy() >= 0.1) & (x[i].flatten().numpy() <= 0.9)
        true["cosine"].append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        if i:
            free = a[keep] @ b[keep] / np.linalg.norm(a[keep]) / np.linalg.norm(b[keep])
            true["cosine_free"].append(free)
        true["sign_agreement"].append(np.mean(np.sign(a) == np.sign(b)))
        true["flipped"].append(np.mean(a * b < 0))
        true["distance"].append(np.abs(a - b).max() / 0.2)
        true["label_flips"].append(float(point.logits[i].argmax() != there.logits[i].argmax()))
    for name, values in true.items():
        error = np.std(values, ddof=1) / math.sqrt(len(values))
        if name == "label_flips":
            error = math.sqrt(np.mean(values) * (1 - np.mean(values)) / 20)
        assert getattr(found, name)[0] == pytest.approx(np.mean(values), rel=1e-12), name
        assert getattr(found, f"{name}_stderr")[0] == pytest.approx(error, rel=1e-9), name
    for name, q in (("q05", 0.05), ("median", 0.5), ("q95", 0.95)):
        assert getattr(found, f"cosine_{name}")[0] == pytest.approx(np.quantile(true["cosine"], q))
    assert found.free_examples == 19
    assert any("1 of 20 examples have no pixel" in remark for remark in found.remarks())


def test_the_floor_compares_with_other_random_starts():
    point = attacked(nets.cnn(), nets.data(20, 2, 6, 6), "0.3")
    (found,) = perturbation(point, radii="0.5")
    seeds = 2 * 2**32
    other = attacked(nets.cnn(), nets.data(20, 2, 6, 6), "0.3", attack=PGD(steps=3, seed=seeds))
    true = similarity(point, other)
    assert found.floor == pytest.approx(true["cosine"].mean(), rel=1e-12)
    assert 0 < found.floor < 1
    assert found.floor_stderr == pytest.approx(true["cosine"].std(ddof=1) / math.sqrt(20), rel=1e-12)
    assert found.floor_median == pytest.approx(np.median(true["cosine"]), rel=1e-12)
    for name in NUMBERS[1:]:
        assert getattr(found, f"floor_{name}") == pytest.approx(true[name].mean(), rel=1e-12), name


def test_directions_do_not_change_each_other():
    def point() -> Point:
        return attacked(nets.mlp(), nets.data(15, 4))

    told = {"radii": "0.1,1"}
    together = list(perturbation(point(), directions="random,gradient,eigenvector:1", **told))
    assert [found.direction for found in together] == ["random", "gradient", "eigenvector:1"]
    for found in together:
        (alone,) = perturbation(point(), directions=found.direction, **told)
        assert found.cosine.tolist() == alone.cosine.tolist()
    assert len({found.cosine[1] for found in together}) == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_adversary_is_exactly_like_itself(dtype):
    one, other = (attacked(nets.cnn(), nets.data(30, 2, 6, 6), dtype=dtype) for _ in range(2))
    (found,) = perturbation(one, other)
    assert found.direction == "between"
    assert found.radii.tolist() == [0.0]
    assert found.cosine.tolist() == found.cosine_q05.tolist() == found.sign_agreement.tolist() == [1.0]
    assert found.distance.tolist() == found.label_flips.tolist() == found.cosine_stderr.tolist() == [0.0]
    assert found.floor < 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_two_points_are_as_alike_as_the_other_way_round(norm):
    modules = [nets.trained(nets.cnn(), seed) for seed in (1, 2)]
    budget = Budget("0.2", norm)
    one, other = (attacked(module, nets.data(12, 2, 6, 6), budget=budget) for module in modules)
    (there,), (back,) = perturbation(one, other), perturbation(other, one)
    assert there.cosine[0] < 0.9
    assert there.radii[0] == pytest.approx(float((one.theta - other.theta).norm()), rel=1e-12)
    for name in ("radii", *NUMBERS):
        assert getattr(there, name) == pytest.approx(getattr(back, name), rel=1e-12), name


class Scaled(nn.Module):
    """Logits (0, w Σx): at w = 0 the loss does not depend on x."""

    def __init__(self, w: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([w]))

    def forward(self, x: Tensor) -> Tensor:
        margin = self.w * x.flatten(1).sum(dim=1)
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


def test_perturbations_of_zero_are_counted_and_have_a_defined_likeness():
    flat, steep = (attacked(Scaled(w), inside(6, 4)) for w in (0.0, 1.0))
    (both,) = perturbation(flat, attacked(Scaled(0.0), inside(6, 4)))
    assert (both.zero_perturbations, both.zero_perturbations_other.tolist()) == (6, [6])
    assert (both.cosine[0], both.cosine_free[0], both.sign_agreement[0], both.distance[0]) == (1, 1, 1, 0)
    assert (both.floor, both.floor_distance) == (1, 0)
    (one,) = perturbation(flat, steep)
    assert (one.zero_perturbations, one.zero_perturbations_other.tolist()) == (6, [0])
    assert (one.cosine[0], one.cosine_free[0], one.sign_agreement[0]) == (0, 0, 0)
    assert one.distance[0] == pytest.approx(0.5, rel=1e-9)
    assert one.rows()["δ = 0"] == "6 of 6"
    assert any("6 of 6 examples" in remark for remark in one.remarks())
    for found in (both, one):
        numbers = [getattr(found, f.name) for f in fields(found) if f.name != "attack"]
        assert all(np.isfinite(v).all() for v in numbers if not isinstance(v, str | dict))


def test_without_a_pixel_that_moves_both_ways_its_cosine_is_not_told():
    x = (torch.rand(8, 4, generator=torch.Generator().manual_seed(0)) > 0.5).double()
    (found,) = perturbation(attacked(nets.mlp(), Data.of(x, torch.arange(8) % 3)), radii="0.1,1")
    assert (found.free_examples, found.free_pixels) == (0, 0)
    assert np.isnan(found.cosine_free).all()
    assert plain(found)["floor_cosine_free"] is None
    assert not any("free" in row for row in found.rows())
    assert np.isfinite(found.cosine).all()


def test_a_single_example_has_no_standard_error():
    (found,) = perturbation(attacked(nets.mlp(), nets.data(1, 4)), radii="0.1,1")
    assert np.isnan(found.cosine_stderr).all()
    assert math.isnan(found.floor_stderr)
    assert np.isfinite(found.cosine).all()
    assert found.rows()


def test_the_floor_rises_with_the_steps_of_the_attack():
    """Towards 1 for the softmax of a linear net, where attacks from all starts end at one maximum."""
    module = nets.trained(nn.Linear(10, 3))

    def floor(steps: int) -> float:
        told = {"budget": Budget("0.3", "l2"), "attack": PGD(steps=steps)}
        return next(perturbation(attacked(module, inside(100, 10, classes=3), **told), radii="0.1")).floor

    floors = [floor(steps) for steps in (1, 2, 5, 50)]
    assert floors == sorted(floors)
    assert floors[0] < 0.9
    assert floors[-1] > 0.9999


def test_nothing_depends_on_the_batch_size_or_on_the_order_of_the_examples():
    examples = nets.data(140, 2, 6, 6)
    order = torch.randperm(140, generator=torch.Generator().manual_seed(0))
    told = {"radii": "0.1,1", "directions": "random,gradient", "seed": 2}
    true = list(perturbation(attacked(nets.cnn(), examples), **told))
    for given, batch_size in ((examples, 7), (examples, 500), (examples[order], 128)):
        found = perturbation(attacked(nets.cnn(), given, batch_size=batch_size), **told)
        for ours, theirs in zip(found, true, strict=True):
            for name in (*NUMBERS, *(f"{name}_stderr" for name in NUMBERS), "floor", "floor_stderr"):
                assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-7, abs=1e-12), name


def test_there_is_one_attack_for_each_radius_and_direction_and_two_at_the_weights():
    steps, m, n = 3, 4, 100
    point = attacked(nets.mlp(), nets.data(n, 4), attack=PGD(steps=steps))
    point.inner_gap  # noqa: B018
    before = point.objective.passes["gradient"] - steps  # which is of the first of the two
    found = list(perturbation(point, radii="0.01:1:4", directions="random:1,random:2"))
    assert found[0].passes["gradient"] == pytest.approx(steps * (1 + m))
    assert found[1].passes["gradient"] == pytest.approx(steps * m)
    assert point.objective.passes["gradient"] - before == pytest.approx(steps * (2 + 2 * m))
    one, other = (attacked(nets.mlp(), nets.data(n, 4), attack=PGD(steps=steps)) for _ in range(2))
    one.inner_gap  # noqa: B018
    (between,) = perturbation(one, other)
    assert between.passes["gradient"] == pytest.approx(2 * steps)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="eps = 0 has no perturbation"):
        next(perturbation(attacked(nets.mlp(), nets.data(9, 4), "0")))
    for told in ({"radii": "0:1:3"}, {"directions": "north"}, {"radii": "1e-30"}):
        with pytest.raises(InputError):
            next(perturbation(attacked(nets.mlp(), nets.data(9, 4)), **told))
    huge = nets.Net(lambda m, x: 1e200 * torch.exp(1e3 * m.a(x)), a=nn.Linear(4, 3))
    with pytest.raises(NumericalError):
        next(perturbation(attacked(nets.trained(huge), nets.data(9, 4)), radii="0.1"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_radius_at_which_the_weights_overflow_is_refused_and_no_data(dtype):
    largest = {torch.float32: "1e30", torch.float64: "1e300"}[dtype]
    with pytest.raises(NumericalError, match=r"a radius of 1e\+30+ along random; give smaller --radii"):
        list(perturbation(attacked(nets.cnn(), nets.data(9, 2, 6, 6), dtype=dtype), radii=f"0.1,{largest}"))
    (fine,) = perturbation(attacked(nets.cnn(), nets.data(9, 2, 6, 6), dtype=dtype), radii="0.1,10")
    assert np.isfinite(fine.cosine).all()


def test_the_radius_of_a_cosine_is_on_the_line_between_its_neighbours():
    (found,) = perturbation(logistic("linf"), radii="0.01,0.1,1,10")
    found = replace(found, cosine=np.array([0.95, 0.9, 0.5, 0.8]))
    assert found.falls_to(0.7) == pytest.approx(math.sqrt(0.1 * 1), rel=1e-12)
    # Where it falls, not where it rises again.
    assert found.falls_to(0.8) == pytest.approx(10**-0.75, rel=1e-12)
    assert found.falls_to(0.5) == pytest.approx(1, rel=1e-12)
    assert (found.falls_to(0.97), found.falls_to(0.4)) == (0, math.inf)


def test_a_cosine_below_the_floor_is_told():
    point = attacked(nets.cnn(), nets.data(20, 2, 6, 6), "0.3", attack=PGD(steps=20))
    near, far = (next(perturbation(point, radii=radii)) for radii in ("1e-6,1", "30,40"))
    assert near.cosine[0] > near.floor > far.cosine[0]
    assert near.remarks() == []
    assert any("no larger than the floor" in remark for remark in far.remarks())


@pytest.mark.parametrize("between", [False, True])
def test_the_curves_are_the_numbers(between):
    from matplotlib.figure import Figure

    from landscape.plot.perturbation import perturbation as draw

    points = [attacked(nets.mlp(), nets.data(9, 4), eps) for eps in ("0.1", "0.2")]
    others = [attacked(nets.trained(nets.mlp(), 1), nets.data(9, 4), eps) for eps in ("0.1", "0.2")]
    found = [
        next(perturbation(p, other if between else None, radii="0.1:1:3"))
        for p, other in zip(points, others, strict=True)
    ]
    axes = Figure().subplots()
    draw(Run("perturbation", {}, found), axes, direction=found[0].direction)
    if between:
        cosines, floors = (container.lines[0] for container in axes.containers)
        assert list(cosines.get_ydata()) == [r.cosine[0] for r in found]
        assert list(floors.get_ydata()) == [r.floor for r in found]
    else:
        curves, floors = axes.lines[::2], axes.lines[1::2]
        for result, curve, floor in zip(found, curves, floors, strict=True):
            assert list(curve.get_xdata()) == list(result.radii)
            assert list(curve.get_ydata()) == list(result.cosine)
            assert set(floor.get_ydata()) == {result.floor}
            assert floor.get_color() == curve.get_color()
    low, high = axes.get_ylim()
    assert low < min(min(*r.cosine, r.floor) for r in found) < 1 < high < 1.05


SPEC = "mlp:inputs=16,hidden=6,layers=1,classes=3"


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs `landscape perturbation` on small nets and data of the user's own."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.pt", "b.pt")):
        torch.manual_seed(seed)
        torch.save(registry.make("model", SPEC).state_dict(), name)
    rng = np.random.default_rng(0)
    np.savez("data.npz", x=rng.uniform(size=(30, 1, 4, 4)).astype(np.float32), y=np.arange(30) % 3)

    def command(*given: str):
        told = ["--model", SPEC, "--data", "data.npz", "--attack", "pgd:steps=2", "--quiet"]
        code = run(["perturbation", *given, *told])
        return code, *capsys.readouterr()

    return command


def test_the_command_prints_the_documented_keys_and_a_file_holds_the_same(command, capsys):
    more = ("--radii", "1e-3:1:4", "--directions", "random,eigenvector:1", "--json", "-o", "out.h5")
    code, out, err = command("a.pt", "--eps", "0.1,0.2", *more)
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["kind"] == "perturbation"
    assert [(r["eps"], r["direction"]) for r in told["results"]] == [
        (eps, direction) for eps in (0.1, 0.2) for direction in ("random", "eigenvector:1")
    ]
    for result in told["results"]:
        assert set(result) >= KEYS
        assert len(result["radii"]) == len(result["cosine"]) == len(result["cosine_stderr"]) == 4
        assert len(result["sign_agreement"]) == len(result["distance"]) == 4
        assert isinstance(result["floor"], float)
        assert result["zero_perturbations"] == 0
    assert run(["show", "out.h5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"] == told["results"]
    assert run(["plot", "out.h5", "-o", "out.png"]) == 0


def test_two_checkpoints_are_compared_with_each_other(command, capsys):
    code, out, _ = command("a.pt", "b.pt", "--eps", "0.1", "--json", "-o", "out.h5")
    told = json.loads(out)
    assert (code, [c["path"] for c in told["checkpoints"]]) == (0, ["a.pt", "b.pt"])
    (result,) = told["results"]
    a, b = (torch.cat([p.flatten() for p in torch.load(name).values()]) for name in ("a.pt", "b.pt"))
    assert result["direction"] == "between"
    assert result["radii"] == [pytest.approx(float((a - b).norm()), rel=1e-6)]
    assert run(["show", "out.h5"]) == 0
    shown = capsys.readouterr().out
    assert "between two checkpoints" in shown
    assert "--directions are not used" in shown
    assert run(["plot", "out.h5", "-o", "out.png"]) == 0


def test_a_result_survives_its_file(tmp_path):
    found = list(
        perturbation(attacked(nets.mlp(), nets.data(9, 4)), radii="0.1,1", directions="random,gradient")
    )
    told = {"schema": 1, "checkpoint": {}, "data": {}}
    save(Run("perturbation", told, found, True), tmp_path / "a.h5")
    for one, other in zip(load(tmp_path / "a.h5").results, found, strict=True):
        for f in fields(Perturbation):
            np.testing.assert_equal(getattr(one, f.name), getattr(other, f.name))
        assert one.rows() == other.rows()


def test_an_interruption_keeps_the_directions_that_were_finished(command, monkeypatch):
    from landscape.analyzers import perturbation as module

    compared = module._compared

    def interrupted(point, others, floor, direction, h):
        if direction == "gradient":
            raise KeyboardInterrupt
        return compared(point, others, floor, direction, h)

    monkeypatch.setattr(module, "_compared", interrupted)
    code, out, _ = command(
        *("a.pt", "--eps", "0.1", "--radii", "0.1,1", "--directions", "random,gradient", "-o", "out.h5")
    )
    assert code == 130
    assert "INCOMPLETE" in out
    kept = load("out.h5")
    assert ([r.direction for r in kept.results], kept.complete) == (["random"], False)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["a.pt", "--eps", "0"], "eps = 0 has no perturbation"),
        (["a.pt"], "give --eps, such as 8/255"),
        (["a.pt", "--eps", "0,0.1"], "eps = 0 has no perturbation"),
        (["a.pt", "b.pt", "a.pt", "--eps", "0.1"], "3 checkpoints were given; perturbation takes 1 to 2"),
        (["a.pt", "--eps", "0.1", "--radii", "0,1"], "lengths above 0"),
        (["a.pt", "--eps", "0.1", "--radii", "-1:1:3"], "lengths above 0"),
        (["a.pt", "--eps", "0.1", "--directions", "north"], "'north' is not known"),
        (["a.pt", "--eps", "0.1", "--directions", "no.h5"], "there is no file no.h5"),
        (["a.pt", "--eps", "0.1", "--radii", "1e-12"], "lost in the rounding"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(given, words, command):
    code, out, err = command(*given)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
