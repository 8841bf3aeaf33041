"""Every study runs in a tiny setting and carries on where it stopped; figures come from results alone."""

import runpy
import sys
from pathlib import Path

import pytest

from landscape import load

ROOT = Path(__file__).parent.parent
STUDIES = sorted(path.stem for path in (ROOT / "analyses").glob("*.py"))
FIGURES = sorted({path.stem for path in (ROOT / "figures").glob("*.py")} - {"shipped", "seeds"})


def run(script: Path, *arguments: str, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    monkeypatch.syspath_prepend(script.parent)
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(script), run_name="__main__")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sharpness", {"eps": "0,0.05", "k": "2"}),
        ("gradient", {"eps": "0,0.05", "batches": "5:4"}),
        ("scatter", {"eps": "0,0.05", "radii": "0.01,0.1,1", "directions": "random"}),
        ("perturbation", {"eps": "0.05,0.1", "radii": "0.1,1", "directions": "random"}),
    ],
)
def test_a_study_carries_on_where_it_stopped(name, options, tmp_path, monkeypatch):
    told = {**options, "examples": "20", "attack": "pgd:steps=2", "results": str(tmp_path)}
    arguments = [word for key, value in told.items() for word in (f"--{key}", value)]
    run(ROOT / f"analyses/{name}.py", *arguments, monkeypatch=monkeypatch)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.h5")}
    assert [len(load(path).results) for path in written] == [2, 2, 2, 2]
    missing = sorted(written)[1]
    missing.unlink()
    run(ROOT / f"analyses/{name}.py", *arguments, monkeypatch=monkeypatch)
    again = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.h5")}
    assert set(again) == set(written)
    assert [path for path in again if again[path] != written[path]] == [missing]


@pytest.mark.slow
def test_the_study_of_cost_prints_its_tables(tmp_path, monkeypatch, capsys):
    table = tmp_path / "table.md"
    run(
        ROOT / "analyses/curvature_cost.py",
        "--examples",
        "20",
        "--seeds",
        "1",
        "-o",
        str(table),
        monkeypatch=monkeypatch,
    )
    printed = capsys.readouterr().out
    assert printed == table.read_text()
    for row in ("landscape, graph kept", "landscape, 1 seeds", "scipy eigsh", "PyHessian, its own rule"):
        assert row in printed


@pytest.mark.slow
def test_the_study_of_the_cost_of_training_prints_its_table(tmp_path, monkeypatch, capsys):
    table = tmp_path / "table.md"
    run(
        ROOT / "analyses/training_cost.py",
        *("--models", "lenet:width=1", "--examples", "20", "--rounds", "1", "-o", str(table)),
        monkeypatch=monkeypatch,
    )
    assert table.read_text() == capsys.readouterr().out
    lines = table.read_text().splitlines()
    assert len(lines) == 2 + 3
    # 10 steps and the update; and what is compared to keep the best: the clean inputs and the last ones.
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["11, 0", "11, 2", "11, 2"]
    assert "lenet:width=1, paper's loop | 11, 0 | 1.00 |" in lines[2]


@pytest.mark.slow
def test_the_study_of_the_cost_of_gradients_prints_its_tables(tmp_path, monkeypatch, capsys):
    table = tmp_path / "table.md"
    run(ROOT / "analyses/gradient_cost.py", "--examples", "20", "-o", str(table), monkeypatch=monkeypatch)
    printed = capsys.readouterr().out
    assert printed == table.read_text()
    rows = ("norms", "norms, 2 projections", "norms, one example at a time", "all of `scatter`")
    assert all(f"| {row} |" in printed for row in rows)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_the_name_of_its_study_and_imports_no_torch(name):
    source = (ROOT / f"figures/{name}.py").read_text()
    assert any(name == study or name.startswith(f"{study}_") for study in STUDIES)  # one may have several
    assert "torch" not in source
    for ending in ("pdf", "png"):
        assert (ROOT / f"figures/{name}.{ending}").stat().st_size > 1000


def test_the_sharpness_study_is_complete_in_the_repository():
    runs = [load(path) for path in sorted((ROOT / "data/results").glob("sharpness_eps*.h5"))]
    assert len(runs) == 4
    for each in runs:
        assert each.complete
        assert [result.budget for result in each.results] == ["0", "0.05", "0.1", "0.2"]
        assert all(result.converged and result.trace_method == "exact" for result in each.results)


@pytest.mark.parametrize(
    ("name", "budgets", "directions"),
    [
        ("gradient", ["0", "0.05", "0.1", "0.2"], [None]),
        ("scatter", ["0", "0.05", "0.1", "0.2"], ["random", "gradient", "eigenvector:1"]),
        ("perturbation", ["0.05", "0.1", "0.2"], ["random", "eigenvector:1"]),
    ],
)
def test_the_studies_of_gradients_are_complete_in_the_repository(name, budgets, directions):
    runs = [load(path) for path in sorted((ROOT / "data/results").glob(f"{name}_eps*.h5"))]
    assert len(runs) == 4
    for each in runs:
        assert each.complete
        there = [(r.budget, getattr(r, "direction", None)) for r in each.results]
        assert there == [(budget, way) for budget in budgets for way in directions]


def test_the_table_of_jumps_in_the_readme_is_that_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "analyses")
    table = runpy.run_path(str(ROOT / "analyses/scatter.py"))["table"](ROOT / "data/results")
    assert table in (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_study_of_surfaces_carries_on_where_it_stopped(tmp_path, monkeypatch):
    arguments = ["--size", "3", "--clean-size", "5", "--examples", "20", "--workers", "1", "--results"]
    run(ROOT / "analyses/surface.py", *arguments, str(tmp_path), monkeypatch=monkeypatch)
    names = [f"surface{part}_eps0.1.h5" for part in ("_clean", "", "_line", "_section")]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    before = [load(tmp_path / name).results for name in names]
    run(ROOT / "analyses/surface.py", *arguments, str(tmp_path), monkeypatch=monkeypatch)
    for first, name in zip(before, names, strict=True):
        again = load(tmp_path / name)
        assert again.complete
        for one, other in zip(first, again.results, strict=True):
            assert (one.loss == other.loss).all()
            assert one.seconds == other.seconds  # nothing was measured anew


@pytest.mark.slow
def test_the_study_of_warm_starts_prints_its_tables(tmp_path, monkeypatch):
    arguments = ["--quick", "--examples", "8", "-o", str(tmp_path / "t.md")]
    run(ROOT / "analyses/warm_start.py", *arguments, monkeypatch=monkeypatch)
    rows = [line for line in (tmp_path / "t.md").read_text().splitlines() if line.startswith("| lenet")]
    assert len(rows) == 2


@pytest.mark.slow
def test_the_study_of_linear_models_carries_on_where_it_stopped(tmp_path, monkeypatch):
    told = {
        "data": "fashion-mini",
        "examples": "40",
        "models": "3",
        "eps": "0.2,0.5",
        "results": str(tmp_path),
    }
    arguments = ["--quiet", *(word for key, value in told.items() for word in (f"--{key}", value))]
    run(ROOT / "analyses/linear_theory.py", *arguments, monkeypatch=monkeypatch)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert [path.stem for path in sorted(written)] == [
        "linear_theory",
        "linear_theory_eps_bar",
        "linear_theory_sets",
        "linear_theory_toy",
        "linear_theory_two",
    ]
    assert all(load(path).complete for path in written)
    (tmp_path / "linear_theory_sets.h5").unlink()
    before = load(tmp_path / "linear_theory_two.h5").results
    arguments[arguments.index("0.2,0.5")] = "0,0.2,0.5"
    run(ROOT / "analyses/linear_theory.py", *arguments, monkeypatch=monkeypatch)
    kept = {path.stem for path, when in written.items() if path.stat().st_mtime_ns == when}
    assert kept == {"linear_theory_eps_bar", "linear_theory_toy"}
    after = load(tmp_path / "linear_theory_two.h5").results
    assert [r.budget for r in after] == ["0", "0.2", "0.5"]
    assert [r.seconds for r in after[1:]] == [r.seconds for r in before]


def test_the_study_of_linear_models_shows_both_sides_of_eps_bar():
    """What the results in the repository must say of the claims, whatever their digits."""
    for part in ("", "_two"):
        found = load(ROOT / f"data/results/linear_theory{part}.h5")
        assert found.complete
        below = [r for r in found.results if r.eps < r.eps_bar]
        above = [r for r in found.results if r.eps > r.eps_bar]
        assert len(below) > 8
        assert len(above) > 2
        assert all(r.weight_norm_low > 0 and r.excess < 0 for r in below)
        assert all(r.weight_norm == r.weight_norm_high == r.excess == r.excess_low == 0 for r in above)
        losses = [r.loss for r in found.results]
        assert losses == sorted(losses)
    (shares,) = load(ROOT / "data/results/linear_theory_sets.h5").results
    assert shares.version_backwards == shares.trapped_backwards == 0
    free, boxed, _ = load(ROOT / "data/results/linear_theory_eps_bar.h5").results
    assert (round(free.eps_bar, 3), round(boxed.eps_bar, 3)) == (0.411, 0.416)


def test_the_readme_tells_what_the_study_of_linear_models_found():
    readme = " ".join((ROOT / "README.md").read_text().split())
    free, boxed, ball = load(ROOT / "data/results/linear_theory_eps_bar.h5").results
    two = {r.budget: r for r in load(ROOT / "data/results/linear_theory_two.h5").results}
    ten = {r.budget: r for r in load(ROOT / "data/results/linear_theory.h5").results}
    for told in (
        f"it is {free.eps_bar:.4f} under l_inf",
        f"{boxed.eps_bar:.4f} with the adversary kept in [0, 1], {ball.eps_bar:.3f} under l_2",
        f"‖W*‖ = {two['0.41'].weight_norm:.4f} at eps 0.41, and {two['0.42'].weight_norm:.0f} to the last",
        f"eps_bar = {ten['0.2'].eps_bar:.4f}",
        f"at eps 0.2 from {ten['0.2'].loss:.3f} to {ten['0.2'].gap:.3f} ± "
        f"{ten['0.2'].gap_stderr:.3f} above it",
    ):
        assert told in readme
