"""Settings that several parts of a neuron share, and the types of values that settings have.

A section of the neuron's configuration reaches an actor whole: a field of the actor's ``Settings`` whose type is a
section's type is filled with the neuron's own, whatever the field's name. Knows no file and no other setting.
"""

import re
from collections.abc import Callable
from dataclasses import field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Annotated, Any, Final, Literal, Self, TypeVar, dataclass_transform

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass
from pydantic_core import CoreSchema, core_schema

from bettensor.bus.events import Scheme
from bettensor.bus.identifiers import Hotkey

__all__ = [
    "AuthSettings",
    "AxonSettings",
    "AxonTlsSettings",
    "ChosenValidators",
    "Count",
    "Fraction",
    "IntakeSettings",
    "IsNumber",
    "KeyDigest",
    "MinerSynapseSettings",
    "MinerTlsSettings",
    "NotNegative",
    "Port",
    "PortLimits",
    "Positive",
    "Rate",
    "Seconds",
    "TrustedProxies",
    "ValidatorSynapseSettings",
    "WebSocketSettings",
    "Whole",
    "settings_class",
]

_STRICT: Final = ConfigDict(extra="forbid", allow_inf_nan=False)
_ZONE: Final = re.compile(r"[\w.-]{1,64}", re.ASCII)
_BROADCAST: Final = IPv4Address("255.255.255.255")
Class = TypeVar("Class")


def _number(value: Any) -> Any:
    if isinstance(value, bool):  # which Python counts among the integers
        raise ValueError("expected a number")
    return value


def _address(value: str) -> IPv4Address | IPv6Address | None:
    """The IP address that ``value`` is; the zone of a link-local one is the name of an interface."""
    _, percent, zone = value.partition("%")
    try:
        return ip_address(value) if not percent or _ZONE.fullmatch(zone) else None
    except ValueError:
        return None


def _own_ip(value: str) -> str:
    if _address(value) is None:
        raise ValueError("must be an IP address of this machine, or 0.0.0.0 for all")
    return value


def _external_ip(value: str) -> str:
    address = _address(value)
    if address is None:
        raise ValueError("expected an IP address like 203.0.113.7 or 2001:db8::7")
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_unspecified or address.is_multicast or address == _BROADCAST:
        raise ValueError("nobody can dial this address; expected one of this machine like 203.0.113.7 or 2001:db8::7")
    return value


def _network(value: str) -> str:
    try:
        meant = ip_network(value, strict=False)
    except ValueError:
        raise ValueError("expected an IP address, or a network like 10.0.0.0/8 or 2001:db8::/32") from None
    address, _, prefix = value.partition("/")
    if prefix and ip_address(address) != meant.network_address:
        raise ValueError(f"expected zeros behind the prefix of a network, as in {meant}")
    return str(meant)


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    networks = []
    for number, value in enumerate(values, start=1):
        try:
            networks.append(_network(value))
        except ValueError as fault:  # of the whole list: what may be a secret is told apart by what stands before it
            raise ValueError(f"entry {number}: {fault}") from None
    return tuple(networks)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def settings_class(cls: type[Class]) -> type[Class]:
    """Make ``cls`` a frozen dataclass of settings that refuses unknown keys and wrong values, wherever they come from.

    Raises:
        ValidationError: of pydantic; raised by the constructor of ``cls``, which names each wrong key.
    """
    made: Any = dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)(cls)
    settings: type[Class] = made
    return settings


IsNumber: Final = BeforeValidator(_number)
"""For an annotation: refuses true and false as numbers."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), IsNumber]
"""A finite number above 0."""
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), IsNumber]
"""A finite number, 0 or above."""
Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), IsNumber]
"""A number above 0, and at most 1."""
Seconds = Annotated[float, Field(ge=0.001, le=1e9, allow_inf_nan=False), IsNumber]
"""A duration from a millisecond to some thirty years: in whole microseconds, as event logs have it, it must be more
than 0 and fit into 64 bits."""
Rate = Annotated[float, Field(ge=0.001, allow_inf_nan=False), IsNumber]
"""A number of things per second, at least one in 1,000 s: the time that a debt takes must fit into 64 bits too."""
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63), IsNumber]
"""An integer of 64 bits, as event logs have it."""
Count = Annotated[int, Field(ge=1, lt=2**63), IsNumber]
"""An integer, 1 or above."""
Port = Annotated[int, Field(ge=0, le=65535), IsNumber]
"""A TCP port; 0: any free port."""
_OwnIp = Annotated[str, AfterValidator(_own_ip)]
"""An IP address to bind."""
_ExternalIp = Annotated[str, AfterValidator(_external_ip)]
"""An IP address that others dial; it may be private, or loopback, for subnets of one network or machine."""


@settings_class
class AuthSettings:
    """The signature schemes of other neurons."""

    schemes: dict[Hotkey, Scheme] = field(default_factory=dict)
    """One entry HOTKEY: ed25519 for each other neuron whose key is not sr25519; an entry overrides the key crypto in
    the metagraph file."""


def _digest(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


KeyDigest = Annotated[str, BeforeValidator(_digest), Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 of a certificate's SubjectPublicKeyInfo: 64 hex digits."""


TrustedProxies = Annotated[tuple[str, ...], AfterValidator(_networks)]
"""IP addresses and networks (CIDR)."""


def _mode(value: Any) -> Any:
    return "off" if value is False else value  # YAML reads off so


@settings_class
class AxonTlsSettings:
    """TLS at a validator's port, beside plain HTTP and WebSocket."""

    required: bool = False
    """true: plain requests are refused with 403, except GET /ws/health from this machine. Needs certificate."""


@settings_class
class MinerTlsSettings:
    """TLS with validators: a miner trusts a pinned key, or the key that the validator's signed welcome names."""

    mode: Annotated[Literal["auto", "required", "off"], BeforeValidator(_mode)] = "auto"
    """auto: TLS with each validator that offers it in its signed welcome. required: TLS with all validators. off: no
    TLS."""
    keys: dict[Hotkey, KeyDigest] = field(default_factory=dict)
    """One entry HOTKEY: KEY for each validator that must show this key, and no other; the miner never dials it without
    TLS. KEY is the SHA-256 of the SubjectPublicKeyInfo, 64 hex digits, as the validator's log has it."""

    def __post_init__(self) -> None:
        if self.mode == "off" and self.keys:
            raise ValueError("mode must be auto or required if there are keys")


def _require_proxies(proxy_protocol: bool, trusted: TrustedProxies) -> None:
    if proxy_protocol and not trusted:
        raise ValueError("proxy_protocol needs trusted_proxies: nobody else is believed")


@settings_class
class AxonSettings:
    """Where a validator listens."""

    ip: _OwnIp = "0.0.0.0"  # noqa: S104 - a validator's port is public
    """The address to bind; 0.0.0.0: all IPv4 addresses, :: all addresses."""
    port: Port = 8091
    """The port for HTTP and WebSocket; 0: any free port."""
    external_ip: _ExternalIp | None = None
    """The address at which miners reach this validator; it is announced on the chain. null: nothing is announced."""
    external_port: Port | None = None
    """The port at external_ip; null: the same as port."""
    serve: bool = True
    """false: the validator listens, but announces nothing on the chain, even if external_ip is set."""
    trusted_proxies: TrustedProxies = ()
    """IP addresses and networks (CIDR) of the proxies in front of this validator, which are believed about the address
    of a miner: by X-Forwarded-For, or as proxy_protocol says. Everybody else counts by the address of their socket."""
    proxy_protocol: bool = False
    """true: each connection of a trusted proxy begins with a header of the PROXY protocol, version 2 (HAProxy:
    send-proxy-v2), and without it is closed. false: a trusted proxy sends X-Forwarded-For."""
    tls: AxonTlsSettings = field(default_factory=AxonTlsSettings)

    def __post_init__(self) -> None:
        _require_proxies(self.proxy_protocol, self.trusted_proxies)


@settings_class
class PortLimits:
    """The limits of the public port that are not about sessions: a validator's, or that of a miner with
    synapse.enabled. If a limit is reached, strangers leave before registered hotkeys."""

    connections: Annotated[Count, Field(ge=2)] | None = None
    """Largest number of connections at the same time, sessions included; it must be more than strangers. null: as many
    as the system's limit of open files allows, less 256 for the neuron's own files."""
    strangers: Count | None = None
    """Largest number of connections whose peers have not proven a registered hotkey; if one more comes, the oldest is
    closed. null: a quarter of connections, or of the open files, at most 1,024."""
    strangers_per_network: Count | None = None
    """Largest number of these that come from one network: an IPv4 address, or 64 bits of IPv6. null: half of strangers,
    at most 256."""
    connections_per_hotkey: Count = 16
    """Largest number of connections of one hotkey, sessions excluded; if one more comes, the oldest is closed."""
    handshakes: Count | None = None
    """Largest number of TLS handshakes under way; if one more comes, the oldest is closed. null: a quarter of
    strangers."""
    handshakes_per_network: Count | None = None
    """Largest number of these that come from one network. null: a quarter of strangers_per_network."""
    unadmitted_bytes: Annotated[Whole, Field(ge=128 * 1024)] = 16 * 1024 * 1024
    """If the requests of all strangers together have more bytes than this, those that came first are closed."""
    unread_bytes: Annotated[Whole, Field(ge=16 * 1024 * 1024)] = 64 * 1024 * 1024
    """Validator only: bytes of game updates that may wait for slow readers, over WebSocket and HTTP together. Frames
    that several readers wait for count once. Beyond, the validator ends the connections that wait for the oldest
    frames."""
    first_byte_timeout: Seconds = 5.0
    """Seconds within which the first byte of a connection must come, if the port speaks TLS."""
    handshake_timeout: Seconds = 5.0
    """Seconds for a TLS handshake."""
    request_timeout: Seconds = 10.0
    """Seconds within which a request must come, from its first byte to its last one, and the first request after the
    connection was opened."""
    answer_timeout: Seconds = 20.0
    """Seconds within which an answer must be read."""
    idle_timeout: Seconds = 5.0
    """Seconds for which a connection may wait for its next request."""


@settings_class
class WebSocketSettings:
    """The persistent connections between miners and validators."""

    enabled: bool = True
    """false: only HTTP is used."""
    heartbeat_interval: Seconds = 60.0
    """Seconds between two heartbeats of a session."""
    connection_timeout: Seconds = 300.0
    """If the other side of a session sends nothing for this many seconds, this neuron closes the session
    (close code 4100)."""
    reconnect_base_interval: Seconds = 5.0
    """Miner only: upper limit of the random wait before the first attempt to reconnect, in seconds; the limit doubles
    with each failed attempt."""
    max_reconnect_interval: Seconds = 300.0
    """Miner only: the highest value of that limit, in seconds; also the wait after a refusal that an early retry cannot
    change."""
    send_queue_bytes: Annotated[Whole, Field(ge=65536)] = 1024 * 1024
    """Validator only: if more bytes than this wait to be sent to a slow miner, the validator closes its session
    (close code 4101). Game updates do not count: they are sent at the miner's pace."""
    send_timeout: Seconds = 10.0
    """Validator only: if bytes wait for a miner that reads none of them for this many seconds, the validator closes its
    session (close code 4101)."""

    compression: bool = True
    """Miner only: true asks validators to compress large game updates, which makes them about 7 times smaller."""

    def __post_init__(self) -> None:
        if self.reconnect_base_interval > self.max_reconnect_interval:
            raise ValueError("reconnect_base_interval must be at most max_reconnect_interval")


@settings_class
class ValidatorSynapseSettings:
    """Existing miners, which speak Synapse over HTTP (bittensor 7.2 to 10): the validator asks them."""

    enabled: bool = False
    """true: miners that have an axon, and have not contacted this validator themselves, are asked for predictions."""
    query_interval: Seconds = 60.0
    """Seconds between two questions to one miner; the miners are spread over it."""
    timeout: Seconds = 12.0
    """Seconds that a miner has for its answer, from the dial to the last byte."""
    concurrency: Count = 50
    """Largest number of miners that are asked at the same time."""
    max_answer_bytes: Annotated[Whole, Field(ge=1024)] = 4 * 1024 * 1024
    """If an answer has more bytes than this, it is not read any further, and counts as a failure."""
    max_predictions: Annotated[Whole, Field(ge=1, le=10_000)] = 1000
    """If an answer has more predictions than this, all of it counts as a failure."""


@settings_class
class MinerSynapseSettings:
    """Existing validators, which speak Synapse over HTTP (bittensor 7.2 to 10): the miner answers them."""

    enabled: bool = False
    """true: the miner listens, and answers POST /GameData of validators."""
    ip: _OwnIp = "0.0.0.0"  # noqa: S104 - validators dial it
    """The address to bind; 0.0.0.0: all IPv4 addresses, :: all addresses."""
    port: Port = 8091
    """The port; 0: any free port."""
    external_ip: _ExternalIp | None = None
    """The address at which validators reach this miner; it is announced on the chain. null: nothing is announced."""
    external_port: Port | None = None
    """The port at external_ip; null: the same as port."""
    serve: bool = True
    """false: the miner listens, but announces nothing on the chain, even if external_ip is set."""
    trusted_proxies: TrustedProxies = ()
    """IP addresses and networks (CIDR) of the proxies in front of this miner, which are believed about the address of
    a validator: by X-Forwarded-For, or as proxy_protocol says."""
    proxy_protocol: bool = False
    """true: each connection of a trusted proxy begins with a header of the PROXY protocol, version 2, and without it
    is closed. false: a trusted proxy sends X-Forwarded-For."""
    min_stake: NotNegative = 0.0
    """Minimum stake with which a validator is answered, in the subnet's own token."""
    max_request_bytes: Annotated[Whole, Field(ge=1024)] = 8 * 1024 * 1024
    """If the body of a request has more bytes than this, the request is refused with 413."""

    def __post_init__(self) -> None:
        _require_proxies(self.proxy_protocol, self.trusted_proxies)


@settings_class
class IntakeSettings:
    """How much a miner takes from one validator, over all its connections."""

    bytes_per_second: Rate = 2.0 * 1024 * 1024
    """Bytes per second that one validator may send in the long run; each frame counts for at least 1024. What comes
    faster is read later."""
    burst_bytes: Annotated[Whole, Field(ge=65536)] = 16 * 1024 * 1024
    """Bytes that one validator may send at once after a silence; a slate of 20,000 games has about 6 MB."""
    patience: Seconds = 30.0
    """If a validator sends too much for this many seconds, the miner ends its connection (close code 4103), and dials
    it again with back-off."""


class ChosenValidators(tuple[str, ...]):
    """The validators that a miner connects to, by hotkey; empty means each one with a permit and an endpoint."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, handler: Callable[[Any], CoreSchema]) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls._of, handler(tuple[str, ...]))

    @classmethod
    def _of(cls, hotkeys: tuple[str, ...]) -> Self:
        return cls(hotkeys)
