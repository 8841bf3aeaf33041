"""Who may import whom: downwards only."""

import ast
from pathlib import Path

import pytest

import landscape

ROOT = Path(landscape.__file__).parent
FLOORS = {
    1: "budget data sampling fit network folded outputs normalization losses results registry "
    "files format errors log progress _version ensemble same schedules optimizers",
    2: "attacks linalg models datasets",
    3: "objective hessian checkpoints squares per_example statistics task robustness theory",
    4: "analyzers crosscheck affine directions axes surfaces opening doubts curves connecting",
    5: "runs subjects plot training report training_files resume record laboratory",
    6: "cli __main__",
}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names.split()}
FILES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem != "__init__")


def imported(path: Path) -> set[str]:
    """The parts of the package that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "landscape":
            parts = (node.module or "").split(".")[1:]
            found |= {parts[0]} if parts else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("landscape.")}
    return found & set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_from_its_own_floor_or_below(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    above = {name for name in imported(path) if FLOOR[name] > FLOOR[own]}
    # A point hands out its Hessian, which knows points.
    assert not above


@pytest.mark.parametrize("path", sorted(ROOT.glob("plot/*.py")), ids=lambda path: path.stem)
def test_figures_are_drawn_without_torch(path):
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import)]
    assert "torch" not in {name.name for node in nodes for name in node.names}
