"""One torch thread: on a crowded machine two make the suite many times slower. And a command to run."""

import signal

import numpy as np
import pytest
import torch

from landscape import cli, registry

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell starts what runs in the background; commands that tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
MODEL = "mlp:inputs=16,hidden=8,layers=1,classes=3"
COMMON = "--model {model} --data {place}/data.npz --attack pgd:steps=2 --quiet"


@pytest.fixture
def place(tmp_path):
    """Two checkpoints of one model, one of another, and data for them."""
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "data.npz",
        x=rng.uniform(size=(40, 1, 4, 4)).astype(np.float32),
        y=rng.integers(0, 3, 40),
    )
    for name, spec in (("a", MODEL), ("b", MODEL), ("other", MODEL.replace("hidden=8", "hidden=9"))):
        torch.manual_seed(ord(name[0]))
        torch.save(registry.make("model", spec).state_dict(), tmp_path / f"{name}.pt")
    return tmp_path


@pytest.fixture
def run(place, capsys):
    def typed(words: str):
        line = f"{words} {COMMON}" if "--model" not in words else words
        code = cli.run(line.format(place=place, model=MODEL).split())
        out, err = capsys.readouterr()
        return code, out, err

    return typed
