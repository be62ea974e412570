"""Proves the senders of messages.

Knows which signatures are being checked. Lets nothing pass that was not signed by the other side of its session: a
``MessageAccepted`` or a ``PredictionSubmitted`` is the proof that this was done.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from bettensor.actors.actor import Actor, on
from bettensor.bus import codec
from bettensor.bus.codec import UnreadMessage
from bettensor.bus.codes import CloseCode, ErrorCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.event_json import AsRecorded
from bettensor.bus.events import (
    CloseRequested,
    ConnectionClosed,
    MessageAccepted,
    MessageRefused,
    SignatureChecked,
    VerificationRequested,
)
from bettensor.bus.identifiers import ConnectionId, Micros
from bettensor.bus.messages import PredictionMessage, WebSocketMessage


def _read_again(request: VerificationRequested) -> VerificationRequested:
    return replace(request, message=codec.read(request.payload))


@dataclass(slots=True)
class Unverified:
    """A message whose signature is being checked. A snapshot has its bytes, from which the message is read again."""

    request: Annotated[VerificationRequested, AsRecorded(_read_again)]
    received_at: Micros


@dataclass(slots=True)
class AuthState:
    """The messages that wait for ``SignatureChecked``, by the ``seq`` of their ``VerificationRequested``."""

    unverified: dict[int, Unverified] = field(default_factory=dict)


class AuthActor(Actor):
    """Accepts messages of proven senders. The validator's also admits requests: ``actors/validator/auth.py``."""

    name = "auth"
    State = AuthState
    state: AuthState

    refused_kinds: ClassVar[tuple[type[WebSocketMessage], ...]] = (PredictionMessage,)
    """Kinds that the other side may not send, because only ours does: here those of a miner."""

    @on(VerificationRequested)
    def expect(self, event: VerificationRequested, envelope: Envelope) -> None:
        self.state.unverified[envelope.seq] = Unverified(event, envelope.at)

    @on(SignatureChecked)
    def judge_frame(self, event: SignatureChecked, _: Envelope) -> None:
        unverified = self.state.unverified.pop(event.request, None)
        if unverified is None:
            return
        if event.valid:
            self._take(unverified)
        else:
            self._forget(event.connection)  # nothing that came after it counts either
            reason = f"the frame is not signed by {unverified.request.signer}"
            self.publish(CloseRequested(event.connection, CloseCode.BAD_SIGNATURE, reason))

    @on(ConnectionClosed)
    def forget_unverified(self, event: ConnectionClosed, _: Envelope) -> None:
        self._forget(event.connection)

    def _forget(self, connection: ConnectionId) -> None:
        pending = self.state.unverified
        for seq in [seq for seq, item in pending.items() if item.request.connection == connection]:
            del pending[seq]

    def _take(self, unverified: Unverified) -> None:
        request, message = unverified.request, unverified.request.message
        if isinstance(message, UnreadMessage):
            if message.message_type != "error":  # an error is never answered by an error
                self._refuse(request.connection, message, message.code, message.fault)
        elif isinstance(message, self.refused_kinds):
            self._refuse(request.connection, message, ErrorCode.MALFORMED, "this kind is not yours to send")
        else:
            self._accept(unverified, message)

    def _accept(self, unverified: Unverified, message: WebSocketMessage) -> None:
        request = unverified.request
        self.publish(MessageAccepted(request.connection, request.signer, message))

    def _refuse(self, connection: ConnectionId, message: WebSocketMessage, code: ErrorCode, fault: str) -> None:
        self.publish(MessageRefused(connection, message.message_id, code, fault))
