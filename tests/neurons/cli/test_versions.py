"""With which releases of bittensor this one works."""

import re
from importlib.metadata import requires

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.cli import versions


@pytest.mark.parametrize("found", ["11.3", "11.3.0", "11.4", "11.10.2", "11.99.dev1"])
def test_a_release_within_the_bounds_fits(found: str) -> None:
    assert versions.fits(found)


@pytest.mark.parametrize(
    "found", ["11.2.9", "11.3rc1", "10.9", "9.10.1", "12.0", "12", "12.0.0rc1", "100.1", "(not installed)", ""]
)
def test_any_other_does_not(found: str) -> None:
    assert not versions.fits(found)


def test_the_bounds_are_those_of_the_package() -> None:
    (asked,) = (asks for asks in requires("bettensor") or () if re.match(r"bittensor[<>=]", asks))
    assert sorted(asked.removeprefix("bittensor").split(",")) == ["<12", ">=11.3"]
    assert versions.CURE == "pip install 'bittensor>=11.3,<12'"


def test_the_release_that_is_here_fits() -> None:
    versions.require_bittensor()


@pytest.mark.parametrize("found", ["10.0.1", "(not installed)"])
def test_another_one_is_refused_with_its_cure(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "installed", lambda: found)
    with pytest.raises(ConfigurationError, match=rf"{re.escape(f'bittensor {found}; run: {versions.CURE}')}"):
        versions.require_bittensor()
