"""The commands that read logs: a log of several files, one of which may be damaged, is read as far as it can be."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bettensor.bus.codes import VerdictCode
from bettensor.bus.text import short
from bettensor.neurons.cli import logs as commands
from bettensor.neurons.cli.main import main
from bettensor.neurons.simulation import make_hotkey
from tests.neurons.cli.terminal import show_on_terminal
from tests.neurons.recordings.test_recording import thin
from tests.stories import RECORDINGS, Subnet

MINER = make_hotkey("miner")
STRICTER = "tests.neurons.planted:TakesNothing"


@pytest.fixture(scope="module")
def subnet() -> Subnet:
    """One prediction that is accepted, and one that is above the daily limit."""
    subnet = Subnet(daily_wager_limit=10.0)
    for name in ("small", "large"):
        subnet.predict(name, wager=6.0)
    return subnet


@pytest.fixture
def log(tmp_path: Path, subnet: Subnet) -> Path:
    subnet.validator.save(tmp_path / "events.jsonl")
    return tmp_path / "events.jsonl"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


Run = Callable[..., tuple[int, str, str]]


def changed(
    log: Path, before: bytes = b'"code":"accepted","message":""', after: bytes = b'"code":"x","message":""'
) -> None:
    """As by somebody who does not know how lines are chained."""
    content = log.read_bytes()
    assert before in content
    log.write_bytes(content.replace(before, after))


# --- replay


def test_an_equal_replay_is_exit_0(log: Path, run: Run) -> None:
    code, out, _ = run("replay", log)
    assert (code, "equal (every decision)" in out) == (0, True)
    (report,) = json.loads(run("replay", log, "--json")[1])
    assert (report["file"], report["role"], report["equal"], report["difference"], report["cut_line"]) == (
        str(log),
        "validator",
        True,
        None,
        None,
    )


def test_a_difference_is_exit_1_and_names_it(log: Path, run: Run) -> None:
    changed(log, b'"prediction":{"daily_wager_limit":10.0}', b'"prediction":{"daily_wager_limit":99.0}')
    code, out, _ = run("replay", log, "--unchained")
    assert (code, "first difference at seq " in out, "10.0 -> 99.0" in out) == (1, True, True)


def test_a_line_that_was_changed_is_exit_1_unless_that_is_wanted(log: Path, run: Run) -> None:
    changed(log)
    code, out, err = run("replay", log)
    assert (code, out, "its hash does not follow" in err) == (1, "", True)
    (report,) = json.loads(run("replay", log, "--json")[1])
    assert (report["equal"], "its hash does not follow" in report["fault"]) == (False, True)
    assert "its hash" not in run("replay", log, "--unchained")[2]


def test_other_actors_are_no_difference_but_a_list_of_changes(
    log: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = run("replay", log, "--with", STRICTER)
    assert (code, "decisions unchanged, " in out) == (0, True)
    assert "invalid_wager" in out
    monkeypatch.setattr(commands, "SHOWN", 1)
    assert "and " in run("replay", log, "--with", STRICTER)[1].splitlines()[-1]
    (report,) = json.loads(run("replay", log, "--with", STRICTER, "--json")[1])
    assert report["with"] == [STRICTER]
    assert {"recorded", "replayed"} == set(report["changes"][0])


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("nonsense", "--with: expected 'module:name'"),
        ("tests.neurons.planted:Whispered", "is not a subclass of"),
        ("tests.neurons.planted:MILLION", "is not a subclass of"),
        ("tests.neurons.planted:Nameless", "has no `name`; give it the name of the actor that it replaces"),
    ],
)
def test_what_is_no_actor_is_exit_2(log: Path, run: Run, spec: str, fault: str) -> None:
    code, _, err = run("replay", log, "--with", spec)
    assert (code, fault in err) == (2, True)


# --- a log of several files


@pytest.fixture
def folder(log: Path, subnet: Subnet) -> Path:
    """The newest file is whole, and the one before it is not."""
    subnet.validator.save(log.with_name("events.000001.jsonl"))
    changed(log.with_name("events.000001.jsonl"))
    return log.parent


def test_where_one_file_cannot_be_read_the_next_one_is(folder: Path, run: Run) -> None:
    assert [report["equal"] for report in json.loads(run("replay", folder, "--json")[1])] == [False, True]
    code, out, err = run("log", folder, "--event", "neuron_started")
    assert (code, len(out.splitlines()), "its hash does not follow" in err) == (1, 2, True)
    code, out, err = run("trace", folder, "small", "--json")
    assert (code, "its hash does not follow" in err) == (1, True)
    assert json.loads(out)


def test_what_is_not_found_in_a_damaged_log_may_yet_be_there(folder: Path, run: Run) -> None:
    assert "no event in the readable part of this log concerns a prediction 'other'" in run("trace", folder, "other")[2]


# --- trace


def test_the_way_of_a_prediction_is_a_tree_of_causes(log: Path, run: Run) -> None:
    code, out, _ = run("trace", log, "small")
    assert code == 0
    assert "+0.000 ms  frame_received  " in out
    steps = [out.index(f"  {topic}") for topic in ("prediction_submitted (auth)", "commit_requested (prediction)")]
    assert steps == sorted(steps)
    roots = json.loads(run("trace", log, "small", "--json")[1])
    assert (roots[0]["topic"], roots[0]["actor"], roots[0]["causes"]) == ("frame_received", None, [])
    assert all(following["causes"] == [roots[0]["seq"]] for following in roots[0]["following"])


def test_a_prediction_that_nobody_knows_is_exit_1(log: Path, run: Run) -> None:
    code, out, err = run("trace", log, "nobodys")
    assert (code, out) == (1, "")
    assert "no event in this log concerns a prediction 'nobodys'" in err


@pytest.mark.parametrize("beginning", ["sm", "sm…", "small", "small…"])
def test_the_beginning_of_an_id_is_enough(log: Path, run: Run, beginning: str) -> None:
    assert run("trace", log, beginning) == run("trace", log, "small")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Twelve predictions, of which one's id is the beginning of the others'."""
    subnet = Subnet()
    for number in ["", *range(11)]:
        subnet.predict(f"bet{number}", wager=1.0)
    subnet.validator.save(tmp_path / "events.jsonl")
    return tmp_path / "events.jsonl"


def test_a_beginning_of_several_ids_is_exit_2_with_some_of_them(many: Path, run: Run) -> None:
    code, out, err = run("trace", many, "be")
    assert (code, out) == (2, "")
    listed = ", ".join(["bet", *(f"bet{n}" for n in range(9))])
    assert f"several predictions begin with 'be': {listed} and more; give more characters" in err
    assert "several predictions begin with 'bet1': bet1, bet10" not in run("trace", many, "bet1")[2]


def test_an_id_that_is_the_beginning_of_others_is_meant_itself(many: Path, run: Run) -> None:
    (root,) = json.loads(run("trace", many, "bet", "--json")[1])
    assert '"bet"' in json.dumps(root["event"]).replace("\\", "")


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_each_step_is_one_line_with_short_addresses(
    log: Path, run: Run, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    whole = run("trace", log, "small")[1].splitlines()
    show_on_terminal(monkeypatch, columns)
    lines = run("trace", log, "small")[1].splitlines()
    assert len(lines) == len(whole)
    assert max(map(len, lines)) <= columns
    assert not any(MINER in line for line in lines)
    assert columns == 80 or any(short(MINER) in line for line in lines)


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_trace_and_log_say_why_a_prediction_was_rejected(
    log: Path, run: Run, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    show_on_terminal(monkeypatch, columns)
    for words in (["trace", log, "large"], ["log", log, "--event", "prediction_rejected"]):
        lines = run(*words)[1].splitlines()
        said = " ".join(line.strip(" │└─├") for line in lines)
        assert "wagered today 6, attempted 6, and the limit is 10" in said
        assert "daily_limit_exceeded" in said
        assert max(map(len, lines)) <= columns
    traced = run("trace", log, "large")[1]
    assert "proposals=[daily" in traced
    assert "large:" not in traced


def test_in_a_pipe_every_step_is_one_line_with_all_of_its_values(log: Path, run: Run) -> None:
    lines = run("trace", log, "small")[1].splitlines()
    assert sum(f"hotkey={MINER}" in line for line in lines) >= 3
    assert not any("…" in line or "..." in line for line in lines)


def test_a_trace_of_a_log_that_is_decided_otherwise_says_so(log: Path, run: Run) -> None:
    changed(log, b'"prediction":{"daily_wager_limit":10.0}', b'"prediction":{"daily_wager_limit":1.0}')
    code, out, err = run("trace", log, "small", "--unchained")
    assert (code, "daily_limit_exceeded" in out) == (1, True)
    assert f"{log}: the neuron decided otherwise from seq " in err
    assert "`bettensor replay` shows the difference" in err


# --- log


def test_of_a_limit_the_newest_are_printed(log: Path, run: Run) -> None:
    every = run("log", log)[1].splitlines()
    assert run("log", log, "--limit", "3")[1].splitlines() == every[-3:]


def test_events_as_json_have_their_place_and_their_fields(log: Path, run: Run) -> None:
    first, *_ = map(json.loads, run("log", log, "--json")[1].splitlines())
    assert set(first) == {"seq", "at", "mono", "causes", "topic", "event"}
    assert (first["seq"], first["topic"], first["event"]["role"]) == (1, "neuron_started", "validator")


def test_figures_are_summed_up(log: Path, run: Run) -> None:
    figures = json.loads(run("log", log, "--summary", "--json")[1])
    assert figures["results"] == {VerdictCode.ACCEPTED: 1, VerdictCode.DAILY_LIMIT_EXCEEDED: 1}
    out = run("log", log, "--summary")[1]
    assert "verdicts: 2, " in out
    assert "latency from prediction to answer: p50 " in out


def test_what_did_not_happen_is_exit_0_and_what_cannot_happen_is_exit_1(log: Path, run: Run) -> None:
    assert run("log", log, "--event", "clock_stepped") == (0, "", "")
    assert run("log", log, "--event", "clock_stepped", "--summary") == (0, "no event matches\n", "")
    code, _, err = run("log", log, "--event", "clock_steped", "--event", "frame_received")
    assert (code, err) == (0, "")  # what was found is no riddle
    code, _, err = run("log", log, "--event", "clock_steped")
    assert (code, "no event is called 'clock_steped'; the nearest is 'clock_stepped'" in err) == (1, True)


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_each_event_is_one_line(
    log: Path, run: Run, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    whole = run("log", log)[1].splitlines()
    show_on_terminal(monkeypatch, columns)
    lines = run("log", log)[1].splitlines()
    assert len(lines) == len(whole) + 1  # the reason of a rejection does not fit
    assert max(map(len, lines)) == columns
    assert sum(MINER in line for line in lines) < sum(MINER in line for line in whole)


@pytest.fixture
def observed(log: Path) -> Path:
    """The same log as a neuron writes it: without its decisions."""
    thin(log)
    return log


DECIDED = ("--event", "prediction_*")
MADE_AGAIN = "bettensor: this log was recorded with recorder.record: observed; its decisions are made again\n"


def test_decisions_that_a_log_does_not_hold_are_made_again(
    tmp_path: Path, subnet: Subnet, observed: Path, run: Run
) -> None:
    subnet.validator.save(tmp_path / "all.jsonl")
    decided = [*map(json.loads, run("log", tmp_path / "all.jsonl", *DECIDED, "--json")[1].splitlines())]
    assert {event["topic"] for event in decided} >= {
        "prediction_submitted",
        "prediction_accepted",
        "prediction_rejected",
    }
    code, out, err = run("log", observed, *DECIDED, "--json")
    assert (code, [*map(json.loads, out.splitlines())], err) == (0, decided, MADE_AGAIN)
    lines = run("log", observed, *DECIDED)[1].splitlines()
    assert run("log", observed, *DECIDED, "--limit", "2")[1].splitlines() == lines[-2:]
    assert run("log", observed, *DECIDED, "--hotkey", MINER)[1].splitlines() == lines
    assert run("log", observed, *DECIDED, "--hotkey", make_hotkey("stranger"))[:2] == (0, "")
    assert run("log", observed, *DECIDED, "--since", "1d")[1] == ""  # the simulated neurons live in the past
    figures = json.loads(run("log", observed, *DECIDED, "--summary", "--json")[1])
    assert sum(figures["events"].values()) == len(decided)


def test_if_only_observed_events_are_wanted_nothing_is_decided_again(observed: Path, run: Run) -> None:
    assert run("log", observed, "--event", "frame_received")[2] == ""
    assert run("log", observed)[2] == ""
    code, _, err = run("log", observed, "--event", "prediction_acepted")
    assert (code, "the nearest is 'prediction_accepted'" in err, MADE_AGAIN in err) == (1, True, False)


def test_decisions_of_several_files_are_announced_once(observed: Path, run: Run) -> None:
    shutil.copy(observed, observed.with_name("events.000001.jsonl"))
    assert run("log", observed.parent, *DECIDED)[2] == MADE_AGAIN


def test_a_log_that_is_decided_otherwise_shows_its_decisions_and_says_so(observed: Path, run: Run) -> None:
    changed(observed, b'"prediction":{"daily_wager_limit":10.0}', b'"prediction":{"daily_wager_limit":99.0}')
    code, out, err = run("log", observed, "--event", "commit_requested", "--unchained")
    assert (code, "proposals=[large:accepted]" in out) == (1, True)
    assert f"{observed}: the neuron decided otherwise from seq " in err


def test_a_log_that_cannot_be_decided_again_shows_what_was_recorded(observed: Path, run: Run) -> None:
    thin(observed, {"mine": {"class": "no_such_subnet.actors:Mine"}})
    code, out, err = run("log", observed, *DECIDED, "--event", "predictions_stored")
    assert (code, {line.split()[2] for line in out.splitlines()}) == (1, {"predictions_stored"})
    assert "no_such_subnet" in err
    assert err.endswith("; only the recorded events are shown\n")
    code, out, err = run("trace", observed, "small")
    assert (code, "frame_received" in out, "prediction_accepted" in out) == (1, True, False)
    assert err.endswith("; only the recorded events are shown\n")


def test_an_observed_log_that_is_damaged_shows_what_is_before_the_damage(observed: Path, run: Run) -> None:
    content = observed.read_bytes()
    cut = content.index(b'"topic":"predictions_stored"', content.index(b'"topic":"predictions_stored"') + 1)
    observed.write_bytes(content[:cut] + b"damage" + content[cut:])
    code, out, err = run("log", observed, "--event", "prediction_accepted")
    assert (code, len(out.splitlines()), "its hash does not follow" in err) == (1, 1, True)


@pytest.mark.parametrize("hotkey", [MINER[:8], short(MINER)])
def test_a_hotkey_may_be_abbreviated(log: Path, run: Run, hotkey: str) -> None:
    assert run("log", log, "--hotkey", hotkey) == run("log", log, "--hotkey", MINER)


def test_a_time_may_be_copied_from_the_operators_log(log: Path, run: Run) -> None:
    assert run("log", log, "--until", "2020-11-28 12:48:11.123+01:00") == (0, "", "")


def test_events_about_a_stranger_are_none(log: Path, run: Run) -> None:
    stranger = make_hotkey("stranger")
    assert run("log", log, "--hotkey", stranger) == (
        0,
        "",
        f"bettensor: {log}: no event concerns a neuron '{stranger}'\n",
    )
    err = run("log", log, "--hotkey", MINER, "--event", "clock_stepped")[2]
    assert err == f"bettensor: {log}: no event that fits the other options concerns a neuron '{MINER}'\n"


# --- audit


def test_every_signature_of_simulated_peers_is_a_fault(log: Path, run: Run) -> None:
    code, _, err = run("audit", log)
    assert (code, err) == (1, "bettensor: found 4 faults\n")  # one handshake and three frames
    faults = json.loads(run("audit", log, "--json")[1])["faults"]
    assert [" is bad, and line " in fault for fault in faults] == [True] * 4


def test_every_command_refuses_what_is_no_log(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{}")
    for words in (["replay"], ["log"], ["audit"]):
        assert run(*words, tmp_path / "x")[0] == 1
        assert run(*words, tmp_path / "absent")[0] == 1
        assert run(*words, RECORDINGS.parent / "data")[0] == 1
