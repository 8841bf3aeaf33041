"""The README's code runs, and what it names is there."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import click
import pytest

from landscape import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(page: str) -> list[tuple[str, str]]:
    """The blocks of code of a page, each with its language, "" where none is said."""
    return re.findall(r"```(\w*)\n(.*?)```", page, flags=re.DOTALL)


def commands(found: list[tuple[str, str]]) -> list[str]:
    """The commands in blocks of code, without prompts and comments."""
    return [
        line.removeprefix("$ ").split("#")[0].strip()
        for language, block in found
        for line in block.splitlines()
        if not language and line.removeprefix("$ ").startswith(("landscape ", "make "))
    ]


BLOCKS = blocks(README)
COMMANDS = commands(BLOCKS)


@pytest.mark.slow
def test_the_python_of_the_readme_runs_from_top_to_bottom(monkeypatch):
    monkeypatch.chdir(ROOT)
    names = {}
    for code in (block for language, block in BLOCKS if language == "python"):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, names)
        assert len(printed.getvalue().split()) >= 3


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("landscape ")])
def test_every_command_of_the_readme_is_understood(command):
    words = shlex.split(command)[1:]
    context = cli.landscape.make_context("landscape", words)
    name, verb, rest = cli.landscape.resolve_command(context, context._protected_args + context.args)
    while isinstance(verb, click.Group):  # `theory` has verbs of its own
        context = verb.make_context(name, rest)
        name, verb, rest = verb.resolve_command(context, context._protected_args + context.args)
    assert verb.make_context(name, rest).params


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make ")])
def test_every_make_target_of_the_readme_exists(command):
    assert f"\n{command.split()[1]}:" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_every_link_of_the_readme_leads_somewhere(target):
    assert (ROOT / target).exists()
