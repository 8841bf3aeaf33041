"""The figure of loss surfaces and lines: panels on one scale, with what a reader must know of them below."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

from landscape.errors import InputError
from landscape.format import plus_minus
from landscape.plot.captions import caption, circles, circles_on_lines, ended, missing
from landscape.plot.errors import error_scale, errors
from landscape.plot.levels import colour_bar
from landscape.plot.line import QUANTITIES, line, own_losses, sections
from landscape.plot.plane import Plane, holds_theta, plane, short, stem, units
from landscape.plot.solid import few_levels
from landscape.plot.style import STYLE, WIDTHS, eps_is
from landscape.plot.surface import draw, shared_scale
from landscape.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import LayoutEngine
    from matplotlib.text import Text

    from landscape.surfaces.surface import Surface

NORMS = {"linf": r"$\ell_\infty$", "l2": r"$\ell_2$"}
STYLES = ("contour", "surface", "heat", "line")
SMALL = 7  # points
PAD, TALL = 0.04, 4.0  # inches: around everything; of a row of panels at most
BANDS = "Bands: the standard error over the examples; bars: what a much stronger attack adds"
ERRORS = (
    "Error: the standard error over the examples; marks: the inner gap of the cells checked, squares "
    "of those attacked further for it"
)


@dataclass(frozen=True, eq=False)
class Shown:
    """A result, the plane that it lies in, and its name among the panels."""

    result: Surface
    lies: Plane
    title: str


def surfaces(
    runs: Sequence[Run], *, style: str | None = None, error: bool = False, cap: float | None = None
) -> Figure:
    """A panel for each result of each run, on one colour scale; lines of a run share one.

    style: contour, surface (three dimensions), heat or line; contour by default, line for what lies on one
    error: a further row, how sure the loss is; bands and bars on a line
    cap: losses above it are drawn as one band
    """
    flat = any(result.y is None for run in runs for result in run.results)
    style = style or ("line" if flat else "contour")
    if style not in STYLES:
        raise InputError(f"--style {style} is not known; there are {', '.join(STYLES)}")
    if flat and style != "line":
        raise InputError(f"--style {style} needs a plane, and these results lie on a line; draw them as line")
    if cap is not None and style == "line":
        raise InputError("--cap cuts colours, and lines have none; leave it out")
    with matplotlib.rc_context(STYLE):
        return _lines(runs, error) if style == "line" else _planes(runs, style, error, cap)


def _planes(runs: Sequence[Run], style: str, error: bool, cap: float | None) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    panels = [
        Shown(result, plane(run.provenance), _title(result, run if len(runs) > 1 else None))
        for run in runs
        for result in run.results
    ]
    found = shared_scale([each.result for each in panels], cap)
    columns = 2 if len(panels) == 4 else min(len(panels), max(WIDTHS))
    rows = -(-len(panels) // columns)
    # Higher than it will be: the width is what limits the panels.
    layout = ConstrainedLayoutEngine(compress=True, w_pad=PAD, h_pad=PAD, wspace=0.02, hspace=0.04)
    canvas = Figure(figsize=(WIDTHS[columns], rows * (1 + error) * TALL), layout=layout)
    grid = canvas.add_gridspec(rows * (1 + error), columns)
    drawn: list[Axes] = []
    later = []
    for i, each in enumerate(panels):
        place = grid[i // columns, i % columns]
        axes = canvas.add_subplot(place, projection="3d" if style == "surface" else None)
        later.append(draw(each.result, axes, found, each.lies, style))
        if style == "surface":
            few_levels(axes, found)
        drawn.append(axes)
        _head(axes, each, _lettered(i, each.title, len(panels)))
    pad = 0.05 if style == "surface" else 0.015
    colour_bar(found, drawn, r"loss $L_\epsilon$", bands=style == "contour", rows=rows, pad=pad)
    if error:
        drawn += _errors(canvas, panels, grid, rows, columns)
    results, planes = [each.result for each in panels], [each.lies for each in panels]
    said = caption(runs, results, planes, found, lost="Holes" if style == "surface" else "Hatched")
    marked = units(planes) if style == "surface" else circles(results, planes)
    said = [*marked, *said, *([ERRORS] * error)]
    below = _say(canvas, said)
    if style != "surface":
        _say_once(drawn, columns)
    _fit(canvas, drawn, columns, below, layout)
    for write in later:
        write()
    return canvas


def _head(axes: Axes, shown: Shown, title: str) -> None:
    """A panel's title above its upper left corner."""
    result, lies = shown.result, shown.lies
    flat = axes.name == "rectilinear"
    middle = flat and result.y is not None and lies.sheared(result.x, result.y)
    # What is drawn in three dimensions leaves the top of its axes free.
    height = None if flat else 0.93
    axes.set_title(title, loc="center" if middle else "left", y=height, fontsize=STYLE["font.size"])


def _errors(canvas: Figure, panels: Sequence[Shown], grid: Any, rows: int, columns: int) -> list[Axes]:
    """Below the panels as many of their errors, on one scale of their own."""
    found, drawn = error_scale([each.result for each in panels]), []
    for i, each in enumerate(panels):
        axes = canvas.add_subplot(grid[rows + i // columns, i % columns])
        errors(each.result, axes, found, each.lies)
        told = ""
        if each.result.cells_checked:
            told = f"\ninner gap {plus_minus(each.result.inner_gap, each.result.inner_gap_stderr)}"
        name = _lettered(len(panels) + i, each.title.splitlines()[0], 2 * len(panels))
        _head(axes, each, name + told)
        drawn.append(axes)
    colour_bar(found, drawn, "error of the loss", bands=False, rows=rows)
    return drawn


def _say_once(drawn: Sequence[Axes], columns: int) -> None:
    """Labels of y that the panel to the left has are left out, and those of x that the one below has."""
    for i, axes in enumerate(drawn):
        left = drawn[i - 1] if i % columns else None
        if left and (left.get_ylabel(), left.get_ylim()) == (axes.get_ylabel(), axes.get_ylim()):
            axes.yaxis.label.set_visible(False)
            axes.tick_params(labelleft=False)
        below = drawn[i + columns] if i + columns < len(drawn) else None
        if below and below.get_xlabel() == axes.get_xlabel():
            axes.xaxis.label.set_visible(False)
            axes.tick_params(labelbottom=below.get_xlim() != axes.get_xlim())


def _say(canvas: Figure, said: Sequence[str]) -> Text:
    """Sentences below a figure, as wide as it is."""
    text = textwrap.fill(". ".join(said) + ("." if said else ""), round(19 * canvas.get_figwidth()))
    return canvas.supxlabel(text, fontsize=SMALL, color="0.3", ha="left", x=0.01)


def _fit(canvas: Figure, drawn: Sequence[Axes], columns: int, below: Text, layout: LayoutEngine) -> None:
    """The height that the panels take at this width, so that no blank is left between them."""
    layout.execute(canvas)
    heights = [
        max(box.height for axes in drawn[i : i + columns] if (box := axes.get_tightbbox()))
        for i in range(0, len(drawn), columns)
    ]
    needed = (sum(heights) + below.get_window_extent().height) / canvas.dpi + 2 * PAD * (len(heights) + 1)
    canvas.set_size_inches(canvas.get_figwidth(), needed)
    layout.execute(canvas)


def _lines(runs: Sequence[Run], error: bool) -> Figure:
    """A column for each line, or two for the sections of each plane: the loss above, the accuracy below."""
    from matplotlib.figure import Figure

    columns = [
        (run, [sections(result)[which] for result in run.results], which)
        for run in runs
        for which in range(len(sections(run.results[0])))
    ]
    across = 2 if len(columns) == 4 else min(len(columns), max(WIDTHS))
    groups = -(-len(columns) // across)
    canvas = Figure(figsize=(WIDTHS[across], groups * 3.4), layout="constrained")
    grid = canvas.subplots(2 * groups, across, squeeze=False, height_ratios=[1.7, 1] * groups)
    everything = [cut for _, cuts, _ in columns for cut in cuts]
    for i, (run, cuts, which) in enumerate(columns):
        pair = grid[2 * (i // across) : 2 * (i // across) + 2, i % across]
        for axes, quantity in zip(pair, QUANTITIES, strict=True):
            line(
                cuts, axes, quantity=quantity, provenance=run.provenance, beside=everything, error=error,
                along="y" if which else "x",
            )  # fmt: skip
            axes.yaxis.label.set_visible(not i % across)
            axes.tick_params(labelleft=not i % across)
        pair[0].xaxis.label.set_visible(False)
        pair[0].tick_params(labelbottom=False)
        if len(columns) > 1:
            name = [
                stem(run.provenance["checkpoint"]["path"]) if len(runs) > 1 else "",
                NORMS.get(cuts[0].norm, "") if len({cut.norm for cut in everything}) > 1 else "",
                _where(run, which),
            ]
            title = _lettered(i, ", ".join(filter(None, name)), len(columns))
            pair[0].set_title(title, loc="left", fontsize=STYLE["font.size"], pad=11)
    for axes in grid.flat:
        if not axes.has_data():
            axes.remove()
    told: dict[Any, Any] = {}
    for axes in canvas.axes:
        told |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if "frozen" in told:
        told["frozen"] = told.pop("frozen")  # last
    canvas.legend(
        told.values(), told, frameon=False, loc="outside upper left", ncols=min(len(told), across + 1),
        handlelength=1.6,
    )  # fmt: skip
    names = [
        _lettered(i, _budget(cut), len(columns)) for i, (_, cuts, _) in enumerate(columns) for cut in cuts
    ]
    said = missing(everything, [f"{name}:" for name in names], "Crosses")
    pairs = [(cut, plane(run.provenance)) for run, cuts, _ in columns for cut in cuts]
    losses = np.concatenate([np.asarray(own_losses(*pair), dtype=float) for pair in pairs])
    marked = circles_on_lines([lies for _, lies in pairs], losses, grid[0, 0].get_ylim())
    _say(canvas, [*([BANDS] * error), *marked, *said, *ended(runs)])
    return canvas


def _title(result: Surface, run: Run | None) -> str:
    """Which checkpoint where there are several, which eps, and the loss of θ itself."""
    star = "☆ " if result.y is not None and holds_theta(result.x, result.y) else ""
    loss = rf"{star}$L_\epsilon(\theta)$ = {plus_minus(result.centre_loss, result.centre_loss_stderr)}"
    if run is None:
        return f"{_budget(result)}\n{loss}"
    name = stem(run.provenance["checkpoint"]["path"])
    longer = 7 * (result.adversary == "frozen") + 4 * (result.norm == "l2")
    apart = ", " if len(name) + len(result.budget) + longer < 18 else "\n"
    return f"{name}{apart}{_budget(result)}\n{loss}"


def _budget(result: Surface) -> str:
    return eps_is(result) + (", frozen" if result.adversary == "frozen" else "")


def _where(run: Run, which: int) -> str:
    """Which row or column of a plane a section is."""
    result = run.results[0]
    if result.y is None:
        return ""
    other = (result.y, result.x)[which]
    return f"${'yx'[which]}$ = {short(other[np.abs(other).argmin()])}"


def _lettered(i: int, title: str, count: int) -> str:
    return f"({chr(97 + i % 26)}) {title}" if count > 1 else title
