"""Synapse over HTTP on the simulated network: the bytes of ``bus/synapse``, between who asks and who serves.

Takes the place of the validator's Dendrite and the miner's Axon. The neuron that is asked is the one at the endpoint;
who does not serve Synapse there refuses the connection.
"""

import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, NamedTuple, Protocol

import msgspec

from bettensor.actors.stream import fold
from bettensor.bus import codec, synapse
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import Clock, ManualClock
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import Unreadable
from bettensor.bus.events import (
    AxonAnswered,
    AxonConfirmed,
    AxonConfirmRequested,
    AxonFailed,
    AxonQueryRequested,
    CloseRequested,
    ConnectionClosed,
    Event,
    FrameWritten,
    GamesUpdated,
    HttpAnswered,
    HttpRequestReceived,
    NeuronInfo,
    PeerRefused,
    QueryAdmitted,
    QueryAnswered,
    QueryEnded,
    QueryReceived,
    QueryRefused,
    QueryUnreadable,
    SlateQueried,
    VerdictsConfirmed,
)
from bettensor.bus.games import TeamGame, start_of
from bettensor.bus.identifiers import ConnectionId, GameId, Hotkey, Micros, Uid
from bettensor.bus.messages import PredictionMessage
from bettensor.bus.synapse import Metadata, Terminal
from bettensor.neurons.simulation.keys import simulated_signature
from bettensor.neurons.simulation.neuron import SimulatedMiner, SimulatedNeuron, SimulatedValidator

PORT: Final = 8091
"""Of every endpoint."""
FIRST_QUERY: Final = 1 << 40
"""The number of the first request at a miner's port: no other connection of a miner has it."""
IP: Final = "127.0.0.1"


class SynapseRequest(NamedTuple):
    """A request as bytes."""

    headers: tuple[tuple[str, str], ...]
    body: bytes


class SynapseAnswer(NamedTuple):
    """An answer as bytes; a refusal has ``message`` in its JSON."""

    status: int
    body: bytes


Ended = Callable[[SynapseAnswer | str], None]
"""Takes the answer to a request, or why there is none."""


class Party(Protocol):
    """A neuron that asks or serves."""

    hotkey: Hotkey
    clock: ManualClock


class Serving(Party, Protocol):
    """A neuron without a bus that serves Synapse."""

    def serve(self, request: SynapseRequest) -> SynapseAnswer:
        """Answer at once."""
        ...


class Carrier(Protocol):
    """The network below, with its delays and faults."""

    clock: ManualClock
    metagraph: tuple[NeuronInfo, ...]

    def at_endpoint(self, endpoint: str, asker: Hotkey) -> "SimulatedNeuron | Serving | None":
        """The neuron that ``asker`` reaches at ``endpoint``."""
        ...

    def is_there(self, party: Party) -> bool:
        """Whether this run of the neuron still lives."""
        ...

    def deliver(self, act: Callable[..., object], *arguments: object) -> None:
        """Call ``act`` when a message that leaves now arrives."""
        ...

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """Call ``act`` after so many seconds."""
        ...


def endpoint_of(hotkey: Hotkey) -> str:
    """The ``ip:port`` of a neuron: its hotkey stands for its address."""
    return f"{hotkey}:{PORT}"


def refusal(status: int, message: str) -> SynapseAnswer:
    """As existing neurons refuse, and ours refuse them."""
    return SynapseAnswer(status, synapse.refusal(message))


class SimulatedDendrite:
    """Composes the requests of one run of a neuron, each signed anew."""

    def __init__(self, hotkey: Hotkey, clock: Clock, run: int, version: int = synapse.VERSION) -> None:
        """
        Args:
            hotkey: of the neuron.
            clock: its clock.
            run: another number for each run, from which its uuid follows.
            version: of bittensor.
        """
        self._hotkey, self._clock, self._version = hotkey, clock, version
        self._uuid = f"{run:032x}"
        self._nonce = 0
        self._numbers = itertools.count(1)

    def query(
        self, receiver: Hotkey, uid: Uid | None, timeout: float, games: dict[GameId, msgspec.Raw]
    ) -> SynapseRequest:
        """Ask about ``games``, in the forms in which they are sent."""
        terminals = self._sign(receiver)
        body = synapse.body(timeout, *terminals, self._metadata(uid, "game_data"), games=games)
        return _request(timeout, *terminals, body)

    def confirmation(
        self,
        receiver: Hotkey,
        uid: Uid | None,
        timeout: float,
        results: Iterable[synapse.Result],
        stats: dict[str, str],
    ) -> SynapseRequest:
        """Tell ``results``."""
        terminals, form = self._sign(receiver), synapse.confirmation_form(results, stats)
        body = synapse.body(timeout, *terminals, self._metadata(uid, "confirmation"), confirmation=form)
        return _request(timeout, *terminals, body)

    def _sign(self, receiver: Hotkey) -> tuple[Terminal, Terminal]:
        self._nonce = max(self._nonce + 1, self._clock.wall() * 1000)
        text = synapse.signed_text(str(self._nonce), self._hotkey, receiver, self._uuid)
        signature = f"0x{simulated_signature(self._hotkey, text).hex()}"
        mine = Terminal(self._hotkey, IP, None, self._version, self._nonce, self._uuid, signature)
        return mine, Terminal(receiver, IP, PORT)

    def _metadata(self, uid: Uid | None, kind: synapse.Kind) -> Metadata:
        return Metadata(f"{self._uuid}-{next(self._numbers)}", uid, self._clock.wall(), kind)


def _request(timeout: float, mine: Terminal, theirs: Terminal, body: bytes) -> SynapseRequest:
    headers = [*synapse.head(timeout, mine, theirs), ("content-type", "application/json")]
    return SynapseRequest((*headers, ("content-length", str(len(body)))), body)


class _Exchange:
    """A request that has no answer yet."""

    def __init__(self, asker: Party, served: Party | None, request: SynapseRequest) -> None:
        self.asker = asker
        self.served = served
        self.request = request
        self.silent = False
        """Nothing arrives any more, and neither side is told."""
        self.query: ConnectionId | None = None
        """Its number at our miner."""


class SynapseRoad:
    """Carries requests and answers, and is the edge of our neurons for it."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._exchanges: dict[_Exchange, Ended] = {}
        self._queries: dict[tuple[Hotkey, ConnectionId], _Exchange] = {}
        self._query_numbers = itertools.count(FIRST_QUERY)
        self._visits: dict[tuple[Hotkey, ConnectionId], _Exchange] = {}
        self._runs = itertools.count(1)

    # --- what existing neurons need of the network

    def dendrite(self, asker: Party, version: int) -> SimulatedDendrite:
        """For one run of a neuron that asks."""
        return SimulatedDendrite(asker.hotkey, asker.clock, next(self._runs), version)

    def neurons(self) -> tuple[NeuronInfo, ...]:
        """The metagraph."""
        return self._carrier.metagraph

    def later(self, party: Party, seconds: float, act: Callable[[], object]) -> None:
        """Call ``act`` after so many seconds, if this run of the neuron still lives."""
        self._carrier.later(seconds, lambda: act() if self._carrier.is_there(party) else None)

    def ask(self, asker: Party, endpoint: str, request: SynapseRequest, timeout: float, ended: Ended) -> None:
        """Send a request. ``ended`` is called once, unless ``asker`` is gone by then."""
        served = self._carrier.at_endpoint(endpoint, asker.hotkey)
        exchange = _Exchange(asker, served, request)
        self._exchanges[exchange] = ended
        if served is None:
            self._carrier.deliver(self._end, exchange, f"{endpoint}: connection refused")
        else:
            self._carrier.deliver(self._arrive, exchange, served)
        self._carrier.later(timeout, lambda: self._end(exchange, f"{endpoint}: no answer within {timeout:g} s"))

    def _arrive(self, exchange: _Exchange, served: "SimulatedNeuron | Serving") -> None:
        if exchange.silent or exchange not in self._exchanges or not self._carrier.is_there(served):
            return
        if isinstance(served, SimulatedMiner):
            self._receive_at_miner(exchange, served)
        elif isinstance(served, SimulatedValidator):
            self._receive_at_validator(exchange, served)
        else:
            assert not isinstance(served, SimulatedNeuron)  # noqa: S101 - for the type checker: there are two roles
            self._answer(exchange, served.serve(exchange.request))

    def _answer(self, exchange: _Exchange, answer: SynapseAnswer) -> None:
        self._carrier.deliver(lambda: None if exchange.silent else self._end(exchange, answer))

    def _end(self, exchange: _Exchange, outcome: SynapseAnswer | str) -> None:
        ended = self._exchanges.pop(exchange, None)
        if ended is None:
            return
        if self._carrier.is_there(exchange.asker):
            ended(outcome)
        if isinstance(outcome, str) and isinstance(exchange.served, SimulatedMiner):
            self._leave(exchange, exchange.served)

    # --- faults

    def cut(self, ends: tuple[Party, ...]) -> None:
        """Break the requests that are under way from or to ``ends``."""
        for exchange in self._of(ends):
            self._end(exchange, "the connection was lost")

    def freeze(self, ends: tuple[Party, ...]) -> None:
        """Let nothing more arrive of the requests that are under way from or to ``ends``."""
        for exchange in self._of(ends):
            exchange.silent = True

    def _of(self, ends: tuple[Party, ...]) -> list[_Exchange]:
        return [exchange for exchange in self._exchanges if exchange.asker in ends or exchange.served in ends]

    # --- our neurons

    def wire(self, neuron: SimulatedNeuron) -> None:
        """Be the edge of a neuron."""
        bus = neuron.bus
        if isinstance(neuron, SimulatedValidator):
            _Asking(self, neuron, bus, self.dendrite(neuron, synapse.VERSION))
        elif isinstance(neuron, SimulatedMiner):
            for kind in (QueryAdmitted, QueryAnswered, QueryRefused):
                bus.subscribe(kind, partial(self._decided_by_miner, neuron), "network")

    # --- our miner serves

    def _receive_at_miner(self, exchange: _Exchange, miner: SimulatedMiner) -> None:
        connection = exchange.query = ConnectionId(next(self._query_numbers))
        self._queries[miner.hotkey, connection] = exchange
        headers = tuple((name.lower(), value) for name, value in exchange.request.headers)
        miner.bus.publish(QueryReceived(connection, "POST", synapse.PATH, headers, IP))

    def _decided_by_miner(
        self, miner: SimulatedMiner, event: QueryAdmitted | QueryAnswered | QueryRefused, _: Envelope
    ) -> None:
        exchange = self._queries.get((miner.hotkey, event.connection))
        if exchange is None:
            return
        if isinstance(event, QueryAdmitted):
            self._carrier.later(0, lambda: self._hear(miner, event, exchange))
        elif isinstance(event, QueryRefused):
            self._answer(exchange, refusal(event.status, event.message))
            self._leave(exchange, miner)
        else:
            content = _answer_of(miner, event)
            for portion in codec.predictions_by_frame(event.predictions or ()):
                size = len(content) * len(portion) // len(event.predictions or portion)
                message = PredictionMessage(predictions=portion)
                miner.bus.publish(FrameWritten(event.connection, event.hotkey, message, size, "synapse"))
            self._answer(exchange, SynapseAnswer(200, content))
            self._leave(exchange, miner)

    def _hear(self, miner: SimulatedMiner, admitted: QueryAdmitted, exchange: _Exchange) -> None:
        """Read the body, unless its sender has left."""
        if exchange not in self._exchanges or exchange.silent or not self._carrier.is_there(miner):
            return
        connection, hotkey = admitted.connection, admitted.hotkey
        said: Event
        try:
            body = synapse.read_query(exchange.request.body)
        except Unreadable as error:
            said = QueryUnreadable(connection, hotkey, 400, str(error))
        else:
            if isinstance(body, synapse.Query):
                said = SlateQueried(connection, hotkey, body.games, body.left_out)
            else:
                said = VerdictsConfirmed(connection, hotkey, body.results, body.stats)
        miner.bus.publish(said)

    def _leave(self, exchange: _Exchange, miner: SimulatedMiner) -> None:
        """The request at a miner's port is over: it is told so once."""
        connection, exchange.query = exchange.query, None
        if connection is not None:
            del self._queries[miner.hotkey, connection]
            if self._carrier.is_there(miner):
                miner.bus.publish(QueryEnded(connection))

    # --- our validator does not

    def _receive_at_validator(self, exchange: _Exchange, validator: SimulatedValidator) -> None:
        number = next(self._query_numbers)
        self._visits[validator.hotkey, ConnectionId(number)] = exchange
        headers = tuple((name.lower(), value) for name, value in exchange.request.headers)
        size, salt = len(exchange.request.body), f"{number:032x}"
        validator.bus.publish(
            HttpRequestReceived(
                ConnectionId(number), "POST", synapse.PATH, headers, IP, upgrade=False, salt=salt, size=size
            )
        )

    def decided_by_validator(self, validator: SimulatedValidator, event: PeerRefused | HttpAnswered) -> None:
        """Answer an existing validator, if it is one whose request this was."""
        exchange = self._visits.pop((validator.hotkey, event.connection), None)
        if exchange is None:
            return
        if isinstance(event, HttpAnswered):
            self._answer(exchange, SynapseAnswer(event.status, event.body.encode()))
        else:
            self._answer(exchange, refusal(event.code.status, event.message))


class _Asking:
    """A validator's questions."""

    def __init__(
        self, road: SynapseRoad, validator: SimulatedValidator, bus: EventBus, dendrite: SimulatedDendrite
    ) -> None:
        self._road, self._validator, self._dendrite = road, validator, dendrite
        self._settings = validator.settings.synapse
        self._slate: dict[GameId, tuple[Micros, msgspec.Raw]] = {}
        """Start and form of each open game."""
        bus.subscribe(GamesUpdated, self._know_slate, "network")
        bus.subscribe(AxonQueryRequested, self._query, "network")
        bus.subscribe(AxonConfirmRequested, self._confirm, "network")
        bus.subscribe(CloseRequested, self._close, "network")

    def _know_slate(self, event: GamesUpdated, _: Envelope) -> None:
        fold(self._slate, event.games, snapshot=event.snapshot, keep=_offered)

    def _query(self, event: AxonQueryRequested, _: Envelope) -> None:
        now = self._validator.clock.wall()
        games = {game_id: form for game_id, (starts_at, form) in self._slate.items() if starts_at > now}
        self._ask(event, self._dendrite.query(event.hotkey, self._uid(), self._settings.timeout, games))

    def _confirm(self, event: AxonConfirmRequested, _: Envelope) -> None:
        timeout = self._settings.timeout
        request = self._dendrite.confirmation(event.hotkey, self._uid(), timeout, event.results, event.stats)
        self._ask(event, request)

    def _ask(self, event: AxonQueryRequested | AxonConfirmRequested, request: SynapseRequest) -> None:
        ended = partial(self._ended, event)
        self._road.ask(self._validator, event.endpoint, request, self._settings.timeout, ended)

    def _uid(self) -> Uid | None:
        return uid_of(self._validator.hotkey, self._road.neurons())

    def _close(self, event: CloseRequested, _: Envelope) -> None:
        if event.connection < 0:
            self._validator.bus.publish(ConnectionClosed(event.connection, event.code, event.reason))

    def _ended(self, event: AxonQueryRequested | AxonConfirmRequested, outcome: SynapseAnswer | str) -> None:
        self._validator.bus.publish(self._heard(event, outcome))

    def _heard(self, event: AxonQueryRequested | AxonConfirmRequested, outcome: SynapseAnswer | str) -> Event:
        connection, hotkey = event.connection, event.hotkey
        if isinstance(outcome, str):
            return AxonFailed(connection, hotkey, outcome)
        if outcome.status != 200:
            told = msgspec.json.decode(outcome.body).get("message", "")
            return AxonFailed(connection, hotkey, f"{event.endpoint}: {outcome.status} {told}", outcome.status)
        if isinstance(event, AxonConfirmRequested):
            return AxonConfirmed(connection, hotkey)
        try:
            answer = synapse.read_answer(outcome.body, self._settings.max_predictions)
        except Unreadable as error:
            return AxonFailed(connection, hotkey, f"{event.endpoint}: {error}")
        return AxonAnswered(connection, hotkey, answer.predictions, answer.left_out)


def uid_of(hotkey: Hotkey, neurons: Iterable[NeuronInfo]) -> Uid | None:
    """Its uid in a metagraph."""
    return next((neuron.uid for neuron in neurons if neuron.hotkey == hotkey), None)


def _offered(game: TeamGame) -> tuple[Micros, msgspec.Raw]:
    return start_of(game) or Micros(0), synapse.game_form(game)


def _answer_of(miner: SimulatedMiner, event: QueryAnswered) -> bytes:
    return synapse.answer(
        12.0,
        Terminal(event.hotkey),
        Terminal(miner.hotkey, status_code=200, status_message="Success"),
        event.predictions,
        synapse_id=f"{event.connection:032x}",
        uid=event.uid,
        at=miner.clock.wall(),
    )
