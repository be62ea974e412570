"""Every code that crosses the wire, each with its meaning. ``docs/protocol.md`` is the normative text."""

from enum import IntEnum, StrEnum
from typing import Final

__all__ = [
    "AXON",
    "CloseCode",
    "ErrorCode",
    "RefusalCode",
    "VerdictCode",
]


class VerdictCode(StrEnum):
    """How a prediction was judged (protocol, "Results").

    All but ``CONFLICT`` are verdicts: stored, and the same for ever. ``CONFLICT`` answers one attempt.
    """

    ACCEPTED = "accepted"
    MISSING_DATA = "missing_data"
    INVALID_WAGER = "invalid_wager"
    GAME_NOT_FOUND = "game_not_found"
    GAME_STARTED = "game_started"
    TEAM_MISMATCH = "team_mismatch"
    ODDS_MISMATCH = "odds_mismatch"
    INVALID_OUTCOME = "invalid_outcome"
    INVALID_CONFIDENCE = "invalid_confidence"
    DAILY_LIMIT_EXCEEDED = "daily_limit_exceeded"
    CONFLICT = "conflict"


class ErrorCode(StrEnum):
    """Why a message got no answer of its own kind (protocol, "Errors"). None of these is a verdict."""

    INTERNAL = "internal"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    MALFORMED = "malformed"
    UNKNOWN_TYPE = "unknown_type"


class CloseCode(IntEnum):
    """Why a WebSocket was closed (protocol, "Closing"; RFC 6455, section 7.4.1 for those below 4000)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    NO_STATUS = 1005
    ABNORMAL = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    PROTOCOL_VIOLATION = 4000
    BAD_SIGNATURE = 4001
    NOT_REGISTERED = 4002
    BLACKLISTED = 4003
    WRONG_SCHEME = 4004
    STALE = 4100
    SLOW_CONSUMER = 4101
    OVER_CAPACITY = 4102
    RATE_LIMITED = 4103
    REPLACED = 4104
    RESTARTING = 4200


AXON: Final = "axon"
"""Stands for a refusal's code if the answer is an Axon's: an existing neuron listens there, or a miner."""


class RefusalCode(StrEnum):
    """Why an HTTP request, a handshake included, was refused (protocol, "Refusals")."""

    MALFORMED = "malformed"
    NO_UPGRADE = "no_upgrade"
    UNSUPPORTED_PROTOCOL = "unsupported_protocol"
    WRONG_NETUID = "wrong_netuid"
    WRONG_RECEIVER = "wrong_receiver"
    STALE = "stale"
    BAD_SIGNATURE = "bad_signature"
    REPLAYED = "replayed"
    NO_METAGRAPH = "no_metagraph"
    NOT_REGISTERED = "not_registered"
    BLACKLISTED = "blacklisted"
    WRONG_SCHEME = "wrong_scheme"
    OWN_HOTKEY = "own_hotkey"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    WEBSOCKET_DISABLED = "websocket_disabled"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    INTERNAL = "internal"
    OVER_CAPACITY = "over_capacity"
    NO_VERDICT = "no_verdict"
    RESTARTING = "restarting"
    TLS_REQUIRED = "tls_required"

    @property
    def status(self) -> int:
        """The HTTP status that carries this code."""
        return _STATUS[self]


_STATUS = {
    RefusalCode.MALFORMED: 400,
    RefusalCode.NO_UPGRADE: 400,
    RefusalCode.UNSUPPORTED_PROTOCOL: 400,
    RefusalCode.WRONG_NETUID: 400,
    RefusalCode.WRONG_RECEIVER: 401,
    RefusalCode.STALE: 401,
    RefusalCode.BAD_SIGNATURE: 401,
    RefusalCode.REPLAYED: 401,
    RefusalCode.NO_METAGRAPH: 503,
    RefusalCode.NOT_REGISTERED: 403,
    RefusalCode.BLACKLISTED: 403,
    RefusalCode.WRONG_SCHEME: 401,
    RefusalCode.OWN_HOTKEY: 403,
    RefusalCode.NOT_FOUND: 404,
    RefusalCode.METHOD_NOT_ALLOWED: 405,
    RefusalCode.WEBSOCKET_DISABLED: 404,
    RefusalCode.TOO_LARGE: 413,
    RefusalCode.RATE_LIMITED: 429,
    RefusalCode.INTERNAL: 503,
    RefusalCode.OVER_CAPACITY: 503,
    RefusalCode.NO_VERDICT: 503,
    RefusalCode.RESTARTING: 503,
    RefusalCode.TLS_REQUIRED: 403,
}
