"""How few warm steps replace a PGD from scratch in the cells of a surface: the schedule of `Warm`, checked.

Cells are a row through θ and columns off it, along two filter-normalised directions; each starts from its
neighbour's perturbation. PGD-10 and PGD-20 are the usual ones: a random start, constant steps of 2.5 eps over
their number, the last iterate. Per cent are of the mean loss: of all cells together, and in the worst cell.

    python analyses/warm_start.py [--examples 200] [--split test] [--seed 1] [--quick] [-o TABLE.md]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from landscape import PGD, Budget, Objective, directions, subject
from landscape.attacks.base import Losses, ascent, random_start
from landscape.attacks.warm import Warm
from landscape.surfaces.quick import Quick

CHECKPOINTS = Path(__file__).parent.parent / "data/checkpoints"
SINGLE = (
    ("lenet4_eps0.1", "0.1", "linf", 12),
    ("lenet4_eps0.1", "0.1", "linf", 6),
    ("lenet4_eps0.1", "0.1", "linf", 25),
    ("lenet4_eps0.2", "0.2", "linf", 12),
    ("lenet4_eps0.05", "0.02", "linf", 12),
    ("lenet4_eps0", "0.1", "linf", 12),
    ("lenet4_eps0.1", "1", "l2", 12),
)
FIVE = ("0.02", "0.04", "0.06", "0.08", "0.1")


@dataclass(frozen=True, eq=False)
class Scene:
    """A checkpoint with two directions, and a tree of cells: each place with the place it starts from."""

    objective: Objective
    u: Tensor
    v: Tensor
    per_unit: int
    tree: dict[tuple[int, int], tuple[int, int]]

    def losses(self, place: tuple[int, int], quick: Quick | None = None) -> Losses:
        o, (i, j) = self.objective, place
        theta = o.network.theta.double() + (i * self.u + j * self.v) / self.per_unit
        parts = o.network.parts(theta.to(o.network.theta))
        if quick is None:
            return lambda x: o.losses(parts, x, o.data.y)
        given = quick.given(parts, {})
        return lambda x: o.loss(quick(given, x), o.data.y)


def scene(checkpoint: str, per_unit: int, told: argparse.Namespace) -> Scene:
    found = subject(
        CHECKPOINTS / f"{checkpoint}.pt", data="fashion-mini", split=told.split, examples=told.examples
    )
    objective = Objective(found.network, found.data)
    u, v = (directions.filter_normalised(objective.at(), k, seed=told.seed) for k in (1, 2))
    reach = 2 if told.quick else min(per_unit, 12)
    row = {(s * i, 0): (s * (i - 1), 0) for s in (1, -1) for i in range(1, reach + 1)}
    ends = ((-reach, -1), (-reach // 2, 1), (reach // 4, -1), (reach, 1))
    columns = {(i, s * j): (i, s * (j - 1)) for i, s in ends for j in range(1, reach + 1)}
    return Scene(objective, u, v, per_unit, row | columns)


def usual(steps: int) -> Callable[[Losses, Tensor, Tensor, Budget], Tensor]:
    """PGD as it is mostly run."""

    def attack(losses: Losses, x: Tensor, index: Tensor, budget: Budget) -> Tensor:
        moved, ball = random_start(x, index, budget, 0), budget.ball(x)
        for _ in range(steps):
            _, gradient = ascent(losses, moved)
            step = 2.5 * float(budget.eps) / steps * budget.steepest(gradient)
            moved = budget.project(moved + step, x, ball)
        return moved

    return attack


def scratch(at: Scene, budget: Budget, attack: Callable[..., Tensor]) -> Tensor:
    """The mean loss in each cell."""
    x, index = at.objective.data.inputs(slice(None), at.objective.network.theta)[0], at.objective.data.index
    means = []
    for place in at.tree:
        losses = at.losses(place)
        with torch.no_grad():
            means.append(losses(attack(losses, x, index, budget)).mean())
    return torch.stack(means)


def warm(at: Scene, budgets: list[Budget], steps: int, *, half: bool = True) -> list[Tensor]:
    """The mean loss in each cell under each budget, from the neighbours' adversaries."""
    o = at.objective
    x = o.data.inputs(slice(None), o.network.theta)[0]
    quick = Quick(o.network, True, x) if half else None
    ends = {(0, 0): [replace(o, budget=b, attack=PGD()).at().perturbed.x for b in budgets]}
    means: list[list[Tensor]] = [[] for _ in budgets]
    for place, parent in at.tree.items():
        exact, coarse = at.losses(place), at.losses(place, quick)
        found = Warm(steps=steps)(coarse, x, [end - x for end in ends[parent]], budgets)
        ends[place] = [each.last for each in found]
        for mean, end in zip(means, ends[place], strict=True):
            with torch.no_grad():
                mean.append(torch.maximum(exact(end), exact(x)).mean())
    return [torch.stack(m) for m in means]


def below(found: Tensor, reference: Tensor) -> str:
    """By how much per cent the loss lies above (+) or below (−) the reference, on average and at worst."""
    mean, worst = found.mean() / reference.mean() - 1, (found / reference - 1).min()
    return f"{100 * mean:+.2f}, {100 * worst:+.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--split", choices=("train", "test"), default="test")
    parser.add_argument("--seed", type=int, default=1, help="of the directions")
    parser.add_argument("--quick", action="store_true", help="few cells, one checkpoint")
    parser.add_argument("-o", "--output", type=Path)
    told = parser.parse_args()
    torch.set_num_threads(1)
    lines: list[str] = []

    def tell(*cells: str) -> None:
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)

    counts = (3, 4, 5)
    tell("checkpoint", "eps", "cells per unit", *[f"{s} warm, PGD-10" for s in counts], "5 warm, PGD-20",
         "5 warm in float32, PGD-10")  # fmt: skip
    tell(*["---"] * 8)
    for name, eps, norm, per_unit in SINGLE[: 1 if told.quick else None]:
        at, budget = scene(name, per_unit, told), Budget(eps, norm)
        ten, twenty = (scratch(at, budget, usual(steps)) for steps in (10, 20))
        found = [warm(at, [budget], steps)[0] for steps in counts]
        full = warm(at, [budget], 5, half=False)[0]
        tell(name, str(budget), str(per_unit), *[below(f, ten) for f in found], below(found[-1], twenty),
             below(full, ten))  # fmt: skip
    lines.append("")
    print()
    budgets = [Budget(eps) for eps in FIVE]
    tell("checkpoint, 5 warm, PGD-10", *FIVE)
    tell(*["---"] * 6)
    for name in ("lenet4_eps0.1", "lenet4_eps0.05", "lenet4_eps0.2", "lenet4_eps0")[
        : 1 if told.quick else None
    ]:
        at = scene(name, 12, told)
        tell(
            name,
            *[
                below(f, scratch(at, b, usual(10)))
                for f, b in zip(warm(at, budgets, 5), budgets, strict=True)
            ],
        )
    if told.output:
        told.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
