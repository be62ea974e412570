"""Where a public port is bound, and what is said if it cannot be."""

import asyncio
import contextlib
import errno
import os
from typing import Any

import pytest

from bettensor.actors.settings import PortLimits
from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.edges import http_server
from bettensor.neurons.edges.http_server import HttpServer, cure_for_port
from bettensor.neurons.edges.protocols import SessionProtocol
from tests.neurons.edges.conftest import Run

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def nothing(*_: object) -> None:
    raise AssertionError


def make_server(application: Any, ws: Any = "none") -> HttpServer:
    return HttpServer(
        application, limits=PortLimits(), refusal=lambda code, _: code.encode(), publish=lambda _: None, ws=ws
    )


async def serve_at(ip: str, port: int) -> None:
    await make_server(nothing).start("axon", ip, port)


async def test_what_was_never_started_is_stopped_at_once() -> None:
    server = make_server(nothing)
    await server.stop()
    await server.abort()
    assert not server.is_serving


async def test_a_request_that_is_not_answered_in_time_ends_with_the_server_and_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http_server, "CLOSE_TIMEOUT", 0.0)
    asked = asyncio.Event()

    async def wait(_: Any, __: Any, ___: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    server = make_server(wait)
    await server.start("axon", "127.0.0.1", 0)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nx")
    await asked.wait()
    await server.stop()
    writer.close()
    assert caplog.messages == []


async def test_a_fault_of_an_application_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_: Any, __: Any, ___: Any) -> None:
        raise AssertionError

    server = make_server(fail)
    await server.start("axon", "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b" 500 " in await reader.read()
    writer.close()
    await server.stop()
    assert "Exception in ASGI application" in caplog.text


@pytest.mark.parametrize("request_", [REQUEST, HANDSHAKE], ids=["request", "handshake"])
def test_an_answer_for_a_connection_that_has_just_ended_goes_nowhere(
    run: Run, caplog: pytest.LogCaptureFixture, request_: bytes
) -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        """As a deadline, or a reset by the peer, may fall between the request and its answer."""
        kind = "websocket.http" if scope["type"] == "websocket" else "http"
        await receive()
        scope["extensions"]["bettensor"].transport.abort()
        head = {"status": 200, "headers": [(b"content-length", b"2")]}
        await send({"type": f"{kind}.response.start"} | head)
        await send({"type": f"{kind}.response.body", "body": b"ok"})

    async def scenario() -> None:
        server = make_server(answer, ws=SessionProtocol)
        await server.start("axon", "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request_)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        await server.stop()

    run(scenario())
    assert caplog.messages == []


@pytest.mark.parametrize("ip", [":::", "a..b"])
async def test_what_is_no_address_is_to_be_corrected(ip: str) -> None:
    with pytest.raises(ConfigurationError, match=r"axon\.ip must be an IP address of this machine"):
        await serve_at(ip, 8091)


@pytest.mark.parametrize(
    ("ip", "number", "cure"),
    [
        ("0.0.0.0", errno.EACCES, "ports below 1024 are for root alone"),  # noqa: S104 - root is not refused
        ("::", errno.EAFNOSUPPORT, "this machine has no IPv6: set axon.ip to 0.0.0.0"),
    ],
)
async def test_what_cannot_be_tried_everywhere_is_to_be_corrected(
    ip: str, number: int, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(http_server, "listen_on", refuse)
    with pytest.raises(ConfigurationError, match=f"{os.strerror(number)}; {cure}"):
        await serve_at(ip, 80)


def test_cures_name_all_addresses_of_the_same_family() -> None:
    error = OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
    assert "set synapse.ip to :: (all addresses)" in cure_for_port("synapse", "2001:db8::7", 80, error)


def test_another_fault_of_the_system_has_no_cure() -> None:
    assert cure_for_port("axon", "127.0.0.1", 80, OSError(errno.EMFILE, os.strerror(errno.EMFILE))) == ""
