import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from tiny_run import contents

from trainer import checkpoints, training
from trainer.cli import main
from trainer.errors import TrainerError

Python = tuple[list[str], dict[str, str]]
TINY = ["--hidden", "8", "--device", "cpu"]


def test_help_imports_neither_torch_nor_rich(python: Python) -> None:
    command, environment = python
    code = (
        "import sys; from trainer.cli import main; assert main(['--help']) == 0;"
        "print(sorted({'torch', 'torchvision', 'rich', 'numpy', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([*command, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    assert "--batch-size" in done.stdout


def test_trains_and_says_where_the_checkpoints_lie(
    tiny_sample: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main([*TINY, "--epochs", "2", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    last = checkpoints.read(out / "epoch_0002.safetensors")
    assert printed.out == f"{out}: epochs 0 to 2, test accuracy {last.scores['test_accuracy']:.4f}\n"
    assert "epoch 1/2  loss " in printed.err and printed.err.endswith(" seconds\n")
    assert len(contents(out)) == 3


def test_a_terminal_gets_a_bar(tiny_sample: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("COLUMNS", "100")
    assert main([*TINY, "--epochs", "2", "--out", str(tmp_path)]) == 0
    assert "2/2" in terminal.getvalue() and "loss" in terminal.getvalue() and "━" in terminal.getvalue()


def test_default_folder_is_named_after_the_run(
    tiny_sample: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*TINY, "--epochs", "0", "--init", "orthogonal", "--seed", "3"]) == 0
    assert (tmp_path / "checkpoints" / "mnist-sample-orthogonal-seed3" / "epoch_0000.safetensors").exists()


def test_second_run_is_refused_and_changes_nothing(
    tiny_sample: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*TINY, "--epochs", "1", "--out", str(tmp_path)]
    assert main(arguments) == 0
    before = contents(tmp_path)
    assert main([*arguments, "--seed", "1"]) == 1
    assert "Error: " in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_resume_lengthens_a_run_and_knows_a_finished_one(
    tiny_sample: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short, whole = str(tmp_path / "short"), str(tmp_path / "whole")
    assert main([*TINY, "--epochs", "4", "--out", whole]) == 0
    assert main([*TINY, "--epochs", "2", "--out", short]) == 0
    capsys.readouterr()
    assert main([*TINY, "--epochs", "4", "--out", short, "--resume"]) == 0
    assert "continuing after epoch 2" in capsys.readouterr().err
    assert contents(tmp_path / "short") == contents(tmp_path / "whole")
    assert main([*TINY, "--epochs", "4", "--out", short, "--resume"]) == 0
    printed = capsys.readouterr()
    assert "already finished" in printed.err and "epochs 0 to 4" in printed.out


def test_resume_with_another_config_is_refused(
    tiny_sample: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TINY, "--epochs", "1", "--out", str(tmp_path)]) == 0
    assert main([*TINY, "--epochs", "2", "--out", str(tmp_path), "--resume", "--batch-size", "8"]) == 1
    assert "batch_size is 64 there, 8 here" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--lr", "nan"],
        ["--lr", "0"],
        ["--lr", "inf"],
        ["--hidden", ""],
        ["--hidden", "64,,16"],
        ["--hidden", "64,-1"],
        ["--batch-size", "0"],
        ["--epochs", "-1"],
        ["--seed", "4294967296"],
        ["--dataset", "imagenet"],
        ["--init", "zeros"],
        ["--data-dir", "."],
        ["unknown"],
    ],
)
def test_usage_error(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main([*arguments, "--out", str(out)]) == 2
    assert "Usage: weightlapse-train" in capsys.readouterr().err
    assert not out.exists()


def test_interrupt_is_130_and_says_how_to_go_on(
    tiny_sample: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "evaluate", interrupted)
    assert main([*TINY, "--out", str(tmp_path)]) == 130
    assert "--resume" in capsys.readouterr().err


def test_error_is_one_message_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(name: str) -> None:
        raise TrainerError("path: cause. Remedy.")

    monkeypatch.setattr(training, "choose_device", refuse)
    assert main(["--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "Error: path: cause. Remedy.\n"


def test_without_torch_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["--out", str(tmp_path)]) == 1
    assert "weightlapse[train]" in capsys.readouterr().err


def test_two_processes_write_the_same_bytes_without_torchs_compiler(python: Python, tmp_path: Path) -> None:
    command, environment = python
    code = (
        "import sys; from trainer.cli import main;"
        "assert main(['--epochs', '1', '--device', 'cpu', '--out', sys.argv[1]]) == 0;"
        "assert not {'torch._dynamo', 'torchvision'} & set(sys.modules)"  # each takes seconds to import
    )
    for name, seed, threads in (("one", "1", "1"), ("two", "2", "2")):
        subprocess.run(
            [*command, "-c", code, str(tmp_path / name)],
            env={**environment, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads},
            capture_output=True,
            check=True,
        )
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) == 2


@pytest.mark.skipif(os.name != "posix", reason="limits are POSIX")
def test_fault_29_file_that_outgrows_a_real_limit(python: Python, tmp_path: Path) -> None:
    command, environment = python
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "from trainer.cli import main; sys.exit(main(['--device', 'cpu', '--out', sys.argv[1]]))"
    )
    done = subprocess.run(
        [*command, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"{tmp_path / 'epoch_0000.safetensors'}: cannot be written: File too large" in done.stderr
    assert contents(tmp_path) == {}
