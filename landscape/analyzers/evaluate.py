"""How accurate checkpoints are, unperturbed and under strong attacks, alone and as an ensemble."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from landscape import registry
from landscape.analyzers.trajectory import label_of
from landscape.budget import Budget
from landscape.errors import InputError, NumericalError
from landscape.format import mean_std, percent, plus_minus
from landscape.registry import register

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from landscape.attacks.base import Attack
    from landscape.losses import Loss
    from landscape.network import Network
    from landscape.objective import Objective, Point, Watch
    from landscape.task import Task

STANDARD = "attack,pgd:steps=100,apgd-ce,apgd-dlr,square-margin"
"""The training attack, and the evaluation of the paper's Table 1."""
CLEAN, WORST = "clean", "worst case"
SHORT = {"ce": "cross_entropy"}
"""Losses by the names that attacks on them have."""
MEAN = "mean(std)"
WORK = {"forward": 0.0, "gradient": 0.0}
"""Passes over the data, by what they are."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The accuracy of a checkpoint, of an ensemble, or the mean over several of them, under one budget.

    eps, budget, norm: size of the perturbations in pixels of [0, 1], as a number and as it was written
    of: "checkpoint", "ensemble", or "mean" over all of one of these under the budget, which its label names
    label, checkpoints: its name in a table, and the paths of what it is of
    examples: how many the accuracies are of
    loss_name: the objective's own loss, which the losses are of
    planned: the names of all attacks, those that have not run yet among them
    under: for "clean", each attack and "worst case", by name,
        attack, maximised: its specification, and the loss that it maximises
        accuracy, accuracy_stderr: the share of the examples for which no input that it tried, the clean one
            among them, is misclassified, and its binomial standard error; of a mean that of the mean
        accuracy_std: of a mean, the standard deviation over what it is of
        so_far: the same of this attack and all before it together, which the last one's "worst case" is
        loss, loss_stderr, loss_std: mean over the examples of the highest loss that it saw, if it was run to
            its end; NaN if it left examples once they were broken
        forward, gradient: passes over the data, forward alone and forward and backward; a pass of an ensemble
            is one through every member
    zero_loss: share of the examples whose loss rounds to 0 in spite of the attack on it
    seconds: wall time
    broken: (1 + attacks, n), whether an example was broken clean and by each attack; for files alone
    """

    OWN_SHAPES: ClassVar[bool] = True
    LEGEND: ClassVar[str] = (
        "accuracy: share of the examples for which no misclassified input was found in the budget, the clean "
        "one included, ± binomial standard error; worst case: none by any of the attacks, an upper bound of "
        "the robust accuracy"
    )
    LINE: ClassVar[str] = "checkpoint"

    eps: float
    budget: str
    norm: str
    of: str
    label: str
    checkpoints: list[str]
    examples: int
    loss_name: str
    planned: list[str]
    under: dict[str, dict[str, Any]]
    zero_loss: float
    seconds: float
    broken: np.ndarray = field(metadata={"json": False})

    @property
    def heading(self) -> str:
        return f"eps {self.budget}"

    @property
    def line(self) -> str:
        return self.label

    def rows(self) -> dict[str, str]:
        """What a table of results shows of it, by the name of the column."""
        rows, losses = {}, {}
        for name, found in self.under.items():
            if self.of == "mean":
                rows[name] = f"{mean_std(100 * found['accuracy'], 100 * found['accuracy_std'])} %"
                losses[f"loss, {name}"] = mean_std(found["loss"], found["loss_std"])
            else:
                rows[name] = percent(found["accuracy"], found["accuracy_stderr"])
                losses[f"loss, {name}"] = plus_minus(found["loss"], found["loss_stderr"])
            if name == WORST or math.isnan(found["loss"]):
                del losses[f"loss, {name}"]
        return rows | losses

    def remarks(self) -> list[str]:
        """What a reader of the table must know besides, a sentence each."""
        told = []
        if missing := [name for name in self.planned if name not in self.under]:
            told.append(f"INCOMPLETE: {', '.join(missing)} did not run on {self.label}")
        if not self.eps:
            told.append("there is nothing to attack: give --eps, such as 8/255")
        ended = [name for name in self.planned if math.isfinite(self.under.get(name, {}).get("loss", 0.0))]
        if self.eps and len(ended) < len(self.planned):
            but = f", except {', '.join(ended)}, run to the end" if ended else ""
            told.append(
                "an attack leaves an example at the first misclassified input, which is enough for its "
                f"accuracy, and tells no loss{but}; --full has all run to the end"
            )
        told += [*self._blind(), *self._sure()]
        if self.of == "mean":
            told.append(
                "mean(std): 68.42(57) stands for a standard deviation of 0.57, 68.4(1.3) for one of 1.3"
            )
        if self.label == MEAN:  # as files had it that said no more
            told.append("mean(std) is that of the ensembles where there are any, else of the checkpoints")
        if self.of == "ensemble":
            told.append(
                "an ensemble predicts by the mean of its members' probabilities (softmax) and is attacked as "
                "such: every gradient goes through all members"
            )
        if any(found["attack"].startswith("autoattack") for found in self.under.values()):
            told.append("what autoattack finds for an example depends on the others of its batch")
        return told

    def _sure(self) -> list[str]:
        """What the data says of an accuracy of 0 or 1, which has no binomial standard error."""
        if self.of == "mean":
            return []
        most = 1 - 0.05 ** (1 / self.examples)  # (1 - most)^n = 5 %: exact, Clopper and Pearson's
        return [
            f"{self.label}, {name}: {share:.0%} of {self.examples:,} examples has no binomial error; "
            f"of all it is {'above' if share else 'below'} {abs(share - most):.2%} with 95 % confidence"
            for name in (CLEAN, WORST)
            if (share := self.under.get(name, {}).get("accuracy")) in (0.0, 1.0)
        ]

    def _blind(self) -> list[str]:
        """That attacks had no gradient to follow."""
        if not (self.eps and self.zero_loss > 0) or self.of == "mean":
            return []
        ran = {name: found["maximised"] for name, found in self.under.items() if name in self.planned}
        on_it = ", ".join(name for name, loss in ran.items() if loss == self.loss_name)
        others = ", ".join(name for name, loss in ran.items() if loss != self.loss_name)
        rest = (
            f"{others} maximise another, and see them"
            if others
            else "NO WORST CASE is known of them: add apgd-dlr or square-margin to --attacks"
        )
        return [
            f"{self.label}: the loss {self.loss_name} of {self.zero_loss:.0%} of the examples rounds to 0: "
            f"the attacks on it ({on_it or 'none'}) had no gradient there; {rest}"
        ]


@dataclass(frozen=True)
class Planned:
    """An attack to run: its name in a table, the attack, the loss that it maximises."""

    name: str
    attack: Attack
    loss: Loss


@register("analyzer")
def evaluate(
    points: Sequence[Point],
    *,
    task: Task,
    attacks: str = STANDARD,
    ensemble: bool = False,
    members: int = 0,
    full: bool = False,
    format: Literal["text", "markdown", "latex"] = "text",
    seed: int = 0,
) -> Iterator[list[Evaluation]]:
    """Accuracy of checkpoints, clean and under strong attacks.

    One line for each checkpoint, a column for each attack, and the worst case over all of them: an example
    counts only if no attack finds a misclassified input, and it is none itself. Several checkpoints, such as
    those of several seeds, also have their mean(std), and so have several ensembles.

    An attack is NAME:OPTIONS on the run's own loss, or NAME-LOSS:OPTIONS on another: apgd-dlr:steps=50. The
    word "attack" is the one of --attack, which is to be that of the training. AutoAttack is autoattack, with
    pip install 'landscape[attack]'.

    attacks: a list, run on the same examples one after another
    ensemble: also the softmax-average of all checkpoints, attacked as one
    members: checkpoints in each ensemble, in the order given  [0: all of them]
    full: run every attack to its end, for the loss too; not just to the first misclassified input
    format: of the printed table
    """
    first = points[0].objective
    groups = _groups(len(points), members, ensemble)
    plan = _plan(attacks, first, task, seed)
    results: list[Evaluation] = []
    counts = {"checkpoint": len(points), "ensemble": len(groups)}
    for place, budget in enumerate(task.budgets):
        lines: list[Evaluation] = []
        for line, network in _lines(points, groups, budget):
            named = f"eps {line.budget}: {line.label}: "
            o = first.but(network=network, watch=_announced(first.watch, named))
            for line in _attacked(line, o, budget, plan if budget.eps else [], full):  # noqa: B020
                yield [*results, *lines, line]
            lines.append(line)
            alike = [each for each in lines if each.of == line.of]
            if len(alike) > 1 and len(alike) == counts[line.of]:
                lines.append(_mean(alike))
        results += lines
        task.run.complete = place + 1 == len(task.budgets)
        yield [*results]


def _groups(count: int, members: int, ensemble: bool) -> list[tuple[int, ...]]:
    """Which checkpoints are the members of each ensemble."""
    if not ensemble:
        if members:
            raise InputError(f"--members {members} is of ensembles; give --ensemble as well")
        return []
    size = members or count
    if size < 1 or count % size:
        raise InputError(
            f"--members {members}: {count} checkpoints do not make ensembles of {size} each; give a "
            "multiple of it, or leave it out"
        )
    return [tuple(range(i, i + size)) for i in range(0, count, size)]


def _plan(text: str, o: Objective, task: Task, seed: int) -> list[Planned]:
    """The attacks of a list, checked to be possible before any of them takes its time."""
    from landscape.attacks.autoattack import AutoAttack

    if not o.data.classes:
        raise InputError("evaluate counts misclassified examples; numbers to predict have no classes")
    notes = list(task.run.provenance.get("notes", []))
    few = o.but(data=o.data[:2], budget=Budget(0)).at()
    if text == STANDARD and few.logits.shape[1] < 3:
        text = text.replace("dlr", "margin")
        notes.append("the loss dlr compares 3 outputs: apgd-margin stands in for apgd-dlr")
    if o.data.split == "train":
        notes.append("these are examples of the training split; --split test has those held out")
    found: dict[str, Planned] = {}
    for part in _parts(text):
        each = _planned(part, o, seed)
        each.loss(few.logits, o.data.y[:2].to(few.logits.device))
        if isinstance(each.attack, AutoAttack):
            each.attack.check(few.logits.shape[1])
        if each.name in found and found[each.name].attack != each.attack:  # which a seed alone can be
            each = replace(each, name=f"{each.name}, seed {getattr(each.attack, 'seed', seed)}")
        found.setdefault(each.name, each)
    if not found:
        raise InputError(f"--attacks {text!r} names no attack; give a list such as {STANDARD}")
    task.run.provenance["notes"] = notes
    return list(found.values())


def _parts(text: str) -> list[str]:
    """The attacks of a list; what has = and no name before it is a further option of the last one."""
    parts: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if parts and re.fullmatch(r"[^:=]+=.*", part):
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return parts


def _planned(part: str, o: Objective, seed: int) -> Planned:
    from landscape import losses

    if part == "attack":
        return Planned(_name(o.attack, o.loss, o.loss), o.attack, o.loss)
    head, colon, options = part.partition(":")
    name, dash, on = head.rpartition("-")
    if head in registry.named("attack") or not dash:
        name, loss = head, o.loss
    elif on.isdigit():
        raise InputError(f"attack {part!r}: a number of steps is an option, {name}:steps={on}")
    else:
        loss = losses.find(SHORT.get(on, on))
    attack = registry.make("attack", f"{name}{colon}{options}", seed=seed)
    return Planned(_name(attack, loss, o.loss), attack, loss)


def _name(attack: Attack, loss: Loss, own: Loss) -> str:
    """What papers call it: PGD-20, APGD-CE, Square; with what differs from its defaults."""
    from landscape.attacks.apgd import APGD
    from landscape.attacks.pgd import PGD
    from landscape.attacks.square import Square
    from landscape.losses import name_of

    short = {full: word for word, full in SHORT.items()}
    on = short.get(name_of(loss), name_of(loss))
    on = on.upper() if len(on) < 4 else on
    if isinstance(attack, PGD | APGD):
        runs = f"x{attack.restarts}" if attack.restarts > 1 else ""
        count = f"-{attack.steps}" if isinstance(attack, PGD) or attack.steps != APGD.steps else ""
        shown = f"-{on}" if isinstance(attack, APGD) or loss is not own else ""
        return f"{type(attack).__name__}{shown}{count}{runs}"
    if isinstance(attack, Square) and attack == replace(Square(seed=attack.seed), queries=attack.queries):
        count = f"-{attack.queries}" if attack.queries != Square.queries else ""
        return f"Square{'' if on == 'margin' else f'-{on}'}{count}"
    return str(attack) + (f" on {on}" if loss is not own else "")


def _lines(
    points: Sequence[Point], groups: list[tuple[int, ...]], budget: Budget
) -> Iterator[tuple[Evaluation, Network]]:
    """What is to be evaluated, with nothing known of it yet, and its network; one network at a time."""
    import numpy as np

    from landscape.ensemble import ensemble
    from landscape.losses import name_of

    o, labels, paths = points[0].objective, set[str](), []

    def empty(of: str, label: str, checkpoints: list[str]) -> Evaluation:
        return Evaluation(
            eps=float(budget.eps),
            budget=str(budget).split()[0],
            norm=budget.norm,
            of=of,
            label=label,
            checkpoints=checkpoints,
            examples=len(o.data),
            loss_name=name_of(o.loss),
            planned=[],
            under={},
            zero_loss=math.nan,
            seconds=0.0,
            broken=np.zeros((0, len(o.data)), dtype=bool),
        )

    for i in range(len(points)):
        network = points[i].objective.network
        paths.append(network.name)
        labels.add(label := label_of(network.name, labels))
        yield empty("checkpoint", label, paths[-1:]), network
    for number, group in enumerate(groups, 1):
        size = f"{len(group)} member{'s' * (len(group) > 1)}"
        label = f"ensemble {number} ({size})" if len(groups) > 1 else f"ensemble of {len(group)}"
        together = ensemble([points[i].objective.network for i in group])
        yield empty("ensemble", label, [paths[i] for i in group]), together


def _attacked(
    line: Evaluation, o: Objective, budget: Budget, plan: list[Planned], full: bool
) -> Iterator[Evaluation]:
    """What is known of a network, again after every attack."""
    import numpy as np
    import torch

    from landscape.attacks.autoattack import AutoAttack
    from landscape.losses import name_of
    from landscape.robustness import attempt

    start = time.perf_counter()
    clean = o.but(budget=Budget(0)).at()
    if not math.isfinite(clean.value):
        raise NumericalError(f"the loss of {line.label} is {clean.value}")
    broken, all_broken, worst, seen = [~clean.correct], ~clean.correct, clean.losses, clean.losses
    under = {
        CLEAN: {"attack": "none", "maximised": "none", **_counted(all_broken, all_broken, worst), **WORK}
    }
    under[CLEAN]["forward"] = 1.0

    def known() -> Evaluation:
        return replace(
            line,
            planned=[each.name for each in plan],
            under=dict(under),
            zero_loss=(seen == 0).double().mean().item(),
            seconds=time.perf_counter() - start,
            broken=torch.stack(broken).cpu().numpy().astype(np.bool_),
        )

    yield known()
    ended = False
    for each in plan:
        own = each.loss is o.loss
        # Its authors' code asks for logits of its own choice, so that nothing is known of their losses.
        to_the_end = (full or (own and each.attack is o.attack)) and not isinstance(each.attack, AutoAttack)
        got = attempt(clean, budget, each.attack, each.loss, to_the_end=to_the_end, stage=each.name)
        broken.append(got.broken)
        all_broken = all_broken | got.broken
        if got.highest is not None:
            ended, worst = True, torch.maximum(worst, got.highest)
            seen = torch.maximum(seen, got.highest) if own else seen
        under[each.name] = {
            "attack": str(each.attack),
            "maximised": name_of(each.loss),
            **_counted(got.broken, all_broken, got.highest),
            "forward": round(got.forward, 3),
            "gradient": round(got.gradient, 3),
        }
        if each is plan[-1]:
            total = {name: sum(found[name] for found in under.values()) for name in WORK}
            told = {"attack": "all of these", "maximised": "all of these", **total}
            under[WORST] = told | _counted(all_broken, all_broken, worst if ended else None)
        yield known()


def _counted(broken: Tensor, so_far: Tensor, highest: Tensor | None) -> dict[str, Any]:
    """The accuracy over examples of which some are broken (n,), and the mean of their highest losses (n,)."""
    n = len(broken)
    told: dict[str, float] = {}
    for name, each in (("accuracy", broken), ("so_far", so_far)):
        share = 1 - each.double().mean().item()
        told |= {name: share, f"{name}_stderr": math.sqrt(share * (1 - share) / n)}
    loss = math.nan if highest is None else highest.mean().item()
    error = math.nan if highest is None or n < 2 else highest.std().item() / math.sqrt(n)
    return told | {"loss": loss, "loss_stderr": error}


def _mean(lines: list[Evaluation]) -> Evaluation:
    """Mean and standard deviation over several lines, number by number."""
    import numpy as np

    under = {}
    for name, one in lines[0].under.items():
        under[name] = {key: one[key] for key in ("attack", "maximised")}
        for key in ("accuracy", "so_far", "loss"):
            values = np.array([line.under[name][key] for line in lines])
            std = float(values.std(ddof=1))
            stderr = std / math.sqrt(len(lines))
            under[name] |= {key: float(values.mean()), f"{key}_std": std, f"{key}_stderr": stderr}
        for key in WORK:
            under[name][key] = sum(line.under[name][key] for line in lines)
    return replace(
        lines[0],
        of="mean",
        label=f"{MEAN} of {len(lines)} {lines[0].of}s",
        checkpoints=[path for line in lines for path in line.checkpoints],
        under=under,
        zero_loss=float(np.mean([line.zero_loss for line in lines])),
        seconds=sum(line.seconds for line in lines),
        broken=lines[0].broken[:0],
    )


def _announced(watch: Watch, prefix: str) -> Watch:
    return lambda stage, done, of: watch(prefix + stage, done, of)
