"""Rules about several keys that an operator may set, and that make no sense together.

They hold for neurons that start, and not for settings in recorded logs: a replay decides as the neuron did, sensible or
not.
"""

from collections.abc import Iterator
from typing import Any

from bettensor.neurons.config.faults import Fault
from bettensor.neurons.config.settings import MinerSettings, Settings, ValidatorSettings
from bettensor.neurons.config.sources import Sources, Where


def conflicts(settings: Settings, where: Where) -> Iterator[Fault]:
    """The rules that ``settings`` break.

    Args:
        settings: of either role.
        where: where they come from; the text names the source of each key.
    """
    websocket, chain = settings.websocket, settings.subtensor
    if websocket.heartbeat_interval >= websocket.connection_timeout:
        pair: dict[str, Any] = {
            "websocket.heartbeat_interval": websocket.heartbeat_interval,
            "websocket.connection_timeout": websocket.connection_timeout,
        }
        yield _fault("{} must be less than {}: a quiet session would be closed between two heartbeats", pair, where)
    for key, value in (("network", chain.network), ("chain_endpoint", chain.chain_endpoint)):
        if settings.metagraph.static is not None and value is not None:
            pair = {"metagraph.static": str(settings.metagraph.static), f"subtensor.{key}": value}
            yield _fault("{} and {} exclude each other, because each is a source of the metagraph", pair, where)
    limits = settings.limits
    if limits.connections is not None and limits.strangers is not None and limits.strangers >= limits.connections:
        pair = {"limits.strangers": limits.strangers, "limits.connections": limits.connections}
        yield _fault("{} must be less than {}: no connection would be left for a neuron of the subnet", pair, where)
    section, port = _listens(settings)
    if port == _metrics_port(settings) and port:
        pair = {f"{section}.port": port, "metrics.port": settings.metrics.port}
        yield _fault("{} and {} are the same port", pair, where)


def _listens(settings: Settings) -> tuple[str, int | None]:
    """The section with the public port, and the port; None if the neuron has none."""
    if isinstance(settings, ValidatorSettings):
        return "axon", settings.axon.port
    if isinstance(settings, MinerSettings) and settings.synapse.enabled:
        return "synapse", settings.synapse.port
    return "", None


def _metrics_port(settings: Settings) -> int | None:
    return settings.metrics.port if settings.metrics.enabled else None


def _fault(text: str, values: dict[str, Any], where: Where) -> Fault:
    """A fault; ``text`` has a place for each key, which is shown with its value and its source."""
    shown = [f"{key} ({value!r}{_source(key, where)})" for key, value in values.items()]
    return Fault(tuple(tuple(key.split(".")) for key in values), text.format(*shown))


def _source(key: str, where: Where) -> str:
    if not isinstance(where, Sources):
        return ""
    source = where.of(key)
    return ", the default" if source is None else f", from {source}"
