"""Records that are made quickly: like any frozen dataclass, but for the time it takes."""

from dataclasses import FrozenInstanceError, dataclass, field, replace
from inspect import signature
from typing import Any

import pytest

from bettensor.bus import events, messages
from bettensor.bus.records import quick


@dataclass(frozen=True, slots=True)
class Slow:
    first: int
    second: str = "two"


@quick
@dataclass(frozen=True, slots=True)
class Quick:
    first: int
    second: str = "two"


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    zeroth: float = 0.5


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Longer(Base):
    first: int


@dataclass(frozen=True, slots=True)
class Mixed(Base):
    first: int


def test_a_quick_record_is_like_the_slow_one() -> None:
    assert signature(Quick) == signature(Slow)
    assert repr(Quick(1)) == "Quick(first=1, second='two')"
    assert Quick(1, "x") == Quick(second="x", first=1) != Quick(2, "x")
    assert hash(Quick(1)) == hash(Slow(1))
    assert replace(Quick(1), second="y") == Quick(1, "y")
    with pytest.raises(FrozenInstanceError):
        Quick(1).first = 2  # type: ignore[misc]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'first'"):
        Quick()  # type: ignore[call-arg]


def test_fields_by_keyword_and_those_of_a_base_are_set_too() -> None:
    assert repr(Longer(first=1)) == "Longer(zeroth=0.5, first=1)"
    assert Longer(first=1, zeroth=2.0).zeroth == 2.0
    with pytest.raises(TypeError, match="positional"):
        Longer(1)  # type: ignore[call-arg]


@dataclass(frozen=True, slots=True)
class Counting:
    many: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Checked:
    one: int

    def __post_init__(self) -> None:
        assert self.one


@pytest.mark.parametrize("cls", [Counting, Checked, Mixed])
def test_what_it_does_not_know_is_left_to_dataclass(cls: type[Any]) -> None:
    with pytest.raises(TypeError, match=f"{cls.__name__} has more than plain fields"):
        quick(cls)


def test_the_records_of_the_hot_path_are_quick() -> None:
    for record in (events.FrameReceived, events.SignatureChecked, events.StoredVerdict, messages.PredictionResult):
        assert record.__init__.__code__.co_filename == "<string>"
        assert any(name.startswith("set_") for name in record.__init__.__code__.co_names)
