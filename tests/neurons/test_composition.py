"""Which edges a neuron has, and what each is given."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bettensor.actors.settings import WebSocketSettings
from bettensor.bus.clock import Clock, ManualClock
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import CommitRequested, NeuronStarted, PredictionAccepted
from bettensor.neurons.composition import ACTORS, EDGES, Edges, build_edges, edge_parts
from bettensor.neurons.config.settings import ROLES, Settings, parse
from bettensor.neurons.edges.edge import Edge, Identity, Records, Signer, Store, on
from bettensor.neurons.simulation import (
    NOW,
    SimulatedKeys,
    SimulatedLedger,
    SimulatedNetwork,
    SimulatedValidator,
)
from tests.loopback.rig import running_validator
from tests.support import make_identity, make_prediction

HERE = "tests.neurons.test_composition"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSettings:
    """Keys of an edge of an operator's own."""

    title: str
    lines: int = 10


class Journal(Edge):
    """An edge that is added: it has keys of its own, and asks for parts and sections by their types."""

    name = "journal"
    Settings = JournalSettings

    def __init__(
        self,
        settings: JournalSettings,
        websocket: WebSocketSettings,
        clock: Clock | None,
        signer: Signer | None = None,
        missing: int = 7,
        records: Records | None = None,
    ) -> None:
        self.settings = settings
        self.websocket = websocket
        self.clock = clock
        self.signer = signer
        self.missing = missing
        self.records = records
        self.steps: list[str] = []

    async def open(self) -> None:
        self.steps.append("open")

    async def pause(self) -> None:
        self.steps.append("pause")

    async def settle(self) -> None:
        self.steps.append("settle")

    async def close(self) -> None:
        self.steps.append("close")

    @on(PredictionAccepted)
    def note(self, event: PredictionAccepted, _: Envelope) -> None:
        self.steps.append(event.prediction.prediction_id)


class ForgetfulLedger(SimulatedLedger):
    """An edge that replaces one of ours."""

    @on(CommitRequested)
    def commit(self, event: CommitRequested, envelope: Envelope) -> None:
        super().commit(event, envelope)
        self.rows.clear()


class Needy(Edge):
    """Asks for what no neuron has."""

    name = "needy"

    def __init__(self, wish: asyncio.Queue[int]) -> None:
        self.wish = wish


class Slow(Edge):
    """Waits when it is opened."""

    name = "slow"

    async def open(self) -> None:
        await asyncio.sleep(0)


class AnActorsName(Edge):
    """Has the name of an actor."""

    name = "prediction"


def settings(role: str = "validator", **changes: Any) -> Settings:
    document = {"role": role, "netuid": 30, "state_dir": "s", "metagraph": {"static": "m.yaml"}}
    return parse(ROLES[role], document | changes, "settings")


def simulated(**changes: Any) -> Edges:
    clock = ManualClock(NOW)
    given: dict[Any, object] = {Clock: clock, ManualClock: clock, Identity: make_identity()}
    return build_edges(settings(**changes), given, "v.yaml", simulated=True)


@pytest.mark.parametrize("role", ["validator", "miner"])
def test_no_edge_has_the_name_of_an_actor_and_none_stands_twice(role: Any) -> None:
    names = [place.name for place in EDGES[role]]
    assert len(names) == len(set(names))
    assert not set(names) & {actor.name for actor in ACTORS[role]}


@pytest.mark.parametrize("role", ["validator", "miner"])
def test_each_place_names_classes_that_are_called_as_it_is(role: Any) -> None:
    from importlib import import_module

    for place in EDGES[role]:
        for named in filter(None, (place.real, place.simulated)):
            module, _, cls = named.partition(":")
            assert getattr(import_module(f"bettensor.neurons.{module}"), cls).name == place.name


def test_simulated_edges_are_found_by_what_they_are_and_what_they_keep() -> None:
    edges = simulated()
    assert isinstance(edges[Signer], SimulatedKeys)
    assert edges[Signer] is edges[SimulatedKeys]
    assert edges.get(Store) is None
    with pytest.raises(KeyError, match="this neuron has no Store"):
        edges[Store]


def test_an_edge_of_ones_own_has_its_keys_and_what_it_asks_for_before_the_last_of_ours() -> None:
    journal = {"class": f"{HERE}:Journal", "title": "Bets"}
    edges = simulated(edges={"journal": journal}, websocket={"send_timeout": 3.0})
    made = edges[Journal]
    assert (made.settings.title, made.settings.lines, made.missing) == ("Bets", 10, 7)
    assert made.websocket.send_timeout == 3.0
    assert made.signer is edges[SimulatedKeys]  # it may be missing, and is not
    assert isinstance(made.clock, ManualClock)
    assert made.records is None
    names = [place.name for place in EDGES["validator"]]
    assert names[-1] == "listener"
    assert [edge.name for edge in edges][-1] == "journal"  # a simulated neuron has no listener


def test_an_edge_of_ones_own_takes_the_place_of_ours() -> None:
    network = SimulatedNetwork()
    forgetful = {"edges": {"ledger": {"class": f"{HERE}:ForgetfulLedger"}}}
    validator = SimulatedValidator(clock=network.clock, settings=forgetful)
    network.add(validator)
    assert isinstance(validator.ledger, ForgetfulLedger)
    assert validator.last(NeuronStarted).role == "validator"


async def test_it_is_opened_paused_settled_and_closed_in_a_real_neuron(tmp_path: Path) -> None:
    own = {"journal": {"class": f"{HERE}:Journal", "title": "Bets"}}
    async with running_validator(tmp_path, edges=own) as rig, rig.client() as client:
        journal = rig.validator.edges[Journal]
        (accepted,) = (await client.predict(make_prediction(rig.game())))["results"]
        assert accepted["success"]
        names = [edge.name for edge in rig.validator.edges]
        assert names.index("journal") == names.index("listener") - 1
    assert journal.steps == ["open", accepted["prediction_id"], "pause", "settle", "close"]


def test_an_edge_of_a_simulated_neuron_that_waits_when_it_is_opened_is_refused() -> None:
    network = SimulatedNetwork()
    slow = {"edges": {"slow": {"class": f"{HERE}:Slow"}}}
    validator = SimulatedValidator(clock=network.clock, settings=slow)
    with pytest.raises(RuntimeError, match="must not"):
        validator.start()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no such edge": ({"legder": {}}, "v.yaml: edges.legder: there is no such edge; the nearest is 'ledger'"),
    "no class": ({"ledger": {"class": f"{HERE}:JournalSettings"}}, "is not a subclass of bettensor.edges.Edge"),
    "another name": ({"diary": {"class": f"{HERE}:Journal"}}, "must have name = 'diary' like its key"),
    "an actor's name": ({"prediction": {"class": f"{HERE}:AnActorsName"}}, "'prediction' is the name of an actor"),
    "a missing key": ({"journal": {"class": f"{HERE}:Journal"}}, "v.yaml: edges.journal.title: this key is required"),
    "a wrong key": (
        {"journal": {"class": f"{HERE}:Journal", "titel": "x"}},
        "edges.journal.titel: there is no such key; the nearest is 'title'",
    ),
    "a key of one of ours": ({"ledger": {"path": "x"}}, "edges.ledger.path: there is no such key"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_with_an_edge_is_told_before_anything_starts(fault: str) -> None:
    edges, message = WRONG[fault]
    with pytest.raises(ConfigurationError) as refused:
        edge_parts(settings(edges=edges), "v.yaml")
    assert message in str(refused.value)
    with pytest.raises(ConfigurationError):
        simulated(edges=edges)


def test_an_edge_that_asks_for_what_there_is_not_is_told_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match=r"edges\.needy: Needy asks for wish: .*there are .*Clock.*Identity"):
        simulated(edges={"needy": {"class": f"{HERE}:Needy"}})
