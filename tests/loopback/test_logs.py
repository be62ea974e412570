"""What people read off the logs of real neurons: replay, trace, log, audit; and who cannot lie in them."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bettensor.bus.events import VerdictReceived
from bettensor.neurons.cli.main import main
from bettensor.neurons.edges.recorder import closed_files
from bettensor.neurons.recordings.recording import log_files
from tests.loopback.rig import BOB, running_validator
from tests.loopback.test_miner import events, until
from tests.loopback.test_operations import bettensor, subnet
from tests.loopback.test_pressure import answers
from tests.loopback.test_verify_workers import frames


@dataclass(frozen=True)
class Logs:
    """Of a validator that heard a miner, Bob (ed25519) and, by HTTP, nobody it knows."""

    folder: Path
    validator: Path
    miner: Path
    prediction_id: str
    hotkeys: dict[str, str]


@pytest.fixture
async def logs(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Logs:
    """Copies: those of the neurons themselves are replayed after every test of this folder."""
    async with subnet(tmp_path) as (rig, miner, theirs):
        where = ["--state-dir", str(miner.settings.state_dir)]
        order = ["predict", "--game", "yankees-mets", "--outcome", "New York Mets", "--wager", "2", *where]
        assert await bettensor(*order) == 0
        assert await bettensor(*order[:-3], "1e6", *where) == 1
        await until(lambda: len(events(theirs, VerdictReceived)) == 2)
        async with rig.client(BOB) as bob:
            await bob.works()
            await bob.socket.send(bob.sign(bob.raw(session="5" * 32)))
            await bob.closed()
        prediction_id = events(theirs, VerdictReceived)[0].prediction.prediction_id
        hotkeys = {"validator": rig.hotkey, "miner": miner.hotkey, "bob": BOB.ss58_address}
    copies = tmp_path_factory.mktemp("logs")
    shutil.copytree(tmp_path, copies, dirs_exist_ok=True)
    return Logs(copies, copies / "state", copies / "miner-state", prediction_id, hotkeys)


ROOT = Path(__file__).parents[2]
Printed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    def run(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


# --- replay


async def test_replay_is_equal_on_both_sides(logs: Logs, printed: Printed) -> None:
    for state in (logs.validator, logs.miner):
        code, out, _ = printed("replay", state)
        assert code == 0
        assert "per second: equal (every decision)" in out
    code, out, _ = printed("replay", logs.validator / "events.jsonl", "--json")
    (report,) = json.loads(out)
    assert (report["equal"], report["role"], report["recorded"], report["difference"]) == (
        True,
        "validator",
        "all",
        None,
    )


async def test_replay_shows_the_first_difference_and_its_causes(logs: Logs, printed: Printed) -> None:
    rewrite(
        logs.validator, lambda line: line.replace(b'"code":"accepted","message":""', b'"code":"conflict","message":""')
    )
    code, out, _ = printed("replay", logs.validator)
    assert code == 1
    assert "first difference at seq" in out
    assert "its causes, the first one first:" in out
    assert "frame_received" in out


async def test_replay_with_another_actor(logs: Logs, printed: Printed) -> None:
    code, out, _ = printed("replay", logs.validator, "--with", "tests.neurons.planted:StrictPredictionActor")
    assert code == 0
    assert "proposals[0].code: daily_limit_exceeded -> invalid_wager" in out
    code, out, _ = printed("replay", logs.validator, "--with", "tests.neurons.planted:TakesNothing", "--json")
    (report,) = json.loads(out)
    assert code == 0
    changed = [change["replayed"]["event"] for change in report["changes"] if change["replayed"]]
    assert {proposal["code"] for event in changed for proposal in event.get("proposals", [])} == {"invalid_wager"}
    code, out, _ = printed("replay", logs.validator, "--with", "tests.neurons.planted:TakesNothing")
    assert "commit_requested" in out
    code, _, err = printed("replay", logs.validator, "--with", "tests.neurons.planted:Whispered")
    assert (code, "is not a subclass of bettensor.actors.Actor" in err) == (2, True)


# --- trace


async def test_the_way_of_a_prediction_through_the_actors(logs: Logs, printed: Printed) -> None:
    code, out, _ = printed("trace", logs.validator, logs.prediction_id)
    assert code == 0
    way = [
        "frame_received",
        "verification_requested (connection)",
        "signature_checked",
        "prediction_submitted (auth)",
        "commit_requested (prediction)",
        "predictions_stored",
        "send_requested (prediction)",
        "write_requested (connection)",
        "frame_written",
    ]
    places = [out.index(f" ms  {step}  ") for step in way]
    assert places == sorted(places)
    assert "└── " in out
    code, out, _ = printed("trace", logs.miner, logs.prediction_id, "--json")
    first, *_ = json.loads(out)
    assert (code, first["topic"], first["actor"]) == (0, "prediction_made", None)
    assert {following["actor"] for following in first["following"]} >= {"outbox"}
    code, _, err = printed("trace", logs.miner, logs.prediction_id[::-1])
    assert (code, "no event in this log concerns a prediction" in err) == (1, True)


async def test_of_a_log_that_is_damaged_the_way_is_shown_as_far_as_it_can_be_read(logs: Logs, printed: Printed) -> None:
    _, whole, _ = printed("trace", logs.validator, logs.prediction_id)
    with (logs.validator / "events.jsonl").open("ab") as file:
        file.write(b"something else\n")
    code, out, err = printed("trace", logs.validator, logs.prediction_id)
    assert (code, out) == (1, whole)
    assert "a line follows the seal" in err
    code, _, err = printed("trace", logs.validator, logs.prediction_id[::-1])
    assert (code, "no event in the readable part of this log concerns a prediction" in err) == (1, True)


# --- log


async def test_events_are_found_by_topic_hotkey_and_time(logs: Logs, printed: Printed) -> None:
    code, out, _ = printed("log", logs.validator, "--event", "prediction_*", "--json")
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row["topic"] for row in rows} == {"prediction_submitted", "prediction_accepted", "prediction_rejected"}
    _, out, _ = printed("log", logs.validator, "--event", "frame_received", "--hotkey", logs.hotkeys["bob"])
    assert len(out.splitlines()) == 3
    _, everything, _ = printed("log", logs.validator)
    _, recent, _ = printed("log", logs.validator, "--since", "1h", "--until", "0s")
    assert recent == everything
    assert printed("log", logs.validator, "--until", "1h")[1] == ""
    _, out, _ = printed("log", logs.validator, "--limit", "2")
    assert out.splitlines() == everything.splitlines()[-2:]
    code, _, err = printed("log", logs.validator, "--until", "soon")
    assert (code, "--until: expected 30s" in err) == (2, True)


async def test_figures(logs: Logs, printed: Printed) -> None:
    for state in (logs.validator, logs.miner):
        code, out, _ = printed("log", state, "--summary", "--json")
        figures = json.loads(out)
        assert code == 0
        assert figures["results"]["daily_limit_exceeded"] == 1
        assert figures["results"]["accepted"] == (2 if state == logs.validator else 1)
        assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["max"] < 10_000
        assert figures["events"]["frame_received"] >= 3
    code, out, _ = printed("log", logs.validator, "--summary")
    assert "daily_limit_exceeded" in out
    assert "latency from prediction to answer: p50" in out
    assert printed("log", logs.validator, "--summary", "--until", "1h")[1] == "no event matches\n"


# --- audit


async def test_who_said_what(logs: Logs, printed: Printed) -> None:
    code, out, err = printed("audit", logs.validator, "--json")
    report = json.loads(out)
    assert (code, err, report["faults"]) == (0, "", [])
    assert report["files"][0]["signed"] is True
    assert report["signers"][logs.hotkeys["miner"]]["frames"] >= 3
    assert report["signers"][logs.hotkeys["bob"]] == {"frames": 3, "requests": 1}
    code, out, _ = printed("audit", logs.miner)
    assert code == 0
    assert f"{logs.hotkeys['validator']} signed" in out
    assert f"signed by {logs.hotkeys['miner']}" in out


def rewrite(state: Path, edit: Callable[[bytes], bytes], *, chain: bool = True, seal: bool = False) -> None:
    """What an owner could do to a log, hashes and all; without ``seal``, its end is left out."""
    file = state / "events.jsonl"
    written, before = [], json.loads(file.read_bytes().partition(b"\n")[0])["previous"]
    for line in file.read_bytes().splitlines():
        if line.startswith(b'{"seal"') and not seal:
            continue
        body = edit(line[:-75])
        before = sha256(before.encode() + body).hexdigest() if chain else line[-66:-2].decode()
        written.append(body + b',"hash":"%b"}\n' % before.encode())
    file.write_bytes(b"".join(written))


async def test_a_changed_line_is_found(logs: Logs, printed: Printed) -> None:
    rewrite(logs.validator, lambda line: line.replace(b'"valid":true', b'"valid":false'), chain=False)
    code, out, err = printed("audit", logs.validator)
    assert code == 1
    assert "its hash does not follow: it was changed" in out
    assert "found 1 fault" in err
    code, _, err = printed("replay", logs.validator)
    assert (code, "its hash does not follow" in err) == (1, True)
    assert printed("replay", logs.validator, "--unchained")[0] == 1
    assert printed("log", logs.validator, "--unchained", "--event", "neuron_started")[0] == 0


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        (b'"valid":true', b'"valid":false', "is good, and line"),
        (b'\\"wager\\":2.0', b'\\"wager\\":9.0', "is bad, and line"),
        (b'"topic":"frame_received"', b'"topic":"binary_received"', "a signature was checked, and there is none"),
    ],
)
async def test_not_even_the_owner_can_put_words_into_a_peers_mouth(
    logs: Logs, printed: Printed, before: bytes, after: bytes, fault: str
) -> None:
    rewrite(logs.validator, lambda line: line.replace(before, after))
    code, out, _ = printed("audit", logs.validator)
    assert code == 1
    assert fault in out


async def test_a_seal_of_somebody_else_is_found(logs: Logs, printed: Printed) -> None:
    other = b'"hotkey":"%b"' % logs.hotkeys["bob"].encode()
    mine = b'"hotkey":"%b"' % logs.hotkeys["validator"].encode()
    first = True

    def edit(line: bytes) -> bytes:
        nonlocal first
        changed, first = (line.replace(mine, other, 1) if first else line), False
        return changed

    rewrite(logs.validator, edit, seal=True)
    code, out, _ = printed("audit", logs.validator)
    assert code == 1
    assert "the seal is not of these lines" in out


@pytest.mark.parametrize("workers", [0, 1])
async def test_a_log_of_several_files_is_one_log(tmp_path: Path, printed: Printed, workers: int) -> None:
    state = tmp_path / "state"
    recorder = {"record": "all", "file_bytes": 4096}
    validator = running_validator(tmp_path, recorder=recorder, auth={"verify_workers": workers})
    async with validator as rig, rig.client(BOB) as bob:
        for number in range(1, 5):
            said, ids = frames(bob, 8)
            for frame in said:
                await bob.socket.send(frame)
            await answers(bob, 8)
            await until(lambda number=number: len(closed_files(state / "events.jsonl")) >= number)  # type: ignore[misc]
    assert len(closed_files(state / "events.jsonl")) >= 4
    code, out, _ = printed("replay", state)
    assert (code, out.count("equal (every decision)")) == (0, len(log_files(state)))
    code, out, _ = printed("audit", state, "--json")
    report = json.loads(out)
    assert (code, report["faults"], [file["signed"] for file in report["files"]]) == (
        0,
        [],
        [True] * len(log_files(state)),
    )
    assert report["signers"] == {BOB.ss58_address: {"frames": 33, "requests": 1}}
    assert report["unproven"] == 0
    code, out, _ = printed("log", state, "--event", "prediction_accepted", "--json")
    assert (code, len(out.splitlines())) == (0, 32)
    code, out, _ = printed("trace", state, ids[-1])
    assert (code, "predictions_stored" in out) == (0, True)


# --- bad input


async def test_what_is_no_log_is_said(logs: Logs, printed: Printed) -> None:
    for command in (["replay"], ["trace"], ["log"]):
        arguments = [*command, logs.folder / "games.json", *(["p"] if command == ["trace"] else [])]
        code, _, err = printed(*arguments)
        assert (code, "not an event log of this project" in err) == (1, True)
    code, out, _ = printed("audit", logs.folder / "games.json")
    assert (code, "not an event log of this project" in out) == (1, True)
    code, _, err = printed("log", logs.folder / "wallets")
    assert (code, "no event log is in this folder" in err) == (1, True)


async def test_wrong_arguments_are_said(logs: Logs, printed: Printed, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = printed("log", logs.validator, "--event", "prediction_acepted")
    assert (code, "the nearest is 'prediction_accepted'" in err) == (1, True)
    for arguments in (("log", logs.validator, "--limit", "-3"), ("trace", logs.validator, "no such id")):
        with pytest.raises(SystemExit, match="2"):
            printed(*arguments)
        assert ": expected " in capsys.readouterr().err


async def test_who_has_seen_enough_may_leave(logs: Logs) -> None:
    command = f"{sys.executable} -m bettensor.neurons log {logs.validator} | head -1"
    done = await asyncio.to_thread(
        subprocess.run, ["/bin/bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "neuron_started" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("seed", range(8))
async def test_no_damage_leads_to_more_than_a_message(logs: Logs, printed: Printed, seed: int) -> None:
    file = logs.validator / "events.jsonl"
    whole, random = file.read_bytes(), Random(seed)
    for _ in range(10):
        damaged = bytearray(whole)
        for _ in range(random.choice((1, 1, 5))):
            place = random.randrange(len(damaged))
            match random.randrange(3):
                case 0:
                    damaged[place] ^= 1 << random.randrange(8)
                case 1:
                    del damaged[place : place + random.randrange(1, 400)]
                case 2:
                    damaged[place:place] = random.randbytes(5)
        file.write_bytes(damaged)
        for command in (["replay"], ["replay", "--unchained"], ["log", "--unchained"], ["audit"]):
            code, out, err = printed(command[0], file, *command[1:])
            assert code in (0, 1)
            assert out or err


async def test_a_log_that_was_cut_off_is_read_to_there(logs: Logs, printed: Printed) -> None:
    file = logs.validator / "events.jsonl"
    file.write_bytes(file.read_bytes()[:-200])
    code, out, _ = printed("replay", logs.validator)
    assert code == 0
    assert "is cut off; all lines before it were replayed" in out
    code, out, _ = printed("audit", logs.validator)
    assert code == 0
    assert "no seal: the neuron is still running or was killed; not signed, line" in out
