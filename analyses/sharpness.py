"""Top-20 eigenvalues and trace of the shipped LeNets, trained and measured budgets crossed.

Answers to the paper's Figure 3, on Fashion-MNIST: does the curvature at the end of training grow with the
budget? Carries on where it stopped; about ten minutes on one core. figures/sharpness.py draws it.

    python analyses/sharpness.py [--eps 0,0.05,0.1,0.2] [--k 20] [--examples N]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from landscape import load, measure
from landscape.progress import progress

ROOT = Path(__file__).parent.parent
TRAINED = ("0", "0.05", "0.1", "0.2")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--eps", default=",".join(TRAINED))
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--examples", type=int)
    parser.add_argument("--results", type=Path, default=ROOT / "data/results")
    told = parser.parse_args()
    told.results.mkdir(parents=True, exist_ok=True)
    for trained in TRAINED:
        output = told.results / f"sharpness_eps{trained}.h5"
        if output.exists() and load(output).complete:
            continue
        checkpoint = os.path.relpath(ROOT / f"data/checkpoints/lenet4_eps{trained}.pt")
        with progress() as watch:
            measure(
                "sharpness",
                checkpoint,
                told.eps,
                data="fashion-mini",
                examples=told.examples,
                k=told.k,
                output=output,
                watch=watch,
            )


if __name__ == "__main__":
    main()
