"""The study of the start of adversarial training: it runs, its figure and page tell its results."""

import math
import runpy
import shutil

import h5py
import numpy as np
import pytest
from test_analyses import ROOT, run

from landscape import load

FOLDER = ROOT / "data/results/early_training"
BUDGETS = ["0", "0.1", "0.2", "0.3", "0.4"]
PAGE = (ROOT / "docs/reproduction/early_training.md").read_text()
TINY = ["--model", "lenet:width=1", "--data", "fashion-mini", "--epochs", "3", "--train-examples", "20"]
TINY += ["--examples", "20", "--attack", "pgd:steps=2", "--batches", "5:4"]


def logged(name: str, eps: str, seed: int, field: str) -> np.ndarray:
    """A field of a log as it lies in the file."""
    with h5py.File(FOLDER / f"{name}_eps{eps}_seed{seed}.h5") as file:
        return file[f"training_0/{field}"][()]


def first_below(loss: np.ndarray) -> float:
    """Number of the first mini-batch around which the mean of five losses is below 0.9 log 10."""
    for i in range(len(loss)):
        if sum(part := loss[max(0, i - 2) : i + 3].tolist()) / len(part) < 0.9 * math.log(10):
            return i + 1
    return math.inf


@pytest.mark.slow
def test_the_study_carries_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    flags = [*TINY, "--eps", "0,0.4", "--seeds", "0,1", "--nets", str(tmp_path / "nets")]
    flags += ["--results", str(tmp_path)]
    run(ROOT / "analyses/early_training.py", *flags, monkeypatch=monkeypatch)
    printed, folder = capsys.readouterr().out, tmp_path / "early_training"
    kinds = ("constant_eps0", "constant_eps0.4", "cosine_eps0.4", "gradient_eps0.4")
    assert {p.stem for p in folder.iterdir()} == {f"{k}_seed{s}" for k in kinds for s in (0, 1)}
    for path, net in (
        ("constant_eps0_seed1", "early/eps0_seed1"),
        ("cosine_eps0.4_seed0", "cosine/eps0.4_seed0"),
    ):
        kept, log = (load(p).results[0] for p in (folder / f"{path}.h5", tmp_path / f"nets/{net}.h5"))
        for name, values in vars(log).items():  # all of the log, in single precision
            if isinstance(values, np.ndarray):
                assert np.array_equal(getattr(kept, name), values.astype(getattr(kept, name).dtype)), name
            else:
                assert getattr(kept, name) == values
    shutil.rmtree(tmp_path / "nets")  # what is complete needs no net
    run(ROOT / "analyses/early_training.py", *flags, monkeypatch=monkeypatch)
    assert capsys.readouterr().out == printed
    (folder / "constant_eps0_seed1.h5").unlink()
    run(ROOT / "analyses/early_training.py", *flags, monkeypatch=monkeypatch)
    assert capsys.readouterr().out == printed
    assert [p.name for p in (tmp_path / "nets").rglob("*.pt")] == ["eps0_seed1.pt"]


def test_the_results_are_complete_in_the_repository_and_tell_no_place():
    names = [f"constant_eps{eps}" for eps in BUDGETS] + ["cosine_eps0.3", "cosine_eps0.4", "gradient_eps0.4"]
    files = list(FOLDER.iterdir())
    assert {path.stem for path in files} == {f"{name}_seed{seed}" for name in names for seed in (0, 1, 2)}
    assert sum(path.stat().st_size for path in files) < 650_000
    for path in files:
        told = load(path)
        assert told.complete
        assert told.provenance["host"] == ""
        assert told.provenance["command"] == "python analyses/early_training.py"
        assert told.provenance["checkpoint"]["path"].startswith("data/nets/")
        assert b"/work" not in path.read_bytes()
        assert b"/tmp" not in path.read_bytes()


def test_the_page_tells_the_numbers_of_the_results(monkeypatch):
    for eps in BUDGETS:
        out = [first_below(logged("constant", eps, seed, "loss")) for seed in (0, 1, 2)]
        told = ", ".join(f"{at}" if at < math.inf else "> 1,260" for at in out)
        assert f"| {eps} | {told} |" in PAGE
    monkeypatch.syspath_prepend(ROOT / "analyses")
    tables = runpy.run_path(str(ROOT / "analyses/early_training.py"))["tables"](FOLDER)
    assert all(line in PAGE for line in tables.splitlines())


def test_large_budgets_hold_a_training_where_it_starts():
    """What the results in the repository must say of the claim, whatever their digits."""
    for seed in (0, 1, 2):
        out = [first_below(logged("constant", eps, seed, "loss")) for eps in BUDGETS]
        assert out == sorted(out)
        assert out[-1] == math.inf
        warm = [first_below(logged("cosine", eps, seed, "loss")) for eps in ("0.3", "0.4")]
        assert max(warm) < 30
        # On the plateau a mini-batch's gradient is that of its class counts, and says nothing of the images.
        plateau = np.median(logged("constant", "0.4", seed, "gradient_norm")[63:])
        assert plateau == pytest.approx(math.sqrt(0.9 / 128), rel=0.1)


def test_the_figure_draws_the_results():
    drawn = runpy.run_path(str(ROOT / "figures/early_training.py"))["draw"]()
    norm, error, distance, out, loss, _ = drawn.axes
    assert [len(axes.get_lines()) for axes in (norm, error, distance, loss)] == [16, 15, 15, 14]
    for axes in (norm, error, distance, loss):
        for line in axes.get_lines():
            assert np.isfinite(line.get_ydata()).all()
            low, high = axes.get_ylim()
            assert low <= np.min(line.get_ydata())
            assert np.max(line.get_ydata()) <= high
    order = [(eps, seed) for eps in BUDGETS for seed in (0, 1, 2)]
    for (eps, seed), line, points in zip(order, distance.get_lines(), out.get_lines(), strict=True):
        values = logged("constant", eps, seed, "distance")
        assert line.get_ydata()[0] == values[0]
        at = first_below(logged("constant", eps, seed, "loss"))
        assert points.get_ydata()[0] == min(at, len(values))
        assert points.get_xdata()[0] == pytest.approx(float(eps), abs=0.02)
