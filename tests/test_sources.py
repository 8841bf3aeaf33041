"""Data of a user's own: folders of images, IDX and npz files, Datasets, DataLoaders, and the hubs."""

from __future__ import annotations

import gzip
import os
import pickle
import resource
import struct
import sys
import types
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from landscape.datasets import arrays, items
from landscape.datasets.source import load, runs_code
from landscape.errors import DataError, InputError, LandscapeError

RNG = np.random.default_rng(0)


def refusal(spec: str, *args: str, kind: type[LandscapeError] = DataError, **kwargs) -> str:
    """The one line that `load` refuses with."""
    with pytest.raises(kind) as caught:
        load(spec, *args, **kwargs)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    return text


def picture(path: Path, *, mode: str = "RGB", size: tuple[int, int] = (5, 4), seed: int = 0) -> np.ndarray:
    """An image file, and its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], *([len(mode)] if len(mode) > 1 else []))
    content = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(content, mode if mode in ("RGB", "RGBA", "L") else None).save(path)
    return content


@pytest.fixture
def tree(tmp_path):
    """Three classes, one of them with a folder in it, and what is no example."""
    root = tmp_path / "tree"
    files = ["b/2.png", "b/10.png", "a/x.bmp", "a/Y.PNG", "c/deep/z.png", "c/a.png"]
    told = {file: picture(root / file, seed=i) for i, file in enumerate(files)}
    for file in (".hidden/1.png", "a/.DS_Store", "a/._x.png", "a/notes.txt", "loose.png", "b/Thumbs.db"):
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).write_bytes(b"no image")
    return root, told


# ---- folders of images ----


def test_a_folder_of_classes_is_read_in_the_order_of_names(tree):
    root, told = tree
    data = load(f"folder:{root}")
    order = ["a/Y.PNG", "a/x.bmp", "b/10.png", "b/2.png", "c/a.png", "c/deep/z.png"]
    assert data.x.dtype == torch.uint8
    assert np.array_equal(data.x.numpy(), np.stack([told[file].transpose(2, 0, 1) for file in order]))
    assert data.y.tolist() == [0, 0, 1, 1, 2, 2]
    assert (data.classes, data.total, data.index.tolist()) == (3, 6, list(range(6)))
    assert (data.name, data.split) == (f"folder:{root}", "all")


def test_grey_images_have_one_channel(tmp_path):
    told = [picture(tmp_path / f"{c}/1.png", mode="L", seed=i) for i, c in enumerate("ab")]
    data = load(f"folder:{tmp_path}")
    assert data.x.shape == (2, 1, 4, 5)
    assert np.array_equal(data.x.numpy()[:, 0], np.stack(told))


def test_transparency_and_palettes_become_colours(tmp_path):
    told = picture(tmp_path / "a/1.png", mode="RGBA")
    Image.fromarray(told[..., :3]).quantize(256).save(tmp_path / "a/2.png")
    data = load(f"folder:{tmp_path}")
    assert data.x.shape == (2, 3, 4, 5)
    assert np.array_equal(data.x[0].numpy(), told[..., :3].transpose(2, 0, 1))
    assert np.abs(data.x[1].numpy().astype(int) - data.x[0].numpy()).max() < 40


def test_black_and_white_images_are_0_and_255(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("1", (3, 2), 1).save(tmp_path / "a/1.png")
    assert load(f"folder:{tmp_path}").x.unique().tolist() == [255]


@pytest.mark.parametrize(("second", "asked"), [("test", "test"), ("val", "test"), ("val", "val")])
def test_the_folders_of_the_splits_are_honoured(tmp_path, second, asked):
    for split, count in (("train", 3), (second, 2)):
        for i in range(count):
            for name in "ab":
                picture(tmp_path / split / name / f"{i}.png")
    assert len(load(f"folder:{tmp_path}", "train")) == 6
    held_out = load(f"folder:{tmp_path}", asked)
    assert (len(held_out), held_out.split) == (4, second)
    picture(tmp_path / second / "c/1.png")
    assert "c is in one alone" in refusal(f"folder:{tmp_path}", asked)
    (tmp_path / "train/c").mkdir()
    assert load(f"folder:{tmp_path}", "train").classes == 3


def test_a_split_that_is_not_there_is_refused(tmp_path):
    picture(tmp_path / "train/a/1.png")
    assert "has train, but no folder test or val" in refusal(f"folder:{tmp_path}", "test")


def test_a_class_may_be_called_train(tmp_path):
    for name in ("bus", "train"):
        picture(tmp_path / name / "1.png")
    for split in ("train", "test"):
        assert load(f"folder:{tmp_path}", split).classes == 2


def test_few_examples_are_those_of_the_whole_and_only_their_files_are_read(tree, monkeypatch):
    root, _ = tree
    spec, whole, read = f"folder:{root}", load(f"folder:{root}"), []
    pixels = items.images.pixels
    monkeypatch.setattr(items.images, "pixels", lambda image: read.append(1) or pixels(image))
    for n, seed in ((3, 0), (4, 1)):
        assert load(spec, examples=n, seed=seed).sha256 == whole.subset(n, seed).sha256
    assert len(read) == 7
    assert load(spec, at_most=100).sha256 == whole.sha256
    assert len(load(spec, at_most=2)) == 2
    assert "6" in refusal(spec, kind=InputError, examples=7)


def test_links_are_followed_and_circles_end(tree, tmp_path):
    root, _ = tree
    outside = tmp_path / "elsewhere/1.png"
    content = picture(outside, seed=9)
    (root / "a/z.png").symlink_to(outside)
    (root / "d").symlink_to(outside.parent)
    (root / "b/again").symlink_to(root / "b")
    (root / "c/up").symlink_to(root / "c")
    data = load(f"folder:{root}")
    assert torch.bincount(data.y).tolist() == [3, 2, 2, 1]
    assert np.array_equal(data.x[-1].numpy(), content.transpose(2, 0, 1))


def bomb(width: int, height: int) -> bytes:
    """A PNG of some hundred bytes that declares an image of any size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def spoiled(root: Path) -> dict[str, tuple[str, object]]:
    """What goes wrong by its name: the file that is told, and what makes it."""
    good = root / "a/1.png"
    return {
        "another size": ("b/1.png", lambda p: picture(p, size=(4, 5)), "5 × 4"),
        "another mode": ("b/1.png", lambda p: picture(p, mode="L"), "grey"),
        "16 bits": ("b/1.png", lambda p: Image.new("I;16", (5, 4)).save(p), "more than 8 bits"),
        "cut short": ("b/1.png", lambda p: p.write_bytes(good.read_bytes()[:-30]), "cannot be read"),
        "empty": ("b/1.png", lambda p: p.write_bytes(b""), "cannot be read"),
        "no image": ("b/1.png", lambda p: p.write_bytes(b"<!DOCTYPE html>"), "cannot be read"),
        "a program": ("b/1.png", lambda p: p.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "cannot be read"),
        "a huge image": ("b/1.png", lambda p: p.write_bytes(bomb(60_000, 60_000)), "DecompressionBomb"),
        "a large image": ("b/1.png", lambda p: p.write_bytes(bomb(10_000, 10_000)), "DecompressionBomb"),
        "a link to nothing": ("b/1.png", lambda p: p.symlink_to("nowhere.png"), "link to nothing"),
        "a pipe": ("b/1.png", lambda p: os.mkfifo(p), "no plain file"),
        "a device": ("b/1.png", lambda p: p.symlink_to("/dev/zero"), "no plain file"),
        "a secret": ("b/1.png", lambda p: p.symlink_to("/etc/hostname"), "cannot be read"),
    }


@pytest.mark.parametrize("what", spoiled(Path()))
def test_a_file_that_does_not_belong_is_named(tmp_path, what):
    picture(tmp_path / "a/1.png")
    (tmp_path / "b").mkdir()
    file, make, words = spoiled(tmp_path)[what]
    make(tmp_path / file)
    said = refusal(f"folder:{tmp_path}")
    assert str(tmp_path / file) in said
    assert words in said


def test_images_that_fill_the_memory_are_refused_before_one_is_unpacked(tmp_path, monkeypatch):
    for i in range(3):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / f"a/{i}.png").write_bytes(bomb(5000, 5000))
    monkeypatch.setattr(arrays, "available", lambda: 3 * 5000 * 5000 * 3 - 1)
    assert "of memory" in refusal(f"folder:{tmp_path}")
    assert "cannot be read" in refusal(f"folder:{tmp_path}", examples=1)


@pytest.mark.parametrize("there", [None, "file", "empty folder", "classes without images"])
def test_a_folder_that_holds_no_class_is_refused(tmp_path, there):
    place = tmp_path / "place"
    if there == "file":
        place.write_bytes(b"")
    elif there:
        (place / "a" if "classes" in there else place).mkdir(parents=True)
    assert str(place) in refusal(f"folder:{place}")


# ---- IDX files ----


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("packed", [False, True])
def test_two_idx_files_of_any_size_and_name_are_read(tmp_path, packed):
    x, y = RNG.integers(0, 256, (6, 7, 9), np.uint8), np.arange(6, dtype=np.uint8) % 3
    for name, array in (("x", x), ("y", y)):
        (tmp_path / name).write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    data = load(f"idx:{tmp_path}/x,{tmp_path}/y", "test")
    assert np.array_equal(data.x.numpy()[:, 0], x)
    assert (data.y.tolist(), data.classes, data.split) == ([0, 1, 2, 0, 1, 2], 3, "test")
    (tmp_path / "y").write_bytes(idx(y[:5]))
    assert "5 labels" in refusal(f"idx:{tmp_path}/x,{tmp_path}/y")
    assert "there is no file" in refusal(f"idx:{tmp_path}/x,{tmp_path}/z")
    assert "there is no file" in refusal(f"idx:{tmp_path}/x,{tmp_path}")
    assert "write idx:IMAGES,LABELS" in refusal(f"idx:{tmp_path}/x", kind=InputError)


def test_an_idx_file_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    for name, array in (("x", np.zeros((100, 28, 28), np.uint8)), ("y", np.zeros(100, np.uint8))):
        (tmp_path / name).write_bytes(gzip.compress(idx(array)))
    monkeypatch.setattr(arrays, "available", lambda: 100 * 28 * 28 - 1)
    assert str(tmp_path / "x") in refusal(f"idx:{tmp_path}/x,{tmp_path}/y")


# ---- npz files ----


def write_npz(path: Path, x: bytes, y: np.ndarray) -> Path:
    """An npz file whose x.npy has any content."""
    np.savez(path, y=y)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", x)
    return path


def npy(shape: str, kind: str = "|u1", body: bytes = b"") -> bytes:
    header = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


LIES = {
    "more than there is": npy("(2, 1000000000000)", body=bytes(100)),
    "less than there is": npy("(2, 3)", body=bytes(100)),
    "a negative size": npy("(-2, -3)", body=bytes(6)),
    "sizes that overflow": npy("(2, 9223372036854775807, 9223372036854775807)", body=bytes(6)),
    "text of 4 GB": npy("(2,)", kind="<U1000000000", body=bytes(6)),
    "objects": npy("(2,)", kind="|O", body=pickle.dumps(print)),
    "a header with code": npy("__import__('os').system('false')"),
    "a header of 60 kB": npy("(2, 3)" + " " * 60_000, body=bytes(6)),
    "another version": b"\x93NUMPY\x07\x00" + npy("(2, 3)", body=bytes(6))[8:],
    "no array": b"\x93NUM",
    "nothing": b"",
}


@pytest.mark.parametrize("what", LIES)
def test_an_npz_file_is_held_against_what_it_declares(tmp_path, what):
    path = write_npz(tmp_path / "a.npz", LIES[what], np.arange(2))
    assert str(path) in refusal(str(path))
    good = write_npz(tmp_path / "b.npz", npy("(2, 3)", body=bytes(6)), np.arange(2))
    assert load(str(good)).x.shape == (2, 3)


def test_a_zip_bomb_is_refused_before_it_takes_memory(tmp_path, monkeypatch):
    path = write_npz(tmp_path / "a.npz", npy("(2, 100000000)", body=bytes(200_000_000)), np.arange(2))
    assert path.stat().st_size < 300_000
    monkeypatch.setattr(arrays, "available", lambda: 10**8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "0.6 GiB" in refusal(str(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_damaged_array_fails_its_checksum(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 50), np.uint8), y=np.arange(4))
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    whole[whole.index(b"x.npy") + 200] ^= 1
    (tmp_path / "a.npz").write_bytes(whole)
    assert "CRC" in refusal(str(tmp_path / "a.npz"))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.tuples(st.integers(0, 600), st.integers(0, 255)))
def test_any_bytes_are_refused_or_are_the_examples(tmp_path, damage):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.full((3, 4), 7, np.uint8), y=np.arange(3))
    whole = bytearray(path.read_bytes())
    if isinstance(damage, tuple):
        whole[damage[0] % len(whole)] = damage[1]
    path.write_bytes(damage if isinstance(damage, bytes) else whole)
    try:
        data = load(str(path))
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert (data.x == 7).all()
        assert data.y.tolist() == [0, 1, 2]


# ---- numbers to predict ----


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3)])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f8"])
def test_numbers_to_predict_are_read_where_they_are_asked_for(tmp_path, shape, kind):
    y = RNG.normal(size=shape).astype(kind)
    np.savez(tmp_path / "a.npz", x=RNG.random((5, 2)), y=y)
    data = load(str(tmp_path / "a.npz"), numbers=True)
    assert (data.classes, data.y.shape) == (0, shape)
    assert np.array_equal(data.y.numpy(), y)
    assert "need a loss of numbers" in refusal(str(tmp_path / "a.npz"))
    few = load(str(tmp_path / "a.npz"), numbers=True, examples=3, seed=1)
    assert torch.equal(few.y, data.y[few.index])
    assert few.sha256 == data.subset(3, 1).sha256 != data.subset(3, 2).sha256


def test_labels_stay_labels_where_numbers_are_taken(tmp_path):
    np.savez(tmp_path / "a.npz", x=RNG.random((4, 2)), y=np.arange(4))
    assert load(str(tmp_path / "a.npz"), numbers=True).classes == 4
    assert load("fashion-mini", numbers=True).classes == 10


@pytest.mark.parametrize("y", [[0.5, np.nan], [0.5, np.inf], np.zeros((2, 0)), np.zeros((2, 1, 1)), [1j, 0]])
def test_what_is_no_number_to_predict_is_refused(tmp_path, y):
    np.savez(tmp_path / "a.npz", x=RNG.random((2, 2)), y=np.asarray(y))
    assert "a.npz" in refusal(str(tmp_path / "a.npz"), numbers=True)


# ---- Datasets and DataLoaders ----

MODULE = """
import numpy as np, torch
from PIL import Image
from torch.utils.data import *
x = (torch.arange(10 * 3 * 4 * 5) % 256).view(10, 3, 4, 5).to(torch.uint8)
y = torch.arange(10) % 3

class Of(Dataset):
    def __init__(self, item, n=10): self.item, self.n = item, n
    def __len__(self): return self.n
    def __getitem__(self, i): return self.item(i)

class Stream(IterableDataset):
    def __iter__(self): return ((x[i], y[i]) for i in range(10))

def picture(i): return Image.fromarray(x[i].permute(1, 2, 0).numpy())
def tensors(): return TensorDataset(x, y)
def floats(): return TensorDataset(x / 255, y)
def pictures(): return Of(lambda i: (picture(i), int(y[i])))
def grey(): return Of(lambda i: (Image.new("L", (5, 4), i), int(y[i])))
def hwc(): return Of(lambda i: (x[i].permute(1, 2, 0).numpy(), y[i].numpy()))
def by_name(): return Of(lambda i: {"image": x[i], "label": int(y[i]), "file": "a.png"})
def stream(): return Stream()
def part(): return Subset(tensors(), [3, 1, 2])
def loader(split): return DataLoader(tensors(), batch_size=4)
def loader_by_name(): return DataLoader(by_name(), batch_size=4, num_workers=0)
def loader_of_one(): return DataLoader(tensors(), batch_size=None)
def loader_of_a_stream(): return DataLoader(Stream(), batch_size=3)
def loader_of_pictures():
    return DataLoader(pictures(), batch_size=3, collate_fn=lambda b: (
        torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) for p, _ in b]),
        torch.tensor([l for _, l in b])))
def shuffled(): return DataLoader(tensors(), shuffle=True)
def weighted(): return DataLoader(tensors(), sampler=WeightedRandomSampler([1.0] * 10, 10))
def in_lots(): return DataLoader(tensors(), batch_sampler=BatchSampler(RandomSampler(tensors()), 4, False))
class Hidden(Sampler):
    def __iter__(self): return iter(torch.randperm(10).tolist())
    def __len__(self): return 10
def secretly(): return DataLoader(tensors(), sampler=Hidden(), batch_size=10)
def flipped(): return Of(lambda i: (x[i].flip(-1) if torch.rand(()) < 0.5 else x[i], int(y[i])))
def flipped_in_a_loader(): return DataLoader(flipped(), batch_size=10)
def normalised(): return TensorDataset(x / 64 - 2, y)
def three(): return TensorDataset(x, y, y)
def no_label(): return Of(lambda i: {"image": x[i]})
def ragged(): return Of(lambda i: (x[i, :, : 2 + i], 0))
def empty(): return Of(lambda i: (x[i], 0), n=0)
def huge(): return Of(lambda i: (x[0], 0), n=10**12)
def no_length(): return type("D", (Dataset,), {"__getitem__": lambda self, i: (x[i], y[i])})()
def fails(): return Of(lambda i: 1 / 0)
def numbers(): return TensorDataset(x, torch.rand(10, 2))
def named():
    data = tensors()
    data.classes = list("abcde")
    return data
"""


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "my_data.py"
    path.write_text(MODULE)
    return lambda function, **kwargs: load(f"{path}:{function}", **kwargs)


X = (np.arange(10 * 3 * 4 * 5) % 256).reshape(10, 3, 4, 5).astype(np.uint8)
READ = (
    "tensors pictures hwc by_name stream loader loader_by_name loader_of_one loader_of_a_stream "
    "loader_of_pictures"
)


@pytest.mark.parametrize("function", READ.split())
def test_a_dataset_or_a_loader_gives_its_examples_in_its_own_order(module, function):
    before = torch.random.get_rng_state()
    data = module(function)
    assert data.x.dtype == torch.uint8
    assert np.array_equal(data.x.numpy(), X)
    assert data.y.tolist() == [0, 1, 2] * 3 + [0]
    assert (data.classes, data.total, data.index.tolist()) == (3, 10, list(range(10)))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_floats_stay_floats_and_grey_pictures_have_one_channel(module):
    np.testing.assert_array_equal(module("floats").x.numpy(), X.astype(np.float32) / np.float32(255))
    assert module("grey").x.shape == (10, 1, 4, 5)
    assert module("part").y.tolist() == [0, 1, 2]
    assert module("named").classes == 5
    assert module("numbers", numbers=True).y.shape == (10, 2)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("shuffled", "shuffles (RandomSampler)"),
        ("weighted", "shuffles (WeightedRandomSampler)"),
        ("in_lots", "shuffles (RandomSampler)"),
        ("secretly", "other examples when it is read again"),
        ("flipped", "other examples when it is read again"),
        ("flipped_in_a_loader", "other examples when it is read again"),
        ("normalised", "undo the normalisation"),
        ("three", "items of 3 parts"),
        ("no_label", "items with image; they need image and label"),
        ("ragged", "example 1"),
        ("empty", "no example"),
        ("huge", "of memory"),
        ("no_length", "TypeError"),
        ("fails", "ZeroDivisionError"),
        ("numbers", "need a loss of numbers"),
    ],
)
def test_what_a_dataset_cannot_be_is_one_line(tmp_path, function, words):
    path = tmp_path / "my_data.py"
    path.write_text(MODULE)
    assert words in refusal(f"{path}:{function}")


# ---- torchvision and the Hugging Face Hub, which are not installed here ----


class Shelf(torch.utils.data.Dataset):
    """As torchvision has them: found in a folder, downloaded when told."""

    downloads: list[str] = []  # noqa: RUF012

    def __init__(self, root, train=True, transform=None, download=False):
        if download:
            self.downloads.append(root)
        elif not os.path.isfile(os.path.join(root, "shelf")):
            raise RuntimeError("Dataset not found.\nYou can use download=True to download it")
        self.n, self.classes = 6 if train else 4, list("abc")

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return Image.fromarray(X[i].transpose(1, 2, 0)), i % 2


class Split(Shelf):
    """One that is split by name, and cannot be downloaded."""

    def __init__(self, root, split="train"):
        super().__init__(root, train=split == "train")


class Whole(Shelf):
    """One without a split."""

    def __init__(self, root):
        super().__init__(root)


@pytest.fixture
def torchvision(monkeypatch, tmp_path):
    package, datasets = types.ModuleType("torchvision"), types.ModuleType("torchvision.datasets")
    datasets.Shelf, datasets.Split, datasets.Whole, datasets.os = Shelf, Split, Whole, os
    for name, module in (("torchvision", package), ("torchvision.datasets", datasets)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(Shelf, "downloads", [])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LANDSCAPE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "there").mkdir()
    (tmp_path / "there/shelf").touch()
    return tmp_path / "there"


@pytest.mark.parametrize("name", ["Shelf", "Split"])
def test_a_data_set_of_torchvision_is_read_where_it_is(torchvision, name):
    train, test = (load(f"torchvision:{name}", split, data_dir=torchvision) for split in ("train", "test"))
    assert (len(train), len(test), train.classes) == (6, 4, 3)
    assert np.array_equal(train.x.numpy(), X[:6])
    assert (train.name, test.split) == (f"torchvision:{name}", "test")


def test_torchvision_downloads_nothing_unless_told(torchvision, tmp_path):
    assert "add ,download=true to fetch it" in refusal("torchvision:Shelf")
    assert Shelf.downloads == []
    assert "download" not in refusal("torchvision:Split").partition("could not be had")[0]
    assert len(load("torchvision:Shelf,download=true")) == 6
    assert len(load("torchvision:Shelf,download=true", data_dir=torchvision)) == 6
    assert Shelf.downloads == [str(tmp_path / "cache/landscape"), str(torchvision)]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("torchvision:os", "no data set 'os'"),
        ("torchvision:CIFAR11", "no data set 'CIFAR11'"),
        ("torchvision:Whole", "train or test"),
        ("torchvision:Split,download=true", "cannot be downloaded by torchvision"),
        ("torchvision:Shelf,download=perhaps", "not true or false"),
        ("torchvision:Shelf,root=/", "no option 'root'"),
    ],
)
def test_what_torchvision_does_not_have_is_said(torchvision, spec, words):
    assert words in refusal(spec, kind=InputError)


@pytest.mark.parametrize(
    ("spec", "package"), [("torchvision:CIFAR10", "torchvision"), ("hf:mnist", "datasets")]
)
def test_a_package_that_is_absent_is_named(monkeypatch, spec, package):
    monkeypatch.setitem(sys.modules, package, None)
    assert f"pip install {package}" in refusal(spec)


def test_a_torchvision_that_was_made_for_another_torch_is_told(monkeypatch, tmp_path):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision/__init__.py").write_text("raise RuntimeError('operator nms does not exist')")
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert "operator nms does not exist; install the one" in refusal("torchvision:CIFAR10")


class Table:
    """As a data set of the Hub is in memory."""

    def __init__(self, **columns):
        self.columns = columns
        self.column_names = list(columns)
        self.features = dict.fromkeys(columns) | {"label": types.SimpleNamespace(num_classes=7)}

    def __len__(self):
        return 10

    def __getitem__(self, i):
        return {name: column(i) for name, column in self.columns.items()}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The package `datasets`, with a cache that holds one data set; what it was asked, and its settings."""
    package, config = types.ModuleType("datasets"), types.ModuleType("datasets.config")
    config.HF_DATASETS_OFFLINE, config.HF_DATASETS_TRUST_REMOTE_CODE = False, True
    asked = []

    def load_dataset(name, config_name, split):
        asked.append(
            (name, config_name, split, config.HF_DATASETS_OFFLINE, config.HF_DATASETS_TRUST_REMOTE_CODE)
        )
        if name != "me/there" and config.HF_DATASETS_OFFLINE:
            raise ConnectionError("Couldn't reach it.\nOffline mode is enabled")
        return Table(
            image=lambda i: Image.fromarray(X[i].transpose(1, 2, 0)), label=lambda i: i % 3, mark=float
        )

    package.load_dataset, package.config = load_dataset, config
    monkeypatch.setitem(sys.modules, "datasets", package)
    monkeypatch.setitem(sys.modules, "datasets.config", config)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.chdir(tmp_path)
    return asked, config


def test_a_data_set_of_the_hub_is_read_from_its_cache_and_runs_no_script(hub):
    asked, config = hub
    data = load("hf:me/there,config=fine", "test")
    assert np.array_equal(data.x.numpy(), X)
    assert (data.classes, data.y.tolist(), data.split) == (7, [i % 3 for i in range(10)], "test")
    assert asked == [("me/there", "fine", "test", True, False)]
    assert (config.HF_DATASETS_OFFLINE, config.HF_DATASETS_TRUST_REMOTE_CODE) == (False, True)


def test_nothing_is_fetched_from_the_hub_unless_told(hub):
    asked, _ = hub
    assert "add ,download=true" in refusal("hf:me/away")
    assert len(load("hf:me/away,download=true")) == 10
    assert [offline for *_, offline, _ in asked] == [True, False]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            "hf:me/there,label=fine_label",
            "no column 'fine_label'; it has image, label, mark: add ,label=NAME",
        ),
        ("hf:../../etc", "no name on the Hub"),
        ("hf:script.py", "no name on the Hub"),
        ("hf:here", "is a file or folder here"),
        ("hf:me/there,trust=true", "no option 'trust'"),
    ],
)
def test_what_the_hub_does_not_have_is_said(hub, tmp_path, spec, words):
    (tmp_path / "here").mkdir()
    assert words in refusal(spec, kind=InputError)


def test_the_columns_may_be_named(hub):
    assert load("hf:me/there,label=mark", numbers=True).y.tolist() == list(range(10))


# ---- what runs code ----


def test_only_callables_of_the_users_own_run_code():
    for spec in ("a.py:data", "package.module:data", "module:data"):
        assert runs_code(spec)
    for spec in (
        "folder:images",
        "idx:a,b",
        "torchvision:MNIST",
        "hf:mnist",
        "a.npz",
        "mnist",
        "folder:a.npz",
    ):
        assert not runs_code(spec)
