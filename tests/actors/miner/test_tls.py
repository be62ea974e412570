"""How a miner connects to a validator: what it learns from signed welcomes, and what nobody can talk it out of."""

from typing import Any

import pytest

from bettensor.actors.cures import DIALLED_BY_TLS
from bettensor.actors.miner.reconnect import ReconnectActor, ReconnectSettings
from bettensor.bus.codes import CloseCode
from bettensor.bus.events import (
    CertificateDoubted,
    CloseRequested,
    ConnectionOpened,
    DialFailed,
    DialRequested,
    MetagraphSynced,
    NeuronInfo,
    NeuronStarted,
    Purpose,
    ReconnectScheduled,
    SessionActivated,
    SettingsReloaded,
    Tls,
    TlsLearned,
    TlsTrouble,
    WriteRequested,
)
from bettensor.bus.identifiers import ConnectionId, SessionId, Uid
from tests.actors.miner.messages import CONNECTION, ME, VALIDATOR, welcome
from tests.actors.miner.test_connection import SessionBench
from tests.support import NETUID, Harness

KEY, OTHER_KEY = "ab" * 32, "cd" * 32
ANY, BOUND, VOUCHED = Tls(), Tls(KEY), Tls(roots=True)


class Welcomed(SessionBench):
    """A connection on which the certificate with the key ``shown`` was seen, and the welcome on it."""

    def __init__(
        self, shown: str, named: str, *, vouched: bool = False, purpose: Purpose = "session", **tls: Any
    ) -> None:
        super().__init__(tls=tls)
        nonce = "1752076800000000000"
        self.observe(ConnectionOpened(CONNECTION, VALIDATOR, nonce, purpose, shown, vouched))
        self.hear(welcome(tls_key=named) if named else welcome())

    @property
    def learned(self) -> list[Tls | None]:
        return [event.tls for event in self.all(TlsLearned)]


@pytest.mark.parametrize(
    ("why", "shown", "named", "vouched", "settings", "learned"),
    [
        ("the welcome names the key that was seen", KEY, KEY, False, {}, [BOUND]),
        ("and no authority is needed, nor does one matter", KEY, KEY, True, {"mode": "required"}, [BOUND]),
        ("the welcome names none, and the roots vouch", KEY, "", True, {}, [VOUCHED]),
        ("the key is pinned, whatever the welcome names", KEY, OTHER_KEY, False, {"keys": {VALIDATOR: KEY}}, [BOUND]),
        ("there is no TLS, and none is asked for", "", "", False, {}, [None]),
        ("TLS is offered, and off here", "", KEY, False, {"mode": "off"}, []),
    ],
)
def test_a_session_goes_on(
    why: str, shown: str, named: str, vouched: bool, settings: dict[str, Any], learned: list[Tls | None]
) -> None:
    bench = Welcomed(shown, named, vouched=vouched, **settings)
    assert bench.all(CloseRequested) == [], why
    assert bench.last(SessionActivated).hotkey == VALIDATOR
    assert bench.learned == learned


@pytest.mark.parametrize(
    ("why", "shown", "named", "vouched", "settings", "reason"),
    [
        (
            "a man in the middle, whose certificate the roots vouch for",
            OTHER_KEY,
            KEY,
            True,
            {},
            "the certificate is not the validator's: its key is cdcdcdcdcdcd..., not abababababab...",
        ),
        (
            "nobody vouches for the certificate",
            KEY,
            "",
            False,
            {},
            "no welcome and no authority vouches for the certificate with the key abababababab...",
        ),
        (
            "another key is pinned, though the welcome names this one",
            KEY,
            KEY,
            True,
            {"keys": {VALIDATOR: OTHER_KEY}},
            "tls.mode or tls.keys asks for another connection with this validator",
        ),
        (
            "the connection is plain, and must not be",
            "",
            KEY,
            False,
            {"mode": "required"},
            "tls.mode or tls.keys asks for another connection with this validator",
        ),
    ],
)
def test_a_session_that_cannot_be_trusted_is_closed_before_the_miner_says_a_word(
    why: str, shown: str, named: str, vouched: bool, settings: dict[str, Any], reason: str
) -> None:
    bench = Welcomed(shown, named, vouched=vouched, **settings)
    assert bench.all(CloseRequested) == [CloseRequested(CONNECTION, CloseCode.PROTOCOL_VIOLATION, reason)], why
    assert bench.all(CertificateDoubted) == [CertificateDoubted(VALIDATOR, reason)]
    assert [*bench.all(WriteRequested), *bench.all(SessionActivated), *bench.learned] == []
    assert len(reason) <= 123


def test_a_plain_session_is_left_before_the_miner_says_a_word_if_tls_is_offered() -> None:
    bench = Welcomed("", KEY)
    assert bench.all(CloseRequested) == [CloseRequested(CONNECTION, CloseCode.NORMAL, DIALLED_BY_TLS)]
    assert [*bench.all(WriteRequested), *bench.all(CertificateDoubted)] == []
    assert bench.learned == [BOUND]


def test_an_exchange_by_which_tls_is_learned_is_read_to_its_end() -> None:
    bench = Welcomed("", KEY, purpose="games")
    assert bench.all(CloseRequested) == []
    assert bench.learned == [BOUND]


def test_what_is_known_already_is_no_news() -> None:
    bench = Welcomed(KEY, KEY)
    bench.observe(ConnectionOpened(CONNECTION, VALIDATOR, "1752076800000000000", "session", KEY))
    bench.hear(welcome(tls_key=KEY))
    assert bench.learned == [BOUND]


def test_a_run_of_0_1_0_knows_no_tls() -> None:
    bench = SessionBench(is_of_0_1=True)
    bench.hear(welcome(tls_key=KEY))
    assert bench.last(SessionActivated).hotkey == VALIDATOR
    assert bench.all(TlsLearned) == []


def test_open_sessions_follow_new_settings() -> None:
    bench = Welcomed("", "")
    bench.observe(SettingsReloaded({"connection": {"tls": {"mode": "auto"}}}, ("tls.mode",), ()))
    assert bench.closed == []
    bench.observe(SettingsReloaded({"connection": {"tls": {"mode": "required"}}}, ("tls.mode",), ()))
    assert bench.closed == [CloseCode.NORMAL]


class Dialling(Harness):
    """A miner that dials one validator."""

    def __init__(self, *, is_of_0_1: bool = False, **tls: Any) -> None:
        self.actor = ReconnectActor(ReconnectSettings(tls=tls))  # type: ignore[arg-type]  # pydantic makes it one
        super().__init__(self.actor)
        neuron = NeuronInfo(Uid(0), VALIDATOR, validator_permit=True, axon="10.0.0.1:8091")
        self.observe(NeuronStarted("miner", NETUID, ME, "sr25519", 1, is_of_0_1), MetagraphSynced((neuron,)))

    @property
    def dials(self) -> list[Tls | None]:
        """How the validator was dialled so far."""
        return [dial.tls for dial in self.all(DialRequested)]

    @property
    def connection(self) -> ConnectionId:
        return self.last(DialRequested).connection

    def fail(self, trouble: TlsTrouble | None = None) -> None:
        self.observe(DialFailed(self.connection, VALIDATOR, "no", tls=trouble))

    def learn(self, tls: Tls | None) -> None:
        self.observe(TlsLearned(VALIDATOR, tls))


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        ({}, None),
        ({"mode": "off"}, None),
        ({"mode": "required"}, ANY),
        ({"keys": {VALIDATOR: KEY}}, BOUND),
        ({"mode": "required", "keys": {VALIDATOR: KEY}}, BOUND),
    ],
)
def test_the_first_dial_is_as_the_settings_say(settings: dict[str, Any], first: Tls | None) -> None:
    assert Dialling(**settings).dials == [first]


def test_a_validator_that_offers_tls_is_dialled_by_tls_at_once_and_from_then_on() -> None:
    bench = Dialling()
    bench.learn(BOUND)
    assert bench.dials == [None, BOUND]
    for _ in range(5):
        bench.fail("handshake")
        bench.advance(300)
    assert set(bench.dials[1:]) == {BOUND}  # whoever lets TLS fail gets no plain connection
    assert len(bench.dials) > 5


def test_an_active_session_is_not_left_for_what_is_learned_beside_it() -> None:
    bench = Dialling()
    bench.observe(SessionActivated(bench.connection, VALIDATOR, Uid(0), SessionId("s" * 32)))
    bench.learn(BOUND)
    assert bench.dials == [None]


def test_what_is_learned_of_a_validator_that_is_no_target_changes_nothing() -> None:
    bench = Dialling()
    bench.observe(MetagraphSynced(()))
    bench.learn(BOUND)
    assert bench.dials == [None]


def test_what_may_expect_tls_is_dialled_by_tls_at_once_and_plainly_again_if_it_has_none() -> None:
    bench = Dialling()
    bench.fail("wanted")
    assert bench.dials == [None, ANY]
    bench.fail("handshake")
    assert bench.dials == [None, ANY]  # it backs off meanwhile
    assert bench.last(ReconnectScheduled).delay > 0
    bench.advance(5)
    assert bench.dials == [None, ANY, None]


def test_where_tls_is_off_no_hint_changes_that() -> None:
    bench = Dialling(mode="off")
    bench.fail("wanted")
    assert bench.dials == [None]
    bench.advance(5)
    assert bench.dials == [None, None]


def test_another_key_has_the_miner_ask_for_a_welcome_at_once_unless_the_key_is_pinned() -> None:
    bench = Dialling()
    bench.learn(BOUND)
    bench.fail("other_key")
    assert bench.dials == [None, BOUND, ANY]
    bench.learn(Tls(OTHER_KEY))
    bench.fail()
    bench.advance(5)
    assert bench.dials[3:] == [Tls(OTHER_KEY)]
    pinned = Dialling(keys={VALIDATOR: KEY})
    pinned.fail("other_key")
    pinned.advance(5)
    assert set(pinned.dials) == {BOUND}


def test_whoever_switches_tls_off_is_obeyed_at_once() -> None:
    bench = Dialling()
    bench.learn(BOUND)
    bench.fail("handshake")
    bench.observe(SettingsReloaded({"reconnect": {"tls": {"mode": "off"}}}, ("tls.mode",), ()))
    assert bench.dials == [None, BOUND, None]


def test_a_miner_of_0_1_0_dials_plainly_whatever_is_set_today() -> None:
    bench = Dialling(is_of_0_1=True, mode="required", keys={VALIDATOR: KEY})
    assert bench.dials == [None]
