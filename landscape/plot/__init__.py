"""Figures of results, one file for each kind, drawing on an Axes; nothing is computed here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

from landscape.errors import InputError, LandscapeError
from landscape.files import atomic
from landscape.plot.connect import connect_panels
from landscape.plot.evaluate import evaluate
from landscape.plot.gradient import gradient_noise, gradient_norms
from landscape.plot.grid import each_direction, each_result, each_run, run_name
from landscape.plot.line import line as line
from landscape.plot.line import sections as sections
from landscape.plot.perturbation import perturbation
from landscape.plot.scatter import scatter
from landscape.plot.sharpness import sharpness
from landscape.plot.style import HEIGHT, LINE, LOW, STYLE, WIDTHS, printable
from landscape.plot.surface import surface as surface
from landscape.plot.surfaces import surfaces
from landscape.plot.theory import excess, plane, shares, weight_norm
from landscape.plot.training import training
from landscape.plot.trajectory import trajectory_distance, trajectory_gradient, trajectory_loss
from landscape.results import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


FORMATS = (".pdf", ".png", ".svg")
PANELS = {
    "sharpness": each_run(sharpness),
    "gradient": each_run(gradient_norms, gradient_noise),
    "scatter": each_direction(scatter),
    "perturbation": each_direction(perturbation),
    "trajectory": each_run(trajectory_loss, trajectory_gradient, trajectory_distance),
    "evaluate": each_run(evaluate),
    "connect": connect_panels,
    "minimum": each_run(weight_norm, excess),
    "sets": each_run(shares),
    "plane": each_result(plane),
}
FIGURES = {"training": training}
SURFACES = ("surface", "line")
OWN_SCALES = {"gradient", "trajectory", "connect", "minimum"}  # each column of panels has its own scale
ONE_LEGEND = {"gradient", "trajectory", "perturbation", "connect"}  # for a column, where it tells no numbers
PASSES = 10  # of the layout, for panels of a fixed shape


def figure(
    runs: list[Run], *, style: str | None = None, error: bool = False, cap: float | None = None
) -> Figure:
    """The figure of one or several runs of one kind, panels for each, on one scale.

    style, error, cap: of a surface or a line, as `surfaces` has them
    """
    from matplotlib.figure import Figure

    kinds = {run.kind for run in runs}
    if len(kinds) != 1 or not runs:
        raise InputError(
            f"results of different kinds cannot share a figure: {', '.join(sorted(kinds)) or 'none came'}"
        )
    (kind,) = kinds
    known = (*PANELS, *FIGURES, *SURFACES)
    if kind not in known:
        raise InputError(f"results of the kind {kind!r} have no figure yet; there are {', '.join(known)}")
    for place, run in enumerate(runs, 1):
        if not run.results:
            raise InputError(f"file {place} of {len(runs)} holds no result to draw; leave it out")
    if kind in SURFACES:
        return surfaces(runs, style=style, error=error, cap=cap)
    if style or error or cap is not None:
        raise InputError(f"--style, --error and --cap are for surfaces and lines; {kind} has one figure")
    if kind in FIGURES:
        return _with_what_is_missing(FIGURES[kind](runs), runs)
    grid = PANELS[kind](runs)
    rows, columns = len(grid), max(len(row) for row in grid)
    shared: Any = "col" if kind in OWN_SCALES else "all"
    with matplotlib.rc_context(STYLE):
        canvas = Figure()
        places = canvas.subplots(rows, columns, sharey=shared, squeeze=False)
        lines, count, drawn = [0] * rows, sum(len(row) for row in grid), 0
        said: dict[int, list[str]] = {}  # the first legend of each column of panels
        for place in range(rows * columns):
            row, column = divmod(place, columns)
            axes = places[row, column]
            if column >= len(grid[row]):
                axes.remove()
                continue
            grid[row][column].draw(axes)
            axes.yaxis.label.set_visible(shared == "col" or column == 0)
            if shared == "all" and column:
                axes.tick_params(labelleft=False)
            legend, drawn = axes.get_legend(), drawn + 1
            told = [text.get_text() for text in legend.get_texts()]
            if count > 1:
                name = f"({chr(97 + (drawn - 1) % 26)}) {printable(grid[row][column].name)}".rstrip()
                if kind in ONE_LEGEND and told == said.get(column):
                    legend.remove()
                    axes.set_title(name, loc="left", fontsize=STYLE["font.size"])
                    lines[row] = max(lines[row], 1)
                    continue
                legend.set_title(name)
            said.setdefault(column, told)
            lines[row] = max(lines[row], len(told) + (count > 1))
        for above, below in zip(places[:-1].flat, places[1:].flat, strict=True):
            if below in canvas.axes and above.get_xlabel() == below.get_xlabel():
                above.xaxis.label.set_visible(False)
        canvas.set_size_inches(WIDTHS[columns], rows * (HEIGHT if rows < 3 else LOW) + LINE * sum(lines))
        if any(axes.get_aspect() != "auto" for axes in canvas.axes):
            _settle(canvas)
    return _with_what_is_missing(canvas, runs)


def _settle(canvas: Figure) -> None:
    """Let the layout find the height of panels of a fixed shape, which it only nears each time."""
    layout = canvas.get_layout_engine()
    assert layout is not None
    for _ in range(PASSES):
        layout.execute(canvas)


def _with_what_is_missing(canvas: Figure, runs: list[Run]) -> Figure:
    """The figure; below one of runs that ended before they were done it says so."""
    ended = [run for run in runs if not run.complete]
    if ended:
        names = [printable(run_name(run)) for run in ended if len(runs) > 1]
        which = f" ({', '.join(names)})" if names else ""
        width, height = canvas.get_size_inches()
        with matplotlib.rc_context(STYLE):
            canvas.set_size_inches(width, height + LINE)
            canvas.supxlabel(f"incomplete: ended before it was done{which}", color="0.4", fontsize=7)
    return canvas


def save(canvas: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PDF, PNG (300 dpi) or SVG, by the path's ending; equal figures give equal bytes."""
    ending = check_format(path)
    metadata = {".pdf": {"CreationDate": None}, ".png": {"Software": None}, ".svg": {"Date": None}}[ending]
    with matplotlib.rc_context(STYLE), atomic(path) as temporary:
        try:
            canvas.savefig(temporary, format=ending[1:], dpi=300, metadata=metadata)
        except (RuntimeError, ValueError) as error:
            raise LandscapeError(f"{path} could not be drawn: {error}") from error


def check_format(path: str | os.PathLike[str]) -> str:
    """The ending of a figure's path; InputError where no figure can be written so."""
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise InputError(f"{path}: a figure is written as {', '.join(FORMATS)}; end the path in one of these")
    return ending
