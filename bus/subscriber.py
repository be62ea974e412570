"""The common base of actors and edges: marks the methods that hear events, and subscribes them all at once."""

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, ClassVar, TypeVar

from bettensor.bus.bus import EventBus
from bettensor.bus.events import Event

Method = TypeVar("Method", bound=Callable[..., None])


def on(*events: type[Event]) -> Callable[[Method], Method]:
    """Mark a method as the handler of these events.

    Raises:
        TypeError: the method is async: it would run at an unknown time, which a replay could not repeat.
    """
    return mark("handles", events)


def mark(name: str, values: tuple[Any, ...]) -> Callable[[Method], Method]:
    """Mark a method as a handler: ``marked`` finds it, and ``values``, by ``name``.

    Raises:
        TypeError: as ``on`` does.
    """

    def decorate(method: Method) -> Method:
        if iscoroutinefunction(method):
            raise TypeError(
                f"{method.__qualname__} is async: a handler decides at once; an edge starts a task for what takes time"
            )
        method.__dict__[name] = values
        return method

    return decorate


class Subscriber:
    """Something with a name that hears events. Handlers are found by their mark, in the order in which they stand."""

    name: ClassVar[str]
    _bus: EventBus

    def attach(self, bus: EventBus) -> None:
        """Subscribe every handler. A subscriber is attached once."""
        self._bus = bus
        for attribute, events in marked(type(self), "handles"):
            for event in events:
                bus.subscribe(event, getattr(self, attribute), self.name)


def marked(subscriber: type[Subscriber], name: str) -> list[tuple[str, tuple[Any, ...]]]:
    """Each method with the mark ``name``, and the values of the mark. A subclass that overrides a method keeps its
    mark, or marks it anew.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for cls in reversed(subscriber.__mro__):
        for attribute, value in vars(cls).items():
            values = getattr(value, name, None)
            if isinstance(values, tuple):
                found[attribute] = values
    return list(found.items())
