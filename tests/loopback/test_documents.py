"""README, tutorial and other pages, followed word for word by a newcomer with an empty home."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import pytest
import yaml

from bettensor.bus.messages import KINDS, PointToPoint
from bettensor.neurons.config.loading import load_settings
from tests.loopback.processes import free_port
from tests.loopback.rig import running_validator, write
from tests.test_examples import is_a_command

ROOT: Final = Path(__file__).parents[2]
ELSEWHERE: Final = ("make ", "pip install", "bettensor bench", "git clone")
"""Commands that are run by other tests, or by whoever runs these."""
PATIENCE: Final = 30.0
_FILE: Final = re.compile(r"`([\w.-]+\.(?:yaml|py|csv|sh|json))`")
_LINE: Final = re.compile(r"\breplace the line that begins with `([^`]+)`")


class Block(NamedTuple):
    """A fenced block and the paragraph before it."""

    before: str
    language: str
    text: str


def blocks(page: Path, before: str = "\0") -> Iterator[Block]:
    """Every fenced block that names its language, in order, up to the text ``before``."""
    parts = page.read_text().partition(before)[0].split("```")
    for before, block in zip(parts[::2], parts[1::2], strict=False):
        language, _, text = block.partition("\n")
        if language:
            yield Block(before.rstrip().rpartition("\n\n")[2], language, text)


class Newcomer:
    """Does what a page says: writes its files, and runs its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self.port = str(free_port())
        self.said: list[str] = []
        self.begun = 0
        """Where the present miner's part of its log begins."""
        self.running: dict[str, subprocess.Popen[str]] = {}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | {"HOME": str(folder), "PATH": path, "COLUMNS": "200"}
        self.environment.pop("PYTHONUNBUFFERED", None)  # a handler's lines must appear without it

    def follow(self, page: Path, before: str = "\0") -> None:
        for block in blocks(page, before):
            if block.language == "sh":
                for line in block.text.splitlines():
                    self.run(line.partition("  #")[0].strip())
            elif named := _FILE.findall(block.before):
                self.write(named[-1], block)

    def write(self, name: str, block: Block) -> None:
        text = block.text.replace("8091", self.port)
        file = self.folder / name
        if replaced := _LINE.search(block.before):
            lines = file.read_text().splitlines(keepends=True)
            (place,) = (place for place, line in enumerate(lines) if line.startswith(replaced[1]))
            lines[place] = text
            text = "".join(lines)
        elif re.search(r"\badd to\b", block.before, re.IGNORECASE):
            present = file.read_text()
            text = present if "unless it is there" in block.before and text in present else present + text
        file.write_text(text)

    def run(self, line: str) -> None:
        if not line or line.startswith(ELSEWHERE):
            return
        if line == "bettensor init":
            line += f" --port {self.port}"
        words = shlex.split(line)
        if words[:2] in (["bettensor", "validator"], ["bettensor", "miner"]):
            self.start(words)
            return
        if line == "bettensor stop --config miner.yaml":
            self.until("miner", lambda text: "accepted in" in text[self.begun :])  # what a person would wait to see
        done = subprocess.run(
            ["/bin/bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}\n{self.logs()}"
        self.said.append(done.stdout)

    def start(self, words: list[str]) -> None:
        """A neuron in a terminal of its own."""
        role = words[1]
        old = self.running.pop(role, None)
        assert old is None or old.wait(20) == 0
        log = self.folder / f"{role}.log"
        before = len(self.log(role))
        with log.open("a") as file:
            self.running[role] = subprocess.Popen(
                words, cwd=self.folder, env=self.environment, stdout=file, stderr=file, text=True
            )
        ready = " from games" if role == "validator" else "WebSocket connection established"
        self.until(role, lambda text: ready in text[before:])
        self.begun = before if role == "miner" else self.begun

    def until(self, role: str, condition: Callable[[str], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition(self.log(role)):
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.05)

    def log(self, role: str) -> str:
        file = self.folder / f"{role}.log"
        return file.read_text() if file.exists() else ""

    def logs(self) -> str:
        return "\n".join(f"--- {role}\n{self.log(role)[-4000:]}" for role in ("validator", "miner"))


@contextmanager
def newcomer(folder: Path) -> Iterator[Newcomer]:
    person = Newcomer(folder)
    try:
        yield person
    finally:
        for process in person.running.values():
            process.kill()
            process.wait()


def test_the_readme_leads_to_a_handler_that_sees_a_real_prediction(tmp_path: Path) -> None:
    with newcomer(tmp_path) as person:
        person.follow(ROOT / "README.md")
        person.until("validator", lambda text: " wagers " in text)
        peers, games, predictions, _, summary, replay, audit = person.said[-7:]
    assert "connected" in peers
    assert "houston-astros" in games
    assert "predictions" in predictions
    assert "prediction" in summary
    assert replay.count("equal (every message") == 2
    assert "FAULT" not in audit


def test_the_tutorial_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with newcomer(tmp_path) as person:
        # its recordings are replayed where its code is, and what that registers is forgotten afterwards
        monkeypatch.chdir(person.folder)
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.setitem(KINDS, "injury", PointToPoint)
        del KINDS["injury"]
        person.follow(ROOT / "docs" / "tutorial.md")
        validator = person.log("validator")
    assert "leaders: [('" in validator
    assert "injured: Salah" in validator
    everything = "\n".join(person.said)
    assert "accepted in" in everything
    assert re.search(r"invalid_wager in .*: at most 20 here", everything)
    verdicts = [line for line in person.said[-4].splitlines() if "accepted" in line]
    for wager in ("2.5", "1.0", "2.0", "0.5", "3.0", "0.25"):
        assert any(f" {wager} " in line for line in verdicts), (wager, person.said[-4])
    assert re.fullmatch(r"[\w .]+: \w+ after \d+\.\d ms\n", person.said[-1])  # what it awaits, and no log


def test_the_tutorial_goes_on_in_the_folder_of_the_readme(tmp_path: Path) -> None:
    with newcomer(tmp_path) as person:
        person.follow(ROOT / "README.md")
        for role in ("miner", "validator"):
            person.run(f"bettensor stop --config {role}.yaml")
        person.follow(ROOT / "docs" / "tutorial.md", before="## A message of your own")
        assert "leaders: [('" in person.log("validator")
        assert "accepted in" in person.said[-1]
        handlers = yaml.safe_load((person.folder / "validator.yaml").read_text())["handlers"]
    assert handlers == {"prediction_accepted": ["my_subnet:on_prediction"]}


def test_an_incident_becomes_a_regression_test(tmp_path: Path) -> None:
    with newcomer(tmp_path) as person:
        person.follow(ROOT / "docs" / "recordings.md")
    said = "\n".join(person.said)
    assert "daily_limit_exceeded" in said
    assert "commit_requested (prediction)" in said
    assert "equal (every decision)" in said
    assert "proposals[0].code: accepted -> invalid_wager" in said
    assert re.findall(r"(\d+) passed", said) == ["1", "3", "4"]


def test_the_page_on_games_shows_files_that_are_read(tmp_path: Path) -> None:
    with newcomer(tmp_path) as person:
        person.follow(ROOT / "docs" / "games.md", before="## The Odds API as a feed")
        games = json.loads((person.folder / "games.json").read_text())["games"]
        schema = (person.folder / "games.schema.json").read_text()
    said = "\n".join(person.said)
    assert "valid configuration of a validator" in said
    assert "sample-arsenal-fulham" in said
    assert "games.json: 1 game from 1 snapshot of an odds service, 0 skipped" in said
    assert "games.json: 1 game from 1 event of The Odds API, 0 skipped" in said
    assert [game["event_start_date"] for game in games] == ["2027-01-01T18:00:00.000000Z"]
    assert schema == (ROOT / "docs" / "games.schema.json").read_text()


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md", "docs/recordings.md"])
def test_every_block_of_a_page_is_known_to_its_newcomer(page: str) -> None:
    for block in blocks(ROOT / page):
        assert block.language == "sh" or _FILE.search(block.before), block


async def test_the_page_on_edges_shows_one_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python, yaml_block = (block for block in blocks(ROOT / "docs" / "edges.md") if block.language in ("python", "yaml"))
    (tmp_path / "my_journal.py").write_text(python.text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    edges = yaml.safe_load(yaml_block.text)["edges"]
    edges["journal"]["path"] = "bets.txt"
    async with running_validator(tmp_path, edges=edges) as rig, rig.client() as client:
        await client.works()
        hotkey = client.hotkey
    (line,) = (tmp_path / "bets.txt").read_text().splitlines()
    assert hotkey in line


def test_the_page_on_migrating_shows_configurations_that_are_valid(tmp_path: Path) -> None:
    shown = [yaml.safe_load(block.text) for block in blocks(ROOT / "docs" / "migrating.md") if block.language == "yaml"]
    assert [settings["role"] for settings in shown] == ["miner", "validator"]
    for settings in shown:
        assert settings["synapse"]["enabled"] is True
        load_settings(write(tmp_path / f"{settings['role']}.yaml", settings))


def test_the_page_on_migrating_shows_commands_that_there_are() -> None:
    shown = [block.text for block in blocks(ROOT / "docs" / "migrating.md") if block.language == "sh"]
    lines = [shlex.split(line.partition(" | ")[0]) for line in "".join(shown).splitlines()]
    ours = [words for program, *words in lines if program == "bettensor"]
    assert len(ours) > 8
    assert all(is_a_command(words) for words in ours)
