"""A neuron: one validator or miner, from its start to its end."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from secrets import randbits
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import Clock, SystemClock
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.eventlog import Checkpoint, Header
from bettensor.bus.events import (
    NeuronFailed,
    NeuronStarted,
    NeuronStopped,
    NeuronStopping,
    Observed,
    ReloadFailed,
    SettingsReloaded,
    StateDirTightened,
)
from bettensor.bus.identifiers import Hotkey
from bettensor.neurons.composition import build_actors, build_edges, load_handlers, role_of
from bettensor.neurons.config.faults import Faults
from bettensor.neurons.config.plugins import import_messages
from bettensor.neurons.config.reload import changes, new_actor_settings
from bettensor.neurons.config.rules import conflicts
from bettensor.neurons.config.settings import MinerSettings, Settings, ValidatorSettings
from bettensor.neurons.config.sources import Sources, Where
from bettensor.neurons.edges.edge import Identity, Isolates, LogSource, Records, StateDir, Stoppable
from bettensor.neurons.edges.keys import Keypair, scheme_of
from bettensor.neurons.edges.log import set_log_level
from bettensor.neurons.edges.static_files import StaticFiles, files_of
from bettensor.neurons.edges.tasks import Tasks
from bettensor.neurons.edges.traffic import TrafficLines
from bettensor.neurons.edges.wallets import load_hotkey
from bettensor.neurons.edges.watches import SETTLE, watched_changes
from bettensor.neurons.recordings.recording import log_header, take_checkpoint
from bettensor.neurons.state_dir import lock_state_dir, secure_state_dir
from bettensor.neurons.system.files import Sight, look_at
from bettensor.neurons.system.terminals import has_terminal

if TYPE_CHECKING:
    from bettensor.neurons.edges.metrics import Metrics


class Neuron(LogSource, Stoppable):
    """Runs one validator or miner, from its configuration to its end.

    ``async with`` starts and stops it; ``run`` also obeys signals. Cancelling either stops the neuron at once:
    confirmed verdicts are on disk, and other predictions have no verdict.
    """

    bus_class: ClassVar[type[EventBus]] = EventBus
    patience: float
    """Seconds for answering the work that was taken in, when the neuron stops."""
    settle: float = SETTLE
    """Seconds for which changed files must stay as they are before they are read."""

    def __init__(
        self,
        settings: Settings,
        where: Where = "settings",
        *,
        record: Callable[[Envelope], None] | None = None,
        again: Callable[[], Settings] | None = None,
    ) -> None:
        """
        Args:
            settings: of either role.
            where: where the settings come from, for messages; if that is a file, it is watched.
            record: called with each envelope before it is delivered.
            again: reads the settings again, from the same sources, for ``reload``; None if they cannot change.

        Raises:
            ConfigurationError: a part cannot be built, read or loaded.
        """
        Faults(fault.told(where) for fault in conflicts(settings, where)).tell()
        self.settings = settings
        self._settings_at_start = settings
        self._where = where
        self._again = again
        self._seed = randbits(64)
        self._stopped = asyncio.Event()
        self._owns_process = False
        self._failure: str | None = None
        self._reason = "the program that runs it ended"
        wallet = settings.wallet
        keypair = load_hotkey(wallet.name, wallet.hotkey, str(wallet.path))
        self._identity = Identity(role_of(settings), settings.netuid, Hotkey(keypair.ss58_address), scheme_of(keypair))
        clock = SystemClock()
        import_messages()
        self._actors = build_actors(settings, where)
        self.edges = build_edges(settings, self._gives(clock, keypair), where)
        recorder = self.edges.get(Records)
        self.bus = self.bus_class(
            clock,
            record=_both(None if recorder is None else recorder.record, record),
            isolate=self.edges[Isolates].isolate,
        )
        for subscriber in (*self._actors, *self.edges):
            subscriber.attach(self.bus)
        for topic, handler in load_handlers(settings, where):
            self.bus.on(topic, handler)
        self.bus.subscribe(NeuronFailed, self._fail, "neuron")
        self._watching = Tasks(self.bus, "neuron")
        self._reloading = asyncio.Lock()

    def _gives(self, clock: Clock, keypair: Keypair) -> dict[Any, object]:
        """The objects that edges may ask for, by type, besides sections of the settings and other edges."""
        return {
            Clock: clock,
            Identity: self._identity,
            Keypair: keypair,
            LogSource: self,
            StateDir: StateDir(self.settings.state_dir),
            Stoppable: self,
        }

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as opened:  # closes the last edge first, also if one cannot be opened
            tightened = secure_state_dir(self.settings.state_dir)
            opened.callback(os.close, lock_state_dir(self.settings.state_dir))
            seen = look_at(self._files())
            self.bus.publish(NeuronStarted(*self._identity, self._seed))
            if tightened:
                self.bus.publish(StateDirTightened(tightened))
            for edge in self.edges:
                opened.push_async_callback(edge.close)
                await edge.open()
            opened.push_async_callback(self._watching.cancel)
            self._watching.start(self._watch(seen), "configuration")
            self._opened = opened.pop_all()
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        try:
            async with self._opened:
                await self._stop()
        finally:
            self.bus.publish(NeuronStopped(self._reason))

    async def _stop(self) -> None:
        """Take in nothing new; answer the rest, from the public port to the disk; then end the sessions."""
        try:
            async with asyncio.timeout(self.patience):
                await self._watching.cancel()
                for edge in reversed(self.edges):
                    await edge.pause()
                for edge in reversed(self.edges):
                    await edge.settle()
        except TimeoutError:
            pass  # unanswered predictions have no verdict, and miners will ask again
        finally:
            self.bus.publish(NeuronStopping(self._reason))

    @property
    def hotkey(self) -> Hotkey:
        """The neuron's own hotkey."""
        return self._identity.hotkey

    @property
    def metrics(self) -> "Metrics | None":
        """Its metrics; None if they are disabled."""
        from bettensor.neurons.edges.metrics import Metrics

        return self.edges.get(Metrics)

    def request_stop(self, reason: str) -> None:
        """Stop soon, gracefully."""
        self._reason = reason
        self._stopped.set()

    def log_header(self, previous: str) -> Header:
        """The first line of a file of the recorded log."""
        return log_header(self.settings, self._identity.hotkey, self._identity.scheme, self._seed, previous)

    def checkpoint(self) -> Checkpoint:
        """The state of all actors, between two drains."""
        return take_checkpoint(self.bus, self._actors)

    async def run(self) -> int:
        """Start, work until SIGTERM, SIGINT, ``request_stop`` or a failure, and stop; returns the exit code.

        A second signal ends the process at once. SIGHUP is ``reload`` of a service. On a terminal it says that the
        terminal is closed, and so it stops the neuron; nohup has the process ignore it.
        """
        self._owns_process = True
        set_log_level(self.settings.logging.level)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, self._lose_terminal if has_terminal() else self._reload_soon)
        async with self:
            await self._stopped.wait()
        return 0 if self._failure is None else 1

    async def reload(self) -> None:
        """Read configuration, blacklist and metagraph again, and take the keys that can change in a running neuron.

        Sessions go on while the files are read. A file that cannot be read changes nothing; an event and a log line
        report it.
        """
        async with self._reloading:
            await self._reload()

    def _reload_soon(self) -> None:
        self._watching.start(self.reload(), "reload")

    async def _reload(self) -> None:
        static_files = self.edges[StaticFiles]
        try:
            new, files = await asyncio.to_thread(self._read_again)
            actors = {actor.name: actor.settings for actor in build_actors(self._reloadable(new), self._where)}
        except ConfigurationError as error:
            self.bus.publish(ReloadFailed(str(error)))
            return
        taken, _ = changes(self.settings, new)
        _, waiting = changes(self._settings_at_start, new)
        settings = {actor.name: actor.settings for actor in self._actors}
        self.bus.publish(SettingsReloaded(new_actor_settings(settings, actors), tuple(taken), tuple(waiting)))
        static_files.take(files)
        if "logging.level" in taken:
            self._take_log_level(new.logging.level)
        self.settings = new

    def _read_again(self) -> tuple[Settings, tuple[Observed, ...]]:
        """The present settings, and the contents of the files that they name."""
        new = self.settings if self._again is None else self._again()
        return new, self.edges[StaticFiles].read(new)

    def _take_log_level(self, level: str) -> None:
        if self._owns_process:
            set_log_level(level)
        traffic = self.edges.get(TrafficLines)
        if traffic is not None:
            traffic.take(level)

    async def _watch(self, seen: Sight) -> None:
        async for _ in watched_changes(self.bus, self._files, seen, settle=self.settle):
            await self.reload()

    def _reloadable(self, new: Settings) -> Settings:
        """``new``, but with the values from the start for keys that actors know and cannot change."""
        start = self._settings_at_start
        if isinstance(new, MinerSettings) and isinstance(start, MinerSettings):
            return replace(new, validators=start.validators, synapse=start.synapse)
        if isinstance(new, ValidatorSettings) and isinstance(start, ValidatorSettings):
            asking = new.synapse
            synapse = replace(start.synapse, query_interval=asking.query_interval, concurrency=asking.concurrency)
            return replace(new, axon=start.axon, synapse=synapse)
        return new

    def _files(self) -> list[Path]:
        """The watched files."""
        own = self._where.file if isinstance(self._where, Sources) else Path(self._where)
        files = (*files_of(self.settings), own if own is not None and own.exists() else None)
        return [file for file in files if file is not None]

    def _signalled(self, number: signal.Signals) -> None:
        if self._stopped.is_set():
            os._exit(1)
        self.request_stop(number.name)

    def _lose_terminal(self) -> None:
        """Stop, once: shell and kernel may both send the signal."""
        if not self._stopped.is_set():
            self.request_stop("the terminal was closed")

    def _fail(self, event: NeuronFailed, _: Envelope) -> None:
        self._failure = event.reason
        self.request_stop("a failure that cannot be repaired")


Record = Callable[[Envelope], None]


def _both(first: Record | None, second: Record | None) -> Record | None:
    """One function that calls both, of those that are not None."""
    if first is None or second is None:
        return first or second

    def both(envelope: Envelope) -> None:
        first(envelope)
        second(envelope)

    return both
