"""Runs as folders, for every test."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders import random_walk, save_weights, weightlapse_metadata
from threadpoolctl import threadpool_limits

# The tests themselves run in as many processes as there are cores.
threadpool_limits(limits=1)
# A shell starts background jobs with SIGINT ignored, which Python and every process it starts would inherit.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run as weightlapse-train would: ``make_run(states, name="run") -> folder``."""

    def make(states: list[dict[str, np.ndarray]] | None = None, name: str = "run") -> Path:
        folder = tmp_path / name
        for epoch, weights in enumerate(states or random_walk(5)):
            save_weights(folder / f"epoch_{epoch:04d}.safetensors", weights, weightlapse_metadata(epoch))
        return folder

    return make


@pytest.fixture
def make_plain_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a plain folder of ``epoch_N.safetensors`` without metadata: ``make_plain_run(states, name) -> folder``."""

    def make(states: list[dict[str, np.ndarray]] | None = None, name: str = "plain") -> Path:
        folder = tmp_path / name
        for epoch, weights in enumerate(states or random_walk(5)):
            save_weights(folder / f"epoch_{epoch}.safetensors", weights)
        return folder

    return make
