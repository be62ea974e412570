"""Configurations, recordings and programs that were written for 0.1.0."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from bettensor.actors import PredictionActor
from bettensor.bus.errors import BadEventLog, ConfigurationError
from bettensor.bus.upcasts import rename_classes_of_actors
from bettensor.models import FilePredictor
from bettensor.neurons.config.plugins import load
from bettensor.recordings import Recording

ROOT: Final = Path(__file__).parents[3]
LIMIT: Final = ROOT / "tests" / "recordings" / "of_0_1_0" / "daily_limit_at_midnight.validator.recording.jsonl"


@pytest.mark.parametrize(
    ("name", "today", "cls"),
    [
        ("actors.prediction:PredictionActor", "bettensor.actors:PredictionActor", PredictionActor),
        ("neurons.file_model:FilePredictor", "bettensor.models:FilePredictor", FilePredictor),
    ],
)
def test_a_class_path_of_0_1_0_is_taken_with_a_warning(name: str, today: str, cls: type) -> None:
    with pytest.warns(FutureWarning, match=f"^v.yaml: x.class: {name} is called {today} since 0.2.0"):
        assert load(name, "v.yaml: x.class") is cls


@pytest.mark.parametrize("name", ["actors.mine:Mine", "actors.prediction:Mine"])
def test_a_class_path_that_0_1_0_did_not_have_is_not_taken_for_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(ROOT))])
    with pytest.raises(ConfigurationError, match=f"^v.yaml: the module '{name.partition(':')[0]}' cannot be imported"):
        load(name, "v.yaml")


def test_a_package_of_somebody_else_that_is_called_so_is_theirs(tmp_path: Path) -> None:
    (tmp_path / "actors").mkdir()
    (tmp_path / "actors" / "prediction.py").write_text("PredictionActor = 'theirs'")
    code = "from bettensor.neurons.config.plugins import load; print(load('actors.prediction:PredictionActor', ''))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "theirs"


@pytest.mark.parametrize(
    ("statement", "today"),
    [
        ("from bus.events import PredictionAccepted", "bus.events of release 0.1.0 is bettensor.bus.events now"),
        ("from actors.prediction import PredictionActor", "actors.prediction of release 0.1.0 is bettensor.actors now"),
        ("import neurons.models", "neurons.models of release 0.1.0 is bettensor.models now"),
        ("from neurons import Miner", "neurons of release 0.1.0 is bettensor now"),
    ],
)
@pytest.mark.parametrize("neighbour", [None, "bus.py"])
def test_a_module_written_for_0_1_0_is_told_what_to_import(
    statement: str, today: str, neighbour: str | None, tmp_path: Path
) -> None:
    (tmp_path / "my_subnet.py").write_text(f"\n{statement}\n")
    if neighbour is not None:
        (tmp_path / neighbour).write_text("")
    code = "from bettensor.neurons.config.plugins import load; load('my_subnet:X', 'v.yaml: handlers.x')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    message = done.stderr.splitlines()[-1]
    assert "v.yaml: handlers.x: the module 'my_subnet' cannot be imported" in message
    assert today in message


def test_a_package_of_somebody_else_that_lacks_a_name_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "my_subnet.py").write_text("from neurons import Typo")
    (tmp_path / "neurons").mkdir()
    (tmp_path / "neurons" / "__init__.py").write_text("")
    code = "from bettensor.neurons.config.plugins import load; load('my_subnet:X', 'v.yaml: handlers.x')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "cannot import name 'Typo' from 'neurons'" in done.stderr
    assert "0.1.0" not in done.stderr


def test_in_a_checkout_such_a_module_is_told_so_by_the_folder_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "subnet_of_0_1_0.py").write_text("from bus.events import PredictionAccepted")
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"this is bettensor\.bus: import it by that name, and not bus"):
        load("subnet_of_0_1_0:X", "v.yaml")


def test_other_modules_that_are_missing_are_only_missing() -> None:
    with pytest.raises(ConfigurationError, match=r"ModuleNotFoundError\(.No module named 'my_subnet'.\)$"):
        load("my_subnet.scoring:X", "v.yaml")
    with pytest.raises(ConfigurationError, match=r"ModuleNotFoundError\(.No module named 'bettensor\.nothing'.\)$"):
        load("bettensor.nothing:X", "v.yaml")


def edited(folder: Path, old: str, new: str) -> Path:
    """A log of 0.1.0, changed in its header."""
    header, *lines = LIMIT.read_text().splitlines(keepends=True)
    assert old in header
    file = folder / "log.jsonl"
    file.write_text("".join([header.replace(old, new), *lines]))
    return file


def test_a_log_of_0_1_0_finds_its_actors_by_their_former_names(tmp_path: Path) -> None:
    named = '"actors":{"prediction":{"class":"actors.prediction:PredictionActor",'
    recording = Recording(edited(tmp_path, '"actors":{"prediction":{', named), chained=False)
    assert recording.header.settings["actors"]["prediction"]["class"] == "bettensor.actors:PredictionActor"
    assert recording.replay().equal


def test_a_log_of_0_1_0_with_events_of_a_module_written_for_it_says_what_to_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bulletins_of_0_1_0.py").write_text("from bus.nothing import Bulletin")
    monkeypatch.syspath_prepend(str(tmp_path))
    recording = Recording(
        edited(tmp_path, '"modules":[]', '"modules":["bulletins_of_0_1_0"]'),
        chained=False,
        imports=["bulletins_of_0_1_0"],
    )
    with pytest.raises(BadEventLog, match=r"has events of bulletins_of_0_1_0, which cannot be imported here"):
        recording.replay()


def test_only_headers_name_classes() -> None:
    assert rename_classes_of_actors("timer_fired", {"settings": 1}) == ("timer_fired", {"settings": 1})
    assert rename_classes_of_actors("header", {"settings": {}}) == ("header", {"settings": {"actors": {}}})
