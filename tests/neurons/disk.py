"""What neurons have on disk, written by the edges that write it: for tests of what reads it."""

import asyncio
from pathlib import Path

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.events import CommitRequested, Decided, OutboxEntry, ProposedVerdict, SaveRequested
from bettensor.bus.identifiers import Micros
from bettensor.neurons.edges.ledger import Ledger, ledger_database
from bettensor.neurons.edges.outbox import Outbox, outbox_database
from tests.support import NOW, Injected


def write_ledger(path: Path, *proposals: ProposedVerdict) -> None:
    """A ledger with these verdicts, in this order; more are added to one that is there."""
    asyncio.run(_write_ledger(path, proposals))


def write_outbox(path: Path, *entries: OutboxEntry, at: Micros = NOW, verdicts: tuple[Decided, ...] = ()) -> None:
    """An outbox to which ``entries`` were saved at ``at``, and that heard these ``verdicts`` afterwards."""
    asyncio.run(_write_outbox(path, entries, at, verdicts))


def _bus(clock: ManualClock) -> EventBus:
    bus = EventBus(clock)
    bus.subscribe(Injected, lambda event, _: bus.publish(event.decision), "test")
    return bus


async def _write_ledger(path: Path, proposals: tuple[ProposedVerdict, ...]) -> None:
    clock = ManualClock(NOW)
    bus = _bus(clock)
    database = ledger_database(bus, path)
    await database.open()
    ledger = Ledger(database, clock)
    await ledger.open(bus)
    bus.publish(Injected(CommitRequested(proposals)))
    await ledger.close()
    await database.close()


async def _write_outbox(
    path: Path, entries: tuple[OutboxEntry, ...], at: Micros, verdicts: tuple[Decided, ...]
) -> None:
    clock = ManualClock(at)
    bus = _bus(clock)
    database = outbox_database(bus, path)
    await database.open()
    outbox = Outbox(database, clock)
    await outbox.open(bus)
    for decision in (SaveRequested(entries), *verdicts):
        bus.publish(Injected(decision))
        await database.settle()
    outbox.close()
    await database.close()
