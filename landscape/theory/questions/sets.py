"""How V_eps shrinks and T_eps grows with eps: the shares of random models that are in them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from landscape.format import duration, percent
from landscape.registry import register

if TYPE_CHECKING:
    import numpy as np

    from landscape.data import Data

BLOCK = 10
"""Models between two reports of progress."""


@dataclass(frozen=True, eq=False)
class Sets:
    """Shares of random linear models in V_eps (Proposition 1) and in T_eps (Theorem 1), over a grid of eps.

    norm, box: of the perturbations; whether the adversary stays in [0, 1]
    examples, classes, models: how many there are; every model W is drawn from the same seed at every eps
    eps_bar, eps_bar_error: of the data set
    grid: (g,) eps, ascending
    version, version_stderr: (g,) share of pairs of a dense model and an example with W in V_eps of it, and
        its standard error over the models
    trapped, trapped_stderr: (g,) share of dense models in T_eps of the data set, weights standard normal
    sparse, sparse_stderr: (g,) the same of models with weights on one random pixel alone, which under l_inf
        are the last to enter
    version_backwards, trapped_backwards: how many times a membership was lost the wrong way: W in V_eps at a
        larger eps but not at a smaller one, in T_eps at a smaller but not at a larger. The theory says 0
    seconds: wall time
    """

    OWN_SHAPES: ClassVar[bool] = True
    LEGEND: ClassVar[str] = (
        "share of random models: ± standard error over the models; V: of pairs of a model and an example; "
        "T: of the data set; one pixel: weights on one random pixel alone"
    )
    LINE: ClassVar[str] = "eps"
    budget: ClassVar[str] = ""

    norm: str
    box: bool
    examples: int
    classes: int
    models: int
    eps_bar: float
    eps_bar_error: float
    grid: np.ndarray
    version: np.ndarray
    version_stderr: np.ndarray
    trapped: np.ndarray
    trapped_stderr: np.ndarray
    sparse: np.ndarray
    sparse_stderr: np.ndarray
    version_backwards: int
    trapped_backwards: int
    seconds: float

    @property
    def line(self) -> str:
        """What a line of the table begins with."""
        return f"{self.grid[0]:g} to {self.grid[-1]:g}"

    def rows(self) -> dict[str, str]:
        """What a table of results shows of it, by the name of the row."""
        rows = {"eps_bar": f"{self.eps_bar:.5f}"}
        for name, (values, errors) in {
            "in V": (self.version, self.version_stderr),
            "in T": (self.trapped, self.trapped_stderr),
            "in T, one pixel": (self.sparse, self.sparse_stderr),
        }.items():
            ends = (percent(values[i], errors[i]) for i in (0, -1))
            rows[name] = " to ".join(ends)
        return rows | {"time": duration(self.seconds)}

    def remarks(self) -> list[str]:
        """What a reader of the table must know besides, a sentence each."""
        lost = self.version_backwards + self.trapped_backwards
        return [
            f"{lost} of the memberships were lost the wrong way"
            + ("" if lost else ": V only shrinks, T only grows")
        ]


@register("theory")
def sets(
    data: Data,
    *,
    norm: Literal["linf", "l2"] = "linf",
    box: bool = False,
    low: float = 0.001,
    high: float = 0.5,
    points: int = 40,
    models: int = 100,
    seed: int = 0,
    watch: Any = None,
) -> Sets:
    """How V_eps shrinks with eps (Proposition 1) and T_eps grows (Theorem 1), on random models.

    norm: of the perturbations
    box: the adversary stays in [0, 1]
    low: the smallest eps above 0
    high: the largest eps
    points: eps between them, spaced by one factor
    models: random models of each kind
    """
    import numpy as np

    from landscape.errors import InputError
    from landscape.theory import threshold
    from landscape.theory.questions.arrays import arrays, mean, share
    from landscape.theory.region import check, class_means, region
    from landscape.theory.sets import in_version_space, slopes_at_zero

    check(norm, box)
    if not 0 < low < high < np.inf or points < 2 or models < 2:
        raise InputError(
            f"--low {low} --high {high} --points {points} --models {models} is not possible; give "
            "0 < low < high and at least 2 points and models"
        )
    if norm == "linf" and high > 1:
        raise InputError(
            f"--high {high:g} is wider than the box [0, 1] of the inputs; eps is in pixels of [0, 1], give 1 "
            "at most"
        )
    start = time.perf_counter()
    x, y = arrays(data)
    grid = np.append(0.0, np.geomspace(low, high, points))
    in_V, in_T = np.zeros((models, len(grid))), np.zeros((2, models, len(grid)), dtype=bool)
    before, backwards = np.ones((models, len(y)), dtype=bool), 0
    drawn = [_draw(x.shape[1], data.classes, seed, i) for i in range(models)]
    for place, eps in enumerate(grid):
        regions = region(x, float(eps), norm, box=box)
        summed = class_means(regions, y, data.classes)
        for i, pair in enumerate(drawn):
            for kind, W in enumerate(pair):
                in_T[kind, i, place] = min(slopes_at_zero(W, *summed)) >= 0
            inside = in_version_space(pair[0], regions, y)
            backwards += int((inside & ~before[i]).sum())
            in_V[i, place], before[i] = inside.mean(), inside
            if watch and i % BLOCK == 0:
                watch("random models", place * models + i, models * len(grid))
    shares: dict[str, Any] = {}
    for name, each in (("trapped", in_T[0]), ("sparse", in_T[1])):
        told = np.array([share(column) for column in each.T])
        shares |= {name: told[:, 0], f"{name}_stderr": told[:, 1]}
    version = np.array([mean(column) for column in in_V.T])
    bar = threshold.of_data(x, y, data.classes, norm, box=box)
    return Sets(
        norm=norm,
        box=box,
        examples=len(y),
        classes=data.classes,
        models=models,
        eps_bar=bar.value,
        eps_bar_error=bar.error,
        grid=grid,
        version=version[:, 0],
        version_stderr=version[:, 1],
        **shares,
        version_backwards=backwards,
        trapped_backwards=int((in_T[..., :-1] & ~in_T[..., 1:]).sum()),
        seconds=time.perf_counter() - start,
    )


def _draw(pixels: int, classes: int, seed: int, model: int) -> tuple[np.ndarray, np.ndarray]:
    """A model of standard normal weights (m, K), and one with such weights on one random pixel alone."""
    import numpy as np

    rng = np.random.Generator(np.random.Philox(key=[seed, model]))
    dense = rng.normal(size=(pixels, classes))
    sparse = np.zeros_like(dense)
    sparse[rng.integers(pixels)] = rng.normal(size=classes)
    return dense, sparse
