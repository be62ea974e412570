"""Sessions on either side: what comes must be in its place, what goes out has one, and too much of it ends them.

Shown with a validator's sessions; what differs on a miner is in ``tests/actors/miner/test_connection.py``.
"""

from typing import Any

import pytest

from bettensor.actors.budget import Budget
from bettensor.actors.connection import MAX_PARCELS, NEXT, Session, Stage
from bettensor.actors.validator.connection import ValidatorConnectionActor, ValidatorConnectionSettings
from bettensor.bus import codec
from bettensor.bus.codes import CloseCode, ErrorCode
from bettensor.bus.events import (
    BinaryReceived,
    CloseRequested,
    ConnectionClosed,
    ConnectionOpened,
    FrameReceived,
    MessageAccepted,
    MessageRefused,
    NeuronStarted,
    NeuronStopping,
    PeerAuthenticated,
    SendRequested,
    UnsignedReceived,
    VerificationRequested,
    WriteRequested,
)
from bettensor.bus.identifiers import ConnectionId, Epoch, Hotkey, MessageId, Micros, Offset, SessionId, Uid
from bettensor.bus.messages import (
    MAX_FRAME_BYTES,
    MAX_MESSAGE,
    ConfirmationMessage,
    ErrorMessage,
    GameUpdateMessage,
    HeartbeatMessage,
    WebSocketMessage,
)
from tests.support import NETUID, Harness, make_hotkey, stamp

VALIDATOR, MINER, OTHER = make_hotkey("validator"), make_hotkey(), make_hotkey("other")
CONNECTION, SESSION = ConnectionId(1), SessionId("5" * 32)


class Bench(Harness):
    """A validator's connections; signatures are not checked."""

    def __init__(self, **settings: Any) -> None:
        self.actor = ValidatorConnectionActor(ValidatorConnectionSettings(**settings))
        super().__init__(self.actor)
        self.observe(NeuronStarted("validator", NETUID, VALIDATOR, "sr25519", 0))

    def open(self, connection: ConnectionId = CONNECTION, *, activate: bool = True) -> None:
        """A session of the miner."""
        self.observe(
            PeerAuthenticated(
                connection,
                MINER,
                Uid(1),
                "ed25519",
                "session",
                SESSION,
                challenge="1",
                salt="a" * 32,
                known_epoch=None,
                known_offset=None,
            ),
            ConnectionOpened(connection, MINER, "1"),
        )
        if activate:
            self.observe(MessageAccepted(connection, MINER, HeartbeatMessage()))

    def hear(self, message: WebSocketMessage, sender: Hotkey = MINER) -> None:
        self.observe(FrameReceived(CONNECTION, frame(message, sender)))

    def beats(self, count: int, first: int = 1) -> None:
        """The next heartbeats of the session."""
        for seq in range(first, first + count):
            self.hear(HeartbeatMessage(session=SESSION, seq=seq))

    @property
    def passed(self) -> list[int]:
        """The place in the session of each message whose signature is to be checked."""
        return [event.message.seq for event in self.all(VerificationRequested) if hasattr(event.message, "seq")]

    def errors(self) -> list[tuple[str, str | None]]:
        """Code and occasion of each error that was written."""
        messages = [event.message for event in self.all(WriteRequested)]
        return [(str(error.code), error.in_reply_to) for error in messages if isinstance(error, ErrorMessage)]


def frame(message: WebSocketMessage, sender: Hotkey = MINER) -> bytes:
    return codec.join(codec.Frame(codec.encode(stamp(message, sender)), bytes(64)))


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.open()
    return bench


# --- the state machine


def test_every_stage_has_its_ways_and_there_is_none_out_of_the_last() -> None:
    assert set(NEXT) == set(Stage)
    assert NEXT[Stage.CLOSING] == ()
    assert all(Stage.CLOSING in ways for stage, ways in NEXT.items() if stage is not Stage.CLOSING)


# --- what comes


def test_frames_that_follow_each_other_go_on_with_the_scheme_of_their_session(bench: Bench) -> None:
    bench.beats(3)
    assert bench.passed == [1, 2, 3]
    assert {event.scheme for event in bench.all(VerificationRequested)} == {"ed25519"}
    assert bench.all(CloseRequested) == []


@pytest.mark.parametrize(
    ("message", "sender", "fault"),
    [
        (HeartbeatMessage(session=SESSION, seq=2), MINER, "seq is 2, and 1 is next"),
        (HeartbeatMessage(session=SESSION, seq=0), MINER, "seq is 0, and 1 is next"),
        (HeartbeatMessage(session=SessionId("6" * 32), seq=1), MINER, "the message is for another session"),
        (
            HeartbeatMessage(session=SESSION, seq=1),
            OTHER,
            f"sender_hotkey is {OTHER}, and this is the session of {MINER}",
        ),
        (
            GameUpdateMessage(netuid=NETUID, epoch=Epoch("e" * 32), offset=Offset(1), updated_games={}),
            MINER,
            "only a validator broadcasts",
        ),
    ],
)
def test_a_frame_out_of_place_ends_its_session_after_an_error(
    bench: Bench, message: WebSocketMessage, sender: Hotkey, fault: str
) -> None:
    bench.hear(message, sender)
    assert bench.passed == []
    assert [code for code, _ in bench.errors()] == [ErrorCode.MALFORMED]
    assert bench.all(CloseRequested) == [CloseRequested(CONNECTION, CloseCode.PROTOCOL_VIOLATION, fault)]


def test_a_frame_that_comes_twice_is_out_of_place_the_second_time(bench: Bench) -> None:
    bench.beats(1)
    bench.beats(1)
    assert (bench.passed, bench.last(CloseRequested).reason) == ([1], "seq is 1, and 2 is next")


def test_before_a_session_is_active_it_is_ended_without_a_word() -> None:
    bench = Bench()
    bench.open(activate=False)
    bench.hear(HeartbeatMessage(session=SESSION, seq=7))
    assert bench.errors() == []
    assert bench.last(CloseRequested).code == CloseCode.PROTOCOL_VIOLATION


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"no frame", CloseCode.BAD_SIGNATURE),
        (b"x" * (MAX_FRAME_BYTES + 1), CloseCode.TOO_BIG),
        (b"\xff\n0x" + b"0" * 128, CloseCode.INVALID_DATA),
        (b"[]\n0x" + b"0" * 128, CloseCode.PROTOCOL_VIOLATION),
    ],
)
def test_what_is_no_frame_ends_its_session_with_what_it_lacks(bench: Bench, data: bytes, code: CloseCode) -> None:
    bench.observe(FrameReceived(CONNECTION, data))
    assert [close.code for close in bench.all(CloseRequested)] == [code]
    assert bool(bench.errors()) == (code is CloseCode.PROTOCOL_VIOLATION)


def test_a_binary_frame_ends_its_session_once(bench: Bench) -> None:
    bench.observe(BinaryReceived(CONNECTION, 3), BinaryReceived(CONNECTION, 3))
    assert [close.reason for close in bench.all(CloseRequested)] == ["a binary frame; every frame is text"]


def test_text_that_is_no_frame_ends_its_session_once(bench: Bench) -> None:
    junk = UnsignedReceived(CONNECTION, 60_000, b"x" * 64)
    bench.observe(junk, junk, UnsignedReceived(ConnectionId(99), 1, b"x"))
    assert [close.code for close in bench.all(CloseRequested)] == [CloseCode.BAD_SIGNATURE]
    assert bench.errors() == []


def test_a_session_that_is_closing_or_gone_or_was_never_there_is_not_heard(bench: Bench) -> None:
    bench.observe(CloseRequested(CONNECTION, CloseCode.STALE, ""))
    bench.beats(1)
    bench.observe(ConnectionClosed(CONNECTION, CloseCode.STALE, ""))
    bench.beats(1)
    bench.observe(BinaryReceived(CONNECTION, 1), FrameReceived(ConnectionId(99), b"no frame"))
    assert bench.passed == []
    assert len(bench.all(CloseRequested)) == 1


# --- too much


def limited() -> Bench:
    """One message a second, and two at once."""
    bench = Bench(messages_per_second=1.0, burst=2.0)
    bench.open()
    return bench


def test_what_is_too_much_is_not_read_and_said_once_a_second() -> None:
    bench = limited()
    bench.beats(4)
    assert bench.passed == [1, 2]
    assert [code for code, _ in bench.errors()] == [ErrorCode.RATE_LIMITED]
    bench.advance(1)
    bench.beats(1, first=5)
    assert [code for code, _ in bench.errors()] == [ErrorCode.RATE_LIMITED] * 2
    assert bench.all(CloseRequested) == []


def test_who_waits_may_go_on_where_he_is_and_who_goes_on_pays_for_it() -> None:
    bench = limited()
    bench.beats(3)
    bench.advance(1)
    bench.beats(1, first=4)  # what was sent past the limit is a debt
    assert bench.passed == [1, 2]
    bench.advance(5)
    bench.beats(1, first=5)
    assert bench.passed == [1, 2, 5]


def test_far_too_much_ends_the_session() -> None:
    bench = limited()
    bench.beats(10)
    assert [close.code for close in bench.all(CloseRequested)] == [CloseCode.RATE_LIMITED]
    assert bench.passed == [1, 2]


# --- what goes out


def test_messages_are_numbered_in_the_order_in_which_they_are_sent(bench: Bench) -> None:
    for _ in range(2):
        bench.observe(SendRequested(MINER, HeartbeatMessage()))
    messages: list[Any] = [event.message for event in bench.all(WriteRequested)]
    assert [message.seq for message in messages] == [1, 2, 3]  # the first is the welcome
    assert {message.session for message in messages} == {SESSION}


def test_an_answer_goes_out_on_the_session_that_it_is_for_else_on_the_present_one(bench: Bench) -> None:
    newer = ConnectionId(2)
    bench.open(newer)
    bench.observe(SendRequested(MINER, HeartbeatMessage(), newer), SendRequested(MINER, HeartbeatMessage(), CONNECTION))
    assert [event.connection for event in bench.all(WriteRequested)][-2:] == [newer, newer]


def test_of_the_results_that_wait_for_a_miner_the_newest_are_kept() -> None:
    bench = Bench()
    for number in range(MAX_PARCELS + 3):
        about = MessageId(f"{number:032x}")
        bench.observe(SendRequested(MINER, ConfirmationMessage(results=(), in_reply_to=about)))
    bench.open()
    parcels = [e.message.in_reply_to for e in bench.all(WriteRequested) if isinstance(e.message, ConfirmationMessage)]
    assert parcels == [f"{number:032x}" for number in range(3, MAX_PARCELS + 3)]


def test_a_refused_message_is_answered_with_what_was_wrong_with_it_cut_to_size(bench: Bench) -> None:
    about = MessageId("a" * 32)
    bench.observe(MessageRefused(CONNECTION, about, ErrorCode.UNKNOWN_TYPE, "x" * 5000))
    assert bench.errors() == [(ErrorCode.UNKNOWN_TYPE, about)]
    error = bench.last(WriteRequested).message
    assert isinstance(error, ErrorMessage)
    assert len(error.message) == MAX_MESSAGE


def test_a_stop_closes_each_session_once_and_what_is_closing_already_is_left_alone(bench: Bench) -> None:
    bench.open(ConnectionId(2))  # which takes the place of the first
    bench.observe(NeuronStopping(""))
    assert [(close.connection, close.code) for close in bench.all(CloseRequested)] == [
        (CONNECTION, CloseCode.REPLACED),
        (ConnectionId(2), CloseCode.RESTARTING),
    ]


def test_a_session_does_not_go_backwards() -> None:
    session = Session(
        connection=ConnectionId(1),
        hotkey=MINER,
        purpose="session",
        challenge="",
        heard_at=Micros(0),
        budget=Budget(1, Micros(0)),
        session=SessionId(""),
    )
    session.become(Stage.ACTIVE)
    for stage in (Stage.GREETING, Stage.ACTIVE):
        with pytest.raises(AssertionError, match="does not go from active"):
            session.become(stage)
