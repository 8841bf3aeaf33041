"""The loss that a user's words stand for, and what any loss must satisfy before numbers come from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from landscape import registry
from landscape.errors import InputError, LandscapeError
from landscape.losses.base import Loss, name_of

LIKE = "of each example (B,), such as F.cross_entropy(logits, y, reduction='none')"


@dataclass(frozen=True)
class Own:
    """A loss of the user's own: their callable (logits (B, C), y) -> (B,), told by the words that named it.

    Targets come as the data has them: labels as int64, numbers in the type of the logits.
    """

    spec: str
    function: Loss
    numbers: ClassVar[bool] = True

    def __repr__(self) -> str:
        return self.spec

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        return self.function(logits, y.to(logits.dtype) if y.is_floating_point() else y)


def find(spec: str) -> Loss:
    """A registered loss by its name, or one of the user's own by package.module:callable or file.py:callable.

    That code is imported, and so run; `check` tells whether it is a loss of single examples.
    """
    if registry.is_callable_spec(spec):
        return Own(spec, registry.load_callable(spec))
    name, given = registry.split(spec)
    found: Loss = registry.find("loss", name)
    if given:
        raise InputError(f"the loss {name} takes no option, and {', '.join(given)} was given")
    return found


def check(loss: Loss, logits: Tensor, y: Tensor) -> None:
    """Raise InputError unless a loss can be asked for single examples, on the logits (B, C) of a few.

    It must return (B,), each from its own example alone, the same again, and vary with the logits.
    """
    name, n = name_of(loss), len(logits)
    # Other logits for the same targets: a single example would not show a loss that is one of the batch.
    z = torch.cat([logits.detach(), logits.detach() / 2 - 1]).requires_grad_()
    y = torch.cat([y, y]).to(z.device)
    try:
        with torch.enable_grad():
            losses, again = loss(z, y), loss(z, y)
            _check_shape(losses, 2 * n, name)
            alone = torch.cat([loss(z[i : i + 1], y[i : i + 1]) for i in range(2 * n)])
            slope = torch.autograd.grad(losses.sum(), z)[0] if losses.requires_grad else None
    except (LandscapeError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:  # code of the user's own
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"the loss {name} failed on logits {tuple(z.shape)} and targets {tuple(y.shape)} of {y.dtype}: "
            f"{told}; it takes both, and returns the loss {LIKE}"
        ) from error
    if not torch.equal(losses.nan_to_num(), again.nan_to_num()):
        raise InputError(f"the loss {name} is another when asked again; switch off what is random in it")
    allowed = torch.finfo(losses.dtype).eps ** 0.5 * losses.detach().nan_to_num().abs().max().clamp_min(1.0)
    if alone.shape != losses.shape or ((alone - losses).detach().nan_to_num().abs() > allowed).any():
        raise InputError(
            f"the loss {name} of an example depends on the other examples of the batch, as a mean over them "
            f"does; return the loss {LIKE}"
        )
    if slope is None:
        raise InputError(
            f"the loss {name} has no derivative in the logits, so that every surface is flat; let it neither "
            "detach them nor count what is wrong"
        )


def _check_shape(losses: Tensor, n: int, name: str) -> None:
    if isinstance(losses, Tensor) and losses.shape == (n,) and losses.is_floating_point():
        return
    came = f"{losses.dtype} of shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else repr(losses)
    batch = isinstance(losses, Tensor) and losses.ndim == 0
    why = ", one loss of the whole batch such as its mean" if batch else ""
    raise InputError(f"the loss {name} returned {came} for {n} examples{why}; return the loss {LIKE}")
