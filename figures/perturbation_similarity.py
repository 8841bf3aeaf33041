"""Similarity of adversaries near the weights of nets: analyses/perturbation_similarity.py."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from seeds import averaged, over_seeds, together

from landscape.plot import perturbation, save
from landscape.plot.style import STYLE, against_eps

HERE = Path(__file__).parent
RESULTS = HERE.parent / "data/results"


def half_way(result: Any) -> float:
    """Where the cosine is half-way to its floor: at the smallest radius at least."""
    return math.log10(max(result.falls_to((1 + result.floor) / 2), result.radii[0]))


def draw(results: Path = RESULTS) -> Figure:
    """The cosine against h along both directions, and for one net at all budgets; where it is half-way."""
    folder = results / "perturbation_similarity"
    own = together(folder.glob("eps*_seed?.h5"))
    crossed = together([*folder.glob("eps0.2_seed?.h5"), *folder.glob("eps0.2_seed?_others.h5")])
    panels = (
        ("random", own, "random $v$", "o", 0.0),
        ("eigenvector:1", own, "top eigenvector", "s", 0.45),
        ("random", crossed, "random $v$, nets trained at 0.2", "D", 0.75),
    )
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(5.5, 4.9))
        places = canvas.subplots(2, 2).flat
        runs = [averaged(own, "perturbation"), averaged(crossed, "perturbation")]
        last = places[3]
        for letter, axes, (way, found, title, marker, shade) in zip("abc", places, panels, strict=False):
            perturbation(runs[found is crossed], axes, direction=way, beside=runs)
            if letter == "a":
                names = axes.get_legend_handles_labels()
                axes.legend(*names, loc="lower left", frameon=False, labelspacing=0.2, handlelength=1.2)
            else:
                axes.get_legend().remove()
            axes.set_title(f"({letter}) {title}", loc="left", fontsize=STYLE["font.size"])
            each = [results for results in found if results[0].direction == way]
            means, deviations = zip(*(over_seeds([half_way(r) for r in some]) for some in each), strict=True)
            against_eps(last, [some[0] for some in each], means, title, marker, shade, deviations)
        last.set_ylabel(r"$\log_{10} h$, half-way to the floor")
        last.get_legend().set_title("(d) radius half-way to the floor")
    return canvas


if __name__ == "__main__":
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"perturbation_similarity.{ending}")
