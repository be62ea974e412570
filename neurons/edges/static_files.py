"""Metagraph and blacklist from files: a subnet without a chain.

The metagraph file lists ``neurons``, each with ``hotkey`` and, optionally, ``uid``, ``coldkey``,
``validator_permit``, ``stake``, ``axon`` (``ip:port``) and ``crypto`` (the scheme of its signatures). The blacklist
file lists ``hotkeys``, ``coldkeys`` and ``networks`` (CIDR).
"""

import re
from dataclasses import field
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from bettensor.actors.settings import NotNegative, Whole
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import BlacklistLoaded, MetagraphFetched, NeuronInfo, Observed, Scheme
from bettensor.bus.identifiers import Hotkey, Uid
from bettensor.neurons.config.settings import Address, Settings, ValidatorSettings, parse
from bettensor.neurons.config.yaml_text import read_yaml
from bettensor.neurons.edges.edge import Edge

_STRICT = ConfigDict(extra="forbid")
_ENDPOINT = re.compile(r"(\[[0-9a-fA-F:]+\]|[^:\s]+):[0-9]{1,5}")


def _network(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError as error:
        raise ValueError(f"expected an IP network like 10.1.0.0/16 ({error})") from None


Network = Annotated[str, AfterValidator(_network)]


def _endpoint(value: str) -> str:
    if not _ENDPOINT.fullmatch(value) or not 0 < int(value.rpartition(":")[2]) < 65536:
        raise ValueError("expected ip:port like 203.0.113.7:8091, or [2001:db8::7]:8091")
    return value


Endpoint = Annotated[str, AfterValidator(_endpoint)]


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class _NeuronEntry:
    hotkey: Address
    uid: Annotated[Whole, Field(ge=0, le=65535)] | None = None
    """By default its place in the list, from 0."""
    coldkey: str = ""
    validator_permit: bool = False
    stake: NotNegative = 0.0
    axon: Endpoint | None = None
    crypto: Scheme | None = None
    """By default sr25519; ``auth.schemes`` overrides it."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class _MetagraphFile:
    neurons: list[_NeuronEntry]


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class _BlacklistFile:
    hotkeys: list[Address] = field(default_factory=list)
    coldkeys: list[Address] = field(default_factory=list)
    networks: list[Network] = field(default_factory=list)


class StaticFiles(Edge):
    """Publishes the metagraph and the blacklist from the operator's files."""

    name = "static_files"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: tuple[Observed, ...] = ()

    async def open(self) -> None:
        """Publish both.

        Raises:
            ConfigurationError: one cannot be read.
        """
        self.take(self.read(self._settings))

    def read(self, settings: Settings) -> tuple[Observed, ...]:
        """The present contents of the files that ``settings`` name.

        Raises:
            ConfigurationError: one cannot be read.
        """
        static, blacklist = files_of(settings)
        metagraph = () if static is None else (read_metagraph(static),)
        return metagraph if blacklist is None else (*metagraph, read_blacklist(blacklist))

    def take(self, files: tuple[Observed, ...]) -> None:
        """Publish the changes in them."""
        known, self._known = self._known, files
        for event in files:
            if event not in known:
                self._bus.publish(event)


def files_of(settings: Settings) -> tuple[Path | None, Path | None]:
    """The metagraph and the blacklist, if they are files."""
    return settings.metagraph.static, settings.blacklist if isinstance(settings, ValidatorSettings) else None


def read_metagraph(file: Path) -> MetagraphFetched:
    """
    Raises:
        ConfigurationError: the file cannot be read, or is not a metagraph; the message names neuron and field.
    """
    entries = parse(_MetagraphFile, read_yaml(file), str(file)).neurons
    neurons = tuple(
        NeuronInfo(
            uid=Uid(place if entry.uid is None else entry.uid),
            hotkey=Hotkey(entry.hotkey),
            coldkey=entry.coldkey,
            validator_permit=entry.validator_permit,
            stake=entry.stake,
            axon=entry.axon,
            crypto=entry.crypto,
        )
        for place, entry in enumerate(entries)
    )
    for what in ("hotkey", "uid"):
        seen: dict[object, int] = {}
        for place, neuron in enumerate(neurons):
            first = seen.setdefault(getattr(neuron, what), place)
            if first != place:
                value = getattr(neuron, what)
                raise ConfigurationError(f"{file}: neurons.{place}.{what}: {value} is already that of neurons.{first}")
    return MetagraphFetched(neurons)


def read_blacklist(file: Path) -> BlacklistLoaded:
    """
    Raises:
        ConfigurationError: the file cannot be read, or is not a blacklist; the message names the entry.
    """
    listed = parse(_BlacklistFile, read_yaml(file), str(file))
    return BlacklistLoaded(tuple(map(Hotkey, listed.hotkeys)), tuple(listed.coldkeys), tuple(listed.networks))
