"""Which validators have offered TLS to a miner in this run; a handshake with another one fails for its own reason."""

from bettensor.actors.actor import Actor, on
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import TlsLearned


class TlsOfferFollower(Actor):
    """Base of actors that tell why a connection fails: the validators are in ``state.tls_offers``."""

    @on(TlsLearned)
    def note_offer(self, event: TlsLearned, _: Envelope) -> None:
        if event.tls is None:
            self.state.tls_offers.pop(event.validator, None)
        else:
            self.state.tls_offers[event.validator] = None
