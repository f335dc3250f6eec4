"""Event files of TensorBoard: what is read of them, and what damage and a missing package cost."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import CHECKOUT, full_count
from formats_testing import mutated, only_documented_errors, write
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from torch.utils.tensorboard import SummaryWriter

import analyzer
from analyzer.errors import CheckpointError
from analyzer.layouts.scores import event_files
from analyzer.layouts.scores.event_files import event_rows, is_event_file, time_of
from analyzer.layouts.scores.merging import with_scores
from analyzer.layouts.scores.sidecars import read_scores
from analyzer.model.run import Finding

MakeRun = Callable[..., Path]


def logged(folder: Path, *events: dict[str, Any], start: int = 0) -> Path:
    """Write an event file with the package's own writer: a step and its scalars for each event."""
    writer = EventFileWriter(str(folder))
    for number, scalars in enumerate(events, start=start):
        event = Event(step=scalars.pop("step", number))
        for tag, value in scalars.items():
            event.summary.value.add(tag=tag, simple_value=value)
        writer.add_event(event)
    writer.close()
    return max(folder.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns)


def rows(path: Path) -> tuple[list[dict[str, Any]], list[Finding]]:
    findings: list[Finding] = []
    return list(event_rows(str(path), findings)), findings


def test_scalars_of_the_writer_of_torch(tmp_path: Path) -> None:
    writer = SummaryWriter(str(tmp_path))
    for step in (10, 20):
        writer.add_scalar("loss", step / 40, step)
        writer.add_scalar("acc", step / 80, step, new_style=True)  # a tensor without dimensions
        writer.add_text("note", "0.5", step)
    writer.add_histogram("weights", np.array([1.0, 2.0]), 20)
    writer.close()
    (path,) = tmp_path.iterdir()
    assert rows(path) == ([{"step": 10, "loss": 0.25, "acc": 0.125}, {"step": 20, "loss": 0.5, "acc": 0.25}], [])


@pytest.mark.parametrize(
    "dtype, field, value", [(1, "float_val", 0.5), (2, "double_val", 0.5), (3, "int_val", 2), (9, "int64_val", 2)]
)
def test_scalars_as_tensors(tmp_path: Path, dtype: int, field: str, value: float) -> None:
    event = Event(step=1)
    unpacked, packed, vector = (event.summary.value.add(tag=tag).tensor for tag in ("unpacked", "packed", "vector"))
    for tensor in (unpacked, packed, vector):
        tensor.dtype = dtype
    getattr(unpacked, field).append(value)
    packed.tensor_content = struct.pack({1: "<f", 2: "<d", 3: "<i", 9: "<q"}[dtype], value)
    vector.tensor_shape.dim.add(size=1)
    getattr(vector, field).append(value)
    writer = EventFileWriter(str(tmp_path))
    writer.add_event(event)
    writer.close()
    assert rows(next(tmp_path.iterdir()))[0] == [{"step": 1, "unpacked": value, "packed": value}]


def test_an_epoch_that_is_logged_places_the_row_and_another_step_does_not(tmp_path: Path) -> None:
    path = logged(tmp_path, {"step": 99, "epoch": 0.0, "loss": 0.5, "global_step": 7.0, "hp_metric": -1.0})
    assert rows(path)[0] == [{"step": 99, "epoch": 0.0, "loss": 0.5}]
    assert read_scores(str(path)) == {("step", 99): {"loss": 0.5}, ("epoch", 0): {"loss": 0.5}}


def test_a_file_that_ends_in_a_record_is_read_up_to_it(tmp_path: Path) -> None:
    path = logged(tmp_path, {"loss": 0.5}, {"loss": 0.25})
    data = path.read_bytes()
    for cut in (1, 3, 5, 20):
        path.write_bytes(data[:-cut])
        assert rows(path) == ([{"step": 0, "loss": 0.5}], [])
    path.write_bytes(b"")
    assert rows(path) == ([], [])


@pytest.mark.parametrize("place", [-3, -8, -30])
def test_a_damaged_record_ends_the_reading_and_is_reported(tmp_path: Path, place: int) -> None:
    path = logged(tmp_path, {"loss": 0.5}, {"loss": 0.25})
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    read, (finding,) = rows(path)
    assert read == [{"step": 0, "loss": 0.5}]
    assert (finding.rule, finding.severity) == ("scores_unreadable", "warning")
    assert f"{path}: the record at byte " in finding.sentence and "Copy the file again" in finding.sentence


def test_a_record_that_is_no_event_is_reported(tmp_path: Path) -> None:
    path = logged(tmp_path, {"loss": 0.5})
    length = struct.pack("<Q", 2)
    record = length + struct.pack("<I", event_files._masked_crc(length)) + b"\xff\xff"
    path.write_bytes(path.read_bytes() + record + struct.pack("<I", event_files._masked_crc(b"\xff\xff")))
    read, (finding,) = rows(path)
    assert read == [{"step": 0, "loss": 0.5}] and "a record is not an event" in finding.sentence


def test_what_is_too_large_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = logged(tmp_path, {"loss": 0.5}, {"loss": 0.25, "x" * 100: 1.0}, {"loss": 0.125})
    monkeypatch.setattr(event_files, "LARGEST_RECORD", 100)
    read, (finding,) = rows(path)
    assert [row["loss"] for row in read] == [0.5, 0.125] and finding.rule == "scores_large_records"
    monkeypatch.setattr(event_files, "MOST_VALUES", 1)
    with pytest.raises(CheckpointError, match="more than 1 values"):
        rows(path)
    monkeypatch.setattr(event_files, "LARGEST_FILE", 100)
    with pytest.raises(CheckpointError, match="bytes are more than the 100 that are read of an event file"):
        rows(path)


def test_names_of_event_files() -> None:
    assert time_of("events.out.tfevents.1700000000.host.1.0") == 1700000000
    assert is_event_file("events.out.tfevents.1700000000.host.1.0.v2")
    assert not is_event_file("tfevents.txt") and not is_event_file("notes.csv")


def test_mutants_raise_documented_errors_only(tmp_path: Path) -> None:
    events = ({"loss": step / 8, "epoch": float(step // 2)} for step in range(6))
    data = logged(tmp_path / "sound", *events).read_bytes()
    message = Event(step=3)
    message.summary.value.add(tag="loss", simple_value=0.5)
    tensor = message.summary.value.add(tag="acc").tensor
    tensor.dtype = 2
    tensor.tensor_content = bytes(8)
    path = tmp_path / "events.out.tfevents.1"
    generator = random.Random(0)
    tokens = (b"\xff" * 8, bytes(8), b"\x2a\x00", b"\x12\xff\xff\xff\xff\x0f", struct.pack("<f", float("nan")))
    accepted = named = 0
    for number in range(full_count(100_000, 300)):
        if number % 2:
            mutant = mutated(data, generator, tokens)
        else:  # with sound checksums, so that the message is parsed
            mutant = framed(mutated(message.SerializeToString(), generator, tokens))
        findings: list[Finding] = []
        accepted += only_documented_errors(partial(read_scores, write(path, mutant), findings))
        named += bool(findings)
    assert accepted and named


def framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    sums = [struct.pack("<I", event_files._masked_crc(part)) for part in (length, data)]
    return length + sums[0] + data + sums[1]


# ------------------------------------------------------------------------------------------------ beside a run


def test_event_files_beside_a_run(make_plain_run: MakeRun) -> None:
    """Numbered by the call, as most training loops do it: by epoch."""
    folder = make_plain_run()
    logged(folder / "runs" / "Nov27_host", *({"acc": epoch / 8} for epoch in range(5)))
    run = analyzer.open_run(folder)
    assert [one.scores for one in run.checkpoints] == [{"acc": epoch / 8} for epoch in range(5)]
    assert [one.rule for one in run.findings] == ["scores_read", "scores_by_epoch"]
    assert "Scores come from runs/Nov27_host/events.out.tfevents." in run.findings[0].sentence


def test_steps_of_event_files_are_not_taken_for_epochs_without_need(make_plain_run: MakeRun) -> None:
    folder = make_plain_run()
    path = logged(folder, *({"step": 100 * epoch, "acc": 0.5} for epoch in range(5)))
    assert [one.rule for one in analyzer.open_run(folder).findings] == ["scores_unmatched"]
    with pytest.raises(CheckpointError, match="rows are by step, but the checkpoints have only epochs"):
        with_scores(analyzer.open_run(folder), str(path))


def test_training_and_validation_of_keras_stay_apart(make_plain_run: MakeRun) -> None:
    folder = make_plain_run()
    for part, loss in (("train", 0.25), ("validation", 0.5)):
        logged(folder / "logs" / part, *({"epoch_loss": loss} for _ in range(5)))
    scores = analyzer.open_run(folder).checkpoints[2].scores
    assert scores == {"train/epoch_loss": 0.25, "validation/epoch_loss": 0.5}


def test_a_resumed_training_goes_on_and_several_trainings_are_refused(make_plain_run: MakeRun) -> None:
    folder = make_plain_run()
    logged(folder / "runs" / "a", *({"acc": 0.25} for _ in range(4)))
    later = logged(folder / "runs" / "b", {"acc": 0.5}, {"acc": 0.75}, start=3)
    later.rename(later.with_name("events.out.tfevents.2000000000.host"))
    run = analyzer.open_run(folder)
    assert [one.scores["acc"] for one in run.checkpoints] == [0.25, 0.25, 0.25, 0.5, 0.75]
    logged(folder / "runs" / "c", *({"acc": 1.0} for _ in range(5)))
    run = analyzer.open_run(folder)
    assert not any(one.scores for one in run.checkpoints)
    (finding,) = [one for one in run.findings if one.rule == "scores_of_several_trainings"]
    assert "3 trainings that begin at the same place" in finding.sentence and "--scalars" in finding.sentence


def test_without_the_package_one_notice_says_how_to_install_it(make_plain_run: MakeRun, tmp_path: Path) -> None:
    folder = make_plain_run()
    path = logged(folder, {"acc": 0.5})
    logged(folder / "logs", {"acc": 0.5})
    script = (
        "import sys; sys.modules['tensorboard'] = None\n"
        "import analyzer\n"
        "run = analyzer.open_run(sys.argv[1])\n"
        "for one in run.findings: print(one.rule, one.severity, one.sentence)\n"
        "from analyzer.layouts.scores.merging import with_scores\n"
        "try: with_scores(run, sys.argv[2])\n"
        "except analyzer.WeightlapseError as error: print('error', error)\n"
    )
    command = [sys.executable, "-c", script, str(folder), str(path)]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=True)
    notice, error = ended.stdout.splitlines()
    assert notice.startswith("scores_need_package notice ")
    assert "pip install 'weightlapse[tensorboard]'" in notice and "pip install 'weightlapse[tensorboard]'" in error
