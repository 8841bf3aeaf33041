"""A surface cell by cell: the values, what they do not depend on, and what survives a kill."""

import multiprocessing
import signal
from contextlib import suppress

import numpy as np
import pytest
import torch
from nets import CLASSES, Net, cnn, data, frozen, mlp, point, tied, trained
from torch import nn

from landscape import eigsh, registry
from landscape.attacks.linear import Linear
from landscape.attacks.pgd import PGD
from landscape.axes import Axis, to_checkpoint
from landscape.axes import axes as axes_of
from landscape.budget import Budget
from landscape.data import Data
from landscape.datasets import source
from landscape.errors import InputError, LandscapeError
from landscape.surfaces.scan import Scan, surface
from landscape.surfaces.settings import Settings

EPS = [Budget(0), Budget("0.05"), Budget("0.1")]
ARRAYS = ("loss", "loss_stderr", "accuracy", "zero_loss", "groups", "gap", "gap_stderr", "redone", "done")


def axes(p, count=2, seed=0, scale=0.3):
    rng = torch.Generator().manual_seed(seed)
    vectors = [torch.randn(len(p.theta), generator=rng, dtype=torch.float64) * scale for _ in range(count)]
    return [Axis(f"v{k}", "file", v, "1") for k, v in enumerate(vectors)]


def surfaces(p, x, y, budgets=EPS, workers=1, journal=None, resume=True, along=None, **settings):
    along = along or axes(p, 1 if y is None else 2)
    return list(Scan(p, along, x, y, budgets, Settings(**settings), workers).surfaces(journal, resume))[-1]


def same(first, second, names=ARRAYS):
    for a, b in zip(first, second, strict=True):
        assert a.passes == b.passes
        for name in names:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def attacked(n=24, module=None, **told):
    return point(module or mlp(), data(n, 4), attack=PGD(steps=5), **told)


def test_every_cell_is_evaluated_at_its_own_weights_rows_and_columns_in_their_places():
    seen = {}

    def record(m, x):
        value = (m.w * m.c).sum()
        seen[value.item()] = m.w.detach().clone()
        return value.expand(len(x), 1) + 0 * x[:, :1]

    net = Net(record, w=nn.Parameter(torch.linspace(1, 2, 7).double()))
    net.register_buffer("c", torch.linspace(-1, 3, 7).double())
    p = point(net, data(4, 2, classes=1), loss=lambda logits, y: logits[:, 0])
    along, x, y = axes(p), np.linspace(-1, 1, 5), np.linspace(-2, 1, 4)
    (found,) = surfaces(p, x, y, [Budget(0)], along=along)
    for i, b in enumerate(y):
        for j, a in enumerate(x):
            there = seen[found.loss[i, j]]
            wanted = p.theta + a * along[0].vector + b * along[1].vector
            assert (there - wanted).abs().max() <= 4 * np.spacing(p.theta.abs().max().item())
    assert found.loss.shape == (4, 5)


def test_a_quadratic_loss_is_its_closed_form_and_so_are_curvature_and_rise():
    rng = torch.Generator().manual_seed(3)
    half = torch.randn(6, 6, generator=rng, dtype=torch.float64)
    matrix = half @ half.T
    net = Net(lambda m, x: 0.5 * m.w @ matrix @ m.w + 0 * x[:, :1], w=nn.Parameter(torch.zeros(6).double()))
    p = point(net, data(5, 2, classes=1), loss=lambda logits, y: logits[:, 0])
    u, v = axes(p)
    x, y = np.linspace(-1, 1, 7), np.linspace(-1, 1, 5)
    (found,) = surfaces(p, x, y, [Budget(0)], along=[u, v])
    for i, b in enumerate(y):
        for j, a in enumerate(x):
            w = a * u.vector + b * v.vector
            assert found.loss[i, j] == pytest.approx((0.5 * w @ matrix @ w).item(), rel=1e-12, abs=1e-15)
    for name, axis in (("x", u), ("y", v)):
        d = axis.vector / axis.vector.norm()
        assert found.numbers[f"curvature_{name}"] == pytest.approx((d @ matrix @ d).item(), rel=1e-8)
        assert found.numbers[f"ratio_{name}"] == pytest.approx(1, rel=1e-8)


@pytest.mark.parametrize("adversary", ["reattack", "frozen"])
def test_the_centre_is_the_point_itself_bit_for_bit(adversary):
    p = point(cnn(), data(40, 2, 6, 6), attack=PGD(steps=5), dtype=torch.float32)
    x = np.linspace(-1, 1, 3)
    for found, budget in zip(surfaces(p, x, x, EPS, adversary=adversary), EPS, strict=True):
        there = p.objective.under(budget).at(p.theta)
        assert found.loss[1, 1] == there.value == found.centre_loss
        assert found.accuracy[1, 1] == there.accuracy
        assert found.loss_stderr[1, 1] == there.value_stderr


def test_the_ends_of_a_line_are_the_two_checkpoints_own_evaluations_bit_for_bit():
    p = point(trained(mlp()), data(30, 4), dtype=torch.float32)
    q = p.objective.at(torch.randn(len(p.theta), generator=torch.Generator().manual_seed(5)))
    way = Axis("q", "checkpoint", q.theta.double() - p.theta.double(), "1", end=q.theta)
    x = np.array([-0.5, 0.0, 0.5, 1.0, 1.5])
    (found,) = surfaces(p, x, None, [Budget(0)], along=[way])
    assert found.loss[1] == p.value
    assert found.loss[3] == q.value
    assert found.y is None
    assert found.numbers["barrier"] == pytest.approx(max(0, found.loss[2] - (p.value + q.value) / 2))


def test_frozen_cells_are_the_losses_of_the_points_own_perturbed_data():
    p = attacked()
    along, x = axes(p), np.array([-1.0, 0.0, 0.5])
    found = surfaces(p, x, x, EPS, adversary="both", along=along)
    assert [(s.budget, s.adversary) for s in found] == [
        ("0", "none"),
        *(("0.05", a) for a in ("reattack", "frozen")),
        *(("0.1", a) for a in ("reattack", "frozen")),
    ]
    frozen = p.objective.under(Budget("0.1")).at(p.theta).frozen()
    for i, b in enumerate(x):
        for j, a in enumerate(x):
            there = (frozen + (a * along[0].vector + b * along[1].vector)).value
            assert found[4].loss[i, j] == pytest.approx(there, rel=1e-12)
            assert found[3].loss[i, j] >= found[0].loss[i, j]


def test_a_linear_model_reaches_the_exact_adversarial_loss_in_every_cell():
    rng = torch.Generator().manual_seed(1)
    net = nn.Linear(4, 2)
    net.weight.data, net.bias.data = torch.randn(2, 4, generator=rng), torch.randn(2, generator=rng)
    examples = data(20, 4, classes=2)
    p = point(net, examples, attack=PGD(steps=10))
    along, x = axes(p, scale=0.5), np.linspace(-1, 1, 5)
    found = surfaces(p, x, x, EPS, along=along)
    exact = surfaces(
        point(net, examples, attack=Linear()), x, x, EPS, along=along
    )  # another attack than PGD is run afresh in each cell
    for warm, cold in zip(found, exact, strict=True):
        np.testing.assert_allclose(warm.loss, cold.loss, rtol=1e-6)
    for i, b in enumerate(x):
        for j, a in enumerate(x):
            parts = p.objective.network.parts(p.theta + a * along[0].vector + b * along[1].vector)
            w, bias = (parts[0][0] - parts[0][1]), parts[1][0] - parts[1][1]
            sign = 1 - 2 * examples.y.double()
            # Each pixel goes to its own end of the budget, which the box cuts off.
            low = (examples.x - 0.1).clamp(0, 1) * (sign[:, None] * w > 0)
            high = (examples.x + 0.1).clamp(0, 1) * (sign[:, None] * w <= 0)
            margin = sign * ((low + high) @ w + bias)
            assert exact[2].loss[i, j] == pytest.approx(torch.log1p((-margin).exp()).mean().item(), rel=1e-9)


def test_the_curvature_along_the_top_eigenvector_of_a_smooth_net_is_the_eigenvalue_within_its_error():
    p = point(mlp(nn.Tanh, width=8), data(60, 4), budget=Budget("0.05"), attack=PGD(steps=10))
    found = eigsh(p.hessian, k=1)
    top = found.eigenvalues[0].item()
    along = [Axis("top", "eigenvector", found.vectors[:, 0], "1")]
    x = np.linspace(-0.3, 0.3, 13)
    sheets = surfaces(p, x, None, [Budget("0.05")], along=along, adversary="frozen")
    (told,) = (sheet.numbers for sheet in sheets)
    assert told["hessian_x"] == pytest.approx(top, rel=1e-6)
    assert abs(told["curvature_x"] - top) <= 2 * told["curvature_x_misfit"] + 1e-6
    assert told["ratio_x"] == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_a_trained_resnet_with_batchnorm_has_a_finite_loss_all_over_the_plane():
    torch.manual_seed(0)
    net, some = registry.make("model", "resnet18:width=1"), source.load("fashion-mini", examples=64)
    x = nn.functional.pad(some.x, (2, 2, 2, 2)).expand(-1, 3, -1, -1).float()
    x = x / 255 if some.x.dtype == torch.uint8 else x
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(15):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net.train()(x), some.y).backward()
        optimizer.step()
    p = point(net, Data.of(x, some.y, classes=10), dtype=torch.float32, attack=PGD(steps=2))
    along = axes_of(p, "filter", 2, seed=0, beside=lambda path: p)
    for found in surfaces(p, np.linspace(-1, 1, 3), np.linspace(-1, 1, 3), EPS[:2], along=along):
        assert np.isfinite(found.loss).all()
        assert not any("not finite" in remark for remark in found.remarks())


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_changes_no_bit(workers):
    x, y = np.linspace(-1, 1, 5), np.linspace(-1, 1, 4)
    p = attacked(dtype=torch.float32)
    same(surfaces(p, x, y, adversary="both"), surfaces(p, x, y, adversary="both", workers=workers))


def test_the_order_of_the_cells_changes_no_bit(monkeypatch):
    x = np.linspace(-1, 1, 5)
    p = attacked()
    forwards = surfaces(p, x, x)
    rng, drawn = np.random.default_rng(0), []

    def by_lot(waiting):
        drawn.append(int(rng.integers(len(waiting))))
        return waiting.pop(drawn[-1])

    monkeypatch.setattr("landscape.surfaces.scan._taken", by_lot)
    same(forwards, surfaces(p, x, x))
    assert len(set(drawn)) > 2


def test_a_smaller_batch_agrees_to_rounding():
    x = np.linspace(-1, 1, 3)
    whole, parts = (surfaces(attacked(batch_size=b), x, x) for b in (128, 7))
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a.loss, b.loss, rtol=1e-9)


def test_a_budget_among_others_has_the_loss_that_it_has_alone_or_a_higher_one():
    x = np.linspace(-1, 1, 3)
    p = attacked(n=60)
    many, alone = surfaces(p, x, x)[2], surfaces(p, x, x, [Budget("0.1")])[0]
    assert (many.loss >= alone.loss * (1 - 5e-3)).all()


@pytest.mark.parametrize(("nx", "ny"), [(1, 1), (1, 4), (5, 1), (2, 3)])
def test_thin_grids_and_single_cells_are_measured(nx, ny):
    x = np.zeros(1) if nx == 1 else np.linspace(-1, 1, nx)
    y = np.zeros(1) if ny == 1 else np.linspace(0.5, 1, ny)
    for found in surfaces(attacked(), x, y):
        assert found.loss.shape == (ny, nx)
        assert np.isfinite(found.loss).all()
        assert found.done.all()


def test_a_loss_that_is_not_finite_is_kept_and_counted():
    net = Net(lambda m, x: (x @ m.w).sqrt()[:, None].expand(-1, CLASSES) * 1.0, w=nn.Parameter(torch.ones(4)))
    p = point(net, data(6, 4))
    along = [Axis("v", "file", -torch.ones(len(p.theta)).double(), "1")]
    (found,) = surfaces(p, np.linspace(0, 2, 5), None, [Budget(0)], along=along)
    assert np.isfinite(found.loss[0])
    assert np.isnan(found.loss[3:]).all()
    assert found.done.all()
    assert any("not finite" in remark for remark in found.remarks())


def test_module_buffers_flags_and_random_state_are_as_before():
    module = cnn().train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    p = point(module, data(20, 2, 6, 6), attack=PGD(steps=3))
    own = {k: v.clone() for k, v in p.objective.network.module.state_dict().items()}
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    threads = torch.get_num_threads()
    surfaces(p, np.linspace(-1, 1, 3), None, EPS, bn="recompute")
    surfaces(p, np.linspace(-1, 1, 3), None, EPS, workers=2)
    assert module.training
    assert all(q.requires_grad and q.grad is None for q in module.parameters())
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert all(torch.equal(own[k], v) for k, v in p.objective.network.module.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()  # noqa: NPY002
    assert threads == torch.get_num_threads()


def test_batchnorm_is_estimated_anew_in_each_cell_if_asked_for():
    p = point(cnn(), data(50, 2, 6, 6), attack=PGD(steps=3))
    x = np.linspace(-1, 1, 3)
    frozen, anew = (surfaces(p, x, None, [Budget(0)], bn=bn)[0] for bn in ("frozen", "recompute"))
    assert not np.allclose(frozen.loss, anew.loss)
    # In one batch the recomputed statistics are those of the batch itself, but for the unbiased variance.
    module = cnn().double().train()
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = 1.0
    module(p.objective.data.x)
    module.eval()
    with torch.no_grad():
        loss = nn.functional.cross_entropy(module(p.objective.data.x), p.objective.data.y)
    assert anew.loss[1] == pytest.approx(loss.item(), rel=1e-10)


def test_checked_cells_tell_the_gap_to_a_stronger_attack_and_weak_ones_are_attacked_further(monkeypatch):
    p = attacked(n=40)
    x = np.linspace(-1, 1, 9)
    weak = surfaces(p, x, x, EPS, steps_warm=1)[2]
    strong = surfaces(p, x, x, EPS, steps_warm=8)[2]
    for found in (weak, strong):
        checked = np.isfinite(found.gap)
        assert found.cells_checked == checked.sum()
        assert round(0.05 * 81) - checked.sum() in (0, 1)  # θ's own cell is told apart
        assert (found.gap[checked] >= 0).all()
    assert strong.inner_gap <= weak.inner_gap + 1e-3
    assert not weak.cells_redone
    monkeypatch.setattr("landscape.surfaces.at.TOLERANCE", 1e-4)
    further = surfaces(p, x, x, EPS, steps_warm=1)[2]
    assert further.redone.any()
    assert (further.loss[further.redone] > weak.loss[further.redone]).all()


@pytest.mark.parametrize("model", ["lenet:width=2", "lenet5"])
def test_timings_do_not_decide_what_comes_out(model, monkeypatch):
    p = point(registry.make("model", model), data(150, 1, 28, 28), attack=PGD(steps=2), dtype=torch.float32)
    x, chosen, found = np.array([-0.5, 0.5]), [], []
    for fastest in (128, 64, 32):

        def seconds(o, x, y, batch, *rest, fastest=fastest):
            return 0.5 if batch == fastest else 1.0

        monkeypatch.setattr("landscape.surfaces.quick._seconds", seconds)
        scan = Scan(p, axes(p), x, x, EPS, Settings(), 1)
        chosen.append(scan.tuned.batch)
        found.append(list(scan.surfaces())[-1])
    assert {128, 64} <= set(chosen)
    for other in found[1:]:
        same(found[0], other)


def test_without_batchnorm_there_is_nothing_to_recompute():
    p, x = attacked(), np.linspace(-1, 1, 3)
    frozen, anew = (surfaces(p, x, x, bn=bn) for bn in ("frozen", "recompute"))
    same(frozen, anew)
    assert anew[2].loss[1, 1] == p.objective.but(budget=EPS[2]).at(p.theta).value


def test_a_check_under_many_budgets_costs_no_more_than_under_two(monkeypatch):
    asked = []

    def reference(losses, x, index, budget):
        asked.append(len(x))
        return x

    monkeypatch.setattr("landscape.surfaces.at.REFERENCE", reference)
    p = attacked(n=640)
    for count, examples in ((1, 40), (2, 40), (4, 20), (20, 8)):
        surfaces(p, np.array([0.1, 0.2]), None, [Budget(f"{k + 1}/255") for k in range(count)])
        assert asked == [examples] * count
        asked.clear()


def test_half_precision_in_the_attack_changes_the_loss_by_less_than_a_per_cent():
    p = point(cnn(), data(60, 2, 6, 6), attack=PGD(steps=10), dtype=torch.float32)
    x = np.linspace(-1, 1, 3)
    half, full = (surfaces(p, x, x, EPS, attack_dtype=d) for d in ("bfloat16", "full"))
    np.testing.assert_array_equal(half[0].loss, full[0].loss)  # no attack, no half precision
    for a, b in zip(half[1:], full[1:], strict=True):
        np.testing.assert_allclose(a.loss, b.loss, rtol=1e-2)


def test_cells_that_a_spline_predicts_are_interpolated_and_marked():
    p = attacked(n=30)
    x = np.linspace(-1, 1, 25)
    whole = surfaces(p, x, x, [Budget(0)])[0]
    some = surfaces(p, x, x, [Budget(0)], refine=0.02)[0]
    assert some.done.all()
    assert 0.3 < some.interpolated.mean() < 0.95
    np.testing.assert_array_equal(some.loss[~some.interpolated], whole.loss[~some.interpolated])
    off = np.sqrt(np.mean((some.loss - whole.loss)[some.interpolated] ** 2))
    assert off <= 0.02 * np.ptp(whole.loss)
    assert off <= 3 * some.interpolation_error
    none = surfaces(p, x, x, [Budget(0)], refine=1e-12)[0]
    assert not none.interpolated.any()
    np.testing.assert_array_equal(none.loss, whole.loss)


def to_file(journal, out, workers):
    """A scan in a process of its own, which leaves its arrays behind."""
    p, x = attacked(n=200, dtype=torch.float32), np.linspace(-1, 1, 15)
    found = surfaces(p, x, x, workers=workers, journal=journal, adversary="both")
    np.savez(out, **{f"{i}{name}": getattr(s, name) for i, s in enumerate(found) for name in ARRAYS})


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_scan_that_is_killed_again_and_again_ends_as_one_that_never_was(tmp_path, workers):
    fork = multiprocessing.get_context("fork")
    whole, killed = tmp_path / "whole.npz", tmp_path / "killed.npz"
    to_file(tmp_path / "whole.journal", whole, 1)
    rng, kills = np.random.default_rng(workers), 0
    while not killed.exists():
        process = fork.Process(target=to_file, args=(tmp_path / "killed.journal", killed, workers))
        process.start()
        if kills < 25:
            process.join(rng.uniform(0, 0.2))
            process.kill()
            kills += 1
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
    assert kills >= 10
    with np.load(whole) as first, np.load(killed) as second:
        for name in first.files:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    assert not list(tmp_path.glob("*.journal"))
    assert not list(tmp_path.glob("*.cells"))


def test_a_resumed_scan_measures_only_what_is_missing_and_ends_the_same(tmp_path):
    p, x = attacked(), np.linspace(-1, 1, 5)
    whole = surfaces(p, x, x)
    scan = Scan(p, axes(p), x, x, EPS, Settings(), 1)
    measured = []

    class Stop(Exception):
        pass

    def watch(stage, done, of):
        if stage == "cells" and done == 9:
            raise Stop

    p.objective.__dict__["watch"] = watch
    with pytest.raises(Stop):
        list(scan.surfaces(tmp_path / "s.journal"))
    p.objective.__dict__["watch"] = lambda stage, done, of: measured.append(stage)
    same(whole, surfaces(p, x, x, journal=tmp_path / "s.journal"))
    assert measured.count("cells") == 25 - 9
    assert "attack" not in measured


@pytest.mark.parametrize("damage", ["torn", "flipped", "lost starts"])
def test_what_a_loss_of_power_may_leave_is_measured_once_more(tmp_path, damage):
    p, x, journal = attacked(), np.linspace(-1, 1, 5), tmp_path / "s.journal"
    scan = Scan(p, axes(p), x, x, EPS, Settings(), 1)
    done = []

    def watch(stage, k, of):
        done.append(stage)
        if done.count("cells") == 12:
            raise KeyError

    p.objective.__dict__["watch"] = watch
    with pytest.raises(KeyError):
        list(scan.surfaces(journal))
    p.objective.__dict__["watch"] = lambda *_: None
    text = journal.read_bytes()
    if damage == "torn":
        journal.write_bytes(text[:-20])
    elif damage == "flipped":
        journal.write_bytes(text[:-30] + b"X" + text[-29:])
    else:
        for file in (tmp_path / "s.cells").iterdir():
            file.write_bytes(file.read_bytes()[:-1])
    same(surfaces(p, x, x), surfaces(p, x, x, journal=journal))


@pytest.mark.parametrize(
    ("change", "told"),
    [({"budgets": EPS[:2]}, "eps"), ({"steps_warm": 3}, "steps_warm"), ({"seed": 1}, "seed")],
)
def test_a_resume_under_other_settings_is_refused_and_says_which(tmp_path, change, told):
    p, x, journal = attacked(), np.linspace(-1, 1, 3), tmp_path / "s.journal"
    unfinished(p, x, journal)
    with pytest.raises(InputError, match=f"{told} = .*--fresh"):
        surfaces(p, x, x, journal=journal, **change)
    surfaces(p, x, x, journal=journal, resume=False, **change)
    assert not journal.exists()


def unfinished(p, x, journal):
    found = Scan(p, axes(p), x, x, EPS, Settings(), 1).surfaces(journal)
    p.objective.__dict__["watch"] = stop
    with pytest.raises(KeyError):
        list(found)
    p.objective.__dict__["watch"] = lambda *_: None
    assert journal.exists()


def stop(stage, done, of):
    if stage == "cells":
        raise KeyError


def test_other_directions_are_other_settings(tmp_path):
    p, x, journal = attacked(), np.linspace(-1, 1, 3), tmp_path / "s.journal"
    unfinished(p, x, journal)
    with pytest.raises(InputError, match="directions = "):
        surfaces(p, x, x, journal=journal, along=axes(p, seed=7))


def test_two_scans_cannot_write_one_journal(tmp_path):
    p, x = attacked(), np.linspace(-1, 1, 3)
    first = Scan(p, axes(p), x, x, EPS, Settings(), 1).surfaces(tmp_path / "s.journal")
    next(first)
    first.close()
    held = Scan(p, axes(p), x, x, EPS, Settings(), 1)

    def watch(stage, done, of):
        if stage == "cells" and done == 1:
            with pytest.raises(InputError, match="in use"):
                surfaces(attacked(), x, x, journal=tmp_path / "s.journal")

    p.objective.__dict__["watch"] = watch
    list(held.surfaces(tmp_path / "s.journal", resume=False))


def test_another_model_or_other_statistics_are_other_settings(tmp_path):
    x, journal = np.linspace(-1, 1, 3), tmp_path / "s.journal"
    unfinished(attacked(), x, journal)
    with pytest.raises(InputError, match="model = "):
        surfaces(attacked(module=mlp(nn.ReLU)), x, x, journal=journal)
    net, other = cnn(), cnn()
    other[1].running_var.data *= 3
    examples = data(20, 2, 6, 6)
    unfinished(point(net, examples, attack=PGD(steps=3)), x, tmp_path / "t.journal")
    with pytest.raises(InputError, match="weights = "):
        surfaces(point(other, examples, attack=PGD(steps=3)), x, x, journal=tmp_path / "t.journal")


def test_a_foreign_or_damaged_journal_is_left_alone(tmp_path):
    journal, x = tmp_path / "s.journal", np.linspace(-1, 1, 3)
    journal.write_text("my notes\n")
    with pytest.raises(InputError, match="--fresh"):
        surfaces(attacked(), x, x, journal=journal)
    assert journal.read_text() == "my notes\n"


def test_statistics_between_three_checkpoints_stay_within_theirs():
    nets = [cnn() for _ in range(3)]
    for net, var in zip(nets, (5.0, 0.5, 0.5), strict=True):
        net[1].running_var.data[:] = var
        net[5].bias.data += var
    p, q, r = (point(net, data(10, 2, 6, 6)) for net in nets)
    x = np.array([0.0, 0.5, 1.0])
    (found,) = surfaces(p, x, x, [Budget(0)], along=[to_checkpoint(p, q), turned(to_checkpoint(p, r))])
    assert np.isfinite(found.loss).all()
    assert found.loss[0, 0] == p.value
    assert found.loss[0, 2] == q.value


def turned(axis):
    """Another vector with the statistics of the same checkpoint: parallel axes span no plane."""
    vector = axis.vector * torch.linspace(-1, 1, len(axis.vector), dtype=torch.float64)
    return Axis("r", "checkpoint", vector, "1", rest=axis.rest)


@pytest.mark.parametrize("make", [tied, frozen])
@pytest.mark.parametrize("bn", ["frozen", "recompute"])
def test_a_line_between_nets_with_tied_or_frozen_parameters_ends_at_its_checkpoints(make, bn):
    first, second = make(), make()
    trained(second, seed=4)
    p, q = (point(net, data(12, 4)) for net in (first, second))
    (found,) = surfaces(p, np.array([0.0, 0.5, 1.0]), None, [Budget(0)], along=[to_checkpoint(p, q)], bn=bn)
    assert (found.loss[0], found.loss[2]) == (p.value, q.value)


def test_refinement_measures_all_where_a_loss_is_not_finite_and_serves_lines_and_single_examples():
    net = Net(lambda m, x: (x @ m.w).sqrt()[:, None].expand(-1, CLASSES) * 1.0, w=nn.Parameter(torch.ones(4)))
    along = [Axis("v", "file", -torch.ones(4).double(), "1")]
    (found,) = surfaces(
        point(net, data(6, 4)), np.linspace(0, 2, 13), None, [Budget(0)], along=along, refine=0.5
    )
    assert found.done.all()
    assert not found.interpolated.any()
    x = np.linspace(-1, 1, 25)
    (alone,) = surfaces(attacked(n=1), x, None, [Budget(0)], refine=0.05)
    assert alone.interpolated.any()
    assert np.isfinite(alone.loss).all()
    assert np.isnan(alone.loss_stderr).all()
    for size in (1, 2, 3, 5):
        assert surfaces(attacked(), np.linspace(-1, 1, size), x[:size], [Budget(0)], refine=0.1)[0].done.all()


@pytest.mark.slow
def test_a_refined_scan_that_was_stopped_anywhere_ends_the_same(tmp_path):
    p, x = attacked(), np.linspace(-1, 1, 13)
    whole = surfaces(p, x, x, refine=0.01)
    for stop_at in (30, 60, 100):
        seen = []

        def watch(stage, done, of, seen=seen, stop_at=stop_at):
            seen.append(stage)
            if seen.count("cells") == stop_at:
                raise KeyError

        p.objective.__dict__["watch"] = watch
        journal = tmp_path / f"{stop_at}.journal"
        with suppress(KeyError):
            list(Scan(p, axes(p), x, x, EPS, Settings(refine=0.01), 1).surfaces(journal))
        p.objective.__dict__["watch"] = lambda *_: None
        same(whole, surfaces(p, x, x, refine=0.01, journal=journal), (*ARRAYS, "interpolated"))


def test_a_worker_that_is_killed_is_told_in_a_line(tmp_path):
    p, x = attacked(n=200), np.linspace(-1, 1, 15)

    def watch(stage, done, of):
        if stage == "cells" and done == 5:
            for child in multiprocessing.active_children():
                child.kill()
                child.join()

    p.objective.__dict__["watch"] = watch
    with pytest.raises(LandscapeError, match="worker process was killed"):
        surfaces(p, x, x, workers=2, journal=tmp_path / "s.journal")
    p.objective.__dict__["watch"] = lambda *_: None
    same(surfaces(p, x, x), surfaces(p, x, x, journal=tmp_path / "s.journal"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"adversary": "foo"}, "reattack, frozen, both"),
        ({"bn": "none"}, "frozen, recompute"),
        ({"refine": -1.0}, "from 0"),
        ({"refine": float("nan")}, "from 0"),
        ({"steps_warm": -1}, "1 or more"),
        ({"x": [1.0, 0.0]}, "ascend"),
        ({"x": []}, "ascend"),
        ({"x": [0.0, np.nan]}, "ascend"),
        ({"budgets": []}, "at least one"),
        ({"u": np.zeros(43)}, "length 0"),
        ({"u": np.full(43, np.nan)}, "length nan"),
    ],
)
def test_what_makes_no_surface_is_refused(change, told):
    given = {"u": np.ones(43), "x": [0.0, 1.0], "budgets": None} | change
    names = ("adversary", "bn", "refine", "steps_warm")
    u, chosen = given.pop("u"), {name: given.pop(name) for name in names if name in given}
    with pytest.raises(InputError, match=told):
        surface(attacked(), u, settings=Settings(**chosen), **given)


def test_the_centre_of_a_surface_with_statistics_of_its_own_is_that_surfaces_centre():
    p = point(cnn(), data(30, 2, 6, 6), attack=PGD(steps=3))
    x = np.array([-1.0, 0.0, 1.0])
    for found in surfaces(p, x, None, EPS[:2], bn="recompute"):
        assert found.centre_loss == found.loss[1] != p.objective.under(Budget(found.budget)).at(p.theta).value
        assert np.isnan(found.numbers.get("hessian_x", np.nan))


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.LayerNorm])
def test_the_curvatures_along_the_axes_are_those_of_the_hessian_with_an_error_where_torch_has_one(norm):
    module = trained(nn.Sequential(nn.Linear(4, 5), norm(5), nn.Tanh(), nn.Linear(5, CLASSES)))
    p = point(module, data(40, 4))
    scan = Scan(p, axes(p), np.zeros(1), np.zeros(1), EPS[:1], Settings(), 1)
    list(scan.surfaces())
    told, counted = scan.root.curvatures[0], scan.root.work[2] / 40
    for (value, stderr), axis in zip(told, axes(p), strict=True):
        v = axis.vector / axis.vector.norm()
        assert value == pytest.approx((v @ (p.hessian @ v)).item(), rel=1e-9)
        if norm is nn.LayerNorm:  # torch's nested forward derivatives of it are wrong
            assert np.isnan(stderr)
        else:
            assert stderr == pytest.approx(p.hessian.curvatures(v).std().item() / 40**0.5, rel=1e-9)
    # Both ways on 8 of the 40 examples, the one that holds on all of them.
    assert counted == pytest.approx(2 * (1 + 2 * 8 / 40))
