"""Similarity of the adversaries of θ and θ + h v, for nets trained at four budgets, at several seeds.

Answers to the paper's Figure 4. Its claims: the similarity falls with h; faster at larger budgets; faster
along the top eigenvector of the Hessian than along random directions. Each net is looked at with the budget
that it was trained with; as a control, which tells the net from the budget, nets trained at one budget
(`--crossed`) are at all of them. With each seed the net, the examples, the random starts and the random
direction are drawn anew.

Prints the tables of docs/reproduction/perturbation_similarity.md. Carries on where it stopped; ten minutes on
one core where the nets are trained. figures/perturbation_similarity.py draws it.

    python analyses/perturbation_similarity.py [--eps 0.1,0.2,0.3,0.4] [--seeds 0,1,2] [--radii 1e-5:1:9]
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from over_seeds import crossed, each_net, interval, own, table
from trained import EPS, arguments, nets

from landscape import load

WAYS = ("random", "eigenvector:1")


def half_way(result: Any) -> float:
    """log10 of the radius at which the cosine is half-way from 1 to its floor; NaN outside the radii."""
    radius = result.falls_to((1 + result.floor) / 2)
    return math.log10(radius) if 0 < radius < math.inf else math.nan


def near(result: Any, name: str, h: float = 1e-3) -> float:
    """A number at the radius that is nearest to h."""
    return float(getattr(result, name)[np.abs(np.log(result.radii / h)).argmin()])


NUMBERS = {
    "floor": lambda r: r.floor,
    "log10 h, half-way": half_way,
    "cosine, h ≈ 0.001": lambda r: near(r, "cosine"),
    "distance, h ≈ 0.001": lambda r: near(r, "distance"),
    "opposite sign, h ≈ 0.001": lambda r: near(r, "flipped"),
    "cosine, largest h": lambda r: r.cosine[-1],
    "other label, largest h": lambda r: r.label_flips[-1],
    "largest rise with h": lambda r: max(0.0, *np.diff(r.cosine)),
    "largest error": lambda r: r.cosine_stderr.max(),
}


def tables(folder: Path) -> str:
    """What the page tells: similarity along both directions, its trend with eps, and how they differ."""
    each = {way: own(folder, way) for way in WAYS}
    told = [f"{way}:\n\n{table(results, NUMBERS)}" for way, results in each.items()]
    told.append(f"one net, random:\n\n{table(crossed(folder), NUMBERS)}")
    lengths = {eps: _lengths(folder.glob(f"eps{eps}_seed?.h5")) for eps in each["random"]}
    told.append(table(lengths, {"‖θ‖": float}))
    halves = {way: _halves(results) for way, results in each.items()}
    relative = {f"{way}, h / ‖θ‖": found - np.log10([*lengths.values()]) for way, found in halves.items()}
    eps = [float(eps) for eps in lengths]
    for name, decades in (halves | relative | {"one net, random": _halves(crossed(folder))}).items():
        steps = np.polyfit(eps, decades, 1)[0] / 10
        told.append(f"Decades of the half-way h for each 0.1 of eps, {name}: {interval(steps)}")
    apart = halves[WAYS[0]] - halves[WAYS[1]]
    for name, decades in (*zip(lengths, apart, strict=True), ("all eps", apart.mean(axis=0))):
        told.append(f"Decades by which the half-way h is larger at random, {name}: {interval(decades)}")
    return "\n\n".join(told)


def _halves(each: dict[str, list[Any]]) -> np.ndarray:
    """(budgets, seeds)"""
    return np.array([[half_way(result) for result in results] for results in each.values()])


def _lengths(paths: Iterable[Path]) -> list[float]:
    return [load(path).provenance["checkpoint"]["theta_norm"] for path in sorted(paths)]


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.set_defaults(eps=EPS[1:], examples=500)
    parser.add_argument("--crossed", default="0.2", help="nets trained at this budget are measured at all")
    parser.add_argument("--attack", default="pgd:steps=20")
    parser.add_argument("--radii", default="1e-5:1:9")
    parser.add_argument("--directions", default="random,eigenvector:1")
    told = parser.parse_args()
    print(tables(each_net(told, "perturbation_similarity", "perturbation", nets(told, "cosine", "cosine"))))
