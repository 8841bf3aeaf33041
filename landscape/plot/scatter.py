"""The change of the gradient against the radius."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from landscape.format import plus_minus
from landscape.plot.style import coloured, curve, legend_above, mathematics
from landscape.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def scatter(run: Run, axes: Axes, *, direction: str, beside: Sequence[Run] = ()) -> None:
    """R(h) on logarithmic axes, a curve for each eps: re-attacked solid, frozen dashed, the floor dotted.

    Bands: the standard error over the examples. The intercept of the fit, the jump, stands in the legend.
    """
    found = [result for result in run.results if result.direction == direction]
    for result, colour in coloured(found, [*beside, run]):
        label = (
            rf"$\epsilon$ = {result.budget}, jump {mathematics(plus_minus(result.jump, result.jump_stderr))}"
        )
        curve(axes, result.radii, result.change, result.change_stderr, color=colour, label=label)
        if result.eps:
            axes.plot(result.radii, result.change_frozen, color=colour, linestyle="--", linewidth=0.8)
            axes.axhline(result.floor, color=colour, linestyle=":", linewidth=0.9, zorder=0)
    axes.set_xscale("log")
    axes.set_yscale("log", nonpositive="clip")
    everything = [r for each in (run, *beside) for r in each.results]
    seen = np.concatenate([values for r in everything for values in (r.change, r.change_frozen, [r.floor])])
    if (seen > 0).any():
        # Of the curves that fall far below all others the end is cut off.
        low = (
            min(r.change[r.change > 0].min(initial=seen.max()) for r in everything if r.eps)
            if any(r.eps for r in everything)
            else seen[seen > 0].min()
        )
        axes.set_ylim(max(seen[seen > 0].min(), low / 1000) / 1.5, 2 * seen.max())
    attacked = any(result.eps for result in found)
    # The legend has no room for it.
    norm = r", $\epsilon$ in $\ell_2$" if any(result.norm == "l2" for result in found) else ""
    axes.set_xlabel(f"radius $h${norm}" + ("\ndashed: frozen, dotted: floor" if attacked else ""))
    axes.set_ylabel(r"$\|\nabla L_\epsilon(\theta + h v) - \nabla L_\epsilon(\theta)\|$")
    legend_above(axes)
