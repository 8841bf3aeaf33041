"""Names that a user may type, and the things that they name.

A model, data set, loss, attack, analyzer or question of the theory is one file in the package of its kind;
`@register("attack")` makes its name known. A specification is a name with options, `pgd:steps=20,restarts=2`,
or where the kind allows it a callable of the user's own, `package.module:callable` or `file.py:callable`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
import typing
import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from landscape.errors import InputError

PACKAGES = {
    "model": "models",
    "dataset": "datasets",
    "source": "datasets",
    "loss": "losses",
    "attack": "attacks",
    "analyzer": "analyzers",
    "theory": "theory.questions",
}
OWN = ("model", "loss")
"""Kinds of which a callable of the user's own may take the place."""
_known: dict[str, dict[str, Any]] = {kind: {} for kind in PACKAGES}
Thing = TypeVar("Thing", bound=Callable)


def register(kind: str, name: str | None = None) -> Callable[[Thing], Thing]:
    """Decorator that makes a thing of this kind known by a name, its own by default."""

    def remember(thing: Thing) -> Thing:
        _known[kind][name or thing.__name__.lower()] = thing
        return thing

    return remember


def named(kind: str) -> dict[str, Any]:
    """Every registered thing of a kind by its name, sorted; imports the files of that kind."""
    package = importlib.import_module(f"landscape.{PACKAGES[kind]}")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_known[kind].items()))


def find(kind: str, name: str) -> Any:
    """The thing that a name stands for; InputError lists what there is."""
    things = named(kind)
    if name not in things:
        own = "; or give package.module:callable or file.py:callable" if kind in OWN else ""
        raise InputError(f"{kind} {name!r} is not known; there are {', '.join(things)}{own}")
    return things[name]


def split(spec: str) -> tuple[str, dict[str, str]]:
    """("pgd", {"steps": "20"}) of "pgd:steps=20"."""
    name, _, rest = spec.strip().partition(":")
    options = {}
    for part in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise InputError(f"{spec!r}: {part!r} is not an option; write {name}:option=value,option=value")
        if key.strip() in options:
            raise InputError(f"{spec!r} sets {key.strip()} twice; give it once")
        options[key.strip()] = value.strip()
    return name, options


def make(kind: str, spec: str, **defaults: Any) -> Any:
    """What a specification describes: the named thing, called with its options as their annotated types.

    defaults: options used where the thing takes them and the specification does not set them
    """
    name, options = split(spec)
    thing = find(kind, name)
    takes = _options(thing)
    given: dict[str, Any] = {}
    for key, value in options.items():
        if key not in takes:
            allowed = f"it takes {', '.join(takes)}" if takes else "it takes none"
            raise InputError(f"{kind} {name} has no option {key!r}; {allowed}")
        given[key] = _convert(value, takes[key], f"{kind} {name}: {key}")
    given = {key: value for key, value in defaults.items() if key in takes} | given
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Initializing zero-element")  # layers without a single number
            return thing(**given)
    except InputError:
        raise
    except (RuntimeError, ValueError, ArithmeticError, Warning) as error:
        told = " ".join(str(error).split())
        raise InputError(f"{kind} {spec} cannot be made: {told}; give other options") from error


def points(analyzer: Callable) -> tuple[int, int | None]:
    """How many checkpoints an analyzer looks at, at least and at most: one for each positional argument.

    One of type Sequence[Point] takes any number.
    """
    positional = [
        p for p in inspect.signature(analyzer).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    if str(positional[0].annotation).startswith("Sequence"):
        return 1, None
    return sum(p.default is p.empty for p in positional), len(positional)


def options(kind: str, name: str) -> dict[str, Any]:
    """The options that a named thing takes, with their defaults."""
    parameters = inspect.signature(find(kind, name)).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def is_callable_spec(spec: str) -> bool:
    """Whether a specification names a callable of the user's own rather than a registered thing."""
    head, colon, tail = spec.rpartition(":")
    return (
        bool(colon)
        and tail.isidentifier()
        and (head.endswith(".py") or all(map(str.isidentifier, head.split("."))))
    )


def load_callable(spec: str) -> Callable[..., Any]:
    """What "package.module:callable" or "file.py:callable" names; that code is imported, and so run."""
    place, _, attribute = spec.rpartition(":")
    path = Path(place).expanduser()
    if place.endswith(".py") and not path.is_file():
        raise InputError(f"{spec!r}: there is no file {path}")
    try:
        module = _from_file(path) if place.endswith(".py") else _from_path(place)
    except (Exception, SystemExit) as error:
        told = " ".join(str(error).split())
        raise InputError(
            f"{spec!r} could not be imported: {type(error).__name__}: {told}; code of your own is "
            "package.module:callable or file.py:callable, the option of a named thing name:option=value"
        ) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        there = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise InputError(
            f"{spec!r}: {place} has no callable {attribute!r}; it has {', '.join(there) or 'none'}"
        )
    return found


def _from_file(path: Path) -> ModuleType:
    """A module by its file. It finds the files beside it, as under `python file.py`, and is run once."""
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # Not the stem alone: a file that is called like an installed package must not replace it.
    name = f"{path.stem} of {folder}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for the types of their fields
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _from_path(name: str) -> ModuleType:
    """A module by its name; one in the folder that the command runs in is found too, as by `python -m`."""
    if "" not in sys.path:
        sys.path.insert(0, "")
    return importlib.import_module(name)


def _options(thing: Callable) -> dict[str, Any]:
    hints = typing.get_type_hints(thing.__init__ if inspect.isclass(thing) else thing)
    signature = inspect.signature(thing)
    return {p.name: hints.get(p.name, str) for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}


def _convert(value: str, annotation: Any, what: str) -> Any:
    """Text to the annotated type: int, float, Fraction, bool, str, a Literal, or one of these or None."""
    choices = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        if value not in choices:
            raise InputError(f"{what} = {value!r} is not one of {', '.join(map(str, choices))}")
        return value
    kinds = [kind for kind in choices or (annotation,) if kind is not type(None)]
    if type(None) in choices and value.lower() == "none":
        return None
    try:
        if bool in kinds:
            return {"true": True, "false": False, "1": True, "0": False}[value.lower()]
        return kinds[0](value)
    except (ValueError, KeyError, ZeroDivisionError):
        names = {
            int: "a whole number",
            float: "a number",
            Fraction: "a number or a fraction",
            bool: "true or false",
        }
        raise InputError(f"{what} = {value!r} is not {names.get(kinds[0], kinds[0].__name__)}") from None
