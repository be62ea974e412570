"""MinerAnnounceActor: a miner is found where it answers existing validators; a miner that answers none says nothing."""

from typing import Any

import pytest

from bettensor.actors.miner.announce import MinerAnnounceActor, MinerAnnounceSettings
from bettensor.actors.settings import MinerSynapseSettings
from bettensor.bus.events import (
    AnnounceRequested,
    EndpointDoubted,
    MetagraphSource,
    MetagraphSynced,
    NeuronInfo,
    NeuronStarted,
)
from bettensor.bus.identifiers import Uid
from tests.support import NETUID, Harness, make_hotkey

ME = make_hotkey("me")


class Bench(Harness):
    def __init__(self, **synapse: Any) -> None:
        given: dict[str, Any] = {"enabled": True, "port": 12345} | synapse
        super().__init__(MinerAnnounceActor(MinerAnnounceSettings(synapse=MinerSynapseSettings(**given))))
        self.observe(NeuronStarted("miner", NETUID, ME, "sr25519", 0))

    def sync(self, axon: str | None, source: MetagraphSource = "chain") -> None:
        self.observe(MetagraphSynced((NeuronInfo(Uid(0), ME, axon=axon),), (), source))

    def announced(self) -> list[str]:
        return [event.endpoint for event in self.all(AnnounceRequested)]

    def doubts(self) -> list[str]:
        return [event.reason for event in self.all(EndpointDoubted)]


@pytest.mark.parametrize(
    ("settings", "endpoint"),
    [
        ({}, "203.0.113.7:12345"),
        ({"external_port": 443}, "203.0.113.7:443"),
        ({"serve": False}, None),
        ({"external_ip": None}, None),
        ({"enabled": False}, None),
    ],
)
def test_what_is_announced(settings: dict[str, object], endpoint: str | None) -> None:
    bench = Bench(**{"external_ip": "203.0.113.7"} | settings)
    bench.sync(None)
    assert bench.announced() == ([] if endpoint is None else [endpoint])


def test_a_wrong_port_is_told_and_so_is_that_nobody_finds_it() -> None:
    bench = Bench()
    for axon in (None, "203.0.113.7:8091", "203.0.113.7:12345"):
        bench.sync(axon)
    nowhere, wrong, right = bench.doubts()
    assert nowhere == "no existing validator asks this miner: the metagraph does not say where it is"
    assert wrong.startswith("existing validators ask at 203.0.113.7:8091, as the metagraph says, but this miner's ")
    assert wrong.endswith("Synapse port is 12345")
    assert right == ""


@pytest.mark.parametrize("source", ["chain", "file"])
def test_a_miner_without_synapse_has_no_endpoint_to_doubt(source: MetagraphSource) -> None:
    bench = Bench(enabled=False)
    bench.sync(None, source)
    bench.sync("203.0.113.7:1", source)
    assert bench.doubts() == []
