"""Similarity of adversaries near the weights of nets at several seeds: analyses/perturbation_similarity.py."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from seeds import averaged, over_seeds, together

from landscape.plot import perturbation, save
from landscape.plot.style import STYLE, against_eps

HERE = Path(__file__).parent
RESULTS = HERE.parent / "data/results"


def draw(results: Path = RESULTS) -> Figure:
    each = together((results / "perturbation_similarity").glob("eps*_seed?.h5"))
    run = averaged(each, "perturbation")
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 2.9))
        first, second, third = canvas.subplots(1, 3)
        for axes, way in ((first, "random"), (second, "eigenvector:1")):
            perturbation(run, axes, direction=way, beside=[run])
    return canvas


if __name__ == "__main__":
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"perturbation_similarity.{ending}")
