"""The study of landscapes runs in a tiny setting and carries on where it stopped."""

import json
import runpy
import statistics

import h5py
import numpy as np
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
        "seeds": "0",
        "nets": str(tmp_path / "nets"),
        "results": str(tmp_path),
    }
    arguments = [word for key, value in told.items() for word in (f"--{key}", value)]
    run(ROOT / "analyses/landscapes.py", *arguments, monkeypatch=monkeypatch)
    written = {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "landscapes").iterdir())}
    assert [path.stem for path in written] == ["eps0.1_seed0", "eps0_seed0"]
    found = [load(path).results for path in written]
    assert [[(r.budget, r.loss.shape, r.x.tolist()) for r in results] for results in found] == [
        [("0.1", (3, 3), [-0.25, 0.0, 0.25])],
        [("0", (3, 3), [-0.25, 0.0, 0.25])],
    ]
    missing = min(written)
    missing.unlink()
    run(ROOT / "analyses/landscapes.py", *arguments, monkeypatch=monkeypatch)
    again = {path: path.stat().st_mtime_ns for path in written}
    assert [path for path in again if again[path] != written[path]] == [missing]


EPS = ("0", "0.1", "0.2", "0.3", "0.4")
RESULTS = ROOT / "data/results/landscapes"


def stored(eps, seed=0):
    """The numbers of a surface, read without landscape."""
    with h5py.File(RESULTS / f"eps{eps}_seed{seed}.h5") as file:
        told = json.loads(file.attrs["directions"])
        return {name: file[name][()] for name in ("x", "y")} | {
            "loss": file["loss"][0],
            "centre": float(file["centre_loss"][0]),
            "numbers": json.loads(file["numbers"][0]),
            "angle": told["cosine"],
            "lengths": [told[axis]["norm"] for axis in "xy"],
        }


def test_the_surfaces_are_complete_and_of_one_extent():
    wanted = {f"eps{eps}_seed{seed}": eps for eps in EPS for seed in range(3)}
    assert {path.stem for path in RESULTS.iterdir()} == set(wanted)
    found = [load(RESULTS / f"{name}.h5") for name in wanted]
    assert all(run.complete for run in found)
    assert [run.provenance["budgets"] for run in found] == [[eps] for eps in wanted.values()]
    (x,) = {tuple(axis) for run in found for axis in (run.results[0].x, run.results[0].y)}
    assert -x[0] == x[-1] == 0.25
    for eps in EPS:
        assert stored(eps)["lengths"] == pytest.approx([1, 1])
        assert abs(stored(eps)["angle"]) < 1e-6


def test_the_figure_draws_the_rise_from_the_loss_of_theta(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "figures")
    canvas = runpy.run_path(str(ROOT / "figures/landscapes.py"))["draw"]()
    panels = [axes for part in canvas.subfigs for axes in part.axes if axes.get_label() != "<colorbar>"]
    assert len(panels) == 5 + 5 + 3
    assert all(axes.has_data() for axes in panels)
    sections, averages, curvatures = panels[-3:]
    for line, eps in zip(sections.lines, EPS, strict=True):
        found = stored(eps)
        middle = len(found["y"]) // 2
        assert line.get_ydata() == pytest.approx(found["loss"][middle] - found["centre"])
    for bars, eps in zip(averages.containers, EPS, strict=True):
        found = [stored(eps, seed) for seed in range(3)]
        x, y = np.meshgrid(found[0]["x"], found[0]["y"])
        step = found[0]["x"][1] - found[0]["x"][0]
        for distance, rise in zip(*bars.lines[0].get_data(), strict=True):
            around = abs(np.sqrt(x**2 + y**2) - distance) < step / 2
            rises = [each["loss"][around].mean() - each["centre"] for each in found]
            assert rise == pytest.approx(statistics.median(rises))
    shown = [each.lines[0].get_ydata().tolist() for each in curvatures.containers]
    names = ("curvature_x", "curvature_y", "hessian_x", "hessian_y")
    each = [[[stored(eps, seed)["numbers"][name] for seed in range(3)] for eps in EPS] for name in names]
    assert shown == [[statistics.median(values) for values in budgets] for budgets in each]


def test_the_page_has_the_table_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "figures")
    table = runpy.run_path(str(ROOT / "figures/landscapes.py"))["table"]()
    assert table in (ROOT / "docs/reproduction/landscapes.md").read_text()
