"""The words of others made harmless, and the word that was most likely meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bettensor.bus.text import nearest, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Arsenal 2:1", "Arsenal 2:1"),
        ("Köln 上海", "Köln 上海"),
        ("\x1b[2J", r"\x1b[2J"),
        ("one\r\ntwo\t", r"one\r\ntwo\t"),
        ("\u202eevil", r"\u202eevil"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("", ""),
    ],
)
def test_what_a_terminal_would_obey_or_hide_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_what_is_shown_can_always_be_printed_and_is_left_alone_the_second_time(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown


def test_the_nearest_word_is_the_one_that_was_most_likely_meant() -> None:
    assert nearest("prediction_acepted", ["prediction_rejected", "prediction_accepted"]) == "prediction_accepted"
    assert nearest("zzz", iter(["only"])) == "only"
