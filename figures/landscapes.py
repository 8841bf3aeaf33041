"""How the loss rises around nets of five budgets, on the planes of eigenvectors: analyses/landscapes.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape import load
from landscape.format import plus_minus
from landscape.plot import save
from landscape.plot.levels import Scale, colour_bar, steps
from landscape.plot.plane import plane
from landscape.plot.style import DARK, STYLE, against_eps
from landscape.plot.surface import draw as panel
from landscape.results import Run
from landscape.sampling import standard_error
from landscape.surfaces.shape import origin

HERE = Path(__file__).parent
RESULTS = HERE.parent / "data/results/landscapes"
EPS = ("0", "0.1", "0.2", "0.3", "0.4")
MARKERS = dict(zip(EPS, "os^Dv", strict=True))


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
    axes.legend(frameon=False, title=r"$\epsilon$", loc="upper center", handlelength=1.2, labelspacing=0.2)


def averages(runs: Sequence[Run], axes: Axes) -> None:
    """The mean rise over all directions of the plane, against the distance from θ."""
    for eps, run in zip(EPS, runs, strict=True):
        distances, rises, errors = shells(run.results[0])
        style: Any = {"color": colour(eps), "marker": MARKERS[eps], "markersize": 2.5, "linewidth": 0.9}
        axes.errorbar(distances, rises, yerr=errors, capsize=1, **style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(r"distance from $\theta$")
    axes.set_ylabel(r"mean rise of $L_\epsilon$ (nats)")


def curvatures(runs: Sequence[Run], axes: Axes) -> None:
    """The curvature that the surface shows, beside the eigenvalue of the Hessian at a fixed adversary."""
    results = [run.results[0] for run in runs]
    for label, name, marker, shade, hollow in (
        ("along eigenvector 1, re-attacked", "curvature_x", "o", 0.05, False),
        (r"$\lambda_1$, adversary fixed", "hessian_x", "o", 0.05, True),
        ("along eigenvector 2, re-attacked", "curvature_y", "s", 0.6, False),
        (r"$\lambda_2$, adversary fixed", "hessian_y", "s", 0.6, True),
    ):
        values, errors = ([r.numbers[f"{name}{end}"] for r in results] for end in ("", "_stderr"))
        against_eps(axes, results, values, label, marker, shade, errors, hollow=hollow)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("curvature (nats)")


def draw(folder: Path = RESULTS) -> Figure:
    """Above the surfaces, then their contours on one scale, below what they say in numbers."""
    runs = [load(folder / f"eps{eps}_seed0.h5") for eps in EPS]
    surfaces = [risen(run) for run in runs]
    rises = np.concatenate([each.loss.ravel() for each in surfaces])
    scale = Scale(steps(float(rises.min()), float(rises.max())), False)
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 5.6))
        above, middle, below = canvas.subfigures(3, 1, height_ratios=(1, 0.95, 1.25))
        solids = above.subplots(1, len(EPS), subplot_kw={"projection": "3d"})
        flats = middle.subplots(1, len(EPS), sharex=True, sharey=True)
        later = []
        for i, (run, result) in enumerate(zip(runs, surfaces, strict=True)):
            lies = replace(plane(run.provenance), labels=("$x$", "$y$"))
            panel(result, solids[i], scale, lies, "surface")
            later.append(panel(result, flats[i], scale, lies, "contour"))
            solids[i].set_title(_title(i, run), fontsize=STYLE["font.size"], y=0.98)
            flats[i].label_outer()
            flats[i].set_xticks([-0.4, 0, 0.4])
        colour_bar(scale, list(flats), r"rise of $L_\epsilon$ (nats)", bands=True)
        numbers = below.subplots(1, 3)
        for letter, place, what in zip("fgh", numbers, (sections, averages, curvatures), strict=True):
            what(runs, place)
            place.set_title(f"({letter})", loc="left", fontsize=STYLE["font.size"])
        canvas.draw_without_rendering()
    return canvas


def table(folder: Path = RESULTS) -> str:
    """What the surfaces say, as Markdown, each number with its standard error."""
    head = ["eps", "loss of θ", "λ1, adversary fixed", "curvature along eigenvector 1, re-attacked"]
    found = [load(folder / f"eps{eps}_seed0.h5").results[0] for eps in EPS]
    distances = shells(found[0])[0]
    shown = [int(np.abs(distances - told).argmin()) for told in (0.05, 0.1, 0.25)]
    head += [f"mean rise at {distances[place]:.2g}" for place in shown] + ["inner gap"]
    rows = [head, ["---"] * len(head)]
    for result in found:
        _, rises, errors = shells(result)
        told = result.numbers
        rows.append(
            [
                result.budget,
                plus_minus(result.centre_loss, result.centre_loss_stderr),
                *(plus_minus(told[name], told[f"{name}_stderr"]) for name in ("hessian_x", "curvature_x")),
                *(plus_minus(float(rises[place]), float(errors[place])) for place in shown),
                plus_minus(result.inner_gap, result.inner_gap_stderr),
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _title(place: int, run: Run) -> str:
    (result,) = run.results
    loss = plus_minus(result.centre_loss, result.centre_loss_stderr)
    return rf"({'abcde'[place]}) $\epsilon$ = {result.budget}" + f"\n$L_\\epsilon(\\theta)$ = {loss}"


def colour(eps: str) -> Any:
    return matplotlib.colormaps["viridis"](DARK * float(eps) / float(EPS[-1]))


if __name__ == "__main__":
    print(table())
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"landscapes.{ending}")
