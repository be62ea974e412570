"""A neuron's configuration: one YAML file, overridden by flags, checked before anything starts.

Every key has its default and its unit here, and only here. A wrong key or value is refused with file, key and what was
expected.
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
"""Variables of the environment that begin so are keys: two underscores stand for each dot."""
ALIASES: Final = {
    "websocket_enabled": "websocket.enabled",
    "websocket_heartbeat_interval": "websocket.heartbeat_interval",
    "websocket_reconnect_base_interval": "websocket.reconnect_base_interval",
    "websocket_max_reconnect_interval": "websocket.max_reconnect_interval",
}
"""Flags, and variables, as miners know them; both spellings work on both roles."""


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
    """Which hotkey this neuron speaks for. Only the hotkey is ever read."""

    name: FileName = "default"
    """The wallet's folder."""
    hotkey: FileName = "default"
    """The hotkey's file in it."""
    path: LocalPath = Path("~/.bittensor/wallets")
    """Where wallets are kept."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class MetagraphFileSettings:
    """Who is in the subnet, where no chain says so."""

    static: LocalPath | None = None
    """A YAML file that lists the neurons: no chain at all. null: the chain says it, see subtensor."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class SubtensorSettings:
    """The chain that says who is in the subnet, unless metagraph.static does."""

    network: Literal["finney", "test", "local"] | None = None
    """The chain."""
    chain_endpoint: Annotated[str, Field(pattern=r"^wss?://\S+$")] | None = None
    """The node to ask, as ws://127.0.0.1:9944; null: those that are known for the network."""
    sync_interval: Positive = 120.0
    """Seconds between two readings of the metagraph."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class AxonSettings:
    """Where a validator listens."""

    ip: str = "0.0.0.0"  # noqa: S104 - a validator's port is public
    """The address to bind; 0.0.0.0 is every IPv4 one, :: every one."""
    port: Port = 8091
    """The port for HTTP and WebSocket; 0 takes any that is free."""
    external_ip: Annotated[str, AfterValidator(_ip)] | None = None
    """Where miners reach this validator; the chain is told when it changes. null: nothing is announced."""
    external_port: Port | None = None
    """The port there; null is the same port."""
    serve: bool = True
    """False: announce nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class WebSocketSettings:
    """The persistent connections between miners and validators."""

    enabled: bool = True
    """False: HTTP alone."""
    heartbeat_interval: Positive = 60.0
    """Seconds between two heartbeats."""
    connection_timeout: Positive = 300.0
    """Seconds of silence after which a connection is stale."""
    reconnect_base_interval: Positive = 5.0
    """Seconds: a miner's first back-off is a random time up to this, and each next one up to twice as long."""
    max_reconnect_interval: Positive = 300.0
    """Seconds: a miner's longest back-off."""
    send_queue_bytes: Annotated[int, Field(ge=65536)] = 1024 * 1024
    """Bytes that may wait for a miner that reads slowly; then its session ends with 4101."""
    send_timeout: Positive = 10.0
    """Seconds for which a miner may read nothing while something waits for it; then the same."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class AuthSettings:
    """How a validator verifies signatures."""

    verify_workers: Annotated[int, Field(ge=0, le=64)] = 0
    """Processes that verify frames, for a machine with as many cores to spare; 0: the neuron does it itself."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class GamesSettings:
    """Where a validator's slate comes from."""

    source: Literal["file", "random"] = "file"
    """file: the file, again whenever it changes. random: the file once, then odds that move, for demos and tests."""
    path: LocalPath | None = None
    """The JSON file with the games; by default the fixtures that come with this package."""
    interval: Positive = 5.0
    """Seconds between two moves of random odds."""
    seed: int | None = None
    """Of random odds; null takes a fresh one."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class LoggingSettings:
    """What the log tells."""

    level: Literal["DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """The least level that is written."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class RecorderSettings:
    """The recorded event log: what `bettensor replay`, `trace`, `log` and `audit` read."""

    record: Literal["observed", "all", "off"] = "observed"
    """observed: what the world said, enough to replay. all: decisions too, to compare with. off: nothing."""
    path: LocalPath | None = None
    """The file; null is events.jsonl in state_dir. Closed files lie beside it, numbered and compressed."""
    file_bytes: Annotated[int, Field(ge=4096)] = 64 * 1024 * 1024
    """Bytes after which another file begins; at most half of total_bytes, at least two checkpoints."""
    file_age: Positive = 86_400.0
    """Seconds after which another file begins."""
    total_bytes: Annotated[int, Field(ge=4096)] = 1024 * 1024 * 1024
    """Bytes of all files; the oldest are deleted."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class MetricsSettings:
    """Numbers for Prometheus, at http://IP:PORT/metrics."""

    enabled: bool = True
    """False: none are served."""
    ip: str = "127.0.0.1"
    """The address to bind; they are for this machine and its scraper, not for the public."""
    port: Port | None = None
    """The port; null is 9464 on a validator and 9465 on a miner. If it is taken the neuron does without."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Settings:
    """What both roles have."""

    role: str
    """What this neuron is."""
    netuid: Annotated[Netuid, Field(ge=0, le=65535)]
    """The subnet's number."""
    state_dir: LocalPath
    """The folder for what must outlive a restart: the ledger, the one-instance lock. Created with mode 0700."""
    wallet: WalletSettings = field(default_factory=WalletSettings)
    metagraph: MetagraphFileSettings = field(default_factory=MetagraphFileSettings)
    subtensor: SubtensorSettings = field(default_factory=SubtensorSettings)
    websocket: WebSocketSettings = field(default_factory=WebSocketSettings)
    logging: LoggingSettings = field(default_factory=LoggingSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    recorder: RecorderSettings = field(default_factory=RecorderSettings)
    actors: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Settings of actors by their name; `class: "module:Class"` puts one of your own in its place, or beside them."""
    handlers: dict[str, list[str]] = field(default_factory=dict)
    """Functions of your own, "module:function", by the topic that they hear; "*" hears everything."""

    def __post_init__(self) -> None:
        chain = self.subtensor.network or self.subtensor.chain_endpoint
        if (self.metagraph.static is None) == (chain is None):
            is_there = "both are there" if chain else "neither is there"
            raise ValueError(f"one of metagraph.static and subtensor.network must say who is in the subnet; {is_there}")


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ValidatorSettings(Settings):
    """A validator."""

    role: Literal["validator"] = "validator"
    """What this neuron is."""
    blacklist: LocalPath | None = None
    """A YAML file with the hotkeys, coldkeys and networks (CIDR) that may not connect."""
    axon: AxonSettings = field(default_factory=AxonSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    games: GamesSettings = field(default_factory=GamesSettings)


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class MinerSettings(Settings):
    """A miner."""

    role: Literal["miner"] = "miner"
    """What this neuron is."""
    validators: tuple[str, ...] = ()
    """Hotkeys of the validators to connect to; empty means each one with a permit and an endpoint."""


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
        role: what the command line says that this neuron is, if it does.
        environment: where variables that override the file, and are overridden by flags, are looked for; by default
            the process's own. ``BETTENSOR_WEBSOCKET__ENABLED`` is ``websocket.enabled``.

    Raises:
        ConfigurationError: file, key, value and what was expected.
    """
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
        expected = f"{role!r}, as the command says" if role else "'validator' or 'miner'"
        raise ConfigurationError(f"{file}: role: expected {expected}, and it is {given!r}")
    return parse(ROLES[given], document, str(file), folder=file.parent, sources=sources)


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping.

    Raises:
        ConfigurationError: it cannot be read, is not YAML, or something else; the message says where.
    """
    try:
        document = yaml.load(file.read_text(), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file}: {_yaml_fault(error)}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigurationError(f"{file}: expected keys with values, and it is a {type(document).__name__}")
    return document


def _yaml_fault(error: yaml.YAMLError) -> str:
    """What is wrong, and where, in a line."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return f"not YAML: {problem}" if mark is None else f"not YAML: line {mark.line + 1}: {problem}"


class _Loader(yaml.SafeLoader):
    """Refuses what YAML readers commonly let pass: a key that is there twice, and one that takes over other keys.

    PyYAML takes the wrong values over, where the other mapping has taken over some itself.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                problem = "<< is not understood here: write the keys out"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} is there twice", problem_mark=key_node.start_mark)
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
    if not key:  # of the whole, which need not be repeated
        return message
    given = "a secret" if names_a_secret(key) else repr(without_secrets(details["input"]))
    return f"{key}: {message[0].lower()}{message[1:]}, and it is {given}"


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
            raise ConfigurationError(f"{source}: {name} is no section")
    is_yaml = value == "null" or value[:1] in ("[", "{")
    try:
        section[last] = yaml.load(value, Loader=_Loader) if is_yaml else _FlagText(value)  # noqa: S506
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{source}: {_yaml_fault(error)}") from None
