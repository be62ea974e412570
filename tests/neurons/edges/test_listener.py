"""The port."""

import asyncio
import socket

import pytest
from bittensor_core import Keypair

from bettensor.actors.settings import AxonSettings, PortLimits, WebSocketSettings
from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.errors import Unavailable
from bettensor.neurons.edges.edge import Identity
from bettensor.neurons.edges.keys import Keys
from bettensor.neurons.edges.listener import Listener
from bettensor.neurons.edges.turnstile import Turnstile
from bettensor.neurons.edges.writer import FrameWriter
from tests.support import NETUID


async def test_a_port_that_is_bound_is_nobody_elses_from_then_on() -> None:
    """Two may bind a port that nobody listens on yet: who listens first has it."""
    bus, clock = EventBus(SystemClock()), SystemClock()
    keys = Keys(Keypair.create_from_uri("//Alice"))
    writer = FrameWriter(keys, clock)
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
        listener = Listener(axon, WebSocketSettings(), PortLimits(), writer, keys, turnstile_of(keys), clock)
        listener.attach(bus)
        asyncio.get_running_loop().call_soon(steal)  # before the server begins
        await listener.open()
        await listener.close()
    assert len(faults) == 1


def turnstile_of(keys: Keys) -> Turnstile:
    return Turnstile(Identity("validator", NETUID, keys.hotkey, keys.scheme), SystemClock())


def listener_at(ip: str, port: int) -> Listener:
    clock = SystemClock()
    keys = Keys(Keypair.create_from_uri("//Alice"))
    axon = AxonSettings(ip=ip, port=port)
    writer = FrameWriter(keys, clock)
    listener = Listener(axon, WebSocketSettings(), PortLimits(), writer, keys, turnstile_of(keys), clock)
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
