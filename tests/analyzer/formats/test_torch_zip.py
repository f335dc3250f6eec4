"""Torch zips: every tensor as torch itself loads it, and nothing obeyed of what a hostile file says."""

from __future__ import annotations

import io
import os
import pickletools
import random
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Mapping
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
    changed,
    entries_of,
    hostile_bodies,
    loaded,
    mutated,
    only_documented_errors,
    spliced,
    torch_bytes,
    write,
    zipped,
)

from analyzer.errors import CheckpointError
from analyzer.formats.pickle_trees import Unknown
from analyzer.formats.torch_tensors import DTYPES, EXPANDED_LIMIT, UNREADABLE
from analyzer.formats.torch_zip import read_torch
from analyzer.model.run import TensorInfo
from analyzer.tensors.kinds import kind

torch = pytest.importorskip("torch")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.pt"


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def read(path: Path, data: bytes) -> Any:
    return read_torch(write(path, data)).tree


def assert_refused(path: Path, data: bytes, *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(path, data)
    assert str(caught.value).startswith(f"{path}: ")
    for word in words:
        assert word in str(caught.value)


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of whatever is no container."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, f"{name}/{key}")
    elif isinstance(tree, (list, tuple)):
        for number, value in enumerate(tree):
            yield from leaves(value, f"{name}/{number}")
    else:
        yield name, tree


def tensors_of(tree: Any) -> dict[str, TensorInfo]:
    return {name: value for name, value in leaves(tree) if isinstance(value, TensorInfo)}


def assert_as_torch(path: Path, value: Any) -> Any:
    """What is read of a saved value has the bytes that torch loads; gives the tree back."""
    tree = read(path, saved(value))
    expected = {name: item for name, item in leaves(torch.load(path)) if isinstance(item, torch.Tensor)}
    found = tensors_of(tree)
    assert found.keys() == expected.keys()
    assert expected
    for name, tensor in expected.items():
        info = found[name]
        assert info.unsupported is None, name
        assert (f"torch.{info.dtype}", info.shape) == (str(tensor.dtype), tuple(tensor.shape))
        assert loaded(info).tobytes() == torch_bytes(tensor), name
    return tree


class Net(torch.nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(5, 3)
        self.second = torch.nn.Conv2d(2, 3, 3)
        self.norm = torch.nn.BatchNorm1d(3)


# ------------------------------------------------------------------------------------------------ whole files


def test_a_state_dict(path: Path) -> None:
    state = Net().state_dict()
    tree = assert_as_torch(path, state)
    assert list(tree) == list(state)
    assert read_torch(str(path)).files[0].size == path.stat().st_size
    assert all(info.parts[0].strides is None for info in tree.values())


def test_a_whole_dictionary_with_model_optimizer_and_numbers(path: Path) -> None:
    model = Net()
    optimizer = torch.optim.Adam(model.parameters())
    model.first(torch.ones(2, 5)).sum().backward()
    optimizer.step()
    value = {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "step": 1200, "loss": 0.125,
        "name": "größe", "flag": True, "nothing": None, "history": [0.5, (1, 2)], "best": np.float64(0.875),
        "device": torch.device("cuda:1"), "size": torch.Size([2, 3]), "dtype": torch.bfloat16,
    }  # fmt: skip
    tree = read(path, saved(value))
    expected = {name: item for name, item in leaves(value) if isinstance(item, torch.Tensor)}
    found = tensors_of(tree)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert loaded(found[name]).tobytes() == torch_bytes(tensor)
    plain = {key: tree[key] for key in ("epoch", "step", "loss", "name", "flag", "nothing", "history", "best")}
    assert plain == {key: value[key] for key in plain}
    assert (tree["device"], tree["size"], tree["dtype"]) == ("cuda:1", (2, 3), Unknown("torch.bfloat16"))


def test_parameters_and_tensors_with_attributes(path: Path) -> None:
    marked = torch.ones(3)
    marked.note = "kept by torch"
    parameter = torch.nn.Parameter(torch.randn(2, 2))
    parameter.note = 1
    assert_as_torch(
        path, {"parameter": torch.nn.Parameter(torch.randn(4, 3)), "marked": marked, "marked parameter": parameter}
    )


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """A module's tree by the names of its state_dict()."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


class Wide(torch.nn.Module):  # type: ignore[misc,name-defined]
    """What modules may hold: shared and missing parts, buffers that are not saved, attributes, a way back up."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(4, 4, bias=False)
        self.again = self.first
        self.layers = torch.nn.ModuleList([torch.nn.ReLU(), torch.nn.BatchNorm1d(4).half()])
        self.named = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.randn(3)), "b": torch.randn(2)})
        self.listed = torch.nn.ParameterList([torch.nn.Parameter(torch.randn(2, 2))])
        self.register_parameter("absent", None)
        self.register_module("nobody", None)
        self.register_buffer("kept", torch.arange(3.0))
        self.register_buffer("dropped", torch.arange(4.0), persistent=False)
        self.tensor = torch.ones(7)
        self.__dict__["parent"] = self  # as hooks and wrappers keep it
        self.norm = torch.nn.utils.weight_norm(torch.nn.Linear(3, 2))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_module_pickled_whole_has_the_tensors_of_its_state_dict(path: Path, is_zip: bool, protocol: int) -> None:
    networks = {"wide": Wide(), "sequence": torch.nn.Sequential(Net(), torch.nn.ReLU(), Wide())}
    torch.save(
        {**networks, "weights": torch.arange(3.0)}, path,
        _use_new_zipfile_serialization=is_zip, pickle_protocol=protocol,
    )  # fmt: skip
    tree: Any = read_torch(str(path)).tree
    for name, network in networks.items():
        state, found = network.state_dict(), flat(tree[name])
        assert list(found) == list(state)
        for key, tensor in state.items():
            assert loaded(found[key]).tobytes() == torch_bytes(tensor), key
    assert loaded(tree["weights"]).tolist() == [0, 1, 2]


class Namespace:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Pairs(dict[str, Any]):
    """A subclass of dict, as configurations and states of many libraries are."""


def test_other_objects_are_names_and_subclasses_of_dict_are_dictionaries(path: Path) -> None:
    tree = read(path, saved({"arguments": Namespace(lr=0.1, w=torch.ones(2)), "pairs": Pairs(w=torch.ones(3), n=1)}))
    assert tree["arguments"] == Unknown(f"{Namespace.__module__}.Namespace")
    assert loaded(tree["pairs"]["w"]).tolist() == [1, 1, 1]
    assert tree["pairs"]["n"] == 1


def module_body(parameters: bytes = b"}", modules: bytes = b"}", before: bytes = b"cmodels\nNet\n)\x81") -> bytes:
    """Opcodes of a module."""
    state = b"}(U\x0b_parameters" + parameters + b"U\x08_buffers}U\x08_modules" + modules + b"u"
    return before + state + b"b"


def test_fault_22_modules_inside_themselves_deep_ones_and_ones_that_double(path: Path) -> None:
    whole = saved({"evil": MARKER, "w": torch.ones(2)})
    pickled = entries_of(whole)["archive/data.pkl"]

    def with_body(body: bytes) -> bytes:
        return changed(whole, {"data.pkl": spliced(pickled, body)})

    inside = module_body(modules=b"}U\x01aj\x50\xc3\x00\x00s", before=b"cmodels\nNet\n)\x81r\x50\xc3\x00\x00")
    assert read(path, with_body(inside))["evil"] == {"a": Unknown("a container inside itself")}
    deep = module_body(parameters=b"}U\x01pN\x85s")
    for _ in range(200):
        deep = module_body(modules=b"}U\x01a" + deep + b"s")
    tree, levels = read(path, with_body(deep))["evil"], 0
    while isinstance(tree, dict):
        tree, levels = tree["a"], levels + 1
    assert tree == Unknown("nested too deeply")
    assert levels < 64
    double = b"ctorch\nTensor\n"
    for number in range(40):
        place = struct.pack("<I", 60_000 + number)
        double += b"r" + place + b"0" + module_body(modules=b"}(U\x01aj" + place + b"U\x01bj" + place + b"u")
    assert_refused(path, with_body(double), "expands to more than")
    twice = module_body(parameters=b"}U\x01aK\x01s", modules=b"}U\x01a" + module_body(b"}U\x01bK\x01s") + b"s")
    assert "two parts named 'a'" in read(path, with_body(twice))["evil"].name


def test_shared_storages_share_their_bytes(path: Path) -> None:
    whole = torch.randn(6, 4)
    tree = assert_as_torch(
        path, {"a": whole, "b": whole, "rows": whole[2:4], "column": whole[:, 1], "part": whole[1:5:2, 1:3]}
    )
    assert tree["a"] == tree["b"]
    assert tree["rows"].parts[0].offset == tree["a"].parts[0].offset + 2 * 4 * 4
    assert tree["rows"].parts[0].strides is None
    assert tree["column"].parts[0].strides == (4,)


def test_strides(path: Path) -> None:
    whole = torch.randn(3, 4, 5)
    tree = assert_as_torch(
        path,
        {
            "transposed": torch.randn(4, 3).t(),
            "permuted": whole.permute(2, 0, 1),
            "sliced": whole[:, ::2, 1:],
            "expanded": torch.randn(3, 1).expand(3, 1000),
            "expanded scalar": torch.tensor(2.0).expand(4, 5),
            "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
            "windows": torch.arange(10.0).unfold(0, 4, 1),
            "one row": torch.randn(5, 7)[2:3, :],
            "one column of one": torch.randn(5, 7)[:1, 2:3],
            "half": torch.randn(4, 6, dtype=torch.bfloat16).t(),
            "complex": torch.randn(4, 6, dtype=torch.complex128).t(),
            "bool": torch.tensor([[True, False, True], [False, False, True]]).t(),
        },
    )
    assert tree["one row"].parts[0].strides is None
    assert tree["expanded"].parts[0].strides == (1, 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fault_11_every_dtype(path: Path, dtype: str) -> None:
    its_type = getattr(torch, dtype)
    codes = torch.randint(0, 2 if dtype == "bool" else 256, (12 * its_type.itemsize,), dtype=torch.uint8)
    tensor = codes.view(its_type).reshape(3, 4)
    tree = read(
        path, saved({"w": tensor, "t": tensor.t(), "scalar": tensor[1, 2].clone(), "empty": tensor[:0].clone()})
    )
    for name, expected in {"w": tensor, "t": tensor.t(), "scalar": tensor[1, 2]}.items():
        info = tree[name]
        assert (info.dtype, info.shape, info.unsupported) == (dtype, tuple(expected.shape), None)
        assert loaded(info).tobytes() == torch_bytes(expected)
    assert tree["empty"].shape == (0, 4)
    assert tree["empty"].unsupported is None


def test_fault_10_every_dtype_of_torch_is_known() -> None:
    """Of torch's dtypes none is left to chance: each is read, or unsupported with a reason."""
    names = {str(value).removeprefix("torch.") for value in vars(torch).values() if isinstance(value, torch.dtype)}
    assert names <= DTYPES.keys() | UNREADABLE.keys()


def test_fault_10_an_unknown_dtype_or_storage(path: Path) -> None:
    whole = saved({"w": torch.zeros(2, dtype=torch.float8_e5m2)})
    pickled = entries_of(whole)["archive/data.pkl"]
    assert_refused(
        path,
        changed(whole, {"data.pkl": pickled.replace(b"float8_e5m2", b"float8_e9m9")}),
        "unknown dtype 'float8_e9m9'",
    )
    whole = saved({"w": torch.zeros(2)})
    pickled = entries_of(whole)["archive/data.pkl"]
    assert_refused(
        path, changed(whole, {"data.pkl": pickled.replace(b"FloatStorage", b"GreatStorage")}), "torch.GreatStorage"
    )


@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_listed_with_a_reason(path: Path) -> None:
    quantised = torch.quantize_per_tensor(torch.randn(2, 3), 0.1, 0, torch.qint8)
    value = {
        "quantised": quantised,
        "sparse": torch.eye(3).to_sparse(),
        "compressed": torch.eye(3).to_sparse_csr(),
        "meta": torch.zeros(2, 3, device="meta"),
        "conjugated": torch.zeros(2, dtype=torch.complex64).conj(),
        "negated": torch._neg_view(torch.ones(2)),
        "half complex": torch.zeros(2, dtype=torch.complex32),
        "two in a byte": torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
        "of a class": torch.ones(2).as_subclass(OfClass),
        "many dimensions": torch.zeros([1] * 64).reshape([1] * 64),
        "plain": torch.ones(2),
    }
    tree = read(path, saved(value))
    reasons = {name: info.unsupported for name, info in tree.items()}
    for name, word in {
        "quantised": "scales",
        "sparse": "sparse",
        "compressed": "sparse",
        "meta": "no values",
        "conjugated": "conjugated",
        "negated": "negated",
        "half complex": "no such type",
        "two in a byte": "smaller than a byte",
        "of a class": "OfClass",
    }.items():
        assert word in str(reasons.pop(name)), name
        assert kind(replace(tree[name], name=name)) == "unsupported"
    assert reasons == {"plain": None, "many dimensions": None}
    assert tree["sparse"].shape == tree["compressed"].shape == (3, 3)
    assert tree["quantised"].shape == (2, 3)


class OfClass(torch.Tensor):  # type: ignore[misc]
    pass


def test_a_file_without_byte_order_is_little_endian(path: Path) -> None:
    whole = saved({"w": torch.arange(3.0)})
    assert loaded(read(path, changed(whole, {"byteorder": None}))["w"]).tolist() == [0, 1, 2]
    assert_refused(path, changed(whole, {"byteorder": b"middle"}), "byte order is b'middle'")


def test_fault_44_a_file_of_a_big_endian_machine(path: Path) -> None:
    values = {
        "f": np.arange(6.0).reshape(2, 3), "h": np.arange(4, dtype=np.float16), "c": np.array([1 + 2j]),
        "l": np.arange(3), "b": np.array([True, False]),
    }  # fmt: skip
    value = {name: torch.from_numpy(array.copy()) for name, array in values.items()}
    value |= {"bf": torch.arange(4.0).bfloat16(), "t": torch.arange(6.0).reshape(2, 3).t()}
    whole = saved(value)
    widths = [8, 2, 8, 8, 1, 2, 4]
    swapped: dict[str, bytes | None] = {"byteorder": b"big"}
    for number, width in enumerate(widths):
        data = np.frombuffer(entries_of(whole)[f"archive/data/{number}"], f"u{width}")
        swapped[f"data/{number}"] = data.byteswap().tobytes()
    tree = read(path, changed(whole, swapped))
    expected = torch.load(path)
    for name in value:
        assert loaded(tree[name]).tobytes() == torch_bytes(value[name]) == torch_bytes(expected[name])


def test_the_older_way_to_write_a_zip(path: Path) -> None:
    """Torch writes sizes behind the data; other writers before them. Both are the same to us."""
    whole = saved({"w": torch.arange(3.0)})
    assert loaded(read(path, changed(whole, {}))["w"]).tolist() == [0, 1, 2]


def test_archives_beyond_4_gb(path: Path) -> None:
    """Sparse: torch leaves the bytes of the storages out, but all positions are real."""
    with torch.serialization.skip_data():
        torch.save({"a": torch.empty(1_200_000_000), "b": torch.empty(5), "c": torch.empty(3, 2)}, path)
    assert path.stat().st_size > 4 << 30
    tree = read_torch(str(path)).tree
    part = tree["b"].parts[0]
    assert part.offset > 4 << 30
    with path.open("r+b") as file:
        file.seek(part.offset)
        file.write(np.arange(5, dtype=np.float32).tobytes())
    assert loaded(tree["b"]).tolist() == torch.load(path, mmap=True)["b"].tolist() == [0, 1, 2, 3, 4]
    assert tree["a"].shape == (1_200_000_000,)


def test_many_tensors(path: Path) -> None:
    count = full_count(100_000, 5_000)
    tree = read(path, saved({f"layers.{number}": torch.full((2,), float(number)) for number in range(count)}))
    assert loaded(tree[f"layers.{count - 1}"]).tolist() == [count - 1] * 2


def test_it_is_read_where_torch_is_not_installed(path: Path) -> None:
    weights = torch.randn(3, 4).bfloat16()
    write(path, saved({"w": weights.t(), "epoch": 7}))
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from analyzer.formats.torch_zip import read_torch\n"
        "from formats_testing import loaded\n"
        "tree = read_torch(sys.argv[1]).tree\n"
        "print(tree['epoch'], loaded(tree['w']).tobytes().hex())\n"
        "try: import torch\n"
        "except ImportError: print('no torch')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(SUPPORT)])}
    printed = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert printed.split("\n")[:2] == [f"7 {torch_bytes(weights.t()).hex()}", "no torch"]


# ------------------------------------------------------------------------------------------------ damaged files

SMALL = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.float16), "epoch": 3}


@pytest.mark.parametrize("size", [0, 3, 50])
def test_fault_01_too_short(path: Path, size: int) -> None:
    assert_refused(path, bytes(size), f"{size} bytes are too few")


def test_fault_04_truncated_anywhere(path: Path) -> None:
    whole = saved(SMALL)
    read(path, whole)
    for size in range(len(whole)):
        assert_refused(path, whole[:size])


@pytest.mark.parametrize(
    "extra", [b"\0", bytes(22), b"PK\x05\x06" + bytes(18), None], ids=["zero", "22", "end", "a file"]
)
def test_fault_05_bytes_after_the_end(path: Path, extra: bytes | None) -> None:
    whole = saved(SMALL)
    assert_refused(path, whole + (whole if extra is None else extra), "not a single archive")


def test_fault_05_bytes_before_the_start(path: Path) -> None:
    whole = saved(SMALL)
    assert_refused(path, bytes(64) + whole, "not a torch file")
    assert_refused(path, b"PK\x03\x04" + bytes(60) + whole, "not a single archive")


def pickled_with(whole: bytes, old: bytes, new: bytes) -> bytes:
    pickled = entries_of(whole)["archive/data.pkl"]
    assert old in pickled
    return changed(whole, {"data.pkl": pickled.replace(old, new, 1)})


def test_fault_07_a_tensor_beyond_its_storage(path: Path) -> None:
    whole = saved(SMALL)
    for old, new in [
        (b"K\x00K\x02K\x03\x86", b"K\x01K\x02K\x03\x86"),  # offset
        (b"K\x00K\x02K\x03\x86", b"K\x05K\x01K\x02\x86"),  # offset of a part, which counts elements, not bytes
        (b"K\x00K\x02K\x03\x86", b"K\x00K\x02K\x04\x86"),  # shape
        (b"K\x03K\x01\x86", b"K\x04K\x01\x86"),  # strides
        (b"K\x00K\x02K\x03\x86", b"K\x00K\x02\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x86"),
    ]:
        assert_refused(path, pickled_with(whole, old, new), "extends beyond its storage")
    for old, new in [
        (b"K\x00K\x02K\x03\x86", b"J\xff\xff\xff\xffK\x02K\x03\x86"),
        (b"K\x00K\x02K\x03\x86", b"K\x00J\xfe\xff\xff\xffK\x03\x86"),
        (b"K\x03K\x01\x86", b"J\xff\xff\xff\xffK\x01\x86"),
        (b"K\x00K\x02K\x03\x86", b"K\x00K\x02\x8a\x09" + b"\xff" * 8 + b"\x00\x86"),
        (b"K\x00K\x02K\x03\x86", b"K\x00K\x02\x88\x86"),
        (b"K\x00K\x02K\x03\x86", b"K\x00K\x02N\x86"),
        (b"K\x00K\x02K\x03\x86", b"K\x00K\x02\x85"),
    ]:
        assert_refused(path, pickled_with(whole, old, new), "its pickle is invalid")


def test_fault_07_a_storage_of_another_size(path: Path) -> None:
    whole = saved(SMALL)
    for data in (b"", bytes(23), bytes(25)):
        assert_refused(path, changed(whole, {"data/0": data}), f"has {len(data)} bytes but 24 are declared")
    assert_refused(path, changed(whole, {"data/0": None}), "the storage '0' is missing")


def test_fault_18_a_storage_s_key_is_no_path(path: Path) -> None:
    whole = saved(SMALL)
    for key in (b"../../data.pkl", b"/etc/passwd", b"..\\x"):
        assert_refused(
            path, pickled_with(whole, b"X\x01\x00\x00\x000", b"X" + struct.pack("<I", len(key)) + key), "is missing"
        )


@pytest.mark.parametrize("shape", [(0, 2**62), (2**62, 0), (0,)])
def test_fault_09_empty_tensors_are_only_listed(path: Path, shape: tuple[int, ...]) -> None:
    info = read(path, saved({"w": torch.empty(shape)}))["w"]
    assert (info.shape, kind(info)) == (shape, "empty")
    assert info.parts[0].length == 0


def test_fault_12_many_dimensions(path: Path) -> None:
    whole = saved(SMALL)
    many = b"(" + b"K\x01" * 200 + b"t"
    tree = read(path, pickled_with(pickled_with(whole, b"K\x02K\x03\x86", many), b"K\x03K\x01\x86", many))
    assert "200 dimensions" in tree["w"].unsupported
    assert tree["b"].unsupported is None


def test_fault_22_an_expanded_tensor_may_not_declare_any_size(path: Path) -> None:
    value = {
        "bomb": torch.zeros(1).expand(2**40),
        "large": torch.zeros(1).expand(EXPANDED_LIMIT // 4),
        "larger": torch.zeros(1).expand(EXPANDED_LIMIT // 4 + 1),
        "windows": torch.zeros(20_000).unfold(0, 10_000, 1),
    }
    tree = read(path, saved(value))
    for name in ("bomb", "larger", "windows"):
        assert "are expanded to" in tree[name].unsupported
    assert tree["large"].unsupported is None


@pytest.mark.parametrize("what", ["missing", "folder", "fifo", "loop"])
def test_fault_19_no_regular_file(tmp_path: Path, what: str) -> None:
    path = tmp_path / "model.pt"
    {
        "missing": lambda: None,
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "loop": lambda: path.symlink_to(path),
    }[what]()
    with pytest.raises(CheckpointError, match=r"model\.pt: (cannot be opened|is a)"):
        read_torch(str(path))


def test_fault_23_24_a_file_that_changes_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from analyzer.formats import torch_zip

    whole = saved(SMALL)
    write(path, whole)
    true_interpret = torch_zip.interpret

    def interpret(*arguments: Any) -> Any:
        write(path, whole[:-1])
        return true_interpret(*arguments)

    monkeypatch.setattr(torch_zip, "interpret", interpret)
    with pytest.raises(CheckpointError, match=r"changed while it was being read|ends at byte"):
        read_torch(str(path))


# ------------------------------------------------------------------------------------------------ archives


def directory_of(whole: bytes) -> int:
    return whole.index(b"PK\x01\x02")


def test_fault_22_a_deflated_archive(path: Path) -> None:
    assert_refused(path, zipped(entries_of(saved(SMALL)), zipfile.ZIP_DEFLATED), "compressed")
    entries = entries_of(saved(SMALL))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in entries.items():
            file.writestr(name, data, zipfile.ZIP_DEFLATED if name.endswith("/0") else zipfile.ZIP_STORED)
    assert_refused(path, buffer.getvalue(), "the storage '0' is compressed")


@pytest.mark.parametrize(
    "field, change, word",
    [
        (8, b"\x01\x08", "encrypted"),
        (10, b"\x0c\x00", "method 12"),
        (20, b"\xff\xff\xff\x00", "stored bytes"),
        (24, b"\xff\xff\xff\x00", "stored bytes"),
        (28, b"\xff\xff", "its directory is truncated"),
        (34, b"\x01\x00", "its directory is truncated"),
        (42, b"\x01\x00\x00\x00", "first entry"),
        (42, b"\xff\xff\xff\x00", "first entry"),
        (46, b"\xff", "not UTF-8"),
        (0, b"PK\x01\x03", "its directory is truncated"),
    ],
)
def test_fault_22_the_directory_is_checked(path: Path, field: int, change: bytes, word: str) -> None:
    whole = bytearray(changed(saved(SMALL), {}))
    place = directory_of(bytes(whole)) + field
    whole[place : place + len(change)] = change
    assert_refused(path, bytes(whole), word)


def test_fault_22_sizes_beyond_the_file(path: Path) -> None:
    whole = bytearray(changed(saved(SMALL), {}))
    place = directory_of(bytes(whole))
    whole[place + 20 : place + 28] = struct.pack("<II", 10**9, 10**9)
    assert_refused(path, bytes(whole), "overlaps what follows it")


def test_fault_22_overlapping_entries(path: Path) -> None:
    """Two entries at one place: the directory may not name the same bytes twice."""
    whole = bytearray(changed(saved(SMALL), {}))
    first = directory_of(bytes(whole))
    second = whole.index(b"PK\x01\x02", first + 4)
    whole[second + 42 : second + 46] = whole[first + 42 : first + 46]
    assert_refused(path, bytes(whole), "overlaps")


def test_fault_22_a_local_header_that_disagrees(path: Path) -> None:
    sound = changed(saved(SMALL), {})
    start = sound.rindex(b"PK\x03\x04", 0, sound.index(b"archive/data/0"))
    for field, change in [
        (0, b"PK\x03\x05"),
        (8, b"\x08\x00"),
        (6, b"\x01\x00"),
        (18, b"\x01"),
        (22, b"\x01"),
        (30, b"b"),
    ]:
        whole = bytearray(sound)
        whole[start + field : start + field + len(change)] = change
        assert_refused(path, bytes(whole), "contradicts the directory")
    whole = bytearray(sound)
    whole[start + 28 : start + 30] = b"\xff\xff"  # a longer extra field would move the data
    assert_refused(path, bytes(whole), "overlaps")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_fault_08_an_entry_twice(path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in [*entries_of(saved(SMALL)).items(), ("archive/data/0", bytes(24))]:
            file.writestr(name, data)
    assert_refused(path, buffer.getvalue(), "'archive/data/0' occurs twice")


def test_a_comment_and_a_split_archive_are_refused(path: Path) -> None:
    buffer = io.BytesIO(changed(saved(SMALL), {}))
    with zipfile.ZipFile(buffer, "a") as file:
        file.comment = b"hello"
    assert_refused(path, buffer.getvalue(), "does not end with the end record of a zip archive")


def test_a_zip_archive_of_something_else(path: Path) -> None:
    assert_refused(path, zipped({"a.txt": b"a" * 200}), "without a data.pkl")
    assert_refused(path, zipped({"a/b/data.pkl": b"N." + bytes(200)}), "without a data.pkl")
    assert_refused(path, zipped({"a/data.pkl": b"N.", "b/data.pkl": b"N." + bytes(200)}), "without a data.pkl")


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_refused_by_name(path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(CheckpointError, match=r"TorchScript program.*state_dict"):
        read_torch(str(path))


# ------------------------------------------------------------------------------------------------ hostile files


def legacy(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def with_object(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A legacy file whose fourth pickle, the object, is changed."""
    stream, ends = io.BytesIO(data), [0]
    for _ in range(4):
        for _opcode in pickletools.genops(stream):
            pass
        ends.append(stream.tell())
    return data[: ends[3]] + change(data[ends[3] : ends[4]]) + data[ends[4] :]


def modules_around(body: bytes) -> dict[str, bytes]:
    """A hostile value where a pickled module keeps its class, parameters, children, names and other attributes."""
    state = b"}(U\x0b_parameters}U\x08_buffers}U\x08_modules}U\x05hooks" + body + b"U\x1b_non_persistent_buffers_set"
    return {
        "parameter": module_body(parameters=b"}U\x01p" + body + b"s"),
        "child": module_body(modules=b"}U\x01p" + body + b"s"),
        "attribute": b"cmodels\nNet\n)\x81" + state + body + b"ub",
        "state": b"cmodels\nNet\n)\x81" + body + b"b",
        "arguments": module_body(before=b"cmodels\nNet\n" + body + b"\x85\x81"),
    }


def hostile_files(folder: Path, canary: Path) -> dict[str, Path]:
    """Torch files between whose tensors each of the hostile bodies stands, and the bodies as files of their own."""
    old = legacy({"before": torch.arange(3.0), "evil": MARKER, "after": torch.arange(4.0)})
    template = saved({"before": torch.arange(3.0), "evil": MARKER, "after": torch.arange(4.0)})
    pickled = entries_of(template)["archive/data.pkl"]
    files = {}
    for number, (name, body) in enumerate(hostile_bodies(canary).items()):
        archive = changed(template, {"data.pkl": spliced(pickled, body)})
        files[name] = folder / f"inside{number}.pt"
        write(files[name], archive)
        files[f"{name}, bare"] = folder / f"bare{number}.pt"
        write(files[f"{name}, bare"], b"\x80\x02" + body + b"." + bytes(100))
        files[f"{name}, legacy"] = folder / f"legacy{number}.pt"
        write(files[f"{name}, legacy"], with_object(old, lambda data, body=body: spliced(data, body)))
        files[f"{name}, header"] = folder / f"header{number}.pt"
        write(files[f"{name}, header"], legacy(3)[:15] + b"\x80\x02" + body + b".")
        for place, module in modules_around(body).items():
            files[f"{name}, {place}"] = folder / f"{place}{number}.pt"
            write(files[f"{name}, {place}"], changed(template, {"data.pkl": spliced(pickled, module)}))
    return files


def test_fault_21_nothing_in_a_hostile_file_runs(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    files = hostile_files(tmp_path, canary)
    sound = tmp_path / "sound.pt"
    write(sound, saved(SMALL))
    outcomes = dict(zip(files, audited("torch", sound, list(files.values())), strict=True))
    for name, (outcome, events) in outcomes.items():
        assert events == [], (name, events)
        if name.endswith((", bare", ", header")):
            assert outcome.startswith("refused: ")
            assert "not a torch file" in outcome or "pickle" in outcome or "version is not" in outcome
        elif "persistent" in name:
            assert "a persistent id is not a storage" in outcome
        else:
            assert outcome.startswith("{'before': TensorInfo("), (name, outcome)
    assert not canary.exists()


def test_fault_21_tensors_beside_what_is_hostile_are_read(tmp_path: Path) -> None:
    count = 0
    for name, path in hostile_files(tmp_path, tmp_path / "canary").items():
        if not name.endswith((", bare", ", header")) and "persistent" not in name:
            tree: Any = read_torch(str(path)).tree
            assert loaded(tree["before"]).tolist() == [0, 1, 2]
            assert loaded(tree["after"]).tolist() == [0, 1, 2, 3]
            assert isinstance(tree["evil"], (Unknown, dict, list))
            count += 1
    assert count > 200


def test_fault_21_the_audit_sees_what_is_obeyed(tmp_path: Path) -> None:
    """The watch is no blind one: the library's own unpickler shows up in it."""
    path, sound, canary = tmp_path / "hostile.pickle", tmp_path / "sound.pickle", tmp_path / "canary"
    write(path, hostile_bodies(canary)["os.system, protocol 2"] + b".")
    write(sound, b"N.")
    ((_, events),) = audited("library", sound, [path])
    assert {"pickle.find_class", "os.system"} <= {event for event, _ in events}
    assert canary.exists()


# ------------------------------------------------------------------------------------------------ mutants


def mutants(count: int, seed: int) -> Iterator[bytes]:
    """Files with a mutated pickle (most), entry, or place anywhere."""
    generator = random.Random(seed)
    value = {**SMALL, "t": torch.zeros(2, 2, dtype=torch.float8_e5m2).t(), "p": torch.nn.Parameter(torch.ones(1))}
    wholes = [saved(value), saved({"model": Net(), "epoch": 3})]
    name = "archive/data.pkl"
    for number in range(count):
        whole = generator.choice(wholes)
        parts = entries_of(whole)
        plain = zipped(parts)
        match number % 5:
            case 0:
                yield mutated(whole, generator, ZIP_TOKENS)
            case 1:
                start = generator.choice([len(plain) - 700, 0])
                yield plain[:start] + mutated(plain[start:], generator, ZIP_TOKENS)
            case _:
                yield zipped({**parts, name: mutated(parts[name], generator, PICKLE_TOKENS)})


@pytest.mark.parametrize("seed", range(10 if STRESS else 1))
def test_fault_45_mutants(path: Path, seed: int) -> None:
    accepted = 0
    for data in mutants(full_count(10_000, 2_000), seed):
        accepted += only_documented_errors(lambda: dict(leaves(read_torch(write(path, data)).tree)))  # noqa: B023
    assert accepted > 50


def test_fault_45_mutants_take_little_memory(path: Path) -> None:
    peaks = []
    for data in mutants(full_count(2_000, 200), 99):
        write(path, data)
        tracemalloc.start()
        only_documented_errors(lambda: {"": read_torch(str(path)).tree})
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 2_000_000
