"""Runs of Lightning: what its Trainer, ModelCheckpoint and CSVLogger really write."""

from __future__ import annotations

import csv
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from stored import alarms, assert_same_weights, found, names, places

import analyzer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the library's own
    import lightning.pytorch as lightning
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger

EPOCHS, BATCHES = 3, 4


class Network(lightning.LightningModule):
    """A convolution with batch normalisation; the second parameter group makes two optimisers where asked for."""

    def __init__(self, optimisers: int = 1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = optimisers == 1
        self.body = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten())
        self.head = torch.nn.Linear(4 * 16, 3)

    def loss(self, batch: Any) -> Any:
        images, labels = batch
        return torch.nn.functional.cross_entropy(self.head(self.body(images)), labels)

    def training_step(self, batch: Any, index: int) -> Any:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        if not self.automatic_optimization:
            for optimiser in self.optimizers():
                optimiser.zero_grad()
            self.manual_backward(loss)
            for optimiser in self.optimizers():
                optimiser.step()
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        if self.automatic_optimization:
            return torch.optim.SGD(self.parameters(), lr=0.1)
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.body, self.head)]


class Kept(lightning.Callback):
    """The weights and the loss after each epoch, beside what the library writes."""

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        if not trainer.sanity_checking:
            self.states.append({name: value.clone() for name, value in module.state_dict().items()})


def train(folder: Path, optimisers: int = 1, seed: int = 0, **options: Any) -> Kept:
    torch.manual_seed(seed)
    data = torch.utils.data.TensorDataset(torch.randn(4 * BATCHES, 1, 6, 6), torch.randint(0, 3, (4 * BATCHES,)))
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    kept = Kept()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            logger=CSVLogger(folder),
            log_every_n_steps=1,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[kept, ModelCheckpoint(save_top_k=-1, **options)],
        )
        trainer.fit(Network(optimisers), loader, loader)
    return kept


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Kept]:
    """Two versions of a run, each with ``last.ckpt``; the weights are those of the second."""
    folder = tmp_path_factory.mktemp("lightning")
    train(folder, seed=1, save_last=True)
    return folder / "lightning_logs", train(folder, save_last=True)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_of_lightning(trained: tuple[Path, Kept]) -> None:
    folder, kept = trained
    run = analyzer.open_run(folder / "version_1")
    assert (run.name, run.layout) == (f"{folder.parent.name}/version_1", "lightning")
    assert names(run) == [f"epoch={epoch}-step={BATCHES * (epoch + 1)}.ckpt" for epoch in range(EPOCHS)]
    assert places(run) == [(epoch, BATCHES * (epoch + 1)) for epoch in range(EPOCHS)]
    for checkpoint, state in zip(run.checkpoints, kept.states, strict=True):
        assert_same_weights(checkpoint, state)
        loaded = torch.load(checkpoint.path, weights_only=False)
        assert (loaded["epoch"], loaded["global_step"]) == (checkpoint.epoch, checkpoint.step)
    assert "body.1.running_mean" in run.checkpoints[0].tensors
    assert not alarms(analyzer.audit(run))


def test_scores_are_those_of_the_last_batch_before_the_checkpoint(trained: tuple[Path, Kept]) -> None:
    """The row of step s was logged while batch s was at work: the state after it has made s + 1 steps."""
    run = analyzer.open_run(trained[0] / "version_1")
    logged = {
        (int(row["step"]), name): float(value)
        for row in rows(trained[0] / "version_1")
        for name, value in row.items()
        if value and name not in ("step", "epoch")
    }
    assert {name for _, name in logged} == {"train_loss_step", "train_loss_epoch", "val_loss"}
    for checkpoint in run.checkpoints:
        assert checkpoint.step is not None
        assert checkpoint.scores == {
            name: value for (step, name), value in logged.items() if step == checkpoint.step - 1
        }
        assert len(checkpoint.scores) == 3
    assert not found(run, "score_from_earlier_step")


def test_the_loss_in_the_table_is_that_of_the_weights_in_the_file(trained: tuple[Path, Kept]) -> None:
    """With the saved weights, the validation loss comes out again: the row and the file belong together."""
    run = analyzer.open_run(trained[0] / "version_1")
    torch.manual_seed(0)
    images, labels = torch.randn(4 * BATCHES, 1, 6, 6), torch.randint(0, 3, (4 * BATCHES,))
    for checkpoint in run.checkpoints:
        network = Network()
        network.load_state_dict(torch.load(checkpoint.path, weights_only=False)["state_dict"])
        with torch.no_grad():
            loss = float(network.eval().loss((images, labels)))
        assert checkpoint.scores["val_loss"] == pytest.approx(loss, rel=1e-5)


def test_last_is_a_duplicate_where_its_place_is_taken(trained: tuple[Path, Kept], tmp_path: Path) -> None:
    run = analyzer.open_run(trained[0] / "version_1")
    (said,) = found(run, "duplicate_files")
    assert said.checkpoints == ("epoch=2-step=12.ckpt", "last.ckpt")
    shutil.copytree(trained[0] / "version_1", tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "epoch=2-step=12.ckpt").unlink()
    run = analyzer.open_run(tmp_path / "run")
    assert names(run)[-1] == "last.ckpt"
    assert places(run)[-1] == (2, 12)
    assert run.findings == ()


def test_each_version_is_a_run(trained: tuple[Path, Kept]) -> None:
    """Lightning counts versions anew in each project, so the folder above them tells them apart."""
    expected = [f"{trained[0].parent.name}/version_0", f"{trained[0].parent.name}/version_1"]
    assert [run.name for run in analyzer.open_runs(trained[0].parent)] == expected


def test_the_folder_of_checkpoints_alone_finds_the_scores_above(trained: tuple[Path, Kept]) -> None:
    inside = analyzer.open_run(trained[0] / "version_1" / "checkpoints")
    whole = analyzer.open_run(trained[0] / "version_1")
    assert [one.scores for one in inside.checkpoints] == [one.scores for one in whole.checkpoints]


def test_two_optimisers_count_more_steps_than_the_log(tmp_path: Path) -> None:
    train(tmp_path, optimisers=2)
    run = analyzer.open_run(tmp_path)
    assert [checkpoint.step for checkpoint in run.checkpoints] == [2 * BATCHES * (epoch + 1) for epoch in range(EPOCHS)]
    expected = [float(row["val_loss"]) for row in rows(Path(run.path)) if row["val_loss"]]
    assert [checkpoint.scores["val_loss"] for checkpoint in run.checkpoints] == expected
    assert not alarms(analyzer.audit(run))


def test_a_foreign_file_among_them_is_left_out(trained: tuple[Path, Kept], tmp_path: Path) -> None:
    shutil.copytree(trained[0] / "version_1", tmp_path / "run")
    torch.save(Network().state_dict(), tmp_path / "run" / "checkpoints" / "exported.ckpt")
    run = analyzer.open_run(tmp_path / "run")
    assert len(run.checkpoints) == EPOCHS
    assert "has no key pytorch-lightning_version" in found(run, "refused_file")[0].sentence


def test_a_table_that_cannot_be_read_costs_the_scores(trained: tuple[Path, Kept], tmp_path: Path) -> None:
    shutil.copytree(trained[0] / "version_1", tmp_path / "run")
    (tmp_path / "run" / "metrics.csv").write_bytes(b"\xff\xfe")
    run = analyzer.open_run(tmp_path / "run")
    assert [checkpoint.scores for checkpoint in run.checkpoints] == [{}] * EPOCHS
    assert found(run, "scores_unreadable")
