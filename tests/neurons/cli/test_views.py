"""What operators see fits their terminal, without one thing that matters being cut off."""

import re
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bettensor.actors.monitor import MonitorActor
from bettensor.bus.codes import RefusalCode
from bettensor.bus.events import (
    MetagraphSynced,
    NeuronInfo,
    NeuronStarted,
    PeerRefused,
    SessionActivated,
    StatusReported,
    StatusRequested,
)
from bettensor.bus.identifiers import ConnectionId, SessionId, Uid
from bettensor.bus.text import printable
from bettensor.neurons.cli import views
from bettensor.neurons.cli.demo import Demo, demo_view
from tests.support import NETUID, Harness, make_hotkey

ME = make_hotkey("me")


def status_of(miners: int, refused: int = 1, **changes: Any) -> dict[str, Any]:
    """What a validator says that knows so many miners, half of them connected."""
    bench = Harness(MonitorActor())
    neurons = [NeuronInfo(Uid(n + 1), make_hotkey(f"miner{n}")) for n in range(miners)]
    bench.observe(NeuronStarted("validator", NETUID, ME, "sr25519", 0))
    bench.observe(MetagraphSynced((NeuronInfo(Uid(0), ME, axon="10.0.0.1:8091"), *neurons)))
    for n, neuron in enumerate(neurons[: miners // 2]):
        bench.observe(SessionActivated(ConnectionId(n + 1), neuron.hotkey, neuron.uid, SessionId("5" * 32)))
    for n, neuron in enumerate(neurons[miners - refused :]):
        refusal = PeerRefused(ConnectionId(1000 + n), RefusalCode.STALE, "signed 60 s ago", "10.0.0.9", neuron.hotkey)
        bench.observe(refusal)
    bench.observe(StatusRequested(1))
    status: dict[str, Any] = bench.last(StatusReported).status
    recent = [{"seq": n, "at": n, "topic": f"event_{n}", "text": ""} for n in range(100)]
    return status | {"events": {f"event_{n}": n for n in range(50)}, "recent": recent} | changes


def drawn(view: Any, width: int, height: int) -> list[str]:
    """The lines of what ``view`` makes of a terminal of this size."""
    file = StringIO()
    screen = Console(file=file, width=width, height=height, force_terminal=True, color_system=None, highlight=False)
    screen.print(view(screen))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (160, 50)])
@pytest.mark.parametrize("miners", [2, 40])
def test_top_fills_the_terminal_and_no_more(size: tuple[int, int], miners: int) -> None:
    lines = drawn(lambda screen: views.top_view(screen, status_of(miners)), *size)
    assert size[1] - 2 <= len(lines) <= size[1]
    assert "event_99" in lines[-2]
    assert lines[-1].startswith(" q  quit")
    assert any(
        re.fullmatch(r"UID +hotkey +state +for +last m(essage|sg) +latency +offset +acc\S+ +rej\S+ *", line)
        for line in lines
    )
    assert any(re.match(r" +1 +5miner\S+ +connected +0\.0 s +0\.0 s", line) for line in lines)
    assert any("→ its clock or this machine's is wrong" in line for line in lines)
    assert miners == 2 or any("more: `bettensor peers` shows all" in line for line in lines)


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
    screen = Console(file=file, width=views.WIDE, highlight=False)
    screen.print(views.top_view(screen, status_of(3)))
    assert max(len(line.rstrip()) for line in file.getvalue().splitlines()) < 130


def test_a_handler_that_hangs_is_a_trouble() -> None:
    score = {"waiting": 1, "failures": 0, "dropped": 0, "busy_s": 34.0}
    lines = drawn(lambda _: views.troubles(status_of(1, handlers={"m:hang": score})), 120, 24)
    assert lines == ["m:hang: 0 failures, 1 events wait for it, 0 dropped; busy with one event for 34.0 s"]
    assert views.troubles(status_of(1, handlers={"m:hang": score | {"busy_s": 1.0}})) is None


def test_who_is_not_registered_or_is_looked_for_elsewhere_is_told_in_top() -> None:
    doubted = status_of(1, registered=False, endpoint_doubt="miners look elsewhere: correct it")
    lines = drawn(lambda _: views.troubles(doubted), 400, 24)
    assert "is not in the metagraph: register this hotkey" in lines[0]
    assert lines[1] == "miners look elsewhere: correct it"


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
        *(f"game 'g{n}' is not offered: null" for n in range(5)),
        "... 30 games are not offered in all; the first 5 are shown",
        "a row of the blacklist is wrong: b.yaml: hotkeys.0: \\x1b",
    ]
    assert drawn(lambda _: views.troubles(wrong), 400, 24) == views.file_faults(wrong)
    nameless = status_of(1, withheld={"count": 1, "first": first[-1:]})
    assert views.file_faults(nameless) == ["a game without an id is not offered: 7"]
    assert views.file_faults(status_of(1)) == []


@pytest.mark.parametrize("size", [(77, 17), (80, 24), (120, 40)])
def test_the_demo_fills_the_terminal_and_its_keys_are_the_last_line(tmp_path: Path, size: tuple[int, int]) -> None:
    demo = Demo(tmp_path, 3)
    games = [
        {
            "game_id": str(n),
            "team_a": "A" * 30,
            "team_b": "B" * 30,
            "team_a_odds": 12.5,
            "team_b_odds": 1.1,
            "tie_odds": n,
        }
        for n in range(20)
    ]
    demo.validator.last_status = status_of(3, slates=[{"games": games}])
    demo.miners[0].websocket = False
    lines = drawn(lambda screen: demo_view(demo, 3.0, 60.0, screen), *size)
    assert len(lines) == size[1]
    assert lines[-1].rstrip().endswith("quit")
    assert any(line.startswith("▶  miner-1") for line in lines)
    assert any("▲ 12.50" in line or "12.50" in line for line in lines)


@pytest.mark.parametrize(("size", "needs"), [((20, 5), "77 columns"), ((76, 24), "77 columns"), ((77, 16), "17 lines")])
def test_where_there_is_no_room_for_the_demo_it_says_what_it_needs(
    size: tuple[int, int], needs: str, tmp_path: Path
) -> None:
    lines = drawn(lambda screen: demo_view(Demo(tmp_path, 3), 3.0, 60.0, screen), *size)
    told = " ".join(line.strip() for line in lines)
    assert told == f"This view needs {needs}. Make the terminal larger; q ends the demo."


@pytest.mark.parametrize("width", [80, 96, 100, 110, 160])
def test_whatever_has_happened_to_a_miner_its_figures_can_be_read(width: int, tmp_path: Path) -> None:
    demo = Demo(tmp_path, 2)
    miner = demo.miners[1]
    miner.last_status = status_of(2, latency_ms={"p50": 10.5, "p99": 123.4})
    miner.codes.update({"accepted": 1234, "conflict": 5678, None: 246})
    miner.dead_since, miner.websocket = time.monotonic(), False
    lines = drawn(lambda screen: demo_view(demo, 3.0, 60.0, screen), width, 40)
    (row,) = [line for line in lines if "miner-2" in line]
    assert all(text in row for text in (" down ", "7158", " 246 ", "1234", "5678", "10.5 ms", "123.4 ms", "killed"))


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
    heads = " ".join(lines[:2] if width < views.GAMES else lines[:1]).split()
    assert [head for head in heads if head in ("home", "away", "tie", "odds")] == (
        ["home", "away", "odds", "odds", "tie"]
        if width < views.GAMES
        else ["home", "away", "home", "odds", "away", "odds", "tie", "odds"]
    )
    assert "…" not in shown


@pytest.mark.parametrize("width", [80, 100, 120, 160, 200])
def test_verdicts_are_shown_with_all_of_their_ids(width: int) -> None:
    ids = {"peer": "peer", "prediction_id": "0123456789abcdef" * 2, "game_id": GAME}
    judged = {"outcome": "Wolverhampton Wanderers", "wager": 2.5, "code": "daily_limit_exceeded"}
    why = "wagered today 999.5, attempted 2.5, and the limit is 1000"
    verdict = {"at": "2026-12-01T18:00:00.000000Z", "message": why} | ids | judged
    lines = drawn(lambda screen: views.history_table([verdict], screen.width), width, 24)
    shown = "\n".join(lines)
    assert all(text in shown for text in ("12-01 18:00:00", "peer", "0123456789abcdef" * 2, *map(str, judged.values())))
    assert "…" not in shown
    assert lines[-1].strip() == "1 prediction, 2026-12-01"


@pytest.mark.parametrize("width", [100, 200])
@pytest.mark.parametrize("nasty", ["[/red]", "[bold]", "\x1b[2J", "\u202e", "\r"])
def test_what_peers_say_is_shown_as_it_is_and_does_nothing(nasty: str, width: int) -> None:
    verdict = {"at": "2026-12-01T18:00:00Z", "peer": "peer", "prediction_id": "p", "code": "missing_data"}
    verdict |= {"game_id": nasty, "outcome": nasty, "wager": nasty, "message": nasty}
    odds = {"team_a_odds": 1.6, "team_b_odds": 12.5, "tie_odds": None}
    game = {"game_id": nasty, "event_start_date": "2026-12-01T18:00:00Z", "team_a": nasty, "team_b": nasty} | odds
    status = status_of(2, slates=[{"games": [game]}])
    status["peers"][0]["trouble"] = nasty
    status["recent"][-1]["text"] = nasty
    for view in (
        lambda screen: views.history_table([verdict], screen.width),
        lambda screen: views.games_table({"games": [game]}, screen.width),
        lambda screen: views.moving_slate(status, {}, 3, screen.width),
        lambda screen: views.peers_table(status, screen.width),
        lambda screen: views.top_view(screen, status),
    ):
        shown = "\n".join(drawn(view, width, 40))
        assert shown.replace("\n", "").isprintable()
        assert printable(nasty) in shown
