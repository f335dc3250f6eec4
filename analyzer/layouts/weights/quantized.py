"""Describe packed codes of quantized weights as integers, in whatever dtype their bytes are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from analyzer.model.run import TensorInfo
from analyzer.tensors.kinds import numpy_dtype

# bitsandbytes, QuantState.as_dict (bitsandbytes/functional.py): the packed state beside "NAME" has such names.
STATE = ".quant_state.bitsandbytes__"


def with_codes(tensors: Mapping[str, TensorInfo]) -> Mapping[str, TensorInfo]:
    """Return the tensors of a checkpoint, those that hold 4-bit codes of bitsandbytes with an integer dtype.

    ``bnb_4bit_quant_storage`` stores the codes as bfloat16 or float32 for FSDP; measured as numbers, they would be
    meaningless. Integers are read and compared, but not measured.
    """
    packed = {name.partition(STATE)[0] for name in tensors if STATE in name}
    if not packed:
        return tensors
    return {name: _as_integers(info) if name in packed else info for name, info in tensors.items()}


def _as_integers(info: TensorInfo) -> TensorInfo:
    if info.unsupported or info.product:
        return info
    return replace(info, dtype=f"uint{8 * numpy_dtype(info.dtype).itemsize}")
