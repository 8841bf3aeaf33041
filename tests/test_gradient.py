"""Gradient norms, noise and cosines against closed forms, dense matrices and plain loops over examples."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets import CLASSES, Net, cnn, data, frozen, mlp, point, tied, trained
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from landscape import per_example, plot, registry
from landscape.analyzers import gradient as module
from landscape.analyzers.gradient import gradient
from landscape.attacks.linear import Linear
from landscape.attacks.pgd import PGD
from landscape.budget import Budget
from landscape.cli import run
from landscape.data import Data
from landscape.errors import InputError, NumericalError
from landscape.linalg.operator import generator
from landscape.objective import Point
from landscape.per_example import gradients
from landscape.results import Run


class Attention(nn.Module):
    """Four tokens of one pixel's embedding each, self-attention, a linear layer."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.embed, self.attend = nn.Linear(1, 4), nn.MultiheadAttention(4, 2, batch_first=True)
        self.out = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        z = self.embed(x[:, :, None])
        z = F.scaled_dot_product_attention(z, z, z) if self.fused else self.attend(z, z, z)[0]
        return self.out(z.flatten(1))


def conv(*layers: nn.Module) -> nn.Module:
    net = nn.Sequential(nn.Conv2d(2, 2, 3), *layers, nn.Flatten(), nn.LazyLinear(CLASSES))
    net(torch.zeros(1, 2, 6, 6))
    return trained(net)


def wrong() -> nn.Module:
    """A layer whose backward pass is another one under vmap."""

    class Doubled(torch.autograd.Function):
        generate_vmap_rule = False

        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def setup_context(ctx, inputs, output) -> None:
            pass

        @staticmethod
        def backward(ctx, slope: Tensor) -> Tensor:
            return slope

        @staticmethod
        def vmap(info, in_dims, x: Tensor) -> tuple[Tensor, int]:
            return 2 * x, in_dims[0]

    return trained(
        Net(lambda m, x: m.b(Doubled.apply(torch.tanh(m.a(x)))), a=nn.Linear(4, 4), b=nn.Linear(4, 3))
    )


def branching() -> nn.Module:
    """A layer that looks at a value, which vmap cannot."""
    return trained(
        Net(
            lambda m, x: m.a(x) if float(x.detach().sum()) > -1.0 else m.b(x),
            a=nn.Linear(4, 3),
            b=nn.Linear(4, 3),
        )
    )


def embedding() -> nn.Module:
    return trained(
        Net(
            lambda m, x: m.b(m.a((3.99 * x).long()).flatten(1)), a=nn.Embedding(4, 2), b=nn.Linear(8, CLASSES)
        )
    )


# net, shape of an example
CASES = {
    "tanh mlp": (mlp, (4,)),
    "batch norm, max-pooling": (cnn, (2, 6, 6)),
    "tied weights": (tied, (4,)),
    "frozen weight": (frozen, (4,)),
    "unused layer": (lambda: trained(Net(lambda m, x: m.b(x), a=nn.Linear(4, 2), b=nn.Linear(4, 3))), (4,)),
    "layer norm": (lambda: trained(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 3))), (4,)),
    "group norm": (lambda: conv(nn.GroupNorm(2, 2), nn.GELU()), (2, 6, 6)),
    "instance norm": (lambda: conv(nn.InstanceNorm2d(2, affine=True), nn.Tanh()), (2, 6, 6)),
    "grouped, strided convolution": (lambda: conv(nn.Conv2d(2, 4, 3, stride=2, groups=2)), (2, 6, 6)),
    "average pooling, in place": (lambda: conv(nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2)), (2, 6, 6)),
    "dropout in training mode": (
        lambda: trained(nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3))).train(),
        (4,),
    ),
    "embedding": (embedding, (4,)),
    "multi-head attention": (lambda: trained(Attention(fused=False)), (4,)),
    "fused attention": (lambda: trained(Attention(fused=True)), (4,)),
}
FALLBACKS = {"vmap has it wrong": (wrong, (4,)), "a branch on values": (branching, (4,))}


def plain(at: Point) -> Tensor:
    """The gradient of each example (n, P), one at a time."""
    o, found = at.objective, []
    for i in range(len(at.perturbed)):
        alone = o.__class__(o.network, at.perturbed[i : i + 1], loss=o.loss)
        found.append(alone.at(at.theta).gradient.double())
    return torch.stack(found)


def close(found, true, rtol: float = 1e-10) -> None:
    found, true = torch.as_tensor(found), torch.as_tensor(true)
    torch.testing.assert_close(found, true, rtol=0, atol=rtol * max(true.abs().max().item(), 1e-300))


def hinge(logits: Tensor, y: Tensor) -> Tensor:
    """A loss that torch has no batching rule of."""
    return F.multi_margin_loss(logits, y, p=2, reduction="none")


def squares(logits: Tensor, y: Tensor) -> Tensor:
    return (logits - (torch.arange(CLASSES) == y[:, None]).double()).square().sum(dim=1)


ATTACKED = {"budget": Budget("0.1"), "attack": PGD(steps=2)}


@pytest.mark.parametrize(("net", "shape"), (CASES | FALLBACKS).values(), ids=CASES | FALLBACKS)
@pytest.mark.parametrize("told", [{}, {"loss": squares}, {"loss": hinge}, ATTACKED])
def test_the_gradients_of_examples_are_those_of_a_plain_loop(net, shape, told):
    if net is embedding and "budget" in told:
        pytest.skip("an embedding has no gradient in its input")
    at = point(net(), data(13, *shape), **told)
    vectors = torch.randn(len(at.theta), 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    true = plain(at)
    found = gradients(at, vectors, direction=True)
    close(found.norms, true.norm(dim=1))
    close(found.projections, true @ vectors)
    moving = true[true.any(dim=1)]
    close(found.direction, (moving / moving.norm(dim=1, keepdim=True)).mean(dim=0))
    assert bool(found.one_by_one) == ((net, shape) in FALLBACKS.values())


def test_gradients_that_vmap_has_wrong_are_not_believed():
    at = point(wrong(), data(13, 4))
    assert "are not its gradients" in gradients(at, at.theta[:, None]).one_by_one
    assert any("one by one" in remark for remark in gradient(at, batches="5:2").remarks())


def test_in_float32_gradients_are_right_to_its_precision():
    fine, coarse = (point(cnn(), data(140, 2, 6, 6), dtype=d) for d in (torch.float64, torch.float32))
    ours, true = gradients(coarse, coarse.theta[:, None]), gradients(fine, fine.theta[:, None])
    assert ours.norms.dtype == torch.float64
    close(ours.norms, true.norms, 1e-5)
    close(ours.projections, true.projections, 1e-5)


class Largest(TorchDispatchMode):
    """The most numbers that any tensor had."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for each in found if isinstance(found, list | tuple) else [found]:
            if isinstance(each, Tensor):
                self.numbers = max(self.numbers, each.numel())
        return found


def test_few_rows_of_gradients_are_held_at_a_time(monkeypatch):
    at = point(mlp(width=100), data(200, 4))
    monkeypatch.setattr(per_example, "NUMBERS", 9 * len(at.theta))
    with Largest() as seen:
        found = gradients(at, at.theta[:, None])
    assert len(found.norms) == 200
    assert seen.numbers <= 9 * len(at.theta)
    assert at.objective.work["gradient"] == 200 + 2 * per_example.FEW


def test_nothing_depends_on_the_batch_size_or_on_the_order_of_the_examples():
    examples = data(165, 2, 6, 6)
    order = torch.randperm(165, generator=torch.Generator().manual_seed(0))
    told = {"budget": Budget("0.1"), "attack": PGD(steps=2)}
    true = gradient(point(cnn(), examples, **told), batches="20:11", seed=3)
    cases = [(examples, size) for size in (7, 50, 500)] + [(examples[order], 128)]
    for given, batch_size in cases:
        found = gradient(point(cnn(), given, batch_size=batch_size, **told), batches="20:11", seed=3)
        for name in (
            "gradient_norm",
            "noise_scale",
            "noise_scale_stderr",
            "clean_cosine",
            "clean_cosine_stderr",
        ):
            assert getattr(found, name) == pytest.approx(getattr(true, name), rel=1e-9), name
        assert found.per_example == pytest.approx(true.per_example, rel=1e-9)
        assert found.batch == pytest.approx(true.batch, rel=1e-9)


def logistic(n: int, seed: int = 1) -> tuple[Data, nn.Module]:
    """Two classes, far enough from the border of the box for eps up to 0.2, and a linear net."""
    rng = torch.Generator().manual_seed(seed)
    x = 0.2 + 0.6 * torch.rand(n, 4, generator=rng, dtype=torch.float64)
    y = (x.sum(dim=1) + 0.5 * torch.randn(n, generator=rng, dtype=torch.float64) > 2).long()
    net = trained(nn.Linear(4, 2)).double()
    net.bias.data = torch.tensor([1.0, -1.0], dtype=torch.float64)  # so that the gradient is no mere noise
    return Data.of(x, y, classes=2), net


def logistic_gradients(examples: Data, net: nn.Module, eps: float) -> np.ndarray:
    """∇ℓᵢ (n, 10) at x − eps y sign(w), the worst input: σ(−margin) times the slope of the margin."""
    w, b = (net.weight[1] - net.weight[0]).detach(), (net.bias[1] - net.bias[0]).detach()
    sign = (2.0 * examples.y - 1)[:, None]
    x = examples.x - eps * sign * w.sign()
    one = torch.ones(len(x), 1, dtype=x.dtype)
    slope = -torch.sigmoid(-sign * (x @ w + b)[:, None]) * sign
    return (slope * torch.cat([-x, x, -one, one], dim=1)).numpy()


@pytest.mark.parametrize("eps", [0.0, 0.05, 0.2])
def test_a_linear_net_has_its_closed_form(eps):
    examples, net = logistic(150)
    found = gradient(point(net, examples, budget=Budget(str(eps)), attack=Linear()), batches="150:3")
    g, h = logistic_gradients(examples, net, eps), logistic_gradients(examples, net, 0.0)
    true, each = statistics(np.ones(150), g, h), np.linalg.norm(g, axis=1)
    assert found.gradient_norm == pytest.approx(true["gradient_norm"], rel=1e-6)
    assert found.noise_scale == pytest.approx(true["noise_scale"], rel=1e-6)
    assert found.clean_cosine == pytest.approx(true["clean_cosine"], rel=1e-6)
    assert found.per_example["cosine"] == pytest.approx(true["cosine"], rel=1e-6)
    assert found.per_example["mean"] == pytest.approx(each.mean(), rel=1e-6)
    for name, q in (("q05", 0.05), ("median", 0.5), ("q95", 0.95)):
        assert found.per_example[name] == pytest.approx(np.quantile(each, q), rel=1e-6)
    assert (found.clean_cosine_stderr == 0) == (eps == 0)
    # A batch of all examples is the data set, however it is drawn.
    for name in ("mean", "q05", "q95"):
        assert found.batch[name] == pytest.approx(found.gradient_norm, rel=1e-12)
    assert math.isnan(found.batch["cosine"])


def test_noise_over_gradient_is_the_trace_of_the_covariance_over_the_squared_norm():
    at = point(cnn(), data(60, 2, 6, 6), budget=Budget("0.1"), attack=PGD(steps=2))
    found, g = gradient(at, batches="10:2"), plain(at).numpy()
    squared = (g.mean(axis=0) ** 2).sum()
    assert found.noise_scale * squared == pytest.approx(np.trace(np.cov(g.T, bias=True)), rel=1e-10)
    trace = np.trace(np.cov(g.T))
    assert found.gradient_norm_unbiased == pytest.approx(math.sqrt(squared - trace / 60), rel=1e-10)
    assert found.noise_scale_unbiased == pytest.approx(trace / (squared - trace / 60), rel=1e-10)


def statistics(weights: np.ndarray, g: np.ndarray, h: np.ndarray) -> dict[str, float]:
    """What the analyzer tells, of weighted examples with gradients g and, without the attack, h (n, P)."""
    p = weights / weights.sum()
    norms = np.linalg.norm(g, axis=1)
    mean, clean = p @ g, p @ h
    size = np.linalg.norm(mean)
    return {
        "gradient_norm": size,
        "noise_scale": p @ norms**2 / size**2 - 1,
        "clean_cosine": mean @ clean / size / np.linalg.norm(clean),
        "cosine": p @ (g @ mean / norms) / size,
    }


def unbiased(g: np.ndarray) -> dict[str, float]:
    """Norm and noise scale of examples with gradients g (n, P), without the noise that n of them have."""
    trace, mean = np.trace(np.cov(g.T)), g.mean(axis=0)
    squared = mean @ mean - trace / len(g)
    return {"gradient_norm_unbiased": math.sqrt(squared), "noise_scale_unbiased": trace / squared}


def test_the_errors_of_norms_and_noise_scales_are_those_of_leaving_one_example_out():
    examples, net = logistic(40)
    found = gradient(point(net, examples), batches="10:2")
    g = logistic_gradients(examples, net, 0.0)
    without = [np.delete(g, i, axis=0) for i in range(40)]
    told = [statistics(np.ones(39), each, each) | unbiased(each) for each in without]
    for name in ("gradient_norm", "noise_scale", "gradient_norm_unbiased", "noise_scale_unbiased"):
        values = np.array([each[name] for each in told])
        error = math.sqrt(39 / 40 * ((values - values.mean()) ** 2).sum())
        assert getattr(found, f"{name}_stderr") == pytest.approx(error, rel=1e-6), name


def test_where_all_is_noise_the_error_of_the_norm_is_too_large_by_the_root_of_two():
    """The norm of a mean of n vectors whose expectation is 0."""
    rng = np.random.default_rng(0)
    norms, errors = [], []
    for _ in range(400):
        g = rng.normal(size=(50, 30))
        mean = g.mean(axis=0)
        size = np.linalg.norm(mean)
        told = module._noise(size, np.linalg.norm(g, axis=1), g @ mean / size)
        norms.append(size)
        errors.append(told["gradient_norm_stderr"])
    assert np.mean(errors) == pytest.approx(math.sqrt(2) * np.std(norms), rel=0.15)


@pytest.mark.parametrize("count", [2, 4, 6])
def test_batches_of_one_permutation_are_independent(count):
    found = gradient(point(mlp(), data(60, 4)), batches=f"10:{count}")
    assert found.batch["mean_stderr"] > 0
    assert (found.batch["cosine_stderr"] > 0) == (count > 2)  # two batches have one cosine


def test_no_cosine_is_beyond_one():
    x = torch.full((20, 4), 0.3, dtype=torch.float64)
    found = gradient(point(mlp(), Data.of(x, torch.zeros(20, dtype=torch.int64), classes=3)), batches="5:2")
    assert 1 - 1e-12 <= found.per_example["cosine"] <= 1


def test_the_errors_of_cosines_are_those_of_the_infinitesimal_jackknife():
    """How each number moves with each example's weight, by finite differences over the dense gradients."""
    at = point(mlp(), data(50, 4), budget=Budget("0.2"), attack=PGD(steps=3))
    found = gradient(at, batches="10:2")
    g, h = plain(at).numpy(), plain(at.objective.under(Budget(0)).at()).numpy()
    n, step = len(g), 1e-5
    moves: dict[str, list[float]] = {}
    for i in range(n):
        up, down = (statistics(1 + s * step * np.eye(n)[i], g, h) for s in (1, -1))
        for name in up:
            moves.setdefault(name, []).append((up[name] - down[name]) / (2 * step) * n)
    errors = {name: np.std(moved, ddof=1) / math.sqrt(n) for name, moved in moves.items()}
    assert found.clean_cosine_stderr == pytest.approx(errors["clean_cosine"], rel=1e-6)
    assert found.per_example["cosine"] == pytest.approx(statistics(np.ones(n), g, h)["cosine"], rel=1e-10)
    assert found.per_example["cosine_stderr"] == pytest.approx(errors["cosine"], rel=1e-6)


def test_the_errors_cover_what_a_very_large_sample_shows():
    """68 % within one standard error and 95 % within two, of 120 samples of 200 examples each."""
    examples, net = logistic(1_000_000, seed=10_000)
    truth = statistics(
        np.ones(len(examples)), *(logistic_gradients(examples, net, eps) for eps in (0.2, 0.0))
    )
    pulls: dict[str, list[float]] = {}
    for seed in range(120):
        at = point(net, logistic(200, seed)[0], budget=Budget("0.2"), attack=Linear())
        found = gradient(at, batches="1:1")
        for name in ("gradient_norm", "gradient_norm_unbiased", "noise_scale", "noise_scale_unbiased"):
            error = getattr(found, f"{name}_stderr")
            pulls.setdefault(name, []).append(
                (getattr(found, name) - truth[name.removesuffix("_unbiased")]) / error
            )
        error = found.clean_cosine_stderr
        pulls.setdefault("clean_cosine", []).append((found.clean_cosine - truth["clean_cosine"]) / error)
        each = found.per_example
        pulls.setdefault("cosine", []).append((each["cosine"] - truth["cosine"]) / each["cosine_stderr"])
    for name, pull in pulls.items():
        assert 0.55 < (np.abs(pull) < 1).mean() < 0.81, name  # three deviations of a share of 120
        assert (np.abs(pull) < 2).mean() > 0.89, name


def test_mini_batches_are_those_of_a_plain_loop_over_the_same_permutations():
    at = point(mlp(), data(50, 4), budget=Budget("0.1"), attack=PGD(steps=2))
    found, g = gradient(at, batches="12:10", seed=5), plain(at).numpy()
    rng = generator(5, module.DRAW)
    means = []
    for _ in range(3):
        order = rng.permutation(50)
        means.append([g[order[12 * i : 12 * i + 12]].mean(axis=0) for i in range(4)])
    means[2] = means[2][:2]
    norms = np.array([np.linalg.norm(m) for part in means for m in part])
    cosines = [
        [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in itertools.pairwise(part)] for part in means
    ]
    turns = np.concatenate(cosines)
    assert (found.batch["size"], found.batch["count"]) == (12, 10)
    assert found.batch["mean"] == pytest.approx(norms.mean(), rel=1e-10)
    assert found.batch["q05"] == pytest.approx(np.quantile(norms, 0.05), rel=1e-10)
    assert found.batch["q95"] == pytest.approx(np.quantile(norms, 0.95), rel=1e-10)
    assert found.batch["cosine"] == pytest.approx(turns.mean(), rel=1e-10)
    sums = [sum(c - turns.mean() for c in part) for part in cosines]
    assert found.batch["cosine_stderr"] == pytest.approx(math.sqrt(1.5 * sum(s * s for s in sums)) / 7)


def test_the_passes_are_those_of_the_attack_the_gradients_and_the_batches():
    at = point(mlp(), data(100, 4), budget=Budget("0.1"), attack=PGD(steps=2))
    at.perturbed, at.inner_gap  # noqa: B018
    before = at.objective.passes["gradient"]
    found = gradient(at, batches="10:30")
    # Two plain ones, each with its examples', a second one for the cosine's error, 300 examples in batches.
    checks = 3 * 2 * per_example.FEW / 100
    assert found.passes["gradient"] - before == pytest.approx(5 + 3 + checks, abs=2e-3)


def constant() -> nn.Module:
    return trained(Net(lambda m, x: 0 * m.a(x), a=nn.Linear(4, CLASSES)))


@pytest.mark.parametrize("eps", ["0", "0.1"])
def test_a_flat_loss_has_a_gradient_of_length_zero_and_no_angle(eps):
    at = point(constant(), data(20, 4), budget=Budget(eps), attack=PGD(steps=2))
    found = gradient(at, batches="5:4", per_layer=True)
    assert (found.gradient_norm, found.gradient_norm_stderr, found.gradient_norm_unbiased) == (0, 0, 0)
    assert found.per_example["mean"] == found.batch["q95"] == 0
    assert found.per_layer == {"a.weight": 0, "a.bias": 0}
    for value in (
        found.noise_scale,
        found.noise_scale_unbiased,
        found.clean_cosine,
        found.per_example["cosine"],
        found.batch["cosine"],
    ):
        assert math.isnan(value)
    assert found.rows()["noise scale"] == "not computed"


def test_a_single_example_has_a_gradient_and_no_error():
    found = gradient(point(mlp(), data(1, 4)), batches="1:2")
    assert found.gradient_norm == pytest.approx(found.per_example["mean"], rel=1e-12)
    assert found.batch["mean"] == pytest.approx(found.gradient_norm, rel=1e-12)
    assert math.isnan(found.gradient_norm_stderr)
    assert math.isnan(found.noise_scale)
    assert (found.clean_cosine, found.clean_cosine_stderr) == (1, 0)
    assert found.rows()


def test_a_loss_or_a_gradient_without_a_number_is_refused():
    infinite = Net(lambda m, x: torch.sqrt(0 * m.a(x)), a=nn.Linear(4, CLASSES))
    with pytest.raises(NumericalError, match="gradient contains NaN"):
        gradient(point(trained(infinite), data(20, 4)), batches="5:4")
    huge = Net(lambda m, x: torch.exp(1e5 * m.a(x).abs()), a=nn.Linear(4, CLASSES))
    with pytest.raises(NumericalError, match="the loss is"):
        gradient(point(trained(huge), data(20, 4)), batches="5:4")


def test_noise_that_the_gradient_drowns_in_is_told():
    rng = torch.Generator().manual_seed(0)
    examples = Data.of(torch.rand(40, 4, generator=rng), torch.arange(40) % 2, classes=2)
    net = nn.Linear(4, 2).double()
    net.weight.data.zero_(), net.bias.data.zero_()
    found = gradient(point(net, examples), batches="5:4")
    assert found.gradient_norm_unbiased < 0.9 * found.gradient_norm
    assert any("sampling noise of 40 examples" in remark for remark in found.remarks())
    clear = Data.of(examples.x, torch.zeros(40, dtype=torch.int64), classes=2)
    assert gradient(point(net, clear), batches="5:4").remarks() == []


@pytest.mark.parametrize("batches", ["", "128", "0:5", "5:0", "-5:3", "5:3:2", "a:b", "1.5:2", "21:1"])
def test_batches_that_cannot_be_drawn_are_refused_before_the_attack(batches):
    at = point(mlp(), data(20, 4), budget=Budget("0.1"), attack=PGD(steps=2))
    with pytest.raises(InputError, match="batch size" if batches == "21:1" else "SIZE:COUNT"):
        gradient(at, batches=batches)
    assert not at.objective.work


@pytest.mark.parametrize("budgets", [["0.1"], ["0.2", "0", "0.1"]])
def test_the_curves_are_the_numbers_in_the_order_of_eps(budgets):
    from matplotlib.figure import Figure

    found = [
        gradient(point(mlp(), data(40, 4), **{**ATTACKED, "budget": Budget(eps)}), batches="5:4")
        for eps in budgets
    ]
    drawn, ordered = Run("gradient", {}, found), sorted(found, key=lambda r: r.eps)
    norms, noise = Figure().subplots(1, 2)
    plot.gradient_norms(drawn, norms)
    plot.gradient_noise(drawn, noise, beside=[drawn])
    example, batch, all_of_them, _ = (container.lines[0] for container in norms.containers)
    assert list(example.get_xdata()) == [r.eps for r in ordered]
    assert list(example.get_ydata()) == [r.per_example["median"] for r in ordered]
    assert list(batch.get_ydata()) == [r.batch["mean"] for r in ordered]
    assert list(all_of_them.get_ydata()) == [r.gradient_norm for r in ordered]
    assert list(noise.containers[0].lines[0].get_ydata()) == [r.noise_scale for r in ordered]
    assert noise.get_legend().get_texts()[0].get_text() == "n = 40"
    for axes in (norms, noise):
        assert [label.get_text() for label in axes.get_xticklabels()] == sorted(budgets)
        low, high = axes.get_ylim()
        values = axes.containers[0].lines[0].get_ydata()
        assert low < values.min() <= values.max() < high


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs `landscape gradient` on a small net and data of the user's own."""
    monkeypatch.chdir(tmp_path)
    spec = "mlp:inputs=16,hidden=6,layers=1,classes=3"
    torch.manual_seed(0)
    torch.save(registry.make("model", spec).state_dict(), "net.pt")
    rng = np.random.default_rng(0)
    np.savez("data.npz", x=rng.uniform(size=(60, 1, 4, 4)).astype(np.float32), y=np.arange(60) % 3)

    def command(*more: str):
        given = ["gradient", "net.pt", "--model", spec, "--data", "data.npz", "--attack", "pgd:steps=2"]
        code = run([*given, *more])
        return code, *capsys.readouterr()

    return command


def test_the_command_prints_the_documented_keys_and_a_file_holds_the_same(command):
    code, out, err = command("--eps", "0,0.1", "--batches", "16:5", "--per-layer", "--json", "-o", "a.h5")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["kind"], [r["budget"] for r in told["results"]]) == ("gradient", ["0", "0.1"])
    for result in told["results"]:
        assert {"mean", "median", "q05", "q95", "mean_stderr", "cosine", "cosine_stderr"} == set(
            result["per_example"]
        )
        assert {"size", "count", "mean", "q05", "q95"} <= set(result["batch"])
        assert (result["batch"]["size"], result["batch"]["count"]) == (16, 5)
        for name in ("loss", "gradient_norm", "noise_scale", "noise_scale_stderr", "clean_cosine"):
            assert isinstance(result[name], float), name
        squares = sum(norm**2 for norm in result["per_layer"].values())
        assert squares == pytest.approx(result["gradient_norm"] ** 2, rel=1e-6)
    assert run(["show", "a.h5", "--json"]) == 0


def test_the_table_names_every_number_and_the_layers_only_if_asked_for(command):
    code, out, _ = command("--eps", "0,0.1", "--batches", "16:5")
    assert code == 0
    for words in ("gradient norm", "per example, 5-95 %", "per batch of 16", "noise scale", "clean cosine"):
        assert words in out
    assert "norm in" not in out
    assert "per_layer" not in command("--batches", "16:5", "--json")[1]


@pytest.mark.parametrize(
    ("batches", "words"), [("16", "give SIZE:COUNT"), ("61:5", "fewer examples than the batch size, 60")]
)
def test_bad_batches_are_one_line_and_exit_code_2(batches, words, command):
    code, out, err = command("--batches", batches)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert f"--batches {batches} is not possible" in err
    assert words in err
