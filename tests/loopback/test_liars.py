"""Peers that lie. The honest side keeps its state right, and says what it saw."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from bittensor_core import Keypair
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import WebSocketException

from bettensor.bus import codec
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    ConnectionClosed,
    Event,
    FrameReceived,
    GamesRequested,
    GamesUpdated,
    LineLogged,
    MessageAccepted,
    PeerMisbehaved,
    PredictionAccepted,
    PredictionConflicted,
    ReconnectScheduled,
    SessionActivated,
    UpdateMissed,
    VerdictReceived,
)
from bettensor.bus.identifiers import Epoch, Hotkey, LedgerId, MessageId, Netuid, Offset
from bettensor.bus.messages import (
    ConfirmationMessage,
    GameUpdateMessage,
    HeartbeatMessage,
    Limits,
    PredictionResult,
    WelcomeMessage,
    session_id,
)
from bettensor.neurons.edges.wallets import new_wallet
from tests.loopback.rig import ALICE, BOB, CHARLIE, Client, Place, running_miner, running_validator, write
from tests.loopback.test_frames import message
from tests.loopback.test_miner import BETS, events, until
from tests.support import NETUID, make_game, make_hex32, make_prediction, rfc3339_from_now

EPOCH = Epoch("e" * 32)


class Liar(Client):
    """The validator's side of a session, frame by frame; its words are its own, and its signatures are good."""

    async def welcome_miner(self, ledger_id: str = "1" * 32) -> None:
        """The handshake, as it should be; then a slate of one game."""
        assert self.socket.request is not None
        headers = self.socket.request.headers
        challenge, miner = headers["x-bittensor-nonce"], Hotkey(headers["x-bittensor-hotkey"])
        salt = make_hex32()
        self.session = session_id(NETUID, self.hotkey, miner, challenge, salt)
        welcome = WelcomeMessage(
            receiver_hotkey=miner,
            challenge=challenge,
            salt=salt,
            netuid=Netuid(NETUID),
            ledger_id=LedgerId(ledger_id),
            heartbeat_interval=60.0,
            connection_timeout=300.0,
            epoch=EPOCH,
            offset=Offset(5),
            recovered=False,
            limits=Limits(frame_bytes=65536, predictions_per_message=64, messages_per_second=1e3, burst=2e3),
        )
        await self.say(welcome)
        assert (await self.hear(heartbeats=True))["message_type"] == "heartbeat"

    async def tell(self, offset: int, previous: int | None, **changes: Any) -> None:
        """A game update, whatever its place."""
        game = make_game(event_start_date=rfc3339_from_now(3600), **changes)
        message = GameUpdateMessage(
            netuid=NETUID,
            epoch=EPOCH,
            offset=Offset(offset),
            previous=None if previous is None else Offset(previous),
            updated_games={game.game_id: game},
            part=1,
            parts=1,
        )
        stamped = codec.stamp(message, message_id=MessageId(make_hex32()), sender=self.hotkey, timestamp="")
        await self.socket.send(self.sign(codec.encode(stamped)))

    async def confirm(self, prediction_id: str, code: str, **changes: Any) -> None:
        result: Any = {"prediction_id": prediction_id, "about": "a" * 32, "code": code, "message": ""}
        verdict = PredictionResult(success=code == "accepted", **result)
        await self.say(ConfirmationMessage(results=(verdict,)), **changes)

    async def asked(self) -> str:
        """The id of the next prediction that the miner sends."""
        while (said := await self.hear())["message_type"] != "prediction":
            pass
        prediction_id: str = said["predictions"][0]["prediction_id"]
        return prediction_id


Script = Callable[[Liar], Coroutine[None, None, None]]


@asynccontextmanager
async def speaking(folder: Path, keypair: Keypair, *scripts: Script) -> AsyncIterator[Place]:
    """A validator that follows one script in each session; yields where it listens."""
    left, failures = list(scripts), []

    async def speak(socket: ServerConnection) -> None:
        if not left:
            await socket.wait_closed()
            return
        script = left.pop(0)
        try:
            await script(Liar(socket, keypair))
            await socket.wait_closed()
        except AssertionError as error:
            failures.append(error)

    server = await serve(speak, "127.0.0.1", 0, subprotocols=["bettensor.v1"])  # type: ignore[list-item]
    yield Place(folder, Hotkey(keypair.ss58_address), f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    server.close()
    await server.wait_closed()
    assert not failures


@asynccontextmanager
async def lied_to(folder: Path, *scripts: Script) -> AsyncIterator[list[Envelope]]:
    """A real miner with a validator that follows one script in each session."""
    new_wallet("test", "miner", str(folder / "wallets"), "sr25519")
    quick = {"reconnect_base_interval": 0.05, "max_reconnect_interval": 0.1}
    async with (
        speaking(folder, ALICE, *scripts) as place,
        running_miner(place, actors=BETS, websocket=quick) as (_, envelopes),
    ):
        yield envelopes


def faults(envelopes: list[Envelope]) -> list[str]:
    return [lie.fault for lie in events(envelopes, PeerMisbehaved)]


async def test_verdicts_on_nothing_and_verdicts_that_change(tmp_path: Path) -> None:
    asked: list[str] = []

    async def lie(validator: Liar) -> None:
        await validator.welcome_miner()
        await validator.tell(5, None)
        prediction_id = await validator.asked()
        asked.append(prediction_id)
        await validator.confirm("never-sent", "accepted")
        await validator.confirm(prediction_id, "accepted")
        await validator.confirm(prediction_id, "game_started")

    async with lied_to(tmp_path, lie) as envelopes:
        await until(lambda: len(faults(envelopes)) == 2)
        unasked, changed = faults(envelopes)
        assert "never-sent, which it was never sent" in unasked
        assert f"a second verdict (game_started) on {asked[0]}; the first counts: accepted" in changed
        verdicts = [v for v in events(envelopes, VerdictReceived) if v.prediction.prediction_id == asked[0]]
        assert [verdict.code for verdict in verdicts] == ["accepted"]
        assert any("sent something no honest neuron sends" in line.text for line in events(envelopes, LineLogged))


async def test_an_answer_for_another_session_ends_this_one_and_the_next_is_believed(tmp_path: Path) -> None:
    async def lie(validator: Liar) -> None:
        await validator.welcome_miner()
        await validator.tell(5, None)
        await validator.confirm(await validator.asked(), "accepted", session="f" * 32)

    async def be_honest(validator: Liar) -> None:
        await validator.welcome_miner()
        await validator.confirm(await validator.asked(), "accepted")

    async with lied_to(tmp_path, lie, be_honest) as envelopes:
        await until(lambda: events(envelopes, VerdictReceived))
        (closed, *_) = events(envelopes, ConnectionClosed)
        assert (closed.code, "another session" in closed.reason) == (4000, True)
        sessions = events(envelopes, SessionActivated)
        assert len(sessions) == 2
        accepted = [e for e in events(envelopes, MessageAccepted) if isinstance(e.message, ConfirmationMessage)]
        assert {message.connection for message in accepted} == {sessions[1].connection}


async def test_a_stream_that_goes_backwards_or_skips_leaves_the_slate_as_it_is(tmp_path: Path) -> None:
    async def lie(validator: Liar) -> None:
        await validator.welcome_miner()
        await validator.tell(5, None, team_a_odds=1.5)
        await validator.tell(6, 5, team_a_odds=1.6)
        await validator.tell(2, None, team_a_odds=9.9)  # an older snapshot
        await validator.tell(5, 4, team_a_odds=9.9)  # an older update
        await validator.tell(9, 8, team_a_odds=9.9)  # follows what never came
        await validator.tell(7, 6, team_a_odds=1.7)

    async with lied_to(tmp_path, lie) as envelopes:
        await until(lambda: len(events(envelopes, GamesUpdated)) == 3)
        told = [(event.offset, event.games[0].team_a_odds) for event in events(envelopes, GamesUpdated)]
        assert told == [(5, 1.5), (6, 1.6), (7, 1.7)]
        assert faults(envelopes) == [
            "an update to offset 2 after an update to offset 6",
            "an update to offset 7 after an update to offset 9",
        ]


async def test_a_ledger_that_is_exchanged_is_told_of(tmp_path: Path) -> None:
    async def be_honest(validator: Liar) -> None:
        await validator.welcome_miner(ledger_id="1" * 32)
        await validator.socket.close(4200)

    async def forget(validator: Liar) -> None:
        await validator.welcome_miner(ledger_id="2" * 32)

    async with lied_to(tmp_path, be_honest, forget) as envelopes:
        await until(lambda: any("a different ledger than before" in e.text for e in events(envelopes, LineLogged)))


def snapshots(count: int) -> list[str]:
    """Frames of Alice's, each as large as may be, one snapshot after the other."""
    liar, frames = Client(cast(Any, None), ALICE), []
    for number in range(count):
        games = [make_game(f"game-{n}", event_start_date=rfc3339_from_now(3600), sport="x" * 200) for n in range(100)]
        message = GameUpdateMessage(
            netuid=NETUID, epoch=EPOCH, offset=Offset(5 + number), updated_games={game.game_id: game for game in games}
        )
        stamped = codec.stamp(message, message_id=MessageId(make_hex32()), sender=liar.hotkey, timestamp="")
        frames.append(liar.sign(codec.encode(stamped)))
    return frames


async def test_a_validator_that_floods_is_slowed_and_cut_off_and_the_others_give_verdicts_meanwhile(
    tmp_path: Path,
) -> None:
    flood, asked = snapshots(100), asyncio.Event()  # 3 MB

    async def pour(validator: Liar) -> None:
        await validator.welcome_miner()
        await asked.wait()
        with contextlib.suppress(WebSocketException):
            for frame in flood:
                await validator.socket.send(frame)

    async def be_honest(validator: Liar) -> None:
        await validator.welcome_miner()
        for offset in range(5, 10):
            await validator.tell(offset, None if offset == 5 else offset - 1, team_a_odds=1.5 + offset / 100)
            prediction_id = await validator.asked()
            asked.set()
            await validator.confirm(prediction_id, "accepted")

    bounds = {"bytes_per_second": 200_000.0, "burst_bytes": 100_000, "patience": 2.0}
    models = {"predictor": {"edge": 3.0, "seed": 1}, "model": {"interval": 0.05, "min_interval": 0.01}}
    async with speaking(tmp_path, ALICE, pour) as liar, speaking(tmp_path, CHARLIE, be_honest) as honest:
        neurons = [
            {"hotkey": place.hotkey, "validator_permit": True, "axon": place.address} for place in (liar, honest)
        ]
        write(tmp_path / "both.yaml", {"neurons": neurons})
        new_wallet("test", "miner", str(tmp_path / "wallets"), "sr25519")
        chosen: dict[str, Any] = {"metagraph": {"static": "both.yaml"}, "actors": models, "intake": bounds}
        async with running_miner(honest, **chosen) as (_, envelopes):
            await until(lambda: len(events(envelopes, VerdictReceived)) == 5)
            (session,) = [e.connection for e in events(envelopes, SessionActivated) if e.hotkey == liar.hotkey]
            read = sum(event.connection == session for event in events(envelopes, FrameReceived))
            assert read < len(flood) / 2
            await until(lambda: [e for e in events(envelopes, ConnectionClosed) if e.connection == session])
            (closed,) = [e for e in events(envelopes, ConnectionClosed) if e.connection == session]
            assert (closed.code, closed.reason) == (4103, "more than 0.2 MB a second for 2 s")
            (waits,) = [e for e in events(envelopes, ReconnectScheduled) if e.hotkey == liar.hotkey]
            assert waits.reason.startswith("closed with 4103")


async def test_offsets_that_nobody_has_are_not_asked_for_again_and_again(tmp_path: Path) -> None:
    async def claim(validator: Liar) -> None:
        await validator.welcome_miner()
        await validator.tell(5, None)
        await validator.asked()
        for offset in range(6, 206):
            await validator.say(HeartbeatMessage(epoch=EPOCH, offset=Offset(offset)))

    async with lied_to(tmp_path, claim) as envelopes:
        await until(lambda: len(events(envelopes, UpdateMissed)) == 200)
        assert len(events(envelopes, GamesRequested)) <= 3


# --- lying miners


async def test_ids_that_are_used_again_with_other_content_change_nothing(tmp_path: Path) -> None:
    async with running_validator(tmp_path) as rig, rig.client() as client, rig.client(BOB) as other:
        first = make_prediction(prediction_id="mine", wager=1.0)
        again = make_prediction(prediction_id="mine", wager=2.0)
        assert [r["code"] for r in (await client.predict(first))["results"]] == ["accepted"]
        # in one message, in the next, by HTTP, and for another miner
        codes = [result["code"] for _ in range(2) for result in (await client.predict(again))["results"]]
        assert codes == ["conflict", "conflict"]
        response = await rig.post(message(again))
        assert '"code":"conflict"' in response.text
        assert [r["code"] for r in (await other.predict(again))["results"]] == ["accepted"]
        (mine, theirs) = rig.all(PredictionAccepted)
        assert (mine.prediction.wager, theirs.prediction.wager) == (1.0, 2.0)
        conflicts: list[Event] = rig.all(PredictionConflicted)
        assert len(conflicts) == 3
        stats = (await client.predict(first))["miner_stats"]
        assert stats["wagered_today"] == 1.0


async def test_who_floods_is_limited_and_nobody_else_notices(tmp_path: Path) -> None:
    limits = {"connection": {"messages_per_second": 10.0, "burst": 50.0}}
    async with running_validator(tmp_path, actors=limits) as rig, rig.client() as flooder, rig.client(BOB) as other:
        frames = [flooder.frame(HeartbeatMessage()) for _ in range(300)]  # signed before, however slow
        flood = asyncio.create_task(_flood(flooder, frames))
        for _ in range(20):
            await other.works()
        code, _, said = await flooder.closed()
        await flood
        assert code == 4103
        assert Counter(message.get("code") for message in said)["rate_limited"] >= 1
        await other.works()
        assert len(rig.all(PredictionAccepted)) == 21


async def _flood(client: Client, frames: list[str]) -> None:
    with contextlib.suppress(WebSocketException):  # it is closed long before the last one
        for frame in frames:
            await client.socket.send(frame)
            await asyncio.sleep(0)  # send does not wait while there is room, and one event loop serves all sides
