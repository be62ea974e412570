"""Rules about several keys that an operator may set, and that make no sense together.

They hold for neurons that start, and not for settings in recorded logs: a replay decides as the neuron did, sensible or
not.
"""

from collections.abc import Iterator
from typing import Any

from bettensor.neurons.config.faults import Fault
from bettensor.neurons.config.settings import Settings, ValidatorSettings
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
    if isinstance(settings, ValidatorSettings) and settings.metrics.enabled:
        axon, metrics = settings.axon, settings.metrics
        if axon.port == metrics.port != 0:
            pair = {"axon.port": axon.port, "metrics.port": metrics.port}
            yield _fault("{} and {} are the same port", pair, where)


def _fault(text: str, values: dict[str, Any], where: Where) -> Fault:
    """A fault; ``text`` has a place for each key, which is shown with its value and its source."""
    shown = [f"{key} ({value!r}{_source(key, where)})" for key, value in values.items()]
    return Fault(tuple(tuple(key.split(".")) for key in values), text.format(*shown))


def _source(key: str, where: Where) -> str:
    if not isinstance(where, Sources):
        return ""
    source = where.of(key)
    return ", the default" if source is None else f", from {source}"
