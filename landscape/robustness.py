"""Which examples an attack breaks: any input that it tried counts, not only the one that it ends at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.attacks.base import Attack
from landscape.budget import Budget
from landscape.errors import NumericalError
from landscape.losses import Loss
from landscape.objective import Point, exact_arithmetic


@dataclass(frozen=True, eq=False)
class Attempt:
    """What an attack did to the examples of a point.

    broken: whether a misclassified input is known in the budget of each example (n,), be it the clean one
    highest: the highest loss of the objective among all inputs that were tried (n,), float64; None where the
        attack left examples once they were broken
    forward, gradient: passes over the data, forward alone and forward and backward
    """

    broken: Tensor
    highest: Tensor | None
    forward: float
    gradient: float


def attempt(
    clean: Point,
    budget: Budget,
    attack: Attack,
    loss: Loss,
    *,
    to_the_end: bool = False,
    stage: str = "attack",
) -> Attempt:
    """Run an attack with a loss to maximise around the examples of a point at eps = 0.

    It leaves an example at the first misclassified input, which is enough to know the accuracy and says
    nothing of the highest loss; examples that are misclassified as they are it does not touch. Whatever it
    tries must be in the budget to count.

    to_the_end: leave none, and so know the highest loss of each as well
    stage: what the objective's `watch` is told
    """
    o = clean.objective
    broken = ~clean.correct
    if not budget.eps:
        return Attempt(broken, clean.losses, 0.0, 0.0)
    highest = clean.losses.clone() if to_the_end else None
    rows = torch.arange(len(o.data)) if to_the_end else (~broken).nonzero().flatten().cpu()
    if not len(rows):
        return Attempt(broken, highest, 0.0, 0.0)
    data, before = o.data[rows], o.work.copy()
    budget.check_resolved(data.inputs(slice(0, 1), clean.theta)[0])
    queries = _queries(attack)
    with exact_arithmetic():
        for part in data.chunks(o.batch_size):
            x, y = data.inputs(part, clean.theta)

            def told(calls: int, part: slice = part, count: int = len(x)) -> None:
                o.watch(stage, part.start + int(count * min(1.0, calls / queries)), len(data))

            tried = Tried(clean, budget, loss, x, y, leaves=not to_the_end, told=told)
            found = attack(tried, x, data.index[part], budget).detach()
            with torch.no_grad():
                tried(budget.project(found, x))  # which it need not have asked about
            here = rows[part].to(broken.device)
            broken[here] |= tried.broken
            if highest is not None:
                highest[here] = torch.maximum(highest[here], tried.highest)
            o.watch(stage, part.stop, len(data))
    work = {name: (o.work[name] - before[name]) / len(o.data) for name in ("forward", "gradient")}
    return Attempt(broken, highest, **work)


class Tried:
    """The losses that an attack sees of some examples; it keeps what each input that was tried told.

    Of examples that are to be left once they are broken the loss is 0 from then on, with gradient 0: nothing
    is computed for them, and the others go their way as before.

    broken: whether a misclassified input in the budget was tried (B,)
    highest: the highest loss of the objective among those in the budget (B,), float64; −inf where examples
        are left
    """

    def __init__(
        self,
        clean: Point,
        budget: Budget,
        loss: Loss,
        x: Tensor,
        y: Tensor,
        *,
        leaves: bool = False,
        told: Callable[[int], None] = lambda calls: None,
    ) -> None:
        self.clean, self.budget, self.loss = clean, budget, loss
        self.x, self.y, self.leaves, self.told = x, y, leaves, told
        self.ball = budget.ball(x)
        self.broken = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.highest = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
        self.calls = 0

    def __call__(self, x: Tensor) -> Tensor:
        """The loss of each input (B, …), one for each example in their order."""
        self.calls += 1
        self.told(self.calls)
        if not (self.leaves and self.broken.any()):
            return self._judged(x, torch.arange(len(x), device=x.device))
        zero = 0 * x.flatten(1).sum(dim=1)
        rows = (~self.broken).nonzero().flatten()
        if not len(rows):
            return zero
        some = x[rows]
        if x.ndim == 4:
            some = some.to(memory_format=torch.channels_last)
        return zero.index_put((rows,), self._judged(some, rows))

    def logits(self, x: Tensor) -> Tensor:
        """The network's outputs for any inputs; nothing is concluded from them."""
        o = self.clean.objective
        o.work["gradient" if torch.is_grad_enabled() and x.requires_grad else "forward"] += len(x)
        return o.network(self.clean.parts, x)

    def _judged(self, x: Tensor, rows: Tensor) -> Tensor:
        """The losses of inputs of the examples at some rows, which are remembered."""
        o, y = self.clean.objective, self.y[rows]
        z = self.logits(x)
        values = self.loss(z, y)
        with torch.no_grad():
            if not torch.isfinite(z).all():
                raise NumericalError(
                    f"the network's outputs are NaN or infinite under an attack at {self.budget}"
                )
            inside = self._inside(x.detach(), rows)
            self.broken[rows] |= inside & (z.argmax(dim=1) != y)
            if not self.leaves:
                own = (values if self.loss is o.loss else o.loss(z, y)).detach().double()
                self.highest = torch.where(inside & (own > self.highest), own, self.highest)
        return values

    def _inside(self, x: Tensor, rows: Tensor) -> Tensor:
        """Whether each input is in the budget."""
        lower, upper = self.ball
        inside = ((x >= lower[rows]) & (x <= upper[rows])).flatten(1).all(dim=1)
        if self.budget.norm == "l2":
            length = self.budget.size(x.double() - self.x[rows].double())
            inside &= length <= float(self.budget.eps)
        return inside


def _queries(attack: Attack) -> int:
    """About how often an attack will ask for losses, as far as its fields tell."""
    steps = getattr(attack, "steps", None) or 1
    return getattr(attack, "queries", steps * getattr(attack, "restarts", 1))
