"""Commands in places where not every character can be written, and where nobody reads what is written."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bettensor.bus.eventlog import Header, LogWriter
from bettensor.bus.identifiers import Hotkey, Netuid
from bettensor.neurons.cli.main import main
from bettensor.neurons.cli.streams import beneath, guarded, let_go, prepare_for_neurons
from tests.loopback.rig import running_validator, starting_soon, write_configuration

PLACES: dict[str, dict[str, str]] = {
    "utf-8": {"PYTHONIOENCODING": "utf-8"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "the C locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "a locale of Latin-1": {"LC_ALL": "en_US.ISO-8859-1", "PYTHONUTF8": "0"},
}


def written(place: str, *arguments: str, code: int = 0) -> str:
    """What a command writes in such a place."""
    unset = ("LC_ALL", "LC_CTYPE", "LANG", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONCOERCECLOCALE")
    environment = {name: value for name, value in os.environ.items() if name not in unset} | PLACES[place]
    command = [sys.executable, "-m", "bettensor", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr, done.stderr
    return (done.stdout + done.stderr).decode("utf-8" if place == "utf-8" else "latin-1")


GAME = starting_soon(game_id="atlético", team_a="Atlético", team_b="Šibenik")


@pytest.mark.parametrize("place", PLACES)
async def test_no_character_of_a_game_or_of_a_table_ends_a_command(tmp_path: Path, place: str) -> None:
    (tmp_path / "own.json").write_text(json.dumps([GAME]))
    async with running_validator(tmp_path, games={"path": "own.json"}) as rig:
        state_dir = str(rig.validator.settings.state_dir)

        async def shown(*arguments: str) -> str:
            return await asyncio.to_thread(written, place, *arguments, "--state-dir", state_dir)

        games = await shown("games")
        peers = await shown("peers")
        top = await shown("top")
        await shown("predictions")
    assert ("Šibenik" if place == "utf-8" else "\\u0160ibenik") in games
    assert ("Atlético" if place in ("utf-8", "latin-1") else "Atl\\xe9tico") in games or "Latin-1" in place
    for table in (peers, top):
        assert rig.hotkey in table
        assert ("─" in table) == (place == "utf-8")


@pytest.mark.parametrize("place", PLACES)
def test_no_character_of_a_file_or_an_argument_ends_a_command(tmp_path: Path, place: str) -> None:
    file = tmp_path / "šaljivo.yaml"
    assert "there is no such file" in written(place, "config", "check", str(file), code=2)
    assert "there is no such file" in written(place, "doctor", "--config", str(file), code=2)
    written(place, "--help")
    written(place, "config", "show", "--role", "miner")


def test_a_locale_that_cannot_name_a_file_is_told_with_the_cure(tmp_path: Path) -> None:
    wallet = write_configuration(tmp_path, wallet={"name": "żółć", "path": str(tmp_path)})
    told = written("the C locale", "validator", "--config", str(wallet), code=2)
    assert "this locale cannot name the file" in told
    assert told.endswith("set LANG=C.UTF-8\n")


def test_a_stream_that_nobody_reads_is_let_go() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    stream.write("for nobody")
    let_go(stream, None)
    stream.write("nor this")
    stream.close()


def test_what_a_command_prints_is_obeyed_by_no_terminal_and_the_streams_come_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sys.stdout, sys.stderr
    with guarded(), guarded():
        print("a\x1b[31m\x9b", "b\tc", sep="\n")
        sys.stderr.writelines(["\x07", "é\n"])
        beneath(sys.stdout).write("\x1b[1m")
        assert sys.stdout.isatty() == before[0].isatty()
    assert (sys.stdout, sys.stderr) == before
    assert beneath(sys.stdout) is sys.stdout
    assert capsys.readouterr() == ("a\\x1b[31m\\x9b\nb\tc\n\x1b[1m", "\\x07é\n")


def test_a_neuron_s_own_streams_are_not_guarded(capsys: pytest.CaptureFixture[str]) -> None:
    with guarded():
        prepare_for_neurons()
        print("\x1b[1m")
    assert capsys.readouterr().out == "\x1b[1m\n"


def test_a_log_s_topic_and_a_file_s_name_are_obeyed_by_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = Header(role="miner", netuid=Netuid(30), hotkey=Hotkey("5x"), scheme="sr25519", record="all", settings={})
    file = tmp_path / "events\x1b[2J.jsonl"
    row = b'{"seq":%d,"at":1,"mono":1,"causes":[],"topic":"x\\u001b[31m\\u009b","event":{"\\u001b":"\\u0007"}'
    rows = [row % number for number in (1, 2)]
    file.write_bytes(LogWriter(header).first + b"".join(row + b',"hash":"' + b"0" * 64 + b'"}\n' for row in rows))
    for arguments in (["log"], ["log", "--summary"], ["log", "--json"], ["replay"], ["trace", "p"], ["audit"]):
        name, *rest = arguments
        unchained = [] if name == "audit" else ["--unchained"]
        main([name, str(file), *rest, *unchained])
        out, err = capsys.readouterr()
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", out + err), arguments
