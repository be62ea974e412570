"""What an actor is.

Events are its only way in and out. It awaits nothing, reads no clock, draws no random number, opens nothing, and
imports no other actor: what it decides is a function of the events that it was given.
"""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, ClassVar, TypeVar

from pydantic import TypeAdapter

from bus.bus import EventBus
from bus.envelope import Envelope
from bus.events import Decided, Event, SettingsReloaded, TimerCancelled, TimerRequested
from bus.identifiers import Micros

Method = TypeVar("Method", bound=Callable[..., None])


def on(*events: type[Event]) -> Callable[[Method], Method]:
    """Mark a method of an actor as the handler of these events.

    Raises:
        TypeError: the method is async: it would run when nobody waits for it, and a replay could not repeat that.
    """

    def mark(method: Method) -> Method:
        if iscoroutinefunction(method):
            raise TypeError(
                f"{method.__qualname__} is async: an actor decides at once; ask an edge for what takes time"
            )
        method.__dict__["handles"] = events
        return method

    return mark


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSettings:
    """For an actor that has nothing to configure."""


@dataclass(slots=True)
class NoState:
    """For an actor that remembers nothing."""


class Actor:
    """A decision maker on the bus.

    A subclass names itself, its ``Settings`` (frozen, validated before they arrive) and its ``State``: all that it
    remembers from one event to the next. Handlers are found by their mark, in the order in which they are written.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[Any]] = NoSettings
    State: ClassVar[type[Any]] = NoState

    def __init__(self, settings: Any = None) -> None:
        self.settings = self.Settings() if settings is None else settings
        self.state = self.State()

    @on(SettingsReloaded)
    def reload(self, event: SettingsReloaded, _: Envelope) -> None:
        """Take new settings; what was decided stays decided."""
        if self.name in event.actors:
            self.settings = _adapter(self.Settings).validate_python(event.actors[self.name])

    def attach(self, bus: EventBus) -> None:
        """Subscribe every handler. An actor is attached once."""
        self._bus = bus
        for attribute, events in _handlers(type(self)):
            for event in events:
                bus.subscribe(event, getattr(self, attribute), self.name)

    def publish(self, event: Decided, causes: tuple[int, ...] | None = None) -> int:
        """Conclude something; returns the event's ``seq``."""
        return self._bus.publish(event, causes)

    def wake(self, key: str, deadline: Micros) -> None:
        """Ask for ``TimerFired(self.name, key)`` when the monotonic clock reads ``deadline``."""
        self.publish(TimerRequested(self.name, key, deadline))

    def let_sleep(self, key: str) -> None:
        """Cancel the timer ``key``."""
        self.publish(TimerCancelled(self.name, key))

    def snapshot(self) -> dict[str, Any]:
        """The state as plain JSON data, from which ``restore`` makes an actor that decides the same."""
        state: dict[str, Any] = _adapter(self.State).dump_python(self.state, mode="json")
        return state

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Forget everything, and remember ``snapshot``.

        Raises:
            ValueError: ``snapshot`` is not one of this actor's.
        """
        self.state = _adapter(self.State).validate_python(snapshot)


def _handlers(actor: type[Actor]) -> list[tuple[str, tuple[type[Event], ...]]]:
    """Each handler's name and events; a subclass may override a method and keep its mark by marking it again."""
    marked: dict[str, tuple[type[Event], ...]] = {}
    for cls in reversed(actor.__mro__):
        for attribute, value in vars(cls).items():
            events = getattr(value, "handles", None)
            if events is not None:
                marked[attribute] = events
    return list(marked.items())


_adapters: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(state: type[Any]) -> TypeAdapter[Any]:
    if state not in _adapters:
        _adapters[state] = TypeAdapter(state)
    return _adapters[state]
