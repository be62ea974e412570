"""Events as text: what matters is there, and nothing that a peer said can harm a terminal."""

from typing import Any

import pytest

from bettensor.bus.codes import VerdictCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.event_json import encode_event
from bettensor.bus.eventlog import Row
from bettensor.bus.events import (
    AxonAnswered,
    AxonConfirmRequested,
    Event,
    FrameReceived,
    FrameWritten,
    PredictionSubmitted,
    UpdateStored,
)
from bettensor.bus.identifiers import ConnectionId, Epoch, MessageId, Offset, PredictionId, SessionId, Uid
from bettensor.bus.messages import ConfirmationMessage, GameUpdateMessage, HeartbeatMessage, PredictionResult
from bettensor.bus.synapse import LeftOut, Result, stats_form
from bettensor.bus.text import printable
from bettensor.neurons.recordings.inspection import EventFilter, Summary
from bettensor.neurons.recordings.text import LONG, Abridged, abridged, brief, line, plain
from bettensor.neurons.simulation import (
    ExistingMiner,
    ExistingValidator,
    SimulatedMiner,
    SimulatedNetwork,
    SimulatedValidator,
    make_game,
    make_hotkey,
    make_prediction,
)
from tests.support import NETUID, NOW

PEER = make_hotkey()
PREDICTION = make_prediction(prediction_id=PredictionId("p"))
RESULT = PredictionResult(
    prediction_id=PredictionId("p"), about=MessageId("a" * 32), success=True, code=VerdictCode.ACCEPTED, message=""
)
UPDATE = GameUpdateMessage(
    netuid=NETUID,
    epoch=Epoch("e" * 32),
    offset=Offset(1),
    previous=None,
    updated_games={make_game().game_id: make_game()},
)


def shown(event: Event) -> str:
    return brief(plain(Envelope(1, NOW, NOW, (), event)))


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            FrameWritten(ConnectionId(1), PEER, ConfirmationMessage(results=(RESULT,)), 300, "http"),
            f"connection=1 hotkey={PEER} message=confirmation[p:accepted] size=300 road=http",
        ),
        (
            FrameWritten(ConnectionId(1), PEER, HeartbeatMessage(session=SessionId("5" * 32)), 300, "http"),
            f"connection=1 hotkey={PEER} message=heartbeat size=300 road=http",
        ),
        (UpdateStored((UPDATE,)), "parts=[game_update[yankees-mets]]"),
        (
            PredictionSubmitted(ConnectionId(1), PEER, Uid(3), "b", PREDICTION, NOW),
            f"connection=1 hotkey={PEER} uid=3 about=b prediction=p(10.0 on New York Yankees in yankees-mets) "
            f"received_at={NOW} proof=signature",
        ),
        (
            AxonConfirmRequested(
                ConnectionId(-1),
                PEER,
                "1.2.3.4:5",
                (Result(PredictionId("p"), True, "accepted"), Result(PredictionId("q"), False, "no such game")),
                stats_form(None),
            ),
            f"connection=-1 hotkey={PEER} endpoint=1.2.3.4:5 results=[p:True, q:False(no such game)] stats=16 figures",
        ),
        (
            AxonAnswered(ConnectionId(-1), PEER, (PREDICTION,), (LeftOut("k", "not an object"),)),
            f"connection=-1 hotkey={PEER} predictions=[p(10.0 on New York Yankees in yankees-mets)] "
            "left_out=[k(not an object)] repeated=0",
        ),
        (FrameReceived(ConnectionId(1), b'{"message_type":"heartbeat"}\n0x00'), "connection=1 data=heartbeat"),
        (FrameReceived(ConnectionId(1), b'{"message_type":\n'), 'connection=1 data={"message_type":\\n'),
        (FrameReceived(ConnectionId(1), b""), 'connection=1 data=""'),
    ],
    ids=lambda value: value.topic if isinstance(value, Event) else "",
)
def test_what_people_look_for(event: Event, text: str) -> None:
    assert shown(event) == text


def test_of_many_things_some_are_shown_and_long_ones_are_cut() -> None:
    results = [{"prediction_id": prediction_id, "code": "accepted"} for prediction_id in "abcde"]
    text = brief({"message": {"message_type": "confirmation", "results": results}})
    assert text == "message=confirmation[a:accepted, b:accepted, c:accepted, ...]"
    assert len(brief({"x": "y" * 1000})) == LONG + 2


def test_an_abridged_event_says_first_what_was_asked() -> None:
    rejected = {"hotkey": HOTKEY, "prediction": {"prediction_id": ID} | BET, "code": "late", "message": f"by {HOTKEY}"}
    told = "(2.0 on x in g)"
    assert abridged(rejected) == Abridged("late", f"by {SHORT}", f"prediction=01234567…{told} hotkey={SHORT}")
    assert abridged(rejected, ID) == Abridged("late", f"by {SHORT}", f"prediction={told} hotkey={SHORT}")
    stored = {"verdicts": [{"prediction_id": ID, "code": "late"}], "request": 7, "prediction_id": ID}
    assert abridged(stored, ID) == Abridged("", "", "verdicts=[late] request=7")
    closed = {"connection": 1, "code": 1006, "reason": "\x1b", "signature": "xyz"}
    assert abridged(closed) == Abridged("1006", "\\x1b", "connection=1 signature=3 bytes")


HOTKEY = "5DFzyXcLHhBHCoXBFbYXKEPjgYkLBXwZ8EWpbTwr8tk88mTv"
SHORT = "5DFzyX…8mTv"
ID = "0123456789abcdef" * 2
BET = {"game_id": "g", "predicted_outcome": "x", "wager": 2.0}


@pytest.mark.parametrize("nasty", ["\x1b[2J", "\x9b2J", "\u202egnp.exe", "\r\n> ok", "\x07", "\u200b"])
@pytest.mark.parametrize("where", ["data", "body", "signature", "name"])
def test_nothing_that_a_peer_says_reaches_the_terminal_as_it_is(nasty: str, where: str) -> None:
    for value in (nasty, f'{{"message_type":"{nasty}"}}', [nasty], {nasty: nasty}, {"game_id": nasty}):
        assert brief({where: value}).isprintable(), value
    assert printable(nasty).isprintable()


@pytest.mark.parametrize(
    "garbage",
    [b"", b"{}", b"[]", b'"message_type"', b"\xff\xfe", b'{"message_type":\xff}', b'{"message_type":' + 9999 * b"["]
    + [
        b'{"message_type":"%b","results":7,"predictions":{},"message_id":1}' % kind
        for kind in (b"confirmation", b"prediction")
    ]
    + [b'{"message_type":"confirmation","results":[%b]}' % part for part in (b"7", b"{}", b'{"code":1,"about":"a"}')],
)
def test_a_strangers_garbage_is_shown_and_counted_like_anything_else(garbage: bytes) -> None:
    envelope = Envelope(1, NOW, NOW, (), FrameReceived(ConnectionId(1), garbage))
    row = Row(2, 1, NOW, NOW, (), "frame_received", encode_event(envelope.event))
    summary = Summary()
    summary.add(row)
    assert summary.as_json()["events"] == {"frame_received": 1}
    assert summary.as_json()["results"] == {}
    assert line(envelope).isprintable()
    assert list(EventFilter(hotkey=PEER).of([row])) == []


def test_a_connections_number_is_anothers_once_the_neuron_was_started_again() -> None:
    heard = []
    for name in ("alice", "bob"):
        network = SimulatedNetwork()
        validator, miner = SimulatedValidator(clock=network.clock), SimulatedMiner(name, clock=network.clock)
        network.add(validator, miner)
        network.advance(1)
        heard.append([row(envelope) for envelope in validator.envelopes])
    alices = list(EventFilter(hotkey=make_hotkey("alice")).of(heard[0]))
    assert "frame_received" in [one.topic for one in alices]
    assert list(EventFilter(hotkey=make_hotkey("alice")).of([*heard[0], *heard[1]])) == alices


def test_an_exchange_over_synapse_is_of_one_hotkey_though_its_number_comes_again_after_a_restart() -> None:
    """On both sides."""
    asking: list[Row] = []
    asked: list[Row] = []
    for name in ("alice", "bob"):
        network = SimulatedNetwork()
        settings = {"synapse": {"enabled": True}}
        validator = SimulatedValidator("v", network.clock, settings)
        miner = SimulatedMiner("m", network.clock, settings)
        network.add(validator, ExistingMiner(name, network.clock))
        network.add(miner, ExistingValidator(name + "x", network.clock))
        validator.offer(make_game())
        network.advance(500)
        asking += map(row, validator.envelopes)
        asked += map(row, miner.envelopes)
    for rows, hotkey, kind in (
        (asking, make_hotkey("alice"), "axon_answered"),
        (asked, make_hotkey("alicex"), "query_ended"),
    ):
        found = [one for one in EventFilter(hotkey=hotkey).of(rows) if one.topic == kind]
        assert found
        assert found == [one for one in found if one in rows[: len(rows) // 2]]


def row(envelope: Envelope) -> Row:
    return Row(2, *envelope[:4], envelope.event.topic, encode_event(envelope.event))


def test_of_few_answers_the_slowest_is_the_95th_percentile() -> None:
    summary = Summary(latencies=[0.009, 0.001])
    assert summary.as_json()["latency_ms"] == {"p50": 1.0, "p95": 9.0, "p99": 9.0, "max": 9.0}


def test_an_event_on_one_line() -> None:
    miner = SimulatedMiner()
    miner.start()
    lines: list[Any] = [line(envelope) for envelope in miner.envelopes]
    assert lines[0].startswith("       1  2026-05-28T20:26:40.000Z  neuron_started  role=miner netuid=30")
    assert all(text.isprintable() for text in lines)
