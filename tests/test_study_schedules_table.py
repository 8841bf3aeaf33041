"""The study of the table of schedules: it carries on, and its figure and page are of its results."""

import runpy
import statistics

import h5py
import numpy as np
import pytest
from test_analyses import ROOT, run
from test_study_learning_rate import TINY, drawn

from landscape import load

BUDGETS = {
    "constant": "periodic_constant",
    "linear": "periodic_linear",
    "cosine": "periodic_cosine",
    "long_linear": "long_periodic_linear",
}
ROWS = (*BUDGETS, *BUDGETS.values())


@pytest.mark.slow
def test_the_study_carries_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    arguments = [
        *TINY,
        *("--eps", "0.1", "--seeds", "0,1", "--periods", "0:1:2", "--examples", "10"),
        *("--attacks", "attack,square-margin:queries=2"),
        *("--nets", str(tmp_path / "nets"), "--results", str(tmp_path)),
    ]
    run(ROOT / "analyses/schedules_table.py", *arguments, monkeypatch=monkeypatch)
    first = capsys.readouterr().out
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("schedules_table/*.h5")}
    assert {path.stem for path in written} == set(ROWS)
    assert len(first.splitlines()) == (2 + 3 * len(BUDGETS)) + 1 + (2 + 3 + 3 * len(BUDGETS))
    for row in ROWS:
        lines = [
            line.of for line in load(tmp_path / f"schedules_table/{row}.h5").results if line.of != "mean"
        ]
        assert lines == (["checkpoint"] * 4 + ["ensemble"] * 2 if "periodic" in row else ["checkpoint"] * 2)
    missing = min(written)
    missing.unlink()
    run(ROOT / "analyses/schedules_table.py", *arguments, monkeypatch=monkeypatch)
    assert capsys.readouterr().out == first
    assert [path for path in written if path.stat().st_mtime_ns != written[path]] == [missing]


def broken(row: str) -> list[list[np.ndarray]]:
    """What was broken clean and by each attack, of what each seed stands for in the table."""
    found = []
    with h5py.File(ROOT / f"data/results/schedules_table/{row}.h5") as file:
        groups = [file[f"evaluate_{i}"] for i in range(sum(name.startswith("evaluate_") for name in file))]
        kinds = [group["of"][()].decode() for group in groups]
        arrays = [group["broken"][:] for group in groups]
    singles = [each for kind, each in zip(kinds, arrays, strict=True) if kind == "checkpoint"]
    ensembles = [each for kind, each in zip(kinds, arrays, strict=True) if kind == "ensemble"]
    found.append(singles[2::3] if ensembles else singles)
    return found + [ensembles] * bool(ensembles)


def test_the_figure_is_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "figures")
    canvas = runpy.run_path(str(ROOT / "figures/schedules_table.py"))["draw"]()
    for rows, axes in zip(BUDGETS.items(), canvas.axes, strict=True):
        expected = []
        for row in rows:
            for arrays in broken(row):
                assert len(arrays) == 3
                # A constant classifier is right of a tenth of the digits, clean too.
                there = [each for each in arrays if each[0].mean() < 0.5]
                for place in range(len(arrays[0]) + 1):
                    last = place == len(arrays[0])  # the worst case: what any attack broke
                    values = [100 * (each.any(axis=0) if last else each[place]).mean() for each in there]
                    if values:
                        expected.append(
                            (statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0)
                        )
        np.testing.assert_allclose(sorted(drawn(axes)), sorted(expected), atol=1e-9)


def test_the_results_are_whole():
    for row in ROWS:
        each = load(ROOT / f"data/results/schedules_table/{row}.h5")
        assert each.complete
        assert each.provenance["seeds"] == 3
        assert each.provenance["host"] == ""
        assert all(one["path"].startswith("data/nets/") for one in each.provenance["checkpoints"])


def test_the_page_has_the_tables_that_the_study_prints(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "analyses")
    study = runpy.run_path(str(ROOT / "analyses/schedules_table.py"))
    page = (ROOT / "docs/reproduction/schedules_table.md").read_text()
    assert study["table"](ROOT / "data/results") in page
    assert study["differences"](ROOT / "data/results") in page


def test_the_interval_is_that_of_a_table_of_students_t(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "analyses")
    interval = runpy.run_path(str(ROOT / "analyses/over_seeds.py"))["interval"]
    # Mean 2, standard deviation 1, t = 4.303 of two degrees of freedom: 4.303 / √3 = 2.484.
    assert interval(np.array([1.0, 2.0, 3.0]), digits=1) == "2.0 [-0.5, 4.5]"
