"""A result file of a net, measured once: complete, it is left as it is.

What the studies of one analyzer at several seeds have in common; not a study itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from landscape import load, measure
from landscape.progress import progress


def once(
    output: Path, analyzer: str, net: Callable[..., Path], eps: str, seed: int, budgets: str, **options: Any
) -> None:
    """Measure the net trained at eps with a seed under some budgets, from random numbers of the same seed.

    options: keyword arguments of `landscape.measure` and of the analyzer
    """
    if output.exists() and load(output).complete:
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    with progress() as watch:
        measure(analyzer, net(eps, seed), budgets, seed=seed, output=output, watch=watch, **options)
