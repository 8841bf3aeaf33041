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


def trend(
    axes: Axes, each: list[list[Any]], way: str, value: Callable[[Any], float], *look: Any, **more: Any
) -> None:
    """A number against the budget, mean and standard deviation over the seeds."""
    along = [results for results in each if results[0].direction == way]
    means, deviations = zip(*(over_seeds([value(r) for r in results]) for results in along), strict=True)
    against_eps(axes, [results[0] for results in along], means, *look, deviations, **more)


def draw(results: Path = RESULTS) -> Figure:
    """Above R(h) along both directions, and its slope; below the jump, and its share of the bound."""
    folder = results / "smoothness"
    own = together(folder.glob("eps*_seed?.h5"))
    crossed = together([*folder.glob("eps0.2_seed?.h5"), *folder.glob("eps0.2_seed?_others.h5")])
    attacked, fixed = ([each for each in some if each[0].eps] for some in (own, crossed))
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 5.2))
        (first, second, third), (fourth, fifth, sixth) = canvas.subplots(2, 3)
        run = averaged(own, "scatter")
        for axes, way, name in ((first, "random", "random"), (second, TOP, "top eigenvector")):
            scatter(run, axes, direction=way, beside=[run])
            lines = [line for line in axes.lines if line.get_label().startswith(r"$\epsilon")]
            labels = [line.get_label().split(",")[0] for line in lines]
            axes.legend(lines, labels, frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
        second.set_ylabel("")
        second.sharey(first)
        trend(third, own, "random", lambda r: r.slope, "random", "o", 0.0)
        trend(third, own, TOP, lambda r: r.slope, "top eigenvector", "s", 0.45)
        third.set_ylabel("slope of $R(h)$")
        for axes, each in ((fourth, own), (fifth, crossed)):
            trend(axes, each, "random", lambda r: r.jump, "random", "o", 0.0)
            if each is own:
                trend(axes, each, TOP, lambda r: r.jump, "top eigenvector", "s", 0.45)
            trend(axes, each, "random", lambda r: r.floor, "floor", "^", 0.75, hollow=True)
            trend(axes, each, "random", lambda r: r.jump_frozen, "random, frozen", "v", 0.0, hollow=True)
        trend(sixth, attacked, "random", lambda r: 100 * r.share, "random", "o", 0.0)
        trend(sixth, attacked, TOP, lambda r: 100 * r.share, "top eigenvector", "s", 0.45)
        trend(
            sixth,
            fixed,
            "random",
            lambda r: 100 * r.share,
            "net trained at 0.2, random",
            "D",
            0.75,
            hollow=True,
        )
    return canvas


if __name__ == "__main__":
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"smoothness.{ending}")
