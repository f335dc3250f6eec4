"""Distributed checkpoints: every tensor as torch.distributed.checkpoint loads it, from one process and from two."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import STRESS, SUPPORT, full_count
from formats_testing import (
    CHECKOUT,
    MARKER,
    PICKLE_TOKENS,
    ZIP_TOKENS,
    audited,
    hostile_bodies,
    loaded,
    mutated,
    only_documented_errors,
    spliced,
    torch_bytes,
    write,
)

from analyzer.errors import CheckpointError
from analyzer.formats import FileIndex
from analyzer.formats.dcp import _Box, _misfit, read_index
from analyzer.tensors.kinds import kind
from analyzer.tensors.loading import is_plain

torch = pytest.importorskip("torch")
dcp = pytest.importorskip("torch.distributed.checkpoint")


def save(folder: Path, state: dict[str, Any], **writer: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no process group is there
        dcp.save(state, storage_writer=dcp.FileSystemWriter(folder, **writer))
    return folder


def state() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Any:
        return torch.randn(*shape, generator=generator)

    return {
        "model": {
            "layers.10.weight": normal(5, 7),
            "layers.2.weight": normal(4, 3).t(),
            "bias": normal(5).bfloat16(),
            "fp8": normal(6).to(torch.float8_e4m3fn),
            "mask": torch.tensor([True, False]),
            "count": torch.tensor(3),
            "empty": torch.zeros(0, 3),
            "slice": normal(6, 6)[1:4, ::2],
        },
        "step": 1200,
        "lr": 1e-3,
        "note": "größe",
        "flag": True,
        "nan": float("nan"),
        "other": {"list": [1, 2]},
    }


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("dcp") / "step-1200", state())


@pytest.fixture
def folder(one_process: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(one_process, tmp_path / "step-1200"))


def as_torch_loads(folder: Path, index: FileIndex) -> dict[str, Any]:
    """The library's own reading of every tensor that we list."""
    target = {name: torch.zeros(info.shape, dtype=getattr(torch, info.dtype)) for name, info in index.tensors.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.load(target, checkpoint_id=folder)
    return target


def assert_as_torch(folder: Path) -> FileIndex:
    index = read_index(str(folder))
    expected = as_torch_loads(folder, index)
    for name, info in index.tensors.items():
        assert info.unsupported is None, (name, info.unsupported)
        assert loaded(info).tobytes() == torch_bytes(expected[name]), name
    return index


def assert_refused(folder: Path, *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_index(str(folder))
    assert str(caught.value).startswith(str(folder))
    for word in words:
        assert word in str(caught.value)


# ------------------------------------------------------------------------------------------------ whole checkpoints


def test_saved_by_one_process(one_process: Path) -> None:
    index = assert_as_torch(one_process)
    assert set(index.tensors) == {f"model.{name}" for name in state()["model"]}
    names = list(index.tensors)
    assert names.index("model.layers.2.weight") + 1 == names.index("model.layers.10.weight")  # in natural order
    assert index.metadata == {"step": "1200", "lr": "0.001", "note": "größe"}
    assert [Path(stamp.path).name for stamp in index.files] == [".metadata", "__0_0.distcp"]
    assert is_plain(index.tensors["model.layers.10.weight"])
    assert kind(index.tensors["model.empty"]) == "empty"


@pytest.mark.parametrize("writer", [{"thread_count": 2}, {"single_file_per_rank": False}], ids=str)
def test_saved_in_several_files(tmp_path: Path, writer: dict[str, Any]) -> None:
    index = assert_as_torch(save(tmp_path / "run", state(), **writer))
    assert len(index.files) >= 3
    assert index.metadata["step"] == "1200"


class CuttingPlanner(dcp.DefaultSavePlanner):  # type: ignore[misc,name-defined]
    """Cuts tensors into boxes as many ranks would, for the library's own writer to write."""

    cuts: dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]]

    def create_local_plan(self) -> Any:
        from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex
        from torch.distributed.checkpoint.planner import WriteItemType

        def cut(item: Any) -> Iterator[Any]:
            for number, (start, shape) in enumerate(self.cuts[item.index.fqn]):
                chunk = ChunkStorageMetadata(torch.Size(start), torch.Size(shape))
                index = MetadataIndex(item.index.fqn, chunk.offsets, number)
                data = replace(item.tensor_data, chunk=chunk)
                yield replace(item, index=index, type=WriteItemType.SHARD, tensor_data=data)

        plan = super().create_local_plan()
        items = [one for item in plan.items for one in (cut(item) if item.index.fqn in self.cuts else [item])]
        self.plan = replace(plan, items=items)
        return self.plan

    def resolve_data(self, item: Any) -> Any:
        if item.index.fqn not in self.cuts:
            return super().resolve_data(item)
        chunk = item.tensor_data.chunk
        places = zip(chunk.offsets, chunk.sizes, strict=True)
        return self.state_dict[item.index.fqn][tuple(slice(a, a + n) for a, n in places)].detach()


@pytest.mark.parametrize("threads", [1, 3])
def test_saved_in_shards(tmp_path: Path, threads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    value = {
        "rows": torch.randn(5, 4, generator=generator),
        "columns": torch.randn(4, 7, generator=generator),
        "both": torch.randn(6, 6, generator=generator).bfloat16(),
        "middle": torch.randn(2, 5, 3, generator=generator),
        "vector": torch.arange(9),
        "whole": torch.ones(2, 2),
        "step": 7,
    }
    planner = CuttingPlanner()
    planner.cuts = {
        "rows": [((0, 0), (3, 4)), ((3, 0), (2, 4))],
        "columns": [((0, 4), (4, 3)), ((0, 0), (4, 4))],
        "both": [((a, b), (3, 3)) for b in (0, 3) for a in (0, 3)],
        "middle": [((0, 0, 0), (2, 2, 3)), ((0, 2, 0), (2, 3, 3))],
        "vector": [((a,), (1,)) for a in range(9)],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer = dcp.FileSystemWriter(tmp_path / "run", thread_count=threads)
        dcp.save(value, storage_writer=writer, planner=planner)
    index = assert_as_torch(tmp_path / "run")
    assert len(index.files) == 1 + threads
    assert {name: len(info.parts) for name, info in index.tensors.items()} == {
        **{name: len(cuts) for name, cuts in planner.cuts.items()},
        "whole": 1,
    }
    for name, info in index.tensors.items():
        assert loaded(info).tobytes() == torch_bytes(value[name])


_TWO_PROCESSES = """
import sys, warnings
warnings.simplefilter("ignore")
import torch, torch.distributed as dist, torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import distribute_tensor, Replicate, Shard
rank, store, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))
torch.manual_seed(0)
state = {}
for name, shape, placement in [
    ("rows", (6, 4), Shard(0)), ("uneven", (5, 4), Shard(0)), ("one", (1, 4), Shard(0)), ("columns", (4, 7), Shard(1)),
    ("middle", (3, 4, 5), Shard(1)), ("replicated", (3, 3), Replicate()), ("vector", (9,), Shard(0)),
]:
    state[name] = distribute_tensor(torch.randn(*shape), mesh, [placement])
state["half"] = distribute_tensor(torch.randn(8, 2).bfloat16(), mesh, [Shard(0)])
state["plain"] = torch.ones(2, 2)
state["step"] = 7
dcp.save(state, checkpoint_id=folder)
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("two")
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", _TWO_PROCESSES, str(rank), str(place / "store"), str(place / "run")],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank in ranks:
        _, errors = rank.communicate(timeout=120)
        assert rank.returncode == 0, errors
    return place / "run"


@pytest.mark.skipif(not STRESS, reason="two processes with torch take a while to start")
def test_saved_by_two_processes(two_processes: Path) -> None:
    index = assert_as_torch(two_processes)
    assert len(index.files) == 3
    assert [len(index.tensors[name].parts) for name in ("rows", "uneven", "one", "columns", "replicated")] == [
        2,
        2,
        1,
        2,
        1,
    ]
    assert {Path(part.path).name for part in index.tensors["rows"].parts} == {"__0_0.distcp", "__1_0.distcp"}
    assert index.metadata == {"step": "7"}


def test_it_is_read_where_torch_is_not_installed(one_process: Path) -> None:
    expected = as_torch_loads(one_process, read_index(str(one_process)))
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from analyzer.formats.dcp import read_index\n"
        "from formats_testing import loaded\n"
        "for name, info in read_index(sys.argv[1]).tensors.items(): print(name, loaded(info).tobytes().hex())"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(SUPPORT)])}
    command = [sys.executable, "-c", script, str(one_process)]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
    assert dict(line.split(" ") for line in printed.splitlines()) == {
        name: torch_bytes(tensor).hex() for name, tensor in expected.items()
    }


# ------------------------------------------------------------------------------------------------ damaged ones


def edit(folder: Path, change: Callable[[Any], None]) -> Path:
    """Change the metadata as torch itself understands them, and write them again."""
    path = folder / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    change(metadata)
    write(path, pickle.dumps(metadata))
    return folder


def test_fault_04_metadata_cut_anywhere(folder: Path) -> None:
    whole = (folder / ".metadata").read_bytes()
    for size in range(0, len(whole), 1 if STRESS else 5):
        write(folder / ".metadata", whole[:size])
        assert_refused(folder)
    write(folder / ".metadata", whole + b"\0")
    assert_refused(folder, "bytes follow its end")


def test_fault_04_a_data_file_cut_anywhere(folder: Path) -> None:
    path = folder / "__0_0.distcp"
    whole = path.read_bytes()
    for size in range(0, len(whole), 1 if STRESS else 61):
        write(path, whole[:size])
        try:
            read_index(str(folder))
        except CheckpointError as error:
            assert "copy it again" in str(error)
        else:
            pytest.fail(f"{size} bytes of {len(whole)} were taken for the whole")


def test_fault_20_a_file_is_missing(folder: Path) -> None:
    (folder / "__0_0.distcp").unlink()
    assert_refused(folder, "__0_0.distcp: cannot be opened")
    (folder / ".metadata").unlink()
    assert_refused(folder, ".metadata: cannot be opened")


def test_files_of_another_checkpoint(folder: Path, tmp_path: Path) -> None:
    other = state()
    other["model"]["layers.10.weight"] = torch.zeros(7, 5)
    shutil.copy(save(tmp_path / "other", other) / "__0_0.distcp", folder / "__0_0.distcp")
    assert_refused(folder)


@pytest.mark.parametrize(
    "name", ["../x.distcp", "/etc/passwd", "..\\x", "C:x", "..", ".", "", "a/b", "a\0b", "\\\\server\\x"]
)
def test_fault_18_a_path_that_is_no_plain_name(folder: Path, name: str) -> None:
    def change(metadata: Any) -> None:
        for info in metadata.storage_data.values():
            info.relative_path = name

    assert_refused(edit(folder, change), "not the plain name of a file in the folder")


def test_fault_18_a_link_that_leaves_the_folder(folder: Path, tmp_path: Path) -> None:
    path = folder / "__0_0.distcp"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert_refused(folder, "a link that leads out of the folder")
    (tmp_path / "elsewhere").rename(folder / "beside")
    path.unlink()
    path.symlink_to("beside")
    assert read_index(str(folder)).tensors


@pytest.mark.parametrize("what", ["folder", "fifo", "loop"])
@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
def test_fault_19_no_regular_file(folder: Path, what: str, name: str) -> None:
    path = folder / name
    path.unlink()
    {"folder": path.mkdir, "fifo": lambda: os.mkfifo(path), "loop": lambda: path.symlink_to(path)}[what]()
    assert_refused(folder, name)


def chunks(metadata: Any) -> Any:
    return metadata.state_dict_metadata["model.layers.10.weight"].chunks


@pytest.mark.parametrize(
    "change, word",
    [
        (lambda metadata: chunks(metadata).append(chunks(metadata)[0]), "gap or overlap"),
        (lambda metadata: chunks(metadata).clear(), "gap or overlap"),
        (lambda metadata: setattr(chunks(metadata)[0], "sizes", torch.Size([5, 6])), "gap or overlap"),
        (lambda metadata: setattr(chunks(metadata)[0], "sizes", torch.Size([7, 5])), "beyond"),
        (lambda metadata: setattr(chunks(metadata)[0], "sizes", torch.Size([35])), "dimensions"),
        (lambda metadata: chunks(metadata).extend(chunks(metadata) * 5000), "more than 4096"),
    ],
)
def test_fault_06_chunks_that_do_not_make_up_the_tensor(folder: Path, change: Callable[[Any], None], word: str) -> None:
    index = read_index(str(edit(folder, change)))
    assert word in str(index.tensors["model.layers.10.weight"].unsupported)
    assert index.tensors["model.bias"].unsupported is None


def box(start: tuple[int, ...], shape: tuple[int, ...]) -> _Box:
    return _Box("w", start, shape, "f", 0, 1)


def test_fault_06_any_cutting_fits_and_nothing_else() -> None:
    whole = [box((0, 0), (2, 3)), box((0, 3), (1, 2)), box((1, 3), (1, 2)), box((2, 0), (2, 5))]
    assert _misfit((4, 5), whole) is None
    for number in range(len(whole)):
        without = whole[:number] + whole[number + 1 :]
        assert _misfit((4, 5), without) == "its chunks leave a gap or overlap"
        for moved in [(1, 0), (0, 1)]:
            other = replace(whole[number], start=tuple(a + b for a, b in zip(whole[number].start, moved, strict=True)))
            assert _misfit((4, 5), [*without, other])
    assert _misfit((), [box((), ())]) is None
    assert _misfit((), [])
    assert _misfit((), [box((), ())] * 2)
    assert _misfit((0, 3), [box((0, 0), (0, 3))]) is None


@pytest.mark.parametrize(
    "change, word",
    [
        (lambda metadata: metadata.storage_data.popitem(), "has no storage location for"),
        (lambda metadata: setattr(metadata, "storage_data", None), "not the metadata of a DCP checkpoint"),
        (lambda metadata: setattr(metadata, "state_dict_metadata", []), "not the metadata of a DCP checkpoint"),
        (lambda metadata: setattr(next(iter(metadata.storage_data.values())), "offset", -1), "not a tuple of sizes"),
        (lambda metadata: setattr(next(iter(metadata.storage_data.values())), "length", "9"), "not a tuple of sizes"),
        (lambda metadata: setattr(next(iter(metadata.storage_data.values())), "length", 2**62), "should end at byte"),
        (lambda metadata: setattr(next(iter(metadata.storage_data.values())), "relative_path", 3), "is not a string"),
        (lambda metadata: metadata.state_dict_metadata.update({3: None}), "not a string"),
        (lambda metadata: setattr(chunks(metadata)[0], "offsets", (0, "a")), "not a tuple of sizes"),
        (lambda metadata: setattr(metadata.state_dict_metadata["model.bias"], "size", None), "not a tuple of sizes"),
        (lambda metadata: setattr(metadata.state_dict_metadata["model.bias"], "chunks", 3), "no list of chunks"),
        (lambda metadata: setattr(metadata.state_dict_metadata["model.bias"], "properties", None), "dtype is expected"),
    ],
)
def test_fault_07_metadata_that_are_not_sound(folder: Path, change: Callable[[Any], None], word: str) -> None:
    assert_refused(edit(folder, change), word)


def test_fault_06_two_tensors_at_one_place(folder: Path) -> None:
    def change(metadata: Any) -> None:
        first, second, *_ = [info for index, info in metadata.storage_data.items() if index.fqn.startswith("model.")]
        second.offset, second.length = first.offset, first.length

    assert_refused(edit(folder, change), "overlaps another tensor")


def test_what_an_extension_of_torch_transformed_is_listed_with_a_reason(folder: Path) -> None:
    def change(metadata: Any) -> None:
        for index, info in metadata.storage_data.items():
            if index.fqn == "model.bias":
                info.transform_descriptors = ["zstd"]

    tensors = read_index(str(edit(folder, change))).tensors
    assert "by an extension" in str(tensors["model.bias"].unsupported)
    assert tensors["model.mask"].unsupported is None


def test_fault_23_24_a_file_that_changes_meanwhile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from analyzer.formats import dcp as our_dcp

    true_read = our_dcp.read_object

    def read_object(source: Any, begin: int, length: int) -> object:
        os.truncate(source.path, source.stamp.size - 1)
        return true_read(source, begin, length)

    monkeypatch.setattr(our_dcp, "read_object", read_object)
    assert_refused(folder, "__0_0.distcp")


# ------------------------------------------------------------------------------------------------ hostile ones


def hostile_folders(tmp_path: Path, canary: Path) -> Iterator[tuple[str, Path]]:
    """Checkpoints in whose metadata, or in place of them, each of the hostile bodies stands."""
    template = save(tmp_path / "template", {"w": torch.arange(3.0)})
    metadata = pickle.loads((template / ".metadata").read_bytes())
    metadata.planner_data = {"w": (MARKER,)}
    pickled = pickle.dumps(metadata, 2)
    for number, (name, body) in enumerate(hostile_bodies(canary).items()):
        for how, data in (("inside", spliced(pickled, body)), ("bare", b"\x80\x02" + body + b".")):
            folder = Path(shutil.copytree(template, tmp_path / f"{how}{number}"))
            write(folder / ".metadata", data)
            yield f"{name}, {how}", folder


def test_fault_21_nothing_in_hostile_metadata_runs(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    folders = dict(hostile_folders(tmp_path, canary))
    outcomes = audited("dcp", tmp_path / "template", list(folders.values()))
    for (name, folder), (outcome, events) in zip(folders.items(), outcomes, strict=True):
        assert all(event.startswith("os.") or event == "open" for event, _ in events), (name, events)
        assert events == [], (name, events)
        if name.endswith("inside"):
            assert outcome.startswith("{'w': TensorInfo("), (name, outcome)
            assert loaded(read_index(str(folder)).tensors["w"]).tolist() == [0, 1, 2]
        else:
            assert outcome.startswith("refused: "), (name, outcome)
    assert not canary.exists()


def test_fault_21_nothing_in_a_hostile_entry_runs(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    template = save(tmp_path / "template", {"step": "EVIL"})
    whole = (template / "__0_0.distcp").read_bytes()
    for body in hostile_bodies(canary).values():
        if len(body) < 200:
            write(template / "__0_0.distcp", whole.replace(b"X\x04\x00\x00\x00EVIL", body))
            read_index(str(template))
    assert not canary.exists()
    write(template / "__0_0.distcp", np.zeros(len(whole), np.uint8).tobytes())
    assert read_index(str(template)).metadata == {}


# ------------------------------------------------------------------------------------------------ mutants


def mutants(one_process: Path, folder: Path, count: int, seed: int) -> Iterator[None]:
    """A folder whose metadata (most) or data are mutated."""
    generator = random.Random(seed)
    newest = (one_process / ".metadata").read_bytes()
    sound = [newest, pickle.dumps(pickle.loads(newest), 2)]
    data = (one_process / "__0_0.distcp").read_bytes()
    tokens = (*PICKLE_TOKENS, b"../../x", b"__0_0.distcp", b"h\x01", b"h\x10", b"K\x05K\x07\x86", b"torch\nfloat32\n")
    for number in range(count):
        if number % 4:
            write(folder / ".metadata", mutated(generator.choice(sound), generator, tokens))
            write(folder / "__0_0.distcp", data)
        else:
            write(folder / ".metadata", newest)
            write(folder / "__0_0.distcp", mutated(data, generator, (*ZIP_TOKENS, *PICKLE_TOKENS)))
        yield


@pytest.mark.parametrize("seed", range(10 if STRESS else 1))
def test_fault_45_mutants(one_process: Path, folder: Path, seed: int) -> None:
    accepted = 0
    for _ in mutants(one_process, folder, full_count(10_000, 1_000), seed):
        accepted += only_documented_errors(lambda: read_index(str(folder)).tensors)
    assert accepted > 50


def test_fault_45_mutants_take_little_memory(one_process: Path, folder: Path) -> None:
    peaks = []
    for _ in mutants(one_process, folder, full_count(1_000, 100), 99):
        tracemalloc.start()
        only_documented_errors(lambda: read_index(str(folder)).tensors)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 4_000_000
