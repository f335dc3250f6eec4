"""A byte that was flipped after an archive was written: audits and measurements check what its checksums say."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from builders import random_walk
from commands import weightlapse

import analyzer
from analyzer.auditing import contents
from analyzer.model.run import Finding, TensorInfo
from analyzer.store.store import open_store

Save = Callable[[Path, dict[str, np.ndarray]], None]


def as_torch(path: Path, weights: dict[str, np.ndarray]) -> None:
    torch = pytest.importorskip("torch")
    torch.save({name: torch.from_numpy(array) for name, array in weights.items()}, path)


def as_strided_torch(path: Path, weights: dict[str, np.ndarray]) -> None:
    """Transposed, so that the elements are not in the order of the bytes."""
    torch = pytest.importorskip("torch")
    torch.save(
        {name: torch.from_numpy(array).permute(*reversed(range(array.ndim))) for name, array in weights.items()}, path
    )


def as_npz(path: Path, weights: dict[str, np.ndarray]) -> None:
    np.savez(path, **weights)


def as_fortran_npz(path: Path, weights: dict[str, np.ndarray]) -> None:
    np.savez(path, **{name: np.asfortranarray(array) for name, array in weights.items()})


def as_big_endian_npz(path: Path, weights: dict[str, np.ndarray]) -> None:
    np.savez(path, **{name: array.astype(">f4") for name, array in weights.items()})


WRITERS: list[tuple[str, Save]] = [
    (".pt", as_torch),
    (".pt", as_strided_torch),
    (".npz", as_npz),
    (".npz", as_fortran_npz),
    (".npz", as_big_endian_npz),
]


@pytest.fixture(params=WRITERS, ids=lambda writer: writer[1].__name__)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A run of three checkpoints; the path of the second."""
    suffix, save = request.param
    (tmp_path / "run").mkdir()
    for epoch, weights in enumerate(random_walk(3)):
        save(tmp_path / "run" / f"epoch_{epoch}{suffix}", weights)
    return Path(tmp_path / "run" / f"epoch_1{suffix}")


def flip(path: Path, needle: bytes) -> None:
    """Change the lowest bit of the one place where these bytes stand."""
    data = bytearray(path.read_bytes())
    assert data.count(needle) == 1
    data[data.index(needle)] ^= 1
    path.write_bytes(data)


def unreadable(folder: Path) -> list[Finding]:
    return [one for one in analyzer.audit(analyzer.open_run(folder)) if one.rule == "unreadable_tensor"]


def test_a_sound_archive_has_the_checksums_that_are_stored_with_it(written: Path) -> None:
    assert unreadable(written.parent) == []


def test_a_flipped_bit_is_found_and_its_tensor_named(written: Path) -> None:
    weights = random_walk(3)[1]["fc1.weight"]
    data = written.read_bytes()
    flip(written, next(raw for raw in _orders(weights) if raw in data))
    (finding,) = unreadable(written.parent)
    assert (finding.severity, finding.tensor, finding.checkpoints) == ("serious", "fc1.weight", (written.name,))
    assert str(written) in finding.sentence and "checksum" in finding.sentence
    outcome = weightlapse("audit", written.parent)
    assert outcome.code == 3 and "not sound" in outcome.out


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("families", [["motion"], ["motion", "spectrum"], ["subspace"]])
def test_damaged_bytes_are_not_measured_but_named(
    written: Path, tmp_path: Path, families: list[str], jobs: int
) -> None:
    weights = random_walk(3)[1]["fc1.weight"]
    data = written.read_bytes()
    flip(written, next(raw for raw in _orders(weights) if raw in data))
    store = tmp_path / "m.sqlite"
    measurements = analyzer.measure(analyzer.open_run(written.parent), store, metrics=families, jobs=jobs)
    with open_store(str(store)) as opened:
        rows = [row for row in opened.measurements(measurements.run) if row.tensor == "fc1.weight"]
        (problem,) = opened.problems(measurements.run)
    here = {row.metric: row for row in rows if row.checkpoint == written.name}
    assert here and all((row.value, row.status) == (None, "error") for row in here.values())
    assert "error" not in {row.status for row in rows if row.checkpoint == f"epoch_0{written.suffix}"}
    assert problem[:2] == (written.name, "fc1.weight") and "checksum" in problem[3]


def test_the_bytes_of_sound_archives_are_measured(written: Path, tmp_path: Path) -> None:
    measurements = analyzer.measure(analyzer.open_run(written.parent), tmp_path / "m.sqlite")
    with open_store(measurements.path) as opened:
        assert opened.problems(measurements.run) == []


def _orders(weights: np.ndarray) -> list[bytes]:
    return [weights.tobytes(), weights.tobytes("F"), weights.astype(">f4").tobytes()]


def test_a_deflated_entry_with_another_checksum(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, w=random_walk(1)[0]["fc1.weight"])
    data = buffer.getvalue()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/epoch_0.npz").write_bytes(data)
    assert unreadable(tmp_path / "run") == []
    changed = bytearray(data)
    changed[data.rindex(b"PK\x01\x02") + 16] ^= 1  # of the checksum in the directory
    (tmp_path / "run/epoch_0.npz").write_bytes(changed)
    (finding,) = unreadable(tmp_path / "run")
    assert "'w.npy'" in finding.sentence and finding.tensor == "w"


def test_tensors_that_share_an_entry_have_it_checked_once_and_are_all_named(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    whole = torch.arange(64, dtype=torch.float32).reshape(8, 8)
    path = tmp_path / "run" / "epoch_0.pt"
    path.parent.mkdir()
    torch.save({"top": whole[:3], "low": whole[3:6]}, path)
    flip(path, np.arange(56, 64, dtype=np.float32).tobytes())  # in neither of them, but saved with them
    with mock.patch.object(contents, "open_source", wraps=contents.open_source) as opened:
        (finding,) = unreadable(path.parent)
    assert opened.call_count == 1
    assert finding.evidence["tensors"] == ["top", "low"]


def test_a_name_that_changed_in_a_torch_archive_is_damage_not_another_tensor(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "run").mkdir()
    for epoch, state in enumerate(random_walk(2)):
        as_torch(tmp_path / f"run/epoch_{epoch}.pt", state)
    path = tmp_path / "run/epoch_1.pt"
    path.write_bytes(path.read_bytes().replace(b"fc1.weight", b"fc7.weight"))
    outcome = weightlapse("audit", tmp_path / "run")
    assert outcome.code == 3
    assert "epoch_1.pt" in outcome.out and "data.pkl' was changed after it was written" in outcome.out


def test_a_torch_archive_that_was_written_without_checksums_is_not_charged_with_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if not hasattr(torch.serialization, "set_crc32_options"):
        pytest.skip("this torch always writes checksums")
    (tmp_path / "run").mkdir()
    torch.serialization.set_crc32_options(False)
    try:
        as_torch(tmp_path / "run/epoch_0.pt", random_walk(1)[0])
    finally:
        torch.serialization.set_crc32_options(True)
    assert unreadable(tmp_path / "run") == []


def test_storages_that_were_filled_in_after_the_archive_was_written_are_not_charged_with_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if not hasattr(torch.serialization, "skip_data"):
        pytest.skip("this torch always writes storages")
    (tmp_path / "run").mkdir()
    for epoch, state in enumerate(random_walk(2)):
        path = tmp_path / f"run/epoch_{epoch}.pt"
        with torch.serialization.skip_data():
            as_torch(path, state)
        places = [part.offset for info in _tensors(path).values() for part in info.parts]
        with path.open("r+b") as file:
            for offset, array in zip(places, state.values(), strict=True):
                file.seek(offset)
                file.write(array.tobytes())
        read = torch.load(path, weights_only=True)
        assert all(np.array_equal(read[name], array) for name, array in state.items())
    assert unreadable(tmp_path / "run") == []
    assert "Verdict: the files are sound" in weightlapse("audit", tmp_path / "run").out


def _tensors(path: Path) -> Mapping[str, TensorInfo]:
    return analyzer.open_run(path.parent).checkpoints[-1].tensors


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_chunks_of_a_distributed_checkpoint_are_checked(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    import torch.distributed.checkpoint as dcp

    weights = torch.arange(4096, dtype=torch.float32).reshape(64, 64)
    for step in (10, 20):
        dcp.save({"w": weights + step}, checkpoint_id=tmp_path / "run" / f"step-{step}", no_dist=True)
    assert unreadable(tmp_path / "run") == []
    (stored,) = (tmp_path / "run/step-20").glob("*.distcp")
    flip(stored, (weights + 20).numpy().tobytes())
    (finding,) = unreadable(tmp_path / "run")
    assert (finding.tensor, finding.checkpoints) == ("w", ("step-20",))


def test_factors_of_an_adapter_are_checked(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    factors = {letter: torch.randn(shape) for letter, shape in (("A", (2, 6)), ("B", (5, 2)))}
    for step in (1, 2):
        folder = tmp_path / f"run/checkpoint-{step}"
        folder.mkdir(parents=True)
        named = {f"base_model.model.q.lora_{letter}.weight": factor for letter, factor in factors.items()}
        torch.save(named, folder / "adapter_model.bin")
        (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "lora_alpha": 4, "r": 2}')
    assert unreadable(tmp_path / "run") == []
    flip(tmp_path / "run/checkpoint-2/adapter_model.bin", factors["A"].numpy().tobytes())
    (finding,) = unreadable(tmp_path / "run")
    assert finding.tensor == "q.delta_weight"
