"""Two jobs against one on the GPT-2-shaped series, one BLAS thread each; and whether the numbers are the same bits.

python tests/benchmarks/jobs.py [--checkpoints 6] [--repeats 3]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from series import gpt2_shapes, in_turn, measure_command, seconds, write_series

from analyzer import open_measurements


def main() -> None:
    """Print both times, their ratio, and whether every row is the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_series(Path(temporary) / "series", gpt2_shapes(), options.checkpoints)
        stores = {jobs: Path(temporary) / f"{jobs}.sqlite" for jobs in (1, 2)}
        two, one, ratio = in_turn(
            lambda: seconds(measure_command(folder, stores[2], "--jobs", "2")),
            lambda: seconds(measure_command(folder, stores[1], "--jobs", "1")),
            options.repeats,
        )
        rows = {jobs: open_measurements(store).rows() for jobs, store in stores.items()}
    same = "the same bits" if rows[1] == rows[2] else "DIFFERENT NUMBERS"
    print(f"two jobs {two:.2f} s, one job {one:.2f} s: {ratio} as fast; {len(rows[1])} rows, {same}")


if __name__ == "__main__":
    main()
