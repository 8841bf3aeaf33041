"""What an epoch of adversarial training costs beside the paper's loop, on one thread.

The paper's loop, written anew: images in rows, PGD by `.backward()`, which computes parameters' gradients too
in every step, constant steps of eps/4, the last iterate. Both make the same 10 steps for each mini-batch of
128. All take turns, epoch by epoch; passes are exact, ratios are of processor time. Prints the table of the
README, in about two minutes.

    python analyses/training_cost.py [--models lenet:width=4,lenet:width=16] [--examples 1000] [-o TABLE.md]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from landscape import PGD, Budget, Data, registry
from landscape.datasets.source import load
from landscape.training import Course, Precision, Recipe

BUDGET, STEPS, BATCH = Budget("0.1"), 10, 128


class Plain:
    """The paper's loop."""

    def __init__(self, model: str, data: Data) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.module: nn.Module = registry.make("model", model)
        self.optimizer = torch.optim.Adam(self.module.parameters())
        self.x, self.y = data.x.float() / 255, data.y

    def epoch(self) -> None:
        for rows in torch.randperm(len(self.x)).split(BATCH):
            x, y = self.x[rows], self.y[rows]
            moved = self.attacked(x, y)
            self.optimizer.zero_grad()
            F.cross_entropy(self.module.train()(moved), y).backward()
            self.optimizer.step()

    def attacked(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        eps = float(BUDGET.eps)
        self.module.eval()
        moved = (x + torch.empty_like(x).uniform_(-eps, eps)).clamp(0, 1)
        for _ in range(STEPS):
            moved = moved.detach().requires_grad_()
            F.cross_entropy(self.module(moved), y).backward()
            step = eps / 4 * moved.grad.sign()
            moved = torch.minimum(torch.maximum(moved + step, x - eps), x + eps).clamp(0, 1)
        return moved.detach()


class Ours:
    """The loop of `landscape train`."""

    def __init__(self, model: str, data: Data, precision: Precision) -> None:
        recipe = Recipe(
            model=model,
            budget=BUDGET,
            attack=PGD(steps=STEPS),
            attack_precision=precision,
            batch_size=BATCH,
            epochs=10**6,
        )
        with torch.random.fork_rng():
            self.course = Course(recipe, data)

    def epoch(self) -> None:
        while self.course.step() is None:
            pass


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="lenet:width=4,lenet:width=16")
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    told = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        f"| an epoch of {told.examples:,} images, PGD-{STEPS} | gradient passes, forward passes "
        "| speed, paper's loop = 1 |",
        "| --- | --- | --- |",
    ]
    for model in told.models.split(","):
        lines += rows(model, load("fashion-mini", examples=told.examples), told.rounds)
    print("\n".join(lines))
    if told.output:
        told.output.write_text("\n".join(lines) + "\n")


def rows(model: str, data: Data, rounds: int) -> list[str]:
    """A line for each way to train a model."""
    ways: dict[str, Plain | Ours] = {
        "paper's loop": Plain(model, data),
        "`landscape train`": Ours(model, data, "full"),
        "with `--attack-precision bfloat16`": Ours(model, data, "bfloat16"),
    }
    passes = {name: counted(way, len(data)) for name, way in ways.items()}  # which also warms them up
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            way.epoch()
            seconds[name].append(time.process_time() - start)
    found = []
    for name in ways:
        ratio = [p / s for p, s in zip(seconds["paper's loop"], seconds[name], strict=True)]
        spread = f" ({min(ratio):.2f}-{max(ratio):.2f})" if name != "paper's loop" else ""
        gradient, forward = passes[name]
        made = f"{gradient:g}, {forward:g}"
        found.append(f"| {model}, {name} | {made} | {statistics.median(ratio):.2f}{spread} |")
    return found


def counted(way: Plain | Ours, examples: int) -> tuple[float, float]:
    """Gradient and forward passes of an epoch over so many examples: with a graph and without."""
    seen: Counter[bool] = Counter()

    def note(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        if type(module).__name__ == "LeNet":
            seen[output.requires_grad] += len(inputs[0])

    hook = nn.modules.module.register_module_forward_hook(note)
    try:
        way.epoch()
    finally:
        hook.remove()
    return seen[True] / examples, seen[False] / examples


if __name__ == "__main__":
    main()
