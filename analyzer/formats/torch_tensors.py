"""Convert torch's pickled calls of tensor-rebuilding functions to positions of bytes.

The functions and their arguments are those of torch/_utils.py and torch/_tensor.py, from torch 1.0 to 2.15, and of
torch/autograd/variable.py and torch/nn/parameter.py of 0.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from analyzer.formats.pickle_calls import Calls
from analyzer.formats.pickle_trees import Record, Unknown
from analyzer.model.run import Checksum, Part, TensorInfo

MOST_DIMENSIONS = 64  # numpy's own limit
# A tensor that repeats its elements (``expand``) may declare any size; up to this many bytes it is materialized.
EXPANDED_LIMIT = 64 << 20
LARGEST = 2**63 - 1
LONGEST_DEVICE = 100  # characters

# Bytes per element; the names are also numpy's or ml_dtypes'.
DTYPES: Mapping[str, int] = {
    "bool": 1, "uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "uint32": 4, "int32": 4, "uint64": 8, "int64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1,
}  # fmt: skip
_QUANTIZED = "quantized values are meaningless without their scales"
_SMALL = "its elements are smaller than a byte"
_NO_TYPE = "numpy has no such type"
# Bytes per stored unit, and the reason why the dtype is not measured.
UNREADABLE: Mapping[str, tuple[int, str]] = {
    "qint8": (1, _QUANTIZED), "quint8": (1, _QUANTIZED), "qint32": (4, _QUANTIZED),
    "quint4x2": (1, _QUANTIZED), "quint2x4": (1, _QUANTIZED),
    "float4_e2m1fn_x2": (1, _SMALL), "bits1x8": (1, _SMALL), "bits2x4": (1, _SMALL), "bits4x2": (1, _SMALL),
    **{f"{sign}int{bits}": (1, _SMALL) for sign in ("", "u") for bits in range(1, 8)},
    "bits8": (1, _NO_TYPE), "bits16": (2, _NO_TYPE), "complex32": (4, _NO_TYPE), "bcomplex32": (4, _NO_TYPE),
}  # fmt: skip

_STORAGES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16",
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool",
    "ComplexDouble": "complex128", "ComplexFloat": "complex64",
    "QInt8": "qint8", "QUInt8": "quint8", "QInt32": "qint32", "QUInt4x2": "quint4x2", "QUInt2x4": "quint2x4",
}  # fmt: skip
# The dtype of each storage class; an untyped storage counts bytes, and the tensor states their dtype.
STORAGE_CLASSES: Mapping[str, str] = {
    **{f"torch.{name}Storage": dtype for name, dtype in _STORAGES.items()},
    **{f"torch{place}.{name}": "uint8" for place in ("", ".storage") for name in ("UntypedStorage", "_UntypedStorage")},
}
_PLAIN_CLASSES = ("torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")


@dataclass(frozen=True, slots=True)
class Storage:
    """``length`` bytes of a file from ``begin`` on, elements of ``dtype`` unless a tensor overrides it.

    ``absent`` is the reason why there are no bytes, None if there are.
    """

    path: str
    begin: int
    length: int
    dtype: str
    big_endian: bool = False
    absent: str | None = None
    checksum: Checksum | None = None


def width_of(dtype: str) -> int:
    """Return the bytes of one stored unit.

    Raises:
        ValueError: the dtype is unknown, perhaps because it is newer than this module.
    """
    if dtype in DTYPES:
        return DTYPES[dtype]
    if dtype in UNREADABLE:
        return UNREADABLE[dtype][0]
    raise ValueError(f"unknown dtype {dtype!r}")


def storage_dtype(kind: object) -> str:
    """Return the dtype of a storage class.

    Raises:
        ValueError: the class is unknown.
    """
    if not isinstance(kind, Unknown) or kind.name not in STORAGE_CLASSES:
        raise ValueError(f"a storage has the unknown class {getattr(kind, 'name', '')!r}")
    return STORAGE_CLASSES[kind.name]


def dtype_name(value: object) -> str:
    """Return a dtype's name without ``torch.``.

    Raises:
        ValueError: the value is not a dtype, or an unknown one.
    """
    if not isinstance(value, Unknown) or not value.name.startswith("torch."):
        raise ValueError("a dtype is expected")
    name = value.name.removeprefix("torch.")
    width_of(name)
    return name


def sizes(value: object) -> tuple[int, ...]:
    """Return a shape, offsets or strides from a pickle as a tuple.

    Raises:
        ValueError: the value is not a tuple of sizes.
    """
    if not isinstance(value, (tuple, list)):
        raise ValueError("a shape is not a tuple of sizes")
    for size in value:
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= LARGEST:
            raise ValueError("a shape is not a tuple of sizes")
    return tuple(value)


def _unsupported(dtype: str, shape: tuple[int, ...], reason: str) -> TensorInfo:
    return TensorInfo("", dtype, shape, (), reason)


def _tensor(storage: object, offset: object, shape: object, strides: object, *rest: object) -> TensorInfo:
    """Handle _rebuild_tensor and _rebuild_tensor_v2; ``rest`` is requires_grad, hooks and metadata (conj, neg)."""
    if not isinstance(storage, Storage) or len(rest) > 3:
        raise ValueError("a tensor has no storage, or unknown arguments")
    return _view(storage, storage.dtype, offset, shape, strides, rest[2] if len(rest) > 2 else None)


def _tensor_v3(
    storage: object, offset: object, shape: object, strides: object, _grad: object, _hooks: object, dtype: object,
    metadata: object = None,
) -> TensorInfo:  # fmt: skip
    """Handle _rebuild_tensor_v3, which adds the dtype of an untyped storage."""
    if not isinstance(storage, Storage):
        raise ValueError("a tensor has no storage")
    return _view(storage, dtype_name(dtype), offset, shape, strides, metadata)


def _view(storage: Storage, dtype: str, offset: object, shape: object, strides: object, metadata: object) -> TensorInfo:
    """Return the part of a storage that a tensor occupies.

    Raises:
        ValueError: the tensor extends beyond the storage, or its arguments are invalid.
    """
    shape, strides, (start,) = sizes(shape), sizes(strides), sizes((offset,))
    width = width_of(dtype)
    if len(shape) != len(strides):
        raise ValueError(f"a tensor of {len(shape)} dimensions has {len(strides)} strides")
    if dtype in UNREADABLE:
        return _unsupported(dtype, shape, f"{dtype}: {UNREADABLE[dtype][1]}")
    if len(shape) > MOST_DIMENSIONS:
        return _unsupported(dtype, shape, f"{len(shape)} dimensions are more than {MOST_DIMENSIONS}")
    if storage.absent:
        return _unsupported(dtype, shape, storage.absent)
    if isinstance(metadata, dict) and (metadata.get("conj") or metadata.get("neg")):
        return _unsupported(dtype, shape, "its values are stored conjugated or negated")
    if 0 in shape:
        return TensorInfo("", dtype, shape, (Part(storage.path, storage.begin, 0),))
    length = width * (1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)))
    if start * width + length > storage.length:
        raise ValueError(f"a tensor of shape {list(shape)} extends beyond its storage of {storage.length} bytes")
    expanded = width * prod(shape)
    if expanded > max(storage.length, EXPANDED_LIMIT):
        return _unsupported(dtype, shape, f"{length} stored bytes are expanded to {expanded}")
    is_plain = _is_row_major(shape, strides)
    begin, steps = storage.begin + start * width, None if is_plain else strides
    part = Part(storage.path, begin, length, strides=steps, checksum=storage.checksum)
    return TensorInfo("", dtype, shape, (part,), big_endian=storage.big_endian and width > 1)


def _is_row_major(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Check whether elements are contiguous in row-major order; the stride of an axis of length 1 does not matter."""
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size > 1 and stride != step:
            return False
        step *= size
    return True


def _first(data: object, *_: object) -> object:
    """Return the first argument: the content of a parameter, of a tensor that was moved to the CPU, or of a size."""
    return data


def _parameter(*arguments: object) -> object:
    """Handle a parameter of torch 0.3, whose class is called with its tensor; a placeholder for anything else."""
    is_tensor = len(arguments) == 1 and isinstance(arguments[0], TensorInfo)
    return arguments[0] if is_tensor else Record("torch.nn.parameter.Parameter")


def _are_short(arguments: tuple[object, ...]) -> bool:
    """Check that nested tuples, which the interpreter does not count, are no longer than a tensor's shape may be."""
    return all(len(item) <= MOST_DIMENSIONS for item in arguments if isinstance(item, (tuple, list)))


def _of_class(function: object, kind: object, arguments: object, _state: object = None) -> object:
    """Handle _rebuild_from_type and its _v2: a tensor of a subclass, or with attributes."""
    name = kind.name if isinstance(kind, Unknown) else "an unknown class"
    rebuild = TENSOR_CALLS.get(function.name) if isinstance(function, Unknown) else None
    # Nested calls could recurse without end.
    if rebuild is None or rebuild is _of_class or not isinstance(arguments, tuple) or not _are_short(arguments):
        return Unknown(name)
    made = rebuild(*arguments)
    if name in _PLAIN_CLASSES or not isinstance(made, TensorInfo):
        return made
    return replace(made, unsupported=made.unsupported or f"a tensor of class {name}")


def _wrapper(kind: object, dtype: object, shape: object, *_: object) -> TensorInfo:
    name = kind.name if isinstance(kind, Unknown) else "an unknown class"
    return _unsupported(dtype_name(dtype), sizes(shape), f"a tensor of class {name}")


def _without_values(dtype: object, shape: object, *_: object) -> TensorInfo:
    return _unsupported(dtype_name(dtype), sizes(shape), "it has no values (device meta)")


def _quantized(storage: object, _offset: object, shape: object, *_: object) -> TensorInfo:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor has no storage")
    return _unsupported(storage.dtype, sizes(shape), _QUANTIZED)


def _sparse(_layout: object, data: object) -> object:
    """Handle _rebuild_sparse_tensor, whose data is the indices, then the values, then the shape."""
    items = data if isinstance(data, tuple) and _are_short(data) else ()
    infos = [item for item in items if isinstance(item, TensorInfo)]
    shapes = [item for item in items if isinstance(item, tuple)]
    if not infos or not shapes:
        return Unknown("a sparse tensor")
    return _unsupported(infos[-1].dtype, sizes(shapes[0]), "a sparse tensor")


def _device(kind: object, index: object = None) -> str:
    """Return the name of a device: its kind and, where there are several, its number."""
    known = (str(one) for one in (kind, index) if isinstance(one, (str, int)))
    return ":".join(text[:LONGEST_DEVICE] for text in known)


TENSOR_CALLS: Calls = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch._utils._rebuild_meta_tensor_no_storage": _without_values,
    "torch._utils._rebuild_wrapper_subclass": _wrapper,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch.tensor._rebuild_from_type": _of_class,
    "torch._tensor._rebuild_from_type": _of_class,
    "torch._tensor._rebuild_from_type_v2": _of_class,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.autograd.variable.Variable": _parameter,
    "torch.Size": _first,
    "torch.device": _device,
}
