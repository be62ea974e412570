"""Connects simulated validators and miners, existing ones too: sessions, HTTP and Synapse, with delays, and faults on
demand.

One ``ManualClock`` serves all neurons; a simulated day takes seconds. Randomness comes from a seed. The events on each
neuron's bus are those that real edges would publish, in an order that real edges could have.
"""

import itertools
from collections.abc import Callable, Iterable
from hashlib import sha256
from heapq import heappop, heappush
from random import Random
from typing import Final, NamedTuple

from bettensor.bus import codec
from bettensor.bus.clock import ManualClock
from bettensor.bus.codes import AXON, CloseCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    CloseRequested,
    ConnectionClosed,
    ConnectionOpened,
    DialFailed,
    DialRequested,
    Event,
    ExchangeCompleted,
    FrameReceived,
    FrameWritten,
    GamesRequested,
    HttpAnswered,
    HttpRequestReceived,
    MetagraphFetched,
    NeuronInfo,
    PeerAuthenticated,
    PeerRefused,
    Position,
    PostAnswered,
    PostFailed,
    PostRequested,
    Purpose,
    RequestBodyReceived,
    Road,
    Scheme,
)
from bettensor.bus.identifiers import SECOND, ConnectionId, Hotkey, Micros, Uid
from bettensor.bus.messages import SUBPROTOCOL, PointToPoint
from bettensor.neurons.edges.shared_frames import Frames, Written
from bettensor.neurons.edges.writer import TransportGone
from bettensor.neurons.simulation.existing import ExistingMiner, ExistingNeuron
from bettensor.neurons.simulation.factories import NETUID, NOW
from bettensor.neurons.simulation.neuron import SimulatedMiner, SimulatedNeuron, SimulatedValidator
from bettensor.neurons.simulation.synapse import Party, SynapseRoad, endpoint_of

LATENCY: Final = Micros(1_000)
"""Delay of a message, one way."""
GIVING_UP: Final = Micros(15 * SECOND)
"""Time that a miner waits for a missing answer."""
_NO_TLS: Final = "no TLS handshake: a simulated validator has none"


class _Line:
    """One end of a session: frames written here arrive at the other end, unless a fault prevents it."""

    road: Road = "websocket"
    packs = False

    def __init__(self, network: "SimulatedNetwork", session: "_Session", to: SimulatedNeuron) -> None:
        self._network = network
        self._session = session
        self._to = to

    def queued(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        if self._session.ended:
            raise TransportGone("the simulated connection has ended")
        self._network.deliver(self._arrive, data)

    def share(self, frames: Frames, written: Written | None = None) -> None:
        for frame in frames:
            self.write(frame.line[:-1])
        if written is not None:
            written(sum(frame.size for frame in frames))

    def _arrive(self, data: bytes) -> None:
        if not self._session.ended and not self._session.silent:
            self._to.bus.publish(FrameReceived(self._session.connection(self._to), data))


class _Answer:
    """The frames of one HTTP answer."""

    road: Road = "http"
    packs = False

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def queued(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        self.frames.append(data)

    def share(self, frames: Frames, written: Written | None = None) -> None:
        self.frames += [frame.line[:-1] for frame in frames]
        if written is not None:
            written(sum(frame.size for frame in frames))


class _Session:
    """A WebSocket session between a miner and a validator."""

    def __init__(
        self,
        miner: SimulatedMiner,
        miners: ConnectionId,
        validator: SimulatedValidator,
        validators: ConnectionId,
        challenge: str,
    ) -> None:
        self.miner = miner
        self.validator = validator
        self.ids = {miner.hotkey: miners, validator.hotkey: validators}
        self.challenge = challenge
        self.ended = False
        self.silent = False
        """Half-open: nothing arrives, and neither side is told."""

    def connection(self, end: SimulatedNeuron) -> ConnectionId:
        return self.ids[end.hotkey]


class _Exchange(NamedTuple):
    """An HTTP request that waits for its answer."""

    miner: SimulatedMiner
    request: PostRequested | GamesRequested
    body: bytes
    answer: _Answer
    challenge: str


class SimulatedNetwork:
    """Carries messages between simulated neurons, and causes faults.

    Args:
        clock: the clock of all neurons; by default it begins at ``NOW``.
        latency: delay of each message, one way, in microseconds.
        jitter: the largest random addition to it, in microseconds; no message overtakes another.
        seed: the seed of this randomness.
    """

    def __init__(
        self, clock: ManualClock | None = None, *, latency: Micros = LATENCY, jitter: Micros = Micros(0), seed: int = 0
    ) -> None:
        self.clock = clock or ManualClock(NOW)
        self.neurons: list[SimulatedNeuron] = []
        """The running neurons of ours."""
        self.existing: list[ExistingNeuron] = []
        """The running neurons of the subnet's release 2.4.1."""
        self.metagraph: tuple[NeuronInfo, ...] = ()
        """All neurons that were ever added, in the order of their hotkeys."""
        self.blocked: set[Hotkey] = set()
        """Miners whose WebSocket handshakes fail; HTTP works."""
        self.unreachable: set[Hotkey] = set()
        """Neurons that cannot reach others and cannot be reached."""
        self._gone: list[SimulatedNeuron | ExistingNeuron] = []
        self._latency = latency
        self._jitter = jitter
        self._random = Random(seed)  # noqa: S311 - simulated weather
        self._last = Micros(0)
        self._order = itertools.count()
        self._nonces = itertools.count(1)
        self._due: list[tuple[Micros, int, Callable[[], object]]] = []
        self._sessions: dict[tuple[Hotkey, ConnectionId], _Session] = {}
        self._dials: dict[tuple[Hotkey, ConnectionId], tuple[SimulatedMiner, DialRequested, str]] = {}
        self._exchanges: dict[tuple[Hotkey, ConnectionId], _Exchange] = {}
        self._synapse = SynapseRoad(self)

    def add(self, *neurons: SimulatedNeuron | ExistingNeuron) -> None:
        """Connect neurons with this network's clock, and start them; the metagraph lists all of them.

        A known hotkey is a restarted neuron; a new one changes the metagraph of the running neurons, as does one that
        comes back with another endpoint.
        """
        running, known = list(self.neurons), self.metagraph
        for neuron in neurons:
            if isinstance(neuron, ExistingNeuron):
                self.existing.append(neuron)
            else:
                self.neurons.append(neuron)
                self._wire(neuron)
        everybody = {neuron.hotkey: neuron for neuron in [*self._gone, *self.existing, *self.neurons]}
        self.metagraph = _metagraph(everybody.values())
        for neuron in neurons:
            if isinstance(neuron, ExistingNeuron):
                neuron.start(self._synapse)
            else:
                neuron.start(self.metagraph)
        if self.metagraph != known:
            for neuron in running:
                neuron.bus.publish(MetagraphFetched(self.metagraph))

    def advance(self, seconds: float) -> None:
        """Let time pass for all neurons: timers fire and messages arrive, each at its own time.

        Raises:
            ValueError: a neuron has another monotonic clock than this network, which would stand still.
        """
        end = Micros(self.clock.mono() + round(seconds * SECOND))
        while True:
            timers = [(d, n) for n in self.neurons if (d := n.timers.next_deadline()) is not None]
            deadline, neuron = min(timers, key=lambda timer: timer[0], default=(end + 1, None))
            arrival = self._due[0][0] if self._due else end + 1
            if min(deadline, arrival) > end:
                break
            self.clock.advance(Micros(max(0, min(deadline, arrival) - self.clock.mono())))
            if arrival <= deadline:
                heappop(self._due)[2]()
            elif neuron is not None:
                if neuron.clock.mono() != self.clock.mono():
                    raise ValueError(f"{neuron.hotkey} has a clock of its own: make it with clock=network.clock")
                neuron.timers.fire()
        self.clock.advance(Micros(end - self.clock.mono()))

    # --- faults

    def cut(self, *ends: SimulatedNeuron | ExistingNeuron) -> None:
        """Break every session of ``ends``, and every exchange over Synapse, without a close."""
        for session in self._of(ends):
            self._end(session, CloseCode.ABNORMAL, "")
        self._synapse.cut(ends)

    def freeze(self, *ends: SimulatedNeuron | ExistingNeuron) -> None:
        """Silence every session of ``ends``: present and future messages are lost, and neither side is told.

        The same for exchanges over Synapse that are under way.
        """
        for session in self._of(ends):
            session.silent = True
        self._synapse.freeze(ends)

    def remove(self, *neurons: SimulatedNeuron | ExistingNeuron) -> None:
        """Kill ``neurons``. Their disks stay: start their next runs with ``restarted``."""
        for neuron in neurons:
            for session in self._of((neuron,)):
                session.ended = True
                for end in (session.miner, session.validator):
                    self._close_end(session, end, CloseCode.ABNORMAL, "")
            if isinstance(neuron, ExistingNeuron):
                self.existing.remove(neuron)
            else:
                self.neurons.remove(neuron)
            self._synapse.cut((neuron,))
            self._gone.append(neuron)

    # --- messages on their way

    def deliver(self, act: Callable[..., object], *arguments: object) -> None:
        """Call ``act`` when a message that leaves now arrives."""
        delay = self._latency + (self._random.randint(0, self._jitter) if self._jitter else 0)
        self._last = max(self._last, Micros(self.clock.mono() + delay))
        self._at(self._last, lambda: act(*arguments))

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """Call ``act`` after so many seconds."""
        self._at(Micros(self.clock.mono() + round(seconds * SECOND)), act)

    def is_there(self, party: Party) -> bool:
        """Whether this run of the neuron still lives."""
        return party in self.neurons or party in self.existing

    def at_endpoint(self, endpoint: str, asker: Hotkey) -> SimulatedNeuron | ExistingMiner | None:
        """The neuron that ``asker`` reaches at ``endpoint``; None if nothing listens there."""
        hotkey = Hotkey(endpoint.partition(":")[0])
        if self.unreachable & {hotkey, asker}:
            return None
        everybody: list[SimulatedNeuron | ExistingNeuron] = [*self.neurons, *self.existing]
        found = (neuron for neuron in everybody if neuron.hotkey == hotkey and _endpoint(neuron) == endpoint)
        neuron = next(found, None)
        return neuron if isinstance(neuron, SimulatedNeuron | ExistingMiner) else None

    def _at(self, due: Micros, act: Callable[[], object]) -> None:
        heappush(self._due, (due, next(self._order), act))

    def _of(self, ends: tuple[SimulatedNeuron | ExistingNeuron, ...]) -> list[_Session]:
        sessions = dict.fromkeys(self._sessions.values())
        return [session for session in sessions if session.miner in ends or session.validator in ends]

    def _wire(self, neuron: SimulatedNeuron) -> None:
        bus = neuron.bus
        self._synapse.wire(neuron)
        bus.subscribe(CloseRequested, lambda event, _: self._close(neuron, event), "network")
        if isinstance(neuron, SimulatedMiner):
            bus.subscribe(DialRequested, lambda event, _: self._dial(neuron, event), "network")
            bus.subscribe(PostRequested, lambda event, _: self._request(neuron, event), "network")
            bus.subscribe(GamesRequested, lambda event, _: self._request(neuron, event), "network")
        elif isinstance(neuron, SimulatedValidator):

            def decided(event: Event, envelope: Envelope) -> None:  # noqa: ARG001 - the bus's signature
                self._at(self.clock.mono(), lambda: self._decided(neuron, event))

            bus.subscribe(PeerAuthenticated, lambda event, _: self._admitted(neuron, event), "network")
            for kind in (PeerAuthenticated, PeerRefused, HttpAnswered, ExchangeCompleted):
                bus.subscribe(kind, decided, "network")

    # --- handshakes

    def _dial(self, miner: SimulatedMiner, event: DialRequested) -> None:
        validator = self.at_endpoint(event.endpoint, miner.hotkey)
        if event.tls is not None:
            self.deliver(self._tell, miner, DialFailed(event.connection, event.hotkey, _NO_TLS, tls="handshake"))
            return
        if not isinstance(validator, SimulatedValidator) or miner.hotkey in self.blocked:
            status, code, reason = _not_reached(event.endpoint, validator)
            failed = DialFailed(event.connection, event.hotkey, reason, status, code=code)
            self.deliver(self._tell, miner, failed)
            return
        target = f"/ws?netuid={NETUID}{_query(event.position)}"
        request = self._signed(miner, validator, "GET", target, b"", upgrade=True)
        key = validator.hotkey, request.connection
        self._dials[key] = miner, event, _nonce(request)
        self.deliver(self._tell, validator, request)
        self._at(Micros(self.clock.mono() + GIVING_UP), lambda: self._give_up_dial(key))

    def _signed(
        self,
        miner: SimulatedMiner,
        validator: SimulatedValidator,
        method: str,
        target: str,
        body: bytes,
        *,
        upgrade: bool = False,
    ) -> HttpRequestReceived:
        number = next(self._nonces)
        headers = {
            "x-bittensor-version": "1",
            "x-bittensor-hotkey": miner.hotkey,
            "x-bittensor-receiver": validator.hotkey,
            "x-bittensor-nonce": str(miner.clock.wall() * 1000 + number % 1000),
            "x-bittensor-signature": "0x" + "00" * 64,
        }
        if miner.identity.scheme != "sr25519":  # bittensor signs so
            headers["x-bittensor-crypto"] = miner.identity.scheme
        if upgrade:
            headers["sec-websocket-protocol"] = SUBPROTOCOL
        connection, salt = ConnectionId(number), f"{number:032x}"  # a restarted validator uses no number twice
        digest, size = sha256(body).hexdigest(), len(body)
        named = tuple(headers.items())
        return HttpRequestReceived(connection, method, target, named, "127.0.0.1", upgrade, salt, digest, size)

    def _give_up_dial(self, key: tuple[Hotkey, ConnectionId]) -> None:
        dialled = self._dials.pop(key, None)
        if dialled is not None:
            miner, event, _ = dialled
            self._tell(miner, DialFailed(event.connection, event.hotkey, f"{event.endpoint}: no answer within 15 s"))

    def _open(
        self,
        miner: SimulatedMiner,
        event: DialRequested,
        validator: SimulatedValidator,
        here: ConnectionId,
        challenge: str,
    ) -> None:
        session = _Session(miner, event.connection, validator, here, challenge)
        self._sessions[validator.hotkey, here] = self._sessions[miner.hotkey, event.connection] = session
        self.deliver(self._opened, session)
        validator.writer.add(here, _Line(self, session, miner))
        validator.bus.publish(ConnectionOpened(here, miner.hotkey, challenge))

    def _opened(self, session: _Session) -> None:
        if not session.ended:
            miner, connection = session.miner, session.connection(session.miner)
            miner.writer.add(connection, _Line(self, session, session.validator))
            miner.bus.publish(ConnectionOpened(connection, session.validator.hotkey, session.challenge))

    # --- the ends of sessions

    def _close(self, neuron: SimulatedNeuron, event: CloseRequested) -> None:
        session = self._sessions.get((neuron.hotkey, event.connection))
        if session is not None:
            self._at(self.clock.mono(), lambda: self._end(session, event.code, event.reason))

    def _end(self, session: _Session, code: int, reason: str) -> None:
        if not session.ended:
            session.ended = True
            self._close_end(session, session.miner, code, reason)
            self._close_end(session, session.validator, code, reason)

    def _close_end(self, session: _Session, neuron: SimulatedNeuron, code: int, reason: str) -> None:
        connection = session.connection(neuron)
        self._sessions.pop((neuron.hotkey, connection), None)
        neuron.writer.remove(connection)
        self.deliver(self._tell, neuron, ConnectionClosed(connection, code, reason))

    def _tell(self, neuron: SimulatedNeuron, event: Event) -> None:
        if neuron in self.neurons:
            neuron.bus.publish(event)

    # --- HTTP

    def _request(self, miner: SimulatedMiner, event: PostRequested | GamesRequested) -> None:
        validator = self.at_endpoint(event.endpoint, miner.hotkey)
        if event.tls is not None:
            self.deliver(self._tell, miner, PostFailed(event.connection, event.hotkey, _NO_TLS, tls="handshake"))
            return
        if not isinstance(validator, SimulatedValidator):
            status, code, reason = _not_reached(event.endpoint, validator)
            self.deliver(self._tell, miner, PostFailed(event.connection, event.hotkey, reason, status, code=code))
            return
        self._at(self.clock.mono(), lambda: self._send(miner, event, validator))

    def _send(
        self, miner: SimulatedMiner, event: PostRequested | GamesRequested, validator: SimulatedValidator
    ) -> None:
        if isinstance(event, PostRequested):
            message, _ = miner.writer.sign(event.message)
            assert isinstance(message, PointToPoint)  # noqa: S101 - for the type checker: predictions are
            body = codec.encode_body(message)
            miner.bus.publish(FrameWritten(event.connection, event.hotkey, message, len(body), "http"))
            request = self._signed(miner, validator, "POST", f"/predictions?netuid={NETUID}", body)
        else:
            target = f"/games?netuid={NETUID}{_query(event.position)}"
            body = b""
            request = self._signed(miner, validator, "GET", target, body)
        answer = _Answer()
        validator.writer.add(request.connection, answer)
        self._exchanges[validator.hotkey, request.connection] = _Exchange(miner, event, body, answer, _nonce(request))
        self.deliver(self._tell, validator, request)
        self._at(Micros(self.clock.mono() + GIVING_UP), lambda: self._give_up(validator.hotkey, request.connection))

    def _give_up(self, validator: Hotkey, connection: ConnectionId) -> None:
        exchange = self._exchanges.pop((validator, connection), None)
        if exchange is not None:
            request = exchange.request
            self._tell(exchange.miner, PostFailed(request.connection, request.hotkey, "no answer within 15 s"))

    def _admitted(self, validator: SimulatedValidator, event: PeerAuthenticated) -> None:
        if event.purpose == "predictions":
            self.later(0, lambda: self._hand_over_body(validator, event.connection))

    def _hand_over_body(self, validator: SimulatedValidator, connection: ConnectionId) -> None:
        """Unless the request was refused after all."""
        exchange = self._exchanges.get((validator.hotkey, connection))
        if exchange is not None:
            self._tell(validator, RequestBodyReceived(connection, exchange.body))

    def _decided(self, validator: SimulatedValidator, event: Event) -> None:
        assert isinstance(event, PeerAuthenticated | PeerRefused | HttpAnswered | ExchangeCompleted)  # noqa: S101
        here = event.connection
        dialled = self._dials.get((validator.hotkey, here))
        if dialled is not None and isinstance(event, PeerAuthenticated | PeerRefused):
            del self._dials[validator.hotkey, here]
            miner, request, challenge = dialled
            if miner not in self.neurons:
                validator.bus.publish(ConnectionClosed(here, CloseCode.ABNORMAL, ""))
            elif isinstance(event, PeerAuthenticated):
                self._open(miner, request, validator, here, challenge)
            else:
                validator.bus.publish(ConnectionClosed(here, 0, ""))
                self.deliver(self._tell, miner, _refused(request, event))
        elif not isinstance(event, PeerAuthenticated):
            self._answer(validator, event)

    def _answer(self, validator: SimulatedValidator, event: PeerRefused | HttpAnswered | ExchangeCompleted) -> None:
        exchange = self._exchanges.pop((validator.hotkey, event.connection), None)
        validator.writer.remove(event.connection)
        validator.bus.publish(ConnectionClosed(event.connection, 0, ""))
        if not isinstance(event, ExchangeCompleted):
            self._synapse.decided_by_validator(validator, event)
        if exchange is None or exchange.miner not in self.neurons:
            return
        request = exchange.request
        if isinstance(event, ExchangeCompleted):
            self.deliver(self._answered, exchange)
            return
        self.deliver(self._tell, exchange.miner, _failed(request, event))

    def _answered(self, exchange: _Exchange) -> None:
        miner, request = exchange.miner, exchange.request
        purpose: Purpose = "predictions" if isinstance(request, PostRequested) else "games"
        self._tell(miner, ConnectionOpened(request.connection, request.hotkey, exchange.challenge, purpose))
        for frame in exchange.answer.frames:
            self._tell(miner, FrameReceived(request.connection, frame))
        self._tell(miner, PostAnswered(request.connection, request.hotkey))
        self._tell(miner, ConnectionClosed(request.connection, CloseCode.NORMAL, ""))


def _metagraph(everybody: Iterable[SimulatedNeuron | ExistingNeuron]) -> tuple[NeuronInfo, ...]:
    ordered = sorted(everybody, key=lambda neuron: neuron.hotkey)
    return tuple(_row(Uid(uid), neuron) for uid, neuron in enumerate(ordered))


def _row(uid: Uid, neuron: SimulatedNeuron | ExistingNeuron) -> NeuronInfo:
    axon = _endpoint(neuron)
    if isinstance(neuron, ExistingNeuron):
        return NeuronInfo(uid, neuron.hotkey, validator_permit=neuron.permit, stake=neuron.stake, axon=axon)
    permit, crypto = neuron.role == "validator", _listed(neuron.identity.scheme)
    return NeuronInfo(uid, neuron.hotkey, validator_permit=permit, axon=axon, crypto=crypto)


def _endpoint(neuron: SimulatedNeuron | ExistingNeuron) -> str | None:
    """What the metagraph has; a miner of ours serves only if it answers existing validators."""
    if isinstance(neuron, SimulatedMiner) and not neuron.settings.synapse.enabled:
        return None
    return endpoint_of(neuron.hotkey)


def _listed(scheme: Scheme) -> Scheme | None:
    """The ``scheme`` in the metagraph; None for sr25519."""
    return None if scheme == "sr25519" else scheme


def _not_reached(endpoint: str, neuron: SimulatedNeuron | ExistingMiner | None) -> tuple[int | None, str, str]:
    """Status, code and reason where no validator of ours answers; an existing miner's Axon has no such path."""
    if isinstance(neuron, ExistingMiner):
        return 404, AXON, f"{endpoint}: 404 an Axon answers: no such path"
    return None, "", f"{endpoint}: connection refused"


def _refused(request: DialRequested, refusal: PeerRefused) -> DialFailed:
    code, reason = refusal.code, _told(request.endpoint, refusal)
    return DialFailed(request.connection, request.hotkey, reason, code.status, refusal.retry_after, code)


def _failed(request: PostRequested | GamesRequested, answer: PeerRefused | HttpAnswered) -> PostFailed:
    if isinstance(answer, HttpAnswered):
        return PostFailed(request.connection, request.hotkey, f"{request.endpoint}: {answer.status}", answer.status)
    code, reason = answer.code, _told(request.endpoint, answer)
    return PostFailed(request.connection, request.hotkey, reason, code.status, answer.retry_after, code)


def _told(endpoint: str, refusal: PeerRefused) -> str:
    return f"{endpoint}: {refusal.code.status} {refusal.code}: {refusal.message}"


def _query(position: Position | None) -> str:
    return "" if position is None else f"&epoch={position.epoch}&offset={position.offset}"


def _nonce(request: HttpRequestReceived) -> str:
    return dict(request.headers)["x-bittensor-nonce"]
