"""Whole sessions at a miner: what an honest validator says, and a wrong twin of each, in any order.

Whatever liars say in between: nothing is told to a validator that has not proven itself, every prediction ends exactly
once, with the verdict that its validator signed, and back-off grows.
"""

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import msgspec
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

from bettensor.actors.heartbeat import HeartbeatActor
from bettensor.actors.miner.connection import MinerConnectionActor
from bettensor.actors.miner.http_fallback import HttpFallbackActor
from bettensor.actors.miner.outbox import OutboxActor
from bettensor.actors.miner.reconnect import ReconnectActor
from bettensor.bus import codec
from bettensor.bus.codes import CloseCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    BinaryReceived,
    CloseRequested,
    ConnectionClosed,
    ConnectionOpened,
    DialFailed,
    DialRequested,
    FrameReceived,
    FrameWritten,
    GamesRequested,
    NeuronInfo,
    PostAnswered,
    PostFailed,
    PostRequested,
    PredictionDiscarded,
    PredictionExpired,
    Purpose,
    ReconnectScheduled,
    Road,
    Tls,
    VerdictReceived,
)
from bettensor.bus.identifiers import (
    SECOND,
    ConnectionId,
    Epoch,
    Hotkey,
    LedgerId,
    MessageId,
    Micros,
    Netuid,
    Offset,
    PredictionId,
    SessionId,
    Uid,
)
from bettensor.bus.messages import (
    ConfirmationMessage,
    ErrorMessage,
    GameUpdateMessage,
    HeartbeatMessage,
    Limits,
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
from bettensor.neurons.simulation import SimulatedMiner
from bettensor.neurons.simulation.keys import simulated_signature
from tests.machines import PROFILE, check_no_failure, check_replay
from tests.support import NETUID, NOW, make_game, make_hotkey, make_prediction

VALIDATORS: Final = (make_hotkey("one"), make_hotkey("two"))
EPOCH: Final = Epoch("e" * 32)
KEYS: Final = ("a" * 64, "b" * 64)
LONGEST: Final = 300.0
"""Seconds; ``websocket.max_reconnect_interval``."""
BASE: Final = 5.0
GAMES: Final = (make_game("a"), make_game("b"), make_game("soon", starts_at=Micros(NOW + 120 * SECOND)))
Key = tuple[Hotkey, PredictionId]


class Line:
    """One connection, as its validator has it."""

    packs = False

    def __init__(
        self, machine: "SessionMachine", validator: Hotkey, connection: ConnectionId, purpose: Purpose
    ) -> None:
        self.machine = machine
        self.validator = validator
        self.connection = connection
        self.purpose = purpose
        self.road: Road = "websocket" if purpose == "session" else "http"
        self.challenge = str(next(machine.numbers))
        self.salt = f"{next(machine.numbers):032x}"
        self.session = session_id(NETUID, validator, machine.miner.hotkey, self.challenge, self.salt)
        self.said = 0
        self.heard = 0
        self.is_proven = False
        """A right welcome was said."""
        self.leaving = False
        self.ended = False
        self.is_deaf = False
        """The transport takes nothing more."""

    @property
    def is_usable(self) -> bool:
        return self.is_proven and not self.leaving and not self.ended

    def queued(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        if self.ended or self.is_deaf:
            raise TransportGone("the connection has ended")
        frame = codec.split(data)
        message = codec.read(frame.payload)
        assert frame.signature == simulated_signature(self.machine.miner.hotkey, frame.payload)
        assert self.is_proven, "the miner speaks to a validator that has not proven itself"
        assert isinstance(message, PointToPoint)
        assert (message.session, message.seq) == (self.session, self.heard + 1), "a gap in what the miner sends"
        assert self.heard or isinstance(message, HeartbeatMessage), "the first word is no heartbeat"
        self.heard += 1
        if isinstance(message, PredictionMessage):
            self.machine.check_unsent(self.validator, message)
            self.machine.note_sent(self.validator, message)

    def share(self, _frames: Frames, _written: Written | None = None) -> None:
        raise AssertionError("a miner broadcasts nothing")


class SessionMachine(RuleBasedStateMachine):
    """A miner between two validators."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count(1)
        self.dials: dict[Hotkey, DialRequested] = {}
        self.requests: dict[ConnectionId, PostRequested | GamesRequested] = {}
        self.lines: dict[ConnectionId, Line] = {}
        self.pending: deque[Callable[[], object]] = deque()
        self.checked = 0
        self.made: set[Key] = set()
        self.sent: set[Key] = set()
        """What each validator may have."""
        self.signed: dict[Key, str] = {}
        """The code of the first verdict that a validator signed on what it was sent."""
        self.ended: dict[Key, str] = {}
        self.serves: dict[Hotkey, str] = {VALIDATORS[0]: "", VALIDATORS[1]: KEYS[0]}
        """The key of each validator's TLS; empty: it has none."""
        self.learned: dict[Hotkey, str] = {}
        """The key that each validator's last right welcome named."""
        self.offsets: dict[Hotkey, int] = dict.fromkeys(VALIDATORS, 1)

    @initialize()
    def begin(self) -> None:
        self.miner = SimulatedMiner()
        self.bus = self.miner.bus
        self.connections = self._actor(MinerConnectionActor)
        self.heartbeat = self._actor(HeartbeatActor)
        self.outbox = self._actor(OutboxActor)
        self.reconnect = self._actor(ReconnectActor)
        self.fallback = self._actor(HttpFallbackActor)
        self.bus.subscribe(DialRequested, self._dialled, "port")
        self.bus.subscribe(PostRequested, self._asked, "port")
        self.bus.subscribe(GamesRequested, self._asked, "port")
        self.bus.subscribe(CloseRequested, self._close, "port")
        self.bus.subscribe(VerdictReceived, self._judged, "port")
        self.bus.subscribe(PredictionExpired, self._expired, "port")
        self.miner.start(self._metagraph())

    def teardown(self) -> None:
        """Everything works again: each prediction ends."""
        if not hasattr(self, "miner"):
            return
        self.change_disk("well")
        for _ in range(40):
            for validator in VALIDATORS:
                self._serve_well(validator)
            if self.made == set(self.ended):
                break
            self.miner.advance(LONGEST / 2)
            self._settle()
        assert self.made == set(self.ended), "a prediction has not ended"
        self.miner.stop()
        check_no_failure(self.miner)
        check_replay(self.miner)

    # --- the operator and his model

    @rule(validator=st.sampled_from(VALIDATORS), count=st.sampled_from((1, 2, 70)), game=st.sampled_from(GAMES))
    def predict(self, validator: Hotkey, count: int, game: Any) -> None:
        for _ in range(count):
            prediction_id = PredictionId(f"p{next(self.numbers)}")
            self.made.add((validator, prediction_id))
            self.miner.predict(prediction_id, validator, game)
        self._settle()

    @precondition(lambda self: self.made)
    @rule(data=st.data())
    def predict_again(self, data: st.DataObject) -> None:
        """An id that was used: it is discarded, and changes nothing."""
        key = data.draw(st.sampled_from(sorted(self.made)))
        if self.ended.get(key) == "expired":
            return  # if it was never on disk, it is a new one
        validator, prediction_id = key
        before = len(self.miner.all(PredictionDiscarded))
        self.miner.predict(prediction_id, validator, wager=99.0)
        if not self.outbox.state.saving and not self.outbox.state.resting:
            assert len(self.miner.all(PredictionDiscarded)) == before + 1
        self._settle()

    @rule(trouble=st.sampled_from(("held", "failing", "well", "well")))
    def change_disk(self, trouble: str) -> None:
        self.miner.outbox.held = trouble == "held"
        self.miner.outbox.failing = "the disk is full" if trouble == "failing" else None
        if trouble != "held":
            self.miner.outbox.release()
        self._settle()

    @rule(seconds=st.sampled_from((0.1, 1, 6, 16, 61, 310)))
    def wait(self, seconds: float) -> None:
        self.miner.advance(seconds)
        self._settle()

    @rule(seconds=st.sampled_from((-60, 60)))
    def step_clock(self, seconds: int) -> None:
        self.miner.clock.step_wall(Micros(seconds * SECOND))
        self.bus.look_at_clocks()
        self._settle()

    # --- dials

    @precondition(lambda self: self.dials)
    @rule(data=st.data())
    def welcome(self, data: st.DataObject) -> None:
        self._answer_dial(data.draw(st.sampled_from(sorted(self.dials))))

    @precondition(lambda self: self.dials)
    @rule(
        data=st.data(),
        fault=st.sampled_from(
            (
                "challenge",
                "receiver",
                "signer",
                "sender",
                "session",
                "netuid",
                "crypto",
                "seq",
                "tls_key",
                "heartbeat",
                "confirmation",
                "update",
                "binary",
                "silence",
                "form",
            )
        ),
    )
    def lie_at_first(self, data: st.DataObject, fault: str) -> None:
        """Anything but the right welcome."""
        line = self._open(data.draw(st.sampled_from(sorted(self.dials))))
        if line is None:
            return
        if fault == "silence":
            self.miner.advance(5)
        elif fault == "binary":
            self.bus.publish(BinaryReceived(line.connection, 1000))
        else:
            self._hear(line, self._wrong_first(line, fault))
        self._settle()
        assert line.ended, f"{fault} was taken"

    @precondition(lambda self: self.dials)
    @rule(
        data=st.data(),
        status=st.sampled_from((None, 400, 401, 403, 404, 429, 503, 200)),
        code=st.sampled_from(("", "stale", "no_metagraph", "not_registered", "over_capacity", "news")),
        retry_after=st.sampled_from((None, 0, 1, 100, 10**9)),
    )
    def refuse_dial(self, data: st.DataObject, status: int | None, code: str, retry_after: int | None) -> None:
        validator = data.draw(st.sampled_from(sorted(self.dials)))
        dial, target = self.dials.pop(validator), self.reconnect.state.targets[validator]
        failures, before = target.failures, len(self.miner.envelopes)
        if status is None:
            code, retry_after = "", None
        self.bus.publish(DialFailed(dial.connection, validator, "no", status, retry_after, code))
        scheduled = [e.event for e in self.miner.envelopes[before:] if isinstance(e.event, ReconnectScheduled)]
        assert len(scheduled) == 1, "a refused dial is not followed by one wait"
        assert target.failures in (failures, failures + 1)
        delay = scheduled[0].delay / SECOND
        if target.failures > failures:
            least, most = min(retry_after or 0, LONGEST), min(LONGEST, BASE * 2**failures)
            assert least <= delay <= max(least, most)
        else:
            assert delay in (30.0, LONGEST) or delay == max(min(retry_after or 0, LONGEST), 30.0)
        self._settle()

    @precondition(lambda self: self.dials)
    @rule(data=st.data(), is_real=st.booleans())
    def ask_for_tls(self, data: st.DataObject, is_real: bool) -> None:
        """The validator serves TLS from now on, or somebody in between only says so."""
        validator = data.draw(st.sampled_from(sorted(self.dials)))
        dial = self.dials.pop(validator)
        if is_real and not self.serves[validator]:
            self.serves[validator] = KEYS[0]
        trouble: Any = "wanted" if dial.tls is None else "handshake"
        self.bus.publish(DialFailed(dial.connection, validator, "no TLS as it was wanted", None, tls=trouble))
        self._settle()

    @rule(validator=st.sampled_from(VALIDATORS))
    def renew_key(self, validator: Hotkey) -> None:
        if self.serves[validator]:
            self.serves[validator] = KEYS[self.serves[validator] == KEYS[0]]

    # --- sessions

    @precondition(lambda self: self._usable())
    @rule(data=st.data(), count=st.integers(1, 64), code=st.sampled_from(("accepted", "odds_mismatch", "news")))
    def confirm(self, data: st.DataObject, count: int, code: str) -> None:
        line = self._draw(data)
        known = sorted(key for key in self.sent if key[0] == line.validator)
        self._confirm(line, known[-count:], code)

    @precondition(lambda self: self._usable())
    @rule(data=st.data(), fault=st.sampled_from(("unknown", "unsent", "unsent", "other", "contradiction")))
    def judge_wrongly(self, data: st.DataObject, fault: str) -> None:
        """A signed verdict on what this validator was never sent, or a second one: it ends nothing."""
        line = self._draw(data)
        ids = {
            "unknown": [PredictionId("never-made")],
            "unsent": [key[1] for key in sorted(self.made - self.sent) if key[0] == line.validator],
            "other": [key[1] for key in sorted(self.made) if key[0] != line.validator],
            "contradiction": [key[1] for key in sorted(self.ended) if key[0] == line.validator],
        }[fault]
        if ids:
            before = dict(self.ended)
            self._hear(line, self._right(line, self._verdicts(ids[:64], "too_late")))
            self._settle()
            assert self.ended == before, f"a verdict on {fault} counts"

    @precondition(lambda self: self._usable())
    @rule(
        data=st.data(),
        kind=st.sampled_from(("heartbeat", "ahead", "update", "gap", "error", "old_epoch", "unknown", "prediction")),
    )
    def tell(self, data: st.DataObject, kind: str) -> None:
        """What leaves the session open, true or not."""
        line = self._draw(data)
        offset = self.offsets[line.validator]
        if kind == "update":
            self.offsets[line.validator] = offset + 1
        messages: dict[str, WebSocketMessage] = {
            "heartbeat": HeartbeatMessage(epoch=EPOCH, offset=Offset(offset)),
            "ahead": HeartbeatMessage(epoch=EPOCH, offset=Offset(10**12)),
            "update": self._update(offset + 1, offset),
            "gap": self._update(offset + 7, offset + 6),
            "old_epoch": replace(self._update(1, None), epoch=Epoch("0" * 32)),
            "error": ErrorMessage(code="rate_limited", message="later", in_reply_to=None),
            "unknown": HeartbeatMessage(),
            "prediction": PredictionMessage(predictions=(make_prediction(),)),
        }
        data_ = self._right(line, messages[kind])
        if kind == "unknown":
            payload = codec.split(data_).payload.replace(b'"heartbeat"', b'"prophecy"')
            data_ = self._sign(line.validator, payload)
        self._hear(line, data_)
        self._settle()
        assert not line.ended, f"{kind} ended the session"

    @precondition(lambda self: self._usable())
    @rule(
        data=st.data(),
        fault=st.sampled_from(("signature", "signer", "sender", "session", "gap", "repeat", "binary", "netuid")),
    )
    def violate(self, data: st.DataObject, fault: str) -> None:
        """Verdicts in a frame that ends the session: they do not count."""
        line, before = self._draw(data), dict(self.ended)
        other = next(known for known in VALIDATORS if known != line.validator)
        waiting = [key[1] for key in sorted(self.sent - set(self.ended)) if key[0] == line.validator]
        verdicts = self._verdicts(waiting[:64] or [PredictionId("nothing")], "too_late")
        if fault == "binary":
            self.bus.publish(BinaryReceived(line.connection, 1000))
        else:
            said = line.said
            frames: dict[str, Callable[[], bytes]] = {
                "signature": lambda: self._right(line, verdicts)[:-4] + b"0000",
                "signer": lambda: self._sign(other, codec.split(self._right(line, verdicts)).payload),
                "sender": lambda: self._frame(line, verdicts, sender=other),
                "session": lambda: self._frame(line, verdicts, session=SessionId("5" * 32)),
                "gap": lambda: self._frame(line, verdicts, seq=said + 2),
                "repeat": lambda: self._frame(line, verdicts, seq=said),
                "netuid": lambda: self._right(line, replace(self._update(9, 8), netuid=Netuid(NETUID + 1))),
            }
            self._hear(line, frames[fault]())
        self._settle()
        assert line.ended, f"{fault} was taken"
        assert self.ended == before

    @precondition(lambda self: any(line.ended for line in self.lines.values()))
    @rule(data=st.data())
    def speak_after_the_end(self, data: st.DataObject) -> None:
        line = data.draw(st.sampled_from([line for line in self.lines.values() if line.ended]))
        if line.purpose == "session":
            before = dict(self.ended)
            waiting = [key[1] for key in sorted(self.made - set(self.ended)) if key[0] == line.validator]
            self._hear(line, self._right(line, self._verdicts(waiting[:64] or [PredictionId("x")], "too_late")))
            self._settle()
            assert self.ended == before, "a verdict after the end counts"

    @precondition(lambda self: self._usable())
    @rule(
        data=st.data(),
        code=st.sampled_from((1000, 1001, 1006, 1009, 1012, 4000, 4001, 4100, 4102, 4103, 4104, 4200, 4999)),
    )
    def end(self, data: st.DataObject, code: int) -> None:
        line = self._draw(data)
        target = self.reconnect.state.targets[line.validator]
        failures = target.failures
        self._end(line, code)
        if code == CloseCode.RATE_LIMITED:
            assert target.failures > failures, "a validator that cuts its miners off is dialled without back-off"
        self._settle()

    @precondition(lambda self: self._usable())
    @rule(data=st.data())
    def break_transport(self, data: st.DataObject) -> None:
        self._draw(data).is_deaf = True

    # --- HTTP

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), share=st.sampled_from((0, 1, 64)))
    def answer(self, data: st.DataObject, share: int) -> None:
        request = data.draw(st.sampled_from(list(self.requests.values())))
        self._answer_request(request, share)

    @precondition(lambda self: self.requests)
    @rule(
        data=st.data(),
        status=st.sampled_from((None, 400, 401, 403, 404, 413, 429, 500, 503)),
        retry_after=st.sampled_from((None, 1, 10**9)),
    )
    def refuse_request(self, data: st.DataObject, status: int | None, retry_after: int | None) -> None:
        request = data.draw(st.sampled_from(list(self.requests.values())))
        del self.requests[request.connection]
        before = len(self.miner.envelopes)
        self.bus.publish(
            PostFailed(request.connection, request.hotkey, "no", status, retry_after, "" if status is None else "x")
        )
        again = [e.event for e in self.miner.envelopes[before:] if isinstance(e.event, PostRequested | GamesRequested)]
        assert not [event for event in again if event.hotkey == request.hotkey], "asked again at once"
        self._settle()

    @precondition(lambda self: self.requests)
    @rule(
        data=st.data(), fault=st.sampled_from(("challenge", "receiver", "signer", "session", "tls_key", "confirmation"))
    )
    def answer_wrongly(self, data: st.DataObject, fault: str) -> None:
        """Verdicts behind a welcome that is none: they do not count."""
        request = data.draw(st.sampled_from(list(self.requests.values())))
        line, before = self._open_exchange(request), dict(self.ended)
        if line is None:
            return
        self._hear(line, self._wrong_first(line, fault))
        ids = [key[1] for key in sorted(self.made - set(self.ended)) if key[0] == line.validator]
        if not line.leaving:
            self._hear(line, self._right(line, self._verdicts(ids[:64] or [PredictionId("x")], "accepted")))
        assert line.leaving, f"{fault} was taken"
        self.bus.publish(PostFailed(request.connection, request.hotkey, "ended"))
        self._end(line, CloseCode.PROTOCOL_VIOLATION)
        self._settle()
        assert self.ended == before

    # --- what always holds

    @invariant()
    def check(self) -> None:
        if not hasattr(self, "miner"):
            return
        check_no_failure(self.miner, self.checked)
        self.checked = len(self.miner.envelopes)
        waiting = {(v, p) for v, tray in self.outbox.state.trays.items() for p in tray.items}
        is_disk_well = not self.miner.outbox.held and self.miner.outbox.failing is None
        assert waiting >= self.made - set(self.ended), "a prediction is lost"
        assert not is_disk_well or not waiting & set(self.ended) or self.outbox.state.resting, "a prediction has ended"
        assert set(self.miner.outbox.entries) <= self.made - set(self.ended)
        living = {line.connection for line in self.lines.values() if not line.ended}
        assert set(self.connections.state.sessions) == living
        assert set(self.heartbeat.state.pulses) <= living
        assert set(self.connections.state.present.values()) <= living
        for validator, tray in self.outbox.state.trays.items():
            assert set(tray.posting) <= set(self.requests), f"{validator}: a POST that is over"
        sessions = [line.validator for line in self.lines.values() if line.purpose == "session" and not line.ended]
        under_way = [*sessions, *self.dials]
        assert len(set(under_way)) == len(under_way), "two sessions with one validator"

    # --- how it is done

    def note_sent(self, validator: Hotkey, message: PredictionMessage) -> None:
        for prediction in message.predictions:
            key = validator, prediction.prediction_id
            assert key in self.made, "a prediction goes to another validator"
            self.sent.add(key)

    def check_unsent(self, validator: Hotkey, message: PredictionMessage) -> None:
        """What the miner decides to send now is on disk, and has not ended."""
        for prediction in message.predictions:
            key = validator, prediction.prediction_id
            assert key not in self.ended, "a prediction is sent after its end"
            assert key in self.miner.outbox.entries, "a prediction is sent before it is saved"

    def _actor(self, kind: type[Any]) -> Any:
        return next(actor for actor in self.miner.actors if isinstance(actor, kind))

    def _metagraph(self) -> tuple[NeuronInfo, ...]:
        validators = [
            NeuronInfo(Uid(uid), hotkey, validator_permit=True, axon=f"10.0.0.{uid + 1}:8091")
            for uid, hotkey in enumerate(VALIDATORS)
        ]
        return (*validators, NeuronInfo(Uid(9), self.miner.hotkey))

    def _usable(self) -> list[Line]:
        return [line for line in self.lines.values() if line.purpose == "session" and line.is_usable]

    def _draw(self, data: st.DataObject) -> Line:
        return data.draw(st.sampled_from(self._usable()))

    def _dialled(self, event: DialRequested, _: Envelope) -> None:
        former = self.dials.pop(event.hotkey, None)
        if former is not None:
            assert former.tls is None, "two dials at once"
            assert event.tls is not None, "two dials at once"
            failed = DialFailed(former.connection, former.hotkey, "left for a dial by TLS")
            self.pending.append(lambda: self.bus.publish(failed))
        self.dials[event.hotkey] = event

    def _asked(self, event: PostRequested | GamesRequested, _: Envelope) -> None:
        if isinstance(event, PostRequested) and self.learned.get(event.hotkey):
            assert event.tls is not None, "predictions go plainly to a validator that has signed its key"
        if isinstance(event, PostRequested) and isinstance(event.message, PredictionMessage):
            self.check_unsent(event.hotkey, event.message)
        self.requests[event.connection] = event

    def _close(self, event: CloseRequested, _: Envelope) -> None:
        line = self.lines.get(event.connection)
        if line is not None:
            line.leaving = True
            if line.purpose == "session":
                self.pending.append(lambda: self._end(line, event.code))
        for validator, dial in list(self.dials.items()):
            if dial.connection == event.connection:
                del self.dials[validator]

    def _judged(self, event: VerdictReceived, _: Envelope) -> None:
        key = event.validator, event.prediction.prediction_id
        assert self.signed.get(key) == event.code, "a verdict that its validator did not sign"
        self._ends(key, event.code)

    def _expired(self, event: PredictionExpired, _: Envelope) -> None:
        key = event.validator, event.prediction.prediction_id
        assert key not in self.sent, "a prediction expires that its validator may have"
        self._ends(key, "expired")

    def _ends(self, key: Key, code: str) -> None:
        assert key not in self.ended, "a prediction ends twice"
        self.ended[key] = code

    def _settle(self) -> None:
        while self.pending:
            self.pending.popleft()()

    def _open(self, validator: Hotkey) -> Line | None:
        """A connection without its welcome; None if it fails for the sake of TLS."""
        dial, key = self.dials.pop(validator), self.serves[validator]
        failure = _tls_trouble(dial.tls, key)
        if failure:
            self.bus.publish(DialFailed(dial.connection, validator, "TLS", None, tls=failure))
            self._settle()
            return None
        line = self.lines[dial.connection] = Line(self, validator, dial.connection, "session")
        self.miner.writer.add(line.connection, line)
        shown = key if dial.tls else ""
        self.bus.publish(ConnectionOpened(line.connection, validator, line.challenge, "session", shown, vouched=False))
        return line

    def _answer_dial(self, validator: Hotkey) -> None:
        line = self._open(validator)
        if line is not None:
            self._greet(line)
            if not line.leaving:
                self._hear(line, self._right(line, self._update(self.offsets[validator], None)))
            self._settle()

    def _greet(self, line: Line) -> None:
        key = self.serves[line.validator]
        line.is_proven = True
        self.learned[line.validator] = key
        self._hear(line, self._right(line, self._welcome(line)))

    def _open_exchange(self, request: PostRequested | GamesRequested) -> Line | None:
        del self.requests[request.connection]
        key = self.serves[request.hotkey]
        failure = _tls_trouble(request.tls, key)
        if failure:
            self.bus.publish(PostFailed(request.connection, request.hotkey, "TLS", None, tls=failure))
            self._settle()
            return None
        purpose: Purpose = "predictions" if isinstance(request, PostRequested) else "games"
        line = self.lines[request.connection] = Line(self, request.hotkey, request.connection, purpose)
        if isinstance(request, PostRequested) and isinstance(request.message, PredictionMessage):
            stamped, data = self.miner.writer.sign(request.message)
            self.bus.publish(FrameWritten(request.connection, request.hotkey, stamped, len(data), "http"))
            self.note_sent(request.hotkey, request.message)
        shown = key if request.tls else ""
        self.bus.publish(
            ConnectionOpened(line.connection, line.validator, line.challenge, purpose, shown, vouched=False)
        )
        return line

    def _answer_request(self, request: PostRequested | GamesRequested, share: int) -> None:
        line = self._open_exchange(request)
        if line is None:
            return
        self._greet(line)
        if isinstance(request, PostRequested) and isinstance(request.message, PredictionMessage):
            keys = [(line.validator, prediction.prediction_id) for prediction in request.message.predictions]
            self._confirm(line, keys[:share], "accepted")
        elif not line.leaving:
            self._hear(line, self._right(line, self._update(self.offsets[line.validator], None)))
        answered = (
            PostFailed(line.connection, line.validator, "left")
            if line.leaving
            else PostAnswered(line.connection, line.validator)
        )
        self.bus.publish(answered)
        self._end(line, CloseCode.NORMAL)
        self._settle()

    def _confirm(self, line: Line, keys: list[Key], code: str) -> None:
        if not keys or line.leaving:
            return
        for key in keys:
            if key not in self.ended:
                self.signed[key] = code
        self._hear(line, self._right(line, self._verdicts([key[1] for key in keys], code)))
        assert set(keys) <= set(self.ended), "a signed verdict does not count"
        self._settle()

    def _serve_well(self, validator: Hotkey) -> None:
        """As an honest validator does: each request is answered, each prediction has its verdict."""
        for _ in range(12):
            mine = [line for line in self._usable() if line.validator == validator]
            requests = [request for request in self.requests.values() if request.hotkey == validator]
            for request in requests:
                self._answer_request(request, 64)
            if validator in self.dials:
                self._answer_dial(validator)
            for line in mine:
                if line.is_deaf and line.is_usable:
                    self._end(line, CloseCode.ABNORMAL)
                    self._settle()
                while line.is_usable and (keys := sorted(k for k in self.sent - set(self.ended) if k[0] == validator)):
                    self._confirm(line, keys[:64], "accepted")

    def _end(self, line: Line, code: int) -> None:
        if not line.ended:
            line.ended = True
            self.miner.writer.remove(line.connection)
            self.bus.publish(ConnectionClosed(line.connection, code, ""))

    def _hear(self, line: Line, data: bytes) -> None:
        self.bus.publish(FrameReceived(line.connection, data))

    def _sign(self, signer: Hotkey, payload: bytes) -> bytes:
        return codec.join(codec.Frame(payload, simulated_signature(signer, payload)))

    def _right(self, line: Line, message: Any) -> bytes:
        if isinstance(message, PointToPoint):
            line.said += 1
            return self._frame(line, message, seq=line.said)
        return self._frame(line, message)

    def _frame(
        self,
        line: Line,
        message: Any,
        *,
        session: SessionId | None = None,
        seq: int = 1,
        sender: Hotkey | None = None,
        signer: Hotkey | None = None,
    ) -> bytes:
        message_id = MessageId(f"{next(self.numbers):032x}")
        now = rfc3339(self.miner.clock.wall())
        message = codec.stamp(message, message_id=message_id, sender=sender or line.validator, timestamp=now)
        if isinstance(message, PointToPoint):
            message = codec.place(message, session or line.session, seq)
        return self._sign(signer or line.validator, codec.encode(message))

    def _welcome(self, line: Line, **changes: Any) -> WelcomeMessage:
        message = WelcomeMessage(
            receiver_hotkey=self.miner.hotkey,
            challenge=line.challenge,
            salt=line.salt,
            netuid=NETUID,
            ledger_id=LedgerId("1" * 32),
            heartbeat_interval=60.0,
            connection_timeout=300.0,
            epoch=EPOCH,
            offset=Offset(self.offsets[line.validator]),
            recovered=False,
            limits=Limits(frame_bytes=65536, predictions_per_message=64, messages_per_second=1000.0, burst=2000.0),
            tls_key=self.serves[line.validator] or msgspec.UNSET,
        )
        return replace(message, **changes)

    def _wrong_first(self, line: Line, fault: str) -> bytes:
        other = next(known for known in VALIDATORS if known != line.validator)
        right = self._welcome(line)
        first = self._frame(line, right)
        frames: dict[str, Callable[[], bytes]] = {
            "challenge": lambda: self._frame(line, replace(right, challenge="0")),
            "receiver": lambda: self._frame(line, replace(right, receiver_hotkey=other)),
            "signer": lambda: self._frame(line, right, signer=other),
            "sender": lambda: self._frame(line, right, sender=other),
            "session": lambda: self._frame(line, right, session=SessionId("5" * 32)),
            "netuid": lambda: self._frame(line, replace(right, netuid=Netuid(NETUID + 1))),
            "crypto": lambda: self._frame(line, replace(right, crypto="ed25519")),
            "seq": lambda: self._frame(line, right, seq=2),
            "heartbeat": lambda: self._frame(line, HeartbeatMessage()),
            "confirmation": lambda: self._frame(line, self._verdicts([PredictionId("x")], "accepted")),
            "update": lambda: self._frame(line, self._update(1, None)),
            "form": lambda: first[:-1],
            "tls_key": lambda: self._frame(
                line, replace(right, tls_key="c" * 64), signer=None if self.serves[line.validator] else other
            ),
        }
        return frames[fault]()

    def _verdicts(self, ids: list[PredictionId], code: str) -> ConfirmationMessage:
        results = tuple(
            PredictionResult(prediction_id=each, about="a" * 32, success=code == "accepted", code=code, message="")
            for each in ids
        )
        return ConfirmationMessage(results=results)

    def _update(self, offset: int, previous: int | None) -> GameUpdateMessage:
        return GameUpdateMessage(
            netuid=NETUID,
            epoch=EPOCH,
            offset=Offset(offset),
            previous=None if previous is None else Offset(previous),
            updated_games={game.game_id: game for game in GAMES},
        )


def _tls_trouble(tls: Tls | None, key: str) -> Any:
    """What a connection meets at a validator with the certificate of ``key``; empty: it has none."""
    if tls is None:
        return None
    if not key:
        return "handshake"
    return "other_key" if tls.key not in ("", key) else None


@pytest.mark.slow
def test_sessions_with_honest_validators_and_with_their_wrong_twins() -> None:
    run_state_machine_as_test(SessionMachine, settings=PROFILE)
