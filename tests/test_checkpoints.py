"""What is read is what was saved; what is no checkpoint, damaged, hostile or another model's is named."""

import argparse
import hashlib
import os
import pickle
import re
import resource
import warnings
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from landscape.checkpoints.find import KEYS
from landscape.checkpoints.match import match
from landscape.checkpoints.read import read
from landscape.checkpoints.write import save
from landscape.errors import CheckpointError, InputError, LandscapeError
from landscape.files import atomic
from landscape.models.lenet import lenet
from landscape.models.mlp import mlp
from landscape.models.resnet import resnet18
from landscape.models.vgg import vgg

torch.set_num_threads(1)


def small():
    """144 parameters, and the buffers of a BatchNorm."""
    module = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 7))
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return module


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


def message(path, **options):
    """The one line that read says about a file that it does not take."""
    with pytest.raises(CheckpointError) as caught:
        read(path, **options)
    text = str(caught.value)
    assert str(path) in text
    assert text.isprintable()
    assert "weights_only=False" not in text  # torch's own advice
    assert len(text) < 400 + len(str(path))
    return text.replace(str(path), "FILE")


# What is saved is what is read.

METADATA = {
    "model": {"name": "lenet", "options": {"width": 1}},
    "eps": 0.1,
    "epochs": [1, 2, 2**70],
    "resumed": False,
    "nan": float("inf"),
    "seed": None,
    "note": "größer\n",
}


@pytest.mark.parametrize("model", [lenet, vgg, resnet18])
def test_what_is_saved_is_read_back_and_makes_the_same_model(model, tmp_path):
    torch.manual_seed(0)
    module, fresh = model(width=1), model(width=1)
    save(tmp_path / "a.pt", module.state_dict(), METADATA)
    checkpoint = read(tmp_path / "a.pt")
    assert same(checkpoint.state, module.state_dict())
    assert (checkpoint.format, checkpoint.metadata, checkpoint.notes) == ("landscape", METADATA, ())
    assert checkpoint.sha256 == hashlib.sha256((tmp_path / "a.pt").read_bytes()).hexdigest()
    report = match(checkpoint, fresh)
    assert same(fresh.state_dict(), module.state_dict())
    assert str(report) == f"{len(module.state_dict())} tensors"


def test_equal_content_gives_equal_bytes_whatever_the_file_is_called(tmp_path):
    for name in ("a.pt", "another name"):
        save(tmp_path / name, small().state_dict(), METADATA)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "another name").read_bytes()


def test_a_view_is_saved_without_the_storage_behind_it(tmp_path):
    big = torch.randn(1000, 1000)
    views = {"rows": big[:2], "columns": big.t()[:2], "parameter": nn.Parameter(big[0])}
    save(tmp_path / "a.pt", views, {})
    assert (tmp_path / "a.pt").stat().st_size < 30_000
    assert same(read(tmp_path / "a.pt").state, views)


def test_subclasses_of_plain_types_become_plain(tmp_path):
    save(tmp_path / "a.pt", small().state_dict(), {"torch": torch.__version__, "eps": np.float64(0.1)})
    metadata = read(tmp_path / "a.pt").metadata
    assert [type(value) for value in metadata.values()] == [str, float]
    assert metadata == {"torch": str(torch.__version__), "eps": 0.1}


@pytest.mark.parametrize(
    ("metadata", "named"),
    [
        ({"a": {"b": [0, (1, 2)]}}, r"metadata\['a'\]\['b'\]\[1\] is a tuple"),
        ({"a": np.int64(1)}, "is a int64"),
        ({"a": {1: 2}}, r"metadata\['a'\] has the key 1"),
        ({"a": torch.zeros(1)}, "is a Tensor"),
        ({"format": 7}, "has an entry 'format'"),
    ],
)
def test_metadata_that_is_not_plain_is_an_error_that_says_where(metadata, named, tmp_path):
    with pytest.raises(InputError, match=named):
        save(tmp_path / "a.pt", small().state_dict(), metadata)
    assert not list(tmp_path.iterdir())


def test_a_file_of_a_newer_landscape_is_refused(tmp_path):
    torch.save({"landscape": {"format": 2}, "weights": {}}, tmp_path / "a.pt")
    assert "has format 2, this landscape reads up to 1" in message(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "header", [{}, {"format": "1"}, {"format": 1, "a": torch.zeros(1)}, {"format": 1, 2: 3}]
)
def test_a_header_that_save_never_writes_is_refused(header, tmp_path):
    torch.save({"landscape": header, "state_dict": small().state_dict()}, tmp_path / "a.pt")
    assert "landscape" in message(tmp_path / "a.pt")


def test_metadata_that_contains_itself_is_refused(tmp_path):
    loop: list = []
    loop.append(loop)
    torch.save({"landscape": {"format": 1, "a": loop}, "state_dict": small().state_dict()}, tmp_path / "a.pt")
    assert "metadata that landscape never writes" in message(tmp_path / "a.pt")


# The files of other programs.


def test_a_bare_state_dict_is_read_whatever_its_name(tmp_path):
    for name in ("a.pt", "a.safetensors", "a.h5", "a"):
        torch.save(small().state_dict(), tmp_path / name)
        checkpoint = read(str(tmp_path / name))
        assert checkpoint.format == "torch"
        assert same(checkpoint.state, small().state_dict())
        assert (checkpoint.metadata, checkpoint.notes) == ({}, ())


@pytest.mark.parametrize("key", KEYS[1:])
def test_a_state_dict_is_found_in_its_usual_places(key, tmp_path):
    content = {"epoch": 3, key: small().state_dict(), "optimizer": {"state": {0: {"step": torch.ones(1)}}}}
    torch.save(content, tmp_path / "a.pt")
    checkpoint = read(tmp_path / "a.pt")
    assert [w.place for w in checkpoint.weights] == [key]
    assert checkpoint.told == {"epoch": 3}
    assert same(checkpoint.state, small().state_dict())
    assert str(match(checkpoint, small())) == f"9 tensors under {key!r}"


def other(factor=2.0):
    return {n: factor * t if t.is_floating_point() else t for n, t in small().state_dict().items()}


def test_two_that_fit_are_an_error_that_lists_them_until_one_is_chosen(tmp_path):
    torch.save({"model": small().state_dict(), "net": other(), "ema": other(3.0)}, tmp_path / "a.pt")
    checkpoint, fresh = read(tmp_path / "a.pt"), small()
    with pytest.raises(
        CheckpointError, match="several weights that fit the model; choose by --key model or --key net"
    ):
        match(checkpoint, fresh)
    assert match(checkpoint, fresh, key="net").beside == ()
    assert same(fresh.state_dict(), other())
    assert match(checkpoint, fresh, weights="ema").place == "ema"
    assert same(fresh.state_dict(), other(3.0))
    with pytest.raises(
        CheckpointError, match="no weights at 'last'; --key may be one of 'model', 'net', 'ema'"
    ):
        match(checkpoint, fresh, key="last")


def test_of_two_that_fit_the_one_at_the_usual_place_is_taken_and_the_other_told(tmp_path):
    torch.save({"best": other(), "state_dict": small().state_dict()}, tmp_path / "a.pt")
    report = match(read(tmp_path / "a.pt"), small())
    assert (report.place, report.beside) == ("state_dict", ("best",))


def test_two_networks_in_one_state_dict_are_chosen_by_their_prefix(tmp_path):
    both = {f"student.{n}": t for n, t in small().state_dict().items()}
    both |= {f"teacher.{n}": t for n, t in other().items()}
    torch.save({"state_dict": both}, tmp_path / "a.pt")
    checkpoint, fresh = read(tmp_path / "a.pt"), small()
    with pytest.raises(CheckpointError, match="--key state_dict/student or --key state_dict/teacher"):
        match(checkpoint, fresh)
    match(checkpoint, fresh, key="state_dict/teacher")
    assert same(fresh.state_dict(), other())


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {},
        {"epoch": 1, "state_dict": {}},
        {"a\n\x1b[2J": 1},
        {"a": torch.zeros(2).to_sparse()},
        {"a": torch.zeros(2, device="meta")},
        {"optimizer": {"state": {0: torch.zeros(3)}, "param_groups": []}},
    ],
    ids=str,
)
def test_a_file_without_weights_says_so(content, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="holds no weights"):
        match(read(tmp_path / "a.pt"), small())


@pytest.mark.parametrize("tensor", [torch.zeros(8, 6).to_sparse(), torch.zeros(8, 6, device="meta")])
def test_a_tensor_that_cannot_be_read_is_named_where_it_is_missed(tensor, tmp_path):
    said = misfit(small().state_dict() | {"0.weight": tensor}, small(), tmp_path)
    assert re.search(r"0\.weight is a torch\.\S+ in the file, which is not read", said)


WRAPPED = [
    "module.",
    "_orig_mod.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "module.module.",
    "model.",
    "net.",
]


@pytest.mark.parametrize("prefix", WRAPPED)
def test_prefixes_of_wrappers_are_added_where_only_the_model_has_them(prefix, tmp_path):
    inner = small()
    torch.save({"a.b." + n: t for n, t in other().items()}, tmp_path / "a.pt")
    module = inner
    for name in reversed(prefix.split(".")[:-1]):
        outer = nn.Module()
        outer.add_module(name, module)
        module = outer
    report = match(read(tmp_path / "a.pt"), module)
    assert (report.removed, report.added) == ("a.b.", prefix)
    assert same(inner.state_dict(), other())


@pytest.mark.parametrize("prefix", ["", *WRAPPED, "model._orig_mod.", "module.model."])
def test_prefixes_of_wrappers_are_removed(prefix, tmp_path):
    module, fresh = small(), small()
    nn.init.zeros_(fresh[0].weight)
    torch.save({prefix + name: t for name, t in module.state_dict().items()}, tmp_path / "a.pt")
    report = match(read(tmp_path / "a.pt"), fresh)
    assert (report.removed, report.tensors, report.ignored) == (prefix, 9, ())
    assert same(fresh.state_dict(), module.state_dict())


def test_a_compiled_model_in_data_parallel_is_loaded_into_the_plain_one(tmp_path):
    module = vgg(width=1)
    wrapped = nn.DataParallel(torch.compile(module, backend="eager"))
    torch.save({"state_dict": wrapped.state_dict()}, tmp_path / "a.pt")
    fresh = vgg(width=1)
    assert match(read(tmp_path / "a.pt"), fresh).removed == "module._orig_mod."
    assert same(fresh.state_dict(), module.state_dict())


def test_a_prefix_that_the_model_has_too_is_kept(tmp_path):
    module = nn.DataParallel(small())
    torch.save(module.state_dict(), tmp_path / "a.pt")
    assert match(read(tmp_path / "a.pt"), module).removed == ""


# What is no checkpoint.


def scripted(path):
    # TorchScript warns that it is deprecated; what it wrote before that is still about.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)


def exported(path):
    with zipfile.ZipFile(
        path, "w"
    ) as archive:  # what torch.export.save names its members, without its seconds
        for name in ("archive_format", "models/model.json", "data/sample_inputs/model.pt", "byteorder"):
            archive.writestr(f"a/{name}", "pt2")


def cut(path):
    torch.save(small().state_dict(), path)
    path.write_bytes(path.read_bytes()[:1500])


def numpy_zip(path):
    with open(path, "wb") as file:
        np.savez(file, a=np.zeros(3))


def compressed(path):
    torch.save(small().state_dict(), path)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    members["archive/data/9"] = bytes(10**7)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def oversized(path):
    """One member of the directory claims four gigabytes."""
    torch.save(small().state_dict(), path)
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 20 : entry + 28] = b"\xf0\xff\xff\xff" * 2
    path.write_bytes(data)


def doubled(path):
    torch.save(small().state_dict(), path)
    path.write_bytes(path.read_bytes().replace(b"/data/0", b"/data/1"))


OTHERS = [
    ("there is no file FILE", lambda path: None),
    ("FILE is a folder", lambda path: path.mkdir()),
    ("FILE is a device or a pipe", os.mkfifo),
    ("FILE is empty", lambda path: path.touch()),
    (
        "FILE is a web page",
        lambda path: path.write_bytes(b"\xef\xbb\xbf\n <!DOCTYPE html><html>quota exceeded"),
    ),
    (
        "FILE is a Git LFS pointer",
        lambda path: path.write_text("version https://git-lfs.example/spec/v1\noid"),
    ),
    ("FILE is cut short: after 1500 bytes", cut),
    ("FILE is refused: TorchScript holds code", scripted),
    ("FILE is refused: torch.export holds code", exported),
    ("FILE is an HDF5 file", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))),
    ("FILE is a NumPy archive", numpy_zip),
    ("FILE is refused: it is compressed", compressed),
    ("FILE is refused: its part model/data.pkl is longer", oversized),
    ("FILE is refused: several of its parts have the name model/data/1", doubled),
    ("FILE is no checkpoint, it begins with b'# Notes\\n'", lambda path: path.write_text("# Notes\n")),
    ("FILE is no checkpoint, it begins with b'P'", lambda path: path.write_bytes(b"P")),
]


@pytest.mark.parametrize(("named", "make"), OTHERS, ids=[named for named, _ in OTHERS])
def test_what_is_no_checkpoint_is_named(named, make, tmp_path):
    make(tmp_path / "model.pt")
    assert message(tmp_path / "model.pt").startswith(named)


# Damage.


def test_a_file_cut_at_any_kilobyte_is_an_error(tmp_path):
    save(tmp_path / "a.pt", lenet(width=1).state_dict(), METADATA)
    data = (tmp_path / "a.pt").read_bytes()
    assert len(data) > 50_000
    for size in range(0, len(data), 1024):
        (tmp_path / "b.pt").write_bytes(data[:size])
        assert ("cut short" if size else "empty") in message(tmp_path / "b.pt")


def test_a_flipped_byte_is_an_error_or_changes_nothing(tmp_path):
    module = small()
    save(tmp_path / "a.pt", module.state_dict(), METADATA)
    data = (tmp_path / "a.pt").read_bytes()
    rng = np.random.default_rng(0)
    errors = 0
    for place, change in zip(rng.integers(0, len(data), 200), rng.integers(1, 256, 200), strict=True):
        flipped = bytearray(data)
        flipped[place] ^= change
        (tmp_path / "b.pt").write_bytes(flipped)
        try:
            checkpoint = read(tmp_path / "b.pt")
        except CheckpointError:
            errors += 1
            continue
        assert same(checkpoint.state, module.state_dict())
        assert checkpoint.metadata == METADATA
    assert 40 < errors < 200


def test_a_flipped_bit_in_the_weights_is_named_though_torch_loads_it(tmp_path):
    weight = torch.arange(100.0)
    save(tmp_path / "a.pt", {"weight": weight}, {})
    data = bytearray((tmp_path / "a.pt").read_bytes())
    data[data.index(weight.numpy().tobytes()) + 42] ^= 1
    (tmp_path / "a.pt").write_bytes(data)
    assert not torch.equal(torch.load(tmp_path / "a.pt", weights_only=True)["state_dict"]["weight"], weight)
    assert "FILE is refused: it is damaged: archive/data/0 is not as it was saved" in message(
        tmp_path / "a.pt"
    )


def test_a_part_that_is_marked_as_a_folder_is_read_all_the_same(tmp_path):
    # torch.load gives what was in memory for it, and no error.
    save(tmp_path / "a.pt", small().state_dict(), {})
    data = bytearray((tmp_path / "a.pt").read_bytes())
    name = data.rindex(b"archive/data/0")  # in the directory, 46 bytes after the start of its entry
    data[name - 46 + 38] |= 0x10
    (tmp_path / "a.pt").write_bytes(data)
    assert same(read(tmp_path / "a.pt").state, small().state_dict())


def test_a_file_without_checksums_is_read_and_the_report_says_so(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(small().state_dict(), tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    checkpoint = read(tmp_path / "a.pt")
    assert same(checkpoint.state, small().state_dict())
    assert re.fullmatch(r"\d+ parts of the file have no checksum", checkpoint.notes[0])


def test_a_file_that_is_overwritten_before_its_tensors_are_read_is_an_error(tmp_path):
    save(tmp_path / "a.pt", small().state_dict(), {})
    checkpoint = read(tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes(bytes((tmp_path / "a.pt").stat().st_size))
    with pytest.raises(CheckpointError, match="changed while it was read"):
        match(checkpoint, small())


def test_a_file_that_is_replaced_meanwhile_is_read_as_it_was(tmp_path):
    save(tmp_path / "a.pt", small().state_dict(), {})
    checkpoint = read(tmp_path / "a.pt")
    save(tmp_path / "a.pt", other(), {})  # under a temporary name, and renamed
    assert same(checkpoint.state, small().state_dict())


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path, monkeypatch):
    digest = hashlib.file_digest

    def meanwhile(file, name):
        os.utime(tmp_path / "a.pt", ns=(0, 0))
        return digest(file, name)

    save(tmp_path / "a.pt", small().state_dict(), {})
    monkeypatch.setattr(hashlib, "file_digest", meanwhile)
    assert "FILE changed while it was read" in message(tmp_path / "a.pt")


# Files that would run something.


def text(value):
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def attacks(sentinel):
    """Pickles that make the sentinel file when they are unpickled."""
    touch, opens = text(f"touch {sentinel}"), text(f"open({str(sentinel)!r}, 'w').close()")
    system = (
        b"cbuiltins\ngetattr\ncbuiltins\n__import__\n" + text("os") + b"\x85R" + text("system") + b"\x86R"
    )
    return {
        "posix.system": b"\x80\x02cposix\nsystem\n" + touch + b"\x85R.",
        "builtins.eval": b"\x80\x02cbuiltins\neval\n" + opens + b"\x85R.",
        "builtins.__import__, builtins.getattr": b"\x80\x02" + system + touch + b"\x85R.",
        "by its name on the stack": b"\x80\x04" + text("os") + text("system") + b"\x93" + touch + b"\x85R.",
        "by its dotted name": b"\x80\x04" + text("os") + text("path.os.system") + b"\x93" + touch + b"\x85R.",
        "as an instance": b"\x80\x02(" + touch + b"iposix\nsystem\n.",
        "as an object": b"\x80\x02(cposix\nsystem\n" + touch + b"o.",
        "beside weights": b"\x80\x02}" + text("state_dict") + b"cposix\nsystem\n" + touch + b"\x85Rs.",
    }


def archived(path, data, name="a/data.pkl"):
    """A file as of torch.save, with right checksums, around any pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, data)
        archive.writestr("a/version", "3\n")
        archive.writestr("a/byteorder", "little")


@pytest.mark.parametrize("way", attacks("file"))
def test_a_pickle_that_runs_something_runs_nothing_and_is_told(way, tmp_path, monkeypatch):
    # What makes torch.load unsafe by default elsewhere makes no difference here.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    sentinel = tmp_path / "sentinel"
    attack = attacks(sentinel)[way]
    pickle.loads(attack)
    assert sentinel.exists()  # the attack is one
    sentinel.unlink()
    archived(tmp_path / "a.pt", attack)
    checkpoint = read(tmp_path / "a.pt")
    assert any(name in " ".join(checkpoint.ignored) for name in ("system", "eval", "getattr"))
    with pytest.raises(CheckpointError, match="holds no weights"):
        match(checkpoint, small())
    assert not sentinel.exists()


class Calls:
    def __reduce__(self):
        return os.system, ("touch sentinel",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    ("thing", "named"),
    [
        (Calls(), "posix.system"),
        (argparse.Namespace(lr=0.1), "argparse.Namespace"),
        (nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
    ],
    ids=["os.system", "Namespace", "module"],
)
def test_weights_are_read_beside_an_object_that_is_not_made(thing, named, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": small().state_dict(), "args": thing}, "a.pt", pickle_protocol=protocol)
    checkpoint = read(tmp_path / "a.pt")
    assert named in checkpoint.ignored
    assert same(checkpoint.state, small().state_dict())
    assert not (tmp_path / "sentinel").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x02.",
        b"\x80\x02K\x01",
        b"no pickle",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}" + text("__code__") + text("x") + b"sb.",
        b"\x80\x02(" + text("storage") + b"ctorch\nFloatStorage\n" + text("9") + text("cpu") + b"K\x04tQ.",
    ],
)
def test_a_pickle_of_nonsense_is_an_error_of_one_line(data, tmp_path):
    archived(tmp_path / "a.pt", data)
    assert message(tmp_path / "a.pt").startswith("FILE ")


# Does it fit the model?


def misfit(state, module, tmp_path):
    """What match says, having left the module as it was."""
    torch.save(state, tmp_path / "a.pt")
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        match(read(tmp_path / "a.pt"), module)
    after = module.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    return str(caught.value)


def test_another_width_is_named_with_both_shapes(tmp_path):
    said = misfit(lenet(width=4).state_dict(), lenet(width=1), tmp_path)
    assert "conv1.weight is (8, 1, 5, 5) in the file, (2, 1, 5, 5) in the model" in said
    assert "and 4 more; all names agree, so its width is another: 4 times the model's" in said
    said = misfit(mlp(hidden=8).state_dict(), mlp(hidden=12), tmp_path)
    assert "1.weight is (8, 784) in the file, (12, 784) in the model" in said
    assert "2/3 times" in said


@pytest.mark.parametrize("model", [lenet, vgg, resnet18])
def test_another_number_of_classes_is_named(model, tmp_path):
    said = misfit(model(width=1, classes=100).state_dict(), model(width=1), tmp_path)
    assert "only the last layer differs: it has 100 classes in the file, 10 in the model" in said
    assert "more" not in said


def test_another_architecture_is_named(tmp_path):
    said = misfit(vgg(width=1).state_dict(), resnet18(width=1), tmp_path)
    assert "conv1.weight is not in the file" in said
    assert "names agree, so it is another architecture's" in said
    said = misfit(lenet(width=1).state_dict(), resnet18(width=1), tmp_path)
    assert "conv1.weight is (2, 1, 5, 5) in the file, (4, 3, 3, 3) in the model" in said
    assert "1 of the model's 122 names agree" in said


def test_names_that_agree_by_chance_are_not_taken_for_a_prefix(tmp_path):
    few = {f"block.{name}": t for name, t in small().state_dict().items() if not name.startswith("3")}
    others = {f"other.{number}": torch.zeros(1) for number in range(20)}
    said = misfit(few | others, small(), tmp_path)
    assert "0 of the model's 9 names agree, so it is another architecture's" in said


def test_a_network_within_a_larger_one_is_loaded_and_the_rest_told(tmp_path):
    inner = {f"block.{name}": tensor for name, tensor in small().state_dict().items()}
    others = {f"other.{number}": torch.zeros(1) for number in range(20)}
    torch.save(inner | others, tmp_path / "a.pt")
    report = match(read(tmp_path / "a.pt"), small())
    assert (report.removed, report.unused) == ("block.", tuple(others))
    assert "20 others not used: other.0, other.1, other.2, and 17 more" in str(report)


def test_inputs_of_another_size_are_named_without_a_guess(tmp_path):
    said = misfit(mlp(inputs=10).state_dict(), mlp(), tmp_path)
    assert "fit the model: 1.weight is (64, 10) in the file, (64, 784) in the model; give the model" in said


def test_missing_and_left_over_tensors_are_listed(tmp_path):
    state = small().state_dict()
    extra = torch.zeros(2)
    assert "3.bias is not in the file" in misfit(
        {n: state[n] for n in state if n != "3.bias"}, small(), tmp_path
    )
    assert "1.running_var is not in the file" in misfit(
        {n: state[n] for n in state if n != "1.running_var"}, small(), tmp_path
    )
    assert "4.weight is not in the model" in misfit(state | {"4.weight": extra}, small(), tmp_path)
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    assert "module.5.weight is not in the model" in misfit(
        wrapped | {"module.5.weight": extra}, small(), tmp_path
    )


@pytest.mark.parametrize("name", ["n_averaged", "criterion.weight", "module.aux.weight"])
def test_what_is_outside_of_the_models_own_modules_is_told_and_not_used(name, tmp_path):
    wrapped = {f"module.{n}": tensor for n, tensor in small().state_dict().items()}
    torch.save(wrapped | {name: torch.zeros(2)}, tmp_path / "a.pt")
    assert match(read(tmp_path / "a.pt"), small()).unused == (name,)


def test_a_net_with_more_layers_is_not_taken_for_one_with_fewer(tmp_path):
    deep = nn.Sequential()
    for place in range(1, 4):
        deep.add_module(f"fc{place}", nn.Linear(6, 6))
    assert "fc3.weight is not in the model" in misfit(deep.state_dict(), deep[:2], tmp_path)


def test_a_file_without_the_last_layer_is_named(tmp_path):
    headless = {n: t for n, t in small().state_dict().items() if not n.startswith("3.")}
    said = misfit(headless, small(), tmp_path)
    assert (
        "3.weight is not in the file; 3.bias is not in the file; it was saved without the last layer, 3"
        in said
    )


def test_the_normalisation_beside_the_weights_is_offered(tmp_path):
    found = {
        "normalizer.mean": torch.tensor([0.1, 0.2, 0.3]),
        "normalizer.std": torch.tensor([1.0, 2.0, 3.0]),
    }
    wrapped = {f"1.{name}": tensor for name, tensor in small().state_dict().items()}
    torch.save(wrapped | found, tmp_path / "a.pt")
    offered = match(read(tmp_path / "a.pt"), small()).normalizer
    assert offered.place == "normalizer.mean"
    assert offered.mean == pytest.approx((0.1, 0.2, 0.3))
    assert offered.std == (1, 2, 3)


def test_a_model_that_normalises_by_itself_is_told_how_to_leave_that_out(tmp_path):
    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = small()
            self.register_buffer("mean", torch.zeros(1))

    assert "the model's own normalisation: make it without" in misfit(
        {f"model.{n}": t for n, t in small().state_dict().items()}, Normalised(), tmp_path
    )


def test_counters_may_be_absent_or_left_over(tmp_path):
    state, counter = small().state_dict(), "1.num_batches_tracked"
    fresh = small()
    torch.save({name: tensor for name, tensor in state.items() if name != counter}, tmp_path / "a.pt")
    assert match(read(tmp_path / "a.pt"), fresh).ignored == (counter,)
    torch.save(state | {"8.num_batches_tracked": torch.tensor(3)}, tmp_path / "a.pt")
    report = match(read(tmp_path / "a.pt"), fresh)
    assert (report.ignored, str(report)) == (("8.num_batches_tracked",), "9 tensors, 1 counters ignored")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_weights_that_are_not_finite_are_refused_by_name(value, tmp_path):
    state = small().double().state_dict()
    state["3.weight"][2, 1] = value  # 1e300 is infinite as the model's float32
    assert "NaN or infinity in 3.weight (1 of 56);" in misfit(state, small(), tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_is_converted_and_told(dtype, tmp_path):
    state, fresh = small().to(dtype).state_dict(), small()
    torch.save(state, tmp_path / "a.pt")
    types = f"{dtype} to float32".removeprefix("torch.")
    report = match(read(tmp_path / "a.pt"), fresh)
    assert report.converted == {types: 8}
    assert str(report) == f"9 tensors, 8 converted from {types}"
    assert all(
        p.dtype == torch.float32 and torch.equal(p, state[n].float()) for n, p in fresh.named_parameters()
    )


def test_whole_numbers_are_not_taken_for_weights(tmp_path):
    state = small().state_dict()
    state["0.bias"] = state["0.bias"].to(torch.int8)
    assert "0.bias is torch.int8 in the file, torch.float32 in the model; give the model" in misfit(
        state, small(), tmp_path
    )


def tied():
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    module[2].weight = module[0].weight
    return module


def test_tied_parameters_stay_tied_and_must_agree(tmp_path):
    module, fresh = tied(), tied()
    save(tmp_path / "a.pt", module.state_dict(), {})
    assert match(read(tmp_path / "a.pt"), fresh).tensors == 4
    assert fresh[2].weight is fresh[0].weight
    assert same(fresh.state_dict(), module.state_dict())
    module[2].weight = nn.Parameter(module[2].weight + 1)
    assert "0.weight and 2.weight differ" in misfit(module.state_dict(), tied(), tmp_path)


# Whole or not at all.


def fails(*arguments, **options):
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_save_that_fails_half_way_leaves_the_old_file_and_nothing_else(call, tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    save(path, small().state_dict(), {"epoch": 1})
    old = path.read_bytes()
    monkeypatch.setattr(os, call, fails)
    with pytest.raises(LandscapeError, match=r"a\.pt could not be written: Input/output error") as caught:
        save(path, small().state_dict(), {"epoch": 2})
    assert caught.value.exit_code == 1
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.pt"
    save(path, small().state_dict(), {"epoch": 1})
    old = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(LandscapeError, match=r"a\.pt could not be written: File too large"):
            save(path, lenet(width=1).state_dict(), {"epoch": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_save_reaches_the_disk_before_and_after_the_renaming(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    save(tmp_path / "a.pt", small().state_dict(), {})
    assert synced == [(tmp_path / "a.pt").stat().st_ino, tmp_path.stat().st_ino]


def test_an_error_or_an_interrupt_of_the_writer_leaves_nothing(tmp_path):
    def write_half(error):
        with atomic(tmp_path / "a.h5") as temporary:
            temporary.write_text("half")
            raise error

    for error in (KeyError, KeyboardInterrupt):
        with pytest.raises(error):
            write_half(error)
    assert not list(tmp_path.iterdir())


def test_a_save_follows_links_and_keeps_to_the_usual_permissions(tmp_path):
    (tmp_path / "b.pt").symlink_to("a.pt")
    save(tmp_path / "b.pt", small().state_dict(), {})
    assert (tmp_path / "b.pt").is_symlink()
    (tmp_path / "c").touch()
    assert (tmp_path / "a.pt").stat().st_mode == (tmp_path / "c").stat().st_mode


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("none/a.pt", "there is no folder"),
        ("folder", "is a folder or a device"),
        ("pipe", "is a folder or a device"),
    ],
)
def test_a_place_that_cannot_be_written_is_named(name, named, tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LandscapeError, match=f"{name} .*{named}"):
        save(tmp_path / name, small().state_dict(), {})
    assert sorted(tmp_path.iterdir()) == [tmp_path / "folder", tmp_path / "pipe"]
