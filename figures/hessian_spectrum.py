"""Spectra of the Hessian against the budget, trained and measured crossed: analyses/hessian_spectrum.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.lines
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape import load
from landscape.plot import save
from landscape.plot.style import DARK, STYLE, legend_above, logarithmic

HERE = Path(__file__).parent
RESULTS = HERE.parent / "data/results/hessian_spectrum"
EPS = ("0", "0.1", "0.2", "0.3", "0.4")
SEEDS = (0, 1, 2)
MARKERS = dict(zip(EPS, "os^Dv", strict=True))


class Spectra:
    """What the files of the study hold: results by net, trained budget, measured budget and seed."""

    def __init__(self, folder: Path) -> None:
        self.found: dict[tuple[str, str, str, int], Any] = {}
        for path in sorted(folder.glob("*.h5")):
            *kind, trained, seed = path.stem.split("_")
            net = "resnet" if "resnet" in kind else "lenet"
            if trained == "untrained":
                net, trained = "untrained", "eps0"
            for result in load(path).results:
                key = (net, trained.removeprefix("eps"), result.budget, int(seed.removeprefix("seed")))
                self.found[key] = result

    def __call__(self, net: str, trained: str, measured: str) -> list[Any]:
        """The results of all seeds."""
        return [r for (n, t, m, _), r in sorted(self.found.items()) if (n, t, m) == (net, trained, measured)]

    def scale(self, measured: str) -> float:
        """The mean of L_eps over nets before any training."""
        return float(np.mean([result.loss for result in self("untrained", "0", measured)]))


def over_seeds(values: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """The median over the seeds, and how far the lowest and the highest of them lie from it (2, …).

    Of three seeds that is each of them; a mean would be where none is if one lies far off.
    """
    each = np.array(values)
    middle = np.median(each, axis=0)
    return middle, np.stack([middle - each.min(axis=0), each.max(axis=0) - middle])


def colour(eps: str) -> Any:
    return matplotlib.colormaps["viridis"](DARK * float(eps) / float(EPS[-1]))


def style(eps: str) -> dict[str, Any]:
    """Of a net that was trained at eps."""
    return {"color": colour(eps), "marker": MARKERS[eps]}


def eigenvalues(spectra: Spectra, axes: Axes, net: str, budgets: Sequence[str]) -> None:
    """Eigenvalues at the own budget: the median over the seeds, a band from lowest to highest."""
    low, high = np.inf, 0.0
    for eps in budgets:
        each = np.array([result.eigenvalues for result in spectra(net, eps, eps)])
        middle, _ = over_seeds(each)
        index = np.arange(1, len(middle) + 1)
        band: Any = {"color": colour(eps), "alpha": 0.2, "linewidth": 0}
        axes.fill_between(index, each.min(axis=0), each.max(axis=0), **band)
        axes.plot(index, middle, **style(eps), markersize=2.5)
        low, high = min(low, each.min()), max(high, each.max())
    logarithmic(axes, low / 1.5, high * 1.2)
    axes.set_xticks([1, *range(5, len(index) + 1, 5)])
    axes.set_xlabel("index $i$")
    axes.set_ylabel(r"$\lambda_i$ at the own budget (nats)")


def scaled(spectra: Spectra, axes: Axes, quantity: Any, name: str) -> None:
    """A quantity at the own budget against eps: as it is, over the loss before training, over its own."""
    drawn: list[float] = []
    at = [float(eps) for eps in EPS]
    for label, marker, line, grey, over in (
        (f"{name} (nats)", "o", "-", "black", lambda result: 1.0),
        (rf"{name} / $L_\epsilon$ before training", "s", "--", "0.4", lambda r: spectra.scale(r.budget)),
        (rf"{name} / own $L_\epsilon(\theta)$", "^", ":", "0.6", lambda result: result.loss),
    ):
        each = np.array([[quantity(r) / over(r) for r in spectra("lenet", eps, eps)] for eps in EPS])
        middle, spread = over_seeds(each.T)
        look: Any = {"color": grey, "marker": marker, "linestyle": line}
        axes.errorbar(at, middle, yerr=spread, capsize=1.5, label=label, **look)
        drawn += [*each.ravel()]
    logarithmic(axes, min(drawn) / 1.5, max(drawn) * 1.5)
    axes.set_xticks(at)
    axes.set_xlabel("own budget (pixels of [0, 1])")
    legend_above(axes)


def crossed(spectra: Spectra, axes: Axes, quantity: Any, name: str) -> None:
    """A quantity against the budget of the measurement: dashed beyond the training's, which is ringed."""
    drawn = []
    for place, trained in enumerate(EPS):
        each = [[quantity(r) for r in spectra("lenet", trained, measured)] for measured in EPS]
        middle, spread = over_seeds(np.array(each).T)
        at = np.array([float(eps) for eps in EPS])
        axes.errorbar(at, middle, yerr=spread, linestyle="none", capsize=1.5, **style(trained))
        axes.plot(at[: place + 1], middle[: place + 1], color=colour(trained))
        axes.plot(at[place:], middle[place:], color=colour(trained), linestyle="--", linewidth=0.8)
        ring: Any = {"marker": "o", "markersize": 8, "markerfacecolor": "none", "markeredgewidth": 0.7}
        axes.plot(at[place], middle[place], color="black", zorder=5, **ring)
        drawn += [*np.ravel(each)]
    logarithmic(axes, min(drawn) / 1.5, max(drawn) * 1.5)
    axes.set_xticks(at)
    axes.set_xlabel("budget of the measurement (pixels)")
    axes.set_ylabel(name)


def draw(folder: Path = RESULTS) -> Figure:
    """Above nets at their own budget; below them at all budgets, and ResNets where there are results."""
    spectra = Spectra(folder)
    top, trace = r"$\lambda_1$", r"tr $H$"
    resnets = any(net == "resnet" for net, *_ in spectra.found)
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 5.2))
        places = canvas.subplot_mosaic("aabbcc;ddeeff" if resnets else "aabbcc;dddeee")
        eigenvalues(spectra, places["a"], "lenet", EPS)
        scaled(spectra, places["b"], lambda result: result.eigenvalues[0], top)
        scaled(spectra, places["c"], lambda result: result.trace, trace)
        crossed(spectra, places["d"], lambda result: result.eigenvalues[0], rf"{top} (nats)")
        crossed(spectra, places["e"], lambda result: result.trace, f"{trace} (nats)")
        if resnets:
            eigenvalues(spectra, places["f"], "resnet", EPS[:2])
        for letter, axes in places.items():
            name = f"({letter})" + "  ResNet18" * (letter == "f")
            if axes.get_legend():
                axes.get_legend().set_title(name)
            else:
                axes.set_title(name, loc="left", fontsize=STYLE["font.size"])
        lines = [matplotlib.lines.Line2D([], [], **style(eps), label=eps) for eps in EPS]
        canvas.legend(
            handles=lines,
            title=r"Trained at $\epsilon$ =   (median of 3 seeds; bars, bands: lowest to highest; "
            "rings: own budget; dashed: beyond it)",
            alignment="left",
            title_fontsize=STYLE["legend.fontsize"],
            loc="outside upper left",
            ncols=len(EPS),
            frameon=False,
        )
    return canvas


if __name__ == "__main__":
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"hessian_spectrum.{ending}")
