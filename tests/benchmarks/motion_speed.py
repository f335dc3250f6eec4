"""The whole motion family on warm files: ``weightlapse measure`` against the loop that computes the step distance only.

python tests/benchmarks/motion_speed.py [--gigabytes 4] [--repeats 3]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from series import in_turn, measure_command, seconds, write_series


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    shapes = {f"layer.{n}.weight": (4096, 4096) for n in range(6)}  # 0.4 GB a checkpoint
    checkpoints = max(3, round(options.gigabytes * 1e9 / (6 * 4096**2 * 4)))
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_series(Path(temporary) / "series", shapes, checkpoints)
        store = Path(temporary) / "store.sqlite"
        plain = [sys.executable, str(Path(__file__).with_name("series.py")), "distances", str(folder)]
        ours, theirs, ratio = in_turn(
            lambda: seconds(measure_command(folder, store, "--metrics", "motion")),
            lambda: seconds(plain),
            options.repeats,
        )
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e9
    print(
        f"{size:.1f} GB: whole motion family {ours:.2f} s ({size / ours:.2f} GB/s), "
        f"step distance alone in a plain loop {theirs:.2f} s ({size / theirs:.2f} GB/s): {ratio} as fast"
    )


if __name__ == "__main__":
    main()
