"""Adversarial training, read from top to bottom: it makes the checkpoints that the analyzers study."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from landscape import registry
from landscape.attacks.pgd import PGD
from landscape.budget import Budget, text
from landscape.data import Data
from landscape.errors import InputError, NumericalError
from landscape.log import Log
from landscape.losses import cross_entropy
from landscape.network import Network
from landscape.objective import REFERENCE, Objective, Watch

EVALUATION_EXAMPLES = 1000
ATTACK = PGD(steps=10)
LARGEST = 1e6  # learning rate: far beyond use, far below the overflow of float32


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train: min over θ of L_eps by mini-batches (Madry et al., 1706.06083).

    model: specification of a built-in model, such as "lenet:width=4"
    budget: the budget of every mini-batch; a schedule of it is the place to add
    attack: inner maximiser of a mini-batch, run in evaluation mode; the update is made in training mode
    optimizer: "adam", or "sgd" with momentum 0.9
    """

    model: str
    budget: Budget
    attack: PGD = ATTACK
    epochs: int = 10
    batch_size: int = 128
    optimizer: Literal["adam", "sgd"] = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.batch_size < 1:
            raise InputError(
                f"epochs = {self.epochs}, batch size = {self.batch_size}: epochs are at least 0, a batch at "
                "least 1"
            )
        if not (0 < self.lr <= LARGEST and 0 <= self.weight_decay <= LARGEST):
            raise InputError(
                f"lr = {self.lr}, weight decay = {self.weight_decay}: lr is above 0, weight decay at "
                f"least 0, both at most {LARGEST:g}"
            )


@dataclass(frozen=True)
class Epoch:
    """What an epoch of training saw on its own mini-batches, each before its update."""

    epoch: int
    loss: float
    accuracy: float


def train(
    recipe: Recipe,
    data: Data,
    *,
    log: Log | None = None,
    progress: Callable[[Epoch, nn.Module], None] | None = None,
) -> tuple[nn.Module, list[Epoch]]:
    """The trained module and its epochs. The same recipe, data and machine give the same weights.

    log: takes in every mini-batch, at no further pass and with no effect on the weights
    progress: called after each epoch with what it saw and the module as it stands
    """
    with torch.random.fork_rng():  # initial weights and dropout draw from torch's global generator
        torch.manual_seed(recipe.seed)
        module = registry.make("model", recipe.model, classes=data.classes)
        optimizer = _optimizer(recipe, module)
        Network(module).check(data.inputs(slice(0, 2), torch.zeros(1))[0], data.classes)
        module.to(memory_format=torch.channels_last)
        initial = [parameter.detach().clone() for parameter in module.parameters()]
        epochs = []
        for number in range(1, recipe.epochs + 1):
            epochs.append(_epoch(recipe, module, optimizer, data, number, initial, log))
            if progress:
                progress(epochs[-1], module)
    return module.eval(), epochs


def evaluate(
    module: nn.Module, data: Data, budget: Budget, steps: int = 20, *, watch: Watch | None = None
) -> dict[str, Any]:
    """Clean accuracy on all the data; robust accuracy under `pgd` and a far stronger attack, with errors.

    The strong attack, 100 steps and 3 restarts, runs on 1,000 class-balanced examples.
    """
    objective = Objective(Network(module), data)
    if watch:
        objective = replace(objective, watch=watch)
    clean = objective.at()
    metrics: dict[str, Any] = {
        "split": data.split,
        "examples": len(data),
        "clean_loss": clean.value,
        "clean_accuracy": clean.accuracy,
        "clean_accuracy_stderr": clean.accuracy_stderr,
    }
    if budget.eps:
        few = data.subset(min(len(data), EVALUATION_EXAMPLES))
        strong = replace(objective, data=few, budget=budget, attack=REFERENCE).at()
        usual = replace(objective, data=few, budget=budget, attack=PGD(steps=steps)).at()
        metrics |= {
            "eps": text(budget.eps),
            "robust_examples": len(few),
            "robust_attack": str(PGD(steps=steps)),
            "robust_loss": usual.value,
            "robust_accuracy": usual.accuracy,
            "strong_attack": str(REFERENCE),
            "strong_loss": strong.value,
            "strong_accuracy": strong.accuracy,
            "strong_accuracy_stderr": strong.accuracy_stderr,
        }
    return metrics


def _epoch(
    recipe: Recipe,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Data,
    number: int,
    initial: list[Tensor],
    log: Log | None,
) -> Epoch:
    order = torch.from_numpy(
        np.random.Generator(np.random.Philox(key=[recipe.seed, number])).permutation(len(data))
    )
    loss = correct = 0.0
    like = next(module.parameters()).detach()
    for batch in order.split(recipe.batch_size):
        rows = data[batch]
        x, y = rows.inputs(slice(None), like)
        if recipe.budget.eps:
            x = _attacked(recipe, module, x, y, rows.index, number)
        logits = module.train()(x)
        mean = cross_entropy(logits, y).mean()
        optimizer.zero_grad()
        mean.backward()
        right = (logits.argmax(dim=1) == y).sum().item()
        if log is not None:
            log.add(
                gradient_norm=_norm(p.grad for p in module.parameters() if p.grad is not None),
                error=(len(y) - right) / len(y),
                loss=mean.item(),
                distance=_norm(p.detach() - p0 for p, p0 in zip(module.parameters(), initial, strict=True)),
            )
        optimizer.step()
        loss += mean.item() * len(y)
        correct += right
        if not math.isfinite(loss):
            raise NumericalError(
                f"the loss is {mean.item()} in epoch {number}; train with a smaller lr than {recipe.lr}"
            )
    if not all(parameter.isfinite().all() for parameter in module.parameters()):
        raise NumericalError(
            f"weights are NaN or infinite after epoch {number}; train with a smaller lr than {recipe.lr}"
        )
    return Epoch(number, loss / len(data), correct / len(data))


def _norm(tensors: Iterable[Tensor]) -> float:
    """The Euclidean norm of the numbers of all tensors together, summed in float64."""
    each = [torch.linalg.vector_norm(tensor, dtype=torch.float64) for tensor in tensors]
    return torch.linalg.vector_norm(torch.stack(each)).item()


def _attacked(recipe: Recipe, module: nn.Module, x: Tensor, y: Tensor, index: Tensor, epoch: int) -> Tensor:
    """The perturbed mini-batch; parameters frozen, BatchNorm in evaluation mode, new starts every epoch."""
    module.eval().requires_grad_(False)
    attack = PGD(steps=recipe.attack.steps, restarts=recipe.attack.restarts, seed=recipe.seed + 1000 * epoch)
    moved = attack(lambda inputs: cross_entropy(module(inputs), y), x, index, recipe.budget)
    module.requires_grad_(True)
    return moved


def _optimizer(recipe: Recipe, module: nn.Module) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(module.parameters(), recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay)
    return torch.optim.Adam(module.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
