"""The operator's files, as neurons in their own processes read them: nothing good suffers for a fault."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from bettensor.neurons.cli.control_client import ask
from tests.loopback.processes import Subnet, running_subnet
from tests.loopback.rig import starting_soon, write


@pytest.fixture
async def subnet(tmp_path: Path) -> AsyncIterator[Subnet]:
    async with running_subnet(tmp_path, "alice") as subnet:
        await subnet.whole(4)
        yield subnet


def replace_games(subnet: Subnet, games: list[Any] | str | bytes) -> None:
    """Write a games file as an operator does: a new file in the place of the old one."""
    data = games if isinstance(games, bytes) else (games if isinstance(games, str) else json.dumps(games)).encode()
    fresh = subnet.folder / "games.new"
    fresh.write_bytes(data)
    fresh.replace(subnet.folder / "games.json")


def slate(count: int, **changes: Any) -> list[dict[str, Any]]:
    return [starting_soon(game_id=f"game-{number}", **changes) for number in range(count)]


def odds(subnet: Subnet, name: str) -> dict[str, float]:
    return {game_id: json.loads(content)["team_a_odds"] for game_id, content in subnet.slate(name)}


async def health(subnet: Subnet) -> tuple[int, str]:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{subnet.proxy.port}/ws/health")
    return answer.status_code, answer.json()["status"]


async def status(subnet: Subnet, name: str) -> dict[str, Any]:
    return await asyncio.to_thread(ask, subnet.folder / f"{name}-state", {"ask": "status", "slates": False})


async def test_of_fifty_games_a_wrong_one_is_withheld_alone_and_comes_back(subnet: Subnet) -> None:
    subnet.offer(50)
    await subnet.whole(50)
    games = slate(50, team_a_odds=1.7)
    games[7]["team_a_odds"] = None
    replace_games(subnet, games)
    text = "Game 'game-7' is withheld: games.7: team_a_odds: expected a number, not null"
    await subnet.says("validator", text)
    await subnet.whole(49)
    assert set(odds(subnet, "alice").values()) == {1.7}
    assert "game-7" not in odds(subnet, "alice")  # withdrawn: its old odds are nobody's word any more
    told = (await status(subnet, "validator"))["withheld"]
    assert (told["count"], told["first"][0]["game_id"]) == (1, "game-7")
    assert await health(subnet) == (200, "online")
    replace_games(subnet, slate(50, team_a_odds="1.60"))
    await subnet.whole(50)
    assert set(odds(subnet, "alice").values()) == {1.6}
    assert "withheld" not in await status(subnet, "validator")


@pytest.mark.parametrize("wrong", [None, "{", '{"game": []}', b"\xff\xfe[\0]\0"], ids=["gone", "half", "key", "utf-16"])
async def test_a_validator_starts_with_its_stored_slate_if_its_games_cannot_be_read(
    subnet: Subnet, wrong: str | bytes | None
) -> None:
    known = odds(subnet, "validator")
    if wrong is None:
        (subnet.folder / "games.json").unlink()
    else:
        replace_games(subnet, wrong)
    await subnet.says("validator", "The games cannot be read, so the last good slate stays in force: ")
    assert await health(subnet) == (503, "degraded")
    assert await subnet.stop("validator") == 0
    since = len(subnet.log("validator"))
    subnet.start("validator")
    await subnet.says("validator", "Listening on", since)
    assert "so the last good slate stays in force: " in subnet.log("validator")[since:]
    assert await health(subnet) == (503, "degraded")
    assert "games.json" in (await status(subnet, "validator"))["feed_fault"]
    await subnet.predict("alice")  # by the stored slate
    assert odds(subnet, "alice") == known
    subnet.offer(5)
    await subnet.says("validator", "The games can be read again", since)
    await subnet.whole(5)
    assert await health(subnet) == (200, "online")


async def test_without_a_stored_slate_it_starts_with_none_judges_nothing_and_waits(tmp_path: Path) -> None:
    async with Subnet(tmp_path, ("alice",)) as subnet:
        await subnet.predict("alice")
        await subnet.stop("validator")
        for file in (tmp_path / "validator-state").glob("ledger.sqlite3*"):
            file.unlink()
        replace_games(subnet, "no games")
        since = len(subnet.log("validator"))
        subnet.start("validator")
        await subnet.says("validator", "The games cannot be read, so no game is offered until they can: ", since)
        await subnet.says("validator", "WebSocket connection established with miner", since)
        assert await health(subnet) == (503, "degraded")
        assert subnet.verdicts("validator") == 0
        subnet.offer(4)
        await subnet.says("validator", "The games can be read again", since)
        await subnet.predict("alice")
        await subnet.whole(4)


async def test_odds_that_no_bookmaker_has_reach_no_miner(subnet: Subnet) -> None:
    games = slate(3)
    games[0] |= {"team_a_odds": 120, "team_b_odds": 105}
    games[1] |= {"team_a_odds": "185", "team_b_odds": "210"}
    replace_games(subnet, games)
    for game, guess in ((0, "American odds?"), (1, "hundredfold decimal odds?")):
        await subnet.says("validator", f"Game 'game-{game}' is withheld: the odds ")
        await subnet.until(lambda guess=guess: f"({guess})" in subnet.log("validator"), guess)  # type: ignore[misc]
    await subnet.whole(1)
    replace_games(subnet, slate(3))
    await subnet.says("validator", "The odds of all games are plausible again")
    await subnet.whole(3)


async def test_wrong_rows_of_metagraph_and_blacklist_leave_the_others_in_force(tmp_path: Path) -> None:
    subnet = Subnet(tmp_path, ("alice", "carol"))
    async with subnet:
        await subnet.predict("alice")
        await subnet.predict("carol")
        metagraph = yaml.safe_load((tmp_path / "metagraph.yaml").read_text())
        metagraph["neurons"].insert(1, {"hotkey": "5x", "stake": "1,5"})
        write(tmp_path / "metagraph.yaml", metagraph)
        told = "A row of the metagraph is wrong, so it is not used: metagraph.yaml: neurons.1: hotkey: expected"
        await subnet.says("validator", told)
        await subnet.says("alice", told)
        settings = yaml.safe_load((tmp_path / "validator.yaml").read_text()) | {"blacklist": "blacklist.yaml"}
        write(tmp_path / "blacklist.yaml", {"hotkeys": ["typing error", subnet.hotkeys["carol"]]})
        write(tmp_path / "validator.yaml", settings)
        await subnet.says(
            "validator", "A row of the blacklist is wrong, so it blocks nobody: blacklist.yaml: hotkeys.0"
        )
        await subnet.says("validator", "4003")
        await subnet.predict("alice")
        for skipped in ("metagraph", "blacklist"):
            assert (await status(subnet, "validator"))["skipped_rows"][skipped]["count"] == 1
        since = len(subnet.log("validator"))
        assert await subnet.stop("validator") == 0
        subnet.start("validator")
        await subnet.says("validator", "A row of the blacklist is wrong, so it blocks nobody", since)
        await subnet.predict("alice")
        write(tmp_path / "blacklist.yaml", {"hotkeys": [subnet.hotkeys["carol"]]})
        await subnet.says("validator", "All rows of the blacklist can be used again", since)


@pytest.mark.parametrize("file", ["metagraph.yaml", "blacklist.yaml"])
async def test_without_a_readable_metagraph_or_blacklist_a_validator_does_not_start(tmp_path: Path, file: str) -> None:
    """Nothing of them is stored, and without the blacklist somebody would be admitted whom the operator excludes."""
    async with Subnet(tmp_path, ("alice",)) as subnet:
        await subnet.predict("alice")
        await subnet.stop("validator")
        write(tmp_path / "blacklist.yaml", {"hotkeys": []})
        settings = yaml.safe_load((tmp_path / "validator.yaml").read_text()) | {"blacklist": "blacklist.yaml"}
        write(tmp_path / "validator.yaml", settings)
        (tmp_path / file).write_bytes(b"\xff\xfeh\0")
        since = len(subnet.log("validator"))
        subnet.start("validator")
        assert await asyncio.to_thread(subnet.processes["validator"].wait, 30) == 2
        assert f"{file}: cannot be read: it is UTF-16 text; save it as UTF-8" in subnet.log("validator")[since:]


async def test_each_fault_of_a_file_of_bets_is_told_when_it_comes(tmp_path: Path) -> None:
    """Semicolons, good again, tabs, and an id with a typing error."""
    subnet = Subnet(tmp_path, ("alice",))
    bets = tmp_path / "bets.csv"
    bets.write_text("game_id,outcome,wager\n")
    async with subnet:
        await subnet.predict("alice")
        await subnet.stop("alice")
        settings = yaml.safe_load((tmp_path / "alice.yaml").read_text())
        settings["actors"]["predictor"] = {"class": "bettensor.models:FilePredictor", "path": str(bets)}
        write(tmp_path / "alice.yaml", settings)
        since = len(subnet.log("alice"))
        subnet.start("alice")
        await subnet.says("alice", "WebSocket connection established", since)
        lacks = "The model FilePredictor: {}: line 1: the header lacks game_id, outcome, wager"
        for separator in ";\t":
            since = len(subnet.log("alice"))
            bets.write_text(f"game_id{separator}outcome{separator}wager\n")
            await subnet.says("alice", lacks.format(bets), since)
            count = subnet.verdicts("alice")
            bets.write_text(f"game_id,outcome,wager\ngame-{ord(separator) % 4},New York Mets,1.5\n")
            await subnet.until(lambda count=count: subnet.verdicts("alice") > count, "the good row is bet")  # type: ignore[misc]
        bets.write_text("game_id,outcome,wager\ngame_1,New York Mets,1\n")
        await subnet.says("alice", 'bets.csv: line 2: no slate has the game "game_1" so far; the nearest is \'game-')
