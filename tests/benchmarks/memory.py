"""Peak memory of ``weightlapse measure`` at 4 and at 24 checkpoints, beside what is promised.

    python tests/benchmarks/memory.py [--short 4] [--long 24] [--repeats 3]

The series has two tensors of 154 MB and eight matrices of GPT-2 small, so that with two jobs each holds a large one.
The peak is that of all its processes together, each page that they share counted once (proportional set size), looked
at every 20 ms, the largest of all repeats: Linux only.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from series import gpt2_shapes, measure_command, write_series

from analyzer.engine.executors import available_cores

LARGEST, GRAM = 50257 * 768 * 4, 768 * 768 * 8


def main() -> None:
    """Print the peaks, their ratio and the bound, for one job and for all cores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", type=int, default=4)
    parser.add_argument("--long", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    shapes = {"lm_head.weight": (50257, 768), **gpt2_shapes(blocks=2)}
    peaks: dict[tuple[int, int], float] = {}
    all_jobs = sorted({1, available_cores()})
    for count in (options.short, options.long):
        with tempfile.TemporaryDirectory() as temporary:
            folder = write_series(Path(temporary) / "series", shapes, count)
            for jobs in all_jobs:
                peaks[jobs, count] = max(
                    peak_bytes(measure_command(folder, Path(temporary) / "store.sqlite", "--jobs", str(jobs)))
                    for _ in range(options.repeats)
                )
    for jobs in all_jobs:
        short, long = peaks[jobs, options.short], peaks[jobs, options.long]
        bound = jobs * (4 * LARGEST + GRAM) + 250e6
        print(
            f"{jobs} job(s): {short / 1e6:.0f} MB at {options.short} checkpoints, "
            f"{long / 1e6:.0f} MB at {options.long} "
            f"(ratio {long / short:.3f}); promised at most {bound / 1e6:.0f} MB"
        )


def peak_bytes(command: list[str]) -> float:
    """The most memory that a process and those it forked held together."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(proportional_bytes, [process.pid, *children(process.pid)])))
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return float(peak)


def children(process: int) -> list[int]:
    """The processes that a process has started and that still run."""
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:  # gone meanwhile
        return []


def proportional_bytes(process: int) -> int:
    """Proportional set size: a page that n processes share counts as 1/n."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:  # gone meanwhile
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    main()
