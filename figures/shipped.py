"""Draw the results of one study of the shipped LeNets, a row or panel for each; not a figure itself."""

from pathlib import Path

from landscape import load
from landscape.plot import figure, save

HERE = Path(__file__).parent
RESULTS = HERE.parent / "data/results"


def draw(name: str) -> None:
    runs = [load(RESULTS / f"{name}_eps{eps}.h5") for eps in ("0", "0.05", "0.1", "0.2")]
    for ending in ("pdf", "png"):
        save(figure(runs), HERE / f"{name}.{ending}")
