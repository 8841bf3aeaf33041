"""Budget and learning rate as functions of training time.

Time is counted in epochs of a period: d of D epochs are over. With `per="epoch"` d is a whole number,
constant within an epoch; with `per="batch"` it grows by 1/batches with every mini-batch. Each period begins
anew.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal, get_args

from landscape.budget import Budget, exact, text
from landscape.errors import InputError

Shape = Literal["constant", "linear", "cosine"]
Decay = Literal["constant", "linear", "cosine", "step"]
Per = Literal["epoch", "batch"]

DROP = 10
"""What each step divides the learning rate by."""
WIDEST = 2
"""An eps_max above it is taken for grey levels of 255: twice the widest budget under l_inf."""


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        raise InputError(f"{name} = {value!r} is not one of {', '.join(get_args(choices))}")


def _place(step: str, length: int) -> Fraction:
    """Where a step of the learning rate is in a period, in epochs."""
    return Fraction(step[:-1]) / 100 * length if step.endswith("%") else Fraction(step)


@dataclass(frozen=True)
class Moment:
    """A mini-batch's place in its period: `done` of `length` epochs are over, at the next one `after`."""

    done: Fraction
    after: Fraction
    length: int


@dataclass(frozen=True, kw_only=True)
class EpsSchedule:
    """eps(d), clipped to [0, target] (Liu et al., 2020, Section 5): warm-up where eps_min <= 0.

        linear   (eps_max − eps_min) d / D + eps_min
        cosine   (eps_max − eps_min) (1 − cos(π d / D)) / 2 + eps_min

    low, high: eps_min and eps_max, in pixels; high None is twice the target, which both shapes reach at D/2
    """

    shape: Shape = "constant"
    low: Fraction = Fraction(0)
    high: Fraction | None = None

    def __post_init__(self) -> None:
        _check_choice("schedule", self.shape, Shape)
        if self.shape == "constant" and (self.low or self.high is not None):
            raise InputError("eps_min and eps_max are of a schedule; give --schedule linear or cosine too")

    def top(self, target: Fraction) -> Fraction:
        """eps_max."""
        return 2 * target if self.high is None else self.high

    def at(self, target: Fraction, moment: Moment) -> Fraction:
        """eps, exact but for the cosine; the target itself where it is reached."""
        share = moment.done / moment.length
        if self.shape == "constant":
            return target
        if self.shape == "cosine":
            # cos(π t) as sin(π (1/2 − t)), which is 0 at t = 1/2 to the last bit.
            share = Fraction((1 - math.sin(math.pi * float(Fraction(1, 2) - share))) / 2)
        return min(target, max(Fraction(0), (self.top(target) - self.low) * share + self.low))

    def check(self, target: Budget) -> None:
        """Raise where a training under the target would not be what was meant."""
        if self.shape == "constant":
            return
        if not target.eps:
            raise InputError("eps = 0 has no schedule; give the eps to reach, or --schedule constant")
        top = self.top(target.eps)
        if top > WIDEST and target.norm == "linf":
            raise InputError(
                f"eps_max = {text(top)} is far wider than the box [0, 1] of the inputs; it is in pixels, for "
                f"{text(top)} grey levels of 255 write {text(top)}/255"
            )
        if top < target.eps:
            raise InputError(
                f"eps_max = {text(top)} is below eps = {text(target.eps)}, which so would never be reached; "
                "give eps, which is the target, and at least as much as eps_max"
            )
        if self.low > target.eps:
            raise InputError(
                f"eps_min = {text(self.low)} is above eps = {text(target.eps)}; give eps or less, 0 for "
                "warm-up from clean data"
            )


@dataclass(frozen=True, kw_only=True)
class LrSchedule:
    """lr(d): constant, or falling over what is left of the period after the warm-up, of W epochs.

        linear   lr · (1 − t),   t = (d − W) / (D − W)
        cosine   lr · (1 + cos(π t)) / 2
        step     lr / 10 for each of the steps that d has reached

    In the warm-up it is lr · d' / W, d' being the time when the mini-batch, or its epoch, is over: never 0.

    steps: epochs of the period such as "100", or shares of it such as "50%"
    warmup: W, at the beginning of every period
    """

    shape: Decay = "constant"
    steps: tuple[str, ...] = ()
    warmup: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        _check_choice("lr_schedule", self.shape, Decay)
        if self.warmup < 0:
            raise InputError(f"warmup = {text(self.warmup)} is negative; give epochs, 0 for none")
        if (self.shape == "step") != bool(self.steps):
            raise InputError(
                "lr_steps say where the learning rate falls to a tenth; give --lr-schedule step and "
                "--lr-steps 100,150 or 50%,75% together"
            )
        for step in self.steps:
            if not re.fullmatch(r"\d+(\.\d+)?%?", step):
                raise InputError(
                    f"lr_steps: {step!r} is neither epochs of the period such as 100 nor a share of it such "
                    "as 50%"
                )

    def at(self, lr: float, moment: Moment) -> float:
        """The learning rate of a mini-batch."""
        if moment.done < self.warmup:
            return lr * min(1.0, float(moment.after / self.warmup))
        if self.shape == "constant":
            return lr
        if self.shape == "step":
            passed = sum(_place(step, moment.length) <= moment.done for step in self.steps)
            return lr / DROP**passed
        share = float((moment.done - self.warmup) / (moment.length - self.warmup))
        return lr * (1 - share if self.shape == "linear" else (1 + math.cos(math.pi * share)) / 2)

    def check(self, lengths: list[int]) -> None:
        """Raise where periods of so many epochs are too short for it."""
        if self.warmup and self.warmup >= min(lengths, default=0):
            raise InputError(
                f"warmup = {text(self.warmup)} epochs would fill a period of {min(lengths, default=0)}; give "
                "fewer"
            )
        longest = max(lengths, default=0)
        for step in self.steps:
            if not 0 < _place(step, longest) < longest:
                raise InputError(
                    f"lr_steps: {step} is outside of every period, the longest has {longest} epochs; give "
                    "epochs within a period, or shares such as 50%"
                )


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How a training's budget and learning rate go, period for period (PAS, Liu et al., 2020, Sec. 5).

    periods: their ends in epochs, from 0, such as (0, 50, 75, 100); () is a single one
    per: whether the values change with every epoch or with every mini-batch
    """

    eps: EpsSchedule = EpsSchedule()
    lr: LrSchedule = LrSchedule()
    periods: tuple[int, ...] = ()
    per: Per = "epoch"

    def __post_init__(self) -> None:
        _check_choice("per", self.per, Per)
        if self.periods and (
            self.periods[0] != 0 or not all(a < b for a, b in pairwise(self.periods)) or len(self.periods) < 2
        ):
            raise InputError(
                f"periods = {':'.join(map(str, self.periods))}: give 0 and the epoch that each period ends "
                "with, ascending, such as 0:50:75:100"
            )

    def check(self, target: Budget, epochs: int) -> None:
        """Raise where it does not fit a training of so many epochs under the target."""
        self.eps.check(target)
        if self.periods and self.periods[-1] != epochs:
            raise InputError(
                f"periods = {':'.join(map(str, self.periods))} end after {self.periods[-1]} epochs, the "
                f"training after {epochs}; give the same, or leave --epochs out"
            )
        bounds = self.bounds(epochs)
        self.lr.check([stop - start for start, stop in pairwise(bounds)])

    def bounds(self, epochs: int) -> tuple[int, ...]:
        """0 and the ends of all periods."""
        return self.periods or (0, epochs)

    def moment(self, epochs: int, epoch: int, batch: int, batches: int) -> Moment:
        """Where mini-batch `batch`, from 0, of the `batches` of `epoch`, from 1, is in its period."""
        start, stop = next(p for p in pairwise(self.bounds(epochs)) if p[0] < epoch <= p[1])
        done, step = Fraction(epoch - 1 - start), Fraction(1)
        if self.per == "batch":
            done, step = done + Fraction(batch, batches), Fraction(1, batches)
        return Moment(done, done + step, stop - start)

    def ending(self, epoch: int) -> int | None:
        """The number, from 1, of the period that ends with an epoch; None where none does, or all is one."""
        return self.periods.index(epoch) if epoch and epoch in self.periods else None

    def told(self, target: Budget) -> dict[str, Any]:
        """What departs from constant eps and lr, in plain values: the entries of a checkpoint's metadata."""
        found: dict[str, Any] = {}
        if self.eps.shape != "constant":
            found |= {"eps_min": text(self.eps.low), "eps_max": text(self.eps.top(target.eps))}
        if self.lr.shape != "constant":
            found["lr_schedule"] = self.lr.shape
        if self.lr.steps:
            found["lr_steps"] = ",".join(self.lr.steps)
        if self.lr.warmup:
            found["warmup"] = text(self.lr.warmup)
        if self.periods:
            found["periods"] = ":".join(map(str, self.periods))
        if found and self.per != "epoch":
            found["per"] = self.per
        return found


CONSTANT = Schedule()


def schedule(
    eps: Shape = "constant",
    *,
    eps_min: str = "0",
    eps_max: str | None = None,
    lr: Decay = "constant",
    lr_steps: str = "",
    warmup: str | float = "0",
    periods: str = "",
    per: Per = "epoch",
) -> Schedule:
    """A schedule as it is written: `schedule("cosine", eps_max="0.6", periods="0:50:75:100")`."""
    ends = [part.strip() for part in periods.split(":")] if periods else []
    if not all(end.isdecimal() for end in ends):
        raise InputError(f"periods = {periods}: give whole numbers of epochs, such as 0:50:75:100")
    return Schedule(
        eps=EpsSchedule(shape=eps, low=exact(eps_min), high=None if eps_max is None else exact(eps_max)),
        lr=LrSchedule(
            shape=lr,
            steps=tuple(step.strip() for step in lr_steps.split(",") if step.strip()),
            warmup=_epochs(warmup),
        ),
        periods=tuple(map(int, ends)),
        per=per,
    )


def _epochs(written: str | float) -> Fraction:
    try:
        return exact(written)
    except InputError:
        raise InputError(f"warmup = {written!r} is not a number of epochs; write 5 or 0.5") from None
