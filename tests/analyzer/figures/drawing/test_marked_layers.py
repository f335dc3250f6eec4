"""Lines and names of layers with findings."""

from __future__ import annotations

from analyzer.figures.drawing.finding_marks import Mark
from analyzer.figures.drawing.labels import text_width
from analyzer.figures.drawing.marked_layers import emphasized, few_named, key_names
from analyzer.figures.drawing.style import LOOKS

NAMES = [f"fc{n}.weight" for n in range(8)]


def mark(number: int, *tensors: str) -> Mark:
    return Mark(number, "notice", frozenset(tensors), 0, 1)


def test_names_tell_the_numbers_of_the_findings():
    names, _ = key_names(NAMES[:2], [mark(3, NAMES[0]), mark(5, NAMES[0])], 140)
    assert names == ["fc0.weight (finding 3, 5)", "fc1.weight"]
    many, _ = key_names(NAMES[:2], [mark(number, NAMES[0]) for number in range(1, 9)], 170)
    assert many[0] == "fc0.weight (finding 1, 2, 3, …)" and text_width(many[0]) <= 170


def test_of_many_lines_those_without_a_finding_are_gray():
    looks = emphasized(NAMES, [mark(1, NAMES[2])])
    assert looks[2].width > LOOKS[2].width and looks[2].color == LOOKS[2].color
    assert len({look.color for index, look in enumerate(looks) if index != 2}) == 1


def test_of_few_lines_all_keep_their_colors():
    assert [look.color for look in emphasized(NAMES[:4], [mark(1, NAMES[2])])] == [look.color for look in LOOKS[:4]]


def test_if_all_have_a_finding_none_stands_out():
    assert emphasized(NAMES, [mark(1, *NAMES)]) == emphasized(NAMES, []) == list(LOOKS[:8])


def test_a_finding_about_a_matrix_of_a_stack_is_about_its_row():
    assert mark(1, "experts").is_about("experts[3]") and not mark(1, "experts").is_about("others[3]")


def test_vectors_are_drawn_for_findings_about_a_few():
    assert few_named([mark(1, "a.bias"), mark(2, *NAMES)]) == {"a.bias"}
