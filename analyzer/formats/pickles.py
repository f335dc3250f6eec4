"""Interpret pickle bytecode without executing it: nothing is imported, called or built, whatever the file contains.

This interpreter replaces a restricted ``pickle.Unpickler``, which allocates by declared sizes, consults ``copyreg`` and
runs methods of the objects that it builds. Here a global is only a name (:class:`Unknown`), and the result of calling
it is an inert :class:`Record` of the name and what was passed and set, except for a few names that the caller maps to
its own functions. Opcodes: Lib/pickletools.py of CPython.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sized
from functools import partial
from sys import getsizeof
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.formats.pickle_calls import PLAIN_CALLS, Calls
from analyzer.formats.pickle_texts import decimal, python_2_text, quoted, raw_unicode
from analyzer.formats.pickle_trees import Record, Unknown, as_key, uncollected
from analyzer.model.run import TensorInfo

PICKLE_LIMIT = 256 << 20
# Bytes that the values may take, approximately. One byte of a pickle can request two hundred; the files of state dicts
# and optimizers take 8 for each of theirs, those of pickled modules or long histories of scores about 19.
SMALL_MEMORY, MEMORY_PER_BYTE, MEMORY_LIMIT = 160 << 20, 20, 1 << 30
# Opcodes that are carried out: no writer needs fewer than two bytes for each.
SMALL_WORK, BYTES_PER_OPERATION = 1_000_000, 2
LONGEST_INTEGER = 64  # bytes
LONGEST_NUMBER = 400  # characters
MOST_ARGUMENTS = 64  # of a function that is known; those of torch take ten
LONGEST_NAME = 300  # characters of a global's name
_LIST, _DICT, _MEMO, _SLOT, _REFERENCE, _PAIR, _OBJECT = 64, 64, 64, 8, 24, 100, 256  # bytes, approximately
_NEWEST_PROTOCOL = 5


def interpret(
    path: str,
    data: bytes | bytearray,
    calls: Calls,
    persistent: Callable[[object], object] | None = None,
    size: int = 0,
) -> object:
    """Return the value that a pickle describes.

    Args:
        path: the file, for messages.
        data: one whole pickle, of any protocol.
        calls: replacements by global name (``module.name``). They receive the file's untrusted arguments, so they must
            check them, and raise ValueError for those they do not accept.
        persistent: resolves a persistent id; without it, a placeholder is used.
        size: the bytes of the file that the pickle is in, which bound the memory that its values may take.

    Returns:
        None, bool, int, float, str, bytes, tuple, list (for sets too), dict, :class:`Unknown`, :class:`Record`, and
        what ``calls`` and ``persistent`` return. Containers may be nested to any depth, or contain themselves.

    Raises:
        CheckpointError: the pickle is invalid, or needs more memory or work than its size explains.
    """
    machine = _Machine(bytes(data), {**PLAIN_CALLS, **calls}, persistent, max(size, len(data)))
    try:
        with uncollected():
            return machine.run()
    except CheckpointError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, struct.error) as error:
        reason = str(error) if isinstance(error, ValueError) else "an operand is missing or of the wrong type"
        raise CheckpointError(
            f"{path}: its pickle is invalid (byte {machine.position}): {reason}. Copy it again."
        ) from None


class _Machine:
    """The stack machine; ``stack`` contains the values above the topmost mark, ``held`` their bytes, approximately."""

    def __init__(self, data: bytes, calls: Calls, persistent: Callable[[object], object] | None, size: int) -> None:
        self.data = data
        self.calls = calls
        self.persistent = persistent
        self.position = 0
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, object] = {}
        self.held = 0
        self.most_held = min(MEMORY_LIMIT, max(SMALL_MEMORY, MEMORY_PER_BYTE * size))

    def run(self) -> object:
        data, operations = self.data, _OPERATIONS
        most = SMALL_WORK + len(data) // BYTES_PER_OPERATION
        for _ in range(most):
            position = self.position
            if position >= len(data):
                raise ValueError("it is truncated")
            code = data[position]
            self.position = position + 1
            if code == _STOP:
                if self.position != len(data):
                    raise ValueError(f"{len(data) - self.position} bytes follow its end")
                return self.stack.pop()
            operation = operations[code]
            if operation is None:
                raise ValueError(f"unknown opcode {code}")
            operation(self)
            if self.held > self.most_held:
                raise self.too_large()
        raise ValueError(f"it has more than {most} operations, like an attack")

    def too_large(self) -> ValueError:
        return ValueError(f"its values take more than {self.most_held >> 20} MiB, like an attack")

    # ------------------------------------------------------------------------------------------------ arguments

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise ValueError(f"{count} bytes are declared but {len(self.data) - self.position} follow")
        data = self.data[self.position : end]
        self.position = end
        return data

    def unsigned(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise ValueError("a line is truncated")
        data = self.data[self.position : end]
        self.position = end + 1
        return data

    # ------------------------------------------------------------------------------------------------ values

    def push(self, value: object, bytes_held: int = 32) -> None:
        self.stack.append(value)
        self.held += bytes_held + _SLOT

    def push_constant(self, value: object) -> None:
        self.stack.append(value)
        self.held += _SLOT

    def push_small_integer(self) -> None:
        """Push an integer of one byte, which the interpreter of Python has ready."""
        self.stack.append(self.take(1)[0])
        self.held += _SLOT

    def push_text(self, text: str) -> None:
        self.push(text, getsizeof(text))

    def push_bytes(self, width: int) -> None:
        data = self.take(self.unsigned(width))
        self.push(data, getsizeof(data))

    def push_unicode(self, width: int) -> None:
        self.push_text(self.take(self.unsigned(width)).decode("utf-8"))

    def push_python_2_text(self, width: int) -> None:
        self.push_text(python_2_text(self.take(self.unsigned(width))))

    def push_integer(self, data: bytes) -> None:
        too_long = len(data) > LONGEST_INTEGER
        self.push(Unknown("an integer too long") if too_long else int.from_bytes(data, "little", signed=True), 64)

    def push_number_line(self, parse: Callable[[bytes], object]) -> None:
        line = self.line()
        if len(line) > LONGEST_NUMBER:
            raise ValueError(f"a number has {len(line)} characters")
        self.push(parse(line), 64)

    def push_tuple(self, count: int) -> None:
        if len(self.stack) < count:
            raise ValueError("a tuple has too few items")
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        self.push(items, _LIST + _SLOT * count)

    def items(self) -> list[Any]:
        """Remove the topmost mark and return the values above it."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def push_mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []
        self.held += _LIST

    def pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.items()

    # ------------------------------------------------------------------------------------------------ memo

    def put(self, key: int) -> None:
        self.memo[key] = self.stack[-1]
        self.held += _MEMO

    def get(self, key: int) -> None:
        if key not in self.memo:
            raise ValueError(f"the memo has no entry {key}")
        self.stack.append(self.memo[key])
        self.held += _REFERENCE

    # ------------------------------------------------------------------------------------------------ containers

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        self.held += _SLOT * len(items)
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, _INERT):
            raise ValueError(f"items are added to a {type(target).__name__}")

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        self.held += _PAIR * len(items) // 2
        if len(items) % 2:
            raise ValueError("a key has no value")
        if isinstance(target, Record) and target.items is None:
            target.items = {}
            self.held += _DICT
        content = target.items if isinstance(target, Record) else target
        if isinstance(content, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                if not isinstance(key, str):  # a placeholder may take its place
                    self.held += _PAIR
                content[as_key(key, content)] = value
        elif not isinstance(target, _INERT):
            raise ValueError(f"keys are set on a {type(target).__name__}")

    def push_dict(self) -> None:
        items = self.items()
        self.push({}, _DICT)
        self.set_items(items)

    # ------------------------------------------------------------------------------------------------ names and calls

    def push_global(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a global's name is not a string")
        full_name = f"{module[:LONGEST_NAME]}.{name[:LONGEST_NAME]}"[:LONGEST_NAME]
        self.push(Unknown(full_name), 2 * getsizeof(full_name))

    def push_global_lines(self) -> None:
        self.push_global(self.line().decode("utf-8"), self.line().decode("utf-8"))

    def push_instance_lines(self) -> None:
        arguments = self.items()
        self.push_global_lines()
        self.call(tuple(arguments))

    def push_object(self) -> None:
        function, *arguments = self.items()
        self.push(function)
        self.call(tuple(arguments))

    def call_with_keywords(self) -> None:
        """Replace a call with keyword arguments by an inert object; no known function takes any."""
        del self.stack[-2:]
        function = self.stack.pop()
        self.push(Record(function.name if isinstance(function, (Unknown, Record)) else "an object"), _OBJECT)

    def call(self, arguments: object) -> None:
        """Replace the topmost value, a function, by the result of its replacement, or by an inert object.

        What an unknown function returns can be called in turn: getattr returns classes that are inside others.
        """
        function = self.stack.pop()
        if not isinstance(function, (Unknown, Record)) or not isinstance(arguments, tuple):
            raise ValueError("something other than a function is called")
        known = self.calls.get(function.name) if isinstance(function, Unknown) else None
        if known:
            self.charge(arguments)
        try:
            self.push(known(*arguments) if known else Record(function.name, arguments), _OBJECT)
        except TypeError:
            raise ValueError(f"{function.name} does not take {len(arguments)} arguments") from None

    def charge(self, arguments: tuple[object, ...]) -> None:
        """Count what a function may build from its arguments, or read of them, before it is called."""
        if len(arguments) > MOST_ARGUMENTS:
            raise ValueError(f"a function is called with {len(arguments)} arguments")
        for argument in arguments:
            self.held += next((weight * len(argument) for kind, weight in _WEIGHTS if isinstance(argument, kind)), 0)
        if self.held > self.most_held:
            raise self.too_large()

    def build(self) -> None:
        """Keep the state of an inert object; discard it for all other values."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], Record):
            self.stack[-1].state = state

    def push_persistent(self, key: object) -> None:
        self.push(self.persistent(key) if self.persistent else Unknown("a persistent id"))

    def frame(self) -> None:
        length = self.unsigned(8)
        if length > len(self.data) - self.position:
            raise ValueError(f"a frame of {length} bytes is declared but {len(self.data) - self.position} follow")

    def protocol(self) -> None:
        protocol = self.unsigned(1)
        if protocol > _NEWEST_PROTOCOL:
            raise ValueError(f"protocol {protocol} is newer than {_NEWEST_PROTOCOL}")


_INERT = (Unknown, Record, TensorInfo)
# Bytes per item that a function may allocate or read for an argument of each type.
_WEIGHTS: tuple[tuple[type[Sized], int], ...] = ((tuple, 32), (str, 1), (list, _PAIR), (dict, _PAIR), (bytes, 1))


_Operation = Callable[[_Machine], None]


def _operations() -> list[_Operation | None]:
    """Return the operation of each opcode, indexed by its code; None for codes that are not opcodes."""
    M = _Machine
    nothing: _Operation = lambda _: None  # noqa: E731
    constants: dict[bytes, object] = {b"N": None, b"\x88": True, b"\x89": False}
    by_code: dict[bytes, _Operation] = {
        code: partial(lambda value, machine: machine.push_constant(value), value) for code, value in constants.items()
    } | {
        b"(": M.push_mark,
        b"0": M.pop,
        b"1": lambda m: (m.items(), None)[1],
        b"2": lambda m: m.push(m.stack[-1], 0),
        # numbers
        b"I": lambda m: m.push_number_line(decimal),
        b"L": lambda m: m.push_number_line(decimal),
        b"F": lambda m: m.push_number_line(float),
        b"J": lambda m: m.push_integer(m.take(4)),
        b"K": M.push_small_integer,
        b"M": lambda m: m.push(m.unsigned(2)),
        b"\x8a": lambda m: m.push_integer(m.take(m.unsigned(1))),
        b"\x8b": lambda m: m.push_integer(m.take(m.unsigned(4))),
        b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
        # text and bytes
        b"S": lambda m: m.push_text(quoted(m.line())),
        b"T": lambda m: m.push_python_2_text(4),
        b"U": lambda m: m.push_python_2_text(1),
        b"V": lambda m: m.push_text(raw_unicode(m.line())),
        b"X": lambda m: m.push_unicode(4),
        b"\x8c": lambda m: m.push_unicode(1),
        b"\x8d": lambda m: m.push_unicode(8),
        b"B": lambda m: m.push_bytes(4),
        b"C": lambda m: m.push_bytes(1),
        b"\x8e": lambda m: m.push_bytes(8),
        b"\x96": lambda m: m.push_bytes(8),
        # containers; a set is a list here
        b")": lambda m: m.push((), 0),
        b"t": lambda m: m.push(tuple(items := m.items()), _LIST + _SLOT * len(items)),
        b"\x85": lambda m: m.push_tuple(1),
        b"\x86": lambda m: m.push_tuple(2),
        b"\x87": lambda m: m.push_tuple(3),
        b"]": lambda m: m.push([], _LIST),
        b"\x8f": lambda m: m.push([], _LIST),
        b"l": lambda m: m.push(m.items(), _LIST),
        b"\x91": lambda m: m.push(m.items(), _LIST),
        b"}": lambda m: m.push({}, _DICT),
        b"d": M.push_dict,
        b"a": lambda m: m.extend([m.stack.pop()]),
        b"e": lambda m: m.extend(m.items()),
        b"\x90": lambda m: m.extend(m.items()),
        b"s": lambda m: m.set_items([m.stack.pop(-2), m.stack.pop()]),
        b"u": lambda m: m.set_items(m.items()),
        # memo
        b"p": lambda m: m.put(int(m.line()[:10])),
        b"q": lambda m: m.put(m.unsigned(1)),
        b"r": lambda m: m.put(m.unsigned(4)),
        b"\x94": lambda m: m.put(len(m.memo)),
        b"g": lambda m: m.get(int(m.line()[:10])),
        b"h": lambda m: m.get(m.take(1)[0]),
        b"j": lambda m: m.get(m.unsigned(4)),
        # names, calls, states
        b"c": M.push_global_lines,
        b"\x93": lambda m: m.push_global(m.stack.pop(-2), m.stack.pop()),
        b"R": lambda m: m.call(m.stack.pop()),
        b"\x81": lambda m: m.call(m.stack.pop()),
        b"\x92": M.call_with_keywords,
        b"i": M.push_instance_lines,
        b"o": M.push_object,
        b"b": M.build,
        b"P": lambda m: m.push_persistent(python_2_text(m.line())),
        b"Q": lambda m: m.push_persistent(m.stack.pop()),
        # extension codes and out-of-band buffers exist only in the process that wrote the pickle
        b"\x82": lambda m: m.push(Unknown(f"extension {m.unsigned(1)}"), _MEMO),
        b"\x83": lambda m: m.push(Unknown(f"extension {m.unsigned(2)}"), _MEMO),
        b"\x84": lambda m: m.push(Unknown(f"extension {m.unsigned(4)}"), _MEMO),
        b"\x97": lambda m: m.push(Unknown("an out-of-band buffer")),
        b"\x98": nothing,
        b"\x80": M.protocol,
        b"\x95": M.frame,
    }
    return [by_code.get(bytes([code])) for code in range(256)]


_STOP = ord(".")
_OPERATIONS = _operations()
