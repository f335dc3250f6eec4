import errno
import io
import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import CONFIG, contents

from trainer import checkpoints
from trainer.checkpoints import Checkpoint
from trainer.datasets import Dataset
from trainer.errors import TrainerError
from trainer.training import train

EPOCHS = 3


def checkpoint(epoch: int = 0, **scores: float) -> Checkpoint:
    weights = {"fc1.weight": torch.arange(6.0).reshape(2, 3), "fc1.bias": torch.zeros(2)}
    return Checkpoint(epoch, 7 * epoch, scores, checkpoints.config_as_stored(CONFIG), weights)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny: Dataset) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    list(train(CONFIG, tiny, folder, EPOCHS))
    return contents(folder)


def test_library_reads_the_tensors_and_the_metadata(tmp_path: Path) -> None:
    path = checkpoints.save(tmp_path, checkpoint(12, test_accuracy=0.1, train_loss=1 / 3))
    assert path.name == "epoch_0012.safetensors"
    with safetensors.safe_open(path, framework="pt") as file:
        assert file.metadata() == {
            "format": "weightlapse",
            "schema": "1",
            "epoch": "12",
            "step": "84",
            "test_accuracy": "0.1",
            "train_loss": "0.3333333333333333",
            "config": '{"batch_size": 32, "dataset": "mnist-sample", "device": "cpu", "hidden": [8], '
            '"init": "pytorch", "lr": 0.1, "seed": 0}',
        }
    weights = safetensors.torch.load_file(path)
    assert weights.keys() == checkpoint().weights.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in checkpoint().weights.items())


@given(st.dictionaries(st.sampled_from(checkpoints.SCORES), st.floats(allow_nan=False)))
def test_scores_read_back_exactly(scores: dict[str, float]) -> None:
    data = checkpoints.encode(checkpoint(0, **scores))
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    assert {name: float(header[name]) for name in checkpoints.SCORES if name in header} == scores


@given(
    st.dictionaries(st.text(min_size=1).filter(lambda name: name != "__metadata__"), st.integers(0, 9)),
    st.sampled_from([torch.float32, torch.float16, torch.int64, torch.uint8]),
)
def test_sorting_the_header_changes_no_tensor(sizes: dict[str, int], dtype: torch.dtype) -> None:
    weights = {name: torch.arange(size).to(dtype) for name, size in sizes.items()}
    data = checkpoints.encode(replace(checkpoint(), weights=weights))
    read = safetensors.torch.load(data)
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], tensor) and read[name].dtype == dtype for name, tensor in weights.items())
    assert int.from_bytes(data[:8], "little") % 8 == 0


def test_read_is_the_inverse_of_save(tmp_path: Path) -> None:
    saved = checkpoint(3, test_accuracy=0.5, test_loss=2.0)
    read = checkpoints.read(checkpoints.save(tmp_path, saved))
    assert (read.epoch, read.step, read.scores, read.config) == (3, 21, saved.scores, saved.config)
    assert all(torch.equal(read.weights[name], tensor) for name, tensor in saved.weights.items())


def test_epoch_files_are_in_order_and_nothing_else(tmp_path: Path) -> None:
    for name in (
        "epoch_0002.safetensors",
        "epoch_10000.safetensors",
        "epoch_9999.safetensors",
        "epoch_2.safetensors",
        ".epoch_0003.safetensors.tmp",
        "epoch_0004.safetensors.bak",
        "notes.txt",
    ):
        (tmp_path / name).touch()
    assert list(checkpoints.epoch_files(tmp_path)) == [2, 9999, 10000]
    assert checkpoints.epoch_files(tmp_path / "missing") == {}


def test_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, checkpoint())
    with pytest.raises(TrainerError, match=r"already contains 1 checkpoints.*--resume.*--out"):
        checkpoints.open_run(tmp_path, CONFIG, resume=False)


@pytest.mark.parametrize("resume", [True, False])
def test_empty_or_missing_folder_starts_afresh(resume: bool, tmp_path: Path) -> None:
    assert checkpoints.open_run(tmp_path, CONFIG, resume=resume) is None
    assert checkpoints.open_run(tmp_path / "missing", CONFIG, resume=resume) is None


def test_resume_clears_away_only_its_own_leftovers(tmp_path: Path) -> None:
    others = [
        ".epoch_12.safetensors.tmp",
        "epoch_0001.safetensors.tmp",
        ".epoch_0001.safetensors.tmp2",
        "a.tmp",
    ]
    for name in (*others, ".epoch_0001.safetensors.tmp"):
        (tmp_path / name).touch()
    checkpoints.open_run(tmp_path, CONFIG, resume=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_resume_goes_on_after_the_last_whole_epoch_of_an_unbroken_sequence(tmp_path: Path) -> None:
    for epoch in range(5):
        checkpoints.save(tmp_path, checkpoint(epoch))
    damaged = tmp_path / checkpoints.file_name(2)
    whole = damaged.read_bytes()
    for data in (b"", whole[:3], whole[:-1], whole + b"\0", whole[:20]):
        damaged.write_bytes(data)
        last = checkpoints.open_run(tmp_path, CONFIG, resume=True)
        assert last is not None and last.epoch == 1
    damaged.unlink()
    last = checkpoints.open_run(tmp_path, CONFIG, resume=True)
    assert last is not None and last.epoch == 1


def test_resume_with_another_config_is_refused_by_name(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, checkpoint())
    with pytest.raises(TrainerError) as caught:
        checkpoints.open_run(tmp_path, replace(CONFIG, lr=0.2, hidden=(8, 4)), resume=True)
    message = str(caught.value)
    assert "hidden is [8] there, [8, 4] here; lr is 0.1 there, 0.2 here" in message
    assert "seed" not in message


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"format": "pt"}, {"format": "weightlapse", "schema": "2"}, {"epoch": "1"}, {"config": "["}],
)
def test_resume_refuses_what_others_wrote(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    path = checkpoints.save(tmp_path, checkpoint())
    if metadata:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = {**file.metadata(), **metadata}
    safetensors.torch.save_file({"w": torch.zeros(1)}, path, metadata)
    before = contents(tmp_path)
    with pytest.raises(TrainerError, match=r"epoch_0000\.safetensors: is not a file that weightlapse-train"):
        checkpoints.open_run(tmp_path, CONFIG, resume=True)
    assert contents(tmp_path) == before


def test_a_file_where_the_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(TrainerError, match="run: Not a directory"):
        checkpoints.open_run(tmp_path / "run", CONFIG, resume=True)


@contextmanager
def recorded_operations(fail_at: int | None = None) -> Iterator[list[tuple[str, str]]]:
    """Record each operation that writes, as (what, on which name); number ``fail_at`` finds the disk full."""
    done: list[tuple[str, str]] = []
    names: dict[int, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        fsync, replace_file, open_low, open_high = os.fsync, os.replace, os.open, Path.open

        def count(operation: str, path: Any) -> None:
            done.append((operation, Path(path).name))
            if len(done) == fail_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

        class CountingFile(io.FileIO):
            def write(self, data: Any) -> int:
                if len(done) + 1 == fail_at:
                    super().write(bytes(data)[: len(data) // 2])  # a full disk takes what still fits
                count("write", self.name)
                return super().write(data)

        def counting_open(path: Path, mode: str = "r") -> Any:
            if mode != "wb":
                return open_high(path, mode)
            count("open", path)
            file = CountingFile(path, "w")
            names[file.fileno()] = path.name
            return file

        def counting_open_low(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            descriptor = open_low(path, flags, *args, **kwargs)
            names[descriptor] = Path(path).name
            return descriptor

        def counting_fsync(descriptor: int) -> None:
            count("fsync", names[descriptor])
            fsync(descriptor)

        def counting_replace(source: Any, target: Any) -> None:
            count("replace", target)
            replace_file(source, target)

        patch.setattr(Path, "open", counting_open)
        patch.setattr(os, "open", counting_open_low)
        patch.setattr(os, "fsync", counting_fsync)
        patch.setattr(os, "replace", counting_replace)
        yield done


@pytest.mark.skipif(os.name != "posix", reason="folders are not synchronised on Windows")
def test_fault_28_file_reaches_the_disk_before_its_name_and_the_name_before_the_next_epoch(
    tmp_path: Path,
) -> None:
    with recorded_operations() as done:
        checkpoints.save(tmp_path, checkpoint())
    assert done == [
        ("open", ".epoch_0000.safetensors.tmp"),
        ("write", ".epoch_0000.safetensors.tmp"),
        ("fsync", ".epoch_0000.safetensors.tmp"),
        ("replace", "epoch_0000.safetensors"),
        ("fsync", tmp_path.name),
    ]


def test_fault_28_folder_that_cannot_be_synchronised_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def fsync_files_only(descriptor: int) -> None:
        if os.fstat(descriptor).st_mode & 0o040000:
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync_files_only)
    assert checkpoints.save(tmp_path, checkpoint()).exists()


def test_fault_29_disk_full_at_the_nth_operation(tmp_path: Path, tiny: Dataset, undisturbed: dict[str, bytes]) -> None:
    for fail_at in itertools.count(1):
        out = tmp_path / f"full-at-{fail_at}"
        with recorded_operations(fail_at) as done:
            try:
                list(train(CONFIG, tiny, out, EPOCHS))
            except TrainerError as error:
                assert f"{out}{os.sep}epoch_000" in str(error)
                assert "No space left on device" in str(error) and "--resume" in str(error)
                failed = True
            else:
                failed = False
        if not failed:
            break
        assert len(done) == fail_at
        left = contents(out)
        assert list(left) == list(undisturbed)[: len(left)]
        assert all(undisturbed[name] == data for name, data in left.items())

        last = checkpoints.open_run(out, CONFIG, resume=True)
        list(train(CONFIG, tiny, out, EPOCHS, last))
        assert contents(out) == undisturbed
    assert fail_at - 1 == len(done) == (5 if os.name == "posix" else 4) * (EPOCHS + 1)


def test_fault_29_failed_overwrite_leaves_the_old_file(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, checkpoint())
    before = contents(tmp_path)
    for fail_at in range(1, 5):
        with recorded_operations(fail_at), pytest.raises(TrainerError):
            checkpoints.save(tmp_path, checkpoint(0, test_loss=1.0))
        assert contents(tmp_path) == before
