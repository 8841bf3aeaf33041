"""The study of connectivity runs in a tiny setting and carries on; its figure and page tell its results."""

import runpy
import statistics
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from test_plot_connect import way as made

from landscape import load
from landscape.results import Run, provenance, save

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


@pytest.fixture
def study_names(monkeypatch):
    """What the study defines, by name."""
    monkeypatch.syspath_prepend(ROOT / "analyses")
    return runpy.run_path(str(ROOT / "analyses/connectivity.py"))


@pytest.mark.slow
def test_every_pair_is_connected_once_and_under_the_budget_of_its_nets(study, tmp_path):
    study(eps="0", parts="pairs,longer")
    assert {path.name for path in (tmp_path / "connectivity").iterdir()} == {
        "eps0_seeds0-1.h5",
        "longer_eps0_seeds0-1.h5",
    }
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "connectivity").iterdir()}
    printed = study(eps="0,0.4", parts="pairs,longer")
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
    assert "| eps 0.4, 0-1, 3 epochs |" in printed


@pytest.mark.slow
def test_nets_with_batchnorm_have_its_statistics_estimated_anew(study, tmp_path):
    printed = study(eps="0,0.2", parts="batchnorm")
    (path,) = (tmp_path / "connectivity").iterdir()
    assert path.name == "batchnorm_eps0_seeds0-1.h5"
    assert {result.bn for result in load(path).results} == {"recompute"}
    assert "| BatchNorm, eps 0 |" in printed


def told(name: str, split: str, way: str, field: str) -> dict[str, dict[str, Any]]:
    """A field of the committed results, read without landscape: by budget, of each pair of seeds."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(RESULTS.glob(f"{name}eps*.h5")):
        with h5py.File(path) as file:
            for group in file.values():
                if (group["split"][()].decode(), group["way"][()].decode()) == (split, way):
                    each = found.setdefault(group["budget"][()].decode(), {})
                    each[path.stem.rpartition("seeds")[2]] = group[field][()]
    return dict(sorted(found.items(), key=lambda item: float(item[0])))


def test_a_file_that_is_packed_tells_the_same_in_fewer_bytes(tmp_path, study_names):
    path = tmp_path / "a.h5"
    run = Run("connect", {**provenance(), "checkpoint": {}, "data": {"name": "x"}}, complete=True)
    run.results = [made(kind, [0.1, 0.2, 0.3, 0.2, 0.1]) for kind in ("line", "bezier")]
    save(run, path)
    before, size = load(path), path.stat().st_size
    study_names["pack"](path)
    after = load(path)
    assert (after.provenance, after.complete) == (before.provenance, True)
    for one, other in zip(before.results, after.results, strict=True):
        np.testing.assert_equal(vars(one), vars(other))
    assert path.stat().st_size < 0.8 * size


def test_the_study_is_complete_in_the_repository_and_tells_no_place():
    names = {path.stem for path in RESULTS.iterdir()}
    assert names == {
        *(f"eps{eps}_seeds{pair}" for eps in ("0", "0.1", "0.2", "0.3", "0.4") for pair in PAIRS),
        *(f"longer_eps0.4_seeds{pair}" for pair in PAIRS),
        "longer_eps0_seeds0-1",
        "longer_eps0.2_seeds0-1",
        "batchnorm_eps0_seeds0-1",
    }
    for path in RESULTS.iterdir():
        run = load(path)
        assert run.complete
        assert len(run.results) == 4
        assert (run.provenance["host"], run.provenance["command"]) == ("", "python analyses/connectivity.py")
        assert all(each["path"].startswith("data/nets/") for each in run.provenance["checkpoints"])
        assert {result.examples for result in run.results} == {500}
        eps = run.results[0].eps
        assert {r.attack for r in run.results} == {f"pgd:steps={40 if eps >= 0.4 else 10}" if eps else "none"}
    assert sum(path.stat().st_size for path in RESULTS.iterdir()) < 1_450_000


@pytest.fixture(scope="module")
def figure_names():
    """What the figure defines, by name."""
    return runpy.run_path(str(ROOT / "figures/connectivity.py"))


@pytest.fixture(scope="module")
def canvas(figure_names):
    return figure_names["draw"]()


@pytest.mark.parametrize(
    ("row", "field", "of"), [(0, "loss", lambda v: v), (1, "accuracy", lambda v: 100 * (1 - v))]
)
def test_the_figure_draws_the_means_over_the_pairs_and_longer_trainings(canvas, row, field, of):
    for column, split in enumerate(("train", "test")):
        axes = canvas.axes[3 * row + column]
        drawn = {line.get_gid(): line for line in axes.get_lines()}
        shown = {
            f"{eps} {way}": [statistics.fmean(of(pair[k]) for pair in each.values()) for k in range(11)]
            for way in ("line", "bezier")
            for eps, each in told("", split, way, field).items()
        } | {
            f"{eps} {pair}": of(values)
            for eps, each in told("longer_", split, "bezier", field).items()
            for pair, values in each.items()
        }
        assert shown.keys() <= drawn.keys()
        for name, expected in shown.items():
            assert drawn[name].get_ydata() == pytest.approx(expected)
            assert drawn[name].get_xdata() == pytest.approx([k / 10 for k in range(11)])
            low, high = axes.get_ylim()
            assert low <= min(expected)
            assert max(expected) <= high


@pytest.mark.parametrize(("place", "field", "scale"), [(2, "barrier", 1), (5, "accuracy_barrier", 100)])
def test_the_figure_draws_the_barrier_of_every_pair_and_their_mean(canvas, figure_names, place, field, scale):
    aside, apart = figure_names["SHIFT"], figure_names["APART"]
    assert aside + apart < 0.1 / 2  # nearer to its own budget than to another
    axes = canvas.axes[place]
    drawn = {line.get_gid(): line for line in axes.get_lines()}
    low, high = axes.get_ylim()
    for split in ("train", "test"):
        each = told("", split, "bezier", field)
        means = [scale * statistics.fmean(pairs.values()) for pairs in each.values()]
        assert drawn[f"{split} mean"].get_ydata() == pytest.approx(means)
        for name in ("", "longer_"):
            for pair in PAIRS:
                of = {eps: v[pair] for eps, v in told(name, split, "bezier", field).items() if pair in v}
                marks = drawn[f"{name}{split} {pair}"]
                beside = aside * (1 if split == "test" else -1) + apart * (PAIRS.index(pair) - 1)
                assert marks.get_ydata() == pytest.approx([scale * value for value in of.values()])
                assert marks.get_xdata() == pytest.approx([float(eps) + beside for eps in of])
                assert low <= min(marks.get_ydata())
                assert max(marks.get_ydata()) <= high
        (batchnorm,) = told("batchnorm_", split, "bezier", field)["0"].values()
        assert drawn[f"batchnorm_{split}"].get_ydata() == pytest.approx([scale * batchnorm])


def test_the_page_holds_the_tables_of_the_study(study_names):
    tables = study_names["tables"](RESULTS)
    page = (ROOT / "docs/reproduction/connectivity.md").read_text()
    assert tables.count("| --- |") == 5
    for table in tables.split("\n\n"):
        assert table in page


def test_the_verdict_is_what_the_results_say(study_names):
    page = (ROOT / "docs/reproduction/connectivity.md").read_text()
    verdict = page[page.index("**Verdict: does not show.**") : page.index("**What differs")]
    for split in ("train", "test"):
        short, long = (told(name, split, "bezier", "barrier") for name in ("", "longer_"))
        assert all(short["0.4"][pair] > short["0"][pair] for pair in PAIRS)
        errors = told("longer_", split, "bezier", "barrier_stderr")
        assert all(long[eps][pair] <= errors[eps][pair] for eps in long for pair in long[eps])
        assert set(long["0.4"].values()) == {0}
        for each in told("longer_", split, "bezier", "loss").values():
            assert all(loss.min() < min(loss[0], loss[-1]) for loss in each.values())
        lines = told("", split, "line", "barrier")
        assert all(0.8 < barrier < 1.8 for each in lines.values() for barrier in each.values())
    curves = [result for path in RESULTS.glob("eps0.4_*.h5") for result in load(path).results]
    assert max(result.barrier_gap for result in curves if result.way == "bezier") <= 0
    short = told("", "train", "bezier", "barrier")
    loss = told("", "train", "bezier", "loss")
    share = {
        eps: sum(short[eps].values()) / sum((each[0] + each[-1]) / 2 for each in loss[eps].values())
        for eps in ("0", "0.4")
    }
    assert share == pytest.approx({"0": 2, "0.4": 0.2}, rel=0.1)
    error = told("", "train", "bezier", "barrier_stderr")["0.4"]
    highest = max(short["0.4"], key=short["0.4"].get)
    assert f"{short['0.4'][highest]:.3f} ± {error[highest]:.3f} to 0" in verdict
    each = study_names["slopes"](study_names["found"](RESULTS), "train", "barrier")
    assert f"{each.mean():.2f} ± {study_names['jackknife'](each):.2f}" in verdict


def test_the_error_of_a_mean_over_pairs_is_that_of_leaving_out_a_net(study_names):
    of_pair = {frozenset((0, 1)): 0.3, frozenset((0, 2)): 0.7, frozenset((1, 2)): 0.2}
    left = [statistics.fmean(v for pair, v in of_pair.items() if net not in pair) for net in range(3)]
    expected = (2 / 3 * sum((each - statistics.fmean(left)) ** 2 for each in left)) ** 0.5
    assert study_names["jackknife"](np.array([*of_pair.values()])) == pytest.approx(expected)
