"""An axon on loopback, with the actors that decide for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from bittensor_core import CRYPTO_SR25519, Keypair

from bettensor.actors.miner.outbox import OutboxActor
from bettensor.actors.miner.synapse import MinerSynapseActor, MinerSynapseActorSettings
from bettensor.actors.settings import MinerSynapseSettings, PortLimits
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.events import MetagraphFetched, MetagraphSynced, NeuronInfo, NeuronStarted
from bettensor.bus.identifiers import Hotkey, Uid
from bettensor.neurons.edges.axon import Axon
from bettensor.neurons.edges.edge import Identity
from bettensor.neurons.edges.keys import Keys
from bettensor.neurons.edges.timers import Timers
from bettensor.neurons.simulation import EventLog, SimulatedOutbox
from tests.dendrite import Dendrite
from tests.support import NETUID, Injected

MINER = Keypair.create_from_uri("//Miner", CRYPTO_SR25519)
VALIDATOR = Keypair.create_from_uri("//Existing", CRYPTO_SR25519)
OTHER = Keypair.create_from_uri("//Another", CRYPTO_SR25519)
ME = Hotkey(MINER.ss58_address)
PATIENCE = 10.0


class AxonBench(EventLog):
    """Model and save are as quick as the test: nothing is asked, and the disk is memory."""

    def __init__(self, limits: PortLimits) -> None:
        super().__init__()
        self.clock = SystemClock()
        self.bus = EventBus(self.clock, record=self.append)
        self.bus.subscribe(Injected, lambda event, _: self.bus.publish(event.decision), "test")
        settings = MinerSynapseActorSettings(
            synapse=MinerSynapseSettings(enabled=True, ip="127.0.0.1", port=0), model_timeout=0.01, request_burst=1000.0
        )
        self.actor = MinerSynapseActor(settings)
        self.store = SimulatedOutbox()
        self.axon = Axon(settings.synapse, limits, Identity("miner", NETUID, ME, "sr25519"), self.clock)
        for part in (self.actor, OutboxActor(), Keys(MINER), Timers(self.clock), self.store, self.axon):
            part.attach(self.bus)
        self.bus.publish(NeuronStarted("miner", NETUID, ME, "sr25519", seed=1))
        keys = (VALIDATOR, MINER, OTHER)
        neurons = tuple(
            NeuronInfo(Uid(i), Hotkey(key.ss58_address), validator_permit=True) for i, key in enumerate(keys)
        )
        self.bus.publish(MetagraphFetched(neurons))
        self.bus.publish(Injected(MetagraphSynced(neurons)))

    def dendrite(self, keypair: Keypair = VALIDATOR) -> Dendrite:
        return Dendrite(keypair, ME, self.axon.port)

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - the record has no event
                await asyncio.sleep(0.005)


@asynccontextmanager
async def running_axon(**limits: Any) -> AsyncIterator[AxonBench]:
    bench = AxonBench(PortLimits(**limits))
    await bench.axon.open()
    try:
        yield bench
    finally:
        await bench.axon.close()
