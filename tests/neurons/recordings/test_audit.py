"""An audit hears every frame again: whenever it came, whenever it was checked, and in whichever file."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from bittensor import http_auth
from bittensor_core import CRYPTO_ED25519, CRYPTO_SR25519, Keypair

from bettensor.bus import codec
from bettensor.bus.envelope import Envelope
from bettensor.bus.eventlog import ActorCheckpoint, Checkpoint, Header, LogWriter
from bettensor.bus.events import (
    AxonAnswered,
    ConnectionClosed,
    Event,
    FrameReceived,
    HttpRequestReceived,
    MetagraphFetched,
    NeuronInfo,
    NeuronStarted,
    QueryReceived,
    RequestBodyReceived,
    Scheme,
    SettingsReloaded,
    SignatureChecked,
)
from bettensor.bus.identifiers import ConnectionId, Hotkey, Micros, SessionId, Uid
from bettensor.bus.messages import HeartbeatMessage, WebSocketMessage
from bettensor.bus.synapse import BODY_HASH, signed_text
from bettensor.neurons.edges.incoming import recorded_target
from bettensor.neurons.edges.keys import Keys
from bettensor.neurons.recordings.audit import Report, as_json, audit, text
from tests.actors.miner.messages import welcome
from tests.support import NETUID, NOW, make_hex32, make_prediction, stamp

ME = Hotkey(Keypair.create_from_uri("//Me", CRYPTO_SR25519).ss58_address)
ALICE = Keys(Keypair.create_from_uri("//Alice", CRYPTO_SR25519))
BOB = Keys(Keypair.create_from_uri("//Bob", CRYPTO_ED25519))
HEADER = Header(role="validator", netuid=NETUID, hotkey=ME, scheme="sr25519", record="observed", settings={})


def frame(
    keys: Keys = ALICE, connection: int = 1, *, forged: bool = False, message: WebSocketMessage | None = None
) -> FrameReceived:
    said = message or HeartbeatMessage(session=SessionId("5" * 32), seq=1)
    payload = codec.encode(stamp(said, keys.hotkey))
    signature = keys.sign(b"something else" if forged else payload)
    return FrameReceived(ConnectionId(connection), codec.join(codec.Frame(payload, signature)))


def checked(valid: bool = True, connection: int = 1, request: int = 1000) -> SignatureChecked:
    return SignatureChecked(ConnectionId(connection), request, valid)


def audited(folder: Path, *events: Event, checkpoint: Checkpoint | None = None, header: Header = HEADER) -> Report:
    writer = LogWriter(header)
    lines = [writer.first] + ([] if checkpoint is None else [writer.checkpoint(checkpoint)])
    first = 1 if checkpoint is None else checkpoint.seq + 1
    lines += [writer.row(Envelope(seq, NOW, Micros(seq), (), event)) for seq, event in enumerate(events, first)]
    (folder / "events.jsonl").write_bytes(b"".join(lines))
    return audit([folder / "events.jsonl"])


def proven(report: Report) -> dict[Hotkey, int]:
    return {hotkey: words.frames for hotkey, words in report.signers.items()}


def test_frames_that_came_together_are_each_compared_with_the_check_of_their_own(tmp_path: Path) -> None:
    both = (frame(), frame(BOB, 2), frame(), frame(forged=True))
    report = audited(tmp_path, *both, checked(), checked(False, 2), checked(), checked(False))
    assert report.faults == []  # Bob's scheme is not known here: the neuron and the audit find the same
    assert (proven(report), report.unproven) == ({ALICE.hotkey: 2}, 2)


def test_predictions_over_synapse_are_counted_by_endpoint_and_are_neither_proven_nor_a_fault(tmp_path: Path) -> None:
    answer = AxonAnswered(ConnectionId(-1), ALICE.hotkey, (make_prediction(), make_prediction()))
    report = audited(tmp_path, frame(), answer, checked(), answer, AxonAnswered(ConnectionId(-2), BOB.hotkey, ()))
    assert (report.faults, report.unproven, proven(report)) == ([], 0, {ALICE.hotkey: 1})
    assert report.endpoints == {ALICE.hotkey: 4, BOB.hotkey: 0}
    assert as_json(report)["endpoints"] == {ALICE.hotkey: 4, BOB.hotkey: 0}
    assert f"{ALICE.hotkey}: 4 predictions from its endpoint over Synapse, which nobody signs" in list(text(report))


def test_a_frame_that_nobody_checked_is_no_fault(tmp_path: Path) -> None:
    report = audited(tmp_path, frame(forged=True), frame(), frame(forged=True), frame(), checked(), checked())
    assert report.faults == []
    assert (proven(report), report.unproven) == ({ALICE.hotkey: 2}, 2)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_forged_frame_among_others_is_found_wherever_it_is(tmp_path: Path, place: int) -> None:
    frames = [frame(forged=number == place) for number in range(3)]
    report = audited(tmp_path, *frames, checked(), checked(), checked())
    (fault,) = report.faults
    assert f"line {2 + place}: the signature of this frame by {ALICE.hotkey} is bad, and line 7 says that it" in fault
    assert (proven(report), report.unproven) == ({ALICE.hotkey: 2}, 0)


def test_more_checks_than_frames_are_a_fault(tmp_path: Path) -> None:
    (fault,) = audited(tmp_path, frame(), checked(), checked()).faults
    assert "line 4: a signature was checked, and there is none" in fault


def continued(scheme: str) -> Checkpoint:
    sessions = {"2": {"connection": 2, "scheme": scheme}}
    return Checkpoint(2000, NOW, Micros(5), {"connection": ActorCheckpoint.of({}, {"sessions": sessions})})


def test_a_session_goes_on_in_the_next_file_with_its_scheme(tmp_path: Path) -> None:
    report = audited(tmp_path, frame(BOB, 2), checked(True, 2, 2002), checkpoint=continued("ed25519"))
    assert (report.faults, proven(report)) == ([], {BOB.hotkey: 1})
    (fault,) = audited(tmp_path, frame(BOB, 2), checked(True, 2, 2002), checkpoint=continued("sr25519")).faults
    assert "is bad, and line 4 says" in fault
    (fault,) = audited(tmp_path, checkpoint=continued("rot13")).faults
    assert "line 2: the checkpoint is not one of the actor 'connection'" in fault


def test_an_answer_to_a_question_of_the_file_before_is_no_fault(tmp_path: Path) -> None:
    report = audited(tmp_path, checked(True, 2, 1999), frame(BOB, 2), checkpoint=continued("ed25519"))
    assert (report.faults, proven(report)) == ([], {BOB.hotkey: 1})


# --- by which scheme


ED25519 = {"auth": {"schemes": {BOB.hotkey: "ed25519"}}}


def request(keys: Keys, connection: int = 1) -> HttpRequestReceived:
    """A handshake whose header names the scheme of its key."""
    target = "/ws?netuid=30"
    signed = http_auth.sign(keys.keypair, method="GET", path=target, receiver_ss58=ME, nonce_ns=NOW * 1000)
    headers = tuple((name.lower(), value) for name, value in signed.items())
    return HttpRequestReceived(ConnectionId(connection), "GET", target, headers, "10.0.0.1", True, make_hex32())


def posted(keys: Keys, body: bytes = b"{}", target: str = "/predictions?netuid=30") -> HttpRequestReceived:
    """A request with a body, of which the log has what ``incoming.py`` keeps."""
    signed = http_auth.sign(keys.keypair, method="POST", path=target, body=body, receiver_ss58=ME, nonce_ns=NOW * 1000)
    headers = tuple((name.lower(), value) for name, value in signed.items())
    recorded, digest = recorded_target(target), sha256(body).hexdigest()
    facts = (ConnectionId(1), "POST", recorded, headers, "10.0.0.1", False, make_hex32(), digest, len(body))
    return HttpRequestReceived(*facts, is_whole=recorded == target)


def test_a_request_is_proven_by_the_digest_of_its_body_and_the_body_by_the_digest(tmp_path: Path) -> None:
    body = RequestBodyReceived(ConnectionId(1), b"{}")
    report = audited(tmp_path, posted(ALICE), checked(), body)
    assert (report.faults, {hotkey: words.requests for hotkey, words in report.signers.items()}) == (
        [],
        {ALICE.hotkey: 1},
    )
    (fault,) = audited(tmp_path, posted(ALICE, b"{ }"), checked(), body).faults
    assert "line 4: the body of this request is not the one that was signed" in fault
    (fault,) = audited(tmp_path, body).faults
    assert "line 2: the body of this request is not the one" in fault
    (fault,) = audited(tmp_path, posted(ALICE), ConnectionClosed(ConnectionId(1), 0, ""), body).faults
    assert "line 4: the body of this request is not the one" in fault


def test_a_request_that_is_not_recorded_whole_is_counted_by_itself(tmp_path: Path) -> None:
    hidden = posted(ALICE, target="/predictions?netuid=30&token=x")
    report = audited(tmp_path, hidden, checked(), hidden, checked(False), hidden)
    assert (report.faults, report.partial, report.unproven, report.signers) == ([], 1, 2, {})
    assert as_json(report)["partial"] == 1
    assert "1 request cannot be verified: the query is not recorded whole" in list(text(report))


def listed(crypto: Scheme | None) -> MetagraphFetched:
    return MetagraphFetched((NeuronInfo(Uid(1), BOB.hotkey, crypto=crypto),))


def reloaded(settings: dict[str, Any]) -> SettingsReloaded:
    return SettingsReloaded({"auth": settings}, (), ())


def begun(*, is_of_0_1: bool) -> NeuronStarted:
    return NeuronStarted("validator", NETUID, ME, "sr25519", 0, is_of_0_1)


def test_a_request_of_another_scheme_than_the_pinned_one_is_not_its_hotkeys_word(tmp_path: Path) -> None:
    report = audited(tmp_path, listed(None), request(BOB))
    assert (report.faults, report.signers, report.unproven) == ([], {}, 1)


@pytest.mark.parametrize(
    ("settings", "events"),
    [
        (ED25519, []),
        ({}, [listed("ed25519")]),
        ({}, [listed(None), reloaded(ED25519)]),
        ({}, [begun(is_of_0_1=True)]),  # a log of 0.1.0 says so, and is taken at the request's word
    ],
    ids=["configured", "listed", "reloaded", "of 0.1.0"],
)
def test_a_request_and_its_sessions_frames_are_verified_by_the_scheme_that_the_log_shows(
    tmp_path: Path, settings: dict[str, Any], events: Sequence[Event]
) -> None:
    said = (request(BOB), checked(), frame(BOB), checked())
    report = audited(tmp_path, *events, *said, header=replace(HEADER, settings=settings))
    assert (report.faults, report.unproven) == ([], 0)
    assert {hotkey: (words.requests, words.frames) for hotkey, words in report.signers.items()} == {BOB.hotkey: (1, 1)}


def test_the_scheme_that_was_pinned_is_known_in_the_next_file(tmp_path: Path) -> None:
    def known(crypto: Scheme | None, settings: dict[str, Any], *, pins_schemes: bool = True) -> Checkpoint:
        members = {BOB.hotkey: {"uid": 1, "hotkey": BOB.hotkey, "crypto": crypto}}
        actors = {
            "metagraph": ActorCheckpoint.of({}, {"neurons": members}),
            "auth": ActorCheckpoint.of(settings, {"pins_schemes": pins_schemes}),
        }
        return Checkpoint(2000, NOW, Micros(5), actors)

    of_now: dict[str, Any] = {"auth": {"schemes": {}}}
    header = replace(HEADER, settings=ED25519)  # which a reload has changed since
    for checkpoint in (known("ed25519", of_now), known(None, ED25519), known(None, of_now, pins_schemes=False)):
        assert audited(tmp_path, request(BOB), checkpoint=checkpoint, header=header).signers.keys() == {BOB.hotkey}
    report = audited(tmp_path, request(BOB), checkpoint=known(None, of_now), header=header)
    assert (report.signers, report.unproven) == ({}, 1)


def test_settings_and_checkpoints_that_no_neuron_wrote_are_faults(tmp_path: Path) -> None:
    for settings in ({"auth": {"schemes": {BOB.hotkey: "rot13"}}}, {"auth": {"schemes": [BOB.hotkey]}}):
        (fault,) = audited(tmp_path, header=replace(HEADER, settings=settings)).faults
        assert "its header or a checkpoint has wrong settings of auth.schemes" in fault
    metagraph = ActorCheckpoint.of({}, {"neurons": [BOB.hotkey]})
    (fault,) = audited(tmp_path, checkpoint=Checkpoint(2000, NOW, Micros(5), {"metagraph": metagraph})).faults
    assert "line 2: the checkpoint is not one of the actor 'metagraph'" in fault


@pytest.mark.parametrize("crypto", ["sr25519", "ed25519"])
def test_a_welcome_is_verified_by_the_scheme_of_its_validator_whatever_it_names(tmp_path: Path, crypto: Scheme) -> None:
    report = audited(tmp_path, frame(message=welcome(crypto=crypto)), checked(), header=replace(HEADER, role="miner"))
    assert (report.faults, proven(report)) == ([], {ALICE.hotkey: 1})


def query(keys: Keys = ALICE, *, forged: bool = False, nonce: str = "7") -> QueryReceived:
    """The head of a question of an existing validator."""
    text = signed_text(nonce, keys.hotkey, ME, "u") + (b"!" if forged else b"")
    head = {
        "content-length": "2",
        "bt_header_dendrite_nonce": nonce,
        "bt_header_dendrite_uuid": "u",
        "bt_header_dendrite_hotkey": keys.hotkey,
        "bt_header_dendrite_signature": f"0x{bytes(keys.keypair.sign(text)).hex()}",
        "computed_body_hash": BODY_HASH,
    }
    return QueryReceived(ConnectionId(1), "POST", "/GameData", tuple(head.items()), "203.0.113.9")


def test_the_head_of_a_question_over_synapse_is_verified_again(tmp_path: Path) -> None:
    header = replace(HEADER, role="miner")
    report = audited(tmp_path, query(), checked(), query(forged=True), checked(False), query(nonce="x"), header=header)
    assert (report.faults, report.unproven) == ([], 2)
    assert {hotkey: words.requests for hotkey, words in report.signers.items()} == {ALICE.hotkey: 1}
    (fault,) = audited(tmp_path, query(forged=True), checked(), header=header).faults
    assert f"the signature of this request by {ALICE.hotkey} is bad" in fault
