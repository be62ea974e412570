"""Metagraph and blacklist from files: a subnet without a chain.

The metagraph file lists ``neurons``, each with ``hotkey`` and, optionally, ``uid``, ``coldkey``,
``validator_permit``, ``stake``, ``axon`` (``ip:port``) and ``crypto`` (the scheme of its signatures). The blacklist
file lists ``hotkeys``, ``coldkeys`` and ``networks`` (CIDR).

A file that cannot be read, or is built wrongly, is refused as a whole: at the start the neuron does not run without it,
and later the old contents stay in force. A wrong row is skipped alone, and reported until it is repaired.
"""

import re
from collections.abc import Iterator
from dataclasses import field
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from bettensor.actors.settings import NotNegative, Whole
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import BlacklistLoaded, MetagraphFetched, NeuronInfo, Observed, RowsSkipped, Scheme
from bettensor.bus.identifiers import Hotkey, Uid
from bettensor.neurons.config.documents import NotANumber, number_of
from bettensor.neurons.config.settings import Address, Settings, ValidatorSettings, parse
from bettensor.neurons.config.yaml_text import read_yaml
from bettensor.neurons.edges.edge import Edge, Plan

_STRICT = ConfigDict(extra="forbid")
MAX_FAULT = 512
"""Characters of the message about a row."""
MOST_BYTES = 4 * 1024 * 1024
"""Bytes of either file: a row of the metagraph has about 200, and MOST_NODES of ``yaml_text.py`` allows 7,000 rows."""
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


def _number(value: Any) -> float:
    try:
        return number_of(value)
    except NotANumber as error:
        raise ValueError(error.expected) from None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class _NeuronEntry:
    hotkey: Address
    uid: Annotated[Whole, Field(ge=0, le=65535)] | None = None
    """By default its place in the list, from 0."""
    coldkey: str = ""
    validator_permit: bool = False
    stake: Annotated[NotNegative, BeforeValidator(_number)] = 0.0
    axon: Endpoint | None = None
    crypto: Scheme | None = None
    """By default sr25519; ``auth.schemes`` overrides it."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class _MetagraphFile:
    neurons: list[Any]
    """Rows, each checked by itself; so are those of the blacklist."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class _BlacklistFile:
    hotkeys: list[Any] = field(default_factory=list)
    coldkeys: list[Any] = field(default_factory=list)
    networks: list[Any] = field(default_factory=list)


Contents = TypeVar("Contents")


class Reading(NamedTuple, Generic[Contents]):
    """The contents of a file, and a fault for each row that is not among them."""

    contents: Contents
    faults: tuple[str, ...]


class StaticFiles(Edge):
    """Publishes the metagraph and the blacklist from the operator's files."""

    name = "static_files"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: tuple[Observed, ...] = ()

    @classmethod
    def check(cls, plan: Plan) -> Iterator[str]:
        """The rows of both that would be skipped.

        Raises:
            ConfigurationError: one cannot be read.
        """
        static, blacklist = files_of(plan.settings)
        if static is not None:
            yield from (f"{static}: {fault}" for fault in read_metagraph(static).faults)
        if blacklist is not None:
            yield from (f"{blacklist}: {fault}" for fault in read_blacklist(blacklist).faults)

    async def open(self) -> None:
        """Publish both.

        Raises:
            ConfigurationError: one cannot be read.
        """
        self.take(self.read(self._settings))

    def read(self, settings: Settings) -> tuple[Observed, ...]:
        """The present contents of the files that ``settings`` name; a metagraph only if it was a file at the start.

        Raises:
            ConfigurationError: one cannot be read.
        """
        static, blacklist = files_of(settings)
        found: list[Observed] = []
        if static is not None and self._settings.metagraph.static is not None:
            metagraph = read_metagraph(static)
            found += [RowsSkipped("metagraph", static.name, metagraph.faults), metagraph.contents]
        if blacklist is not None:
            listed = read_blacklist(blacklist)
            found += [RowsSkipped("blacklist", blacklist.name, listed.faults), listed.contents]
        elif any(isinstance(event, BlacklistLoaded) for event in self._known):  # there was one: nobody is on it now
            found += [RowsSkipped("blacklist", "", ()), BlacklistLoaded(())]
        return tuple(found)

    def take(self, files: tuple[Observed, ...]) -> None:
        """Publish the changes in them."""
        known, self._known = self._known, files
        had_faults = {event.what for event in known if isinstance(event, RowsSkipped) and event.faults}
        for event in files:
            is_news = not isinstance(event, RowsSkipped) or event.faults or event.what in had_faults
            if event not in known and is_news:
                self._bus.publish(event)


def files_of(settings: Settings) -> tuple[Path | None, Path | None]:
    """The metagraph and the blacklist, if they are files."""
    return settings.metagraph.static, settings.blacklist if isinstance(settings, ValidatorSettings) else None


def read_metagraph(file: Path) -> Reading[MetagraphFetched]:
    """The neurons that ``file`` lists. Of two rows with one hotkey, or with one UID, the first counts.

    Raises:
        ConfigurationError: the file cannot be read, or has no list of neurons.
    """
    rows = parse(_MetagraphFile, read_yaml(file, most=MOST_BYTES), str(file)).neurons
    entries, faults = _checked(_NeuronEntry, rows, "neurons")
    neurons: list[NeuronInfo] = []
    owners: dict[tuple[str, object], int] = {}
    for place, entry in entries.items():
        uid = Uid(place if entry.uid is None else entry.uid)
        own: dict[str, object] = {"hotkey": entry.hotkey, "uid": uid}
        taken = [(what, owners[what, value]) for what, value in own.items() if (what, value) in owners]
        if taken:
            (what, first), *_ = taken
            faults[place] = f"neurons.{place}: {what}: {own[what]} is already that of neurons.{first}"
            continue
        owners |= dict.fromkeys(own.items(), place)
        neurons.append(
            NeuronInfo(
                uid=uid,
                hotkey=Hotkey(entry.hotkey),
                coldkey=entry.coldkey,
                validator_permit=entry.validator_permit,
                stake=entry.stake,
                axon=entry.axon,
                crypto=entry.crypto,
            )
        )
    return Reading(MetagraphFetched(tuple(neurons)), tuple(faults[place] for place in sorted(faults)))


def read_blacklist(file: Path) -> Reading[BlacklistLoaded]:
    """All that ``file`` lists.

    Raises:
        ConfigurationError: the file cannot be read, or is not a blacklist.
    """
    listed = parse(_BlacklistFile, read_yaml(file, most=MOST_BYTES), str(file))
    hotkeys, of_hotkeys = _checked(Address, listed.hotkeys, "hotkeys")
    coldkeys, of_coldkeys = _checked(Address, listed.coldkeys, "coldkeys")
    networks, of_networks = _checked(Network, listed.networks, "networks")
    loaded = BlacklistLoaded(tuple(hotkeys.values()), tuple(coldkeys.values()), tuple(networks.values()))
    return Reading(loaded, (*of_hotkeys.values(), *of_coldkeys.values(), *of_networks.values()))


def _checked(kind: Any, rows: list[Any], name: str) -> tuple[dict[int, Any], dict[int, str]]:
    """The rows that are right, and the faults of the others, both by place in the list."""
    right: dict[int, Any] = {}
    faults: dict[int, str] = {}
    for place, row in enumerate(rows):
        try:
            right[place] = parse(kind, row, f"{name}.{place}")
        except ConfigurationError as error:
            faults[place] = "; ".join(str(error).splitlines())[:MAX_FAULT]
    return right, faults
