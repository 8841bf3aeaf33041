"""The study of what surfaces cost runs in a tiny setting, and its ways of scanning see what they should."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from landscape import Budget, Objective, registry, subject
from landscape.checkpoints.write import save
from landscape.directions import filter_normalised
from landscape.models.mlp import linear

ROOT = Path(__file__).parent.parent
SPEC = "linear:inputs=16,classes=3"


@pytest.mark.slow
def test_the_study_of_the_cost_of_surfaces_prints_its_tables(tmp_path):
    told = {"examples": 20, "cells": 4, "rounds": 1, "threads": 1, "quadrant": 2, "epochs": 1}
    table, broken = tmp_path / "table.md", tmp_path / "losscape/bin/python"
    broken.parent.mkdir(parents=True)
    broken.symlink_to(shutil.which("false"))
    done = subprocess.run(
        [sys.executable, ROOT / "analyses/surface_cost.py", "-o", table, "--peers", tmp_path]
        + [word for name, value in told.items() for word in (f"--{name}", str(value))],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == table.read_text()
    rows = ("landscape", "plain loop", "floor", "transformer", "landscape, 3 steps")
    assert all(f"\n| {row} |" in done.stdout for row in rows)
    reasons = {
        "loss-landscapes": " is not installed",
        "landscaper": " is not installed",
        "losscape": ": it ended",
    }
    for peer, why in reasons.items():
        assert f"Not measured: {peer}{why}" in done.stdout
        assert f"| {peer} |" not in done.stdout


@pytest.fixture
def scans(monkeypatch):
    """The module of the study; its models do not stay among those that users can name."""
    before = set(registry.named("model"))
    monkeypatch.syspath_prepend(ROOT / "analyses")
    import surface_scans

    yield surface_scans
    del sys.modules["surface_scans"]
    for name in registry.named("model").keys() - before:
        del registry._known["model"][name]


@pytest.fixture
def task(scans, tmp_path):
    """A linear classifier of six random images."""
    torch.manual_seed(0)
    save(
        tmp_path / "linear.pt",
        linear(inputs=16, classes=3).state_dict(),
        {"model": SPEC},
    )
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (6, 1, 4, 4), dtype=np.uint8), np.array([0, 1, 2, 0, 1, 2])
    np.savez(tmp_path / "data.npz", x=x, y=y)
    return scans.Task.read(SPEC, str(tmp_path / "linear.pt"), str(tmp_path / "data.npz"))


def test_the_plain_loop_sees_the_surface_of_landscape(scans, task):
    grid = scans.Grid([-1.0, 0.0, 0.5], [-0.5, 0.0, 1.0])
    scans.plain(task, grid)  # a scan leaves no trace for the next
    theirs = np.array(scans.plain(task, grid)["losses"]).reshape(3, 3)
    assert np.allclose(theirs, np.array(scans.ours(task, grid)["losses"])[0], rtol=1e-6)
    found = subject(task.checkpoint, model=task.spec, data=task.data)
    p = Objective(found.network, found.data).at()
    u, v = filter_normalised(p, 1), filter_normalised(p, 2)
    assert theirs[2, 0] == pytest.approx((p + (1.0 * v - u)).value, rel=1e-6)  # rows are y


def test_the_attack_from_scratch_stays_in_the_ball_and_is_nearly_exact_on_a_linear_model(scans, task):
    torch.manual_seed(0)
    moved = scans.pgd(task.model, task.x, task.y, 0.1, 10)
    assert (moved - task.x).abs().max() <= 0.1 + 1e-7
    assert moved.min() >= 0
    assert moved.max() <= 1
    with torch.no_grad():
        reached = F.cross_entropy(task.model(moved), task.y).item()
        clean = F.cross_entropy(task.model(task.x), task.y).item()
    found = subject(task.checkpoint, model=task.spec, data=task.data)
    best = Objective(found.network, found.data, Budget("0.1")).at().value
    assert clean < reached <= best * (1 + 1e-6)
    assert reached - clean > 0.9 * (best - clean)


def test_cells_of_several_workers_are_timed_from_the_end_of_the_first_ones(scans):
    clock = scans.Clock(workers=2)
    clock.times = [0.0, 3.0, 3.0, 5.0, 5.0, 7.0, 7.0]  # set-up 1 s, then two cells every two seconds
    assert clock.told() == {"setup": 1.0, "each": 1.0, "losses": None}
