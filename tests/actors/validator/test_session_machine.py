"""Whole sessions at a validator: steps that an honest miner takes, and a wrong twin of each, in any order.

Whatever strangers, liars and slow readers do in between: a prediction has one verdict for ever, which is stored before
it is told, honest miners get it, and nothing is left of a connection that has ended.
"""

import itertools
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bettensor.actors.connection import Stage
from bettensor.actors.validator.auth import CLOSING_TIME, ValidatorAuthActor
from bettensor.actors.validator.connection import ValidatorConnectionActor
from bettensor.bus import codec
from bettensor.bus.codes import CloseCode, VerdictCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    BinaryReceived,
    CloseRequested,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    ExchangeCompleted,
    FrameReceived,
    HttpAnswered,
    HttpRequestReceived,
    MetagraphFetched,
    NeuronInfo,
    PeerAuthenticated,
    PeerRefused,
    ProposedVerdict,
    Purpose,
    ReadingPaused,
    ReadingResumed,
    RequestBodyReceived,
    Road,
    SendQueueDrained,
    SendQueueFilled,
    UnsignedReceived,
)
from bettensor.bus.games import TeamGame, TeamGamePrediction, content_digest
from bettensor.bus.identifiers import (
    SECOND,
    ConnectionId,
    Epoch,
    Hotkey,
    MessageId,
    Micros,
    Offset,
    PredictionId,
    SessionId,
    Uid,
)
from bettensor.bus.messages import (
    MAX_FRAME_BYTES,
    SUBPROTOCOL,
    Broadcast,
    ConfirmationMessage,
    ErrorMessage,
    GameUpdateMessage,
    HeartbeatMessage,
    PointToPoint,
    PredictionMessage,
    PredictionResult,
    WebSocketMessage,
    WelcomeMessage,
    session_id,
)
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.edges.shared_frames import Frames, Written
from bettensor.neurons.edges.writer import TransportGone
from bettensor.neurons.simulation import SimulatedKeys, SimulatedValidator
from bettensor.neurons.simulation.keys import simulated_signature
from tests.machines import FIRST_CONNECTION, PROFILE, check_no_failure, check_replay, connections_in
from tests.support import NETUID, NOW, make_game, make_hotkey, make_prediction

MINERS: Final = tuple(make_hotkey(f"miner{number}") for number in range(4))
STRANGER: Final = make_hotkey("stranger")
SETTINGS: Final[dict[str, Any]] = {
    "actors": {
        "auth": {"max_connections": 6, "silent_sessions": 3, "sessions_per_hotkey": 2},
        "connection": {"refusal_burst": 20.0, "prediction_burst": 200.0, "predictions_per_second": 20.0},
        "prediction": {"daily_wager_limit": 300.0, "max_unanswered": 128},
    }
}
"""Limits that a run of some fifty steps reaches."""
PLACES: Final[dict[Purpose, tuple[str, str]]] = {
    "session": ("/ws", "GET"),
    "games": ("/games", "GET"),
    "predictions": ("/predictions", "POST"),
}


@dataclass
class Attempt:
    """A message with predictions."""

    hotkey: Hotkey
    contents: dict[PredictionId, str]
    """The digest of each."""
    is_right: bool
    answered: set[PredictionId] = field(default_factory=set)


class Line:
    """One connection, as its miner has it."""

    road: Road = "websocket"
    packs = False

    def __init__(
        self, machine: "SessionMachine", hotkey: Hotkey, purpose: Purpose, request: HttpRequestReceived
    ) -> None:
        self.machine = machine
        self.hotkey = hotkey
        self.purpose = purpose
        self.connection = request.connection
        self.challenge = dict(request.headers)["x-bittensor-nonce"]
        self.session = session_id(NETUID, machine.validator.hotkey, hotkey, self.challenge, request.salt)
        self.body = b""
        self.said = 0
        """The last ``seq`` that was sent."""
        self.heard = 0
        """The last ``seq`` that came."""
        self.welcomed = False
        self.has_spoken = False
        self.leaving = False
        """The validator has asked for its end."""
        self.ended = False
        self.is_polite = True
        """Whether it answers a close at once."""
        self.is_slow = False
        self.paused: set[str] = set()
        self.unread: deque[Event] = deque()
        """What was sent while the validator does not read."""
        self.place: tuple[Epoch, Offset] | None = None
        """In the stream of games."""
        self.frames: list[bytes] = []
        """Right ones that were sent."""
        self.errors: set[str] = set()
        """The messages that an error answered."""
        self.outcomes = 0
        """How often a request was answered."""

    @property
    def is_usable(self) -> bool:
        return self.welcomed and not self.leaving and not self.ended

    # --- the validator writes

    def queued(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        if self.ended:
            raise TransportGone("the connection has ended")
        self._hear(data)

    def share(self, frames: Frames, written: Written | None = None) -> None:
        if self.ended:
            raise TransportGone("the connection has ended")
        for frame in frames:
            self._hear(frame.line[:-1])
        if written is not None:
            written(sum(frame.size for frame in frames))

    def _hear(self, data: bytes) -> None:
        assert len(data) <= MAX_FRAME_BYTES
        frame = codec.split(data)
        assert frame.signature == simulated_signature(self.machine.validator.hotkey, frame.payload)
        message = codec.read(frame.payload)
        assert message.sender_hotkey == self.machine.validator.hotkey
        if isinstance(message, Broadcast):
            assert isinstance(message, GameUpdateMessage)
            self._follow(message)
            return
        assert isinstance(message, PointToPoint)
        assert (message.session, message.seq) == (self.session, self.heard + 1), "a gap in what the validator sends"
        self.heard += 1
        assert self.welcomed or isinstance(message, WelcomeMessage), "something else before the welcome"
        if isinstance(message, WelcomeMessage):
            assert not self.welcomed
            assert message.challenge == self.challenge
            self.welcomed = True
            self.place = self.place if message.recovered else None
        elif isinstance(message, ConfirmationMessage):
            for result in message.results:
                self.machine.confirmed(self, result)
        elif isinstance(message, ErrorMessage) and message.in_reply_to is not None:
            self.errors.add(message.in_reply_to)

    def _follow(self, update: GameUpdateMessage) -> None:
        known = None if update.previous is None else (update.epoch, update.previous)
        assert known is None or known == self.place, f"{update.previous} -> {update.offset} at {self.place}"
        if update.part == update.parts:
            self.place = update.epoch, update.offset


class SessionMachine(RuleBasedStateMachine):
    """A validator and its port."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count(1)
        self.lines: dict[ConnectionId, Line] = {}
        self.checked = 0
        """Events of the log that were looked at."""
        self.attempts: dict[MessageId, Attempt] = {}
        self.told: dict[tuple[Hotkey, PredictionId], ProposedVerdict] = {}
        """The stored row of each verdict that was told."""
        self.sent: defaultdict[Hotkey, list[TeamGamePrediction]] = defaultdict(list)
        self.requests: list[HttpRequestReceived] = []
        self.pending: deque[Callable[[], None]] = deque()
        """What the port does after the drain."""
        self.members = set(MINERS)
        self.barred: set[Hotkey] = set()
        self.is_strange = False
        """Whether anything is wrong with disk or clock."""
        self.games: dict[str, TeamGame] = {}

    @initialize(has_games=st.booleans())
    def begin(self, has_games: bool) -> None:
        self.validator = SimulatedValidator(settings=SETTINGS)
        self.bus = self.validator.bus
        self.connections: ValidatorConnectionActor = next(
            actor for actor in self.validator.actors if isinstance(actor, ValidatorConnectionActor)
        )
        self.auth: ValidatorAuthActor = next(
            actor for actor in self.validator.actors if isinstance(actor, ValidatorAuthActor)
        )
        self.keys: SimulatedKeys = self.validator.edges[SimulatedKeys]
        for kind in (PeerAuthenticated, PeerRefused, HttpAnswered, ExchangeCompleted, CloseRequested):
            self.bus.subscribe(kind, self._decided, "port")
        self.bus.subscribe(ReadingPaused, self._pause, "port")
        self.bus.subscribe(ReadingResumed, self._resume, "port")
        self.validator.start(self._metagraph())
        if has_games:
            self._offer(make_game("a"), make_game("b"), make_game("soon", starts_at=Micros(NOW + 60 * SECOND)))

    def teardown(self) -> None:
        """The disk works again, everybody leaves, and the log of it all is decided anew."""
        if not hasattr(self, "validator"):
            return
        self._heal()
        for line in list(self.lines.values()):
            if not line.ended:
                self._end(line, CloseCode.NORMAL)
        self._settle()
        self.validator.stop()
        self.check_state()
        check_no_failure(self.validator)
        check_replay(self.validator)

    # --- what an honest miner does, and the wrong twin of each

    @rule(hotkey=st.sampled_from(MINERS), is_polite=st.booleans(), knows=st.booleans())
    def handshake(self, hotkey: Hotkey, is_polite: bool, knows: bool) -> None:
        line = self._ask(hotkey, "session", knows=knows)
        line.is_polite = is_polite
        self._settle()
        assert line.welcomed or line.outcomes == 1

    @rule(
        hotkey=st.sampled_from(MINERS),
        fault=st.sampled_from(
            (
                "signature",
                "replayed",
                "replayed",
                "replayed",
                "replayed",
                "receiver",
                "netuid",
                "stranger",
                "scheme",
                "no_header",
                "twice",
                "old",
                "subprotocol",
                "no_upgrade",
                "validator",
                "method",
                "path",
                "epoch",
            )
        ),
        purpose=st.sampled_from(("session", "games", "predictions")),
    )
    def wrong_request(self, hotkey: Hotkey, fault: str, purpose: Purpose) -> None:
        if fault == "replayed" and not self.requests:
            return
        if fault in ("subprotocol", "no_upgrade"):
            purpose = "session"
        line = self._ask(hotkey, purpose, fault=fault)
        self._settle()
        assert not line.welcomed, f"{fault} was admitted"
        assert line.outcomes == 1

    @precondition(lambda self: self._usable())
    @rule(data=st.data())
    def heartbeat(self, data: st.DataObject) -> None:
        self._say(self._draw(data), HeartbeatMessage())

    @precondition(lambda self: self._usable())
    @rule(data=st.data(), count=st.sampled_from((1, 1, 2, 64)), wager=st.sampled_from((0.01, 1.0, 30.0, 301.0)))
    def predict(self, data: st.DataObject, count: int, wager: float) -> None:
        line = self._draw(data)
        self._push(line, [self._bet(data, wager) for _ in range(count)])

    @precondition(lambda self: self._usable() and any(self.sent.values()))
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        line = self._draw(data)
        if self.sent[line.hotkey]:
            self._push(line, data.draw(st.lists(st.sampled_from(self.sent[line.hotkey]), min_size=1, max_size=3)))

    @precondition(lambda self: self._usable() and any(self.sent.values()))
    @rule(data=st.data())
    def contradict(self, data: st.DataObject) -> None:
        """The same id with another content."""
        line = self._draw(data)
        if self.sent[line.hotkey]:
            known = data.draw(st.sampled_from(self.sent[line.hotkey]))
            self._push(line, [replace(known, wager=known.wager + 1)])

    @precondition(lambda self: self._usable())
    @rule(
        data=st.data(),
        fault=st.sampled_from(
            (
                "signature",
                "session",
                "gap",
                "repeat",
                "sender",
                "signer",
                "binary",
                "unsigned",
                "oversized",
                "broadcast",
                "not_json",
                "no_head",
                "old_session",
                "utf8",
                "deep",
            )
        ),
    )
    def violate(self, data: st.DataObject, fault: str) -> None:
        """A frame that ends the session."""
        line = self._draw(data)
        event = self._violation(data, line, fault)
        if event is None:
            return
        is_read = not line.paused
        self._arrive(line, event)
        if is_read:
            assert line.leaving, f"{fault} was taken"

    @precondition(lambda self: self._usable())
    @rule(data=st.data(), fault=st.sampled_from(("unknown", "empty", "too_many", "welcome", "confirmation", "no_id")))
    def babble(self, data: st.DataObject, fault: str) -> None:
        """A message that is refused alone; the session goes on."""
        line = self._draw(data)
        payload, message_id = self._babble(line, fault)
        line.said += 1
        is_heard = not line.paused and line.has_spoken
        self._arrive(line, FrameReceived(line.connection, self._signed(line.hotkey, payload)))
        assert not is_heard or line.leaving or message_id in line.errors, f"{fault} has no answer"

    @precondition(lambda self: any(line.leaving or line.ended for line in self.lines.values()))
    @rule(data=st.data(), is_binary=st.booleans())
    def speak_after_the_end(self, data: st.DataObject, is_binary: bool) -> None:
        line = data.draw(st.sampled_from([line for line in self.lines.values() if line.leaving or line.ended]))
        if line.purpose == "session":
            frame = self._frame(line, self._wrong(line, [self._bet(data, 1.0, wrong=True)]))
            event = BinaryReceived(line.connection, len(frame)) if is_binary else FrameReceived(line.connection, frame)
            self.bus.publish(event)

    @precondition(lambda self: self._open_sessions())
    @rule(data=st.data(), code=st.sampled_from((CloseCode.NORMAL, CloseCode.ABNORMAL, CloseCode.GOING_AWAY)))
    def leave(self, data: st.DataObject, code: CloseCode) -> None:
        self._end(data.draw(st.sampled_from(self._open_sessions())), code)

    @rule(hotkey=st.sampled_from(MINERS), knows=st.booleans(), leaves=st.booleans())
    def get_games(self, hotkey: Hotkey, knows: bool, leaves: bool) -> None:
        line = self._ask(hotkey, "games", knows=knows)
        if leaves:
            self._end(line, CloseCode.ABNORMAL)
        self._settle()
        assert line.outcomes == 1 or leaves, "GET /games has no answer"

    @rule(data=st.data(), hotkey=st.sampled_from(MINERS), count=st.sampled_from((1, 2, 64)), repeats=st.booleans())
    def post(self, data: st.DataObject, hotkey: Hotkey, count: int, repeats: bool) -> None:
        bets = [self._bet(data, 1.0) for _ in range(count)]
        if repeats and self.sent[hotkey]:
            bets[0] = data.draw(st.sampled_from(self.sent[hotkey]))
        message = self._right(hotkey, bets)
        line = self._ask(hotkey, "predictions", body=codec.encode_body(message))
        self._settle()
        if not self.is_strange:
            assert line.outcomes == 1, "POST /predictions has no answer"

    @rule(
        data=st.data(),
        hotkey=st.sampled_from(MINERS),
        fault=st.sampled_from(("sender", "heartbeat", "text", "big", "gone")),
    )
    def wrong_post(self, data: st.DataObject, hotkey: Hotkey, fault: str) -> None:
        bets = [self._bet(data, 1.0, wrong=True)]
        other = next(known for known in MINERS if known != hotkey)
        bodies: dict[str, Callable[[], bytes]] = {
            "sender": lambda: codec.encode_body(self._wrong_of(hotkey, bets, sender=other)),
            "heartbeat": lambda: codec.encode_body(self._stamped(HeartbeatMessage(), hotkey)),
            "text": lambda: b"predict this",
            "big": lambda: b" " * (MAX_FRAME_BYTES + 1),
            "gone": lambda: codec.encode_body(self._wrong_of(hotkey, bets)),
        }
        body = bodies[fault]()
        line = self._ask(hotkey, "predictions", body=body, hands_over=fault != "gone")
        if fault == "gone":
            self._end(line, CloseCode.ABNORMAL)
        self._settle()
        assert fault == "gone" or line.outcomes == 1

    @rule()
    def get_health(self) -> None:
        request = self._request(STRANGER, "/ws/health", "GET", b"", upgrade=False)
        line = self.lines[request.connection] = Line(self, STRANGER, "games", request)
        self.bus.publish(request)
        self._settle()
        assert line.outcomes == 1

    # --- the world

    @rule(seconds=st.sampled_from((0.1, 1, 4, 6, 12, 61, 400)))
    def wait(self, seconds: float) -> None:
        """Silence: those who do not answer a close are cut off, and silent sessions become stale."""
        until = seconds
        while until > 0:
            step = min(until, CLOSING_TIME)
            self.validator.advance(step)
            until -= step
            self._settle()
            if step == CLOSING_TIME:
                self._cut_off()

    @precondition(lambda self: self._usable())
    @rule(data=st.data())
    def read_slowly(self, data: st.DataObject) -> None:
        line = self._draw(data)
        kind = SendQueueDrained if line.is_slow else SendQueueFilled
        line.is_slow = not line.is_slow
        self.bus.publish(kind(line.connection))
        self._settle()

    @rule(data=st.data())
    def change_games(self, data: st.DataObject) -> None:
        odds = data.draw(st.sampled_from((1.5, 1.8, 2.5)))
        names = data.draw(st.lists(st.sampled_from("abcd"), unique=True))
        self._offer(*(make_game(name, team_a_odds=odds, team_b_odds=2.1) for name in names))
        self._settle()

    @rule(hotkey=st.sampled_from(MINERS))
    def change_metagraph(self, hotkey: Hotkey) -> None:
        self.members ^= {hotkey}
        self.bus.publish(MetagraphFetched(self._metagraph()))
        self._settle()

    @rule(hotkey=st.sampled_from(MINERS))
    def change_blacklist(self, hotkey: Hotkey) -> None:
        self.barred ^= {hotkey}
        self.validator.blacklist(*sorted(self.barred))
        self._settle()

    @rule(trouble=st.sampled_from(("held", "failing", "well", "well")))
    def change_disk(self, trouble: str) -> None:
        self.validator.ledger.held = self.validator.stream.held = trouble == "held"
        for disk in (self.validator.ledger, self.validator.stream):
            disk.failing = "the disk is full" if trouble == "failing" else None
            if trouble != "held":
                disk.release()
        self.is_strange = trouble != "well"
        self._settle()

    @rule(seconds=st.sampled_from((-7200, 30, 7200)))
    def step_clock(self, seconds: int) -> None:
        self.validator.clock.step_wall(Micros(seconds * SECOND))
        self.bus.look_at_clocks()
        self._settle()

    # --- what always holds

    @invariant()
    def check(self) -> None:
        if not hasattr(self, "validator"):
            return
        check_no_failure(self.validator, self.checked)
        self.checked = len(self.validator.envelopes)
        rows = self.validator.ledger.rows
        for key, row in self.told.items():
            assert rows[key] is row, "a verdict has changed"
        assert not [key for key in rows if key[1].startswith("wrong")], "a wrong twin has a verdict"
        sessions = [s for s in self.connections.state.sessions.values() if s.purpose == "session"]
        active = [session for session in sessions if session.stage is Stage.ACTIVE]
        assert len({session.hotkey for session in active}) == len(active), "two active sessions of a hotkey"
        assert {s.connection for s in active} == set(self.connections.state.present.values())
        limits, state = self.auth.settings, self.auth.state
        assert len(state.silent) <= limits.silent_sessions
        assert len(state.peers) <= limits.max_connections + limits.silent_sessions
        for own in state.sessions.values():
            assert len(own) <= limits.sessions_per_hotkey + 1, "too many sessions of a hotkey"
            assert sum(not state.peers[session].closing for session in own) <= limits.sessions_per_hotkey
        assert all(line.outcomes <= 1 for line in self.lines.values()), "a request has two answers"
        self.check_state()

    def check_state(self) -> None:
        """Nothing is left of connections that have ended."""
        is_busy = self.validator.ledger.held
        living = {line.connection for line in self.lines.values() if not line.ended}
        for actor in self.validator.actors:
            if actor.name == "prediction" and is_busy:
                continue  # it waits for the disk
            left = connections_in(actor.snapshot()) - living
            assert not left, f"{actor.name} remembers {left}"

    # --- how it is done

    def confirmed(self, line: Line, result: PredictionResult) -> None:
        key = line.hotkey, result.prediction_id
        row = self.validator.ledger.rows.get(key)
        assert row is not None, "a verdict that is not stored"
        assert self.told.setdefault(key, row) is row
        attempt = self.attempts[MessageId(result.about)]
        assert attempt.is_right, "a wrong twin is confirmed"
        assert attempt.hotkey == line.hotkey
        is_same = attempt.contents[result.prediction_id] == row.digest
        assert result.code == (row.code if is_same else VerdictCode.CONFLICT)
        assert result.success == (result.code == VerdictCode.ACCEPTED)
        attempt.answered.add(result.prediction_id)

    def _metagraph(self) -> tuple[NeuronInfo, ...]:
        hotkeys = (self.validator.hotkey, *(hotkey for hotkey in MINERS if hotkey in self.members))
        return tuple(NeuronInfo(Uid(uid), hotkey) for uid, hotkey in enumerate(hotkeys))

    def _offer(self, *games: TeamGame) -> None:
        self.games = {game.game_id: game for game in games}
        self.validator.offer(*games)

    def _open_sessions(self) -> list[Line]:
        return [line for line in self.lines.values() if line.purpose == "session" and not line.ended]

    def _usable(self) -> list[Line]:
        return [line for line in self._open_sessions() if line.is_usable]

    def _draw(self, data: st.DataObject) -> Line:
        return data.draw(st.sampled_from(self._usable()))

    def _bet(self, data: st.DataObject, wager: float, *, wrong: bool = False) -> TeamGamePrediction:
        game = self.games[data.draw(st.sampled_from(sorted(self.games)))] if self.games else make_game("unknown")
        prediction_id = PredictionId(f"{'wrong' if wrong else 'p'}-{next(self.numbers)}")
        return make_prediction(game, prediction_id=prediction_id, wager=wager)

    def _stamped(self, message: Any, sender: Hotkey) -> Any:
        message_id = MessageId(f"{next(self.numbers):032x}")
        now = rfc3339(self.validator.clock.wall())
        return codec.stamp(message, message_id=message_id, sender=sender, timestamp=now)

    def _right(self, hotkey: Hotkey, bets: list[TeamGamePrediction]) -> PredictionMessage:
        self.sent[hotkey] += bets
        return self._message(hotkey, bets, is_right=True)

    def _wrong(self, line: Line, bets: list[TeamGamePrediction]) -> PredictionMessage:
        return self._wrong_of(line.hotkey, bets)

    def _wrong_of(
        self, hotkey: Hotkey, bets: list[TeamGamePrediction], sender: Hotkey | None = None
    ) -> PredictionMessage:
        return self._message(hotkey, bets, is_right=False, sender=sender)

    def _message(
        self, hotkey: Hotkey, bets: list[TeamGamePrediction], *, is_right: bool, sender: Hotkey | None = None
    ) -> PredictionMessage:
        message: PredictionMessage = self._stamped(PredictionMessage(predictions=tuple(bets)), sender or hotkey)
        contents = {bet.prediction_id: content_digest(bet) for bet in bets}
        self.attempts[message.message_id] = Attempt(hotkey, contents, is_right)
        return message

    def _signed(self, signer: Hotkey, payload: bytes) -> bytes:
        return codec.join(codec.Frame(payload, simulated_signature(signer, payload)))

    def _frame(
        self,
        line: Line,
        message: PointToPoint,
        *,
        session: SessionId | None = None,
        seq: int | None = None,
        signer: Hotkey | None = None,
    ) -> bytes:
        placed = codec.place(message, session or line.session, line.said + 1 if seq is None else seq)
        return self._signed(signer or line.hotkey, codec.encode(placed))

    def _say(self, line: Line, message: PointToPoint) -> None:
        """One right message, from which the validator knows that its miner is there."""
        if not message.message_id:
            message = self._stamped(message, line.hotkey)
        frame = self._frame(line, message)
        line.said += 1
        line.frames.append(frame)
        self._arrive(line, FrameReceived(line.connection, frame))
        if not line.paused and not line.leaving:
            line.has_spoken = True

    def _push(self, line: Line, bets: list[TeamGamePrediction]) -> None:
        known = {bet.prediction_id: bet for bet in bets}
        message = self._right(line.hotkey, list(known.values()))
        is_read = not line.paused
        self._say(line, message)
        attempt = self.attempts[message.message_id]
        if is_read and not self.is_strange and not line.leaving:
            is_answered = attempt.answered == set(attempt.contents) or message.message_id in line.errors
            assert is_answered, "an honest prediction has no answer"

    def _arrive(self, line: Line, event: Event) -> None:
        if line.paused:
            line.unread.append(event)
        else:
            self.bus.publish(event)
        self._settle()

    def _violation(self, data: st.DataObject, line: Line, fault: str) -> Event | None:
        connection, message = line.connection, self._wrong(line, [self._bet(data, 1.0, wrong=True)])
        other = next(known for known in MINERS if known != line.hotkey)
        right = self._frame(line, message)
        payload = codec.split(right).payload
        if fault == "binary":
            return BinaryReceived(connection, len(right))
        if fault == "unsigned":
            return UnsignedReceived(connection, len(right), right[:64])
        if fault == "old_session":
            old = [
                known
                for known in self.lines.values()
                if known.hotkey == line.hotkey and known is not line and known.frames
            ]
            return FrameReceived(connection, data.draw(st.sampled_from(old)).frames[0]) if old else None
        if fault == "repeat" and not line.said:
            return None
        frames: dict[str, Callable[[], bytes]] = {
            "signature": lambda: right[:-1] + (b"0" if right[-1:] != b"0" else b"1"),
            "session": lambda: self._frame(line, message, session=SessionId("5" * 32)),
            "gap": lambda: self._frame(line, message, seq=line.said + 2),
            "repeat": lambda: self._frame(line, message, seq=line.said),
            "sender": lambda: self._frame(line, self._wrong_of(line.hotkey, list(message.predictions), sender=other)),  # type: ignore[arg-type]
            "signer": lambda: self._frame(line, message, signer=other),
            "oversized": lambda: right + b"0" * MAX_FRAME_BYTES,
            "broadcast": lambda: self._signed(line.hotkey, codec.encode(self._stamped(self._update(), line.hotkey))),
            "not_json": lambda: self._signed(line.hotkey, payload[:-2]),
            "no_head": lambda: self._signed(line.hotkey, b"{}"),
            "utf8": lambda: self._signed(line.hotkey, payload.replace(b"test", b"\xff\xff\xff\xff")),
            "deep": lambda: self._signed(line.hotkey, payload[:-1] + b',"x":' + b"[" * 2000 + b"]" * 2000 + b"}"),
        }
        return FrameReceived(connection, frames[fault]())

    def _update(self) -> GameUpdateMessage:
        return GameUpdateMessage(netuid=NETUID, epoch=Epoch("e" * 32), offset=Offset(9), updated_games={})

    def _babble(self, line: Line, fault: str) -> tuple[bytes, MessageId]:
        """A payload that is in order in all but its content."""
        message: WebSocketMessage
        if fault == "welcome":
            message = WelcomeMessage(
                receiver_hotkey=line.hotkey,
                challenge="1",
                salt="0" * 32,
                netuid=NETUID,
                ledger_id="1" * 32,  # type: ignore[arg-type]
                heartbeat_interval=1.0,
                connection_timeout=1.0,
                recovered=False,
                limits={"frame_bytes": 1, "predictions_per_message": 1, "messages_per_second": 1.0, "burst": 1.0},  # type: ignore[arg-type]
            )
        elif fault == "confirmation":
            message = ConfirmationMessage(results=())
        else:
            bet = make_prediction(prediction_id=PredictionId(f"wrong-{next(self.numbers)}"))
            bets = {
                "empty": [],
                "too_many": [bet] * 65,
                "no_id": [replace(bet, prediction_id=PredictionId("wrong twin!"))],
            }
            message = PredictionMessage(predictions=tuple(bets.get(fault, [bet])))
        stamped = self._stamped(message, line.hotkey)
        payload = codec.encode(codec.place(stamped, line.session, line.said + 1))
        if fault == "unknown":
            payload = payload.replace(b'"message_type":"prediction"', b'"message_type":"prophecy"')
        return payload, stamped.message_id

    # --- the port

    def _ask(
        self,
        hotkey: Hotkey,
        purpose: Purpose,
        *,
        fault: str = "",
        knows: bool = False,
        body: bytes = b"",
        hands_over: bool = True,
    ) -> Line:
        path, method = PLACES[purpose]
        last = self.validator.stream.last
        place = (last.epoch, last.offset) if knows and last else None
        query = f"netuid={NETUID}" + (f"&epoch={place[0]}&offset={place[1]}" if place else "")
        request = self._request(hotkey, f"{path}?{query}", method, body, upgrade=purpose == "session")
        if fault:
            request = self._wrong_form(request, fault)
        else:
            self.requests.append(request)
        line = Line(self, hotkey, purpose, request)
        line.place, line.body = place, body if hands_over else b""
        self.lines[line.connection] = line
        if purpose != "session":
            line.road = "http"
            self.validator.writer.add(line.connection, line)
        self.keys.trusts_requests = fault != "signature"
        self.bus.publish(request)
        self.keys.trusts_requests = True
        return line

    def _request(self, hotkey: Hotkey, target: str, method: str, body: bytes, *, upgrade: bool) -> HttpRequestReceived:
        number = next(self.numbers)
        headers = {
            "x-bittensor-version": "1",
            "x-bittensor-hotkey": hotkey,
            "x-bittensor-receiver": self.validator.hotkey,
            "x-bittensor-nonce": str(self.validator.clock.wall() * 1000 + number % 1000),
            "x-bittensor-signature": "0x" + "00" * 64,
        }
        if upgrade:
            headers["sec-websocket-protocol"] = SUBPROTOCOL
        connection, salt = ConnectionId(FIRST_CONNECTION + number), f"{number:032x}"
        digest, size = sha256(body).hexdigest(), len(body)
        named = tuple(headers.items())
        return HttpRequestReceived(connection, method, target, named, "10.0.0.1", upgrade, salt, digest, size)

    def _wrong_form(self, request: HttpRequestReceived, fault: str) -> HttpRequestReceived:
        """The wrong twin of ``request``; one that is not signed rightly is the same."""
        headers, target = dict(request.headers), request.target
        old = (self.validator.clock.wall() - 11 * SECOND) * 1000
        changes: dict[str, dict[str, str]] = {
            "receiver": {"x-bittensor-receiver": STRANGER},
            "stranger": {"x-bittensor-hotkey": STRANGER},
            "validator": {"x-bittensor-hotkey": self.validator.hotkey},
            "scheme": {"x-bittensor-crypto": "ed25519"},
            "old": {"x-bittensor-nonce": str(old)},
            "subprotocol": {"sec-websocket-protocol": "chat"},
        }
        wrong: dict[str, Callable[[], HttpRequestReceived]] = {
            "netuid": lambda: replace(request, target=target.replace(f"={NETUID}", f"={NETUID + 1}")),
            "epoch": lambda: replace(request, target=f"{target}&epoch=1"),
            "path": lambda: replace(request, target=f"/nowhere{target}"),
            "method": lambda: replace(request, method="DELETE"),
            "no_header": lambda: replace(request, headers=request.headers[1:]),
            "twice": lambda: replace(request, headers=(*request.headers, request.headers[0])),
            "replayed": lambda: replace(self.requests[-1], connection=request.connection, salt=request.salt),
            "no_upgrade": lambda: replace(request, upgrade=False),
        }
        if fault in changes:
            return replace(request, headers=tuple((headers | changes[fault]).items()))
        return wrong[fault]() if fault in wrong else request

    def _decided(self, event: Any, _: Envelope) -> None:
        line = self.lines.get(event.connection)
        if line is None:
            return
        if isinstance(event, PeerAuthenticated):
            self.pending.append(lambda: self._admit(line))
        elif isinstance(event, CloseRequested):
            line.leaving = True
            if line.is_polite:
                self.pending.append(lambda: self._end(line, event.code))
        else:
            line.outcomes += 1
            self.pending.append(lambda: self._end(line, CloseCode.NORMAL))

    def _admit(self, line: Line) -> None:
        if line.ended:
            return
        if line.purpose == "session":
            self.validator.writer.add(line.connection, line)
            self.bus.publish(ConnectionOpened(line.connection, line.hotkey, line.challenge))
        elif line.purpose == "predictions" and line.body:
            self.bus.publish(RequestBodyReceived(line.connection, line.body))

    def _end(self, line: Line, code: int) -> None:
        if not line.ended:
            line.ended = True
            self.validator.writer.remove(line.connection)
            self.bus.publish(ConnectionClosed(line.connection, code, ""))

    def _pause(self, event: ReadingPaused, _: Envelope) -> None:
        self.lines[event.connection].paused.add(event.cause)

    def _resume(self, event: ReadingResumed, _: Envelope) -> None:
        line = self.lines[event.connection]
        line.paused.discard(event.cause)
        self.pending.append(lambda: self._read_on(line))

    def _read_on(self, line: Line) -> None:
        while line.unread and not line.paused and not line.ended:
            self.bus.publish(line.unread.popleft())

    def _settle(self) -> None:
        while self.pending:
            self.pending.popleft()()

    def _cut_off(self) -> None:
        for line in list(self.lines.values()):
            if line.leaving:
                self._end(line, CloseCode.ABNORMAL)

    def _heal(self) -> None:
        self.change_disk("well")


@pytest.mark.slow
def test_sessions_of_honest_miners_and_of_their_wrong_twins() -> None:
    run_state_machine_as_test(SessionMachine, settings=PROFILE)
