"""Accepts the connections of a port, and gives each its protocol, over TLS if its first byte begins a handshake. If it
is of a trusted proxy, it may begin with a header that says for whom it is.

asyncio and uvloop would accept too, but they close what they cannot take without a word, and choose between plain and
TLS for a whole port. This works with the event loops of both.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, NamedTuple

from bettensor.bus.addresses import network_of
from bettensor.neurons.edges.crowd import Strangers
from bettensor.neurons.edges.forwarding import NOBODY_IN_FRONT, Client, Forwarding, NoProxyHeader, read_proxy_header

MAX_AT_ONCE: Final = 2
"""Connections accepted in one turn of the event loop: under a flood 1 ms, for which everybody else waits."""
SHORTAGE_PAUSE: Final = 0.1
"""Seconds without accepting after the system has refused: the connections wait in its own queue meanwhile."""
_OF_ONE_CONNECTION: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EPROTO,
    }
)
"""Errors of accept(2) that only say that one connection has ended before, or that a firewall forbids it."""
_CLIENT_HELLO: Final = 0x16
"""The first byte of a TLS handshake (RFC 8446, section 5.1): no method of HTTP begins with it."""

GetContext = Callable[[], ssl.SSLContext | None]
MakeProtocol = Callable[[Client], asyncio.Protocol]


class Timeouts(NamedTuple):
    """Seconds for the steps of TLS."""

    first_byte: float
    """Within which the first byte of a connection must come, and before it the header of a trusted proxy."""
    handshake: float
    """Within which the handshake must end."""
    shutdown: float
    """In which a peer must answer the end of TLS."""


class Acceptor:
    """Accepts at one listening socket from ``open`` until ``close``."""

    def __init__(
        self,
        listening: socket.socket,
        make_protocol: MakeProtocol,
        handshakes: Strangers,
        *,
        tls: GetContext | None,
        timeouts: Timeouts,
        on_shortage: Callable[[OSError | None], None],
        forwarding: Forwarding = NOBODY_IN_FRONT,
    ) -> None:
        """
        Args:
            listening: does not block; it is closed by ``close``.
            make_protocol: makes the protocol of one connection, whose peer it is told.
            handshakes: bounds the handshakes under way, first bytes that are waited for included.
            tls: gives the context for the next handshake; None from it refuses handshakes. Without ``tls`` all is
                plain, and no first byte is waited for.
            timeouts: for ``tls``.
            on_shortage: hears the error if the system refuses to accept, such as for too many open files; and None as
                soon as it accepts again.
            forwarding: how proxies say for whom they connect.
        """
        self._listening = listening
        self._make_protocol = make_protocol
        self._tls = tls
        self._timeouts = timeouts
        self._handshakes = handshakes
        self._on_shortage = on_shortage
        self._forwarding = forwarding
        self._is_short = False
        self._retry: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrivals: set[Arrival] = set()
        self._loop = asyncio.get_running_loop()

    def open(self) -> None:
        """Begin to accept."""
        self._loop.add_reader(self._listening, self._accept)

    async def close(self) -> None:
        """Stop accepting, and end the connections whose handshake has not ended. It may be called again."""
        if self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening)
            self._listening.close()
        if self._retry is not None:
            self._retry.cancel()
        for arrival in list(self._arrivals):
            arrival.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(MAX_AT_ONCE):
            try:
                accepted, address = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _OF_ONE_CONNECTION:
                    continue
                self._pause(error)
                return
            if self._is_short:
                self._is_short = False
                self._on_shortage(None)
            accepted.setblocking(False)
            self._take(accepted, Client(*address[:2]))

    def _pause(self, error: OSError) -> None:
        """Accept nothing for a while: the socket stays readable, so the loop would do nothing else."""
        self._loop.remove_reader(self._listening)
        self._retry = self._loop.call_later(SHORTAGE_PAUSE, self._loop.add_reader, self._listening, self._accept)
        if not self._is_short:
            self._is_short = True
            self._on_shortage(error)

    def _take(self, accepted: socket.socket, client: Client) -> None:
        is_announced = self._forwarding.begins_connection(client.host)
        if self._tls is None and not is_announced:
            self._start(self._connect(accepted, client))
            return
        arrival = Arrival(accepted, client)
        self._arrivals.add(arrival)
        arrival.task = self._start(self._greet(arrival, is_announced=is_announced))
        arrival.task.add_done_callback(lambda _: self._forget(arrival))
        self._handshakes.enter(arrival, network_of(self._forwarding.party_of(client)))

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _forget(self, arrival: "Arrival") -> None:
        self._arrivals.discard(arrival)
        self._handshakes.leave(arrival)
        if not arrival.is_connected:
            arrival.socket.close()

    async def _greet(self, arrival: "Arrival", *, is_announced: bool) -> None:
        deadline = self._loop.call_later(self._timeouts.first_byte, arrival.abort)
        try:
            if is_announced:
                await self._hear(arrival)
            first = await self._first_byte(arrival.socket)
        except (NoProxyHeader, OSError):
            return
        finally:
            deadline.cancel()
        if not first:
            return  # its peer has left
        if self._tls is None or first[0] != _CLIENT_HELLO:
            arrival.is_connected = True
            # in a task that nobody cancels: uvloop would close the connection, and its protocol would not hear of it
            self._start(self._connect(arrival.socket, arrival.client))
        elif (context := self._tls()) is not None:
            arrival.is_connected = True
            await self._connect(
                arrival.socket,
                arrival.client,
                ssl=context,
                ssl_handshake_timeout=self._timeouts.handshake,
                ssl_shutdown_timeout=self._timeouts.shutdown,
            )

    async def _hear(self, arrival: "Arrival") -> None:
        """A proxy says for whom it has connected: from now on that is the peer, also for the limits."""
        client = await read_proxy_header(arrival.socket)
        if client is not None:
            arrival.client = client
            self._handshakes.leave(arrival)
            self._handshakes.enter(arrival, network_of(self._forwarding.party_of(client)))

    async def _first_byte(self, accepted: socket.socket) -> bytes:
        """The first byte, which stays to be read; none if the peer has left."""
        readable = self._loop.create_future()
        self._loop.add_reader(accepted, _resolve, readable)
        try:
            await readable
            return accepted.recv(1, socket.MSG_PEEK)
        except OSError:
            return b""
        finally:
            self._loop.remove_reader(accepted)

    async def _connect(self, accepted: socket.socket, client: Client, **over_tls: Any) -> None:
        """Give it a transport, which closes it from now on, and its protocol; over TLS after the handshake.

        A handshake that fails is the peer's matter.
        """
        with contextlib.suppress(OSError):
            await self._loop.connect_accepted_socket(partial(self._make_protocol, client), accepted, **over_tls)


class Arrival:
    """A connection whose first byte has not come, or whose TLS handshake has not come to its end."""

    task: asyncio.Task[None]
    """Ends with the handshake, with the first byte of what is plain, or with the connection."""

    def __init__(self, accepted: socket.socket, client: Client) -> None:
        self.socket = accepted
        self.client = client
        self.is_connected = False
        """Whether it has its transport."""

    def abort(self) -> None:
        """End it."""
        self.task.cancel()


def _resolve(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)
