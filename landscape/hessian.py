"""The Hessian of a point's loss on its fixed perturbed data, known by its products."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.data import total
from landscape.errors import InputError, NumericalError
from landscape.linalg.operator import generator, normal
from landscape.objective import Point, exact_arithmetic, flat


class Hessian:
    """The Hessian of a point's loss on its fixed perturbed data, known by its products.

    `H @ v` for v (P,) and `H @ V` for V (P, K). Where the graph of the gradient over all the data fits into
    memory it is kept, and a product costs 2 gradients (1.9 for LeNet: its first layer needs no input
    gradient). Otherwise each chunk is differentiated forward and then backward (2.67 gradients), or, for
    several columns, its graph is built once for all of them. Finite differences are never used: on ReLU nets
    they are wrong by 20-170 %.

    keep: whether to keep the graph; by default where it takes less than a quarter of the free memory
    """

    def __init__(self, point: Point, keep: bool | None = None) -> None:
        self.point = point
        self.products = 0
        self._keep = keep
        self._graph: list[tuple[slice, list[Tensor], tuple[Tensor | None, ...]]] | None = None
        self._forward: bool | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.point.theta), len(self.point.theta)

    @property
    def dtype(self) -> torch.dtype:
        return self.point.theta.dtype

    @property
    def device(self) -> torch.device:
        return self.point.theta.device

    @property
    def kept(self) -> bool:
        """Whether the graph of the gradient over all the data is kept."""
        if self._keep is None:
            self._keep = self._graph_bytes() < free_memory(self.device) / 4
        return self._keep

    def __matmul__(self, v: Tensor) -> Tensor:
        if v.ndim not in (1, 2) or len(v) != self.shape[1]:
            raise InputError(f"the vector has shape {tuple(v.shape)}, the Hessian {self.shape}")
        columns = [
            self.point.objective.network.parts(c) for c in v.to(self.point.theta).reshape(len(v), -1).T
        ]
        o = self.point.objective
        data = self.point.perturbed

        def chunk(rows: slice) -> Tensor:
            if len(columns) == 1 and self._forward_is_right():
                return self._forward_over(rows, columns[0])[:, None]
            leaves = self.point.leaves()
            slope = self.point.first_derivatives(rows, leaves, create_graph=True)
            return torch.stack(
                [_backward(slope, leaves, c, i + 1 < len(columns)) for i, c in enumerate(columns)], 1
            )

        with second_derivatives():
            if self.kept:
                summed = torch.zeros(len(v), len(columns), dtype=torch.float64, device=self.device)
                for _, leaves, slope in self._graphs():
                    for i, column in enumerate(columns):
                        summed[:, i] += _backward(slope, leaves, column, retain=True)
            else:
                summed = total(chunk, data, o.batch_size)
        self.products += len(columns)
        o.work["hvp"] += len(columns) * len(data)
        return (summed / len(data)).to(self.point.theta).reshape(v.shape)

    def curvatures(self, v: Tensor) -> Tensor:
        """vᵀ ∇²ℓᵢ v of each example (n,), by two nested forward derivatives; costs about a product.

        Their mean is vᵀ H v, which is to be checked, for torch has some forward derivatives wrong. Their
        spread over the examples is how far an eigenvalue would move with other examples from the same source.
        NumericalError where torch has no forward derivative of the model.
        """
        tangent = tuple(self.point.objective.network.parts(v.to(self.point.theta)))
        found = []

        def losses(*parts: Tensor) -> Tensor:
            return self.point.objective.losses(list(parts), x, y)

        def slopes(*parts: Tensor) -> Tensor:
            return torch.func.jvp(losses, parts, tangent)[1]

        try:
            with second_derivatives(), torch.no_grad(), _no_warning():
                for rows in self.point.perturbed.chunks(self.point.objective.batch_size):
                    x, y = self.point.perturbed.inputs(rows, self.point.theta)
                    found.append(torch.func.jvp(slopes, tuple(self.point.parts), tangent)[1].double())
        except (RuntimeError, NotImplementedError) as error:
            raise NumericalError(
                f"no forward derivative of the model: {str(error).splitlines()[0]}"
            ) from error
        self.point.objective.work["hvp"] += len(self.point.perturbed)
        return torch.cat(found)

    def release(self) -> None:
        """Drop the kept graph and its memory; the next product builds it again."""
        self._graph = None

    def _graphs(self) -> list[tuple[slice, list[Tensor], tuple[Tensor | None, ...]]]:
        if self._graph is None:
            leaves = self.point.leaves()
            chunks = self.point.perturbed.chunks(self.point.objective.batch_size)
            self._graph = [
                (r, leaves, self.point.first_derivatives(r, leaves, create_graph=True)) for r in chunks
            ]
        return self._graph

    def _forward_over(self, rows: slice, tangent: list[Tensor]) -> Tensor:
        """The product of a chunk by differentiating its directional derivative: d/dθ (d/dt loss(θ + t v))."""
        x, y = self.point.perturbed.inputs(rows, self.point.theta)

        def directional(parts: list[Tensor]) -> Tensor:
            value = lambda p: self.point.objective.losses(p, x, y).sum()  # noqa: E731
            return torch.func.jvp(value, (parts,), (tangent,))[1]

        return flat(torch.func.grad(directional)(self.point.leaves()), self.point.parts).detach()

    def _forward_is_right(self) -> bool:
        """Whether torch's forward derivatives of the model can be had, and are right, by a few examples.

        Where not, two backward passes at 3 gradients a product. Those of LayerNorm and InstanceNorm come out
        wrong by tens of percent: torch differentiates them as if mean and variance were constants.
        """
        if self._forward is None:
            rows = slice(0, min(4, len(self.point.perturbed)))
            random = normal(generator(0, purpose=3), self.shape[0], self.device)
            tangent = self.point.objective.network.parts(random.to(self.dtype))
            leaves = self.point.leaves()
            slope = self.point.first_derivatives(rows, leaves, create_graph=True)
            true = _backward(slope, leaves, tangent, retain=False)
            try:
                with _no_warning():
                    found = self._forward_over(rows, tangent)
            except (RuntimeError, NotImplementedError):
                self._forward = False
            else:
                self._forward = bool((found - true).norm() <= 1e-3 * true.norm())
        return self._forward

    def _graph_bytes(self) -> int:
        """What keeping the graph over all the data would take, from the tensors that a few examples save."""
        few = min(16, len(self.point.perturbed))
        leaves = self.point.leaves()
        own = {leaf.untyped_storage().data_ptr() for leaf in leaves}
        seen: dict[int, int] = {}

        def weigh(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                seen[storage.data_ptr()] = storage.nbytes()
            return tensor.detach()

        with torch.autograd.graph.saved_tensors_hooks(weigh, lambda tensor: tensor):
            self.point.first_derivatives(slice(0, few), leaves, create_graph=True)
        return sum(seen.values()) * len(self.point.perturbed) // few


@contextlib.contextmanager
def second_derivatives() -> Iterator[None]:
    """Exact arithmetic, and attention by matrix products: fused kernels have no second derivative."""
    with exact_arithmetic(), sdpa_kernel(SDPBackend.MATH):
        yield


@contextlib.contextmanager
def _no_warning() -> Iterator[None]:
    """On the first use of forward derivatives torch warns of its own use of TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _backward(
    slope: tuple[Tensor | None, ...], leaves: list[Tensor], tangent: list[Tensor], retain: bool
) -> Tensor:
    """d/dθ ⟨slope(θ), v⟩ as one vector (P,)."""
    pairs = [(s, t) for s, t in zip(slope, tangent, strict=True) if s is not None and s.requires_grad]
    if not pairs:
        return torch.zeros(
            sum(leaf.numel() for leaf in leaves), dtype=leaves[0].dtype, device=leaves[0].device
        )
    outputs, weights = zip(*pairs, strict=True)
    try:
        found = torch.autograd.grad(outputs, leaves, weights, retain_graph=retain, allow_unused=True)
    except RuntimeError as error:
        if "derivative for" not in str(error):
            raise
        raise NumericalError(
            f"the model has no second derivative in torch: {str(error).splitlines()[0]}"
        ) from error
    return flat(found, leaves)


def free_memory(device: torch.device) -> int:
    """Bytes that can be taken on a device without harm to others; 2 GiB where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 2 * 2**30
