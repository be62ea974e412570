"""What is installed is whole, and stands beside other people's packages: the short form of ``make package``."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile

import pytest

from tests.loopback.rig import write_configuration

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).parent.parent
LAYERS: Final = ("bus", "actors", "neurons")
PARTS: Final = (*LAYERS, "pyproject.toml", "README.md", "LICENSE")
PATIENCE: Final = 60.0
"""Seconds that a test waits for a process."""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with wheel and sdist, built from a copy, so that nothing is left in the repository."""
    source = tmp_path_factory.mktemp("source")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, source / part)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(source / "dist"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return source / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel is installed; what it depends on is where these tests have it."""
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(pip, check=True, timeout=PATIENCE, capture_output=True)
    return site


def installed_name(file: Path) -> str:
    """Where a file of the repository stands in the wheel."""
    layer, *rest = file.relative_to(ROOT).parts
    return "/".join(["bettensor", *(rest[1:] if (layer, rest[0]) == ("neurons", "package") else (layer, *rest))])


def test_the_list_of_packages_has_every_folder_with_code() -> None:
    listed: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    inits = [file for layer in LAYERS for file in (ROOT / layer).rglob("__init__.py")]
    there = sorted(Path(installed_name(init)).parent.as_posix().replace("/", ".") for init in inits)
    assert listed == there, "tool.setuptools.packages in pyproject.toml must list these folders: others are in no wheel"
    bare = {
        str(file.parent.relative_to(ROOT))
        for layer in LAYERS
        for file in (ROOT / layer).rglob("*.py")
        if not (file.parent / "__init__.py").exists()
    }
    assert bare == set(), "give these folders an __init__.py: their modules are in no package, and so in no wheel"


def test_the_wheel_holds_every_source_file_once_and_nothing_else(wheel: Path) -> None:
    names = [name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name]
    sources = [file for layer in LAYERS for file in (ROOT / layer).rglob("*.py")]
    data = [ROOT / "neurons" / "package" / "py.typed", *(ROOT / "neurons" / "data").iterdir()]
    assert sorted(names) == sorted(installed_name(file) for file in [*sources, *data])


def test_the_wheel_says_its_licence_its_command_and_its_plugin_of_pytest(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        about = {name.partition(".dist-info/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
        points = archive.read(about["entry_points.txt"]).decode()
        assert archive.read(about["top_level.txt"]) == b"bettensor\n"
    assert "licenses/LICENSE" in about
    assert "bettensor = bettensor.neurons.cli.main:main" in points
    assert "bettensor = bettensor.neurons.pytest_plugin" in points


def test_the_sdist_holds_what_the_wheel_is_made_of(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "neurons/data/games.json", "neurons/package/py.typed"} <= names


def test_what_the_wheel_installs_works(site: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        done = beside(site, tmp_path, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-c", "import bettensor; print(bettensor.__file__)").startswith(str(site))
    assert json.loads(run("-m", "bettensor", "demo", "--miners", "1", "--duration", "2", "--json"))["ok"]


def beside(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in ``folder``, with what is installed in ``site``."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment_of(site),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def environment_of(site: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(site), "PYTHONUNBUFFERED": "1"}


# --- a repository of somebody else, with names that were ours once

THEIRS: Final = {
    "neurons/__init__.py": "from neurons.validator import Validator\n",
    "neurons/validator.py": "class Validator:\n    owner = 'somebody else'\n",
    "neurons/handlers.py": """
import sys

from bettensor.bus.events import ListeningBegun
from neurons import Validator


def on_listening(event: ListeningBegun) -> None:
    print(f"heard in the repository of {Validator.owner}", file=sys.stderr, flush=True)  # one piece in the log
""",
    "bus.py": "STOPS = ['Main Street']\n",
    "actors/__init__.py": "",
    "actors/greeter.py": """
from dataclasses import dataclass

from bettensor.actors import Actor, on
from bettensor.bus import Envelope
from bettensor.bus.events import Decided, NeuronStarted


@dataclass(frozen=True, slots=True)
class Greeted(Decided):
    owner: str


class Greeter(Actor):
    name = "greeter"

    @on(NeuronStarted)
    def greet(self, event: NeuronStarted, envelope: Envelope) -> None:
        self.publish(Greeted("somebody else"))
""",
    "tests/test_theirs.py": """
import actors
import bus
import bettensor
from bettensor.bus.events import PredictionRejected
from neurons import Validator


def test_each_name_is_whose_it_is():
    assert Validator.owner == "somebody else"
    assert bettensor.Validator is not Validator
    assert bus.STOPS
    assert actors.__file__.startswith({folder!r})
    assert bettensor.__file__.startswith({site!r})


def test_the_fixtures_are_there(replay):
    assert replay("incident.recording.jsonl").all(PredictionRejected)
""",
}
INCIDENT: Final = ROOT / "tests" / "recordings" / "daily_limit_at_midnight.validator.recording.jsonl"


@pytest.fixture
def repository(site: Path, tmp_path: Path) -> Path:
    """A subnet's repository as there are many: it has packages ``neurons`` and ``actors``, and a module ``bus``."""
    for name, source in THEIRS.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(source.replace("{folder!r}", repr(str(tmp_path))).replace("{site!r}", repr(str(site))))
    shutil.copy(INCIDENT, tmp_path / "tests" / "incident.recording.jsonl")
    write_configuration(
        tmp_path,
        actors={"greeter": {"class": "actors.greeter:Greeter"}},
        handlers={"listening_begun": ["neurons.handlers:on_listening"]},
    )
    return tmp_path


def test_another_repository_runs_its_tests_and_its_recordings(site: Path, repository: Path) -> None:
    done = beside(site, repository, "-m", "pytest", "-v", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
    assert "incident.recording.jsonl" in done.stdout


def test_another_repository_runs_a_validator_with_its_own_actor_and_handler(site: Path, repository: Path) -> None:
    command = str(site / "bin" / "bettensor")
    checked = beside(site, repository, command, "config", "check", "validator.yaml")
    assert checked.returncode == 0, checked.stderr
    log = repository / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, command, "validator", "--config", "validator.yaml"],
            cwd=repository,
            env=environment_of(site),
            stderr=stderr,
        )
    try:
        wait_for("heard in the repository of somebody else", log, process)
        asked = beside(site, repository, command, "peers", "--config", "validator.yaml", "--json")
        assert asked.returncode == 0, asked.stderr
        assert json.loads(asked.stdout)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    replayed = beside(site, repository, command, "replay", "state", "--import", "actors.greeter")
    assert (replayed.returncode, "equal (every decision)" in replayed.stdout) == (0, True), replayed.stderr


def wait_for(text: str, log: Path, process: "subprocess.Popen[Any]") -> None:
    deadline = time.monotonic() + PATIENCE
    while text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)
