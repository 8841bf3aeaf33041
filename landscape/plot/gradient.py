"""Norms of gradients and the noise scale against the budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from landscape.plot.style import against_eps, legend_above, positive_scale
from landscape.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def gradient_norms(run: Run, axes: Axes, *, beside: Sequence[Run] = ()) -> None:
    """Norms against eps: of single examples, of mini-batches, and of the gradient with its standard error.

    Bands: from the 5 % to the 95 % quantile, cut off a decade below the lowest curve. Hollow: what infinitely
    many examples would leave of the gradient, where its error is smaller than that.

    beside: runs in other panels, for a scale in common
    """
    size = run.results[0].batch["size"]
    found, everything = run.results, [result for each in (run, *beside) for result in each.results]
    for told, line, label, marker, shade in (
        ("per_example", "median", "one example: median, 5-95 %", "s", 0.75),
        ("batch", "mean", f"batch of {size}: mean, 5-95 %", "^", 0.45),
    ):
        each = [getattr(r, told) for r in found]
        bands = np.array([[e["q05"], e["q95"]] for e in each])
        against_eps(axes, found, [e[line] for e in each], label, marker, shade, bands=bands)
    norms, bars = [r.gradient_norm for r in found], [r.gradient_norm_stderr for r in found]
    against_eps(axes, found, norms, rf"all {found[0].examples:,}: $\|\nabla L_\epsilon\|$", "o", 0.0, bars)
    unbiased = _told([(r.gradient_norm_unbiased, r.gradient_norm_unbiased_stderr) for r in found])
    against_eps(axes, found, unbiased[0], "without sampling noise", "o", 0.0, unbiased[1], hollow=True)
    curves = [
        value for r in everything for value in (r.gradient_norm, r.per_example["median"], r.batch["mean"])
    ]
    positive_scale(axes, curves, [r.per_example["q95"] for r in everything], below=10)
    axes.set_ylabel("norm of the gradient")


def gradient_noise(run: Run, axes: Axes, *, beside: Sequence[Run] = ()) -> None:
    """The noise scale against eps with its standard error; hollow: without the noise of n examples.

    The latter only where it is larger than its error. Dotted: n, which the noise scale on n examples near a
    minimum cannot exceed by much. beside: runs in other panels, for a scale in common
    """
    found, everything = run.results, [result for each in (run, *beside) for result in each.results]
    plain, bars = [r.noise_scale for r in found], [r.noise_scale_stderr for r in found]
    against_eps(axes, found, plain, f"on these {found[0].examples:,} examples", "o", 0.0, bars)
    unbiased = _told([(r.noise_scale_unbiased, r.noise_scale_unbiased_stderr) for r in found])
    against_eps(axes, found, unbiased[0], "without sampling noise", "o", 0.45, unbiased[1], hollow=True)
    n = found[0].examples
    axes.axhline(n, color="0.6", linewidth=0.7, linestyle=":", zorder=0, label=f"n = {n:,}")
    legend_above(axes)
    curves = [r.noise_scale for r in everything] + [r.examples for r in everything]
    positive_scale(axes, curves, [r.noise_scale + r.noise_scale_stderr for r in everything], below=2)
    axes.set_ylabel("noise scale (examples)")


def _told(pairs: list[tuple[float, float]]) -> np.ndarray:
    """Values and errors (2, …), NaN where the error is as large as the value: there it says nothing."""
    found = np.array(pairs, dtype=float).T
    return np.where(found[1] < found[0], found, np.nan)
