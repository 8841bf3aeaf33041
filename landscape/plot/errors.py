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
    both = [
        each for result in results for each in (result.loss_stderr[result.done], np.maximum(result.gap, 0))
    ]
    return scale(np.concatenate([each.ravel() for each in both]), colours="magma")


def errors(result: Surface, axes: Axes, found: Scale, lies: Plane) -> None:
    """The standard error over the examples as a heat map; circles: the inner gap of the cells checked.

    Squares: cells that had lost by more than the tolerance, and were attacked further.
    """
    assert result.y is not None
    bare = dataclasses.replace(lies, trajectory=None)  # whose circles are filled by loss
    heat(result, axes, found, bare, values=result.loss_stderr)
    sheared = lies.sheared(result.x, result.y)
    for marker, which in (("o", ~result.redone), ("s", result.redone)):
        rows, columns = np.nonzero(np.isfinite(result.gap) & which)
        axes.scatter(
            *lies.place(result.x[columns], result.y[rows], sheared=sheared),
            c=result.gap[rows, columns],
            norm=found.norm(),
            cmap=found.map(),
            marker=marker,
            s=14,
            edgecolors="white",
            linewidths=0.5,
            zorder=4,
            gid="gap",
        )
