"""Recognize files that each contain a part of one model, by name, and name the tool that merges them.

They look like a series: one name, counted. But the count is that of the processes that saved one checkpoint together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from analyzer.model.names import listed, printable

ZERO_3 = (
    "its weights are in the partitions of ZeRO stage 3. Merge them with the script that DeepSpeed saves with them: "
    "python zero_to_fp32.py CHECKPOINT OUTPUT --safe_serialization"
)
_DEEPSPEED_FILES = re.compile(
    r"global_step[0-9]+(?:_universal)?|zero_to_fp32\.py|.*model_states\.pt|(?:bf16_)?zero_pp_rank_.*|.*_optim_states\.pt"
)
_MEGATRON_FILES = re.compile(r"mp_rank_[0-9]+(?:_[0-9]+)*|model_optim_rng\.pt|distrib_optim\.pt")
_ZERO_3_FILES = re.compile(r"zero_pp_rank_[0-9]+_mp_rank_.*_model_states\.pt")
_LAYER_FILES = re.compile(r"layer_[0-9]+-model_.*states\.pt")
_EXPERT_FILES = re.compile(r"(?:layer_[0-9]+_)?expert_[0-9]+_mp_rank_.*_model_states\.pt")
_TENSOR_PARALLEL_FILES = re.compile(r"mp_rank_[0-9]+(?:_[a-z_]*[0-9]+)*_model_states\.pt")

_VERL = re.compile(r"model_world_size_[0-9]+_rank_[0-9]+\.pt")
_DINO = re.compile(r".+\.rank_[0-9]+\.pth")
_META = re.compile(r"consolidated\.([0-9]+)\.pth")
_FAIRSEQ_PART = re.compile(r"-(?:model_part-|shard)([0-9]+)(?=[-.])")
# "rank" as a word of its own, with a number; the processes are counted from 0.
_RANK = re.compile(r"(?:^|(?<=[._-]))rank[._=-]?([0-9]+)(?![0-9])", re.IGNORECASE)


def is_fragment(name: str) -> bool:
    """Check whether a name is that of a file or folder of DeepSpeed or Megatron, unusable on its own."""
    return bool(_DEEPSPEED_FILES.fullmatch(name) or _MEGATRON_FILES.fullmatch(name))


def deepspeed_reason(folder: str, names: Sequence[str]) -> str | None:
    """Return why the weights of a DeepSpeed checkpoint are in no single file; None if they are, or for other files.

    Args:
        folder: the folder of a tag, for the message.
        names: the names of its files.
    """
    if found := _first(_LAYER_FILES, names):
        return (
            f"{folder}: is a checkpoint of pipeline parallelism, as GPT-NeoX saves it ({found}), which is not read. "
            "Convert it to Hugging Face format with GPT-NeoX's tools/ckpts/convert_neox_to_hf.py "
            "--input_dir CHECKPOINT --config_file CONFIG --output_dir OUTPUT"
        )
    if found := _first(_ZERO_3_FILES, names):
        return f"{folder}: is a DeepSpeed checkpoint ({found}), and {ZERO_3}"
    if found := _first(_EXPERT_FILES, names):
        return (
            f"{folder}: is a DeepSpeed checkpoint of a mixture of experts ({found}), whose experts are in files of "
            "their own, which is not read. Load it with DeepSpeed and save the whole model.state_dict()."
        )
    parallel = sorted({name for name in names if _TENSOR_PARALLEL_FILES.fullmatch(name)})
    if len(parallel) > 1 or (parallel and parallel[0] != "mp_rank_00_model_states.pt"):
        return (
            f"{folder}: is a DeepSpeed checkpoint of tensor parallelism ({listed(parallel)} each contain a part of "
            "every matrix), which is not read. Merge it with the converter of the trainer that saved it, such as "
            "Megatron-DeepSpeed's tools/convert_checkpoint/deepspeed_to_transformers.py."
        )
    return None


def model_parallel_reason(folder: str, names: Sequence[str]) -> str | None:
    """Return why files that look like a series are the parts of one model, and what merges them; None if they are not.

    Args:
        folder: the folder's path, for the message.
        names: the names of the candidates for checkpoints in one folder.
    """
    if found := _first(_VERL, names):
        return _rejected(
            folder,
            [name for name in names if _VERL.fullmatch(name)] or [found],
            "the shards of FSDP that verl saves, one for each process",
            "Merge them with python -m verl.model_merger merge --backend fsdp --local_dir CHECKPOINT --target_dir "
            "OUTPUT (scripts/model_merger.py of older versions).",
        )
    if shards := [name for name in names if _DINO.fullmatch(name)]:
        return _rejected(
            folder,
            shards,
            "the shards of FSDP (LOCAL_STATE_DICT), one for each process, as DINOv2 saves them",
            "Load them with as many processes as saved them, and save the whole state with "
            "FSDP.state_dict_type(model, StateDictType.FULL_STATE_DICT) from rank 0.",
        )
    parts = {int(match[1]): name for name in names if (match := _META.fullmatch(name))}
    if set(parts) - {0}:
        return _rejected(
            folder,
            [parts[number] for number in sorted(parts)],
            "the model-parallel parts of one model of Meta",
            "Merge them with transformers' convert_llama_weights_to_hf.py --input_dir CHECKPOINT --output_dir OUTPUT.",
        )
    if shards := _together(names, _FAIRSEQ_PART):
        return _rejected(
            folder,
            shards,
            "the parts of one model that fairseq or metaseq saves, one for each process",
            "Merge them with metaseq's scripts/consolidate_fsdp_shards.py.",
        )
    if shards := _together(names, _RANK):
        return _rejected(
            folder,
            shards,
            "files of the processes (ranks) that saved one checkpoint together",
            "Merge them with the trainer that saved them, or load them there and save the whole model.state_dict() "
            "from rank 0. If each of them is a whole model, choose those of one rank with --files.",
        )
    return None


def _first(pattern: re.Pattern[str], names: Sequence[str]) -> str | None:
    return next((printable(name) for name in names if pattern.fullmatch(name)), None)


def _together(names: Sequence[str], number: re.Pattern[str]) -> list[str]:
    """Return the first names that differ only in the numbers of their processes, of which 0 and 1 occur.

    Other series are counted by something else: ``lora_rank_4`` and ``lora_rank_8`` are two models.
    """
    groups: dict[str, dict[tuple[int, ...], str]] = {}
    for name in names:
        ranks = tuple(int(found) for found in number.findall(name))
        if ranks:
            groups.setdefault(number.sub("", name), {})[ranks] = name
    for group in groups.values():
        if {0, 1} <= {rank for ranks in group for rank in ranks} and len(group) > 1:
            return [group[ranks] for ranks in sorted(group)]
    return []


def _rejected(folder: str, names: Sequence[str], what: str, remedy: str) -> str:
    return f"{folder}: {listed(list(names))} are {what}, not a series of checkpoints. {remedy}"
