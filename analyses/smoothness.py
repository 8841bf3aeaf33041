"""Gradient scatter of nets trained at five budgets, each at its own, and of one of them at all five.

Answers to the paper's Proposition 2: near the weights the gradient of L_eps changes by L_θθ h at most, and by
2 eps L_θx, a jump where worst inputs switch. Does the gradient jump, does the jump grow with eps, is it the
adversary's doing, and is the loss less smooth? R(h) = ‖∇L_eps(θ + h v) − ∇L_eps(θ)‖ is measured with the
adversary following the weights and, as a control, frozen at θ. Another control tells the net from the budget:
nets trained at one budget (`--crossed`) are measured at all of them. Three seeds, with each of which the net,
the examples, the random starts and the random direction are drawn anew.

Prints the tables of docs/reproduction/smoothness.md. Carries on where it stopped; ten minutes on one core
where the nets are trained. figures/smoothness.py draws it.

    python analyses/smoothness.py [--eps LIST] [--seeds 0,1,2] [--radii 1e-3:0.316:6] [--examples 500]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from over_seeds import crossed, decades, each_net, interval, markdown, own, powers, table
from trained import arguments, nets


def change(result: Any, name: str = "change", h: float = 0.01) -> float:
    """log10 of R at the radius that is nearest to h."""
    values = getattr(result, name)
    return math.log10(values[np.abs(np.log(result.radii / h)).argmin()])


JUMPS = {
    "jump": lambda r: r.jump,
    "frozen jump": lambda r: r.jump_frozen,
    "unbiased jump": lambda r: r.jump_unbiased,
    "floor": lambda r: r.floor,
    "jump / bound, %": lambda r: 100 * r.share,
}
CHANGES = {
    "log10 R(0.01)": change,
    "frozen log10 R(0.01)": lambda r: change(r, "change_frozen"),
}
SECOND = {"κ / vᵀHv": lambda r: r.ratio}
GROWING = {name: JUMPS[name] for name in ("jump", "floor")} | {"L_θx": lambda r: r.mixed}


def tables(folder: Path, seeds: Sequence[int] = (0, 1, 2)) -> str:
    """What the page tells: the jumps, how R(h) grows, and the trends of both with eps."""
    random, top = (own(folder, way, seeds) for way in ("random", "eigenvector:1"))
    one = crossed(folder, seeds)
    told = [
        f"random\n\n{table(random, JUMPS | CHANGES)}",
        f"random, nets trained at one budget\n\n{table(one, JUMPS | CHANGES)}",
        f"top eigenvector\n\n{table(top, JUMPS | CHANGES | SECOND)}",
    ]
    rows = {}
    for name, each in (("random", random), ("random, one net", one), ("top eigenvector", top)):
        grown = [interval(powers(each, value)) for value in GROWING.values()]
        rows[name] = [*grown, *(interval(decades(each, value)) for value in CHANGES.values())]
    titles = [*(f"{name}: power of eps" for name in GROWING), "R(0.01): decades for 0.1 of eps", "frozen"]
    return "\n\n".join([*told, markdown("", titles, rows)])


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.set_defaults(examples=500)
    parser.add_argument("--crossed", default="0.2", help="nets trained at this budget are measured at all")
    parser.add_argument("--attack", default="pgd:steps=20")
    parser.add_argument("--radii", default="1e-3:0.316:6")
    parser.add_argument("--directions", default="random,eigenvector:1")
    told = parser.parse_args()
    print(tables(each_net(told, "smoothness", "scatter", nets(told, "cosine", "cosine")), told.seeds))
