"""TLS of both sides: which key was shown, what an authority is asked for, and what is refused in the handshake."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.events import Tls
from bettensor.neurons.edges import tls
from bettensor.neurons.edges.http_exchange import NoHttp
from bettensor.neurons.edges.tls import HandshakeFailed, OtherKey, Shown, by_tls, tls_trouble, wants_tls
from tests.neurons.edges.certificates import Pair, change_version, make_pair

KEY = "ab" * 32


class Streams:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @property
    def transport(self) -> asyncio.WriteTransport:
        return self.writer.transport


@asynccontextmanager
async def server(pair: Pair, received: list[bytes]) -> AsyncIterator[int]:
    """Its port; what is sent to it, after the handshake, is in ``received``. It looks at no certificate of its own."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(100))
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.pem, pair.key)
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as listening:
        yield listening.sockets[0].getsockname()[1]


async def dial(port: int, expected: Tls) -> Shown:
    async def connect(**options: Any) -> Streams:
        return Streams(*await asyncio.open_connection("127.0.0.1", port, **options))

    connection, shown = await by_tls(expected, connect)
    connection.transport.abort()
    return shown


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """The only one that this system trusts."""
    pair = make_pair(tmp_path, "authority", is_authority=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(pair.pem))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    tls.vouching_context.cache_clear()
    yield pair
    tls.vouching_context.cache_clear()


@pytest.mark.usefixtures("authority")
async def test_any_certificate_will_do_where_only_its_key_is_asked_for(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    async with server(pair, []) as port:
        assert await dial(port, Tls()) == Shown(pair.digest, vouched=False)
        assert await dial(port, Tls(pair.digest)) == Shown(pair.digest, vouched=False)


async def test_the_roots_vouch_for_a_certificate_of_theirs_with_the_dialled_address(
    tmp_path: Path, authority: Pair
) -> None:
    pair = make_pair(tmp_path, hosts=("127.0.0.1",), authority=authority)
    async with server(pair, []) as port:
        for expected in (Tls(), Tls(roots=True)):
            assert await dial(port, expected) == Shown(pair.digest, vouched=True)


@pytest.mark.parametrize(("hosts", "days"), [(("127.0.0.2",), 30), (("127.0.0.1",), -1)])
async def test_they_do_not_for_another_address_or_an_expired_one(
    tmp_path: Path, authority: Pair, hosts: tuple[str, ...], days: int
) -> None:
    pair = make_pair(tmp_path, hosts=hosts, authority=authority, days=days)
    async with server(pair, []) as port:
        assert not (await dial(port, Tls())).vouched
        with pytest.raises(HandshakeFailed, match=r"^no authority vouches for its certificate: "):
            await dial(port, Tls(roots=True))


async def test_another_key_is_left_before_a_byte_is_sent_to_it(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    received: list[bytes] = []
    async with server(pair, received) as port:
        with pytest.raises(OtherKey, match=f"^its certificate has the key {pair.digest}, and {KEY} was expected$"):
            await dial(port, Tls(KEY))
    assert b"".join(received) == b""


async def test_a_server_without_tls_is_found_in_the_handshake() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        with pytest.raises(HandshakeFailed, match=r"^no TLS handshake: "):
            await dial(listening.sockets[0].getsockname()[1], Tls())


async def test_a_server_that_ends_the_handshake_is_no_tls_and_one_that_is_not_there_is_an_error() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(HandshakeFailed, match=r"^no TLS handshake: "):
            await dial(port, Tls())
    with pytest.raises(ConnectionRefusedError):
        await dial(port, Tls())


async def test_a_certificate_that_cannot_be_read_is_not_trusted(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    change_version(pair, 3)
    async with server(pair, []) as port:
        with pytest.raises(HandshakeFailed, match=r"^its certificate cannot be read: 3 is not a valid X509 version$"):
            await dial(port, Tls())


@pytest.mark.parametrize("make", [tls.server_context, tls.any_context, tls.vouching_context])
def test_no_context_speaks_less_than_tls_1_2(make: Any) -> None:
    context: ssl.SSLContext = make()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    weak = [
        each["name"] for each in context.get_ciphers() if "GCM" not in each["name"] and "CHACHA" not in each["name"]
    ]
    assert weak == []


@pytest.mark.parametrize(
    ("error", "is_plain", "is_no_http", "trouble"),
    [
        (OtherKey("x"), False, False, "other_key"),
        (HandshakeFailed("x"), False, False, "handshake"),
        (NoHttp("x"), True, True, "wanted"),
        (NoHttp("x"), False, True, None),
        (OSError("x"), True, False, None),
    ],
)
def test_what_a_failure_shows(error: Exception, is_plain: bool, is_no_http: bool, trouble: str | None) -> None:
    assert tls_trouble(error, is_plain=is_plain, is_no_http=is_no_http) == trouble


@pytest.mark.parametrize(
    ("by", "status", "code", "trouble"),
    [
        (None, 403, "tls_required", "wanted"),
        (None, 400, "", "wanted"),  # nginx: The plain HTTP request was sent to HTTPS port
        (None, 400, "malformed", None),
        (None, 404, "", None),
        (Tls(), 400, "", None),
    ],
)
def test_an_answer_may_be_due_to_the_lack_of_tls(by: Tls | None, status: int, code: str, trouble: str | None) -> None:
    assert wants_tls(by, status, code) == trouble


def test_a_rehearsal_says_why_no_miner_could_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = tls.server_context()
    with pytest.raises(HandshakeFailed, match=r"^NO_SHARED_CIPHER$"):
        tls.rehearse(context)  # it has no certificate yet
    context.load_cert_chain(*make_pair(tmp_path)[:2])
    tls.rehearse(context)
    monkeypatch.setattr(tls, "ROUNDS", 1)
    with pytest.raises(HandshakeFailed, match=r"^it does not end in 1 rounds$"):
        tls.rehearse(context)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_rehearsal_ends_well_with_either_version(tmp_path: Path, newest: ssl.TLSVersion) -> None:
    context = tls.server_context()
    context.load_cert_chain(*make_pair(tmp_path)[:2])
    context.maximum_version = newest
    tls.rehearse(context)
