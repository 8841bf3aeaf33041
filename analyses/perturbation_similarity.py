"""Similarity of the adversaries of θ and θ + h v, for nets trained at four budgets, at several seeds.

Answers to the paper's Figure 4. Its claims: the similarity falls with h; faster at larger budgets; faster
along the top eigenvector of the Hessian than along random directions. Each net is looked at with the budget
that it was trained with. With each seed the net, the examples, the random starts and the random direction are
drawn anew.

Prints the tables of docs/reproduction/perturbation_similarity.md. Carries on where it stopped; ten minutes on
one core where the nets are trained. figures/perturbation_similarity.py draws it.

    python analyses/perturbation_similarity.py [--eps 0.1,0.2,0.3,0.4] [--seeds 0,1,2] [--radii 1e-5:1:9]
"""

from __future__ import annotations

import math
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from over_seeds import interval, once, table, together
from trained import EPS, arguments, nets

from landscape import load

WAYS = ("random", "eigenvector:1")


def measured(told: Namespace) -> Path:
    """The folder of the results, a file for each net."""
    folder, net = told.results / "perturbation_similarity", nets(told, "cosine", "cosine")
    options = {name: getattr(told, name) for name in ("data", "examples", "attack", "radii", "directions")}
    for seed in told.seeds:
        for eps in told.eps:
            once(folder / f"eps{eps}_seed{seed}.h5", "perturbation", net, eps, seed, eps, **options)
    return folder


def half_way(result: Any) -> float:
    """log10 of the radius at which the cosine is half-way from 1 to its floor; NaN outside the radii."""
    radius = result.falls_to((1 + result.floor) / 2)
    return math.log10(radius) if 0 < radius < math.inf else math.nan


NUMBERS = {
    "floor": lambda r: r.floor,
    "log10 h, half-way": half_way,
    "cosine, smallest h": lambda r: r.cosine[0],
    "cosine, largest h": lambda r: r.cosine[-1],
    "largest rise with h": lambda r: max(0.0, *np.diff(r.cosine)),
    "its error": lambda r: r.cosine_stderr.max(),
    "same sign, largest h": lambda r: r.sign_agreement[-1],
    "distance, largest h": lambda r: r.distance[-1],
    "other label, largest h": lambda r: r.label_flips[-1],
}


def tables(folder: Path) -> str:
    """What the page tells: similarity along both directions, its trend with eps, and how they differ."""
    each = {way: together(folder.glob("eps*_seed?.h5"), way) for way in WAYS}
    told = [f"{way}:\n\n{table(results, NUMBERS)}" for way, results in each.items()]
    lengths = {
        eps: [
            load(path).provenance["checkpoint"]["theta_norm"]
            for path in sorted(folder.glob(f"eps{eps}_*.h5"))
        ]
        for eps in each["random"]
    }
    told.append(table(lengths, {"‖θ‖": float}))
    eps = [float(eps) for eps in lengths]
    halves = {way: np.array([[half_way(r) for r in rs] for rs in each[way].values()]) for way in WAYS}
    for way, decades in halves.items():
        for name, values in (("h", decades), ("h / ‖θ‖", decades - np.log10([*lengths.values()]))):
            steps = np.polyfit(eps, values, 1)[0] / 10
            told.append(f"Decades of the half-way {name} for each 0.1 of eps, {way}: {interval(steps)}")
    apart = halves[WAYS[0]] - halves[WAYS[1]]
    for name, decades in (*zip(lengths, apart, strict=True), ("all eps", apart.mean(axis=0))):
        told.append(
            f"Decades from the half-way h of the eigenvector to the random one, {name}: {interval(decades)}"
        )
    return "\n\n".join(told)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.set_defaults(eps=EPS[1:], examples=500)
    parser.add_argument("--attack", default="pgd:steps=20")
    parser.add_argument("--radii", default="1e-5:1:9")
    parser.add_argument("--directions", default="random,eigenvector:1")
    print(tables(measured(parser.parse_args())))
