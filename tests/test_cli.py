"""The command line as a user meets it: what it prints, writes and refuses, and its exit code."""

import contextlib
import functools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import landscape
from landscape import cli, registry, training
from landscape.attacks.pgd import PGD
from landscape.errors import LandscapeError
from landscape.linalg import eigen

MODELS = """
from __future__ import annotations
import time
import torch
from torch import nn

class Mine(nn.Module):
    def __init__(self, inputs=64, classes=10):
        super().__init__()
        self.a, self.b = nn.Linear(inputs, 8), nn.Linear(8, classes)
    def forward(self, x):
        return self.b(torch.relu(self.a(x.flatten(1))))

class Slow(Mine):
    def forward(self, x):
        time.sleep(0.02)
        return super().forward(x)

class Nested(Mine):
    def forward(self, x):
        return [[super().forward(x)], 1]

class Dropout(Mine):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.5, training=True)

class Raises(Mine):
    def forward(self, x):
        raise KeyError("one\\ntwo")

class Detached(Mine):
    def forward(self, x):
        return super().forward(x).detach()

class Whole(Mine):
    def forward(self, x):
        return super().forward(x).long()

class Classes(Mine):
    def forward(self, x):
        return super().forward(x).argmax(dim=1)

def noisy():
    print("noise")
    return Mine()

def fails():
    raise RuntimeError("one\\ntwo")

def leaves():
    raise SystemExit(3)

def wants(width):
    return Mine(width)

def number():
    return 5

def frozen():
    return Mine().requires_grad_(False)

def data(split):
    print("noise")
    x = torch.rand(60, 8, 8, generator=torch.Generator().manual_seed(0))
    return x, torch.arange(60) % 10

def no_pair():
    return 5

def data_fails():
    raise ValueError("one\\ntwo")
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A user's folder: models and data of their own, and checkpoints good and bad."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "models.py").write_text(MODELS)
    (folder / "package_of_mine").mkdir()
    (folder / "package_of_mine" / "__init__.py").write_text(MODELS)
    (folder / "broken.py").write_text("def (:\n")
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(300, 8, 8)).astype(np.float32), np.arange(300) % 10
    arrays = {
        "good": {"x": x, "y": y},
        "bytes": {
            "x_train": np.uint8(255 * x),
            "y_train": y,
            "x_test": np.uint8(255 * x[:50]),
            "y_test": y[:50],
        },
        "names": {"images": x, "labels": y},
        "labels": {"x": x, "y": 5 * y},
        "negative": {"x": x, "y": y - 1},
        "shape": {"x": np.ones((300, 9, 9)), "y": y},
        "range": {"x": 255 * x, "y": y},
        "nan": {"x": np.full_like(x, np.nan), "y": y},
        "length": {"x": x, "y": y[:10]},
        "objects": {"x": np.array([{}]), "y": y},
    }
    for name, content in arrays.items():
        np.savez(folder / f"{name}.npz", **content)
    (folder / "text.npz").write_text("hello")
    namespace: dict = {}
    exec(MODELS, namespace)
    torch.manual_seed(0)
    state = namespace["Mine"]().state_dict()
    torch.save(state, folder / "mine.pt")
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, folder / "module.pt")
    torch.save({f"_orig_mod.{name}": tensor for name, tensor in state.items()}, folder / "compiled.pt")
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {}}, folder / "wrapped.pt")
    torch.save({**state, "a.bias": torch.full_like(state["a.bias"], torch.nan)}, folder / "nan.pt")
    torch.save({name: 1e30 * tensor for name, tensor in state.items()}, folder / "huge.pt")
    torch.save([1, 2], folder / "list.pt")
    (folder / "cut.pt").write_bytes((folder / "mine.pt").read_bytes()[:900])
    (folder / "empty.pt").write_bytes(b"")
    (folder / "page.pt").write_text("<html>not found</html>")
    (folder / "damaged.h5").write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    return folder


@dataclass
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self):
        def refuse(constant):
            raise AssertionError(f"{constant} is not JSON")

        return json.loads(self.out, parse_constant=refuse)


@pytest.fixture
def run(place, monkeypatch, capsys):
    """Runs a command in the user's folder."""
    monkeypatch.chdir(place)
    monkeypatch.setattr("sys.path", [*sys.path])

    def run(command: str | list[str]) -> Answer:
        code = cli.run(shlex.split(command) if isinstance(command, str) else command)
        out, err = capsys.readouterr()
        return Answer(code, out, err)

    return run


@pytest.fixture
def quick(monkeypatch):
    """A final evaluation of a training that takes a second."""
    monkeypatch.setattr(training, "REFERENCE", PGD(steps=3, seed=1))
    monkeypatch.setattr(training, "EVALUATION_EXAMPLES", 50)


MINE = "sharpness mine.pt --model models.py:Mine --data good.npz --examples 50 --k 1 --attack pgd:steps=3"


# What a user does.


def test_from_training_to_a_figure(run, quick, tmp_path):
    ckpt, h5 = tmp_path / "a.pt", tmp_path / "a.h5"
    made = run(
        f"train lenet:width=1 --data fashion-mini --eps 0.1 --epochs 1 --steps 2 --examples 200 -o {ckpt}"
    )
    assert (made.code, made.err) == (0, "")
    assert "lenet:width=1" in made.out
    assert f"wrote {ckpt}" in made.out

    info = run(f"info {ckpt}")
    assert info.code == 0
    for words in ("lenet:width=1", "eps 0.1, norm linf", "8 tensors", "epochs 1", "strong_accuracy"):
        assert words in info.out

    command = f"sharpness {ckpt} --eps 0,8/255,0.1 --k 2 --examples 100 --attack pgd:steps=3 --crosscheck"
    found = run(f"{command} --quiet -o {h5}")
    assert (found.code, found.err) == (0, "")
    for words in (
        "fashion-mini, train, 100 of 60,000",
        "8/255",
        "eigenvalue 2",
        "trace",
        "PyHessian",
        f"in {h5}",
    ):
        assert words in found.out
    assert "INCOMPLETE" not in found.out

    assert run(f"show {h5}").out == found.out
    shown = run(f"show {h5} --json").json
    assert [result["eps"] for result in shown["results"]] == [0.0, 8 / 255, 0.1]
    assert [result["budget"] for result in shown["results"]] == ["0", "8/255", "0.1"]
    assert landscape.load(h5).results[0].eigenvalues.tolist() == shown["results"][0]["eigenvalues"]

    for name, files in {"a.pdf": [h5], "b.png": [h5, h5], "c.svg": [h5]}.items():
        drawn = run(["plot", *map(str, files), "-o", str(tmp_path / name)])
        assert (drawn.code, drawn.out) == (0, f"wrote {tmp_path / name}\n")
        assert (tmp_path / name).stat().st_size > 5000
    assert {path.name for path in tmp_path.iterdir()} == {"a.pt", "a.h5", "a.pdf", "b.png", "c.svg"}


@pytest.mark.parametrize("kind", ["models", "datasets", "attacks", "analyzers"])
def test_everything_that_can_be_named_is_listed(kind, run):
    found = run(f"list {kind}")
    assert found.code == 0
    for name in registry.named(kind[:-1]):
        assert f"\n{name}" in f"\n{found.out}"


@pytest.mark.parametrize("model", ["models.py:Mine", "package_of_mine:Mine", "models.py:noisy"])
@pytest.mark.parametrize("data", ["good.npz", "bytes.npz", "models.py:data"])
@pytest.mark.parametrize("checkpoint", ["mine.pt", "module.pt", "compiled.pt", "wrapped.pt"])
def test_models_data_and_checkpoints_of_the_users_own_give_json_and_nothing_else(
    model, data, checkpoint, run
):
    found = run(f"sharpness {checkpoint} --model {model} --data {data} --examples 30 --k 1 --json")
    assert found.code == 0
    assert found.json["checkpoint"]["model"] == model
    (result,) = found.json["results"]
    assert result["trace_method"] == "exact"
    same = run(f"sharpness mine.pt --model models.py:Mine --data {data} --examples 30 --k 1 --json").json
    assert same["results"][0]["eigenvalues"] == result["eigenvalues"]


def test_json_has_the_documented_keys(run, tmp_path):
    command = f"{MINE} --eps 0,0.1 --k 3 --crosscheck --json -o {tmp_path}/a.h5"
    told = run(command).json
    assert told.keys() == {
        *("kind", "checkpoint", "data", "loss", "seed", "dtype", "notes", "complete", "results", "output")
    }
    assert (told["kind"], told["complete"], told["output"]) == ("sharpness", True, f"{tmp_path}/a.h5")
    assert told["checkpoint"].keys() == {
        *("path", "sha256", "format", "model", "parameters", "place", "removed", "added", "averaged"),
        *("normalization", "ignored", "theta_norm"),
    }
    assert 0 <= told["data"]["clean_accuracy"] <= 1
    assert told["checkpoint"]["parameters"] == 64 * 8 + 8 + 8 * 10 + 10
    weights = torch.cat([w.double().flatten() for w in torch.load("mine.pt").values()])
    assert told["checkpoint"]["theta_norm"] == pytest.approx(weights.norm().item(), rel=1e-12)
    assert {"name", "split", "examples", "sha256"} <= told["data"].keys()
    assert (told["data"]["name"], told["data"]["split"], told["data"]["examples"]) == (
        "good.npz",
        "all",
        50,
    )
    for result, eps in zip(told["results"], (0.0, 0.1), strict=True):
        assert (result["eps"], result["norm"]) == (eps, "linf")
        assert result["attack"] == ("pgd:steps=3" if eps else "none")
        for name in ("loss", "accuracy", "inner_gap", "trace", "trace_stderr", "seconds"):
            assert isinstance(result[name], float), name
        assert result["eigenvalues"] == sorted(result["eigenvalues"], reverse=True)
        assert len(result["eigenvalues"]) == len(result["residuals"]) == 3
        assert all(0 < error < 10 * result["eigenvalues"][0] for error in result["eigenvalues_sampling"])
        assert 0 < result["trace_sampling"] < result["trace"]
        assert result["converged"] is True
        assert result["trace_method"] in ("exact", "stochastic")
        assert result["passes"].keys() == {"forward", "gradient", "hvp"}
        pyhessian = {
            "pyhessian_eigenvalue",
            "pyhessian_residual",
            "pyhessian_trace",
            "pyhessian_trace_stderr",
        }
        assert pyhessian <= result["crosscheck"].keys()
    without = run(f"{MINE} --json").json
    assert without["output"] is None
    assert "crosscheck" not in without["results"][0]


def test_what_was_not_computed_is_null(run):
    (result,) = run(f"{MINE} --eps 0.1 --examples 1 --trace none --json").json["results"]
    assert (result["trace"], result["trace_stderr"], result["loss_stderr"]) == (None, None, None)


def test_info_and_train_print_strict_json(run, quick, tmp_path):
    model = "mlp:inputs=64,hidden=8"
    told = run(
        f"train {model} --data models.py:data --eps 0.1 --epochs 1 --steps 2 -o {tmp_path}/a.pt --json"
    ).json
    assert told["model"] == model
    found = run(f"info {tmp_path}/a.pt --json").json
    assert found["metadata"] == told
    assert (found["model"], found["format"]) == (model, "landscape")
    assert run("info mine.pt --json").json["mappings"] == [{"place": "", "tensors": 4, "numbers": 610}]


@pytest.mark.parametrize("eps", ["0", "0.1"])
def test_nothing_depends_on_the_batch_size(eps, run):
    def results(size):
        command = f"{MINE.replace('--k 1', '--k 3')} --examples 300 --eps {eps} --batch-size {size} --json"
        (result,) = run(command).json["results"]
        return {name: value for name, value in result.items() if name != "seconds"}

    whole = results(128)
    for size in (129, 300, 10_000):
        assert results(size) == whole
    for size in (1, 50, 127):
        part = results(size)
        for name in ("loss", "accuracy", "inner_gap", "eigenvalues", "trace"):
            assert part[name] == pytest.approx(whole[name], rel=1e-4, abs=1e-6), name


def test_the_same_command_prints_the_same_numbers(run):
    first, second = (run(f"{MINE} --eps 0.1 --trace stochastic --json").json["results"] for _ in range(2))
    for result in (*first, *second):
        del result["seconds"]
    assert first == second


# What goes wrong: an exit code, one line on stderr, nothing on stdout.

WRONG = [
    # usage
    ("nothing", 2, "No such command 'nothing'"),
    ("sharpness", 2, "Missing argument 'CKPT'"),
    (f"{MINE} --nothing", 2, "No such option '--nothing'"),
    (f"{MINE} --eps 8", 2, "write 8/255"),
    (f"{MINE} --eps=-1", 2, "eps = -1 is negative"),
    (f"{MINE} --eps 8/0", 2, "'8/0' is not a number; write 8/255"),
    (f"{MINE} --eps abc", 2, "'abc' is not a number; write 8/255"),
    (f"{MINE} --eps nan", 2, "is not a number"),
    (f"{MINE} --eps ''", 2, "no eps was given; write 8/255"),
    (f"{MINE} --eps 0,0.1,1/10", 2, "names a budget twice"),
    (f"{MINE} --norm l3", 2, "not one of 'linf', 'l2'"),
    (f"{MINE} --k 0", 2, "k = 0 eigenvalues"),
    (f"{MINE} --k 10000", 2, "so k is 1 … 610"),
    (f"{MINE} --k x", 2, "not a valid integer"),
    (f"{MINE} --which XX", 2, "not one of 'LA', 'LM', 'SA'"),
    (f"{MINE} --tol 0", 2, "tol = 0.0 is not between 0 and 1"),
    (f"{MINE} --tol nan", 2, "tol = nan is not between 0 and 1"),
    (f"{MINE} --trace some", 2, "not one of 'auto', 'exact', 'stochastic', 'none'"),
    (f"{MINE} --attack fgsn", 2, "attack 'fgsn' is not known; there are apgd, autoattack, fgsm"),
    (f"{MINE} --attack pgd:steps=x", 2, "steps = 'x' is not a whole number"),
    (f"{MINE} --attack pgd:steps=0", 2, "steps and restarts are at least 1"),
    (f"{MINE} --attack pgd:step=1", 2, "has no option 'step'; it takes steps"),
    (f"{MINE} --seed -1", 2, "-1 is not in the range"),
    (f"{MINE} --batch-size 0", 2, "batch size 0 is not possible"),
    (f"{MINE} --examples 0", 2, "0 examples were asked for; good.npz (all) has 300"),
    (f"{MINE} --examples 301", 2, "has 300"),
    (f"{MINE} --examples many", 2, "'many' is neither a number nor all"),
    (f"{MINE} --device tpu", 2, "device 'tpu' is not"),
    (f"{MINE} --dtype float16", 2, "not one of 'float32', 'float64'"),
    (f"{MINE} --split valid", 2, "not one of 'train', 'test'"),
    # models
    (f"{MINE} --model lent", 2, "'lent' is not known; there are lenet"),
    (f"{MINE} --model lenet:width", 2, "name:option=value"),
    (f"{MINE} --model lenet:width=0", 2, "cannot be made"),
    (f"{MINE} --model lenet:width=-1", 2, "cannot be made"),
    (f"{MINE} --model models.py", 2, "give package.module:callable or file.py:callable"),
    (f"{MINE} --model nothing.py:Mine", 2, "there is no file nothing.py"),
    (f"{MINE} --model broken.py:Mine", 2, "could not be imported: SyntaxError"),
    (f"{MINE} --model no.such.module:Mine", 2, "No module named 'no'"),
    (f"{MINE} --model models.py:Yours", 2, "has no callable 'Yours'; it has Mine"),
    (f"{MINE} --model models.py:fails", 2, "could not be made: RuntimeError: one two"),
    (f"{MINE} --model models.py:leaves", 2, "could not be made: SystemExit: 3"),
    (f"{MINE} --model models.py:wants", 2, "it is called with what --model-arg NAME=VALUE gives"),
    (f"{MINE} --model models.py:number", 2, "returned int; it must return a torch.nn.Module"),
    (f"{MINE} --model models.py:frozen", 2, "no trainable parameter"),
    (f"{MINE} --model models.py:Nested", 3, "must return logits (B, classes)"),
    (f"{MINE} --model models.py:Classes", 3, "must return logits (B, classes)"),
    (f"{MINE} --model models.py:Dropout", 3, "switch its random layers off"),
    (f"{MINE} --model models.py:Raises", 3, "KeyError: 'one\\ntwo'"),
    (f"{MINE} --model models.py:Detached --eps 0.1", 3, ""),
    (f"{MINE} --model models.py:Whole", 3, ""),
    # checkpoints
    ("sharpness mine.pt --data good.npz", 3, "64 - 8 - 10, 10 classes); give --model"),
    ("sharpness nothing.pt", 3, "there is no file nothing.pt"),
    ("sharpness .", 3, ". is a folder"),
    ("sharpness empty.pt", 3, "is empty"),
    ("sharpness cut.pt", 3, "is cut short"),
    ("sharpness page.pt", 3, "is a web page"),
    ("sharpness list.pt --model lenet", 3, "holds no weights"),
    ("sharpness damaged.h5", 3, "is an HDF5 file"),
    (f"{MINE} --model lenet:width=1", 3, "does not fit the model: conv1.weight is not in the file"),
    (f"{MINE} --model mlp:inputs=64", 3, "another architecture"),
    (MINE.replace("mine.pt", "nan.pt"), 3, "NaN or infinity in a.bias (8 of 8)"),
    (MINE.replace("mine.pt", "huge.pt"), 3, "outputs contain NaN or infinity"),
    ("info nothing.pt", 3, "there is no file nothing.pt"),
    ("info mine.pt --model lenet", 3, "does not fit the model"),
    # data
    ("sharpness mine.pt --model models.py:Mine", 4, "give --data"),
    (f"{MINE} --data nothing", 2, "data set 'nothing' is not known; there are cifar10"),
    (f"{MINE} --data nothing.npz", 4, "there is no file nothing.npz"),
    (f"{MINE} --data text.npz", 4, "cannot be read as an npz file"),
    (f"{MINE} --data objects.npz", 4, "holds objects, which are a pickle"),
    (f"{MINE} --data names.npz", 4, "holds images, labels; it needs the arrays x and y"),
    (f"{MINE} --data length.npz", 4, "300 examples, but labels of shape (10,)"),
    (f"{MINE} --data negative.npz", 4, "the labels of negative.npz go down to -1"),
    (f"{MINE} --data labels.npz", 3, "has 10 outputs, the data 46 classes"),
    (f"{MINE} --data shape.npz", 3, "does not take inputs of shape (4, 1, 9, 9)"),
    (f"{MINE} --data range.npz", 4, "outside [0, 1]: divide by 255"),
    (f"{MINE} --data nan.npz", 4, "contain NaN"),
    (f"{MINE} --data models.py:no_pair", 4, "it must return (x, y)"),
    (f"{MINE} --data models.py:data_fails", 4, "ValueError: one two"),
    (f"{MINE} --data fashion-mini --data-dir nothing", 3, "does not take inputs of shape (4, 1, 28, 28)"),
    # outputs
    (f"{MINE} -o nothing/a.h5", 2, "nothing/a.h5 cannot be written: No such file or directory"),
    (f"{MINE} -o .", 2, "is a folder or a device"),
    (f"{MINE} -o ''", 2, "an empty path"),
    (f"{MINE} -o /dev/full", 2, "is a folder or a device"),
    (f"{MINE} -o mine.pt", 2, "no result file to write over"),
    (f"{MINE} -o mine.png", 2, "--figure mine.png"),
    (f"{MINE} -o {'a' * 300}.h5", 2, "File name too long"),
    ("train mlp:inputs=64 --data good.npz -o nothing/a.pt", 2, "cannot be written"),
    ("train mlp:inputs=64 --data good.npz -o .", 2, "is a folder or a device"),
    ("train mlp:inputs=64 --data good.npz -o a.pt --eps 0,0.1", 2, "names 2 budgets; a training has one"),
    ("train mlp:inputs=64 --data good.npz -o a.pt --lr 0", 2, "lr = 0.0"),
    ("train mlp:inputs=64 --data good.npz", 2, "Missing option '-o'"),
    ("train mlp:inputs=64 --data good.npz -o a.pt --eps 0.4 --eps-max 0.6", 2, "give --schedule linear or"),
    ("train mlp:inputs=64 --data good.npz -o a.pt --eps 8/255 --schedule linear --eps-max 16", 2, "16/255"),
    ("train mlp:inputs=64 --data good.npz -o a.pt --schedule cosine", 2, "eps = 0 has no schedule"),
    ("train mlp:inputs=64 --data good.npz -o a.pt --periods 50:100", 2, "such as 0:50:75:100"),
    ("train mlp:inputs=64 --data good.npz -o a.pt --lr-schedule step", 2, "--lr-steps 100,150"),
    ("train mlp:inputs=64 --data good.npz -o a.pt --checkpoints last", 2, "whole numbers of epochs"),
    ("train models.py:Mine --data good.npz -o a.pt", 2, "is code of your own"),
    ("train mlp --data good.npz -o a.pt", 3, "does not take inputs of shape"),
    # results
    ("show nothing.h5", 2, "nothing.h5 is not there"),
    ("show .", 2, ". is a folder or a device"),
    ("show mine.pt", 2, "is no HDF5 file"),
    ("show damaged.h5", 2, "no result file, or is damaged"),
    (f"show {'a' * 300}.h5", 2, "File name too long"),
    ("plot damaged.h5 -o a.pdf", 2, "no result file, or is damaged"),
    ("plot -o a.pdf", 2, "Missing argument"),
    ("list nothing", 2, "not one of 'models'"),
]


def written(folder: Path) -> dict[Path, int]:
    """Every file and when it was last written; what Python caches of the user's modules does not count."""
    paths = [path for path in folder.rglob("*") if "__pycache__" not in path.parts]
    return {path: path.stat().st_mtime_ns for path in paths if path.is_file()}


@pytest.mark.parametrize(("command", "code", "words"), WRONG, ids=[f"{c}-{w}"[:60] for _, c, w in WRONG])
def test_a_mistake_is_one_line_and_its_exit_code(command, code, words, run, place):
    before = written(place)
    found = run(command)
    assert found.out == ""
    line = found.err.removesuffix("\n")
    assert line.startswith("landscape: ")
    assert "\n" not in line
    assert words in line
    assert found.code == code
    assert written(place) == before


def test_without_arguments_the_help_is_shown(run):
    found = run([])
    assert (found.code, found.out) == (2, "")
    assert "sharpness" in found.err


@pytest.mark.parametrize("options", ["", "--json"])
def test_what_did_not_converge_is_written_and_said(options, run, tmp_path, monkeypatch):
    monkeypatch.setattr(eigen, "eigsh", functools.partial(eigen.eigsh, max_products=4))
    found = run(f"{MINE} --k 2 --tol 1e-12 --eps 0,0.1 -o {tmp_path}/a.h5 {options}")
    assert found.code == 5
    assert found.err == (
        "landscape: not converged at eps = 0, 0.1; the residuals say how far it came; "
        f"what there is was written to {tmp_path}/a.h5\n"
    )
    if options:
        assert [result["converged"] for result in found.json["results"]] == [False, False]
    else:
        assert "NO" in next(line for line in found.out.splitlines() if line.startswith("converged"))
    back = landscape.load(tmp_path / "a.h5")
    assert back.complete
    for result in back.results:
        assert not result.converged
        assert (result.residuals > 1e-12 * abs(result.eigenvalues)).all()


def test_a_numerical_failure_keeps_the_budgets_before_it(run, tmp_path, monkeypatch):
    original, calls = eigen.eigsh, []

    def second_fails(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise landscape.errors.NumericalError("a product contains NaN")
        return original(*arguments, **options)

    monkeypatch.setattr(eigen, "eigsh", second_fails)
    found = run(f"{MINE} --eps 0,0.1,0.2 -o {tmp_path}/a.h5")
    assert found.code == 5
    assert "a product contains NaN; what there is was written to" in found.err
    assert "INCOMPLETE: the run ended after 1 of its 3 budgets" in found.out
    back = landscape.load(tmp_path / "a.h5")
    assert ([result.budget for result in back.results], back.complete) == (["0"], False)


def test_a_full_disk_is_one_line_and_leaves_no_half_file(run, tmp_path, monkeypatch):
    run(f"{MINE} -o {tmp_path}/a.h5")
    before = (tmp_path / "a.h5").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    found = run(f"{MINE} --eps 0.1 -o {tmp_path}/a.h5")
    assert found.code == LandscapeError.exit_code
    assert "No space left on device" in found.err
    assert found.err.count("\n") == 1
    assert "eigenvalue 1" in found.out  # the numbers are not lost
    assert (tmp_path / "a.h5").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(run, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    monkeypatch.setattr("landscape.subjects.read", None)
    assert "cannot be written: Permission denied" in run(f"{MINE} -o {tmp_path}/a.h5").err
    assert run(f"{MINE} -o {tmp_path}/a.h5").code == 2


def test_an_old_result_is_written_over_and_another_file_is_not(run, tmp_path):
    (tmp_path / "notes.txt").write_text("dear diary")
    assert run(f"{MINE} -o {tmp_path}/notes.txt").code == 2
    assert (tmp_path / "notes.txt").read_text() == "dear diary"
    (tmp_path / "made_by_mktemp").touch()
    for path in ("made_by_mktemp", "a.h5", "a.h5"):
        assert run(f"{MINE} -o {tmp_path / path}").code == 0
        assert h5py.is_hdf5(tmp_path / path)


def test_names_need_not_be_utf8(run, place, tmp_path):
    name = f"{tmp_path}/\udcff \u03b8.pt"
    os.link(place / "mine.pt", name)
    found = run(
        [name if part == "mine.pt" else part for part in shlex.split(MINE)] + ["--json", "-o", f"{name}.h5"]
    )
    assert found.code == 0
    assert found.json["checkpoint"]["path"] == name
    assert run(["show", f"{name}.h5", "--json"]).json["results"] == found.json["results"]
    # A terminal that knows neither the name nor ±.
    for command in (["plot", f"{name}.h5", "-o", f"{name}.svg"], ["show", f"{name}.h5"]):
        done = stop_when_there(start(shlex.join(command), tmp_path, encoding="ascii"), tmp_path / "never", 0)
        assert (done.code, done.err) == (0, "")
        assert "\\udcff" in done.out


# Processes.


def start(command, folder, encoding="utf-8"):
    return subprocess.Popen(
        [sys.executable, "-m", "landscape", *shlex.split(command)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": f"{encoding}:strict"},
    )


def stop_when_there(process, path, number):
    """Sends a signal as soon as a file is there; what the process answers."""
    for _ in range(6000):
        if path.exists() or process.poll() is not None:
            break
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return Answer(process.returncode, out, err)


HEAVY = ("torch", "numpy", "h5py", "matplotlib", "scipy", "rich")


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "--version",
        "sharpness --help",
        "train --help",
        "plot --help",
        "theory eps-bar --help",
        "theory sets --help",
    ],
)
def test_help_imports_nothing_heavy(command):
    code = f"import sys; from landscape.cli import run; run({command.split()!r}); "
    code += "print([*sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout
    assert not {name.partition(".")[0] for name in eval(done.stderr)} & set(HEAVY)


def test_help_is_there_in_a_fifth_of_a_second():
    def seconds():
        resource = pytest.importorskip("resource")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "landscape", "--help"], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Of the processor, for others may keep it busy.
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_the_budgets_that_were_finished(number, place, tmp_path):
    command = MINE.replace("Mine", "Slow") + f" --eps 0,0.1,0.2 --json -o {tmp_path}/a.h5"
    found = stop_when_there(start(command, place), tmp_path / "a.h5", number)
    *_, last = found.err.strip().splitlines()  # after progress, on a slow machine
    assert (found.code, last) == (130, "landscape: interrupted; what was finished is kept")
    back = landscape.load(tmp_path / "a.h5")
    assert not back.complete
    assert 1 <= len(back.results) < 3
    assert found.json["complete"] is False
    assert len(found.json["results"]) == len(back.results)
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_an_interrupted_training_leaves_a_checkpoint_that_loads(place, tmp_path, run):
    command = f"train mlp:inputs=64 --data good.npz --eps 0.1 --epochs 100000 -o {tmp_path}/a.pt"
    found = stop_when_there(start(command, place), tmp_path / "a.h5", signal.SIGINT)
    assert (found.code, found.out) == (130, "")
    assert found.err.strip().splitlines()[-1] == "landscape: interrupted; what was finished is kept"
    assert {path.name for path in tmp_path.iterdir()} == {"a.pt", "a.h5", "a.pt.state"}
    told = run(f"info {tmp_path}/a.pt --json").json
    assert told["metadata"]["training"]["epochs"] == len(told["metadata"]["history"]) >= 1
    assert run(f"sharpness {tmp_path}/a.pt --k 1 --examples 20").code == 0


def test_a_reader_that_goes_away_gets_no_traceback(run, place, tmp_path):
    run(f"{MINE} -o {tmp_path}/a.h5")
    process = start(f"show {tmp_path}/a.h5", place)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() != 0
    process.stderr.close()
