"""A module as a function of one flat vector of parameters."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from landscape.errors import CheckpointError, InputError
from landscape.folded import Folded, folded, transformed
from landscape.outputs import logits


class Network:
    """f(x; θ): the logits (B, C) of inputs x (B, …) as a function of all trainable parameters θ (P,).

    It keeps a copy of the module in evaluation mode; the module that came is never touched. BatchNorm so uses
    its running statistics and dropout is off. θ lists the parameters that require a gradient in the order of
    `named_parameters()`, a tied one once; frozen parameters are part of f. BatchNorm is folded into the layer
    before it, see `folded.py`, which changes rounding alone.

    module: any nn.Module that maps a batch of inputs to logits, each example by itself
    dtype, device: of θ and of all computation
    name: where the weights come from
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        name: str = "unnamed",
    ) -> None:
        if dtype not in (torch.float32, torch.float64):
            raise InputError(f"dtype {dtype} is too coarse for curvature; use float32 or float64")
        self.name = name
        self.module = copy.deepcopy(module).to(device, dtype).eval()
        parameters = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        if not parameters:
            raise InputError(
                "the model has no trainable parameter; set requires_grad on those that the loss varies with"
            )
        self.names = tuple(parameters)
        self.shapes = tuple(p.shape for p in parameters.values())
        self.sizes = tuple(p.numel() for p in parameters.values())
        self.theta = torch.cat([p.detach().reshape(-1) for p in parameters.values()])
        self.module.requires_grad_(False)
        self._folded: Folded | None = None
        if not torch.isfinite(self.theta).all():
            bad = [name for name, p in parameters.items() if not torch.isfinite(p).all()]
            raise CheckpointError(f"the parameters {', '.join(bad)} contain NaN or infinity")

    def __len__(self) -> int:
        """P, the number of parameters."""
        return len(self.theta)

    def parts(self, theta: Tensor) -> list[Tensor]:
        """θ (P,) as one tensor for each parameter, in its shape; filters in channels-last memory."""
        # `to`: `contiguous` leaves filters of one channel as they are, and pooling then takes the slow way.
        return [
            part.view(shape).to(memory_format=torch.channels_last) if len(shape) == 4 else part.view(shape)
            for part, shape in zip(theta.split(self.sizes), self.shapes, strict=True)
        ]

    def __call__(
        self, parts: Sequence[Tensor], x: Tensor, buffers: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """The logits (B, C) of x (B, …) with parameters as `parts` gives them.

        buffers: by name, in place of the module's own, such as the running statistics of BatchNorm
        """
        return logits(self.folded(x)(self.given(parts, buffers), x))

    def plain(self, parts: Sequence[Tensor], x: Tensor) -> Tensor:
        """The same by the module as it came, whose layers the graph behind the logits then shows."""
        return logits(functional_call(self.module, self.given(parts), (x,)))

    def given(
        self, parts: Sequence[Tensor], buffers: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The tensors that take the place of the module's own, by name."""
        return {**dict(zip(self.names, parts, strict=True)), **(buffers or {})}

    def folded(self, x: Tensor) -> Folded:
        """The module with BatchNorm folded, as the first pass over inputs like x (B, …) tells."""
        if self._folded is None:
            if transformed():
                return Folded(self.module, [])
            self._folded = folded(self.module, x)
        return self._folded

    def rest(self) -> dict[str, Tensor]:
        """What f depends on besides θ, by name: buffers such as running statistics, frozen parameters.

        A tied one by its first name alone, as θ has it: two names could be given two values.
        """
        told = self.module.state_dict(keep_vars=True)
        known = {id(told[name]) for name in self.names}
        found = {}
        for name, tensor in told.items():
            if id(tensor) not in known and tensor.is_floating_point():
                found[name] = tensor
                known.add(id(tensor))
        return found

    def check(self, x: Tensor, classes: int) -> None:
        """Raise unless the logits of x (B, …) are (B, C ≥ classes), finite, the same again and alone."""
        parts = self.parts(self.theta)
        try:
            with torch.no_grad():
                logits, again, alone = self(parts, x), self(parts, x), self(parts, x[:1])
            with torch.enable_grad():
                traced = self([part.requires_grad_() for part in self.parts(self.theta.clone())], x)
        except Exception as error:  # a model is the user's own code
            told = " ".join(f"{type(error).__name__}: {error}".split())
            raise CheckpointError(
                f"the model does not take inputs of shape {tuple(x.shape)}: {told}"
            ) from error
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(x):
            came = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise CheckpointError(
                f"the model returns {came} for {len(x)} inputs; it must return logits (B, classes)"
            )
        if logits.shape[1] < classes:
            raise CheckpointError(
                f"the model has {logits.shape[1]} outputs, the data {classes} classes; give a model with at "
                f"least {classes} outputs, or the data that it was made for"
            )
        if not traced.requires_grad:
            raise CheckpointError(
                "the model's outputs are detached from its parameters, so that its loss is flat by "
                "construction; let it neither detach them nor switch gradients off"
            )
        if not torch.isfinite(logits).all():
            raise CheckpointError("the model's outputs contain NaN or infinity")
        if not torch.equal(logits, again):
            raise CheckpointError(
                "the model gives other outputs when asked again, although it is in evaluation mode; "
                "a loss surface needs a deterministic model: switch its random layers off"
            )
        if (alone - logits[:1]).abs().max() > torch.finfo(logits.dtype).eps ** 0.5 * logits.abs().max():
            raise CheckpointError(
                "the model's outputs for an example depend on the other examples of the batch, so that it "
                "has no loss of an example; let it take each example by itself"
            )
