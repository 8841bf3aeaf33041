from fractions import Fraction
from typing import Literal

import pytest

from landscape import registry
from landscape.attacks.liu2020 import Liu2020
from landscape.attacks.pgd import PGD
from landscape.errors import InputError


@pytest.fixture
def thing(monkeypatch):
    """A registered function that returns the options that it was called with."""

    def thing(
        *,
        count: int = 1,
        rate: float = 0.5,
        eps: Fraction = Fraction(1, 2),
        bias: bool = True,
        kind: Literal["a", "b"] = "a",
        steps: int | None = None,
        text: str = "",
    ) -> dict:
        return {name: value for name, value in locals().items() if name != "self"}

    monkeypatch.setitem(registry._known["model"], "thing", thing)
    return thing


@pytest.mark.parametrize(
    ("spec", "key", "value"),
    [
        ("thing:count=3", "count", 3),
        ("thing:count=-3", "count", -3),
        ("thing:rate=1e-3", "rate", 1e-3),
        ("thing:rate=2", "rate", 2.0),
        ("thing:eps=8/255", "eps", Fraction(8, 255)),
        ("thing:eps=0.1", "eps", Fraction(1, 10)),
        ("thing:bias=false", "bias", False),
        ("thing:bias=True", "bias", True),
        ("thing:bias=0", "bias", False),
        ("thing:kind=b", "kind", "b"),
        ("thing:steps=7", "steps", 7),
        ("thing:steps=None", "steps", None),
        ("thing:text=a:b", "text", "a:b"),
        (" thing : text = a ,, ", "text", "a"),
    ],
)
def test_options_are_converted_to_their_annotated_types(thing, spec, key, value):
    made = registry.make("model", spec.replace("thing :", "thing:"))
    assert made[key] == value
    assert type(made[key]) is type(value)
    assert {**made, key: None} == {**thing(), key: None}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("thing:count=x", "count = 'x' is not a whole number"),
        ("thing:count=1.5", "is not a whole number"),
        ("thing:count=", "is not a whole number"),
        ("thing:rate=x", "is not a number"),
        ("thing:eps=1/0", "is not a number or a fraction"),
        ("thing:bias=maybe", "is not true or false"),
        ("thing:kind=c", "is not one of a, b"),
        ("thing:steps=x", "is not a whole number"),
        ("thing:width=1", "has no option 'width'; it takes count, rate"),
        ("thing:count", "write thing:option=value"),
        ("thing:=1", "write thing:option=value"),
        ("thing:count=1,count=2", "sets count twice"),
        ("thong", "'thong' is not known; there are"),
        ("", "'' is not known; there are"),
    ],
)
def test_what_cannot_be_made_is_refused_in_words(thing, spec, words):
    with pytest.raises(InputError, match=words):
        registry.make("model", spec)


@pytest.mark.parametrize("width", [0, -1])
def test_a_model_that_torch_cannot_make_is_refused_in_words(width):
    with pytest.raises(InputError, match=f"model lenet:width={width} cannot be made: .*; give other options"):
        registry.make("model", f"lenet:width={width}")


def test_defaults_yield_to_what_the_specification_says(thing):
    assert registry.make("model", "thing", count=5, unknown=1)["count"] == 5
    assert registry.make("model", "thing:count=3", count=5)["count"] == 3


@pytest.mark.parametrize(
    "attack",
    [PGD(), PGD(steps=3), PGD(steps=3, restarts=2), Liu2020(), Liu2020(step=Fraction(2, 255), steps=4)],
)
def test_an_attack_prints_the_specification_that_makes_it(attack):
    assert registry.make("attack", str(attack)) == attack


@pytest.mark.parametrize("kind", registry.PACKAGES)
def test_everything_that_is_registered_says_what_it_is_and_what_it_takes(kind):
    things = registry.named(kind)
    assert list(things) == sorted(things)
    for name, thing in things.items():
        assert thing.__doc__
        assert registry.find(kind, name) is thing
        if kind in ("model", "attack"):
            registry.make(
                kind, name + ":" + ",".join(f"{k}={v}" for k, v in registry.options(kind, name).items())
            )


@pytest.mark.parametrize(
    ("spec", "answer"),
    [
        ("file.py:make", True),
        ("dir/file.py:make", True),
        ("package.module:make", True),
        ("module:make", True),
        ("lenet", False),
        ("lenet:width=4", False),
        ("file.py", False),
        ("file.py:", False),
        (":make", False),
        ("a b:make", False),
        ("lenet:", False),
    ],
)
def test_code_of_the_users_own_is_told_from_a_name_with_options(spec, answer):
    assert registry.is_callable_spec(spec) is answer


def test_a_file_finds_its_neighbours_and_is_run_once(tmp_path, monkeypatch):
    (tmp_path / "neighbour_of_mine.py").write_text("VALUE = 7\n")
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from neighbour_of_mine import VALUE\nruns = []\nruns.append(1)\n"
        "@dataclass\nclass Options:\n    width: int = VALUE\n"
        "def make():\n    return Options().width, len(runs)\n"
    )
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    for _ in range(2):
        assert registry.load_callable(f"{tmp_path}/mine.py:make")() == (7, 1)


def test_a_file_named_like_an_installed_package_does_not_replace_it(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    (tmp_path / "json.py").write_text("def make():\n    return 'mine'\n")
    import json

    assert registry.load_callable(f"{tmp_path}/json.py:make")() == "mine"
    assert __import__("json") is json


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def make(:\n", "SyntaxError"),
        ("import no_such_thing\n", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("raise RuntimeError('one\\ntwo')\n", "RuntimeError: one two"),
        ("import sys; sys.exit('bye')\n", "SystemExit: bye"),
        ("make = 5\ndef other(): pass\n", "has no callable 'make'; it has other"),
        ("", "has no callable 'make'; it has none"),
    ],
)
def test_code_that_cannot_be_used_is_refused_in_one_line(tmp_path, text, words, monkeypatch):
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        registry.load_callable(f"{tmp_path}/broken.py:make")
    assert "\n" not in str(caught.value)


def test_a_file_or_module_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        registry.load_callable(f"{tmp_path}/nothing.py:make")
    with pytest.raises(InputError, match="No module named 'nothing_here'"):
        registry.load_callable("nothing_here:make")
