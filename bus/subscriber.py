"""What actors and edges have in common: they mark the methods that hear events, and subscribe them all at once."""

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import ClassVar, TypeVar

from bettensor.bus.bus import EventBus
from bettensor.bus.events import Event

Method = TypeVar("Method", bound=Callable[..., None])


def on(*events: type[Event]) -> Callable[[Method], Method]:
    """Mark a method as the handler of these events.

    Raises:
        TypeError: the method is async: it would run when nobody waits for it, and a replay could not repeat that.
    """

    def mark(method: Method) -> Method:
        if iscoroutinefunction(method):
            raise TypeError(
                f"{method.__qualname__} is async: a handler decides at once; an edge starts a task for what takes time"
            )
        method.__dict__["handles"] = events
        return method

    return mark


class Subscriber:
    """Something with a name that hears events. Handlers are found by their mark, in the order in which they stand."""

    name: ClassVar[str]
    _bus: EventBus

    def attach(self, bus: EventBus) -> None:
        """Subscribe every handler. A subscriber is attached once."""
        self._bus = bus
        for attribute, events in marked(type(self)):
            for event in events:
                bus.subscribe(event, getattr(self, attribute), self.name)


def marked(subscriber: type[Subscriber]) -> list[tuple[str, tuple[type[Event], ...]]]:
    """Each handler's name and events; a subclass may override a method and keep its mark by marking it again."""
    found: dict[str, tuple[type[Event], ...]] = {}
    for cls in reversed(subscriber.__mro__):
        for attribute, value in vars(cls).items():
            events = getattr(value, "handles", None)
            if events is not None:
                found[attribute] = events
    return list(found.items())
