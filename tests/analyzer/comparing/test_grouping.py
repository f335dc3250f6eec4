"""Copies of runs, and the names of groups."""

from __future__ import annotations

import dataclasses

import pytest
from compared_runs import stored_run, with_settings

from analyzer.comparing.grouping import _is_copy, group_runs


def run(name, *digests, epochs=None):
    """A run of one tensor with these digests, one per checkpoint; an empty digest stands for unknown content."""
    epochs = tuple(range(len(digests))) if epochs is None else epochs
    contents = {
        f"epoch_{epoch:g}": {"w": digest} if digest else {} for epoch, digest in zip(epochs, digests, strict=True)
    }
    return stored_run(name, epochs=epochs, contents=contents or {"": {}}, layers=("w",))


@pytest.mark.parametrize(
    ("first", "second", "is_copy"),
    [
        (run("a", "1", "2", "3"), run("b", "1", "2", "3"), True),
        (run("a", "1", "2", "3"), run("b", "1", "2", "x"), False),
        (run("a", "1", "2", "3"), run("b", "1", "2", "3", epochs=(10, 11, 12)), True),  # in order, under other names
        (run("a", "1", "2", "3"), run("b", "1", "3", epochs=(0, 2)), True),  # wherever they can be compared
        (run("a", "1", "2", "3"), run("b", "1", "x", epochs=(0, 2)), False),
        (run("a", "1", "2", "3"), run("b", "1", "y", epochs=(0, 7)), False),  # runs may share their start
        (run("a", "1", "2", "3"), run("b", "2", epochs=(1,)), True),  # all that there is
        (run("a", "1"), run("b", "1"), True),
        (run("a", "1"), run("b", "2"), False),
        (run("a", "", ""), run("b", "", ""), False),  # nothing is known of either
        (run("a", "1", "", "3"), run("b", "1", "2", "3"), True),
        (run("a", "1", "", "3"), run("b", "1", "", "3", epochs=(10, 11, 12)), True),  # a gap at the same place
        (run("a", "1", "2", ""), run("b", "1", "x", "3"), False),
    ],
)
def test_a_copy_has_the_same_bytes_wherever_they_can_be_compared(first, second, is_copy):
    assert _is_copy(first, second) == is_copy
    assert _is_copy(second, first) == is_copy


def test_runs_without_checkpoints_are_no_copies():
    first, second = (
        dataclasses.replace(one, tables=dataclasses.replace(one.tables, checkpoints=()), contents={})
        for one in (run("a", "1"), run("b", "1"))
    )
    assert not _is_copy(first, second)


def test_a_group_alone_is_named_after_its_first_run_without_the_seed():
    groups, _ = group_runs([stored_run("x-seed3", settings=with_settings("normal", 3))])
    assert [group.name for group in groups] == ["x"]


def test_a_copy_counts_once_and_only_within_its_group():
    settings = with_settings("normal", 0)
    same = {"epoch_0": {"w": "1"}, "epoch_1": {"w": "2"}}
    runs = [
        stored_run(name, epochs=(0, 1), contents=same, settings=chosen)
        for name, chosen in (("a", settings), ("b", settings), ("c", with_settings("pytorch", 0)))
    ]
    groups, reason = group_runs(runs)
    assert [(group.name, group.runs, group.independent) for group in groups] == [
        ("normal", ("a", "b"), ("a",)),
        ("pytorch", ("c",), ("c",)),
    ]
    assert "same settings" in reason


def test_a_run_without_a_seed_in_its_settings_makes_names_count():
    runs = [
        stored_run("x-seed1", settings=with_settings("normal", 1)),
        stored_run("x-seed2", seed=1, settings={"lr": "0.1"}),
    ]
    groups, reason = group_runs(runs)
    assert [group.name for group in groups] == ["x"] and "names" in reason


def test_groups_are_named_by_all_settings_that_differ_and_a_lone_text_by_its_value():
    first = {"seed": "0", "lr": "0.1", "init": '"normal"'}
    second = {"seed": "0", "init": '"pytorch"'}
    runs = [stored_run("a", settings=first), stored_run("b", seed=1, settings=second)]
    assert [group.name for group in group_runs(runs)[0]] == ["init normal, lr 0.1", "init pytorch, lr not set"]
    runs = [stored_run("a", settings=first), stored_run("b", seed=1, settings={**first, "lr": "0.2"})]
    assert [group.name for group in group_runs(runs)[0]] == ["lr 0.1", "lr 0.2"]


@pytest.mark.parametrize(
    ("names", "shared"),
    [
        (["x-seed3"], "x"),
        (["x-seed1", "x-seed2"], "x"),
        (["wide-1", "wide-2"], "wide"),
        (["s0", "s1", "s2"], "runs"),  # nothing in their names, but their folder
    ],
)
def test_a_group_of_the_only_settings_is_named_after_what_its_runs_share(names, shared):
    runs = [stored_run(name, settings=with_settings("normal", seed)) for seed, name in enumerate(names)]
    (group,), _ = group_runs(runs)
    assert (group.name, group.runs) == (shared, tuple(names))


def test_a_group_whose_runs_share_neither_name_nor_folder_is_counted():
    runs = [
        dataclasses.replace(stored_run(name, settings=with_settings("normal", seed)), path=f"{name}/out")
        for seed, name in enumerate("ab")
    ]
    (group,), _ = group_runs(runs)
    assert group.name == "2 runs with the same settings"
