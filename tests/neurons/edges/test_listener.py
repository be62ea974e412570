"""The inbox: what sessions say in one turn of the event loop reaches the bus together, and in order. And the port."""

import asyncio
import socket

import pytest
from bittensor_core import Keypair

from bettensor.actors.settings import AxonSettings, PortLimits, WebSocketSettings
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.codes import CloseCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import Unavailable
from bettensor.bus.events import ConnectionClosed, Event, FrameReceived
from bettensor.bus.identifiers import ConnectionId
from bettensor.neurons.edges.keys import Keys
from bettensor.neurons.edges.listener import Listener
from bettensor.neurons.edges.protocols import MAX_TOGETHER, Inbox
from bettensor.neurons.edges.writer import FrameWriter


class Bench:
    def __init__(self) -> None:
        self.bus = EventBus(SystemClock())
        self.heard: list[Event] = []
        self.bus.subscribe("*", self._hear, "test")
        self.inbox = Inbox(self.bus)

    def _hear(self, event: Event, _: Envelope) -> None:
        self.heard.append(event)


def frame(number: int) -> FrameReceived:
    return FrameReceived(ConnectionId(number % 3), b"%d" % number)


async def test_nothing_is_delivered_before_the_turn_is_over_and_then_all_of_it() -> None:
    bench = Bench()
    said = [*(frame(i) for i in range(5)), ConnectionClosed(ConnectionId(1), CloseCode.ABNORMAL, ""), frame(5)]
    for event in said:
        bench.inbox.put(event)
    assert not bench.heard
    await asyncio.sleep(0)
    assert bench.heard == said
    bench.inbox.put(frame(6))
    await asyncio.sleep(0)
    assert bench.heard == [*said, frame(6)]


@pytest.mark.parametrize("count", [MAX_TOGETHER, 3 * MAX_TOGETHER + 1])
async def test_no_more_than_so_many_wait(count: int) -> None:
    bench = Bench()
    for number in range(count):
        bench.inbox.put(frame(number))
        assert len(bench.heard) == (number + 1) // MAX_TOGETHER * MAX_TOGETHER
    await asyncio.sleep(0)
    assert bench.heard == [frame(number) for number in range(count)]


async def test_a_port_that_is_bound_is_nobody_elses_from_then_on() -> None:
    """Two may bind a port that nobody listens on yet: who listens first has it."""
    bus, clock = EventBus(SystemClock()), SystemClock()
    writer = FrameWriter(Keys(Keypair.create_from_uri("//Alice")), clock)
    faults: list[OSError] = []

    def steal() -> None:
        try:
            other.listen()
        except OSError as fault:
            faults.append(fault)

    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        axon = AxonSettings(ip="127.0.0.1", port=other.getsockname()[1])
        listener = Listener(axon, WebSocketSettings(), PortLimits(), writer, clock)
        listener.attach(bus)
        asyncio.get_running_loop().call_soon(steal)  # before the server begins
        await listener.open()
        await listener.close()
    assert len(faults) == 1


def listener_at(ip: str, port: int) -> Listener:
    clock = SystemClock()
    transports = FrameWriter(Keys(Keypair.create_from_uri("//Alice")), clock)
    listener = Listener(AxonSettings(ip=ip, port=port), WebSocketSettings(), PortLimits(), transports, clock)
    listener.attach(EventBus(clock))
    return listener


async def test_a_port_in_use_may_be_free_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable) as refused:
            await listener_at("127.0.0.1", port).open()
    assert str(refused.value) == (
        f"axon.ip '127.0.0.1', axon.port {port}: cannot listen there: Address already in use; stop the process that "
        f"uses port {port} (ss -ltnp shows it), or set another axon.port"
    )


async def test_an_address_that_this_machine_does_not_have_may_come_later() -> None:
    with pytest.raises(Unavailable) as refused:
        await listener_at("192.0.2.1", 8091).open()  # an address that no machine has (RFC 5737)
    assert str(refused.value).endswith(
        "; 192.0.2.1 is not an address of this machine: set axon.ip to 0.0.0.0 (all addresses), and announce "
        "192.0.2.1 by axon.external_ip"
    )
