"""The exact diagonal of the Hessian for nets that are piecewise affine in each single parameter.

Such a net has ∂²f/∂θᵢ² = 0 almost everywhere: the diagonal of its Hessian is that of the Gauss-Newton matrix,

    (∇²L)ᵢᵢ = 1/n Σ over examples Σ_c μ_c ((∂f/∂θᵢ)ᵀ u_c)²,    ∇²_f ℓ = Σ_c μ_c u_c u_cᵀ,

for any loss ℓ of the logits f at fixed inputs (Dangel, Kunstner & Hennig, 1912.10985): one backward pass for
each of the C columns u_c, no random probe. The condition is read off the graph that autograd itself will
differentiate.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from landscape.data import total
from landscape.errors import NumericalError
from landscape.objective import Point, exact_arithmetic
from landscape.squares import BatchNorm, Convolution, Linear, shift

MOST_CLASSES = 256
"""Beyond this many outputs the backward passes cost more than a stochastic estimate to 1 %."""
ROWS = 32

# Affine, or affine on pieces, in all their inputs together: sums, selections, rearrangements, pooling, kinks.
AFFINE = frozenset(
    """
    Abs AdaptiveAvgPool2D AdaptiveAvgPool3D AdaptiveMaxPool2D Add Alias Amax Amin AsStrided AvgPool2D
    AvgPool3D Cat Clamp ClampMax ClampMin Clone ConstantPadNd Copy Expand Flip Gather Hardtanh Index
    IndexSelect LeakyRelu Max MaxPool2D MaxPool2DWithIndices MaxPool3DWithIndices Maximum Mean Min Minimum
    MkldnnMaxPool2D Narrow Neg Permute PixelShuffle ReflectionPad1D ReflectionPad2D Relu Repeat
    ReplicationPad2D ReshapeAlias Roll Rsub Select Slice Split SplitWithSizes Squeeze Stack Sub Sum T ToCopy
    Transpose Unbind Unsafe UnsafeSplit UnsafeView Unsqueeze UpsampleNearest2D View Where Threshold
    """.split()  # noqa: SIM905
)
# Affine in one input where the others do not depend on a parameter.
PRODUCTS = frozenset({"Mul", "Div"})


Squares = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class NotPiecewiseAffine(Exception):
    """Why the diagonal cannot be had: the operation or the use of a parameter that is not known affine."""


@dataclass(frozen=True, eq=False)
class _Layer:
    """Where parameters enter the graph: out = weight · input + bias, as one node of it.

    squares: the squared gradients of its weight, see `squares.py`
    """

    node: Any
    weight: int | None
    bias: int | None
    squares: Squares | None


def diagonal(point: Point) -> Tensor:
    """diag ∇²L_eps(θ) (P,) at the point's fixed perturbed data, exact to rounding, float64.

    The sum over a parameter's entries is that layer's trace. Costs about 0.7 (C + 1)
    gradients for C classes.
    Raises NotPiecewiseAffine where an operation is not known to be affine in each single parameter: a smooth
    activation, a parameter used twice or transformed, a layer of another kind than linear, convolution,
    BatchNorm.
    """
    return _diagonal(point)[0]


def exact_trace(point: Point) -> tuple[float, float]:
    """tr ∇²L_eps(θ), exact to rounding, and its standard error if the examples are a sample of more.

    That error is from the spread of the examples' own traces; NaN for a single one. Raises as `diagonal`.
    """
    found, each = _diagonal(point)
    error = each.std().item() / math.sqrt(len(each)) if len(each) > 1 else math.nan
    return found.sum().item(), error


def _diagonal(point: Point) -> tuple[Tensor, Tensor]:
    """The diagonal (P,), and the trace of each example's own Hessian (n,), float64."""
    network = point.objective.network
    leaves = point.leaves()
    traces: list[Tensor] = []

    def chunk(rows: slice) -> Tensor:
        x, y = point.perturbed.inputs(rows, point.theta)
        with torch.enable_grad():
            logits = network.plain(leaves, x)
        if logits.shape[1] > MOST_CLASSES:
            raise NotPiecewiseAffine(f"{logits.shape[1]} classes need as many backward passes")
        layers = _layers(logits, leaves)
        curvatures, columns = _root(point, logits.detach(), y)
        traces.append(torch.zeros(len(y), dtype=torch.float64, device=point.theta.device))
        if not layers or not columns:
            return torch.zeros_like(point.theta)
        _check_batch(logits, point, x)
        _check_rows(logits, columns, layers)
        edges = [GradientEdge(layer.node, 0) for layer in layers]
        deltas = [
            torch.autograd.grad(logits, edges, column, retain_graph=True, allow_unused=True)
            for column in columns
        ]
        point.objective.work["forward"] += (len(y) + 1) // 2
        point.objective.work["gradient"] += (len(columns) + 2) * len(y)
        found = [torch.zeros(leaf.numel(), dtype=leaf.dtype, device=leaf.device) for leaf in leaves]
        for place, layer in enumerate(layers):
            if deltas[0][place] is None:
                continue
            delta = torch.stack([column[place] for column in deltas])
            for parameter, squares in ((layer.bias, shift), (layer.weight, layer.squares)):
                if parameter is not None and squares is not None:
                    summed, each = squares(delta, curvatures)
                    found[parameter] = summed.reshape(-1)
                    traces[-1] += each
        if any(f.shape != (leaf.numel(),) for f, leaf in zip(found, leaves, strict=True)):
            raise NotPiecewiseAffine("a parameter is broadcast")
        return torch.cat(found)

    with exact_arithmetic():
        summed = total(chunk, point.perturbed, min(ROWS, point.objective.batch_size))
    if not torch.isfinite(summed).all():
        raise NumericalError("the diagonal of the Hessian contains NaN or infinity")
    return summed / len(point.perturbed), torch.cat(traces)


def _root(point: Point, logits: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Eigenvalues μ (K, B) and eigenvectors, as K columns (B, C), of the loss's Hessian in the logits."""
    z = logits.detach().double().requires_grad_()
    try:
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(point.objective.loss(z, y).sum(), z, create_graph=True)
            rows = [
                torch.autograd.grad(s.sum(), z, retain_graph=True)[0]
                if s.requires_grad
                else torch.zeros_like(z)
                for s in slope.unbind(dim=1)
            ]
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise NotPiecewiseAffine(f"the loss has no Hessian in the logits in torch: {reason}") from error
    hessians = torch.stack(rows, dim=1)
    if not torch.isfinite(hessians).all():
        raise NumericalError("the Hessian of the loss in the logits contains NaN or infinity")
    values, vectors = torch.linalg.eigh(hessians)
    # The loss of a constant shift of all logits is flat, so that one column at least is zero.
    kept = values.abs().amax(dim=0) > 1e-14 * values.abs().max()
    columns = [vectors[:, :, c].to(logits.dtype) for c in kept.nonzero().flatten().tolist()]
    return values[:, kept].T.to(logits.dtype), columns


def _layers(logits: Tensor, leaves: list[Tensor]) -> list[_Layer]:
    """The layers with parameters of the graph behind the logits; raises unless all is piecewise affine."""
    place = {id(leaf): i for i, leaf in enumerate(leaves)}
    if logits.grad_fn is None:
        return []
    layers, queue, seen, used = [], [logits.grad_fn], {logits.grad_fn}, set()
    while queue:
        node = queue.pop()
        layer = _layer(node, place, len(logits))
        parameters: list[Any] = []
        if layer is not None:
            parameters = [p for p in (layer.weight, layer.bias) if p is not None]
            if parameters:
                layers.append(layer)
            following = [node.next_functions[_INPUT[_name(node)]][0]]
        else:
            following = [edge[0] for edge in node.next_functions]
            name = _name(node)
            if name in PRODUCTS:
                if sum(edge is not None for edge in following) > 1 or (
                    name == "Div" and following[0] is None
                ):
                    raise NotPiecewiseAffine(
                        f"{node.name()} multiplies or divides by something that varies with θ"
                    )
            elif name not in AFFINE:
                raise NotPiecewiseAffine(f"{node.name()} is not known to be piecewise affine")
        for parameter in parameters:
            if parameter in used:
                raise NotPiecewiseAffine("a parameter is used twice")
            used.add(parameter)
        for edge in following:
            if edge is None or edge in seen:
                continue
            if hasattr(edge, "variable"):
                raise NotPiecewiseAffine(f"a parameter enters through {node.name()}")
            seen.add(edge)
            queue.append(edge)
    return layers


# Where the layer's input stands among the inputs of its node.
_INPUT = {"Convolution": 0, "Addmm": 1, "Mm": 0, "Linear": 0, "NativeBatchNorm": 0, "CudnnBatchNorm": 0}


def _name(node: Any) -> str:
    # Only torch's own operations are numbered: an autograd function of the model's, named "Relu", is not.
    return re.sub(r"Backward\d+$", "", node.name())


def _layer(node: Any, place: dict[int, int], examples: int) -> _Layer | None:
    """The layer that a node is; None for a node that takes no parameter directly."""
    name = _name(node)
    if name not in _INPUT:
        return None
    if name in ("NativeBatchNorm", "CudnnBatchNorm") and (
        node._saved_training or node._saved_running_mean is None
    ):
        raise NotPiecewiseAffine(f"{node.name()} normalises by the statistics of the batch")
    edges = [edge[0] for edge in node.next_functions]
    slots = {"Addmm": (2, 0), "Mm": (1, None)}.get(name, (1, 2))
    weight_edge = edges[slots[0]]
    bias_edge = edges[slots[1]] if slots[1] is not None and slots[1] < len(edges) else None
    turned = name in ("Addmm", "Mm") and weight_edge is not None and _name(weight_edge) == "T"
    if turned:
        weight_edge = weight_edge.next_functions[0][0]
    found = []
    for edge in (weight_edge, bias_edge):
        if edge is not None and id(getattr(edge, "variable", None)) not in place:
            raise NotPiecewiseAffine(f"{node.name()} takes a weight that is itself computed")
        found.append(None if edge is None else place[id(edge.variable)])
    weight, bias = found
    if bias_edge is not None and len(bias_edge.variable.shape) > 1:
        raise NotPiecewiseAffine(f"{node.name()} adds a parameter that is broadcast")
    if weight is None:
        # A frozen layer, or a constant times something: affine in its input.
        return _Layer(node, None, bias, None)
    try:
        squares = _squares(name, node, examples, turned or name == "Linear")
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise NotPiecewiseAffine(f"the input of {node.name()} cannot be had: {reason}") from error
    return _Layer(node, weight, bias, squares)


def _squares(name: str, node: Any, examples: int, turned: bool) -> Squares:
    """turned: whether a linear layer's weight is (outputs, inputs), as in nn.Linear, not (inputs, outputs)"""
    if name == "Convolution":
        if node._saved_transposed or any(node._saved_output_padding) or len(node._saved_stride) > 2:
            raise NotPiecewiseAffine(f"{node.name()} is a transposed or a 3D convolution")
        return Convolution(
            _rows(node._saved_input, examples, node),
            _pair(node, "stride"),
            _pair(node, "padding"),
            _pair(node, "dilation"),
            node._saved_groups,
            node._saved_weight.shape,
        )
    if name in ("NativeBatchNorm", "CudnnBatchNorm"):
        x = _rows(node._saved_input, examples, node)
        shape = [1, -1] + [1] * (x.ndim - 2)
        eps = node._saved_eps if hasattr(node, "_saved_eps") else node._saved_epsilon
        mean, scale = node._saved_running_mean, (node._saved_running_var + eps).rsqrt()
        return BatchNorm((x - mean.view(shape)) * scale.view(shape))
    if name == "Addmm" and (node._saved_alpha != 1 or node._saved_beta != 1):
        raise NotPiecewiseAffine(f"{node.name()} is scaled")
    x = node._saved_input if name == "Linear" else node._saved_mat1 if name == "Addmm" else node._saved_self
    if x.ndim != 2:
        raise NotPiecewiseAffine("a linear layer is applied at several positions of an example")
    return Linear(_rows(x, examples, node), turned)


def _rows(x: Tensor, examples: int, node: Any) -> Tensor:
    if len(x) != examples:
        raise NotPiecewiseAffine(f"{node.name()} has {len(x)} rows for {examples} examples")
    return x.detach()


def _pair(node: Any, name: str) -> tuple[int, int]:
    """A convolution's setting in two dimensions; a 1D convolution is one of height 1."""
    value = tuple(getattr(node, f"_saved_{name}"))
    if len(value) == 1:
        return {"stride": 1, "padding": 0, "dilation": 1}[name], value[0]
    return value[0], value[1]


def _check_batch(logits: Tensor, point: Point, x: Tensor) -> None:
    """Raise unless half of the examples alone have the same logits: nothing mixes the inputs themselves."""
    half = (len(x) + 1) // 2
    try:
        with torch.no_grad():
            alone = point.objective.network.plain(point.parts, x[:half])
    except (RuntimeError, ValueError, IndexError) as error:
        raise NotPiecewiseAffine(f"the model does not take {half} examples for {len(x)}") from error
    allowed = torch.finfo(logits.dtype).eps ** 0.5 * logits.abs().amax()
    if alone.shape != logits[:half].shape or ((logits[:half] - alone).abs() > allowed).any():
        raise NotPiecewiseAffine("the outputs for an example depend on the batch that it is in")


def _check_rows(logits: Tensor, columns: list[Tensor], layers: list[_Layer]) -> None:
    """Raise unless row i of every layer belongs to example i, and to no other.

    Then a weight w_i on the outputs for example i puts w_i on row i of every gradient; exactly so for powers
    of two.
    """
    edges = [GradientEdge(layer.node, 0) for layer in layers]
    column = torch.stack([u / (k + 1) for k, u in enumerate(columns)]).sum(dim=0)
    weights = torch.tensor([2.0**i for i in range(len(logits))], dtype=logits.dtype, device=logits.device)
    plain, weighted = (
        torch.autograd.grad(logits, edges, c, retain_graph=True, allow_unused=True)
        for c in (column, weights[:, None] * column)
    )
    for delta, scaled in zip(plain, weighted, strict=True):
        if delta is None:
            continue
        if len(delta) != len(logits):
            raise NotPiecewiseAffine("a layer's rows are not the examples of the batch")
        delta, scaled = delta.flatten(1), scaled.flatten(1) / weights[:, None]
        allowed = 100 * torch.finfo(delta.dtype).eps * delta.abs().amax(dim=1, keepdim=True)
        if ((scaled - delta).abs() > allowed).any():
            raise NotPiecewiseAffine("the outputs for an example depend on other examples of the batch")
