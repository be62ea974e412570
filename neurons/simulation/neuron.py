"""A whole neuron without an outside world: the actors of a real neuron, and simulated edges."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import Clock, ManualClock
from bettensor.bus.eventlog import Checkpoint, Header
from bettensor.bus.events import (
    BlacklistLoaded,
    GamesFetched,
    MetagraphFetched,
    NeuronDraining,
    NeuronInfo,
    NeuronStarted,
    NeuronStopping,
    PredictionMade,
    Role,
    Scheme,
    SettingsReloaded,
)
from bettensor.bus.games import TeamGame, TeamGamePrediction
from bettensor.bus.identifiers import SECOND, Epoch, Hotkey, Micros, PredictionId
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.composition import build_actors, build_edges
from bettensor.neurons.config.settings import ROLES, MinerSettings, Settings, ValidatorSettings, parse
from bettensor.neurons.edges.edge import Edge, Identity
from bettensor.neurons.edges.writer import FrameWriter
from bettensor.neurons.recordings.recording import log_header, saving, take_checkpoint
from bettensor.neurons.simulation.at_once import at_once
from bettensor.neurons.simulation.event_log import EventLog
from bettensor.neurons.simulation.factories import NETUID, NOW, make_game, make_hotkey, make_prediction
from bettensor.neurons.simulation.game_stream import SimulatedGameStream
from bettensor.neurons.simulation.ledger import SimulatedLedger
from bettensor.neurons.simulation.outbox import SimulatedOutbox
from bettensor.neurons.simulation.timers import SimulatedTimers


class SimulatedNeuron(EventLog):
    """Runs one neuron, and remembers all events on its bus.

    Args:
        name: the name of its hotkey, see ``make_hotkey``.
        clock: shared with the other neurons of its network; by default a new one, which begins at ``NOW``.
        settings: keys of the role's YAML file, for example ``{"actors": {"prediction": {"daily_wager_limit": 10}}}``.
        seed: the seed of its jitter.
        scheme: its hotkey's signature scheme; the network lists it in the metagraph.
        disks: simulated edges of an earlier run, by name, with their contents.
    """

    role: Role

    def __init__(
        self,
        name: str,
        clock: ManualClock | None = None,
        settings: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        scheme: Scheme = "sr25519",
        disks: Mapping[str, Edge] | None = None,
    ) -> None:
        super().__init__()
        document: dict[str, Any] = {"role": self.role, "netuid": NETUID, "state_dir": "state"}
        document |= {"metagraph": {"static": "metagraph.yaml"}, "recorder": {"record": "all"}}
        document |= dict(settings or {})
        self.settings: Settings = parse(ROLES[self.role], document, "settings")
        self.clock = clock or ManualClock(NOW)
        self.hotkey = make_hotkey(name)
        self.identity = Identity(self.role, NETUID, self.hotkey, scheme)
        self.bus = EventBus(self.clock, record=self.append)
        self.actors = build_actors(self.settings)
        given: dict[Any, object] = {Clock: self.clock, ManualClock: self.clock, Identity: self.identity}
        self.edges = build_edges(self.settings, given, simulated=True, instead=disks)
        for subscriber in (*self.actors, *self.edges):
            subscriber.attach(self.bus)
        self.timers = self.edges[SimulatedTimers]
        self.writer = self.edges[FrameWriter]
        self._seed = seed
        self._exchanges = itertools.count(1)

    def start(self, neurons: tuple[NeuronInfo, ...] = ()) -> None:
        """Begin, in a subnet of ``neurons``."""
        self.bus.publish(NeuronStarted(*self.identity, self._seed))
        for edge in self.edges:
            at_once(edge.open())
        self.bus.publish(MetagraphFetched(neurons))

    def stop(self, reason: str = "a test ends") -> None:
        """Stop gracefully."""
        self.bus.publish(NeuronDraining())
        self.bus.publish(NeuronStopping(reason))

    def reload(self, actor: str, **settings: Any) -> None:
        """Replace all settings of one actor."""
        self.bus.publish(SettingsReloaded({actor: settings}, tuple(f"actors.{actor}.{key}" for key in settings), ()))

    def advance(self, seconds: float) -> None:
        """Let time pass; for a neuron in a network, call the network's ``advance`` instead."""
        self.timers.advance(Micros(round(seconds * SECOND)))

    @property
    def header(self) -> Header:
        """The first line of a recording of this neuron."""
        return log_header(self.settings, self.hotkey, self.identity.scheme, self._seed)

    def checkpoint(self) -> Checkpoint:
        """The state of all actors now, from which another recording can begin."""
        return take_checkpoint(self.bus, self.actors)

    def save(self, file: Path) -> None:
        """Write all events as a recording, which tests can replay."""
        with saving(file, self.header) as record:
            for envelope in self.envelopes:
                record(envelope)


class SimulatedValidator(SimulatedNeuron):
    """A validator; ``ledger`` and ``stream`` are its disk, which it shares with the run it is ``restarted`` from."""

    role = "validator"
    settings: ValidatorSettings

    def __init__(
        self,
        name: str = "validator",
        clock: ManualClock | None = None,
        settings: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        scheme: Scheme = "sr25519",
        restarted: "SimulatedValidator | None" = None,
    ) -> None:
        disks = {} if restarted is None else {edge.name: edge for edge in (restarted.ledger, restarted.stream)}
        super().__init__(name, clock, settings, seed=seed, scheme=scheme, disks=disks)
        self.ledger: SimulatedLedger = self.edges[SimulatedLedger]
        self.stream: SimulatedGameStream = self.edges[SimulatedGameStream]

    def offer(self, *games: TeamGame) -> None:
        """Set the feed's slate to ``games``."""
        self.bus.publish(GamesFetched("simulated", games, (), self._epoch()))

    def _epoch(self) -> Epoch:
        """One that no other run and no other validator has: from the time, the hotkey and the number of events.

        The hotkey counts by its difference from the default one, whose epochs stand in recordings.
        """
        difference = crc32(self.hotkey.encode()) ^ crc32(make_hotkey("validator").encode())
        return Epoch(f"{self.clock.mono():016x}{difference:08x}{len(self.envelopes):08x}")

    def blacklist(self, *hotkeys: Hotkey) -> None:
        """Set the blacklist to ``hotkeys``."""
        self.bus.publish(BlacklistLoaded(hotkeys))


class SimulatedMiner(SimulatedNeuron):
    """A miner; ``outbox`` is its disk, which it shares with the run it is ``restarted`` from."""

    role = "miner"
    settings: MinerSettings

    def __init__(
        self,
        name: str = "miner",
        clock: ManualClock | None = None,
        settings: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        scheme: Scheme = "sr25519",
        restarted: "SimulatedMiner | None" = None,
    ) -> None:
        disks = {} if restarted is None else {restarted.outbox.name: restarted.outbox}
        super().__init__(name, clock, settings, seed=seed, scheme=scheme, disks=disks)
        self.outbox: SimulatedOutbox = self.edges[SimulatedOutbox]

    def predict(
        self, prediction_id: str, validator: Hotkey, game: TeamGame | None = None, **changes: Any
    ) -> TeamGamePrediction:
        """Let the model bet on ``game`` now."""
        made = {"prediction_id": PredictionId(prediction_id), "prediction_date": rfc3339(self.clock.wall())}
        prediction = make_prediction(game or make_game(), **(made | changes))
        self.bus.publish(PredictionMade(validator, prediction))
        return prediction
