"""Cures for a missing connection: one sentence for the operator per cause and side."""

from typing import Final

from bettensor.bus.codes import AXON, CloseCode, RefusalCode
from bettensor.bus.events import AnnouncementContested, Role, TlsTrouble
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.bus.text import duration
from bettensor.bus.timestamps import rfc3339

NGINX_UPGRADE: Final = (
    'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"'
)
ON_MINER: Final[dict[str, str]] = {
    RefusalCode.WRONG_NETUID: "set netuid to the validator's subnet",
    RefusalCode.WRONG_RECEIVER: "another neuron answers at this address: correct the validator's hotkey or axon",
    RefusalCode.STALE: "this machine's clock or the validator's is wrong: compare both with NTP",
    RefusalCode.NO_METAGRAPH: "the validator admits miners as soon as it has read the metagraph; this miner retries",
    RefusalCode.NOT_REGISTERED: "register this hotkey on the subnet; the validator sees it at its next metagraph sync",
    RefusalCode.BLACKLISTED: "the validator's operator has blacklisted this hotkey: ask them",
    RefusalCode.WRONG_SCHEME: "the validator's operator must name this hotkey's scheme in auth.schemes: ask them",
    RefusalCode.OWN_HOTKEY: "this miner uses the validator's hotkey: set wallet.hotkey to another one",
    RefusalCode.WEBSOCKET_DISABLED: "the validator has disabled its WebSocket; this miner uses HTTP meanwhile",
    RefusalCode.NO_UPGRADE: f"ask the validator's operator to have the proxy pass them on; for nginx: {NGINX_UPGRADE}",
    RefusalCode.UNSUPPORTED_PROTOCOL: "the validator speaks another version of the protocol: update the older side",
    RefusalCode.OVER_CAPACITY: "the validator is full; this miner retries",
    RefusalCode.TLS_REQUIRED: "set tls.mode: auto, with which this miner uses TLS by itself, or required",
    AXON: "an existing neuron listens there, which speaks Synapse over HTTP: nothing to do here",
}
ON_VALIDATOR: Final[dict[str, str]] = {
    RefusalCode.WRONG_NETUID: "it is a miner of another subnet",
    RefusalCode.WRONG_RECEIVER: "it expects another validator at this address",
    RefusalCode.STALE: "its clock or this machine's is wrong: compare both with NTP",
    RefusalCode.NO_METAGRAPH: "this validator admits it as soon as it has read the metagraph",
    RefusalCode.NOT_REGISTERED: "this hotkey is not in the metagraph: its owner must register it on the subnet",
    RefusalCode.BLACKLISTED: "to admit this hotkey, remove it from the blacklist",
    RefusalCode.WRONG_SCHEME: "if its key has that scheme, name it in auth.schemes, or as crypto in a metagraph file",
    RefusalCode.WEBSOCKET_DISABLED: "to admit WebSockets, set websocket.enabled: true; the miner uses HTTP meanwhile",
    RefusalCode.NO_UPGRADE: f"have the proxy pass them on; for nginx: {NGINX_UPGRADE}",
    RefusalCode.OVER_CAPACITY: "raise actors.auth.max_connections if the machine has room",
    RefusalCode.TLS_REQUIRED: "miners of this release use TLS by themselves; for others set axon.tls.required: false",
}
AS_REFUSAL: Final[dict[int, str]] = {
    CloseCode.NOT_REGISTERED: RefusalCode.NOT_REGISTERED,
    CloseCode.BLACKLISTED: RefusalCode.BLACKLISTED,
    CloseCode.WRONG_SCHEME: RefusalCode.WRONG_SCHEME,
    CloseCode.OVER_CAPACITY: RefusalCode.OVER_CAPACITY,
}
"""Close codes with the same cause as a refusal code."""
DIALLED_BY_TLS: Final = "it offers TLS, so this miner dials it by TLS"
"""The reason of a miner's close of a plain session that has said nothing yet."""
TLS_LOST: Final = (
    "check the validator's port, and any proxy in between; once a validator has offered TLS, this miner does not go "
    "back to a plain connection: if its operator has given TLS up, restart this miner, or set tls.mode: off"
)
TLS_DEMANDED: Final = (
    "the validator has offered no TLS in this run, and this miner wants it: if that is due to tls.mode: required, or "
    "to a key in tls.keys, ask the validator's operator for TLS (axon.tls), or set tls.mode: auto and remove the key"
)
OTHER_KEY: Final = (
    "it has a new certificate, or somebody stands in between: the miner asks for its signed welcome; if the key is "
    "pinned in tls.keys, compare it with its operator"
)
_OF_TLS: Final[dict[TlsTrouble | None, str]] = {"handshake": TLS_LOST, "other_key": OTHER_KEY}
FOREIGN_CERTIFICATE: Final = (
    "somebody in between reads the connection, or a proxy ends TLS and the validator does not name its key: then its "
    "operator sets axon.tls.proxy_key"
)
DISABLED: Final = "set websocket.enabled: true on this miner to use the WebSocket again"
HTTP_ALONE: Final = (
    "its websocket.enabled is false, or a proxy in between passes HTTP but not WebSocket, or "
    "it waits up to 5 minutes before it tries again; see its log"
)
UNREGISTERED: Final = "register this hotkey on the subnet; if the metagraph is a file, add the hotkey to the file"
SECTION: Final[dict[Role, str]] = {"validator": "axon", "miner": "synapse"}
"""The section of the configuration that says where a neuron serves."""
NO_ENDPOINT: Final = "the metagraph has no endpoint for it"
ANNOUNCE: Final = "its operator must set axon.external_ip"
FEW_WATCHES: Final = "sysctl -w fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=524288"
"""For a system that sends no notifications of changed files; the limits are of all processes of one user."""
FEW_FILES: Final = "If it lasts, allow more open files: ulimit -H -n, or LimitNOFILE in systemd"
NO_ANSWER: Final = "check that the validator is running, its address and port, and any firewall in between"
ANSWERS_HTTP: Final = "it answers by HTTP now, and this miner tries the WebSocket again by itself"
ANOTHER_SERVER: Final = "this is no validator's answer: check the address, and any proxy in front of the validator"
BEHIND: Final = (
    "the metagraph here has this hotkey: the validator's copy is older or of another subnet; the miner retries"
)
UNPERMITTED: Final = "this validator has no validator permit, so miners do not connect to it"
NO_PERMIT: Final = "stake more, or ask miners to list this hotkey in `validators`"
UNREAD: Final = "check the network and subtensor.chain_endpoint"

PUBLIC_AXON: Final = "its operator must announce a public address; a metagraph file may name any"
_NO_AXON: Final = (
    "nothing to do here: it may be no miner, or be down; it is asked less and less often, until it answers"
)
_NO_SYNAPSE: Final = "nothing to do here: what listens there is no existing miner of this subnet"
_UNVERIFIED: Final = (
    "existing miners accept a request of the last seconds alone: compare this machine's clock with NTP, and stop any "
    "other process with this hotkey"
)
_FORBIDDEN: Final = (
    "existing miners answer validators with a validator permit and enough stake, 1,000 to 10,000 as each of them "
    "chooses: stake more, or ask its operator"
)
_OF_AXON: Final[dict[int | None, str]] = {
    None: _NO_AXON,
    401: _UNVERIFIED,
    403: _FORBIDDEN,
    404: _NO_SYNAPSE,
    405: _NO_SYNAPSE,
}
OURS: Final = (401, 403)
"""Statuses with which an existing miner refuses for something that this validator's operator can change."""


def cure_for_axon(status: int | None) -> str:
    """The cure for a question to an existing miner that failed with this HTTP status; an empty text if there is none.

    Args:
        status: None if there was no HTTP answer.
    """
    return _OF_AXON.get(status, "")


SPEAKS_SYNAPSE: Final = "speaks Synapse"


def cure_for_endpoint(role: Role) -> str:
    """The cure for a metagraph that has a wrong endpoint for this neuron, or none."""
    section = SECTION[role]
    keys = f"{section}.port, {section}.external_ip, {section}.external_port"
    return f"correct {keys}, or the metagraph file if you use one"


def contest_of(event: AnnouncementContested, role: Role) -> tuple[str, str]:
    """What another process of this hotkey has announced, and what this neuron does about it; and the cure."""
    since = (
        f"had when this {role} started" if event.ours_at is None else f"took from this {role} at {_at(event.ours_at)}"
    )
    seen = (
        f"the chain has {event.theirs}, seen at {_at(event.theirs_seen_at)}, in place of {event.ours}, which it {since}"
    )
    wait = f"in {duration(event.delay / SECOND)}" if event.delay else "at once"
    first = f"the other was there first, so this {role}" if event.yields else f"this {role} was there first, so it"
    text = f"another process of this hotkey announces its own endpoint: {seen}; {first} announces again {wait}"
    cure = f"stop one of the two, set {SECTION[role]}.serve: false in one, or give both the same IP and port"
    return text, cure


def _at(instant: Micros) -> str:
    return f"{rfc3339(instant)[:19].replace('T', ' ')} UTC"


def cure_for_miner(
    status: int | None, code: str, tls: TlsTrouble | None = None, *, registered: bool = False, offers_tls: bool = False
) -> str:
    """The cure for an exchange that failed with this HTTP status and refusal code; an empty text if there is none.

    Args:
        status: None if there was no HTTP answer.
        code: the refusal code; empty if the answer had none.
        tls: what it has shown of TLS.
        registered: whether the metagraph here has this miner.
        offers_tls: whether the validator has offered TLS in this run.
    """
    if tls == "handshake" and not offers_tls:
        return TLS_DEMANDED
    if tls in _OF_TLS:
        return _OF_TLS[tls]
    if status is None:
        return NO_ANSWER
    if registered and code == RefusalCode.NOT_REGISTERED:
        return BEHIND
    return ON_MINER.get(code, "") if code else ANOTHER_SERVER


def cure_for_close(role: Role, code: int) -> str:
    """The cure for a session that was closed with ``code``; an empty text if there is none."""
    cures = ON_VALIDATOR if role == "validator" else ON_MINER
    return cures.get(AS_REFUSAL.get(code, ""), "")
