"""Faults are told with their key, and all at once."""

from dataclasses import dataclass, field

import pytest

from bettensor.actors.settings import Seconds, settings_class
from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.config.faults import Fault, Faults
from bettensor.neurons.config.settings import parse
from bettensor.neurons.config.sources import Sources


@settings_class
class Waits:
    """Two keys with a rule."""

    base: Seconds = 1.0
    longest: Seconds = 60.0

    def __post_init__(self) -> None:
        if self.base > self.longest:
            raise ValueError("base must be at most longest")


@settings_class
class Own:
    """A section, and a number."""

    waits: Waits = field(default_factory=Waits)
    number: int = 0


def told(document: object, sources: Sources | str = "v.yaml") -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        parse(Own, document, sources)
    return str(refused.value).splitlines()


def test_all_faults_of_a_document_are_told() -> None:
    assert told({"number": "x", "waits": {"base": 0, "bsae": 1}, "wait": 5}) == [
        "v.yaml: wait: there is no such key; the nearest is 'waits'",
        "v.yaml: waits.base: must be greater than or equal to 0.001, but it is 0",
        "v.yaml: waits.bsae: there is no such key; the nearest is 'waits.base'",
        "v.yaml: number: must be a valid integer, but it is 'x'",
    ]


def test_a_rule_about_several_keys_blames_the_one_that_was_set_last() -> None:
    sources = Sources("v.yaml", keys={"number": "v.yaml", "waits.longest": "v.yaml", "waits.base": "--waits.base"})
    document = {"waits": {"base": 5, "longest": 2}}
    assert told(document, sources) == ["--waits.base: waits: base must be at most longest"]
    assert told(document) == ["v.yaml: waits: base must be at most longest"]


def test_a_flag_is_not_named_twice() -> None:
    sources = Sources("v.yaml", keys={"number": "--number"})
    assert told({"number": "x"}, sources) == ["--number: must be a valid integer, but it is 'x'"]


def test_what_may_be_a_secret_is_not_printed() -> None:
    @dataclass
    class Secret:
        api_key: int
        inner: dict[str, int]

    with pytest.raises(ConfigurationError) as refused:
        parse(Secret, {"api_key": "hunter2", "inner": {"password": "hunter2"}}, "miner.yaml")
    assert "api_key: must be a valid integer" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_fault_of_keys_of_several_sections_has_no_section() -> None:
    fault = Fault((("a", "b"), ("c",)), "a.b and c exclude each other")
    assert fault.told(Sources("v.yaml", keys={"c": "--c"})) == "--c: a.b and c exclude each other"


def test_faults_are_collected_and_each_is_told_once() -> None:
    faults = Faults(["first"])
    for text in ("second\nthird", "first"):
        with faults.collect():
            raise ConfigurationError(text)
    faults.add("fourth")
    with pytest.raises(ConfigurationError) as refused:
        faults.tell()
    assert str(refused.value) == "first\nsecond\nthird\nfourth"
    Faults().tell()
