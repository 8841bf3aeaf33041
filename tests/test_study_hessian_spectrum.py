"""The study of the spectrum runs in a tiny setting; its figure and its page tell what its results say."""

import runpy
import statistics

import h5py
import pytest
from test_analyses import ROOT, run

from landscape import load

EPS = ("0", "0.1", "0.2", "0.3", "0.4")
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


RESULTS = ROOT / "data/results/hessian_spectrum"


def stored(name, place=0):
    """The numbers of a result, read without landscape."""
    with h5py.File(RESULTS / f"{name}.h5") as file:
        return {key: value[()] for key, value in file[f"sharpness_{place}"].items()}


def test_the_results_are_complete_in_the_repository():
    lenets = [f"{start}eps{eps}_seed{seed}" for start in ("", "crossed_") for eps in EPS for seed in range(3)]
    names = {*lenets, *(f"untrained_seed{seed}" for seed in range(5))}
    resnets = {f"resnet_eps{eps}_seed{seed}" for eps in EPS[:2] for seed in range(3)}
    there = {path.stem for path in RESULTS.iterdir()}
    assert there in (names, names | resnets)
    for name in there:
        found = load(RESULTS / f"{name}.h5")
        assert found.complete
        assert all(result.converged for result in found.results)
        assert not found.provenance["checkpoint"]["path"].startswith("/")


def test_the_figure_draws_the_median_and_the_range_of_the_seeds(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "figures")
    canvas = runpy.run_path(str(ROOT / "figures/hessian_spectrum.py"))["draw"]()
    spectra, tops, *others = canvas.axes
    assert len(others) in (3, 4)
    assert all(axes.has_data() for axes in canvas.axes)
    for line, eps in zip(spectra.lines, EPS, strict=True):
        each = [stored(f"eps{eps}_seed{seed}")["eigenvalues"] for seed in range(3)]
        assert line.get_ydata() == pytest.approx(
            [statistics.median(values) for values in zip(*each, strict=True)]
        )
    raw = tops.containers[0]
    for place, eps in enumerate(EPS):
        each = [stored(f"eps{eps}_seed{seed}")["eigenvalues"][0] for seed in range(3)]
        (low, high) = raw.lines[2][0].get_segments()[place][:, 1]
        assert raw.lines[0].get_ydata()[place] == pytest.approx(statistics.median(each))
        assert (low, high) == pytest.approx((min(each), max(each)))


def test_the_page_has_the_tables_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "analyses")
    told = runpy.run_path(str(ROOT / "analyses/hessian_spectrum.py"))["tables"](RESULTS)
    page = (ROOT / "docs/reproduction/hessian_spectrum.md").read_text()
    for table in told.split("\n\n"):
        assert table in page
