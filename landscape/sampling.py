"""How sure a number is that was computed from sums over examples: the jackknife over groups of them.

Norms, distances and cosines of gradients are functions of inner products of means over the examples. With
the sums a_g, b_g of G groups of examples, ⟨ā, b̄⟩ = Σ_gh M_gh / n² for the Gram matrix M_gh = ⟨a_g, b_h⟩:
leaving a group out costs nothing once the Gram matrices are there. Nor does it for functions of the mean loss
at many points, once the groups' own means are there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Statistic = Callable[..., float | np.ndarray]


def jackknife(
    statistic: Statistic, *grams: np.ndarray, sizes: np.ndarray, across: bool = False
) -> tuple[Any, Any]:
    """A function of inner products of means, and its standard error if the examples are a sample of more.

    Delete-one-group jackknife: (G − 1)/G times the sum of squared deviations of the values without a group
    from their mean. With G groups it is itself known to about 1/√(2(G − 1)): 27 % for 8. NaN for one group.

    statistic: takes the inner products, one array (…) for each Gram matrix; returns an array or a number
    grams: (…, G, G) inner products of the groups' sums, each group summed over its examples
    sizes: (G,) examples in each group
    across: take the inner products without bias, as those of the source that the examples come from. That of
        two means over the same n examples exceeds it by their covariance over n; that of different groups
        does not: Σ_{g≠h} M_gh / Σ_{g≠h} n_g n_h
    """
    groups = len(sizes)
    everything = np.arange(groups)

    def inner(gram: np.ndarray, kept: np.ndarray) -> np.ndarray:
        part, n = gram[..., kept[:, None], kept], sizes[kept]
        summed = part.sum(axis=(-2, -1))
        if not across:
            return summed / n.sum() ** 2
        pairs = n.sum() ** 2 - (n**2).sum()
        return (
            (summed - np.trace(part, axis1=-2, axis2=-1)) / pairs
            if pairs
            else np.full(summed.shape, math.nan)
        )

    def of(kept: np.ndarray) -> np.ndarray:
        return np.asarray(statistic(*(inner(gram, kept) for gram in grams)))

    return of(everything)[()], _deleted(of, groups)


def standard_error(statistic: Statistic, means: np.ndarray, sizes: np.ndarray) -> Any:
    """The error of a function of means over the examples, by the same jackknife.

    Whatever the examples share cancels: for a difference of two means it is that of paired differences.

    statistic: takes the means over some of the examples (…), returns an array or a number
    means: (…, G) means over the examples of each group
    sizes: (G,) examples in each group
    """

    def of(kept: np.ndarray) -> np.ndarray:
        return np.asarray(statistic(means[..., kept] @ (sizes[kept] / sizes[kept].sum())))

    return _deleted(of, len(sizes))


def _deleted(of: Callable[[np.ndarray], np.ndarray], groups: int) -> Any:
    """The jackknife's standard error of what is computed from the kept groups."""
    everything = np.arange(groups)
    if groups < 2:
        return np.full(of(everything).shape, math.nan)[()]
    left = np.stack([of(np.delete(everything, g)) for g in everything])
    return np.sqrt((groups - 1) / groups * ((left - left.mean(axis=0)) ** 2).sum(axis=0))[()]
