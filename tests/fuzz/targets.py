"""The readers that are fuzzed. Each takes any bytes, and raises nothing but what it promises.

A target returns if its reader accepts the bytes or refuses them as documented. Any other exception is a fault, as is an
answer that breaks what the reader promises (the assertions).
"""

import asyncio
import io
import json
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from bettensor.bus import codec, packing, synapse
from bettensor.bus.errors import BadEventLog, ConfigurationError, Unreadable
from bettensor.bus.event_json import decode_event, encode_event
from bettensor.bus.eventlog import LogReader
from bettensor.bus.messages import MAX_FRAME_BYTES, MAX_PREDICTIONS, PredictionMessage
from bettensor.neurons.config.flags import read_flags
from bettensor.neurons.config.loading import load_settings
from bettensor.neurons.config.settings import ROLES, parse
from bettensor.neurons.config.yaml_text import parse_yaml
from bettensor.neurons.edges.certificate_files import read_proxy, read_served
from bettensor.neurons.edges.game_file import read_games
from bettensor.neurons.edges.http_answers import LONGEST_WAIT, read_retry_after
from bettensor.neurons.edges.http_client import frames_in
from bettensor.neurons.edges.http_exchange import HttpConnection, NoAnswer
from bettensor.neurons.edges.refusals import read_refusal
from bettensor.neurons.edges.static_files import read_blacklist, read_metagraph
from bettensor.neurons.edges.tls import HandshakeFailed, key_shown
from bettensor.neurons.models.file import FilePredictor, FileSettings
from bettensor.neurons.odds.forms import form_of, rows_of
from bettensor.neurons.recordings.audit import Report, witness
from bettensor.neurons.recordings.inspection import prediction_ids, trace
from bettensor.neurons.recordings.recording import Recording
from bettensor.neurons.recordings.text import line
from tests.fuzz.operator import Socket
from tests.fuzz.port import Port
from tests.support import NOW as AT
from tests.support import make_game

CORPUS: Final = Path(__file__).parent / "corpus"
NOW: Final = datetime(2026, 1, 31, tzinfo=UTC)


class Target(NamedTuple):
    """One reader."""

    read: Callable[[bytes], None]
    most: int
    """Bytes of an input."""


def frame(data: bytes) -> None:
    """A frame from a peer: its form, and then its message."""
    with suppress(Unreadable):
        payload = codec.split(data).payload
        assert len(payload) < MAX_FRAME_BYTES
        _message(payload)


def message(data: bytes) -> None:
    """The JSON of a frame, whose signature is right."""
    with suppress(Unreadable):
        _message(data)


def _message(payload: bytes) -> None:
    read = codec.read(payload)
    if isinstance(read, PredictionMessage):
        assert 1 <= len(read.predictions) <= MAX_PREDICTIONS
        for prediction in read.predictions:
            assert len(prediction.prediction_id) <= 64


def packed(data: bytes) -> None:
    """A binary message from a validator."""
    with suppress(Unreadable):
        assert len(packing.unpack(data)) <= MAX_FRAME_BYTES


def request(data: bytes) -> None:
    """What a stranger sends to a validator's port."""
    _port().hear(data)


@cache
def _port() -> Port:
    return Port()


def query(data: bytes) -> None:
    """What an existing validator asks."""
    with suppress(Unreadable):
        synapse.read_query(data)


def answer(data: bytes) -> None:
    """What an existing miner answers."""
    with suppress(Unreadable):
        synapse.read_answer(data, 1000)


def configuration(data: bytes) -> None:
    """A configuration file, of either role."""
    with suppress(ValueError, ConfigurationError):  # ValueError: not UTF-8
        document = parse_yaml(data.decode())
        for kind in ROLES.values():
            parse(kind, document, "fuzzed.yaml")


def log(data: bytes) -> None:
    """An event log, whose hashes are not looked at: a fuzzer does not find them."""
    with suppress(BadEventLog):
        for row in LogReader(io.BytesIO(data), "fuzzed.jsonl", chained=False).rows():
            with suppress(BadEventLog):
                event = row.event
                assert decode_event(type(event), encode_event(event)) == event


def odds(data: bytes) -> None:
    """A list of odds that an operator imports as games."""
    with suppress(ConfigurationError, ValueError, RecursionError):
        document: Any = json.loads(data)
        rows = rows_of(document)
        if rows:
            for listing in form_of(rows).read(rows, "decimal", NOW).listings:
                json.dumps(listing.entry())


def certificate(data: bytes) -> None:
    """A certificate and its key, as an operator writes them: here in one file."""
    file = _file(data)
    with suppress(ConfigurationError):
        read_served(file, file, AT)
    with suppress(ConfigurationError):
        assert read_proxy(file, AT).of_proxy


def shown(data: bytes) -> None:
    """The certificate that another side shows, in DER."""
    with suppress(HandshakeFailed):
        assert len(key_shown(data)) == 64


def http_answer(data: bytes) -> None:
    """What a validator's port answers to a miner, up to the form of its frames."""
    with suppress(NoAnswer, Unreadable):
        _loop().run_until_complete(_read_answer(data))


async def _read_answer(data: bytes) -> None:
    reader: Any = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    nowhere: Any = _Nowhere()
    reply = await HttpConnection(reader, nowhere).request("GET", "/games", [("Host", "fuzzed")])
    wait = read_retry_after(reply.values("retry-after"), AT)
    assert wait is None or 0 <= wait <= LONGEST_WAIT
    content = await reply.read(MAX_FRAME_BYTES)
    assert len(content) <= MAX_FRAME_BYTES
    read_refusal(content)
    for frame in await frames_in(content, 100):
        codec.split(content[frame])


class _Nowhere:
    """A writer whose bytes nobody gets."""

    def write(self, data: bytes) -> None:
        """Take anything."""


def games(data: bytes) -> None:
    """A games file of an operator, in JSON."""
    with suppress(ConfigurationError):
        slate = read_games(_file(data), AT, AT)
        ids = [game.game_id for game in slate.games]
        assert len(set(ids)) == len(ids)


def bets(data: bytes) -> None:
    """A file of bets, in JSON and in CSV."""
    for ending in ("json", "csv"):
        model = FilePredictor(FileSettings(path=str(_file(data, f"bets.{ending}"))))
        model.faults()
        for forecast in model.predict(_SLATE):
            assert forecast.game in _SLATE


def neurons(data: bytes) -> None:
    """A metagraph and a blacklist of an operator, in YAML."""
    file = _file(data, "neurons.yaml")
    with suppress(ConfigurationError):
        found = read_metagraph(file).contents.neurons
        assert len({neuron.hotkey for neuron in found}) == len({neuron.uid for neuron in found}) == len(found)
    with suppress(ConfigurationError):
        read_blacklist(file)


def command(data: bytes) -> None:
    """Flags and variables, one a line: those with a ``=`` and no dash at their beginning are variables."""
    lines = data.decode(errors="surrogateescape").replace("\0", "").split("\n")
    flags = read_flags([each for each in lines if each.startswith("-") or "=" not in each])
    variables = dict(each.split("=", 1) for each in lines if "=" in each and not each.startswith("-"))
    for role in ROLES:
        with suppress(ConfigurationError):
            load_settings(None, flags.values, role, variables)


def question(data: bytes) -> None:
    """What somebody asks a neuron over its control socket."""
    answers = _loop().run_until_complete(_socket().ask(data))
    assert answers.endswith(b"\n")
    assert all(isinstance(json.loads(answer), dict) for answer in answers.splitlines())


def history(data: bytes) -> None:
    """An event log that somebody has sent, as ``log``, ``trace`` and ``audit`` read it; see ``log`` for its hashes."""
    file = _file(data, "events.jsonl")
    with suppress(BadEventLog), closing(Recording(file, chained=False)) as recording:
        for row in recording.rows():
            assert "\n" not in line(row)
    with suppress(BadEventLog), closing(Recording(file, chained=False)) as recording:
        known = next(prediction_ids(recording.rows(), ""), "p")
        for step in trace(Recording(file, chained=False), known):
            json.dumps(step.event)
    with suppress(BadEventLog), closing(Recording(file, chained=False)) as recording:
        witness(recording, Report())


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@cache
def _socket() -> Socket:
    return Socket()


@cache
def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory()


def _file(data: bytes, name: str = "fuzzed") -> Path:
    file = Path(_folder().name) / name
    file.write_bytes(data)
    return file


_SLATE: Final = (make_game("a"), make_game("b"))
TARGETS: Final = {
    "frame": Target(frame, MAX_FRAME_BYTES + 64),
    "message": Target(message, MAX_FRAME_BYTES),
    "packed": Target(packed, 4_096),
    "request": Target(request, 20_000),
    "query": Target(query, 16_384),
    "answer": Target(answer, 16_384),
    "configuration": Target(configuration, 4_096),
    "log": Target(log, 16_384),
    "odds": Target(odds, 16_384),
    "certificate": Target(certificate, 16_384),
    "shown": Target(shown, 8_192),
    "http_answer": Target(http_answer, 2 * MAX_FRAME_BYTES),
    "games": Target(games, 16_384),
    "bets": Target(bets, 8_192),
    "neurons": Target(neurons, 8_192),
    "command": Target(command, 4_096),
    "question": Target(question, 4_096),
    "history": Target(history, 8_192),
}


def seeds(name: str) -> list[bytes]:
    """The kept inputs of a target: valid ones to begin with, and those that once found a fault."""
    return [file.read_bytes() for file in sorted((CORPUS / name).iterdir())]
