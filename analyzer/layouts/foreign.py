"""Recognize checkpoints of unsupported kinds by their marker files, and name a converter for each."""

from __future__ import annotations

import re
from collections.abc import Iterable

from analyzer.sources import Entry

_MODEL_PARALLEL = re.compile(r"mp_rank_[0-9]+(?:_[0-9]+)*")
_DEEPSPEED = re.compile(
    r"global_step[0-9]+|zero_to_fp32\.py|mp_rank_[0-9_]+_model_states\.pt|(?:bf16_)?zero_pp_rank_.*|.*_optim_states\.pt"
)
_ORBAX = re.compile(r"_CHECKPOINT_METADATA|manifest\.ocdbt|ocdbt\.process_.*|_sharding")
_KERAS = re.compile(r".+\.keras|.*(?:weights|model|epoch|ckpt|checkpoint).*\.(?:h5|hdf5)", re.IGNORECASE)
_TENSORFLOW = re.compile(r".+\.data-[0-9]{5}-of-[0-9]{5}|saved_model\.pb")


def foreign_reason(folder: str, entries: Iterable[Entry]) -> str | None:
    """Return which unsupported kind of checkpoint a folder contains, and how to convert it; None if it has none.

    Args:
        folder: the folder's path, for the message.
        entries: its entries.
    """
    known = list(entries)
    for what, remedy, is_marker in _KINDS:
        marker = next((entry.name for entry in known if is_marker(entry)), None)
        if marker is not None:
            return f"{folder}: is {what} ({marker}), which is not read. {remedy}"
    return None


def is_foreign_name(name: str) -> bool:
    """Check whether a name is that of a DeepSpeed or Megatron file with fragments of weights, unusable on their own."""
    return bool(_DEEPSPEED.fullmatch(name) or _MODEL_PARALLEL.fullmatch(name))


def _is_megatron(entry: Entry) -> bool:
    if entry.is_folder:
        return bool(_MODEL_PARALLEL.fullmatch(entry.name))
    return entry.name == "latest_checkpointed_iteration.txt"


_KINDS = (
    (
        "a DeepSpeed checkpoint",
        "Convert it with the script that DeepSpeed saves with it: "
        "python zero_to_fp32.py CHECKPOINT OUTPUT --safe_serialization",
        lambda entry: bool(_DEEPSPEED.fullmatch(entry.name)),
    ),
    (
        "a Megatron checkpoint",
        "Convert it to Hugging Face format with Megatron-LM's tools/checkpoint/convert.py.",
        _is_megatron,
    ),
    (
        "an Orbax checkpoint",
        "Restore it with orbax.checkpoint and save the parameters with safetensors.flax.save_file.",
        lambda entry: bool(_ORBAX.fullmatch(entry.name)),
    ),
    (
        "a Flax checkpoint",
        "Load it with flax.serialization.msgpack_restore and save the parameters with safetensors.flax.save_file.",
        lambda entry: entry.name.endswith(".msgpack"),
    ),
    (
        "a Keras model",
        "Load it with keras.saving.load_model (or model.load_weights) and save {variable.path: variable.numpy()} "
        "with numpy.savez, one file per checkpoint.",
        lambda entry: bool(_KERAS.fullmatch(entry.name)),
    ),
    (
        "a GGUF model",
        "It is a quantized export, not a training state: name the checkpoints that it was made from, or dequantize it "
        "with the gguf package (gguf.quants.dequantize) and save it with numpy.savez.",
        lambda entry: entry.name.endswith(".gguf"),
    ),
    (
        "a TensorFlow checkpoint",
        "Read it with tf.train.load_checkpoint and save its tensors with numpy.savez, one file per checkpoint.",
        lambda entry: bool(_TENSORFLOW.fullmatch(entry.name)),
    ),
)
