"""Metrics for Prometheus, on a separate local port, never on the public one.

Names and units follow its conventions (https://prometheus.io/docs/practices/naming/). The port has the limits of a
public one. A thread writes the page; everything that it reads is safe to read from a thread.
"""

import asyncio
from bisect import bisect_left
from collections import Counter as Count
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from importlib.metadata import version
from itertools import accumulate
from typing import Any, Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from bettensor.actors.existing import LATELY
from bettensor.actors.settings import PortLimits
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import Clock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    ActorFailed,
    AxonAnswered,
    AxonConfirmed,
    AxonFailed,
    BroadcastWritten,
    ChainFailed,
    ClockStepped,
    CloseRequested,
    CommitFailed,
    CommitRequested,
    ConnectionClosed,
    ConnectionOpened,
    FallbackChosen,
    FeedFailed,
    FrameReceived,
    FrameWritten,
    GamesFetched,
    GamesUpdated,
    HandlerFailed,
    HandlerOverflowed,
    MetagraphSynced,
    MetricsUnavailable,
    OddsDoubted,
    OutboxOpened,
    PeerAuthenticated,
    PeerRefused,
    PostAnswered,
    PredictionAccepted,
    PredictionConflicted,
    PredictionDiscarded,
    PredictionExpired,
    PredictionMade,
    PredictionRejected,
    PredictionsStored,
    QueryAdmitted,
    QueryAnswered,
    QueryRefused,
    RequestsTurnedAway,
    Road,
    Role,
    RowsSkipped,
    SessionActivated,
    SlateWritten,
    SynapseAsked,
    VerdictReceived,
)
from bettensor.bus.identifiers import SECOND, ConnectionId, Hotkey, Micros
from bettensor.neurons.config.settings import MetricsSettings
from bettensor.neurons.edges.edge import Edge, Identity, SendQueues
from bettensor.neurons.edges.http_server import BACKLOG, HttpServer
from bettensor.neurons.edges.scope import Scope, headers_of
from bettensor.neurons.system.ports import listen_on

DEFAULT_PORTS: Final[dict[Role, int]] = {"validator": 9464, "miner": 9465}
_LATENCIES: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_COMMITS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
_STATUSES: Final = frozenset(str(int(status)) for status in HTTPStatus)
"""The labels of HTTP statuses; a peer may answer with any number."""
_LIMITS: Final = PortLimits(connections=32, strangers=32, strangers_per_network=32)
"""A scraper needs one connection. Whoever reaches this port is near, but it can harm the neuron no more than others."""
_Direction = tuple[str, str]
"""``in`` or ``out``, and the transport."""


class Metrics(Edge):
    """Counts what happens on the bus, and serves the counts from ``open`` to ``close``."""

    name = "metrics"

    def __init__(self, settings: MetricsSettings, identity: Identity, queues: SendQueues, clock: Clock) -> None:
        self._settings = settings
        self._role = role = identity.role
        self._server: HttpServer | None = None
        self._writing = asyncio.Semaphore(1)
        """One page is written at a time: together, many would take the event loop its turns."""
        self.registry = registry = CollectorRegistry()
        self._stages: dict[ConnectionId, str] = {}
        self._commits: dict[int, Micros] = {}
        Info("bettensor_build", "This neuron.", registry=registry).info({"version": version("bettensor"), "role": role})
        ProcessCollector(registry=registry)
        # every frame and prediction passes here: plain numbers, which a collector makes into metrics at a scrape
        self._verdicts: Count[str] = Count()
        self._frames: Count[_Direction] = Count()
        self._bytes: Count[_Direction] = Count()
        self._latency = _Latencies()
        self._roads = _Roads(clock)
        self._exchanges = Counter(
            "bettensor_synapse_exchanges",
            "Over Synapse by HTTP status: a validator's questions and confirmations, or what a miner was asked.",
            ["status"],
            registry=registry,
        )
        self._commit = Histogram(
            "bettensor_commit_seconds", "One commit of the ledger.", buckets=_COMMITS, registry=registry
        )
        self._commit_failures = Counter("bettensor_commit_failures", "Commits that failed.", registry=registry)
        self._refusals = Counter("bettensor_refusals", "Refused requests by code.", ["code"], registry=registry)
        self._fallbacks = Counter("bettensor_fallbacks", "Turns to HTTP by cause.", ["cause"], registry=registry)
        self._failures = Counter("bettensor_actor_failures", "Exceptions in actors.", ["actor"], registry=registry)
        self._handlers = Counter(
            "bettensor_handler_failures", "Exceptions in users' handlers.", ["handler"], registry=registry
        )
        self._dropped = Counter(
            "bettensor_handler_dropped_events", "Events that users' handlers missed.", ["handler"], registry=registry
        )
        self._dropped_so_far: Count[str] = Count()
        self._steps = Counter("bettensor_clock_steps", "Steps of the wall clock.", registry=registry)
        self._games = Gauge("bettensor_games_offset", "Place in the game stream.", ["validator"], registry=registry)
        self._synced = Gauge(
            "bettensor_metagraph_read_timestamp_seconds",
            "When the metagraph in force was read from the chain; 0 where it comes from a file.",
            registry=registry,
        )
        self._chain_failures = Counter("bettensor_chain_failures", "Failed readings of the chain.", registry=registry)
        Gauge("bettensor_send_queue_bytes", "Bytes that wait to be sent.", registry=registry).set_function(
            queues.queued
        )
        self._skipped = Gauge(
            "bettensor_skipped_rows", "Wrong rows of metagraph or blacklist, not in use.", ["file"], registry=registry
        )
        if role == "miner":
            self._waiting = Gauge("bettensor_predictions_waiting", "Without a verdict.", registry=registry)
        else:
            self._withheld = Gauge(
                "bettensor_games_withheld",
                "Games that are not offered: for a fault of their entry, or for implausible odds.",
                ["cause"],
                registry=registry,
            )
            self._feed_fails = Gauge(
                "bettensor_games_unreadable",
                "1 while the games cannot be read: health is then degraded, and the slate an old one.",
                registry=registry,
            )

    def attach(self, bus: EventBus) -> None:
        """Count from now on; some figures exist only on a miner, or only on a validator."""
        super().attach(bus)
        counted = _Collector(bus, self._stages, self._verdicts, self._frames, self._bytes, self._latency)
        self.registry.register(self._roads)
        self.registry.register(counted)
        for event, handler in self._handlers_of_role():
            bus.subscribe(event, handler, self.name)

    async def open(self) -> None:
        """Serve ``/metrics``. If the port is in use, an event reports it, and the neuron runs without metrics."""
        host, port = self._settings.ip, self._settings.port
        wanted = DEFAULT_PORTS[self._role] if port is None else port
        server = HttpServer(
            self._serve,
            limits=_LIMITS,
            refusal=lambda code, message: f"{code}: {message}\n".encode(),
            publish=lambda _: None,
            max_body=0,
            ws="none",
        )
        try:
            listening = listen_on(host, wanted, BACKLOG)
        except OSError as error:
            self._bus.publish(MetricsUnavailable(f"{host}:{wanted}: {error.strerror or error}"))
            return
        await server.serve("metrics", listening)
        self._server = server

    async def _serve(self, scope: Scope, _receive: Any, send: Any) -> None:
        status, headers, page = await self._page(scope)
        headers.append((b"content-length", str(len(page)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": page})

    async def _page(self, scope: Scope) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        if scope["path"] not in ("/metrics", "/"):
            return 404, [], b"see /metrics\n"
        if scope["method"] not in ("GET", "HEAD"):
            return 405, [(b"allow", b"GET, HEAD")], b""
        encode, content_type = choose_encoder(headers_of(scope).get("accept", ""))
        async with self._writing:
            page = await asyncio.to_thread(encode, self.registry)
        return 200, [(b"content-type", content_type.encode())], page

    @property
    def port(self) -> int | None:
        """The port of the metrics; None if they are not served."""
        return None if self._server is None else self._server.port

    async def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            await self._server.abort()

    def _handlers_of_role(self) -> list[tuple[Any, Callable[[Any, Envelope], object]]]:
        handlers: list[tuple[Any, Callable[[Any, Envelope], object]]] = [
            (ConnectionOpened, self._opened),
            (SessionActivated, self._activated),
            (CloseRequested, self._closing),
            (ConnectionClosed, self._closed),
            (PredictionAccepted, self._judged),
            (PredictionRejected, self._judged),
            (PredictionConflicted, lambda _, __: self._verdicts.update(("conflict",))),
            (CommitRequested, self._commit_began),
            (PredictionsStored, self._commit_ended),
            (CommitFailed, self._commit_failed),
            (FrameReceived, self._received),
            (FrameWritten, lambda event, _: self._sent(event.road, 1, event.size)),
            (SlateWritten, lambda event, _: self._sent(event.road, event.frames, event.size)),
            (BroadcastWritten, lambda event, _: self._sent("websocket", event.count, event.sent)),
            (PeerRefused, lambda event, _: self._refusals.labels(event.code).inc()),
            (FallbackChosen, lambda event, _: self._fallbacks.labels(event.cause).inc()),
            (ActorFailed, lambda event, _: self._failures.labels(event.actor).inc()),
            (HandlerFailed, lambda event, _: self._handlers.labels(event.handler).inc()),
            (HandlerOverflowed, self._overflowed),
            (ClockStepped, lambda _, __: self._steps.inc()),
            (MetagraphSynced, lambda event, _: self._synced.set(event.fetched_at / SECOND)),
            (ChainFailed, lambda _, __: self._chain_failures.inc()),
            (GamesUpdated, lambda event, _: self._games.labels(event.validator).set(event.offset)),
            (RowsSkipped, lambda event, _: self._skipped.labels(event.what).set(len(event.faults))),
        ]
        if self._role == "miner":
            handlers += [
                (VerdictReceived, self._told),
                (OutboxOpened, lambda event, _: self._waiting.set(len(event.entries))),
                (PredictionMade, lambda _, __: self._waiting.inc()),
                (PredictionDiscarded, lambda _, __: self._waiting.dec()),
                (PredictionExpired, self._expired),
                (PostAnswered, lambda event, _: self._roads.heard(event.hotkey, "http")),
                (QueryAdmitted, lambda event, _: self._roads.heard(event.hotkey, "synapse")),
                (QueryAnswered, lambda _, __: self._exchanged(HTTPStatus.OK)),
                (QueryRefused, lambda event, _: self._exchanged(event.status)),
            ]
        else:
            self._turned_away = Counter(
                "bettensor_synapse_turned_away",
                "Requests of existing neurons over Synapse, which a validator answers with 404.",
                registry=self.registry,
            )
            self._at_the_door = Counter(
                "bettensor_requests_turned_away",
                "Requests that were answered with 429 without an event for each, by whose budget is spent.",
                ["cause"],
                registry=self.registry,
            )
            handlers += [
                (PeerAuthenticated, self._authenticated),
                (RequestsTurnedAway, self._turned_away_at_the_door),
                (SynapseAsked, lambda _, __: self._turned_away.inc()),
                (AxonAnswered, self._answered),
                (AxonConfirmed, self._answered),
                (AxonFailed, lambda event, _: self._exchanged(event.status)),
                (GamesFetched, self._read_games),
                (FeedFailed, lambda _, __: self._feed_fails.set(1)),
                (OddsDoubted, lambda event, _: self._withheld.labels("odds").set(len(event.games))),
            ]
        return handlers

    def _read_games(self, event: GamesFetched, _: Envelope) -> None:
        self._feed_fails.set(bool(event.fault))
        self._withheld.labels("entry").set(sum(not game.started for game in event.withheld))

    def _opened(self, event: ConnectionOpened, _: Envelope) -> None:
        if event.purpose == "session":
            self._stages[event.connection] = "greeting"

    def _activated(self, event: SessionActivated, _: Envelope) -> None:
        self._stages[event.connection] = "active"
        self._roads.connected(event.hotkey, event.connection)

    def _closed(self, event: ConnectionClosed, _: Envelope) -> None:
        self._stages.pop(event.connection, None)
        self._roads.closed(event.connection)

    def _authenticated(self, event: PeerAuthenticated, _: Envelope) -> None:
        if event.purpose != "session":
            self._roads.heard(event.hotkey, "http")

    def _turned_away_at_the_door(self, event: RequestsTurnedAway, _: Envelope) -> None:
        for cause, count in event.counts.items():
            self._at_the_door.labels(cause).inc(count)

    def _answered(self, event: AxonAnswered | AxonConfirmed, _: Envelope) -> None:
        self._roads.heard(event.hotkey, "synapse")
        self._exchanged(HTTPStatus.OK)

    def _exchanged(self, status: int | None) -> None:
        label = "none" if status is None else str(int(status))
        self._exchanges.labels(label if label in _STATUSES or status is None else "other").inc()

    def _closing(self, event: CloseRequested, _: Envelope) -> None:
        if event.connection in self._stages:
            self._stages[event.connection] = "closing"

    def _judged(self, event: PredictionAccepted | PredictionRejected, envelope: Envelope) -> None:
        self._verdicts["accepted" if isinstance(event, PredictionAccepted) else event.code] += 1
        self._latency.observe(max(0, envelope.at - event.received_at) / SECOND)

    def _told(self, event: VerdictReceived, _: Envelope) -> None:
        self._verdicts[event.code] += 1
        self._latency.observe(event.latency / SECOND)
        self._waiting.dec()

    def _expired(self, _: PredictionExpired, __: Envelope) -> None:
        self._verdicts["expired"] += 1
        self._waiting.dec()

    def _commit_began(self, _: CommitRequested, envelope: Envelope) -> None:
        self._commits[envelope.seq] = envelope.mono

    def _commit_ended(self, event: PredictionsStored, envelope: Envelope) -> None:
        self._commit.observe((envelope.mono - self._commits.pop(event.request, envelope.mono)) / SECOND)

    def _commit_failed(self, event: CommitFailed, _: Envelope) -> None:
        self._commits.pop(event.request, None)
        self._commit_failures.inc()

    def _received(self, event: FrameReceived, _: Envelope) -> None:
        direction = "in", "websocket" if event.connection > 0 else "http"
        self._frames[direction] += 1
        self._bytes[direction] += len(event.data)

    def _sent(self, transport: str, count: int, size: int) -> None:
        direction = "out", transport
        self._frames[direction] += count
        self._bytes[direction] += size

    def _overflowed(self, event: HandlerOverflowed, _: Envelope) -> None:
        self._dropped.labels(event.handler).inc(event.dropped - self._dropped_so_far[event.handler])
        self._dropped_so_far[event.handler] = event.dropped


class _Roads(Collector):
    """By which road each peer is heard: its session, or else the road by which it was heard last."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: dict[ConnectionId, Hotkey] = {}
        self._heard: dict[Hotkey, tuple[Road, Micros]] = {}

    def connected(self, hotkey: Hotkey, connection: ConnectionId) -> None:
        """A peer has a session."""
        self._sessions[connection] = hotkey
        self._heard.pop(hotkey, None)

    def closed(self, connection: ConnectionId) -> None:
        """A session has ended, or something that was none."""
        self._sessions.pop(connection, None)

    def heard(self, hotkey: Hotkey, road: Road) -> None:
        """A peer was heard otherwise; who was heard long ago is forgotten."""
        now = self._clock.mono()
        self._heard.pop(hotkey, None)
        self._heard[hotkey] = road, now
        while now - self._heard[oldest := next(iter(self._heard))][1] > LATELY:
            del self._heard[oldest]

    def collect(self) -> Iterator[Metric]:
        """The number of peers by road. In the thread that serves: it reads copies, and changes nothing."""
        present = dict.fromkeys(list(self._sessions.values()))
        since = self._clock.mono() - LATELY
        roads = Count(road for hotkey, (road, at) in list(self._heard.items()) if at >= since and hotkey not in present)
        roads["websocket"] = len(present)
        peers = GaugeMetricFamily("bettensor_peers", "Peers by the road by which they are heard.", labels=["road"])
        for road in get_args(Road):
            peers.add_metric([road], roads[road])
        yield peers


class _Latencies:
    """A histogram that costs little to add to."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_LATENCIES) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one more."""
        self._counts[bisect_left(_LATENCIES, seconds)] += 1
        self._sum += seconds

    def collect(self) -> HistogramMetricFamily:
        """The histogram in Prometheus's form: each bucket includes the smaller ones."""
        bounds = [*map(str, _LATENCIES), "+Inf"]
        return HistogramMetricFamily(
            "bettensor_verdict_latency_seconds",
            "From receipt to the stored verdict on a validator; from the first push to the verdict on a miner.",
            buckets=list(zip(bounds, accumulate(self._counts), strict=True)),
            sum_value=self._sum,
        )


class _Collector(Collector):
    """Makes metrics of the plain numbers."""

    def __init__(
        self,
        bus: EventBus,
        stages: dict[ConnectionId, str],
        verdicts: Count[str],
        frames: Count[_Direction],
        sizes: Count[_Direction],
        latencies: _Latencies,
    ) -> None:
        self._bus = bus
        self._stages = stages
        self._verdicts = verdicts
        self._frames = frames
        self._bytes = sizes
        self._latencies = latencies

    def collect(self) -> Iterator[Metric]:
        counts = [((topic,), count) for topic, count in list(self._bus.counts.items()) if count]
        yield _counters("bettensor_bus_events", "Events on the bus by topic.", ["topic"], counts)
        verdicts = [((code,), count) for code, count in list(self._verdicts.items())]
        yield _counters("bettensor_verdicts", "Predictions by verdict.", ["code"], verdicts)
        road = ["direction", "transport"]
        yield _counters("bettensor_frames", "Frames by direction and transport.", road, list(self._frames.items()))
        yield _counters("bettensor_frame_bytes", "Bytes of these frames.", road, list(self._bytes.items()))
        yield self._latencies.collect()
        connections = GaugeMetricFamily("bettensor_connections", "WebSocket sessions by state.", labels=["state"])
        stages = Count(list(self._stages.values()))
        for state in ("greeting", "active", "closing"):
            connections.add_metric([state], stages[state])
        yield connections


def _counters(
    name: str, text: str, labels: list[str], counts: Sequence[tuple[tuple[str, ...], int]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in counts:
        family.add_metric(values, count)
    return family
