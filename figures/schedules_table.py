"""Errors of schedules, plain and periodic, under each attack: analyses/schedules_table.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from seeds import over_panels, over_seeds

from landscape import load
from landscape.plot import save
from landscape.plot.style import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HERE = Path(__file__).parent
RESULTS = HERE.parent / "data/results/schedules_table"
BUDGETS = {  # rows without and with periods
    "constant": ("constant", "periodic_constant"),
    "linear": ("linear", "periodic_linear"),
    "cosine": ("cosine", "periodic_cosine"),
    "linear, 3 × as long": ("long_linear", "long_periodic_linear"),
}
LOOKS = {  # marker, place on viridis, how far aside
    "plain": ("o", 0.0, -0.24),
    "periodic, last model": ("s", 0.42, 0.0),
    "periodic, ensemble": ("D", 0.78, 0.24),
}
CONSTANT = 90  # percent: ten classes, as many examples of each


def rows(folder: Path, names: tuple[str, str]) -> dict[str, list]:
    """Lines (label failed, errors in percent by attack) of each seed, by the kind of training."""
    found: dict[str, list] = {}
    for name in names:
        if not (path := folder / f"{name}.h5").exists():
            continue
        run = load(path)
        singles = [line for line in run.results if line.of == "checkpoint"]
        ensembles = [line for line in run.results if line.of == "ensemble"]
        if ensembles:
            size = len(ensembles[0].checkpoints)
            kinds = {"periodic, last model": singles[size - 1 :: size], "periodic, ensemble": ensembles}
        else:
            kinds = {"plain": singles}
        for kind, lines in kinds.items():
            found[kind] = [(line.label in run.provenance["failed"], errors(line.under)) for line in lines]
    return found


def errors(under: dict[str, dict]) -> dict[str, float]:
    """Errors in percent by attack, clean first and the worst case last."""
    order = sorted(under, key=lambda name: (name != "clean", name == "worst case"))
    return {name: 100 * (1 - under[name]["accuracy"]) for name in order}


def panel(axes: Axes, kinds: dict[str, list]) -> None:
    """Each attack's error, mean and standard deviation over the seeds that trained, and every seed."""
    names: list[str] = []
    for kind, lines in kinds.items():
        marker, shade, aside = LOOKS[kind]
        colour = matplotlib.colormaps["viridis"](shade)
        names = list(lines[0][1])
        for place, name in enumerate(names):
            there = [found[name] for bad, found in lines if not bad]
            bad = [found[name] for bad, found in lines if bad]
            at = place + aside
            axes.plot([at + 0.13] * len(there), there, marker, color=colour, markersize=1.6, alpha=0.7)
            axes.plot([at] * len(bad), bad, marker, color=colour, markerfacecolor="none", markersize=4.5)
            axes.plot([at] * len(bad), bad, "x", color=colour, markersize=4.5, markeredgewidth=0.8)
            if there:
                mean, spread = over_seeds(there)
                axes.errorbar(at, mean, yerr=np.nan_to_num(spread), marker=marker, color=colour, capsize=1.5)
    axes.axhline(CONSTANT, color="0.6", linestyle=(0, (1, 1)), linewidth=0.9, zorder=0)
    for place in range(1, len(names)):
        axes.axvline(place - 0.5, color="0.92", linewidth=0.6, zorder=0)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor")
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(names) - 0.5)


def failures(kinds: dict[str, list]) -> str:
    """How many runs failed, where any did."""
    lines = [line for of in kinds.values() for line in of]
    bad = sum(line[0] for line in lines)
    return f": {'all' if bad == len(lines) else bad} failed" if bad else ""


def legend(canvas: Figure) -> None:
    handles = [
        Line2D(
            [], [], marker=marker, linestyle="none", color=matplotlib.colormaps["viridis"](shade), label=kind
        )
        for kind, (marker, shade, _) in LOOKS.items()
    ]
    title = "mean ± standard deviation over the seeds that trained, small: each"
    over_panels(canvas, handles, title, ncols=5, columnspacing=1.2)


def draw(folder: Path = RESULTS) -> Figure:
    """A panel for each schedule of the budget, on one scale."""
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 3.0))
        places = canvas.subplots(1, len(BUDGETS), sharey=True)
        for letter, (told, names), axes in zip("abcd", BUDGETS.items(), places, strict=True):
            found = rows(folder, names)
            panel(axes, found)
            axes.set_title(f"({letter}) {told}{failures(found)}", loc="left", fontsize=STYLE["font.size"])
        places[0].set_ylim(0, 100)
        places[0].set_ylabel("error (%)")
        legend(canvas)
    return canvas


if __name__ == "__main__":
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"schedules_table.{ending}")
