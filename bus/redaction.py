"""Recognises values that may be secret, so that no log contains them.

Knows names, not values: what an operator calls a token is one. Of addresses only scheme and host are kept, because
services put their keys into the rest. In a command each flag's value is hidden, whatever the flag is called, unless it
is a number, a switch or the name of a file.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

HIDDEN: Final = "(not recorded)"
"""Stands for a value that may be a secret."""
_SECRET: Final = re.compile(
    r"passw|passphrase|secret|token|api[_-]?key|private|credential|mnemonic|bearer", re.IGNORECASE
)
_HARMLESS: Final = re.compile(
    r"[+-]?[0-9]{1,9}(\.[0-9]{1,9})?|true|false|yes|no|on|off|[\w./-]+\.(py|js|ts|sh|jar|toml|ya?ml|json|csv)",
    re.IGNORECASE,
)
"""Values of a command's flags that are no secrets."""
_ADDRESS: Final = re.compile(r"\b([a-z][a-z0-9+.-]*://)([^\s/?#@]*@)?([^\s/?#@]*)([/?#][^\s]+)?", re.IGNORECASE)


def names_a_secret(name: str) -> bool:
    """Whether a value with this name may be a secret."""
    return _SECRET.search(name) is not None


def without_secrets(plain: Any) -> Any:
    """Settings as plain data without possible secrets. Numbers stay: ``tokens_per_second`` is not a secret."""
    if isinstance(plain, dict):
        return {  # a key of a YAML file may be anything
            key: _hidden(value) if names_a_secret(str(key)) else without_secrets(value) for key, value in plain.items()
        }
    if isinstance(plain, list | tuple):
        return [*_listed(plain)]
    return without_keys(plain) if isinstance(plain, str) else plain


def actors_without_secrets(actors: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of actors, by name: an actor's name may look like a secret's but is kept."""
    return {name: without_secrets(settings) for name, settings in actors.items()}


def without_keys(text: str) -> str:
    """``text`` with every address in it cut down to its scheme and host."""
    return _ADDRESS.sub(lambda found: f"{found[1]}{found[3]}{'/...' if found[4] else ''}", text)


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _hidden(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(part) for part in value]
    return HIDDEN if isinstance(value, str) else value


def _listed(parts: Iterable[Any]) -> Iterator[Any]:
    """A list may be a command: ``--token X``, ``--token=X``, ``--api=X``, ``TOKEN=X``."""
    flag = ""
    """The flag whose value comes next, if it has one."""
    for part in parts:
        name, equals, value = part.partition("=") if isinstance(part, str) else ("", "", "")
        is_flag = name.startswith("-")
        if flag and (names_a_secret(flag) or not is_flag):
            yield _hidden(part) if _is_hidden(flag, part) else part
            flag = ""
            continue
        if equals and (names_a_secret(name) or is_flag):
            yield f"{name}={HIDDEN}" if _is_hidden(name, value) else part
        else:
            yield without_secrets(part)
        flag = name if is_flag and not equals else ""


def _is_hidden(flag: str, value: Any) -> bool:
    """Whether the value of a command's flag may be a secret; ``-m`` is followed by the name of a module."""
    if names_a_secret(flag):
        return True
    return isinstance(value, str) and flag != "-m" and _HARMLESS.fullmatch(value) is None
