"""Read from a tensor's name what it does in the network: its role (``q``, ``down``, ``norm``, …) and its depth.

The names are those of Llama (transformers and Meta), GPT-2, GPT-NeoX, BERT, T5, ViT, torchvision, timm and torch's own
Transformer layers. A name that is not surely one of these has the role ``other``.
"""

from __future__ import annotations

import re
from functools import lru_cache

OTHER = "other"
TOKEN_ROWS = frozenset({"embedding", "head"})  # a row of such a matrix belongs to one token or class

# The last part of a module's name that tells its role, wherever it stands.
_ANYWHERE = {
    "embedding": "embed_tokens wte word_embeddings tok_embeddings token_embedding tok_emb embed_in shared embedding "
    "emb embed embeddings token_embed tok_embed tok_embedding",
    "position": "wpe position_embeddings position_embedding pos_embed pos_embedding embed_positions pos_emb "
    "relative_attention_bias relative_position_bias_table",
    "patch": "patch_embed patch_embeddings conv_proj patch_embedding",
    "head": "lm_head embed_out classifier head heads score qa_outputs",
    "router": "router",
}
# Within a block of the network, in its attention or elsewhere.
_IN_BLOCK = {
    "q": "q_proj q query wq q_lin to_q query_proj",
    "k": "k_proj k key wk k_lin to_k key_proj",
    "v": "v_proj v value wv v_lin to_v value_proj",
    "qkv": "qkv c_attn query_key_value in_proj in_proj_weight in_proj_bias wqkv qkv_proj",
    "o": "o_proj out_proj out_lin to_out o",
    "gate": "gate_proj w1 wi_0",
    "up": "up_proj w3 wi_1 wi fc1 c_fc dense_h_to_4h intermediate lin1 linear1 linear_1 fc_in",
    "down": "down_proj w2 fc2 dense_4h_to_h lin2 linear2 linear_2 fc_out",
}
# What is one role in the attention and another one elsewhere.
_AMBIGUOUS = ("wo", "proj", "dense", "c_proj", "output")
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_CROSS = re.compile(r"encdec|cross|encoder_attn|multihead_attn", re.IGNORECASE)
_NORM = re.compile(r"(?:.*_)?(?:layer_?norm|group_?norm|batch_?norm|rms_?norm|norm|ln|bn)\d*(?:_\w+)?", re.IGNORECASE)
_CONVOLUTION = re.compile(r"(?:dw|pw)?conv\d*(?:_(?:dw|pw|pwl|stem|head|reduce|expand))?", re.IGNORECASE)
# Parts that tell nothing: what a tensor is of its module, and what adapters and wrappers add.
_PLAIN = frozenset(
    {"weight", "bias", "gamma", "beta", "g", "b", "scale", "running_mean", "running_var", "num_batches_tracked"}
    | {"delta_weight", "base_layer", "default", "original_module", "modules_to_save"}
)
_EXPERT_INDEX = re.compile(r"\[\d+\]$")


def _table(roles: dict[str, str]) -> dict[str, str]:
    return {word: role for role, words in roles.items() for word in words.split()}


_ROLES_ANYWHERE, _ROLES_IN_BLOCK = _table(_ANYWHERE), _table(_IN_BLOCK)


def leaf_of(name: str) -> str:
    """Return what a tensor is of its module: ``weight``, ``bias``, …; the last part of its name."""
    return _EXPERT_INDEX.sub("", name).rpartition(".")[2]


def depth_of(name: str) -> int | None:
    """Return the number of the block that a tensor is in, None if it is in none.

    It is the first number in the name: ``h.7.mlp.c_fc.weight`` is in block 7. Of a network in stages
    (``layer2.0.conv1.weight``) it is the number of the stage.
    """
    for part in _EXPERT_INDEX.sub("", name).split(".")[:-1]:
        if part.isdecimal() and part.isascii():
            return int(part[:18])
        if staged := re.fullmatch(r"(?:\w+_)?(?:layer|stage|block)s?_?(\d{1,18})", part):
            return int(staged[1])
    return None


@lru_cache(maxsize=1 << 16)
def role_of(name: str) -> str:
    """Return the role of a tensor: ``embedding``, ``position``, ``patch``, ``head``, ``norm``, ``conv``, ``router``.

    In a block also ``q``, ``k``, ``v``, ``qkv``, ``o`` (after ``cross_`` in an attention to an encoder), ``gate``,
    ``up``, ``down``; ``other`` where unsure.
    """
    parts = [part for part in _EXPERT_INDEX.sub("", name).split(".") if part not in _PLAIN]
    while parts and re.match(r"lora_|lokr_|loha_", parts[-1]):
        parts.pop()
    if not parts:
        return OTHER
    words = [part.lower() for part in parts if not part.isdecimal()]
    last = words[-1] if words else ""
    in_block = depth_of(name) is not None
    if _NORM.fullmatch(last):
        return "norm"
    if in_block and (role := _in_block(words, last)):
        return role
    inner = _ROLES_ANYWHERE.get(words[-2]) if len(words) > 1 else None
    if last in _ROLES_ANYWHERE or inner in ("patch", "head"):
        return _ROLES_ANYWHERE.get(last) or inner or OTHER
    if last in ("fc", "output", "decoder") and not in_block and words[:-1] in ([], ["cls", "predictions"], ["model"]):
        return "head"
    return "conv" if _CONVOLUTION.fullmatch(last) else OTHER


def block_label(name: str) -> str:
    """Return ``block 3 q`` for a tensor of a known role in a block, in figures and sentences alike; else nothing."""
    depth, role = depth_of(name), role_of(name)
    return f"block {depth} {role}" if depth is not None and role != OTHER else ""


def _in_block(words: list[str], last: str) -> str | None:
    """Return the role of a module inside a block, given the parts of its name in lower case; None if unsure."""
    before = ".".join(words[:-1])
    attends = bool(_ATTENTION.search(before))
    if last == "gate":
        return "router" if "moe" in before or "mlp" in before or "feed_forward" in before else None
    role = _ambiguous(words, last, attends) if last in _AMBIGUOUS else _ROLES_IN_BLOCK.get(last)
    if role is None:
        return None
    return f"cross_{role}" if role in ("q", "k", "v", "qkv", "o") and _CROSS.search(before) else role


def _ambiguous(words: list[str], last: str, attends: bool) -> str | None:
    if attends:
        return "o"
    inner = words[-2] if len(words) > 1 else ""
    if last == "dense":
        return {"intermediate": "up", "output": "down"}.get(inner)
    if last in ("wo", "c_proj"):
        return "down" if re.search(r"mlp|dense|ff", inner) else None
    return None
