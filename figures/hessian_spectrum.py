"""Spectra of the Hessian against the budget, trained and measured crossed: analyses/hessian_spectrum.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
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
LABEL = r"budget $\epsilon$ (pixels of [0, 1])"


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
    """The mean over the seeds and their sample standard deviation."""
    return np.mean(values, axis=0), np.std(values, axis=0, ddof=1)


def colour(eps: str) -> Any:
    return matplotlib.colormaps["viridis"](DARK * float(eps) / float(EPS[-1]))


def eigenvalues(spectra: Spectra, axes: Axes, net: str, budgets: Sequence[str]) -> None:
    """Eigenvalues at the own budget against their index, bands of ± the standard deviation over seeds."""
    low, high = np.inf, 0.0
    for eps in budgets:
        mean, std = over_seeds([result.eigenvalues for result in spectra(net, eps, eps)])
        index = np.arange(1, len(mean) + 1)
        axes.fill_between(index, mean - std, mean + std, color=colour(eps), alpha=0.2, linewidth=0)
        style: Any = {"color": colour(eps), "marker": MARKERS[eps], "markersize": 2.5}
        axes.plot(index, mean, label=rf"$\epsilon$ = {eps}", **style)
        low, high = min(low, mean.min()), max(high, (mean + std).max())
    logarithmic(axes, low / 1.5, high * 1.3)
    axes.set_xlabel("index $i$")
    axes.set_ylabel(r"eigenvalue $\lambda_i$ (nats)")


def scaled(spectra: Spectra, axes: Axes, quantity: Any, name: str) -> None:
    """A quantity at the own budget against eps: as it is, over the loss before training, over its own."""
    drawn = []
    for label, marker, line, shade, over in (
        (f"{name} (nats)", "o", "-", 0.05, lambda result: 1.0),
        (rf"{name} / $L_\epsilon$ of untrained nets", "s", "--", 0.45, lambda r: spectra.scale(r.budget)),
        (rf"{name} / own $L_\epsilon(\theta)$", "^", ":", 0.75, lambda result: result.loss),
    ):
        each = np.array([[quantity(r) / over(r) for r in spectra("lenet", eps, eps)] for eps in EPS])
        mean, std = over_seeds(each.T)
        style: Any = {"color": matplotlib.colormaps["viridis"](shade), "marker": marker, "linestyle": line}
        axes.errorbar([float(eps) for eps in EPS], mean, yerr=std, capsize=1.5, label=label, **style)
        drawn += [*(mean - std)[mean > std], *mean, *(mean + std)]
    logarithmic(axes, min(drawn) / 1.3, max(drawn) * 1.3)
    axes.set_xticks([float(eps) for eps in EPS])
    axes.set_xlabel(LABEL)


def crossed(spectra: Spectra, axes: Axes, quantity: Any, name: str) -> None:
    """A quantity against the budget of the measurement, a line for each of the training, its own ringed."""
    drawn = []
    for trained in EPS:
        each = [[quantity(r) for r in spectra("lenet", trained, measured)] for measured in EPS]
        mean, std = over_seeds(np.array(each).T)
        style: Any = {"color": colour(trained), "marker": MARKERS[trained], "label": rf"{trained}"}
        axes.errorbar([float(eps) for eps in EPS], mean, yerr=std, capsize=1.5, **style)
        ring: Any = {"marker": "o", "markersize": 8, "markerfacecolor": "none", "color": "black"}
        axes.plot(float(trained), mean[EPS.index(trained)], markeredgewidth=0.7, zorder=5, **ring)
        drawn += [*mean, *(mean + std)]
    logarithmic(axes, min(drawn) / 1.5, max(drawn) * 1.3)
    axes.set_xticks([float(eps) for eps in EPS])
    axes.set_xlabel(r"$\epsilon$ of the measurement")
    axes.set_ylabel(name)


def draw() -> Figure:
    """Above LeNets at their own budget; below them at all budgets, and ResNets."""
    spectra = Spectra(RESULTS)
    top, trace = r"$\lambda_1$", r"tr $H$"
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 5.2))
        places = canvas.subplots(2, 3)
        eigenvalues(spectra, places[0, 0], "lenet", EPS)
        scaled(spectra, places[0, 1], lambda result: result.eigenvalues[0], top)
        scaled(spectra, places[0, 2], lambda result: result.trace, trace)
        crossed(spectra, places[1, 0], lambda result: result.eigenvalues[0], rf"{top} (nats)")
        crossed(spectra, places[1, 1], lambda result: result.trace, f"{trace} (nats)")
        eigenvalues(spectra, places[1, 2], "resnet", EPS[:3])
        titles = ("LeNet, own budget", "LeNet, own budget", "LeNet, own budget", "trained at", "trained at",
                  "ResNet18, own budget")  # fmt: skip
        for letter, title, axes in zip("abcdef", titles, places.flat, strict=True):
            legend_above(axes)
            axes.get_legend().set_title(f"({letter})  {title}")
    return canvas


if __name__ == "__main__":
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"hessian_spectrum.{ending}")
