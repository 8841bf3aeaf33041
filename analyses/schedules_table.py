"""Errors of schedules of the budget, plain and periodic, under strong attacks.

Answers to the paper's Table 1: schedules beat a constant budget, and the ensemble of the ends of the periods
of periodic adversarial scheduling beats both. LeNets of width 4 at eps 0.4, 8,000 digits, 20 epochs, three
seeds; periods 0:10:15:20, the three models at their ends attacked one by one and as an ensemble by the mean
of their probabilities; the linear schedule once more three times as long. Errors of 300 test digits, clean,
under the training attack (PGD-10), PGD-100, APGD-CE, APGD-DLR, Square with 500 queries, and the worst case.
Prints the page's tables. Carries on where it stopped; on one core an hour and a half of training, ten minutes
of measuring. figures/schedules_table.py draws it.

    python analyses/schedules_table.py [--rows LIST] [--attacks LIST] [--seeds 0,1,2]
    landscape show data/results/schedules_table/periodic_cosine.h5 --format latex
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from evaluated import errors, evaluated, spread
from over_seeds import interval
from trained import arguments, nets

from landscape import load
from landscape.analyzers.evaluate import CLEAN, WORST, Evaluation
from landscape.format import markdown
from landscape.results import Run
from landscape.training_files import period_path

SHAPES = ("constant", "linear", "cosine")
BUDGETS = {**{shape: shape for shape in SHAPES}, "long_linear": "linear, 3 times as long"}
LONGER = 3
"""Times the epochs and periods of a row that is long."""


def periodic(budget: str) -> str:
    """The row of the same budget with periods."""
    long, _, shape = budget.rpartition("_")
    return "_".join(word for word in (long, "periodic", shape) if word)


ROWS = (*BUDGETS, *map(periodic, BUDGETS))
ATTACKS = "attack,pgd:steps=100,apgd-ce,apgd-dlr,square-margin:queries=500"
KINDS = {"plain": "plain", "last": "periodic, its last model", "ensemble": "periodic, ensemble"}


def measured(told: argparse.Namespace, row: str) -> Run:
    """All nets of a row; of a periodic one the ends of the periods, and their ensembles."""
    (eps,), words = told.eps, row.split("_")
    times, whole = LONGER if "long" in words else 1, "periodic" not in words
    ends = len(told.periods.split(":")) - 1
    periods = "" if whole else ":".join(str(times * int(epoch)) for epoch in told.periods.split(":"))
    trained = nets(told, row, words[-1], epochs=times * told.epochs, periods=periods)

    def of(seed: int) -> list[Path]:
        path = trained(eps, seed)
        return [path] if whole else [period_path(path, end, ends) for end in range(1, ends + 1)]

    return evaluated(
        told.results / f"schedules_table/{row}.h5",
        [partial(of, seed) for seed in told.seeds],
        eps,
        attack="pgd:steps=10",
        attacks=told.attacks,
        examples=told.examples,
        ensemble=not whole,
        members=0 if whole else ends,
    )


def kinds(run: Run) -> dict[str, list[Evaluation]]:
    """The lines of one file that stand in a row of the table, each seed's, by what the row is."""
    singles = [line for line in run.results if line.of == "checkpoint"]
    ensembles = [line for line in run.results if line.of == "ensemble"]
    if not ensembles:
        return {"plain": singles}
    size = len(ensembles[0].checkpoints)
    return {"last": singles[size - 1 :: size], "ensemble": ensembles}


def table(results: Path) -> str:
    """Errors in percent, mean(std) over the seeds; failed runs are counted apart."""
    found = {row: load(path) for row in ROWS if (path := results / f"schedules_table/{row}.h5").exists()}
    attacks = list(dict.fromkeys(name for run in found.values() for name in run.results[0].under))
    attacks = sorted(attacks, key=lambda name: (name != CLEAN, name == WORST))
    rows = [["budget", "training", *attacks]]
    for budget, told_as in BUDGETS.items():
        for run in (found.get(budget), found.get(periodic(budget))):
            for kind, lines in kinds(run).items() if run else ():
                there = [line for line in lines if line.label not in run.provenance["failed"]]
                bad = run.provenance["seeds"] - len(there)
                name = KINDS[kind] + (f" ({bad} of {run.provenance['seeds']} failed)" if bad else "")
                told = there or lines
                rows.append([told_as, name, *(spread(errors(told, attack)) for attack in attacks)])
    return markdown(rows)


def differences(results: Path) -> str:
    """How worst-case errors differ, seed by seed, with the 95 % interval of Student's t; failed ones too."""
    found: dict[tuple[str, str], list[float]] = {}
    for budget in BUDGETS:
        for row in (budget, periodic(budget)):
            if (path := results / f"schedules_table/{row}.h5").exists():
                found |= {(budget, kind): errors(lines, WORST) for kind, lines in kinds(load(path)).items()}
    pairs = [((shape, "plain"), ("constant", "plain")) for shape in SHAPES[1:]]
    pairs += [(("long_linear", "plain"), ("linear", "plain"))]
    compared = (("last", "plain"), ("ensemble", "plain"), ("ensemble", "last"))
    pairs += [((budget, one), (budget, other)) for budget in BUDGETS for one, other in compared]
    rows = [["worst-case error of", "less that of", "points"]]
    for one, other in pairs:
        if one in found and other in found and len(found[one]) == len(found[other]):
            rows.append(
                [_named(one), _named(other), interval(np.subtract(found[one], found[other]), digits=1)]
            )
    return markdown(rows)


def _named(of: tuple[str, str]) -> str:
    return f"{BUDGETS[of[0]]}, {KINDS[of[1]]}"


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.set_defaults(eps=("0.4",), examples=300)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--periods", default="0:10:15:20")
    parser.add_argument("--attacks", default=ATTACKS)
    told = parser.parse_args()
    for row in told.rows.split(","):
        measured(told, row)
    print(table(told.results))
    print()
    print(differences(told.results))
