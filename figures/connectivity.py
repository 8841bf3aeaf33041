"""Loss and error on curves between independent LeNets, and their barriers: analyses/connectivity.py."""

from __future__ import annotations

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
SHIFT = 0.006  # between marks at one eps
INKS = {"train": "black", "test": "0.55"}
CONTROLS = {"longer_": ("x", "trained 3 times as long"), "batchnorm_": ("D", "with BatchNorm")}
Pair = dict[tuple[str, str], Any]
"""The results of a pair of nets by split and way."""


def found(folder: Path, name: str = "") -> dict[str, list[Pair]]:
    """The pairs of each budget, from small to large."""
    each: dict[str, list[Pair]] = {}
    for path in sorted(folder.glob(f"{name}eps*.h5")):
        results = load(path).results
        each.setdefault(results[0].budget, []).append({(r.split, r.way): r for r in results})
    return dict(sorted(each.items(), key=lambda item: float(item[0])))


def loss(result: Any) -> np.ndarray:
    return result.loss


def error(result: Any) -> np.ndarray:
    return 100 * (1 - result.accuracy)


def shade(eps: str, most: float) -> Any:
    return matplotlib.colormaps["viridis"](DARK * float(eps) / most)


def along(axes: Axes, pairs: dict[str, list[Pair]], split: str, values: Callable[[Any], np.ndarray]) -> None:
    """Means over the pairs against t, with their deviations as bands: curves solid, straight lines dashed."""
    most = max(map(float, pairs))
    for eps, each in pairs.items():
        colour = shade(eps, most)
        for way, style, width in (("line", "--", 0.8), ("bezier", "-", 1.4)):
            told = np.array([values(pair[split, way]) for pair in each])
            mean, std, t = told.mean(axis=0), told.std(axis=0, ddof=1), each[0][split, way].t
            axes.plot(t, mean, style, color=colour, linewidth=width, gid=f"{eps} {way}")
            low = np.maximum(mean - std, mean / 3)  # below is no place on a logarithmic axis
            axes.fill_between(t, low, mean + std, color=colour, alpha=0.18, linewidth=0)
    axes.set_xlim(0, 1)
    axes.set_xlabel("$t$, from one net to the other")


def barriers(axes: Axes, folder: Path, field: str, scale: float) -> None:
    """The curves' barriers against eps: means over the pairs with deviations, each pair, and the controls."""
    pairs = found(folder)
    for split, side, style in (("train", -1, "-"), ("test", 1, "--")):
        ink = INKS[split]

        def told(of: dict[str, list[Pair]], split: str = split) -> np.ndarray:
            return scale * np.array([[getattr(p[split, "bezier"], field) for p in e] for e in of.values()])

        eps, each = np.array([float(budget) for budget in pairs]), told(pairs)
        axes.errorbar(
            eps + side * SHIFT,
            each.mean(axis=1),
            each.std(axis=1, ddof=1),
            fmt=f"o{style}",
            color=ink,
            capsize=2,
            label=split,
        )
        axes.plot(
            np.repeat(eps + 2.5 * side * SHIFT, each.shape[1]),
            each.ravel(),
            ".",
            color=ink,
            markersize=2.5,
            gid=f"{split} pairs",
        )
        for name, (mark, _) in CONTROLS.items():
            if alone := found(folder, name):
                at = np.array([float(budget) for budget in alone]) + side * SHIFT
                axes.plot(
                    at,
                    told(alone)[:, 0],
                    mark,
                    color=ink,
                    markerfacecolor="white",
                    markersize=4.5,
                    zorder=3,
                    gid=f"{name}{split}",
                )
    axes.set_xticks(eps, list(pairs))
    axes.set_xlabel(r"budget $\epsilon$ (pixels of [0, 1])")


def draw(folder: Path = RESULTS) -> Figure:
    """Loss above, robust error below: along the ways on training and test examples, and the barriers."""
    pairs = found(folder)
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 4.9))
        places = canvas.subplots(2, 3)
        for row, (values, label) in enumerate(((loss, r"loss $L_\epsilon$"), (error, "robust error (%)"))):
            for axes, split in zip(places[row], ("train", "test"), strict=False):
                along(axes, pairs, split, values)
            everything = np.concatenate(
                [values(result) for each in pairs.values() for pair in each for result in pair.values()]
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
    pairs, hollow = found(folder), {"markerfacecolor": "white", "markersize": 4.5}
    most = max(map(float, pairs))
    shown: list[tuple[str, str, dict[str, Any]]] = [
        *((rf"$\epsilon$ = {eps}", "-", {"color": shade(eps, most), "linewidth": 1.4}) for eps in pairs),
        ("trained curve", "-", {"color": "0.4", "linewidth": 1.4}),
        ("straight line", "--", {"color": "0.4", "linewidth": 0.8}),
        ("barrier, training", "o-", {"color": INKS["train"]}),
        ("barrier, test", "o--", {"color": INKS["test"]}),
    ]
    for name, (mark, label) in CONTROLS.items():
        if found(folder, name):
            shown.append((label, mark, {"color": INKS["train"], **hollow}))
    lines = [axes.plot([], [], style, **told)[0] for _, style, told in shown]
    labels = [label for label, _, _ in shown]
    canvas.legend(lines, labels, loc="outside upper left", ncols=4, frameon=False, handlelength=1.8)


if __name__ == "__main__":
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"connectivity.{ending}")
