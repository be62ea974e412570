"""A running neuron and its operator: the control socket, the commands, and a configuration that changes meanwhile."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from loguru import logger

from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import (
    ConnectionClosed,
    DialFailed,
    FallbackChosen,
    GamesUpdated,
    LineLogged,
    NeuronStopping,
    PostAnswered,
    PredictionMade,
    ReloadFailed,
    SessionActivated,
    SettingsReloaded,
    VerdictReceived,
)
from bettensor.bus.text import short
from bettensor.neurons.cli.control_client import ControlRefused, NotRunning, ask
from bettensor.neurons.cli.main import main
from bettensor.neurons.config.loading import load_settings
from bettensor.neurons.config.settings import Settings
from bettensor.neurons.edges.control import socket_address
from bettensor.neurons.edges.wallets import new_wallet
from bettensor.neurons.miner import Miner
from bettensor.neurons.neuron import Neuron
from bettensor.neurons.validator import Validator
from tests.loopback.rig import (
    ALICE,
    CHARLIE,
    Rig,
    running_miner,
    running_validator,
    starting_soon,
    write_configuration,
)
from tests.loopback.test_miner import events, register_miner, until
from tests.neurons.cli.answering import listening_at
from tests.support import make_prediction

SILENT = {"predictor": {"edge": 0.0}}
"""A miner that never bets by itself."""


async def bettensor(*arguments: str) -> int:
    """The command line, beside the neurons of this process."""
    return await asyncio.to_thread(main, list(arguments))


@asynccontextmanager
async def subnet(folder: Path, **changes: Any) -> AsyncIterator[tuple[Rig, Miner, list[Envelope]]]:
    registered = register_miner(folder)
    validator = running_validator(folder, **registered)
    async with validator as rig, running_miner(rig, **({"actors": SILENT} | changes)) as (miner, theirs):
        await until(lambda: events(theirs, SessionActivated))
        await until(lambda: miner.bus.counts["games_updated"])
        yield rig, miner, theirs


# --- the control socket


async def test_the_socket_is_its_owners_and_goes_with_the_neuron(tmp_path: Path) -> None:
    async with running_validator(tmp_path) as rig:
        socket = rig.validator.settings.state_dir / "control.sock"
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        answer = await asyncio.to_thread(ask, socket.parent, {"ask": "status"})
        assert (answer["role"], answer["hotkey"], answer["process"]) == ("validator", rig.hotkey, os.getpid())
    assert not socket.exists()
    with pytest.raises(NotRunning, match="no neuron is running in"):
        ask(socket.parent, {"ask": "status"})


async def test_a_socket_that_cannot_be_removed_does_not_disturb_the_stop(tmp_path: Path) -> None:
    async with running_validator(tmp_path) as rig, rig.client() as client:
        socket = rig.validator.settings.state_dir / "control.sock"
        socket.unlink()
        socket.mkdir()  # as little to be removed as anything on a disk that has become read-only
        await client.works()
        rig.validator.request_stop("test")
    assert rig.all(NeuronStopping)


async def test_a_deep_folder_is_no_obstacle(tmp_path: Path) -> None:
    deep = "/".join(["x" * 60] * 3)
    async with running_validator(tmp_path, state_dir=deep) as rig:
        answer = await asyncio.to_thread(ask, rig.validator.settings.state_dir, {"ask": "status"})
    assert answer["health"] == "online"


@pytest.mark.parametrize(
    "question", [{"ask": "nonsense"}, {"ask": "predict"}, {"ask": "predict", "game": 1, "outcome": "x", "wager": 1}, []]
)
async def test_what_is_asked_wrongly_is_answered_with_what_was_expected(tmp_path: Path, question: Any) -> None:
    async with running_validator(tmp_path) as rig:
        with pytest.raises(ControlRefused, match=r'expected \{"ask": "status"'):
            await asyncio.to_thread(ask, rig.validator.settings.state_dir, question)
        with socket_address(rig.validator.settings.state_dir) as address:
            reader, writer = await asyncio.open_unix_connection(address)
        writer.write(b"no json\n" + b"x" * 2_000_000)
        assert b"expected" in await reader.readline()
        writer.close()
        assert (await asyncio.to_thread(ask, rig.validator.settings.state_dir, {"ask": "status"}))["sessions"] == 0


def test_an_answer_that_breaks_off_is_none(tmp_path: Path) -> None:
    """As of a neuron that is killed while it answers."""

    def answer() -> None:
        client, _ = listening.accept()
        with client:
            client.recv(1000)
            client.sendall(b'{"role": "vali')

    with listening_at(tmp_path) as listening, ThreadPoolExecutor() as pool:
        pool.submit(answer)
        with pytest.raises(NotRunning, match="stopped before it answered"):
            ask(tmp_path, {"ask": "status"})


async def test_who_is_there_and_who_is_not_is_told_on_both_sides(tmp_path: Path) -> None:
    async with subnet(tmp_path) as (rig, miner, _):
        status = await asyncio.to_thread(ask, rig.validator.settings.state_dir, {"ask": "status"})
        peers = {peer["hotkey"]: peer for peer in status["peers"]}
        assert peers[miner.hotkey]["state"] == "connected"
        assert peers[miner.hotkey]["transport"] == "websocket"
        assert peers[ALICE.ss58_address]["state"] == "not seen"
        assert status["slates"][0]["games"][0]["game_id"] == "yankees-mets"
        assert status["events"]["session_activated"] == 1
        theirs = await asyncio.to_thread(ask, miner.settings.state_dir, {"ask": "status"})
        (validator,) = theirs["peers"]
        assert (validator["state"], validator["hotkey"], validator["uid"]) == ("connected", rig.hotkey, 0)


# --- the commands


async def test_a_prediction_by_hand_gets_its_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with subnet(tmp_path) as (rig, miner, theirs):
        where = ["--state-dir", str(miner.settings.state_dir)]
        order = ["predict", "--game", "yankees-mets", "--outcome", "New York Mets", *where]
        assert await bettensor(*order, "--wager", "2.5") == 0
        out = capsys.readouterr().out
        assert "accepted in" in out
        assert rig.hotkey in out
        (made,) = events(theirs, PredictionMade)
        assert (made.prediction.wager, made.prediction.predicted_odds) == (2.5, 2.1)
        assert await bettensor(*order, "--wager", "1e6", "--json") == 1
        (verdict,) = json.loads(capsys.readouterr().out)["verdicts"]
        assert verdict["code"] == "daily_limit_exceeded"
        for wrong, fault in (
            (["--wager", "nan"], "the prediction on yankees-mets cannot be sent: Expected `float`, got `null`"),
            (["--game", "yankees"], "the nearest is 'yankees-mets'"),
            (["--outcome", "Tie"], "'Tie' is not an outcome of this game; expected one of 'New York Yankees', 'New"),
            (["--validator", "nobody"], "no validator with a slate fits 'nobody'"),
            (["--state-dir", str(rig.validator.settings.state_dir)], "only a miner can predict"),
        ):
            assert await bettensor(*order, "--wager", "1", *wrong) == 1
            assert fault in capsys.readouterr().err


async def test_the_commands_show_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with subnet(tmp_path) as (rig, miner, theirs):
        miner.bus.publish(PredictionMade(rig.hotkey, make_prediction()))
        await until(lambda: events(theirs, VerdictReceived))
        for neuron, expected in (
            (rig.validator, ["connected", "not seen", str(miner.hotkey)]),
            (miner, ["connected", str(rig.hotkey)]),
        ):
            where = ["--state-dir", str(neuron.settings.state_dir)]
            assert await bettensor("peers", *where) == 0
            out = capsys.readouterr().out
            assert all(text in out for text in expected), out
            assert await bettensor("top", *where) == 0
            out = capsys.readouterr().out
            assert "accepted" in out
            assert "last events" in out
            assert await bettensor("games", *where) == 0
            assert "yankees-mets" in capsys.readouterr().out
            assert await bettensor("predictions", *where) == 0
            assert "1 prediction" in capsys.readouterr().out
            for command in ("peers", "top", "games", "predictions"):
                assert await bettensor(command, "--json", *where) == 0
                assert json.loads(capsys.readouterr().out)


async def test_verdicts_of_a_code_or_of_a_peer_that_is_none_are_told_with_those_that_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_validator(tmp_path) as rig, rig.client() as client:
        await client.works()
        hotkey = client.hotkey
        where = ("predictions", "--state-dir", str(rig.validator.settings.state_dir))
        assert await bettensor(*where, "--code", "acepted") == 1
        assert "no verdict is called 'acepted'; expected one of none, accepted, missing_data" in capsys.readouterr().err
        for code in ("none", "game_started"):
            assert await bettensor(*where, "--code", code) == 0
        assert capsys.readouterr().err == ""
        mistyped = f"{hotkey[:-1]}_"
        assert await bettensor(*where, "--hotkey", mistyped) == 0  # a miner may have made none yet
        assert f"has no prediction of '{mistyped}'; the nearest is '{hotkey}'" in capsys.readouterr().err


async def test_a_miner_that_nobody_knows_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register_miner(tmp_path)
    async with running_validator(tmp_path) as rig, running_miner(rig, actors=SILENT) as (miner, theirs):
        await until(lambda: events(theirs, DialFailed))
        assert await bettensor("peers", "--state-dir", str(miner.settings.state_dir)) == 0
        told = capsys.readouterr()
        assert "not registered" in told.out
        assert "→ register this hotkey on the subnet" in told.out
        assert "is not in the metagraph" in told.err
        assert await bettensor("peers", "--state-dir", str(rig.validator.settings.state_dir)) == 0
        out = capsys.readouterr().out
        assert str(miner.hotkey) in out
        assert "→ this hotkey is not in the metagraph" in out


async def test_no_slate_yet_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register_miner(tmp_path)
    async with running_validator(tmp_path) as rig:
        rig.elsewhere = 1  # nobody listens there
        async with running_miner(rig, actors=SILENT) as (miner, theirs):
            await until(lambda: events(theirs, DialFailed))
            where = ["--state-dir", str(miner.settings.state_dir)]
            assert await bettensor("games", *where) == 0
            assert "no games received yet" in capsys.readouterr().out
            assert await bettensor("predict", "--game", "x", "--outcome", "y", "--wager", "1", *where) == 1
            assert "no games received yet" in capsys.readouterr().err
            assert await bettensor("peers", *where) == 0
            assert "check that the validator is running, its address and port" in capsys.readouterr().out


# --- a configuration that changes meanwhile


def reread(neuron: Validator | Miner, folder: Path) -> None:
    """Let a neuron of this process read its file again, as ``bettensor validator`` does."""
    file = folder / ("validator.yaml" if isinstance(neuron, Validator) else "miner.yaml")
    neuron._again = lambda: load_settings(file)  # noqa: SLF001


def change(file: Path, **changes: Any) -> None:
    document = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(document | changes))


async def test_what_can_change_changes_and_what_cannot_is_named(tmp_path: Path) -> None:
    async with running_validator(tmp_path) as rig, rig.client() as client:
        reread(rig.validator, tmp_path)
        (result,) = (await client.predict(make_prediction(wager=6.0)))["results"]
        assert result["code"] == "accepted"
        change(
            tmp_path / "validator.yaml",
            actors={"prediction": {"daily_wager_limit": 10.0}},
            axon={"ip": "127.0.0.1", "port": 1},
            logging={"level": "DEBUG"},
        )
        (reloaded,) = await rig.until(SettingsReloaded)
        assert reloaded.taken == ("actors.prediction.daily_wager_limit", "logging.level")
        assert reloaded.waiting == ("axon.port",)
        (result,) = (await client.predict(make_prediction(wager=6.0)))["results"]
        assert result["code"] == "daily_limit_exceeded"
        lines = [line.text for line in rig.all(LineLogged)]
        assert "Configuration reloaded: actors.prediction.daily_wager_limit, logging.level" in lines
        assert "Configuration changes that need a restart: axon.port" in lines


async def test_what_waits_for_a_restart_waits_however_often_the_file_changes(tmp_path: Path) -> None:
    async with running_validator(tmp_path) as rig:
        reread(rig.validator, tmp_path)
        before = yaml.safe_load((tmp_path / "validator.yaml").read_text())["axon"]
        change(tmp_path / "validator.yaml", axon={"ip": "127.0.0.1", "port": 1, "external_ip": "203.0.113.7"})
        (reloaded,) = await rig.until(SettingsReloaded)
        assert (reloaded.taken, reloaded.waiting) == ((), ("axon.external_ip", "axon.port"))
        change(tmp_path / "validator.yaml", logging={"level": "DEBUG"})
        _, reloaded = await rig.until(SettingsReloaded, 2)
        assert (reloaded.taken, reloaded.waiting) == (("logging.level",), ("axon.external_ip", "axon.port"))
        assert reloaded.actors == {}
        change(tmp_path / "validator.yaml", axon=before)
        *_, reloaded = await rig.until(SettingsReloaded, 3)
        assert (reloaded.taken, reloaded.waiting) == ((), ())


async def test_a_file_that_cannot_be_read_leaves_all_in_force(tmp_path: Path) -> None:
    async with running_validator(tmp_path) as rig, rig.client() as client:
        reread(rig.validator, tmp_path)
        change(tmp_path / "validator.yaml", actors={"prediction": {"daily_wager_limit": "much"}})
        (failed,) = await rig.until(ReloadFailed)
        assert "daily_wager_limit" in failed.reason
        (tmp_path / "blacklist.yaml").write_text("hotkeys: [nonsense]")
        await rig.until(ReloadFailed, 2)
        await client.works()


async def test_nothing_of_a_file_that_is_written_in_parts_is_taken_before_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Neuron, "settle", 1.0)
    file = tmp_path / "validator.yaml"
    async with running_validator(tmp_path, actors={"auth": {"min_stake": 5.0}}) as rig:
        reread(rig.validator, tmp_path)
        whole = file.read_text()
        assert "min_stake: 5.0" in whole
        for part in ("", yaml.safe_dump(yaml.safe_load(whole) | {"actors": {}})):
            file.write_text(part)
            await asyncio.sleep(0.3)
        file.write_text(f"{whole}logging: {{level: DEBUG}}\n")
        (reloaded,) = await rig.until(SettingsReloaded)
        assert (reloaded.taken, rig.all(ReloadFailed)) == (("logging.level",), [])


async def test_who_is_put_on_the_blacklist_is_closed_and_who_is_taken_off_may_come(tmp_path: Path) -> None:
    async with running_validator(tmp_path) as rig, rig.client() as client:
        (tmp_path / "blacklist.yaml").write_text(yaml.safe_dump({"hotkeys": [ALICE.ss58_address]}))
        code, reason, _ = await client.closed()
        assert (code, reason) == (4003, f"{ALICE.ss58_address} is blacklisted here")
        async with rig.client(CHARLIE) as welcome:
            await welcome.works()


async def test_who_must_sign_by_another_scheme_is_closed_and_who_is_pinned_by_it_may_come(tmp_path: Path) -> None:
    async with running_validator(tmp_path) as rig, rig.client() as client:
        reread(rig.validator, tmp_path)
        change(tmp_path / "validator.yaml", auth={"schemes": {ALICE.ss58_address: "ed25519"}})
        (reloaded,) = await rig.until(SettingsReloaded)
        assert (reloaded.taken, reloaded.waiting) == (("auth.schemes",), ())
        code, reason, _ = await client.closed()
        assert (code, reason[:41]) == (4004, "the scheme of this hotkey is ed25519 from")
        status, body = await rig.refusal()
        assert (status, body["error"]) == (401, "wrong_scheme")
        change(tmp_path / "validator.yaml", auth={"schemes": {}})
        await rig.until(SettingsReloaded, 2)
        async with rig.client() as welcome:
            await welcome.works()


async def test_a_miner_speaks_with_an_ed25519_validator_if_it_knows_it_for_one(tmp_path: Path) -> None:
    hotkey = new_wallet("test", "validator", str(tmp_path / "wallets"), "ed25519")
    (tmp_path / "hotkey").write_text(hotkey)
    async with (
        running_validator(tmp_path, **register_miner(tmp_path)) as rig,
        running_miner(rig, actors=SILENT) as (miner, theirs),
    ):
        reason = "the welcome names ed25519, and this validator's scheme is sr25519 here: see auth.schemes"
        await until(lambda: (4000, reason) in [(closed.code, closed.reason) for closed in rig.all(ConnectionClosed)])
        assert not events(theirs, SessionActivated)
        reread(miner, tmp_path)
        change(tmp_path / "miner.yaml", auth={"schemes": {hotkey: "ed25519"}})
        await until(lambda: events(theirs, SessionActivated))
        miner.bus.publish(PredictionMade(rig.hotkey, make_prediction()))
        await until(lambda: events(theirs, VerdictReceived))


async def test_the_websocket_is_switched_off_and_on_again_at_a_miner_that_runs(tmp_path: Path) -> None:
    async with subnet(tmp_path, actors=SILENT | {"http_fallback": {"poll_interval": 0.1}}) as (rig, miner, theirs):
        reread(miner, tmp_path)
        change(tmp_path / "miner.yaml", websocket={"enabled": False})
        await until(lambda: events(theirs, FallbackChosen))
        miner.bus.publish(PredictionMade(rig.hotkey, make_prediction()))
        await until(lambda: events(theirs, VerdictReceived))
        await until(lambda: events(theirs, PostAnswered))
        assert len(events(theirs, SessionActivated)) == 1
        games = [starting_soon(), starting_soon(game_id="another", team_a="Cubs", team_b="Padres")]
        (tmp_path / "games.json").write_text(json.dumps({"games": games}))
        await until(lambda: any(game.game_id == "another" for u in events(theirs, GamesUpdated) for game in u.games))
        change(tmp_path / "miner.yaml", websocket={"enabled": True})
        await until(lambda: len(events(theirs, SessionActivated)) == 2)


async def test_the_websocket_is_switched_off_at_a_validator_that_runs(tmp_path: Path) -> None:
    quick = {"reconnect_base_interval": 0.05, "max_reconnect_interval": 0.2}
    async with subnet(tmp_path, websocket=quick) as (rig, _, theirs):
        reread(rig.validator, tmp_path)
        change(tmp_path / "validator.yaml", websocket={"enabled": False})
        await until(lambda: any(failed.status == 404 for failed in events(theirs, DialFailed)))
        assert any(closed.code == 4200 for closed in events(theirs, ConnectionClosed))
        change(tmp_path / "validator.yaml", websocket={"enabled": True})
        await until(lambda: len(events(theirs, SessionActivated)) == 2)


async def test_a_process_reads_again_at_sighup_and_stops_when_it_is_asked(tmp_path: Path) -> None:
    config = write_configuration(tmp_path)
    with start("validator", config) as process:
        state_dir = load_settings(config).state_dir
        await until((state_dir / "control.sock").exists)
        await until(partial(running, state_dir))
        process.send_signal(signal.SIGHUP)
        await until(lambda: asked(state_dir)["events"].get("settings_reloaded"))
        assert await bettensor("stop", "--config", str(config)) == 0
        assert await asyncio.to_thread(process.wait, 10) == 0
    with pytest.raises(NotRunning):
        ask(state_dir, {"ask": "status"})


@contextmanager
def start(role: str, config: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """A neuron's process, which ends with the block: a test that fails must not wait for it."""
    command = [sys.executable, "-m", "bettensor.neurons", role, "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def asked(state_dir: Path) -> dict[str, Any]:
    return ask(state_dir, {"ask": "status"})


def running(state_dir: Path) -> bool:
    return bool(asked(state_dir)["events"].get("metagraph_synced"))


# --- inside a program of one's own


async def test_signals_and_log_sinks_stay_the_programs_own(tmp_path: Path) -> None:
    def handler(*_: object) -> None:
        raise AssertionError

    lines: list[str] = []
    logger.enable("bettensor")
    sink = logger.add(lambda message: lines.append(str(message)), level="INFO")
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.signal(number, handler) for number in numbers]
    try:
        async with running_validator(tmp_path) as rig, rig.client() as client:
            await client.works()
            assert [signal.getsignal(number) for number in numbers] == [handler] * 3
            hotkey = rig.hotkey
        (line,) = [line for line in lines if "WebSocket connection established with miner" in line]
        assert f" - validator {short(hotkey)}: " in line  # a program with several neurons sees whose line it is
        logger.remove(sink)  # it is still there
    finally:
        logger.disable("bettensor")
        for number, old in zip(numbers, before, strict=True):
            signal.signal(number, old)


# --- variables of the environment


def settings_of(folder: Path, variables: dict[str, str], flags: dict[str, str] | None = None) -> Settings:
    return load_settings(write_configuration(folder), flags, environment=variables | {"PATH": "/bin"})


def test_variables_stand_between_the_file_and_the_flags(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        {
            "BETTENSOR_WEBSOCKET__HEARTBEAT_INTERVAL": "7",
            "BETTENSOR_WEBSOCKET_ENABLED": "false",
            "BETTENSOR_NETUID": "32",
            "BETTENSOR_STATE_DIR": "elsewhere",
        },
        {"netuid": "33"},
    )
    assert (settings.websocket.heartbeat_interval, settings.websocket.enabled) == (7.0, False)
    assert settings.netuid == 33
    assert settings.state_dir == Path("elsewhere")


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("BETTENSOR_NETUIT", "1", "BETTENSOR_NETUIT: netuit: there is no such key; the nearest is 'netuid'"),
        ("BETTENSOR_WEBSOCKET__ENABELD", "1", "the nearest is 'websocket.enabled'"),
        ("BETTENSOR_NETUID", "many", "BETTENSOR_NETUID: netuid: "),
        ("BETTENSOR_NETUID__X", "1", "BETTENSOR_NETUID__X: netuid is not a section"),
        ("BETTENSOR_HANDLERS", "{", "BETTENSOR_HANDLERS: not YAML"),
    ],
)
def test_wrong_variables_are_named(tmp_path: Path, name: str, value: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        settings_of(tmp_path, {name: value})
