"""The commands of gradients, scatter, perturbations, trajectories: what comes, and what is refused."""

import json
import math
import re

import h5py
import numpy as np
import pytest
import torch

from landscape import cli, load
from landscape.errors import NumericalError

KEYS = {
    "gradient": "eps loss gradient_norm per_example batch noise_scale noise_scale_stderr clean_cosine",
    "scatter": "eps direction radii change change_frozen cosine floor jump jump_stderr slope slope_stderr "
    "jump_frozen",
    "perturbation": "eps direction radii cosine cosine_stderr sign_agreement distance floor "
    "zero_perturbations",
    "trajectory": "eps checkpoint loss accuracy clean_loss clean_accuracy gradient_norm from_first "
    "from_previous",
}
COMMANDS = {
    "gradient": "gradient {place}/a.pt --batches 8:5 --per-layer",
    "scatter": "scatter {place}/a.pt --radii 0.01,0.1,1 --directions random,eigenvector:1",
    "perturbation": "perturbation {place}/a.pt --radii 0.01,0.1 --directions random,filter",
    "trajectory": "trajectory {place}/a.pt {place}/b.pt",
}
RESULTS = {"gradient": 2, "scatter": 4, "perturbation": 4, "trajectory": 4}


@pytest.mark.parametrize("name", COMMANDS)
def test_one_command_gives_json_file_and_figure(name, run, place, capsys):
    code, out, err = run(
        f"{COMMANDS[name]} --eps 0.05,0.1 --json -o {place}/{name}.h5 --figure {place}/{name}.png"
    )
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert len(told["results"]) == RESULTS[name]
    for result in told["results"]:
        assert set(KEYS[name].split()) <= set(result)
    assert {result["eps"] for result in told["results"]} == {0.05, 0.1}
    assert (place / f"{name}.png").stat().st_size > 5000
    kept = load(place / f"{name}.h5")
    assert kept.complete
    assert kept.plain()["results"] == told["results"]
    assert cli.run(["show", f"{place}/{name}.h5"]) == 0
    assert "0.05" in capsys.readouterr().out


def test_help_says_which_command_needs_a_budget(capsys):
    for name, needed in (("perturbation", True), ("scatter", False)):
        assert cli.run([name, "--help"]) == 0
        (told,) = re.findall(r"--eps LIST (.*?)--norm", capsys.readouterr().out, re.DOTALL)
        assert ("[required]" in told, "[default: 0]" in told) == (needed, not needed)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("perturbation {place}/a.pt", "give --eps, such as 8/255"),
        ("perturbation {place}/a.pt --eps 0", "eps = 0 has no perturbation"),
        ("perturbation {place}/a.pt --eps 0,0.1", "give --eps above 0, such as 8/255"),
        ("perturbation {place}/a.pt {place}/b.pt {place}/a.pt --eps 0.1", "perturbation takes 1 to 2"),
        ("trajectory --eps 0.1", "Missing argument"),
        ("scatter {place}/a.pt --eps 0.1 --radii 0:1:9", "lengths above 0"),
        ("scatter {place}/a.pt --eps 0.1 --radii -1,1,2", "lengths above 0"),
        ("scatter {place}/a.pt --eps 0.1 --directions up", "direction 'up' is not known"),
        ("perturbation {place}/a.pt --eps 0.1 --directions up", "direction 'up' is not known"),
        ("perturbation {place}/a.pt --eps 0.1 --radii 0", "lengths above 0"),
        ("scatter {place}/a.pt --eps 0.1 --points 0", "give at least 1"),
        ("gradient {place}/a.pt --eps 0.1 --batches 41:5", "41"),
        ("gradient {place}/a.pt --eps 0.1 --batches 8", "8"),
        ("gradient {place}/a.pt --eps 0.1", "128"),
        ("gradient {place}/a.pt --eps 0.1 --batches 8:4 --figure fig.doc", "a figure is written as"),
        (
            "gradient {place}/a.pt --eps 0.1 --batches 8:4 --figure {place}/nowhere/fig.pdf",
            "cannot be written",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, told, run):
    code, out, err = run(words)
    assert code == 2
    assert not out
    assert len(err.strip().splitlines()) == 1
    assert told in err


@pytest.mark.parametrize(("name", "told"), [("other", "cannot be compared"), ("nan", "has NaN or infinity")])
@pytest.mark.parametrize(
    "words",
    [
        "line {place}/a.pt",
        "connect {place}/a.pt",
        "evaluate --eps 0.1 {place}/a.pt",
        "perturbation --eps 0.1 {place}/a.pt",
        "trajectory --eps 0.1 {place}/a.pt",
        "surface {place}/a.pt --1d --directions",
    ],
)
def test_another_checkpoint_that_is_refused_or_does_not_fit_is_exit_code_3(words, name, told, run, place):
    weights = torch.load(place / "a.pt")
    torch.save({key: math.nan * tensor for key, tensor in weights.items()}, place / "nan.pt")
    code, out, err = run(f"{words} {{place}}/{name}.pt")
    assert (code, out) == (3, "")
    assert len(err.strip().splitlines()) == 1
    assert f"{name}.pt {told}" in err


def test_the_eigenvectors_of_sharpness_are_directions_for_other_commands(run, place):
    assert run(f"sharpness {{place}}/a.pt --eps 0.1 --k 2 --vectors --json -o {place}/s.h5")[0] == 0
    with h5py.File(place / "s.h5") as file:
        vectors = file["sharpness_0/vectors"][()]
    assert np.allclose(vectors.T @ vectors, np.eye(2), atol=1e-5)
    shown = json.loads(
        run(
            f"scatter {{place}}/a.pt --eps 0.1 --radii 0.01,0.1,1 --json "
            f"--directions {place}/s.h5:sharpness_0/vectors:0"
        )[1]
    )["results"][0]
    own = json.loads(
        run("scatter {place}/a.pt --eps 0.1 --radii 0.01,0.1,1 --json --directions eigenvector:1")[1]
    )["results"][0]
    assert shown["direction"] == "s.h5:sharpness_0/vectors:0"
    assert shown["curvature"] == pytest.approx(own["curvature"], rel=1e-3)


def test_what_is_interrupted_keeps_the_directions_that_were_finished(run, place, monkeypatch):
    from landscape.analyzers import scatter

    whole = scatter._along

    def second_is_interrupted(common, name, *rest):
        if name == "gradient":
            raise KeyboardInterrupt
        return whole(common, name, *rest)

    monkeypatch.setattr(scatter, "_along", second_is_interrupted)
    code, out, _ = run(
        "scatter {place}/a.pt --eps 0.1,0.2 --radii 0.01,0.1,1 --directions random,gradient "
        f"-o {place}/s.h5"
    )
    assert code == cli.INTERRUPTED
    assert "INCOMPLETE" in out
    kept = load(place / "s.h5")
    assert not kept.complete
    assert [(r.budget, r.direction) for r in kept.results] == [("0.1", "random")]


def test_the_direction_of_a_file_is_the_same_for_every_budget(run, place):
    with h5py.File(place / "v.h5", "w") as file:
        file["v"] = np.random.default_rng(0).normal(size=16 * 8 + 8 + 8 * 3 + 3)
    told = json.loads(
        run(f"scatter {{place}}/a.pt --eps 0,0.1 --radii 0.01,0.1,1 --json --directions {place}/v.h5")[1]
    )
    assert [r["direction"] for r in told["results"]] == ["v.h5:v:0"] * 2


@pytest.mark.parametrize("command", ["scatter", "perturbation"])
def test_the_vectors_of_a_user_are_not_written_over(command, run, place):
    with h5py.File(place / "v.h5", "w") as file:
        file["v"] = np.ones(16 * 8 + 8 + 8 * 3 + 3)
    before = (place / "v.h5").read_bytes()
    code, out, err = run(
        f"{command} {{place}}/a.pt --eps 0.1 --radii 0.1,1 --directions random,{place}/v.h5:v:0 "
        f"-o {place}/../{place.name}/v.h5"
    )
    assert (code, out) == (2, "")
    assert "both the directions and the results" in err
    assert (place / "v.h5").read_bytes() == before


def test_a_figure_is_not_drawn_over_the_results(run, place):
    code, out, err = run(
        f"trajectory {{place}}/a.pt -o {place}/same.png --figure {place}/../{place.name}/same.png"
    )
    assert (code, out) == (2, "")
    assert "both the results and their figure" in err
    assert not (place / "same.png").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), NumericalError("no number")])
@pytest.mark.parametrize("drawable", [True, False])
def test_what_ends_early_is_drawn_all_the_same(error, drawable, run, place, monkeypatch):
    from landscape import plot
    from landscape.analyzers import trajectory

    whole = trajectory._seen

    def second_fails(point):
        if point.objective.network.name.endswith("b.pt"):
            raise error
        return whole(point)

    monkeypatch.setattr(trajectory, "_seen", second_fails)
    if not drawable:
        monkeypatch.setattr(plot, "save", None)
    code, out, err = run(f"trajectory {{place}}/a.pt {{place}}/b.pt --figure {place}/t.png")
    assert code == (cli.INTERRUPTED if isinstance(error, KeyboardInterrupt) else error.exit_code)
    assert "INCOMPLETE" in out
    assert (place / "t.png").exists() == (f"wrote {place}/t.png" in out) == drawable
    assert len(err.strip().splitlines()) == 1
