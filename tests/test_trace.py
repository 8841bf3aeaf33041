"""Trace estimates: exact where they can be, unbiased with honest errors where not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binom
from test_eigen import Matrix, bulk

from landscape.errors import InputError, NumericalError
from landscape.linalg.eigen import eigsh
from landscape.linalg.trace import Estimate, trace

VALUES = {
    "positive": np.r_[10.0, 5, 3, np.abs(bulk(60))],
    "negative": -np.r_[10.0, 5, 3, np.abs(bulk(60))],
    "indefinite": np.r_[4.0, -4, 2, -1, bulk(60)],
    "tiny": 1e-7 * np.r_[10.0, 5, 3, np.abs(bulk(60))],
}


def known(A: Matrix, m: int) -> dict[str, torch.Tensor]:
    """A random space of dimension m and its images, neither of them of eigenvectors."""
    rng = torch.Generator().manual_seed(3)
    basis = torch.linalg.qr(torch.randn(len(A.values), m, generator=rng, dtype=torch.float64)).Q
    return {"basis": basis, "images": A.dense @ basis}


def krylov(A: Matrix) -> dict[str, torch.Tensor]:
    """The space that an eigenvalue run leaves behind."""
    spectrum = eigsh(A, 3, "LM")
    A.products = 0
    return {"basis": spectrum.basis, "images": spectrum.images}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("m", [0, 1, 20, 62, 63])
def test_the_trace_is_exact_where_the_probes_exhaust_the_space(values, m):
    A = Matrix(values[:63])
    found = trace(A, probes=max(2, 63 - m), **known(A, m) if m else {})
    assert found.value == pytest.approx(A.dense.trace().item(), rel=0, abs=1e-12 * A.norm)
    assert found.stderr == 0
    assert found.interval() == (found.value, found.value)
    assert found.products == A.products == 63 - m


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_what_a_basis_holds_of_the_trace_is_exact(values):
    """Where the rest of the matrix is a multiple of the identity, every probe gives the same number."""
    A = Matrix(np.r_[values[:20], np.full(43, values[0] / 7)])
    eigenvectors = torch.linalg.eigh(A.dense)
    far = (eigenvectors.eigenvalues - values[0] / 7).abs() > 1e-9 * A.norm
    basis = eigenvectors.eigenvectors[:, far]
    found = trace(A, probes=5, basis=basis, images=A.dense @ basis)
    trace_left = values[0] / 7 * 43
    # zᵀ Q z is random, but its mean is what is left: exact if the identity's part is taken off.
    assert found.value - values[:20].sum() == pytest.approx(trace_left, abs=6 * found.stderr)
    identity = Matrix(np.full(63, 2.5))
    assert trace(identity, probes=5).value == pytest.approx(63 * 2.5, rel=1e-13)
    assert trace(identity, probes=5).stderr <= 1e-12


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize(
    "space", [lambda A: {}, lambda A: known(A, 20), krylov], ids=["plain", "20", "krylov"]
)
def test_the_estimate_is_unbiased_and_its_standard_error_honest(values, space):
    A = Matrix(values)
    told = space(A)
    z = []
    for seed in range(30):
        found = trace(A, probes=30, seed=seed, **told)
        assert (found.samples, found.products) == (30, 30)
        z.append((found.value - A.values.sum()) / found.stderr)
    assert A.products == 30 * 30
    assert 0.8 <= np.sqrt(np.mean(np.square(z))) <= 1.25
    assert abs(np.mean(z)) <= 3 / np.sqrt(30)


@pytest.mark.parametrize("level", [0.5, 0.95])
@pytest.mark.parametrize("probes", [5, 30])
def test_the_interval_covers_at_its_level(level, probes):
    A = Matrix(np.r_[3.0, 2, -1, bulk(100)])
    low, high = zip(*(trace(A, probes=probes, seed=seed).interval(level) for seed in range(200)), strict=True)
    covered = sum(a <= A.values.sum() <= b for a, b in zip(low, high, strict=True))
    assert binom.ppf(1e-3, 200, level) <= covered <= binom.ppf(1 - 1e-3, 200, level)


def test_the_space_of_an_eigenvalue_run_takes_its_part_of_the_variance_away():
    A = Matrix(VALUES["positive"])
    assert trace(A, **krylov(A)).stderr < trace(A).stderr / 5


def test_estimates_in_float32_agree():
    coarse, fine = (trace(Matrix(VALUES["indefinite"], dtype)) for dtype in (torch.float32, torch.float64))
    assert coarse.value == pytest.approx(fine.value, abs=1e-5)


def test_the_same_seed_gives_the_same_number():
    A = Matrix(VALUES["positive"])
    assert trace(A, seed=1) == trace(A, seed=1)
    assert trace(A, seed=1) != trace(A, seed=2)


@pytest.mark.parametrize("probes", [-1, 0, 1])
def test_fewer_than_two_probes_are_refused(probes):
    with pytest.raises(InputError, match="at least 2"):
        trace(Matrix(bulk()), probes=probes)


def test_a_basis_without_its_images_is_refused():
    A = Matrix(bulk())
    for name, tensor in known(A, 3).items():
        with pytest.raises(InputError, match="together"):
            trace(A, **{name: tensor})


@pytest.mark.parametrize("n", [10, 80])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_an_error(n, bad):
    A = Matrix(bulk(n))
    A.dense = A.dense * bad
    with pytest.raises(NumericalError, match="NaN or infinity"):
        trace(A)


def test_progress_counts_the_probes():
    told = []
    trace(Matrix(bulk()), probes=20, progress=lambda *state: told.append(state))
    assert told == [(8, 20), (16, 20), (20, 20)]


def test_an_interval_is_students():
    low, high = Estimate(1.0, 0.5, 3, 3).interval(0.95)
    assert (low, high) == pytest.approx((1 - 4.302653 * 0.5, 1 + 4.302653 * 0.5), rel=1e-6)
