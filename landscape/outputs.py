"""The logits in whatever a module returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def logits(output: Any) -> Any:
    """The logits in what a module returns: itself, its `.logits` or "logits", or the first of several.

    Classifiers of Hugging Face return objects, those of MadryLab (logits, input).
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        return output.get("logits", next(iter(output.values())) if len(output) == 1 else output)
    if hasattr(output, "logits"):
        return output.logits
    return output[0] if isinstance(output, tuple | list) and output else output
