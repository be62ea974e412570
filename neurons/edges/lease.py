"""How long one connection of a public port may stay: it has a deadline at any time, and a place in the crowd."""

import asyncio
from collections.abc import Callable
from typing import Final

from bettensor.bus.identifiers import Hotkey
from bettensor.neurons.edges.crowd import Crowd

CLOSE_TIMEOUT: Final = 5.0
"""Seconds in which a peer must answer our close; then its socket is aborted."""


class Lease:
    """Ends its connection when the deadline of its present state has come. Knows no HTTP."""

    __slots__ = ("_crowd", "_deadline", "_forget", "_has_ended", "_loop", "_transport")

    def __init__(
        self, crowd: Crowd, transport: asyncio.Transport, remote: str, timeout: float, forget: Callable[[], None]
    ) -> None:
        """
        Args:
            crowd: gets one more stranger.
            transport: of the connection.
            remote: the peer's IP address.
            timeout: seconds until its first deadline.
            forget: frees what the peer makes us hold; called when the connection is aborted, whose end comes later.
        """
        self._crowd = crowd
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._deadline: asyncio.TimerHandle | None = None
        self._has_ended = False
        self._forget: Callable[[], None] | None = forget
        self.until(timeout)
        crowd.enter(self, remote)

    def until(self, seconds: float, act: Callable[[], None] | None = None) -> None:
        """A new state, which ends in ``seconds``, by ``act`` or by the end of the connection."""
        self._forget_deadline()
        if not self._has_ended:
            self._deadline = self._loop.call_later(seconds, act or self.abort)

    def hold(self, size: int) -> None:
        """The peer makes us hold ``size`` bytes now."""
        if size:
            self._crowd.hold(self, size)
        else:
            self._crowd.release(self)

    def move(self, remote: str) -> None:
        """What comes from now on is of a peer at the address ``remote``."""
        self._crowd.move(self, remote)

    def recognise(self, hotkey: Hotkey) -> None:
        """The peer has proven a registered hotkey."""
        self._crowd.recognise(self, hotkey)

    def may_begin_session(self) -> bool:
        """Whether there is room for one more session."""
        return self._crowd.may_begin_session(self)

    def begin_session(self) -> None:
        """A session begins, which has deadlines of its own."""
        self._forget_deadline()
        self._forget = None
        self._crowd.begin_session(self)

    def close(self) -> None:
        """End the connection after what was written has been sent, which may take ``CLOSE_TIMEOUT``."""
        self._transport.close()
        self.until(CLOSE_TIMEOUT)

    def abort(self) -> None:
        """End the connection at once."""
        self._crowd.leave(self)
        if self._forget is not None:
            self._forget()
        self._transport.abort()

    def end(self) -> None:
        """The connection has ended."""
        self._has_ended = True
        self._forget = None
        self._forget_deadline()
        self._crowd.leave(self)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
