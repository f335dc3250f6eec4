"""Torch files before 1.6: every tensor as torch itself loads it, from a file that says where its bytes are."""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import STRESS, full_count
from formats_testing import PICKLE_TOKENS, loaded, mutated, only_documented_errors, torch_bytes, write

from analyzer.errors import CheckpointError
from analyzer.formats import pickle_ends
from analyzer.formats.pickle_ends import PickleReader
from analyzer.formats.pickle_trees import Unknown
from analyzer.formats.torch_tensors import DTYPES
from analyzer.formats.torch_zip import read_torch
from analyzer.model.run import TensorInfo
from analyzer.sources import LocalSource

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.pt"


def legacy(value: Any, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    return buffer.getvalue()


def read(path: Path, data: bytes) -> Any:
    return read_torch(write(path, data)).tree


def assert_refused(path: Path, data: bytes, *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(path, data)
    assert str(caught.value).startswith(f"{path}: ")
    for word in words:
        assert word in str(caught.value)


def assert_as_torch(path: Path, value: dict[str, Any], data: bytes | None = None) -> Any:
    """What is read of a saved dictionary has the bytes that torch loads; gives the tree back."""
    tree = read(path, legacy(value) if data is None else data)
    expected = torch.load(path, weights_only=False)
    assert list(tree) == list(expected)
    for name, tensor in expected.items():
        assert (f"torch.{tree[name].dtype}", tree[name].shape) == (str(tensor.dtype), tuple(tensor.shape))
        assert loaded(tree[name]).tobytes() == torch_bytes(tensor), name
    return tree


def pickles_of(data: bytes) -> list[bytes]:
    """The five pickles at the beginning, and the storages."""
    stream, parts, begin = io.BytesIO(data), [], 0
    for _ in range(5):
        for _opcode in pickletools.genops(stream):
            pass
        parts.append(data[begin : stream.tell()])
        begin = stream.tell()
    return [*parts, data[begin:]]


def with_part(data: bytes, number: int, change: Callable[[bytes], bytes]) -> bytes:
    parts = pickles_of(data)
    parts[number] = change(parts[number])
    return b"".join(parts)


def big_endian(header: bytes) -> bytes:
    """The facts about the writing machine, as a big-endian one states them."""
    return pickle.dumps({**pickle.loads(header), "little_endian": False}, 2)


SMALL = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.float16), "epoch": 3}

# ------------------------------------------------------------------------------------------------ sound files


@pytest.mark.parametrize("dtype", DTYPES)
def test_fault_11_every_dtype(path: Path, dtype: str) -> None:
    """Against the saved tensors, because torch cannot load the types without a storage class of their own."""
    its_type = getattr(torch, dtype)
    codes = torch.randint(0, 2 if dtype == "bool" else 256, (12 * its_type.itemsize,), dtype=torch.uint8)
    tensor = codes.view(its_type).reshape(3, 4)
    value = {"w": tensor, "t": tensor.clone().t(), "empty": tensor[:0].clone()}
    tree = read(path, legacy(value))
    for name, expected in value.items():
        assert (tree[name].dtype, tree[name].shape) == (dtype, tuple(expected.shape))
        assert loaded(tree[name]).tobytes() == torch_bytes(expected)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_shared_strided_parameters_and_empty_tensors(path: Path, protocol: int) -> None:
    whole = torch.randn(6, 4)
    value = {
        "a": whole, "b": whole, "rows": whole[2:4], "column": whole[:, 1], "t": torch.randn(4, 3).t(),
        "parameter": torch.nn.Parameter(torch.randn(3)), "empty": torch.empty(0, 5), "scalar": torch.tensor(2.0),
        "expanded": torch.randn(3, 1).expand(3, 50),
    }  # fmt: skip
    tree = assert_as_torch(path, value, legacy(value, protocol))
    assert tree["a"] == tree["b"]
    assert tree["rows"].parts[0].offset == tree["a"].parts[0].offset + 2 * 4 * 4


def test_plain_values_beside_tensors(path: Path) -> None:
    tree = read(path, legacy({**SMALL, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}, "name": "größe"}))
    assert (tree["epoch"], tree["name"]) == (3, "größe")
    assert isinstance(tree["optimizer"]["state"][0]["exp_avg"], TensorInfo)


def test_a_module_with_the_source_of_its_classes(path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    data = legacy(network)
    assert b"class Linear(Module)" in data  # the format keeps the source text of every class
    tree = read(path, data)
    flat = {f"{child}.{name}": info for child, inner in tree.items() for name, info in inner.items()}
    assert list(flat) == list(network.state_dict())
    for name, tensor in network.state_dict().items():
        assert loaded(flat[name]).tobytes() == torch_bytes(tensor)


def test_a_view_of_a_storage(path: Path) -> None:
    """Early versions kept a storage that is a part of another as (key, first element, elements)."""
    body = (
        b"\x80\x02}(X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        b"X\x01\x00\x00\x00kX\x03\x00\x00\x00cpuK\x06(X\x01\x00\x00\x00vK\x02K\x03ttQK\x01K\x02\x85K\x01\x85tRu."
    )
    head = b"".join(pickles_of(legacy({}))[:3])
    keys = pickle.dumps(["k"], 2)
    data = head + body + keys + struct.pack("<q", 6) + np.arange(6, dtype=np.float32).tobytes()
    assert loaded(read(path, data)["w"]).tolist() == torch.load(path)["w"].tolist() == [3, 4]
    for old, new in [(b"K\x02K\x03tt", b"K\x04K\x03tt"), (b"K\x02K\x03tt", b"K\x02J\xff\xff\xff\xfftt")]:
        assert_refused(path, data.replace(old, new), "its pickle is invalid")


def test_fault_44_a_big_endian_machine_wrote_little_endian_elements(path: Path) -> None:
    """The header tells the machine's order; torch swaps the elements when it writes and reads them."""
    data = legacy({"w": torch.arange(3.0), "c": torch.ones(2, dtype=torch.complex64)})
    swapped = with_part(data, 2, big_endian)
    tree = read(path, swapped)
    assert loaded(tree["w"]).tolist() == torch.load(path)["w"].tolist() == [0, 1, 2]
    assert "big-endian" in tree["c"].unsupported
    # Early versions wrote the number of elements in the machine's own order.
    data = legacy({"w": torch.arange(3.0)})
    count = with_part(data, 5, lambda storages: struct.pack(">q", 3) + storages[8:])
    big = with_part(count, 2, big_endian)
    assert loaded(read(path, big)["w"]).tolist() == [0, 1, 2]
    assert_refused(path, count, "elements but 3 are declared")


# ------------------------------------------------------------------------------------------------ damaged files


def test_fault_04_truncated_anywhere(path: Path) -> None:
    whole = legacy(SMALL)
    read(path, whole)
    for size in range(len(whole)):
        assert_refused(path, whole[:size])


@pytest.mark.parametrize("extra", [b"\0", b"N.", None], ids=["zero", "a pickle", "a file"])
def test_fault_05_bytes_after_the_end(path: Path, extra: bytes | None) -> None:
    whole = legacy(SMALL)
    assert_refused(path, whole + (whole if extra is None else extra), "should end at byte")


def test_fault_07_storages_that_contradict_the_pickle(path: Path) -> None:
    whole = legacy(SMALL)
    keys = pickle.loads(pickles_of(whole)[4])
    for other in (keys[:1], [*keys, "1"], [keys[0], keys[0]], [], [1, 2], "ab", keys[0], None):
        assert_refused(path, with_part(whole, 4, lambda _, other=other: pickle.dumps(other, 2)), "storages")
    for count in (0, 5, -1, 2**62):
        damaged = with_part(whole, 5, lambda storages, count=count: struct.pack("<q", count) + storages[8:])
        assert_refused(path, damaged, "are declared")
    shared = legacy({"a": (storage := torch.arange(6.0)), "b": storage[:2]})
    two_sizes = with_part(shared, 3, lambda data: data[::-1].replace(b"\x06K", b"\x05K", 1)[::-1])
    assert_refused(path, two_sizes)


def test_fault_04_another_version_or_no_header(path: Path) -> None:
    whole = legacy(SMALL)
    assert_refused(path, with_part(whole, 1, lambda _: pickle.dumps(1002, 2)), "version is not 1001")
    assert_refused(path, with_part(whole, 2, lambda _: pickle.dumps(3, 2)), "version is not 1001")
    assert_refused(path, b"\x80\x02" + b"N" * 200 + b".", "plain pickle")


def test_the_first_format_of_torch_is_refused_with_a_hint_that_works(path: Path) -> None:
    """torch.load cannot read it with weights_only=True."""
    assert_refused(path, bytes(257) + b"ustar\x00" + bytes(500), 'map_location="cpu", weights_only=False', "trust")


# ------------------------------------------------------------------------------------------------ what is read


def test_the_lengths_of_all_opcodes_are_those_of_the_library() -> None:
    by_argument = {None: None, pickletools.UP_TO_NEWLINE: 1}
    for opcode in pickletools.opcodes:
        code, argument = ord(opcode.code), opcode.arg
        if argument is None or argument.n >= 0:
            expected = 0 if argument is None else argument.n
            assert code == pickle_ends._STOP or pickle_ends._FIXED[code] == expected, opcode.name
        elif argument.n == pickletools.UP_TO_NEWLINE:
            lines = 2 if argument.name == "stringnl_noescape_pair" else by_argument[argument.n]
            assert pickle_ends._LINES[code] == lines, opcode.name
        else:
            widths = {
                pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT4: 4,
                pickletools.TAKEN_FROM_ARGUMENT4U: 4, pickletools.TAKEN_FROM_ARGUMENT8U: 8,
            }  # fmt: skip
            assert pickle_ends._COUNTED[code] == widths[argument.n], opcode.name


@pytest.mark.parametrize("block", [1, 2, 7, 100])
def test_pickles_are_found_in_blocks_of_any_size(path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(pickle_ends, "FIRST_BLOCK", block)
    monkeypatch.setattr(pickle_ends, "LARGEST_BLOCK", block)
    values = [{"a": [1, 2.5, "text" * 40, b"x" * 300]}, 2**70, None, {"b.c": (True, "x")}]
    for protocol in range(6):
        pickled = [pickle.dumps(value, protocol) for value in values]
        with LocalSource(write(path, b"".join(pickled) + b"rest")) as source:
            reader = PickleReader(source)
            assert [reader.next() for _ in values] == pickled
            assert reader.position == sum(map(len, pickled))


def test_only_pickles_and_numbers_of_elements_are_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, legacy({str(number): torch.zeros(1_000_000) for number in range(5)}))
    taken = 0
    true_read, true_ranges = LocalSource.read, LocalSource.read_ranges

    def counted(self: LocalSource, offset: int, length: int) -> bytearray:
        nonlocal taken
        taken += length
        return true_read(self, offset, length)

    def counted_ranges(self: LocalSource, ranges: Any) -> Any:
        nonlocal taken
        taken += sum(len(buffer) for _, buffer in ranges)
        return true_ranges(self, ranges)

    monkeypatch.setattr(LocalSource, "read", counted)
    monkeypatch.setattr(LocalSource, "read_ranges", counted_ranges)
    read_torch(str(path))
    assert taken < 150_000


def test_fault_22_a_pickle_beyond_the_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_ends, "PICKLE_LIMIT", 100_000)
    whole = legacy(SMALL)
    assert_refused(path, with_part(whole, 3, lambda _: b"\x80\x02" + b"N0" * 500_000), "more than the limit of 100000")
    assert_refused(path, with_part(whole, 3, lambda _: b"\x80\x02B\x40\x0d\x03\x00" + bytes(300_000)), "limit")
    assert_refused(
        path, with_part(whole, 3, lambda _: b"\x80\x02B\xff\xff\xff\xff" + bytes(300)), "ends within a pickle"
    )


# ------------------------------------------------------------------------------------------------ mutants


class Holder:
    """An object that is no module."""

    def __init__(self) -> None:
        self.weight = torch.ones(2)


def mutants(count: int, seed: int) -> Iterator[bytes]:
    """Files with a mutated pickle (most), storage, or place anywhere."""
    generator = random.Random(seed)
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    values = [{**SMALL, "t": torch.zeros(2, 2).t(), "p": torch.nn.Parameter(torch.ones(1)), "o": Holder()}, network]
    wholes = [pickles_of(legacy(value)) for value in values]
    for number in range(count):
        parts = list(generator.choice(wholes))
        place = 3 if number % 5 < 3 else generator.randrange(6)
        parts[place] = mutated(parts[place], generator, PICKLE_TOKENS)
        yield b"".join(parts)


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{name}/{key}")
    else:
        yield name, tree


@pytest.mark.parametrize("seed", range(10 if STRESS else 1))
def test_fault_45_mutants(path: Path, seed: int) -> None:
    accepted = 0
    for data in mutants(full_count(10_000, 1_000), seed):
        accepted += only_documented_errors(lambda: dict(leaves(read_torch(write(path, data)).tree)))  # noqa: B023
    assert accepted > 20


def test_an_object_that_is_no_module_is_a_name(path: Path) -> None:
    assert read(path, legacy({"o": Holder()}))["o"] == Unknown(f"{Holder.__module__}.Holder")
