"""The study of landscapes runs in a tiny setting and carries on where it stopped."""

import pytest
from test_analyses import ROOT, run

from landscape import load


@pytest.mark.slow
def test_the_study_carries_on_where_it_stopped(tmp_path, monkeypatch):
    told = {
        "model": "lenet:width=1",
        "data": "fashion-mini",
        "train-examples": "20",
        "epochs": "1",
        "examples": "10",
        "eps": "0,0.1",
        "size": "3",
        "nets": str(tmp_path / "nets"),
        "results": str(tmp_path),
    }
    arguments = [word for key, value in told.items() for word in (f"--{key}", value)]
    run(ROOT / "analyses/landscapes.py", *arguments, monkeypatch=monkeypatch)
    written = {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "landscapes").iterdir())}
    assert [path.stem for path in written] == ["eps0.1_seed0", "eps0_seed0"]
    found = [load(path).results for path in written]
    assert [[(r.budget, r.loss.shape, r.x.tolist()) for r in results] for results in found] == [
        [("0.1", (3, 3), [-0.5, 0.0, 0.5])],
        [("0", (3, 3), [-0.5, 0.0, 0.5])],
    ]
    missing = min(written)
    missing.unlink()
    run(ROOT / "analyses/landscapes.py", *arguments, monkeypatch=monkeypatch)
    again = {path: path.stat().st_mtime_ns for path in written}
    assert [path for path in again if again[path] != written[path]] == [missing]
