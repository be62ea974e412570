"""The demo's visitor breaks each rule once, at its time; test_demo.py shows all of it in the whole demo."""

import asyncio
from pathlib import Path
from typing import Any

from bittensor_core import Keypair

from bettensor.bus.clock import SystemClock
from bettensor.bus.identifiers import SECOND, Hotkey, Micros
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.cli.demo_visitor import FALSE_ODDS_AT, LATE, TOO_MUCH_AT, Visitor
from bettensor.neurons.system.ports import free_port
from tests.loopback.rig import ALICE, EVE, Rig, running_validator
from tests.support import NETUID, make_game


def slate(start: float = 3600.0) -> list[dict[str, Any]]:
    """One game that starts in so many seconds."""
    starts = rfc3339(Micros(SystemClock().wall() + round(start * SECOND)))
    return [make_game().to_dict() | {"event_start_date": starts}]


def visitor_of(rig: Rig, keypair: Keypair = ALICE) -> Visitor:
    return Visitor(keypair, NETUID, rig.hotkey, rig.validator.port, limit=1000.0)


async def test_each_rule_is_broken_at_its_time_and_once(tmp_path: Path) -> None:
    async with running_validator(tmp_path) as rig:
        visitor = visitor_of(rig)

        async def visit(age: float) -> str | None:
            offence = await asyncio.to_thread(visitor.visit, age)
            return None if offence is None else offence.code

        assert await visit(TOO_MUCH_AT) is None, "it has seen no game"
        visitor.see(slate())
        assert await visit(FALSE_ODDS_AT - 0.1) is None
        assert await visit(FALSE_ODDS_AT) == "odds_mismatch"
        assert await visit(FALSE_ODDS_AT) is None
        assert await visit(TOO_MUCH_AT) == "daily_limit_exceeded"
        assert await visit(60.0) is None
        assert visitor.codes == {"odds_mismatch": 1, "daily_limit_exceeded": 1}
        assert [offence.what for offence in visitor.offences] == [
            "quotes odds that were not offered",
            "wagers 2,000, twice the daily limit",
        ]
        assert visitor.offences[1].as_json()["code"] == "daily_limit_exceeded"
        assert visitor.offences[1].message == "wagered today 0, attempted 2000, and the limit is 1000"


async def test_a_game_is_bet_on_after_its_start_also_if_a_restart_made_it_later(tmp_path: Path) -> None:
    async with running_validator(tmp_path) as rig:
        visitor = visitor_of(rig)
        visitor.see(slate(-LATE / SECOND - 1))
        visitor.see(slate(3600.0))
        assert visitor.visit(0.0) is None
        visitor.see(slate(-LATE / SECOND - 1))
        visitor.see([])  # the game has left the slate
        offence = await asyncio.to_thread(visitor.visit, 0.0)
        assert offence is not None
        assert offence.what == "bets on a game that has begun"


async def test_a_refusal_is_no_verdict_and_a_validator_that_is_down_is_asked_again(tmp_path: Path) -> None:
    async with running_validator(tmp_path) as rig:
        unregistered = visitor_of(rig, EVE)
        unregistered.see(slate())
        assert await asyncio.to_thread(unregistered.visit, FALSE_ODDS_AT) is None
    visitor = Visitor(ALICE, NETUID, Hotkey(EVE.ss58_address), free_port(), limit=1000.0)
    visitor.see(slate())
    for _ in range(3):
        assert visitor.visit(FALSE_ODDS_AT) is None
    assert not visitor.offences
