"""Loads a neuron's configuration, and tells all that is wrong with it at once, each fault with its source."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from shlex import quote
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from bettensor.bus.adapters import adapter_of
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.text import hint
from bettensor.neurons.config.faults import Fault, Faults, Location, faults_of, shown_value
from bettensor.neurons.config.rules import conflicts
from bettensor.neurons.config.settings import ROLES, MinerSettings, ValidatorSettings, has_key, keys_of
from bettensor.neurons.config.sources import ALIASES, SWITCHES, Gathered, Sources, gather

SIMILAR: Final = 0.7
"""Similarity, 0 to 1, from which on a key of another section is suggested for an unknown one."""


class Configuration(NamedTuple):
    """The settings of a neuron, with the source of each key."""

    settings: ValidatorSettings | MinerSettings
    """If there are faults: the settings without the wrong keys, with which further checks can be made."""
    sources: Sources
    faults: tuple[str, ...] = ()

    @property
    def checked(self) -> ValidatorSettings | MinerSettings:
        """The settings, which have no faults.

        Raises:
            ConfigurationError: they have; the message has a line for each.
        """
        Faults(self.faults).tell()
        return self.settings


def find_file(role: str) -> Path | None:
    """The file of a neuron that is started without ``--config``: ROLE.yaml in the working directory, if it is there."""
    file = Path(f"{role}.yaml")
    return file if file.exists() else None


def load_settings(
    file: Path | None = None,
    flags: Mapping[str, str] | None = None,
    role: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> ValidatorSettings | MinerSettings:
    """Read and check a neuron's configuration.

    Args:
        file: the YAML file; paths in it are relative to its folder. None: flags, variables and defaults suffice.
        flags: dotted keys with their values as text; they override the file, and their paths are relative to the
            working directory.
        role: the role that the command line asks for; None if it asks for none.
        environment: variables, which override the file and are overridden by flags; by default those of the process.
            ``BETTENSOR_WEBSOCKET__ENABLED`` is ``websocket.enabled``.

    Raises:
        ConfigurationError: the configuration is wrong; the message has a line for each fault, with the file, variable
            or flag, the key, the value and what was expected.
    """
    return load_configuration(file, flags, role, environment).checked


def load_configuration(
    file: Path | None = None,
    flags: Mapping[str, str] | None = None,
    role: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Configuration:
    """The same, for callers that have further checks to make before they tell the faults.

    Raises:
        ConfigurationError: the file cannot be read or is empty, or the role is not known.
    """
    advice = ""
    if file is not None:
        advice = f"; `bettensor config show --role {role or 'ROLE'} > {quote(str(file))}` writes one with every key"
    gathered = gather(file, flags or {}, os.environ if environment is None else environment, advice)
    kind = _kind(gathered, role)
    _refuse_unknown(gathered, kind)
    settings, faults, dropped = _parse(kind, gathered)
    sources = gathered.sources
    faults += [fault for fault in conflicts(settings, sources) if not dropped & {*fault.locations}]
    return Configuration(settings, sources, (*gathered.faults, *(fault.told(sources) for fault in faults)))


def _kind(gathered: Gathered, role: str | None) -> type[ValidatorSettings] | type[MinerSettings]:
    if role is not None and "role" not in gathered.document:
        gathered.document["role"], gathered.keys["role"] = role, "the command"
    given = gathered.document.get("role")
    if isinstance(given, str) and given in ROLES and role in (None, given):
        return ROLES[given]
    expected = f"{role!r}, as in the command" if role else "'validator' or 'miner'"
    found = "but it is missing" if given is None else f"not {shown_value('role', given)}"
    raise ConfigurationError(
        "\n".join([*gathered.faults, f"{gathered.sources.blame('role')}: expected {expected}, {found}"])
    )


def _refuse_unknown(gathered: Gathered, kind: type[ValidatorSettings] | type[MinerSettings]) -> None:
    """Take unknown flags and variables out: each is a fault of its own, whatever section it seems to name."""
    for key in [key for key, source in gathered.keys.items() if source != gathered.name]:
        if not has_key(kind, key):
            near = _suggestion(key, kind, gathered.document["role"])
            gathered.faults.append(f"{gathered.sources.blame(key)}: there is no such key{near}")
            _take_out(gathered.document, *key.split("."))
            del gathered.keys[key]


def _suggestion(key: str, kind: type[Any], role: str) -> str:
    """The end of a message about an unknown key: keys of other sections with this name, or the nearest key."""
    *section, last = key.split(".")
    known = [*keys_of(kind), *ALIASES, *SWITCHES]
    same = [other for other in known if other.rpartition(".")[2] == last]
    if same:
        return f"; the nearest {'is' if len(same) == 1 else 'are'} {' and '.join(map(repr, same))}"
    prefix = "".join(f"{part}." for part in section)
    inside = [other.removeprefix(prefix) for other in known if other.startswith(prefix)] if section else []
    beside = [*dict.fromkeys(other.partition(".")[0] for other in inside)]  # of a section in it only the name
    near = (
        hint(last, beside, prefix)
        if beside
        else "".join(f"; the nearest is {other!r}" for other in get_close_matches(key, known, n=1, cutoff=SIMILAR))
    )
    return near or f"; `bettensor {role} --help` lists all keys"


def _parse(
    kind: type[ValidatorSettings] | type[MinerSettings], gathered: Gathered
) -> tuple[ValidatorSettings | MinerSettings, list[Fault], set[Location]]:
    """The settings without the wrong keys, the faults, and the keys that were left out."""
    context = {"folder": None if gathered.file is None else gathered.file.parent}
    faults: list[Fault] = []
    dropped: set[Location] = set()
    while True:
        try:
            return adapter_of(kind).validate_python(gathered.document, context=context), faults, dropped
        except ValidationError as error:
            found = list(faults_of(kind, error))
        faults += [fault for fault in found if not dropped & {*fault.locations}]
        wrong = {location for fault in found for location in fault.locations}
        deleted = [_drop(gathered.document, location) for location in wrong]
        if not any(deleted):
            raise ConfigurationError("\n".join(fault.told(gathered.sources) for fault in faults))
        dropped |= wrong


def _take_out(section: dict[str, Any], first: str, *rest: str) -> None:
    """Delete a value, and the sections that are empty without it."""
    if rest:
        _take_out(section[first], *rest)
    if not rest or not section[first]:
        del section[first]


def _drop(document: dict[str, Any], location: Location) -> bool:
    """Delete the value at ``location``, or the list or value that contains it; whether there was one."""
    section: dict[Any, Any] = document
    for part in location[:-1]:
        inner = section.get(part)
        if not isinstance(inner, dict):
            return section.pop(part, None) is not None
        section = inner
    return section.pop(location[-1], None) is not None
