"""What a session answers to bad frames: the typed error or the close; and it goes on for everybody else."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from websockets.exceptions import ConnectionClosed as SocketClosed
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

from bettensor.bus import codec
from bettensor.bus.codes import CloseCode
from bettensor.bus.events import (
    CloseRequested,
    ConnectionClosed,
    FrameReceived,
    MessageAccepted,
    PeerStale,
    PredictionsStored,
    SessionActivated,
    VerificationRequested,
)
from bettensor.bus.messages import ErrorMessage, HeartbeatMessage, PointToPoint, PredictionMessage, register
from bettensor.neurons.edges.lease import CLOSE_TIMEOUT
from bettensor.neurons.edges.protocols import SessionProtocol
from tests.loopback.rig import ALICE, BOB, EVE, Client, Rig, running_validator
from tests.support import make_hex32, make_prediction

Frame = Callable[[Client], str | bytes]

VIOLATION, SIGNATURE = CloseCode.PROTOCOL_VIOLATION, CloseCode.BAD_SIGNATURE

CLOSED: dict[str, tuple[Frame, int]] = {
    "a signature by another key": (lambda c: c.frame(HeartbeatMessage(), EVE), SIGNATURE),
    "no signature": (lambda c: c.raw().decode(), SIGNATURE),
    "an empty signature": (lambda c: c.raw().decode() + "\n", SIGNATURE),
    "an empty frame": (lambda _: "", SIGNATURE),
    "a signature in upper case": (lambda c: c.frame(HeartbeatMessage()).replace("0x", "0X"), SIGNATURE),
    "something after the signature": (lambda c: c.frame(HeartbeatMessage()) + "\n", SIGNATURE),
    "a raw newline in the JSON": (lambda c: c.sign(json.dumps({"a": 1}, indent=1).encode()), SIGNATURE),
    "another's hotkey as sender": (
        lambda c: c.frame(HeartbeatMessage(), sender_hotkey=BOB.ss58_address),
        VIOLATION,
    ),
    "another session": (lambda c: c.frame(HeartbeatMessage(), session="ab" * 16), VIOLATION),
    "no session": (lambda c: c.sign(c.raw(session=None)), VIOLATION),
    "a repeated seq": (lambda c: c.frame(HeartbeatMessage(), seq=1), VIOLATION),
    "a skipped seq": (lambda c: c.frame(HeartbeatMessage(), seq=3), VIOLATION),
    "a seq of 2^53": (lambda c: c.sign(c.raw(seq=2**53)), VIOLATION),
    "a seq of 400 digits": (lambda c: c.sign(c.raw(seq=10**400)), VIOLATION),
    "a seq that is no integer": (lambda c: c.sign(c.raw(seq=2.0)), VIOLATION),
    "not JSON": (lambda c: c.sign(b"hello"), VIOLATION),
    "JSON that is no object": (lambda c: c.sign(b"[]"), VIOLATION),
    "a BOM": (lambda c: c.sign(b"\xef\xbb\xbf" + c.raw()), VIOLATION),
    "NaN": (lambda c: c.sign(c.raw().replace(b'"offset": null', b'"offset": NaN')), VIOLATION),
    "Infinity in an unknown field": (lambda c: c.sign(c.raw()[:-1] + b', "x": Infinity}'), VIOLATION),
    "a lone high surrogate": (lambda c: c.sign(c.raw()[:-1] + b', "x": "\\ud800 "}'), VIOLATION),
    "a lone low surrogate": (lambda c: c.sign(c.raw()[:-1] + b', "x": "\\udc00 "}'), VIOLATION),
    "a nesting of 10,000": (
        lambda c: c.sign(c.raw()[:-1] + b', "x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"),
        VIOLATION,
    ),
    "no head": (lambda c: c.sign(b"{}"), VIOLATION),
    "a binary frame": (lambda c: c.frame(HeartbeatMessage()).encode(), VIOLATION),
    "a frame above 64 KiB": (lambda c: c.sign(c.raw(x="y" * 65536)), CloseCode.TOO_BIG),
    "a broadcast": (lambda c: c.sign(c.raw(session=None, netuid=30, message_type="news")), VIOLATION),
}


@pytest.mark.parametrize("name", CLOSED)
async def test_a_frame_that_cannot_be_placed_ends_its_session_and_no_other(rig: Rig, name: str) -> None:
    frame, code = CLOSED[name]
    async with rig.client(BOB) as other:
        async with rig.client() as client:
            await client.socket.send(frame(client))
            got, reason, said = await client.closed()
            assert (name, got) == (name, code)
            assert reason
            assert all(message["message_type"] == "error" for message in said)
        await other.works()
    async with rig.client() as again:
        await again.works()


async def test_the_error_before_a_close_names_the_message_that_is_out_of_place(rig: Rig) -> None:
    async with rig.client() as client:
        frame = client.frame(HeartbeatMessage(), seq=3)
        await client.socket.send(frame)
        _, _, (error,) = await client.closed()
        assert error["in_reply_to"] == json.loads(frame.partition("\n")[0])["message_id"]


async def test_text_that_is_not_utf8_ends_its_session(rig: Rig) -> None:
    async with rig.client() as client:
        await client.socket.send(
            client.sign(client.raw()[:-1] + b', "x": "\xff"}').encode(errors="surrogateescape"), text=True
        )
        code, _, _ = await client.closed()
        assert code == CloseCode.INVALID_DATA


async def test_a_message_of_endless_fragments_ends_its_session(rig: Rig) -> None:
    async def fragments() -> Any:
        for _ in range(100):
            yield ""

    async with rig.client() as client:
        with contextlib.suppress(SocketClosed):
            await client.socket.send(fragments())
        assert (await client.closed())[0] == CloseCode.TOO_BIG
    async with rig.client() as again:
        await again.works()


async def test_pings_of_a_peer_that_does_not_read_are_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their pongs would wait for it, as many as it likes; a confirmation has its bound."""
    sessions = []
    attach = SessionProtocol.attach

    def note(session: SessionProtocol, *arguments: Any) -> None:
        sessions.append(session)
        attach(session, *arguments)

    monkeypatch.setattr(SessionProtocol, "attach", note)
    monkeypatch.setattr("bettensor.neurons.edges.protocols.MAX_EXTRA_FRAMES", 1_000_000)
    async with running_validator(tmp_path) as rig, rig.client() as client:
        client.socket.transport.pause_reading()
        ping = WebSocketFrame(Opcode.PING, bytes(125)).serialize(mask=True)
        for _ in range(200):  # 12 MB, and as much in pongs
            client.socket.transport.write(ping * 500)
            await asyncio.sleep(0.005)
        while client.socket.transport.get_write_buffer_size():  # noqa: ASYNC110 - a transport has no event
            await asyncio.sleep(0.005)
        assert sessions[0].queued() < 256 * 1024
        client.socket.transport.resume_reading()
        await client.works()


async def test_what_comes_after_the_close_is_not_even_noted(rig: Rig) -> None:
    """Nothing limits how much that is, and the event log would have to take all of it."""
    async with rig.client() as client:
        frame = WebSocketFrame(Opcode.TEXT, client.frame(HeartbeatMessage(), seq=7).encode()).serialize(mask=True)
        client.socket.transport.pause_reading()  # so that our close is not answered yet
        client.socket.transport.write(frame)
        await rig.until(CloseRequested)
        for _ in range(50):
            client.socket.transport.write(frame)
            await asyncio.sleep(0.001)
        client.socket.transport.resume_reading()
        assert (await client.closed())[0] == CloseCode.PROTOCOL_VIOLATION
        await rig.until(ConnectionClosed)
        assert len(rig.all(FrameReceived)) == 2


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG])
async def test_a_flood_of_frames_that_are_no_messages_ends_its_session(rig: Rig, opcode: Opcode) -> None:
    """Each is 6 bytes, one read brings 40,000 of them, and nobody else would be served meanwhile."""
    async with rig.client() as client:
        client.socket.transport.write(WebSocketFrame(opcode, b"").serialize(mask=True) * 2000)
        code, reason, _ = await client.closed()
        assert (code, "pings, pongs" in reason) == (CloseCode.RATE_LIMITED, True)
    async with rig.client() as again:
        await again.works()


async def test_frames_without_end_instead_of_an_answer_to_the_close_are_not_read(rig: Rig) -> None:
    async with rig.client() as client:
        client.socket.transport.pause_reading()
        client.socket.transport.write(WebSocketFrame(Opcode.TEXT, b"").serialize(mask=True) * 20_000)
        started = time.monotonic()
        await rig.until(ConnectionClosed)
        assert time.monotonic() - started < CLOSE_TIMEOUT
        assert len(rig.all(FrameReceived)) < 100


ANSWERED: dict[str, tuple[Callable[[Client], bytes], str]] = {
    "an unknown type": (lambda c: c.raw(message_type="telegram"), "unknown_type"),
    "0 predictions": (lambda c: c.raw(message_type="prediction", predictions=[]), "malformed"),
    "65 predictions": (
        lambda c: c.raw(message_type="prediction", predictions=[{"prediction_id": "x"}] * 65),
        "malformed",
    ),
    "no predictions at all": (lambda c: c.raw(message_type="prediction"), "malformed"),
    "predictions that are no list": (lambda c: c.raw(message_type="prediction", predictions="many"), "malformed"),
    "a prediction without an id": (lambda c: c.raw(message_type="prediction", predictions=[{"wager": 1}]), "malformed"),
    "a prediction that is no object": (lambda c: c.raw(message_type="prediction", predictions=[7]), "malformed"),
    "an id with a space": (
        lambda c: c.raw(message_type="prediction", predictions=[{"prediction_id": "a b"}]),
        "malformed",
    ),
    "a heartbeat with half a position": (lambda c: c.raw(offset="far"), "malformed"),
    "a kind that only a validator sends": (
        lambda c: c.raw(message_type="confirmation", results=[]),
        "malformed",
    ),
}


@pytest.mark.parametrize("name", ANSWERED)
async def test_a_message_that_breaks_the_rules_of_its_kind_is_answered_and_the_session_goes_on(
    rig: Rig, name: str
) -> None:
    payload, code = ANSWERED[name]
    async with rig.client() as client:
        said = payload(client)
        await client.socket.send(client.sign(said))
        answer = await client.hear()
        assert (name, answer["message_type"], answer.get("code")) == (name, "error", code)
        assert answer["in_reply_to"] == json.loads(said)["message_id"]
        assert answer["message"]
        await client.works()


async def test_an_error_is_never_answered(rig: Rig) -> None:
    async with rig.client() as client:
        await client.say(ErrorMessage(code="whatever", message="I did not like that"))
        await client.socket.send(client.sign(client.raw(message_type="error")))
        await client.works()


@register
@dataclass(frozen=True, slots=True, kw_only=True)
class InjuryBulletin(PointToPoint):
    """A kind of one's own."""

    message_type: Literal["injury_bulletin"] = "injury_bulletin"
    player: str


async def test_a_kind_of_ones_own_reaches_the_bus_and_can_be_answered(rig: Rig) -> None:
    async with rig.client() as client:
        await client.say(InjuryBulletin(player="Salah"))
        await client.works()
    accepted = [event.message for event in rig.all(MessageAccepted)]
    assert [message.player for message in accepted if isinstance(message, InjuryBulletin)] == ["Salah"]


async def test_unknown_fields_are_ignored_and_of_duplicate_keys_the_last_counts(rig: Rig) -> None:
    async with rig.client() as client:
        payload = client.raw(new_field={"of": ["a", "later", 10**400 % 7]})
        await client.socket.send(client.sign(payload[:-1] + b', "offset": 5, "offset": null}'))
        await client.works()


async def test_among_bad_predictions_the_good_ones_count(rig: Rig) -> None:
    good = [make_prediction(wager=1.0), make_prediction(wager=2.0)]
    bad = [
        make_prediction().to_dict() | {"wager": "all of it"},
        make_prediction().to_dict() | {"wager": 10**400},
        {key: value for key, value in make_prediction().to_dict().items() if key != "team_a"},
        make_prediction().to_dict() | {"model_name": "x" * 257},
    ]
    nameless = make_prediction().to_dict() | {"prediction_id": "not an id"}
    predictions = [bad[0], good[0].to_dict(), nameless, bad[1], bad[2], bad[3], good[1].to_dict()]
    async with rig.client() as client:
        await client.socket.send(client.sign(client.raw(message_type="prediction", predictions=predictions)))
        results: dict[str, str] = {}
        errors: list[str] = []
        while len(results) < 6 or not errors:
            message = await client.hear()
            if message["message_type"] == "error":
                errors.append(message["message"])
            else:
                results |= {result["prediction_id"]: result["code"] for result in message["results"]}
        assert [results[prediction.prediction_id] for prediction in good] == ["accepted"] * 2
        assert [results[str(prediction["prediction_id"])] for prediction in bad] == ["missing_data"] * 4
        assert len(errors) == 1
        assert "predictions[2]" in errors[0]
        await client.works()


async def test_a_prediction_that_cannot_be_read_has_its_verdict_for_ever(rig: Rig) -> None:
    unreadable = make_prediction().to_dict() | {"wager": None}
    repaired = unreadable | {"wager": 1.0}
    async with rig.client() as client:
        codes = []
        for prediction in (unreadable, unreadable, repaired):
            await client.socket.send(client.sign(client.raw(message_type="prediction", predictions=[prediction])))
            codes += [result["code"] for result in (await client.hear())["results"]]
    assert codes == ["missing_data", "missing_data", "conflict"]


# --- sessions


async def test_without_a_first_frame_a_session_ends(tmp_path: Path) -> None:
    async with running_validator(tmp_path, actors={"connection": {"greeting_timeout": 0.2}}) as rig:
        async with rig.client(activate=False) as client:
            code, reason, said = await client.closed()
        assert (code, said) == (CloseCode.PROTOCOL_VIOLATION, [])
        assert "no valid frame within 0.2 s" in reason


async def test_before_its_activation_a_session_is_told_nothing(rig: Rig) -> None:
    async with rig.client(activate=False) as client:
        await client.socket.send(client.frame(HeartbeatMessage(), EVE))
        assert await client.closed() == (SIGNATURE, f"the frame is not signed by {ALICE.ss58_address}", [])


async def test_only_an_activated_session_replaces_the_older_one(rig: Rig) -> None:
    async with rig.client() as older, rig.client(activate=False) as newer:
        await older.works()
        await newer.say(HeartbeatMessage())
        assert (await newer.hear())["message_type"] == "game_update"
        code, _, _ = await older.closed()
        assert code == CloseCode.REPLACED
        await rig.until(ConnectionClosed)
        await newer.works()


async def test_a_prediction_may_be_the_first_frame(rig: Rig) -> None:
    async with rig.client(activate=False) as client:
        await client.say(PredictionMessage(predictions=(make_prediction(),)))
        kinds = {(await client.hear())["message_type"] for _ in range(2)}
        assert kinds == {"game_update", "confirmation"}


async def test_a_miner_that_names_the_position_it_has_gets_no_snapshot(rig: Rig) -> None:
    async with rig.client() as client:
        epoch, offset = client.welcome["epoch"], client.welcome["offset"]
        assert client.welcome["recovered"] is False
    target = f"{rig.target()}&epoch={epoch}&offset={offset}"
    socket = await rig.dial(rig.sign(path=target), target)
    async with socket:
        client = Client(socket, ALICE)
        await client.be_welcomed()
        assert client.welcome["recovered"] is True
        await client.say(HeartbeatMessage(epoch=epoch, offset=offset))
        await client.works()


async def test_after_a_connection_broke_the_same_prediction_has_its_verdict(rig: Rig) -> None:
    async with rig.client() as client:
        prediction = make_prediction()
        await client.say(PredictionMessage(predictions=(prediction,)))
        client.socket.transport.abort()
    await rig.until(PredictionsStored)
    await rig.until(ConnectionClosed)
    socket = await rig.dial()
    async with socket:
        client = Client(socket, ALICE)
        await client.be_welcomed()
        await client.say(HeartbeatMessage())
        await client.say(PredictionMessage(predictions=(prediction,)))
        heard: list[dict[str, Any]] = []
        while not heard or "results" not in heard[-1] or not any("updated_games" in message for message in heard):
            heard.append(await client.hear())
    results = [result for message in heard for result in message.get("results", ())]
    assert {(result["prediction_id"], result["code"]) for result in results} == {(prediction.prediction_id, "accepted")}


async def test_a_session_that_sends_too_much_is_told_so_once_a_second_and_then_ended(tmp_path: Path) -> None:
    limits = {"connection": {"messages_per_second": 1.0, "burst": 5.0}}
    async with running_validator(tmp_path, actors=limits) as rig:
        async with rig.client() as client:
            assert client.welcome["limits"]["messages_per_second"] == 1.0
            for _ in range(20):
                await client.socket.send(client.frame(HeartbeatMessage()))
            code, _, said = await client.closed()
            assert code == CloseCode.RATE_LIMITED
            assert [message["code"] for message in said] == ["rate_limited"]
        assert len(rig.all(VerificationRequested)) <= 6


async def test_the_welcome_says_all_that_a_miner_must_check(rig: Rig) -> None:
    async with rig.client() as client:
        welcome = client.welcome
        assert welcome["sender_hotkey"] == rig.hotkey
        assert welcome["receiver_hotkey"] == ALICE.ss58_address
        assert (welcome["netuid"], welcome["seq"], welcome["crypto"]) == (30, 1, "sr25519")
        assert len(welcome["ledger_id"]) == len(welcome["epoch"]) == len(welcome["salt"]) == 32
        assert (welcome["heartbeat_interval"], welcome["connection_timeout"]) == (60, 300)
        await client.works()
    await rig.until(SessionActivated)


async def test_a_stopping_validator_closes_its_sessions_with_4200(tmp_path: Path) -> None:
    async with running_validator(tmp_path) as rig:
        socket = await rig.dial()
        client = Client(socket, ALICE)
        await client.be_welcomed()
        await client.say(HeartbeatMessage())
        await client.hear()
    assert (await client.closed())[0] == CloseCode.RESTARTING


# --- HTTP exchanges


def message(*predictions: Any, sender: str = ALICE.ss58_address) -> PredictionMessage:
    return PredictionMessage(
        message_id=make_hex32(),  # type: ignore[arg-type]
        sender_hotkey=sender,  # type: ignore[arg-type]
        timestamp="2026-01-01T00:00:00.000000Z",
        predictions=predictions,
    )


def body_of(said: PredictionMessage, **changes: Any) -> bytes:
    """The body of a request with any fields instead of its own."""
    return json.dumps(json.loads(codec.encode_body(said)) | changes).encode()


def frames(body: str) -> list[dict[str, Any]]:
    lines = body.splitlines()
    assert len(lines) % 2 == 0
    assert all(signature.startswith("0x") and len(signature) == 130 for signature in lines[1::2])
    return [json.loads(line) for line in lines[::2]]


async def test_predictions_by_http_are_a_session_of_one_request(rig: Rig) -> None:
    good, bad = make_prediction(), make_prediction(team_a="Boston")
    said = message(good, bad)
    response = await rig.post(said)
    assert response.status_code == 200
    welcome, *rest = frames(response.text)
    assert (welcome["message_type"], welcome["seq"]) == ("welcome", 1)
    results = [result for confirmation in rest for result in confirmation["results"]]
    assert [(r["prediction_id"], r["about"], r["code"]) for r in results] == [
        (good.prediction_id, said.message_id, "accepted"),
        (bad.prediction_id, said.message_id, "team_mismatch"),
    ]
    assert [frame["seq"] for frame in rest] == list(range(2, 2 + len(rest)))
    assert {frame["session"] for frame in rest} == {welcome["session"]}


async def test_both_roads_give_the_same_verdict(rig: Rig) -> None:
    prediction = make_prediction()
    async with rig.client() as client:
        (first,) = (await client.predict(prediction))["results"]
        response = await rig.post(message(prediction))
        (second,) = frames(response.text)[1]["results"]
        assert (first["code"], first["message"]) == (second["code"], second["message"]) == ("accepted", "")
        await client.works()  # the exchange has not touched the session


async def test_64_predictions_by_http_are_answered_at_once(rig: Rig) -> None:
    predictions = [make_prediction(wager=0.01) for _ in range(64)]
    response = await rig.post(message(*predictions))
    results = [result for frame in frames(response.text)[1:] for result in frame["results"]]
    assert [result["prediction_id"] for result in results] == [p.prediction_id for p in predictions]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "not JSON"),
        (b"{}", "not a message"),
        (b"\xff", "not UTF-8"),
        (body_of(message(), message_type="heartbeat"), "must be a prediction message"),
        (body_of(message()), "length"),
        (body_of(message(), message_type="x"), "message_type 'x' is unknown"),
        (body_of(message(make_prediction(), sender=EVE.ss58_address)), "sender_hotkey"),
    ],
)
async def test_a_body_that_is_no_prediction_message_is_malformed(rig: Rig, body: bytes, fault: str) -> None:
    response = await rig.post(body)
    assert (response.status_code, response.json()["error"]) == (400, "malformed")
    assert fault in response.json()["message"]


async def test_a_body_above_64_kib_is_too_large(rig: Rig) -> None:
    response = await rig.post(b"x" * 65537)
    assert (response.status_code, response.json()["error"]) == (413, "too_large")


async def test_a_body_without_readable_ids_gets_an_error_frame(rig: Rig) -> None:
    response = await rig.post(body_of(message(), predictions=[{"wager": 1}]))
    assert response.status_code == 200
    assert [frame.get("code") for frame in frames(response.text)] == [None, "malformed"]


async def test_a_body_with_some_readable_ids_gets_both(rig: Rig) -> None:
    good = make_prediction()
    response = await rig.post(body_of(message(), predictions=[{"wager": 1}, good.to_dict()]))
    kinds = [frame["message_type"] for frame in frames(response.text)]
    assert sorted(kinds) == ["confirmation", "error", "welcome"]


async def test_a_body_that_was_changed_on_its_way_is_refused(rig: Rig) -> None:
    said = message(make_prediction())
    response = await rig.post(said, body=b"something else")
    assert (response.status_code, response.json()["error"]) == (401, "bad_signature")


async def test_the_slate_by_http(rig: Rig) -> None:
    async def get(target: str) -> list[dict[str, Any]]:
        async with httpx.AsyncClient(trust_env=False) as client:
            response = await client.get(f"http://{rig.address}{target}", headers=rig.sign(path=target))
        assert response.status_code == 200
        return frames(response.text)

    welcome, update = await get(rig.target("/games"))
    assert (welcome["recovered"], update["previous"], update["parts"]) == (False, None, 1)
    assert list(update["updated_games"]) == [rig.game().game_id]
    position = f"&epoch={welcome['epoch']}&offset={welcome['offset']}"
    (welcome,) = await get(rig.target("/games") + position)
    assert welcome["recovered"] is True


async def test_a_silent_session_is_closed_as_stale_and_a_lively_one_is_not(tmp_path: Path) -> None:
    quick = {"heartbeat_interval": 0.1, "connection_timeout": 0.4}
    async with running_validator(tmp_path, websocket=quick) as rig:
        async with rig.client(BOB) as lively, rig.client() as silent:
            heard = []
            while silent.socket.close_code is None:
                await lively.say(HeartbeatMessage())
                with contextlib.suppress(SocketClosed):
                    heard.append(await silent.hear(heartbeats=True))
            code, reason, _ = await silent.closed()
            assert (code, reason) == (CloseCode.STALE, "nothing heard for 0 s")
            assert {message["message_type"] for message in heard} == {"heartbeat"}
            assert heard[0]["offset"] == silent.welcome["offset"]
            await rig.until(PeerStale)
        assert len(rig.all(PeerStale)) == 1
