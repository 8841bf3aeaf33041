"""The network for passes without gradients: sums and ReLU are done while a convolution writes its outputs.

A fifth of the time of a ResNet's pass is reading and writing its activations once more. Max-pooling takes an
eighth of that of a LeNet, since torch runs through its few channels one by one; the maximum of whole rows,
then of columns, takes a third as long. The network's graph is traced; where it cannot be, or where a bit of
the outputs would change, the network stays as it is.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.func import functional_call

from landscape.folded import untouched
from landscape.network import Network
from landscape.outputs import logits

SUMS = (operator.add, operator.iadd, torch.add)
RELUS = (F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_", nn.ReLU)
POOLS = (F.max_pool2d, torch.max_pool2d, nn.MaxPool2d)
FEW = 32
"""Channels up to which torch's own max-pooling is slow if they lie side by side; if not, it always is."""


class Fused:
    """The network without gradients, bit for bit; see the top of the file.

    batches: inputs (B, …) of each size that it will see, on which it is confirmed
    """

    def __init__(self, network: Network, batches: list[Tensor]) -> None:
        self.network, self.folded = network, network.folded(batches[0])
        self.module = self.folded.module
        whole = self.module
        # At other weights and statistics too: a trace may have taken their values for constants.
        others = {name: 1.1 * tensor for name, tensor in network.rest().items()}
        cells = [(network.parts(network.theta), {}), (network.parts(1.1 * network.theta), others)]
        try:
            self.module = _fused(whole)
            with torch.no_grad():
                right = all(torch.equal(self(p, x, b), network(p, x, b)) for p, b in cells for x in batches)
        except Exception:  # code of the user's own that cannot be traced, or a platform without the operation
            right = False
        if not right:
            self.module = whole

    @torch.no_grad()
    def __call__(self, parts: list[Tensor], x: Tensor, buffers: dict[str, Tensor]) -> Tensor:
        """The logits (B, C) of x (B, …), as the network's own call."""
        given = self.folded.tensors(self.network.given(parts, buffers))
        return logits(functional_call(self.module, given, (x,)))


class _Convolution(nn.Module):
    """A convolution, the sum with another tensor, ReLU: in one operation."""

    def __init__(self, own: Any) -> None:
        super().__init__()
        self.weight, self.bias = own.weight, own.bias
        self.settings = own.padding, own.stride, own.dilation, own.groups

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        run, own = torch.ops.mkldnn._convolution_pointwise, (self.weight, self.bias, *self.settings)
        if other is None:
            return run(x, *own, "relu", [], "")
        return run.binary(x, other, *own, "add", 1.0, "relu", [], "")


class _Pool(nn.Module):
    """The largest of each 2 × 2 pixels; a last row or column without a partner is left out."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or (x.stride(1) == 1 and x.shape[1] > FEW):
            return F.max_pool2d(x, 2)
        rows, columns = (size // 2 * 2 for size in x.shape[2:])
        found = torch.maximum(x[:, :, 0:rows:2, :columns], x[:, :, 1:rows:2, :columns])
        return torch.maximum(found[..., 0::2], found[..., 1::2])


def _fused(module: nn.Module) -> nn.Module:
    """A copy of the module that shares its tensors, or itself; raises where it cannot be traced."""
    graph = fx.symbolic_trace(module)
    kinds = {name: type(m) for name, m in graph.named_modules()}

    def kind(node: Any) -> Any:
        return kinds.get(node.target) if node.op == "call_module" else node.target

    def convolution(node: Any) -> bool:
        """Whether it is one whose outputs nobody but the next operation sees."""
        if not isinstance(node, fx.Node) or kind(node) is not nn.Conv2d or len(node.users) > 1:
            return False
        own = graph.get_submodule(str(node.target))
        plain = own.padding_mode == "zeros" and not isinstance(own.padding, str)
        return plain and untouched(own) and calls[node.target] == 1

    def pools(node: Any) -> bool:
        """Whether it is max-pooling over 2 × 2 pixels that share none."""
        if kind(node) not in POOLS:
            return False
        told: dict[str, Any] = {"stride": None, "padding": 0, "dilation": 1, "ceil_mode": False}
        if node.op == "call_module":
            own = graph.get_submodule(str(node.target))
            if not untouched(own) or own.return_indices:
                return False
            told = {name: getattr(own, name) for name in ("kernel_size", *told)}
        else:
            told |= dict(zip(("kernel_size", *told), node.args[1:], strict=False)) | node.kwargs
        size, step, padding, dilation = (
            tuple(each) if isinstance(each := told.get(name), Sequence) else (each, each)
            for name in ("kernel_size", "stride", "padding", "dilation")
        )
        apart = size == (2, 2) and step in ((2, 2), (None, None), ()) and padding == (0, 0)
        return apart and dilation == (1, 1) and not told["ceil_mode"] and not told.get("return_indices")

    calls = Counter(node.target for node in graph.graph.nodes if node.op == "call_module")
    for node in list(graph.graph.nodes):
        if kind(node) is nn.Identity:  # where BatchNorm was
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
        if pools(node) and isinstance(node.args[0], fx.Node):
            graph.add_submodule("_pool", _Pool())
            with graph.graph.inserting_before(node):
                node.replace_all_uses_with(graph.graph.call_module("_pool", (node.args[0],)))
            graph.graph.erase_node(node)
            continue
        if kind(node) not in RELUS:
            continue
        last, other = node.args[0], tuple[fx.Node, ...]()
        if kind(last) in SUMS and len(last.users) == 1 and len(last.args) == 2 and not last.kwargs:
            # `a += b` writes to a, which others may see.
            places = (0,) if kind(last) is operator.iadd else (0, 1)
            own = [k for k in places if convolution(last.args[k])]
            if own and isinstance(last.args[1 - own[0]], fx.Node):
                last, other = last.args[own[0]], (last.args[1 - own[0]],)
        if not convolution(last):
            continue
        name = str(last.target)
        graph.set_submodule(name, _Convolution(graph.get_submodule(name)))
        with graph.graph.inserting_before(node):
            node.replace_all_uses_with(graph.graph.call_module(name, (last.args[0], *other)))
        graph.graph.erase_node(node)
    if not any(isinstance(m, _Convolution | _Pool) for m in graph.modules()):
        return module
    graph.graph.eliminate_dead_code()
    graph.recompile()
    graph._forward_pre_hooks.update(
        module._forward_pre_hooks
    )  # the normalisation of inputs; it is not traced
    return graph
