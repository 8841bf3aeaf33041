"""Top-20 Hessian eigenvalues and trace of nets trained at five budgets, each measured at all five.

Answers to the paper's Figure 3: do larger budgets lead to sharper minima, raw and over the scale of the loss?
Trained and measured budget are crossed, for a net has both: the weights that a budget led to, and the
adversary that it is looked at with. Families of files, several seeds each:

    own         LeNets trained at eps 0 ... 0.4 (budget warmed up by the cosine schedule) at their own budget
    crossed     the same at the four others: the top eigenvalue and the trace
    untrained   the same before any training: their mean loss is the scale that the paper divides by
    resnet      ResNet18 with BatchNorm, trained at eps 0 and 0.1, at their own budget: the top 10

Prints the tables of docs/reproduction/hessian_spectrum.md. Carries on where it stopped; half an hour on one
core where the nets are trained. figures/hessian_spectrum.py draws it.

    python analyses/hessian_spectrum.py [--families own,crossed,untrained,resnet] [--seeds 0,1,2] [--k 20]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from over_seeds import bounds, spread
from scipy.stats import spearmanr
from trained import EPS, Nets, arguments, nets

from landscape import load, measure
from landscape.progress import progress

LENETS = "own,crossed,untrained"
FRESH = range(5)
"""Seeds of the nets before training."""
RESNET_EPS = EPS[:2]


@dataclass(frozen=True)
class Asked:
    """What one result file shall hold: a net, trained at eps, measured at budgets."""

    name: str
    net: Nets
    eps: str
    seed: int
    budgets: str
    options: dict[str, Any] = field(default_factory=dict)


def asked(told: argparse.Namespace, families: str) -> Iterator[Asked]:
    """All files of some families."""
    if "untrained" in families:
        initial = nets(told, "untrained", epochs=0)
        # The loss is what is wanted, which hardly differs between examples.
        options = {"k": 1, "trace": "none", "examples": min(told.examples, 200)}
        for seed in FRESH:
            yield Asked(f"untrained_seed{seed}", initial, "0", seed, told.measured, options)
    trained = nets(told, "cosine", "cosine")
    for seed in told.seeds:
        for eps in told.eps:
            if "own" in families:
                yield Asked(f"eps{eps}_seed{seed}", trained, eps, seed, eps)
            if "crossed" in families:
                others = ",".join(budget for budget in told.measured.split(",") if budget != eps)
                yield Asked(f"crossed_eps{eps}_seed{seed}", trained, eps, seed, others, {"k": 1})
    if "resnet" in families:
        few = {"epochs": min(told.epochs, 8), "examples": told.train_examples or 4000}
        residual = nets(told, "resnet", "cosine", model=told.resnet, **few)
        # Its passes cost seven times those of a LeNet.
        options = {"k": min(told.k, 10), "examples": min(told.examples, 250)}
        for seed in told.seeds:
            for eps in (eps for eps in told.eps if eps in RESNET_EPS):
                yield Asked(f"resnet_eps{eps}_seed{seed}", residual, eps, seed, eps, options)


Found = Mapping[tuple[str, str, int], Any]  # by trained budget, measured budget, seed
Quantity = Callable[[Any], float]


def top(result: Any) -> float:
    return float(result.eigenvalues[0])


def trace(result: Any) -> float:
    return result.trace


def loss(result: Any) -> float:
    return result.loss


NAMES: dict[Quantity, str] = {top: "λ1", trace: "tr H", loss: "loss"}


def tables(folder: Path) -> str:
    """What the files say, as Markdown: mean ± sample standard deviation over the seeds."""
    lenets, fresh, resnets = (_found(folder, start) for start in ("eps,crossed", "untrained", "resnet"))
    parts = []
    if fresh and lenets:
        parts += [_own(lenets, _scale(fresh)), _trends(lenets, _scale(fresh)), _crossed(lenets, top)]
        parts += [_crossed(lenets, trace), _crossed(lenets, loss), _both(lenets)]
    if resnets:
        parts += [_own(resnets, None), _trends(resnets, None)]
    return "\n\n".join(parts)


def _found(folder: Path, starts: str) -> Found:
    found = {}
    for path in sorted(folder.glob("*.h5")):
        if path.name.startswith(tuple(starts.split(","))):
            *_, trained, seed = path.stem.split("_")
            for result in load(path).results:
                found[trained.removeprefix("eps"), result.budget, int(seed.removeprefix("seed"))] = result
    return found


def _scale(fresh: Found) -> dict[str, float]:
    """The mean of L_eps over nets before training, by budget."""
    budgets = {measured for _, measured, _ in fresh}
    return {
        eps: float(np.mean([r.loss for (_, measured, _), r in fresh.items() if measured == eps]))
        for eps in budgets
    }


def _each(found: Found, trained: str, measured: str) -> list[Any]:
    return [r for (a, b, _), r in sorted(found.items()) if (a, b) == (trained, measured)]


def _quantities(scale: Mapping[str, float] | None) -> dict[str, Quantity]:
    found: dict[str, Quantity] = {}
    for name, quantity in (("λ1", top), ("tr H", trace)):
        found[name] = quantity
        if scale:
            found[f"{name} / untrained loss"] = lambda r, q=quantity: q(r) / scale[r.budget]  # type: ignore[misc]
        found[f"{name} / own loss"] = lambda r, q=quantity: q(r) / r.loss  # type: ignore[misc]
    return found


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _own(found: Found, scale: Mapping[str, float] | None) -> str:
    """Loss and curvature of nets at the budget that they were trained at."""
    columns: dict[str, Quantity] = {"own loss": lambda r: r.loss, "accuracy": lambda r: r.accuracy}
    columns |= _quantities(scale)
    columns["sampling error of λ1, %"] = lambda r: 100 * r.eigenvalues_sampling[0] / top(r)
    rows = []
    for eps in sorted({a for a, b, _ in found if a == b}, key=float):
        each = _each(found, eps, eps)
        rows.append([eps, *(spread([column(r) for r in each]) for column in columns.values())])
    return _markdown(["eps", *columns], rows)


def _trends(found: Found, scale: Mapping[str, float] | None) -> str:
    """How much each quantity grows at the own budget: by which factor for 0.1 of eps, and in which order."""
    rows = []
    own = sorted({a for a, b, _ in found if a == b}, key=float)
    eps = np.array([float(a) for a in own])
    for name, quantity in _quantities(scale).items():
        each = np.array([[quantity(r) for r in _each(found, a, a)] for a in own]).T  # (seeds, eps)
        ranks = ", ".join(f"{spearmanr(eps, values).statistic:+.1f}" for values in each)
        parts = [part for part in (eps >= 0, eps > 0) if part.sum() > 1]
        slopes = [[np.polyfit(eps[part], np.log(values[part]), 1)[0] for values in each] for part in parts]
        rows.append([name, ranks, *map(_factor, slopes), *["–"] * (2 - len(parts))])
    head = [
        "at the own budget",
        "Spearman with eps, each seed",
        "factor for 0.1 of eps [95 %]",
        "without eps 0",
    ]
    return _markdown(head, rows)


def _factor(slopes: Sequence[float]) -> str:
    """exp(slope / 10) with the t-interval over the seeds."""
    middle, low, high = (math.exp(0.1 * slope) for slope in bounds(slopes))
    if len(slopes) < 2:
        return f"{middle:.3g}"
    return f"{middle:.3g} [{low:.3g}, {high:.3g}]"


def _crossed(found: Found, quantity: Quantity) -> str:
    budgets = sorted({b for _, b, _ in found}, key=float)
    rows = [
        [a, *(spread([quantity(r) for r in _each(found, a, b)]) for b in budgets)]
        for a in sorted({a for a, _, _ in found}, key=float)
    ]
    return _markdown([f"{NAMES[quantity]}: trained at, measured at", *budgets], rows)


def _both(found: Found) -> str:
    """ln λ1 = c + a · trained + b · measured, by least squares over the cells measured ≤ trained of a seed.

    Beyond the budget of its training a net errs on most examples, and is nowhere near a minimum.
    """
    rows = []
    for name, quantity in (("λ1", top), ("tr H", trace)):
        fits = []
        for seed in sorted({s for _, _, s in found}):
            within = [(float(a), float(b), r) for (a, b, s), r in found.items() if s == seed]
            within = [(a, b, quantity(r)) for a, b, r in within if b <= a]
            a, b, values = np.array(within).T
            fits.append(np.linalg.lstsq(np.stack([np.ones_like(a), a, b], 1), np.log(values), rcond=None)[0])
        rows.append([name, *(_factor(slopes) for slopes in np.array(fits).T[1:])])
    head = ["factor for 0.1 of eps [95 %], measured ≤ trained", "of the training", "of the measurement"]
    return _markdown(head, rows)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--measured", default=",".join(EPS), help="budgets of the measurement")
    parser.add_argument("--families", default=f"{LENETS},resnet")
    parser.add_argument("--resnet", default="resnet18:width=2,colours=1")
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--tol", type=float, default=1e-2)
    told = parser.parse_args()
    folder = told.results / "hessian_spectrum"
    folder.mkdir(parents=True, exist_ok=True)
    for each in asked(told, told.families):
        output = folder / f"{each.name}.h5"
        if output.exists() and load(output).complete:
            continue
        checkpoint = each.net(each.eps, each.seed)
        with progress() as watch:
            measure(
                "sharpness",
                checkpoint,
                each.budgets,
                data=told.data,
                output=output,
                watch=watch,
                **{"k": told.k, "tol": told.tol, "examples": told.examples, **each.options},
            )
    if all((folder / f"{each.name}.h5").exists() for each in asked(told, LENETS)):
        print(tables(folder))
