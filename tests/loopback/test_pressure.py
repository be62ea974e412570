"""More than a validator can take. Everything taken in is answered, and nobody else notices."""

import asyncio
import contextlib
import json
import resource
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import (
    CommitFailed,
    CommitRequested,
    ConnectionClosed,
    GamesUpdated,
    LineLogged,
    PredictionAccepted,
    PredictionMade,
    PredictionsSaved,
    PredictionsStored,
    PredictionSubmitted,
    ReadingPaused,
    ReadingResumed,
    SaveFailed,
    SendQueueDrained,
    SendQueueFilled,
    SessionActivated,
    UnsignedReceived,
)
from bettensor.bus.messages import MAX_FRAME_BYTES, HeartbeatMessage, PredictionMessage
from bettensor.neurons.cli import ledger_file
from bettensor.neurons.cli.control_client import ask
from bettensor.neurons.cli.ledger_file import backup_ledger, check_ledger, restore_ledger
from bettensor.neurons.edges.ledger import Ledger, LedgerDatabase
from bettensor.neurons.edges.outbox import OutboxDatabase
from bettensor.neurons.edges.writer import FrameWriter
from tests.loopback.rig import (
    ALICE,
    BOB,
    Client,
    Rig,
    running_miner,
    running_validator,
    starting_soon,
    write_configuration,
)
from tests.loopback.test_miner import events, register_miner, until
from tests.loopback.test_operations import bettensor
from tests.support import make_prediction


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second for each commit."""
    store = Ledger._store  # noqa: SLF001 - the disk is below it

    def slowly(self: Ledger, *arguments: Any) -> Any:
        time.sleep(1.0)
        return store(self, *arguments)

    monkeypatch.setattr(Ledger, "_store", slowly)


async def answers(client: Client, count: int) -> dict[str, str]:
    """The codes of so many predictions."""
    codes: dict[str, str] = {}
    while len(codes) < count:
        message = await client.hear()
        if message["message_type"] == "confirmation":
            codes |= {result["prediction_id"]: result["code"] for result in message["results"]}
    return codes


@pytest.mark.usefixtures("slow_disk")
async def test_with_a_slow_disk_a_flood_is_not_read_further_and_all_that_was_taken_is_answered(tmp_path: Path) -> None:
    limits = {"prediction": {"max_unanswered": 200, "daily_wager_limit": 1e9}, "connection": {"burst": 1e6}}
    quick = {"heartbeat_interval": 1.0, "connection_timeout": 4.0}  # more than a busy machine keeps one waiting
    made = [many() for _ in range(30)]
    async with running_validator(tmp_path, actors=limits, websocket=quick) as rig, rig.client() as client:
        async with asyncio.TaskGroup() as group:
            speaking = group.create_task(speak_on(client, made))
            codes = await answers(client, 1800)
            speaking.cancel()
        assert set(codes.values()) == {"accepted"}
        assert len(rig.all(PredictionAccepted)) == 1800
        assert len(rig.all(ReadingPaused)) == len(rig.all(ReadingResumed)) >= 1
        assert most_unanswered(rig) < 1200  # the bound, and what one read from the socket may bring
        assert not rig.all(ConnectionClosed)  # silence while we do not read is not the miner's


async def test_a_whole_outbox_sent_at_once_gets_all_its_verdicts_in_order(tmp_path: Path) -> None:
    """5,000 predictions, far beyond what a hotkey may send at once: they come more slowly, and none is lost."""
    limits = {
        "prediction": {"daily_wager_limit": 1e9},
        "connection": {"predictions_per_second": 1500.0, "prediction_burst": 100.0},
    }
    quick = {"heartbeat_interval": 1.0, "connection_timeout": 4.0}
    outbox = [make_prediction(wager=0.01) for _ in range(5000)]
    async with running_validator(tmp_path, actors=limits, websocket=quick) as rig, rig.client() as client:
        async with asyncio.TaskGroup() as group:
            speaking = group.create_task(
                speak_on(client, [outbox[start : start + 64] for start in range(0, 5000, 64)]),
            )
            codes = await answers(client, 5000)
            speaking.cancel()
        assert list(codes.items()) == [(prediction.prediction_id, "accepted") for prediction in outbox]
        assert {paused.cause for paused in rig.all(ReadingPaused)} == {"work"}
        assert not rig.all(ConnectionClosed)


async def test_junk_of_a_registered_peer_is_recorded_by_its_size(tmp_path: Path) -> None:
    async with running_validator(tmp_path, actors={"connection": {"refusal_burst": 5.0}}) as rig:
        for _ in range(3):
            async with rig.client() as client:
                await client.socket.send("junk" * 15_000)
                code, _, _ = await client.closed()
                assert code == 4001
        recorded = (tmp_path / "state" / "events.jsonl").stat().st_size
        assert [(junk.size, len(junk.beginning)) for junk in rig.all(UnsignedReceived)] == [(60_000, 64)] * 3
        async with rig.client() as client:
            for _ in range(3):
                await client.socket.send(client.sign(client.raw(message_type="telegram")))
            code, _, _ = await client.closed()
            assert code == 4103
    assert recorded < 60_000


def most_unanswered(rig: Rig) -> int:
    """Predictions that were taken in and not answered, when there were most of them."""
    most = now = 0
    for envelope in rig.envelopes:
        if isinstance(envelope.event, PredictionSubmitted):
            now += 1
        elif isinstance(envelope.event, PredictionsStored):
            now -= len(envelope.event.verdicts)
        most = max(most, now)
    return most


@pytest.mark.usefixtures("slow_disk")
async def test_stopped_with_a_slow_disk_it_says_so_and_ends_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bettensor.neurons.validator.Validator.patience", 0.3)
    async with AsyncExitStack() as sockets:
        async with running_validator(tmp_path) as rig:
            client = await sockets.enter_async_context(rig.client())
            for _ in range(3):
                await client.say(PredictionMessage(predictions=tuple(many())))
            await rig.until(CommitRequested)
            closing = asyncio.create_task(client.closed())
        code, _, _ = await closing
    assert code == 4200
    assert len(rig.all(CommitRequested)) == 1  # the one that ran: what waits behind it will be asked again


async def speak_on(client: Client, messages: list[list[Any]]) -> None:
    """As a miner does: its predictions, and then heartbeats, read or not."""
    for predictions in messages:
        await client.say(PredictionMessage(predictions=tuple(predictions)))
        await asyncio.sleep(0)  # one event loop serves both sides
    while True:
        await client.say(HeartbeatMessage())
        await asyncio.sleep(0.1)


async def test_a_disk_that_fails_confirms_nothing_degrades_health_and_work_resumes(tmp_path: Path) -> None:
    """SQLite's own SQLITE_FULL and SQLITE_READONLY, one after the other."""
    async with running_validator(tmp_path) as rig, rig.client() as client:
        await client.works()
        for fault in ("full", "readonly"):
            await on_the_disk(rig, break_disk(fault))
            made = [make_prediction(wager=0.01, model_name="x" * 256) for _ in range(64)]
            await client.say(PredictionMessage(predictions=tuple(made)))
            heard = [await client.hear()]
            while heard[-1]["message_type"] != "error":
                heard.append(await client.hear())
            assert heard[-1]["code"] == "internal", fault
            assert await health(rig) == (503, "degraded")
            await on_the_disk(rig, repair_disk)
            await client.say(PredictionMessage(predictions=tuple(made)))
            assert set((await answers(client, 64)).values()) == {"accepted"}
            assert await health(rig) == (200, "online")
        reasons = " ".join(failed.reason for failed in rig.all(CommitFailed))
        assert "full" in reasons
        assert "readonly" in reasons
        assert any("A commit failed" in line.text for line in rig.all(LineLogged))


async def test_a_miner_whose_disk_is_full_says_so_until_it_has_room(tmp_path: Path) -> None:
    async with running_validator(tmp_path, **register_miner(tmp_path)) as rig, running_miner(rig) as (miner, theirs):
        database = miner.edges[OutboxDatabase]

        async def notices() -> list[str]:
            question = {"ask": "status", "slates": False}
            status = await asyncio.to_thread(ask, miner.settings.state_dir, question)
            return list(status["notices"])

        assert await notices() == []
        await database.run(lambda: break_disk("full")(database.connection))
        while not events(theirs, SaveFailed):
            miner.bus.publish(PredictionMade(rig.hotkey, make_prediction()))
            await asyncio.sleep(0.01)
        told = "the outbox cannot be written, so predictions wait: database or disk is full"
        assert await notices() == [told]
        await database.run(lambda: repair_disk(database.connection))
        saved = len(events(theirs, PredictionsSaved))
        await until(lambda: len(events(theirs, PredictionsSaved)) > saved)
        assert await notices() == []


def break_disk(fault: str) -> Callable[[Any], None]:
    def act(connection: Any) -> None:
        (pages,) = connection.exec_driver_sql("PRAGMA page_count").one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}" if fault == "full" else "PRAGMA query_only = ON")

    return act


def repair_disk(connection: Any) -> None:
    connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    connection.exec_driver_sql("PRAGMA query_only = OFF")


async def on_the_disk(rig: Rig, act: Callable[[Any], None]) -> None:
    database = rig.validator.edges[LedgerDatabase]
    await database.run(lambda: act(database.connection))


async def health(rig: Rig) -> tuple[int, str]:
    async with httpx.AsyncClient(trust_env=False) as http:
        response = await http.get(f"http://{rig.address}/ws/health")
    return response.status_code, response.json()["status"]


# --- slow readers


BIG = {"league": "x" * 250, "sport": "y" * 250}


class Reader:
    """A miner that reads on, whatever comes."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.offset = 0
        self.codes: dict[str, str] = {}
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            message = await self.client.hear()
            if message["message_type"] == "game_update":
                self.offset = message["offset"]
            elif message["message_type"] == "confirmation":
                self.codes |= {result["prediction_id"]: result["code"] for result in message["results"]}

    async def confirmed(self) -> float:
        """Seconds from a push to its confirmation."""
        prediction, begun = make_prediction(wager=0.01), time.perf_counter()
        await self.client.say(PredictionMessage(predictions=(prediction,)))
        await until(lambda: prediction.prediction_id in self.codes)
        assert self.codes[prediction.prediction_id] == "accepted"
        return time.perf_counter() - begun

    def close(self) -> None:
        self._task.cancel()


def session_of(rig: Rig, client: Client) -> Any:
    """The validator's end of a session, where what waits for its reader waits."""
    (connection,) = [event.connection for event in rig.all(SessionActivated) if event.hotkey == client.hotkey]
    return rig.validator.edges[FrameWriter]._transports[connection]  # noqa: SLF001


@asynccontextmanager
async def with_a_stalled_reader(folder: Path, **websocket: Any) -> AsyncIterator[tuple[Rig, Reader, Client]]:
    """Bob reads, and Alice has stopped reading: her socket is full."""
    async with running_validator(folder, websocket=websocket) as rig, rig.client(BOB) as other:
        reader = Reader(other)
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.setblocking(False)
        await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", rig.validator.port))
        stalled = Client(await rig.dial(rig.sign(ALICE), sock=narrow), ALICE)
        await stalled.be_welcomed()
        await stalled.say(HeartbeatMessage())
        await stalled.hear()
        far_end = session_of(rig, stalled).transport.get_extra_info("socket")
        far_end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # the kernel would take megabytes
        stalled.socket.transport.pause_reading()
        yield rig, reader, stalled
        reader.close()
        stalled.socket.transport.abort()


def offer(folder: Path, odds: float) -> None:
    game = starting_soon(team_a_odds=odds, **BIG)
    games = [game | {"game_id": f"game-{i}"} for i in range(300)] + [starting_soon()]
    (folder / "games.json").write_text(json.dumps({"games": games}))


async def move_odds(rig: Rig, folder: Path, times: int) -> None:
    for _ in range(times):
        before = len(rig.all(GamesUpdated))
        offer(folder, 1.5 + before / 100)
        await rig.until(GamesUpdated, before + 1)


async def test_updates_for_a_slow_reader_are_held_back_and_told_in_one(tmp_path: Path) -> None:
    async with with_a_stalled_reader(tmp_path, send_queue_bytes=64 * 1024 * 1024) as (rig, reader, stalled):
        rounds = 0
        while not rig.all(SendQueueFilled):
            await move_odds(rig, tmp_path, 2)
            rounds += 2
            assert rounds < 60
        await move_odds(rig, tmp_path, 5)
        last = rig.all(GamesUpdated)[-1].offset
        stalled.socket.transport.resume_reading()
        await rig.until(SendQueueDrained)
        heard: list[dict[str, Any]] = []
        while not heard or (heard[-1]["offset"], heard[-1]["part"]) != (last, heard[-1]["parts"]):
            heard.append(await stalled.hear())
        jumps = [update for update in heard if update["offset"] - update["previous"] > 1]
        assert jumps, "what was held back came one by one"
        position = heard[0]["previous"]
        for update in heard:
            assert update["previous"] <= position or update["part"] > 1
            position = update["offset"] if update["part"] == update["parts"] else position
        await until(lambda: reader.offset == last)  # who reads got every update
        await stalled.say(PredictionMessage(predictions=(make_prediction(wager=0.01),)))
        assert list((await answers(stalled, 1)).values()) == ["accepted"]
        await reader.confirmed()


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"send_timeout": 0.3, "send_queue_bytes": 64 * 1024 * 1024}, "nothing read for 0.3 s"),
        ({"send_queue_bytes": 65536}, "bytes wait to be read"),
    ],
)
async def test_a_stalled_reader_is_closed_and_the_others_notice_nothing(
    tmp_path: Path, limits: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bettensor.neurons.edges.protocols.CLOSE_TIMEOUT", 1.0)
    async with with_a_stalled_reader(tmp_path, **limits) as (rig, reader, stalled):
        session = session_of(rig, stalled)
        latencies, most = [], 0
        predictions = PredictionMessage(predictions=tuple(many()))
        while not any(event.code == 4101 for event in rig.all(ConnectionClosed)):
            await move_odds(rig, tmp_path, 1)
            await stalled.say(predictions)  # whose confirmations it does not read either
            most = max(most, session.transport.get_write_buffer_size())
            latencies.append(await reader.confirmed())
            assert len(latencies) < 200
        (closed,) = [event for event in rig.all(ConnectionClosed) if event.code == 4101]
        assert reason in closed.reason
        assert most <= limits["send_queue_bytes"] + 3 * MAX_FRAME_BYTES  # two of them are shared frames
        await until(lambda: reader.offset == rig.all(GamesUpdated)[-1].offset)
        usual = []
        for _ in range(5):
            await move_odds(rig, tmp_path, 1)
            usual.append(await reader.confirmed())
        assert median(latencies) < 3 * median(usual) + 0.05  # what it costs the others is lost in the noise


@pytest.mark.parametrize("end", ["a close", "half a connection"])
async def test_a_stalled_reader_that_says_goodbye_keeps_no_memory(tmp_path: Path, end: str) -> None:
    async with with_a_stalled_reader(tmp_path, send_timeout=0.3) as (rig, _, stalled):
        session = session_of(rig, stalled)
        while not rig.all(SendQueueFilled):
            await move_odds(rig, tmp_path, 1)
        if end == "a close":
            stalled.socket.protocol.send_close(1000)
            stalled.socket.send_data()
        else:
            stalled.socket.transport.write_eof()
        await rig.until(ConnectionClosed)
        assert session.transport.get_write_buffer_size() == 0
        assert session.queued() == 0


# --- ledgers on disk


TABLE_LEAF = 0x0D
"""The first byte of a page that holds rows (https://www.sqlite.org/fileformat.html#b_tree_pages)."""


def spoil(file: Path) -> None:
    """Overwrite half of every third page, but for the first ones and the last."""
    with file.open("r+b") as pages:
        for page in range(8, file.stat().st_size // 4096 - 4, 3):
            pages.seek(page * 4096)
            pages.write(b"\x07" * 2048)


async def test_a_ledger_that_is_damaged_while_it_works_confirms_nothing_and_does_not_start_again(
    tmp_path: Path,
) -> None:
    file = tmp_path / "state" / "ledger.sqlite3"
    async with running_validator(tmp_path) as rig, rig.client() as client:
        for _ in range(30):
            await client.predict(*many())

        def damage(connection: Any) -> None:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            spoil(file)
            connection.exec_driver_sql("PRAGMA shrink_memory")

        await on_the_disk(rig, damage)
        confirmed = len(rig.all(PredictionAccepted))
        seen: list[
            tuple[int, str]
        ] = []  # until a message's last commit meets a page that was hit: it may be stored by several
        while len(seen) < 20 and (503, "degraded") not in seen:
            await client.predict(*many())
            seen.append(await health(rig))
        assert seen[-1] == (503, "degraded")
        (failed, *_) = rig.all(CommitFailed)
        assert "malformed" in failed.reason
        assert len(rig.all(PredictionAccepted)) <= confirmed + 20 * 60
    with pytest.raises(ConfigurationError, match=r"(is damaged|cannot be opened as a ledger).*with a backup"):
        async with running_validator(tmp_path):
            pass


def spoil_what_no_start_reads(file: Path) -> None:
    """One page in the middle, of verdicts that are some days old."""
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE predictions SET received_at = received_at - 259200000000")
    leaves = [page for page in range(1, file.stat().st_size // 4096) if file.read_bytes()[page * 4096] == TABLE_LEAF]
    with file.open("r+b") as pages:
        pages.seek(leaves[len(leaves) // 2] * 4096 + 8)
        pages.write(b"\x07" * 1024)


@pytest.mark.parametrize("damage", [spoil, spoil_what_no_start_reads])
async def test_a_ledger_that_is_damaged_is_refused_and_never_overwritten(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    async with running_validator(tmp_path) as rig, rig.client() as client:
        for _ in range(30):
            await client.predict(*many())
    file = tmp_path / "state" / "ledger.sqlite3"
    damage(file)
    content = file.read_bytes()
    with pytest.raises(ConfigurationError, match=r"(is damaged|cannot be opened as a ledger).*with a backup"):
        async with running_validator(tmp_path):
            pass
    assert file.read_bytes() == content


async def test_a_backup_while_the_validator_works_holds_all_that_was_confirmed(tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite3"
    where = ["--state-dir", str(tmp_path / "state")]
    async with running_validator(tmp_path) as rig, rig.client() as client:
        confirmed = [result["prediction_id"] for result in (await client.predict(*many()))["results"]]
        working = asyncio.create_task(work(client))
        assert await bettensor("ledger", "backup", str(copy), *where) == 0
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        assert await bettensor("ledger", "backup", str(copy), *where) == 2  # it is there already
        assert await bettensor("ledger", "restore", str(copy), *where) == 1  # the validator runs
        epoch, ledger_id = client.welcome["epoch"], client.welcome["ledger_id"]
    with sqlite3.connect(copy) as database:
        stored = {row[0] for row in database.execute("SELECT prediction_id FROM predictions")}
    database.close()
    assert stored >= set(confirmed)
    assert await bettensor("ledger", "check", *where) == 0
    assert await bettensor("ledger", "restore", str(copy), *where) == 0
    assert list((tmp_path / "state").glob("ledger.sqlite3.before-*"))
    async with running_validator(tmp_path) as rig, rig.client() as client:
        assert client.welcome["epoch"] != epoch  # miners may have seen what the copy does not know
        assert client.welcome["ledger_id"] != ledger_id  # nor may it know all verdicts
        again = make_prediction(prediction_id=confirmed[0])
        assert (await client.predict(again))["results"][0]["code"] in ("accepted", "conflict")


def forget_as_a_validator_that_is_killed(file: Path) -> None:
    """All predictions; that they are gone stands in the log alone."""
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("DELETE FROM predictions")
        database.commit()
        left = {name: Path(f"{file}{name}").read_bytes() for name in ("", "-wal")}
    for name, content in left.items():
        Path(f"{file}{name}").write_bytes(content)


class Killed(BaseException):
    """As a process that ends there."""


@pytest.mark.parametrize("step", ["hardlink_to", "rename", "replace"])
async def test_whatever_ends_a_restore_there_is_a_ledger(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object) -> None:
        raise Killed

    async with running_validator(tmp_path) as rig, rig.client() as client:
        await client.predict(*many())
    file, copy, keep = tmp_path / "state" / "ledger.sqlite3", tmp_path / "copy.sqlite3", tmp_path / "state" / "kept"
    former = backup_ledger(file, copy)
    forget_as_a_validator_that_is_killed(file)
    with monkeypatch.context() as patched, contextlib.suppress(Killed):
        patched.setattr(Path, step, end)
        restore_ledger(copy, file, keep)
    is_new = step == "rename"  # which a ledger that is whole does not come to
    assert check_ledger(file).predictions == (former.predictions if is_new else 0)
    assert restore_ledger(copy, file, tmp_path / "state" / "kept again").predictions == former.predictions
    assert check_ledger(keep).predictions == 0 if keep.exists() else step == "hardlink_to"


def test_of_a_ledger_that_is_none_all_is_kept(tmp_path: Path) -> None:
    file, keep = tmp_path / "ledger.sqlite3", tmp_path / "kept"
    file.write_bytes(b"no ledger" * 1000)
    Path(f"{file}-wal").write_bytes(b"its log")
    ledger_file._keep(file, keep)  # noqa: SLF001 - the step before a copy takes its name
    assert keep.read_bytes() == file.read_bytes() == b"no ledger" * 1000
    assert Path(f"{keep}-wal").read_bytes() == b"its log"
    assert not Path(f"{file}-wal").exists()


def copies_in(folder: Path) -> list[Path]:
    return list(folder.glob("copy*"))


async def test_a_backup_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running_validator(tmp_path) as rig, rig.client() as client:
        for _ in range(3):
            await client.predict(*many())
    file, copy = tmp_path / "state" / "ledger.sqlite3", tmp_path / "copy.sqlite3"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size - 4096, before[1]))
    try:
        with pytest.raises(ConfigurationError, match=r"copy.sqlite3.* cannot be written"):
            backup_ledger(file, copy)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert copies_in(tmp_path) == []
    assert backup_ledger(file, copy).predictions == 180


def unfinished_in(folder: Path) -> list[Path]:
    return [*folder.rglob("*.unfinished*"), *folder.rglob("*.restoring*"), *folder.glob("copy 2*")]


@pytest.mark.parametrize("step", ["check_ledger", "_copy", "_keep"])
@pytest.mark.parametrize("end", [ConfigurationError, OSError, KeyboardInterrupt])
async def test_neither_backup_nor_restore_leaves_anything_behind_wherever_it_ends(
    tmp_path: Path, step: str, end: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_validator(tmp_path):
        pass
    file, copy, other = tmp_path / "state" / "ledger.sqlite3", tmp_path / "copy.sqlite3", tmp_path / "copy 2.sqlite3"
    backup_ledger(file, copy)
    real = getattr(ledger_file, step)

    def fail(*files: Path) -> Any:
        done = real(*files)
        if any(part.suffix in (".unfinished", ".restoring") for part in files) or step == "_keep":
            raise end("it ends here")
        return done

    monkeypatch.setattr(ledger_file, step, fail)
    if step != "_keep":
        with pytest.raises((ConfigurationError, KeyboardInterrupt)):
            backup_ledger(file, other)
    if step != "check_ledger":
        with pytest.raises((ConfigurationError, KeyboardInterrupt)):
            restore_ledger(copy, file, tmp_path / "state" / "kept")
    assert unfinished_in(tmp_path) == []


def many() -> list[Any]:
    return [make_prediction(wager=0.01) for _ in range(60)]


async def work(client: Client) -> None:
    while True:
        await client.predict(*many())


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [(["check"], "there is no such file"), (["backup", "x.sqlite3"], "there is no such file")],
)
async def test_a_ledger_that_is_not_there_is_told(
    tmp_path: Path, arguments: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_configuration(tmp_path)
    assert await bettensor("ledger", *arguments, "--state-dir", str(tmp_path)) == 2
    assert fault in capsys.readouterr().err
    (tmp_path / "ledger.sqlite3").write_bytes(b"no ledger" * 1000)
    assert await bettensor("ledger", "check", "--state-dir", str(tmp_path)) == 2
    assert "is not a ledger, or it is damaged" in capsys.readouterr().err
