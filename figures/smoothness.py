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
TOP = "eigenvector:1"
RANDOM, EIGENVECTOR, CROSSED = ("o", 0.0), ("s", 0.45), ("D", 0.75)
"""Markers and shades."""


def trend(
    axes: Axes,
    each: list[list[Any]],
    way: str,
    value: Callable[[Any], float],
    label: str,
    look: tuple[str, float],
    **more: Any,
) -> None:
    """A number against the budget: mean and standard deviation over the seeds."""
    along = [results for results in each if results[0].direction == way]
    means, deviations = zip(*(over_seeds([value(r) for r in results]) for results in along), strict=True)
    against_eps(axes, [results[0] for results in along], means, label, *look, deviations, **more)


def jumps(axes: Axes, each: list[list[Any]]) -> None:
    """What h → 0 leaves of R(h), along random directions, re-attacked and frozen, and what other starts do."""
    trend(axes, each, "random", lambda r: r.floor, "floor: other starts, $h$ = 0", ("^", 0.75), hollow=True)
    trend(axes, each, "random", lambda r: r.jump, "random $v$", RANDOM)
    if any(results[0].direction == TOP for results in each):
        trend(axes, each, TOP, lambda r: r.jump, "top eigenvector", EIGENVECTOR)
    trend(axes, each, "random", lambda r: r.jump_frozen, "random $v$, frozen", ("x", 0.0), hollow=True)
    axes.set_ylabel("jump of the gradient")


def draw(results: Path = RESULTS) -> Figure:
    """Above R(h) along both directions, and its slope; below the jump, and its share of the bound."""
    folder = results / "smoothness"
    own = together(folder.glob("eps*_seed?.h5"))
    crossed = together([*folder.glob("eps0.2_seed?.h5"), *folder.glob("eps0.2_seed?_others.h5")])
    crossed = [each for each in crossed if each[0].direction == "random"]
    attacked, fixed = ([each for each in some if each[0].eps] for some in (own, crossed))
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 5.4))
        (first, second, third), (fourth, fifth, sixth) = canvas.subplots(2, 3)
        run = averaged(own, "scatter")
        for axes, way in ((first, "random"), (second, TOP)):
            scatter(run, axes, direction=way, beside=[run])
            axes.set_xlabel("radius $h$")
        first.sharey(second)
        for axes, each in ((fourth, own), (fifth, crossed)):
            jumps(axes, each)
        fourth.sharey(fifth)
        for look, each, way, label in (
            (RANDOM, own, "random", "random $v$"),
            (EIGENVECTOR, own, TOP, "top eigenvector"),
            (CROSSED, crossed, "random", "random $v$, trained at 0.2"),
        ):
            trend(third, each, way, lambda r: r.slope, label, look)
            attacked = [results for results in each if results[0].eps]
            trend(sixth, attacked, way, lambda r: 100 * r.share, label, look)
        third.set_ylabel("slope of $R(h)$")
        sixth.set_ylabel(r"jump / $2\epsilon L_{\theta x}$ (%)")
        sixth.set_ylim(bottom=0)
    return canvas


if __name__ == "__main__":
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"smoothness.{ending}")
