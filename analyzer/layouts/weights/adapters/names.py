"""Recognize the factors of low-rank adapters by the names that trainers give to them.

========== ======================================================= ===============================================
writer     names                                                   source
========== ======================================================= ===============================================
kohya      ``M.lora_down.weight``, ``M.lora_up.weight``            sd-scripts, networks/lora.py; LyCORIS 4.1
diffusers  ``M.lora.down.weight``, ``M.lora_linear_layer.up...``,  diffusers 0.42, utils/state_dict_utils.py
           ``M.processor.to_q_lora.down.weight``
PEFT       ``M.lora_A.weight``, ``M.lora_embedding_A``             PEFT 0.21, tuners/lora; also newer diffusers
torchtune  ``M.lora_a.weight``, ``M.lora_b.weight``                torchtune, modules/peft/lora.py
mlx        ``M.lora_a`` (in, r), ``M.lora_b`` (r, out)             mlx-lm 0.32, tuner/lora.py
========== ======================================================= ===============================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from analyzer.layouts.weights.adapters.products import BIAS, DORA, PREFIX
from analyzer.model.run import TensorInfo

Style = Literal["kohya", "diffusers", "peft", "embedding", "mlx"]

_FACTOR = re.compile(
    r"(?:\.lora_(?P<kohya>down|up)\.weight"
    r"|\.lora(?:_linear_layer)?\.(?P<diffusers>down|up)\.weight"
    r"|(?:\.processor)?\.to_(?P<projection>q|k|v|out)_lora\.(?P<processor>down|up)\.weight"
    r"|\.lora_(?P<peft>[ABab])(?:\.(?P<adapter>[^.]+))?\.weight"
    r"|\.lora_embedding_(?P<embedding>[AB])(?:\.(?P<named>[^.]+))?"
    r"|\.lora_(?P<mlx>[ab]))\Z"
)
_FIRST = ("down", "A", "a")  # names of the factor that is applied first
# Tensors of algorithms other than the product of two factors, by what follows the module's name.
_OTHERS = re.compile(
    r"\.(?P<part>lora_mid\.weight|lora_(?:down|up)\.[0-9]+\.weight|hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t[12])"
    r"|oft_(?:blocks|diag)|dora_scale|lora_magnitude_vector(?:\.[^.]+)?(?:\.weight)?)\Z"
)
_BIAS = re.compile(r"\.lora_(?:up|B)(?:\.[^.]+)?\.bias\Z")
_REASONS = {
    "lora_mid": "a LoCon adapter in Tucker form has a third factor (lora_mid) between the two",
    "lora_down": "its factors are split into several (lora_down.0, ...)",
    "lora_up": "its factors are split into several (lora_up.0, ...)",
    "hada": "a LoHa adapter is a Hadamard product of two products (hada_w1, hada_w2)",
    "lokr": "a LoKr adapter is a Kronecker product (lokr_w1, lokr_w2)",
    "oft": "an OFT adapter rotates the weight and adds nothing to it",
    "dora_scale": DORA,
    "lora_magnitude": DORA,
}
# What a wrapped module calls the weight that its adapter is added to.
_BASE_WEIGHTS = ("weight", "base_layer.weight", "linear.weight", "conv.weight", "embedding.weight")


@dataclass(slots=True)
class Adapted:
    """The tensors of one adapted module: its factors by role, and what else belongs to its adapter.

    ``prefix`` is the name in front of the factors' own, which an ``.alpha`` shares with them. ``reason`` says why the
    update is not the product of two factors.
    """

    module: str
    prefix: str
    style: Style
    factors: dict[str, TensorInfo] = field(default_factory=dict)
    alpha: TensorInfo | None = None
    reason: str | None = None
    first: TensorInfo | None = None


@dataclass(frozen=True, slots=True)
class Grouped:
    """The adapted modules of a file, and all tensors that belong to no adapter, by name."""

    modules: dict[str, Adapted]
    others: dict[str, TensorInfo]


def group_factors(tensors: Mapping[str, TensorInfo]) -> Grouped | None:
    """Group the tensors of an adapter by the module that they change; None if the file is not an adapter.

    A whole model that was saved with its adapter inside is not one: it also stores the weights that the factors are
    added to.
    """
    modules: dict[str, Adapted] = {}
    others = {
        name: info for name, info in tensors.items() if "lora" not in name or not _add_factor(modules, name, info)
    }
    _move_rest(modules, others)
    if not modules or 2 * sum(_has_base(module, tensors) for module in modules) >= len(modules):
        return None
    return Grouped(modules, others)


def _add_factor(modules: dict[str, Adapted], name: str, info: TensorInfo) -> bool:
    """Put a factor to those of its module; return whether the tensor is one."""
    match = _FACTOR.search(name)
    if not match:
        return False
    prefix = name[: match.start()]
    style: Style = "diffusers"
    role = match["diffusers"] or match["processor"]
    module = prefix
    if match["kohya"]:
        style, role = "kohya", match["kohya"]
    elif match["peft"] or match["embedding"]:
        style, role = ("peft", match["peft"]) if match["peft"] else ("embedding", match["embedding"])
        adapter = match["adapter"] or match["named"] or "default"
        module = prefix.removeprefix(PREFIX) + ("" if adapter == "default" else f".{adapter}")
    elif match["mlx"]:
        style, role = "mlx", match["mlx"]
    elif match["processor"]:
        prefix = name[: match.start("processor") - 1]
        module = f"{module}.to_{'out.0' if match['projection'] == 'out' else match['projection']}"
    adapted = modules.setdefault(module, Adapted(module, prefix, style))
    adapted.first = adapted.first or info
    factor = "down" if role in _FIRST else "up"
    if adapted.style != style or factor in adapted.factors:
        adapted.reason = "its factors are stored twice, under names of different kinds"
    adapted.factors[factor] = info
    return True


def _move_rest(modules: dict[str, Adapted], others: dict[str, TensorInfo]) -> None:
    """Move what belongs to adapters and is no factor from ``others`` to the modules."""
    known = {adapted.prefix: adapted for adapted in modules.values()} | modules
    for name in list(others):
        if match := _OTHERS.search(name):
            prefix = name[: match.start()]
            module = prefix.removeprefix(PREFIX)
            adapted = known.setdefault(prefix, known.get(module) or Adapted(module, prefix, "kohya"))
            modules.setdefault(module, adapted)
            adapted.reason = next(text for part, text in _REASONS.items() if match["part"].startswith(part))
            adapted.first = adapted.first or others[name]
            del others[name]
    for name in list(others):
        if match := _BIAS.search(name):  # stays listed as it is stored
            if biased := known.get(name[: match.start()]):
                biased.reason = BIAS
            continue
        prefix, _, last = name.rpartition(".")
        owner = known.get(prefix) if last in ("alpha", "m") else None
        if owner and last == "alpha":
            owner.alpha = others.pop(name)
        elif owner and owner.style == "mlx":
            owner.reason = DORA
            del others[name]


def _has_base(module: str, tensors: Mapping[str, TensorInfo]) -> bool:
    return any(f"{module}.{weight}" in tensors for weight in _BASE_WEIGHTS)
