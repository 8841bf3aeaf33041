"""The running statistics that BatchNorm would have at other weights, estimated anew from data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase

from landscape.errors import InputError
from landscape.network import Network, logits
from landscape.objective import exact_arithmetic

Forward = Callable[[Sequence[Tensor], Tensor, Mapping[str, Tensor]], Tensor]


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
    names = keeping(network)
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
                raise _too_few(len(x), error) from error
    return {
        f"{name}.{kind}": getattr(layer, kind)
        for name, layer in layers.items()
        if layer in seen
        for kind in ("running_mean", "running_var")
    }


def keeping(network: Network) -> list[str]:
    """The layers of a network that keep running statistics, by name."""
    modules = network.module.named_modules()
    return [name for name, m in modules if isinstance(m, _NormBase) and m.running_mean is not None]


def holding(network: Network, rest: Mapping[str, Tensor]) -> Network:
    """The network with other buffers and frozen parameters, by name; itself where none are given."""
    if not rest:
        return network
    module = copy.deepcopy(network.module)
    told = module.state_dict(keep_vars=True)
    for name, tensor in rest.items():
        told[name].data.copy_(tensor)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in network.names)
    return Network(module, dtype=network.theta.dtype, device=network.theta.device, name=network.name)


def by_batch(network: Network) -> Forward:
    """The network as its training sees it: BatchNorm normalises by the batch, all else as in evaluation.

    A function (parts, x, rest) of parameters, inputs (B, …), and other buffers and frozen parameters by name.
    Nothing is remembered of a batch; without such layers it is the network itself.
    """
    names = keeping(network)
    module = copy.deepcopy(network.module, {id(p): p for p in network.module.parameters()})
    gone = set()
    for name in names:
        layer: Any = module.get_submodule(name)
        layer.running_mean = layer.running_var = None  # then torch has none but the batch's own to take
        layer.track_running_stats = False  # which InstanceNorm asks for besides
        gone |= {f"{name}.running_mean", f"{name}.running_var"}
    if not names:
        return network

    def forward(parts: Sequence[Tensor], x: Tensor, rest: Mapping[str, Tensor]) -> Tensor:
        kept = {name: tensor for name, tensor in rest.items() if name not in gone}
        given = {**dict(zip(network.names, parts, strict=True)), **kept}
        try:
            return logits(functional_call(module, given, (x,)))
        except ValueError as error:
            raise _too_few(len(x), error) from error

    return forward


def _too_few(count: int, error: ValueError) -> InputError:
    return InputError(
        f"BatchNorm has no variance to estimate from a batch of {count} ({error}); "
        "give more examples, or keep its statistics frozen"
    )


def _weigh(seen: dict[nn.Module, int]) -> Any:
    """A hook that makes a layer's statistics the mean over all the examples it has seen."""

    def hook(layer: _NormBase, args: tuple[Tensor, ...]) -> None:
        if layer not in seen:
            layer.reset_running_stats()
        seen[layer] = seen.get(layer, 0) + len(args[0])
        layer.momentum = len(args[0]) / seen[layer]

    return hook
