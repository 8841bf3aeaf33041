"""How sharp the minimum is: the extreme eigenvalues of the Hessian and its trace, each with its error."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from landscape.analyzers.measured import Measured, measured
from landscape.errors import InputError, NumericalError
from landscape.format import duration, plus_minus, sampled
from landscape.registry import register

if TYPE_CHECKING:
    import numpy as np

    from landscape.linalg.eigen import Spectrum
    from landscape.objective import Point

PRODUCTS = 120
"""Hessian products for eigenvalues and stochastic trace together: 1 % of the trace of a trained LeNet."""
FEWEST_PROBES = 30


@dataclass(frozen=True, eq=False)
class Sharpness(Measured):
    """Curvature of L_eps at θ, the perturbed data held fixed. Besides the fields of `Measured`:

    eigenvalues, residuals: (k,) descending, and ‖H v − λ v‖ of each; a true eigenvalue lies within it
    eigenvalues_sampling: (k,) standard error if the examples are a sample of more: that of the mean of
        vᵀ H_i v over the examples, to first order; NaN where torch has no forward derivative of the model
    converged: whether every residual is below tol · max(|λ|, ‖H‖/100), and no other eigenvalue showed up
    trace, trace_stderr: tr H and its standard error; 0 where it is exact to rounding, NaN where not asked for
    trace_sampling: its standard error if the examples are a sample of more; NaN for a stochastic trace
    trace_method: "exact", "stochastic" or "none"; trace_note says of which kind, and why
    passes: passes over the data: forward alone, forward and backward, Hessian products, the k passes of the
        eigenvalues' sampling errors among the last; without those of the crosscheck
    seconds: wall time
    crosscheck: PyHessian's top eigenvalue and trace for the same Hessian, if asked for
    vectors: (P, k) float32, the eigenvectors in the columns, if asked for; in the file, not in the JSON
    """

    LEGEND: ClassVar[str] = (
        "loss, accuracy: ± standard error over the examples; eigenvalues: ± residual; trace: ± standard "
        "error over probes, none where exact; in brackets what other examples of the same source would change"
    )

    eigenvalues: np.ndarray
    residuals: np.ndarray
    eigenvalues_sampling: np.ndarray
    converged: bool
    which: str
    trace: float
    trace_stderr: float
    trace_sampling: float
    trace_method: str
    trace_note: str
    passes: dict[str, float]
    seconds: float
    crosscheck: dict[str, Any] | None = None
    vectors: np.ndarray | None = field(default=None, metadata={"json": False})

    def rows(self) -> dict[str, str]:
        """What a table of results shows of it, by the name of the row."""
        rows = self.head()
        each = zip(self.eigenvalues, self.residuals, self.eigenvalues_sampling, strict=True)
        for i, (value, residual, sampling) in enumerate(each, 1):
            rows[f"eigenvalue {i}"] = plus_minus(value, residual) + sampled(sampling)
        rows["converged"] = "yes" if self.converged else "NO"
        unsampled = " (± ?)" if self.trace_method == "stochastic" else ""
        rows["trace"] = plus_minus(self.trace, self.trace_stderr) + (
            sampled(self.trace_sampling) or unsampled
        )
        rows["trace is"] = self.trace_method
        if self.crosscheck:
            told = self.crosscheck
            rows["PyHessian largest |λ|"] = plus_minus(
                told["pyhessian_eigenvalue"], told["pyhessian_residual"]
            )
            rows["PyHessian trace"] = plus_minus(told["pyhessian_trace"], told["pyhessian_trace_stderr"])
        for name in ("forward", "gradient", "hvp"):
            rows[f"{name} passes"] = f"{self.passes[name]:.0f}"
        rows["time"] = duration(self.seconds)
        return rows

    def remarks(self) -> list[str]:
        """What a reader of the table must know besides, a sentence each."""
        return [f"trace: {self.trace_note}", *self.warnings()]


@register("analyzer")
def sharpness(
    point: Point,
    *,
    k: int = 5,
    which: Literal["LA", "LM", "SA"] = "LA",
    tol: float = 1e-3,
    trace: Literal["auto", "exact", "stochastic", "none"] = "auto",
    crosscheck: bool = False,
    vectors: bool = False,
    seed: int = 0,
) -> Sharpness:
    """Extreme Hessian eigenvalues and the trace, with errors.

    The Hessian is that of L_eps at fixed perturbed data (the paper's definition); it omits the motion of the
    adversary with θ, and so bounds the curvature of L_eps from below.

    k: number of eigenvalues
    which: LA algebraically largest, LM largest in absolute value, SA algebraically smallest
    tol: residual to reach, relative to the eigenvalue
    trace: exact for piecewise affine nets, stochastic, or auto: exact where it is possible
    crosscheck: run PyHessian on the same perturbed examples beside it
    vectors: keep the eigenvectors in FILE.h5, as directions for other commands: FILE.h5:sharpness_0/vectors:0
    """
    from landscape.linalg.eigen import check_request, eigsh

    start = time.perf_counter()
    objective = point.objective
    watch = objective.watch
    check_request(len(point.theta), k, which, tol)  # before the attack takes its time
    found = _exact_trace(point) if trace in ("auto", "exact") else None
    if trace == "exact" and isinstance(found, str):
        raise InputError(f"--trace exact is not possible: {found}; use --trace auto")
    spectrum = eigsh(
        point.hessian, k, which, tol, seed=seed, progress=lambda products, done: watch("eigenvalues", done, k)
    )
    value, stderr, trace_sampling, method, note = math.nan, math.nan, math.nan, "none", "not asked for"
    if isinstance(found, tuple):
        (value, trace_sampling), stderr, method = found, 0.0, "exact"
        note = "diagonal of a net that is piecewise affine in each parameter"
    elif trace != "none":
        value, stderr, note = _stochastic_trace(point, spectrum, seed)
        method, note = "stochastic", f"{note}; {f'not exact: {found}' if found else 'as asked for'}"
    sampling = _sampling(point, spectrum)
    point.hessian.release()
    check = None
    if crosscheck:
        from landscape.crosscheck import pyhessian

        watch("PyHessian", 0, 1)
        check = pyhessian(point, spectrum, seed=seed)
    return Sharpness(
        **measured(point),
        eigenvalues=spectrum.eigenvalues.cpu().numpy(),
        residuals=spectrum.residuals.cpu().numpy(),
        eigenvalues_sampling=sampling,
        converged=spectrum.converged,
        which=which,
        trace=value,
        trace_stderr=stderr,
        trace_sampling=trace_sampling,
        trace_method=method,
        trace_note=note,
        passes={name: round(count, 3) for name, count in objective.passes.items()},
        seconds=time.perf_counter() - start,
        crosscheck=check,
        vectors=spectrum.vectors.float().cpu().numpy() if vectors else None,
    )


def _sampling(point: Point, spectrum: Spectrum) -> np.ndarray:
    """Standard errors (k,) of the eigenvalues over the examples."""
    import numpy as np

    k, n = len(spectrum.eigenvalues), len(point.perturbed)
    errors = np.full(k, math.nan)
    try:
        for i in range(k if n > 1 else 0):
            point.objective.watch("sampling error", i, k)
            each = point.hessian.curvatures(spectrum.vectors[:, i])
            off = abs(each.mean() - spectrum.eigenvalues[i])
            if off <= 1e-3 * abs(spectrum.eigenvalues[i]) + spectrum.residuals[i]:  # else not this Hessian's
                errors[i] = each.std().item() / math.sqrt(n)
    except NumericalError:
        pass  # not computed, and told as such
    return errors


def _exact_trace(point: Point) -> tuple[float, float] | str:
    """The trace and its sampling error, or why it cannot be had exactly."""
    from landscape.affine import NotPiecewiseAffine, exact_trace

    point.objective.watch("trace", 0, 1)
    try:
        return exact_trace(point)
    except NotPiecewiseAffine as reason:
        return str(reason)


def _stochastic_trace(point: Point, spectrum: Spectrum, seed: int) -> tuple[float, float, str]:
    """The trace, its standard error, and how it was made."""
    from landscape.linalg.trace import trace

    found = trace(
        point.hessian,
        probes=max(FEWEST_PROBES, PRODUCTS - spectrum.products),
        basis=spectrum.basis,
        images=spectrum.images,
        seed=seed,
        progress=lambda done, of: point.objective.watch("trace", done, of),
    )
    space = f"{spectrum.basis.shape[1]}-dimensional Krylov space deflated"
    return found.value, found.stderr, f"{found.samples} probes, {space}"
