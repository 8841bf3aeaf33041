"""What a checkpoint holds, for somebody who has not got its model yet."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any

from landscape.checkpoints.content import Lazy
from landscape.checkpoints.find import COUNT, averaged, normalizer
from landscape.checkpoints.guess import guess, outline
from landscape.checkpoints.read import Checkpoint


def summary(file: Checkpoint, key: str | None = None) -> dict[str, Any]:
    """The mappings from names to tensors, and what the likeliest, or that at `key`, looks like.

    "mappings": place, tensors, numbers; "averaged": places and prefixes of averaged weights; "prefix": what
    all names begin with; "parameters": numbers in all; "architecture": in words; "normalizer": mean, std and
    place
    """
    found: dict[str, Any] = {
        "mappings": [
            {"place": w.place, "tensors": len(w.tensors), "numbers": w.numbers} for w in file.weights
        ],
        "averaged": [w.place for w in file.weights if w.average or COUNT in w.tensors],
    }
    usual = sorted(file.weights, key=lambda w: w.order)
    largest = max((w.numbers for w in file.weights), default=0)
    likely = next((w for w in usual if 2 * w.numbers > largest), None)
    if key is not None:
        likely = next((w for w in file.weights if w.place == key), likely)
    if likely is None:
        return found | {"prefix": "", "parameters": 0, "architecture": None, "normalizer": None}
    names = [name for name in likely.tensors if name != COUNT]
    found["averaged"] += sorted({head for n in names if averaged(head := n.partition(".")[0])})
    prefix, statistics = _common(names), normalizer(likely)
    return found | {
        "prefix": prefix,
        "parameters": likely.numbers,
        "architecture": _architecture(likely.tensors, prefix),
        "normalizer": statistics
        and {"mean": list(statistics.mean), "std": list(statistics.std), "place": statistics.place},
    }


def _architecture(tensors: Mapping[str, Lazy], prefix: str) -> str | None:
    """What the tensors look like, or those below the first name that has most of them."""
    shapes = {name.removeprefix(prefix): tensor.shape for name, tensor in tensors.items()}
    inner = Counter(name.partition(".")[0] + "." for name in shapes).most_common(1)[0][0]
    below = {n.removeprefix(inner): shape for n, shape in shapes.items() if n.startswith(inner)}
    return guess(shapes) or guess(below) or f"unknown: {outline(shapes)}"


def _common(names: list[str]) -> str:
    """The modules that all names begin with, "module.model."."""
    paths = [name.split(".")[:-1] for name in names]
    shared = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
    return "".join(f"{parts[0]}." for parts in shared) if len(names) > 1 else ""
