"""Loss surfaces of the shipped LeNet trained at eps 0.1: one plane at three budgets, and sections through it.

1. the plane of two filter-normalised directions at eps 0, 0.05, 0.1, attacked in every cell;
2. the same plane clean, on a finer grid;
3. a section along the top eigenvector, attacked in every cell and with the adversary frozen at θ: how much
   rougher the surface is that the adversary follows;
4. the straight line to the LeNet trained at eps 0.05, and its barrier.

Carries on where it stopped, within a surface too. figures/surface.py draws them.

    python analyses/surface.py [--size 25] [--clean-size 51] [--examples N] [--workers N] [--results DIR]
"""

import argparse
import os
from pathlib import Path

from landscape import load, measure
from landscape.progress import progress

DATA = Path(__file__).parent.parent / "data"
THERE, OTHER = (os.path.relpath(DATA / f"checkpoints/lenet4_eps{eps}.pt") for eps in ("0.1", "0.05"))
ALL = "0,0.05,0.1"

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=25)
    parser.add_argument("--clean-size", type=int, default=51)
    parser.add_argument("--examples", type=int)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--results", type=Path, default=DATA / "results")
    told = parser.parse_args()
    told.results.mkdir(parents=True, exist_ok=True)
    fine = {"size": told.clean_size}
    section = fine | {"_1d": True, "directions": "eigenvector:1", "extent": "0.5", "adversary": "both"}
    for name, analyzer, checkpoints, eps, options in (
        ("surface", "surface", THERE, ALL, {"size": told.size}),
        ("surface_clean", "surface", THERE, "0", fine),
        ("surface_section", "surface", THERE, ALL, section),
        ("surface_line", "line", [THERE, OTHER], ALL, fine),
    ):
        output = told.results / f"{name}_eps0.1.h5"
        if output.exists() and load(output).complete:
            continue
        with progress() as watch:
            measure(
                analyzer,
                checkpoints,
                eps,
                data="fashion-mini",
                examples=told.examples,
                workers=told.workers,
                output=output,
                watch=watch,
                **options,
            )
