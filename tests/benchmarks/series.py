"""Series of checkpoints to measure, the plain loops to compare with, and whole processes timed in turn."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

BLOCK_SHAPES = {
    "attn.c_attn": (2304, 768),
    "attn.c_proj": (768, 768),
    "mlp.c_fc": (3072, 768),
    "mlp.c_proj": (768, 3072),
}


def gpt2_shapes(blocks: int = 4, vocabulary: int = 50257) -> dict[str, tuple[int, int]]:
    """The matrices of GPT-2 small, with fewer blocks; no embedding where ``vocabulary`` is 0."""
    shapes = {"wte.weight": (vocabulary, 768)} if vocabulary else {}
    return shapes | {f"h.{n}.{name}.weight": shape for n in range(blocks) for name, shape in BLOCK_SHAPES.items()}


def write_series(folder: Path, shapes: dict[str, tuple[int, int]], checkpoints: int, seed: int = 0) -> Path:
    """Float32 checkpoints: Gaussian weights of standard deviation 0.02 that move by about 1 % from one to the next."""
    generator = np.random.default_rng(seed)
    weights = {
        name: generator.standard_normal(shape, dtype=np.float32) * np.float32(0.02) for name, shape in shapes.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    for step in range(checkpoints):
        save_file(weights, folder / f"step_{step * 100}.safetensors")
        for array in weights.values():
            array += generator.standard_normal(array.shape, dtype=np.float32) * np.float32(0.0002)
    return folder


def in_order(folder: Path) -> list[Path]:
    """The checkpoints of a series by their step."""
    return sorted(folder.glob("*.safetensors"), key=lambda path: int(path.stem.split("_")[1]))


def plain_spectra(folder: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """The plain loop: load, norm of the difference, condition number; (checkpoint, tensor) -> both numbers."""
    results, previous = {}, None
    for path in in_order(folder):
        weights = load_file(path)
        for name, array in weights.items():
            distance = float(np.linalg.norm(array - previous[name])) if previous else float("nan")
            results[path.name, name] = (distance, float(np.linalg.cond(array)))
        previous = weights
    return results


def plain_distances(folder: Path) -> None:
    """The plain loop that computes the step distance only."""
    previous = None
    for path in in_order(folder):
        weights = load_file(path)
        if previous:
            for name, array in weights.items():
                np.linalg.norm(array - previous[name])
        previous = weights


def seconds(command: Sequence[str]) -> float:
    """Wall-clock seconds of a whole process that must succeed; it may keep its bytecode, as programs usually do."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - started


def in_turn(first: Callable[[], float], second: Callable[[], float], repeats: int) -> tuple[float, float, str]:
    """Medians of both, and that of the ratios second / first taken pair by pair, in words, after one run to warm up."""
    first(), second()
    pairs = [(first(), second()) for _ in range(repeats)]
    ratios = sorted(b / a for a, b in pairs)
    said = f"{statistics.median(ratios):.2f} times ({ratios[0]:.2f} to {ratios[-1]:.2f} in {repeats} pairs)"
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), said


def measure_command(folder: Path, store: Path, *options: str) -> list[str]:
    """``weightlapse measure`` into a store that does not exist yet."""
    store.unlink(missing_ok=True)
    return [sys.executable, "-m", "analyzer", "measure", str(folder), "--store", str(store), *options]


if __name__ == "__main__":
    {"spectra": plain_spectra, "distances": plain_distances}[sys.argv[1]](Path(sys.argv[2]))
