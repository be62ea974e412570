"""The control socket: what is asked wrongly harms nothing, and an answer says what has happened."""

import asyncio
import errno
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.errors import ConfigurationError, Unavailable
from bettensor.bus.events import (
    GamesUpdated,
    KnownSlate,
    OutboxOpened,
    PredictionMade,
    StatusReported,
    StatusRequested,
)
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import Epoch, GameId, Offset
from bettensor.bus.text import short
from bettensor.neurons.edges import control
from bettensor.neurons.edges.control import MAX_LINE, PORTION, Control, socket_address
from bettensor.neurons.edges.edge import StateDir
from bettensor.neurons.edges.handlers import UserHandlers
from tests.support import Injected, make_game, make_hotkey

PATIENCE = 10.0


class Bench:
    """A miner's control socket, with these games by validator."""

    def __init__(self, state_dir: Path, slates: dict[str, TeamGame]) -> None:
        self.state_dir = state_dir
        self.bus = EventBus(SystemClock())
        self.made: list[Any] = []
        self.bus.subscribe(PredictionMade, lambda event, _: self.made.append(event), "test")
        status: dict[str, Any] = {"role": "miner", "uid": None, "handlers": {}}
        self.peers: list[dict[str, str]] = []
        status["peers"] = self.peers
        self.bus.subscribe(
            StatusRequested, lambda event, _: self.bus.publish(StatusReported(event.request, status)), "test"
        )
        self.bus.subscribe(Injected, lambda event, _: self.bus.publish(event.decision), "test")
        self.control = Control(StateDir(state_dir), UserHandlers(), self, SystemClock())
        self.control.attach(self.bus)
        for name, game in slates.items():
            self.offer(name, game)

    def offer(self, validator: str, *games: TeamGame, snapshot: bool = True) -> None:
        update = GamesUpdated(make_hotkey(validator), Epoch("e" * 32), Offset(7), games, snapshot)
        self.bus.publish(Injected(update))

    def request_stop(self, reason: str) -> None:
        """As a neuron has it."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        with socket_address(self.state_dir) as address:
            return await asyncio.open_unix_connection(address, limit=16 * MAX_LINE)

    async def ask(self, line: bytes) -> Any:
        reader, writer = await self.connect()
        writer.write(line + b"\n")
        async with asyncio.timeout(PATIENCE):
            answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return json.loads(answer or b"null")


@asynccontextmanager
async def controlled(state_dir: Path, **slates: TeamGame) -> AsyncIterator[Bench]:
    bench = Bench(state_dir, slates)
    await bench.control.open()
    yield bench
    await bench.control.close()


@pytest.mark.parametrize(
    "line",
    [b"[" * 50_000, b'{"ask": "predict", "game": "g", "outcome": "x", "wager": 1' + b"0" * 400 + b"}", b"\xff"],
    ids=["nested without end", "a wager beyond all numbers", "no text"],
)
async def test_whatever_is_asked_is_answered(tmp_path: Path, line: bytes) -> None:
    async with controlled(tmp_path) as bench:
        assert "expected" in (await bench.ask(line))["error"]


async def test_an_outcome_that_one_validator_does_not_know_is_a_bet_with_none(tmp_path: Path) -> None:
    async with controlled(tmp_path, one=make_game("g"), other=make_game("g", team_b="Mets")) as bench:
        question = {"ask": "predict", "game": "g", "outcome": "New York Mets", "wager": 1}
        answer = await bench.ask(json.dumps(question).encode())
        assert "'New York Mets' is not an outcome of this game" in answer["error"]
        assert bench.made == []


@pytest.mark.parametrize("validator", [make_hotkey("one"), make_hotkey("one")[:4], short(make_hotkey("one"))])
async def test_a_validator_may_be_abbreviated(tmp_path: Path, validator: str) -> None:
    async with controlled(tmp_path, one=make_game("g"), other=make_game("g")) as bench:
        question = {"ask": "predict", "game": "g", "outcome": "New York Yankees", "wager": 1, "validator": validator}
        asking, writer = await bench.connect()
        writer.write(json.dumps(question).encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            while not bench.made:  # noqa: ASYNC110 - what is asked has no event before that
                await asyncio.sleep(0.002)
        assert [event.validator for event in bench.made] == [make_hotkey("one")]
        await bench.control.close()
        assert await asking.read() == b""
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("peers", "connected", "trouble"),
    [
        ([{"state": "connected", "trouble": ""}], True, ""),
        ([{"state": "by HTTP", "trouble": "an old one"}], True, ""),
        ([{"state": "not connected", "trouble": "refused"}], False, "refused"),
        ([{"state": "not seen", "trouble": ""}], False, "this miner has not reached it yet"),
        (
            [{"state": "by Synapse", "trouble": ""}],
            False,
            "it takes predictions when it asks for them over Synapse, every 8 minutes",
        ),
        ([], False, "it is not in the metagraph"),
    ],
)
async def test_who_asks_is_told_at_once_what_was_placed_and_which_prediction_has_no_verdict_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peers: list[dict[str, str]], connected: bool, trouble: str
) -> None:
    monkeypatch.setattr(control, "PATIENCE", 0.05)
    async with controlled(tmp_path, one=make_game("g")) as bench:
        bench.peers += [{"hotkey": make_hotkey("one")} | peer for peer in peers]
        question = {"ask": "predict", "game": "g", "outcome": "New York Yankees", "wager": 1, "placed": True}
        reader, writer = await bench.connect()
        writer.write(json.dumps(question).encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            placed, answer = [json.loads(await reader.readline()) for _ in range(2)]
        (made,) = bench.made
        named = {"validator": make_hotkey("one"), "prediction_id": made.prediction.prediction_id}
        assert placed == {"placed": [named | {"connected": connected, "trouble": trouble}]}
        assert answer == {"verdicts": [], "without_verdict": 1, "waiting": [named]}
        writer.close()
        await writer.wait_closed()


async def test_an_outcome_in_other_letters_is_refused_with_the_nearest(tmp_path: Path) -> None:
    async with controlled(tmp_path, one=make_game("g")) as bench:
        question = {"ask": "predict", "game": "g", "outcome": "NEW YORK YANKEES", "wager": 1}
        error = (await bench.ask(json.dumps(question).encode()))["error"]
        assert error == "'NEW YORK YANKEES' is not an outcome of this game; the nearest is 'New York Yankees'"


async def test_a_validator_that_is_none_or_has_not_the_game_is_told(tmp_path: Path) -> None:
    async with controlled(tmp_path, one=make_game("g"), other=make_game("h")) as bench:
        question = {"ask": "predict", "game": "h", "outcome": "New York Yankees", "wager": 1}
        for validator, error in (
            ("nobody", "no validator with a slate fits 'nobody'; expected one of '5one"),
            (
                make_hotkey("one"),
                f"validator {make_hotkey('one')} offers no game with the id 'h'; expected one of 'g';",
            ),
            ({"a": 1}, 'expected {"ask"'),
            (7, 'expected {"ask"'),
        ):
            answer = await bench.ask(json.dumps(question | {"validator": validator}).encode())
            assert answer["error"].startswith(error)
        assert bench.made == []


async def test_an_abbreviation_of_several_validators_is_a_bet_with_none(tmp_path: Path) -> None:
    async with controlled(tmp_path, one=make_game("g"), other=make_game("g")) as bench:
        question = {"ask": "predict", "game": "g", "outcome": "New York Yankees", "wager": 1, "validator": "5o"}
        answer = await bench.ask(json.dumps(question).encode())
        assert answer["error"].startswith("several validators fit '5o': 5one")
        assert bench.made == []


@pytest.mark.parametrize("line", [b'{"ask": "status"}', b'{"ask": "status", "slates": true}'])
async def test_a_status_has_the_games_of_all_slates(tmp_path: Path, line: bytes) -> None:
    async with controlled(tmp_path, one=make_game("a", team_a="Zoë's"), other=make_game("a")) as bench:
        many = [make_game(f"game-{number}", outcome=number) for number in range(2 * PORTION + 1)]
        bench.offer("other", *many, snapshot=False)
        bench.offer("empty")
        place = {"epoch": "e" * 32, "offset": 7}
        assert (await bench.ask(line))["slates"] == [
            {"validator": make_hotkey("one"), **place, "games": [make_game("a", team_a="Zoë's").to_dict()]},
            {"validator": make_hotkey("other"), **place, "games": [g.to_dict() for g in (make_game("a"), *many)]},
            {"validator": make_hotkey("empty"), **place, "games": []},
        ]


async def test_a_status_without_games_touches_none(tmp_path: Path) -> None:
    class Untouchable(dict[GameId, TeamGame]):
        def __iter__(self) -> Iterator[GameId]:
            raise AssertionError("a status must cost the same however many games there are")

        keys = values = items = __len__ = __iter__  # type: ignore[assignment]

    async with controlled(tmp_path, one=make_game("a")) as bench:
        (slate,) = bench.control._slates.values()  # noqa: SLF001 - all games that the edge knows
        slate.games = Untouchable(slate.games)
        assert "slates" not in await bench.ask(b'{"ask": "status", "slates": false}')


async def test_the_neuron_goes_on_while_a_status_with_games_is_written(tmp_path: Path) -> None:
    async with controlled(tmp_path) as bench:
        bench.offer("one", *(make_game(f"game-{number}") for number in range(20 * PORTION)))
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count())
        portions = [len(portion) async for portion in bench.control._status_with_slates()]  # noqa: SLF001 - its turns
        counting.cancel()
        assert turns >= 19
        assert max(portions) < 2 * PORTION * len(make_game("game-1").to_json())


async def test_slates_of_an_earlier_run_are_offered(tmp_path: Path) -> None:
    async with controlled(tmp_path) as bench:
        known = KnownSlate(make_hotkey("one"), Epoch("e" * 32), Offset(3), (make_game("a"),))
        bench.bus.publish(OutboxOpened((), (known,)))
        (slate,) = (await bench.ask(b'{"ask": "status"}'))["slates"]
        assert (slate["offset"], [game["game_id"] for game in slate["games"]]) == (3, ["a"])


async def test_who_is_still_connected_in_the_end_is_answered_nothing_more_and_leaves_no_task(tmp_path: Path) -> None:
    async with controlled(tmp_path, one=make_game("g")) as bench:
        others = asyncio.all_tasks()
        idle, writer = await bench.connect()
        asking, its_writer = await bench.connect()
        question = {"ask": "predict", "game": "g", "outcome": "New York Yankees", "wager": 1}
        its_writer.write(json.dumps(question).encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            while not bench.made:  # noqa: ASYNC110 - what is asked has no event before that
                await asyncio.sleep(0.002)
            await bench.control.pause()
            writer.write(b'{"ask": "status"}\n')
            assert await idle.read() == b""
            assert len(asyncio.all_tasks() - others) == 1  # a verdict may still come
            await bench.control.close()
            assert await asking.read() == b""
        assert asyncio.all_tasks() == others
        for end in (writer, its_writer):
            end.close()
            await end.wait_closed()


@pytest.mark.parametrize(("number", "kind"), [(errno.EACCES, ConfigurationError), (errno.ENOSPC, Unavailable)])
async def test_a_socket_that_cannot_be_made_is_told(
    tmp_path: Path, number: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(control, "_bind", refuse)
    bench = Bench(tmp_path, {})
    with pytest.raises(kind, match=rf"control\.sock: cannot create the control socket: .*{os.strerror(number)}"):
        await bench.control.open()


async def test_the_socket_is_its_owner_s_alone_without_a_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with controlled(tmp_path):
            assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) == 0o600
    finally:
        os.umask(before)


async def test_a_client_of_another_user_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with controlled(tmp_path) as bench:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        monkeypatch.setattr(control, "_ROOT", os.getuid() + 2)
        reader, writer = await bench.connect()
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
        writer.close()
        monkeypatch.undo()
        assert (await bench.ask(b'{"ask": "status"}'))["role"] == "miner"


def test_credentials_are_read_on_either_loop(tmp_path: Path) -> None:
    import uvloop

    async def ask() -> Any:
        async with controlled(tmp_path) as bench:
            return await bench.ask(b'{"ask": "status"}')

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(ask())["role"] == "miner"


async def test_more_clients_than_a_person_has_are_sent_away_and_a_silent_one_loses_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "MOST_CLIENTS", 2)
    monkeypatch.setattr(control, "DEADLINE", 0.2)
    async with controlled(tmp_path) as bench:
        silent = [await bench.connect() for _ in range(3)]
        async with asyncio.timeout(PATIENCE):
            for reader, _ in silent:
                assert await reader.read() == b""
        assert (await bench.ask(b'{"ask": "status"}'))["role"] == "miner"
        for _, writer in silent:
            writer.close()


async def test_a_client_that_does_not_read_its_answer_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "DEADLINE", 0.2)
    game = make_game("g", team_a="x" * 100)
    async with controlled(tmp_path, **{f"v{number}": game for number in range(2_000)}) as bench:
        tasks = asyncio.all_tasks()
        with socket.socket(socket.AF_UNIX) as client, socket_address(tmp_path) as address:
            client.connect(address)
            client.sendall(b'{"ask": "status"}\n' * 10)
            async with asyncio.timeout(PATIENCE):
                while not asyncio.all_tasks() - tasks:  # noqa: ASYNC110 - a connection has no event
                    await asyncio.sleep(0.002)
                while asyncio.all_tasks() - tasks:  # noqa: ASYNC110 - nor has its end
                    await asyncio.sleep(0.002)
        assert "expected" in (await bench.ask(b"{}"))["error"]


async def test_a_question_without_end_is_no_question(tmp_path: Path) -> None:
    async with controlled(tmp_path) as bench:
        reader, writer = await bench.connect()
        async with asyncio.timeout(PATIENCE):
            writer.write(b"x" * (control.MAX_LINE * 4))
            with suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
