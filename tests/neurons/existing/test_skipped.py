"""Skipped rows: all counted, the first named, and nothing in them can harm a terminal."""

from bettensor.neurons.existing.skipped import MANY, MAX_REASON, Skipped, UnusableRow


def test_few_rows_are_named_each() -> None:
    skipped = Skipped()
    assert not list(skipped.lines())
    skipped.add(UnusableRow("unreadable", "p\x1b", "wager: \x1b[2J"))
    assert list(skipped.lines()) == ["skipped p\\x1b: wager: \\x1b[2J"]
    assert skipped.as_json() == {
        "count": 1,
        "kinds": {"unreadable": 1},
        "first": [{"row": "p\\x1b", "reason": "wager: \\x1b[2J"}],
    }


def test_of_many_rows_the_first_are_named_and_all_are_counted() -> None:
    skipped = Skipped()
    for number in range(MANY + 5):
        skipped.add(UnusableRow("unreadable" if number % 5 else "duplicate", str(number), "x" * 10_000))
    lines = list(skipped.lines())
    assert len(skipped) == MANY + 5
    assert len(lines) == MANY + 1
    assert lines[0] == f"skipped 0: {'x' * MAX_REASON}"
    assert lines[-1] == "... 25 rows skipped in all: 20 unreadable, 5 duplicate"
    assert len(skipped.as_json()["first"]) == MANY
