"""A module with BatchNorm as part of the layers before it: the same function in fewer operations.

In evaluation BatchNorm is affine, and with the convolution or linear layer before it one layer of that kind,

    w' = w γ / √(σ² + ε),    b' = β + (b − μ) γ / √(σ² + ε),

for any weights and statistics, and as differentiable in them. Which BatchNorm alone sees the outputs of which
layer is watched in a pass at other weights and statistics, where the outputs confirm it; what is not sure
stays as it is.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from landscape.outputs import logits

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
EXACT = 1e-10
"""What the outputs, in float64, may differ by, as a share of the largest."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A layer and the BatchNorm that alone sees its outputs, by name and as modules."""

    names: tuple[str, str]
    layer: Any
    norm: Any

    def __call__(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weight and bias of the one layer, by name, of tensors that are given by name or their own."""

        def own(name: str, module: nn.Module, kind: str) -> Any:
            return given.get(f"{name}.{kind}", getattr(module, kind))

        layer, norm = self.names
        weight, bias = (own(layer, self.layer, kind) for kind in ("weight", "bias"))
        gamma, beta = (own(norm, self.norm, kind) for kind in ("weight", "bias"))
        mean, variance = (own(norm, self.norm, f"running_{kind}") for kind in ("mean", "var"))
        scale = (variance + self.norm.eps).rsqrt()
        scale = scale if gamma is None else scale * gamma
        shift = -mean * scale if bias is None else (bias - mean) * scale
        return {
            f"{layer}.weight": weight * scale.view(-1, *[1] * (weight.ndim - 1)),
            f"{layer}.bias": shift if beta is None else shift + beta,
        }


class Folded:
    """A module without the BatchNorms of some pairs, as a function of the tensors that the whole takes.

    module: without them; its other tensors are those of the whole
    """

    def __init__(self, whole: nn.Module, names: list[tuple[str, str]]) -> None:
        self.pairs = [Pair((a, b), whole.get_submodule(a), whole.get_submodule(b)) for a, b in names]
        self.module = _without(whole, self.pairs) if names else whole
        self._gone = tuple(f"{norm}." for _, norm in names)

    def tensors(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What `module` takes, by name, for what is given to the whole module."""
        found = {name: tensor for name, tensor in given.items() if not name.startswith(self._gone)}
        for pair in self.pairs:
            found |= pair(given)
        return found

    def __call__(self, given: Mapping[str, Tensor], x: Tensor) -> Any:
        """What the whole module returns for x."""
        return functional_call(self.module, self.tensors(given), (x,))


def folded(module: nn.Module, x: Tensor) -> Folded:
    """The module with every BatchNorm folded that a pass over one or two of the inputs x (B, …) allows."""
    kinds = {type(m) for m in module.modules()}
    if kinds.isdisjoint(LAYERS) or kinds.isdisjoint(NORMS):
        return Folded(module, [])
    with torch.inference_mode(False), torch.enable_grad():
        try:
            other, few = _elsewhere(module), x[:2].detach().clone().double()
            names = _watched(other, few)
            with torch.no_grad():
                given = dict(other.named_parameters())
                true, ours = (logits(found) for found in (other(few), Folded(other, names)(given, few)))
            right = (ours - true).abs().max() <= EXACT * true.abs().max()
        except Exception:  # a model is the user's own code, and may not bear what was done to it here
            right, names = torch.tensor(False), []
    return Folded(module, names if right else [])


def transformed() -> bool:
    """Whether a transformation of torch.func is under way, inside of which no pass can be watched."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def untouched(layer: nn.Module) -> bool:
    """Whether a layer does what its type says: it has no hook, no forward of its own, no computed weight."""
    hooks = layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks
    computed = isinstance(layer, LAYERS) and "weight" not in layer._parameters
    return not computed and "forward" not in vars(layer) and not any(hooks)


def _without(whole: nn.Module, pairs: list[Pair]) -> nn.Module:
    shared: dict[int, Any] = {id(t): t for t in [*whole.parameters(), *whole.buffers()]}
    module = copy.deepcopy(whole, shared)
    for pair in pairs:
        layer, norm = pair.names
        own = module.get_submodule(layer)
        if own.bias is None:  # a place for the shift
            own.bias = nn.Parameter(torch.zeros_like(pair.layer.weight[:, 0].flatten(1)[:, 0]), False)
        module.set_submodule(norm, nn.Identity())
    return module


def _elsewhere(module: nn.Module) -> nn.Module:
    """A copy in float64 with other weights and other statistics."""
    found, rng = copy.deepcopy(module).double(), torch.Generator().manual_seed(0)

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=rng, dtype=torch.float64).to(like.device)

    for p in found.parameters():
        p.data = draw(p) / max(1, p[0].numel() if p.ndim else 1) ** 0.5
        p.requires_grad_()
    for m in found.modules():
        if isinstance(m, _BatchNorm) and m.running_mean is not None and m.running_var is not None:
            m.running_mean.copy_(0.3 * draw(m.running_mean))
            m.running_var.copy_(0.5 + draw(m.running_var).abs())
    return found


def _watched(module: nn.Module, x: Tensor) -> list[tuple[str, str]]:
    """The names of layers, each with that of the BatchNorm that alone sees its outputs in a pass over x."""
    name = {m: n for n, m in _alone(module)}
    called: Counter[nn.Module] = Counter()
    outputs: dict[Any, tuple[nn.Module, Tensor]] = {}  # kept, so that no node takes the place of another
    before: dict[nn.Module, tuple[nn.Module, Any, Any]] = {}

    def watch(m: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        called[m] += 1
        if isinstance(m, LAYERS):
            dimensions = 2 if isinstance(m, nn.Linear) else m.weight.ndim
            if output.ndim == dimensions:  # channels are where BatchNorm has them
                outputs[output.grad_fn] = m, output
        elif not m.training and args[0].grad_fn in outputs:
            layer, made = outputs[args[0].grad_fn]
            if made is args[0]:
                before[m] = layer, made.grad_fn, output.grad_fn

    handles = [m.register_forward_hook(watch) for m in name]
    try:
        result = logits(module(x))
    finally:
        for handle in handles:
            handle.remove()
    into = _edges(result.grad_fn)
    return [
        (name[layer], name[norm])
        for norm, (layer, first, second) in before.items()
        if called[norm] == called[layer] == 1 and into.get(first) == [second]
    ]


def _alone(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Layers and BatchNorms in evaluation, by name, that do what their type says and share nothing."""
    every = list(module.named_modules(remove_duplicate=False))
    uses = Counter(id(m) for _, m in every)
    for named in (module.named_parameters, module.named_buffers):
        uses.update(id(tensor) for _, tensor in named(remove_duplicate=False))
    for name, m in every:
        if type(m) not in LAYERS + NORMS or not untouched(m) or not name:
            continue
        own = [m, *m._parameters.values(), *m._buffers.values()]
        kept = not isinstance(m, _BatchNorm) or (m.running_mean is not None and m.running_var is not None)
        if kept and all(uses[id(one)] == 1 for one in own if one is not None):
            yield name, m


def _edges(last: Any) -> dict[Any, list[Any]]:
    """By node of the graph behind the last one, the nodes that take what it makes, once for each time."""
    found: dict[Any, list[Any]] = {last: []}
    waiting = [last]
    while waiting:
        node = waiting.pop()
        for following, _ in node.next_functions:
            if following is None:
                continue
            if following not in found:
                waiting.append(following)
            found.setdefault(following, []).append(node)
    return found
