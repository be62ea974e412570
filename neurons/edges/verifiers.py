"""Verifies signatures in further processes, for a validator with spare cores (``auth.verify_workers``).

Verifying holds the interpreter's lock, so threads gain nothing. The frames of one turn of the event loop are cut into
chunks for the processes, and the answers become events in the order of the questions. Actors see one difference:
``SignatureChecked`` comes a little later, and for several frames together. If a session ends meanwhile, its remaining
frames are dropped like unread ones: they get no verdict, and the miner asks again.

If a process dies, no verdict is lost: its frames are verified here, and a new process is started.
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
"""Frames that one process gets at a time: 1.5 ms of work."""
FEW: Final = 2
"""At most this many frames are verified here if nothing else waits: that is faster than asking."""
MAX_CHUNKS: Final = 4
"""Chunks that one process may have at a time; further ones are verified here meanwhile."""
PATIENCE: Final = 10.0
"""Seconds for one chunk; a process that takes longer hangs, and is killed."""
FAREWELL: Final = 2.0
"""Seconds in which a process must end after its input is closed."""
RESTART_DELAY: Final = 1.0
"""Seconds until a dead process is replaced."""


@dataclass(slots=True)
class Chunk:
    """Questions that are asked together, each with its ``seq``."""

    questions: list[tuple[int, VerificationRequested]]
    answers: bytes | None = None
    """One byte for each question."""

    def verify(self) -> None:
        """Answer them in this process, at once."""
        asked = (question for _, question in self.questions)
        self.answers = bytes(verify(q.signer, q.scheme, q.payload, q.signature) for q in asked)


class Worker(asyncio.SubprocessProtocol):
    """One process and its chunks, the oldest first."""

    def __init__(self, answered: Callable[[], None], lost: Callable[["Worker", int | None], None]) -> None:
        self._answered = answered
        self._lost = lost
        self._buffer = b""
        self.chunks: deque[Chunk] = deque()
        self._deadline: asyncio.TimerHandle | None = None
        self.is_gone = False
        """It cannot be asked any more."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def give(self, chunk: Chunk) -> None:
        """Send it a chunk."""
        self.chunks.append(chunk)
        self._pipe().write(message([question for _, question in chunk.questions]))
        self._watch()

    def end(self) -> None:
        """Close its input, at which it ends; kill it if it does not."""
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
        """Kill the process if it takes too long for its oldest chunk."""
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
        """Start the processes. Each is ready half a second later; until then questions wait for it.

        Raises:
            OSError: a process cannot be started.
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
        """End the processes; their open questions get no answer."""
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
        """The least busy worker that can take more; None if all are busy."""
        able = [worker for worker in self._workers if not worker.is_gone and len(worker.chunks) < MAX_CHUNKS]
        return min(able, key=lambda worker: len(worker.chunks), default=None)

    def _publish_answers(self) -> None:
        """Publish each answer once all earlier ones are published."""
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
            except OSError:  # no memory or process left; its work is done here
                continue
            return
