"""The study of the end of adversarial training: it runs, its figure and page tell its results."""

import runpy
import shutil

import h5py
import numpy as np
import pytest
from test_analyses import ROOT, run
from test_study_early_training import BUDGETS, TINY

from landscape import load

FOLDER = ROOT / "data/results/late_training"
PAGE = (ROOT / "docs/reproduction/late_training.md").read_text()
SEEDS = (0, 1, 2)


def stored(kind: str, eps: str, seed: int, field: str) -> np.ndarray:
    """A field of a result as it lies in the file."""
    with h5py.File(FOLDER / f"{kind}_eps{eps}_seed{seed}.h5") as file:
        (group,) = [group for group in file.values() if group.attrs.get("kind")]
        return group[field][()]


def ends(eps: str) -> np.ndarray:
    """Of each seed the norm of the gradient of all training data, and their loss, (2, 3)."""
    return np.array([[stored("gradient", eps, s, name) for s in SEEDS] for name in ("gradient_norm", "loss")])


@pytest.mark.slow
def test_the_study_carries_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    flags = [*TINY, "--eps", "0,0.2", "--seeds", "0,1", "--nets", str(tmp_path / "nets")]
    flags += ["--results", str(tmp_path)]
    run(ROOT / "analyses/late_training.py", *flags, monkeypatch=monkeypatch)
    printed, folder = capsys.readouterr().out, tmp_path / "late_training"
    assert {p.stem for p in folder.iterdir()} == {
        f"{kind}_eps{eps}_seed{seed}"
        for kind in ("log", "gradient")
        for eps in ("0", "0.2")
        for seed in (0, 1)
    }
    (found,) = load(folder / "gradient_eps0.2_seed1.h5").results
    assert (found.budget, found.examples, found.batch["count"]) == ("0.2", 20, 4)
    shutil.rmtree(tmp_path / "nets")  # what is complete needs no net
    (folder / "log_eps0_seed1.h5").unlink()
    run(ROOT / "analyses/late_training.py", *flags, monkeypatch=monkeypatch)
    assert capsys.readouterr().out == printed
    assert [p.name for p in (tmp_path / "nets").rglob("*.pt")] == ["eps0_seed1.pt"]


def test_the_results_are_complete_in_the_repository_and_tell_no_place():
    files = list(FOLDER.iterdir())
    assert {path.stem for path in files} == {
        f"{kind}_eps{eps}_seed{seed}" for kind in ("log", "gradient") for eps in BUDGETS for seed in SEEDS
    }
    assert sum(path.stat().st_size for path in files) < 750_000
    for path in files:
        told = load(path)
        assert told.complete
        assert told.provenance["host"] == ""
        assert told.provenance["command"] == "python analyses/late_training.py"
        assert told.provenance["checkpoint"]["path"].startswith("data/nets/cosine/")
        assert b"/work" not in path.read_bytes()
        assert b"/tmp" not in path.read_bytes()
    for eps in BUDGETS:
        for seed in SEEDS:
            nets = [load(FOLDER / f"{kind}_eps{eps}_seed{seed}.h5") for kind in ("log", "gradient")]
            assert len({net.provenance["checkpoint"]["sha256"] for net in nets}) == 1


def test_the_page_tells_the_numbers_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "analyses")
    tables = runpy.run_path(str(ROOT / "analyses/late_training.py"))["tables"](FOLDER)
    assert all(line in PAGE for line in tables.splitlines())


def test_gradients_at_the_end_grow_with_the_budget_and_less_than_the_loss():
    """What the results in the repository must say of the claim, whatever their digits."""
    norm, loss = np.moveaxis([ends(eps) for eps in BUDGETS], 1, 0)  # each (budgets, seeds)
    last = [[stored("log", eps, s, "gradient_norm")[-252:] for s in SEEDS] for eps in BUDGETS]
    batch = np.median(last, axis=2)
    assert (np.diff(norm.mean(axis=1)) > 0).all()
    assert (np.diff(batch, axis=0) > 0).all()
    assert (np.diff(loss, axis=0) > 0).all()
    assert (batch[0] / loss[0] > 3 * batch[1:] / loss[1:]).all()
    errors = [stored("gradient", eps, s, "gradient_norm_stderr") for eps in BUDGETS for s in SEEDS]
    assert np.isfinite(errors).all()


def test_the_figure_draws_the_results():
    drawn = runpy.run_path(str(ROOT / "figures/late_training.py"))["draw"]()
    over, against, raw, relative = drawn.axes
    medians = [line for line in over.get_lines() if len(line.get_xdata()) > 2]
    for eps, line, points in zip(BUDGETS, medians, against.get_lines(), strict=True):
        whole = [stored("log", eps, seed, "gradient_norm").astype(float) for seed in SEEDS]
        around = [np.median(norms[599 - 31 : 599 + 32]) for norms in whole]
        assert line.get_ydata()[599] == pytest.approx(np.prod(around) ** (1 / 3), rel=1e-6)
        last = [np.median(norms[-63:]) for norms in whole]
        assert np.abs(np.subtract.outer(last, points.get_ydata())).min(axis=1).max() < 1e-5
        assert len(points.get_xdata()) == 3 * (7 if float(eps) else 19)
    for axes in (raw, relative):
        *_, whole = axes.containers  # after examples and mini-batches
        values = [found[0] / (found[1] if axes is relative else 1) for found in map(ends, BUDGETS)]
        assert np.allclose(whole.lines[0].get_ydata(), [np.mean(v) for v in values])
        (bars,) = whole.lines[2]
        heights = [top - bottom for (_, bottom), (_, top) in bars.get_segments()]
        assert np.allclose(heights, [2 * np.std(v, ddof=1) for v in values])
    for axes in drawn.axes:
        low, high = axes.get_ylim()
        for line in axes.get_lines():
            if len(line.get_xdata()) > 2:
                assert low < np.min(line.get_ydata())
                assert np.max(line.get_ydata()) < high
