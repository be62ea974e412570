"""What every ledger keeps: run against the real one, on disk, and the simulated one."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.codes import VerdictCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    CommitFailed,
    CommitRequested,
    LedgerOpened,
    PredictionsStored,
    ProposedVerdict,
    StoredVerdict,
)
from bettensor.bus.games import TeamGamePrediction, UnreadablePrediction
from bettensor.bus.identifiers import Micros, Millionths
from bettensor.bus.timestamps import DAY, utc_day
from bettensor.neurons.edges.edge import StateDir
from bettensor.neurons.edges.ledger import Ledger, LedgerDatabase
from bettensor.neurons.simulation import SimulatedLedger
from tests.support import NOW, Injected, make_hotkey, make_prediction, make_proposal


class Bench:
    """A ledger on a bus of its own; ``reopen`` is a restart."""

    def __init__(self, real: bool, folder: Path) -> None:
        self.real, self.folder = real, folder
        self.clock = ManualClock(NOW)
        self.ledger: Any = None
        self.database: LedgerDatabase | None = None
        self.events: list[Any] = []

    async def open(self) -> LedgerOpened:
        self.bus = EventBus(self.clock, record=lambda envelope: self.events.append(envelope.event))
        self.bus.subscribe(Injected, lambda event, _: self.bus.publish(event.decision), "test")
        self.answered = asyncio.Event()
        for kind in (PredictionsStored, CommitFailed):
            self.bus.subscribe(kind, self._answer, "test")
        if self.real:
            self.database = LedgerDatabase(StateDir(self.folder))
            self.database.attach(self.bus)
            await self.database.open()
            self.ledger = Ledger(self.database, self.clock)
        elif self.ledger is None:
            self.ledger = SimulatedLedger(self.clock)
        self.ledger.attach(self.bus)
        await self.ledger.open()
        opened: LedgerOpened = next(event for event in reversed(self.events) if isinstance(event, LedgerOpened))
        return opened

    async def close(self) -> None:
        await self.ledger.close()
        if self.database is not None:
            await self.database.close()

    async def reopen(self) -> LedgerOpened:
        await self.close()
        return await self.open()

    def _answer(self, event: PredictionsStored | CommitFailed, _: Envelope) -> None:
        self.answer = event
        self.answered.set()

    async def commit(self, *proposals: ProposedVerdict) -> list[StoredVerdict]:
        self.answered.clear()
        self.bus.publish(Injected(CommitRequested(proposals)))
        async with asyncio.timeout(10):
            await self.answered.wait()
        assert isinstance(self.answer, PredictionsStored), self.answer
        return list(self.answer.verdicts)


@pytest.fixture(params=["real", "simulated"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(request.param == "real", tmp_path)
    await bench.open()
    yield bench
    await bench.close()


async def test_what_is_new_is_stored_and_answered_in_order(bench: Bench) -> None:
    rejected = make_proposal(code=VerdictCode.GAME_STARTED, message="it started", wager=Millionths(0))
    proposals = [make_proposal(), rejected, make_proposal(make_hotkey("other"))]
    verdicts = await bench.commit(*proposals)
    assert verdicts == [
        StoredVerdict(p.hotkey, p.prediction.prediction_id, p.code, p.message, fresh=True) for p in proposals
    ]


async def test_what_is_known_is_answered_with_what_is_stored(bench: Bench) -> None:
    first = make_proposal(code=VerdictCode.ODDS_MISMATCH, message="1.8, not 1.9")
    await bench.commit(first)
    now_good = make_proposal(prediction=first.prediction)
    fresh = make_proposal()
    known, new = await bench.commit(now_good, fresh)
    assert (known.code, known.message, known.fresh) == (VerdictCode.ODDS_MISMATCH, "1.8, not 1.9", False)
    assert (new.code, new.fresh) == (VerdictCode.ACCEPTED, True)


async def test_other_content_is_a_conflict_and_is_not_stored(bench: Bench) -> None:
    first = make_proposal()
    await bench.commit(first)
    prediction_id = first.prediction.prediction_id
    other = make_proposal(prediction=make_prediction(prediction_id=prediction_id, wager=99.0))
    (conflict,) = await bench.commit(other)
    assert (conflict.code, conflict.fresh) == (VerdictCode.CONFLICT, False)
    assert "accepted" in conflict.message
    assert (await bench.commit(first))[0].code is VerdictCode.ACCEPTED


def imported() -> ProposedVerdict:
    """An acceptance as an existing validator's table has kept it."""
    kept = make_prediction(predicted_outcome=0, miner_uid=None, prediction_date="", model_name=None, wager=10.123457)
    return make_proposal(prediction=kept, proof="imported")


async def test_an_imported_wager_is_repeated_as_its_miner_writes_it(bench: Bench) -> None:
    first = imported()
    await bench.commit(first)
    kept = cast("TeamGamePrediction", first.prediction)
    as_sent = replace(kept, predicted_outcome=kept.team_a, prediction_date="2026-05-28T20:00:00", model_name="m")
    repetitions = [as_sent, replace(as_sent, wager=10.1234567), replace(as_sent, tie_odds=0.0), kept]
    for repetition in repetitions:
        late = make_proposal(prediction=repetition, code=VerdictCode.GAME_STARTED, proof="endpoint")
        (known,) = await bench.commit(late)
        assert (known.code, known.fresh) == (VerdictCode.ACCEPTED, False), repetition
    other: list[dict[str, Any]] = [
        {"wager": 10.2},
        {"predicted_outcome": 1},
        {"game_id": "other"},
        {"team_b_odds": 2.2},
        {"tie_odds": 3.1},
    ]
    for changes in other:
        (conflict,) = await bench.commit(make_proposal(prediction=replace(as_sent, **changes)))
        assert conflict.code is VerdictCode.CONFLICT, changes
    unreadable = UnreadablePrediction(prediction_id=kept.prediction_id, fault="wager", content={"wager": "ten"})
    (conflict,) = await bench.commit(make_proposal(prediction=unreadable, code=VerdictCode.MISSING_DATA))
    assert conflict.code is VerdictCode.CONFLICT


async def test_only_an_imported_wager_is_compared_so_loosely(bench: Bench) -> None:
    first = replace(imported(), proof="endpoint")
    await bench.commit(first)
    dated = replace(cast("TeamGamePrediction", first.prediction), prediction_date="2026-05-28T20:00:00")
    assert (await bench.commit(make_proposal(prediction=dated)))[0].code is VerdictCode.CONFLICT


async def test_one_key_twice_in_a_commit_is_stored_once(bench: Bench) -> None:
    first = make_proposal()
    other = make_proposal(prediction=make_prediction(prediction_id=first.prediction.prediction_id, wager=99.0))
    verdicts = await bench.commit(first, first, other)
    assert [(verdict.code, verdict.fresh) for verdict in verdicts] == [
        (VerdictCode.ACCEPTED, True),
        (VerdictCode.ACCEPTED, False),
        (VerdictCode.CONFLICT, False),
    ]


async def test_ids_are_case_sensitive_and_each_miners_own(bench: Bench) -> None:
    proposals = [
        make_proposal(hotkey, prediction=make_prediction(prediction_id=prediction_id))
        for hotkey in (make_hotkey("a"), make_hotkey("b"))
        for prediction_id in ("id", "ID")
    ]
    assert all(verdict.fresh for verdict in await bench.commit(*proposals))


async def test_text_of_every_kind_is_kept(bench: Bench) -> None:
    odd = make_prediction(team_a='Ümläut 🏈 "quoted" \\ \u0000 \'; DROP TABLE', model_name=None)
    proposal = make_proposal(prediction=odd, message="né \u2028 'x'", code=VerdictCode.TEAM_MISMATCH)
    await bench.commit(proposal)
    (known,) = await bench.commit(proposal)
    assert known.message == "né \u2028 'x'"


async def test_a_restart_knows_every_verdict_and_the_days_totals(bench: Bench) -> None:
    mine = make_hotkey()
    proposal = make_proposal(wager=Millionths(5_000_001))
    await bench.commit(
        proposal,
        make_proposal(wager=Millionths(1)),
        make_proposal(code=VerdictCode.INVALID_WAGER, wager=Millionths(0)),
        make_proposal(make_hotkey("zz")),
        make_proposal(received_at=Micros(NOW - DAY), wager=Millionths(7)),
        make_proposal(received_at=Micros(NOW - 2 * DAY), wager=Millionths(7)),
    )
    first = next(event for event in bench.events if isinstance(event, LedgerOpened))
    opened = await bench.reopen()
    assert opened.ledger_id == first.ledger_id
    assert len(opened.ledger_id) == 32
    today = utc_day(NOW)
    totals = {(t.day, t.hotkey): (t.accepted, t.rejected, t.wagered) for t in opened.days}
    assert totals == {
        (today, mine): (2, 1, 5_000_002),
        (today, make_hotkey("zz")): (1, 0, 10_000_000),
        (today - 1, mine): (1, 0, 7),
    }
    assert not (await bench.commit(proposal))[0].fresh


async def test_a_sweep_forgets_what_is_past_its_time_and_nothing_else(bench: Bench) -> None:
    past = [make_proposal(expires_at=Micros(NOW - 1)) for _ in range(1203)]
    kept = make_proposal(expires_at=Micros(NOW + 1))
    await bench.commit(*past, kept)
    assert await bench.ledger.sweep() == 1203
    assert not (await bench.commit(kept))[0].fresh
    verdicts = await bench.commit(past[0], kept)
    assert [verdict.fresh for verdict in verdicts] == [True, False]
