"""The files in examples/ work: configurations can be read, and what starts neurons names commands that there are."""

import asyncio
import configparser
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bettensor.bus.events import FeedFailed, GamesFetched, GamesUpdated
from bettensor.neurons.cli.main import EXIT_USAGE, _parser
from bettensor.neurons.config.loading import load_settings
from tests.loopback.rig import running_validator

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
ROLES = ("validator", "miner")


def is_a_command(words: list[str]) -> bool:
    """Whether the command line knows it; it exits otherwise."""
    arguments, rest = _parser().parse_known_args(words)
    return callable(arguments.command) and not rest


@pytest.mark.parametrize("role", ROLES)
def test_configurations(role: str) -> None:
    settings = load_settings(EXAMPLES / f"{role}.yaml")
    assert (settings.role, settings.subtensor.network) == (role, "test")


@pytest.mark.parametrize("role", ROLES)
def test_systemd(role: str) -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string((EXAMPLES / "systemd" / "bettensor@.service").read_text())
    service = unit["Service"]
    program, *words = service["ExecStart"].replace("%i", role).split()
    assert program.endswith("/bettensor")
    assert is_a_command(words)
    assert "ExecStartPre" not in service, "its exit code would not prevent a restart"
    assert int(service["TimeoutStopSec"]) >= 20
    assert int(service["RestartPreventExitStatus"]) == EXIT_USAGE


@pytest.mark.parametrize("role", ROLES)
def test_docker(role: str) -> None:
    services: dict[str, Any] = yaml.safe_load((EXAMPLES / "docker" / "compose.yaml").read_text())["services"]
    assert is_a_command(services[role]["command"])
    build = services[role]["build"]
    assert (EXAMPLES / "docker" / build["context"]).resolve() == ROOT
    dockerfile = (ROOT / build["dockerfile"]).read_text()
    (folder,) = [volume.partition(":")[2] for volume in services[role]["volumes"] if volume.startswith(f"{role}:")]
    assert folder == str(load_settings(EXAMPLES / f"{role}.yaml").state_dir)
    assert re.search(rf"install -d -o bettensor .*{folder}", dockerfile), "its user could not write there"


NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="needs node, whose configuration it is")
def test_pm2() -> None:
    assert NODE is not None
    code = f"console.log(JSON.stringify(require({str(EXAMPLES / 'pm2' / 'ecosystem.config.js')!r})))"
    done = subprocess.run([NODE, "-e", code], capture_output=True, text=True, check=True)
    apps = json.loads(done.stdout)["apps"]
    assert [app["name"] for app in apps] == list(ROLES)
    assert all(is_a_command(app["args"]) for app in apps)
    assert all(app["stop_exit_codes"] == [EXIT_USAGE] for app in apps)


def test_the_operators_guide_calls_btcli_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its spellings have changed from one release to the next."""
    from bittensor.cli.main import main

    monkeypatch.setenv("BTCLI_CONFIG", str(tmp_path / "config.json"))
    commands = re.findall(r"^btcli (.+)$", (ROOT / "docs" / "operating.md").read_text(), re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        monkeypatch.setattr("sys.argv", ["btcli", *command.replace("NETUID", "30").split(), "--help"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in (None, 0), (command, capsys.readouterr())


def test_the_operators_guide_names_commands_and_files_that_there_are() -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    for link in re.findall(r"\]\(\.\./([^)]+)\)", page):
        assert (ROOT / link.partition("#")[0]).exists(), link
    commands = re.findall(r"bettensor (doctor|ledger backup|top|peers)\b([^`\n]*)", page)
    assert len(commands) >= 4
    for name, rest in commands:
        assert is_a_command([*name.split(), *rest.split()]), (name, rest)


HEAD = "game_id,team_a,team_b,sport,league,event_start_date,team_a_odds,team_b_odds,tie_odds"


async def test_the_feed_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "games.csv"

    def write(*rows: str) -> None:
        fresh = file.with_suffix(".new")
        fresh.write_text("\n".join([HEAD, *rows]), encoding="utf-8-sig")
        fresh.replace(file)

    def slates() -> list[list[str]]:
        return [[game.game_id for game in event.games] for event in rig.all(GamesFetched)]

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - the record has no event
                await asyncio.sleep(0.01)

    one, tie = "one,A,B,s,l,2100-01-01T00:00:00Z,1.9,2.0,", "tie,A,B,s,l,2100-01-01T00:00:00Z,2.5,2.9,3.3"
    write(one, "old,A,B,s,l,2000-01-01T00:00:00Z,1.9,2.0,", "soon,A,B,s,l,soon,1.9,2.0,", "dear,A,B,s,l,x,dear,2.0,")
    feed = {"class": "examples.csv_feed:CsvFeed", "path": str(file), "interval": 0.01}
    async with running_validator(tmp_path, edges={"game_feed": feed}) as rig:
        assert slates() == [["one"]]
        (first,) = rig.all(GamesFetched)
        assert [(game.game_id, game.reason.partition(":")[0]) for game in first.withheld] == [
            ("soon", "row 3"),
            ("dear", "row 4"),
        ]
        write(one, tie)
        await until(lambda: slates() == [["one"], ["one", "tie"]])
        assert rig.all(GamesFetched)[-1].games[1].can_tie
        file.unlink()
        await rig.until(FeedFailed)
        write(one, tie)
        await until(lambda: len(slates()) == 3)
    assert len(rig.all(GamesUpdated)) == 2, "an unchanged slate is no update"
