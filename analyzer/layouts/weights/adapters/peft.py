"""Read adapters of PEFT, whose ``adapter_config.json`` states the kind and the scale (peft/tuners/lora, PEFT 0.21)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain
from math import prod, sqrt
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex
from analyzer.layouts.naming import parse_score
from analyzer.layouts.scores.sidecars import read_json
from analyzer.layouts.weights.adapters.products import BIAS, DORA, PREFIX, not_measured, problems, update_of
from analyzer.model.names import natural_key
from analyzer.model.run import FileStamp, TensorInfo
from analyzer.sources import containing_folder, join, open_source

CONFIG = "adapter_config.json"
_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<kind>embedding_)?(?P<letter>[AB])(?:\.weight)?")
# Names and numbers with the usual wildcards, sets and alternatives; no nested repetition.
_SIMPLE = re.compile(r"(?:[\w^$-]|(?:\.|\\[.dw]|\[[\w-]{1,40}\])[*+]?|\((?:[\w|-]|\\?\.){1,400}\)){1,400}")
_REPEATS, _CHOICES = re.compile(r"[*+]"), re.compile(r"\([^)]*\)")
MOST_ATTEMPTS = 1_000_000  # of a regular expression on one name, approximately
_MAGNITUDE = ".lora_magnitude_vector"
# Variants whose update is not a plain product, by the setting that enables them.
_VARIANTS = {
    "use_dora": DORA,
    "use_qalora": "QALoRA pools the input of A, so its update is not a product of A and B alone",
    "use_bdlora": "a block-diagonal LoRA keeps its factors in blocks",
    "target_parameters": "an adapter of parameters (of experts) stacks its factors",
    "lora_bias": BIAS,
}


def read_index(path: str, read_file: Callable[[str], FileIndex]) -> FileIndex:
    """Index ΔW of each adapted module as ``MODULE.delta_weight``; other tensors, such as a new head, stay as stored.

    Args:
        path: ``adapter_model.safetensors`` or ``adapter_model.bin``, with ``adapter_config.json`` in the same folder.
        read_file: reads the file at ``path``.

    Raises:
        CheckpointError: one of the two files is damaged, or the adapter is of an unsupported kind.
    """
    config_path = join(containing_folder(path), CONFIG)
    config = read_json(config_path)
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise CheckpointError(
            f"{config_path}: adapters of the kind {str(kind)[:40]!r} are not supported, only LORA. Merge it into the "
            "model (merge_and_unload) and save that."
        )
    index = read_file(path)
    factors: dict[str, dict[str, TensorInfo]] = {}
    tensors: dict[str, TensorInfo] = {}
    for name, info in index.tensors.items():
        match = _FACTOR.fullmatch(name)
        if match:
            factors.setdefault(_short(match["module"]), {})[f"{match['kind'] or ''}{match['letter']}"] = info
        elif _MAGNITUDE not in name:  # part of DoRA's update, which is listed as unsupported
            tensors[_short(name)] = replace(info, name=_short(name))
    for module, pair in factors.items():
        tensors[f"{module}.delta_weight"] = _update(module, pair, config)
    ordered = {name: tensors[name] for name in sorted(tensors, key=natural_key)}
    return FileIndex(ordered, index.metadata, (*index.files, stamp_of(config_path)))


def _short(name: str) -> str:
    return name.removeprefix(PREFIX)


def stamp_of(path: str) -> FileStamp:
    """Return the stamp of a file that was read for an index."""
    with open_source(path) as source:
        return source.stamp


def _update(module: str, pair: Mapping[str, TensorInfo], config: Mapping[str, Any]) -> TensorInfo:
    """Return ΔW of one module, or an unsupported tensor with the reason why it cannot be measured."""
    is_embedding = any(letter.startswith("embedding_") for letter in pair)
    a, b = (pair.get(f"embedding_{letter}" if is_embedding else letter) for letter in "AB")
    if a is None or b is None:
        only = next(iter(pair.values()))
        return not_measured(module, only, f"the adapter of {module} has only one of its two factors")
    return configured_update(module, a, b, config, is_embedding=is_embedding)


def configured_update(
    module: str, a: TensorInfo, b: TensorInfo, config: Mapping[str, Any], *, is_embedding: bool = False
) -> TensorInfo:
    """Return ΔW of one module as a PEFT configuration defines it.

    Args:
        module: the module's name.
        a: the factor that is applied first.
        b: the factor that is applied last.
        config: the fields of ``peft.LoraConfig``, which are untrusted.
        is_embedding: the module is an embedding.

    Returns:
        the product, or an unsupported tensor with the reason why it cannot be measured.
    """
    variants = (reason for switch, reason in _VARIANTS.items() if config.get(switch))
    is_transposed = is_embedding or (config.get("fan_in_fan_out") is True and len(a.shape) == 2)
    reason = next(chain(variants, problems(a, b, is_transposed=is_transposed)), None)
    if reason:
        return not_measured(module, b, reason)
    scale = _scale(module, a.shape[0], config)
    if scale is None:
        return not_measured(
            module, b, f"{CONFIG} does not state the scale: it has no lora_alpha, or patterns that are not supported"
        )
    return update_of(module, a, b, scale, is_transposed=is_transposed)


def _scale(module: str, rank: int, config: Mapping[str, Any]) -> float | None:
    """Return lora_alpha / r, or lora_alpha / √r for rsLoRA; None if it cannot be determined.

    The configuration may set both for single modules. PEFT divides by the actual rank of the factors.
    """
    alpha = parse_score(_alpha(module, config))
    if alpha is None or not rank:
        return None
    return alpha / sqrt(rank) if config.get("use_rslora") is True else alpha / rank


def _alpha(module: str, config: Mapping[str, Any]) -> Any:
    """Return the value of the first pattern that matches the end of a module's name, else lora_alpha.

    None if a pattern cannot be evaluated safely.
    """
    pattern = config.get("alpha_pattern")
    for key, value in pattern.items() if isinstance(pattern, dict) else ():
        matches = _ends_with(module, key)
        if matches is not False:
            return value if matches else None
    return config.get("lora_alpha")


def _ends_with(module: str, key: str) -> bool | None:
    """Check whether PEFT's regular expression matches; None for one that could take forever, as in a hostile file."""
    alternatives = prod(1 + group.count("|") for group in _CHOICES.findall(key))
    attempts = len(module) ** (1 + len(_REPEATS.findall(key))) * alternatives
    try:
        if attempts <= MOST_ATTEMPTS and _SIMPLE.fullmatch(key):
            return re.match(rf"(.*\.)?({key})$", module) is not None
        return None
    except re.error:
        return None
