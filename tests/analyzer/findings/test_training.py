"""Real training on the bundled images."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import STRESS, full_count
from commands import measured
from planted import (
    checked,
    only,
)

from analyzer.findings import find
from analyzer.report.reading import read_tables
from analyzer.store.store import open_store

pytest.importorskip("torch")


def trained(folder: Path, images: int, epochs: int, **changes):
    """Findings about the trainer's own network on the first so many images of the bundled sample."""
    from trainer import datasets, training
    from trainer.config import TrainingConfig

    sample = datasets.load("mnist-sample", Path())
    part = sample._replace(train_images=sample.train_images[:images], train_labels=sample.train_labels[:images])
    folder.mkdir()
    for _ in training.train(TrainingConfig(**changes), part, folder, epochs):
        pass
    with open_store(measured(folder).path) as store:
        return checked(find(read_tables(store, folder.name)))


def test_training_on_500_images_is_overfitting(tmp_path):
    findings = trained(tmp_path / "few", 500, 60, lr=0.05)
    one = only(findings, "overfitting")
    assert one.severity == "warning" and 10 < one.evidence["gap_points"] < 25
    assert only(findings, "condition_beside_overfitting").severity == "notice"
    assert {one.rule for one in findings if one.severity in ("warning", "serious")} == {"overfitting"}


def test_20_healthy_seeds_have_at_most_one_warning_in_all(tmp_path):
    """Also under plain ``make test``, with fewer seeds and epochs."""
    warnings, longest = [], 0
    for seed in range(full_count(20, 2)):
        findings = trained(tmp_path / f"seed{seed}", 8000, 50 if STRESS else 12, seed=seed)
        warnings += [one for one in findings if one.severity in ("warning", "serious")]
        longest = max(longest, len(findings))
    assert len(warnings) <= 1, [one.sentence for one in warnings]
    assert "score_collapses" not in {one.rule for one in warnings}
    assert longest <= 4  # a calm list


def test_a_learning_rate_that_kills_all_units_is_seen(tmp_path):
    findings = trained(tmp_path / "dead", 2000, 12, lr=3.0)
    frozen = only(findings, "frozen_tensors")
    assert frozen.severity == "warning" and "out.bias" not in frozen.evidence["tensors"]
    assert only(findings, "nothing_learned").severity == "warning"
