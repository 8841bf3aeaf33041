"""Loss and error on curves between independent LeNets, and their barriers: analyses/connectivity.py."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape import load
from landscape.plot import save
from landscape.plot.style import DARK, STYLE, logarithmic

HERE = Path(__file__).parent
RESULTS = HERE.parent / "data/results/connectivity"
SHIFT, APART = 0.018, 0.009  # of training and test examples at one eps, and of pairs beside each other
INKS = {"train": "black", "test": "0.55"}
MARKS, BATCHNORM = {"0-1": "o", "0-2": "^", "1-2": "s"}, "x"
WAYS = {"line": ("--", 0.8), "bezier": ("-", 1.4)}
LONGER = (":", 1.1)
Pair = dict[tuple[str, str], Any]
"""The results of a pair of nets by split and way."""


@functools.cache
def found(folder: Path, name: str = "") -> dict[str, dict[str, Pair]]:
    """The pairs of each budget, from small to large, by their seeds: "0-1"."""
    each: dict[str, dict[str, Pair]] = {}
    for path in sorted(folder.glob(f"{name}eps*.h5")):
        results = load(path).results
        pair = {(r.split, r.way): r for r in results}
        each.setdefault(results[0].budget, {})[path.stem.rpartition("seeds")[2]] = pair
    return dict(sorted(each.items(), key=lambda item: float(item[0])))


def loss(result: Any) -> np.ndarray:
    return result.loss


def error(result: Any) -> np.ndarray:
    return 100 * (1 - result.accuracy)


def shade(eps: str, most: float) -> Any:
    return matplotlib.colormaps["viridis"](DARK * float(eps) / most)


def along(axes: Axes, folder: Path, split: str, values: Callable[[Any], np.ndarray]) -> None:
    """Means over the pairs against t, with their deviations as bands; each curve that was trained longer."""
    pairs = found(folder)
    most = max(map(float, pairs))
    for eps, each in pairs.items():
        colour = shade(eps, most)
        for way, (style, width) in WAYS.items():
            told = np.array([values(pair[split, way]) for pair in each.values()])
            mean, std, t = told.mean(axis=0), told.std(axis=0, ddof=1), each["0-1"][split, way].t
            axes.plot(t, mean, style, color=colour, linewidth=width, gid=f"{eps} {way}")
            low = np.maximum(mean - std, mean / 3)  # below is no place on a logarithmic axis
            axes.fill_between(t, low, mean + std, color=colour, alpha=0.18, linewidth=0)
    style, width = LONGER
    for eps, each in found(folder, "longer_").items():
        for name, pair in each.items():
            curve = pair[split, "bezier"]
            axes.plot(
                curve.t, values(curve), style, color=shade(eps, most), linewidth=width, gid=f"{eps} {name}"
            )
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axes.set_xlabel("$t$, from one net to the other")


def barriers(axes: Axes, folder: Path, field: str, scale: float) -> None:
    """The curves' barriers against eps: each pair, their mean, and the controls."""
    pairs = found(folder)
    for split, side, style in (("train", -1, "-"), ("test", 1, "--")):
        ink, shift = INKS[split], side * SHIFT

        def told(pair: Pair, split: str = split) -> float:
            return scale * getattr(pair[split, "bezier"], field)

        means = [np.mean([told(pair) for pair in each.values()]) for each in pairs.values()]
        axes.plot([float(eps) + shift for eps in pairs], means, style, color=ink, gid=f"{split} mean")
        for name, filled in (("", ink), ("longer_", "white")):
            for which, points in of_pairs(found(folder, name), told).items():
                beside = shift + APART * (list(MARKS).index(which) - 1)
                axes.plot(
                    [float(eps) + beside for eps in points],
                    list(points.values()),
                    MARKS[which],
                    color=ink,
                    markerfacecolor=filled,
                    zorder=3,
                    gid=f"{name}{split} {which}",
                )
        for eps, each in found(folder, "batchnorm_").items():
            values = [told(pair) for pair in each.values()]
            axes.plot([float(eps) + shift], values, BATCHNORM, color=ink, zorder=3, gid=f"batchnorm_{split}")
    axes.set_xticks([float(eps) for eps in pairs], list(pairs))
    axes.set_xlabel(r"budget $\epsilon$ (pixels of [0, 1])")


def of_pairs(each: dict[str, dict[str, Pair]], told: Callable[[Pair], float]) -> dict[str, dict[str, float]]:
    """Of each pair of seeds a number at each budget."""
    names = dict.fromkeys(name for pairs in each.values() for name in pairs)
    return {name: {eps: told(pairs[name]) for eps, pairs in each.items() if name in pairs} for name in names}


def draw(folder: Path = RESULTS) -> Figure:
    """Loss above, robust error below: along the ways on training and test examples, and the barriers."""
    drawn = [each for name in ("", "longer_") for each in found(folder, name).values()]
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 4.9))
        places = canvas.subplots(2, 3)
        for row, (values, label) in enumerate(((loss, r"loss $L_\epsilon$"), (error, "robust error (%)"))):
            for axes, split in zip(places[row], ("train", "test"), strict=False):
                along(axes, folder, split, values)
            everything = np.concatenate(
                [values(r) for each in drawn for pair in each.values() for r in pair.values()]
            )
            for axes in places[row, :2]:
                if row == 0:
                    logarithmic(axes, everything.min() / 1.3, 1.3 * everything.max())
                else:
                    axes.set_ylim(-1, 1.05 * everything.max())
            places[row, 1].tick_params(labelleft=False)
            places[row, 0].set_ylabel(label)
        barriers(places[0, 2], folder, "barrier", 1.0)
        places[0, 2].set_ylabel("rise of the loss (nats)")
        barriers(places[1, 2], folder, "accuracy_barrier", 100.0)
        places[1, 2].set_ylabel("rise of the error (%)")
        titles = ("training examples", "test examples", "barrier on the curve")
        for letter, axes, title in zip("abcdef", places.flat, 2 * titles, strict=True):
            axes.set_title(f"({letter})  {title}", loc="left", fontsize=STYLE["font.size"])
        legends(canvas, places[0, 0], folder)
    return canvas


def legends(canvas: Figure, axes: Axes, folder: Path) -> None:
    """What colours and marks say, above the panels."""
    pairs, ink = found(folder), INKS["train"]
    most = max(map(float, pairs))
    shown: list[tuple[str, str, dict[str, Any]]] = [
        *((rf"$\epsilon$ = {eps}", "-", {"color": shade(eps, most), "linewidth": 1.4}) for eps in pairs),
        ("straight line", WAYS["line"][0], {"color": "0.4", "linewidth": WAYS["line"][1]}),
        ("curve, 10 epochs", WAYS["bezier"][0], {"color": "0.4", "linewidth": WAYS["bezier"][1]}),
        ("curve, 30 epochs", LONGER[0], {"color": "0.4", "linewidth": LONGER[1]}),
        ("30 epochs", "o", {"color": ink, "markerfacecolor": "white"}),
        ("mean, training", "-", {"color": ink}),
        ("mean, test", "--", {"color": INKS["test"]}),
        ("BatchNorm, seeds 0-1", BATCHNORM, {"color": ink}),
        *((f"seeds {which}", mark, {"color": ink}) for which, mark in MARKS.items()),
    ]
    lines = [axes.plot([], [], style, **told)[0] for _, style, told in shown]
    labels = [label for label, _, _ in shown]
    canvas.legend(lines, labels, loc="outside upper left", ncols=5, frameon=False, handlelength=1.8)


if __name__ == "__main__":
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"connectivity.{ending}")
