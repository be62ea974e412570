"""A real miner and a real validator: they find each other, and what they decided can be decided again."""

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from bittensor_core import Keypair
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from bettensor.actors.actor import Actor
from bettensor.bus.bus import EventBus
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import (
    BroadcastWritten,
    ConnectionClosed,
    DialFailed,
    EdgeFailed,
    Event,
    FallbackChosen,
    FeedFailed,
    FrameWritten,
    GamesUpdated,
    HandlerFailed,
    LineLogged,
    MessageAccepted,
    NeuronFailed,
    OutboxOpened,
    PostFailed,
    PredictionAccepted,
    PredictionMade,
    ReconnectScheduled,
    SendFailed,
    SessionActivated,
    VerdictReceived,
)
from bettensor.bus.identifiers import SECOND, Hotkey, Micros
from bettensor.bus.messages import ErrorMessage, HeartbeatMessage
from bettensor.bus.replay import replay
from bettensor.neurons.composition import build_actors
from bettensor.neurons.config.settings import Settings
from bettensor.neurons.edges.wallets import new_wallet
from tests.loopback.rig import (
    ALICE,
    BOB,
    PATIENCE,
    Client,
    running_miner,
    running_validator,
    starting_soon,
    write,
    write_configuration,
)
from tests.support import make_game, make_prediction

BETS = {"predictor": {"edge": 3.0, "seed": 1}, "model": {"interval": 0.05}}


def register_miner(folder: Path) -> dict[str, Any]:
    """The miner's wallet; returns the metagraph with it."""
    write_configuration(folder)
    validator = (folder / "hotkey").read_text()
    miner = new_wallet("test", "miner", str(folder / "wallets"), "ed25519")
    (folder / "miner-hotkey").write_text(miner)
    neurons = [
        {"hotkey": validator, "validator_permit": True},
        {"hotkey": ALICE.ss58_address},
        {"hotkey": BOB.ss58_address, "crypto": "ed25519"},
        {"hotkey": miner, "crypto": "ed25519"},
    ]
    write(folder / "with-miner.yaml", {"neurons": neurons})
    return {"metagraph": {"static": "with-miner.yaml"}}


def events(envelopes: list[Envelope], kind: type[Event]) -> list[Any]:
    return [envelope.event for envelope in envelopes if isinstance(envelope.event, kind)]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the record has no event
            await asyncio.sleep(0.005)


def assert_replays(settings: Settings, envelopes: list[Envelope]) -> None:
    """The observed events of a run lead to every decided one again."""

    def build(bus: EventBus) -> None:
        actors: list[Actor] = build_actors(settings)
        for actor in actors:
            actor.attach(bus)

    assert replay(envelopes, build) is None


async def test_a_miner_predicts_and_is_confirmed_and_both_sides_replay(tmp_path: Path) -> None:
    registered = register_miner(tmp_path)
    async with running_validator(tmp_path, **registered) as rig:
        async with running_miner(rig, actors=BETS) as (miner, theirs):
            await until(lambda: len(events(theirs, VerdictReceived)) >= 5)
            settings = miner.settings
        made, verdicts = events(theirs, PredictionMade), events(theirs, VerdictReceived)
        assert {v.prediction.prediction_id for v in verdicts} == {m.prediction.prediction_id for m in made}
        assert {v.code for v in verdicts} == {"accepted"}
        async with rig.client() as client:  # and something less polite
            await client.works()
            await client.say(ErrorMessage(code="x", message="y"))
            await client.predict(make_prediction(team_a="Boston"))
            await client.socket.send("nonsense")
            await client.closed()
        await rig.refusal({})
        await until(lambda: len(rig.all(ConnectionClosed)) >= 3)
    assert len(rig.all(PredictionAccepted)) == len(verdicts) + 1
    assert_replays(rig.validator.settings, rig.envelopes)
    assert_replays(settings, theirs)


async def test_a_tampered_recording_does_not_replay(tmp_path: Path) -> None:
    async with running_validator(tmp_path) as rig, rig.client() as client:
        await client.works()
    spoiled = [
        envelope._replace(at=Micros(envelope.at + 10**12)) if isinstance(envelope.event, MessageAccepted) else envelope
        for envelope in rig.envelopes
    ]
    with pytest.raises(AssertionError):
        assert_replays(rig.validator.settings, spoiled)


async def test_predictions_made_while_the_validator_is_away_are_confirmed_when_it_is_back(tmp_path: Path) -> None:
    registered = register_miner(tmp_path)
    quick = {"reconnect_base_interval": 0.05, "max_reconnect_interval": 0.2}
    async with running_validator(tmp_path, **registered) as rig:
        port = rig.validator.port
        manager = running_miner(rig, actors=BETS, websocket=quick)
        miner, theirs = await manager.__aenter__()
        await until(lambda: events(theirs, VerdictReceived))
    made_before = len(events(theirs, PredictionMade))
    await until(lambda: events(theirs, DialFailed) and len(events(theirs, PredictionMade)) > made_before)
    assert events(theirs, ReconnectScheduled)
    async with running_validator(tmp_path, **registered, axon={"ip": "127.0.0.1", "port": port}):
        await until(lambda: len(events(theirs, SessionActivated)) >= 2)
        waiting = {m.prediction.prediction_id for m in events(theirs, PredictionMade)}
        await until(lambda: waiting <= {v.prediction.prediction_id for v in events(theirs, VerdictReceived)})
        await manager.__aexit__(None, None, None)
    assert events(theirs, SendFailed)
    assert events(theirs, FallbackChosen)
    assert_replays(miner.settings, theirs)


async def test_a_validator_that_hangs_delays_no_other(tmp_path: Path) -> None:
    registered = register_miner(tmp_path)
    hanging = Hotkey(ALICE.ss58_address)

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    async with running_validator(tmp_path, **registered) as rig:
        neurons = [
            {"hotkey": hanging, "validator_permit": True, "axon": f"127.0.0.1:{server.sockets[0].getsockname()[1]}"},
            {"hotkey": rig.hotkey, "validator_permit": True, "axon": rig.address},
        ]
        write(tmp_path / "two.yaml", {"neurons": neurons})
        manager = running_miner(rig, actors=BETS, metagraph={"static": "two.yaml"})
        async with manager as (miner, theirs):
            await until(lambda: events(theirs, VerdictReceived))
            for _ in range(200):
                miner.bus.publish(PredictionMade(hanging, make_prediction()))
            before = len(events(theirs, VerdictReceived))
            await until(lambda: len(events(theirs, VerdictReceived)) >= before + 20)
            assert max(verdict.latency for verdict in events(theirs, VerdictReceived)) < 5 * SECOND
            assert not any(verdict.validator == hanging for verdict in events(theirs, VerdictReceived))
    server.close()
    async with running_validator(tmp_path, **registered) as rig, running_miner(rig) as (_, theirs):
        (opened,) = events(theirs, OutboxOpened)
        assert len(opened.entries) == 200  # and they wait on


async def test_a_validator_that_is_somebody_else_is_not_believed(tmp_path: Path) -> None:
    registered = register_miner(tmp_path)
    said: list[str | bytes] = []

    async def impostor(socket: ServerConnection) -> None:
        await socket.send('{"message_type":"welcome"}\n0x' + "00" * 64)
        said.extend([message async for message in socket])

    server = await serve(impostor, "127.0.0.1", 0, subprotocols=["bettensor.v1"])  # type: ignore[list-item]
    port = server.sockets[0].getsockname()[1]
    async with running_validator(tmp_path, **registered) as rig:
        rig.elsewhere = port  # where the metagraph says that the validator is
        async with running_miner(rig, actors=BETS) as (_, theirs):
            await until(lambda: events(theirs, ConnectionClosed))
    server.close()
    await server.wait_closed()
    assert events(theirs, ConnectionClosed)[0].code == 4000
    assert said == []
    assert not events(theirs, SessionActivated)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (503, b'{"error": "over_capacity", "message": "full", "server_time": ""}', "503 over_capacity: full"),
        (503, b"<html>", "503"),
        (502, b"[]", "502"),
    ],
)
async def test_refusals_are_read_as_far_as_they_can_be(tmp_path: Path, status: int, body: bytes, reason: str) -> None:
    registered = register_miner(tmp_path)

    def refuse(connection: ServerConnection, _: Request) -> Response:
        response = connection.respond(status, "")
        response.headers["Retry-After"] = "7"
        response.body = body
        response.headers.clear()
        response.headers["Content-Length"] = str(len(body))
        response.headers["Retry-After"] = "7"
        return response

    async def never(_: ServerConnection) -> None:
        raise AssertionError

    server = await serve(never, "127.0.0.1", 0, process_request=refuse)
    async with running_validator(tmp_path, **registered) as rig:
        rig.elsewhere = server.sockets[0].getsockname()[1]
        async with running_miner(rig, actors=BETS) as (_, theirs):
            await until(lambda: events(theirs, ReconnectScheduled))
    server.close()
    await server.wait_closed()
    failed = events(theirs, DialFailed)[0]
    assert (failed.status, failed.retry_after) == (status, 7)
    assert reason in failed.reason


async def test_a_start_that_fails_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_parts.py").write_text(
        """
import asyncio

from bettensor.neurons.models.kelly import KellyPredictor

def hear(event):
    pass

class Restless(KellyPredictor):
    async def run(self, host):
        await asyncio.sleep(3600)
"""
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registered = register_miner(tmp_path)
    async with running_validator(tmp_path, **registered) as rig:
        (tmp_path / "miner-state").mkdir()
        (tmp_path / "miner-state" / "outbox.sqlite3").write_text("no database" * 1000)
        before = asyncio.all_tasks()
        with pytest.raises(ConfigurationError, match=r"outbox\.sqlite3"):
            async with running_miner(
                rig, actors={"predictor": {"class": "my_parts:Restless"}}, handlers={"*": ["my_parts:hear"]}
            ):
                pass
        assert [task.get_name() for task in asyncio.all_tasks() - before] == []
        assert [thread.name for thread in threading.enumerate() if "my_parts" in thread.name] == []


async def test_handlers_of_the_yaml_hear_and_cannot_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_subnet_handlers.py").write_text(
        "heard = []\n"
        "def on_prediction(event):\n    heard.append(event.prediction.prediction_id)\n"
        "async def broken(event, envelope):\n    raise RuntimeError('mine')\n"
    )
    monkeypatch.chdir(tmp_path)
    handlers = {"prediction_accepted": ["my_subnet_handlers:on_prediction", "my_subnet_handlers:broken"]}
    async with running_validator(tmp_path, handlers=handlers) as rig, rig.client() as client:
        await client.works()
        await client.works()
        await rig.until(HandlerFailed, 2)
    import my_subnet_handlers  # type: ignore[import-not-found]

    assert my_subnet_handlers.heard == [e.prediction.prediction_id for e in rig.all(PredictionAccepted)]


async def test_the_example_keeps_a_leaderboard(tmp_path: Path) -> None:
    from examples import leaderboard

    handlers = {"prediction_accepted": ["examples.leaderboard:on_prediction_accepted"]}
    async with running_validator(tmp_path, handlers=handlers) as rig, rig.client() as client:
        await client.works()
        await client.works()
        await until(lambda: leaderboard.accepted[client.hotkey] == 2)
    assert not rig.all(HandlerFailed)


async def test_an_actor_of_ones_own_takes_the_place_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_subnet_actors.py").write_text(
        "from dataclasses import dataclass\n"
        "from bettensor.actors.validator.prediction import PredictionActor, PredictionSettings\n"
        "@dataclass(frozen=True, slots=True, kw_only=True)\n"
        "class Settings(PredictionSettings):\n    favourite: str = ''\n"
        "class Strict(PredictionActor):\n    Settings = Settings\n"
    )
    monkeypatch.chdir(tmp_path)
    section = {"class": "my_subnet_actors:Strict", "favourite": "Mets", "daily_wager_limit": 5}
    async with running_validator(tmp_path, actors={"prediction": section}) as rig, rig.client() as client:
        (result,) = (await client.predict(make_prediction(wager=6.0)))["results"]
        assert result["code"] == "daily_limit_exceeded"
    assert rig.game() == make_game()
    assert not rig.all(FeedFailed)


async def test_a_change_of_the_games_reaches_every_miner_and_its_model(tmp_path: Path) -> None:
    registered = register_miner(tmp_path)
    async with running_validator(tmp_path, **registered) as rig, rig.client() as client:
        async with running_miner(rig, actors={"predictor": {"edge": 3.0, "seed": 1}, "model": {"interval": 3600}}) as (
            _,
            theirs,
        ):
            await until(lambda: events(theirs, VerdictReceived))
            games = [starting_soon(), starting_soon(game_id="another", team_a="Cubs", team_b="Padres")]
            (tmp_path / "games.json").write_text(json.dumps({"games": games}))
            update = await client.hear()
            assert (update["message_type"], update["previous"], update["offset"]) == ("game_update", 1, 2)
            assert list(update["updated_games"]) == ["another"]
            await until(lambda: any(v.prediction.game_id == "another" for v in events(theirs, VerdictReceived)))
        (written,) = rig.all(BroadcastWritten)
        assert written.count == 2
        assert "Broadcasting game updates to connected miners" in [line.text for line in rig.all(LineLogged)]
        missed = f"{rig.target()}&epoch={update['epoch']}&offset=1"
        socket = await rig.dial(rig.sign(path=missed), missed)
        async with socket:
            again = Client(socket, ALICE)
            await again.be_welcomed()
            assert again.welcome["recovered"] is True
            await again.say(HeartbeatMessage())
            assert await again.hear() == update  # the same bytes, signed once
        async with rig.client(BOB) as snapshot:
            assert snapshot.welcome["recovered"] is False


async def test_an_update_reaches_256_miners(tmp_path: Path) -> None:
    keypairs = [Keypair.create_from_uri(f"//Miner{i}") for i in range(256)]
    write_configuration(tmp_path)
    neurons = [{"hotkey": (tmp_path / "hotkey").read_text()}, *({"hotkey": key.ss58_address} for key in keypairs)]
    write(tmp_path / "many.yaml", {"neurons": neurons})
    games = {"source": "random", "interval": 0.5, "seed": 1, "path": "games.json"}
    validator = running_validator(tmp_path, metagraph={"static": "many.yaml"}, games=games)
    async with validator as rig, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(rig.client(keypair)) for keypair in keypairs]
        updates = await asyncio.gather(*(client.hear() for client in clients))
        await until(lambda: any(written.count == 256 for written in rig.all(BroadcastWritten)))
    assert {update["message_type"] for update in updates} == {"game_update"}


async def test_the_slate_by_http_brings_up_to_date_too(tmp_path: Path) -> None:
    games = {"source": "random", "interval": 0.05, "seed": 1, "path": "games.json"}
    async with running_validator(tmp_path, games=games) as rig:
        await rig.until(GamesUpdated, 3)
        async with httpx.AsyncClient(trust_env=False) as http:
            epoch = rig.all(GamesUpdated)[0].epoch
            target = f"{rig.target('/games')}&epoch={epoch}&offset=1"
            response = await http.get(f"http://{rig.address}{target}", headers=rig.sign(path=target))
    welcome, *rest = [json.loads(line) for line in response.text.splitlines()[::2]]
    assert welcome["recovered"] is True
    assert [update["previous"] for update in rest] == list(range(1, welcome["offset"]))


@pytest.mark.parametrize("where", ["on the miner", "on the validator"])
async def test_with_the_websocket_disabled_everything_works_by_http(tmp_path: Path, where: str) -> None:
    registered = register_miner(tmp_path)
    disabled = {"websocket": {"enabled": False}}
    on_miner, on_validator = (disabled, {}) if where == "on the miner" else ({}, disabled)
    changes: dict[str, Any] = {"actors": BETS} | on_miner
    validator = running_validator(tmp_path, **registered, **on_validator)
    async with validator as rig, running_miner(rig, **changes) as (miner, theirs):
        await until(lambda: len(events(theirs, VerdictReceived)) >= 5)
    assert_replays(miner.settings, theirs)
    assert_replays(rig.validator.settings, rig.envelopes)
    assert {v.code for v in events(theirs, VerdictReceived)} == {"accepted"}
    assert {w.road for w in events(theirs, FrameWritten)} == {"http"}
    assert not events(theirs, SessionActivated)
    assert any("via HTTP" in line.text for line in events(theirs, LineLogged) if "Pushed prediction" in line.text)
    assert any("via HTTP" in line.text for line in rig.all(LineLogged) if "Sent confirmation" in line.text)


async def test_http_without_a_validator_fails_and_backs_off(tmp_path: Path) -> None:
    registered = register_miner(tmp_path)
    async with running_validator(tmp_path, **registered) as rig:
        rig.elsewhere = 1  # nobody listens there
        async with running_miner(rig, actors=BETS, websocket={"enabled": False}) as (_, theirs):
            await until(lambda: events(theirs, PostFailed))
    failed = events(theirs, PostFailed)[0]
    assert failed.status is None
    assert "127.0.0.1:1" in failed.reason
    assert not events(theirs, FrameWritten)  # nothing has left this machine, and the log does not say so


async def test_a_handshake_that_is_cut_off_is_a_failed_dial_and_not_the_end_of_dialling(tmp_path: Path) -> None:
    registered = register_miner(tmp_path)

    def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    quick = {"reconnect_base_interval": 0.001, "max_reconnect_interval": 0.002}
    async with running_validator(tmp_path, **registered) as rig:
        rig.elsewhere = server.sockets[0].getsockname()[1]
        async with running_miner(rig, actors=BETS, websocket=quick) as (_, theirs):
            await until(lambda: len(events(theirs, DialFailed)) >= 100)
    server.close()
    await server.wait_closed()
    assert not events(theirs, EdgeFailed)


async def test_a_task_of_an_edge_that_fails_stops_the_neuron(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    registered = register_miner(tmp_path)
    async with running_validator(tmp_path, **registered) as rig:
        monkeypatch.setattr("bettensor.neurons.edges.dialer._Handshake", broken)
        async with running_miner(rig) as (_, theirs):
            await until(lambda: events(theirs, NeuronFailed))
    (failed,) = events(theirs, NeuronFailed)
    assert "dialer failed (dial to" in failed.reason
    assert "RuntimeError: a bug" in failed.reason


async def test_http_that_answers_something_else_is_a_failure(tmp_path: Path) -> None:
    registered = register_miner(tmp_path)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Busy\r\nRetry-After: 9\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with running_validator(tmp_path, **registered) as rig:
        rig.elsewhere = server.sockets[0].getsockname()[1]
        async with running_miner(rig, actors=BETS, websocket={"enabled": False}) as (_, theirs):
            await until(lambda: events(theirs, PostFailed))
    server.close()
    await server.wait_closed()
    failed = events(theirs, PostFailed)[0]
    assert (failed.status, failed.retry_after) == (503, 9)
    assert failed.reason.endswith("503 busy")
