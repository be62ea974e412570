"""Signatures verified by processes of their own: each question is answered once, in order, whatever becomes of them."""

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from bittensor_core import CRYPTO_ED25519, CRYPTO_SR25519, Keypair

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.codec import SIGNED_PREFIX
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    BinaryReceived,
    Scheme,
    SignatureChecked,
    VerificationRequested,
    VerifierLost,
    VerifiersFailed,
    VerifiersResumed,
)
from bettensor.bus.identifiers import ConnectionId, Hotkey
from bettensor.bus.messages import HeartbeatMessage
from bettensor.neurons.config.settings import VerifierSettings
from bettensor.neurons.edges import verifiers
from bettensor.neurons.edges.verifiers import CHUNK, FEW, MAX_CHUNKS, Verifiers, Worker
from bettensor.neurons.edges.verify_worker import message, serve

KEYPAIRS: dict[Scheme, Keypair] = {
    "sr25519": Keypair.create_from_uri("//Alice", CRYPTO_SR25519),
    "ed25519": Keypair.create_from_uri("//Alice", CRYPTO_ED25519),
}
MANY = 10 * CHUNK * MAX_CHUNKS
"""More than the pool takes at a time."""


def question(number: int, *, scheme: Scheme = "sr25519", valid: bool = True) -> VerificationRequested:
    keypair, payload = KEYPAIRS[scheme], str(number).encode()
    signature = bytes(keypair.sign(SIGNED_PREFIX + (payload if valid else b"something else")))
    hotkey = Hotkey(keypair.ss58_address)
    return VerificationRequested(ConnectionId(number), hotkey, scheme, payload, signature, HeartbeatMessage())


class Bench:
    def __init__(self, count: int) -> None:
        self.bus = EventBus(SystemClock())
        self.answers: list[tuple[SignatureChecked, Envelope]] = []
        self.lost: list[VerifierLost] = []
        self.trouble: list[VerifiersFailed | VerifiersResumed] = []
        self.questions: list[VerificationRequested] = []
        self.asked: list[int] = []
        self.bus.subscribe(BinaryReceived, self._ask, "test")  # questions are decided, in a drain
        self.bus.subscribe(SignatureChecked, lambda event, envelope: self.answers.append((event, envelope)), "test")
        self.bus.subscribe(VerifierLost, lambda event, _: self.lost.append(event), "test")
        self.bus.subscribe(VerifiersFailed, lambda event, _: self.trouble.append(event), "test")
        self.bus.subscribe(VerifiersResumed, lambda event, _: self.trouble.append(event), "test")
        self.pool = Verifiers(VerifierSettings(verify_workers=count))
        self.pool.attach(self.bus)

    def ask(self, *questions: VerificationRequested) -> None:
        self.questions = list(questions)
        self.bus.publish(BinaryReceived(ConnectionId(0), 0))

    def _ask(self, _: BinaryReceived, __: Envelope) -> None:
        self.asked += [self.bus.publish(question) for question in self.questions]

    @property
    def processes(self) -> list[int]:
        return [worker._transport.get_pid() for worker in self.pool._workers]  # noqa: SLF001 - to do them harm

    @property
    def ready(self) -> int:
        """How many processes can be asked."""
        return sum(worker.is_ready for worker in self.pool._workers)  # noqa: SLF001 - there is no event for it

    async def settle(self) -> None:
        async with asyncio.timeout(20):
            await self.pool.settle()
        assert [event.request for event, _ in self.answers] == self.asked
        assert [envelope.causes for _, envelope in self.answers] == [(seq,) for seq in self.asked]

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(count: int = 1) -> AsyncIterator[Bench]:
    bench = Bench(count)
    await bench.pool.open()
    await bench.until(lambda: bench.ready == count)
    processes = bench.processes
    yield bench
    await bench.pool.close()
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


async def test_every_question_is_answered_in_order_and_false_signatures_are_found() -> None:
    async with running(2) as bench:
        schemes: tuple[Scheme, Scheme] = ("sr25519", "ed25519")
        bench.ask(*(question(i, scheme=schemes[i % 2], valid=i % 7 != 0) for i in range(100)))
        assert not bench.answers
        await bench.settle()
        assert [event.valid for event, _ in bench.answers] == [i % 7 != 0 for i in range(100)]
        assert [event.connection for event, _ in bench.answers] == list(range(100))
        assert not bench.lost


async def test_a_few_questions_are_answered_without_asking_anybody() -> None:
    async with running() as bench:
        os.kill(bench.processes[0], signal.SIGSTOP)
        bench.ask(*(question(i) for i in range(FEW)))
        await bench.settle()
        assert all(event.valid for event, _ in bench.answers)
        os.kill(bench.processes[0], signal.SIGCONT)


async def test_what_is_more_than_the_processes_take_is_answered_too() -> None:
    async with running() as bench:
        bench.ask(*(question(i) for i in range(MANY)))
        bench.ask(*(question(i) for i in range(MANY)))
        await bench.settle()
        assert len(bench.answers) == 2 * MANY


async def test_a_process_that_dies_loses_nothing_and_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifiers, "RESTART_DELAY", 0.0)
    async with running() as bench:
        (process,) = bench.processes
        os.kill(process, signal.SIGSTOP)
        bench.ask(*(question(i, valid=i != 3) for i in range(MANY)))
        await asyncio.sleep(0)
        os.kill(process, signal.SIGKILL)
        await bench.settle()
        assert [event.connection for event, _ in bench.answers if not event.valid] == [3]
        assert bench.lost == [VerifierLost(-signal.SIGKILL)]
        await bench.until(lambda: bench.ready)
        assert bench.processes != [process]
        bench.ask(*(question(i) for i in range(MANY)))
        await bench.settle()
        assert len(bench.lost) == 1


def break_starts(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """From now on a process that is started finds a broken module on its path."""
    (folder / "msgspec.py").write_text("raise ImportError('this msgspec\\nis broken')")
    monkeypatch.setenv("PYTHONPATH", str(folder))


async def test_while_no_process_can_start_the_neuron_verifies_by_itself_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(verifiers, "RESTART_DELAY", 0.0)
    async with running(2) as bench:
        begun: list[Worker] = []
        enter = bench.pool.enter

        def count(worker: Worker) -> None:
            begun.append(worker)
            enter(worker)

        monkeypatch.setattr(bench.pool, "enter", count)
        break_starts(monkeypatch, tmp_path)
        for process in bench.processes:
            os.kill(process, signal.SIGKILL)
        await bench.until(lambda: len(begun) >= 6)  # each is tried again and again
        bench.ask(*(question(i, valid=i != 3) for i in range(MANY)))
        await bench.settle()
        assert [event.connection for event, _ in bench.answers if not event.valid] == [3]
        assert len(bench.lost) == 2
        assert bench.trouble == [VerifiersFailed("exit code 1: is broken")]
        monkeypatch.delenv("PYTHONPATH")
        await bench.until(lambda: bench.ready == 2)
        assert bench.trouble[1:] == [VerifiersResumed()]
        bench.ask(*(question(i) for i in range(MANY)))
        await bench.settle()


async def test_a_neuron_starts_without_any_process_if_none_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/there/is/no/python")
    bench = Bench(2)
    await bench.pool.open()
    bench.ask(*(question(i) for i in range(MANY)))
    await bench.settle()
    ((failed,)) = bench.trouble
    assert isinstance(failed, VerifiersFailed)
    assert "/there/is/no/python" in failed.reason
    await bench.pool.close()


async def test_a_process_that_cannot_start_is_tried_again_at_ever_longer_intervals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.executable", "/there/is/no/python")
    delays: list[float] = []
    sleep = asyncio.sleep

    async def sleep_not(delay: float) -> None:
        delays.append(delay)
        await sleep(0)

    monkeypatch.setattr("asyncio.sleep", sleep_not)
    bench = Bench(1)
    await bench.pool.open()
    await bench.until(lambda: len([delay for delay in delays if delay >= 1]) >= 12)
    await bench.pool.close()
    assert [delay for delay in delays if delay >= 1][:10] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert len(bench.trouble) == 1


async def test_a_process_that_is_never_ready_is_ended_and_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(verifiers, "START_PATIENCE", 0.2)
    (tmp_path / "msgspec.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    bench = Bench(1)
    await bench.pool.open()
    bench.ask(*(question(i) for i in range(MANY)))
    await bench.settle()
    await bench.until(lambda: bench.trouble)
    assert bench.trouble == [VerifiersFailed("exit code -9: it was not ready after 0.2 s")]
    await bench.pool.close()


async def test_the_last_words_of_a_process_that_dies_at_work_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot read what it is asked."""
    async with running() as bench:
        monkeypatch.setattr(verifiers, "message", lambda _: b"\0\0\0\1\xc1")
        bench.ask(*(question(i) for i in range(CHUNK)))
        await bench.settle()
    (lost,) = bench.lost
    assert lost.exit_code == 1
    assert "DecodeError" in lost.reason


async def test_modules_in_the_working_directory_harm_no_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    break_starts(monkeypatch, tmp_path)
    monkeypatch.delenv("PYTHONPATH")
    (tmp_path / "neurons").mkdir()
    (tmp_path / "neurons" / "__init__.py").write_text("raise ImportError")
    monkeypatch.chdir(tmp_path)
    async with running() as bench:
        bench.ask(*(question(i) for i in range(MANY)))
        await bench.settle()
        assert not bench.trouble


async def test_a_process_that_hangs_is_ended_and_what_it_had_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifiers, "PATIENCE", 0.2)
    async with running() as bench:
        os.kill(bench.processes[0], signal.SIGSTOP)
        bench.ask(*(question(i) for i in range(CHUNK)))
        await bench.settle()
        assert bench.lost == [VerifierLost(-signal.SIGKILL)]


async def test_a_process_that_hangs_does_not_keep_the_neuron_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifiers, "FAREWELL", 0.2)
    async with running() as bench:
        os.kill(bench.processes[0], signal.SIGSTOP)


@pytest.mark.parametrize("cut", [2, 100])
def test_a_process_whose_neuron_was_killed_ends_without_a_word(cut: int) -> None:
    """In the middle of a question, or of the length before it."""
    for number in (CHUNK, 1):
        asked = message([question(i) for i in range(number)])
        answers, nobody = os.pipe(), io.BytesIO(asked + asked[:cut])
        os.close(answers[0])
        with FileIO(answers[1], "wb") as gone:
            serve(nobody, gone)
        heard = io.BytesIO()
        serve(io.BytesIO(asked + asked[:cut]), heard)  # type: ignore[arg-type]  # it can write
        assert heard.getvalue() == b"\1" * number


async def test_signals_to_all_processes_of_a_terminal_are_the_neurons_alone() -> None:
    async with running() as bench:
        bench.ask(*(question(i) for i in range(CHUNK)))
        await bench.settle()  # it is there
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(bench.processes[0], number)
        bench.ask(*(question(i) for i in range(CHUNK)))
        await bench.settle()
        assert not bench.lost
