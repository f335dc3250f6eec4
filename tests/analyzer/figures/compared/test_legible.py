"""Every figure of a comparison at every size: nothing overlaps, and the bytes are always the same."""

from __future__ import annotations

import dataclasses
from xml.etree import ElementTree

import pytest
from compared_runs import lone_runs, stored_run, two_groups
from legibility import HOSTILE, drawn_texts, problems

from analyzer.comparing import compare_runs
from analyzer.figures import render
from analyzer.figures.compared import COMPARED


@pytest.fixture(params=[spec.name for spec in COMPARED])
def spec(request):
    return next(spec for spec in COMPARED if spec.name == request.param)


def seeds(count):
    return [stored_run(f"run-seed{i}", seed=i) for i in range(count)]


CASES = {
    "two runs": lone_runs(2),
    "three seeds": seeds(3),
    "forty seeds": seeds(40),
    "ten groups": lone_runs(10),
    "thirty groups": lone_runs(30),
    "two groups of six": two_groups(6, distance=9.0),
    "one checkpoint": lone_runs(3, epochs=(0,)),
    "two checkpoints": lone_runs(3, epochs=(0, 1)),
    "a thousand": lone_runs(2, epochs=tuple(range(1000))),
    "all the same": [dataclasses.replace(run, name=f"run {i}") for i, run in enumerate(lone_runs(1) * 3)],
    "huge": lone_runs(3, distance=1e120, condition=1e80),
    "one far away": [*lone_runs(2), stored_run("far", seed=9, distance=1e3)],
    "tiny": lone_runs(3, distance=1e-120, condition=1e-13),
}


@pytest.mark.parametrize("case", CASES)
def test_every_case_is_legible(spec, case):
    figure = spec.draw(compare_runs(CASES[case]))
    if figure is None:
        assert case == "one checkpoint" and spec.name in {"accuracy_along_path"}
    else:
        assert problems(figure) == []


def test_hostile_names(spec):
    figure = spec.draw(compare_runs([stored_run(name, seed=i) for i, name in enumerate(HOSTILE)]))
    assert problems(figure) == []
    _, svg = render(figure)
    root = ElementTree.fromstring(svg)
    assert not any(element.tag.endswith("script") or "onload" in element.attrib for element in root.iter())
    assert all(ord(c) >= 0x20 for text, _ in drawn_texts(figure) for c in text.get_text())


def test_the_same_runs_give_the_same_bytes(spec):
    assert render(spec.draw(compare_runs(two_groups(3)))) == render(spec.draw(compare_runs(two_groups(3))))


def test_nothing_to_show_is_no_figure(spec):
    runs = two_groups(2)
    for run in runs:
        run.tables.curves.clear()
        run.tables.scalars.clear()
    assert spec.draw(compare_runs(runs)) is None
