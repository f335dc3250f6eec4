"""Report quantized weights: matrices of packed codes, which are not measured."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from analyzer.findings.rules import Draft, file_rule
from analyzer.findings.wording import MOST_NAMED
from analyzer.model.names import listed
from analyzer.model.tables import Tables

CODES = ("int8", "uint8", "uint16", "int32", "uint32", "uint64", "int64")  # dtypes of packed codes
BITSANDBYTES = "save the result of the model's dequantize() in transformers"
GPTQ_REMEDY = "dequantize it with the library that packed it (GPTQModel, AutoAWQ) and save the result"


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
        count = "1 matrix" if len(names) == 1 else f"{len(names)} matrices"
        yield Draft(
            "warning",
            f"{count} ({listed(names, MOST_NAMED)}) {'is' if len(names) == 1 else 'are'} packed as {kind} and not "
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
