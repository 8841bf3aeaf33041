"""Evaluation by strong attacks: exact worst cases, nested attacks, ensembles, tables, what is refused."""

from __future__ import annotations

import copy
import json
import math
import random
import sys
import types

import nets
import numpy as np
import pytest
import torch
from test_attacks import convolutional, images, two_classes
from torch import Tensor, nn

from landscape import APGD, FGSM, PGD, Budget, Data, Network, Objective, Square, load, plot, registry
from landscape.analyzers import evaluate as module
from landscape.analyzers.evaluate import STANDARD, Evaluation, evaluate
from landscape.attacks.base import ascent, random_start
from landscape.ensemble import Mean, ensemble
from landscape.errors import InputError, NumericalError
from landscape.format import latex, markdown, mean_std
from landscape.losses import cross_entropy
from landscape.losses.dlr import dlr
from landscape.losses.margin import margin
from landscape.results import Run
from landscape.robustness import Tried, attempt
from landscape.task import Task

QUICK = "attack,apgd-ce:steps=5,apgd-dlr:steps=5,square-margin:queries=20"
EPS = {"linf": "0.2", "l2": "0.7"}


def clean(net: nn.Module, data: Data, **told):
    return Objective(Network(net, dtype=torch.float64), data, **{"attack": PGD(steps=3), **told}).at()


def learned(seed: int = 0, classes: int = 3, scale: float = 1.0) -> tuple[nn.Module, Data]:
    """A net that is right of most of some images, and attacked with success on some: labels are its own."""
    torch.manual_seed(seed)
    net = convolutional(classes).double().eval()
    net[5].weight.data *= 4 * scale
    net[5].bias.data *= 4 * scale
    data = images(24)
    with torch.no_grad():
        y = net(data.x).argmax(dim=1)
    y[:3] = (y[:3] + 1) % classes
    return net, Data.of(data.x, y, classes=classes)


def run(nets_: list[nn.Module], data: Data, eps: str = "0.1", norm="linf", attack=None, **told) -> list:
    """What `evaluate` finds, by label and budget, and the run that it was told of."""
    wanted = [Budget(part, norm) for part in eps.split(",")]
    points = [
        Objective(
            Network(net, dtype=torch.float64, name=f"net{i}.pt"),
            data,
            attack=attack or PGD(steps=3),
            loss=told.get("loss", cross_entropy),
        ).at()
        for i, net in enumerate(nets_)
    ]
    kept = Run("evaluate", {"notes": []})
    options = {name: value for name, value in told.items() if name != "loss"}
    for results in evaluate(points, task=Task(wanted, kept, lambda path: points[0]), **options):
        kept.results = results
    assert kept.complete
    return kept.results


# Which examples are broken.


@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("attack", [PGD(steps=10), APGD(steps=20), FGSM(), Square(queries=600)])
def test_the_accuracy_of_a_linear_model_is_the_exact_one(attack, norm):
    net, data = two_classes()
    exact = clean(net, data).objective.under(Budget(EPS[norm], norm), registry.make("attack", "linear")).at()
    found = attempt(clean(net, data), Budget(EPS[norm], norm), attack, cross_entropy)
    if norm == "linf":
        assert torch.equal(found.broken, ~exact.correct)
    else:  # the box cuts the ball, where they come near only
        assert (found.broken <= ~exact.correct).all()
    assert exact.accuracy < clean(net, data).accuracy  # something is broken


def test_any_misclassified_input_that_was_tried_counts_not_the_last_alone():
    net, data = learned()
    at = clean(net, data)
    budget, tried = Budget("0.1"), []

    def there_and_back(losses, x: Tensor, index: Tensor, budget: Budget) -> Tensor:
        tried.append(budget.project(x + budget.steepest(ascent(losses, x)[1]), x))
        losses(tried[-1])
        return x

    found = attempt(at, budget, there_and_back, cross_entropy)
    right = at.correct
    wrong = net(tried[0]).argmax(dim=1) != data.y[right]
    assert wrong.any()
    assert torch.equal(found.broken[right], wrong)
    assert found.broken[~right].all()


@pytest.mark.parametrize("norm", EPS)
def test_inputs_outside_of_the_budget_do_not_count(norm):
    net, data = learned()

    def outside(losses, x: Tensor, index: Tensor, budget: Budget) -> Tensor:
        for far in (x + 1.0001 * float(budget.eps), x - 10, x.flip(2), x + 100):
            losses(far)
        return x

    at = clean(net, data)
    found = attempt(at, Budget("0.001", norm), outside, cross_entropy, to_the_end=True)
    assert torch.equal(found.broken, ~at.correct)
    assert torch.equal(found.highest, at.losses)


def test_what_an_attack_returns_is_brought_into_the_budget_and_counts():
    net, data = learned()
    at, budget = clean(net, data), Budget("0.1")

    def last(losses, x: Tensor, index: Tensor, budget: Budget) -> Tensor:
        return x + 100 * ascent(losses, x)[1].sign()

    found = attempt(at, budget, last, cross_entropy)
    fgsm = attempt(at, budget, FGSM(), cross_entropy)
    assert torch.equal(found.broken, fgsm.broken)


@pytest.mark.parametrize("attack", [PGD(steps=8), APGD(steps=8), Square(queries=50)])
def test_leaving_broken_examples_changes_nothing_but_the_work(attack):
    net, data = learned()
    at, budget = clean(net, data), Budget("0.05")
    left = attempt(at, budget, attack, margin)
    whole = attempt(at, budget, attack, margin, to_the_end=True)
    assert torch.equal(left.broken, whole.broken)
    assert (~at.correct).sum() < left.broken.sum() < len(data)
    assert left.highest is None
    assert left.forward + left.gradient < whole.forward + whole.gradient


def test_the_passes_are_counted_as_they_are_made():
    net, data = learned()
    at, calls = clean(net, data), []
    at.correct  # noqa: B018
    module = at.objective.network.folded(data.x[:2]).module  # what a pass calls
    inner = module.forward

    def forward(x):
        calls.append(len(x))
        return inner(x)

    module.forward = forward
    for attack in (PGD(steps=4), APGD(steps=4, restarts=2), Square(queries=9)):
        for to_the_end in (False, True):
            calls.clear()
            found = attempt(at, Budget("0.1"), attack, margin, to_the_end=to_the_end)
            assert (found.forward + found.gradient) * len(data) == pytest.approx(sum(calls))
    whole = attempt(at, Budget("0.1"), PGD(steps=4, restarts=3), margin, to_the_end=True)
    assert (whole.forward, whole.gradient) == (1 + 3 + 1, 12)  # clean, the ends, and what is returned


@pytest.mark.parametrize("norm", EPS)
def test_more_restarts_and_more_queries_never_give_a_higher_accuracy(norm):
    net, data = learned()
    at, budget = clean(net, data), Budget({"linf": "0.05", "l2": "0.2"}[norm], norm)
    for family in (
        [PGD(steps=2, restarts=r) for r in (1, 2, 5)],
        [APGD(steps=2, restarts=r) for r in (1, 2, 5)],
        [Square(queries=q) for q in (1, 10, 60)],
    ):
        broken = [attempt(at, budget, attack, margin).broken for attack in family]
        assert (broken[0] <= broken[1]).all()
        assert (broken[1] <= broken[2]).all()


def test_in_the_course_of_an_attack_the_broken_only_grow_and_the_highest_loss_only_rises():
    net, data = learned()
    at, budget = clean(net, data), Budget("0.1")
    tried = Tried(at, budget, dlr, data.x, data.y)
    before, highest = tried.broken.clone(), tried.highest.clone()
    start = random_start(data.x, data.index, budget, 0)
    for step in range(12):
        tried(budget.project(start + 0.03 * step * (-1) ** step, data.x))
        assert (before <= tried.broken).all()
        assert (highest <= tried.highest).all()
        before, highest = tried.broken.clone(), tried.highest.clone()


def test_the_losses_of_examples_that_were_left_are_0_and_lead_nowhere():
    net, data = learned()
    tried = Tried(clean(net, data), Budget("0.1"), cross_entropy, data.x, data.y, leaves=True)
    tried(data.x)
    assert tried.broken.sum() == 3
    values, gradient = ascent(tried, data.x)
    assert (values[tried.broken] == 0).all()
    assert not gradient[tried.broken].any()
    expected, own = ascent(lambda x: cross_entropy(net(x), data.y), data.x)
    torch.testing.assert_close(values[~tried.broken], expected[~tried.broken], rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient[~tried.broken], own[~tried.broken], rtol=1e-9, atol=1e-15)
    tried.broken[:] = True
    values, gradient = ascent(tried, data.x)
    assert not values.any()
    assert not gradient.any()


@pytest.mark.parametrize("batch_size", [1, 5, 24])
def test_nothing_depends_on_the_batch_size_or_the_order(batch_size):
    net, data = learned()
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    for attack in (PGD(steps=4), APGD(steps=4), Square(queries=30)):
        whole = attempt(clean(net, data), Budget("0.05"), attack, margin, to_the_end=True)
        part = clean(net, data[order], batch_size=batch_size)
        found = attempt(part, Budget("0.05"), attack, margin, to_the_end=True)
        assert torch.equal(found.broken, whole.broken[order])
        torch.testing.assert_close(found.highest, whole.highest[order], rtol=1e-9, atol=0)


def test_outputs_without_a_number_are_refused():
    net = nets.Net(
        lambda m, x: torch.log(m.a(x).exp() - 1 + (x - 0.5).sum(1, keepdim=True) * 1e300), a=nn.Linear(4, 3)
    )
    data = Data.of(torch.full((4, 4), 0.6, dtype=torch.float64), torch.arange(4) % 3, classes=3)
    with pytest.raises(NumericalError, match="NaN or infinite"):
        attempt(clean(net, data), Budget("0.2"), PGD(steps=2), cross_entropy, to_the_end=True)


# The table.


def test_a_line_is_what_each_attack_finds_by_itself_and_the_worst_case_that_of_all():
    net, data = learned()
    (line,) = run([net], data, attacks=QUICK)
    at, budget = clean(net, data), Budget("0.1")
    expected = [
        ~at.correct,
        attempt(at, budget, PGD(steps=3), cross_entropy).broken,
        attempt(at, budget, APGD(steps=5), cross_entropy).broken,
        attempt(at, budget, APGD(steps=5), dlr).broken,
        attempt(at, budget, Square(queries=20), margin).broken,
    ]
    assert list(line.under) == ["clean", "PGD-3", "APGD-CE-5", "APGD-DLR-5", "Square-20", "worst case"]
    assert np.array_equal(line.broken, torch.stack(expected).numpy())
    together = torch.zeros(24, dtype=torch.bool)
    for name, broken in zip(line.under, expected, strict=False):
        together |= broken
        for key, which in (("accuracy", broken), ("so_far", together)):
            share = 1 - which.double().mean().item()
            assert line.under[name][key] == pytest.approx(share)
            assert line.under[name][f"{key}_stderr"] == pytest.approx(math.sqrt(share * (1 - share) / 24))
    assert line.under["worst case"]["accuracy"] == line.under["Square-20"]["so_far"]
    so_far = [found["so_far"] for found in line.under.values()]
    assert so_far == sorted(so_far, reverse=True)
    assert all(line.under["worst case"]["accuracy"] <= found["accuracy"] for found in line.under.values())


def test_a_loss_is_told_of_attacks_that_were_run_to_the_end_alone():
    net, data = learned()
    (line,) = run([net], data, attacks=QUICK)
    at = Objective(Network(net, dtype=torch.float64), data, Budget("0.1"), PGD(steps=3)).at()
    assert line.under["PGD-3"]["loss"] == pytest.approx(at.value, rel=1e-12)
    assert line.under["PGD-3"]["loss_stderr"] == pytest.approx(at.value_stderr, rel=1e-12)
    assert math.isnan(line.under["APGD-CE-5"]["loss"])
    assert "loss, PGD-3" in line.rows()
    assert "loss, APGD-CE-5" not in line.rows()
    assert any("except PGD-3" in remark for remark in line.remarks())
    (full,) = run([net], data, attacks=QUICK, full=True)
    assert not any("first misclassified" in remark for remark in full.remarks())
    assert np.array_equal(full.broken, line.broken)
    losses = {name: found["loss"] for name, found in full.under.items()}
    assert losses["clean"] < min(losses[name] for name in full.planned)
    assert losses["worst case"] >= max(losses.values())


def test_at_eps_0_there_is_the_clean_accuracy_alone():
    net, data = learned()
    first, second = run([net], data, "0,0.1", attacks="attack")
    assert list(first.under) == ["clean"]
    assert first.under["clean"] == second.under["clean"]
    assert first.under["clean"]["accuracy"] == clean(net, data).accuracy == 21 / 24
    assert any("nothing to attack" in remark for remark in first.remarks())


def test_saturated_cross_entropy_blinds_the_attacks_on_it_alone():
    net, data = learned()
    sharp, _ = learned(scale=1e4)  # the same decisions, and losses that are 0 in float64 even
    (plain,), (saturated,) = (run([n], data, "0.05", attacks=QUICK) for n in (net, sharp))
    assert plain.zero_loss == 0
    assert saturated.zero_loss > 0.5
    for name in ("APGD-DLR-5", "Square-20"):
        assert saturated.under[name]["accuracy"] == pytest.approx(plain.under[name]["accuracy"], abs=1e-12)
    assert saturated.under["APGD-CE-5"]["accuracy"] > plain.under["APGD-CE-5"]["accuracy"]
    assert saturated.under["worst case"]["accuracy"] <= saturated.under["APGD-DLR-5"]["accuracy"]
    (told,) = [remark for remark in saturated.remarks() if "rounds to 0" in remark]
    assert "APGD-DLR-5, Square-20 maximise another" in told
    (blind,) = run([sharp], data, "0.05", attacks="attack")
    assert any("NO WORST CASE" in remark for remark in blind.remarks())


@pytest.mark.parametrize("share", [0, 1])
def test_an_accuracy_without_a_binomial_error_says_what_is_known(share):
    net, data = learned()
    y = net(data.x).argmax(dim=1)
    at = Data.of(data.x, y if share else (y + 1) % 3, classes=3)
    (line,) = run([net], at, "0.0001", attacks="attack")
    (told, _) = [remark for remark in line.remarks() if "no binomial error" in remark]
    # As of scipy.stats.binomtest(24, 24, alternative="greater").proportion_ci(0.95, "exact").
    assert ("above 88.27%" if share else "below 11.73%") in told


def test_mean_and_standard_deviation_are_those_of_the_lines():
    several = [learned(seed)[0] for seed in range(3)]
    data = learned()[1]
    *lines, mean = run(several, data, attacks=QUICK)
    assert [line.label for line in lines] == ["net0", "net1", "net2"]
    assert (mean.of, mean.label) == ("mean", "mean(std) of 3 checkpoints")
    assert mean.checkpoints == ["net0.pt", "net1.pt", "net2.pt"]
    for name in mean.under:
        values = [line.under[name]["accuracy"] for line in lines]
        assert mean.under[name]["accuracy"] == pytest.approx(np.mean(values))
        assert mean.under[name]["accuracy_std"] == pytest.approx(np.std(values, ddof=1))
        assert mean.under[name]["accuracy_stderr"] == pytest.approx(np.std(values, ddof=1) / math.sqrt(3))
    losses = [line.under["PGD-3"]["loss"] for line in lines]
    assert mean.under["PGD-3"]["loss"] == pytest.approx(np.mean(losses))
    assert any("standard deviation" in remark for remark in mean.remarks())
    shown = mean.rows()["clean"]
    told = mean.under["clean"]
    assert shown == f"{mean_std(100 * told['accuracy'], 100 * told['accuracy_std'])} %"


@pytest.mark.parametrize(
    ("value", "std", "text"),
    [
        (68.4231, 0.567, "68.42(57)"),
        (68.4231, 1.34, "68.4(1.3)"),
        (68.4231, 13.4, "68(13)"),
        (0.123456, 0.00123, "0.1235(12)"),
        (0.5, 0.0996, "0.50(10)"),
        (0.5, 0.0, "0.5000(0)"),
        (0.5, math.nan, "0.5000(?)"),
        (math.nan, 1.0, "not computed"),
    ],
)
def test_a_standard_deviation_stands_in_brackets(value, std, text):
    assert mean_std(value, std) == text


# Ensembles.


def test_an_ensemble_is_the_mean_of_the_probabilities():
    modules = [nets.trained(convolutional(), seed).double().eval() for seed in range(3)]
    network = ensemble([Network(net, dtype=torch.float64) for net in modules])
    x = images().x
    expected = torch.stack([net(x).softmax(dim=1) for net in modules]).mean(dim=0)
    found = network(network.parts(network.theta), x)
    torch.testing.assert_close(found.softmax(dim=1), expected.detach(), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(found.exp(), expected.detach(), rtol=1e-12, atol=1e-15)
    assert len(network) == 3 * len(Network(modules[0]))
    torch.testing.assert_close(
        cross_entropy(found, images().y), -expected.detach().log()[range(12), images().y], rtol=1e-10, atol=0
    )


def test_members_that_are_sure_of_different_classes_have_a_finite_loss():
    sure = [
        nets.Net(
            lambda m, x, k=k: 1e4 * nn.functional.one_hot(torch.full((len(x),), k), 3) + 0 * m.a(x),
            a=nn.Linear(4, 3),
        )
        for k in (0, 1)
    ]
    logits = Mean(sure)(torch.rand(5, 4))
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits.exp()[:, :2], torch.full((5, 2), 0.5))


def test_an_ensemble_of_one_is_the_model_bit_for_bit():
    net, data = learned()
    alone, together = run([net], data, attacks=QUICK, ensemble=True)
    assert (alone.of, together.of) == ("checkpoint", "ensemble")
    assert np.array_equal(alone.broken, together.broken)
    for name in alone.under:
        assert alone.under[name]["accuracy"] == together.under[name]["accuracy"]
        assert str(alone.under[name]["loss"]) == str(together.under[name]["loss"])


def test_an_ensemble_of_equals_is_as_one_of_them():
    net, data = learned()
    *_, together = run([net, copy.deepcopy(net)], data, attacks=QUICK, ensemble=True)
    (alone,) = run([net], data, attacks=QUICK)
    assert np.array_equal(alone.broken, together.broken)
    assert together.under["PGD-3"]["loss"] == pytest.approx(alone.under["PGD-3"]["loss"], rel=1e-9)


def test_the_attack_on_an_ensemble_sees_the_averaged_probabilities():
    # Two members whose gradients point apart: each alone is attacked along its own, both along their mean's.
    x = torch.full((1, 2), 0.5, dtype=torch.float64)
    data = Data.of(x, torch.zeros(1, dtype=torch.int64), classes=2)
    members = []
    for weight in ([4.0, -1.0], [-2.0, -1.5]):
        linear = nn.Linear(2, 2).double()
        linear.weight.data = torch.tensor([weight, [0.0, 0.0]], dtype=torch.float64)
        linear.bias.data = torch.tensor([0.3, 0.0], dtype=torch.float64)
        members.append(linear)
    network = ensemble([Network(net, dtype=torch.float64) for net in members])
    at = Objective(network, data).at()
    seen = []

    def watched(losses, x: Tensor, index: Tensor, budget: Budget) -> Tensor:
        seen.append(ascent(losses, x)[1])
        return x

    attempt(at, Budget("0.1"), watched, cross_entropy, to_the_end=True)
    inputs = x.clone().requires_grad_()
    probability = sum(net(inputs).softmax(dim=1)[:, 0] for net in members) / 2
    (expected,) = torch.autograd.grad(-probability.log().sum(), inputs)
    torch.testing.assert_close(seen[0], expected, rtol=1e-12, atol=0)
    alone = [
        torch.autograd.grad(cross_entropy(net(inputs), data.y).sum(), inputs)[0].sign() for net in members
    ]
    assert not torch.equal(alone[0], alone[1])


def test_frozen_parameters_and_normalisation_are_part_of_a_member():
    frozen = nets.frozen()
    x = torch.rand(3, 4, dtype=torch.float64)
    networks = [Network(frozen, dtype=torch.float64), Network(nets.frozen(), dtype=torch.float64)]
    network = ensemble(networks)
    assert len(network) == sum(map(len, networks))
    expected = frozen.double()(x).softmax(dim=1)
    torch.testing.assert_close(network(network.parts(network.theta), x).exp(), expected.detach())
    with pytest.raises(InputError, match="at least 1 member"):
        ensemble([])


def test_ensembles_of_some_checkpoints_each_have_a_mean():
    several = [learned(seed)[0] for seed in range(4)]
    found = run(several, learned()[1], attacks="attack", ensemble=True, members=2)
    assert [(line.of, line.label) for line in found[4:]] == [
        ("mean", "mean(std) of 4 checkpoints"),
        ("ensemble", "ensemble 1 (2 members)"),
        ("ensemble", "ensemble 2 (2 members)"),
        ("mean", "mean(std) of 2 ensembles"),
    ]
    assert found[5].checkpoints == ["net0.pt", "net1.pt"]
    assert found[6].checkpoints == ["net2.pt", "net3.pt"]
    for mean, lines in ((found[4], found[:4]), (found[7], found[5:7])):
        values = [line.under["PGD-3"]["accuracy"] for line in lines]
        assert mean.under["PGD-3"]["accuracy"] == pytest.approx(np.mean(values))
        assert not any("ensembles" in remark or "above" in remark for remark in mean.remarks())


@pytest.mark.parametrize(
    ("members", "labels"),
    [
        (0, ["mean(std) of 2 checkpoints", "ensemble of 2"]),
        (
            1,
            [
                "mean(std) of 2 checkpoints",
                "ensemble 1 (1 member)",
                "ensemble 2 (1 member)",
                "mean(std) of 2 ensembles",
            ],
        ),
    ],
)
def test_the_checkpoints_of_an_ensemble_have_their_mean_too_at_each_budget(members, labels):
    several = [learned(seed)[0] for seed in range(2)]
    found = run(several, learned()[1], "0.05,0.1", attacks="attack", ensemble=True, members=members)
    assert [line.label for line in found] == ["net0", "net1", *labels] * 2


def test_a_mean_of_an_older_file_says_what_it_may_be_of():
    mean = a_line(of="mean", label="mean(std)")
    assert any("that of the ensembles where there are any" in remark for remark in mean.remarks())


# Lists of attacks.


@pytest.mark.parametrize(
    ("spec", "name", "loss"),
    [
        ("pgd:steps=100", "PGD-100", cross_entropy),
        ("pgd:steps=100,restarts=3", "PGD-100x3", cross_entropy),
        ("pgd-dlr", "PGD-DLR-20", dlr),
        ("pgd-margin:steps=7", "PGD-margin-7", margin),
        ("apgd-ce", "APGD-CE", cross_entropy),
        ("apgd", "APGD-CE", cross_entropy),
        ("apgd-dlr:steps=50,restarts=2", "APGD-DLR-50x2", dlr),
        ("apgd-margin", "APGD-margin", margin),
        ("square-margin", "Square", margin),
        ("square-margin:queries=300", "Square-300", margin),
        ("square", "Square-CE", cross_entropy),
        ("square-margin:share=0.5", "square:queries=5000,share=0.5 on margin", margin),
        ("fgsm", "fgsm", cross_entropy),
        ("liu2020:step=2/255", "liu2020:step=2/255", cross_entropy),
        ("attack", "PGD-3", cross_entropy),
    ],
)
def test_an_attack_has_the_name_that_papers_give_it(spec, name, loss):
    net, data = learned()
    found = module._planned(spec, clean(net, data).objective, 0)
    assert (found.name, found.loss) == (name, loss)


def test_attacks_that_differ_by_their_seed_alone_are_two_and_equal_ones_are_one():
    net, data = learned()
    (line,) = run([net], data, attacks="attack,pgd:steps=3,pgd:steps=3,seed=7,square-margin:queries=2")
    assert line.planned == ["PGD-3", "PGD-3, seed 7", "Square-2"]


def test_a_list_is_parted_where_an_attack_begins():
    assert module._parts("pgd:steps=3,restarts=2, square-margin:queries=9 ,apgd-ce,") == [
        "pgd:steps=3,restarts=2",
        "square-margin:queries=9",
        "apgd-ce",
    ]
    assert module._parts(" , ") == []


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"attacks": " , "}, "names no attack"),
        ({"attacks": "pgd-100"}, "a number of steps is an option, pgd:steps=100"),
        ({"attacks": "pdg"}, "attack 'pdg' is not known; there are apgd"),
        ({"attacks": "apgd-clr"}, "loss 'clr' is not known"),
        ({"attacks": "apgd:queries=3"}, "has no option 'queries'; it takes steps"),
        ({"attacks": "square:queries=0"}, "queries are at least 1"),
        ({"members": 2}, "give --ensemble as well"),
        ({"members": 2, "ensemble": True}, "3 checkpoints do not make ensembles of 2"),
        ({"members": -1, "ensemble": True}, "do not make ensembles"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_work(told, words):
    net, data = learned()
    with pytest.raises(InputError, match=words):
        run([net, net, net], data, **told)


def test_two_classes_have_a_margin_in_place_of_the_ratio():
    net, data = two_classes()
    points = [clean(net, data)]
    kept = Run("evaluate", {"notes": ["n"]})
    first = next(evaluate(points, task=Task([Budget("0.1")], kept, lambda path: points[0])))
    assert first[0].planned == ["PGD-3", "PGD-100", "APGD-CE", "APGD-margin", "Square"]
    assert any("stands in for apgd-dlr" in note for note in kept.provenance["notes"])
    with pytest.raises(InputError, match="compares 3 classes at least, and the model has 2"):
        run([net], data, attacks="apgd-dlr")


def test_numbers_to_predict_have_no_accuracy():
    data = Data.of(torch.rand(6, 4), torch.rand(6, 3), numbers=True)
    from landscape.losses.mse import mse

    with pytest.raises(InputError, match="numbers to predict have no classes"):
        run([nets.mlp()], data, loss=mse)


# AutoAttack.


class Theirs:
    """Stands for the package: it moves every input by eps, and leaves a mess."""

    made: list = []  # noqa: RUF012

    def __init__(self, model, *, norm, eps, version, attacks, seed, device):
        self.model, self.eps = model, eps
        self.apgd_targeted = self.fab = types.SimpleNamespace(n_target_classes=9)
        Theirs.made.append((norm, eps, version, attacks, seed))

    def run_standard_evaluation(self, x, y, *, batch_size):
        assert x.dtype == torch.float32
        torch.manual_seed(1)
        random.seed(1)
        sys.settrace(None)
        logits = self.model(x)
        logits[:] = -torch.inf  # as Square of the package does
        x = x.clone().requires_grad_()
        with torch.enable_grad():
            loss = nn.functional.cross_entropy(self.model(x), y)
        return (x + 1.1 * self.eps * torch.autograd.grad(loss, x)[0].sign()).detach(), y


@pytest.fixture
def theirs(monkeypatch):
    Theirs.made = []
    monkeypatch.setitem(sys.modules, "pyautoattack", types.SimpleNamespace(AutoAttack=Theirs))
    return Theirs


def test_autoattack_counts_inside_of_the_budget_and_leaves_no_trace(theirs):
    net, data = learned(classes=4)
    at, state, python = clean(net, data), torch.get_rng_state(), random.getstate()
    attack = registry.make("attack", "autoattack:only=apgd-t", seed=5)
    found = attempt(at, Budget("0.1"), attack, cross_entropy)
    assert torch.equal(found.broken, attempt(at, Budget("0.1"), FGSM(), cross_entropy).broken)
    assert theirs.made == [("Linf", 0.1, "custom", ["apgd-t"], 5)]
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == python
    assert found.gradient == pytest.approx(at.accuracy)
    (line,) = run([net], data, attacks="autoattack", full=True)
    assert math.isnan(line.under["autoattack:version=standard"]["loss"])
    assert any("the others of its batch" in remark for remark in line.remarks())


def test_autoattack_is_refused_where_it_cannot_be(monkeypatch):
    net, data = learned(classes=4)
    at, attack = clean(net, data), registry.make("attack", "autoattack")
    with pytest.raises(InputError, match="no inner maximiser; give it to `landscape evaluate --attacks`"):
        at.objective.under(Budget("0.1"), attack).at().value  # noqa: B018
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(InputError, match=r"pip install 'landscape\[attack\]'"):
        attempt(at, Budget("0.1"), attack, cross_entropy)
    monkeypatch.setitem(sys.modules, "pyautoattack", types.SimpleNamespace(AutoAttack=Theirs))
    with pytest.raises(InputError, match="compares 4 classes at least, and the model has 3"):
        attempt(clean(*learned()), Budget("0.1"), attack, cross_entropy)


@pytest.mark.parametrize(("classes", "words"), [(4, "pip install"), (3, "compares 4 classes at least")])
def test_that_autoattack_cannot_run_is_told_before_the_attacks_ahead_of_it(classes, words, monkeypatch):
    from landscape import robustness

    package = None if classes == 4 else types.SimpleNamespace(AutoAttack=Theirs)
    monkeypatch.setitem(sys.modules, "pyautoattack", package)
    monkeypatch.setattr(robustness, "attempt", None)
    with pytest.raises(InputError, match=words):
        run([learned(classes=classes)[0]], learned(classes=classes)[1], attacks="attack,autoattack")


@pytest.mark.slow
def test_the_package_itself_runs_behind_the_interface():
    pytest.importorskip("pyautoattack")
    net, data = learned(classes=5)
    at, state = clean(net, data), torch.get_rng_state()
    for only in ("apgd-ce", "apgd-dlr", "apgd-t", "fab-t"):
        attack = registry.make("attack", f"autoattack:only={only}")
        once, again = (attempt(at, Budget("0.1"), attack, cross_entropy) for _ in range(2))
        assert torch.equal(once.broken, again.broken)
        assert at.accuracy > 1 - once.broken.double().mean()
        own = attempt(at, Budget("0.1"), APGD(restarts=3), dlr)
        assert (once.broken != own.broken).sum() <= 2
    assert torch.equal(torch.get_rng_state(), state)


# Files, figures, commands.


def a_line(**fields) -> Evaluation:
    column = {"attack": "a", "maximised": "b", "accuracy": 0.5, "accuracy_stderr": 0.1}
    column |= {"so_far": 0.5, "so_far_stderr": 0.1, "loss": math.nan, "loss_stderr": math.nan}
    given = {
        "eps": 0.1,
        "budget": "0.1",
        "norm": "linf",
        "of": "checkpoint",
        "label": "a_$b",
        "checkpoints": ["a.pt"],
        "examples": 24,
        "loss_name": "cross_entropy",
        "planned": ["PGD-3"],
        "under": {"clean": column, "PGD-3": column, "worst case": column},
        "zero_loss": 0.0,
        "seconds": 1.0,
        "broken": np.zeros((2, 24), dtype=bool),
    }
    return Evaluation(**{**given, **fields})


def test_the_figure_shows_each_accuracy_with_its_error():
    mean = a_line(of="mean", label="mean(std) of 2 checkpoints")
    for found in mean.under.values():
        found["accuracy_std"] = 0.2
    for results in (
        [a_line()],
        [a_line(), a_line(label="b"), mean],
        [a_line(), a_line(budget="0.2", eps=0.2)],
    ):
        (axes,) = plot.figure([Run("evaluate", {"checkpoint": {"path": "a.pt"}}, results, True)]).axes
        assert len(axes.containers) == len(results)
        for container, result in zip(axes.containers, results, strict=True):
            assert list(container.lines[0].get_ydata()) == [50.0] * 3
            (bars,) = container.lines[2]
            error = 20 if result.of == "mean" else 10
            assert np.ptp(bars.get_segments()[0][:, 1]) == pytest.approx(2 * error)
        assert [t.get_text() for t in axes.get_xticklabels()] == ["clean", "PGD-3", "worst case"]


def test_the_one_budget_of_several_checkpoints_is_told_and_marks_at_0_are_whole():
    for norm, told in (("linf", r"$\epsilon$ = 0.1"), ("l2", r"$\ell_2$, $\epsilon$ = 0.1")):
        results = [a_line(norm=norm), a_line(label="b", norm=norm)]
        for result in results:
            result.under["worst case"] = {**result.under["clean"], "accuracy": 0.0}
        (axes,) = plot.figure([Run("evaluate", {"checkpoint": {"path": "a.pt"}}, results, True)]).axes
        assert axes.get_ylabel() == f"accuracy (%), {told}"
        assert axes.get_ylim()[0] == 0
        assert not any(container.lines[0].get_clip_on() for container in axes.containers)
        assert [text.get_text() for text in axes.get_legend().get_texts()] == [r"a_\$b", "b"]
    runs = [
        Run("evaluate", {"checkpoint": {"path": "a.pt"}}, [a_line(norm=n), a_line(label="b", norm=n)], True)
        for n in ("linf", "l2")
    ]
    for axes, told in zip(plot.figure(runs).axes, (r"$\epsilon$", r"$\ell_2$, $\epsilon$"), strict=True):
        assert axes.get_legend().get_texts()[1].get_text() == f"b, {told} = 0.1"


def test_tables_are_those_of_markdown_and_latex():
    rows = [["a", "b|c", "d"], ["x_1", "50 ± 1 %", "1(2)"]]
    assert markdown(rows) == "| a | b\\|c | d |\n| --- | ---: | ---: |\n| x_1 | 50 ± 1 % | 1(2) |"
    assert latex(rows).splitlines() == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"a & b|c & d \\",
        r"\midrule",
        r"x\_1 & 50 $\pm$ 1 \% & 1(2) \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


LIST = "attack,apgd-dlr:steps=3,square-margin:queries=5"


def test_the_command_gives_a_table_json_a_file_and_a_figure(run, place, capsys):
    code, out, err = run(
        f"evaluate {{place}}/a.pt {{place}}/b.pt --ensemble --eps 0.05,0.1 --attacks {LIST} --json "
        f"-o {place}/e.h5 --figure {place}/e.png"
    )
    assert (code, err) == (0, "")
    told = json.loads(out)
    labels = ["a", "b", "mean(std) of 2 checkpoints", "ensemble of 2"]
    assert [(r["budget"], r["label"]) for r in told["results"]] == [
        (eps, label) for eps in ("0.05", "0.1") for label in labels
    ]
    for result in told["results"]:
        assert list(result["under"]) == ["clean", "PGD-2", "APGD-DLR-3", "Square-5", "worst case"]
        assert result["under"]["APGD-DLR-3"]["loss"] is None
        assert "broken" not in result
        assert result["under"]["worst case"]["gradient"] > 2
    kept = load(place / "e.h5")
    assert kept.complete
    assert kept.plain()["results"] == told["results"]
    assert kept.results[0].broken.shape == (4, 40)
    shares = 1 - kept.results[0].broken.mean(axis=1)
    assert shares[1] == pytest.approx(kept.results[0].under["PGD-2"]["accuracy"])
    assert (place / "e.png").stat().st_size > 5000
    for layout, words in (
        ("text", "eps 0.05\ncheckpoint "),
        ("markdown", "**eps 0.05**\n\n| checkpoint | clean | PGD-2 |"),
        ("latex", "% eps 0.05\n\n\\begin{tabular}{lrrrrrrr}\n\\toprule\ncheckpoint & clean & PGD-2 &"),
    ):
        assert run(f"show {place}/e.h5 --format {layout} --json --model")[0] == 2
        from landscape import cli

        assert cli.run(["show", f"{place}/e.h5", "--format", layout]) == 0
        shown = capsys.readouterr().out
        assert words in shown
        assert "upper bound" in shown


def test_a_table_for_a_paper_has_nothing_else_but_comments(run):
    code, out, _ = run(f"evaluate {{place}}/a.pt --eps 0.1 --attacks {LIST} --format latex")
    assert code == 0
    begin, end = out.index(r"\begin{tabular}"), out.index(r"\end{tabular}")
    around = (out[:begin] + out[end:]).splitlines()
    assert all(line.startswith("%") or line in ("", r"\end{tabular}") for line in around)


@pytest.mark.parametrize(
    ("layout", "last"),
    [("text", "wrote {}"), ("latex", "% wrote {}"), ("markdown", "<!-- wrote {} -->")],
)
def test_that_a_figure_was_written_is_a_comment_in_a_table_for_a_paper(layout, last, run, place):
    figure = f"{place}/p.png"
    words = f"evaluate {{place}}/a.pt --eps 0.1 --attacks attack --format {layout} --figure {figure}"
    code, out, _ = run(words)
    assert code == 0
    assert out.splitlines()[-1] == last.format(figure)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("evaluate {place}/a.pt --eps 0.1 --attacks pgd-20", "pgd:steps=20"),
        ("evaluate {place}/a.pt --eps 0.1 --members 2", "give --ensemble as well"),
        ("evaluate {place}/a.pt --eps 0.1 --format word", "not one of 'text', 'markdown', 'latex'"),
        ("evaluate --eps 0.1", "Missing argument"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, told, run):
    code, out, err = run(words)
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert told in err


def test_what_is_interrupted_keeps_the_attacks_that_were_finished(run, place, monkeypatch):
    from landscape import cli, robustness

    whole, calls = robustness.attempt, []

    def fourth_is_interrupted(*given, **told):
        calls.append(given)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return whole(*given, **told)

    monkeypatch.setattr(robustness, "attempt", fourth_is_interrupted)
    code, out, _ = run(f"evaluate {{place}}/a.pt {{place}}/b.pt --eps 0.1 --attacks {LIST} -o {place}/e.h5")
    assert code == cli.INTERRUPTED
    assert "INCOMPLETE: PGD-2, APGD-DLR-3, Square-5 did not run on b" in out
    assert "INCOMPLETE: the run ended after 2 results, within budget 1 of its 1 budgets" in out
    kept = load(place / "e.h5")
    assert not kept.complete
    assert [list(r.under) for r in kept.results] == [
        ["clean", "PGD-2", "APGD-DLR-3", "Square-5", "worst case"],
        ["clean"],
    ]


def test_progress_names_the_checkpoint_and_the_attack(run, monkeypatch):
    from landscape import runs

    told = []
    found = runs.measure
    monkeypatch.setattr(
        runs, "measure", lambda *a, **k: found(*a, **{**k, "watch": lambda *w: told.append(w)})
    )
    assert run(f"evaluate {{place}}/a.pt --eps 0.1 --attacks {LIST}")[0] == 0
    stages = list(dict.fromkeys(stage for stage, *_ in told))
    assert stages == [f"eps 0.1: a: {name}" for name in ("PGD-2", "APGD-DLR-3", "Square-5")]
    for stage in stages:
        done = [now for name, now, _ in told if name == stage]
        assert done == sorted(done)
        assert done[-1] == next(of for name, _, of in told if name == stage)


def test_the_standard_list_is_that_of_the_paper():
    net, data = learned()
    plan = [module._planned(part, clean(net, data).objective, 0) for part in module._parts(STANDARD)]
    assert [each.name for each in plan] == ["PGD-3", "PGD-100", "APGD-CE", "APGD-DLR", "Square"]
    assert plan[-1].attack.queries == 5000
