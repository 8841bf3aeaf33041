"""The studies of smoothness and of similar perturbations: tiny runs, their figures, what their pages tell."""

import runpy
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from landscape import load

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "data/results"
TINY = {
    "model": "lenet:width=1",
    "data": "fashion-mini",
    "train-examples": "30",
    "epochs": "1",
    "examples": "20",
    "attack": "pgd:steps=2",
    "radii": "0.01,0.1,1",
}
SMOOTHNESS = [f"eps{eps}_seed{seed}" for eps in ("0", "0.1", "0.2", "0.3", "0.4") for seed in range(3)]
OTHERS = [f"eps0.2_seed{seed}_others" for seed in range(3)]
WAYS = ("random", "eigenvector:1")


def study(name, place, monkeypatch, **told):
    """The files of a tiny study, each with the time when it was written."""
    told = {**TINY, **told, "nets": str(place / "nets"), "results": str(place / "results")}
    words = [word for key, value in told.items() for word in (f"--{key}", value)]
    monkeypatch.setattr(sys, "argv", [name, *words])
    monkeypatch.syspath_prepend(ROOT / "analyses")
    runpy.run_path(str(ROOT / f"analyses/{name}.py"), run_name="__main__")
    return {path: path.stat().st_mtime_ns for path in sorted((place / "results" / name).iterdir())}


def canvas(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "figures")
    return runpy.run_path(str(ROOT / f"figures/{name}.py"))["draw"]()


def stored(name, files, field, way):
    """(budgets, seeds, …) of a field as the files hold it, by increasing budget."""
    found = {}
    for stem in files:
        with h5py.File(RESULTS / name / f"{stem}.h5") as file:
            for group in file.values():
                if group["direction"][()].decode() == way:
                    found.setdefault(float(group["eps"][()]), []).append(group[field][()])
    return np.array([found[eps] for eps in sorted(found)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "eps", "stems"),
    [
        ("smoothness", "0,0.2", ["eps0.2_seed{}", "eps0.2_seed{}_others", "eps0_seed{}"]),
        ("perturbation_similarity", "0.1,0.2", ["eps0.1_seed{}", "eps0.2_seed{}", "eps0.2_seed{}_others"]),
    ],
)
def test_a_study_carries_on_where_it_stopped(name, eps, stems, tmp_path, monkeypatch, capsys):
    written = study(name, tmp_path, monkeypatch, eps=eps, seeds="0,1")
    assert {path.stem for path in written} == {stem.format(seed) for stem in stems for seed in (0, 1)}
    assert all(load(path).complete for path in written)
    told = capsys.readouterr().out
    missing = sorted(written)[1]
    missing.unlink()
    again = study(name, tmp_path, monkeypatch, eps=eps, seeds="0,1")
    assert [path for path in again if again[path] != written[path]] == [missing]
    assert capsys.readouterr().out == told  # equal settings give equal numbers
    for path in again:
        run = load(path)
        others = "others" in path.stem
        budgets = [eps.split(",")[0]] if others else [path.stem.split("_")[0].removeprefix("eps")]
        ways = WAYS[:1] if others else WAYS
        assert [(r.budget, r.direction) for r in run.results] == [(b, w) for b in budgets for w in ways]
        assert run.provenance["seed"] == int(path.stem.split("_")[1][-1])


@pytest.mark.parametrize(
    ("name", "files"),
    [("smoothness", SMOOTHNESS + OTHERS), ("perturbation_similarity", SMOOTHNESS[3:] + OTHERS)],
)
def test_the_results_in_the_repository_are_complete_and_tell_no_machine(name, files):
    paths = sorted((RESULTS / name).iterdir())
    assert [path.stem for path in paths] == sorted(files)
    for path in paths:
        told = load(path).provenance
        assert load(path).complete
        assert (told["host"], told["command"]) == ("", f"python analyses/{name}.py")
        assert told["data"]["examples"] == 500
        assert told["checkpoint"]["path"] == f"data/nets/cosine/{path.stem.removesuffix('_others')}.pt"
        assert b"/tmp/" not in path.read_bytes()
        assert b"/work/" not in path.read_bytes()
    assert sum(path.stat().st_size for path in paths) < 700_000
