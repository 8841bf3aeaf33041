"""The figure of curves between checkpoints."""

import numpy as np
import pytest

from landscape import plot
from landscape.analyzers.connect import Connection
from landscape.plot.style import colours
from landscape.results import Run

T = np.linspace(0, 1, 5)


def way(kind, loss, *, budget="0", split="train", accuracy=0.8, **fields) -> Connection:
    """A way of given losses."""
    loss = np.asarray(loss, dtype=float)
    right = np.full(len(T), accuracy)
    told = {
        "eps": float(budget),
        "budget": budget,
        "norm": "linf",
        "attack": "none",
        "way": kind,
        "split": split,
        "examples": 100,
        "own": split == "train",
        "bends": 3,
        "bn": "frozen",
        "epochs": 5,
        "trained_on": 100,
        "t": T,
        "loss": loss,
        "loss_stderr": 0.05 * loss,
        "accuracy": right,
        "accuracy_stderr": 0.1 * right,
        "clean_loss": loss,
        "clean_loss_stderr": 0.05 * loss,
        "clean_accuracy": right,
        "clean_accuracy_stderr": 0.1 * right,
        "zero_loss": np.zeros(len(T)),
        "groups": loss[:, None],
        "right": right[:, None],
        "clean_groups": loss[:, None],
        "sizes": np.array([100]),
        "barrier": 0.5,
        "barrier_stderr": 0.1,
        "barrier_at": 0.5,
        "inner_gap": 0.0,
        "inner_gap_stderr": 0.0,
        "length": 1.0,
        "distance": 3.0,
        "passes": {"forward": 5.0},
        "training": {},
        "seconds": 1.0,
    }
    for name in ("accuracy_barrier", "clean_barrier", "mean_loss", "lower"):
        told |= {name: 0.1, f"{name}_stderr": 0.01}
    return Connection(**told | fields)


def a_run(*results, ends=("a", "b"), complete=True) -> Run:
    paths = [{"path": f"{name}.pt"} for name in ends]
    return Run("connect", {"checkpoint": paths[0], "checkpoints": paths, "data": {}}, [*results], complete)


def both(budget="0", split="train", scale=1.0, **fields):
    line = way("line", scale * np.array([1, 1.5, 2, 1.5, 1]), budget=budget, split=split, **fields)
    return line, way("bezier", scale * np.ones(5), budget=budget, split=split, **fields)


def drawn(axes):
    return [line for line in axes.get_lines() if len(line.get_xdata()) == len(T)]


def test_the_line_is_dashed_the_curve_solid_and_each_eps_has_its_colour():
    run = a_run(*both(), *both("0.1", scale=1.2))
    loss, accuracy = plot.figure([run]).axes
    lines = drawn(loss)
    assert [line.get_linestyle() for line in lines] == ["--", "-", "--", "-"]
    assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color() == lines[3].get_color()
    for line, result in zip(lines, run.results, strict=True):
        assert np.array_equal(line.get_ydata(), result.loss)
    for line, result in zip(drawn(accuracy), run.results, strict=True):
        assert np.array_equal(line.get_ydata(), 100 * result.accuracy)
    labels = [text.get_text() for text in loss.get_legend().get_texts()]
    assert labels[-3:] == ["Bezier curve", "straight line", "barrier"]
    assert [label.rpartition(" ")[2] for label in labels[:2]] == ["0", "0.1"]
    assert "from a to b" in loss.get_xlabel()
    assert loss.get_ylabel() == r"loss $L_\epsilon$"
    assert accuracy.get_ylabel() == "accuracy (%)"


def test_each_split_has_a_row_on_the_scale_of_its_column():
    run = a_run(*both(), *both(split="test", scale=1.5, accuracy=0.5))
    axes = plot.figure([run]).axes
    assert len(axes) == 4
    assert axes[0].get_ylim() == axes[2].get_ylim()
    assert axes[1].get_ylim() == axes[3].get_ylim()
    low, high = axes[0].get_ylim()
    assert low < 1
    assert high > 3
    titles = [a.get_title(loc="left") or a.get_legend().get_title().get_text() for a in axes]
    assert titles[0] == "(a) train, the curves' own examples"
    assert titles[2] == "(c) test, held out"


def test_a_barrier_is_marked_where_it_is_above_twice_its_error():
    sure, unsure = way("line", [1, 1.5, 2, 1.5, 1]), way("bezier", np.ones(5), barrier=0.1)
    axes = plot.figure([a_run(sure, unsure)]).axes[0]
    (mark,) = [line for line in axes.get_lines() if line.get_gid() == "barrier"]
    assert [mark.get_xdata()[0], mark.get_ydata()[0]] == [0.5, 2.0]
    none = plot.figure([a_run(unsure)]).axes[0]
    assert "barrier" not in [text.get_text() for text in none.get_legend().get_texts()]


@pytest.mark.parametrize(("scale", "axis"), [(1.0, "linear"), (20.0, "log")])
def test_losses_across_a_decade_have_a_logarithmic_axis(scale, axis):
    axes = plot.figure([a_run(*both(), *both("0.1", scale=scale))]).axes
    assert axes[0].get_yscale() == axis
    assert axes[1].get_yscale() == "linear"


def test_numbers_to_predict_have_no_accuracy_and_no_panel_of_it():
    (axes,) = plot.figure([a_run(*both(accuracy=np.nan))]).axes
    assert axes.get_ylabel() == r"loss $L_\epsilon$"


def test_losses_that_are_not_finite_are_left_out(tmp_path):
    broken = way("line", [1, np.inf, np.nan, 1, 1], barrier=np.nan, barrier_stderr=np.nan)
    figure = plot.figure([a_run(broken, way("polygon", np.ones(5)))])
    assert np.isfinite(figure.axes[0].get_ylim()).all()
    plot.save(figure, tmp_path / "a.png")


def test_several_runs_are_told_apart_by_their_ends_and_an_unfinished_one_says_so():
    figure = plot.figure([a_run(*both()), a_run(*both(), ends=("c$", "d"), complete=False)])
    assert len(figure.axes) == 4
    titles = [a.get_title(loc="left") or a.get_legend().get_title().get_text() for a in figure.axes]
    assert titles[0].startswith("(a) a to b, train")
    assert titles[2].startswith(r"(c) c\$ to d, train")
    assert "incomplete" in figure.get_supxlabel()


def test_names_of_ends_that_are_too_long_are_not_drawn():
    axes = plot.figure([a_run(*both(), ends=("a" * 40, "b" * 40))]).axes[0]
    assert axes.get_xlabel() == "$t$"


def test_a_single_budget_has_the_colour_of_a_single_budget():
    axes = plot.figure([a_run(*both())]).axes[0]
    assert np.allclose(drawn(axes)[0].get_color(), colours(1)[0])
