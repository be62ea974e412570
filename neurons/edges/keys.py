"""Signs and verifies everything, and is the only adapter to bittensor's ``http_auth``.

Holds the hotkey in memory: signing through a wallet would read the key file each time. Requests are verified by the
digest of their body, and not by ``http_auth.verify``, which needs the body: that is not in the event, and so not in the
log that an audit reads.
"""

from typing import Final

import bittensor_core
from bittensor_core import Keypair as Keypair

from bettensor.actors.schemes import DEFAULT
from bettensor.actors.validator.auth import CLAIMED, NONCE, SIGNATURE
from bettensor.bus.codec import SIGNED_PREFIX
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import (
    ConnectionClosed,
    HttpRequestReceived,
    QueryVerificationRequested,
    RequestVerificationRequested,
    Scheme,
    SignatureChecked,
    VerificationRequested,
)
from bettensor.bus.identifiers import ConnectionId, Hotkey
from bettensor.neurons.edges.edge import Edge, QuerySigner, RequestSigner, SentTargets, on

CRYPTO_TYPES: Final[dict[Scheme, int]] = {
    "ed25519": bittensor_core.CRYPTO_ED25519,
    "sr25519": bittensor_core.CRYPTO_SR25519,
}
_SCHEMES: Final[dict[int, Scheme]] = {number: scheme for scheme, number in CRYPTO_TYPES.items()}


class Keys(Edge, RequestSigner, QuerySigner, SentTargets):
    """Signs with the neuron's hotkey, and verifies the signatures of requests."""

    name = "keys"

    def __init__(self, keypair: Keypair) -> None:
        # importing http_auth takes most of a second: not before a neuron runs
        from bittensor import http_auth

        self._http_auth = http_auth
        self.keypair = keypair
        self.hotkey = Hotkey(keypair.ss58_address)
        self.scheme = scheme_of(keypair)
        self._targets: dict[ConnectionId, str] = {}

    def sign(self, payload: bytes) -> bytes:
        """64 bytes over a frame's JSON bytes (protocol, "Frame")."""
        return bytes(self.keypair.sign(SIGNED_PREFIX + payload))

    def sign_request(self, method: str, target: str, body: bytes, receiver: Hotkey) -> dict[str, str]:
        """Fresh btauth/1 headers for one attempt at one request (protocol, "Signed requests")."""
        return self._http_auth.sign(self.keypair, method=method, path=target, body=body, receiver_ss58=receiver)

    def sign_query(self, text: bytes) -> bytes:
        """64 bytes over exactly ``text``."""
        return bytes(self.keypair.sign(text))

    def expect(self, connection: ConnectionId, target: str) -> None:
        """Verify the request of ``connection`` by this target, and not by the one in its event."""
        self._targets[connection] = target

    @on(RequestVerificationRequested)
    def verify_request(self, event: RequestVerificationRequested, envelope: Envelope) -> None:
        """Answer with ``SignatureChecked``. AuthActor has judged shape, receiver and age; this checks the signature."""
        valid = verify_request(event.request, self.hotkey, event.scheme, self._targets.get(event.connection))
        self._bus.publish(SignatureChecked(event.connection, envelope.seq, valid))

    @on(ConnectionClosed)
    def forget_target(self, event: ConnectionClosed, _: Envelope) -> None:
        self._targets.pop(event.connection, None)

    @on(QueryVerificationRequested)
    def verify_query(self, event: QueryVerificationRequested, envelope: Envelope) -> None:
        """Answer with ``SignatureChecked``. A Dendrite signs its text as it is, without a prefix."""
        valid = verify_bytes(event.signer, event.scheme, event.text, event.signature)
        self._bus.publish(SignatureChecked(event.connection, envelope.seq, valid))


class FrameVerifier(Edge):
    """Verifies the signatures of frames in the neuron's own process; ``verifiers.py`` uses further processes."""

    name = "frame_verifier"

    @on(VerificationRequested)
    def verify_frame(self, event: VerificationRequested, envelope: Envelope) -> None:
        """Answer with ``SignatureChecked``, in the same drain."""
        valid = verify(event.signer, event.scheme, event.payload, event.signature)
        self._bus.publish(SignatureChecked(event.connection, envelope.seq, valid))


def verify(signer: Hotkey, scheme: Scheme, payload: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is ``signer``'s signature over a frame's JSON bytes, under this scheme and no other."""
    return verify_bytes(signer, scheme, SIGNED_PREFIX + payload, signature)


def verify_bytes(signer: Hotkey, scheme: Scheme, signed: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is ``signer``'s signature over exactly these bytes, under this scheme and no other."""
    try:
        return bool(bittensor_core.verify(signed, signature, signer, CRYPTO_TYPES[scheme]))
    except ValueError:  # the signer is not an ss58 address
        return False


def verify_request(request: HttpRequestReceived, receiver: Hotkey, scheme: Scheme, target: str | None = None) -> bool:
    """Whether the hotkey that a request's btauth/1 headers name signed it, for ``receiver``, under this scheme.

    Args:
        request: of any form; only its signature is judged, and not its age.
        receiver: the validator's hotkey.
        scheme: by which its sender must sign; a request that names another is not its word.
        target: as it was sent, if the event does not have it whole.
    """
    header = dict(request.headers)
    sender, nonce = Hotkey(header.get(CLAIMED, "")), header.get("x-bittensor-nonce", "")
    signature = header.get("x-bittensor-signature", "")
    is_for_us = header.get("x-bittensor-version") == "1" and header.get("x-bittensor-receiver") == receiver
    is_in_form = NONCE.fullmatch(nonce) and SIGNATURE.fullmatch(signature)
    if not is_for_us or not is_in_form or header.get("x-bittensor-crypto", DEFAULT) != scheme:
        return False
    method, sent = request.method.upper(), request.target if target is None else target
    lines = ("btauth/1", scheme, method, sent, request.digest, str(int(nonce)), sender, receiver)
    return verify_bytes(sender, scheme, "\n".join(lines).encode(), bytes.fromhex(signature[2:]))


class UnusableHotkey(ConfigurationError):
    """A neuron cannot sign with the hotkey that its configuration names."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(f"{what}; {cure}")
        self.what = what
        self.cure = cure


def scheme_of(keypair: Keypair) -> Scheme:
    """The signature scheme of a hotkey.

    Raises:
        UnusableHotkey: Bettensor does not support the scheme.
    """
    scheme = _SCHEMES.get(keypair.crypto_type)
    if scheme is None:
        raise unsupported_scheme(keypair, "the hotkey")
    return scheme


def unsupported_scheme(keypair: Keypair, what: str) -> UnusableHotkey:
    """The fault of a hotkey with another scheme; ``what`` names the hotkey for the message."""
    needed = " or ".join(CRYPTO_TYPES)
    return UnusableHotkey(
        f"{what} has the scheme {scheme_name(keypair)}; a neuron needs one of {needed}",
        "set wallet.hotkey to another hotkey",
    )


def scheme_name(keypair: Keypair) -> str:
    """The name of a key's signature scheme, also of one that Bettensor does not support."""
    scheme = _SCHEMES.get(keypair.crypto_type)
    if scheme is None:
        from bittensor.wallets import format_crypto_type

        return format_crypto_type(keypair.crypto_type)
    return scheme
