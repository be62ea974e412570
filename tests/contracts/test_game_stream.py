"""What every store of the game stream keeps: run against the real one, on disk, and the simulated one."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bettensor.actors.stream import HISTORY, update_messages
from bettensor.bus import codec
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.events import StreamOpened, UpdateStored, UpdateStoreFailed, UpdateStoreRequested
from bettensor.bus.games import TeamGame
from bettensor.bus.identifiers import Epoch, Hotkey, Netuid, Offset
from bettensor.bus.messages import GameUpdateMessage
from bettensor.neurons.edges.edge import StateDir
from bettensor.neurons.edges.game_stream import GameStream
from bettensor.neurons.edges.ledger import LedgerDatabase
from bettensor.neurons.edges.writer import FrameWriter
from bettensor.neurons.simulation import SimulatedGameStream, SimulatedKeys
from tests.support import NETUID, NOW, Injected, make_game, make_hotkey, make_identity

VALIDATOR = make_hotkey("validator")
EPOCH = Epoch("e" * 32)


class Bench:
    """A store on a bus of its own; ``reopen`` is a restart."""

    def __init__(self, real: bool, folder: Path) -> None:
        self.real, self.path = real, folder / "ledger.sqlite3"
        self.clock = ManualClock(NOW)
        self.database: LedgerDatabase | None = None
        self.stream: Any = SimulatedGameStream(make_identity(VALIDATOR), self.clock)
        self.events: list[Any] = []

    async def open(self, validator: Hotkey = VALIDATOR, netuid: Netuid = NETUID) -> StreamOpened | None:
        self.events.clear()
        self.bus = EventBus(self.clock, record=lambda envelope: self.events.append(envelope.event))
        self.bus.subscribe(Injected, lambda event, _: self.bus.publish(event.decision), "test")
        if self.real:
            identity = make_identity(validator)._replace(netuid=netuid)
            self.writer = FrameWriter(SimulatedKeys(identity), self.clock)
            self.writer.attach(self.bus)
            self.database = LedgerDatabase(StateDir(self.path.parent))
            self.database.attach(self.bus)
            await self.database.open()
            self.stream = GameStream(self.database, self.writer, identity)
        self.stream.attach(self.bus)
        await self.stream.open()
        return next((event for event in self.events if isinstance(event, StreamOpened)), None)

    async def close(self) -> None:
        if self.database is not None:
            await self.database.close()

    async def reopen(self, validator: Hotkey = VALIDATOR, netuid: Netuid = NETUID) -> StreamOpened | None:
        await self.close()
        return await self.open(validator, netuid)

    async def store(self, offset: int, *games: TeamGame, previous: int | None = -1) -> tuple[GameUpdateMessage, ...]:
        """The update as stored; by default it follows the one before."""
        before = None if previous is None else Offset(offset - 1 if previous < 0 else previous)
        self.bus.publish(Injected(UpdateStoreRequested(update_messages(NETUID, EPOCH, Offset(offset), games, before))))
        if self.database is not None:
            await self.database.settle()
        stored = self.events[-1]
        assert isinstance(stored, UpdateStored), stored
        return stored.parts


@pytest.fixture(params=["real", "simulated"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(request.param == "real", tmp_path)
    assert await bench.open() is None
    yield bench
    await bench.close()


async def test_a_restart_knows_the_slate_the_position_and_the_very_updates(bench: Bench) -> None:
    await bench.store(1, make_game("a"), make_game("b"), make_game("off", active=False), previous=None)
    second = await bench.store(2, make_game("a", team_a_odds=1.5), make_game("b", active=False))
    third = await bench.store(3, make_game("ü 'quoted' \u2028"))
    assert {part.sender_hotkey for part in second + third} == {VALIDATOR}
    assert all(len(part.message_id) == 32 for part in second + third)
    opened = await bench.reopen()
    assert opened is not None
    assert (opened.epoch, opened.offset, opened.updates) == (EPOCH, 3, (second, third))
    assert {game.game_id: game.team_a_odds for game in opened.games} == {"a": 1.5, "ü 'quoted' \u2028": 1.8}


async def test_an_update_in_parts_is_one_update(bench: Bench) -> None:
    await bench.store(1, previous=None)
    games = [make_game(f"game-{i}", team_a="x" * 256, team_b="y" * 256) for i in range(300)]
    parts = await bench.store(2, *games)
    assert len(parts) > 2
    opened = await bench.reopen()
    assert opened is not None
    assert opened.updates == (parts,)
    assert len(opened.games) == 300


async def test_only_the_last_updates_are_kept(bench: Bench) -> None:
    await bench.store(1, make_game(), previous=None)
    for offset in range(2, HISTORY + 4):
        await bench.store(offset, make_game(team_a_odds=1 + offset / 100))
    opened = await bench.reopen()
    assert opened is not None
    assert [parts[0].offset for parts in opened.updates] == list(range(4, HISTORY + 4))


async def test_a_snapshot_begins_anew(bench: Bench) -> None:
    await bench.store(1, make_game("a"), previous=None)
    await bench.store(2, make_game("b"))
    await bench.store(1, make_game("c"), previous=None)
    opened = await bench.reopen()
    assert opened is not None
    assert (opened.offset, [game.game_id for game in opened.games], opened.updates) == (1, ["c"], ())


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(real=True, folder=tmp_path)
    await bench.open()
    yield bench
    await bench.close()


async def test_the_stream_of_another_hotkey_or_subnet_is_not_ours(real: Bench) -> None:
    await real.store(1, make_game("a"), previous=None)
    assert await real.reopen(validator=make_hotkey("other")) is None
    assert await real.reopen(netuid=Netuid(31)) is None
    assert await real.reopen() is not None


@pytest.mark.parametrize("missing", ["= 3", "= 2", "> 1"])
async def test_a_history_with_a_gap_is_none(real: Bench, missing: str) -> None:
    for offset in range(1, 5):
        await real.store(offset, make_game(team_a_odds=1 + offset), previous=None if offset == 1 else -1)
    await real.close()
    with sqlite3.connect(real.path) as database:
        database.execute(f"DELETE FROM updates WHERE position {missing}")  # noqa: S608 - one of three
    database.close()
    assert await real.open() is None


async def test_an_update_that_could_not_be_stored_is_not_written_in_its_old_form_later(
    real: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.database.BUSY_TIMEOUT", 0.05)
    await real.reopen()
    await real.store(1, make_game(), previous=None)
    other = sqlite3.connect(real.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(AssertionError, match="database is locked"):
        await real.store(2, make_game(team_a_odds=5.0))
    assert isinstance(real.events[-1], UpdateStoreFailed)
    other.execute("ROLLBACK")
    other.close()
    (stored,) = await real.store(2, make_game(team_a_odds=6.0))
    frame = real.writer._shared(stored)  # noqa: SLF001 - what a miner would be sent
    assert frame.message == stored
    assert codec.read(codec.split(frame.line[:-1]).payload) == stored


async def test_the_writer_keeps_what_can_still_be_asked_for(real: Bench) -> None:
    """After a restart the same bytes; and of snapshots the newest alone."""
    await real.store(1, make_game(), previous=None)
    stored = [(await real.store(offset, make_game(team_a_odds=1 + offset)))[0] for offset in range(2, 5)]
    frames = [frame_of(real, message) for message in stored]
    await real.reopen()
    assert [frame_of(real, message) for message in stored] == frames
    snapshots = [update_messages(NETUID, EPOCH, Offset(offset), [make_game()], None)[0] for offset in (4, 5)]
    old, new = (frame_of(real, snapshot) for snapshot in snapshots)
    assert frame_of(real, snapshots[1]) == new
    assert frame_of(real, snapshots[0]) != old


def frame_of(real: Bench, message: GameUpdateMessage) -> bytes:
    return real.writer._shared(message).line  # noqa: SLF001 - what a miner would be sent
