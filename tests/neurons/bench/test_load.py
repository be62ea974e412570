"""The raw client of a benchmark reads frames however they are cut, and counts what was confirmed."""

import asyncio
from typing import Any

import pytest
from bittensor_core import CRYPTO_SR25519, Keypair
from websockets.frames import OP_CLOSE, OP_TEXT
from websockets.frames import Frame as WebSocketFrame

from bettensor.bus import codec
from bettensor.bus.identifiers import Hotkey, SessionId
from bettensor.bus.messages import HeartbeatMessage, PredictionMessage
from bettensor.neurons.bench.load import LoadPredictor, Poster, RawSocket, prediction_message, stamped, text_frame
from bettensor.neurons.bench.rig import BenchmarkFailed

KEYPAIR = Keypair.create_from_uri("//Miner0", CRYPTO_SR25519)
VALIDATOR = Hotkey(Keypair.create_from_uri("//Validator", CRYPTO_SR25519).ss58_address)
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True


class Client(RawSocket):
    """Keeps what comes."""

    def __init__(self) -> None:
        super().__init__("/ws", [("X-Extra", "1")])
        self.came: list[bytes] = []

    def receive(self, frame: bytes) -> None:
        self.came.append(frame)


def connected(client: RawSocket) -> Wire:
    wire = Wire()
    client.connection_made(wire)
    return wire


def server_frame(data: bytes, opcode: Any = OP_TEXT) -> bytes:
    return bytes(WebSocketFrame(opcode, data).serialize(mask=False))


# --- the socket


async def test_the_handshake_asks_for_a_websocket_with_its_headers() -> None:
    wire = connected(Client())
    (asked,) = wire.written
    assert asked.startswith(b"GET /ws HTTP/1.1\r\n")
    assert asked.endswith(b"\r\nX-Extra: 1\r\n\r\n")


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_frames_are_read_however_the_bytes_are_cut(size: int) -> None:
    client = Client()
    connected(client)
    frames = [b"", b"x" * 125, b"y" * 126, b"z" * 65_535, b"w" * 65_536]
    stream = ACCEPTED + b"".join(map(server_frame, frames))
    for start in range(0, len(stream), size):
        client.data_received(stream[start : start + size])
    assert client.opened.done()
    assert client.came == frames


async def test_a_handshake_that_is_refused_is_said_with_its_status() -> None:
    client = Client()
    wire = connected(client)
    client.data_received(b"HTTP/1.1 403 Forbidden\r\n\r\nnot_registered")
    with pytest.raises(BenchmarkFailed, match=r"(?s)refused with 403: .*not_registered"):
        await client.opened
    assert wire.closed


async def test_a_close_ends_it_and_what_comes_behind_is_not_read() -> None:
    client = Client()
    wire = connected(client)
    client.data_received(ACCEPTED + server_frame(b"\x10\x04", OP_CLOSE) + server_frame(b"late"))
    assert (client.came, wire.closed, str(client.fault)[:7]) == ([], True, "closed:")
    client.connection_lost(None)
    assert str(client.fault)[:7] == "closed:"  # the first fault is the cause


async def test_what_a_client_sends_is_masked() -> None:
    frame = text_frame(b"hello")
    assert frame[1] == 0x80 | 5
    mask, data = frame[2:6], frame[6:]
    assert bytes(byte ^ mask[n % 4] for n, byte in enumerate(data)) == b"hello"


# --- predictions


def unmasked(frame: bytes) -> bytes:
    length, start = frame[1] & 0x7F, 2
    start += {126: 2, 127: 8}.get(length, 0)
    mask, data = frame[start : start + 4], frame[start + 4 :]
    return bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))


def predictor(frames: int = 3, batch: int = 2) -> tuple[LoadPredictor, Wire]:
    client = LoadPredictor(KEYPAIR, VALIDATOR)
    wire = connected(client)
    client.data_received(ACCEPTED)
    client.session = SessionId("5" * 32)
    client.sign_beforehand(frames, batch)
    wire.written.clear()
    return client, wire


def confirmation(results: int, rejected: int = 0) -> bytes:
    accepted = b'{"about":"","success":true},' * (results - rejected)
    return b'{"message_type":"confirmation","results":[%b]}' % (accepted + b'{"about":"","success":false},' * rejected)


async def test_a_session_is_open_when_it_has_been_welcomed_and_has_the_slate() -> None:
    client = LoadPredictor(KEYPAIR, VALIDATOR)
    wire = connected(client)
    client.data_received(ACCEPTED)
    client.receive(b'{"message_type":"welcome","session":"%b"}\n0x' % (b"5" * 32))
    first = codec.read(codec.split(unmasked(wire.written[-1])).payload)
    assert isinstance(first, HeartbeatMessage)
    assert (first.session, first.seq, first.sender_hotkey) == ("5" * 32, 1, KEYPAIR.ss58_address)
    assert not client.opened.done()
    client.receive(b'{"message_type":"game_update"}\n0x')
    assert client.opened.done()


async def test_each_frame_has_its_place_its_predictions_and_a_true_signature() -> None:
    client, _ = predictor(frames=3, batch=2)
    for number, frame in enumerate(client.frames, start=1):
        payload, signature = codec.split(unmasked(frame))
        message = codec.read(payload)
        assert isinstance(message, PredictionMessage)
        assert (message.seq, len(message.predictions)) == (number, 2)
        assert KEYPAIR.verify(codec.SIGNED_PREFIX + payload, signature)


async def test_results_are_counted_and_a_frame_is_done_with_its_last_result() -> None:
    client, _ = predictor(frames=3, batch=2)
    client.push(0.0)
    client.push(0.0)
    client.hear(confirmation(1))
    assert (client.results, client.outstanding) == (1, 2)
    client.hear(confirmation(2, rejected=1))
    assert (client.results, client.rejected, client.outstanding) == (3, 1, 1)
    client.hear(confirmation(1))
    assert (client.outstanding, len(client.latencies)) == (0, 2)


async def test_a_closed_loop_pushes_the_next_frame_for_each_that_is_done_until_none_is_left() -> None:
    client, wire = predictor(frames=3, batch=1)
    client.pushing = True
    client.push(0.0)
    for _ in range(3):
        client.hear(confirmation(1))
    assert (len(wire.written), client.exhausted.is_set(), client.outstanding) == (3, True, 0)


async def test_frames_that_were_not_pushed_take_no_place_in_the_session() -> None:
    client, _ = predictor(frames=3, batch=1)
    client.push(0.0)
    client.sign_beforehand(1, 1)
    assert codec.read(codec.split(unmasked(client.frames[0])).payload).seq == 2  # type: ignore[attr-defined]


async def test_what_is_no_confirmation_ends_it() -> None:
    client, wire = predictor()
    client.hear(b'{"message_type":"error"}')
    assert (wire.closed, "unexpected: " in str(client.fault)) == (True, True)


def test_predictions_have_an_id_each_and_can_be_read() -> None:
    message = prediction_message(64)
    assert len({prediction.prediction_id for prediction in message.predictions}) == 64
    assert all(codec.fault_of(prediction) is None for prediction in message.predictions)  # type: ignore[arg-type]
    assert len(codec.encode(stamped(message, VALIDATOR))) < 65_536


# --- by HTTP


async def test_a_poster_posts_one_request_after_the_other_and_counts() -> None:
    poster, wire = Poster(KEYPAIR, VALIDATOR), Wire()
    poster.connection_made(wire)
    poster.sign_beforehand(2, 1)
    poster.pushing = True
    poster.push()
    body = confirmation(1)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    poster.data_received(answer[:50])
    assert len(wire.written) == 1
    poster.data_received(answer[50:])
    assert len(wire.written) == 2
    poster.data_received(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
    assert (poster.results, poster.rejected, poster.failed) == (1, 0, ["HTTP/1.1 503 Service Unavailable"])
    assert poster.done.done()
    assert len(poster.latencies) == 2


async def test_a_connection_that_ends_early_is_a_failure() -> None:
    poster = Poster(KEYPAIR, VALIDATOR)
    poster.connection_made(Wire())
    poster.connection_lost(None)
    assert poster.done.done()
    assert poster.failed == ["the connection has ended: None"]
