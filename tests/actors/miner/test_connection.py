"""Whom a miner believes: a session is used once its welcome has proven true, and only as far as it is signed."""

from dataclasses import replace
from typing import Any

import pytest

from bettensor.actors.auth import AuthActor
from bettensor.actors.connection import Session, Stage
from bettensor.actors.miner.connection import MinerConnectionActor, MinerConnectionSettings
from bettensor.bus import codec
from bettensor.bus.codes import CloseCode
from bettensor.bus.events import (
    CloseRequested,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    FrameReceived,
    GamesUpdated,
    KnownSlate,
    MessageAccepted,
    MetagraphSynced,
    NeuronInfo,
    NeuronStarted,
    OutboxOpened,
    Scheme,
    SessionActivated,
    SettingsReloaded,
    VerificationRequested,
    WriteRequested,
)
from bettensor.bus.identifiers import Hotkey, Netuid, Offset, Uid
from bettensor.bus.messages import (
    ConfirmationMessage,
    GameUpdateMessage,
    HeartbeatMessage,
    WebSocketMessage,
    WelcomeMessage,
    session_id,
)
from bettensor.neurons.simulation import SimulatedVerifier
from bettensor.neurons.simulation.keys import simulated_signature
from tests.actors.miner.messages import CONNECTION, EPOCH, ME, OTHER, SESSION, VALIDATOR, confirm, update, welcome
from tests.support import NETUID, Harness, stamp


class SessionBench(Harness):
    def __init__(self, *before: Event, is_of_0_1: bool = False, **settings: Any) -> None:
        self.actor = MinerConnectionActor(MinerConnectionSettings(**settings))
        super().__init__(self.actor, AuthActor())
        self.add(SimulatedVerifier())
        self.observe(NeuronStarted("miner", NETUID, ME, "sr25519", 0, is_of_0_1), *before)
        self.observe(ConnectionOpened(CONNECTION, VALIDATOR, "1752076800000000000"))

    def hear(self, message: WebSocketMessage, sender: Hotkey = VALIDATOR, signer: Hotkey | None = None) -> None:
        payload = codec.encode(stamp(message, sender))
        signature = simulated_signature(signer or sender, payload)
        self.observe(FrameReceived(CONNECTION, codec.join(codec.Frame(payload, signature))))

    @property
    def closed(self) -> list[int]:
        return [close.code for close in self.all(CloseRequested)]

    @property
    def session(self) -> Session:
        return self.actor.state.sessions[CONNECTION]


def test_a_true_welcome_is_answered_with_a_heartbeat() -> None:
    bench = SessionBench()
    bench.hear(welcome())
    write = bench.last(WriteRequested)
    assert isinstance(write.message, HeartbeatMessage)
    assert (write.message.session, write.message.seq) == (welcome().session, 1)
    assert bench.last(SessionActivated).hotkey == VALIDATOR
    assert bench.session.stage is Stage.ACTIVE


def other_session(**changes: Any) -> WelcomeMessage:
    """A welcome that is consistent with itself, and not with our request."""
    facts: dict[str, Any] = {"netuid": NETUID, "validator": VALIDATOR, "miner": ME, "challenge": "1752076800000000000"}
    return welcome(session=session_id(**(facts | changes), salt="5a" * 16))


@pytest.mark.parametrize(
    ("why", "message", "sender", "signer", "code"),
    [
        ("unsigned", welcome(), VALIDATOR, OTHER, CloseCode.BAD_SIGNATURE),
        ("by another hotkey", welcome(), OTHER, OTHER, CloseCode.PROTOCOL_VIOLATION),
        ("for another session", welcome(session=SESSION), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
        ("for another miner", other_session(miner=OTHER), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
        ("naming another miner", welcome(receiver_hotkey=OTHER), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
        ("of another netuid", other_session(netuid=31), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
        ("naming another netuid", welcome(netuid=Netuid(31)), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
        ("for another request", other_session(challenge="1"), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
        ("naming another request", welcome(challenge="1"), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
        ("out of place", welcome(seq=2), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
        ("no welcome at all", HeartbeatMessage(seq=1), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
        ("a broadcast", update(1, None), VALIDATOR, None, CloseCode.PROTOCOL_VIOLATION),
    ],
)
def test_a_welcome_that_is_not_ours_is_refused(
    why: str, message: WebSocketMessage, sender: Hotkey, signer: Hotkey | None, code: CloseCode
) -> None:
    bench = SessionBench()
    bench.hear(message, sender, signer)
    assert (why, bench.closed) == (why, [code])
    assert bench.all(SessionActivated) == []
    assert bench.all(WriteRequested) == []


def test_a_welcome_with_a_wrong_value_is_told_by_that_value() -> None:
    bench = SessionBench()
    bench.hear(welcome(heartbeat_interval=0.0))
    close = bench.last(CloseRequested)
    assert close.code == CloseCode.PROTOCOL_VIOLATION
    assert close.reason == "the welcome is invalid: Expected `float` > 0.0 - at `$.heartbeat_interval`"


def listing(crypto: Scheme | None) -> MetagraphSynced:
    """The metagraph, with what it says of the validator's scheme."""
    return MetagraphSynced((NeuronInfo(Uid(0), VALIDATOR, validator_permit=True, crypto=crypto),))


@pytest.mark.parametrize(
    ("configured", "listed", "pinned", "named"),
    [
        (None, None, "sr25519", "ed25519"),
        (None, "ed25519", "ed25519", "sr25519"),
        ("ed25519", None, "ed25519", "sr25519"),
        ("sr25519", "ed25519", "sr25519", "ed25519"),
    ],
)
def test_a_validators_scheme_is_what_the_miner_knows_and_never_what_a_welcome_names(
    configured: Scheme | None, listed: Scheme | None, pinned: Scheme, named: Scheme
) -> None:
    settings: dict[str, Any] = {} if configured is None else {"auth": {"schemes": {VALIDATOR: configured}}}
    bench = SessionBench(listing(listed), **settings)
    bench.hear(welcome(crypto=named))
    reason = f"the welcome names {named}, and this validator's scheme is {pinned} here: see auth.schemes"
    assert bench.all(CloseRequested) == [CloseRequested(CONNECTION, CloseCode.PROTOCOL_VIOLATION, reason)]
    assert bench.all(VerificationRequested) == []
    bench = SessionBench(listing(listed), **settings)
    bench.hear(welcome(crypto=pinned))
    assert bench.last(VerificationRequested).scheme == pinned
    assert bench.last(SessionActivated).hotkey == VALIDATOR


@pytest.mark.parametrize(
    "change",
    [
        SettingsReloaded({"connection": {"auth": {"schemes": {VALIDATOR: "ed25519"}}}}, ("auth.schemes",), ()),
        listing("ed25519"),
    ],
)
def test_a_session_ends_if_the_scheme_of_its_validator_becomes_another(change: Event) -> None:
    bench = SessionBench()
    bench.hear(welcome())
    bench.observe(listing(None), listing("sr25519"))
    assert bench.closed == []
    bench.observe(change, change)
    reason = "this validator's scheme is ed25519 from now on: see auth.schemes"
    assert bench.all(CloseRequested) == [CloseRequested(CONNECTION, CloseCode.PROTOCOL_VIOLATION, reason)]


def test_a_welcome_names_a_scheme_once() -> None:
    bench = SessionBench()
    bench.hear(welcome())
    bench.hear(welcome(crypto="ed25519", seq=2))
    assert bench.closed == []
    assert bench.last(VerificationRequested).scheme == "sr25519"


def test_a_miner_of_release_0_1_0_went_by_what_a_welcome_named() -> None:
    bench = SessionBench(is_of_0_1=True)
    bench.hear(welcome(crypto="ed25519"))
    assert bench.last(VerificationRequested).scheme == "ed25519"
    bench.observe(listing("sr25519"))
    assert bench.closed == []


def test_without_a_welcome_it_does_not_wait_for_ever() -> None:
    bench = SessionBench()
    bench.advance(5.1)
    assert bench.closed == [CloseCode.PROTOCOL_VIOLATION]


def test_frames_that_do_not_verify_end_the_session() -> None:
    bench = SessionBench()
    bench.hear(welcome())
    bench.hear(replace(confirm("p"), session=welcome().session, seq=2), signer=OTHER)
    assert bench.closed == [CloseCode.BAD_SIGNATURE]
    bench.hear(replace(confirm("p"), session=welcome().session, seq=3))
    assert not any(isinstance(event.message, ConfirmationMessage) for event in bench.all(MessageAccepted))


def test_broadcasts_are_taken_in_a_session_and_only_of_its_subnet() -> None:
    bench = SessionBench()
    bench.hear(welcome())
    bench.hear(update(3, None))
    assert isinstance(bench.last(MessageAccepted).message, GameUpdateMessage)
    bench.hear(replace(update(3, None), netuid=Netuid(31)))
    assert bench.closed == [CloseCode.PROTOCOL_VIOLATION]


def test_a_broadcast_of_an_unknown_kind_is_passed_over() -> None:
    bench = SessionBench()
    bench.hear(welcome())
    payload = codec.encode(stamp(update(3, None), VALIDATOR)).replace(b"game_update", b"injury_news")
    signature = simulated_signature(VALIDATOR, payload)
    bench.observe(FrameReceived(CONNECTION, codec.join(codec.Frame(payload, signature))))
    assert bench.closed == []


@pytest.mark.parametrize(
    "event",
    [
        GamesUpdated(VALIDATOR, EPOCH, Offset(3), (), snapshot=True),
        OutboxOpened((), (KnownSlate(VALIDATOR, EPOCH, Offset(3), ()),)),
    ],
)
def test_the_heartbeat_names_the_position(event: Event) -> None:
    bench = SessionBench()
    bench.observe(event)
    bench.hear(welcome())
    message = bench.last(WriteRequested).message
    assert isinstance(message, HeartbeatMessage)
    assert (message.epoch, message.offset) == (EPOCH, 3)


def test_after_its_end_a_session_hears_nothing_and_its_timer_is_gone() -> None:
    bench = SessionBench()
    bench.observe(ConnectionClosed(CONNECTION, 1006, ""))
    bench.hear(welcome())
    bench.advance(10)
    assert bench.closed == []
    assert bench.actor.state.sessions == {}
