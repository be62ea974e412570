"""Every number of a configuration: what is no finite number in its range is refused with file, key and value."""

from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import pytest
import yaml

from bettensor.bus.events import Role
from bettensor.neurons.cli.main import main
from bettensor.neurons.composition import ACTORS
from bettensor.neurons.config.keys import MODELS
from bettensor.neurons.config.settings import ROLES, section_fields, section_names

MAY_BE_NEGATIVE: Final = {"seed"}
WRONG: Final = {".inf": "inf", "-.inf": "-inf", ".nan": "nan", "-1": "-1", "true": "True"}
"""What an operator writes, and what the message shows."""
DIVISORS: Final = ("_per_second", "interval", "timeout", "patience", "file_age", "restart_base", "restart_max")
"""Ends of the names of rates and durations."""
REQUIRED: Final = {"path": "bets.csv", "command": ["python"]}
"""What models need besides numbers."""


def numbers(kind: type[Any], prefix: str = "") -> Iterator[str]:
    """The dotted key of each number of a settings class, but for the sections that it takes."""
    taken = {name for role in ROLES.values() for name in section_fields(kind, section_names(role))}
    for name, hint in get_type_hints(kind).items():
        if is_dataclass(hint) and (name not in taken or kind in ROLES.values()):
            yield from numbers(hint, f"{prefix}{name}.")  # type: ignore[arg-type]
        elif {int, float} & {getattr(part, "__supertype__", part) for part in (hint, *get_args(hint))}:
            yield f"{prefix}{name}"


def places(role: Role) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each number of a role as the path to it, with what must stand beside it."""
    for key in numbers(ROLES[role]):
        yield key, {}
    for actor in ACTORS[role]:
        for key in numbers(actor.Settings):
            yield f"actors.{actor.name}.{key}", {}
    if role == "miner":
        for model, name in MODELS.items():
            hints = get_type_hints(model.Settings)
            beside = {"class": name} | {key: REQUIRED[key] for key in hints if key in REQUIRED}
            for key in numbers(model.Settings):
                yield f"actors.predictor.{key}", beside


def nested(path: str, value: Any, beside: dict[str, Any]) -> dict[str, Any]:
    """``value`` at ``path``."""
    *folders, last = path.split(".")
    return reduce(lambda inner, name: {name: inner}, reversed(folders), beside | {last: value})


PLACES: Final = [(role, path, beside) for role in ACTORS for path, beside in places(role)]


def test_the_walk_finds_numbers_of_sections_actors_and_models() -> None:
    found = {(role, path) for role, path, _ in PLACES}
    assert {
        ("validator", "netuid"),
        ("validator", "axon.external_port"),
        ("miner", "websocket.heartbeat_interval"),
        ("validator", "actors.prediction.max_unanswered"),
        ("miner", "actors.model.interval"),
        ("miner", "actors.predictor.bankroll"),
        ("miner", "actors.predictor.restart_max"),
    } <= found
    assert ("miner", "actors.heartbeat.websocket.heartbeat_interval") not in found


@pytest.mark.parametrize(("role", "path", "beside"), PLACES, ids=[" ".join([role, path]) for role, path, _ in PLACES])
def test_what_is_no_number_in_range_is_refused_with_file_key_and_value(
    role: Role, path: str, beside: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "neuron.yaml"
    (tmp_path / "metagraph.yaml").write_text("neurons: []")
    minimal = {"role": role, "netuid": 30, "state_dir": "state", "metagraph": {"static": "metagraph.yaml"}}
    key = path.rpartition(".")[2]
    for written, shown in WRONG.items():
        if written == "-1" and key in MAY_BE_NEGATIVE:
            continue
        file.write_text(yaml.safe_dump(minimal | nested(path, yaml.safe_load(written), beside)))
        code = main(["config", "check", str(file)])
        told = capsys.readouterr().err
        assert code == 2, f"{path}: {written} was taken"
        assert str(file) in told
        assert f"{key}: " in told
        assert told.endswith(f", but it is {shown}\n"), told


@pytest.mark.parametrize("role", ACTORS)
def test_no_number_is_too_large_for_what_is_made_of_it(
    role: Role, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Durations become microseconds, and all settings become a line of the event log."""
    (tmp_path / "metagraph.yaml").write_text("neurons: []")
    for path in ("websocket.heartbeat_interval", "websocket.send_queue_bytes"):
        file = tmp_path / "neuron.yaml"
        minimal = {"role": role, "netuid": 30, "state_dir": "state", "metagraph": {"static": "metagraph.yaml"}}
        file.write_text(yaml.safe_dump(minimal | nested(path, 10**30, {})))
        assert main(["config", "check", str(file)]) == 2
        assert f"{path}: must be less than" in capsys.readouterr().err


@pytest.mark.parametrize(("role", "path", "beside"), [place for place in PLACES if place[1].endswith(DIVISORS)])
def test_no_rate_and_no_duration_is_too_small_for_what_is_made_of_it(
    role: Role, path: str, beside: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Durations become whole microseconds, and debts are divided by rates."""
    (tmp_path / "metagraph.yaml").write_text("neurons: []")
    file = tmp_path / "neuron.yaml"
    minimal = {"role": role, "netuid": 30, "state_dir": "state", "metagraph": {"static": "metagraph.yaml"}}
    for value in (1e-310, 1e-7):
        file.write_text(yaml.safe_dump(minimal | nested(path, value, beside)))
        assert main(["config", "check", str(file)]) == 2
        assert "must be greater than or equal to 0.001, but it is " in capsys.readouterr().err
