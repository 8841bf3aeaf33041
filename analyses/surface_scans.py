"""Ways to scan a loss surface, each to be run in a process of its own, so that several can take turns.

    PYTHON surface_scans.py WAY

reads JSON, one object a line: where model, weights and images are, then the grids to scan. It answers each by
one line: the loss at θ; the seconds before the first cell and those of each cell, without figures. PYTHON has
torch, and what the way itself needs. `surface_cost.py` starts these processes, and is what to run.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from landscape import registry  # it and the models need nothing but torch
from landscape.models.resnet import Block

Value = TypeVar("Value")


@registry.register("model")
def resnet8(*, classes: int = 10) -> nn.Module:
    """Three stages of one block, 16 to 64 channels, for 3 × 32 × 32 images; 78,042 parameters."""
    stem = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    stages = [Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
    return nn.Sequential(*stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


@registry.register("model")
def separable(*, classes: int = 10) -> nn.Module:
    """Depthwise and 1 × 1 convolutions in turn, for 3 × 32 × 32 images."""
    layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU()]
    for width in (32, 64, 128):
        layers += [nn.Conv2d(width, width, 3, 1, 1, groups=width), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.Conv2d(width, 2 * width, 1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256 * 2 * 2, classes))


class Transformer(nn.Module):
    """A small vision transformer of 4 × 4 patches, for 3 × 32 × 32 images; LayerNorm, no BatchNorm."""

    def __init__(self, classes: int, width: int = 64) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.places = nn.Parameter(0.02 * torch.randn(64, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, F.gelu, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).mT + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(dim=1))


@registry.register("model")
def transformer(*, classes: int = 10) -> nn.Module:
    """Two blocks of four heads, 64 wide."""
    return Transformer(classes)


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be scanned, in memory: images x (n, C, H, W) in [0, 1]; and where it came from."""

    spec: str
    checkpoint: str
    data: str
    model: nn.Module
    x: Tensor
    y: Tensor

    @classmethod
    def read(cls, spec: str, checkpoint: str, data: str) -> Task:
        model = registry.make("model", spec)
        model.load_state_dict(torch.load(checkpoint)["state_dict"])
        arrays = np.load(data)
        x, y = torch.from_numpy(arrays["x"]) / 255, torch.from_numpy(arrays["y"])
        return cls(spec, checkpoint, data, model.eval(), x, y)

    def plane(self) -> list[dict[str, Tensor]]:
        """Two filter-normalised directions by the parameters' names, those of `landscape` with seed 0."""
        from landscape import Data, Network, Objective
        from landscape.directions import filter_normalised

        network = Network(self.model)
        point = Objective(network, Data.of(self.x, self.y)).at()
        both = (filter_normalised(point, number).float() for number in (1, 2))
        return [dict(zip(network.names, network.parts(v), strict=True)) for v in both]


@dataclass(frozen=True)
class Grid:
    """Coordinates of the cells, budgets, and gradients for each cell; (row, column) of those that are wanted.

    Scans of whole grids do not look at `cells`; the tools of others take the number of columns for both sides
    and have coordinates of their own.
    """

    x: Sequence[float]
    y: Sequence[float]
    eps: Sequence[str] = ("0",)
    steps: int = 0
    cells: Sequence[tuple[int, int]] = ()


class Clock:
    """Takes the time at which each cell is finished."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self.times = [time.perf_counter()]

    def tick(self) -> None:
        self.times.append(time.perf_counter())

    def after(self, value: Value) -> Value:
        """The value, once a cell has finished with it."""
        self.tick()
        return value

    def told(self, losses: Any = None) -> dict[str, Any]:
        """Seconds before the cells and of each cell, which begins when the one before it on a worker ends."""
        began, *ends = self.times
        first = ends[self.workers - 1]
        each = (ends[-1] - first) / (len(ends) - self.workers)
        return {"setup": first - began - self.workers * each, "each": each, "losses": losses}


def ours(task: Task, grid: Grid) -> dict[str, Any]:
    """`landscape` itself, with as many workers as there are threads; losses by budget, row and column."""
    from landscape import Budget, Objective, subject
    from landscape.directions import filter_normalised
    from landscape.surfaces.scan import Settings, surface

    found = subject(task.checkpoint, model=task.spec, data=task.data)
    clock = Clock(workers := torch.get_num_threads())
    point = Objective(
        found.network, found.data, watch=lambda stage, *_: stage == "cells" and clock.tick()
    ).at()
    u, v = (filter_normalised(point, number) for number in (1, 2))
    x, y, budgets = np.array(grid.x), np.array(grid.y), [Budget(eps) for eps in grid.eps]
    settings = Settings(steps_warm=grid.steps or 5)
    surfaces = surface(point, u, v, x=x, y=y, budgets=budgets, settings=settings, workers=workers)
    return clock.told([each.loss.tolist() for each in surfaces])


def plain(task: Task, grid: Grid) -> dict[str, Any]:
    """The loop that one writes by hand: load_state_dict, and a loader of batches of 128."""
    u, v = task.plane()
    weights = {name: w.clone() for name, w in task.model.state_dict().items()}
    loader = DataLoader(TensorDataset(task.x, task.y), batch_size=128)
    losses, clock = [], Clock()
    for b in grid.y:
        for a in grid.x:
            moved = {name: weights[name] + a * u[name] + b * v[name] for name in u}
            task.model.load_state_dict(weights | moved)
            with torch.no_grad():
                total = sum(F.cross_entropy(task.model(x), y, reduction="sum").item() for x, y in loader)
            losses.append(clock.after(total / len(task.x)))
    task.model.load_state_dict(weights)
    return clock.told(losses)


def floor(task: Task, grid: Grid) -> dict[str, Any]:
    """The operations of a pass over the images, at the rate of a large convolution measured now."""
    from torch.utils.flop_counter import FlopCounterMode

    convolution = nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.rand(32, 64, 32, 32).contiguous(memory_format=torch.channels_last)
    flops, clock = [], Clock()
    with torch.no_grad():
        for module, inputs in ((task.model, task.x), (convolution, x)):
            with FlopCounterMode(display=False) as counter:
                module(inputs)
            flops.append(counter.get_total_flops())
        clock.tick()
        for _ in range(10):
            convolution(x)
            clock.tick()
    return {"setup": 0.0, "each": flops[0] / flops[1] * min(np.diff(clock.times[1:])), "losses": None}


def loss_landscapes(task: Task, grid: Grid) -> dict[str, Any]:
    """loss-landscapes: its own loss, of all images at once."""
    from loss_landscapes import random_plane
    from loss_landscapes.metrics import Loss

    loss, clock = Loss(F.cross_entropy, task.x, task.y), Clock()
    random_plane(task.model, lambda at: clock.after(loss(at)), steps=len(grid.x), deepcopy_model=True)
    return clock.told()


def landscaper(task: Task, grid: Grid) -> dict[str, Any]:
    """landscaper, along random directions: all images at once, as in its guide."""
    from landscaper import LossLandscape

    def loss(model: nn.Module, data: tuple[Tensor, Tensor]) -> float:
        return clock.after(F.cross_entropy(model(data[0]), data[1]).item())

    along = [[torch.randn_like(p) for p in task.model.parameters()] for _ in range(2)]
    side, clock = len(grid.x), Clock()
    LossLandscape.compute(
        task.model, (task.x, task.y), along, loss, steps=side, distance=1.0, dim=2, device="cpu"
    )
    return clock.told()


def losscape(task: Task, grid: Grid) -> dict[str, Any]:
    """losscape, with a loader of batches of 128."""
    from losscape.create_landscape import create_3D_losscape

    class Batches(DataLoader):
        def __iter__(self):
            yield from super().__iter__()
            clock.tick()

    loader = Batches(TensorDataset(task.x, task.y), batch_size=128)
    clock = Clock()
    batches, side = len(loader) + 1, len(grid.x)  # one more than there are: it then reads all
    with tempfile.TemporaryDirectory() as folder:
        create_3D_losscape(
            task.model, loader, num_batches=batches, save_only=True, output_path=folder, num_points=side
        )
    return clock.told()


def paper(task: Task, grid: Grid) -> dict[str, Any]:
    """The scheme of the paper's code: in each cell a copy of the model, and an attack from scratch."""
    u, v = task.plane()
    eps = float(Fraction(grid.eps[0]))
    torch.manual_seed(0)
    losses, clock = [], Clock()
    for row, column in grid.cells:
        model = copy.deepcopy(task.model)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter += grid.x[column] * u[name] + grid.y[row] * v[name]
        total = 0.0
        for x, y in zip(task.x.split(100), task.y.split(100), strict=True):
            moved = pgd(model, x, y, eps, grid.steps)
            with torch.no_grad():
                total += F.cross_entropy(model(moved), y, reduction="sum").item()
        losses.append(clock.after(total / len(task.x)))
    return clock.told(losses)


def pgd(model: nn.Module, x: Tensor, y: Tensor, eps: float, steps: int) -> Tensor:
    """PGD (Madry et al., 1706.06083): random start, constant step 2.5 eps / steps, the last iterate.

    As in the paper's code the backward pass makes the gradient of every weight too.
    """
    moved = (x + torch.empty_like(x).uniform_(-eps, eps)).clamp(0, 1)
    for _ in range(steps):
        moved.requires_grad_()
        F.cross_entropy(model(moved), y).backward()
        moved = moved.detach() + 2.5 * eps / steps * moved.grad.sign()
        moved = torch.clamp(moved, x - eps, x + eps).clamp(0, 1)
    return moved


WAYS: dict[str, Callable[[Task, Grid], dict[str, Any]]] = {
    f.__name__: f for f in (ours, plain, floor, loss_landscapes, landscaper, losscape, paper)
}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 what a tool prints; lasts as long as we do
    for line in sys.stdin:
        try:
            told = json.loads(line)
            if "spec" in told:
                task = Task.read(**told)
                with torch.no_grad():
                    answer = {"loss": F.cross_entropy(task.model(task.x), task.y).item()}
            else:
                answer = WAYS[sys.argv[1]](task, Grid(**told))
        except Exception as error:
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
