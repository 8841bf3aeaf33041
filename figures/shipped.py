"""Draw the results of one study of the shipped LeNets, together or one alone; not a figure itself."""

from pathlib import Path

from landscape import load
from landscape.plot import figure, save

HERE = Path(__file__).parent
RESULTS = HERE.parent / "data/results"


def draw(name: str, trained: tuple[str, ...] = ("0", "0.05", "0.1", "0.2")) -> None:
    runs = [load(RESULTS / f"{name}_eps{eps}.h5") for eps in trained]
    for ending in ("pdf", "png"):
        save(figure(runs), HERE / f"{name}.{ending}")
