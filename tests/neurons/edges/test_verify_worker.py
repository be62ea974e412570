"""The process that verifies: a byte for each question, in order, until its input ends."""

import subprocess
import sys
from io import BytesIO, RawIOBase
from typing import Any

import pytest
from bittensor_core import CRYPTO_ED25519, CRYPTO_SR25519, Keypair

from bettensor.bus.codec import SIGNED_PREFIX
from bettensor.bus.events import Scheme, VerificationRequested
from bettensor.bus.identifiers import ConnectionId, Hotkey
from bettensor.bus.messages import HeartbeatMessage
from bettensor.neurons.edges.verify_worker import READY, message, serve

ALICE = Keypair.create_from_uri("//Alice", CRYPTO_SR25519)
BOB = Keypair.create_from_uri("//Bob", CRYPTO_ED25519)


def question(
    payload: bytes = b"{}", keypair: Keypair = ALICE, signer: str | None = None, scheme: Scheme = "sr25519"
) -> VerificationRequested:
    signature = bytes(keypair.sign(SIGNED_PREFIX + payload))
    claimed = Hotkey(signer or keypair.ss58_address)
    return VerificationRequested(ConnectionId(1), claimed, scheme, payload, signature, HeartbeatMessage())


QUESTIONS = [
    question(),
    question(signer=BOB.ss58_address),
    question(b"\xff\x00" * 1000),
    question(keypair=BOB, scheme="ed25519"),
    question(keypair=BOB),
    question(signer="nobody"),
]
ANSWERS = bytes([1, 0, 1, 1, 0, 0])


class Answers(RawIOBase):
    """Keeps what is written, until nobody reads any more."""

    def __init__(self, *, reads: int = 1000) -> None:
        self.written = b""
        self._reads = reads

    def write(self, data: Any) -> int:
        if not self._reads:
            raise BrokenPipeError
        self._reads -= 1
        self.written += bytes(data)
        return len(data)


def test_each_question_has_its_answer_in_order_however_they_are_grouped() -> None:
    for groups in ([QUESTIONS], [[asked] for asked in QUESTIONS], [QUESTIONS[:2], [], QUESTIONS[2:]]):
        answers = Answers()
        serve(BytesIO(b"".join(map(message, groups))), answers)
        assert answers.written == ANSWERS


@pytest.mark.parametrize("left", [1, 4, 5, 100])
def test_a_question_that_is_cut_off_has_no_answer(left: int) -> None:
    answers = Answers()
    serve(BytesIO(message(QUESTIONS) + message(QUESTIONS)[:left]), answers)
    assert answers.written == ANSWERS


def test_where_nobody_reads_the_answers_it_ends() -> None:
    answers, questions = Answers(reads=1), BytesIO(message(QUESTIONS[:1]) * 3)
    serve(questions, answers)
    assert answers.written == b"\x01"
    assert questions.read() == message(QUESTIONS[:1])


def test_the_process_answers_and_ends_with_its_input() -> None:
    command = [sys.executable, "-m", "bettensor.neurons.edges.verify_worker"]
    done = subprocess.run(command, input=message(QUESTIONS), capture_output=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == (READY + ANSWERS, b"")
