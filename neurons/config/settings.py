"""A neuron's configuration: one YAML file, overridden by flags, checked before anything starts.

Keys, defaults and units are defined here alone. A wrong key or value is refused; the message has file, key, value and
what was expected.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import field, fields, is_dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, get_args

import yaml
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, ValidationInfo
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.identifiers import Netuid
from bettensor.bus.redaction import names_a_secret, without_secrets
from bettensor.bus.text import hint

_STRICT = ConfigDict(extra="forbid")

ENVIRONMENT: Final = "BETTENSOR_"
"""Prefix of environment variables that set keys; two underscores stand for a dot."""
ALIASES: Final = {
    "websocket_enabled": "websocket.enabled",
    "websocket_heartbeat_interval": "websocket.heartbeat_interval",
    "websocket_reconnect_base_interval": "websocket.reconnect_base_interval",
    "websocket_max_reconnect_interval": "websocket.max_reconnect_interval",
}
"""Short spellings of flags and variables; both spellings work for both roles."""


def _ip(value: str) -> str:
    ip_address(value)  # a ValueError that says what is wrong
    return value


def _file_name(value: str) -> str:
    if value in ("", ".", "..") or "/" in value or "\0" in value:  # ../coldkey would be another key
        raise ValueError("expected the name of a file, without its folder")
    return value


FileName = Annotated[str, AfterValidator(_file_name)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65535)]
Parsed = TypeVar("Parsed")


class _FlagText(str):
    """A value from the command line: a path in it is relative to the working directory."""

    __slots__ = ()


def _locate(value: Any, info: ValidationInfo) -> Any:
    folder: Path | None = (info.context or {}).get("folder")
    if not isinstance(value, str):
        return value
    path = Path(value).expanduser()
    return path if folder is None or isinstance(value, _FlagText) else folder / path


LocalPath = Annotated[Path, BeforeValidator(_locate)]


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class WalletSettings:
    """The neuron's hotkey. The coldkey is never read."""

    name: FileName = "default"
    """Name of the wallet."""
    hotkey: FileName = "default"
    """Name of the hotkey."""
    path: LocalPath = Path("~/.bittensor/wallets")
    """Folder of all wallets."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class MetagraphFileSettings:
    """The subnet's neurons, if they are read from a file instead of the chain."""

    static: LocalPath | None = None
    """A YAML file that lists the neurons; no chain is used. null: they are read from the chain, see subtensor."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class SubtensorSettings:
    """The chain from which the metagraph is read, unless metagraph.static is set."""

    network: Literal["finney", "test", "local"] | None = None
    """finney: the main network. test: the test network. local: a node on this machine."""
    chain_endpoint: Annotated[str, Field(pattern=r"^wss?://\S+$")] | None = None
    """The only node to use, as ws://127.0.0.1:9944; null: the public nodes of the network."""
    sync_interval: Positive = 120.0
    """Seconds between two readings of the metagraph."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class AxonSettings:
    """Where a validator listens."""

    ip: str = "0.0.0.0"  # noqa: S104 - a validator's port is public
    """The address to bind; 0.0.0.0: all IPv4 addresses, :: all addresses."""
    port: Port = 8091
    """The port for HTTP and WebSocket; 0: any free port."""
    external_ip: Annotated[str, AfterValidator(_ip)] | None = None
    """The address at which miners reach this validator; changes are announced on the chain. null: no announcement."""
    external_port: Port | None = None
    """The port at that address; null: the same as port."""
    serve: bool = True
    """false: no announcement, even if external_ip is set."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class WebSocketSettings:
    """The persistent connections between miners and validators."""

    enabled: bool = True
    """false: use HTTP only."""
    heartbeat_interval: Positive = 60.0
    """Seconds between two heartbeats."""
    connection_timeout: Positive = 300.0
    """Seconds of silence after which a connection is stale."""
    reconnect_base_interval: Positive = 5.0
    """Seconds; a miner's first back-off is random up to this, and the limit doubles with each attempt."""
    max_reconnect_interval: Positive = 300.0
    """Seconds of a miner's longest back-off."""
    send_queue_bytes: Annotated[int, Field(ge=65536)] = 1024 * 1024
    """Bytes that may wait for a slow miner; beyond, its session is closed with 4101."""
    send_timeout: Positive = 10.0
    """Seconds without a read while bytes wait for a miner; after that, its session is closed with 4101."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class AuthSettings:
    """How a validator verifies signatures."""

    verify_workers: Annotated[int, Field(ge=0, le=64)] = 0
    """Processes that verify frames, one per spare core; 0: the neuron's own process verifies them."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class GamesSettings:
    """Where a validator's slate comes from."""

    source: Literal["file", "random"] = "file"
    """file: the games file, reread when it changes. random: the file once, then moving odds, for demos and tests."""
    path: LocalPath | None = None
    """The games file (JSON); null: the sample games in this package."""
    interval: Positive = 5.0
    """Seconds between two moves of random odds."""
    seed: int | None = None
    """Seed of the random odds; null: a new seed at each start."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class LoggingSettings:
    """The operator's log on standard error."""

    level: Literal["DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """Lowest level that is written."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class RecorderSettings:
    """The recorded event log, which `bettensor replay`, `trace`, `log` and `audit` read."""

    record: Literal["observed", "all", "off"] = "observed"
    """observed: observed events, which suffice for a replay. all: decisions too, to compare with. off: nothing."""
    path: LocalPath | None = None
    """The file; null: events.jsonl in state_dir. Closed files are kept beside it, numbered and compressed."""
    file_bytes: Annotated[int, Field(ge=4096)] = 64 * 1024 * 1024
    """Bytes after which a new file begins; at most half of total_bytes, at least two checkpoints."""
    file_age: Positive = 86_400.0
    """Seconds after which a new file begins."""
    total_bytes: Annotated[int, Field(ge=4096)] = 1024 * 1024 * 1024
    """Bytes of all files together; beyond, the oldest files are deleted."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class MetricsSettings:
    """Prometheus metrics, served at http://IP:PORT/metrics."""

    enabled: bool = True
    """false: no metrics."""
    ip: str = "127.0.0.1"
    """The address to bind; metrics are meant for your scraper, not for the public."""
    port: Port | None = None
    """The port; null: 9464 on a validator, 9465 on a miner. If it is in use, the neuron runs without metrics."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Settings:
    """The keys of both roles."""

    role: str
    """The neuron's role."""
    netuid: Annotated[Netuid, Field(ge=0, le=65535)]
    """The subnet's number."""
    state_dir: LocalPath
    """The folder for ledger or outbox, event log, control socket and lock. Created with mode 0700."""
    wallet: WalletSettings = field(default_factory=WalletSettings)
    metagraph: MetagraphFileSettings = field(default_factory=MetagraphFileSettings)
    subtensor: SubtensorSettings = field(default_factory=SubtensorSettings)
    websocket: WebSocketSettings = field(default_factory=WebSocketSettings)
    logging: LoggingSettings = field(default_factory=LoggingSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    recorder: RecorderSettings = field(default_factory=RecorderSettings)
    actors: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Settings by actor name; `class: "module:Class"` replaces that actor by your own, or adds a new one."""
    handlers: dict[str, list[str]] = field(default_factory=dict)
    """Your own functions, "module:function", by the topic that they hear; "*" hears all topics."""

    def __post_init__(self) -> None:
        chain = self.subtensor.network or self.subtensor.chain_endpoint
        if (self.metagraph.static is None) == (chain is None):
            found = "both are set" if chain else "neither is set"
            raise ValueError(f"set either metagraph.static or subtensor.network, the source of the metagraph; {found}")


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ValidatorSettings(Settings):
    """A validator."""

    role: Literal["validator"] = "validator"
    """The neuron's role."""
    blacklist: LocalPath | None = None
    """A YAML file with the hotkeys, coldkeys and networks (CIDR) to refuse."""
    axon: AxonSettings = field(default_factory=AxonSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    games: GamesSettings = field(default_factory=GamesSettings)


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class MinerSettings(Settings):
    """A miner."""

    role: Literal["miner"] = "miner"
    """The neuron's role."""
    validators: tuple[str, ...] = ()
    """Hotkeys of the validators to connect to; empty: all with a permit and an endpoint."""


ROLES: Final[dict[str, type[ValidatorSettings] | type[MinerSettings]]] = {
    "validator": ValidatorSettings,
    "miner": MinerSettings,
}


def load_settings(
    file: Path,
    flags: Mapping[str, str] | None = None,
    role: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> ValidatorSettings | MinerSettings:
    """Read and check a neuron's configuration.

    Args:
        file: the YAML file; paths in it are relative to its folder.
        flags: dotted keys with their values as text; they override the file, and their paths are relative to the
            working directory.
        role: the role that the command line asks for; None if it asks for none.
        environment: variables, which override the file and are overridden by flags; by default those of the process.
            ``BETTENSOR_WEBSOCKET__ENABLED`` is ``websocket.enabled``.

    Raises:
        ConfigurationError: the configuration is wrong; the message has file, key, value and what was expected.
    """
    if not file.exists():
        start = f"`bettensor config show --role {role or 'ROLE'}` prints one to start from"
        raise ConfigurationError(f"{file}: cannot be read: there is no such file; {start}")
    document = read_yaml(file)
    sources: dict[str, str] = {}
    for name, value in (os.environ if environment is None else environment).items():
        if name.startswith(ENVIRONMENT):
            key = name.removeprefix(ENVIRONMENT).lower().replace("__", ".")
            _override(document, ALIASES.get(key, key), value, sources, name)
    for flag, value in (flags or {}).items():
        _override(document, ALIASES.get(flag, flag), value, sources, f"--{flag}")
    given = document.setdefault("role", role)
    if given not in ROLES or (role is not None and given != role):
        expected = f"{role!r}, as in the command" if role else "'validator' or 'miner'"
        found = "but it is missing" if given is None else f"not {given!r}"
        raise ConfigurationError(f"{file}: role: expected {expected}, {found}")
    return parse(ROLES[given], document, str(file), folder=file.parent, sources=sources)


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Raises:
        ConfigurationError: it cannot be read or is not such YAML; the message has the line.
    """
    try:
        document = yaml.load(file.read_text(), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file}: {_yaml_fault(error)}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigurationError(f"{file}: expected keys with values, not a {type(document).__name__}")
    return document


def _yaml_fault(error: yaml.YAMLError) -> str:
    """What is wrong, and its line."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return f"not YAML: {problem}" if mark is None else f"not YAML: line {mark.line + 1}: {problem}"


class _Loader(yaml.SafeLoader):
    """Refuses what YAML readers commonly accept: duplicate keys, and the merge key ``<<``.

    PyYAML merges wrong values if the merged mapping has a merge key itself.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                problem = "the merge key << is not supported; write the keys out"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} occurs twice", problem_mark=key_node.start_mark)
            seen.append(key)
        return super().construct_mapping(node, deep)


def parse(
    kind: type[Parsed],
    document: Any,
    where: str,
    folder: Path | None = None,
    sources: Mapping[str, str] | None = None,
) -> Parsed:
    """``document`` as a settings class.

    Args:
        kind: a dataclass.
        document: plain data.
        where: what error messages begin with: a file, or a file and a key.
        folder: what relative paths in it are relative to; by default the working directory.
        sources: by dotted key, the flag or environment variable that set it; all other keys come from ``where``.

    Raises:
        ConfigurationError: each wrong key with what was expected, a line each.
    """
    if is_dataclass(kind) and isinstance(document, dict):
        known = [f.name for f in fields(kind)]
        for key in document:
            if key not in known:  # plain dataclasses, as actors and models have them, would pass over it
                fault = f"{key}: there is no such key{hint(str(key), known)}"
                raise ConfigurationError(f"{_source(key, where, sources)}: {fault}")
    try:
        return TypeAdapter(kind).validate_python(document, context={"folder": folder})
    except ValidationError as error:
        lines = [
            f"{_source('.'.join(map(str, details['loc'])), where, sources)}: {_explain(kind, details)}"
            for details in error.errors()
        ]
        raise ConfigurationError("\n".join(lines)) from None


def _source(key: str, where: str, sources: Mapping[str, str] | None) -> str:
    return (sources or {}).get(key, where)


def _explain(kind: type[Any], details: ErrorDetails) -> str:
    location = details["loc"]
    key = ".".join(map(str, location))
    if details["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        *sections, last = map(str, location)
        prefix = "".join(f"{section}." for section in sections)
        return f"{key}: there is no such key{hint(last, _keys_at(kind, location[:-1]), prefix)}"
    if details["type"] in ("missing", "missing_argument"):
        return f"{key}: this key is required"
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "dataclass_type":  # pydantic would name a class of ours
        message = "expected a section of keys"
    if not key:  # a fault of the whole document, which need not be repeated
        return message
    given = "a secret" if names_a_secret(key) else repr(without_secrets(details["input"]))
    return f"{key}: {message[0].lower()}{message[1:]}, not {given}"


def _keys_at(kind: Any, location: Sequence[int | str]) -> list[str]:
    for key in location:
        is_list = isinstance(key, int)  # whose entries are all of one kind
        kind = get_args(kind)[0] if is_list else next(f.type for f in fields(kind) if f.name == key)
    return [f.name for f in fields(kind)] if is_dataclass(kind) else []


def _override(document: dict[str, Any], key: str, value: str, sources: dict[str, str], source: str) -> None:
    sources[key] = source
    *folders, last = key.split(".")
    section = document
    for name in folders:
        section = section.setdefault(name, {})
        if not isinstance(section, dict):
            raise ConfigurationError(f"{source}: {name} is not a section")
    is_yaml = value == "null" or value[:1] in ("[", "{")
    try:
        section[last] = yaml.load(value, Loader=_Loader) if is_yaml else _FlagText(value)  # noqa: S506
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{source}: {_yaml_fault(error)}") from None
