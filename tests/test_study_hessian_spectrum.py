"""The study of the spectrum runs in a tiny setting; its figure and its page tell what its results say."""

import pytest
from test_analyses import ROOT, run

from landscape import load

TINY = {
    "model": "lenet:width=1",
    "resnet": "resnet18:width=1,colours=1",
    "data": "fashion-mini",
    "train-examples": "20",
    "epochs": "1",
    "examples": "10",
    "eps": "0,0.1",
    "measured": "0,0.1",
    "seeds": "0",
    "k": "2",
}


@pytest.mark.slow
def test_the_study_carries_on_where_it_stopped(tmp_path, monkeypatch):
    told = {**TINY, "nets": str(tmp_path / "nets"), "results": str(tmp_path)}
    arguments = [word for key, value in told.items() for word in (f"--{key}", value)]
    study = ROOT / "analyses/hessian_spectrum.py"
    run(study, *arguments, monkeypatch=monkeypatch)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "hessian_spectrum").iterdir()}
    found = {path.stem: [result.budget for result in load(path).results] for path in written}
    assert found == {
        **{f"untrained_seed{seed}": ["0", "0.1"] for seed in range(5)},
        "eps0_seed0": ["0"],
        "eps0.1_seed0": ["0.1"],
        "crossed_eps0_seed0": ["0.1"],
        "crossed_eps0.1_seed0": ["0"],
        "resnet_eps0_seed0": ["0"],
        "resnet_eps0.1_seed0": ["0.1"],
    }
    missing = sorted(written)[1]
    missing.unlink()
    run(study, *arguments, monkeypatch=monkeypatch)
    again = {path: path.stat().st_mtime_ns for path in written}
    assert [path for path in again if again[path] != written[path]] == [missing]
