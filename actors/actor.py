"""The base class of actors.

Events are its only way in and out. It awaits nothing, reads no clock, draws no random number, opens nothing, and
imports no other actor: its decisions are a function of the events that it hears.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from bettensor.bus.adapters import adapter_of
from bettensor.bus.bus import EventBus
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import UnknownTimer
from bettensor.bus.events import Decided, SettingsReloaded, TimerCancelled, TimerFired, TimerKey, TimerRequested
from bettensor.bus.identifiers import Micros
from bettensor.bus.subscriber import Method, Subscriber, mark, marked, on
from bettensor.bus.text import hint

__all__ = ["Actor", "NoSettings", "NoState", "on", "on_timer"]

TimerHandler = Callable[[Any, Envelope], None]
"""Called with the key of the timer that fired, and the envelope of ``TimerFired``."""


def on_timer(name: str) -> Callable[[Method], Method]:
    """Mark a method as the handler of the actor's own timer ``name``::

        @on_timer("greeting")
        def lose_patience(self, connection: ConnectionId, envelope: Envelope) -> None: ...

    It gets the key with which the timer was set: None if it was set without one.

    Raises:
        TypeError: the method is async.
    """
    return mark("timers", (name,))


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSettings:
    """For an actor that has nothing to configure."""


@dataclass(slots=True)
class NoState:
    """For an actor that remembers nothing."""


class Actor(Subscriber):
    """A decision maker on the bus.

    A subclass names itself, its ``Settings`` (frozen, validated before they arrive) and its ``State``: all that it
    remembers from one event to the next. Handlers are found by their mark, in the order in which they are written.
    """

    Settings: ClassVar[type[Any]] = NoSettings
    State: ClassVar[type[Any]] = NoState

    def __init__(self, settings: Any = None) -> None:
        self.settings = self.Settings() if settings is None else settings
        self.state = self.State()
        self._timers: dict[str, TimerHandler] = {}

    def attach(self, bus: EventBus) -> None:
        """Subscribe every handler, those of timers included. An actor is attached once.

        Raises:
            TypeError: two methods handle the same timer.
        """
        super().attach(bus)
        for attribute, (name,) in marked(type(self), "timers"):
            if name in self._timers:
                raise TypeError(f"{type(self).__qualname__} has two handlers of its timer {name!r}; a timer has one")
            self._timers[name] = getattr(self, attribute)
        if self._timers:
            bus.subscribe(TimerFired, self._fire, self.name, address=self.name)

    @on(SettingsReloaded)
    def reload(self, event: SettingsReloaded, _: Envelope) -> None:
        """Take new settings; earlier decisions stay."""
        if self.name in event.actors:
            self.settings = adapter_of(self.Settings).validate_python(event.actors[self.name])

    def publish(self, event: Decided, causes: tuple[int, ...] | None = None) -> int:
        """Conclude something; returns the event's ``seq``."""
        return self._bus.publish(event, causes)

    def set_timer(self, name: str, deadline: Micros, key: TimerKey = None) -> None:
        """Have the ``@on_timer(name)`` method called with ``key`` when the monotonic clock reads ``deadline``.

        A timer of the same name and key is replaced; timers of other keys run beside it.

        Raises:
            UnknownTimer: no method of this actor handles it.
        """
        self._check_timer(name)
        self.publish(TimerRequested(self.name, name, key, deadline))

    def cancel_timer(self, name: str, key: TimerKey = None) -> None:
        """Have the timer not fire. If it is not set, nothing happens.

        Raises:
            UnknownTimer: no method of this actor handles it.
        """
        self._check_timer(name)
        self.publish(TimerCancelled(self.name, name, key))

    def _check_timer(self, name: str) -> None:
        if name not in self._timers:
            fault = f"no method of {type(self).__qualname__} is marked @on_timer({name!r})"
            raise UnknownTimer(f"{fault}{hint(name, self._timers)}")

    def _fire(self, event: TimerFired, envelope: Envelope) -> None:
        handler = self._timers.get(event.timer)
        if handler is not None:  # in a replay another version of the actor may have set it
            handler(event.key, envelope)

    def snapshot(self) -> dict[str, Any]:
        """The state as plain JSON data, from which ``restore`` makes an actor that decides the same."""
        state: dict[str, Any] = adapter_of(self.State).dump_python(self.state, mode="json")
        return state

    def snapshot_json(self) -> bytes:
        """``snapshot`` as JSON text, in half the time."""
        return adapter_of(self.State).dump_json(self.state)

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Forget everything, and remember ``snapshot``.

        Raises:
            ValueError: ``snapshot`` is not one of this actor's.
        """
        self.state = adapter_of(self.State).validate_python(snapshot)
