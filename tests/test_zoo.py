"""What eight years of programs have written is loaded bit by bit, or refused in a line that says why."""

import importlib.util
import json
import re
import subprocess
import sys
import time

import evil
import numpy as np
import pytest
import torch
import zoo
from torch import nn

import landscape
from landscape import cli
from landscape.checkpoints.read import read
from landscape.errors import CheckpointError

FIELDS = {"--model": "model", "--key": "key", "--weights": "weights", "--normalize": "normalize"}
LOADED = {name: kind for name, kind in zoo.KINDS.items() if not kind.refused}
REFUSED = {name: kind for name, kind in zoo.KINDS.items() if kind.refused}
HOSTILE = [name for name in zoo.KINDS if "os.system" in name]
MODEL = ["--model", "zoo_net.py:net"]
SHARPNESS = [*MODEL, "--data", "tiny.npz", "--k", "1", "--examples", "16", "--quiet", "--json"]
# Those that most come with.
COMMON = [
    "bare",
    "prefix module._orig_mod.",
    "lightning with a Namespace",
    "madry",
    "awp",
    "trades",
    "timm",
    "whole",
    "safetensors",
    "hugging face, sharded",
]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return zoo.network(tmp_path_factory.mktemp("network"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a user works: their model's file and their data are there."""
    monkeypatch.chdir(tmp_path)
    zoo.network(tmp_path)
    zoo.images(tmp_path)
    return tmp_path


@pytest.fixture
def typed(folder, capsys):
    """Types a command: its exit code, and what it printed."""

    def run(*words):
        capsys.readouterr()
        code = cli.run([str(word) for word in words])
        out, err = capsys.readouterr()
        assert not zoo.sentinel(folder).exists()
        assert importlib.util.find_spec("their_net") is None
        return code, out, err

    return run


def model_words(kind):
    return kind.options if "--model" in kind.options else (*MODEL, *kind.options)


def loaded(path, kind, **more):
    """The subject that the kind's options make of a file."""
    words = dict(zip(*[iter(model_words(kind))] * 2, strict=True))
    given = {FIELDS[word]: value for word, value in words.items() if word in FIELDS}
    arguments = tuple(value for word, value in words.items() if word == "--model-arg")
    return landscape.subject(path, data="tiny.npz", model_args=arguments, **given, **more)


def assert_refused(result, path, pattern):
    code, out, err = result
    assert (code, out) == (3, "")
    assert len(err.strip().splitlines()) == 1
    assert str(path) in err
    assert len(err) < 700 + err.count(str(path)) * len(str(path))
    assert re.search(pattern, err.replace(str(path), "FILE"))


@pytest.mark.parametrize("name", LOADED)
def test_a_kind_is_loaded_bit_by_bit(name, network, folder):
    kind = LOADED[name]
    found = loaded(kind.write(network, folder), kind).network.module.state_dict()
    wanted = kind.expects(network)
    weights = {name for name in wanted if not name.endswith("num_batches_tracked")}
    assert weights <= found.keys() <= wanted.keys()
    for tensor in weights:
        assert torch.equal(found[tensor], wanted[tensor]), tensor
    assert not zoo.sentinel(folder).exists()
    assert importlib.util.find_spec("their_net") is None


@pytest.mark.parametrize("name", REFUSED)
def test_a_kind_is_refused_in_one_line_that_says_why(name, network, folder, typed):
    kind = REFUSED[name]
    path = kind.write(network, folder)
    assert_refused(typed("info", path, *model_words(kind)), path, kind.refused)


@pytest.mark.parametrize("name", [name for name, kind in zoo.KINDS.items() if kind.told])
def test_info_tells_what_a_reader_should_know(name, network, folder, typed):
    kind = zoo.KINDS[name]
    words = () if kind.refused else model_words(kind)
    code, out, err = typed("info", kind.write(network, folder), *words, "--json")
    if code == 3 and kind.refused:  # even without a model
        return
    assert (code, err) == (0, "")
    told = json.loads(out)
    for entry, pattern in kind.told.items():
        assert re.search(pattern, json.dumps(told[entry]).replace('\\"', '"')), (entry, told[entry])


def test_the_zoo_is_a_large_one():
    assert len(zoo.KINDS) > 100
    assert len(LOADED) > 70


def own_loss(module, folder):
    """The network's mean cross entropy over the images, as torch has it."""
    with np.load(folder / "tiny.npz") as file:
        x, y = (torch.from_numpy(file[name]) for name in "xy")
    with torch.no_grad():
        return nn.functional.cross_entropy(module(x), y).item()


@pytest.mark.parametrize("name", COMMON)
def test_one_command_measures_what_the_model_itself_gives(name, network, folder, typed):
    path = zoo.KINDS[name].write(network, folder)
    code, out, err = typed("sharpness", path, *SHARPNESS)
    assert (code, err) == (0, "")
    assert json.loads(out)["results"][0]["loss"] == pytest.approx(own_loss(network, folder), rel=1e-5)


@pytest.mark.parametrize("words", ["--normalize ckpt", "--normalize 0.25/0.5"])
@pytest.mark.parametrize("name", ["madry", "mean and std at the top", "sequential after a normaliser"])
def test_inputs_are_normalised_as_the_checkpoint_or_the_user_says(name, words, network, folder, typed):
    path = zoo.KINDS[name].write(network, folder)
    code, out, err = typed(
        "info", path, "--model", "zoo_net.py:net", "--data", "tiny.npz", *words.split(), "--json"
    )
    assert (code, err) == (0, "")
    normalised = nn.Sequential(Normalised(), network)
    assert json.loads(out)["data"]["loss"] == pytest.approx(own_loss(normalised, folder), rel=1e-5)


class Normalised(nn.Module):
    def forward(self, x):
        return (x - 0.25) / 0.5


def test_what_needs_a_choice_lists_the_words_that_make_it(network, folder, typed):
    kind = zoo.KINDS["robustbench"]
    path = kind.write(network, folder)
    line = typed("info", path, *model_words(kind))[2]
    choices = re.findall(r"--key (\w+)", line)
    assert set(choices) == {"last", "best"}
    for choice in choices:
        assert typed("info", path, *model_words(kind), "--key", choice)[0] == 0
    assert_refused(typed("info", path, *model_words(kind), "--key", "first"), path, "first.*last.*best")


# What is never run.


@pytest.mark.parametrize("command", ["info", "sharpness"])
@pytest.mark.parametrize("name", HOSTILE)
def test_the_code_of_a_checkpoint_is_never_run(name, command, network, folder, typed):
    path = zoo.KINDS[name].write(network, folder)
    words = SHARPNESS if command == "sharpness" else MODEL
    code, _, _ = typed(command, path, *words)  # `typed` looks for what the code would have left
    assert code == (3 if zoo.KINDS[name].refused else 0)


@pytest.mark.parametrize("container", evil.CONTAINERS)
def test_no_evil_pickle_does_anything_through_a_command(container, folder, typed):
    path = folder / "ckpt.pt"
    for data in evil.attacks(zoo.sentinel(folder)).values():
        path.write_bytes(evil.CONTAINERS[container](data))
        code, _, err = typed("info", path)
        assert code in (0, 3)
        assert len(err.strip().splitlines()) == (code == 3)
        assert_refused(typed("sharpness", path, *SHARPNESS), path, "")


@pytest.mark.parametrize("name", evil.bombs())
def test_a_pickle_that_stands_for_endless_lists_is_soon_done_with(name, folder, typed):
    (folder / "ckpt.pt").write_bytes(evil.in_zip(evil.bombs()[name]))
    assert typed("info", folder / "ckpt.pt")[0] in (0, 3)


def test_only_a_trusted_checkpoint_runs_its_code(network, folder, capsys):
    path = zoo.KINDS["os.system beside the weights"].write(network, folder)
    words = ["info", str(path), "--model", "zoo_net.py:net"]
    assert cli.run(words) == 0
    assert not zoo.sentinel(folder).exists()
    assert cli.run([*words, "--trust-checkpoint"]) == 0
    assert zoo.sentinel(folder).exists()
    assert "trusted" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TorchScript
def test_a_trusted_torchscript_archive_gives_its_weights(network, folder):
    path = zoo.KINDS["torchscript"].write(network, folder)
    found = landscape.subject(path, model="zoo_net.py:net", data="tiny.npz", trust=True)
    theta = torch.cat([p.detach().reshape(-1) for p in network.parameters()])
    assert torch.equal(found.network.theta, theta)


def test_a_whole_module_is_read_in_a_process_that_never_had_its_class(network, folder):
    path = zoo.KINDS["whole"].write(network, folder)
    words = [sys.executable, "-m", "landscape", "info", path, "--model", "zoo_net.py:net", "--json"]
    told = json.loads(subprocess.run(words, cwd=folder, check=True, capture_output=True).stdout)
    assert "their_net.Net" in told["ignored"]
    assert told["parameters"] == sum(p.numel() for p in network.parameters())


# Damage, and size.


@pytest.mark.parametrize(
    "name", ["bare", "lightning", "whole", "legacy", "pickle, protocol 4", "safetensors"]
)
def test_a_file_cut_at_any_kilobyte_is_an_error(name, folder):
    path = zoo.KINDS[name].write(zoo.network(folder, width=24), folder)
    data = path.read_bytes()
    assert len(data) > 20_000
    for size in range(0, len(data), 1024):
        path.write_bytes(data[:size])
        with pytest.raises(CheckpointError, match=re.escape(str(path))):
            read(path)


def whole(path):
    """All tensors of a checkpoint."""
    return read(path).state


@pytest.mark.parametrize("name", ["hugging face, sharded", "hugging face, sharded bin", "distributed"])
def test_a_folder_with_a_file_missing_or_cut_is_an_error(name, network, folder):
    path = zoo.KINDS[name].write(network, folder)
    for file in [file for file in path.rglob("*") if file.name != "config.json"]:
        data = file.read_bytes()
        file.unlink()
        with pytest.raises(CheckpointError):
            whole(path)
        file.write_bytes(data[: len(data) // 2])
        with pytest.raises(CheckpointError):
            whole(path)
        file.write_bytes(data)
    assert whole(path)


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False])
def test_a_hundred_megabytes_are_looked_at_in_seconds(zipped, folder, typed):
    state = {f"layers.{place}.weight": torch.randn(1000, 1250) for place in range(20)}
    path = zoo.saved({"state_dict": state, "args": zoo.ARGS}, folder, zipped=zipped)
    assert path.stat().st_size > 10**8
    start = time.perf_counter()
    code, out, _ = typed("info", path, "--json")
    assert time.perf_counter() - start < 3
    assert code == 0
    assert json.loads(out)["parameters"] == 25_000_000
