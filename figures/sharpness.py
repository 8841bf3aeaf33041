"""Top-20 Hessian eigenvalues of LeNets trained at eps 0, 0.05, 0.1, 0.2, each measured at these budgets."""

from pathlib import Path

from landscape import load
from landscape.plot import figure, save

HERE = Path(__file__).parent
RESULTS = HERE.parent / "data/results"

if __name__ == "__main__":
    runs = [load(RESULTS / f"sharpness_eps{eps}.h5") for eps in ("0", "0.05", "0.1", "0.2")]
    for ending in ("pdf", "png"):
        save(figure(runs), HERE / f"sharpness.{ending}")
