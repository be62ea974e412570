"""The composition root: which actors and which edges a neuron is made of. Nobody else says so."""

import asyncio
import contextlib
import fcntl
import gc
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from secrets import randbits
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from actors.actor import Actor
from actors.announce import AnnounceActor
from actors.auth import AuthActor
from actors.broadcast import BroadcastActor
from actors.games import GamesActor
from actors.heartbeat import HeartbeatActor
from actors.http_fallback import HttpFallbackActor
from actors.logbook import LogbookActor
from actors.metagraph import MetagraphActor
from actors.miner_connection import MinerConnectionActor
from actors.model import ModelActor
from actors.monitor import MonitorActor
from actors.outbox import OutboxActor
from actors.prediction import PredictionActor
from actors.reconnect import ReconnectActor
from actors.slate import SlateActor
from actors.supervisor import SupervisorActor
from actors.validator_auth import ValidatorAuthActor
from actors.validator_connection import ValidatorConnectionActor
from bus.bus import EVERYTHING, EventBus, arity
from bus.clock import Clock, SystemClock
from bus.envelope import Envelope
from bus.errors import ConfigurationError
from bus.eventlog import Header
from bus.events import (
    TOPICS,
    LineLogged,
    NeuronDraining,
    NeuronFailed,
    NeuronStarted,
    NeuronStopping,
    Observed,
    PredictionDiscarded,
    PredictionExpired,
    PredictionMade,
    ReloadFailed,
    Role,
    SettingsReloaded,
    VerdictReceived,
)
from bus.identifiers import Hotkey, PredictionId
from neurons.edges.control import Control
from neurons.edges.handlers import UserHandlers
from neurons.edges.keys import Keys, load_hotkey
from neurons.edges.log import LogLines, set_log_level
from neurons.edges.static_files import read_blacklist, read_metagraph
from neurons.edges.tasks import Tasks
from neurons.edges.timers import Timers
from neurons.edges.writer import FrameWriter
from neurons.file_watch import Sight, changes_of, look_at
from neurons.models import KellyPredictor, Predictor
from neurons.plugins import load
from neurons.recordings import log_header, take_checkpoint
from neurons.reload import changes, new_actor_settings
from neurons.settings import MinerSettings, Settings, ValidatorSettings, nearest, parse

if TYPE_CHECKING:
    from neurons.edges.chain import Chain
    from neurons.edges.metrics import Metrics
    from neurons.edges.recorder import Recorder

SHUTDOWN_TIMEOUT: Final = 10.0
"""Seconds to finish what is in flight when a neuron stops."""
FAREWELL_TIMEOUT: Final = 3.0
"""Seconds that a miner waits for verdicts before it ends its sessions."""
SWITCH_INTERVAL: Final = 0.001
"""Seconds after which a busy thread lets another run: the ledger's must not wait Python's five milliseconds."""
COLLECTOR_THRESHOLD: Final = 20_000
"""Objects after which the garbage collector looks for cycles: events have none, and are gone soon."""

ACTORS: Final[dict[Role, tuple[type[Actor], ...]]] = {
    "validator": (
        MetagraphActor,
        ValidatorConnectionActor,
        ValidatorAuthActor,
        PredictionActor,
        GamesActor,
        BroadcastActor,
        HeartbeatActor,
        AnnounceActor,
        MonitorActor,
        LogbookActor,
    ),
    "miner": (
        MetagraphActor,
        MinerConnectionActor,
        AuthActor,
        ReconnectActor,
        HeartbeatActor,
        SlateActor,
        ModelActor,
        OutboxActor,
        HttpFallbackActor,
        MonitorActor,
        LogbookActor,
    ),
}
"""In order of subscription, which is the order in which they hear an event."""

ELSEWHERE: Final = {
    "heartbeat_interval": "websocket.heartbeat_interval",
    "connection_timeout": "websocket.connection_timeout",
    "websocket_enabled": "websocket.enabled",
    "reconnect_base_interval": "websocket.reconnect_base_interval",
    "max_reconnect_interval": "websocket.max_reconnect_interval",
    "validators": "validators",
    "announced_ip": "axon.external_ip",
    "announced_port": "axon.external_port",
    "listening_port": "axon.port",
    "announcing": "axon.serve",
}
"""Settings of actors that have their key in another section."""


def build_actors(settings: Settings, where: str = "settings") -> list[Actor]:
    """The actors that ``settings`` describe, the supervisor last.

    Args:
        settings: of either role.
        where: the file, for messages.

    Raises:
        ConfigurationError: a class that cannot be loaded or is no actor, or a wrong key among its settings.
    """
    classes = {cls.name: cls for cls in ACTORS[role_of(settings)]}
    sections = {name: dict(section) for name, section in settings.actors.items() if name != "predictor"}
    for name, section in sections.items():
        custom = section.pop("class", None)
        if custom is not None:
            classes[name] = _actor_class(str(custom), name, f"{where}: actors.{name}.class")
        elif name not in classes:
            near = nearest(name, [*classes, "predictor"])
            raise ConfigurationError(
                f"{where}: actors.{name}: there is no such actor; the nearest is {near}; one of your own needs a class"
            )
    actors = [_build(cls, name, sections.get(name, {}), settings, where) for name, cls in classes.items()]
    return [*actors, SupervisorActor(actors)]


def role_of(settings: Settings) -> Role:
    """Which of the two ``settings`` are for."""
    return "validator" if isinstance(settings, ValidatorSettings) else "miner"


def _actor_class(custom: str, name: str, where: str) -> type[Actor]:
    """``custom``, whose name must be its key: reloads, timers and recordings find an actor by its name."""
    cls = load(custom, where)
    if not isinstance(cls, type) or not issubclass(cls, Actor):
        raise ConfigurationError(f"{where}: {custom} is not a subclass of actors.actor.Actor")
    own = getattr(cls, "name", None)
    if own != name:
        raise ConfigurationError(f"{where}: {custom} must have name = {name!r}, as its key, and it has {own!r}")
    return cls


def _build(cls: type[Actor], name: str, section: dict[str, Any], settings: Settings, where: str) -> Actor:
    for f in fields(cls.Settings):
        key = ELSEWHERE.get(f.name)
        if key is None:
            continue
        if f.name in section:
            raise ConfigurationError(f"{where}: actors.{name}.{f.name}: this is set by {key}")
        value: Any = settings
        for part in key.split("."):
            value = getattr(value, part)
        section[f.name] = value
    return cls(parse(cls.Settings, section, f"{where}: actors.{name}"))


def build_predictor(settings: Settings, where: str = "settings") -> Predictor:
    """The miner's model.

    Raises:
        ConfigurationError: a class that cannot be loaded or is no model, or a wrong key among its settings.
    """
    section = dict(settings.actors.get("predictor", {}))
    name = section.pop("class", None)
    cls: Any = KellyPredictor if name is None else load(str(name), f"{where}: actors.predictor.class")
    if not callable(getattr(cls, "predict", None)) or not hasattr(cls, "Settings"):
        raise ConfigurationError(f"{where}: actors.predictor.class: {name} has no method predict, or no class Settings")
    predictor: Predictor = cls(parse(cls.Settings, section, f"{where}: actors.predictor"))
    return predictor


def load_handlers(settings: Settings, where: str = "settings") -> list[tuple[str, Callable[..., Any]]]:
    """Topic and function of each of the operator's handlers.

    Raises:
        ConfigurationError: there is no such topic or function, or it cannot be called as a handler is.
    """
    handlers = []
    for topic, names in settings.handlers.items():
        if topic not in TOPICS and topic != EVERYTHING:
            near = nearest(topic, TOPICS)
            raise ConfigurationError(f"{where}: handlers.{topic}: there is no such event; the nearest is {near}")
        for name in names:
            function = load(name, f"{where}: handlers.{topic}")
            if not callable(function):
                raise ConfigurationError(f"{where}: handlers.{topic}: {name} cannot be called")
            try:
                arity(function)
            except (TypeError, ValueError) as error:  # ValueError: something built in that does not say what it takes
                raise ConfigurationError(f"{where}: handlers.{topic}: {error}") from None
            handlers.append((topic, function))
    return handlers


class Neuron:
    """One validator or miner, from its configuration to its end.

    ``async with`` starts and stops it; ``run`` also obeys signals. Cancelling either stops the neuron at once: what
    was confirmed is on disk, what was not has no verdict.
    """

    bus_class: ClassVar[type[EventBus]] = EventBus

    def __init__(
        self,
        settings: Settings,
        where: str = "settings",
        *,
        record: Callable[[Envelope], None] | None = None,
        again: Callable[[], Settings] | None = None,
    ) -> None:
        """
        Args:
            settings: of either role.
            where: the file that they come from, for messages.
            record: called with each envelope before it is delivered.
            again: reads the settings anew, from the same sources, for ``reload``; None where they cannot change.

        Raises:
            ConfigurationError: what cannot be built, read or loaded.
        """
        self.settings = settings
        self._settings_at_start = settings
        self._where = where
        self._again = again
        self._clock: Clock = SystemClock()
        self._handlers = UserHandlers()
        wallet = settings.wallet
        self._keys = Keys(load_hotkey(wallet.name, wallet.hotkey, str(wallet.path)))
        self._seed = randbits(64)
        self._recorder = self._make_recorder()
        self.bus = self.bus_class(self._clock, record=_both(self._recorder, record), isolate=self._handlers.isolate)
        self._stopped = asyncio.Event()
        self._owns_process = False
        self._failure: str | None = None
        self._reason = "the program that runs it ended"
        lines = LogLines(role_of(settings), self._keys.hotkey)
        self.bus.subscribe(LineLogged, lines.write, "log")
        self._actors = build_actors(settings, where)
        for topic, handler in load_handlers(settings, where):
            self.bus.on(topic, handler)
        for actor in self._actors:
            actor.attach(self.bus)
        self.bus.subscribe(NeuronFailed, self._fail, "launch")
        self._verify_workers = settings.auth.verify_workers if isinstance(settings, ValidatorSettings) else 0
        self._keys.attach(self.bus, frames=not self._verify_workers)
        self._timers = Timers(self.bus, self._clock)
        self._writer = FrameWriter(self.bus, self._keys, self._clock)
        self._watching = Tasks(self.bus, "launch")
        self.metrics: Metrics | None = None
        self._chain: Chain | None = None
        self._known_files: tuple[Observed | None, ...] = ()
        self._control = Control(self.bus, self._clock, settings.state_dir, self._handlers, self.request_stop)

    async def __aenter__(self) -> Self:
        self._lock = lock_state_dir(self.settings.state_dir)
        try:
            if self._recorder is not None:
                self._recorder.open(self.bus)
            self._handlers.start(self.bus)
            await self._control.open()
            self._serve_metrics()
            seen = look_at(self._files())
            await self._start()
            self._watching.start(self._watch(seen), "configuration")
        except BaseException:
            await self._end(started=False)
            raise
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self._end(started=True)

    async def _end(self, *, started: bool) -> None:
        """Each step, whatever becomes of the one before: where one is cancelled, the others leave nothing open."""
        async with contextlib.AsyncExitStack() as steps:  # the last one comes first
            steps.callback(os.close, self._lock)
            steps.push_async_callback(self._end_recording)
            steps.push_async_callback(self._handlers.close)
            steps.callback(self._timers.close)
            steps.push_async_callback(self._control.disconnect)
            if started:
                steps.push_async_callback(self._stop)
            steps.push_async_callback(self._end_metrics)
            steps.push_async_callback(self._control.close)
            steps.push_async_callback(self._end_chain)
            steps.push_async_callback(self._watching.cancel)

    @property
    def hotkey(self) -> Hotkey:
        """Whom this neuron speaks for."""
        return self._keys.hotkey

    def request_stop(self, reason: str) -> None:
        """Stop soon, in good order."""
        self._reason = reason
        self._stopped.set()

    async def run(self) -> int:
        """Start, work until SIGTERM, SIGINT, ``request_stop`` or a failure, and stop; returns the exit code.

        A second signal ends the process at once. SIGHUP is ``reload``.
        """
        self._owns_process = True
        set_log_level(self.settings.logging.level)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        async with self:
            await self._stopped.wait()
        return 0 if self._failure is None else 1

    def reload(self) -> None:
        """Read configuration, blacklist and metagraph again, and take what a running neuron can take.

        What cannot be read leaves in force what was, and is an event and a log line.
        """
        try:
            new = self.settings if self._again is None else self._again()
            actors = {actor.name: actor.settings for actor in build_actors(self._reloadable(new), self._where)}
            files = self._read_files(new)
        except ConfigurationError as error:
            self.bus.publish(ReloadFailed(str(error)))
            return
        taken, _ = changes(self.settings, new)
        _, waiting = changes(self._settings_at_start, new)
        settings = {actor.name: actor.settings for actor in self._actors}
        self.bus.publish(SettingsReloaded(new_actor_settings(settings, actors), tuple(taken), tuple(waiting)))
        for known, event in zip(self._known_files, files, strict=True):
            if event is not None and event != known:
                self.bus.publish(event)
        self._known_files = files
        if "logging.level" in taken and self._owns_process:
            set_log_level(new.logging.level)
        self.settings = new

    async def _watch(self, seen: Sight) -> None:
        async for _ in changes_of(self._files, seen):
            self.reload()

    def _reloadable(self, new: Settings) -> Settings:
        """``new``, but for what actors know and cannot change: that is as it was when the neuron started."""
        start = self._settings_at_start
        if isinstance(new, MinerSettings) and isinstance(start, MinerSettings):
            return replace(new, validators=start.validators)
        if isinstance(new, ValidatorSettings) and isinstance(start, ValidatorSettings):
            return replace(new, axon=start.axon)
        return new

    def _files(self) -> list[Path]:
        """What is watched."""
        settings = self.settings
        named = [settings.metagraph.static, settings.blacklist if isinstance(settings, ValidatorSettings) else None]
        own = Path(self._where)
        return [file for file in (*named, own if own.exists() else None) if file is not None]

    def _read_files(self, settings: Settings) -> tuple[Observed | None, ...]:
        """The metagraph and the blacklist, as their files have them.

        Raises:
            ConfigurationError: one cannot be read.
        """
        blacklist = settings.blacklist if isinstance(settings, ValidatorSettings) else None
        static = settings.metagraph.static
        metagraph = None if static is None else read_metagraph(static)
        return metagraph, None if blacklist is None else read_blacklist(blacklist)

    async def _learn_who_is_there(self) -> None:
        """By files, or by the chain; what is kept of it on disk counts until it answers."""
        for event in self._known_files:
            if event is not None:
                self.bus.publish(event)
        settings = self.settings.subtensor
        chosen = settings.chain_endpoint or settings.network
        if chosen is not None:
            from neurons.edges.chain import Chain, make_client

            kept = self.settings.state_dir / "metagraph.json"
            netuid, interval = self.settings.netuid, settings.sync_interval
            key = self._keys.keypair
            self._chain = Chain(self.bus, self._clock, lambda: make_client(chosen), chosen, netuid, interval, kept, key)
            await self._chain.open()

    def _signalled(self, number: signal.Signals) -> None:
        if self._stopped.is_set():
            os._exit(1)
        self.request_stop(number.name)

    def _fail(self, event: NeuronFailed, _: Envelope) -> None:
        self._failure = event.reason
        self.request_stop("a failure that cannot be repaired")

    def _serve_metrics(self) -> None:
        settings = self.settings.metrics
        if settings.enabled:
            from neurons.edges.metrics import Metrics

            self.metrics = Metrics(self.bus, role_of(self.settings), self._writer.queued)
            self.metrics.start(settings.ip, settings.port)

    async def _end_metrics(self) -> None:
        if self.metrics is not None:
            await self.metrics.close()

    async def _end_chain(self) -> None:
        if self._chain is not None:
            await self._chain.close()

    def _make_recorder(self) -> "Recorder | None":
        settings = self.settings.recorder
        if settings.record == "off":
            return None
        from neurons.edges.recorder import Recorder, RecorderLimits

        return Recorder(
            self._clock,
            settings.path or self.settings.state_dir / "events.jsonl",
            everything=settings.record == "all",
            limits=RecorderLimits(settings.file_bytes, settings.file_age, settings.total_bytes),
            header=self._log_header,
            checkpoint=lambda: take_checkpoint(self.bus, self._actors),
            sign=self._keys.sign,
        )

    def _log_header(self, previous: str) -> Header:
        return log_header(self.settings, self._keys.hotkey, self._keys.scheme, self._seed, previous)

    async def _end_recording(self) -> None:
        if self._recorder is not None:
            await self._recorder.close()

    def _begin(self) -> None:
        settings = self.settings
        self.bus.publish(
            NeuronStarted(role_of(settings), settings.netuid, self._keys.hotkey, self._keys.scheme, self._seed)
        )

    async def _start(self) -> None:
        raise NotImplementedError

    async def _stop(self) -> None:
        raise NotImplementedError


def _both(recorder: "Recorder | None", record: Callable[[Envelope], None] | None) -> Callable[[Envelope], None] | None:
    """What the bus calls with each envelope: the recorder, and whoever else wants to see it."""
    if recorder is None or record is None:
        return record if recorder is None else recorder.record

    def both(envelope: Envelope) -> None:
        recorder.record(envelope)
        record(envelope)

    return both


class Validator(Neuron):
    """A validator: listens, judges, confirms."""

    settings: ValidatorSettings

    port: int
    """Where it listens, once it does."""

    async def _start(self) -> None:
        # what only one role needs is not imported by the other: each costs start-up time
        from neurons.edges.game_feed import GameFeed
        from neurons.edges.game_stream import GameStream
        from neurons.edges.ledger import Ledger, ledger_database
        from neurons.edges.listener import Listener, SendLimits
        from neurons.edges.verifiers import Verifiers

        settings = self.settings
        self._known_files = self._read_files(settings)
        self._database = ledger_database(self.bus, settings.state_dir / "ledger.sqlite3")
        self._ledger = Ledger(self._database, self._clock)
        stream = GameStream(self._database, self._writer, self._keys.hotkey, settings.netuid)
        limits = SendLimits(settings.websocket.send_queue_bytes, settings.websocket.send_timeout)
        axon = settings.axon
        self._listener = Listener(self.bus, self._writer, self._clock, axon.ip, axon.port, limits)
        self._feeding = contextlib.AsyncExitStack()
        self._verifiers = Verifiers(self.bus, self._verify_workers) if self._verify_workers else None
        self._edges = contextlib.AsyncExitStack()  # the last one is closed first
        self._edges.push_async_callback(self._database.close)
        self._edges.push_async_callback(self._ledger.close)
        if self._verifiers is not None:
            self._edges.push_async_callback(self._verifiers.close)
        self._edges.push_async_callback(self._listener.close)
        self._edges.push_async_callback(self._feeding.aclose)
        self._begin()
        try:
            await self._database.open()
            await self._ledger.open(self.bus)
            await stream.open(self.bus)
            await self._learn_who_is_there()
            await self._feeding.enter_async_context(GameFeed(self.bus, self._clock, settings.games).running())
            await self._database.settle()  # the slate is stored, and so in force
            if self._verifiers is not None:
                await self._verifiers.open()
            self.port = await self._listener.start()
        except BaseException:
            await self._edges.aclose()
            raise

    async def _stop(self) -> None:
        """Nothing more is taken in, and what was is committed and answered; then sessions end, then the port."""
        self.bus.publish(NeuronDraining())
        stopping = False
        try:
            async with asyncio.timeout(SHUTDOWN_TIMEOUT):
                await self._feeding.aclose()
                if self._verifiers is not None:
                    await self._verifiers.settle()
                await self._database.settle()
                stopping = True
                self.bus.publish(NeuronStopping(self._reason))
                await self._listener.drained()
        except TimeoutError:  # what is not done by now has no verdict, and will be asked again
            if not stopping:
                self.bus.publish(NeuronStopping(self._reason))
        finally:
            await self._edges.aclose()


class Miner(Neuron):
    """A miner: dials, predicts, waits for verdicts."""

    settings: MinerSettings

    async def _start(self) -> None:
        from neurons.edges.dialer import Dialer
        from neurons.edges.http_client import HttpClient
        from neurons.edges.outbox import Outbox, outbox_database
        from neurons.edges.predictor import PredictorEdge

        settings = self.settings
        self._known_files = self._read_files(settings)
        self._predictor = PredictorEdge(
            self.bus, self._clock, self._keys.hotkey, build_predictor(settings, self._where)
        )
        self._dialer = Dialer(self.bus, self._writer, self._keys, settings.netuid)
        self._http = HttpClient(self.bus, self._keys, self._clock, settings.netuid)
        self._unanswered: Counter[PredictionId] = Counter()
        self._all_answered = asyncio.Event()
        self.bus.subscribe(PredictionMade, self._count, "launch")
        self.bus.subscribe(VerdictReceived, self._uncount, "launch")
        self.bus.subscribe(PredictionDiscarded, self._uncount, "launch")
        self.bus.subscribe(PredictionExpired, self._uncount, "launch")
        self._database = outbox_database(self.bus, settings.state_dir / "outbox.sqlite3")
        self._outbox = Outbox(self._database, self._clock)
        self._edges = contextlib.AsyncExitStack()  # the last one is closed first
        self._edges.push_async_callback(self._database.close)
        self._edges.callback(self._outbox.close)
        self._edges.push_async_callback(self._http.close)
        self._edges.push_async_callback(self._dialer.close)
        self._edges.push_async_callback(self._predictor.close)
        self._begin()
        try:
            await self._database.open()
            await self._outbox.open(self.bus)
            await self._learn_who_is_there()
        except BaseException:
            await self._edges.aclose()
            raise

    def _count(self, event: PredictionMade, _: Envelope) -> None:
        self._unanswered[event.prediction.prediction_id] += 1

    def _uncount(self, event: VerdictReceived | PredictionExpired | PredictionDiscarded, _: Envelope) -> None:
        settled = event.prediction_id if isinstance(event, PredictionDiscarded) else event.prediction.prediction_id
        self._unanswered -= Counter((settled,))
        if not self._unanswered:
            self._all_answered.set()

    async def _stop(self) -> None:
        """No new predictions; then the verdicts that are on their way, then sessions end."""
        try:
            await self._predictor.close()
            self._all_answered.clear()
            if self._unanswered:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FAREWELL_TIMEOUT):
                        await self._all_answered.wait()
        finally:
            self.bus.publish(NeuronStopping(self._reason))
            await self._edges.aclose()


def check(settings: Settings, where: str) -> None:
    """Everything about ``settings`` that can be checked without starting: actors, model, handlers and files.

    Raises:
        ConfigurationError: what is wrong.
    """
    from neurons.edges.game_feed import SHIPPED
    from neurons.edges.game_file import read_games

    build_actors(settings, where)
    load_handlers(settings, where)
    if settings.metagraph.static is not None:
        read_metagraph(settings.metagraph.static)
    now = SystemClock().wall()
    if isinstance(settings, ValidatorSettings):
        read_games(settings.games.path or SHIPPED, now, now)
        if settings.blacklist is not None:
            read_blacklist(settings.blacklist)
    else:
        build_predictor(settings, where)


def build(
    settings: Settings, where: str = "settings", again: Callable[[], Settings] | None = None
) -> Validator | Miner:
    """The neuron that ``settings`` describe."""
    kind = Validator if isinstance(settings, ValidatorSettings) else Miner
    return kind(settings, where, again=again)


def run(settings: Settings, where: str, again: Callable[[], Settings] | None = None) -> int:
    """Run a neuron in this process until it stops; returns the exit code.

    Args:
        settings: of either role.
        where: the file that they come from.
        again: reads them anew, at SIGHUP and when the file changes.

    Raises:
        ConfigurationError: it cannot start.
    """
    import uvloop

    tune_interpreter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(settings, where, again))


def tune_interpreter() -> None:
    """For a process that is a neuron and nothing else."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.freeze()
    gc.set_threshold(COLLECTOR_THRESHOLD)


async def _run(settings: Settings, where: str, again: Callable[[], Settings] | None) -> int:
    return await build(settings, where, again).run()


def lock_state_dir(state_dir: Path) -> int:
    """Hold ``state_dir`` for this process alone; the lock goes with the process, however it ends.

    Raises:
        ConfigurationError: another neuron has it, or it cannot be created.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(f"state_dir {state_dir} cannot be used: {error}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(lock, 32).decode(errors="replace").strip()
        os.close(lock)
        raise ConfigurationError(
            f"state_dir {state_dir} is in use by another neuron (process {owner or 'unknown'}): "
            "stop it, or give this one a state_dir of its own"
        ) from None
    try:
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
    except OSError as error:  # a disk that is full
        os.close(lock)
        raise ConfigurationError(f"state_dir {state_dir} cannot be used: {error}") from None
    return lock
