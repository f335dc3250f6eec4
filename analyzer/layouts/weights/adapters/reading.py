"""Replace the factors of adapters by their products, for the writers that :mod:`...adapters.names` recognizes.

The scale of a module is, in this order:

- for mlx, ``lora_parameters.scale`` of ``adapter_config.json``;
- what PEFT's configuration says, which newer diffusers keep in the file's metadata, one for each component, and which
  may be in the same folder;
- ``MODULE.alpha`` / r, with a stored 0 for "alpha = r", as sd-scripts reads it;
- 1 for kohya, as sd-scripts reads a file without alpha; 1 for the others, which is assumed and reported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import isfinite, prod
from typing import Any

import numpy as np

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex
from analyzer.layouts.naming import parse_score
from analyzer.layouts.scores.sidecars import read_json
from analyzer.layouts.weights.adapters.names import Adapted, group_factors
from analyzer.layouts.weights.adapters.peft import CONFIG, configured_update, stamp_of
from analyzer.layouts.weights.adapters.products import DORA, not_measured, problems, transposed, update_of
from analyzer.model.names import listed, natural_key, printable
from analyzer.model.run import Checkpoint, FileStamp, Finding, TensorInfo
from analyzer.sources import Source, containing_folder, is_file, join, open_source
from analyzer.tensors.kinds import numpy_dtype
from analyzer.tensors.loading import load_all

METADATA = "lora_adapter_metadata"  # diffusers 0.42, loaders/lora_base.py
# mlx-lm's LoRAEmbedding multiplies the factors without transposing them; only names tell it from a linear layer.
_EMBEDDING = re.compile(r"(?:embed\w*|\w*embeddings?|wte|wpe)")


@dataclass(frozen=True, slots=True)
class _Settings:
    """The scales in the files of an adapter: configurations by component, and the values of alphas by module.

    ``beside`` is the configuration in the same folder, None if there is none.
    """

    components: Mapping[str, Mapping[str, Any]]
    beside: Mapping[str, Any] | None
    alphas: Mapping[str, float]


def with_updates(path: str, index: FileIndex) -> FileIndex:
    """Return the index with ``MODULE.delta_weight`` in the place of each pair of factors.

    The index is returned as it is if its tensors are not those of an adapter. Tensors that belong to no adapted module
    stay as stored.

    Args:
        path: the file; its folder may contain ``adapter_config.json``.
        index: its index, or that of all its shards.

    Raises:
        CheckpointError: the configuration or an alpha cannot be read, or two tensors would have the same name.
    """
    grouped = group_factors(index.tensors)
    if grouped is None:
        return index
    beside, stamps = _configuration(path)
    settings = _Settings(_components(index.metadata), beside, _alphas(grouped.modules, index.files))
    tensors = dict(grouped.others)
    for module, adapted in grouped.modules.items():
        update = _update(adapted, settings)
        if update.name in tensors:
            raise CheckpointError(
                f"{path}: the update of {printable(module, 80)} would be named like the stored tensor "
                f"{printable(update.name, 80)}; rename that"
            )
        tensors[update.name] = update
    ordered = {name: tensors[name] for name in sorted(tensors, key=natural_key)}
    return replace(index, tensors=ordered, files=(*index.files, *stamps))


def assumed_scales(checkpoints: Sequence[Checkpoint]) -> Iterator[Finding]:
    """Report adapters whose scale is not stored, so that their updates are measured as B · A."""
    modules = dict.fromkeys(
        info.name
        for checkpoint in checkpoints
        for info in checkpoint.tensors.values()
        if info.product and info.product.is_scale_assumed
    )
    if modules:
        sentence = (
            f"The files state no scale for the adapters of {len(modules)} modules ({listed(list(modules))}), so the "
            "scale is taken to be 1, as diffusers does. If the training used another one, norms and distances are to "
            "be multiplied by it; ratios stay the same."
        )
        yield Finding("adapter_scale_assumed", "notice", sentence, evidence={"tensors": list(modules)})


def _update(adapted: Adapted, settings: _Settings) -> TensorInfo:
    """Return ΔW of one module, or an unsupported tensor with the reason why it is not measured."""
    module, style = adapted.module, adapted.style
    down, up = adapted.factors.get("down"), adapted.factors.get("up")
    listed_as = up or down or adapted.first
    assert listed_as is not None
    if adapted.reason:
        return not_measured(module, listed_as, adapted.reason)
    if down is None or up is None:
        return not_measured(module, listed_as, f"the adapter of {module} has only one of its two factors")
    if style == "mlx":
        return _update_of_mlx(module, down, up, settings.beside)
    component, config = _config_of(module, settings)
    is_embedding = style == "embedding"
    if config is not None and style != "kohya":
        inner = module.removeprefix(f"{component}.") if component else module
        update = configured_update(inner, down, up, config, is_embedding=is_embedding)
        return replace(update, name=f"{module}.delta_weight")
    reason = next(problems(down, up, is_transposed=is_embedding), None)
    if reason:
        return not_measured(module, up, reason)
    alpha = settings.alphas.get(module)
    if alpha is not None and not isfinite(alpha):
        return not_measured(module, up, f"its alpha is {alpha}, so the scale is unknown")
    is_assumed = alpha is None and style != "kohya"
    scale = alpha / down.shape[0] if alpha else 1.0
    return update_of(module, down, up, scale, is_transposed=is_embedding, is_scale_assumed=is_assumed)


def _update_of_mlx(module: str, a: TensorInfo, b: TensorInfo, config: Mapping[str, Any] | None) -> TensorInfo:
    """Return ΔW of a module of mlx-lm, whose factors are (in, r) and (r, out): (scale · a · b)ᵀ, or without ᵀ."""
    if len(a.shape) != 2 or len(b.shape) != 2:
        return not_measured(module, a, "an adapter of experts stacks the factors of all experts")
    parameters = (config or {}).get("lora_parameters")
    scale = parse_score(parameters.get("scale")) if isinstance(parameters, dict) else None
    if scale is None:
        return not_measured(
            module, a, f"{CONFIG}, which states the scale (lora_parameters.scale), is not in the folder of the file"
        )
    if (config or {}).get("fine_tune_type") == "dora":
        return not_measured(module, a, DORA)
    is_embedding = _EMBEDDING.fullmatch(module.rpartition(".")[2]) is not None
    # As for the others, the factor that is applied first comes first; its rows are the rank.
    reason = next(problems(b, a), None)
    if reason:
        return not_measured(module, a, reason)
    if is_embedding:
        return update_of(module, b, a, scale)
    return update_of(module, transposed(a), transposed(b), scale)


def _config_of(module: str, settings: _Settings) -> tuple[str, Mapping[str, Any] | None]:
    """Return the component that a module belongs to, empty if there is none, and PEFT's configuration for it."""
    first, _, _ = module.partition(".")
    for component in (first, ""):
        if component in settings.components:
            return component, settings.components[component]
    is_peft = settings.beside is not None and settings.beside.get("peft_type") == "LORA"
    return "", settings.beside if is_peft and not settings.components else None


def _components(metadata: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return PEFT's configuration for each component that diffusers put into a file's metadata.

    The keys are ``unet.r``, ``unet.lora_alpha``, ... for a pipeline, and ``r``, ``lora_alpha``, ... for a single model.
    """
    try:
        content = json.loads(metadata.get(METADATA, "{}"))
    except (ValueError, RecursionError):
        return {}
    components: dict[str, dict[str, Any]] = {}
    for key, value in content.items() if isinstance(content, dict) else ():
        component, _, setting = key.rpartition(".")
        components.setdefault(component, {})[setting] = value
    return {component: config for component, config in components.items() if "lora_alpha" in config}


def _configuration(path: str) -> tuple[Mapping[str, Any] | None, tuple[FileStamp, ...]]:
    """Return the content of ``adapter_config.json`` in the file's folder, and the stamps of what was read."""
    config_path = join(containing_folder(path), CONFIG)
    if not is_file(config_path):
        return None, ()
    config = read_json(config_path)
    return (config if isinstance(config, dict) else None), (stamp_of(config_path),)


def _alphas(modules: Mapping[str, Adapted], files: Sequence[FileStamp]) -> dict[str, float]:
    """Read the alphas, which are scalars; NaN for one that cannot be one number.

    Raises:
        CheckpointError: a file is truncated or was changed.
    """
    values = {module: float("nan") for module, adapted in modules.items() if adapted.alpha}
    infos = {
        module: adapted.alpha
        for module, adapted in modules.items()
        if adapted.alpha and not adapted.alpha.unsupported and prod(adapted.alpha.shape) == 1
    }
    memories = [np.empty(numpy_dtype(info.dtype).itemsize, np.uint8) for info in infos.values()]
    stamps = {stamp.path: stamp for stamp in files}
    names = list(infos)
    with ExitStack() as stack:
        sources: dict[str, Source] = {}

        def source_of(path: str) -> Source:
            if path not in sources:
                sources[path] = stack.enter_context(open_source(path, stamps.get(path)))
            return sources[path]

        for number, array in load_all(list(infos.values()), memories, source_of):
            if isinstance(array, CheckpointError):
                raise array
            if array.dtype.kind in "iufV" or array.dtype.name.startswith(("bfloat", "float")):
                values[names[number]] = float(array.astype(np.float64).reshape(-1)[0])
    return values
