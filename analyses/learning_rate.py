"""The robust error against the learning rate, with the budget constant and with it warmed up.

Answers to the paper's Section 5, Figure 5: with a schedule of the budget training is much less sensitive to
the learning rate. LeNets of width 4 at eps 0.4, at which a constant budget trains nothing, and at 0.2, where
it does; 4,000 digits, 12 epochs of Adam, mini-batches of 64, three seeds each. The control "warmup" has a
constant budget and in its place the learning rate warmed up, over the epochs in which the linear
schedule reaches the target. Errors of 1,000 test digits, unperturbed and under PGD-20. Prints the page's
tables. Carries on where it stopped; on one core two hours of training, ten minutes of measuring.
figures/learning_rate.py draws it.

    python analyses/learning_rate.py [--eps 0.4,0.2] [--schedules LIST] [--rates LIST] [--seeds 0,1,2]
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from evaluated import errors, evaluated, spread
from trained import arguments, nets

from landscape import load
from landscape.analyzers.evaluate import CLEAN
from landscape.format import markdown
from landscape.results import Run

SCHEDULES = ("constant", "linear", "cosine", "warmup")
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
CONTROL = 1e-3
"""The learning rate of the control."""
ATTACK = "PGD-20"
NEAR = (5.0, 10.0)
"""Points of robust error within which a learning rate counts as near the best of its schedule."""


def measured(told: argparse.Namespace, eps: str, schedule: str, rate: float) -> Run:
    """The nets of one schedule at one budget and learning rate, all seeds."""
    half = told.epochs / 2
    shape, warmup = ("constant", f"{half:g}") if schedule == "warmup" else (schedule, "0")
    family = f"learning_rate_{schedule}"
    trained = nets(told, family, shape, warmup=warmup, options=(("batch_size", told.batch_size),))
    return evaluated(
        told.results / f"learning_rate/eps{eps}_{schedule}_lr{rate:g}.h5",
        [partial(lambda seed: [trained(eps, seed, lr=rate)], seed) for seed in told.seeds],
        eps,
        attacks="attack",
        examples=told.examples,
    )


def table(results: Path, eps: str) -> str:
    """Errors of each schedule at each learning rate, failed runs counted apart."""
    of = {schedule: runs for schedule in SCHEDULES if (runs := stored(results, eps, schedule))}
    rates = sorted({rate for runs in of.values() for rate in runs})
    rows = [["schedule", "", *(f"lr {rate:g}" for rate in rates)]]
    for schedule, runs in of.items():
        for what in (ATTACK, CLEAN):
            rows.append([schedule, f"{what} error, %", *(cell(runs.get(rate), what) for rate in rates)])
    return markdown(rows)


def stored(results: Path, eps: str, schedule: str) -> dict[float, Run]:
    """What is measured of a schedule at a budget, by learning rate."""
    paths = (results / "learning_rate").glob(f"eps{eps}_{schedule}_lr*.h5")
    found = {float(path.stem.rpartition("_lr")[2]): load(path) for path in paths}
    return dict(sorted(found.items()))


def cell(run: Run | None, what: str) -> str:
    """mean(std) over the runs that did not fail, and how many did."""
    if run is None:
        return ""
    there, bad = good(run), run.provenance["seeds"] - len(good(run))
    told = [spread(errors(there, what))] if there else []
    return ", ".join(told + [f"{bad} of {run.provenance['seeds']} failed"] * (bad > 0))


def good(run: Run) -> list:
    """The lines of the nets whose training did not fail."""
    return [line for line in run.results if line.of != "mean" and line.label not in run.provenance["failed"]]


def basins(results: Path, eps: str) -> str:
    """Of each schedule the best learning rate, how wide its surroundings are, and the runs that failed."""
    rows = [["schedule", "best error, %", "at lr", *(f"within {near:g} points" for near in NEAR), "failed"]]
    for schedule in SCHEDULES[:-1]:
        if not (runs := stored(results, eps, schedule)):
            continue
        means = {rate: mean for rate, run in runs.items() if (mean := whole_mean(run)) is not None}
        bad = sum(run.provenance["seeds"] - len(good(run)) for run in runs.values())
        of = sum(run.provenance["seeds"] for run in runs.values())
        best = min(means, key=means.__getitem__, default=None)
        near = [
            ", ".join(f"{rate:g}" for rate, mean in means.items() if mean <= means[best] + points)
            for points in NEAR
            if best is not None
        ]
        first = [cell(runs[best], ATTACK), f"{best:g}"] if best is not None else ["none", ""]
        rows.append([schedule, *first, *(near or ["none"] * len(NEAR)), f"{bad} of {of}"])
    return markdown(rows)


def whole_mean(run: Run) -> float | None:
    """The mean robust error in percent where no run failed."""
    values = errors(good(run), ATTACK)
    return sum(values) / len(values) if len(values) == run.provenance["seeds"] else None


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.set_defaults(eps=("0.4", "0.2"), epochs=12, train_examples=4000)
    parser.add_argument("--schedules", default=",".join(SCHEDULES))
    parser.add_argument("--rates", default=",".join(f"{rate:g}" for rate in RATES))
    parser.add_argument("--batch-size", type=int, default=64, help="of the training")
    told = parser.parse_args()
    for eps in told.eps:
        for rate in map(float, told.rates.split(",")):
            for schedule in told.schedules.split(","):
                if schedule != "warmup" or rate == CONTROL:
                    measured(told, eps, schedule, rate)
        print(f"eps {eps}\n\n{table(told.results, eps)}\n\n{basins(told.results, eps)}\n")
