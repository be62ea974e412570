"""A neuron's configuration: one YAML file, overridden by flags, checked before anything starts.

Every key has its default and its unit here, and only here. A wrong key or value is refused with file, key and what was
expected.
"""

import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import field, fields, is_dataclass
from pathlib import Path
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
from bettensor.bus.text import nearest

ENVIRONMENT: Final = "BETTENSOR_"
"""Variables of the environment that begin so are keys: two underscores stand for each dot."""
ALIASES: Final = {
    "websocket_enabled": "websocket.enabled",
    "websocket_heartbeat_interval": "websocket.heartbeat_interval",
    "websocket_reconnect_base_interval": "websocket.reconnect_base_interval",
    "websocket_max_reconnect_interval": "websocket.max_reconnect_interval",
}
"""Flags, and variables, as miners know them; both spellings work on both roles."""


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
"""By pydantic's name of a fault, where its own text is for programmers."""


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
    """Which hotkey this neuron speaks for. Only the hotkey is ever read."""

    name: FileName = "default"
    """The wallet's folder."""
    hotkey: FileName = "default"
    """The hotkey's file in it."""
    path: LocalPath = Path("~/.bittensor/wallets")
    """Where wallets are kept."""


@settings_class
class MetagraphFileSettings:
    """Who is in the subnet, where no chain says so."""

    static: LocalPath | None = None
    """A YAML file that lists the neurons: no chain at all. null: the chain says it, see subtensor."""


@settings_class
class SubtensorSettings:
    """The chain that says who is in the subnet, unless metagraph.static does."""

    network: Literal["finney", "test", "local"] | None = None
    """The chain."""
    chain_endpoint: Annotated[str, Field(pattern=r"^wss?://\S+$")] | None = None
    """The node to ask, as ws://127.0.0.1:9944; null: those that are known for the network."""
    sync_interval: Seconds = 120.0
    """Seconds between two readings of the metagraph."""


@settings_class
class CheckedAuthSettings(AuthSettings):
    """Which signatures are believed."""

    schemes: dict[Address, Scheme] = field(default_factory=dict)


@settings_class
class VerifierSettings(CheckedAuthSettings):
    """Which signatures are believed, and how a validator verifies them."""

    verify_workers: Annotated[Whole, Field(ge=0, le=64)] = 0
    """Processes that verify frames, for a machine with as many cores to spare; 0: the neuron does it itself."""


@settings_class
class GamesSettings:
    """Where a validator's slate comes from."""

    source: Literal["file", "random"] = "file"
    """file: the file, again whenever it changes. random: the file once, then odds that move, for demos and tests."""
    path: LocalPath | None = None
    """The JSON file with the games; by default the fixtures that come with this package."""
    interval: Seconds = 5.0
    """Seconds between two moves of random odds."""
    seed: Whole | None = None
    """Of random odds; null takes a fresh one."""


@settings_class
class LoggingSettings:
    """What the log tells."""

    level: Literal["DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """The least level that is written."""


@settings_class
class RecorderSettings:
    """The recorded event log: what `bettensor replay`, `trace`, `log` and `audit` read."""

    record: Literal["observed", "all", "off"] = "observed"
    """observed: what the world said, enough to replay. all: decisions too, to compare with. off: nothing."""
    path: LocalPath | None = None
    """The file; null is events.jsonl in state_dir. Closed files lie beside it, numbered and compressed."""
    file_bytes: Annotated[Whole, Field(ge=4096)] = 64 * 1024 * 1024
    """Bytes after which another file begins; at most half of total_bytes, at least two checkpoints."""
    file_age: Seconds = 86_400.0
    """Seconds after which another file begins."""
    total_bytes: Annotated[Whole, Field(ge=4096)] = 1024 * 1024 * 1024
    """Bytes of all files; the oldest are deleted."""


@settings_class
class MetricsSettings:
    """Numbers for Prometheus, at http://IP:PORT/metrics."""

    enabled: bool = True
    """False: none are served."""
    ip: str = "127.0.0.1"
    """The address to bind; they are for this machine and its scraper, not for the public."""
    port: Port | None = None
    """The port; null is 9464 on a validator and 9465 on a miner. If it is taken the neuron does without."""


@settings_class
class Settings:
    """What both roles have."""

    role: str
    """What this neuron is."""
    netuid: Annotated[Netuid, Field(ge=0, le=65535), IsNumber]
    """The subnet's number."""
    state_dir: LocalPath
    """The folder for what must outlive a restart: the ledger, the one-instance lock. Created with mode 0700."""
    wallet: WalletSettings = field(default_factory=WalletSettings)
    metagraph: MetagraphFileSettings = field(default_factory=MetagraphFileSettings)
    subtensor: SubtensorSettings = field(default_factory=SubtensorSettings)
    websocket: WebSocketSettings = field(default_factory=WebSocketSettings)
    auth: CheckedAuthSettings = field(default_factory=CheckedAuthSettings)
    logging: LoggingSettings = field(default_factory=LoggingSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    recorder: RecorderSettings = field(default_factory=RecorderSettings)
    actors: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Settings of actors by their name; `class: "module:Class"` puts one of your own in its place, or beside them."""
    edges: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Edges of your own, by their name: `class: "module:Class"`, and the edge's own keys; one of ours is replaced."""
    handlers: dict[str, list[str]] = field(default_factory=dict)
    """Functions of your own, "module:function", by the topic that they hear; "*" hears everything."""

    def __post_init__(self) -> None:
        chain = self.subtensor.network or self.subtensor.chain_endpoint
        if (self.metagraph.static is None) == (chain is None):
            is_there = "both are there" if chain else "neither is there"
            raise ValueError(f"one of metagraph.static and subtensor.network must say who is in the subnet; {is_there}")


@settings_class
class ValidatorSettings(Settings):
    """A validator."""

    role: Literal["validator"] = "validator"
    """What this neuron is."""
    blacklist: LocalPath | None = None
    """A YAML file with the hotkeys, coldkeys and networks (CIDR) that may not connect."""
    axon: AxonSettings = field(default_factory=AxonSettings)
    auth: VerifierSettings = field(default_factory=VerifierSettings)
    games: GamesSettings = field(default_factory=GamesSettings)


@settings_class
class MinerSettings(Settings):
    """A miner."""

    role: Literal["miner"] = "miner"
    """What this neuron is."""
    validators: ChosenValidators = ChosenValidators()
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
    what = role or "validator"
    advice = f"; `bettensor config show --role {what} > {what}.yaml` writes one with every key"
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
        expected = f"{role!r}, as the command says" if role else "'validator' or 'miner'"
        raise ConfigurationError(f"{file}: role: expected {expected}, and it is {given!r}")
    return parse(ROLES[given], document, str(file), folder=file.parent, sources=sources)


def read_yaml(file: Path, advice: str = "") -> dict[str, Any]:
    """A YAML file that holds a mapping; an empty file is an empty one.

    Args:
        file: where it is.
        advice: what to do if it is missing, for the message.

    Raises:
        ConfigurationError: it cannot be read, is not YAML, or something else; the message says where.
    """
    try:
        document = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        raise ConfigurationError(f"{file}: there is no such file{advice}") from None
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file}: cannot be read: its byte {error.start} is no UTF-8 text") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file}: {_yaml_fault(error)}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigurationError(f"{file}: expected keys with values, and it is {_shown('', document)}")
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
        known = _names(kind)
        for key in document:
            if key not in known:  # plain dataclasses, as actors and models have them, would pass over it
                hint = f"the nearest is {nearest(str(key), known)}" if known else "there are none"
                raise ConfigurationError(f"{_source(key, where, sources)}: {key}: there is no such key; {hint}")
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
    """Each section by its type: what an actor, an edge or a model takes by a field of that type."""
    return {kind: _as(kind, getattr(settings, name)) for kind, name in section_names(type(settings)).items()}


def _as(kind: type[Any], section: Any) -> Any:
    """``section`` as the type that it extends, for a part that knows no more of it."""
    if type(section) is kind:
        return section
    return kind(**{f.name: getattr(section, f.name) for f in fields(kind)})


def section_fields(kind: type[Any], sections: Container[type[Any]]) -> dict[str, type[Any]]:
    """The fields of ``kind`` whose type is one of ``sections``, with that type. Their names do not matter."""
    types = get_type_hints(kind) if is_dataclass(kind) else {}
    return {name: section for name, section in types.items() if section in sections}


def parse_part(kind: type[Parsed], document: Mapping[str, Any], settings: Settings, where: str) -> Parsed:
    """``document`` as the settings class of an actor, an edge or a model, with the neuron's sections in their fields.

    Args:
        kind: a dataclass; its fields of a section's type are filled from ``settings``.
        document: plain data: the part's own keys.
        settings: the neuron's.
        where: what error messages begin with: a file and a key.

    Raises:
        ConfigurationError: each wrong key with what was expected, or a key that belongs to a section.
    """
    sections, names = sections_of(settings), section_names(type(settings))
    taken = section_fields(kind, sections)
    for key in document:
        setter = _setter(key, kind, {name: names[section] for name, section in taken.items()})
        if setter is not None:
            raise ConfigurationError(f"{where}: {key}: this is set by {setter}")
    return parse(kind, {**document, **{name: sections[section] for name, section in taken.items()}}, where)


def _setter(key: str, kind: type[Any], taken: Mapping[str, str]) -> str | None:
    """The key that sets ``key`` for the whole neuron, if ``kind`` takes it with a section."""
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
    """Where it is: of a wrong key of a mapping, that key."""
    return tuple(part for part in details["loc"] if part != "[key]")


def _explain(kind: type[Any], details: ErrorDetails) -> str:
    location = _location(details)
    key = ".".join(map(str, location))
    if details["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        near = nearest(str(location[-1]), _keys_at(kind, location[:-1]))
        return f"{key}: there is no such key; the nearest is {'.'.join([*map(str, location[:-1]), near])}"
    if details["type"] in ("missing", "missing_argument"):
        return f"{key}: this key is required"
    message = _EXPECTED.get(details["type"], details["msg"].removeprefix("Value error, "))
    message = f"{message[0].lower()}{message[1:]}"
    place = f"{key}: " if key else ""
    if details["type"] == "value_error" and isinstance(
        details["input"], dict
    ):  # a rule between its keys, which the message names
        return f"{place}{message}"
    return f"{place}{message}, and it is {_shown(key, details['input'])}"


def _shown(key: str, value: Any) -> str:
    if names_a_secret(key):
        return "a secret"
    return "a list" if isinstance(value, list) else repr(without_secrets(value))


def _keys_at(kind: Any, location: Sequence[int | str]) -> list[str]:
    for key in location:
        is_list = isinstance(key, int)  # whose entries are all of one kind
        kind = get_args(kind)[0] if is_list else next(f.type for f in fields(kind) if f.name == key)
    return _names(kind) if is_dataclass(kind) else []


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
