"""A public port: we accept, and uvicorn serves. A validator's listener and a miner's axon share it."""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Final

import uvicorn

from bettensor.actors.settings import PortLimits
from bettensor.bus.events import Event
from bettensor.neurons.edges.acceptor import Acceptor, GetContext, Timeouts
from bettensor.neurons.edges.crowd import Crowd, Strangers, room_of
from bettensor.neurons.edges.forwarding import NOBODY_IN_FRONT, Client, Forwarding
from bettensor.neurons.edges.lease import CLOSE_TIMEOUT
from bettensor.neurons.edges.pressure import Pressure
from bettensor.neurons.edges.request_protocol import Door, PortRules, Refuse, RequestProtocol
from bettensor.neurons.system.errors import start_fault
from bettensor.neurons.system.ports import listen_on
from bettensor.neurons.system.processes import open_file_limit

BACKLOG: Final = 2048
"""Connections that the system accepts before we do."""

_NO_NEWS: Final = ("without completing handshake", "timeout graceful shutdown exceeded")


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # the neuron handles signals itself

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's
        """uvicorn listens nowhere: it only serves what the acceptor accepts."""
        self.servers = []
        self.started = True

    def make_protocol(self, client: Client) -> asyncio.Protocol:
        """The protocol of a new connection with ``client``."""
        make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return make(client, config=self.config, server_state=self.server_state, app_state={})


class HttpServer:
    """Serves an ASGI application at one address, until it is stopped."""

    endpoint: str
    """The bound address and port."""
    port: int

    crowd: Crowd
    """Its connections."""

    def __init__(
        self,
        application: Any,
        *,
        limits: PortLimits,
        refusal: Refuse,
        publish: Callable[[Event], object],
        http: type[RequestProtocol] = RequestProtocol,
        max_body: int | None = None,
        door: Door | None = None,
        tls: GetContext | None = None,
        forwarding: Forwarding = NOBODY_IN_FRONT,
        **options: Any,
    ) -> None:
        """
        Args:
            application: gets each request.
            limits: of the port.
            refusal: makes the JSON of a refusal by the port itself.
            publish: the bus's.
            http: the class that speaks HTTP.
            max_body: largest Content-Length, in bytes; None if the application judges it.
            door: hears of each WebSocket handshake first.
            tls: gives the context for the next TLS handshake; None from it refuses handshakes. If given, the port
                speaks both plain and TLS. The transport's ``sslcontext`` is the context that serves a connection.
            forwarding: how proxies in front of the port say for whom they come.
            options: of ``uvicorn.Config``, about WebSocket.
        """
        self._limits = limits
        self._tls = tls
        self._forwarding = forwarding
        self._pressure = Pressure(publish)
        self._room = room_of(limits, open_file_limit())
        self.crowd = Crowd(self._room, self._pressure.shed)
        rules = PortRules(self.crowd, limits, refusal, max_body, door, forwarding)
        config = uvicorn.Config(
            application,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=int(CLOSE_TIMEOUT),
            http=partial(http, rules),  # type: ignore[arg-type]
            **options,
        )
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None
        self._acceptor: Acceptor | None = None

    async def start(self, section: str, ip: str, port: int) -> None:
        """Bind, and begin to serve.

        Args:
            section: of the configuration, whose keys ``ip`` and ``port`` are; for messages.
            ip: the address to bind.
            port: 0: any free port.

        Raises:
            ConfigurationError: the address cannot be bound; nor at a later start.
            Unavailable: it cannot be bound now.
        """
        await self.serve(section, _bind(section, ip, port))

    async def serve(self, name: str, listening: socket.socket) -> None:
        """Begin to serve at a socket that listens already.

        Args:
            name: of the task.
            listening: is closed when the server stops.
        """
        listening.setblocking(False)
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        self._serving = asyncio.create_task(self._server.serve(sockets=[]), name=name)
        while not self._server.started and not self._serving.done():  # noqa: ASYNC110
            await asyncio.sleep(0)  # uvicorn has no event for it
        self._acceptor = self._make_acceptor(listening)
        self._acceptor.open()
        host, self.port = listening.getsockname()[:2]
        self.endpoint = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def is_serving(self) -> bool:
        """Whether it was started."""
        return self._serving is not None

    async def stop(self) -> None:
        """Stop serving, after the requests that are under way. If cancelled, it waits for none."""
        if self._serving is None:
            return
        await self._stop_accepting()
        self._server.should_exit = True
        try:
            await asyncio.shield(self._serving)
        except asyncio.CancelledError:
            await self.abort()
            raise

    async def abort(self) -> None:
        """Stop serving at once."""
        self._server.should_exit = self._server.force_exit = True
        await self._stop_accepting()
        if self._serving is not None:
            await self._serving

    def _make_acceptor(self, listening: socket.socket) -> Acceptor:
        room, shed = self._room, self._pressure.shed
        return Acceptor(
            listening,
            self._server.make_protocol,
            Strangers("handshakes", room.handshakes, room.handshakes_per_network, shed),
            tls=self._tls,
            timeouts=Timeouts(self._limits.first_byte_timeout, self._limits.handshake_timeout, CLOSE_TIMEOUT),
            on_shortage=self._pressure.shortage,
            forwarding=self._forwarding,
        )

    async def _stop_accepting(self) -> None:
        self._pressure.close()
        if self._acceptor is not None:
            await self._acceptor.close()


def _is_news(record: logging.LogRecord) -> bool:
    """Filter out uvicorn's errors for each refused handshake, and for each request that a stop of ours ends."""
    if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError):
        return False
    return not any(text in record.getMessage() for text in _NO_NEWS)


def _bind(section: str, ip: str, port: int) -> socket.socket:
    try:
        listening = listen_on(ip, port, BACKLOG)
    except OSError as error:
        cure = cure_for_port(section, ip, port, error)
        text = f"{section}.ip {ip!r}, {section}.port {port}: cannot listen there: {error.strerror or error}"
        raise start_fault(text + (cure and f"; {cure}"), error) from None
    return listening


def cure_for_port(section: str, ip: str, port: int, error: OSError) -> str:
    """What the operator must change after ``error`` of ``listen_on``; an empty text if that is unknown.

    Args:
        section: of the configuration: axon of a validator, synapse of a miner.
        ip: the address.
        port: the port.
        error: the system's.
    """
    if isinstance(error, socket.gaierror):
        return f"{section}.ip must be an IP address of this machine, or 0.0.0.0 for all"
    every = "::" if ":" in ip else "0.0.0.0"  # noqa: S104 - advice for a public port
    cures = {
        errno.EADDRNOTAVAIL: f"{ip} is not an address of this machine: set {section}.ip to {every} (all addresses), "
        f"and announce {ip} by {section}.external_ip",
        errno.EADDRINUSE: f"stop the process that uses port {port} (ss -ltnp shows it), or set another {section}.port",
        errno.EACCES: f"ports below 1024 are for root alone: set {section}.port to another one",
        errno.EAFNOSUPPORT: f"this machine has no IPv6: set {section}.ip to 0.0.0.0",
    }
    return cures.get(error.errno or 0, "")
