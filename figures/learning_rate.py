"""The error against the learning rate for three schedules of the budget: analyses/learning_rate.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from seeds import over_panels, over_seeds

from landscape import load
from landscape.plot import save
from landscape.plot.style import STYLE
from landscape.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HERE = Path(__file__).parent
RESULTS = HERE.parent / "data/results/learning_rate"
LOOKS = {  # marker, line, place on viridis, how far aside (powers of ten)
    "constant": ("o", "-", 0.0, -0.07),
    "linear": ("s", "--", 0.42, 0.0),
    "cosine": ("D", ":", 0.78, 0.07),
    "warmup": ("^", "", 0.0, 0.14),
}
NAMES = {
    "constant": "budget constant",
    "linear": "budget linear",
    "cosine": "budget cosine",
    "warmup": "budget constant, lr warmed up",
}
EPS = ("0.4", "0.2")
ATTACK = "PGD-20"
CONSTANT = 90  # percent: ten classes, as many examples of each


def values(run: Run, under: str) -> tuple[list[float], list[float]]:
    """Errors in percent, of the nets whose training went well and of those whose training failed."""
    lines = [line for line in run.results if line.of == "checkpoint"]
    bad = [line.label in run.provenance["failed"] for line in lines]
    found = [100 * (1 - line.under[under]["accuracy"]) for line in lines]
    return [v for v, b in zip(found, bad, strict=True) if not b], [
        v for v, b in zip(found, bad, strict=True) if b
    ]


def curve(axes: Axes, runs: dict[float, Run], schedule: str, under: str) -> None:
    """Mean and standard deviation over the seeds that trained, and each seed; crosses where one failed."""
    marker, style, shade, aside = LOOKS[schedule]
    colour = matplotlib.colormaps["viridis"](shade)
    means = []
    for rate, run in sorted(runs.items()):
        there, bad = values(run, under)
        at = rate * 10**aside
        axes.plot([at * 1.05] * len(there), there, marker, color=colour, markersize=1.8, alpha=0.6)
        axes.plot([at] * len(bad), bad, marker, color=colour, markerfacecolor="none", markersize=5)
        axes.plot([at] * len(bad), bad, "x", color=colour, markersize=5, markeredgewidth=0.8)
        if there:
            mean, spread = over_seeds(there)
            axes.errorbar(
                at,
                mean,
                yerr=np.nan_to_num(spread),
                marker=marker,
                color=colour,
                markerfacecolor="white" if len(there) < run.provenance["seeds"] else colour,
                zorder=3,
                capsize=1.5,
            )
            means.append((at, mean))
    if means:
        axes.plot(*np.array(means).T, linestyle=style or "none", color=colour)


def failures(axes: Axes, of: dict[str, dict[float, Run]]) -> None:
    """How many runs of each schedule failed; a stub where none did."""
    width = 0.09
    for place, (schedule, runs) in enumerate(of.items()):
        colour = matplotlib.colormaps["viridis"](LOOKS[schedule][2])
        for rate, run in runs.items():
            seeds = run.provenance["seeds"]
            bad = seeds - len(values(run, "clean")[0])
            left, right = (rate * 10 ** (width * (place + edge - len(of) / 2)) for edge in (0.08, 0.92))
            face = "white" if schedule == "warmup" else colour  # as the constant budget's otherwise
            axes.bar(
                left, max(bad, 0.05), right - left, align="edge", color=face, edgecolor=colour, linewidth=0.8
            )
            axes.text((left * right) ** 0.5, bad + 0.12, f"{bad}", ha="center", fontsize=6, color="0.2")
    most = max(run.provenance["seeds"] for runs in of.values() for run in runs.values())
    axes.set_ylim(0, most + 0.6)
    axes.set_yticks(range(most + 1))
    axes.set_ylabel(f"failed, of {most}")


def legend(canvas: Figure, there: list[str]) -> None:
    handles = [
        Line2D(
            [],
            [],
            marker=LOOKS[name][0],
            linestyle=LOOKS[name][1] or "none",
            color=matplotlib.colormaps["viridis"](LOOKS[name][2]),
            label=NAMES[name],
        )
        for name in there
    ]
    title = "mean ± standard deviation over the seeds that trained (hollow: not all did), small: each"
    over_panels(canvas, handles, title, ncols=3)


def stored(results: Path, eps: str) -> dict[str, dict[float, Run]]:
    """What is measured at a budget, by schedule and learning rate."""
    of: dict[str, dict[float, Run]] = {}
    for schedule in LOOKS:
        for path in sorted(results.glob(f"eps{eps}_{schedule}_lr*.h5")):
            of.setdefault(schedule, {})[float(path.stem.rpartition("_lr")[2])] = load(path)
    return of


def draw(results: Path = RESULTS) -> Figure:
    """Robust error and how many runs failed, at two budgets."""
    found = [stored(results, eps) for eps in EPS]
    rates = sorted({rate for of in found for runs in of.values() for rate in runs})
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 3.9))
        above, below = canvas.subplots(2, len(EPS), height_ratios=(2, 1), sharex=True, sharey="row")
        for column, (eps, of) in enumerate(zip(EPS, found, strict=True)):
            for schedule, runs in of.items():
                curve(above[column], runs, schedule, ATTACK)
            above[column].axhline(CONSTANT, color="0.6", linestyle=(0, (1, 1)), linewidth=0.9, zorder=0)
            told = rf"({'ab'[column]}) $\epsilon$ = {eps}"
            above[column].set_title(told, loc="left", fontsize=STYLE["font.size"])
            failures(below[column], of)
            below[column].set_title(f"({'cd'[column]})", loc="left", fontsize=STYLE["font.size"])
            rate_axis(below[column], rates)
            for axes in (above[column], below[column]):
                axes.label_outer()
        above[0].set_ylim(0, 100)
        above[0].set_ylabel(f"error under {ATTACK} (%)")
        legend(canvas, list(found[0]))
    return canvas


def rate_axis(axes: Axes, rates: list[float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(rates[0] / 1.6, rates[-1] * 1.6)
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.set_xlabel("learning rate of Adam")


if __name__ == "__main__":
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"learning_rate.{ending}")
