"""Combine the two stored factors of an adapted module into one tensor, ΔW = scale · up · down."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from analyzer.model.run import Product, TensorInfo

LARGEST_PRODUCT = 1 << 31  # elements; the embeddings of the largest models have about this many
DORA = "DoRA rescales the columns of the adapted weight, so its update is not a product of A and B alone"
PREFIX = "base_model.model."  # PEFT puts it in front of every name of the adapted model
BIAS = "an adapter with a bias changes more than the weight"


def update_of(
    module: str,
    down: TensorInfo,
    up: TensorInfo,
    scale: float,
    *,
    is_transposed: bool = False,
    is_scale_assumed: bool = False,
) -> TensorInfo:
    """Return the tensor ``MODULE.delta_weight``.

    Args:
        module: the module's name.
        down: the first factor, (r, in) or (r, in, kernel...) for a convolution.
        up: the second factor, (out, r) or (out, r, 1...).
        scale: the factor before the product.
        is_transposed: the module stores its weight as (in, out), as embeddings do.
        is_scale_assumed: the scale is not stored and was taken to be 1.
    """
    left, right = _as_matrix(up), _as_matrix(down)
    shape: tuple[int, ...] = (up.shape[0], *down.shape[1:])
    if is_transposed:
        left, right, shape = transposed(right), transposed(left), (down.shape[1], up.shape[0])
    product = Product(left, right, scale, is_scale_assumed)
    return TensorInfo(f"{module}.delta_weight", "float64", shape, (), product=product)


def problems(down: TensorInfo, up: TensorInfo, *, is_transposed: bool = False) -> Iterator[str]:
    """Yield reasons why the update is not the product of these two factors, or cannot be read as such."""
    for info in (down, up):
        if info.unsupported:
            yield info.unsupported
        if len(info.parts) != 1 or info.parts[0].strides or info.parts[0].inflated or info.parts[0].start:
            yield "its factors are not stored contiguously"
    if down.dtype != up.dtype:
        yield f"its factors are stored as {down.dtype} and {up.dtype}"
    if len(down.shape) < 2 or len(up.shape) < 2 or up.shape[1] != down.shape[0] or prod(up.shape[2:]) != 1:
        yield (
            f"shapes {list(up.shape)} and {list(down.shape)} cannot be multiplied (as those of a grouped convolution)"
        )
    elif not down.shape[0]:
        yield "its rank is 0"
    elif is_transposed and len(down.shape) != 2:
        yield f"an embedding has no factor of shape {list(down.shape)}"
    if up.shape[:1] and prod((up.shape[0], *down.shape[1:])) > LARGEST_PRODUCT:
        yield f"the product of {list(up.shape)} and {list(down.shape)} has more than {LARGEST_PRODUCT} elements"


def not_measured(module: str, info: TensorInfo, reason: str) -> TensorInfo:
    """Return ``MODULE.delta_weight`` as a tensor that is listed with the reason why it is not measured."""
    return TensorInfo(f"{module}.delta_weight", info.dtype, info.shape, (), unsupported=reason)


def transposed(info: TensorInfo) -> TensorInfo:
    """Return a matrix's transpose as a view of the same bytes."""
    rows, columns = info.shape
    part = replace(info.parts[0], shape=(columns, rows), strides=(1, columns))
    return replace(info, shape=(columns, rows), parts=(part,))


def _as_matrix(info: TensorInfo) -> TensorInfo:
    return replace(info, shape=(info.shape[0], prod(info.shape[1:])))
