"""What gradients of single examples and a profile of gradient scatter cost, on one trained LeNet.

Passes are exact; times are medians of interleaved rounds, in units of one plain gradient over the same data.
Prints the tables of the README, in about three minutes.

    python analyses/gradient_cost.py [CHECKPOINT] [--examples 1000] [-o TABLE.md]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from landscape import PGD, Budget, Objective, scatter
from landscape.objective import Point
from landscape.per_example import gradients
from landscape.subjects import subject

SHIPPED = Path(__file__).parent.parent / "data/checkpoints/lenet4_eps0.1.pt"
ROUNDS = 11
ALONE = 100
"""Examples of the comparison with a loop over single ones, which is too slow for all."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", nargs="?", default=SHIPPED)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("-o", "--output", type=Path)
    told = parser.parse_args()
    torch.set_num_threads(1)
    found = subject(told.checkpoint, data="fashion-mini", examples=told.examples)
    point = Objective(found.network, found.data).at()
    lines: list[str] = []

    def tell(*more: str) -> None:
        lines.extend(more)
        print("\n".join(more), flush=True)

    tell(
        f"{found.model}, {len(found.network):,} parameters, {len(found.data)} examples of {found.data.name}",
        "",
    )
    tell(*of_examples(point), "")
    tell(*of_scatter(Objective(found.network, found.data, Budget("0.1"), PGD(steps=20))))
    if told.output:
        told.output.write_text("\n".join(lines) + "\n")


def of_examples(point: Point) -> list[str]:
    """Norms of all examples' gradients in units of a plain gradient, by landscape and by a plain loop."""
    none = torch.zeros(len(point.theta), 0)
    some = torch.randn(len(point.theta), 2, generator=torch.Generator().manual_seed(0))
    few = slice(0, min(ALONE, len(point.objective.data)))
    ways: dict[str, Callable[[Point], object]] = {
        "plain gradient": lambda at: at.gradient,
        "norms": lambda at: gradients(at, none),
        "norms, 2 projections": lambda at: gradients(at, some),
        "norms, 2 projections, mean direction": lambda at: gradients(at, some, direction=True),
        "norms, one example at a time": lambda at: one_by_one(at, few),
    }
    scale = dict.fromkeys(ways, 1.0) | {"norms, one example at a time": len(point.objective.data) / few.stop}
    passes, seconds = {}, {name: [] for name in ways}
    for name, way in ways.items():  # the first call warms the allocator
        passes[name] = of_one(point, way)[0] * scale[name]
    for _ in range(ROUNDS):
        for name, way in ways.items():
            seconds[name].append(of_one(point, way)[1] * scale[name])
    unit = statistics.median(seconds["plain gradient"])
    rows = ["| gradients of examples | gradient passes | time, gradient = 1 |", "| --- | --- | --- |"]
    for name in list(ways)[1:]:
        rows.append(f"| {name} | {passes[name]:.2f} | {statistics.median(seconds[name]) / unit:.1f} |")
    return rows


def of_scatter(objective: Objective) -> list[str]:
    """A profile of 9 radii along 2 directions, in units of its attacks and gradients alone, beside it."""
    attack: list[float] = []
    gradient: list[float] = []

    def measure_parts() -> None:
        for _ in range(3):
            point = objective.under(objective.budget).at()
            for made, times in (("perturbed", attack), ("gradient", gradient), ("gradient", gradient)):
                start = time.perf_counter()
                getattr(point, made)
                times.append(time.perf_counter() - start)
                point.__dict__.pop("gradient", None)

    measure_parts()
    whole = objective.under(objective.budget)
    start = time.perf_counter()
    for _ in scatter(whole.at(), radii="1e-4:1:9", directions="random,filter"):
        pass
    seconds = time.perf_counter() - start
    measure_parts()
    floor = 19 * statistics.median(attack) + 37 * statistics.median(gradient)
    steps = 19 * objective.attack.steps + 37
    return [
        "| 9 radii, 2 directions | gradient passes | time |",
        "| --- | --- | --- |",
        f"| 19 attacks and 37 gradients | {steps} | 1 |",
        f"| all of `scatter` | {whole.passes['gradient']:.0f} ({whole.passes['gradient'] / steps:.3f}) "
        f"| {seconds / floor:.3f} |",
    ]


def one_by_one(point: Point, rows: slice) -> list[float]:
    """The norm of each gradient, by a plain backward pass for each example."""
    leaves = point.leaves()
    return [
        torch.cat(
            [g.reshape(-1) for g in point.first_derivatives(slice(i, i + 1), leaves, create_graph=False)]
        )
        .norm()
        .item()
        for i in range(rows.start, rows.stop)
    ]


def of_one(point: Point, way: Callable[[Point], object]) -> tuple[float, float]:
    """Gradient passes and seconds of one call, with nothing computed before."""
    objective = point.objective.under(point.objective.budget)
    start = time.perf_counter()
    way(objective.at(point.theta))
    return objective.passes["gradient"], time.perf_counter() - start


if __name__ == "__main__":
    main()
