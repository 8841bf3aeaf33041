"""What a loss surface costs, beside other tools, a plain loop, and the paper's attack of each cell.

All ways take turns, each in a process of its own (surface_scans.py), with the same weights and the same 1,000
images of fashion-mini, in float32. A round times a sample of cells; 25 × 25 cells are the seconds before the
first cell and 625 times those of a cell. Told are medians over the rounds, in brackets the range, of ratios
within a round. The floor is the operations of the forward passes at the rate of a large convolution, measured
in the same round. Under attack `landscape` scans the quadrant [0, 1]² at the spacing of 25 × 25 cells over
[-1, 1]², and PGD-10 from scratch a sample of its cells. Prints the tables of the README.

    python analyses/surface_cost.py [--peers DIR] [--cells 16] [--rounds 5] [--threads 1,2] [-o TABLE.md]

The other tools are no dependencies of ours: measured are those that DIR has an environment of, as made by

    for peer in loss-landscapes==3.0.6 losscape==1.5.10 landscaper==1.3.1; do
        python -m venv DIR/${peer%==*} && DIR/${peer%==*}/bin/pip install torch==2.13.0 $peer
    done
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import surface_scans  # noqa: F401 gives its models their names
import torch
import torch.nn.functional as F

from landscape import PGD, Budget, registry
from landscape.checkpoints.read import read
from landscape.checkpoints.write import save
from landscape.data import Data
from landscape.datasets import source
from landscape.progress import progress
from landscape.training import Recipe, train

HERE = Path(__file__).parent
SHIPPED = HERE.parent / "data/checkpoints/lenet4_eps0.1.pt"
CELLS, SPACING = 25 * 25, 2 / 24
PEERS = ("loss_landscapes", "landscaper", "losscape")
WAYS = ("ours", "plain", *PEERS, "paper", "floor")
NAMES = {way: way for way in WAYS}
NAMES |= {"ours": "landscape", "plain": "plain loop", "loss_landscapes": "loss-landscapes"}
OTHERS = {
    "grey": ("lenet5", "mlp"),
    "colour": ("lenet_cifar", "vgg:width=2", "resnet18:width=2", "separable", "transformer"),
}
"""Models, with weights as they begin, on which `landscape` should be no slower than the plain loop."""


@dataclass(frozen=True)
class Subject:
    """A model, the files of its weights and images, and the budgets that it is attacked under, ascending."""

    spec: str
    checkpoint: Path
    data: Path
    budgets: tuple[str, ...] = ("0",)


class AbsentError(Exception):
    """Why a way cannot be measured here."""


class Scanner:
    """A process that scans in one way; it ends with the context."""

    def __init__(self, way: str, threads: int, python: Path) -> None:
        settings = {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(HERE.parent), "MPLBACKEND": "Agg"}
        self.process = subprocess.Popen(
            [python, HERE / "surface_scans.py", way],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | settings,
            text=True,
        )

    def __enter__(self) -> Scanner:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()

    def ask(self, told: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            print(json.dumps(told), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline() or '{"error": "it ended without an answer"}')
        if "error" in answer:
            raise AbsentError(answer["error"])
        return answer

    def read(self, subject: Subject) -> float:
        """Take a subject into memory, and scan four cells of it to warm up; its loss at θ."""
        files = {"checkpoint": str(subject.checkpoint), "data": str(subject.data)}
        loss = self.ask({"spec": subject.spec} | files)["loss"]
        self.ask(grid([0.0, SPACING], steps=1, cells=[(0, 0), (1, 1)]))
        return loss


Turns = dict[str, tuple[Scanner, dict[str, Any]]]
Answers = dict[str, list[dict[str, Any]]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, default=Path("peers"))
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--cells", type=int, default=16, help="in each sample")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=lambda told: [int(n) for n in told.split(",")], default=[1, 2])
    parser.add_argument("--quadrant", type=int, default=13, help="cells on its sides, from θ outwards")
    parser.add_argument("--epochs", type=int, default=8, help="of the ResNet's training, at 8/255")
    parser.add_argument("-o", "--output", type=Path)
    told = parser.parse_args()
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for line in tables(*subjects(Path(folder), told.examples, told.epochs), told):
            lines.append(line)
            print(line, flush=True)
    if told.output:
        told.output.write_text("\n".join(lines) + "\n")


def subjects(folder: Path, examples: int, epochs: int) -> tuple[list[Subject], list[Subject]]:
    """A LeNet and a ResNet that were trained under attack; and models of other kinds, untrained."""
    grey = source.load("fashion-mini", examples=examples)
    colour = Data.of(F.pad(grey.x, (2, 2, 2, 2)).expand(-1, 3, -1, -1), grey.y)
    for name, data in (("grey", grey), ("colour", colour)):
        np.savez(folder / f"{name}.npz", x=data.x.numpy(), y=data.y.numpy())

    def subject(spec: str, state: dict[str, torch.Tensor], data: str, *budgets: str) -> Subject:
        path = folder / f"{spec.partition(':')[0]}.pt"
        save(path, state, {"model": spec})
        return Subject(spec, path, folder / f"{data}.npz", budgets or ("0",))

    recipe = Recipe(model="resnet8", budget=Budget("8/255"), attack=PGD(steps=2), epochs=epochs)
    resnet = train(recipe, colour)[0].state_dict()
    torch.manual_seed(0)
    return [
        subject("lenet:width=4", dict(read(SHIPPED).state), "grey", "0.02", "0.04", "0.06", "0.08", "0.1"),
        subject("resnet8", resnet, "colour", "1/255", "2/255", "4/255", "6/255", "8/255"),
    ], [
        subject(spec, registry.make("model", spec).state_dict(), data)
        for data, specs in OTHERS.items()
        for spec in specs
    ]


def tables(pair: list[Subject], others: list[Subject], told: argparse.Namespace) -> Iterator[str]:
    """All tables, line by line as they are measured; those under attack with the last number of threads."""
    at = np.linspace(-1, 1, max(2, math.isqrt(told.cells))).tolist()
    for threads in told.threads:
        where = "1 core" if threads == 1 else f"{threads} cores"
        with ExitStack() as stack:
            scanners: dict[str, Scanner] = {}
            for way in WAYS:
                python = told.peers / NAMES[way] / "bin/python" if way in PEERS else sys.executable
                if Path(python).exists():
                    scanners[way] = stack.enter_context(Scanner(way, threads, Path(python)))
                else:
                    yield f"Not measured: {NAMES[way]} is not installed.\n"
            for subject in pair:
                found, missing = clean(scanners, subject, at, told.rounds)
                rows = {
                    NAMES[way]: [ratio(found["plain"], answers), ratio(answers, found["floor"])]
                    for way, answers in found.items()
                }
                yield from table(
                    [f"{subject.spec}, clean, {where}", "speed, plain loop = 1", "time, floor = 1"], rows
                )
                yield from (f"\nNot measured: {NAMES[way]}: {why}" for way, why in missing.items())
                yield ""
            rows = {}
            for subject in others:
                found, _ = clean({way: scanners[way] for way in ("ours", "plain")}, subject, at, told.rounds)
                rows[subject.spec] = [ratio(found["plain"], found["ours"])]
            yield from (*table([f"other models, clean, {where}", "speed, plain loop = 1"], rows), "")
            if threads == told.threads[-1]:
                for subject in pair:
                    yield from (*attacked(scanners, subject, where, told), "")


def clean(
    scanners: dict[str, Scanner], subject: Subject, at: list[float], rounds: int
) -> tuple[Answers, dict[str, str]]:
    """Answers without an attack, of the ways that can scan the subject; why others cannot."""
    losses: dict[str, float] = {}
    missing: dict[str, str] = {}
    for way in scanners:
        if way == "paper":
            continue
        try:
            losses[way] = scanners[way].read(subject)
        except AbsentError as error:
            if way not in PEERS:
                raise
            missing[way] = str(error)
    if max(losses.values()) - min(losses.values()) > 1e-4 * max(losses.values()):
        raise SystemExit(f"the processes do not look at the same loss: {losses}")
    return compare({way: (scanners[way], grid(at)) for way in losses}, rounds), missing


def attacked(
    scanners: dict[str, Scanner], subject: Subject, where: str, told: argparse.Namespace
) -> list[str]:
    """Beside an attack from scratch in each cell: the time, and the losses in the cells that both have."""
    at = [i * SPACING for i in range(told.quadrant)]
    whole = grid(at, eps=subject.budgets[-1:])
    drawn = np.random.default_rng(0).permutation(len(at) ** 2 - 1)[: told.cells - 1].tolist()
    cells = [divmod(cell, len(at)) for cell in [*sorted(drawn), len(at) ** 2 - 1]]  # the far corner too
    ours, paper = scanners["ours"], scanners["paper"]
    for scanner in (ours, paper):
        scanner.read(subject)
    turns: Turns = {
        "scratch": (paper, whole | {"steps": 10, "cells": cells}),
        "3 steps": (ours, whole | {"steps": 3}),
        "5 steps": (ours, whole | {"steps": 5}),
        "five budgets": (ours, whole | {"steps": 5, "eps": subject.budgets}),
    }
    found = compare(turns, told.rounds)
    theirs = np.array(found["scratch"][0]["losses"])
    rows = {}
    for way in list(turns)[1:]:
        values = np.array([found[way][0]["losses"][-1][row][column] for row, column in cells])
        each = values / theirs - 1
        rows[f"landscape, {way}"] = [
            ratio(found["scratch"], found[way]),
            f"{values.mean() / theirs.mean() - 1:+.2%}",
            f"{each.min():+.2%} to {each.max():+.2%}",
        ]
    heads = [
        f"{subject.spec}, eps {subject.budgets[-1]}, {where}",
        "speed, PGD-10 from scratch = 1",
        "mean loss beside PGD-10's",
        f"in each of {len(cells)} cells",
    ]
    longer = ratio(found["five budgets"], found["5 steps"])
    return [*table(heads, rows), "", f"Five budgets, of 5 steps, take {longer} times as long as one."]


def compare(turns: Turns, rounds: int) -> Answers:
    """The answers of scanners that take turns, in each round in an order drawn anew."""
    found: Answers = {name: [] for name in turns}
    rng = np.random.default_rng(0)
    with progress() as watch:
        for number in range(rounds):
            for place, name in enumerate(rng.permutation(list(turns)).tolist()):
                watch("turns", number * len(turns) + place, rounds * len(turns))
                scanner, wanted = turns[name]
                found[name].append(scanner.ask(wanted))
    return found


def ratio(above: list[dict[str, Any]], below: list[dict[str, Any]]) -> str:
    """Median and range over the rounds of a ratio of seconds for 25 × 25 cells."""
    times = ([answer["setup"] + CELLS * answer["each"] for answer in each] for each in (above, below))
    found = [a / b for a, b in zip(*times, strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f}-{max(found):.2f})"


def grid(at: list[float], **told: Any) -> dict[str, Any]:
    """A square of cells, as surface_scans.py takes it."""
    return {"x": at, "y": at, **told}


def table(heads: Sequence[str], rows: dict[str, list[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *([name, *row] for name, row in rows.items())]
    return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
    main()
