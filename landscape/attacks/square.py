"""Random search over squares, which needs losses alone and no gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.attacks.base import Losses, better, each
from landscape.budget import Budget
from landscape.errors import InputError
from landscape.registry import register

HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries after which the share of the image in a square is halved, as in the paper for 10,000 of them."""
TILES = 5
"""Tiles along each side of the image that an l_2 search starts from."""
START, QUERY = 1, 2
"""What random numbers are drawn for, among those of a seed and an example."""
BLOCK = 64
"""Queries whose random numbers are drawn at once."""

Places = tuple[Tensor, Tensor]
"""Rows (B, height) and columns (B, width) of a window in each image."""


@register("attack")
@dataclass(frozen=True, kw_only=True)
class Square:
    """Squares anywhere are changed, and kept where the loss rises (Andriushchenko et al., 1912.00049).

    Under l_inf each channel of a square goes to one end of its range, under l_2 it takes over the size of two
    squares. No gradient is asked for: a loss without one hides nothing while it varies, as `margin` does.
    Departs from the paper: each example has its own squares, places include the last row and column, a change
    that leaves all as it was is turned round, and squares shrink by the number of queries alone, so that more
    queries begin with the same ones and never end lower. Features that are no image are a row of pixels.

    queries: inputs that are tried
    share: of the image in a square at first, falling to share/512 after 8,000 queries
    seed: of the squares
    """

    queries: int = 5000
    share: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.queries < 1 or not 0 < self.share <= 1 or self.seed < 0:
            raise InputError(
                f"{self}: queries are at least 1, share is above 0 and at most 1, seed at least 0"
            )

    def __str__(self) -> str:
        return f"square:queries={self.queries}" + (f",share={self.share:g}" if self.share != 0.8 else "")

    def __call__(self, losses: Losses, x: Tensor, index: Tensor, budget: Budget) -> Tensor:
        search = (_Corners if budget.norm == "linf" else _Pyramids)(x, budget)
        with torch.no_grad():
            clean = losses(x)
            found = search.start(_uniform(index, self.seed, START, search.drawn_at_start, x))
            highest = losses(found.view_as(x))
            drawn = _stream(index, self.seed, search.drawn, x)
            for query in range(self.queries - 1):
                tried = search.changed(found, next(drawn), self._share(query))
                values = losses(tried.view_as(x))
                found, highest = better(found, highest, tried, values)
        return each(highest > clean, found.view_as(x), x)

    def _share(self, query: int) -> float:
        return self.share / 2 ** sum(query > after for after in HALVED)


class _Search:
    """What both norms have in common: images (B, C, H, W) of the inputs, and windows in them."""

    def __init__(self, x: Tensor, budget: Budget) -> None:
        rows = x.shape[-2] if x.ndim in (3, 4) else 1
        channels = x.shape[1] if x.ndim == 4 else 1
        self.x = x.reshape(len(x), channels, rows, -1)
        self.budget, self.eps = budget, float(budget.eps)
        self.ball = budget.ball(self.x)
        self.channels, self.height, self.width = self.x.shape[1:]

    def window(self, share: float, least: int = 1, odd: bool = False) -> tuple[int, int]:
        """Height and width of a window with this share of the image: a square, where one fits."""
        pixels = share * self.height * self.width
        side = max(round(math.sqrt(pixels)), least)
        side += odd and side % 2 == 0
        short = min(self.height, self.width)
        if side <= short:
            return side, side
        long = min(max(round(pixels / short), 1), max(self.height, self.width))
        return (short, long) if self.height <= self.width else (long, short)

    def places(self, u: Tensor, size: tuple[int, int]) -> Places:
        """Where windows of a size lie, of uniform numbers u (B, 2): anywhere in the image."""
        found = []
        for share, length, whole in zip(u.T, size, (self.height, self.width), strict=True):
            first = (share * (whole - length + 1)).long().clamp_max(whole - length)
            found.append(first[:, None] + torch.arange(length, device=u.device))
        return found[0], found[1]

    def mask(self, places: Places) -> Tensor:
        """(B, 1, H, W), true inside the windows."""
        inside = []
        for at, whole in zip(places, (self.height, self.width), strict=True):
            all_of_them = torch.arange(whole, device=at.device)
            inside.append((all_of_them >= at[:, :1]) & (all_of_them <= at[:, -1:]))
        return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


class _Corners(_Search):
    """l_inf: every pixel at an end of its range, one end for each channel of a square."""

    @property
    def drawn_at_start(self) -> int:
        return self.channels * self.width

    @property
    def drawn(self) -> int:
        return 2 + self.channels

    def start(self, u: Tensor) -> Tensor:
        """Vertical stripes, from uniform numbers u (B, C · W)."""
        return self._ends(u.view(len(u), self.channels, 1, self.width) < 0.5)

    def changed(self, found: Tensor, u: Tensor, share: float) -> Tensor:
        """The images with a square of each at another end, from uniform numbers u (B, 2 + C)."""
        mask = self.mask(self.places(u[:, :2], self.window(share)))
        up = u[:, 2:, None, None] < 0.5
        idle = ((self._ends(up) == found) | ~mask).flatten(1).all(dim=1)
        return torch.where(mask, self._ends(up ^ idle.view(-1, 1, 1, 1)), found)

    def _ends(self, up: Tensor) -> Tensor:
        return torch.where(up, self.ball[1], self.ball[0])


class _Pyramids(_Search):
    """l_2: perturbations of length eps, made of pairs of pyramids with opposite signs."""

    @property
    def drawn_at_start(self) -> int:
        return 2 * self._tiles()[0] * self._tiles()[1] * self.channels

    @property
    def drawn(self) -> int:
        return 5 + self.channels

    def _tiles(self) -> tuple[int, int]:
        return min(TILES, self.height), min(TILES, self.width)

    def start(self, u: Tensor) -> Tensor:
        """A tiling of the image by pairs of pyramids, from uniform numbers u (B, 2 · tiles · C)."""
        down, across = self._tiles()
        size = self.height // down, self.width // across
        drawn = u.view(len(u), 2, down, across, self.channels)
        step = torch.zeros_like(self.x)
        top, left = (self.height - size[0] * down) // 2, (self.width - size[1] * across) // 2
        for i in range(down):
            for j in range(across):
                tile = self._pattern(size, drawn[:, 0, i, j, 0]) * _signs(drawn[:, 1, i, j])
                rows, columns = top + i * size[0], left + j * size[1]
                step[:, :, rows : rows + size[0], columns : columns + size[1]] = tile
        return self._at_eps(step)

    def changed(self, found: Tensor, u: Tensor, share: float) -> Tensor:
        """The images with one window emptied and another filled, from uniform numbers u (B, 5 + C).

        What is left of eps² and what both windows hold goes into the second, channel by channel: its own
        shape and a pair of pyramids in equal parts.
        """
        size = self.window(share, least=3, odd=True)
        filled, emptied = self.places(u[:, :2], size), self.places(u[:, 2:4], size)
        step = found - self.x
        into, out = self.mask(filled), self.mask(emptied)
        place = self._cells(filled)
        own = step[place]
        free = (self.eps**2 - step.square().sum(dim=(1, 2, 3), keepdim=True)).clamp_min(0) / self.channels
        held = (step * (into | out)).square().sum(dim=(2, 3), keepdim=True)
        fresh = _unit(own) + self._pattern(size, u[:, 4]) * _signs(u[:, 5:])
        step = step * ~out
        step[place] = _unit(fresh) * (free + held).sqrt()
        return self._at_eps(step)

    def _cells(self, places: Places) -> tuple[Tensor, ...]:
        """What picks windows (B, C, height, width) from images."""
        device = self.x.device
        return (
            torch.arange(len(self.x), device=device).view(-1, 1, 1, 1),
            torch.arange(self.channels, device=device).view(1, -1, 1, 1),
            places[0][:, None, :, None],
            places[1][:, None, None, :],
        )

    def _pattern(self, size: tuple[int, int], u: Tensor) -> Tensor:
        """Two pyramids of opposite sign and length 1 together (B, 1, height, width), turned where u < 1/2."""
        upright = pyramids(*size).to(self.x)
        turned = upright.T if size[0] == size[1] else upright
        return torch.where((u < 0.5).view(-1, 1, 1, 1), turned, upright)

    def _at_eps(self, step: Tensor) -> Tensor:
        length = step.flatten(1).norm(dim=1).clamp_min(torch.finfo(step.dtype).tiny).view(-1, 1, 1, 1)
        return self.budget.project(self.x + step * (self.eps / length), self.x, self.ball)


def pyramids(height: int, width: int) -> Tensor:
    """A pyramid above one below (height, width), the second negative, of length 1 together; float64.

    A window of one row has them side by side; one of a single pixel has one.
    """
    if height == 1:
        halves = [_pyramid(1, width // 2), -_pyramid(1, width - width // 2)]
        both = torch.cat([half for half in halves if half.numel()], dim=1)
    else:
        both = torch.cat([_pyramid(height // 2, width), -_pyramid(height - height // 2, width)], dim=0)
    return both / both.norm()


def _pyramid(height: int, width: int) -> Tensor:
    """Of unit length: at distance d from the middle Σ over k ≥ d of 1 / (k + 1)²."""
    if not height * width:
        return torch.zeros(height, width, dtype=torch.float64)
    away = torch.maximum(
        (torch.arange(height) - height // 2).abs()[:, None], (torch.arange(width) - width // 2).abs()[None]
    )
    levels = 1 / torch.arange(1, max(height, width) // 2 + 2, dtype=torch.float64).square()
    found = levels.flip(0).cumsum(0).flip(0)[away]
    return found / found.norm()


def _unit(windows: Tensor) -> Tensor:
    """Each channel of each window (B, C, height, width) at length 1; 0 where it is 0."""
    length = windows.flatten(2).norm(dim=2)[:, :, None, None]
    return windows / length.clamp_min(torch.finfo(windows.dtype).tiny)


def _signs(u: Tensor) -> Tensor:
    """±1 for each channel (B, C, 1, 1), from uniform numbers (B, C)."""
    return torch.where(u < 0.5, 1.0, -1.0)[:, :, None, None].to(u.dtype)


def _generators(index: Tensor, seed: int, purpose: int) -> list[np.random.Generator]:
    """A counter-based generator for each example, by its place alone; apart from those of random starts."""
    return [
        np.random.Generator(np.random.Philox(key=[seed, 0], counter=[0, 0, purpose, place]))
        for place in index.tolist()
    ]


def _uniform(index: Tensor, seed: int, purpose: int, count: int, like: Tensor) -> Tensor:
    """(B, count) uniform numbers in [0, 1)."""
    drawn = np.stack([rng.random(count) for rng in _generators(index, seed, purpose)])
    return torch.from_numpy(drawn).to(like)


def _stream(index: Tensor, seed: int, count: int, like: Tensor) -> Iterator[Tensor]:
    """(B, count) uniform numbers in [0, 1) for one query after another."""
    generators = _generators(index, seed, QUERY)
    while True:
        block = np.stack([rng.random((BLOCK, count)) for rng in generators], axis=1)
        yield from torch.from_numpy(block).to(like)
