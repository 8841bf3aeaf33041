"""What a number cannot tell is said beside it."""

import numpy as np
import pytest
import torch

from landscape import PGD, Budget, Data, Network, Objective, eigsh, measure, registry, subject
from landscape.objective import REFERENCE

MODEL = "mlp:inputs=16,hidden=8,layers=1,classes=2"


@pytest.fixture
def checkpoint(tmp_path):
    """A net that tells bright images from dark ones, its state dict, and unbalanced data sorted by class."""
    torch.manual_seed(0)
    module = registry.make("model", MODEL)
    y = np.array([0] * 90 + [1] * 30)
    x = np.random.default_rng(0).uniform(0, 0.4, (120, 1, 4, 4)) + 0.6 * y[:, None, None, None]
    np.savez(tmp_path / "data.npz", x=x.astype(np.float32), y=y)
    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(
            module(torch.tensor(x, dtype=torch.float32)), torch.tensor(y)
        ).backward()
        optimizer.step()
    torch.save(module.state_dict(), tmp_path / "net.pt")
    return tmp_path / "net.pt"


def test_examples_whose_loss_rounds_to_0_are_counted_and_told(checkpoint):
    state = torch.load(checkpoint, weights_only=True)
    scaled = {name: 1e4 * value if name.startswith("3.") else value for name, value in state.items()}
    torch.save(scaled, checkpoint.with_name("scaled.pt"))
    data = str(checkpoint.with_name("data.npz"))
    plain, saturated = (
        measure("sharpness", path, "0.05", model=MODEL, data=data, k=1, attack="pgd:steps=3").results[0]
        for path in (checkpoint, checkpoint.with_name("scaled.pt"))
    )
    assert plain.zero_loss == 0
    assert "NO WORST CASE" not in plain.rows()
    assert saturated.zero_loss > 0.5
    assert saturated.rows()["NO WORST CASE"] == f"{saturated.zero_loss:.0%} unseen"
    assert any("no worst case" in remark for remark in saturated.remarks())
    assert not any("no worst case" in remark for remark in plain.remarks())


@pytest.mark.parametrize(("examples", "told"), [(40, True), ("all", False), (None, False)])
def test_a_balanced_subset_of_unbalanced_data_is_told(checkpoint, examples, told):
    data = str(checkpoint.with_name("data.npz"))
    found = subject(checkpoint, model=MODEL, data=data, examples=examples)
    assert any("class-balanced" in note for note in found.notes) == told


def test_a_few_examples_of_balanced_data_are_not_said_to_weigh_it_otherwise(tmp_path):
    torch.save(registry.make("model", "linear").state_dict(), tmp_path / "a.pt")
    found = subject(tmp_path / "a.pt", model="linear", data="fashion-mini", examples=15)
    assert not any("class-balanced" in note for note in found.notes)


def test_no_run_can_give_the_reference_attacks_own_starts():
    from landscape.cli import SEED

    assert SEED.max is not None
    assert REFERENCE.seed > SEED.max


def test_a_trace_without_a_sampling_error_says_so(checkpoint):
    data = str(checkpoint.with_name("data.npz"))
    rows = {
        trace: measure("sharpness", checkpoint, model=MODEL, data=data, k=1, trace=trace)
        .results[0]
        .rows()["trace"]
        for trace in ("exact", "stochastic")
    }
    assert "(± ?)" in rows["stochastic"]
    assert "?" not in rows["exact"]


@pytest.mark.parametrize("seed", range(8))
def test_in_float32_the_eigenvalue_of_float64_lies_within_the_residual(seed):
    torch.manual_seed(seed)
    module = registry.make("model", "lenet:width=1,classes=3")
    rng = torch.Generator().manual_seed(seed)
    data = Data.of(torch.rand(40, 1, 28, 28, generator=rng), torch.randint(3, (40,), generator=rng))
    single, double = (
        eigsh(Objective(Network(module, dtype=dtype), data, Budget(0), PGD()).at().hessian, 2, tol=1e-6)
        for dtype in (torch.float32, torch.float64)
    )
    assert ((single.eigenvalues - double.eigenvalues).abs() <= single.residuals + double.residuals).all()
