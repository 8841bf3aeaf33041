"""How the gradient scatters near the weights of nets trained at five budgets: analyses/smoothness.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from seeds import over_seeds, together

from landscape.plot import save
from landscape.plot.style import STYLE, against_eps, coloured, curve, legend_above
from landscape.results import Run

HERE = Path(__file__).parent
RESULTS = HERE.parent / "data/results"
RANDOM, TOP = "random", "eigenvector:1"
LOOK = {RANDOM: ("o", 0.0), TOP: ("s", 0.45), "floor": ("^", 0.8), "crossed": ("D", 0.65)}
"""Markers and shades."""
NAMES = {RANDOM: "random", TOP: "eigenvector"}
SHARES = {RANDOM: "each net at its own", "crossed": "nets trained at 0.2"}
TITLES = (
    *("along random directions", "along the top eigenvector", "change at $h$ = 0.01"),
    *("random, each net at its own", "random, nets trained at 0.2", "random, share of the bound"),
)


def trend(
    axes: Axes, each: list[list[Any]], look: str, value: Callable[[Any], float], label: str, **more: Any
) -> None:
    """A number against the budget: mean and standard deviation over the seeds."""
    means, deviations = zip(*(over_seeds([value(r) for r in results]) for results in each), strict=True)
    against_eps(axes, [results[0] for results in each], means, label, *LOOK[look], deviations, **more)


def profile(axes: Axes, each: list[list[Any]], among: list[list[Any]]) -> None:
    """log R(h) of each budget, re-attacked and frozen; R spans decades, and so do the seeds at eps 0.4."""
    for (result, colour), results in zip(
        coloured([results[0] for results in each], [Run("scatter", {}, [r for some in among for r in some])]),
        each,
        strict=True,
    ):
        for name in ("change", "change_frozen")[: 1 + bool(result.eps)]:
            logarithms = np.log10([getattr(r, name) for r in results])
            mean, deviation = np.transpose([over_seeds(column) for column in logarithms.T])
            if name == "change":
                label = rf"$\epsilon$ = {result.budget}"
                curve(axes, result.radii, mean, deviation, color=colour, label=label)
            else:
                axes.plot(result.radii, mean, color=colour, linestyle="--", linewidth=0.8)
        if result.eps:
            floor = over_seeds([math.log10(r.floor) for r in results])[0]
            axes.axhline(floor, color=colour, linestyle=":", linewidth=0.9, zorder=0)
    axes.set_xscale("log")
    axes.set_xlabel("radius $h$\ndashed: frozen, dotted: floor")
    axes.set_ylabel(r"$\log_{10}\,\|\nabla L_\epsilon(\theta + h v) - \nabla L_\epsilon(\theta)\|$")
    legend_above(axes)


def jumps(axes: Axes, each: list[list[Any]]) -> None:
    """What R(h) tends to at h = 0, re-attacked and frozen, and what other random starts do there."""
    trend(axes, each, RANDOM, lambda r: r.jump, "jump")
    trend(axes, each, RANDOM, lambda r: r.jump_frozen, "frozen", hollow=True)
    trend(axes, each, "floor", lambda r: r.floor, "floor: other starts, $h$ = 0")
    axes.set_ylabel("jump of the gradient")


def change(radii: np.ndarray, values: np.ndarray, h: float = 0.01) -> float:
    """log10 of R at the radius that is nearest to h."""
    return math.log10(values[np.abs(np.log(radii / h)).argmin()])


def draw(results: Path = RESULTS) -> Figure:
    """Above R(h) along both directions, and its slope; below the jump, and its share of the bound."""
    folder = results / "smoothness"
    everything = together(folder.glob("eps*_seed?.h5"))
    own = {way: [each for each in everything if each[0].direction == way] for way in (RANDOM, TOP)}
    crossed = together([*folder.glob("eps0.2_seed?.h5"), *folder.glob("eps0.2_seed?_others.h5")])
    crossed = [each for each in crossed if each[0].direction == RANDOM]
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 5.6))
        (first, second, third), (fourth, fifth, sixth) = canvas.subplots(2, 3)
        second.sharey(first)
        for axes, each in zip((first, second), own.values(), strict=True):
            profile(axes, each, everything)
        second.set_ylabel("")
        for way, each in own.items():
            trend(third, each, way, lambda r: change(r.radii, r.change), NAMES[way])
            frozen = f"{NAMES[way]}, frozen"
            trend(third, each, way, lambda r: change(r.radii, r.change_frozen), frozen, hollow=True)
        third.set_ylabel(r"$\log_{10} R(0.01)$")
        for axes, each in ((fourth, own[RANDOM]), (fifth, crossed)):
            jumps(axes, each)
        for look, each in ((RANDOM, own[RANDOM]), ("crossed", crossed)):
            attacked = [results for results in each if results[0].eps]
            trend(sixth, attacked, look, lambda r: 100 * r.share, SHARES[look])
        sixth.set_ylabel(r"jump / $2\epsilon L_{\theta x}$ (%)")
        sixth.set_ylim(bottom=0)
        for letter, title, axes in zip("abcdef", TITLES, canvas.axes, strict=True):
            axes.get_legend().set_title(f"({letter}) {title}")
    return canvas


if __name__ == "__main__":
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"smoothness.{ending}")
