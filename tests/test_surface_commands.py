"""The commands of surfaces and lines: what comes, what is carried on, and what is refused."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import torch
from conftest import MODEL

from landscape import Budget, Objective, Settings, load, registry, subject, surface

SMALL = "--eps 0,0.05 --size 5 --workers 1"


def test_one_command_gives_json_with_its_directions_and_a_file_with_everything(run, place):
    code, out, err = run(f"surface {{place}}/a.pt {SMALL} --json --save-directions -o {{place}}/s.h5")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["kind"] == "surface"
    assert told["complete"]
    assert {"kind", "norm", "seed"} <= set(told["directions"]["x"]) & set(told["directions"]["y"])
    assert abs(told["directions"]["cosine"]) < 1
    assert [result["eps"] for result in told["results"]] == [0, 0.05]
    for result in told["results"]:
        assert {"inner_gap", "cells_redone", "numbers"} <= set(result)
        assert np.shape(result["loss"]) == np.shape(result["accuracy"]) == (5, 5)
        assert result["x"] == result["y"] == [-1, -0.5, 0, 0.5, 1]
    with h5py.File(place / "s.h5") as file:
        assert file["loss"].shape == file["accuracy"].shape == file["done"].shape == (2, 5, 5)
        assert file["x"].shape == file["y"].shape == (5,)
        assert file["eps"][()].tolist() == [0, 0.05]
        assert file["directions/x"].shape == file["directions/y"].shape == (len(theta(place)),)
    for result, again in zip(told["results"], load(place / "s.h5").results, strict=True):
        np.testing.assert_array_equal(result["loss"], again.loss)
    assert sorted(p.name for p in place.glob("s.h5*")) == ["s.h5"]


def theta(place, name="a"):
    return at(place, name).theta


def at(place, name="a"):
    found = subject(place / f"{name}.pt", model=MODEL, data=str(place / "data.npz"))
    return Objective(found.network, found.data, Budget(0)).at()


def test_the_vectors_that_were_kept_give_the_same_surface_again(run, place):
    run(f"surface {{place}}/a.pt {SMALL} --save-directions -o {{place}}/s.h5")
    code, out, _ = run(
        f"surface {{place}}/a.pt {SMALL} --directions {{place}}/s.h5:directions -o {{place}}/t.h5"
    )
    assert code == 0, out
    for first, second in zip(load(place / "s.h5").results, load(place / "t.h5").results, strict=True):
        np.testing.assert_array_equal(first.loss, second.loss)


def test_python_gives_the_losses_of_the_command(run, place):
    run("surface {place}/a.pt --size 3 --save-directions -o {place}/s.h5 --workers 1")
    with h5py.File(place / "s.h5") as file:
        u, v = (torch.from_numpy(file[f"directions/{name}"][()]) for name in "xy")
    (found,) = surface(at(place), u, v, x=np.array([-1.0, 0, 1]), settings=Settings())
    np.testing.assert_array_equal(found.loss, load(place / "s.h5").results[0].loss)


def test_a_line_between_checkpoints_ends_at_their_own_losses_and_tells_the_barrier(run, place):
    code, out, err = run("line {place}/a.pt {place}/b.pt --eps 0,0.05 --size 7 --json --workers 1")
    assert (code, err) == (0, "")
    clean = json.loads(out)["results"][0]
    assert "y" not in clean
    losses = dict(zip(clean["x"], clean["loss"], strict=True))
    assert losses[0] == at(place).value
    assert losses[1] == at(place, "b").value
    chord = [loss - (1 - x) * losses[0] - x * losses[1] for x, loss in losses.items() if 0 <= x <= 1]
    assert clean["numbers"]["barrier"] == pytest.approx(max(chord))


def test_a_line_of_a_net_with_batchnorm_ends_at_their_own_losses(run, place):
    (place / "net.py").write_text(
        "import torch\n"
        "def make():\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU(),\n"
        "                               torch.nn.Flatten(), torch.nn.Linear(8, 3))\n"
    )
    values = []
    for seed, name in enumerate("pq"):
        torch.manual_seed(seed)
        net = registry.load_callable(f"{place}/net.py:make")()
        net[1].running_mean.data = torch.randn(2)
        net[1].running_var.data = torch.rand(2) + 0.1
        torch.save(net.state_dict(), place / f"{name}.pt")
        told = f"--model {place}/net.py:make --data {place}/data.npz --quiet --json"
        values.append(
            json.loads(run(f"gradient {place}/{name}.pt --batches 8:5 {told}")[1])["results"][0]["loss"]
        )
    code, out, _ = run(f"line {place}/p.pt {place}/q.pt --size 7 --workers 1 {told}")
    assert code == 0
    line = json.loads(out)["results"][0]
    assert [line["loss"][line["x"].index(end)] for end in (0, 1)] == values


def test_three_checkpoints_span_a_plane_with_their_own_losses_at_its_corners(run, place):
    torch.manual_seed(99)
    torch.save(registry.make("model", MODEL).state_dict(), place / "c.pt")
    code, out, _ = run(
        "surface {place}/a.pt --directions {place}/b.pt,{place}/c.pt --size 7 --json --workers 1"
    )
    assert code == 0
    found = json.loads(out)["results"][0]
    x, y, loss = found["x"], found["y"], found["loss"]
    assert loss[y.index(0)][x.index(0)] == at(place).value
    assert loss[y.index(0)][x.index(1)] == at(place, "b").value
    assert loss[y.index(1)][x.index(0)] == at(place, "c").value


def test_the_plane_of_a_trajectory_holds_its_checkpoints_with_their_true_losses(run, place):
    start, end = theta(place), theta(place, "b")
    network = at(place).objective.network
    for k, step in enumerate((1.0, 0.7, 0.2)):
        bow = (
            0.3
            * torch.sin(torch.tensor(3.1 * step))
            * torch.randn(len(start), generator=torch.Generator().manual_seed(1))
        )
        parts = network.parts(start + step * (end - start) + bow)
        torch.save(dict(zip(network.names, parts, strict=True)), place / f"run-epoch{k}.pt")
    code, out, _ = run(
        "surface {place}/a.pt --directions pca:{place}/run-epoch*.pt --size 5 --json --workers 1"
    )
    assert code == 0
    told = json.loads(out)
    course = told["trajectory"]
    assert run("surface {place}/a.pt --directions pca:{place}/run-epoch*.pt --size 3 --workers 1")[1].count(
        "of the variance"
    )
    assert course["names"] == ["run-epoch0", "run-epoch1", "run-epoch2"]
    assert sum(told["directions"][name]["explained"] for name in "xy") == pytest.approx(1, abs=1e-6)
    assert max(course["relative_residual"]) < 1e-3
    for name, loss in zip(course["names"], course["losses"]["0|none"], strict=True):
        assert loss == at(place, name).value
    x, y = (told["results"][0][name] for name in "xy")
    assert 0 in x
    assert 0 in y
    assert min(x) < min(course["x"]) < max(course["x"]) < max(x)
    assert min(y) <= min(course["y"]) < max(course["y"]) <= max(y)


def test_extent_auto_ends_where_the_loss_is_several_times_that_of_theta(run, place):
    code, out, _ = run("surface {place}/a.pt --extent auto --1d --size 9 --json --workers 1")
    assert code == 0
    found = json.loads(out)["results"][0]
    assert "y" not in found
    rise = max(found["loss"]) - found["centre_loss"]
    assert 0.5 <= rise <= 20


def test_the_same_command_again_has_nothing_to_do_and_another_is_refused(run, place):
    command = f"surface {{place}}/a.pt {SMALL} -o {{place}}/s.h5"
    assert run(command)[0] == 0
    before = (place / "s.h5").read_bytes()
    code, out, _ = run(command)
    assert code == 0
    assert "complete already" in out
    code, _, err = run(command.replace("--eps 0,0.05", "--eps 0,0.1"))
    assert code == 2
    assert "eps =" in err
    assert "--fresh" in err
    assert (place / "s.h5").read_bytes() == before
    assert run(command.replace("--eps 0,0.05", "--eps 0,0.1 --fresh"))[0] == 0
    assert load(place / "s.h5").results[1].eps == 0.1


MISTAKES = {
    "surface {place}/a.pt --size 0": "size",
    "surface {place}/a.pt --refine -1": "refine",
    "surface {place}/a.pt --workers -1": "workers",
    "surface {place}/a.pt --extent -1": "auto",
    "surface {place}/a.pt --extent wide": "auto",
    "surface {place}/a.pt --x 1:0:5": "FROM:TO:COUNT",
    "surface {place}/a.pt --directions up": "filter",
    "surface {place}/a.pt --directions gradient": "second",
    "surface {place}/a.pt --directions {place}/other.pt,random": "other.pt",
    "surface {place}/a.pt --directions {place}/nowhere.pt --1d": "nowhere.pt",
    "surface {place}/a.pt --directions pca:{place}/none*.pt": "none",
    "surface {place}/a.pt --trajectory {place}/none*.pt": "none",
    "surface {place}/a.pt --directions {place}/a.pt --1d": "length 0",
    "line {place}/a.pt": "takes 2",
    "line {place}/a.pt {place}/a.pt": "length 0",
    "line {place}/a.pt {place}/other.pt": "other.pt",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_one_line(command, run, place):
    code, out, err = run(f"{command} -o {{place}}/s.h5")
    assert code in (2, 3), err
    assert out == ""
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert MISTAKES[command] in err
    assert not (place / "s.h5").exists()


def started(place, *options):
    command = "import landscape.cli; landscape.cli.main()"
    told = ["--model", MODEL, "--data", f"{place}/data.npz", "--attack", "pgd:steps=20", "--quiet"]
    words = ["surface", f"{place}/a.pt", "--eps", "0,0.05,0.1", "--size", "41", "-o", f"{place}/s.h5"]
    return subprocess.Popen(
        [sys.executable, "-c", command, *words, *told, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_surface_keeps_its_cells_and_is_carried_on(number, workers, place):
    process = started(place, "--workers", workers)
    while lines(place / "s.h5.journal") < 30:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.strip().count("\n") == 0
    assert "INCOMPLETE" in out
    partial = load(place / "s.h5")
    assert not partial.complete
    done = int(partial.results[0].done.sum())
    assert 27 <= done < 41 * 41
    assert np.isfinite(partial.results[1].loss[partial.results[1].done]).all()
    assert np.isnan(partial.results[1].loss[~partial.results[1].done]).all()
    assert lines(place / "s.h5.journal") == done + 3  # settings, θ, curvatures


def test_a_full_disk_is_one_line_and_leaves_the_old_result_as_it_was(run, place):
    assert run(f"surface {{place}}/a.pt {SMALL} -o {{place}}/s.h5")[0] == 0
    before = (place / "s.h5").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))
    try:
        code, _, err = run("surface {place}/a.pt --eps 0,0.1 --size 21 --fresh -o {place}/s.h5 --workers 1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 1
    assert err.count("\n") == 1
    assert "could not be written" in err
    assert (place / "s.h5").read_bytes() == before
    assert not list(place.glob(".landscape*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_before_any_work(run, place):
    folder = place / "locked"
    folder.mkdir(mode=0o500)
    code, _, err = run(f"surface {{place}}/a.pt {SMALL} -o {folder}/s.h5")
    assert code == 2
    assert "cannot be written" in err
