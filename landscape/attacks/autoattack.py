"""AutoAttack as its authors wrote it, from the optional package pyautoattack."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from landscape.attacks.base import Losses
from landscape.budget import Budget
from landscape.errors import InputError
from landscape.registry import register

NORMS = {"linf": "Linf", "l2": "L2"}
TARGETS = 9
"""Classes that the targeted attacks aim at, at most."""


class Classified(Protocol):
    """Losses of a classifier that show its logits (B, C) as well, and the labels y (B,) they are of."""

    y: Tensor
    logits: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor: ...


@register("attack")
@dataclass(frozen=True, kw_only=True)
class AutoAttack:
    """Croce & Hein, 2003.01690, by the package pyautoattack, in float32: for `evaluate` alone.

    It asks which examples can be misclassified and leaves each as soon as it is, so that what it returns is
    no inner maximum. Its random starts are those of a batch: what it finds for an example depends on the
    others in it. No global random state is left changed.

    version: standard, or plus with more restarts
    only: one of its attacks alone
    seed: of the random starts
    """

    version: Literal["standard", "plus"] = "standard"
    only: Literal["all", "apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"] = "all"
    seed: int = 0

    def __str__(self) -> str:
        return f"autoattack:version={self.version}" if self.only == "all" else f"autoattack:only={self.only}"

    def __call__(self, losses: Losses | Classified, x: Tensor, index: Tensor, budget: Budget) -> Tensor:
        if not hasattr(losses, "logits"):
            raise InputError(
                f"attack {self} looks for misclassified inputs, not for those of highest loss, and so is no "
                "inner maximiser; give it to `landscape evaluate --attacks`, and here pgd or apgd"
            )
        network: Any = losses
        classes = network.logits(x[:1]).shape[1]
        make = self.check(classes)

        def model(inputs: Tensor) -> Tensor:
            # It computes in float32 alone, and writes into what it is given.
            return network.logits(inputs.to(x.dtype)).float().clone()

        with _nothing_left_behind(x.device):
            run = make(
                model,
                norm=NORMS[budget.norm],
                eps=float(budget.eps),
                version=self.version if self.only == "all" else "custom",
                attacks=None if self.only == "all" else [self.only],
                seed=self.seed,
                device=x.device,
            )
            run.apgd_targeted.n_target_classes = run.fab.n_target_classes = min(TARGETS, classes - 1)
            found, _ = run.run_standard_evaluation(x.float(), network.y, batch_size=len(x))
        return budget.project(found.to(x), x)

    def check(self, classes: int) -> Callable[..., Any]:
        """What makes it; InputError where the package is not there, or for so few classes."""
        if classes < 4:
            raise InputError(
                f"attack {self} compares 4 classes at least, and the model has {classes}; use apgd-margin "
                "and square-margin"
            )
        return _package()


def _package() -> Callable[..., Any]:
    try:
        from pyautoattack import AutoAttack as theirs
    except ImportError as error:
        raise InputError(
            "attack autoattack needs the package pyautoattack, which is not installed: "
            "pip install 'landscape[attack]'; apgd-ce, apgd-dlr and square-margin need nothing"
        ) from error
    return theirs


@contextmanager
def _nothing_left_behind(device: torch.device) -> Iterator[None]:
    """Global random states and the trace function of a debugger as they were: it seeds and unsets them."""
    state, trace = random.getstate(), sys.gettrace()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(state)
        sys.settrace(trace)
