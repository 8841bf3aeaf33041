"""Pickles that would run code, take all memory or never end if they were loaded, and files around them."""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

MAGIC = 0x1950A86A20F9469CFC6C


def text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def named(name: str) -> bytes:
    """The instruction that names `package.module function`."""
    return b"c" + name.replace(" ", "\n").encode() + b"\n"


def call(name: str, *arguments: bytes) -> bytes:
    return named(name) + b"(" + b"".join(arguments) + b"tR"


def pickled(body: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."


def nested_legacy(inner: bytes) -> bytes:
    """A call of torch.storage._load_from_bytes with a whole file of torch before 1.6 around a pickle."""
    whole = in_legacy(inner)
    return pickled(call("torch.storage _load_from_bytes", b"B" + struct.pack("<I", len(whole)) + whole))


def _nested(times: int) -> bytes:
    inner = pickled(b"N")
    for _ in range(times):
        inner = nested_legacy(inner)
    return inner


def attacks(sentinel: Path) -> dict[str, bytes]:
    """By name: pickles each of which would touch the sentinel file if any of its code ran."""
    path, shell = text(str(sentinel)), text(f"touch {sentinel}")
    code = text(f"open({str(sentinel)!r}, 'w').close()")
    opened = call("builtins open", path, text("w"))
    rebuild = named("torch._utils _rebuild_tensor_v2")
    return {
        "os.system": pickled(call("os system", shell)),
        "posix.system": pickled(call("posix system", shell)),
        "subprocess": pickled(call("subprocess call", b"(" + text("touch") + path + b"l")),
        "builtins.eval": pickled(call("builtins eval", code)),
        "builtins.exec": pickled(call("builtins exec", code)),
        "__builtin__.eval": pickled(call("__builtin__ eval", code)),
        "builtins.open": pickled(opened),
        "builtins.print": pickled(call("builtins print", path, b"N")),
        "open, then its write": pickled(
            call("builtins getattr", opened, text("write")) + b"(" + code + b"tR"
        ),
        "getattr of an import": pickled(
            call("builtins getattr", call("builtins __import__", text("os")), text("system"))
            + b"("
            + shell
            + b"tR"
        ),
        "dotted name": pickled(
            text("torch") + text("serialization.os.system") + b"\x93(" + shell + b"tR", protocol=4
        ),
        "dotted name in a known module": pickled(
            text("collections") + text("OrderedDict.__class__.__subclasses__") + b"\x93)R", protocol=4
        ),
        "INST": pickled(b"(" + shell + b"ios\nsystem\n"),
        "OBJ": pickled(b"(" + named("os system") + shell + b"o"),
        "NEWOBJ": pickled(named("os system") + b"(" + shell + b"t\x81"),
        "NEWOBJ_EX": pickled(named("os system") + b"(" + shell + b"t}\x92", protocol=4),
        "a class's metaclass": pickled(call("builtins type", text("X"), b")", b"}")),
        "_reconstructor": pickled(
            call("copyreg _reconstructor", named("os system"), named("os system"), shell)
        ),
        "_reconstructor of open": pickled(
            call("copyreg _reconstructor", named("builtins open"), named("builtins object"), path)
        ),
        "__newobj__": pickled(call("copyreg __newobj__", named("os system"), shell)),
        "defaultdict's factory": pickled(
            call("collections defaultdict", named("os system")) + shell + b"Ns" + b"}" + b"b"
        ),
        "map over system": pickled(
            call("builtins list", call("builtins map", named("os system"), b"(" + shell + b"l"))
        ),
        "functools.partial": pickled(call("functools partial", named("os system"), shell) + b")R"),
        "__setstate__": pickled(
            call("argparse Namespace")
            + b"}"
            + text("__setstate__")
            + named("os system")
            + b"sb"
            + shell
            + b"b"
        ),
        "__class__ in a state": pickled(call("builtins object") + b"}" + text("__class__") + opened + b"sb"),
        "torch.hub.load": pickled(call("torch.hub load", path, text("x"), b"N")),
        "torch.load": pickled(call("torch load", path)),
        "torch.jit.load": pickled(call("torch.jit load", path)),
        "_rebuild_from_type_v2": pickled(
            call(
                "torch._tensor _rebuild_from_type_v2",
                named("os system"),
                named("torch Tensor"),
                b"(" + shell + b"t}",
            )
        ),
        "_rebuild_parameter": pickled(
            call("torch._utils _rebuild_parameter", call("os system", shell), b"\x88", b"N")
        ),
        "_rebuild_tensor_v2 of a path": pickled(rebuild + b"(" + path + b"K\x00))\x89Nt" + b"R"),
        "numpy.load": pickled(call("numpy load", path, b"N", b"\x88")),
        "numpy's objects": pickle.dumps(np.array([_Runs(f"touch {sentinel}"), 1], dtype=object)),
        "an exception": pickled(call("builtins Exception", opened)),
        "nested in a storage": nested_legacy(pickled(call("os system", shell))),
        "weights beside os.system": pickled(
            b"}(" + text("a") + call("os system", shell) + text("b") + b"K\x01u"
        ),
        "a key": pickled(b"}" + call("os system", shell) + b"Ns"),
        "an element": pickled(b"](" + call("os system", shell) + b"e"),
        "a set's element": pickled(b"\x8f(" + call("os system", shell) + b"\x90", protocol=4),
    }


class _Runs:
    """What runs a command when it is unpickled."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


def refused() -> dict[str, bytes]:
    """By name: pickles that no honest program writes, which are to be refused."""
    rebuild = named("torch._utils _rebuild_tensor_v2")
    state = b"}" + text("__code__") + b"Nsb"
    large = b"\x8a\x08" + struct.pack("<q", 2**61)
    again = b"h\x02h\x01R0" * 20_000 + b"N"
    return {
        "BUILD on a known function": pickled(rebuild + state),
        "BUILD on another function": pickled(named("os system") + state),
        "BUILD on a class": pickled(named("collections OrderedDict") + state),
        "BUILD on a number": pickled(b"K\x01" + state),
        "BUILD on a tuple": pickled(b")" + state),
        "SETITEM on a function": pickled(rebuild + b"K\x01K\x02s"),
        "SETITEM on a tuple": pickled(b")K\x01K\x02s"),
        "APPEND on a dict": pickled(b"}K\x01a"),
        "APPEND on a class": pickled(named("builtins list") + b"K\x01a"),
        "EXT1": pickled(b"\x82\x01"),
        "EXT2": pickled(b"\x83\x01\x00"),
        "EXT4": pickled(b"\x84\x01\x00\x00\x00"),
        "PERSID": pickled(b"Pstorage\n"),
        "BINPERSID of another form": pickled(b"K\x01Q"),
        "BINPERSID of a module without anything": pickled(b"(" + text("module") + b"tQ"),
        "NEXT_BUFFER": pickled(b"\x97", protocol=5),
        "READONLY_BUFFER": pickled(b"C\x01a\x98", protocol=5),
        "a call of a number": pickled(b"K\x01)R"),
        "a call of a text": pickled(text("os.system") + b")R"),
        "a call with a list": pickled(named("os system") + b"]R"),
        "a name that is a number": pickled(b"K\x01K\x02\x93", protocol=4),
        "a list as key": pickled(b"}]Ns"),
        "a dict as key": pickled(b"}}Ns"),
        "a key without a value": pickled(b"}(K\x01u"),
        "LONG4 of a negative size": pickled(b"\x8b" + struct.pack("<i", -5) + b"abcde"),
        "LONG4 of 2 GB": pickled(b"\x8b" + struct.pack("<i", 2**31 - 1) + b"a"),
        "a number of 100,000 digits": pickled(b"\x8b" + struct.pack("<i", 50_000) + b"\x7f" * 50_000),
        "a text of 2**62 bytes": pickled(b"\x8d" + struct.pack("<Q", 2**62) + b"a", protocol=4),
        "bytes of 2**62 bytes": pickled(b"\x8e" + struct.pack("<Q", 2**62) + b"a", protocol=4),
        "a bytearray of 2**40 bytes": pickled(b"\x96" + struct.pack("<Q", 2**40) + b"a", protocol=5),
        "a stack that is empty": pickled(b"00000"),
        "nothing": pickled(b""),
        "a mark that is not there": pickled(b"t"),
        "GET of what was not PUT": pickled(b"h\x05"),
        "a tuple of what is not there": pickled(b"K\x01\x87"),
        "a huge memo place": pickled(b"Np" + str(2**61 - 1).encode() + b"\n"),
        "no STOP": b"\x80\x02N",
        "unknown instruction": pickled(b"\xff"),
        "files 1000 deep": _nested(1000),
        "a list copied for ever": pickled(
            b"](" + b"N" * 100_000 + b"e\x85q\x01" + named("builtins list") + b"q\x02" + again
        ),
        "a call with the same arguments for ever": pickled(
            b"(" + b"N" * 100_000 + b"tq\x01" + named("pathlib PosixPath") + b"q\x02" + again
        ),
        "bytes encoded for ever": pickled(
            text("a" * 100_000) + b"\x85q\x01" + named("_codecs encode") + b"q\x02" + again
        ),
        "a tensor of negative size": tensor(b"(J\xff\xff\xff\xfft", b"(K\x01t"),
        "a tensor of a storage of 2**61": tensor(b"(K\x01t", b"(K\x01t", large),
        "a tensor of many dimensions": tensor(*[b"(" + b"K\x01" * 100 + b"t"] * 2),
        "a tensor beyond its storage": tensor(b"(K\x05t", b"(K\x01t"),
        "a tensor of zero times 2**61": tensor(
            b"(K\x00" + large * 3 + b"t", b"(K\x01K\x01K\x01K\x01t"
        ),
        "a storage of a type that is none": pickled(
            b"(" + text("storage") + named("os system") + text("0") + text("cpu") + b"K\x04NtQ"
        ),
    }  # fmt: skip


def tensor(shape: bytes, stride: bytes, count: bytes = b"K\x04") -> bytes:
    """A pickle of one tensor of a storage "0" of float32, for either kind of file: see `in_zip`."""
    storage = (
        b"(" + text("storage") + named("torch FloatStorage") + text("0") + text("cpu") + count + b"VIEWtQ"
    )
    return pickled(call("torch._utils _rebuild_tensor_v2", storage, b"K\x00", shape, stride, b"\x89", b"N"))


def bombs() -> dict[str, bytes]:
    """By name: small pickles of trees of 2**60 elements, or of any depth; reading them is cheap."""
    doubled = b"".join(b"(h%ch%clq%c" % (n, n, n + 1) for n in range(60))
    tuples = b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(60))
    return {
        "lists doubled": pickled(b"]q\x00" + doubled),
        "tuples doubled": pickled(b")q\x00" + tuples),
        "a doubled tuple as key": pickled(b")q\x00" + tuples + b"q\xf0}h\xf0Ns"),
        "a deep tuple": pickled(b")" + b"\x85" * 100_000),
        "a deep tuple as key": pickled(b"}q\x01)" + b"\x85" * 100_000 + b"Ns"),
        "deep lists": pickled(b"](" * 100_001 + b"e" * 100_001),
        "deep dicts": pickled(b"}N" * 100_000 + b"N" + b"s" * 100_000),
        "deep stubs": pickled(named("a B") + b"q\x00" + b")R" + b"h\x00)R" * 100_000 + b"b" * 100_000),
        "a list in itself": pickled(b"]q\x00h\x00a"),
        "a dict in itself": pickled(b"}q\x00Nh\x00s"),
        "a stub in itself": pickled(named("a B") + b")Rq\x00h\x00b"),
        "calls of known functions within each other": pickled(
            named("copyreg __newobj__") + b"q\x00(" + b"h\x00" * 5000 + b"tR"
        ),
        "an array of 2**40 of nothing": pickled(
            call(
                "numpy.core.multiarray _reconstruct", named("numpy ndarray"), b"(K\x00t", b"C\x01b"
            )
            + b"(K\x01(\x8a\x06\x00\x00\x00\x00\x00\x01t"
            + call("numpy dtype", text("f4"), b"K\x00", b"K\x01")
            + b"\x89C\x00tb",
            protocol=3,
        ),
    }  # fmt: skip


def colliding(count: int) -> bytes:
    """A dict of numbers that all have the same hash."""
    keys = ((5 + n * (2**61 - 1)).to_bytes(11, "little") for n in range(count))
    return pickled(b"}(" + b"".join(b"\x8a\x0b" + key + b"N" for key in keys) + b"u")


# Files around a pickle. b"VIEW" in it stands for what the older format has more.


def in_zip(data: bytes, records: dict[str, bytes] | None = None) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("archive/data.pkl", data.replace(b"VIEW", b""))
        archive.writestr("archive/byteorder", b"little")
        for name, raw in (records or {"data/0": bytes(16)}).items():
            archive.writestr(f"archive/{name}", raw)
    return made.getvalue()


def in_legacy(data: bytes, storages: bytes = b"") -> bytes:
    keys = ["0"] if storages else []
    head = [pickle.dumps(part, 2) for part in (MAGIC, 1001, {"little_endian": True})]
    return b"".join([*head, data.replace(b"VIEW", b"N"), pickle.dumps(keys, 2), storages])


def plain(data: bytes) -> bytes:
    return data.replace(b"VIEW", b"N")


def with_storage(data: bytes) -> bytes:
    """The older format, with a storage where the pickle has one."""
    return in_legacy(data, struct.pack("<q", 4) + bytes(16) if b"VIEW" in data else b"")


CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "torch": in_zip,
    "torch before 1.6": with_storage,
    "pickle": plain,
}


def soup(codes: bytes) -> bytes:
    """Instructions by number, each with an argument of some sort."""
    parts = []
    for code in codes:
        opcode = pickletools.opcodes[code % len(pickletools.opcodes)]
        size = opcode.arg.n if opcode.arg else 0
        if opcode.name in ("GLOBAL", "INST"):
            argument = NAMES[code % len(NAMES)].replace(" ", "\n").encode() + b"\n"
        elif size == pickletools.UP_TO_NEWLINE:
            argument = b"1\n"
        elif size < 0:
            argument = {-2: b"\x01a", -3: b"\x01\0\0\0a", -4: b"\x01\0\0\0a", -5: b"\x01\0\0\0\0\0\0\0a"}[
                size
            ]
        else:
            argument = bytes([code % 4]) + bytes(max(size - 1, 0))
        parts.append(opcode.code.encode("latin-1") + argument[: max(size, 0) or None])
    return pickled(b"".join(parts), protocol=4)


NAMES = (
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch FloatStorage",
    "torch float32",
    "torch.storage _load_from_bytes",
    "numpy dtype",
    "numpy ndarray",
    "numpy.core.multiarray _reconstruct",
    "copyreg _reconstructor",
    "builtins bytearray",
    "os system",
)


def checkpoint() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {f"layer.{n}": torch.randn(n + 1, 40, generator=generator) for n in range(12)}
