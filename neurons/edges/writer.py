"""Stamps, signs and writes messages, on the transport of each connection."""

import contextlib
from secrets import token_hex
from typing import Any, NamedTuple, Protocol, TypeVar

from bettensor.actors.stream import HISTORY
from bettensor.bus import codec
from bettensor.bus.clock import Clock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    BroadcastWriteRequested,
    BroadcastWritten,
    FrameWritten,
    Road,
    SendFailed,
    WriteRequested,
)
from bettensor.bus.identifiers import ConnectionId, Epoch, MessageId, Offset
from bettensor.bus.messages import Broadcast, WebSocketMessage
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.edges.edge import Edge, SendQueues, Signer, Transports, on

Message = TypeVar("Message", bound=WebSocketMessage)


class TransportGone(Exception):
    """The bytes were not taken: the connection has ended, or its queue is full."""


class Transport(Protocol):
    """Takes the frames of one connection."""

    road: Road

    def queued(self) -> int:
        """Bytes that were accepted and not sent yet; read from any thread."""
        ...

    def write(self, data: bytes) -> None:
        """Take one frame, at once and in order.

        Raises:
            TransportGone: the frame was not taken.
        """
        ...


class FrameWriter(Edge, Transports, SendQueues):
    """Turns messages into signed bytes; nothing else does."""

    name = "writer"

    def __init__(self, signer: Signer, clock: Clock) -> None:
        self._signer = signer
        self._clock = clock
        self._transports: dict[ConnectionId, Transport] = {}
        self._broadcasts: dict[_Place, tuple[Any, bytes]] = {}

    def add(self, connection: ConnectionId, transport: Transport) -> None:
        """Make ``connection`` writable."""
        self._transports[connection] = transport

    def remove(self, connection: ConnectionId) -> None:
        """Make ``connection`` unwritable."""
        self._transports.pop(connection, None)

    def queued(self) -> int:
        """Bytes that wait to be sent, over all connections; read from any thread."""
        return sum(transport.queued() for transport in list(self._transports.values()))

    @on(WriteRequested)
    def write(self, event: WriteRequested, _: Envelope) -> None:
        """Answer with ``FrameWritten`` or ``SendFailed``."""
        transport = None if event.connection is None else self._transports.get(event.connection)
        if event.connection is None or transport is None:
            self._bus.publish(SendFailed(event.hotkey, event.message, "there is no session"))
            return
        message, data = self._frame(event.message)
        try:
            transport.write(data)
        except TransportGone as gone:
            self._bus.publish(SendFailed(event.hotkey, event.message, str(gone)))
        else:
            self._bus.publish(FrameWritten(event.connection, event.hotkey, message, len(data), transport.road))

    @on(BroadcastWriteRequested)
    def broadcast(self, event: BroadcastWriteRequested, _: Envelope) -> None:
        """Answer with ``BroadcastWritten``. A peer that cannot take the frame has lost its connection, and will ask."""
        message, data = self._frame(event.message)
        count = 0
        for connection in event.connections:
            transport = self._transports.get(connection)
            if transport is not None:
                with contextlib.suppress(TransportGone):
                    transport.write(data)
                    count += 1
        self._bus.publish(BroadcastWritten(message, len(data), count))

    def remember(self, message: Broadcast, frame: bytes) -> None:
        """Use ``frame`` whenever ``message`` is to be written, as long as peers may ask for it."""
        newest = _place(message)
        for place in [place for place in self._broadcasts if place.is_past(newest)]:
            del self._broadcasts[place]
        self._broadcasts[newest] = message, frame

    def _frame(self, message: Message) -> tuple[Message, bytes]:
        if not isinstance(message, Broadcast):
            return self.sign(message)
        signed = self._broadcasts.get(_place(message))
        if signed is None:
            signed = self.sign(message)
            self.remember(*signed)
        return signed

    def sign(self, message: Message) -> tuple[Message, bytes]:
        """``message`` with its stamps, and its frame."""
        stamped = codec.stamp(
            message,
            message_id=MessageId(token_hex(16)),
            sender=self._signer.hotkey,
            timestamp=rfc3339(self._clock.wall()),
        )
        payload = codec.encode(stamped)
        return stamped, codec.join(codec.Frame(payload, self._signer.sign(payload)))


class _Place(NamedTuple):
    """The place of a broadcast in its stream, and the number of its frame."""

    kind: type[Broadcast]
    epoch: Epoch
    offset: Offset
    previous: Offset | None
    part: int

    def is_past(self, newest: "_Place") -> bool:
        """Whether peers can no longer ask for this frame once ``newest`` exists."""
        if self.kind is not newest.kind:
            return False
        oldest = newest.offset if self.previous is None else newest.offset - HISTORY + 1
        return self.epoch != newest.epoch or self.offset < oldest


def _place(message: Broadcast) -> _Place:
    return _Place(
        type(message),
        message.epoch,
        message.offset,
        getattr(message, "previous", message.offset),
        getattr(message, "part", 1),
    )
