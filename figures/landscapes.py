"""How the loss rises around nets of five budgets, on the planes of eigenvectors: analyses/landscapes.py."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape import load
from landscape.format import markdown, plus_minus
from landscape.plot import save
from landscape.plot.levels import Scale, colour_bar
from landscape.plot.plane import plane
from landscape.plot.style import DARK, STYLE, logarithmic
from landscape.plot.surface import draw as panel
from landscape.results import Run
from landscape.sampling import standard_error
from landscape.surfaces.shape import origin
from landscape.surfaces.surface import Surface

HERE = Path(__file__).parent
RESULTS = HERE.parent / "data/results/landscapes"
EPS = ("0", "0.1", "0.2", "0.3", "0.4")
MARKERS = dict(zip(EPS, "os^Dv", strict=True))
SCALE = Scale(np.array([0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10]), True, floored=True)
"""Of the rise in all panels; it goes by the logarithm, since the bowls differ by decades."""
CURVATURES = (
    ("surface along $v_1$", "curvature_x", "o", 0.05, False),
    ("surface along $v_2$", "curvature_y", "s", 0.6, False),
    (r"$\lambda_1$", "hessian_x", "o", 0.05, True),
    (r"$\lambda_2$", "hessian_y", "s", 0.6, True),
)
SHOWN = (0.04, 0.08, 0.25)
"""Distances from θ whose rises the table has."""


def shells(result: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances from θ, the mean rise over the cells that far away, and its standard error.

    The directions are orthonormal, so that a distance is a length of weights. The examples are what varies.
    """
    step = float(result.x[1] - result.x[0])
    place = np.rint(np.hypot(*np.meshgrid(result.x, result.y)) / step).astype(int)
    centre = result.groups[origin(result.y, result.x)]
    distances = range(1, len(result.x) // 2 + 1)
    cells = [(result.groups - centre)[place == d] for d in distances]
    rises = [(result.loss - result.centre_loss)[place == d].mean() for d in distances]
    errors = [standard_error(lambda means: means.mean(), each, result.sizes) for each in cells]
    return step * np.array(distances), np.array(rises), np.array(errors)


def risen(run: Run) -> Any:
    """The surface of a run, counted from the loss of θ."""
    (result,) = run.results
    return replace(result, loss=result.loss - result.centre_loss, centre_loss=0.0)


def sections(runs: Sequence[Run], axes: Axes) -> None:
    """The rise along the first eigenvector, with the error of the paired differences as a band."""
    for eps, run in zip(EPS, runs, strict=True):
        (result,) = run.results
        row, column = origin(result.y, result.x)
        means = result.groups[row] - result.groups[row, column]
        error = standard_error(lambda rises: rises, means, result.sizes)
        rises = result.loss[row] - result.centre_loss
        axes.fill_between(result.x, rises - error, rises + error, color=colour(eps), alpha=0.2, linewidth=0)
        style: Any = {"color": colour(eps), "marker": MARKERS[eps], "markersize": 2.5}
        axes.plot(result.x, rises, label=eps, **style)
    axes.set_xlabel("along eigenvector 1")
    axes.set_ylabel(r"rise of $L_\epsilon$ (nats)")


def averages(folder: Path, axes: Axes) -> None:
    """The mean rise over all directions of the plane, against the distance from θ, all seeds."""
    for eps in EPS:
        found = [shells(run.results[0]) for run in seeds(folder, eps)]
        distances, rises = found[0][0], np.array([rises for _, rises, _ in found])
        style: Any = {"color": colour(eps), "marker": MARKERS[eps], "markersize": 2.5, "linewidth": 0.9}
        axes.errorbar(distances, np.median(rises, axis=0), yerr=_range(rises), capsize=1, **style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([0.05, 0.1, 0.2], ["0.05", "0.1", "0.2"])
    axes.xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    axes.set_xlabel(r"distance from $\theta$")
    axes.set_ylabel(r"mean rise of $L_\epsilon$ (nats)")


def curvatures(folder: Path, axes: Axes) -> None:
    """The curvature that the surface shows, beside the eigenvalue of the Hessian at a fixed adversary."""
    highest, lowest = 0.0, np.inf
    for label, name, marker, shade, hollow in CURVATURES:
        values = np.array([[run.results[0].numbers[name] for run in seeds(folder, eps)] for eps in EPS]).T
        eps, ink = [float(eps) for eps in EPS], matplotlib.colormaps["viridis"](shade)
        axes.errorbar(
            eps,
            np.median(values, axis=0),
            yerr=_range(values),
            marker=marker,
            markerfacecolor="white" if hollow else ink,
            linestyle="--" if hollow else "-",
            color=ink,
            label=label,
            capsize=1.5,
        )
        highest, lowest = max(highest, values.max()), min(lowest, values.min())
    logarithmic(axes, lowest / 1.5, highest * 6)  # room for the legend
    axes.legend(frameon=False, loc="upper left", ncols=2, handlelength=1.4, columnspacing=0.8)
    axes.set_xlabel(r"budget $\epsilon$ (pixels of [0, 1])")
    axes.set_ylabel("curvature (nats)")


def seeds(folder: Path, eps: str) -> list[Run]:
    """The surfaces of all seeds at a budget."""
    return [load(path) for path in sorted(folder.glob(f"eps{eps}_seed*.h5"))]


def draw(folder: Path = RESULTS) -> Figure:
    """Above the surfaces of one seed, then their contours on one scale, below what all say in numbers."""
    runs = [load(folder / f"eps{eps}_seed0.h5") for eps in EPS]
    surfaces = [risen(run) for run in runs]
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 5.4))
        above, middle, below = canvas.subfigures(3, 1, height_ratios=(1, 0.85, 1.3))
        solids = above.subplots(1, len(EPS), subplot_kw={"projection": "3d"})
        flats = middle.subplots(1, len(EPS), sharex=True, sharey=True)
        later = []
        for i, (run, result) in enumerate(zip(runs, surfaces, strict=True)):
            lies = replace(plane(run.provenance), labels=("$x$", "$y$"))
            panel(result, solids[i], SCALE, lies, "surface")
            ticks = list(zip(solids[i].get_zticks(), solids[i].get_zticklabels(), strict=True))[::-3]
            solids[i].set_zticks(*zip(*((place, told.get_text()) for place, told in ticks), strict=True))
            later.append(panel(result, flats[i], SCALE, lies, "contour"))
            solids[i].set_title(_title(i, run), fontsize=STYLE["font.size"], y=0.98)
            flats[i].label_outer()
            flats[i].set_xticks([-0.2, 0, 0.2])
            flats[i].set_yticks([-0.2, 0, 0.2])
            flats[i].set_xlim(result.x[0], result.x[-1])
        colour_bar(SCALE, list(flats), r"rise of $L_\epsilon$ (nats)", bands=True)
        numbers = below.subplots(1, 3)
        sections(runs, numbers[0])
        averages(folder, numbers[1])
        curvatures(folder, numbers[2])
        for letter, place in zip("fgh", numbers, strict=True):
            place.set_title(f"({letter})", loc="left", fontsize=STYLE["font.size"])
        lines, names = numbers[0].get_legend_handles_labels()
        below.legend(
            lines,
            [rf"$\epsilon$ = {name}" for name in names],
            loc="outside upper center",
            ncols=len(EPS),
            frameon=False,
            title="seed 0 in (f); (g), (h): median of three seeds, bars from the lowest to the highest",
            title_fontsize=STYLE["legend.fontsize"],
        )
        canvas.draw_without_rendering()
    return canvas


def table(folder: Path = RESULTS) -> str:
    """What the surfaces say, as Markdown: mean ± standard deviation over the seeds."""
    head = ["eps", "loss of θ", "λ1", "surface along v1", "λ2", "surface along v2"]
    head += [*(f"mean rise at {told:.2g}" for told in SHOWN), "largest inner gap"]
    rows = [head]
    for eps in EPS:
        found = [run.results[0] for run in seeds(folder, eps)]
        values = [[r.centre_loss for r in found]]
        values += [[r.numbers[name] for r in found] for name in ("hessian_x", "curvature_x")]
        values += [[r.numbers[name] for r in found] for name in ("hessian_y", "curvature_y")]
        values += [[_at(r, told) for r in found] for told in SHOWN]
        rows.append([eps, *map(mean_and_deviation, values), f"{max(r.inner_gap for r in found):.2g}"])
    return markdown(rows)


def mean_and_deviation(values: Sequence[float]) -> str:
    """Over the seeds."""
    return (
        plus_minus(statistics.fmean(values), statistics.stdev(values))
        if len(values) > 1
        else f"{values[0]:.4g}"
    )


def _at(result: Surface, told: float) -> float:
    distances, rises, _ = shells(result)
    return float(rises[np.abs(distances - told).argmin()])


def _range(values: np.ndarray) -> np.ndarray:
    """From the median down to the lowest and up to the highest of the seeds (seeds, n)."""
    middle = np.median(values, axis=0)
    return np.array([middle - values.min(axis=0), values.max(axis=0) - middle])


def _title(place: int, run: Run) -> str:
    (result,) = run.results
    loss = plus_minus(result.centre_loss, result.centre_loss_stderr)
    return rf"({'abcde'[place]}) $\epsilon$ = {result.budget}" + f"\n$L_\\epsilon$ = {loss}"


def colour(eps: str) -> Any:
    return matplotlib.colormaps["viridis"](DARK * float(eps) / float(EPS[-1]))


if __name__ == "__main__":
    print(table())
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"landscapes.{ending}")
