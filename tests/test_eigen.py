"""The eigensolver against dense eigh on explicit matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator
from scipy.sparse.linalg import eigsh as arpack
from torch import Tensor

from landscape.errors import InputError, NumericalError
from landscape.linalg.eigen import Spectrum, eigsh


class Matrix:
    """An explicit symmetric matrix with given eigenvalues in a random basis, that counts its products."""

    def __init__(self, eigenvalues, dtype: torch.dtype = torch.float64, seed: int = 0) -> None:
        values = torch.as_tensor(np.asarray(eigenvalues, dtype=np.float64))
        rng = torch.Generator().manual_seed(seed)
        basis = torch.linalg.qr(torch.randn(len(values), len(values), generator=rng, dtype=torch.float64)).Q
        self.dense = (basis * values) @ basis.T
        self.values = np.sort(values.numpy())
        self.norm = float(np.abs(self.values).max())
        self.dtype, self.device, self.shape = dtype, torch.device("cpu"), self.dense.shape
        self.products = 0

    def __matmul__(self, v: Tensor) -> Tensor:
        assert v.dtype == self.dtype
        self.products += v[0].numel()
        return self.dense.to(v.dtype) @ v

    def top(self, k: int, which: str) -> np.ndarray:
        """The k wanted eigenvalues, descending."""
        order = {"LA": -self.values, "SA": self.values, "LM": -np.abs(self.values)}[which]
        return np.sort(self.values[np.argsort(order, kind="stable")[:k]])[::-1]


def bulk(n: int = 80, width: float = 0.3) -> np.ndarray:
    return np.random.default_rng(0).uniform(-width, width, n)


def spectra() -> dict[str, np.ndarray]:
    b = bulk()
    top = [10, 5, 3, 2, 1.5]
    return {
        "pair of equal size": np.r_[2, -2, b],
        "three pairs": np.r_[3, -3, 2, -2, 1, -1, b],
        "+2 and -1.98": np.r_[2, -1.98, b],
        "-3 and +2.9": np.r_[-3, 2.9, b],
        "multiplicity 4": np.r_[2, 2, 2, 2, 1.5, b],
        "multiplicity 4 below the top": np.r_[3, 2, 2, 2, 2, 1.5, b],
        "zero": np.zeros(60),
        "all equal": np.full(60, -0.7),
        "rank 1": np.r_[1, np.zeros(70)],
        "scaled by 1e-3": 1e-3 * np.r_[top, b],
        "scaled by 1e-7": 1e-7 * np.r_[top, b],
        "scaled by 1e+7": 1e7 * np.r_[top, b],
        "negative definite": -1 - np.abs(np.r_[top, b]),
        "clustered": np.r_[5 + 1e-4 * np.arange(4), 1, b],
        "geometric": 10.0 * 0.8 ** np.arange(40),
        "n = 1": np.array([-4.0]),
        "n = 2": np.array([1.0, -1.0]),
        "n = 3": np.array([1.0, 1.0, -2.0]),
        "n = 7": np.array([3.0, 3.0, -3.0, 0.0, 0.0, 1.0, -1.0]),
    }


def residuals(A: Matrix, found: Spectrum) -> Tensor:
    """‖A v − λ v‖ by products of their own."""
    return (A.dense @ found.vectors - found.eigenvalues * found.vectors).norm(dim=0)


def honest(A: Matrix, found: Spectrum, rounding: float = 1e-12) -> None:
    """What must hold of any result, converged or not."""
    assert found.products == A.products
    assert (found.eigenvalues.diff() <= 0).all()
    eye = torch.eye(len(found.eigenvalues), dtype=torch.float64)
    torch.testing.assert_close(found.vectors.T @ found.vectors, eye, rtol=0, atol=1e-10)
    torch.testing.assert_close(found.residuals, residuals(A, found), rtol=1e-3, atol=rounding * A.norm)
    torch.testing.assert_close(found.images, A.dense @ found.basis, rtol=0, atol=rounding * A.norm)
    nearest = np.abs(found.eigenvalues.numpy()[:, None] - A.values).min(axis=1)
    assert (nearest <= found.residuals.numpy() + rounding * A.norm).all()


def numbers(n: int) -> list[int]:
    return sorted({k for k in (1, 2, 4, 5, n) if k <= n})


@pytest.mark.parametrize("which", ["LA", "LM", "SA"])
@pytest.mark.parametrize("name", spectra())
def test_the_eigenvalues_are_those_of_dense_eigh(name, which):
    values = spectra()[name]
    for k in numbers(len(values)):
        A = Matrix(values)
        found = eigsh(A, k, which, 1e-8)
        honest(A, found)
        assert found.converged
        true = A.top(k, which)
        if which == "LM":  # of two of equal size either will do
            ours, true = np.abs(found.eigenvalues.numpy()), np.abs(true)
            np.testing.assert_allclose(np.sort(ours), np.sort(true), rtol=0, atol=1e-6 * A.norm)
        else:
            np.testing.assert_allclose(found.eigenvalues, true, rtol=0, atol=1e-6 * A.norm)


@pytest.mark.parametrize("which", ["LA", "LM", "SA"])
@pytest.mark.parametrize("name", ["+2 and -1.98", "multiplicity 4", "scaled by 1e-7", "zero", "n = 7"])
def test_operators_in_float32_are_solved_to_their_precision(name, which):
    A = Matrix(spectra()[name], torch.float32)
    found = eigsh(A, 2, which, 1e-4)
    honest(A, found, rounding=1e-5)
    assert found.converged
    np.testing.assert_allclose(found.eigenvalues, A.top(2, which), rtol=0, atol=1e-5 * A.norm)


# Smaller ones have squares that are 0 in float64, and so residuals that are.
VALUES = st.floats(-1, 1).map(lambda value: value if abs(value) > 1e-100 else 0.0)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(VALUES, min_size=1, max_size=40),
    st.integers(1, 40),
    st.sampled_from(["LA", "LM", "SA"]),
    st.integers(0, 5),
)
def test_a_true_eigenvalue_lies_within_every_residual(values, k, which, seed):
    A = Matrix(values, seed=seed)
    A.norm = max(A.norm, 1e-300)
    found = eigsh(A, min(k, len(values)), which, 1e-6, seed=seed)
    honest(A, found)
    assert found.converged


# The top 21 of a trained LeNet; a bulk that decays.
TOP = [8.244, 4.584, 3.196, 3.039, 2.947, 1.982, 1.777, 1.595, 1.479, 1.279, 1.2]
TOP += [1.13, 1.07, 1.0, 0.95, 0.9, 0.85, 0.8, 0.76, 0.712, 0.667]
LENET = np.r_[TOP, 0.64 * (1 + np.arange(4000) / 30) ** -1.6, -0.2 * (1 + np.arange(200) / 20) ** -1.5]


class Diagonal(Matrix):
    def __init__(self, values) -> None:
        self.values, self.dtype, self.device = np.sort(values), torch.float64, torch.device("cpu")
        self.diagonal, self.products = torch.as_tensor(values), 0
        self.shape = (len(values), len(values))

    def __matmul__(self, v: Tensor) -> Tensor:
        self.products += 1
        return self.diagonal * v


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("copied", "k"), [([0], 2), ([0, 0, 0], 5), ([4], 10), ([9], 20)])
def test_repeated_eigenvalues_that_stand_out_are_found(copied, k, seed):
    A = Diagonal(np.r_[LENET, np.array(TOP)[copied]])
    found = eigsh(A, k, seed=seed)
    assert found.converged
    np.testing.assert_allclose(found.eigenvalues, A.top(k, "LA"), rtol=0.003)
    # A fresh vector once took the direction of the residuals out of the search, which then never ended.
    assert found.products <= 70


@pytest.mark.parametrize(("k", "products"), [(1, 9), (5, 22), (20, 64)])
def test_a_spectrum_like_a_lenets_takes_three_products_an_eigenvalue(k, products):
    for seed in range(5):
        found = eigsh(Diagonal(LENET), k, seed=seed)
        assert found.converged
        assert found.products <= products
        np.testing.assert_allclose(found.eigenvalues, TOP[:k], rtol=1e-3)


def test_a_basis_of_fifty_is_enough_for_twenty_eigenvalues():
    A = Matrix(np.r_[10 * 0.85 ** np.arange(20), 0.4 * bulk(200)])
    found = eigsh(A, 20, tol=1e-3)
    honest(A, found)
    assert found.converged
    assert found.basis.shape[1] <= 50
    np.testing.assert_allclose(found.eigenvalues, A.top(20, "LA"), rtol=1e-5)
    assert found.products <= 90


@pytest.mark.parametrize("limit", [1, 3, 12, 40])
def test_a_search_that_is_stopped_early_says_so_and_its_residuals_are_true(limit):
    A = Matrix(np.linspace(0, 1, 300))
    found = eigsh(A, 5, tol=1e-8, max_products=limit)
    assert not found.converged
    assert A.products == limit
    honest(A, found)


def test_a_tolerance_beyond_the_operators_precision_is_not_claimed():
    A = Matrix(np.r_[2, 1, bulk()], torch.float32)
    found = eigsh(A, 2, tol=1e-12, max_products=200)
    honest(A, found, rounding=1e-5)
    assert not found.converged
    small = Matrix([2.0, 1.3, 0.1], torch.float32)
    assert not eigsh(small, 2, tol=1e-12).converged


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("after", [0, 5])
def test_nan_is_an_error(bad, after):
    class Broken(Matrix):
        def __matmul__(self, v):
            return super().__matmul__(v) * (bad if self.products > after else 1.0)

    with pytest.raises(NumericalError, match="NaN or infinity"):
        eigsh(Broken(bulk()), 3)


@pytest.mark.parametrize("k", [1, 5])
def test_an_operator_that_is_not_symmetric_is_an_error(k):
    A = Matrix(np.r_[3, 2, 1, bulk()])
    A.dense = A.dense + 0.05 * torch.triu(A.dense)
    with pytest.raises(NumericalError, match="not symmetric"):
        eigsh(A, k)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"k": 0}, "k = 0"),
        ({"k": -1}, "k = -1"),
        ({"k": 81}, "k is 1 … 80"),
        ({"which": "SM"}, "LA, LM or SA"),
        ({"tol": 0.0}, "tol = 0"),
        ({"tol": 1.0}, "tol = 1"),
        ({"tol": float("nan")}, "tol = nan"),
        ({"k": 5, "ncv": 6}, "ncv = 6"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(told, said):
    A = Matrix(bulk())
    with pytest.raises(InputError, match=said):
        eigsh(A, **told)
    assert A.products == 0


@pytest.mark.parametrize("scale", [1e-10, 1e-7, 1e-3, 1e5])
def test_nothing_but_the_scale_depends_on_the_scale_of_the_operator(scale):
    values = np.r_[10, 5, 3, 2, 1.5, -4, bulk()]
    plain, scaled = (eigsh(Matrix(v), 4, "LM", 1e-4) for v in (values, scale * values))
    assert scaled.products == plain.products
    torch.testing.assert_close(scaled.eigenvalues / scale, plain.eigenvalues, rtol=1e-7, atol=0)
    torch.testing.assert_close(scaled.residuals / scale, plain.residuals, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("which", ["LA", "LM", "SA"])
def test_arpack_agrees(which):
    A = Matrix(np.random.default_rng(1).standard_t(3, 150))
    operator = LinearOperator(A.shape, matvec=lambda v: A.dense.numpy() @ v, dtype=np.float64)
    theirs = np.sort(arpack(operator, 8, which=which, tol=1e-10, v0=np.ones(150))[0])[::-1]
    np.testing.assert_allclose(eigsh(A, 8, which, 1e-8).eigenvalues, theirs, atol=1e-9 * A.norm)


def test_the_same_seed_gives_the_same_bits_and_another_seed_the_same_eigenvalues():
    first, again, other = (eigsh(Matrix(np.r_[3, 2, 1, bulk()]), 3, tol=1e-8, seed=s) for s in (1, 1, 2))
    assert torch.equal(first.vectors, again.vectors)
    assert torch.equal(first.eigenvalues, again.eigenvalues)
    assert not torch.equal(first.vectors, other.vectors)
    torch.testing.assert_close(first.eigenvalues, other.eigenvalues, rtol=1e-12, atol=0)


def test_progress_is_told_after_every_product():
    told = []
    found = eigsh(Matrix(np.r_[3, 2, 1, bulk()]), 3, progress=lambda *state: told.append(state))
    assert [products for products, _ in told] == list(range(1, found.products + 1))
    assert told[-1][1] == 3
