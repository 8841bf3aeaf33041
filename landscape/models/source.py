"""The model that a user's words stand for: a registered one, a factory of theirs, timm's, torchvision's."""

from __future__ import annotations

import ast
import copy
import importlib
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from landscape import registry
from landscape.errors import InputError

HOW = "lenet:width=16, package.module:factory, file.py:factory, timm:NAME or torchvision:NAME"


def make(spec: str, arguments: Sequence[str] = ()) -> tuple[nn.Module, str]:
    """The module, with weights as it begins, and all that it takes to make it again.

    arguments: "name=value" for the factory; a value is a Python literal, or else text
    """
    hub, _, name = spec.partition(":")
    if hub in HUBS:
        return _made(spec, lambda **options: HUBS[hub](name, options), _options(arguments))
    if registry.is_callable_spec(spec):
        return _made(spec, registry.load_callable(spec), _options(arguments))
    whole = ",".join([spec, *arguments]) if ":" in spec else ":".join([spec, ",".join(arguments)]).strip(":")
    return registry.make("model", whole), whole


def of_others(spec: str) -> bool:
    """Whether a specification names code that is not ours."""
    return spec.partition(":")[0] in HUBS or registry.is_callable_spec(spec)


def _made(spec: str, factory: Callable[..., Any], options: dict[str, Any]) -> tuple[nn.Module, str]:
    called = (
        f"{spec}({', '.join(f'{name}={value!r}' for name, value in options.items())})" if options else spec
    )
    try:
        # A name in a file may stand for the model itself.
        module = factory if isinstance(factory, nn.Module) and not options else factory(**options)
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"the model {called} could not be made: {told}; it is called with what --model-arg NAME=VALUE "
            "gives, and returns a torch.nn.Module"
        ) from error
    if not isinstance(module, nn.Module):
        raise InputError(f"{called} returned {type(module).__name__}; it must return a torch.nn.Module")
    try:
        return copy.deepcopy(module), called  # it may be handed out again, with other weights by then
    except Exception as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"the model {called} cannot be copied ({told}); of weight_norm and spectral_norm use those in "
            "torch.nn.utils.parametrizations"
        ) from error


def _options(arguments: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name.strip().isidentifier():
            raise InputError(f"--model-arg {argument!r} is no NAME=VALUE, such as width=4 or depth=28")
        if name.strip() in found:
            raise InputError(f"--model-arg gives {name.strip()} twice; give it once")
        found[name.strip()] = _literal(value.strip())
    return found


def _literal(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _timm(name: str, options: dict[str, Any]) -> Any:
    return _package("timm").create_model(name, pretrained=False, **options)


def _torchvision(name: str, options: dict[str, Any]) -> Any:
    return _package("torchvision.models").get_model(name, weights=None, **options)


def _package(name: str) -> Any:
    top = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != top:
            raise
        raise InputError(
            f"{top} is not installed; pip install {top}, in the version for your torch"
        ) from error
    except Exception as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"{top} does not import beside this torch ({told}); install the version for your torch"
        ) from error


HUBS = {"timm": _timm, "torchvision": _torchvision}
