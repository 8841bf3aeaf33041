import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from landscape import registry, training
from landscape.attacks.pgd import PGD
from landscape.budget import Budget
from landscape.checkpoints.read import read
from landscape.data import Data
from landscape.datasets.source import load
from landscape.errors import CheckpointError, DataError, InputError, NumericalError
from landscape.log import Log
from landscape.network import Network
from landscape.objective import Objective
from landscape.runs import train as run
from landscape.schedules import schedule
from landscape.subjects import load_model
from landscape.training import Course, Inner, Recipe, evaluate, train

MODEL = "mlp:inputs=64,hidden=16,layers=1"


@pytest.fixture
def data() -> Data:
    """100 images of 8 × 8 whose class is the brightest of ten pixels."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(100, 1, 8, 8)).astype(np.float32)
    return Data.of(x, x.reshape(100, -1)[:, :10].argmax(axis=1), name="brightest", classes=10)


@pytest.fixture
def npz(data, tmp_path):
    arrays = {"x_train": data.x, "y_train": data.y, "x_test": data.x[:50], "y_test": data.y[:50]}
    np.savez(tmp_path / "brightest.npz", **{name: array.numpy() for name, array in arrays.items()})
    return str(tmp_path / "brightest.npz")


@pytest.fixture
def quick(monkeypatch):
    """A final evaluation of seconds, not of minutes."""
    monkeypatch.setattr(training, "REFERENCE", PGD(steps=5, restarts=2, seed=1))
    monkeypatch.setattr(training, "EVALUATION_EXAMPLES", 200)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("model", [MODEL, "lenet:width=1"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_at_eps_zero_it_is_a_plain_training_loop_bit_for_bit(model, optimizer, data):
    if model != MODEL:
        data = load("fashion-mini", examples=60)
    recipe = Recipe(
        model=model, budget=Budget(0), epochs=2, batch_size=32, optimizer=optimizer, lr=0.01, seed=3
    )
    found, epochs = train(recipe, data)

    with torch.random.fork_rng():
        torch.manual_seed(3)
        plain = registry.make("model", model).to(memory_format=torch.channels_last)
    algorithm = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
    step = algorithm(plain.parameters(), lr=0.01, **({} if optimizer == "adam" else {"momentum": 0.9}))
    x = (data.x.float() / 255 if data.x.dtype == torch.uint8 else data.x).contiguous(
        memory_format=torch.channels_last
    )
    seen = []
    for epoch in (1, 2):
        order = np.random.Generator(np.random.Philox(key=[3, epoch])).permutation(len(data))
        for rows in torch.from_numpy(order).split(32):
            loss = F.cross_entropy(plain(x[rows]), data.y[rows])
            step.zero_grad()
            loss.backward()
            step.step()
            seen.append(loss.item() * len(rows))
    assert same(found, plain)
    assert sum(epoch.loss for epoch in epochs) * len(data) == pytest.approx(sum(seen), rel=1e-6)  # float32


@pytest.mark.parametrize("eps", [0, 0.1])
def test_a_seed_gives_the_same_weights_and_another_seed_others(eps, data):
    def trained(seed):
        return train(Recipe(model=MODEL, budget=Budget(eps), attack=PGD(steps=2), epochs=1, seed=seed), data)[
            0
        ]

    assert same(trained(0), trained(0))
    assert not same(trained(0), trained(1))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_attacked_mini_batch_is_in_the_budget_and_worse_than_the_clean_one(norm, data, monkeypatch):
    budget, seen = Budget("0.1" if norm == "linf" else "0.5", norm), []
    attacked = training.Inner.__call__

    def watched(inner, x, y, index, *rest):
        moved, module = attacked(inner, x, y, index, *rest), inner.module
        assert torch.equal(x, data.x[index])
        assert [p.requires_grad for p in module.parameters()] == [True] * len(list(module.parameters()))
        with torch.no_grad():
            seen.append((moved - x, moved, F.cross_entropy(module(moved), y) - F.cross_entropy(module(x), y)))
        return moved

    monkeypatch.setattr(training.Inner, "__call__", watched)
    train(Recipe(model=MODEL, budget=budget, attack=PGD(steps=3), epochs=2, batch_size=32), data)
    assert len(seen) == 8
    for delta, moved, rise in seen:
        size = delta.abs().amax() if norm == "linf" else delta.flatten(1).double().norm(dim=1).max()
        assert 0.9 * float(budget.eps) < size <= float(budget.eps) * (1 + 1e-6)
        assert moved.min() >= 0
        assert moved.max() <= 1
        assert rise > 0


def test_robust_accuracy_is_far_above_chance_after_a_few_epochs(quick):
    budget = Budget("0.05")
    recipe = Recipe(model="mlp:hidden=32", budget=budget, attack=PGD(steps=3), epochs=8, lr=3e-3)
    module, epochs = train(recipe, load("fashion-mini", "train"))
    assert [epoch.epoch for epoch in epochs] == list(range(1, 9))
    assert epochs[-1].loss < epochs[0].loss
    found = evaluate(module, load("fashion-mini", "test"), budget)
    assert found["robust_examples"] == 200
    assert found["strong_accuracy"] - 5 * found["strong_accuracy_stderr"] > 0.1
    assert found["strong_accuracy"] <= found["robust_accuracy"] <= found["clean_accuracy"]
    assert found["clean_loss"] <= found["robust_loss"]


def test_random_generators_and_gradients_are_left_alone(data):
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    module, _ = train(Recipe(model=MODEL, budget=Budget("0.1"), attack=PGD(steps=2), epochs=1), data)
    after = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    assert before[0] == after[0]
    assert all(np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))
    assert torch.equal(before[2], after[2])
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert not module.training


def test_the_checkpoint_says_how_it_was_made_and_makes_the_same_model(npz, tmp_path, quick):
    told = run(MODEL, npz, tmp_path / "a.pt", budget=Budget("8/255"), epochs=2, steps=2, examples=60, seed=5)
    file = read(tmp_path / "a.pt")
    assert file.metadata == told
    assert told.keys() == {"model", "data", "budget", "training", "metrics", "history", "versions"}
    assert (told["model"], told["budget"]) == (MODEL, {"eps": "8/255", "norm": "linf"})
    assert told["data"] == {
        "name": npz,
        "split": "train",
        "examples": 60,
        "sha256": load(npz, examples=60, seed=5).sha256,
    }
    assert told["training"] == {
        "attack": "pgd:steps=2",
        "schedule": "constant",
        "epochs": 2,
        "optimizer": "adam",
        "lr": 1e-3,
        "weight_decay": 0.0,
        "batch_size": 128,
        "seed": 5,
    }
    assert [epoch["epoch"] for epoch in told["history"]] == [1, 2]
    metrics = told["metrics"]
    assert (metrics["split"], metrics["examples"], metrics["robust_examples"]) == ("test", 50, 50)
    assert metrics["strong_attack"] == "pgd:steps=5,restarts=2"
    loaded = load_model(file)
    module, spec = loaded.module, loaded.model
    assert spec == MODEL
    assert evaluate(module, load(npz, "test"), Budget("8/255")) == metrics


def test_the_trained_model_is_attacked_on_as_many_examples_as_asked_for(npz, tmp_path):
    told = {"budget": Budget("8/255"), "epochs": 1, "steps": 1, "examples": 60}
    assert run(MODEL, npz, tmp_path / "a.pt", attacked=20, **told)["metrics"]["robust_examples"] == 20
    unattacked = run(MODEL, npz, tmp_path / "b.pt", attacked=0, **told)["metrics"]
    assert set(unattacked) == {
        "split",
        "examples",
        *(f"clean_{k}" for k in ("loss", "loss_stderr", "accuracy", "accuracy_stderr")),
    }
    with pytest.raises(InputError, match="attacked = -1 examples"):
        run(MODEL, npz, tmp_path / "c.pt", attacked=-1, **told)


def test_classes_that_the_model_was_not_told_of_are_in_its_specification(tmp_path, data):
    np.savez(tmp_path / "a.npz", x_train=data.x, y_train=data.y % 3, x_test=data.x, y_test=data.y % 6)
    told = run(MODEL, str(tmp_path / "a.npz"), tmp_path / "a.pt", budget=Budget(0), epochs=1)
    assert told["model"] == f"{MODEL},classes=6"  # the test split has more of them
    module = load_model(read(tmp_path / "a.pt")).module
    assert len(module(data.x)[0]) == 6


@pytest.mark.parametrize("examples", [None, 60])
@pytest.mark.parametrize(("keys", "split"), [(("x_train", "y_train"), "train"), (("x", "y"), "all")])
def test_without_a_test_split_the_training_data_are_evaluated_and_named(
    keys, split, examples, tmp_path, data
):
    np.savez(tmp_path / "a.npz", **dict(zip(keys, (data.x, data.y), strict=True)))
    told = run(
        *(MODEL, str(tmp_path / "a.npz"), tmp_path / "a.pt"),
        **{"budget": Budget(0), "epochs": 0, "examples": examples},
    )["metrics"]
    assert (told["split"], told["examples"]) == (split, 100 if split == "all" else examples or 100)
    assert told["note"].startswith("those trained on are among these examples, for there is no test split")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"x_test": 300 * np.ones((50, 1, 8, 8), np.float32)}, "outside"),
        ({"y_test": np.zeros(49, np.int64)}, "one label for each"),
        ({"x_test": np.ones((50, 1, 9, 9), np.float32)}, "are 1 × 9 × 9, those to train on 1 × 8 × 8"),
    ],
)
def test_a_test_split_that_is_there_but_damaged_is_refused_before_any_training(changed, words, npz, tmp_path):
    np.savez(tmp_path / "b.npz", **{**np.load(npz), **changed})
    with pytest.raises(DataError, match=words):
        run(MODEL, str(tmp_path / "b.npz"), tmp_path / "a.pt", budget=Budget(0), epochs=1)
    assert not (tmp_path / "a.pt").exists()


def test_a_budget_that_rounding_would_swallow_is_refused_before_any_training(npz, tmp_path):
    with pytest.raises(InputError, match="lost in the rounding"):
        run(MODEL, npz, tmp_path / "a.pt", budget=Budget("1e-9"), epochs=1)
    assert not (tmp_path / "a.pt").exists()


def test_the_stronger_attack_is_never_told_as_the_weaker_one(data, monkeypatch):
    """One that finds less on some examples and more on others."""
    monkeypatch.setattr(training, "REFERENCE", PGD(steps=1, seed=2**32))
    module, budget = registry.make("model", MODEL), Budget("1.5", "l2")
    attacks = PGD(steps=2), training.REFERENCE
    points = [Objective(Network(module), data, budget, attack).at() for attack in attacks]
    one, other = (point.losses for point in points)
    assert (one > other).any()
    found = evaluate(module, data, budget, steps=2)
    assert found["robust_loss"] == pytest.approx(one.mean().item(), rel=1e-6)
    assert found["strong_loss"] == pytest.approx(torch.maximum(one, other).mean().item(), rel=1e-6)
    right = points[0].correct & points[1].correct
    assert found["strong_accuracy"] == right.double().mean()
    for name in ("clean", "robust", "strong"):
        assert found[f"{name}_loss_stderr"] > 0
        share = found[f"{name}_accuracy"]
        assert found[f"{name}_accuracy_stderr"] == pytest.approx(math.sqrt(share * (1 - share) / 100))


def test_an_interrupted_training_keeps_the_last_epoch(npz, tmp_path):
    def stop(stage, done, of):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(MODEL, npz, tmp_path / "a.pt", budget=Budget(0), epochs=5, watch=stop)
    file = read(tmp_path / "a.pt")
    assert (file.metadata["training"]["epochs"], len(file.metadata["history"])) == (2, 2)
    assert file.metadata["metrics"] == {}
    run(MODEL, npz, tmp_path / "b.pt", budget=Budget(0), epochs=2)
    assert same(load_model(file).module, load_model(read(tmp_path / "b.pt")).module)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"a.pt", "a.h5", "b.pt", "b.h5", "brightest.npz"}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"epochs": -1}, InputError, "epochs = -1"),
        ({"lr": 0.0}, InputError, "lr = 0.0"),
        ({"lr": float("nan")}, InputError, "lr = nan"),
        ({"weight_decay": -1.0}, InputError, "weight decay = -1.0"),
        ({"weight_decay": float("nan")}, InputError, "weight decay = nan"),
        ({"batch_size": 0}, InputError, "batch size = 0"),
        ({"steps": 0}, InputError, "steps and restarts are at least 1"),
        ({"examples": 101}, InputError, "101 examples"),
        ({"model": "mlp"}, CheckpointError, "does not take inputs of shape"),
        ({"model": f"{MODEL},classes=2"}, CheckpointError, "has 2 outputs, the data 10 classes"),
        ({"model": "mine.py:make"}, InputError, "code of your own"),
        ({"lr": float("inf")}, InputError, "lr = inf"),
        (
            {"lr": 1e6, "weight_decay": 1e6, "epochs": 9, "optimizer": "sgd"},
            NumericalError,
            "smaller lr than",
        ),
        (
            {"lr": 1e6, "weight_decay": 1e6, "epochs": 3, "optimizer": "sgd"},
            NumericalError,
            "smaller lr than",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_in_words(options, error, words, npz, tmp_path):
    given = {"model": MODEL, "epochs": 1, **options}
    with pytest.raises(error, match=words):
        run(given.pop("model"), npz, tmp_path / "a.pt", budget=Budget(0), **given)


@pytest.mark.parametrize("model", [MODEL, "lenet:width=1"])
@pytest.mark.parametrize("per", ["epoch", "batch"])
def test_a_scheduled_training_is_a_plain_loop_with_the_formulas_bit_for_bit(model, per, data):
    if model != MODEL:
        data = load("fashion-mini", examples=60)
    plan = schedule("cosine", eps_max="0.15", lr="linear", warmup="1", periods="0:3:5", per=per)
    budget, log = Budget("0.1"), Log()
    recipe = Recipe(
        model=model, budget=budget, schedule=plan, attack=PGD(steps=2), epochs=5, batch_size=32, seed=3
    )
    found, _ = train(recipe, data, log=log)

    with torch.random.fork_rng():
        torch.manual_seed(3)
        plain = registry.make("model", model).to(memory_format=torch.channels_last)
    step, told = torch.optim.Adam(plain.parameters()), []
    for epoch, start, length in ((1, 0, 3), (2, 0, 3), (3, 0, 3), (4, 3, 2), (5, 3, 2)):
        order = np.random.Generator(np.random.Philox(key=[3, epoch])).permutation(len(data))
        batches = torch.from_numpy(order).split(32)
        for batch, rows in enumerate(batches):
            d = epoch - 1 - start + (batch / len(batches) if per == "batch" else 0)
            ahead = d + (1 / len(batches) if per == "batch" else 1)
            lr = 1e-3 * (ahead if d < 1 else 1 - (d - 1) / (length - 1))
            eps = min(0.1, 0.075 * (1 - math.cos(math.pi * d / length)))
            # To the last bit as the schedule has them: those are compared below.
            moment = plan.moment(5, epoch, batch, len(batches))
            exact = plan.eps.at(budget.eps, moment), plan.lr.at(1e-3, moment)
            told.append((eps, lr))
            assert exact == pytest.approx((eps, lr), rel=1e-9, abs=1e-12)
            step.param_groups[0]["lr"] = exact[1]
            x, y = data[rows].inputs(slice(None), torch.zeros(1))
            attack = PGD(steps=2, seed=3 + 1000 * epoch)
            if exact[0]:
                x = attack(
                    lambda x, y=y: F.cross_entropy(plain(x), y, reduction="none"),
                    *(x, data.index[rows], Budget(exact[0])),
                )
            loss = F.cross_entropy(plain(x), y)
            step.zero_grad()
            loss.backward()
            step.step()
    assert same(found, plain)
    result = log.training(
        eps=0.1, budget="0.1", norm="linf", attack="", steps_per_epoch=4, batch_size=32, epochs=5
    )
    assert np.allclose(np.stack([result.each_eps, result.lr], axis=1), told, rtol=1e-9, atol=1e-12)
    assert "the budget is scheduled, between 0 and 0.1: " in result.remarks()[0]


def test_a_scheduled_mini_batch_is_within_its_own_budget(data, monkeypatch):
    attacked, seen = training.Inner.__call__, []

    def watched(inner, x, y, index, budget, epoch):
        moved = attacked(inner, x, y, index, budget, epoch)
        seen.append(((moved - x).abs().max().item(), float(budget.eps)))
        return moved

    monkeypatch.setattr(training.Inner, "__call__", watched)
    plan = schedule("linear", per="batch")
    train(Recipe(model=MODEL, budget=Budget("0.1"), schedule=plan, epochs=2, batch_size=10), data)
    assert seen[0] == (0, 0)
    assert [eps for _, eps in seen] == pytest.approx([min(0.1, 0.01 * batch) for batch in range(20)])
    assert all(0.9 * eps <= moved <= eps * (1 + 1e-6) for moved, eps in seen)


def test_models_at_the_ends_of_periods_and_of_named_epochs_are_kept(npz, tmp_path, quick):
    plan = schedule("cosine", periods="0:2:4:5")
    told = run(
        MODEL, npz, tmp_path / "a.pt", budget=Budget("8/255"), schedule=plan, steps=2, checkpoints=[1, 2]
    )
    assert told["training"] | {"seed": 0} == {
        "attack": "pgd:steps=2",
        "schedule": "cosine",
        "eps_min": "0",
        "eps_max": "16/255",
        "periods": "0:2:4:5",
        "epochs": 5,
        "optimizer": "adam",
        "lr": 1e-3,
        "weight_decay": 0.0,
        "batch_size": 128,
        "seed": 0,
    }
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {
        *("a.pt", "a.h5", "brightest.npz", "a-epoch1.pt", "a-epoch2.pt"),
        *(f"a-period{n}.pt" for n in (1, 2, 3)),
    }
    final = load_model(read(tmp_path / "a.pt")).module
    for number, (start, stop) in enumerate(((0, 2), (2, 4), (4, 5)), 1):
        file = read(tmp_path / f"a-period{number}.pt")
        assert file.metadata["period"] == {"number": number, "of": 3, "epochs": [start, stop]}
        assert file.metadata["training"] == told["training"] | {"epochs": stop}
        assert file.metadata["budget"] == {"eps": "8/255", "norm": "linf"}
        assert len(file.metadata["history"]) == stop
        assert same(load_model(file).module, final) == (number == 3)
    two = load_model(read(tmp_path / "a-epoch2.pt")).module
    assert same(two, load_model(read(tmp_path / "a-period1.pt")).module)


@pytest.mark.parametrize("plan", [schedule("cosine"), schedule()])
def test_every_epoch_is_judged_at_the_target_whatever_the_schedule_has_come_to(plan, npz, tmp_path, quick):
    budget = Budget("0.1")
    told = run(
        *(MODEL, npz, tmp_path / "a.pt"), budget=budget, schedule=plan, epochs=3, steps=2, keep=1, monitor=30
    )
    few = load(npz, "test").subset(30)
    for entry in told["history"]:
        module = load_model(read(tmp_path / f"a-epoch{entry['epoch']}.pt")).module
        point = Objective(Network(module), few, budget, PGD(steps=2)).at()
        assert (entry["target_loss"], entry["target_accuracy"]) == (point.value, point.accuracy)
        assert entry["target_loss_stderr"] == point.value_stderr > 0
        assert entry["target_accuracy_stderr"] == point.accuracy_stderr
    if plan.eps.shape == "cosine":
        assert [entry["eps"] for entry in told["history"]] == pytest.approx([0, 0.05, 0.1])
        assert [entry["lr"] for entry in told["history"]] == [1e-3] * 3
    assert told["metrics"]["eps"] == "0.1"


@pytest.mark.parametrize(
    ("plan", "monitor", "judged"),
    [
        (schedule(), None, False),
        (schedule("linear"), None, True),
        (schedule("linear"), 0, False),
        (schedule(lr="cosine"), None, False),
        (schedule(), 10, True),
    ],
)
def test_epochs_are_judged_where_the_budget_is_scheduled_or_it_is_asked_for(
    plan, monitor, judged, npz, tmp_path, quick
):
    told = run(
        *(MODEL, npz, tmp_path / "a.pt"),
        **{"budget": Budget("0.1"), "schedule": plan, "epochs": 1, "steps": 1, "monitor": monitor},
    )
    assert ("target_loss" in told["history"][0]) == judged
    assert ("lr" in told["history"][0]) == (plan != schedule())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_attack_in_bfloat16_finds_what_one_in_full_precision_finds(norm):
    budget = Budget("0.1" if norm == "linf" else 1, norm)
    data = load("fashion-mini", examples=250)
    recipe = Recipe(model="lenet:width=2", budget=budget, attack=PGD(steps=3), epochs=12, batch_size=32)
    with torch.random.fork_rng():
        course = Course(recipe, data)
        while not course.done:
            course.step()
    x, y = data.inputs(slice(None), torch.zeros(1))
    rises = {}
    with torch.no_grad():
        clean = F.cross_entropy(course.module.eval()(x), y)
    for precision in ("full", "bfloat16"):
        wanted = replace(recipe, attack=PGD(steps=10), attack_precision=precision)
        inner = Inner(wanted, course.module)
        moved = inner(x, y, data.index, budget, 1)
        assert torch.equal(moved, inner(x, y, data.index, budget, 1))
        assert moved.dtype == torch.float32
        assert budget.size(moved - x).max() <= float(budget.eps) * (1 + 1e-6)
        with torch.no_grad():
            rises[precision] = (F.cross_entropy(course.module(moved), y) - clean).item()
    assert rises["full"] > 0.1
    assert rises["bfloat16"] == pytest.approx(rises["full"], rel=0.02)


def test_bfloat16_is_of_the_attack_alone_and_follows_the_weights(npz, tmp_path, quick):
    with pytest.MonkeyPatch.context() as patch:
        seen, call = [], training.Inner.__call__

        def watched(inner, *given):
            found = call(inner, *given)
            assert all(p.dtype == torch.float32 and p.requires_grad for p in inner.module.parameters())
            pairs = zip(inner.low.parameters(), inner.module.parameters(), strict=True)
            assert all(torch.equal(low, exact.bfloat16()) for low, exact in pairs)
            seen.append(next(inner.low.parameters()).clone())
            return found

        patch.setattr(training.Inner, "__call__", watched)
        told = run(
            *(MODEL, npz, tmp_path / "a.pt"),
            **{"budget": Budget("0.1"), "epochs": 3, "steps": 2, "attack_precision": "bfloat16"},
        )
    assert not torch.equal(seen[0], seen[-1])
    assert told["training"]["attack_precision"] == "bfloat16"
    assert all(tensor.dtype == torch.float32 for tensor in read(tmp_path / "a.pt").state.values())


@pytest.mark.parametrize("has", [True, False])
def test_auto_is_bfloat16_where_the_processor_has_it(has, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has, raising=False)
    assert training.precision("auto") == ("bfloat16" if has else "full")
    assert training.precision("full") == "full"
    assert training.precision("bfloat16") == "bfloat16"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"schedule": schedule("cosine")}, "eps = 0 has no schedule"),
        ({"schedule": schedule(periods="0:3"), "epochs": 2}, "end after 3 epochs, the training after 2"),
        ({"schedule": schedule(warmup="1")}, "would fill a period of 1"),
        ({"checkpoints": [2]}, "there is no epoch 2; give epochs from 0 to 1"),
        ({"monitor": -1}, "monitor = -1 examples"),
        ({"monitor": 51}, "51 examples were asked for"),
    ],
)
def test_a_schedule_that_does_not_fit_is_refused_before_anything_is_written(options, words, npz, tmp_path):
    with pytest.raises(InputError, match=words):
        run(MODEL, npz, tmp_path / "a.pt", budget=Budget(0), **{"epochs": 1, **options})
    assert {path.name for path in tmp_path.iterdir()} == {"brightest.npz"}
