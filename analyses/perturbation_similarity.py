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

from argparse import Namespace
from pathlib import Path

from once import once
from trained import EPS, arguments, nets


def measured(told: Namespace) -> Path:
    """The folder of the results, a file for each net."""
    folder, net = told.results / "perturbation_similarity", nets(told, "cosine", "cosine")
    options = {name: getattr(told, name) for name in ("data", "examples", "attack", "radii", "directions")}
    for seed in told.seeds:
        for eps in told.eps:
            once(folder / f"eps{eps}_seed{seed}.h5", "perturbation", net, eps, seed, eps, **options)
    return folder


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.set_defaults(eps=EPS[1:], examples=500)
    parser.add_argument("--attack", default="pgd:steps=20")
    parser.add_argument("--radii", default="1e-5:1:9")
    parser.add_argument("--directions", default="random,eigenvector:1")
    measured(parser.parse_args())
