"""Rules about scores and steps on simulated healthy runs: nothing louder than a notice."""

from __future__ import annotations

import pytest
from healthy_runs import SCHEDULES, healthy_run, healthy_runs
from planted import checked

from analyzer.findings import find


def test_40_healthy_runs_have_nothing_louder_than_a_notice_and_few_of_these():
    found = {name: checked(find(tables)) for name, tables in healthy_runs()}
    assert len(found) == 40
    loud = {
        name: [one.sentence for one in rows if one.severity in ("serious", "warning")] for name, rows in found.items()
    }
    assert not any(loud.values()), {name: rows for name, rows in loud.items() if rows}
    notices = [
        (name, one.rule)
        for name, rows in found.items()
        for one in rows
        if one.severity == "notice" and one.rule != "no_scores"
    ]
    assert len(notices) <= 15, notices
    assert {rule for _, rule in notices} <= {"overfitting", "test_loss_rises", "training_at_rest"}


@pytest.mark.parametrize(("schedule", "places"), [("steps", ["c14", "c27"]), ("restarts", ["c14", "c27"])])
def test_a_schedule_that_falls_in_steps_or_restarts_is_information_with_its_places(schedule, places):
    assert schedule in SCHEDULES
    (one,) = (row for row in find(healthy_run(schedule, 0)) if row.rule == "step_length_changes")
    assert one.severity == "info" and one.evidence["since"] == places
