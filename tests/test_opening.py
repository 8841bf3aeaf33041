"""Which weights in which model: nothing runs unasked, nothing is silently another model or other weights."""

import numpy as np
import pytest
import torch
from torch import nn

import landscape
from landscape import cli
from landscape.checkpoints.match import match
from landscape.checkpoints.read import read
from landscape.checkpoints.write import save
from landscape.errors import CheckpointError, InputError
from landscape.normalization import of_module
from landscape.opening import Opening, load_model
from landscape.subjects import beside, subject

torch.set_num_threads(1)

CODE = """
import pathlib
import torch
from torch import nn

def net(inputs=4, classes=3):
    return nn.Sequential(nn.Linear(inputs, 5), nn.ReLU(), nn.Linear(5, classes))

shared = net()

class Wrapped(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = net(), wrap

    def forward(self, x):
        return self.wrap(self, x)

def softmax():
    return Wrapped(lambda m, x: m.net(x).softmax(1))

def several():
    return Wrapped(lambda m, x: (m.net(x), x))

def half():
    return Wrapped(lambda m, x: m.net(x).half())

def rounded():
    return Wrapped(lambda m, x: m.net((x * 255).round() / 255))

def late(temperature=1):
    def wrap(m, x):
        if len(x) > 4:
            raise ValueError("too many")
        return m.net(x)
    return Wrapped(wrap)

def old_norm():
    module = net()
    torch.nn.utils.weight_norm(module[0])
    module(torch.zeros(1, 4))
    return module

def evil():
    pathlib.Path("sentinel").touch()
    return net()
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a model's code, its weights and data."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(CODE)
    torch.manual_seed(0)
    torch.save(plain().state_dict(), "a.pt")
    torch.save({f"net.{n}": t for n, t in plain().state_dict().items()}, "wrapped.pt")
    rng = np.random.default_rng(0)
    np.savez("d.npz", x=rng.uniform(size=(40, 4)).astype(np.float32), y=np.arange(40) % 3)
    return tmp_path


def plain():
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def opened(path, model, **told):
    return subject(path, model=f"own.py:{model}", data="d.npz", **told)


def notes(path, model, **told):
    return " ".join(opened(path, model, **told).notes)


@pytest.mark.parametrize(
    "command",
    ["line mine.pt evil.pt", "trajectory mine.pt evil.pt", "perturbation mine.pt evil.pt --eps 0.1"],
)
def test_a_second_checkpoint_runs_no_code_that_it_names(command, place, capsys):
    state = plain().state_dict()
    save(
        "mine.pt",
        {f"{int(n[0]) + 1}{n[1:]}": t for n, t in state.items()},
        {"model": "mlp:inputs=4,hidden=5,layers=1,classes=3"},
    )
    save("evil.pt", state, {"model": "own.py:evil"})
    code = cli.run([*command.split(), "--data", "d.npz", "--quiet"])
    assert code != 0
    assert not (place / "sentinel").exists()
    assert "to run that code give --model own.py:evil" in capsys.readouterr().err


def test_a_model_that_is_handed_out_again_is_normalised_once(place):
    first = opened("a.pt", "shared", normalize="0.5/0.25")
    others = [beside(first, "a.pt") for _ in range(2)]
    for found in (first, *others):
        module = found.network.module
        assert str(of_module(module)) == "0.5/0.25"
        assert len(module._forward_pre_hooks) == 1
    with pytest.raises(InputError, match="normalises its inputs already"):
        first.loaded.normalization.into(first.loaded.module)


def test_a_key_and_an_average_that_are_not_the_same_are_a_mistake(place):
    averages = {n: 2 * t for n, t in plain().state_dict().items()}
    torch.save({"model": plain().state_dict(), "ema": averages}, "two.pt")
    with pytest.raises(InputError, match="--key model names weights that are no average"):
        opened("two.pt", "net", key="model", weights="ema")
    assert opened("two.pt", "net", key="ema").describe()["checkpoint"]["averaged"]
    assert opened("two.pt", "net", key="ema", weights="ema").loaded.match.place == "ema"


def test_every_key_that_is_offered_can_be_given(place):
    state = plain().state_dict()
    torch.save(state | {f"copy.{n}": 2 * t for n, t in state.items()}, "two.pt")
    with pytest.raises(CheckpointError, match="choose by --key '' or --key copy"):
        opened("two.pt", "net")
    for key, factor in (("", 1), ("copy", 2)):
        found = opened("two.pt", "net", key=key).loaded.module.state_dict()
        assert all(torch.equal(found[n], factor * t) for n, t in state.items())


@pytest.mark.parametrize("wrapper", ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
def test_wrappers_of_parts_are_taken_out_of_names(wrapper, place):
    torch.save({f"m.{n[0]}.{wrapper}{n[1:]}": t for n, t in plain().state_dict().items()}, "inner.pt")
    found = opened("inner.pt", "net").loaded
    assert found.match.removed == "m."
    assert torch.equal(found.module[0].weight, torch.load("inner.pt")[f"m.0.{wrapper}.weight"])


def test_a_tied_tensor_may_stand_in_the_file_once(tmp_path):
    def tied():
        module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        module[2].weight = module[0].weight
        return module

    module, fresh = tied(), tied()
    torch.save({n: t for n, t in module.state_dict().items() if n != "2.weight"}, tmp_path / "a.pt")
    match(read(tmp_path / "a.pt"), fresh)
    assert torch.equal(fresh[2].weight, module[0].weight)
    assert fresh[2].weight is fresh[0].weight


def test_whole_numbers_that_the_model_cannot_hold_are_refused(tmp_path):
    module = nn.Linear(2, 2)
    module.register_buffer("table", torch.zeros(2, dtype=torch.int8))
    torch.save(module.state_dict() | {"table": torch.tensor([1, 300])}, tmp_path / "a.pt")
    with pytest.raises(
        CheckpointError, match=r"table has whole numbers that torch\.int8 of the model does not hold"
    ):
        match(read(tmp_path / "a.pt"), module)


def test_a_model_without_the_files_normalisation_layer_is_doubted(place):
    extra = {
        "bn1.weight": torch.ones(5),
        "bn1.running_mean": torch.zeros(5),
        "criterion.weight": torch.ones(3),
    }
    state = {("fc" if n[0] == "0" else "out") + n[1:]: t for n, t in plain().state_dict().items()}
    torch.save(state | extra, "bn.pt")
    (place / "named.py").write_text(
        "from torch import nn\n\nnet = nn.Sequential()\nnet.add_module('fc', nn.Linear(4, 5))\n"
        "net.add_module('out', nn.Linear(5, 3))\n"
    )
    told = subject("bn.pt", model="named.py:net", data="d.npz").notes
    assert any("NOT ALL OF THE FILE" in note and "bn1.weight" in note for note in told)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("softmax", "PROBABILITIES"),
        ("several", "the model returns 2 things; the first is taken for the logits"),
        ("half", "computes its outputs in torch.float16"),
    ],
)
def test_outputs_that_may_not_be_what_they_seem_are_told(model, told, place):
    assert told in notes("wrapped.pt", model)
    assert told not in notes("a.pt", "net")


def test_a_model_with_other_outputs_than_classes_is_told(place):
    torch.save(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 7)).state_dict(), "seven.pt")
    assert "the model has 7 outputs, the data 3 classes" in notes(
        "seven.pt", "net", model_args=("classes=7",)
    )


def test_dark_images_are_told(place):
    np.savez("d.npz", x=np.full((40, 2, 2), 1, dtype=np.uint8), y=np.arange(40) % 3)
    (place / "flat.py").write_text(
        "from torch import nn\n\nnet = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))\n"
    )
    torch.save(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).state_dict(), "flat.pt")
    assert "DARK IMAGES" in " ".join(subject("flat.pt", model="flat.py:net", data="d.npz").notes)


def test_a_loss_without_a_gradient_in_the_inputs_is_told_where_it_is_attacked(place):
    def told(eps, model, path):
        found = landscape.measure(
            "sharpness", path, eps, k=1, model=f"own.py:{model}", data="d.npz", examples=16
        )
        return "NO GRADIENT" in " ".join(found.provenance["notes"])

    assert told("0.1", "rounded", "wrapped.pt")
    assert not told("0", "rounded", "wrapped.pt")
    assert not told("0.1", "net", "a.pt")


def test_an_error_of_a_model_with_arguments_is_one_line(place):
    with pytest.raises(CheckpointError, match=r"the model own.py:late failed: ValueError: too many"):
        opened("wrapped.pt", "late", model_args=("temperature=2",))


def test_old_weight_norm_is_told_what_to_use_instead(place):
    with (
        pytest.warns(FutureWarning, match="weight_norm"),
        pytest.raises(InputError, match="parametrizations"),
    ):
        opened("a.pt", "old_norm")


def test_a_file_does_not_open_data_by_its_own_word(place):
    save("hub.pt", plain().state_dict(), {"model": "mlp", "data": {"name": "hf:evil/set,download=true"}})
    with pytest.raises(landscape.errors.DataError, match="to open that give --data hf:evil/set"):
        subject("hub.pt", model="own.py:net")


def test_a_file_cannot_have_a_model_made_that_fills_the_memory(place):
    save("large.pt", plain().state_dict(), {"model": "mlp:inputs=30000,hidden=30000"})
    with pytest.raises(CheckpointError, match=r"1,800,\d+,\d+ parameters, and has 43 numbers"):
        load_model(read("large.pt"), Opening())


def test_a_loss_that_is_no_number_ends_info_as_a_numerical_error(place, capsys):
    (place / "bad.py").write_text("def loss(logits, y):\n    return logits.sum(1) * float('nan')\n")
    words = "info a.pt --model own.py:net --data d.npz --loss bad.py:loss"
    assert cli.run(words.split()) == 5
    assert "is nan" in capsys.readouterr().err
