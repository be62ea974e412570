"""Signatures without cost or protection, for tests of everything before and after them."""

from hashlib import sha512

from bettensor.bus.codec import SIGNED_PREFIX
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    QueryVerificationRequested,
    RequestVerificationRequested,
    SignatureChecked,
    VerificationRequested,
)
from bettensor.bus.identifiers import Hotkey
from bettensor.neurons.edges.edge import Edge, Identity, Signer, on


class SimulatedKeys(Edge, Signer):
    """A hotkey whose signature is a hash that any code can compute from its name."""

    name = "keys"
    trusts_requests = True
    """Whether HTTP requests are found to be signed rightly: their signatures are not looked at."""

    def __init__(self, identity: Identity) -> None:
        self.hotkey = identity.hotkey

    def sign(self, payload: bytes) -> bytes:
        """64 bytes."""
        return simulated_signature(self.hotkey, payload)

    @on(RequestVerificationRequested)
    def verify_request(self, event: RequestVerificationRequested, envelope: Envelope) -> None:
        """Answer with ``SignatureChecked``, in the same drain."""
        self._bus.publish(SignatureChecked(event.connection, envelope.seq, self.trusts_requests))

    @on(QueryVerificationRequested)
    def verify_query(self, event: QueryVerificationRequested, envelope: Envelope) -> None:
        """Answer with ``SignatureChecked``, in the same drain."""
        valid = event.signature == simulated_signature(event.signer, event.text)
        self._bus.publish(SignatureChecked(event.connection, envelope.seq, valid))


class SimulatedVerifier(Edge):
    """Verifies the signatures of ``SimulatedKeys``."""

    name = "frame_verifier"

    @on(VerificationRequested)
    def verify_frame(self, event: VerificationRequested, envelope: Envelope) -> None:
        """Answer with ``SignatureChecked``, in the same drain."""
        valid = event.signature == simulated_signature(event.signer, event.payload)
        self._bus.publish(SignatureChecked(event.connection, envelope.seq, valid))


def simulated_signature(hotkey: Hotkey, payload: bytes) -> bytes:
    """The signature of ``hotkey`` over ``payload``."""
    return sha512(hotkey.encode() + SIGNED_PREFIX + payload).digest()
