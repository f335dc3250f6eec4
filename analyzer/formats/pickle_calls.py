"""Replacements for the few functions that plain data in a pickle calls; none of the original functions runs."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from analyzer.formats.pickle_trees import Record, Unknown, as_key

Calls = Mapping[str, Callable[..., object]]


def _single_value(*arguments: object) -> object:
    """Return the content of a set, which is all that is needed of it."""
    if len(arguments) > 1:
        raise ValueError("one argument is expected")
    return arguments[0] if arguments else []


def _dictionary(*arguments: object) -> object:
    """Build an OrderedDict or Counter as a dict: empty, from a dict, or from pairs."""
    made: dict[Any, Any] = {}
    if len(arguments) > 1 or not isinstance(pairs := arguments[0] if arguments else [], (list, dict)):
        raise ValueError("a dictionary is built from something other than pairs")
    for pair in pairs.items() if isinstance(pairs, dict) else pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise ValueError("a dictionary is built from something other than pairs")
        made[as_key(pair[0], made)] = pair[1]
    return made


def _encoded(text: object, encoding: object = "utf-8") -> object:
    """Decode bytes as protocol 2 writes them for Python 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes have an unknown encoding")
    return text.encode("latin-1")


def _reconstructed(kind: object, *_: object) -> object:
    """Return an inert object for one that protocols 0 and 1 would build."""
    return Record(kind.name if isinstance(kind, (Unknown, Record)) else "an object")


_NUMBERS = {"f2": "e", "f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "b1": "?"}


def _numpy_scalar(dtype: object, data: object = None) -> object:
    """Decode a numpy scalar, as scores often are; a placeholder for types other than plain numbers."""
    if isinstance(dtype, Record) and dtype.name == "numpy.dtype" and isinstance(data, bytes) and dtype.arguments:
        code = _NUMBERS.get(str(dtype.arguments[0])) if isinstance(dtype.arguments[0], str) else None
        order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else None
        if code and order in ("<", ">", "|") and struct.calcsize("=" + code) == len(data):
            number: object = struct.unpack(("<" if order == "|" else order) + code, data)[0]
            return number
    return Unknown("numpy.scalar")


PLAIN_CALLS: Calls = {
    "collections.OrderedDict": _dictionary,
    "collections.Counter": _dictionary,
    "collections.defaultdict": lambda *_: {},
    "builtins.set": _single_value,
    "builtins.frozenset": _single_value,
    "__builtin__.set": _single_value,
    "__builtin__.frozenset": _single_value,
    "copyreg._reconstructor": _reconstructed,
    "copy_reg._reconstructor": _reconstructed,
    "copyreg.__newobj__": _reconstructed,
    "copy_reg.__newobj__": _reconstructed,
    "_codecs.encode": _encoded,
    "numpy.dtype": lambda *arguments: Record("numpy.dtype", arguments),
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
}
