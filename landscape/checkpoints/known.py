"""What the few names mean that checkpoints need: our own constructions, none of which is their code."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import torch

from landscape.checkpoints.content import Lazy, Storage, Stub, listed
from landscape.checkpoints.source import Malformed, native
from landscape.errors import CheckpointError

if TYPE_CHECKING:
    from landscape.checkpoints.inert import Reading

AXES = 64  # no tensor has more
DTYPES = {f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
_STORED = {
    "Untyped": torch.uint8,
    "_Untyped": torch.uint8,
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
    "QInt8": torch.int8,
    "QUInt8": torch.uint8,
    "QInt32": torch.int32,
    "QUInt4x2": torch.uint8,
    "QUInt2x4": torch.uint8,
}
# torch can copy no other, or dies of it: torch.frombuffer of a quantized type ends the process.
NUMERIC = {*_STORED.values(), torch.uint16, torch.uint32, torch.uint64}
NUMERIC |= {dtype for name, dtype in DTYPES.items() if name.startswith("torch.float8_")}
STORAGES = {
    f"{module}.{name}Storage": dtype
    for module in ("torch", "torch.cuda", "torch.storage")
    for name, dtype in _STORED.items()
}
# numpy's codes: torch's type, and struct's for one number.
NUMBERS = {
    "b1": (torch.bool, "?"),
    "i1": (torch.int8, "b"),
    "i2": (torch.int16, "h"),
    "i4": (torch.int32, "i"),
    "i8": (torch.int64, "q"),
    "u1": (torch.uint8, "B"),
    "u2": (torch.uint16, "H"),
    "u4": (torch.uint32, "I"),
    "u8": (torch.uint64, "Q"),
    "f2": (torch.float16, "e"),
    "f4": (torch.float32, "f"),
    "f8": (torch.float64, "d"),
    "c8": (torch.complex64, "ff"),
    "c16": (torch.complex128, "dd"),
}
ORDERS = {"<": "little", ">": "big", "|": "little", "=": "little"}  # "=" is written by no numpy
TENSORS = {"torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.Parameter", "torch.nn.parameter.Buffer"}
# Known, but nothing is made of them where they stand.
NAMED = TENSORS | set(STORAGES) | {"numpy.ndarray", "builtins.object"}
# What Python 2 called them.
RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}


@dataclass(eq=False, slots=True)
class Global(Stub):
    """A class or function that a file names. known: what KNOWN has it under, "" where it is not there."""

    known: str = ""


@dataclass(eq=False, slots=True)
class Unbuilt(Stub):
    """An array of numpy's before its state came, and what it then became."""

    made: Lazy | None = None


def global_of(module: str, name: str) -> Global | torch.dtype:
    """What stands for a name; torch's types of numbers stand for themselves."""
    full = f"{RENAMED.get(module, module)}.{name}"
    known = full if full in KNOWN or full in NAMED else ""
    return DTYPES[full] if full in DTYPES else Global(listed([full]), known=known)


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    return f"the code {value.name}" if isinstance(value, Global) else f"the type {type(value).__name__}"


def storage_dtype(kind: Any) -> torch.dtype:
    """The type of the numbers in a storage of this class."""
    if not isinstance(kind, Global) or kind.known not in STORAGES:
        raise Malformed("a storage is of a type that torch does not have")
    return STORAGES[kind.known]


def retyped(storage: Storage, dtype: torch.dtype) -> Storage:
    """The same bytes as numbers of another type."""
    if storage.dtype == dtype:
        return storage
    size = storage.count * storage.dtype.itemsize
    if size % dtype.itemsize:
        raise Malformed(f"a storage of {size} bytes holds no whole number of {dtype}")
    return Storage(dtype, size // dtype.itemsize, storage.read)


def put(target: Any, key: Any, value: Any) -> None:
    """An entry of a dict or Stub; a key whose hash a file could make collide, or recur deeply, is wrapped."""
    entries = target if type(target) is dict else target.entries if isinstance(target, Stub) else None
    if entries is None or type(target) is Global:
        raise Malformed(f"an entry is set in {kind_of(target)}")
    if isinstance(key, (list, dict, bytearray)):
        raise Malformed(f"{kind_of(key)} is the key of a dict")
    if isinstance(key, tuple):
        key = Stub("builtins.tuple", key)
    elif isinstance(key, complex) or (isinstance(key, int) and abs(key) >= 2**61 - 1):
        key = Stub(f"builtins.{type(key).__name__}", (key,))
    entries[key] = value


def extend(target: Any, items: Iterable[Any]) -> None:
    """Elements of a list or Stub."""
    elements = target if type(target) is list else target.elements if isinstance(target, Stub) else None
    if elements is None or type(target) is Global:
        raise Malformed(f"an element is added to {kind_of(target)}")
    elements.extend(items)


# Makers: what a known name makes of its arguments. Whatever they raise but Malformed leaves a Stub.
Maker = Callable[..., Any]


def _dict(reading: Reading, items: Any = (), /) -> dict[Any, Any]:
    pairs = items.items() if isinstance(items, dict) else items
    reading.copied(len(pairs))
    made: dict[Any, Any] = {}
    for key, value in pairs:
        put(made, key, value)
    return made


def _default_dict(reading: Reading, factory: Any = None, items: Any = (), /) -> dict[Any, Any]:
    return _dict(reading, items)


def _list(reading: Reading, items: Any = (), /) -> list[Any]:
    if not isinstance(items, (list, tuple)):
        raise TypeError(type(items))
    reading.copied(len(items))
    return list(items)


def _tuple(reading: Reading, items: Any = (), /) -> tuple[Any, ...]:
    return tuple(_list(reading, items))


def _complex(reading: Reading, real: Any = 0.0, imaginary: Any = 0.0, /) -> complex:
    return complex(float(real), float(imaginary))


def _encode(reading: Reading, text: Any, encoding: Any = "latin1", /) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise TypeError(encoding)
    reading.copied(len(text))
    return text.encode("latin-1")


def _bytes(reading: Reading, data: Any = b"", /) -> bytes:
    if not isinstance(data, bytes):
        raise TypeError(type(data))
    return data


def _bytearray(reading: Reading, data: Any = b"", encoding: Any = "latin-1", /) -> bytearray:
    raw = _encode(reading, data, encoding) if isinstance(data, str) else _bytes(reading, data)
    reading.copied(len(raw))
    return bytearray(raw)


def _path(reading: Reading, *parts: Any) -> str:
    reading.copied(sum(map(len, parts)))
    return str(PurePosixPath(*parts))


def _windows_path(reading: Reading, *parts: Any) -> str:
    reading.copied(sum(map(len, parts)))
    return str(PureWindowsPath(*parts))


def _device(reading: Reading, kind: Any, index: Any = None, /) -> str:
    reading.copied(len(kind))
    return kind + ("" if index is None else f":{index:d}")


def _reconstructor(reading: Reading, kind: Any, base: Any, state: Any, /) -> Any:
    """What protocols 0 and 1 make instances with."""
    made = reading.called(kind, ())
    if isinstance(made, Stub) and isinstance(state, dict):
        made.entries.update(_dict(reading, state))
    elif isinstance(made, Stub) and isinstance(state, (list, tuple)):
        made.elements.extend(_list(reading, state))
    elif isinstance(made, Stub) and state is not None:
        made.arguments = (state,)
    return made


def _new(reading: Reading, kind: Any, /, *arguments: Any) -> Any:
    return reading.called(kind, arguments)


def _new_ex(reading: Reading, kind: Any, arguments: Any, keywords: Any, /) -> Any:
    reading.copied(len(arguments))
    return reading.called(kind, (*arguments, keywords))


# torch


def _is_shape(shape: Any) -> bool:
    return type(shape) is tuple and len(shape) <= AXES and all(type(n) is int for n in shape)


def _lazy(storage: Storage, shape: Any, stride: Any, offset: Any) -> Lazy:
    if not _is_shape(shape) or not _is_shape(stride) or math.prod(n or 1 for n in shape) >= 2**62:
        raise Malformed("a tensor is described that cannot be")
    try:
        return Lazy(storage, shape, stride, offset)
    except CheckpointError as error:
        raise Malformed(listed([error])) from error


def _tensor(
    reading: Reading,
    storage: Any,
    offset: Any,
    shape: Any,
    stride: Any,
    requires_grad: Any = None,
    hooks: Any = None,
    metadata: Any = None,
    /,
) -> Lazy:
    # metadata: conjugated or negated, which no parameter is
    if not isinstance(storage, Storage) or metadata:
        raise TypeError(type(storage))
    return _lazy(storage, shape, stride, offset)


def _typed_tensor(
    reading: Reading,
    storage: Any,
    offset: Any,
    shape: Any,
    stride: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
    /,
) -> Lazy:
    if not isinstance(storage, Storage) or dtype not in NUMERIC or metadata:
        raise TypeError(type(storage))
    return _lazy(reading.shared(storage, dtype), shape, stride, offset)


def _parameter(reading: Reading, data: Any, *_: Any) -> Any:
    if not isinstance(data, (Lazy, Stub)):
        raise TypeError(type(data))
    return data


def _of_type(reading: Reading, function: Any, kind: Any, arguments: Any, state: Any = None, /) -> Any:
    made = reading.called(function, arguments)
    if isinstance(kind, Global) and kind.known in TENSORS:
        return made
    return Stub(kind.name, (made,), state)


def _nested(reading: Reading, data: Any, /) -> Any:
    """A storage within a plain pickle: the bytes of a whole file of its own."""
    if not isinstance(data, (bytes, bytearray)):
        raise TypeError(type(data))
    return reading.nested(data)


# numpy


def _numpy_dtype(reading: Reading, code: Any, *rest: Any) -> Stub:
    return Stub("numpy.dtype", (code, *rest[:2]))


def _numbers(dtype: Any) -> tuple[torch.dtype, str, str]:
    """torch's type, struct's code and the byte order."""
    if not isinstance(dtype, Stub) or dtype.name != "numpy.dtype":
        raise TypeError(type(dtype))
    order = dtype.state[1] if isinstance(dtype.state, tuple) else "<"
    return *NUMBERS[dtype.arguments[0]], ORDERS[order]


def _raw(reading: Reading, data: Any) -> bytes | bytearray:
    """The bytes of numbers; Python 2 wrote them as a str."""
    raw = _encode(reading, data) if isinstance(data, str) else data
    if not isinstance(raw, (bytes, bytearray)):
        raise TypeError(type(raw))  # a list, in an array of objects
    return raw


def _array(reading: Reading, data: Any, dtype: Any, shape: Any, axes: Any) -> Lazy:
    """axes: the order of the shape's axes in the memory, slowest first."""
    kind, _, order = _numbers(dtype)
    raw = _raw(reading, data)
    if len(raw) != math.prod(shape) * kind.itemsize:
        raise Malformed(f"an array of shape {listed([shape])} has {len(raw)} bytes")
    if sorted(axes) != list(range(len(shape))):
        raise TypeError(type(axes))
    step, strides = 1, [0] * len(shape)
    for axis in reversed(axes):
        strides[axis] = step
        step *= max(shape[axis], 1)
    storage = Storage(kind, math.prod(shape), lambda: native(bytearray(raw), kind, order))
    return _lazy(storage, shape, tuple(strides), 0)


def _reconstruct(reading: Reading, kind: Any, *arguments: Any) -> Stub:
    return Unbuilt(kind.name, arguments) if kind.known == "numpy.ndarray" else reading.called(kind, arguments)


def built(reading: Reading, array: Unbuilt, state: Any) -> Any:
    """The array once its state came, (version, shape, dtype, whether in Fortran's order, data); or a Stub."""
    array.state = state
    try:
        shape, dtype, fortran, data = state[-4:]
        if not _is_shape(shape):
            raise TypeError(type(shape))
        axes = list(range(len(shape)))
        array.made = _array(reading, data, dtype, shape, axes[::-1] if fortran else axes)
    except CheckpointError:
        raise
    except Exception:  # an array of objects, dates, text
        reading.met(array.name)
        return array
    return array.made


def _from_buffer(
    reading: Reading, data: Any, dtype: Any, shape: Any, order: Any, axis_order: Any = None, /
) -> Lazy:
    if not _is_shape(shape) or not (axis_order is None or _is_shape(axis_order)):
        raise TypeError(type(shape))
    axes = list(range(len(shape)))
    if order == "F":
        axes.reverse()
    if order != "K" or axis_order is None:
        return _array(reading, data, dtype, shape, axes)
    # The memory's shape is given; axis_order[i] is the memory's axis that is the array's axis i.
    array_shape = tuple(shape[axis] for axis in axis_order)
    return _array(reading, data, dtype, array_shape, [axis_order.index(axis) for axis in axes])


def _scalar(reading: Reading, dtype: Any, data: Any, /) -> Any:
    kind, code, order = _numbers(dtype)
    parts = struct.unpack(("<" if order == "little" else ">") + code, _raw(reading, data))
    return complex(*parts) if kind.is_complex else parts[0]


_NUMPY = ("numpy.core", "numpy._core")
KNOWN: dict[str, Maker] = {
    **dict.fromkeys(("collections.OrderedDict", "collections.Counter", "builtins.dict"), _dict),
    "collections.defaultdict": _default_dict,
    **dict.fromkeys(("builtins.list", "builtins.set", "builtins.frozenset"), _list),
    **dict.fromkeys(("builtins.tuple", "torch.Size"), _tuple),
    "builtins.complex": _complex,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytearray,
    "_codecs.encode": _encode,
    **{f"pathlib{local}.{pure}PosixPath": _path for local in ("", "._local") for pure in ("", "Pure")},
    **{f"pathlib{local}.{p}WindowsPath": _windows_path for local in ("", "._local") for p in ("", "Pure")},
    "torch.device": _device,
    "copyreg._reconstructor": _reconstructor,
    "copyreg.__newobj__": _new,
    "copyreg.__newobj_ex__": _new_ex,
    **dict.fromkeys(("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"), _tensor),
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch._tensor._rebuild_from_type": _of_type,
    "torch.tensor._rebuild_from_type": _of_type,
    "torch.storage._load_from_bytes": _nested,
    "numpy.dtype": _numpy_dtype,
    **{f"{package}.multiarray._reconstruct": _reconstruct for package in _NUMPY},
    **{f"{package}.multiarray.scalar": _scalar for package in _NUMPY},
    **{f"{package}.numeric._frombuffer": _from_buffer for package in _NUMPY},
}
