"""A neuron: one validator or miner, from its configuration to its end."""

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from secrets import randbits
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import Clock, SystemClock
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.eventlog import Header
from bettensor.bus.events import (
    LineLogged,
    NeuronFailed,
    NeuronStarted,
    Observed,
    ReloadFailed,
    SettingsReloaded,
)
from bettensor.bus.identifiers import Hotkey
from bettensor.neurons.composition import build_actors, load_handlers, role_of
from bettensor.neurons.config.reload import changes, new_actor_settings
from bettensor.neurons.config.settings import MinerSettings, Settings, ValidatorSettings
from bettensor.neurons.edges.control import Control
from bettensor.neurons.edges.handlers import UserHandlers
from bettensor.neurons.edges.keys import Keys, load_hotkey
from bettensor.neurons.edges.log import LogLines, set_log_level
from bettensor.neurons.edges.static_files import read_blacklist, read_metagraph
from bettensor.neurons.edges.tasks import Tasks
from bettensor.neurons.edges.timers import Timers
from bettensor.neurons.edges.writer import FrameWriter
from bettensor.neurons.recordings.recording import log_header, take_checkpoint
from bettensor.neurons.system.files import Sight, changes_of, look_at

if TYPE_CHECKING:
    from bettensor.neurons.edges.chain import Chain
    from bettensor.neurons.edges.metrics import Metrics
    from bettensor.neurons.edges.recorder import Recorder


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
            from bettensor.neurons.edges.chain import Chain, make_client

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
        self.request_stop("after a failure that cannot be repaired")

    def _serve_metrics(self) -> None:
        settings = self.settings.metrics
        if settings.enabled:
            from bettensor.neurons.edges.metrics import Metrics

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
        from bettensor.neurons.edges.recorder import Recorder, RecorderLimits

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
            "stop it, or set another state_dir for this one"
        ) from None
    try:
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
    except OSError as error:  # a disk that is full
        os.close(lock)
        raise ConfigurationError(f"state_dir {state_dir} cannot be used: {error}") from None
    return lock
