"""Recognize checkpoints of unsupported kinds by their marker files, and name a converter for each.

Files that each contain a part of one model are recognized by :mod:`analyzer.layouts.fragments`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from analyzer.errors import CheckpointError
from analyzer.formats.zips import Archive
from analyzer.layouts.fragments import deepspeed_reason, is_fragment, model_parallel_reason
from analyzer.sources import Entry, open_source

__all__ = ["deepspeed_reason", "foreign_reason", "is_foreign_name", "model_parallel_reason"]

_LEGACY_LENGTH = 9  # of the pickled magic number of torch before 1.6
_MOST_ARCHIVES = 3  # opened to see whether they come from Stable-Baselines3
_POLICY = "policy.pth"


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of checkpoint that is not read: what it is, how to convert it, and how to recognize an entry of it."""

    what: str
    remedy: str
    marks: Callable[[Entry], bool]


def foreign_reason(folder: str, entries: Iterable[Entry]) -> str | None:
    """Return which unsupported kind of checkpoint a folder contains, and how to convert it; None if it has none.

    Args:
        folder: the folder's path, for the message.
        entries: its entries.
    """
    known = list(entries)
    names = [entry.name for entry in known if not entry.is_folder]
    if reason := deepspeed_reason(folder, names) or model_parallel_reason(folder, names):
        return reason
    for kind in _KINDS:
        marker = next((entry.name for entry in known if kind.marks(entry)), None)
        if marker is not None:
            return f"{folder}: is {kind.what} ({marker}), which is not read. {kind.remedy}"
    if marker := _sb3_archive(known):
        return (
            f"{folder}: is a model of Stable-Baselines3 ({marker}), which is not read. Save the weights of each "
            "archive by torch.save(PPO.load(ARCHIVE).policy.state_dict(), NEW), with the class of its algorithm."
        )
    return None


def is_foreign_name(name: str) -> bool:
    """Check whether a name is that of a DeepSpeed or Megatron file with fragments of weights, unusable on their own."""
    return is_fragment(name)


def _named(pattern: str, *, folders: bool = False, files: bool = True) -> Callable[[Entry], bool]:
    """Return a test for entries with such a name, ignoring case."""
    compiled = re.compile(pattern, re.IGNORECASE)
    return lambda entry: (folders if entry.is_folder else files) and compiled.fullmatch(entry.name) is not None


def _is_megatron(entry: Entry) -> bool:
    if entry.is_folder:
        return re.fullmatch(r"mp_rank_[0-9]+(?:_[0-9]+)*", entry.name) is not None
    return entry.name in ("latest_checkpointed_iteration.txt", "model_optim_rng.pt")


def _is_flax(entry: Entry) -> bool:
    """Recognize a file of ``flax.training.checkpoints``, which has no suffix; torch also writes files of such names."""
    if entry.is_folder or not re.fullmatch(r"checkpoint_[0-9]+", entry.name):
        return False
    try:
        with open_source(entry.path) as source:
            return not bytes(source.read(0, min(4, source.stamp.size))).startswith(b"PK\x03\x04")
    except CheckpointError:
        return False


def _is_unnamed_torch_file(entry: Entry) -> bool:
    """Recognize a torch file without a suffix (HiFi-GAN's ``g_00005000``) or with the one of CleanRL.

    Only the first bytes are read.
    """
    if not entry.is_file or not re.fullmatch(r"[^.]+[_-][0-9]+|.+\.cleanrl_model", entry.name):
        return False
    try:
        with open_source(entry.path) as source:
            start = bytes(source.read(0, min(_LEGACY_LENGTH, source.stamp.size)))
    except CheckpointError:
        return False
    return start.startswith((b"PK\x03\x04", b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9"))


def _sb3_archive(entries: Sequence[Entry]) -> str | None:
    """Return the name of the first archive that Stable-Baselines3 wrote; only tables of contents are read."""
    archives = [entry for entry in entries if entry.is_file and entry.name.endswith(".zip")]
    for entry in archives[:_MOST_ARCHIVES]:
        try:
            with open_source(entry.path) as source:
                if _POLICY in Archive(source, 0, source.stamp.size).entries:
                    return entry.name
        except CheckpointError:
            continue
    return None


_KINDS = (
    _Kind(
        "a DeepSpeed checkpoint",
        "Convert it with the script that DeepSpeed saves with it: "
        "python zero_to_fp32.py CHECKPOINT OUTPUT --safe_serialization",
        lambda entry: (
            re.fullmatch(
                r"global_step[0-9]+(?:_universal)?|zero_to_fp32\.py|mp_rank_[0-9_]+_model_states\.pt"
                r"|(?:bf16_)?zero_pp_rank_.*|.*_optim_states\.pt",
                entry.name,
            )
            is not None
        ),
    ),
    _Kind(
        "a Megatron checkpoint",
        "Convert it to Hugging Face format with Megatron-LM's tools/checkpoint/convert.py.",
        _is_megatron,
    ),
    _Kind(
        "an Orbax checkpoint",
        "Restore it with orbax.checkpoint and save the parameters with safetensors.flax.save_file.",
        _named(r"_CHECKPOINT_METADATA|manifest\.ocdbt|ocdbt\.process_.*|_sharding|commit_success\.txt", folders=True),
    ),
    _Kind(
        "a Flax checkpoint",
        "Load it with flax.serialization.msgpack_restore and save the parameters with safetensors.flax.save_file.",
        lambda entry: entry.name.endswith(".msgpack") or _is_flax(entry),
    ),
    _Kind(
        "a Keras model",
        "Load it with keras.saving.load_model (or model.load_weights) and save {variable.path: variable.numpy()} "
        "with numpy.savez, one file per checkpoint.",
        _named(r".+\.keras|.*(?:weights|model|epoch|ckpt|checkpoint).*\.(?:h5|hdf5)", folders=True),
    ),
    _Kind(
        "a NeMo model",
        "It is a tar archive: extract each into a folder of its own (tar -xf MODEL.nemo -C step_N), where "
        "model_weights.ckpt is then read.",
        _named(r".+\.nemo"),
    ),
    _Kind(
        "a GGUF model",
        "It is a quantized export, not a training state: name the checkpoints that it was made from, or dequantize it "
        "with the gguf package (gguf.quants.dequantize) and save it with numpy.savez.",
        _named(r".+\.gguf"),
    ),
    _Kind(
        "a TensorFlow checkpoint",
        "Read it with tf.train.load_checkpoint and save its tensors with numpy.savez, one file per checkpoint.",
        _named(r".+\.data-[0-9]{5}-of-[0-9]{5}|.+\.ckpt(?:-[0-9]+)?\.(?:index|meta)|saved_model\.pb", folders=True),
    ),
    _Kind(
        "an ONNX model",
        "It is an export for inference: name the checkpoints that it was made from, or save "
        "{one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(MODEL).graph.initializer} with numpy.savez.",
        _named(r".+\.onnx"),
    ),
    _Kind(
        "a TensorFlow Lite or Core ML model",
        "It is an export for inference, not a training state: name the checkpoints that it was made from.",
        _named(r".+\.(?:tflite|mlmodel|mlpackage)", folders=True),
    ),
    _Kind(
        "a pickle of StyleGAN's networks",
        "Load each with legacy.load_network_pkl of the StyleGAN repository, which runs code from the file, and save "
        "them with torch.save({'G': G.state_dict(), 'D': D.state_dict()}, NEW).",
        _named(r"network-snapshot-[0-9]+\.pkl"),
    ),
    _Kind(
        "a checkpoint of RLlib",
        "Load each with Algorithm.from_checkpoint and save the weights of its module or policy with "
        "torch.save(STATE_DICT, NEW).",
        _named(r"algorithm_state\.(?:pkl|msgpack)|rllib_checkpoint\.json"),
    ),
    _Kind(
        "a Paddle checkpoint",
        "Load it with paddle.load and save {name: value.numpy()} with numpy.savez, one file per checkpoint.",
        _named(r".+\.pdparams"),
    ),
    _Kind(
        "a torch file without a suffix that is read",
        "Add .pt to the names of such files.",
        _is_unnamed_torch_file,
    ),
)
