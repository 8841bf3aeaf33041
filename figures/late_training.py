"""Gradients at the end of adversarial training, and those of equal losses: analyses/late_training.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape import load
from landscape.log import Training, running
from landscape.plot import save
from landscape.plot.style import STYLE, colours, logarithmic

HERE = Path(__file__).parent
RESULTS = HERE.parent / "data/results/late_training"
LAST = 4  # epochs whose mini-batches are the end of a training
EPOCH = 63  # mini-batches of the running median
NORM = r"$\|\nabla L_\epsilon\|$ of the mini-batch"
MARKERS = "os^vD"  # from the smallest eps
KINDS = {
    "one example, mean": ("s", "0.65", lambda log, found: found.per_example["mean"]),
    "mini-batch, 95 % quantile": ("v", "0.5", lambda log, found: np.quantile(end(log), 0.95)),
    "mini-batch of 128, median": ("^", "0.3", lambda log, found: np.median(end(log))),
    "all training data": ("o", "0.0", lambda log, found: found.gradient_norm),
}

Pairs = dict[str, list[tuple[Training, Any]]]


def results() -> Pairs:
    """By eps, from small to large, the log and the gradient of each seed."""
    found: Pairs = {}
    for path in sorted(RESULTS.glob("log_*.h5")):
        (log,), (gradient,) = (
            load(path.with_name(f"{kind}{path.name[3:]}")).results for kind in ("log", "gradient")
        )
        found.setdefault(log.budget, []).append((log, gradient))
    return dict(sorted(found.items(), key=lambda item: item[1][0][0].eps))


def end(log: Training) -> np.ndarray:
    """Gradient norms of the mini-batches of the last epochs."""
    return log.gradient_norm[-LAST * log.steps_per_epoch :]


def draw() -> Figure:
    """Above the gradient over the training, and against the loss; below at its end against eps."""
    found = results()
    with matplotlib.rc_context(STYLE):
        canvas = Figure(figsize=(7.0, 4.9))
        (over, against), (raw, relative) = canvas.subplots(2, 2)
        for (eps, each), shade, marker in zip(found.items(), colours(len(found)), MARKERS, strict=True):
            logs = [log for log, _ in each]
            course(logs, over, shade)
            epochs(logs, against, color=shade, marker=marker, label=rf"$\epsilon$ = {eps}")
        log = logs[0]
        reached = log.step[np.isclose(log.each_eps, log.eps)][0]
        over.axvline(reached, color="0.45", linewidth=0.7, linestyle=":")
        over.annotate("at the target", (reached + 15, 7), fontsize=7)
        ends(found, raw, relative)
        for letter, axes in zip("abcd", (over, against, raw, relative), strict=True):
            axes.set_title(f"({letter})", loc="left", fontsize=STYLE["font.size"])
        against.legend(frameon=False, title="(a), (b)", alignment="left", handletextpad=0.2)
        raw.legend(frameon=False, loc="lower right", borderaxespad=0.1)
    return canvas


def course(logs: list[Training], axes: Axes, shade: Any) -> None:
    """The running median of the norm over an epoch: geometric mean over the seeds, from lowest to highest."""
    each = np.array([running(np.nanmedian, log.gradient_norm, EPOCH) for log in logs])
    step = logs[0].step
    axes.plot(step, np.exp(np.log(each).mean(axis=0)), color=shade, linewidth=1.0)
    axes.fill_between(step, each.min(axis=0), each.max(axis=0), color=shade, alpha=0.25, linewidth=0)
    axes.margins(x=0.01)
    logarithmic(axes, 0.2, 8)
    axes.set_xlabel("mini-batch")
    axes.set_ylabel(NORM)


def epochs(logs: list[Training], axes: Axes, **style: Any) -> None:
    """Gradient norm against loss: a point for each seed and epoch at the target budget but the first."""
    points = []
    for log in logs:
        parts = [slice(i, i + log.steps_per_epoch) for i in range(0, log.steps, log.steps_per_epoch)]
        at = [part for part in parts[1:] if np.isclose(log.each_eps[part], log.eps).all()]
        points += [(log.loss[part].mean(), np.median(log.gradient_norm[part])) for part in at]
    axes.plot(*np.transpose(points), linestyle="", markersize=2.8, alpha=0.8, markeredgewidth=0, **style)
    axes.set_xscale("log")
    logarithmic(axes, 0.2, 8)
    axes.set_xlabel("loss of the mini-batches (nats)")
    axes.set_ylabel(NORM)


def ends(found: Pairs, raw: Axes, relative: Axes) -> None:
    """Norms against eps, and divided by the loss of the training data: mean over the seeds ± deviation."""
    eps = [each[0][0].eps for each in found.values()]
    for axes, scale, low, high in ((raw, lambda _: 1.0, 0.008, 40), (relative, lambda r: r.loss, 0.5, 200)):
        for place, (label, (marker, grey, norm)) in enumerate(KINDS.items()):
            values = np.array([[norm(*pair) / scale(pair[1]) for pair in each] for each in found.values()])
            axes.errorbar(
                np.array(eps) + 0.004 * (place - 1.5),  # that bars stand side by side
                values.mean(axis=1),
                yerr=values.std(axis=1, ddof=1),
                marker=marker,
                color=grey,
                label=label,
                linestyle=":" if "quantile" in label else "-",
                capsize=1.5,
            )
        logarithmic(axes, low, high)
        axes.set_xticks(eps, list(found))
        axes.set_xlabel(r"budget $\epsilon$ (pixels of [0, 1])")
    raw.set_ylabel("norm of the gradient")
    relative.set_ylabel("norm of the gradient / loss")


if __name__ == "__main__":
    canvas = draw()
    for ending in ("pdf", "png"):
        save(canvas, HERE / f"late_training.{ending}")
