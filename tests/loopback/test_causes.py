"""Why is my miner not connected? Five usual causes are told plainly, in both logs and by ``peers`` on both sides."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from bittensor import http_auth

from bettensor.bus.events import DialFailed, FallbackChosen, LineLogged, PostAnswered
from tests.loopback.rig import running_miner, running_validator
from tests.loopback.test_miner import events, register_miner, until
from tests.loopback.test_operations import SILENT, bettensor

MINUTE: Final = 60 * 10**9


def a_minute_late(monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    sign = http_auth.sign

    def late(*arguments: Any, **options: Any) -> Any:
        return sign(*arguments, **options, nonce_ns=time.time_ns() - MINUTE)

    monkeypatch.setattr(http_auth, "sign", late)
    return register_miner(folder)


def unregistered(_: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    register_miner(folder)
    return {}


def unwanted(_: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    registered = register_miner(folder)
    neurons = yaml.safe_load((folder / "with-miner.yaml").read_text())["neurons"]
    (folder / "unwanted.yaml").write_text(yaml.safe_dump({"hotkeys": [neurons[-1]["hotkey"]]}))
    return registered | {"blacklist": "unwanted.yaml"}


def of_another_scheme(_: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    registered = register_miner(folder)
    return registered | {"auth": {"schemes": {(folder / "miner-hotkey").read_text(): "sr25519"}}}


def without_websocket(_: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    return register_miner(folder) | {"websocket": {"enabled": False}}


def without_websocket_at_the_miner(_: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    return register_miner(folder)


def elsewhere(_: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    registered = register_miner(folder)
    neurons = yaml.safe_load((folder / "with-miner.yaml").read_text())["neurons"]
    neurons[0]["axon"] = "127.0.0.1:1"
    (folder / "with-miner.yaml").write_text(yaml.safe_dump({"neurons": neurons}))
    return registered | {"axon": {"ip": "127.0.0.1", "port": 0, "external_port": 8091}}


CAUSES: Final = {
    "unregistered": (
        unregistered,
        "403 not_registered",
        "register this hotkey on the subnet",
        "this hotkey is not in the metagraph: its owner must register it on the subnet",
    ),
    "a clock that is a minute late": (
        a_minute_late,
        "401 stale: signed 60.0 s ago",
        "this machine's clock or the validator's is wrong: compare both with NTP",
        "its clock or this machine's is wrong: compare both with NTP",
    ),
    "blacklisted": (
        unwanted,
        "403 blacklisted",
        "the validator's operator has blacklisted this hotkey",
        "to admit this hotkey, remove it from the blacklist",
    ),
    "another signature scheme": (
        of_another_scheme,
        "401 wrong_scheme: the scheme of",
        "the validator's operator must name this hotkey's scheme in auth.schemes",
        "if its key has that scheme, name it in auth.schemes",
    ),
    "the WebSocket is disabled": (
        without_websocket,
        "404 websocket_disabled",
        "this miner uses HTTP meanwhile",
        "to admit WebSockets, set websocket.enabled: true",
    ),
    "the WebSocket is disabled at the miner": (
        without_websocket_at_the_miner,
        "the WebSocket is disabled here",
        "set websocket.enabled: true on this miner to use the WebSocket again",
        "its websocket.enabled is false, or a proxy in between passes HTTP but not WebSocket",
    ),
    "a wrong port": (
        elsewhere,
        "Connect call failed",
        "check that the validator is running, its address and port",
        "iners dial 127.0.0.1:1, as the metagraph says, but this validator's port is 8091",
    ),
}


@pytest.mark.parametrize("cause", CAUSES)
async def test_why_a_miner_is_not_connected_is_told_on_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cause: str
) -> None:
    prepare: Callable[..., dict[str, Any]]
    prepare, reason, cure, cure_there = CAUSES[cause]
    changes = prepare(monkeypatch, tmp_path)
    async with running_validator(tmp_path, **changes) as rig:
        if cause == "a wrong port":
            rig.elsewhere = 1
        changes = {"websocket": {"enabled": False}} if cause == "the WebSocket is disabled at the miner" else {}
        async with running_miner(rig, actors=SILENT, **changes) as (miner, theirs):
            await until(lambda: events(theirs, FallbackChosen if changes else DialFailed))
            await until(lambda: not changes or events(theirs, PostAnswered))
            told = [line.text for line in events(theirs, LineLogged)]
            assert any(reason in line and cure in line for line in told), told
            said = await peers(rig.validator.settings.state_dir, capsys)
            mine = await peers(miner.settings.state_dir, capsys)
            assert reason.partition(" ")[2] in mine or reason in mine
            assert cure in mine
            assert cure_there in said
            assert changes or cure_there in "\n".join(line.text for line in rig.all(LineLogged))
            assert str(miner.hotkey) in said


async def peers(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert await bettensor("peers", "--state-dir", str(state_dir)) == 0
    return "".join(capsys.readouterr())
