"""From which eps on is the constant classifier optimal for a linear model of this data?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from landscape.format import plus_minus
from landscape.registry import register

if TYPE_CHECKING:
    from landscape.data import Data


@dataclass(frozen=True, eq=False)
class Threshold:
    """eps_bar of linear models of a data set: W = 0 minimises L_eps just for eps ≥ eps_bar.

    norm, box: of the perturbations; whether the adversary stays in [0, 1]
    bias: whether the model has a bias for each class
    eps_bar, error: the middle of its bounds, and half their distance
    stderr: standard error if the examples are a sample, to first order at fixed class sizes
    decided_by: the classes, and under l_inf the pixel, that decide
    smallest, median, largest: of the eps_bar of the single examples, ‖x‖_p
    examples, classes: how many there are
    """

    OWN_SHAPES: ClassVar[bool] = True
    LEGEND: ClassVar[str] = (
        "eps_bar: ± half the distance of its bounds, where it has no closed form, (± standard error if the "
        "examples are a sample, at fixed class sizes); one example: smallest, median and largest ‖x‖"
    )
    LINE: ClassVar[str] = "norm"
    budget: ClassVar[str] = ""

    norm: str
    box: bool
    bias: bool
    eps_bar: float
    error: float
    stderr: float
    decided_by: str
    smallest: float
    median: float
    largest: float
    examples: int
    classes: int

    @property
    def line(self) -> str:
        """What a line of the table begins with."""
        return f"{self.norm}{', in the box [0, 1]' if self.box else ''}{', with bias' if self.bias else ''}"

    def rows(self) -> dict[str, str]:
        """What a table of results shows of it, by the name of the row."""
        from landscape.format import sampled

        # Bounds that agree to all digits that are printed are no interval.
        error = self.error if self.error > 1e-8 * self.eps_bar else 0.0
        value = plus_minus(self.eps_bar, error) if error else f"{self.eps_bar:.6f}"
        return {
            "eps_bar": value + sampled(self.stderr),
            "decided by": self.decided_by,
            "one example": f"{self.smallest:.4g}, {self.median:.4g}, {self.largest:.4g}",
        }

    def remarks(self) -> list[str]:
        """What a reader of the table must know besides, a sentence each."""
        return []


@register("theory", "eps-bar")
def eps_bar(data: Data, *, bias: bool = False) -> Iterator[Threshold]:
    """The eps from which on W = 0 minimises the adversarial loss (Theorem 1), exactly.

    For linear models of the inputs with softmax cross-entropy: under l_inf, the same in the box [0, 1], and
    under l_2. With two classes this is logistic regression. For classes of one size it is the Chebyshev
    radius of the class means.

    bias: of models with a bias for each class
    """
    import numpy as np

    from landscape.theory import threshold
    from landscape.theory.questions.arrays import arrays, place

    x, y = arrays(data)
    for norm, box in (("linf", False), ("linf", True), ("l2", False)):
        found = threshold.of_data(x, y, data.classes, norm, box=box, bias=bias)
        sizes = np.abs(x).max(axis=1) if norm == "linf" else np.linalg.norm(x, axis=1)
        names = ", ".join(str(c) for c in sorted(found.classes))
        where = f", pixel {place(found.pixel, tuple(data.x.shape[1:]))}" if found.pixel >= 0 else ""
        yield Threshold(
            norm=norm,
            box=box,
            bias=bias,
            eps_bar=found.value,
            error=found.error,
            stderr=found.stderr,
            decided_by=f"classes {names}{where}",
            smallest=float(sizes.min()),
            median=float(np.median(sizes)),
            largest=float(sizes.max()),
            examples=len(y),
            classes=data.classes,
        )
