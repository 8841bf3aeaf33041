"""Linear models of Fashion-MNIST: where the constant classifier becomes optimal, and what happens before.

Answers to Section 3.1 of the paper: robust models become fewer with eps (Proposition 1), and from eps_bar
on nothing beats W = 0 (Theorem 1). Ten classes, the two classes that decide eps_bar, random models, and a toy
set of two pixels on which all models can be drawn. Carries on where it stopped; a quarter of an hour on one
core. figures/linear_theory.py draws it.

    python analyses/linear_theory.py [--data fashion-mnist] [--examples 1000] [--models 100] [--results DIR]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from landscape import load
from landscape.data import Data
from landscape.laboratory import ask
from landscape.progress import progress
from landscape.report import print_run
from landscape.results import Run

RESULTS = Path(__file__).parent.parent / "data/results"
EPS = "0,0.05,0.1,0.15,0.2,0.25,0.3,0.35,0.38,0.4,0.41,0.42,0.43,0.45,0.5"
DECIDE = "1,7"  # trousers and sneakers: of all pairs these have the class means farthest apart


def toy() -> Data:
    """Two classes of two pixels, robust models up to eps = 0.175, eps_bar = 0.275."""
    one = np.array([[0.70, 0.20], [0.85, 0.30], [0.75, 0.40], [0.95, 0.15], [0.80, 0.25], [0.90, 0.35]])
    other = np.array([[0.15, 0.75], [0.30, 0.85], [0.40, 0.80], [0.20, 0.60], [0.35, 0.70], [0.25, 0.90]])
    y = np.repeat([1, 0], [len(one), len(other)])
    return Data.of(np.concatenate([one, other]), y, name="toy")


def part(path: Path, question: str, data: str | Data, quiet: bool, **options: Any) -> Run:
    """The run of a question: what its file holds of it, and what was missing."""
    before = load(path) if path.exists() else None
    asked = {"data": data if isinstance(data, str) else data.name, **options}
    kept = before and _is_of(before, asked) and (before.complete or "eps" in options)
    there = before.results if before and kept else []
    run = Run(question, {}, list(there))
    wanted = set(options["eps"].split(",")) if "eps" in options else {""}
    if not wanted <= {result.budget for result in there}:
        with progress(quiet) as watch:
            ask(question, data, output=path, told=run, watch=watch, **options)
    found = load(path)
    print(f"\n{path.name}")
    print_run(found, False, None)
    return found


def _is_of(run: Run, asked: dict[str, Any]) -> bool:
    """Whether results are of this data and these settings; of which budgets is told by themselves."""
    of, settings = run.provenance["data"], run.provenance["options"]
    same = of["name"] == asked["data"] and of["classes"] == asked.get("classes", "all")
    if isinstance(asked.get("examples"), int):
        same &= of["examples"] == asked["examples"]
    named = {k: v for k, v in asked.items() if k not in ("data", "classes", "examples", "eps")}
    return same and named == {k: v for k, v in settings.items() if k != "eps"}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--examples", type=int, default=1000, help="for ten classes and for random models")
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--eps", default=EPS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--quiet", action="store_true")
    told = parser.parse_args()
    whole: dict[str, Any] = {"data": told.data, "quiet": told.quiet, "examples": "all"}
    some = whole | {"examples": told.examples}
    at = told.results / "linear_theory.h5"
    part(at.with_stem("linear_theory_eps_bar"), "eps-bar", **whole)
    part(at.with_stem("linear_theory_toy"), "plane", toy(), told.quiet, eps="0,0.1,0.2,0.3", extent=12.0)
    part(at.with_stem("linear_theory_sets"), "sets", **some, models=told.models)
    part(at.with_stem("linear_theory_two"), "minimum", **whole, classes=DECIDE, eps=told.eps)
    part(at, "minimum", **some, eps=told.eps)
