"""The record of a training: what is kept of it, and that it is true."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_training import MODEL, same

import landscape
from landscape import cli, plot, registry, training
from landscape.attacks.pgd import PGD
from landscape.budget import Budget
from landscape.checkpoints.read import read
from landscape.data import Data
from landscape.errors import InputError
from landscape.log import KEPT, Log, escape, running
from landscape.results import Run, save
from landscape.runs import train as run
from landscape.subjects import load_model
from landscape.training import Recipe, train

MADE = {"eps": 0.1, "budget": "0.1", "norm": "linf", "attack": "pgd:steps=2"}


@pytest.fixture
def data() -> Data:
    """100 images of 8 × 8 whose class is the brightest of ten pixels."""
    x = np.random.default_rng(0).uniform(size=(100, 1, 8, 8)).astype(np.float32)
    return Data.of(x, x.reshape(100, -1)[:, :10].argmax(axis=1), name="brightest", classes=10)


@pytest.fixture
def npz(data, tmp_path):
    np.savez(tmp_path / "brightest.npz", x=data.x.numpy(), y=data.y.numpy())
    return str(tmp_path / "brightest.npz")


@pytest.mark.parametrize("count", [0, 7, 2000, 2001, 4000, 4500, 6001, 12_345])
def test_a_log_that_is_taken_over_goes_on_like_the_one_that_it_was_taken_from(count):
    def fed(log, start, stop):
        for step in range(start, stop):
            each = {"gradient_norm": step, "error": 0, "loss": -step, "distance": 0.1 * step}
            log.add(**each, eps=step / 9, lr=1 / (1 + step))
        return log

    first = fed(Log(), 0, count)
    second = Log()
    second.restore(first.rows(), first.steps, first.apart)
    made = MADE | {"steps_per_epoch": 10, "batch_size": 8, "epochs": 2000}
    one, other = (fed(log, count, count + 5000).training(**made) for log in (first, second))
    for name in ("step", "gradient_norm", "error", "loss", "distance", "each_eps", "lr"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert first.rows().tolist() == second.rows().tolist()


def recorded(count, steps_per_epoch=10, epochs=None):
    """A log of `count` steps, each of its fields a different function of the step."""
    log = Log()
    for step in range(1, count + 1):
        log.add(gradient_norm=2.0 * step, error=1 / step, loss=-step, distance=step - 1)
    return log.training(
        **MADE, steps_per_epoch=steps_per_epoch, batch_size=8, epochs=epochs or count // steps_per_epoch
    )


@pytest.mark.parametrize(
    "count", [0, 1, 1999, 2000, 2001, 3999, 4000, 4001, 6000, 6001, 8001, 12_345, 40_000]
)
def test_both_ends_are_kept_whole_and_every_two_to_the_kth_step_between(count):
    between = next(
        steps
        for k in itertools.count()
        if len(steps := [s for s in range(KEPT + 1, count - KEPT + 1) if s % 2**k == 0]) <= KEPT
    )
    ends = {*range(1, min(count, KEPT) + 1), *range(max(1, count - KEPT + 1), count + 1)}
    found = recorded(count)
    assert found.step.dtype == np.int64
    assert found.step.tolist() == sorted(ends | {*between})
    assert len(found.step) <= 3 * KEPT
    assert found.steps == count
    step = found.step.astype(float)
    assert np.array_equal(found.gradient_norm, 2 * step)
    assert np.array_equal(found.error, 1 / step)
    assert np.array_equal(found.loss, -step)
    assert np.array_equal(found.distance, step - 1)


@pytest.mark.parametrize("count", [0, 1, 1500, 2000, 2001, 5000, 9000])
def test_the_windows_are_the_first_and_the_last_steps_or_all(count):
    found = recorded(count)
    steps = {name: found.step[window].tolist() for name, window in found.windows().items()}
    every = list(range(1, count + 1))
    if count == 0:
        assert steps == {}
    elif count <= KEPT:
        assert steps == {f"all {count:,}": every}
    else:
        assert steps == {"first 2,000": every[:KEPT], "last 2,000": every[-KEPT:]}


def test_the_table_tells_medians_means_with_errors_and_what_is_missing():
    rows, remarks = (found := recorded(9000, steps_per_epoch=900, epochs=20)).rows(), found.remarks()
    assert (rows["epochs"], rows["mini-batches"]) == ("10", "9,000 of 8")
    # Steps 7,001 to 9,000: uniform, of mean 8,000.5 and variance (2000² - 1) / 12 · 2000/1999.
    assert rows["last 2,000: loss"] == "-8000 ± 13"
    assert rows["last 2,000: gradient norm"] == "1.6e+04 (1.42e+04 to 1.78e+04)"
    assert rows["distance at 2,000"] == "1999"
    assert any("one mini-batch in 4 is recorded" in remark for remark in remarks)
    assert any("ended after 10 of its 20 epochs" in remark for remark in remarks)
    assert recorded(6000).remarks() == []
    assert recorded(1, steps_per_epoch=1).rows()["all 1: loss"] == "-1 ± ?"  # one has no spread


@pytest.mark.parametrize(("statistic", "plain"), [(np.nanmedian, np.median), (np.nanmean, np.mean)])
@pytest.mark.parametrize(("count", "window"), [(1, 25), (7, 25), (24, 25), (100, 25), (100, 1), (10, 3)])
def test_a_running_statistic_is_that_of_the_values_around(count, window, statistic, plain):
    values, half = np.random.default_rng(0).normal(size=count), window // 2
    expected = [plain(values[max(0, i - half) : i + half + 1]) for i in range(count)]
    assert np.allclose(running(statistic, values, window), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("falls", "window", "out"), [(200, 1, 200), (200, 5, 199), (2001, 5, 2000), (1, 5, 1)]
)
def test_a_training_escapes_where_the_mean_loss_around_is_first_below_the_level(falls, window, out):
    log = Log()
    for step in range(1, 2051):
        log.add(gradient_norm=1, error=0, loss=1.0 if step >= falls else 2.0, distance=0)
    found = log.training(**MADE, steps_per_epoch=10, batch_size=8, epochs=205)
    assert escape(found, 1.7, window) == out  # of five two must be below
    assert escape(found, 1.0, window) is None


@pytest.mark.parametrize("eps", ["0", "0.1"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_every_step_is_that_of_a_plain_training_loop(eps, optimizer, data):
    budget, log = Budget(eps), Log()
    recipe = Recipe(
        model=MODEL,
        budget=budget,
        attack=PGD(steps=2),
        epochs=2,
        batch_size=32,
        optimizer=optimizer,
        lr=0.01,
        weight_decay=0.01,  # part of the update, not of the gradient of the loss
        seed=3,
    )
    module, epochs = train(recipe, data, log=log)

    with torch.random.fork_rng():
        torch.manual_seed(3)
        plain = registry.make("model", MODEL)
    flat = torch.nn.utils.parameters_to_vector
    algorithm = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
    momentum = {} if optimizer == "adam" else {"momentum": 0.9}
    step = algorithm(plain.parameters(), lr=0.01, weight_decay=0.01, **momentum)
    initial, seen = flat(plain.parameters()).detach().double(), []
    for epoch in (1, 2):
        attack = PGD(steps=2, seed=3 + 1000 * epoch)
        order = np.random.Generator(np.random.Philox(key=[3, epoch])).permutation(len(data))
        for rows in torch.from_numpy(order).split(32):
            x, y = data.x[rows], data.y[rows]
            if budget.eps:
                x = attack(lambda x, y=y: F.cross_entropy(plain(x), y, reduction="none"), x, rows, budget)
            logits = plain(x)
            loss = F.cross_entropy(logits, y)
            step.zero_grad()
            loss.backward()
            gradient = torch.cat([parameter.grad.flatten() for parameter in plain.parameters()])
            away = flat(plain.parameters()).detach().double() - initial
            wrong = np.mean(logits.detach().numpy().argmax(axis=1) != y.numpy())
            seen.append((gradient.double().norm().item(), wrong, loss.item(), away.norm().item()))
            step.step()
    found = log.training(**MADE, steps_per_epoch=4, batch_size=32, epochs=2)
    assert found.step.tolist() == list(range(1, 9))
    assert found.distance[0] == 0
    ours = np.stack([found.gradient_norm, found.error, found.loss, found.distance], axis=1)
    assert np.allclose(ours, seen, rtol=1e-5, atol=1e-6)  # float32
    assert found.distance[1:].min() > 0
    weights = np.array([32, 32, 32, 4]) / 100
    assert np.allclose([1 - e.accuracy for e in epochs], found.error.reshape(2, 4) @ weights)
    assert torch.allclose(flat(module.parameters()), flat(plain.parameters()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("eps", ["0", "0.1"])
def test_a_log_costs_no_pass_and_leaves_no_trace_in_the_weights(eps, data):
    def trained(log):
        passes = []
        hook = torch.nn.modules.module.register_module_forward_hook(lambda *_: passes.append(1))
        try:
            recipe = Recipe(model=MODEL, budget=Budget(eps), attack=PGD(steps=2), epochs=2, batch_size=32)
            return train(recipe, data, log=log)[0], len(passes)
        finally:
            hook.remove()

    (plain, passes), (logged, passes_logged) = trained(None), trained(Log())
    assert passes == passes_logged > 0
    assert same(plain, logged)


def drawn(*counts, eps=None):
    """The figure of trainings with so many steps each."""
    runs = []
    for place, count in enumerate(counts):
        budget = eps or f"{len(counts) - place}/255"
        result = replace(recorded(count), eps=float(Budget(budget).eps), budget=budget)
        runs.append(Run("training", {"checkpoint": {"path": f"{place}.pt"}}, [result]))
    return plot.figure(runs)


def test_a_figure_has_both_ends_of_each_training_in_the_order_of_eps():
    figure = drawn(5000, 5000, 5000)
    grid = np.reshape(figure.axes, (3, 2))
    for (left, right), quantity in zip(
        grid, [lambda s: 2 * s, lambda s: 1 / s, lambda s: s - 1], strict=True
    ):
        for axes, steps in ((left, np.arange(1, 2001)), (right, np.arange(3001, 5001))):
            exact = [line for line in axes.lines if np.allclose(line.get_ydata(), quantity(steps))]
            assert len(exact) == 3
            assert all(np.array_equal(line.get_xdata(), steps) for line in exact)
        assert left.get_ylim() == right.get_ylim()
    assert grid[0, 0].get_yscale() == "log"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        rf"$\epsilon$ = {i}/255" for i in (1, 2, 3)
    ]


def test_trainings_of_different_lengths_are_aligned_at_their_ends():
    figure = drawn(500, 3000, 7000)
    left, right = figure.axes[4:]
    assert sorted(len(line.get_xdata()) for line in left.lines) == [500, 2000, 2000]
    assert [line.get_xdata().tolist() for line in right.lines] == 2 * [list(range(-1999, 1))]
    for axes, other in ((left, right), (right, left)):
        colours = {line.get_label(): line.get_color() for line in axes.lines}
        assert all(
            np.array_equal(colours[line.get_label()], line.get_color())
            for line in other.lines
            if line.get_label() in colours
        )
    assert len(drawn(500, 1, 2000).axes) == 3  # nothing comes after the first 2,000


def test_trainings_under_one_budget_are_told_apart_by_their_names():
    figure = drawn(50, 60, eps="0.1")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [rf"$\epsilon$ = 0.1, {name}" for name in "01"]


def test_the_trend_of_a_short_training_is_not_one_value():
    _, trend = drawn(12).axes[0].lines
    assert len(set(trend.get_ydata())) == 12


@pytest.mark.parametrize("counts", [(1,), (7000,), (2001, 30)])
def test_a_log_of_any_length_can_be_drawn(counts, tmp_path):
    plot.save(drawn(*counts), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000
    with pytest.raises(InputError, match="without a mini-batch"):
        drawn(*counts, 0)


def printed(command, capsys):
    code = cli.run(list(map(str, command)))
    return code, *capsys.readouterr()


def test_the_log_lies_beside_the_checkpoint_and_can_be_shown_and_drawn(npz, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "REFERENCE", PGD(steps=2, seed=1))
    command = f"train {MODEL} --data {npz} --eps 8/255 --epochs 2 --steps 2 --batch-size 32".split()
    code, out, err = printed([*command, "-o", tmp_path / "a.pt"], capsys)
    assert (code, err) == (0, "")
    assert out.endswith(f"wrote {tmp_path}/a.pt\nwrote {tmp_path}/a.h5\n")
    log, checkpoint = landscape.load(tmp_path / "a.h5"), read(tmp_path / "a.pt")
    (found,) = log.results
    assert (log.kind, log.complete) == ("training", True)
    assert log.provenance["checkpoint"]["sha256"] == checkpoint.sha256  # of the last, with its metrics
    assert log.provenance["checkpoint"]["parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    metadata = checkpoint.metadata
    assert log.provenance["data"] == {**metadata["data"], "of": 100}
    assert log.provenance["training"] == metadata["training"]
    assert (found.budget, found.eps, found.attack) == ("8/255", 8 / 255, "pgd:steps=2")
    assert (found.steps_per_epoch, found.batch_size, found.epochs) == (4, 32, 2)
    last = found.loss[4:] @ np.array([32, 32, 32, 4]) / 100
    assert last == pytest.approx(metadata["history"][1]["loss"])

    code, out, err = printed(["show", tmp_path / "a.h5"], capsys)
    assert (code, err) == (0, "")
    for words in (checkpoint.sha256[:12], "brightest", "8/255", "all 8: error", "all 8: gradient norm"):
        assert words in out
    assert "INCOMPLETE" not in out
    code, out, _ = printed(["show", tmp_path / "a.h5", "--json"], capsys)
    assert json.loads(out)["results"][0]["gradient_norm"] == found.gradient_norm.tolist()

    code, out, err = printed(["plot", tmp_path / "a.h5", "-o", tmp_path / "a.pdf"], capsys)
    assert (code, out, err) == (0, f"wrote {tmp_path}/a.pdf\n", "")

    # Elsewhere, as JSON: one object and nothing else on stdout.
    command += ["--log", tmp_path / "b.h5", "--json", "-o", tmp_path / "b0.1"]
    code, out, _ = printed(command, capsys)
    assert (code, json.loads(out)["training"]) == (0, metadata["training"])
    again = landscape.load(tmp_path / "b.h5").results[0]
    assert np.array_equal(again.gradient_norm, found.gradient_norm)
    assert {p.name for p in tmp_path.iterdir()} == {"a.pt", "a.h5", "a.pdf", "b0.1", "b.h5", "brightest.npz"}


def test_an_interrupted_training_keeps_the_log_of_the_epochs_that_its_checkpoint_has(npz, tmp_path, capsys):
    def stop(stage, done, of):
        assert of == 5 * 4
        if done == 2 * 4 + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(MODEL, npz, tmp_path / "a.pt", budget=Budget(0), epochs=5, batch_size=32, watch=stop)
    log, checkpoint = landscape.load(tmp_path / "a.h5"), read(tmp_path / "a.pt")
    assert not log.complete
    assert log.provenance["checkpoint"]["sha256"] == checkpoint.sha256
    assert log.results[0].step.tolist() == list(range(1, 9))
    assert checkpoint.metadata["training"]["epochs"] == 2
    _, out, _ = printed(["show", tmp_path / "a.h5"], capsys)
    assert out.count("INCOMPLETE") == 1
    assert "INCOMPLETE: the training ended after 2 of its 5 epochs" in out


@pytest.mark.parametrize(
    ("name", "epochs", "keep", "expected"),
    [
        ("a.pt", 10, 5, {"a-epoch00.pt": 0, "a-epoch05.pt": 5, "a-epoch10.pt": 10}),
        ("a.pt", 5, 3, {"a-epoch0.pt": 0, "a-epoch3.pt": 3}),
        ("eps0.1", 1, 1, {"eps0.1-epoch0": 0, "eps0.1-epoch1": 1}),
        ("a.pt", 0, 1, {"a-epoch0.pt": 0}),
        ("a.pt", 2, None, {}),
    ],
)
def test_epochs_are_kept_as_they_were_from_the_initial_weights_on(
    name, epochs, keep, expected, npz, tmp_path
):
    (tmp_path / "out").mkdir()
    run(MODEL, npz, tmp_path / "out" / name, budget=Budget(0), epochs=epochs, keep=keep, seed=7)
    log = f"{name.removesuffix('.pt')}.h5"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([*expected, name, log])
    for kept, epoch in expected.items():
        file = read(tmp_path / "out" / kept)
        assert file.metadata["training"]["epochs"] == len(file.metadata["history"]) == epoch
        module = load_model(file).module
        if epoch == 0:
            with torch.random.fork_rng():
                torch.manual_seed(7)
                assert same(module, registry.make("model", MODEL))
        else:
            run(MODEL, npz, tmp_path / "alone.pt", budget=Budget(0), epochs=epoch, seed=7, resume=False)
            assert same(module, load_model(read(tmp_path / "alone.pt")).module)
    found = landscape.load(tmp_path / "out" / log)
    assert found.results[0].steps == epochs
    assert found.complete


@pytest.mark.parametrize(
    ("each", "words"),
    [
        ([0.0, 0.05, 0.1], "is scheduled, from 0 to 0.1: "),
        ([0.1, 0.05, 0.05, 0.0], "is scheduled, from 0.1 to 0: "),
        ([0.0, 0.05, 0.08, 0.0], "is scheduled, between 0 and 0.08: "),
        ([0.02, 0.1, 0.01, 0.03], "is scheduled, between 0.01 and 0.1: "),
    ],
)
def test_a_scheduled_budget_is_told_by_its_ends_or_by_its_range_under_periods(each, words):
    log = Log()
    for eps in each:
        log.add(gradient_norm=1.0, error=0.5, loss=1.0, distance=1.0, eps=eps, lr=0.1)
    found = log.training(
        eps=0.1, budget="0.1", norm="linf", attack="", steps_per_epoch=1, batch_size=8, epochs=len(each)
    )
    assert words in found.remarks()[0]


def test_nothing_is_trained_where_its_files_would_cost_another(npz, tmp_path, monkeypatch):
    monkeypatch.setattr("landscape.runs.train_module", None)
    save(Run("sharpness", {"schema": 1}), tmp_path / "results.h5")
    of = {"schema": 1, "checkpoint": {"path": str(tmp_path / "tt.pt")}, "data": {}}
    save(Run("training", of), tmp_path / "tt.h5")
    (tmp_path / "notes.h5").write_text("notes")
    (tmp_path / "diary.txt").write_text("dear diary")
    (tmp_path / "b-epoch1.pt").write_text("on the first day")
    (tmp_path / "link.pt").symlink_to(npz)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = "is there, and is no checkpoint to write over"
    for name, options, words in [
        (Path(npz).name, {}, other),
        (Path(npz).name, {"resume": False}, other),
        ("link.pt", {}, other),
        ("diary.txt", {}, other),
        ("diary.txt", {"log": tmp_path / "d.h5", "resume": False}, other),
        ("results.h5", {"log": tmp_path / "d.h5"}, other),
        ("b.pt", {"keep": 1}, other),
        ("notes.pt", {}, "no result file to write over"),
        ("a.pt", {"log": tmp_path / "notes.h5"}, "no result file to write over"),
        ("results.pt", {}, "holds results of the kind sharpness; give --log"),
        ("a.h5", {}, "both a checkpoint and the log"),
        ("a.pt", {"log": tmp_path / "a.pt"}, "both a checkpoint and the log"),
        ("a.pt", {"log": tmp_path}, "is a folder"),
        ("a.pt", {"log": tmp_path / "nothing" / "a.h5"}, "cannot be written"),
        ("a.pt", {"keep": 0}, "keep = 0"),
        ("a.pt", {"keep": 1, "log": tmp_path / "a-epoch0.pt"}, "both a checkpoint and the log"),
        ("a.pt", {"keep": 1, "log": tmp_path / "." / "a-epoch1.pt"}, "both a checkpoint and the log"),
        ("tt.ckpt", {}, "is the log of the checkpoint .*tt.pt; give --log"),
    ]:
        with pytest.raises(InputError, match=words):
            run(MODEL, npz, tmp_path / name, budget=Budget(0), epochs=1, **options)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_training_done_again_writes_over_its_own_log_from_whatever_folder(npz, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    run(MODEL, npz, "t.pt", budget=Budget(0), epochs=1)
    run(MODEL, npz, "t.pt", budget=Budget(0), epochs=1, resume=False)
    monkeypatch.chdir(tmp_path)
    run(MODEL, npz, "a/t.pt", budget=Budget(0), epochs=2, resume=False)
    assert landscape.load("a/t.h5").results[0].epochs == 2
    run(MODEL, npz, "a/t.ckpt", budget=Budget(0), epochs=1, log="a/t.h5")  # as told


def test_a_file_of_other_things_is_not_lost_to_a_log_that_nobody_named(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["vectors"] = np.ones(3)
    with pytest.raises(InputError, match="holds something else; give --log"):
        run("lenet:width=1", "fashion-mini", tmp_path / "a.pt", budget=Budget(0), epochs=0, examples=20)
    with h5py.File(tmp_path / "a.h5") as file:
        assert list(file) == ["vectors"]
