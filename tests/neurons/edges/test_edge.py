"""What every edge has: marked handlers, tasks under its name, and steps that may all be called though nothing began."""

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import EdgeFailed, NeuronStopping
from bettensor.neurons.edges.edge import Edge, on
from bettensor.neurons.simulation import EventLog


class Door(Edge):
    """Fails whenever somebody knocks."""

    name = "door"

    def __init__(self) -> None:
        self.heard: list[str] = []

    @on(NeuronStopping)
    def knock(self, event: NeuronStopping, _: Envelope) -> None:
        self.heard.append(event.reason)
        self._tasks.start(self._open_up(), "opening up")

    async def _open_up(self) -> None:
        raise RuntimeError("it is stuck")


async def test_an_edge_hears_what_its_methods_are_marked_with_from_its_attachment_on() -> None:
    log, door = EventLog(), Door()
    bus = EventBus(ManualClock(), record=log.append)
    bus.publish(NeuronStopping("nobody there"))
    door.attach(bus)
    bus.publish(NeuronStopping("knock"))
    assert door.heard == ["knock"]
    await door._tasks.settle()  # noqa: SLF001 - as the edge itself would


async def test_a_task_that_fails_is_told_under_the_name_of_its_edge() -> None:
    log, door = EventLog(), Door()
    bus = EventBus(ManualClock(), record=log.append)
    door.attach(bus)
    bus.publish(NeuronStopping("knock"))
    await door._tasks.settle()  # noqa: SLF001
    failure = log.last(EdgeFailed)
    assert (failure.edge, failure.task) == ("door", "opening up")
    assert "it is stuck" in failure.error


async def test_every_step_may_be_called_though_nothing_was_begun() -> None:
    log, edge = EventLog(), Door()
    edge.attach(EventBus(ManualClock(), record=log.append))
    await edge.pause()
    await edge.settle()
    await edge.close()
    await edge.open()
    assert log.envelopes == []
