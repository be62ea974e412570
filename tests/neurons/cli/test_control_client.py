"""Asking a running neuron: which one is meant, what it says, and what is said if it says nothing."""

from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.text import short
from bettensor.neurons.cli import control_client
from bettensor.neurons.cli.control_client import ControlRefused, NotRunning, ask, find_state_dir, running_neurons
from bettensor.neurons.simulation import make_hotkey
from bettensor.neurons.system.locks import NAME as LOCK
from tests.neurons.cli.answering import answering, listening_at

STATUS = {"ask": "status"}


def test_a_question_gets_its_answer(tmp_path: Path) -> None:
    with answering(tmp_path, lambda question: {"about": question["ask"]}) as questions:
        assert ask(tmp_path, STATUS) == {"about": "status"}
        assert questions == [STATUS]


def test_an_error_is_told_in_the_words_of_the_neuron(tmp_path: Path) -> None:
    with answering(tmp_path, lambda _: {"error": "this is a validator"}), pytest.raises(ControlRefused) as refused:
        ask(tmp_path, STATUS)
    assert str(refused.value) == "this is a validator"


@pytest.mark.parametrize("answer", [b"", b'{"role": "vali'])
def test_a_neuron_that_ends_while_it_answers_has_not_answered(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path, lambda _: answer), pytest.raises(NotRunning, match="stopped before it answered"):
        ask(tmp_path, STATUS)


@pytest.mark.parametrize("answer", [b"x" * 5000, b"junk\n", b"[]\n", b"[" * 999 + b"\n", b"\xff\n"])
def test_what_is_no_answer_is_refused_and_not_read_without_end(
    tmp_path: Path, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_client, "MAX_ANSWER", 1000)
    with answering(tmp_path, lambda _: answer), pytest.raises(NotRunning, match="is no neuron of this version"):
        ask(tmp_path, STATUS)


def test_a_neuron_that_says_nothing_is_not_waited_for_without_end(tmp_path: Path) -> None:
    with listening_at(tmp_path), pytest.raises(NotRunning, match=r"does not answer within 0.05 s"):
        ask(tmp_path, STATUS, patience=0.05)


def left_behind(state_dir: Path) -> None:
    """A socket that nobody listens to, as a neuron leaves it that is killed."""
    with listening_at(state_dir):
        pass


def test_where_no_neuron_runs_it_is_said_how_to_start_one(tmp_path: Path) -> None:
    for state_dir in (tmp_path, tmp_path / "absent"):
        with pytest.raises(
            NotRunning, match=rf"no neuron is running in {state_dir}; start it with `bettensor validator"
        ):
            ask(state_dir, STATUS)
    left_behind(tmp_path)
    with pytest.raises(NotRunning, match="no neuron is running in"):
        ask(tmp_path, STATUS)


@pytest.mark.parametrize("role", ["validator", "miner"])
def test_where_a_file_named_the_neuron_the_command_with_that_file_starts_it(tmp_path: Path, role: str) -> None:
    config = tmp_path / "my neuron.yaml"
    config.write_text(f"{{role: {role}, netuid: 30, state_dir: here, metagraph: {{static: metagraph.yaml}}}}")
    with pytest.raises(NotRunning) as refused:
        ask(tmp_path / "here", STATUS, config=config)
    start = f"start it with `bettensor {role} --config '{config}'`"
    assert str(refused.value) == f"no neuron is running in {tmp_path / 'here'}; {start}"


def test_what_comes_before_an_answer_is_told_at_once(tmp_path: Path) -> None:
    placed: list[Any] = []
    with answering(tmp_path, lambda _: b'{"placed": [1, 2]}\n{"verdicts": []}\n'):
        assert ask(tmp_path, STATUS, on_placed=placed.extend) == {"verdicts": []}
    assert placed == [1, 2]


# --- which neuron is meant


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder ``~/.bettensor`` of a user without processes."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "proc").mkdir()
    monkeypatch.setattr(control_client, "PROCESSES", tmp_path / "proc")
    return tmp_path / ".bettensor"


def neuron_of(role: str) -> Any:
    return lambda _: {"role": role, "hotkey": make_hotkey(role), "netuid": 30}


def test_a_folder_that_is_named_is_meant_whether_or_not_a_neuron_runs_there(home: Path) -> None:
    assert find_state_dir(Path("~/.bettensor/x"), Path("not.yaml")) == home / "x"


def test_a_configuration_names_its_folder(home: Path, tmp_path: Path) -> None:
    config = tmp_path / "miner.yaml"
    config.write_text("{role: miner, netuid: 30, state_dir: here, metagraph: {static: metagraph.yaml}}")
    assert find_state_dir(None, config) == tmp_path / "here"
    assert not home.exists()
    with pytest.raises(ConfigurationError, match=r"absent\.yaml"):
        find_state_dir(None, tmp_path / "absent.yaml")


def test_if_nothing_is_named_the_one_neuron_that_runs_is_meant(home: Path) -> None:
    (home / "dead").mkdir(parents=True)
    left_behind(home / "dead")
    with answering(home / "lively", neuron_of("miner")):
        assert find_state_dir(None, None) == home / "lively"


def test_of_two_neurons_the_one_of_the_role_is_meant(home: Path) -> None:
    with answering(home / "a", neuron_of("miner")), answering(home / "b", neuron_of("validator")):
        assert find_state_dir(None, None, "validator") == home / "b"
        with pytest.raises(NotRunning) as refused:
            find_state_dir(None, None)
    first, *choice = str(refused.value).splitlines()
    assert first == "2 neurons are running; name one of them:"
    assert choice == [
        f"  miner     {short(make_hotkey('miner'))}  netuid 30  --state-dir {home}/a",
        f"  validator {short(make_hotkey('validator'))}  netuid 30  --state-dir {home}/b",
    ]


def test_if_none_runs_its_role_is_named(home: Path) -> None:
    for role, kind in ((None, "neuron"), ("miner", "miner")):
        with pytest.raises(
            NotRunning, match=f"this user runs no {kind}; start one, or name it with --config FILE or --state-dir DIR"
        ):
            find_state_dir(None, None, role)
    with (
        answering(home / "b", neuron_of("validator")),
        pytest.raises(NotRunning, match="this user runs no miner"),
    ):
        find_state_dir(None, None, "miner")


def process(home: Path, number: int, *files: Path) -> None:
    """A process of this user that has these files open."""
    folder = home.parent / "proc" / str(number) / "fd"
    folder.mkdir(parents=True)
    for descriptor, file in enumerate(files):
        (folder / str(descriptor)).symlink_to(file)


def test_a_neuron_is_found_wherever_its_state_dir_is(home: Path, tmp_path: Path) -> None:
    away, gone = tmp_path / "srv" / "away", tmp_path / "srv" / "gone"
    process(home, 1, Path("/dev/null"), away / LOCK, gone / LOCK, Path("socket:[12]"))
    process(home, 2, tmp_path / "srv" / "lock" / "other")
    with answering(away, neuron_of("miner")), answering(home / "b", neuron_of("validator")):
        process(home, 3, home / "b" / LOCK)
        assert [running.state_dir for running in running_neurons()] == [home / "b", away]
        assert find_state_dir(None, None, "miner") == away


def test_a_process_that_does_not_let_itself_be_looked_at_is_passed_over(home: Path) -> None:
    (home.parent / "proc" / "4").mkdir()
    (home.parent / "proc" / "self").mkdir()
    assert running_neurons() == []


def test_a_folder_that_cannot_be_looked_into_is_passed_over(home: Path, tmp_path: Path) -> None:
    process(home, 1, tmp_path / ("long" * 100) / LOCK)
    assert running_neurons() == []


def test_processes_of_other_users_are_passed_over(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process(home, 1, tmp_path / "theirs" / LOCK)
    monkeypatch.setattr("os.getuid", lambda: -1)
    with answering(tmp_path / "theirs", neuron_of("miner")):
        assert running_neurons() == []


def test_where_processes_are_not_listed_the_configurations_in_this_folder_name_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(control_client, "PROCESSES", tmp_path / "absent")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "miner.yaml").write_text("{role: miner, netuid: 30, state_dir: here, metagraph: {static: m.yaml}}")
    (tmp_path / "validator.yaml").write_text("nonsense: [")
    with answering(tmp_path / "here", neuron_of("miner")):
        assert find_state_dir(None, None) == tmp_path / "here"
    assert not home.exists()
