"""What neurons have on disk, written by the edges that write it: for tests of what reads it."""

import asyncio
from pathlib import Path

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.events import CommitRequested, Decided, OutboxEntry, ProposedVerdict, SaveRequested
from bettensor.neurons.cli.history import LEDGER, OUTBOX
from bettensor.neurons.edges.ledger import Ledger, ledger_database
from bettensor.neurons.edges.outbox import Outbox, outbox_database
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


async def _write_ledger(state_dir: Path, proposals: tuple[ProposedVerdict, ...]) -> None:
    clock = ManualClock(NOW)
    bus = _bus(clock)
    database = ledger_database(bus, state_dir / LEDGER)
    await database.open()
    ledger = Ledger(database, clock)
    await ledger.open(bus)
    bus.publish(Injected(CommitRequested(proposals)))
    await ledger.close()
    await database.close()


async def _write_outbox(state_dir: Path, entries: tuple[OutboxEntry, ...], verdicts: tuple[Decided, ...]) -> None:
    clock = ManualClock(NOW)
    bus = _bus(clock)
    database = outbox_database(bus, state_dir / OUTBOX)
    await database.open()
    outbox = Outbox(database, clock)
    await outbox.open(bus)
    for decision in (SaveRequested(entries), *verdicts):
        bus.publish(Injected(decision))
        await database.settle()
    outbox.close()
    await database.close()
