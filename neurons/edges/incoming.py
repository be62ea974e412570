"""An HTTP request at a public port as an event: what decisions, the audit and the trace need of it, and nothing else.

Strangers send requests, and their own programs, proxies and mistakes put secrets into them. So headers are those of a
list, and each value has its form or is hidden; of the query only the protocol's keys are kept. Decisions are made by
the event alone, so that a replay makes the same ones.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qsl

from bettensor.actors.health import HEALTH_PATH
from bettensor.actors.miner.synapse import READ
from bettensor.actors.schemes import SCHEMES
from bettensor.actors.validator.auth import CLAIMED, NONCE, OFFSET, PATHS, SIGNATURE, SYNAPSE_SENDER
from bettensor.bus.events import HttpRequestReceived, QueryReceived
from bettensor.bus.identifiers import ConnectionId, Hotkey
from bettensor.bus.messages import HEX32, SUBPROTOCOL
from bettensor.bus.redaction import HIDDEN
from bettensor.neurons.edges.scope import Scope, remote_of, target_of

MAX_PATH: Final = 64
"""Characters of a path that is not ours; the rest is not recorded."""
MAX_PAIRS: Final = 32
"""Pairs of key and value in a query: reading one takes 2 us."""
ENCODINGS: Final = frozenset({"deflate", "gzip", "zstd", "br"})
"""Names of compressions; another name in the query is hidden."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_ADDRESS: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{46,49}")
"""An ss58 address of 35 bytes, as the protocol has it."""
_HEADERS: Final[dict[str, re.Pattern[str]]] = {
    "x-bittensor-version": re.compile("1"),
    CLAIMED: _ADDRESS,
    "x-bittensor-receiver": _ADDRESS,
    "x-bittensor-nonce": NONCE,
    "x-bittensor-crypto": re.compile("|".join(map(re.escape, SCHEMES))),
    "x-bittensor-signature": SIGNATURE,
    SYNAPSE_SENDER: _ADDRESS,
    "sec-websocket-protocol": re.compile(re.escape(SUBPROTOCOL)),
    "sec-websocket-key": re.compile("(?!)"),
}
"""By name of a validator's header, the form of a value that is recorded. A key is only seen to be there."""
_KEYS: Final[dict[str, re.Pattern[str]]] = {
    "netuid": re.compile(r"[0-9]{1,5}"),
    "epoch": re.compile(HEX32),
    "offset": OFFSET,
    "encoding": re.compile(f"(?:{'|'.join(sorted(ENCODINGS))})(?:,(?:{'|'.join(sorted(ENCODINGS))}))*"),
}
"""The same by key of the query."""
_LISTS: Final = frozenset({"sec-websocket-protocol", "encoding"})
"""Values that are lists, of which each name is judged by itself."""
_MAX_NAMES: Final = 8
"""Names of one list that are recorded."""


def request_of(
    scope: Scope, connection: ConnectionId, body: bytes, salt: str, *, upgrade: bool = False, tls_key: str = ""
) -> HttpRequestReceived:
    """The event of a request, by its ASGI scope."""
    sent = target_of(scope)
    target = recorded_target(sent)
    return HttpRequestReceived(
        connection,
        _recorded_method(scope),
        target,
        tuple(_recorded_headers(scope["headers"], _HEADERS)),
        remote_of(scope),
        upgrade,
        salt,
        sha256(body).hexdigest(),
        len(body),
        is_whole=target == sent,
        tls_key=tls_key,
    )


def query_of(scope: Scope, connection: ConnectionId) -> QueryReceived:
    """The event of a request at a miner's port, by its ASGI scope."""
    target = recorded_target(target_of(scope))
    headers = tuple(_recorded_headers(scope["headers"], READ))
    return QueryReceived(connection, _recorded_method(scope), target, headers, remote_of(scope))


def claimed_by(scope: Scope) -> Hotkey | None:
    """The hotkey that a request says it is from; None if it says none, or what it says is not an address."""
    wanted = CLAIMED.encode()
    for name, value in scope["headers"]:
        if name.lower() == wanted:
            text = value.decode("latin-1")
            return Hotkey(text) if _ADDRESS.fullmatch(text) else None
    return None


def recorded_target(sent: str) -> str:
    """A target without what a stranger may have hidden in it. A key that is named twice is so here too."""
    path, mark, query = sent.partition("?")
    if path not in PATHS and path != HEALTH_PATH:
        path = path[:MAX_PATH]
    return path + mark + "&".join(_recorded_query(query))


def _recorded_query(query: str) -> Iterator[str]:
    """The pairs of our keys, each at most twice; of all other keys one pair, or two if one of them is named twice.

    Of too many pairs as if a key were named twice: both are refused alike.
    """
    pieces = query.split("&", MAX_PAIRS)
    if len(pieces) > MAX_PAIRS:
        yield from [f"other={HIDDEN}"] * 2
        return
    counts: dict[str, int] = {}
    for piece in pieces:
        for key, value in parse_qsl(piece, keep_blank_values=True):  # one pair, or none
            counts[key] = counts.get(key, 0) + 1
            if key in _KEYS and counts[key] <= 2:
                yield _recorded_pair(piece, key, value)
    others = [count for key, count in counts.items() if key not in _KEYS]
    yield from [f"other={HIDDEN}"] * min(2, max(others, default=0))


def _recorded_pair(sent: str, key: str, value: str) -> str:
    recorded = _recorded_value(key, value, _KEYS[key])
    return sent if recorded == value else f"{key}={recorded}"


def _recorded_method(scope: Scope) -> str:
    method: str = scope.get("method", "GET")  # a handshake has no other, and ASGI names none
    return method if method in _METHODS else HIDDEN


def _recorded_headers(
    headers: Iterable[tuple[bytes, bytes]], forms: Mapping[str, re.Pattern[str]]
) -> Iterator[tuple[str, str]]:
    """The headers of which ``forms`` has the form, each at most twice."""
    counts: dict[str, int] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").lower()
        form = forms.get(name)
        if form is not None:
            counts[name] = counts.get(name, 0) + 1
            if counts[name] <= 2:
                yield name, _recorded_value(name, raw_value.decode("latin-1"), form)


def _recorded_value(name: str, value: str, form: re.Pattern[str]) -> str:
    if name not in _LISTS:
        return value if form.fullmatch(value) else HIDDEN
    names = [part.strip() for part in value.split(",")]
    kept = [part for part in names if form.fullmatch(part)][:_MAX_NAMES]
    return value if kept == value.split(",") else ",".join([*kept, HIDDEN])
