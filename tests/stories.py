"""The stories that ``tests/recordings`` tell: each is lived through on simulated edges, and asserts its moral.

    python -m tests.stories

writes them anew. That is needed only where observed events change; what is decided otherwise is accepted with
``pytest --recordings-update``.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from bettensor.bus.codes import CloseCode
from bettensor.bus.events import (
    AxonAnswered,
    AxonConfirmed,
    ClockStepped,
    ConnectionClosed,
    FallbackChosen,
    FrameWritten,
    GamesUpdated,
    PeerRefused,
    PostAnswered,
    PredictionConflicted,
    ReconnectScheduled,
    SessionActivated,
    VerdictReceived,
    VerdictRepeated,
)
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.bus.timestamps import DAY, rfc3339
from bettensor.neurons.simulation import (
    NOW,
    ExistingMiner,
    ExistingValidator,
    ManualClock,
    SimulatedMiner,
    SimulatedNetwork,
    SimulatedNeuron,
    SimulatedValidator,
    make_game,
)

RECORDINGS = Path(__file__).parent / "recordings"
GAME = make_game(starts_at=Micros(NOW + 30 * DAY))
Story = Callable[[], Iterator[SimulatedNeuron]]
STORIES: dict[str, Story] = {}


def story(tell: Story) -> Story:
    """Each yields whose recordings are kept."""
    STORIES[tell.__name__] = tell
    return tell


class Subnet(SimulatedNetwork):
    """A validator with one game, and a miner that has it on its slate."""

    def __init__(self, clock: ManualClock | None = None, **prediction: float) -> None:
        super().__init__(clock)
        self.validator = SimulatedValidator(clock=self.clock, settings={"actors": {"prediction": prediction}})
        self.miner = SimulatedMiner(clock=self.clock)
        self.add(self.validator, self.miner)
        self.validator.offer(GAME)
        self.advance(5)

    def predict(self, prediction_id: str, wager: float = 1.0) -> None:
        """The same prediction whenever it is made: its date is always the same."""
        self.miner.predict(prediction_id, self.validator.hotkey, GAME, wager=wager, prediction_date=rfc3339(NOW))
        self.advance(1)

    def forget(self) -> None:
        """The miner loses its disk, and begins anew."""
        self.remove(self.miner)
        self.miner = SimulatedMiner(clock=self.clock)
        self.add(self.miner)
        self.advance(60)

    def verdicts(self) -> list[str]:
        return [f"{verdict.prediction.prediction_id} {verdict.code}" for verdict in self.miner.all(VerdictReceived)]


@story
def duplicate_prediction() -> Iterator[SimulatedNeuron]:
    """A verdict is lost, and the id sent again gets the same; with other content it gets a conflict."""
    subnet = Subnet()
    subnet.miner.predict("p", subnet.validator.hotkey, GAME, wager=1.0)
    subnet.advance(0.0015)  # it has come, and its verdict is on its way
    subnet.freeze(subnet.miner)
    subnet.advance(30)
    assert subnet.verdicts() == ["p accepted"]
    assert len(subnet.validator.all(VerdictRepeated)) == 1
    subnet.forget()
    subnet.predict("p", wager=2.0)
    assert subnet.verdicts() == ["p conflict"]
    assert len(subnet.validator.all(PredictionConflicted)) == 1
    yield subnet.validator


@story
def reconnect_with_a_gap() -> Iterator[SimulatedNeuron]:
    """A miner that was away gets the updates that it missed, and no snapshot."""
    subnet = Subnet()
    subnet.unreachable.add(subnet.miner.hotkey)
    subnet.cut(subnet.miner)
    for odds in (1.9, 2.0, 2.1):
        subnet.validator.offer(replace(GAME, team_a_odds=odds))
        subnet.advance(1)
    subnet.unreachable.clear()
    subnet.advance(120)
    updates = subnet.miner.all(GamesUpdated)
    assert [update.snapshot for update in updates] == [True, False, False, False]
    assert updates[-1].games[0].team_a_odds == 2.1
    yield subnet.miner


@story
def blacklisted_in_mid_session() -> Iterator[SimulatedNeuron]:
    """The session ends at once, the miner is refused, asks rarely, and is welcome again when the list is."""
    subnet = Subnet()
    subnet.predict("before")
    subnet.validator.blacklist(subnet.miner.hotkey)
    subnet.predict("meanwhile")
    assert CloseCode.BLACKLISTED in [closed.code for closed in subnet.miner.all(ConnectionClosed)]
    subnet.advance(60)
    assert {refused.code for refused in subnet.validator.all(PeerRefused)} == {"blacklisted"}
    assert subnet.verdicts() == ["before accepted"]
    subnet.validator.blacklist()
    subnet.advance(300)
    assert subnet.verdicts() == ["before accepted", "meanwhile accepted"]
    yield from (subnet.validator, subnet.miner)


@story
def fallback_and_back() -> Iterator[SimulatedNeuron]:
    """Without the WebSocket predictions go by HTTP; when it is back, they go by it again."""
    subnet = Subnet()
    subnet.blocked.add(subnet.miner.hotkey)
    subnet.cut(subnet.miner)
    subnet.advance(1)
    subnet.predict("by http")
    assert subnet.verdicts() == []  # no id of the protocol's: it is never sent
    subnet.predict("by-http")
    assert subnet.verdicts() == ["by-http accepted"]
    assert len(subnet.miner.all(FallbackChosen)) == 1
    subnet.blocked.clear()
    subnet.advance(300)
    assert len(subnet.miner.all(SessionActivated)) == 2
    subnet.predict("by-websocket")
    assert subnet.verdicts() == ["by-http accepted", "by-websocket accepted"]
    yield subnet.miner


@story
def daily_limit_at_midnight() -> Iterator[SimulatedNeuron]:
    """What was wagered counts for one day of UTC: a second after midnight there is room again."""
    midnight = (NOW // DAY + 1) * DAY
    subnet = Subnet(ManualClock(Micros(midnight - 60 * SECOND)), daily_wager_limit=10.0)
    subnet.predict("most", wager=8.0)
    subnet.predict("too-much", wager=3.0)
    subnet.advance(60)
    subnet.predict("tomorrow", wager=10.0)
    assert subnet.verdicts() == ["most accepted", "too-much daily_limit_exceeded", "tomorrow accepted"]
    yield subnet.validator


@story
def half_open_connection() -> Iterator[SimulatedNeuron]:
    """A connection that nobody closed and nothing comes through: the verdict comes by HTTP, then the session is new."""
    subnet = Subnet()
    subnet.freeze(subnet.miner)
    subnet.predict("p")
    assert subnet.verdicts() == []
    subnet.advance(20)
    assert subnet.verdicts() == ["p accepted"]
    subnet.advance(700)
    assert len(subnet.miner.all(SessionActivated)) == 2
    assert len(subnet.miner.all(ReconnectScheduled)) == 1
    yield from (subnet.validator, subnet.miner)


@story
def clock_step() -> Iterator[SimulatedNeuron]:
    """While the validator's clock cannot be trusted nothing is judged; what was sent gets its verdict afterwards."""
    subnet = Subnet()
    subnet.clock.step_wall(Micros(-30 * SECOND))
    subnet.predict("p")
    assert subnet.validator.last(ClockStepped).by == -30 * SECOND
    assert subnet.verdicts() == []
    subnet.advance(180)
    assert subnet.verdicts() == ["p accepted"]
    yield subnet.validator


@story
def validator_restart() -> Iterator[SimulatedNeuron]:
    """What is on disk is known again: the stream goes on, and a verdict stays what it was."""
    subnet = Subnet()
    subnet.predict("p")
    before = subnet.validator
    subnet.remove(before)
    after = SimulatedValidator(clock=subnet.clock, restarted=before)
    subnet.add(after)
    after.offer(GAME)
    subnet.advance(60)
    assert [update.snapshot for update in subnet.miner.all(GamesUpdated)] == [True]
    subnet.forget()
    subnet.predict("p")
    assert subnet.verdicts() == ["p accepted"]
    assert len(after.all(VerdictRepeated)) == 1
    yield after


@story
def existing_miner_is_asked() -> Iterator[SimulatedNeuron]:
    """An existing miner is asked, answers, and is confirmed; what it repeats has its verdict and is told no more."""
    network = SimulatedNetwork()
    validator = SimulatedValidator(clock=network.clock, settings={"synapse": {"enabled": True}})
    miner = ExistingMiner(clock=network.clock)
    network.add(validator, miner)
    validator.offer(GAME)
    good = miner.predict(GAME, wager=5.0)
    bad = miner.predict(GAME, wager=5.0, team_a_odds=9.0)
    network.advance(300)
    codes = {prediction_id: row.code for (_, prediction_id), row in validator.ledger.rows.items()}
    assert codes == {good.prediction_id: "accepted", bad.prediction_id: "odds_mismatch"}
    assert {row.proof for row in validator.ledger.rows.values()} == {"endpoint"}
    assert len(validator.all(AxonAnswered)) > len(validator.all(AxonConfirmed)) == 1
    assert all(bet.confirmed for bet in miner.database.bets.values())
    yield validator


@story
def existing_validator_asks() -> Iterator[SimulatedNeuron]:
    """An existing validator asks, gets what is saved, and its confirmation ends it; a rejected one ends too."""
    network = SimulatedNetwork()
    validator = ExistingValidator(clock=network.clock)
    miner = SimulatedMiner(clock=network.clock, settings={"synapse": {"enabled": True}})
    network.add(validator, miner)
    game = replace(GAME, event_start_date=rfc3339(Micros(NOW + 2 * DAY)))  # it sends those of the next 8 days
    validator.offer(game)
    network.advance(490)
    for prediction_id, odds in (("good", game.team_a_odds), ("bad", 9.0)):
        miner.predict(prediction_id, validator.hotkey, game, team_a_odds=odds, prediction_date=rfc3339(NOW))
    network.advance(480)
    verdicts = {verdict.prediction.prediction_id: verdict.code for verdict in miner.all(VerdictReceived)}
    assert verdicts == {"good": "accepted", "bad": "rejected"}
    assert [written.road for written in miner.all(FrameWritten)] == ["synapse"]
    assert not miner.all(PostAnswered)
    assert not miner.all(SessionActivated)
    yield miner


def main() -> None:
    """Write all recordings anew."""
    RECORDINGS.mkdir(exist_ok=True)
    for name, tell in STORIES.items():
        for neuron in tell():
            neuron.save(RECORDINGS / f"{name}.{neuron.role}.recording.jsonl")


if __name__ == "__main__":
    main()
