"""The endpoint that miners dial: announced on the chain, or reported to the operator if it is wrong."""

from dataclasses import dataclass, field
from ipaddress import ip_address

from bettensor.actors.actor import Actor, on, on_timer
from bettensor.actors.settings import AxonSettings, settings_class
from bettensor.bus.backoff import backoff
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    Announced,
    AnnounceFailed,
    AnnounceRequested,
    EndpointDoubted,
    MetagraphSynced,
    NeuronStarted,
)
from bettensor.bus.identifiers import SECOND, Hotkey, Micros

FIRST_DELAY = Micros(60 * SECOND)
"""Until an announcement that failed is tried again: the chain takes few of them. Doubled each time."""
LONGEST_DELAY = Micros(3600 * SECOND)
SETTLING = Micros(300 * SECOND)
"""How long readings may still show the old endpoint after the chain took the new one: they lag behind."""


@settings_class
class AnnounceSettings:
    """The endpoint to announce."""

    axon: AxonSettings = field(default_factory=AxonSettings)

    def port(self) -> int:
        """The port miners dial; 0 if it is unknown until the listener is bound."""
        return self.axon.port if self.axon.external_port is None else self.axon.external_port

    def endpoint(self) -> str | None:
        """The announced ``ip:port``; None if nothing is announced."""
        port = self.port()
        if not self.axon.serve or self.axon.external_ip is None or not port:
            return None
        address = ip_address(self.axon.external_ip)
        return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


@dataclass(slots=True)
class AnnounceState:
    """The announcement in progress."""

    hotkey: Hotkey = Hotkey("")
    on_chain: str | None = None
    registered: bool = False
    busy: bool = False
    """An announcement, or the wait after one, is under way."""
    failures: int = 0
    doubt: str = ""
    """Why miners do not find it."""


class AnnounceActor(Actor):
    """Compares, and asks for one announcement at a time."""

    name = "announce"
    Settings = AnnounceSettings
    State = AnnounceState
    settings: AnnounceSettings
    state: AnnounceState

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.hotkey = event.hotkey

    @on(MetagraphSynced)
    def compare(self, event: MetagraphSynced, _: Envelope) -> None:
        me = next((neuron for neuron in event.neurons if neuron.hotkey == self.state.hotkey), None)
        is_announced = event.source != "file" and self.settings.endpoint() is not None  # and so repaired
        if me is not None and not is_announced:
            self._doubt(self._fault_of(me.axon))
        if event.source == "chain":
            self.state.registered, self.state.on_chain = me is not None, None if me is None else me.axon
            self._announce()

    @on(Announced)
    def settle(self, event: Announced, envelope: Envelope) -> None:
        self.state.failures, self.state.on_chain = 0, event.endpoint
        self.set_timer("announce", Micros(envelope.mono + SETTLING))

    @on(AnnounceFailed)
    def back_off(self, _: AnnounceFailed, envelope: Envelope) -> None:
        delay = backoff(FIRST_DELAY, LONGEST_DELAY, self.state.failures)
        self.state.failures += 1
        self.set_timer("announce", Micros(envelope.mono + delay))

    @on_timer("announce")
    def try_again(self, _: None, __: Envelope) -> None:
        self.state.busy = False
        self._announce()

    def _fault_of(self, known: str | None) -> str:
        port = self.settings.port()
        if not port:
            return ""
        if known is None:
            return "no miner finds this validator: the metagraph does not say where it is"
        if known.rpartition(":")[1:] in ((":", str(port)), ("", known)):  # no port: on a simulated network
            return ""
        return f"miners dial {known}, as the metagraph says, but this validator's port is {port}"

    def _doubt(self, reason: str) -> None:
        if reason != self.state.doubt:
            self.state.doubt = reason
            self.publish(EndpointDoubted(reason))

    def _announce(self) -> None:
        endpoint = self.settings.endpoint()
        if endpoint is not None and self.state.registered and endpoint != self.state.on_chain and not self.state.busy:
            self.state.busy = True
            self.publish(AnnounceRequested(endpoint))
