"""Our neurons and existing ones: the very classes Axon and Dendrite of bittensor 10 and 9, as PyPI has them."""

from pathlib import Path
from typing import Any, Final

import pytest

from bettensor.neurons.existing.process import ExistingNeuron
from tests.loopback.mixed import Mixed, Rounds, news, of_each_release, old_game

OFTEN: Final = {"enabled": True, "query_interval": 0.5}


# --- existing neurons among themselves: what the tests below compare with


@pytest.mark.parametrize(("asking", "asked"), [(10, 10), (10, 9), (9, 10), (9, 9)])
async def test_existing_neurons_speak_with_each_other(tmp_path: Path, asking: int, asked: int) -> None:
    game = old_game("101")
    with Mixed(tmp_path, "old-validator", "old-miner", "stranger") as mixed:
        miner = mixed.start_miner(asked, validators=("old-validator",))
        rounds = Rounds(mixed.start_validator(asking, asks=("old-miner",)))
        nothing = (await rounds.ask([game]))["answers"]["1"]
        assert (nothing["kind"], nothing["error"]) == ("error", "No predictions available")
        miner.tell({"bet": {"game_id": "101"}})
        key = await news(miner, "kept")
        first = await rounds.ask([game])
        assert first["results"]["1"][key]["success"] == "True"
        assert first["confirmations"] == {"1": [200, "Success"]}
        assert first["booked"] == {key: 1}
        again = await rounds.ask([game], stats={"miner_rank": "no digits"})
        assert "already exists in database" in again["results"]["1"][key]["message"]
        assert again["confirmations"]["1"][0] == 500
        stranger = Rounds(mixed.start_validator(asking, "stranger", asks=("old-miner",)))
        refused = await stranger.ask([game])
        assert refused["answers"]["1"]["status"] == 403
        (confirmed,) = miner.all("confirmed")
        assert confirmed["results"][key]["success"] == "True"
        assert mixed.rows("old-miner.sqlite3", "SELECT confirmed, success FROM predictions") == [(1, "True")]


# --- our validator, and a real Axon


@of_each_release
async def test_our_validator_asks_and_confirms_a_real_axon(tmp_path: Path, release: int) -> None:
    with Mixed(tmp_path, "validator", "old-miner") as mixed:
        mixed.register(validators=("validator",), axons=("validator", "old-miner"))
        miner = mixed.start_miner(release, validators=("validator",))
        mixed.start("validator", synapse=OFTEN)
        asked = await news(miner, "asked")
        assert asked["by"] == mixed.hotkeys["validator"]
        assert asked["games"] == ["10000", "10001", "10002"]

        miner.tell({"bet": {"game_id": "10001"}})
        miner.tell({"bet": {"game_id": "10001", "predicted_odds": 99.0}})
        good, bad = await news(miner, "kept"), await news(miner, "kept", 2)
        results = await results_of(miner, 2)
        assert results[good] == {"success": "True", "message": "accepted"}
        assert results[bad]["success"] == "False"
        assert results[bad]["message"].startswith("odds_mismatch: ")
        assert mixed.rows("old-miner.sqlite3", "SELECT DISTINCT confirmed FROM predictions") == [(1,)]
        stored = mixed.rows(
            "validator-state/ledger.sqlite3", "SELECT prediction_id, hotkey, code, proof FROM predictions"
        )
        assert sorted(stored) == sorted(
            [
                (good, mixed.hotkeys["old-miner"], "accepted", "endpoint"),
                (bad, mixed.hotkeys["old-miner"], "odds_mismatch", "endpoint"),
            ]
        )

        told = len(miner.all("confirmed"))  # an answer of which all was told before needs no confirmation
        await news(miner, "asked", len(miner.all("asked")) + 3)
        assert len(miner.all("confirmed")) == told
        await mixed.stop("validator")


async def results_of(miner: ExistingNeuron, count: int) -> dict[str, Any]:
    """All that was confirmed to an existing miner, once it is so many predictions."""
    results: dict[str, Any] = {}
    number = 0
    while len(results) < count:
        number += 1
        results |= (await news(miner, "confirmed", number))["results"]
    return results
