import dataclasses
import math
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from test_results import a_run, result

from landscape import load, plot
from landscape.errors import InputError, LandscapeError
from landscape.plot.grid import Panel, wrapped


def falling(top: float, bottom: float, k: int = 5) -> np.ndarray:
    return np.geomspace(top, bottom, k)


def drawn(*spectra, errors=0.1, **fields):
    """A run with a result for each spectrum."""
    budgets = [f"{i}/255" for i in range(len(spectra))]
    return a_run(
        *(
            result(
                **{"budget": budget, "eigenvalues": np.array(values), "converged": True, **fields},
                residuals=errors * np.abs(values),
                zero_loss=0.0,
                eigenvalues_sampling=0.1 * np.abs(values),
                trace_sampling=1.0,
            )
            for budget, values in zip(budgets, spectra, strict=True)
        )
    )


def curves(axes):
    return [container.lines[0] for container in axes.containers]


@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("budgets", [1, 3, 6])
def test_there_is_a_curve_for_each_eps_with_every_eigenvalue_in_sight(budgets, k):
    run = drawn(*(falling(10 + i, 3, k) for i in range(budgets)))
    (axes,) = plot.figure([run]).axes
    assert len(curves(axes)) == budgets
    low, high = axes.get_ylim()
    for curve, found in zip(curves(axes), run.results, strict=True):
        assert np.array_equal(curve.get_ydata(), found.eigenvalues)
        assert np.array_equal(curve.get_xdata(), np.arange(1, k + 1))
        assert low < min(found.eigenvalues)
        assert max(found.eigenvalues) < high
    assert axes.get_xlim() == (0.5, k + 0.5)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [label.partition(" = ")[2] for label in labels] == [f"{i}/255" for i in range(budgets)]


def test_the_bars_are_the_residuals():
    run = drawn(falling(10, 3), errors=0.3)
    (axes,) = plot.figure([run]).axes
    (container,) = axes.containers
    _, _, (bars,) = container.lines
    found = run.results[0]
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    assert np.allclose(ends[:, 0], found.eigenvalues - found.residuals)
    assert np.allclose(ends[:, 1], found.eigenvalues + found.residuals)


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([9.99, 5.0, 1.0], "linear"),
        ([10.0, 5.0, 1.0], "log"),
        ([1e4, 1e-3], "log"),
        ([1e-9, 1e-12], "log"),
        ([10.0, 0.0], "linear"),
        ([10.0, -1.0], "linear"),
        ([-1.0, -100.0], "linear"),
        ([0.0, 0.0], "linear"),
        ([3.0], "linear"),
    ],
)
def test_the_axis_is_logarithmic_only_across_a_decade_and_starts_at_zero_otherwise(values, scale):
    (axes,) = plot.figure([drawn(values)]).axes
    assert axes.get_yscale() == scale
    low, high = axes.get_ylim()
    if scale == "linear" and any(values):
        assert low <= 0 <= high
        assert (low == 0) == (min(values) >= 0)
        assert (high == 0) == (max(values) <= 0)
    assert low < high


def test_panels_have_one_scale_even_where_only_together_they_span_a_decade():
    figure = plot.figure([drawn([10.0, 5.0]), drawn([1.0, 0.5]), drawn([3.0, 2.0]), drawn([3.0, 2.0])])
    assert len(figure.axes) == 4
    assert {axes.get_yscale() for axes in figure.axes} == {"log"}
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    low, high = figure.axes[0].get_ylim()
    assert low < 0.5 < 10 < high
    titles = [axes.get_legend().get_title().get_text() for axes in figure.axes]
    assert titles == ["(a) a", "(b) a", "(c) a", "(d) a"]


def test_the_smallest_eigenvalues_are_counted_from_the_smallest():
    (axes,) = plot.figure([drawn([-1.0, -2.0, -5.0], which="SA")]).axes
    assert list(curves(axes)[0].get_ydata()) == [-5.0, -2.0, -1.0]
    assert "from the smallest" in axes.get_xlabel()


def test_a_curve_that_did_not_converge_is_hollow_and_says_so():
    (axes,) = plot.figure([drawn([2.0, 1.0], converged=False)]).axes
    (curve,) = curves(axes)
    assert curve.get_markerfacecolor() == "white"
    assert axes.get_legend().get_texts()[0].get_text().endswith("not converged")


@pytest.mark.parametrize(
    ("trace", "error", "words"),
    [
        (12.345, 0.56, "tr $H$ = 12.35 ± 0.56"),
        (12.345, 0.0, "tr $H$ = 12.35"),
        (1.234e7, 3e4, r"tr $H$ = (1.2340 ± 0.0030)$\times 10^{7}$"),
        (math.nan, math.nan, ""),
    ],
)
def test_the_legend_gives_the_trace_with_its_error(trace, error, words):
    (axes,) = plot.figure([drawn([2.0], trace=trace, trace_stderr=error)]).axes
    (label,) = [text.get_text() for text in axes.get_legend().get_texts()]
    assert label.partition(", ")[2] == words


@pytest.mark.parametrize("ending", plot.FORMATS)
@pytest.mark.parametrize("count", [1, 3])
def test_the_same_figure_gives_the_same_bytes(ending, count, tmp_path):
    runs = [drawn(falling(10, 0.3), falling(20, 0.3), trace=5.0) for _ in range(count)]
    for name in ("a", "b"):
        plot.save(plot.figure(runs), tmp_path / f"{name}{ending}")
    content = (tmp_path / f"a{ending}").read_bytes()
    assert content == (tmp_path / f"b{ending}").read_bytes()
    assert content.startswith({".pdf": b"%PDF", ".png": b"\x89PNG", ".svg": b"<?xml"}[ending])


def test_a_figure_has_ink_and_nothing_is_cut_off_at_its_border(tmp_path):
    runs = [
        drawn(*(falling(10 + i, 0.3, 20) for i in range(6)), trace=123.4, trace_stderr=0.5) for _ in range(3)
    ]
    plot.save(plot.figure(runs), tmp_path / "a.png")
    pixels = matplotlib.image.imread(tmp_path / "a.png")[:, :, :3]
    ink = (pixels < 0.9).any(axis=2)
    assert 0.01 < ink.mean() < 0.5
    border = np.concatenate([ink[:3].flat, ink[-3:].flat, ink[:, :3].flat, ink[:, -3:].flat])
    assert not border.any()


@pytest.mark.parametrize("name", ["$a$ b_1.pt", "größer 网.pt", "a\udcff.pt", "\\frac.pt"])
def test_any_name_of_a_checkpoint_can_be_drawn(name, tmp_path):
    runs = [drawn([2.0]), drawn([2.0])]
    for run in runs:
        run.provenance["checkpoint"]["path"] = name
    figure = plot.figure(runs)
    if "网" in name:  # not in the font: a box is drawn, and matplotlib says so
        with pytest.warns(UserWarning, match="missing from font"):
            plot.save(figure, tmp_path / "a.svg")
    else:
        plot.save(figure, tmp_path / "a.svg")


def test_no_setting_of_the_callers_matplotlib_is_changed(tmp_path):
    before = dict(matplotlib.rcParams)
    plot.save(plot.figure([drawn([2.0])]), tmp_path / "a.pdf")
    assert dict(matplotlib.rcParams) == before


def test_what_cannot_be_drawn_is_refused_in_words(tmp_path):
    with pytest.raises(InputError, match="none came"):
        plot.figure([])
    with pytest.raises(InputError, match="file 2 of 2 holds no result"):
        plot.figure([drawn([2.0]), a_run()])
    other = drawn([2.0])
    other.kind = "other"
    with pytest.raises(InputError, match="different kinds cannot share a figure: other, sharpness"):
        plot.figure([drawn([2.0]), other])
    with pytest.raises(InputError, match="'other' have no figure yet"):
        plot.figure([other])
    figure = plot.figure([drawn([2.0])])
    for path in ("a.jpg", "a", "a.pdf.gz"):
        with pytest.raises(InputError, match=r"\.pdf, \.png, \.svg"):
            plot.save(figure, tmp_path / path)
    with pytest.raises(LandscapeError, match="there is no folder"):
        plot.save(figure, tmp_path / "nothing" / "a.pdf")
    assert not list(tmp_path.iterdir())


def test_four_panels_are_two_by_two_and_the_letters_skip_no_place():
    def row(count, name=""):
        return [Panel(f"{name}{i}", None) for i in range(count)]

    assert [len(r) for r in wrapped([row(4)])] == [2, 2]
    assert [len(r) for r in wrapped([row(4), row(4)])] == [2, 2, 2, 2]
    assert [len(r) for r in wrapped([row(3), row(2), row(5)])] == [3, 2, 3, 2]
    assert [len(r) for r in wrapped([row(1)] * 5)] == [3, 2]
    figure = plot.figure([drawn([2.0]) for _ in range(5)])
    titles = [axes.get_legend().get_title().get_text() for axes in figure.axes]
    assert [title[:3] for title in titles] == ["(a)", "(b)", "(c)", "(d)", "(e)"]


def test_letters_go_on_after_a_row_that_is_shorter(monkeypatch):
    def draw(axes):
        axes.plot([0, 1], label="x")
        axes.legend()

    grid = [[Panel("", draw)] * count for count in (3, 1, 2)]
    monkeypatch.setitem(plot.PANELS, "sharpness", lambda runs: grid)
    figure = plot.figure([drawn([2.0])])
    titles = [axes.get_legend().get_title().get_text() for axes in figure.axes]
    assert titles == ["(a)", "(b)", "(c)", "(d)", "(e)", "(f)"]


def test_a_figure_of_a_run_that_ended_early_says_so():
    whole, ended = drawn([2.0]), drawn([2.0])
    whole.complete, ended.complete = True, False
    ended.provenance["checkpoint"] = {"path": "runs/b.pt"}
    assert plot.figure([whole]).get_supxlabel() == ""
    assert plot.figure([ended]).get_supxlabel() == "incomplete: ended before it was done"
    assert plot.figure([whole, ended]).get_supxlabel().endswith("(b)")


def words(canvas):
    return [text.get_text() for text in canvas.findobj(matplotlib.text.Text)]


@pytest.mark.parametrize(
    "name", ["sharpness", "gradient", "scatter", "perturbation", "surface", "surface_line", "surface_section"]
)
def test_a_budget_in_l2_is_told_from_one_in_linf_wherever_it_is_named(name):
    run = load(Path(__file__).parents[1] / f"data/results/{name}_eps0.1.h5")
    told = {}
    for norm in ("linf", "l2"):
        run.results = [dataclasses.replace(result, norm=norm) for result in run.results]
        told[norm] = words(plot.figure([run]))
    named = [text for text in told["l2"] if r"\ell_2" in text]
    assert [
        re.sub(r"\$\\ell_2\$,? |, \$\\epsilon\$ in \$\\ell_2\$", "", text) for text in told["l2"]
    ] == told["linf"]
    plain = [text for text in told["linf"] if r"$\epsilon$ = " in text or r"budget $\epsilon$" in text]
    assert len(named) == (3 if name == "scatter" else len(plain)) > 0


def test_lines_of_two_norms_say_in_which_panel_is_which():
    runs = [load(Path(__file__).parents[1] / "data/results/surface_line_eps0.1.h5") for _ in range(2)]
    runs[1].results = [dataclasses.replace(result, norm="l2") for result in runs[1].results]
    titles = [axes.get_title(loc="left") for axes in plot.figure(runs).axes]
    assert [title for title in titles if title] == [
        r"(a) lenet4_eps0.1, $\ell_\infty$",
        r"(b) lenet4_eps0.1, $\ell_2$",
    ]
