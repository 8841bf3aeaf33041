"""The bends of a curve between two points, trained so that the loss is low all along it.

min over the control points between the ends of E_t L_eps(θ(t)), t uniform in [0, 1], by mini-batches that are
attacked at their own θ(t) (Garipov et al., 1802.10026; under attack as in Liu et al., 2020, appendix).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from landscape import optimizers
from landscape.attacks.pgd import PGD
from landscape.curves import Curve
from landscape.errors import InputError, NumericalError
from landscape.objective import Objective, exact_arithmetic, flat
from landscape.statistics import by_batch, recomputed
from landscape.surfaces.interrupt import Interrupt
from landscape.surfaces.quick import Quick, bears_half, has_half
from landscape.surfaces.settings import Precision, Statistics

KEPT, SHARE = 1.0, 0.05
"""Seconds after which the state of a training is kept anew; later where that takes more of the time."""
PURPOSE = 2**34  # of the random numbers, which are those of no other draw
MOMENTS = {"adam": ("exp_avg", "exp_avg_sq"), "sgd": ("momentum_buffer",)}
HEADER = 3  # numbers before the losses: steps done, forward and gradient passes of single examples


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the bends are trained; the learning rate falls to 0 with the cosine of the steps done.

    mini_batch: examples of a step, all at one t. The t of an epoch are drawn one in each of as many equal
        parts of [0, 1] as it has steps, in random order
    steps: gradients of the PGD on every mini-batch
    attack_precision: of its own passes through the network; the update is always in the network's own
    optimizer: "adam", or "sgd" with momentum 0.9
    bn: BatchNorm normalises by the mini-batch ("recompute"), or by what is between the ends' own ("frozen")
    """

    epochs: int = 10
    mini_batch: int = 128
    steps: int = 10
    attack_precision: Literal["full", "bfloat16"] = "full"
    optimizer: optimizers.Name = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    bn: Statistics = "recompute"
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.mini_batch, self.steps) < 1:
            raise InputError(
                f"epochs = {self.epochs}, mini-batch = {self.mini_batch}, steps = {self.steps}: each is at "
                "least 1"
            )
        optimizers.check(self.lr, self.weight_decay)


class Bending:
    """The training of a curve's bends, which can be kept after any step and carried on with the same bits.

    curve: the one to start from; its ends stay where they are
    objective: what is to be low along it; its data are the examples that the bends are trained on
    """

    def __init__(self, curve: Curve, objective: Objective, recipe: Recipe) -> None:
        if not curve.bends:
            raise InputError("a curve without a bend is the straight line, and has nothing to train; give 1")
        self.start, self.recipe = curve, recipe
        self.objective = replace(objective)  # counts passes of its own
        self.inner = torch.stack([p.detach().clone() for p in curve.points[1:-1]]).requires_grad_()
        self.optimizer = optimizers.make(recipe.optimizer, [self.inner], recipe.lr, recipe.weight_decay)
        self.per_epoch = math.ceil(len(objective.data) / recipe.mini_batch)
        self.losses = np.full(recipe.epochs * self.per_epoch, np.nan)
        self.step = 0
        normal = objective.network
        self.forward = by_batch(normal) if recipe.bn == "recompute" else normal
        few = objective.data.inputs(slice(0, 2), normal.theta)[0]
        self.attacked = Quick(normal, recipe.attack_precision == "bfloat16", few)

    @property
    def curve(self) -> Curve:
        """The curve as it stands."""
        first, last = self.start.points[0], self.start.points[-1]
        return replace(self.start, points=[first, *self.inner.detach().unbind(), last])

    @property
    def done(self) -> bool:
        return self.step == len(self.losses)

    @property
    def passes(self) -> dict[str, float]:
        return self.objective.passes

    def course(self, parts: int) -> np.ndarray:
        """The mean loss of the mini-batches in equal parts of the training, each before its update."""
        each = np.array_split(self.losses, min(parts, len(self.losses)))
        return np.array([part.mean() for part in each])

    def run(self, keep: Callable[[np.ndarray], None], stage: str) -> Curve:
        """The trained curve.

        keep: given `state` every second or so, at the end, and before an interrupt is raised
        """
        watch, kept, pause = self.objective.watch, time.monotonic(), KEPT
        with Interrupt() as interrupt, exact_arithmetic():
            while not self.done:
                watch(stage, self.step, len(self.losses))
                self._step()
                if self.done or interrupt.noted or time.monotonic() - kept > pause:
                    began = time.monotonic()
                    keep(self.state())
                    kept = time.monotonic()
                    pause = max(KEPT, (kept - began) / SHARE)
                if interrupt.noted:
                    raise KeyboardInterrupt
        return self.curve

    def drawn(self, step: int) -> tuple[float, Tensor]:
        """The t and the examples of a step, which depend on the seed and the step alone."""
        epoch, place = divmod(step, self.per_epoch)
        rng = np.random.Generator(np.random.Philox(key=[self.recipe.seed, PURPOSE + epoch]))
        order = torch.from_numpy(rng.permutation(len(self.objective.data)))
        parts = (rng.permutation(self.per_epoch) + rng.random(self.per_epoch)) / self.per_epoch
        # Parts of equal size: a last one of a single example has no statistics of its own.
        return float(parts[place]), order.tensor_split(self.per_epoch)[place]

    def _step(self) -> None:
        o, curve = self.objective, self.curve
        t, batch = self.drawn(self.step)
        theta, rest = curve.at(t), curve.rest_at(t)
        rows = o.data[batch]
        x, y = rows.inputs(slice(None), theta)
        if o.budget.eps:
            x = self._attacked(theta, rest, x, y, rows.index)
        leaves = [part.detach().clone().requires_grad_() for part in o.network.parts(theta)]
        with torch.enable_grad():
            mean = o.loss(self.forward(leaves, x, rest), y).mean()
            found = torch.autograd.grad(mean, leaves, allow_unused=True)
        o.work["gradient"] += len(y)
        loss = mean.item()
        if not math.isfinite(loss):
            raise NumericalError(
                f"the loss on the curve is {loss} at t = {t:.3f} in step {self.step + 1}; train with a "
                f"smaller --lr than {self.recipe.lr:g}"
            )
        inner = torch.from_numpy(curve.weights(t)[1:-1]).to(theta)
        self.inner.grad = torch.outer(inner, flat(found, leaves))
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr * (1 + math.cos(math.pi * self.step / len(self.losses))) / 2
        self.optimizer.step()
        self.losses[self.step] = loss
        self.step += 1

    def _attacked(
        self, theta: Tensor, rest: dict[str, Tensor], x: Tensor, y: Tensor, index: Tensor
    ) -> Tensor:
        """The perturbed mini-batch at θ(t); new starts every epoch.

        Of BatchNorm the attack sees the clean batch's statistics: under them each example is by itself.
        """
        o, recipe = self.objective, self.recipe
        parts = o.network.parts(theta)
        if recipe.bn == "recompute" and (own := recomputed(o.network, parts, [x], rest)):
            o.work["forward"] += len(x)
            rest = rest | own
        given = self.attacked.given(parts, rest)

        def losses(moved: Tensor) -> Tensor:
            o.work["gradient" if torch.is_grad_enabled() and moved.requires_grad else "forward"] += len(moved)
            return o.loss(self.attacked(given, moved), y)

        epoch = 1 + self.step // self.per_epoch
        return PGD(steps=recipe.steps, seed=recipe.seed + 1000 * epoch)(losses, x, index, o.budget).detach()

    def state(self) -> np.ndarray:
        """All that the next step depends on, as one array of float64, which holds every float32 exactly."""
        work = self.objective.work
        moments = [self.optimizer.state[self.inner][name] for name in MOMENTS[self.recipe.optimizer]]
        held = [each.detach().double().cpu().numpy().ravel() for each in (self.inner, *moments)]
        return np.concatenate([[self.step, work["forward"], work["gradient"]], self.losses, *held])

    def restore(self, state: np.ndarray) -> None:
        """Carry on from a state of the same training."""
        names = MOMENTS[self.recipe.optimizer]
        numbers, held = np.split(state, [HEADER + len(self.losses)])
        if len(held) != (1 + len(names)) * self.inner.numel():
            raise InputError("the state that was kept is of another curve; give --fresh to begin anew")
        self.step = int(numbers[0])
        self.objective.work.clear()
        self.objective.work.update(forward=int(numbers[1]), gradient=int(numbers[2]))
        self.losses = numbers[HEADER:].copy()
        with torch.no_grad():
            given = torch.from_numpy(held).view(1 + len(names), *self.inner.shape).to(self.inner)
            self.inner.copy_(given[0])
            own = dict(zip(names, (moment.clone() for moment in given[1:]), strict=True))
        if self.recipe.optimizer == "adam":
            own["step"] = torch.tensor(float(self.step))
        self.optimizer.state[self.inner] = own


def precision(wanted: Precision, o: Objective) -> Literal["full", "bfloat16"]:
    """That of the attacks of a training: as told; by "auto" bfloat16, where processor and network bear it."""
    x = o.data.inputs(slice(0, 32), o.network.theta)[0]
    if wanted == "full" or (wanted == "auto" and not has_half(o.network)):
        return "full"
    if bears_half(o.network, x):
        return "bfloat16"
    if wanted == "auto":
        return "full"
    raise InputError(
        f"the outputs of {o.network.name} in bfloat16 are far from its own, or it has none; give "
        "--attack-precision full"
    )
