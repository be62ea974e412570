"""The recorded log: what is written is read again, and what is not as it was written is said, with its line."""

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus import codec
from bettensor.bus.codec import UnreadMessage
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import BadEventLog
from bettensor.bus.event_json import decode_event, encode_event
from bettensor.bus.eventlog import FORMAT, ActorCheckpoint, Checkpoint, Header, LogReader, LogWriter, Row
from bettensor.bus.events import (
    TOPICS,
    CloseRequested,
    DialRequested,
    Event,
    FrameReceived,
    FrameWritten,
    LineLogged,
    MessageAccepted,
    NeuronStarted,
    NeuronStopping,
    Position,
    PredictionMade,
    PredictionSubmitted,
    SendFailed,
    TimerFired,
    VerificationRequested,
    WriteRequested,
)
from bettensor.bus.identifiers import ConnectionId, Epoch, Micros, Offset, SessionId, Uid
from bettensor.bus.messages import HeartbeatMessage, PredictionMessage
from bettensor.bus.upcasts import UPCASTS
from tests.support import NETUID, NOW, make_hotkey, make_prediction, stamp

ME, PEER = make_hotkey("me"), make_hotkey("peer")
HEADER = Header(role="miner", netuid=NETUID, hotkey=ME, scheme="sr25519", record="all", settings={"a": 1})
EVENTS: tuple[Event, ...] = (
    NeuronStarted("miner", NETUID, ME, "sr25519", 2**63),
    TimerFired("outbox", "start", ('a "validator"', "and a game\nof two lines")),
    FrameReceived(ConnectionId(1), bytes(range(256))),
    NeuronStopping("enough"),
)


def signed(payload: bytes) -> bytes:
    return payload[:64].ljust(64)


def lines(*events: Event, header: Header = HEADER, seal: bool = True) -> list[bytes]:
    writer = LogWriter(header)
    log = [writer.first]
    for seq, event in enumerate(events or EVENTS, start=1):
        log.append(writer.row(Envelope(seq, NOW, Micros(seq), (seq - 1,) if seq > 1 else (), event)))
    return [*log, writer.seal(len(events or EVENTS), NOW, "stop", signed)] if seal else log


def chained(before: str, body: bytes) -> bytes:
    """A line as anybody can make it who reads how lines are chained."""
    return body + b',"hash":"%b"}\n' % sha256(before.encode() + body).hexdigest().encode()


def read(log: list[bytes], **options: Any) -> LogReader:
    reader = LogReader(log, "the log", **options)
    list(reader.rows())
    return reader


def test_what_is_written_is_read_again() -> None:
    reader = LogReader(lines(), "the log")
    rows = list(reader.rows())
    assert reader.header == HEADER
    assert [row.event for row in rows] == list(EVENTS)
    assert [(row.line, row.seq, row.at, row.mono, row.causes) for row in rows[:2]] == [
        (2, 1, NOW, 1, ()),
        (3, 2, NOW, 2, (1,)),
    ]
    assert reader.sealed is not None
    assert (reader.sealed.seal.lines, reader.sealed.seal.reason) == (5, "stop")
    assert reader.sealed.signature == signed(reader.sealed.payload)
    assert reader.cut is None
    assert all(row.same(Envelope(row.seq, row.at, row.mono, row.causes, row.event)) for row in rows)
    assert not rows[0].same(Envelope(1, NOW, Micros(1), (), EVENTS[1]))


@pytest.mark.parametrize(
    "event",
    [
        FrameWritten(
            ConnectionId(1), PEER, stamp(HeartbeatMessage(session=SessionId("5" * 32), seq=2), ME), 300, "http"
        ),
        WriteRequested(None, PEER, HeartbeatMessage()),
        WriteRequested(None, PEER, PredictionMessage(predictions=(make_prediction(),))),
        MessageAccepted(ConnectionId(-2), PEER, stamp(PredictionMessage(predictions=(make_prediction(),)), PEER)),
        VerificationRequested(ConnectionId(1), PEER, "ed25519", b"{}\xff", bytes(64), HeartbeatMessage()),
        PredictionMade(PEER, make_prediction(tie_odds=3.0, model_name="ü \u2028")),
        PredictionSubmitted(ConnectionId(1), PEER, Uid(3), "ab", make_prediction(wager=1e300), NOW),
        DialRequested(ConnectionId(1), PEER, "here:1", Position(Epoch("e" * 32), Offset(3))),
    ],
    ids=lambda event: event.topic,
)
def test_events_of_every_shape_survive(event: Event) -> None:
    raw = encode_event(event)
    assert b"\n" not in raw
    again = decode_event(type(event), raw)
    assert encode_event(again) == raw
    assert type(again) is type(event)


def test_every_event_of_the_stories_survives() -> None:
    seen = set()
    for file in (Path(__file__).parent.parent / "recordings").rglob("*.jsonl"):
        with file.open("rb") as stream:
            for row in LogReader(stream, file.name).rows():
                assert row.same_event(row.event), row
                seen.add(row.topic)
    assert len(seen) > 50
    assert seen <= set(TOPICS)


# --- what is not as it was written


def change(log: list[bytes], number: int, edit: Callable[[bytes], bytes]) -> list[bytes]:
    return [edit(line) if i == number else line for i, line in enumerate(log, start=1)]


def header(**changes: Any) -> list[bytes]:
    document = json.loads(lines()[0]) | changes
    return [json.dumps({key: value for key, value in document.items() if value is not None}).encode() + b"\n"]


@pytest.mark.parametrize(
    ("log", "fault"),
    [
        ([], "line 1: the file is empty; the neuron or its disk died before anything was recorded"),
        ([lines()[0][:50]], "line 1: cut off"),
        ([b"hello"], "line 1: not an event log of this project: its first line is not a header"),
        ([b"PK\x03\x04\n"], "not an event log of this project"),
        ([b'{"bettensor": "ledger"}\n'], "not an event log of this project"),
        (header(format=99), "format 99 is newer than format 2 of this release: install the release that wrote it"),
        (header(format="1"), "install the release that wrote it"),
        (header(format=0), "format 0 is too old: there is no upcast from it"),
        (header(role=None), "the header lacks a field that"),
        (change(lines(), 1, lambda line: line.replace(b"miner", b"minor", 1)), "the header lacks a field that"),
        (
            change(lines(), 1, lambda line: line.replace(b'"netuid":30', b'"netuid":31')),
            "line 1: its hash does not follow",
        ),
        (change(lines(), 3, lambda line: line.replace(b"outbox", b"outbux")), "line 3: .* it was changed"),
        ([*lines()[:2], *lines()[3:]], "line 3: .* missing or out of order; .*lines 1 to 2 are unchanged"),
        ([*lines()[:2], lines()[3], lines()[2], *lines()[4:]], "line 3: .* out of order"),
        ([*lines()[:3], b"garbage\n", *lines()[4:]], "line 4: not a line of an event log; lines 1 to 3 are unchanged"),
        ([*lines()[:3], b'{"seq":x}\n'], "line 4: its hash does not follow"),
        ([*lines(), *lines()[1:2]], "line 7: a line follows the seal"),
        ([*lines()[:2], b"cut", *lines()[2:]], "line 3: not a line of an event log"),
        ([*lines()[:2], b"NaN\n"], "line 3: not a line of an event log; lines 1 to 2 are unchanged"),
        ([*lines()[:2], b"[" * 200_000 + b"\n"], "line 3: not a line of an event log; lines 1 to 2 are unchanged"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_is_wrong_is_said_with_its_line(log: list[bytes], fault: str) -> None:
    with pytest.raises(BadEventLog, match=f"the log: .*{fault}"):
        read(log)


def test_a_changed_line_can_be_read_on_purpose() -> None:
    altered = change(lines(), 3, lambda line: line.replace(b"outbox", b"outbux"))
    rows = list(LogReader(altered, "the log", chained=False).rows())
    assert isinstance(rows[1].event, TimerFired)
    assert rows[1].event.owner == "outbux"
    with pytest.raises(BadEventLog, match=r"line 4: not a line of an event log: .*JSON"):
        read([*lines()[:3], b"{x}".ljust(100) + b"}\n"], chained=False)


def test_a_cut_last_line_is_recognised_and_the_rest_is_read() -> None:
    log = lines(seal=False)
    reader = LogReader([*log, lines()[-1][:-20]], "the log")
    assert len(list(reader.rows())) == len(EVENTS)
    assert (reader.cut, reader.sealed) == (6, None)


def test_a_seal_stands_for_the_lines_before_it() -> None:
    writer = LogWriter(HEADER)
    log = [writer.first, writer.row(Envelope(1, NOW, Micros(1), (), EVENTS[0]))]
    writer.lines = 7
    with pytest.raises(BadEventLog, match="line 3: the seal is not of these lines: they were rewritten") as said:
        read([*log, writer.seal(1, NOW, "stop", signed)])
    assert "lines 1 to 2" not in str(said.value)
    for body in (b'{"seal":{"lines":"x"},"signature":"0x00"', b'{"seal":{},"signature":"0xzz"'):
        fresh = LogWriter(HEADER)
        with pytest.raises(BadEventLog, match="line 2: not a seal"):
            read([fresh.first, chained(fresh.hash, body)])


def test_a_line_of_something_else_is_none_of_a_log() -> None:
    fresh = LogWriter(HEADER)
    with pytest.raises(BadEventLog, match="line 2: not a line of an event log: neither event, checkpoint nor seal"):
        read([fresh.first, chained(fresh.hash, b'{"seq":5')])


def test_an_event_that_nobody_defines_here_is_named() -> None:
    log = change(lines(), 3, lambda line: line.replace(b'"topic":"timer_fired"', b'"topic":"injury_reported"'))
    rows = list(LogReader(log, "the log", chained=False).rows())
    with pytest.raises(BadEventLog, match="line 3: no event is called 'injury_reported'; import the module"):
        _ = rows[1].event
    with pytest.raises(BadEventLog, match="line 3"):
        _ = rows[1].observed


def test_an_event_with_other_fields_is_named() -> None:
    log = change(lines(), 3, lambda line: line.replace(b'"owner"', b'"bowner"'))
    rows = list(LogReader(log, "the log", chained=False).rows())
    with pytest.raises(BadEventLog, match=r"line 3: not a timer_fired: owner: Field required$"):
        _ = rows[1].event
    with pytest.raises(
        BadEventLog, match=r"^line 2: not a neuron_started: netuid: .* string as an integer; hotkey: Field .*$"
    ):
        _ = rows[0]._replace(line=2, raw=b'{"role":"miner","netuid":"x"}', where="").event


def test_files_go_on_from_each_other_with_a_checkpoint() -> None:
    first = LogWriter(HEADER)
    seal = first.seal(1, NOW, "rotation", signed)
    second = LogWriter(replace(HEADER, previous=first.hash))
    checkpoint = Checkpoint(1, NOW, Micros(5), {"outbox": ActorCheckpoint.of({"a": 1}, {"trays": {}})})
    line = bytes(second.checkpoint(checkpoint))
    log = [second.first, line, second.row(Envelope(2, NOW, Micros(6), (), EVENTS[1]))]
    reader = LogReader(log, "second")
    assert seal.endswith(b'"}\n')
    assert reader.header.previous == first.hash
    assert reader.checkpoint == checkpoint
    assert [row.event for row in reader.rows()] == [EVENTS[1]]


# --- earlier formats


def read_again(event: Event, version: int) -> Row:
    """The row of ``event`` in a log of this format."""
    log = lines(event, header=replace(HEADER, format=version))
    (row,) = LogReader(log, "here").rows()
    return row


@pytest.mark.parametrize(
    ("recorded", "now", "is_same"),
    [
        (LineLogged("INFO", "old words"), LineLogged("INFO", "new words"), True),
        (LineLogged("INFO", "old words"), LineLogged("WARNING", "new words"), False),
        (CloseRequested(ConnectionId(1), 4100, "old words"), CloseRequested(ConnectionId(1), 4100, "new words"), True),
        (CloseRequested(ConnectionId(1), 4100, "old words"), CloseRequested(ConnectionId(1), 4200, "new words"), False),
        (SendFailed(PEER, HeartbeatMessage(), "old words"), SendFailed(PEER, HeartbeatMessage(), "new words"), False),
    ],
)
def test_only_sentences_for_people_may_change_between_formats(recorded: Event, now: Event, is_same: bool) -> None:
    assert read_again(recorded, FORMAT - 1).same_event(now) is is_same
    assert read_again(recorded, FORMAT).same_event(now) is False
    assert read_again(recorded, FORMAT).same_event(recorded) is True


def timers_have_owners(topic: str, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What was ``TimerRang(name)`` in format 0 is ``TimerFired(owner, key)`` in format 1."""
    if topic != "timer_rang":
        return topic, event
    owner, key = event["name"].split(".")
    return "timer_fired", {"owner": owner, "key": key}


def test_logs_of_an_earlier_format_are_read_through_named_upcasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UPCASTS, 0, (timers_have_owners,))
    writer = LogWriter(replace(HEADER, format=0))
    body = b'{"seq":1,"at":5,"mono":6,"causes":[],"topic":"timer_rang","event":{"name":"connection.greeting 12"}'
    old = chained(writer.hash, body)
    writer.hash = old[-67:-3].decode()
    new = writer.row(Envelope(2, NOW, Micros(7), (1,), EVENTS[3]))
    rows = list(LogReader([writer.first, old, new], "old").rows())
    assert [row.event for row in rows] == [TimerFired("connection", "greeting", 12), EVENTS[3]]


def test_a_message_that_could_not_be_read_comes_back_as_what_it_was() -> None:
    unread = codec.read(
        codec.encode(stamp(PredictionMessage(session=SessionId("5" * 32), seq=1, predictions=()), PEER))
    )
    assert isinstance(unread, UnreadMessage)
    event = VerificationRequested(ConnectionId(1), PEER, "ed25519", b"{}", bytes(64), unread)
    assert decode_event(VerificationRequested, encode_event(event)) == event
