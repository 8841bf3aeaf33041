"""The study of connectivity runs in a tiny setting and carries on; its figure and page tell its results."""

import runpy
import statistics
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from landscape import load

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "data/results/connectivity"
PAIRS = ("0-1", "0-2", "1-2")
TINY = {
    "model": "lenet:width=1",
    "batchnorm": "resnet18:width=1,colours=1",
    "data": "fashion-mini",
    "seeds": "0,1",
    "epochs": "1",
    "train-examples": "48",
    "examples": "16",
    "attack": "pgd:steps=1",
    "points": "3",
    "curve-epochs": "1",
    "curve-examples": "32",
}


@pytest.fixture
def study(tmp_path, monkeypatch, capsys):
    """Runs the study in a folder of its own; what it prints."""
    monkeypatch.syspath_prepend(ROOT / "analyses")
    monkeypatch.chdir(ROOT)

    def run(**flags: str) -> str:
        told = TINY | {"nets": str(tmp_path / "nets"), "results": str(tmp_path)} | flags
        words = [word for name, value in told.items() for word in (f"--{name}", value)]
        monkeypatch.setattr(sys, "argv", ["connectivity.py", *words])
        runpy.run_path(str(ROOT / "analyses/connectivity.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.slow
def test_every_pair_is_connected_once_and_under_the_budget_of_its_nets(study, tmp_path):
    study(eps="0", parts="pairs,longer")
    assert {path.name for path in (tmp_path / "connectivity").iterdir()} == {
        "eps0_seeds0-1.h5",
        "longer_eps0_seeds0-1.h5",
    }
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "connectivity").iterdir()}
    printed = study(eps="0,0.2", parts="pairs,longer")
    assert all(path.stat().st_mtime_ns == when for path, when in written.items())
    for path in (tmp_path / "connectivity").iterdir():
        run = load(path)
        assert run.complete
        assert {(r.split, r.way) for r in run.results} == {
            (split, way) for split in ("train", "test") for way in ("line", "bezier")
        }
        eps = path.name.removeprefix("longer_").split("_")[0].removeprefix("eps")
        assert {r.budget for r in run.results} == {eps}
        assert [Path(each["path"]).name for each in run.provenance["checkpoints"]] == [
            f"eps{eps}_seed{seed}.pt" for seed in (0, 1)
        ]
        curve = run.results[2]
        assert curve.bends == 3
        assert curve.epochs == (3 if path.name.startswith("longer") else 1)
        assert curve.trained_on == 32
    assert "| eps 0.2, 3 epochs |" in printed


@pytest.mark.slow
def test_nets_with_batchnorm_have_its_statistics_estimated_anew(study, tmp_path):
    printed = study(eps="0,0.2", parts="batchnorm")
    (path,) = (tmp_path / "connectivity").iterdir()
    assert path.name == "batchnorm_eps0_seeds0-1.h5"
    assert {result.bn for result in load(path).results} == {"recompute"}
    assert "| BatchNorm, eps 0 |" in printed


def told(name: str, split: str, way: str, field: str) -> dict[str, list[Any]]:
    """A field of the committed results by budget, read without landscape: a value for each pair."""
    found: dict[str, list[Any]] = {}
    for path in sorted(RESULTS.glob(f"{name}eps*.h5")):
        with h5py.File(path) as file:
            for group in file.values():
                if (group["split"][()].decode(), group["way"][()].decode()) == (split, way):
                    found.setdefault(group["budget"][()].decode(), []).append(group[field][()])
    return dict(sorted(found.items(), key=lambda item: float(item[0])))


def test_the_study_is_complete_in_the_repository():
    names = {path.name for path in RESULTS.glob("eps*.h5")}
    assert names == {
        f"eps{eps}_seeds{pair}.h5" for eps in ("0", "0.1", "0.2", "0.3", "0.4") for pair in PAIRS
    }
    for path in RESULTS.iterdir():
        run = load(path)
        assert run.complete
        assert len(run.results) == 4
        assert run.provenance["host"] == ""
        assert not any(each["path"][0] == "/" for each in run.provenance["checkpoints"])
        assert len({result.examples for result in run.results}) == 1


@pytest.fixture(scope="module")
def canvas():
    return runpy.run_path(str(ROOT / "figures/connectivity.py"))["draw"]()


@pytest.mark.parametrize(
    ("row", "field", "of"), [(0, "loss", lambda v: v), (1, "accuracy", lambda v: 100 * (1 - v))]
)
def test_the_figure_draws_the_means_over_the_pairs_at_every_place(canvas, row, field, of):
    for column, split in enumerate(("train", "test")):
        axes = canvas.axes[3 * row + column]
        drawn = {line.get_gid(): line for line in axes.get_lines()}
        for way in ("line", "bezier"):
            for eps, each in told("", split, way, field).items():
                expected = [statistics.fmean(of(pair[k]) for pair in each) for k in range(len(each[0]))]
                line = drawn[f"{eps} {way}"]
                assert line.get_ydata() == pytest.approx(expected)
                assert line.get_xdata() == pytest.approx([k / 10 for k in range(11)])
                low, high = axes.get_ylim()
                assert low <= min(expected)
                assert max(expected) <= high


@pytest.mark.parametrize(("place", "field", "scale"), [(2, "barrier", 1), (5, "accuracy_barrier", 100)])
def test_the_figure_draws_barriers_with_their_deviation_over_the_pairs(canvas, place, field, scale):
    axes = canvas.axes[place]
    drawn = {line.get_gid(): line for line in axes.get_lines()}
    bars = {bar.get_label(): bar for bar in axes.containers}
    for split in ("train", "test"):
        each = told("", split, "bezier", field)
        means = [scale * statistics.fmean(pairs) for pairs in each.values()]
        mean, _, (lines,) = bars[split].lines
        assert mean.get_ydata() == pytest.approx(means)
        ends = [segment[:, 1] for segment in lines.get_segments()]
        for (low, high), pairs, middle in zip(ends, each.values(), means, strict=True):
            deviation = scale * statistics.stdev(pairs)
            assert (low, high) == pytest.approx((middle - deviation, middle + deviation))
        alone = sorted(scale * value for pairs in each.values() for value in pairs)
        assert sorted(drawn[f"{split} pairs"].get_ydata()) == pytest.approx(alone)
        for control in ("longer_", "batchnorm_"):
            expected = [scale * value for (value,) in told(control, split, "bezier", field).values()]
            if expected:
                assert drawn[f"{control}{split}"].get_ydata() == pytest.approx(expected)
        low, high = axes.get_ylim()
        assert low <= alone[0] <= alone[-1] <= high


def test_the_page_holds_the_tables_of_the_study(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "analyses")
    tables = runpy.run_path(str(ROOT / "analyses/connectivity.py"))["tables"](RESULTS)
    page = (ROOT / "docs/reproduction/connectivity.md").read_text()
    assert tables.count("| --- |") == 5
    for table in tables.split("\n\n"):
        assert table in page


def test_the_error_of_a_mean_over_pairs_is_that_of_leaving_out_a_net(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "analyses")
    study = runpy.run_path(str(ROOT / "analyses/connectivity.py"))
    of_pair = {frozenset((0, 1)): 0.3, frozenset((0, 2)): 0.7, frozenset((1, 2)): 0.2}
    left = [statistics.fmean(v for pair, v in of_pair.items() if net not in pair) for net in range(3)]
    expected = (2 / 3 * sum((each - statistics.fmean(left)) ** 2 for each in left)) ** 0.5
    assert study["jackknife"](np.array([*of_pair.values()])) == pytest.approx(expected)
