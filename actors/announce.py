"""The endpoint at which others reach this neuron: announced on the chain, or reported to the operator if it is wrong.

The chain has one entry per hotkey. If another process of this hotkey announces an endpoint of its own, the one that
came later leaves the entry to the other, so that they do not replace each other's for ever.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import ClassVar

from bettensor.actors.actor import Actor, on, on_timer
from bettensor.actors.settings import AxonSettings, MinerSynapseSettings
from bettensor.bus.backoff import backoff
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    Announced,
    AnnounceFailed,
    AnnouncementContested,
    AnnouncementSettled,
    AnnounceRequested,
    EndpointDoubted,
    MetagraphSynced,
    NeuronStarted,
    SettingsReloaded,
)
from bettensor.bus.identifiers import SECOND, Hotkey, Micros

FIRST_DELAY = Micros(60 * SECOND)
"""Until an announcement that failed is tried again: the chain takes few of them. Doubled each time."""
LONGEST_DELAY = Micros(3600 * SECOND)
SETTLING = Micros(300 * SECOND)
"""How long readings may still show the old endpoint after the chain took the new one: they lag behind."""
FIRST_RETREAT = Micros(3600 * SECOND)
"""How long the entry is left to another process that was there first. Doubled each time."""
LONGEST_RETREAT = Micros(24 * 3600 * SECOND)

Serving = AxonSettings | MinerSynapseSettings
"""The section that says where a neuron serves."""


def dialled_port(serving: Serving) -> int:
    """The port that others dial; 0 if it is unknown until it is bound."""
    return serving.port if serving.external_port is None else serving.external_port


def announced_endpoint(serving: Serving) -> str | None:
    """The announced ``ip:port``; None if nothing is announced."""
    port = dialled_port(serving)
    if not serving.serve or serving.external_ip is None or not port:
        return None
    address = ip_address(serving.external_ip)
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


@dataclass(slots=True)
class Contest:
    """The struggle with another process of this hotkey."""

    rounds: int = 0
    """How often the other endpoint has replaced ours."""
    waits: bool = False
    """Whether the next announcement waits for its timer."""


@dataclass(slots=True)
class AnnounceState:
    """The announcement in progress, and what the chain has shown."""

    hotkey: Hotkey = Hotkey("")
    on_chain: str | None = None
    registered: bool = False
    busy: bool = False
    """An announcement, or the wait after one, is under way."""
    failures: int = 0
    doubt: str = ""
    """Why others do not find it."""
    is_of_0_1: bool = False
    """The run is of release 0.1.0, which noticed no other process."""
    has_read: bool = False
    """The chain has been read in this run."""
    former: str | None = None
    """The endpoint, not ours, that the first reading of this run showed: whoever announces it again was there first."""
    announced_at: Micros | None = None
    """When the chain last took our announcement in this run; wall clock."""
    seen: bool = False
    """Whether a reading has shown our endpoint since then, or at the start."""
    missed: bool = False
    """Whether the chain took an announcement that no reading showed, and then another one."""
    contest: Contest | None = None


class EndpointActor(Actor):
    """Compares, and asks for one announcement at a time. Each role says where it serves, and in which words."""

    name = "announce"
    State = AnnounceState
    state: AnnounceState
    unknown: ClassVar[str]
    """The doubt if the metagraph has no endpoint for this neuron."""
    wrong: ClassVar[str]
    """The doubt if it has another one, with places for ``known`` and ``port``."""

    @property
    def serving(self) -> Serving | None:
        """Where this neuron serves; None if it does not."""
        raise NotImplementedError

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.hotkey, self.state.is_of_0_1 = event.hotkey, event.is_of_0_1

    @on(SettingsReloaded)
    def reload(self, event: SettingsReloaded, envelope: Envelope) -> None:
        before = self._endpoint()
        super().reload(event, envelope)
        if self._endpoint() != before:
            self._end_contest(None)
            self.state.seen = self.state.missed = False

    @on(MetagraphSynced)
    def compare(self, event: MetagraphSynced, envelope: Envelope) -> None:
        me = next((neuron for neuron in event.neurons if neuron.hotkey == self.state.hotkey), None)
        is_announced = event.source != "file" and self._endpoint() is not None  # and so repaired
        if me is not None and not is_announced:
            self._doubt(self._fault_of(me.axon))
        if event.source == "chain":
            self.state.registered, self.state.on_chain = me is not None, None if me is None else me.axon
            self._look_for_another(envelope)
            self._announce()

    @on(Announced)
    def settle(self, event: Announced, envelope: Envelope) -> None:
        state = self.state
        state.failures, state.on_chain = 0, event.endpoint
        state.missed = state.announced_at is not None and not state.seen
        state.announced_at, state.seen = envelope.at, False
        self.set_timer("announce", Micros(envelope.mono + SETTLING))

    @on(AnnounceFailed)
    def back_off(self, _: AnnounceFailed, envelope: Envelope) -> None:
        delay = backoff(FIRST_DELAY, LONGEST_DELAY, self.state.failures)
        self.state.failures += 1
        self.set_timer("announce", Micros(envelope.mono + delay))

    @on_timer("announce")
    def try_again(self, _: None, __: Envelope) -> None:
        self.state.busy = False
        if self.state.failures or self.state.is_of_0_1:
            self._announce()  # after a success the next reading shows whether there is anything to announce

    # --- what others find

    def _endpoint(self) -> str | None:
        return None if self.serving is None else announced_endpoint(self.serving)

    def _fault_of(self, known: str | None) -> str:
        port = 0 if self.serving is None else dialled_port(self.serving)
        if not port:
            return ""
        if known is None:
            return self.unknown
        if known.rpartition(":")[1:] in ((":", str(port)), ("", known)):  # no port: on a simulated network
            return ""
        return self.wrong.format(known=known, port=port)

    def _doubt(self, reason: str) -> None:
        if reason != self.state.doubt:
            self.state.doubt = reason
            self.publish(EndpointDoubted(reason))

    def _announce(self) -> None:
        endpoint, contest = self._endpoint(), self.state.contest
        waits = self.state.busy or (contest is not None and contest.waits)
        if endpoint is not None and self.state.registered and endpoint != self.state.on_chain and not waits:
            self.state.busy = True
            self.publish(AnnounceRequested(endpoint))

    # --- another process of this hotkey

    def _look_for_another(self, envelope: Envelope) -> None:
        """Judge what a reading shows in place of our endpoint, unless it may lag behind our own announcement."""
        state, ours, theirs = self.state, self._endpoint(), self.state.on_chain
        if ours is None or not state.registered or state.is_of_0_1:
            return
        if theirs == ours:
            state.seen, state.missed = True, False
            if not state.busy:
                self._end_contest(ours)
        elif theirs is None:
            self._resume()
        elif not state.has_read:
            state.former = theirs
        elif not state.busy and (state.seen or state.missed or state.contest is not None):
            self._contest(ours, theirs, envelope)
        state.has_read = True

    def _contest(self, ours: str, theirs: str, envelope: Envelope) -> None:
        """Another process has announced ``theirs``: leave the entry to it, or announce ours again, later each time."""
        state = self.state
        contest = state.contest = state.contest or Contest()
        if contest.waits:
            return
        yields, delay = theirs == state.former, Micros(0)
        if yields:
            delay = Micros(backoff(FIRST_RETREAT, LONGEST_RETREAT, contest.rounds))
        elif contest.rounds:
            delay = Micros(backoff(FIRST_DELAY, LONGEST_DELAY, contest.rounds - 1))
        self.publish(
            AnnouncementContested(ours, theirs, state.announced_at, envelope.at, yields, delay, contest.rounds)
        )
        contest.rounds += 1
        if delay:
            contest.waits = True
            self.set_timer("contest", Micros(envelope.mono + delay))

    @on_timer("contest")
    def come_back(self, _: None, __: Envelope) -> None:
        if self.state.contest is not None:
            self.state.contest.waits = False
        self._announce()

    def _resume(self) -> None:
        """Wait no longer before the next announcement."""
        contest = self.state.contest
        if contest is not None and contest.waits:
            contest.waits = False
            self.cancel_timer("contest")

    def _end_contest(self, ours: str | None) -> None:
        if self.state.contest is not None:
            self._resume()
            self.state.contest = None
            self.publish(AnnouncementSettled(ours))
