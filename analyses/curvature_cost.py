"""What eigenvalues and trace cost and how far they are off, beside PyHessian and scipy, on one trained LeNet.

Counts (products with the Hessian, floating-point operations) are exact; times are medians of interleaved
rounds, in units of one gradient over the same data. Prints the tables of the README, in about 12 minutes.

    python analyses/curvature_cost.py [CHECKPOINT] [--examples 500] [--seeds 5] [-o TABLE.md]
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from scipy.sparse.linalg import eigsh as arpack
from torch.utils.flop_counter import FlopCounterMode

from landscape import Objective, eigsh, trace
from landscape.affine import diagonal
from landscape.hessian import Hessian
from landscape.objective import Point
from landscape.subjects import subject

SHIPPED = Path(__file__).parent.parent / "data/checkpoints/lenet5_eps0.pt"
ROUNDS = 11


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", nargs="?", default=SHIPPED)
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=5)
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
    tell(*products(point), "")
    tell(*eigenpairs(point, told.seeds), "")
    tell(*traces(point, told.seeds))
    if told.output:
        told.output.write_text("\n".join(lines) + "\n")


def products(point: Point) -> list[str]:
    """A Hessian product in units of a gradient."""
    v = torch.randn(len(point.theta), generator=torch.Generator().manual_seed(0))
    kept, anew, theirs = Hessian(point, keep=True), Hessian(point, keep=False), PyHessian(point)
    ways: dict[str, Callable[[], object]] = {
        "gradient": lambda: fresh(point).gradient,
        "landscape, graph kept": lambda: kept @ v,
        "landscape, not kept": lambda: anew @ v,
        "PyHessian, loader": lambda: theirs.product(v),
    }
    for way in ways.values():  # the first call builds the kept graph and warms the allocator
        way()
    flops, seconds = {}, {name: [] for name in ways}
    for name, way in ways.items():
        with FlopCounterMode(display=False) as counter:
            way()
        flops[name] = counter.get_total_flops()
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    unit = statistics.median(seconds["gradient"])
    rows = ["| Hessian product | operations, gradient = 1 | time, gradient = 1 |", "| --- | --- | --- |"]
    for name in list(ways)[1:]:
        time_ratio = statistics.median(seconds[name]) / unit
        rows.append(f"| {name} | {flops[name] / flops['gradient']:.2f} | {time_ratio:.1f} |")
    return rows


def eigenpairs(point: Point, seeds: int) -> list[str]:
    """Products and the worst measured residual of the top 1 and the top 20 eigenpairs."""
    H = point.hessian
    rows = ["| eigenpairs | k | products | worst residual ‖Hv − λv‖ / λ |", "| --- | --- | --- | --- |"]
    for k in (1, 20):
        ours = [eigsh(H, k, seed=seed) for seed in range(seeds)]
        worst = max(worst_residual(H, s.eigenvalues, s.vectors) for s in ours)
        counts = sorted({s.products for s in ours})
        rows.append(f"| landscape, {seeds} seeds | {k} | {counts[0]}-{counts[-1]} | {worst:.1e} |")
    for k in (1, 20):
        counted = Counted(H)
        start = np.random.default_rng(0).standard_normal(H.shape[0])
        operator = LinearOperator(H.shape, matvec=counted, dtype=np.float64)
        values, vectors = arpack(operator, k, which="LA", tol=1e-3, v0=start)
        worst = worst_residual(H, torch.from_numpy(values.copy()), torch.from_numpy(vectors.copy()))
        rows.append(f"| scipy eigsh, tol 1e-3 | {k} | {counted.count} | {worst:.1e} |")
    for k in (1, 20):
        theirs = PyHessian(point)
        values, vectors = theirs.eigenpairs(k)
        rows.append(f"| PyHessian | {k} | {theirs.count} | {worst_residual(H, values, vectors):.1e} |")
    return rows


def traces(point: Point, seeds: int) -> list[str]:
    """Cost and error of the trace; the oracle is the exact one in float64."""
    network = point.objective.network
    module = network.module.double().requires_grad_(True)
    double = replace(point.objective, network=type(network)(module, dtype=torch.float64)).at()
    truth = diagonal(double).sum().item()
    module.float()
    point = fresh(point)
    gradient = median_time(lambda: fresh(point).gradient)
    exact = diagonal(point).sum().item()
    cost = median_time(lambda: diagonal(point)) / gradient
    rows = ["| trace | cost | relative error | error bar |", "| --- | --- | --- | --- |"]
    rows.append(f"| landscape, exact | time of {cost:.1f} gradients | {abs(exact / truth - 1):.0e} | 0 |")
    H = point.hessian
    ours, plain, theirs = [], [], []
    for seed in range(6 * seeds):
        spectrum = eigsh(H, 20, seed=seed)
        left = 120 - spectrum.products
        ours.append(trace(H, probes=left, basis=spectrum.basis, images=spectrum.images, seed=seed))
    for seed in range(2 * seeds):
        plain.append(trace(H, probes=120, seed=seed))
        peer = PyHessian(point, seed)
        theirs.append((peer.trace(), peer.count))
    for name, estimates in (("stochastic, top-20 run included", ours), ("plain Hutchinson", plain)):
        errors = [e.value / truth - 1 for e in estimates]
        z = rms([(e.value - truth) / e.stderr for e in estimates])
        spread = f"{rms(errors):.1%} rms, {max(map(abs, errors)):.1%} worst of {len(errors)}"
        rows.append(f"| landscape, {name} | 120 products | {spread} | rms of error / bar {z:.2f} |")
    errors = [value / truth - 1 for value, _ in theirs]
    counts = [count for _, count in theirs]
    spread = f"{rms(errors):.1%} rms, {max(map(abs, errors)):.1%} worst of {len(errors)}"
    rows.append(f"| PyHessian, its own rule | {min(counts)}-{max(counts)} products | {spread} | none |")
    return rows


class Counted:
    """Products with a numpy vector, counted."""

    def __init__(self, H: Hessian) -> None:
        self.H, self.count = H, 0

    def __call__(self, v: np.ndarray) -> np.ndarray:
        self.count += 1
        return (self.H @ torch.from_numpy(v.ravel()).to(self.H.dtype)).double().numpy()


class PyHessian:
    """PyHessian with its defaults on the same batches, its products counted."""

    def __init__(self, point: Point, seed: int = 0) -> None:
        from pyhessian import hessian

        from landscape.crosscheck import _module

        torch.manual_seed(seed)
        module, _ = _module(point)
        data = point.perturbed
        batches = [data.inputs(rows, point.theta) for rows in data.chunks()]
        self.shapes = [p.shape for p in module.parameters()]
        self.count = 0
        self.theirs = hessian(module, torch.nn.CrossEntropyLoss(), dataloader=batches, cuda=False)
        plain = self.theirs.dataloader_hv_product

        def counted(v: list[torch.Tensor]) -> object:
            self.count += 1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return plain(v)

        self.theirs.dataloader_hv_product = counted

    def product(self, v: torch.Tensor) -> object:
        parts = v.split([math.prod(s) for s in self.shapes])
        return self.theirs.dataloader_hv_product([p.view(s) for p, s in zip(parts, self.shapes, strict=True)])

    def eigenpairs(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        values, vectors = self.theirs.eigenvalues(top_n=k)
        flat = torch.stack([torch.cat([p.detach().flatten() for p in v]) for v in vectors], dim=1)
        return torch.tensor(values, dtype=torch.float64), (flat / flat.norm(dim=0)).double()

    def trace(self) -> float:
        return float(np.mean(self.theirs.trace()))


def worst_residual(H: Hessian, values: torch.Tensor, vectors: torch.Tensor) -> float:
    residuals = (H @ vectors.to(H.dtype)).double() - vectors * values
    return (residuals.norm(dim=0) / values.abs()).max().item()


def fresh(point: Point) -> Point:
    """The same point with nothing computed yet."""
    return point.objective.at(point.theta)


def median_time(way: Callable[[], object], rounds: int = 5) -> float:
    way()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        way()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def rms(values: list[float]) -> float:
    return math.sqrt(statistics.fmean(v * v for v in values))


if __name__ == "__main__":
    main()
