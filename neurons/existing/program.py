"""An existing miner or validator: the classes Axon and Dendrite of bittensor 9 or 10, and what the subnet made of them.

A program for the Python of such an environment; it imports nothing of ours. It reads lines of JSON, first its settings
and then commands, and writes what happens as lines of JSON. It ends with its input. It behaves as existing neurons do,
also where that is strange: docs/synapse.md tells it.
"""

import asyncio
import json
import os
import random
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Final, Tuple  # noqa: UP035 - an Axon compares annotations, and this is the one it wants

import bittensor.utils.networking
from bittensor.core.axon import Axon
from bittensor.core.chain_data import AxonInfo
from bittensor.core.dendrite import Dendrite
from bittensor.core.synapse import Synapse
from bittensor_wallet import Wallet
from pydantic import BaseModel, ConfigDict

ANSWERED: Final = 100
"""Predictions of an answer at most: the newest ones, the same at each question."""
BATCH: Final = 16
BATCHES_AT_ONCE: Final = 3
DAILY_LIMIT: Final = 1000.0
DIFFERENCE: Final = 0.01
"""Odds that differ by no more than this are the same."""
ADDRESS: Final = "203.0.113.9"
"""Where this machine says that it is, which otherwise it would ask the internet."""
STATS: Final = (
    "miner_rank",
    "miner_current_tier",
    "miner_current_scoring_window",
    "miner_lifetime_predictions",
    "miner_current_incentive",
    "miner_current_composite_score",
    "miner_current_entropy_score",
    "miner_current_sharpe_ratio",
    "miner_current_sortino_ratio",
    "miner_current_roi",
    "miner_current_clv_avg",
    "miner_last_prediction_date",
    "miner_lifetime_earnings",
    "miner_lifetime_wager_amount",
    "miner_lifetime_roi",
    "miner_win_loss_ratio",
)
"""The figures without which a miner takes no confirmation."""
DIGITS: Final = STATS[:4]
"""Those that go into columns of whole numbers."""

Json = dict[str, Any]


# --- the subnet's messages


class Metadata(BaseModel):
    """What a message tells of its sender."""

    synapse_id: str
    neuron_uid: str
    timestamp: str
    subnet_version: str
    synapse_type: str

    @classmethod
    def of(cls, uid: int, kind: str) -> "Metadata":
        return cls(
            synapse_id=str(uuid.uuid4()),
            neuron_uid=str(uid),
            timestamp=datetime.now(UTC).isoformat(),
            subnet_version="2041",
            synapse_type=kind,
        )


class Game(BaseModel):
    """A game of a validator's question."""

    model_config = ConfigDict(extra="allow")
    game_id: str
    team_a: str
    team_b: str
    sport: str
    league: str
    create_date: str
    last_update_date: str
    event_start_date: str
    active: bool
    outcome: str
    team_a_odds: float
    team_b_odds: float
    tie_odds: float
    can_tie: bool


class Prediction(BaseModel):
    """A prediction of a miner's answer."""

    model_config = ConfigDict(protected_namespaces=())
    prediction_id: str
    game_id: str
    miner_uid: str
    prediction_date: str
    predicted_outcome: str
    predicted_odds: float
    team_a: str
    team_b: str
    wager: float
    team_a_odds: float
    team_b_odds: float
    tie_odds: float | None
    model_name: str | None = None
    confidence_score: float | None = None
    outcome: str
    payout: float


class GameData(Synapse):  # type: ignore[misc]
    """The subnet's only message, in both directions."""

    model_config = ConfigDict(extra="allow")
    metadata: Metadata | None = None
    gamedata_dict: dict[str, Game] | None = None
    prediction_dict: dict[str, Prediction] | None = None
    confirmation_dict: dict[str, dict[str, str]] | None = None
    error: str | None = None


def say(what: str, content: Any) -> None:
    """Tell the process that started this one."""
    print(json.dumps({what: content}), file=_voice, flush=True)


# --- the miner


class Miner:
    """Keeps its predictions in a database, and tells them to each validator that asks."""

    def __init__(self, settings: Json) -> None:
        self.uid = int(settings["uid"])
        self.validators = set(settings["validators"])
        """The hotkeys that have a permit and stake enough."""
        self.file = settings["file"]
        self.games: dict[str, Game] = {}
        with closing(self._connect()) as database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS predictions (prediction_id TEXT PRIMARY KEY, prediction_date TEXT,"
                " content TEXT, confirmed INTEGER DEFAULT 0, success TEXT, message TEXT)"
            )
        self.axon = Axon(
            wallet=Wallet(**settings["wallet"]),
            port=settings["port"],
            ip="127.0.0.1",
            external_ip=ADDRESS,
            external_port=settings["port"],
        )
        self.axon.attach(forward_fn=self.forward, blacklist_fn=self.blacklist, priority_fn=self.priority)
        self.axon.start()
        while not self.axon.fast_server.started:  # its thread binds the port
            time.sleep(0.01)
        say("listening", settings["port"])
        if settings.get("every"):
            threading.Thread(target=self._predict, args=(settings["every"],), daemon=True).start()

    def blacklist(self, synapse: GameData) -> Tuple[bool, str]:  # noqa: UP006
        hotkey = synapse.dendrite.hotkey
        return (False, "allowed") if hotkey in self.validators else (True, f"{hotkey} is no validator with a permit")

    def priority(self, synapse: GameData) -> float:
        return float(synapse.dendrite.hotkey in self.validators)

    def forward(self, synapse: GameData) -> GameData:
        kind = None if synapse.metadata is None else synapse.metadata.synapse_type
        if kind == "game_data":
            return self._answer(synapse)
        if kind == "confirmation":
            return self._confirm(synapse)
        raise ValueError(f"Unsupported synapse type: {kind}")

    def _answer(self, synapse: GameData) -> GameData:
        games = synapse.gamedata_dict or {}
        error, predictions = "", {}
        if not synapse.dendrite.hotkey:
            error = "the request names no validator"
        else:
            try:
                for game in games.values():
                    datetime.fromisoformat(game.event_start_date)
            except ValueError as fault:
                error = str(fault)
            else:
                self.games.update(games)
                predictions = self._newest()
        say("asked", {"by": synapse.dendrite.hotkey, "games": sorted(games), "answered": sorted(predictions)})
        synapse.gamedata_dict = None
        synapse.prediction_dict = predictions or None
        synapse.error = None if predictions else error or "No predictions available"
        synapse.metadata = Metadata.of(self.uid, "prediction" if predictions else "error")
        return synapse

    def _newest(self) -> dict[str, Prediction]:
        query = "SELECT content FROM predictions ORDER BY prediction_date DESC LIMIT ?"
        with closing(self._connect()) as database:
            newest = [Prediction.model_validate_json(row[0]) for row in database.execute(query, (ANSWERED,))]
        return {prediction.prediction_id: prediction for prediction in newest if prediction.outcome == "Unfinished"}

    def _confirm(self, synapse: GameData) -> GameData:
        results = dict(synapse.confirmation_dict or {})
        figures = results.pop("miner_stats")
        stats = {name: int(figures[name]) if name in DIGITS else figures[name] for name in STATS}
        with closing(self._connect()) as database, database:
            database.executemany(
                "UPDATE predictions SET confirmed = 1, success = ?, message = ? WHERE prediction_id = ?",
                [(result["success"], result["message"], key) for key, result in results.items()],
            )
        say("confirmed", {"by": synapse.dendrite.hotkey, "results": results, "stats": stats})
        return synapse

    def _predict(self, every: float) -> None:
        """Bet on the games that validators asked about, as a model does."""
        while not _done.wait(every):
            now = datetime.now(UTC)
            games = list(self.games.values())
            open_games = [game for game in games if game.active and datetime.fromisoformat(game.event_start_date) > now]
            if open_games:
                self.keep(self._bet(random.choice(open_games)))  # noqa: S311 - a bet needs no secrecy

    def _bet(self, game: Game) -> Json:
        first = game.team_a_odds <= game.team_b_odds
        return {
            "prediction_id": str(uuid.uuid4()),
            "game_id": game.game_id,
            "miner_uid": str(self.uid),
            "prediction_date": datetime.now(UTC).isoformat(),
            "predicted_outcome": game.team_a if first else game.team_b,
            "predicted_odds": game.team_a_odds if first else game.team_b_odds,
            "wager": 10.0,
            "model_name": "existing",
            "confidence_score": 0.5,
            "outcome": "Unfinished",
            "payout": 0.0,
            **game.model_dump(include={"team_a", "team_b", "team_a_odds", "team_b_odds", "tie_odds"}),
        }

    def keep(self, prediction: Json) -> None:
        """Keep a new prediction, which the next answer has."""
        row = (prediction["prediction_id"], prediction["prediction_date"], json.dumps(prediction))
        with closing(self._connect()) as database, database:
            database.execute("INSERT INTO predictions (prediction_id, prediction_date, content) VALUES (?, ?, ?)", row)
        say("kept", prediction["prediction_id"])

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.file, timeout=10)

    async def obey(self, command: Json) -> None:
        """Bet on a game that was asked about; or make no more bets, and go on to answer."""
        if "bet" in command:
            self.keep(self._bet(self.games[command["bet"]["game_id"]]) | command["bet"])
        else:
            _done.set()

    async def close(self) -> None:
        self.axon.stop()


# --- the validator


class Validator:
    """Asks miners for their predictions, judges these, and confirms them."""

    def __init__(self, settings: Json) -> None:
        self.uid = int(settings["uid"])
        self.timeout = float(settings.get("timeout", 20))
        """Seconds that a miner has for its answer."""
        self.hotkeys = {int(neuron["uid"]): neuron["hotkey"] for neuron in settings["neurons"]}
        self.axons = {int(neuron["uid"]): _axon_of(neuron) for neuron in settings["neurons"]}
        self.booked: dict[str, tuple[int, Prediction]] = {}
        """The accepted predictions, with the uid for which they count."""
        self.dendrite = Dendrite(wallet=Wallet(**settings["wallet"]))
        say("ready", self.dendrite.keypair.ss58_address)

    async def obey(self, command: Json) -> None:
        """Do one round with the games of the command, and tell what became of it."""
        games = {key: Game(**game) for key, game in command["games"].items()}
        answers = await self._ask(games)
        results = self._judge(games, answers)
        confirmations = {}
        told = {} if command.get("confirmations_get_lost") else results
        for uid, verdicts in told.items():  # one after the other, and without a second attempt
            query = self._message("confirmation", confirmation_dict=verdicts | {"miner_stats": command["stats"]})
            answer = await self._post(self.axons[uid], query)
            confirmations[uid] = [answer.dendrite.status_code, answer.dendrite.status_message]
        say(
            "round",
            {
                "answers": {uid: _about(answer) for uid, answer in answers.items()},
                "results": results,
                "confirmations": confirmations,
                "booked": {key: uid for key, (uid, _) in self.booked.items()},
            },
        )

    async def close(self) -> None:
        await self.dendrite.aclose_session()

    async def _ask(self, games: dict[str, Game]) -> dict[int, GameData]:
        """The answers, by the uid of the neuron that was asked; also of those that have none."""
        query = self._message("game_data", gamedata_dict=games)
        at_once = asyncio.Semaphore(BATCHES_AT_ONCE)

        async def ask(uids: list[int]) -> dict[int, GameData]:
            async with at_once:
                answers = [self._post(self.axons[uid], query) for uid in uids]
                return dict(zip(uids, await asyncio.gather(*answers), strict=True))

        uids = list(self.axons)
        batches = [uids[start : start + BATCH] for start in range(0, len(uids), BATCH)]
        return {uid: answer for batch in await asyncio.gather(*map(ask, batches)) for uid, answer in batch.items()}

    async def _post(self, axon: AxonInfo, query: GameData) -> GameData:
        return await self.dendrite.forward(  # type: ignore[no-any-return]
            axons=axon, synapse=query, timeout=self.timeout, deserialize=False
        )

    def _message(self, kind: str, **content: Any) -> GameData:
        return GameData(metadata=Metadata.of(self.uid, kind), synapse_type=kind, **content)

    def _judge(self, games: dict[str, Game], answers: dict[int, GameData]) -> dict[int, dict[str, dict[str, str]]]:
        """The verdicts by the uid that an answer names. Its status decides nothing, and nor does who was asked."""
        results: dict[int, dict[str, dict[str, str]]] = {}
        for answer in answers.values():
            if answer.metadata is None or answer.metadata.synapse_type != "prediction" or not answer.prediction_dict:
                continue
            uid = int(answer.metadata.neuron_uid)
            own = all(prediction.miner_uid == str(uid) for prediction in answer.prediction_dict.values())
            if answer.axon.hotkey == self.hotkeys.get(uid) and own:
                results[uid] = {
                    key: self._verdict(games, uid, prediction) for key, prediction in answer.prediction_dict.items()
                }
        return results

    def _verdict(self, games: dict[str, Game], uid: int, prediction: Prediction) -> dict[str, str]:
        fault = self._fault(games.get(prediction.game_id), uid, prediction)
        if fault is None:
            self.booked[prediction.prediction_id] = (uid, prediction)
        return {"success": str(fault is None), "message": fault or "Prediction validated successfully"}

    def _fault(self, game: Game | None, uid: int, prediction: Prediction) -> str | None:
        """The first rule that it breaks."""
        spent = sum(booked.wager for owner, booked in self.booked.values() if owner == uid)
        if prediction.prediction_id in self.booked:
            return f"Prediction {prediction.prediction_id} already exists in database"
        if prediction.wager <= 0:
            return "Wager must be greater than 0"
        if spent + prediction.wager > DAILY_LIMIT:
            return f"Daily wager limit of {DAILY_LIMIT:g} exceeded"
        if game is None:
            return "Game not found in validator game_data"
        start = datetime.fromisoformat(game.event_start_date)
        if datetime.now(UTC) >= (start if start.tzinfo else start.replace(tzinfo=UTC)):
            return "Game has already started"
        return next(_differences(game, prediction), None)


def _differences(game: Game, prediction: Prediction) -> Iterator[str]:
    if (prediction.team_a, prediction.team_b) != (game.team_a, game.team_b):
        yield "Teams do not match"
    for name in ("team_a_odds", "team_b_odds", "tie_odds"):
        told, known = getattr(prediction, name), getattr(game, name)
        if told is None or abs(told - known) > DIFFERENCE:
            yield f"{name} {told} do not match {known}"
    sides = {game.team_a: "team_a", "0": "team_a", game.team_b: "team_b", "1": "team_b", "2": "tie"}
    outcome = prediction.predicted_outcome
    side = "tie" if outcome.lower() == "tie" else sides.get(outcome)
    if side is None:
        yield f"Invalid predicted_outcome {outcome}"
    elif abs(prediction.predicted_odds - getattr(game, f"{side}_odds")) > DIFFERENCE:
        yield f"Predicted odds {prediction.predicted_odds} do not match"
    if not 0 <= (prediction.confidence_score or 0) <= 1:
        yield "Confidence score must be between 0 and 1"


def _axon_of(neuron: Json) -> AxonInfo:
    return AxonInfo(
        version=1, ip=neuron["ip"], port=neuron["port"], ip_type=4, hotkey=neuron["hotkey"], coldkey=neuron["hotkey"]
    )


def _about(answer: GameData) -> Json:
    return {
        "status": answer.dendrite.status_code,
        "message": answer.dendrite.status_message,
        "success": answer.is_success,
        "hotkey": answer.axon.hotkey,
        "kind": None if answer.metadata is None else answer.metadata.synapse_type,
        "error": answer.error,
        "predictions": {key: value.model_dump() for key, value in (answer.prediction_dict or {}).items()},
    }


async def main(role: str) -> None:
    settings = json.loads(await asyncio.to_thread(sys.stdin.readline))
    neuron = Miner(settings) if role == "miner" else Validator(settings)
    while line := await asyncio.to_thread(sys.stdin.readline):
        await neuron.obey(json.loads(line))
    await neuron.close()


_done = threading.Event()
"""The miner makes no more predictions."""

if __name__ == "__main__":
    _voice = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # bittensor writes its log there
    bittensor.utils.networking.get_external_ip = lambda: ADDRESS
    asyncio.run(main(sys.argv[1]))
    os._exit(0)  # an Axon's threads would go on
