"""A neuron's configuration: one YAML file, overridden by flags, checked before anything starts.

Keys, defaults and units are defined only here. A wrong key or value is refused; the message has file, key, value and
the expected value.
"""

import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import field, fields, is_dataclass
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_type_hints

import yaml
from bittensor_core import ss58_decode
from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails

from bettensor.actors.settings import (
    AuthSettings,
    AxonSettings,
    ChosenValidators,
    IsNumber,
    Port,
    Seconds,
    WebSocketSettings,
    Whole,
    settings_class,
)
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import Scheme
from bettensor.bus.identifiers import Hotkey, Netuid
from bettensor.bus.redaction import names_a_secret, without_secrets
from bettensor.bus.text import hint
from bettensor.neurons.config.documents import read_text

ENVIRONMENT: Final = "BETTENSOR_"
"""Prefix of environment variables that set keys; two underscores stand for a dot."""
ALIASES: Final = {
    "websocket_enabled": "websocket.enabled",
    "websocket_heartbeat_interval": "websocket.heartbeat_interval",
    "websocket_reconnect_base_interval": "websocket.reconnect_base_interval",
    "websocket_max_reconnect_interval": "websocket.max_reconnect_interval",
}
"""Short spellings of flags and variables; both spellings work for both roles."""


def _file_name(value: str) -> str:
    if value in ("", ".", "..") or "/" in value or "\0" in value:  # ../coldkey would be another key
        raise ValueError("expected the name of a file, without its folder")
    return value


def _address(value: str) -> str:
    try:
        ss58_decode(value)
    except ValueError:
        raise ValueError("expected an ss58 address like 5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY") from None
    return value


Address = Annotated[Hotkey, AfterValidator(_address)]
FileName = Annotated[str, AfterValidator(_file_name)]
Parsed = TypeVar("Parsed")
_EXPECTED: Final = {
    "dataclass_type": "expected keys with values",
    "dict_type": "expected keys with values",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
}
"""The messages for pydantic's faults whose own text is for programmers, by pydantic's name."""


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

    network: Literal["finney", "test", "local"] | None = None
    """finney: the main network. test: the test network. local: a node on this machine. null: none of them; then set
    chain_endpoint or metagraph.static."""
    chain_endpoint: Annotated[str, Field(pattern=r"^wss?://\S+$")] | None = None
    """The only node to use, for example ws://127.0.0.1:9944; overrides network. null: the nodes of the network."""
    sync_interval: Seconds = 120.0
    """Seconds between two metagraph syncs; a sync reads the metagraph from the chain."""


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

    level: Literal["DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """Lowest level that is written: DEBUG, INFO, SUCCESS, WARNING, ERROR or CRITICAL."""


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
    """If all files together have more bytes than this, the oldest files are deleted."""


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
    netuid: Annotated[Netuid, Field(ge=0, le=65535), IsNumber]
    """The subnet's number."""
    state_dir: LocalPath
    """The folder for the ledger (validator) or the outbox (miner), and for the event log, control socket and lock. If
    it is missing, it is created with mode 0700."""
    wallet: WalletSettings = field(default_factory=WalletSettings)
    metagraph: MetagraphFileSettings = field(default_factory=MetagraphFileSettings)
    subtensor: SubtensorSettings = field(default_factory=SubtensorSettings)
    websocket: WebSocketSettings = field(default_factory=WebSocketSettings)
    auth: CheckedAuthSettings = field(default_factory=CheckedAuthSettings)
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

    def __post_init__(self) -> None:
        chain = self.subtensor.network or self.subtensor.chain_endpoint
        if (self.metagraph.static is None) == (chain is None):
            found = "both are set" if chain else "neither is set"
            raise ValueError(f"set either metagraph.static or subtensor.network, the source of the metagraph; {found}")


@settings_class
class ValidatorSettings(Settings):
    """A validator."""

    role: Literal["validator"] = "validator"
    """The neuron's role."""
    blacklist: LocalPath | None = None
    """A YAML file with the hotkeys, coldkeys and networks (CIDR) to refuse; a wrong row blocks nobody, and is reported.
    null: nobody is blacklisted."""
    axon: AxonSettings = field(default_factory=AxonSettings)
    auth: VerifierSettings = field(default_factory=VerifierSettings)
    games: GamesSettings = field(default_factory=GamesSettings)


@settings_class
class MinerSettings(Settings):
    """A miner."""

    role: Literal["miner"] = "miner"
    """The neuron's role."""
    validators: ChosenValidators = ChosenValidators()
    """Hotkeys of the validators to connect to. []: all validators with a permit and an endpoint in the metagraph."""


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
    show = f"bettensor config show --role {role or 'ROLE'} > {quote(str(file))}"
    advice = f"; `{show}` writes one with every key"
    document = read_yaml(file, advice)
    sources: dict[str, str] = {}
    for name, value in (os.environ if environment is None else environment).items():
        if name.startswith(ENVIRONMENT):
            key = name.removeprefix(ENVIRONMENT).lower().replace("__", ".")
            _override(document, ALIASES.get(key, key), value, sources, name)
    for flag, value in (flags or {}).items():
        _override(document, ALIASES.get(flag, flag), value, sources, f"--{flag}")
    if not document:
        raise ConfigurationError(f"{file}: the file is empty{advice}")
    given = document.setdefault("role", role)
    if given not in ROLES or (role is not None and given != role):
        expected = f"{role!r}, as in the command" if role else "'validator' or 'miner'"
        found = "but it is missing" if given is None else f"not {given!r}"
        raise ConfigurationError(f"{file}: role: expected {expected}, {found}")
    return parse(ROLES[given], document, str(file), folder=file.parent, sources=sources)


def read_yaml(file: Path, advice: str = "") -> dict[str, Any]:
    """A YAML file that holds a mapping; an empty file is an empty one.

    Args:
        file: the file.
        advice: the cure if it is missing, for the message.

    Raises:
        ConfigurationError: it cannot be read or is not such YAML; the message has the line.
    """
    try:
        document = yaml.load(read_text(file, advice), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file}: {_yaml_fault(error)}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigurationError(f"{file}: expected keys with values, but it is {_shown('', document)}")
    return document


def _yaml_fault(error: yaml.YAMLError) -> str:
    """The fault, and its line."""
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
        where: the beginning of error messages: a file, or a file and a key.
        folder: the folder to which relative paths belong; by default the working directory.
        sources: by dotted key, the flag or environment variable that set it; all other keys come from ``where``.

    Raises:
        ConfigurationError: each wrong key with the expected value, a line each.
    """
    if is_dataclass(kind) and isinstance(document, dict):
        known = _names(kind)
        for key in document:
            if key not in known:  # plain dataclasses of actors and models would ignore it
                fault = f"{key}: there is no such key{hint(str(key), known)}"
                raise ConfigurationError(f"{_source(key, where, sources)}: {fault}")
    try:
        return TypeAdapter(kind).validate_python(document, context={"folder": folder})
    except ValidationError as error:
        lines = [
            f"{_source('.'.join(map(str, _location(details))), where, sources)}: {_explain(kind, details)}"
            for details in error.errors()
        ]
        raise ConfigurationError("\n".join(lines)) from None


def section_names(kind: type[Settings]) -> dict[type[Any], str]:
    """The key of each section of a role, by the section's type and the types that it extends."""
    types = get_type_hints(kind)
    sections = [f.name for f in fields(kind) if _is_section(types[f.name])]
    return {base: name for name in sections for base in types[name].__mro__ if _is_section(base)}


def sections_of(settings: Settings) -> dict[type[Any], Any]:
    """Each section by its type; an actor, an edge or a model takes it by a field of that type."""
    return {kind: _as(kind, getattr(settings, name)) for kind, name in section_names(type(settings)).items()}


def _as(kind: type[Any], section: Any) -> Any:
    """``section`` as the type that it extends, for a part that knows only that type."""
    if type(section) is kind:
        return section
    return kind(**{f.name: getattr(section, f.name) for f in fields(kind)})


def section_fields(kind: type[Any], sections: Container[type[Any]]) -> dict[str, type[Any]]:
    """The fields of ``kind`` whose type is one of ``sections``, with their types. Field names do not matter."""
    types = get_type_hints(kind) if is_dataclass(kind) else {}
    return {name: section for name, section in types.items() if section in sections}


def parse_part(kind: type[Parsed], document: Mapping[str, Any], settings: Settings, where: str) -> Parsed:
    """``document`` as the settings class of an actor, an edge or a model, with the neuron's sections in their fields.

    Args:
        kind: a dataclass; its fields of a section's type are filled from ``settings``.
        document: plain data: the part's own keys.
        settings: the neuron's.
        where: the beginning of error messages: a file and a key.

    Raises:
        ConfigurationError: each wrong key with the expected value, or a key that belongs to a section.
    """
    sections, names = sections_of(settings), section_names(type(settings))
    taken = section_fields(kind, sections)
    for key in document:
        setter = _setter(key, kind, {name: names[section] for name, section in taken.items()})
        if setter is not None:
            raise ConfigurationError(f"{where}: {key}: set {setter} instead")
    return parse(kind, {**document, **{name: sections[section] for name, section in taken.items()}}, where)


def _setter(key: str, kind: type[Any], taken: Mapping[str, str]) -> str | None:
    """The key that sets ``key`` for the whole neuron, if ``kind`` includes the section of that key."""
    types = get_type_hints(kind) if is_dataclass(kind) else {}
    if key in types:
        return taken.get(key)
    sections = ((name, types[name]) for name in taken if is_dataclass(types[name]))
    return next((f"{taken[name]}.{key}" for name, cls in sections if key in _names(cls)), None)


def _is_section(kind: Any) -> bool:
    return is_dataclass(kind) or kind is ChosenValidators


def _names(kind: Any) -> list[str]:
    return [f.name for f in fields(kind)]


def _source(key: str, where: str, sources: Mapping[str, str] | None) -> str:
    return (sources or {}).get(key, where)


def _location(details: ErrorDetails) -> tuple[int | str, ...]:
    """The path of a fault; for a wrong key of a mapping, that key's path."""
    return tuple(part for part in details["loc"] if part != "[key]")


def _explain(kind: type[Any], details: ErrorDetails) -> str:
    location = _location(details)
    key = ".".join(map(str, location))
    if details["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        *sections, last = map(str, location)
        prefix = "".join(f"{section}." for section in sections)
        return f"{key}: there is no such key{hint(last, _keys_at(kind, location[:-1]), prefix)}"
    if details["type"] in ("missing", "missing_argument"):
        return f"{key}: this key is required"
    message = _EXPECTED.get(details["type"], details["msg"].removeprefix("Value error, "))
    message = message.partition(", unable to parse")[0].replace("Input should be", "must be")
    message = f"{message[0].lower()}{message[1:]}"
    place = f"{key}: " if key else ""
    if details["type"] == "value_error" and isinstance(
        details["input"], dict
    ):  # a rule on several keys; the message names them
        return f"{place}{message}"
    return f"{place}{message}, but it is {_shown(key, details['input'])}"


def _shown(key: str, value: Any) -> str:
    if names_a_secret(key):
        return "a secret"
    return "a list" if isinstance(value, list) else repr(without_secrets(value))


def _keys_at(kind: Any, location: Sequence[int | str]) -> list[str]:
    for key in location:
        is_list = isinstance(key, int)  # all entries of a list have the same rule
        kind = get_args(kind)[0] if is_list else next(f.type for f in fields(kind) if f.name == key)
    return _names(kind) if is_dataclass(kind) else []


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
