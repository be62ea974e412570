"""Metagraph and blacklist from files: a subnet without a chain.

The metagraph file lists ``neurons``, each with ``hotkey`` and, where they matter, ``uid``, ``coldkey``,
``validator_permit``, ``stake`` and ``axon`` (``ip:port``). The blacklist file lists ``hotkeys``, ``coldkeys`` and
``networks`` (CIDR).
"""

import re
from dataclasses import field
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from bittensor_core import ss58_decode
from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import BlacklistLoaded, MetagraphFetched, NeuronInfo
from bettensor.bus.identifiers import Hotkey, Uid
from bettensor.neurons.config.settings import parse, read_yaml

_STRICT = ConfigDict(extra="forbid")
_ENDPOINT = re.compile(r"(\[[0-9a-fA-F:]+\]|[^:\s]+):[0-9]{1,5}")


def _address(value: str) -> str:
    try:
        ss58_decode(value)
    except ValueError:
        raise ValueError("expected an ss58 address like 5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY") from None
    return value


Address = Annotated[str, AfterValidator(_address)]


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
    uid: Annotated[int, Field(ge=0, le=65535)] | None = None
    """By default its place in the list, from 0."""
    coldkey: str = ""
    validator_permit: bool = False
    stake: Annotated[float, Field(ge=0)] = 0.0
    axon: Endpoint | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class _MetagraphFile:
    neurons: list[_NeuronEntry]


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class _BlacklistFile:
    hotkeys: list[Address] = field(default_factory=list)
    coldkeys: list[Address] = field(default_factory=list)
    networks: list[Network] = field(default_factory=list)


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
