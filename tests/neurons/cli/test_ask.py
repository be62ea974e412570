"""The commands that ask a neuron, or read what it has on disk: what they print, and with which exit code they end."""

import csv
import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from bettensor.actors.monitor import MonitorActor
from bettensor.bus.codes import VerdictCode
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import MetagraphSynced, NeuronStarted, StatusReported, StatusRequested
from bettensor.bus.text import short
from bettensor.bus.timestamps import rfc3339
from bettensor.neurons.cli import ask as commands
from bettensor.neurons.cli import control_client
from bettensor.neurons.cli.ask import parse_time
from bettensor.neurons.cli.history import COLUMNS
from bettensor.neurons.cli.ledger_file import check_ledger
from bettensor.neurons.cli.main import main
from tests.neurons.cli.answering import answering
from tests.neurons.cli.terminal import show_on_terminal
from tests.neurons.disk import write_ledger, write_outbox
from tests.support import NETUID, NOW, Harness, make_game, make_hotkey, make_proposal

MINER, ME = make_hotkey(), make_hotkey("me")


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """One command about the neuron in ``tmp_path``: its exit code, and what it printed."""

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*words, "--state-dir", str(tmp_path)])
        return code, *capsys.readouterr()

    return run


Run = Callable[..., tuple[int, str, str]]


def status(**changes: Any) -> dict[str, Any]:
    """What a miner says that knows nobody yet."""
    bench = Harness(MonitorActor())
    bench.observe(NeuronStarted("miner", NETUID, ME, "sr25519", 0), MetagraphSynced(()), StatusRequested(1))
    reported: dict[str, Any] = bench.last(StatusReported).status
    return reported | {"events": {}, "recent": [], "version": "0", "process": 1, "listening": None} | changes


# --- several neurons


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """A validator and a miner of this user."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(control_client, "PROCESSES", tmp_path / "none")
    monkeypatch.chdir(tmp_path)
    folders = [tmp_path / ".bettensor" / name for name in ("a", "b")]
    with (
        answering(folders[0], lambda _: status(role="validator", uid=7, sessions=3)),
        answering(folders[1], lambda _: status(uid=None)),
    ):
        yield folders


@pytest.mark.parametrize("columns", [80, 120, None])
@pytest.mark.usefixtures("two")
def test_peers_without_a_name_lists_the_neurons_of_this_machine(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int | None
) -> None:
    if columns is not None:
        show_on_terminal(monkeypatch, columns)
    assert main(["peers"]) == 0
    heads, _, validator, miner, _, hint = capsys.readouterr().out.splitlines()
    assert heads.split() == ["neuron", "UID", "hotkey", "netuid", "sessions", "up", "state_dir"]
    hotkey = ME if columns is None else short(ME)
    assert validator.split()[:5] == ["validator", "7", hotkey, str(NETUID), "3"]
    assert miner.split()[:3] == ["miner", "-", hotkey]
    assert (validator.split()[-1], miner.split()[-1]) == (".bettensor/a", ".bettensor/b")
    assert "bettensor peers --state-dir DIR" in hint
    assert columns is None or max(map(len, (heads, validator, miner, hint))) <= columns


def test_other_commands_give_the_choice(two: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["peers", "--json"], ["top"], ["games"], ["predictions"], ["stop"]):
        assert main(words) == 1
        out, err = capsys.readouterr()
        first, *choice = err.splitlines()
        assert (out, first) == ("", "bettensor: 2 neurons are running; name one of them:")
        assert choice == [
            f"  validator {short(ME)}  netuid {NETUID}  --state-dir {two[0]}",
            f"  miner     {short(ME)}  netuid {NETUID}  --state-dir {two[1]}",
        ]


# --- status


def test_peers_says_whether_this_hotkey_is_registered_and_what_is_doubted(tmp_path: Path, run: Run) -> None:
    with answering(tmp_path, lambda _: status(registered=False, endpoint_doubt="it listens elsewhere")):
        code, _, err = run("peers")
    assert code == 0
    assert f"({ME}) is not in the metagraph" in err
    assert "it listens elsewhere\n" in err
    with answering_again(tmp_path, status(registered=True, notices=["the outbox cannot be written: disk full"])):
        assert run("peers")[2] == "the outbox cannot be written: disk full\n"
    withheld = {"count": 1, "first": [{"game_id": "g7", "reason": "null"}]}
    with answering_again(tmp_path, status(registered=True, withheld=withheld)):
        assert run("peers")[2] == "game 'g7' is withheld: null\n"
    with answering_again(tmp_path, status(registered=True, endpoint_doubt="")):
        assert run("peers")[2] == ""


def test_peers_says_what_keeps_this_neuron_apart_and_advises_no_registration_before_the_metagraph_is_read(
    tmp_path: Path, run: Run
) -> None:
    unread = "this miner has not read the metagraph yet: no \x1b route: check the network"
    with answering(tmp_path, lambda _: status(registered=None, notices=[unread])):
        code, out, err = run("peers")
    assert code == 0
    assert err == unread.replace("\x1b", "\\x1b") + "\n"
    assert "(UID unknown)" in out


@contextmanager
def answering_again(state_dir: Path, answer: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    (state_dir / "control.sock").unlink()
    with answering(state_dir, lambda _: answer) as questions:
        yield questions


def test_as_json_the_answer_is_printed_as_it_came(tmp_path: Path, run: Run) -> None:
    answer = status(peers=[{"hotkey": MINER}], slates=[{"validator": ME}])
    with answering(tmp_path, lambda _: answer):
        assert json.loads(run("top", "--json")[1]) == answer
        assert json.loads(run("peers", "--json")[1]) == answer["peers"]
        assert json.loads(run("games", "--json")[1]) == answer["slates"]


def test_without_a_terminal_top_shows_one_view_and_ends(tmp_path: Path, run: Run) -> None:
    with answering(tmp_path, lambda _: status()) as questions:
        assert run("top")[0] == 0
        assert questions == [{"ask": "status", "slates": False}]


def test_games_are_shown_by_validator_and_where_there_is_none_that_is_said(tmp_path: Path, run: Run) -> None:
    slate = {"validator": MINER, "offset": 7, "games": [make_game("derby").to_dict()]}
    with answering(tmp_path, lambda _: status(slates=[slate])):
        _, out, _ = run("games")
    assert f"1 game of validator {MINER}, game update 7\n" in out
    assert "derby" in out
    with answering_again(tmp_path, status(slates=[])):
        assert run("games")[:2] == (0, "no games received yet\n")


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_games_on_a_terminal_have_their_ids_on_lines_that_can_be_copied(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    names = [f"{'long-' * 20}{n}" for n in range(3)]
    slate = {"validator": MINER, "offset": 7, "games": [make_game(name).to_dict() for name in names]}
    with answering(tmp_path, lambda _: status(slates=[slate])):
        show_on_terminal(monkeypatch, columns)
        assert [line for line in run("games")[1].splitlines() if line.strip() in names] == names
        limited = run("games", "--limit", "2")[1].splitlines()
        assert [line for line in limited if line.strip() in names] == names[:2]


def test_a_neuron_that_does_not_run_is_exit_1(run: Run) -> None:
    for words in (
        ["top"],
        ["peers"],
        ["games"],
        ["stop"],
        ["predict", "--game", "g", "--outcome", "x", "--wager", "1"],
    ):
        code, out, err = run(*words)
        assert (code, out) == (1, "")
        assert "no neuron is running in" in err


# --- predict

ORDER = ("predict", "--game", "g", "--outcome", "x", "--wager", "2.5")


def verdict(**changes: Any) -> dict[str, Any]:
    accepted = {"success": True, "code": "accepted", "message": "", "latency_ms": 1.25}
    return {"validator": ME, "prediction_id": "p"} | accepted | changes


def test_an_accepted_prediction_is_exit_0(tmp_path: Path, run: Run) -> None:
    with answering(tmp_path, lambda _: {"verdicts": [verdict()], "without_verdict": 0}) as questions:
        assert run(*ORDER) == (0, f"p accepted in 1.2 ms by {ME}\n", "")
        assert questions == [{"ask": "predict", "game": "g", "outcome": "x", "wager": 2.5, "placed": True}]
        run(*ORDER, "--validator", ME)
        assert questions[1]["validator"] == ME


def test_a_rejected_one_is_exit_1_with_its_reason_made_harmless(tmp_path: Path, run: Run) -> None:
    rejected = verdict(success=False, code="game_started", message="too \x1b[2Jlate")
    del rejected["latency_ms"]
    with answering(tmp_path, lambda _: {"verdicts": [verdict(), rejected], "without_verdict": 0}):
        code, out, _ = run(*ORDER)
    assert (code, out.splitlines()[1]) == (1, f"p game_started by {ME}: too \\x1b[2Jlate")


def test_one_without_a_verdict_is_exit_1(tmp_path: Path, run: Run) -> None:
    waiting = [{"validator": ME, "prediction_id": name} for name in "pq"]
    with answering(tmp_path, lambda _: {"verdicts": [verdict()], "without_verdict": 2, "waiting": waiting}):
        code, out, err = run(*ORDER, "--json")
    assert (code, json.loads(out)["without_verdict"]) == (1, 2)
    assert "no verdict on 2 predictions after 60 s; the miner keeps predictions p q in its outbox" in err


def lines(*answers: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(answer).encode() + b"\n" for answer in answers)


def placed(**changes: Any) -> dict[str, Any]:
    return {"placed": [{"validator": ME, "prediction_id": "p", "connected": True, "trouble": ""} | changes]}


ABSENT = placed(connected=False, trouble="refused \x1b")
WAITS = (
    f"validator {ME} is not connected: refused \\x1b; prediction p waits in the miner's outbox and is sent when it is\n"
)


def test_a_validator_that_is_not_connected_is_told_at_once(tmp_path: Path, run: Run) -> None:
    answers = lines(ABSENT, {"verdicts": [verdict()], "without_verdict": 0})
    with answering(tmp_path, lambda _: answers):
        assert run(*ORDER) == (0, f"p accepted in 1.2 ms by {ME}\n", WAITS)
    (tmp_path / "control.sock").unlink()
    with answering(tmp_path, lambda _: lines(placed(), {"verdicts": [verdict()], "without_verdict": 0})):
        assert run(*ORDER)[2] == ""


def test_a_neuron_that_ends_meanwhile_keeps_the_prediction(tmp_path: Path, run: Run) -> None:
    with answering(tmp_path, lambda _: lines(placed())):
        code, _, err = run(*ORDER)
    assert code == 1
    assert err.startswith("the miner keeps prediction p in its outbox and goes on trying")
    assert err.endswith("stopped before it answered\n")


@pytest.mark.parametrize(("first", "kept"), [(ABSENT, "prediction p in"), (None, "prediction in")])
def test_at_ctrl_c_it_is_said_that_the_miner_keeps_the_prediction(
    run: Run, monkeypatch: pytest.MonkeyPatch, first: Any, kept: str
) -> None:
    def interrupted(*_: Any, on_placed: Callable[[Any], None], **__: Any) -> None:
        if first is not None:
            on_placed(first["placed"])
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "ask", interrupted)
    code, _, err = run(*ORDER)
    assert code == 130
    assert f"the miner keeps {kept} its outbox" in err
    assert (WAITS in err) == (first is not None)


def test_what_the_neuron_refuses_is_exit_1(tmp_path: Path, run: Run) -> None:
    with answering(tmp_path, lambda _: {"error": "no game 'g' on the slate"}):
        assert run(*ORDER) == (1, "", "bettensor: no game 'g' on the slate\n")


# --- stop


def test_stop_waits_until_nobody_holds_the_folder(tmp_path: Path, run: Run) -> None:
    lock = (tmp_path / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def end(question: dict[str, Any]) -> dict[str, Any]:
        if question["ask"] == "stop":
            lock.close()
        return {"stopping": True, "process": 77}

    with answering(tmp_path, end) as questions:
        assert run("stop") == (0, "stopped the neuron (process 77)\n", "")
        assert {"ask": "stop"} in questions


def test_a_neuron_that_does_not_end_is_exit_1(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "STOP_PATIENCE", 0.05)
    with (tmp_path / "lock").open("w") as lock, answering(tmp_path, lambda _: {"process": 77}):
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run("stop") == (1, "", "the neuron (process 77) has not ended within 0.05 s\n")


# --- verdicts on disk


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return write_ledger(tmp_path, make_proposal(MINER), make_proposal(MINER, code=VerdictCode.GAME_STARTED))


@pytest.mark.usefixtures("ledger")
def test_verdicts_as_json_and_as_csv_are_the_same(run: Run) -> None:
    listed = json.loads(run("predictions", "--json")[1])
    assert [row["code"] for row in listed] == ["accepted", "game_started"]
    read = list(csv.DictReader(StringIO(run("predictions", "--csv")[1])))
    assert [tuple(row) for row in read] == [COLUMNS, COLUMNS]
    assert [row["prediction_id"] for row in read] == [row["prediction_id"] for row in listed]


@pytest.mark.usefixtures("ledger")
def test_what_is_not_there_and_could_be_is_exit_0(run: Run) -> None:
    assert run("predictions", "--code", "conflict", "--json") == (0, "[]\n", "")
    assert run("predictions", "--since", rfc3339(NOW), "--limit", "1", "--json")[0] == 0
    code, _, err = run("predictions", "--hotkey", MINER[:-1] + "y", "--json")
    assert (code, f"has no prediction of '{MINER[:-1]}y'; the nearest is '{MINER}'" in err) == (0, True)


def test_only_predictions_with_one_proof(tmp_path: Path, run: Run) -> None:
    write_ledger(tmp_path, make_proposal(MINER), make_proposal(MINER, proof="endpoint"))
    assert [row["proof"] for row in json.loads(run("predictions", "--proof", "endpoint", "--json")[1])] == ["endpoint"]
    assert [row["proof"] for row in json.loads(run("predictions", "--json")[1])] == ["signature", "endpoint"]
    (tmp_path / "ledger.sqlite3").unlink()
    write_outbox(tmp_path)
    code, _, err = run("predictions", "--proof", "endpoint")
    assert (code, "--proof: only with a validator's ledger" in err) == (2, True)


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("code", ["acepted", "rejected", "nosuch"])
def test_a_code_that_is_none_is_exit_1_with_all_that_are_one(run: Run, code: str) -> None:
    codes = ", ".join(["none", *VerdictCode])
    assert run("predictions", "--code", code) == (
        1,
        "",
        f"bettensor: no verdict is called {code!r}; expected one of {codes}\n",
    )


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("hotkey", [MINER[:7], short(MINER), MINER])
def test_a_hotkey_may_be_abbreviated(run: Run, hotkey: str) -> None:
    assert run("predictions", "--hotkey", hotkey, "--json") == run("predictions", "--json")


def test_an_abbreviation_of_several_hotkeys_is_exit_2_with_all_of_them(tmp_path: Path, run: Run) -> None:
    write_ledger(tmp_path, make_proposal(MINER), make_proposal(make_hotkey("minister")))
    code, out, err = run("predictions", "--hotkey", "5min")
    assert (code, out) == (2, "")
    assert f"several hotkeys fit '5min': {MINER}, {make_hotkey('minister')}; give more characters" in err


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_a_verdict_is_one_line_and_in_a_pipe_it_is_whole(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    why = "wagered today 999.5, attempted 2.5, and the limit is 1000; " * 3
    late = make_proposal(MINER, code=VerdictCode.DAILY_LIMIT_EXCEEDED, message=why)
    write_ledger(tmp_path, *[make_proposal(MINER)] * 2, late)
    _, *rows, _ = run("predictions")[1].splitlines()
    assert f"{late.prediction.prediction_id}" in rows[-1]
    assert (MINER in rows[-1], why.strip() in rows[-1]) == (True, True)
    show_on_terminal(monkeypatch, columns)
    lines = run("predictions")[1].splitlines()
    assert len(lines) == len(rows) + 2
    assert max(map(len, lines)) <= columns
    assert all(short(MINER) in line for line in lines[2:-1])


def test_a_folder_without_a_database_is_exit_2(run: Run) -> None:
    code, _, err = run("predictions")
    assert (code, "is it a neuron's state_dir?" in err) == (2, True)


# --- the ledger as a file


def test_a_ledger_is_checked_copied_and_put_back(
    tmp_path: Path, ledger: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.sqlite3"
    report = check_ledger(ledger)
    assert run("ledger", "check")[1] == (
        f"no damage found: ledger {report.ledger_id}, schema {report.schema}, 2 predictions, 1 accepted\n"
    )
    assert json.loads(run("ledger", "backup", str(copy), "--json")[1])["predictions"] == 2
    second = tmp_path / "second.sqlite3"
    whole = f"no damage found: ledger {report.ledger_id}, schema {report.schema}, 2 predictions, 1 accepted\n"
    assert run("ledger", "backup", str(second)) == (0, f"copied {ledger} to {second}: {whole}", "")
    assert main(["ledger", "check", str(second)]) == 0
    assert capsys.readouterr().out == whole
    code, out, err = run("ledger", "restore", str(copy))
    (kept,) = tmp_path.glob("ledger.sqlite3.before-*")
    assert (code, err) == (0, f"the replaced ledger is kept as {kept}\n")
    assert out.startswith(f"restored {copy} as {ledger}: no damage found: ledger ")
    assert check_ledger(kept) == report


@pytest.mark.usefixtures("ledger")
def test_while_a_validator_runs_nothing_is_put_back(tmp_path: Path, run: Run) -> None:
    copy = tmp_path / "copy.sqlite3"
    assert run("ledger", "backup", str(copy))[0] == 0
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, err = run("ledger", "restore", str(copy))
        assert code == 1
        assert err.endswith(
            f"a validator works with {tmp_path}; stop it first: `bettensor stop --state-dir {tmp_path}`\n"
        )
    assert list(tmp_path.glob("*.before-*")) == []
    assert run("ledger", "restore", str(copy))[0] == 0  # and the lock was given back


# --- times


def test_a_time_is_one_of_rfc_3339_or_so_long_ago() -> None:
    assert parse_time(rfc3339(NOW), "--since") == NOW
    now, *earlier = (parse_time(text, "--since") for text in ("0s", "90s", "1.5m", "2h", "1d"))
    ago = [round((now - at) / 1e6) for at in earlier]
    assert ago == pytest.approx([90, 90, 7200, 86_400], abs=1)


@pytest.mark.parametrize(
    "text", ["", "soon", "5", "-5m", "1w", "1e9d", "9" * 30 + "d", "2026-12-01T18:00:00", "1.2.3h"]
)
def test_what_is_no_time_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--until: expected 30s, 15m, 2h, 1d or a time like"):
        parse_time(text, "--until")
