"""How sure the loss over a plane is: its standard error, and what a much stronger attack adds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from landscape.plot.levels import Scale, scale
from landscape.plot.plane import Plane
from landscape.plot.surface import heat

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from landscape.surfaces.surface import Surface


def error_scale(results: Sequence[Surface]) -> Scale:
    """One scale for both errors, in units of the loss: where a mark is brighter, it is the larger."""
    both = [each for r in results for each in (r.loss_stderr[r.done], inner_gaps(r))]
    return scale(np.maximum(np.concatenate([each.ravel() for each in both]), 0), colours="magma")


def inner_gaps(result: Surface) -> np.ndarray:
    """What a much stronger attack adds in the cells that were checked for it, NaN elsewhere."""
    # Without an attack of its own a cell loses nothing to one, which says nothing.
    return np.where(result.adversary == "reattack", result.gap, np.nan)


def errors(result: Surface, axes: Axes, found: Scale, lies: Plane) -> None:
    """The standard error over the examples as a heat map; circles: the inner gap of the cells checked.

    Squares: cells that had lost by more than the tolerance, and were attacked further.
    """
    assert result.y is not None
    bare = dataclasses.replace(lies, trajectory=None)  # whose circles are filled by loss
    heat(result, axes, found, bare, values=result.loss_stderr)
    sheared = lies.sheared(result.x, result.y)
    gaps = inner_gaps(result)
    for marker, which in (("o", ~result.redone), ("s", result.redone)):
        rows, columns = np.nonzero(np.isfinite(gaps) & which)
        axes.scatter(
            *lies.place(result.x[columns], result.y[rows], sheared=sheared),
            c=gaps[rows, columns],
            norm=found.norm(),
            cmap=found.map(),
            marker=marker,
            s=14,
            edgecolors="white",
            linewidths=0.5,
            zorder=4,
            gid="gap",
        )
