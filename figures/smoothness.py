"""How the gradient scatters near the weights of nets trained at five budgets: analyses/smoothness.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from seeds import averaged, over_seeds, together

from landscape.plot import save, scatter
from landscape.plot.style import STYLE, against_eps

HERE = Path(__file__).parent
RESULTS = HERE.parent / "data/results"
RANDOM, TOP = "random", "eigenvector:1"
LOOK = {RANDOM: ("o", 0.0), TOP: ("s", 0.45), "floor": ("^", 0.8), "crossed": ("D", 0.65)}
"""Markers and shades."""
NAMES = {RANDOM: "random", TOP: "eigenvector", "crossed": "random, trained at 0.2"}
TITLES = (
    *("along random directions", "along the top eigenvector", "slope, each net at its own"),
    *("each net at its own", "nets trained at 0.2", "share of the bound"),
)
ABOVE: dict[str, Any] = {
    **{"frameon": False, "handlelength": 1.6, "labelspacing": 0.2, "alignment": "left"},
    **{"loc": "lower left", "bbox_to_anchor": (0, 1)},
}
"""Of a legend above the axes."""


def trend(
    axes: Axes, each: list[list[Any]], look: str, value: Callable[[Any], float], label: str, **more: Any
) -> None:
    """A number against the budget: mean and standard deviation over the seeds."""
    means, deviations = zip(*(over_seeds([value(r) for r in results]) for results in each), strict=True)
    against_eps(axes, [results[0] for results in each], means, label, *LOOK[look], deviations, **more)


def jumps(axes: Axes, ways: dict[str, list[list[Any]]]) -> None:
    """What R(h) tends to at h = 0, re-attacked and frozen, and what other random starts do there."""
    for way, each in ways.items():
        trend(axes, each, way, lambda r: r.jump, NAMES[way])
        trend(axes, each, way, lambda r: r.jump_frozen, f"{NAMES[way]}, frozen", hollow=True)
    trend(axes, ways[RANDOM], "floor", lambda r: r.floor, "floor: other starts")
    axes.set_ylabel("jump of the gradient")


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
        run = averaged(everything, "scatter")
        names = [rf"$\epsilon$ = {each[0].budget}" for each in own[RANDOM]]
        for axes, way in ((first, RANDOM), (second, TOP)):
            scatter(run, axes, direction=way, beside=[run])
            lines = axes.get_legend().get_lines()
            axes.legend(lines, names, ncols=2, columnspacing=1.0, **ABOVE)
        second.set_ylabel("")
        for way, each in own.items():
            trend(third, each, way, lambda r: r.slope, NAMES[way])
            trend(third, each, way, lambda r: r.slope_frozen, f"{NAMES[way]}, frozen", hollow=True)
        third.set_yscale("log")
        third.set_ylabel("slope of $R(h)$")
        jumps(fourth, own)
        jumps(fifth, {RANDOM: crossed})
        for look, each in (own | {"crossed": crossed}).items():
            attacked = [results for results in each if results[0].eps]
            trend(sixth, attacked, look, lambda r: 100 * r.share, NAMES[look])
        sixth.set_ylabel(r"jump / $2\epsilon L_{\theta x}$ (%)")
        sixth.set_ylim(bottom=0)
        for letter, title, axes in zip("abcdef", TITLES, canvas.axes, strict=True):
            axes.get_legend().set_title(f"({letter}) {title}")
    return canvas


if __name__ == "__main__":
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"smoothness.{ending}")
