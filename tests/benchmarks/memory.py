"""Peak memory of ``weightlapse measure`` at 4 and at 24 checkpoints, beside what is promised.

    python tests/benchmarks/memory.py [--short 4] [--long 24]

The series has two tensors of 154 MB and eight matrices of GPT-2 small, so that with two jobs each holds a large one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

from series import gpt2_shapes, measure_command, write_series

from analyzer.executors import available_cores

LARGEST, GRAM = 50257 * 768 * 4, 768 * 768 * 8


def main() -> None:
    """Print the peaks, their ratio and the bound, for one job and for all cores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", type=int, default=4)
    parser.add_argument("--long", type=int, default=24)
    options = parser.parse_args()
    shapes = {"lm_head.weight": (50257, 768), **gpt2_shapes(blocks=2)}
    peaks: dict[tuple[int, int], float] = {}
    all_jobs = sorted({1, available_cores()})
    for count in (options.short, options.long):
        with tempfile.TemporaryDirectory() as temporary:
            folder = write_series(Path(temporary) / "series", shapes, count)
            for jobs in all_jobs:
                command = measure_command(folder, Path(temporary) / "store.sqlite", "--jobs", str(jobs))
                peaks[jobs, count] = peak_bytes(command)
    for jobs in all_jobs:
        short, long = peaks[jobs, options.short], peaks[jobs, options.long]
        bound = jobs * (4 * LARGEST + GRAM) + 250e6
        print(
            f"{jobs} job(s): {short / 1e6:.0f} MB at {options.short} checkpoints, "
            f"{long / 1e6:.0f} MB at {options.long} "
            f"(ratio {long / short:.3f}); promised at most {bound / 1e6:.0f} MB"
        )


def peak_bytes(command: list[str]) -> float:
    """Peak resident memory of a process, as the operating system accounted it."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return usage.ru_maxrss * 1024.0


if __name__ == "__main__":
    main()
