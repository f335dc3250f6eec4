"""How much the whole spectrum costs beside the float64 Gram products that it is taken from.

    python tests/benchmarks/gram_share.py [--repeats 3]

All matrices of one GPT-2-shaped checkpoint, in as many threads as there are cores, one BLAS thread each.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from series import gpt2_shapes, in_turn
from threadpoolctl import threadpool_limits

from analyzer.engine.executors import available_cores
from analyzer.numerics.gram import gram
from analyzer.numerics.singular_values import spectrum


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    matrices = [generator.standard_normal(shape, dtype=np.float32) for shape in gpt2_shapes().values()]
    matrices.sort(key=lambda matrix: matrix.size, reverse=True)
    with threadpool_limits(limits=1):
        products, spectra, ratio = in_turn(
            lambda: seconds(gram, matrices), lambda: seconds(spectrum, matrices), options.repeats
        )
    print(f"Gram products {products:.2f} s, whole spectra (κ included) {spectra:.2f} s: {ratio} as long")


def seconds(function: Callable[[Any], Any], matrices: list[Any]) -> float:
    """Wall-clock seconds for all matrices."""
    started = time.perf_counter()
    with ThreadPoolExecutor(available_cores()) as pool:
        list(pool.map(function, matrices))
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
