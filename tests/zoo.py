"""Checkpoints as other programs write them, all of one small network with the same weights.

Layouts of libraries that are not needed for the tests are written by hand, as those libraries leave them.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import pathlib
import pickle
import re
import sys
import tarfile
import types
import warnings
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

State = dict[str, Tensor]

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.fc(nn.functional.avg_pool2d(x, 4).flatten(1))


def net(width: int = 4, classes: int = 3):
    return Net(width, classes)


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = net()

    def forward(self, x):
        return self.inner(x)
"""


def imported(path: Path, name: str) -> types.ModuleType:
    """A module by its file; nothing in sys.modules knows of it."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def network(folder: Path, width: int = 4, classes: int = 3) -> nn.Module:
    """The network, in evaluation mode, with its weights; its source is in the folder as zoo_net.py."""
    (folder / "zoo_net.py").write_text(NET)
    module = imported(folder / "zoo_net.py", "zoo_net").net(width, classes)
    generator = torch.Generator().manual_seed(10 * width + classes)
    for name, tensor in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2, generator=generator)
        else:
            tensor.normal_(generator=generator)
    return module.eval()


def images(folder: Path, count: int = 16) -> Path:
    """An npz file of images and labels for the network."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(count, 1, 8, 8)).astype(np.float32)
    np.savez(folder / "tiny.npz", x=x, y=np.arange(count) % 3)
    return folder / "tiny.npz"


def averaged(state: State) -> State:
    """Other weights of the same network, in the part of a moving average of them."""
    return {name: 0.75 * t if t.is_floating_point() else t for name, t in state.items()}


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def rounded(state: State, dtype: torch.dtype) -> State:
    """What is left of the weights after a file of another floating type."""
    return {n: t.to(dtype).to(t.dtype) if t.is_floating_point() else t for n, t in state.items()}


@dataclass(frozen=True)
class Kind:
    """One way to write the network, and what is to come of it.

    write: (model, folder) -> the path written
    options: words of the command that make it load, or with which it is refused all the same
    expects: the weights that are loaded, from the model
    refused: a pattern of the one line that is said instead; exit code 3
    told: patterns by the entry of `info --json` in which they are found
    """

    write: Callable[[nn.Module, Path], Path]
    options: tuple[str, ...] = ()
    expects: Callable[[nn.Module], State] = lambda model: model.state_dict()
    refused: str = ""
    told: dict[str, str] = field(default_factory=dict)


def saved(
    content: Any, folder: Path, name: str = "ckpt.pt", *, zipped: bool = True, pickler: Any = pickle
) -> Path:
    """The path to which torch saved this; `pickler` is what stands for the module pickle."""
    torch.save(content, folder / name, pickle_module=pickler, _use_new_zipfile_serialization=zipped)
    return folder / name


def of(content: Callable[[State], Any], *options: str, zipped: bool = True, **expected: Any) -> Kind:
    """The kind that torch.save makes of what is put together around the state dict."""
    return Kind(
        lambda model, folder: saved(content(dict(model.state_dict())), folder, zipped=zipped),
        options,
        **expected,
    )


def raw(data: bytes, refused: str) -> Kind:
    """Bytes that are no checkpoint, under a checkpoint's name."""

    def write(model: nn.Module, folder: Path) -> Path:
        (folder / "ckpt.pt").write_bytes(data)
        return folder / "ckpt.pt"

    return Kind(write, refused=refused)


# What stands beside the weights.

OPTIMIZER = {
    "state": {0: {"momentum_buffer": torch.ones(4, 1, 3, 3)}, 1: {"momentum_buffer": torch.ones(4)}},
    "param_groups": [{"lr": 0.1, "momentum": 0.9, "params": [0, 1]}],
}
ARGS = argparse.Namespace(lr=0.1, data=pathlib.PosixPath("/data/cifar"), epochs=100)


@contextlib.contextmanager
def library(name: str, *attributes: str) -> Iterator[tuple[Any, ...]]:
    """Classes of a library, by their names, that can be pickled within the block and are gone after it."""
    module = types.ModuleType(name)
    made = tuple(type(attribute, (), {"__module__": name}) for attribute in attributes)
    for thing in made:
        setattr(module, thing.__name__, thing)
    names = [name.rsplit(".", cut)[0] for cut in range(name.count(".") + 1)]
    sys.modules.update({part: module if part == name else types.ModuleType(part) for part in names})
    try:
        yield made
    finally:
        for part in names:
            del sys.modules[part]


def lightning(state: State, hyper_parameters: Any = None) -> dict[str, Any]:
    """A .ckpt of pytorch-lightning's Trainer."""
    checkpointing = "ModelCheckpoint{'monitor': None, 'mode': 'min', 'every_n_epochs': 1}"
    return {
        "epoch": 9,
        "global_step": 3910,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": OrderedDict({**prefixed(state, "model."), "criterion.weight": torch.ones(3)}),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 10}}}},
        "callbacks": {checkpointing: {"best_model_path": "/runs/1/last.ckpt", "kth_value": torch.ones(())}},
        "optimizer_states": [OPTIMIZER],
        "lr_schedulers": [{"step_size": 1, "base_lrs": [0.1], "last_epoch": 10}],
        "hparams_name": "hparams",
        "hyper_parameters": hyper_parameters or {"lr": 0.1, "batch": 128},
    }


def lightning_omegaconf(model: nn.Module, folder: Path) -> Path:
    with library("omegaconf.dictconfig", "DictConfig") as (DictConfig,):
        config = DictConfig()
        config._content, config._metadata = {"lr": 0.1}, {"resolver_cache": defaultdict(dict)}
        return saved(lightning(model.state_dict(), config), folder)


def lightning_averaging(state: State) -> dict[str, Any]:
    """Of Lightning's own EMAWeightAveraging: under 'state_dict' lie the averages."""
    return {
        **lightning(averaged(state)),
        "current_model_state": OrderedDict(prefixed(state, "model.")),
        "averaging_state": {"n_averaged": torch.tensor(9)},
    }


def lightning_callback(state: State) -> dict[str, Any]:
    """Of the EMA callbacks that many copy from one another."""
    own = {"ema_state_dict": prefixed(averaged(state), "model."), "decay": 0.999}
    content = lightning(state)
    return {**content, "callbacks": {**content["callbacks"], "EMA": own}}


def lightning_member(state: State) -> dict[str, Any]:
    """Of a LightningModule with a timm ModelEmaV2 as a member."""
    content = lightning(state)
    content["state_dict"].update(prefixed(averaged(state), "model_ema.module."))
    return content


def mean_and_std(names: str, *shape: int) -> State:
    """Buffers of a layer that normalises the inputs."""
    mean, std = names.split()
    return {mean: torch.full(shape, 0.25), std: torch.full(shape, 0.5)}


def madry(state: State) -> dict[str, Any]:
    """What the library `robustness` writes: an AttackerModel in DataParallel."""
    return {
        "model": {
            **prefixed(mean_and_std("new_mean new_std", 1, 1, 1), "module.normalizer."),
            **prefixed(state, "module.model."),
            **prefixed(mean_and_std("new_mean new_std", 1, 1, 1), "module.attacker.normalize."),
            **prefixed(state, "module.attacker.model."),
        },
        "optimizer": OPTIMIZER,
        "schedule": {"base_lrs": [0.1], "last_epoch": 149, "lr_lambdas": [None]},
        "epoch": 150,
        "nat_prec1": np.float64(87.3),
    }


def madry_dill(model: nn.Module, folder: Path) -> Path:
    """`robustness` pickles by dill, that writes functions with all their code."""
    with library("dill._dill", "_create_function", "_create_code", "_load_type") as (function, code, kind):

        class Made:
            def __init__(self, maker: Any, *arguments: Any) -> None:
                self.made = maker, arguments

            def __reduce__(self) -> tuple[Any, tuple]:
                return self.made

            def __call__(self) -> None: ...  # a type that dill looks up is called by the file

        empty = Made(Made(kind, "bytes"))
        schedule = Made(
            code, 1, 0, 0, 1, 2, 3, b"\x97\x00t\x00\x80", (None,), ("f",), ("epoch",), "m.py", empty
        )
        main = {"__name__": "__main__"}
        content = {**madry(model.state_dict()), "lr_lambda": Made(function, schedule, main, "lr", None, None)}
        return saved(content, folder)


def timm(state: State) -> dict[str, Any]:
    return {
        "epoch": 9,
        "arch": "resnet18",
        "state_dict": state,
        "optimizer": OPTIMIZER,
        "version": 2,
        "args": ARGS,
        "amp_scaler": {"scale": 65536.0, "growth_factor": 2.0},
        "state_dict_ema": averaged(state),
        "metric": 76.1,
    }


def references(state: State) -> dict[str, Any]:
    """The training script of torchvision with --model-ema."""
    return {
        "model": state,
        "optimizer": OPTIMIZER,
        "lr_scheduler": {"last_epoch": 9},
        "epoch": 9,
        "args": ARGS,
        "model_ema": {"n_averaged": torch.tensor(9), **prefixed(averaged(state), "module.")},
    }


AWP = {
    "test_robust_loss": 1.1,
    "test_robust_acc": 0.55,
    "test_robust_errs": 0.45,
    "test_loss": 0.7,
    "test_acc": 0.8,
}


# torch before 1.6, plain pickles, and values that are no tensors.


def dumped(content: Callable[[State], Any], protocol: int, **expected: Any) -> Kind:
    def write(model: nn.Module, folder: Path) -> Path:
        (folder / "ckpt.pkl").write_bytes(pickle.dumps(content(dict(model.state_dict())), protocol))
        return folder / "ckpt.pkl"

    return Kind(write, **expected)


def arrays(state: State) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in state.items()}


def detectron(state: State) -> dict[str, Any]:
    return {"model": arrays(state), "__author__": "somebody", "matching_heuristics": True}


def pickled_by_numpy_1(model: nn.Module, folder: Path) -> Path:
    data = pickle.dumps(arrays(model.state_dict()), 2).replace(b"cnumpy._core.", b"cnumpy.core.")
    (folder / "ckpt.pkl").write_bytes(data)
    return folder / "ckpt.pkl"


# Whole modules.


@contextlib.contextmanager
def theirs(model: nn.Module, folder: Path) -> Iterator[nn.Module]:
    """The model as an object of a class in a file of somebody else's, that is gone after the block."""
    (folder / "theirs").mkdir(exist_ok=True)
    path = folder / "theirs" / "their_net.py"
    path.write_text(NET)
    module = sys.modules["their_net"] = imported(path, "their_net")
    try:
        whole = module.net(model.conv1.out_channels, model.fc.out_features)
        whole.load_state_dict(model.state_dict())
        yield whole.eval()
    finally:
        del sys.modules["their_net"]
        path.unlink()


def whole(content: Callable[[nn.Module], Any], zipped: bool = True, **expected: Any) -> Kind:
    def write(model: nn.Module, folder: Path) -> Path:
        with theirs(model, folder) as module:
            return saved(content(module), folder, zipped=zipped)

    return Kind(write, **{"told": {"ignored": r"their_net\.Net"}, **expected})


def yolo(module: nn.Module) -> dict[str, Any]:
    """Both modules whole, in half precision."""
    other = type(module)(4, 3)
    other.load_state_dict(averaged(module.state_dict()))
    return {"epoch": -1, "best_fitness": np.float64(0.5), "model": module.half(), "ema": other.half()}


# safetensors, folders, distributed checkpoints.

DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}


def write_safetensors(state: State, path: Path, metadata: dict[str, str] | None = None) -> Path:
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    data = b""
    for name, tensor in state.items():
        numbers = bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist())
        place = [len(data), len(data) + len(numbers)]
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": place,
        }
        data += numbers
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def safetensors(
    change: Callable[[State], State], metadata: dict[str, str] | None = None, **expected: Any
) -> Kind:
    def write(model: nn.Module, folder: Path) -> Path:
        return write_safetensors(change(dict(model.state_dict())), folder / "model.safetensors", metadata)

    return Kind(write, **expected)


def hugging_face(
    shards: int, ending: str, save: Callable[[State, Path], Any], **beside: Any
) -> Callable[[nn.Module, Path], Path]:
    """A folder as save_pretrained leaves it; beside: further contents by their files' names."""
    stem = {"safetensors": "model", "bin": "pytorch_model"}[ending]

    def write(model: nn.Module, folder: Path) -> Path:
        state = dict(model.state_dict())
        target = folder / "ckpt"
        target.mkdir()
        (target / "config.json").write_text(json.dumps({"architectures": ["Net"]}))
        for name, content in beside.items():
            torch.save(content, target / name.replace("_bin", ".bin"))
        if shards == 1:
            save(state, target / f"{stem}.{ending}")
            return target
        weight_map = {}
        for shard in range(shards):
            part = dict(list(state.items())[shard::shards])
            name = f"{stem}-{shard + 1:05}-of-{shards:05}.{ending}"
            save(part, target / name)
            weight_map |= dict.fromkeys(part, name)
        index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        (target / f"{stem}.{ending}.index.json").write_text(json.dumps(index))
        return target

    return write


def distributed(content: Callable[[State], Any]) -> Callable[[nn.Module, Path], Path]:
    """A folder of torch.distributed.checkpoint."""

    def write(model: nn.Module, folder: Path) -> Path:
        from torch.distributed import checkpoint

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is one process
            checkpoint.save(content(dict(model.state_dict())), checkpoint_id=folder / "ckpt", no_dist=True)
        return folder / "ckpt"

    return write


def several_files(model: nn.Module, folder: Path) -> Path:
    (folder / "ckpt").mkdir()
    for name in ("last.ckpt", "best.ckpt"):
        torch.save(lightning(model.state_dict()), folder / "ckpt" / name)
    return folder / "ckpt"


def nothing(model: nn.Module, folder: Path) -> Path:
    (folder / "ckpt").mkdir()
    return folder / "ckpt"


# How the tensors lie in the file.


def views(state: State) -> State:
    """All weights in one storage, one after the other."""
    floats = {name: t for name, t in state.items() if t.is_floating_point()}
    flat = torch.cat([torch.ones(3), *(t.reshape(-1) for t in floats.values())])[3:]
    parts = flat.split([t.numel() for t in floats.values()])
    return state | {n: part.view(floats[n].shape) for n, part in zip(floats, parts, strict=True)}


def channels_last(state: State) -> State:
    last = torch.channels_last
    return {
        n: t.to(memory_format=last) if t.ndim == 4 else t.t().contiguous().t() if t.ndim == 2 else t
        for n, t in state.items()
    }


def on_a_gpu(model: nn.Module, folder: Path) -> Path:
    """As a machine with a GPU writes it: the storages say that they were there."""
    tag = torch.serialization.location_tag
    torch.serialization.location_tag = lambda storage: "cuda:0"
    try:
        return saved({"state_dict": model.state_dict()}, folder)
    finally:
        torch.serialization.location_tag = tag


def without_counters(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def parameters(model: nn.Module) -> State:
    return {name: p.detach() for name, p in model.named_parameters()}


# Another model's.


def resized(width: int, classes: int, *options: str, **expected: Any) -> Kind:
    def another(model: nn.Module) -> nn.Module:
        return type(model)(width, classes).eval()

    def filled(model: nn.Module) -> State:
        state = another(model).state_dict()
        return {n: torch.full_like(t, 0.5) if t.is_floating_point() else t for n, t in state.items()}

    return Kind(lambda model, folder: saved(filled(model), folder), options, filled, **expected)


def renamed(state: State, **names: str) -> State:
    """Each first part of a name that is told, in another wording."""
    return {
        ".".join([names.get(head, head), tail]): tensor
        for (head, _, tail), tensor in ((name.partition("."), tensor) for name, tensor in state.items())
    }


def with_nan(state: State) -> State:
    spoilt = state["conv2.weight"].clone()
    spoilt[0, 0, 0, 0] = torch.nan
    return state | {"conv2.weight": spoilt}


# Damage, and files that are something else.


def truncated(model: nn.Module, folder: Path) -> Path:
    path = saved(model.state_dict(), folder)
    path.write_bytes(path.read_bytes()[:-700])
    return path


def zeroed(model: nn.Module, folder: Path) -> Path:
    """64 bytes of the weights are zero, as a broken download leaves them."""
    path = saved(model.state_dict(), folder)
    weight = model.get_parameter("conv2.weight").detach().numpy().tobytes()
    data = path.read_bytes()
    path.write_bytes(data.replace(weight[:64], bytes(64)))
    assert path.read_bytes() != data
    return path


def scripted(model: nn.Module, folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated; what it wrote before that is still about
        torch.jit.save(torch.jit.trace(model, torch.zeros(1, 1, 8, 8)), folder / "ckpt.pt")
    return folder / "ckpt.pt"


def exported(model: nn.Module, folder: Path) -> Path:
    """What torch.export.save names its members, without its seconds."""
    names = ("archive_format", "data/weights/weight_0", "models/model.json", "data/sample_inputs/model.pt")
    with zipfile.ZipFile(folder / "ckpt.pt2", "w") as archive:
        for name in names:
            archive.writestr(f"ckpt/{name}", "pt2")
    return folder / "ckpt.pt2"


def numpy_zip(model: nn.Module, folder: Path) -> Path:
    np.savez(folder / "ckpt.npz", **arrays(model.state_dict()))
    return folder / "ckpt.npz"


def zip_of_checkpoint(model: nn.Module, folder: Path) -> Path:
    with zipfile.ZipFile(folder / "ckpt.zip", "w") as archive:
        archive.write(saved(model.state_dict(), folder), "model/ckpt.pt")
    return folder / "ckpt.zip"


def tar_of_torch_0_1(model: nn.Module, folder: Path) -> Path:
    with tarfile.open(folder / "ckpt.pt", "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"\x80\x02}."))
    return folder / "ckpt.pt"


def missing(model: nn.Module, folder: Path) -> Path:
    return folder / "ckpt.pt"


# Code.


class Runs:
    """Pickled, it has whoever unpickles it make a file."""

    def __init__(self, sentinel: Path) -> None:
        self.command = f"touch {sentinel}"

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


def sentinel(folder: Path) -> Path:
    """The file that is there if code of a checkpoint ran."""
    return folder / "sentinel"


def hostile(
    content: Callable[[State, Any], Any], *, zipped: bool = True, plain: bool = False, **expected: Any
) -> Kind:
    def write(model: nn.Module, folder: Path) -> Path:
        made = content(dict(model.state_dict()), Runs(sentinel(folder)))
        if not plain:
            return saved(made, folder, zipped=zipped)
        (folder / "ckpt.pt").write_bytes(pickle.dumps(made))
        return folder / "ckpt.pt"

    return Kind(write, **{"told": {"ignored": r"(posix|os|nt)\.system"}, **expected})


def of_averages(model: nn.Module) -> State:
    return averaged(model.state_dict())


def of_halves(model: nn.Module) -> State:
    return rounded(model.state_dict(), torch.float16)


EMA = ("--weights", "ema")
ASKS = r"--key"
HAS_EMA = {"averaged": "ema"}
NAMESPACE = {"ignored": r"argparse\.Namespace"}
NORMALIZER = {"normalizer": r'"mean": \[0\.25\], .*"std": \[0\.5\]'}

KINDS: dict[str, Kind] = {
    # where the state dict lies
    "bare": of(lambda s: s),
    "state_dict": of(lambda s: {"epoch": 9, "state_dict": s}),
    "model": of(lambda s: {"model": s, "optimizer": OPTIMIZER}),
    "model_state_dict": of(lambda s: {"model_state_dict": s, "optimizer_state_dict": OPTIMIZER, "loss": 0.1}),
    "state": of(lambda s: {"state": s}),
    "weights": of(lambda s: {"weights": s}),
    "nested": of(lambda s: {"checkpoint": {"model": s}}, told={"mappings": "checkpoint/model"}),
    "beside an optimizer": of(lambda s: {**s, "optimizer": OPTIMIZER, "epoch": 9}),
    "parameters with gradients": Kind(lambda model, folder: saved(model.state_dict(keep_vars=True), folder)),
    "defaultdict": of(lambda s: {"model": s, "meters": defaultdict(list, loss=[0.1])}),
    "in a Namespace": of(lambda s: argparse.Namespace(model=s, epoch=9), told=NAMESPACE),
    "two of equal weights": of(lambda s: {"ema": s, "model": s}),
    # what wrappers do to the names
    **{
        f"prefix {prefix}": of(
            lambda s, prefix=prefix: prefixed(s, prefix),
            told={"fits": f"prefix '{re.escape(prefix)}' removed"},
        )
        for prefix in (
            "module.",
            "_orig_mod.",
            "module._orig_mod.",
            "_orig_mod.module.",
            "model.",
            "encoder.net.",
        )
    },
    "a prefix in the model alone": of(
        lambda s: s, "--model", "zoo_net.py:Wrapped", expects=lambda m: prefixed(m.state_dict(), "inner.")
    ),
    "sequential after a normaliser": of(
        lambda s: {**prefixed(mean_and_std("mean std", 1, 1, 1, 1), "0."), **prefixed(s, "1.")},
        told={"fits": r"prefix '1\.'", **NORMALIZER},
    ),
    "mean and std at the top": of(lambda s: {**mean_and_std("mean std", 1, 1, 1, 1), **s}, told=NORMALIZER),
    # frameworks and papers
    "lightning": of(lightning, told={"fits": r"prefix 'model\.' removed.*criterion\.weight"}),
    "lightning with a Namespace": of(lambda s: lightning(s, ARGS), told=NAMESPACE),
    "lightning with omegaconf": Kind(lightning_omegaconf, told={"ignored": "DictConfig"}),
    "lightning with averaging": of(lightning_averaging),
    "lightning with averaging, averages": of(lightning_averaging, *EMA, expects=of_averages),
    "lightning with averaging, by key": of(lightning_averaging, "--key", "state_dict", expects=of_averages),
    "lightning with an ema callback": of(lightning_callback, told=HAS_EMA),
    "lightning with an ema callback, averages": of(lightning_callback, *EMA, expects=of_averages),
    "lightning with an ema member": of(lightning_member, told=HAS_EMA),
    "lightning with an ema member, averages": of(lightning_member, *EMA, expects=of_averages),
    "madry": of(madry, told={"fits": r"prefix 'module\.model\.'", **NORMALIZER}),
    "madry by dill": Kind(madry_dill, told={"ignored": r"dill\._dill\._create_function", **NORMALIZER}),
    "awp": of(lambda s: {"state_dict": prefixed(s, "module."), "opt_state_dict": OPTIMIZER, **AWP}),
    "trades": of(lambda s: OrderedDict(prefixed(s, "module."))),
    "robustbench": of(lambda s: {"last": averaged(s), "best": s}, refused=ASKS),
    "robustbench, best": of(lambda s: {"last": averaged(s), "best": s}, "--key", "best"),
    "robustbench, last": of(lambda s: {"last": averaged(s), "best": s}, "--key", "last", expects=of_averages),
    "kuangliu": of(lambda s: {"net": prefixed(s, "module."), "acc": 95.4, "epoch": 200}),
    "timm": of(timm, told={**NAMESPACE, **HAS_EMA}),
    "timm, averages": of(timm, *EMA, expects=of_averages),
    "torchvision references": of(references, told=HAS_EMA),
    "torchvision references, averages": of(references, *EMA, expects=of_averages),
    "deepspeed": of(lambda s: {"module": s, "optimizer": None, "dp_world_size": 8, "ds_version": "0.14"}),
    "dino": of(lambda s: {"student": prefixed(s, "module."), "teacher": averaged(s)}, refused=ASKS),
    "dino, student": of(
        lambda s: {"student": prefixed(s, "module."), "teacher": averaged(s)}, "--key", "student"
    ),
    # averages of weights
    "only averages": of(lambda s: {"state_dict_ema": averaged(s)}, refused="--weights ema", told=HAS_EMA),
    "only averages, asked for": of(lambda s: {"state_dict_ema": averaged(s)}, *EMA, expects=of_averages),
    "no averages, asked for": of(lambda s: {"state_dict": s}, *EMA, refused="averaged|ema"),
    "AveragedModel": of(
        lambda s: {"n_averaged": torch.tensor(9), **prefixed(averaged(s), "module.")}, expects=of_averages
    ),
    "swa": of(lambda s: {"swa_state_dict": averaged(s), "state_dict": s}),
    "swa, averages": of(
        lambda s: {"swa_state_dict": averaged(s), "state_dict": s}, *EMA, expects=of_averages
    ),
    "swa, by key": of(
        lambda s: {"swa_state_dict": averaged(s), "state_dict": s},
        "--key",
        "swa_state_dict",
        expects=of_averages,
    ),
    # other formats
    "safetensors": safetensors(lambda s: s, told={"format": "safetensors"}),
    "safetensors with metadata": safetensors(
        lambda s: prefixed(s, "model."), {"format": "pt", "run": "17"}, told={"metadata": '"run": "17"'}
    ),
    "safetensors in bfloat16": safetensors(
        lambda s: {n: t.bfloat16() if t.is_floating_point() else t for n, t in s.items()},
        expects=lambda model: rounded(model.state_dict(), torch.bfloat16),
        told={"fits": "bfloat16"},
    ),
    "hugging face, sharded": Kind(hugging_face(3, "safetensors", write_safetensors)),
    "hugging face, single": Kind(hugging_face(1, "safetensors", write_safetensors)),
    "hugging face, trainer": Kind(
        hugging_face(1, "safetensors", write_safetensors, optimizer_bin=OPTIMIZER, training_args_bin=ARGS)
    ),
    "hugging face, sharded bin": Kind(hugging_face(2, "bin", torch.save)),
    "hugging face, single bin": Kind(hugging_face(1, "bin", torch.save)),
    "distributed": Kind(distributed(lambda s: s)),
    "distributed, nested": Kind(distributed(lambda s: {"app": {"model": s, "optimizer": OPTIMIZER}})),
    "legacy": of(lambda s: s, zipped=False, told={"format": r"1\.6"}),
    "legacy with a Namespace": of(
        lambda s: {"state_dict": prefixed(s, "module."), "args": ARGS}, zipped=False, told=NAMESPACE
    ),
    "pickle, protocol 2": dumped(lambda s: s, 2, told={"format": "pickle"}),
    "pickle, protocol 4": dumped(lambda s: {"net": s}, 4),
    "pickle, protocol 5": dumped(lambda s: s, 5),
    "pickle of arrays": dumped(arrays, 4),
    "pickle of arrays, numpy 1": Kind(pickled_by_numpy_1),
    "detectron2": dumped(detectron, 4),
    "arrays": of(arrays),
    # whole modules, whose class is not there
    "whole": whole(lambda m: m),
    "whole, in a dict": whole(lambda m: {"model": m, "epoch": 9}),
    "whole, in DataParallel": whole(nn.DataParallel),
    "whole, legacy": whole(lambda m: m, zipped=False),
    "whole, with an average": whole(yolo, expects=of_halves),
    # how the tensors lie in the file
    "float16": of(
        lambda s: {n: t.half() if t.is_floating_point() else t for n, t in s.items()},
        expects=of_halves,
        told={"fits": "float16"},
    ),
    "bfloat16": of(
        lambda s: {n: t.bfloat16() if t.is_floating_point() else t for n, t in s.items()},
        expects=lambda model: rounded(model.state_dict(), torch.bfloat16),
        told={"fits": "bfloat16"},
    ),
    "float64": of(lambda s: {n: t.double() if t.is_floating_point() else t for n, t in s.items()}),
    "views of one storage": of(views),
    "channels last": of(channels_last),
    "written on a GPU": Kind(on_a_gpu),
    "without counters": of(without_counters),
    # another model's, or no model's
    "headless": of(
        lambda s: {n: t for n, t in s.items() if not n.startswith("fc.")},
        refused=r"fc\.weight is not in the file",
    ),
    "parameters without buffers": Kind(
        lambda model, folder: saved(parameters(model), folder), refused=r"bn1\.running_mean"
    ),
    "other classes": resized(4, 5, refused=r"fc\.weight.*\(5, 16\).*\(3, 16\).*5 classes"),
    "other classes, told": resized(4, 5, "--model-arg", "classes=5"),
    "other width": resized(8, 3, refused=r"\(8, 1, 3, 3\).*\(4, 1, 3, 3\).*width"),
    "other width, told": resized(8, 3, "--model-arg", "width=8"),
    "other architecture": of(
        lambda s: {
            "layer1.0.weight": torch.ones(4, 4),
            "layer1.0.bias": torch.ones(4),
            "head.weight": torch.ones(3, 4),
        },
        refused="architecture|another model",
    ),
    "an extra layer": of(lambda s: {**s, "fc.extra": torch.ones(4)}, refused=r"fc\.extra"),
    "renamed parts": of(
        lambda s: renamed(
            s,
            conv1="backbone.conv1",
            bn1="backbone.bn1",
            conv2="backbone.conv2",
            bn2="backbone.bn2",
            fc="head.fc",
        ),
        refused=r"head|fc\.weight",
    ),
    "optimizer alone": of(
        lambda s: {"optimizer": OPTIMIZER, "epoch": 9}, refused="optimizer|weights|state dict"
    ),
    "optimizer's state dict": of(lambda s: OPTIMIZER, refused="optimizer|weights|state dict|not fit"),
    "no tensor": of(lambda s: {"epoch": 9, "args": {"lr": 0.1}}, refused="tensor|state dict|weights"),
    "nan": of(with_nan, refused=r"NaN.*conv2\.weight"),
    # code
    "os.system beside the weights": hostile(lambda s, evil: {"state_dict": s, "evil": evil}),
    "os.system before the weights": hostile(lambda s, evil: [evil, {"state_dict": s}]),
    "os.system, legacy": hostile(lambda s, evil: {"model": s, "evil": evil}, zipped=False),
    "os.system, pickle": hostile(lambda s, evil: {"model": s, "evil": evil}, plain=True),
    "os.system instead of the weights": hostile(lambda s, evil: evil, refused="tensor|state dict|weights"),
    # damage, and files that are something else
    "truncated": Kind(truncated, refused="cut short"),
    "zeroed bytes": Kind(zeroed, refused=r"damaged.*data/\d+"),
    "torchscript": Kind(scripted, refused="TorchScript.*code"),
    "torch.export": Kind(exported, refused=r"torch\.export.*code"),
    "npz": Kind(numpy_zip, refused="npz|numpy|NumPy"),
    "zip of a checkpoint": Kind(zip_of_checkpoint, refused="zip"),
    "tar of torch 0.1": Kind(tar_of_torch_0_1, refused="tar|0.1"),
    "folder of several": Kind(several_files, refused=r"(?=.*last\.ckpt)(?=.*best\.ckpt)"),
    "empty folder": Kind(nothing, refused="folder"),
    "no file": Kind(missing, refused="no file"),
    "empty": raw(b"", "empty"),
    "web page": raw(b"<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title>", "web page"),
    "lfs pointer": raw(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "hdf5": raw(b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "json": raw(b'{"epoch": 9, "loss": [0.1, 0.2]}', "JSON"),
    "text": raw(b"# Notes\nrun 17 was good\n", "no checkpoint"),
    "gzip": raw(b"\x1f\x8b\x08\x00" + bytes(40), "gzip|compressed|no checkpoint"),
}
