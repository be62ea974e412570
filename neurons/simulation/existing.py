"""Existing validators and miners as neurons of the simulated network: the subnet's release 2.4.1.

They have no bus and record nothing. What they do was measured of the real ones (docs/synapse.md), bad habits included:
a neuron of ours must live with them.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random
from typing import Any, Final, NamedTuple
from uuid import UUID
from zlib import crc32

import msgspec

from bettensor.bus import synapse
from bettensor.bus.clock import ManualClock
from bettensor.bus.events import NeuronInfo, Role
from bettensor.bus.games import TIE, TeamGame, TeamGamePrediction, start_of
from bettensor.bus.identifiers import SECOND, GameId, Hotkey, Micros, PredictionId, Uid
from bettensor.bus.synapse import MAX_ANSWERED, NO_PREDICTIONS, Metadata, Result, Terminal
from bettensor.bus.timestamps import DAY, rfc3339, utc_day
from bettensor.neurons.simulation.factories import NOW, make_hotkey
from bettensor.neurons.simulation.keys import simulated_signature
from bettensor.neurons.simulation.synapse import (
    SimulatedDendrite,
    SynapseAnswer,
    SynapseRequest,
    SynapseRoad,
    endpoint_of,
    refusal,
    uid_of,
)

VERSION: Final = 9_012_002
"""bittensor 9.12.2."""
TIMEOUT: Final = 20.0
"""Seconds that an existing validator waits."""
QUERY_INTERVAL: Final = 480.0
"""Seconds between two rounds of an existing validator: 40 blocks."""
BATCH: Final = 16
AT_ONCE: Final = 3
"""Batches."""
MODEL_INTERVAL: Final = 3 * 3600.0
"""Seconds between two runs of an existing miner's models."""
GRACE: Final = 4 * SECOND
"""How much older than its timeout a request may be at an existing miner."""
DAILY_LIMIT: Final = 1000.0
TOLERANCE: Final = 0.01
"""Between the odds of a prediction and a game's."""
SHOWN_BEFORE: Final = Micros(4 * DAY)
SHOWN_AFTER: Final = Micros(8 * DAY)
"""An existing validator sends the games that started or start within these times."""
LASTS: Final = Micros(3 * 3600 * SECOND)
"""After so long an existing validator knows how a game has ended."""
OPEN: Final = "3"
"""The outcome of a game that has not ended."""
_WHOLE: Final = (
    "miner_rank",
    "miner_current_tier",
    "miner_current_scoring_window",
    "miner_lifetime_predictions",
)
"""Figures that go into columns of integers."""


class _Peer(msgspec.Struct, frozen=True):
    hotkey: str | None = None


class _Game(msgspec.Struct):
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


class _Bet(msgspec.Struct):
    prediction_id: str
    game_id: str
    miner_uid: str
    prediction_date: str
    predicted_outcome: str
    team_a: str
    team_b: str
    wager: float
    team_a_odds: float
    team_b_odds: float
    outcome: str
    payout: float
    predicted_odds: float | None = None
    tie_odds: float | None = None
    model_name: str | None = None
    confidence_score: float | None = None


class _GameData(msgspec.Struct):
    """The subnet's only synapse, with the types that pydantic holds each field to."""

    dendrite: _Peer = _Peer()
    axon: _Peer = _Peer()
    metadata: dict[str, str] | None = None
    gamedata_dict: dict[str, _Game] | None = None
    prediction_dict: dict[str, _Bet] | None = None
    confirmation_dict: dict[str, dict[str, str]] | None = None
    error: str | None = None


class ExistingNeuron:
    """What existing validators and miners have in common.

    Args:
        name: the name of its hotkey, see ``make_hotkey``.
        clock: shared with the other neurons of its network; by default a new one, which begins at ``NOW``.
        permit: whether it has a validator permit, which the chain gives by stake, to miners too.
        stake: in the subnet's own token.
    """

    role: Role
    scheme: Final = "sr25519"

    def __init__(self, name: str, clock: ManualClock | None, *, permit: bool, stake: float) -> None:
        self.hotkey = make_hotkey(name)
        self.clock = clock or ManualClock(NOW)
        self.permit = permit
        self.stake = stake
        self.road: SynapseRoad
        """Its network's, once it has started."""

    @property
    def endpoint(self) -> str:
        """What it announces on the chain."""
        return endpoint_of(self.hotkey)

    def start(self, road: SynapseRoad) -> None:
        """Begin, in a network."""
        self.road = road

    def _every(self, seconds: float, act: Callable[[], object]) -> None:
        def run() -> None:
            act()
            self._every(seconds, act)

        self.road.later(self, seconds, run)


# --- the miner


@dataclass(slots=True)
class ExistingBet:
    """A prediction in an existing miner's database."""

    prediction: TeamGamePrediction
    finished: bool = False
    confirmed: bool = False
    """A validator has said something about it, whatever it said."""
    told: dict[Hotkey, dict[str, None]] = field(default_factory=dict)
    """What each validator has said, each text once."""


@dataclass(slots=True)
class ExistingMinerDisk:
    """What an existing miner keeps over restarts; it has one set of predictions for all validators."""

    random: Random
    games: dict[str, _Game] = field(default_factory=dict)
    bets: dict[PredictionId, ExistingBet] = field(default_factory=dict)
    stats: dict[str, str] = field(default_factory=dict)
    """The figures of the last validator that sent some."""


class ExistingMiner(ExistingNeuron):
    """Answers each question with the same unfinished predictions, whatever was asked, and never dials.

    Args:
        name: as for each existing neuron; so are clock, permit and stake.
        clock: see there.
        permit: see there.
        stake: see there.
        min_stake: the stake that a validator needs.
        bets: predictions of one run of its models, which comes every three hours.
        restarted: an earlier run, whose database this one has.
    """

    role = "miner"

    def __init__(
        self,
        name: str = "existingminer",
        clock: ManualClock | None = None,
        *,
        permit: bool = False,
        stake: float = 0.0,
        min_stake: float = 0.0,
        bets: int = 2,
        restarted: "ExistingMiner | None" = None,
    ) -> None:
        super().__init__(name, clock, permit=permit, stake=stake)
        seed = crc32(self.hotkey.encode())
        self.database: ExistingMinerDisk = ExistingMinerDisk(Random(seed)) if restarted is None else restarted.database  # noqa: S311
        self.asked = 0
        """Requests in this run."""
        self._min_stake = min_stake
        self._bets = bets
        self._nonces: dict[tuple[str, str], int] = {}

    def start(self, road: SynapseRoad) -> None:
        """Begin; the models run for the first time after a whole interval."""
        super().start(road)
        self._every(MODEL_INTERVAL, self._run_models)

    # --- predictions

    def predict(self, game: TeamGame, **changes: Any) -> TeamGamePrediction:
        """Bet on ``game`` now, as on its web page; ``changes`` are fields of the prediction."""
        random = self.database.random
        outcomes = [(game.team_a, game.team_a_odds), (game.team_b, game.team_b_odds)]
        if game.can_tie and game.tie_odds is not None:
            outcomes.append((TIE, game.tie_odds))
        outcome, odds = random.choice(outcomes)
        prediction = TeamGamePrediction(
            prediction_id=PredictionId(str(UUID(int=random.getrandbits(128), version=4))),
            game_id=game.game_id,
            prediction_date=rfc3339(self.clock.wall()),
            predicted_outcome=outcome,
            predicted_odds=odds,
            team_a=game.team_a,
            team_b=game.team_b,
            wager=float(random.randint(1, 20)),
            team_a_odds=game.team_a_odds,
            team_b_odds=game.team_b_odds,
            tie_odds=game.tie_odds,
            model_name="existing",
            confidence_score=round(random.uniform(0.5, 1.0), 3),
        )
        made = replace(prediction, **changes)
        self.database.bets[made.prediction_id] = ExistingBet(made)
        return made

    def unfinished(self) -> list[TeamGamePrediction]:
        """What it answers: of its newest hundred predictions those that are unfinished."""
        bets = list(self.database.bets.values())[-MAX_ANSWERED:]
        return [bet.prediction for bet in bets if not bet.finished]

    def _run_models(self) -> None:
        now, held = self.clock.wall(), {bet.prediction.game_id for bet in self.database.bets.values()}
        known = [synapse.read_game(key, msgspec.to_builtins(game)) for key, game in self.database.games.items()]
        chosen = [game for game in known if (start_of(game) or 0) > now and game.game_id not in held]
        for game in self.database.random.sample(chosen, min(self._bets, len(chosen))):
            self.predict(game)

    # --- its axon

    def serve(self, request: SynapseRequest) -> SynapseAnswer:
        """Judge who asks, and answer, as the Axon of bittensor 9.12 and this subnet's miner do."""
        self.asked += 1
        head = dict(request.headers)
        asking = head["bt_header_dendrite_hotkey"]
        refused = self._refuse(asking) or self._mistrust(head)
        if refused is not None:
            return refused
        try:
            said = msgspec.json.decode(request.body, type=_GameData, strict=False)
            return SynapseAnswer(200, self._forward(said, float(head["timeout"])))
        except (KeyError, TypeError, ValueError) as error:
            return refusal(500, f"Internal Server Error: {error!r}")

    def _refuse(self, asking: str) -> SynapseAnswer | None:
        row = next((row for row in self.road.neurons() if row.hotkey == asking), None)
        if row is None or not row.validator_permit or row.stake < self._min_stake:
            return refusal(403, f"Forbidden. Key is blacklisted: {asking}")
        return None

    def _mistrust(self, head: dict[str, str]) -> SynapseAnswer | None:
        asking, uuid = head["bt_header_dendrite_hotkey"], head["bt_header_dendrite_uuid"]
        nonce = int(head["bt_header_dendrite_nonce"])
        text = synapse.signed_text(str(nonce), asking, self.hotkey, uuid)
        if head["bt_header_dendrite_signature"] != f"0x{simulated_signature(Hotkey(asking), text).hex()}":
            return refusal(401, "Not Verified: Signature mismatch")
        age = self.clock.wall() - nonce // 1000
        if nonce <= self._nonces.get((asking, uuid), 0) or age > float(head["timeout"]) * SECOND + GRACE:
            return refusal(401, "Not Verified: Nonce is too old")
        self._nonces[asking, uuid] = nonce
        return None

    def _forward(self, said: _GameData, timeout: float) -> bytes:
        """
        Raises:
            KeyError: a confirmation lacks figures; the same for ValueError.
            TypeError: there are no metadata.
        """
        assert said.dendrite.hotkey is not None  # noqa: S101 - who lacks it gets an error, and none of ours does
        validator = Hotkey(said.dendrite.hotkey)
        kind = said.metadata["synapse_type"]  # type: ignore[index]  # null: it raises, as in the original
        if kind == "confirmation":
            self._confirm(validator, said.confirmation_dict or {})
            return self._body(validator, timeout, "confirmation")
        if kind != "game_data":
            raise ValueError(f"Invalid synapse type: {kind}")
        for key, game in (said.gamedata_dict or {}).items():
            self._learn(key, game)
        predictions = self.unfinished()
        if not predictions:
            return self._body(validator, timeout, "error", error=NO_PREDICTIONS)
        return self._body(validator, timeout, "prediction", predictions)

    def _learn(self, key: str, game: _Game) -> None:
        datetime.fromisoformat(game.event_start_date)
        self.database.games[key] = game
        if game.outcome != OPEN:
            for bet in self.database.bets.values():
                bet.finished = bet.finished or bet.prediction.game_id == key

    def _confirm(self, validator: Hotkey, entries: dict[str, dict[str, str]]) -> None:
        stats = entries["miner_stats"]
        figures = {key: stats[key] for key in synapse.STATS}
        for key in _WHOLE:
            int(figures[key])
        self.database.stats = figures
        for key, result in entries.items():
            bet = self.database.bets.get(PredictionId(key))
            if bet is not None:
                bet.confirmed = True
                bet.told.setdefault(validator, {})[f"{result['success']} {result['message']}"] = None

    def _body(
        self,
        validator: Hotkey,
        timeout: float,
        kind: synapse.Kind,
        predictions: Iterable[TeamGamePrediction] = (),
        error: str | None = None,
    ) -> bytes:
        uid = uid_of(self.hotkey, self.road.neurons())
        forms = {bet.prediction_id: synapse.prediction_form(bet, uid) for bet in predictions}
        axon = Terminal(self.hotkey, status_code=200, status_message="Success")
        metadata = Metadata("existing", uid, self.clock.wall(), kind)
        return synapse.body(timeout, Terminal(validator), axon, metadata, predictions=forms or None, error=error)


# --- the validator


class Booked(NamedTuple):
    """A prediction that an existing validator has accepted, in its database."""

    hotkey: Hotkey
    prediction: TeamGamePrediction
    received_at: Micros


@dataclass(slots=True)
class ExistingValidatorDisk:
    """What an existing validator keeps over restarts."""

    games: dict[GameId, TeamGame] = field(default_factory=dict)
    accepted: dict[PredictionId, Booked] = field(default_factory=dict)
    rejected: dict[PredictionId, str] = field(default_factory=dict)
    """Its last words on each id that it never accepted; the original forgets them."""
    totals: dict[tuple[int, Hotkey], float] = field(default_factory=dict)
    """Wagers of each UTC day and miner."""


@dataclass(slots=True)
class _Round:
    """One round of questions."""

    waiting: deque[list[NeuronInfo]]
    answers: list[list[_GameData]] = field(default_factory=list)
    """Of each batch that is complete."""
    open: int = 0
    """Batches that are asked now."""


class ExistingValidator(ExistingNeuron):
    """Asks every axon in rounds, judges, and tells each miner once; where it is announced, nothing listens.

    Args:
        name: as for each existing neuron; so are clock and stake.
        clock: see there.
        stake: see there.
        query_interval: seconds between two rounds.
        restarted: an earlier run, whose database this one has.
    """

    role = "validator"

    def __init__(
        self,
        name: str = "existingvalidator",
        clock: ManualClock | None = None,
        *,
        stake: float = 0.0,
        query_interval: float = QUERY_INTERVAL,
        restarted: "ExistingValidator | None" = None,
    ) -> None:
        super().__init__(name, clock, permit=True, stake=stake)
        self.database: ExistingValidatorDisk = ExistingValidatorDisk() if restarted is None else restarted.database
        self.answered = 0
        """Answers in this run, refusals and what cannot be read included."""
        self._interval = query_interval
        self._dendrite: SimulatedDendrite
        self._round: _Round | None = None

    def start(self, road: SynapseRoad) -> None:
        """Begin; the first round comes after an interval."""
        super().start(road)
        self._dendrite = road.dendrite(self, VERSION)
        self._every(self._interval, self._begin_round)

    def offer(self, *games: TeamGame) -> None:
        """Add games to its database, or change them; none leaves it."""
        self.database.games.update({game.game_id: game for game in games})

    # --- questions

    def _begin_round(self) -> None:
        if self._round is not None:  # it waits for the one before
            return
        axons = [row for row in self.road.neurons() if row.axon is not None]  # its own is one of them
        self._round = _Round(deque(axons[start : start + BATCH] for start in range(0, len(axons), BATCH)))
        for _ in range(AT_ONCE):
            self._next_batch(self._round)

    def _next_batch(self, round_: _Round) -> None:
        if round_.waiting:
            batch = round_.waiting.popleft()
            round_.open += 1
            games = self._games()
            answers: list[_GameData] = []
            left = itertools.count(len(batch) - 1, -1)
            for row in batch:
                request = self._dendrite.query(row.hotkey, self._uid(), TIMEOUT, games)

                def ended(outcome: SynapseAnswer | str) -> None:
                    answers.append(self._merge(outcome))
                    if next(left) == 0:
                        self._end_batch(round_, answers)

                self.road.ask(self, row.axon or "", request, TIMEOUT, ended)

    def _end_batch(self, round_: _Round, answers: list[_GameData]) -> None:
        round_.answers.append(answers)
        round_.open -= 1
        self._next_batch(round_)
        if round_.open == 0:
            self._round = None
            taken = self._take(round_.answers)
            self._tell(deque((row, [self._verdict(row.hotkey, bet) for bet in bets]) for row, bets in taken))

    def _games(self) -> dict[GameId, msgspec.Raw]:
        now = self.clock.wall()
        games = self.database.games.values()
        return {
            game.game_id: _form(game, now)
            for game in games
            if -SHOWN_BEFORE <= (start_of(game) or Micros(0)) - now <= SHOWN_AFTER
        }

    def _uid(self) -> Uid | None:
        return uid_of(self.hotkey, self.road.neurons())

    def _merge(self, outcome: SynapseAnswer | str) -> _GameData:
        """The local synapse after the request: unchanged, if that was refused or the answer does not fit."""
        unchanged = _GameData(metadata={"synapse_type": "game_data"})
        if isinstance(outcome, str):
            return unchanged
        self.answered += 1
        if outcome.status != 200:
            return unchanged
        try:
            return msgspec.json.decode(outcome.body, type=_GameData, strict=False)
        except msgspec.DecodeError:
            return unchanged

    # --- verdicts

    def _take(self, batches: list[list[_GameData]]) -> list[tuple[NeuronInfo, list[_Bet]]]:
        """The predictions of each miner. Both sides of the comparison of hotkeys come from the answer."""
        taken: list[tuple[NeuronInfo, list[_Bet]]] = []
        rows = {row.uid: row for row in self.road.neurons()}
        for batch in batches:
            if any(answer.metadata is None for answer in batch):
                continue  # the batch is lost
            for answer in batch:
                if answer.metadata is None or answer.metadata.get("synapse_type") != "prediction":
                    continue
                uid = answer.metadata.get("neuron_uid", "")
                row = rows.get(Uid(int(uid)) if uid.isdecimal() else Uid(-1))
                if row is None:
                    return []  # the round is lost
                bets = list((answer.prediction_dict or {}).values())
                if bets and answer.axon.hotkey == row.hotkey and all(bet.miner_uid == uid for bet in bets):
                    taken.append((row, bets))
        return taken

    def _verdict(self, hotkey: Hotkey, bet: _Bet) -> Result:
        prediction_id = PredictionId(bet.prediction_id)
        if prediction_id in self.database.accepted:
            return Result(
                prediction_id, success=False, message=f"Prediction {prediction_id} already exists in database"
            )
        now = self.clock.wall()
        fault = self._fault(hotkey, bet, now)
        if fault:
            self.database.rejected[prediction_id] = fault
            return Result(prediction_id, success=False, message=fault)
        self.database.rejected.pop(prediction_id, None)
        prediction = synapse.read_prediction(prediction_id, msgspec.to_builtins(bet))
        assert isinstance(prediction, TeamGamePrediction)  # noqa: S101 - for the type checker: it has just been read
        self.database.accepted[prediction_id] = Booked(hotkey, prediction, now)
        day = utc_day(now), hotkey
        self.database.totals[day] = self.database.totals.get(day, 0.0) + bet.wager
        return Result(prediction_id, success=True, message="Prediction validated successfully")

    def _fault(self, hotkey: Hotkey, bet: _Bet, now: Micros) -> str:
        """The first rule that ``bet`` breaks; empty if there is none."""
        game = self.database.games.get(GameId(bet.game_id))
        total = self.database.totals.get((utc_day(now), hotkey), 0.0)
        if bet.wager <= 0:
            return "Wager must be positive"
        if total + bet.wager > DAILY_LIMIT:
            return f"Total daily wager of {total + bet.wager:g} exceeds the limit of {DAILY_LIMIT:g}"
        if game is None:
            return f"No game found for prediction {bet.prediction_id}"
        if now >= (start_of(game) or 0):
            return f"Game {game.game_id} has already started"
        return _mismatch(game, bet)

    # --- confirmations

    def _tell(self, waiting: deque[tuple[NeuronInfo, list[Result]]]) -> None:
        """One after the other, each once."""
        if not waiting:
            return
        row, results = waiting.popleft()
        mine = [booked.received_at for booked in self.database.accepted.values() if booked.hotkey == row.hotkey]
        stats = synapse.stats_form(max(mine)) if len(mine) > sum(result.success for result in results) else {}
        request = self._dendrite.confirmation(row.hotkey, self._uid(), TIMEOUT, results, stats)
        self.road.ask(self, row.axon or "", request, TIMEOUT, lambda _: self._tell(waiting))


def _mismatch(game: TeamGame, bet: _Bet) -> str:
    if (bet.team_a, bet.team_b) != (game.team_a, game.team_b):
        return "Teams do not match the game"
    if not (_agree(bet.team_a_odds, game.team_a_odds) and _agree(bet.team_b_odds, game.team_b_odds)):
        return "Team odds do not match the game"
    if not _agree(bet.tie_odds, game.tie_odds or 0.0):
        return "Tie odds do not match the game"
    outcomes = {game.team_a: game.team_a_odds, "0": game.team_a_odds, game.team_b: game.team_b_odds}
    outcomes |= {"1": game.team_b_odds, "tie": game.tie_odds or 0.0, "2": game.tie_odds or 0.0}
    outcome = bet.predicted_outcome if bet.predicted_outcome in outcomes else bet.predicted_outcome.lower()
    if outcome not in outcomes:
        return f"Invalid predicted outcome: {bet.predicted_outcome}"
    if not _agree(bet.predicted_odds, outcomes[outcome]):
        return "Predicted odds do not match the game"
    if bet.confidence_score is None or not 0 <= bet.confidence_score <= 1:
        return "Confidence score must be between 0 and 1"
    return ""


def _agree(said: float | None, expected: float) -> bool:
    return said is not None and abs(said - expected) <= TOLERANCE + 1e-9


def _form(game: TeamGame, now: Micros) -> msgspec.Raw:
    """As the original sends a game: dates with a space, and the outcome once it is known."""
    fields = msgspec.json.decode(synapse.game_form(game))
    for name in ("create_date", "last_update_date", "event_start_date"):
        fields[name] = str(datetime.fromisoformat(fields[name]))
    if now >= (start_of(game) or 0) + LASTS:
        fields["outcome"] = str(crc32(game.game_id.encode()) % 2)
    return msgspec.Raw(msgspec.json.encode(fields))
