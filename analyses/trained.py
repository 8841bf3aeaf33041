"""The nets that studies of the paper's claims look at; whichever study needs one first trains it.

What these studies have in common; not a study itself. By default LeNets of width 4 (206,954 parameters) are
trained on 8,000 digits of MNIST, which python data/mnist_10k.py fetches.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.budget import Budget, exact, text
from landscape.progress import progress
from landscape.runs import train
from landscape.schedules import schedule

ROOT = Path(__file__).parent.parent
EPS = ("0", "0.1", "0.2", "0.3", "0.4")
"""Budgets of the paper's experiments on digits."""
TOPS = {"cosine": "1.5", "linear": "2"}
"""eps_max over eps, as the paper has it for digits: the target is reached after 61 % and 50 % of a period."""


@dataclass(frozen=True, kw_only=True)
class Nets:
    """Nets that one recipe makes, at any budget and seed.

    family: the folder that they lie in, within that of all nets
    shape: of the schedule of eps
    warmup: epochs of each period in which the learning rate rises
    """

    folder: Path
    family: str
    model: str = "lenet:width=4"
    data: str = "mnist-10k"
    examples: int | None = None
    epochs: int = 20
    shape: str = "constant"
    periods: str = ""
    warmup: str = "0"
    options: tuple[tuple[str, Any], ...] = ()

    def __call__(self, eps: str, seed: int, **options: Any) -> Path:
        """A checkpoint, trained to its end; options: keyword arguments of `landscape.runs.train`."""
        told = {"eps": eps.replace("/", "-"), **options, "seed": seed}
        name = "_".join(f"{name}{value}" for name, value in told.items())
        output = self.folder / self.family / f"{name}.pt"
        output.parent.mkdir(parents=True, exist_ok=True)
        shape = self.shape if exact(eps) else "constant"
        top = text(exact(TOPS[shape]) * exact(eps)) if shape in TOPS else None
        plan = schedule(shape, eps_max=top, periods=self.periods, warmup=self.warmup)  # type: ignore[arg-type]
        with progress() as watch:
            train(
                self.model,
                self.data,
                output,
                budget=Budget(eps),
                schedule=plan,
                epochs=self.epochs,
                examples=self.examples,
                attack_precision="auto",
                attacked=0,
                seed=seed,
                watch=watch,
                **{**dict(self.options), **options},
            )
        return Path(os.path.relpath(output))


def arguments(about: str | None) -> argparse.ArgumentParser:
    """The flags of every study that looks at these nets: which, and where they and the results go."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lenet:width=4")
    parser.add_argument("--data", default="mnist-10k")
    parser.add_argument("--eps", type=_list, default=EPS, help="budgets of the training")
    parser.add_argument("--seeds", type=lambda words: [int(word) for word in _list(words)], default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20, help="of the training")
    parser.add_argument("--train-examples", type=int, help="to train on; by default all")
    parser.add_argument("--examples", type=int, default=1000, help="to measure on")
    parser.add_argument("--nets", type=Path, default=ROOT / "data/nets")
    parser.add_argument("--results", type=Path, default=ROOT / "data/results")
    return parser


def nets(told: argparse.Namespace, family: str, shape: str = "constant", **settings: Any) -> Nets:
    """The nets of a family, as the flags of a study say."""
    given = {"model": told.model, "data": told.data, "examples": told.train_examples, "epochs": told.epochs}
    return Nets(folder=told.nets, family=family, shape=shape, **(given | settings))


def _list(words: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in words.split(","))
