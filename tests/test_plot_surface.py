"""Figures of surfaces and lines: what is where, in which colour, and what the words say."""

import dataclasses
import itertools
import math
import re

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from pictures import NAN, a_direction, a_run, made

from landscape import plot
from landscape.errors import InputError
from landscape.plot.levels import MOST, ladder, scale
from landscape.plot.plane import plane
from landscape.results import Run

G = np.linspace(-1, 1, 21)
STYLES = ["contour", "heat", "surface"]


def bowl(eps: float):
    return lambda x, y: 0.5 + 4 * eps + 5 * (x**2 + y**2) + (12 + 60 * eps) * (x**2 + y**2) ** 2


def three(grid=G, **told) -> Run:
    return a_run(*(made(grid, grid, bowl(e), eps=e, budget=f"{e:g}") for e in (0.0, 0.05, 0.1)), **told)


def one(**told) -> Run:
    return a_run(made(G, G, bowl(0)), trajectory=a_trajectory(), **told)


def panels(figure):
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def bars(figure):
    return [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]


def filled(axes):
    (found,) = [c for c in axes.collections if getattr(c, "filled", False)]
    return found


def by_gid(axes, gid):
    return [artist for artist in axes.get_children() if artist.get_gid() == gid]


def pixels(figure, axes=None) -> np.ndarray:
    """What was drawn (height, width, 3), of the whole figure or of the inside of one of its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page = np.asarray(canvas.buffer_rgba())[..., :3] / 255
    return page if axes is None else inside(page, axes)


def inside(page, axes):
    left, bottom, right, top = (round(v) for v in axes.get_window_extent().extents)
    return page[len(page) - top : len(page) - bottom, left:right]


# The scale


@given(st.floats(1e-6, 1e6), st.floats(10, 1e7))
def test_a_logarithmic_ladder_is_1_2_5_around_all_losses(low, span):
    levels = ladder(low, low * span)
    assert levels[0] <= low < low * span <= levels[-1]
    assert len(levels) <= MOST + 1
    digits = {f"{level:.0e}"[0] for level in levels}
    assert digits == {"1", "2", "5"} or digits == {"1"} or len(levels) < 4
    assert all(f"{level:.0e}" == f"{level:.6e}".replace(".000000", "") for level in levels)


@pytest.mark.parametrize(
    ("losses", "levels", "logarithmic"),
    [
        ([0.6, 5.9], [0, 1, 2, 3, 4, 5, 6], False),
        ([0.5, 5.0], [0.5, 1, 2, 5], True),
        ([0.6, 78.0], [0.5, 1, 2, 5, 10, 20, 50, 100], True),
        ([2.29, 2.304], [2.29, 2.292, 2.294, 2.296, 2.298, 2.3, 2.302, 2.304], False),
        ([-1.0, 20.0], [-5, 0, 5, 10, 15, 20], False),
        ([1e-3, 1e4], [10.0**k for k in range(-3, 5)], True),
        ([2.3, 2.3], [2.15, 2.2, 2.25, 2.3, 2.35, 2.4, 2.45], False),
        ([0.0, 0.0], [-1, -0.8, -0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6, 0.8, 1], False),
        ([math.nan, math.inf], [0, 1], False),
    ],
)
def test_levels_can_be_read_and_are_logarithmic_only_across_a_decade(losses, levels, logarithmic):
    found = scale(np.array(losses))
    assert found.logarithmic is logarithmic
    if levels[0] == -1 and levels[1] == -0.8:  # any even ladder around a constant 0 will do
        assert found.low < 0 < found.high
    else:
        assert np.allclose(found.levels, levels)
    assert not found.capped
    assert not found.floored


def test_outliers_do_not_take_the_colours_and_a_given_cap_is_a_level():
    losses = np.concatenate([np.linspace(0.5, 8, 99), [1e5]])
    found = scale(losses)
    assert (found.high, found.capped) == (10.0, True)
    assert found.names()[-1] == r"$\geq$10"
    assert scale(losses, cap=1e6).high >= 1e5
    cut = scale(losses, cap=3.0)
    assert (cut.high, cut.capped, cut.names()[-1]) == (3.0, True, r"$\geq$3.0")
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="no loss to cut at"):
            scale(losses, cap=wrong)


def test_between_few_levels_there_are_bands_at_1_5_3_and_7_without_a_number():
    run = a_run(made(G, G, lambda x, y: 0.55 + 3 * (x**2 + y**2)))
    (axes,) = panels(plot.figure([run]))
    assert list(filled(axes).levels) == [0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10]
    pixels(axes.figure)
    numbers = {text.get_text() for text in axes.texts}
    assert numbers == {"1", "2", "5"}
    assert [t.get_text() for t in bars(axes.figure)[0].get_yticklabels()] == ["0.5", "1", "2", "5", "10"]


def test_losses_of_0_leave_the_scale_logarithmic_and_are_said_to_lie_below():
    found = scale(np.array([0.0, 0.01, 1.0]))
    assert (found.logarithmic, found.floored, found.low) == (True, True, 0.01)
    run = a_run(made(G, G, lambda x, y: np.where(x < -0.95, 0.0, 1.0 + x)))
    said = plot.figure([run]).get_supxlabel()
    assert said.startswith("Cut at 0.05: 21 of 441 cells lie below, down to 0")


# Panels


@pytest.mark.parametrize("style", STYLES)
def test_panels_have_one_scale_one_colour_bar_and_no_axes_are_blank(style):
    figure = plot.figure([three(), one(path="b.pt")], style=style)
    drawn = panels(figure)
    assert len(drawn) == 4
    (bar,) = bars(figure)
    assert [t.get_text() for t in bar.get_yticklabels()] == ["0.5", "1", "2", "5", "10", "20", "50", "100"]
    if style == "contour":
        assert len({(filled(a).norm.vmin, filled(a).norm.vmax, *filled(a).levels) for a in drawn}) == 1
        assert len(filled(drawn[0]).levels) == 8
    page = pixels(figure)
    for axes in drawn:
        seen = inside(page, axes)
        assert len(np.unique((seen * 255).astype(int).reshape(-1, 3), axis=0)) > 8
        assert (np.ptp(seen, axis=2) > 0.2).mean() > (0.3 if style == "surface" else 0.8)


def test_titles_tell_checkpoint_budget_adversary_and_the_loss_of_theta():
    frozen = made(G, G, bowl(0.1), eps=0.1, budget="8/255", adversary="frozen")
    figure = plot.figure([a_run(frozen, path="a.pt"), a_run(made(G, G, bowl(0)), path="b.pt")])
    titles = [axes.get_title(loc="left") for axes in panels(figure)]
    assert titles == [
        "(a) a, $\\epsilon$ = 8/255, frozen\n☆ $L_\\epsilon(\\theta)$ = 0.900 ± 0.036",
        "(b) b, $\\epsilon$ = 0\n☆ $L_\\epsilon(\\theta)$ = 0.500 ± 0.020",
    ]
    (alone,) = panels(plot.figure([a_run(frozen)]))
    assert alone.get_title(loc="left").startswith(r"$\epsilon$ = 8/255, frozen")


def test_long_names_of_checkpoints_keep_the_ends_that_tell_them_apart():
    paths = [f"runs/resnet_cifar10_adversarial_{end}.pt" for end in ("final", "final_b", "epoch199")]
    runs = [a_run(made(G, G, bowl(0)), path=path) for path in paths]
    titles = [axes.get_title(loc="left").splitlines()[0] for axes in panels(plot.figure(runs))]
    assert len({title[4:] for title in titles}) == 3
    for title, path in zip(titles, paths, strict=True):
        first, last = title[4:].partition(",")[0].split("…")
        assert path.startswith(f"runs/{first}")
        assert path.endswith(f"{last}.pt")
        assert len(first + last) == 17


@pytest.mark.parametrize("style", ["contour", "heat"])
def test_a_loss_that_depends_on_x_alone_varies_along_the_horizontal_axis_alone(style):
    run = a_run(made(G, np.linspace(-1, 1, 15), lambda x, y: 3 + x + 0 * y))
    figure = plot.figure([run], style=style)
    (axes,) = panels(figure)
    seen = pixels(figure, axes)
    # Rows far from the star and from the numbers of the levels.
    rows = seen[[len(seen) // 3, len(seen) // 5]]
    along = np.abs(np.diff(rows, axis=1)).sum(axis=(1, 2))
    column = seen[3:-3, [seen.shape[1] // 7]]
    assert (along > 0.5).all()
    assert np.abs(np.diff(column, axis=0)).max() < 0.02
    right, left = rows[:, -5], rows[:, 5]  # viridis: the green grows with the loss
    assert (right[:, 1] > left[:, 1] + 0.3).all()


def test_the_surface_of_a_loss_that_depends_on_x_alone_is_as_high_along_y():
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    run = a_run(made(G, np.linspace(-1, 1, 15), lambda x, y: 3 + x + 0 * y))
    (axes,) = panels(plot.figure([run], style="surface"))
    cells = [c for c in axes.collections if isinstance(c, Poly3DCollection) and len(c.get_facecolors()) > 200]
    (sheet,) = cells
    x, y, z = np.reshape(sheet._faces, (-1, 3)).T
    assert np.allclose(z, 3 + x)
    assert np.ptp(y) == 2


@pytest.mark.parametrize("style", STYLES)
def test_theta_is_marked_at_the_origin(style):
    for axes in panels(plot.figure([three()], style=style)):
        (star,) = by_gid(axes, "theta")
        x, y = star.get_data_3d()[:2] if style == "surface" else star.get_data()
        assert (star.get_marker(), list(x), list(y)) == ("*", [0], [0])


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("x", "y", "there"),
    [
        ((0, 1), (0.5, 0.5), False),
        ((0.25, 1), (-1, 1), False),
        ((0, 1), (-1, 0), True),
        ((0, 1), (0, 0), True),
    ],
)
def test_theta_is_marked_whole_and_in_the_title_where_the_grid_holds_it_only(style, x, y, there):
    (x, y) = (np.linspace(*ends, 3 if ends[0] < ends[1] else 1) for ends in (x, y))
    run = a_run(made(x, y, lambda x, y: 1 + x**2 + y**2), trajectory=a_trajectory())
    figure = plot.figure([run], style=style)
    (axes,) = panels(figure)
    stars = by_gid(axes, "theta")
    assert len(stars) == there
    assert all(not star.get_clip_on() for star in stars if style != "surface")
    assert ("☆" in axes.get_title(loc="left")) is there
    if style != "surface":
        assert ("from the star" in figure.get_supxlabel().replace("\n", " ")) is there


# Geometry


@pytest.mark.parametrize("cosine", [0.0, 0.05, 0.46, -0.6])
@pytest.mark.parametrize("lengths", [(8.3, 9.9), (1.0, 2.5), (5.0, 2.0)])
def test_directions_are_drawn_at_their_true_lengths_and_angle(cosine, lengths):
    u, v = (a_direction(norm=length) for length in lengths)
    figure = plot.figure([a_run(made(G, G, bowl(0)), x=u, y=v, cosine=cosine)])
    (axes,) = panels(figure)
    lies = plane({"directions": {"x": u, "y": v, "cosine": cosine}})
    figure.draw_without_rendering()
    corners = lies.place([0, 1, 0], [0, 0, 1], sheared=lies.sheared(G, G))
    origin, along, up = axes.transData.transform(np.stack(corners, axis=1))
    along, up = along - origin, up - origin
    shown = cosine if abs(cosine) > 0.1 else 0.0
    assert np.hypot(*up) / np.hypot(*along) == pytest.approx(lengths[1] / lengths[0], rel=1e-6)
    assert along @ up / np.hypot(*up) / np.hypot(*along) == pytest.approx(shown, abs=1e-6)
    said = f"Directions at their true angle of {math.degrees(math.acos(cosine)):.0f}°" if shown else ""
    assert figure.get_supxlabel().rstrip(".") == said


def test_lengths_that_differ_too_much_are_not_drawn_to_scale_and_it_says_so():
    run = a_run(made(G, G, bowl(0)), y=a_direction("gradient", "gradient", 0.5), cosine=0.3)
    figure = plot.figure([run])
    said = figure.get_supxlabel()
    assert re.fullmatch(r"Axes not to one scale: .* = 0.041 .*, at 73°.", said)


def test_axes_not_to_one_scale_whose_norms_are_equal_are_said_to_be_no_more_than_that():
    u, long = a_direction(norm=1.0), np.linspace(-10, 10, 21)
    figure = plot.figure([a_run(made(G, long, bowl(0)), x=u, y=u)])
    assert figure.get_supxlabel() == "Axes not to one scale."


@pytest.mark.parametrize(
    ("cosine", "lengths", "said"),
    [
        (0.97, (8.0, 8.0), "Axes meet at 14°, drawn at right angles."),
        (-0.97, (8.0, 8.0), "Axes meet at 166°, drawn at right angles."),
        (
            0.97,
            (8.0, 4.0),
            r"Axes not to one scale: $\|v\|$ = 0.5 $\|u\|$. Axes meet at 14°, drawn at right angles.",
        ),
        (0.9, (8.0, 8.0), "Directions at their true angle of 26°."),
    ],
)
@pytest.mark.parametrize("style", ["contour", "heat"])
def test_a_plane_that_would_be_a_sliver_is_a_square_that_tells_the_angle(style, cosine, lengths, said):
    u, v = (
        a_direction("checkpoint", f"runs/{n}.pt", length) for n, length in zip("bc", lengths, strict=True)
    )
    figure = plot.figure([a_run(made(G, G, bowl(0)), x=u, y=v, cosine=cosine)], style=style)
    assert figure.get_supxlabel().replace("\n", " ") == said
    (axes,), (bar,) = panels(figure), bars(figure)
    figure.draw_without_rendering()
    if abs(cosine) <= 0.9:
        return
    origin, along, up = axes.transData.transform([(0, 0), (1, 0), (0, 1)])
    assert up - origin == pytest.approx([0, along[0] - origin[0]])
    assert along[1] == pytest.approx(origin[1])
    room = axes.get_window_extent()
    assert room.width == pytest.approx(room.height)
    assert room.height > 1.5 * figure.dpi
    assert bar.get_window_extent().height == pytest.approx(room.height, rel=0.02)
    assert not axes.xaxis.label.get_window_extent().overlaps(axes.yaxis.label.get_window_extent())


@pytest.mark.parametrize(
    ("direction", "label"),
    [
        (a_direction(), "filter direction 1\n(unit: $\\|u\\|$ = 12.3)"),
        (a_direction("eigenvector", "eigenvector:2", 1.0), "eigenvector 2\n(unit: $\\|u\\|$ = 1)"),
        (a_direction("gradient", "gradient", 1.0), "gradient\n(unit: $\\|u\\|$ = 1)"),
        (a_direction("pca", "pca:1", 1.0, explained=0.8212), "PC 1: 82.1 %\n(unit: $\\|u\\|$ = 1)"),
        (a_direction("checkpoint", "runs/b$.pt", 9.87), "towards b\\$\n(unit: $\\|u\\|$ = 9.87)"),
        (a_direction("file", "runs/s.h5:sharpness_0/vectors:1", 2.0), "vectors:1\n(unit: $\\|u\\|$ = 2)"),
    ],
)
def test_an_axis_says_its_direction_and_its_unit(direction, label):
    (axes,) = panels(plot.figure([a_run(made(G, G, bowl(0)), x=direction, y=direction)]))
    assert axes.get_xlabel() == label
    assert axes.get_ylabel() == label.replace("|u|", "|v|").replace(r"\|u\|", r"\|v\|")


# What is on the plane


def a_trajectory(**fields) -> dict:
    given = {
        "names": ["e0", "e1", "e2", "e3"],
        "x": [2.0, -0.8, -0.5, 0.0],
        "y": [0.0, 0.8, 0.1, 0.0],
        "residual": [3.0, 2.0, 1.0, 0.0],
        "relative_residual": [0.9, 0.6, 0.3, 0.0],
        "losses": {"0|none": [2.3, 1.5, 0.8, 0.5]},
    }
    return {**given, **fields}


@pytest.mark.parametrize("cosine", [0.0, 0.5])
@pytest.mark.parametrize("style", ["contour", "heat"])
def test_a_trajectory_is_a_line_of_circles_in_the_colours_of_their_own_losses(style, cosine):
    told = a_trajectory()
    figure = plot.figure([a_run(made(G, G, bowl(0)), trajectory=told, cosine=cosine)], style=style)
    (axes,) = panels(figure)
    (line,), (circles,) = by_gid(axes, "trajectory"), by_gid(axes, "checkpoints")
    ratio = 11.9 / 12.3
    x = np.array(told["x"]) + cosine * ratio * np.array(told["y"])
    y = np.array(told["y"]) * (ratio * math.sqrt(1 - cosine**2) if cosine else 1.0)
    assert np.allclose(line.get_xydata(), np.stack([x, y], axis=1))
    assert np.allclose(circles.get_offsets(), line.get_xydata())
    assert list(circles.get_array()) == told["losses"]["0|none"]
    assert (circles.norm.vmin, circles.norm.vmax) == (0.5, 100)
    assert (np.diff(circles.get_sizes()) < 0).all()
    said = figure.get_supxlabel().replace("\n", " ")
    assert "lies off it (0 to 90 %)" in said
    assert "1 of 4 checkpoints lie beyond the edges" in said
    words = [text.get_text() for text in axes.texts]
    assert "first" not in words  # beyond the edge
    assert "last" not in words  # the star


def test_first_and_last_are_marked_where_they_can_be_seen():
    told = a_trajectory(x=[0.9, 0.5, 0.2, -0.4], y=[-0.9, -0.5, -0.5, 0.4])
    (axes,) = panels(plot.figure([a_run(made(G, G, bowl(0)), trajectory=told)]))
    words = {text.get_text(): text for text in axes.texts if text.get_text() in ("first", "last")}
    assert words["first"].xy == (0.9, -0.9)
    assert words["last"].xy == (-0.4, 0.4)
    for word in words.values():
        box, room = word.get_window_extent(), axes.get_window_extent()
        assert room.x0 <= box.x0 < box.x1 <= room.x1


def test_circles_of_a_budget_without_losses_are_white():
    (axes,) = panels(plot.figure([a_run(made(G, G, bowl(0)), trajectory=a_trajectory(losses={}))]))
    (circles,) = by_gid(axes, "checkpoints")
    assert np.allclose(circles.get_facecolors()[:, :3], 1)


@pytest.mark.parametrize("cosine", [0.0, 0.46])
def test_the_checkpoints_that_span_a_plane_are_named_where_they_lie(cosine):
    b, c = (a_direction("checkpoint", f"runs/{name}.pt", 8.0) for name in "bc")
    grid = np.linspace(-0.4, 1.4, 19)
    run = a_run(made(grid, grid, lambda x, y: 1 + x**2 + y**2), x=b, y=c, cosine=cosine, path="runs/a.pt")
    (axes,) = panels(plot.figure([run]))
    at = {text.get_text(): text.xy for text in axes.texts if text.get_text() in ("a", "b", "c")}
    corner = (cosine, math.sqrt(1 - cosine**2)) if cosine else (0.0, 1.0)
    assert at["a"] == pytest.approx((0, 0))
    assert at["b"] == pytest.approx((1, 0))
    assert at["c"] == pytest.approx(corner)


# Cells that are missing


@pytest.mark.parametrize("style", ["contour", "heat"])
def test_cells_that_are_not_finite_are_hatched_and_counted(style):
    loss = bowl(0)(*np.meshgrid(G, G))
    loss[15:, 15:], loss[4, 3] = math.nan, math.inf
    figure = plot.figure([a_run(made(G, G, loss), made(G, G, bowl(0)))], style=style)
    bad, good = panels(figure)
    (hatched,) = by_gid(bad, "not finite")
    assert hatched.get_hatch()
    assert not by_gid(good, "not finite")
    boxes = np.array([path.vertices[:4] for path in hatched.get_paths()])
    for x, y in [(G[3], G[4]), (G[20], G[20])]:
        assert any((box.min(axis=0) <= (x, y)).all() and ((x, y) <= box.max(axis=0)).all() for box in boxes)
    assert "Hatched: the loss is not finite, (a) 37 cells." in figure.get_supxlabel()
    corner = pixels(figure, bad)[4:20, -20:-4]
    assert np.ptp(corner, axis=2).max() < 0.02  # grey, no colour of the scale
    assert np.ptp(corner) > 0.1  # and not even


@pytest.mark.parametrize("style", STYLES)
def test_cells_that_are_not_done_are_blank_and_it_says_so(style):
    done = np.ones((21, 21), dtype=bool)
    done[:8] = False
    loss = np.where(done, bowl(0)(*np.meshgrid(G, G)), NAN)
    run = a_run(made(G, G, loss, done=done, centre_loss=0.5), complete=False)
    figure = plot.figure([run], style=style)
    said = figure.get_supxlabel().replace("\n", " ")
    assert "273 of 441 cells done" in said
    assert "ended before it was done" in said
    if style != "surface":
        (axes,) = panels(figure)
        assert not by_gid(axes, "not finite")
        assert pixels(figure, axes)[-20:-4, 4:-4].min() == 1


def test_interpolated_cells_are_told_with_their_error():
    which = np.zeros((21, 21), dtype=bool)
    which[::2] = True
    run = a_run(made(G, G, bowl(0), interpolated=which, interpolation_error=0.0031))
    assert "splines, off by 0.0031 (rms): 52 % of the cells" in plot.figure([run]).get_supxlabel()


@pytest.mark.parametrize("style", STYLES)
def test_losses_above_the_cap_are_one_band_and_counted(style):
    figure = plot.figure([a_run(made(G, G, bowl(0)))], style=style, cap=20.0)
    above = int((bowl(0)(*np.meshgrid(G, G)) > 20).sum())
    said = figure.get_supxlabel().replace("\n", " ")
    assert f"Cut at 20: {above} of 441 cells lie above, up to 58" in said
    (bar,) = bars(figure)
    assert bar.get_yticklabels()[-1].get_text() == r"$\geq$20"
    if style != "surface":
        corner = pixels(figure, panels(figure)[0])[5, -6]
        assert np.allclose(corner, matplotlib.colors.to_rgb("#fff7d6"), atol=0.02)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("nx", "ny", "loss"),
    [
        (1, 1, lambda x, y: 2 + x + y),
        (1, 9, lambda x, y: 2 + x + y),
        (9, 1, lambda x, y: 2 + x + y),
        (2, 2, lambda x, y: 2 + x + y),
        (3, 31, lambda x, y: 2 + x + y),
        (9, 5, lambda x, y: 2.3 + 0 * x),
        (9, 5, lambda x, y: NAN * x),
        (1, 5, lambda x, y: NAN * x),
    ],
)
def test_every_grid_is_drawn(style, nx, ny, loss):
    x, y = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in (nx, ny))
    figure = plot.figure([a_run(made(x, y, loss))], style=style, error=style == "heat")
    assert len(panels(figure)) == 1 + (style == "heat")
    assert pixels(figure).min() < 0.5


def test_a_grid_with_holes_everywhere_is_drawn_as_cells():
    done = np.add.outer(np.arange(21), np.arange(21)) % 2 == 0
    run = a_run(made(G, G, np.where(done, 1.0 + np.abs(G), NAN), done=done))
    (axes,) = panels(plot.figure([run]))
    assert not any(getattr(c, "filled", False) for c in axes.collections)


# The numbers of the levels


@pytest.mark.parametrize("grid", [np.linspace(-1, 1, 21), np.linspace(-1, 1, 51)])
def test_levels_are_labelled_inside_of_the_axes_and_apart_from_everything_else(grid):
    figure = plot.figure([three(grid)])
    pixels(figure)
    seen = 0
    for axes in panels(figure):
        room, (star,) = axes.get_window_extent(), by_gid(axes, "theta")
        numbers = [text for text in axes.texts if text.get_text().replace(".", "").isdigit()]
        seen += len(numbers)
        assert {text.get_text() for text in numbers} <= {"0.5", "1", "2", "5", "10", "20", "50"}
        boxes = [text.get_window_extent() for text in numbers] + [star.get_window_extent()]
        for i, box in enumerate(boxes):
            assert room.x0 <= box.x0 < box.x1 <= room.x1
            assert room.y0 <= box.y0 < box.y1 <= room.y1
            assert not any(box.overlaps(other) for other in boxes[:i])
        assert all(text.get_fontsize() >= 7 for text in numbers)
    assert seen >= 9


def test_all_text_is_at_least_7_points():
    for style in ("contour", "heat", "surface", "line"):
        figure = plot.figure([one()], style=style, error=style == "heat")
        texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text()]
        assert min(text.get_fontsize() for text in texts) >= 7


# Errors


@pytest.mark.parametrize("steepness", [0.1, 0.5, 2, 5, 20, 300])
def test_the_levels_beside_surfaces_do_not_touch(steepness):
    loss = [lambda x, y, e=e: 1 + e + steepness * (x**2 + y**2) for e in (0.0, 0.05, 0.1)]
    run = a_run(*(made(G, G, each, eps=0.05 * i, budget=f"{i}") for i, each in enumerate(loss)))
    figure = plot.figure([run], style="surface", error=True)
    pixels(figure)
    for axes in panels(figure)[:3]:
        labels = [tick.label1 for tick in axes.zaxis.get_major_ticks()]
        spans = sorted((box.y0, box.y1) for box in (label.get_window_extent() for label in labels))
        assert len(spans) >= 2
        assert all(below[1] <= above[0] for below, above in itertools.pairwise(spans))


def test_a_row_of_errors_shows_the_standard_error_and_the_gap_where_it_was_checked():
    result = made(G, G, bowl(0.1), eps=0.1, budget="0.1")
    gap, redone = np.full((21, 21), NAN), np.zeros((21, 21), dtype=bool)
    gap[3, 7], gap[12, 5], gap[20, 20], redone[12, 5] = 0.02, 0.3, -0.01, True
    checked = dataclasses.replace(result, gap=gap, redone=redone, cells_checked=3, inner_gap=0.1)
    clean = made(G, G, bowl(0), gap=np.zeros((21, 21)))  # nothing to lose to, nothing to mark
    figure = plot.figure([a_run(clean, checked)], error=True)
    first, second = panels(figure)[2:]
    assert len(bars(figure)) == 2
    assert bars(figure)[1].get_ylabel() == "error of the loss"
    assert first.get_title(loc="left") == r"(c) $\epsilon$ = 0"
    assert second.get_title(loc="left").endswith("inner gap 0.10000 ± 0.00040")
    assert not any(len(marks.get_offsets()) for marks in by_gid(first, "gap"))
    circles, squares = by_gid(second, "gap")
    assert circles.get_offsets().tolist() == [[G[7], G[3]], [G[20], G[20]]]
    assert list(circles.get_array()) == [0.02, -0.01]
    assert squares.get_offsets().tolist() == [[G[5], G[12]]]
    (mesh,) = [c for c in second.collections if isinstance(c, matplotlib.collections.QuadMesh)]
    assert np.allclose(mesh.get_array(), checked.loss_stderr)
    assert (mesh.norm.vmin, mesh.norm.vmax) == (circles.norm.vmin, circles.norm.vmax)


# Lines


def barrier(height: float):
    return lambda x: 0.5 + height * np.exp(-(((x - 0.5) / 0.2) ** 2))


def lines(**told) -> Run:
    x = np.linspace(-0.25, 1.25, 31)
    results = [made(x, None, barrier(1), eps=0.0, budget="0")]
    for eps in (0.05, 0.1):
        for adversary in ("reattack", "frozen"):
            height = 1 + (20 if adversary == "reattack" else 10) * eps
            results.append(made(x, None, barrier(height), eps=eps, budget=f"{eps:g}", adversary=adversary))
    return a_run(*results, x=a_direction("checkpoint", "runs/b.pt", 9.0), path="runs/a.pt", **told)


def curves(axes):
    return [line for line in axes.lines if len(line.get_xdata()) == 31 and line.get_linestyle() != "None"]


def test_a_line_has_a_curve_for_each_result_and_the_accuracy_below():
    run = lines()
    figure = plot.figure([run])
    loss, accuracy = figure.axes
    for axes, name, factor in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
        assert len(curves(axes)) == 5
        for curve, found in zip(curves(axes), run.results, strict=True):
            assert np.allclose(curve.get_ydata(), factor * getattr(found, name))
            assert curve.get_linestyle() == ("--" if found.adversary == "frozen" else "-")
    colours = {curve.get_color() for curve in curves(loss)}
    assert len(colours) == 3  # one for each eps
    assert accuracy.get_ylim() == (0, 100)
    assert accuracy.get_ylabel() == "accuracy (%)"
    (legend,) = figure.legends
    told = [text.get_text() for text in legend.get_texts()]
    assert told == [r"$\epsilon$ = 0", r"$\epsilon$ = 0.05", r"$\epsilon$ = 0.1", "frozen"]


def test_the_ends_of_a_line_between_checkpoints_are_marked_and_named():
    loss, accuracy = plot.figure([lines()]).axes
    assert accuracy.get_xlabel() == "towards b\n(unit: $\\|u\\|$ = 9)"
    for axes in (loss, accuracy):
        assert [line.get_xdata()[0] for line in by_gid(axes, "end")] == [0, 1]
    assert [(text.get_text(), text.xy[0]) for text in loss.texts] == [("a", 0), ("b", 1)]
    (alone, _) = plot.figure([a_run(made(G, None, lambda x: 1 + x**2))]).axes
    assert [(text.get_text(), text.xy[0]) for text in alone.texts] == [(r"$\theta$", 0)]


@pytest.mark.parametrize(("height", "kind"), [(4.0, "linear"), (4.6, "log")])
def test_a_line_is_logarithmic_only_across_a_decade(height, kind):
    run = a_run(made(np.linspace(0, 1, 31), None, barrier(height)))
    loss, _ = plot.figure([run]).axes
    assert loss.get_yscale() == kind
    low, high = loss.get_ylim()
    assert low < run.results[0].loss.min() < run.results[0].loss.max() < high


def test_the_error_of_a_line_is_a_band_of_its_standard_error_and_bars_of_the_gap():
    run = lines()
    gap = np.full(31, NAN)
    gap[15] = 0.4
    run.results[1] = dataclasses.replace(run.results[1], gap=gap)
    loss, _ = plot.figure([run], error=True).axes
    bands = [c for c in loss.collections if isinstance(c, matplotlib.collections.PolyCollection)]
    assert len(bands) == 5
    first = run.results[0]
    assert bands[0].get_paths()[0].get_extents().ymax == pytest.approx((first.loss + first.loss_stderr).max())
    ends = [
        segment
        for c in loss.collections
        if isinstance(c, matplotlib.collections.LineCollection)
        for segment in c.get_segments()
    ]
    top = run.results[1].loss[15]
    assert any(np.allclose(e[:, 1], [top, top + 0.4]) for e in ends)
    assert not [
        c
        for c in plot.figure([run]).axes[0].collections
        if isinstance(c, matplotlib.collections.PolyCollection)
    ]


@pytest.mark.parametrize("height", [0.5, 40.0])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_bands_and_bars_of_a_line_lie_within_its_axes(height, share):
    x, gap = np.linspace(0, 1, 31), np.full(31, NAN)
    loss = barrier(height)(x)
    top = loss.argmax()
    gap[top] = 2 * height
    found = made(x, None, loss, eps=0.1, loss_stderr=share * loss, gap=gap)
    low, high = plot.figure([a_run(found)], error=True).axes[0].get_ylim()
    assert high > max((loss * (1 + share)).max(), loss[top] + 2 * height)
    assert low < loss.min() * max(1 - share, 0.1)
    bare = plot.figure([a_run(found)]).axes[0].get_ylim()
    assert low < bare[0] < bare[1] < high


def test_a_loss_on_a_line_that_is_not_finite_is_a_cross_below_and_a_gap_in_the_curve():
    loss = 1 + G**2
    loss[4] = math.inf
    figure = plot.figure([a_run(made(G, None, loss))])
    (cross,) = [line for line in by_gid(figure.axes[0], "not finite") if len(line.get_xdata())]
    assert list(cross.get_xdata()) == [G[4]]
    assert "Crosses: the loss is not finite, 1 cells" in figure.get_supxlabel()


def test_checkpoints_of_a_trajectory_on_a_line_lie_at_their_own_losses():
    told = a_trajectory(y=None, losses={"0|none": [2.3, 1.5, 0.8, 0.5]})
    loss, _ = plot.figure([a_run(made(G, None, lambda x: 1 + x**2), trajectory=told)]).axes
    (circles,) = [c for c in loss.collections if len(c.get_offsets()) == 4]
    assert circles.get_offsets().tolist() == [
        list(at) for at in zip(told["x"], [2.3, 1.5, 0.8, 0.5], strict=True)
    ]


def test_circles_on_a_line_are_in_the_legend_and_explained_below():
    told = a_trajectory(y=None, losses={"0|none": [9.0, 1.5, 1.8, 1.2]})
    figure = plot.figure([a_run(made(G, None, lambda x: 1 + x**2), trajectory=told)])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [r"$\epsilon$ = 0", "checkpoint"]
    said = " ".join(figure.get_supxlabel().split())
    assert "Circles: checkpoints projected onto the line, each at its own loss; the larger, the more" in said
    assert "1 of 4 circles lie beyond the edges" in said
    for bare in (a_run(made(G, None, lambda x: 1 + x**2)), one()):
        figure = plot.figure([bare], style="line")
        assert "Circles" not in figure.get_supxlabel()
        assert "checkpoint" not in [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_sections_of_a_plane_are_its_row_and_its_column_through_theta():
    y = np.linspace(-0.5, 0.5, 11)
    result = made(G, y, lambda x, y: 1 + x + 10 * y**2)
    across, up = plot.sections(result)
    assert np.allclose(across.loss, 1 + G)
    assert np.allclose(up.loss, 1 + 10 * y**2)
    assert across.groups.shape == (21, 4)
    figure = plot.figure([a_run(result)], style="line")
    first, second, below_first, below_second = figure.axes
    assert np.allclose(curves_of(first, 21)[0].get_ydata(), 1 + G)
    assert np.allclose(curves_of(second, 11)[0].get_ydata(), 1 + 10 * y**2)
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["(a) $y$ = 0", "(b) $x$ = 0"]
    assert below_first.get_xlabel().startswith("filter direction 1")
    assert below_second.get_xlabel().startswith("filter direction 2")
    assert first.get_ylim() == second.get_ylim()


def curves_of(axes, count):
    return [line for line in axes.lines if len(line.get_xdata()) == count]


# Files


@pytest.mark.parametrize(
    ("style", "ending"),
    [("contour", ".pdf"), ("contour", ".png"), ("contour", ".svg"), ("heat", ".pdf"), ("surface", ".pdf"),
     ("line", ".svg")],
)  # fmt: skip
def test_the_same_results_give_the_same_bytes(style, ending, tmp_path, monkeypatch):
    for name in ("a", "b"):
        plot.save(plot.figure([one()], style=style, error=style == "heat"), tmp_path / f"{name}{ending}")
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


@pytest.mark.parametrize("style", STYLES)
def test_a_vector_file_of_three_panels_is_small_and_its_fonts_are_embedded(style, tmp_path):
    plot.save(plot.figure([three(np.linspace(-1, 1, 51))], style=style), tmp_path / "a.pdf")
    content = (tmp_path / "a.pdf").read_bytes()
    assert len(content) < 300_000
    assert b"/FontFile2" in content
    assert b"/Type3" not in content


@pytest.mark.parametrize("style", [*STYLES, "line"])
def test_nothing_is_cut_off_at_the_border_and_the_page_is_as_wide_as_it_is_to_be(style):
    runs, width = ([one()], 3.4) if style == "heat" else ([three(trajectory=a_trajectory())], 7.0)
    figure = plot.figure(runs, style=style)
    assert figure.get_figwidth() == (6.8 if style == "line" else width)
    figure.set_dpi(200)
    ink = (pixels(figure) < 0.9).any(axis=2)
    assert ink.mean() > 0.01
    border = np.concatenate([ink[:2].flat, ink[-2:].flat, ink[:, :2].flat, ink[:, -2:].flat])
    assert not border.any()


def test_no_setting_of_the_callers_matplotlib_is_changed():
    before = dict(matplotlib.rcParams)
    for style in (*STYLES, "line"):
        plot.figure([one()], style=style, error=style == "heat")
    assert dict(matplotlib.rcParams) == before


# For scripts


@pytest.mark.parametrize("style", STYLES)
def test_one_surface_is_drawn_on_axes_of_the_callers_own_without_provenance(style):
    figure = Figure()
    axes = figure.add_subplot(projection="3d" if style == "surface" else None)
    result = made(G, G, bowl(0))
    shown = plot.surface(result, axes, style=style)
    bar = figure.colorbar(shown, ax=axes)
    assert (bar.vmin, bar.vmax) == pytest.approx((0.5, 100))
    beside = plot.surface(result, axes, style=style, beside=[made(G, G, bowl(4))])
    assert beside.norm.vmax > 100
    assert axes.get_xlabel() == "$x$"
    figure.draw_without_rendering()


def test_a_line_is_drawn_on_axes_of_the_callers_own_without_provenance():
    axes = Figure().add_subplot()
    plot.line(lines().results, axes, error=True)
    assert len(curves(axes)) == 5
    assert axes.get_xlabel() == "$x$"


def test_what_cannot_be_drawn_is_refused_in_words():
    axes, plane_run, line_run = Figure().add_subplot(), three(), lines()
    for call, words in [
        (
            lambda: plot.figure([plane_run], style="pie"),
            "pie is not known; there are contour, surface, heat, line",
        ),
        (lambda: plot.figure([line_run], style="heat"), "needs a plane, and these results lie on a line"),
        (lambda: plot.figure([line_run], cap=3.0), "--cap cuts colours, and lines have none"),
        (lambda: plot.surface(line_run.results[0], axes), "no plane to draw; use landscape.plot.line"),
        (lambda: plot.surface(plane_run.results[0], axes, style="surface"), 'projection="3d"'),
        (lambda: plot.surface(plane_run.results[0], axes, style="pie"), "there are contour, heat, surface"),
        (lambda: plot.line(plane_run.results, axes), "is no line; give landscape.plot.sections of it"),
        (lambda: plot.line(line_run.results, axes, quantity="time"), "there are loss, accuracy"),
        (lambda: plot.figure([plane_run, line_run]), "different kinds cannot share a figure: line, surface"),
    ]:
        with pytest.raises(InputError, match=re.escape(words)):
            call()
