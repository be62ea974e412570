"""An event's place in the order, however it was made."""

from bettensor.bus.envelope import Envelope, envelope_of
from bettensor.bus.events import NeuronDraining
from bettensor.bus.identifiers import Micros


def test_the_quick_way_makes_the_same_envelope() -> None:
    fields = (3, Micros(20), Micros(10), (1, 2), NeuronDraining())
    quick = envelope_of(fields)
    assert type(quick) is Envelope
    assert quick == Envelope(*fields)
    assert (quick.seq, quick.at, quick.mono, quick.causes, quick.event) == fields
