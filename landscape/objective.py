"""The loss under a budget, L_eps(θ) = 1/n Σᵢ max_δ ℓ(f(xᵢ + δ; θ), yᵢ), as a function on parameter space.

Once the attack has run at θ, the adversarial loss is the plain loss on other data: value, gradient (Danskin)
and the Hessian at a fixed adversary all are those of the clean loss on the perturbed data. So the attack
happens in one place, `Point.perturbed`, and everything else is a sum over that data.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from landscape.attacks.base import SEEDS, Attack
from landscape.attacks.linear import Linear
from landscape.attacks.pgd import PGD
from landscape.budget import Budget
from landscape.data import CHUNK, Data, total
from landscape.errors import InputError, NumericalError
from landscape.losses import Loss, cross_entropy, name_of
from landscape.network import Network

if TYPE_CHECKING:
    from landscape.hessian import Hessian

Watch = Callable[[str, int, int], None]
"""Told of progress: the stage, how much of it is done, and of how much."""
GAP_EXAMPLES = 64
GROUPS = 8
"""Groups of examples that sampling errors are told from."""
CLEAN, DEFAULT = Budget(0), PGD()
REFERENCE = PGD(steps=100, restarts=3, seed=SEEDS)
"""The much stronger attack that the inner gap is measured with: 15 times the gradients of the default, other
starts."""


def silence(stage: str, done: int, of: int) -> None:
    """The watch that tells nobody."""


@dataclass(frozen=True, eq=False)
class Objective:
    """L_eps: a network, data, a budget and the attack that searches it. `objective.at(θ)` is a point of it.

    loss: the loss of single examples, logits (B, C) and labels or numbers (B,) or (B, k) to (B,)
    batch_size: examples in one pass through the network; chunks of 128 at most, whatever it is
    watch: told of progress in what may take long
    """

    network: Network
    data: Data
    budget: Budget = CLEAN
    attack: Attack = DEFAULT
    loss: Loss = cross_entropy
    batch_size: int = CHUNK
    watch: Watch = silence
    work: Counter[str] = field(default_factory=Counter, init=False)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"batch size {self.batch_size} is not possible; give at least 1")
        if isinstance(self.attack, Linear) and self.loss is not cross_entropy:
            # One that is not monotone in w·x is worst at the other end, or along another pair of outputs.
            raise InputError(
                f"attack linear is exact for cross_entropy alone, not for the loss {name_of(self.loss)}; "
                "use pgd"
            )

    @property
    def passes(self) -> dict[str, float]:
        """Passes over the data made so far: forward alone, forward and backward, Hessian products."""
        return {name: self.work[name] / len(self.data) for name in ("forward", "gradient", "hvp")}

    def at(self, theta: Tensor | None = None) -> Point:
        """The point θ (P,) of the landscape, by default the network's own."""
        return Point(self, self.network.theta if theta is None else theta)

    def but(self, **changes: Any) -> Objective:
        """This objective with other fields; its passes count as this one's."""
        found = replace(self, **changes)
        object.__setattr__(found, "work", self.work)
        return found

    def under(self, budget: Budget, attack: Attack | None = None) -> Objective:
        """The same network and data under another budget, and its own count of passes."""
        return replace(self, budget=budget, attack=attack or self.attack)

    def losses(self, parts: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
        """The loss of each of some examples (B,)."""
        return self.loss(self.network(parts, x), y)


@dataclass(frozen=True, eq=False)
class Point:
    """A point θ of the landscape. What is asked for is computed once and kept; the attack runs at most once.

    point + vector is a point, point − point a vector (P,).
    """

    objective: Objective
    theta: Tensor

    def __post_init__(self) -> None:
        if self.theta.shape != self.objective.network.theta.shape:
            raise InputError(
                f"θ has shape {tuple(self.theta.shape)}, the network "
                f"{len(self.objective.network):,} parameters"
            )

    def __add__(self, vector: Tensor) -> Point:
        return replace(self, theta=self.theta + vector.to(self.theta))

    def __sub__(self, other: Point) -> Tensor:
        return self.theta - other.theta

    def frozen(self) -> Point:
        """The same θ on the landscape of this point's own perturbed data, which is attacked no more."""
        return self.objective.but(data=self.perturbed, budget=CLEAN).at(self.theta)

    def quiet(self) -> Point:
        """The same point, with all that is known of it, but no progress told: for steps of a larger loop."""
        found = self.objective.but(watch=silence).at(self.theta)
        found.__dict__.update({k: v for k, v in self.__dict__.items() if k not in ("objective", "theta")})
        return found

    @cached_property
    def parts(self) -> list[Tensor]:
        return self.objective.network.parts(self.theta.detach())

    @cached_property
    def perturbed(self) -> Data:
        """The data that the attack ends at; at eps = 0 the data itself."""
        o = self.objective
        if o.budget.eps == 0:
            return o.data
        if o.data.x.is_floating_point() and (o.data.x.min() < 0 or o.data.x.max() > 1):
            raise InputError(
                f"the inputs of {o.data.name} go from {o.data.x.min():.3g} to {o.data.x.max():.3g}; budgets "
                "above 0 are within [0, 1]: scale the inputs to it"
            )
        o.budget.check_resolved(o.data.inputs(slice(0, 1), self.theta)[0])
        moved = []
        with exact_arithmetic():
            for rows in o.data.chunks(o.batch_size):
                x, y = o.data.inputs(rows, self.theta)
                moved.append(o.attack(self._counted(y), x, o.data.index[rows], o.budget).detach())
                o.watch("attack", rows.stop, len(o.data))
        found = torch.cat(moved)
        if not torch.isfinite(found).all():
            raise NumericalError(f"the attack {o.attack} ended at NaN or infinity")
        return replace(o.data, x=found)

    @cached_property
    def perturbation(self) -> Tensor:
        """δ = x' − x for each example (n, …)."""
        data = self.objective.data
        return self.perturbed.x - data.inputs(slice(None), self.theta)[0]

    @cached_property
    def logits(self) -> Tensor:
        """The network's outputs (n, C) on the perturbed data; a gradient leaves them at no extra pass."""
        o = self.objective
        found = []
        with torch.no_grad(), exact_arithmetic():
            for rows in self.perturbed.chunks(o.batch_size):
                found.append(o.network(self.parts, self.perturbed.inputs(rows, self.theta)[0]))
                o.work["forward"] += len(found[-1])
        return torch.cat(found)

    @cached_property
    def losses(self) -> Tensor:
        """The loss of each example (n,), float64."""
        chunks = list(self.perturbed.chunks(self.objective.batch_size))
        labels = self.perturbed.y.to(self.theta.device)
        with torch.no_grad():
            return torch.cat([self.objective.loss(self.logits[r], labels[r]).double() for r in chunks])

    @property
    def predicted(self) -> Tensor:
        """The class that each example is taken for (n,), int64."""
        return self.logits.argmax(dim=1)

    @property
    def correct(self) -> Tensor:
        """Whether each example is classified rightly (n,), bool."""
        return self.predicted == self.perturbed.y.to(self.theta.device)

    @property
    def value(self) -> float:
        """L_eps(θ), the mean loss."""
        return self.losses.mean().item()

    @property
    def value_stderr(self) -> float:
        """Standard error of the mean loss, the examples taken for a sample; NaN for a single one."""
        return self.losses.std().item() / math.sqrt(len(self.losses)) if len(self.losses) > 1 else math.nan

    @property
    def accuracy(self) -> float:
        """Share of the examples that are classified rightly under the attack; NaN for numbers to predict."""
        if not self.objective.data.classes:
            return math.nan
        return self.correct.double().mean().item()

    @property
    def accuracy_stderr(self) -> float:
        """Binomial standard error of the accuracy."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / len(self.objective.data))

    @cached_property
    def gradient(self) -> Tensor:
        """∇L_eps(θ) (P,), the perturbed data held fixed (Danskin's theorem)."""
        o = self.objective
        leaves = self.leaves()
        logits: list[Tensor] = []

        def chunk(rows: slice) -> Tensor:
            return flat(self.first_derivatives(rows, leaves, create_graph=False, logits=logits), leaves)

        with exact_arithmetic():
            summed = total(chunk, self.perturbed, o.batch_size)
        self.__dict__.setdefault("logits", torch.cat(logits))
        return (summed / len(o.data)).to(self.theta)

    @cached_property
    def group_sizes(self) -> np.ndarray:
        """Examples in each group of `gradient_groups` (G,): 8 groups, 1 where 8 gradients fill the memory."""
        from landscape.hessian import free_memory

        held = 4 * GROUPS * len(self.theta) * 8  # bytes of those at θ, at another point, and of differences
        fit = held < free_memory(self.theta.device) / 2
        count = min(GROUPS, len(self.objective.data) // 2) if fit else 1
        return np.array([len(rows) for rows in self.objective.data.groups(max(1, count))])

    def gradient_groups(self, groups: int | None = None) -> Tensor:
        """The gradient of the summed loss of each group of examples (G, P), float64; see `Data.groups`.

        Their sum over n is the gradient, which is kept; how they differ tells its sampling error.
        """
        o = self.objective
        leaves = self.leaves()
        each = o.data.groups(groups or len(self.group_sizes))
        summed = torch.zeros(len(each), len(self.theta), dtype=torch.float64, device=self.theta.device)
        logits: list[Tensor] = []
        with exact_arithmetic():
            for place, group in enumerate(each):
                for rows in group.split(min(CHUNK, o.batch_size)):
                    found = self.first_derivatives(rows, leaves, create_graph=False, logits=logits)
                    summed[place] += flat(found, leaves)
        back = torch.argsort(torch.cat(each)).to(self.theta.device)
        self.__dict__.setdefault("logits", torch.cat(logits)[back])
        self.__dict__.setdefault("gradient", (summed.sum(dim=0) / len(o.data)).to(self.theta))
        return summed

    @cached_property
    def hessian(self) -> Hessian:
        """∇²L_eps(θ) at the fixed perturbed data, as an operator (P, P).

        A lower bound of the curvature of L_eps itself: the motion of interior maximisers with θ and the kinks
        where the worst adversary switches are not in it.
        """
        from landscape.hessian import Hessian

        return Hessian(self)

    @cached_property
    def inner_gap(self) -> tuple[float, float]:
        """How much loss a much stronger attack adds per example, and its standard error, on 64 examples."""
        return self.gap(GAP_EXAMPLES)

    def gap(self, examples: int) -> tuple[float, float]:
        """The inner gap and its standard error on this many examples, spaced evenly.

        The reference is PGD with 100 steps and 3 restarts from other starts, or the point's own perturbed
        input where that is worse. It bounds the shortfall of this attack from below, for the reference may
        fall short as well.
        """
        gaps = self.gaps(examples)
        return gaps.mean().item(), gaps.std().item() / math.sqrt(len(gaps)) if len(gaps) > 1 else math.nan

    def gaps(self, examples: int) -> Tensor:
        """What the inner gap is the mean of: of each of this many examples, spaced evenly."""
        o = self.objective
        n = len(o.data)
        few = torch.linspace(0, n - 1, min(n, examples)).round().long()
        if o.budget.eps == 0:
            return torch.zeros(len(few), dtype=self.theta.dtype)
        strong = o.but(data=o.data[few], attack=REFERENCE).at(self.theta)
        return (strong.losses - self.losses[few]).clamp_min(0.0)

    def leaves(self) -> list[Tensor]:
        """The parameters as leaves of an autograd graph of their own."""
        return [
            part.detach().clone(memory_format=torch.preserve_format).requires_grad_() for part in self.parts
        ]

    def first_derivatives(
        self,
        rows: slice | Tensor,
        leaves: list[Tensor],
        create_graph: bool,
        logits: list[Tensor] | None = None,
    ) -> tuple[Tensor | None, ...]:
        """The gradient of the summed loss of some rows of the perturbed data; None for unused parameters.

        logits: takes the network's outputs for these rows
        """
        x, y = self.perturbed.inputs(rows, self.theta)
        with torch.enable_grad():
            outputs = self.objective.network(leaves, x)
            if logits is not None:
                logits.append(outputs.detach())
            loss = self.objective.loss(outputs, y).sum()
            if not loss.requires_grad:
                return (None,) * len(leaves)
            found = torch.autograd.grad(loss, leaves, create_graph=create_graph, allow_unused=True)
        self.objective.work["gradient"] += len(y)
        return found

    def _counted(self, y: Tensor) -> Callable[[Tensor], Tensor]:
        o = self.objective

        def losses(x: Tensor) -> Tensor:
            o.work["gradient" if torch.is_grad_enabled() and x.requires_grad else "forward"] += len(x)
            return o.losses(self.parts, x, y)

        return losses


def flat(found: tuple[Tensor | None, ...] | list[Tensor], like: list[Tensor]) -> Tensor:
    """Derivatives in each parameter as one vector (P,); a parameter that is not used has derivative zero."""
    return torch.cat(
        [(torch.zeros_like(p) if f is None else f).reshape(-1) for f, p in zip(found, like, strict=True)]
    )


@contextlib.contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Full float32 and one fixed algorithm on a GPU: TF32's error of 1e-3 is the size of a residual."""
    if not torch.cuda.is_available():
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
