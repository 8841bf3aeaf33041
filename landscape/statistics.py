"""The running statistics that BatchNorm would have at other weights, estimated anew from data."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase

from landscape.errors import InputError
from landscape.network import Network
from landscape.objective import exact_arithmetic


def recomputed(
    network: Network,
    parts: Sequence[Tensor],
    inputs: Iterable[Tensor],
    rest: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The buffers `running_mean` and `running_var` (C,) by name, as `network(parts, x, buffers)` takes them.

    Of every BatchNorm and InstanceNorm that keeps them: the means over batches x (B, …) of a batch's own mean
    and unbiased variance, weighted by its size, while these layers normalise by the batch and all others are
    as in evaluation (torch.optim.swa_utils.update_bn, which weighs all batches alike). Nothing of the network
    changes; one without such layers costs no pass.

    rest: other buffers and frozen parameters, by name, in place of the module's own
    """
    names = [
        name
        for name, m in network.module.named_modules()
        if isinstance(m, _NormBase) and m.running_mean is not None
    ]
    if not names:
        return {}
    shared: dict[int, Any] = {id(p): p for p in network.module.parameters()}  # nothing writes to them
    module = copy.deepcopy(network.module, shared)
    layers = {name: module.get_submodule(name) for name in names}
    seen: dict[nn.Module, int] = {}
    for layer in layers.values():
        layer.train()
        layer.register_forward_pre_hook(_weigh(seen))
    own = {f"{name}.{kind}" for name in names for kind in ("running_mean", "running_var")}
    others = {name: tensor for name, tensor in (rest or {}).items() if name not in own}
    given = {**dict(zip(network.names, parts, strict=True)), **others}
    with torch.no_grad(), exact_arithmetic():
        for x in inputs:
            try:
                functional_call(module, given, (x,))
            except ValueError as error:
                raise InputError(
                    f"BatchNorm has no variance to estimate from a batch of {len(x)} ({error}); "
                    "give more examples, or keep its statistics frozen"
                ) from error
    return {
        f"{name}.{kind}": getattr(layer, kind)
        for name, layer in layers.items()
        if layer in seen
        for kind in ("running_mean", "running_var")
    }


def _weigh(seen: dict[nn.Module, int]) -> Any:
    """A hook that makes a layer's statistics the mean over all the examples it has seen."""

    def hook(layer: _NormBase, args: tuple[Tensor, ...]) -> None:
        if layer not in seen:
            layer.reset_running_stats()
        seen[layer] = seen.get(layer, 0) + len(args[0])
        layer.momentum = len(args[0]) / seen[layer]

    return hook
