"""Data sets: files in the official formats written here, and the real Fashion-MNIST where it is installed."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from landscape.data import Data
from landscape.datasets import cifar
from landscape.datasets.idx import read_idx
from landscape.datasets.source import load, places
from landscape.errors import DataError, InputError, LandscapeError
from landscape.registry import named

SYSTEM = Path("/usr/share/datasets/fashion-mnist")
full_set = pytest.mark.skipif(not SYSTEM.is_dir(), reason="the full Fashion-MNIST is not installed")


@pytest.fixture(autouse=True)
def _nothing_is_found_by_accident(tmp_path, monkeypatch):
    """An empty working directory and cache, and no environment variable of the developer's."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("LANDSCAPE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def refusal(spec: str, *args: str, kind: type[LandscapeError] = DataError, **kwargs) -> str:
    """The one line that `load` refuses with."""
    with pytest.raises(kind) as caught:
        load(spec, *args, **kwargs)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    return text


# ---- fashion-mini ----


@pytest.mark.parametrize(("split", "total"), [("train", 60_000), ("test", 10_000)])
def test_fashion_mini_holds_100_images_of_each_class_at_their_original_places(split, total):
    data = load("fashion-mini", split)
    assert (data.name, data.split) == ("fashion-mini", split)
    assert (len(data), data.total, data.classes) == (1000, total, 10)
    assert data.x.shape == (1000, 1, 28, 28)
    assert (data.x.dtype, data.y.dtype, data.index.dtype) == (torch.uint8, torch.int64, torch.int64)
    assert torch.bincount(data.y).tolist() == [100] * 10
    assert (data.index.diff() > 0).all()
    assert data.index.max() < total


@full_set
@pytest.mark.parametrize("split", ["train", "test"])
def test_fashion_mini_is_bit_for_bit_1000_examples_of_fashion_mnist(split):
    assert load("fashion-mini", split).sha256 == load("fashion-mnist", split, examples=1000, seed=0).sha256


@full_set
@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_fashion_mnist_is_the_bytes_behind_the_header(split, prefix):
    data = load("fashion-mnist", split)
    for tensor, file, header in ((data.x, "images-idx3", 16), (data.y.byte(), "labels-idx1", 8)):
        with gzip.open(SYSTEM / f"{prefix}-{file}-ubyte.gz") as raw:
            assert (
                hashlib.sha256(raw.read()[header:]).digest()
                == hashlib.sha256(tensor.numpy().tobytes()).digest()
            )
    assert torch.equal(data.index, torch.arange(data.total))


# ---- IDX ----


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(
    folder: Path, x: np.ndarray, y: np.ndarray, prefix: str = "train", packed: bool = False
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in ((f"{prefix}-images-idx3-ubyte", x), (f"{prefix}-labels-idx1-ubyte", y)):
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))


@pytest.fixture
def digits():
    """12 images and labels."""
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (12, 28, 28), dtype=np.uint8), np.arange(12, dtype=np.uint8) % 10


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_idx_files_are_read_gzipped_or_not(tmp_path, digits, packed, split, prefix):
    write_idx(tmp_path / "there", *digits, prefix, packed)
    data = load("mnist", split, data_dir=tmp_path / "there")
    assert np.array_equal(data.x.numpy(), digits[0][:, None])
    assert np.array_equal(data.y.numpy(), digits[1])
    assert (data.index.tolist(), data.total, data.classes, data.split) == (list(range(12)), 12, 10, split)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("place", ["data_dir", "environment", "working directory", "cache"])
@pytest.mark.parametrize("below", ["", "{name}", "{title}/raw"])
def test_a_data_set_is_found_in_every_place_and_below_it(tmp_path, monkeypatch, digits, name, place, below):
    root = {"working directory": tmp_path / "here/data/raw", "cache": tmp_path / "cache/landscape"}.get(
        place, tmp_path / "r"
    )
    write_idx(
        root / below.format(name=name, title={"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}[name]),
        *digits,
    )
    if place == "environment":
        monkeypatch.setenv("LANDSCAPE_DATA", str(root))
    assert len(load(name, data_dir=root if place == "data_dir" else None)) == 12


def test_the_folder_that_the_user_names_comes_before_all_others(tmp_path, monkeypatch, digits):
    x, y = digits
    for folder, n in (("one", 1), ("two", 2)):
        write_idx(tmp_path / folder, x[:n], y[:n])
    monkeypatch.setenv("LANDSCAPE_DATA", str(tmp_path / "two"))
    assert len(load("mnist", data_dir=tmp_path / "one")) == 1
    assert len(load("mnist")) == 2
    assert places(tmp_path / "one")[:2] == [tmp_path / "one", tmp_path / "two"]


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_a_missing_data_set_is_said_where_it_was_looked_for_and_how_to_get_it(tmp_path, name):
    text = refusal(name, data_dir=tmp_path)
    for part in (
        name,
        str(tmp_path),
        "data/raw",
        str(tmp_path / "cache"),
        "/usr/share/datasets",
        "fashion-mini",
    ):
        assert part in text


def test_fashion_mnist_names_the_debian_package_when_it_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr("landscape.datasets.idx.places", lambda data_dir: [tmp_path])
    assert "dataset-fashion-mnist" in refusal("fashion-mnist")


def test_a_data_folder_that_does_not_exist_is_refused(tmp_path):
    assert "does not exist" in refusal("mnist", data_dir=tmp_path / "no")


DIMENSIONS = struct.Struct(">III")
DAMAGE = {
    "declares 2^31 images": lambda whole: whole[:4] + DIMENSIONS.pack(2**31, 28, 28) + whole[16:],
    "declares 2^96 bytes": lambda whole: whole[:4] + b"\xff" * 12 + whole[16:],
    "declares no image": lambda whole: whole[:4] + bytes(12),
    "has one byte too few": lambda whole: whole[:-1],
    "has one byte too many": lambda whole: whole + b"\0",
    "holds floats": lambda whole: b"\0\0\x0d\x03" + whole[4:],
    "holds labels": lambda whole: idx(np.zeros(12, np.uint8)),
    "holds other sizes": lambda whole: idx(np.zeros((12, 27, 28), np.uint8)),
    "holds another number": lambda whole: idx(np.zeros((11, 28, 28), np.uint8)),
    "is a web page": lambda whole: b"<!DOCTYPE html>" * 100,
    "is empty": lambda whole: b"",
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_idx_file_is_named_with_its_path(tmp_path, digits, damage, packed):
    write_idx(tmp_path, *digits, packed=packed)
    path = tmp_path / f"train-images-idx3-ubyte{'.gz' if packed else ''}"
    bad = damage(idx(digits[0]))
    path.write_bytes(gzip.compress(bad) if packed else bad)
    assert str(path) in refusal("mnist", data_dir=tmp_path)


def test_a_gzip_file_cut_at_any_place_is_refused(tmp_path, digits):
    write_idx(tmp_path, *digits, packed=True)
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="train-labels"):
            read_idx(path, 1)


def test_a_gzip_bomb_is_unpacked_no_further_than_its_header_declares(tmp_path, monkeypatch):
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.zeros(10, np.uint8)) + bytes(50_000_000)))
    read, inner = [], gzip.GzipFile.read

    def counted(self, size=-1):
        content = inner(self, size)
        read.append(len(content))
        return content

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    with pytest.raises(DataError, match="more follow"):
        read_idx(path, 1)
    assert sum(read) == 4 + 4 + 10 + 1


def test_labels_that_the_data_set_does_not_have_are_refused(tmp_path, digits):
    write_idx(tmp_path, digits[0], digits[1] + 1)
    assert "10 classes" in refusal("mnist", data_dir=tmp_path)


def test_images_without_labels_are_refused(tmp_path, digits):
    write_idx(tmp_path, *digits)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    assert "train-labels-idx1-ubyte" in refusal("mnist", data_dir=tmp_path)


SMALL = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=64)
    | st.builds(
        lambda at, byte: idx(SMALL)[:at] + bytes([byte]) + idx(SMALL)[at + 1 :],
        st.integers(0, 39),
        st.integers(0, 255),
    )
    | st.builds(lambda head: b"\0\0\x08\x03" + head + SMALL.tobytes(), st.binary(min_size=12, max_size=12)),
    st.booleans(),
)
def test_any_bytes_are_refused_or_are_what_their_header_says(tmp_path, content, packed):
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if packed else content)
    try:
        tensor = read_idx(path, 3)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert content == idx(tensor.numpy())


# ---- CIFAR ----

CIFAR = {
    "cifar10": (10, [f"data_batch_{i}" for i in range(1, 6)], "test_batch"),
    "cifar100": (100, ["train"], "test"),
}


def rows(name: str, batch: int) -> tuple[np.ndarray, list[int]]:
    """Three images and their (fine) labels of one batch."""
    generator = np.random.default_rng(batch)
    return generator.integers(0, 256, (3, 3072), dtype=np.uint8), generator.integers(
        0, CIFAR[name][0], 3
    ).tolist()


def python2(text: bytes) -> bytes:
    """A Python 2 string in protocol 2: BINSTRING."""
    return b"T" + struct.pack("<i", len(text)) + text


def python2_array(x: np.ndarray) -> bytes:
    """An array as Python 2 pickles it: _reconstruct, then BUILD of (1, shape, dtype, order, bytes)."""
    shape = b"".join(b"J" + struct.pack("<i", n) for n in x.shape)
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    return empty + b"(K\x01(" + shape + b"t" + dtype + b"\x89" + python2(x.tobytes()) + b"tb"


def python_batch(name: str, batch: int) -> bytes:
    x, y = rows(name, batch)
    key = b"labels" if name == "cifar10" else b"fine_labels"
    labels = b"](" + b"".join(b"K" + bytes([label]) for label in y) + b"e"
    coarse = b"" if name == "cifar10" else python2(b"coarse_labels") + b"](K\x00K\x00K\x00e"
    names = python2(b"filenames") + b"](" + b"".join(python2(f"{i}.png".encode()) for i in range(3)) + b"e"
    return (
        b"\x80\x02}(" + python2(b"data") + python2_array(x) + python2(key) + labels + coarse + names + b"u."
    )


def binary_batch(name: str, batch: int) -> bytes:
    x, y = rows(name, batch)
    coarse = b"" if name == "cifar10" else b"\x07"
    return b"".join(coarse + bytes([label]) + image.tobytes() for image, label in zip(x, y, strict=True))


def write_cifar(root: Path, name: str, form: str, packed: bool) -> Path:
    """The official archive, or its folder, with three images to a batch."""
    folder = list(cifar.FORMS[name])[form == "python"]
    suffix, make = ("", python_batch) if form == "python" else (".bin", binary_batch)
    _, train, test = CIFAR[name]
    files = {f"{batch}{suffix}": make(name, i) for i, batch in enumerate([*train, test])}
    root.mkdir(exist_ok=True)
    if packed:
        path = root / cifar.FORMS[name][folder]
        with tarfile.open(path, "w:gz") as archive:
            # The official archives list the batches in another order than their numbers.
            for batch, content in sorted(files.items(), reverse=True):
                member = tarfile.TarInfo(f"{folder}/{batch}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return path
    (root / folder).mkdir()
    for batch, content in files.items():
        (root / folder / batch).write_bytes(content)
    return root / folder


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
@pytest.mark.parametrize("form", ["python", "binary"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_read_from_every_official_form(tmp_path, name, form, packed):
    write_cifar(tmp_path / "r", name, form, packed)
    classes, train, _ = CIFAR[name]
    for split, batches in (("train", range(len(train))), ("test", [len(train)])):
        data = load(name, split, data_dir=tmp_path / "r")
        x, y = zip(*(rows(name, batch) for batch in batches), strict=True)
        assert np.array_equal(data.x.numpy(), np.concatenate(x).reshape(-1, 3, 32, 32))
        assert data.y.tolist() == [label for labels in y for label in labels]
        assert data.index.tolist() == list(range(3 * len(batches)))
        assert (data.total, data.classes, data.name, data.split) == (3 * len(batches), classes, name, split)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_found_in_its_folder_and_in_a_folder_of_its_name(tmp_path, name):
    official = write_cifar(tmp_path / "r", name, "python", packed=False)
    assert len(load(name, "test", data_dir=official)) == 3
    (tmp_path / "r").rename(tmp_path / name)
    assert len(load(name, "test", data_dir=tmp_path)) == 3


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("protocol", [0, 2, 3, 4])
def test_a_batch_that_today_s_python_pickled_again_is_read(tmp_path, protocol, order):
    official = write_cifar(tmp_path, "cifar10", "python", packed=False)
    x, y = rows("cifar10", 5)
    batch = {"data": np.asarray(x, order=order), "labels": y}
    (official / "test_batch").write_bytes(pickle.dumps(batch, protocol))
    assert np.array_equal(load("cifar10", "test", data_dir=tmp_path).x.numpy().reshape(3, -1), x)


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def global_(module: str, name: str) -> bytes:
    """STACK_GLOBAL of any two strings."""
    return b"".join(b"\x8c" + bytes([len(s)]) + s.encode() for s in (module, name)) + b"\x93"


def text(s: str) -> bytes:
    return b"X" + struct.pack("<I", len(s.encode())) + s.encode()


def evil(command: str) -> dict[str, bytes]:
    """Pickles that run a command when they are loaded with pickle.loads, or try to."""
    python = f"__import__('os').system({command!r})"
    inner = pickle.dumps(Calls(os.system, command), 2)
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x01\x85"
    objects = b"cnumpy\ndtype\n(U\x02O8K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89"
    call = text(command) + b"\x85R."
    getattr_ = (
        b"\x80\x02c__builtin__\ngetattr\nc__builtin__\n__import__\n"
        + text("os")
        + b"\x85R"
        + text("system")
        + b"\x86R"
    )
    return {
        "os.system": inner,
        "builtins.eval": pickle.dumps(Calls(eval, python), 4),
        "builtins.exec, protocol 0": pickle.dumps(Calls(exec, python), 0),
        "getattr chain": getattr_ + call,
        "dotted name": b"\x80\x04" + global_("numpy", "core.multiarray.os.system") + call,
        "dotted allowed name": b"\x80\x04" + global_("numpy", "ndarray.__reduce__") + b")R.",
        "numpy's own eval": b"\x80\x04"
        + global_("numpy.testing._private.utils", "runstring")
        + text(python)
        + b"}\x86R.",
        "numpy's load": b"\x80\x04" + global_("numpy", "load") + b")R.",
        "INST": b"(" + text(command) + b"ios\nsystem\n.",
        "OBJ": b"(cos\nsystem\n" + text(command) + b"o.",
        "NEWOBJ": b"\x80\x02csubprocess\nPopen\n" + text(command) + b"\x85\x81.",
        "NEWOBJ of an allowed name": b"\x80\x02cnumpy\nndarray\n)\x81.",
        "EXT": b"\x80\x02\x82\x01" + call,
        "persistent id": b"\x80\x02" + text(command) + b"Q.",
        "object array": b"\x80\x02" + array + objects + b"](" + inner[2:-1] + b"etb.",
        "object array of a pickle": b"\x80\x02" + array + objects + python2(inner) + b"tb.",
        "encode with another codec": b"\x80\x02c_codecs\nencode\n" + text(command) + text("zlib") + b"\x86R.",
        "BUILD of an allowed name": b"\x80\x02cnumpy\nndarray\n}" + text("__init__") + b"cos\nsystem\nsb.",
        "BUILD of an allowed name's class": b"\x80\x02cnumpy\nndarray\nN}"
        + text("__setstate__")
        + b"K\x01s\x86b.",
        "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
        "a memo of 64 GB": b"\x80\x02Nr\xff\xff\xff\xff.",
        "a string of 2 GB": b"\x80\x02T\xff\xff\xff\x7fx.",
        "a key that overflows the stack": b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.",
        "call of an array": b"\x80\x02" + python2_array(np.zeros((1, 3072), np.uint8)) + call,
    }


@pytest.mark.parametrize("where", ["alone", "in front of a batch"])
@pytest.mark.parametrize("what", evil("").keys())
def test_a_pickle_that_does_more_than_hold_bytes_is_refused_and_runs_nothing(tmp_path, what, where):
    sentinel = tmp_path / "ran"
    content = evil(f"touch {sentinel}")[what]
    official = write_cifar(tmp_path / "r", "cifar10", "python", packed=False)
    path = official / "test_batch"
    # POP what the evil part leaves, then go on with a batch that is as it should be.
    path.write_bytes(content if where == "alone" else content[:-1] + b"0" + path.read_bytes()[2:])
    assert str(official) in refusal("cifar10", "test", data_dir=tmp_path / "r")
    assert not sentinel.exists()


def test_the_evil_pickles_do_run_in_python_s_own_reader(tmp_path):
    sentinel = tmp_path / "ran"
    for what in (
        "os.system",
        "builtins.eval",
        "builtins.exec, protocol 0",
        "getattr chain",
        "INST",
        "OBJ",
        "object array",
    ):
        pickle.loads(evil(f"touch {sentinel}")[what], encoding="bytes")
        assert sentinel.exists(), what
        sentinel.unlink()


def test_a_refused_pickle_is_told_by_the_name_that_it_asks_for(tmp_path):
    official = write_cifar(tmp_path, "cifar10", "python", packed=False)
    for what, name in (
        ("os.system", "system"),
        ("builtins.eval", "eval"),
        ("dotted name", "numpy.core.multiarray.os.system"),
    ):
        (official / "test_batch").write_bytes(evil("false")[what])
        assert name in refusal("cifar10", "test", data_dir=tmp_path)


@pytest.mark.parametrize("form", ["python", "binary"])
def test_a_batch_cut_at_any_place_is_refused(tmp_path, form):
    official = write_cifar(tmp_path, "cifar100", form, packed=False)
    path = next(official.glob("test*"))
    whole = path.read_bytes()
    row = 2 + 3072
    for length in {*range(0, len(whole), 97), *range(200)} - ({row, 2 * row} if form == "binary" else set()):
        path.write_bytes(whole[:length])
        assert str(official) in refusal("cifar100", "test", data_dir=tmp_path)


def test_an_archive_cut_at_any_place_is_refused(tmp_path):
    path = write_cifar(tmp_path, "cifar100", "binary", packed=True)
    whole = path.read_bytes()
    for length in range(0, len(whole) // 2, 101):
        path.write_bytes(whole[:length])
        assert str(path) in refusal("cifar100", "train", data_dir=tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_a_member_that_is_no_plain_file_is_never_followed(tmp_path, kind):
    (tmp_path / "secret").write_bytes(binary_batch("cifar100", 0))
    with tarfile.open(tmp_path / "cifar-100-binary.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("cifar-100-binary/test.bin")
        member.type, member.linkname = kind, str(tmp_path / "secret")
        archive.addfile(member)
    assert "test.bin" in refusal("cifar100", "test", data_dir=tmp_path)


def test_reading_an_archive_writes_nothing(tmp_path):
    path = write_cifar(tmp_path / "r", "cifar100", "binary", packed=True)
    content = binary_batch("cifar100", 0)
    with tarfile.open(path, "w:gz") as archive:
        for name in ("../../escaped", "/escaped", "cifar-100-binary/../escaped", "cifar-100-binary/test.bin"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    before = sorted(tmp_path.rglob("*"))
    assert len(load("cifar100", "test", data_dir=tmp_path / "r")) == 3
    assert sorted(tmp_path.rglob("*")) == before


def test_a_batch_that_claims_to_be_huge_is_refused_unread(tmp_path):
    official = write_cifar(tmp_path, "cifar100", "binary", packed=False)
    with (official / "test.bin").open("r+b") as file:
        file.truncate(cifar.LIMIT + 1)  # a hole: it takes no room on the disk
    assert "no CIFAR batch" in refusal("cifar100", "test", data_dir=tmp_path)


@pytest.mark.parametrize(
    "batch",
    [
        {"labels": [0]},
        {"data": np.zeros((1, 3072), np.uint8)},
        {"data": {}, "labels": [0]},
        {"data": np.zeros((1, 3071), np.uint8), "labels": [0]},
        {"data": np.zeros(3072, np.uint8), "labels": [0]},
        {"data": np.zeros((1, 3072), np.int8), "labels": [0]},
        {"data": np.zeros((1, 3072)), "labels": [0]},
        {"data": np.zeros((0, 3072), np.uint8), "labels": []},
        {"data": np.zeros((1, 3072), np.uint8), "labels": [10]},
        {"data": np.zeros((1, 3072), np.uint8), "labels": [-1]},
        {"data": np.zeros((1, 3072), np.uint8), "labels": [2**80]},
        {"data": np.zeros((1, 3072), np.uint8), "labels": [0.0]},
        {"data": np.zeros((1, 3072), np.uint8), "labels": [[0]]},
        {"data": np.zeros((1, 3072), np.uint8), "labels": [0, 0]},
        {"data": np.zeros((1, 3072), np.uint8), "fine_labels": [0]},
        [],
        None,
    ],
    ids=repr,
)
def test_a_pickle_of_something_else_is_refused(tmp_path, batch):
    official = write_cifar(tmp_path, "cifar10", "python", packed=False)
    (official / "test_batch").write_bytes(pickle.dumps(batch, 2))
    assert str(official) in refusal("cifar10", "test", data_dir=tmp_path)


def test_a_folder_that_lacks_a_batch_is_refused(tmp_path):
    official = write_cifar(tmp_path, "cifar10", "binary", packed=False)
    (official / "data_batch_3.bin").unlink()
    assert "data_batch_3.bin" in refusal("cifar10", data_dir=tmp_path)


# ---- npz files and callables ----


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ((4, 5), (4, 5)),
        ((4, 5, 6), (4, 1, 5, 6)),
        ((4, 1, 5, 6), (4, 1, 5, 6)),
        ((4, 3, 5, 6), (4, 3, 5, 6)),
        ((4, 5, 6, 1), (4, 1, 5, 6)),
        ((4, 5, 6, 3), (4, 3, 5, 6)),
        ((4, 7, 5, 6), (4, 7, 5, 6)),
    ],
)
def test_images_get_their_channels_first(tmp_path, given, made):
    x = np.arange(np.prod(given), dtype=np.uint8).reshape(given)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(4))
    data = load(str(tmp_path / "a.npz"))
    assert data.x.shape == made
    assert np.array_equal(data.x.numpy(), np.moveaxis(x, -1, 1) if given[-1] in (1, 3) else x.reshape(made))
    assert (data.name, data.classes, data.total, data.index.tolist()) == ("a.npz", 4, 4, [0, 1, 2, 3])


def test_an_npz_file_may_hold_both_splits(tmp_path):
    np.savez(
        tmp_path / "a.npz", x_train=np.zeros((3, 2)), y_train=[0, 1, 2], x_test=np.ones((2, 2)), y_test=[1, 1]
    )
    train, test = (load(str(tmp_path / "a.npz"), split) for split in ("train", "test"))
    assert (len(train), len(test), train.x.max().item(), test.x.min().item()) == (3, 2, 0, 1)
    assert "x_validation" in refusal(str(tmp_path / "a.npz"), "validation")


@pytest.mark.parametrize("labels", [np.float64, np.float32, np.uint8, np.int16, ">i4", np.uint64, bool])
def test_labels_may_be_whole_numbers_of_any_type(tmp_path, labels):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3), ">f4"), y=np.array([0, 1]).astype(labels))
    data = load(str(tmp_path / "a.npz"))
    assert data.y.tolist() == [0, 1]
    assert (data.y.dtype, data.x.dtype) == (torch.int64, torch.float32)


X, Y = np.zeros((3, 2)), np.arange(3)
USELESS = {
    "no image": ({"x": X[:0], "y": Y[:0]}, "shape"),
    "too few labels": ({"x": X, "y": Y[:2]}, "3 examples"),
    "one-hot labels": ({"x": X, "y": np.eye(3)}, "shape"),
    "one label": ({"x": X, "y": np.int64(1)}, "shape"),
    "negative labels": ({"x": X, "y": Y - 1}, "-1"),
    "fractional labels": ({"x": X, "y": Y + 0.5}, "whole"),
    "NaN labels": ({"x": X, "y": Y * np.nan}, "whole"),
    "infinite labels": ({"x": X, "y": Y + np.inf}, "whole"),
    "huge labels": ({"x": X, "y": Y + 1e300}, "whole"),
    "labels beyond int64": ({"x": X, "y": Y.astype(np.uint64) + np.uint64(2**63)}, "count from 0"),
    "complex labels": ({"x": X, "y": Y + 1j}, "whole"),
    "words for labels": ({"x": X, "y": np.array(["cat", "dog", "cat"])}, "numbers"),
    "objects": ({"x": X, "y": np.array([None, 1, 2])}, "pickle"),
    "NaN images": ({"x": X * np.nan, "y": Y}, "NaN"),
    "grey levels as floats": ({"x": X + 255, "y": Y}, "divide by 255"),
    "normalised images": ({"x": X - 1.2, "y": Y}, "normalisation"),
    "integer images": ({"x": X.astype(int), "y": Y}, "uint8"),
    "complex images": ({"x": X + 0j, "y": Y}, "floating"),
    "numbers, not images": ({"x": Y, "y": Y}, "shape"),
    "a number": ({"x": 1.0, "y": 1}, "shape"),
    "empty images": ({"x": np.zeros((3, 0)), "y": Y}, "shape"),
    "two channel axes": ({"x": np.zeros((3, 3, 5, 3)), "y": Y}, "axis 1 or axis 3"),
    "one-pixel rows": ({"x": np.zeros((3, 1, 5, 1)), "y": Y}, "axis 1 or axis 3"),
    "other names": ({"images": X, "labels": Y}, "images, labels"),
    "no label": ({"x": X}, "x and y"),
    "nothing": ({}, "no named array"),
}


@pytest.mark.parametrize(("arrays", "said"), USELESS.values(), ids=USELESS.keys())
def test_arrays_that_are_no_examples_are_refused_in_words(tmp_path, arrays, said):
    np.savez(tmp_path / "a.npz", **arrays)
    assert said in refusal(str(tmp_path / "a.npz"))


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    assert "there is no file" in refusal(str(path))
    np.save(tmp_path / "lone.npy", X)
    np.savez(tmp_path / "whole.npz", x=X, y=Y)
    whole = (tmp_path / "whole.npz").read_bytes()
    sentinel = tmp_path / "ran"
    pickled = pickle.dumps(Calls(os.system, f"touch {sentinel}"))
    for content in (
        b"",
        b"PK\3\4",
        pickled,
        whole[:-30],
        whole[:300] + whole[340:],
        (tmp_path / "lone.npy").read_bytes(),
    ):
        path.write_bytes(content)
        assert str(path) in refusal(str(path))
    assert not sentinel.exists()


MODULE = """
import numpy as np, torch
from landscape.data import Data
x, y = np.zeros((3, 4, 5), dtype=np.uint8), np.arange(3)

def of_arrays(): return x, y
def of_tensors(): return torch.zeros(3, 4, 5, requires_grad=True), torch.arange(3)
def of_lists(): return [[0.0, 0.5], [1.0, 0.25]], [0, 1]
def of_split(split): return (x, y) if split == "train" else (x[:2], y[:2])
def of_read_only():
    x.flags.writeable = False
    return x[:, ::-1], y[::-1]
def of_places(): return Data(torch.zeros(2, 3, 5, 3), torch.arange(2), torch.tensor([7, 9]), total=10)
def fails(split): raise ValueError("two\\nlines")
def fails_quietly(): raise RuntimeError
def stops(): raise SystemExit(3)
def needs_more(split, size): return x, y
def of_one(): return x
def of_three(): return x, y, y
def of_a_loader(): return torch.utils.data.DataLoader(torch.zeros(3, 2))
def of_ragged(): return [[0.0], [0.0, 1.0]], [0, 1]
def of_nothing(): pass
"""


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "my_examples.py"
    path.write_text(MODULE)
    return path


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        ("of_arrays", (3, 1, 4, 5)),
        ("of_tensors", (3, 1, 4, 5)),
        ("of_lists", (2, 2)),
        ("of_split", (3, 1, 4, 5)),
        ("of_read_only", (3, 1, 4, 5)),
        ("of_places", (2, 3, 5, 3)),
    ],
)
def test_a_callable_may_return_arrays_tensors_or_data(module, function, shape):
    data = load(f"{module}:{function}")
    assert data.x.shape == shape
    assert not data.x.requires_grad
    assert isinstance(data, Data)


def test_a_callable_that_takes_an_argument_gets_the_split(module):
    assert len(load(f"{module}:of_split", "test")) == 2
    assert len(load(f"{module}:of_arrays", "test")) == 3


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("fails", "ValueError: two lines"),
        ("fails_quietly", "RuntimeError"),
        ("stops", "SystemExit: 3"),
        ("needs_more", "TypeError"),
        ("of_one", "(x, y)"),
        ("of_three", "(x, y)"),
        ("of_a_loader", "DataLoader"),
        ("of_ragged", "no array of numbers"),
        ("of_nothing", "NoneType"),
    ],
)
def test_what_goes_wrong_in_a_callable_is_one_line(module, function, said):
    assert said in refusal(f"{module}:{function}")


# ---- the one door ----


def test_an_unknown_name_is_told_what_there_is():
    said = refusal("imagenet", kind=InputError)
    for part in (*named("dataset"), "FILE.npz", "file.py:callable", "package.module:callable"):
        assert part in said


def test_there_are_six_data_sets():
    assert list(named("dataset")) == [
        *("cifar10", "cifar100", "fashion-mini", "fashion-mnist", "mnist", "mnist-10k")
    ]


def test_an_unknown_split_is_refused():
    assert "train, test" in refusal("fashion-mini", "validation", kind=InputError)


def test_examples_are_drawn_by_class_and_keep_their_places():
    whole, few = load("fashion-mini"), load("fashion-mini", examples=20, seed=3)
    assert torch.bincount(few.y).tolist() == [2] * 10
    assert few.total == 60_000
    assert torch.isin(few.index, whole.index).all()
    assert not torch.equal(few.index, load("fashion-mini", examples=20, seed=4).index)


@pytest.mark.parametrize("examples", [0, -1, 1001])
def test_more_examples_than_there_are_is_refused(examples):
    assert "1,000" in refusal("fashion-mini", kind=InputError, examples=examples)
