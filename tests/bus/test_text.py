"""Text for people: a hint to a mistyped word, and short hotkeys."""

import pytest

from bettensor.bus.text import FEW, hint, short

COLOURS = ["red", "green", "blue"]


@pytest.mark.parametrize(
    ("word", "known", "told"),
    [
        ("gren", COLOURS, "; the nearest is 'green'"),
        ("nosuch", COLOURS, "; expected one of 'red', 'green', 'blue'"),
        ("nosuch", [f"{n}{n}" for n in range(FEW + 1)], ""),
        ("red", [], ""),
    ],
)
def test_a_similar_word_is_suggested_or_else_few_words_are_listed(word: str, known: list[str], told: str) -> None:
    assert hint(word, known) == told


def test_a_valid_word_is_shown_with_its_prefix() -> None:
    assert hint("gren", COLOURS, "paint.") == "; the nearest is 'paint.green'"


def test_hotkeys_are_shortened_one_way() -> None:
    assert short("5DFzyX" + "x" * 38 + "8mTv") == "5DFzyX…8mTv"
    assert short("5validator") == "5validator"
