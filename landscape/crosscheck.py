"""PyHessian as a second opinion on the very same Hessian.

PyHessian 0.1 is handled with care: it gets a copy of the model (it switches modes and leaves gradients
behind), a plain list of fixed batches with a mean loss, only parameters that the loss uses (it fails on
others), a loss scaled so that the top eigenvalue is near 1 (its constants of 1e-6 are absolute), and its
trace never stops by its own rule, which has no relation to the error and ends at once for a negative trace.
"""

from __future__ import annotations

import copy
import math
import warnings
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.errors import NumericalError
from landscape.hessian import second_derivatives
from landscape.linalg.eigen import Spectrum
from landscape.objective import Point, flat
from landscape.outputs import logits

PROBES = 30
ITERATIONS = 200


def pyhessian(point: Point, spectrum: Spectrum, *, seed: int = 0) -> dict[str, Any]:
    """Its top eigenvalue with the true residual ‖H v − λ v‖ of its pair, and its trace with a standard error.

    The residual is measured with our Hessian product; a true eigenvalue lies within it of PyHessian's.
    """
    from pyhessian import hessian

    module, used = _module(point)
    data = point.perturbed
    largest = spectrum.eigenvalues.abs().max().item()
    scale = 1 / largest if largest > 0 else 1.0

    def criterion(outputs: Any, y: Tensor) -> Tensor:
        return scale * point.objective.loss(logits(outputs), y).mean()

    batches = [data.inputs(rows, point.theta) for rows in data.chunks()]
    with warnings.catch_warnings(), torch.random.fork_rng(), second_derivatives():
        warnings.simplefilter(
            "ignore"
        )  # backward(create_graph=True) warns of a leak; the copy is dropped below
        torch.manual_seed(seed)
        try:
            theirs = hessian(module, criterion, dataloader=batches, cuda=point.theta.is_cuda)
            values, vectors = theirs.eigenvalues(maxIter=ITERATIONS, tol=1e-3, top_n=1)
            samples = np.array(theirs.trace(maxIter=PROBES, tol=-math.inf)) / scale
        except (RuntimeError, AssertionError) as error:
            raise NumericalError(f"PyHessian failed on this model: {str(error).splitlines()[0]}") from error
    vector = torch.zeros_like(point.theta)
    vector[used] = flat([v.detach() for v in vectors[0]], [v.detach() for v in vectors[0]])
    vector /= vector.norm().clamp_min(torch.finfo(vector.dtype).tiny)
    eigenvalue = float(values[0]) / scale
    residual = (point.hessian @ vector - eigenvalue * vector).norm().item()
    point.hessian.release()
    return {
        "pyhessian_version": version("pyhessian"),
        "pyhessian_eigenvalue": eigenvalue,
        "pyhessian_residual": residual,
        "pyhessian_trace": float(samples.mean()),
        "pyhessian_trace_stderr": float(samples.std(ddof=1) / math.sqrt(len(samples))),
        "pyhessian_probes": len(samples),
    }


def _module(point: Point) -> tuple[nn.Module, Tensor]:
    """A copy of the module at θ where only parameters that the loss uses need a gradient; these (P,)."""
    network = point.objective.network
    module = copy.deepcopy(network.module)
    leaves = point.leaves()
    slope = point.first_derivatives(next(iter(point.perturbed.chunks())), leaves, create_graph=True)
    named = dict(module.named_parameters())
    used = []
    for name, part, s in zip(network.names, point.parts, slope, strict=True):
        alive = s is not None and s.requires_grad
        named[name].data = part.detach().clone().contiguous()
        named[name].requires_grad_(alive)
        used.append(torch.full((part.numel(),), alive, device=point.theta.device))
    return module, torch.cat(used)
