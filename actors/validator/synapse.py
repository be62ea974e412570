"""Asks existing miners for predictions, and confirms them (docs/synapse.md).

Decides whom to ask and when. The miner of a prediction is the one whose endpoint was dialled; nothing that an answer
says can change that. The predictions take the same way to their verdict as those of sessions, few at a time: a miner
that sends many delays nobody else's.
"""

from collections import deque
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from bettensor.actors.actor import Actor, on, on_timer
from bettensor.actors.settings import ValidatorSynapseSettings, settings_class
from bettensor.bus.addresses import Networks, host_of, is_public, split_endpoint
from bettensor.bus.backoff import backoff
from bettensor.bus.codes import CloseCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    AxonAnswered,
    AxonConfirmed,
    AxonConfirmRequested,
    AxonFailed,
    AxonPassedOver,
    AxonQueryRequested,
    BlacklistLoaded,
    CloseRequested,
    ConnectionClosed,
    GamesUpdated,
    MessageRefused,
    MetagraphSynced,
    NeuronDraining,
    NeuronInfo,
    NeuronStarted,
    NeuronStopping,
    PeerAuthenticated,
    PredictionSubmitted,
    SendRequested,
    SessionActivated,
    SettingsReloaded,
)
from bettensor.bus.games import Prediction, content_digest
from bettensor.bus.identifiers import SECOND, ConnectionId, Hotkey, Micros, PredictionId, Uid, micros
from bettensor.bus.messages import ConfirmationMessage, PredictionResult
from bettensor.bus.synapse import Result, stats_form

SLOTS: Final = 60
"""Parts of an interval; a neuron's uid decides in which one it is asked."""
SHORTEST: Final = Micros(SECOND // 10)
"""The least time between two questions to one miner, even if an operator asks for less."""
LONGEST_REST: Final = 32
"""Rounds from one question to the next, at most, to a miner that fails again and again."""
PORTION: Final = 64
"""Predictions of one answer that are submitted before the next answer's turn."""
MOST_SUBMITTED: Final = 256
"""Predictions that wait for their verdicts at a time: more would delay those of sessions."""
_DIGEST: Final = 16
"""Hex digits of a told prediction's digest: a miner that finds two of the same only keeps its own from being judged."""


@settings_class
class AskingSettings:
    """How existing miners are asked."""

    synapse: ValidatorSynapseSettings = field(default_factory=ValidatorSynapseSettings)


@dataclass(slots=True)
class Askable:
    """A neuron whose endpoint can be dialled."""

    uid: Uid
    coldkey: str
    endpoint: str
    failures: int = 0
    """Questions without an answer since the last success."""
    exchange: ConnectionId | None = None
    """The one that is under way."""
    told: dict[str, None] = field(default_factory=dict)
    """The digests of the predictions of the last confirmation that it took."""
    accepted_at: Micros | None = None
    """When its last accepted prediction was received, in this run."""


@dataclass(slots=True)
class AxonExchange:
    """One question, its answer, and the verdicts on it."""

    hotkey: Hotkey
    endpoint: str
    received_at: Micros = Micros(0)
    """Wall clock at the answer."""
    waiting: deque[Prediction] = field(default_factory=deque)
    """Predictions to be submitted."""
    submitted: dict[str, str] = field(default_factory=dict)
    """The digests of those that wait for their verdicts, by the ``about`` of each."""
    results: list[Result] = field(default_factory=list)
    told: dict[str, None] = field(default_factory=dict)
    """The digests of the predictions that have ``results``."""
    count: int = 0
    """Predictions submitted so far."""
    confirming: bool = False


@dataclass(slots=True)
class AskingState:
    """The neurons that can be asked, the running exchanges, and who has come by itself."""

    hotkey: Hotkey = Hotkey("")
    has_slate: bool = False
    has_metagraph: bool = False
    stopping: bool = False
    existing: dict[Hotkey, Askable] = field(default_factory=dict)
    passed_over: dict[Hotkey, str] = field(default_factory=dict)
    """Endpoints that are not dialled."""
    contacts: dict[Hotkey, Micros] = field(default_factory=dict)
    """When each neuron's last authenticated contact began, or its session ended; monotonic."""
    sessions: dict[ConnectionId, Hotkey] = field(default_factory=dict)
    present: dict[Hotkey, ConnectionId] = field(default_factory=dict)
    """The session of each neuron that has one."""
    hotkeys: dict[Hotkey, None] = field(default_factory=dict)
    """Blacklisted, as are the next two."""
    coldkeys: dict[str, None] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    exchanges: dict[ConnectionId, AxonExchange] = field(default_factory=dict)
    due: dict[Hotkey, None] = field(default_factory=dict)
    """To be asked as soon as fewer miners are asked at the same time; the first has waited longest."""
    turns: deque[ConnectionId] = field(default_factory=deque)
    """Exchanges with predictions to be submitted, in the order of their turns."""
    begun: int = 0
    """Exchanges so far."""

    def is_ready(self) -> bool:
        """Whether there are games to ask about, and neurons to ask."""
        return self.has_slate and self.has_metagraph and not self.stopping


class ValidatorSynapseActor(Actor):
    """Leads the exchanges with existing miners."""

    name = "synapse"
    Settings = AskingSettings
    State = AskingState
    settings: AskingSettings
    state: AskingState

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.hotkey = event.hotkey

    @on(SettingsReloaded)
    def reload(self, event: SettingsReloaded, envelope: Envelope) -> None:
        before = self._interval()
        super().reload(event, envelope)
        if self._interval() != before:
            self._schedule_all(envelope.mono)
        self._use_room(envelope.mono)

    @on(NeuronDraining, NeuronStopping)
    def stop(self, _: NeuronDraining | NeuronStopping, __: Envelope) -> None:
        """Predictions that were submitted still get their verdicts, and their miner its confirmation."""
        self.state.stopping = True
        self.state.due.clear()

    # --- whom

    @on(GamesUpdated)
    def know_slate(self, _: GamesUpdated, envelope: Envelope) -> None:
        if not self.state.has_slate:
            self.state.has_slate = True
            self._schedule_all(envelope.mono)

    @on(MetagraphSynced)
    def know_neurons(self, event: MetagraphSynced, envelope: Envelope) -> None:
        if not self.settings.synapse.enabled:
            return
        state = self.state
        state.has_metagraph = True
        axons = {neuron.hotkey: neuron for neuron in event.neurons if neuron.axon and neuron.hotkey != state.hotkey}
        usable = {hotkey: neuron for hotkey, neuron in axons.items() if self._is_usable(neuron, event)}
        for hotkey in [known for known in state.existing if known not in usable]:
            del state.existing[hotkey]
            state.due.pop(hotkey, None)
            self.cancel_timer("ask", hotkey)
        for hotkey, neuron in usable.items():
            self._know(hotkey, neuron, envelope.mono)
        state.passed_over = {hotkey: axon for hotkey, axon in state.passed_over.items() if hotkey in axons}
        members = {neuron.hotkey for neuron in event.neurons}
        state.contacts = {hotkey: at for hotkey, at in state.contacts.items() if hotkey in members}

    @on(BlacklistLoaded)
    def know_unwanted(self, event: BlacklistLoaded, _: Envelope) -> None:
        self.state.hotkeys, self.state.coldkeys = dict.fromkeys(event.hotkeys), dict.fromkeys(event.coldkeys)
        self.state.networks = event.networks

    @on(PeerAuthenticated)
    def note_contact(self, event: PeerAuthenticated, envelope: Envelope) -> None:
        if self.settings.synapse.enabled:
            self.state.contacts[event.hotkey] = envelope.mono

    @on(SessionActivated)
    def note_session(self, event: SessionActivated, _: Envelope) -> None:
        if self.settings.synapse.enabled:
            self.state.sessions[event.connection] = event.hotkey
            self.state.present[event.hotkey] = event.connection

    @on(ConnectionClosed)
    def note_end(self, event: ConnectionClosed, envelope: Envelope) -> None:
        hotkey = self.state.sessions.pop(event.connection, None)
        if hotkey is not None and self.state.present.get(hotkey) == event.connection:
            del self.state.present[hotkey]
            self.state.contacts[hotkey] = envelope.mono

    def _is_usable(self, neuron: NeuronInfo, event: MetagraphSynced) -> bool:
        """Whether the endpoint can be dialled; if not, its neuron is passed over, which is told once."""
        endpoint, passed_over = neuron.axon or "", self.state.passed_over
        fault = _fault_of(endpoint, is_own_file=event.source == "file")
        if fault and passed_over.get(neuron.hotkey) != endpoint:
            passed_over[neuron.hotkey] = endpoint
            self.publish(AxonPassedOver(neuron.hotkey, endpoint, fault))
        elif not fault:
            passed_over.pop(neuron.hotkey, None)
        return not fault

    def _know(self, hotkey: Hotkey, neuron: NeuronInfo, now: Micros) -> None:
        known, endpoint = self.state.existing.get(hotkey), neuron.axon or ""
        if known is not None and (known.uid, known.endpoint) == (neuron.uid, endpoint):
            known.coldkey = neuron.coldkey
            return
        if known is None:
            running = (number for number, exchange in self.state.exchanges.items() if exchange.hotkey == hotkey)
            known = Askable(neuron.uid, neuron.coldkey, endpoint, exchange=next(running, None))
            self.state.existing[hotkey] = known
        else:
            known.uid, known.coldkey, known.endpoint, known.failures = neuron.uid, neuron.coldkey, endpoint, 0
        if known.exchange is None:
            self._schedule(hotkey, known, now)

    def _is_wanted(self, hotkey: Hotkey, existing: Askable, now: Micros) -> bool:
        state, contact = self.state, self.state.contacts.get(hotkey)
        speaks_for_itself = hotkey in state.present or (contact is not None and now - contact < 2 * self._interval())
        return not speaks_for_itself and not self._is_blacklisted(hotkey, existing)

    def _is_blacklisted(self, hotkey: Hotkey, existing: Askable) -> bool:
        state, host = self.state, host_of(existing.endpoint)
        if hotkey in state.hotkeys or existing.coldkey in state.coldkeys:
            return True
        return host in Networks(state.networks)

    # --- when

    @on_timer("ask")
    def ask_in_turn(self, hotkey: Hotkey, envelope: Envelope) -> None:
        if hotkey in self.state.existing and self.state.is_ready():
            self.state.due[hotkey] = None
            self._use_room(envelope.mono)

    def _interval(self) -> Micros:
        return max(SHORTEST, micros(self.settings.synapse.query_interval))

    def _schedule_all(self, now: Micros) -> None:
        for hotkey, existing in self.state.existing.items():
            if existing.exchange is None and hotkey not in self.state.due:
                self._schedule(hotkey, existing, now)

    def _schedule(self, hotkey: Hotkey, existing: Askable, now: Micros) -> None:
        """Ask in its slot of the next interval; of a later one if it has failed."""
        if not self.state.is_ready():
            return
        interval = self._interval()
        slot = existing.uid % SLOTS * interval // SLOTS
        rounds = backoff(1, LONGEST_REST, existing.failures)
        self.set_timer("ask", Micros(now - (now - slot) % interval + rounds * interval), hotkey)

    def _use_room(self, now: Micros) -> None:
        """Ask those that are due, as many as may be asked at the same time."""
        room = self.settings.synapse.concurrency - sum(not each.confirming for each in self.state.exchanges.values())
        while self.state.due and room > 0:
            hotkey = next(iter(self.state.due))
            del self.state.due[hotkey]
            existing = self.state.existing[hotkey]
            if self._is_wanted(hotkey, existing, now):
                self._ask(hotkey, existing)
                room -= 1
            else:
                self._schedule(hotkey, existing, now)

    def _ask(self, hotkey: Hotkey, existing: Askable) -> None:
        self.state.begun += 1
        connection = existing.exchange = ConnectionId(-self.state.begun)
        self.state.exchanges[connection] = AxonExchange(hotkey, existing.endpoint)
        self.publish(AxonQueryRequested(connection, hotkey, existing.endpoint))

    # --- the answer

    @on(AxonAnswered)
    def take(self, event: AxonAnswered, envelope: Envelope) -> None:
        exchange = self.state.exchanges.get(event.connection)
        if exchange is None:
            return
        existing = self._still_there(exchange)
        if existing is None or self._is_blacklisted(exchange.hotkey, existing):
            self._end(event.connection, envelope.mono)
            return
        existing.failures = 0
        if self.state.stopping or all(_digest(prediction) in existing.told for prediction in event.predictions):
            self._end(event.connection, envelope.mono)
            return
        exchange.received_at = envelope.at
        exchange.waiting.extend(event.predictions)
        self.state.turns.append(event.connection)
        self._submit()

    def _submit(self) -> None:
        """Submit what may be submitted now, a portion of each answer in turn."""
        state = self.state
        room = MOST_SUBMITTED - sum(len(exchange.submitted) for exchange in state.exchanges.values())
        while state.turns and room > 0:
            connection = state.turns.popleft()
            exchange = state.exchanges.get(connection)
            if exchange is None:
                continue
            for _ in range(min(PORTION, room, len(exchange.waiting))):
                self._submit_one(connection, exchange)
                room -= 1
            if exchange.waiting:
                state.turns.append(connection)

    def _submit_one(self, connection: ConnectionId, exchange: AxonExchange) -> None:
        prediction, about = exchange.waiting.popleft(), f"{exchange.count:032x}"
        exchange.count += 1
        exchange.submitted[about] = _digest(prediction)
        known = self.state.existing.get(exchange.hotkey)
        uid = Uid(-1) if known is None else known.uid  # it has left the metagraph meanwhile, as a session's miner may
        self.publish(
            PredictionSubmitted(
                connection, exchange.hotkey, uid, about, prediction, exchange.received_at, proof="endpoint"
            )
        )

    # --- the verdicts

    @on(SendRequested)
    def collect(self, event: SendRequested, envelope: Envelope) -> None:
        if event.connection is None or event.connection >= 0:
            return
        exchange = self.state.exchanges.get(event.connection)
        if exchange is not None and isinstance(event.message, ConfirmationMessage):
            for result in event.message.results:
                self._note(exchange, result)
            self._go_on(event.connection, exchange, envelope)

    @on(MessageRefused)
    def miss_verdict(self, event: MessageRefused, envelope: Envelope) -> None:
        """A prediction without a verdict stays out of the confirmation: its miner repeats it."""
        if event.connection >= 0:
            return
        exchange = self.state.exchanges.get(event.connection)
        if event.message_id is None:  # a failure of ours, and nobody knows of which prediction
            self._end(event.connection, envelope.mono)
            self.publish(CloseRequested(event.connection, CloseCode.PROTOCOL_VIOLATION, event.message))
        elif exchange is not None and exchange.submitted.pop(event.message_id, None) is not None:
            self._go_on(event.connection, exchange, envelope)

    def _note(self, exchange: AxonExchange, result: PredictionResult) -> None:
        digest = exchange.submitted.pop(result.about, None)
        if digest is None:
            return
        text = f"{result.code}: {result.message}" if result.message else str(result.code)
        exchange.results.append(Result(PredictionId(result.prediction_id), result.success, text))
        exchange.told[digest] = None
        existing = self.state.existing.get(exchange.hotkey)
        if existing is not None and result.success and digest not in existing.told:
            existing.accepted_at = exchange.received_at

    def _go_on(self, connection: ConnectionId, exchange: AxonExchange, envelope: Envelope) -> None:
        self._submit()
        if exchange.waiting or exchange.submitted or exchange.confirming:
            return
        existing = self._still_there(exchange)
        if not exchange.results or existing is None:
            self._end(connection, envelope.mono)
            return
        exchange.confirming = True
        stats = stats_form(existing.accepted_at)
        self.publish(
            AxonConfirmRequested(connection, exchange.hotkey, exchange.endpoint, tuple(exchange.results), stats)
        )
        self._use_room(envelope.mono)

    @on(AxonConfirmed)
    def note_confirmation(self, event: AxonConfirmed, envelope: Envelope) -> None:
        exchange = self.state.exchanges.get(event.connection)
        existing = None if exchange is None else self._still_there(exchange)
        if exchange is not None and existing is not None:
            existing.told = exchange.told
        self._end(event.connection, envelope.mono)

    # --- the end

    @on(AxonFailed)
    def back_off(self, event: AxonFailed, envelope: Envelope) -> None:
        """A lost confirmation is none of its miner's failures to answer: it repeats what it has not been told."""
        exchange = self.state.exchanges.get(event.connection)
        existing = None if exchange is None else self._still_there(exchange)
        if exchange is not None and existing is not None and not exchange.confirming:
            existing.failures += 1
        self._end(event.connection, envelope.mono)

    def _still_there(self, exchange: AxonExchange) -> Askable | None:
        """The miner that was dialled, if the metagraph still has it at that endpoint."""
        existing = self.state.existing.get(exchange.hotkey)
        return existing if existing is not None and existing.endpoint == exchange.endpoint else None

    def _end(self, connection: ConnectionId, now: Micros) -> None:
        exchange = self.state.exchanges.pop(connection, None)
        if exchange is None:
            return
        existing = self.state.existing.get(exchange.hotkey)
        if existing is not None and existing.exchange == connection:
            existing.exchange = None
            self._schedule(exchange.hotkey, existing, now)
        self._submit()
        self._use_room(now)


def _fault_of(endpoint: str, *, is_own_file: bool) -> str:
    """Why ``endpoint`` is not dialled; an empty text if it is."""
    if is_own_file:
        return ""  # its reader has checked it
    try:
        host, port = split_endpoint(endpoint)
    except ValueError as error:
        return str(error)
    if not port:
        return f"no neuron can serve at port 0 of {endpoint}"
    if not is_public(host):
        return f"{endpoint} is no public address, and the chain may name any, so it is not dialled"
    return ""


def _digest(prediction: Prediction) -> str:
    """Of id and content."""
    text = f"{prediction.prediction_id} {content_digest(prediction)}"
    return sha256(text.encode()).hexdigest()[:_DIGEST]
