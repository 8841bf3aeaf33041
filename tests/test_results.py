import dataclasses
import json
import math
import random
import struct

import h5py
import numpy as np
import pytest

import landscape
from landscape.analyzers.sharpness import Sharpness
from landscape.errors import InputError, LandscapeError
from landscape.results import Run, load, plain, provenance, save

NAN = math.nan


def result(**fields) -> Sharpness:
    given = {
        "eps": 8 / 255,
        "budget": "8/255",
        "norm": "linf",
        "attack": "pgd:steps=3",
        "loss": 0.1 + 0.2,
        "loss_stderr": NAN,
        "accuracy": 1 / 3,
        "accuracy_stderr": 5e-324,
        "inner_gap": -0.0,
        "inner_gap_stderr": NAN,
        "eigenvalues": np.array([math.pi, 0.0, -0.0, -1e300]),
        "residuals": np.array([1e-17, NAN, math.inf, 5e-324]),
        "zero_loss": 0.25,
        "eigenvalues_sampling": np.array([0.1, NAN, 0.0, 2.0]),
        "converged": False,
        "which": "LA",
        "trace": NAN,
        "trace_stderr": NAN,
        "trace_sampling": NAN,
        "trace_method": "none",
        "trace_note": "θ ∈ ℝ, not asked for",
        "passes": {"forward": 1.0, "gradient": 1 / 3, "hvp": 19.0},
        "seconds": 1.25,
    }
    return Sharpness(**{**given, **fields})


def a_run(*results, **told) -> Run:
    subject = {
        "checkpoint": {
            "path": "a.pt",
            "sha256": "0" * 64,
            "format": "landscape",
            "model": "lenet",
            "parameters": 7,
        },
        "data": {"name": "d", "split": "train", "examples": 3, "of": 9, "sha256": "1" * 64},
    }
    return Run("sharpness", {**provenance(**subject, budgets=["8/255"], notes=[]), **told}, [*results], True)


def bits(value):
    """A value such that == compares every bit of it."""
    if isinstance(value, float):
        return struct.pack("d", value)
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {name: bits(item) for name, item in value.items()}
    return type(value), value


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"crosscheck": {"pyhessian_version": "0.1", "pyhessian_trace": NAN, "pyhessian_probes": 30}},
        {"eigenvalues": np.array([]), "residuals": np.array([])},
        {"converged": True, "eps": 0.0, "budget": "0"},
        {"trace_note": "[not JSON", "which": "null", "attack": '"quoted"', "norm": "{"},
    ],
)
def test_a_result_is_read_back_bit_for_bit(fields, tmp_path):
    there = result(**fields)
    save(a_run(there), tmp_path / "a.h5")
    (back,) = load(tmp_path / "a.h5").results
    for field in dataclasses.fields(there):
        assert bits(getattr(back, field.name)) == bits(getattr(there, field.name)), field.name


def test_the_provenance_is_read_back_as_it_was(tmp_path):
    told = {
        "none": None,
        "list": [1, "a", None],
        "dict": {"a": {"b": [NAN]}},
        "text": "[x",
        "number": 0.1,
        "seed": 3,
    }
    run = a_run(result(), **told)
    save(run, tmp_path / "a.h5")
    back = landscape.load(tmp_path / "a.h5")
    assert (back.kind, back.complete) == (run.kind, run.complete)
    assert back.provenance.keys() == run.provenance.keys()
    assert repr(back.provenance["dict"]) == repr(told["dict"])
    assert {name: back.provenance[name] for name in told if name != "dict"} == {
        name: value for name, value in told.items() if name != "dict"
    }
    assert {"command", "commit", "created", "host", "threads", "versions"} <= back.provenance.keys()
    assert {"landscape", "python", "torch", "numpy"} == back.provenance["versions"].keys()


def test_provenance_of_any_length_is_read_back(tmp_path):
    course = {"names": [f"epoch{k}" for k in range(5000)], "x": np.linspace(0, 1, 5000).tolist()}
    save(a_run(result(), result(eps=0.5), trajectory=course), tmp_path / "r.h5")
    back = load(tmp_path / "r.h5")
    assert back.provenance["trajectory"] == course
    assert [r.eps for r in back.results] == [8 / 255, 0.5]


def test_the_order_of_many_results_is_kept(tmp_path):
    save(a_run(*(result(seconds=float(i)) for i in range(12))), tmp_path / "a.h5")
    assert [each.seconds for each in load(tmp_path / "a.h5").results] == list(range(12))


def test_a_run_that_is_not_complete_says_so(tmp_path):
    run = a_run(result())
    run.complete = False
    save(run, tmp_path / "a.h5")
    back = load(tmp_path / "a.h5")
    assert not back.complete
    assert back.plain()["complete"] is False


def test_json_knows_neither_nan_nor_infinity():
    def refuse(constant):
        raise AssertionError(constant)

    run = a_run(
        result(crosscheck={"pyhessian_trace": NAN, "many": (np.float32(1), np.int64(2), np.array([NAN]))})
    )
    told = json.loads(json.dumps(run.plain()), parse_constant=refuse)
    (only,) = told["results"]
    assert only["trace"] is None
    assert only["residuals"] == [1e-17, None, None, 5e-324]
    assert only["crosscheck"] == {"pyhessian_trace": None, "many": [1.0, 2, [None]]}
    assert "crosscheck" not in plain(result())


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), TypeError])
def test_an_interrupted_save_leaves_the_old_file(error, tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    save(a_run(result()), path)
    before = path.read_bytes()

    def stop(*_, **__):
        raise error

    monkeypatch.setattr(h5py.Group, "__setitem__", stop)
    with pytest.raises(LandscapeError if isinstance(error, OSError) else error):
        save(a_run(result(seconds=9.0)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_command_line_that_is_not_utf8_can_be_stored(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["landscape", "a\udcff b.pt"])
    run = a_run(result(), checkpoint={"path": "a\udcff.pt"})
    save(run, tmp_path / "a\udcff.h5")
    back = load(tmp_path / "a\udcff.h5")
    assert back.provenance["checkpoint"] == {"path": "a\udcff.pt"}
    assert back.provenance["command"] == "landscape 'a\\udcff b.pt'"


def written(path, **attributes):
    with h5py.File(path, "w") as file:
        file["x"] = 1
        file.attrs.update(attributes)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "is not there"),
        (lambda path: path.mkdir(), "is a folder or a device"),
        (lambda path: path.write_bytes(b""), "is no HDF5 file"),
        (lambda path: path.write_bytes(b"a,b\n1,2\n"), "is no HDF5 file"),
        (lambda path: written(path), "none that landscape wrote"),
        (lambda path: written(path, kind="sharpness"), "none that landscape wrote"),
        (lambda path: written(path, kind="sharpness", schema=99), "of a newer landscape"),
        (lambda path: written(path, kind="sharpness", schema="one"), "or is damaged"),
        (lambda path: written(path, kind="nothing", schema=1, complete=True), "'nothing' is not known"),
        (lambda path: written(path, kind="sharpness", schema=1), "or is damaged"),
        (lambda path: written(path, kind="sharpness", schema=1, complete=True), "or is damaged"),
    ],
)
def test_what_is_no_result_file_is_refused_in_one_line(make, words, tmp_path):
    make(tmp_path / "a.h5")
    with pytest.raises(InputError, match=words) as caught:
        load(tmp_path / "a.h5")
    assert str(caught.value).isprintable()
    assert "a.h5" in str(caught.value) or "nothing" in words


def test_a_damaged_file_is_read_or_refused_but_never_fails_otherwise(tmp_path):
    save(a_run(result(), result()), tmp_path / "a.h5")
    whole = (tmp_path / "a.h5").read_bytes()
    rng = random.Random(0)
    damaged = [whole[: rng.randrange(len(whole))] for _ in range(30)]
    for _ in range(60):
        start, length = rng.randrange(len(whole)), rng.choice([1, 8, 200])
        damaged.append(whole[:start] + rng.randbytes(length) + whole[start + length :])
    refused = []
    for content in damaged:
        (tmp_path / "b.h5").write_bytes(content)
        try:
            load(tmp_path / "b.h5")
        except InputError as error:
            refused.append(str(error))
    assert len(refused) >= 30
    assert all(map(str.isprintable, refused))
