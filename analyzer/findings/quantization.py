"""Report weights in low precision: packed codes, which are not measured, and training without finer weights."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from math import erf, exp, log, pi, sqrt
from typing import TYPE_CHECKING

import numpy as np

from analyzer.findings.curves import ReliableCurve, curves_of
from analyzer.findings.rules import Draft, file_rule, rule
from analyzer.findings.wording import MOST_NAMED, agree, layers, percent
from analyzer.model.names import listed
from analyzer.model.tables import Tables

if TYPE_CHECKING:
    from analyzer.model.run import FloatArray

CODES = ("int8", "uint8", "uint16", "int32", "uint32", "uint64", "int64")  # dtypes of packed codes
BITSANDBYTES = "save the result of the model's dequantize() in transformers"
GPTQ_REMEDY = "dequantize it with the library that packed it (GPTQModel, AutoAWQ) and save the result"

ROUNDOFF = {"bfloat16": 2**-8, "float16": 2**-11, "float8_e4m3fn": 2**-4, "float8_e5m2": 2**-3}
DISPLACEMENT = 1 / sqrt(8 * log(2))  # by rounding, in units of u·‖W‖: docs/metrics.md, "Storage rounding"
SPACING = 1 / log(2)  # mean distance between neighboring numbers over their size, in units of u
LOST = 0.7  # share of the elements expected to change that do
LONGEST = 1e6  # steps, in rounding displacements: longer ones change every element anyway
FEWEST_ELEMENTS, FEWEST_INTERVALS = 256, 4
SUDDEN = 0.5  # share of a fall that few intervals bring if units died rather than steps shrank
FEW, FEW_SHARE = 3, 1 / 8  # how many are few: with momentum the rows of dead units drift on; at least one


@file_rule()
def packed_weights(tables: Tables) -> Iterator[Draft]:
    """Weight matrices that are stored as packed codes of a quantization beside their scales.

    Source: the names that the writers give: bitsandbytes (functional.py, `QuantState.as_dict`; `SCB` in
    nn/modules.py), GPTQ and AWQ (`qweight`, `qzeros`, `scales`), compressed-tensors (`weight_packed`), HQQ (`W_q`),
    MXFP4 of transformers (`_blocks`, `_scales`).
    """
    found: dict[tuple[str, str], dict[str, None]] = {}  # names as sets in order
    seen: set[int] = set()
    for checkpoint in tables.source.checkpoints:
        if id(checkpoint.tensors) in seen:
            continue
        seen.add(id(checkpoint.tensors))
        codes = [name for name, info in checkpoint.tensors.items() if info.dtype in CODES and len(info.shape) > 1]
        for name in codes:
            if packing := _packing(name, checkpoint.tensors.keys()):
                found.setdefault(packing, {})[name] = None
    for (kind, remedy), packed in found.items():
        names = list(packed)
        count = f"{len(names)} {agree(len(names), 'matrix', 'matrices')}"
        yield Draft(
            "warning",
            f"{count} ({listed(names, MOST_NAMED)}) {agree(len(names), 'is', 'are')} packed as {kind} and not "
            f"measured; only the other tensors are. To measure the weights, {remedy}.",
            tensors=names,
            evidence={"format": kind},
        )


def _packing(name: str, names: Collection[str]) -> tuple[str, str] | None:
    """Return the format of a tensor of codes and its remedy, judged by the names beside it; None if it is none."""
    module, _, last = name.rpartition(".")
    for code in ("nf4", "fp4"):
        if f"{name}.quant_state.bitsandbytes__{code}" in names:
            return f"{code.upper()} (bitsandbytes)", BITSANDBYTES
    if f"{name}.absmax" in names and f"{name}.quant_map" in names:
        return "4-bit codes (bitsandbytes)", BITSANDBYTES
    if last == "weight" and f"{module}.SCB" in names:
        return "LLM.int8 (bitsandbytes)", BITSANDBYTES
    if last == "qweight" and f"{module}.scales" in names:
        return ("GPTQ" if f"{module}.g_idx" in names else "AWQ"), GPTQ_REMEDY
    if last == "weight_packed" and f"{module}.weight_scale" in names:
        return "compressed-tensors", "decompress it with the package compressed-tensors and save the result"
    if last == "W_q":
        return "HQQ", "dequantize it with the package hqq and save the result"
    if name.endswith("_blocks") and f"{name.removesuffix('_blocks')}_scales" in names:
        return "MXFP4", "load it in transformers with Mxfp4Config(dequantize=True) and save the result"
    return None


@rule("changed_fraction")
def updates_lost_in_rounding(tables: Tables) -> Iterator[Draft]:
    """Report parameters that were trained in a narrow dtype without finer master weights, so that updates are lost.

    In a rounded copy of finer weights every element takes part in a step: of a step of x rounding displacements
    (0.42466·u·norm), E min(1, 0.294·x·abs(z)) of the elements change, for normal z. Where the parameters themselves
    have the narrow dtype, updates below half a unit in the last place are lost: the elements that change are far fewer,
    and move further. Compared are the last quarter of the intervals, relative to the most elements that changed in any
    interval (some never get a gradient) and to those that are not zero.

    Measured here: nine healthy float32 trainings (two shared ones, seven of `tests/benchmarks/healthy_trainings.py`)
    rounded to bfloat16 end at 0.87 to 1.17 of that share in each of their 47 matrices, training in pure bfloat16 at
    0.34, 0.45 and 0.78. Reported if the median matrix is below 0.7 (`LOST`). Where units died (0.37) or the task
    changed (0.30 to 0.61), the share falls too, but 83 to 90 % of the fall come within three intervals, against 23 to
    37 % in pure bfloat16: left out (`SUDDEN`). Source: Zamirai et al., Revisiting BFloat16 training (arXiv 2010.06192),
    sec. 3.
    """
    shares = trained_in_rounding(tables)
    if shares:
        names = sorted(shares, key=lambda name: shares[name])
        dtype = next(row.dtype for row in tables.tensors if row.name == names[0])
        more = f" (also in {layers(names[1:])})" if names[1:] else ""
        yield Draft(
            "notice",
            f"The weights are trained in {dtype} itself, without a finer copy: in {layers(names[:1])} the last steps "
            f"change only {percent(shares[names[0]])} of the elements that steps of their length change in a rounded "
            f"copy{more}. The stored weights are the true ones, but updates below the spacing of {dtype} are lost. "
            "Master weights in float32, or stochastic rounding, keep them.",
            tensors=names,
            places=[len(tables.checkpoints) - 1],
            evidence={"share_of_expected": shares},
        )


def trained_in_rounding(tables: Tables) -> dict[str, float]:
    """Return the matrices in a narrow dtype whose updates are lost, with the share of the expected changes; or none."""
    others = {
        metric: {series.tensor.name: series for series in curves_of(tables, metric)}
        for metric in ("changed_fraction", "frobenius_norm", "zero_fraction")
    }
    shares: dict[str, float] = {}
    for steps in curves_of(tables, "step_distance"):
        size = float(np.prod(steps.tensor.shape, dtype=np.float64))
        if steps.tensor.dtype in ROUNDOFF and size >= FEWEST_ELEMENTS:
            share = _share_of_expected(steps, [curves.get(steps.tensor.name) for curves in others.values()])
            if share is not None:
                shares[steps.tensor.name] = share
    if not shares or np.median(list(shares.values())) > LOST:
        return {}
    return {name: share for name, share in shares.items() if share <= LOST}


def _share_of_expected(steps: ReliableCurve, others: Sequence[ReliableCurve | None]) -> float | None:
    """Return how many of the elements that should change in the last steps do; None if it cannot be said.

    Args:
        steps: the step distances of a matrix.
        others: its changed fractions, norms and zero fractions.
    """
    changed, norms, zeros = (_at(one, steps) for one in others)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        lengths = steps.stored / (DISPLACEMENT * ROUNDOFF[steps.tensor.dtype] * norms)
    known = (lengths > 1) & (lengths < LONGEST) & (changed > 0) & (zeros < 1)
    if known.sum() < FEWEST_INTERVALS:
        return None
    most = np.minimum(changed[known].max(), 1 - zeros[known])
    shares = changed[known] / (most * [_expected_changes(float(length)) for length in lengths[known]])
    end = float(np.median(shares[-max(3, len(shares) // 4) :]))
    few = max(1, min(FEW, int(FEW_SHARE * len(shares))))
    if (shares[:-few] - shares[few:]).max() > SUDDEN * (float(shares.max()) - end):
        return None
    return end


def _at(series: ReliableCurve | None, steps: ReliableCurve) -> FloatArray:
    """Return the stored values (n,) of a curve at the places of the steps, NaN where it has none."""
    pairs = zip(series.places.tolist(), series.stored.tolist(), strict=True) if series else ()
    by_place = dict(pairs)
    return np.array([by_place.get(at, np.nan) for at in steps.places.tolist()], dtype=np.float64)


def _expected_changes(length: float) -> float:
    """Return E min(1, d·abs(z)) for normal z, d being the step in units of the spacing of stored numbers."""
    ratio = DISPLACEMENT / SPACING * length
    return ratio * sqrt(2 / pi) * (1 - exp(-0.5 / ratio**2)) + 1 - erf(1 / (ratio * sqrt(2)))
