"""Gradients at the end of adversarial training: are they larger, and do they stay, where the budget is large?

Answers to the right half of the paper's Figure 2 and to its Theorem 2: under a large budget gradients do not
vanish. The nets are those whose budget was warmed up, so that each is trained; their last 40 % is at the
target. Keeps the logs of the trainings, and measures at the final weights the gradient of all training data,
of examples and of mini-batches, each net under its own budget. Prints the tables of
docs/reproduction/late_training.md. Carries on where it stopped; 50 minutes of training and 8 of measuring on
one core. figures/late_training.py draws it.

    python analyses/late_training.py [--eps 0,0.1,0.2,0.3,0.4] [--seeds 0,1,2] [--nets DIR] [--results DIR]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from logs import complete, keep_log
from trained import arguments, nets

from landscape import measure
from landscape.progress import progress


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


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.set_defaults(examples=8000)
    parser.add_argument("--attack", default="pgd:steps=20")
    parser.add_argument("--batches", default="128:200")
    study(parser.parse_args())
