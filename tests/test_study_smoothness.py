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
    assert sum(path.stat().st_size for path in paths) < 900_000


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
    assert [len(bars(panel)) for panel in axes] == [0, 0, 4, 3, 3, 2]
    eps, crossed = [0, 0.1, 0.2, 0.3, 0.4], [f"eps0.2_seed{seed}" for seed in range(3)] + OTHERS

    def of(field, way="random", files=SMOOTHNESS):
        return stored("smoothness", files, field, way)

    for panel, way, name in zip(axes[:2], WAYS, ("random", "eigenvector"), strict=True):
        moved, frozen = (np.log10(of(field, way)) for field in ("change", "change_frozen"))
        holds(panel, moved.mean(axis=1))
        holds(panel, frozen[1:].mean(axis=1))
        holds(panel, np.repeat(np.log10(of("floor")[1:]).mean(axis=1)[:, None], 2, axis=1))
        assert np.allclose(of("radii", way)[..., 2], 0.01, rtol=1e-3)
        agree(bars(axes[2])[name], eps, moved[..., 2])
        agree(bars(axes[2])[f"{name}, frozen"], eps, frozen[..., 2])
        # The panels share a scale, and nothing lies outside.
        assert panel.get_ylim() == axes[0].get_ylim()
        assert panel.get_ylim()[0] < moved.mean(axis=1).min() < moved.mean(axis=1).max() < panel.get_ylim()[1]
    for panel, files, name in (
        (axes[3], SMOOTHNESS, "each net at its own"),
        (axes[4], crossed, "nets trained at 0.2"),
    ):
        jump, bound = of("jump", files=files), of("bound", files=files)
        agree(bars(panel)["jump"], eps, jump)
        agree(bars(panel)["frozen"], eps, of("jump_frozen", files=files))
        agree(bars(panel)["floor: other starts, $h$ = 0"], eps, of("floor", files=files))
        agree(bars(axes[5])[name], eps[1:], 100 * (jump / bound)[1:])


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


@pytest.mark.parametrize("name", ["smoothness", "perturbation_similarity"])
def test_the_page_shows_the_tables_of_the_results(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "analyses")
    tables = runpy.run_path(str(ROOT / f"analyses/{name}.py"))["tables"](RESULTS / name)
    page = (ROOT / f"docs/reproduction/{name}.md").read_text()
    blocks = [block for block in tables.split("\n\n") if block.startswith("|")]
    assert len(blocks) >= 4
    assert all(block in page for block in blocks)


def test_what_the_pages_say_in_words_is_so():
    jump, frozen = (stored("smoothness", SMOOTHNESS, field, "random") for field in ("jump", "jump_frozen"))
    crossed = [f"eps0.2_seed{seed}" for seed in range(3)] + OTHERS
    others = stored("smoothness", crossed, "jump", "random")
    assert (np.diff(jump[1:], axis=0) > 0).all()
    assert (np.diff(others[1:], axis=0) > 0).all()
    assert (frozen[1:] < 0.13 * jump[1:]).all()
    assert (np.abs([jump[0], others[0]]) < 5e-5).all()
    above = jump > stored("smoothness", SMOOTHNESS, "floor", "random")
    assert np.argwhere(above[1:]).tolist() == [[3, 2]]
    name, own, rises, halves = "perturbation_similarity", SMOOTHNESS[3:], [], []
    for way in WAYS:
        cosine, h = stored(name, own, "cosine", way), np.log10(stored(name, own, "radii", way)[0, 0])
        middle = (1 + stored(name, own, "floor", way)) / 2
        rises += [tuple(place) for place in np.argwhere((np.diff(cosine) > 0).any(axis=-1))]
        found = [
            np.interp(-m, -np.minimum.accumulate(c), h)
            for m, c in zip(middle.flat, cosine.reshape(-1, len(h)), strict=True)
        ]
        halves.append(np.reshape(found, middle.shape))
        assert stored(name, own, "cosine_stderr", way).max() < 0.01
        assert (cosine[..., 0] < middle).sum() == (way != "random")
    assert rises == [(2, 0)]
    apart = 10 ** (halves[0] - halves[1])
    assert (round(apart.min()), round(apart.max())) == (10, 54)
