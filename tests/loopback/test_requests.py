"""What is refused before a session: each row with its status and JSON, never a 500, and nothing is stored."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from bittensor import http_auth
from bittensor_core import CRYPTO_ED25519, Keypair
from loguru import logger

from bettensor.bus.events import (
    BlacklistLoaded,
    ConnectionClosed,
    ExchangeCompleted,
    GamesUpdated,
    HttpAnswered,
    HttpRequestReceived,
    LineLogged,
    PeerAuthenticated,
    PeerRefused,
    RequestBodyReceived,
    RequestsTurnedAway,
    SessionActivated,
)
from bettensor.bus.identifiers import Hotkey
from bettensor.bus.messages import HeartbeatMessage, PredictionMessage
from bettensor.neurons.cli.control_client import ask
from bettensor.neurons.recordings.audit import audit
from bettensor.neurons.recordings.recording import log_files
from tests.loopback.rig import ALICE, BOB, CHARLIE, EVE, Client, Rig, old, running_validator, starting_soon
from tests.support import NETUID, make_prediction

Headers = dict[str, str]


def without(name: str) -> Callable[[Rig], Headers]:
    return lambda rig: {key: value for key, value in rig.sign().items() if key != name}


def altered(**changes: str) -> Callable[[Rig], Headers]:
    return lambda rig: rig.sign() | {f"X-Bittensor-{key.title()}": value for key, value in changes.items()}


def unnamed(headers: Headers) -> Headers:
    """Without the name of a scheme, which means sr25519."""
    return {key: value for key, value in headers.items() if key != "X-Bittensor-Crypto"}


def forged(rig: Rig) -> Headers:
    return rig.sign(EVE) | {"X-Bittensor-Hotkey": ALICE.ss58_address}


ROWS: dict[str, tuple[Callable[[Rig], Headers], int, str]] = {
    "no auth headers": (lambda _: {}, 400, "malformed"),
    "no version": (without("X-Bittensor-Version"), 400, "malformed"),
    "no hotkey": (without("X-Bittensor-Hotkey"), 400, "malformed"),
    "no receiver": (without("X-Bittensor-Receiver"), 400, "malformed"),
    "no nonce": (without("X-Bittensor-Nonce"), 400, "malformed"),
    "no signature": (without("X-Bittensor-Signature"), 400, "malformed"),
    "another version": (altered(version="2"), 400, "malformed"),
    "a nonce that is no number": (altered(nonce="now"), 400, "malformed"),
    "a signature that is no hex": (altered(signature="0x" + "zz" * 64), 400, "malformed"),
    "a signature that is too short": (altered(signature="0x" + "00" * 63), 400, "malformed"),
    "an unknown scheme": (altered(crypto="ecdsa"), 400, "malformed"),
    "hashed": (altered(crypto="hashed"), 400, "malformed"),
    "mldsa": (altered(crypto="mldsa"), 400, "malformed"),
    "another receiver": (lambda rig: rig.sign(receiver_ss58=EVE.ss58_address), 401, "wrong_receiver"),
    "too old": (lambda rig: rig.sign(nonce_ns=old(11)), 401, "stale"),
    "from the future": (lambda rig: rig.sign(nonce_ns=old(-4)), 401, "stale"),
    "a forged signature": (forged, 401, "bad_signature"),
    "a signature of zeros": (altered(signature="0x" + "00" * 64), 401, "bad_signature"),
    "another scheme than the usual one": (altered(crypto="ed25519"), 401, "wrong_scheme"),
    "another scheme than the metagraph's": (lambda rig: unnamed(rig.sign(BOB)), 401, "wrong_scheme"),
    "signed for another path": (lambda rig: rig.sign(path="/games?netuid=30"), 401, "bad_signature"),
    "signed for another method": (lambda rig: rig.sign(method="POST"), 401, "bad_signature"),
    "unregistered": (lambda rig: rig.sign(EVE), 403, "not_registered"),
    "a hotkey that is none": (altered(hotkey="nobody"), 403, "not_registered"),
    "blacklisted": (lambda rig: rig.sign(CHARLIE), 403, "blacklisted"),
    "the validator's own hotkey": (lambda rig: rig.sign() | {"X-Bittensor-Hotkey": rig.hotkey}, 403, "own_hotkey"),
}


async def test_each_bad_request_gets_its_refusal(rig: Rig) -> None:
    for name, (headers, status, code) in ROWS.items():
        got, body = await rig.refusal(headers(rig))
        assert (name, got, body["error"]) == (name, status, code)
        assert set(body) == {"error", "message", "server_time"}
        assert body["message"]
        assert body["server_time"].endswith("Z")
    assert not rig.all(SessionActivated)
    assert len(rig.all(PeerRefused)) == len(ROWS)
    async with rig.client() as client:
        await client.works()


async def test_a_hotkey_that_is_none_is_told_so_without_its_text(rig: Rig) -> None:
    _, body = await rig.refusal(altered(hotkey="no-address")(rig))
    assert body["message"] == f"a hotkey that is no ss58 address is not registered on netuid {NETUID}"
    _, body = await rig.refusal(altered(receiver="no-address")(rig))
    assert body["message"] == f"the request is for a hotkey that is no ss58 address; this is {rig.hotkey}"
    assert {refused.hotkey for refused in rig.all(PeerRefused)} == {None, ALICE.ss58_address}


@pytest.mark.parametrize("name", ["X-Bittensor-Hotkey", "X-Bittensor-Nonce", "X-Bittensor-Crypto"])
async def test_a_duplicated_auth_header_is_malformed(rig: Rig, name: str) -> None:
    signed = rig.sign() | {"X-Bittensor-Crypto": "sr25519"}
    status, body = await rig.refusal([*signed.items(), (name, signed[name])])
    assert (status, body["error"]) == (400, "malformed")
    assert "twice" in body["message"]


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/ws", "wrong_netuid"),
        ("/ws?netuid=31", "wrong_netuid"),
        ("/ws?netuid=30x", "wrong_netuid"),
        ("/ws?netuid=30&netuid=30", "malformed"),
        ("/ws?netuid=31&netuid=31", "malformed"),
        ("/ws?netuid=31&epoch=short&offset=1", "wrong_netuid"),
        ("/ws?netuid=30&epoch=" + "a" * 32, "malformed"),
        ("/ws?netuid=30&epoch=short&offset=1", "malformed"),
        ("/ws?netuid=30&epoch=" + "a" * 32 + "&offset=-1", "malformed"),
    ],
)
async def test_a_wrong_query_is_refused(rig: Rig, target: str, code: str) -> None:
    status, body = await rig.refusal(rig.sign(path=target), target)
    assert (status, body["error"]) == (400, code)


@pytest.mark.parametrize("subprotocols", [(), ("chat",), ("bettensor.v2",)])
async def test_no_or_another_subprotocol_is_refused(rig: Rig, subprotocols: tuple[str, ...]) -> None:
    status, body = await rig.refusal(subprotocols=subprotocols)
    assert (status, body["error"]) == (400, "unsupported_protocol")


async def test_our_subprotocol_is_found_among_others(rig: Rig) -> None:
    async with await rig.dial(subprotocols=("chat", "bettensor.v1")) as socket:
        assert socket.subprotocol == "bettensor.v1"


async def test_a_disabled_websocket_is_not_found_and_http_works(tmp_path: Path) -> None:
    async with running_validator(tmp_path, websocket={"enabled": False}) as rig:
        status, body = await rig.refusal()
        assert (status, body["error"]) == (404, "websocket_disabled")
        response = await rig.post(PredictionMessage(sender_hotkey=ALICE.ss58_address, **stamped(make_prediction())))
        assert response.status_code == 200


async def test_a_replayed_handshake_is_refused(rig: Rig) -> None:
    headers = rig.sign()
    async with await rig.dial(headers):
        status, body = await rig.refusal(headers)
    assert (status, body["error"]) == (401, "replayed")


async def test_a_replay_after_a_restart_cannot_displace_the_live_session(tmp_path: Path) -> None:
    async with running_validator(tmp_path) as rig:
        headers = rig.sign()
        async with await rig.dial(headers):
            pass
        port = rig.validator.port
    restarted = {"axon": {"ip": "127.0.0.1", "port": port}}
    async with running_validator(tmp_path, **restarted) as rig, rig.client() as live:
        replayed = await rig.dial(headers)
        async with replayed:
            thief = Client(replayed, EVE)
            await thief.be_welcomed()
            await live.works()
            await thief.say(HeartbeatMessage(), sender_hotkey=ALICE.ss58_address)
            code, _, _ = await thief.closed()
            assert code == 4001
        await live.works()


async def test_a_replay_is_known_under_any_spelling_of_its_nonce(rig: Rig) -> None:
    """The signature covers the number, so leading zeros would make a new key of an old request."""
    headers = rig.sign()
    async with await rig.dial(headers):
        status, _ = await rig.refusal(headers | {"X-Bittensor-Nonce": "0" + headers["X-Bittensor-Nonce"]})
    assert status == 401


async def test_plain_http_on_the_websocket_path_is_refused(rig: Rig) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"http://{rig.address}{rig.target()}", headers=rig.sign())
    assert (response.status_code, response.json()["error"]) == (400, "unsupported_protocol")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/admin?netuid=30", 404, "not_found"),
        ("GET", "/predictions?netuid=30", 405, "method_not_allowed"),
        ("DELETE", "/ws/health", 405, "method_not_allowed"),
        ("POST", "/ws/health?x=1", 405, "method_not_allowed"),
        ("POST", "/games?netuid=30", 405, "method_not_allowed"),
    ],
)
async def test_other_paths_and_methods_are_refused(rig: Rig, method: str, path: str, status: int, code: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.request(method, f"http://{rig.address}{path}")
    assert (response.status_code, response.json()["error"]) == (status, code)


BARRED: Final[dict[str, Any]] = {"auth": {"failures_per_second": 0.001, "failure_burst": 5.0}}
"""Settings by which the network of the tests is barred for 10 s after five failures."""


async def fail(rig: Rig, times: int = 5) -> list[int]:
    return [(await rig.refusal(rig.sign(nonce_ns=old(60))))[0] for _ in range(times)]


async def test_a_flood_of_bad_requests_is_turned_away_and_is_few_events(tmp_path: Path) -> None:
    async with running_validator(tmp_path, actors=BARRED) as rig:
        assert await fail(rig, 30) == [401] * 5 + [429] * 25
        for keypair in (EVE, ALICE):  # a stranger, and what an older request of a miner would be
            status, body = await rig.refusal(rig.sign(keypair, nonce_ns=old(60)))
            assert (status, body["error"]) == (429, "rate_limited")
            assert body["message"] == "too many failed requests from 127.0.0.1"
        async with httpx.AsyncClient(trust_env=False) as client:
            response = await client.post(f"http://{rig.address}/predictions?netuid={NETUID}", content=bytes(9999))
        assert (response.status_code, response.headers["retry-after"]) == (429, "10")
        (told,) = await rig.until(RequestsTurnedAway)
        assert (told.counts, told.network, told.most) == ({"network": 28}, "127.0.0.1", 28)
        assert len(rig.all(HttpRequestReceived)) == len(rig.all(PeerRefused)) == len(rig.all(ConnectionClosed)) == 5
        lines = [line.text for line in rig.all(LineLogged)]
        assert len([line for line in lines if "401 stale" in line]) <= 3
        assert "Turned away 28 requests in 1 s with 429: 28 for too many failures of their network; " in "".join(lines)


async def test_a_strangers_failures_keep_no_miner_of_the_same_address_out(tmp_path: Path) -> None:
    async with running_validator(tmp_path, actors=BARRED) as rig:
        for _ in range(20):
            await fail(rig)
            async with rig.client() as client:
                await client.works()
            async with rig.client(BOB) as client:
                await client.works()
        prediction = make_prediction(wager=0.01)
        answer = await rig.post(PredictionMessage(sender_hotkey=ALICE.ss58_address, **stamped(prediction)))
        assert answer.status_code == 200
        assert await fail(rig, 1) == [429]


async def test_a_replay_does_not_pass_a_barred_door_twice(tmp_path: Path) -> None:
    async with running_validator(tmp_path, actors=BARRED) as rig:
        await fail(rig)
        headers = rig.sign()
        async with await rig.dial(headers):
            assert (await rig.refusal(headers))[0] == 429


async def test_the_health_is_told_at_a_barred_door_too_and_a_flood_of_checks_is_few_events(tmp_path: Path) -> None:
    async with running_validator(tmp_path, actors=BARRED) as rig, httpx.AsyncClient(trust_env=False) as client:
        await fail(rig)
        answers = [await client.get(f"http://{rig.address}/ws/health") for _ in range(100)]
        assert {(answer.status_code, answer.json()["status"]) for answer in answers} == {(200, "online")}
        assert 20 <= len(rig.all(HttpAnswered)) < 90


async def test_a_flood_of_handshakes_for_the_health_is_few_events_too(tmp_path: Path) -> None:
    head = "GET /ws/health HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    head += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    async with running_validator(tmp_path) as rig:
        assert {await say(rig, head, connection="Upgrade") for _ in range(100)} == {200}
        assert 20 <= len(rig.all(HttpAnswered)) < 90


# --- what is recorded of strangers

PLANTED: Final = "Planted-Secret-7"


HEADERS: Final = (
    *("Authorization", "Cookie", "X-Forwarded-For", "Forwarded", "User-Agent", "Referer", "X-My-Token"),
    *("X-Bittensor-Version", "X-Bittensor-Hotkey", "X-Bittensor-Receiver", "X-Bittensor-Nonce", "X-Bittensor-Crypto"),
    *("X-Bittensor-Signature", "X-Bittensor-Extra", "Sec-WebSocket-Protocol", "Sec-WebSocket-Key"),
    "bt_header_dendrite_hotkey",
)


async def say(rig: Rig, head: str, body: bytes = b"", connection: str = "close") -> int:
    """The status with which a request is answered that no library would send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.validator.port)
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    writer.write(f"{head}\r\nHost: {PLANTED}\r\nConnection: {connection}\r\n{length}\r\n".encode() + body)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return int(answer.split()[1])


async def test_a_secret_that_a_stranger_sends_is_nowhere_but_in_his_request(tmp_path: Path) -> None:
    body = f'{{"token":"{PLANTED}"}}'.encode()
    written: list[str] = []
    plenty = {"auth": {"failure_burst": 1e6, "all_failure_burst": 1e6}}
    async with running_validator(tmp_path, actors=plenty) as rig:
        sink = logger.add(written.append, level=0)
        rig.validator.bus.on("*", lambda event: written.append(repr(event)))
        for method in ("GET", "POST", "PATCH"):
            for target in ("/ws", "/predictions", "/games", "/ws/health", "/nothing", "/GameData"):
                query = f"?netuid={PLANTED}&epoch={PLANTED}&token={PLANTED}&{PLANTED}"
                headers = "".join(f"\r\n{name}: {PLANTED}" for name in HEADERS)
                await say(rig, f"{method} {target}{query} HTTP/1.1{headers}", body if method != "GET" else b"")
                for name in HEADERS:  # each is refused for its own reason
                    await say(rig, f"{method} {target}?netuid=30 HTTP/1.1\r\n{name}: {PLANTED}")
        await say(rig, f"{PLANTED} / HTTP/1.1")
        bad = await rig.post(body)  # signed, and no prediction
        assert (bad.status_code, bad.json()["error"]) == (400, "malformed")
        target = f"/ws?netuid=30&token={PLANTED}"
        signed = rig.sign(path=target) | {"X-Forwarded-For": PLANTED, "Authorization": PLANTED, "X-Any": PLANTED}
        opened = await rig.dial(signed, target)
        async with opened:
            client = Client(opened, ALICE)
            await client.be_welcomed()
            await client.say(HeartbeatMessage())
        state = Path(str(rig.validator.settings.state_dir))
        status = await asyncio.to_thread(ask, state, {"ask": "status"})
        logger.remove(sink)
    admitted = [event for event in rig.all(RequestBodyReceived) if event.body == body]
    assert len(admitted) == 1  # its sender had proven who it is
    log = (state / "events.jsonl").read_text().splitlines()
    assert len(log) > 100
    told = [line for line in [*log, *written, json.dumps(status)] if PLANTED in line]
    assert [line for line in told if "request_body_received" not in line and "RequestBodyReceived" not in line] == []
    report = audit(log_files(state))
    assert (report.faults, report.partial) == ([], 1)


async def test_a_session_that_was_closed_before_it_was_open_is_closed(tmp_path: Path) -> None:
    """The decision to close it may come in the same drain as the one to open it."""
    async with running_validator(tmp_path) as rig:
        bus = rig.validator.bus

        bus.subscribe(
            PeerAuthenticated, lambda _, __: bus.publish(BlacklistLoaded((Hotkey(ALICE.ss58_address),))), "test"
        )
        socket = await rig.dial()
        async with asyncio.timeout(5):
            await socket.wait_closed()
        assert socket.close_code == 4003
        assert rig.validator.bus.counts["session_activated"] == 0


async def test_a_full_validator_says_when_to_come_again(tmp_path: Path) -> None:
    async with running_validator(tmp_path, actors={"auth": {"max_connections": 1}}) as rig:
        async with rig.client():
            with pytest.raises(Exception, match="503") as refused:
                await rig.dial(rig.sign(BOB))
            assert refused.value.response.headers["Retry-After"] == "30"  # type: ignore[attr-defined]
        await rig.until(SessionActivated)


async def test_requests_of_one_hotkey_are_limited_and_others_go_on(tmp_path: Path) -> None:
    settings = {"auth": {"requests_per_second": 0.001, "request_burst": 2.0}}
    async with running_validator(tmp_path, actors=settings) as rig:
        async with rig.client(), rig.client():
            pass
        status, body = await rig.refusal()
        assert (status, body["error"]) == (429, "rate_limited")
        async with rig.client(BOB) as client:
            await client.works()


async def test_garbage_instead_of_http_harms_nobody(rig: Rig) -> None:

    for garbage in (
        b"\x00\xff\x00\xff" * 100,
        b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.validator.port)
        writer.write(garbage)
        async with asyncio.timeout(5):
            answer = await reader.read()
        assert b" 500 " not in answer
        writer.close()
    async with rig.client() as client:
        await client.works()


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET /ws/hea",
        b"POST /predictions?netuid=30 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhal",
        b"GET /ws/health HTTP/1.1\r\nHost: x\r\n\r\nGET /ws/hea",
    ],
    ids=["silence", "half a line", "half a body", "a second request"],
)
async def test_a_socket_that_does_not_say_what_it_wants_is_closed(tmp_path: Path, beginning: bytes) -> None:
    async with running_validator(tmp_path, limits={"request_timeout": 0.2}) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.validator.port)
        writer.write(beginning)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(5):
                while await reader.read(1000):
                    pass
        writer.close()
        async with rig.client() as client:
            await asyncio.sleep(0.4)  # a session has no such deadline
            await client.works()


async def test_a_request_before_the_answer_to_the_one_before_ends_the_connection(rig: Rig) -> None:
    """Each answer would make room for many more requests than were answered, and each request is held until then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.validator.port)
    writer.write(b"GET /ws/health HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 2
    assert b"HTTP/1.1 400 " in answer
    assert len(rig.all(HttpRequestReceived)) <= 1


async def test_one_request_after_the_other_shares_a_connection(rig: Rig) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.validator.port)
    for _ in range(3):
        writer.write(b"GET /ws/health HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(5):
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_an_answer_that_is_not_read_is_given_up(tmp_path: Path) -> None:
    async with running_validator(tmp_path, limits={"answer_timeout": 0.5}) as rig:
        slate = [starting_soon(game_id=f"{number:0250}") for number in range(8000)]  # more than the system holds for us
        (tmp_path / "games.json").write_text(json.dumps({"games": slate}))
        await rig.until(GamesUpdated, 2)
        target = rig.target("/games")
        headers = [f"{name}: {value}\r\n" for name, value in rig.sign(path=target).items()]
        with socket.socket() as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.connect(("127.0.0.1", rig.validator.port))
            stalled.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n{''.join(headers)}\r\n".encode())
            await rig.until(ExchangeCompleted)
            await asyncio.sleep(1)
            stalled.settimeout(5)
            read = 0
            with contextlib.suppress(ConnectionResetError):
                while data := stalled.recv(65536):
                    read += len(data)
        assert read < len(slate) * 500


async def test_too_many_headers_harm_nobody(rig: Rig) -> None:

    reader, writer = await asyncio.open_connection("127.0.0.1", rig.validator.port)
    lines = ["GET /ws?netuid=30 HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"X-Header-{i}: {i}" for i in range(500)]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(5):
        answer = await reader.read()
    assert b" 500 " not in answer
    writer.close()
    async with rig.client() as client:
        await client.works()


async def test_both_schemes_work_throughout(rig: Rig) -> None:
    for keypair in (ALICE, BOB):
        async with rig.client(keypair) as client:
            await client.works()


async def test_health_is_open_and_exact(rig: Rig) -> None:
    async def health() -> tuple[int, Any]:
        async with httpx.AsyncClient(trust_env=False) as http:
            response = await http.get(f"http://{rig.address}/ws/health")
            return response.status_code, response.json()

    assert await health() == (200, {"status": "online", "connections": 0, "active_connections": 0})
    async with rig.client(), rig.client(BOB):
        assert await health() == (200, {"status": "online", "connections": 2, "active_connections": 2})


def stamped(*predictions: Any) -> dict[str, Any]:
    return {"message_id": "ab" * 16, "timestamp": "2026-01-01T00:00:00Z", "predictions": predictions}


def test_the_adapter_signs_as_bittensor_does() -> None:
    """The golden vector of btauth/1, of which the signature is ed25519's and so the same for everybody."""

    headers = http_auth.sign(
        Keypair.create_from_uri("//Alice", CRYPTO_ED25519),
        method="POST",
        path="/generate?stream=false",
        body=b'{"prompt": "hello"}',
        receiver_ss58="5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty",
        nonce_ns=1752076800000000000,
    )
    assert headers["X-Bittensor-Signature"] == (
        "0x1a6b631988bf1f7ea093ab9d5acf61f05c316d0b0e428b24b487b75a5f6ee0e1"
        "a56a26918fdf871b6cf09437e6588023a4ce423cf622621b2a7feee17612f704"
    )
