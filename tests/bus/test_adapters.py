"""One reader and writer for each class."""

from dataclasses import dataclass

from bettensor.bus.adapters import adapter_of


@dataclass
class Pair:
    left: int
    right: int


def test_an_adapter_is_made_once_for_each_class() -> None:
    adapter = adapter_of(Pair)
    assert adapter_of(Pair) is adapter
    assert adapter.validate_python({"left": 1, "right": "2"}) == Pair(1, 2)
