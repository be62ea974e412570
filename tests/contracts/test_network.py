"""The simulated network beside real sockets: each side's bus sees the same observations, in the same order."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.envelope import Envelope
from bettensor.bus.events import FrameWritten, Observed
from bettensor.bus.messages import HeartbeatMessage
from bettensor.neurons.simulation import SimulatedMiner, SimulatedNetwork, SimulatedValidator, make_game
from tests.loopback.rig import running_miner, running_validator
from tests.loopback.test_miner import register_miner, until
from tests.loopback.test_operations import SILENT, bettensor

UNRELATED = {"status_requested", "timer_fired", "model_changed", "model_answered"}
"""What only the control socket, time or a model says."""


def observations(envelopes: Iterable[Envelope], first: str) -> list[tuple[str, ...]]:
    """Topics, and what kind of message, from the first of its kind on."""
    seen: list[tuple[str, ...]] = []
    for envelope in envelopes:
        event: Any = envelope.event
        if not isinstance(event, Observed) or event.topic in UNRELATED or not (seen or event.topic == first):
            continue
        kind = getattr(event, "message", None)
        seen.append((event.topic, *([] if kind is None else [kind.message_type])))
    return seen


async def real(folder: Path, websocket: bool) -> tuple[list[Envelope], list[Envelope]]:
    """A session into whose second no heartbeat falls: where in the minute it beats follows from its random id."""
    for attempt in range(5):
        (folder / str(attempt)).mkdir()
        both = await once(folder / str(attempt), websocket)
        if sum(map(heartbeats, both)) <= 1:  # the miner's first, by which its session becomes active
            break
    return both


def heartbeats(envelopes: Iterable[Envelope]) -> int:
    """How many were written."""
    written = [envelope.event for envelope in envelopes if isinstance(envelope.event, FrameWritten)]
    return sum(isinstance(event.message, HeartbeatMessage) for event in written)


async def once(folder: Path, websocket: bool) -> tuple[list[Envelope], list[Envelope]]:
    registered = register_miner(folder)
    async with (
        running_validator(folder, **registered) as rig,
        running_miner(rig, actors=SILENT, **settings(websocket)) as (miner, theirs),
    ):
        await until(lambda: miner.bus.counts["games_updated"])
        where = ["--state-dir", str(miner.settings.state_dir)]
        assert (
            await bettensor("predict", "--game", "yankees-mets", "--outcome", "New York Mets", "--wager", "2", *where)
            == 0
        )
        return list(rig.envelopes), list(theirs)


def settings(websocket: bool) -> dict[str, Any]:
    return {} if websocket else {"websocket": {"enabled": False}}


def simulated(websocket: bool) -> tuple[list[Envelope], list[Envelope]]:
    network = SimulatedNetwork()
    validator = SimulatedValidator(clock=network.clock)
    miner = SimulatedMiner(clock=network.clock, settings=settings(websocket))
    network.add(validator)
    validator.offer(make_game())
    network.add(miner)
    network.advance(3)
    miner.predict("p", validator.hotkey)
    network.advance(1)
    return validator.envelopes, miner.envelopes


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
async def test_both_networks_are_observed_alike(tmp_path: Path, websocket: bool) -> None:
    for theirs, ours, first in zip(
        await real(tmp_path, websocket),
        simulated(websocket),
        ("http_request_received", "connection_opened"),
        strict=True,
    ):
        assert observations(ours, first) == observations(theirs, first)


def test_a_neuron_with_a_clock_of_its_own_is_refused() -> None:
    network = SimulatedNetwork()
    network.add(SimulatedValidator(clock=network.clock), SimulatedMiner())
    with pytest.raises(ValueError, match=r"clock=network\.clock"):
        network.advance(3600)
