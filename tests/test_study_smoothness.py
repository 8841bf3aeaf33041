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


def lines(axes):
    """The values of all lines of an Axes."""
    return [np.asarray(line.get_ydata()) for line in axes.lines]


def bars(axes):
    """(budgets, 3) eps, value and half the bar of each curve with bars, by its label."""
    found = {}
    for container in axes.containers:
        x, y = (np.asarray(values) for values in container.lines[0].get_data())
        ends = np.array(container.lines[2][0].get_segments())[:, :, 1]
        found[container.get_label()] = np.stack([x, y, np.diff(ends)[:, 0] / 2], axis=1)
    return found


def agree(found, eps, values):
    """A curve shows mean and sample standard deviation of values (budgets, seeds)."""
    n = values.shape[1]
    mean = values.sum(axis=1) / n
    deviation = np.sqrt(((values - mean[:, None]) ** 2).sum(axis=1) / (n - 1))
    np.testing.assert_allclose(found, np.stack([eps, mean, deviation], axis=1), rtol=1e-9, atol=1e-12)


def holds(axes, values):
    """Each row of values (curves, m) is a line of the Axes."""
    assert all(any(y.shape == row.shape and np.allclose(y, row) for y in lines(axes)) for row in values)


def test_the_figure_of_smoothness_shows_the_results(monkeypatch):
    axes = canvas("smoothness", monkeypatch).axes
    assert len(axes) == 6
    eps, crossed = [0, 0.1, 0.2, 0.3, 0.4], [f"eps0.2_seed{seed}" for seed in range(3)] + OTHERS

    def own(field, way="random"):
        return stored("smoothness", SMOOTHNESS, field, way)

    for panel, way in zip(axes[:2], WAYS, strict=True):
        holds(panel, own("change", way).mean(axis=1))
        holds(panel, own("change_frozen", way)[1:].mean(axis=1))
    for way, name in zip(WAYS, ("random", "eigenvector"), strict=True):
        agree(bars(axes[2])[name], eps, own("slope", way))
        agree(bars(axes[2])[f"{name}, frozen"], eps, own("slope_frozen", way))
        agree(bars(axes[3])[name], eps, own("jump", way))
        agree(bars(axes[3])[f"{name}, frozen"], eps, own("jump_frozen", way))
        agree(bars(axes[5])[name], eps[1:], 100 * (own("jump", way) / own("bound", way))[1:])
    agree(bars(axes[3])["floor: other starts"], eps, own("floor"))
    others = stored("smoothness", crossed, "jump", "random")
    agree(bars(axes[4])["random"], eps, others)
    bound = stored("smoothness", crossed, "bound", "random")
    agree(bars(axes[5])["random, trained at 0.2"], eps[1:], 100 * (others / bound)[1:])
    assert [len(bars(panel)) for panel in axes] == [0, 0, 4, 5, 3, 3]


def test_the_figure_of_similar_perturbations_shows_the_results(monkeypatch):
    axes = canvas("perturbation_similarity", monkeypatch).axes
    assert len(axes) == 4
    name, eps = "perturbation_similarity", [0.1, 0.2, 0.3, 0.4]
    crossed = [f"eps0.2_seed{seed}" for seed in range(3)] + OTHERS
    each = [(SMOOTHNESS[3:], WAYS[0]), (SMOOTHNESS[3:], WAYS[1]), (crossed, WAYS[0])]
    assert len(bars(axes[3])) == 3
    for panel, (files, way), curve in zip(axes, each, bars(axes[3]).values(), strict=False):
        cosine, floor = stored(name, files, "cosine", way), stored(name, files, "floor", way)
        holds(panel, cosine.mean(axis=1))
        holds(panel, np.repeat(floor.mean(axis=1)[:, None], 2, axis=1))
        h = np.log10(stored(name, files, "radii", way)[0, 0])
        middle = (1 + floor) / 2
        # Every curve falls through the middle once: then the radius is that of the inverse function.
        half = [
            [np.interp(-m, -np.minimum.accumulate(c), h) for m, c in zip(*row, strict=True)]
            for row in zip(middle, cosine, strict=True)
        ]
        agree(curve, eps, np.array(half))
