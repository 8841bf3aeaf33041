"""V_eps, T_eps and the adversarial loss over the plane of all linear models of two pixels and two classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from landscape.format import percent
from landscape.registry import register

if TYPE_CHECKING:
    import numpy as np

    from landscape.data import Data
    from landscape.theory.region import Region

CELLS, ANGLES = 81, 720


@dataclass(frozen=True, eq=False)
class Plane:
    """Logistic regression on two pixels, w = w₂ − w₁ in a square around 0, at one budget.

    eps, budget, norm: of the perturbations
    eps_bar: of the data set
    w: (g,) the values of each of the two weights, ascending
    loss: (g, g) L_eps, exact; second weight along the first axis
    angle: (a,) directions of w, in radians, ascending
    version: (a,) whether w of that direction is in V_eps of every example
    trapped: (a,) whether it is in T_eps of the data set; both are cones
    best: (2,) the minimiser, with a ridge of `ridge` on W = (−w, w) / 2, which stops it where the classes can
        be separated
    x, y: (n, 2) the examples, and their classes (n,)
    """

    OWN_SHAPES: ClassVar[bool] = True
    LEGEND: ClassVar[str] = (
        "angle: share of the directions of w in V_eps of all examples, and in T_eps of the data set, ± "
        "the step of their grid; w*: the minimiser with a small ridge"
    )

    eps: float
    budget: str
    norm: str
    eps_bar: float
    ridge: float
    w: np.ndarray
    loss: np.ndarray
    angle: np.ndarray
    version: np.ndarray
    trapped: np.ndarray
    best: np.ndarray
    best_loss: float
    x: np.ndarray
    y: np.ndarray

    def rows(self) -> dict[str, str]:
        """What a table of results shows of it, by the name of the row."""
        return {
            "eps_bar": f"{self.eps_bar:.5f}",
            "angle of V": _angle(self.version),
            "angle of T": _angle(self.trapped),
            "w*": f"({self.best[0]:.4g}, {self.best[1]:.4g})",
            "loss at w*": f"{self.best_loss:.5f}",
        }

    def remarks(self) -> list[str]:
        """What a reader of the table must know besides, a sentence each."""
        return [f"log 2 = 0.69315 is the loss of w = 0; the minimiser has a ridge of {self.ridge:g}"]


def _angle(inside: np.ndarray) -> str:
    """A share of all directions; what is all or nothing on a grid of them is told as such."""
    share = float(inside.mean())
    return percent(share, 1 / len(inside) if 0 < share < 1 else 0.0)


@register("theory")
def plane(
    data: Data,
    *,
    eps: str = "0,0.1,0.2,0.3",
    norm: Literal["linf", "l2"] = "linf",
    extent: float = 8.0,
    ridge: float = 1e-3,
    seed: int = 0,
) -> Iterator[Plane]:
    """V_eps, T_eps and the exact loss over all w of a set of two pixels and two classes, for a growing eps.

    eps: budgets in pixels
    norm: of the perturbations
    extent: the largest weight that is drawn
    ridge: weight of ‖W‖² / 2 in the objective of the minimiser
    """
    import numpy as np

    from landscape.budget import budgets
    from landscape.errors import InputError
    from landscape.theory import threshold
    from landscape.theory.loss import bounds
    from landscape.theory.minimiser import minimise
    from landscape.theory.questions.arrays import arrays
    from landscape.theory.region import region

    x, y = arrays(data)
    if x.shape[1] != 2 or data.classes != 2:
        raise InputError(
            f"{data.name} has {x.shape[1]} pixels and {data.classes} classes; the plane is that of 2 pixels "
            "and 2 classes"
        )
    if not (extent > 0 and ridge > 0):
        raise InputError(f"--extent {extent} --ridge {ridge} is not possible; both are above 0")
    wanted = budgets(eps, norm)
    grid = np.linspace(-extent, extent, CELLS)
    bar = threshold.of_data(x, y, 2, norm)
    angle = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)

    around = np.stack([np.cos(angle), np.sin(angle)])
    everywhere = np.stack(np.meshgrid(grid, grid)).reshape(2, -1)
    sign = np.where(y == 0, 1.0, -1.0)[:, None]  # the margin that the adversary raises is ± wᵀx'

    def raised(regions: Region, w: np.ndarray) -> np.ndarray:
        """max over S_eps(xᵢ) of (w_j − w_y)ᵀx' for the class j that is not y's, of each w (2, k): (n, k)."""
        return np.where(sign > 0, regions.supports(w), regions.supports(-w))

    for budget in wanted:
        regions = region(x, float(budget.eps), norm)
        found = minimise(regions, y, 2, ridge=ridge, seed=seed, falls=bar.direction)
        yield Plane(
            eps=float(budget.eps),
            budget=str(budget).split()[0],
            norm=norm,
            eps_bar=bar.value,
            ridge=ridge,
            w=grid,
            loss=np.logaddexp(0.0, raised(regions, everywhere)).mean(axis=0).reshape(CELLS, CELLS),
            angle=angle,
            version=np.all(raised(regions, around) <= 0, axis=0),
            trapped=(raised(regions, around).mean(axis=0) >= 0)
            & (raised(regions, -around).mean(axis=0) >= 0),
            best=found.W[:, 1] - found.W[:, 0],
            best_loss=float(bounds(found.W, regions, y).lower.mean()),
            x=x,
            y=y,
        )
