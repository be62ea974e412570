"""What operators see fits their terminal, without one thing that matters being cut off."""

import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.text import printable, short
from bettensor.neurons.cli import views
from bettensor.neurons.cli.screen import Screen
from tests.neurons.cli.drawing import ME, drawn, status_of
from tests.support import make_hotkey


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (160, 50)])
@pytest.mark.parametrize("miners", [2, 40])
def test_top_fills_the_terminal_and_no_more(size: tuple[int, int], miners: int) -> None:
    lines = drawn(lambda screen: views.top_view(screen, status_of(miners)), *size)
    assert size[1] - 2 <= len(lines) <= size[1]
    assert max(map(len, lines)) <= size[0]
    assert "event_99" in lines[-3]
    assert lines[-2].startswith("for: time connected; last message: ")
    assert lines[-1].startswith(" q  quit   offset: number of the last game update ")
    assert any(
        re.fullmatch(r"UID +hotkey +state +for +last m(essage|sg) +latency +offset +acc\S+ +rej\S+ *", line)
        for line in lines
    )
    assert any(re.match(r" +1 +5miner\S+ +connected +0\.0 s +0\.0 s", line) for line in lines)
    assert any("→ its clock or this machine's is wrong" in line for line in lines)
    assert miners == 2 or any("more: `bettensor peers` shows all" in line for line in lines)


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (80, 12), (100, 30)])
def test_many_troubles_leave_room_for_all_else(size: tuple[int, int]) -> None:
    first = [{"game_id": f"mlb-2026-12-01-game-{n}", "reason": "team_a_odds: expected a number " * 2} for n in range(5)]
    status = status_of(3, withheld={"count": 5, "first": first}, registered=False)
    lines = drawn(lambda screen: views.top_view(screen, status), *size)
    assert len(lines) == size[1]
    assert lines[-1].startswith(" q  quit ")
    assert any("more: `bettensor top | cat` lists all" in line for line in lines)
    assert any(line.startswith("peers ") for line in lines)
    titles = [n for n, line in enumerate(lines) if line.startswith(("trouble ", "peers ", "last events", "verdict "))]
    assert all(lines[n + 1].strip() for n in titles)
    assert size[1] < 24 or "event_99" in lines[-3]


def test_top_has_no_title_without_rows() -> None:
    quiet = status_of(2, events={}, recent=[])
    shown = "\n".join(drawn(lambda screen: views.top_view(screen, quiet), 80, 24))
    assert "verdict  count" not in shown
    assert "event  total" not in shown
    assert "last events" not in shown


def test_the_legend_of_the_peers_names_the_side_that_has_the_updates() -> None:
    status = status_of(2)
    assert views.peers_legend(status).endswith("the last game update that the miner reported")
    legend = views.peers_legend(status | {"role": "miner"})
    assert legend.endswith("the last game update received from the validator")
    assert max(map(len, legend.splitlines())) <= 80


def test_peers_with_long_figures_fit_120_columns() -> None:
    status = status_of(3)
    for peer in status["peers"]:
        peer |= {"offset": 12345678, "latency_ms": 123.4, "since_s": 59.9, "heard_s": 59.9, "accepted": 12345678}
    lines = drawn(lambda screen: views.peers_table(status, screen.width), 120, 24)
    assert sum("12345678  12345678" in line.replace("   ", "  ") for line in lines) == 3
    assert "last message" in lines[0]


def test_what_keeps_a_peer_away_goes_on_below_itself() -> None:
    status = status_of(2)
    status["peers"][0] |= {"trouble": "a reason " * 12, "trouble_s": 3.0, "cure": "a cure " * 20}
    lines = drawn(lambda screen: views.peers_table(status, screen.width), 80, 24)
    begin = next(n for n, line in enumerate(lines) if "a reason" in line)
    assert [line[:16].strip() for line in lines[begin + 1 : begin + 4]] == [""] * 3
    assert lines[begin + 2][16] == "→"


def test_without_a_terminal_lines_are_no_longer_than_what_they_say() -> None:
    file = StringIO()
    screen = Screen(file=file, width=views.WIDE)
    screen.print(views.top_view(screen, status_of(3)))
    assert max(len(line.rstrip()) for line in file.getvalue().splitlines()) < 150


def test_without_a_terminal_every_address_is_whole() -> None:
    file = StringIO()
    screen = Screen(file=file, width=views.WIDE)
    status = status_of(3)
    screen.print(views.headline(status, screen.width))
    screen.print(views.peers_table(status, screen.width))
    assert file.getvalue().count("…") == 0
    assert file.getvalue().count(status["hotkey"]) == 1
    for peer in status["peers"]:
        assert peer["hotkey"] in file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_every_address_has_the_same_short_form(width: int) -> None:
    shown = "\n".join(drawn(lambda screen: views.top_view(screen, status_of(3)), width, 40))
    assert re.findall(r"5\w{5,}", shown.replace(short(ME), "").replace("…", "")) != []
    assert set(re.findall(r"5[a-z0]\S*", shown)) == {short(ME), *(short(make_hotkey(f"miner{n}")) for n in range(3))}


@pytest.mark.parametrize("width", [80, 120])
def test_a_headline_breaks_between_two_of_its_parts(width: int) -> None:
    metagraph = {"source": "chain", "block": 12345678, "age_s": 75.0}
    status = status_of(2, latency_ms={"p50": 10.5, "p99": 123.4}, metagraph=metagraph, uptime_s=86_400.0)
    lines = drawn(lambda _: views.headline(status, width), width, 24)
    assert max(map(len, lines)) <= width
    assert [line for line in lines if line.startswith(" ")] == []
    assert "metagraph of block 12345678, 1 min old" in "\n".join(lines)
    assert "p99 123.4 ms" in "\n".join(lines)


def lines_of_troubles(**changes: Any) -> list[str]:
    troubles = views.troubles(status_of(1, **changes))
    return [] if troubles is None else troubles.plain.splitlines()


def test_a_handler_that_hangs_is_a_trouble() -> None:
    score = {"waiting": 1, "failures": 0, "dropped": 0, "busy_s": 34.0}
    assert lines_of_troubles(handlers={"m:hang": score}) == [
        "m:hang: 0 failures, 1 event waiting for it, 0 dropped; busy with one event for 34.0 s"
    ]
    assert lines_of_troubles(handlers={"m:hang": score | {"busy_s": 1.0}}) == []


FAILED = {"waiting": 0, "failures": 2, "dropped": 0, "busy_s": 0.0}
OLD = views.OVER + 1.0


def test_a_trouble_says_how_long_ago_it_was_and_is_forgotten() -> None:
    counts = {"commit_failed": 2, "clock_stepped": 1, "chain_failed": 9}
    ages = {"commit_failed": 300.0, "clock_stepped": 4.0, "chain_failed": OLD}
    assert lines_of_troubles(troubles=counts, last_s=ages) == [
        "commit failed 2 times, last 5 min ago",
        "clock stepped once, 4.0 s ago",
    ]
    fell = {"fallbacks": {"no_connection": 2, "disabled": 1}}
    assert lines_of_troubles(**fell, last_s={"no_connection": 120.0, "disabled": OLD}) == [
        "fell back to HTTP 2 times, last 2 min ago: no connection"
    ]
    assert lines_of_troubles(handlers={"m:f": FAILED}, last_s={"m:f": 180.0}) == [
        "m:f: 2 failures, 0 events waiting for it, 0 dropped, last 3 min ago"
    ]
    assert lines_of_troubles(handlers={"m:f": FAILED}, last_s={"m:f": OLD}) == []
    waiting = FAILED | {"waiting": views.MANY_WAITING}
    assert len(lines_of_troubles(handlers={"m:f": waiting}, last_s={"m:f": OLD})) == 1


def test_a_neuron_of_an_earlier_release_says_no_times() -> None:
    status = status_of(1, troubles={"commit_failed": 2}, handlers={"m:f": FAILED})
    del status["last_s"]
    troubles = views.troubles(status)
    assert troubles is not None
    assert troubles.plain.splitlines() == [
        "commit failed 2 times",
        "m:f: 2 failures, 0 events waiting for it, 0 dropped",
    ]


def test_who_is_not_registered_or_is_looked_for_elsewhere_is_told_in_top() -> None:
    doubted = status_of(1, registered=False, endpoint_doubt="miners look elsewhere: correct it")
    lines = drawn(lambda _: views.troubles(doubted), 400, 24)
    assert "is not in the metagraph: register this hotkey" in lines[0]
    assert lines[1] == "miners look elsewhere: correct it"


def test_a_failure_that_lasts_is_told_in_top() -> None:
    failing = status_of(1, notices=["the outbox cannot be written, so predictions wait: disk full"])
    assert drawn(lambda _: views.troubles(failing), 400, 24) == failing["notices"]
    earlier = status_of(1)
    del earlier["notices"]  # of a neuron that still runs the release before
    assert views.troubles(earlier) is None


def test_top_tells_what_keeps_this_neuron_apart_and_advises_no_registration_before_the_metagraph_is_read() -> None:
    unread = status_of(1, registered=None, uid=None, notices=["this validator has not read the metagraph yet: \x1b"])
    assert drawn(lambda _: views.troubles(unread), 400, 24) == [r"this validator has not read the metagraph yet: \x1b"]
    assert "(UID unknown)" in views.headline(unread, 120).plain
    assert "(not registered)" in views.headline(status_of(1, registered=False, uid=None), 120).plain


def test_what_is_wrong_in_the_operators_files_is_a_trouble() -> None:
    first = [{"game_id": f"g{n}", "reason": "null"} for n in range(6)] + [{"game_id": "", "reason": "7"}]
    wrong = status_of(
        1,
        feed_fault="games.json: not JSON",
        withheld={"count": 30, "first": first},
        skipped_rows={"blacklist": {"file": "b.yaml", "count": 1, "first": ["hotkeys.0: \x1b"]}},
        registered=True,
    )
    assert views.file_faults(wrong) == [
        "the games cannot be read, so the last good slate, if any, stays: games.json: not JSON",
        *(f"game 'g{n}' is withheld: null" for n in range(5)),
        "... 30 games are withheld in all; the first 5 are shown",
        "a row of the blacklist is wrong: b.yaml: hotkeys.0: \\x1b",
    ]
    assert drawn(lambda _: views.troubles(wrong), 400, 24) == views.file_faults(wrong)
    nameless = status_of(1, withheld={"count": 1, "first": first[-1:]})
    assert views.file_faults(nameless) == ["a game without an id is withheld: 7"]
    assert views.file_faults(status_of(1)) == []


GAME = "nfl-2024-09-08-tampa-bay-buccaneers-washington-commanders"
TEAMS = {"team_a": "Tampa Bay Buccaneers", "team_b": "Washington Commanders"}


@pytest.mark.parametrize("width", [80, 100, 120, 160, 200])
def test_the_slate_shows_all_that_a_prediction_must_name(width: int) -> None:
    odds = {"team_a_odds": 1.6, "team_b_odds": 12.5, "tie_odds": None}
    game = {"game_id": GAME, "event_start_date": "2026-12-01T18:00:00Z"} | TEAMS | odds
    lines = drawn(lambda screen: views.games_table({"games": [game]}, screen.width), width, 24)
    shown = "".join(lines).replace(" ", "")
    assert all(text.replace(" ", "") in shown for text in (*TEAMS.values(), "1.60", "12.50", "12-01 18:00"))
    assert GAME in re.sub(r"[^\w-]", "", "".join(line[:60] for line in lines if not line.startswith("Tampa")))
    first, second, *_ = lines
    if width < views.GAMES:
        assert [first.split(), second.split()] == [
            ["home", "-", "away", "home", "away"],
            ["game", "odds", "odds", "tie", "starts", "(UTC)"],
        ]
    else:
        assert first.split("  ")[0] == "game"
        assert first.split()[1:] == ["home", "away", "home", "odds", "away", "odds", "tie", "odds", "starts", "(UTC)"]
    assert "…" not in shown


def verdict(**changes: Any) -> dict[str, Any]:
    ids = {"peer": make_hotkey(), "prediction_id": "0123456789abcdef" * 2, "game_id": GAME}
    judged = {"outcome": "Wolverhampton Wanderers", "wager": 2.5, "code": "daily_limit_exceeded", "message": WHY}
    return {"at": "2026-12-01T18:00:00.000000Z", "proof": "signature"} | ids | judged | changes


WHY = "wagered today 999.5, attempted 2.5, and the limit is 1000"
ACCEPTED = verdict(code="accepted", message="")


@pytest.mark.parametrize("width", [80, 100, 120, 160, 180, 200, views.WIDE])
@pytest.mark.parametrize("found", [[verdict()], [ACCEPTED], [ACCEPTED, verdict(), ACCEPTED]])
def test_a_verdict_is_one_line_under_a_header_that_names_each_column(width: int, found: list[dict[str, Any]]) -> None:
    head, _, *rows, caption = drawn(lambda screen: views.history_table(found, screen.width, "miner"), width, 24)
    assert max(map(len, (head, *rows, caption))) <= width
    assert len(rows) == len(found)
    columns = [name for name in re.split(r"\s{2,}", head.strip()) if name]
    missing = [name for name in ("game", "reason") if name not in columns and name in caption]
    in_full = ["time (UTC)", "miner", "prediction", "outcome", "wager", "verdict"]
    assert [name for name in columns if name not in ("game", "reason")] == in_full
    assert ("reason" in columns or "reason" in missing) == (any(v["message"] for v in found) or width == views.WIDE)
    assert ("game" in columns) != ("game" in missing)
    for row, shown in zip(rows, found, strict=True):
        assert all(text in row for text in ("12-01 18:00:00", shown["prediction_id"][:8], " 2.5  ", shown["code"]))


def test_what_proves_whose_a_prediction_is_has_a_column_if_it_is_not_always_the_signature() -> None:
    def head(*found: dict[str, Any], width: int = views.WIDE) -> list[str]:
        return drawn(lambda screen: views.history_table(found, screen.width, "miner"), width, 24)

    assert "proof" not in head(ACCEPTED)[0]
    assert "proof" not in head(ACCEPTED | {"proof": None})[0], "an outbox"
    lines = head(ACCEPTED, ACCEPTED | {"proof": "endpoint"}, width=160)
    assert "proof" in lines[0]
    assert "endpoint" in lines[3]
    narrow = " ".join(line.strip() for line in head(verdict(proof="endpoint"), width=80))
    assert "proof, game and reason: in a wider terminal, or with --json" in narrow


def test_in_a_pipe_a_verdict_is_whole() -> None:
    found = [verdict(message=WHY * 5, proof="imported"), ACCEPTED]
    _, _, *rows, _ = drawn(lambda screen: views.history_table(found, screen.width, "miner"), views.WIDE, 24)
    for row, shown in zip(rows, found, strict=True):
        for name, value in shown.items():
            assert (str(value) if name != "at" else "2026-12-01 18:00:00") in row


def test_dates_without_their_year_are_all_of_the_year_below() -> None:
    found = [ACCEPTED, ACCEPTED | {"at": "2026-12-31T23:59:59.000000Z"}]
    lines = drawn(lambda screen: views.history_table(found, screen.width), 80, 24)
    assert lines[2].startswith("12-01 18:00:00 ")
    below = [line.strip() for line in lines[4:]]
    game = "; game and reason: in a wider terminal, or with --json"
    assert " ".join(below) == f"2 predictions, 2026-12-01 to 2026-12-31{game}".replace("game and reason", "game")
    found.append(ACCEPTED | {"at": "2027-01-01T00:00:00.000000Z"})
    assert drawn(lambda screen: views.history_table(found, screen.width), 80, 24)[2].startswith("2026-12-01 18:00:00 ")


def test_no_verdicts_are_a_header() -> None:
    lines = drawn(lambda screen: views.history_table([], screen.width), 80, 24)
    assert [line.strip() for line in lines[2:]] == ["0 predictions"]


def test_what_a_peer_made_long_takes_no_second_line() -> None:
    long = verdict(wager="9" * 500, outcome="o" * 500, game_id="g" * 500)
    for width in (80, 120):
        lines = drawn(lambda screen: views.history_table([long], screen.width), width, 24)
        assert (len(lines), max(map(len, lines)) <= width) == (4, True)


NEURONS = [(Path("/srv/v"), status_of(1)), (Path("/srv/" + "long" * 8), status_of(1))]


@pytest.mark.parametrize("width", [80, 120])
def test_running_neurons_are_one_line_each_and_long_folders_displace_figures(width: int) -> None:
    lines = drawn(lambda screen: views.neurons_table(NEURONS, screen.width), width, 24)
    assert (len(lines), max(map(len, lines)) <= width) == (4, True)
    assert ("sessions" in lines[0]) == (width == 120)
    assert lines[3].rstrip().endswith("/srv/" + "long" * 8)


@pytest.mark.parametrize("width", [100, 200])
@pytest.mark.parametrize("nasty", ["[/red]", "[bold]", "\x1b[2J", "\u202e", "\r"])
def test_what_peers_say_is_shown_as_it_is_and_does_nothing(nasty: str, width: int) -> None:
    odd = verdict(code="missing_data", game_id=nasty, outcome=nasty, wager=nasty, message=nasty)
    odds = {"team_a_odds": 1.6, "team_b_odds": 12.5, "tie_odds": None}
    game = {"game_id": nasty, "event_start_date": "2026-12-01T18:00:00Z", "team_a": nasty, "team_b": nasty} | odds
    status = status_of(2, slates=[{"games": [game]}])
    status["peers"][0]["trouble"] = nasty
    status["recent"][-1]["text"] = nasty
    for view in (
        lambda screen: views.history_table([odd], screen.width),
        lambda screen: views.games_table({"games": [game]}, screen.width),
        lambda screen: views.moving_slate(status, {}, 3, screen.width),
        lambda screen: views.peers_table(status, screen.width),
        lambda screen: views.top_view(screen, status),
    ):
        shown = "\n".join(drawn(view, width, 40))
        assert shown.replace("\n", "").isprintable()
        assert printable(nasty) in shown


def synapse_status() -> dict[str, Any]:
    """Of a miner with a validator by Synapse, one that only asks, and a session."""
    status = status_of(6, refused=1, roads={"websocket": 3, "http": 0, "synapse": 1})
    status["peers"][3] |= {"state": "by Synapse", "transport": "synapse", "heard_s": 180.0, "asked_s": 180.0}
    status["peers"][4] |= {"state": "speaks Synapse", "asked_s": 7200.0}
    return status


@pytest.mark.parametrize("width", [80, 120])
def test_who_speaks_synapse_is_no_trouble(width: int) -> None:
    lines = drawn(lambda screen: views.peers_table(synapse_status(), screen.width), width, 40)
    shown = "\n".join(lines)
    assert max(len(line.rstrip()) for line in lines) <= width
    states = [line.split()[2:4] for line in lines if "Synapse" in line and "asked" not in line]
    assert states == [["by", "Synapse"], ["speaks", "Synapse"]]
    assert "speaks Synapse (asked us 3 min ago)" in shown
    assert "speaks Synapse (asked us 2 h ago)" in shown
    assert shown.count("→") == 1  # of the one that was refused
    short_of_room = "\n".join(drawn(lambda screen: views.peers_table(synapse_status(), screen.width, 7), width, 40))
    assert ("→" in short_of_room, "asked us" in short_of_room) == (True, False)


@pytest.mark.parametrize("width", [80, 120])
def test_the_headline_counts_who_is_heard_by_synapse(width: int) -> None:
    lines = drawn(lambda screen: views.headline(synapse_status(), screen.width), width, 24)
    assert "3 sessions 1 by Synapse" in " ".join(" ".join(lines).split())
    assert "Synapse" not in "".join(drawn(lambda screen: views.headline(status_of(2), screen.width), width, 24))


def test_a_state_of_another_release_is_shown_last() -> None:
    status = status_of(2)
    status["peers"][0]["state"] = "by pigeon"
    lines = drawn(lambda screen: views.peers_table(status, screen.width), 120, 24)
    assert "by pigeon" in next(
        line for line in lines if line.strip() and line.split()[0] == str(status["peers"][0]["uid"])
    )
