"""The subnet's neurons: whether a reading of the metagraph is believed.

A node of the chain may be behind, or broken. What it says of a subnet that is suddenly empty, or half of it, is
believed when it says so twice, and not in one breath. A file is the operator's own word.
"""

from dataclasses import dataclass, field

from bettensor.actors.actor import Actor, on, on_timer
from bettensor.actors.settings import Seconds, settings_class
from bettensor.bus.codes import RefusalCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    MetagraphDoubted,
    MetagraphFetched,
    MetagraphSynced,
    NeuronInfo,
    PeerRefused,
    SyncRequested,
)
from bettensor.bus.identifiers import Hotkey, Micros, micros


@settings_class
class MetagraphSettings:
    """When the metagraph is synced earlier than subtensor.sync_interval says."""

    early_sync_interval: Seconds = 30.0
    """If a hotkey is unknown, the metagraph is synced early, but at most once in this many seconds. If a sync is
    implausible (over half of the neurons are gone, or its block is older), it is repeated after as many seconds."""


@dataclass(slots=True)
class MetagraphState:
    """The believed metagraph, and the state of a doubted reading."""

    neurons: dict[Hotkey, NeuronInfo] = field(default_factory=dict)
    block: int = 0
    doubted: tuple[Hotkey, ...] | None = None
    """The hotkeys of the reading that is not believed yet."""
    asked_at: Micros | None = None
    """When a reading was asked for last."""
    owing: bool = False
    """A reading is to be asked for as soon as the interval allows."""


class MetagraphActor(Actor):
    """Judges each reading, and publishes the changes."""

    name = "metagraph"
    Settings = MetagraphSettings
    State = MetagraphState
    settings: MetagraphSettings
    state: MetagraphState

    @on(MetagraphFetched)
    def judge(self, event: MetagraphFetched, envelope: Envelope) -> None:
        state = self.state
        if state.owing:
            state.owing = False
            self.cancel_timer("sync")
        said = tuple(neuron.hotkey for neuron in event.neurons)
        doubt = self._doubt(event)
        if doubt is not None and state.doubted != said:
            state.doubted = said
            self.publish(MetagraphDoubted(doubt))
            self._owe(Micros(envelope.mono + micros(self.settings.early_sync_interval)))
            return
        known, state.neurons = state.neurons, {neuron.hotkey: neuron for neuron in event.neurons}
        state.block, state.doubted = event.block, None
        everybody = dict.fromkeys([*known, *state.neurons])
        changed = tuple(key for key in everybody if _row(known.get(key)) != _row(state.neurons.get(key)))
        self.publish(MetagraphSynced(event.neurons, changed, event.source, event.block, event.fetched_at))

    @on(PeerRefused)
    def look_for_news(self, event: PeerRefused, envelope: Envelope) -> None:
        """A hotkey that is not known may have been registered since the last reading."""
        if event.code is RefusalCode.NOT_REGISTERED:
            self._ask("a hotkey is not known", envelope.mono)

    @on_timer("sync")
    def ask_at_last(self, _: None, envelope: Envelope) -> None:
        self.state.owing = False
        self._ask("one was owed", envelope.mono)

    def _doubt(self, event: MetagraphFetched) -> str | None:
        known, block = self.state.neurons, self.state.block
        if event.source == "file" or not known:
            return None
        if event.block < block:
            return f"it is of block {event.block}, which is older than block {block} seen before"
        kept = sum(neuron.hotkey in known for neuron in event.neurons)
        if 2 * kept < len(known):
            return f"it has only {kept} of {len(known)} neurons"
        return None

    def _ask(self, reason: str, now: Micros) -> None:
        state, interval = self.state, micros(self.settings.early_sync_interval)
        if state.owing:
            return  # and strangers cannot speed up the second reading of an implausible metagraph
        if state.asked_at is None or now - state.asked_at >= interval:
            state.asked_at = now
            self.publish(SyncRequested(reason))
        else:
            self._owe(Micros(state.asked_at + interval))

    def _owe(self, at: Micros) -> None:
        self.state.owing = True
        self.set_timer("sync", at)


def _row(neuron: NeuronInfo | None) -> tuple[object, ...] | None:
    """The fields of a neuron whose change counts: all except its stake, which changes with every block."""
    if neuron is None:
        return None
    return neuron.uid, neuron.coldkey, neuron.validator_permit, neuron.axon, neuron.crypto
