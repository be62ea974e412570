"""The way of one prediction through a real validator: which file publishes which event, and because of what."""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from bettensor.bus.envelope import Envelope
from bettensor.bus.events import Event, FrameReceived, FrameWritten, LineLogged
from bettensor.bus.messages import ConfirmationMessage
from tests.loopback.rig import running_validator
from tests.support import make_prediction

ROOT: Final = Path(__file__).parent.parent
_PASSED_THROUGH: Final = ("bus/", "tests/", "actors/actor.py", "neurons/neuron.py")
"""Files that carry events and publish none by themselves."""


class Step(NamedTuple):
    """One event on the way."""

    event: type[Event]
    file: str
    function: str
    because: tuple[int, ...]
    """Numbers of steps; empty for what the world did."""


def trace() -> list[Step]:
    """What happens from the frame with a prediction to the frame with its confirmation, in order."""
    return asyncio.run(_trace())


async def _trace() -> list[Step]:
    noted: list[tuple[Envelope, str, str]] = []

    def note(envelope: Envelope) -> None:
        noted.append((envelope, *_publisher()))

    with TemporaryDirectory() as folder:
        async with running_validator(Path(folder), seen=note) as rig, rig.client() as client:
            await client.works()
            begun = len(noted)
            await client.predict(make_prediction())
    return _steps(noted[begun:])


def _publisher() -> tuple[str, str]:
    """File and function of who publishes the event that is being recorded."""
    frame = sys._getframe(1)  # noqa: SLF001 - the one way to ask who calls
    while frame.f_back is not None:
        frame = frame.f_back
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(ROOT):
            name = file.relative_to(ROOT).as_posix()
            if not name.startswith(_PASSED_THROUGH):
                return name, frame.f_code.co_qualname.replace(".<locals>", "")
    return "", ""


def _steps(noted: list[tuple[Envelope, str, str]]) -> list[Step]:
    steps: list[Step] = []
    numbers: dict[int, int] = {}
    for envelope, file, function in noted:
        event, begins = envelope.event, isinstance(envelope.event, FrameReceived) and not numbers
        because = tuple(numbers[seq] for seq in envelope.causes if seq in numbers)
        if (begins or because) and not isinstance(event, LineLogged):
            numbers[envelope.seq] = len(steps) + 1
            steps.append(Step(type(event), file, function, because))
            if isinstance(event, FrameWritten) and isinstance(event.message, ConfirmationMessage):
                break
    return steps
