"""Read low-rank adapters (PEFT's LoRA) as the update ΔW = scale · B · A of each adapted module.

B and A are not unique: any invertible r × r matrix can be moved from one to the other. Only their product is defined,
so the product is measured. Sources: Hu et al. (2021), "LoRA"; Kalajdzievski (2023) for the scale of rsLoRA.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import prod, sqrt
from typing import Any

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex
from analyzer.layouts.naming import parse_score
from analyzer.layouts.scores.sidecars import read_json
from analyzer.model.names import natural_key
from analyzer.model.run import FileStamp, Product, TensorInfo
from analyzer.sources import containing_folder, join, open_source

CONFIG = "adapter_config.json"
PREFIX = "base_model.model."
_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<kind>embedding_)?(?P<letter>[AB])(?:\.weight)?")
# Names and numbers with the usual wildcards, sets and alternatives; no nested repetition.
_SIMPLE = re.compile(r"(?:[\w^$-]|(?:\.|\\[.dw]|\[[\w-]{1,40}\])[*+]?|\((?:[\w|-]|\\?\.){1,400}\)){1,400}")
_REPEATS, _CHOICES = re.compile(r"[*+]"), re.compile(r"\([^)]*\)")
MOST_ATTEMPTS = 1_000_000  # of a regular expression on one name, approximately
LARGEST_PRODUCT = 1 << 31  # elements; the embeddings of the largest models have about this many
_MAGNITUDE = ".lora_magnitude_vector"
# Variants whose update is not a plain product, by the setting that enables them.
_VARIANTS = {
    "use_dora": "DoRA rescales the columns of the adapted weight, so its update is not a product of A and B alone",
    "use_qalora": "QALoRA pools the input of A, so its update is not a product of A and B alone",
    "use_bdlora": "a block-diagonal LoRA keeps its factors in blocks",
    "target_parameters": "an adapter of parameters (of experts) stacks its factors",
    "lora_bias": "an adapter with a bias changes more than the weight",
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
    return FileIndex(ordered, index.metadata, (*index.files, _stamp(config_path)))


def _short(name: str) -> str:
    return name.removeprefix(PREFIX)


def _stamp(path: str) -> FileStamp:
    with open_source(path) as source:
        return source.stamp


def _update(module: str, pair: Mapping[str, TensorInfo], config: Mapping[str, Any]) -> TensorInfo:
    """Return ΔW of one module, or an unsupported tensor with the reason why it cannot be measured."""
    name = f"{module}.delta_weight"
    is_embedding = any(letter.startswith("embedding_") for letter in pair)
    a, b = (pair.get(f"embedding_{letter}" if is_embedding else letter) for letter in "AB")
    if a is None or b is None:
        (only,) = pair.values()
        return _unsupported(name, only, f"the adapter of {module} has only one of its two factors")
    reason = next(_reasons(a, b, config), None)
    if reason:
        return _unsupported(name, b, reason)
    rank = a.shape[0]
    scale = _scale(module, rank, config)
    if scale is None:
        return _unsupported(
            name, b, f"{CONFIG} does not state the scale: it has no lora_alpha, or patterns that are not supported"
        )
    left, right = _as_matrix(b), _as_matrix(a)
    shape: tuple[int, ...] = (b.shape[0], *a.shape[1:])
    if is_embedding or (config.get("fan_in_fan_out") is True and len(a.shape) == 2):
        left, right, shape = _transposed(right), _transposed(left), (a.shape[1], b.shape[0])
    return TensorInfo(name, "float64", shape, (), product=Product(left, right, scale))


def _reasons(a: TensorInfo, b: TensorInfo, config: Mapping[str, Any]) -> Iterator[str]:
    """Yield reasons why the update is not the product of these two factors, or cannot be read as such."""
    yield from (reason for switch, reason in _VARIANTS.items() if config.get(switch))
    for info in (a, b):
        if info.unsupported:
            yield info.unsupported
        if len(info.parts) != 1 or info.parts[0].strides or info.parts[0].inflated or info.parts[0].start:
            yield "its factors are not stored contiguously"
    if a.dtype != b.dtype:
        yield f"its factors are stored as {a.dtype} and {b.dtype}"
    if len(a.shape) < 2 or len(b.shape) < 2 or b.shape[1] != a.shape[0] or prod(b.shape[2:]) != 1:
        yield f"shapes {list(b.shape)} and {list(a.shape)} cannot be multiplied (as those of a grouped convolution)"
    if b.shape[:1] and prod((b.shape[0], *a.shape[1:])) > LARGEST_PRODUCT:
        yield f"the product of {list(b.shape)} and {list(a.shape)} has more than {LARGEST_PRODUCT} elements"


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


def _as_matrix(info: TensorInfo) -> TensorInfo:
    return replace(info, shape=(info.shape[0], prod(info.shape[1:])))


def _transposed(info: TensorInfo) -> TensorInfo:
    """Return a matrix's transpose as a view of the same bytes."""
    rows, columns = info.shape
    part = info.parts[0]
    transposed = replace(part, shape=(columns, rows), strides=(1, columns))
    return replace(info, shape=(columns, rows), parts=(transposed,))


def _unsupported(name: str, info: TensorInfo, reason: str) -> TensorInfo:
    return TensorInfo(name, info.dtype, info.shape, (), unsupported=reason)
