"""How far an input may be moved: a norm ball around it, inside the box of valid inputs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from landscape.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Norm = Literal["linf", "l2"]
NORMS = ("linf", "l2")
NEED_A_BUDGET = ("perturbation",)
"""Analyzers of the perturbations themselves, of which eps = 0 has none."""


@dataclass(frozen=True)
class Budget:
    """The perturbed inputs {x' : ‖x' − x‖ ≤ eps} ∩ [0, 1]^d.

    eps: size of the perturbations in pixels of [0, 1]; a number, or text such as "8/255", kept exact
    norm: "linf" or "l2", over all pixels and channels of one example
    """

    eps: Fraction
    norm: Norm = "linf"

    def __init__(self, eps: Fraction | float | str, norm: Norm = "linf") -> None:
        if norm not in NORMS:
            raise InputError(f"norm {norm!r} is not known; use one of {', '.join(NORMS)}")
        object.__setattr__(self, "eps", exact(eps))
        object.__setattr__(self, "norm", norm)
        if self.eps < 0:
            raise InputError(
                f"eps = {eps} is negative; eps is in pixels of [0, 1], for 8 grey levels write 8/255"
            )
        if norm == "linf" and self.eps > 1:
            raise InputError(
                f"eps = {eps} is wider than the box [0, 1] of the inputs; eps is in pixels of [0, 1], "
                f"for {eps} grey levels of 255 write {eps}/255"
            )

    def __str__(self) -> str:
        return f"{text(self.eps)} {self.norm}"

    def ball(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest box around the perturbed inputs, as (lower, upper), each shaped like x (B, …).

        Rounded towards x, so that no x' between them is further than eps from x, by not even one rounding.
        """
        import torch

        eps = float(self.eps)
        wide = x.double()
        inward = []
        for bound in (wide - eps, wide + eps):
            near = bound.to(x.dtype)
            outside = (near.double() - wide).abs() > eps
            inward.append(torch.where(outside, torch.nextafter(near, x), near).clamp(0.0, 1.0))
        return inward[0], inward[1]

    def check_resolved(self, x: Tensor) -> None:
        """Raise where rounding in the type of the inputs x (B, …) takes more than a tenth of the budget."""
        if 0 < self.eps < 10 * self._rounding(x):
            raise InputError(
                f"eps = {text(self.eps)} under {self.norm} is lost in the rounding of {str(x.dtype)[6:]} "
                f"inputs of {x[0].numel()} numbers; compute in float64 (--dtype float64) or give a larger eps"
            )

    def _rounding(self, x: Tensor) -> float:
        """How far rounding x + δ to the type of x may move it: each coordinate, at most 1, by half a unit."""
        import torch

        coordinates = x[0].numel() if self.norm == "l2" else 1
        return math.sqrt(coordinates) * torch.finfo(x.dtype).eps / 2

    def size(self, step: Tensor) -> Tensor:
        """The norm of each example's step (B, …), (B,)."""
        return step.flatten(1).abs().amax(dim=1) if self.norm == "linf" else step.flatten(1).norm(dim=1)

    def steepest(self, gradient: Tensor) -> Tensor:
        """The direction of unit norm along which each example's loss rises fastest; 0 where it is flat."""
        if self.norm == "linf":
            return gradient.sign()
        return gradient / _lengths(gradient).clamp_min(_tiny(gradient))

    def project(self, moved: Tensor, x: Tensor, ball: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The inputs `moved` (B, …), brought back into the budget around x (B, …).

        For l_inf the nearest point. For l_2 the ball comes first and the box second: clipping to the box
        never leaves the ball, for x itself lies in both.
        """
        import torch

        lower, upper = ball or self.ball(x)
        if self.norm == "l2":
            step = moved - x
            radius = float(self.eps) - self._rounding(x)  # keep away by what rounding x + step may add
            moved = x + step * (max(radius, 0.0) / _lengths(step).clamp_min(_tiny(step))).clamp_max(1.0)
        return torch.clamp(moved, lower, upper)


def exact(eps: Fraction | float | str) -> Fraction:
    """eps as an exact fraction: of "8/255", "0.1", "1e-2"; a float is taken for the decimal it prints as."""
    if isinstance(eps, Fraction):
        return eps
    written = str(eps).replace(" ", "")
    try:
        # A power of ten of many digits would be written out in full.
        if len(written) > 100 or re.search(r"e[+-]?\d{4}", written, re.IGNORECASE):
            raise ValueError
        return Fraction(written)
    except (ValueError, ZeroDivisionError):
        raise InputError(f"eps = {eps!r} is not a number; write 8/255, 0.1 or 1e-2") from None


def text(eps: Fraction) -> str:
    """How a person would write eps: 0.1 or 8/255."""
    grey = eps * 255
    if grey.denominator == 1 and eps.denominator not in (1, 5):
        return f"{grey}/255"
    denominator = eps.denominator
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    return f"{float(eps):g}" if denominator == 1 and Fraction(f"{float(eps):g}") == eps else str(eps)


def budgets(eps: str, norm: Norm = "linf") -> list[Budget]:
    """The budgets of a list such as "0,2/255,4/255,8/255", in its order."""
    parts = [part for part in re.split(r"[,\s]+", eps.strip()) if part]
    if not parts:
        raise InputError("no eps was given; write 8/255, or a list such as 0,4/255,8/255")
    found = [Budget(part, norm) for part in parts]
    if len({budget.eps for budget in found}) < len(found):
        raise InputError(f"eps = {eps} names a budget twice; give each once")
    return found


def _lengths(x: Tensor) -> Tensor:
    """Euclidean length of each example, shaped (B, 1, …) to divide by."""
    return x.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1))


def _tiny(x: Tensor) -> float:
    import torch

    return torch.finfo(x.dtype).tiny
