"""Models by a user's words: factories with arguments, and packages that may be absent."""

import sys
import types

import pytest
import torch
from torch import nn

from landscape import Data, Network, Objective
from landscape.errors import InputError
from landscape.models.source import make, of_others
from landscape.outputs import logits

torch.set_num_threads(1)

CODE = """
from torch import nn

def net(width: int = 3, bias=True, name="a"):
    assert name != "b", "no such name"
    module = nn.Linear(2, width, bias=bias)
    module.name = name
    return module

ready = nn.Linear(2, 7)

def nothing():
    return 5
"""


@pytest.fixture
def code(tmp_path):
    (tmp_path / "code.py").write_text(CODE)
    return f"{tmp_path}/code.py"


def test_a_factory_is_called_with_its_arguments_as_python_has_them(code):
    module, made = make(f"{code}:net", ["width=4", "bias=false", "name=x-1"])
    assert (module.out_features, module.bias, module.name) == (4, None, "x-1")
    assert made == f"{code}:net(width=4, bias=False, name='x-1')"
    assert make(f"{code}:net")[1] == f"{code}:net"


def test_a_model_that_stands_ready_in_a_file_is_taken(code):
    assert make(f"{code}:ready")[0].out_features == 7


def test_built_in_models_take_arguments_either_way():
    found = [make("mlp:hidden=5"), make("mlp", ["hidden=5"]), make("mlp:hidden=5", ["classes=3"])]
    assert [made for _, made in found] == ["mlp:hidden=5", "mlp:hidden=5", "mlp:hidden=5,classes=3"]
    assert found[0][0].state_dict().keys() == found[1][0].state_dict().keys()


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("net", ["width"], "'width' is no NAME=VALUE"),
        ("net", ["width=1", "width=2"], "gives width twice"),
        ("net", ["depth=1"], "unexpected keyword argument 'depth'"),
        ("net", ["name=b"], "AssertionError: no such name"),
        ("nothing", [], "returned int; it must return a torch.nn.Module"),
    ],
)
def test_what_a_factory_does_not_take_is_named(code, name, arguments, named):
    with pytest.raises(InputError, match=named):
        make(f"{code}:{name}", arguments)


@pytest.mark.parametrize("spec", ["timm:resnet18", "torchvision:resnet18"])
def test_a_package_that_is_absent_is_named_with_what_to_type(spec, monkeypatch):
    top = spec.partition(":")[0]
    monkeypatch.setitem(sys.modules, top, None)
    assert of_others(spec)
    with pytest.raises(InputError, match=rf"{top} (is not installed; pip install|does not import beside)"):
        make(spec)


def test_models_of_packages_begin_without_anybodys_weights(monkeypatch):
    asked = {}

    def create(name, **options):
        asked[name] = options
        return nn.Linear(1, 1)

    monkeypatch.setitem(sys.modules, "timm", types.SimpleNamespace(create_model=create))
    assert make("timm:vit_tiny.augreg", ["num_classes=10"])[1] == "timm:vit_tiny.augreg(num_classes=10)"
    assert asked == {"vit_tiny.augreg": {"pretrained": False, "num_classes": 10}}


class Answers(nn.Module):
    """A network that wraps what it returns."""

    def __init__(self, wrap):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.wrap = nn.Linear(4, 3), wrap

    def forward(self, x):
        return self.wrap(self.inner(x), x)


WRAPS = {
    "logits and input": lambda out, x: (out, x),
    "a list": lambda out, x: [out, None],
    "a dict": lambda out, x: {"logits": out, "features": x},
    "a dict of one": lambda out, x: {"out": out},
    "an object": lambda out, x: types.SimpleNamespace(logits=out, loss=None),
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_outputs_are_unwrapped(wrap):
    x = torch.rand(6, 4, generator=torch.Generator().manual_seed(1))
    data = Data.of(x, torch.arange(6) % 3)
    plain, wrapped = (Objective(Network(Answers(w)), data).at() for w in (lambda out, x: out, WRAPS[wrap]))
    wrapped.objective.network.check(x, 3)
    v = torch.ones(len(plain.theta))
    assert wrapped.value == plain.value
    assert torch.equal(wrapped.gradient, plain.gradient)
    assert torch.allclose(wrapped.hessian @ v, plain.hessian @ v)


def test_what_holds_no_logits_is_left_for_the_check_to_name():
    assert logits({"a": 1, "b": 2}) == {"a": 1, "b": 2}
    assert logits(()) == ()
