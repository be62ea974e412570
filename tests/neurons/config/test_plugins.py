"""Packages that bring actors, kinds of message, models and handlers, by their entry points."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from bettensor.actors import Actor
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.messages import KINDS
from bettensor.neurons.cli.main import main
from bettensor.neurons.composition import build_actors, build_predictor, load_handlers
from bettensor.neurons.config.loading import load_settings
from bettensor.neurons.config.plugins import Group, import_from_here, import_messages, load
from bettensor.recordings import Recording
from bettensor.simulation import SimulatedMiner, SimulatedNetwork, SimulatedValidator, make_game
from tests.loopback.rig import running_validator, write_configuration
from tests.loopback.test_documents import blocks

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = ROOT / "docs" / "plugins.md"


class Site:
    """A folder on the path into which packages are installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, package: str, points: dict[Group, dict[str, str]], **modules: str) -> None:
        name, _, version = package.partition(" ")
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        sections = [(f"bettensor.{group}", named) for group, named in points.items()]
        (info / "entry_points.txt").write_text(
            "\n".join(
                f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in named.items())
                for group, named in sections
            )
        )
        for module, source in modules.items():
            (self.folder / f"{module}.py").write_text(source)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    modules, kinds = set(sys.modules), dict(KINDS)
    yield Site(folder)
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]
    KINDS.clear()
    KINDS.update(kinds)


@pytest.fixture
def acme(site: Site) -> dict[str, Any]:
    """Installs the package of the page; returns what its YAML blocks say, by file."""
    page = [*blocks(PAGE)]
    (project,) = [tomllib.loads(block.text)["project"] for block in page if block.language == "toml"]
    (source,) = [block.text for block in page if block.language == "python"]
    points = {group.removeprefix("bettensor."): named for group, named in project["entry-points"].items()}
    site.install(f"{project['name']} {project['version']}", points, acme_injuries=source)
    named = re.compile(r"`([\w.]+\.yaml)`")
    return {
        file: yaml.safe_load(block.text)
        for block in page
        if block.language == "yaml"
        for file in named.findall(block.before)
    }


def miner_of(folder: Path, **changes: Any) -> Path:
    """The configuration of a miner."""
    settings = yaml.safe_load(write_configuration(folder).read_text())
    for key in ("blacklist", "axon", "games"):
        del settings[key]
    file = folder / "miner.yaml"
    file.write_text(yaml.safe_dump(settings | {"role": "miner"} | changes))
    return file


# --- what a package brings


def test_a_miner_names_an_actor_and_a_model_of_a_package(acme: dict[str, Any], tmp_path: Path) -> None:
    settings = load_settings(miner_of(tmp_path, **acme["miner.yaml"]))
    assert "Reporter" in [type(actor).__name__ for actor in build_actors(settings)]
    model: Any = build_predictor(settings)
    assert (type(model).__name__, model.settings.stake) == ("HomeTeam", 0.5)


def test_a_validator_names_a_handler_of_a_package(acme: dict[str, Any], tmp_path: Path) -> None:
    settings = load_settings(write_configuration(tmp_path, **acme["validator.yaml"]))
    ((topic, handler),) = load_handlers(settings)
    assert (topic, handler.__name__) == ("message_accepted", "on_message")


@pytest.mark.usefixtures("acme")
async def test_a_neuron_knows_the_kinds_of_a_package_and_uses_nothing_else_of_it(tmp_path: Path) -> None:
    async with running_validator(tmp_path) as rig:
        assert "injury" in KINDS
        assert rig.validator.settings.handlers == {}
        assert "reporter" not in {actor.name for actor in build_actors(rig.validator.settings)}


@pytest.mark.usefixtures("acme")
def test_config_check_shows_what_packages_bring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", str(write_configuration(tmp_path))]) == 0
    shown = capsys.readouterr().out.splitlines()[1:]
    assert shown == [
        "plugin 'reporter' of bettensor.actors: acme_injuries:Reporter, from the package acme-injuries 1.0",
        "plugin 'injuries' of bettensor.handlers: acme_injuries:on_message, from the package acme-injuries 1.0",
        "plugin 'injury' of bettensor.messages: acme_injuries:Injury, from the package acme-injuries 1.0",
        "plugin 'home-team' of bettensor.models: acme_injuries:HomeTeam, from the package acme-injuries 1.0",
    ]


def test_a_recording_names_the_modules_that_its_replay_needs(acme: dict[str, Any], site: Site, tmp_path: Path) -> None:
    network = SimulatedNetwork()
    miner = SimulatedMiner(clock=network.clock, settings=acme["miner.yaml"])
    network.add(validator := SimulatedValidator(clock=network.clock), miner)
    validator.offer(make_game())
    network.advance(10)
    miner.save(tmp_path / "log.jsonl")
    with Recording(tmp_path / "log.jsonl") as recording:
        assert "acme_injuries" in recording.header.modules
    command = [sys.executable, "-m", "bettensor", "replay", str(tmp_path / "log.jsonl")]
    environment = os.environ | {"PYTHONPATH": str(site.folder)}

    def replayed(*flags: str) -> "subprocess.CompletedProcess[str]":
        options: Any = {"capture_output": True, "text": True, "cwd": ROOT, "env": environment, "timeout": 60}
        return subprocess.run([*command, *flags], check=False, **options)

    done = replayed("--import", "acme_injuries", "--import", "tests")
    assert (done.returncode, "equal (every decision)" in done.stdout) == (0, True), done.stderr
    refused = replayed()
    assert refused.returncode == 1
    assert "--import acme_injuries" in (refused.stderr)


def test_an_edge_may_be_a_plugin_too(site: Site) -> None:
    site.install("acme 1", {"edges": {"mirror": "acme_edges:Mirror"}}, acme_edges="class Mirror: ...")
    assert load("mirror", "v.yaml: edges.mirror.class", "edges").__name__ == "Mirror"


# --- what is refused


def test_an_unknown_name_is_refused_with_the_nearest(site: Site) -> None:
    site.install("acme 1", {"actors": {"reporter": "acme:Reporter"}})
    with pytest.raises(
        ConfigurationError, match=r"^m\.yaml: x: expected 'module:name' or .*; the nearest is 'reporter'$"
    ):
        load("reportre", "m.yaml: x", "actors")
    with pytest.raises(ConfigurationError, match=r"no installed package has 'reporter' among its bettensor\.models$"):
        load("reporter", "m.yaml: x", "models")


def test_a_name_without_a_colon_is_no_plugin_where_none_can_be() -> None:
    with pytest.raises(ConfigurationError, match="expected 'module:name', not 'reporter'"):
        load("reporter", "m.yaml: x")


def test_a_name_of_two_packages_is_refused_when_it_is_used(site: Site) -> None:
    for package in ("acme 1", "zenith 2"):
        site.install(package, {"actors": {"reporter": f"{package[:4]}_module:Reporter"}})
    with pytest.raises(ConfigurationError, match=r"^m\.yaml: x: acme 1 and zenith 2 both bring 'reporter'"):
        load("reporter", "m.yaml: x", "actors")


def test_a_plugin_that_cannot_be_imported_is_refused_with_its_package(site: Site) -> None:
    site.install("acme 1", {"actors": {"reporter": "acme_broken:Reporter"}}, acme_broken="1 / 0")
    fault = (
        r"m\.yaml: x: 'reporter' of the package acme 1: the module 'acme_broken' cannot be imported: ZeroDivisionError"
    )
    with pytest.raises(ConfigurationError, match=fault):
        load("reporter", "m.yaml: x", "actors")


_KIND: Final = """
from dataclasses import dataclass
from typing import Literal
from bettensor.bus.messages import PointToPoint, register

{mark}
@dataclass(frozen=True, slots=True, kw_only=True)
class Whistle(PointToPoint):
    message_type: Literal["{name}"] = "{name}"
"""


@pytest.mark.parametrize("value", ["acme_kinds", "acme_kinds:Whistle"])
def test_kinds_of_message_come_by_their_class_or_their_module(value: str, site: Site) -> None:
    site.install("acme 1", {"messages": {"kinds": value}}, acme_kinds=_KIND.format(mark="@register", name="whistle"))
    import_messages()
    assert KINDS["whistle"].__module__ == "acme_kinds"


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (_KIND.format(mark="@register", name="heartbeat"), "'heartbeat' is taken by HeartbeatMessage"),
        (_KIND.format(mark="", name="whistle"), "acme_kinds:Whistle is not registered: mark it with @register"),
        ("", "'acme_kinds' has no 'Whistle'"),
    ],
)
def test_a_kind_that_cannot_be_known_is_refused_with_its_package(source: str, fault: str, site: Site) -> None:
    site.install("acme 1", {"messages": {"whistle": "acme_kinds:Whistle"}}, acme_kinds=source)
    with pytest.raises(ConfigurationError, match=r"^the package acme 1: the entry point 'whistle' of") as refused:
        import_messages()
    assert fault in str(refused.value)


def test_a_plugin_that_is_no_actor_is_refused_as_any_class_would_be(site: Site, tmp_path: Path) -> None:
    site.install("acme 1", {"actors": {"x": "acme_plain:X"}}, acme_plain="class X: ...")
    settings = load_settings(miner_of(tmp_path, actors={"x": {"class": "x"}}))
    with pytest.raises(ConfigurationError, match="x is not a subclass of"):
        build_actors(settings)
    assert issubclass(load("bettensor.actors:AuthActor", "", "actors"), Actor)


# --- names of modules


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
        ("plugged_in", "expected 'module:name', not 'plugged_in'"),
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
