"""Reads the metagraph from the chain, announces the neuron's endpoint, and keeps the last good metagraph on disk.

bittensor's own client does the reading. This module adds what a neuron needs to run for months: a deadline for each
answer, and a watch on new blocks, because a half-open socket never reports its own end. Trouble with the chain is
published, and never stops the traffic between neurons.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from bettensor.bus.backoff import backoff
from bettensor.bus.clock import Clock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    Announced,
    AnnounceFailed,
    AnnouncePlanned,
    AnnounceRequested,
    ChainFailed,
    MetagraphFetched,
    MetagraphSynced,
    NeuronInfo,
    SettingsReloaded,
    SyncRequested,
)
from bettensor.bus.identifiers import SECOND, Hotkey, Micros, Netuid, Uid
from bettensor.bus.redaction import without_keys
from bettensor.neurons.config.settings import SubtensorSettings
from bettensor.neurons.edges.edge import Edge, Identity, StateDir, on
from bettensor.neurons.edges.kept_metagraph import KEPT, KeptMetagraph, read_kept
from bettensor.neurons.edges.keys import Keypair
from bettensor.neurons.system.files import PRIVATE, replace
from bettensor.neurons.system.proxies import spare_loopback

CONNECT_TIMEOUT: Final = 60.0
"""Seconds for the first answers, which may include the chain's metadata, some megabytes."""
ANSWER_TIMEOUT: Final = 20.0
"""Seconds for one answer of the chain; a metagraph of 256 neurons has about 200 KB."""
BLOCK_INTERVAL: Final = 12.0
"""Seconds between two readings of the newest block: the chain makes a block about that often."""
BLOCK_PATIENCE: Final = 60.0
"""Seconds without a new block, after which the socket is replaced."""
FIRST_DELAY: Final = 2.0
"""Seconds until the next attempt after a failure; doubled each time, up to the sync interval."""
CLOSE_TIMEOUT: Final = 5.0
INCLUSION_TIMEOUT: Final = 120.0
"""Seconds until a block must include an announcement."""

RAO: Final = 1_000_000_000
"""The smallest unit of a stake."""

Connect = Callable[[], Any]
"""Makes a ``bittensor.Client`` that is not connected yet."""


def make_client(chosen: str) -> Any:
    """bittensor's client, not connected yet. It connects through the proxy that the environment names, if there is one,
    but never to a node on this machine: for this, its host is added to the variable ``no_proxy`` of this process.

    Args:
        chosen: the name of a network, or the ``ws://`` URL of the only node to use.
    """
    from bittensor import Client

    client = Client(chosen, fallback_endpoints=[] if "://" in chosen else None)
    spare_loopback(client.endpoint)
    return client


class ChainTrouble(Exception):
    """The chain gives no answer, or a wrong one."""


class Chain(Edge):
    """Follows one subnet: reads its metagraph, and announces this neuron's endpoint."""

    name = "chain"

    def __init__(
        self,
        settings: SubtensorSettings,
        identity: Identity,
        keypair: Keypair,
        state_dir: StateDir,
        clock: Clock,
        connect: Connect | None = None,
    ) -> None:
        """
        Args:
            settings: the chain, and the interval of readings.
            identity: the neuron's subnet; a stored metagraph of another subnet or chain is not used.
            keypair: the neuron's hotkey, which signs announcements.
            state_dir: the folder of ``metagraph.json``, the last good metagraph.
            clock: the neuron's.
            connect: makes a new client for each connection; by default bittensor's.
        """
        network = settings.chosen
        self._connect = connect or (lambda: make_client(network))
        self._netuid = identity.netuid
        self._subnet = f"{identity.netuid} on {network}"
        self._sync_interval = settings.sync_interval
        self._keypair = keypair
        self._kept = state_dir / KEPT
        self._clock = clock
        self._wanted = asyncio.Event()
        self._failures = 0
        self._keeping = asyncio.Lock()

    async def open(self) -> None:
        """Publish the stored metagraph, and follow the chain from now on."""
        logging.getLogger("asyncio").addFilter(_is_news)
        remembered = self._read_kept()
        if remembered is not None:
            self._bus.publish(remembered)
        self._tasks.start(self._run(), "chain")

    async def pause(self) -> None:
        """Stop reading."""
        await self._tasks.cancel()

    async def close(self) -> None:
        """Stop reading, if the neuron was closed before it was paused."""
        await self._tasks.cancel()

    # --- requests of actors

    @on(SyncRequested, SettingsReloaded)
    def hurry(self, _: SyncRequested | SettingsReloaded, __: Envelope) -> None:
        self._wanted.set()

    @on(MetagraphSynced)
    def keep(self, event: MetagraphSynced, _: Envelope) -> None:
        if event.source == "chain":
            fetched = MetagraphFetched(event.neurons, "disk", event.block, event.fetched_at)
            self._tasks.start(
                self._write_kept(msgspec.json.encode(KeptMetagraph(self._subnet, fetched))), "metagraph on disk"
            )

    @on(AnnounceRequested)
    def announce(self, event: AnnounceRequested, _: Envelope) -> None:
        self._tasks.start(self._serve_axon(event.endpoint), "announcement")

    # --- writing to the chain

    async def _serve_axon(self, endpoint: str) -> None:
        """Answered by ``Announced`` or ``AnnounceFailed``."""
        try:
            refusal = await self._write_axon(endpoint)
        except Exception as error:  # noqa: BLE001 - as above all errors of the chain
            refusal = _reason(error)
        self._bus.publish(Announced(endpoint) if refusal is None else AnnounceFailed(endpoint, refusal))

    async def _write_axon(self, endpoint: str) -> str | None:
        """Announce over a separate connection: an answer that waits for a block must not hold up readings.

        Returns:
            The chain's reason for a rejection; None if it accepts the announcement.
        """
        client = self._connect()
        try:
            await self._open(client)
            intent = _serve_axon(self._netuid, endpoint)
            plan = await _answer(client.plan(intent, self._keypair), "the cost of announcing")
            fee = [] if plan.fee is None else [f"fee {plan.fee}"]  # if the fee is unknown, a warning gives the reason
            said = dict.fromkeys([plan.summary, *fee, *plan.effects, *plan.warnings])
            self._bus.publish(AnnouncePlanned(endpoint, "; ".join(said)))
            async with asyncio.timeout(INCLUSION_TIMEOUT):
                result = await client.execute(intent, self._keypair, wait_for_finalization=False)
            return None if result.success else str(result.message or result.error)
        finally:
            await _leave(client)

    # --- reading

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except Exception as error:  # noqa: BLE001 - bittensor raises errors of five libraries; none ends the neuron
                delay = backoff(FIRST_DELAY, self._sync_interval, self._failures)
                self._failures += 1
                self._bus.publish(ChainFailed(_reason(error), Micros(round(delay * SECOND))))
                await asyncio.sleep(delay)

    async def _follow(self) -> None:
        """Follow the chain over one connection until it fails.

        Raises:
            ChainTrouble: no answer in time, no new block, or no such subnet. bittensor may raise others.
        """
        client = self._connect()
        try:
            await self._open(client)
            newest, seen_at, due_at = -1, self._clock.mono(), self._clock.mono()
            while True:
                block = await _answer(client.block(), "the newest block")
                now = self._clock.mono()
                if block > newest:
                    newest, seen_at = block, now
                elif now - seen_at > BLOCK_PATIENCE * SECOND:
                    raise ChainTrouble(f"no block after {newest} in {(now - seen_at) / SECOND:.0f} s")
                if now >= due_at or self._wanted.is_set():
                    self._wanted.clear()
                    await self._read(client)
                    due_at = Micros(now + round(self._sync_interval * SECOND))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(BLOCK_INTERVAL, (due_at - now) / SECOND)):
                        await self._wanted.wait()
        finally:
            await _leave(client)

    async def _open(self, client: Any) -> None:
        """Connect. A slow attempt is given up, but not cancelled: bittensor would leave its socket open."""
        connecting = asyncio.ensure_future(client.connect())
        try:
            done, _ = await asyncio.wait([connecting], timeout=CONNECT_TIMEOUT)
        except asyncio.CancelledError:
            connecting.cancel()
            raise
        if not done:
            self._tasks.start(_give_up(client, connecting), "a connection that was given up")
            raise ChainTrouble(f"no answer about the handshake in {CONNECT_TIMEOUT:.0f} s")
        connecting.result()

    async def _read(self, client: Any) -> None:
        metagraph = await _answer(client.subnets.metagraph(self._netuid, commitments=False), "the metagraph")
        if metagraph is None:
            raise ChainTrouble(f"there is no subnet {self._netuid} on {client.network}")
        self._failures = 0
        neurons = tuple(neurons_of(metagraph))
        self._bus.publish(MetagraphFetched(neurons, "chain", metagraph.block, self._clock.wall()))

    # --- the disk

    def _read_kept(self) -> MetagraphFetched | None:
        try:
            kept = read_kept(self._kept)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, RecursionError, ValueError) as error:
            self._bus.publish(ChainFailed(f"the metagraph kept in {self._kept} cannot be read: {error}", Micros(0)))
            return None
        return kept.metagraph if kept.subnet == self._subnet else None

    async def _write_kept(self, data: bytes) -> None:
        try:
            async with self._keeping:  # one at a time: all writers share the temporary file
                await asyncio.to_thread(replace, self._kept, data, durable=True, mode=PRIVATE)
        except OSError as error:
            self._bus.publish(ChainFailed(f"the metagraph cannot be kept on disk: {error}", Micros(0)))


def _is_news(record: logging.LogRecord) -> bool:
    """Filter out the warning about a session task that bittensor forgets: its error was raised, and is in the log."""
    return "name='rpc-session'" not in record.getMessage()


def neurons_of(metagraph: Any) -> Iterator[NeuronInfo]:
    """The rows of bittensor's ``Metagraph``, with the fields that Bettensor uses."""
    for row in metagraph.neurons:
        stake = row.total_stake.rao / RAO
        yield NeuronInfo(Uid(row.uid), Hotkey(row.hotkey), row.coldkey, row.validator_permit, stake, row.axon)


def _serve_axon(netuid: Netuid, endpoint: str) -> Any:
    from bittensor import ServeAxon

    host, _, port = endpoint.rpartition(":")
    return ServeAxon(netuid, host.strip("[]"), int(port))


async def _give_up(client: Any, connecting: "asyncio.Future[Any]") -> None:
    """Close the client if it connects after all. Otherwise bittensor ends the attempt itself after some minutes."""
    with contextlib.suppress(Exception):
        await connecting
    await _leave(client)


async def _leave(client: Any) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await client.close()


async def _answer(question: Any, what: str) -> Any:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            return await question
    except TimeoutError:
        raise ChainTrouble(f"no answer about {what} in {ANSWER_TIMEOUT:.0f} s") from None


def _reason(error: Exception) -> str:
    text = without_keys(" ".join(str(error).split()))  # the endpoint's URL may contain the operator's key
    return text[:300] if isinstance(error, ChainTrouble) else f"{type(error).__name__}: {text[:300]}"
