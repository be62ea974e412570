"""uvicorn's HTTP as a public port speaks it: strangers get a short hearing, and cannot use up what the port has.

A head is bounded before it is parsed. A connection has a deadline in every state:

| state | begins with | ends with | deadline |
|---|---|---|---|
| silent | accept | the first byte | ``first_byte_timeout``, if the port speaks TLS |
| TLS handshake | its first byte | its end | ``handshake_timeout`` |
| request | the connection, or the first byte of a further request | the body's last byte | ``request_timeout`` |
| answer is made | the body's last byte, or the upgrade | the answer, or the session | ``EXCHANGE_TIMEOUT`` |
| answer is written | more of it than the system takes at once | some of it has been read | ``answer_timeout`` |
| answer is read | the answer | it has been sent, and a further request begins | ``answer_timeout`` |
| idle | the answer has been sent | a further request begins | ``idle_timeout`` |
| refused body | a refusal of what cannot be read | the end of the connection | ``CLOSE_TIMEOUT`` |
| closing | our close | all has been sent | ``CLOSE_TIMEOUT``; ``answer_timeout`` behind an answer |

The first two are the acceptor's. A ``ReadingWatch`` guards an answer that is written, and the deadline of a ``Lease``
all other states. Bytes that begin no request, such as empty lines, are in none of them an event.
"""

import math
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bettensor.actors.settings import PortLimits
from bettensor.bus.codes import RefusalCode
from bettensor.neurons.edges.crowd import Crowd
from bettensor.neurons.edges.forwarding import Client, Forwarding
from bettensor.neurons.edges.lease import CLOSE_TIMEOUT, Lease
from bettensor.neurons.edges.reading_watch import ReadingWatch
from bettensor.neurons.edges.scope import Scope

MAX_HEAD_BYTES: Final = 16 * 1024
"""Bytes of a request's head: a miner's and a Dendrite's have about 900 (protocol, "Limits")."""
MAX_LINE_BYTES: Final = 8192
"""Bytes of a line of a WebSocket handshake's head, its end included: the websockets library reads no longer one."""
MAX_HEADERS: Final = 64
"""Headers of a request: a miner's has 10, a Dendrite's 20, and proxies add some (protocol, "Limits")."""
MAX_FRAMING_BYTES: Final = 4096
"""Bytes of a chunked body that are no content: the sizes and extensions of its chunks, and trailers. An honest body has
8 of them in thousands; here they cost up to a thousand times as much as content."""
FRAMED: Final = 16
"""Bytes of content for each further byte that is none."""
SLICE: Final = 4096
"""Bytes that are parsed before their limits are looked at: one read from a socket may bring 40,000 chunks."""
MAX_DISCARDED_BYTES: Final = 16 * 1024 * 1024
"""Bytes of a body refused by the application that are thrown away, so that its sender can read the refusal; beyond, it
is cut off."""
MAX_LINGER_BYTES: Final = 256 * 1024
"""The same for what is refused before the application sees it: no honest sender is far from this."""
MAX_UNSENT_BYTES: Final = 64 * 1024
"""Bytes that a transport takes before its writers wait: what it has by itself if it is plain, and an eighth of that if
it is TLS."""
EXCHANGE_TIMEOUT: Final = 60.0
"""Seconds within which the application must have made its answer: it has shorter deadlines of its own."""
_WITH_BODY: Final = frozenset({b"POST", b"PUT", b"PATCH"})

Header = tuple[bytes, bytes]
Refuse = Callable[[RefusalCode, str], bytes]
"""Makes the JSON of a refusal."""


class HttpAnswer(NamedTuple):
    """The whole answer to a request."""

    status: int
    headers: list[Header]
    pieces: list[bytes]
    """The body; each piece is written as it is."""


Door = Callable[[Scope], HttpAnswer | None]
"""Hears of a WebSocket handshake before the WebSocket library does, which takes five times as long to refuse one. An
answer turns it away."""


class PortRules(NamedTuple):
    """What all connections of a port have in common."""

    crowd: Crowd
    limits: PortLimits
    refusal: Refuse
    max_body: int | None
    """Largest Content-Length, in bytes; None if the application judges it."""
    door: Door | None
    """None: all handshakes pass."""
    forwarding: Forwarding


class Unacceptable(Exception):
    """What came is no request that the application gets to see."""

    def __init__(self, status: HTTPStatus, code: RefusalCode, message: str, *headers: Header) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


class OutOfTurn(Unacceptable):
    """A request, or what is read as one, before the answer to the one before."""

    def __init__(self) -> None:
        message = "a request before the answer to the one before it, or a body whose length the head does not tell"
        super().__init__(HTTPStatus.BAD_REQUEST, RefusalCode.MALFORMED, message)


@dataclass(slots=True)
class Body:
    """How much of a body has come."""

    size: int = 0
    """Bytes, besides those that came with the end of the head."""
    content: int = 0

    @property
    def is_mostly_framing(self) -> bool:
        """Whether it has far too many bytes that are no content."""
        return self.size - self.content > MAX_FRAMING_BYTES + self.content // FRAMED


class RequestProtocol(ReadingWatch, HttpToolsProtocol):
    """One connection. The application finds it in the scope, as the extension ``bettensor``.

    One request at a time: uvicorn would buffer many pipelined requests.
    """

    lease: Lease

    def __init__(self, rules: PortRules, client: Client, **options: Any) -> None:
        super().__init__(**options)
        self._connected = client
        self.url = b""  # uvicorn's, which sets it with the first byte of a request
        self._rules = rules
        self._body: Body | None = None
        """None while a head is read."""
        self._head_bytes = 0
        self._request_bytes = 0
        self._discardable_bytes = MAX_DISCARDED_BYTES
        self._hears = True
        """False: what comes is thrown away."""
        self._out_of_turn: OutOfTurn | None = None
        """To be told after the answer that is being made."""
        self._unread_since: float | None = None
        """Since when there is an answer that has perhaps not been read."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)
        self.client = client = self._connected
        party = self._rules.forwarding.party_of(client)
        self.lease = Lease(self._rules.crowd, transport, party, self._rules.limits.request_timeout, self._forget_body)

    def _forget_body(self) -> None:
        if self.cycle is not None:
            self.cycle.body = bytearray()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lease.end()
        super().connection_lost(exc)
        # each of them refers to this protocol: the collector would have to find that nobody else does
        self.scope = self.cycle = None  # type: ignore[assignment]

    # --- what comes

    def data_received(self, data: bytes) -> None:
        room = MAX_HEAD_BYTES - self._head_bytes if self._body is None else len(data)
        self._head_bytes += min(room, len(data)) if self._body is None else 0
        self._read(data[:room])
        if len(data) > room:
            if self._hears and self._body is None and self.transport.get_protocol() is self:
                self._refuse(self._oversize())
            self._read(data[room:])

    def _read(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE):
            if self.transport.is_closing() or self.transport.get_protocol() is not self:
                return
            if not self._hears:
                self._discard(len(data) - start)
                return
            self._read_slice(data[start : start + SLICE])

    def _read_slice(self, data: bytes) -> None:
        self._request_bytes += len(data)
        self.lease.hold(self._request_bytes)
        body = self._body
        if body is not None:
            body.size += len(data)
        self._parse(data)
        if body is not None and body is self._body and body.is_mostly_framing:
            self._refuse_framing()

    def _refuse_framing(self) -> None:
        if self.cycle is not None and self.cycle.response_complete:
            self.lease.abort()
        elif self._hears:
            message = f"a chunked body with more than {MAX_FRAMING_BYTES} bytes that are no content"
            self._refuse(Unacceptable(HTTPStatus.BAD_REQUEST, RefusalCode.MALFORMED, message))

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
        except httptools.HttpParserError as error:
            self._refuse(_reason_of(error))

    def _oversize(self) -> Unacceptable:
        if len(self.url) > MAX_HEAD_BYTES // 2:
            status = HTTPStatus.REQUEST_URI_TOO_LONG
        else:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        return Unacceptable(status, RefusalCode.TOO_LARGE, f"a head of more than {MAX_HEAD_BYTES} bytes")

    def _discard(self, size: int) -> None:
        self._discardable_bytes -= size
        if self._discardable_bytes < 0:
            self.lease.abort()

    # --- the parser's callbacks

    def on_message_begin(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            raise OutOfTurn
        super().on_message_begin()
        self.scope["extensions"] = {"bettensor": self}  # type: ignore[dict-item]
        if not self.transport.get_write_buffer_size():
            self._unread_since = None
        self.lease.until(min(self._rules.limits.request_timeout, self._patience()))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise Unacceptable(status, RefusalCode.TOO_LARGE, f"more than {MAX_HEADERS} headers")

    def on_headers_complete(self) -> None:
        self._body = Body()
        if self._rules.forwarding.names_in_requests(self._connected.host):
            self._take_origin()
        self._judge_head()
        super().on_headers_complete()
        if self.parser.should_upgrade() and not self._should_upgrade():
            self.cycle.keep_alive = False  # the parser reads nothing more

    def _take_origin(self) -> None:
        forwarded = [value.decode("latin-1") for name, value in self.headers if name == b"x-forwarded-for"]
        origin = self._rules.forwarding.origin_of(self._connected.host, forwarded)
        self.client = self.scope["client"] = Client(origin, 0)
        self.lease.move(origin)

    def _judge_head(self) -> None:
        """Raise ``Unacceptable`` for what would be refused whatever the application says."""
        headers = dict(self.headers)
        if self.parser.get_http_version() not in ("1.0", "1.1"):
            raise _unreadable()
        if self.parser.should_upgrade() and self._should_upgrade():
            self._judge_handshake(headers)
        if self._rules.max_body is None:
            return
        length = headers.get(b"content-length")
        if length is not None and int(length) > self._rules.max_body:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            raise Unacceptable(status, RefusalCode.TOO_LARGE, f"the body has more than {self._rules.max_body} bytes")
        if length is None and b"transfer-encoding" not in headers and self.parser.get_method() in _WITH_BODY:
            message = "neither Content-Length nor Transfer-Encoding tells the length of the body"
            raise Unacceptable(HTTPStatus.LENGTH_REQUIRED, RefusalCode.MALFORMED, message)

    def _judge_handshake(self, headers: dict[bytes, bytes]) -> None:
        """RFC 6455, section 4.2.1. The websockets library would refuse it too, but later and in words of its own."""
        bad = HTTPStatus.BAD_REQUEST
        if self.parser.get_http_version() != "1.1":
            raise Unacceptable(bad, RefusalCode.NO_UPGRADE, "a WebSocket handshake needs HTTP/1.1")
        if self.parser.get_method() != b"GET":
            status = HTTPStatus.METHOD_NOT_ALLOWED
            raise Unacceptable(status, RefusalCode.METHOD_NOT_ALLOWED, "a WebSocket handshake is a GET")
        if len(self.url) > MAX_LINE_BYTES - len("GET  HTTP/1.1\r\n"):
            raise _long_line(HTTPStatus.REQUEST_URI_TOO_LONG)
        for name, value in self.headers:
            if not (name.isascii() and value.isascii()):
                raise Unacceptable(bad, RefusalCode.MALFORMED, "a header of a WebSocket handshake is not ASCII")
            if len(name) + len(value) > MAX_LINE_BYTES - len(": \r\n"):
                raise _long_line(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
            raise Unacceptable(bad, RefusalCode.MALFORMED, "a WebSocket handshake has no body")
        if not _is_key([value for name, value in self.headers if name == b"sec-websocket-key"]):
            raise Unacceptable(bad, RefusalCode.MALFORMED, "Sec-WebSocket-Key is not 16 bytes in base64, once")
        if [value for name, value in self.headers if name == b"sec-websocket-version"] != [b"13"]:
            status, message = HTTPStatus.UPGRADE_REQUIRED, "Sec-WebSocket-Version is not 13"
            raise Unacceptable(status, RefusalCode.UNSUPPORTED_PROTOCOL, message, (b"sec-websocket-version", b"13"))

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self._body is not None:
            self._body.content += len(body)
        if self.cycle.response_complete:
            self._discard(len(body))

    def on_message_complete(self) -> None:
        self._body, self._head_bytes, self._discardable_bytes = None, 0, MAX_DISCARDED_BYTES
        if self.cycle is not None and self.cycle.response_complete:  # the rest of a refused body
            self._await_request()
        else:
            self.lease.until(min(EXCHANGE_TIMEOUT, self._patience()))
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        if self._rules.door is not None and (answer := self._rules.door(self._handshake())) is not None:
            self._hears = False
            self._write(answer)
            self.lease.close()
            return
        super().handle_websocket_upgrade()
        self.lease.until(CLOSE_TIMEOUT if self.transport.is_closing() else EXCHANGE_TIMEOUT)

    def _handshake(self) -> Scope:
        path, _, query = self.url.partition(b"?")
        return {**self.scope, "raw_path": path, "query_string": query}

    # --- what goes

    def _reading_timeout(self) -> float:
        return self._rules.limits.answer_timeout

    def _look_again(self) -> None:
        """The reader of a long answer has time from each look on, as long as it reads."""
        super()._look_again()
        if self.cycle is not None and not self.cycle.response_complete:
            self.lease.until(EXCHANGE_TIMEOUT)

    def _stalled(self) -> None:
        self.lease.abort()

    def on_response_complete(self) -> None:
        """In place of uvicorn's, which counts the time between two requests anew with each byte."""
        self._request_bytes = 0
        self._forget_body()
        self.lease.hold(0)
        if self._unread_since is None:
            self._unread_since = self.loop.time()
        if self.transport.is_closing():
            self.lease.until(self._patience())
        elif self._out_of_turn is not None:
            self._refuse(self._out_of_turn)
        else:
            self.flow.resume_reading()
            self._await_request()

    def _await_request(self) -> None:
        self.lease.until(min(self._rules.limits.idle_timeout, self._patience()), self._end_idleness)

    def _end_idleness(self) -> None:
        if not self.transport.get_write_buffer_size():
            self.lease.close()
        elif self._patience():
            self.lease.until(self._patience())
        else:
            self.lease.abort()

    def _patience(self) -> float:
        """Seconds that there are left for reading the answer."""
        if self._unread_since is None:
            return math.inf
        elapsed: float = self.loop.time() - self._unread_since
        return max(0.0, self._rules.limits.answer_timeout - elapsed)

    def shutdown(self) -> None:
        super().shutdown()
        if self.transport.is_closing():
            self.lease.until(CLOSE_TIMEOUT)

    def _refuse(self, reason: Unacceptable) -> None:
        """Answer what is no request, and hear no more. An answer that is being made goes first."""
        self._hears, self._discardable_bytes = False, MAX_LINGER_BYTES
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if is_answering and isinstance(reason, OutOfTurn):
            self._out_of_turn = reason
            return
        if is_answering:  # a body that cannot be read: the application hears that its sender has left
            self.cycle.disconnected, self.cycle.waiting_for_100_continue = True, False
            self.cycle.message_event.set()
        content = self._rules.refusal(reason.code, str(reason))
        self._write(json_answer(reason.status, content, *reason.headers))
        self._linger()

    def _write(self, answer: HttpAnswer) -> None:
        """Write the last answer of this connection."""
        status = b"HTTP/1.1 %d %b" % (answer.status, HTTPStatus(answer.status).phrase.encode())
        lines = [status, *(b"%b: %b" % header for header in answer.headers), b"connection: close", b"", b""]
        self.transport.write(b"\r\n".join(lines) + b"".join(answer.pieces))

    def _linger(self) -> None:
        """Close after the refusal, but read what comes for a while: else the system resets the connection, and the
        refusal is lost.
        """
        if not self.transport.can_write_eof():  # TLS
            self.lease.close()
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self.lease.until(CLOSE_TIMEOUT)


def whole_answer(status: int, *headers: Header, pieces: list[bytes]) -> HttpAnswer:
    """An answer with the length of its body."""
    size = sum(map(len, pieces))
    return HttpAnswer(status, [*headers, (b"content-length", str(size).encode())], pieces)


def json_answer(status: int, content: bytes, *headers: Header) -> HttpAnswer:
    """An answer in JSON."""
    return whole_answer(status, (b"content-type", b"application/json"), *headers, pieces=[content])


def _reason_of(error: httptools.HttpParserError) -> Unacceptable:
    """What a callback raised, or else that the parser cannot read it."""
    raised = error.__context__
    return raised if isinstance(raised, Unacceptable) else _unreadable()


def _unreadable() -> Unacceptable:
    return Unacceptable(HTTPStatus.BAD_REQUEST, RefusalCode.MALFORMED, "this is no request of HTTP/1.1")


def _long_line(status: HTTPStatus) -> Unacceptable:
    return Unacceptable(status, RefusalCode.TOO_LARGE, f"a line of a handshake with more than {MAX_LINE_BYTES} bytes")


def _is_key(values: list[bytes]) -> bool:
    """Whether a handshake has one key, of 16 bytes in base64 (RFC 6455, section 4.1)."""
    try:
        return len(values) == 1 and len(b64decode(values[0], validate=True)) == 16
    except ValueError:
        return False
