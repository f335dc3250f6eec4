"""Kill real ``weightlapse-train`` processes at random moments; check after each kill what is left on disk.

    python kill_trainer.py FOLDER KILLS

Prints as JSON how many were killed, and how many of these while a file was half-written. The processes are
forks of this one, which has imported torch (seconds) but started no thread; each is done in about 0.1 s.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch
from tiny_run import contents, load_tiny

from trainer import checkpoints, cli, datasets

EPOCHS = 8
ARGUMENTS = ["--hidden", "256", "--device", "cpu", "--epochs", str(EPOCHS), "--resume"]  # 0.8 MB an epoch


def start(out: Path) -> int:
    """Start the command in a process of its own; return its id."""
    child = os.fork()
    if child:
        return child
    try:
        os._exit(cli.main([*ARGUMENTS, "--out", str(out)]))
    finally:
        os._exit(99)  # whatever was raised: a child must never go on as its parent


def check(out: Path, expected: dict[str, bytes]) -> bool:
    """Each named file is whole and right, none is missing between; return whether one is half-written."""
    left = contents(out) if out.exists() else {}
    whole = {name: data for name, data in left.items() if checkpoints.EPOCH_FILE.fullmatch(name)}
    assert list(whole) == list(expected)[: len(whole)], sorted(left)
    assert all(data == expected[name] for name, data in whole.items())
    unfinished = left.keys() - whole.keys()
    assert unfinished <= {f".{checkpoints.file_name(len(whole))}.tmp"}, unfinished
    return bool(unfinished)


def run_to_the_end(out: Path) -> float:
    started = time.perf_counter()
    _, status = os.waitpid(start(out), 0)
    assert status == 0, status
    return time.perf_counter() - started


def main(folder: Path, kills: int) -> None:
    torch.set_num_threads(1)
    tiny = load_tiny()
    datasets.load = lambda name, data_dir: tiny
    moments = random.Random(26)

    run_to_the_end(folder / "undisturbed")
    expected = contents(folder / "undisturbed")
    assert len(expected) == EPOCHS + 1
    shutil.rmtree(folder / "undisturbed")
    whole_run = run_to_the_end(folder / "undisturbed")
    assert contents(folder / "undisturbed") == expected

    out = folder / "killed"
    killed = while_saving = 0
    while killed < kills:
        child = start(out)
        time.sleep(moments.uniform(0, whole_run))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
            while_saving += check(out, expected)
        else:  # it was done before: the next one starts afresh
            assert status == 0 and contents(out) == expected
            shutil.rmtree(out)
    run_to_the_end(out)
    assert contents(out) == expected
    print(json.dumps({"killed": killed, "while_saving": while_saving}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
