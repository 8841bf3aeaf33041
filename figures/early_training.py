"""Trainings from scratch at constant budgets, and how long they stay where they start: analyses/early_training.py."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape import load
from landscape.log import Training, escape
from landscape.plot import save
from landscape.plot.style import STYLE, colours

HERE = Path(__file__).parent
RESULTS = HERE.parent / "data/results/early_training"
CLASSES = 10
PANELS = {
    "gradient_norm": r"$\|\nabla L_\epsilon\|$ of the mini-batch",
    "error": "robust error of the mini-batch",
    "distance": r"$\|\theta - \theta_0\|$",
}
LINES = ["-", (0, (4, 1)), (0, (4, 1, 1, 1)), (0, (1, 0.8)), "-"]
EDGES = np.unique(np.round(np.geomspace(1, 1261, 40)).astype(int))
"""Mini-batches from one to the next are drawn as one point."""


def logs(name: str) -> dict[str, list[Training]]:
    """By eps, from small to large, the logs of all seeds."""
    found: dict[str, list[Training]] = {}
    runs = [load(path).results[0] for path in sorted(RESULTS.glob(f"{name}_*.h5"))]
    for log in sorted(runs, key=lambda log: log.eps):
        found.setdefault(log.budget, []).append(log)
    return found


def draw() -> Figure:
    """Above what the mini-batches of the first epochs show; below when the plateau ends, and what warming up does."""
    constant, cosine = logs("constant"), logs("cosine")
    shades = dict(zip(constant, colours(len(constant)), strict=True))
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 4.4))
        places = canvas.subplots(2, 3)
        for axes, (name, label) in zip(places[0], PANELS.items(), strict=True):
            for (eps, found), line in zip(constant.items(), LINES, strict=True):
                for seed, log in enumerate(found):
                    told = {"color": shades[eps], "linestyle": line, "linewidth": 0.9}
                    course(log, name, axes, **told, label=None if seed else rf"$\epsilon$ = {eps}")
            axes.set_ylabel(label)
        floor = math.sqrt((1 - 1 / CLASSES) / next(iter(constant.values()))[0].batch_size)
        places[0, 0].axhline(floor, color="0.5", linewidth=0.7, linestyle=":", label="class counts alone")
        places[0, 0].set_yscale("log")
        escapes(constant, shades, places[1, 0])
        warmed(constant, cosine, shades, places[1, 1])
        for letter, axes in zip("abcde", places.flat, strict=False):
            axes.set_title(f"({letter})", loc="left", fontsize=STYLE["font.size"])
        places[1, 2].axis("off")
        handles, labels = places[0, 0].get_legend_handles_labels()
        places[1, 2].legend(handles, labels, loc="center left", frameon=False)
    return canvas


def course(log: Training, name: str, axes: Axes, **style: Any) -> None:
    """A quantity against the mini-batch: medians of gradient norms, else means, evenly spaced in log t."""
    statistic = np.median if name == "gradient_norm" else np.mean
    values, parts = getattr(log, name), np.digitize(log.step, EDGES)
    each = [parts == part for part in np.unique(parts)]
    axes.plot([log.step[p].mean() for p in each], [statistic(values[p]) for p in each], **style)
    axes.set_xscale("log")
    axes.set_xlabel("mini-batch")


def escapes(logs: dict[str, list[Training]], shades: dict[str, Any], axes: Axes) -> None:
    for eps, found in logs.items():
        for seed, log in enumerate(found):
            out = escape(log, 0.9 * math.log(CLASSES))
            axes.plot(
                log.eps + 0.012 * (seed - 1),
                out or log.steps,
                marker="os^"[seed] if out else r"$\uparrow$",
                markersize=4 if out else 8,
                color=shades[eps],
                linestyle="",
            )
    axes.set_yscale("log")
    axes.set_ylabel("mini-batch of the escape")
    axes.set_xlabel(r"budget $\epsilon$ (pixels of [0, 1])")


def warmed(constant: dict[str, list[Training]], cosine: Any, shades: dict[str, Any], axes: Axes) -> None:
    for eps in cosine:
        for found, line in ((constant[eps], "-"), (cosine[eps], "--")):
            for log in found:
                course(log, "loss", axes, color=shades[eps], linestyle=line, linewidth=0.9)
    axes.axhline(math.log(CLASSES), color="0.5", linewidth=0.7, linestyle=":")
    axes.set_ylabel("loss of the mini-batch")


if __name__ == "__main__":
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"early_training.{ending}")
