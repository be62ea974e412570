"""Settings: wrong values are refused in Python as in YAML, and sections keep the shape of their YAML."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, field, replace
from typing import Any

import pytest
from pydantic import TypeAdapter

from bettensor.actors.settings import (
    AxonSettings,
    ChosenValidators,
    Count,
    Fraction,
    MinerSynapseSettings,
    NotNegative,
    Port,
    Positive,
    Rate,
    Seconds,
    WebSocketSettings,
    Whole,
    settings_class,
)
from bettensor.bus.identifiers import micros


@settings_class
class Sample:
    """One key of each type."""

    seconds: Seconds = 1.0
    rate: Rate = 1.0
    positive: Positive = 1.0
    not_negative: NotNegative = 0.0
    fraction: Fraction = 1.0
    whole: Whole = -1
    count: Count = 1
    port: Port = 0
    websocket: WebSocketSettings = field(default_factory=WebSocketSettings)
    validators: ChosenValidators = ChosenValidators()


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": 0.0},
        {"seconds": 1e-9},
        {"seconds": 1e10},
        {"rate": 0.0},
        {"rate": 1e-310},
        {"positive": 0.0},
        {"not_negative": -0.1},
        {"fraction": 1.1},
        {"whole": 2**63},
        {"whole": 0.5},
        {"count": 0},
        {"port": 65536},
        {"validators": [7]},
        {"websocket": 5},
        {"websocket": {"enable": True}},
        {"unknown": 1},
        *(
            {key: value}
            for key in ("seconds", "rate", "positive", "not_negative", "count")
            for value in (True, float("nan"))
        ),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_in_python_too_and_the_key_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sample(**wrong)
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TypeAdapter(Sample).validate_python(wrong)


def test_the_shortest_duration_is_some_microseconds() -> None:
    assert micros(Sample(seconds=0.001).seconds) == 1000


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: WebSocketSettings(reconnect_base_interval=10.0, max_reconnect_interval=5.0),
        lambda: replace(WebSocketSettings(), max_reconnect_interval=1.0),
    ],
)
def test_the_first_back_off_is_not_longer_than_the_longest(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="reconnect_base_interval must be at most max_reconnect_interval"):
        wrong()


@pytest.mark.parametrize("kind", [AxonSettings, MinerSynapseSettings])
@pytest.mark.parametrize("wrong", ["here", "", ":::", "\x1b[31m", "localhost", "127.0.0.1:80", "fe80::1%\x1b[31m"])
def test_an_address_is_one(kind: type[Any], wrong: str) -> None:
    assert kind(ip="fe80::1%eth0", external_ip="2001:db8::7").external_ip == "2001:db8::7"
    with pytest.raises(ValueError, match=r"ip\s+Value error, must be an IP address of this machine, or 0\.0\.0\.0 for"):
        kind(ip=wrong)
    with pytest.raises(ValueError, match=r"external_ip\s+Value error, expected an IP address like"):
        kind(external_ip=wrong)


@pytest.mark.parametrize("kind", [AxonSettings, MinerSynapseSettings])
def test_an_external_address_is_one_that_can_be_dialled(kind: type[Any]) -> None:
    for own in ("127.0.0.1", "10.0.0.7", "169.254.0.1", "::1", "fd00::1"):
        assert kind(external_ip=own).external_ip == own
    for nobodys in ("0.0.0.0", "::", "::ffff:0.0.0.0", "224.0.0.1", "ff02::1", "255.255.255.255"):  # noqa: S104
        with pytest.raises(
            ValueError, match=r"external_ip\s+Value error, nobody can dial this address; expected one of"
        ):
            kind(external_ip=nobodys)


def test_settings_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Sample().count = 2  # type: ignore[misc]


def test_settings_become_plain_data_and_are_made_of_it_again() -> None:
    sample = Sample(websocket=WebSocketSettings(enabled=False), validators=ChosenValidators(["5x"]))
    plain = TypeAdapter(Sample).dump_python(sample, mode="json")
    assert plain["validators"] == ["5x"]
    assert plain["websocket"]["enabled"] is False
    again = TypeAdapter(Sample).validate_python(plain)
    assert again == sample == Sample(**asdict(sample))
    assert isinstance(again.validators, ChosenValidators)
