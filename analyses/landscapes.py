"""The loss around nets trained at five budgets, each at its own, on the plane of its top two eigenvectors.

Answers to the paper's landscapes in three dimensions: are the bowls steeper, the larger the budget? Each cell
is attacked anew, and a step of 1 is the same length of weights in all panels. Three seeds of the LeNets of
the cosine schedule. Carries on where it stopped, within a surface too; ten minutes on one core where the nets
are trained. figures/landscapes.py draws it.

    python analyses/landscapes.py [--size 13] [--extent 0.25] [--examples 300] [--seeds 0,1,2] [--workers N]
"""

from __future__ import annotations

from trained import arguments, nets

from landscape import load, measure
from landscape.progress import progress

ATTACK = "pgd:steps=100"
"""At θ, where all cells start. PGD-20 misses 0.1 of its loss at eps 0.4; cells around would rise by that."""
STEPS = 10
"""Gradients in each cell, on top of what its neighbour's adversary has found."""

if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.set_defaults(examples=300)
    parser.add_argument("--size", type=int, default=13)
    parser.add_argument("--extent", default="0.25", help="of each axis, in lengths of weights")
    parser.add_argument("--workers", type=int, default=1)
    told = parser.parse_args()
    folder = told.results / "landscapes"
    folder.mkdir(parents=True, exist_ok=True)
    trained = nets(told, "cosine", "cosine")
    for seed in told.seeds:
        for eps in told.eps:
            output = folder / f"eps{eps}_seed{seed}.h5"
            if output.exists() and load(output).complete:
                continue
            checkpoint = trained(eps, seed)
            with progress() as watch:
                measure(
                    "surface",
                    checkpoint,
                    eps,
                    data=told.data,
                    examples=told.examples,
                    output=output,
                    watch=watch,
                    attack=ATTACK,
                    steps_warm=STEPS,
                    directions="eigenvectors",
                    extent=told.extent,
                    size=told.size,
                    workers=told.workers,
                )
