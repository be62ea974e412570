"""What an actor is.

Events are its only way in and out. It awaits nothing, reads no clock, draws no random number, opens nothing, and
imports no other actor: what it decides is a function of the events that it was given.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import TypeAdapter

from bettensor.bus.envelope import Envelope
from bettensor.bus.events import Decided, SettingsReloaded, TimerCancelled, TimerRequested
from bettensor.bus.identifiers import Micros
from bettensor.bus.subscriber import Subscriber, on

__all__ = ["Actor", "NoSettings", "NoState", "on"]


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

    @on(SettingsReloaded)
    def reload(self, event: SettingsReloaded, _: Envelope) -> None:
        """Take new settings; what was decided stays decided."""
        if self.name in event.actors:
            self.settings = _adapter(self.Settings).validate_python(event.actors[self.name])

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


_adapters: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(state: type[Any]) -> TypeAdapter[Any]:
    if state not in _adapters:
        _adapters[state] = TypeAdapter(state)
    return _adapters[state]
