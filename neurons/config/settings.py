"""The keys of a neuron's configuration: sections, values, defaults and units, which are defined only here."""

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, get_type_hints

from bittensor_core import ss58_decode
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo

from bettensor.actors.settings import (
    AuthSettings,
    AxonSettings,
    AxonTlsSettings,
    ChosenValidators,
    IntakeSettings,
    IsNumber,
    KeyDigest,
    MinerSynapseSettings,
    MinerTlsSettings,
    Port,
    PortLimits,
    Seconds,
    ValidatorSynapseSettings,
    WebSocketSettings,
    Whole,
    settings_class,
)
from bettensor.bus.adapters import adapter_of
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import Scheme
from bettensor.bus.identifiers import Hotkey, Netuid
from bettensor.bus.redaction import is_whole_address, without_secrets
from bettensor.bus.text import hint
from bettensor.neurons.config.faults import Fault, Faults, faults_of
from bettensor.neurons.config.sources import DEFAULT_HOME, FlagText, Where, blame
from bettensor.neurons.system.files import at_home


def _file_name(value: str) -> str:
    if value in ("", ".", "..") or "/" in value or "\0" in value:  # ../coldkey would be another key
        raise ValueError("expected a name, and not a path")
    return value


LONGEST_ADDRESS: Final = 64
"""Characters; those of this chain have 48. Decoding takes the square of the length in time."""


def _address(value: str) -> str:
    try:
        ss58_decode(value if len(value) <= LONGEST_ADDRESS else "")
    except ValueError:
        raise ValueError("expected an ss58 address like 5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY") from None
    return value


def is_hotkey(text: str) -> bool:
    """Whether ``text`` is an ss58 address."""
    try:
        _address(text)
    except ValueError:
        return False
    return True


Address = Annotated[Hotkey, AfterValidator(_address)]
FileName = Annotated[str, AfterValidator(_file_name)]
Parsed = TypeVar("Parsed")


def _locate(value: Any, info: ValidationInfo) -> Any:
    folder: Path | None = (info.context or {}).get("folder")
    if not isinstance(value, str):
        return value
    if "://" in value:
        raise ValueError("expected a path of this machine, and not a URL")
    try:
        path = at_home(value)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    return path if folder is None or isinstance(value, FlagText) else folder / path


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _network(value: Any) -> Any:
    if isinstance(value, str) and re.search(r"[/.:@]", value):
        raise ValueError("expected finney, test or local; the address of a node belongs in subtensor.chain_endpoint")
    return value


def _node(value: str) -> str:
    if not value.startswith(("ws://", "wss://")) or not is_whole_address(value):
        raise ValueError("expected the address of a node with ws:// or wss:// before its host")
    return value


def _state_dir(value: Any, info: ValidationInfo) -> Any:
    if value is not None:
        return _locate(value, info)
    wallet, chain = info.data.get("wallet", WalletSettings()), info.data.get("subtensor", SubtensorSettings())
    network = "" if chain.network in (None, MAIN_NETWORK) else f"{chain.network}-"
    names = ".".join(name.replace("%", "%25").replace(".", "%2E") for name in (wallet.name, wallet.hotkey))
    return DEFAULT_HOME.expanduser() / f"{info.data.get('role')}-{network}{info.data.get('netuid')}-{names}"


LocalPath = Annotated[Path, BeforeValidator(_locate)]
StatePath = Annotated[Path, BeforeValidator(_state_dir), Field(validate_default=True)]
MAIN_NETWORK: Final = "finney"
"""The network whose neurons need not name it."""


@settings_class
class WalletSettings:
    """The neuron's hotkey. The coldkey is never read."""

    name: FileName = "default"
    """Name of the wallet, a folder in path."""
    hotkey: FileName = "default"
    """Name of the hotkey, a file in the wallet's folder hotkeys."""
    path: LocalPath = Path("~/.bittensor/wallets")
    """Folder of all wallets."""


@settings_class
class MetagraphFileSettings:
    """The subnet's neurons, if they are read from a file instead of the chain."""

    static: LocalPath | None = None
    """A YAML file that lists the neurons; no chain is used. null: they are read from the chain, see subtensor."""


@settings_class
class SubtensorSettings:
    """The chain from which the metagraph is read, unless metagraph.static is set."""

    network: Annotated[Literal["finney", "test", "local"], BeforeValidator(_network)] | None = None
    """finney: the main network. test: the test network. local: a node on this machine. null: finney, unless
    chain_endpoint or metagraph.static is set."""
    chain_endpoint: Annotated[str, AfterValidator(_node)] | None = None
    """The only node to use, for example ws://127.0.0.1:9944; overrides network. null: the nodes of the network."""
    sync_interval: Seconds = 120.0
    """Seconds between two metagraph syncs; a sync reads the metagraph from the chain."""

    @property
    def chosen(self) -> str:
        """The node or the network from which the chain is read."""
        return self.chain_endpoint or self.network or MAIN_NETWORK


@settings_class
class CheckedAuthSettings(AuthSettings):
    """The signature schemes of other neurons."""

    schemes: dict[Address, Scheme] = field(default_factory=dict)


@settings_class
class VerifierSettings(CheckedAuthSettings):
    """The signature schemes of other neurons, and the processes that verify signatures."""

    verify_workers: Annotated[Whole, Field(ge=0, le=64)] = 0
    """Number of processes that verify signatures of frames; set at most one per spare core. 0: the neuron's own process
    verifies them."""


def _key_or_path(value: Any, info: ValidationInfo) -> Any:
    is_key = isinstance(value, str) and re.fullmatch(r"[0-9a-fA-F]{64}", value)
    return value.lower() if is_key else _locate(value, info)


@settings_class
class CertificateSettings(AxonTlsSettings):
    """TLS at the public port, beside plain HTTP and WebSocket. `bettensor wallet certificate` makes both files."""

    certificate: LocalPath | None = None
    """The certificate (PEM), followed by those of its authorities, if any; the file is watched. null: no TLS."""
    key: LocalPath | None = None
    """The certificate's private key (PEM), not encrypted; the file is watched."""
    proxy_key: Annotated[Path | str | None, BeforeValidator(_key_or_path)] = None
    """If a proxy in front of this validator ends TLS: the proxy's certificate (PEM), which is watched, or the SHA-256
    of its SubjectPublicKeyInfo, 64 hex digits. Miners then expect that key. null: no proxy ends TLS."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key must be set together")
        if self.required and self.certificate is None:
            raise ValueError("required needs certificate and key")


@settings_class
class ListeningSettings(AxonSettings):
    """Where a validator listens."""

    tls: CertificateSettings = field(default_factory=CertificateSettings)


@settings_class
class CheckedMinerTlsSettings(MinerTlsSettings):
    """TLS with validators: a miner trusts a pinned key, or the key that the validator's signed welcome names."""

    keys: dict[Address, KeyDigest] = field(default_factory=dict)


@settings_class
class GamesSettings:
    """Where a validator's slate comes from: its games and their odds."""

    source: Literal["file", "random"] = "file"
    """file: the games file is read, and read again when it changes. random: it is read once, and then its odds move at
    random, for demos and tests."""
    path: LocalPath | None = None
    """The games file (JSON); null: the sample games in this package. A wrong game is withheld alone; if the file cannot
    be read, the last slate stays in force, and the validator is degraded."""
    interval: Seconds = 5.0
    """Seconds between two moves of random odds."""
    seed: Whole | None = None
    """Seed of the random odds; null: a new seed at each start."""


@settings_class
class LoggingSettings:
    """The operator's log on standard error."""

    level: Annotated[
        Literal["TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)
    ] = "INFO"
    """Lowest level that is written: TRACE, DEBUG, INFO, SUCCESS, WARNING, ERROR or CRITICAL; lower case works too."""


@settings_class
class RecorderSettings:
    """The recorded event log, which `bettensor replay`, `trace`, `log` and `audit` read."""

    record: Literal["observed", "all", "off"] = "observed"
    """observed: only what the neuron observed, which suffices for a replay. all: its decisions too, with which a replay
    can be compared. off: nothing."""
    path: LocalPath | None = None
    """The file; null: events.jsonl in state_dir. Closed files are kept beside it, numbered and compressed."""
    file_bytes: Annotated[Whole, Field(ge=4096)] = 64 * 1024 * 1024
    """If the file has this many bytes, a new file begins. The limit is at most half of total_bytes, and at least twice
    the checkpoint at the beginning of the file."""
    file_age: Seconds = 86_400.0
    """If the file is this many seconds old, a new file begins."""
    total_bytes: Annotated[Whole, Field(ge=4096)] = 1024 * 1024 * 1024
    """If all files together have more bytes than this, the oldest files are deleted. While one is written and another
    one compressed, they may have file_bytes more."""


@settings_class
class MetricsSettings:
    """Prometheus metrics, served at http://IP:PORT/metrics."""

    enabled: bool = True
    """false: no metrics."""
    ip: str = "127.0.0.1"
    """The address to bind; metrics are meant for your scraper, not for the public."""
    port: Port | None = None
    """The port; null: 9464 on a validator, 9465 on a miner. If it is in use, the neuron runs without metrics."""


@settings_class
class Settings:
    """The keys of both roles."""

    role: str
    """The neuron's role."""
    netuid: Annotated[Netuid, Field(ge=0, le=65535), IsNumber] = Netuid(30)
    """The subnet's number."""
    wallet: WalletSettings = field(default_factory=WalletSettings)
    metagraph: MetagraphFileSettings = field(default_factory=MetagraphFileSettings)
    subtensor: SubtensorSettings = field(default_factory=SubtensorSettings)
    state_dir: StatePath = None  # type: ignore[assignment]  # the validator replaces it
    """The folder for the ledger (validator) or the outbox (miner), and for the event log, control socket and lock. If
    it is missing, it is created with mode 0700. null: ~/.bettensor/ROLE-NETUID-WALLET.HOTKEY, on the test network
    ~/.bettensor/ROLE-test-NETUID-WALLET.HOTKEY, so that each neuron of this machine has its own."""
    websocket: WebSocketSettings = field(default_factory=WebSocketSettings)
    auth: CheckedAuthSettings = field(default_factory=CheckedAuthSettings)
    limits: PortLimits = field(default_factory=PortLimits)
    logging: LoggingSettings = field(default_factory=LoggingSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    recorder: RecorderSettings = field(default_factory=RecorderSettings)
    actors: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Settings by actor name. An actor makes one kind of the neuron's decisions; its key `class`, "module:Class" or a
    plugin's name, replaces that actor with yours, or adds one."""
    edges: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Settings by edge name. An edge connects the neuron to one part of the outside world (a socket, a disk, the
    chain); its key `class`, "module:Class" or a plugin's name, replaces that edge with yours, or adds one."""
    handlers: dict[str, list[str]] = field(default_factory=dict)
    """Lists of your own functions ("module:function" or a plugin's name), by the topic of the events that they are
    called with; "*": all topics."""


@settings_class
class ValidatorSettings(Settings):
    """A validator."""

    role: Literal["validator"] = "validator"
    """The neuron's role."""
    blacklist: LocalPath | None = None
    """A YAML file with the hotkeys, coldkeys and networks (CIDR) to refuse; a wrong row blocks nobody, and is reported.
    null: nobody is blacklisted."""
    axon: ListeningSettings = field(default_factory=ListeningSettings)
    synapse: ValidatorSynapseSettings = field(default_factory=ValidatorSynapseSettings)
    auth: VerifierSettings = field(default_factory=VerifierSettings)
    games: GamesSettings = field(default_factory=GamesSettings)


@settings_class
class MinerSettings(Settings):
    """A miner."""

    role: Literal["miner"] = "miner"
    """The neuron's role."""
    validators: ChosenValidators = ChosenValidators()
    """Hotkeys of the validators to connect to. []: all validators with a permit and an endpoint in the metagraph."""
    tls: CheckedMinerTlsSettings = field(default_factory=CheckedMinerTlsSettings)
    synapse: MinerSynapseSettings = field(default_factory=MinerSynapseSettings)
    intake: IntakeSettings = field(default_factory=IntakeSettings)


ROLES: Final[dict[str, type[ValidatorSettings] | type[MinerSettings]]] = {
    "validator": ValidatorSettings,
    "miner": MinerSettings,
}


_TYPES: Final[dict[type[Any], dict[str, Any]]] = {}
_KEYS: Final[dict[type[Any], tuple[str, ...]]] = {}
"""What was asked about settings classes: each answer costs a millisecond, and is the same for ever."""


def _types(kind: Any) -> dict[str, Any]:
    if kind not in _TYPES:
        _TYPES[kind] = get_type_hints(kind)
    return _TYPES[kind]


def parse(kind: type[Parsed], document: Any, where: Where, folder: Path | None = None, *, prefix: str = "") -> Parsed:
    """``document`` as a settings class.

    Args:
        kind: a dataclass.
        document: plain data.
        where: where the data comes from: the beginning of error messages.
        folder: the folder to which relative paths belong; by default the working directory.
        prefix: of the keys in ``document``, with its dot; for error messages.

    Raises:
        ConfigurationError: each wrong key with the expected value, a line each.
    """
    known = document
    found: list[Fault] = []
    if is_dataclass(kind) and isinstance(document, dict):  # plain dataclasses of actors and models ignore unknown keys
        known = {key: value for key, value in document.items() if key in _names(kind)}
        unknown = [str(key) for key in document if key not in known]
        found += [Fault(((key,),), f"there is no such key{hint(key, _names(kind))}") for key in unknown]
    try:
        parsed = adapter_of(kind).validate_python(known, context={"folder": folder})
    except ValidationError as error:
        found += faults_of(kind, error)
    if found:
        raise ConfigurationError("\n".join(fault.told(where, prefix) for fault in found))
    return parsed


def plain_settings(settings: Any) -> dict[str, Any]:
    """A settings object as plain data, without values that may be secrets."""
    plain: dict[str, Any] = without_secrets(adapter_of(type(settings)).dump_python(settings, mode="json"))
    return plain


def keys_of(kind: type[Any]) -> tuple[str, ...]:
    """The dotted key of each value of a settings class."""
    if kind not in _KEYS:
        _KEYS[kind] = tuple(_walk(kind))
    return _KEYS[kind]


def _walk(kind: type[Any], prefix: str = "") -> Iterator[str]:
    for name, section in _types(kind).items():
        if is_dataclass(section):
            yield from _walk(section, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            yield f"{prefix}{name}"


def has_key(kind: type[Any], key: str) -> bool:
    """Whether a settings class has a section or a value at ``key``, or a mapping that may have one."""
    return any(f"{key}.".startswith(f"{other}.") or other.startswith(f"{key}.") for other in keys_of(kind))


def section_names(kind: type[Settings]) -> dict[type[Any], str]:
    """The key of each section of a role, by the section's type and the types that it extends."""
    types = _types(kind)
    sections = [f.name for f in fields(kind) if _is_section(types[f.name])]
    return {base: name for name in sections for base in types[name].__mro__ if _is_section(base)}


def sections_of(settings: Settings) -> dict[type[Any], Any]:
    """Each section by its type; an actor, an edge or a model takes it by a field of that type."""
    return {kind: _as(kind, getattr(settings, name)) for kind, name in section_names(type(settings)).items()}


def _as(kind: type[Any], section: Any) -> Any:
    """``section`` as the type that it extends, for a part that knows only that type."""
    if type(section) is kind:
        return section
    types = _types(kind)
    values = {f.name: getattr(section, f.name) for f in fields(kind)}
    return kind(**{name: _as(types[name], value) if is_dataclass(value) else value for name, value in values.items()})


def section_fields(kind: type[Any], sections: Container[type[Any]]) -> dict[str, type[Any]]:
    """The fields of ``kind`` whose type is one of ``sections``, with their types. Field names do not matter."""
    types = _types(kind) if is_dataclass(kind) else {}
    return {name: section for name, section in types.items() if section in sections}


def parse_part(kind: type[Parsed], document: Mapping[str, Any], settings: Settings, where: Where, key: str) -> Parsed:
    """``document`` as the settings class of an actor, an edge or a model, with the neuron's sections in their fields.

    Args:
        kind: a dataclass; its fields of a section's type are filled from ``settings``.
        document: plain data: the part's own keys.
        settings: the neuron's.
        where: where the data comes from: the beginning of error messages.
        key: the dotted key of the part, such as ``actors.prediction``.

    Raises:
        ConfigurationError: each wrong key with the expected value, or a key that belongs to a section.
    """
    sections, names = sections_of(settings), section_names(type(settings))
    taken = section_fields(kind, sections)
    setters = {own: _setter(own, kind, {name: names[section] for name, section in taken.items()}) for own in document}
    faults = Faults(f"{blame(where, f'{key}.{own}')}: set {by} instead" for own, by in setters.items() if by)
    own = {name: value for name, value in document.items() if setters[name] is None}
    given = {name: sections[section] for name, section in taken.items()}
    with faults.collect():
        parsed = parse(kind, own | given, where, prefix=f"{key}.")
    faults.tell()
    return parsed


def _setter(key: str, kind: type[Any], taken: Mapping[str, str]) -> str | None:
    """The key that sets ``key`` for the whole neuron, if ``kind`` includes the section of that key."""
    types = _types(kind) if is_dataclass(kind) else {}
    if key in types:
        return taken.get(key)
    sections = ((name, types[name]) for name in taken if is_dataclass(types[name]))
    return next((f"{taken[name]}.{key}" for name, cls in sections if key in _names(cls)), None)


def _is_section(kind: Any) -> bool:
    return is_dataclass(kind) or kind is ChosenValidators


def _names(kind: Any) -> list[str]:
    return [f.name for f in fields(kind)]
