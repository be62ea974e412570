"""Stamps, signs and writes messages, on the transport of each connection."""

import contextlib
from collections.abc import Iterable, Iterator
from functools import partial
from secrets import token_hex
from typing import NamedTuple, Protocol, TypeVar

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
    SlatePrepared,
    SlateWriteRequested,
    SlateWritten,
    StreamOpened,
    UpdateStored,
    WriteRequested,
)
from bettensor.bus.identifiers import ConnectionId, Epoch, MessageId, Offset
from bettensor.bus.messages import Broadcast, GameUpdateMessage, WebSocketMessage
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.edges.edge import Edge, SendQueues, Signer, Transports, on
from bettensor.neurons.edges.shared_frames import Frames, SharedFrame, Written, size_of

Message = TypeVar("Message", bound=WebSocketMessage)


class TransportGone(Exception):
    """The bytes were not taken: the connection has ended, or its queue is full."""


class Transport(Protocol):
    """Takes the frames of one connection."""

    road: Road
    packs: bool
    """Whether it sends shared frames in their compressed form."""

    def queued(self) -> int:
        """Bytes that were accepted and not sent yet; read from any thread."""
        ...

    def write(self, data: bytes) -> None:
        """Take one frame of this connection alone, at once and in order.

        Raises:
            TransportGone: the frame was not taken.
        """
        ...

    def share(self, frames: Frames, written: Written | None = None) -> None:
        """Take frames that other connections are sent too, in order, after those that were shared before.

        Args:
            frames: are sent as fast as the peer reads; meanwhile its own frames may overtake them.
            written: called when the last one is on its way; never if the connection ends before.

        Raises:
            TransportGone: the frames were not taken.
        """
        ...


class FrameWriter(Edge, Transports, SendQueues):
    """Turns messages into signed bytes; nothing else does."""

    name = "writer"

    def __init__(self, signer: Signer, clock: Clock) -> None:
        self._signer = signer
        self._clock = clock
        self._transports: dict[ConnectionId, Transport] = {}
        self._broadcasts: dict[_Place, SharedFrame] = {}
        self._ends: dict[type[Broadcast], tuple[Epoch, Offset]] = {}
        """Of each kind of broadcast, the place up to which frames were kept last."""

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
        try:
            message, size = self._write(transport, event.message)
        except TransportGone as gone:
            self._bus.publish(SendFailed(event.hotkey, event.message, str(gone)))
        else:
            self._bus.publish(FrameWritten(event.connection, event.hotkey, message, size, transport.road))

    def _write(self, transport: Transport, message: WebSocketMessage) -> tuple[WebSocketMessage, int]:
        if isinstance(message, Broadcast):
            frame = self._shared(message)
            transport.share((frame,))
            return frame.message, frame.size
        stamped, data = self.sign(message)
        transport.write(data)
        return stamped, len(data)

    @on(BroadcastWriteRequested)
    def broadcast(self, event: BroadcastWriteRequested, _: Envelope) -> None:
        """Answer with ``BroadcastWritten``. A peer that cannot take the frame has lost its connection, and will ask."""
        frame = self._shared(event.message)
        frames, count, packed = (frame,), 0, 0
        for connection in event.connections:
            transport = self._transports.get(connection)
            if transport is not None:
                with contextlib.suppress(TransportGone):
                    transport.share(frames)
                    count += 1
                    packed += transport.packs
        packed_size = size_of(frame.packed) if packed else 0
        self._bus.publish(BroadcastWritten(frame.message, frame.size, count, packed_size, packed))

    @on(StreamOpened)
    def resume(self, event: StreamOpened, _: Envelope) -> None:
        """Know the updates of an earlier run."""
        for parts in event.updates:
            self._know(parts)

    @on(UpdateStored, SlatePrepared)
    def prepare(self, event: UpdateStored | SlatePrepared, _: Envelope) -> None:
        """Know an update, which ``SlateWriteRequested`` may name."""
        self._know(event.parts)

    def _know(self, parts: Iterable[GameUpdateMessage]) -> None:
        """Each part that is not signed yet is when it is first written."""
        for part in parts:
            self._shared(part)

    @on(SlateWriteRequested)
    def write_slate(self, event: SlateWriteRequested, envelope: Envelope) -> None:
        """Answered by ``SlateWritten``, if the connection lasts."""
        transport = self._transports.get(event.connection)
        if transport is None:
            return

        def written(size: int) -> None:
            answer = SlateWritten(event.connection, event.hotkey, event.offset, event.frames, size, transport.road)
            self._bus.publish(answer, causes=(envelope.seq,))

        with contextlib.suppress(TransportGone):  # the session has ended, and the next one begins with its slate
            transport.share(tuple(self._slate(event)), written)

    def _slate(self, event: SlateWriteRequested) -> Iterator[SharedFrame]:
        if event.known is None or event.merged:
            yield from self._parts(event.epoch, event.offset, event.known)
        else:
            for offset in range(event.known, event.offset):
                yield from self._parts(event.epoch, Offset(offset + 1), Offset(offset))

    def _parts(self, epoch: Epoch, offset: Offset, previous: Offset | None) -> Iterator[SharedFrame]:
        place = _Place(GameUpdateMessage, epoch, offset, previous, part=1)
        while (frame := self._broadcasts.get(place)) is not None:
            yield frame
            place = place._replace(part=place.part + 1)

    def remember(self, message: Broadcast, frame: bytes) -> None:
        """Use ``frame`` whenever ``message`` is to be written, as long as peers may ask for it."""
        self._keep(_place(message), SharedFrame(lambda: (message, frame)))

    def _shared(self, message: Broadcast) -> SharedFrame:
        """The frame of ``message``, which is signed once."""
        place = _place(message)
        known = self._broadcasts.get(place)
        return self._keep(place, SharedFrame(partial(self.sign, message))) if known is None else known

    def _keep(self, newest: "_Place", frame: SharedFrame) -> SharedFrame:
        end = newest.epoch, newest.offset
        if self._ends.get(newest.kind) != end:
            self._ends[newest.kind] = end
            for place in [place for place in self._broadcasts if place.is_past(newest)]:
                del self._broadcasts[place]
        self._broadcasts[newest] = frame
        return frame

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
        was_broadcast = self.previous is not None and self.previous + 1 >= self.offset
        oldest = newest.offset - HISTORY + 1 if was_broadcast else newest.offset
        return self.epoch != newest.epoch or self.offset < oldest


def _place(message: Broadcast) -> _Place:
    return _Place(
        type(message),
        message.epoch,
        message.offset,
        getattr(message, "previous", message.offset),
        getattr(message, "part", 1),
    )
