"""Are independent minima connected by a way of low loss, and does a budget part them?

Answers to the paper's appendix on mode connectivity: a curve of low loss joins two minima of plain training;
under adversarial training a barrier is left on it. Three LeNets at each of five budgets, independently
initialised, are three pairs; for each a Bezier curve of 5 control points, as in the paper, is trained under
the nets' own budget, from the straight line. Told is how far the loss L_eps and the robust error rise above
the chord between the ends, on examples of the training and on others, along the curve and along the line.

Two controls: curves of one pair trained three times as long, for a barrier may be left because a training
was short; and ResNets with BatchNorm, whose statistics are estimated anew at every place. Prints the tables
of docs/reproduction/connectivity.md. Carries on where it stopped, within a curve too; on one core 40 minutes
where the nets are trained. figures/connectivity.py draws it.

    python analyses/connectivity.py [--eps 0,0.1,0.2,0.3,0.4] [--seeds 0,1,2] [--parts pairs,longer,batchnorm]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from trained import Nets, arguments, nets

from landscape import load, measure
from landscape.analyzers.connect import Connection
from landscape.format import markdown, percent, plus_minus
from landscape.progress import progress

PARTS = ("pairs", "longer", "batchnorm")
LONGER, TIMES = ("0", "0.2", "0.4"), 3
"""Budgets at which the curve of one pair is trained so many times as long."""
BATCHNORM = ("0", "0.1")
"""Budgets of the nets with BatchNorm."""
FEW, SHORT = 4000, 8
"""Examples and epochs of their training, and examples of the training of their curves."""


def study(told: argparse.Namespace) -> Path:
    """The folder with a file for each curve."""
    folder = told.results / "connectivity"
    folder.mkdir(parents=True, exist_ok=True)
    pairs = list(combinations(told.seeds, 2))
    family = nets(told, "cosine", "cosine")
    short = {"examples": told.train_examples or FEW, "epochs": min(told.epochs, SHORT)}
    resnets = nets(told, "resnet", "cosine", model=told.batchnorm, **short)
    curve = {"epochs": told.curve_epochs, "train_examples": told.curve_examples, "points": told.points}
    for eps in told.eps:
        if "pairs" in told.parts:
            for pair in pairs:
                connected(told, folder, "", family, eps, pair, curve)
        if "longer" in told.parts and eps in LONGER:
            longer = curve | {"epochs": TIMES * told.curve_epochs}
            connected(told, folder, "longer_", family, eps, pairs[0], longer)
        if "batchnorm" in told.parts and eps in BATCHNORM:
            few = curve | {"train_examples": min(told.curve_examples, FEW)}
            connected(told, folder, "batchnorm_", resnets, eps, pairs[0], few)
    return folder


def connected(
    told: argparse.Namespace,
    folder: Path,
    name: str,
    family: Nets,
    eps: str,
    pair: tuple[int, int],
    curve: dict[str, Any],
) -> None:
    """Connect the nets of two seeds, unless that is done."""
    output = folder / f"{name}eps{eps}_seeds{pair[0]}-{pair[1]}.h5"
    if output.exists() and load(output).complete:
        return
    ends = [family(eps, seed) for seed in pair]
    with progress() as watch:
        measure(
            "connect",
            ends,
            eps,
            data=told.data,
            examples=told.examples,
            attack=told.attack,
            output=output,
            watch=watch,
            lr=told.curve_lr,
            attack_precision="auto",
            **curve,
        )


Pair = dict[tuple[str, str], Connection]
"""What a file holds: results by split, "train" or "test", and way, "line" or "bezier"."""


def found(folder: Path, name: str = "") -> dict[str, dict[str, Pair]]:
    """What there is by budget, from small to large, and pair of seeds: "0-1"."""
    each: dict[str, dict[str, Pair]] = {}
    for path in sorted(folder.glob(f"{name}eps*.h5")):
        run = load(path)
        if run.complete:
            pair = {(result.split, result.way): result for result in run.results}
            each.setdefault(run.results[0].budget, {})[path.stem.rpartition("seeds")[2]] = pair
    return dict(sorted(each.items(), key=lambda item: float(item[0])))


def over(values: Iterable[float], unit: str = "") -> str:
    """Mean ± sample standard deviation over pairs; a number alone of one pair."""
    each = list(values)
    return plus_minus(float(np.mean(each)), float(np.std(each, ddof=1)) if len(each) > 1 else 0.0) + unit


def slopes(pairs: dict[str, dict[str, Pair]], split: str, field: str) -> np.ndarray:
    """By how much each pair's barrier on the curve grows with eps, by least squares."""
    values = [[getattr(pair[split, "bezier"], field) for pair in each.values()] for each in pairs.values()]
    return np.polyfit([float(eps) for eps in pairs], np.array(values), 1)[0]


def jackknife(values: np.ndarray) -> float:
    """The standard error of the mean over the three pairs of three nets, which share nets.

    Leaving out a net leaves one pair: √((n − 1)/n Σ (pair − mean)²) with n = 3 nets, which is √(4/3) times
    the deviation over the pairs, twice what it would be were they independent.
    """
    return float(np.sqrt(2 / 3 * ((values - values.mean()) ** 2).sum()))


def of_pairs(pairs: dict[str, dict[str, Pair]], split: str) -> str:
    """Barriers of the line and of the curve on one split, over the pairs."""
    rows = [["eps", f"L at the ends, {split}", "barrier, line", "curve", "of the error, line", "curve"]]
    for eps, each in pairs.items():
        ways = [[pair[split, way] for pair in each.values()] for way in ("line", "bezier")]
        ends = over((result.loss[0] + result.loss[-1]) / 2 for result in ways[0])
        losses = [over(result.barrier for result in way) for way in ways]
        errors = [over((100 * result.accuracy_barrier for result in way), " %") for way in ways]
        rows.append([eps, ends, *losses, *errors])
    return markdown(rows)


def trends(pairs: dict[str, dict[str, Pair]]) -> str:
    """How the curve's barriers grow with eps, of each pair and on average."""
    names = list(next(iter(pairs.values())))
    rows = [["slope of the curve's barrier", *(f"pair {name}" for name in names), "mean ± error over nets"]]
    for split in ("train", "test"):
        for field, scale, unit in (("barrier", 1, ""), ("accuracy_barrier", 100, " %")):
            each = scale * slopes(pairs, split, field)
            mean = plus_minus(float(each.mean()), jackknife(each)) + unit
            rows.append(
                [f"{'error' if unit else 'loss'}, {split}", *(f"{one:.3g}{unit}" for one in each), mean]
            )
    return markdown(rows)


def alone(pairs: dict[str, Pair], split: str) -> str:
    """Barriers of single curves with their errors over the examples, by what they are."""
    rows = [["", f"L at the ends, {split}", "barrier, line", "curve", "of the error, line", "curve"]]
    for what, pair in pairs.items():
        ways = [pair[split, way] for way in ("line", "bezier")]
        losses = [plus_minus(result.barrier, result.barrier_stderr) for result in ways]
        errors = [percent(result.accuracy_barrier, result.accuracy_barrier_stderr) for result in ways]
        rows.append([what, f"{(ways[0].loss[0] + ways[0].loss[-1]) / 2:.3g}", *losses, *errors])
    return markdown(rows)


def controls(folder: Path) -> dict[str, Pair]:
    """The curves that were trained longer, each behind its like, and those of nets with BatchNorm."""
    pairs, told = found(folder), dict[str, Pair]()
    for eps, each in found(folder, "longer_").items():
        for name, longer in each.items():
            for pair in (pairs.get(eps, {}).get(name), longer):
                if pair is not None:
                    told[f"eps {eps}, {pair['train', 'bezier'].epochs} epochs"] = pair
    for eps, each in found(folder, "batchnorm_").items():
        told |= {f"BatchNorm, eps {eps}": pair for pair in each.values()}
    return told


def tables(folder: Path) -> str:
    """What the page on this study tells, as Markdown."""
    pairs, single = found(folder), controls(folder)
    told = [of_pairs(pairs, split) for split in ("train", "test")]
    if len(pairs) > 1 and {len(each) for each in pairs.values()} == {3}:
        told.append(trends(pairs))
    return "\n\n".join([*told, *(alone(single, split) for split in ("train", "test"))])


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.set_defaults(examples=500)
    parser.add_argument("--parts", type=lambda words: words.split(","), default=PARTS)
    parser.add_argument("--attack", default="pgd:steps=10", help="that losses are measured under")
    parser.add_argument("--points", type=int, default=11, help="places on each way")
    parser.add_argument("--curve-epochs", type=int, default=10)
    parser.add_argument("--curve-examples", type=int, default=8000)
    parser.add_argument("--curve-lr", type=float, default=3e-3)
    parser.add_argument("--batchnorm", default="resnet18:width=2,colours=1", help="model with BatchNorm")
    print(tables(study(parser.parse_args())))
