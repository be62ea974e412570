"""Proposes one verdict for each prediction; the ledger decides, and its answer is confirmed.

Commits are grouped: what arrives while one runs goes into the next. A miner's wagers are reserved against its daily
limit while their commit runs, and given back where the ledger knew the prediction already, or could not store it.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated

from pydantic import Field

from bettensor.actors.actor import Actor, on
from bettensor.actors.settings import Count, NotNegative, Positive, settings_class
from bettensor.actors.validator.rules import Offer, judge
from bettensor.bus import codec
from bettensor.bus.bus import CLOCK_STEP, CLOCK_WINDOW
from bettensor.bus.codes import ErrorCode, VerdictCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    ClockStepped,
    CommitFailed,
    CommitRequested,
    ConnectionClosed,
    Decided,
    GamesUpdated,
    LedgerOpened,
    MessageRefused,
    NeuronStarted,
    NeuronStopping,
    PredictionAccepted,
    PredictionConflicted,
    PredictionRejected,
    PredictionsStored,
    PredictionSubmitted,
    ProposedVerdict,
    ReadingPaused,
    ReadingResumed,
    SendRequested,
    SettingsReloaded,
    StoredVerdict,
    VerdictRepeated,
)
from bettensor.bus.games import Prediction, TeamGamePrediction, content_digest, millionths
from bettensor.bus.identifiers import ConnectionId, GameId, Hotkey, Micros, Millionths, micros
from bettensor.bus.messages import MAX_MESSAGE, ConfirmationMessage, MinerStats, PredictionResult
from bettensor.bus.timestamps import DAY, utc_day

MAX_COMMIT = 2_000
"""Predictions in one commit: about 10 ms of the ledger's time."""
MAX_WAITING = 20_000
"""Predictions that may wait for the ledger; above that the answer is ``overloaded``, which is not a verdict."""
PAUSE_ALL = MAX_WAITING // 2
"""At this many unanswered predictions over all sessions, sending sessions are paused until half are answered."""
CLOSED_MEMORY = DAY
"""Time after its start for which a game that left the slate is distinguished from an unknown one."""
MAX_FORMER_CLOCKS = 8
"""Steps of the wall clock that are remembered."""
RETENTION = Micros(30 * DAY)
"""Time for which a verdict is kept after the start of its game, or after its receipt if there is no such game."""


@settings_class
class PredictionSettings:
    """The subnet's rules that an operator may set."""

    daily_wager_limit: Annotated[Positive, Field(le=1e9)] = 1000.0
    """The largest sum of one miner's wagers per UTC day, in the subnet's units."""
    odds_grace: Annotated[NotNegative, Field(le=3600)] = 0.0
    """Seconds for which a prediction with the old odds is accepted after the odds changed."""
    max_unanswered: Count = 2048
    """If this many predictions of one session are unanswered, the validator stops reading from the session until half
    of them are answered."""


@dataclass(slots=True)
class Submission:
    """A prediction on its way to its verdict."""

    event: PredictionSubmitted
    seq: int
    proposal: ProposedVerdict


@dataclass(slots=True)
class Tally:
    """One miner's UTC day. Reserved wagers are on their way to the disk."""

    accepted: int = 0
    rejected: int = 0
    wagered: Millionths = Millionths(0)
    reserved: Millionths = Millionths(0)


@dataclass(slots=True)
class FormerClock:
    """The wall clock's reading if it had not been set; this may be the right one."""

    ahead: Micros
    """Its distance ahead of the present wall clock."""
    until: Micros
    """When it no longer counts; monotonic. It counts for as long as the step was wide: until then a game may have
    started by the one clock and not by the other."""


@dataclass(slots=True)
class PredictionState:
    """The slate, the day, and the running commits."""

    offers: dict[GameId, Offer] = field(default_factory=dict)
    awaiting_slate: bool = False
    """No slate has been in force since the start, so ``game_not_found`` cannot be decided."""
    days: dict[int, dict[Hotkey, Tally]] = field(default_factory=dict)
    waiting: list[Submission] = field(default_factory=list)
    """For the next commit."""
    committing: list[Submission] = field(default_factory=list)
    undecided: dict[Hotkey, list[Submission]] = field(default_factory=dict)
    """Within the daily limit or not, depending on what is reserved; in the order of receipt."""
    suspect_until: Micros = Micros(0)
    """Until then the wall clock may not be trusted."""
    former_clocks: list[FormerClock] = field(default_factory=list)
    unanswered: dict[ConnectionId, int] = field(default_factory=dict)
    """Predictions of each session without an answer."""
    total: int = 0
    """Unanswered predictions of all sessions."""
    paused: dict[ConnectionId, None] = field(default_factory=dict)
    """Sessions that are not read."""
    refused: tuple[ConnectionId, str, Micros] | None = None
    """Connection, id and receipt time of the last message that was refused: it is told once for all its predictions."""
    stopping: bool = False


Stored = list[tuple[Submission, StoredVerdict]]


class PredictionActor(Actor):
    """Judges predictions, asks the ledger to store the verdicts, and confirms the stored ones."""

    name = "prediction"
    Settings = PredictionSettings
    State = PredictionState
    settings: PredictionSettings
    state: PredictionState

    def __init__(self, settings: PredictionSettings | None = None) -> None:
        super().__init__(settings)
        self._take_settings()

    @on(SettingsReloaded)
    def reload(self, event: SettingsReloaded, envelope: Envelope) -> None:
        super().reload(event, envelope)
        self._take_settings()

    def _take_settings(self) -> None:
        self._limit = Millionths(millionths(self.settings.daily_wager_limit) or 0)
        self._grace = micros(self.settings.odds_grace)

    @on(NeuronStarted)
    def begin(self, _: NeuronStarted, __: Envelope) -> None:
        self.state.awaiting_slate = True

    @on(LedgerOpened)
    def recall(self, event: LedgerOpened, _: Envelope) -> None:
        for total in event.days:
            tally = Tally(total.accepted, total.rejected, total.wagered)
            self.state.days.setdefault(total.day, {})[total.hotkey] = tally

    @on(GamesUpdated)
    def offer(self, event: GamesUpdated, envelope: Envelope) -> None:
        offers, self.state.awaiting_slate = self.state.offers, False
        offered = {game.game_id for game in event.games}
        for game_id, offer in list(offers.items()):
            is_gone = event.snapshot and game_id not in offered
            is_past = not offer.game.active and envelope.at > offer.starts_at + CLOSED_MEMORY
            if is_gone or is_past:
                del offers[game_id]
        for game in event.games:
            if game.game_id in offers:
                offers[game.game_id].change(game, envelope.mono, self._grace)
            else:
                offers[game.game_id] = Offer.of(game)

    @on(ClockStepped)
    def distrust(self, event: ClockStepped, envelope: Envelope) -> None:
        state = self.state
        state.suspect_until = Micros(envelope.mono + CLOCK_WINDOW)
        for clock in state.former_clocks:
            clock.ahead = Micros(clock.ahead - event.by)
        state.former_clocks.append(FormerClock(Micros(-event.by), Micros(state.suspect_until + abs(event.by))))
        for number, clock in enumerate(state.former_clocks):
            if abs(clock.ahead) <= CLOCK_STEP:  # set right again: its readings in between no longer count
                del state.former_clocks[number:]
                break
        del state.former_clocks[:-MAX_FORMER_CLOCKS]

    @on(PredictionSubmitted)
    def propose(self, event: PredictionSubmitted, envelope: Envelope) -> None:
        doubt = self._doubt(event, envelope.mono)
        if doubt is not None:
            self._refuse(event, ErrorCode.INTERNAL, doubt)
            return
        if self.state.total - len(self.state.committing) >= MAX_WAITING:
            text = "too many predictions wait to be stored; send the same prediction again"
            self._refuse(event, ErrorCode.OVERLOADED, text)
            return
        submission = Submission(event, envelope.seq, self.judge(event, envelope.mono))
        self._take(event.connection)
        undecided = self.state.undecided.get(event.hotkey)
        if undecided is not None:
            undecided.append(submission)  # a miner's predictions are judged in the order in which they came
        else:
            self._admit(submission)
        self._commit()

    @on(PredictionsStored)
    def confirm(self, event: PredictionsStored, envelope: Envelope) -> None:
        settled = self._settle()
        self._release(settled)
        stored = list(zip(settled, event.verdicts, strict=True))
        for submission, verdict in stored:
            self._count(submission, verdict)
        self._answer(stored, envelope)
        for submission, verdict in stored:
            self._announce(submission, verdict, envelope)
        self._go_on(settled)

    @on(CommitFailed)
    def refuse_failed(self, event: CommitFailed, _: Envelope) -> None:
        failed = self._settle()
        self._release(failed)
        attempts = dict.fromkeys((submission.event.connection, submission.event.about) for submission in failed)
        for connection, about in attempts:
            text = f"the verdict could not be stored ({event.reason}); send the same prediction again"
            self.publish(MessageRefused(connection, about, ErrorCode.INTERNAL, text))
        self._go_on(failed)

    @on(NeuronStopping)
    def stop(self, _: NeuronStopping, __: Envelope) -> None:
        """The commit that runs is the last: what waits or comes after it has no verdict, and is sent again later."""
        self.state.stopping = True

    # --- how much may wait

    @on(ConnectionClosed)
    def forget(self, event: ConnectionClosed, _: Envelope) -> None:
        self.state.paused.pop(event.connection, None)
        if self.state.refused is not None and self.state.refused[0] == event.connection:
            self.state.refused = None

    def _take(self, connection: ConnectionId) -> None:
        state = self.state
        mine = state.unanswered[connection] = state.unanswered.get(connection, 0) + 1
        state.total += 1
        is_too_much = mine >= self.settings.max_unanswered or state.total >= PAUSE_ALL
        if is_too_much and connection >= 0 and connection not in state.paused:  # below 0 there is nothing to pause
            state.paused[connection] = None
            self.publish(ReadingPaused(connection))

    def _release(self, answered: list[Submission]) -> None:
        state = self.state
        for submission in answered:
            connection = submission.event.connection
            left = state.unanswered[connection] - 1
            if left:
                state.unanswered[connection] = left
            else:
                del state.unanswered[connection]
        state.total -= len(answered)
        if state.paused and state.total < PAUSE_ALL // 2:
            for connection in list(state.paused):
                if state.unanswered.get(connection, 0) <= self.settings.max_unanswered // 2:
                    del state.paused[connection]
                    self.publish(ReadingResumed(connection))

    # --- before the commit

    def _doubt(self, event: PredictionSubmitted, mono: Micros) -> str | None:
        """Why ``event`` cannot be judged yet, or by a clock that was set, if so."""
        if self.state.awaiting_slate:
            return "this validator has no slate yet; send the same prediction again"
        if mono < self.state.suspect_until:
            return "this validator's clock has just been set; send the same prediction again in a minute"
        if not self.state.former_clocks:
            return None
        if self._start_is_disputed(event, mono):
            return "this validator's clock was set: by one the game has started, by the other not; send it again later"
        if self._limit_is_disputed(event, mono):
            return "this validator's clock was set: by one it is a day whose limit is used up; send it again later"
        return None

    def _start_is_disputed(self, event: PredictionSubmitted, mono: Micros) -> bool:
        """Whether the clock and a former one disagree on whether the game has started."""
        offer = self.state.offers.get(getattr(event.prediction, "game_id", GameId("")))
        if offer is None:
            return False
        started = event.received_at >= offer.starts_at
        return any((at >= offer.starts_at) != started for at in self._by_former_clocks(event, mono))

    def _limit_is_disputed(self, event: PredictionSubmitted, mono: Micros) -> bool:
        """Whether the prediction exceeds the limit of its day, and a former clock puts it on another day."""
        day = utc_day(event.received_at)
        if all(utc_day(at) == day for at in self._by_former_clocks(event, mono)):
            return False
        tally = self._tally_of(event.hotkey, event.received_at)
        return tally.wagered + tally.reserved + _wager(event.prediction) > self._limit

    def _by_former_clocks(self, event: PredictionSubmitted, mono: Micros) -> list[Micros]:
        """When ``event`` was received by each clock that may have been the right one."""
        clocks = [clock for clock in self.state.former_clocks if clock.until > mono]
        return [Micros(event.received_at + clock.ahead) for clock in clocks]

    def _refuse(self, event: PredictionSubmitted, code: ErrorCode, text: str) -> None:
        attempt = event.connection, event.about, event.received_at
        if attempt != self.state.refused:
            self.state.refused = attempt
            self.publish(MessageRefused(event.connection, event.about, code, text))

    def judge(self, event: PredictionSubmitted, mono: Micros) -> ProposedVerdict:
        """The verdict by all rules but the daily limit. Override this to be stricter, or to know more games.

        Args:
            event: the prediction; its sender is proven.
            mono: when it is judged.
        """
        prediction = event.prediction
        offer = self.state.offers.get(prediction.game_id) if isinstance(prediction, TeamGamePrediction) else None
        quotable = [] if offer is None else offer.odds_since(Micros(mono - self._grace))
        rejection = judge(prediction, offer, event.received_at, quotable)
        code, message = rejection or (VerdictCode.ACCEPTED, "")
        return ProposedVerdict(
            event.hotkey,
            prediction,
            content_digest(prediction),
            code,
            message,
            event.received_at,
            _wager(prediction) if rejection is None else Millionths(0),
            expiry(event.received_at, None if offer is None else offer.starts_at),
            event.proof,
        )

    def _admit(self, submission: Submission) -> None:
        """Apply the daily limit, which is the last rule, and pass the verdict on to the next commit."""
        proposal = submission.proposal
        if proposal.code is VerdictCode.ACCEPTED:
            tally = self._tally(proposal)
            if tally.wagered + proposal.wager > self._limit:
                submission.proposal = self._over_limit(proposal, tally)
            elif tally.wagered + tally.reserved + proposal.wager > self._limit:
                # a reservation may still be given back, so no verdict may rest on it
                self.state.undecided.setdefault(proposal.hotkey, []).append(submission)
                return
            else:
                tally.reserved = Millionths(tally.reserved + proposal.wager)
        self.state.waiting.append(submission)

    def _over_limit(self, proposal: ProposedVerdict, tally: Tally) -> ProposedVerdict:
        current, attempted = _units(tally.wagered), _units(proposal.wager)
        message = f"wagered today {current:g}, attempted {attempted:g}, and the limit is {_units(self._limit):g}"
        return replace(proposal, code=VerdictCode.DAILY_LIMIT_EXCEEDED, message=message)

    def _commit(self) -> None:
        if self.state.committing or not self.state.waiting or self.state.stopping:
            return
        batch = self.state.waiting[:MAX_COMMIT]
        del self.state.waiting[:MAX_COMMIT]
        self.state.committing = batch
        self.publish(
            CommitRequested(tuple(submission.proposal for submission in batch)),
            causes=tuple(submission.seq for submission in batch),
        )

    # --- after the commit

    def _settle(self) -> list[Submission]:
        """The proposals of the failed commit; their reservations are released."""
        settled, self.state.committing = self.state.committing, []
        for submission in settled:
            proposal = submission.proposal
            if proposal.code is VerdictCode.ACCEPTED:
                tally = self._tally(proposal)
                tally.reserved = Millionths(tally.reserved - proposal.wager)
        return settled

    def _count(self, submission: Submission, verdict: StoredVerdict) -> None:
        if not verdict.fresh:
            return
        tally = self._tally(submission.proposal)
        if verdict.code is VerdictCode.ACCEPTED:
            tally.accepted += 1
            tally.wagered = Millionths(tally.wagered + submission.proposal.wager)
        else:
            tally.rejected += 1

    def _answer(self, stored: Stored, envelope: Envelope) -> None:
        """One confirmation for each connection, in the order received (protocol, "Results and rules")."""
        results: dict[tuple[ConnectionId, Hotkey], list[PredictionResult]] = {}
        for submission, verdict in stored:
            event = submission.event
            results.setdefault((event.connection, event.hotkey), []).append(_result(event.about, verdict))
        for (connection, hotkey), mine in results.items():
            stats = self._stats(hotkey, envelope)
            for portion in codec.results_by_frame(mine):
                self.publish(SendRequested(hotkey, ConfirmationMessage(results=portion, miner_stats=stats), connection))

    def _announce(self, submission: Submission, verdict: StoredVerdict, envelope: Envelope) -> None:
        event, causes = submission.event, (submission.seq, envelope.seq)
        prediction = event.prediction
        decided: Decided
        if verdict.code is VerdictCode.CONFLICT:
            decided = PredictionConflicted(event.hotkey, event.uid, prediction, verdict.message)
        elif not verdict.fresh:
            decided = VerdictRepeated(event.hotkey, event.uid, verdict.prediction_id, verdict.code)
        elif verdict.code is VerdictCode.ACCEPTED and isinstance(prediction, TeamGamePrediction):
            decided = PredictionAccepted(event.hotkey, event.uid, prediction, event.received_at)
        else:
            decided = PredictionRejected(
                event.hotkey, event.uid, prediction, verdict.code, verdict.message, event.received_at
            )
        self.publish(decided, causes)

    def _go_on(self, settled: list[Submission]) -> None:
        """Apply the limit to what waited for this commit, and begin the next."""
        for hotkey in dict.fromkeys(submission.event.hotkey for submission in settled):
            for submission in self.state.undecided.pop(hotkey, ()):
                if hotkey in self.state.undecided:
                    self.state.undecided[hotkey].append(submission)
                else:
                    self._admit(submission)
        self._commit()

    def _tally(self, proposal: ProposedVerdict) -> Tally:
        return self._tally_of(proposal.hotkey, proposal.received_at)

    def _tally_of(self, hotkey: Hotkey, at: Micros) -> Tally:
        day = utc_day(at)
        tallies = self.state.days.get(day)
        if tallies is None:
            # a clock that was set may be set right again: the day that it was is still needed then
            oldest = min((day, *(utc_day(Micros(at + clock.ahead)) for clock in self.state.former_clocks))) - 1
            for past in [known for known in self.state.days if known < oldest]:
                del self.state.days[past]
            tallies = self.state.days[day] = {}
        tally = tallies.get(hotkey)
        if tally is None:
            tally = tallies[hotkey] = Tally()
        return tally

    def _stats(self, hotkey: Hotkey, envelope: Envelope) -> MinerStats:
        tally = self._tally_of(hotkey, envelope.at)
        return MinerStats(
            accepted_today=tally.accepted,
            rejected_today=tally.rejected,
            wagered_today=_units(tally.wagered),
            daily_limit=self.settings.daily_wager_limit,
        )


def _result(about: str, verdict: StoredVerdict) -> PredictionResult:
    return PredictionResult(
        prediction_id=verdict.prediction_id,
        about=about,
        success=verdict.code is VerdictCode.ACCEPTED,
        code=verdict.code,
        message=verdict.message[:MAX_MESSAGE],
    )


def expiry(received_at: Micros, starts_at: Micros | None) -> Micros:
    """When a verdict may be forgotten.

    Args:
        received_at: when the prediction was received.
        starts_at: when its game starts; None if there is no such game.
    """
    return Micros(RETENTION + (received_at if starts_at is None else max(starts_at, received_at)))


def _wager(prediction: Prediction) -> Millionths:
    scaled = millionths(prediction.wager) if isinstance(prediction, TeamGamePrediction) else None
    return scaled or Millionths(0)


def _units(amount: Millionths) -> float:
    return amount / 1_000_000
