"""Small files that request much work or memory: each is read or rejected within bounds that its size explains."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from builders import CHECKOUT, SUPPORT, full_count

from analyzer.errors import CheckpointError
from analyzer.layouts.weights.checkpoint import weights_of

MOST_SECONDS, MOST_MEGABYTES = 5, 300  # of a file below 10 MB
REPEATS = full_count(1, 4)  # by what the counts are divided in a quick run


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def called(function: str, arguments: bytes, times: int) -> bytes:
    """A list of what a function returns for one memoised tuple of arguments, many times."""
    module, _, name = function.rpartition(".")
    prepared = f"c{module}\n{name}\nq".encode() + b"\x000" + arguments + b"q\x010"
    return b"\x80\x02]" + prepared + b"(" + b"h\x00h\x01R" * (times // REPEATS) + b"e."


def repeated(prepared: bytes, operations: bytes, times: int) -> bytes:
    return b"\x80\x04]" + prepared + b"(" + operations * (times // REPEATS) + b"e."


PAIRS = b"](" + b"".join(b"M" + struct.pack("<H", number) + b"K\x01\x86" for number in range(3000)) + b"e\x85"
SHAPE = b"(" + b"K\x01" * 5000 + b"t"
PICKLES = {
    "dictionaries of shared pairs": called("collections.OrderedDict", PAIRS, 5000),
    "a device of many integers": called("torch.device", b"(" + b"J\xff\xff\xff\x7f" * 3000 + b"t", 6000),
    "a device of long texts": called(
        "torch.device", b"(" + text("x" * 20_000) + b"q\x02" + b"h\x02" * 500 + b"t", 2000
    ),
    "a shape of many sizes": called("torch.Size", SHAPE + b"\x85", 6000),
    "tensors of many sizes": called(
        "torch._utils._rebuild_meta_tensor_no_storage", b"(ctorch\nfloat32\n" + SHAPE + b"K\x01K\x01t", 7000
    ),
    "long names of globals": repeated(
        text("m" * 4_000_000) + b"q\x000" + text("n") + b"q\x010", b"h\x00h\x01\x93", 900_000
    ),
    "lists": repeated(b"", b"]", 9_000_000),
    "dictionaries": repeated(b"", b"}", 9_000_000),
    "tuples": repeated(b"", b"K\x01\x85", 3_000_000),
    "references": repeated(b"]q\x000", b"h\x00", 4_500_000),
    "keys that cannot be hashed": b"\x80\x02}(" + b")N" * (4_500_000 // REPEATS) + b"u.",
    "objects": repeated(b"ca\nb\nq\x000", b"h\x00)R", 2_400_000),
    "marks": b"\x80\x02" + b"(" * (9_000_000 // REPEATS),
    "nothing": b"\x80\x02" + b"\x98" * (9_000_000 // REPEATS),
    "constants that are dropped": b"\x80\x02" + b"N0" * (4_500_000 // REPEATS) + b"N.",
}  # fmt: skip


def torch_file(path: Path, pickled: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
    return path


def measured(*paths: Path) -> list[dict[str, object]]:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, str(SUPPORT / "measured_reading.py"), *map(str, paths)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    return [json.loads(line) for line in result.stdout.splitlines()]


def within_bounds(result: dict[str, object]) -> bool:
    return result["seconds"] < MOST_SECONDS and result["megabytes"] < MOST_MEGABYTES


def test_fault_49_pickles_of_much_work(tmp_path):
    paths = [torch_file(tmp_path / name / "m.pt", data) for name, data in PICKLES.items()]
    assert all(path.stat().st_size < 10_000_000 for path in paths)
    for result in measured(*paths):
        assert result["refused"] and len(result["refused"]) < 1000
        assert within_bounds(result), result


def dcp_folder(folder: Path, tensors: int, chunks: int) -> Path:
    """Metadata in which tensors share one list of chunks, each of which names the one place of its tensor."""
    module = "torch.distributed.checkpoint.metadata"

    def record(kind: str, state: bytes, where: str = module) -> bytes:
        return f"c{where}\n{kind}\n".encode() + b")\x81" + state + b"b"

    def fields(**values: bytes) -> bytes:
        return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"

    chunk = record("ChunkStorageMetadata", fields(offsets=b"K\x00\x85", sizes=b"K\x01\x85"))
    shared = b"](" + chunk + b"q\x02" + b"h\x02" * (chunks - 1) + b"eq\x01"
    properties = record("TensorProperties", b"(ctorch\nfloat32\nt")
    entry = record(
        "TensorStorageMetadata",
        fields(properties=properties, size=b"M" + struct.pack("<H", chunks) + b"\x85", chunks=b"h\x01"),
    )
    names = [text(f"t{number}") for number in range(tensors)]
    entries = (
        b"}("
        + names[0]
        + entry.replace(b"h\x01", shared, 1)
        + b"q\x03"
        + b"".join(name + b"h\x03" for name in names[1:])
        + b"u"
    )
    where = "torch.distributed.checkpoint.filesystem"
    info = record("_StorageInfo", fields(relative_path=text("__0_0.distcp"), offset=b"K\x00", length=b"K\x01"), where)
    places = b"}(" + b"".join(
        record("MetadataIndex", fields(fqn=name, offset=b"N")) + (info + b"q\x04" if number == 0 else b"h\x04")
        for number, name in enumerate(names)
    ) + b"u"  # fmt: skip
    folder.mkdir(parents=True)
    pickled = record("Metadata", fields(state_dict_metadata=entries, storage_data=places))
    (folder / ".metadata").write_bytes(b"\x80\x02" + pickled + b".")
    return folder


def test_fault_49_distributed_metadata_with_one_list_of_chunks_for_all(tmp_path):
    (result,) = measured(dcp_folder(tmp_path / "step-1", full_count(20_000, 5000), 4000))
    assert "chunks" in result["refused"]
    assert within_bounds(result), result


# ------------------------------------------------------------------------------------------------ names of tensors


def named_file(path: Path, name: str) -> Path:
    """A file with one tensor of that name, and of a kind that the suffix says."""
    if path.suffix == ".safetensors":
        header = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    elif path.suffix == ".npz":
        np.savez(path, **{name: np.zeros(1, np.float32)})
    else:
        import torch

        torch.save({name[:700]: {name[700:]: torch.zeros(1)}} if len(name) > 700 else {name: torch.zeros(1)}, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt"])
def test_fault_51_a_long_name_of_a_tensor_is_refused_with_the_file(tmp_path, suffix):
    length = {".npz": 60_000, ".safetensors": 5_000_000, ".pt": 5_000_000}[suffix]
    path = named_file(tmp_path / f"m{suffix}", "n" * length)
    with pytest.raises(CheckpointError, match="name of a tensor has") as caught:
        weights_of(str(path))
    assert str(path) in str(caught.value) and len(str(caught.value)) < 500 + len(str(path))
    kept = named_file(tmp_path / f"kept{suffix}", "n" * (1023 if suffix == ".pt" else 1024))
    assert len(weights_of(str(kept)).tensors) == 1


# -------------------------------------------------------------------------------------------------------------- JSON

JSON_MEGABYTES = full_count(30, 9)
LISTS = b"[],"


def filled(unit: bytes) -> bytes:
    return (unit * (JSON_MEGABYTES * 1_000_000 // len(unit))).rstrip(b",")


@pytest.mark.parametrize("unit", [b"[],", b"{},", b"[1],", b'{"a":1},'])
def test_fault_50_a_header_of_nothing_but_lists(tmp_path, unit):
    header = b'{"__metadata__":{},"a":[' + filled(unit) + b"]}"
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    (result,) = measured(path)
    assert "lists and objects" in result["refused"]
    assert result["megabytes"] < 120 + 3 * JSON_MEGABYTES, result


def test_fault_50_a_sidecar_of_nothing_but_lists(tmp_path):
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_bytes(b'{"weight_map":[' + filled(LISTS) + b"]}")
    (result,) = measured(folder)
    assert "lists and objects" in result["refused"]
    assert result["megabytes"] < 120 + 3 * JSON_MEGABYTES, result


@pytest.mark.parametrize("form", ["[%s]", "%s"])
def test_fault_50_a_log_of_nothing_but_lists(tmp_path, form):
    from analyzer.layouts.scores.sidecars import read_scores

    path = tmp_path / "log.jsonl"
    lists = filled(LISTS).decode()
    path.write_text(form % (lists if form == "[%s]" else lists.replace(",", "\n")))
    with pytest.raises(CheckpointError, match="lists and objects"):
        read_scores(str(path))


def test_fault_50_a_header_of_many_tensors_and_a_long_log_are_read(tmp_path):
    """They take more memory than most texts of their size."""
    from analyzer.formats.json_texts import SMALL_MEMORY, require_modest

    tensors = SMALL_MEMORY // 250
    header = ",".join(f'"{n}":{{"dtype":"F32","shape":[],"data_offsets":[{n},{n}]}}' for n in range(tensors))
    assert len(header) > SMALL_MEMORY // 6
    require_modest("a header", header)
    require_modest("a log", '{"step":1,"loss":0.5}\n' * (SMALL_MEMORY // 100))
