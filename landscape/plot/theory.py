"""What the theory of linear models says, drawn: W* and the loss against eps, the sets V and T."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

from landscape.plot.plane import short
from landscape.plot.style import legend_above
from landscape.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

V, T = (matplotlib.colormaps["viridis"](shade) for shade in (0.2, 0.75))
HEAD = np.array([[1.0, 0.0], [-1.0, 0.6], [-0.5, 0.0], [-1.0, -0.6], [1.0, 0.0]])  # of an arrow to the right
EPS = r"budget $\epsilon$ (pixels of [0, 1])"


def weight_norm(
    run: Run, axes: Axes, *, beside: Sequence[Run] = (), label: str = "", shade: float = 0.05
) -> None:
    """‖W*‖ against eps with its bounds as a band; hollow where W* = 0; dotted: eps_bar.

    beside: runs in other panels, or on the same Axes, for a scale in common
    """
    found, colour = sorted(run.results, key=lambda r: r.eps), matplotlib.colormaps["viridis"](shade)
    eps, size = (np.array([getattr(r, name) for r in found]) for name in ("eps", "weight_norm"))
    low, high = (np.array([getattr(r, f"weight_norm_{end}") for r in found]) for end in ("low", "high"))
    axes.fill_between(eps, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(eps, size, "o-", color=colour, label=_label(found[0], label), zorder=3)
    zero = size == 0
    axes.plot(eps[zero], size[zero], "o", color=colour, markerfacecolor="white", zorder=4)
    _mark(axes, found[0].eps_bar, colour)
    most = max((r.weight_norm for each in (run, *beside) for r in each.results), default=0.0) or 1.0
    axes.set_ylim(-0.03 * most, 1.15 * most)
    axes.set_xlabel(EPS)
    axes.set_ylabel(r"$\|W^*\|$, hollow: 0")
    legend_above(axes)


def excess(run: Run, axes: Axes, *, beside: Sequence[Run] = (), label: str = "", shade: float = 0.05) -> None:
    """log K − F(W*), how far the minimum lies below W = 0, on a logarithmic scale; band: up to its bound.

    beside: runs in other panels
    """
    found, colour = sorted(run.results, key=lambda r: r.eps), matplotlib.colormaps["viridis"](shade)
    below = [r for r in found if r.weight_norm]
    if not below:
        axes.plot([], [], "o-", color=colour, label=_label(found[0], label))
        said = axes.text(0.5, 0.5, "0 at every budget: $W^* = 0$", ha="center", transform=axes.transAxes)
        said.set_backgroundcolor("white")
        axes.set_yticks([])
    else:
        eps, won = np.array([r.eps for r in below]), np.array([-r.excess for r in below])
        bound = np.array([-r.excess_low for r in below])
        axes.fill_between(eps, won, np.maximum(bound, won), color=colour, alpha=0.18, linewidth=0)
        axes.plot(eps, won, "o-", color=colour, label=_label(found[0], label))
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        if high < 2 * low:  # of one budget, which matplotlib leaves without a scale
            axes.set_ylim(low / 2, high * 2)
    _mark(axes, found[0].eps_bar, colour)
    axes.set_xlim(-0.02, max(found[0].eps_bar, *(r.eps for r in found)) + 0.02)
    axes.set_xlabel(EPS)
    axes.set_ylabel(r"$\log K - F(W^*)$ (nats)")
    legend_above(axes)


def shares(run: Run, axes: Axes, *, beside: Sequence[Run] = ()) -> None:
    """Shares of random models in V_eps and T_eps against eps with standard errors; hollow: at eps 0."""
    (found,) = run.results
    grid = found.grid
    for values, errors, colour, line, label in (
        (found.version, found.version_stderr, V, "-", r"in $V_\epsilon$, of one example"),
        (found.trapped, found.trapped_stderr, T, "-", r"in $T_\epsilon$, of the data set"),
        (found.sparse, found.sparse_stderr, T, "--", r"in $T_\epsilon$, one-pixel models"),
    ):
        axes.plot(grid[1:], values[1:], line, color=colour, label=label)
        low, high = np.clip(values - errors, 0, 1), np.clip(values + errors, 0, 1)
        axes.fill_between(grid[1:], low[1:], high[1:], color=colour, alpha=0.18, linewidth=0)
        # 0 has no place on a logarithmic axis: what holds there stands at its left end.
        axes.plot(grid[1] / 1.5, values[0], "o", color=colour, markerfacecolor="white", clip_on=False)
    axes.axvline(found.eps_bar, color="0.4", linewidth=0.8, linestyle=":", label=_bar(found.eps_bar))
    axes.set_xscale("log")
    axes.set_xlim(left=grid[1] / 1.5)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(EPS)
    axes.set_ylabel("share of models")
    legend_above(axes)


def plane(result: Any, axes: Axes, *, beside: Sequence[Run] = ()) -> None:
    """The exact loss over all w of two pixels, V_eps and T_eps on it as cones, the minimiser as a star."""
    everything = [r for run in beside for r in run.results] or [result]
    top = max(float(r.loss.max()) for r in everything)
    levels = np.linspace(0.0, min(top, 4 * math.log(2)), 17)
    thin: Any = {"colors": "0.55", "linewidths": 0.5, "zorder": 2}
    thick: Any = {"colors": "black", "linewidths": 0.9, "zorder": 2}
    axes.contour(result.w, result.w, result.loss, levels=levels, **thin)
    axes.contour(result.w, result.w, result.loss, levels=[math.log(2)], **thick)
    extent = float(result.w[-1])
    for inside, colour, name in ((result.trapped, T, r"$T_\epsilon$"), (result.version, V, r"$V_\epsilon$")):
        for first, last in _arcs(inside):
            turn = np.linspace(
                result.angle[first], result.angle[last % len(inside)] + 2 * np.pi * (last >= len(inside)), 60
            )
            corner = 2 * extent * np.stack([np.cos(turn), np.sin(turn)])
            axes.fill(
                np.append(0, corner[0]),
                np.append(0, corner[1]),
                color=colour,
                alpha=0.35,
                linewidth=0,
                zorder=1,
            )
        axes.fill([], [], color=colour, alpha=0.35, linewidth=0, label=name)
    _minimiser(axes, np.asarray(result.best), extent)
    axes.set_xlim(-extent, extent)
    axes.set_ylim(-extent, extent)
    axes.set_aspect("equal")
    axes.set_xlabel("$w$, pixel 1")
    axes.set_ylabel("$w$, pixel 2")
    axes.plot([], [], color="black", linewidth=0.9, label="loss log 2")
    of = rf" = {result.eps / result.eps_bar:.2g} $\bar\epsilon$" if result.eps else ""
    legend_above(axes)
    legend = axes.get_legend()
    assert legend is not None
    legend.set_title(rf"$\epsilon$ = {result.budget}{of}")


def _minimiser(axes: Axes, best: np.ndarray, extent: float) -> None:
    """A star at w*; where that lies outside, an arrowhead at the border towards it, its place in words."""
    style: Any = {"color": "white", "markeredgecolor": "black", "linestyle": "", "zorder": 5}
    farthest = float(np.abs(best).max())
    if farthest <= extent:
        axes.plot(*best, marker="*", markersize=9, label=r"$w^*$", **style)
        return
    ahead = best / math.hypot(*best)
    head = HEAD @ np.array([ahead, [-ahead[1], ahead[0]]])
    told = ", ".join(short(float(f"{value:.2g}")) for value in best)
    place = 0.92 * extent / farthest * best  # whole inside of the border
    axes.plot(*place, marker=head, markersize=10, label=f"$w^*$ = ({told}), outside", **style)


def _arcs(inside: np.ndarray) -> list[tuple[int, int]]:
    """First and last place of each run of True around the circle; the last may count on beyond the end."""
    n = len(inside)
    if inside.all():
        return [(0, n)]
    begins = np.flatnonzero(inside & ~np.roll(inside, 1))
    found = []
    for first in begins:
        last = first
        while inside[(last + 1) % n]:
            last += 1
        found.append((int(first), int(last)))
    return found


def _mark(axes: Axes, eps_bar: float, colour: Any) -> None:
    axes.axvline(eps_bar, color=colour, linewidth=0.9, linestyle=":", zorder=0)


def _label(result: Any, label: str) -> str:
    return f"{label or f'{result.classes} classes'}, {_bar(result.eps_bar)}"


def _bar(eps_bar: float) -> str:
    return rf"$\bar\epsilon$ = {eps_bar:.4f}"
