"""How the cells of a surface are evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from landscape.errors import InputError

Adversaries = Literal["reattack", "frozen", "both"]
Statistics = Literal["frozen", "recompute"]
Precision = Literal["auto", "bfloat16", "full"]
ALLOWED = {
    "adversary": get_args(Adversaries),
    "bn": get_args(Statistics),
    "attack_dtype": get_args(Precision),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the cells of a surface are evaluated.

    adversary: "reattack" in every cell, "frozen" at θ, or "both"
    steps_warm: gradients for each cell, starting from a neighbour's adversary; 0 attacks afresh
    bn: BatchNorm's running statistics as they are, or estimated anew in each cell
    attack_dtype: precision of the attack's own passes: bfloat16 where the processor has it, or full
    refine: error, as a share of the range, up to which cells are interpolated; 0 measures all
    seed: of the cells that are checked
    """

    adversary: Adversaries = "reattack"
    steps_warm: int = 5
    bn: Statistics = "frozen"
    attack_dtype: Precision = "auto"
    refine: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in ALLOWED.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} = {getattr(self, name)!r} is not one of {', '.join(allowed)}")
        if self.steps_warm < 0:
            raise InputError(f"steps_warm = {self.steps_warm}: give 1 or more, or 0 to attack afresh")
        if not 0 <= self.refine < 1:
            raise InputError(f"refine = {self.refine}: it is a share of the range, from 0 to below 1")


DEFAULT = Settings()
