"""``report --follow``: the report grows with the run, and reads no file that is still being written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from builders import random_walk, save_weights, weightlapse_metadata
from commands import weightlapse

from analyzer.cli import following


@pytest.fixture
def at_each_wait(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """Replace waiting: the k-th wait calls the k-th action; the clock goes on by one second."""

    def replace(*actions: Callable[[], object]) -> list[float]:
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) <= len(actions):
                actions[len(waits) - 1]()

        monkeypatch.setattr(following.time, "sleep", sleep)
        monkeypatch.setattr(following.time, "monotonic", lambda: float(len(waits)))
        return waits

    return replace


def saver(folder: Path) -> Callable[[int], Callable[[], object]]:
    states = random_walk(6)

    def save(epoch: int) -> Callable[[], object]:
        path = folder / f"epoch_{epoch:04d}.safetensors"
        return lambda: save_weights(path, states[epoch], weightlapse_metadata(epoch))

    return save


def nothing() -> None:
    """The folder stays as it is."""


def interrupt() -> None:
    raise KeyboardInterrupt


def reported(out: Path) -> int:
    """How many checkpoints the report has."""
    return int(json.loads((out / "summary.json").read_text())["runs"][0]["checkpoints"])


def test_the_report_grows_with_the_run_until_it_is_interrupted(tmp_path, at_each_wait):
    out, seen = tmp_path / "report", []
    save = saver(tmp_path / "run")
    (tmp_path / "run").mkdir()
    save(0)()
    save(1)()
    look = lambda: seen.append(reported(out))  # noqa: E731
    at_each_wait(nothing, look, save(2), nothing, look, interrupt)
    done = weightlapse("report", tmp_path / "run", "--out", out, "--follow", "--metrics", "size")
    assert done.code == 0
    assert seen == [2, 3]
    assert done.out.count("index.html") == 2
    assert done.err.count("Waiting for further checkpoints. Stop with Ctrl-C.") == 2


def test_a_file_that_still_grows_is_left_alone(tmp_path, at_each_wait):
    out, folder = tmp_path / "report", tmp_path / "run"
    save = saver(folder)
    for epoch in range(3):
        save(epoch)()
    last = folder / "epoch_0002.safetensors"
    whole = last.read_bytes()
    parts = [whole[: len(whole) * k // 4] for k in (1, 2, 3, 4)]
    last.write_bytes(parts[0])
    at_each_wait(*(lambda part=part: last.write_bytes(part) for part in parts[1:]), nothing, interrupt)
    done = weightlapse("report", folder, "--out", out, "--follow", "--metrics", "size")
    assert (done.code, done.out.count("index.html"), reported(out)) == (0, 1, 3)


def test_it_waits_for_the_first_checkpoint_and_ends_when_the_run_is_idle(tmp_path, at_each_wait):
    out, folder = tmp_path / "report", tmp_path / "run"
    folder.mkdir()
    save = saver(folder)
    waits = at_each_wait(nothing, save(0), save(1))
    done = weightlapse("report", folder, "--out", out, "--follow", "--idle", "10s", "--metrics", "size")
    assert (done.code, reported(out)) == (0, 2)
    assert 13 <= len(waits) <= 15
    assert set(waits) == {following.LOOK_SECONDS}


@pytest.mark.parametrize(
    "arguments",
    ["--idle 10s", "--follow --idle soon", "--follow --idle -1s", "--follow --idle nans", "--follow --single-file"],
)
def test_what_cannot_be_followed_is_an_error_of_usage(tmp_path, arguments):
    saver(tmp_path / "run")(0)()
    assert weightlapse("report", tmp_path / "run", "--out", tmp_path / "report", *arguments.split()).code == 2
    assert not (tmp_path / "report").exists()


def test_a_store_does_not_grow(tmp_path):
    saver(tmp_path / "run")(0)()
    weightlapse("measure", tmp_path / "run", "--store", tmp_path / "s.sqlite", "--metrics", "size")
    done = weightlapse("report", tmp_path / "s.sqlite", "--out", tmp_path / "report", "--follow")
    assert done.code == 2 and "name the folder of the checkpoints" in done.err
