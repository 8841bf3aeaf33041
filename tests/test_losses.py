"""Losses: what they are of single examples, and that all that is made of them is right for each."""

import nets
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape import losses, registry
from landscape.affine import NotPiecewiseAffine, diagonal
from landscape.attacks.linear import Linear
from landscape.attacks.pgd import PGD
from landscape.budget import Budget
from landscape.data import Data
from landscape.errors import CheckpointError, DataError, InputError
from landscape.hessian import Hessian
from landscape.losses.dlr import dlr
from landscape.losses.margin import margin
from landscape.losses.mse import mse
from landscape.network import Network
from landscape.objective import Objective
from landscape.per_example import gradients
from landscape.surfaces.cells import values

CLASSES = 4
OWN = """
import torch
import torch.nn.functional as F

def focal(logits, y):
    p = logits.softmax(1)[torch.arange(len(y)), y]
    return -(1 - p) ** 2 * p.log()
def mean(logits, y): return F.cross_entropy(logits, y)
def spread(logits, y): return F.cross_entropy(logits, y).expand(len(y))
def of_rows(logits, y): return F.mse_loss(logits, F.one_hot(y, 4).to(logits), reduction="none")
def column(logits, y): return F.cross_entropy(logits, y, reduction="none")[:, None]
def batchnorm(logits, y): return F.cross_entropy(logits - logits.mean(0), y, reduction="none")
def random(logits, y): return F.cross_entropy(F.dropout(logits), y, reduction="none")
def detached(logits, y): return F.cross_entropy(logits.detach(), y, reduction="none")
def mistakes(logits, y): return (logits.argmax(1) != y).double()
def counts(logits, y): return (logits.argmax(1) != y)
def raises(logits, y): raise ValueError("two\\nlines")
def stops(logits, y): raise SystemExit(3)
def in_place(logits, y): return F.cross_entropy(logits.sub_(1), y, reduction="none")
def none(logits, y): pass
def number(logits, y): return 1.0
def three(logits, y, z): return logits[:, 0]
def huber(outputs, y): return F.huber_loss(outputs[:, 0], y, reduction="none")
"""


def a_net(activation: type[nn.Module] = nn.Tanh, outputs: int = CLASSES) -> nn.Module:
    return nets.trained(nn.Sequential(nn.Linear(4, 5), activation(), nn.Linear(5, outputs)))


def numbers(n: int, k: int | None) -> Data:
    rng = torch.Generator().manual_seed(3)
    y = torch.randn((n,) if k is None else (n, k), generator=rng, dtype=torch.float64)
    return Data.of(torch.rand(n, 4, generator=rng, dtype=torch.float64), y, numbers=True)


# loss, its net's outputs, its data, and the loss of one example in plain words
CASES = {
    "cross_entropy": (losses.cross_entropy, CLASSES, nets.data(7, 4, classes=CLASSES)),
    "margin": (margin, CLASSES, nets.data(7, 4, classes=CLASSES)),
    "margin of two": (margin, 2, nets.data(7, 4, classes=2)),
    "dlr": (dlr, CLASSES, nets.data(7, 4, classes=CLASSES)),
    "mse of one": (mse, 1, numbers(7, None)),
    "mse of three": (mse, 3, numbers(7, 3)),
}
ORACLES = {
    "cross_entropy": lambda z, y: torch.logsumexp(z, 0) - z[y],
    "margin": lambda z, y: max(z[j] - z[y] for j in range(len(z)) if j != y),
    "dlr": lambda z, y: (max(z[j] for j in range(len(z)) if j != y) - z[y]) / (sorted(z)[-1] - sorted(z)[-3]),
    "mse": lambda z, y: sum((a - b) ** 2 for a, b in zip(z, y.reshape(-1), strict=True)) / len(z),
}


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "my_losses.py"
    path.write_text(OWN)
    return lambda name: losses.find(f"{path}:{name}")


def case(name: str, activation: type[nn.Module] = nn.Tanh, **told):
    loss, outputs, data = CASES[name]
    return nets.point(a_net(activation, outputs), data, loss=loss, **told)


@pytest.mark.parametrize("name", CASES)
def test_each_loss_is_its_formula_of_single_examples(name):
    at = case(name)
    y = at.objective.data.y
    true = [ORACLES[name.split()[0]](z, y[i]).item() for i, z in enumerate(at.logits)]
    torch.testing.assert_close(at.losses, torch.tensor(true, dtype=torch.float64), rtol=1e-10, atol=1e-10)
    losses.check(at.objective.loss, at.logits, y)


def test_margin_and_dlr_are_positive_exactly_where_the_example_is_misclassified():
    z = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    y = torch.arange(200) % 5
    for loss in (margin, dlr):
        assert torch.equal(loss(z, y) > 0, z.argmax(dim=1) != y)
    torch.testing.assert_close(dlr(3 * z + 2, y), dlr(z, y))  # no rescaling of a model changes it
    assert dlr(z, y).min() >= -1


def test_of_a_constant_classifier_margin_and_dlr_are_0():
    z, y = torch.zeros(3, 4, requires_grad=True), torch.arange(3)
    for loss in (margin, dlr):
        assert torch.equal(loss(z, y).detach(), torch.zeros(3))
        assert torch.isfinite(torch.autograd.grad(loss(z, y).sum(), z)[0]).all()
        assert loss(z.detach() * torch.nan, y).isnan().all()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_gradient_and_hessian_are_those_of_dense_autograd(name, activation):
    at = case(name, activation)
    theta = at.theta.clone().requires_grad_()
    (slope,) = torch.autograd.grad(nets.loss(at)(theta), theta)
    torch.testing.assert_close(at.gradient, slope, rtol=1e-9, atol=1e-12)
    dense, v = nets.dense(at), torch.randn(len(theta), 2, dtype=torch.float64)
    for keep in (True, False):
        for columns in (v, v[:, 0]):
            torch.testing.assert_close(Hessian(at, keep) @ columns, dense @ columns, rtol=1e-8, atol=1e-10)
    each = Hessian(at).curvatures(v[:, 0])
    torch.testing.assert_close(each.mean(), v[:, 0] @ dense @ v[:, 0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_single_examples_are_vectorised_and_right(name):
    at = case(name)
    found = gradients(at, torch.zeros(len(at.theta), 0, dtype=torch.float64))
    assert found.one_by_one == ""
    data = at.objective.data
    for i, norm in enumerate(found.norms):
        alone = Objective(at.objective.network, data[i : i + 1], loss=at.objective.loss).at()
        torch.testing.assert_close(alone.gradient.norm(), norm, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_the_exact_diagonal_is_that_of_the_dense_hessian_or_is_refused(name):
    at = case(name, nn.ReLU)
    true = nets.dense(at).diagonal()
    torch.testing.assert_close(diagonal(at), true, rtol=1e-8, atol=1e-10)
    assert (true.abs().max() == 0) == name.startswith("margin")  # piecewise linear in the logits
    with pytest.raises(NotPiecewiseAffine):
        diagonal(case(name, nn.Tanh))


@pytest.mark.parametrize("name", CASES)
def test_the_attack_raises_every_loss_and_stays_in_the_budget(name):
    clean = case(name)
    for norm in ("linf", "l2"):
        at = Objective(
            clean.objective.network, clean.objective.data, Budget("0.1", norm), PGD(), clean.objective.loss
        )
        assert (at.at().losses >= clean.losses).all()
        assert at.at().value > clean.value
        assert at.at().inner_gap[0] >= 0


def test_the_attack_on_mse_finds_the_worst_corner_of_a_linear_model():
    net = nets.trained(nn.Sequential(nn.Linear(4, 1)))
    at = nets.point(net, numbers(9, None), loss=mse, budget=Budget("0.1"))
    x, y, w = at.objective.data.x, at.objective.data.y, net[0].weight.double()[0]
    ends = [(x + s * 0.1 * w.sign()).clamp(0, 1) for s in (1, -1)]
    worst = torch.stack([(e @ w + net[0].bias.double() - y).square() for e in ends]).amax(dim=0)
    torch.testing.assert_close(at.losses, worst.detach(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("loss", [margin, dlr, mse, lambda z, y: z[:, 0]])
def test_the_exact_attack_refuses_a_loss_that_it_is_not_exact_for(loss):
    with pytest.raises(InputError, match=r"exact for cross_entropy alone, not for the loss .*; use pgd"):
        nets.point(a_net(), nets.data(3, 4), attack=Linear(), loss=loss)


# ---- names, and losses of the user's own ----


def test_a_loss_is_found_by_the_name_that_results_have():
    assert list(registry.named("loss")) == ["cross_entropy", "dlr", "margin", "mse"]
    for name, loss in registry.named("loss").items():
        assert losses.find(name) is loss
        assert losses.name_of(loss) == name
    assert [
        losses.takes_numbers(losses.find(name)) for name in ("cross_entropy", "margin", "dlr", "mse")
    ] == [
        False,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            "hinge",
            "'hinge' is not known; there are cross_entropy, dlr, margin, mse; or give package.module:call",
        ),
        ("", "is not known"),
        ("mse:k=1", "mse takes no option, and k was given"),
        ("no_such_package:loss", "could not be imported"),
        ("torch.nn.functional:no_such", "has no callable"),
    ],
)
def test_what_is_no_loss_is_refused_in_words(spec, words):
    with pytest.raises(InputError, match=words):
        losses.find(spec)


def test_a_loss_of_the_users_own_gives_what_autograd_gives(own):
    loss = own("focal")
    at = nets.point(a_net(), nets.data(7, 4, classes=CLASSES), loss=loss)
    losses.check(loss, at.logits, at.objective.data.y)
    assert losses.name_of(loss).endswith("my_losses.py:focal")
    p = at.logits.softmax(1)[torch.arange(7), at.objective.data.y]
    torch.testing.assert_close(at.losses, -((1 - p) ** 2) * p.log())
    v = torch.randn(len(at.theta), dtype=torch.float64)
    torch.testing.assert_close(at.hessian @ v, nets.dense(at) @ v, rtol=1e-8, atol=1e-10)


def test_a_loss_of_the_users_own_may_be_one_of_numbers(own):
    loss = own("huber")
    assert losses.takes_numbers(loss)
    at = nets.point(a_net(outputs=1), numbers(7, None), loss=loss, dtype=torch.float32)
    losses.check(loss, at.logits, at.objective.data.y)
    assert at.logits.dtype == torch.float32
    assert torch.isfinite(at.gradient).all()


REFUSED = {
    "mean": "one loss of the whole batch such as its mean; return the loss of each example",
    "spread": "depends on the other examples of the batch",
    "of_rows": r"of shape \(14, 4\) for 14 examples; return the loss of each example",
    "column": r"of shape \(14, 1\)",
    "batchnorm": "depends on the other examples",
    "random": "is another when asked again",
    "detached": "has no derivative in the logits",
    "mistakes": "has no derivative in the logits",
    "counts": "torch.bool of shape",
    "raises": "ValueError: two lines",
    "stops": "SystemExit: 3",
    "in_place": "failed on logits",
    "none": "returned None",
    "number": "returned 1.0",
    "three": "TypeError",
    "huber": "failed on logits|depends",
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("n", [7, 1])
def test_what_is_no_loss_of_single_examples_is_one_clear_line(own, name, n):
    data, logits = nets.data(n, 4, classes=CLASSES), torch.randn(n, CLASSES)
    if name == "huber":
        data = Data.of(data.x, torch.rand(n, 2), numbers=True)
    with pytest.raises(InputError, match=REFUSED[name].replace("14", str(2 * n))) as caught:
        losses.check(own(name), logits, data.y)
    assert "\n" not in str(caught.value)
    assert "my_losses.py" in str(caught.value)


@pytest.mark.parametrize("loss", [losses.cross_entropy, margin, dlr])
def test_losses_of_labels_refuse_numbers_to_predict(loss):
    for y in (torch.rand(3), torch.rand(3, 4)):
        with pytest.raises(InputError, match=r"takes class labels.*use mse"):
            loss(torch.randn(3, 4), y)


def test_losses_refuse_too_few_outputs_and_other_targets():
    labels = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(
        InputError, match=r"dlr compares 3 classes at least, and the model has 2 outputs.*margin"
    ):
        dlr(torch.randn(3, 2), labels)
    with pytest.raises(InputError, match="margin compares 2 classes at least, and the model has 1 output:"):
        margin(torch.randn(3, 1), labels)
    with pytest.raises(InputError, match="class labels: use cross_entropy"):
        mse(torch.randn(3, 2), labels)
    for outputs, y in ((2, torch.rand(3)), (1, torch.rand(3, 2)), (3, torch.rand(3, 1))):
        with pytest.raises(InputError, match="each output with a target"):
            mse(torch.randn(3, outputs), y)


# ---- numbers to predict ----


def test_of_numbers_to_predict_there_is_no_accuracy():
    at = nets.point(a_net(outputs=3), numbers(20, 3), loss=mse, budget=Budget("0.05"))
    assert at.objective.data.classes == 0
    assert at.value > 0
    for share in (at.accuracy, at.accuracy_stderr):
        assert share != share
    row = values(at.losses, at.logits, at.objective.data.y, [torch.arange(20).numpy()], 0.0, 0.0, 0.0)
    assert row[2] != row[2]
    assert row[0] == at.value


def test_a_network_is_held_against_no_classes_where_there_are_none():
    data = numbers(4, 1)
    Network(a_net(outputs=1), dtype=torch.float64).check(data.x, data.classes)
    with pytest.raises(CheckpointError, match="1 outputs, the data 3 classes"):
        Network(a_net(outputs=1), dtype=torch.float64).check(data.x, 3)


def test_numbers_are_taken_for_labels_by_no_one_who_did_not_ask():
    with pytest.raises(DataError, match="whole numbers"):
        Data.of(torch.rand(3, 2), torch.rand(3))
    at = nets.point(a_net(), Data.of(torch.rand(3, 4), F.one_hot(torch.arange(3), 4).float(), numbers=True))
    with pytest.raises(InputError, match="takes class labels"):
        _ = at.losses
