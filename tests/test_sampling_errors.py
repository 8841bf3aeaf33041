"""The jackknife against textbook formulas and coverage."""

import math

import numpy as np
import pytest

from landscape.sampling import jackknife


def groups(each: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gram matrix of the groups' sums of vectors (n, p), and the sizes."""
    parts = np.array_split(each, count)
    sums = np.stack([part.sum(axis=0) for part in parts])
    return sums @ sums.T, np.array([len(part) for part in parts], dtype=float)


def test_the_value_is_the_statistic_of_all_examples():
    each = np.random.default_rng(0).normal(size=(40, 3))
    gram, sizes = groups(each, 8)
    value, _ = jackknife(np.sqrt, gram, sizes=sizes)
    assert value == pytest.approx(np.linalg.norm(each.mean(axis=0)), rel=1e-12)


def test_for_a_mean_the_error_is_the_standard_error_of_the_groups_means():
    each = 5 + np.random.default_rng(0).normal(size=(40, 1))
    gram, sizes = groups(each, 8)
    _, error = jackknife(np.sqrt, gram, sizes=sizes)
    means = each.reshape(8, 5).mean(axis=1)
    assert error == pytest.approx(means.std(ddof=1) / math.sqrt(8), rel=1e-12)


def test_the_error_of_a_norm_covers_the_truth():
    """The norm of the mean of vectors far from 0, over 400 samples."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        each = np.array([2.0, 1.0, 0.0]) + rng.normal(size=(200, 3))
        gram, sizes = groups(each, 8)
        value, error = jackknife(np.sqrt, gram, sizes=sizes)
        inside += abs(value - math.sqrt(5)) <= 2 * error
    assert 0.86 <= inside / 400 <= 0.98  # Student's t with 7 degrees of freedom: 0.914


def test_what_lies_beyond_the_examples_is_without_bias():
    rng = np.random.default_rng(0)
    plain, corrected = [], []
    for _ in range(2000):
        each = 0.1 + rng.normal(size=(20, 10))
        gram, sizes = groups(each, 3)
        plain.append(gram.sum() / 20**2)
        corrected.append(jackknife(lambda squared: squared, gram, sizes=sizes, across=True)[0])
    truth, error = 10 * 0.1**2, np.std(corrected) / math.sqrt(2000)
    assert abs(np.mean(corrected) - truth) < 3 * error
    assert np.mean(plain) > truth + 0.4


def test_one_group_tells_nothing_of_either():
    gram, sizes = groups(np.ones((4, 2)), 1)
    assert math.isnan(jackknife(np.sqrt, gram, sizes=sizes)[1])
    assert math.isnan(jackknife(np.sqrt, gram, sizes=sizes, across=True)[0])


def test_many_statistics_at_once_are_each_by_itself():
    each = np.random.default_rng(0).normal(size=(30, 4))
    (gram, sizes), (other, _) = groups(each, 5), groups(3 * each, 5)
    values, errors = jackknife(np.sqrt, np.stack([gram, other]), sizes=sizes)
    assert values[1] == pytest.approx(3 * values[0], rel=1e-12)
    assert errors[1] == pytest.approx(3 * errors[0], rel=1e-12)
