"""Write and read the file of one epoch, the only contract between a run and its readers.

A run is a folder with one file per epoch, ``epoch_0000.safetensors``, ``epoch_0001.safetensors``, ... (four
digits, more from epoch 10000 on). Epoch 0 is the state before training. A file with such a name is complete: it
is written as ``.epoch_NNNN.safetensors.tmp`` and renamed once all of it is on the disk. Readers ignore other
names.

Each file is a plain safetensors file (https://huggingface.co/docs/safetensors) and needs no other:

- Its tensors are the model's whole state dict, float32: ``<layer>.weight`` of shape (fan_out, fan_in) and
  ``<layer>.bias`` of shape (fan_out,). The layers are computed in the order ``fc1``, ``fc2``, ..., ``out``.
- Its metadata are strings:

  ================== ======================================================================================
  ``format``         ``weightlapse``
  ``schema``         ``1``; incremented if a reader of the old schema would misread a new file
  ``epoch``          integer from 0, the same as in the file's name
  ``step``           integer, number of weight updates since the start
  ``train_accuracy`` over the epoch's batches, each scored before its update, so the weights change in
                     between; a fraction 0..1; absent at epoch 0
  ``train_loss``     mean cross-entropy over the same, in nats; absent at epoch 0
  ``test_accuracy``  of the weights in this file on the test images; a fraction 0..1
  ``test_loss``      mean cross-entropy of the same, in nats
  ``config``         JSON object with sorted keys: batch_size, dataset, device, hidden, init, lr, seed
  ================== ======================================================================================

  Floats are written with Python's ``repr``, so they read back exactly. A run that diverged is saved like any
  other: ``nan`` or ``inf`` means that a score has no value there; it is a gap, like an absent key.

The file contains neither a timestamp nor a path, and the header's keys are sorted: the same config on the same
machine (and the same torch) gives the same bytes. Plain SGD has no state except the weights, so training can be
resumed from any file.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from trainer.config import TrainingConfig
from trainer.errors import TrainerError

FORMAT = "weightlapse"
SCHEMA = "1"
SCORES = ("train_accuracy", "train_loss", "test_accuracy", "test_loss")

EPOCH_FILE = re.compile(r"epoch_(\d{4,})\.safetensors")
TEMPORARY_FILE = re.compile(r"\.epoch_\d{4,}\.safetensors\.tmp")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after an epoch, the content of one file. The keys of ``scores`` are among :data:`SCORES`."""

    epoch: int
    step: int
    scores: Mapping[str, float]
    config: Mapping[str, Any]
    weights: Mapping[str, Tensor]


def config_as_stored(config: TrainingConfig) -> dict[str, Any]:
    """Return ``config`` as JSON decodes it, with a list instead of the tuple."""
    return asdict(config) | {"hidden": list(config.hidden)}


def file_name(epoch: int) -> str:
    """Return the name of an epoch's file."""
    return f"epoch_{epoch:04d}.safetensors"


def epoch_files(folder: Path) -> dict[int, Path]:
    """Return the epoch files in ``folder`` by epoch, in order; empty if there is no folder."""
    if not folder.exists():
        return {}
    epochs = sorted(int(match[1]) for path in folder.iterdir() if (match := EPOCH_FILE.fullmatch(path.name)))
    return {epoch: folder / file_name(epoch) for epoch in epochs}


def open_run(folder: Path, config: TrainingConfig, *, resume: bool) -> Checkpoint | None:
    """Return the checkpoint to resume from, or None to start from scratch; delete temporary files of a killed run.

    That is the last complete one in an unbroken sequence from epoch 0. Damaged files are skipped, and their epochs
    trained again. Nothing is written yet.

    Raises:
        TrainerError: the folder contains a run and ``resume`` is not set, that run has another config, or a file
            with the name of an epoch file was not written by this trainer.
    """
    try:
        files = epoch_files(folder)
        if files and not resume:
            raise TrainerError(
                f"{folder}: already contains {len(files)} checkpoints, and a run is never overwritten. "
                f"Continue it with --resume, or choose another folder with --out."
            )
        last = _last_complete(files, config)
        for path in folder.iterdir() if folder.exists() else ():
            if TEMPORARY_FILE.fullmatch(path.name):
                path.unlink()
    except OSError as error:
        raise TrainerError(
            f"{error.filename or folder}: {error.strerror or error}. Choose another folder with --out."
        ) from error
    return last


def _last_complete(files: Mapping[int, Path], config: TrainingConfig) -> Checkpoint | None:
    last = None
    for epoch, path in files.items():
        try:
            checkpoint = read(path)
        except SafetensorError:
            continue
        _require_same_config(path, checkpoint.config, config_as_stored(config))
        if epoch == (0 if last is None else last.epoch + 1):
            last = checkpoint
    return last


def _require_same_config(path: Path, stored: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
    differing = [
        f"{name} is {json.dumps(stored.get(name))} there, {json.dumps(requested.get(name))} here"
        for name in sorted(stored.keys() | requested.keys())
        if stored.get(name) != requested.get(name)
    ]
    if differing:
        raise TrainerError(
            f"{path}: was trained with other settings ({'; '.join(differing)}). "
            f"Resume with the same settings, or choose another folder with --out."
        )


def read(path: Path) -> Checkpoint:
    """Read one epoch file.

    Raises:
        SafetensorError: the file is damaged.
        TrainerError: the file is complete but not one that this trainer writes.
    """
    data = path.read_bytes()
    weights = safetensors.torch.load(data)
    metadata = _split(data)[0].get("__metadata__", {})
    try:
        if (metadata["format"], metadata["schema"]) != (FORMAT, SCHEMA):
            raise ValueError(f"format {metadata['format']}, schema {metadata['schema']}")
        checkpoint = Checkpoint(
            epoch=int(metadata["epoch"]),
            step=int(metadata["step"]),
            scores={name: float(metadata[name]) for name in SCORES if name in metadata},
            config=dict(json.loads(metadata["config"])),
            weights=weights,
        )
        if path.name != file_name(checkpoint.epoch):
            raise ValueError(f"it contains epoch {checkpoint.epoch}")
    except (KeyError, TypeError, ValueError) as error:
        raise TrainerError(
            f"{path}: is not a file that weightlapse-train (schema {SCHEMA}) writes under this name: {error}. "
            f"Move it elsewhere, or choose another folder with --out."
        ) from error
    return checkpoint


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write the epoch's file into ``folder`` atomically: whatever happens, it is complete or does not exist.

    Raises:
        TrainerError: the file cannot be written; existing files are then unchanged.
    """
    data = encode(checkpoint)
    path = folder / file_name(checkpoint.epoch)
    temporary = folder / f".{path.name}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # before the rename, so that the name does not reach the disk before the bytes
        temporary.replace(path)
        _sync_folder(folder)  # so that a power failure does not undo the rename
    except OSError as error:
        raise TrainerError(
            f"{path}: cannot be written: {error.strerror or error}. The earlier epochs are intact; "
            f"once this is fixed, continue with --resume."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def encode(checkpoint: Checkpoint) -> bytes:
    """Return the bytes of the epoch's file, with sorted keys in the header.

    The library writes metadata in an order that differs between processes.
    """
    metadata = {
        "format": FORMAT,
        "schema": SCHEMA,
        "epoch": str(checkpoint.epoch),
        "step": str(checkpoint.step),
        "config": json.dumps(checkpoint.config, sort_keys=True),
        **{name: repr(score) for name, score in checkpoint.scores.items()},
    }
    fields, tensors = _split(safetensors.torch.save(dict(checkpoint.weights), metadata))
    header = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # keep the tensors aligned to 8 bytes, as the format requires
    return len(header).to_bytes(8, "little") + header + tensors


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the JSON header of a safetensors file, and the bytes of its tensors."""
    start = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:start]), data[start:]


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # Windows cannot open a folder, and need not
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not supported by some network file systems
            raise
    finally:
        os.close(descriptor)
