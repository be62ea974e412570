"""What waits for its signature to be checked is part of the state, whatever a stranger has put into it."""

from typing import Any

import msgspec
import pytest

from bettensor.actors.auth import AuthActor, Unverified
from bettensor.actors.validator.auth import Credentials, UnverifiedRequest, ValidatorAuthActor
from bettensor.bus import codec
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.events import (
    ConnectionClosed,
    HttpRequestReceived,
    MessageRefused,
    SignatureChecked,
    VerificationRequested,
)
from bettensor.bus.identifiers import ConnectionId, SessionId
from bettensor.bus.messages import ErrorMessage, HeartbeatMessage, PredictionMessage
from bettensor.bus.upcasts import pending_signatures_are_events
from tests.support import NOW, Harness, Injected, make_hotkey, make_prediction, stamp

PEER, ME = make_hotkey(), make_hotkey("me")
SESSION = SessionId("5" * 32)
SIGNATURE = bytes(range(192, 256))


def asked(payload: bytes) -> VerificationRequested:
    return VerificationRequested(ConnectionId(1), PEER, "ed25519", payload, SIGNATURE, codec.read(payload))


def waiting() -> ValidatorAuthActor:
    """An actor with questions that nobody has answered yet."""
    actor = ValidatorAuthActor()
    beat = codec.encode(stamp(HeartbeatMessage(session=SESSION, seq=1), PEER))
    bet = stamp(PredictionMessage(session=SESSION, seq=2, predictions=(make_prediction(model_name="ü"),)), PEER)
    unread = beat.replace(b'"heartbeat"', b'"prediction"')
    for seq, payload in enumerate((beat, codec.encode(bet), unread)):
        actor.state.unverified[seq] = Unverified(asked(payload), NOW)
    request = HttpRequestReceived(ConnectionId(2), "POST", "/x\xff", (("a", "ü"),), "here", False, "", body=b"\xff\x00")
    claims = Credentials("session", PEER, ME, "1", "sr25519", None, None)
    actor.state.requests[9] = UnverifiedRequest(request, claims, NOW)
    return actor


def checkpoint(actor: ValidatorAuthActor) -> Any:
    return msgspec.json.decode(msgspec.json.encode(actor.snapshot()))


def test_questions_survive_a_checkpoint() -> None:
    before, after = waiting(), ValidatorAuthActor()
    after.restore(checkpoint(before))
    assert after.state == before.state
    kinds = [type(item.request.message).__name__ for item in after.state.unverified.values()]
    assert kinds == ["HeartbeatMessage", "PredictionMessage", "UnreadMessage"]


def test_questions_survive_a_checkpoint_of_0_1_0() -> None:
    before, after = waiting(), ValidatorAuthActor()
    state = checkpoint(before)
    for question in state["unverified"].values():
        request = question["request"]
        del request["message"]
        request["signature"] = request["signature"].encode("latin-1").hex()
    for question in state["requests"].values():
        question["request"] = msgspec.json.encode(question["request"]).decode()
    written = {"actors": {"auth": {"settings": {}, "state": state}}}
    pending_signatures_are_events("checkpoint", written)
    after.restore(state)
    assert after.state == before.state


@pytest.mark.parametrize(
    ("where", "wrong"),
    [("unverified", {}), ("unverified", 7), ("unverified", "payload"), ("requests", 7), ("requests", "{}")],
)
def test_what_is_no_question_is_refused(where: str, wrong: Any) -> None:
    kept = checkpoint(waiting())
    first = next(iter(kept[where].values()))
    first["request"] = first["request"] | {"payload": "{}"} if wrong == "payload" else wrong
    with pytest.raises(ValueError, match=f"(?s){where}.*not a (verification_requested|http_request_received)"):
        ValidatorAuthActor().restore(kept)


def test_a_validator_that_predicts_is_told_that_this_is_not_its_to_do() -> None:
    events: list[Any] = []
    bus = EventBus(ManualClock(NOW), record=lambda envelope: events.append(envelope.event))
    bus.subscribe(Injected, lambda event, _: bus.publish(event.decision), "test")
    AuthActor().attach(bus)
    bet = codec.encode(stamp(PredictionMessage(session=SESSION, seq=1, predictions=(make_prediction(),)), PEER))
    bus.publish(Injected(asked(bet)))
    bus.publish(SignatureChecked(ConnectionId(1), 2, valid=True))
    assert events[-1] == MessageRefused(ConnectionId(1), events[1].message.message_id, "malformed", events[-1].message)
    assert "not yours to send" in events[-1].message


def test_an_unanswered_verification_is_forgotten_with_its_connection() -> None:
    actor = AuthActor()
    bench = Harness(actor)
    request = VerificationRequested(ConnectionId(1), PEER, "sr25519", b"", b"", ErrorMessage(code="x", message=""))
    bench.observe(request, ConnectionClosed(ConnectionId(2), 1006, ""))
    assert len(actor.state.unverified) == 1
    bench.observe(ConnectionClosed(ConnectionId(1), 1006, ""))
    assert actor.state.unverified == {}
