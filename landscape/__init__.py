"""What the loss looks like around a model's weights, clean and under attack, and how sure we are."""

from __future__ import annotations

import importlib
from typing import Any

from landscape._version import __version__

_HOMES = {
    "Budget": "budget",
    "Data": "data",
    "Network": "network",
    "Objective": "objective",
    "Point": "objective",
    "PGD": "attacks.pgd",
    "FGSM": "attacks.fgsm",
    "Liu2020": "attacks.liu2020",
    "Linear": "attacks.linear",
    "APGD": "attacks.apgd",
    "Square": "attacks.square",
    "eigsh": "linalg.eigen",
    "trace": "linalg.trace",
    "diagonal": "affine",
    "sharpness": "analyzers.sharpness",
    "gradient": "analyzers.gradient",
    "scatter": "analyzers.scatter",
    "perturbation": "analyzers.perturbation",
    "trajectory": "analyzers.trajectory",
    "Curve": "curves",
    "surface": "surfaces.scan",
    "Settings": "surfaces.settings",
    "measure": "runs",
    "subject": "subjects",
    "load": "results",
}
__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import: nothing is, until a name that needs it is used.
    if name not in _HOMES:
        raise AttributeError(f"module 'landscape' has no attribute {name!r}")
    return getattr(importlib.import_module(f"landscape.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
