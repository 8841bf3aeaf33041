"""The commands of the page on checkpoints run on such files, and print what it shows."""

import contextlib
import io
import re
import shlex
import shutil

import numpy as np
import pytest
import torch
import zoo
from PIL import Image
from test_readme import ROOT, blocks, commands

from landscape import cli

PAGE = ROOT / "docs" / "bring-your-own-checkpoint.md"
BLOCKS = blocks(PAGE.read_text())
FILES = {
    "mine.pt": "model",
    "compiled.pt": "prefix module._orig_mod.",
    "last.ckpt": "lightning with a Namespace",
    "cifar_linf_8.pt": "madry",
    "awp.pth": "awp",
    "trades.pt": "trades",
    "model_best.pth.tar": "timm",
    "whole.pt": "whole",
    "model.safetensors": "safetensors with metadata",
    "my-model": "hugging face, sharded",
    "rice.pt": "robustbench",
    "wide.pt": "other width",
    "five_classes.pt": "other classes",
    "quota.pt": "web page",
    "evil.pt": "os.system beside the weights",
}
REFUSED = [
    "landscape info rice.pt --model mynet.py:net",
    "landscape info five_classes.pt --model mynet.py:net",
    "landscape info quota.pt",
]
CODE = {
    "mynet.py": zoo.NET,
    "mydata.py": "import numpy as np\n\n\ndef test_set():\n"
    "    with np.load('mine.npz') as file:\n        return file['x'], file['y']\n",
}


def learned(network):
    """Images and the labels that the network gives to most of them, and to few unless they are normalised."""
    x = np.random.default_rng(0).uniform(size=(400, 1, 8, 8)).astype(np.float32)
    with torch.no_grad():
        y, other = (network(torch.from_numpy(z)).argmax(1).numpy() for z in ((x - 0.25) / 0.5, x))
    chosen = np.argsort(y == other, kind="stable")[:40]
    y[chosen[::10]] += 1
    return x[chosen], y[chosen] % 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which the page's reader is."""
    folder = tmp_path_factory.mktemp("reader")
    network = zoo.network(folder)
    x, y = learned(network)
    np.savez(folder / "mine.npz", x=x, y=y)
    for name, text in CODE.items():
        (folder / name).write_text(text)
    for name, kind in FILES.items():
        inner = folder / "made"
        inner.mkdir()
        zoo.KINDS[kind].write(network, inner).rename(folder / name)
        shutil.rmtree(inner)
    for place, (image, label) in enumerate(zip(x, y, strict=True)):
        (folder / "photos" / f"class{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(255 * image[0])).save(folder / "photos" / f"class{label}" / f"{place}.png")
    return folder


def printed(command):
    """What a command prints on both streams, and its exit code."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        code = cli.run([*shlex.split(command)[1:], *(["--quiet"] if " info " not in command else [])])
    return code, out.getvalue()


def shown():
    """Each command of the page that is shown with its output, and that; a prompt begins it."""
    for language, block in BLOCKS:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:] if not language else ():
            command, _, output = part.partition("\n")
            yield command, output


def likeness(text):
    """A text without its numbers, which may differ in the last digit, and without the width of columns."""
    words = re.sub(r"\b[0-9a-f]{12,}\b|[0-9][0-9.,e+-]*", "#", text)
    return [" ".join(line.split()) for line in words.splitlines() if line.strip()]


@pytest.mark.parametrize("command", commands(BLOCKS))
def test_every_command_of_the_page_does_what_it_says(command, folder, monkeypatch):
    monkeypatch.chdir(folder)
    code, out = printed(command)
    assert code == (3 if command in REFUSED else 0), out
    assert not zoo.sentinel(folder).exists()


@pytest.mark.parametrize(("command", "output"), [*shown()])
def test_what_the_page_shows_is_what_the_command_prints(command, output, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert likeness(printed(command)[1]) == likeness(output)


def test_the_python_of_the_page_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for code in (block for language, block in BLOCKS if language == "python"):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(code, {})
        assert "weights" in out.getvalue()


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)]+)\)", PAGE.read_text()))
def test_every_link_of_the_page_leads_somewhere(target):
    path, _, heading = target.partition("#")
    assert (PAGE.parent / path).exists()
    titles = re.findall(r"^#+ (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    assert not heading or heading in [re.sub(r"[^a-z ]", "", t.lower()).replace(" ", "-") for t in titles]
