"""Figures of results, one function for each kind, drawing on an Axes; nothing is computed here."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.ticker
import numpy as np

from landscape.analyzers.perturbation import BETWEEN
from landscape.errors import InputError, LandscapeError
from landscape.files import atomic
from landscape.format import plus_minus
from landscape.log import running
from landscape.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".pdf", ".png", ".svg")
STYLE: Any = {
    "font.size": 8,
    "axes.labelsize": 9,
    "legend.fontsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,  # fonts embedded as outlines that journals accept
    "ps.fonttype": 42,
    "svg.hashsalt": "landscape",
    "figure.constrained_layout.use": True,
}
WIDTHS = {1: 3.4, 2: 6.8, 3: 7.0}  # inches, by the panels in a row: one column of a paper, or both
HEIGHT, LINE = 2.2, 0.14  # inches: of a panel, and of a line of the legend above it


@dataclass(frozen=True)
class Panel:
    """A panel of a figure: what it is of, for its title, and the function that draws it on an Axes."""

    name: str
    draw: Callable[[Axes], None]


def figure(runs: list[Run]) -> Figure:
    """The figure of one or several runs of one kind, panels for each, on one scale."""
    from matplotlib.figure import Figure

    kinds = {run.kind for run in runs}
    if len(kinds) != 1 or not runs:
        raise InputError(
            f"results of different kinds cannot share a figure: {', '.join(sorted(kinds)) or 'none came'}"
        )
    (kind,) = kinds
    if kind not in (*PANELS, *FIGURES):
        known = ", ".join((*PANELS, *FIGURES))
        raise InputError(f"results of the kind {kind!r} have no figure yet; there are {known}")
    for place, run in enumerate(runs, 1):
        if not run.results:
            raise InputError(f"file {place} of {len(runs)} holds no result to draw; leave it out")
    if kind in FIGURES:
        return FIGURES[kind](runs)
    grid = PANELS[kind](runs)
    rows, columns = len(grid), max(len(row) for row in grid)
    shared: Any = "col" if kind in OWN_SCALES else "all"
    with matplotlib.rc_context(STYLE):
        canvas = Figure()
        places = canvas.subplots(rows, columns, sharey=shared, squeeze=False)
        lines, count = [0] * rows, sum(len(row) for row in grid)
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
            legend = axes.get_legend()
            told = [text.get_text() for text in legend.get_texts()]
            if count > 1:
                name = f"({chr(97 + place % 26)}) {_printable(grid[row][column].name)}".rstrip()
                if shared == "col" and told == said.get(column):
                    legend.remove()
                    axes.set_title(name, loc="left", fontsize=STYLE["font.size"])
                    lines[row] = max(lines[row], 1)
                    continue
                legend.set_title(name)
            said.setdefault(column, told)
            lines[row] = max(lines[row], len(told) + (count > 1))
        canvas.set_size_inches(WIDTHS[columns], rows * HEIGHT + LINE * sum(lines))
    return canvas


def _each_run(*drawers: Callable[..., None]) -> Callable[[list[Run]], list[list[Panel]]]:
    """A panel for each run, or where there are several drawers a row for each run."""

    def panels(runs: list[Run]) -> list[list[Panel]]:
        names = [Path(run.provenance["checkpoint"]["path"]).stem if len(runs) > 1 else "" for run in runs]
        rows = [
            [Panel(name, functools.partial(drawer, run, beside=runs)) for drawer in drawers]
            for name, run in zip(names, runs, strict=True)
        ]
        return _wrapped(rows)

    return panels


def _each_direction(drawer: Callable[..., None]) -> Callable[[list[Run]], list[list[Panel]]]:
    """A row for each run with a panel for each direction."""

    def panels(runs: list[Run]) -> list[list[Panel]]:
        rows = []
        for run in runs:
            ways = list(dict.fromkeys(result.direction for result in run.results))
            stem = Path(run.provenance["checkpoint"]["path"]).stem if len(runs) > 1 else ""
            names = [
                ", ".join(filter(None, (stem, way if len(ways) > 1 or not stem else ""))) for way in ways
            ]
            rows.append(
                [
                    Panel(name, functools.partial(drawer, run, direction=way, beside=runs))
                    for name, way in zip(names, ways, strict=True)
                ]
            )
        return _wrapped(rows)

    return panels


def _wrapped(rows: list[list[Panel]]) -> list[list[Panel]]:
    """Rows no longer than a page is wide; single panels side by side."""
    most = max(len(row) for row in rows)
    if most == 1 or len(rows) == 1:
        panels = [panel for row in rows for panel in row]
        columns = 2 if len(panels) == 4 else min(len(panels), max(WIDTHS))
        return [panels[i : i + columns] for i in range(0, len(panels), columns)]
    return [row[i : i + max(WIDTHS)] for row in rows for i in range(0, len(row), max(WIDTHS))]


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


def sharpness(run: Run, axes: Axes, *, beside: Sequence[Run] = ()) -> None:
    """Eigenvalues with residual bars against their index, a curve for each eps, the trace in the legend.

    Bands: the standard error of the eigenvalues if the examples are a sample of more.
    Curves that did not converge have hollow markers. beside: runs in other panels, for a scale in common
    """
    most = max(len(r.eigenvalues) for r in run.results)
    for result, colour in zip(run.results, _colours(len(run.results)), strict=True):
        # Of the smallest eigenvalues the smallest is the first.
        order = slice(None, None, -1 if result.which == "SA" else 1)
        label = rf"$\epsilon$ = {result.budget}"
        if np.isfinite(result.trace):
            label += f", tr $H$ = {_mathematics(plus_minus(result.trace, result.trace_stderr))}"
        index, values = np.arange(1, len(result.eigenvalues) + 1), result.eigenvalues[order]
        sampling = np.nan_to_num(result.eigenvalues_sampling[order])
        axes.fill_between(index, values - sampling, values + sampling, color=colour, alpha=0.15, linewidth=0)
        axes.errorbar(
            index,
            values,
            yerr=result.residuals[order],
            marker="o",
            markersize=3.5 if most <= 10 else 2.5,
            markerfacecolor=colour if result.converged else "white",
            color=colour,
            label=label if result.converged else f"{label}, not converged",
            capsize=1.5,
        )
    _scale(axes, [result for each in (run, *beside) for result in each.results])
    axes.set_xlim(0.5, most + 0.5)
    axes.xaxis.set_major_locator(
        matplotlib.ticker.MaxNLocator(nbins=min(most, 10), integer=True, min_n_ticks=1)
    )
    axes.set_xlabel(f"index $i${INDEX[run.results[0].which]}")
    axes.set_ylabel(r"eigenvalue $\lambda_i$ of $\nabla^2 L_\epsilon$")
    _legend_above(axes)


def gradient_norms(run: Run, axes: Axes, *, beside: Sequence[Run] = ()) -> None:
    """Norms against eps: of single examples, of mini-batches, and of the gradient with its standard error.

    Bands: from the 5 % to the 95 % quantile, cut off a decade below the lowest curve. Hollow: what infinitely
    many examples would leave of the gradient, where its error is smaller than that.

    beside: runs in other panels, for a scale in common
    """
    size = run.results[0].batch["size"]
    found, everything = run.results, [result for each in (run, *beside) for result in each.results]
    for told, line, label, marker, shade in (
        ("per_example", "median", "one example: median, 5-95 %", "s", 0.75),
        ("batch", "mean", f"batch of {size}: mean, 5-95 %", "^", 0.45),
    ):
        each = [getattr(r, told) for r in found]
        bands = np.array([[e["q05"], e["q95"]] for e in each])
        _against_eps(axes, found, [e[line] for e in each], label, marker, shade, bands=bands)
    norms, bars = [r.gradient_norm for r in found], [r.gradient_norm_stderr for r in found]
    _against_eps(axes, found, norms, rf"all {found[0].examples:,}: $\|\nabla L_\epsilon\|$", "o", 0.0, bars)
    unbiased = _told([(r.gradient_norm_unbiased, r.gradient_norm_unbiased_stderr) for r in found])
    _against_eps(axes, found, unbiased[0], "without sampling noise", "o", 0.0, unbiased[1], hollow=True)
    curves = [
        value for r in everything for value in (r.gradient_norm, r.per_example["median"], r.batch["mean"])
    ]
    _positive_scale(axes, curves, [r.per_example["q95"] for r in everything], below=10)
    axes.set_ylabel("norm of the gradient")


def gradient_noise(run: Run, axes: Axes, *, beside: Sequence[Run] = ()) -> None:
    """The noise scale against eps with its standard error; hollow: without the noise of n examples.

    The latter only where it is larger than its error. Dotted: n, which the noise scale on n examples near a
    minimum cannot exceed by much. beside: runs in other panels, for a scale in common
    """
    found, everything = run.results, [result for each in (run, *beside) for result in each.results]
    plain, bars = [r.noise_scale for r in found], [r.noise_scale_stderr for r in found]
    _against_eps(axes, found, plain, f"on these {found[0].examples:,} examples", "o", 0.0, bars)
    unbiased = _told([(r.noise_scale_unbiased, r.noise_scale_unbiased_stderr) for r in found])
    _against_eps(axes, found, unbiased[0], "without sampling noise", "o", 0.45, unbiased[1], hollow=True)
    axes.axhline(found[0].examples, color="0.6", linewidth=0.7, linestyle=":", zorder=0)
    curves = [r.noise_scale for r in everything] + [r.examples for r in everything]
    _positive_scale(axes, curves, [r.noise_scale + r.noise_scale_stderr for r in everything], below=2)
    axes.set_ylabel("noise scale (examples)")


def _against_eps(
    axes: Axes,
    found: list[Any],
    values: Any,
    label: str,
    marker: str,
    shade: float,
    bars: Any = None,
    *,
    bands: np.ndarray | None = None,
    hollow: bool = False,
) -> None:
    """A curve over the budgets with error bars or a band, the budgets written as they were given."""
    order = np.argsort([r.eps for r in found], kind="stable")
    eps, colour = np.array([r.eps for r in found])[order], matplotlib.colormaps["viridis"](shade)
    if bands is not None:
        low, high = bands[order].T
        if len(eps) > 1:
            axes.fill_between(eps, low, high, color=colour, alpha=0.18, linewidth=0)
        else:
            axes.vlines(eps, low, high, color=colour, alpha=0.25, linewidth=6)
    axes.errorbar(
        eps,
        np.asarray(values, dtype=float)[order],
        yerr=None if bars is None else np.asarray(bars, dtype=float)[order],
        marker=marker,
        markerfacecolor="white" if hollow else colour,
        linestyle="--" if hollow else "-",
        color=colour,
        label=label,
        capsize=1.5,
    )
    if len(eps) == 1 or np.diff(eps).min() > 0.08 * np.ptp(eps):
        axes.set_xticks(eps, [found[i].budget for i in order])
    axes.set_xlabel(r"budget $\epsilon$ (pixels of [0, 1])")
    _legend_above(axes)


def _told(pairs: list[tuple[float, float]]) -> np.ndarray:
    """Values and errors (2, …), NaN where the error is as large as the value: there it says nothing."""
    found = np.array(pairs, dtype=float).T
    return np.where(found[1] < found[0], found, np.nan)


def _positive_scale(axes: Axes, curves: list[float], upper: list[float], below: float) -> None:
    """Logarithmic where the curves span a decade, from the lowest divided by `below`; else from zero."""
    values = np.array([value for value in curves if np.isfinite(value) and value > 0])
    high = np.nanmax([*curves, *upper, 0.0])
    if len(values) and high / values.min() >= 10:
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(values.min() / below, 1.5 * high)
    elif high > 0:
        axes.set_ylim(0, 1.05 * high)


def training(runs: Sequence[Run]) -> Figure:
    """The mini-batches of trainings, a row for each quantity: the first 2,000, and the last on the right.

    Each row has one scale. Trainings of different lengths are aligned at their ends on the right.
    """
    from matplotlib.figure import Figure

    labels, found = _in_order(runs)
    if not all(result.steps for result in found):
        raise InputError("the log of a training without a mini-batch has nothing to draw; leave it out")
    columns = max(len(result.windows()) for result in found)
    across = 2 if any("," in label for label in labels) else 4
    legend = LINE * -(-len(found) // across)
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(WIDTHS[columns], len(QUANTITIES) * ROW + legend))
        grid = canvas.subplots(len(QUANTITIES), columns, sharex="col", sharey="row", squeeze=False)
        for row, name in zip(grid, QUANTITIES, strict=True):
            for column, axes in enumerate(row):
                mini_batches(found, name, axes, labels=labels, last=column > 0)
            row[0].set_ylabel(QUANTITIES[name])
            row[0].set_ylim(bottom=0)
            if name == "gradient_norm":
                shown = [result.gradient_norm[w] for result in found for w in result.windows().values()]
                _positive_scale(row[0], [*np.concatenate(shown)], [], below=1.5)
        aligned = len({result.steps for result in found}) > 1
        for axes, which in zip(grid[-1], ("", ", the last being 0" if aligned else ""), strict=False):
            axes.set_xlabel(f"mini-batch{which}")
        handles, told = grid[0, 0].get_legend_handles_labels()
        canvas.legend(handles, told, frameon=False, loc="outside upper left", ncols=across, handlelength=1.6)
    return canvas


def mini_batches(
    found: Sequence[Any], name: str, axes: Axes, *, labels: Sequence[str], last: bool = False
) -> None:
    """One of QUANTITIES of the first or last mini-batches of trainings: each value faint, the trend on top.

    The trend is the running median of the gradient norm, whose tails are heavy, and the running mean of the
    error, a share of few levels. The distance has no noise, and is drawn as it is.
    """
    aligned = len({result.steps for result in found}) > 1
    for result, label, colour in zip(found, labels, _colours(len(found)), strict=True):
        window = list(result.windows().values())[last:]
        if not window:  # all of its mini-batches are among the first
            continue
        step, values = result.step[window[0]], getattr(result, name)[window[0]]
        step = step - result.steps if last and aligned else step
        if name in TRENDS:
            axes.plot(step, values, color=colour, alpha=0.2, linewidth=0.4)
            values = running(TRENDS[name], values, SMOOTHED)
        axes.plot(step, values, color=colour, label=label, linewidth=1.0)
    axes.margins(x=0.01)


def scatter(run: Run, axes: Axes, *, direction: str, beside: Sequence[Run] = ()) -> None:
    """R(h) on logarithmic axes, a curve for each eps: re-attacked solid, frozen dashed, the floor dotted.

    Bands: the standard error over the examples. The intercept of the fit, the jump, stands in the legend.
    """
    found = [result for result in run.results if result.direction == direction]
    for result, colour in _coloured(found, [*beside, run]):
        label = (
            rf"$\epsilon$ = {result.budget}, jump {_mathematics(plus_minus(result.jump, result.jump_stderr))}"
        )
        _curve(axes, result.radii, result.change, result.change_stderr, color=colour, label=label)
        if result.eps:
            axes.plot(result.radii, result.change_frozen, color=colour, linestyle="--", linewidth=0.8)
            axes.axhline(result.floor, color=colour, linestyle=":", linewidth=0.9, zorder=0)
    axes.set_xscale("log")
    axes.set_yscale("log", nonpositive="clip")
    everything = [r for each in (run, *beside) for r in each.results]
    seen = np.concatenate([values for r in everything for values in (r.change, r.change_frozen, [r.floor])])
    if (seen > 0).any():
        # Of the curves that fall far below all others the end is cut off.
        low = (
            min(r.change[r.change > 0].min(initial=seen.max()) for r in everything if r.eps)
            if any(r.eps for r in everything)
            else seen[seen > 0].min()
        )
        axes.set_ylim(max(seen[seen > 0].min(), low / 1000) / 1.5, 2 * seen.max())
    axes.set_xlabel(r"radius $h$")
    axes.set_ylabel(r"$\|\nabla L_\epsilon(\theta + h v) - \nabla L_\epsilon(\theta)\|$")
    _legend_above(axes)
    if any(result.eps for result in found):
        _styles(axes, {"re-attacked": "-", "adversary frozen": "--", "floor": ":"})


def perturbation(run: Run, axes: Axes, *, direction: str, beside: Sequence[Run] = ()) -> None:
    """Mean cosine of the perturbations against h, a curve for each eps; dashed: the floor, from other starts.

    Bands: the standard error over the examples. Two checkpoints have one distance: there, against eps.
    """
    found = [result for result in run.results if result.direction == direction]
    everything = [r for each in (run, *beside) for r in each.results]
    seen = np.concatenate([[*(r.cosine - np.nan_to_num(r.cosine_stderr)), r.floor] for r in everything])
    if direction == BETWEEN:
        means, errors = ([getattr(r, name)[0] for r in found] for name in ("cosine", "cosine_stderr"))
        _against_eps(axes, found, means, "two checkpoints", "o", 0.0, errors)
        floors, errors = [r.floor for r in found], [r.floor_stderr for r in found]
        _against_eps(axes, found, floors, "floor of the first", "s", 0.45, errors, hollow=True)
        axes.set_ylabel("cosine of the perturbations")
    else:
        for result, colour in _coloured(found, [*beside, run]):
            label = rf"$\epsilon$ = {result.budget}"
            _curve(axes, result.radii, result.cosine, result.cosine_stderr, color=colour, label=label)
            axes.axhline(result.floor, color=colour, linestyle="--", linewidth=0.8, zorder=0)
        axes.set_xscale("log")
        axes.set_xlabel(r"radius $h$")
        axes.set_ylabel(r"cosine of $\delta(\theta + h v)$ and $\delta(\theta)$")
        _legend_above(axes)
        _styles(axes, {"from the same starts": "-", "floor: $h$ = 0, other starts": "--"}, "lower left")
    room = 0.03 * (1 - min(seen.min(), 0.9))
    axes.set_ylim(min(seen.min(), 0.9) - room, 1 + room)


def trajectory_loss(run: Run, axes: Axes, *, beside: Sequence[Run] = ()) -> None:
    """The loss over the checkpoints, a curve for each eps, clean dashed; dotted: log K, a constant's loss.

    Bands: the standard error over the examples. beside: runs in other panels, for a scale in common
    """
    x = _over_checkpoints(run, axes, "loss", beside)
    if all(result.eps for result in run.results):
        clean = [r for r in run.results if r.budget == run.results[0].budget]
        values = np.array([r.clean_loss for r in clean])
        errors = np.array([r.clean_loss_stderr for r in clean])
        _curve(axes, x[: len(clean)], values, errors, color="0.5", linestyle="--", label="clean")
        _legend_above(axes)
    everything = [r for each in (run, *beside) for r in each.results]
    losses = np.array([loss for r in everything for loss in (r.loss, r.clean_loss)])
    low, high = losses.min(), losses.max()
    if low > 0 and high / low >= 10:
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(low / 1.3, high * 1.3)
    else:
        room = 0.08 * (high - low) + max(np.nan_to_num([r.loss_stderr for r in everything]))
        axes.set_ylim(max(0.0, low - room), high + room if high + room else 1.0)
    constant = run.results[0].loss - run.results[0].excess
    if axes.get_ylim()[0] <= constant <= axes.get_ylim()[1]:
        axes.axhline(constant, color="0.5", linewidth=0.8, linestyle=":", zorder=0)
        axes.annotate(
            r"$\log K$",
            (1, constant),
            xycoords=("axes fraction", "data"),
            xytext=(0, 1.5),
            textcoords="offset points",
            ha="right",
            color="0.4",
            fontsize=7,
        )
    axes.set_ylabel(r"loss $L_\epsilon$")


def trajectory_gradient(run: Run, axes: Axes, *, beside: Sequence[Run] = ()) -> None:
    """The norm of the gradient over the checkpoints, a curve for each eps. Bands: its standard error."""
    _over_checkpoints(run, axes, "gradient_norm", beside)
    everything = [r for each in (run, *beside) for r in each.results]
    upper = [r.gradient_norm + np.nan_to_num(r.gradient_norm_stderr) for r in everything]
    _positive_scale(axes, [r.gradient_norm for r in everything], upper, below=1.5)
    axes.set_ylabel(r"$\|\nabla L_\epsilon\|$")


def trajectory_distance(run: Run, axes: Axes, *, beside: Sequence[Run] = ()) -> None:
    """The distance from the first and from the previous checkpoint, which no budget has a part in."""
    found = [r for r in run.results if r.budget == run.results[0].budget]
    x = _checkpoints(run, axes)[: len(found)]
    axes.plot(x, [r.from_first for r in found], "o-", color="0.15", markersize=2.5, label="from the first")
    if len(found) > 1:
        steps = [r.from_previous for r in found[1:]]
        axes.plot(x[1:], steps, "s-", color="0.6", markersize=2.5, label="from the previous")
    farthest = max(max(r.from_first, r.from_previous) for each in (run, *beside) for r in each.results)
    if farthest:
        axes.set_ylim(0, 1.05 * farthest)
    axes.set_ylabel(r"distance $\|\theta - \theta'\|$")
    _legend_above(axes)


def _over_checkpoints(run: Run, axes: Axes, name: str, beside: Sequence[Run]) -> np.ndarray:
    """A curve for each eps with its standard error as a band, that of eps = 0 dashed; the checkpoints' x."""
    x = _checkpoints(run, axes)
    each = {result.budget: result for result in run.results}
    for one, colour in _coloured(list(each.values()), [*beside, run]):
        found = [r for r in run.results if r.budget == one.budget]
        values, errors = (np.array([getattr(r, n) for r in found]) for n in (name, f"{name}_stderr"))
        style: Any = {"color": colour, "linestyle": "-" if one.eps else "--"}
        _curve(axes, x[: len(found)], values, errors, label=rf"$\epsilon$ = {one.budget}", **style)
    _legend_above(axes)
    return x


def _checkpoints(run: Run, axes: Axes) -> np.ndarray:
    """Where the checkpoints stand: at their epochs where all tell different ones, else in their order."""
    epochs = [each.get("epoch") for each in run.provenance.get("checkpoints", [])]
    told = epochs and None not in epochs and len(set(epochs)) == len(epochs)
    axes.set_xlabel("epoch" if told else "checkpoint")
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True, min_n_ticks=1))
    return np.array(epochs if told else range(1 + max(r.place for r in run.results)))


PANELS = {
    "sharpness": _each_run(sharpness),
    "gradient": _each_run(gradient_norms, gradient_noise),
    "scatter": _each_direction(scatter),
    "perturbation": _each_direction(perturbation),
    "trajectory": _each_run(trajectory_loss, trajectory_gradient, trajectory_distance),
}
FIGURES = {"training": training}
OWN_SCALES = {"gradient", "trajectory"}  # each column of panels has its own scale
QUANTITIES = {
    "gradient_norm": r"$\|\nabla L_\epsilon\|$ of the batch",
    "error": "error of the batch",
    "distance": r"$\|\theta - \theta_0\|$",
}
TRENDS: dict[str, Any] = {"gradient_norm": np.nanmedian, "error": np.nanmean}
SMOOTHED = 25  # mini-batches in the trend
ROW = 1.5  # inches: of a row of a training's panels
INDEX = {"LA": "", "LM": r" among the largest $|\lambda|$", "SA": " from the smallest"}


def _scale(axes: Axes, results: list[Any]) -> None:
    """From zero where all values are of one sign; logarithmic where they are positive and span a decade."""
    values = np.concatenate([r.eigenvalues for r in results])
    bars = np.concatenate([r.residuals + np.nan_to_num(r.eigenvalues_sampling) for r in results])
    low, high = values.min(), values.max()
    if low > 0 and high / low >= 10:
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(low / 1.3, max(high * 1.3, (values + bars).max() * 1.05))
        if high / low < 1000 and low >= 1e-3 and high < 1e4:  # few powers of ten, so numbers between them too
            axes.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
        return
    low, high = min(0.0, (values - bars).min()), max(0.0, (values + bars).max())
    if low < high:
        room = 0.05 * (high - low)
        axes.set_ylim(low - room if low < 0 else 0.0, high + room if high > 0 else 0.0)
    if low < 0 < high:
        axes.axhline(0, color="0.8", linewidth=0.6, zorder=0)


def _in_order(runs: Sequence[Run]) -> tuple[list[str], list[Any]]:
    """Results by eps with their labels, which name the checkpoint where several have the same budget."""
    each = [(result, run) for run in runs for result in run.results]
    each.sort(key=lambda pair: pair[0].eps)
    budgets = [(result.budget, result.norm) for result, _ in each]
    labels = []
    for result, run in each:
        label = rf"$\epsilon$ = {result.budget}"
        if budgets.count((result.budget, result.norm)) > 1:
            label += f", {_printable(Path(run.provenance['checkpoint']['path']).stem)}"
        labels.append(label)
    return labels, [result for result, _ in each]


def _mathematics(text: str) -> str:
    """1.2e+06 as a paper writes it."""
    return re.sub(r"e([+-]\d+)", lambda found: rf"$\times 10^{{{int(found[1])}}}$", text)


def _curve(axes: Axes, x: np.ndarray, y: np.ndarray, error: np.ndarray, **style: Any) -> None:
    """A curve with a band of ± its error."""
    axes.plot(x, y, marker="o", markersize=2.5, **style)
    spread = np.nan_to_num(error)
    axes.fill_between(x, y - spread, y + spread, color=style["color"], alpha=0.15, linewidth=0)


def _legend_above(axes: Axes) -> None:
    """The legend above the axes, where no curve is."""
    axes.legend(
        frameon=False,
        handlelength=1.6,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        labelspacing=0.2,
        alignment="left",
    )


def _styles(axes: Axes, styles: dict[str, Any], loc: str = "lower right") -> None:
    """A second legend, inside, of what line styles mean."""
    from matplotlib.lines import Line2D

    first = axes.get_legend()
    handles = [Line2D([], [], color="0.35", linewidth=0.9, linestyle=style) for style in styles.values()]
    style: Any = {"frameon": False, "loc": loc, "handlelength": 1.8, "labelspacing": 0.2}
    inside = axes.legend(handles, styles, **style)
    axes.legend_ = None  # type: ignore[attr-defined]
    axes.add_artist(inside)
    axes.legend_ = first  # type: ignore[attr-defined]


def _coloured(found: list[Any], runs: Sequence[Run]) -> list[tuple[Any, np.ndarray]]:
    """Each result with the colour of its eps, from small to large over all budgets of the figure."""
    budgets = sorted({result.eps for run in runs for result in run.results})
    colours = dict(zip(budgets, _colours(len(budgets)), strict=True))
    return [(result, colours[result.eps]) for result in found]


def _printable(name: str) -> str:
    """A file's name as text to draw: no formula, no bytes that are no letter."""
    return name.encode(errors="replace").decode().replace("$", r"\$")


def _colours(count: int) -> np.ndarray:
    """One sequential colour map over the budgets, from small to large, dark enough for white paper."""
    return matplotlib.colormaps["viridis"](np.linspace(0.0, 0.85, count) if count > 1 else [0.3])
