"""The chain edge, with bittensor's real client on a chain in memory: what is read, kept, missed, and asked for."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import bittensor
import pytest
from bittensor_core import CRYPTO_SR25519, Keypair
from websockets.asyncio.server import ServerConnection, serve
from websockets.protocol import State

from bettensor.actors.metagraph import MetagraphActor, MetagraphSettings
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import Clock, ManualClock, SystemClock
from bettensor.bus.events import (
    Announced,
    AnnounceFailed,
    AnnouncePlanned,
    AnnounceRequested,
    ChainFailed,
    MetagraphDoubted,
    MetagraphFetched,
    MetagraphSynced,
    NeuronInfo,
    SyncRequested,
)
from bettensor.bus.identifiers import SECOND, Hotkey, Micros, Uid
from bettensor.neurons.config.settings import SubtensorSettings
from bettensor.neurons.edges import chain as edge
from bettensor.neurons.edges.chain import Chain, make_client
from bettensor.neurons.edges.edge import StateDir
from bettensor.neurons.simulation import EventLog, SimulatedSubstrate
from tests.neurons.edges.validators import recording_proxy
from tests.support import NETUID, NOW, Injected, make_hotkey, make_identity

KEYPAIR = Keypair.create_from_uri("//Validator", CRYPTO_SR25519)
ME = Hotkey(KEYPAIR.ss58_address)
ALICE = NeuronInfo(Uid(0), make_hotkey("alice"), "5cold", validator_permit=True, stake=1234.5, axon="10.0.0.1:8091")
BOB = NeuronInfo(Uid(1), make_hotkey("bob"), "5cold", axon="[2001:db8::1]:8091")


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BTCLI_CONFIG", str(tmp_path / "bittensor" / "config.json"))
    monkeypatch.setattr(edge, "BLOCK_INTERVAL", 0.01)
    monkeypatch.setattr(edge, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(edge, "ANSWER_TIMEOUT", 0.2)
    monkeypatch.setattr(edge, "CONNECT_TIMEOUT", 0.2)


class Bench(EventLog):
    def __init__(self, folder: Path, network: str = "local") -> None:
        super().__init__()
        self.clock = ManualClock(NOW)
        self.bus = EventBus(self.clock, record=self.append)
        self.bus.subscribe(Injected, lambda event, _: self.bus.publish(event.decision), "test")
        MetagraphActor(MetagraphSettings(early_sync_interval=0.001)).attach(self.bus)
        self.substrate = SimulatedSubstrate(NETUID)
        self.substrate.neurons = [ALICE, BOB]
        self.kept = folder / "metagraph.json"
        self.follow(self.clock, network=network)

    def follow(self, clock: Clock, **settings: Any) -> None:
        """With a chain of its own."""
        chosen = SubtensorSettings(**settings)
        identity, folder = make_identity(), StateDir(self.kept.parent)
        self.chain = Chain(chosen, identity, KEYPAIR, folder, clock, self.connect)
        self.chain.attach(self.bus)

    def connect(self) -> Any:
        return bittensor.Client("local", substrate=self.substrate)  # type: ignore[arg-type]

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - the record has no event
                await asyncio.sleep(0.005)

    def pass_time(self, seconds: float, blocks: int = 1) -> None:
        self.clock.advance(Micros(round(seconds * SECOND)))
        self.substrate.block += blocks


@asynccontextmanager
async def following(folder: Path, **chain: Any) -> AsyncIterator[Bench]:
    bench = Bench(folder)
    for name, value in chain.items():
        setattr(bench.substrate, name, value)
    await bench.chain.open()
    try:
        yield bench
    finally:
        await bench.chain.close()


async def test_the_metagraph_is_read_at_start_and_whenever_it_is_due(tmp_path: Path) -> None:
    async with following(tmp_path) as bench:
        await bench.until(lambda: bench.all(MetagraphSynced))
        synced = bench.last(MetagraphSynced)
        assert synced.neurons == (ALICE, BOB)
        assert (synced.source, synced.block, synced.fetched_at) == ("chain", 1, NOW)
        bench.substrate.neurons = [ALICE, replace(BOB, axon="10.0.0.2:9")]
        bench.pass_time(119)
        await asyncio.sleep(0.05)
        assert len(bench.all(MetagraphSynced)) == 1
        bench.pass_time(2)
        await bench.until(lambda: len(bench.all(MetagraphSynced)) == 2)
        assert bench.last(MetagraphSynced).changed == (BOB.hotkey,)
        assert bench.substrate.connections == 1


async def test_it_is_read_at_once_when_somebody_asks(tmp_path: Path) -> None:
    async with following(tmp_path) as bench:
        await bench.until(lambda: bench.all(MetagraphSynced))
        bench.bus.publish(Injected(SyncRequested("news")))
        await bench.until(lambda: bench.substrate.readings == 2)


async def test_a_subnet_that_is_suddenly_empty_is_read_twice_before_it_is_believed(tmp_path: Path) -> None:
    async with following(tmp_path) as bench:
        await bench.until(lambda: bench.all(MetagraphSynced))
        bench.substrate.neurons = []
        bench.pass_time(121)
        await bench.until(lambda: bench.all(MetagraphDoubted))
        bench.pass_time(121)
        await bench.until(lambda: len(bench.all(MetagraphSynced)) == 2)
        assert bench.last(MetagraphSynced).neurons == ()
        assert len(bench.all(MetagraphFetched)) == 3


async def test_with_the_chain_down_what_was_kept_is_in_force_until_it_is_back(tmp_path: Path) -> None:
    async with following(tmp_path) as bench:
        await bench.until(bench.kept.exists)
    async with following(tmp_path, down="connection refused", neurons=[BOB, ALICE]) as bench:
        await bench.until(lambda: bench.all(ChainFailed))
        kept = bench.last(MetagraphSynced)
        assert (kept.source, kept.neurons, kept.fetched_at, kept.block) == ("disk", (ALICE, BOB), NOW, 1)
        assert "connection refused" in bench.last(ChainFailed).reason
        await bench.until(lambda: len(bench.all(ChainFailed)) >= 3)
        assert [failed.delay for failed in bench.all(ChainFailed)][:3] == [10_000, 20_000, 40_000]
        bench.substrate.down = None
        await bench.until(lambda: bench.last(MetagraphSynced).source == "chain")
        assert [neuron.hotkey for neuron in bench.last(MetagraphSynced).neurons] == [BOB.hotkey, ALICE.hotkey]


async def test_of_several_readings_at_once_the_last_one_is_kept(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for block in range(1, 21):
        bench.bus.publish(Injected(MetagraphSynced((ALICE, BOB), source="chain", block=block)))
    await bench.chain._tasks.settle()  # noqa: SLF001 - all are on the disk
    assert not bench.all(ChainFailed)
    await bench.chain.open()
    await bench.chain.close()
    assert bench.all(MetagraphSynced)[20].block == 20


async def test_what_was_kept_of_another_chain_is_not_used(tmp_path: Path) -> None:
    async with following(tmp_path) as bench:
        await bench.until(bench.kept.exists)
    other = Bench(tmp_path, "finney")
    other.substrate.down = "connection refused"
    await other.chain.open()
    assert other.all(MetagraphFetched) == []
    await other.chain.close()


async def test_a_chain_that_falls_silent_is_left_and_called_again(tmp_path: Path) -> None:
    async with following(tmp_path) as bench:
        await bench.until(lambda: bench.all(MetagraphSynced))
        bench.substrate.silent = True
        await bench.until(lambda: bench.all(ChainFailed))
        assert bench.all(ChainFailed)[0].reason == "no answer about the newest block in 0 s"
        bench.substrate.silent = False
        await bench.until(lambda: len(bench.all(MetagraphSynced)) == 2)
        assert bench.substrate.connections == 2


async def test_a_connection_that_is_given_up_leaves_no_socket_open(tmp_path: Path) -> None:
    """With bittensor's own socket: it closes what fails, and not what is cancelled while it connects."""
    answering = asyncio.Event()
    sockets: list[ServerConnection] = []

    async def serve_late(socket: ServerConnection) -> None:
        sockets.append(socket)
        async for frame in socket:
            await answering.wait()
            failure = {"code": -32603, "message": "no such thing"}
            await socket.send(json.dumps({"jsonrpc": "2.0", "id": json.loads(frame)["id"], "error": failure}))

    bench = Bench(tmp_path)
    async with serve(serve_late, "127.0.0.1", 0) as node:
        port = next(iter(node.sockets)).getsockname()[1]
        bench.connect = lambda: make_client(f"ws://127.0.0.1:{port}")  # type: ignore[method-assign]
        bench.follow(bench.clock, network="local")
        await bench.chain.open()
        await bench.until(lambda: len(bench.all(ChainFailed)) >= 2)
        assert {failed.reason for failed in bench.all(ChainFailed)} == {"no answer about the handshake in 0 s"}
        answering.set()
        await bench.until(lambda: "no such thing" in bench.last(ChainFailed).reason)
        await bench.until(lambda: all(socket.state is State.CLOSED for socket in sockets[:2]))
        await bench.chain.close()


@pytest.mark.parametrize("through", [False, True])
async def test_a_proxy_is_asked_for_the_chain_and_not_for_a_node_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, through: bool
) -> None:
    reached = asyncio.Event()

    async def answer(socket: ServerConnection) -> None:
        reached.set()
        await socket.wait_closed()

    bench = Bench(tmp_path)
    async with recording_proxy(monkeypatch) as asked, serve(answer, "127.0.0.1", 0) as node:
        port = next(iter(node.sockets)).getsockname()[1]
        host = "chain.invalid" if through else "127.0.0.1"
        bench.connect = lambda: make_client(f"ws://{host}:{port}")  # type: ignore[method-assign]
        bench.follow(bench.clock, network="local")
        await bench.chain.open()
        await bench.until(lambda: asked or reached.is_set())
        await bench.chain.close()
    assert asked[:1] == ([f"CONNECT chain.invalid:{port} HTTP/1.1"] if through else [])
    assert reached.is_set() != through


async def test_a_short_sync_interval_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "BLOCK_INTERVAL", 60.0)
    bench = Bench(tmp_path)
    bench.follow(SystemClock(), network="local", sync_interval=0.05)
    await bench.chain.open()
    await bench.until(lambda: bench.substrate.readings == 3)
    await bench.chain.close()


async def test_a_node_that_sees_no_new_block_is_left(tmp_path: Path) -> None:
    async with following(tmp_path) as bench:
        await bench.until(lambda: bench.all(MetagraphSynced))
        bench.pass_time(59, blocks=0)
        await asyncio.sleep(0.05)
        assert bench.all(ChainFailed) == []
        bench.pass_time(2, blocks=0)
        await bench.until(lambda: bench.all(ChainFailed))
        assert bench.last(ChainFailed).reason == "no block after 1 in 61 s"
        await bench.until(lambda: bench.substrate.connections == 2)


async def test_a_subnet_that_does_not_exist_is_named(tmp_path: Path) -> None:
    async with following(tmp_path, netuid=31) as bench:
        await bench.until(lambda: bench.all(ChainFailed))
        assert bench.last(ChainFailed).reason == "there is no subnet 30 on local"


@pytest.mark.parametrize("kept", [b"{", b"\xff", b'{"subnet": 7}'])
async def test_what_was_kept_and_cannot_be_read_is_told_and_replaced(tmp_path: Path, kept: bytes) -> None:
    (tmp_path / "metagraph.json").write_bytes(kept)
    async with following(tmp_path) as bench:
        assert "metagraph.json cannot be read" in bench.last(ChainFailed).reason
        await bench.until(
            lambda: bench.kept.read_bytes().startswith(b'{"subnet":"30 on local","metagraph":{"neurons":[{"uid":0')
        )


async def test_a_disk_that_keeps_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / ".metagraph.json.part").mkdir()
    async with following(tmp_path) as bench:
        await bench.until(lambda: bench.all(ChainFailed))
        assert "the metagraph cannot be kept on disk" in bench.last(ChainFailed).reason
        assert bench.all(MetagraphSynced)


@pytest.mark.parametrize("endpoint", ["10.0.0.9:8091", "[2001:db8::9]:8091"])
async def test_where_it_serves_is_announced_and_the_plan_is_shown(tmp_path: Path, endpoint: str) -> None:
    async with following(tmp_path, neurons=[NeuronInfo(Uid(0), ME)]) as bench:
        await bench.until(lambda: bench.all(MetagraphSynced))
        bench.bus.publish(Injected(AnnounceRequested(endpoint)))
        await bench.until(lambda: bench.all(Announced))
        plan = bench.last(AnnouncePlanned).plan
        assert plan.startswith(f"serve axon {endpoint.rpartition(':')[0].strip('[]')}:8091 on netuid 30; fee ")
        assert bench.substrate.neurons[0].axon == endpoint


async def test_an_announcement_that_is_refused_or_gets_no_answer_is_told(tmp_path: Path) -> None:
    async with following(tmp_path, refusal="ServingRateLimitExceeded") as bench:
        bench.bus.publish(Injected(AnnounceRequested("10.0.0.9:8091")))
        await bench.until(lambda: bench.all(AnnounceFailed))
        assert bench.last(AnnounceFailed) == AnnounceFailed("10.0.0.9:8091", "ServingRateLimitExceeded")
        bench.substrate.silent = True
        bench.bus.publish(Injected(AnnounceRequested("10.0.0.9:8091")))
        await bench.until(lambda: len(bench.all(AnnounceFailed)) == 2)
        assert "no answer about the handshake" in bench.last(AnnounceFailed).reason


async def test_a_client_that_cannot_even_be_made_is_a_failed_announcement(tmp_path: Path) -> None:
    async with following(tmp_path) as bench:
        await bench.until(lambda: bench.all(MetagraphSynced))

        def fail() -> Any:
            raise OSError("too many open files")

        bench.chain._connect = fail  # noqa: SLF001 - as if the system had no more to give
        bench.bus.publish(Injected(AnnounceRequested("10.0.0.9:8091")))
        await bench.until(lambda: bench.all(AnnounceFailed))
        assert "too many open files" in bench.last(AnnounceFailed).reason


def test_a_client_of_a_network_or_of_one_node() -> None:
    assert make_client("test").network == "test"
    assert make_client("ws://127.0.0.1:9944").endpoint == "ws://127.0.0.1:9944"
