"""The similarity of perturbations against the radius."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from landscape.analyzers.perturbation import BETWEEN
from landscape.plot.style import against_eps, coloured, curve, eps_is, legend_above
from landscape.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def perturbation(run: Run, axes: Axes, *, direction: str, beside: Sequence[Run] = ()) -> None:
    """Mean cosine of the perturbations against h, a curve for each eps; dashed: the floor, from other starts.

    Bands: the standard error over the examples. Two checkpoints have one distance: there, against eps.
    """
    found = [result for result in run.results if result.direction == direction]
    everything = [r for each in (run, *beside) for r in each.results]
    seen = np.concatenate([[*(r.cosine - np.nan_to_num(r.cosine_stderr)), r.floor] for r in everything])
    if direction == BETWEEN:
        means, errors = ([getattr(r, name)[0] for r in found] for name in ("cosine", "cosine_stderr"))
        against_eps(axes, found, means, "two checkpoints", "o", 0.0, errors)
        floors, errors = [r.floor for r in found], [r.floor_stderr for r in found]
        against_eps(axes, found, floors, "floor of the first", "s", 0.45, errors, hollow=True)
        axes.set_ylabel("cosine of the perturbations")
    else:
        for result, colour in coloured(found, [*beside, run]):
            label = eps_is(result)
            curve(axes, result.radii, result.cosine, result.cosine_stderr, color=colour, label=label)
            axes.axhline(result.floor, color=colour, linestyle="--", linewidth=0.8, zorder=0)
        axes.set_xscale("log")
        axes.set_xlabel("radius $h$\ndashed: floor, from other starts")
        axes.set_ylabel(r"$\cos\,(\delta_{\theta + h v},\, \delta_\theta)$")
        legend_above(axes)
    room = 0.03 * (1 - min(seen.min(), 0.9))
    axes.set_ylim(min(seen.min(), 0.9) - room, 1 + room)
