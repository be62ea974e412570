"""A real miner that existing validators ask over Synapse: games in, predictions out, verdicts in."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bittensor_core import CRYPTO_SR25519, Keypair

from bettensor.bus.codes import AXON
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    DialFailed,
    Event,
    LineLogged,
    MinerStatsReported,
    PostFailed,
    PredictionMade,
    PredictionsSaved,
    ReconnectScheduled,
    SaveFailed,
    StatusReported,
    StatusRequested,
    VerdictReceived,
)
from bettensor.bus.games import TeamGame
from bettensor.neurons.config.loading import load_settings
from bettensor.neurons.config.settings import MinerSettings
from bettensor.neurons.edges.axon import Axon
from bettensor.neurons.edges.outbox import OutboxDatabase
from bettensor.neurons.edges.wallets import new_wallet
from bettensor.neurons.miner import Miner
from tests.dendrite import Dendrite
from tests.loopback.rig import write
from tests.support import NETUID, make_game, rfc3339_from_now

PATIENCE = 10.0
VALIDATOR = Keypair.create_from_uri("//Existing", CRYPTO_SR25519)
OTHER = Keypair.create_from_uri("//Another", CRYPTO_SR25519)


class Running:
    """A miner, and all that happened on its bus."""

    def __init__(self, miner: Miner, envelopes: list[Envelope]) -> None:
        self.miner = miner
        self.envelopes = envelopes
        self.port = miner.edges[Axon].port

    def dendrite(self, keypair: Keypair = VALIDATOR) -> Dendrite:
        return Dendrite(keypair, self.miner.hotkey, self.port)

    def all(self, kind: type[Event]) -> list[Any]:
        return [envelope.event for envelope in self.envelopes if isinstance(envelope.event, kind)]

    def lines(self) -> list[str]:
        return [line.text for line in self.all(LineLogged)]


@asynccontextmanager
async def answering_miner(
    folder: Path, bets: str = "", axon: str | None = None, **changes: Any
) -> AsyncIterator[Running]:
    """A miner with a wallet, an outbox and a file of bets; a second call is its next run."""
    wallets = str(folder / "wallets")
    if not (folder / "hotkey").exists():
        (folder / "hotkey").write_text(new_wallet("test", "miner", wallets, "sr25519"))
    me = (folder / "hotkey").read_text()
    neurons = [
        {"hotkey": VALIDATOR.ss58_address, "validator_permit": True} | ({} if axon is None else {"axon": axon}),
        {"hotkey": me},
        {"hotkey": OTHER.ss58_address, "validator_permit": True},
    ]
    write(folder / "metagraph.yaml", {"neurons": neurons})
    (folder / "bets.csv").write_text(f"game_id,outcome,wager\n{bets}")
    settings = {
        "role": "miner",
        "netuid": NETUID,
        "state_dir": "state",
        "wallet": {"name": "test", "hotkey": "miner", "path": wallets},
        "metagraph": {"static": "metagraph.yaml"},
        "metrics": {"enabled": False},
        "recorder": {"record": "all"},
        "synapse": {"enabled": True, "ip": "127.0.0.1", "port": 0},
        "actors": {"predictor": {"class": "bettensor.models:FilePredictor", "path": str(folder / "bets.csv")}},
    }
    config = write(folder / "miner.yaml", settings | changes)
    loaded = load_settings(config)
    assert isinstance(loaded, MinerSettings)
    envelopes: list[Envelope] = []
    async with Miner(loaded, str(config), record=envelopes.append) as miner:
        yield Running(miner, envelopes)


def game(game_id: str = "1001", **changes: Any) -> TeamGame:
    return make_game(game_id, event_start_date=rfc3339_from_now(3600), **changes)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the record has no event
            await asyncio.sleep(0.005)


async def test_games_are_answered_by_saved_predictions_which_a_confirmation_settles(tmp_path: Path) -> None:
    async with answering_miner(tmp_path, "1001,New York Yankees,10\n") as running:
        dendrite = running.dendrite()
        answer = await dendrite.ask(game())
        assert answer.status == 200
        (prediction,) = answer.content["prediction_dict"].values()
        assert (prediction["game_id"], prediction["wager"], prediction["miner_uid"]) == ("1001", 10.0, "1")
        again = await dendrite.ask(game())
        assert again.content["prediction_dict"] == answer.content["prediction_dict"]
        told = dendrite.confirmation_body({prediction["prediction_id"]: ("True", "")}, {"miner_rank": "7"})
        assert (await dendrite.post(told)).status == 200
        assert [verdict.code for verdict in running.all(VerdictReceived)] == ["accepted"]
        assert [event.stats for event in running.all(MinerStatsReported)] == [{"miner_rank": "7"}]
        last = await dendrite.ask(game())
        assert (last.content["prediction_dict"], last.content["error"]) == (None, "No predictions available")
        assert f"Pushed prediction {prediction['prediction_id']} via Synapse" in running.lines()


async def test_a_restart_between_question_and_verdict_loses_nothing(tmp_path: Path) -> None:
    async with answering_miner(tmp_path, "1001,New York Yankees,10\n1002,New York Mets,10\n") as running:
        first = (await running.dendrite().ask(game("1001"), game("1002"))).content["prediction_dict"]
        assert len(first) == 2
    async with answering_miner(tmp_path, "1001,New York Yankees,10\n1002,New York Mets,10\n") as running:
        dendrite = running.dendrite()
        again = (await dendrite.ask(game("1001"), game("1002"))).content["prediction_dict"]
        assert again == first
        one, two = first
        text = f"Prediction {one} already exists in database"
        await dendrite.post(dendrite.confirmation_body({one: ("False", text), two: ("False", "Odds have changed")}))
        verdicts = {verdict.prediction.prediction_id: verdict.code for verdict in running.all(VerdictReceived)}
        assert verdicts == {one: "accepted", two: "rejected"}
    async with answering_miner(tmp_path, "1001,New York Yankees,10\n1002,New York Mets,10\n") as running:
        assert (await running.dendrite().ask(game("1001"), game("1002"))).content["prediction_dict"] is None


async def test_a_disk_that_takes_nothing_delays_no_answer_and_loses_no_prediction(tmp_path: Path) -> None:
    async with answering_miner(tmp_path, "1001,New York Yankees,10\n") as running:
        dendrite = running.dendrite()
        database = running.miner.edges[OutboxDatabase]
        await database.run(lambda: database.connection.exec_driver_sql("PRAGMA query_only = ON"))
        answer = await dendrite.ask(game())
        assert (answer.status, answer.content["error"]) == (200, "No predictions available")
        assert running.all(SaveFailed)
        await database.run(lambda: database.connection.exec_driver_sql("PRAGMA query_only = OFF"))
        await until(lambda: running.all(PredictionsSaved))
        assert len((await dendrite.ask(game())).content["prediction_dict"]) == 1
        assert len(running.all(PredictionMade)) == 1


async def test_a_validator_whose_own_endpoint_is_dead_is_no_trouble_once_it_has_asked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        endpoint = f"127.0.0.1:{gone.getsockname()[1]}"
    async with answering_miner(tmp_path, "1001,New York Yankees,10\n", axon=endpoint) as running:
        await until(lambda: running.all(PostFailed))
        answer = await running.dendrite().ask(game())
        assert len(answer.content["prediction_dict"]) == 1
        (peer,) = [peer for peer in await status_of(running) if peer["hotkey"] == VALIDATOR.ss58_address]
        assert (peer["state"], peer["transport"]) == ("by Synapse", "synapse")
        assert (peer["trouble"], peer["asked_s"] < 60) == ("", True)
    assert sum("speaks Synapse: it asks this miner" in line for line in running.lines()) == 1
    async with answering_miner(tmp_path, "1001,New York Yankees,10\n", axon=endpoint) as running:
        await until(lambda: running.all(ReconnectScheduled))  # it is known from the run before
        assert running.all(PostFailed) == []
        assert [line.text for line in running.all(LineLogged) if line.level == "WARNING"] == []


async def test_a_miner_dials_another_miner_that_has_a_permit_in_vain_and_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with answering_miner(tmp_path / "other") as other:
        endpoint = f"127.0.0.1:{other.port}"
        async with answering_miner(tmp_path, axon=endpoint) as running:
            await until(lambda: running.all(ReconnectScheduled))
    (failed,) = running.all(DialFailed)
    assert (failed.status, failed.code) == (404, AXON)
    assert [line.text for line in running.all(LineLogged) if line.level == "WARNING"] == []
    assert sum("has an Axon where a validator would listen" in line for line in running.lines()) == 1


async def status_of(running: Running) -> list[dict[str, Any]]:
    running.miner.bus.publish(StatusRequested(1))
    await until(lambda: running.all(StatusReported))
    peers: list[dict[str, Any]] = running.all(StatusReported)[-1].status["peers"]
    return peers
