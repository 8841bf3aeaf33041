"""Where on its line the number of a contour level stands, so that nothing is written over anything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.plot.levels import Scale, ink
from landscape.plot.marks import Taken

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.contour import QuadContourSet

SIZE = 7.0  # points
LETTER = 0.62 * SIZE  # its width
SPACING = 3.0  # points between candidates


def label_levels(axes: Axes, lines: QuadContourSet, found: Scale, taken: Sequence[Taken]) -> None:
    """Write each level once, on the straightest piece of its line that is free; a level without one is not.

    A place is free where the number touches no border of the axes, no mark, no other number and no other
    line. What is not labelled can be read off the colour bar. The axes must have their final size.

    taken: what marks and words take, in coordinates of the axes
    """
    points = 72.0 / axes.figure.dpi
    places = axes.transData
    corners = axes.bbox.get_points() * points
    occupied = [(_stretches(taken, places, points), 10.0)]
    names = dict(zip(found.levels, found.names(), strict=True))
    pieces = {
        float(level): [
            _resampled(places.transform(np.asarray(piece)) * points)
            for piece in path.to_polygons(closed_only=False)
            if len(np.asarray(piece)) > 1
        ]
        for level, path in zip(lines.levels, lines.get_paths(), strict=True)
    }
    chosen: dict[float, np.ndarray] = {}
    labelled = [item for item in pieces.items() if item[0] in names]
    for level, found_pieces in sorted(labelled, key=lambda item: -sum(map(len, item[1]))):
        width = LETTER * len(names[level].strip("$")) + 2
        others = [piece for key, each in pieces.items() if key != level for piece in each]
        near = [(np.concatenate(others), 0.62 * SIZE)] if others else []
        spots = [
            spot
            for piece in found_pieces
            if len(piece) * SPACING > 2.2 * width
            for spot in _candidates(piece, width, corners, [*occupied, *near])
        ]
        if not spots:
            continue
        _, x, y = max(spots)
        chosen[level] = np.array([x, y])
        occupied.append((chosen[level][None], 0.75 * width + SIZE))
    if not chosen:
        return
    order = sorted(chosen)
    lines.clabel(
        order,
        manual=[
            tuple(at) for at in places.inverted().transform(np.array([chosen[n] for n in order]) / points)
        ],
        inline=True,
        inline_spacing=1.5,
        fontsize=SIZE,
        fmt=names,
        colors=[ink(found, level) for level in order],
        zorder=4,
    )


def _stretches(taken: Sequence[Taken], places: Any, points: float) -> np.ndarray:
    """What is taken as places (k, 2) on paper, in points."""
    found = [
        places.transform((each.x, each.y)) * points + (aside, each.above)
        for each in taken
        for aside in np.arange(each.start, each.end + SPACING, SPACING)
    ]
    return np.array(found)


def _resampled(piece: np.ndarray) -> np.ndarray:
    """A line (k, 2) as points at equal distances along it."""
    length = np.concatenate([[0.0], np.hypot(*np.diff(piece, axis=0).T).cumsum()])
    at = np.linspace(0, length[-1], max(2, int(length[-1] / SPACING)))
    return np.stack([np.interp(at, length, piece[:, axis]) for axis in (0, 1)], axis=1)


def _candidates(
    piece: np.ndarray, width: float, corners: np.ndarray, occupied: Sequence[tuple[np.ndarray, float]]
) -> list[tuple[float, float, float]]:
    """(score, x, y) of the free places of a line; the straighter and farther from others, the better."""
    half = max(1, round(width / SPACING / 2))
    # Off the ends as well, which lie where cells are missing.
    inside = np.arange(half + 2, len(piece) - half - 2)
    if not len(inside):
        return []
    chord = np.hypot(*(piece[inside + half] - piece[inside - half]).T)
    straight = chord / (2 * half * SPACING)
    across = np.abs(piece[inside + half] - piece[inside - half]) / np.maximum(chord, 1e-9)[:, None]
    reach = across * width / 2 + (1 - across) * SIZE / 2 + 2.0
    centre = piece[inside]
    free = ((centre > corners[0] + reach) & (centre < corners[1] - reach)).all(axis=1)
    along = (piece[inside + half] - piece[inside - half]) / np.maximum(chord, 1e-9)[:, None]
    away = np.full(len(inside), np.inf)
    for places, room in occupied:
        if not len(places):
            continue
        for shift in (-0.4, 0.0, 0.4):  # the number's ends count as well
            spots = centre + shift * width * along
            distance = np.sqrt(((spots[:, None] - places[None]) ** 2).sum(axis=2)).min(axis=1)
            free &= distance > room
            away = np.minimum(away, distance)
    free &= straight > 0.85
    score = straight + 0.004 * np.minimum(away, 40)
    return [(float(score[i]), float(centre[i, 0]), float(centre[i, 1])) for i in np.flatnonzero(free)]
