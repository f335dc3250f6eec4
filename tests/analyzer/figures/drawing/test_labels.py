"""Names as text: safe, no wider than their place, and still told apart."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analyzer.figures.drawing.labels import fitted, safe_text, short_labels, text_width


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("fc1.weight", "fc1.weight"),
        ("a b-c_d/[0]:$x$^{2}<&>", "a b-c_d/[0]:$x$^{2}<&>"),
        ("naïve.Größe.κ", "naïve.Größe.κ"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("a\\nb", "a\\\\nb"),
        ("\x00\x1b\x7f\x85", "\\x00\\x1b\\x7f\\x85"),
        ("abc\u202ecba\u2066\u200f", "abc\\u202ecba\\u2066\\u200f"),
        ("\u05d0\u0627", "\\u05d0\\u0627"),
        ("e\u0301", "e\\u0301"),
        ("\u5c42\U0001f9ff", "\\u5c42\\U0001f9ff"),
        ("\u00a0\u200b\ufeff", "\\xa0\\u200b\\ufeff"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_is_not_plainly_visible_is_escaped(name, shown):
    assert safe_text(name) == shown


@given(st.text(st.characters(), min_size=1, max_size=400), st.floats(40, 200))
def test_any_name_fits_and_is_printable(name, width):
    label = fitted(name, width)
    assert text_width(label) <= width + 1e-6
    assert label
    assert safe_text(label).replace("\\\\", "\\") == label  # nothing left to escape


def test_long_names_keep_their_ends():
    label = fitted("model.layers.17.self_attn.q_proj.weight", 120)
    assert label.startswith("model.lay")
    assert label.endswith("proj.weight")
    assert label.count("…") == 1


def test_a_name_of_a_megabyte_takes_no_time():
    assert len(fitted("x" * 10**6, 100)) < 40


def test_parts_that_all_names_share_are_dropped_and_named():
    names = [f"model.layers.{i}.self_attn.q_proj.lora_A.default.weight" for i in range(20)]
    labels, remark = short_labels(names, 100)
    assert labels[:2] == ["0", "1"]
    assert "begins with model.layers. and ends with" in remark


def test_names_that_fit_stay_whole():
    assert short_labels(["fc1.weight", "fc2.weight"], 100) == (["fc1.weight", "fc2.weight"], "")


def test_names_that_look_alike_get_numbers():
    names = [f"{'a' * 100}{i}{'b' * 100}" for i in range(30)]
    labels, _ = short_labels(names, 100)
    assert len(set(labels)) == 30
    assert all(text_width(label) <= 100 for label in labels)
    assert len(set(short_labels(["same", "same"], 100)[0])) == 2


BERT = ("attention.self.query", "attention.self.key", "attention.output.dense", "intermediate.dense", "output.dense")


def test_what_tells_the_layers_of_a_transformer_apart_stays():
    names = [f"bert.encoder.layer.{n}.{part}.weight" for n in range(12) for part in BERT]
    others = ["bert.embeddings.word_embeddings.weight", "classifier.weight"]
    labels, _ = short_labels([*others, *names], 100)
    assert len(set(labels)) == len(labels) and not any("#" in label for label in labels)
    for label, name in zip(labels[2:], names, strict=True):
        assert label.startswith(f"…{name.split('.')[3]}."), label
        assert text_width(label) <= 100
    assert "…11.output.dense" in labels and labels[1] == "classifier"


def test_ways_to_a_number_that_differ_stay_and_words_lose_their_ends():
    sides = ("encoder", "decoder")
    names = [f"{side}.block.{n}.layer.{m}.SelfAttention.q" for side in sides for n in range(12) for m in range(2)]
    labels, _ = short_labels(["shared.with.everything.else", *names], 100)
    assert len(set(labels)) == len(labels) and not any("#" in label for label in labels)
    assert labels[1].startswith("encoder…0.") and labels[-1].startswith("decoder…11.")
    assert all(text_width(label) <= 100 for label in labels)


def test_the_matrices_of_a_stack_keep_their_numbers():
    names = [f"model.layers.{n}.block_sparse_moe_of_experts.experts[{e}]" for n in range(3) for e in range(4)]
    labels, _ = short_labels([*names, "model.embed_tokens.weight"], 90)
    assert all(f"experts[{e}]" in label for label, e in zip(labels, [0, 1, 2, 3] * 3, strict=False))


@example(["00000000.", "00000000."], 40.0)
@example(["layers.block.", "layers.block.weight"], 40.0)
@given(st.lists(st.text("ab.01…\n", min_size=1, max_size=60), min_size=1, max_size=5), st.floats(40, 200))
def test_any_labels_fit_and_are_told_apart(names, width):
    labels, _ = short_labels(names, width)
    assert all(label and text_width(label) <= width + 1e-6 for label in labels)


def test_drawn_width_is_the_width_computed():
    from legibility import drawn_texts

    from analyzer.figures.drawing.sheet import new_sheet
    from analyzer.figures.drawing.style import house_style

    texts = ["model.layers.17.self_attn.q_proj.weight", "WWWWWWWW", "iiiiiiii", "0.123×10⁻⁵"]
    with house_style():
        figure = new_sheet(3)
        for line, text in enumerate(texts):
            figure.text(0.1, 0.1 + 0.2 * line, text, size=8)
    for text, box in drawn_texts(figure):
        assert box.width / 150 * 72 == pytest.approx(text_width(text.get_text()), rel=0.06, abs=2)
