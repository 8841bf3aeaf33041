"""Trainings from scratch at constant budgets: how long a large budget holds them where nothing is learned.

Answers to the left half of the paper's Figure 2 and to its learning curves: large budgets make gradients
small and progress slow from a random start. Keeps the logs of the trainings, and of those at the two largest
budgets with the budget warmed up; measures the gradient where trainings end that never got away, under their
own budget and on clean inputs. Prints the tables of docs/reproduction/early_training.md. Carries on where it
stopped; 25 minutes of training and 3 of measuring on one core. figures/early_training.py draws it.

    python analyses/early_training.py [--eps 0,0.1,0.2,0.3,0.4] [--seeds 0,1,2] [--nets DIR] [--results DIR]
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from logs import by_eps, complete, keep_log, over_seeds
from trained import arguments, nets

from landscape import measure
from landscape.log import Training, escape
from landscape.progress import progress

SLOW = ("0.3", "0.4")
"""Budgets under which a training from scratch gets away late or never: these last 20 epochs."""
LEVEL = 0.9 * math.log(10)
"""A training has got away from the constant classifier, whose loss is log 10, where its own is below this."""
SHORT = 8
"""Epochs of the trainings at smaller budgets, which get away in the first two."""


def study(told: argparse.Namespace) -> Path:
    """The folder with a file for each training, and for each gradient."""
    folder = told.results / "early_training"
    folder.mkdir(parents=True, exist_ok=True)
    short = nets(told, "early", epochs=min(told.epochs, SHORT))
    long, warm = nets(told, "constant"), nets(told, "cosine", "cosine")
    for seed in told.seeds:
        for eps in told.eps:
            wanted = {"constant": long, "cosine": warm} if eps in SLOW else {"constant": short}
            for name, family in wanted.items():
                output = folder / f"{name}_eps{eps}_seed{seed}.h5"
                if not complete(output):
                    keep_log(family(eps, seed), output)
        output = folder / f"gradient_eps{SLOW[-1]}_seed{seed}.h5"
        if SLOW[-1] in told.eps and not complete(output):
            _gradient(told, long(SLOW[-1], seed), output)
    return folder


def _gradient(told: argparse.Namespace, checkpoint: Path, output: Path) -> None:
    """The gradient at a net, on clean inputs and under the budget that it was trained with."""
    with progress() as watch:
        measure(
            "gradient",
            checkpoint,
            f"0,{SLOW[-1]}",
            data=told.data,
            examples=told.examples,
            attack=told.attack,
            batches=told.batches,
            output=output,
            watch=watch,
        )


def tables(folder: Path) -> str:
    """What the page on this study tells, as Markdown: mean ± standard deviation over the seeds."""
    constant, cosine = by_eps(folder, "constant"), by_eps(folder, "cosine")
    lines = [
        "| eps | got away at mini-batch, by seed | first epoch: loss | gradient norm | robust error "
        f"| ‖θ − θ_0‖ after it | after epoch {SHORT} |",
        f"|{' --- |' * 7}",
    ]
    for eps, found in constant.items():
        cells = [
            _escapes(found),
            *(
                over_seeds(statistic(getattr(log, name)[: log.steps_per_epoch]) for log in found)
                for name, statistic in (("loss", np.mean), ("gradient_norm", np.median), ("error", np.mean))
            ),
            *(
                over_seeds(log.distance[: epoch * log.steps_per_epoch][-1] for log in found)
                for epoch in (1, SHORT)
            ),
        ]
        lines.append(f"| {' | '.join((eps, *cells))} |")
    lines += ["", f"Slope of log escape against eps, as far as all got away: {_growth(constant)}"]
    lines += [
        "",
        "| eps | budget | got away at | loss in the last epoch | robust error |",
        f"|{' --- |' * 5}",
    ]
    for eps in cosine:
        for name, found in (("constant", constant[eps]), ("warmed up", cosine[eps])):
            cells = [
                over_seeds(getattr(log, which)[-log.steps_per_epoch :].mean() for log in found)
                for which in ("loss", "error")
            ]
            lines.append(f"| {' | '.join((eps, name, _escapes(found), *cells))} |")
    lines += [
        "",
        "| at the end of eps 0.4, constant | ‖∇L‖ | without sampling noise | loss |",
        f"|{' --- |' * 4}",
    ]
    for eps, each in by_eps(folder, "gradient").items():
        cells = [
            over_seeds(getattr(r, name) for r in each)
            for name in ("gradient_norm", "gradient_norm_unbiased", "loss")
        ]
        lines.append(f"| {' | '.join((f'measured at eps = {eps}', *cells))} |")
    return "\n".join(lines)


def _growth(constant: dict[str, list[Training]]) -> str:
    """Slope of log escape against eps: for each seed a line through the budgets that all got away from."""
    out = {found[0].eps: [escape(log, LEVEL) for log in found] for found in constant.values()}
    known = {eps: [at for at in each if at] for eps, each in out.items() if all(each)}
    if len(known) < 2:
        return "not computed"
    return over_seeds(np.polyfit(list(known), np.log(list(known.values())), 1)[0])


def _escapes(found: list[Training]) -> str:
    return ", ".join(str(escape(log, LEVEL) or f"> {log.steps:,}") for log in found)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.set_defaults(examples=8000)
    parser.add_argument("--attack", default="pgd:steps=20")
    parser.add_argument("--batches", default="128:200")
    print(tables(study(parser.parse_args())))
