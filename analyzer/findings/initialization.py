"""Report matrices that begin at an unusual scale."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

from analyzer.findings.curves import curves_of, norm_at
from analyzer.findings.rules import Draft, rule
from analyzer.findings.wording import agree, layers, number, place
from analyzer.model.run import PRODUCT
from analyzer.model.tables import Tables, TensorRow

TOO_LARGE = 3  # times He's scale
TOO_SMALL, TOO_SMALL_ALONE = 1 / 5, 1 / 30  # of the least usual scale: for half of all matrices, or for a few
HE, UNIFORM = sqrt(2), 1 / sqrt(3)  # root mean square times √fan-in: of He, and of torch's U(±1/√fan-in)
SMALL_NORMAL = 0.02  # GPT-2, BERT
LIKE_EMBEDDING = 0.15  # how far from 1 the root mean square of a small embedding may be
OWN_SCALE = frozenset({"embedding", "position", "patch"})  # roles with another scale


@rule("norm")
def unusual_initialization(tables: Tables) -> Iterator[Draft]:
    """Report matrices that begin far above or far below every usual scale, if the run begins with its initialization.

    Usual are U(±1/√fan-in) (torch), He's √(2/fan-in), Glorot's √(2/(fan-in + fan-out)), 0.02 (GPT-2, BERT), also
    divided by √(2·layers), and orthogonal matrices. Too large is more than 3 times He's scale; too small, less than a
    fifth of the smaller of torch's scale and 0.02, for half of all matrices; single ones may begin near zero on purpose
    (the last of a residual block, an output head), so they are named below a thirtieth. Zeros are on purpose.
    Embeddings and adapters have scales of their own and are left out, and so are single matrices of N(0, 1) without a
    bias, which is how torch's Embedding begins under any name.

    Source: He et al., Delving deep into rectifiers (ICCV 2015); Glorot & Bengio (AISTATS 2010); Radford et al. (2019).
    Measured here: in healthy trainings the first root mean squares are 0.43 to 1.04 times torch's scale (0.43 of a
    head of BERT, 0.54 of an LSTM), and with GPT-2's initialization at width 48 0.10 to 0.24 times; there the smallest
    is 0.40 times the least usual scale of its shape.
    """
    first = tables.checkpoints[0] if tables.checkpoints else None
    if first is None or 0 not in (first.epoch, first.step) or (first.step or 0) > 0:
        return
    sizes: dict[str, tuple[float, float, float]] = {}  # root mean square, least and largest usual one
    for series in curves_of(tables, "rms"):
        bounds = _usual_scales(series.tensor)
        if bounds and len(series.values) and series.places[0] == 0 and series.values[0] > 0:
            sizes[series.tensor.name] = (float(series.values[0]), *bounds)
    large = {name: size / high for name, (size, _, high) in sizes.items() if size > TOO_LARGE * high}
    small = {name: low / size for name, (size, low, _) in sizes.items() if size < TOO_SMALL * low}
    if 2 * len(large) < len(sizes):
        named = {row.name for row in tables.tensors}
        large = {
            name: ratio
            for name, ratio in large.items()
            if abs(sizes[name][0] - 1) > LIKE_EMBEDDING or _bias_of(name) in named
        }
    if 2 * len(small) < len(sizes):
        small = {name: ratio for name, ratio in small.items() if ratio > 1 / TOO_SMALL_ALONE}
    for found, words in ((large, "large"), (small, "small")):
        if not found:
            continue
        name, *others = sorted(found, key=lambda name: found[name], reverse=True)
        size, low, high = sizes[name]
        more = f", and so {agree(len(others), 'is', 'are')} {layers(others)}" if others else ""
        yield Draft(
            "notice",  # some parametrizations begin with N(0, 1) on purpose
            f"{layers([name])} begins unusually {words}: the root mean square of its elements is {number(size)} at "
            f"{place(tables, 0)} (norm {number(norm_at(tables, name, 0))}), that of usual initializations of this "
            f"shape {number(low)} to {number(high)}{more}.",
            tensors=[name, *others],
            places=[0],
            evidence={"rms": {one: sizes[one][0] for one in found}, "usual": {one: sizes[one][1:] for one in found}},
        )


def _bias_of(name: str) -> str:
    """Return the name that the bias beside a weight has."""
    return name.removesuffix("weight") + "bias"


def _usual_scales(tensor: TensorRow) -> tuple[float, float] | None:
    """Return the least and the largest usual root mean square of a matrix at its start; None if it has none."""
    if tensor.rule == PRODUCT or tensor.matrix_shape is None or tensor.role in OWN_SCALE:
        return None
    rows, columns = tensor.matrix_shape
    fan_in = columns if tensor.name.endswith("weight") else min(rows, columns)  # torch stores (out, in)
    return min(SMALL_NORMAL, UNIFORM / sqrt(max(rows, columns))), max(HE / sqrt(fan_in), SMALL_NORMAL)
