"""Why is my miner not connected? The usual causes are told plainly, in both logs and by ``peers`` on both sides."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from bittensor import http_auth

from bettensor.actors.cures import NGINX_UPGRADE, NO_PERMIT, UNPERMITTED
from bettensor.bus.clock import SystemClock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    ClockStepped,
    DialFailed,
    DialRequested,
    FallbackChosen,
    LineLogged,
    PostAnswered,
    PostFailed,
    SessionActivated,
    ValidatorsMissed,
    VerdictReceived,
)
from bettensor.bus.identifiers import Hotkey, Micros
from bettensor.neurons.cli import doctor
from tests.loopback.processes import free_port
from tests.loopback.proxies import plain_proxy
from tests.loopback.rig import Place, running_miner, running_validator
from tests.loopback.test_miner import BETS, events, register_miner, until
from tests.loopback.test_operations import SILENT, bettensor

MINUTE: Final = 60 * 10**9


def a_minute_late(monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    sign = http_auth.sign

    def late(*arguments: Any, **options: Any) -> Any:
        return sign(*arguments, **options, nonce_ns=time.time_ns() - MINUTE)

    monkeypatch.setattr(http_auth, "sign", late)
    return register_miner(folder)


def sign_a_minute_ahead(sign: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return sign(*arguments, **options, nonce_ns=time.time_ns() + MINUTE)


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
        "401 stale: signed 60.",
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


def warnings(envelopes: list[Envelope], about: str = "") -> list[str]:
    return [line.text for line in events(envelopes, LineLogged) if line.level == "WARNING" and about in line.text]


async def test_a_proxy_without_the_upgrade_headers_is_named_on_both_sides_and_predictions_go_by_http(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_validator(tmp_path, **register_miner(tmp_path)) as rig, plain_proxy(rig.validator.port) as port:
        rig.elsewhere = port
        async with running_miner(rig, actors=BETS) as (miner, theirs):
            await until(lambda: len(events(theirs, VerdictReceived)) > 3)
            assert {failed.code for failed in events(theirs, DialFailed)} == {"no_upgrade"}
            (told,) = warnings(theirs, rig.hotkey)
            assert "400 no_upgrade: a proxy in between has removed the handshake's headers Upgrade and Connec" in told
            assert NGINX_UPGRADE in told
            there = warnings(rig.envelopes)
            assert any("400 no_upgrade" in line and NGINX_UPGRADE in line for line in there)
            for state_dir in (rig.validator.settings.state_dir, miner.settings.state_dir):
                said = await peers(state_dir, capsys)
                assert "no_upgrade" in said
                assert NGINX_UPGRADE in said
                assert "by HTTP" in said


async def test_a_dead_endpoint_is_one_warning_and_its_return_one_line(tmp_path: Path) -> None:
    registered, port = register_miner(tmp_path), free_port()
    quickly: dict[str, Any] = {"websocket": {"reconnect_base_interval": 0.02, "max_reconnect_interval": 0.1}}
    polls = {"poll_interval": 0.02, "max_poll_interval": 0.1}
    place = Place(tmp_path, Hotkey((tmp_path / "hotkey").read_text()), f"127.0.0.1:{port}")
    async with running_miner(place, actors=BETS | {"http_fallback": polls}, **quickly) as (_, theirs):
        await until(lambda: len(events(theirs, DialFailed)) > 10 and len(events(theirs, PostFailed)) > 10)
        (told,) = warnings(theirs, place.hotkey)
        assert "Connection refused" in told or "Connect call failed" in told
        assert "(check that the validator is running" in told
        async with running_validator(tmp_path, axon={"ip": "127.0.0.1", "port": port}, **registered):
            await until(lambda: events(theirs, SessionActivated))
            await until(lambda: any("answers by WebSocket again after" in line for line in told_by(theirs)))
            await until(lambda: events(theirs, VerdictReceived))
    assert warnings(theirs, place.hotkey)[0] == told


def told_by(envelopes: list[Envelope]) -> list[str]:
    return [line.text for line in events(envelopes, LineLogged)]


async def test_a_miner_whose_clock_is_set_right_dials_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's clock is set a minute ahead, and its signatures with it: before, they were a minute late."""
    slowly: dict[str, Any] = {"websocket": {"reconnect_base_interval": 300.0}}
    sign, wall = http_auth.sign, SystemClock.wall
    registered = a_minute_late(monkeypatch, tmp_path)
    async with (
        running_validator(tmp_path, **registered) as rig,
        running_miner(rig, actors=SILENT, **slowly) as (_, theirs),
    ):
        await until(lambda: events(theirs, DialFailed) and events(theirs, PostFailed))
        assert {failed.code for failed in [*events(theirs, DialFailed), *events(theirs, PostFailed)]} == {"stale"}
        monkeypatch.setattr(SystemClock, "wall", lambda clock: Micros(wall(clock) + MINUTE // 1000))
        monkeypatch.setattr(http_auth, "sign", partial(sign_a_minute_ahead, sign))
        await until(lambda: events(theirs, SessionActivated))
    (step,) = [envelope.seq for envelope in theirs if isinstance(envelope.event, ClockStepped)]
    dials = [envelope for envelope in theirs if isinstance(envelope.event, DialRequested)]
    assert dials[-1].causes == (step,)


async def test_a_miner_with_nobody_to_dial_and_a_validator_without_a_permit_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register_miner(tmp_path)
    file = tmp_path / "no-permit.yaml"
    neurons = yaml.safe_load((tmp_path / "with-miner.yaml").read_text())["neurons"]
    neurons[0] |= {"validator_permit": False, "axon": "127.0.0.1:1"}
    file.write_text(yaml.safe_dump({"neurons": neurons}))
    without: dict[str, Any] = {"metagraph": {"static": file.name}}
    async with running_validator(tmp_path, **without) as rig, running_miner(rig, **without) as (miner, theirs):
        await until(lambda: events(theirs, ValidatorsMissed))
        assert any(UNPERMITTED[1:] in line and NO_PERMIT in line for line in warnings(rig.envelopes))
        assert f"{UNPERMITTED}: {NO_PERMIT}" in await peers(rig.validator.settings.state_dir, capsys)
        reason = "has a validator permit"
        (told,) = warnings(theirs)
        assert told.startswith("This miner has no validator to connect to: none of the 4 neurons in the metagraph")
        assert reason in await peers(miner.settings.state_dir, capsys)
        found = await asyncio.to_thread(doctor.examine, miner.settings, "miner.yaml")
        assert any(reason in finding.text and finding.health == "failure" for finding in found)
        neurons[0]["validator_permit"] = True
        file.write_text(yaml.safe_dump({"neurons": neurons}))
        await until(lambda: events(theirs, ValidatorsMissed)[-1].reason == "")
        await until(lambda: any("permit now" in line for line in told_by(rig.envelopes)))
