"""The shipped LeNets, trained at eps 0, 0.05, 0.1, 0.2, each measured at all of these budgets.

What the studies of one analyzer have in common; not a study itself.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from landscape import load, measure
from landscape.progress import progress

ROOT = Path(__file__).parent.parent
TRAINED = ("0", "0.05", "0.1", "0.2")


def study(analyzer: str, about: str | None, budgets: tuple[str, ...] = TRAINED, **options: Any) -> Path:
    """Measure the shipped LeNets; the folder with a file for each. None that is complete is made again.

    options: keyword arguments of the analyzer, which the command line may change
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eps", default=",".join(budgets))
    parser.add_argument("--examples", type=int)
    parser.add_argument("--attack", default="pgd:steps=20")
    parser.add_argument("--results", type=Path, default=ROOT / "data/results")
    for name, value in options.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    told = vars(parser.parse_args())
    folder = told.pop("results")
    folder.mkdir(parents=True, exist_ok=True)
    for trained in TRAINED:
        output = folder / f"{analyzer}_eps{trained}.h5"
        if output.exists() and load(output).complete:
            continue
        checkpoint = os.path.relpath(ROOT / f"data/checkpoints/lenet4_eps{trained}.pt")
        with progress() as watch:
            measure(analyzer, checkpoint, data="fashion-mini", output=output, watch=watch, **told)
    return folder
