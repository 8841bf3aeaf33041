"""The study of connectivity runs in a tiny setting and carries on; its figure and page tell its results."""

import runpy
import sys
from pathlib import Path

import pytest

from landscape import load

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "data/results/connectivity"
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
