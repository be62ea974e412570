"""Verification in processes of their own, for a validator with cores to spare (``auth.verify_workers``).

Verifying holds the interpreter's lock, so that threads gain nothing. What sessions said in one turn of the event loop
is cut into chunks for the processes, and the answers come back as events in the order of the questions: actors see
nothing of it but that ``SignatureChecked`` comes a little later, and of several frames together. Of a session that ends
meanwhile nothing more is taken: as for frames that were not read at its end, there is no verdict, and the miner asks
again.

A process that dies costs nobody a verdict: what it had is verified here, and another one is started.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from bettensor.bus.envelope import Envelope
from bettensor.bus.events import SignatureChecked, VerificationRequested, VerifierLost
from bettensor.neurons.config.settings import VerifierSettings
from bettensor.neurons.edges.edge import Edge, on
from bettensor.neurons.edges.keys import verify
from bettensor.neurons.edges.verify_worker import message

CHUNK: Final = 32
"""Frames that one process gets at a time: 1.5 ms."""
FEW: Final = 2
"""As many are verified here, where nothing else waits: sooner than by asking."""
MAX_CHUNKS: Final = 4
"""That one process has at a time; what is more is verified here meanwhile."""
PATIENCE: Final = 10.0
"""Seconds for one chunk; a process that needs longer hangs, and is ended."""
FAREWELL: Final = 2.0
"""Seconds in which it has to end when there is nothing more to do."""
RESTART_DELAY: Final = 1.0
"""Seconds after which a process that died is replaced."""


@dataclass(slots=True)
class Chunk:
    """Questions that are asked together, each with its ``seq``."""

    questions: list[tuple[int, VerificationRequested]]
    answers: bytes | None = None
    """A byte for each question."""

    def verify(self) -> None:
        """Here and now."""
        asked = (question for _, question in self.questions)
        self.answers = bytes(verify(q.signer, q.scheme, q.payload, q.signature) for q in asked)


class Worker(asyncio.SubprocessProtocol):
    """One process, and the chunks that it has, the oldest first."""

    def __init__(self, answered: Callable[[], None], lost: Callable[["Worker", int | None], None]) -> None:
        self._answered = answered
        self._lost = lost
        self._buffer = b""
        self.chunks: deque[Chunk] = deque()
        self._deadline: asyncio.TimerHandle | None = None
        self.is_gone = False
        """Nothing can be asked any more."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def give(self, chunk: Chunk) -> None:
        """Ask it."""
        self.chunks.append(chunk)
        self._pipe().write(message([question for _, question in chunk.questions]))
        self._watch()

    def end(self) -> None:
        """It ends when its input does; if it does not, it is ended."""
        self._pipe().close()
        self._forget_deadline()
        self._deadline = asyncio.get_running_loop().call_later(FAREWELL, self._transport.kill)

    def pipe_data_received(self, _fd: int, data: bytes | str) -> None:
        self._buffer += data  # type: ignore[operator]  # bytes: the pipe is binary
        while self.chunks and len(self._buffer) >= (count := len(self.chunks[0].questions)):
            self.chunks.popleft().answers = self._buffer[:count]
            self._buffer = self._buffer[count:]
        self._watch()
        self._answered()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self.is_gone = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._forget_deadline()
        code = self._transport.get_returncode()
        self._transport.close()
        self._lost(self, code)

    def _pipe(self) -> Any:
        return self._transport.get_pipe_transport(0)

    def _watch(self) -> None:
        """It has some time for the oldest chunk, and is ended if it needs more."""
        self._forget_deadline()
        if self.chunks:
            self._deadline = asyncio.get_running_loop().call_later(PATIENCE, self._transport.kill)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Verifiers(Edge):
    """A pool of ``auth.verify_workers`` processes, at least one, that answer ``VerificationRequested``."""

    name = "verifiers"

    def __init__(self, settings: VerifierSettings) -> None:
        self._count = settings.verify_workers
        self._gathered: list[tuple[int, VerificationRequested]] = []
        self._pending: deque[Chunk] = deque()
        self._workers: list[Worker] = []
        self._closing = False
        self._all_ended = asyncio.Event()
        self._all_answered = asyncio.Event()

    async def open(self) -> None:
        """Start the processes; each is at work half a second later, and until then questions wait for it.

        Raises:
            OSError: one cannot be started.
        """
        self._loop = asyncio.get_running_loop()
        for _ in range(self._count):
            await self._add_worker()

    async def settle(self) -> None:
        """Wait until every question is answered. Safe to cancel."""
        while self._gathered or self._pending:
            self._all_answered.clear()
            await self._all_answered.wait()

    async def close(self) -> None:
        """End the processes; what they have not answered has no answer."""
        self._closing = True
        await self._tasks.cancel()
        self._all_ended.clear()
        for worker in self._workers:
            worker.end()
        if self._workers:
            await self._all_ended.wait()

    async def _add_worker(self) -> None:
        _, worker = await self._loop.subprocess_exec(
            lambda: Worker(self._publish_answers, self._lose),
            sys.executable,
            "-m",
            "bettensor.neurons.edges.verify_worker",
            stderr=None,
        )
        self._workers.append(worker)

    @on(VerificationRequested)
    def gather(self, event: VerificationRequested, envelope: Envelope) -> None:
        self._gathered.append((envelope.seq, event))
        if len(self._gathered) == 1:
            self._loop.call_soon(self._ask)

    def _ask(self) -> None:
        gathered, self._gathered = self._gathered, []
        size = min(CHUNK, -(-len(gathered) // self._count))
        for start in range(0, len(gathered), size):
            chunk = Chunk(gathered[start : start + size])
            worker = None if not self._pending and len(gathered) <= FEW else self._free_worker()
            self._pending.append(chunk)
            if worker is None:
                chunk.verify()
            else:
                worker.give(chunk)
        self._publish_answers()

    def _free_worker(self) -> Worker | None:
        """The one that has least to do, if it can take more."""
        able = [worker for worker in self._workers if not worker.is_gone and len(worker.chunks) < MAX_CHUNKS]
        return min(able, key=lambda worker: len(worker.chunks), default=None)

    def _publish_answers(self) -> None:
        """Those whose predecessors are answered too."""
        with self._bus.together():
            while self._pending and (answers := self._pending[0].answers) is not None:
                for (seq, question), valid in zip(self._pending.popleft().questions, answers, strict=True):
                    self._bus.publish(SignatureChecked(question.connection, seq, bool(valid)), (seq,))
        if not self._pending:
            self._all_answered.set()

    def _lose(self, worker: Worker, code: int | None) -> None:
        self._workers.remove(worker)
        if self._closing:
            if not self._workers:
                self._all_ended.set()
            return
        for chunk in worker.chunks:
            chunk.verify()
        self._bus.publish(VerifierLost(code))
        self._publish_answers()
        self._tasks.start(self._replace(), "replacement")

    async def _replace(self) -> None:
        while True:
            await asyncio.sleep(RESTART_DELAY)
            try:
                await self._add_worker()
            except OSError:  # no memory, or no process to be had; what there is to do is done here
                continue
            return
