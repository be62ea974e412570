"""The frames of all sessions, and bodies of requests, on their way to the bus: in turn, and not as they arrive.

Knows whose frames wait, and about what each will cost. The frames that it hands over in one turn of the event loop take
a few milliseconds; then other sockets are served. A session that sends much waits behind itself alone.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from bettensor.bus.bus import EventBus
from bettensor.bus.events import BinaryReceived, ConnectionClosed, FrameReceived, RequestBodyReceived, UnsignedReceived
from bettensor.bus.identifiers import ConnectionId
from bettensor.bus.messages import MAX_PREDICTIONS

MAX_TOGETHER: Final = 64
"""Weight of the light frames in one turn: that many of one prediction each take 3 ms, during which the loop does
nothing else."""
MAX_OF_ONE: Final = 8
"""Weight of the light frames of one session in one turn, taken one after the other: with few sessions a turn is short,
so that a frame waits little, and verdicts on frames that come together share a confirmation."""
MAX_LIGHT: Final = 8
"""Weight up to which a frame is light. Heavier frames come after the light ones."""
MAX_HEAVY: Final = 64
"""Weight of the heavy frames in one turn: as much as one full frame, which may be more by its bytes."""
MAX_HEAVY_ALONE: Final = 256
"""The same while no light frames come: nobody waits behind them, and large commits cost less for each prediction."""
LIGHT_LATELY: Final = 0.1
"""Seconds after a light frame in which others may follow: so long, heavy ones leave time for them."""
PAUSE: Final = 2.0
"""How many times as long as a turn with a heavy frame took the next one has to wait: the commit of its predictions is
over by then, and light frames wait behind one heavy one at most."""
MAX_PAUSE: Final = 0.05
"""Seconds of that wait at most: a turn may have been long because the system let other processes run."""
MAX_WAITING: Final = 64
"""Frames of one session that may wait here; it is not read while there are more."""
MAX_WAITING_BYTES: Final = 65_536
"""Bytes of one session that may wait here; it is not read while there are more."""
_BRACES_OF_ONE: Final = 2
"""Of a message with one prediction."""
_BYTES: Final = 4096
"""Bytes that weigh as much as a prediction."""

Heard = FrameReceived | RequestBodyReceived | BinaryReceived | UnsignedReceived | ConnectionClosed
"""What comes from a session, or from the sender of an admitted request."""


class Waits(Protocol):
    """A session that stopped reading because too many of its frames wait."""

    def go_on(self) -> None:
        """Fewer frames wait now."""
        ...


class Lane:
    """The frames of one session that wait, the oldest first."""

    __slots__ = ("events", "is_held", "is_queued", "size", "waits")

    def __init__(self) -> None:
        self.events: list[tuple[Heard, int]] = []
        """With their weights."""
        self.size = 0
        """Bytes of the frames."""
        self.is_held = False
        self.is_queued = False
        self.waits: Waits | None = None

    @property
    def is_full(self) -> bool:
        """Whether its session has to wait."""
        return len(self.events) >= MAX_WAITING or self.size >= MAX_WAITING_BYTES

    def add(self, event: Heard) -> None:
        """Let ``event`` wait behind the others."""
        self.events.append((event, weight_of(event)))
        self.size += _size_of(event)

    def take(self) -> list[tuple[Heard, int]]:
        """Remove and return the oldest event, and if it is light, light ones that follow it."""
        events, count, weight = self.events, 1, self.events[0][1]
        while weight < MAX_OF_ONE and count < len(events) and events[count][1] <= MAX_LIGHT:
            weight += events[count][1]
            count += 1
        taken = events[:count]
        del events[:count]
        self.size -= sum(_size_of(event) for event, _ in taken)
        return taken


class Inbox:
    """Hands the frames of all sessions to the bus: of each session one, then of each another."""

    def __init__(self, bus: EventBus, seconds: Callable[[], float] = time.perf_counter) -> None:
        """
        Args:
            bus: gets the events.
            seconds: a clock that goes on within a turn of the event loop, which the loop's own may not do.
        """
        self._bus = bus
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[ConnectionId, Lane] = {}
        """Of sessions whose frames wait, or have to wait when they come."""
        self._light: deque[ConnectionId] = deque()
        """Sessions whose next frame is light, in turn."""
        self._heavy: deque[ConnectionId] = deque()
        """Sessions whose next frame is heavy, in turn."""
        self._is_due = False
        self._later: asyncio.TimerHandle | None = None
        self._light_came = -math.inf
        """When a light frame was handed over last."""
        self._heavy_from = -math.inf
        """When the next heavy one may be."""

    def put(self, event: Heard) -> None:
        """Publish it after all earlier events of its connection, when its turn comes."""
        lane = self._lanes.get(event.connection)
        if lane is None:
            lane = self._lanes[event.connection] = Lane()
        lane.add(event)
        self._queue(event.connection, lane)

    def end(self, event: ConnectionClosed) -> None:
        """Publish it after what waits of its connection; what is held back is dropped."""
        lane = self._lanes.get(event.connection)
        if lane is not None and lane.is_held:
            self.drop(event.connection)
        self.put(event)

    def is_full(self, connection: ConnectionId) -> bool:
        """Whether so much of ``connection`` waits that no more must be read."""
        lane = self._lanes.get(connection)
        return lane is not None and lane.is_full

    def call(self, connection: ConnectionId, waits: Waits) -> None:
        """Have ``waits.go_on`` called once ``connection``, which is full, is so no longer."""
        self._lanes[connection].waits = waits

    def hold(self, connection: ConnectionId) -> None:
        """Keep back what waits of ``connection``, and what comes."""
        self._lanes.setdefault(connection, Lane()).is_held = True

    def release(self, connection: ConnectionId) -> None:
        """Hand over again what waits of ``connection``."""
        lane = self._lanes.get(connection)
        if lane is not None:
            lane.is_held = False
            if lane.events:
                self._queue(connection, lane)
            else:
                del self._lanes[connection]

    def drop(self, connection: ConnectionId) -> None:
        """Forget what waits of ``connection``."""
        self._lanes.pop(connection, None)

    def _queue(self, connection: ConnectionId, lane: Lane) -> None:
        """Let ``connection`` have its turn, if it has something to say and does not wait for its turn already."""
        if not lane.events or lane.is_held or lane.is_queued:
            return
        lane.is_queued = True
        (self._light if lane.events[0][1] <= MAX_LIGHT else self._heavy).append(connection)
        self._schedule()

    def _schedule(self) -> None:
        if self._is_due or not (self._light or self._heavy):
            return
        wait = 0.0 if self._light else self._heavy_from - self._seconds()
        if wait <= 0:
            self._is_due = True
            self._loop.call_soon(self._turn)
        elif self._later is None:
            self._later = self._loop.call_later(wait, self._go_on)

    def _go_on(self) -> None:
        self._later = None
        self._schedule()

    def _turn(self) -> None:
        """Publish what is due in this turn of the event loop."""
        called: list[Waits] = []
        self._is_due, begun = False, self._seconds()
        with self._bus.together():
            weight = 0
            for _ in range(len(self._light)):
                weight += self._publish_next(self._light.popleft(), called)
                if weight >= MAX_TOGETHER:
                    break
            if weight:
                self._light_came = begun
            is_alone = begun - self._light_came >= LIGHT_LATELY
            most = MAX_HEAVY_ALONE if is_alone else MAX_HEAVY
            is_heavy = bool(self._heavy) and begun >= self._heavy_from and self._publish_heavy(most, called)
        if is_heavy and not is_alone:
            ended = self._seconds()
            self._heavy_from = ended + min(MAX_PAUSE, PAUSE * (ended - begun))
        self._schedule()
        for session in called:
            session.go_on()

    def _publish_heavy(self, most: int, called: list[Waits]) -> bool:
        """Publish heavy frames of weight ``most``, at least one; False if all are held back, or gone."""
        weight = 0
        while self._heavy:
            lane = self._lanes.get(self._heavy[0])
            if weight and lane is not None and lane.events and weight + lane.events[0][1] > most:
                break
            weight += self._publish_next(self._heavy.popleft(), called)
        return weight > 0

    def _publish_next(self, connection: ConnectionId, called: list[Waits]) -> int:
        """Publish the oldest event of ``connection``, and if it is light, some light ones that follow.

        Returns their weight; 0 if they are held back, or gone. A session that can read again by this is added to
        ``called``.
        """
        lane = self._lanes.get(connection)
        if lane is None:
            return 0
        lane.is_queued = False
        if lane.is_held or not lane.events:
            return 0
        weight = 0
        for event, its_weight in lane.take():
            self._bus.publish(event)
            weight += its_weight
        if lane.waits is not None and not lane.is_full:
            called.append(lane.waits)
            lane.waits = None
        if lane.events:
            self._queue(connection, lane)
        else:
            del self._lanes[connection]
        return weight


def _size_of(event: Heard) -> int:
    return len(event.data) if isinstance(event, FrameReceived) else 0


def weight_of(event: Heard) -> int:
    """About how many single predictions cost as much as ``event``: by its braces, because it is not read yet."""
    if isinstance(event, FrameReceived):
        data = event.data
    elif isinstance(event, RequestBodyReceived):
        data = event.body
    else:
        return 1
    braces = data.count(b"{")
    if braces <= _BRACES_OF_ONE and len(data) < _BYTES:  # nearly all
        return 1
    return max(1, min(braces - 1, MAX_PREDICTIONS)) + len(data) // _BYTES
