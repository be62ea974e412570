"""Users' handlers: sync and async, slow, raising, hanging; the neuron notices none of it."""

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import HandlerFailed, HandlerOverflowed, ModelChanged, NeuronStopping
from bettensor.neurons.edges.handlers import UserHandlers


@asynccontextmanager
async def running(queue_length: int = 100) -> AsyncIterator[tuple[EventBus, list[Any]]]:
    """A bus with isolated handlers, and all that is recorded on it."""
    handlers = UserHandlers(queue_length)
    recorded: list[Any] = []
    bus = EventBus(SystemClock(), record=lambda envelope: recorded.append(envelope.event), isolate=handlers.isolate)
    handlers.attach(bus)
    await handlers.open()
    yield bus, recorded
    await handlers.close(patience=0.2)


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what a user's handler does has no event
            await asyncio.sleep(0.002)


async def test_async_handlers_run_on_the_loop_in_order() -> None:
    heard: list[tuple[str, int]] = []

    async def handler(event: NeuronStopping, envelope: Envelope) -> None:
        await asyncio.sleep(0)
        heard.append((event.reason, envelope.seq))

    async with running() as (bus, _):
        bus.on(NeuronStopping, handler)
        for reason in "abc":
            bus.publish(NeuronStopping(reason))
        assert heard == []
        await until(lambda: len(heard) == 3)
    assert heard == [("a", 1), ("b", 2), ("c", 3)]


async def test_sync_handlers_run_in_a_thread_of_their_own_in_order() -> None:
    heard: list[str] = []
    threads: list[int] = []

    def handler(event: NeuronStopping) -> None:
        threads.append(threading.get_ident())
        heard.append(event.reason)

    async with running() as (bus, _):
        bus.on("neuron_stopping", handler)
        for reason in "abc":
            bus.publish(NeuronStopping(reason))
        await until(lambda: len(heard) == 3)
    assert heard == ["a", "b", "c"]
    assert set(threads) != {threading.get_ident()}
    assert len(set(threads)) == 1


async def test_a_callable_object_with_an_async_call_is_async() -> None:
    heard: list[str] = []

    class Handler:
        async def __call__(self, event: NeuronStopping) -> None:
            heard.append(event.reason)

    async with running() as (bus, _):
        bus.on(NeuronStopping, Handler())
        bus.publish(NeuronStopping("x"))
        await until(lambda: heard)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_raising_handler_is_reported_and_goes_on(kind: str) -> None:
    heard: list[str] = []

    def fail(event: NeuronStopping) -> None:
        heard.append(event.reason)
        raise RuntimeError("user's bug")

    async def fail_async(event: NeuronStopping) -> None:
        fail(event)

    async with running() as (bus, recorded):
        bus.on(NeuronStopping, fail if kind == "sync" else fail_async)
        bus.publish(NeuronStopping("a"))
        bus.publish(NeuronStopping("b"))
        await until(lambda: sum(isinstance(event, HandlerFailed) for event in recorded) == 2)
    assert heard == ["a", "b"]
    failure = next(event for event in recorded if isinstance(event, HandlerFailed))
    assert failure.handling == "neuron_stopping"
    assert "user's bug" in failure.error


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_hanging_handler_drops_events_for_itself_alone_and_blocks_nobody(kind: str) -> None:
    heard: list[str] = []
    release = threading.Event()

    def hang(_: NeuronStopping) -> None:
        release.wait(10)

    async def hang_async(_: NeuronStopping) -> None:
        await asyncio.sleep(10)

    async with running(queue_length=10) as (bus, recorded):
        bus.on(NeuronStopping, hang if kind == "sync" else hang_async)
        bus.on("*", lambda event: heard.append(event.topic))
        began = time.monotonic()
        for number in range(100):
            bus.publish(NeuronStopping(str(number)))
            if number % 5 == 4:  # half of what the other handler's own queue holds
                await until(lambda upto=number + 1: heard.count("neuron_stopping") == upto)
        assert time.monotonic() - began < 5
    release.set()
    dropped = [event.dropped for event in recorded if isinstance(event, HandlerOverflowed)]
    assert dropped[:4] == [1, 2, 4, 8]
    assert dropped[-1] <= 100


async def test_what_is_queued_is_finished_at_the_end() -> None:
    heard: list[int] = []

    def slow(event: NeuronStopping) -> None:
        time.sleep(0.005)
        heard.append(int(event.reason))

    async with running() as (bus, _):
        bus.on(NeuronStopping, slow)
        for number in range(10):
            bus.publish(NeuronStopping(str(number)))
    assert heard == list(range(10))


async def test_before_the_start_events_are_kept_and_the_end_without_a_start_is_harmless() -> None:
    handlers = UserHandlers()
    heard: list[str] = []

    async def handler(event: NeuronStopping) -> None:
        heard.append(event.reason)

    bus = EventBus(SystemClock(), isolate=handlers.isolate)
    bus.on(NeuronStopping, handler)
    bus.on(NeuronStopping, lambda event: heard.append(event.reason))
    bus.publish(NeuronStopping("early"))
    await handlers.close()
    assert heard == []
    handlers.attach(bus)
    await handlers.open()
    await until(lambda: len(heard) == 2)
    await handlers.close()


async def test_a_handlers_own_failures_do_not_keep_it_busy() -> None:
    calls: list[str] = []

    def fail(event: Any) -> None:
        calls.append(event.topic)
        raise RuntimeError

    async with running() as (bus, recorded):
        bus.on("*", fail)
        bus.publish(NeuronStopping("x"))
        await until(lambda: any(isinstance(event, HandlerFailed) for event in recorded))
        await asyncio.sleep(0.05)
    assert calls == ["neuron_stopping"]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_two_that_hear_everything_and_fail_do_not_keep_each_other_busy(kind: str) -> None:
    calls: list[str] = []

    class Failing:
        __module__, __qualname__ = "m", "failing"

        def __init__(self, name: str) -> None:
            self.__qualname__ = name

        def __call__(self, event: Any) -> None:
            calls.append(event.topic)
            raise RuntimeError

    class FailingAsync(Failing):
        async def __call__(self, event: Any) -> None:  # type: ignore[override]
            super().__call__(event)

    async with running() as (bus, recorded):
        for name in ("one", "other"):
            bus.on("*", (Failing if kind == "sync" else FailingAsync)(name))
        bus.publish(NeuronStopping("x"))
        await until(lambda: sum(isinstance(event, HandlerFailed) for event in recorded) >= 4)
    assert sorted(calls) == ["handler_failed"] * 2 + ["neuron_stopping"] * 2


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_handler_that_wants_to_end_the_program_is_reported_and_goes_on(kind: str) -> None:
    heard: list[str] = []

    def leave(event: NeuronStopping) -> None:
        heard.append(event.reason)
        sys.exit(3)

    async def leave_async(event: NeuronStopping) -> None:
        leave(event)

    async with running() as (bus, recorded):
        bus.on(NeuronStopping, leave if kind == "sync" else leave_async)
        bus.publish(NeuronStopping("a"))
        bus.publish(NeuronStopping("b"))
        await until(lambda: sum(isinstance(event, HandlerFailed) for event in recorded) == 2)
    assert heard == ["a", "b"]


async def test_what_a_handler_waits_for_may_be_cancelled() -> None:
    heard: list[str] = []

    async def wait(event: NeuronStopping) -> None:
        heard.append(event.reason)
        work = asyncio.ensure_future(asyncio.sleep(10))
        work.cancel()
        await work

    async with running() as (bus, recorded):
        bus.on(NeuronStopping, wait)
        bus.publish(NeuronStopping("a"))
        bus.publish(NeuronStopping("b"))
        await until(lambda: sum(isinstance(event, HandlerFailed) for event in recorded) == 2)
    assert heard == ["a", "b"]


async def test_a_handler_that_catches_its_cancellation_ends_all_the_same() -> None:
    heard: list[str] = []

    async def stubborn(event: NeuronStopping) -> None:
        heard.append(event.reason)
        with contextlib.suppress(BaseException):
            await asyncio.Event().wait()

    async with asyncio.timeout(10), running() as (bus, _):
        bus.on(NeuronStopping, stubborn)
        bus.publish(NeuronStopping("a"))
        bus.publish(NeuronStopping("b"))
        await until(lambda: heard)
    assert heard == ["a"]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_one_that_hears_several_topics_has_one_score_and_one_that_hangs_is_seen_at_once(kind: str) -> None:
    release = threading.Event()

    def hear(event: Any) -> None:
        if event.topic == "neuron_stopping":
            raise RuntimeError
        release.wait(10)

    async def hear_async(event: Any) -> None:
        if event.topic == "neuron_stopping":
            raise RuntimeError
        await asyncio.sleep(10)

    handlers = UserHandlers()
    bus = EventBus(SystemClock(), isolate=handlers.isolate)
    handlers.attach(bus)
    await handlers.open()
    for topic in ("neuron_stopping", "model_changed"):
        bus.on(topic, hear if kind == "sync" else hear_async)
    bus.publish(NeuronStopping("x"))
    bus.publish(ModelChanged())
    bus.publish(ModelChanged())

    def score() -> dict[str, float]:
        (only,) = handlers.report().values()
        return only

    await until(lambda: score()["failures"] == 1 and score()["busy_s"] > 0.01)
    assert (score()["waiting"], score()["dropped"]) == (1, 0)
    release.set()
    await handlers.close(patience=0.2)
