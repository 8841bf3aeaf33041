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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from over_seeds import crossed, each_net, interval, markdown, own, table
from trained import EPS, arguments, nets

from landscape import load


def half_way(result: Any) -> float:
    """log10 of the radius at which the cosine is half-way from 1 to its floor; NaN where it never is.

    Where it is there at the smallest radius already, it is that one: an upper bound.
    """
    radius = max(result.falls_to((1 + result.floor) / 2), result.radii[0])
    return math.log10(radius) if radius < math.inf else math.nan


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
}


def tables(folder: Path, seeds: Sequence[int] = (0, 1, 2)) -> str:
    """What the page tells: similarity along both directions, its trend with eps, and how they differ."""
    each = {
        "random": own(folder, "random", seeds),
        "top eigenvector": own(folder, "eigenvector:1", seeds),
        "random, nets trained at one budget": crossed(folder, seeds),
    }
    told = [f"{name}\n\n{table(results, NUMBERS)}" for name, results in each.items()]
    lengths = {eps: _lengths(folder, eps, seeds) for eps in each["random"]}
    told.append(table(lengths, {"‖θ‖": float}))
    eps = [float(eps) for eps in lengths]
    halves = {name: _halves(results) for name, results in each.items()}
    trends = {}
    for name, decades in halves.items():
        norms = [1.0] if "one" in name else [*lengths.values()]  # one net has one length
        trends[name] = [interval(np.polyfit(eps, d, 1)[0] / 10) for d in (decades, decades - np.log10(norms))]
    told.append(markdown("decades for 0.1 of eps", ("h", "h / ‖θ‖"), trends))
    apart = halves["random"] - halves["top eigenvector"]
    rows = dict(zip(lengths, ([interval(decades)] for decades in apart), strict=True))
    rows["mean"] = [interval(apart.mean(axis=0))]
    told.append(markdown("eps", ("decades from the eigenvector to random",), rows))
    return "\n\n".join(told)


def _halves(each: dict[str, list[Any]]) -> np.ndarray:
    """(budgets, seeds)"""
    return np.array([[half_way(result) for result in results] for results in each.values()])


def _lengths(folder: Path, eps: str, seeds: Sequence[int]) -> list[float]:
    paths = (folder / f"eps{eps}_seed{seed}.h5" for seed in seeds)
    return [load(path).provenance["checkpoint"]["theta_norm"] for path in paths]


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.set_defaults(eps=EPS[1:], examples=500)
    parser.add_argument("--crossed", default="0.2", help="nets trained at this budget are measured at all")
    parser.add_argument("--attack", default="pgd:steps=20")
    parser.add_argument("--radii", default="1e-5:1:9")
    parser.add_argument("--directions", default="random,eigenvector:1")
    told = parser.parse_args()
    print(
        tables(
            each_net(told, "perturbation_similarity", "perturbation", nets(told, "cosine", "cosine")),
            told.seeds,
        )
    )
