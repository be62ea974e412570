"""Our neurons and existing ones: the very classes Axon and Dendrite of bittensor 10 and 9, as PyPI has them."""

from pathlib import Path
from typing import Any, Final

import pytest

from bettensor.neurons.existing.environment import RELEASES
from bettensor.neurons.existing.process import ExistingProcess
from tests.loopback.mixed import Mixed, Rounds, news, of_each_release, old_game, python_of
from tests.loopback.processes import Proxy

LEDGER: Final = "validator-state/ledger.sqlite3"
OUTBOX: Final = "miner-state/outbox.sqlite3"
OFTEN: Final = {"enabled": True, "query_interval": 0.5}


@pytest.fixture(autouse=True)
def _environments(request: pytest.FixtureRequest) -> None:
    """Skip before anything is opened, if an environment of this test could not be made."""
    callspec = getattr(request.node, "callspec", None)
    for release in RELEASES if callspec is None else callspec.params.values():
        python_of(release)


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
        stored = mixed.rows(LEDGER, "SELECT prediction_id, hotkey, code, proof FROM predictions")
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


# --- our miner, and a real Dendrite

GAMES: Final = [
    old_game("101"),  # cannot tie: its odds for that are 0
    old_game("102", sport="soccer", can_tie=True, tie_odds=3.4),
    old_game("103"),
    old_game("104", event_start_date="2026-01-01 00:00:00+00:00"),  # an existing validator sends begun games too
]


@of_each_release
async def test_our_miner_answers_a_real_dendrite_which_books_and_confirms(tmp_path: Path, release: int) -> None:
    with Mixed(tmp_path, "miner", "old-validator") as mixed:
        mixed.register(validators=("old-validator",), axons=("old-validator",))  # nothing listens there
        mixed.bet("101,Boston,10", "102,Tie,500", "103,New York,600", "104,Boston,10")
        proxy = Proxy()
        mixed.ports["miner"] = proxy.port
        mixed.start("miner", synapse={"enabled": True, "ip": "127.0.0.1", "port": proxy.target})
        await proxy.set("open")
        await mixed.says("miner", "Listening on")
        rounds = Rounds(mixed.start_validator(release, asks=("miner",)))

        first = await rounds.ask(GAMES)
        answer = first["answers"]["0"]
        assert (answer["status"], answer["message"], answer["success"]) == (200, "Success", True)
        assert (answer["kind"], answer["hotkey"]) == ("prediction", mixed.hotkeys["miner"])
        answered = {prediction["game_id"]: prediction for prediction in answer["predictions"].values()}
        assert {key: value["predicted_outcome"] for key, value in answered.items()} == {
            "101": "Boston",
            "102": "Tie",
            "103": "New York",
        }
        assert [answered[key]["tie_odds"] for key in ("101", "102", "103")] == [0.0, 3.4, 0.0]
        results = first["results"]["0"]
        by_game = {game: results[prediction["prediction_id"]] for game, prediction in answered.items()}
        assert [by_game[game]["success"] for game in ("101", "102", "103")] == ["True", "True", "False"]
        assert first["booked"] == {answered[game]["prediction_id"]: 0 for game in ("101", "102")}
        assert first["confirmations"] == {"0": [200, "Success"]}
        await mixed.settled(OUTBOX)
        told = dict(mixed.rows(OUTBOX, "SELECT prediction_id, code FROM predictions"))
        assert {game: told[prediction["prediction_id"]] for game, prediction in answered.items()} == {
            "101": "accepted",
            "102": "accepted",
            "103": "rejected",
        }

        again = (await rounds.ask(GAMES))["answers"]["0"]
        assert (again["status"], again["kind"], again["error"]) == (200, "error", "No predictions available")
        assert proxy.carried == 1, "all requests come over one connection of the Dendrite's pool"
        await proxy.close()
        await mixed.stop("miner")


@of_each_release
async def test_what_a_lost_confirmation_said_is_heard_in_the_next_round(tmp_path: Path, release: int) -> None:
    with Mixed(tmp_path, "miner", "old-validator") as mixed:
        mixed.register(validators=("old-validator",), axons=())
        mixed.bet("101,Boston,10")
        mixed.start("miner", synapse={"enabled": True, "ip": "127.0.0.1", "port": mixed.ports["miner"]})
        await mixed.says("miner", "Listening on")
        rounds = Rounds(mixed.start_validator(release, asks=("miner",)))
        ((key, result),) = (await rounds.ask(GAMES, confirmations_get_lost=True))["results"]["0"].items()
        assert result["success"] == "True"
        assert mixed.rows(OUTBOX, "SELECT prediction_id, code FROM predictions") == [(key, None)]
        again = (await rounds.ask(GAMES))["results"]["0"][key]
        assert again == {"success": "False", "message": f"Prediction {key} already exists in database"}
        await mixed.settled(OUTBOX)
        assert mixed.rows(OUTBOX, "SELECT prediction_id, code FROM predictions") == [(key, "accepted")]
        await mixed.stop("miner")


@of_each_release
async def test_our_miner_refuses_who_is_not_registered_and_who_has_no_permit(tmp_path: Path, release: int) -> None:
    with Mixed(tmp_path, "miner", "old-validator", "stranger") as mixed:
        mixed.register(validators=(), axons=())
        mixed.bet("101,Boston,10")
        mixed.start("miner", synapse={"enabled": True, "ip": "127.0.0.1", "port": mixed.ports["miner"]})
        await mixed.says("miner", "Listening on")
        for name, why in {
            "stranger": "is not registered on this subnet",
            "old-validator": "has no validator permit",
        }.items():
            told = await Rounds(mixed.start_validator(release, name, asks=("miner",))).ask(GAMES)
            answer = told["answers"]["0"]
            assert (answer["status"], answer["success"]) == (403, False)
            assert answer["message"] == f"{mixed.hotkeys[name]} {why}"
            assert (told["results"], answer["predictions"]) == ({}, {})


# --- our validator, and a real Dendrite that takes it for a miner


@of_each_release
async def test_an_existing_validator_that_asks_ours_is_told_404_and_no_operator_is_troubled(
    tmp_path: Path, release: int
) -> None:
    with Mixed(tmp_path, "validator", "old-validator") as mixed:
        mixed.register(validators=("validator", "old-validator"), axons=("validator", "old-validator"))
        mixed.start("validator")
        await mixed.says("validator", "Listening on")
        rounds = Rounds(mixed.start_validator(release, asks=("validator",)))
        for _ in range(2):
            answer = (await rounds.ask(GAMES))["answers"]["0"]
            assert (answer["status"], answer["success"], answer["predictions"]) == (404, False, {})
            assert answer["message"].startswith("this validator answers no queries over Synapse")
        assert "WARNING" not in mixed.log("validator")
        assert mixed.log("validator").count("An existing neuron") == 1
        await mixed.stop("validator")


# --- all of them


async def test_a_mixed_subnet(tmp_path: Path) -> None:
    """Each prediction goes by the best road of its two neurons, and has one verdict."""
    with Mixed(tmp_path, "validator", "miner", "old-validator", "old-miner") as mixed:
        both = ("validator", "old-validator")
        mixed.register(validators=both, axons=("validator", "old-validator", "old-miner"))
        old_miner = mixed.start_miner(10, validators=both)
        mixed.bet("10000,New York Yankees,10", "101,Boston,10")
        mixed.start("validator", synapse=OFTEN)
        mixed.start("miner", synapse={"enabled": True, "ip": "127.0.0.1", "port": mixed.ports["miner"]})
        # before its session begins, our miner would be asked by the road of existing ones
        await mixed.says("miner", "WebSocket connection established")
        mixed.register(validators=both, axons=mixed.names)
        rounds = Rounds(mixed.start_validator(9, asks=mixed.names))
        await news(old_miner, "asked")
        old_miner.tell({"bet": {"game_id": "10001"}})
        key = await news(old_miner, "kept")
        await results_of(old_miner, 1)
        await mixed.until(lambda: len(mixed.rows(LEDGER, "SELECT 1 FROM predictions")) == 2, "both are in the ledger")
        rows = mixed.rows(LEDGER, "SELECT hotkey, code, proof FROM predictions")
        assert sorted(rows) == sorted(
            [
                (mixed.hotkeys["miner"], "accepted", "signature"),
                (mixed.hotkeys["old-miner"], "accepted", "endpoint"),
            ]
        )
        told = await rounds.ask(GAMES)
        assert {uid: answer["status"] for uid, answer in told["answers"].items()} == {
            "0": 404,
            "1": 200,
            "2": 503,  # itself, where nothing listens
            "3": 200,
        }
        assert told["results"]["3"][key]["message"] == "Game not found in validator game_data"
        assert [result["success"] for result in told["results"]["1"].values()] == ["True"]
        await mixed.settled(OUTBOX)
        verdicts = mixed.rows(OUTBOX, "SELECT validator, code FROM predictions")
        assert sorted(verdicts) == sorted((mixed.hotkeys[validator], "accepted") for validator in both)
        for role in ("miner", "validator"):
            await mixed.stop(role)


async def results_of(miner: ExistingProcess, count: int) -> dict[str, Any]:
    """All that was confirmed to an existing miner, once it is so many predictions."""
    results: dict[str, Any] = {}
    number = 0
    while len(results) < count:
        number += 1
        results |= (await news(miner, "confirmed", number))["results"]
    return results
