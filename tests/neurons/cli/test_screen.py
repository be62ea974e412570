"""Nothing that a peer says is markup, and nothing of it is obeyed by a terminal, whichever view shows it."""

import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from bettensor.bus.eventlog import Row
from bettensor.bus.identifiers import Micros
from bettensor.neurons.cli import views
from bettensor.neurons.cli.screen import Screen, ShownText
from bettensor.neurons.recordings import text as log_text
from tests.neurons.cli.drawing import status_of

HOSTILE = (
    "5[/x]",
    "[link=http://evil.example]x[/link]",
    "\x9b31m",
    "\x1b]0;title\x07",
    ":smile:",
    "a\r\nb",
    "\u202egnp",
    "[",
)
SGR = re.compile(r"\x1b\[[0-9;]*m")


def on_screen(*shown: Any, colours: str | None = None, width: int = 80) -> str:
    """What ``shown`` writes to a terminal."""
    file = StringIO()
    screen = Screen(file=file, width=width, height=24, force_terminal=True, color_system=colours)
    screen.print(*shown)
    return file.getvalue()


def obeyed(text: str) -> list[str]:
    """The control characters in ``text``, but for line ends and rich's colours."""
    return [char for char in SGR.sub("", text) if char != "\n" and (ord(char) < 32 or 127 <= ord(char) < 160)]


def table_of(*cells: Any) -> Table:
    table = Table("a")
    for cell in cells:
        table.add_row(cell)
    return table


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("shape", [str, Text, ShownText, table_of, lambda text: table_of(Text(text))])
def test_no_shape_of_a_text_is_obeyed(hostile: str, shape: Callable[[str], Any]) -> None:
    plain = on_screen(shape(hostile))
    assert obeyed(plain) == []
    assert obeyed(on_screen(shape(hostile), colours="truecolor")) == []
    if "[" in hostile and hostile.isprintable():
        assert hostile in plain


def test_words_stay_words_when_they_are_joined_and_put_together() -> None:
    parts = ShownText.assemble("a\x1b", ("b\x9b", "red"), Text("c"))
    joined = ShownText(", ").join([parts, ShownText("d\x07")])
    assert (parts.plain, joined.plain) == ("a\\x1bb\\x9bc", "a\\x1bb\\x9bc, d\\x07")
    assert isinstance(joined.append("\x1b"), ShownText)
    assert joined.plain.endswith("\\x1b")


def test_colours_of_our_own_are_written() -> None:
    assert "\x1b[31mbad\x1b[0m" in on_screen(ShownText("bad", "red"), colours="standard")


WORDS = st.one_of(st.text(max_size=60), st.sampled_from(HOSTILE))


def spoiled(value: Any, words: Callable[[], str]) -> Any:
    """``value`` with other words in the place of all texts that a peer, a file or an earlier release may have said."""
    if isinstance(value, dict):
        return {key: part if key == "role" else spoiled(part, words) for key, part in value.items()}
    if isinstance(value, list):
        return [spoiled(part, words) for part in value]
    return words() if isinstance(value, str) else value


GAME = {"game_id": "g", "team_a": "a", "team_b": "b", "team_a_odds": 1.5, "team_b_odds": 2.5, "tie_odds": None}
VERDICT = {"at": "2026-01-01T00:00:00Z", "peer": "5x", "prediction_id": "p", "game_id": "g", "outcome": "o"}
VIEWS: dict[str, Callable[[Screen, Any, int], Any]] = {
    "top": lambda screen, status, _: views.top_view(screen, status),
    "peers": lambda _, status, width: views.peers_table(status, width),
    "headline": lambda _, status, width: views.headline(status, width),
    "games": lambda _, status, width: views.games_table(status["slates"][0], width),
    "moving": lambda _, status, width: views.moving_slate(status, {}, 5, width),
    "history": lambda _, status, width: views.history_table(status["history"], width),
    "counts": lambda _, status, width: views.verdict_counts({status["hotkey"]: 1}, width),
    "legend": lambda _, status, __: views.peers_legend(status),
}


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([80, 120, views.WIDE]), st.sampled_from(sorted(VIEWS)))
def test_no_view_fails_or_obeys_whatever_a_status_says(data: st.DataObject, width: int, name: str) -> None:
    status = status_of(
        3,
        notices=["n"],
        endpoint_doubt="d",
        feed_fault="f",
        withheld={"count": 1, "first": [{"game_id": "g", "reason": "r"}]},
        skipped_rows={"metagraph": {"count": 1, "file": "m", "first": ["f"]}},
        fallbacks={"cause": 1},
        troubles={"failed_commits": 1},
        handlers={"h": {"failures": 1, "dropped": 0, "waiting": 0, "last": "l"}},
        slates=[{"validator": "5v", "offset": 1, "games": [GAME | {"event_start_date": "2026-01-01T00:00:00Z"}]}],
        history=[VERDICT | {"wager": "1", "code": "accepted", "proof": "signature", "message": "m"}],
    )
    spoilt = spoiled(status, lambda: data.draw(WORDS))
    file = StringIO()
    screen = Screen(file=file, width=width, height=24, force_terminal=width < views.WIDE, color_system="standard")
    screen.print(VIEWS[name](screen, spoilt, width))
    assert obeyed(file.getvalue()) == []


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["signature", "stats", "code", "message", "reason", "prediction", "data", "body", "connection", "results", "x"]
)


@settings(max_examples=200, deadline=None)
@given(WORDS, st.dictionaries(st.one_of(NAMES, WORDS), JSON, max_size=5))
def test_no_row_of_a_log_fails_or_breaks_its_line(topic: str, fields: dict[str, Any]) -> None:
    import msgspec

    row = Row(1, 1, Micros(0), Micros(0), (), topic, msgspec.json.encode(fields), "log")
    for whole in (True, False):
        shown = log_text.line(row, whole=whole)
        assert "\n" not in shown
    abridged = log_text.abridged(log_text.plain(row))
    assert obeyed("".join(abridged)) == []


def test_every_view_draws_here() -> None:
    folder = Path(views.__file__).parent
    texts = {file.name: file.read_text() for file in folder.glob("*.py") if file.name != "screen.py"}
    assert [name for name, text in texts.items() if "rich.text" in text or re.search(r"\bConsole\(", text)] == []
