"""Budget and learning rate over a training, against closed forms and torch's own schedulers."""

import math
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise

import pytest
import torch

from landscape.budget import Budget
from landscape.errors import InputError
from landscape.schedules import CONSTANT, EpsSchedule, Moment, schedule

FORMULAS = {
    "linear": lambda d, low, high: (high - low) * d + low,
    "cosine": lambda d, low, high: 0.5 * (1 - math.cos(math.pi * d)) * (high - low) + low,
}


def every(epochs, batches, periods=()):
    """(epoch, batch, d in epochs, D) of every mini-batch, counted by hand."""
    bounds = periods or (0, epochs)
    for start, stop in pairwise(bounds):
        for epoch in range(start, stop):
            for batch in range(batches):
                yield epoch + 1, batch, epoch - start + batch / batches, stop - start


@pytest.mark.parametrize("per", ["epoch", "batch"])
@pytest.mark.parametrize("periods", [(), (0, 12), (0, 5, 9, 12)])
@pytest.mark.parametrize(
    ("shape", "target", "low", "high"),
    [
        ("linear", "0.4", "0", "0.8"),
        ("linear", "0.4", "-0.2", "0.4"),
        ("linear", "8/255", "2/255", "16/255"),
        ("cosine", "0.4", "0", "0.6"),
        ("cosine", "0.4", "-0.1", "0.6"),
        ("cosine", "8/255", "8/255", "16/255"),
    ],
)
def test_the_budget_follows_its_formula_at_every_epoch_and_batch(shape, target, low, high, periods, per):
    plan = schedule(shape, eps_min=low, eps_max=high, periods=":".join(map(str, periods)), per=per)
    plan.check(Budget(target), 12)
    wide, least, most = (float(Fraction(n)) for n in (target, low, high))
    seen = []
    for epoch, batch, d, length in every(12, 7, periods):
        expected = FORMULAS[shape]((d if per == "batch" else math.floor(d)) / length, least, most)
        found = plan.eps.at(Fraction(target), plan.moment(12, epoch, batch, 7))
        assert float(found) == pytest.approx(min(wide, max(0.0, expected)), rel=1e-11, abs=1e-15)
        assert (found == Fraction(target)) == (expected >= wide - 1e-15)  # where it is clipped, exactly
        seen.append(found)
    assert len(seen) == 12 * 7


@pytest.mark.parametrize(
    ("shape", "ratio", "reached"),
    [("cosine", 1.5, math.acos(-1 / 3) / math.pi), ("linear", 2, 0.5), ("cosine", 2, 0.5)],
)
def test_the_target_is_reached_where_the_paper_s_settings_reach_it(shape, ratio, reached):
    found = EpsSchedule(shape=shape, high=Fraction("0.4") * Fraction(ratio))
    at = [float(found.at(Fraction("0.4"), Moment(Fraction(d), Fraction(d + 1), 1000))) for d in range(1000)]
    assert at[0] == 0
    assert at == sorted(at)
    assert next(d for d, eps in enumerate(at) if eps == 0.4) == math.ceil(1000 * reached)
    half = EpsSchedule(shape=shape).at(Fraction("0.4"), Moment(Fraction(500), Fraction(501), 1000))
    assert half == Fraction("0.4")  # by default in the middle


TORCH = {
    "constant": lambda o, D: torch.optim.lr_scheduler.ConstantLR(o, 1.0),
    "linear": lambda o, D: torch.optim.lr_scheduler.PolynomialLR(o, D, power=1.0),
    "cosine": lambda o, D: torch.optim.lr_scheduler.CosineAnnealingLR(o, D),
    "step": lambda o, D: torch.optim.lr_scheduler.MultiStepLR(o, [D // 2, 3 * D // 4]),
}


@pytest.mark.parametrize("shape", TORCH)
@pytest.mark.parametrize("per", ["epoch", "batch"])
@pytest.mark.parametrize("periods", [(0, 8), (0, 8, 12, 20)])
def test_the_learning_rate_is_that_of_torch_s_scheduler_in_every_period(shape, per, periods):
    steps = "50%,75%" if shape == "step" else ""
    text = ":".join(map(str, periods))
    plan = schedule(lr=shape, lr_steps=steps, periods=text, per=per)
    plan.check(Budget(0), periods[-1])
    for start, stop in pairwise(periods):
        batches = 5 if per == "batch" else 1
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
        theirs = TORCH[shape](optimizer, (stop - start) * batches)
        for step in range((stop - start) * batches):
            moment = plan.moment(periods[-1], start + 1 + step // batches, step % batches, batches)
            ours = plan.lr.at(0.3, moment)
            assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), step
            optimizer.step()
            theirs.step()


def test_steps_are_epochs_of_the_period_or_shares_of_it():
    plan = schedule(lr="step", lr_steps="2, 75%", periods="0:4:12")
    rates = [plan.lr.at(1.0, plan.moment(12, epoch, 0, 1)) for epoch in range(1, 13)]
    assert rates == [1, 1, 0.1, 0.01, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01]


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
def test_warm_up_rises_along_a_line_in_each_period_and_the_rest_of_it_is_the_decay(shape):
    plan = schedule(lr=shape, warmup="4", periods="0:10:20")
    rest = schedule(lr=shape)
    for start in (0, 10):
        rates = [plan.lr.at(1.0, plan.moment(20, start + d + 1, 0, 1)) for d in range(10)]
        assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
        assert rates[4:] == [rest.lr.at(1.0, rest.moment(6, d + 1, 0, 1)) for d in range(6)]
    by_batch = schedule(warmup="0.5", per="batch")
    rates = [by_batch.lr.at(1.0, by_batch.moment(2, 1, batch, 8)) for batch in range(8)]
    assert rates == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]


def test_a_period_is_a_training_of_its_own():
    plan, alone = (schedule("cosine", eps_max="0.6", lr="cosine", periods=p) for p in ("0:7:12", ""))
    for epoch in range(8, 13):
        one, other = plan.moment(12, epoch, 2, 9), alone.moment(5, epoch - 7, 2, 9)
        assert one == other
    assert plan.bounds(12) == (0, 7, 12)
    assert alone.bounds(5) == (0, 5)


def test_nothing_changes_by_default():
    for epoch, batch, *_ in every(3, 4):
        moment = CONSTANT.moment(3, epoch, batch, 4)
        assert CONSTANT.eps.at(Fraction("8/255"), moment) == Fraction("8/255")
        assert CONSTANT.lr.at(1e-3, moment) == 1e-3
    assert CONSTANT.told(Budget("0.1")) == {}
    assert schedule("cosine", lr="step", lr_steps="50%", warmup="1", periods="0:5", per="batch").told(
        Budget("8/255")
    ) == {
        "eps_min": "0",
        "eps_max": "16/255",
        "lr_schedule": "step",
        "lr_steps": "50%",
        "warmup": "1",
        "periods": "0:5",
        "per": "batch",
    }


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"eps": "exponential"}, "'exponential' is not one of constant, linear, cosine"),
        ({"lr": "exponential"}, "'exponential' is not one of constant, linear, cosine, step"),
        ({"per": "week"}, "'week' is not one of epoch, batch"),
        ({"eps_max": "0.6"}, "give --schedule linear or cosine too"),
        ({"eps_min": "0.1"}, "give --schedule linear or cosine too"),
        ({"eps": "cosine", "eps_max": "a"}, "not a number"),
        ({"eps": "cosine", "eps_max": "16"}, "for 16 grey levels of 255 write 16/255"),
        ({"eps": "linear", "eps_max": "0.3"}, "is below eps = 0.4, which so would never be reached"),
        ({"eps": "linear", "eps_min": "0.5"}, "eps_min = 0.5 is above eps = 0.4"),
        ({"lr": "step"}, "give --lr-schedule step and --lr-steps"),
        ({"lr_steps": "3"}, "give --lr-schedule step and --lr-steps"),
        ({"lr": "step", "lr_steps": "half"}, "'half' is neither epochs"),
        ({"lr": "step", "lr_steps": "10"}, "10 is outside of every period, the longest has 10 epochs"),
        ({"lr": "step", "lr_steps": "0"}, "0 is outside of every period"),
        ({"lr": "step", "lr_steps": "100%"}, "100% is outside of every period"),
        ({"warmup": "-1"}, "warmup = -1 is negative"),
        ({"warmup": "soon"}, "'soon' is not a number of epochs"),
        ({"warmup": "10"}, "would fill a period of 10"),
        ({"warmup": "4", "periods": "0:6:10"}, "would fill a period of 4"),
        ({"periods": "5:10"}, "give 0 and the epoch that each period ends"),
        ({"periods": "0:5:5:10"}, "give 0 and the epoch that each period ends"),
        ({"periods": "0"}, "give 0 and the epoch that each period ends"),
        ({"periods": "0:ten"}, "whole numbers of epochs, such as 0:50:75:100"),
        ({"periods": "0:5"}, "end after 5 epochs, the training after 10"),
    ],
)
def test_what_makes_no_schedule_is_refused_in_words(given, words):
    with pytest.raises(InputError, match=words):
        schedule(**given).check(Budget("0.4"), 10)
    with pytest.raises(InputError, match="eps = 0 has no schedule"):
        schedule("cosine").check(Budget(0), 10)
    schedule("cosine", eps_max="3").check(Budget(2, "l2"), 10)


def test_no_torch_is_imported_for_a_schedule():
    code = "import sys, landscape.schedules; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
