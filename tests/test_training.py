import random

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
from landscape.errors import CheckpointError, InputError, NumericalError
from landscape.runs import train as run
from landscape.subjects import load_model
from landscape.training import Recipe, evaluate, train

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
    attacked = training._attacked

    def watched(recipe, module, x, y, index, epoch):
        moved = attacked(recipe, module, x, y, index, epoch)
        assert torch.equal(x, data.x[index])
        assert [p.requires_grad for p in module.parameters()] == [True] * len(list(module.parameters()))
        with torch.no_grad():
            seen.append((moved - x, moved, F.cross_entropy(module(moved), y) - F.cross_entropy(module(x), y)))
        return moved

    monkeypatch.setattr(training, "_attacked", watched)
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


def test_classes_that_the_model_was_not_told_of_are_in_its_specification(tmp_path, data):
    np.savez(tmp_path / "a.npz", x_train=data.x, y_train=data.y % 3, x_test=data.x, y_test=data.y % 6)
    told = run(MODEL, str(tmp_path / "a.npz"), tmp_path / "a.pt", budget=Budget(0), epochs=1)
    assert told["model"] == f"{MODEL},classes=6"  # the test split has more of them
    module = load_model(read(tmp_path / "a.pt")).module
    assert len(module(data.x)[0]) == 6


def test_without_a_test_split_the_training_data_are_evaluated_and_named(tmp_path, data):
    np.savez(tmp_path / "a.npz", x_train=data.x, y_train=data.y)
    told = run(MODEL, str(tmp_path / "a.npz"), tmp_path / "a.pt", budget=Budget(0), epochs=0)
    assert (told["metrics"]["split"], told["metrics"]["examples"]) == ("train", 100)


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
