"""TLS as both sides of a connection need it: the key of a certificate, contexts, and a client's handshake.

The key of a certificate is the SHA-256 of its SubjectPublicKeyInfo in hex (protocol, "TLS"). Knows no hotkey, and
trusts no certificate by itself: actors conclude from the key that was shown.
"""

import asyncio
import hashlib
import ssl
from collections.abc import Awaitable, Callable
from functools import cache
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bettensor.bus.codes import RefusalCode
from bettensor.bus.errors import BettensorError
from bettensor.bus.events import Tls, TlsTrouble

UNREADABLE: Final = (
    InternalError,  # what OpenSSL refuses when it was read already
    TypeError,  # a kind of text that its attribute may not have
    UnsupportedAlgorithm,
    ValueError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""The errors of ``cryptography`` for a certificate, or a part of one, that cannot be read."""
HANDSHAKE_TIMEOUT: Final = 5.0
"""Seconds."""
ROUNDS: Final = 8
"""Of a handshake in memory, in each of which both sides answer all that they have got; one takes at most four."""
_ALPN: Final = ["http/1.1"]
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secret and authenticated, as all of TLS 1.3 are."""
_CLIENT_OPTIONS: Final[dict[str, Any]] = {"ssl_handshake_timeout": HANDSHAKE_TIMEOUT}


class HandshakeFailed(BettensorError):
    """There is no TLS at the other side, or none that can be trusted; the message says why."""


class OtherKey(BettensorError):
    """The other side has shown the certificate of another key than the expected one."""


class Shown(NamedTuple):
    """What a TLS handshake has shown of the other side; of a plain connection: nothing."""

    key: str = ""
    vouched: bool = False
    """The system's roots vouch for the certificate, and for the name or address that was dialled."""


class HasTransport(Protocol):
    """An open connection."""

    @property
    def transport(self) -> Any:
        """Its transport of asyncio."""
        ...


Connection = TypeVar("Connection", bound=HasTransport)


class ServerContext(ssl.SSLContext):
    """Serves connections with one certificate."""

    key: str
    """Of the certificate."""


def key_of(public: Any) -> str:
    """The key, as text, of a public key of ``cryptography``."""
    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def server_context() -> ServerContext:
    """A context that lacks only its certificate. A handshake leaves no state behind that could resume a session."""
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    context.num_tickets = 0
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


def rehearse(context: ServerContext) -> None:
    """Have our own client shake hands with ``context`` in memory, which takes a few milliseconds.

    Raises:
        HandshakeFailed: no miner could connect; the message is OpenSSL's reason.
    """
    requests, answers = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = any_context().wrap_bio(answers, requests)
    server = context.wrap_bio(requests, answers, server_side=True)
    try:
        for _ in range(ROUNDS):
            client_is_done, server_is_done = _is_done(client), _is_done(server)
            if client_is_done and server_is_done:
                return
    except ssl.SSLError as error:
        raise HandshakeFailed(reason_of(error)) from None
    raise HandshakeFailed(f"it does not end in {ROUNDS} rounds")


def _is_done(side: ssl.SSLObject) -> bool:
    """Whether this side has all that it needs of a handshake; it has answered what it has got."""
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def reason_of(error: OSError) -> str:
    """Why OpenSSL, or the system, refuses."""
    return getattr(error, "reason", None) or error.strerror or str(error) or type(error).__name__


def kind_of(public: Any) -> str:
    """The kind of a public key of ``cryptography``: ``RSA``, ``EC on secp256r1``."""
    name = type(public).__name__.removesuffix("PublicKey")
    return f"EC on {public.curve.name}" if isinstance(public, EllipticCurvePublicKey) else name


def key_that_serves(transport: asyncio.BaseTransport) -> str:
    """The key of the certificate by which this server's connection was opened; empty if it is plain."""
    context = transport.get_extra_info("sslcontext")
    return context.key if isinstance(context, ServerContext) else ""


async def by_tls(tls: Tls, connect: Callable[..., Awaitable[Connection]]) -> tuple[Connection, Shown]:
    """Connect by TLS, and look at the certificate before anything is sent.

    Args:
        tls: the expected certificate.
        connect: opens a connection, with keyword arguments of asyncio's ``create_connection``: the context among them.

    Raises:
        HandshakeFailed: there is no TLS at the other side, or ``tls`` demands what its certificate is not.
        OtherKey: it has shown another key than ``tls`` names.
        OSError: it cannot be reached.
    """
    connection, vouched = await _connect(tls, connect)
    try:
        key = key_shown(connection.transport.get_extra_info("ssl_object").getpeercert(binary_form=True))
        if tls.key not in ("", key):
            raise OtherKey(f"its certificate has the key {key}, and {tls.key} was expected")
    except BettensorError:
        connection.transport.abort()
        raise
    return connection, Shown(key, vouched)


async def _connect(tls: Tls, connect: Callable[..., Awaitable[Connection]]) -> tuple[Connection, bool]:
    """A connection, and whether the system's roots vouch for it. Unless one key alone will do, they are asked first."""
    if not tls.key:
        try:
            return await shake_hands(connect, vouching_context()), True
        except ssl.SSLCertVerificationError as error:
            if tls.roots:
                raise HandshakeFailed(f"no authority vouches for its certificate: {error.verify_message}") from None
    return await shake_hands(connect, any_context()), False


async def shake_hands(connect: Callable[..., Awaitable[Connection]], context: ssl.SSLContext) -> Connection:
    try:
        return await connect(ssl=context, **_CLIENT_OPTIONS)
    except ssl.SSLCertVerificationError:
        raise
    except (ssl.SSLError, ConnectionAbortedError, ConnectionResetError) as error:
        raise HandshakeFailed(f"no TLS handshake: {reason_of(error)}") from None


def tls_trouble(error: Exception, *, is_plain: bool, is_no_http: bool) -> TlsTrouble | None:
    """What a failed connection shows of TLS at the other side.

    Args:
        error: of the connection.
        is_plain: whether it was a plain one.
        is_no_http: whether the other side has answered, but not by HTTP, or has left without an answer.
    """
    if isinstance(error, OtherKey):
        return "other_key"
    if isinstance(error, HandshakeFailed):
        return "handshake"
    return "wanted" if is_plain and is_no_http else None


def wants_tls(tls: Tls | None, status: int, code: str) -> TlsTrouble | None:
    """Whether this answer to a plain request may be due to the lack of TLS: nginx has only its status for that.

    Args:
        tls: of the request; None: it was plain.
        status: of HTTP.
        code: of a validator's refusal; empty if it is none.
    """
    lacks = code == RefusalCode.TLS_REQUIRED or (status == HTTPStatus.BAD_REQUEST and not code)
    return "wanted" if tls is None and lacks else None


def key_shown(certificate: bytes) -> str:
    """The key of the certificate, in DER, that the other side has shown.

    Raises:
        HandshakeFailed: it cannot be read.
    """
    try:
        return key_of(x509.load_der_x509_certificate(certificate).public_key())
    except UNREADABLE as error:
        raise HandshakeFailed(f"its certificate cannot be read: {error}") from None


@cache
def vouching_context() -> ssl.SSLContext:
    """A client's context that takes certificates for which the system's roots vouch."""
    context = ssl.create_default_context()
    _restrict(context)
    return context


@cache
def any_context() -> ssl.SSLContext:
    """A client's context that takes any certificate: its key is compared afterwards."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _restrict(context)
    return context


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(_ALPN)
