"""What the theory of linear models says, drawn: W* and the loss against eps, the sets V and T."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np

from landscape.plot.style import legend_above
from landscape.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

V, T = (matplotlib.colormaps["viridis"](shade) for shade in (0.2, 0.75))
EPS = r"budget $\epsilon$ (pixels of [0, 1])"


def weight_norm(
    run: Run, axes: Axes, *, beside: Sequence[Run] = (), label: str = "", shade: float = 0.0
) -> None:
    """‖W*‖ against eps with its bounds; the dotted line is eps_bar. beside: runs in other panels"""
    found = sorted(run.results, key=lambda r: r.eps)
    eps, size = (np.array([getattr(r, name) for r in found]) for name in ("eps", "weight_norm"))
    low, high = (np.array([getattr(r, f"weight_norm_{end}") for r in found]) for end in ("low", "high"))
    colour = matplotlib.colormaps["viridis"](shade)
    axes.fill_between(eps, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(eps, size, color=colour, zorder=3)
    zero = size == 0
    axes.plot(eps[~zero], size[~zero], "o", color=colour, label=label or r"$\|W^*\|$", zorder=4)
    axes.plot(eps[zero], size[zero], "o", color=colour, markerfacecolor="white", zorder=4)
    if zero.any():
        axes.plot([], [], "o", color=colour, markerfacecolor="white", label=r"$W^* = 0$")
    _mark(axes, found[0].eps_bar, found[0].eps_bar_stderr)
    axes.set_ylim(bottom=-0.03 * float(size.max() or 1.0), top=1.4 * float(size.max() or 1.0))
    axes.set_xlabel(EPS)
    axes.set_ylabel(r"$\|W^*\|$")
    legend_above(axes)


def excess(run: Run, axes: Axes, *, beside: Sequence[Run] = (), label: str = "", shade: float = 0.0) -> None:
    """log K − F(W*), how far the minimum lies below W = 0, on a logarithmic scale; band: up to its bound.

    beside: runs in other panels
    """
    found = sorted(run.results, key=lambda r: r.eps)
    below = [r for r in found if r.weight_norm]
    colour = matplotlib.colormaps["viridis"](shade)
    if below:
        eps = np.array([r.eps for r in below])
        won = np.array([max(-r.excess, 1e-300) for r in below])
        bound = np.array([max(-r.excess_low, -r.excess) for r in below])
        axes.fill_between(eps, won, bound, color=colour, alpha=0.18, linewidth=0)
        axes.plot(eps, won, "o-", color=colour, label=label or r"$\log K - F(W^*)$")
        axes.set_yscale("log")
    _mark(axes, found[0].eps_bar, found[0].eps_bar_stderr)
    axes.set_xlabel(EPS)
    axes.set_xlim(right=max(r.eps for r in found) * 1.02)
    axes.set_ylabel(r"$\log K - F(W^*)$ (nats)")
    legend_above(axes)


def shares(run: Run, axes: Axes, *, beside: Sequence[Run] = ()) -> None:
    """Shares of random models in V_eps and T_eps against eps, with their standard errors."""
    (found,) = run.results
    grid = found.grid.copy()
    grid[0] = grid[1] ** 2 / grid[2] if len(grid) > 2 else grid[1] / 2  # 0 has no place on this axis
    for values, errors, colour, line, label in (
        (found.version, found.version_stderr, V, "-", r"in $V_\epsilon$, of one example"),
        (found.trapped, found.trapped_stderr, T, "-", r"in $T_\epsilon$, of the data set"),
        (found.sparse, found.sparse_stderr, T, "--", r"in $T_\epsilon$, one-pixel models"),
    ):
        axes.plot(grid, values, line, color=colour, label=label)
        low, high = np.clip(values - errors, 0, 1), np.clip(values + errors, 0, 1)
        axes.fill_between(grid, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.axvline(found.eps_bar, color="0.4", linewidth=0.8, linestyle=":", label=_bar(found.eps_bar))
    axes.set_xscale("log")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(EPS)
    axes.set_ylabel("share of random models")
    legend_above(axes)


def plane(result: Any, axes: Axes, *, beside: Sequence[Run] = ()) -> None:
    """The exact loss over all w of two pixels, V_eps and T_eps on it as cones, the minimiser as a star."""
    everything = [r for run in beside for r in run.results] or [result]
    top = max(float(r.loss.max()) for r in everything)
    levels = np.linspace(0.0, min(top, 4 * math.log(2)), 17)
    axes.contour(result.w, result.w, result.loss, levels=levels, colors="0.55", linewidths=0.5, zorder=2)
    axes.contour(
        result.w, result.w, result.loss, levels=[math.log(2)], colors="black", linewidths=0.9, zorder=2
    )
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
    star: Any = {
        "marker": "*",
        "markersize": 9,
        "color": "white",
        "markeredgecolor": "black",
        "linestyle": "",
    }
    axes.plot(*np.clip(result.best, -extent, extent), zorder=5, label=r"$w^*$", **star)
    axes.set_xlim(-extent, extent)
    axes.set_ylim(-extent, extent)
    axes.set_aspect("equal")
    axes.set_xlabel("$w$, pixel 1")
    axes.set_ylabel("$w$, pixel 2")
    ratio = result.eps / result.eps_bar
    axes.legend(
        title=rf"$\epsilon$ = {result.budget} = {ratio:.2g} $\bar\epsilon$",
        frameon=False,
        ncols=3,
        handlelength=1.0,
        columnspacing=0.8,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        alignment="left",
    )


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


def _mark(axes: Axes, eps_bar: float, stderr: float) -> None:
    axes.axvline(eps_bar, color="0.4", linewidth=0.8, linestyle=":", label=_bar(eps_bar))


def _bar(eps_bar: float) -> str:
    return rf"$\bar\epsilon$ = {eps_bar:.4f}"
