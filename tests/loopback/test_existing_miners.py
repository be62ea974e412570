"""A real validator asks existing miners over real sockets, good and bad ones together."""

import asyncio
import gzip
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus import synapse
from bettensor.bus.events import (
    AxonConfirmed,
    AxonFailed,
    AxonQueryRequested,
    LineLogged,
    SettingsReloaded,
    StatusReported,
    StatusRequested,
)
from bettensor.bus.identifiers import Uid
from tests.loopback.existing import (
    ExistingMiner,
    Serve,
    TimedMiner,
    crumble,
    drip,
    drip_head,
    forms,
    hang,
    leave,
    packed,
    pour,
    pour_headers,
    pour_hints,
    read_request,
    saying,
    serving,
    speak_otherwise,
)
from tests.loopback.processes import NeuronProcess
from tests.loopback.rig import ALICE, PATIENCE, Rig, running_validator, write, write_configuration
from tests.loopback.test_operations import change, reread
from tests.support import make_game, make_prediction


def write_asking(folder: Path, *neurons: dict[str, Any], **synapse: Any) -> Path:
    """The configuration of a validator that asks these neurons."""
    write_configuration(folder)
    own = {"hotkey": (folder / "hotkey").read_text(), "validator_permit": True}
    write(folder / "neurons.yaml", {"neurons": [own, *neurons, {"hotkey": ALICE.ss58_address}]})
    return write_configuration(folder, **changes(**synapse))


def changes(**synapse: Any) -> dict[str, Any]:
    section = {"enabled": True, "query_interval": 0.5, "timeout": 5.0} | synapse
    return {"synapse": section, "metagraph": {"static": "neurons.yaml"}}


@asynccontextmanager
async def asking(folder: Path, *neurons: dict[str, Any], **synapse: Any) -> AsyncIterator[Rig]:
    """A validator that asks these neurons."""
    write_asking(folder, *neurons)
    async with running_validator(folder, **changes(**synapse)) as rig:
        yield rig


def row(miner: ExistingMiner, endpoint: str) -> dict[str, Any]:
    return {"hotkey": miner.hotkey, "axon": endpoint}


def status(rig: Rig) -> dict[str, dict[str, Any]]:
    """The peers, by hotkey, as ``bettensor peers`` shows them."""
    rig.validator.bus.publish(StatusRequested(1))
    return {peer["hotkey"]: peer for peer in rig.all(StatusReported)[-1].status["peers"]}


async def test_an_existing_miner_is_asked_and_confirmed(tmp_path: Path) -> None:
    miner = ExistingMiner("existing")
    rejected = miner.predict(wager=-1.0)
    async with serving(miner.serve) as endpoint, asking(tmp_path, row(miner, endpoint)) as rig:
        await rig.until(AxonConfirmed)
        await rig.until(AxonQueryRequested, 3)
        peer = status(rig)[miner.hotkey]
        assert (peer["state"], peer["transport"], peer["trouble"]) == ("by Synapse", "synapse", "")
        assert (peer["accepted"], peer["rejected"]) == (1, 1)
        assert peer["heard_s"] is not None
        new = miner.predict(wager=2.0)
        await rig.until(AxonConfirmed, 2)
        assert len(rig.all(AxonConfirmed)) == 2
    first, second = miner.confirmations
    assert [first[name]["success"] for name in miner.predictions if name in first] == ["True", "False"]
    assert first[rejected]["message"].startswith("invalid_wager: ")
    assert second[new]["success"] == "True"
    lines = [line.text for line in rig.all(LineLogged)]
    assert f"Sent confirmation for prediction {new} via Synapse" in lines
    assert sum("Refused" in line or "closed" in line.lower() for line in lines) == 0


async def test_a_refusal_is_told_once_with_the_miners_words_and_the_cure(tmp_path: Path) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        body = b'{"message": "Forbidden. Key is blacklisted: no permit"}'
        writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    miner = ExistingMiner("existing")
    async with serving(refuse) as endpoint, asking(tmp_path, row(miner, endpoint), query_interval=0.1) as rig:
        await rig.until(AxonFailed, 3)
        peer = status(rig)[miner.hotkey]
    assert peer["state"] == "not connected"
    assert "403 Forbidden. Key is blacklisted: no permit" in peer["trouble"]
    assert "stake more" in peer["cure"]
    lines = [(line.level, line.text) for line in rig.all(LineLogged) if "gave no answer via Synapse" in line.text]
    assert [level for level, _ in lines][:3] == ["WARNING", "DEBUG", "DEBUG"]
    assert "no permit (existing miners answer validators with" in lines[0][1]


async def test_the_rhythm_is_taken_while_it_runs_and_the_rest_waits_for_a_restart(tmp_path: Path) -> None:
    miner = ExistingMiner("existing")
    async with serving(miner.serve) as endpoint, asking(tmp_path, row(miner, endpoint), query_interval=1e6) as rig:
        reread(rig.validator, tmp_path)
        new = {"enabled": False, "query_interval": 0.2, "timeout": 1.0, "concurrency": 7}
        change(tmp_path / "validator.yaml", synapse=new)
        (reloaded,) = await rig.until(SettingsReloaded)
        assert reloaded.taken == ("synapse.concurrency", "synapse.query_interval")
        assert reloaded.waiting == ("synapse.enabled", "synapse.timeout")
        taken = reloaded.actors["synapse"]["synapse"]
        assert (taken["enabled"], taken["timeout"], taken["concurrency"]) == (True, 5.0, 7)
        await rig.until(AxonConfirmed)


async def test_a_validator_with_hanging_miners_stops_soon(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        miners = [ExistingMiner(f"existing-{number}") for number in range(3)]
        rows = [row(miner, await stack.enter_async_context(serving(hang))) for miner in miners]
        async with AsyncExitStack() as running:
            rig = await running.enter_async_context(asking(tmp_path, *rows, timeout=600.0))
            await rig.until(AxonQueryRequested, 3)
            async with asyncio.timeout(PATIENCE):
                await running.aclose()


TIMEOUT = 4.0
MIB = 1024 * 1024
PATIENCE_OF_ALL = 60.0


def impostor(victim: ExistingMiner) -> Serve:
    """A miner that says in every way that its wagers are another's."""
    form = make_prediction(make_game(), wager=900.0)
    claimed = synapse.prediction_form(form, Uid(1)) | {"miner_uid": "1"}
    hotkey = {"hotkey": victim.hotkey}
    metadata = {"synapse_type": "prediction", "neuron_uid": "1"}
    body = packed({form.prediction_id: claimed}, axon=hotkey, dendrite=hotkey, metadata=metadata)
    headers = [b"%s: %s" % (name, victim.hotkey.encode()) for name in (b"bt_header_axon_hotkey", b"hotkey")]
    return saying(body, *headers)


def bad_ones(victim: ExistingMiner) -> list[Serve]:
    """One of each kind."""
    return [
        hang,
        drip,
        drip_head,
        pour,
        pour_headers,
        pour_hints,
        crumble,
        leave,
        speak_otherwise,
        impostor(victim),
        saying(b" " * 20_000_000),
        saying(packed(forms(10_000))),
        saying(packed(forms(1000, "many-"))),
        saying(b"[" * 4_000_000),
        saying(b"<html>"),
        saying(packed([])),
        saying(gzip.compress(bytes(50_000_000)), b"content-encoding: gzip"),
        saying(packed(forms(1)), more=1000),
        saying(b"", b"location: http://127.0.0.1:1/GameData", status=b"307 Temporary Redirect"),
        saying(b'{"message": "Forbidden"}', status=b"403 Forbidden"),
        saying(b'{"message": "Internal Server Error"}', status=b"500 Internal Server Error"),
    ]


def memory_of(process: NeuronProcess, name: str) -> int:
    """Bytes; after ``VmHWM``, the largest use so far, that begins anew."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_OF_ALL):
        while not met():  # noqa: ASYNC110 - a process and a log have no event
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_bad_miners_of_all_kinds_disturb_no_good_one(tmp_path: Path) -> None:
    good = [TimedMiner(f"good-{number}") for number in range(206)]
    bad = [ExistingMiner(f"bad-{number}") for number in range(50)]
    kinds = bad_ones(good[0])
    async with AsyncExitStack() as stack:
        rows = [row(miner, await stack.enter_async_context(serving(miner.serve))) for miner in good]
        for number, miner in enumerate(bad):
            serve = kinds[number % len(kinds)]
            rows.append(row(miner, await stack.enter_async_context(serving(serve))))
        config = write_asking(tmp_path, *rows, query_interval=5.0, timeout=TIMEOUT)
        log = tmp_path / "log"
        with NeuronProcess("validator", config, log) as process:
            try:
                await until(lambda: log.exists() and "Listening on" in log.read_text())
                before = memory_of(process, "VmRSS")
                await until(lambda: all(miner.confirmed_at for miner in good))
                assert memory_of(process, "VmHWM") - before < 60 * MIB
            finally:
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE_OF_ALL) == 0
    assert max((miner.confirmed_at or 0) - (miner.asked_at or 0) for miner in good) < TIMEOUT + 1
    stored = Counter[str]()
    with closing(sqlite3.connect(tmp_path / "state" / "ledger.sqlite3")) as ledger:
        rows_stored = ledger.execute("SELECT hotkey, prediction_id, wager, proof FROM predictions").fetchall()
    for hotkey, prediction_id, wager, proof in rows_stored:
        assert proof == "endpoint"
        stored[hotkey] += wager
        owner = next((miner for miner in good if miner.hotkey == hotkey), None)
        assert owner is None or prediction_id in owner.predictions
    assert all(stored[miner.hotkey] == 1_000_000 for miner in good)
    assert 900_000_000 in stored.values()  # the impostors' own
