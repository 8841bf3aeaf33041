"""A training that was interrupted, at any moment and in any way, ends with the bits of one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import landscape
from landscape import cli, record, registry, runs, training
from landscape.attacks.pgd import PGD
from landscape.budget import Budget
from landscape.checkpoints.read import read
from landscape.checkpoints.write import save as save_checkpoint
from landscape.errors import CheckpointError, InputError, NumericalError
from landscape.resume import state_path
from landscape.runs import train as run
from landscape.schedules import schedule

MODEL = "mlp:inputs=64,hidden=8,layers=1"
EPOCHS, BATCHES = 4, 4
PAS = schedule("cosine", eps_max="0.15", lr="linear", warmup="0.5", periods="0:2:4", per="batch")
RECIPE = {"budget": Budget("0.1"), "schedule": PAS, "steps": 2, "batch_size": 32, "monitor": 20}
# What is no setting: it says when and how long.
TIMES = ("created", "seconds", "command")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A final evaluation of a moment."""
    monkeypatch.setattr(training, "REFERENCE", PGD(steps=2, seed=1))
    monkeypatch.setattr(training, "EVALUATION_EXAMPLES", 20)


@pytest.fixture
def npz(tmp_path):
    """100 images of 8 × 8 whose class is the brightest of ten pixels."""
    x = np.random.default_rng(0).uniform(size=(100, 1, 8, 8)).astype(np.float32)
    y = x.reshape(100, -1)[:, :10].argmax(axis=1)
    np.savez(tmp_path / "brightest.npz", x_train=x, y_train=y, x_test=x[:50], y_test=y[:50])
    return str(tmp_path / "brightest.npz")


@pytest.fixture
def dropper():
    """A model that draws from torch's generator in every mini-batch, and has running statistics."""

    class Dropper(nn.Sequential):
        def __init__(self):
            super().__init__(
                nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Dropout(0.3), nn.Linear(108, 10)
            )

    registry.named("model")
    registry._known["model"]["dropper"] = lambda: Dropper()
    yield "dropper"
    del registry._known["model"]["dropper"]


def stopping(at, how=None, stage="training"):
    """A watch that ends the run after so many steps of a stage: by a signal, or as a kill would."""

    def watch(told, done, of):
        if told.startswith(stage) and done == at:
            if how is None:
                raise RuntimeError("killed")
            signal.raise_signal(how)

    return watch


def left(folder):
    """What a training left, but for the times in it."""
    found = {}
    for path in sorted(Path(folder).iterdir()):
        if path.suffix == ".h5":
            log = landscape.load(path)
            told = {k: v for k, v in log.provenance.items() if k not in TIMES}
            told["checkpoint"]["path"] = ""
            found[path.name] = repr((told, log.complete, log.plain()["results"]))
        else:
            found[path.name] = path.read_bytes()
    return found


def trained(npz, folder, model=MODEL, **options):
    folder.mkdir(exist_ok=True)
    return run(model, npz, folder / "a.pt", **{**RECIPE, "keep": 2, **options})


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("precision", ["full", "bfloat16"])
def test_two_epochs_are_one_and_one_more_bit_for_bit(optimizer, precision, npz, dropper, tmp_path):
    options = {"optimizer": optimizer, "weight_decay": 1e-3, "attack_precision": precision}
    trained(npz, tmp_path / "whole", dropper, **options)
    for at in (1, BATCHES, BATCHES + 3, 4 * BATCHES - 1):
        folder = tmp_path / f"at{at}"
        with pytest.raises(KeyboardInterrupt):
            trained(npz, folder, dropper, watch=stopping(at, signal.SIGTERM), **options)
        assert state_path(folder / "a.pt").exists()
        told = trained(npz, folder, dropper, **options)
        assert left(folder) == left(tmp_path / "whole")
        assert [epoch["epoch"] for epoch in told["history"]] == [1, 2, 3, 4]
    names = {"a.pt", "a.h5", *(f"a-epoch{n}.pt" for n in (0, 2, 4)), "a-period1.pt", "a-period2.pt"}
    assert set(left(tmp_path / "whole")) == names


def test_a_training_may_be_interrupted_again_and_again(npz, tmp_path):
    trained(npz, tmp_path / "whole")
    for _ in range(EPOCHS * BATCHES // 2 - 1):
        with pytest.raises(KeyboardInterrupt):  # after two mini-batches, the first of which is that of before
            trained(npz, tmp_path / "parts", watch=stopping(1, signal.SIGINT))
    trained(npz, tmp_path / "parts")
    assert left(tmp_path / "parts") == left(tmp_path / "whole")


@pytest.mark.parametrize("every", [0.0, 1e9])
@pytest.mark.parametrize("at", [1, 5, 8, 13])
def test_after_a_kill_it_goes_on_from_the_last_state_or_from_none(at, every, npz, tmp_path, monkeypatch):
    monkeypatch.setattr(record, "EVERY", every)
    trained(npz, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        trained(npz, tmp_path / "parts", watch=stopping(at))
    assert state_path(tmp_path / "parts" / "a.pt").exists() == (every == 0)
    trained(npz, tmp_path / "parts")
    assert left(tmp_path / "parts") == left(tmp_path / "whole")


def test_an_interrupted_evaluation_costs_no_epoch(npz, tmp_path, monkeypatch):
    trained(npz, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(npz, tmp_path / "parts", watch=stopping(20, signal.SIGINT, "attack"))
    monkeypatch.setattr(training.Course, "step", None)
    trained(npz, tmp_path / "parts")
    assert left(tmp_path / "parts") == left(tmp_path / "whole")


def test_an_interrupt_after_the_last_mini_batch_is_heard(npz, tmp_path):
    trained(npz, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(npz, tmp_path / "parts", watch=stopping(EPOCHS * BATCHES, signal.SIGTERM))
    assert state_path(tmp_path / "parts" / "a.pt").exists()
    trained(npz, tmp_path / "parts")
    assert left(tmp_path / "parts") == left(tmp_path / "whole")


@pytest.mark.parametrize("what", ["save_checkpoint", "results"])
def test_a_training_whose_last_write_is_cut_off_is_not_taken_for_complete(what, npz, tmp_path, monkeypatch):
    """In the middle of the checkpoint, or between it and the log, which names its digest."""
    trained(npz, tmp_path / "whole")

    def cut(*given, **named):
        raise KeyboardInterrupt

    def evaluated(*given, **named):
        found = evaluate(*given, **named)
        if what == "results":
            patch.setattr(record.results, "save", cut)
        else:
            patch.setattr(record, "save_checkpoint", cut)
        return found

    evaluate = runs.evaluate
    with monkeypatch.context() as patch:
        patch.setattr(runs, "evaluate", evaluated)
        with pytest.raises(KeyboardInterrupt):
            trained(npz, tmp_path / "parts")
    monkeypatch.setattr(training.Course, "step", None)  # nothing is trained again
    trained(npz, tmp_path / "parts")
    assert left(tmp_path / "parts") == left(tmp_path / "whole")


def test_a_second_signal_ends_it_at_once(npz, tmp_path):
    def twice(stage, done, of):
        if done == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        trained(npz, tmp_path / "parts", watch=twice)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert not state_path(tmp_path / "parts" / "a.pt").exists()


OTHER = [
    ({"lr": 0.1}, "lr = 0.001, now it is 0.1"),
    ({"seed": 3}, "seed = 0, now it is 3"),
    (
        {"schedule": schedule("linear", eps_max="0.15", periods="0:2:4")},
        "schedule = cosine, now it is linear",
    ),
    ({"schedule": schedule(), "epochs": 4}, "schedule = cosine, now it is constant"),
    ({"budget": Budget("0.12")}, "eps = 0.1, now it is 0.12"),
    ({"budget": Budget("0.1", "l2")}, "norm = linf, now it is l2"),
    ({"steps": 3}, "attack = pgd:steps=2, now it is pgd:steps=3"),
    ({"batch_size": 50}, "batch_size = 32, now it is 50"),
    ({"optimizer": "sgd"}, "optimizer = adam, now it is sgd"),
    ({"weight_decay": 0.1}, r"weight_decay = 0\.0, now it is 0\.1"),
    ({"model": f"{MODEL},activation=tanh"}, "model = mlp:.*, now it is mlp:.*tanh"),
    ({"examples": 90}, "data = "),
    ({"attack_precision": "bfloat16"}, "attack_precision = null, now it is bfloat16"),
]
OF_A_STATE = [({"monitor": 10}, "monitor = 20, now it is 10"), ({"keep": 1}, "kept = ")]


@pytest.mark.parametrize(("options", "words"), [*OTHER, *OF_A_STATE])
def test_under_other_settings_it_is_not_carried_on(options, words, npz, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trained(npz, tmp_path / "a", watch=stopping(6, signal.SIGINT))
    before = left(tmp_path / "a")
    with pytest.raises(InputError, match=f"a.pt.state was begun with {words}.*give --fresh"):
        trained(npz, tmp_path / "a", **options)
    assert left(tmp_path / "a") == before


def test_fresh_begins_anew_under_other_settings(npz, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trained(npz, tmp_path / "a", watch=stopping(6, signal.SIGINT))
    trained(npz, tmp_path / "a", lr=0.1, resume=False)
    trained(npz, tmp_path / "b", lr=0.1)
    assert left(tmp_path / "a") == left(tmp_path / "b")


def test_a_complete_one_is_left_as_it_is_and_no_other_takes_its_place_unasked(npz, tmp_path, monkeypatch):
    first = trained(npz, tmp_path / "a")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(training.Course, "step", None)
        told = trained(npz, tmp_path / "a")
        assert told == {**first, "note": f"{tmp_path}/a/a.pt was complete already; --fresh trains it anew"}
        assert "note" in trained(npz, tmp_path / "a", attacked=20)
        note = trained(npz, tmp_path / "a", attacked=30)["note"]
        assert note.startswith(f"{tmp_path}/a/a.pt was complete already, attacked on 20 test examples, as")
        for options, words in OTHER:
            with pytest.raises(InputError, match=f"a.pt was begun with {words}"):
                trained(npz, tmp_path / "a", **options)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()} == before
    (tmp_path / "a" / "a-period1.pt").unlink()  # then it is not complete
    assert trained(npz, tmp_path / "a") == first
    assert (tmp_path / "a" / "a-period1.pt").exists()
    file = read(tmp_path / "a" / "a.pt")
    save_checkpoint(
        tmp_path / "a" / "a.pt", file.state, {"metrics": {"clean_loss": 1.0}, "training": "by hand"}
    )
    assert trained(npz, tmp_path / "a") == first


def test_a_damaged_state_is_told_and_fresh_does_without_it(npz, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trained(npz, tmp_path / "a", watch=stopping(6, signal.SIGINT))
    state = state_path(tmp_path / "a" / "a.pt")
    whole = state.read_bytes()
    rng = np.random.default_rng(0)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1 << int(rng.integers(8))
    for damaged in (whole[: len(whole) // 2], bytes(flipped), b"", (tmp_path / "a" / "a.pt").read_bytes()):
        state.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"cannot be read .*give --fresh to begin anew"):
            trained(npz, tmp_path / "a")
    trained(npz, tmp_path / "a", resume=False)
    trained(npz, tmp_path / "b")
    assert left(tmp_path / "a") == left(tmp_path / "b")


def test_a_training_that_fails_leaves_no_state_to_fail_again_from(npz, tmp_path, monkeypatch):
    monkeypatch.setattr(record, "EVERY", 0.0)
    options = {"lr": 1e6, "weight_decay": 1e6, "epochs": 9, "optimizer": "sgd", "budget": Budget(0)}
    with pytest.raises(NumericalError, match="smaller lr"):
        run(MODEL, npz, tmp_path / "a.pt", **options)
    assert not state_path(tmp_path / "a.pt").exists()
    run(MODEL, npz, tmp_path / "a.pt", **options | {"lr": 1e-3, "weight_decay": 0.0, "epochs": 1})


def test_it_goes_on_with_as_many_threads_as_it_was_begun_with(npz, tmp_path):
    seen = []

    def watch(stage, done, of):
        seen.append(torch.get_num_threads())
        signal.raise_signal(signal.SIGINT)

    for threads in (2, 1):
        torch.set_num_threads(threads)
        try:
            with pytest.raises(KeyboardInterrupt):
                trained(npz, tmp_path / "a", watch=watch)
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(1)
    assert set(seen) == {2}


def test_a_state_is_data_in_the_format_of_the_checkpoints(npz, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trained(npz, tmp_path / "a", watch=stopping(6, signal.SIGINT))
    found = read(state_path(tmp_path / "a" / "a.pt"))
    assert (found.format, found.ignored) == ("landscape", ())
    course = found.metadata["state"]["course"]
    assert (len(course["epochs"]), course["batch"], course["log"]["steps"]) == (1, 3, 7)


def words(npz, folder):
    return (
        f"train {MODEL} --data {npz} --eps 0.1 --schedule cosine --eps-max 0.15 --lr-schedule linear "
        f"--warmup 0.5 --periods 0:2:4 --per batch --steps 2 --batch-size 32 --monitor 20 --keep 2 "
        f"--checkpoints 1 -o {folder}/a.pt --quiet"
    ).split()


def test_the_command_exits_130_and_the_same_one_carries_on(npz, tmp_path, capsys, monkeypatch):
    update = training.Course._update
    made = []

    def counted(*given, **named):
        made.append(1)
        if len(made) == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(*given, **named)

    monkeypatch.setattr(training.Course, "_update", counted)
    (tmp_path / "a").mkdir()
    assert cli.run(words(npz, tmp_path / "a")) == 130
    out, err = capsys.readouterr()
    assert (out, err.strip()) == ("", "landscape: interrupted; what was finished is kept")
    assert len(made) == 7  # the mini-batch was finished
    assert cli.run(words(npz, tmp_path / "a")) == 0
    assert len(made) == EPOCHS * BATCHES
    out, _ = capsys.readouterr()
    assert f"wrote {tmp_path}/a/a.pt" in out
    assert cli.run(words(npz, tmp_path / "a")) == 0
    out, _ = capsys.readouterr()
    assert "was complete already; --fresh trains it anew" in out
    assert "wrote" not in out
    assert cli.run([*words(npz, tmp_path / "a"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["training"]["periods"] == "0:2:4"
    made += [1] * 100
    assert cli.run([*words(npz, tmp_path / "a"), "--fresh"]) == 0
    assert len(made) == EPOCHS * BATCHES * 2 + 100
    trained(npz, tmp_path / "b", checkpoints=[1])
    assert left(tmp_path / "a") == left(tmp_path / "b")


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bits(npz, tmp_path):
    code = (
        "import sys; import torch; torch.set_num_threads(1)\n"
        "from landscape import cli, record, training\n"
        "from landscape.attacks.pgd import PGD\n"
        "training.REFERENCE, training.EVALUATION_EXAMPLES = PGD(steps=2, seed=1), 20\n"
        "record.EVERY = 0.0\n"
        "print('ready', flush=True)\n"
        "cli.main(sys.argv[1:])\n"
    )
    trained(npz, tmp_path / "whole", checkpoints=[1])
    (tmp_path / "parts").mkdir()
    rng, codes = random.Random(0), []
    for number in (signal.SIGKILL, signal.SIGKILL, None):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words(npz, tmp_path / "parts")],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout.readline() == b"ready\n"
        if number:
            time.sleep(rng.uniform(0.02, 0.3))
            process.send_signal(number)
        process.stdout.read()
        process.stdout.close()
        codes.append(process.wait())
    assert codes[-1] == 0
    assert set(codes[:-1]) <= {-signal.SIGKILL, 0}
    for torn in (tmp_path / "parts").glob(".landscape-*.tmp"):  # of a write that a kill cut off
        torn.unlink()
    assert left(tmp_path / "parts") == left(tmp_path / "whole")
