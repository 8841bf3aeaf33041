"""The nets that studies share: one recipe, trained once, at the budgets that its schedule says."""

import sys
from pathlib import Path

import pytest

from landscape import load
from landscape.checkpoints.read import read
from landscape.errors import InputError

sys.path.insert(0, str(Path(__file__).parent.parent / "analyses"))
import trained

TINY = ["--model", "lenet:width=1", "--data", "fashion-mini", "--train-examples", "30", "--epochs", "2"]


@pytest.fixture
def told(tmp_path):
    return trained.arguments(None).parse_args([*TINY, "--nets", str(tmp_path), "--seeds", "3, 4"])


def test_a_net_is_trained_once(told, tmp_path):
    nets = trained.nets(told, "steady")
    path = nets("0.1", 3)
    assert path.resolve() == tmp_path / "steady/eps0.1_seed3.pt"
    assert not path.is_absolute()
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert nets("0.1", 3) == path
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    said = read(path).metadata
    assert (said["budget"]["eps"], said["training"]["seed"], said["training"]["schedule"]) == (
        "0.1",
        3,
        "constant",
    )
    assert said["data"]["examples"] == 30
    with pytest.raises(InputError, match="epochs"):
        trained.nets(told, "steady", epochs=3, options=(("lr", 0.5),))("0.1", 3)


@pytest.mark.parametrize(("shape", "top"), [("cosine", 1.5), ("linear", 2)])
def test_budgets_rise_to_the_papers_multiple_of_the_target_and_stop_at_it(told, shape, top):
    path = trained.nets(told, shape, shape, epochs=4)("0.2", 3)
    each = load(path.with_suffix(".h5")).results[0].each_eps
    shapes = {"linear": lambda d: d / 4, "cosine": lambda d: [0, 0.1464466, 0.5, 0.8535534][d]}
    assert each.tolist() == pytest.approx([min(0.2, 0.2 * top * shapes[shape](d)) for d in range(4)])


def test_clean_nets_have_no_schedule_and_options_are_in_the_name(told):
    assert read(trained.nets(told, "cosine", "cosine")("0", 4)).metadata["training"]["schedule"] == "constant"
    path = trained.nets(told, "rates", options=(("batch_size", 10),))("8/255", 4, lr=0.01)
    assert path.name == "eps8-255_lr0.01_seed4.pt"
    assert read(path).metadata["training"] | {"lr": 0.01, "batch_size": 10} == read(path).metadata["training"]


def test_the_ends_of_periods_are_kept(told):
    path = trained.nets(told, "periodic", "cosine", periods="0:1:2")("0.1", 3)
    assert [path.with_name(f"{path.stem}-period{n}.pt").is_file() for n in (1, 2)] == [True, True]
