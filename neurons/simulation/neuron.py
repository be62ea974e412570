"""A whole neuron without a world: all its actors as a real one has them, and edges that are simulated."""

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
from bettensor.neurons.config.settings import ROLES, Settings, parse
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
    """One neuron, and a memory of all that happened on its bus.

    Args:
        name: of its hotkey, see ``make_hotkey``.
        clock: shared with the other neurons of its network; by default one of its own, which begins at ``NOW``.
        settings: keys of the role's YAML file, for example ``{"actors": {"prediction": {"daily_wager_limit": 10}}}``.
        seed: of its jitter.
        scheme: of its hotkey; the network lists it in the metagraph.
        disks: simulated edges of an earlier run, by name, with what they hold.
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
        """In good order."""
        self.bus.publish(NeuronDraining())
        self.bus.publish(NeuronStopping(reason))

    def reload(self, actor: str, **settings: Any) -> None:
        """New settings for one actor, all of them."""
        self.bus.publish(SettingsReloaded({actor: settings}, tuple(f"actors.{actor}.{key}" for key in settings), ()))

    def advance(self, seconds: float) -> None:
        """Let time pass; a neuron of a network is advanced with its network."""
        self.timers.advance(Micros(round(seconds * SECOND)))

    @property
    def header(self) -> Header:
        """What a recording of this neuron begins with."""
        return log_header(self.settings, self.hotkey, self.identity.scheme, self._seed)

    def checkpoint(self) -> Checkpoint:
        """All actors as they are now: where another recording can begin."""
        return take_checkpoint(self.bus, self.actors)

    def save(self, file: Path) -> None:
        """Write all that happened as a recording, for tests to replay."""
        with saving(file, self.header) as record:
            for envelope in self.envelopes:
                record(envelope)


class SimulatedValidator(SimulatedNeuron):
    """A validator; ``ledger`` and ``stream`` are its disk, which it shares with whom it is ``restarted`` from."""

    role = "validator"

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
        """The feed gives this slate, and no other game."""
        self.bus.publish(GamesFetched("simulated", games, (), self._epoch()))

    def _epoch(self) -> Epoch:
        """One that no other run and no other validator has: from the time, the hotkey and the number of events.

        The hotkey counts by its difference from the default one, whose epochs stand in recordings.
        """
        difference = crc32(self.hotkey.encode()) ^ crc32(make_hotkey("validator").encode())
        return Epoch(f"{self.clock.mono():016x}{difference:08x}{len(self.envelopes):08x}")

    def blacklist(self, *hotkeys: Hotkey) -> None:
        """These may not speak to it, and no others."""
        self.bus.publish(BlacklistLoaded(hotkeys))


class SimulatedMiner(SimulatedNeuron):
    """A miner; ``outbox`` is its disk, which it shares with whom it is ``restarted`` from."""

    role = "miner"

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
        """The model bets on ``game``, now."""
        made = {"prediction_id": PredictionId(prediction_id), "prediction_date": rfc3339(self.clock.wall())}
        prediction = make_prediction(game or make_game(), **(made | changes))
        self.bus.publish(PredictionMade(validator, prediction))
        return prediction
