"""Heartbeats: in rhythm, spread, with the position; and who is silent for too long is closed."""

from collections import Counter
from typing import Any

import pytest

from bettensor.actors.heartbeat import HeartbeatActor, HeartbeatSettings
from bettensor.actors.settings import WebSocketSettings
from bettensor.bus.events import (
    ActorFailed,
    CloseRequested,
    ConnectionClosed,
    GamesUpdated,
    MessageAccepted,
    NeuronStarted,
    PeerStale,
    ReadingPaused,
    ReadingResumed,
    Role,
    SendRequested,
    SessionActivated,
)
from bettensor.bus.identifiers import SECOND, ConnectionId, Epoch, LedgerId, Offset, SessionId, Uid
from bettensor.bus.messages import HeartbeatMessage, Limits, WelcomeMessage
from tests.support import NETUID, Harness, make_hotkey

ME, PEER = make_hotkey("me"), make_hotkey("peer")
FIRST = ConnectionId(1)


class Bench(Harness):
    def __init__(self, role: Role = "validator", **websocket: Any) -> None:
        self.actor = HeartbeatActor(HeartbeatSettings(websocket=WebSocketSettings(**websocket)))
        super().__init__(self.actor)
        self.observe(NeuronStarted(role, NETUID, ME, "sr25519", 0))

    def open(self, connection: ConnectionId = FIRST, session: str = "0" * 32) -> None:
        self.observe(SessionActivated(connection, PEER, Uid(0), SessionId(session)))

    def hear(self, connection: ConnectionId = FIRST) -> None:
        self.observe(MessageAccepted(connection, PEER, HeartbeatMessage()))

    def beats(self, connection: ConnectionId = FIRST) -> list[float]:
        """When heartbeats were asked for, in seconds."""
        return [
            envelope.mono / SECOND
            for envelope in self.envelopes
            if isinstance(envelope.event, SendRequested) and envelope.event.connection == connection
        ]


def welcome(interval: float) -> WelcomeMessage:
    return WelcomeMessage(
        receiver_hotkey=ME,
        challenge="1",
        salt="a" * 32,
        netuid=NETUID,
        ledger_id=LedgerId("1" * 32),
        heartbeat_interval=interval,
        connection_timeout=5 * interval,
        recovered=False,
        limits=Limits(frame_bytes=1, predictions_per_message=1, messages_per_second=1.0, burst=1.0),
    )


def test_it_beats_every_interval() -> None:
    bench = Bench()
    bench.open(session="80000000" + "0" * 24)
    for _ in range(40):
        bench.advance(10)
        bench.hear()
    assert bench.beats() == [30, 90, 150, 210, 270, 330, 390]


def test_sessions_that_began_together_are_spread_over_the_interval_and_beat_in_groups() -> None:
    bench = Bench()
    bench.advance(0.5)
    for number in range(240):
        bench.open(ConnectionId(number), f"{(number << 32) // 240:08x}" + "0" * 24)
    bench.advance(59.9)
    beats = Counter(beat for number in range(240) for beat in bench.beats(ConnectionId(number)))
    assert set(beats) <= {0.5, *range(1, 61)}
    assert len(beats) >= 58
    assert max(beats.values()) <= 8


def test_a_miner_answers_a_heartbeat_in_the_second_half_of_its_own_interval() -> None:
    bench = Bench("miner")
    bench.open()
    bench.advance(20)
    bench.hear()
    bench.advance(20)
    bench.hear()
    assert bench.beats() == [0, 40]
    bench.advance(61)
    assert bench.beats() == [0, 40, 100]


def test_a_validator_answers_no_heartbeat() -> None:
    bench = Bench()
    bench.open()
    bench.advance(40)
    bench.hear()
    assert bench.beats() == [0]


@pytest.mark.parametrize("role", ["validator", "miner"])
def test_a_heartbeat_names_the_position_in_the_stream(role: Role) -> None:
    bench = Bench(role)
    bench.open()
    bench.advance(1)
    stream = ME if role == "validator" else PEER
    bench.observe(GamesUpdated(stream, Epoch("e" * 32), Offset(7), (), snapshot=True))
    bench.advance(60)
    first, second = (send.message for send in bench.all(SendRequested))
    assert isinstance(first, HeartbeatMessage)
    assert isinstance(second, HeartbeatMessage)
    assert (first.epoch, first.offset) == (None, None)
    assert (second.epoch, second.offset) == ("e" * 32, 7)


def test_who_is_silent_for_the_timeout_is_closed_and_not_before() -> None:
    bench = Bench()
    bench.open()
    bench.advance(100)
    bench.hear()
    bench.advance(299.9)
    assert bench.all(CloseRequested) == []
    bench.advance(0.2)
    assert [(close.connection, close.code) for close in bench.all(CloseRequested)] == [(FIRST, 4100)]
    assert bench.last(PeerStale).silence == 300 * SECOND


def test_after_its_end_a_session_has_no_pulse_and_no_timer() -> None:
    bench = Bench()
    bench.open()
    bench.observe(ConnectionClosed(FIRST, 1006, ""))
    bench.advance(1000)
    assert bench.actor.state.pulses == {}
    assert bench.all(CloseRequested) == []
    assert bench.beats() == []


def test_the_end_of_one_session_does_not_touch_another_of_the_same_hotkey() -> None:
    bench = Bench()
    bench.open(FIRST)
    bench.open(ConnectionId(2))
    bench.observe(CloseRequested(FIRST, 4104, "replaced"), ConnectionClosed(FIRST, 4104, ""))
    bench.advance(61)
    assert len(bench.beats(ConnectionId(2))) == 2
    assert bench.beats(FIRST) == []


def test_a_miner_follows_a_validator_that_wants_to_hear_from_it_more_often() -> None:
    bench = Bench("miner")
    bench.observe(MessageAccepted(FIRST, PEER, welcome(interval=10.0)))
    bench.open()
    bench.advance(59)
    assert bench.beats() == [0, 10, 20, 30, 40, 50]


@pytest.mark.parametrize("wanted", [1e-9, 0.001])
def test_no_validator_can_keep_a_miner_busy_with_heartbeats(wanted: float) -> None:
    bench = Bench("miner", heartbeat_interval=60.0)
    bench.observe(MessageAccepted(FIRST, PEER, welcome(wanted)))
    bench.open()
    bench.advance(1)
    assert len(bench.beats()) == 11


def test_a_miner_is_patient_with_a_validator_that_speaks_less_often() -> None:
    bench = Bench("miner", heartbeat_interval=10.0, connection_timeout=30.0)
    bench.observe(MessageAccepted(FIRST, PEER, welcome(interval=60.0)))
    bench.open()
    bench.advance(119)
    assert bench.all(CloseRequested) == []
    bench.advance(2)
    assert len(bench.all(CloseRequested)) == 1


@pytest.mark.parametrize("wanted", [1e12, 1e308])
def test_no_validator_can_make_a_miner_patient_for_ever(wanted: float) -> None:
    bench = Bench("miner", heartbeat_interval=3600.0)
    bench.observe(MessageAccepted(FIRST, PEER, welcome(wanted)))
    bench.open()
    bench.advance(2 * 86_400)
    assert len(bench.all(CloseRequested)) == 1
    assert not bench.all(ActorFailed)


def test_who_is_not_read_is_not_silent() -> None:
    bench = Bench(connection_timeout=300.0)
    bench.open()
    bench.advance(100)
    bench.observe(ReadingPaused(FIRST), ReadingPaused(ConnectionId(99)))
    bench.advance(1000)
    assert not bench.all(PeerStale)
    bench.observe(ReadingResumed(FIRST))
    bench.advance(299)
    assert not bench.all(PeerStale)
    bench.advance(2)
    assert [stale.connection for stale in bench.all(PeerStale)] == [FIRST]


def test_who_is_not_read_for_either_cause_is_not_silent() -> None:
    bench = Bench(connection_timeout=300.0)
    bench.open()
    bench.observe(ReadingPaused(FIRST, "work"), ReadingPaused(FIRST), ReadingResumed(FIRST))
    bench.advance(1000)
    assert not bench.all(PeerStale)
    bench.observe(ReadingResumed(FIRST, "work"))
    bench.advance(301)
    assert [stale.connection for stale in bench.all(PeerStale)] == [FIRST]


def test_a_step_of_the_wall_clock_changes_nothing() -> None:
    bench = Bench()
    bench.open()
    bench.clock.step_wall(SECOND)
    bench.advance(61)
    assert len(bench.beats()) == 2
