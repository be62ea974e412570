"""Verifies signatures in further processes, for a validator with spare cores (``auth.verify_workers``).

Verifying holds the interpreter's lock, so threads gain nothing. The frames of one turn of the event loop are cut into
chunks for the processes, and the answers become events in the order of the questions. Actors see one difference:
``SignatureChecked`` comes a little later, and for several frames together. If a session ends meanwhile, its remaining
frames are dropped like unread ones: they get no verdict, and the miner asks again.

If a process dies, no verdict is lost: its frames are verified here, and a new process is started. While a process
cannot start, the frames are verified here too, and it is tried again, at ever longer intervals.
"""

import asyncio
import sys
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from bettensor.bus.backoff import backoff
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    SignatureChecked,
    VerificationRequested,
    VerifierLost,
    VerifiersFailed,
    VerifiersResumed,
)
from bettensor.neurons.config.settings import VerifierSettings
from bettensor.neurons.edges import verify_worker
from bettensor.neurons.edges.edge import Edge, on
from bettensor.neurons.edges.keys import verify
from bettensor.neurons.edges.verify_worker import READY, message

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
START_PATIENCE: Final = 60.0
"""Seconds until a new process must be ready; a process that takes longer hangs, and is killed."""
RESTART_DELAY: Final = 1.0
"""Seconds until a dead process is replaced; doubled with each that dies without having answered."""
MAX_RESTART_DELAY: Final = 300.0
MAX_WORDS: Final = 2_000
"""Bytes kept of what a process writes to its standard error."""
_STDOUT: Final = 1


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


@dataclass(slots=True)
class Slot:
    """The place of one process in the pool; its processes follow one another."""

    losses: int = 0
    """Processes that ended one after the other without having answered anything."""
    failing: bool = False
    """The last process could not start."""


class Worker(asyncio.SubprocessProtocol):
    """One process and its chunks, the oldest first."""

    def __init__(self, pool: "Verifiers", slot: Slot) -> None:
        self._pool = pool
        self.slot = slot
        self._buffer = b""
        self._words = b""
        self.chunks: deque[Chunk] = deque()
        self._deadline: asyncio.TimerHandle | None = None
        self.is_ready = False
        """It has started: its modules are imported."""
        self.is_gone = False
        """It cannot be asked any more."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._pool.enter(self)
        self._deadline = asyncio.get_running_loop().call_later(START_PATIENCE, self._give_up)

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

    @property
    def exit_code(self) -> int | None:
        """Its exit code; below 0: the signal that ended it."""
        code: int | None = self._transport.get_returncode()
        return code

    def last_words(self) -> str:
        """The last line of its standard error, which tells of the exception; an empty text if there is none."""
        return self._words.decode(errors="replace").strip().rpartition("\n")[2].strip()

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        assert isinstance(data, bytes)  # noqa: S101 - for the type checker: the pipes are binary
        if fd != _STDOUT:
            self._words = (self._words + data)[-MAX_WORDS:]
            return
        if not self.is_ready:
            self.is_ready, data = True, data.removeprefix(READY)
            self._pool.welcome(self)
        self._buffer += data
        while self.chunks and len(self._buffer) >= (count := len(self.chunks[0].questions)):
            self.chunks.popleft().answers = self._buffer[:count]
            self._buffer = self._buffer[count:]
            self.slot.losses = 0
        self._watch()
        self._pool.publish_answers()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self.is_gone = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._forget_deadline()
        self._pool.lose(self)
        self._transport.close()

    def _pipe(self) -> Any:
        return self._transport.get_pipe_transport(0)

    def _watch(self) -> None:
        """Kill the process if it takes too long for its oldest chunk."""
        self._forget_deadline()
        if self.chunks:
            self._deadline = asyncio.get_running_loop().call_later(PATIENCE, self._transport.kill)

    def _give_up(self) -> None:
        self._words += f"\nit was not ready after {START_PATIENCE:g} s".encode()
        self._transport.kill()

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Verifiers(Edge):
    """A pool of ``auth.verify_workers`` processes, at least one, that answer ``VerificationRequested``."""

    name = "verifiers"

    def __init__(self, settings: VerifierSettings) -> None:
        self._slots = [Slot() for _ in range(settings.verify_workers)]
        self._gathered: list[tuple[int, VerificationRequested]] = []
        self._pending: deque[Chunk] = deque()
        self._workers: list[Worker] = []
        self._closing = False
        self._all_ended = asyncio.Event()
        self._all_answered = asyncio.Event()

    async def open(self) -> None:
        """Start the processes. Each is ready half a second later; until then questions are answered here."""
        self._loop = asyncio.get_running_loop()
        for slot in self._slots:
            await self._start_worker(slot)

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

    async def _start_worker(self, slot: Slot) -> None:
        try:
            await self._loop.subprocess_exec(
                lambda: Worker(self, slot),
                sys.executable,
                "-P",  # the working directory, which is first on the path otherwise, may have modules of any name
                "-m",
                verify_worker.__name__,
            )
        except OSError as error:  # no memory or process left, or no interpreter
            self._fail(slot, str(error))

    @on(VerificationRequested)
    def gather(self, event: VerificationRequested, envelope: Envelope) -> None:
        self._gathered.append((envelope.seq, event))
        if len(self._gathered) == 1:
            self._loop.call_soon(self._ask)

    def _ask(self) -> None:
        gathered, self._gathered = self._gathered, []
        size = min(CHUNK, -(-len(gathered) // len(self._slots)))
        for start in range(0, len(gathered), size):
            chunk = Chunk(gathered[start : start + size])
            worker = None if not self._pending and len(gathered) <= FEW else self._free_worker()
            self._pending.append(chunk)
            if worker is None:
                chunk.verify()
            else:
                worker.give(chunk)
        self.publish_answers()

    def _free_worker(self) -> Worker | None:
        """The least busy worker that can take more; None if all are busy."""
        able = [
            worker
            for worker in self._workers
            if worker.is_ready and not worker.is_gone and len(worker.chunks) < MAX_CHUNKS
        ]
        return min(able, key=lambda worker: len(worker.chunks), default=None)

    # --- called by the workers

    def publish_answers(self) -> None:
        """Publish each answer once all earlier ones are published."""
        with self._bus.together():
            while self._pending and (answers := self._pending[0].answers) is not None:
                for (seq, question), valid in zip(self._pending.popleft().questions, answers, strict=True):
                    self._bus.publish(SignatureChecked(question.connection, seq, bool(valid)), (seq,))
        if not self._pending:
            self._all_answered.set()

    def enter(self, worker: Worker) -> None:
        """The process has begun; it can be asked when it is ready."""
        self._workers.append(worker)

    def welcome(self, worker: Worker) -> None:
        """The process is ready; say so if it was the last one that could not start."""
        was_failing, worker.slot.failing = worker.slot.failing, False
        if was_failing and not self._is_failing() and not self._closing:
            self._bus.publish(VerifiersResumed())

    def lose(self, worker: Worker) -> None:
        """The process has ended: answer its questions here, and replace it."""
        self._workers.remove(worker)
        if self._closing:
            if not self._workers:
                self._all_ended.set()
            return
        for chunk in worker.chunks:
            chunk.verify()
        if worker.is_ready:
            self._bus.publish(VerifierLost(worker.exit_code, worker.last_words()))
            self._replace(worker.slot)
        else:
            self._fail(worker.slot, ": ".join(filter(None, (f"exit code {worker.exit_code}", worker.last_words()))))
        self.publish_answers()

    def _fail(self, slot: Slot, reason: str) -> None:
        """A process cannot start: say so once, and try again."""
        if not self._is_failing():
            self._bus.publish(VerifiersFailed(reason))
        slot.failing = True
        self._replace(slot)

    def _is_failing(self) -> bool:
        return any(slot.failing for slot in self._slots)

    def _replace(self, slot: Slot) -> None:
        delay = backoff(RESTART_DELAY, MAX_RESTART_DELAY, slot.losses)
        slot.losses += 1
        self._tasks.start(self._start_later(slot, delay), "replacement")

    async def _start_later(self, slot: Slot, delay: float) -> None:
        await asyncio.sleep(delay)
        await self._start_worker(slot)
