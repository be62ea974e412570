"""Real processes, and what operators, networks and machines do to them.

After each trouble every prediction has its verdict (the one in the ledger), and every miner has the whole slate.
"""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.loopback.processes import running_subnet


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_the_validator_stops_and_comes_back(tmp_path: Path, number: signal.Signals) -> None:
    async with running_subnet(tmp_path, "alice", "bob") as subnet:
        epoch = subnet.rows("validator", "SELECT epoch FROM stream")
        since = len(subnet.log("alice"))
        await subnet.stop("validator", number)
        await subnet.says("alice", "(check that the validator is running", since)
        subnet.offer(6, team_a_odds=1.7)  # while nobody is there to hear it
        subnet.start("validator")
        await subnet.says("alice", "WebSocket connection established with validator", since)
        await subnet.settle(games=6)
        assert subnet.rows("validator", "SELECT epoch, position FROM stream") == [(*epoch[0], 2)]
        assert "Received an update of 6 games" in subnet.log("alice")[since:]  # and not the whole slate again


async def test_a_miner_is_killed_and_comes_back(tmp_path: Path) -> None:
    async with running_subnet(tmp_path, "alice", "bob") as subnet:
        for _ in range(3):
            await subnet.stop("alice", signal.SIGKILL)
            subnet.offer(5)
            since = len(subnet.log("alice"))
            subnet.start("alice")
            await subnet.predict("alice")
            assert "Received the whole slate" not in subnet.log("alice")[since:]
        await subnet.settle(games=5)


async def test_the_port_is_blocked(tmp_path: Path) -> None:
    async with running_subnet(tmp_path, "alice") as subnet:
        for games, wire in ((5, "refused"), (6, "half-open")):
            since, there = len(subnet.log("alice")), len(subnet.log("validator"))
            await subnet.proxy.set(wire)  # type: ignore[arg-type]
            subnet.offer(games)
            await subnet.says("alice", "Reconnecting to validator", since)
            await subnet.says("validator", "WebSocket connection with", there)
            since = len(subnet.log("alice"))
            await subnet.proxy.set("open")
            subnet.proxy.reset()
            await subnet.says("alice", "WebSocket connection established with validator", since)
            await subnet.predict("alice")
        await subnet.settle(games=6)


async def test_the_websocket_is_disabled_in_the_middle(tmp_path: Path) -> None:
    async with running_subnet(tmp_path, "alice", "bob") as subnet:
        since = len(subnet.log("alice"))
        await subnet.stop("validator")
        subnet.start("validator", "--websocket.enabled=False")
        await subnet.says("alice", "via HTTP", since)
        await subnet.predict("alice")
        subnet.offer(7)
        await subnet.whole(7)
        since = len(subnet.log("alice"))
        await subnet.stop("validator")
        subnet.start("validator")
        await subnet.says("alice", "WebSocket connection established with validator", since)
        await subnet.says("alice", "via WebSocket", since)
        await subnet.settle(games=7)


async def test_a_miner_is_frozen_and_woken(tmp_path: Path) -> None:
    async with running_subnet(tmp_path, "alice", "bob") as subnet:
        since = len(subnet.log("validator"))
        subnet.freeze("alice")
        await subnet.says("validator", "nothing heard for", since)
        subnet.offer(6)
        await subnet.predict("bob", 10)  # whom it does not concern
        subnet.freeze("alice", frozen=False)
        await subnet.settle(games=6)


async def test_a_large_update_reaches_a_miner_that_was_away_in_parts(tmp_path: Path) -> None:
    # at shorter intervals each miner would send more than a validator takes, and wait for ever more verdicts
    async with running_subnet(tmp_path, "alice", "bob", interval=1.0) as subnet:
        await subnet.stop("alice", signal.SIGKILL)
        subnet.offer(100, league="x" * 256, team_b="y" * 256)
        await asyncio.wait_for(subnet.until(lambda: len(subnet.slate("validator")) == 100, "100 games"), 30)
        assert subnet.rows("validator", "SELECT count(*) > 1, sum(length(frame)) > 65536 FROM updates") == [(1, 1)]
        subnet.start("alice")
        # a bet that was under way when the four games got other names is judged by the new ones
        await subnet.settle(games=100, codes=("accepted", "team_mismatch"))
