"""The game stream: how much of it is kept."""

from bettensor.actors.stream import recoverable
from bettensor.bus.identifiers import Offset


def test_a_position_ahead_of_the_stream_or_before_its_beginning_is_not_recoverable() -> None:
    assert not recoverable(Offset(8), Offset(7))
    assert not recoverable(Offset(0), Offset(7))
    assert recoverable(Offset(7), Offset(7))
