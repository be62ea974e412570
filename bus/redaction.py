"""Recognises values that may be secret, so that no log contains them.

Knows names, not values: what an operator calls a token is one. Of addresses only scheme and host are kept, because
services put their keys into the rest. In a command each flag's value is hidden, whatever the flag is called, unless it
is a number, a switch or the name of a file. In other texts, such as tracebacks, what stands behind such a name is
hidden: ``api_key=X``, ``"token": "X"``, ``Authorization: Bearer X``, ``--secret X``.
"""

import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

HIDDEN: Final = "(not recorded)"
"""Stands for a value that may be a secret."""
_NAMES: Final = (
    r"passw|passphrase|secret|token|api[_-]?key|access[_-]?key|private|credential|mnemonic|seed[_-]?phrase|bearer"
    r"|authorization|cookie"
)
_SECRET: Final = re.compile(_NAMES, re.IGNORECASE)
_HARMLESS: Final = re.compile(
    r"[+-]?[0-9]{1,9}(\.[0-9]{1,9})?|true|false|yes|no|on|off|[\w./-]+\.(py|js|ts|sh|jar|toml|ya?ml|json|csv)",
    re.IGNORECASE,
)
"""Values of a command's flags that are no secrets."""
_ADDRESS: Final = re.compile(
    r"\b(?P<scheme>[a-z][a-z0-9+.-]{0,20}://)(?P<authority>[^\s/?#'\"]*)"
    r"(?P<rest>/[.]{3}|(?:[/?#]\S*?)?)(?P<end>['\"),.;:\]}>]{0,4}(?=\s|$))",
    re.IGNORECASE,
)
_HOST: Final = re.compile(r"([\w.-]*|\[[0-9a-f:.]*\])(:[0-9]{1,5})?", re.IGNORECASE)
_NAMED: Final = re.compile(
    rf"""(?P<name>[\w-]{{0,40}}(?:{_NAMES})[\w-]{{0,40}}['"]?\]?[ ]?[:=][ ]?"""
    rf"""|--?[\w-]{{0,40}}(?:{_NAMES})[\w-]{{0,40}}[ ]|"""
    r"""\bbearer[ ]|\bbasic[ ])(?:(?:bearer|basic|token)[ ])?"""
    r"""(?P<value>\(not[ ]recorded\)|"[^"\n]*"|'[^'\n]*'|[^\s,;&)\]}'"]+)""",
    re.IGNORECASE,
)
"""A name and what stands behind it; it may be hidden already, as in a replay."""


_ADDRESS_KEY: Final = re.compile(r"(?:.*_)?(?:url|uri|endpoint)|network|subtensor", re.IGNORECASE)
_WHOLE_ADDRESS: Final = re.compile(
    r"[a-z][a-z0-9+.-]{0,20}://(?:[^\s/?#'\"@]*@)?(?:[\w.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?(?:[/?#]\S*)?",
    re.IGNORECASE | re.ASCII,
)


def names_a_secret(name: str) -> bool:
    """Whether a value with this name may be a secret."""
    return _SECRET.search(name) is not None


def names_an_address(key: str) -> bool:
    """Whether the value of a dotted key is the address of a service, or is likely to be one by mistake."""
    return _ADDRESS_KEY.fullmatch(key.rpartition(".")[2]) is not None


def is_whole_address(text: str) -> bool:
    """Whether all of ``text`` is one address with its scheme, of which scheme and host can be told from the rest."""
    return _WHOLE_ADDRESS.fullmatch(text) is not None


def without_secrets(plain: Any) -> Any:
    """Settings as plain data without possible secrets. Numbers stay: ``tokens_per_second`` is not a secret."""
    if isinstance(plain, dict):
        return {  # a key of a YAML file may be anything
            key: _hidden(value) if names_a_secret(str(key)) else without_secrets(value) for key, value in plain.items()
        }
    if isinstance(plain, list | tuple):
        return [*_listed(plain)]
    return without_named(plain) if isinstance(plain, str) else plain


def actors_without_secrets(actors: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of actors, by name: an actor's name may look like a secret's but is kept."""
    return {name: without_secrets(settings) for name, settings in actors.items()}


def without_keys(text: str) -> str:
    """``text`` with every address in it cut down to its scheme and host."""
    return _ADDRESS.sub(_cut, text)


def without_named(text: str) -> str:
    """``text`` without what stands behind the name of a secret, and with its addresses cut down."""
    return _NAMED.sub(lambda found: f"{found['name']}{HIDDEN}", without_keys(text))


def traceback_of(error: BaseException) -> str:
    """The traceback of ``error``, as text that every log can hold: an error's words may be anything.

    It has no values of variables, and no secrets that can be recognised.
    """
    return without_named("".join(traceback.format_exception(error))).encode(errors="backslashreplace").decode()


def _cut(address: re.Match[str]) -> str:
    scheme, authority, rest, end = address.group("scheme", "authority", "rest", "end")
    host = authority.rpartition("@")[2]
    if "@" in rest or not _HOST.fullmatch(host):  # a password may have any character
        return f"{scheme}...{end}"
    return f"{scheme}{host}{'/...' if len(rest) > 1 else rest}{end}"


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
