"""Gathers a configuration from its file, from variables of the environment and from flags.

Flags override variables, and variables override the file. Knows the source of each key, so that a message blames the
flag for a wrong flag. Knows nothing else of the keys.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.config.documents import is_unicode
from bettensor.neurons.config.yaml_text import parse_yaml, read_yaml

DEFAULT_HOME: Final = Path("~/.bettensor")
"""The folder in which each neuron has its ``state_dir``, unless the configuration says otherwise."""
ENVIRONMENT: Final = "BETTENSOR_"
"""Prefix of environment variables that set keys; two underscores stand for a dot."""
ALIASES: Final = {
    "websocket_enabled": "websocket.enabled",
    "websocket_heartbeat_interval": "websocket.heartbeat_interval",
    "websocket_reconnect_base_interval": "websocket.reconnect_base_interval",
    "websocket_max_reconnect_interval": "websocket.max_reconnect_interval",
    "wallet": "wallet.name",
    "wallet-hotkey": "wallet.hotkey",
    "wallet-path": "wallet.path",
    "network": "subtensor.network",
}
"""Other spellings of flags and variables, for both roles: those of the miners' guide and of bittensor's commands."""
LETTERS: Final = {"w": "wallet", "H": "wallet-hotkey", "n": "network"}
"""Flags of one letter, as bittensor's commands have them, and the spelling that each stands for."""
SWITCHES: Final = {"logging.debug": "DEBUG", "logging.trace": "TRACE", "logging.info": "INFO"}
"""bittensor's switches, and the ``logging.level`` that each sets."""
SWITCHED: Final = "logging.level"
"""The key that a switch sets."""
_SWITCHED_OFF: Final = "INFO"
"""The value of ``SWITCHED`` after a switch with the value false."""
TRUE: Final = ("true", "1", "yes", "on", "t", "y")
FALSE: Final = ("false", "0", "no", "off", "f", "n")
"""What a flag's value may be if its key is true or false, in any case."""
_SERVICE_LINK: Final = re.compile(
    r"(?:.*[^_])?_(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_SERVICE_ADDRESS: Final = re.compile(r"(?:.*[^_])?_PORT=(?:tcp|udp|sctp)://.*")


@dataclass(frozen=True, slots=True)
class Sources:
    """The source of each key of a configuration."""

    name: str
    """The file's name, or words for a configuration without a file."""
    file: Path | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    """The file, variable or flag that set a dotted key; a key that is missing here has its default."""

    def of(self, key: str) -> str | None:
        """The file, variable or flag that set ``key``, a part of it, or the value that contains it; None: nothing."""
        around = (key[:end] for end in range(len(key), 0, -1) if end == len(key) or key[end] == ".")
        exact = next((self.keys[part] for part in around if part in self.keys), None)
        beneath = dict.fromkeys(source for part, source in self.keys.items() if part.startswith(f"{key}."))
        return exact or ", ".join(beneath) or None

    def blame(self, key: str) -> str:
        """The beginning of a message about ``key``: its source, and the key unless it is the source's name."""
        source = self.of(key) or self.name
        return source if source == f"--{key}" or not key else f"{source}: {key}"

    def blame_together(self, keys: Iterable[str]) -> str:
        """The source to blame if ``keys`` contradict each other: a flag before a variable, and that before the file."""
        by_rank: dict[int, list[str]] = {}
        for source in dict.fromkeys(source for source in map(self.of, keys) if source is not None):
            by_rank.setdefault(_rank(source), []).append(source)
        return ", ".join(by_rank[max(by_rank)]) if by_rank else self.name


Where = Sources | str
"""Where settings come from, for messages: their sources, or words."""


def blame(where: Where, key: str) -> str:
    """The beginning of a message about ``key``."""
    return _sources(where).blame(key)


def blame_together(where: Where, keys: Iterable[str]) -> str:
    """The beginning of a message about ``keys`` that contradict each other."""
    return _sources(where).blame_together(keys)


def _sources(where: Where) -> Sources:
    return where if isinstance(where, Sources) else Sources(where)


def _rank(source: str) -> int:
    return 2 if source.startswith("--") else 1 if source.startswith(ENVIRONMENT) else 0


class FlagText(str):
    """A value from the command line or the environment: a path in it is relative to the working directory."""

    __slots__ = ()


@dataclass(slots=True)
class Gathered:
    """A configuration as plain data, with the source of each key and the faults found so far."""

    document: dict[str, Any]
    name: str
    file: Path | None
    keys: dict[str, str]
    faults: list[str] = field(default_factory=list)

    @property
    def sources(self) -> Sources:
        """The source of each key."""
        return Sources(self.name, self.file, self.keys)

    def override(self, name: str, text: str, source: str) -> None:
        """Set one key.

        Args:
            name: the dotted key, or another spelling of it.
            text: the value; a list or a mapping is YAML, and so is null.
            source: the flag or variable, for messages.
        """
        try:
            if not is_unicode(text):
                raise ValueError("its value is no UTF-8 text")
            key, text = spelled(name, text)
            value = _value(text)
        except ValueError as error:
            self.faults.append(f"{source}: {error}")
            return
        *folders, last = key.split(".")
        section = self.document
        for folder in folders:
            section = section.setdefault(folder, {})
            if not isinstance(section, dict):
                self.faults.append(f"{source}: {folder} is not a section")
                return
        section[last] = value
        for known in [known for known in self.keys if known == key or known.startswith(f"{key}.")]:
            del self.keys[known]
        self.keys |= dict.fromkeys(_leaves(value, key), source)


def gather(file: Path | None, flags: Mapping[str, str], environment: Mapping[str, str], advice: str = "") -> Gathered:
    """The configuration that a file, variables and flags make together.

    Args:
        file: the YAML file; None if there is none.
        flags: keys in any spelling, with their values as text.
        environment: all variables of the process.
        advice: the cure if the file is missing or empty, for the message.

    Raises:
        ConfigurationError: the file cannot be read, or is empty.
    """
    document = {} if file is None else _read(file, advice)
    name = "the configuration" if file is None else str(file)
    gathered = Gathered(document, name, file, dict.fromkeys(_leaves(document), name))
    seen: dict[str, tuple[str, str]] = {}
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT) or _is_service_link(variable, text):
            continue
        key = variable.removeprefix(ENVIRONMENT).lower().replace("__", ".")
        other, other_text = seen.setdefault(ALIASES.get(key, key), (variable, text))
        if other_text != text:
            gathered.faults.append(f"{variable}: {other} sets the same key to another value; unset one of them")
        gathered.override(key, text, variable)
    for flag, text in flags.items():
        gathered.override(flag, text, f"--{flag}")
    return gathered


def _read(file: Path, advice: str) -> dict[str, Any]:
    """
    Raises:
        ConfigurationError: the file cannot be read, or is empty, as it is while an editor writes it in place: that must
            not stand for the default of every key.
    """
    document = read_yaml(file, advice)
    if not document:
        raise ConfigurationError(f"{file}: the file is empty{advice}")
    return document


def spelled(name: str, text: str) -> tuple[str, str]:
    """The key and the value that a flag or a variable means.

    Raises:
        ValueError: the value of a switch is neither true nor false.
    """
    if name not in SWITCHES:
        return name if text.startswith("{") else ALIASES.get(name, name), text
    if text.lower() not in TRUE + FALSE:
        raise ValueError(f"expected true or false, but it is {text!r}")
    return SWITCHED, SWITCHES[name] if text.lower() in TRUE else _SWITCHED_OFF


def _value(text: str) -> Any:
    """
    Raises:
        ValueError: it is a list or a mapping, and not YAML.
    """
    return parse_yaml(text) if text == "null" or text[:1] in ("[", "{") else FlagText(text)


def _leaves(value: Any, key: str = "") -> Iterator[str]:
    """The dotted key of each value that is not a mapping."""
    if not isinstance(value, dict) or (key and not value):
        yield key
        return
    for name, inner in value.items():
        yield from _leaves(inner, f"{key}.{name}" if key else str(name))


def _is_service_link(variable: str, text: str) -> bool:
    """Whether Kubernetes made this variable for a Service with the name ``bettensor`` or ``bettensor-...``."""
    rest = variable.removeprefix(ENVIRONMENT.rstrip("_"))
    return bool(_SERVICE_LINK.fullmatch(rest) or _SERVICE_ADDRESS.fullmatch(f"{rest}={text}"))
