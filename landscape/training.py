"""Adversarial training, read from top to bottom: it makes the checkpoints that the analyzers study."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from landscape import optimizers, registry
from landscape.attacks.pgd import PGD
from landscape.budget import Budget, text
from landscape.data import Data
from landscape.errors import InputError, NumericalError
from landscape.log import Log
from landscape.losses import cross_entropy
from landscape.network import Network
from landscape.objective import REFERENCE, Objective, Watch
from landscape.schedules import CONSTANT, Schedule

Precision = Literal["full", "bfloat16"]
EVALUATION_EXAMPLES = 1000
ATTACK = PGD(steps=10)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train: min over θ of L_eps by mini-batches (Madry et al., 1706.06083).

    model: specification of a built-in model, such as "lenet:width=4"
    budget: the target: that of every mini-batch where the schedule is constant, and none is larger
    schedule: how budget and learning rate go over the training
    attack: inner maximiser of a mini-batch, run in evaluation mode; the update is made in training mode
    attack_precision: of the attack's own passes through the network; the update is always in float32
    optimizer: "adam", or "sgd" with momentum 0.9
    """

    model: str
    budget: Budget
    schedule: Schedule = CONSTANT
    attack: PGD = ATTACK
    attack_precision: Precision = "full"
    epochs: int = 10
    batch_size: int = 128
    optimizer: optimizers.Name = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.batch_size < 1:
            raise InputError(
                f"epochs = {self.epochs}, batch size = {self.batch_size}: epochs are at least 0, a batch at "
                "least 1"
            )
        optimizers.check(self.lr, self.weight_decay)
        self.schedule.check(self.budget, self.epochs)


@dataclass(frozen=True)
class Epoch:
    """What an epoch of training saw on its own mini-batches, each before its update."""

    epoch: int
    loss: float
    accuracy: float


class Course:
    """A training as far as it is: weights, optimizer, and how much of the data it saw.

    It draws from torch's global generator, which `train` sets apart: initial weights, dropout.

    module, optimizer: as the last mini-batch left them
    initial: the parameters at first
    epochs: those that are over
    batch, loss, correct: of the running epoch: mini-batches made, and sums over their examples
    """

    def __init__(self, recipe: Recipe, data: Data, log: Log | None = None) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.data, self.log = recipe, data, log
        self.module: nn.Module = registry.make("model", recipe.model, classes=data.classes)
        self.optimizer = optimizers.make(
            recipe.optimizer, self.module.parameters(), recipe.lr, recipe.weight_decay
        )
        few = data.inputs(slice(0, 2), torch.zeros(1))[0]
        Network(self.module).check(few, data.classes)
        recipe.budget.check_resolved(few)
        self.module.to(memory_format=torch.channels_last)
        self.initial = [parameter.detach().clone() for parameter in self.module.parameters()]
        self.inner = Inner(recipe, self.module)
        self.batches = -(-len(data) // recipe.batch_size)
        self.epochs: list[Epoch] = []
        self.batch, self.loss, self.correct = 0, 0.0, 0
        self._order: tuple[int, list[Tensor]] = 0, []

    @property
    def steps(self) -> int:
        """Mini-batches made so far."""
        return len(self.epochs) * self.batches + self.batch

    @property
    def done(self) -> bool:
        return len(self.epochs) >= self.recipe.epochs

    def rows(self, epoch: int) -> list[Tensor]:
        """The examples of each mini-batch of an epoch, an order that depends on the seed and the epoch."""
        if self._order[0] != epoch:
            rng = np.random.Generator(np.random.Philox(key=[self.recipe.seed, epoch]))
            order = torch.from_numpy(rng.permutation(len(self.data)))
            self._order = epoch, list(order.split(self.recipe.batch_size))
        return self._order[1]

    def step(self) -> Epoch | None:
        """Make the next mini-batch; the epoch that is over with it, where one is."""
        recipe, number = self.recipe, len(self.epochs) + 1
        moment = recipe.schedule.moment(recipe.epochs, number, self.batch, self.batches)
        budget = Budget(recipe.schedule.eps.at(recipe.budget.eps, moment), recipe.budget.norm)
        lr = recipe.schedule.lr.at(recipe.lr, moment)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        found = self.data[self.rows(number)[self.batch]]
        x, y = found.inputs(slice(None), self.initial[0])
        self._update(self.inner(x, y, found.index, budget, number), y, eps=float(budget.eps), lr=lr)
        self.batch += 1
        if self.batch < self.batches:
            return None
        if not all(parameter.isfinite().all() for parameter in self.module.parameters()):
            raise NumericalError(
                f"weights are NaN or infinite after epoch {number}; train with a smaller lr than {recipe.lr}"
            )
        self.epochs.append(Epoch(number, self.loss / len(self.data), self.correct / len(self.data)))
        self.batch, self.loss, self.correct = 0, 0.0, 0
        return self.epochs[-1]

    def _update(self, x: Tensor, y: Tensor, *, eps: float, lr: float) -> None:
        """A step of the optimizer on a perturbed mini-batch."""
        logits = self.module.train()(x)
        mean = cross_entropy(logits, y).mean()
        self.optimizer.zero_grad()
        mean.backward()
        right = int((logits.argmax(dim=1) == y).sum())
        parameters = list(self.module.parameters())
        if self.log is not None:
            moved = (p.detach() - p0 for p, p0 in zip(parameters, self.initial, strict=True))
            self.log.add(
                gradient_norm=_norm(p.grad for p in parameters if p.grad is not None),
                error=(len(y) - right) / len(y),
                loss=mean.item(),
                distance=_norm(moved),
                eps=eps,
                lr=lr,
            )
        self.optimizer.step()
        self.loss += mean.item() * len(y)
        self.correct += right
        if not math.isfinite(self.loss):
            raise NumericalError(
                f"the loss is {mean.item()} in epoch {len(self.epochs) + 1}; train with a smaller lr than "
                f"{self.recipe.lr}"
            )


class Inner:
    """The inner maximiser: new starts every epoch, parameters frozen, BatchNorm in evaluation mode.

    In bfloat16 a copy of the network is attacked, which takes over the weights before every mini-batch;
    inputs, their gradients and losses are float32.
    """

    def __init__(self, recipe: Recipe, module: nn.Module) -> None:
        self.recipe, self.module = recipe, module
        self.low: nn.Module | None = None
        if recipe.attack_precision == "bfloat16":
            self.low = copy.deepcopy(module).to(torch.bfloat16).requires_grad_(False).eval()

    def __call__(self, x: Tensor, y: Tensor, index: Tensor, budget: Budget, epoch: int) -> Tensor:
        """The perturbed mini-batch (B, …)."""
        if not budget.eps:
            return x
        recipe = self.recipe
        attack = replace(recipe.attack, seed=recipe.seed + 1000 * epoch)
        if self.low is not None:
            low = self._lowered(self.low)
            return attack(lambda moved: cross_entropy(low(moved.bfloat16()).float(), y), x, index, budget)
        self.module.eval().requires_grad_(False)
        try:
            return attack(lambda moved: cross_entropy(self.module(moved), y), x, index, budget)
        finally:
            self.module.requires_grad_(True)

    def _lowered(self, low: nn.Module) -> nn.Module:
        with torch.no_grad():
            for mine, exact in zip(_tensors(low), _tensors(self.module), strict=True):
                mine.copy_(exact)
        return low


def train(
    recipe: Recipe,
    data: Data,
    *,
    log: Log | None = None,
    begin: Callable[[Course], None] | None = None,
    each: Callable[[Course], None] | None = None,
    progress: Callable[[Epoch, nn.Module], None] | None = None,
) -> tuple[nn.Module, list[Epoch]]:
    """The trained module and its epochs. The same recipe, data and machine give the same weights.

    log: takes in every mini-batch, at no further pass and with no effect on the weights
    begin: called once before the first mini-batch, such as to take over what an earlier run left
    each: called after each mini-batch
    progress: called after each epoch with what it saw and the module as it stands, before `each`
    """
    with torch.random.fork_rng():
        course = Course(recipe, data, log)
        if begin:
            begin(course)
        while not course.done:
            epoch = course.step()
            if epoch and progress:
                progress(epoch, course.module)
            if each:
                each(course)
    return course.module.eval(), course.epochs


def precision(wanted: Literal["auto", "full", "bfloat16"]) -> Precision:
    """The precision of an attack: bfloat16 where it is asked for, or by "auto" where the processor has it.

    No timing decides: the same machine gives the same weights.
    """
    if wanted == "auto":
        return "bfloat16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "full"
    return wanted


def evaluate(
    module: nn.Module,
    data: Data,
    budget: Budget,
    steps: int = 20,
    *,
    attacked: int | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Clean accuracy on all the data; robust accuracy under `pgd` and a far stronger attack, with errors.

    What is told of the stronger attack is the worse of the two for each example: on some it finds less alone.

    attacked: class-balanced examples that are attacked, by PGD and by one of 100 steps and 3 restarts, by
        default 1,000; 0 is none, and tells no robust accuracy
    """
    attacked = EVALUATION_EXAMPLES if attacked is None else attacked
    objective = Objective(Network(module), data)
    if watch:
        objective = replace(objective, watch=watch)
    clean = objective.at()
    metrics: dict[str, Any] = {
        "split": data.split,
        "examples": len(data),
        "clean_loss": clean.value,
        "clean_loss_stderr": clean.value_stderr,
        "clean_accuracy": clean.accuracy,
        "clean_accuracy_stderr": clean.accuracy_stderr,
    }
    if budget.eps and attacked:
        few = data.subset(min(len(data), attacked))
        usual = replace(objective, data=few, budget=budget, attack=PGD(steps=steps)).at()
        strong = replace(usual.objective, attack=REFERENCE).at()
        losses, correct = torch.maximum(usual.losses, strong.losses), usual.correct & strong.correct
        share = correct.double().mean().item()
        metrics |= {
            "eps": text(budget.eps),
            "robust_examples": len(few),
            "robust_attack": str(PGD(steps=steps)),
            "robust_loss": usual.value,
            "robust_loss_stderr": usual.value_stderr,
            "robust_accuracy": usual.accuracy,
            "robust_accuracy_stderr": usual.accuracy_stderr,
            "strong_attack": str(REFERENCE),
            "strong_loss": losses.mean().item(),
            "strong_loss_stderr": losses.std().item() / math.sqrt(len(few)) if len(few) > 1 else math.nan,
            "strong_accuracy": share,
            "strong_accuracy_stderr": math.sqrt(share * (1 - share) / len(few)),
        }
    return metrics


def judge(module: nn.Module, data: Data, budget: Budget, attack: PGD) -> dict[str, float]:
    """Loss and accuracy under a budget, with their standard errors: a point of a learning curve."""
    point = Objective(Network(module), data, budget, attack).at()
    return {
        "target_loss": point.value,
        "target_loss_stderr": point.value_stderr,
        "target_accuracy": point.accuracy,
        "target_accuracy_stderr": point.accuracy_stderr,
    }


def _norm(tensors: Iterable[Tensor]) -> float:
    """The Euclidean norm of the numbers of all tensors together, summed in float64."""
    each = [torch.linalg.vector_norm(tensor, dtype=torch.float64) for tensor in tensors]
    return torch.linalg.vector_norm(torch.stack(each)).item()


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
