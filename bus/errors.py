"""The exceptions of this project.

::

    BettensorError
    ├── UnknownTopic         a subscription to an event that does not exist
    ├── UnknownTimer         a timer that its actor has no handler for
    ├── NotAllowed           an event published where its kind may not be
    ├── ConfigurationError   a file, key or value of the operator's
    ├── Unavailable          a port or folder that a neuron needs, and cannot have now
    ├── BadEventLog          a recording that is not one, or not as it was written
    └── RemoteFault          what a peer sent cannot be read; it knows its reply
        ├── Unreadable       not a frame at all, or not JSON: the session cannot go on
        └── Malformed        a frame that breaks the rules of its kind: answered, and the session goes on
"""

from bettensor.bus.codes import CloseCode, ErrorCode
from bettensor.bus.redaction import without_keys

__all__ = [
    "BadEventLog",
    "BettensorError",
    "ConfigurationError",
    "Malformed",
    "NotAllowed",
    "RemoteFault",
    "Unavailable",
    "UnknownTimer",
    "UnknownTopic",
    "Unreadable",
]


class BettensorError(Exception):
    """Everything that this project raises on purpose."""


class UnknownTopic(BettensorError):
    """No event has this topic; the message names the nearest."""


class UnknownTimer(BettensorError):
    """The actor has no handler for a timer of this name; the message names the nearest."""


class NotAllowed(BettensorError):
    """An event was published at a moment when its kind may not be: see ``EventBus.publish``."""


class ConfigurationError(BettensorError):
    """A configuration is wrong; the message has file, key and expectation, and no keys of services. Exit code 2."""

    def __init__(self, message: str = "") -> None:
        super().__init__(without_keys(message))


class Unavailable(BettensorError):
    """A port or folder that a neuron needs cannot be had now; a later start may succeed. Exit code 1."""

    def __init__(self, message: str = "") -> None:
        super().__init__(without_keys(message))


class BadEventLog(BettensorError):
    """A recording is wrong; the message has the line and what can still be done."""


class RemoteFault(BettensorError):
    """A peer's fault. Never one of ours, never counted against the neuron."""


class Unreadable(RemoteFault):
    """The frame cannot be attributed to a place in the session, which is closed with ``close``."""

    def __init__(self, message: str, close: CloseCode = CloseCode.PROTOCOL_VIOLATION) -> None:
        super().__init__(message)
        self.close = close


class Malformed(RemoteFault):
    """The frame is in order, its content is not: an ``error`` with ``code`` answers it."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.MALFORMED) -> None:
        super().__init__(message)
        self.code = code
