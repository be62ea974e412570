"""What neurons have on disk, written by the edges that write it: for tests of what reads it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.events import CommitRequested, Decided, OutboxEntry, ProposedVerdict, SaveRequested
from bettensor.neurons.cli.history import LEDGER, OUTBOX
from bettensor.neurons.edges.edge import Edge, StateDir
from bettensor.neurons.edges.ledger import Ledger, LedgerDatabase
from bettensor.neurons.edges.outbox import Outbox, OutboxDatabase
from tests.support import NOW, Injected


def write_ledger(state_dir: Path, *proposals: ProposedVerdict) -> Path:
    """A validator's ledger with these verdicts, in this order; more are added to one that is there."""
    state_dir.mkdir(exist_ok=True)
    asyncio.run(_write_ledger(state_dir, proposals))
    return state_dir / LEDGER


def write_outbox(state_dir: Path, *entries: OutboxEntry, verdicts: tuple[Decided, ...] = ()) -> Path:
    """A miner's outbox to which ``entries`` were saved, and that heard these ``verdicts`` afterwards."""
    asyncio.run(_write_outbox(state_dir, entries, verdicts))
    return state_dir / OUTBOX


def _bus(clock: ManualClock) -> EventBus:
    bus = EventBus(clock)
    bus.subscribe(Injected, lambda event, _: bus.publish(event.decision), "test")
    return bus


@asynccontextmanager
async def opened(bus: EventBus, *edges: Edge) -> AsyncIterator[None]:
    """Edges that are attached, opened in this order, and closed in reverse."""
    async with AsyncExitStack() as stack:
        for edge in edges:
            edge.attach(bus)
        for edge in edges:
            stack.push_async_callback(edge.close)
            await edge.open()
        yield


async def _write_ledger(state_dir: Path, proposals: tuple[ProposedVerdict, ...]) -> None:
    clock = ManualClock(NOW)
    bus = _bus(clock)
    database = LedgerDatabase(StateDir(state_dir))
    async with opened(bus, database, Ledger(database, clock)):
        bus.publish(Injected(CommitRequested(proposals)))


async def _write_outbox(state_dir: Path, entries: tuple[OutboxEntry, ...], verdicts: tuple[Decided, ...]) -> None:
    clock = ManualClock(NOW)
    bus = _bus(clock)
    database = OutboxDatabase(StateDir(state_dir))
    async with opened(bus, database, Outbox(database, clock)):
        for decision in (SaveRequested(entries), *verdicts):
            bus.publish(Injected(decision))
            await database.settle()
