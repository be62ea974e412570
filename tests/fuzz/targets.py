"""The readers that are fuzzed. Each takes any bytes, and raises nothing but what it promises.

A target returns if its reader accepts the bytes or refuses them as documented. Any other exception is a fault, as is an
answer that breaks what the reader promises (the assertions).
"""

import io
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from bettensor.bus import codec, packing, synapse
from bettensor.bus.errors import BadEventLog, ConfigurationError, Unreadable
from bettensor.bus.event_json import decode_event, encode_event
from bettensor.bus.eventlog import LogReader
from bettensor.bus.messages import MAX_FRAME_BYTES, MAX_PREDICTIONS, PredictionMessage
from bettensor.neurons.config.settings import ROLES, parse
from bettensor.neurons.config.yaml_text import parse_yaml
from bettensor.neurons.odds.forms import form_of, rows_of
from tests.fuzz.port import Port

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
}


def seeds(name: str) -> list[bytes]:
    """The kept inputs of a target: valid ones to begin with, and those that once found a fault."""
    return [file.read_bytes() for file in sorted((CORPUS / name).iterdir())]
