"""Runs users' handlers outside the drain: each has a bounded queue, and a task or a thread.

A slow handler drops only its own events; a handler that raises is reported. Neither can block or stop the neuron.
Async handlers run on the neuron's event loop. Sync handlers run in a thread each, one event after the other: they may
block, and must not touch objects of the event loop.
"""

import asyncio
import contextlib
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, cast

from bettensor.bus.bus import EventBus, Handler, arity, handler_name, last_error
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import Event, HandlerFailed, HandlerOverflowed
from bettensor.neurons.edges.edge import Edge, Isolates

QUEUE_LENGTH = 10_000
"""Events that may wait for one handler; further events are dropped, for that handler alone."""
_TROUBLES = (HandlerFailed.topic, HandlerOverflowed.topic)


class UserHandlers(Edge, Isolates):
    """Runs users' handlers from ``open`` to ``close``."""

    name = "handlers"

    def __init__(self, queue_length: int = QUEUE_LENGTH) -> None:
        self._queue_length = queue_length
        self._isolated: list[_Isolated] = []
        self._is_open = False

    def isolate(self, handler: Callable[..., Any]) -> Handler:
        """The function that the bus calls instead of ``handler``: it queues the event, and returns.

        Raises:
            TypeError: ``handler`` takes neither an event, nor an event and its envelope.
        """
        is_async = iscoroutinefunction(handler) or iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004
        isolated = (_InTask if is_async else _InThread)(handler, self._queue_length)
        self._isolated.append(isolated)
        if self._is_open:
            isolated.start(self._bus)
        return isolated.put

    async def open(self) -> None:
        """Begin to process the queues, also those of handlers that subscribe later."""
        self._is_open = True
        for isolated in self._isolated:
            isolated.start(self._bus)

    def report(self) -> dict[str, dict[str, float]]:
        """The figures of each handler, over all its topics: events that wait for it, its failures, the events that it
        missed, and the seconds that it has spent on its present event."""
        report: dict[str, dict[str, float]] = {}
        for handler in self._isolated:
            waiting, failures, dropped, busy = handler.score()
            score = report.setdefault(handler.name, {"waiting": 0, "failures": 0, "dropped": 0, "busy_s": 0.0})
            score["waiting"] += waiting
            score["failures"] += failures
            score["dropped"] += dropped
            score["busy_s"] = max(score["busy_s"], round(busy, 3))
        return report

    async def close(self, patience: float = 5.0) -> None:
        """Let handlers finish their queued events, for ``patience`` seconds, and end them.

        A sync handler that still hangs is abandoned with its daemon thread. Safe to cancel.
        """
        await asyncio.gather(*(isolated.close(patience) for isolated in self._isolated))


class _Isolated(ABC):
    """One handler and the queue before it."""

    def __init__(self, handler: Callable[..., Any], queue_length: int) -> None:
        self.name = handler_name(handler)
        self._takes_envelope = arity(handler) == 2
        self._handler = handler
        self._dropped = 0
        self._failures = 0
        self._began: float | None = None
        """Time at which the present event was handed over."""
        self._bus: EventBus | None = None
        self._open(queue_length)

    def put(self, event: Event, envelope: Envelope) -> None:
        if isinstance(event, HandlerFailed | HandlerOverflowed) and (
            event.handler == self.name or event.handling in _TROUBLES
        ):
            return  # no handler hears of failures with such events: two handlers could keep each other busy for ever
        if self._try_put(event, envelope) or self._bus is None:
            return
        self._dropped += 1
        if self._dropped & (self._dropped - 1) == 0:  # at 1, 2, 4, 8 ...
            self._bus.publish(HandlerOverflowed(self.name, event.topic, self._dropped))

    def start(self, bus: EventBus) -> None:
        self._bus = bus
        self._begin(bus)

    def score(self) -> tuple[int, int, int, float]:
        began = self._began
        busy = 0.0 if began is None else time.monotonic() - began
        return self._waiting(), self._failures, self._dropped, busy

    def _call(self, event: Event, envelope: Envelope) -> Any:
        self._began = time.monotonic()
        return self._handler(event, envelope) if self._takes_envelope else self._handler(event)

    def _failure(self, event: Event) -> HandlerFailed:
        self._failures += 1
        return HandlerFailed(self.name, event.topic, last_error())

    @abstractmethod
    def _open(self, queue_length: int) -> None: ...

    @abstractmethod
    def _waiting(self) -> int: ...

    @abstractmethod
    def _try_put(self, event: Event, envelope: Envelope) -> bool: ...

    @abstractmethod
    def _begin(self, bus: EventBus) -> None: ...

    @abstractmethod
    async def close(self, patience: float) -> None: ...


class _InTask(_Isolated):
    def _open(self, queue_length: int) -> None:
        self._queue: asyncio.Queue[tuple[Event, Envelope]] = asyncio.Queue(queue_length)
        self._task: asyncio.Task[None] | None = None

    def _waiting(self) -> int:
        return self._queue.qsize()

    def _try_put(self, event: Event, envelope: Envelope) -> bool:
        if self._queue.full():
            return False
        self._queue.put_nowait((event, envelope))
        return True

    def _begin(self, bus: EventBus) -> None:
        self._task = asyncio.create_task(self._run(bus), name=f"handler {self.name}")

    async def _run(self, bus: EventBus) -> None:
        this = cast("asyncio.Task[None]", asyncio.current_task())
        while not this.cancelling():  # until we cancel it; a handler may have caught the cancellation
            event, envelope = await self._queue.get()
            try:
                await self._call(event, envelope)
            except asyncio.CancelledError:
                if this.cancelling():
                    raise
                bus.publish(self._failure(event))  # the handler awaited something that was cancelled
            except (Exception, SystemExit):  # noqa: BLE001 - a user's code may raise anything: it must not harm the neuron
                bus.publish(self._failure(event))
            finally:
                self._began = None
                self._queue.task_done()

    async def close(self, patience: float) -> None:
        if self._task is None:
            return
        try:
            await asyncio.wait_for(self._queue.join(), patience)
        except TimeoutError:
            pass
        finally:
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class _InThread(_Isolated):
    def _open(self, queue_length: int) -> None:
        self._queue: queue.Queue[tuple[Event, Envelope] | None] = queue.Queue(queue_length + 1)  # one for the None
        self._length = queue_length
        self._thread: threading.Thread | None = None

    def _waiting(self) -> int:
        return self._queue.qsize()

    def _try_put(self, event: Event, envelope: Envelope) -> bool:
        if self._queue.qsize() >= self._length:
            return False
        self._queue.put_nowait((event, envelope))
        return True

    def _begin(self, bus: EventBus) -> None:
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(bus, loop), name=f"handler {self.name}", daemon=True)
        self._thread.start()

    def _run(self, bus: EventBus, loop: asyncio.AbstractEventLoop) -> None:
        while (item := self._queue.get()) is not None:
            event, envelope = item
            try:
                self._call(event, envelope)
            except (Exception, SystemExit):  # noqa: BLE001 - as above
                with contextlib.suppress(RuntimeError):  # the loop is closed: the neuron did not wait for this thread
                    loop.call_soon_threadsafe(bus.publish, self._failure(event))
            finally:
                self._began = None

    async def close(self, patience: float) -> None:
        if self._thread is not None:
            self._queue.put_nowait(None)
            await asyncio.to_thread(self._thread.join, patience)
