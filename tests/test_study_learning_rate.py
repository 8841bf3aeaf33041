"""The study of the learning rate: failed runs told apart, and a figure and a page that are of its results."""

import json
import math
import runpy
import statistics
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from test_analyses import ROOT, run

from landscape import load, registry
from landscape.checkpoints.write import save
from landscape.errors import NumericalError

RESULTS = ROOT / "data/results/learning_rate"
FILES = sorted(RESULTS.glob("*.h5"))
TINY = ["--model", "lenet:width=1", "--data", "fashion-mini", "--epochs", "2", "--train-examples", "64"]


def found(path: Path) -> dict[str, tuple[float, float, float]]:
    """Clean error and robust error in percent and the clean loss of each net, from the arrays of a file."""
    nets = {}
    with h5py.File(path) as file:
        for group in (file[name] for name in file if name.startswith("evaluate_")):
            if group["of"][()] == b"checkpoint":
                clean, *attacked = (100 * np.mean(row) for row in group["broken"][:])
                loss = json.loads(group["under"][()])["clean"]["loss"]
                nets[group["label"][()].decode()] = (clean, attacked[-1], loss)
    return nets


def drawn(axes) -> list[tuple[float, float]]:
    """Height and length of the bar of every point with an error bar."""
    points = []
    for container in axes.containers:
        if hasattr(container, "has_yerr"):
            (line, _, (bars,)) = container
            for y, bar in zip(line.get_ydata(), bars.get_segments(), strict=True):
                points.append((float(y), float(bar[1, 1] - bar[0, 1]) / 2))
    return points


def test_failed_trainings_are_told_apart(tmp_path, monkeypatch):
    """A net that learned, one whose outputs are all alike, one of which no weights are left."""
    monkeypatch.syspath_prepend(ROOT / "analyses")
    evaluated = runpy.run_path(str(ROOT / "analyses/evaluated.py"))["evaluated"]
    spec = "lenet:width=4"
    constant = registry.make("model", spec).state_dict()
    constant |= {name: torch.zeros_like(value) for name, value in list(constant.items())[-2:]}
    save(tmp_path / "constant.pt", constant, {"model": spec})

    def diverged() -> list[Path]:
        raise NumericalError("weights are NaN")

    nets = [
        lambda: [ROOT / "data/checkpoints/lenet4_eps0.1.pt"],
        lambda: [tmp_path / "constant.pt"],
        diverged,
    ]
    told = {"attack": "pgd:steps=1", "attacks": "attack", "data": "fashion-mini", "examples": 20}
    first = evaluated(tmp_path / "a.h5", nets, "0.1", **told)
    again = evaluated(tmp_path / "a.h5", nets, "0.1", **told)
    for each in (first, again, load(tmp_path / "a.h5")):
        assert [line.label for line in each.results] == ["lenet4_eps0.1", "constant"]
        assert each.provenance["failed"] == ["constant"]
        assert (each.provenance["seeds"], each.provenance["diverged"]) == (3, 1)
    assert first.provenance["created"] == again.provenance["created"]


@pytest.mark.slow
def test_the_study_carries_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    arguments = [
        *TINY,
        *("--eps", "0.1,0.2", "--seeds", "0", "--rates", "1e-3", "--examples", "20", "--batch-size", "32"),
        *("--nets", str(tmp_path / "nets"), "--results", str(tmp_path)),
    ]
    run(ROOT / "analyses/learning_rate.py", *arguments, monkeypatch=monkeypatch)
    first = capsys.readouterr().out
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("learning_rate/*.h5")}
    assert {path.stem for path in written} == {
        f"eps{eps}_{schedule}_lr0.001"
        for eps in ("0.1", "0.2")
        for schedule in ("constant", "cosine", "linear", "warmup")
    }
    missing = min(written)
    missing.unlink()
    run(ROOT / "analyses/learning_rate.py", *arguments, monkeypatch=monkeypatch)
    assert capsys.readouterr().out == first
    assert [path for path in written if path.stat().st_mtime_ns != written[path]] == [missing]


def test_the_results_are_those_of_three_seeds():
    assert FILES
    for path in FILES:
        each = load(path)
        assert each.complete
        assert each.provenance["seeds"] == 3
        assert len(found(path)) + each.provenance["diverged"] == 3
        assert each.provenance["host"] == ""
        assert all(not Path(one["path"]).is_absolute() for one in each.provenance["checkpoints"])


def test_those_that_failed_are_no_better_than_a_constant_classifier_under_attack():
    """Whether told from the clean loss or from the robust error, 90 % of as many digits of each class."""
    for path in FILES:
        bad = load(path).provenance["failed"]
        assert bad == [label for label, (_, robust, _) in found(path).items() if robust >= 90]
        assert bad == [label for label, (_, _, loss) in found(path).items() if loss > 0.95 * math.log(10)]


def test_the_figure_is_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "figures")
    canvas = runpy.run_path(str(ROOT / "figures/learning_rate.py"))["draw"]()
    for column, eps in enumerate(("0.4", "0.2")):
        robust, failures = [], 0
        for path in RESULTS.glob(f"eps{eps}_*.h5"):
            bad = load(path).provenance["failed"]
            there = [values[1] for label, values in found(path).items() if label not in bad]
            failures += 3 - len(there)
            if there:
                robust.append((statistics.mean(there), statistics.stdev(there) if len(there) > 1 else 0.0))
        assert robust
        ours, true = (sorted(np.round(each, 6).tolist()) for each in (drawn(canvas.axes[column]), robust))
        assert ours == true
        assert sum(int(text.get_text()) for text in canvas.axes[2 + column].texts) == failures


def test_the_page_has_the_tables_that_the_study_prints(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "analyses")
    study = runpy.run_path(str(ROOT / "analyses/learning_rate.py"))
    page = (ROOT / "docs/reproduction/learning_rate.md").read_text()
    for eps in ("0.4", "0.2"):
        assert study["table"](ROOT / "data/results", eps) in page
        assert study["basins"](ROOT / "data/results", eps) in page
