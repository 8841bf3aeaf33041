"""Loss surfaces of the shipped LeNet trained at eps 0.1: one plane at three budgets, and a finer one clean.

Loss over filter-normalised directions, attacked anew in every cell, beside the frozen adversary of θ: the
difference is what the adversary's motion adds. Carries on where it stopped, within a surface too.
figures/surface.py draws it.

    python analyses/surface.py [--size 25] [--clean-size 51] [--examples N] [--workers N] [--results DIR]
"""

import argparse
import os
from pathlib import Path

from landscape import measure
from landscape.progress import progress

ROOT = Path(__file__).parent.parent
CHECKPOINT = ROOT / "data/checkpoints/lenet4_eps0.1.pt"

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=25)
    parser.add_argument("--clean-size", type=int, default=51)
    parser.add_argument("--examples", type=int)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--results", type=Path, default=ROOT / "data/results")
    told = parser.parse_args()
    told.results.mkdir(parents=True, exist_ok=True)
    for name, eps, size, adversary in (
        ("surface", "0,0.05,0.1", told.size, "both"),
        ("surface_clean", "0", told.clean_size, "reattack"),
    ):
        with progress() as watch:
            measure(
                "surface",
                os.path.relpath(CHECKPOINT),
                eps,
                data="fashion-mini",
                size=size,
                adversary=adversary,
                examples=told.examples,
                workers=told.workers,
                output=told.results / f"{name}_eps0.1.h5",
                watch=watch,
            )
