"""The demo's visitor: a registered miner with a client of its own, which breaks rules of the subnet on purpose.

The miners of this package never do so: they quote the slate, and send nothing on a game that has begun. The visitor
signs its predictions and posts them itself, as a client in another language would (docs/protocol.md).
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Any, Final

import httpx
from bittensor import http_auth
from bittensor_core import Keypair

from bettensor.bus import codec
from bettensor.bus.clock import SystemClock
from bettensor.bus.games import TeamGame, TeamGamePrediction, start_of
from bettensor.bus.identifiers import SECOND, Hotkey, MessageId, Micros, PredictionId
from bettensor.bus.messages import PredictionMessage
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.models.model import Forecast, make_prediction, outcomes

FALSE_ODDS_AT: Final = 2.0
TOO_MUCH_AT: Final = 4.0
"""Seconds into the demo at which the visitor breaks these two rules."""
LATE: Final = Micros(SECOND // 5)
"""Time after the start of a game at which the visitor bets on it."""
TIMEOUT: Final = 2.0
"""Seconds for one answer."""


@dataclass(frozen=True, slots=True)
class Offence:
    """A broken rule, and the validator's verdict."""

    what: str
    at: float
    """Seconds into the demo."""
    code: str
    message: str

    def as_json(self) -> dict[str, Any]:
        """The offence as plain data."""
        return {"what": self.what, "at_s": round(self.at, 3), "code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True)
class _Plan:
    what: str
    make: Callable[[float], TeamGamePrediction | None]
    """The prediction, if its time has come."""


class Visitor:
    """Breaks each rule once, as soon as there is a game to do it with."""

    def __init__(self, keypair: Keypair, netuid: int, validator: Hotkey, port: int, limit: float) -> None:
        """
        Args:
            keypair: its hotkey, which is registered.
            netuid: of the subnet.
            validator: the hotkey of the validator.
            port: where the validator listens, on loopback.
            limit: the largest sum of wagers that the validator accepts on one day.
        """
        self.offences: list[Offence] = []
        self._keypair = keypair
        self._netuid = netuid
        self._validator = validator
        self._url = f"http://127.0.0.1:{port}"
        self._wager = 2 * limit
        self._games: list[TeamGame] = []
        self._soonest: TeamGame | None = None
        self._clock = SystemClock()
        self._plans = [
            _Plan("quotes odds that were not offered", self._false_odds),
            _Plan(f"wagers {self._wager:,.0f}, twice the daily limit", self._too_much),
            _Plan("bets on a game that has begun", self._too_late),
        ]
        self._sending: tuple[str, TeamGamePrediction] | None = None

    @property
    def codes(self) -> "Counter[str]":
        """The number of its predictions by verdict."""
        return Counter(offence.code for offence in self.offences)

    def see(self, slate: list[dict[str, Any]]) -> None:
        """Look at the games on offer."""
        self._games = [TeamGame.from_dict(game) for game in slate]
        soonest = min(self._games, key=lambda game: game.event_start_date, default=None)
        if soonest is not None and (self._soonest is None or self._soonest.game_id == soonest.game_id):
            self._soonest = soonest  # a validator that was restarted gives it a later start

    def visit(self, age: float) -> Offence | None:
        """Break a rule, if it is time for the next one; if the validator is down, the prediction is sent again later.

        Args:
            age: seconds into the demo.
        """
        if self._sending is None:
            for plan in self._plans:
                prediction = plan.make(age)
                if prediction is not None:
                    self._sending = plan.what, prediction
                    self._plans.remove(plan)
                    break
            else:
                return None
        what, prediction = self._sending
        verdict = self._post(prediction)
        if verdict is None:
            return None
        self._sending = None
        self.offences.append(Offence(what, age, verdict["code"], verdict["message"]))
        return self.offences[-1]

    def _false_odds(self, age: float) -> TeamGamePrediction | None:
        if age < FALSE_ODDS_AT or not self._games:
            return None
        honest = self._predict(self._games[-1], wager=1.0)
        higher = round(honest.predicted_odds + 0.5, 2)
        return replace(honest, predicted_odds=higher, team_a_odds=higher)

    def _too_much(self, age: float) -> TeamGamePrediction | None:
        return self._predict(self._games[-1], self._wager) if age >= TOO_MUCH_AT and self._games else None

    def _too_late(self, _: float) -> TeamGamePrediction | None:
        game = self._soonest
        start = None if game is None else start_of(game)
        if game is None or start is None or self._clock.wall() < start + LATE:
            return None
        return self._predict(game, wager=1.0)

    def _predict(self, game: TeamGame, wager: float) -> TeamGamePrediction:
        forecast = Forecast(game=game, outcome=next(iter(outcomes(game))), wager=wager, model_name="visitor")
        return make_prediction(forecast, PredictionId(token_hex(16)), self._clock.wall(), None)

    def _post(self, prediction: TeamGamePrediction) -> dict[str, Any] | None:
        """The verdict; None if there was none: the validator is down, or refused for now."""
        message = PredictionMessage(
            message_id=MessageId(token_hex(16)),
            sender_hotkey=Hotkey(self._keypair.ss58_address),
            timestamp=rfc3339(self._clock.wall()),
            predictions=(prediction,),
        )
        path, body = f"/predictions?netuid={self._netuid}", codec.encode_body(message)
        headers = http_auth.sign(self._keypair, method="POST", path=path, body=body, receiver_ss58=self._validator)
        try:
            with httpx.Client(trust_env=False, timeout=TIMEOUT) as client:
                answer = client.post(self._url + path, content=body, headers=headers)
        except httpx.HTTPError:
            return None
        if answer.status_code != httpx.codes.OK:
            return None
        frames = [json.loads(payload) for payload in answer.content.splitlines()[::2]]  # signatures are between them
        results = [result for frame in frames for result in frame.get("results", ())]
        return results[0] if results else None
