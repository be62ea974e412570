"""The test vectors of the protocol: made anew from this code, they are what the documents say.

``python -m tests.test_protocol_vectors`` writes ``docs/vectors.json`` and the end of ``docs/protocol.md``.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import bittensor_core
import msgspec
import pytest
from bittensor import http_auth
from bittensor_core import CRYPTO_ED25519, CRYPTO_SR25519, Keypair

from bettensor.bus import codec, packing
from bettensor.bus.codes import CloseCode, ErrorCode, VerdictCode
from bettensor.bus.errors import Unreadable
from bettensor.bus.games import TeamGame, TeamGamePrediction, content_digest, millionths
from bettensor.bus.identifiers import (
    Epoch,
    GameId,
    Hotkey,
    LedgerId,
    MessageId,
    Netuid,
    Offset,
    PredictionId,
    SessionId,
)
from bettensor.bus.messages import (
    Broadcast,
    ConfirmationMessage,
    ErrorMessage,
    GameUpdateMessage,
    HeartbeatMessage,
    Limits,
    MinerStats,
    PointToPoint,
    PredictionMessage,
    PredictionResult,
    WelcomeMessage,
    session_id,
)

DOCS = Path(__file__).parent.parent / "docs"
VALIDATOR = Keypair.create_from_uri("//Alice", CRYPTO_ED25519)
MINER = Keypair.create_from_uri("//Bob", CRYPTO_ED25519)
SEEDS = {
    "//Alice": "abf8e5bdbe30c65656c0a3cbd181ff8a56294a69dfedd27982aace4a76909115",
    "//Bob": "3b7b60af2abcd57ba401ab398f84f4ca54bd6b2140d2503fbcf3286535fe3ff1",
}
SR25519_MINER = Keypair.create_from_uri("//Bob", CRYPTO_SR25519)
SR25519_REQUEST_SIGNATURE = (
    "0xeafe967733662fa74eca57c0cbe6a90890fdcf544027afc04e227e5e996f5d02"
    "0ddd54c525381250e626db77c745c2f9b61caf862bd1acd9e5353d8f9971e287"
)
"""Made once: sr25519 signatures are randomised."""
SR25519_FRAME_SIGNATURE = (
    "0x44f32ed9c7df31e2425da9bd850a2cfbd433799b9509384d6e3ae9586d1ddc33"
    "046ff506a1b7177ec3c05239b6a4a2aad9e4d6311e42a5b625f11ea757d40e8a"
)
PACKED_UPDATE = (
    "78daed91cb4edc301486f77d0ae4f5ccc897d84966470b7483502b46a8b0b14e9c9399a8b9d571a68c10efde1332a9541501"
    "0b96585ed8bfcf7f2e9f1f588d7d0f5bb465ced68cbfbc32b6603d36397abb6bc34f3c90455f9ca6cdf7b39bad34f1d9799e"
    "d4e2eed0fdb8fcdcecafe2eb8bfbdbdf377193ffbabefd5a5ea59b4d37508a5052d100754776c9a55972b15462239235e7b4"
    "5753b13b8a2c1bebb1ab0e36b46cdd0c55b5600d8661ec55f105c3ae753b4a82af2ccad416458f81ad05d9e691c3a143726f"
    "a1463b74398431703ae476547bb67e787a5e8af934713a6a340a426d8194534f60a09aa58ca42f3bac7a849159d77aaacdfa"
    "d639f4245408db61ac7dde6cabb2df9d7cf35897e84f2ea78705731ea90dfbd4d46b942ae8c37180b719708f4db0f4053efc"
    "6b90e4d908fd9f015c28f71416fc80f3d0b6cd73022457729ef9a8a85534fe31febd2a1a071a4bd29ca11d826b6b9cfef471"
    "31f194cf30961f8cdf95b17a86b1fa60fc3e8c0972e7715fb60385a774819196980e2489c74ffc3ed33cca442cf28c3b3459"
    "1a89024cc213ee920263614c2e8c4034096a05120aa9118c8e84898d54464961924827b1899cd45c3b018a6702325494c9a1"
    "e43ae6a98a9222d5600a2c24079e206024342f12aaf20700fbc867"
)
"""Made once: any zlib may make other bytes of the same text."""
LONG_STREAM = (
    "78daedc18100000000c32095f953fe2055010000000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000c00d11100201"
)
NETUID = Netuid(30)
NONCE = 1752076800000000000
SALT = "00112233445566778899aabbccddeeff"
EPOCH = Epoch("e" * 32)
TIMESTAMP = "2026-01-31T18:00:00.000000Z"
SESSION = session_id(NETUID, Hotkey(VALIDATOR.ss58_address), Hotkey(MINER.ss58_address), str(NONCE), SALT)

GAME = TeamGame(
    game_id=GameId("epl-arsenal-chelsea"),
    team_a="Arsenal",
    team_b="Chelsea",
    sport="soccer",
    league="English Premier League",
    create_date=TIMESTAMP,
    last_update_date=TIMESTAMP,
    event_start_date="2026-02-01T15:00:00.000000Z",
    active=True,
    team_a_odds=2.2,
    team_b_odds=3.4,
    tie_odds=3.3,
    can_tie=True,
)
PREDICTION = TeamGamePrediction(
    prediction_id=PredictionId("my-first-prediction"),
    game_id=GAME.game_id,
    prediction_date=TIMESTAMP,
    predicted_outcome="Tie",
    predicted_odds=3.3,
    team_a="Arsenal",
    team_b="Chelsea",
    wager=12.5,
    team_a_odds=2.2,
    team_b_odds=3.4,
    tie_odds=3.3,
    model_name="élan",
    confidence_score=0.31,
)


def messages() -> dict[str, tuple[Keypair, PointToPoint | Broadcast, int | None]]:
    """Each message with its sender and its place."""
    result = PredictionResult(
        prediction_id=PREDICTION.prediction_id,
        about=f"{4:032x}",
        success=True,
        code=VerdictCode.ACCEPTED,
        message="",
    )
    welcome = WelcomeMessage(
        receiver_hotkey=Hotkey(MINER.ss58_address),
        challenge=str(NONCE),
        salt=SALT,
        netuid=NETUID,
        crypto="ed25519",
        ledger_id=LedgerId("1" * 32),
        heartbeat_interval=60.0,
        connection_timeout=300.0,
        epoch=EPOCH,
        offset=Offset(7),
        recovered=False,
        limits=Limits(frame_bytes=65536, predictions_per_message=64, messages_per_second=1000.0, burst=2000.0),
    )
    stats = MinerStats(accepted_today=1, rejected_today=0, wagered_today=12.5, daily_limit=1000.0)
    update = GameUpdateMessage(
        netuid=NETUID, epoch=EPOCH, offset=Offset(7), updated_games={GAME.game_id: GAME}, previous=None
    )
    return {
        "welcome": (VALIDATOR, welcome, 1),
        "heartbeat": (MINER, HeartbeatMessage(), 1),
        "game_update": (VALIDATOR, update, None),
        "prediction": (MINER, PredictionMessage(predictions=(PREDICTION,)), 2),
        "confirmation": (VALIDATOR, ConfirmationMessage(results=(result,), miner_stats=stats), 2),
        "error": (
            VALIDATOR,
            ErrorMessage(code=ErrorCode.UNKNOWN_TYPE, message="no such kind", in_reply_to="3" * 32),
            3,
        ),
    }


def updates() -> dict[str, GameUpdateMessage]:
    """Two parts of one update, and an update that takes a game off the slate."""

    def update(offset: int, previous: int, game: TeamGame, part: int = 1, parts: int = 1) -> GameUpdateMessage:
        return GameUpdateMessage(
            netuid=NETUID,
            epoch=EPOCH,
            offset=Offset(offset),
            previous=Offset(previous),
            updated_games={game.game_id: game},
            part=part,
            parts=parts,
        )

    other = replace(GAME, game_id=GameId("epl-everton-fulham"), team_a="Everton", team_b="Fulham")
    return {
        "game_update_part_1": update(8, 7, replace(GAME, team_a_odds=2.25), 1, 2),
        "game_update_part_2": update(8, 7, other, 2, 2),
        "game_update_after": update(9, 8, replace(other, active=False)),
    }


def packed_updates() -> dict[str, Any]:
    """A handshake that asks for compressed updates, an update in its binary form, and binary messages that are none."""
    target = f"/ws?netuid={NETUID}&encoding={packing.DEFLATE}"
    request = {"method": "GET", "path": target, "body": b"", "receiver_ss58": VALIDATOR.ss58_address}
    ids = [GameId(f"game-{number}") for number in (1, 2, 3)]
    games = {game_id: replace(GAME, game_id=game_id) for game_id in ids}
    update = GameUpdateMessage(netuid=NETUID, epoch=EPOCH, offset=Offset(10), updated_games=games, previous=Offset(9))
    return {
        "handshake": request_vector(MINER, **request),
        "update": frame_vector(VALIDATOR, update, None, 11) | {"binary": PACKED_UPDATE},
        "refused": {
            "cut off": PACKED_UPDATE[:-2],
            "a byte after it": PACKED_UPDATE + "00",
            "another stream after it": PACKED_UPDATE * 2,
            "its checksum is wrong": PACKED_UPDATE[:-2] + f"{int(PACKED_UPDATE[-2:], 16) ^ 1:02x}",
            "raw deflate (RFC 1951)": PACKED_UPDATE[4:-8],
            "empty": "",
            "more than 65,536 bytes": LONG_STREAM,
        },
    }


def refused_frames(frame: str) -> dict[str, str]:
    """What ``frame`` becomes in wrong hands; each is no frame, or not signed by whom it names."""
    payload, _, signature = frame.partition("\n")
    return {
        "forged: one bit of the signature": f"{payload}\n{signature[:-1]}{int(signature[-1], 16) ^ 1:x}",
        "forged: one space more in the JSON": f"{payload[:-1]} }}\n{signature}",
        "no signature": payload,
        "an empty signature": f"{payload}\n",
        "a signature in upper case": f"{payload}\n0x{signature[2:].upper()}",
        "a newline after it": f"{frame}\n",
    }


def http_answer(frames: dict[str, Any]) -> dict[str, str]:
    """The body of an answer to ``POST /predictions``: a welcome and a confirmation, as a session would carry them."""
    names = ("welcome", "confirmation")
    return {
        "content_type": "text/plain; charset=utf-8",
        "body": "".join(f"{frames[name]['frame']}\n" for name in names),
    }


def sr25519_vectors() -> dict[str, Any]:
    """A request and a frame whose signatures can be verified, though not made again."""
    request = {"method": "GET", "path": f"/ws?netuid={NETUID}", "body": b"", "receiver_ss58": VALIDATOR.ss58_address}
    handshake = request_vector(SR25519_MINER, **request)
    handshake["headers"]["X-Bittensor-Signature"] = SR25519_REQUEST_SIGNATURE
    heartbeat = frame_vector(SR25519_MINER, HeartbeatMessage(), 1, 1)
    payload, _, _ = heartbeat["frame"].partition("\n")
    keys = {"uri": "//Bob", "scheme": "sr25519", "ss58": SR25519_MINER.ss58_address, **public(SR25519_MINER)}
    return {
        "miner": keys,
        "handshake": handshake,
        "heartbeat": heartbeat | {"frame": f"{payload}\n{SR25519_FRAME_SIGNATURE}"},
    }


def frame_vector(keypair: Keypair, message: PointToPoint | Broadcast, seq: int | None, number: int) -> dict[str, Any]:
    stamped: Any = codec.stamp(
        message,
        message_id=MessageId(f"{number:032x}"),
        sender=Hotkey(keypair.ss58_address),
        timestamp=TIMESTAMP,
    )
    if seq is not None:
        stamped = codec.place(stamped, SessionId(SESSION), seq)
    payload = codec.encode(stamped)
    signature = bytes(keypair.sign(codec.SIGNED_PREFIX + payload))
    return {"signer": keypair.ss58_address, "frame": codec.join(codec.Frame(payload, signature)).decode()}


def request_vector(keypair: Keypair, **request: Any) -> dict[str, Any]:
    headers = http_auth.sign(keypair, nonce_ns=NONCE, **request)
    payload = http_auth.build_payload(
        scheme=headers.get("X-Bittensor-Crypto", "sr25519"),
        nonce_ns=NONCE,
        sender_ss58=keypair.ss58_address,
        **request,
    )
    return {"signed": payload.decode(), "headers": headers, "body": request["body"].decode()}


def vectors() -> dict[str, Any]:
    """All of ``docs/vectors.json``."""
    validator, miner = VALIDATOR.ss58_address, MINER.ss58_address
    body = codec.encode_body(
        codec.stamp(
            PredictionMessage(predictions=(PREDICTION,)),
            message_id=MessageId(f"{9:032x}"),
            sender=Hotkey(miner),
            timestamp=TIMESTAMP,
        )
    )
    handshake = {"method": "GET", "path": f"/ws?netuid={NETUID}", "body": b"", "receiver_ss58": validator}
    post = {"method": "POST", "path": f"/predictions?netuid={NETUID}", "body": body, "receiver_ss58": validator}
    golden = {
        "method": "POST",
        "path": "/generate?stream=false",
        "body": b'{"prompt": "hello"}',
        "receiver_ss58": "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty",
    }
    session_text = "\n".join(("bettensor/1 session", str(NETUID), validator, miner, str(NONCE), SALT))
    frames = {
        name: frame_vector(keypair, message, seq, number)
        for number, (name, (keypair, message, seq)) in enumerate(messages().items(), start=1)
    }
    later = {
        name: frame_vector(VALIDATOR, update, None, number)
        for number, (name, update) in enumerate(updates().items(), start=7)
    }
    return {
        "keys": {
            "validator": {
                "uri": "//Alice",
                "scheme": "ed25519",
                "ss58": validator,
                "seed": SEEDS["//Alice"],
                **public(VALIDATOR),
            },
            "miner": {"uri": "//Bob", "scheme": "ed25519", "ss58": miner, "seed": SEEDS["//Bob"], **public(MINER)},
        },
        "requests": {
            "btauth": request_vector(VALIDATOR, **golden),
            "handshake": request_vector(MINER, **handshake),
            "post_predictions": request_vector(MINER, **post),
        },
        "session": {"hashed": session_text, "sha256": hashlib.sha256(session_text.encode()).hexdigest(), "id": SESSION},
        "frames": frames,
        "later_updates": later,
        "packed_updates": packed_updates(),
        "refused_frames": refused_frames(frames["heartbeat"]["frame"]),
        "http_answer": http_answer(frames),
        "sr25519": sr25519_vectors(),
        "same_content": same_content(),
        "millionths": [[value, millionths(value)] for value in MILLIONTHS],
    }


def public(keypair: Keypair) -> dict[str, str]:
    return {"public_key": bytes(keypair.public_key).hex()}


MILLIONTHS = (1.0, 0.1 + 0.2, 1.91, 0.0000005, 0.0000015, 0.0000025, 2.0000005, 1e9, 12.345678901)


def same_content() -> list[dict[str, Any]]:
    """Pairs of predictions under one id, and whether they are the same."""
    base = PREDICTION.to_dict()
    changed: list[tuple[dict[str, Any], bool]] = [
        ({"miner_uid": 5, "outcome": "Tie", "payout": 1.0}, True),
        ({"wager": 12.500000000000002}, False),
        ({"predicted_outcome": 2}, False),
        ({"model_name": "e\u0301lan"}, False),
        ({"model_name": None}, False),
        ({"confidence_score": None}, False),
    ]
    return [{"first": base, "second": base | change, "same": same} for change, same in changed]


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DOCS / "vectors.json").read_text())
    return document


def test_the_vectors_are_what_this_code_makes(written: dict[str, Any]) -> None:
    assert json.loads(json.dumps(vectors())) == written


def test_every_signature_verifies(written: dict[str, Any]) -> None:
    for vector in (*written["frames"].values(), *written["later_updates"].values()):
        payload, signature = codec.split(vector["frame"].encode())
        signed = codec.SIGNED_PREFIX + payload
        assert bittensor_core.verify(signed, signature, vector["signer"], CRYPTO_ED25519)
    for vector in written["requests"].values():
        signature = bytes.fromhex(vector["headers"]["X-Bittensor-Signature"][2:])
        signer = vector["headers"]["X-Bittensor-Hotkey"]
        assert bittensor_core.verify(vector["signed"].encode(), signature, signer, CRYPTO_ED25519)


def test_the_compressed_update_is_its_frame_and_others_are_refused(written: dict[str, Any]) -> None:
    packed = written["packed_updates"]
    frame, binary = packed["update"]["frame"].encode(), bytes.fromhex(packed["update"]["binary"])
    assert len(frame) > packing.MIN_BYTES
    assert packing.unpack(binary) == frame
    payload, signature = codec.split(frame)
    assert bittensor_core.verify(codec.SIGNED_PREFIX + payload, signature, packed["update"]["signer"], CRYPTO_ED25519)
    for data in packed["refused"].values():
        with pytest.raises(Unreadable):
            packing.unpack(bytes.fromhex(data))


def test_the_seeds_are_those_of_the_keys(written: dict[str, Any]) -> None:
    for key in written["keys"].values():
        made = Keypair.create_from_seed(bytes.fromhex(key["seed"]), CRYPTO_ED25519)
        assert (made.ss58_address, bytes(made.public_key).hex()) == (key["ss58"], key["public_key"])


def test_the_signatures_by_sr25519_verify(written: dict[str, Any]) -> None:
    vector = written["sr25519"]
    hotkey = vector["miner"]["ss58"]
    signature = bytes.fromhex(vector["handshake"]["headers"]["X-Bittensor-Signature"][2:])
    assert bittensor_core.verify(vector["handshake"]["signed"].encode(), signature, hotkey, CRYPTO_SR25519)
    payload, signature = codec.split(vector["heartbeat"]["frame"].encode())
    assert bittensor_core.verify(codec.SIGNED_PREFIX + payload, signature, hotkey, CRYPTO_SR25519)


def test_frames_that_are_none_do_not_pass(written: dict[str, Any]) -> None:
    for why, frame in written["refused_frames"].items():
        if why.startswith("forged"):
            payload, signature = codec.split(frame.encode())
            signed = codec.SIGNED_PREFIX + payload
            assert not bittensor_core.verify(signed, signature, MINER.ss58_address, CRYPTO_ED25519)
        else:
            with pytest.raises(Unreadable) as fault:
                codec.split(frame.encode())
            assert fault.value.close is CloseCode.BAD_SIGNATURE


def test_the_btauth_vector_is_bittensors_own(written: dict[str, Any]) -> None:
    assert written["requests"]["btauth"]["headers"]["X-Bittensor-Signature"] == (
        "0x1a6b631988bf1f7ea093ab9d5acf61f05c316d0b0e428b24b487b75a5f6ee0e1"
        "a56a26918fdf871b6cf09437e6588023a4ce423cf622621b2a7feee17612f704"
    )


def test_each_frame_is_read_as_it_was_meant(written: dict[str, Any]) -> None:
    for name, (_, message, _) in messages().items():
        read = codec.read(codec.split(written["frames"][name]["frame"].encode()).payload)
        assert type(read) is type(message)


def test_content_is_the_same_exactly_where_the_vectors_say(written: dict[str, Any]) -> None:
    for pair in written["same_content"]:
        first, second = (
            content_digest(msgspec.convert(pair[which], TeamGamePrediction)) for which in ("first", "second")
        )
        assert (first == second) is pair["same"]


def test_the_document_shows_the_vectors(written: dict[str, Any]) -> None:
    assert (DOCS / "protocol.md").read_text().endswith(shown(written))


def shown(written: dict[str, Any]) -> str:
    """The end of the document."""
    handshake = written["requests"]["handshake"]
    headers = "\n".join(f"{name}: {value}" for name, value in handshake["headers"].items())
    blocks = [
        ("What the miner signs for its handshake", handshake["signed"]),
        ("Its headers", headers),
        ("The six lines of the session id", written["session"]["hashed"]),
        ("The session id", written["session"]["id"]),
        *((f"A `{name}` frame", written["frames"][name]["frame"]) for name in written["frames"]),
    ]
    return "".join(f"\n{title}:\n\n```\n{text}\n```\n" for title, text in blocks)


def write() -> None:
    made = json.loads(json.dumps(vectors()))
    (DOCS / "vectors.json").write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n")
    document = (DOCS / "protocol.md").read_text()
    head, mark, _ = document.partition("with every vector in full. The first ones:\n")
    (DOCS / "protocol.md").write_text(head + mark + shown(made))


if __name__ == "__main__":
    write()
