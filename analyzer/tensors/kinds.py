"""Classify stored tensors: their kinds, and the matrices that they contain."""

from __future__ import annotations

import re
from functools import cache
from math import prod

import numpy as np

from analyzer.model.observed import MatrixView
from analyzer.model.run import EXPERT, PRODUCT, Part, Run, TensorInfo
from analyzer.model.tables import TensorRow

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
_EXPERTS = re.compile(r"(?:^|[._])experts(?:$|[._])")
_FLOATS = re.compile(r"(?:float|bfloat)\d")


@cache
def numpy_dtype(name: str) -> np.dtype[np.generic]:
    """Return the little-endian numpy (or ml-dtypes) type for the name of a stored dtype."""
    try:
        return np.dtype(name).newbyteorder("<")
    except TypeError:
        import ml_dtypes

        scalar_type: type[np.generic] = getattr(ml_dtypes, name)
        return np.dtype(scalar_type)


def stored_parts(info: TensorInfo) -> tuple[Part, ...]:
    """Return where a tensor's bytes are, or those of its factors if it is stored as a product."""
    return info.product.left.parts + info.product.right.parts if info.product else info.parts


def size_of(info: TensorInfo | None) -> int:
    """Return the bytes of a tensor in memory, row-major; 0 if it is absent or not read."""
    return 0 if info is None or info.unsupported else prod(info.shape) * numpy_dtype(info.dtype).itemsize


def is_readable(info: TensorInfo) -> bool:
    """Return whether a tensor has elements that can be read."""
    return not info.unsupported and 0 not in info.shape


def unsupported_reason(info: TensorInfo) -> str | None:
    """Return why a tensor's values are not measured, or None if they are."""
    if info.unsupported:
        return info.unsupported
    if not _FLOATS.match(info.dtype):
        return f"{info.dtype} elements have no weight metrics"
    return None


def kind(info: TensorInfo) -> str:
    """Return ``matrix``, ``stack`` (of experts), ``vector``, ``scalar``, ``buffer``, ``empty`` or ``unsupported``."""
    if unsupported_reason(info):
        return "unsupported"
    if 0 in info.shape:
        return "empty"
    if info.name.rpartition(".")[2] in _BUFFERS:
        return "buffer"
    if not info.shape or prod(info.shape) == 1:
        return "scalar"
    if len(info.shape) == 3 and min(info.shape[1:]) > 1 and _EXPERTS.search(info.name):
        return "stack"
    return "matrix" if _matrix_shape(info) else "vector"


def matrices(info: TensorInfo) -> tuple[MatrixView, ...]:
    """Return the matrices of a tensor: none, one, or one for each expert.

    Linear weights are (out, in) as stored; convolutions and all others become (out, in·k·…); a stack of experts
    (E, m, n), recognized by ``experts`` in its name, contains E matrices ``name[e]``.
    """
    what = kind(info)
    if what == "stack":
        rows, columns = info.shape[1], info.shape[2]
        return tuple(MatrixView(f"{info.name}[{e}]", e, (rows, columns)) for e in range(info.shape[0]))
    shape = _matrix_shape(info)
    return (MatrixView(info.name, None, shape),) if what == "matrix" and shape else ()


def tensor_rows(run: Run) -> list[TensorRow]:
    """Return one row for each tensor name, as at its first appearance, and for each expert of a stack."""
    first: dict[str, TensorInfo] = {}
    for checkpoint in run.checkpoints:
        for name, info in checkpoint.tensors.items():
            first.setdefault(name, info)
    rows = []
    for info in first.values():
        what, module = kind(info), info.name.rpartition(".")[0]
        shape = _matrix_shape(info) if what == "matrix" else None
        rule = {
            "matrix": PRODUCT if info.product else "as stored" if len(info.shape) == 2 else "(out, in·k·…)",
            "stack": "one matrix for each expert",
            "unsupported": unsupported_reason(info) or "",
        }.get(what, "")
        rows.append(TensorRow(info.name, module, what, info.shape, shape, rule, info.dtype))
        rows.extend(
            TensorRow(view.name, module, "matrix", view.shape, view.shape, f"{EXPERT}{view.index}", info.dtype)
            for view in matrices(info)
            if view.index is not None
        )
    return rows


def _matrix_shape(info: TensorInfo) -> tuple[int, int] | None:
    if len(info.shape) < 2:
        return None
    rows, columns = info.shape[0], prod(info.shape[1:])
    return (rows, columns) if rows > 1 and columns > 1 else None
