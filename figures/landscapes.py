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
from landscape.plot import save
from landscape.plot.levels import Scale, colour_bar, steps
from landscape.plot.plane import plane
from landscape.plot.style import DARK, STYLE, against_eps, curve
from landscape.plot.surface import draw as panel
from landscape.results import Run
from landscape.sampling import standard_error
from landscape.surfaces.shape import Rise, origin, rise

HERE = Path(__file__).parent
RESULTS = HERE.parent / "data/results/landscapes"
EPS = ("0", "0.1", "0.2", "0.3", "0.4")
WITHIN = 0.25
"""Length of the steps over which the rise is averaged."""


def around(result: Any) -> Rise:
    """The rise of the loss over all cells up to a distance from θ: the directions are orthonormal."""
    distance = np.hypot(*np.meshgrid(result.x, result.y))
    centre = origin(result.y, result.x)
    return rise(result.loss, result.groups, result.sizes, distance, centre, within=WITHIN + 1e-9)


def risen(run: Run) -> Any:
    """The surface of a run, counted from the loss of θ."""
    (result,) = run.results
    return replace(result, loss=result.loss - result.centre_loss, centre_loss=0.0)


def sections(runs: Sequence[Run], axes: Axes) -> None:
    """The rise along the first eigenvector, with the error of the paired differences as a band."""
    for run, colour in zip(runs, _colours(), strict=True):
        (result,) = run.results
        row = int(np.flatnonzero(result.y == 0)[0])
        means, centre = result.groups[row], result.groups[row, np.flatnonzero(result.x == 0)[0]]
        error = standard_error(lambda rises: rises, means - centre, result.sizes)
        style: Any = {"color": colour, "label": result.budget}
        curve(axes, result.x, result.loss[row] - result.centre_loss, error, **style)
    axes.set_xlabel("along eigenvector 1")
    axes.set_ylabel(r"rise of $L_\epsilon$ (nats)")


def averages(runs: Sequence[Run], axes: Axes) -> None:
    """The mean rise up to a distance, as it is and over the loss of θ."""
    found = [(run.results[0], around(run.results[0])) for run in runs]
    against_eps(
        axes,
        [result for result, _ in found],
        [each.average for _, each in found],
        "mean rise",
        "o",
        0.05,
        [each.average_stderr for _, each in found],
    )


def draw() -> Figure:
    """Above the surfaces, then their contours on one scale, below what they say in numbers."""
    runs = [load(RESULTS / f"eps{eps}_seed0.h5") for eps in EPS]
    surfaces = [risen(run) for run in runs]
    rises = np.concatenate([each.loss.ravel() for each in surfaces])
    scale = Scale(steps(float(rises.min()), float(rises.max())), False)
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 5.4))
        above, middle, below = canvas.subfigures(3, 1, height_ratios=(1, 1.05, 1.1))
        solids = above.subplots(1, len(EPS), subplot_kw={"projection": "3d"})
        flats = middle.subplots(1, len(EPS), sharex=True, sharey=True)
        later = []
        for i, (run, result) in enumerate(zip(runs, surfaces, strict=True)):
            panel(result, solids[i], scale, plane(run.provenance), "surface")
            later.append(panel(result, flats[i], scale, plane(run.provenance), "contour"))
        for place in flats:
            place.label_outer()
        colour_bar(scale, list(flats), r"rise of $L_\epsilon$", bands=True)
        numbers = below.subplots(1, 3)
        sections(runs, numbers[0])
        averages(runs, numbers[1])
    return canvas


def _colours() -> list[Any]:
    return list(matplotlib.colormaps["viridis"](np.linspace(0, DARK, len(EPS))))


if __name__ == "__main__":
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"landscapes.{ending}")
