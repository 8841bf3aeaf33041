"""Pickles read as data: what they describe is built out of our own parts, and nothing of theirs is run.

    reading = Reading(path, size)            # size: of the whole file, in bytes; it bounds what may be built
    tree = reading.load(source)              # one pickle from `source.tell()` on, a `source.Source`
    source.tell()                            # where the pickle ended: another may follow
    reading.ignored                          # names of code that the pickles asked for, sorted
    reading.load(source, persistent)         # persistent(id) -> what stands for torch's ("storage", ...) ids

    Source(file), Source(file, start, size), Source(data)      # an open file, a part of it, bytes in memory

A tree has dicts, lists, tuples, plain values (str, bytes, bytearray, int, float, bool, complex, None,
torch.dtype), `Lazy` tensors, `Storage`s and `Stub`s. What else to know of it:

- An instance is a Stub: `name` is "package.module.Class", `state` mostly the dict of its attributes (or the
  pair of that and the dict of its slots), `arguments` what its class was called with (a namedtuple: its
  fields; an enum: its value). A dict's subclass has `entries`, a list's `elements`. A class or function that
  is only named is a Stub without arguments. A whole module is a Stub whose state has "_parameters",
  "_buffers" and "_modules".
- OrderedDict, defaultdict and Counter are dicts; sets and frozensets are lists; torch.Size is a tuple; paths
  and devices are str; numpy's numbers are Python's, numpy's arrays of numbers are Lazy.
- Keys of dicts are str, bytes, int, float, bool, None and torch.dtype, or are told apart by identity: a
  tuple, a complex or a huge number as a key stands as a Stub whose `arguments` are the tuple's items, or
  the number.
- One dict, list or Stub may stand in several places, and within itself; tuples, lists and dicts may be
  nested to any depth. Walk with a stack of your own and a set of `id`s; neither hash a tuple, nor repr or
  compare what is no plain value.

CheckpointError, which names the path, whatever the bytes are.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from landscape.checkpoints.content import Lazy, Storage, Stub, listed
from landscape.checkpoints.known import (
    KNOWN,
    Global,
    Unbuilt,
    built,
    extend,
    global_of,
    kind_of,
    put,
    retyped,
)
from landscape.checkpoints.source import Malformed, Source
from landscape.errors import CheckpointError

OPERATIONS = 2_000_000  # about four seconds, and 300 MB where every second one makes an object
LETTERS = 1000  # of a name of code; each that a pickle puts together is kept
DEPTH = 4  # files within files: a storage in a plain pickle is one
MET = 1000  # names that are kept


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Whatever the block raises about a file's bytes becomes a CheckpointError that names the file."""
    try:
        yield
    except Malformed as error:
        raise CheckpointError(
            f"{path} is refused: {listed([error])}; copy it again, or torch.save the model's state dict anew"
        ) from error
    except CheckpointError:
        raise
    except Exception as error:  # what damaged bytes make zipfile and pickletools raise has no bound
        reason = listed([str(error) or type(error).__name__])
        raise CheckpointError(f"{path} is damaged and cannot be read ({reason}); copy it again") from error


class Reading:
    """One file's pickles: what they asked for, and how much they may still cost."""

    def __init__(self, path: Path, size: int):
        self.path = path
        self._met: set[str] = set()
        self._named: dict[tuple[str, str], Global | torch.dtype] = {}
        self._operations = OPERATIONS
        # Each thing is copied once or twice in an honest file; a hostile one has the same copied for ever.
        self._copies = 4 * size + (1 << 20)
        self._depth = 0
        self._shared: dict[tuple[int, torch.dtype], tuple[Storage, Storage]] = {}

    @property
    def ignored(self) -> tuple[str, ...]:
        """The names of what became a Stub."""
        return tuple(sorted(self._met))

    def load(self, source: Source, persistent: Callable[[Any], Any] | None = None) -> Any:
        """What the pickle from the source's position on describes; the position is then behind it."""
        with told(self.path), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd escapes in names
            return _Machine(self, persistent).run(source)

    def nested(self, data: bytes | bytearray) -> Any:
        """What a file within a pickle holds."""
        from landscape.checkpoints.legacy import unpickled  # which reads its pickles with this module

        self._depth += 1
        if self._depth > DEPTH:
            raise Malformed(f"files stand more than {DEPTH} deep within files")
        self.copied(len(data))
        try:
            return unpickled(Source(data), self)[0]
        finally:
            self._depth -= 1

    def named(self, module: str, name: str) -> Global | torch.dtype:
        """What stands for a name."""
        if len(module) + len(name) > LETTERS:
            raise Malformed(f"it names code by {len(module) + len(name):,} letters")
        found = self._named.get((module, name))
        if found is None:
            found = self._named[module, name] = global_of(module, name)
            if isinstance(found, Global) and not found.known:
                self.met(found.name)
        return found

    def called(self, function: Any, arguments: Any) -> Any:
        """What stands for a call: of a known name what we make of it, of anything else a Stub."""
        if not isinstance(function, Stub) or type(arguments) is not tuple:
            raise Malformed(f"{kind_of(function)} is called with {kind_of(arguments)}")
        if isinstance(function, Global) and function.known in KNOWN:
            self.copied(len(arguments))
            try:
                return KNOWN[function.known](self, *arguments)
            except CheckpointError:
                raise
            except Exception:  # it is called in a way that we do not know
                self.met(function.name)
        return Stub(function.name, arguments)

    def met(self, name: str) -> None:
        """Notes a name that is not known."""
        if len(self._met) < MET:
            self._met.add(name)

    def copied(self, count: int) -> None:
        """Accounts for so many things, or bytes, that a name of three bytes had copied."""
        self._copies -= count
        if self._copies < 0:
            raise Malformed("it would have the same copied over and over")

    def operated(self) -> None:
        """Accounts for an instruction."""
        self._operations -= 1
        if self._operations < 0:
            raise Malformed(f"it holds more than {OPERATIONS:,} objects beside its tensors")

    def shared(self, storage: Storage, dtype: torch.dtype) -> Storage:
        """The storage as numbers of another type; the same one whenever it is asked for."""
        # The first of the pair keeps the storage, so that no other gets its id.
        return self._shared.setdefault((id(storage), dtype), (storage, retyped(storage, dtype)))[1]


class _Machine:
    """The stack machine of one pickle; on its stack are values and our own parts, nothing that could run."""

    def __init__(self, reading: Reading, persistent: Callable[[Any], Any] | None):
        self.reading, self.persistent = reading, persistent
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []  # the stacks below each mark
        self.memo: dict[int, Any] = {}
        self.result: Any = None

    def run(self, source: Source) -> Any:
        for opcode, argument, _ in pickletools.genops(source):  # type: ignore[arg-type]  # it reads, as files do
            action = ACTIONS.get(opcode.name)
            if action is None:
                raise Malformed(f"it uses {opcode.name}, which no checkpoint needs")
            self.reading.operated()
            try:
                action(self, argument)
            except IndexError as error:  # of the stack
                raise Malformed(f"it uses {opcode.name} on what is not there") from error
        return self.result

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def integer(self, value: int) -> None:
        if value.bit_length() > 8192:  # Python prints no number of more than 4300 digits
            raise Malformed("it has a number of thousands of digits")
        self.push(value)

    def mark(self, _: Any) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marked.pop()
        return items

    def stop(self, _: Any) -> None:
        self.result = self.stack.pop()

    def pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def pop_mark(self, _: Any) -> None:
        self.since_mark()

    def put(self, place: int | None) -> None:
        if place is not None and not 0 <= place < 2**32:  # larger ones could be chosen to collide
            raise Malformed("it numbers its parts as no pickle does")
        self.memo[len(self.memo) if place is None else place] = self.stack[-1]

    def get(self, place: int) -> None:
        if place not in self.memo:
            raise Malformed("it refers to a part of itself that is not there")
        value = self.memo[place]
        self.push(value.made if type(value) is Unbuilt and value.made else value)

    def last(self, count: int) -> None:
        """The last so many become a tuple."""
        if len(self.stack) < count:
            raise IndexError(count)
        self.stack[len(self.stack) - count :] = [tuple(self.stack[len(self.stack) - count :])]

    def entries(self, target: Any, items: list[Any]) -> None:
        if len(items) % 2:
            raise Malformed("a dict has a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            put(target, key, value)

    def dictionary(self, _: Any) -> None:
        made: dict[Any, Any] = {}
        self.entries(made, self.since_mark())
        self.push(made)

    def set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        put(self.stack[-1], key, value)

    def set_items(self, _: Any) -> None:
        items = self.since_mark()
        self.entries(self.stack[-1], items)

    def append(self, _: Any) -> None:
        item = self.stack.pop()
        extend(self.stack[-1], (item,))

    def appends(self, _: Any) -> None:
        items = self.since_mark()
        extend(self.stack[-1], items)

    def named(self, text: str) -> None:
        module, _, name = text.partition(" ")
        self.push_global(module, name)

    def stack_named(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise Malformed("a name is no text")
        self.push_global(module, name)

    def push_global(self, module: str, name: str) -> None:
        self.push(self.reading.named(module, name))

    def reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.push(self.reading.called(function, arguments))

    def new_ex(self, _: Any) -> None:
        keywords, arguments, kind = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.push(self.reading.called(kind, (*self.counted(arguments), keywords)))

    def counted(self, arguments: Any) -> tuple[Any, ...]:
        if type(arguments) is not tuple:
            raise Malformed(f"a call is given {kind_of(arguments)}")
        self.reading.copied(len(arguments))
        return arguments

    def instance(self, text: str) -> None:
        arguments = tuple(self.since_mark())
        self.named(text)
        self.push(self.reading.called(self.stack.pop(), arguments))

    def old_instance(self, _: Any) -> None:
        kind, *arguments = self.since_mark()
        self.push(self.reading.called(kind, tuple(arguments)))

    def persist(self, _: Any) -> None:
        if self.persistent is None:
            raise Malformed("it refers to what stands in no file")
        self.push(self.persistent(self.stack.pop()))

    def build(self, _: Any) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is Unbuilt and target.made is None:
            self.stack[-1] = built(self.reading, target, state)
        elif isinstance(target, Stub) and not isinstance(target, Global):
            target.state = state
        elif not isinstance(target, (dict, list, Lazy)):  # theirs is dropped, as a state dict's _metadata
            raise Malformed(f"{kind_of(target)} is given a state")


_Action = Callable[[_Machine, Any], None]
_PUSHED = (
    "BININT BININT1 BININT2 STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 "
    "UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 FLOAT BINFLOAT"
)
# Absent, and so refused: EXT1, EXT2, EXT4, PERSID, NEXT_BUFFER, READONLY_BUFFER.
ACTIONS: dict[str, _Action] = {
    **dict.fromkeys(_PUSHED.split(), _Machine.push),
    **dict.fromkeys(("INT", "LONG", "LONG1", "LONG4"), _Machine.integer),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_SET": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "LIST": lambda machine, _: machine.push(machine.since_mark()),
    "FROZENSET": lambda machine, _: machine.push(machine.since_mark()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.last(1),
    "TUPLE2": lambda machine, _: machine.last(2),
    "TUPLE3": lambda machine, _: machine.last(3),
    "DICT": _Machine.dictionary,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "ADDITEMS": _Machine.appends,
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "GLOBAL": _Machine.named,
    "STACK_GLOBAL": _Machine.stack_named,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,  # a class is called as a function is: by us
    "NEWOBJ_EX": _Machine.new_ex,
    "INST": _Machine.instance,
    "OBJ": _Machine.old_instance,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persist,
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "STOP": _Machine.stop,
}
