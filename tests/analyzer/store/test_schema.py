"""Stores of earlier schemas: migrated when they are written, migrated in a copy when they are only read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from builders import CHECKOUT, random_walk, save_weights
from commands import measured, read_csv, weightlapse
from earlier_stores import as_schema_3

import analyzer
from analyzer.errors import StoreError
from analyzer.store.schema import SCHEMA_VERSION
from analyzer.store.store import Store, open_store

DUMPS = CHECKOUT / "tests/data"  # stores as SQL, each of a run of three epochs with a NaN and a rejected file
SETTINGS = {1: {"lr": "0.1", "seed": "3"}, 2: {}, 3: {}}  # of the training, by schema


@pytest.fixture(params=SETTINGS)
def schema(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def earlier(schema: int, tmp_path: Path) -> Path:
    path = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((DUMPS / f"store_schema_{schema}.sql").read_text(encoding="utf-8"))
    assert version(path) == schema
    return path


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_fault_43_a_store_of_an_earlier_schema_is_read_without_being_changed(schema: int, earlier: Path) -> None:
    before = earlier.read_bytes()
    findings = analyzer.open_measurements(earlier).findings()
    assert {"refused_file", "nonfinite_weights"} <= {finding.rule for finding in findings}
    assert analyzer.open_measurements(earlier).series("fc.weight", "condition_number").statuses == ("ok",) * 3
    with open_store(str(earlier)) as store:
        assert store.settings("run") == SETTINGS[schema]
        assert store.begun("run") == []
        assert [(one.epoch, one.tokens) for one in store.run("run").checkpoints] == [
            (0.0, None),
            (1.0, None),
            (2.0, None),
        ]
        assert store.nan_counts("run") == {"epoch_2.safetensors": {"fc.bias": 1}}
    assert earlier.read_bytes() == before


def test_fault_43_a_report_is_drawn_from_a_store_of_an_earlier_schema(
    earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analyzer.report.writer.draw_figures", lambda *_: [])
    before = earlier.read_bytes()
    outcome = weightlapse("report", earlier, "--out", tmp_path / "report")
    assert outcome.code == 3 and "NaN or infinite weights" in outcome.err
    assert len(read_csv(tmp_path / "report/data/checkpoints.csv")) == 3
    assert (earlier.read_bytes(), version(tmp_path / "report/measurements.sqlite")) == (before, SCHEMA_VERSION)


def test_fault_43_a_store_of_an_earlier_schema_is_migrated_when_it_is_written(earlier: Path) -> None:
    with open_store(str(earlier)) as store:
        rows, spectra = list(store.measurements("run")), store.spectra("run", "fc.weight")
    with open_store(str(earlier), create=True) as store:
        assert list(store.measurements("run")) == rows
        assert {name: one.tolist() for name, one in store.spectra("run", "fc.weight").items()} == {
            name: one.tolist() for name, one in spectra.items()
        }
    assert version(earlier) == SCHEMA_VERSION
    with closing(sqlite3.connect(earlier)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert not {"meta", "findings"} & tables


def test_fault_43_a_migration_that_fails_leaves_the_store_as_it_was(
    earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from analyzer.store import migrations

    before = earlier.read_bytes()
    monkeypatch.setattr(migrations, "_FROM_3_TO_4", migrations._FROM_3_TO_4 + ";\nSELECT nonsense")
    with pytest.raises(StoreError, match=r"old\.sqlite"):
        open_store(str(earlier), create=True)
    assert earlier.read_bytes() == before


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """A store as schema 2 had it, of a run that is still there."""
    for step, weights in enumerate(random_walk(4)):
        save_weights(tmp_path / f"run/epoch_{step}.safetensors", weights)
    measured(tmp_path / "run", metrics=["motion", "trajectory"])
    path = tmp_path / "run.sqlite"
    as_schema_3(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE sketches")
        connection.execute("ALTER TABLE checkpoints DROP COLUMN tokens")
        connection.execute("PRAGMA user_version = 2")
    return path


def test_a_store_of_schema_2_has_no_sketches_until_it_is_measured_again(second: Path) -> None:
    before = second.read_bytes()
    with open_store(str(second)) as store:
        rows = list(store.measurements("run"))
        assert rows and list(store.sketches("run")) == []
    assert (second.read_bytes(), version(second)) == (before, 2)
    with open_store(str(second), create=True) as store:
        assert list(store.measurements("run")) == rows
    assert version(second) == SCHEMA_VERSION
    measured(second.with_suffix(""), metrics=["motion", "trajectory"])
    with open_store(str(second)) as store:
        assert list(store.measurements("run")) == rows
        assert sum(sketch is not None for *_, sketch in store.sketches("run")) == 3 * 4


def content(store: Store) -> list[object]:
    """Everything that the store tells of its run."""
    tensors = [row.name for row in store.tensors("run")]
    checkpoints = [row.name for row in store.checkpoints("run")]
    return [
        list(store.measurements("run")),
        [sorted(store.bases("run", name).items()) for name in tensors],
        [sorted(store.sums("run", name).items()) for name in checkpoints],
        [{at: one.tolist() for at, one in store.spectra("run", name).items()} for name in tensors],
        list(store.sketches("run")),
        store.contents("run"),
        store.run("run"),
    ]


def test_a_migrated_store_tells_the_same_and_nothing_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = random_walk(
        4, {"fc.weight": (4, 3), "fc.bias": (4,), "experts.weight": (3, 5, 4), "embed.weight": (6, 2)}
    )
    weights[2]["fc.bias"][1] = np.nan
    for step, state in enumerate(weights):
        save_weights(tmp_path / f"run/epoch_{step}.safetensors", state)
    measured(tmp_path / "run")
    path = tmp_path / "run.sqlite"
    with open_store(str(path)) as store:
        before = content(store)
    as_schema_3(path)
    assert version(path) == 3
    for create in (False, True):
        with open_store(str(path), create) as store:
            assert repr(content(store)) == repr(before)  # NaN is equal to NaN as text
    assert version(path) == SCHEMA_VERSION
    monkeypatch.setattr("analyzer.engine.update.walk", lambda *_, **__: pytest.fail("measured again"))
    measured(tmp_path / "run")


def test_a_migration_leaves_no_room_of_the_rows_that_it_replaced(earlier: Path) -> None:
    open_store(str(earlier), create=True).close()
    with closing(sqlite3.connect(earlier)) as connection:
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)


def test_a_migrated_store_has_the_tables_of_a_new_one(earlier: Path, second: Path, tmp_path: Path) -> None:
    def tables(path: Path) -> dict[str, list[tuple[object, ...]]]:
        open_store(str(path), create=True).close()
        with closing(sqlite3.connect(path)) as connection:
            names = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
            return {
                name: sorted(row[1:3] for row in connection.execute(f"PRAGMA table_info({name})")) for (name,) in names
            }

    new = tables(tmp_path / "new.sqlite")
    assert "sketches" in new
    assert tables(earlier) == tables(second) == new
