"""The command ``weightlapse-train``: turns flags into a TrainingConfig, shows progress on stderr, sets exit codes.

torch, torchvision and rich are imported where they are used, so that ``--help`` and usage errors respond at once.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainer.config import DATASETS, DEVICES, INIT_SCHEMES, TrainingConfig
from trainer.errors import TrainerError

if TYPE_CHECKING:
    from trainer.checkpoints import Checkpoint

DOWNLOADS = Path("~/.cache/weightlapse")


@click.command(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.option("--dataset", type=click.Choice(DATASETS), default="mnist-sample", help="The sample is bundled.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Folder of a whole data set's files (or MNIST/raw below it); downloads go here.  [default: {DOWNLOADS}]",
)
@click.option("--hidden", default="64,32,16", metavar="SIZES", help="Sizes of the hidden layers.")
@click.option("--init", type=click.Choice(INIT_SCHEMES), default="pytorch", help="Initialization of the weights.")
@click.option("--epochs", type=click.IntRange(min=0), default=50, help="Epoch 0 is the untrained network.")
@click.option("--lr", type=float, default=0.005, help="Learning rate of plain SGD.")
@click.option("--batch-size", type=click.IntRange(min=1), default=64, help="Images per update.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Determines initial weights and shuffles.")
@click.option("--device", type=click.Choice(("auto", *DEVICES)), default="auto", help="auto: cuda, else cpu.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the checkpoints.  [default: checkpoints/DATASET-INIT-seedSEED]",
)
@click.option("--resume", is_flag=True, help="Continue the run in --out as if never interrupted.")
def train(
    dataset: str,
    data_dir: Path | None,
    hidden: str,
    init: str,
    epochs: int,
    lr: float,
    batch_size: int,
    seed: int,
    device: str,
    out: Path | None,
    resume: bool,
) -> None:
    """Train a small network and save every layer's weights after each epoch.

    One safetensors file per epoch, with the accuracies and losses in it; `weightlapse report` reads them.
    """
    if data_dir is not None and dataset == "mnist-sample":
        raise click.UsageError("--data-dir is for a whole data set; name it, as in --dataset mnist.")
    out = out or Path("checkpoints") / f"{dataset}-{init}-seed{seed}"
    try:
        config = TrainingConfig(dataset, _sizes(hidden), init, lr, batch_size, seed)
    except ValueError as error:
        raise click.UsageError(f"--{error}") from error
    _train(config, device, data_dir or DOWNLOADS.expanduser(), out, epochs, resume)


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise ValueError(f"hidden must be positive layer sizes such as 64,32,16, not {text!r}") from None


def _train(config: TrainingConfig, device: str, data_dir: Path, out: Path, epochs: int, resume: bool) -> None:
    started = time.perf_counter()
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise TrainerError(
            f"{error.name} is not installed, but training needs it: pip install 'weightlapse[train]'"
        ) from error
    from trainer import checkpoints, datasets, training

    config = replace(config, device=training.choose_device(device))
    last = checkpoints.open_run(out, config, resume=resume)
    if last is not None and last.epoch >= epochs:
        click.echo(f"{out}: already finished, up to epoch {last.epoch}. For more, raise --epochs.", err=True)
    else:
        if last is not None:
            click.echo(f"{out}: continuing after epoch {last.epoch}", err=True)
        data = datasets.load(config.dataset, data_dir)
        with _progress(epochs, 0 if last is None else last.epoch) as show:
            for checkpoint in training.train(config, data, out, epochs, last):
                show(checkpoint)
        last = checkpoint
    click.echo(f"{out}: epochs 0 to {last.epoch}, test accuracy {last.scores['test_accuracy']:.4f}")
    click.echo(f"{time.perf_counter() - started:.1f} seconds", err=True)


@contextlib.contextmanager
def _progress(epochs: int, done: int) -> Iterator[Callable[[Checkpoint], None]]:
    """Yield a function that shows an epoch: on a progress bar in a terminal, else as about ten lines in all."""
    if not sys.stderr.isatty():
        every = max(1, epochs // 10)

        def show_line(checkpoint: Checkpoint) -> None:
            if checkpoint.epoch % every == 0 or checkpoint.epoch == epochs:
                click.echo(f"epoch {checkpoint.epoch}/{epochs}  {_summary(checkpoint)}", err=True)

        yield show_line
        return

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=epochs, completed=done)

        def show_bar(checkpoint: Checkpoint) -> None:
            bar.update(task, completed=checkpoint.epoch, description=_summary(checkpoint))

        yield show_bar


def _summary(checkpoint: Checkpoint) -> str:
    scores = checkpoint.scores
    loss = scores.get("train_loss", scores["test_loss"])
    return f"loss {loss:.4f}  test accuracy {scores['test_accuracy']:.4f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 failed, 2 usage, 130 interrupted."""
    try:
        train.main(arguments, prog_name="weightlapse-train", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except TrainerError as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted. Every saved epoch is complete; continue with --resume.", err=True)
        return 130
    return 0
