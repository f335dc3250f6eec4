"""What the tests of torch zips, DCP and npz share: arrays as read, archives rewritten, mutants, hostile pickles."""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from builders import CHECKOUT, SUPPORT

from analyzer.errors import CheckpointError
from analyzer.model.run import TensorInfo
from analyzer.sources import LocalSource
from analyzer.tensors.kinds import numpy_dtype
from analyzer.tensors.loading import load


def loaded(info: TensorInfo) -> np.ndarray:
    """A tensor's elements, by way of memory that is larger than needed and full of something else."""
    size = prod(info.shape) * numpy_dtype(info.dtype).itemsize
    memory = np.full(size + 64, 0xA5, np.uint8)
    with ExitStack() as stack:
        sources: dict[str, LocalSource] = {}

        def source_of(path: str) -> LocalSource:
            return sources.setdefault(path, stack.enter_context(LocalSource(path)))

        array = load(info, source_of, memory)
    assert array.shape == info.shape
    assert not array.flags.writeable
    assert array.size == 0 or np.shares_memory(array, memory)
    assert (memory[size:] == 0xA5).all()
    return array


def torch_bytes(tensor: Any) -> bytes:
    """A torch tensor's elements in row-major order, whatever its dtype is."""
    import torch

    flat = tensor.detach().cpu().resolve_conj().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def entries_of(archive: Path | bytes) -> dict[str, bytes]:
    """Name -> bytes of every entry of a zip archive."""
    with zipfile.ZipFile(io.BytesIO(archive) if isinstance(archive, bytes) else archive) as file:
        return {name: file.read(name) for name in file.namelist()}


def zipped(entries: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive as the standard library writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return buffer.getvalue()


def changed(archive: Path | bytes, changes: Mapping[str, bytes | None]) -> bytes:
    """An archive with entries (named without their folder) replaced, added, or taken out where None."""
    entries = entries_of(archive)
    folder = next(iter(entries)).partition("/")[0]
    for name, data in changes.items():
        entries.pop(f"{folder}/{name}", None)
        if data is not None:
            entries[f"{folder}/{name}"] = data
    return zipped(entries)


def write(path: Path, data: bytes) -> str:
    """Written over in place: truncating to nothing first makes file systems flush, which is slow."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(data)
        file.truncate()
    return str(path)


# ------------------------------------------------------------------------------------------------ mutants


def mutated(data: bytes, generator: random.Random, tokens: tuple[bytes, ...] = ()) -> bytes:
    """A few bytes changed, removed, repeated or added, or a token put in."""
    text = bytearray(data)
    for _ in range(generator.choice([1, 1, 1, 2, 3])):
        place = generator.randrange(len(text) + 1)
        match generator.choice(["byte", "byte", "bit", "insert", "delete", "repeat", "token", "token", "cut"]):
            case "byte" if place < len(text):
                text[place] = generator.randrange(256)
            case "bit" if place < len(text):
                text[place] ^= 1 << generator.randrange(8)
            case "insert":
                text[place:place] = generator.randbytes(generator.randrange(1, 5))
            case "delete":
                del text[place : place + generator.randrange(1, 9)]
            case "repeat":
                text[place:place] = text[place : place + generator.randrange(60)]
            case "token" if tokens:
                token = generator.choice(tokens)
                text[place : place + generator.choice([0, 1, len(token)])] = token
            case "cut" if generator.random() < 0.1:
                del text[place:]
    return bytes(text)


OPCODES = tuple(opcode.code.encode("latin-1") for opcode in pickletools.opcodes)
PICKLE_TOKENS = (
    *OPCODES, b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f", b"r\xff\xff\xff\x7f", b"(" * 50, b"}" * 50,
    b"\x8b\xff\xff\xff\x7f", b"X\xff\xff\xff\x7f", b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f", b"cos\nsystem\n", b"h\x00",
    b"h\x05", b"\x85R", b"2", b"2\x86", b"J\xff\xff\xff\xff", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", b"G\x7f\xf0",
    b"X\x0b\x00\x00\x00_parameters", b"X\x08\x00\x00\x00_modules", b"X\x08\x00\x00\x00_buffers", b")\x81}b",
    b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"K\x00K\x00\x86", b"M\xff\xff", b"N", b"b",
)  # fmt: skip
ZIP_TOKENS = (
    b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"\xff\xff\xff\xff", b"\x00\x00",
    b"\x08\x00", b"\x01\x00", b"\xff\xff", b"\x00\x00\x00\x80", bytes(8),
)  # fmt: skip


def only_documented_errors(read: Callable[[], Mapping[Any, Any]], most: int = 1 << 20) -> bool:
    """Whether a mutant is accepted, its tensors loaded too; any error but a CheckpointError goes through."""
    try:
        infos = read()
        for info in infos.values():
            if isinstance(info, TensorInfo) and not info.unsupported and prod(info.shape) < most:
                loaded(info)
    except CheckpointError as error:
        assert str(error)
        return False
    return True


# ------------------------------------------------------------------------------------------------ hostile pickles


class Reduced:
    """Pickles as a call of any function that can be named."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, Any]:
        return self.call


class Model:
    """A class whose state runs code when it is set."""

    canary = ""

    def __setstate__(self, state: Any) -> None:
        Path(state["canary"]).touch()

    def __getstate__(self) -> dict[str, str]:
        return {"canary": self.canary}


MARKER = "EVIL"  # takes the place of what is hostile until it is spliced in
_MARKED = b"X\x04\x00\x00\x00EVIL"


def spliced(pickled: bytes, body: bytes) -> bytes:
    """A pickle of protocol 2 in which the text EVIL has become what ``body`` makes."""
    assert pickled.count(_MARKED) == 1
    return pickled.replace(_MARKED, body)


def body_of(value: Any, protocol: int) -> bytes:
    """The opcodes that make a value, without the frame around them; their places in the memo are no one else's."""
    whole = pickletools.optimize(pickle.dumps(value, protocol))
    body, kept = b"", 0
    places = [position for _, _, position in pickletools.genops(whole)] + [len(whole)]
    for (opcode, argument, position), end in zip(pickletools.genops(whole), places[1:], strict=True):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            body += b"r" + struct.pack("<I", 50_000 + (kept if opcode.name == "MEMOIZE" else argument))
            kept += 1
        elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
            body += b"j" + struct.pack("<I", 50_000 + argument)
        elif opcode.name not in ("PROTO", "FRAME", "STOP"):
            body += whole[position:end]
    return body


def hostile_bodies(canary: Path) -> dict[str, bytes]:
    """Opcodes that would create the canary if they were obeyed; each leaves one value."""
    command = f"touch {canary}"
    line = command.encode()
    short = b"\x8c" + bytes([len(line)]) + line
    model = Model()
    model.canary = str(canary)
    bodies = {
        f"os.system, protocol {protocol}": body_of(Reduced(os.system, command), protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    }
    for protocol in (0, 2, 5):
        bodies[f"__setstate__, protocol {protocol}"] = body_of(model, protocol)
        bodies[f"eval, protocol {protocol}"] = body_of(Reduced(eval, f"__import__('os').system({command!r})"), protocol)
        bodies[f"exec, protocol {protocol}"] = body_of(Reduced(exec, f"import os; os.system({command!r})"), protocol)
        bodies[f"nested globals, protocol {protocol}"] = body_of(
            Reduced(getattr, Reduced(__import__, "os"), "system"), protocol
        ) + (b"(S'%s'\ntR" % line)
        bodies[f"subprocess, protocol {protocol}"] = body_of(
            Reduced(subprocess.Popen, ["touch", str(canary)]), protocol
        )
        objects = np.array([Reduced(os.system, command), 1], dtype=object)
        bodies[f"numpy _reconstruct, protocol {protocol}"] = body_of(objects, protocol)
    in_torch = b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nctorch\nTensor\n(" + short + b"t}tR"
    bodies |= {
        "INST": b"(S'%s'\nios\nsystem\n" % line,
        "OBJ": b"(cos\nsystem\n" + short + b"o",
        "memo: a function kept and fetched": b"cos\nsystem\nr\xfe\xff\x00\x000j\xfe\xff\x00\x00" + short + b"\x85R",
        "memo: a name put together": b"\x8c\x02os\x94\x8c\x06system\x94\x93" + short + b"\x85R",
        "memo: a harmless name replaced": (
            b"ccollections\nOrderedDict\np999999\n0cos\nsystem\np999999\n0g999999\n" + short + b"\x85R"
        ),
        "stack global with dots": b"\x8c\x02os\x8c\x0epath.os.system\x93" + short + b"\x85R",
        "NEWOBJ": b"cos\nsystem\n" + short + b"\x85\x81",
        "NEWOBJ_EX": b"cos\nsystem\n" + short + b"\x85}\x92",
        "extension": b"\x82\xee" + short + b"\x85R",
        "called by a function of torch": in_torch,
        "hooks": b"ctorch._utils\n_rebuild_parameter\n(cos\nsystem\n" + short + b"\x85R\x88}tR",
        "default factory": b"ccollections\ndefaultdict\ncos\nsystem\n\x85R(\x8c\x01xK\x01u",
        "state of a dictionary": b"ccollections\nOrderedDict\n)R}(\x8c\x0c__setstate__cos\nsystem\nub",
        "state of a class": b"canalyzer.errors\nCheckpointError\n}(\x8c\x07__str__cos\nsystem\nub",
        "torch.load": b"ctorch.storage\n_load_from_bytes\nC\x04\x80\x04N.\x85R",
        "runpy": b"crunpy\n_run_code\n(\x8c\x01x}tR",
        "a persistent id": short + b"Q",
        "a persistent id, protocol 0": b"P%s\n" % line,
    }
    return bodies


_AUDITED = """
import copyreg, json, pickle, sys
from pathlib import Path
for name in ("torch", "torchvision"): sys.modules[name] = None
reader, sound, *paths = sys.argv[1:]
import os, formats_testing
import analyzer.formats.dcp, analyzer.formats.npz, analyzer.formats.torch_zip
from analyzer.errors import CheckpointError
from analyzer.formats import npz, dcp, torch_zip
read = {"torch": lambda path: torch_zip.read_torch(path).tree, "npz": lambda path: npz.read_index(path).tensors,
        "dcp": lambda path: dcp.read_index(path).tensors,
        "library": lambda path: pickle.loads(Path(path).read_bytes())}[reader]
copyreg.add_extension("os", "system", 0xEE)
read(sound)  # whatever is imported late is there now
watched = ("import", "exec", "compile", "open", "os.", "subprocess.", "pickle.", "code.", "marshal.", "socket.",
           "ctypes.", "shutil.", "sys.")
seen, watching = [], False
def hook(event, arguments):
    if watching and event.startswith(watched):
        seen.append([event, repr(arguments)])
sys.addaudithook(hook)
outcomes = []
for path in paths:
    seen.clear(); watching = True
    try: outcome = repr(read(path))
    except CheckpointError as error: outcome = f"refused: {error}"
    watching = False
    outcomes.append([outcome, list(seen)])
print(json.dumps(outcomes))
"""


def audited(reader: str, sound: Path, paths: list[Path]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Read files in a process without torch: (outcome, audit events other than the opening of the file itself)."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(SUPPORT)])}
    run = subprocess.run(
        [sys.executable, "-c", _AUDITED, reader, str(sound), *map(str, paths)],
        cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    for path, (outcome, events) in zip(paths, json.loads(run.stdout), strict=True):
        yield outcome, [(event, text) for event, text in events if not (event == "open" and str(path) in text)]
