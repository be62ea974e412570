"""Where a message becomes a signed frame: once for each, on the transport of its connection, or not at all."""

from dataclasses import replace
from typing import Any

import pytest

from bettensor.actors.stream import HISTORY
from bettensor.bus import codec
from bettensor.bus.events import (
    BroadcastWriteRequested,
    BroadcastWritten,
    Decided,
    FrameWritten,
    Road,
    SendFailed,
    SlatePrepared,
    SlateWriteRequested,
    SlateWritten,
    StreamOpened,
    UpdateStored,
    WriteRequested,
)
from bettensor.bus.identifiers import ConnectionId, Epoch, Offset
from bettensor.bus.messages import GameUpdateMessage, HeartbeatMessage
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.edges.shared_frames import Frames, Written
from bettensor.neurons.edges.writer import FrameWriter, TransportGone
from bettensor.neurons.simulation import SimulatedKeys
from bettensor.neurons.simulation.keys import simulated_signature
from tests.support import NETUID, NOW, Harness, make_game, make_hotkey, make_identity

ME, PEER = make_hotkey("validator"), make_hotkey()
FIRST, SECOND, GONE = ConnectionId(1), ConnectionId(2), ConnectionId(3)
UPDATE = GameUpdateMessage(netuid=NETUID, epoch=Epoch("e" * 32), offset=Offset(2), previous=Offset(1), updated_games={})


class Wire:
    """A transport that keeps what is written to it, as long as it takes anything."""

    road: Road = "websocket"
    packs = False

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.gone: str | None = None
        self.written: Written | None = None

    def queued(self) -> int:
        return sum(map(len, self.frames))

    def write(self, data: bytes) -> None:
        if self.gone is not None:
            raise TransportGone(self.gone)
        self.frames.append(data)

    def share(self, frames: Frames, written: Written | None = None) -> None:
        for frame in frames:
            self.write(frame.line[:-1])
        self.written = written


class Bench(Harness):
    def __init__(self) -> None:
        super().__init__()
        self.writer = FrameWriter(SimulatedKeys(make_identity()), self.clock)
        self.writer.attach(self.bus)
        self.wires = {connection: Wire() for connection in (FIRST, SECOND)}
        for connection, wire in self.wires.items():
            self.writer.add(connection, wire)

    def ask(self, decision: Decided) -> None:
        self.observe(decision)

    def broadcast(self, message: GameUpdateMessage, *connections: ConnectionId) -> bytes:
        """The frame that went out."""
        self.ask(BroadcastWriteRequested(connections or (FIRST,), message))
        return self.wires[FIRST].frames[-1]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_message_is_stamped_signed_and_written_where_it_belongs(bench: Bench) -> None:
    bench.ask(WriteRequested(SECOND, PEER, HeartbeatMessage()))
    (data,) = bench.wires[SECOND].frames
    written = bench.last(FrameWritten)
    payload, signature = codec.split(data)
    assert signature == simulated_signature(ME, payload)
    assert codec.encode(written.message) == payload
    assert (written.message.sender_hotkey, written.message.timestamp) == (ME, rfc3339(NOW))
    assert (written.connection, written.hotkey, written.size, written.road) == (SECOND, PEER, len(data), "websocket")
    assert bench.wires[FIRST].frames == []


def test_no_two_messages_have_one_id(bench: Bench) -> None:
    for _ in range(10):
        bench.ask(WriteRequested(FIRST, PEER, HeartbeatMessage()))
    assert len({written.message.message_id for written in bench.all(FrameWritten)}) == 10


@pytest.mark.parametrize("connection", [None, GONE])
def test_what_has_no_session_fails_and_is_not_signed(bench: Bench, connection: ConnectionId | None) -> None:
    message = HeartbeatMessage()
    bench.ask(WriteRequested(connection, PEER, message))
    assert bench.all(SendFailed) == [SendFailed(PEER, message, "there is no session")]
    assert bench.all(FrameWritten) == []


def test_what_a_transport_does_not_take_fails_with_its_reason(bench: Bench) -> None:
    bench.wires[FIRST].gone = "the reader is too slow"
    bench.ask(WriteRequested(FIRST, PEER, HeartbeatMessage()))
    assert [failed.reason for failed in bench.all(SendFailed)] == ["the reader is too slow"]


def test_after_its_end_nothing_can_be_written_to_a_connection(bench: Bench) -> None:
    bench.writer.remove(FIRST)
    bench.writer.remove(FIRST)
    bench.ask(WriteRequested(FIRST, PEER, HeartbeatMessage()))
    assert len(bench.all(SendFailed)) == 1


def test_what_waits_to_be_sent_is_counted_over_all_connections(bench: Bench) -> None:
    for connection in (FIRST, SECOND, SECOND):
        bench.ask(WriteRequested(connection, PEER, HeartbeatMessage()))
    sizes = [written.size for written in bench.all(FrameWritten)]
    assert bench.writer.queued() == sum(sizes)
    bench.writer.remove(SECOND)
    assert bench.writer.queued() == sizes[0]


# --- broadcasts


def test_a_broadcast_is_the_same_bytes_for_everybody_who_can_take_it(bench: Bench) -> None:
    third = Wire()
    third.gone = "the connection has ended"
    bench.writer.add(GONE, third)
    data = bench.broadcast(UPDATE, FIRST, SECOND, GONE, ConnectionId(99))
    assert bench.wires[SECOND].frames == [data]
    written = bench.last(BroadcastWritten)
    assert (written.count, written.size) == (2, len(data))
    assert bench.all(SendFailed) == []


def test_who_was_away_gets_the_very_bytes_that_the_others_got(bench: Bench) -> None:
    data = bench.broadcast(UPDATE)
    bench.advance(60)
    bench.ask(WriteRequested(SECOND, PEER, UPDATE))
    assert bench.wires[SECOND].frames == [data]


def test_bytes_of_an_earlier_run_are_used_again(bench: Bench) -> None:
    stamped, _ = bench.writer.sign(UPDATE)
    bench.writer.remember(stamped, b"as it was signed then")
    assert bench.broadcast(UPDATE) == b"as it was signed then"


@pytest.mark.parametrize(
    "other",
    [
        replace(UPDATE, offset=Offset(3)),
        replace(UPDATE, part=2, parts=2),
        replace(UPDATE, previous=None),
        replace(UPDATE, previous=Offset(0)),
        replace(UPDATE, epoch=Epoch("f" * 32)),
    ],
)
def test_another_place_in_the_stream_has_another_frame(bench: Bench, other: GameUpdateMessage) -> None:
    assert bench.broadcast(UPDATE) != bench.broadcast(other)


def updates(first: int, last: int) -> list[Any]:
    return [replace(UPDATE, offset=Offset(n), previous=Offset(n - 1)) for n in range(first, last + 1)]


def test_what_nobody_can_ask_for_any_more_is_forgotten(bench: Bench) -> None:
    sent = {update.offset: bench.broadcast(update) for update in updates(2, HISTORY + 2)}
    again = {update.offset: bench.broadcast(update) for update in updates(2, HISTORY + 2)}
    assert [offset for offset in sent if sent[offset] != again[offset]] == [2]


def test_a_snapshot_is_kept_until_there_is_a_newer_update_and_an_epoch_until_there_is_another(bench: Bench) -> None:
    snapshot = replace(UPDATE, previous=None)
    first = bench.broadcast(snapshot)
    assert bench.broadcast(snapshot) == first
    bench.broadcast(replace(UPDATE, offset=Offset(3)))
    assert bench.broadcast(snapshot) != first
    bench.broadcast(replace(UPDATE, epoch=Epoch("f" * 32), offset=Offset(1), previous=None))
    before = bench.wires[FIRST].frames[-2]
    assert bench.broadcast(snapshot) != before


# --- slates


SNAPSHOT = (replace(UPDATE, previous=None, part=1, parts=2), replace(UPDATE, previous=None, part=2, parts=2))


def asked(offset: int, known: int | None, *, merged: bool = False, connection: ConnectionId = FIRST) -> Any:
    place = UPDATE.epoch, Offset(offset), None if known is None else Offset(known)
    return SlateWriteRequested(connection, PEER, *place, merged=merged, frames=2)


def ids(wire: Wire) -> list[tuple[int, int | None, int]]:
    messages = [codec.read(codec.split(frame).payload) for frame in wire.frames]
    return [(m.offset, m.previous, m.part) for m in messages if isinstance(m, GameUpdateMessage)]


def test_a_prepared_slate_is_the_same_bytes_for_all_who_need_it(bench: Bench) -> None:
    bench.ask(SlatePrepared(SNAPSHOT))
    bench.ask(asked(2, None))
    bench.ask(asked(2, None, connection=SECOND))
    assert ids(bench.wires[FIRST]) == [(2, None, 1), (2, None, 2)]
    assert bench.wires[FIRST].frames == bench.wires[SECOND].frames


def test_a_slate_is_written_when_the_transport_says_so(bench: Bench) -> None:
    bench.ask(SlatePrepared(SNAPSHOT))
    bench.ask(asked(2, None))
    assert bench.all(SlateWritten) == []
    written = bench.wires[FIRST].written
    assert written is not None
    written(1234)
    assert bench.all(SlateWritten) == [SlateWritten(FIRST, PEER, Offset(2), 2, 1234, "websocket")]
    request, answer = (e for e in bench.envelopes if isinstance(e.event, SlateWriteRequested | SlateWritten))
    assert answer.causes == (request.seq,)


def test_missed_updates_are_those_that_were_stored_and_merged_ones_those_that_were_prepared(bench: Bench) -> None:
    for offset in (2, 3, 4):
        parts = [replace(UPDATE, offset=Offset(offset), previous=Offset(offset - 1), part=n, parts=2) for n in (1, 2)]
        bench.observe(UpdateStored(tuple(parts)))
    bench.ask(asked(4, 2))
    assert ids(bench.wires[FIRST]) == [(3, 2, 1), (3, 2, 2), (4, 3, 1), (4, 3, 2)]
    bench.ask(SlatePrepared((replace(UPDATE, offset=Offset(4), previous=Offset(2)),)))
    bench.ask(asked(4, 2, merged=True, connection=SECOND))
    assert ids(bench.wires[SECOND]) == [(4, 2, 1)]


def test_updates_of_an_earlier_run_can_be_asked_for(bench: Bench) -> None:
    updates = ((UPDATE,), (replace(UPDATE, offset=Offset(3), previous=Offset(2)),))
    bench.observe(StreamOpened(UPDATE.epoch, Offset(3), (), updates))
    bench.ask(asked(3, 1))
    assert ids(bench.wires[FIRST]) == [(2, 1, 1), (3, 2, 1)]


def test_who_has_gone_is_sent_no_slate(bench: Bench) -> None:
    bench.ask(SlatePrepared(SNAPSHOT))
    bench.wires[FIRST].gone = "the connection has ended"
    bench.ask(asked(2, None))
    bench.ask(asked(2, None, connection=GONE))
    assert not [*bench.all(SlateWritten), *bench.all(SendFailed)]


def test_how_much_smaller_a_broadcast_was_is_told(bench: Bench) -> None:
    games = {game.game_id: game for game in (make_game(f"game-{n}") for n in range(20))}
    bench.wires[SECOND].packs = True
    bench.broadcast(replace(UPDATE, updated_games=games), FIRST, SECOND)
    written = bench.last(BroadcastWritten)
    assert (written.count, written.packed_count) == (2, 1)
    assert 0 < written.packed_size < written.size / 5
    assert written.sent == written.size + written.packed_size
    bench.broadcast(UPDATE, FIRST)
    assert bench.last(BroadcastWritten).packed_size == 0
