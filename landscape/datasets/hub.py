"""Data sets of torchvision and of the Hugging Face Hub, where these packages are installed.

They are never downloaded, unless the user's words say download=true.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from torch.utils.data import Dataset

from landscape.data import Data
from landscape.datasets import items
from landscape.datasets.arrays import one_line
from landscape.datasets.source import Wanted, places
from landscape.errors import DataError, InputError, NoSplit
from landscape.registry import register, split

SWITCH = {"true": True, "1": True, "false": False, "0": False}


@register("source", "torchvision")
def torchvision(words: str, wanted: Wanted) -> Data:
    """torchvision:NAME, such as torchvision:SVHN; with ,download=true it may be downloaded."""
    name, options = _options(words, "torchvision", ("download",))
    module = _imported("torchvision.datasets", "torchvision")
    made = getattr(module, name, None)
    if not (inspect.isclass(made) and issubclass(made, Dataset)):
        raise InputError(
            f"torchvision has no data set {name!r}; write it as torchvision does, such as CIFAR10"
        )
    takes, spec = inspect.signature(made).parameters, f"torchvision:{name}"
    if "train" in takes:
        which: dict[str, Any] = {"train": wanted.split == "train"}
    elif "split" in takes:
        which = {"split": wanted.split}
    else:
        raise InputError(f"{spec} does not say which part of it is train or test; give file.py:callable")
    download = _switch(options.get("download", "false"), spec)
    if download and "download" not in takes:
        raise InputError(f"{spec} cannot be downloaded by torchvision; get it by hand and give --data-dir")
    which |= {"download": download} if "download" in takes else {}
    return items.of_dataset(
        _constructed(made, which, spec, wanted, download), spec, wanted.split, numbers=wanted.numbers
    )


def _constructed(made: Any, which: dict[str, Any], spec: str, wanted: Wanted, download: bool) -> Any:
    """The data set from the first folder that has it."""
    looked = places(wanted.data_dir)
    if download:
        told = wanted.data_dir is not None or "LANDSCAPE_DATA" in os.environ
        looked = [looked[0] if told else looked[-2]]  # the cache
    reason = "none of them is there"
    for place in looked:
        if not download and not place.is_dir():
            continue
        try:
            return made(root=str(place), **which)
        except (
            Exception,
            SystemExit,
        ) as error:  # each of its data sets says in its own way that it is absent
            reason = one_line(error)
    how = "" if download or "download" not in which else "; add ,download=true to fetch it"
    folders = ", ".join(map(str, looked))
    raise NoSplit(f"{spec} ({wanted.split}) could not be had from {folders}: {reason}{how}")


@register("source", "hf")
def hf(words: str, wanted: Wanted) -> Data:
    """hf:NAME, a data set of the Hub; with ,download=true it may be downloaded.

    ,config=… names one of its configurations, ,image=… and ,label=… its columns.
    """
    name, options = _options(words, "hf", ("download", "config", "image", "label"))
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.endswith(".py") or os.path.exists(name):
        raise InputError(
            f"{name!r} is no name on the Hub, such as ylecun/mnist, or is a file or folder here; for these "
            "there are folder:PATH and FILE.npz"
        )
    module, spec = _imported("datasets", "datasets"), f"hf:{name}"
    download = _switch(options.get("download", "false"), spec)
    with _restricted(offline=not download):
        try:
            found = module.load_dataset(name, options.get("config"), split=wanted.split)
        except (Exception, SystemExit) as error:
            how = "" if download else "; add ,download=true to fetch it where it is not on this machine"
            raise NoSplit(f"{spec} ({wanted.split}) could not be had: {one_line(error)}{how}") from error
    image, label = (
        _column(found.column_names, options.get(kind), usual, kind, spec)
        for kind, usual in (("image", items.IMAGES), ("label", items.LABELS))
    )
    classes = getattr(found.features[label], "num_classes", None) or 0
    return items.of_dataset(
        found, spec, wanted.split, numbers=wanted.numbers, keys=(image, label), classes=classes
    )


def _column(there: list[str], told: str | None, usual: tuple[str, ...], kind: str, spec: str) -> str:
    """The column that the user names, or the first usual one."""
    for key in (told,) if told else usual:
        if key in there:
            return key
    raise InputError(f"{spec} has no column {told or kind!r}; it has {', '.join(there)}: add ,{kind}=NAME")


@contextmanager
def _restricted(offline: bool) -> Iterator[None]:
    """The Hub's packages without the network, and without running the scripts of a data set in any case."""
    settings = {("datasets.config", "HF_DATASETS_TRUST_REMOTE_CODE"): False}
    if offline:
        settings[("datasets.config", "HF_DATASETS_OFFLINE")] = True
        settings[("datasets.config", "HF_HUB_OFFLINE")] = True
        settings[("huggingface_hub.constants", "HF_HUB_OFFLINE")] = True
    before: list[tuple[ModuleType, str, Any]] = []
    for (place, name), value in settings.items():
        try:
            module = importlib.import_module(place)
        except ImportError:
            continue
        if hasattr(module, name):  # releases differ
            before.append((module, name, getattr(module, name)))
            setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def _options(words: str, kind: str, allowed: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """The name and the options of NAME,option=value."""
    name, _, rest = words.partition(",")
    _, options = split(f"{kind}:{rest}")
    for key in options:
        if key not in allowed:
            raise InputError(f"{kind}:{name} has no option {key!r}; it takes {', '.join(allowed)}")
    return name.strip(), options


def _switch(value: str, spec: str) -> bool:
    if value.lower() not in SWITCH:
        raise InputError(f"{spec}: download = {value!r} is not true or false")
    return SWITCH[value.lower()]


def _imported(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != package:
            raise DataError(
                f"{package} cannot be imported: {one_line(error)}; install what it needs"
            ) from error
        raise DataError(f"{package} is not installed; pip install {package}") from error
    except Exception as error:  # one that was made for another torch dies of a RuntimeError
        raise DataError(
            f"{package} is there, but cannot be imported: {one_line(error)}; install the one that was made "
            "for this torch"
        ) from error
