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

from pathlib import Path

import numpy as np
from over_seeds import crossed, each_net, interval, own, powers, table
from trained import arguments, nets

NUMBERS = {
    "jump": lambda r: r.jump,
    "frozen": lambda r: r.jump_frozen,
    "unbiased": lambda r: r.jump_unbiased,
    "floor": lambda r: r.floor,
    "L_θx": lambda r: r.mixed,
    "jump / bound, %": lambda r: 100 * r.share,
    "slope": lambda r: r.slope,
    "slope, frozen": lambda r: r.slope_frozen,
    "κ / frozen κ": lambda r: (r.kappa / r.kappa_frozen)[_near(r.radii, 0.1)],
    "R / frozen R": lambda r: (r.change / r.change_frozen)[_near(r.radii, 0.01)],
    "misfit": lambda r: r.misfit,
}
GROWING = ("jump", "floor", "L_θx", "slope", "slope, frozen")


def tables(folder: Path) -> str:
    """What the page tells: the nets at their own budgets, one of them at all, and the powers of eps."""
    at_own, at_all = {way: own(folder, way) for way in ("random", "eigenvector:1")}, crossed(folder)
    told = [
        *(f"Own budgets, {way}:\n\n{table(each, NUMBERS)}" for way, each in at_own.items()),
        f"One net, random:\n\n{table(at_all, NUMBERS)}",
    ]
    for name, each in (at_own | {"one net, random": at_all}).items():
        grown = (f"{number} {interval(powers(each, NUMBERS[number]))}" for number in GROWING)
        told.append(f"Power of eps, {name}: {', '.join(grown)}")
    return "\n\n".join(told)


def _near(radii: np.ndarray, h: float) -> int:
    return int(np.abs(np.log(radii / h)).argmin())


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.set_defaults(examples=500)
    parser.add_argument("--crossed", default="0.2", help="nets trained at this budget are measured at all")
    parser.add_argument("--attack", default="pgd:steps=20")
    parser.add_argument("--radii", default="1e-3:0.316:6")
    parser.add_argument("--directions", default="random,eigenvector:1")
    told = parser.parse_args()
    print(tables(each_net(told, "smoothness", "scatter", nets(told, "cosine", "cosine"))))
