"""Which validators have offered TLS, and why a handshake with another one fails."""

from bettensor.actors.cures import TLS_DEMANDED, TLS_LOST
from bettensor.actors.logbook import LogbookActor
from bettensor.actors.monitor import MonitorActor
from bettensor.bus.events import (
    DialFailed,
    LineLogged,
    MetagraphSynced,
    NeuronInfo,
    NeuronStarted,
    StatusReported,
    StatusRequested,
    Tls,
    TlsLearned,
)
from bettensor.bus.identifiers import ConnectionId, Uid
from tests.actors.miner.messages import ME, VALIDATOR
from tests.support import NETUID, Harness

REFUSED = "203.0.113.7:8091: no TLS handshake: WRONG_VERSION_NUMBER"


class Bench(Harness):
    """A miner's actors that tell why it does not reach a validator."""

    def __init__(self) -> None:
        super().__init__(MonitorActor(), LogbookActor())
        neuron = NeuronInfo(Uid(0), VALIDATOR, validator_permit=True, axon="203.0.113.7:8091")
        self.observe(NeuronStarted("miner", NETUID, ME, "sr25519", seed=1), MetagraphSynced((neuron,)))

    def fail_handshake(self) -> None:
        self.observe(DialFailed(ConnectionId(1), VALIDATOR, REFUSED, tls="handshake"))

    @property
    def cure(self) -> str:
        """As `bettensor peers` has it."""
        self.observe(StatusRequested(1))
        (peer,) = self.last(StatusReported).status["peers"]
        return str(peer["cure"])

    @property
    def last_line(self) -> str:
        return self.last(LineLogged).text


def test_a_validator_that_has_never_offered_tls_has_not_given_it_up() -> None:
    bench = Bench()
    bench.fail_handshake()
    assert bench.last_line.endswith(f"{REFUSED} ({TLS_DEMANDED})")
    assert bench.cure == TLS_DEMANDED
    assert "tls.mode: required" in TLS_DEMANDED


def test_a_validator_that_has_offered_tls_may_have_given_it_up() -> None:
    bench = Bench()
    bench.observe(TlsLearned(VALIDATOR, Tls("ab" * 32)))
    bench.fail_handshake()
    assert bench.last_line.endswith(f"{REFUSED} ({TLS_LOST})")
    assert bench.cure == TLS_LOST


def test_a_signed_welcome_that_offers_no_tls_ends_the_offer() -> None:
    bench = Bench()
    bench.observe(TlsLearned(VALIDATOR, Tls("ab" * 32)), TlsLearned(VALIDATOR, None))
    bench.fail_handshake()
    assert bench.cure == TLS_DEMANDED
