"""A status as a validator says it, and the lines of a view in a terminal."""

from io import StringIO
from typing import Any

from bettensor.actors.monitor import MonitorActor
from bettensor.bus.codes import RefusalCode
from bettensor.bus.events import (
    MetagraphSynced,
    NeuronInfo,
    NeuronStarted,
    PeerRefused,
    SessionActivated,
    StatusReported,
    StatusRequested,
)
from bettensor.bus.identifiers import ConnectionId, SessionId, Uid
from bettensor.neurons.cli.screen import Screen
from tests.support import NETUID, Harness, make_hotkey

ME = make_hotkey("me")


def status_of(miners: int, refused: int = 1, **changes: Any) -> dict[str, Any]:
    """What a validator says that knows so many miners, half of them connected."""
    bench = Harness(MonitorActor())
    neurons = [NeuronInfo(Uid(n + 1), make_hotkey(f"miner{n}")) for n in range(miners)]
    bench.observe(NeuronStarted("validator", NETUID, ME, "sr25519", 0))
    bench.observe(MetagraphSynced((NeuronInfo(Uid(0), ME, validator_permit=True, axon="10.0.0.1:8091"), *neurons)))
    for n, neuron in enumerate(neurons[: miners // 2]):
        bench.observe(SessionActivated(ConnectionId(n + 1), neuron.hotkey, neuron.uid, SessionId("5" * 32)))
    for n, neuron in enumerate(neurons[miners - refused :]):
        refusal = PeerRefused(ConnectionId(1000 + n), RefusalCode.STALE, "signed 60 s ago", "10.0.0.9", neuron.hotkey)
        bench.observe(refusal)
    bench.observe(StatusRequested(1))
    status: dict[str, Any] = bench.last(StatusReported).status
    recent = [{"seq": n, "at": n, "topic": f"event_{n}", "text": ""} for n in range(100)]
    return status | {"events": {f"event_{n}": n for n in range(50)}, "recent": recent} | changes


def drawn(view: Any, width: int, height: int) -> list[str]:
    """The lines of what ``view`` makes of a terminal of this size."""
    file = StringIO()
    screen = Screen(file=file, width=width, height=height, force_terminal=True, color_system=None)
    screen.print(view(screen))
    return file.getvalue().splitlines()
