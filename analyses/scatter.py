"""Gradient scatter of the shipped LeNets, trained and measured budgets crossed, along three directions.

Answers to the paper's Proposition 2, on Fashion-MNIST: does the gradient jump, does the jump grow with the
budget, and how much of it is the noise of the attack? Prints the README's table. Carries on where it stopped;
about half an hour on one core. figures/scatter.py draws it.

    python analyses/scatter.py [--eps 0,0.05,0.1,0.2] [--directions LIST] [--radii 1e-4:1:9] [--examples N]
"""

from pathlib import Path

from shipped import TRAINED, study

from landscape import load
from landscape.format import plus_minus


def table(results: Path) -> str:
    """Jumps of each net at each budget as Markdown, along the first direction and the last."""
    runs = [load(results / f"scatter_eps{trained}.h5") for trained in TRAINED]
    ways = list(dict.fromkeys(result.direction for result in runs[0].results))
    ends = list(dict.fromkeys((ways[0], ways[-1])))
    titles = [
        "trained at",
        "measured at",
        *(f"jump, {way}" for way in ends),
        "floor",
        "jump, frozen",
        "jump, unbiased",
    ]
    lines = [f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
    for trained, run in zip(TRAINED, runs, strict=True):
        for budget in dict.fromkeys(result.budget for result in run.results):
            first, *more = (
                r for way in ends for r in run.results if (r.budget, r.direction) == (budget, way)
            )
            cells = [
                trained,
                budget,
                *(plus_minus(r.jump, r.jump_stderr) for r in (first, *more)),
                plus_minus(first.floor, first.floor_stderr),
                plus_minus(first.jump_frozen, first.jump_frozen_stderr),
                plus_minus(first.jump_unbiased, first.jump_unbiased_stderr),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(study("scatter", __doc__, radii="1e-4:1:9", directions="random,gradient,eigenvector:1")))
