"""Trainings from scratch at constant budgets, and when they get away: analyses/early_training.py."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape import load
from landscape.log import Training, escape
from landscape.plot import save
from landscape.plot.style import STYLE, colours, logarithmic

HERE = Path(__file__).parent
RESULTS = HERE.parent / "data/results/early_training"
CLASSES = 10
PANELS = {
    "gradient_norm": r"$\|\nabla L_\epsilon\|$ of the mini-batch",
    "error": "robust error",
    "distance": r"$\|\theta - \theta_0\|$",
}
LINES: list[Any] = ["-", (0, (5, 1)), (0, (5, 1, 1, 1)), (0, (2, 1)), (0, (1, 0.7))]  # from the smallest eps
SEEDS = "os^"
EDGES = np.unique(np.round(np.geomspace(1, 1261, 40)).astype(int))
"""Mini-batches from one to the next are drawn as one point: as many as the eye can tell apart."""

Logs = dict[str, list[Training]]


def logs(name: str) -> Logs:
    """By eps, from small to large, the logs of all seeds."""
    found: Logs = {}
    runs = [load(path).results[0] for path in sorted(RESULTS.glob(f"{name}_*.h5"))]
    for log in sorted(runs, key=lambda log: log.eps):
        found.setdefault(log.budget, []).append(log)
    return found


def draw() -> Figure:
    """Above what mini-batches show; below when trainings get away, and those whose budget is warmed up."""
    constant, warm = logs("constant"), logs("cosine")
    shades = colours(len(constant))
    looks = {
        eps: {"color": shade, "linestyle": line}
        for eps, shade, line in zip(constant, shades, LINES, strict=True)
    }
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 4.3))
        (norm, error, distance), (out, loss, key) = canvas.subplots(2, 3)
        for axes, (name, label) in zip((norm, error, distance), PANELS.items(), strict=True):
            courses(constant, name, axes, looks)
            axes.set_ylabel(label)
        courses(constant, "loss", loss, {eps: looks[eps] for eps in warm})
        courses(warm, "loss", loss, looks)
        loss.set_ylabel("loss (nats)")
        batch = next(iter(constant.values()))[0].batch_size
        counts = math.sqrt((1 - 1 / CLASSES) / batch)
        for axes, level in ((norm, counts), (loss, math.log(CLASSES))):
            axes.axhline(level, color="0.45", linewidth=0.7, zorder=0)
        logarithmic(norm, counts / 2, 1.5 * max(np.max(line.get_ydata()) for line in norm.get_lines()))
        error.set_ylim(0, 1.03)
        distance.set_ylim(bottom=0)
        escapes(constant, looks, out)
        loss.annotate("budget constant", (90, 2.36), ha="center", va="bottom", fontsize=7)
        loss.annotate("warmed up", (15, 1.35), ha="right", fontsize=7)
        (log, *_), *_ = warm.values()
        reached = log.step[np.isclose(log.each_eps, log.eps)][0]
        loss.axvline(reached, ymax=0.12, color="0.45", linewidth=0.7)
        loss.annotate("at the target from here", (0.9 * reached, 0.08), ha="right", fontsize=7)
        loss.set_ylim(0, 2.6)
        for letter, axes in zip("abcde", (norm, error, distance, out, loss), strict=True):
            axes.set_title(f"({letter})", loc="left", fontsize=STYLE["font.size"])
        explain(key, looks)
    return canvas


def courses(logs: Logs, name: str, axes: Axes, looks: dict[str, Any]) -> None:
    """A quantity against the mini-batch, a line for each seed: medians of gradient norms, else means."""
    statistic = np.median if name == "gradient_norm" else np.mean
    for eps, look in looks.items():
        for log in logs.get(eps, []):
            values, parts = getattr(log, name), np.digitize(log.step, EDGES)
            each = [parts == part for part in np.unique(parts)]
            step, drawn = (
                [f(v[part]) for part in each] for f, v in ((np.mean, log.step), (statistic, values))
            )
            axes.plot(step, drawn, linewidth=0.9, **look)
    axes.set_xscale("log")
    axes.set_xlabel("mini-batch")


def escapes(constant: Logs, looks: dict[str, Any], axes: Axes) -> None:
    """The mini-batch at which each training gets away; an arrow from its last where it never does."""
    for eps, found in constant.items():
        for seed, log in enumerate(found):
            at, place = escape(log, 0.9 * math.log(CLASSES)), log.eps + 0.015 * (seed - 1)
            told = {"color": looks[eps]["color"], "linestyle": ""}
            if at is None:
                axes.plot(place, log.steps, marker=SEEDS[seed], fillstyle="none", **told)
                axes.annotate(
                    "",
                    (place, 2.2 * log.steps),
                    (place, 1.08 * log.steps),
                    arrowprops={"arrowstyle": "->", "color": told["color"], "shrinkA": 0, "shrinkB": 0},
                )
            else:
                axes.plot(place, at, marker=SEEDS[seed], **told)
    logarithmic(axes, 5, 3000)
    axes.set_ylabel("escape (mini-batch)")
    axes.set_xticks([found[0].eps for found in constant.values()], list(constant))
    axes.set_xlabel(r"budget $\epsilon$ (pixels of [0, 1])")


def explain(axes: Axes, looks: dict[str, Any]) -> None:
    """What colours, lines and markers are."""
    axes.axis("off")
    lines = [Line2D([], [], **look) for look in looks.values()]
    lines.append(Line2D([], [], color="0.45", linewidth=0.7))
    lines += [Line2D([], [], color="0.3", linestyle="", marker=marker) for marker in SEEDS]
    names = [rf"$\epsilon$ = {eps}" for eps in looks]
    names += ["constant classifier", *(f"seed {seed}" for seed in range(len(SEEDS)))]
    axes.legend(lines, names, loc="center left", frameon=False, handlelength=2.6, borderaxespad=0)


if __name__ == "__main__":
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"early_training.{ending}")
