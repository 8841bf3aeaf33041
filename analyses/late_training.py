"""Gradients at the end of adversarial training: are they larger where the budget is, and do they stay so?

Answers to the right half of the paper's Figure 2 and to its Theorem 2: under a large budget gradients do not
vanish. The nets are those whose budget was warmed up, so that all are trained; their last 7 of 20 epochs are
at the target. Keeps the logs of the trainings, and measures at the final weights the gradient of all training
data, of examples and of mini-batches, each net under its own budget. Prints the tables of
docs/reproduction/late_training.md. Carries on where it stopped; 50 minutes of training and 8 of measuring on
one core. figures/late_training.py draws it.

    python analyses/late_training.py [--eps 0,0.1,0.2,0.3,0.4] [--seeds 0,1,2] [--nets DIR] [--results DIR]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from logs import by_eps, complete, keep_log, over_seeds
from trained import arguments, nets

from landscape import measure
from landscape.log import Training
from landscape.progress import progress

LAST, TARGET = 4, 7
"""Epochs whose mini-batches are the end of a training; those that are at the target budget."""
NORMS: dict[str, Callable[[Training, Any], float]] = {
    "all training data": lambda _, found: found.gradient_norm,
    "mini-batch": lambda log, _: float(np.median(_end(log, "gradient_norm", LAST))),
    "its 95 % quantile": lambda log, _: float(np.quantile(_end(log, "gradient_norm", LAST), 0.95)),
    "one example": lambda _, found: found.per_example["mean"],
}


def study(told: argparse.Namespace) -> Path:
    """The folder with two files for each net: its log, and its gradient."""
    folder = told.results / "late_training"
    folder.mkdir(parents=True, exist_ok=True)
    net = nets(told, "cosine", "cosine")
    for seed in told.seeds:
        for eps in told.eps:
            log, gradient = (folder / f"{kind}_eps{eps}_seed{seed}.h5" for kind in ("log", "gradient"))
            if not complete(log):
                keep_log(net(eps, seed), log)
            if complete(gradient):
                continue
            with progress() as watch:
                measure(
                    "gradient",
                    net(eps, seed),
                    eps,
                    data=told.data,
                    examples=told.examples,
                    attack=told.attack,
                    batches=told.batches,
                    output=gradient,
                    watch=watch,
                )
    return folder


def tables(folder: Path) -> str:
    """What the page on this study tells, as Markdown: mean ± standard deviation over the seeds."""
    logs, gradients = by_eps(folder, "log"), by_eps(folder, "gradient")
    clean = next(iter(logs.values()))
    pairs = {eps: list(zip(logs[eps], gradients[eps], strict=True)) for eps in logs}
    lines = ["| eps | loss | robust error | " + " | ".join(NORMS) + " | noise scale |", f"|{' --- |' * 8}"]
    for eps, each in pairs.items():
        found = [result for _, result in each]
        cells = [
            over_seeds(result.loss for result in found),
            over_seeds(1 - result.accuracy for result in found),
            *(over_seeds(norm(*pair) for pair in each) for norm in NORMS.values()),
            over_seeds(result.noise_scale for result in found),
        ]
        lines.append(f"| {' | '.join((eps, *cells))} |")
    lines += [
        "",
        f"| eps | {' | '.join(f'{name} / loss' for name in NORMS)} | mini-batch, end / begin of target "
        "| mini-batch / clean at equal loss |",
        f"|{' --- |' * 7}",
    ]
    for eps, each in pairs.items():
        cells = [over_seeds(norm(*pair) / pair[1].loss for pair in each) for norm in NORMS.values()]
        cells.append(over_seeds(_kept(log) for log, _ in each))
        cells.append(over_seeds(_at_equal_loss(*both) for both in zip(logs[eps], clean, strict=True)))
        lines.append(f"| {' | '.join((eps, *cells))} |")
    lines += ["", "| against eps | slope of log | of log of norm / loss |", f"|{' --- |' * 3}"]
    for name, norm in NORMS.items():
        cells = [_slopes(pairs, norm), _slopes(pairs, lambda *pair, norm=norm: norm(*pair) / pair[1].loss)]
        lines.append(f"| {' | '.join((name, *cells))} |")
    return "\n".join(lines)


def _end(log: Training, name: str, epochs: int) -> np.ndarray:
    return getattr(log, name)[-epochs * log.steps_per_epoch :]


def _kept(log: Training) -> float:
    """Gradient norm of the mini-batches of the last two epochs, over that of the first two at the target."""
    at = _end(log, "gradient_norm", TARGET)
    return float(np.median(at[-2 * log.steps_per_epoch :]) / np.median(at[: 2 * log.steps_per_epoch]))


def _at_equal_loss(log: Training, clean: Training) -> float:
    """Gradient norm of the last epoch over that of clean training at the same loss; NaN where it had none.

    Of clean training between epochs, from the second on: of log norm against log loss.
    """
    loss, norm = np.log(_epochs(clean)[:, 1:])
    own_loss, own_norm = np.log(_epochs(log)[:, -1])
    order = np.argsort(loss)
    if not loss.min() <= own_loss <= loss.max():
        return math.nan
    return float(np.exp(own_norm - np.interp(own_loss, loss[order], norm[order])))


def _epochs(log: Training) -> np.ndarray:
    """Mean loss and median gradient norm of the mini-batches of each epoch, (2, epochs)."""
    loss, norm = (getattr(log, name).reshape(-1, log.steps_per_epoch) for name in ("loss", "gradient_norm"))
    return np.array([loss.mean(axis=1), np.median(norm, axis=1)])


def _slopes(pairs: dict[str, list[Any]], value: Callable[..., float]) -> str:
    """Slope of the logarithm of a value against eps: a line through all budgets for each seed."""
    eps = [each[0][0].eps for each in pairs.values()]
    if len(eps) < 2:
        return "not computed"
    seeds = zip(*pairs.values(), strict=True)
    return over_seeds(float(np.polyfit(eps, [np.log(value(*pair)) for pair in each], 1)[0]) for each in seeds)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.set_defaults(examples=8000)
    parser.add_argument("--attack", default="pgd:steps=20")
    parser.add_argument("--batches", default="128:200")
    print(tables(study(parser.parse_args())))
