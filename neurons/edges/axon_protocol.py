"""HTTP as the axon of a miner speaks it: strangers get a short hearing, and cannot use up the miner's connections."""

from typing import Any, Final

from bettensor.bus.identifiers import Hotkey
from bettensor.bus.synapse import refusal
from bettensor.neurons.edges.protocols import RequestProtocol

MAX_HEAD_BYTES: Final = 16 * 1024
"""Bytes of a request's head: a Dendrite's has about 900."""
MAX_DISCARDED_BYTES: Final = 16 * 1024 * 1024
"""Bytes of a refused body that are thrown away, so that its sender can read the refusal; beyond, it is cut off."""
MAX_CONNECTIONS: Final = 400
"""Open connections: with the validators' sessions and the files of a miner they stay below 1,024 open files."""
MAX_STRANGERS: Final = 128
"""Of these, connections on which no validator has proven itself."""
MAX_STRANGERS_OF_ADDRESS: Final = 32
"""Of these, those of one IP address."""
MAX_HOMES: Final = 256
"""Validators whose IP address is remembered."""


class Crowd:
    """All open connections. If one more comes than there may be, the stranger that has waited longest must leave.

    A validator's request is verified within milliseconds of its arrival, and no stranger after that. In a storm of
    connections from many addresses these are too many: then who comes from a validator's address stays longer.
    """

    def __init__(self) -> None:
        self._homes: dict[Hotkey, str] = {}
        """The IP address at which each validator has proven itself last; the one seen last is the last."""
        self._strangers: dict[AxonProtocol, str] = {}
        """Each with its IP address; the oldest first."""
        self._known: dict[AxonProtocol, None] = {}

    def enter(self, guest: "AxonProtocol", address: str) -> None:
        """A stranger comes in; another one leaves if there is no room."""
        of_address = [other for other, theirs in self._strangers.items() if theirs == address]
        if len(of_address) >= MAX_STRANGERS_OF_ADDRESS:
            self._send_away(of_address[0])
        elif len(self._strangers) >= MAX_STRANGERS:
            homes = set(self._homes.values())
            oldest = next(iter(self._strangers))
            self._send_away(next((other for other, theirs in self._strangers.items() if theirs not in homes), oldest))
        elif len(self._strangers) + len(self._known) >= MAX_CONNECTIONS:
            self._send_away(next(iter([*self._strangers, *self._known])))
        self._strangers[guest] = address

    def recognise(self, guest: "AxonProtocol", hotkey: Hotkey) -> None:
        """A validator has proven itself on this connection."""
        address = self._strangers.pop(guest, None)
        if address is None:
            return
        self._known[guest] = None
        self._homes.pop(hotkey, None)
        self._homes[hotkey] = address
        if len(self._homes) > MAX_HOMES:
            del self._homes[next(iter(self._homes))]

    def leave(self, guest: "AxonProtocol") -> None:
        """The connection has ended."""
        self._strangers.pop(guest, None)
        self._known.pop(guest, None)

    def _send_away(self, guest: "AxonProtocol") -> None:
        self.leave(guest)
        guest.transport.abort()


class AxonProtocol(RequestProtocol):
    """One connection. The application finds it in the scope, as the extension ``bettensor``."""

    def __init__(self, crowd: Crowd, **options: Any) -> None:
        super().__init__(**options)
        self._crowd = crowd
        self._reads_head = True
        self._head_bytes = 0
        self._discarded_bytes = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._crowd.enter(self, self.client[0] if self.client else "")

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        room = MAX_HEAD_BYTES - self._head_bytes if self._reads_head else len(data)
        if room:
            self._head_bytes += min(room, len(data)) if self._reads_head else 0
            super().data_received(data[:room])
        if len(data) > room and not self.transport.is_closing():
            if self._reads_head:
                self._refuse(f"a head of more than {MAX_HEAD_BYTES} bytes")
            else:
                super().data_received(data[room:])

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"bettensor": self}  # type: ignore[dict-item]

    def on_headers_complete(self) -> None:
        """The head is whole: its deadline is met. Nothing more is read before the application asks for the body."""
        self._reads_head = False
        self._deadline.cancel()
        self.flow.pause_reading()
        super().on_headers_complete()
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self.cycle.response_complete:
            self._discarded_bytes += len(body)
            if self._discarded_bytes > MAX_DISCARDED_BYTES:
                self.transport.abort()

    def on_message_complete(self) -> None:
        self._reads_head, self._head_bytes, self._discarded_bytes = True, 0, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(msg)

    def _refuse(self, message: str) -> None:
        """Answer what cannot be read as a request, and close."""
        content = refusal(message)
        head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + content)
        self.transport.close()
