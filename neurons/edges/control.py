"""Answers an operator's commands over a Unix socket in ``state_dir``, which only its owner can open.

A question and its answer are one JSON object a line each: ``{"ask": "status"}``, ``{"ask": "stop"}``, and for a miner
``{"ask": "predict", "game": ..., "outcome": ..., "wager": ...}``. A fault is ``{"error": text}``. A status holds every
game of every slate, which are written in portions, so that the neuron goes on meanwhile; with ``"slates": false`` it
holds none, which is for clients that ask each second. With
``"placed": true`` the first answer to ``predict`` comes at once: ``{"placed": [...]}`` has each prediction's id and its
validator, and whether that is connected. The verdicts follow in a second line.
"""

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, TypeVar

import msgspec

from bettensor.actors.stream import fold
from bettensor.bus.clock import Clock
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import BettensorError
from bettensor.bus.events import (
    Event,
    GamesUpdated,
    LineLogged,
    ListeningBegun,
    OutboxOpened,
    Position,
    PredictionDiscarded,
    PredictionExpired,
    PredictionMade,
    StatusReported,
    StatusRequested,
    TimerCancelled,
    TimerFired,
    TimerRequested,
    VerdictReceived,
)
from bettensor.bus.games import TeamGame, TeamGamePrediction
from bettensor.bus.identifiers import GameId, Hotkey, PredictionId, Uid
from bettensor.bus.text import chosen, hint, short
from bettensor.neurons.edges.edge import Edge, Isolates, StateDir, Stoppable, on
from bettensor.neurons.models.model import Forecast, make_prediction, outcomes
from bettensor.neurons.system.errors import start_fault
from bettensor.neurons.system.files import PRIVATE

NAME: Final = "control.sock"
MAX_LINE: Final = 64 * 1024
"""Bytes of a question."""
MOST_CLIENTS: Final = 32
"""Connections at a time. An operator's commands need one each, for a moment; only ``predict`` waits for long."""
DEADLINE: Final = 10.0
"""Seconds within which a client must ask, and within which it must take an answer."""
PATIENCE: Final = 60.0
"""Seconds that ``predict`` waits for verdicts."""
PORTION: Final = 100
"""Games that are written in one turn of the event loop: about 0.3 ms."""
_TAKES_WHEN_IT_ASKS: Final = "it takes predictions when it asks for them over Synapse, every 8 minutes"
_TOLD: Final = (
    "hotkey",
    "validator",
    "prediction_id",
    "game_id",
    "code",
    "reason",
    "connection",
    "key",
    "source",
    "text",
)
"""The most informative fields of events, for a line."""

Answer = dict[str, Any]
Result = TypeVar("Result")
Waiting = dict[tuple[Hotkey, PredictionId], "asyncio.Future[Answer]"]
"""The verdicts to come."""


@dataclass(slots=True)
class _Slate:
    """The games of one validator."""

    position: Position
    games: dict[GameId, TeamGame] = field(default_factory=dict)


class ControlFailed(BettensorError):
    """The request cannot be carried out."""


class Control(Edge):
    """Answers until it is closed. The answer to a wrong question says what was expected."""

    name = "control"

    def __init__(self, state_dir: StateDir, handlers: Isolates, neuron: Stoppable, clock: Clock) -> None:
        self._state_dir = state_dir
        self._handlers = handlers
        self._neuron = neuron
        self._clock = clock
        self._version = version("bettensor")  # read from the disk
        self._requests = 0
        self._status: dict[int, Answer] = {}
        self._verdicts: dict[tuple[Hotkey, PredictionId], asyncio.Future[Answer]] = {}
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._endpoint: str | None = None
        self._slates: dict[Hotkey, _Slate] = {}

    async def open(self) -> None:
        """Answer from now on.

        Raises:
            ConfigurationError: the socket cannot be made; nor at a later start.
            Unavailable: it cannot be made now.
        """
        try:
            listening = _bind(self._state_dir)
            self._server = await asyncio.start_unix_server(self._accept, sock=listening, limit=MAX_LINE)
        except OSError as error:
            text = f"{self._state_dir / NAME}: cannot create the control socket: {error}"
            raise start_fault(text, error) from None

    async def pause(self) -> None:
        """Take no more questions; a client that waits for a verdict may still get it."""
        if self._server is not None:
            self._server.close()
            self._server = None
            with suppress(OSError):  # the disk may have become read-only; the next start replaces the socket
                (self._state_dir / NAME).unlink()

    async def close(self) -> None:
        """End the remaining connections; a client that still waits gets no answer."""
        await self.pause()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= MOST_CLIENTS or not _is_ours(writer):
            writer.close()
            return
        client = asyncio.create_task(self._serve(reader, writer), name="control")
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (line := await _within_deadline(reader.readline())) and self._server is not None:
                async for portion in self._answers(line):
                    writer.write(portion)
                    await _within_deadline(writer.drain())
        except TimeoutError:  # otherwise what it does not read would be kept
            writer.transport.abort()
        except (OSError, ValueError):
            pass  # the client has gone, or sent a line without end
        finally:
            writer.close()

    async def _answers(self, line: bytes) -> AsyncIterator[bytes]:
        """The answers to a question, each a line, in portions."""
        try:
            question = json.loads(line)
            match question:
                case {"ask": "status", "slates": False}:
                    yield _line(self.status())
                    return
                case {"ask": "status"}:
                    async for portion in self._status_with_slates():
                        yield portion
                    return
                case {"ask": "stop"}:
                    self._neuron.request_stop("requested by `bettensor stop`")
                    yield _line({"stopping": True, "process": os.getpid()})
                    return
                case {"ask": "predict", "game": str(game), "outcome": str(outcome), "wager": float() | int() as wager}:
                    waiting = self._predict(game, outcome, float(wager), _validator_in(question))
                    if question.get("placed") is True:
                        yield _line({"placed": self._placed(waiting)})
                    yield _line(await self._verdicts_on(waiting))
                    return
        except ControlFailed as failed:
            yield _line({"error": str(failed)})
            return
        except (ValueError, RecursionError, OverflowError):  # not JSON, nested too deeply, or a number too large
            pass
        expected = '{"ask": "status" | "stop"} or {"ask": "predict", "game", "outcome", "wager", "validator"}'
        yield _line({"error": f"expected {expected}; validator may be left out"})

    def status(self) -> Answer:
        """The monitor's report, and the counts of the bus and the handlers. Costs the same however many games exist."""
        self._requests += 1
        self._bus.publish(StatusRequested(self._requests))
        recent = [_brief(envelope) for envelope in self._bus.recent if not isinstance(envelope.event, _NOISE)]
        status = self._status.pop(self._requests)
        return status | {
            "version": self._version,
            "process": os.getpid(),
            "listening": self._endpoint,
            "events": {topic: count for topic, count in self._bus.counts.items() if count},
            "recent": recent,
            "handlers": status["handlers"] | self._handlers.report(),
        }

    async def _status_with_slates(self) -> AsyncIterator[bytes]:
        """The status with the key ``slates``; the event loop has a turn after each portion of games."""
        yield _line(self.status())[:-2] + b', "slates": ['
        for number, (validator, slate) in enumerate(list(self._slates.items())):
            head = {"validator": validator, "epoch": slate.position.epoch, "offset": slate.position.offset}
            yield (b", " if number else b"") + _line(head)[:-2] + b', "games": ['
            games = list(slate.games.values())
            for start in range(0, len(games), PORTION):
                portion = games[start : start + PORTION]
                yield (b", " if start else b"") + b", ".join(msgspec.json.encode(game) for game in portion)
                await asyncio.sleep(0)
            yield b"]}"
        yield b"]}\n"

    @on(OutboxOpened)
    def recall_slates(self, event: OutboxOpened, _: Envelope) -> None:
        """Know the slates of a miner's earlier run."""
        for known in event.slates:
            self._follow(known.validator, Position(known.epoch, known.offset), known.games, snapshot=True)

    @on(GamesUpdated)
    def follow_slate(self, event: GamesUpdated, _: Envelope) -> None:
        """Know the games on offer."""
        place = Position(event.epoch, event.offset)
        self._follow(event.validator, place, event.games, snapshot=event.snapshot)

    def _follow(self, validator: Hotkey, place: Position, games: Iterable[TeamGame], *, snapshot: bool) -> None:
        slate = self._slates.setdefault(validator, _Slate(place))
        slate.position = place
        fold(slate.games, games, snapshot=snapshot)

    @on(ListeningBegun)
    def take_endpoint(self, event: ListeningBegun, _: Envelope) -> None:
        self._endpoint = event.endpoint

    @on(StatusReported)
    def take_status(self, event: StatusReported, _: Envelope) -> None:
        self._status[event.request] = event.status

    # --- predictions by an operator

    def _predict(self, game_id: str, outcome: str, wager: float, only: str | None) -> Waiting:
        """Place a prediction with each validator that offers the game, or with none."""
        status = self.status()
        if status["role"] != "miner":
            raise ControlFailed("this is a validator; only a miner can predict")
        validators = list(self._slates)
        meant = validators if only is None else chosen(only, validators)
        if only is not None and len(meant) != 1:
            cure = f"several validators fit {only!r}: {', '.join(meant)}; give more characters of one of them"
            raise ControlFailed(cure if meant else f"no validator with a slate fits {only!r}{hint(only, validators)}")
        offers = {Hotkey(name): self._slates[Hotkey(name)].games.get(GameId(game_id)) for name in meant}
        offered = {validator: game for validator, game in offers.items() if game is not None}
        if not offered:
            known = {game_id: None for name in meant for game_id in self._slates[Hotkey(name)].games}
            all_games = "`bettensor games` lists all games"
            there = f"{hint(game_id, known)}; {all_games}" if known else "; no games received yet"
            missing = "no validator offers a" if only is None else f"validator {meant[0]} offers no"
            raise ControlFailed(f"{missing} game with the id {game_id!r}{there}")
        uid = status["uid"]
        predictions = [(validator, self._make(game, outcome, wager, uid)) for validator, game in offered.items()]
        return {
            (validator, prediction.prediction_id): self._place(validator, prediction)
            for validator, prediction in predictions
        }

    async def _verdicts_on(self, waiting: Waiting) -> Answer:
        done, late = await asyncio.wait(waiting.values(), timeout=PATIENCE)
        for future in late:
            future.cancel()
        return {
            "verdicts": [future.result() for future in waiting.values() if future in done],
            "without_verdict": len(late),
            "waiting": [_named(*key) for key, future in waiting.items() if future in late],
        }

    def _placed(self, waiting: Waiting) -> list[Answer]:
        peers = {peer["hotkey"]: peer for peer in self.status()["peers"]}
        placed = []
        for validator, prediction_id in waiting:
            peer = peers.get(validator, {"state": "not seen", "trouble": "it is not in the metagraph"})
            is_connected = peer["state"] in ("connected", "by HTTP")
            reason = _TAKES_WHEN_IT_ASKS if peer["state"] == "by Synapse" else "this miner has not reached it yet"
            trouble = "" if is_connected else peer["trouble"] or reason
            placed.append(_named(validator, prediction_id) | {"connected": is_connected, "trouble": trouble})
        return placed

    def _make(self, game: TeamGame, outcome: str, wager: float, uid: Uid | None) -> TeamGamePrediction:
        if outcome not in outcomes(game):
            raise ControlFailed(f"{outcome!r} is not an outcome of this game{hint(outcome, outcomes(game))}")
        forecast = Forecast(game=game, outcome=outcome, wager=wager, model_name="by hand")
        try:
            return make_prediction(forecast, PredictionId(token_hex(16)), self._clock.wall(), uid)
        except ValueError as error:
            raise ControlFailed(str(error)) from None

    def _place(self, validator: Hotkey, prediction: TeamGamePrediction) -> "asyncio.Future[Answer]":
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        key = validator, prediction.prediction_id
        self._verdicts[key] = future
        future.add_done_callback(lambda _: self._verdicts.pop(key, None))
        self._bus.publish(PredictionMade(validator, prediction))
        return future

    @on(VerdictReceived)
    def take_verdict(self, event: VerdictReceived, _: Envelope) -> None:
        verdict = {"success": event.success, "code": event.code, "message": event.message}
        latency = {"latency_ms": event.latency / 1000}
        self._tell(event.validator, event.prediction.prediction_id, verdict | latency)

    @on(PredictionExpired)
    def take_end(self, event: PredictionExpired, _: Envelope) -> None:
        ended = {"success": False, "code": "expired", "message": "its game started before it could be sent"}
        self._tell(event.validator, event.prediction.prediction_id, ended)

    @on(PredictionDiscarded)
    def take_discarded(self, event: PredictionDiscarded, _: Envelope) -> None:
        discarded = {"success": False, "code": "discarded", "message": event.reason}
        self._tell(event.validator, event.prediction_id, discarded)

    def _tell(self, validator: Hotkey, prediction_id: PredictionId, verdict: Answer) -> None:
        future = self._verdicts.get((validator, prediction_id))
        if future is not None and not future.done():
            future.set_result(_named(validator, prediction_id) | verdict)


async def _within_deadline(work: Awaitable[Result]) -> Result:
    async with asyncio.timeout(DEADLINE):
        return await work


def _line(answer: Answer) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def _validator_in(question: dict[str, Any]) -> str | None:
    """The validator that is meant, perhaps abbreviated; None if all are.

    Raises:
        ValueError: it is no text.
    """
    match question.get("validator"):
        case str() | None as validator:
            return validator
    raise ValueError


def _named(validator: Hotkey, prediction_id: PredictionId) -> Answer:
    return {"validator": validator, "prediction_id": prediction_id}


_NOISE: Final = (StatusRequested, StatusReported, LineLogged, TimerRequested, TimerCancelled, TimerFired)
"""Events that are of no interest to an operator."""


def _brief(envelope: Envelope) -> Answer:
    """One event as a short line."""
    event: Event = envelope.event
    told = [f"{name}={_short(getattr(event, name))}" for name in _TOLD if getattr(event, name, None) is not None]
    prediction = getattr(event, "prediction", None)
    if prediction is not None:
        told.append(f"prediction={prediction.prediction_id}")
    message = getattr(event, "message", None)
    if message is not None:
        told.append(message if isinstance(message, str) else message.message_type)
    return {"seq": envelope.seq, "at": envelope.at, "topic": event.topic, "text": " ".join(told)}


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else short(text)


def _bind(state_dir: Path) -> socket.socket:
    """A socket that listens, for its owner alone."""
    (state_dir / NAME).unlink(missing_ok=True)  # we hold the lock: an existing socket is left over
    with ExitStack() as unless_it_listens:
        listening = unless_it_listens.enter_context(socket.socket(socket.AF_UNIX))
        os.fchmod(listening.fileno(), PRIVATE)  # Linux makes the file with this mode
        with socket_address(state_dir) as address:
            listening.bind(address)
        (state_dir / NAME).chmod(PRIVATE)  # other systems do not
        listening.listen(MOST_CLIENTS)
        unless_it_listens.pop_all()
    return listening


def _is_ours(writer: asyncio.StreamWriter) -> bool:
    """Whether a client runs as this user or as root, if the system says so; nobody else should get this far."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    peer = writer.get_extra_info("socket")
    _, user, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return user in (os.geteuid(), _ROOT)


_ROOT: Final = 0
_CREDENTIALS: Final = struct.Struct("3i")
"""Linux's ``struct ucred``: process, user and group."""


@contextmanager
def socket_address(state_dir: Path) -> Iterator[str]:
    """The socket's address while the block runs; a path longer than 107 bytes is reached through its open folder.

    Raises:
        OSError: the folder does not exist.
    """
    direct = str(state_dir / NAME)
    if len(os.fsencode(direct)) < 108 or not Path("/proc/self/fd").exists():
        yield direct
        return
    folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{NAME}"
    finally:
        os.close(folder)
