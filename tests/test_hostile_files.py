"""Files that were made to do harm are refused in one line, before room is made; nothing else is touched."""

import io
import json
import pickle
import tarfile
import zlib

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from landscape import Budget, Data, Network, Objective, directions
from landscape.axes import Axis
from landscape.datasets import cifar, npz
from landscape.datasets.source import load as examples
from landscape.errors import DataError, InputError
from landscape.losses import find
from landscape.normalization import Normalization
from landscape.results import Run, load, provenance, save
from landscape.surfaces.journal import Journal
from landscape.surfaces.remembered import depends, remembered
from landscape.surfaces.state import State


def one_line(caught) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- what an unfinished scan keeps ----


def test_a_link_in_place_of_a_scan_s_folder_is_refused_and_what_it_leads_to_stays(run, place):
    victim = place / "victim"
    victim.mkdir()
    (victim / "0.npy").write_text("mine")
    (place / "s.h5.cells").symlink_to(victim)
    for fresh in ("", "--fresh"):
        code, _, err = run(f"surface {{place}}/a.pt --size 3 --workers 1 {fresh} -o {{place}}/s.h5")
        assert code == 2
        assert "is a link" in err
        assert [path.name for path in victim.iterdir()] == ["0.npy"]
        assert (victim / "0.npy").read_text() == "mine"
    for touch in (lambda s: s.clear(), lambda s: s.drop(0), lambda s: s.save(0, np.zeros(1))):
        with pytest.raises(InputError, match="is a link"):
            touch(State(place / "s.h5.cells"))


def test_only_what_a_scan_writes_is_removed_from_its_folder(tmp_path):
    state = State(tmp_path)
    state.save(3, np.ones(2))
    for name in ("axes.json", "notes.txt", "3.77.tmp"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "sub.npy").mkdir()
    state.clear(but="axes")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["axes.json", "notes.txt", "sub.npy"]
    state.clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "sub.npy"]


def test_a_cell_s_file_that_declares_more_than_it_holds_is_as_good_as_none(tmp_path):
    with open(tmp_path / "1.npy", "wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (2**45,)}
        np.lib.format.write_array_header_1_0(file, header)
    assert State(tmp_path).load(1) is None


@pytest.mark.parametrize("resume", [True, False])
def test_a_link_in_place_of_a_journal_is_refused_and_what_it_leads_to_stays(tmp_path, resume):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "s.journal").symlink_to(tmp_path / "victim")
    with pytest.raises(InputError, match="is a link") as caught:
        Journal(tmp_path / "s.journal", {}, {}, resume)
    one_line(caught)
    assert (tmp_path / "victim").read_text() == "mine"


def line(text: str) -> bytes:
    return b"%08x " % zlib.crc32(text.encode()) + text.encode() + b"\n"


FIRST = '{"settings": {}, "known": {"tuned": {"batch": 1}}}'


@pytest.mark.parametrize(
    "text",
    [
        line("[" * 100_000),
        line(FIRST) + line("[" * 100_000),
        line(FIRST) + line("{"),
        line(FIRST) + line("3"),
        line(FIRST) + line('["a", [1], ""]'),
        line(FIRST) + line('[1, [2], "AAAA"]'),
        line(FIRST) + line("[1, [0], null]"),
        line('{"settings": {}, "known": {"tuned": {"batch": "many"}}}'),
        line('{"settings": {}, "known": {"tuned": {}}}'),
        line('{"settings": [], "known": {}}'),
    ],
    ids=range(10),
)
def test_a_journal_of_anything_else_is_told_with_what_to_do(tmp_path, text):
    path = tmp_path / "s.journal"
    path.write_bytes(text)
    with pytest.raises(InputError, match=r"s\.journal is (damaged|no journal).*--fresh") as caught:
        Journal(path, {}, {"tuned": {"batch": 64}}, True)
    one_line(caught)
    assert path.read_bytes() == text


OF = {"device": "cpu", "parameters": 4}
GOOD = {"name": "n", "kind": "random", "unit": "u", "seed": 1, "explained": None, "eigenvalue": None}


def found():
    return [Axis("n", "random", torch.arange(4.0, dtype=torch.float64), "u", seed=1)]


def test_axes_are_read_back_as_they_were(tmp_path):
    remembered(tmp_path, OF, found)
    (again,) = remembered(tmp_path, OF, lambda: pytest.fail("it made them anew"))
    assert torch.equal(again.vector, found()[0].vector)
    assert {name: getattr(again, name) for name in GOOD} == GOOD


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[" * 100_000,
        "3",
        "{}",
        json.dumps({"of": OF, "axes": [GOOD, GOOD]}),
        json.dumps({"of": OF, "axes": [GOOD | {"kind": 3}]}),
        json.dumps({"of": OF, "axes": [{}]}),
        json.dumps({"of": OF, "axes": [GOOD | {"other": 3}]}),
        json.dumps({"of": OF, "axes": 3}),
    ],
    ids=range(9),
)
def test_axes_of_anything_else_are_told_with_what_to_do(tmp_path, text):
    remembered(tmp_path, OF, found)
    (tmp_path / "axes.json").write_text(text)
    with pytest.raises(InputError, match=r"axes\.json is damaged.*--fresh") as caught:
        remembered(tmp_path, OF, found)
    one_line(caught)


def test_a_link_in_place_of_the_axes_is_refused(tmp_path):
    (tmp_path / "cells").mkdir()
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "cells" / "axes.json").symlink_to(tmp_path / "victim")
    with pytest.raises(InputError, match="is a link"):
        remembered(tmp_path / "cells", OF, found)
    assert (tmp_path / "victim").read_text() == "mine"


def point(loss="cross_entropy", dtype=torch.float32, normalization=None, shift=0.0, statistics=0.0):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    net[1].weight.data += shift
    net[2].running_mean += statistics
    if normalization:
        Normalization.of(normalization).into(net)
    data = Data.of(torch.rand(6, 1, 2, 2), torch.arange(6) % 3)
    return Objective(Network(net, dtype=dtype), data, Budget(0), loss=find(loss)).at()


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "margin"},
        {"dtype": torch.float64},
        {"normalization": "0.5/0.5"},
        {"shift": 1e-3},
        {"statistics": 1e-3},
    ],
    ids=str,
)
def test_axes_are_remembered_for_one_loss_and_the_weights_in_use_alone(change):
    assert depends(point()) == depends(point())
    assert depends(point(**change)) != depends(point())


def test_normalizations_differ_in_any_digit():
    one, other = (depends(point(normalization=f"0.5/0.{digits}")) for digits in ("5", "500000001"))
    assert one != other


def test_a_rerun_under_another_loss_does_not_use_the_axes_of_the_first(run, place, monkeypatch):
    words = "surface {place}/a.pt --size 2 --workers 1 --directions gradient,random -o {place}/s.h5"
    with monkeypatch.context() as patch:
        patch.setattr(
            "landscape.surfaces.scan.Scan.surfaces", lambda *_: (_ for _ in ()).throw(InputError(""))
        )
        run(words)
    first = np.load(place / "s.h5.cells" / "axes.npy")
    monkeypatch.setattr(
        "landscape.surfaces.scan.Scan.surfaces", lambda *_: (_ for _ in ()).throw(InputError(""))
    )
    run(f"{words} --loss margin")
    assert not np.allclose(first[0], np.load(place / "s.h5.cells" / "axes.npy")[0])


# ---- results and directions ----


def training(**told) -> Run:
    from landscape.log import Training

    each = {name: np.arange(1.0, 4) for name in ("gradient_norm", "error", "loss", "distance")}
    log = Training(
        0.0, "0", "linf", "none", np.arange(1, 4), **each, steps_per_epoch=3, batch_size=2, epochs=1
    )
    subject = {"path": "a.pt", "format": "f", "sha256": "0" * 64, "model": "m", "parameters": 7}
    data = {"name": "d", "split": "train", "examples": 3, "of": 9}
    common = {"attack": "a", "dtype": "d", "device": "cpu", "seed": 0, "notes": [], "budgets": ["0"]}
    given = {"checkpoint": subject, "data": data} | common | told
    return Run("training", provenance(**given), [log], True)


LOSS = "training_0/loss"
VALUES = np.arange(1.0, 4)


def unallocated(file, name):
    file.create_dataset(name, shape=(2**31,), chunks=(2**16,), dtype="f8")


def packed(file, name):
    file.create_dataset(name, shape=(2**31,), chunks=(2**16,), dtype="f8", compression="gzip")[:3] = VALUES


def external(file, name):
    file.create_dataset(name, (3,), "f8", external=[(f"{file.filename}.secret", 0, 24)])


def virtual(file, name):
    layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
    layout[:] = h5py.VirtualSource(f"{file.filename}.h5", "secret", shape=(3,))
    file.create_virtual_dataset(name, layout)


def linked(file, name):
    file[name] = h5py.ExternalLink(f"{file.filename}.h5", "secret")


def soft(file, name):
    file["out"] = h5py.ExternalLink(f"{file.filename}.h5", "/")
    file[name] = h5py.SoftLink("/out/secret")


def group(file, name):
    file.create_group(name)


def null(file, name):
    file[name] = h5py.Empty("f8")


def text(file, name):
    file[name] = "text"


def plane(file, name):
    file[name] = np.ones((3, 1))


def references(file, name):
    file[name] = np.array([file.ref] * 3, dtype=h5py.ref_dtype)


def longer(file, name):
    file[name] = np.ones(4)


BAD = [unallocated, packed, external, virtual, linked, soft, group, null, text, plane, references, longer]


@pytest.mark.parametrize("make", BAD)
def test_a_result_file_is_read_from_its_own_bytes_alone(run, tmp_path, make):
    path = tmp_path / "a.h5"
    save(training(), path)
    (tmp_path / "a.h5.secret").write_bytes(VALUES.tobytes())
    with h5py.File(f"{path}.h5", "w") as file:
        file["secret"] = VALUES
    with h5py.File(path, "a") as file:
        del file[LOSS]
        make(file, LOSS)
    with pytest.raises(InputError, match=r"a\.h5") as caught:
        load(path)
    one_line(caught)


def test_one_text_that_is_told_many_times_is_not_read_many_times(tmp_path):
    path = tmp_path / "a.h5"
    save(training(), path)
    with h5py.File(path, "a") as file:
        file["provenance/notes"] = np.array([b"x"] * 3, dtype=h5py.string_dtype())
        file.attrs["loss"] = np.array(["x"] * 3, dtype=h5py.string_dtype())
    with pytest.raises(InputError, match="loss is neither a number nor a text"):
        load(path)


@pytest.mark.parametrize(
    "told",
    [
        {"checkpoint": {}},
        {"checkpoint": {"path": 3}},
        {"checkpoints": [{}]},
        {"checkpoints": [3]},
        {"data": {}},
        {"data": {"name": "d", "split": "s", "examples": "3", "of": 9}},
        {"notes": 3},
        {"notes": [3]},
        {"directions": {"x": 3}},
        {"directions": {"x": {}, "y": None, "cosine": None}},
        {"directions": {"x": None, "y": None, "cosine": "c"}},
        {"trajectory": {}},
        {"trajectory": 3},
        {"trajectory": {"names": ["a"], "x": [], "y": None, "losses": {}, "relative_residual": []}},
        {"seed": "s"},
    ],
    ids=str,
)
def test_a_result_file_that_tells_something_else_is_refused_in_one_line(run, tmp_path, told):
    save(training(**told), tmp_path / "a.h5")
    code, _, err = run(f"show {tmp_path}/a.h5 --model")
    assert code == 2, err


@pytest.mark.parametrize("make", [unallocated, packed, external, virtual, linked, soft, group, null, text])
def test_a_direction_is_read_from_its_own_file_alone(tmp_path, make):
    p, path = point(), tmp_path / "d.h5"
    theta = p.theta.double().numpy()
    (tmp_path / "d.h5.secret").write_bytes(b"\1" * 8 * len(theta))
    with h5py.File(f"{path}.h5", "w") as file:
        file["secret"] = theta
    with h5py.File(path, "w") as file:
        if make in (unallocated, packed):
            more = {"compression": "gzip"} if make is packed else {}
            shape, chunks = (len(theta), 2**27), (1, 2**16)
            file.create_dataset("v", shape, "f8", chunks=chunks, **more)
        elif make is external:
            secret = [(f"{path}.secret", 0, 8 * len(theta))]
            file.create_dataset("v", theta.shape, "f8", external=secret)
        elif make is virtual:
            layout = h5py.VirtualLayout(shape=theta.shape, dtype="f8")
            layout[:] = h5py.VirtualSource(f"{path}.h5", "secret", shape=theta.shape)
            file.create_virtual_dataset("v", layout)
        else:
            make(file, "v")
    with pytest.raises(InputError, match=r"d\.h5") as caught:
        directions.from_file(p, str(path))
    one_line(caught)


def test_packed_and_whole_directions_are_read(tmp_path):
    p, path = point(), tmp_path / "d.h5"
    vectors = np.zeros((len(p.theta), 2))
    with h5py.File(path, "w") as file:
        file.create_dataset("v", data=vectors, compression="gzip", chunks=True)
    assert [v.tolist() for _, v in directions.from_file(p, str(path))] == vectors.T.tolist()


# ---- data ----


def archive(path, members, header=None):
    with tarfile.open(path / "cifar-100-binary.tar.gz", "w:gz", format=tarfile.GNU_FORMAT) as file:
        for name, content in members:
            member = tarfile.TarInfo(f"cifar-100-binary/{name}")
            member.size = len(content)
            if header:
                member.type = header
            file.addfile(member, io.BytesIO(content))


ROW = bytes(2 + cifar.PIXELS)


def refused(split, path):
    with pytest.raises(DataError) as caught:
        examples("cifar100", split, data_dir=path)
    return one_line(caught)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_long_header_of_an_archive_is_refused_unread(tmp_path, kind):
    archive(tmp_path, [("test.bin", bytes(cifar.HEADER + 1))], kind)
    assert "describes a member" in refused("test", tmp_path)


def test_an_archive_is_unpacked_no_further_than_the_official_one_goes(tmp_path, monkeypatch):
    archive(tmp_path, [("other", bytes(100_000)), ("test.bin", ROW)])
    assert len(examples("cifar100", "test", data_dir=tmp_path)) == 1
    monkeypatch.setattr(cifar, "UNPACKED", 50_000)
    assert "when unpacked" in refused("test", tmp_path)


def test_an_archive_of_any_number_of_members_is_refused(tmp_path):
    archive(tmp_path, [(f"{i}", b"") for i in range(cifar.MEMBERS + 1)])
    assert "members" in refused("test", tmp_path)


@pytest.mark.parametrize("packed", [True, False])
def test_the_batches_of_a_split_together_are_bounded(tmp_path, monkeypatch, packed):
    row = bytes(1 + cifar.PIXELS)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for i in range(1, 6):
        (folder / f"data_batch_{i}.bin").write_bytes(row)
    where = tmp_path
    if packed:
        where = tmp_path / "packed"
        where.mkdir()
        with tarfile.open(where / "cifar-10-binary.tar.gz", "w:gz") as file:
            file.add(folder, folder.name)
    assert len(examples("cifar10", "train", data_dir=where)) == 5
    monkeypatch.setattr(cifar, "LIMIT", 4 * len(row))
    with pytest.raises(DataError, match="up to data_batch_"):
        examples("cifar10", "train", data_dir=where)


@pytest.mark.parametrize("content", [b"\x80\x02" + b"N" * 10_000_000, b"\x80\x02Nr\x40\x77\x1b\x00."])
def test_a_batch_of_endless_opcodes_or_far_places_is_refused_soon(content):
    with pytest.raises(DataError, match=r"opcodes|numbers an object"):
        cifar._python(content + bytes(2_000_000), "it", 10)


def test_a_batch_cannot_make_one_text_into_bytes_again_and_again(monkeypatch):
    text = pickle.BINUNICODE + (1000).to_bytes(4, "little") + b"x" * 1000
    call = b"c_codecs\nencode\nq\x01(" + text + b"X\x06\x00\x00\x00latin1tq\x02R"
    content = b"\x80\x02](" + call + b"h\x01h\x02R" * 50 + b"e."
    monkeypatch.setattr(cifar, "LIMIT", 20_000)
    with pytest.raises(DataError, match="bytes of texts"):
        cifar._python(content, "it", 10)


def test_an_npz_is_counted_with_its_copies(tmp_path, monkeypatch):
    np.savez(tmp_path / "d.npz", x=np.zeros((10, 4, 4, 3)), y=np.arange(10) % 2)
    size, asked = 8 * (10 * 48 + 10), []
    monkeypatch.setattr(npz, "check_fits", lambda size, what: asked.append(size))
    npz.read(tmp_path / "d.npz", "test", False)
    assert asked == [3 * size]
