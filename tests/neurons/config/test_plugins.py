"""Code of the operator's own, found by its name, and named if it cannot be found."""

import sys
from pathlib import Path

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.neurons.config.plugins import import_from_here, load


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a module and a package of the operator's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "plugged_in.py").write_text("def score(event):\n    return 7\n")
    (tmp_path / "plugged").mkdir()
    (tmp_path / "plugged" / "inside.py").write_text("NAME = 'inside'\n")
    (tmp_path / "plugged_badly.py").write_text("import no_such_module\n")
    (tmp_path / "plugged_wrongly.py").write_text("this is no Python\n")
    return tmp_path


@pytest.mark.usefixtures("here")
def test_modules_of_the_working_directory_are_found() -> None:
    assert load("plugged_in:score", "here")(None) == 7
    assert load("plugged.inside:NAME", "here") == "inside"


def test_what_is_installed_comes_before_what_lies_in_the_working_directory(here: Path) -> None:
    (here / "json.py").write_text("loads = None\n")
    assert load("json:loads", "here") is not None
    assert sys.path[-1] == str(here)


def test_the_working_directory_is_added_once(here: Path) -> None:
    for _ in range(3):
        import_from_here("plugged_in")
    assert sys.path.count(str(here)) == 1


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("plugged_in", "expected 'module:name', and it is 'plugged_in'"),
        ("plugged_in:", "expected 'module:name'"),
        (":score", "expected 'module:name'"),
        ("", "expected 'module:name'"),
        ("plugged_in:scores", "'plugged_in' has no 'scores'"),
        ("not_plugged_in:score", "the module 'not_plugged_in' cannot be imported: ModuleNotFoundError"),
        ("plugged_badly:score", "the module 'plugged_badly' cannot be imported: .*no_such_module"),
        ("plugged_wrongly:score", "the module 'plugged_wrongly' cannot be imported: SyntaxError"),
        ("..plugged_in:score", "cannot be imported: TypeError"),
    ],
)
def test_what_cannot_be_loaded_is_named_with_its_place(name: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^validator.yaml: handlers.x: .*{fault}"):
        load(name, "validator.yaml: handlers.x")
