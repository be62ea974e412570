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
    WriteRequested,
)
from bettensor.bus.identifiers import ConnectionId, Epoch, Offset
from bettensor.bus.messages import GameUpdateMessage, HeartbeatMessage
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.edges.writer import FrameWriter, TransportGone
from bettensor.neurons.simulation import SimulatedKeys
from bettensor.neurons.simulation.keys import simulated_signature
from tests.support import NETUID, NOW, Harness, make_hotkey, make_identity

ME, PEER = make_hotkey("validator"), make_hotkey()
FIRST, SECOND, GONE = ConnectionId(1), ConnectionId(2), ConnectionId(3)
UPDATE = GameUpdateMessage(netuid=NETUID, epoch=Epoch("e" * 32), offset=Offset(2), previous=Offset(1), updated_games={})


class Wire:
    """A transport that keeps what is written to it, as long as it takes anything."""

    road: Road = "websocket"

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.gone: str | None = None

    def queued(self) -> int:
        return sum(map(len, self.frames))

    def write(self, data: bytes) -> None:
        if self.gone is not None:
            raise TransportGone(self.gone)
        self.frames.append(data)


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
