"""Text for people: peers' words made harmless, short hotkeys, counts and times, and a hint to a mistyped word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bettensor.bus.text import FEW, chosen, counted, duration, hint, nearest, printable, short, shortened

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


@pytest.mark.parametrize(("word", "similar"), [("gren", "green"), ("RED", "red"), ("nosuch", None)])
def test_the_nearest_word_is_a_similar_one(word: str, similar: str | None) -> None:
    assert nearest(word, iter(COLOURS)) == similar


def test_a_part_of_a_word_is_near_unless_it_is_very_short() -> None:
    assert nearest("permit", ["axon", "validator_permit"]) == "validator_permit"
    assert nearest("per", ["axon", "validator_permit"]) is None


def test_hyphens_make_no_option_similar() -> None:
    options = ["--json", "--duration", "-h"]
    assert (nearest("--seconds", options), nearest("--jsno", options)) == (None, "--json")


def test_a_valid_word_is_shown_with_its_prefix() -> None:
    assert hint("gren", COLOURS, "paint.") == "; the nearest is 'paint.green'"


@pytest.mark.parametrize(("number", "told"), [(0, "0 games"), (1, "1 game"), (2, "2 games")])
def test_one_thing_is_singular(number: int, told: str) -> None:
    assert counted(number, "game") == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(None, ""), (4.24, "4.2 s"), (60, "1 min"), (7199, "120 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_a_duration_has_the_unit_that_fits_it(seconds: float | None, told: str) -> None:
    assert duration(seconds) == told


def test_hotkeys_are_shortened_one_way() -> None:
    assert short("5DFzyX" + "x" * 38 + "8mTv") == "5DFzyX…8mTv"
    assert short("5validator") == "5validator"


def test_every_address_of_a_text_is_shortened_but_the_one_that_is_wanted_whole() -> None:
    one, other = "5DFzyX" + "x" * 38 + "8mTv", "5GQnHz" + "y" * 38 + "Xvir"
    assert shortened(f"({one}) {other}, x{one}", whole=other) == f"(5DFzyX…8mTv) {other}, x{one}"
    assert shortened(f"{one}={other}") == "5DFzyX…8mTv=5GQnHz…Xvir"


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("p1", ["p1"]),
        ("p", ["p1", "p12", "p2"]),
        ("p12", ["p12"]),
        ("p…2", ["p12", "p2"]),
        ("x", []),
    ],
)
def test_a_word_may_be_abbreviated_and_the_word_itself_comes_first(word: str, meant: list[str]) -> None:
    assert chosen(word, ["p1", "p12", "p2"]) == meant


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


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, ""),
        (4.2, "4.2 s"),
        (90, "2 min"),
        (7_100, "118 min"),
        (10_800, "3 h"),
        (172_799, "48 h"),
        (172_800, "2 d"),
    ],
)
def test_a_duration_is_told_in_its_largest_unit_that_it_has_twice(seconds: float | None, told: str) -> None:
    assert duration(seconds) == told
