"""Linear models of Fashion-MNIST around eps_bar, and all models of a toy set: analyses/linear_theory.py."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from landscape import load
from landscape.plot import excess, plane, save, shares, weight_norm
from landscape.plot.style import STYLE

HERE = Path(__file__).parent
RESULTS = HERE.parent / "data/results"


def draw() -> Figure:
    """Above W*, its loss and the sets against eps; below the plane of the toy set, eps growing."""
    runs = {part: load(RESULTS / f"linear_theory{part}.h5") for part in ("", "_two", "_sets", "_toy")}
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 4.9))
        above, below = canvas.subfigures(2, 1, height_ratios=(1.12, 1))
        first, second, third = above.subplots(1, 3)
        for name, shade, label in (("", 0.05, "ten classes"), ("_two", 0.6, "two classes")):
            weight_norm(runs[name], first, beside=[runs[""], runs["_two"]], label=label, shade=shade)
            excess(runs[name], second, label=label, shade=shade)
        shares(runs["_sets"], third)
        found = runs["_toy"].results
        places = below.subplots(1, len(found), sharex=True, sharey=True)
        for letter, axes in zip("abc", (first, second, third), strict=True):
            axes.get_legend().set_title(f"({letter})")
        for letter, axes, result in zip("defg", places, found, strict=True):
            plane(result, axes, beside=[runs["_toy"]])
            axes.label_outer()
            eps = axes.get_legend().get_title().get_text()
            axes.set_title(f"({letter})  {eps}", loc="left", fontsize=STYLE["font.size"])
            axes.get_legend().remove()
        places[0].legend(
            loc="upper left",
            ncols=2,
            handlelength=1.0,
            labelspacing=0.2,
            columnspacing=0.8,
            borderaxespad=0.0,
            frameon=False,
        )
    return canvas


if __name__ == "__main__":
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"linear_theory.{ending}")
