"""Keys: every line is drawn, with its sample."""

from __future__ import annotations

from figure_parts import texts
from legibility import problems

from analyzer.figures.drawing.keys import HATCHED, KeyLine, draw_key, key_height
from analyzer.figures.drawing.sheet import new_sheet
from analyzer.figures.drawing.style import LOOKS, house_style


def test_every_line_is_drawn_also_names_that_begin_with_an_underscore():
    lines = [KeyLine("_orig_mod.fc1", look=LOOKS[0]), KeyLine("singular", marker="x"), HATCHED, KeyLine("a note")]
    with house_style():
        drawn = new_sheet(2.0)
        draw_key(drawn, 0.5, 0.5, 8.0, lines)
        draw_key(drawn, 0.5, 0.5, 5.0, [])  # draws nothing
    assert texts(drawn) == [line.text for line in lines]
    assert problems(drawn) == []
    (axes,) = drawn.axes
    assert len(axes.get_lines()) == 3  # a line, its marker, and the other marker
    assert len(axes.collections) == 1
    assert key_height(lines) == 4 * key_height(lines[:1])


def test_a_text_that_is_too_wide_goes_on_below_and_the_height_counts_its_lines():
    lines = [HATCHED, KeyLine("x" * 200), KeyLine("a note")]
    with house_style():
        drawn = new_sheet(4.0)
        draw_key(drawn, 0.5, 0.5, 3.0, lines)
    shown = texts(drawn)
    long = [text for text in shown if set(text) == {"x"}]
    assert len(long) > 1 and "".join(long) == "x" * 200
    assert " ".join(text for text in shown if text not in long) == f"{HATCHED.text} a note"
    assert problems(drawn) == []
    assert key_height(lines, 3.0) == len(shown) * key_height(lines[-1:])
