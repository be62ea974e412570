"""Signatures that cost nothing and protect nothing: for tests of what comes before and after them."""

from hashlib import sha512

from bettensor.bus.bus import EventBus
from bettensor.bus.codec import SIGNED_PREFIX
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import RequestVerificationRequested, Scheme, SignatureChecked, VerificationRequested
from bettensor.bus.identifiers import Hotkey


class SimulatedKeys:
    """A hotkey whose signature is a hash that anybody can compute from its name."""

    scheme: Scheme = "sr25519"

    def __init__(self, hotkey: Hotkey) -> None:
        self.hotkey = hotkey

    def attach(self, bus: EventBus) -> None:
        """Answer what is asked on ``bus``, in the same drain. Every HTTP request is found good."""
        self._bus = bus
        bus.subscribe(VerificationRequested, self.verify_frame, "keys")
        bus.subscribe(RequestVerificationRequested, self.verify_request, "keys")

    def sign(self, payload: bytes) -> bytes:
        """64 bytes."""
        return simulated_signature(self.hotkey, payload)

    def verify_frame(self, event: VerificationRequested, envelope: Envelope) -> None:
        """Answer with ``SignatureChecked``."""
        valid = event.signature == simulated_signature(event.signer, event.payload)
        self._bus.publish(SignatureChecked(event.connection, envelope.seq, valid))

    def verify_request(self, event: RequestVerificationRequested, envelope: Envelope) -> None:
        """Answer with ``SignatureChecked``."""
        self._bus.publish(SignatureChecked(event.connection, envelope.seq, valid=True))


def simulated_signature(hotkey: Hotkey, payload: bytes) -> bytes:
    """What ``hotkey`` would sign."""
    return sha512(hotkey.encode() + SIGNED_PREFIX + payload).digest()
