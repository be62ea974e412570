"""At DEBUG the traffic with each peer is written, at TRACE every event, and at other levels nothing is subscribed."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
from loguru import logger

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    BroadcastWritten,
    ConnectionClosed,
    ConnectionOpened,
    Decided,
    DialFailed,
    DialRequested,
    Event,
    FrameReceived,
    FrameWritten,
    GamesRequested,
    HttpAnswered,
    HttpRequestReceived,
    LineLogged,
    NeuronStopping,
    Observed,
    PeerAuthenticated,
    PostAnswered,
    PostRequested,
    QueryAdmitted,
    QueryReceived,
)
from bettensor.bus.identifiers import ConnectionId, Epoch, Hotkey, Offset, SessionId, Uid
from bettensor.bus.messages import GameUpdateMessage, HeartbeatMessage, PredictionMessage
from bettensor.neurons.config.settings import LoggingSettings
from bettensor.neurons.edges.log import LogLines
from bettensor.neurons.edges.traffic import TrafficLines
from tests.support import NETUID, Injected, make_identity

PEER = Hotkey("5Peer")
ONE = ConnectionId(1)
HEARTBEAT = HeartbeatMessage()


@pytest.fixture
def lines() -> Iterator[list[tuple[str, str]]]:
    """Level and text of each line that loguru was given."""
    found: list[tuple[str, str]] = []

    def keep(message: Any) -> None:
        found.append((message.record["level"].name, message.record["extra"]["text"]))

    logger.enable("bettensor")
    sink = logger.add(keep, level=0)
    yield found
    logger.remove(sink)
    logger.disable("bettensor")


def bus_with(level: str, *, own_log: bool = False) -> tuple[EventBus, TrafficLines]:
    bus = EventBus(ManualClock())
    bus.subscribe(Injected, lambda event, _: bus.publish(event.decision), "test")
    log = LogLines(make_identity())
    log.attach(bus)
    edge = TrafficLines(LoggingSettings(level=level), None if own_log else log)  # type: ignore[arg-type]
    edge.attach(bus)
    return bus, edge


def publish(bus: EventBus, event: Event) -> None:
    bus.publish(event if isinstance(event, Observed) else Injected(cast("Decided", event)))


TRAFFIC: list[tuple[Event, str]] = [
    (
        HttpRequestReceived(ONE, "GET", "/ws", (), "10.0.0.1", True, "0" * 32),
        "Connection 1: Received GET /ws from 10.0.0.1: handshake",
    ),
    (
        HttpRequestReceived(ONE, "POST", "/p\x1b", (), "10.0.0.1", False, "0" * 32, size=3),
        "Connection 1: Received POST /p\\x1b from 10.0.0.1: 3 bytes",
    ),
    (
        QueryReceived(ONE, "POST", "/GameData", (), "10.0.0.1"),
        "Connection 1: Received POST /GameData from 10.0.0.1: the head",
    ),
    (QueryAdmitted(ONE, PEER), f"Connection 1: Admitted {PEER}"),
    (HttpAnswered(ONE, 200, "{}"), "Connection 1: Answered with status 200: 2 bytes"),
    (
        PeerAuthenticated(ONE, PEER, Uid(4), "sr25519", "session", SessionId("0" * 32), "", ""),
        "Connection 1: Admitted 5Peer (UID: 4)",
    ),
    (DialRequested(ONE, PEER, "10.0.0.2:8091"), "Connection 1: Dialling 5Peer at 10.0.0.2:8091"),
    (DialFailed(ONE, PEER, "refused"), "Connection 1: No WebSocket with 5Peer: refused"),
    (ConnectionOpened(ONE, PEER, "0"), "Connection 1: Opened, with 5Peer"),
    (
        FrameReceived(ONE, b'{"message_type":"heartbeat","x":1}\nsig'),
        "Connection 1: Received heartbeat from 5Peer: 38 bytes",
    ),
    (FrameReceived(ConnectionId(2), b"\xff"), "Connection 2: Received a frame from a peer: 1 bytes"),
    (
        FrameWritten(ONE, PEER, HEARTBEAT, 40, "websocket"),
        "Connection 1: Sent heartbeat to 5Peer: 40 bytes",
    ),
    (
        PostRequested(ONE, PEER, "10.0.0.2:8091", PredictionMessage(predictions=())),
        "Connection 1: Sending POST /predictions to 5Peer at 10.0.0.2:8091",
    ),
    (GamesRequested(ONE, PEER, "10.0.0.2:8091"), "Connection 1: Sending GET /games to 5Peer at 10.0.0.2:8091"),
    (PostAnswered(ONE, PEER), "Connection 1: The HTTP exchange with 5Peer is complete"),
    (ConnectionClosed(ONE, 1000, ""), "Connection 1: Closed: 1000"),
    (FrameReceived(ONE, b"x"), "Connection 1: Received a frame from a peer: 1 bytes"),
]


def test_each_step_of_the_traffic_is_a_line_at_debug(lines: list[tuple[str, str]]) -> None:
    bus, _ = bus_with("DEBUG")
    for event, _ in TRAFFIC:
        publish(bus, event)
    assert lines == [("DEBUG", text) for _, text in TRAFFIC]


def test_an_update_to_all_miners_is_one_line(lines: list[tuple[str, str]]) -> None:
    bus, _ = bus_with("DEBUG")
    update = GameUpdateMessage(netuid=NETUID, epoch=Epoch("e" * 32), offset=Offset(1), updated_games={})
    publish(bus, BroadcastWritten(update, 100, 3))
    assert lines == [("DEBUG", "Sent game_update to 3 miners: 100 bytes each")]


def test_at_trace_every_event_is_a_line_but_those_of_lines(lines: list[tuple[str, str]]) -> None:
    bus, _ = bus_with("TRACE")
    publish(bus, NeuronStopping("x"))
    publish(bus, LineLogged("INFO", "hello"))
    publish(bus, FrameReceived(ONE, b"x"))
    assert lines == [
        ("TRACE", "Event 1: neuron_stopping"),
        ("TRACE", "Event 2: injected"),
        ("INFO", "hello"),
        ("DEBUG", "Connection 1: Received a frame from a peer: 1 bytes"),
        ("TRACE", "Event 4: frame_received"),
    ]


def test_at_other_levels_nothing_is_subscribed() -> None:
    def routes(level: str) -> int:
        heard: list[Envelope] = []

        class Counting(EventBus):
            def subscribe(self, *arguments: Any, **options: Any) -> None:
                heard.append(arguments[0])
                super().subscribe(*arguments, **options)

        TrafficLines(LoggingSettings(level=level)).attach(Counting(ManualClock()))  # type: ignore[arg-type]
        return len(heard)

    assert routes("INFO") == routes("CRITICAL") == 0
    assert 0 < routes("DEBUG") < routes("TRACE")


def test_the_level_can_change_while_the_neuron_runs(lines: list[tuple[str, str]]) -> None:
    bus, edge = bus_with("INFO")
    for level in ("INFO", "DEBUG", "DEBUG", "INFO", "TRACE", "DEBUG"):
        edge.take(level)
        publish(bus, FrameReceived(ONE, b"x"))
    assert [level for level, _ in lines] == ["DEBUG", "DEBUG", "DEBUG", "TRACE", "DEBUG"]


def test_an_operators_own_log_gets_none_of_these_lines(lines: list[tuple[str, str]]) -> None:
    bus, _ = bus_with("TRACE", own_log=True)
    publish(bus, FrameReceived(ONE, b"x"))
    assert lines == []
