"""The checkpoints of a training against plain numpy and autograd, closed forms and each checkpoint alone."""

from __future__ import annotations

import copy
import json
import math

import nets
import numpy as np
import pytest
import torch
from torch import nn

from landscape import registry, results
from landscape.analyzers import trajectory as module
from landscape.analyzers.sharpness import sharpness
from landscape.analyzers.trajectory import Trajectory, trajectory
from landscape.attacks.pgd import PGD
from landscape.budget import Budget
from landscape.checkpoints.write import save
from landscape.cli import run
from landscape.data import Data
from landscape.errors import InputError, NumericalError
from landscape.objective import Point

ATTACKED = {"budget": Budget("0.1"), "attack": PGD(steps=3)}


def moved(net: nn.Module, seed: int) -> nn.Module:
    """Another checkpoint of the same model: weights and running statistics nearby."""
    rng = torch.Generator().manual_seed(seed)
    found = copy.deepcopy(net)
    for tensor in found.state_dict().values():
        if tensor.is_floating_point():
            tensor.mul_(1 + 0.3 * torch.rand(tensor.shape, generator=rng))
    return found


def course(make=nets.mlp, count: int = 3) -> list[nn.Module]:
    return [make(), *(moved(make(), seed) for seed in range(1, count))]


def points(modules: list[nn.Module], examples: Data | None = None, **told: object) -> list[Point]:
    examples = nets.data(40, 4) if examples is None else examples
    return [nets.point(m, examples, **told) for m in modules]


def weights(net: nn.Module) -> dict[str, np.ndarray]:
    return {name: p.detach().double().numpy() for name, p in net.named_parameters()}


def test_distances_are_those_of_the_state_dicts():
    modules = course(nets.cnn, 4)
    found = list(trajectory(points(modules, nets.data(20, 2, 6, 6)), per_layer=True))
    all_of_them = [weights(m) for m in modules]
    flat = [np.concatenate([w.ravel() for w in each.values()]) for each in all_of_them]
    for i, result in enumerate(found):
        before = max(0, i - 1)
        assert result.place == i
        assert result.norm_theta == pytest.approx(np.linalg.norm(flat[i]), rel=1e-12)
        for name, other in (("from_first", 0), ("from_previous", before)):
            length = np.linalg.norm(flat[i] - flat[other])
            assert getattr(result, name) == pytest.approx(length, rel=1e-12)
            relative = length / np.linalg.norm(flat[other])
            assert getattr(result, f"{name}_relative") == pytest.approx(relative, rel=1e-12)
            assert list(result.per_layer) == list(all_of_them[i])
            for layer, told in result.per_layer.items():
                own, there = all_of_them[i][layer], all_of_them[other][layer]
                assert told["norm"] == pytest.approx(np.linalg.norm(own), rel=1e-12)
                assert told[name] == pytest.approx(np.linalg.norm(own - there), rel=1e-12, abs=1e-15)
                assert told[f"{name}_relative"] == pytest.approx(
                    told[name] / np.linalg.norm(there), rel=1e-12
                )
            squares = sum(told[name] ** 2 for told in result.per_layer.values())
            assert squares == pytest.approx(length**2, rel=1e-12)
    assert found[0].from_first == found[0].from_previous == 0
    assert found[1].from_first == found[1].from_previous > 0


def test_layers_are_told_only_if_asked_for():
    (found,) = trajectory(points(course(count=1)))
    assert found.per_layer is None
    assert "per_layer" not in results.plain(found)


def still(net: nn.Module, bias: list[float]) -> nn.Module:
    """The net with a last layer that says the same of every input."""
    net[-1].weight.data.zero_()
    net[-1].bias.data = torch.tensor(bias)
    return net


def test_a_net_that_says_nothing_has_the_loss_and_the_entropy_of_a_constant():
    (found,) = trajectory(points([still(nets.mlp(), [0.0, 0.0, 0.0])], **ATTACKED))
    for before in ("", "clean_"):
        told = {name: getattr(found, before + name) for name in ("loss", "excess", "entropy", "modal_share")}
        assert told["loss"] == pytest.approx(math.log(3), rel=1e-14)
        assert told["entropy"] == pytest.approx(math.log(3), rel=1e-14)
        assert told["excess"] == pytest.approx(0, abs=1e-14)
        assert told["modal_share"] == 1
        assert getattr(found, f"{before}entropy_stderr") == pytest.approx(0, abs=1e-14)
        assert getattr(found, f"{before}modal_share_stderr") == 0
    assert found.constant() == ["attacked", "clean"]
    assert any("constant classifier" in remark for remark in found.remarks())


def test_a_net_that_always_says_one_class_has_its_closed_form():
    examples, bias = nets.data(50, 4), [0.0, 30.0, 1.0]
    (found,) = trajectory(points([still(nets.mlp(), bias)], examples))
    p = np.exp(bias) / np.exp(bias).sum()
    loss = -np.log(p)[examples.y.numpy()].mean()
    assert found.loss == pytest.approx(loss, rel=1e-12)
    assert found.excess == pytest.approx(loss - math.log(3), rel=1e-12)
    assert found.entropy == pytest.approx(-(p * np.log(p)).sum(), rel=1e-9)
    assert (found.modal_share, found.modal_share_stderr) == (1, 0)
    assert found.constant() == ["clean"]
    assert "CONSTANT" in found.rows()


def test_a_class_that_is_never_predicted_adds_nothing_to_the_entropy():
    (found,) = trajectory(points([still(nets.mlp(), [0.0, 0.0, -2000.0])], nets.data(20, 4, classes=2)))
    assert found.entropy == pytest.approx(math.log(2), rel=1e-14)
    assert math.isfinite(found.entropy_stderr)


def test_a_net_that_has_learnt_is_no_constant():
    x = torch.zeros(60, 4, dtype=torch.float64)
    y = torch.arange(60) % 3
    x[torch.arange(60), y] = 1.0
    net = nn.Linear(4, 3)
    net.weight.data, net.bias.data = 5 * torch.eye(3, 4), torch.zeros(3)
    (found,) = trajectory(points([net], Data.of(x, y, classes=3)))
    assert found.accuracy == 1
    assert found.modal_share == pytest.approx(1 / 3)
    assert found.modal_share_stderr == pytest.approx(math.sqrt(2 / 9 / 60))
    assert found.entropy == pytest.approx(math.log(3), rel=1e-12)
    assert (found.constant(), found.remarks()) == ([], [])


class Told(nn.Module):
    """Logits (n, K) that are what the inputs say, times a weight."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(by))

    def forward(self, x):
        return self.by * x


def constant(logits, y, by: float = 1.0) -> list[str]:
    x = torch.as_tensor(logits, dtype=torch.float64)
    labels = torch.as_tensor(y, dtype=torch.int64)
    (found,) = trajectory(points([Told(by)], Data.of(x, labels, classes=x.shape[1])))
    assert bool(found.remarks()) == bool(found.constant())
    p = x.mul(by).softmax(dim=1).numpy()
    assert found.spread == pytest.approx(math.sqrt(p.var(axis=0).sum()), rel=1e-6, abs=1e-12)
    assert found.label_share == np.bincount(labels).max() / len(labels)
    return found.constant()


def test_a_net_is_a_constant_where_it_tells_no_examples_apart_and_not_where_its_loss_is_that_of_one():
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(200, 10, generator=rng, dtype=torch.float64)
    y = torch.randint(0, 10, (200,), generator=rng)
    # Right of some, unsure of the rest, and a loss that is nearly log K: no constant.
    logits, right = 2.2 * x, torch.arange(200) % 5 == 0
    logits[right, y[right]] += 2.2
    loss = torch.nn.functional.cross_entropy(logits, y).item()
    assert abs(loss - math.log(10)) < 0.2
    assert constant(logits / 5, y, 5.0) == []
    # Logits as of a net at initialisation.
    assert constant(x, y, 0.05) == ["clean"]
    # As small, but right.
    assert constant(torch.eye(10)[y], y, 0.05) == []
    # Always the same class, sure of it to very different degrees.
    assert constant(x * torch.eye(10)[3], y, 9.0) == ["clean"]
    # Data of one class: right of them is no constant, wrong of them is.
    assert constant(torch.eye(10)[:1].repeat(50, 1), [0] * 50, 9.0) == []
    assert constant(torch.eye(10)[:1].repeat(50, 1), [1] * 50, 9.0) == ["clean"]
    # From a single example nothing can be told.
    assert constant(x[:1], [0], 0.05) == []


def test_the_error_of_the_entropy_is_how_it_moves_with_the_weight_of_each_example():
    at = nets.point(nets.mlp(), nets.data(50, 4))
    (found,) = trajectory([at])
    p, n, step = at.logits.softmax(dim=1).numpy(), 50, 1e-5

    def entropy(by: np.ndarray) -> float:
        mean = by @ p / by.sum()
        return -(mean * np.log(mean)).sum()

    moves = [n * (entropy(1 + step * one) - entropy(1 - step * one)) / (2 * step) for one in np.eye(n)]
    assert found.entropy == pytest.approx(entropy(np.ones(n)), rel=1e-12)
    assert found.entropy_stderr == pytest.approx(np.std(moves, ddof=1) / math.sqrt(n), rel=1e-6)


@pytest.mark.parametrize("told", [{}, ATTACKED], ids=["clean", "attacked"])
def test_the_gradient_is_that_of_plain_autograd(told):
    modules = course()
    for result, at in zip(trajectory(points(modules, **told)), points(modules, **told), strict=True):
        theta = at.theta.clone().requires_grad_()
        (slope,) = torch.autograd.grad(nets.loss(at)(theta), theta)
        assert result.gradient_norm == pytest.approx(slope.norm().item(), rel=1e-12)
        assert 0 < result.gradient_norm_stderr < result.gradient_norm
        assert 0 <= result.gradient_norm_unbiased <= result.gradient_norm


def test_the_error_of_the_gradient_covers_what_other_examples_give():
    """Within two standard errors in most of 40 samples of 1,024; the unbiased norm is closer on average."""
    net, whole = nets.mlp(), nets.data(100_000, 4)
    truth = nets.point(net, whole).gradient.norm().item()
    inside, means = 0, np.zeros(2)
    for i in range(40):
        (found,) = trajectory([nets.point(net, whole[1024 * i : 1024 * (i + 1)])])
        inside += abs(found.gradient_norm - truth) <= 2 * found.gradient_norm_stderr
        means += [found.gradient_norm, found.gradient_norm_unbiased]
    assert inside >= 32
    assert abs(means[1] / 40 - truth) <= abs(means[0] / 40 - truth)


def test_the_clean_numbers_are_those_of_eps_0_and_cost_one_forward_pass():
    modules = course()
    names = ("loss", "accuracy", "excess", "entropy", "modal_share")
    names += tuple(f"{name}_stderr" for name in names if name != "excess")
    attacked, clean = (list(trajectory(points(modules, **told))) for told in (ATTACKED, {}))
    for under, plain in zip(attacked, clean, strict=True):
        for name in names:
            assert getattr(under, f"clean_{name}") == getattr(plain, name) == getattr(plain, f"clean_{name}")
        assert plain.passes == {"forward": 0, "gradient": 1, "hvp": 0}
        assert under.loss > plain.loss
        assert (plain.attack, plain.inner_gap) == ("none", 0)


def test_a_net_with_batch_norm_is_looked_at_with_its_own_running_statistics():
    modules, examples = course(nets.cnn), nets.data(30, 2, 6, 6)
    for i, found in enumerate(trajectory(points(modules, examples, **ATTACKED), eigenvalue=True)):
        alone = sharpness(nets.point(modules[i], examples, **ATTACKED), k=1, trace="none")
        for name in ("loss", "accuracy", "loss_stderr", "inner_gap", "zero_loss"):
            assert getattr(found, name) == pytest.approx(getattr(alone, name), rel=1e-9), name
        assert found.eigenvalue == pytest.approx(alone.eigenvalues[0], rel=1e-3)


def test_the_eigenvalue_is_that_of_the_dense_hessian():
    modules = course()
    for found, at in zip(
        trajectory(points(modules, **ATTACKED), eigenvalue=True), points(modules, **ATTACKED), strict=True
    ):
        top = torch.linalg.eigvalsh(nets.dense(at))[-1].item()
        assert found.converged
        assert abs(found.eigenvalue - top) <= found.eigenvalue_residual
        assert "eigenvalue" in found.rows()
    (plain,) = trajectory(points(modules[:1]))
    assert math.isnan(plain.eigenvalue)
    assert plain.converged
    assert "eigenvalue" not in plain.rows()


@pytest.mark.parametrize("batch_size", [7, 50, 1000])
def test_nothing_depends_on_the_batch_size(batch_size):
    modules, examples = course(nets.cnn, 2), nets.data(150, 2, 6, 6)
    plain = trajectory(points(modules, examples, **ATTACKED))
    other = trajectory(points(modules, examples, batch_size=batch_size, **ATTACKED))
    for one, two in zip(plain, other, strict=True):
        for name, value in vars(one).items():
            if isinstance(value, float) and name != "seconds":
                assert getattr(two, name) == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), name


def test_one_network_is_held_at_a_time():
    """The points come one by one, and what came before is free when the next is asked for."""
    import gc
    import weakref

    seen: list[weakref.ref] = []

    class Lazy:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, place: int) -> Point:
            assert [ref() for ref in seen] == [None] * place
            point = nets.point(moved(nets.mlp(), place), nets.data(20, 4), **ATTACKED)
            seen.append(weakref.ref(point.objective.network))
            return point

    gc.disable()
    try:
        found = list(trajectory(Lazy(), eigenvalue=True))  # type: ignore[arg-type]
    finally:
        gc.enable()
    assert len(found) == len(seen) == 4


def test_nets_of_other_shapes_and_losses_without_a_number_are_refused():
    given = [nets.point(net, nets.data(20, 4)) for net in (nets.mlp(), nets.mlp(width=6))]
    with pytest.raises(InputError, match="checkpoints of one model"):
        list(trajectory(given))
    huge = nets.trained(nets.Net(lambda m, x: torch.exp(1e5 * m.a(x).abs()), a=nn.Linear(4, 3)))
    with pytest.raises(NumericalError, match="loss of unnamed is"):
        list(trajectory(points([huge])))


def test_a_single_example_and_weights_of_length_zero_have_no_error_and_no_relative_distance():
    net = nets.mlp()
    for p in net.parameters():
        p.data.zero_()
    first, second = trajectory(points([net, nets.mlp()], nets.data(1, 4)))
    assert math.isnan(first.loss_stderr)
    assert math.isnan(first.entropy_stderr)
    assert math.isnan(second.from_first_relative)
    assert second.from_first > 0
    assert first.rows()
    assert first.constant() == []


def test_files_of_one_name_are_told_apart_by_their_folders():
    assert module.label_of("runs/mine-epoch05.pt", set()) == "mine-epoch05"
    assert module.label_of("lenet_eps0.1", set()) == "lenet_eps0.1"
    assert module.label_of("step-20/model.bin", {"model"}) == "step-20/model"
    assert module.label_of("a.pt", {"a"}) == "a (2)"
    assert module.label_of("a/a.pt", {"a", "a/a", "a/a (2)"}) == "a/a (3)"


SPEC = "mlp:inputs=16,hidden=6,layers=1,classes=3"


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs `landscape trajectory` on four epochs of a small net, their names not in their order."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    net = registry.make("model", SPEC)
    for epoch, name in enumerate("dbca"):
        save(f"{name}.pt", moved(net, epoch).state_dict(), {"model": SPEC, "training": {"epochs": 2 * epoch}})
    other = SPEC.replace("hidden=6", "hidden=7")
    save("other.pt", registry.make("model", other).state_dict(), {"model": other})
    rng = np.random.default_rng(0)
    np.savez("data.npz", x=rng.uniform(size=(60, 1, 4, 4)).astype(np.float32), y=np.arange(60) % 3)

    def command(*given: str):
        code = run(["trajectory", *given, "--data", "data.npz", "--attack", "pgd:steps=2", "--quiet"])
        return code, *capsys.readouterr()

    return command


FILES = ("d.pt", "b.pt", "c.pt", "a.pt")


def test_json_has_every_eps_and_in_it_every_checkpoint_in_the_order_given(command):
    code, out, err = command(*FILES, "--eps", "0.1,0", "--per-layer", "--json", "-o", "t.h5")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert [(r["budget"], r["checkpoint"]) for r in told["results"]] == [
        (eps, file) for eps in ("0.1", "0") for file in FILES
    ]
    assert [each["epoch"] for each in told["checkpoints"]] == [0, 2, 4, 6]
    assert told["complete"]
    for result in told["results"]:
        assert result["eigenvalue"] is None
        for told_of in result["per_layer"].values():
            assert {"norm", "from_first", "from_previous"} <= set(told_of)
        for name in ("clean_loss", "gradient_norm", "from_first_relative", "entropy_stderr", "clean_excess"):
            assert isinstance(result[name], float), name
    assert [r["place"] for r in told["results"]] == [0, 1, 2, 3, 0, 1, 2, 3]
    kept = results.load("t.h5")
    assert isinstance(kept.results[0], Trajectory)
    assert json.loads(json.dumps(kept.plain())) == {k: v for k, v in told.items() if k != "output"}


def test_the_table_has_a_line_for_each_checkpoint_in_the_order_given(command):
    code, out, _ = command(*FILES, "--eps", "0,0.1", "--eigenvalue")
    assert code == 0
    lines = out.splitlines()
    for eps in ("0", "0.1"):
        place = lines.index(f"eps {eps}")
        assert lines[place + 1].split()[0] == "checkpoint"
        assert "eigenvalue" in lines[place + 1]
        assert [line.split()[0] for line in lines[place + 2 : place + 6]] == ["d", "b", "c", "a"]
        assert not lines[place + 6]


def test_one_checkpoint_alone_is_the_first_and_draws(command):
    code, out, _ = command("a.pt", "--json", "--figure", "one.png")
    assert code == 0
    (found,) = json.loads(out)["results"]
    assert (found["place"], found["from_first"], found["from_previous"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        (("a.pt", "other.pt"), 3, "parameters of different shapes"),
        (("a.pt", "b.pt", "gone.pt"), 3, "gone.pt"),
        (("gone.pt", "a.pt"), 3, "gone.pt"),
        ((), 2, "CKPT"),
    ],
)
def test_a_mistake_is_one_line_and_its_exit_code(files, code, words, command):
    found, out, err = command(*files)
    assert (found, out) == (code, "")
    assert err.count("\n") == 1
    assert words in err


def test_a_model_that_is_told_for_checkpoints_that_it_does_not_fit_is_a_mistake_too(command):
    code, out, err = command("a.pt", "other.pt", "--model", SPEC)
    assert (code, out) == (3, "")
    assert "other.pt cannot be compared with a.pt" in err


def test_what_is_finished_when_a_run_ends_is_kept(command, monkeypatch, capsys):
    whole = module._top

    def interrupted(point, seed):
        if point.objective.network.name == "c.pt" and point.objective.budget.eps:
            raise KeyboardInterrupt
        return whole(point, seed)

    monkeypatch.setattr(module, "_top", interrupted)
    code, _, err = command(*FILES, "--eps", "0,0.1", "--eigenvalue", "-o", "t.h5")
    assert code == 130
    assert "what was finished is kept" in err
    kept = results.load("t.h5")
    assert [(r.budget, r.checkpoint) for r in kept.results] == [
        *(("0", file) for file in FILES),
        ("0.1", "d.pt"),
        ("0.1", "b.pt"),
    ]
    assert run(["show", "t.h5"]) == 0
    assert "INCOMPLETE" in capsys.readouterr().out
    assert run(["plot", "t.h5", "-o", "t.png"]) == 0


def test_an_eigenvalue_that_does_not_converge_is_exit_code_5(command, monkeypatch):
    monkeypatch.setattr(module, "_top", lambda point, seed: (1.0, 0.5, False))
    code, out, err = command("d.pt", "b.pt", "--eps", "0.1", "--eigenvalue")
    assert code == 5
    assert "not converged at eps = 0.1" in err
    assert out.count("NOT CONVERGED") == 2


def drawn(epochs: list[int | None], budgets: tuple[str, ...]) -> results.Run:
    modules = course(count=len(epochs))
    found = [
        result
        for eps in budgets
        for result in trajectory(points(modules, **{**ATTACKED, "budget": Budget(eps)}))
    ]
    told = {"checkpoint": {"path": "a.pt"}, "checkpoints": [{"epoch": epoch} for epoch in epochs]}
    return results.Run("trajectory", told, found)


@pytest.mark.parametrize(
    ("epochs", "x"), [([0, 5, 20], [0, 5, 20]), ([0, None, 20], [0, 1, 2]), ([3, 3, 4], [0, 1, 2])]
)
@pytest.mark.parametrize("budgets", [("0.1", "0"), ("0.1",)])
def test_the_curves_are_the_numbers_over_the_epochs_or_the_order(epochs, x, budgets):
    from matplotlib.figure import Figure

    from landscape import plot

    found = drawn(epochs, budgets)
    panels = Figure().subplots(1, 3)
    for draw, axes in zip(
        (plot.trajectory_loss, plot.trajectory_gradient, plot.trajectory_distance), panels, strict=True
    ):
        draw(found, axes)
        assert list(axes.lines[0].get_xdata()) == x
        assert axes.get_xlabel() == ("epoch" if x == epochs else "checkpoint")
    loss, gradient, distance = panels
    for i, eps in enumerate(budgets):
        each = [r for r in found.results if r.budget == eps]
        assert list(loss.lines[i].get_ydata()) == [r.loss for r in each]
        assert list(gradient.lines[i].get_ydata()) == [r.gradient_norm for r in each]
        assert loss.lines[i].get_linestyle() == ("--" if eps == "0" else "-")
    assert list(loss.lines[1].get_ydata()) == [r.clean_loss for r in found.results[:3]]
    assert loss.lines[1].get_linestyle() == "--"
    assert list(distance.lines[0].get_ydata()) == [r.from_first for r in found.results[:3]]
    assert list(distance.lines[1].get_ydata()) == [r.from_previous for r in found.results[1:3]]


def test_several_trainings_have_a_row_each():
    from landscape import plot

    canvas = plot.figure([drawn([0, 1, 2], ("0", "0.1"))] * 2)
    assert len(canvas.axes) == 6
    assert canvas.axes[0].get_ylim() == canvas.axes[3].get_ylim()
