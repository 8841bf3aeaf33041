"""Every format is told by its content; what safetensors and torch.distributed wrote is read bit for bit."""

import gc
import io
import itertools
import json
import os
import pickle
import shutil
import tarfile
import time
import tracemalloc
import warnings
import weakref
import zipfile
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorProperties
from torch.distributed.checkpoint.planner import TensorWriteData, WriteItem, WriteItemType

from landscape import registry
from landscape.checkpoints import distributed, find, folders, safe, trusted
from landscape.checkpoints.content import Lazy, Stub
from landscape.checkpoints.guess import FAMILIES, guess, outline
from landscape.checkpoints.read import read as checkpoint
from landscape.checkpoints.sniff import opened, sniff, sniff_folder
from landscape.checkpoints.summary import summary
from landscape.checkpoints.write import save
from landscape.errors import CheckpointError, InputError

FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def bits(tensor):
    """All that a tensor is: 0.0 and -0.0 differ, a NaN is itself."""
    return tensor.dtype, tuple(tensor.shape), tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


def same(tree, state):
    return tree.keys() == state.keys() and all(bits(tree[n].tensor()) == bits(t) for n, t in state.items())


def message(function, path):
    """The one line that is said about what is not taken."""
    with pytest.raises(CheckpointError) as caught:
        function(path)
    text = str(caught.value)
    assert str(path) in text
    assert text.isprintable()
    assert len(text) < 500 + len(str(path))
    return text


def kind(path):
    return sniff(opened(path), path)


def read(path):
    return safe.read(opened(path), path)


def written(path, data):
    path.write_bytes(data)
    return path


# What a file is.

STATE = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.tensor([1.5, -0.0])}


def torch_saved(content=STATE, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def scripted():
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def exported():
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), buffer)
    return buffer.getvalue()


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("_slash_", "/").replace("_dot_", "."), data)
    return buffer.getvalue()


KINDS = {
    "torch": torch_saved(),
    **{
        f"legacy, protocol {protocol}": torch_saved(
            _use_new_zipfile_serialization=False, pickle_protocol=protocol
        )
        for protocol in range(2, 6)
    },
    **{f"pickle, protocol {protocol}": pickle.dumps(STATE, protocol) for protocol in range(6)},
    "pickle of an ordered dict": pickle.dumps(OrderedDict(STATE), 0),
    "safetensors": safetensors.torch.save(STATE),
    "torchscript": scripted(),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_checkpoint_is_told_by_its_content(name, tmp_path):
    assert kind(written(tmp_path / "weights.txt", KINDS[name])) == name.partition(",")[0].partition(" ")[0]


def test_an_exported_program_is_told_by_its_content(tmp_path):
    assert kind(written(tmp_path / "a.pt2", exported())) == "export"


@pytest.mark.parametrize("length", [60, 0x280, 0x380, 0x480, 0x580, 0x4B50])
def test_no_header_length_makes_safetensors_look_like_another_format(length, tmp_path):
    # 60 is "<", 0x280 begins as a pickle does, 0x4B50 as a zip archive.
    header = b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'.ljust(length)
    path = written(tmp_path / "a", length.to_bytes(8, "little") + header)
    assert kind(path) == "safetensors"
    assert list(read(path).tree) == ["a"]


def of_tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("sys_info"))
    return buffer.getvalue()


def of_npz():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(2))
    return buffer.getvalue()


OTHERS = {
    "is empty": b"",
    "web page": b"\xef\xbb\xbf\n<!DOCTYPE html>",
    "git lfs pull": b"version https://git-lfs.github.com/spec/v1\n",
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(90),
    "NumPy array": b"\x93NUMPY\x01\x00",
    "NumPy archive": of_npz(),
    "GGUF": b"GGUF\x03\0\0\0",
    "tar archive": of_tar(),
    "unpack it": b"\x1f\x8b\x08\0",
    "JSON text": b'{"epoch": 3}',
    "give its folder": b'{\n "metadata": {"total_size": 1}, "weight_map": {}}',
    "all zeros": bytes(2000),
    "safetensors file cut short": KINDS["safetensors"][:40],
    "cut short: after": torch_saved()[:700],
    "an empty or a split zip": zipped(),
    r"none of torch.save: unpack it, and give a file in it (a/last.ckpt": zipped(a_slash_last_dot_ckpt=b""),
    "Keras": zipped(model_dot_weights_dot_h5=b""),
    "several archives one after another": torch_saved() + torch_saved(),
    "it begins with b'hello": b"hello world",
}


@pytest.mark.parametrize("said", OTHERS)
def test_what_is_no_checkpoint_is_said(said, tmp_path):
    assert said in message(kind, written(tmp_path / "model.safetensors", OTHERS[said]))


def test_what_is_no_file_is_said(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, said in {
        tmp_path: "is a folder",
        tmp_path / "none": "there is no file",
        tmp_path / "pipe": "a device or a pipe",
        Path("/dev/zero"): "a device or a pipe",
        tmp_path / ("x" * 300): "File name too long",
    }.items():
        assert said in message(opened, path)


def test_a_file_stays_open_as_long_as_a_tensor_is_to_be_read_and_closes_without_a_word(tmp_path):
    path = written(tmp_path / "a", KINDS["safetensors"])
    file = opened(path)
    weight, still_there = safe.read(file, path).tree["weight"], weakref.ref(file)
    path.unlink()
    del file
    assert bits(weight.tensor()) == bits(STATE["weight"])
    assert not still_there().closed
    del weight
    gc.collect()
    assert still_there() is None


@FUZZ
@given(
    st.binary(max_size=40)
    | st.builds(
        bytes.__add__,
        st.sampled_from([data[:9] for data in (*KINDS.values(), *OTHERS.values())]),
        st.binary(max_size=40),
    )
)
def test_any_bytes_are_of_a_kind_or_an_error(tmp_path, data):
    try:
        told = kind(written(tmp_path / "a", data))
    except CheckpointError as error:
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert told in ("torch", "legacy", "pickle", "safetensors", "torchscript", "export")


# safetensors.


def of_all_dtypes():
    """A tensor of every type that both libraries know, of random bits."""
    rng = np.random.default_rng(0)
    state = {}
    for name, dtype in safe.DTYPES.items():
        raw = torch.from_numpy(rng.integers(0, 256, 6 * dtype.itemsize, dtype=np.uint8))
        raw = raw % 2 if dtype == torch.bool else raw
        state[name] = raw.view(dtype).view(2, 3)
    return state


def test_every_type_of_number_is_read_bit_for_bit(tmp_path):
    state = of_all_dtypes()
    state |= {"scalar": torch.tensor(-0.0), "none": torch.empty(0, 3), "nan": torch.tensor([float("nan")])}
    safetensors.torch.save_file(state, tmp_path / "a.safetensors", {"epoch": "3", "größe": "\n"})
    content = read(tmp_path / "a.safetensors")
    assert same(content.tree, state)
    assert same(content.tree, safetensors.torch.load_file(tmp_path / "a.safetensors"))
    assert (content.format, content.metadata) == ("safetensors", {"epoch": "3", "größe": "\n"})
    assert content.notes == ("the format has no checksums",)


def test_tied_weights_that_are_saved_once_are_read_under_both_names(tmp_path):
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    safetensors.torch.save_model(module, str(tmp_path / "a"))
    content = read(tmp_path / "a")
    assert same(content.tree, module.state_dict())
    assert "tied when it was saved: 1.weight" in content.notes


def file_of(header, numbers=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def entry(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


BAD = {
    "would begin with a header of": (1).to_bytes(8, "little") + b"{}" + bytes(8),
    "it begins with no {": file_of(b'[{"a": 1}]'),
    "no JSON object": file_of(b'{"a": '),
    "invalid start byte": file_of(b'{"\xff": 1}'),
    "surrogates": file_of(b'{"\\ud800": 1}'),
    "NaN is no JSON": file_of(b'{"a": NaN}'),
    "recursion": file_of(b'{"a":' + b"[" * 100_000),
    "comes twice": file_of(b'{"__metadata__":{"a":"1","a":"2"}}'),
    "does not map texts to texts": file_of({"__metadata__": {"a": 1}}),
    "not described by": file_of({"a": entry(extra=1)}, bytes(8)),
    "b is not described by": file_of({"b": [1]}, bytes(8)),
    "is of type F4": file_of({"a": entry("F4")}, bytes(8)),
    "is of type ['F32']": file_of({"a": entry(["F32"])}, bytes(8)),
    "a place that cannot be": file_of({"a": entry(shape=[True, 2])}, bytes(8)),
    "a shape or a place": file_of({"a": entry(shape=[-2], offsets=[8, 0])}, bytes(8)),
    "a shape or a place that": file_of({"a": entry(shape=[2.0])}, bytes(8)),
    "a has a shape or": file_of({"a": entry(offsets=[0, 8, 8])}, bytes(8)),
    "a has a shape": file_of({"a": entry(shape=[1] * 65 + [2])}, bytes(8)),
    "has 4 bytes; F32 of shape (2,) has 8": file_of({"a": entry(offsets=[0, 4])}, bytes(4)),
    "of shape (1099511627776": file_of({"a": entry(shape=[2**40, 2**40])}, bytes(8)),
    "larger than any can be": file_of({"a": entry(shape=[0, 2**61, 2**61], offsets=[0, 0])}),
    "begins at byte 4, the tensor before it ends at 0": file_of({"a": entry(offsets=[4, 12])}, bytes(12)),
    "b begins at byte 4, the tensor before it ends at 8": file_of(
        {"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)
    ),
    "its tensors have 8 bytes, and 12 follow the header": file_of({"a": entry()}, bytes(12)),
    "its tensors have 8 bytes, and 4 follow": file_of({"a": entry()}, bytes(4)),
}


@pytest.mark.parametrize("said", BAD)
def test_a_header_that_does_not_agree_with_itself_is_an_error(said, tmp_path):
    assert said in message(read, written(tmp_path / "a", BAD[said]))


def test_a_value_that_is_neither_true_nor_false_is_refused_when_it_is_read(tmp_path):
    path = written(tmp_path / "a", file_of({"flag": entry("BOOL", [2], [0, 2])}, b"\1\2"))
    assert "flag has values that are neither true nor false" in message(
        lambda path: read(path).tree["flag"].tensor(), path
    )


def test_a_safetensors_file_cut_at_any_place_is_refused(tmp_path):
    data = KINDS["safetensors"]
    for length in range(len(data)):
        message(read, written(tmp_path / "a", data[:length]))
    message(read, written(tmp_path / "a", data + b"\0"))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 2**65)
    | st.sampled_from(["F32", "U8", "BOOL", "C64", "a", 0.5]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
NUMBERS = st.lists(st.integers(0, 9), max_size=3)
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["U8", "I8", "F16", "F32", "F64", "C64", "BOOL", "F4"]) | VALUES,
        "shape": NUMBERS | VALUES,
        "data_offsets": st.tuples(st.integers(0, 16), st.integers(0, 16)).map(sorted) | VALUES,
    },
    optional={"more": VALUES},
)
HEADERS = st.dictionaries(st.sampled_from(["a", "b", "__metadata__", ""]), ENTRIES | VALUES, max_size=3)
PARTS = st.lists(st.tuples(st.sampled_from(sorted({*safe.DTYPES} - {"BOOL"})), NUMBERS), max_size=4)
WHOLE = safetensors.torch.save({"a": torch.arange(4.0), "b": torch.ones(3, dtype=torch.uint8)}, {"c": "d"})


def changed(place, byte):
    return WHOLE[: place % len(WHOLE)] + bytes([byte]) + WHOLE[place % len(WHOLE) + 1 :]


def laid_out(parts, spare, turned):
    """A file as it should be, but for spare bytes behind its tensors; the names may be in another order."""
    header, numbers = {}, b""
    for dtype, shape in parts:
        size = safe.DTYPES[dtype].itemsize * int(np.prod(shape))
        header[str(len(header))] = entry(dtype, shape, (len(numbers), len(numbers) + size))
        numbers += bytes((len(numbers) + i) * 37 % 256 for i in range(size))
    return file_of(dict(sorted(header.items(), reverse=turned)), numbers + bytes(spare))


@settings(FUZZ, max_examples=600)
@given(
    st.builds(changed, st.integers(0, 10**6), st.integers(0, 255))
    | st.builds(file_of, HEADERS, st.binary(max_size=16).map(lambda data: bytes(len(data))))
    | st.builds(laid_out, PARTS, st.sampled_from([0, 0, 0, 1]), st.booleans())
)
def test_any_header_is_an_error_or_gives_what_the_library_of_the_format_gives(tmp_path, data):
    path = written(tmp_path / "a", data)
    try:
        tree = {name: lazy.tensor() for name, lazy in read(path).tree.items()}
    except CheckpointError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        theirs = safetensors.torch.load_file(path)
        assert {n: bits(t) for n, t in tree.items()} == {n: bits(t) for n, t in theirs.items()}


# Folders.

WEIGHTS = {
    f"layer{n}.weight": torch.randn(n + 1, 3, generator=torch.Generator().manual_seed(n)) for n in range(5)
}


def sharded(folder, save=safetensors.torch.save_file, ending="safetensors", stem="model", shards=3):
    """The weights in several files, with their index."""
    folder.mkdir()
    weight_map = {}
    for shard in range(shards):
        name = f"{stem}-{shard + 1:05}-of-{shards:05}.{ending}"
        part = {n: WEIGHTS[n] for n in list(WEIGHTS)[shard::shards]}
        save(part, folder / name)
        weight_map |= dict.fromkeys(part, name)
    index = {"metadata": {"total_size": 180}, "weight_map": weight_map}
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps(index))
    return folder


def legacy(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("options", "format"),
    [
        ({}, "safetensors in 3 parts"),
        ({"save": torch.save, "ending": "bin", "stem": "pytorch_model"}, "torch in 3 parts"),
        ({"save": legacy, "ending": "bin", "shards": 1}, "torch before 1.6 in 1 parts"),
        ({"stem": "diffusion_pytorch_model"}, "safetensors in 3 parts"),
    ],
)
def test_a_folder_of_shards_is_read_as_one(options, format, tmp_path):
    folder = sharded(tmp_path / "a", **options)
    assert sniff_folder(folder) == "sharded"
    content = folders.read(folder)
    assert same(content.tree, WEIGHTS)
    assert (content.format, content.metadata) == (format, {"total_size": 180})
    assert sorted(folders.files(folder)) == sorted(folder.iterdir())


@pytest.mark.parametrize(
    ("name", "save"), [("model.safetensors", safetensors.torch.save_file), ("pytorch_model.bin", torch.save)]
)
def test_a_folder_with_the_weights_in_one_file_is_read(name, save, tmp_path):
    save(WEIGHTS, tmp_path / name)
    torch.save({"step": 3}, tmp_path / "optimizer.bin")
    assert sniff_folder(tmp_path) == "sharded"
    assert same(folders.read(tmp_path).tree, WEIGHTS)
    assert folders.files(tmp_path) == [tmp_path / name]


def test_safetensors_come_before_pickles_and_the_others_are_told(tmp_path):
    safetensors.torch.save_file(WEIGHTS, tmp_path / "model.safetensors")
    torch.save({}, tmp_path / "pytorch_model.bin")
    content = folders.read(tmp_path)
    assert same(content.tree, WEIGHTS)
    assert "not read: pytorch_model.bin" in content.notes
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    said = message(folders.read, tmp_path)
    assert "has model.safetensors, model.safetensors.index.json, each a whole checkpoint; leave one" in said


def test_the_links_of_a_hugging_face_cache_are_followed(tmp_path):
    folder = sharded(tmp_path / "blobs")
    snapshot = tmp_path / "snapshots" / "0a1b2c"
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(folder.iterdir())):
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
        file.rename(folder / str(number))
    assert same(folders.read(snapshot).tree, WEIGHTS)


def index_with(**changes):
    """An index in which the first tensor is elsewhere."""

    def change(folder):
        path = folder / "model.safetensors.index.json"
        index = json.loads(path.read_text())
        index["weight_map"] |= changes
        path.write_text(json.dumps(index))

    return change


def index_of(text):
    return lambda folder: (folder / "model.safetensors.index.json").write_text(text)


def link_out(folder):
    (folder / "model-00001-of-00003.safetensors").rename(folder.parent / "elsewhere")
    (folder / "model-00001-of-00003.safetensors").symlink_to("../elsewhere")


def without(name):
    return lambda folder: (folder / name).unlink()


BROKEN = {
    "names '../elsewhere', no file of its own": index_with(**{"layer0.weight": "../elsewhere"}),
    "names '/etc/passwd', no file": index_with(**{"layer0.weight": "/etc/passwd"}),
    "names '..', no file": index_with(**{"layer0.weight": ".."}),
    "names '', no file": index_with(**{"layer0.weight": ""}),
    "is a link that leads out of it": link_out,
    "lacks model-00002-of-00003.safetensors": without("model-00002-of-00003.safetensors"),
    "lacks none.safetensors": index_with(**{"layer9.weight": "none.safetensors"}),
    "layer9.weight is not in model-00001-of-00003.safetensors, where": index_with(
        **{"layer9.weight": "model-00001-of-00003.safetensors"}
    ),
    "no weight_map": index_of('{"metadata": {}}'),
    "no weight_map from names": index_of('{"weight_map": {"a": 1}}'),
    "no weight_map from": index_of('{"weight_map": {}}'),
    "comes twice": index_of('{"weight_map": {"a": "b", "a": "c"}}'),
    "no JSON object": index_of("<html>"),
    "holds code (torchscript)": lambda folder: written(
        folder / "model-00001-of-00003.safetensors", scripted()
    ),
    "holds no mapping from names to tensors": lambda folder: torch.save(
        [], folder / "model-00001-of-00003.safetensors"
    ),
}


@pytest.mark.parametrize("said", BROKEN)
def test_a_folder_whose_index_and_files_do_not_agree_is_an_error(said, tmp_path):
    folder = sharded(tmp_path / "a")
    BROKEN[said](folder)
    assert said in message(folders.read, folder)


def test_what_an_index_leaves_out_is_told(tmp_path):
    folder = sharded(tmp_path / "a")
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    del index["weight_map"]["layer0.weight"]
    path.write_text(json.dumps(index))
    content = folders.read(folder)
    assert "layer0.weight" not in content.tree
    assert "not in the index, so not used: layer0.weight" in content.notes


def test_a_folder_that_is_no_checkpoint_says_what_it_has(tmp_path):
    assert "a folder without a checkpoint; name the file" in message(sniff_folder, tmp_path)
    (tmp_path / "version_0").mkdir()
    assert "it has the folders version_0; name" in message(sniff_folder, tmp_path)
    (tmp_path / "last.ckpt").touch()
    (tmp_path / "best.ckpt").touch()
    assert "name the checkpoint in it: best.ckpt, last.ckpt" in message(sniff_folder, tmp_path)
    (tmp_path / "__0_0.distcp").touch()
    assert "no .metadata: its writer did not finish" in message(sniff_folder, tmp_path)
    assert "cannot be listed" in message(sniff_folder, tmp_path / "none")


# torch.distributed.


def save_distributed(state, folder, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is one process
        dcp.save(state, storage_writer=dcp.FileSystemWriter(folder), no_dist=True, **options)
    return folder


def load_distributed(state, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.load(state, checkpoint_id=folder, no_dist=True)
    return state


class Cut(dcp.DefaultSavePlanner):
    """Writes each tensor in boxes, as several processes would, each in a piece of its own."""

    def __init__(self, cuts):
        super().__init__()
        self.cuts = cuts

    def boxes(self, name, shape):
        cuts = self.cuts.get(name, [()] * len(shape))
        edges = [(0, *cut, n) for cut, n in zip(cuts, shape, strict=True)]
        for spans in itertools.product(*(itertools.pairwise(edge) for edge in edges)):
            yield torch.Size(a for a, _ in spans), torch.Size(b - a for a, b in spans)

    def create_local_plan(self):
        plan = super().create_local_plan()
        items = []
        for item in plan.items:
            if item.type == WriteItemType.BYTE_IO:
                items.append(item)
                continue
            size, name = item.tensor_data.size, item.index.fqn
            for number, (offsets, sizes) in enumerate(self.boxes(name, size)):
                chunk = ChunkStorageMetadata(offsets, sizes)
                told = TensorWriteData(chunk, TensorProperties(item.tensor_data.properties.dtype), size)
                index = MetadataIndex(name, offsets, number)
                items.append(WriteItem(index, WriteItemType.SHARD, tensor_data=told))
        return replace(plan, items=items)

    def resolve_data(self, item):
        if item.type == WriteItemType.BYTE_IO:
            return super().resolve_data(item)
        chunk, tensor = item.tensor_data.chunk, self.state_dict[item.index.fqn]
        return tensor[tuple(slice(o, o + n) for o, n in zip(chunk.offsets, chunk.sizes, strict=True))]


def test_a_distributed_checkpoint_is_read_bit_for_bit_as_it_was_nested(tmp_path):
    inner = of_all_dtypes() | {"scalar": torch.tensor(3), "none": torch.empty(0, 2), "a.b.c": torch.ones(2)}
    state = {"model": inner, "epoch": 3, "optimizer": {"state": {0: {"exp": torch.ones(2)}}, "lr": [0.1]}}
    folder = save_distributed(state, tmp_path / "a")
    assert sniff_folder(folder) == "distributed"
    content = distributed.read(folder)
    assert same(content.tree["model"], inner)
    assert content.tree["epoch"] == 3
    assert same(content.tree["optimizer"]["state"]["0"], {"exp": torch.ones(2)})
    assert (content.format, content.ignored, content.notes) == ("torch.distributed", (), ())
    assert distributed.files(folder) == [folder / ".metadata", folder / "__0_0.distcp"]


def test_pieces_are_put_together_as_torch_puts_them_together(tmp_path):
    generator = torch.Generator().manual_seed(0)
    shapes = {"rows": (6, 5), "grid": (6, 5, 4), "whole": (3,), "half": (7,)}
    state = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    state["half"] = state["half"].half()
    cuts = {"rows": [(1, 4), ()], "grid": [(3,), (1, 2), (2,)], "half": [(2, 5)]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer = dcp.FileSystemWriter(tmp_path / "a", single_file_per_rank=False, thread_count=1)
        dcp.save(state, storage_writer=writer, planner=Cut(cuts), no_dist=True)
    assert same(distributed.read(tmp_path / "a").tree, state)
    empty = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    assert same(distributed.read(tmp_path / "a").tree, load_distributed(empty, tmp_path / "a"))
    assert len(distributed.files(tmp_path / "a")) == len(list((tmp_path / "a").iterdir())) > 10


@pytest.mark.parametrize(
    ("size", "boxes", "fills"),
    [
        ((), [((), ())], True),
        ((), [], False),
        ((4,), [((0,), (2,)), ((2,), (2,))], True),
        ((4,), [((0,), (2,)), ((1,), (2,))], False),
        ((4,), [((0,), (2,)), ((0,), (2,))], False),
        ((4,), [((0,), (2,)), ((2,), (3,))], False),
        ((4,), [((0,), (3,)), ((2,), (2,)), ((2,), (0,))], False),
        # A pinwheel, that no straight cut divides.
        (
            (3, 3),
            [((0, 0), (1, 2)), ((0, 2), (2, 1)), ((2, 1), (1, 2)), ((1, 0), (2, 1)), ((1, 1), (1, 1))],
            True,
        ),
        (
            (3, 3),
            [((0, 0), (1, 2)), ((0, 2), (2, 1)), ((2, 1), (1, 2)), ((1, 0), (2, 1)), ((0, 0), (1, 1))],
            False,
        ),
    ],
)
def test_boxes_fill_a_tensor_or_do_not(size, boxes, fills):
    assert distributed.tiles(size, boxes) is fills


@FUZZ
@given(st.lists(st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2), max_size=4))
def test_boxes_fill_a_tensor_exactly_where_each_number_is_in_one(pairs):
    counted = torch.zeros(8, 8, dtype=torch.int64)
    for offsets, sizes in pairs:
        counted[offsets[0] : offsets[0] + sizes[0], offsets[1] : offsets[1] + sizes[1]] += 1
    wanted = torch.zeros_like(counted)
    wanted[:2, :2] = 1
    assert distributed.tiles((2, 2), pairs) == torch.equal(counted, wanted)


def metadata_with(change):
    """A folder in which .metadata is another, as torch's own classes pickle it."""

    def broken(folder):
        metadata = pickle.loads((folder / ".metadata").read_bytes())
        change(metadata)
        (folder / ".metadata").write_bytes(pickle.dumps(metadata))

    return broken


def stored(**changes):
    def change(metadata):
        index = next(index for index in metadata.storage_data if index.fqn == "a")
        metadata.storage_data[index] = replace(metadata.storage_data[index], **changes)

    return metadata_with(change)


def described(**changes):
    def change(metadata):
        metadata.state_dict_metadata["a"] = replace(metadata.state_dict_metadata["a"], **changes)

    return metadata_with(change)


def forgotten(metadata):
    del metadata.storage_data[next(index for index in metadata.storage_data if index.fqn == "a")]


def moved(metadata):
    forgotten(metadata)
    metadata.storage_data[MetadataIndex("a", (1,))] = metadata.storage_data[MetadataIndex("b", (0,))]
    del metadata.storage_data[MetadataIndex("b", (0,))]
    del metadata.state_dict_metadata["b"]


def flipped(folder):
    data = bytearray((folder / "__0_0.distcp").read_bytes())
    data[data.index(torch.arange(8.0).numpy().tobytes()) + 9] ^= 1
    (folder / "__0_0.distcp").write_bytes(data)


def chunk(offsets, sizes):
    return ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes))


WRONG = {
    "names '../a', no file": stored(relative_path="../a"),
    "lacks b.distcp": stored(relative_path="b.distcp"),
    "share bytes of": stored(offset=0, length=10**4),
    "are to be read from byte": stored(offset=10**9),
    "a place for a that cannot be": stored(offset=-1),
    "compressed or encrypted (zstd)": stored(transform_descriptors=["zstd"]),
    "does not say where all pieces of a are": metadata_with(forgotten),
    "do not fill it, each number": described(chunks=[chunk([1], [8])], size=torch.Size([9])),
    "not say where a is": metadata_with(moved),
    "do not fill it": described(size=torch.Size([9])),
    "do not fill it, each": described(chunks=[]),
    "of other dimensions": described(chunks=[chunk([0, 0], [8, 1])]),
    "not the tensor that .metadata describes": described(chunks=[chunk([0], [7])], size=torch.Size([7])),
    "not the tensor that": described(properties=TensorProperties(torch.float16)),
    "is not as it was saved": flipped,
    "none of torch.distributed.checkpoint": lambda folder: written(folder / ".metadata", pickle.dumps({})),
    "damaged": lambda folder: written(folder / ".metadata", b"\x80\x04N"),
    "both a value and a dict": metadata_with(
        lambda metadata: metadata.planner_data.update(a=("b", "c"), b=("b",))
    ),
}


@pytest.mark.parametrize("said", WRONG)
def test_a_distributed_checkpoint_that_does_not_agree_with_itself_is_an_error(said, tmp_path):
    folder = save_distributed({"b": torch.ones(2), "a": torch.arange(8.0)}, tmp_path / "a")
    WRONG[said](folder)
    assert said in message(distributed.read, folder)


def test_nothing_in_the_metadata_of_a_distributed_checkpoint_is_run(tmp_path):
    folder = save_distributed({"a": torch.ones(2)}, tmp_path / "a")
    evil = b"\x80\x02cposix\nsystem\nX" + len(f"touch {tmp_path}/sentinel").to_bytes(4, "little")
    (folder / ".metadata").write_bytes(evil + f"touch {tmp_path}/sentinel".encode() + b"\x85R.")
    message(distributed.read, folder)
    assert not (tmp_path / "sentinel").exists()


@settings(FUZZ, max_examples=300)
@given(st.integers(0, 10**6), st.integers(0, 255))
def test_a_changed_byte_in_a_distributed_checkpoint_is_an_error_or_changes_no_tensor(tmp_path, place, byte):
    folder, state = tmp_path / "a", {"m": {"b": torch.ones(2), "a": torch.arange(8.0)}, "epoch": 3}
    if not folder.exists():
        save_distributed(state, folder)
        (tmp_path / "kept").write_bytes((folder / ".metadata").read_bytes())
    data = bytearray((tmp_path / "kept").read_bytes())
    data[place % len(data)] = byte
    (folder / ".metadata").write_bytes(data)
    try:
        tree = distributed.read(folder).tree
        tensors = [lazy.tensor() for lazy in leaves(tree)]
    except CheckpointError as error:
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert all(any(bits(t) == bits(known) for known in state["m"].values()) for t in tensors)


def leaves(tree):
    for value in tree.values():
        if isinstance(value, dict):
            yield from leaves(value)
        elif isinstance(value, Lazy):
            yield value
        else:
            assert value is None or isinstance(value, int | str | Stub)


# What architecture it looks like.


def tree(**parts):
    """A module of modules by their names, without the "_" that an argument needs before a number."""
    named = {name.removeprefix("_"): part for name, part in parts.items()}
    return nn.ModuleDict({n: tree(**p) if isinstance(p, dict) else p for n, p in named.items()})


def sequence(*parts, start=0):
    return {f"_{place}": part for place, part in enumerate(parts, start)}


def conv(inputs, outputs, size=3, groups=1):
    return nn.Conv2d(inputs, outputs, size, groups=groups, bias=False)


def resnet(blocks, *, bottleneck=False, width=64, stem=3, head="linear", classes=10, before=False, groups=1):
    """ResNets in the names of torchvision (head "fc") or kuangliu's; before: with pre-activation."""
    channels, parts = width, {"conv1": conv(3, width, stem), "bn1": nn.BatchNorm2d(width)}
    for stage, number in enumerate(blocks):
        planes, made = width * 2**stage, []
        for _ in range(number):
            outputs = planes * (4 if bottleneck else 1)
            sizes = [(channels, planes, 1), (planes, planes, 3), (planes, outputs, 1)]
            if not bottleneck:
                sizes = [(channels, planes, 3), (planes, planes, 3)]
            block = {}
            for place, (a, b, size) in enumerate(sizes, 1):
                split = groups if place == 2 else 1
                block[f"conv{place}"] = conv(a, b, size, split)
                block[f"bn{place}"] = nn.BatchNorm2d(a if before else b)
            if channels != outputs:
                block["downsample" if head == "fc" else "shortcut"] = sequence(conv(channels, outputs, 1))
            made.append(block)
            channels = outputs
        parts[f"layer{stage + 1}"] = sequence(*made)
    if before:
        del parts["bn1"]
    return tree(**parts, **{head: nn.Linear(channels, classes)})


def wide_resnet(depth, width, classes=10, sub_block=False):
    def group(inputs, outputs):
        sizes = [inputs, *[outputs] * ((depth - 4) // 6)]
        return {
            "layer": sequence(
                *(
                    {"conv1": conv(*pair), "bn1": nn.BatchNorm2d(pair[0])}
                    for pair in itertools.pairwise(sizes)
                )
            )
        }

    sizes = [16, 16 * width, 32 * width, 64 * width]
    groups = {f"block{n}": group(*pair) for n, pair in enumerate(itertools.pairwise(sizes), 1)}
    extra = {"sub_block1": group(16, 16 * width)} if sub_block else {}
    return tree(conv1=conv(3, 16), **groups, **extra, fc=nn.Linear(sizes[-1], classes))


def deepmind_wide_resnet(depth, width, classes=10):
    sizes = [16, 16 * width, 32 * width, 64 * width]
    groups = []
    for inputs, outputs in itertools.pairwise(sizes):
        pairs = itertools.pairwise([inputs, *[outputs] * ((depth - 4) // 6)])
        groups.append(
            {
                "block": sequence(
                    *({"conv_0": conv(*pair), "batchnorm_0": nn.BatchNorm2d(pair[0])} for pair in pairs)
                )
            }
        )
    return tree(init_conv=conv(3, 16), layer=sequence(*groups), logits=nn.Linear(sizes[-1], classes))


def deepmind_preact(classes=10):
    stages = {
        f"layer_{n}": sequence(*[{"conv_2d_1": conv(8, 8), "conv_2d_2": conv(8, 8)}] * 2) for n in range(4)
    }
    return tree(conv_2d=conv(3, 8), **stages, logits=nn.Linear(8, classes))


def vgg(cfg, *, linear=1, norm=True, classes=10, size=3):
    layers, channels = [], 3
    for outputs in cfg:
        if not outputs:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(channels, outputs, size), *[nn.BatchNorm2d(outputs)] * norm, nn.ReLU()]
        size, channels = 3, outputs
    sizes = itertools.pairwise([channels, *[40] * (linear - 1), classes])
    heads = [part for pair in sizes for part in (nn.Linear(*pair), nn.ReLU(), nn.Dropout())]
    classifier = heads[0] if linear == 1 else sequence(*heads)
    return tree(features=sequence(*layers), classifier=classifier)


def densenet(blocks, growth, classes):
    def block(number):
        return {
            f"denselayer{n + 1}": {"conv1": conv(8, 4 * growth, 1), "conv2": conv(4 * growth, growth)}
            for n in range(number)
        }

    parts = {f"denseblock{n}": block(number) for n, number in enumerate(blocks, 1)}
    return tree(features={"conv0": conv(3, 64, 7), **parts}, classifier=nn.Linear(8, classes))


def kuangliu_densenet(blocks, growth):
    parts = {
        f"dense{n}": sequence(
            *[{"conv1": conv(8, 4 * growth, 1), "conv2": conv(4 * growth, growth)}] * number
        )
        for n, number in enumerate(blocks, 1)
    }
    return tree(conv1=conv(3, 8), **parts, linear=nn.Linear(8, 10))


def vit(dim, depth, patch, tokens, classes):
    blocks = [
        {"attn": {"qkv": nn.Linear(dim, 3 * dim)}, "mlp": {"fc1": nn.Linear(dim, 4 * dim)}}
        for _ in range(depth)
    ]
    net = tree(
        patch_embed={"proj": nn.Conv2d(3, dim, patch)}, blocks=sequence(*blocks), head=nn.Linear(dim, classes)
    )
    net.pos_embed = nn.Parameter(torch.zeros(1, tokens, dim))
    return net


def torchvision_vit(dim, depth, patch, tokens):
    layers = {f"encoder_layer_{n}": {"self_attention": nn.MultiheadAttention(dim, 4)} for n in range(depth)}
    net = tree(
        conv_proj=nn.Conv2d(3, dim, patch), encoder={"layers": layers}, heads={"head": nn.Linear(dim, 1000)}
    )
    net["encoder"].pos_embedding = nn.Parameter(torch.zeros(1, tokens, dim))
    return net


def hugging_face_vit(dim, depth):
    layers = [{"attention": {"attention": {"query": nn.Linear(dim, dim)}}} for _ in range(depth)]
    embeddings = {"patch_embeddings": {"projection": nn.Conv2d(3, dim, 16)}}
    net = tree(
        vit={"embeddings": embeddings, "encoder": {"layer": sequence(*layers)}}, classifier=nn.Linear(dim, 7)
    )
    net["vit"]["embeddings"].position_embeddings = nn.Parameter(torch.zeros(1, 197, dim))
    return net


def convnext(depths, dim, names):
    stages = [[dim * 2**n] * number for n, number in enumerate(depths)]
    if names == "timm":
        blocks = [{"blocks": sequence(*({"conv_dw": conv(c, c, 7, c)} for c in stage))} for stage in stages]
        return tree(
            stem=sequence(nn.Conv2d(3, dim, 4)), stages=sequence(*blocks), head={"fc": nn.Linear(8, 10)}
        )
    if names == "authors":
        blocks = [sequence(*({"dwconv": conv(c, c, 7, c)} for c in stage)) for stage in stages]
        stems = sequence(sequence(nn.Conv2d(3, dim, 4)))
        return tree(downsample_layers=stems, stages=sequence(*blocks), head=nn.Linear(8, 10))
    features = [sequence(nn.Conv2d(3, dim, 4))]
    for stage in stages:
        features.append(sequence(*({"block": sequence(conv(c, c, 7, c))} for c in stage)))
        features.append(sequence(nn.LayerNorm(stage[0]), nn.Conv2d(stage[0], 2 * stage[0], 2)))
    return tree(features=sequence(*features[:-1]), classifier={"_2": nn.Linear(8, 10)})


def mobilenet():
    first = {"conv": sequence(sequence(conv(32, 32, 3, 32), nn.BatchNorm2d(32)), conv(32, 16, 1))}
    return tree(
        features=sequence(sequence(conv(3, 32), nn.BatchNorm2d(32)), first),
        classifier={"_1": nn.Linear(8, 5)},
    )


def kuangliu_mobilenet():
    block = {"conv1": conv(8, 8, 1), "conv2": conv(8, 8, 3, 8), "conv3": conv(8, 8, 1)}
    return tree(conv1=conv(3, 8), layers=sequence(block, block), linear=nn.Linear(8, 10))


def plain(*sizes, names="fc"):
    return tree(**{f"{names}{n}": nn.Linear(*pair) for n, pair in enumerate(itertools.pairwise(sizes), 1)})


def small_cnn():
    return tree(
        feature_extractor={f"conv{n}": conv(4, 4) for n in range(1, 5)},
        classifier={f"fc{n}": nn.Linear(9, 9) for n in range(1, 4)},
    )


VGG16 = (8, 8, 0, 16, 16, 0, 32, 32, 32, 0, 64, 64, 64, 0, 64, 64, 64, 0)
LOOKS = {
    "ResNet-18 (torchvision:resnet18 or timm:resnet18), 1000 classes": lambda: resnet(
        (2, 2, 2, 2), stem=7, head="fc", classes=1000
    ),
    "ResNet-34 (torchvision:resnet34 or timm:resnet34), 7 classes": lambda: resnet(
        (3, 4, 6, 3), stem=7, head="fc", classes=7
    ),
    "ResNet-50 (torchvision:resnet50 or timm:resnet50), 1000 classes": lambda: resnet(
        (3, 4, 6, 3), bottleneck=True, stem=7, head="fc", classes=1000
    ),
    "ResNet-101 (torchvision:resnet101 or timm:resnet101), 10 classes": lambda: resnet(
        (3, 4, 23, 3), bottleneck=True, stem=7, head="fc"
    ),
    "ResNet-152 (torchvision:resnet152 or timm:resnet152), 10 classes": lambda: resnet(
        (3, 8, 36, 3), bottleneck=True, stem=7, head="fc"
    ),
    "ResNet-18 in the names of kuangliu/pytorch-cifar with a 3 × 3 stem, width 64, 10 classes": lambda: (
        resnet((2, 2, 2, 2))
    ),
    "ResNet-18 with a 3 × 3 stem, width 32, 100 classes": lambda: resnet(
        (2, 2, 2, 2), width=32, head="fc", classes=100
    ),
    "ResNeXt-50 with a 7 × 7 stem, width 64, 10 classes": lambda: resnet(
        (3, 4, 6, 3), bottleneck=True, stem=7, head="fc", groups=32
    ),
    "ResNet-20 with a 3 × 3 stem, width 16, 10 classes": lambda: resnet((3, 3, 3), width=16),
    "PreActResNet-34 in the names of kuangliu/pytorch-cifar with a 3 × 3 stem, width 8, 10 classes": lambda: (
        resnet((3, 4, 6, 3), width=8, before=True)
    ),
    "PreActResNet-18 in the names of DeepMind's and RobustBench's, 10 classes": deepmind_preact,
    "WideResNet-28-10, 10 classes": lambda: wide_resnet(28, 10),
    "WideResNet-34-10, with a sub_block1 that does nothing (TRADES), 10 classes": lambda: wide_resnet(
        34, 10, sub_block=True
    ),
    "WideResNet-70-16 in the names of DeepMind's and RobustBench's, 100 classes": lambda: (
        deepmind_wide_resnet(70, 16, 100)
    ),
    "VGG-16 with BatchNorm and one linear layer, 10 classes": lambda: vgg(VGG16),
    "VGG-16 (torchvision:vgg16_bn), 1000 classes": lambda: vgg(VGG16, linear=3, classes=1000),
    "VGG-11 (torchvision:vgg11), 10 classes": lambda: vgg((8, 8, 0, 8, 8, 8, 8, 8, 8), linear=3, norm=False),
    "AlexNet (torchvision:alexnet), 10 classes": lambda: vgg((8, 8, 8, 8, 8), linear=3, norm=False, size=11),
    "DenseNet-121 (torchvision:densenet121), growth 32, 10 classes": lambda: densenet(
        (6, 12, 24, 16), 32, 10
    ),
    "DenseNet-169, growth 12, 10 classes": lambda: kuangliu_densenet((6, 12, 32, 32), 12),
    "ViT-B/16: depth 12, dim 768, patch 16, inputs of about 224 × 224 pixels, 1000 classes": lambda: vit(
        768, 12, 16, 197, 1000
    ),
    "ViT: depth 6, dim 128, patch 4, inputs of about 32 × 32 pixels, 10 classes": lambda: vit(
        128, 6, 4, 65, 10
    ),
    "ViT-L/32: depth 24, dim 1024, patch 32, inputs of about 224 × 224 pixels, 1000 classes": lambda: (
        torchvision_vit(1024, 24, 32, 50)
    ),
    "ViT-S/16: depth 12, dim 384, patch 16, inputs of about 224 × 224 pixels, 7 classes": lambda: (
        hugging_face_vit(384, 12)
    ),
    "ConvNeXt-tiny: depths (3, 3, 9, 3), dim 96, 10 classes": lambda: convnext((3, 3, 9, 3), 96, "timm"),
    "ConvNeXt-base: depths (3, 3, 27, 3), dim 128, 10 classes": lambda: convnext(
        (3, 3, 27, 3), 128, "authors"
    ),
    "ConvNeXt-small: depths (3, 3, 27, 3), dim 96, 10 classes": lambda: convnext(
        (3, 3, 27, 3), 96, "torchvision"
    ),
    "MobileNetV2 (torchvision:mobilenet_v2), 5 classes": mobilenet,
    "MobileNetV2 in the names of kuangliu/pytorch-cifar, 10 classes": kuangliu_mobilenet,
    "fully connected, 20 - 30 - 40 - 10, 10 classes": lambda: plain(20, 30, 40, 10),
    "SmallCNN of TRADES, 9 classes": small_cnn,
    "like a LeNet: 2 convolutions (1 - 32 - 64 channels) and 2 linear layers, 10 classes": lambda: tree(
        conv1=nn.Conv2d(1, 32, 3),
        conv2=nn.Conv2d(32, 64, 3),
        fc1=nn.Linear(9216, 128),
        fc2=nn.Linear(128, 10),
    ),
}


def shapes(module):
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("looks", LOOKS)
def test_an_architecture_is_told_by_its_names_and_shapes(looks):
    with torch.device("meta"):
        own = shapes(LOOKS[looks]())
    assert guess(own) == looks
    assert guess({f"module.{name}": shape for name, shape in own.items()}) == looks
    madry = {
        f"{part}.{name}": shape for part in ("m.model", "m.attacker.model") for name, shape in own.items()
    }
    assert guess({**madry, "m.normalizer.new_mean": (3, 1, 1)}) == looks


@pytest.mark.parametrize(
    ("spec", "classes"),
    [
        ("lenet:width=4", 10),
        ("lenet:width=16,classes=3,bias=false", 3),
        ("lenet5", 10),
        ("lenet_cifar:width=2", 10),
        ("linear:inputs=3072", 10),
        ("resnet18:width=16,classes=100", 100),
        ("vgg:width=8", 10),
    ],
)
def test_a_model_of_our_own_is_told_as_it_is_typed(spec, classes):
    own = shapes(registry.make("model", spec))
    assert guess(own) == f"{spec}, {classes} classes"
    assert guess({f"module.model.{name}": shape for name, shape in own.items()}) == guess(own)
    first = next(iter(own))
    other = guess({**own, first: (*own[first][:-1], own[first][-1] + 1)})
    assert other is None or spec.partition(":")[0] not in other or spec.startswith("linear")


def test_the_activation_of_a_fully_connected_net_is_not_claimed():
    own = shapes(registry.make("model", "mlp:inputs=20,hidden=9,layers=3,activation=gelu"))
    assert guess(own) == "mlp:inputs=20,hidden=9,layers=3, 10 classes (its activation is not in a file)"


MARKS = sorted({name for family in FAMILIES for name in family.marks})
ODD = ["weight", "1.weight", "fc.weight", "conv1.bias", "a.b.c", "", ".", "classifier.weight", "fc2.weight"]
NAMES = st.sampled_from([*MARKS, *ODD])


@FUZZ
@given(
    st.dictionaries(
        NAMES | st.text(max_size=5), st.lists(st.integers(0, 2**40), max_size=5).map(tuple), max_size=12
    )
)
def test_any_names_and_shapes_are_guessed_at_without_an_error(found):
    assert isinstance(guess(found), str | None)
    assert isinstance(outline(found), str)


def test_what_is_of_no_known_family_is_outlined():
    own = shapes(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv1d(4, 4, 3), nn.Linear(4, 4), nn.Linear(4, 12)))
    assert guess(own) is None
    assert outline(own) == "2 convolutions, 2 linear layers, the last with 12 outputs"


def test_a_file_of_many_odd_names_is_guessed_at_in_no_time(monkeypatch):
    monkeypatch.setattr(registry, "make", lambda *_: pytest.fail("a model of that size is built"))
    stages = {f"layer{n}.0.conv1.weight": (4, 4, 3, 3) for n in range(1, 20_000)}
    marks = ["conv1.weight", "layer1.0.conv2.weight", "layer2.0.bn1.weight"]
    start = time.process_time()
    assert guess({**dict.fromkeys(marks, (4, 4, 3, 3)), **stages}).startswith("ResNet-40000 ")
    assert guess({f"{n}.weight": (3, 3) for n in range(20_000)}).startswith("fully connected")
    assert time.process_time() - start < 10


# What is found in a file, and what becomes of the rest.


def weights_at(tree):
    return {w.place: w.average for w in find.find(tree)}


def test_moments_of_an_optimizer_are_no_averages():
    state = {"weight": torch.ones(2)}
    assert weights_at({"model": state, "exp_avg": state, "max_exp_avg_sq": state}) == {"model": False}
    assert weights_at({"model": state, "square_avg": state}) == {"model": False}
    kept = {"model": state, "avg": state, "model_avg": state, "ema_model": state}
    assert weights_at(kept) == {"model": False, "avg": True, "model_avg": True, "ema_model": True}
    assert not any(map(find.averaged, ("exp_avg", "model.exp_avg_sq", "square_avg", "grad_avg")))
    assert all(map(find.averaged, ("avg_model", "swa", "module.averaged", "exp/ema")))


def test_the_average_at_its_own_place_is_one_though_it_counts_itself(tmp_path):
    model = nn.Linear(2, 2)
    average = torch.optim.swa_utils.AveragedModel(model)
    for one in (average, average.state_dict()):
        torch.save({"model": model.state_dict(), "ema_model": one}, tmp_path / "a.pt")
        found = checkpoint(tmp_path / "a.pt")
        assert {w.place: w.average for w in found.weights} == {"model": False, "ema_model": True}
        assert find.COUNT in found.weights[1].tensors
        assert min(found.weights, key=lambda w: w.order).place == "model"


def test_settings_of_omegaconf_are_told_by_their_values():
    def node(value):
        return Stub("omegaconf.nodes.AnyNode", state={"_metadata": metadata, "_parent": None, "_val": value})

    def config(content):
        name = f"omegaconf.{type(content).__name__}config"
        return Stub(name, state={"_metadata": metadata, "_parent": None, "_content": content})

    metadata = Stub("omegaconf.base.ContainerMetadata", state={"optional": True, "flags": None})
    inner = config({"width": node(4), "sizes": config([node(1), node(2)])})
    tree = {"cfg": config({"lr": node(0.1), "model": inner, "none": config(None)}), "_private": 1}
    told = {"cfg.lr": 0.1, "cfg.model.width": 4, "cfg.none": None}
    assert find.noted(tree) == told


def test_what_a_file_says_of_itself_is_one_line_of_plain_letters(tmp_path):
    evil = "\x1b[2J\nfits          yes"
    torch.save({"w": torch.ones(2), "note": evil, evil: 1}, tmp_path / "a.pt")
    safetensors.torch.save_file({"w": torch.ones(2)}, tmp_path / "a.safetensors", {"note": evil, evil: evil})
    for name in ("a.pt", "a.safetensors"):
        told = checkpoint(tmp_path / name).told
        assert "note" in told
        assert "".join(f"{key}{value}" for key, value in told.items()).isprintable()


def times(number, value, levels):
    """The same within itself: number ** levels of them, in a file of a few bytes."""
    for _ in range(levels):
        value = {f"{n}": value for n in range(number)}
    return value


def test_what_is_noted_beside_the_weights_is_looked_for_within_bounds():
    start = time.process_time()
    assert find.noted(times(400, [], 3)) == {}
    assert find.noted({f"{n}": Stub("a.B", state={"x": []}) for n in range(400)}) == {}
    large = times(100_000, [], 1)
    assert find.noted({f"{n}": Stub("a.B", state=large) for n in range(50_000)}) == {}
    assert time.process_time() - start < 15


def lazy():
    return Lazy.of(torch.ones(1))


def module(modules, parameters=()):
    return Stub("a.Net", state={"_modules": dict(modules), "_parameters": dict(parameters)})


def doubled(levels):
    inner = module({}, {"weight": lazy()})
    for _ in range(levels):
        inner = module({"one": inner, "two": inner})
    return inner


def within_itself():
    found = module({})
    found.state["_modules"]["a"] = found
    return found


SHARED = {f"{n}": [] for n in range(100_000)}
HOSTILE = {
    "at the top it has 100,001 names": lambda: dict.fromkeys(map(str, range(100_001)), lazy()),
    "it has a name of 1,001 letters": lambda: {"a": {"n" * 1001: lazy()}},
    "and 65 dots; weights have at most": lambda: {"." * 65: lazy()},
    "more than 100,000 tensors and modules": lambda: {"net": doubled(60)},
    "letters and 65 dots": within_itself,
    "the same parts over and over": lambda: {
        f"{n}": Stub("a.B", entries={"x": 1}, state=SHARED) for n in range(50_000)
    },
}


@pytest.mark.parametrize("said", HOSTILE)
def test_weights_of_more_or_longer_names_than_any_are_refused_at_once(said):
    tree = HOSTILE[said]()
    start = time.process_time()
    with pytest.raises(CheckpointError, match=said):
        find.find(tree)
    assert time.process_time() - start < 15


def test_a_refusal_of_names_names_the_file(tmp_path):
    torch.save({"n" * 2000: torch.ones(1)}, tmp_path / "a.pt")
    assert "has a name of 2,000 letters" in message(checkpoint, tmp_path / "a.pt")
    torch.save({"n" * 1000: torch.ones(1)}, tmp_path / "a.pt")
    assert checkpoint(tmp_path / "a.pt").weights


def test_a_mapping_of_many_names_is_summed_up_in_no_time(tmp_path):
    torch.save(dict.fromkeys((f"a{n}.b.w" for n in range(30_000)), torch.ones(1)), tmp_path / "a.pt")
    file = checkpoint(tmp_path / "a.pt")
    start = time.process_time()
    assert summary(file)["parameters"] == 30_000
    assert time.process_time() - start < 10


# Our own.

FOREIGN = [{"model": ["x"]}, {"model": 3}, {"data": "x"}, {"data": None}, {"data": {"name": 3}}]
FOREIGN += [{"training": "x"}, {"training": []}, {"history": {}}, {"metrics": 1}, {"versions": None}]


@pytest.mark.parametrize("metadata", FOREIGN)
def test_metadata_of_other_types_than_ours_are_refused(metadata, tmp_path):
    torch.save({"landscape": {"format": 1, **metadata}, "state_dict": STATE}, tmp_path / "a.pt")
    said = message(checkpoint, tmp_path / "a.pt")
    assert "metadata that landscape never writes" in said
    assert next(iter(metadata)) in said


def test_metadata_that_would_be_copied_over_and_over_are_refused(tmp_path):
    shared = times(2, [], 24)
    torch.save({"landscape": {"format": 1, "a": shared}, "state_dict": STATE}, tmp_path / "a.pt")
    tracemalloc.start()
    assert "more than 100,000 values" in message(checkpoint, tmp_path / "a.pt")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e8
    with pytest.raises(InputError, match="more than 100,000 values"):
        save(tmp_path / "b.pt", STATE, {"a": shared})
    save(tmp_path / "b.pt", STATE, {"a": list(range(90_000))})
    assert len(checkpoint(tmp_path / "b.pt").metadata["a"]) == 90_000


# A file that becomes another one.


def test_a_shard_that_is_replaced_by_one_of_equal_size_and_time_is_noticed(tmp_path):
    folder = sharded(tmp_path / "all")
    found = checkpoint(folder)
    assert found.state
    shard = sorted(folder.glob("*.safetensors"))[0]
    shutil.copy2(shard, tmp_path / "copy")  # as `cp -p` does
    (tmp_path / "copy").replace(shard)
    with pytest.raises(CheckpointError, match="changed while it was read"):
        found.take(found.weights[0].tensors)
    assert checkpoint(folder).state


def test_a_file_that_is_written_over_with_its_time_kept_is_noticed(tmp_path):
    path = written(tmp_path / "a.pt", torch_saved())
    found = checkpoint(path)
    times = path.stat()
    path.write_bytes(torch_saved({name: tensor + 1 for name, tensor in STATE.items()}))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == times.st_size
    with pytest.raises(CheckpointError, match="changed while it was read"):
        found.take(found.weights[0].tensors)


def test_a_file_that_is_replaced_is_read_as_it_was_though_it_had_a_link(tmp_path):
    path = written(tmp_path / "a.pt", torch_saved())
    os.link(path, tmp_path / "another")
    found = checkpoint(path)
    written(tmp_path / "new", torch_saved({"weight": torch.ones(1)})).replace(path)
    assert found.take(found.weights[0].tensors).keys() == STATE.keys()


def test_a_trusted_file_is_the_one_that_is_hashed(tmp_path, monkeypatch):
    path = written(tmp_path / "a.pt", torch_saved())
    assert checkpoint(path, trust=True).sha256 == checkpoint(path).sha256
    load = trusted.read

    def meanwhile(path, kind):
        (tmp_path / "new").write_bytes(torch_saved({"weight": torch.ones(1)}))
        (tmp_path / "new").replace(path)
        return load(path, kind)

    monkeypatch.setattr(trusted, "read", meanwhile)
    assert "changed while it was read" in message(lambda p: checkpoint(p, trust=True), path)
