"""Motion, size and spectrum of a GPT-2-shaped series: ``weightlapse measure`` against the plain numpy loop.

    python tests/benchmarks/spectral_speed.py [--checkpoints 6] [--repeats 3]

Both are timed as whole processes in turn, with all cores free to both. The largest differences from the plain loop's
numbers, computed in float64, are printed beside the times.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from series import gpt2_shapes, in_order, in_turn, measure_command, seconds, write_series

from analyzer import open_measurements


def main() -> None:
    """Print both times, their ratio and the errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_series(Path(temporary) / "series", gpt2_shapes(), options.checkpoints)
        store = Path(temporary) / "store.sqlite"
        plain = [sys.executable, str(Path(__file__).with_name("series.py")), "spectra", str(folder)]
        ours, theirs, ratio = in_turn(
            lambda: seconds(measure_command(folder, store, "--metrics", "motion,size,spectrum")),
            lambda: seconds(plain),
            options.repeats,
        )
        kappa, distance = errors(folder, store)
    print(f"weightlapse measure {ours:.2f} s, plain loop {theirs:.2f} s: {ratio} as fast")
    print(f"largest relative error against float64: condition number {kappa:.1e}, step distance {distance:.1e}")


def errors(folder: Path, store: Path) -> tuple[float, float]:
    """Largest relative errors at the last checkpoint, against numpy in float64."""
    measurements = open_measurements(store)
    before, last = (load_file(path) for path in in_order(folder)[-2:])
    kappa, distance = [0.0], [0.0]
    for name, array in last.items():
        true = np.linalg.cond(array.astype(np.float64))
        kappa.append(abs(measurements.series(name, "condition_number").values[-1] / true - 1))
        true = np.linalg.norm((array.astype(np.float64) - before[name]).ravel())
        distance.append(abs(measurements.series(name, "step_distance").values[-1] / true - 1))
    return max(kappa), max(distance)


if __name__ == "__main__":
    main()
