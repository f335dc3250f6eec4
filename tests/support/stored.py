"""What a run says about its tensors, turned into arrays: to be set beside what the writer's own library reads."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np

from analyzer.model.run import Checkpoint, Finding, Run, TensorInfo
from analyzer.sources import open_source
from analyzer.tensors.kinds import numpy_dtype
from analyzer.tensors.loading import load


def values_of(info: TensorInfo) -> np.ndarray[Any, Any]:
    """The elements of a tensor, as stored; of a product in float64."""
    if info.product:
        left, right = (values_of(factor).astype(np.float64) for factor in (info.product.left, info.product.right))
        return (info.product.scale * (left @ right)).reshape(info.shape)
    memory = np.empty(int(np.prod(info.shape)) * numpy_dtype(info.dtype).itemsize, np.uint8)
    with ExitStack() as stack:
        return load(info, lambda path: stack.enter_context(open_source(path)), memory)


def assert_same_weights(checkpoint: Checkpoint, expected: dict[str, Any]) -> None:
    """A checkpoint's tensors are those of ``expected`` (name -> torch tensor or array), bit by bit."""
    assert set(checkpoint.tensors) == set(expected)
    for name, info in checkpoint.tensors.items():
        assert info.name == name
        assert not info.unsupported
        stored = values_of(info)
        assert stored.shape == tuple(expected[name].shape)
        assert stored.dtype.name == str(expected[name].dtype).removeprefix("torch.")
        assert stored.tobytes() == bits_of(expected[name])


def bits_of(tensor: Any) -> bytes:
    """The row-major bytes of an array or of a torch tensor, bfloat16 too, which numpy does not know."""
    if isinstance(tensor, np.ndarray):
        return np.ascontiguousarray(tensor).tobytes()
    import torch

    # A scalar has no bytes to be viewed as until it is made a vector.
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def names(run: Run) -> list[str]:
    """The checkpoints' names in order."""
    return [checkpoint.name for checkpoint in run.checkpoints]


def places(run: Run) -> list[tuple[float | None, int | None]]:
    """(epoch, step) of each checkpoint."""
    return [(checkpoint.epoch, checkpoint.step) for checkpoint in run.checkpoints]


def found(run: Run, rule: str) -> list[Finding]:
    """The run's findings of one rule."""
    return [finding for finding in run.findings if finding.rule == rule]


def alarms(findings: list[Finding]) -> list[Finding]:
    """The warnings and serious ones: a clean run has none."""
    return [finding for finding in findings if finding.severity in ("warning", "serious")]
