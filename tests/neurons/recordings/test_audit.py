"""An audit hears every frame again: whenever it came, whenever it was checked, and in whichever file."""

from pathlib import Path

import pytest
from bittensor_core import CRYPTO_ED25519, CRYPTO_SR25519, Keypair

from bettensor.bus import codec
from bettensor.bus.envelope import Envelope
from bettensor.bus.eventlog import ActorCheckpoint, Checkpoint, Header, LogWriter
from bettensor.bus.events import Event, FrameReceived, SignatureChecked
from bettensor.bus.identifiers import ConnectionId, Hotkey, Micros, SessionId
from bettensor.bus.messages import HeartbeatMessage
from bettensor.neurons.edges.keys import Keys
from bettensor.neurons.recordings.audit import Report, audit
from tests.support import NETUID, NOW, stamp

ME = Hotkey(Keypair.create_from_uri("//Me", CRYPTO_SR25519).ss58_address)
ALICE = Keys(Keypair.create_from_uri("//Alice", CRYPTO_SR25519))
BOB = Keys(Keypair.create_from_uri("//Bob", CRYPTO_ED25519))
HEADER = Header(role="validator", netuid=NETUID, hotkey=ME, scheme="sr25519", record="observed", settings={})


def frame(keys: Keys = ALICE, connection: int = 1, *, forged: bool = False) -> FrameReceived:
    payload = codec.encode(stamp(HeartbeatMessage(session=SessionId("5" * 32), seq=1), keys.hotkey))
    signature = keys.sign(b"something else" if forged else payload)
    return FrameReceived(ConnectionId(connection), codec.join(codec.Frame(payload, signature)))


def checked(valid: bool = True, connection: int = 1, request: int = 1000) -> SignatureChecked:
    return SignatureChecked(ConnectionId(connection), request, valid)


def audited(folder: Path, *events: Event, checkpoint: Checkpoint | None = None) -> Report:
    writer = LogWriter(HEADER)
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
    return Checkpoint(2000, NOW, Micros(5), {"connection": ActorCheckpoint({}, {"sessions": sessions})})


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
