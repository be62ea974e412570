"""The one queue of a neuron.

Rule 1: one FIFO, run to completion. ``publish`` inside a handler appends; the outermost ``publish`` delivers until the
queue is empty. So delivery, log and replay have one and the same order.

Rule 2: only observed events bring news from outside, and only they advance time. A decision carries the clocks of the
newest observed event.

Rule 3: no handler can harm another. A handler that raises becomes ``ActorFailed``. User handlers never run inside the
drain.

pyee is the table of subscriptions. The drain itself calls the subscribers: pyee's ``emit`` knows neither the queue nor
the handler that failed (docs/design.md, "The bus").
"""

import sys
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import Parameter, signature
from typing import Any, Final, Literal, TypeVar, overload

from pyee import EventEmitter

from bettensor.bus.clock import Clock
from bettensor.bus.envelope import Envelope, envelope_of
from bettensor.bus.errors import NotAllowed, UnknownTopic
from bettensor.bus.events import (
    TOPICS,
    ActorFailed,
    ClockStepped,
    Event,
    FromPeer,
    NeuronFailed,
    Observed,
    route_to,
)
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.bus.redaction import traceback_of
from bettensor.bus.text import hint

EVERYTHING: Final = "*"
"""The topic of all events; its handlers are called after those of the event's own topic."""
CLOCK_STEP: Final = Micros(5 * SECOND)
"""How far wall and monotonic clock may drift apart within ``CLOCK_WINDOW`` before it is a step."""
CLOCK_WINDOW: Final = Micros(60 * SECOND)
RECENT: Final = 256
"""How many of the newest events ``EventBus.recent`` remembers."""

Topic = str | type[Event]
Handler = Callable[[Any, Envelope], object]
"""A function that the bus calls in a drain, with the event and its envelope. Returns at once, and never awaits."""
UserHandler = TypeVar("UserHandler", bound=Callable[..., Any])
Isolate = Callable[[Callable[..., Any]], Handler]
"""How a user's handler is kept out of the drain."""


class EventBus:
    """Publish and subscribe within one neuron. Belongs to one thread: that of the neuron's event loop."""

    def __init__(
        self,
        clock: Clock,
        *,
        record: Callable[[Envelope], None] | None = None,
        isolate: Isolate | None = None,
    ) -> None:
        """
        Args:
            clock: read once for each observed event.
            record: called with each envelope before it is delivered.
            isolate: makes of a user's handler one that returns at once (``neurons/edges/handlers.py``). Without it
                users' handlers are called in the drain, as tests and replays want them.
        """
        self._clock = clock
        self._record = record
        self._isolate = isolate or _call_directly
        self._emitter = EventEmitter()
        self._queue: deque[Envelope] = deque()
        self._current: Envelope | None = None
        self._draining = False
        self._routes: dict[str, list[Handler]] = {}
        self._names: dict[Handler, str] = {}
        self._seq = 0
        self._at = clock.wall()
        self._mono = clock.mono()
        self._clocks_apart = self._at - self._mono
        self._clocks_compared = self._mono
        self.counts: defaultdict[str, int] = defaultdict(int, dict.fromkeys(TOPICS, 0))
        """Events so far, by topic."""
        self.recent: deque[Envelope] = deque(maxlen=RECENT)
        """The newest events, in order."""

    def subscribe(self, topic: Topic, handler: Handler, name: str, address: str | None = None) -> None:
        """Call ``handler`` in the drain, for actors and edges.

        Args:
            topic: the topic that it hears.
            handler: called with each event and its envelope.
            name: whose failure it is if the handler raises.
            address: hear only the events of ``topic`` that have this address (``TimerFired`` has its owner's name).

        Raises:
            UnknownTopic: there is no such event.
        """
        resolved = _resolve(topic)
        self._emitter.add_listener(resolved if address is None else route_to(resolved, address), handler)
        self._names[handler] = name
        self._routes.clear()

    @overload
    def on(self, topic: Topic, handler: UserHandler) -> UserHandler: ...

    @overload
    def on(self, topic: Topic) -> Callable[[UserHandler], UserHandler]: ...

    def on(self, topic: Topic, handler: Callable[..., Any] | None = None) -> Callable[..., Any]:
        """Subscribe your handler, sync or async, by event class, by topic, or to all events (``"*"``).

        It is called with the event, or with the event and its envelope, outside the drain: it may be slow or raise
        without harm to the neuron. Without ``handler`` this is a decorator.

        Raises:
            UnknownTopic: there is no such event.
        """
        if handler is None:
            return lambda decorated: self.on(topic, decorated)
        self.subscribe(topic, self._isolate(handler), handler_name(handler))
        return handler

    def publish(self, event: Event, causes: tuple[int, ...] | None = None) -> int:
        """Append ``event`` to the queue, and deliver all of the queue unless a delivery is under way.

        Args:
            event: inside a drain any event; outside only an observed one.
            causes: the events that led to this one, by ``seq``; by default the one that is being delivered.

        Returns:
            The event's ``seq``.

        Raises:
            NotAllowed: a decision outside a drain. Decisions come from events, or a replay could not repeat them.
        """
        current = self._current
        if causes is None:
            causes = () if current is None else (current.seq,)
        if isinstance(event, Observed):
            self._read_clocks(causes)
        elif current is None:
            raise NotAllowed(f"{event.topic} was decided outside of any event; publish an observed event instead")
        seq = self._stamp(event, causes)
        if not self._draining:
            self._drain()
        return seq

    def look_at_clocks(self) -> None:
        """Publish a step of the wall clock now, and not only before the next observation, which may be minutes away."""
        at, mono = self._clock.wall(), self._clock.mono()
        step = self._step(at, mono)
        if step is not None:
            self._at, self._mono = at, mono
            self._stamp(ClockStepped(step), ())
            if not self._draining:
                self._drain()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Queue what is published within the block, in order, and deliver it only at the end of the block.

        Each step is then taken for all of these events before the next step: all frames are decoded, then all are
        verified. That costs about a quarter less than one event after the other, because the processor repeats the
        same work.
        """
        draining, self._draining = self._draining, True
        try:
            yield
        finally:
            self._draining = draining
        if not draining:
            self._drain()

    @property
    def position(self) -> tuple[int, Micros, Micros]:
        """The last ``seq``, and both clocks as the newest observation read them."""
        return self._seq, self._at, self._mono

    def _stamp(self, event: Event, causes: tuple[int, ...]) -> int:
        self._seq = seq = self._seq + 1
        self._append(envelope_of((seq, self._at, self._mono, causes, event)))
        return seq

    def _append(self, envelope: Envelope) -> None:
        if self._record is not None:
            self._record(envelope)
        self.counts[envelope.event.topic] += 1
        self.recent.append(envelope)
        self._queue.append(envelope)

    def _drain(self) -> None:
        self._draining = True
        try:
            while self._queue:
                self._current = envelope = self._queue.popleft()
                event = envelope.event
                for handler in self._routes.get(event.route) or self._route(event):
                    try:
                        handler(event, envelope)
                    except Exception:  # noqa: BLE001 - the supervisor has one policy for every actor's bugs
                        self._fail(self._names[handler], envelope)
        finally:
            self._current = None
            self._draining = False

    def _read_clocks(self, causes: tuple[int, ...]) -> None:
        """Read both clocks for an observation; a step of the wall clock is published before it, with its causes."""
        at, mono = self._clock.wall(), self._clock.mono()
        step = self._step(at, mono)
        self._at, self._mono = at, mono
        if step is not None:  # before the event that showed it: nothing may be judged by a clock that is not trusted
            self._stamp(ClockStepped(step), causes)

    def _step(self, at: Micros, mono: Micros) -> Micros | None:
        """How far the wall clock has stepped; None if it has not."""
        apart = at - mono
        step = apart - self._clocks_apart
        stepped = abs(step) > CLOCK_STEP
        if stepped or mono - self._clocks_compared > CLOCK_WINDOW:
            self._clocks_apart, self._clocks_compared = apart, mono
        return Micros(step) if stepped else None

    def _route(self, event: Event) -> list[Handler]:
        """The handlers of an event, in order: at its address, of its topic, of everything. Looked up once for each
        route, until the next subscription.
        """
        listeners, route = self._emitter.listeners, event.route
        addressed = [] if route == event.topic else listeners(route)
        handlers = self._routes[route] = [*addressed, *listeners(event.topic), *listeners(EVERYTHING)]
        return handlers

    def _fail(self, name: str, envelope: Envelope) -> None:
        event = envelope.event
        error = last_error()
        if isinstance(event, NeuronFailed):
            return  # the neuron is stopping for a failure already
        if isinstance(event, ActorFailed):
            self.publish(NeuronFailed(f"{name} failed while it handled the failure of {event.actor}:\n{error}"))
            return
        connection = event.connection if isinstance(event, FromPeer) else None
        self.publish(ActorFailed(name, envelope.seq, event.topic, connection, error))


def last_error() -> str:
    """The traceback of the current exception, for a log; empty if there is none."""
    error = sys.exception()
    return "" if error is None else traceback_of(error)


def handler_name(handler: Callable[..., Any]) -> str:
    """How a user's handler is called in events and logs."""
    return f"{getattr(handler, '__module__', '?')}:{getattr(handler, '__qualname__', repr(handler))}"


def _resolve(topic: Topic) -> str:
    key = topic if isinstance(topic, str) else topic.topic
    if key != EVERYTHING and key not in TOPICS:
        raise UnknownTopic(f"there is no event {key!r}{hint(key, [*TOPICS, EVERYTHING])}")
    return key


def _call_directly(handler: Callable[..., Any]) -> Handler:
    takes = arity(handler)
    return (lambda event, _envelope: handler(event)) if takes == 1 else handler


def arity(handler: Callable[..., Any]) -> Literal[1, 2]:
    """Whether ``handler`` takes the event alone, or the event and its envelope.

    Raises:
        TypeError: it takes neither.
    """
    parameters = [p for p in signature(handler).parameters.values() if p.kind is not Parameter.KEYWORD_ONLY]
    if any(p.kind is Parameter.VAR_POSITIONAL for p in parameters):
        return 2
    required = sum(p.default is Parameter.empty and p.kind is not Parameter.VAR_KEYWORD for p in parameters)
    if required not in (1, 2):
        raise TypeError(
            f"{handler_name(handler)} takes {required} arguments; a handler takes (event) or (event, envelope)"
        )
    return 1 if required == 1 else 2
