"""Top-20 Hessian eigenvalues and trace of nets trained at five budgets, each measured at all five.

Answers to the paper's Figure 3: do larger budgets lead to sharper minima, raw and over the scale of the loss?
Trained and measured budget are crossed, for a net has both: the weights that a budget led to, and the
adversary that it is looked at with. Families of files, several seeds each:

    own         LeNets trained at eps 0 ... 0.4 (budget warmed up by the cosine schedule) at their own budget
    crossed     the same at the four others: the top 3 eigenvalues and the trace
    untrained   the same before any training: their mean loss is the scale that the paper divides by
    resnet      ResNet18 with BatchNorm, trained at eps 0, 0.1, 0.2, at their own budget

Carries on where it stopped; half an hour on one core where the nets are trained.
figures/hessian_spectrum.py draws it.

    python analyses/hessian_spectrum.py [--families own,crossed,untrained,resnet] [--seeds 0,1,2] [--k 20]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from trained import EPS, Nets, arguments, nets

from landscape import load, measure
from landscape.progress import progress

FAMILIES = "own,crossed,untrained,resnet"
FEW = 3
"""Eigenvalues at budgets that a net was not trained at."""
FRESH = range(5)
"""Seeds of the nets before training."""
RESNET_EPS = EPS[:3]


@dataclass(frozen=True)
class Asked:
    """What one result file shall hold: a net, trained at eps, measured at budgets."""

    name: str
    net: Nets
    eps: str
    seed: int
    budgets: str
    options: dict[str, Any] = field(default_factory=dict)


def asked(told: argparse.Namespace) -> Iterator[Asked]:
    """All files of the families that are wanted."""
    if "untrained" in told.families:
        initial = nets(told, "untrained", epochs=0)
        for seed in FRESH:  # the loss is what is wanted
            yield Asked(f"untrained_seed{seed}", initial, "0", seed, told.measured, {"k": 1, "trace": "none"})
    trained = nets(told, "cosine", "cosine")
    for seed in told.seeds:
        for eps in told.eps:
            if "own" in told.families:
                yield Asked(f"eps{eps}_seed{seed}", trained, eps, seed, eps)
            if "crossed" in told.families:
                others = ",".join(budget for budget in told.measured.split(",") if budget != eps)
                yield Asked(f"crossed_eps{eps}_seed{seed}", trained, eps, seed, others, {"k": FEW})
    if "resnet" in told.families:
        few = {"epochs": min(told.epochs, 8), "examples": told.train_examples or 4000}
        residual = nets(told, "resnet", "cosine", model=told.resnet, **few)
        for seed in told.seeds:
            for eps in (eps for eps in told.eps if eps in RESNET_EPS):
                yield Asked(f"resnet_eps{eps}_seed{seed}", residual, eps, seed, eps)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.set_defaults(examples=500)
    parser.add_argument("--measured", default=",".join(EPS), help="budgets of the measurement")
    parser.add_argument("--families", default=FAMILIES)
    parser.add_argument("--resnet", default="resnet18:width=2,colours=1")
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--tol", type=float, default=1e-2)
    told = parser.parse_args()
    folder = told.results / "hessian_spectrum"
    folder.mkdir(parents=True, exist_ok=True)
    for each in asked(told):
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
                examples=told.examples,
                output=output,
                watch=watch,
                **{"k": told.k, "tol": told.tol, **each.options},
            )
