"""What a training saw on its mini-batches: the first and the last 2,000, and a sample of those between."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from landscape.format import percent, plus_minus

KEPT = 2000
"""Mini-batches that are kept whole at each end, as in Figure 2 of Liu et al. (2020), and at most between."""


@dataclass(frozen=True, eq=False)
class Training:
    """The mini-batches of a training, each as it was before its update; m of them are recorded.

    eps, budget: size of the perturbations in pixels of [0, 1], as a number and as it was written
    norm, attack: of the budget, and the inner maximiser
    step: (m,) int64, ascending: number of the mini-batch, from 1. The first 2,000 and the last 2,000 are all
        there; of those between every 2^k-th, with the smallest k that leaves at most 2,000
    gradient_norm: (m,) ‖∇ of the mini-batch's mean loss‖ over all parameters
    error: (m,) share of the mini-batch classified wrongly under the attack, in [0, 1]
    loss: (m,) mean loss of the mini-batch under the attack, in nats
    distance: (m,) ‖θ − θ_0‖ from the initial parameters θ_0
    steps_per_epoch, batch_size: mini-batches of an epoch, and examples of each; the last of an epoch may
        have fewer
    epochs: epochs asked for; max(step) / steps_per_epoch of them were done
    each_eps, lr: (m,) budget that the mini-batch was attacked under, by the schedule, and its learning rate
    """

    LEGEND: ClassVar[str] = (
        "gradient norm: median (5 % to 95 %) of the mini-batches; error, loss: mean over them ± its standard "
        "error, as if they were independent; both of the update's own pass, in training mode; distance: "
        "‖θ − θ_0‖ before that update"
    )

    eps: float
    budget: str
    norm: str
    attack: str
    step: np.ndarray
    gradient_norm: np.ndarray
    error: np.ndarray
    loss: np.ndarray
    distance: np.ndarray
    steps_per_epoch: int
    batch_size: int
    epochs: int
    each_eps: np.ndarray | None = None
    lr: np.ndarray | None = None

    @property
    def steps(self) -> int:
        """Mini-batches that the training saw, recorded or not."""
        return int(self.step[-1]) if len(self.step) else 0

    def windows(self) -> dict[str, slice]:
        """What is recorded whole, by its name: the first and the last 2,000, or all where that is all."""
        whole = min(KEPT, self.steps)
        if self.steps <= KEPT:
            return {f"all {whole:,}": slice(0, whole)} if whole else {}
        return {f"first {whole:,}": slice(0, whole), f"last {whole:,}": slice(len(self.step) - whole, None)}

    def rows(self) -> dict[str, str]:
        """What a table of results shows of it, by the name of the row."""
        rows = {
            "epochs": f"{self.steps / self.steps_per_epoch:g}",
            "mini-batches": f"{self.steps:,} of {self.batch_size:,}",
        }
        for name, window in self.windows().items():
            low, median, high = np.quantile(self.gradient_norm[window], [0.05, 0.5, 0.95])
            rows[f"{name}: gradient norm"] = f"{median:.3g} ({low:.3g} to {high:.3g})"
            rows[f"{name}: error"] = percent(*_mean(self.error[window]))
            rows[f"{name}: loss"] = plus_minus(*_mean(self.loss[window]))
            rows[f"distance at {self.step[window][-1]:,}"] = plus_minus(self.distance[window][-1], 0)
        return rows

    def remarks(self) -> list[str]:
        """What a reader of the table must know besides, a sentence each."""
        told = []
        gap = int(np.diff(self.step).max()) if len(self.step) > 1 else 1
        if gap > 1:
            told.append(f"between the first and the last {KEPT:,} one mini-batch in {gap} is recorded")
        if self.each_eps is not None and len(self.each_eps) and self.each_eps.min() < self.eps:
            told.append(
                f"the budget is scheduled, {_course(self.each_eps)}: error and "
                "loss are those under each mini-batch's own budget"
            )
        if self.steps < self.epochs * self.steps_per_epoch:
            done = self.steps // self.steps_per_epoch
            told.append(f"INCOMPLETE: the training ended after {done} of its {self.epochs} epochs")
        return told


class Log:
    """Takes in the mini-batches of a training one by one, in memory that is bounded however many come."""

    def __init__(self) -> None:
        self.steps = 0
        self._first: list[tuple[float, ...]] = []
        self._between: list[tuple[float, ...]] = []
        self._last: deque[tuple[float, ...]] = deque()
        self._apart = 1  # steps from one to the next of those between, a power of 2

    def add(
        self,
        *,
        gradient_norm: float,
        error: float,
        loss: float,
        distance: float,
        eps: float = math.nan,
        lr: float = math.nan,
    ) -> None:
        """Record the next mini-batch; what each is, `Training` says."""
        self.steps += 1
        row = (self.steps, gradient_norm, error, loss, distance, eps, lr)
        if self.steps <= KEPT:
            self._first.append(row)
            return
        self._last.append(row)
        if len(self._last) <= KEPT:
            return
        left = self._last.popleft()
        if left[0] % self._apart == 0:
            self._between.append(left)
        if len(self._between) > KEPT:
            self._apart *= 2
            self._between = [row for row in self._between if row[0] % self._apart == 0]

    def training(
        self,
        *,
        eps: float,
        budget: str,
        norm: str,
        attack: str,
        steps_per_epoch: int,
        batch_size: int,
        epochs: int,
    ) -> Training:
        """What was recorded so far, with what only the caller knows: how these mini-batches were made."""
        step, gradient_norm, error, loss, distance, each_eps, lr = self.rows().T.copy()
        return Training(
            eps=eps,
            budget=budget,
            norm=norm,
            attack=attack,
            step=step.astype(np.int64),
            gradient_norm=gradient_norm,
            error=error,
            loss=loss,
            distance=distance,
            steps_per_epoch=steps_per_epoch,
            batch_size=batch_size,
            epochs=epochs,
            each_eps=_unless_unknown(each_eps),
            lr=_unless_unknown(lr),
        )

    def rows(self) -> np.ndarray:
        """What is recorded, a row (7,) for each mini-batch: its number, and what `add` was given."""
        return np.array([*self._first, *self._between, *self._last], dtype=np.float64).reshape(-1, 7)

    @property
    def apart(self) -> int:
        """Mini-batches from one to the next of those that are kept between the two ends."""
        return self._apart

    def restore(self, rows: np.ndarray, steps: int, apart: int) -> None:
        """Go on from what another log had: its `rows()`, `steps` and `apart`."""
        each: list[tuple[float, ...]] = [(int(row[0]), *row[1:]) for row in rows.tolist()]
        last = max(KEPT, steps - KEPT)
        self.steps, self._apart = steps, apart
        self._first = [row for row in each if row[0] <= KEPT]
        self._between = [row for row in each if KEPT < row[0] <= last]
        self._last = deque(row for row in each if row[0] > last)


def running(statistic: Callable[..., np.ndarray], values: np.ndarray, window: int) -> np.ndarray:
    """A statistic (m,) of the `window` values (an odd number) around each of m; at the ends of those there.

    statistic: of numpy, and one that leaves NaN out: nanmedian or nanmean
    """
    padded = np.pad(np.asarray(values, dtype=np.float64), window // 2, constant_values=math.nan)
    return statistic(np.lib.stride_tricks.sliding_window_view(padded, window), axis=1)


def escape(found: Training, level: float, window: int = 5) -> int | None:
    """Number of the first mini-batch around which the mean loss of `window` is below a level; None if never.

    A training at a budget that the net cannot cope with stays at the loss log C of a constant classifier:
    0.9 log C is a level for its escape from there.
    """
    below = running(np.nanmean, found.loss, window) < level
    return int(found.step[below.argmax()]) if below.any() else None


def _course(eps: np.ndarray) -> str:
    """How a scheduled budget went: its ends, or its range where it turns back, as at the end of a period."""
    steps = np.diff(eps)
    if (steps >= 0).all() or (steps <= 0).all():
        return f"from {eps[0]:.4g} to {eps[-1]:.4g}"
    return f"between {eps.min():.4g} and {eps.max():.4g}"


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of m values, which is not known of one."""
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(values.mean()), float(error)


def _unless_unknown(values: np.ndarray) -> np.ndarray | None:
    return None if np.isnan(values).all() else values
